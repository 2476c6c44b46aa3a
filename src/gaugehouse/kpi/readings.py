"""Readings: each quantity for every (series, bucket), with how far it stands.

Silence is decided here, once for all formulas: what is known without a measurement (counts and durations) keeps its
value and says `no_data`; what needs one is null. Running periods, estimated intervals, a cut look-back and the open
ends of counters are marked here too.
"""

from collections.abc import Sequence

import numpy as np

from gaugehouse.kpi import kernel
from gaugehouse.kpi.facts import KIND_CODES, Facts
from gaugehouse.kpi.outcome import REASON_OF_KIND, Mask, Numbers, Outcome, Reason, ReasonTexts, Status, plain
from gaugehouse.kpi.quantities import LIMITS, QUANTITIES, Basis, Quantity, ratio
from gaugehouse.measurements.metric import MetricAttributes, MetricKind


class Readings:
    """The quantities of all series of some facts, each read once."""

    def __init__(self, facts: Facts, attributes: Sequence[MetricAttributes], texts: ReasonTexts) -> None:
        self.facts = facts
        self.attributes = attributes
        self.texts = texts
        self._outcomes: dict[str, Outcome] = {}

    def read(self, name: str) -> Outcome:
        """Return a quantity, or an attribute of the metrics, for every (series, bucket). Never change it.

        Raises:
            ValueError: The facts were computed without what it needs.
        """
        if name not in self._outcomes:
            self._outcomes[name] = self._read_limit(name) if name in LIMITS else self._read_quantity(name)
        return self._outcomes[name]

    def read_low(self, quantity: Quantity) -> Numbers:
        """Return what rounding of a sum lost, for every (series, bucket)."""
        return _find_array(self.facts, quantity.low)

    def _read_limit(self, name: str) -> Outcome:
        values = [getattr(one, name) for one in self.attributes]
        outcome = plain(np.array([np.nan if value is None else value for value in values], np.float64)[:, None])
        outcome.mark(np.isnan(outcome.value), Status.UNDEFINED, self.texts.code(f"{name} of the metric is not set"))
        return outcome

    def _read_quantity(self, name: str) -> Outcome:
        quantity = QUANTITIES[name]
        arrays = [_find_array(self.facts, field) for field in quantity.fields]
        if quantity.basis is Basis.AMOUNT:
            outcome = _choose_amount(self.facts, *arrays)
        else:
            outcome = _judge(self.facts, arrays[0] if quantity.read is None else quantity.read(*arrays), quantity.basis)
        if quantity.limits:
            self._mark_missing_limits(outcome, quantity.limits)
        self._mark_other_kinds(outcome, quantity.kinds)
        return outcome

    def _mark_missing_limits(self, outcome: Outcome, limits: Sequence[str]) -> None:
        missing = [all(getattr(one, name) is None for name in limits) for one in self.attributes]
        where = np.broadcast_to(np.array(missing, np.bool_)[:, None], outcome.value.shape)
        reason = self.texts.code(f"{' or '.join(limits)} of the metric is not set")
        outcome.mark(where & (self.facts.length_us > 0), Status.UNDEFINED, reason)

    def _mark_other_kinds(self, outcome: Outcome, kinds: frozenset[MetricKind]) -> None:
        strange = ~np.isin(self.facts.kind, [KIND_CODES[kind] for kind in kinds])
        if strange.any():
            where = np.broadcast_to(strange[:, None], outcome.value.shape)
            reasons = np.broadcast_to(REASON_OF_KIND[self.facts.kind][:, None], outcome.value.shape)
            outcome.mark(where, Status.UNDEFINED, reasons)


def find_known(attributes: Sequence[MetricAttributes], name: str) -> Mask:
    """Tell for each series whether an attribute of its metric is set."""
    return np.array([getattr(one, name) is not None for one in attributes], np.bool_)


def find_share(covered_us: kernel.Integers, length_us: kernel.Integers) -> kernel.Floats:
    """Return covered time / all time, NaN where there is no time. [1]"""
    shares = ratio(covered_us, length_us)
    shares[length_us == 0] = np.nan
    return shares


def _find_array(facts: Facts, field: str) -> Numbers:
    group, _, name = field.partition(".")
    found = getattr(facts, group)
    if found is None:
        raise ValueError(f"{group} were not computed: compute_facts(..., want=find_wanted(kpis))")
    array: Numbers = found[name] if name else found
    return array


def _choose_amount(facts: Facts, total: Numbers, increase: Numbers) -> Outcome:
    """Return the increase of counters and the sum of all others."""
    outcome, counted = _judge(facts, total, Basis.POINTS), _judge(facts, increase, Basis.STEPS)
    is_counter = facts.kind == kernel.COUNTER
    outcome.value[is_counter] = counted.value[is_counter]
    outcome.status[is_counter] = counted.status[is_counter]
    outcome.reason[is_counter] = counted.reason[is_counter]
    return outcome


# --- When a quantity does not stand -----------------------------------------------------------------------------------


