"""From a pin and a snapshot to the rows of a report: the same for a worker, the command line and a test."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gaugehouse.jobs import Progress
from gaugehouse.kpi import Facts, Kpi, Want, evaluate, find_wanted
from gaugehouse.lake import Snapshot, count_rows_at_most
from gaugehouse.measurements.metric import MetricAttributes, MetricKind
from gaugehouse.measurements.period import Period
from gaugehouse.measurements.schema import TIMESTAMP
from gaugehouse.measurements.selection import Selection
from gaugehouse.reports.chunks import Chunk, Limits, load_chunk, split_series
from gaugehouse.reports.compared import compare_values
from gaugehouse.reports.counted import (
    LOOKBACK,
    compute_counted_facts,
    compute_planned_facts,
    find_series_exclusions,
)
from gaugehouse.reports.firmware import FIRMWARE, limit_to_version, list_versions
from gaugehouse.reports.formulas import make_catalogue, make_owners
from gaugehouse.reports.grouping import SHIFT, compute_groups, compute_shift_groups, find_groups
from gaugehouse.reports.late import count_late
from gaugehouse.reports.passes import COMPARING, COMPUTING, COUNTING, GROUPING, Pass, Passes
from gaugehouse.reports.passes import OnProgress as OnProgress
from gaugehouse.reports.passes import say_nothing as say_nothing
from gaugehouse.reports.pin import Pin, PinnedSeries
from gaugehouse.reports.result import GROUPED, RESULT, Answer

HOLDS_PER_INTERVAL = 3  # KPI.md: max hold is three nominal intervals where it is not set
NEVER_SENT = "this component has never sent a measurement"


def compute_answer(
    snapshot: Snapshot | None,
    pin: Pin,
    *,
    threads: int = 1,
    limits: Limits | None = None,
    on_progress: OnProgress = say_nothing,
) -> Answer:
    """Compute everything that a report answers.

    Args:
        snapshot: A moment of the lake that shows everything received up to `pin.as_of`; None when that is None.
        pin: What is asked, and all that the numbers depend on.
        threads: Series are shared among this many threads; the digits stay the same.
        limits: What is held in memory at once; the digits stay the same.
        on_progress: Told before each portion how far this is; raise in it to stop.
    """
    # Groups of components are made of these facts; a firmware version or a shift has a pass of its own.
    kept: list[tuple[Chunk, Facts]] | None = None if pin.group_by in {None, FIRMWARE, SHIFT} else []
    planned = list_passes(pin)
    expected = [
        Pass(phase=phase, rows=_count_rows_at_most(snapshot, one), series=len(one.every_series))
        for phase, one in planned
    ]
    passes = Passes(expected, on_progress)
    values = _compute_values(snapshot, pin, threads, limits, passes.begin(), kept)
    groups = None if pin.group_by is None else _compute_groups(snapshot, pin, kept, threads, limits, passes)
    comparison = None
    if pin.comparison is not None:
        other = _find_compared(pin)
        others = None if other is None else _compute_values(snapshot, other, threads, limits, passes.begin())
        comparison = compare_values(values, others, pin, pin.comparison)
    passes.finish("putting the result together")
    return Answer(values=values, comparison=comparison, groups=groups)


def list_passes(pin: Pin) -> list[tuple[str, Pin]]:
    """Return what a report is read for, in that order, and with what it pins for each."""
    passes = [(COMPUTING, pin)]
    if pin.group_by == FIRMWARE:
        passes += [(GROUPING, limit_to_version(pin, version)) for version in list_versions(pin)]
    if pin.group_by == SHIFT:
        passes.append((GROUPING, pin))
    other = _find_compared(pin)
    return passes if other is None else [*passes, (COMPARING, other)]


def _find_compared(pin: Pin) -> Pin | None:
    """Return the same question about the period that it is compared with."""
    if pin.comparison is None or pin.comparison.period is None:
        return None
    return replace(pin, period=pin.comparison.period, edges_us=pin.comparison.edges_us, shifts=())


def count_rows_to_read(snapshot: Snapshot | None, pin: Pin, *, enough: int) -> int:
    """Return how many rows a report has to read at most, all passes together: no row is read for it.

    Args:
        snapshot: What the lake shows now.
        pin: What is asked.
        enough: A smaller number needs no closer look; see `lake.count_rows_at_most`.
    """
    pins = [one for _, one in list_passes(pin)]
    rows = sum(_count_rows_at_most(snapshot, one) for one in pins)
    return rows if rows <= enough else sum(_count_rows_at_most(snapshot, one, enough=0) for one in pins)


def _count_rows_at_most(snapshot: Snapshot | None, pin: Pin, *, enough: int | None = None) -> int:
    if snapshot is None or pin.as_of is None:
        return 0
    selected = _select(pin, make_catalogue(pin.definitions))
    return sum(count_rows_at_most(snapshot, selection, enough=enough) for selection, _ in selected)


def _compute_groups(
    snapshot: Snapshot | None,
    pin: Pin,
    kept: list[tuple[Chunk, Facts]] | None,
    threads: int,
    limits: Limits | None,
    passes: Passes,
) -> pa.Table:
    catalogue = make_catalogue(pin.definitions)
    if pin.group_by == SHIFT:
        in_shifts = iterate_facts(
            snapshot,
            pin,
            edges_us=np.array(pin.group_edges_us, np.int64),
            threads=threads,
            limits=limits,
            on_progress=passes.begin(),
        )
        return compute_shift_groups(list(in_shifts), pin, catalogue)
    if kept is not None:
        return compute_groups(kept, pin, catalogue, find_groups(pin))
    tables = [GROUPED.empty_table()]
    for version in list_versions(pin):  # a pass for each: a component may have run several
        limited = limit_to_version(pin, version)
        facts = iterate_facts(
            snapshot, limited, edges_us=pin.edges_us, threads=threads, limits=limits, on_progress=passes.begin()
        )
        running = {one.component: version for one in limited.series}
        tables.append(compute_groups(list(facts), limited, catalogue, running))
    return pa.concat_tables(tables)


def compute_report(
    snapshot: Snapshot | None,
    pin: Pin,
    *,
    threads: int = 1,
    limits: Limits | None = None,
    on_progress: OnProgress = say_nothing,
) -> pa.Table:
    """Compute the values of a report, without comparison and groups; see `compute_answer`.

    Returns:
        Columns of RESULT, ordered by component, metric, KPI as asked, bucket. Every series of the pin has all its KPIs
        and buckets, also without a single row; a component without any known metric has one row that says so.
    """
    return _compute_values(snapshot, pin, threads, limits, on_progress)


def _compute_values(
    snapshot: Snapshot | None,
    pin: Pin,
    threads: int,
    limits: Limits | None,
    on_progress: OnProgress,
    kept: list[tuple[Chunk, Facts]] | None = None,
) -> pa.Table:
    """Return the values; `kept` is given the portions with their facts."""
    tables = [_describe_silent(pin)]
    catalogue = make_catalogue(pin.definitions)
    for chunk, facts in iterate_facts(
        snapshot, pin, edges_us=pin.edges_us, threads=threads, limits=limits, on_progress=on_progress
    ):
        evaluated = evaluate(
            facts,
            [one.attributes for one in chunk.series],
            _find_kpis(chunk, pin),
            catalogue=catalogue,
            owners=make_owners(chunk.series, pin),
            skip_inapplicable=True,
        )
        tables.append(_name_rows(_keep_asked(evaluated, chunk, pin, list(catalogue)), chunk, pin))
        if kept is not None:
            kept.append((chunk, facts))
    result = pa.concat_tables(tables).combine_chunks()
    return result.sort_by([("component", "ascending"), ("metric", "ascending")])  # stable: the rest keeps its order


def iterate_facts(  # noqa: PLR0913 - a report, its buckets, how to compute them
    snapshot: Snapshot | None,
    pin: Pin,
    *,
    edges_us: NDArray[np.int64],
    threads: int,
    limits: Limits | None,
    on_progress: OnProgress,
    want: Want | None = None,
) -> Iterator[tuple[Chunk, Facts]]:
    """Yield the series of a report in portions, each with its facts; of planned busy time too where KPIs need them.

    The series that only formulas need are among them.

    Args:
        snapshot: As in `compute_report`.
        pin: What is asked.
        edges_us: Borders of the buckets, from the start of the period to its end. [us]
        threads: Series are shared among this many threads.
        limits: What is held in memory at once.
        on_progress: Told before each portion how far this is.
        want: Which of the dearer facts; None: those that the KPIs of the pin rest on.
    """
    reads = snapshot if pin.as_of is not None else None
    catalogue = make_catalogue(pin.definitions)
    on_progress(Progress(percent=0, doing="counting rows", phase=COUNTING))
    work = list(_plan(reads, pin, catalogue, len(edges_us) - 1, limits or Limits(), threads))
    total = max(1, sum(chunk.rows + len(chunk.series) for _, chunk in work))
    rows_total = sum(chunk.rows for _, chunk in work)
    done = rows_read = 0
    for selection, chunk in work:
        on_progress(
            Progress(
                percent=100 * done / total,
                doing=f"computing {chunk.series[0].component}",
                phase=COMPUTING,
                rows_read=rows_read,
                rows_total=rows_total,
            )
        )
        wanted = find_wanted(_find_kpis(chunk, pin), catalogue) if want is None else want
        # A straight line leads to the next row, as far away as a value can hold.
        look_ahead = find_lookback(chunk.series) if Want.LINES in wanted else None
        rows = load_chunk(reads, selection, chunk, look_ahead=look_ahead, threads=threads)
        facts = compute_counted_facts(rows, chunk.series, pin, edges_us, want=wanted, threads=threads)
        if Want.LATE in wanted:
            excluded = find_series_exclusions(chunk.series, pin)
            facts = replace(facts, late_n=count_late(reads, selection, chunk, facts, excluded))
        if any(catalogue[name].needs_planned for name in _find_kpis(chunk, pin)):
            planned = compute_planned_facts(rows, chunk.series, pin, edges_us, threads=threads)
            facts = replace(facts, planned=planned)
        yield chunk, facts
        done += chunk.rows + len(chunk.series)
        rows_read += chunk.rows


def _find_kpis(chunk: Chunk, pin: Pin) -> list[str]:
    return list(dict.fromkeys(name for one in chunk.series for name in pin.kpis[one.attributes.kind]))


def _plan(
    snapshot: Snapshot | None, pin: Pin, catalogue: Mapping[str, Kpi], buckets: int, limits: Limits, threads: int
) -> Iterator[tuple[Selection, Chunk]]:
    """Yield the portions of a report, each with the rows that it needs."""
    together = _stays_together(pin, catalogue)
    for selection, series in _select(pin, catalogue):
        keys = [(one.component, one.metric) for one in series]
        rows_of = {} if snapshot is None else snapshot.estimate_series(selection, keys, threads=threads)
        for chunk in split_series(series, rows_of, buckets=buckets, limits=limits, together=together):
            yield selection, chunk


def _stays_together(pin: Pin, catalogue: Mapping[str, Kpi]) -> bool:
    """Tell whether a series' numbers rest on others of its component."""
    return any(catalogue[name].looks_around for names in pin.kpis.values() for name in names) or any(
        one.attributes.alive_metric is not None for one in pin.every_series
    )


