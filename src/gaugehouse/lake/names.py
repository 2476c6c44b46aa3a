"""Millions of names at a few bytes more than their letters: UTF-8 in one buffer, found through a compiled hash table.

A Python string and its place in a dictionary cost 150 bytes per name. Names are numbered 0.. in order of arrival within
scopes (projects): the same name in two scopes has two numbers. Readers of numbers they were given need no lock:
growing replaces arrays and never changes what was there.
"""

import secrets
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from gaugehouse.errors import TooLarge
from gaugehouse.lake.keyhash import EMPTY, Bools, Int32s, Int64s, slots_for
from gaugehouse.lake.rows import distinct_codes, grown, room_for

Letters = NDArray[np.uint8]
NUMBER_MASK = 0xFFFFFFFF  # the lower half of a slot; that of an empty one says EMPTY
MAX_LETTERS = 2**31 - 1  # what the int32 offsets of an Arrow string column can reach
MARK_MASK = np.uint64(0xFFFFFFFF00000000)


class Names(NamedTuple):
    """Names as plain arrays, as Arrow has them: name i is letters[starts[i]:starts[i + 1]]."""

    letters: Letters
    starts: Int32s


def names_of(array: pa.StringArray) -> Names:
    """Return an Arrow column of names, none of them null, as plain arrays of its own."""
    _validity, offsets, letters = array.buffers()
    if not len(array):
        return NO_NAMES
    starts = np.frombuffer(offsets, np.int32, len(array) + 1, array.offset * 4).copy()
    if letters is None:  # all are empty
        return Names(NO_NAMES.letters, starts)
    return Names(np.frombuffer(letters, np.uint8, int(starts[-1])).copy(), starts)


NO_NAMES = Names(np.empty(0, np.uint8), np.zeros(1, np.int32))


@njit(cache=True, nogil=True)
def mark_of(seed: int, scope: int, letters: Letters, start: int, stop: int) -> np.int64:  # pragma: no cover
    """Return 32 bits, above 32 zeros, that nobody outside can aim at without knowing the seed."""
    h = np.uint64(seed) ^ (np.uint64(scope) * np.uint64(0x9E3779B97F4A7C15)) ^ np.uint64(stop - start)
    at = start
    while at < stop:
        word = np.uint64(0)
        end = min(at + 8, stop)
        for i in range(at, end):
            word = (word << np.uint64(8)) | np.uint64(letters[i])
        h ^= word
        h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        h ^= h >> np.uint64(31)
        at = end
    return np.int64(h & MARK_MASK)


@njit(cache=True, nogil=True)
def find_slot(  # noqa: PLR0913, PLR0917 - numba takes no dataclasses
    slots: Int64s,
    scopes: Int32s,
    letters: Letters,
    starts: Int64s,
    mark: np.int64,
    scope: int,
    wanted: Letters,
    start: int,
    stop: int,
) -> np.int64:  # pragma: no cover - compiled
    """Return the slot that holds a name, or the empty one where it belongs.

    A slot is a mark, the upper half of the name's hash, above the name's number: other names of a chain are passed by
    without a look at their letters, which would be three cache misses each.
    """
    mask = slots.size - 1
    slot = (mark >> 32) & mask
    while slots[slot] != EMPTY:
        if (slots[slot] ^ mark) >> 32 == 0:
            j = slots[slot] & NUMBER_MASK
            begin = starts[j]
            if scopes[j] == scope and starts[j + 1] - begin == stop - start:
                same = True
                for i in range(stop - start):
                    if letters[begin + i] != wanted[start + i]:
                        same = False
                        break
                if same:
                    return slot
        slot = (slot + 1) & mask
    return slot


@njit(cache=True, nogil=True)
def find_names(  # noqa: PLR0913, PLR0917 - numba takes no dataclasses
    slots: Int64s,
    seed: int,
    scopes: Int32s,
    letters: Letters,
    starts: Int64s,
    scope: int,
    wanted: Letters,
    wanted_starts: Int32s,
) -> Int32s:  # pragma: no cover - compiled
    """Return the number of each wanted name, EMPTY where it has none."""
    count = wanted_starts.size - 1
    found = np.empty(count, np.int32)
    for i in range(count):
        start, stop = wanted_starts[i], wanted_starts[i + 1]
        mark = mark_of(seed, scope, wanted, start, stop)
        found[i] = slots[find_slot(slots, scopes, letters, starts, mark, scope, wanted, start, stop)] & NUMBER_MASK
    return found


@njit(cache=True, nogil=True)
def add_names(  # noqa: PLR0913, PLR0917 - numba takes no dataclasses
    slots: Int64s,
    seed: int,
    scopes: Int32s,
    letters: Letters,
    starts: Int64s,
    count: int,
    scope: int,
    wanted: Letters,
    wanted_starts: Int32s,
    numbers: Int32s,
    is_needed: Bools,
) -> int:  # pragma: no cover - compiled
    """Give the next numbers to the needed names that have none (`numbers` EMPTY); return the new count."""
    for i in range(wanted_starts.size - 1):
        if numbers[i] != EMPTY or not is_needed[i]:
            continue
        start, stop = wanted_starts[i], wanted_starts[i + 1]
        mark = mark_of(seed, scope, wanted, start, stop)
        slot = find_slot(slots, scopes, letters, starts, mark, scope, wanted, start, stop)
        if slots[slot] == EMPTY:
            slots[slot] = mark | count
            scopes[count] = scope
            end = starts[count] + stop - start
            for k in range(stop - start):
                letters[starts[count] + k] = wanted[start + k]
            starts[count + 1] = end
            count += 1
        numbers[i] = slots[slot] & NUMBER_MASK
    return count


