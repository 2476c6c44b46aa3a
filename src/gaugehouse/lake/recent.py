"""Recent keys: what proves a late row new without opening a file.

Keys of the rows flushed most recently are kept as 8-byte hashes within a memory bound; the index's `covered_from` says,
per series, after which instant those hashes are complete, so that a late row inside that span with no hit is new.
Keys dated ahead of their arrival, by a clock that jumped, are kept apart: forgotten like the others they would end what
is covered beyond every row that follows.
"""

from dataclasses import dataclass

import numpy as np

from gaugehouse.lake.keyhash import NEVER, Bools, Int32s, Int64s, UInt64s, are_known, hash_keys
from gaugehouse.lake.known import SeriesIndex
from gaugehouse.lake.rows import Rows

AHEAD_TOLERANCE_US = 60_000_000  # clocks differ; a row further ahead of its arrival than this has a wrong one
AHEAD_SHARE = 8  # the part of the memory for hashes that keys ahead of their arrival may take: one in so many
AHEAD_KEY_BYTES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class AheadKeys:
    """Keys dated ahead of their arrival: hash, series and instant of each, in the order of the hashes."""

    hashes: UInt64s
    series: Int32s
    t: Int64s

    @property
    def size_bytes(self) -> int:
        return self.hashes.nbytes + self.series.nbytes + self.t.nbytes

    def take(self, picked: Bools) -> "AheadKeys":
        """Return the picked keys."""
        return AheadKeys(hashes=self.hashes[picked], series=self.series[picked], t=self.t[picked])


NO_KEYS = AheadKeys(hashes=np.empty(0, np.uint64), series=np.empty(0, np.int32), t=np.empty(0, np.int64))


def ahead_keys(rows: Rows) -> AheadKeys:
    """Return the keys of rows, ready to be remembered as ahead of their arrival."""
    hashes = hash_keys(rows.series, rows.t, rows.extra)
    order = np.argsort(hashes)
    return AheadKeys(hashes=hashes[order], series=rows.series[order], t=rows.t[order])


def _joined(left: AheadKeys, right: AheadKeys) -> AheadKeys:
    if not left.t.size or not right.t.size:
        return left if left.t.size else right
    hashes = np.concatenate([left.hashes, right.hashes])
    order = np.argsort(hashes, kind="stable")
    series, t = np.concatenate([left.series, right.series]), np.concatenate([left.t, right.t])
    return AheadKeys(hashes=hashes[order], series=series[order], t=t[order])


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """Sorted hashes of flushed keys, the newest instant of each series among them, and keys ahead of their arrival."""

    hashes: UInt64s
    series: Int32s
    newest_t: Int64s
    ahead: AheadKeys = NO_KEYS
    received_us: int = NEVER  # the newest arrival among them

    @property
    def size_bytes(self) -> int:
        return self.hashes.nbytes + self.series.nbytes + self.newest_t.nbytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentKeysPlan:
    """Generations to keep, oldest first, generations to forget, and the keys ahead of their arrival."""

    kept: list[Generation]
    forgotten: list[Generation]
    ahead: AheadKeys


