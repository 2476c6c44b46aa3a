"""Facts: what one pass over the rows yields per (series, bucket), and how facts of adjacent buckets merge."""

import math
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from enum import IntFlag
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaugehouse.kpi import kernel
from gaugehouse.kpi.kernel import SeriesParams
from gaugehouse.measurements.metric import MetricAttributes, MetricKind, StateClass
from gaugehouse.measurements.selection import to_epoch_us
from gaugehouse.measurements.series import SeriesRows
from gaugehouse.measurements.windows import NO_WINDOWS, Windows, join_windows, merge_windows, subtract_windows

FACTS_VERSION = 1  # raised when a fact of the same rows becomes another number
SERIES_GROUPS = ("kind", "intervals", "spans", "points", "steps", "subgroups", "holds", "counters", "states")
ADDED_HOLDS = ("covered_us", "area", "above_us", "below_us", "linear_covered_us", "linear_area")
SPLITTER = 2.0**27 + 1  # cuts a float into halves whose products are exact (Veltkamp)
NO_NOW_US = np.iinfo(np.int64).max // 4  # far ahead, and sums of two such instants still fit

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


class Want(IntFlag):
    """Facts that cost a pass over the rows of their own, and are zero where nobody wants them."""

    NOTHING = 0
    LINES = kernel.WANT_LINES  # linear_area, linear_covered_us
    TREND = kernel.WANT_TREND  # t_mean_s, t_m2, t_value
    STEPS = kernel.WANT_STEPS  # pairs of consecutive points
    QUANTILES = 8
    LATE = 16  # late_n: not of the kernel, whoever reads rows counts them
    EVERYTHING = LINES | TREND | STEPS | QUANTILES


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Facts per (series, bucket); the groups say what each array means (kernel.py).

    Args:
        edges_us: Bucket borders, one more than there are buckets. [us]
        now_us: Where running periods end. [us]
        kind: Metric kind code per series.
        intervals: Nominal interval and max hold per series.
        spans: S' and E' of each bucket.
        points: Count, extremes, sums, moments with time, gaps, first and last points.
        steps: Pairs of consecutive points.
        subgroups: Variation within subgroups; zeros where none are asked for.
        holds: Covered time and areas, time beyond limits.
        counters: Steps; zeros for series that are no counters.
        states: Time per class, failures, repairs; zeros for series that are no states.
        state_us: (series, bucket, place in the state map), held time; behind the map: of all other values. [us]
        state_entries: How often each was entered from another.
        quantiles: (series, bucket, kernel.QUANTILES), or None when not asked for or after a merge.
        late_n: Points that came later than the metric's bound; None: nobody asked.
        planned: Facts of planned busy time, of the same series and buckets; None: nobody asked, or all time is planned.
    """

    edges_us: kernel.Integers
    now_us: int
    kind: kernel.Integers
    intervals: kernel.Records
    spans: kernel.Records
    points: kernel.Records
    steps: kernel.Records
    subgroups: kernel.Records
    holds: kernel.Records
    counters: kernel.Records
    states: kernel.Records
    state_us: kernel.Integers
    state_entries: kernel.Integers
    quantiles: kernel.Floats | None
    late_n: kernel.Integers | None = None
    planned: "Facts | None" = None

    @property
    def length_us(self) -> kernel.Integers:
        """E' - S' less what is excluded, per (series, bucket); 0 outside the component's life, in the future. [us]"""
        length_us: kernel.Integers = self.spans["end_us"] - self.spans["start_us"] - self.spans["excluded_us"]
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
    def counted_us(self) -> kernel.Integers:
        """From the reading before the first counted step to the last counted one, less what is excluded. [us]"""
        counted_us: kernel.Integers = self.counters["to_clock_us"] - self.counters["from_clock_us"]
        return counted_us

    @property
    def lagged_products(self) -> kernel.Floats:
        """Sum of (value - mean) x (value before - mean) over the inner pairs, about the mean of the bucket. [unit2]"""
        steps, mean = self.steps, self.points["mean"]
        with np.errstate(over="ignore", invalid="ignore"):
            about_mean = (steps["later_mean"] - mean) * (steps["earlier_mean"] - mean) * steps["inner_pairs"]
            products: kernel.Floats = np.where(steps["inner_pairs"] > 0, steps["co_moment"] + about_mean, 0.0)
        return products

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


