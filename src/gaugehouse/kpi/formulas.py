"""Formulas: facts in, one number per (series, bucket) out, with a status and a reason in plain words.

Each formula is vectorised over all cells. It states its value and then marks the cells for which the value does not
stand, weakest mark first: a later mark overrides an earlier one.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum

import numpy as np
from numpy.typing import NDArray

from gaugehouse.kpi import kernel
from gaugehouse.kpi.facts import Facts

Mask = NDArray[np.bool_]
Numbers = kernel.Integers | kernel.Floats

PERCENT = 100.0


class Status(StrEnum):
    """How far a result stands; the order of precedence is the order here."""

    OK = "ok"
    PARTIAL = "partial"  # a number, but part of what it rests on is known to be missing
    NO_DATA = "no_data"  # nothing was measured
    UNDEFINED = "undefined"  # there is data, but the formula has no value


STATUSES = tuple(Status)


class Reason(IntEnum):
    """Why a status is not a plain ok; `REASON_TEXTS` has the words."""

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
    ONE_MEASUREMENT = 11
    NOTHING_COVERED = 12
    NO_INTERVAL = 13
    SHORT_BUCKET = 14
    NO_STEP = 15
    NEITHER_UP_NOR_DOWN = 16
    NOT_FINITE = 17
    NOT_FOR_GAUGE = 18
    NOT_FOR_COUNTER = 19
    NOT_FOR_DELTA = 20
    NOT_FOR_STATE = 21


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
    Reason.ONE_MEASUREMENT: "one measurement is not enough: two are needed",
    Reason.NOTHING_COVERED: "no value holds at any time of the period",
    Reason.NO_INTERVAL: "the nominal interval is not set and too few measurements exist to estimate it",
    Reason.SHORT_BUCKET: "the period is shorter than the nominal interval",
    Reason.NO_STEP: "no step: a counter needs a reading and one before it",
    Reason.NEITHER_UP_NOR_DOWN: "neither up nor down at any known time of the period",
    Reason.NOT_FINITE: "the result is too large for a 64 bit float",
    Reason.NOT_FOR_GAUGE: "not defined for a metric of kind gauge",
    Reason.NOT_FOR_COUNTER: "not defined for a metric of kind counter",
    Reason.NOT_FOR_DELTA: "not defined for a metric of kind delta",
    Reason.NOT_FOR_STATE: "not defined for a metric of kind state",
}

KIND_REASONS = {
    kernel.GAUGE: Reason.NOT_FOR_GAUGE,
    kernel.COUNTER: Reason.NOT_FOR_COUNTER,
    kernel.DELTA: Reason.NOT_FOR_DELTA,
    kernel.STATE: Reason.NOT_FOR_STATE,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """One KPI for all cells: value (NaN: null), index into STATUSES, Reason; arrays of one shape, (series, bucket)."""

    value: kernel.Floats
    status: NDArray[np.int8]
    reason: NDArray[np.int8]

    def mark(self, where: Mask, status: Status, reason: Reason, *, keeps_value: bool = False) -> None:
        """Set status and reason where the mask is true; the value goes unless it keeps its meaning."""
        self.status[where] = STATUSES.index(status)
        self.reason[where] = reason
        if not keeps_value:
            self.value[where] = np.nan


def _start(facts: Facts, value: Numbers) -> Outcome:
    """Return an outcome that stands everywhere but where a value is not finite, and says which buckets still run."""
    shape = facts.points.shape
    outcome = Outcome(np.array(value, np.float64), np.zeros(shape, np.int8), np.zeros(shape, np.int8))
    outcome.mark(~np.isfinite(outcome.value), Status.UNDEFINED, Reason.NOT_FINITE)
    running = (facts.length_us > 0) & (facts.spans["end_us"] == facts.now_us)
    running &= facts.edges_us[1:] > facts.now_us
    outcome.mark(running & (outcome.status == 0), Status.PARTIAL, Reason.RUNNING, keeps_value=True)
    return outcome


def _ratio(numerator: Numbers, denominator: Numbers) -> kernel.Floats:
    """Divide, 0 where the denominator is not positive: the caller marks those cells as undefined."""
    zeros = np.zeros(np.broadcast_shapes(numerator.shape, denominator.shape))
    positive = denominator > 0
    with np.errstate(over="ignore", invalid="ignore"):
        ratios: kernel.Floats = np.divide(numerator, denominator, out=zeros, where=positive)
    return ratios


def _mark_silence(outcome: Outcome, facts: Facts, silent: Mask, *, keeps_value: bool = False) -> Outcome:
    """Mark cells without data, and last of all those outside of time: they override everything."""
    outcome.mark(silent, Status.NO_DATA, Reason.NO_MEASUREMENT, keeps_value=keeps_value)
    only_bad = silent & (facts.points["bad_n"] > 0)
    outcome.mark(only_bad, Status.NO_DATA, Reason.ONLY_BAD, keeps_value=keeps_value)
    outside = facts.length_us == 0
    outcome.mark(outside, Status.NO_DATA, Reason.OUTSIDE_LIFE)
    outcome.mark(outside & (facts.edges_us[:-1] >= facts.now_us), Status.NO_DATA, Reason.NOT_BEGUN)
    return outcome


def _of_points(facts: Facts, value: Numbers) -> Outcome:
    return _mark_silence(_start(facts, value), facts, facts.points["n"] == 0)


def _is_unheard(facts: Facts) -> Mask:
    """Tell cells without a point inside and without a value carried in."""
    unheard: Mask = (facts.points["n"] == 0) & (facts.holds["covered_us"] == 0)
    return unheard


def _of_holds(facts: Facts, value: Numbers) -> Outcome:
    """A result that rests on held values; a hold longer than the look-back may have begun before it."""
    outcome = _start(facts, value)
    estimated = (facts.intervals["hold_estimated"][:, None] == 1) & (outcome.status == 0)
    outcome.mark(estimated, Status.OK, Reason.ESTIMATED_INTERVAL, keeps_value=True)
    reaches_back = facts.intervals["max_hold_us"][:, None] > kernel.LOOKBACK_US
    cut = reaches_back & (facts.holds["previous_us"] < 0) & (facts.points["lead_us"] > 0) & (outcome.status < 2)
    outcome.mark(cut, Status.PARTIAL, Reason.LOOKBACK_TOO_SHORT, keeps_value=True)
    return outcome


def count(facts: Facts) -> Outcome:
    outcome = _start(facts, facts.points["n"])
    return _mark_silence(outcome, facts, facts.points["n"] == 0, keeps_value=True)


def smallest(facts: Facts) -> Outcome:
    return _of_points(facts, facts.points["min"])


def largest(facts: Facts) -> Outcome:
    return _of_points(facts, facts.points["max"])


def mean(facts: Facts) -> Outcome:
    return _of_points(facts, facts.points["mean"])


def std(facts: Facts) -> Outcome:
    outcome = _start(facts, np.sqrt(_ratio(facts.points["m2"], facts.points["n"] - 1)))
    outcome.mark(facts.points["n"] == 1, Status.UNDEFINED, Reason.ONE_MEASUREMENT)
    return _mark_silence(outcome, facts, facts.points["n"] == 0)


def _quantile(facts: Facts, share: float) -> Outcome:
    if facts.quantiles is None:
        raise ValueError("quantiles were not computed: compute_facts(..., want=find_wanted(kpis))")
    return _of_points(facts, facts.quantiles[:, :, kernel.QUANTILES.index(share)])


def median(facts: Facts) -> Outcome:
    return _quantile(facts, 0.50)


def p05(facts: Facts) -> Outcome:
    return _quantile(facts, 0.05)


def p95(facts: Facts) -> Outcome:
    return _quantile(facts, 0.95)


def first(facts: Facts) -> Outcome:
    return _of_points(facts, facts.points["first"])


def last(facts: Facts) -> Outcome:
    return _of_points(facts, facts.points["last"])


def change(facts: Facts) -> Outcome:
    return _difference(facts, "last", "first")


def spread(facts: Facts) -> Outcome:
    return _difference(facts, "max", "min")


def _difference(facts: Facts, minuend: str, subtrahend: str) -> Outcome:
    with np.errstate(over="ignore"):
        return _of_points(facts, facts.points[minuend] - facts.points[subtrahend])


def total(facts: Facts) -> Outcome:
    return _of_points(facts, facts.points["sum"])


def time_weighted_mean(facts: Facts) -> Outcome:
    covered_us = facts.holds["covered_us"]
    outcome = _of_holds(facts, _ratio(facts.holds["area"], covered_us))
    outcome.mark(covered_us == 0, Status.UNDEFINED, Reason.NOTHING_COVERED)
    return _mark_silence(outcome, facts, _is_unheard(facts))


def completeness(facts: Facts) -> Outcome:
    interval_us = np.broadcast_to(facts.intervals["nominal_us"][:, None], facts.points.shape)
    expected = _ratio(facts.length_us, interval_us)
    outcome = _start(facts, np.minimum(1.0, _ratio(facts.points["n"], expected)) * PERCENT)
    estimated = (facts.intervals["estimated"][:, None] == 1) & (outcome.status == 0)
    outcome.mark(estimated, Status.OK, Reason.ESTIMATED_INTERVAL, keeps_value=True)
    _mark_silence(outcome, facts, facts.points["n"] == 0, keeps_value=True)
    inside = facts.length_us > 0
    outcome.mark(inside & (interval_us > 0) & (expected < 1), Status.UNDEFINED, Reason.SHORT_BUCKET)
    outcome.mark(inside & (interval_us == 0), Status.UNDEFINED, Reason.NO_INTERVAL)
    return outcome


def find_coverage(facts: Facts) -> kernel.Floats:
    """Return covered time / bucket time, NaN for buckets without time. [1]"""
    shares = _ratio(facts.holds["covered_us"], facts.length_us)
    shares[facts.length_us == 0] = np.nan
    return shares


def coverage(facts: Facts) -> Outcome:
    outcome = _of_holds(facts, _ratio(facts.holds["covered_us"], facts.length_us) * PERCENT)
    return _mark_silence(outcome, facts, _is_unheard(facts), keeps_value=True)


def _of_steps(facts: Facts, value: Numbers) -> Outcome:
    """A result that rests on counter steps: says what is known to be missing at either end."""
    counters = facts.counters
    outcome = _start(facts, value)
    start_us = facts.spans["start_us"]
    counted = (counters["steps"] > 0) & (outcome.status < 2)
    unknown_lead = counted & (counters["baseline_us"] > start_us)
    outcome.mark(unknown_lead, Status.PARTIAL, Reason.NO_PREDECESSOR, keeps_value=True)
    old = counted & (start_us - counters["from_us"] > facts.intervals["max_hold_us"][:, None])
    outcome.mark(old, Status.PARTIAL, Reason.OLD_PREDECESSOR, keeps_value=True)
    undecided = counters["undecided"] > 0
    outcome.mark(counted & undecided, Status.PARTIAL, Reason.UNDECIDED_STEPS, keeps_value=True)
    outcome.mark(counters["steps"] == 0, Status.UNDEFINED, Reason.NO_STEP)
    outcome.mark((counters["steps"] == 0) & undecided, Status.UNDEFINED, Reason.UNDECIDED_STEPS)
    return _mark_silence(outcome, facts, facts.points["n"] == 0)


def counter_increase(facts: Facts) -> Outcome:
    return _of_steps(facts, facts.increase)


def rate(facts: Facts) -> Outcome:
    duration_s = (facts.counters["to_us"] - facts.counters["from_us"]) / kernel.SECOND_US
    return _of_steps(facts, _ratio(facts.increase, duration_s))


def availability(facts: Facts) -> Outcome:
    known_us = facts.states["up_us"] + facts.states["down_us"]
    outcome = _of_holds(facts, _ratio(facts.states["up_us"], known_us) * PERCENT)
    outcome.mark(known_us == 0, Status.UNDEFINED, Reason.NEITHER_UP_NOR_DOWN)
    return _mark_silence(outcome, facts, _is_unheard(facts))


def _duration(facts: Facts, duration_us: kernel.Integers) -> Outcome:
    """Seconds of a class; they keep their value in silence, so that all classes together are the period."""
    outcome = _of_holds(facts, duration_us / kernel.SECOND_US)
    return _mark_silence(outcome, facts, _is_unheard(facts), keeps_value=True)


def uptime(facts: Facts) -> Outcome:
    return _duration(facts, facts.states["up_us"])


def downtime(facts: Facts) -> Outcome:
    return _duration(facts, facts.states["down_us"])


def unknown_time(facts: Facts) -> Outcome:
    return _duration(facts, facts.unknown_us)
