"""KPIs of the catalogue that the older oracles do not know: against the first oracle, and worked by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaugehouse.kpi import CATALOGUE, evaluate
from gaugehouse.measurements.metric import MetricAttributes, MetricKind, StateClass
from unit.kpi.kpi_cases import SECOND_US, Case, Row, cases, facts_of, readings
from unit.kpi.kpi_oracle import Oracle

HOUR_S = 3_600
ONE_SIDED_95 = 2.996
HELD = sorted(set(MetricKind) - {MetricKind.DELTA})
CLASSES = {
    "uptime": StateClass.UP,
    "downtime": StateClass.DOWN,
    "planned_time": StateClass.PLANNED,
    "idle_time": StateClass.IDLE,
    "unknown_time": StateClass.UNKNOWN,
}


def answers_of(case, kpis):
    """Return per bucket {kpi: row}."""
    rows = evaluate(facts_of([case]), [case.attributes], kpis).to_pylist()
    return [{row["kpi"]: row for row in rows if row["bucket"] == b} for b in range(len(case.edges_s) - 1)]


def answer_of(case, kpi):
    return answers_of(case, [kpi])[0][kpi]


def has_time(found):
    """Tell whether any of the bucket lies in the component's life and not in the future."""
    return all(row["coverage"] is not None for row in found.values())


def near(value):
    return None if value is None else pytest.approx(value, rel=1e-9, abs=1e-6)


def test_every_kpi_says_what_it_is():
    for kpi in CATALOGUE.values():
        assert all((kpi.title, kpi.formula, kpi.source, kpi.edge, kpi.kinds)), kpi.name
        assert kpi.definition.version == 0
        assert not kpi.rule.formula.metric_units, kpi.name  # a built-in KPI knows no metric of anybody


@given(st.sampled_from(MetricKind).flatmap(cases))
@settings(deadline=None, max_examples=60)
def test_gaps_and_bad_measurements_are_counted_also_in_silence(case):
    oracle = Oracle(case)
    for bucket, found in zip(oracle.buckets, answers_of(case, ["gap_count", "longest_gap", "bad_count"]), strict=True):
        gaps_us = oracle.gaps_us(bucket)
        expected = {
            "gap_count": len(gaps_us),
            "longest_gap": max(gaps_us, default=0) / SECOND_US,
            "bad_count": oracle.bad_n(bucket),
        }
        if not has_time(found):
            expected = dict.fromkeys(expected)
        assert {kpi: row["value"] for kpi, row in found.items()} == {kpi: near(v) for kpi, v in expected.items()}


@given(st.sampled_from(HELD).flatmap(cases))
@settings(deadline=None, max_examples=60)
def test_an_integral_is_the_mean_times_the_covered_time(case):
    oracle = Oracle(case)
    for bucket, found in zip(oracle.buckets, answers_of(case, ["integral", "integral_hours"]), strict=True):
        covered_s = oracle.covered_us(bucket) / SECOND_US
        area = oracle.time_weighted_mean(bucket) * covered_s if covered_s else None
        scale = max([1.0, *(abs(row.value) for row in case.rows if row.value is not None)]) * max(1.0, covered_s)
        for kpi, per in (("integral", 1), ("integral_hours", HOUR_S)):
            value = found[kpi]["value"]
            assert value == (None if area is None else pytest.approx(area / per, rel=1e-9, abs=1e-9 * scale))


@given(cases(MetricKind.STATE))
@settings(deadline=None, max_examples=80)
def test_states_agree_with_the_oracle(case):
    oracle = Oracle(case)
    kpis = [*CLASSES, "planned_share", "idle_share", "unknown_share", "failures", "failures_uncertain", "mtbf"]
    for bucket, found in zip(oracle.buckets, answers_of(case, kpis), strict=True):
        if not has_time(found):
            assert {row["value"] for row in found.values()} == {None}
            continue
        seconds = {kpi: oracle.class_us(bucket, one) / SECOND_US for kpi, one in CLASSES.items()}
        length_s = sum(seconds.values())
        for kpi, expected in seconds.items():
            assert found[kpi]["value"] == near(expected), kpi
        assert sum(row["value"] for kpi, row in found.items() if kpi in CLASSES) == near(length_s)
        for kpi, part in (
            ("planned_share", "planned_time"),
            ("idle_share", "idle_time"),
            ("unknown_share", "unknown_time"),
        ):
            assert found[kpi]["value"] == near(100 * seconds[part] / length_s), kpi
        certain, uncertain = oracle.failures(bucket)
        assert (found["failures"]["value"], found["failures_uncertain"]["value"]) == (certain, uncertain)
        up_h = seconds["uptime"] / HOUR_S
        mtbf = found["mtbf"]
        assert mtbf["value"] == near(up_h / certain if certain else None)
        if not certain and mtbf["status"] == "undefined":
            words = f"no failure in the period: with 95 % confidence, MTBF is above {up_h / ONE_SIDED_95:,.4g} h"
            assert mtbf["reason"] == words