def series_params(  # noqa: PLR0913 - attributes, and all that is said beside them
    attributes: Sequence[MetricAttributes],
    *,
    commissioned_at: Sequence[datetime | None] | None = None,
    retired_at: Sequence[datetime | None] | None = None,
    excluded: Sequence[Windows] | None = None,
    paused: Sequence[Windows] | None = None,
    unheld: Sequence[Windows] | None = None,
    subgroups: Sequence[tuple[int, int]] | None = None,
) -> SeriesParams:
    """Return the attributes of each series as arrays.

    Args:
        attributes: One per series, in the order of the rows.
        commissioned_at: Per series the instant before which its time does not count; None: no such instant.
        retired_at: Per series the instant from which on its time does not count.
        excluded: Per series the windows that are taken out with their rows: planned maintenance, calibration.
        paused: Per series further windows whose time does not count, but whose rows do, and hold on: between shifts.
        unheld: Per series further windows in which no value holds: what it depends on was silent.
        subgroups: Per series (points, length [us]) of a subgroup, at most one of them not 0.
    """
    nothing = [NO_WINDOWS] * len(attributes)
    taken = excluded or nothing
    uncounted = [join_windows(both) for both in zip(taken, paused, strict=True)] if paused else taken
    silent = [join_windows(both) for both in zip(uncounted, unheld, strict=True)] if unheld else uncounted
    windows = [*taken, *uncounted, *silent]
    ends = np.cumsum([len(one) for one in windows], dtype=np.int64).reshape(3, -1)
    begins = ends - np.array([len(one) for one in windows], np.int64).reshape(3, -1)
    everything = [NO_WINDOWS, *windows]
    maps = [item.state_classes if item.kind is MetricKind.STATE else {} for item in attributes]
    state_end = np.cumsum([len(classes) for classes in maps], dtype=np.int64)
    series = np.zeros(len(attributes), kernel.PARAMS)
    series["kind"] = [KIND_CODES[item.kind] for item in attributes]
    series["max_hold_us"] = [_hold_us(item) for item in attributes]
    series["nominal_us"] = [_interval_us(item.nominal_interval_s) for item in attributes]
    series["rollover_at"] = [item.rollover_at or 0.0 for item in attributes]
    series["max_rate"] = [math.inf if item.max_rate is None else item.max_rate for item in attributes]
    series["lsl"] = [-math.inf if item.lsl is None else item.lsl for item in attributes]
    series["usl"] = [math.inf if item.usl is None else item.usl for item in attributes]
    for place, name in enumerate(("taken", "excluded", "unheld")):
        series[f"{name}_begin"], series[f"{name}_end"] = begins[place], ends[place]
    groups = np.array(subgroups or [(0, 0)] * len(attributes), np.int64).reshape(-1, 2)
    series["subgroup_size"], series["subgroup_us"] = groups[:, 0], groups[:, 1]
    series["commissioned_us"] = _instants_us(commissioned_at, len(attributes), missing_us=-NO_NOW_US)
    series["retired_us"] = _instants_us(retired_at, len(attributes), missing_us=NO_NOW_US)
    series["state_begin"] = state_end - [len(classes) for classes in maps]
    series["state_end"] = state_end
    return SeriesParams(
        series=series,
        state_values=np.array([value for classes in maps for value in classes], np.float64),
        state_classes=np.array([CLASS_CODES[name] for classes in maps for name in classes.values()], np.int8),
        windows_start_us=np.concatenate([one.starts_us for one in everything]),
        windows_end_us=np.concatenate([one.ends_us for one in everything]),
    )


def _hold_us(attributes: MetricAttributes) -> int:
    """Return 0 for a hold that is not set, and never for one that is.

    What reports on change only holds on while its device is alive: the windows where it was not say when.
    """
    if attributes.max_hold_s is None:
        return 0 if attributes.alive_metric is None else kernel.LONGEST_HOLD_US
    return max(1, round(min(attributes.max_hold_s * kernel.SECOND_US, kernel.LONGEST_HOLD_US)))