@njit(cache=True, nogil=True)
def move_names(old: Int64s, slots: Int64s) -> None:  # pragma: no cover - compiled
    """Enter every name of a table into the slots of a larger one."""
    mask = slots.size - 1
    for entry in old:
        if entry != EMPTY:
            slot = (entry >> 32) & mask
            while slots[slot] != EMPTY:
                slot = (slot + 1) & mask
            slots[slot] = entry


@njit(cache=True, nogil=True)
def drop_names(  # noqa: PLR0913, PLR0917 - numba takes no dataclasses
    slots: Int64s, seed: int, scopes: Int32s, letters: Letters, starts: Int64s, first: int, count: int
) -> None:  # pragma: no cover - compiled
    """Take the names entered last out again, newest first: that leaves every other chain of slots as it was."""
    mask = slots.size - 1
    for j in range(count - 1, first - 1, -1):
        mark = mark_of(seed, scopes[j], letters, starts[j], starts[j + 1])
        slot = (mark >> 32) & mask
        while slots[slot] != mark | j:
            slot = (slot + 1) & mask
        slots[slot] = EMPTY


@njit(cache=True, nogil=True)
def gather_names(letters: Letters, starts: Int64s, codes: Int64s) -> tuple[Letters, Int32s]:  # pragma: no cover
    """Return the names of codes as the two buffers of an Arrow string column, without offsets if they do not fit."""
    total = 0
    for i in range(codes.size):
        total += starts[codes[i] + 1] - starts[codes[i]]
    if total > MAX_LETTERS:
        return np.empty(0, np.uint8), np.empty(0, np.int32)
    offsets = np.zeros(codes.size + 1, np.int32)
    for i in range(codes.size):
        offsets[i + 1] = offsets[i] + (starts[codes[i] + 1] - starts[codes[i]])
    picked = np.empty(total, np.uint8)
    for i in range(codes.size):
        at, begin = offsets[i], starts[codes[i]]
        for k in range(offsets[i + 1] - at):
            picked[at + k] = letters[begin + k]
    return picked, offsets


class NameTable:
    """Names of one kind and their numbers."""

    def __init__(self) -> None:
        self.count = 0
        # SipHash would cost more than the look-up; a secret seed is enough against made-up collisions.
        self._seed = secrets.randbits(62)
        self._slots = slots_for(0).astype(np.int64)
        self._scopes = np.empty(0, np.int32)
        self._letters = np.empty(0, np.uint8)
        self._starts = np.zeros(1, np.int64)

    def __len__(self) -> int:
        """Return the number of names; numbers are 0..len-1."""
        return self.count

    @property
    def scopes(self) -> Int32s:
        """The scope of each name, and room behind them."""
        return self._scopes

    def find(self, scope: int, names: Names) -> Int32s:
        """Return the number of each name in a scope, EMPTY where it is unknown."""
        return find_names(
            self._slots, self._seed, self._scopes, self._letters, self._starts, scope, names.letters, names.starts
        )

    def add(self, scope: int, names: Names, numbers: Int32s, is_needed: Bools) -> None:
        """Number the needed names that `find` did not find, in place in its answer `numbers`."""
        self._reserve(self.count + int(np.count_nonzero(numbers == EMPTY)), names.letters.size)
        self.count = add_names(
            self._slots, self._seed, self._scopes, self._letters, self._starts, self.count,
            scope, names.letters, names.starts, numbers, is_needed,
        )  # fmt: skip

    def drop_from(self, first: int) -> None:
        """Forget the names numbered `first` and later, of which nobody has heard yet."""
        drop_names(self._slots, self._seed, self._scopes, self._letters, self._starts, first, self.count)
        self.count = first

    def _reserve(self, names: int, more_letters: int) -> None:
        letters = int(self._starts[self.count]) + more_letters
        if letters > self._letters.size:
            self._letters = grown(self._letters, room_for(letters, self._letters.size), int(self._starts[self.count]))
        if names > self._scopes.size:
            size = room_for(names, self._scopes.size)
            self._scopes = grown(self._scopes, size, self.count)
            self._starts = grown(self._starts, size + 1, self.count + 1)
        if 2 * names > self._slots.size:
            slots = slots_for(names).astype(np.int64)
            move_names(self._slots, slots)
            self._slots = slots

    def to_arrow(self, codes: Int64s) -> pa.StringArray:
        """Return the names of codes.

        Raises:
            TooLarge: together they are longer than 2 GiB.
        """
        letters, offsets = gather_names(self._letters, self._starts, codes)
        if not offsets.size:
            raise TooLarge("these names are too many for one answer; ask for fewer components", code="too_many_names")
        return pa.StringArray.from_buffers(codes.size, pa.py_buffer(offsets), pa.py_buffer(letters))

    def column(self, codes: NDArray[np.integer]) -> pa.DictionaryArray:
        """Return the names of codes as a dictionary column holding only the names in use."""
        used, positions = distinct_codes(codes, self.count)
        return pa.DictionaryArray.from_arrays(pa.array(positions), self.to_arrow(used))
