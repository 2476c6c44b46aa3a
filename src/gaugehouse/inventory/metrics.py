"""Metrics: one row of attributes per project, and per component where it differs."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, insert, select
from sqlalchemy.orm import Session

from gaugehouse.database import database_now, new_id
from gaugehouse.database.tables import NAME_CHARACTERS, Component, Metric, Project
from gaugehouse.errors import MAX_ROWS_NAMED, AlreadyExists, NotFound, Refused, RowProblem, RowsRefused
from gaugehouse.inventory.checks import find_number_problem, find_text_problem, split_names
from gaugehouse.inventory.components import get_component, search_text
from gaugehouse.inventory.oee import hint_unseen
from gaugehouse.inventory.pages import Page, load_page, read_order
from gaugehouse.measurements.metric import MetricAttributes, MetricKind, StateClass, parse_subgroup
from gaugehouse.measurements.names import find_name_problem

SORT_COLUMNS = {"name": Metric.name, "created_at": Metric.created_at}
TEXT_COLUMNS = ("title", "unit")
LIMIT_COLUMNS = ("lsl", "usl", "target")
POSITIVE_COLUMNS = ("nominal_interval_s", "max_hold_s", "rollover_at", "max_rate", "lateness_s")
STATE_COLUMNS = ("state_classes", "state_names")
CHANGEABLE = (
    *TEXT_COLUMNS,
    "kind",
    *LIMIT_COLUMNS,
    *POSITIVE_COLUMNS,
    *STATE_COLUMNS,
    "alive_metric",
    "subgroup",
)
MAX_STATES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMetric:
    """A metric to create, for the project or (component given) where one component differs. None: not said."""

    name: str
    component: str | None = None
    title: str | None = None
    kind: str | None = None
    unit: str | None = None
    lsl: float | None = None
    usl: float | None = None
    target: float | None = None
    nominal_interval_s: float | None = None
    max_hold_s: float | None = None
    rollover_at: float | None = None
    max_rate: float | None = None
    state_classes: Mapping[str, str] | None = None
    state_names: Mapping[str, str] | None = None
    alive_metric: str | None = None
    lateness_s: float | None = None
    subgroup: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricView:
    """A metric's row as it is stored: None means the default, or for one component the project's value.

    `hints` come with a change that is allowed, but may not be what was meant.
    """

    id: str
    name: str
    component: str | None
    title: str | None
    kind: str | None
    unit: str | None
    lsl: float | None
    usl: float | None
    target: float | None
    nominal_interval_s: float | None
    max_hold_s: float | None
    rollover_at: float | None
    max_rate: float | None
    state_classes: dict[str, str] | None
    state_names: dict[str, str] | None
    alive_metric: str | None
    lateness_s: float | None
    subgroup: str | None
    created_at: datetime
    updated_at: datetime
    hints: tuple[str, ...] = ()


def create_metrics(session: Session, project_id: str, new: Sequence[NewMetric]) -> list[MetricView]:
    """Create metrics, all or none, and return them in the order given.

    Raises:
        RowsRefused: names or attributes are not acceptable, or repeated; the first 20 are named.
        AlreadyExists: names are taken; `names` lists the first 20.
        NotFound: a component does not exist.
    """
    problems = [problem for row, metric in enumerate(new) for problem in _find_problems(row, metric.name, metric)]
    problems += _find_repeated(new)
    if problems:
        raise RowsRefused(problems, bad_rows=len({problem.row for problem in problems}))
    owners = {asked: _find_owner(session, project_id, asked) for asked in {metric.component for metric in new}}
    stored = _find_stored(session, project_id, {metric.name for metric in new})
    taken = sorted({metric.name for metric in new if (owners[metric.component].id, metric.name) in stored})
    if taken:
        raise AlreadyExists(
            f"{len(taken)} of the metrics exist already; the first is {taken[0]!r}",
            code="metric_exists",
            fields={"names": taken[:MAX_ROWS_NAMED]},
        )
    now = session.scalars(select(database_now())).one()
    rows = [_row(project_id, metric, owners[metric.component].id, now) for metric in new]
    if rows:
        session.execute(insert(Metric), rows)
    views = [_view(Metric(**row), owners[metric.component].name) for row, metric in zip(rows, new, strict=True)]
    return _add_hints(session, project_id, views)


def update_metric(
    session: Session, project_id: str, name_or_id: str, changes: Mapping[str, object], *, component: str | None = None
) -> MetricView:
    """Change what is named in `changes` (None clears it) for the project or for one component.

    A component's own row comes into being with its first change. The id of a project's metric stands for its name.

    Raises:
        NotFound: the project has no such metric or component.
        RowsRefused: a value is not acceptable.
        Refused: a key that is none of a metric's attributes.
    """
    unknown = sorted(set(changes) - set(CHANGEABLE))
    if unknown:
        raise Refused(f"a metric has no attribute {unknown[0][:64]!r}", code="attribute_unknown")
    owner = _find_owner(session, project_id, component)
    row = _get_row(session, project_id, name_or_id, owner, create_override=True)
    values = {column: changes.get(column, getattr(row, column)) for column in CHANGEABLE}
    problems = _find_problems(0, row.name, values)
    if problems:
        raise RowsRefused(problems, bad_rows=1)
    for column, value in _canonical(values).items():
        setattr(row, column, value)
    row.search_text = search_text(row.name, row.title)
    row.updated_at = session.scalars(select(database_now())).one()
    session.flush()
    view = _view(row, owner.name)
    return _add_hints(session, project_id, [view])[0] if changes.get("alive_metric") else view


def get_metric(session: Session, project_id: str, name_or_id: str, *, component: str | None = None) -> MetricView:
    """Return the project's row of a metric, or a component's own row; NotFound when there is none."""
    owner = _find_owner(session, project_id, component)
    return _view(_get_row(session, project_id, name_or_id, owner, create_override=False), owner.name)


def find_metrics(  # noqa: PLR0913 - one keyword per filter
    session: Session,
    project_id: str,
    *,
    search: str | None = None,
    kind: str | None = None,
    component: str | None = None,
    visible: str | None = None,
    sort: str = "name",
    limit: int = 100,
    cursor: str | None = None,
) -> Page[MetricView]:
    """Return one page of the project's metrics, or of one component's own rows.

    Args:
        session: An open session.
        project_id: The one project.
        search: Part of name or title, in any case.
        kind: gauge, counter, delta or state; a metric without a kind is a gauge.
        component: Name or id: only the rows that this component has of its own.
        visible: Name of the only component the caller may see; None is all of them.
        sort: name or created_at, with `-` before it to reverse.
        limit: Metrics per page, at most 1000.
        cursor: `next_cursor` of the page before.
    """
    owner = _find_owner(session, project_id, component, visible=visible)
    statement = _filter(project_id, search=search, kind=kind, component_id=owner.id)
    order = read_order(sort, SORT_COLUMNS, Metric.id)
    rows, next_cursor, total = load_page(session, statement, order, limit=limit, cursor=cursor)
    return Page(items=tuple(_view(row, owner.name) for row in rows), next_cursor=next_cursor, total=total)


def resolve_attributes(
    session: Session, project_id: str, series: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], MetricAttributes]:
    """Return the attributes of each (component, metric): the component's own, else the project's, else the defaults.

    Series with equal attributes share one value: a million series of ten metrics are ten values.
    """
    wanted = list(series)
    metrics = sorted({metric for _, metric in wanted})
    common: dict[str, Metric] = {}
    own: dict[tuple[str, str], Metric] = {}
    for portion in split_names(metrics):
        statement = (
            select(Metric, Component.name)
            .outerjoin(Component, Component.id == Metric.component_id)
            .where(Metric.project_id == project_id, Metric.name.in_(portion))
        )
        for row, component in session.execute(statement):
            if row.component_id is None:
                common[row.name] = row
            else:
                own[component, row.name] = row
    project = session.get(Project, project_id)
    lateness_s = None if project is None else project.lateness_limit_s
    shared = {metric: _resolve(common.get(metric), None, lateness_s) for metric in metrics}
    return {key: _resolve(common.get(key[1]), own[key], lateness_s) if key in own else shared[key[1]] for key in wanted}


def metric_row(project_id: str, name: str) -> dict[str, Any]:
    """Return the row of a metric that was first seen in a measurement."""
    return {"id": new_id("met"), "project_id": project_id, "name": name, "search_text": search_text(name, "")}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Owner:
    """The component whose row of a metric is meant; both None for the project's own row."""

    id: str | None
    name: str | None