def _interval_us(nominal_interval_s: float | None) -> float:
    """Return 0 for an interval that is not set; 16.1 s are 16 100 000 us, not a last bit more."""
    return 0.0 if nominal_interval_s is None else round(nominal_interval_s * kernel.SECOND_US, ndigits=6)


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
    want: Want = Want.NOTHING,
) -> Facts:
    """Return the facts of every (series, bucket); the same digits for any number of threads.

    Args:
        rows: Rows of the period, of up to 35 days before it (look-back) and, for counters, behind it.
        params: See `series_params`; one element per series of `rows`.
        edges_us: Strictly increasing bucket borders. [us]
        now_us: A running period ends here: the future is neither downtime nor a gap. [us]
        threads: Series are shared among this many threads.
        want: Which of the dearer facts are needed.
    """
    window, packed = _pack(rows, params, edges_us, now_us)
    cells = _empty_cells(len(rows), len(edges_us) - 1, _most_states(params))
    shape = (len(rows), len(edges_us) - 1, len(kernel.QUANTILES))
    ranks = np.empty(shape) if Want.QUANTILES in want else None

    def fill(begin: int, end: int) -> None:
        kernel.fill_series(packed, params, window, cells, int(want), begin, end)
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
        steps=cells.steps,
        subgroups=cells.subgroups,
        holds=cells.holds,
        counters=cells.counters,
        states=cells.states,
        state_us=cells.state_us,
        state_entries=cells.state_entries,
        quantiles=ranks,
    )


def find_held(
    rows: SeriesRows,
    params: SeriesParams,
    edges_us: kernel.Integers,
    series: int,
    *,
    now_us: int | None = None,
    classes: Collection[StateClass] | None = None,
) -> Windows:
    """Return when a value of one series holds, look-back included; only values of these classes, where some are given.

    Windows in which no value of the series holds are cut out: excluded ones, silence of the metric that tells life.
    """
    window, packed = _pack(rows, params, edges_us, now_us)
    count = int(rows.offsets[series + 1] - rows.offsets[series])
    spans = np.empty((count, 3), np.int64)
    held = spans[: kernel.fill_held_spans(packed, params, window, np.zeros(1, kernel.INTERVALS), spans, series)]
    if classes is not None:
        held = held[np.isin(held[:, 2], [CLASS_CODES[one] for one in classes])]
    unheld = slice(params.series["unheld_begin"][series], params.series["unheld_end"][series])
    silent = Windows(starts_us=params.windows_start_us[unheld], ends_us=params.windows_end_us[unheld])
    return subtract_windows(merge_windows(held[:, :2]), silent)


def _pack(
    rows: SeriesRows, params: SeriesParams, edges_us: kernel.Integers, now_us: int | None
) -> tuple[kernel.Window, kernel.Rows]:
    window = kernel.Window(np.ascontiguousarray(edges_us, np.int64), NO_NOW_US if now_us is None else now_us)
    quality = _mark_excluded(rows, params)
    return window, kernel.Rows(_seal(rows.offsets), _seal(rows.measured_at_us), _seal(rows.value), _seal(quality))


def _mark_excluded(rows: SeriesRows, params: SeriesParams) -> NDArray[np.uint8]:
    """Return the quality of each row, EXCLUDED more where it lies in an excluded window of its series."""
    begin, end = params.series["taken_begin"], params.series["taken_end"]
    concerned = np.flatnonzero(end > begin)
    if not concerned.size:
        return rows.quality
    quality = rows.quality.copy()
    for s in concerned.tolist():
        own = slice(rows.offsets[s], rows.offsets[s + 1])
        starts, ends = params.windows_start_us[begin[s] : end[s]], params.windows_end_us[begin[s] : end[s]]
        at_us = rows.measured_at_us[own]
        before = np.searchsorted(starts, at_us, side="right")
        is_inside = (before > 0) & (at_us < ends[np.maximum(before, 1) - 1])
        quality[own][is_inside] += kernel.EXCLUDED
    return quality


