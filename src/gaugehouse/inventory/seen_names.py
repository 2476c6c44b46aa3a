"""Names that were seen, at 8 bytes each: what is kept is a hash; texts in a set take a hundred bytes each.

That a new name has the hash of one of a million others happens once in 10^13 names (64 bits, by a secret of this
process: nobody can choose such names). Its rows would be stored; it would be missing in lists until the next start.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np

FEW = 64  # names that are looked up one by one
FRESH = 4096  # hashes that may wait to be sorted in, or an eighth of all
PORTION = 65_536


class SeenNames:
    """A set of names that only grows. Readers need no lock; one thread at a time may add."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._hashes = array("q"), set[int]()  # sorted ones, fresh ones; swapped as one value
        self.add(names)

    def __len__(self) -> int:
        settled, fresh = self._hashes
        return len(settled) + len(fresh)

    def find_missing(self, names: Sequence[str]) -> list[str]:
        """Return the names, of those given, that were not seen, in the order given."""
        settled, fresh = self._hashes
        if len(names) <= FEW or not settled:
            return [name for name in names if not _holds(settled, fresh, hash(name))]
        asked = np.fromiter(map(hash, names), np.int64, len(names))
        ordered = np.frombuffer(settled, np.int64)
        places = np.minimum(np.searchsorted(ordered, asked), len(ordered) - 1)
        missing = np.flatnonzero(ordered[places] != asked).tolist()
        return [names[at] for at in missing if hash(names[at]) not in fresh]

    def add(self, names: Iterable[str]) -> None:
        """Remember names."""
        iterator = iter(names)
        while portion := {hash(name) for name in islice(iterator, PORTION)}:
            settled, fresh = self._hashes
            fresh.update(one for one in portion if not _holds(settled, fresh, one))
            if len(fresh) > max(FRESH, len(settled) // 8):
                added = np.fromiter(fresh, np.int64, len(fresh))
                merged = np.sort(np.concatenate([np.frombuffer(settled, np.int64), added]))
                self._hashes = array("q", merged.tobytes()), set()


def _holds(settled: "array[int]", fresh: set[int], wanted: int) -> bool:
    if wanted in fresh:
        return True
    place = bisect_left(settled, wanted)
    return place < len(settled) and settled[place] == wanted