def _find_owner(session: Session, project_id: str, component: str | None, *, visible: str | None = None) -> _Owner:
    if component is None:
        return _Owner(id=None, name=None)
    found = get_component(session, project_id, component, visible=visible)
    return _Owner(id=found.id, name=found.name)


def _filter(project_id: str, *, search: str | None, kind: str | None, component_id: str | None) -> Select[Metric]:
    problem = find_text_problem(search or "")
    if problem is not None:
        raise Refused(f"a search {problem}", code="filter_refused")
    if kind is not None and kind not in set(MetricKind):
        raise Refused(f"a kind is one of {', '.join(MetricKind)}, not {kind[:64]!r}", code="filter_refused")
    statement = select(Metric).where(Metric.project_id == project_id, Metric.component_id == component_id)
    if search:
        statement = statement.where(Metric.search_text.contains(search.casefold(), autoescape=True))
    if kind == MetricKind.GAUGE:
        statement = statement.where(func.coalesce(Metric.kind, kind) == kind)
    elif kind is not None:
        statement = statement.where(Metric.kind == kind)
    return statement


def _get_row(session: Session, project_id: str, name_or_id: str, owner: _Owner, *, create_override: bool) -> Metric:
    missing = NotFound(f"there is no metric {name_or_id[:NAME_CHARACTERS]!r}", code="metric_not_found")
    if find_name_problem(name_or_id) is not None:
        raise missing
    common = select(Metric).where(Metric.project_id == project_id, Metric.component_id.is_(None))
    by_id = session.scalars(common.where(Metric.id == name_or_id)).one_or_none()
    name = name_or_id if by_id is None else by_id.name
    named = select(Metric).where(Metric.project_id == project_id, Metric.name == name)
    row = session.scalars(named.where(Metric.component_id == owner.id)).one_or_none()
    if row is None and owner.id is not None and create_override:
        if session.scalars(common.where(Metric.name == name)).one_or_none() is None:
            raise missing
        row = Metric(**metric_row(project_id, name), component_id=owner.id)
        session.add(row)
        session.flush()
    if row is None:
        raise missing
    return row