@given(cases(MetricKind.COUNTER))
@settings(deadline=None, max_examples=60)
def test_counters_agree_with_the_oracle(case):
    oracle = Oracle(case)
    kpis = ["rate", "rate_per_hour", "counter_resets", "counter_glitches"]
    for bucket, found in zip(oracle.buckets, answers_of(case, kpis), strict=True):
        facts = oracle.counter(bucket)
        rate = found["rate"]["value"]
        assert found["rate_per_hour"]["value"] == near(None if rate is None else HOUR_S * rate)
        expected = (facts["resets"], facts["glitches"]) if has_time(found) else (None, None)
        assert (found["counter_resets"]["value"], found["counter_glitches"]["value"]) == expected


def test_a_state_that_was_carried_in_had_no_failure_and_bounds_the_mtbf():
    attributes = MetricAttributes(kind=MetricKind.STATE, max_hold_s=float(2 * HOUR_S))
    found = answers_of(Case((Row(-60, 1.0),), attributes, (0, HOUR_S)), ["failures", "mtbf"])[0]
    assert (found["failures"]["value"], found["failures"]["status"]) == (0, "ok")
    assert found["mtbf"]["reason"] == "no failure in the period: with 95 % confidence, MTBF is above 0.3338 h"


def test_silence_has_no_mtbf_and_no_bound():
    silent = Case((), MetricAttributes(kind=MetricKind.STATE), (0, HOUR_S))
    assert (answer_of(silent, "mtbf")["status"], answer_of(silent, "failures")["value"]) == ("no_data", 0)


# --- Capability -------------------------------------------------------------------------------------------------------

SHAFTS_MM = [19.98, 20.01, 20.0, 19.97, 20.03, 20.02, 19.99, 20.0, 20.01, 19.99]


def shafts(**limits):
    return Case(readings(*SHAFTS_MM), MetricAttributes(unit="mm", **limits), (0, HOUR_S))


def test_pp_and_ppk_are_those_of_the_books():
    mean, std = np.mean(SHAFTS_MM), np.std(SHAFTS_MM, ddof=1)
    case = shafts(lsl=19.9, usl=20.1)
    assert answer_of(case, "pp")["value"] == pytest.approx(0.2 / (6 * std), rel=1e-9)
    assert answer_of(case, "ppk")["value"] == pytest.approx(min(20.1 - mean, mean - 19.9) / (3 * std), rel=1e-9)
    assert answer_of(case, "ppk")["unit"] == "1"


def test_with_one_limit_there_is_that_sides_ppk_and_no_pp():
    mean, std = np.mean(SHAFTS_MM), np.std(SHAFTS_MM, ddof=1)
    for limits, room, missing in (({"usl": 20.1}, 20.1 - mean, "lsl"), ({"lsl": 19.9}, mean - 19.9, "usl")):
        assert answer_of(shafts(**limits), "ppk")["value"] == pytest.approx(room / (3 * std), rel=1e-9)
        assert answer_of(shafts(**limits), "pp")["reason"] == f"{missing} of the metric is not set"
    assert answer_of(shafts(), "ppk")["reason"] == "lsl of the metric is not set"


def test_no_room_and_no_variation_have_no_capability():
    assert answer_of(shafts(lsl=20.1, usl=20.1), "pp")["reason"] == "usl is not above lsl"
    same = Case(readings(1.0, 1.0), MetricAttributes(lsl=0.0, usl=2.0), (0, HOUR_S))
    assert answer_of(same, "pp")["reason"] == "the values do not vary"
    one = Case(readings(1.0), MetricAttributes(lsl=0.0, usl=2.0), (0, HOUR_S))
    assert answer_of(one, "ppk")["reason"] == "one measurement is not enough: two are needed"


def test_the_bound_of_mtbf_is_that_of_the_chi_square_distribution():
    # chi2(0.95; 2) is exponential with mean 2: its 95 % quantile is -2 ln 0.05.
    assert -math.log(0.05) == pytest.approx(ONE_SIDED_95, abs=5e-4)