def _most_states(params: SeriesParams) -> int:
    """Return the length of the longest state map."""
    return int((params.series["state_end"] - params.series["state_begin"]).max(initial=0))


def join_series(parts: Sequence[Facts]) -> Facts:
    """Return the facts of several portions of series over the same buckets as one.

    Time per value of a state is left out: series have maps of different lengths, and no quantity is made of it.
    """
    first = parts[0]
    shape = (sum(len(one.kind) for one in parts), first.points.shape[1], 1)
    has_quantiles = all(one.quantiles is not None for one in parts)
    planned = [one.planned for one in parts if one.planned is not None]
    late = [one.late_n for one in parts if one.late_n is not None]
    return Facts(
        edges_us=first.edges_us,
        now_us=first.now_us,
        **{name: np.concatenate([getattr(one, name) for one in parts]) for name in SERIES_GROUPS},
        state_us=np.zeros(shape, np.int64),
        state_entries=np.zeros(shape, np.int64),
        quantiles=np.concatenate([one.quantiles for one in parts if one.quantiles is not None])
        if has_quantiles
        else None,
        late_n=np.concatenate(late) if len(late) == len(parts) else None,
        planned=join_series(planned) if len(planned) == len(parts) else None,
    )


def take_bucket(facts: Facts, bucket: int) -> Facts:
    """Return the facts of one bucket, as if nothing else had been asked."""
    at = slice(bucket, bucket + 1)
    cells = {name: getattr(facts, name)[:, at] for name in SERIES_GROUPS if name not in {"kind", "intervals"}}
    return replace(
        facts,
        edges_us=facts.edges_us[bucket : bucket + 2],
        **cells,
        state_us=facts.state_us[:, at],
        state_entries=facts.state_entries[:, at],
        quantiles=None if facts.quantiles is None else facts.quantiles[:, at],
        late_n=None if facts.late_n is None else facts.late_n[:, at],
        planned=None if facts.planned is None else take_bucket(facts.planned, bucket),
    )


def warm_up() -> None:
    """Compile the kernel, or load it from numba's cache, before the first report needs it (about 10 s once)."""
    rows = SeriesRows(
        components=["-"],
        metrics=["-"],
        offsets=np.array([0, 1], np.int64),
        measured_at_us=np.zeros(1, np.int64),
        value=np.zeros(1),
        quality=np.zeros(1, np.uint8),
    )
    compute_facts(rows, series_params([MetricAttributes()]), np.array([0, 1], np.int64), want=Want.EVERYTHING)
    cell = np.zeros((1, 1))
    kernel.add_rows(cell, np.zeros(1, np.int64), cell.copy(), cell.copy())


def _empty_cells(series: int, buckets: int, states: int) -> kernel.Cells:
    """Return zeroed records; those that no pass touches cost no memory (the pages stay unmapped)."""
    shape = (series, buckets)
    return kernel.Cells(
        intervals=np.zeros(series, kernel.INTERVALS),
        spans=np.zeros(shape, kernel.SPANS),
        points=np.zeros(shape, kernel.POINTS),
        steps=np.zeros(shape, kernel.STEPS),
        subgroups=np.zeros(shape, kernel.SUBGROUPS),
        holds=np.zeros(shape, kernel.HOLDS),
        counters=np.zeros(shape, kernel.COUNTERS),
        states=np.zeros(shape, kernel.STATES),
        state_us=np.zeros((*shape, states + 1), np.int64),
        state_entries=np.zeros((*shape, states + 1), np.int64),
    )


def _seal(column: NDArray[Any]) -> NDArray[Any]:
    """Return the column as the one type the kernel is compiled for: for numba a read-only array is another type."""
    sealed = np.ascontiguousarray(column).view()
    sealed.flags.writeable = False
    return sealed


