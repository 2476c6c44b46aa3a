"""Facts: what one pass over the rows yields per (series, bucket), and how facts of adjacent buckets merge."""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

import numpy as np

from gaugehouse.kpi import kernel
from gaugehouse.kpi.kernel import SeriesParams
from gaugehouse.measurements.metric import MetricAttributes, MetricKind, StateClass
from gaugehouse.measurements.selection import to_epoch_us
from gaugehouse.measurements.series import SeriesRows

NO_NOW_US = np.iinfo(np.int64).max // 4  # far ahead, and sums of two such instants still fit
LONGEST_HOLD_US = 200 * 365 * kernel.DAY_US  # any longer hold is forever; keeps instant + hold inside int64

KIND_CODES = {
    MetricKind.GAUGE: kernel.GAUGE,
    MetricKind.COUNTER: kernel.COUNTER,
    MetricKind.DELTA: kernel.DELTA,
    MetricKind.STATE: kernel.STATE,
}
CLASS_CODES = {
    StateClass.UNKNOWN: kernel.CLASS_UNKNOWN,
    StateClass.UP: kernel.CLASS_UP,
    StateClass.DOWN: kernel.CLASS_DOWN,
    StateClass.PLANNED: kernel.CLASS_PLANNED,
    StateClass.IDLE: kernel.CLASS_IDLE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Facts per (series, bucket); the groups say what each array means (kernel.py).

    Args:
        edges_us: Bucket borders, one more than there are buckets. [us]
        now_us: Where running periods end. [us]
        kind: Metric kind code per series.
        intervals: Nominal interval and max hold per series.
        spans: S' and E' of each bucket.
        points: Count, extremes, sums, gaps, first and last points.
        holds: Covered time and area.
        counters: Steps; zeros for series that are no counters.
        states: Time per class; zeros for series that are no states.
        quantiles: (series, bucket, kernel.QUANTILES), or None when not asked for or after a merge.
    """

    edges_us: kernel.Integers
    now_us: int
    kind: kernel.Integers
    intervals: kernel.Records
    spans: kernel.Records
    points: kernel.Records
    holds: kernel.Records
    counters: kernel.Records
    states: kernel.Records
    quantiles: kernel.Floats | None

    @property
    def length_us(self) -> kernel.Integers:
        """E' - S' per (series, bucket); 0 outside the component's life and in the future. [us]"""
        length_us: kernel.Integers = self.spans["end_us"] - self.spans["start_us"]
        return length_us

    @property
    def unknown_us(self) -> kernel.Integers:
        """Time that is neither up, down, planned nor idle: the rest of the bucket. [us]"""
        known = ("up_us", "down_us", "planned_us", "idle_us")
        known_us: kernel.Integers = np.sum([self.states[name] for name in known], axis=0)
        return self.length_us - known_us

    @property
    def increase(self) -> kernel.Floats:
        """Increase of counters. [unit]"""
        increase: kernel.Floats = self.counters["increase"] + self.counters["increase_low"]
        return increase

    @property
    def gaps(self) -> kernel.Integers:
        """Times without a point longer than max hold, the edges of the bucket included."""
        lead_us, trail_us = self._edge_gaps_us()
        gaps: kernel.Integers = self.points["inner_gaps"] + (lead_us > 0) + (trail_us > 0)
        return gaps

    @property
    def longest_gap_us(self) -> kernel.Integers:
        """The longest of `gaps`, 0 without one. [us]"""
        lead_us, trail_us = self._edge_gaps_us()
        longest_us: kernel.Integers = np.maximum(self.points["inner_longest_us"], np.maximum(lead_us, trail_us))
        return longest_us

    def _edge_gaps_us(self) -> tuple[kernel.Integers, kernel.Integers]:
        """Leading and trailing gaps over max hold; an empty bucket is one leading gap."""
        hold_us = self.intervals["max_hold_us"][:, None]
        lead_us, trail_us = self.points["lead_us"], self.points["trail_us"]
        return (
            np.where(lead_us > hold_us, lead_us, 0),
            np.where((trail_us > hold_us) & (self.points["n"] > 0), trail_us, 0),
        )


def series_params(
    attributes: Sequence[MetricAttributes],
    *,
    commissioned_at: Sequence[datetime | None] | None = None,
    retired_at: Sequence[datetime | None] | None = None,
) -> SeriesParams:
    """Return the attributes of each series as arrays.

    Args:
        attributes: One per series, in the order of the rows.
        commissioned_at: Per series the instant before which its time does not count; None: no such instant.
        retired_at: Per series the instant from which on its time does not count.
    """
    maps = [item.state_classes if item.kind is MetricKind.STATE else {} for item in attributes]
    state_end = np.cumsum([len(classes) for classes in maps], dtype=np.int64)
    series = np.zeros(len(attributes), kernel.PARAMS)
    series["kind"] = [KIND_CODES[item.kind] for item in attributes]
    series["max_hold_us"] = [_hold_us(item.max_hold_s) for item in attributes]
    series["nominal_us"] = [(item.nominal_interval_s or 0.0) * kernel.SECOND_US for item in attributes]
    series["rollover_at"] = [item.rollover_at or 0.0 for item in attributes]
    series["max_rate"] = [math.inf if item.max_rate is None else item.max_rate for item in attributes]
    series["commissioned_us"] = _instants_us(commissioned_at, len(attributes), missing_us=-NO_NOW_US)
    series["retired_us"] = _instants_us(retired_at, len(attributes), missing_us=NO_NOW_US)
    series["state_begin"] = state_end - [len(classes) for classes in maps]
    series["state_end"] = state_end
    return SeriesParams(
        series=series,
        state_values=np.array([value for classes in maps for value in classes], np.float64),
        state_classes=np.array([CLASS_CODES[name] for classes in maps for name in classes.values()], np.int8),
    )


def _hold_us(max_hold_s: float | None) -> int:
    return 0 if max_hold_s is None else min(round(max_hold_s * kernel.SECOND_US), LONGEST_HOLD_US)


def _instants_us(instants: Sequence[datetime | None] | None, count: int, *, missing_us: int) -> kernel.Integers:
    if instants is None:
        return np.full(count, missing_us, np.int64)
    return np.array([missing_us if instant is None else to_epoch_us(instant) for instant in instants], np.int64)


def compute_facts(
    rows: SeriesRows,
    params: SeriesParams,
    edges_us: kernel.Integers,
    *,
    now_us: int | None = None,
    threads: int = 1,
    quantiles: bool = False,
) -> Facts:
    """Return the facts of every (series, bucket); the same digits for any number of threads.

    Args:
        rows: Rows of the period, of up to 35 days before it (look-back) and, for counters, behind it.
        params: See `series_params`; one element per series of `rows`.
        edges_us: Strictly increasing bucket borders. [us]
        now_us: A running period ends here: the future is neither downtime nor a gap. [us]
        threads: Series are shared among this many threads.
        quantiles: Whether the sort that quantiles need is worth it (`needs_quantiles`).
    """
    window = kernel.Window(np.ascontiguousarray(edges_us, np.int64), NO_NOW_US if now_us is None else now_us)
    packed = kernel.Rows(rows.offsets, rows.measured_at_us, rows.value, rows.quality)
    cells = _empty_cells(len(rows), len(edges_us) - 1)
    ranks = np.empty((len(rows), len(edges_us) - 1, len(kernel.QUANTILES))) if quantiles else None

    def fill(begin: int, end: int) -> None:
        kernel.fill_series(packed, params, window, cells, begin, end)
        if ranks is not None:
            kernel.fill_quantiles(packed, cells.spans, ranks, begin, end)

    _run_on_threads(fill, rows.offsets, threads)
    return Facts(
        edges_us=window.edges_us,
        now_us=window.now_us,
        kind=params.series["kind"],
        intervals=cells.intervals,
        spans=cells.spans,
        points=cells.points,
        holds=cells.holds,
        counters=cells.counters,
        states=cells.states,
        quantiles=ranks,
    )


def _empty_cells(series: int, buckets: int) -> kernel.Cells:
    """Return zeroed records; those that no pass touches cost no memory (the pages stay unmapped)."""
    shape = (series, buckets)
    return kernel.Cells(
        intervals=np.zeros(series, kernel.INTERVALS),
        spans=np.zeros(shape, kernel.SPANS),
        points=np.zeros(shape, kernel.POINTS),
        holds=np.zeros(shape, kernel.HOLDS),
        counters=np.zeros(shape, kernel.COUNTERS),
        states=np.zeros(shape, kernel.STATES),
    )


def _run_on_threads(fill: Callable[[int, int], None], offsets: kernel.Integers, threads: int) -> None:
    """Give each thread consecutive whole series with about the same number of rows."""
    wanted = np.linspace(0, offsets[-1] + len(offsets), threads + 1)
    borders = np.searchsorted(offsets + np.arange(len(offsets)), wanted)
    borders[0], borders[-1] = 0, len(offsets) - 1
    ranges = [(int(a), int(b)) for a, b in pairwise(borders) if a < b]
    if len(ranges) <= 1:
        for begin, end in ranges:
            fill(begin, end)
        return
    with ThreadPoolExecutor(len(ranges)) as pool:
        for done in [pool.submit(fill, begin, end) for begin, end in ranges]:
            done.result()