def _select(pin: Pin, catalogue: Mapping[str, Kpi]) -> Iterator[tuple[Selection, Sequence[PinnedSeries]]]:
    """Yield which rows a report needs, of which series."""
    end = find_counted_end(pin)
    every = pin.every_series
    together = _stays_together(pin, catalogue)
    portions = [(find_lookback(every), every)] if together and every else group_by_lookback(every)
    for lookback, series in portions:
        selection = Selection(
            project=pin.project,
            components=tuple(dict.fromkeys(one.component for one in series)),
            metrics=tuple(sorted({one.metric for one in series})),
            start=limit_lookback(pin, pin.period.start - lookback),
            end=end,
            as_of=pin.as_of,
        )
        yield selection, series


def find_needed_from(pin: Pin, period: Period) -> datetime:
    """Return how old the rows are that the numbers of a period need, or what was left of them when it was asked."""
    return limit_lookback(pin, period.start - find_lookback(pin.every_series))


def find_counted_end(pin: Pin) -> datetime:
    """Return where the part of the period ends that is over: of a running one, when it was asked about."""
    return max(pin.period.start, min(pin.period.end, pin.asked_at))


def limit_lookback(pin: Pin, start: datetime) -> datetime:
    """Return where look-back ends: not before what retention had left."""
    return start if pin.rows_from is None else max(start, pin.rows_from)


