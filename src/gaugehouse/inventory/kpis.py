"""KPIs of a project: the built-in ones, and those its managers define, version by version."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from gaugehouse.database import database_now, new_id
from gaugehouse.database.tables import Component, KpiDefinition, Metric
from gaugehouse.errors import NotFound, Refused, TooLarge
from gaugehouse.inventory.checks import find_text_problem
from gaugehouse.kpi import CATALOGUE, Definition, KnownMetric, Kpi, define, make_kpis
from gaugehouse.kpi.definition import MAX_EDGE_CHARACTERS, MAX_TITLE_CHARACTERS, MAX_UNIT_CHARACTERS
from gaugehouse.measurements.metric import MetricKind
from gaugehouse.measurements.names import find_name_problem

MAX_PROJECT_KPIS = 500  # all of them are looked at whenever one changes
ROWS_PER_FETCH = 1_000
# What a new version may differ in; the rest follows from it.
WRITTEN = ("title", "unit", "formula", "edge", "higher_is_better", "metric_units")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKpi:
    """A KPI to define, or the next version of one."""

    name: str
    title: str
    unit: str
    formula: str
    edge: str = ""
    higher_is_better: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KpiView:
    """A KPI as others see it.

    Args:
        name: Of the KPI, in requests and formulas.
        title: For people.
        unit: Of its values; `U` is the unit of the metric.
        formula: In the formula language.
        source: What it follows; empty for a project's own.
        edge: When it has no value, and what happens at the borders of the period.
        kinds: Kinds of metrics that have it; None: it does not fit this version of Gaugehouse any more.
        is_built_in: Whether every project has it.
        higher_is_better: None: neither is.
        version: Counts up with each change; 0 for a built-in one.
        defined_by: Who defined this version; None for a built-in one.
        created_at: When; None for a built-in one.
    """

    name: str
    title: str
    unit: str
    formula: str
    source: str
    edge: str
    kinds: tuple[MetricKind, ...] | None
    is_built_in: bool
    higher_is_better: bool | None
    version: int
    defined_by: str | None = None
    created_at: datetime | None = None


def find_kpis(session: Session, project_id: str) -> list[KpiView]:
    """Return the built-in KPIs, then the newest version of each of the project's, by name."""
    built_in = [_view_built_in(kpi) for kpi in CATALOGUE.values()]
    rows = _find_newest(session, project_id)
    made = _make_all(rows)
    return built_in + [_view(row, made.get(row.name)) for row in rows]


def find_kpi_versions(session: Session, project_id: str, name: str) -> list[KpiView]:
    """Return all versions of a KPI, the newest first.

    Raises:
        NotFound: There is no KPI of this name.
    """
    if name in CATALOGUE:
        return [_view_built_in(CATALOGUE[name])]
    rows: Sequence[KpiDefinition] = ()
    if find_name_problem(name) is None:  # some text would make a driver fail
        statement = (
            select(KpiDefinition)
            .where(KpiDefinition.project_id == project_id, KpiDefinition.name == name)
            .order_by(KpiDefinition.version.desc())
        )
        rows = session.scalars(statement).all()
    if not rows:
        raise NotFound(f"there is no KPI {name[:64]!r}", code="kpi_not_found")
    others = {one.name: one for one in _find_newest(session, project_id)}
    return [_view(row, _make_all([*(others | {name: row}).values()]).get(name)) for row in rows]


