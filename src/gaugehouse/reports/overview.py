"""What surrounds the values of a report in print: totals, what is missing, what the down time was, lines to draw."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gaugehouse.kpi import Facts, Want, kernel, merge
from gaugehouse.lake import Snapshot
from gaugehouse.measurements.metric import MetricKind, StateClass
from gaugehouse.measurements.period import Period
from gaugehouse.measurements.selection import to_epoch_us
from gaugehouse.reports.chunks import Limits
from gaugehouse.reports.compute import NEVER_SENT, OnProgress, compute_report, iterate_facts, say_nothing
from gaugehouse.reports.pin import Pin, PinnedSeries

CHART_POINTS = 240  # more than a printed chart resolves
LINES_LIMIT = 2_000  # 15 MB; nobody looks at more, and a page draws the worst hundred
COMPLETE = 0.999  # what covers more is not listed as missing [1]
Numbers = NDArray[np.float64]

MISSING = pa.schema(
    [
        pa.field("component", pa.string(), nullable=False),
        pa.field("metric", pa.string()),  # null: it never sent anything, so its metrics are not known
        pa.field("coverage", pa.float64()),  # [1]
        pa.field("longest_gap_s", pa.float64()),
        pa.field("reason", pa.string(), nullable=False),
    ]
)
DOWNTIME = pa.schema(
    [
        pa.field("component", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("downtime_s", pa.float64(), nullable=False),
        pa.field("occurrences", pa.int64(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Line:
    """A series over the period, bucket by bucket; NaN is a gap.

    Args:
        series: Whose.
        minimum: Smallest value of each bucket. [unit]
        mean: Time-weighted where values hold, else of the points. [unit]
        maximum: Largest value. [unit]
        coverage: Share of each bucket that data cover. [1]
    """

    series: PinnedSeries
    minimum: Numbers
    mean: Numbers
    maximum: Numbers
    coverage: Numbers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Overview:
    """What surrounds the values of a report.

    Args:
        totals: Columns of RESULT over the period as one.
        missing: Columns of MISSING, the least covered first.
        downtime: Columns of DOWNTIME, the longest first.
        edges_us: Borders of the buckets of the lines. [us]
        lines: One per series that has any value, up to LINES_LIMIT.
        undrawn: How many series have values and no line.
    """

    totals: pa.Table
    missing: pa.Table
    downtime: pa.Table
    edges_us: NDArray[np.int64]
    lines: tuple[Line, ...]
    undrawn: int = 0


def compute_overview(
    snapshot: Snapshot | None,
    pin: Pin,
    *,
    totals: pa.Table | None = None,
    threads: int = 1,
    limits: Limits | None = None,
    on_progress: OnProgress = say_nothing,
) -> Overview:
    """Compute what a printed report shows around its values, from the same pin.

    Args:
        snapshot: As in `compute_report`.
        pin: What was asked.
        totals: Where the values are those of the period as one; else they are computed.
        threads: Series are shared among this many threads.
        limits: What is held in memory at once.
        on_progress: Called with per cent done and what follows; raise in it to stop.

    Raises:
        Unavailable: A file of the lake cannot be read.
    """
    whole = as_one(pin, pin.period)
    if totals is None:
        totals = compute_report(
            snapshot,
            whole,
            threads=threads,
            limits=limits,
            on_progress=lambda step: on_progress(replace(step, percent=step.percent / 2, doing="totals")),
        )
    start_us, end_us = whole.edges_us.tolist()
    edges_us = np.unique(np.linspace(start_us, end_us, CHART_POINTS + 1).astype(np.int64))
    missing, downtime = [_never_sent(pin)], []
    lines: list[Line] = []
    undrawn = 0
    for chunk, facts in iterate_facts(
        snapshot,
        pin,
        edges_us=edges_us,
        threads=threads,
        limits=limits,
        on_progress=lambda step: on_progress(replace(step, percent=50 + step.percent / 2, doing="charts")),
        want=Want.NOTHING,
    ):
        shown = _find_shown(chunk.series, pin)
        missing.append(_find_missing(chunk.series, facts, shown))
        downtime.append(_find_downtime(chunk.series, facts, shown))
        drawn = _draw(chunk.series, facts, shown)
        undrawn += max(0, len(lines) + len(drawn) - LINES_LIMIT)
        lines += drawn[: LINES_LIMIT - len(lines)]
    return Overview(
        totals=totals,
        missing=pa.concat_tables(missing).sort_by([("coverage", "ascending"), ("component", "ascending")]),
        downtime=_by_component(pa.concat_tables([DOWNTIME.empty_table(), *downtime])),
        edges_us=edges_us,
        lines=tuple(lines),
        undrawn=undrawn,
    )


def as_one(pin: Pin, period: Period) -> Pin:
    """Return the same question about a period as one, shifts and the time between them together."""
    edges_us = np.array([to_epoch_us(period.start), to_epoch_us(period.end)], np.int64)
    return replace(pin, period=period, edges_us=edges_us, shifts=())


def _find_shown(series: Sequence[PinnedSeries], pin: Pin) -> list[int]:
    """Return the places of the series that the report is about; others are only there for their sake."""
    hidden = {(one.component, one.metric) for one in pin.supporting}
    return [place for place, one in enumerate(series) if (one.component, one.metric) not in hidden]


def _never_sent(pin: Pin) -> pa.Table:
    heard = {one.component for one in pin.series}
    silent = [one.name for one in pin.components if one.name not in heard]
    n = len(silent)
    columns = [silent, [None] * n, [0.0] * n, [None] * n, [NEVER_SENT] * n]
    return pa.table(dict(zip(MISSING.names, columns, strict=True)), schema=MISSING)


def _find_missing(series: Sequence[PinnedSeries], facts: Facts, shown: Sequence[int]) -> pa.Table:
    """List the series that data cover in part only."""
    whole = merge(facts)
    length_us, covered_us = whole.length_us[:, 0], whole.holds["covered_us"][:, 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        coverage = np.where(length_us > 0, covered_us / length_us, np.nan)
    at = np.intersect1d(np.flatnonzero(coverage < COMPLETE), shown).astype(np.int64)
    n, bad_n = whole.points["n"][at, 0], whole.points["bad_n"][at, 0]
    reasons = [_say_what_is_missing(*counts) for counts in zip(n.tolist(), bad_n.tolist(), strict=True)]
    return pa.table(
        {
            "component": [series[i].component for i in at.tolist()],
            "metric": [series[i].metric for i in at.tolist()],
            "coverage": coverage[at],
            "longest_gap_s": whole.longest_gap_us[at, 0] / kernel.SECOND_US,
            "reason": reasons,
        },
        schema=MISSING,
    )


def _say_what_is_missing(n: int, bad_n: int) -> str:
    if n == 0:
        return "only bad measurements" if bad_n else "no measurement in the period"
    bad = "1 bad measurement" if bad_n == 1 else f"{bad_n:,} bad measurements"
    return f"gaps, and {bad}" if bad_n else "gaps between measurements"


def _find_downtime(series: Sequence[PinnedSeries], facts: Facts, shown: Sequence[int]) -> pa.Table:
    """List the time that each state of class down held, by what people call it."""
    rows: dict[str, list[object]] = {name: [] for name in DOWNTIME.names}
    for i in shown:
        one = series[i]
        if one.attributes.kind is not MetricKind.STATE:
            continue
        for place, (value, state_class) in enumerate(one.attributes.state_classes.items()):
            held_us = int(facts.state_us[i, :, place].sum())
            if state_class is StateClass.DOWN and held_us:
                rows["component"].append(one.component)
                rows["reason"].append(one.attributes.state_names.get(value) or f"{one.metric} = {value:g}")
                rows["downtime_s"].append(held_us / kernel.SECOND_US)
                rows["occurrences"].append(int(facts.state_entries[i, :, place].sum()))
    return pa.table(rows, schema=DOWNTIME)


def _by_component(downtime: pa.Table) -> pa.Table:
    return downtime.sort_by([("downtime_s", "descending"), ("component", "ascending"), ("reason", "ascending")])


def _draw(series: Sequence[PinnedSeries], facts: Facts, shown: Sequence[int]) -> list[Line]:
    has_points = facts.points["n"] > 0
    covered_us, length_us = facts.holds["covered_us"], facts.length_us
    with np.errstate(invalid="ignore", divide="ignore"):
        held = np.where(covered_us > 0, facts.holds["area"] / covered_us, np.nan)
        coverage = np.where(length_us > 0, covered_us / length_us, np.nan)
    of_points = np.where(has_points, facts.points["mean"], np.nan)
    is_amount = np.array([one.attributes.kind is MetricKind.DELTA for one in series])[:, None]
    mean = np.where(is_amount | np.isnan(held), of_points, held)
    extremes = [np.where(has_points, facts.points[name], mean) for name in ("min", "max")]
    return [
        Line(series=series[i], minimum=extremes[0][i], mean=mean[i], maximum=extremes[1][i], coverage=coverage[i])
        for i in shown
        if not np.isnan(mean[i]).all()
    ]