def _run_on_threads(fill: Callable[[int, int], None], offsets: kernel.Integers, threads: int) -> None:
    """Give each thread consecutive whole series with about the same number of rows."""
    weights = offsets + np.arange(len(offsets))  # a silent series costs something too
    borders = np.searchsorted(weights, np.linspace(0, weights[-1], threads + 1))
    ranges = [(int(a), int(b)) for a, b in pairwise(borders) if a < b]
    if len(ranges) <= 1:
        for begin, end in ranges:
            fill(begin, end)
        return
    with ThreadPoolExecutor(len(ranges)) as pool:
        for done in [pool.submit(fill, begin, end) for begin, end in ranges]:
            done.result()


def merge(facts: Facts, starts: Sequence[int] = (0,)) -> Facts:
    """Return the facts of runs of adjacent buckets, as if each run had been one bucket from the beginning.

    Counts, times and extremes are exact; sums and deviations agree within rounding. Quantiles cannot be merged.

    Args:
        facts: Facts of adjacent buckets.
        starts: Index of the first bucket of each run, strictly increasing from 0; a run ends where the next starts.
    """
    runs = list(pairwise([*starts, facts.points.shape[1]]))
    with np.errstate(over="ignore", invalid="ignore"):  # too large is `undefined` later, as without a merge
        merged = [_merge_run(facts, begin, end) for begin, end in runs]

    def join(group: str) -> kernel.Records:
        return np.stack([parts[group] for parts in merged], axis=1)

    return replace(
        facts,
        edges_us=facts.edges_us[[*starts, -1]],
        planned=None if facts.planned is None else merge(facts.planned, starts),
        late_n=None if facts.late_n is None else np.add.reduceat(facts.late_n, list(starts), axis=1),
        quantiles=None,
        spans=join("spans"),
        points=join("points"),
        steps=join("steps"),
        subgroups=join("subgroups"),
        holds=join("holds"),
        counters=join("counters"),
        states=join("states"),
        state_us=np.add.reduceat(facts.state_us, starts, axis=1),
        state_entries=np.add.reduceat(facts.state_entries, starts, axis=1),
    )


def _merge_run(facts: Facts, begin: int, end: int) -> dict[str, kernel.Records]:
    """Merge buckets [begin, end) from left to right; one record per series in each group."""
    left = _find_bucket(facts, begin)
    for bucket in range(begin + 1, end):
        right = _find_bucket(facts, bucket)
        left = {
            "points": _merge_points(left, right, facts),
            "spans": _merge_spans(left["spans"], right["spans"]),
            "steps": _merge_steps(left, right),
            "subgroups": _add_records(left["subgroups"], right["subgroups"], kernel.SUBGROUPS.names or ()),
            "holds": _add_records(left["holds"], right["holds"], ADDED_HOLDS),
            "counters": _merge_counters(left["counters"], right["counters"]),
            "states": _merge_states(left, right),
        }
    return left


def _find_bucket(facts: Facts, bucket: int) -> dict[str, kernel.Records]:
    return {
        "spans": facts.spans[:, bucket],
        "points": facts.points[:, bucket],
        "steps": facts.steps[:, bucket],
        "subgroups": facts.subgroups[:, bucket],
        "holds": facts.holds[:, bucket],
        "counters": facts.counters[:, bucket],
        "states": facts.states[:, bucket],
    }


def _add_records(left: kernel.Records, right: kernel.Records, names: Sequence[str]) -> kernel.Records:
    """Return left with the named fields added up; the others describe the beginning."""
    out = left.copy()
    for name in names:
        out[name] += right[name]
    return out


def _merge_spans(left: kernel.Records, right: kernel.Records) -> kernel.Records:
    """A bucket without time does not move the end; before the component's life it begins where life does."""
    out = _add_records(left, right, ("excluded_us",))
    has_time = right["end_us"] > right["start_us"]
    out["end_us"] = np.where(has_time, right["end_us"], left["end_us"])
    out["end_row"] = np.where(has_time, right["end_row"], left["end_row"])
    return out


