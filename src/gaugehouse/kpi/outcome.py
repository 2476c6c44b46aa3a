"""Outcomes: numbers with how far they stand and why, for many cells at once; and how they go into one another."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum

import numpy as np
from numpy.typing import NDArray

from gaugehouse.kpi import kernel

Mask = NDArray[np.bool_]
Numbers = kernel.Integers | kernel.Floats
Codes = NDArray[np.int32]


class Status(StrEnum):
    """How far a result stands; the order of precedence is the order here."""

    OK = "ok"
    PARTIAL = "partial"  # a number, but part of what it rests on is known to be missing
    NO_DATA = "no_data"  # nothing was measured
    UNDEFINED = "undefined"  # there is data, but the formula has no value


STATUSES = tuple(Status)
OK, PARTIAL, NO_DATA, UNDEFINED = range(len(STATUSES))  # codes in arrays


class Reason(IntEnum):
    """Why a status is not a plain ok, where the words never change; `REASON_TEXTS` has them."""

    NONE = 0
    ESTIMATED_INTERVAL = 1
    RUNNING = 2
    LOOKBACK_TOO_SHORT = 3
    NO_PREDECESSOR = 4
    OLD_PREDECESSOR = 5
    UNDECIDED_STEPS = 6
    NO_MEASUREMENT = 7
    ONLY_BAD = 8
    NOT_BEGUN = 9
    OUTSIDE_LIFE = 10
    NO_INTERVAL = 11
    NO_STEP = 12
    NOT_FINITE = 13
    NOT_FOR_GAUGE = 14
    NOT_FOR_COUNTER = 15
    NOT_FOR_DELTA = 16
    NOT_FOR_STATE = 17
    OTHER_METRIC = 18
    NEGATIVE_ROOT = 19
    NO_LOGARITHM = 20
    NO_QUANTILES_OF_GROUPS = 21
    NOT_OF_GROUPS = 22
    MIXED_UNITS = 23
    EXCLUDED = 24
    MOSTLY_GLITCHES = 25
    NOTHING_HOLDS = 26


REASON_TEXTS: dict[Reason, str | None] = {
    Reason.NONE: None,
    Reason.ESTIMATED_INTERVAL: "the nominal interval is not set: estimated from the data",
    Reason.RUNNING: "the period is still running: counted until now",
    Reason.LOOKBACK_TOO_SHORT: "values may hold longer than the 35 days that are looked back",
    Reason.NO_PREDECESSOR: "no reading before the start: counted from the first reading inside",
    Reason.OLD_PREDECESSOR: "the reading before the start is older than the max hold",
    Reason.UNDECIDED_STEPS: "the last steps cannot be told from a glitch yet and are not counted",
    Reason.NO_MEASUREMENT: "no measurement in the period",
    Reason.ONLY_BAD: "only bad measurements in the period",
    Reason.NOT_BEGUN: "the period has not begun",
    Reason.OUTSIDE_LIFE: "the component was not in service in the period",
    Reason.NO_INTERVAL: "the nominal interval is not set and too few measurements exist to estimate it",
    Reason.NO_STEP: "no step: a counter needs a reading and one before it",
    Reason.NOT_FINITE: "the result is too large for a 64 bit float",
    Reason.NOT_FOR_GAUGE: "not defined for a metric of kind gauge",
    Reason.NOT_FOR_COUNTER: "not defined for a metric of kind counter",
    Reason.NOT_FOR_DELTA: "not defined for a metric of kind delta",
    Reason.NOT_FOR_STATE: "not defined for a metric of kind state",
    Reason.OTHER_METRIC: "about the component: answered beside another of its metrics",
    Reason.NEGATIVE_ROOT: "the square root of a negative number",
    Reason.NO_LOGARITHM: "the logarithm of a number that is not above 0",
    Reason.NO_QUANTILES_OF_GROUPS: "quantiles of several components cannot be told from those of each",
    Reason.NOT_OF_GROUPS: "has no meaning over several components",
    Reason.MIXED_UNITS: "the components of the group have different units",
    Reason.EXCLUDED: "the whole period is excluded",
    Reason.MOSTLY_GLITCHES: "more readings were left out as glitches than steps were counted: it may reset too often "
    "to tell them apart",
    Reason.NOTHING_HOLDS: "no value holds at any time of the period",
}

KIND_REASONS = {
    kernel.GAUGE: Reason.NOT_FOR_GAUGE,
    kernel.COUNTER: Reason.NOT_FOR_COUNTER,
    kernel.DELTA: Reason.NOT_FOR_DELTA,
    kernel.STATE: Reason.NOT_FOR_STATE,
}
REASON_OF_KIND = np.array([KIND_REASONS[code] for code in sorted(KIND_REASONS)], np.int32)
OUTSIDE = (Reason.NOT_BEGUN, Reason.OUTSIDE_LIFE, Reason.EXCLUDED)  # of cells that have no time at all


class ReasonTexts:
    """The words behind the reason codes of one evaluation: the fixed ones, then those that name what is missing."""

    def __init__(self) -> None:
        self.texts: list[str | None] = [REASON_TEXTS[reason] for reason in Reason]
        self._codes = {text: code for code, text in enumerate(self.texts)}

    def code(self, text: str) -> int:
        """Return the code of a text, a new one at its first appearance."""
        if text not in self._codes:
            self._codes[text] = len(self.texts)
            self.texts.append(text)
        return self._codes[text]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One number for all cells: value (NaN: null), index into STATUSES, code of the reason; arrays of one shape."""

    value: kernel.Floats
    status: NDArray[np.int8]
    reason: Codes

    def mark(self, where: Mask, status: Status, reason: int | Codes, *, keeps_value: bool = False) -> None:
        """Set status and reason where the mask is true; the value goes unless it keeps its meaning."""
        self.status[where] = STATUSES.index(status)
        self.reason[where] = reason if isinstance(reason, int) else reason[where]
        if not keeps_value:
            self.value[where] = np.nan

    def spread(self, shape: tuple[int, ...]) -> "Outcome":
        """Return one of this shape, not to be marked."""
        return Outcome(
            np.broadcast_to(self.value, shape), np.broadcast_to(self.status, shape), np.broadcast_to(self.reason, shape)
        )

    def copy(self) -> "Outcome":
        """Return one that can be marked without changing this one."""
        return Outcome(self.value.copy(), self.status.copy(), self.reason.copy())