def find_lookback(series: Sequence[PinnedSeries]) -> timedelta:
    """Return how far before the period the oldest row lies that the numbers of a report can need."""
    return max((lookback for lookback, _series in group_by_lookback(series)), default=timedelta(0))


def group_by_lookback(series: Sequence[PinnedSeries]) -> Iterator[tuple[timedelta, list[PinnedSeries]]]:
    """Yield series with how far before the period their rows matter.

    A sensor that reports each second has three million rows in 35 days, and a report on one day needs none of them but
    the last: where the hold is known, an older value of a level or an amount cannot reach into the period. Counters and
    states are judged by what was before at any age, and an unknown interval is estimated from 30 days.
    """
    near = [one for one in series if _find_known_hold(one.attributes) is not None]
    far = [one for one in series if _find_known_hold(one.attributes) is None]
    if near:
        yield max(_find_known_hold(one.attributes) or LOOKBACK for one in near), near
    if far:
        yield LOOKBACK, far


def _find_known_hold(attributes: MetricAttributes) -> timedelta | None:
    if attributes.kind not in {MetricKind.GAUGE, MetricKind.DELTA} or attributes.nominal_interval_s is None:
        return None
    if attributes.alive_metric is not None and attributes.max_hold_s is None:
        return None
    hold_s = attributes.max_hold_s or HOLDS_PER_INTERVAL * attributes.nominal_interval_s
    # One second more: the kernel rounds holds to microseconds in its own way.
    return timedelta(seconds=hold_s + 1) if hold_s < LOOKBACK.total_seconds() else None