def _judge(facts: Facts, value: Numbers, basis: Basis) -> Outcome:
    """Return a quantity with its marks, weakest first: a later mark overrides an earlier one."""
    outcome = _start(facts, value)
    match basis:
        case Basis.PERIOD:
            pass
        case Basis.POINTS | Basis.COUNT | Basis.AMOUNT:
            _mark_silence(outcome, facts, facts.points["n"] == 0, keeps_value=basis is Basis.COUNT)
        case Basis.HOLDS | Basis.DURATION:
            _mark_holds(outcome, facts)
            if basis is Basis.HOLDS:
                outcome.mark(facts.holds["covered_us"] == 0, Status.UNDEFINED, Reason.NOTHING_HOLDS)
            _mark_silence(outcome, facts, _is_unheard(facts), keeps_value=basis is Basis.DURATION)
        case Basis.STEPS:
            _mark_steps(outcome, facts)
            _mark_silence(outcome, facts, facts.points["n"] == 0, keeps_value=False)
        case Basis.INTERVAL:
            _mark_estimate(outcome, facts, "estimated")
            unknown = np.broadcast_to(facts.intervals["nominal_us"][:, None] <= 0, outcome.value.shape)
            outcome.mark(unknown, Status.UNDEFINED, Reason.NO_INTERVAL)
        case Basis.MAX_HOLD:
            _mark_estimate(outcome, facts, "hold_estimated")
    _mark_outside(outcome, facts)
    return outcome


def _start(facts: Facts, value: Numbers) -> Outcome:
    """Return an outcome that stands everywhere but where a value is not finite, and says which buckets still run."""
    outcome = plain(value)
    outcome.mark(~np.isfinite(outcome.value), Status.UNDEFINED, Reason.NOT_FINITE)
    running = (facts.length_us > 0) & (facts.spans["end_us"] == facts.now_us)
    running &= facts.edges_us[1:] > facts.now_us
    outcome.mark(running & (outcome.status == 0), Status.PARTIAL, Reason.RUNNING, keeps_value=True)
    return outcome


def _mark_silence(outcome: Outcome, facts: Facts, silent: Mask, *, keeps_value: bool) -> None:
    outcome.mark(silent, Status.NO_DATA, Reason.NO_MEASUREMENT, keeps_value=keeps_value)
    only_bad = silent & (facts.points["bad_n"] > 0)
    outcome.mark(only_bad, Status.NO_DATA, Reason.ONLY_BAD, keeps_value=keeps_value)


def _mark_outside(outcome: Outcome, facts: Facts) -> None:
    """Mark cells outside of time; this overrides everything."""
    outside = facts.length_us == 0
    outcome.mark(outside, Status.NO_DATA, Reason.OUTSIDE_LIFE)
    outcome.mark(outside & (facts.spans["excluded_us"] > 0), Status.NO_DATA, Reason.EXCLUDED)
    outcome.mark(outside & (facts.edges_us[:-1] >= facts.now_us), Status.NO_DATA, Reason.NOT_BEGUN)


def _is_unheard(facts: Facts) -> Mask:
    """Tell cells without a point inside and without a value carried in."""
    unheard: Mask = (facts.points["n"] == 0) & (facts.holds["covered_us"] == 0)
    return unheard


def _mark_estimate(outcome: Outcome, facts: Facts, field: str) -> None:
    estimated = (facts.intervals[field][:, None] == 1) & (outcome.status == 0)
    outcome.mark(estimated, Status.OK, Reason.ESTIMATED_INTERVAL, keeps_value=True)


def _mark_holds(outcome: Outcome, facts: Facts) -> None:
    """Held values: a hold longer than the look-back may have begun before it."""
    _mark_estimate(outcome, facts, "hold_estimated")
    reaches_back = facts.intervals["max_hold_us"][:, None] > kernel.LOOKBACK_US
    cut = reaches_back & (facts.holds["previous_us"] < 0) & (facts.points["lead_us"] > 0) & (outcome.status < 2)
    outcome.mark(cut, Status.PARTIAL, Reason.LOOKBACK_TOO_SHORT, keeps_value=True)


def _mark_steps(outcome: Outcome, facts: Facts) -> None:
    """Counter steps: what is known to be missing at either end."""
    counters, start_us = facts.counters, facts.spans["start_us"]
    counted = (counters["steps"] > 0) & (outcome.status < 2)
    outcome.mark(
        counted & (counters["baseline_us"] > start_us), Status.PARTIAL, Reason.NO_PREDECESSOR, keeps_value=True
    )
    old = counted & (start_us - counters["from_us"] > facts.intervals["max_hold_us"][:, None])
    outcome.mark(old, Status.PARTIAL, Reason.OLD_PREDECESSOR, keeps_value=True)
    # A single glitch is what glitches are; more than there are steps are resets that came too soon to be told.
    mostly = (counters["glitches"] > 1) & (counters["glitches"] > counters["moves"])
    outcome.mark(counted & mostly, Status.PARTIAL, Reason.MOSTLY_GLITCHES, keeps_value=True)
    undecided = counters["undecided"] > 0
    outcome.mark(counted & undecided, Status.PARTIAL, Reason.UNDECIDED_STEPS, keeps_value=True)
    outcome.mark(counters["steps"] == 0, Status.UNDEFINED, Reason.NO_STEP)
    outcome.mark((counters["steps"] == 0) & undecided, Status.UNDEFINED, Reason.UNDECIDED_STEPS)