def plain(value: Numbers | float) -> Outcome:
    """Return numbers that stand everywhere."""
    numbers = np.atleast_2d(np.array(value, np.float64))
    return Outcome(numbers, np.zeros(numbers.shape, np.int8), np.zeros(numbers.shape, np.int32))


def join(value: kernel.Floats, *operands: Outcome) -> Outcome:
    """Return a value that rests on operands: the worst of their statuses, with its reason; of equal ones the first.

    Without a value of an operand there is none. A value that is not finite although all operands are is undefined.

    Args:
        value: Computed from the values of the operands.
        operands: At least one; their shapes are broadcast to that of the value.
    """
    first = operands[0]
    status = np.array(np.broadcast_to(first.status, value.shape))
    reason = np.array(np.broadcast_to(first.reason, value.shape))
    missing = np.array(np.broadcast_to(np.isnan(first.value), value.shape))
    for one in operands[1:]:
        taken = (one.status > status) | ((one.status == status) & (reason == Reason.NONE))
        reason = np.where(taken, one.reason, reason)
        status = np.maximum(status, one.status)
        missing |= np.isnan(one.value)
    joined = Outcome(np.where(missing, np.nan, value), status, reason)
    joined.mark(~missing & ~np.isfinite(value), Status.UNDEFINED, Reason.NOT_FINITE)
    return joined