class RecentKeys:
    """Hashes of the keys flushed most recently, merged like a log-structured tree, within a memory bound.

    What holds at every moment: a stored key later than its series' `covered_from` is hot or has its hash here.
    """

    def __init__(self, index: SeriesIndex, limit_bytes: int) -> None:
        self._index = index
        self._limit_bytes = limit_bytes
        self._generations: list[Generation] = []  # oldest first
        self._ahead = NO_KEYS

    @property
    def ahead_room(self) -> int:
        """How many more keys ahead of their arrival can be remembered as such."""
        return self._limit_bytes // AHEAD_SHARE // AHEAD_KEY_BYTES - int(self._ahead.t.size)

    def add(self, generation: Generation) -> None:
        """Remember rows that have just been flushed; forget the oldest when over the bound."""
        self.take(self.plan(generation))

    def plan(self, generation: Generation) -> RecentKeysPlan:
        """Return what remembering rows comes to. Merging millions of hashes needs no lock, only one who plans."""
        ahead, caught_up = self._split(_joined(self._ahead, generation.ahead), generation.received_us)
        if caught_up.t.size:
            series, newest_t = _newest_per_series(caught_up.series, caught_up.t)
            generation = _merged(Generation(hashes=caught_up.hashes, series=series, newest_t=newest_t), generation)
        kept, forgotten = list(self._generations), []
        if generation.hashes.size:
            kept.append(generation)
        while len(kept) > 1 and kept[-2].hashes.size < 2 * kept[-1].hashes.size:
            newer, older = kept.pop(), kept.pop()
            kept.append(_merged(older, newer))
        while kept and _size_bytes(kept) + ahead.size_bytes > self._limit_bytes:
            forgotten.append(kept.pop(0))
        return RecentKeysPlan(kept=kept, forgotten=forgotten, ahead=ahead)

    def _split(self, keys: AheadKeys, received_us: int) -> tuple[AheadKeys, AheadKeys]:
        """Return (keys that are still ahead, keys that time has caught up with or that there is no room for).

        Without room, those go that time catches up with first: they make their series slow for the shortest while.
        """
        is_ahead = keys.t > received_us
        over = int(np.count_nonzero(is_ahead)) - self._ahead.t.size - self.ahead_room
        if over > 0:
            at = np.flatnonzero(is_ahead)
            is_ahead[at[np.argpartition(keys.t[at], over - 1)[:over]]] = False
        return keys.take(is_ahead), keys.take(~is_ahead)

    def take(self, plan: RecentKeysPlan) -> None:
        """Do what `plan` said; under the sequencer's lock."""
        self._generations, self._ahead = plan.kept, plan.ahead
        for generation in plan.forgotten:
            np.maximum.at(self._index.covered_from, generation.series, generation.newest_t)

    def load_ahead(self, project: str, rows: Rows, start_us: int) -> None:
        """Remember every stored key of a project after `start_us`, none of which is remembered yet.

        `rows` need only series, t and extra; the caller has seen to it that there is `ahead_room` for them.
        """
        self._ahead = _joined(self._ahead, ahead_keys(rows))
        self._index.cover_from(project, start_us)

    def size_bytes(self) -> int:
        return _size_bytes(self._generations) + self._ahead.size_bytes

    def may_be_stored(self, rows: Rows) -> Bools:
        """Return for each row whether a stored row could have its key: False is proof that it is new."""
        answer: Bools = rows.t <= self._index.covered_from[rows.series]
        open_at = np.flatnonzero(~answer)
        if open_at.size:
            covered = rows if open_at.size == len(rows) else rows.take(open_at)
            hashes = hash_keys(covered.series, covered.t, covered.extra)
            several = [self._ahead.hashes, *(generation.hashes for generation in self._generations)]
            answer[open_at] = are_known(hashes, several)
        return answer


def generation_of(rows: Rows) -> Generation:
    """Return the hashes of flushed rows, ready to be remembered."""
    if not len(rows):
        return NO_GENERATION
    is_ahead = rows.t - rows.received_at > AHEAD_TOLERANCE_US
    ahead = ahead_keys(rows.take(is_ahead)) if is_ahead.any() else NO_KEYS
    in_time = rows.take(~is_ahead) if ahead.t.size else rows
    series, newest_t = _newest_per_series(in_time.series, in_time.t)
    return Generation(
        hashes=np.sort(hash_keys(in_time.series, in_time.t, in_time.extra)),
        series=series,
        newest_t=newest_t,
        ahead=ahead,
        received_us=int(rows.received_at.max()),
    )


NO_GENERATION = Generation(hashes=NO_KEYS.hashes, series=NO_KEYS.series, newest_t=NO_KEYS.t)


def _size_bytes(generations: list[Generation]) -> int:
    return sum(part.size_bytes for part in generations)


def _newest_per_series(series: Int32s, t: Int64s) -> tuple[Int32s, Int64s]:
    order = np.lexsort((t, series))
    ordered = series[order]
    is_last = np.append(ordered[1:] != ordered[:-1], np.ones(min(1, series.size), np.bool_))
    return ordered[is_last], t[order][is_last]


def _merged(older: Generation, newer: Generation) -> Generation:
    hashes = np.concatenate([older.hashes, newer.hashes])
    hashes.sort(kind="stable")  # two sorted runs: a merge
    series, newest_t = _newest_per_series(
        np.concatenate([older.series, newer.series]), np.concatenate([older.newest_t, newer.newest_t])
    )
    return Generation(hashes=hashes, series=series, newest_t=newest_t)