def test_cp_and_cpk_of_individuals_rest_on_the_mean_moving_range():
    mean, within = np.mean(SHAFTS_MM), np.mean(np.abs(np.diff(SHAFTS_MM))) / 1.128
    case = shafts(lsl=19.9, usl=20.1)
    assert answer_of(case, "std_within")["value"] == pytest.approx(within, rel=1e-9)
    assert answer_of(case, "cp")["value"] == pytest.approx(0.2 / (6 * within), rel=1e-9)
    assert answer_of(case, "cpk")["value"] == pytest.approx(min(20.1 - mean, mean - 19.9) / (3 * within), rel=1e-9)
    assert answer_of(case, "cp")["status"] == "ok"
    assert answer_of(shafts(usl=20.1), "cpk")["value"] == pytest.approx((20.1 - mean) / (3 * within), rel=1e-9)


def test_values_that_follow_one_another_make_cp_partial_but_not_with_subgroups():
    drift = [0.1 * k for k in range(40)]
    case = Case(readings(*drift), MetricAttributes(lsl=-1.0, usl=5.0), (0, HOUR_S))
    assert answer_of(case, "autocorrelation")["value"] > 0.5
    for kpi in ("cp", "cpk"):
        found = answer_of(case, kpi)
        assert (found["status"], found["reason"]) == ("partial", "autocorrelated: use subgroups")
        assert found["value"] is not None
    assert answer_of(case, "pp")["status"] == "ok"
    found = answer_of(replace(case, subgroup=(5, 0)), "cp")
    within = math.sqrt(np.mean([np.var(drift[k : k + 5], ddof=1) for k in range(0, 40, 5)]))
    assert (found["value"], found["status"]) == (pytest.approx(6 / (6 * within), rel=1e-9), "ok")


def test_within_may_be_told_from_ranges_of_subgroups():
    case = replace(shafts(lsl=19.9, usl=20.1), subgroup=(5, 0))
    within = np.mean([np.ptp(SHAFTS_MM[:5]), np.ptp(SHAFTS_MM[5:])]) / 2.326
    mean = np.mean(SHAFTS_MM)
    assert answer_of(case, "std_within_ranges")["value"] == pytest.approx(within, rel=1e-9)
    assert answer_of(case, "cp_ranges")["value"] == pytest.approx(0.2 / (6 * within), rel=1e-9)
    assert answer_of(case, "cpk_ranges")["value"] == pytest.approx(
        min(20.1 - mean, mean - 19.9) / (3 * within), rel=1e-9
    )
    assert (
        answer_of(shafts(usl=20.1), "cpk_ranges")["reason"]
        == "the metric has no subgroups of at least two measurements"
    )
    large = Case(readings(*SHAFTS_MM * 3), case.attributes, (0, HOUR_S), subgroup=(26, 0))
    assert answer_of(large, "std_within_ranges")["reason"].startswith("a subgroup has more than 25 measurements")


def test_mtbf_is_published_by_failures_and_by_failures_plus_one():
    attributes = MetricAttributes(kind=MetricKind.STATE, max_hold_s=float(HOUR_S))
    rows = (Row(0, 1.0), Row(3_600, 0.0), Row(7_200, 1.0))
    found = answers_of(Case(rows, attributes, (0, 3 * HOUR_S)), ["mtbf", "mtbf_fe_plus_1"])[0]
    assert [row["value"] for row in found.values()] == [2, 1]
    never = answer_of(Case(rows[:1], attributes, (0, HOUR_S)), "mtbf_fe_plus_1")
    assert (never["value"], never["status"]) == (1, "ok")


def test_capability_needs_pairs_that_are_close():
    far = Case(readings(1.0, 2.0, step_s=600), MetricAttributes(usl=5.0, max_hold_s=60.0), (0, HOUR_S))
    words = "no two consecutive measurements are at most max hold apart, and no subgroup has two"
    assert answer_of(far, "cpk")["reason"] == words


# --- Trend, limits, slots, lines, repairs -----------------------------------------------------------------------------

POINTS = st.lists(
    st.tuples(st.integers(0, HOUR_S - 1), st.floats(-1e3, 1e3)), min_size=2, max_size=30, unique_by=lambda one: one[0]
)


