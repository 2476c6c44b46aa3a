"""Open-addressing hash tables over integer arrays: who has been seen, at a few bytes a key.

Compiled loops, because one Python object per key would cost 20 times the memory and 100 times the time.
Tables hold row numbers, never keys: a row's key is read from the columns the table was built over. A key is
(series, time, extra); `extra` tells events of one instant apart and is an empty array where nothing else is needed.
Arrays must be writable and contiguous: numba compiles every other kind of array anew.
"""

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

Int64s = NDArray[np.int64]
Int32s = NDArray[np.int32]
UInt64s = NDArray[np.uint64]
Bools = NDArray[np.bool_]

EMPTY = -1
NEVER = np.iinfo(np.int64).min  # older than any row
MIN_SLOTS = 1024
NO_EXTRA = np.empty(0, np.int64)


@njit(cache=True, nogil=True)
def mix(series: int, t: int, extra: int) -> np.uint64:  # pragma: no cover - compiled
    """Return a well-spread 64-bit hash of a key (splitmix64 finaliser)."""
    h = np.uint64(series) * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(t) ^ (np.uint64(extra) << np.uint64(1))
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))


@njit(cache=True, nogil=True)
def hash_keys(series: Int32s, t: Int64s, extra: Int64s) -> UInt64s:  # pragma: no cover - compiled
    """Return one hash per key."""
    hashes = np.empty(series.size, np.uint64)
    for i in range(series.size):
        hashes[i] = mix(series[i], t[i], extra[i] if extra.size else 0)
    return hashes


@njit(cache=True, nogil=True)
def _mark_known(known: UInt64s, wanted: UInt64s, order: Int64s, is_known: Bools) -> None:
    scale = known.size / 18446744073709551616.0  # hashes are spread evenly: the place of one is nearly known
    for i in order:
        low = min(int(wanted[i] * scale), known.size - 1)
        step = 64
        if known[low] < wanted[i]:
            high = low + step
            while high < known.size and known[high] < wanted[i]:
                low, step = high, 2 * step
                high = low + step
            high = min(high, known.size)
        else:
            high, low = low, low - step
            while low > 0 and known[low] >= wanted[i]:
                high, step = low, 2 * step
                low = high - step
            low = max(low, 0)
        while low < high:
            middle = (low + high) // 2
            if known[middle] < wanted[i]:
                low = middle + 1
            else:
                high = middle
        if low < known.size and known[low] == wanted[i]:
            is_known[i] = True


def are_known(wanted: UInt64s, several: Sequence[UInt64s]) -> Bools:
    """Return which hashes are in one of several sorted arrays.

    A binary search over millions of hashes waits for memory twenty times per key; this one, in order, hardly ever.
    """
    is_known = np.zeros(wanted.size, np.bool_)
    order = np.argsort(wanted)
    for known in several:
        if known.size:
            _mark_known(known, wanted, order, is_known)
    return is_known


@njit(cache=True, nogil=True)
def insert_rows(slots: Int32s, series: Int32s, t: Int64s, extra: Int64s, start: int, stop: int) -> None:
    """Enter rows start..stop of the columns; a key already there keeps its first row."""
    mask = np.uint64(slots.size - 1)
    for i in range(start, stop):
        slot = mix(series[i], t[i], extra[i] if extra.size else 0) & mask
        while slots[slot] != EMPTY:
            j = slots[slot]
            if t[j] == t[i] and series[j] == series[i] and (extra.size == 0 or extra[j] == extra[i]):
                break
            slot = (slot + np.uint64(1)) & mask
        if slots[slot] == EMPTY:
            slots[slot] = i


@njit(cache=True, nogil=True)
def find_rows(  # noqa: PLR0913, PLR0917 - two keyed column sets and a table; numba takes no dataclasses
    slots: Int32s,
    series: Int32s,
    t: Int64s,
    extra: Int64s,
    wanted_series: Int32s,
    wanted_t: Int64s,
    wanted_extra: Int64s,
) -> Int32s:
    """Return the row of each wanted key, EMPTY where there is none."""
    mask = np.uint64(slots.size - 1)
    found = np.full(wanted_t.size, EMPTY, np.int32)
    for i in range(wanted_t.size):
        slot = mix(wanted_series[i], wanted_t[i], wanted_extra[i] if extra.size else 0) & mask
        while slots[slot] != EMPTY:
            j = slots[slot]
            same_time = t[j] == wanted_t[i] and series[j] == wanted_series[i]
            if same_time and (extra.size == 0 or extra[j] == wanted_extra[i]):
                found[i] = j
                break
            slot = (slot + np.uint64(1)) & mask
    return found


