"""From a pin and a snapshot to the rows of a report: the same for a worker, the command line and a test."""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gaugehouse.kpi import CATALOGUE, compute_facts, evaluate, needs_quantiles, series_params
from gaugehouse.lake import Snapshot
from gaugehouse.measurements.metric import MetricAttributes, MetricKind
from gaugehouse.measurements.schema import TIMESTAMP
from gaugehouse.measurements.selection import Selection, to_epoch_us
from gaugehouse.reports.chunks import Chunk, Limits, count_rows, load_chunk, split_series
from gaugehouse.reports.pin import Pin, PinnedSeries
from gaugehouse.reports.result import RESULT

LOOKBACK = timedelta(days=35)  # KPI.md: look-back never exceeds 35 days
HOLDS_PER_INTERVAL = 3  # KPI.md: max hold is three nominal intervals where it is not set
NEVER_SENT = "this component has never sent a measurement"

OnProgress = Callable[[float, str], None]


def _say_nothing(_percent: float, _doing: str) -> None:
    pass


def compute_report(
    snapshot: Snapshot | None,
    pin: Pin,
    *,
    threads: int = 1,
    limits: Limits | None = None,
    on_progress: OnProgress = _say_nothing,
) -> pa.Table:
    """Compute every value of a report.

    Args:
        snapshot: A moment of the lake that shows everything received up to `pin.as_of`; None when that is None.
        pin: What is asked, and all that the numbers depend on.
        threads: Series are shared among this many threads; the digits stay the same.
        limits: What is held in memory at once; the digits stay the same.
        on_progress: Called before each portion with per cent done and what follows; raise in it to stop.

    Returns:
        Columns of RESULT, ordered by component, metric, KPI as asked, bucket. Every series of the pin has all its KPIs
        and buckets, also without a single row; a component without any known metric has one row that says so.
    """
    reads = snapshot if pin.as_of is not None else None
    tables = [_describe_silent(pin)]
    on_progress(0, "counting rows")
    work = list(_plan(reads, pin, limits or Limits()))
    total = max(1, sum(chunk.rows + len(chunk.series) for _, chunk in work))
    done = 0
    for selection, chunk in work:
        on_progress(100 * done / total, f"computing {chunk.series[0].component}")
        tables.append(_compute_chunk(reads, selection, chunk, pin, threads=threads))
        done += chunk.rows + len(chunk.series)
    on_progress(100, "putting the result together")
    result = pa.concat_tables(tables).combine_chunks()
    return result.sort_by([("component", "ascending"), ("metric", "ascending")])  # stable: the rest keeps its order


def _plan(snapshot: Snapshot | None, pin: Pin, limits: Limits) -> Iterator[tuple[Selection, Chunk]]:
    """Yield the portions of a report, each with the rows that it needs."""
    end = min(pin.period.end, pin.asked_at) if pin.period.start < pin.asked_at else pin.period.start
    for lookback, series in _group_by_lookback(pin.series):
        selection = Selection(
            project=pin.project,
            components=tuple(dict.fromkeys(one.component for one in series)),
            metrics=tuple(sorted({one.metric for one in series})),
            start=pin.period.start - lookback,
            end=end,
            as_of=pin.as_of,
        )
        rows_of = {} if snapshot is None else count_rows(snapshot, selection)
        for chunk in split_series(series, rows_of, buckets=len(pin.edges_us) - 1, limits=limits):
            yield selection, chunk


def find_lookback(series: Sequence[PinnedSeries]) -> timedelta:
    """Return how far before the period the oldest row lies that the numbers of a report can need."""
    return max((lookback for lookback, _series in _group_by_lookback(series)), default=timedelta(0))


def _group_by_lookback(series: Sequence[PinnedSeries]) -> Iterator[tuple[timedelta, list[PinnedSeries]]]:
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
    hold_s = attributes.max_hold_s or HOLDS_PER_INTERVAL * attributes.nominal_interval_s
    # One second more: the kernel rounds holds to microseconds in its own way.
    return timedelta(seconds=hold_s + 1) if hold_s < LOOKBACK.total_seconds() else None


def _compute_chunk(
    snapshot: Snapshot | None, selection: Selection, chunk: Chunk, pin: Pin, *, threads: int
) -> pa.Table:
    rows = load_chunk(snapshot, selection, chunk)
    attributes = [one.attributes for one in chunk.series]
    retired_at = {one.name: one.retired_at for one in pin.components}
    names = list(dict.fromkeys(name for one in attributes for name in pin.kpis[one.kind]))
    facts = compute_facts(
        rows,
        series_params(attributes, retired_at=[retired_at[one.component] for one in chunk.series]),
        pin.edges_us,
        now_us=to_epoch_us(pin.asked_at),
        threads=threads,
        quantiles=needs_quantiles(names),
    )
    evaluated = evaluate(facts, attributes, names, skip_inapplicable=True)
    return _name_rows(_keep_asked(evaluated, chunk, pin), chunk, pin)


def _keep_asked(evaluated: pa.Table, chunk: Chunk, pin: Pin) -> pa.Table:
    """Drop time between shifts and what was evaluated for metrics of another kind; put KPIs in the order asked."""
    if pin.shifts:
        is_shift = np.array([shift is not None for shift in pin.shifts], np.bool_)
        evaluated = evaluated.filter(pa.array(is_shift[evaluated["bucket"].to_numpy()]))
    kinds = list(MetricKind)
    names = list(CATALOGUE)
    places = np.full((len(kinds), len(names)), -1, dtype=np.int64)
    for kind, asked in pin.kpis.items():
        for place, name in enumerate(asked):
            places[kinds.index(kind), names.index(name)] = place
    series = evaluated["series"].to_numpy()
    kind_of = np.array([kinds.index(one.attributes.kind) for one in chunk.series])[series]
    place = places[kind_of, pc.index_in(evaluated["kpi"], pa.array(names)).to_numpy()]
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
