"""From a question to its pin: everything is checked and resolved before a job exists."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from gaugehouse import __version__
from gaugehouse.database.tables import Component, Metric
from gaugehouse.errors import MAX_ROWS_NAMED, NotFound, Refused, TooLarge
from gaugehouse.inventory.checks import split_names
from gaugehouse.kpi import CATALOGUE, FACTS_VERSION, Kpi
from gaugehouse.lake import Gone, Snapshot
from gaugehouse.measurements.metric import MetricKind
from gaugehouse.measurements.period import Period, explicit_period, parse_instant, parse_period
from gaugehouse.query import resolve_components
from gaugehouse.query.components import show_name
from gaugehouse.reports.allowance import Allowance, check_allowance
from gaugehouse.reports.compute import find_needed_from
from gaugehouse.reports.firmware import FIRMWARE, find_versions
from gaugehouse.reports.formulas import (
    choose_definitions,
    find_supporting,
    make_catalogue,
    pin_series,
    read_attributes,
)
from gaugehouse.reports.grouping import SHIFT, check_grouping
from gaugehouse.reports.pin import Pin, PinnedComponent, PinnedSeries
from gaugehouse.reports.planned import cut_period, pin_comparison, pin_exclusions, pin_shift_calendar
from gaugehouse.reports.request import ComponentFilter, PeriodBounds, ReportRequest
from gaugehouse.reports.zones import find_tzdata_version

CATALOGUE_DIGITS = 16

DEFAULT_KPIS: Mapping[MetricKind, tuple[str, ...]] = {
    MetricKind.GAUGE: ("count", "min", "max", "mean", "time_weighted_mean", "completeness", "coverage"),
    MetricKind.COUNTER: ("count", "counter_increase", "rate", "completeness", "coverage"),
    MetricKind.DELTA: ("count", "total", "completeness"),
    MetricKind.STATE: ("availability", "uptime", "downtime", "unknown_time", "coverage"),
}
DEFAULT_ALLOWANCE = Allowance()
_DEFAULT_NAMES = tuple(dict.fromkeys(name for names in DEFAULT_KPIS.values() for name in names))


class PinSource(Protocol):
    """What a pin needs to know of the lake: `Lake` itself, or a stand-in where no lake is open."""

    def newest_received_at(self) -> datetime | None:
        """Return the newest acknowledged received_at."""

    def series(self, project: str, components: Sequence[str] | None = None) -> pa.Table:
        """Return at least component and metric of every series that has rows anybody can read."""

    def gone(self, project: str, table: str) -> Gone | None:
        """Return before which instant rows were dropped on purpose."""

    def pin(self) -> Snapshot | None:
        """Return what the lake shows now, if there is one."""


def make_pin(  # noqa: PLR0913 - what is asked, of what, by the clock of whom, how large
    session: Session,
    source: PinSource,
    *,
    project: str,
    project_id: str,
    body: ReportRequest,
    asked_at: datetime,
    cells_limit: int,
    period: Period | None = None,
    allowance: Allowance = DEFAULT_ALLOWANCE,
) -> Pin:
    """Resolve a question to everything its numbers depend on.

    Args:
        session: An open session.
        source: The lake.
        project: Slug.
        project_id: Its id.
        body: The question.
        asked_at: The `now` of named and running periods.
        cells_limit: Most values (series x KPIs x buckets).
        period: What the question's period was resolved to before; `last_week` of a later revision is the same week.
        allowance: What else it may cost.

    Raises:
        PeriodRefused: Period, zone or bucket cannot be understood, or shifts are asked for where there are none.
        NotFound: Components or metrics that the project does not have.
        Refused: KPIs that nobody knows, or that no chosen metric can have.
        TooLarge: More values than the limit, more exclusion windows, or more rows to read; the numbers are named.
    """
    period = period or _read_period(body, asked_at)
    gone = source.gone(project, "measurements")
    refuse_gone(gone, period.start)  # at once: below, many series may have to be looked at
    definitions = choose_definitions(session, project_id, body.kpis)
    catalogue = make_catalogue(definitions)
    _check_kpis(body.kpis, catalogue)
    check_grouping(body.group_by)
    _check_metrics(session, project_id, body.metrics)
    calendar = pin_shift_calendar(session, project_id)
    edges_us, shifts = cut_period(period, body.bucket, calendar, limit=cells_limit)
    in_shifts = cut_period(period, SHIFT, calendar, limit=cells_limit) if body.group_by == SHIFT else None
    comparison = None
    if body.compare is not None:
        comparison = pin_comparison(
            period,
            body.compare,
            now=asked_at,
            bucket=body.bucket,
            calendar=calendar,
            shifts=shifts,
            edges_us=edges_us,
            gone=gone,
            limit=cells_limit,
        )
    compared = [] if comparison is None or comparison.period is None else [comparison.period]
    as_of = source.newest_received_at()
    components = _pin_components(session, project_id, body, period)
    names = [one.name for one in components]
    newest = source.series(project, None if body.components == "all" else tuple(names))
    _check_size_at_least(newest, body, edges_us, cells_limit)
    known = _find_known(session, newest, project_id, names)
    keys = _find_series(known, body, names)
    used = [catalogue[name] for name in body.kpis or _DEFAULT_NAMES]
    of_components = read_attributes(session, project_id, names, used)
    series, supporting = pin_series(session, project_id, keys, find_supporting(keys, known, of_components, used))
    if of_components:
        components = tuple(replace(one, attributes=of_components.get(one.name, {})) for one in components)
    if body.metrics is not None:  # a component that measures other things is not part of the question
        concerned = {component for component, _ in keys}
        components = tuple(one for one in components if one.name in concerned)
    is_whole = as_of is not None  # before the first row, and for a template, nobody knows which metrics there will be
    kpis = _choose_kpis(body.kpis, series if is_whole else (), catalogue)
    _check_size(series, kpis, edges_us, cells_limit)
    if in_shifts is not None:
        _check_size(series, kpis, in_shifts[0], cells_limit)
    names = [one.name for one in components]
    pin = Pin(
        project=project,
        as_of=as_of,
        asked_at=asked_at,
        period=period,
        bucket=body.bucket,
        edges_us=edges_us,
        components=components,
        series=series,
        kpis=kpis,
        **find_versions_of_now(),
        supporting=supporting,
        definitions=definitions,
        shift_calendar=calendar,
        shifts=shifts,
        exclusions=pin_exclusions(session, project_id, names, [period, *compared]),
        comparison=comparison,
        rows_from=None if gone is None else gone.before,
        group_by=body.group_by,
        group_edges_us=() if in_shifts is None else tuple(in_shifts[0].tolist()),
        group_shifts=() if in_shifts is None else in_shifts[1],
        firmware=find_versions(source.pin(), project, names, period) if body.group_by == FIRMWARE else {},
    )
    check_allowance(pin, source.pin(), allowance)
    return pin


def refuse_gone(gone: Gone | None, needed_from: datetime) -> None:
    """Refuse numbers that need rows which were dropped: over a part of them they would look whole.

    Args:
        gone: What was dropped.
        needed_from: Instant of the oldest row that is needed.

    Raises:
        Refused: measurements that are needed were dropped by retention.
    """
    if gone is not None and needed_from < gone.before:
        raise Refused(
            f"measurements before {gone.before:%Y-%m-%d %H:%M} UTC are gone since {gone.since:%Y-%m-%d %H:%M} UTC "
            "(retention); ask for a later period",
            code="dropped_by_retention",
            fields={"before": gone.before.isoformat(), "gone_since": gone.since.isoformat()},
        )


def refuse_gone_of(gone: Gone | None, pin: Pin) -> None:
    """Refuse a report that cannot be computed from its pin any more. Raises as `refuse_gone`."""
    for period in pin.periods:
        refuse_gone(gone, find_needed_from(pin, period))


class Versions(TypedDict):
    """By what a report is computed, as a pin names it: formulas, rules of time zones, code."""

    catalogue_version: str
    tzdata_version: str
    code_version: str


def find_versions_of_now() -> Versions:
    """Return by what a report is computed now."""
    return {
        "catalogue_version": find_catalogue_version(),
        "tzdata_version": find_tzdata_version(),
        "code_version": __version__,
    }


def find_catalogue_version() -> str:
    """Return a digest over what the catalogue says of each KPI, and by which facts: it changes when a number could."""
    rows = [
        (one.name, one.unit, one.formula, one.edge, sorted(one.kinds), one.definition.zero, str(one.definition.caveats))
        for one in CATALOGUE.values()
    ]
    return hashlib.sha256(json.dumps([FACTS_VERSION, rows]).encode()).hexdigest()[:CATALOGUE_DIGITS]


def _read_period(body: ReportRequest, now: datetime) -> Period:
    if isinstance(body.period, PeriodBounds):
        start = parse_instant(body.period.start, timezone=body.timezone)
        end = parse_instant(body.period.end, timezone=body.timezone)
        return explicit_period(start, end, timezone=body.timezone)
    return parse_period(body.period, timezone=body.timezone, now=now)


def _check_kpis(kpis: Sequence[str] | None, catalogue: Mapping[str, Kpi]) -> None:
    if kpis is None:
        return
    unknown = [name for name in kpis if name not in catalogue]
    if unknown or not kpis:
        shown = [show_name(name) for name in unknown[:MAX_ROWS_NAMED]]
        wrong = ", ".join(map(repr, shown))
        raise Refused(
            f"there is no KPI {wrong}; known are {', '.join(catalogue)}" if wrong else "name at least one KPI",
            code="kpi_unknown",
            fields={"unknown": shown, "known": list(catalogue)},
        )


def _pin_components(
    session: Session, project_id: str, body: ReportRequest, period: Period
) -> tuple[PinnedComponent, ...]:
    """Return the components asked for; those retired before the period begins only where they are named."""
    chosen: tuple[str, ...] | None
    if body.components == "all":
        chosen = None
    elif isinstance(body.components, ComponentFilter):
        chosen = resolve_components(session, project_id, type=body.components.type, labels=body.components.labels)
    else:
        chosen = resolve_components(session, project_id, names=body.components)
    statement = (
        select(Component.name, Component.type, Component.labels, Component.commissioned_at, Component.retired_at)
        .where(Component.project_id == project_id)
        .order_by(Component.name)
    )
    if not isinstance(body.components, tuple):
        statement = statement.where(or_(Component.retired_at.is_(None), Component.retired_at > period.start))
    portions = [statement] if chosen is None else [statement.where(Component.name.in_(p)) for p in split_names(chosen)]
    return tuple(
        PinnedComponent(
            name=row.name,
            type=row.type,
            labels=dict(row.labels),
            commissioned_at=row.commissioned_at,
            retired_at=row.retired_at,
        )
        for portion in portions
        for row in session.execute(portion)
    )


def _find_known(session: Session, newest: pa.Table, project_id: str, components: Sequence[str]) -> set[tuple[str, str]]:
    """Return (component, metric) of the series that have rows, and of those that are described for one component."""
    listed = set(components)
    known = set(zip(newest["component"].to_pylist(), newest["metric"].to_pylist(), strict=True))
    known |= _find_described(session, project_id)
    return {key for key in known if key[0] in listed}


def _find_series(
    known: Collection[tuple[str, str]], body: ReportRequest, components: Sequence[str]
) -> list[tuple[str, str]]:
    """Return (component, metric) of every series the report is about, sorted, silent ones included.

    A component without any known series gets the metrics that were asked for; components that were named get each
    metric that was named.
    """
    if body.metrics is None:
        return sorted(known)
    listed = set(components)
    silent = listed - {component for component, _ in known}
    is_named = isinstance(body.components, tuple)
    wanted = {(component, metric) for component in (listed if is_named else silent) for metric in body.metrics}
    metrics = set(body.metrics)
    return sorted(wanted | {key for key in known if key[1] in metrics})


def _check_metrics(session: Session, project_id: str, metrics: Sequence[str] | None) -> None:
    if metrics is None:
        return
    statement = select(Metric.name).where(Metric.project_id == project_id).distinct()
    known = set(session.scalars(statement))
    missing = [name for name in metrics if name not in known]
    if missing:
        shown = [show_name(name) for name in missing[:MAX_ROWS_NAMED]]
        raise NotFound(
            f"there is no metric {shown[0]!r}" + (f", nor {len(missing) - 1} others" if len(missing) > 1 else ""),
            code="metric_not_found",
            fields={"names": shown},
        )


def _find_described(session: Session, project_id: str) -> set[tuple[str, str]]:
    statement = (
        select(Component.name, Metric.name.label("metric"))
        .join(Metric, Metric.component_id == Component.id)
        .where(Component.project_id == project_id)
    )
    return {(row.name, row.metric) for row in session.execute(statement)}


def _choose_kpis(
    asked: Sequence[str] | None, series: Sequence[PinnedSeries], catalogue: Mapping[str, Kpi]
) -> dict[MetricKind, tuple[str, ...]]:
    """Return the KPIs of each kind of metric: those asked for that the kind can have, or the default ones."""
    if asked is None:
        return dict(DEFAULT_KPIS)
    names = tuple(dict.fromkeys(asked))
    chosen = {kind: tuple(name for name in names if kind in catalogue[name].kinds) for kind in MetricKind}
    kinds = {one.attributes.kind for one in series}
    useless = [name for name in names if kinds and not kinds & catalogue[name].kinds]
    if useless:
        present = ", ".join(sorted(kinds))
        fitting = ", ".join(sorted(catalogue[useless[0]].kinds))
        raise Refused(
            f"{useless[0]} is for metrics of kind {fitting}, but the chosen ones are {present}; "
            "choose other metrics or set the kind of these",
            code="kpi_not_for_kind",
            fields={"kpis": useless},
        )
    return chosen


def _check_size_at_least(newest: pa.Table, body: ReportRequest, edges_us: NDArray[np.int64], cells_limit: int) -> None:
    """Refuse what is hopeless before millions of series are looked at one by one."""
    series = newest.num_rows
    if body.metrics is not None:
        series = pc.sum(pc.is_in(newest["metric"], pa.array(body.metrics, pa.string()))).as_py() or 0
    _check_cells(series, series, len(edges_us) - 1, cells_limit)


def _check_size(
    series: Sequence[PinnedSeries],
    kpis: Mapping[MetricKind, tuple[str, ...]],
    edges_us: NDArray[np.int64],
    cells_limit: int,
) -> None:
    values = sum(len(kpis[one.attributes.kind]) for one in series)
    _check_cells(len(series), values, len(edges_us) - 1, cells_limit)


def _check_cells(series: int, values: int, buckets: int, cells_limit: int) -> None:
    if values * buckets > cells_limit:
        raise TooLarge(
            f"the report would have {values * buckets:,} values ({series:,} series with {values:,} KPIs in all, "
            f"{buckets:,} buckets); the limit is {cells_limit:,}: choose fewer components, metrics or KPIs, or longer "
            "buckets",
            code="report_too_large",
            fields={"cells": values * buckets, "limit": cells_limit, "series": series, "buckets": buckets},
        )
