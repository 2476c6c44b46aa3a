"""Quantities: the facts under the names that formulas use, each with its unit, its kinds, and what it rests on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np

from gaugehouse.kpi import kernel
from gaugehouse.kpi.facts import Want
from gaugehouse.kpi.outcome import Numbers
from gaugehouse.measurements.metric import MetricKind

ALL_KINDS = frozenset(MetricKind)
HELD_KINDS = ALL_KINDS - {MetricKind.DELTA}  # an amount per interval does not hold until the next one
COUNTER = frozenset({MetricKind.COUNTER})
DELTA = frozenset({MetricKind.DELTA})
STATE = frozenset({MetricKind.STATE})


class Basis(Enum):
    """What a quantity rests on, which decides when it does not stand."""

    PERIOD = "period"  # known at once
    POINTS = "points"  # null without a measurement inside
    COUNT = "count"  # of measurements: 0 without one
    HOLDS = "holds"  # null without a value inside or carried in, and while none holds
    DURATION = "duration"  # 0 without a value inside or carried in
    STEPS = "steps"  # null without a counted step; says what is missing at either end
    AMOUNT = "amount"  # steps of a counter, points of a delta
    INTERVAL = "interval"  # undefined while the nominal interval is not known
    MAX_HOLD = "max_hold"  # known at once; says when it is estimated


class Merge(Enum):
    """How a quantity of several components follows from those of each."""

    SUM = "sum"
    MIN = "min"
    MAX = "max"
    SPREAD = "spread"  # squared deviations, about the mean of all
    SAME = "same"  # where it is the same for all
    NEVER = "never"
    QUANTILE = "quantile"  # never, for a reason of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A fact as formulas see it.

    Args:
        name: In formulas.
        unit: For people; U is the metric's own.
        meaning: In words.
        fields: Where it lies in `Facts`: `group.field`, or a property.
        basis: What it rests on.
        kinds: Metric kinds that have it.
        merge: How it goes over several components.
        stored: Unit of the array; the unit for people by default. Times are whole microseconds, so that ratios of
            them are exact.
        read: Makes one array of the fields; the first one by default.
        limits: Names of attributes of which one must be set.
        want: The pass over the rows that computes it.
        low: Where `Facts` keeps what rounding of a sum lost.
    """

    name: str
    unit: str
    meaning: str
    fields: tuple[str, ...]
    basis: Basis
    kinds: frozenset[MetricKind] = ALL_KINDS
    merge: Merge = Merge.SUM
    stored: str = ""
    read: Callable[..., Numbers] | None = None
    limits: tuple[str, ...] = ()
    want: Want = Want.NOTHING
    low: str = ""

    @property
    def stored_unit(self) -> str:
        return self.stored or self.unit


def ratio(numerator: Numbers, denominator: Numbers) -> kernel.Floats:
    """Divide; 0 where the denominator is not above 0."""
    zeros = np.zeros(np.broadcast_shapes(numerator.shape, denominator.shape))
    ratios: kernel.Floats = np.divide(numerator, denominator, out=zeros, where=denominator > 0)
    return ratios


def _per_interval(length_us: kernel.Integers, nominal_us: kernel.Floats) -> kernel.Floats:
    return ratio(length_us, np.broadcast_to(nominal_us[:, None], length_us.shape))


def _total(*parts: Numbers) -> Numbers:
    total: Numbers = np.sum(parts, axis=0)
    return total


def _per_series(per_series: Numbers, length_us: kernel.Integers) -> kernel.Floats:
    return np.broadcast_to(per_series.astype(np.float64)[:, None], length_us.shape)


def _ranked(share: float) -> Callable[[kernel.Floats], kernel.Floats]:
    place = kernel.QUANTILES.index(share)
    return lambda quantiles: quantiles[:, :, place]


def _quantile(name: str, share: float) -> Quantity:
    return Quantity(
        name=name,
        unit="U",
        meaning=f"{share:.0%} of the values are not above it: exact, interpolated between ranks",
        fields=("quantiles",),
        read=_ranked(share),
        basis=Basis.POINTS,
        merge=Merge.QUANTILE,
        want=Want.QUANTILES,
    )


def _duration(name: str, meaning: str, *fields: str, kinds: frozenset[MetricKind] = STATE) -> Quantity:
    read = _total if len(fields) > 1 else None
    return Quantity(
        name=name,
        unit="s",
        stored="us",
        meaning=meaning,
        fields=fields,
        read=read,
        basis=Basis.DURATION,
        kinds=kinds,
    )


def _beyond(name: str, meaning: str, *limits: str, fields: tuple[str, ...]) -> Quantity:
    read = _total if len(fields) > 1 else None
    return Quantity(
        name=name,
        unit="s",
        stored="us",
        meaning=meaning,
        fields=fields,
        read=read,
        basis=Basis.DURATION,
        kinds=HELD_KINDS,
        limits=limits,
    )


def _tally(name: str, meaning: str, field: str, kinds: frozenset[MetricKind] = ALL_KINDS) -> Quantity:
    """A count of what happened among measurements."""
    return Quantity(name=name, unit="1", meaning=meaning, fields=(field,), basis=Basis.COUNT, kinds=kinds)


