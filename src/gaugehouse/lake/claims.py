"""Which rows of a delivery are new: the pure half of the sequencer.

First accepted wins. A row whose key is stored, pending or earlier in the same delivery is a duplicate when value and
quality agree, a conflict when they do not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gaugehouse.lake.keyhash import (
    EMPTY,
    Bools,
    Int32s,
    Int64s,
    advance_newest,
    are_in_order,
    find_rows,
    insert_rows,
    restore_newest,
    slots_for,
)
from gaugehouse.lake.known import SeriesIndex
from gaugehouse.lake.recent import RecentKeys
from gaugehouse.lake.rows import Column, HotRows, Rows, TableSpec, concat_rows, empty_rows

Positions = NDArray[np.int64]
NOWHERE: Positions = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """What the files said about keys: `stored` rows exist, the other `asked` ones do not. Holds for one generation.

    `at` are the positions of `asked` in the delivery that asked, where it is known: then nobody must search for them.
    """

    generation: int
    asked: Rows
    stored: Rows
    at: Positions | None = None


def no_verdicts(spec: TableSpec, generation: int) -> Verdicts:
    return Verdicts(generation=generation, asked=empty_rows(spec), stored=empty_rows(spec))


def joined(spec: TableSpec, generation: int, several: Sequence[Verdicts]) -> Verdicts:
    """Return the verdicts of one generation among several as one; those of another say nothing any more."""
    valid = [verdicts for verdicts in several if verdicts.generation == generation]
    if not valid:
        return no_verdicts(spec, generation)
    if len(valid) == 1:
        return valid[0]
    stored = {id(verdicts.stored): verdicts.stored for verdicts in valid}  # one look into the files answers many
    places = [verdicts.at for verdicts in valid if verdicts.at is not None]
    return Verdicts(
        generation=generation,
        asked=concat_rows([verdicts.asked for verdicts in valid], spec),
        stored=concat_rows(list(stored.values()), spec),
        at=np.concatenate(places) if len(places) == len(valid) else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsure:
    """Rows that only the files can judge, and their positions in the delivery; nothing is claimed."""

    rows: Rows
    at: Positions


@dataclass(frozen=True, slots=True, kw_only=True)
class Classified:
    """The outcome for each row of a delivery. The series index has been advanced; `undo` takes that back.

    Args:
        is_accepted: Which rows are new.
        late_at: Positions of accepted rows that are not newer than their series was.
        duplicate_at: Positions of rows that repeat a known row.
        conflict_at: Positions of rows that contradict a known row.
        conflict_stored: Payload of the known rows, one per conflict.
    """

    is_accepted: Bools
    late_at: Positions
    duplicate_at: Positions
    conflict_at: Positions
    conflict_stored: dict[str, Column]
    index: SeriesIndex
    series: Int32s
    previous: Int64s

    def undo(self) -> None:
        restore_newest(self.index.claimed_to, self.series, self.previous)


def classify(
    rows: Rows, index: SeriesIndex, hot: Sequence[HotRows], recent: RecentKeys, verdicts: Verdicts
) -> Classified | Unsure:
    """Judge every row against the batch itself, hot rows, recent hashes and what the files said.

    Called under the sequencer's lock. Raises the newest claimed instants, unless the answer is Unsure.
    """
    previous = np.empty(len(rows), np.int64)
    if not len(rows):
        return _all_new(rows, index, previous)
    is_late = advance_newest(index.claimed_to, rows.series, rows.t, previous)
    if not is_late.any():
        return _all_new(rows, index, previous)
    late_at = np.flatnonzero(is_late)
    known = _KnownRows(rows, late_at, index.spec)
    known.look_in_batch()
    for source in reversed(hot):
        known.look_in_hot(source)
    known.look_in_files(verdicts)
    unsure = known.unsure(recent)
    if unsure.size:
        restore_newest(index.claimed_to, rows.series, previous)
        return Unsure(rows=rows.at(unsure), at=unsure)
    return known.outcome(index, previous)


def _all_new(rows: Rows, index: SeriesIndex, previous: Int64s) -> Classified:
    return Classified(
        is_accepted=np.ones(len(rows), np.bool_),
        late_at=NOWHERE,
        duplicate_at=NOWHERE,
        conflict_at=NOWHERE,
        conflict_stored=empty_rows(index.spec).payload,
        index=index,
        series=rows.series,
        previous=previous,
    )


class _KnownRows:
    """The late rows of one delivery and what is known to stand under their keys."""

    def __init__(self, rows: Rows, late_at: Positions, spec: TableSpec) -> None:
        self._rows = rows
        self._late_at = late_at
        self._late = rows.at(late_at)
        self._is_found = np.zeros(late_at.size, np.bool_)
        self._is_proven_new = np.zeros(late_at.size, np.bool_)
        self._stored = {name: np.empty(late_at.size, dtype) for name, dtype in spec.payload}
        self._first_at = late_at.copy()

    def look_in_batch(self) -> None:
        """Find, for each late row, the first row of the delivery with its key."""
        rows, late = self._rows, self._late
        if not rows.extra.size and (are_in_order(rows.t, rows.series) or are_in_order(rows.series, rows.t)):
            return  # as most senders send: nothing repeats here
        slots = slots_for(len(rows))
        insert_rows(slots, rows.series, rows.t, rows.extra, 0, len(rows))
        self._first_at = find_rows(slots, rows.series, rows.t, rows.extra, late.series, late.t, late.extra).astype(
            np.int64
        )

    @property
    def _is_open(self) -> Bools:
        """Late rows that are the first of their key here and of which nothing is known yet."""
        is_first: Bools = self._first_at == self._late_at
        return is_first & ~self._is_found & ~self._is_proven_new

    def look_in_hot(self, hot: HotRows) -> None:
        open_at = np.flatnonzero(self._is_open)
        self._note(open_at, hot.find(self._late.at(open_at)), hot.view(hot.count).payload)

    def look_in_files(self, verdicts: Verdicts) -> None:
        if not len(verdicts.asked):
            return
        open_at = np.flatnonzero(self._is_open)
        self._note(open_at, _find_in(verdicts.stored, self._late.at(open_at)), verdicts.stored.payload)
        open_at = np.flatnonzero(self._is_open)
        self._is_proven_new[open_at[self._was_asked(verdicts, open_at)]] = True

    def _was_asked(self, verdicts: Verdicts, open_at: Positions) -> Bools:
        answer: Bools
        if verdicts.at is None:
            answer = _find_in(verdicts.asked, self._late.at(open_at)) != EMPTY
        else:
            was_asked = np.zeros(len(self._rows), np.bool_)
            was_asked[verdicts.at] = True
            answer = was_asked[self._late_at[open_at]]
        return answer

    def _note(self, at: Positions, found: Int32s, payload: dict[str, Column]) -> None:
        is_hit = found != EMPTY
        self._is_found[at[is_hit]] = True
        for name, column in self._stored.items():
            column[at[is_hit]] = payload[name][found[is_hit]]

    def unsure(self, recent: RecentKeys) -> Positions:
        """Return positions of rows that may be in the files, for all that memory knows."""
        open_at = np.flatnonzero(self._is_open)
        may_be_stored = recent.may_be_stored(self._late.at(open_at))
        return self._late_at[open_at[may_be_stored]]

    def outcome(self, index: SeriesIndex, previous: Int64s) -> Classified:
        is_first = self._first_at == self._late_at
        stored = {name: self._with_repeats(name, is_first) for name in self._stored}
        is_known = self._is_found | ~is_first
        is_same = np.ones(is_known.size, np.bool_)
        for name, column in stored.items():
            is_same &= _equal(column, self._late.payload[name]) | (column.dtype == object)
        is_accepted = np.ones(len(self._rows), np.bool_)
        is_accepted[self._late_at[is_known]] = False
        is_conflict = is_known & ~is_same
        return Classified(
            is_accepted=is_accepted,
            late_at=self._late_at[~is_known],
            duplicate_at=self._late_at[is_known & is_same],
            conflict_at=self._late_at[is_conflict],
            conflict_stored={name: column[is_conflict] for name, column in stored.items()},
            index=index,
            series=self._rows.series,
            previous=previous,
        )

    def _with_repeats(self, name: str, is_first: Bools) -> Column:
        """Return what stands under each late row's key: for a repeat, what its first row found or else brought."""
        stand_in = self._rows.payload[name].copy()
        stand_in[self._late_at[self._is_found]] = self._stored[name][self._is_found]
        column = self._stored[name].copy()
        column[~is_first] = stand_in[self._first_at[~is_first]]
        return column


def _find_in(rows: Rows, wanted: Rows) -> Int32s:
    if not len(rows) or not len(wanted):
        return np.full(len(wanted), EMPTY, np.int32)
    slots = slots_for(len(rows))
    insert_rows(slots, rows.series, rows.t, rows.extra, 0, len(rows))
    return find_rows(slots, rows.series, rows.t, rows.extra, wanted.series, wanted.t, wanted.extra)


def _equal(left: Column, right: Column) -> Bools:
    """Compare columns; a null (NaN) equals a null."""
    is_equal: Bools = left == right
    if left.dtype.kind == "f":
        is_equal |= np.isnan(left) & np.isnan(right)
    return is_equal