def define_kpi(session: Session, project_id: str, new: NewKpi, *, defined_by: str) -> KpiView:
    """Store a KPI, or the next version of one; what is not different is no new version.

    Raises:
        Refused: A text, the name, the formula or its unit is not right; fields tell the place.
        TooLarge: The project has too many KPIs.
    """
    for name in ("title", "unit", "edge"):
        limit = {"title": MAX_TITLE_CHARACTERS, "unit": MAX_UNIT_CHARACTERS, "edge": MAX_EDGE_CHARACTERS}[name]
        problem = find_text_problem(getattr(new, name), limit_characters=limit)
        if problem is not None:
            raise Refused(f"the {name} of the KPI {problem}", code="kpi_refused")
    rows = _find_newest(session, project_id)
    before = next((row for row in rows if row.name == new.name), None)
    if before is None and len(rows) >= MAX_PROJECT_KPIS:
        raise TooLarge(f"a project has at most {MAX_PROJECT_KPIS} KPIs", code="too_many_kpis")
    version = 1 if before is None else before.version + 1
    written = Definition(version=version, **{name: getattr(new, name) for name in NewKpi.__dataclass_fields__})
    metrics, attributes = _find_metrics(session, project_id), _find_attribute_names(session, project_id)
    others = [_read(row) for row in rows]
    checked = define(written, others, built_in=CATALOGUE, metrics=metrics, attributes=attributes)
    if before is not None and replace(_read(before), version=version) == checked:
        return _view(before, _make_all(rows).get(new.name))
    row = KpiDefinition(
        id=new_id("kpi"),
        project_id=project_id,
        name=new.name,
        version=version,
        defined_by=defined_by,
        created_at=session.scalars(select(database_now())).one(),
        **{name: getattr(checked, name) for name in WRITTEN},
    )
    row.metric_units = dict(checked.metric_units)
    session.add(row)
    session.flush()
    kept = [one for one in rows if one.name != new.name]
    return _view(row, _make_all([*kept, row]).get(new.name))


def find_definitions(session: Session, project_id: str) -> list[Definition]:
    """Return the newest version of each of the project's own KPIs, by name."""
    return [_read(row) for row in _find_newest(session, project_id)]


def _find_newest(session: Session, project_id: str) -> list[KpiDefinition]:
    statement = (
        select(KpiDefinition)
        .where(KpiDefinition.project_id == project_id)
        .order_by(KpiDefinition.name, KpiDefinition.version)
    )
    return list({row.name: row for row in session.scalars(statement)}.values())


def _find_metrics(session: Session, project_id: str) -> dict[str, KnownMetric]:
    """Return the project's metrics with unit and kind; where a component differs, its values are converted later."""
    statement = select(Metric.name, Metric.unit, Metric.kind).where(
        Metric.project_id == project_id, Metric.component_id.is_(None)
    )
    return {
        row.name: KnownMetric(unit=row.unit or "", kind=MetricKind(row.kind or MetricKind.GAUGE))
        for row in session.execute(statement)
    }


def _find_attribute_names(session: Session, project_id: str) -> frozenset[str]:
    statement = select(Component.attributes).where(Component.project_id == project_id)
    found: set[str] = set()
    for attributes in session.scalars(statement.execution_options(yield_per=ROWS_PER_FETCH)):
        found.update(attributes)
    return frozenset(found)


def _make_all(rows: Iterable[KpiDefinition]) -> dict[str, Kpi]:
    """Return the KPIs that can be computed; one that an earlier version of Gaugehouse took may be refused now."""
    definitions = [_read(row) for row in rows]
    try:
        return make_kpis(definitions, known=CATALOGUE)
    except Refused:
        return _make_sound(definitions)


def _make_sound(definitions: Sequence[Definition]) -> dict[str, Kpi]:
    made: dict[str, Kpi] = {}
    waiting = list(definitions)
    while waiting:
        left = []
        for one in waiting:
            try:
                made |= make_kpis([one], known={**CATALOGUE, **made})
            except Refused:
                left.append(one)
        if len(left) == len(waiting):
            break
        waiting = left
    return made


def _read(row: KpiDefinition) -> Definition:
    return Definition(name=row.name, version=row.version, **{name: getattr(row, name) for name in WRITTEN})


def _view_built_in(kpi: Kpi) -> KpiView:
    definition = kpi.definition
    return KpiView(
        name=kpi.name,
        title=kpi.title,
        unit=kpi.unit,
        formula=kpi.formula,
        source=kpi.source,
        edge=kpi.edge,
        kinds=_sort_kinds(kpi),
        is_built_in=True,
        higher_is_better=definition.higher_is_better,
        version=definition.version,
    )


def _view(row: KpiDefinition, kpi: Kpi | None) -> KpiView:
    return KpiView(
        name=row.name,
        title=row.title,
        unit=row.unit,
        formula=row.formula,
        source="",
        edge=row.edge,
        kinds=None if kpi is None else _sort_kinds(kpi),
        is_built_in=False,
        higher_is_better=row.higher_is_better,
        version=row.version,
        defined_by=row.defined_by,
        created_at=row.created_at,
    )


def _sort_kinds(kpi: Kpi) -> tuple[MetricKind, ...]:
    return tuple(sorted(kpi.kinds))
