"""The one heavy step of a report: facts per (series, bucket) in compiled, sequential passes over contiguous rows.

Determinism is the reason this is not SQL: every sum is compensated and runs in measured_at order inside one series, so
file layout, batch borders and threads cannot change a digit. Threads share no state; each takes whole series.

All compiled code lives in this one module on purpose: numba's cache notices a change of the file of the function it
compiled, not of a function in another file that it calls. For the same reason the names of the tuple classes below
stay: a cache left by an older version names them, and numba reads it before it compares versions.

Words (KPI.md): a *row* is what was stored; a *point* is a row that is neither bad nor null. A point's value holds until
the next row (a bad or null row ends it), at most `max_hold_us`. S' and E' are `start_us` and `end_us` of a span.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Records = NDArray[np.void]
Record = Any  # one element of Records: numba knows its fields, mypy cannot

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
LOOKBACK_US = 35 * DAY_US  # KPI.md: look-back never exceeds 35 days
ESTIMATE_US = 30 * DAY_US  # the nominal interval is estimated over the period and the 30 days before
ESTIMATE_POINTS = 10  # ... from at least this many points
DEFAULT_HOLD_US = DAY_US
LONGEST_HOLD_US = 200 * 365 * DAY_US  # any longer hold is forever; keeps instant + hold inside int64
HOLDS_PER_INTERVAL = 3
BAD_QUALITY = 2
EXCLUDED = 4  # added to the quality of rows in an excluded window: they count for nothing, and end what held
EDGE_POINTS = 3
QUANTILES = (0.01, 0.05, 0.25, 0.50, 0.75, 0.95, 0.99)
MEDIAN = 3  # its index in QUANTILES

WANT_LINES, WANT_TREND, WANT_STEPS = 1, 2, 4  # groups of facts that cost a pass of their own

GAUGE, COUNTER, DELTA, STATE = range(4)
CLASS_UNKNOWN, CLASS_UP, CLASS_DOWN, CLASS_PLANNED, CLASS_IDLE = range(5)

# What happened between the last accepted counter reading and the next point; those up to ROLLOVER count.
RISE, RESET, ROLLOVER, TOO_FAST, ONE_OFF, TWO_OFF, UNDECIDED = range(7)  # ONE_OFF: TOO_FAST + 1 reading off the line

# How a point hangs together with the point before it. PARTED: silence between them, longer than max hold or of the
# metric that says whether the device is alive. BRIDGED: near, but with a bad or empty row between. JOINED: neither.
PARTED, BRIDGED, JOINED = range(3)

# Mean range of n values of a normal distribution with standard deviation 1, from n = 0 on (AIAG SPC 2nd ed., table of
# constants). It ends at 25: the range of more values than that tells little.
D2 = (
    0.0, 0.0, 1.128, 1.693, 2.059, 2.326, 2.534, 2.704, 2.847, 2.970, 3.078, 3.173, 3.258, 3.336, 3.407, 3.472, 3.532,
    3.588, 3.640, 3.689, 3.735, 3.778, 3.819, 3.858, 3.895, 3.931,
)  # fmt: skip

kernel = njit(cache=True, nogil=True, error_model="numpy")
# Array arguments of a call that LLVM does not inline cost reference counting: small functions per row are inlined.
inlined = njit(cache=True, nogil=True, error_model="numpy", inline="always")


class Rows(NamedTuple):
    """Rows of all series: series i is `offsets[i]:offsets[i + 1]`, strictly increasing time."""

    offsets: Integers
    measured_at_us: Integers
    value: Floats
    quality: NDArray[np.uint8]


class SeriesParams(NamedTuple):
    """What the kernel knows about each series: a PARAMS record each; state maps and windows one behind the other.

    Windows are half-open, disjoint and in order: rows in `taken` ones are marked EXCLUDED, time in `excluded` ones
    (those and more) does not count at all, in `unheld` ones (those and more) no value holds.
    """

    series: Records
    state_values: Floats
    state_classes: NDArray[np.int8]
    windows_start_us: Integers
    windows_end_us: Integers


class Window(NamedTuple):
    """Bucket borders and the moment that running periods end at. [us]"""

    edges_us: Integers
    now_us: int


class Cells(NamedTuple):
    """Everything one call fills: INTERVALS per series, the other groups per (series, bucket)."""

    intervals: Records
    spans: Records
    points: Records
    steps: Records
    subgroups: Records
    holds: Records
    counters: Records
    states: Records
    state_us: Integers
    state_entries: Integers


# Per series. max_hold_us 0: three nominal intervals, else 24 h. nominal_us 0: estimated. rollover_at 0: none.
# lsl, usl: infinite where there is no limit. commissioned_us and retired_us bound the time that counts. The state map
# is state_values[state_begin:state_end]; taken_*, excluded_* and unheld_* are ranges of the windows. A subgroup is so
# many points in a row, or those of so long a time; both 0: none.
PARAMS = np.dtype(
    [
        ("kind", "i8"),
        ("max_hold_us", "i8"),
        ("nominal_us", "f8"),
        ("rollover_at", "f8"),
        ("max_rate", "f8"),
        ("lsl", "f8"),
        ("usl", "f8"),
        ("commissioned_us", "i8"),
        ("retired_us", "i8"),
        ("state_begin", "i8"),
        ("state_end", "i8"),
        ("taken_begin", "i8"),
        ("taken_end", "i8"),
        ("excluded_begin", "i8"),
        ("excluded_end", "i8"),
        ("unheld_begin", "i8"),
        ("unheld_end", "i8"),
        ("subgroup_size", "i8"),
        ("subgroup_us", "i8"),
    ]
)

# Per series: what was used. nominal_us 0: unknown, and too few points to estimate it.
# hold_estimated: max hold is not set and three estimated intervals.
INTERVALS = np.dtype([("nominal_us", "f8"), ("estimated", "i8"), ("max_hold_us", "i8"), ("hold_estimated", "i8")])

# S' and E', the rows inside [S', E'), and how much of it excluded windows take out.
SPANS = np.dtype([("start_us", "i8"), ("end_us", "i8"), ("first_row", "i8"), ("end_row", "i8"), ("excluded_us", "i8")])

# Statistics of the points in [S', E'), all 0 when n = 0. sum_low: what rounding of the sum lost. m2: sum of squared
# deviations from the mean.
# lead_us: from S' to the first point, trail_us: from the last one to E'; both the whole bucket when it is empty.
# inner_*: gaps between points longer than max hold. head, tail: the first and the last three points in time order.
# outside_n: points beyond a limit. slots: intervals of the grid from the first edge on that have a point. t_mean_s,
# t_m2, t_value: mean, squared deviations and co-moment with the value of the times since the first edge. [s]
POINTS = np.dtype(
    [
        ("n", "i8"),
        ("bad_n", "i8"),
        ("first_us", "i8"),
        ("last_us", "i8"),
        ("min_us", "i8"),
        ("max_us", "i8"),
        ("first", "f8"),
        ("last", "f8"),
        ("min", "f8"),
        ("max", "f8"),
        ("sum", "f8"),
        ("sum_low", "f8"),
        ("mean", "f8"),
        ("m2", "f8"),
        ("lead_us", "i8"),
        ("trail_us", "i8"),
        ("inner_gaps", "i8"),
        ("inner_longest_us", "i8"),
        ("outside_n", "i8"),
        ("slots", "i8"),
        ("t_mean_s", "f8"),
        ("t_m2", "f8"),
        ("t_value", "f8"),
        ("head_us", "i8", (EDGE_POINTS,)),
        ("head", "f8", (EDGE_POINTS,)),
        ("tail_us", "i8", (EDGE_POINTS,)),
        ("tail", "f8", (EDGE_POINTS,)),
    ]
)

# Pairs of consecutive points at most max hold apart, the later one in [S', E'): how many, and the sum of
# |later - earlier|. Of the inner ones, with the earlier one there too: how many, means of the later and the earlier
# values, their co-moment. border: 1 where the first point has its partner before S', with the value border_value.
STEPS = np.dtype(
    [
        ("pairs", "i8"),
        ("moving_range", "f8"),
        ("inner_pairs", "i8"),
        ("later_mean", "f8"),
        ("earlier_mean", "f8"),
        ("co_moment", "f8"),
        ("border", "i8"),
        ("border_value", "f8"),
    ]
)

# Subgroups of at least two points whose last one lies in [S', E'): how many, points less one, squared deviations from
# their own means, the sum of (range / d2 of its size), and how many are too large for a d2.
SUBGROUPS = np.dtype(
    [("groups", "i8"), ("degrees", "i8"), ("squares", "f8"), ("scaled_ranges", "f8"), ("too_large", "i8")]
)

# Covered time, area under the held values [unit x us], held time above usl and below lsl, time of the last row before
# S' (-1: none in the look-back). linear_*: between neighbours at most max hold apart, as straight lines.
HOLDS = np.dtype(
    [
        ("covered_us", "i8"),
        ("area", "f8"),
        ("above_us", "i8"),
        ("below_us", "i8"),
        ("previous_us", "i8"),
        ("linear_covered_us", "i8"),
        ("linear_area", "f8"),
    ]
)

# Steps whose later point lies in [S', E'). The increase is increase + increase_low (what rounding of the running sum
# lost). moves: counted steps that are not 0. from_us: time of the reading before the first counted step, to_us: of the
# last counted one; *_clock_us: time that counts from the look-back until then: a clock that excluded windows stop.
# baseline_us: time of the very first reading of the look-back when it lies in this bucket, else 0.
COUNTERS = np.dtype(
    [
        ("increase", "f8"),
        ("increase_low", "f8"),
        ("steps", "i8"),
        ("moves", "i8"),
        ("resets", "i8"),
        ("rollovers", "i8"),
        ("glitches", "i8"),
        ("undecided", "i8"),
        ("from_us", "i8"),
        ("to_us", "i8"),
        ("from_clock_us", "i8"),
        ("to_clock_us", "i8"),
        ("baseline_us", "i8"),
    ]
)

# Held time per class (unknown is the rest of the bucket), transitions from up to down, and down intervals: those that
# end here at a known state, their whole length, those among them whose begin nobody saw, those that silence or a bad
# row ended, and how long the one that is open at E' has lasted.
STATES = np.dtype(
    [
        ("up_us", "i8"),
        ("down_us", "i8"),
        ("planned_us", "i8"),
        ("idle_us", "i8"),
        ("failures", "i8"),
        ("failures_uncertain", "i8"),
        ("repairs", "i8"),
        ("repaired_us", "i8"),
        ("repairs_cut", "i8"),
        ("repairs_censored", "i8"),
        ("open_down_us", "i8"),
    ]
)


@kernel
def is_good(value: float, quality: int) -> bool:
    return quality < BAD_QUALITY and value - value == 0.0  # false for NaN and infinities


@inlined
def is_reading(value: float, quality: int) -> bool:
    """Say whether a row is a point, or would be one but for an excluded window."""
    return quality % EXCLUDED < BAD_QUALITY and value - value == 0.0


@kernel
def find_row(times_us: Integers, lo: int, hi: int, instant_us: int) -> int:
    """Return the first row in [lo, hi) at or after the instant, in O(log distance): buckets never rescan rows."""
    step = 1
    while lo + step <= hi and times_us[lo + step - 1] < instant_us:
        lo += step
        step *= 2
    top = min(hi, lo + step - 1)
    while lo < top:
        middle = (lo + top) // 2
        if times_us[middle] < instant_us:
            lo = middle + 1
        else:
            top = middle
    return lo


@kernel
def overlap_us(params: SeriesParams, begin: int, end: int, from_us: int, to_us: int) -> int:
    """Return how much of [from_us, to_us) the windows [begin, end) take. [us]"""
    taken_us = 0
    for k in range(find_row(params.windows_end_us, begin, end, from_us + 1), end):
        if params.windows_start_us[k] >= to_us:
            break
        taken_us += min(params.windows_end_us[k], to_us) - max(params.windows_start_us[k], from_us)
    return taken_us


@inlined
def counted_us(params: SeriesParams, param: Record, from_us: int, to_us: int) -> int:
    """Return how much of [from_us, to_us) counts: all of it but for excluded windows. [us]"""
    if param.excluded_begin == param.excluded_end or to_us <= from_us:
        return to_us - from_us
    return to_us - from_us - overlap_us(params, param.excluded_begin, param.excluded_end, from_us, to_us)


@inlined
def held_us(params: SeriesParams, param: Record, from_us: int, to_us: int) -> int:
    """Return for how much of [from_us, to_us) a value can hold. [us]

    In a loop over rows, ask only where there are windows: counting the references to `params` costs 60 ns a call.
    """
    if param.unheld_begin == param.unheld_end or to_us <= from_us:
        return to_us - from_us
    return to_us - from_us - overlap_us(params, param.unheld_begin, param.unheld_end, from_us, to_us)


@inlined
def is_silent(params: SeriesParams, param: Record, from_us: int, to_us: int, max_hold_us: int) -> bool:
    """Say whether nothing was known for a while between two points: beyond max hold, or with no sign of life.

    Excluded windows are taken out: neither their time nor silence in them counts.
    """
    gap_us = counted_us(params, param, from_us, to_us)
    return gap_us > max_hold_us or held_us(params, param, from_us, to_us) < gap_us


@kernel
def find_point(values: Floats, qualities: NDArray[np.uint8], i: int, hi: int) -> int:
    """Return the first row at or after i that is a point, or hi."""
    while i < hi and not is_good(values[i], qualities[i]):
        i += 1
    return i


@kernel
def two_sum(total: float, low: float, term: float) -> tuple[float, float]:
    """Add a term to a running sum and keep what rounding lost (Neumaier; branch-free two-sum of Knuth)."""
    grown = total + term
    back = grown - total
    return grown, low + ((total - (grown - back)) + (term - back))


@kernel
def add_rows(values: Floats, group_of: Integers, total: Floats, low: Floats) -> None:
    """Add rows (row, bucket) to the running sums of their groups (group, bucket), in the order of the rows."""
    for row in range(len(group_of)):
        group = group_of[row]
        for b in range(values.shape[1]):
            total[group, b], low[group, b] = two_sum(total[group, b], low[group, b], values[row, b])


@kernel
def find_steps_us(rows: Rows, lo: int, hi: int, out: Floats) -> int:
    """Write the steps between the points of rows [lo, hi) and return how many there are. [us]"""
    times_us, values, qualities = rows.measured_at_us, rows.value, rows.quality
    steps = 0
    previous = find_point(values, qualities, lo, hi)
    for i in range(previous + 1, hi):
        if is_good(values[i], qualities[i]):
            out[steps] = times_us[i] - times_us[previous]
            steps += 1
            previous = i
    return steps


@kernel
def select(values: Floats, lo: int, hi: int, k: int) -> None:
    """Reorder values[lo:hi] so that values[k] stands at its rank, smaller ones before it (Hoare's selection).

    Our own because numba's `sort` and `partition` cost half of the compile time and are several times slower here.
    """
    hi -= 1
    while lo < hi:
        a, b, c = values[lo], values[(lo + hi) // 2], values[hi]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = lo, hi
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if k <= j:
            hi = j
        elif k >= i:
            lo = i
        else:
            return


@kernel
def find_smallest(values: Floats, lo: int, hi: int) -> float:
    smallest = values[lo]
    for i in range(lo + 1, hi):
        smallest = min(smallest, values[i])
    return smallest


@kernel
def find_median(lengths: Floats) -> float:
    """Return the median, reordering its argument; a value that most elements equal is found without reordering."""
    candidate = 0.0
    votes = 0
    for length in lengths:  # majority vote of Boyer and Moore
        if votes == 0:
            candidate = length
        votes += 1 if length == candidate else -1
    equal = 0
    for length in lengths:
        equal += 1 if length == candidate else 0
    if 2 * equal > len(lengths):
        return candidate
    below = (len(lengths) - 1) // 2
    select(lengths, 0, len(lengths), below)
    if len(lengths) % 2 == 1:
        return lengths[below]
    return (lengths[below] + find_smallest(lengths, below + 1, len(lengths))) / 2.0


@kernel
def fill_interval(rows: Rows, param: Record, window: Window, out: Record, lo: int, hi: int) -> None:
    nominal_us = param.nominal_us
    if nominal_us <= 0.0:
        start_us = max(window.edges_us[0], param.commissioned_us)
        end_us = min(window.edges_us[-1], window.now_us, param.retired_us)
        first = find_row(rows.measured_at_us, lo, hi, start_us - ESTIMATE_US)
        end = find_row(rows.measured_at_us, first, hi, end_us)
        lengths = np.empty(max(end - first, 0), np.float64)
        steps = find_steps_us(rows, first, end, lengths)
        if steps + 1 >= ESTIMATE_POINTS:
            nominal_us = find_median(lengths[:steps])
            out.estimated = 1
    out.nominal_us = nominal_us
    if param.max_hold_us > 0:
        out.max_hold_us = param.max_hold_us
    elif nominal_us > 0.0:
        hold_us = min(max(HOLDS_PER_INTERVAL * nominal_us, 1.0), LONGEST_HOLD_US)
        out.max_hold_us = np.int64(hold_us + 0.5)
        out.hold_estimated = out.estimated
    else:
        out.max_hold_us = DEFAULT_HOLD_US


@kernel
def fill_spans(
    times_us: Integers, params: SeriesParams, param: Record, window: Window, out: Records, lo: int, hi: int
) -> None:
    """Clip each bucket to the component's life and to now, and find its rows; a bucket outside both has length 0."""
    row = lo
    for b in range(len(window.edges_us) - 1):
        start_us = max(window.edges_us[b], param.commissioned_us)
        end_us = max(start_us, min(window.edges_us[b + 1], window.now_us, param.retired_us))
        out[b].start_us = start_us
        out[b].end_us = end_us
        row = find_row(times_us, row, hi, start_us)
        out[b].first_row = row
        row = find_row(times_us, row, hi, end_us)
        out[b].end_row = row
        out[b].excluded_us = end_us - start_us - counted_us(params, param, start_us, end_us)


@kernel
def fill_points(
    rows: Rows, params: SeriesParams, param: Record, interval: Record, span: Record, out: Record, origin_us: int
) -> None:
    times_us, values, qualities = rows.measured_at_us, rows.value, rows.quality
    max_hold_us, nominal_us, lsl, usl = interval.max_hold_us, interval.nominal_us, param.lsl, param.usl
    n, gaps, longest_us, outside, ignored = 0, 0, 0, 0, 0
    slots, slot = 0, -1
    total, low = 0.0, 0.0
    first, last, smallest, largest = 0.0, 0.0, 0.0, 0.0
    first_us, last_us, smallest_us, largest_us = 0, 0, 0, 0
    for i in range(span.first_row, span.end_row):
        value = values[i]
        if not is_good(value, qualities[i]):
            ignored += 1 if qualities[i] >= EXCLUDED else 0
            continue
        at_us = times_us[i]
        if n == 0:
            first, smallest, largest = value, value, value
            first_us, smallest_us, largest_us = at_us, at_us, at_us
        elif at_us - last_us > max_hold_us:
            gap_us = counted_us(params, param, last_us, at_us)
            if gap_us > max_hold_us:
                gaps += 1
                longest_us = max(longest_us, gap_us)
        if value < lsl or value > usl:
            outside += 1
        if nominal_us > 0.0:
            own_slot = find_slot(at_us, origin_us, nominal_us)
            slots += 1 if own_slot != slot or n == 0 else 0
            slot = own_slot
        if value < smallest:
            smallest, smallest_us = value, at_us
        if value > largest:
            largest, largest_us = value, at_us
        if n < EDGE_POINTS:
            out.head[n] = value
            out.head_us[n] = at_us
        last, last_us = value, at_us
        total, low = two_sum(total, low, value)
        n += 1
    out.n, out.bad_n = n, span.end_row - span.first_row - n - ignored
    out.inner_gaps, out.inner_longest_us = gaps, longest_us
    out.outside_n, out.slots = outside, slots
    out.lead_us = out.trail_us = span.end_us - span.start_us - span.excluded_us
    if n > 0:
        out.first, out.last, out.min, out.max = first, last, smallest, largest
        out.first_us, out.last_us, out.min_us, out.max_us = first_us, last_us, smallest_us, largest_us
        out.sum = total + low
        out.sum_low = (total - out.sum) + low
        out.mean = (total + low) / n
        out.lead_us = counted_us(params, param, span.start_us, first_us)
        out.trail_us = counted_us(params, param, last_us, span.end_us)


@inlined
def find_slot(at_us: int, origin_us: int, nominal_us: float) -> int:
    """Return the interval of the grid from the first edge on that an instant lies in."""
    return int(np.floor((at_us - origin_us) / nominal_us))


@kernel
def fill_trend(rows: Rows, span: Record, out: Record, origin_us: int) -> None:
    """Moments of the times, and with the values: two passes, like the variance."""
    times_us, values, qualities = rows.measured_at_us, rows.value, rows.quality
    if out.n == 0:
        return
    total, low = 0.0, 0.0
    for i in range(span.first_row, span.end_row):
        if is_good(values[i], qualities[i]):
            total, low = two_sum(total, low, (times_us[i] - origin_us) / SECOND_US)
    t_mean, mean = (total + low) / out.n, out.mean
    squares, squares_low, products, products_low = 0.0, 0.0, 0.0, 0.0
    t_rest, rest = 0.0, 0.0
    for i in range(span.first_row, span.end_row):
        if is_good(values[i], qualities[i]):
            t = (times_us[i] - origin_us) / SECOND_US - t_mean
            deviation = values[i] - mean
            squares, squares_low = two_sum(squares, squares_low, t * t)
            products, products_low = two_sum(products, products_low, t * deviation)
            t_rest += t
            rest += deviation
    out.t_mean_s = t_mean
    out.t_m2 = max(0.0, squares + squares_low - t_rest * t_rest / out.n)
    out.t_value = products + products_low - t_rest * rest / out.n


@kernel
def fill_steps(rows: Rows, span: Record, point: Record, out: Record, lo: int, max_hold_us: int) -> None:
    """Pairs of consecutive points; the co-moment about the mean of the bucket first, then about their own means."""
    times_us, values, qualities = rows.measured_at_us, rows.value, rows.quality
    if point.n == 0:
        return
    last = span.first_row - 1
    while last >= lo and not is_good(values[last], qualities[last]):
        last -= 1
    pairs, inner = 0, 0
    centre = point.mean
    later, later_low, earlier, earlier_low = 0.0, 0.0, 0.0, 0.0
    products, products_low, ranges, ranges_low = 0.0, 0.0, 0.0, 0.0
    for i in range(span.first_row, span.end_row):
        if not is_good(values[i], qualities[i]):
            continue
        if last >= lo and times_us[i] - times_us[last] <= max_hold_us:
            pairs += 1
            ranges, ranges_low = two_sum(ranges, ranges_low, abs(values[i] - values[last]))
            if last >= span.first_row:
                y, x = values[i] - centre, values[last] - centre
                inner += 1
                later, later_low = two_sum(later, later_low, y)
                earlier, earlier_low = two_sum(earlier, earlier_low, x)
                products, products_low = two_sum(products, products_low, y * x)
            else:
                out.border, out.border_value = 1, values[last]
        last = i
    out.pairs, out.inner_pairs = pairs, inner
    out.moving_range = ranges + ranges_low
    if inner > 0:
        later, earlier = (later + later_low) / inner, (earlier + earlier_low) / inner
        out.later_mean, out.earlier_mean = centre + later, centre + earlier
        out.co_moment = products + products_low - inner * later * earlier


@kernel
def add_subgroup(rows: Rows, begin: int, end: int, out: Record) -> None:
    """Add the points of rows [begin, end) as one subgroup, where they are at least two."""
    n = 0
    total, low, smallest, largest = 0.0, 0.0, np.inf, -np.inf
    for i in range(begin, end):
        if is_good(rows.value[i], rows.quality[i]):
            n += 1
            total, low = two_sum(total, low, rows.value[i])
            smallest, largest = min(smallest, rows.value[i]), max(largest, rows.value[i])
    if n < 2:
        return
    mean = (total + low) / n
    squares, squares_low, rest = 0.0, 0.0, 0.0
    for i in range(begin, end):
        if is_good(rows.value[i], rows.quality[i]):
            deviation = rows.value[i] - mean
            squares, squares_low = two_sum(squares, squares_low, deviation * deviation)
            rest += deviation
    out.groups += 1
    out.degrees += n - 1
    out.squares += max(0.0, squares + squares_low - rest * rest / n)
    if n < len(D2):
        out.scaled_ranges += (largest - smallest) / D2[n]
    else:
        out.too_large += 1


@kernel
def fill_subgroups(rows: Rows, param: Record, spans: Records, out: Records, origin_us: int) -> None:
    """Subgroups from the first edge on, each in the bucket of its last point; one of too few points is left out.

    Groups by number go on over the borders of buckets and end incomplete with the last one; groups by time lie on a
    grid from the first edge. Either way adjacent buckets merge.
    """
    first, end = spans[0].first_row, spans[len(spans) - 1].end_row
    begin, last, n, b, slot = first, -1, 0, 0, -1
    for i in range(first, end):
        if not is_good(rows.value[i], rows.quality[i]) or not is_inside(spans, find_bucket(spans, b, i), i):
            continue
        if param.subgroup_us > 0:
            own_slot = (rows.measured_at_us[i] - origin_us) // param.subgroup_us
            if own_slot != slot and last >= 0:
                b = find_bucket(spans, b, last)
                add_subgroup(rows, begin, last + 1, out[b])
                begin = i
            slot = own_slot
        elif n == 0:
            begin = i
        n += 1
        last = i
        if param.subgroup_us == 0 and n == param.subgroup_size:
            b = find_bucket(spans, b, last)
            add_subgroup(rows, begin, last + 1, out[b])
            n = 0
    if param.subgroup_us > 0 and last >= 0:
        b = find_bucket(spans, b, last)
        add_subgroup(rows, begin, last + 1, out[b])


@kernel
def fill_spread(rows: Rows, span: Record, out: Record) -> None:
    """Second pass of the corrected two-pass variance (Chan, Golub, LeVeque 1983), and the last points."""
    times_us, values, qualities = rows.measured_at_us, rows.value, rows.quality
    mean = out.mean
    squares, low, rest = 0.0, 0.0, 0.0
    for i in range(span.first_row, span.end_row):
        if is_good(values[i], qualities[i]):
            deviation = values[i] - mean
            squares, low = two_sum(squares, low, deviation * deviation)
            rest += deviation
    if out.n > 0:
        m2 = squares + low - rest * rest / out.n
        out.m2 = 0.0 if m2 < 0.0 else m2  # noqa: FURB136 - max() would turn the NaN of an overflow into 0
    kept = min(out.n, EDGE_POINTS)
    i = span.end_row - 1
    while kept > 0:
        if is_good(values[i], qualities[i]):
            kept -= 1
            out.tail[kept] = values[i]
            out.tail_us[kept] = times_us[i]
        i -= 1


@kernel
def find_hold_end(times_us: Integers, i: int, hi: int, max_hold_us: int, end_us: int) -> int:
    """Return the instant until which row i holds: the next row (rows end at hi), its max hold, or the end. [us]"""
    until_us = min(times_us[i] + max_hold_us, end_us)
    return min(until_us, times_us[i + 1]) if i + 1 < hi else until_us


@kernel
def fill_holds(
    rows: Rows, params: SeriesParams, param: Record, span: Record, out: Record, lo: int, hi: int, max_hold_us: int
) -> None:
    """Covered time, area and time beyond the limits; the row before S' is carried in."""
    times_us, values, qualities = rows.measured_at_us, rows.value, rows.quality
    start_us, end_us = span.start_us, span.end_us
    before = span.first_row - 1
    out.previous_us = times_us[before] if before >= lo else -1
    if start_us == end_us:
        return
    covered_us, above_us, below_us = 0, 0, 0
    area, low = 0.0, 0.0
    lsl, usl, has_windows = param.lsl, param.usl, param.unheld_begin < param.unheld_end
    for i in range(max(before, lo), span.end_row):
        from_us = max(times_us[i], start_us)
        until_us = find_hold_end(times_us, i, hi, max_hold_us, end_us)
        duration_us = until_us - from_us
        if has_windows:
            duration_us = held_us(params, param, from_us, until_us)
        if duration_us > 0 and is_good(values[i], qualities[i]):
            covered_us += duration_us
            area, low = two_sum(area, low, values[i] * duration_us)
            if values[i] > usl:
                above_us += duration_us
            elif values[i] < lsl:
                below_us += duration_us
    out.covered_us, out.above_us, out.below_us = covered_us, above_us, below_us
    out.area = area + low


@inlined
def is_joined(rows: Rows, i: int, max_hold_us: int) -> bool:
    """Say whether a straight line leads from row i to the next: both are points, at most max hold apart."""
    near = rows.measured_at_us[i + 1] - rows.measured_at_us[i] <= max_hold_us
    here = is_good(rows.value[i], rows.quality[i])
    return near and here and is_good(rows.value[i + 1], rows.quality[i + 1])


@kernel
def add_line(rows: Rows, i: int, from_us: int, to_us: int, area: float, low: float) -> tuple[float, float]:
    """Add what lies under the line from row i to the next between two instants of it. [unit x us]"""
    begin_us, begin, end = rows.measured_at_us[i], rows.value[i], rows.value[i + 1]
    middle = ((from_us - begin_us) + (to_us - begin_us)) / (2.0 * (rows.measured_at_us[i + 1] - begin_us))
    duration_us = to_us - from_us
    area, low = two_sum(area, low, begin * duration_us * (1.0 - middle))
    return two_sum(area, low, end * duration_us * middle)


@kernel
def fill_lines(
    rows: Rows, params: SeriesParams, param: Record, span: Record, out: Record, lo: int, hi: int, max_hold_us: int
) -> None:
    """Area between neighbours as straight lines; those over S' and E' up to there."""
    times_us = rows.measured_at_us
    if span.start_us == span.end_us:
        return
    covered_us = 0
    area, low = 0.0, 0.0
    for i in range(max(span.first_row - 1, lo), min(span.end_row, hi - 1)):
        if not is_joined(rows, i, max_hold_us):
            continue
        from_us, to_us = max(times_us[i], span.start_us), min(times_us[i + 1], span.end_us)
        k = find_row(params.windows_end_us, param.unheld_begin, param.unheld_end, from_us + 1)
        while from_us < to_us:  # the pieces between windows where no value holds
            is_cut = k < param.unheld_end and params.windows_start_us[k] < to_us
            until_us = max(from_us, params.windows_start_us[k]) if is_cut else to_us
            if until_us > from_us:
                covered_us += until_us - from_us
                area, low = add_line(rows, i, from_us, until_us, area, low)
            from_us = params.windows_end_us[k] if is_cut else to_us
            k += 1
    out.linear_covered_us = covered_us
    out.linear_area = area + low


@kernel
def is_rollover(previous: float, value: float, modulus: float) -> bool:
    """Tell whether a counter of this modulus passed it; a reading above the modulus is no reading of such a counter."""
    return modulus > 0.0 and 0.9 * modulus <= previous <= modulus and value <= 0.1 * modulus


@inlined
def judge_decrease(readings: Floats, last: int, k: int) -> int:
    """Tell a dip of at most two readings (one of the next two is back at the earlier line) from a reset."""
    if k + 1 < len(readings) and readings[k + 1] >= readings[last]:
        return ONE_OFF
    if k + 2 < len(readings):
        return TWO_OFF if readings[k + 2] >= readings[last] else RESET
    return UNDECIDED


@inlined
def judge_rise(readings: Floats, last: int, k: int, modulus: float) -> int:
    """Tell a spike of at most two readings from a rise; a fall that is a rollover is no return. No news is a rise."""
    for off_line in range(1, 3):
        back = k + off_line
        if back >= len(readings) or readings[back - 1] < readings[k]:
            return RISE
        if readings[last] <= readings[back] < readings[k] and not is_rollover(
            readings[back - 1], readings[back], modulus
        ):
            return TOO_FAST + off_line
    return RISE


@inlined
def judge_step(readings: Floats, last: int, k: int, modulus: float) -> tuple[int, float]:
    """Return (verdict, amount) of the step from the last accepted reading to reading k.

    Source: KPI.md "Counters": (a) rollover, (b) dip or spike, (c) reset, in this order.
    """
    previous, value = readings[last], readings[k]
    if value >= previous:
        return judge_rise(readings, last, k, modulus), value - previous
    if is_rollover(previous, value, modulus):
        return ROLLOVER, modulus - previous + value
    return judge_decrease(readings, last, k), value


@inlined
def find_bucket(spans: Records, b: int, i: int) -> int:
    """Return the first bucket from b on that does not end before row i (may be one past the last)."""
    while b < len(spans) and i >= spans[b].end_row:
        b += 1
    return b


@inlined
def is_inside(spans: Records, b: int, i: int) -> bool:
    return b < len(spans) and i >= spans[b].first_row


@kernel
def count_step(out: Record, verdict: int, amount: float, from_us: int, to_us: int) -> None:
    if verdict == RESET:
        out.resets += 1
    if verdict == ROLLOVER:
        out.rollovers += 1
    if out.steps == 0:
        out.from_us = from_us
    out.steps += 1
    out.moves += 1 if amount > 0.0 else 0
    out.to_us = to_us
    out.increase, out.increase_low = two_sum(out.increase, out.increase_low, amount)


@kernel
def find_points(rows: Rows, lo: int, hi: int) -> tuple[Integers, Floats]:
    """Return (row, value) of the readings in rows [lo, hi), so that neighbours are next to each other."""
    where = np.empty(max(hi - lo, 0), np.int64)
    readings = np.empty(max(hi - lo, 0), np.float64)
    n = 0
    for i in range(lo, hi):
        if is_reading(rows.value[i], rows.quality[i]):
            where[n], readings[n] = i, rows.value[i]
            n += 1
    return where[:n], readings[:n]


@kernel
def fill_counter(
    rows: Rows, params: SeriesParams, param: Record, spans: Records, out: Records, lo: int, hi: int, zero_us: int
) -> None:
    """Follow the readings of one counter through look-back, buckets and the points behind the end."""
    times_us = rows.measured_at_us
    where, readings = find_points(rows, lo, hi)
    if len(where) == 0:
        return
    b = find_bucket(spans, 0, where[0])
    if is_inside(spans, b, where[0]):
        out[b].baseline_us = times_us[where[0]]
    limited = param.max_rate < np.inf
    last, k, undecided = 0, 1, False
    while k < len(where):
        verdict, amount = judge_step(readings, last, k, param.rollover_at)
        undecided = undecided or verdict == UNDECIDED
        from_us, to_us = times_us[where[last]], times_us[where[k]]
        if limited and verdict <= ROLLOVER and amount > param.max_rate * ((to_us - from_us) / SECOND_US):
            verdict = TOO_FAST
        passed = verdict - TOO_FAST if TOO_FAST < verdict < UNDECIDED else 1
        for off_line in range(k, k + passed):
            b = find_bucket(spans, b, where[off_line])
            if not is_inside(spans, b, where[off_line]) or rows.quality[where[off_line]] >= EXCLUDED:
                continue  # what a counter did in an excluded window is followed, and counts for nothing
            if undecided:
                out[b].undecided += 1
            elif verdict >= TOO_FAST:
                out[b].glitches += 1
            else:
                count_step(out[b], verdict, amount, from_us, to_us)
        k += passed
        if verdict <= TOO_FAST:
            last = k - 1
    for b in range(len(spans)):
        if out[b].steps > 0:
            out[b].from_clock_us = counted_us(params, param, zero_us, out[b].from_us)
            out[b].to_clock_us = counted_us(params, param, zero_us, out[b].to_us)


@kernel
def find_state(params: SeriesParams, param: Record, value: float) -> int:
    """Return the place of a value in its series' state map, or how many entries the map has."""
    for k in range(param.state_begin, param.state_end):
        if params.state_values[k] == value:
            return k - param.state_begin
    return param.state_end - param.state_begin


@kernel
def add_state(out: Record, state_class: int, duration_us: int) -> None:
    if state_class == CLASS_UP:
        out.up_us += duration_us
    elif state_class == CLASS_DOWN:
        out.down_us += duration_us
    elif state_class == CLASS_PLANNED:
        out.planned_us += duration_us
    elif state_class == CLASS_IDLE:
        out.idle_us += duration_us


@kernel
def find_states(rows: Rows, params: SeriesParams, param: Record, lo: int, hi: int) -> NDArray[np.int32]:
    """Return the place in the state map of each row in [lo, hi), -1 for rows that are no points."""
    states = np.empty(hi - lo, np.int32)
    for i in range(lo, hi):
        good = is_good(rows.value[i], rows.quality[i])
        states[i - lo] = find_state(params, param, rows.value[i]) if good else -1
    return states


@kernel
def find_classes(params: SeriesParams, param: Record, states: NDArray[np.int32]) -> NDArray[np.int8]:
    """Return the class of each state, -1 for rows that are no points."""
    classes = np.full(len(states), CLASS_UNKNOWN, np.int8)
    for i in range(len(states)):
        if states[i] < 0:
            classes[i] = -1
        elif states[i] < param.state_end - param.state_begin:
            classes[i] = params.state_classes[param.state_begin + states[i]]
    return classes


@kernel
def fill_states(
    times_us: Integers,
    params: SeriesParams,
    param: Record,
    states: NDArray[np.int32],
    classes: NDArray[np.int8],
    span: Record,
    out: Record,
    out_us: Integers,
    out_entries: Integers,
    lo: int,
    max_hold_us: int,
) -> None:
    """Held time per class and state, the row before S' carried in; `states` are those of the rows from lo on."""
    hi = lo + len(states)
    start_us, end_us = span.start_us, span.end_us
    if start_us == end_us:
        return
    before = span.first_row - 1
    has_windows = param.unheld_begin < param.unheld_end
    last = -1  # the state of the point before, wherever it lies
    for i in range(before, lo - 1, -1):
        if states[i - lo] >= 0:
            last = states[i - lo]
            break
    for i in range(max(before, lo), span.end_row):
        state = states[i - lo]
        if state < 0:
            continue
        from_us = max(times_us[i], start_us)
        until_us = find_hold_end(times_us, i, hi, max_hold_us, end_us)
        duration_us = until_us - from_us
        if has_windows:
            duration_us = held_us(params, param, from_us, until_us)
        if duration_us > 0:
            add_state(out, classes[i - lo], duration_us)
            out_us[state] += duration_us
        if i > before:
            out_entries[state] += 1 if last >= 0 and state != last else 0
            last = state


@kernel
def find_links(
    rows: Rows, params: SeriesParams, param: Record, classes: NDArray[np.int8], lo: int, max_hold_us: int
) -> NDArray[np.int8]:
    """Return for each point how it hangs together with the one before it: PARTED (also the first), BRIDGED, JOINED."""
    times_us, qualities = rows.measured_at_us, rows.quality
    has_windows = param.unheld_begin < param.unheld_end
    links = np.full(len(classes), PARTED, np.int8)
    last, is_clean = -1, True
    for i in range(len(classes)):
        if classes[i] < 0:
            is_clean = is_clean and qualities[lo + i] >= EXCLUDED
            continue
        if last >= 0:
            from_us, to_us = times_us[lo + last], times_us[lo + i]
            silent = to_us - from_us > max_hold_us
            if has_windows:
                silent = is_silent(params, param, from_us, to_us, max_hold_us)
            if not silent:
                links[i] = JOINED if is_clean else BRIDGED
        last, is_clean = i, True
    return links


@kernel
def find_down_since(times_us: Integers, classes: NDArray[np.int8], links: NDArray[np.int8], lo: int) -> Integers:
    """Return for each row the beginning of the down interval that it belongs to, -1 for none. [us]

    An interval goes on while nothing unknown lies between its points: no silence, no bad row.
    """
    since_us = np.full(len(classes), -1, np.int64)
    last = -1
    for i in range(len(classes)):
        if classes[i] < 0:
            continue
        if classes[i] == CLASS_DOWN:
            goes_on = last >= 0 and since_us[last] >= 0 and links[i] == JOINED
            since_us[i] = since_us[last] if goes_on else times_us[lo + i]
        last = i
    return since_us


@kernel
def fill_repairs(
    rows: Rows,
    params: SeriesParams,
    param: Record,
    classes: NDArray[np.int8],
    links: NDArray[np.int8],
    spans: Records,
    out: Records,
    lo: int,
    max_hold_us: int,
) -> None:
    """Down intervals in the bucket where they end, and those still open at E'.

    One that ends in silence, at a bad row, or in a state that nobody knows, is censored: how long it took cannot be
    told. One that began in such a way, or with the first point of the look-back, is cut: it may be longer.
    """
    times_us = rows.measured_at_us
    since_us = find_down_since(times_us, classes, links, lo)
    last, b, is_cut = -1, 0, False
    for i in range(len(classes)):
        if classes[i] < 0:
            continue
        if last >= 0 and since_us[last] >= 0 and since_us[i] != since_us[last]:
            b = find_bucket(spans, b, lo + i)
            if is_inside(spans, b, lo + i):
                if links[i] != JOINED or classes[i] == CLASS_UNKNOWN:
                    out[b].repairs_censored += 1
                else:
                    out[b].repairs += 1
                    out[b].repaired_us += counted_us(params, param, since_us[last], times_us[lo + i])
                    out[b].repairs_cut += 1 if is_cut else 0
        if since_us[i] == times_us[lo + i]:
            is_cut = last < 0 or links[i] != JOINED or classes[last] == CLASS_UNKNOWN
        last = i
    for b in range(len(spans)):
        end_us = spans[b].end_us
        i, is_clean = spans[b].end_row - 1 - lo, True
        while i >= 0 and classes[i] < 0:
            is_clean = is_clean and rows.quality[lo + i] >= EXCLUDED
            i -= 1
        if i < 0 or since_us[i] < 0 or not is_clean or end_us == spans[b].start_us:
            continue
        if not is_silent(params, param, times_us[lo + i], end_us, max_hold_us):
            out[b].open_down_us = counted_us(params, param, since_us[i], end_us)


@kernel
def fill_failures(classes: NDArray[np.int8], links: NDArray[np.int8], spans: Records, out: Records, lo: int) -> None:
    """Transitions from up to down between consecutive points, in the bucket of the later one."""
    last = -1
    b = 0
    for i in range(len(classes)):
        if classes[i] < 0:
            continue
        if last >= 0 and classes[last] == CLASS_UP and classes[i] == CLASS_DOWN:
            b = find_bucket(spans, b, lo + i)
            if is_inside(spans, b, lo + i):
                if links[i] == PARTED:
                    out[b].failures_uncertain += 1
                else:
                    out[b].failures += 1
        last = i


@kernel
def fill_held_spans(rows: Rows, params: SeriesParams, window: Window, intervals: Records, out: Integers, s: int) -> int:
    """Write (start, end, class) of what holds in a series, look-back included, and return how many there are. [us]"""
    times_us = rows.measured_at_us
    param = params.series[s]
    lo, hi = rows.offsets[s], rows.offsets[s + 1]
    fill_interval(rows, param, window, intervals[0], lo, hi)
    classes = find_classes(params, param, find_states(rows, params, param, lo, hi))
    spans = 0
    for i in range(lo, hi):
        if classes[i - lo] < 0:
            continue
        until_us = find_hold_end(times_us, i, hi, intervals[0].max_hold_us, times_us[i] + LONGEST_HOLD_US)
        out[spans, 0], out[spans, 1], out[spans, 2] = times_us[i], until_us, classes[i - lo]
        spans += 1
    return spans


@kernel
def fill_series(
    rows: Rows, params: SeriesParams, window: Window, out: Cells, wanted: int, begin: int, end: int
) -> None:
    """Fill the facts of series [begin, end): O(rows + buckets) for each. `wanted`: the groups that are needed."""
    times_us = rows.measured_at_us
    origin_us = window.edges_us[0]
    for s in range(begin, end):
        param = params.series[s]
        hi = rows.offsets[s + 1]
        fill_interval(rows, param, window, out.intervals[s], rows.offsets[s], hi)
        max_hold_us = out.intervals[s].max_hold_us
        lo = find_row(times_us, rows.offsets[s], hi, window.edges_us[0] - LOOKBACK_US)
        spans = out.spans[s]
        fill_spans(times_us, params, param, window, spans, lo, hi)
        for b in range(len(spans)):
            point = out.points[s, b]
            fill_points(rows, params, param, out.intervals[s], spans[b], point, origin_us)
            fill_spread(rows, spans[b], point)
            fill_holds(rows, params, param, spans[b], out.holds[s, b], lo, hi, max_hold_us)
            if wanted & WANT_LINES:
                fill_lines(rows, params, param, spans[b], out.holds[s, b], lo, hi, max_hold_us)
            if wanted & WANT_TREND:
                fill_trend(rows, spans[b], point, origin_us)
            if wanted & WANT_STEPS:
                fill_steps(rows, spans[b], point, out.steps[s, b], lo, max_hold_us)
        if param.subgroup_size > 1 or param.subgroup_us > 0:
            fill_subgroups(rows, param, spans, out.subgroups[s], origin_us)
        if param.kind == COUNTER:
            fill_counter(rows, params, param, spans, out.counters[s], lo, hi, window.edges_us[0] - LOOKBACK_US)
        if param.kind == STATE:
            fill_state_series(rows, params, param, spans, out, s, lo, hi, max_hold_us)


@kernel
def fill_state_series(
    rows: Rows,
    params: SeriesParams,
    param: Record,
    spans: Records,
    out: Cells,
    s: int,
    lo: int,
    hi: int,
    max_hold_us: int,
) -> None:
    times_us = rows.measured_at_us
    states = find_states(rows, params, param, lo, hi)
    classes = find_classes(params, param, states)
    for b in range(len(spans)):
        fill_states(
            times_us,
            params,
            param,
            states,
            classes,
            spans[b],
            out.states[s, b],
            out.state_us[s, b],
            out.state_entries[s, b],
            lo,
            max_hold_us,
        )
    links = find_links(rows, params, param, classes, lo, max_hold_us)
    fill_failures(classes, links, spans, out.states[s], lo)
    fill_repairs(rows, params, param, classes, links, spans, out.states[s], lo, max_hold_us)


@kernel
def rank_quantiles(values: Floats, out: Floats) -> None:
    """Write the quantiles of values, which are reordered: exact, linear interpolation between ranks."""
    n = len(values)
    ranks = np.empty(len(QUANTILES) + 1, np.int64)
    for q in range(len(QUANTILES)):
        ranks[q] = int(QUANTILES[q] * (n - 1))
    ranks[-1] = n - 1
    select(values, 0, n, ranks[MEDIAN])
    for q in range(MEDIAN - 1, -1, -1):  # outwards from the median: each selection searches only what is left
        if ranks[q] < ranks[q + 1]:
            select(values, 0, ranks[q + 1], ranks[q])
    for q in range(MEDIAN + 1, len(QUANTILES)):
        if ranks[q] > ranks[q - 1]:
            select(values, ranks[q - 1] + 1, n, ranks[q])
    for q in range(len(QUANTILES)):
        below = ranks[q]
        right = q + 1
        while right < len(QUANTILES) and ranks[right] == below:
            right += 1
        out[q] = values[below]
        if below < n - 1:
            above = find_smallest(values, below + 1, ranks[right] + 1)
            out[q] += (QUANTILES[q] * (n - 1) - below) * (above - values[below])


@kernel
def fill_quantiles(rows: Rows, spans: Records, out: Floats, begin: int, end: int) -> None:
    """Quantiles of the points in each bucket, NaN without points; shape (series, bucket, quantile)."""
    values, qualities = rows.value, rows.quality
    for s in range(begin, end):
        scratch = np.empty(rows.offsets[s + 1] - rows.offsets[s], np.float64)
        for b in range(spans.shape[1]):
            n = 0
            for i in range(spans[s, b].first_row, spans[s, b].end_row):
                if is_good(values[i], qualities[i]):
                    scratch[n] = values[i]
                    n += 1
            out[s, b, :] = np.nan
            if n > 0:
                rank_quantiles(scratch[:n], out[s, b])