def _merge_points(left: dict[str, kernel.Records], right: dict[str, kernel.Records], facts: Facts) -> kernel.Records:
    a, b = left["points"], right["points"]
    out = _add_records(a, b, ("n", "bad_n", "inner_gaps", "outside_n", "slots"))
    out["sum"], low = two_sum(a["sum"], b["sum"])
    out["sum_low"] = a["sum_low"] + b["sum_low"] + low
    out["slots"] -= _share_a_slot(a, b, facts)
    only_left, only_right = b["n"] == 0, a["n"] == 0
    _take(out, b, ("first", "first_us"), where=only_right)
    _take(out, b, ("last", "last_us"), where=~only_left)
    _take(out, b, ("min", "min_us"), where=~only_left & (only_right | (b["min"] < a["min"])))
    _take(out, b, ("max", "max_us"), where=~only_left & (only_right | (b["max"] > a["max"])))
    _merge_moments(out, a, b)
    _merge_gaps(out, a, b, facts.intervals["max_hold_us"])
    _merge_edges(out, a, b)
    return out


def _share_a_slot(a: kernel.Records, b: kernel.Records, facts: Facts) -> NDArray[np.bool_]:
    """Tell whether the last point of the left and the first of the right lie in one slot of the grid."""
    nominal_us = facts.intervals["nominal_us"]
    length_us = np.where(nominal_us > 0, nominal_us, 1.0)
    slots = [np.floor((instants - facts.edges_us[0]) / length_us) for instants in (a["last_us"], b["first_us"])]
    shared: NDArray[np.bool_] = (slots[0] == slots[1]) & (nominal_us > 0) & (a["n"] > 0) & (b["n"] > 0)
    return shared


def _take(out: kernel.Records, source: kernel.Records, names: Sequence[str], *, where: NDArray[np.bool_]) -> None:
    for name in names:
        out[name][where] = source[name][where]


def _merge_moments(out: kernel.Records, a: kernel.Records, b: kernel.Records) -> None:
    """Means, squared deviations and co-moments of two samples as one (Chan, Golub, LeVeque 1979)."""
    n = np.maximum(out["n"], 1)
    lost = [find_rest(one["mean"], one["n"].astype(np.float64), one["sum"], one["sum_low"]) for one in (a, b)]
    distance, t_distance = (b["mean"] - a["mean"]) + (lost[1] - lost[0]), b["t_mean_s"] - a["t_mean_s"]
    weight = a["n"] * (b["n"] / n)
    whole = (out["sum"] + out["sum_low"]) / n
    out["mean"] = np.where(a["n"] == 0, b["mean"], np.where(b["n"] == 0, a["mean"], whole))
    out["m2"] = a["m2"] + b["m2"] + distance * distance * weight
    out["t_mean_s"] = a["t_mean_s"] + t_distance * (b["n"] / n)
    out["t_m2"] = a["t_m2"] + b["t_m2"] + t_distance * t_distance * weight
    out["t_value"] = a["t_value"] + b["t_value"] + t_distance * distance * weight


def _merge_steps(left: dict[str, kernel.Records], right: dict[str, kernel.Records]) -> kernel.Records:
    """The pair over the border between the two becomes an inner one."""
    a, b = left["steps"], right["steps"]
    is_joined = (b["border"] == 1) & (left["points"]["n"] > 0)
    over_border = np.zeros_like(a)
    for name, value in (
        ("inner_pairs", 1),
        ("later_mean", right["points"]["first"]),
        ("earlier_mean", b["border_value"]),
    ):
        over_border[name] = np.where(is_joined, value, 0)
    out = _merge_pairs(_merge_pairs(a, over_border), b)
    only_right = left["points"]["n"] == 0
    out["border"] = np.where(only_right, b["border"], a["border"])
    out["border_value"] = np.where(only_right, b["border_value"], a["border_value"])
    return out


def _merge_pairs(a: kernel.Records, b: kernel.Records) -> kernel.Records:
    out = _add_records(a, b, ("pairs", "inner_pairs", "moving_range"))
    pairs = np.maximum(out["inner_pairs"], 1)
    share = b["inner_pairs"] / pairs
    later, earlier = b["later_mean"] - a["later_mean"], b["earlier_mean"] - a["earlier_mean"]
    out["later_mean"] = a["later_mean"] + later * share
    out["earlier_mean"] = a["earlier_mean"] + earlier * share
    out["co_moment"] = a["co_moment"] + b["co_moment"] + later * earlier * (a["inner_pairs"] * share)
    return out


