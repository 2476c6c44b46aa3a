"""The demo's way into an installation: what the inventory shall know first, then every delivery through ingest."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
from sqlalchemy.orm import Session

from gaugehouse.database import Database
from gaugehouse.database.tables import Setting
from gaugehouse.demo.fleet import FleetPlan
from gaugehouse.demo.host import describe_host, describe_host_metrics
from gaugehouse.demo.plant import FleetComponent, FleetMetric
from gaugehouse.errors import NotFound, Overloaded
from gaugehouse.ingest import Limits, Receipt, accept_events, accept_measurements
from gaugehouse.ingest.accept import AppendsRows, KnowsNames
from gaugehouse.inventory import (
    NewComponent,
    NewMetric,
    create_components,
    create_metrics,
    find_component_names,
    get_metric,
    get_project,
)
from gaugehouse.measurements.metric import MetricKind

ARROW_STREAM = "application/vnd.apache.arrow.stream"
DEFAULT_PROJECT = "default"
FIRST_FLEET = "demo.first_fleet"  # setting: when the first load began, and whether it ended
OVERLOAD_PATIENCE_S = 300  # a flush that has not made room by then never will
DEFAULT_WAIT_S = 1.0
EVENT_COLUMNS = ["component", "kind", "occurred_at", "body"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetLoaded:
    """What the receipts of all deliveries of a fleet add up to.

    Args:
        rows: Rows delivered: accepted + duplicates + conflicts.
        accepted: Rows that are new and on disk.
        duplicates: Rows that were known with the same value.
        conflicts: Rows that were known with another value.
        late: Accepted rows that were not newer than their series.
        events: New events, those about conflicts not included.
    """

    rows: int = 0
    accepted: int = 0
    duplicates: int = 0
    conflicts: int = 0
    late: int = 0
    events: int = 0


Progress = Callable[[int, int], None]


def load_fleet(  # noqa: PLR0913 - one load has this many sides, each given by the caller
    lake: AppendsRows,
    database: Database,
    registry: KnowsNames,
    plan: FleetPlan,
    now: datetime,
    *,
    project: str = DEFAULT_PROJECT,
    on_progress: Progress | None = None,
) -> FleetLoaded:
    """Register the plan's machines and deliver all they measured, as requests would; return when all is durable.

    What the inventory knows already stays as it is. A second load with the same plan and `now` stores nothing.

    Args:
        lake: Where rows are appended.
        database: Where components and metrics are registered.
        registry: Names known so far.
        plan: The fleet.
        now: End of its period.
        project: Slug of an existing project.
        on_progress: Called after each delivery with rows delivered and rows to be expected (an estimate).

    Raises:
        Overloaded: the flush has not made room for minutes.
        NotFound: there is no such project.
        GaugehouseError: what the lake raises.
    """
    register(database, plan.components(), plan.metrics(), project=project)
    total = FleetLoaded()
    for batch in plan.deliveries(now):
        total = _add(total, _deliver(accept_measurements, lake, registry, project, batch))
        if on_progress is not None:
            on_progress(total.rows, max(plan.estimated_rows, total.rows))
    if on_progress is not None:
        on_progress(total.rows, total.rows)  # the expected number was an estimate
    events = plan.events(now).select(EVENT_COLUMNS)
    accepted = sum(
        _deliver(accept_events, lake, registry, project, events.slice(offset, Limits().rows_limit)).accepted
        for offset in range(0, len(events), Limits().rows_limit)
    )
    return FleetLoaded(
        rows=total.rows,
        accepted=total.accepted,
        duplicates=total.duplicates,
        conflicts=total.conflicts,
        late=total.late,
        events=accepted,
    )


def load_first_fleet(
    lake: AppendsRows,
    database: Database,
    registry: KnowsNames,
    plan: FleetPlan,
    *,
    has_rows: bool,
    on_progress: Progress | None = None,
) -> bool:
    """Load the plan once in the life of an installation that held no rows (`has_rows`); say whether it was now.

    The plan's `now` is kept before the first row is delivered: a load that was cut short is taken up with the same
    rows, which are duplicates where they arrived already.
    """
    with database.transaction() as session:
        begun = session.get(Setting, FIRST_FLEET)
        if has_rows if begun is None else begun.value["is_loaded"]:
            return False
        now = datetime.now(UTC).isoformat() if begun is None else begun.value["now"]
        session.merge(Setting(name=FIRST_FLEET, value={"now": now, "is_loaded": False}))
    load_fleet(lake, database, registry, plan, datetime.fromisoformat(now), on_progress=on_progress)
    with database.transaction() as session:
        session.merge(Setting(name=FIRST_FLEET, value={"now": now, "is_loaded": True}))
    return True


def register_host(database: Database, *, project: str = DEFAULT_PROJECT) -> None:
    """Make this machine and its metrics known, before its `HostCollector` starts."""
    register(database, [describe_host()], describe_host_metrics(), project=project)


def register(
    database: Database, components: Sequence[FleetComponent], metrics: Sequence[FleetMetric], *, project: str
) -> None:
    """Create the components and metrics that do not exist yet, in one transaction."""
    with database.transaction() as session:
        project_id = get_project(session, project).id
        known = set(find_component_names(session, project_id))
        fresh = [component for component in components if component.name not in known]
        create_components(session, project_id, [_new_component(component) for component in fresh])
        names = {component.name for component in fresh}
        create_metrics(session, project_id, list(_find_missing(session, project_id, metrics, names)))


def _find_missing(
    session: Session, project_id: str, metrics: Sequence[FleetMetric], fresh: set[str]
) -> Iterable[NewMetric]:
    for metric in metrics:
        if metric.component is None and not _is_known(session, project_id, metric.name):
            yield _new_metric(metric)
        elif metric.component in fresh:
            yield _new_override(metric)


def _is_known(session: Session, project_id: str, name: str) -> bool:
    try:
        get_metric(session, project_id, name)
    except NotFound:
        return False
    return True


def _new_component(component: FleetComponent) -> NewComponent:
    line = {"line": component.line} if component.line else {}
    return NewComponent(
        name=component.name,
        title=component.title,
        type=component.type,
        labels={**line, **component.labels},
        attributes=component.attributes,
    )


def _new_metric(metric: FleetMetric) -> NewMetric:
    own = metric.attributes
    states = {f"{value:g}": state.value for value, state in own.state_classes.items()}
    return NewMetric(
        name=metric.name,
        title=metric.title,
        kind=own.kind.value,
        unit=own.unit,
        lsl=own.lsl,
        usl=own.usl,
        target=own.target,
        nominal_interval_s=own.nominal_interval_s,
        max_hold_s=own.max_hold_s,
        rollover_at=own.rollover_at,
        max_rate=own.max_rate,
        state_classes=states if own.kind is MetricKind.STATE else None,
    )


def _new_override(metric: FleetMetric) -> NewMetric:
    """Return only what differs for one component; the rest it inherits from the project's row."""
    own = metric.attributes
    return NewMetric(
        name=metric.name,
        component=metric.component,
        lsl=own.lsl,
        usl=own.usl,
        target=own.target,
        rollover_at=own.rollover_at,
    )


def _deliver(
    accept: Callable[..., Receipt], lake: AppendsRows, registry: KnowsNames, project: str, batch: pa.Table
) -> Receipt:
    """Send a batch the way a request would arrive, as bytes; wait while the flush is behind."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_table(batch)
    body = sink.getvalue().to_pybytes()
    until_s = time.monotonic() + OVERLOAD_PATIENCE_S
    while True:
        try:
            return accept(lake, registry, project, body, ARROW_STREAM, limits=Limits())
        except Overloaded as overload:
            if time.monotonic() > until_s:
                raise
            time.sleep(overload.retry_after_s or DEFAULT_WAIT_S)


def _add(total: FleetLoaded, receipt: Receipt) -> FleetLoaded:
    return FleetLoaded(
        rows=total.rows + receipt.accepted + receipt.duplicates + receipt.conflicts,
        accepted=total.accepted + receipt.accepted,
        duplicates=total.duplicates + receipt.duplicates,
        conflicts=total.conflicts + receipt.conflicts,
        late=total.late + receipt.late,
        events=total.events,
    )
