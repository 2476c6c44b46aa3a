"""The catalogue: every built-in KPI is one definition in the formula language, for people and for the evaluator."""

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import or_

from gaugehouse.errors import Refused
from gaugehouse.kpi.definition import Definition, Kpi, make_kpis
from gaugehouse.kpi.facts import Want
from gaugehouse.kpi.outcome import Status
from gaugehouse.kpi.quantities import ALL_KINDS, COUNTER, DELTA, HELD_KINDS, STATE
from gaugehouse.kpi.rules import CaveatText
from gaugehouse.measurements.metric import MetricKind

DEFINITION = "definition"  # a textbook statistic with no choice in it
GAUGEHOUSE = "Gaugehouse KPI rules"
QUANTILES = "Hyndman and Fan 1996, type 7"
TIME_WEIGHT = "TimescaleDB toolkit time_weight (LOCF), with fixed bounds instead of a shortened denominator"
LINEAR_WEIGHT = "TimescaleDB toolkit time_weight (linear), with fixed bounds instead of a shortened denominator"
COUNTER_AGG = "TimescaleDB toolkit counter_agg, with border steps kept"
DEPENDABILITY = "IEC 60050-192"
CAPABILITY = "AIAG SPC 2nd edition; ISO 22514-2"
OEE = "ISO 22400-2"

MEASURED = frozenset({MetricKind.GAUGE, MetricKind.DELTA})  # values that scatter about a level
MOVING = frozenset({MetricKind.GAUGE, MetricKind.DELTA, MetricKind.COUNTER})

ONE_IS_NOT_ENOUGH = "one measurement is not enough: two are needed"
NOTHING_HOLDS = "no value holds at any time of the period"
SILENT_ZERO = "0 with status no_data for a silent component"
NO_VARIATION = "the values do not vary"
NO_SUBGROUPS = "the metric has no subgroups of at least two measurements"
# MTBF > 2 T / chi2(0.95; 2 n + 2) with n = 0 failures: chi2(0.95; 2) / 2 = -ln(0.05) = 2.996.
NO_FAILURE = "no failure in the period: with 95 % confidence, MTBF is above {up_s / 2.996}"

NO_ROOM = CaveatText(when="usl <= lsl", status=Status.UNDEFINED, reason="usl is not above lsl")
AUTOCORRELATED = CaveatText(
    when="if(subgroups > 0, 0, autocorrelation) > 0.5", status=Status.PARTIAL, reason="autocorrelated: use subgroups"
)
SHORT = CaveatText(
    when="expected < 1", status=Status.UNDEFINED, reason="the period is shorter than the nominal interval"
)
CUT_REPAIR = CaveatText(
    when="repairs_cut > 0",
    status=Status.PARTIAL,
    reason="a repair began before the time that is looked back, or while nothing was known: it took longer",
)
NO_PAIRS = CaveatText(
    when="inner_pairs < 1",
    status=Status.UNDEFINED,
    reason="no two consecutive measurements of the period are at most max hold apart",
)
LARGE_SUBGROUP = CaveatText(
    when="large_subgroups > 0",
    status=Status.UNDEFINED,
    reason="a subgroup has more than 25 measurements: its range tells little, see std_within",
)