@given(POINTS)
@settings(deadline=None, max_examples=60)
def test_a_trend_is_that_of_least_squares_per_day(points):
    points.sort()
    case = Case(tuple(Row(at_s, value) for at_s, value in points), MetricAttributes(unit="kW"), (0, HOUR_S))
    found = answers_of(case, ["trend", "trend_r2"])[0]
    times, values = (np.array(column, float) for column in zip(*points, strict=True))
    centred, deviations = times - times.mean(), values - values.mean()
    slope = (centred * deviations).sum() / (centred * centred).sum()
    assert found["trend"]["value"] == pytest.approx(86_400 * slope, rel=1e-6, abs=1e-4)
    assert found["trend"]["unit"] == "kW/d"
    if deviations.std() > 1e-3:
        assert found["trend_r2"]["value"] == pytest.approx(np.corrcoef(times, values)[0, 1] ** 2, abs=1e-6)


def test_one_measurement_has_no_trend():
    found = answers_of(Case(readings(1.0), MetricAttributes(), (0, HOUR_S)), ["trend", "trend_r2"])[0]
    assert found["trend"]["reason"] == "one measurement is not enough: two are needed"
    assert found["trend_r2"]["status"] == "undefined"


def test_time_beyond_limits_counts_known_time_only():
    attributes = MetricAttributes(lsl=0.0, usl=10.0, max_hold_s=60.0)
    case = Case(readings(5.0, 11.0, 12.0, -1.0, 10.0), attributes, (0, HOUR_S))
    kpis = [f"time_{side}{part}" for side in ("above", "below", "outside") for part in ("", "_share")]
    values = {kpi: row["value"] for kpi, row in answers_of(case, kpis)[0].items()}
    assert values == {
        "time_above": 120,
        "time_above_share": 40,
        "time_below": 60,
        "time_below_share": 20,
        "time_outside": 180,
        "time_outside_share": 60,
    }
    one_sided = Case(case.rows, MetricAttributes(usl=10.0, max_hold_s=60.0), case.edges_s)
    assert answer_of(one_sided, "time_outside")["value"] == 120
    assert answer_of(one_sided, "time_below")["reason"] == "lsl of the metric is not set"
    unlimited = Case(case.rows, MetricAttributes(), case.edges_s)
    assert answer_of(unlimited, "time_outside")["reason"] == "usl or lsl of the metric is not set"


def test_a_double_rate_in_one_half_hides_no_silence_in_the_other():
    case = Case(readings(*[1.0] * 60, step_s=30), MetricAttributes(nominal_interval_s=60.0), (0, HOUR_S))
    assert answer_of(case, "completeness")["value"] == 100
    assert answer_of(case, "completeness_slots")["value"] == 50


def test_straight_lines_have_an_area_of_their_own():
    case = Case(readings(0.0, 60.0), MetricAttributes(max_hold_s=60.0), (0, 60))
    found = answers_of(case, ["time_weighted_mean", "time_weighted_mean_linear", "integral_linear"])[0]
    assert [row["value"] for row in found.values()] == [0, 30, 1_800]
    alone = Case(readings(5.0), MetricAttributes(max_hold_s=60.0), (0, 60))
    reason = "no two neighbouring measurements are at most max hold apart"
    assert answer_of(alone, "time_weighted_mean_linear")["reason"] == reason


def test_repairs_count_where_they_end_with_their_whole_length():
    attributes = MetricAttributes(kind=MetricKind.STATE, max_hold_s=600.0)
    rows = (Row(-300, 1.0), Row(-60, 0.0), Row(60, 1.0), Row(600, 0.0), Row(840, 1.0), Row(1_200, 0.0))
    found = answers_of(Case(rows, attributes, (0, 1_500)), ["mttr", "failures"])[0]
    assert found["mttr"]["value"] == pytest.approx((120 + 240) / 2 / HOUR_S)
    assert found["failures"]["value"] == 2
    never = Case((Row(0, 1.0),), attributes, (0, 300))
    assert answer_of(never, "mttr")["reason"] == "no repair ended in the period"
    cut = answer_of(Case((Row(0, 0.0), Row(60, 1.0)), attributes, (30, 300)), "mttr")
    assert (
        cut["reason"]
        == "a repair began before the time that is looked back, or while nothing was known: it took longer"
    )
    assert cut["status"] == "partial"


def test_a_period_that_is_wholly_excluded_says_so():
    case = Case(readings(*[1.0] * 60), MetricAttributes(), (0, 600, HOUR_S), excluded_s=((0, 600),))
    excluded, rest = answers_of(case, ["count", "coverage"])
    assert {(row["value"], row["status"], row["reason"]) for row in excluded.values()} == {
        (None, "no_data", "the whole period is excluded")
    }
    assert (rest["count"]["value"], rest["coverage"]["value"]) == (50, 100)