@njit(cache=True, nogil=True)
def are_in_order(major: NDArray[np.integer], minor: NDArray[np.integer]) -> bool:
    """Say whether each pair (major, minor) is greater than the one before it; then no two are the same."""
    for i in range(1, major.size):
        if major[i] < major[i - 1] or (major[i] == major[i - 1] and minor[i] <= minor[i - 1]):
            return False
    return True


@njit(cache=True, nogil=True)
def advance_newest(newest: Int64s, series: Int32s, t: Int64s, previous: Int64s) -> Bools:
    """Raise each series' newest time row by row; return which rows were not newer than all before them.

    `previous` receives, per row, the newest time before it, so that `restore_newest` can take everything back.
    """
    is_late = np.zeros(t.size, np.bool_)
    for i in range(t.size):
        s = series[i]
        previous[i] = newest[s]
        if t[i] > newest[s]:
            newest[s] = t[i]
        else:
            is_late[i] = True
    return is_late


@njit(cache=True, nogil=True)
def restore_newest(newest: Int64s, series: Int32s, previous: Int64s) -> None:
    """Undo `advance_newest`."""
    for i in range(series.size - 1, -1, -1):
        newest[series[i]] = previous[i]


@njit(cache=True, nogil=True)
def raise_newest(  # noqa: PLR0913, PLR0917 - columns of a series index and of rows; numba takes no dataclasses
    newest_t: Int64s,
    newest_received_at: Int64s,
    newest_value: NDArray[np.float64],
    newest_quality: NDArray[np.uint8],
    series: Int32s,
    t: Int64s,
    received_at: Int64s,
    value: NDArray[np.float64],
    quality: NDArray[np.uint8],
) -> None:
    """Remember each series' newest row; value columns are empty where a table has none."""
    for i in range(t.size):
        s = series[i]
        if t[i] >= newest_t[s]:
            newest_t[s] = t[i]
            newest_received_at[s] = received_at[i]
            if value.size:
                newest_value[s] = value[i]
                newest_quality[s] = quality[i]


@njit(cache=True, nogil=True)
def group_by_code(codes: Int32s, code_count: int) -> tuple[Int64s, Int64s]:
    """Return (offsets per code, stable order of rows by code): a counting sort."""
    offsets = np.zeros(code_count + 1, np.int64)
    for i in range(codes.size):
        offsets[codes[i] + 1] += 1
    for code in range(code_count):
        offsets[code + 1] += offsets[code]
    position = offsets[:-1].copy()
    order = np.empty(codes.size, np.int64)
    for i in range(codes.size):
        order[position[codes[i]]] = i
        position[codes[i]] += 1
    return offsets, order


def seal(column: np.ndarray) -> np.ndarray:
    """Return a column read-only and contiguous: Arrow's are so, and for numba that is a type of its own."""
    sealed = np.ascontiguousarray(column).view()
    sealed.flags.writeable = False
    return sealed


@njit(cache=True, nogil=True)
def run_starts(component_codes: Int32s, topic_codes: Int32s) -> Int64s:  # pragma: no cover - compiled
    """Return where each run of rows of one series begins; of sealed columns."""
    count = 0
    for i in range(component_codes.size):
        is_start = i == 0 or component_codes[i] != component_codes[i - 1] or topic_codes[i] != topic_codes[i - 1]
        count += is_start
    starts = np.empty(count, np.int64)
    place = 0
    for i in range(component_codes.size):
        if i == 0 or component_codes[i] != component_codes[i - 1] or topic_codes[i] != topic_codes[i - 1]:
            starts[place] = i
            place += 1
    return starts