_DEFINITIONS = (
    Definition(
        name="count",
        title="Measurements",
        unit="1",
        formula="n",
        source=DEFINITION,
        edge="0 with status no_data when n = 0; bad and empty measurements do not count",
        kinds=ALL_KINDS,
    ),
    Definition(
        name="min",
        title="Minimum",
        unit="U",
        formula="min",
        source=DEFINITION,
        edge="null when n = 0",
        kinds=ALL_KINDS,
    ),
    Definition(
        name="max",
        title="Maximum",
        unit="U",
        formula="max",
        source=DEFINITION,
        edge="null when n = 0",
        kinds=ALL_KINDS,
    ),
    Definition(
        name="mean",
        title="Mean",
        unit="U",
        formula="sum / n",
        source=DEFINITION,
        edge="null when n = 0; every measurement counts alike, see time_weighted_mean",
        kinds=ALL_KINDS,
    ),
    Definition(
        name="std",
        title="Standard deviation",
        unit="U",
        formula="sqrt(squared_deviations / (n - 1))",
        source=DEFINITION,
        edge="undefined when n < 2",
        kinds=ALL_KINDS,
        zero=ONE_IS_NOT_ENOUGH,
    ),
    Definition(
        name="median",
        title="Median",
        unit="U",
        formula="p50",
        source=QUANTILES,
        edge="null when n = 0; undefined for several components together",
        kinds=ALL_KINDS,
    ),
    Definition(
        name="p05",
        title="5th percentile",
        unit="U",
        formula="p05",
        source=QUANTILES,
        edge="null when n = 0; undefined for several components together",
        kinds=ALL_KINDS,
    ),
    Definition(
        name="p95",
        title="95th percentile",
        unit="U",
        formula="p95",
        source=QUANTILES,
        edge="null when n = 0; undefined for several components together",
        kinds=ALL_KINDS,
    ),
    Definition(
        name="first",
        title="First value",
        unit="U",
        formula="first",
        source=DEFINITION,
        edge="null when n = 0; a value before the start is not carried in",
        kinds=ALL_KINDS,
    ),
    Definition(
        name="last",
        title="Last value",
        unit="U",
        formula="last",
        source=DEFINITION,
        edge="null when n = 0; a value before the start is not carried in",
        kinds=ALL_KINDS,
    ),
    Definition(
        name="change",
        title="Change",
        unit="U",
        formula="last - first",
        source=DEFINITION,
        edge="null when n = 0; 0 when n = 1; for counters see counter_increase",
        kinds=ALL_KINDS,
    ),
    Definition(
        name="range",
        title="Range",
        unit="U",
        formula="max - min",
        source=DEFINITION,
        edge="null when n = 0",
        kinds=ALL_KINDS,
    ),
    Definition(
        name="total",
        title="Total",
        unit="U",
        formula="sum",
        source=DEFINITION,
        edge="null when n = 0; only amounts per interval (delta) may be added up",
        kinds=DELTA,
    ),
    Definition(
        name="time_weighted_mean",
        title="Time-weighted mean",
        unit="U",
        formula="area_locf / covered_s",
        source=TIME_WEIGHT,
        edge="undefined when nothing is covered; the value before the start is carried in for at most max hold; "
        "one measurement is enough",
        kinds=HELD_KINDS,
        zero=NOTHING_HOLDS,
    ),
    Definition(
        name="time_weighted_mean_linear",
        title="Time-weighted mean, linear",
        unit="U",
        formula="area_linear / covered_linear_s",
        source=LINEAR_WEIGHT,
        edge="undefined when no two neighbours are at most max hold apart; a measurement outside is read for the "
        "parts at the borders",
        kinds=HELD_KINDS,
        zero="no two neighbouring measurements are at most max hold apart",
    ),
    Definition(
        name="integral",
        title="Integral over time",
        unit="U.s",
        formula="area_locf",
        source=TIME_WEIGHT,
        edge="null when nothing is covered; uncovered time adds nothing",
        kinds=HELD_KINDS,
    ),
    Definition(
        name="integral_hours",
        title="Integral over time, in hours",
        unit="U.h",
        formula="area_locf",
        source=TIME_WEIGHT,
        edge="as integral; kW give kW.h",
        kinds=HELD_KINDS,
    ),
    Definition(
        name="integral_linear",
        title="Integral over time, linear",
        unit="U.s",
        formula="area_linear",
        source=LINEAR_WEIGHT,
        edge="as integral",
        kinds=HELD_KINDS,
    ),
    Definition(
        name="completeness",
        title="Completeness",
        unit="%",
        formula="sum(least(n, expected)) / sum(expected)",
        source=GAUGEHOUSE,
        edge="undefined when the period is shorter than the nominal interval, or none is known; 0 with status "
        "no_data for a silent component; never above 100 %, and of several components none makes up for "
        "another",
        kinds=ALL_KINDS,
        caveats=(SHORT,),
        higher_is_better=True,
    ),
    Definition(
        name="late",
        title="Late measurements",
        unit="1",
        formula="late_n",
        source=GAUGEHOUSE,
        edge="received later after measured_at than the lateness bound of the metric, or of the project; undefined "
        "without one",
        kinds=ALL_KINDS,
        higher_is_better=False,
    ),
    Definition(
        name="completeness_slots",
        title="Completeness by intervals",
        unit="%",
        formula="sum(least(slots, expected)) / sum(expected)",
        source=GAUGEHOUSE,
        edge="as completeness, but each nominal interval counts once: a double rate in one half cannot hide "
        "silence in the other",
        kinds=ALL_KINDS,
        caveats=(SHORT,),
        higher_is_better=True,
    ),
    Definition(
        name="coverage",
        title="Coverage",
        unit="%",
        formula="covered_s / period_s",
        source="OPC UA Part 13, PercentGood",
        edge=SILENT_ZERO,
        kinds=ALL_KINDS,
        higher_is_better=True,
    ),
    Definition(
        name="gap_count",
        title="Gaps",
        unit="1",
        formula="gaps",
        source=GAUGEHOUSE,
        edge="times without a measurement that are longer than max hold, the edges of the period included; 1 "
        "with status no_data for a silent component",
        kinds=ALL_KINDS,
        higher_is_better=False,
    ),
    Definition(
        name="longest_gap",
        title="Longest gap",
        unit="s",
        formula="longest_gap_s",
        source=GAUGEHOUSE,
        edge="the whole period with status no_data for a silent component; of several components the longest",
        kinds=ALL_KINDS,
        higher_is_better=False,
    ),
    Definition(
        name="bad_count",
        title="Bad measurements",
        unit="1",
        formula="bad_n",
        source=GAUGEHOUSE,
        edge=SILENT_ZERO,
        kinds=ALL_KINDS,
        higher_is_better=False,
    ),
    Definition(
        name="counter_increase",
        title="Increase",
        unit="U",
        formula="increase",
        source=COUNTER_AGG,
        edge="sum of the steps whose later reading lies in the period; undefined without a step; partial when "
        "the reading before the start is missing or older than max hold, the last steps are undecided, or more "
        "readings are left out as glitches than steps are counted",
        kinds=COUNTER,
    ),
    Definition(
        name="rate",
        title="Rate",
        unit="U/s",
        formula="increase / counted_s",
        source=COUNTER_AGG,
        edge="as counter_increase; from the reading before the first step to the last one, without excluded windows; "
        "of several components per component",
        kinds=COUNTER,
    ),
    Definition(
        name="rate_per_hour",
        title="Rate per hour",
        unit="U/h",
        formula="increase / counted_s",
        source=COUNTER_AGG,
        edge="as rate",
        kinds=COUNTER,
    ),
    Definition(
        name="counter_resets",
        title="Resets of a counter",
        unit="1",
        formula="resets",
        source=COUNTER_AGG,
        edge=SILENT_ZERO,
        kinds=COUNTER,
    ),
    Definition(
        name="counter_glitches",
        title="Glitches of a counter",
        unit="1",
        formula="glitches",
        source=GAUGEHOUSE,
        edge="readings that are left out; 0 with status no_data for a silent component",
        kinds=COUNTER,
        higher_is_better=False,
    ),
    Definition(
        name="time_above",
        title="Time above the upper limit",
        unit="s",
        formula="above_s",
        source=GAUGEHOUSE,
        edge="undefined without usl; only time in which a value is known counts",
        kinds=HELD_KINDS,
        higher_is_better=False,
    ),
    Definition(
        name="time_above_share",
        title="Share of time above the upper limit",
        unit="%",
        formula="above_s / covered_s",
        source=GAUGEHOUSE,
        edge="undefined without usl; undefined when nothing is covered",
        kinds=HELD_KINDS,
        zero=NOTHING_HOLDS,
        higher_is_better=False,
    ),
    Definition(
        name="time_below",
        title="Time below the lower limit",
        unit="s",
        formula="below_s",
        source=GAUGEHOUSE,
        edge="undefined without lsl; only time in which a value is known counts",
        kinds=HELD_KINDS,
        higher_is_better=False,
    ),
    Definition(
        name="time_below_share",
        title="Share of time below the lower limit",
        unit="%",
        formula="below_s / covered_s",
        source=GAUGEHOUSE,
        edge="undefined without lsl; undefined when nothing is covered",
        kinds=HELD_KINDS,
        zero=NOTHING_HOLDS,
        higher_is_better=False,
    ),
    Definition(
        name="time_outside",
        title="Time beyond a limit",
        unit="s",
        formula="outside_s",
        source=GAUGEHOUSE,
        edge="undefined without any limit; with one limit, beyond that one; only time in which a value is known counts",
        kinds=HELD_KINDS,
        higher_is_better=False,
    ),
    Definition(
        name="time_outside_share",
        title="Share of time beyond a limit",
        unit="%",
        formula="outside_s / covered_s",
        source=GAUGEHOUSE,
        edge="undefined without any limit; with one limit, beyond that one; undefined when nothing is covered",
        kinds=HELD_KINDS,
        zero=NOTHING_HOLDS,
        higher_is_better=False,
    ),
    Definition(
        name="availability",
        title="Availability",
        unit="%",
        formula="up_s / (up_s + down_s)",
        source="IEC 60050-192, on known time only",
        edge="undefined when up + down = 0; planned, idle and unknown time is in neither",
        kinds=STATE,
        zero="neither up nor down at any known time of the period",
        higher_is_better=True,
    ),
    Definition(
        name="uptime",
        title="Up time",
        unit="s",
        formula="up_s",
        source=DEPENDABILITY,
        edge=SILENT_ZERO,
        kinds=STATE,
        higher_is_better=True,
    ),
    Definition(
        name="downtime",
        title="Down time",
        unit="s",
        formula="down_s",
        source=DEPENDABILITY,
        edge="0 with status no_data for a silent component: silence is unknown, never down",
        kinds=STATE,
        higher_is_better=False,
    ),
    Definition(
        name="planned_time",
        title="Planned time",
        unit="s",
        formula="planned_s",
        source=GAUGEHOUSE,
        edge=SILENT_ZERO,
        kinds=STATE,
    ),
    Definition(
        name="planned_share",
        title="Share of planned time",
        unit="%",
        formula="planned_s / period_s",
        source=GAUGEHOUSE,
        edge=SILENT_ZERO,
        kinds=STATE,
    ),
    Definition(
        name="idle_time",
        title="Idle time",
        unit="s",
        formula="idle_s",
        source=GAUGEHOUSE,
        edge="0 with status no_data for a silent component: silence is unknown, never idle",
        kinds=STATE,
    ),
    Definition(
        name="idle_share",
        title="Share of idle time",
        unit="%",
        formula="idle_s / period_s",
        source=GAUGEHOUSE,
        edge="as idle_time",
        kinds=STATE,
    ),
    Definition(
        name="unknown_time",
        title="Unknown time",
        unit="s",
        formula="unknown_s",
        source=GAUGEHOUSE,
        edge="period - up - down - planned - idle; the whole period with status no_data for a silent component",
        kinds=STATE,
        higher_is_better=False,
    ),
    Definition(
        name="unknown_share",
        title="Share of unknown time",
        unit="%",
        formula="unknown_s / period_s",
        source=GAUGEHOUSE,
        edge="as unknown_time",
        kinds=STATE,
        higher_is_better=False,
    ),
    Definition(
        name="failures",
        title="Failures",
        unit="1",
        formula="failures",
        source=DEPENDABILITY,
        edge="changes from up to down whose later measurement lies in the period, with at most max hold between, or "
        "with its alive metric covered all the time between; "
        "0 with status no_data for a silent component",
        kinds=STATE,
        higher_is_better=False,
    ),
    Definition(
        name="failures_uncertain",
        title="Uncertain failures",
        unit="1",
        formula="failures_uncertain",
        source=GAUGEHOUSE,
        edge="as failures, with silence between up and down: longer than max hold, or of the alive metric",
        kinds=STATE,
        higher_is_better=False,
    ),
    Definition(
        name="mtbf",
        title="Mean time between failures",
        unit="h",
        formula="up_s / failures",
        source="IEC 60050-192; ISO 22400-2 divides by failures or failures + 1, depending on the edition: here by "
        "failures",
        edge="undefined without a failure: the reason gives the one-sided 95 % bound, up time / 2.996",
        kinds=STATE,
        zero=NO_FAILURE,
        higher_is_better=True,
    ),
    Definition(
        name="mtbf_fe_plus_1",
        title="Mean time between failures, by failures + 1",
        unit="h",
        formula="up_s / (failures + 1)",
        source="ISO 22400-2, the edition that divides by FE + 1",
        edge="beside mtbf, which divides by failures; without a failure the up time itself",
        kinds=STATE,
        higher_is_better=True,
    ),
    Definition(
        name="mttr",
        title="Mean time to restoration",
        unit="h",
        formula="repaired_s / repairs",
        source=DEPENDABILITY,
        edge="of the down intervals that end in the period, with their part before it, without excluded windows; "
        "partial when nobody saw one begin; one that silence or a bad measurement ends does not count, an open one "
        "counts into down time only",
        kinds=STATE,
        zero="no repair ended in the period",
        caveats=(CUT_REPAIR,),
        higher_is_better=False,
    ),
    Definition(
        name="parts",
        title="Parts made",
        unit="1",
        formula="number(@parts_metric.amount)",
        source=OEE,
        edge="of the metric that the component's attribute parts_metric names, a counter or amounts",
    ),
    Definition(
        name="good_parts",
        title="Good parts made",
        unit="1",
        formula="if(known(@good_metric), number(@good_metric.amount), parts - number(@scrap_metric.amount))",
        source=OEE,
        edge="of the metric that the attribute good_metric names; without it, all parts less those of scrap_metric",
        higher_is_better=True,
    ),
    Definition(
        name="oee_availability",
        title="OEE: availability",
        unit="%",
        formula="sum(@state_metric.up_s) / sum(@state_metric.busy_s)",
        source=OEE,
        edge="running time / planned busy time, as far as known: up, down or idle inside the shifts; planned and "
        "unknown time is in neither, nor what is excluded; the metric is the one that the attribute state_metric names",
        kinds=STATE,
        zero="no planned busy time is known",
        is_planned=True,
        higher_is_better=True,
    ),
    Definition(
        name="oee_effectiveness",
        title="OEE: effectiveness",
        unit="%",
        formula="sum(parts * @ideal_cycle_time_s) / sum(@state_metric.up_s)",
        source=OEE,
        edge="may exceed 100 %: reported, never clipped; then the ideal cycle time is too long",
        kinds=STATE,
        zero="not running at any known time of the period",
        is_planned=True,
        higher_is_better=True,
    ),
    Definition(
        name="oee_quality",
        title="OEE: quality",
        unit="%",
        formula="sum(good_parts) / sum(parts)",
        source=OEE,
        edge="undefined without parts",
        zero="no parts were made",
        is_planned=True,
        higher_is_better=True,
    ),
    Definition(
        name="oee",
        title="Overall equipment effectiveness",
        unit="%",
        formula="oee_effectiveness * oee_availability * "
        "(sum(good_parts * @ideal_cycle_time_s) / sum(parts * @ideal_cycle_time_s))",
        source=OEE,
        edge="of several components the ratio of sums, ideal time of the good parts / planned busy time, never the "
        "mean of ratios; undefined when one of the factors is: an attribute is missing, no busy time is known, nothing "
        "ran, no part was made",
        kinds=STATE,
        zero="no parts were made",
        is_planned=True,
        higher_is_better=True,
    ),
    Definition(
        name="oee_unknown_share",
        title="OEE: unknown share",
        unit="%",
        formula="sum(@state_metric.unknown_s) / sum(@state_metric.period_s)",
        source=GAUGEHOUSE,
        edge="share of the shifts, without what is excluded, whose state is not known: OEE and its factors are about "
        "the rest, which is their coverage",
        kinds=STATE,
        is_planned=True,
        higher_is_better=False,
    ),
    Definition(
        name="std_within",
        title="Standard deviation within",
        unit="U",
        formula="if(subgroups > 0, sqrt(subgroup_deviations / subgroup_degrees), moving_range / pairs / 1.128)",
        source=CAPABILITY,
        edge="pooled over subgroups, where the metric has some; else of individuals: mean moving range / d2, without "
        "pairs across a gap longer than max hold",
        kinds=MEASURED,
        zero="no two consecutive measurements are at most max hold apart, and no subgroup has two",
    ),
    Definition(
        name="std_within_ranges",
        title="Standard deviation within, by ranges",
        unit="U",
        formula="subgroup_ranges / subgroups",
        source=CAPABILITY,
        edge="mean of range / d2 of the subgroups (Rbar / d2 where all are of one size); undefined without subgroups, "
        "or where one has more than 25 measurements",
        kinds=MEASURED,
        zero=NO_SUBGROUPS,
        caveats=(LARGE_SUBGROUP,),
    ),
    Definition(
        name="autocorrelation",
        title="Autocorrelation, lag 1",
        unit="1",
        formula="(pair_deviations / n) / (squared_deviations / n)",
        source="Box, Jenkins and Reinsel 1994, r1 = c1 / c0, without the products of pairs more than max hold apart",
        edge="between -1 and 1; of the measurements of the period alone; undefined without pairs, or when the values "
        "do not vary; undefined for several components together",
        kinds=MEASURED,
        zero=NO_VARIATION,
        caveats=(NO_PAIRS,),
    ),
    Definition(
        name="cp",
        title="Cp",
        unit="1",
        formula="(usl - lsl) / (6 * std_within)",
        source=CAPABILITY,
        edge="undefined without both limits, or when the values do not vary; partial when the autocorrelation, of "
        "several components that of one of them, is above 0.5; see cp_ranges for Rbar / d2",
        kinds=MEASURED,
        zero=NO_VARIATION,
        caveats=(NO_ROOM, AUTOCORRELATED),
        higher_is_better=True,
    ),
    Definition(
        name="cpk",
        title="Cpk",
        unit="1",
        formula="if(known(usl), if(known(lsl), least(usl - mean, mean - lsl), usl - mean), mean - lsl) / (3 * "
        "std_within)",
        source=CAPABILITY,
        edge="as cp; with one limit that side's alone",
        kinds=MEASURED,
        zero=NO_VARIATION,
        caveats=(NO_ROOM, AUTOCORRELATED),
        higher_is_better=True,
    ),
    Definition(
        name="cp_ranges",
        title="Cp, by ranges of subgroups",
        unit="1",
        formula="(usl - lsl) / (6 * std_within_ranges)",
        source=CAPABILITY,
        edge="as cp, with Rbar / d2 of the subgroups instead of their pooled deviation; undefined without subgroups",
        kinds=MEASURED,
        zero=NO_VARIATION,
        caveats=(NO_ROOM,),
        higher_is_better=True,
    ),
    Definition(
        name="cpk_ranges",
        title="Cpk, by ranges of subgroups",
        unit="1",
        formula="if(known(usl), if(known(lsl), least(usl - mean, mean - lsl), usl - mean), mean - lsl) / (3 * "
        "std_within_ranges)",
        source=CAPABILITY,
        edge="as cp_ranges; with one limit that side's alone",
        kinds=MEASURED,
        zero=NO_VARIATION,
        caveats=(NO_ROOM,),
        higher_is_better=True,
    ),
    Definition(
        name="pp",
        title="Pp",
        unit="1",
        formula="(usl - lsl) / (6 * std)",
        source=CAPABILITY,
        edge="undefined without both limits, or when the values do not vary",
        kinds=MEASURED,
        zero=NO_VARIATION,
        caveats=(NO_ROOM,),
        higher_is_better=True,
    ),
    Definition(
        name="ppk",
        title="Ppk",
        unit="1",
        formula="if(known(usl), if(known(lsl), least(usl - mean, mean - lsl), usl - mean), mean - lsl) / (3 * std)",
        source=CAPABILITY,
        edge="as pp; with one limit that side's alone",
        kinds=MEASURED,
        zero=NO_VARIATION,
        caveats=(NO_ROOM,),
        higher_is_better=True,
    ),
    Definition(
        name="trend",
        title="Trend",
        unit="U/d",
        formula="co_deviations / time_deviations",
        source="least squares",
        edge="undefined when n < 2; of several components undefined",
        kinds=MOVING,
        zero=ONE_IS_NOT_ENOUGH,
    ),
    Definition(
        name="trend_r2",
        title="Trend: coefficient of determination",
        unit="1",
        formula="(co_deviations / time_deviations) * (co_deviations / squared_deviations)",
        source="least squares",
        edge="how much of the variation the trend explains; undefined when n < 2 or the values do not vary",
        kinds=MOVING,
        zero=NO_VARIATION,
    ),
)

_KPIS = make_kpis(_DEFINITIONS, metrics={})
CATALOGUE: Mapping[str, Kpi] = {one.name: _KPIS[one.name] for one in _DEFINITIONS}


def find_unknown_kpis(names: Sequence[str], kpis: Mapping[str, Kpi] = CATALOGUE) -> list[str]:
    """Return the names that the catalogue does not have, in the order given."""
    return [name for name in names if name not in kpis]


def get_kpis(names: Sequence[str], kpis: Mapping[str, Kpi] = CATALOGUE) -> list[Kpi]:
    """Return the KPIs of these names, each once, in the order given; refuse unknown names."""
    unknown = find_unknown_kpis(names, kpis)
    if unknown:
        raise Refused(
            f"no KPI is called {unknown[0]!r}; there are {', '.join(kpis)}",
            code="unknown_kpi",
            fields={"unknown": unknown},
        )
    return [kpis[name] for name in dict.fromkeys(names)]


def find_wanted(names: Sequence[str], kpis: Mapping[str, Kpi] = CATALOGUE) -> Want:
    """Return what `compute_facts` must be asked for, for these KPIs."""
    return reduce(or_, (kpi.want for kpi in get_kpis(names, kpis)), Want.NOTHING)
