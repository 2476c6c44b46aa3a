"""Components: the things measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import EllipsisType
from typing import Any

from sqlalchemy import Select, insert, or_, select
from sqlalchemy.orm import Session

from gaugehouse.database import database_now, new_id
from gaugehouse.database.pages import Page, load_page, read_order
from gaugehouse.database.tables import NAME_CHARACTERS, Base, Component
from gaugehouse.errors import MAX_ROWS_NAMED, AlreadyExists, NotFound, Refused, RowProblem, RowsRefused
from gaugehouse.inventory.checks import (
    find_attributes_problem,
    find_label_key_problem,
    find_label_problem,
    find_text_problem,
    split_names,
)
from gaugehouse.inventory.oee import find_oee_hints, find_oee_problem, read_oee
from gaugehouse.measurements.names import find_name_problem
from gaugehouse.measurements.oee import OeeAttributes

COMPONENTS = Base.metadata.tables["components"]  # not the mapped class: a session would look at each row
SORT_COLUMNS = {
    "name": Component.name,
    "title": Component.title,
    "type": Component.type,
    "created_at": Component.created_at,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewComponent:
    """A component to create."""

    name: str
    title: str = ""
    type: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, object] = field(default_factory=dict)
    oee: Mapping[str, object] = field(default_factory=dict)
    commissioned_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentView:
    """A component as others see it; `hints` come with a change that is allowed, but may not be what was meant."""

    id: str
    name: str
    title: str
    type: str
    labels: dict[str, str]
    attributes: dict[str, Any]
    oee: OeeAttributes | None
    created_at: datetime
    updated_at: datetime
    commissioned_at: datetime | None
    retired_at: datetime | None
    hints: tuple[str, ...] = ()

    @property
    def line(self) -> str | None:
        """The label `line`: most plants ask for it by this name."""
        return self.labels.get("line")


def create_components(session: Session, project_id: str, new: Sequence[NewComponent]) -> list[ComponentView]:
    """Create components, all or none, and return them in the order given.

    Raises:
        RowsRefused: names, labels or attributes are not acceptable; the first 20 are named.
        AlreadyExists: names are taken; `names` lists the first 20.
    """
    _check(new)
    taken = sorted(_find_taken(session, project_id, [component.name for component in new]))
    if taken:
        raise AlreadyExists(
            f"{len(taken)} of the components exist already; the first is {taken[0]!r}",
            code="component_exists",
            fields={"names": taken[:MAX_ROWS_NAMED]},
        )
    rows = _insert(session, project_id, new)
    hints = find_oee_hints(session, project_id, [component.oee for component in new])
    return [replace(_view(Component(**row)), hints=hinted) for row, hinted in zip(rows, hints, strict=True)]


def add_missing_components(session: Session, project_id: str, wanted: Sequence[NewComponent]) -> int:
    """Create those components that the project does not have yet, leave the others as they are; return how many.

    Raises:
        RowsRefused: as `create_components`.
        AlreadyExists: somebody else created one of them at this moment.
    """
    _check(wanted)
    taken = _find_taken(session, project_id, [component.name for component in wanted])
    return len(_insert(session, project_id, [component for component in wanted if component.name not in taken]))


def update_component(  # noqa: PLR0913 - one keyword per thing that can change
    session: Session,
    project_id: str,
    name_or_id: str,
    *,
    title: str | None = None,
    type: str | None = None,  # noqa: A002 - the word of the API
    labels: Mapping[str, str | None] | None = None,
    attributes: Mapping[str, object] | None = None,
    oee: Mapping[str, object] | None = None,
    commissioned_at: datetime | EllipsisType | None = ...,
) -> ComponentView:
    """Change what is given; labels, attributes and oee are merged key by key, and a key given as None is removed.

    `commissioned_at` is aware; None says that nobody knows since when the component is in service.
    """
    row = _get_row(session, project_id, name_or_id)
    changed = NewComponent(
        name=row.name,
        title=row.title if title is None else title,
        type=row.type if type is None else type,
        labels=_merge(row.labels, labels),
        attributes=_merge(row.attributes, attributes),
        oee=_merge(row.oee or {}, oee),
    )
    problems = _find_problems(0, changed)
    if problems:
        raise RowsRefused(problems, bad_rows=1)
    row.title, row.type = changed.title, changed.type
    row.labels, row.attributes, row.oee = dict(changed.labels), dict(changed.attributes), dict(changed.oee) or None
    if not isinstance(commissioned_at, EllipsisType):
        row.commissioned_at = commissioned_at
    row.search_text = search_text(row.name, row.title)
    row.updated_at = session.scalars(select(database_now())).one()
    session.flush()
    (hints,) = find_oee_hints(session, project_id, [{} if oee is None else changed.oee])
    return replace(_view(row), hints=hints)


def retire_component(session: Session, project_id: str, name_or_id: str) -> ComponentView:
    """Take a component out of lists; its data stays, and rows that still arrive are stored."""
    row = _get_row(session, project_id, name_or_id)
    if row.retired_at is None:
        row.retired_at = row.updated_at = session.scalars(select(database_now())).one()
    session.flush()
    return _view(row)


def restore_component(session: Session, project_id: str, name_or_id: str) -> ComponentView:
    """Undo `retire_component`."""
    row = _get_row(session, project_id, name_or_id)
    if row.retired_at is not None:
        row.retired_at = None
        row.updated_at = session.scalars(select(database_now())).one()
    session.flush()
    return _view(row)


def get_component(session: Session, project_id: str, name_or_id: str, *, visible: str | None = None) -> ComponentView:
    """Return a component by id or name.

    Args:
        session: An open session.
        project_id: The one project.
        name_or_id: An id wins over a component that is named like it.
        visible: Name of the only component the caller may see; None is all of them.

    Raises:
        NotFound: the project has none, or the caller may not see it: the answer is the same.
    """
    row = _get_row(session, project_id, name_or_id)
    if visible is not None and row.name != visible:
        raise _missing(name_or_id)
    return _view(row)


def find_components(  # noqa: PLR0913 - one keyword per filter
    session: Session,
    project_id: str,
    *,
    name: str | None = None,
    search: str | None = None,
    type: str | None = None,  # noqa: A002 - the word of the API
    labels: Mapping[str, str] | None = None,
    sort: str = "name",
    include_retired: bool = False,
    limit: int = 100,
    cursor: str | None = None,
) -> Page[ComponentView]:
    """Return one page of the components that fit all filters.

    Args:
        session: An open session.
        project_id: The one project.
        name: Exactly this name.
        search: Part of name or title, in any case.
        type: Exactly this type.
        labels: All of these labels with exactly these values.
        sort: name, title, type or created_at, with `-` before it to reverse.
        include_retired: Whether retired ones are listed.
        limit: Components per page, at most 1000.
        cursor: `next_cursor` of the page before.
    """
    statement = _filter(project_id, search=search, type_=type, labels=labels, include_retired=include_retired)
    if name is not None:
        statement = statement.where(Component.name == name)
    order = read_order(sort, SORT_COLUMNS, Component.id)
    rows, next_cursor, total = load_page(session, statement, order, limit=limit, cursor=cursor)
    return Page(items=tuple(_view(row) for row in rows), next_cursor=next_cursor, total=total)


def find_component_names(
    session: Session,
    project_id: str,
    *,
    type: str | None = None,  # noqa: A002 - the word of the API
    labels: Mapping[str, str] | None = None,
    include_retired: bool = True,
) -> list[str]:
    """Return the sorted names of all components that fit, for questions about many at once."""
    statement = _filter(project_id, search=None, type_=type, labels=labels, include_retired=include_retired)
    return list(session.scalars(statement.with_only_columns(Component.name).order_by(Component.name)))


def search_text(name: str, title: str | None) -> str:
    """Return what a search looks into: casefolded here, because SQLite folds ASCII only."""
    return f"{name}\n{title or ''}".casefold()


def component_row(project_id: str, name: str) -> dict[str, Any]:
    """Return the row of a component that was first seen in a measurement."""
    return {"id": new_id("cmp"), "project_id": project_id, "name": name, "search_text": search_text(name, "")}


def _filter(
    project_id: str,
    *,
    search: str | None,
    type_: str | None,
    labels: Mapping[str, str] | None,
    include_retired: bool,
) -> Select[Component]:
    for text in (search or "", type_ or "", *(labels or {}).values()):
        problem = find_text_problem(text)
        if problem is not None:
            raise Refused(f"a filter {problem}", code="filter_refused")
    statement = select(Component).where(Component.project_id == project_id)
    if search:
        statement = statement.where(Component.search_text.contains(search.casefold(), autoescape=True))
    if type_ is not None:
        statement = statement.where(Component.type == type_)
    for key, value in (labels or {}).items():
        problem = find_label_key_problem(key)
        if problem is not None:
            raise Refused(f"a label's key {problem}", code="filter_refused")
        statement = statement.where(Component.labels[key].as_string() == value)
    if not include_retired:
        statement = statement.where(Component.retired_at.is_(None))
    return statement


def _get_row(session: Session, project_id: str, name_or_id: str) -> Component:
    if find_name_problem(name_or_id) is not None:  # nothing that could be stored, and some would make a driver fail
        raise _missing(name_or_id)
    matches = or_(Component.id == name_or_id, Component.name == name_or_id)
    rows = session.scalars(select(Component).where(Component.project_id == project_id, matches)).all()
    by_id = [row for row in rows if row.id == name_or_id]
    for row in by_id or rows:
        return row
    raise _missing(name_or_id)


def _missing(name_or_id: str) -> NotFound:
    return NotFound(f"there is no component {name_or_id[:NAME_CHARACTERS]!r}", code="component_not_found")


def _check(new: Sequence[NewComponent]) -> None:
    problems = [problem for row, component in enumerate(new) for problem in _find_problems(row, component)]
    problems += _find_repeated(new)
    if problems:
        raise RowsRefused(problems, bad_rows=len({problem.row for problem in problems}))


def _insert(session: Session, project_id: str, new: Sequence[NewComponent]) -> list[dict[str, Any]]:
    """Create components that the project does not have; return their rows."""
    now = session.scalar(select(database_now()))
    rows = [_row(project_id, component, now) for component in new]
    if rows:
        session.execute(insert(COMPONENTS), rows)
    return rows


def _find_problems(row: int, component: NewComponent) -> list[RowProblem]:
    found = {
        "name": find_name_problem(component.name),
        "title": find_text_problem(component.title, limit_characters=NAME_CHARACTERS),
        "type": find_text_problem(component.type, limit_characters=NAME_CHARACTERS),
        "labels": find_label_problem(component.labels),
        "attributes": find_attributes_problem(component.attributes),
        "oee": find_oee_problem(component.oee),
    }
    return [RowProblem(row=row, field=name, reason=problem) for name, problem in found.items() if problem is not None]


def _find_repeated(new: Sequence[NewComponent]) -> list[RowProblem]:
    seen: set[str] = set()
    problems = []
    for row, component in enumerate(new):
        if component.name in seen:
            problems.append(RowProblem(row=row, field="name", reason="repeats the name of an earlier row"))
        seen.add(component.name)
    return problems


def _find_taken(session: Session, project_id: str, names: Sequence[str]) -> set[str]:
    taken: set[str] = set()
    for portion in split_names(names):
        taken.update(
            session.scalars(
                select(Component.name).where(Component.project_id == project_id, Component.name.in_(portion))
            )
        )
    return taken


def _row(project_id: str, component: NewComponent, now: datetime | None) -> dict[str, Any]:
    return {
        **component_row(project_id, component.name),
        "title": component.title,
        "type": component.type,
        "labels": dict(component.labels),
        "attributes": dict(component.attributes),
        "oee": {name: value for name, value in component.oee.items() if value is not None} or None,
        "search_text": search_text(component.name, component.title),
        "created_at": now,
        "updated_at": now,
        "commissioned_at": component.commissioned_at,
        "retired_at": None,
    }


def _merge(stored: Mapping[str, Any], changes: Mapping[str, Any] | None) -> dict[str, Any]:
    merged = {**stored, **(changes or {})}
    return {key: value for key, value in merged.items() if value is not None}


def _view(row: Component) -> ComponentView:
    return ComponentView(
        id=row.id,
        name=row.name,
        title=row.title,
        type=row.type,
        labels=dict(row.labels),
        attributes=dict(row.attributes),
        oee=read_oee(row.oee),
        created_at=row.created_at,
        updated_at=row.updated_at,
        commissioned_at=row.commissioned_at,
        retired_at=row.retired_at,
    )