def _merge_states(left: dict[str, kernel.Records], right: dict[str, kernel.Records]) -> kernel.Records:
    """What is still open at the end is what the last bucket with time says."""
    out = _add_records(left["states"], right["states"], kernel.STATES.names or ())
    has_time = right["spans"]["end_us"] > right["spans"]["start_us"]
    out["open_down_us"] = np.where(has_time, right["states"]["open_down_us"], left["states"]["open_down_us"])
    return out


def _merge_gaps(out: kernel.Records, a: kernel.Records, b: kernel.Records, hold_us: kernel.Integers) -> None:
    """The trailing gap of the left and the leading one of the right are one gap, however small each is."""
    border_us = a["trail_us"] + b["lead_us"]
    between = (a["n"] > 0) & (b["n"] > 0)
    gap_us = np.where(between & (border_us > hold_us), border_us, 0)
    out["inner_gaps"] += gap_us > 0
    out["inner_longest_us"] = np.maximum(np.maximum(a["inner_longest_us"], b["inner_longest_us"]), gap_us)
    out["lead_us"] = np.where(a["n"] > 0, a["lead_us"], border_us)
    out["trail_us"] = np.where(b["n"] > 0, b["trail_us"], border_us)


def _merge_edges(out: kernel.Records, a: kernel.Records, b: kernel.Records) -> None:
    """Keep the first and the last three points of both."""
    size = kernel.EDGE_POINTS
    kept = np.minimum(out["n"], size)[:, None]
    taken = np.arange(size)
    n_a, n_b = np.minimum(a["n"], size)[:, None], np.minimum(b["n"], size)[:, None]
    head = np.where(taken < n_a, taken, size + taken - n_a)
    tail = taken + n_a + n_b - kept  # in the tails of both, one behind the other
    tail = np.where(tail < n_a, tail, size + tail - n_a)
    for suffix in ("", "_us"):
        heads = np.concatenate([a["head" + suffix], b["head" + suffix]], axis=1)
        tails = np.concatenate([a["tail" + suffix], b["tail" + suffix]], axis=1)
        for name, source, index in (("head", heads, head), ("tail", tails, tail)):
            picked = np.take_along_axis(source, np.clip(index, 0, 2 * size - 1), axis=1)
            out[name + suffix] = np.where(taken < kept, picked, 0)


def _merge_counters(a: kernel.Records, b: kernel.Records) -> kernel.Records:
    out = _add_records(
        a, b, ("steps", "moves", "resets", "rollovers", "glitches", "undecided", "baseline_us", "increase_low")
    )
    out["increase"], low = two_sum(a["increase"], b["increase"])
    out["increase_low"] += low
    _take(out, b, ("from_us", "from_clock_us"), where=a["steps"] == 0)
    _take(out, b, ("to_us", "to_clock_us"), where=b["steps"] > 0)
    return out


def two_sum(a: kernel.Floats, b: kernel.Floats) -> tuple[kernel.Floats, kernel.Floats]:
    """Return sums and what rounding lost of each (Knuth)."""
    total = a + b
    back = total - a
    return total, (a - (total - back)) + (b - back)


def find_rest(mean: kernel.Floats, n: kernel.Floats, total: kernel.Floats, low: kernel.Floats) -> kernel.Floats:
    """Return what rounding of `mean` lost: (total + low) / n - mean, with an exact product (Dekker 1971)."""
    product = n * mean
    n_high, mean_high = (one * SPLITTER - (one * SPLITTER - one) for one in (n, mean))
    n_low, mean_low = n - n_high, mean - mean_high
    lost = ((n_high * mean_high - product) + n_high * mean_low + n_low * mean_high) + n_low * mean_low
    rest = ((total - product) - lost + low) / np.where(n > 0, n, 1.0)
    return np.where(np.isfinite(rest), rest, 0.0)
