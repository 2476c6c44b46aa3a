"""The catalogue: each KPI is one row that says what it is called, means, rests on and applies to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import reduce
from operator import or_

from gaugehouse.errors import Refused
from gaugehouse.kpi import formulas
from gaugehouse.kpi.facts import Facts, Want
from gaugehouse.kpi.formulas import Outcome
from gaugehouse.measurements.metric import MetricKind

ALL_KINDS = frozenset(MetricKind)
HELD_KINDS = ALL_KINDS - {MetricKind.DELTA}  # an amount per interval does not hold until the next one
COUNTER = frozenset({MetricKind.COUNTER})
DELTA = frozenset({MetricKind.DELTA})
STATE = frozenset({MetricKind.STATE})

DEFINITION = "definition"  # a textbook statistic with no choice in it
GAUGEHOUSE = "Gaugehouse KPI rules"


class UnitRule(StrEnum):
    """How the unit of a KPI follows from the unit of its metric."""

    ONE = "1"
    METRIC = "metric's"
    METRIC_PER_SECOND = "metric's/s"
    PERCENT = "%"
    SECOND = "s"

    def find_unit(self, metric_unit: str) -> str:
        """Return the unit of the result; a metric without a unit gives an empty unit, its rate `1/s`."""
        match self:
            case UnitRule.METRIC:
                return metric_unit
            case UnitRule.METRIC_PER_SECOND:
                return f"{metric_unit or '1'}/s"
            case UnitRule.ONE | UnitRule.PERCENT | UnitRule.SECOND:
                return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Kpi:
    """One KPI.

    Args:
        name: Stable name in requests, columns and templates.
        title: Name for people.
        unit: How the unit follows from the metric's.
        formula: The formula in words, for people.
        source: Standard, paper or product that it follows.
        edge: When it has no value, and what happens at the borders of the period.
        kinds: Metric kinds it is defined for.
        compute: The formula over facts.
        want: Facts it rests on that are computed only where they are wanted.
    """

    name: str
    title: str
    unit: UnitRule
    formula: str
    source: str
    edge: str
    kinds: frozenset[MetricKind]
    compute: Callable[[Facts], Outcome]
    want: Want = Want.NOTHING


_KPIS = (
    Kpi(
        name="count",
        title="Measurements",
        unit=UnitRule.ONE,
        formula="n, measurements that are not bad",
        source=DEFINITION,
        edge="0 with status no_data when n = 0",
        kinds=ALL_KINDS,
        compute=formulas.count,
    ),
    Kpi(
        name="min",
        title="Minimum",
        unit=UnitRule.METRIC,
        formula="smallest value",
        source=DEFINITION,
        edge="null when n = 0",
        kinds=ALL_KINDS,
        compute=formulas.smallest,
    ),
    Kpi(
        name="max",
        title="Maximum",
        unit=UnitRule.METRIC,
        formula="largest value",
        source=DEFINITION,
        edge="null when n = 0",
        kinds=ALL_KINDS,
        compute=formulas.largest,
    ),
    Kpi(
        name="mean",
        title="Mean",
        unit=UnitRule.METRIC,
        formula="sum / n",
        source=DEFINITION,
        edge="null when n = 0; every measurement counts alike, see time_weighted_mean",
        kinds=ALL_KINDS,
        compute=formulas.mean,
    ),
    Kpi(
        name="std",
        title="Standard deviation",
        unit=UnitRule.METRIC,
        formula="sqrt(sum((v - mean)^2) / (n - 1))",
        source=DEFINITION,
        edge="undefined when n < 2",
        kinds=ALL_KINDS,
        compute=formulas.std,
    ),
    Kpi(
        name="median",
        title="Median",
        unit=UnitRule.METRIC,
        formula="quantile 0.50, exact, linear interpolation between ranks",
        source="Hyndman and Fan 1996, type 7",
        edge="null when n = 0",
        kinds=ALL_KINDS,
        compute=formulas.median,
        want=Want.QUANTILES,
    ),
    Kpi(
        name="p05",
        title="5th percentile",
        unit=UnitRule.METRIC,
        formula="quantile 0.05, exact, linear interpolation between ranks",
        source="Hyndman and Fan 1996, type 7",
        edge="null when n = 0",
        kinds=ALL_KINDS,
        compute=formulas.p05,
        want=Want.QUANTILES,
    ),
    Kpi(
        name="p95",
        title="95th percentile",
        unit=UnitRule.METRIC,
        formula="quantile 0.95, exact, linear interpolation between ranks",
        source="Hyndman and Fan 1996, type 7",
        edge="null when n = 0",
        kinds=ALL_KINDS,
        compute=formulas.p95,
        want=Want.QUANTILES,
    ),
    Kpi(
        name="first",
        title="First value",
        unit=UnitRule.METRIC,
        formula="value of the first measurement",
        source=DEFINITION,
        edge="null when n = 0; a value before the start is not carried in",
        kinds=ALL_KINDS,
        compute=formulas.first,
    ),
    Kpi(
        name="last",
        title="Last value",
        unit=UnitRule.METRIC,
        formula="value of the last measurement",
        source=DEFINITION,
        edge="null when n = 0; a value before the start is not carried in",
        kinds=ALL_KINDS,
        compute=formulas.last,
    ),
    Kpi(
        name="change",
        title="Change",
        unit=UnitRule.METRIC,
        formula="last - first",
        source=DEFINITION,
        edge="null when n = 0; 0 when n = 1; for counters see counter_increase",
        kinds=ALL_KINDS,
        compute=formulas.change,
    ),
    Kpi(
        name="range",
        title="Range",
        unit=UnitRule.METRIC,
        formula="max - min",
        source=DEFINITION,
        edge="null when n = 0",
        kinds=ALL_KINDS,
        compute=formulas.spread,
    ),
    Kpi(
        name="total",
        title="Total",
        unit=UnitRule.METRIC,
        formula="sum of the amounts",
        source=DEFINITION,
        edge="null when n = 0; only amounts per interval (delta) may be added up",
        kinds=DELTA,
        compute=formulas.total,
    ),
    Kpi(
        name="time_weighted_mean",
        title="Time-weighted mean",
        unit=UnitRule.METRIC,
        formula="sum(v x hold) / covered time",
        source="TimescaleDB toolkit time_weight (LOCF), with fixed bounds instead of a shortened denominator",
        edge="undefined when nothing is covered; the value before the start is carried in for at most max hold; "
        "one measurement is enough",
        kinds=HELD_KINDS,
        compute=formulas.time_weighted_mean,
    ),
    Kpi(
        name="completeness",
        title="Completeness",
        unit=UnitRule.PERCENT,
        formula="min(1, n / expected), expected = period / nominal interval",
        source=GAUGEHOUSE,
        edge="undefined when expected < 1 or no interval is known; 0 with status no_data for a silent component",
        kinds=ALL_KINDS,
        compute=formulas.completeness,
    ),
    Kpi(
        name="coverage",
        title="Coverage",
        unit=UnitRule.PERCENT,
        formula="covered time / period",
        source="OPC UA Part 13, PercentGood",
        edge="0 with status no_data for a silent component",
        kinds=ALL_KINDS,
        compute=formulas.coverage,
    ),
    Kpi(
        name="counter_increase",
        title="Increase",
        unit=UnitRule.METRIC,
        formula="sum of the steps whose later reading lies in the period; resets, rollovers and glitches told apart",
        source="TimescaleDB toolkit counter_agg, with border steps kept",
        edge="undefined without a step; partial when the reading before the start is missing or older than max hold, "
        "or the last steps are undecided",
        kinds=COUNTER,
        compute=formulas.counter_increase,
    ),
    Kpi(
        name="rate",
        title="Rate",
        unit=UnitRule.METRIC_PER_SECOND,
        formula="increase / (time of the last reading - time of the reading before the first step)",
        source="TimescaleDB toolkit counter_agg, with border steps kept",
        edge="as counter_increase",
        kinds=COUNTER,
        compute=formulas.rate,
    ),
    Kpi(
        name="availability",
        title="Availability",
        unit=UnitRule.PERCENT,
        formula="up / (up + down)",
        source="IEC 60050-192, on known time only",
        edge="undefined when up + down = 0; planned, idle and unknown time is in neither",
        kinds=STATE,
        compute=formulas.availability,
    ),
    Kpi(
        name="uptime",
        title="Up time",
        unit=UnitRule.SECOND,
        formula="time held in states of class up",
        source="IEC 60050-192",
        edge="0 with status no_data for a silent component",
        kinds=STATE,
        compute=formulas.uptime,
    ),
    Kpi(
        name="downtime",
        title="Down time",
        unit=UnitRule.SECOND,
        formula="time held in states of class down",
        source="IEC 60050-192",
        edge="0 with status no_data for a silent component: silence is unknown, never down",
        kinds=STATE,
        compute=formulas.downtime,
    ),
    Kpi(
        name="unknown_time",
        title="Unknown time",
        unit=UnitRule.SECOND,
        formula="period - up - down - planned - idle",
        source=GAUGEHOUSE,
        edge="the whole period with status no_data for a silent component",
        kinds=STATE,
        compute=formulas.unknown_time,
    ),
)

CATALOGUE: dict[str, Kpi] = {kpi.name: kpi for kpi in _KPIS}


def find_unknown_kpis(names: Sequence[str]) -> list[str]:
    """Return the names that the catalogue does not have, in the order given."""
    return [name for name in names if name not in CATALOGUE]


def get_kpis(names: Sequence[str]) -> list[Kpi]:
    """Return the KPIs of these names, each once, in the order given; refuse unknown names."""
    unknown = find_unknown_kpis(names)
    if unknown:
        raise Refused(
            f"no KPI is called {unknown[0]!r}; there are {', '.join(CATALOGUE)}",
            code="unknown_kpi",
            fields={"unknown": unknown},
        )
    return [CATALOGUE[name] for name in dict.fromkeys(names)]


def find_wanted(names: Sequence[str]) -> Want:
    """Return what `compute_facts` must be asked for, for these KPIs."""
    return reduce(or_, (kpi.want for kpi in get_kpis(names)), Want.NOTHING)