@njit(cache=True, nogil=True)
def copy_runs(  # pragma: no cover - compiled
    source: np.ndarray, target: np.ndarray, starts: Int64s, lengths: Int64s, places: Int64s
) -> None:
    """Copy runs of a sealed column to their places in another one."""
    for run in range(starts.size):
        start, place = starts[run], places[run]
        for i in range(lengths[run]):
            target[place + i] = source[start + i]


@njit(cache=True, nogil=True)
def unsorted_groups(offsets: Int64s, t: Int64s) -> Bools:
    """Return which groups are not in increasing time."""
    is_unsorted = np.zeros(offsets.size - 1, np.bool_)
    for group in range(offsets.size - 1):
        for i in range(offsets[group] + 1, offsets[group + 1]):
            if t[i] <= t[i - 1]:
                is_unsorted[group] = True
                break
    return is_unsorted


@njit(cache=True, nogil=True)
def find_series(  # noqa: PLR0913, PLR0917 - columns of a series index and of a batch; numba takes no dataclasses
    slots: Int32s,
    component_of: Int32s,
    topic_of: Int32s,
    components: Int32s,
    topics: Int32s,
    component_codes: Int32s,
    topic_codes: Int32s,
) -> tuple[Int32s, int]:  # pragma: no cover - compiled
    """Return (the series of each row, EMPTY where it has none; how many have none).

    Args:
        slots: Table over the series, whose names are `component_of` and `topic_of`.
        component_of: Number of each series' component.
        topic_of: Number of each series' topic.
        components: Number of each component of the batch, EMPTY for those without.
        topics: Number of each topic of the batch, EMPTY for those without.
        component_codes: Each row's position in `components`.
        topic_codes: Each row's position in `topics`.
    """
    mask = np.uint64(slots.size - 1)
    found = np.full(component_codes.size, EMPTY, np.int32)
    unknown = 0
    for i in range(component_codes.size):
        component, topic = components[component_codes[i]], topics[topic_codes[i]]
        if min(component, topic) > EMPTY:
            slot = mix(component, topic, 0) & mask
            while slots[slot] != EMPTY:
                j = slots[slot]
                if component_of[j] == component and topic_of[j] == topic:
                    found[i] = j
                    break
                slot = (slot + np.uint64(1)) & mask
        if found[i] == EMPTY:
            unknown += 1
    return found, unknown


@njit(cache=True, nogil=True)
def enter_series(
    slots: Int32s, component_of: Int32s, topic_of: Int32s, start: int, stop: int
) -> None:  # pragma: no cover - compiled
    """Enter series start..stop, which must be new and distinct."""
    mask = np.uint64(slots.size - 1)
    for j in range(start, stop):
        slot = mix(component_of[j], topic_of[j], 0) & mask
        while slots[slot] != EMPTY:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = j


def slots_for(rows: int) -> Int32s:
    """Return an empty table with room for `rows` keys at a load of at most one half."""
    size = MIN_SLOTS
    while size < 2 * rows:
        size *= 2
    return np.full(size, EMPTY, np.int32)


def warm_up() -> None:
    """Load every compiled loop that a write needs, so that the first write need not wait for it."""
    series, t = np.zeros(1, np.int32), np.zeros(1, np.int64)
    newest, slots = np.full(1, NEVER, np.int64), slots_for(0)
    insert_rows(slots, series, t, NO_EXTRA, 0, 1)
    find_rows(slots, series, t, NO_EXTRA, series, t, NO_EXTRA)
    advance_newest(newest, series, t, t.copy())
    restore_newest(newest, series, t)
    raise_newest(newest, t.copy(), np.zeros(1), np.zeros(1, np.uint8), series, t, t, np.zeros(1), np.zeros(1, np.uint8))
    hashes = hash_keys(series, t, NO_EXTRA)
    are_known(hashes, [hashes])
    are_in_order(t, series)
    are_in_order(series, t)
    offsets, _order = group_by_code(series, 1)
    unsorted_groups(offsets, t)
    for column in (t.copy(), np.zeros(1), np.zeros(1, np.uint8)):
        copy_runs(seal(column), column.copy(), t, t, t)  # one run of no rows
    run_starts(seal(series), seal(series))
    enter_series(slots, series, series.copy(), 0, 1)
    find_series(slots, series, series, series, series, series, series)