def _event(name: str, meaning: str, field: str) -> Quantity:
    """A count of what happened to a state: none while one that was carried in holds."""
    return Quantity(name=name, unit="1", meaning=meaning, fields=(field,), basis=Basis.DURATION, kinds=STATE)


def _value(name: str, meaning: str, field: str, merge: Merge) -> Quantity:
    return Quantity(name=name, unit="U", meaning=meaning, fields=(field,), basis=Basis.POINTS, merge=merge)


_QUANTITIES = (
    Quantity(
        name="period_s",
        unit="s",
        stored="us",
        meaning="length of the period, without what lies before or behind the component's life, and in the future",
        fields=("length_us",),
        basis=Basis.PERIOD,
    ),
    Quantity(
        name="late_n",
        unit="1",
        meaning="measurements that were received later than the lateness bound of their metric",
        fields=("late_n",),
        basis=Basis.COUNT,
        limits=("lateness_s",),
        want=Want.LATE,
    ),
    Quantity(
        name="nominal_interval_s",
        unit="s",
        stored="us",
        meaning="time between two measurements when all is well: as set, else estimated",
        fields=("intervals.nominal_us", "length_us"),
        read=_per_series,
        basis=Basis.INTERVAL,
        merge=Merge.SAME,
    ),
    Quantity(
        name="max_hold_s",
        unit="s",
        stored="us",
        meaning="how long a value stands without a successor: as set, else three nominal intervals, else a day",
        fields=("intervals.max_hold_us", "length_us"),
        read=_per_series,
        basis=Basis.MAX_HOLD,
        merge=Merge.SAME,
    ),
    Quantity(
        name="expected",
        unit="1",
        meaning="how many measurements the period should have: period / nominal interval",
        fields=("length_us", "intervals.nominal_us"),
        read=_per_interval,
        basis=Basis.INTERVAL,
    ),
    _tally("n", "measurements that are not bad", "points.n"),
    _tally("bad_n", "bad or empty measurements", "points.bad_n"),
    _tally("slots", "nominal intervals with at least one measurement", "points.slots"),
    _tally("gaps", "times without a measurement that are longer than max hold", "gaps"),
    Quantity(
        name="longest_gap_s",
        unit="s",
        stored="us",
        meaning="the longest gap",
        fields=("longest_gap_us",),
        basis=Basis.COUNT,
        merge=Merge.MAX,
    ),
    _value("first", "value of the first measurement", "points.first", Merge.NEVER),
    _value("last", "value of the last measurement", "points.last", Merge.NEVER),
    _value("min", "smallest value", "points.min", Merge.MIN),
    _value("max", "largest value", "points.max", Merge.MAX),
    Quantity(
        name="sum",
        unit="U",
        meaning="sum of the values",
        fields=("points.sum",),
        low="points.sum_low",
        basis=Basis.POINTS,
    ),
    Quantity(
        name="squared_deviations",
        unit="U2",
        meaning="sum of the squares of (value - mean)",
        fields=("points.m2",),
        basis=Basis.POINTS,
        merge=Merge.SPREAD,
    ),
    _quantile("p01", 0.01),
    _quantile("p05", 0.05),
    _quantile("p25", 0.25),
    _quantile("p50", 0.50),
    _quantile("p75", 0.75),
    _quantile("p95", 0.95),
    _quantile("p99", 0.99),
    _duration("covered_s", "time in which a value is known", "holds.covered_us", kinds=ALL_KINDS),
    Quantity(
        name="area_locf",
        unit="U.s",
        stored="U.us",
        meaning="sum of value x time it holds",
        fields=("holds.area",),
        basis=Basis.HOLDS,
        kinds=HELD_KINDS,
    ),
    Quantity(
        name="covered_linear_s",
        unit="s",
        stored="us",
        meaning="time between neighbours at most max hold apart",
        fields=("holds.linear_covered_us",),
        basis=Basis.DURATION,
        kinds=HELD_KINDS,
        want=Want.LINES,
    ),
    Quantity(
        name="area_linear",
        unit="U.s",
        stored="U.us",
        meaning="area under straight lines between neighbours at most max hold apart",
        fields=("holds.linear_area",),
        basis=Basis.HOLDS,
        kinds=HELD_KINDS,
        want=Want.LINES,
    ),
    _beyond("above_s", "held time above the upper limit", "usl", fields=("holds.above_us",)),
    _beyond("below_s", "held time below the lower limit", "lsl", fields=("holds.below_us",)),
    _beyond("outside_s", "held time beyond a limit", "usl", "lsl", fields=("holds.above_us", "holds.below_us")),
    Quantity(
        name="outside_n",
        unit="1",
        meaning="measurements beyond a limit",
        fields=("points.outside_n",),
        basis=Basis.COUNT,
        limits=("usl", "lsl"),
    ),
    Quantity(
        name="increase",
        unit="U",
        meaning="sum of a counter's steps; resets, rollovers and glitches told apart",
        fields=("increase",),
        basis=Basis.STEPS,
        kinds=COUNTER,
    ),
    Quantity(
        name="counted_s",
        unit="s",
        stored="us",
        meaning="from the reading before the first counted step to the last counted reading, without excluded windows",
        fields=("counted_us",),
        basis=Basis.STEPS,
        kinds=COUNTER,
    ),
    Quantity(
        name="amount",
        unit="U",
        meaning="what came together: the increase of a counter, the sum of a delta",
        fields=("points.sum", "increase"),
        basis=Basis.AMOUNT,
        kinds=COUNTER | DELTA,
    ),
    _tally("steps", "counted steps of a counter", "counters.steps", COUNTER),
    _tally("resets", "times a counter began anew", "counters.resets", COUNTER),
    _tally("rollovers", "times a counter passed its modulus", "counters.rollovers", COUNTER),
    _tally("glitches", "readings of a counter that are left out", "counters.glitches", COUNTER),
    _duration("up_s", "time in states of class up", "states.up_us"),
    _duration("down_s", "time in states of class down", "states.down_us"),
    _duration("planned_s", "time in states of class planned", "states.planned_us"),
    _duration("idle_s", "time in states of class idle", "states.idle_us"),
    _duration("unknown_s", "the rest of the period: silence, and states without a class", "unknown_us"),
    _duration(
        "busy_s",
        "planned busy time, as far as known: up, down or idle",
        *(f"states.{c}_us" for c in ("up", "down", "idle")),
    ),
    _event("failures", "changes from up to down", "states.failures"),
    _event(
        "failures_uncertain",
        "changes from up to down with silence between: longer than max hold, or of the metric that tells life",
        "states.failures_uncertain",
    ),
    _event("repairs", "down intervals that ended in the period", "states.repairs"),
    _duration("repaired_s", "whole length of the down intervals that ended in the period", "states.repaired_us"),
    _event("repairs_cut", "among the repairs: those whose begin nobody saw", "states.repairs_cut"),
    _event(
        "repairs_censored",
        "down intervals that ended in silence, at a bad measurement or in an unknown state",
        "states.repairs_censored",
    ),
    _duration("open_down_s", "how long the failure that is open at the end has lasted", "states.open_down_us"),
    Quantity(
        name="time_deviations",
        unit="s2",
        meaning="sum of the squares of (time - mean time)",
        fields=("points.t_m2",),
        basis=Basis.POINTS,
        merge=Merge.NEVER,
        want=Want.TREND,
    ),
    Quantity(
        name="co_deviations",
        unit="U.s",
        meaning="sum of (value - mean) x (time - mean time)",
        fields=("points.t_value",),
        basis=Basis.POINTS,
        merge=Merge.NEVER,
        want=Want.TREND,
    ),
    Quantity(
        name="pairs",
        unit="1",
        meaning="pairs of consecutive measurements at most max hold apart",
        fields=("steps.pairs",),
        basis=Basis.COUNT,
        want=Want.STEPS,
    ),
    Quantity(
        name="moving_range",
        unit="U",
        meaning="sum of |difference| over those pairs",
        fields=("steps.moving_range",),
        basis=Basis.POINTS,
        want=Want.STEPS,
    ),
    _tally("subgroups", "subgroups of at least two measurements, where the metric has some", "subgroups.groups"),
    Quantity(
        name="subgroup_degrees",
        unit="1",
        meaning="measurements in subgroups less one for each subgroup",
        fields=("subgroups.degrees",),
        basis=Basis.COUNT,
    ),
    Quantity(
        name="subgroup_ranges",
        unit="U",
        meaning="sum of (largest - smallest value of a subgroup) / d2 of its size",
        fields=("subgroups.scaled_ranges",),
        basis=Basis.POINTS,
    ),
    _tally("large_subgroups", "subgroups of more than 25 measurements: no d2 is known", "subgroups.too_large"),
    Quantity(
        name="subgroup_deviations",
        unit="U2",
        meaning="sum of the squares of (value - mean of its subgroup)",
        fields=("subgroups.squares",),
        basis=Basis.POINTS,
    ),
    Quantity(
        name="inner_pairs",
        unit="1",
        meaning="among the pairs: those of two measurements in the period",
        fields=("steps.inner_pairs",),
        basis=Basis.COUNT,
        merge=Merge.NEVER,
        want=Want.STEPS,
    ),
    Quantity(
        name="pair_deviations",
        unit="U2",
        meaning="sum of (value - mean) x (value before - mean) over the inner pairs",
        fields=("lagged_products",),
        basis=Basis.POINTS,
        merge=Merge.NEVER,
        want=Want.STEPS,
    ),
)

QUANTITIES: Mapping[str, Quantity] = {one.name: one for one in _QUANTITIES}

# Attributes of a metric that formulas may use: name -> unit.
LIMITS: Mapping[str, str] = {
    "lsl": "U",
    "usl": "U",
    "target": "U",
    "rollover_at": "U",
    "max_rate": "U/s",
    "lateness_s": "s",
}