def _find_problems(row: int, name: str, metric: NewMetric | Mapping[str, object]) -> list[RowProblem]:
    values = metric if isinstance(metric, Mapping) else {column: getattr(metric, column) for column in CHANGEABLE}
    found: dict[str, str | None] = {"name": find_name_problem(name)}
    found |= {column: _find_text_column_problem(values[column]) for column in TEXT_COLUMNS}
    found |= {column: find_number_problem(values[column], positive=False) for column in LIMIT_COLUMNS}
    found |= {column: find_number_problem(values[column], positive=True) for column in POSITIVE_COLUMNS}
    kind = values["kind"]
    found["kind"] = None if kind is None or kind in list(MetricKind) else f"is not one of {', '.join(MetricKind)}"
    found["state_classes"] = _find_states_problem(values["state_classes"], _find_class_problem)
    found["state_names"] = _find_states_problem(values["state_names"], _find_state_name_problem)
    found["alive_metric"] = _find_alive_problem(name, values["alive_metric"])
    found["subgroup"] = _find_subgroup_problem(values["subgroup"])
    lsl, usl = values["lsl"], values["usl"]
    if isinstance(lsl, int | float) and isinstance(usl, int | float) and lsl > usl:
        found["lsl"] = "is above usl"
    return [
        RowProblem(row=row, field=column, reason=problem) for column, problem in found.items() if problem is not None
    ]


def _find_text_column_problem(value: object) -> str | None:
    if value is None:
        return None
    return find_text_problem(value, limit_characters=NAME_CHARACTERS) if isinstance(value, str) else "is not text"


def _find_states_problem(states: object, find_problem: Callable[[object], str | None]) -> str | None:
    """Return why a map from states is not acceptable, or None; `find_problem` looks at what they are mapped to."""
    if states is None:
        return None
    if not isinstance(states, Mapping) or len(states) > MAX_STATES:
        return f"is not an object of at most {MAX_STATES} states"
    for state, said in states.items():
        if _read_state(state) is None:
            return "has a state that is not a finite number"
        problem = find_problem(said)
        if problem is not None:
            return problem
    return None


def _find_class_problem(state_class: object) -> str | None:
    if state_class in list(StateClass):  # a list compares what cannot be hashed
        return None
    return f"has a class that is not one of {', '.join(StateClass)}"