def _keep_asked(evaluated: pa.Table, chunk: Chunk, pin: Pin, names: Sequence[str]) -> pa.Table:
    """Drop time between shifts and what was evaluated for the sake of others; put each series' KPIs as asked."""
    if pin.shifts:
        is_shift = np.array([shift is not None for shift in pin.shifts], np.bool_)
        evaluated = evaluated.filter(pa.array(is_shift[evaluated["bucket"].to_numpy()]))
    kinds = list(MetricKind)
    places = np.full((len(kinds), len(names)), -1, dtype=np.int64)
    for kind, asked in pin.kpis.items():
        for order, name in enumerate(asked):
            places[kinds.index(kind), names.index(name)] = order
    series = evaluated["series"].to_numpy()
    kind_of = np.array([kinds.index(one.attributes.kind) for one in chunk.series])[series]
    place = places[kind_of, pc.index_in(evaluated["kpi"], pa.array(names, pa.string())).to_numpy()]
    hidden = {(one.component, one.metric) for one in pin.supporting}
    if hidden:
        is_hidden = np.array([(one.component, one.metric) in hidden for one in chunk.series], np.bool_)
        place = np.where(is_hidden[series], -1, place)
    kept = np.flatnonzero(place >= 0)
    return evaluated.take(pa.array(kept[np.lexsort((place[kept], series[kept]))]))  # stable: buckets keep their order


def _name_rows(evaluated: pa.Table, chunk: Chunk, pin: Pin) -> pa.Table:
    series, bucket = evaluated["series"], evaluated["bucket"]
    columns = {
        "component": pa.array([one.component for one in chunk.series], pa.string()).take(series.combine_chunks()),
        "metric": pa.array([one.metric for one in chunk.series], pa.string()).take(series.combine_chunks()),
        "bucket_start": pa.array(pin.edges_us[:-1]).cast(TIMESTAMP).take(bucket.combine_chunks()),
        "bucket_end": pa.array(pin.edges_us[1:]).cast(TIMESTAMP).take(bucket.combine_chunks()),
    }
    return pa.table(
        {name: columns.get(name, evaluated[name] if name in evaluated.column_names else None) for name in RESULT.names}
    ).cast(RESULT)


def _describe_silent(pin: Pin) -> pa.Table:
    """Return one row for each component whose metrics nobody knows, so that silence is seen."""
    heard = {one.component for one in pin.series}
    silent = [one.name for one in pin.components if one.name not in heard]
    n = len(silent)
    return pa.table(
        {
            "component": pa.array(silent, pa.string()),
            "metric": pa.nulls(n, pa.string()),
            "kpi": pa.array(["count"] * n, pa.string()),
            "bucket_start": pa.array([pin.period.start] * n, TIMESTAMP),
            "bucket_end": pa.array([pin.period.end] * n, TIMESTAMP),
            "value": pa.array([0.0] * n, pa.float64()),
            "unit": pa.array(["1"] * n, pa.string()),
            "coverage": pa.array([0.0] * n, pa.float64()),
            "n": pa.array([0] * n, pa.int64()),
            "status": pa.array(["no_data"] * n, pa.string()),
            "reason": pa.array([NEVER_SENT] * n, pa.string()),
        },
        schema=RESULT,
    )
