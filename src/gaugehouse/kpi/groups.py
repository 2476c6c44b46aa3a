"""Groups: what is known of several components as one. Sums add up, extremes are compared, deviations are pooled.

A component outside of its life, or of a period that has not begun, is no part of its group. One that is silent is: what
it misses makes the group's result `partial`, and the reason says how many there are. All steps run in the order of the
rows, so a group's digits depend on its members alone.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gaugehouse.kpi import kernel
from gaugehouse.kpi.facts import find_rest
from gaugehouse.kpi.outcome import NO_DATA, OUTSIDE, PARTIAL, UNDEFINED, Mask, Outcome, Reason, ReasonTexts, Status

Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """Which group each row belongs to.

    Args:
        group_of: Index of the group of each row; every group has a row.
        count: How many groups there are.
    """

    group_of: Places
    count: int

    @property
    def firsts(self) -> Places:
        """The first row of each group."""
        return self.find_first(np.ones((len(self.group_of), 1), np.bool_))[:, 0]

    def find_first(self, where: Mask) -> Places:
        """Return per (group, bucket) the first row for which a mask (row, bucket) is true, else the number of rows."""
        rows = len(self.group_of)
        found = np.full((self.count, where.shape[1]), rows, np.int64)
        np.minimum.at(found, self.group_of, np.where(where, np.arange(rows)[:, None], rows))
        return found

    def find_all(self, where: Mask) -> Mask:
        """Tell for each group whether something is true of all its rows."""
        found = np.ones(self.count, np.bool_)
        np.logical_and.at(found, self.group_of, where)
        return found

    def find_any(self, where: Mask) -> Mask:
        """Tell for each (group, bucket) whether something is true of any of its rows; the mask is (row, bucket)."""
        found: Mask = self.find_first(where) < len(self.group_of)
        return found

    def find_mixed(self, codes: Places) -> Mask:
        """Tell for each group whether its rows have different codes; negative ones do not count."""
        smallest = np.full(self.count, np.iinfo(np.int64).max, np.int64)
        largest = np.full(self.count, -1, np.int64)
        np.minimum.at(smallest, self.group_of, np.where(codes < 0, np.iinfo(np.int64).max, codes))
        np.maximum.at(largest, self.group_of, codes)
        mixed: Mask = largest > smallest
        return mixed

    def add_up(self, counted: kernel.Integers) -> kernel.Integers:
        """Return the sums of whole numbers per (row, bucket)."""
        total = np.zeros((self.count, counted.shape[1]), np.int64)
        np.add.at(total, self.group_of, counted)
        return total

    def merge_sum(self, outcome: Outcome, texts: ReasonTexts, *, low: kernel.Floats | None = None) -> Outcome:
        """Return the sums of the rows that have a value.

        Args:
            outcome: Values of each row.
            texts: Of reasons.
            low: What rounding of each value lost.
        """
        counted = ~np.isnan(outcome.value)
        parts = (outcome.value,) if low is None else (outcome.value, low)
        return self._judge(self._add(*(np.where(counted, one, 0.0) for one in parts)), outcome, texts)

    def _add(self, *parts: kernel.Floats) -> kernel.Floats:
        """Return compensated sums per (group, bucket) of several parts per (row, bucket), one after the other."""
        total = np.zeros((self.count, parts[0].shape[1]))
        low = np.zeros_like(total)
        for one in parts:
            kernel.add_rows(np.ascontiguousarray(one), self.group_of, total, low)
        return np.where(np.isfinite(total), total + low, total)

    def merge_extreme(self, outcome: Outcome, function: Callable[..., kernel.Floats], texts: ReasonTexts) -> Outcome:
        """Return the smallest or largest value (np.minimum or np.maximum)."""
        neutral = np.inf if function is np.minimum else -np.inf
        extreme = np.full((self.count, outcome.value.shape[1]), neutral)
        function.at(extreme, self.group_of, np.where(np.isnan(outcome.value), neutral, outcome.value))  # type: ignore[attr-defined]
        return self._judge(extreme, outcome, texts)

    def merge_spread(
        self, outcome: Outcome, n: kernel.Floats, total: kernel.Floats, low: kernel.Floats, texts: ReasonTexts
    ) -> Outcome:
        """Return squared deviations about the mean of all (Chan, Golub, LeVeque 1979).

        Means are taken as distances from the mean of the first row: those of values around 1e7 that differ by 1e-4 have
        no digits left to tell them apart.

        Args:
            outcome: Squared deviations of each row about its own mean.
            n: Values of each row.
            total: Their sum.
            low: What rounding of the sum lost.
            texts: Of reasons.
        """
        counted = ~np.isnan(outcome.value) & (n > 0)
        n = np.where(counted, n, 0.0)
        mean = np.where(counted, total, 0.0) / np.where(counted, n, 1.0)
        leader = np.minimum(self.find_first(counted), len(self.group_of) - 1)
        reference = mean[leader, np.arange(mean.shape[1])][self.group_of]
        rest = np.where(counted, find_rest(mean, n, total, low), 0.0)
        distance = np.where(counted, (mean - reference) + rest, 0.0)
        count = self._add(n)
        centre = self._add(n * distance) / np.where(count > 0, count, 1.0)
        moved = distance - centre[self.group_of]
        squares = self._add(np.where(counted, outcome.value, 0.0), n * moved * moved)
        return self._judge(squares, outcome, texts)

    def merge_same(self, outcome: Outcome, differs: int) -> Outcome:
        """Return what is the same for all rows; undefined where it is not, or not known of one."""
        rows, buckets = len(self.group_of), np.arange(outcome.value.shape[1])
        present = ~np.isin(outcome.reason, OUTSIDE)
        leader = np.minimum(self.find_first(present), rows - 1)
        missing = self.find_first(present & np.isnan(outcome.value))
        merged = _take(outcome, np.where(missing < rows, missing, leader))
        shared = outcome.value[leader, buckets][self.group_of]
        strange = self.find_first(present & (outcome.value != shared)) < rows
        merged.mark(strange & (missing == rows), Status.UNDEFINED, differs)
        return merged

    def merge_never(self, outcome: Outcome, reason: Reason, texts: ReasonTexts) -> Outcome:
        """Return what cannot be told of several components; where nothing was measured, that is what is said."""
        merged = self._judge(np.zeros((self.count, outcome.value.shape[1])), outcome, texts)
        merged.mark(merged.status < NO_DATA, Status.UNDEFINED, reason)
        merged.value[:] = np.nan
        return merged

    def _judge(self, value: kernel.Floats, outcome: Outcome, texts: ReasonTexts) -> Outcome:
        """Return merged values with how far they stand.

        - No row is part of the group: as the first row says.
        - No row is sound: undefined if one is, else no data; counts and durations keep their value.
        - Some are sound: partial, with how many are missing.
        - All are sound: partial if one is, else ok.
        """
        rows = len(self.group_of)
        present = ~np.isin(outcome.reason, OUTSIDE)
        sound = present & (outcome.status < NO_DATA)
        unsound = present & ~sound
        good, bad = self._count(sound), self._count(unsound)
        first = _first_of(rows, self.find_first(present), self.find_first(np.ones_like(present)))
        first_bad = _first_of(rows, self.find_first(unsound & (outcome.status == UNDEFINED)), first)
        first_good = _first_of(
            rows,
            self.find_first(sound & (outcome.status == PARTIAL)),
            self.find_first(sound & (outcome.reason != Reason.NONE)),
            first,
        )
        merged = _take(outcome, np.where(good > 0, first_good, first_bad))
        has_value = (good > 0) | (self._count(unsound & ~np.isnan(outcome.value)) > 0)
        merged.value[:] = np.where(has_value & (merged.status < UNDEFINED), value, np.nan)
        self._mark_missing(merged, _take(outcome, np.minimum(self.find_first(unsound), rows - 1)), good, bad, texts)
        merged.mark(~np.isnan(merged.value) & ~np.isfinite(value), Status.UNDEFINED, Reason.NOT_FINITE)
        return merged

    def _mark_missing(self, merged: Outcome, why: Outcome, good: Places, bad: Places, texts: ReasonTexts) -> None:
        """Say how many components a result lacks, and why the first of them is missing."""
        where = (good > 0) & (bad > 0)
        if not where.any():
            return
        found = np.column_stack([bad[where], (good + bad)[where], why.reason[where]])
        cases, case_of = np.unique(found, axis=0, return_inverse=True)
        codes = [
            texts.code(f"{missing} of {count} components are missing: {texts.texts[reason]}")
            for missing, count, reason in cases.tolist()
        ]
        merged.status[where] = PARTIAL
        merged.reason[where] = np.array(codes, np.int32)[case_of.ravel()]

    def _count(self, where: Mask) -> Places:
        return self.add_up(where.astype(np.int64))


def _first_of(rows: int, *choices: Places) -> Places:
    """Return the first choice that is a row, cell by cell; the last one where none is."""
    chosen = choices[-1]
    for one in reversed(choices[:-1]):
        chosen = np.where(one < rows, one, chosen)
    return chosen


def _take(outcome: Outcome, rows: Places) -> Outcome:
    """Return the cells of one row per (group, bucket)."""
    buckets = np.arange(outcome.value.shape[1])
    return Outcome(outcome.value[rows, buckets], outcome.status[rows, buckets], outcome.reason[rows, buckets])
