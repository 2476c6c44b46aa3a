"""Exclusion windows as rows: added, listed, withdrawn. None is changed or deleted, so old reports stay explainable."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, and_, insert, or_, select
from sqlalchemy.orm import Session

from gaugehouse.database import database_now, new_id
from gaugehouse.database.tables import NAME_CHARACTERS, Component, ExclusionComponent, ExclusionWindow
from gaugehouse.errors import MAX_ROWS_NAMED, NotFound, Refused, TooLarge
from gaugehouse.inventory.checks import find_text_problem, split_names
from gaugehouse.inventory.components import get_component
from gaugehouse.inventory.pages import Page, load_page, read_order
from gaugehouse.measurements.exclusions import Exclusion, ExclusionKind
from gaugehouse.measurements.names import find_name_problem

SORT_COLUMNS = {"start": ExclusionWindow.starts_at, "created_at": ExclusionWindow.created_at}
MAX_REASON_CHARACTERS = 1000
MAX_EXCLUSION_COMPONENTS = 1000
EFFECTIVE_LIMIT = 10_000  # a pin names each of them


@dataclass(frozen=True, slots=True, kw_only=True)
class NewExclusion:
    """A window to take out of the numbers.

    Args:
        kind: maintenance, calibration or other.
        components: Names or ids; None is every component of the project, later ones included.
        start: Aware; the first instant that does not count.
        end: Aware; the first one that counts again.
        reason: In words.
    """

    kind: str
    components: tuple[str, ...] | None
    start: datetime
    end: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExclusionView:
    """A window as others see it; one that is withdrawn counts no more, but for reports that were asked before."""

    id: str
    kind: ExclusionKind
    components: tuple[str, ...] | None
    start: datetime
    end: datetime
    reason: str
    author: str
    created_at: datetime
    withdrawn_at: datetime | None
    withdrawn_by: str | None


def add_exclusion(session: Session, project_id: str, new: NewExclusion, *, author: str) -> ExclusionView:
    """Add a window.

    Raises:
        Refused: its kind, its reason, or an end that is not behind its start; the field is named.
        NotFound: components that the project does not have; the first 20 are named.
    """
    _check(new)
    ids = {} if new.components is None else _find_component_ids(session, project_id, new.components)
    row = ExclusionWindow(
        id=new_id("exc"),
        project_id=project_id,
        kind=new.kind,
        is_for_all=new.components is None,
        starts_at=new.start,
        ends_at=new.end,
        reason=new.reason.strip(),
        author=author,
        created_at=session.scalars(select(database_now())).one(),
    )
    session.add(row)
    session.flush()
    if ids:
        session.execute(
            insert(ExclusionComponent), [{"exclusion_id": row.id, "component_id": one} for one in ids.values()]
        )
    return _view(row, sorted(ids))


def find_exclusions(  # noqa: PLR0913 - one keyword per filter
    session: Session,
    project_id: str,
    *,
    component: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    include_withdrawn: bool = False,
    sort: str = "start",
    limit: int = 100,
    cursor: str | None = None,
) -> Page[ExclusionView]:
    """Return one page of the project's windows.

    Args:
        session: An open session.
        project_id: The one project.
        component: Name or id: only windows that concern this one.
        start: Only windows that end behind this instant.
        end: Only windows that start before this instant.
        include_withdrawn: Whether windows that count no more are listed.
        sort: start or created_at, with `-` before it to reverse.
        limit: Windows per page, at most 1000.
        cursor: `next_cursor` of the page before.
    """
    statement = _overlapping(project_id, start, end)
    if component is not None:
        component_id = get_component(session, project_id, component).id
        own = select(ExclusionComponent.exclusion_id).where(ExclusionComponent.component_id == component_id)
        statement = statement.where(or_(ExclusionWindow.is_for_all, ExclusionWindow.id.in_(own)))
    if not include_withdrawn:
        statement = statement.where(ExclusionWindow.withdrawn_at.is_(None))
    order = read_order(sort, SORT_COLUMNS, ExclusionWindow.id)
    rows, next_cursor, total = load_page(session, statement, order, limit=limit, cursor=cursor)
    names = _find_names(session, [row.id for row in rows])
    return Page(items=tuple(_view(row, names.get(row.id, [])) for row in rows), next_cursor=next_cursor, total=total)


def get_exclusion(session: Session, project_id: str, exclusion_id: str) -> ExclusionView:
    """Return a window, withdrawn or not; NotFound when the project has none of this id."""
    row = _get_row(session, project_id, exclusion_id)
    return _view(row, _find_names(session, [row.id]).get(row.id, []))


def withdraw_exclusion(session: Session, project_id: str, exclusion_id: str, *, author: str) -> ExclusionView:
    """Let a window count no more; it stays, with who withdrew it and when. Withdrawing it again changes nothing.

    Raises:
        NotFound: the project has none of this id.
    """
    row = _get_row(session, project_id, exclusion_id)
    if row.withdrawn_at is None:
        row.withdrawn_at = session.scalars(select(database_now())).one()
        row.withdrawn_by = author
    session.flush()
    return _view(row, _find_names(session, [row.id]).get(row.id, []))


def find_effective_exclusions(
    session: Session, project_id: str, components: Sequence[str], start: datetime, end: datetime
) -> list[Exclusion]:
    """Return the windows that take something out of [start, end) for some of the components, by start and id.

    Args:
        session: An open session.
        project_id: The one project.
        components: Names; windows of others are left out, and in each window the others.
        start: Inclusive.
        end: Exclusive.

    Raises:
        TooLarge: more than 10,000.
    """
    statement = _overlapping(project_id, start, end).where(ExclusionWindow.withdrawn_at.is_(None))
    statement = statement.order_by(ExclusionWindow.starts_at, ExclusionWindow.id).limit(EFFECTIVE_LIMIT + 1)
    rows = session.scalars(statement).all()
    if len(rows) > EFFECTIVE_LIMIT:
        raise TooLarge(
            f"more than {EFFECTIVE_LIMIT:,} exclusion windows lie in the period; ask for a shorter one",
            code="too_many_exclusions",
        )
    listed = set(components)
    names = _find_names(session, [row.id for row in rows if not row.is_for_all])
    own = {row.id: tuple(name for name in names.get(row.id, []) if name in listed) for row in rows}
    return [
        Exclusion(
            id=row.id,
            kind=ExclusionKind(row.kind),
            components=None if row.is_for_all else own[row.id],
            start=row.starts_at,
            end=row.ends_at,
            reason=row.reason,
            author=row.author,
        )
        for row in rows
        if row.is_for_all or own[row.id]
    ]


def _check(new: NewExclusion) -> None:
    problem = find_text_problem(new.reason, limit_characters=MAX_REASON_CHARACTERS)
    if problem is not None or not new.reason.strip():
        raise _refused("reason", problem or "is empty: reports show it to whoever asks why time is missing")
    if new.kind not in list(ExclusionKind):
        raise _refused("kind", f"is not one of {', '.join(ExclusionKind)}")
    if new.start >= new.end:
        raise _refused("end", "is not behind the start")
    if new.components is not None and not 1 <= len(new.components) <= MAX_EXCLUSION_COMPONENTS:
        raise _refused("components", f"are {len(new.components)}: name 1 to {MAX_EXCLUSION_COMPONENTS}, or all")


def _refused(field: str, reason: str) -> Refused:
    return Refused(
        f"the exclusion cannot be added: {field} {reason}",
        code="exclusion_refused",
        fields={"errors": [{"field": field, "reason": reason}]},
    )


def _find_component_ids(session: Session, project_id: str, asked: Sequence[str]) -> dict[str, str]:
    """Return the id of each component by its name; an id wins over a component that is named like it."""
    by_name: dict[str, str] = {}
    name_of: dict[str, str] = {}
    for portion in split_names([one for one in asked if find_name_problem(one) is None]):
        matches = or_(Component.id.in_(portion), Component.name.in_(portion))
        statement = select(Component.id, Component.name).where(and_(Component.project_id == project_id, matches))
        for row in session.execute(statement):
            by_name[row.name] = row.id
            name_of[row.id] = row.name
    missing = [one for one in asked if one not in by_name and one not in name_of]
    if missing:
        shown = [one[:NAME_CHARACTERS] for one in missing[:MAX_ROWS_NAMED]]
        raise NotFound(
            f"there is no component {shown[0]!r}" + (f", nor {len(missing) - 1} others" if len(missing) > 1 else ""),
            code="component_not_found",
            fields={"names": shown},
        )
    return {name_of.get(one, one): one if one in name_of else by_name[one] for one in asked}


def _overlapping(project_id: str, start: datetime | None, end: datetime | None) -> Select[ExclusionWindow]:
    statement = select(ExclusionWindow).where(ExclusionWindow.project_id == project_id)
    if start is not None:
        statement = statement.where(ExclusionWindow.ends_at > start)
    return statement if end is None else statement.where(ExclusionWindow.starts_at < end)


def _find_names(session: Session, ids: Sequence[str]) -> Mapping[str, list[str]]:
    """Return the sorted names of the components of each window."""
    names: dict[str, list[str]] = {}
    for portion in split_names(ids):
        statement = (
            select(ExclusionComponent.exclusion_id, Component.name)
            .join(Component, Component.id == ExclusionComponent.component_id)
            .where(ExclusionComponent.exclusion_id.in_(portion))
            .order_by(Component.name)
        )
        for row in session.execute(statement):
            names.setdefault(row.exclusion_id, []).append(row.name)
    return names


def _get_row(session: Session, project_id: str, exclusion_id: str) -> ExclusionWindow:
    is_storable = find_name_problem(exclusion_id) is None  # some texts would make a driver fail
    row = session.get(ExclusionWindow, exclusion_id) if is_storable else None
    if row is None or row.project_id != project_id:
        raise NotFound(f"there is no exclusion {exclusion_id[:64]!r}", code="exclusion_not_found")
    return row


def _view(row: ExclusionWindow, names: Sequence[str]) -> ExclusionView:
    return ExclusionView(
        id=row.id,
        kind=ExclusionKind(row.kind),
        components=None if row.is_for_all else tuple(names),
        start=row.starts_at,
        end=row.ends_at,
        reason=row.reason,
        author=row.author,
        created_at=row.created_at,
        withdrawn_at=row.withdrawn_at,
        withdrawn_by=row.withdrawn_by,
    )