def _find_state_name_problem(name: object) -> str | None:
    problem = find_name_problem(name) if isinstance(name, str) else "is not text"
    return None if problem is None else f"has a name that {problem}"


def _find_alive_problem(name: str, alive_metric: object) -> str | None:
    if alive_metric is None:
        return None
    if not isinstance(alive_metric, str):
        return "is not text"
    return "is the metric itself" if alive_metric == name else find_name_problem(alive_metric)


def _find_subgroup_problem(subgroup: object) -> str | None:
    if subgroup is None:
        return None
    if not isinstance(subgroup, str):
        return "is not text"
    try:
        parse_subgroup(subgroup)
    except Refused as refusal:
        return refusal.message
    return None


def _read_state(state: object) -> float | None:
    try:
        number = float(str(state))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _canonical(values: Mapping[str, object]) -> dict[str, Any]:
    """Return values as stored: numbers as float, states as the shortest text of their number ("1", not "1.0")."""
    stored: dict[str, Any] = dict(values)
    for column in (*LIMIT_COLUMNS, *POSITIVE_COLUMNS):
        if stored[column] is not None:
            stored[column] = float(stored[column])
    for column in STATE_COLUMNS:
        if stored[column] is not None:
            stored[column] = {
                repr(float(state)).removesuffix(".0"): str(said) for state, said in stored[column].items()
            }
    if stored["subgroup"] is not None:
        stored["subgroup"] = parse_subgroup(stored["subgroup"]).expression
    return stored


def _add_hints(session: Session, project_id: str, views: Sequence[MetricView]) -> list[MetricView]:
    """Return the views with a hint where nobody knows the alive metric yet: it may come, or be misspelled."""
    asked = {view.alive_metric for view in views if view.alive_metric is not None}
    known = {name for _, name in _find_stored(session, project_id, sorted(asked))}
    return [
        replace(view, hints=(hint_unseen("alive_metric", view.alive_metric),))
        if view.alive_metric is not None and view.alive_metric not in known
        else view
        for view in views
    ]


def _find_repeated(new: Sequence[NewMetric]) -> list[RowProblem]:
    seen: set[tuple[str | None, str]] = set()
    problems = []
    for row, metric in enumerate(new):
        key = (metric.component, metric.name)
        if key in seen:
            problems.append(RowProblem(row=row, field="name", reason="repeats the name of an earlier row"))
        seen.add(key)
    return problems


def _find_stored(session: Session, project_id: str, names: Iterable[str]) -> set[tuple[str | None, str]]:
    stored: set[tuple[str | None, str]] = set()
    for portion in split_names(names):
        statement = select(Metric.component_id, Metric.name).where(
            Metric.project_id == project_id, Metric.name.in_(portion)
        )
        stored.update((component_id, name) for component_id, name in session.execute(statement))
    return stored


def _row(project_id: str, metric: NewMetric, component_id: str | None, now: datetime) -> dict[str, Any]:
    return {
        **metric_row(project_id, metric.name),
        **_canonical({column: getattr(metric, column) for column in CHANGEABLE}),
        "component_id": component_id,
        "search_text": search_text(metric.name, metric.title),
        "created_at": now,
        "updated_at": now,
    }


def _resolve(common: Metric | None, own: Metric | None, lateness_s: float | None) -> MetricAttributes:
    values: dict[str, Any] = {"lateness_s": lateness_s}
    for row in (common, own):
        if row is not None:
            said = {column: getattr(row, column) for column in CHANGEABLE if column != "title"}
            values |= {column: value for column, value in said.items() if value is not None}
    if "kind" in values:
        values["kind"] = MetricKind(values["kind"])
    if "state_classes" in values:
        values["state_classes"] = {
            float(state): StateClass(state_class) for state, state_class in values["state_classes"].items()
        }
    if "state_names" in values:
        values["state_names"] = {float(state): name for state, name in values["state_names"].items()}
    if "subgroup" in values:
        values["subgroup"] = parse_subgroup(values["subgroup"])
    return MetricAttributes(**values)


def _view(row: Metric, component: str | None) -> MetricView:
    return MetricView(
        id=row.id,
        name=row.name,
        component=component,
        created_at=row.created_at,
        updated_at=row.updated_at,
        **{column: getattr(row, column) for column in CHANGEABLE},
    )
