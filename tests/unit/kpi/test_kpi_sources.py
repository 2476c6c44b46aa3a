"""KPIs against worked examples that others have published, each with its place; none is computed here first."""

import numpy as np
import pytest

from gaugehouse.kpi import Owners, evaluate, evaluate_groups
from gaugehouse.kpi.kernel import D2
from gaugehouse.measurements.metric import MetricAttributes, MetricKind
from unit.kpi.kpi_cases import Case, Row, facts_of, readings

HOUR_S = 3_600
MINUTE_S = 60


def values_of(case, *kpis):
    """Return {kpi: value} of one bucket."""
    rows = evaluate(facts_of([case]), [case.attributes], kpis).to_pylist()
    return {row["kpi"]: row["value"] for row in rows}


def gauge(values, *, subgroup=(0, 0), **limits):
    rows = readings(*values, step_s=1)
    return Case(rows, MetricAttributes(nominal_interval_s=1.0, **limits), (0, len(rows)), subgroup=subgroup)


# --- Mean, standard deviation, autocorrelation ------------------------------------------------------------------------


def alternate(middle, low, high, pairs=500):
    return [middle, *([low, high] * pairs)]


MICHELSON_ABOVE_299_000_KM_PER_S = """850 740 900 1070 930 850 950 980 980 880 1000 980 930 650 760 810 1000 1000 960 960 960 940 960
940 880 800 850 880 900 840 830 790 810 880 880 830 800 790 760 800 880 880 880 860 720 720 620 860 970 950 880 910 850
870 840 840 850 840 840 840 890 810 810 820 800 770 760 740 750 760 910 920 890 860 880 720 840 850 850 780 890 840 780
810 760 810 790 810 820 850 870 870 810 740 810 940 950 800 810 870"""


# NIST Statistical Reference Datasets, univariate summary statistics: certified mean, standard deviation (n - 1) and
# lag-1 autocorrelation. What a decimal fraction loses as a float bounds the digits that any program can have: NumAcc4
# keeps eight of its deviation.
@pytest.mark.parametrize(
    ("values", "mean", "std", "autocorrelation", "tolerance"),
    [
        pytest.param([10000001.0, 10000003.0, 10000002.0], 10000002.0, 1.0, -0.5, 1e-15, id="NumAcc1"),
        pytest.param(alternate(1.2, 1.1, 1.3), 1.2, 0.1, -0.999, 1e-14, id="NumAcc2"),
        pytest.param(alternate(1000000.2, 1000000.1, 1000000.3), 1000000.2, 0.1, -0.999, 1e-9, id="NumAcc3"),
        pytest.param(alternate(10000000.2, 10000000.1, 10000000.3), 10000000.2, 0.1, -0.999, 1e-8, id="NumAcc4"),
        pytest.param(
            [(299_000 + int(one)) / 1_000 for one in MICHELSON_ABOVE_299_000_KM_PER_S.split()],
            299.8524, 0.0790105478190518, 0.535199668621283, 1e-11, id="Michelso",
        ),
    ],
)  # fmt: skip
def test_univariate_statistics_are_those_certified_by_nist(values, mean, std, autocorrelation, tolerance):
    found = values_of(gauge(values), "mean", "std", "autocorrelation")
    assert found["mean"] == pytest.approx(mean, rel=1e-15)
    assert found["std"] == pytest.approx(std, rel=tolerance)
    assert found["autocorrelation"] == pytest.approx(autocorrelation, rel=tolerance)


# --- Trend ------------------------------------------------------------------------------------------------------------

NORRIS = """.2 .1 337.4 338.8 118.2 118.1 884.6 888.0 10.1 9.2 226.5 228.1 666.3 668.5 996.3 998.5 448.6 449.1 777.0
778.9 558.2 559.2 .4 .3 .6 .1 775.5 778.1 666.9 668.8 338.0 339.3 447.5 448.9 11.6 10.8 556.0 557.7 228.1 228.3 995.8
998.0 887.6 888.8 120.2 119.6 .3 .3 .300001 .6 556.8 557.6 339.1 339.3 887.2 888.0 999.0 998.5 779.0 778.9 11.1 10.2
118.3 117.6 229.2 228.9 669.1 668.4 448.9 449.2 .5 .2"""


def trend_of(pairs):
    rows = tuple(Row(at_s, value) for at_s, value in sorted(pairs))
    found = values_of(Case(rows, MetricAttributes(), (0, HOUR_S)), "trend", "trend_r2")
    return found["trend"] / 86_400, found["trend_r2"]


def test_a_trend_is_the_slope_certified_by_nist():
    """NIST StRD, linear regression, Norris: B1 and R squared. Two of its x are equal; here a microsecond lies between."""
    numbers = [float(one) for one in NORRIS.split()]
    slope, r2 = trend_of(zip(numbers[::2], numbers[1::2], strict=True))
    assert slope == pytest.approx(1.00211681802045, rel=1e-9)
    assert r2 == pytest.approx(0.999993745883712, rel=1e-9)


def test_a_trend_is_that_of_anscombes_quartet():
    """Anscombe 1973, Graphs in Statistical Analysis, The American Statistician 27: slope 0.5, R squared 0.667."""
    x = [10, 8, 13, 9, 11, 14, 6, 4, 12, 7, 5]
    y = [8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68]
    slope, r2 = trend_of(zip(x, y, strict=True))
    assert (slope, r2) == (pytest.approx(0.5, abs=5e-4), pytest.approx(0.667, abs=5e-4))


# --- Capability -------------------------------------------------------------------------------------------------------


def test_capability_is_that_of_the_nist_handbook():
    """NIST/SEMATECH e-Handbook 6.1.6, "What is Process Capability?": USL 20, LSL 8, mean 16, standard deviation 2."""
    found = values_of(gauge([16 - 2**0.5, 16 + 2**0.5], usl=20.0, lsl=8.0), "mean", "std", "pp", "ppk")
    assert (found["mean"], found["std"]) == (pytest.approx(16), pytest.approx(2))
    assert (found["pp"], found["ppk"]) == (pytest.approx(1.0), pytest.approx(0.6667, abs=5e-5))
    upper = values_of(gauge([16 - 2**0.5, 16 + 2**0.5], usl=20.0), "ppk")["ppk"]
    lower = values_of(gauge([16 - 2**0.5, 16 + 2**0.5], lsl=8.0), "ppk")["ppk"]
    assert (upper, lower) == (pytest.approx(0.6667, abs=5e-5), pytest.approx(1.3333, abs=5e-5))


def test_the_deviation_of_individuals_gives_the_limits_of_the_nist_handbook():
    """NIST/SEMATECH e-Handbook 6.3.2.2, "What are Individuals Control Charts?": UCL 55.8041, LCL 45.8159."""
    flow_rates = [49.6, 47.6, 49.9, 51.3, 47.8, 51.2, 52.6, 52.4, 53.6, 52.1]
    found = values_of(gauge(flow_rates), "mean", "std_within")
    assert found["mean"] == pytest.approx(50.81)
    assert found["mean"] + 3 * found["std_within"] == pytest.approx(55.8041, abs=5e-5)
    assert found["mean"] - 3 * found["std_within"] == pytest.approx(45.8159, abs=5e-5)


def test_cp_by_ranges_is_that_of_montgomery():
    """Montgomery, Introduction to Statistical Quality Control, 6th ed., example 6.1 and section 6.2.1 (flow width).

    Subgroups of five wafers, Rbar 0.32521: sigma 0.1398; with limits 1.50 +- 0.50 microns Cp is 1.192.
    """
    wafers = [1.5, 1.5, 1.5, 1.5 - 0.32521 / 2, 1.5 + 0.32521 / 2]
    found = values_of(gauge(wafers * 4, subgroup=(5, 0), usl=2.0, lsl=1.0), "std_within_ranges", "cp_ranges")
    assert found["std_within_ranges"] == pytest.approx(0.1398, abs=5e-5)
    assert found["cp_ranges"] == pytest.approx(1.192, abs=5e-4)


def test_d2_is_the_mean_range_of_normal_values():
    """AIAG SPC 2nd ed., table of constants. The mean range is the integral of 1 - F^n - (1 - F)^n (Tippett 1925)."""
    assert [D2[n] for n in (2, 3, 4, 5, 10, 25)] == [1.128, 1.693, 2.059, 2.326, 3.078, 3.931]
    x = np.linspace(-9, 9, 20_001)
    density = np.exp(-x * x / 2) / np.sqrt(2 * np.pi)
    below = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(x))])
    for n in range(2, len(D2)):
        height = 1 - below**n - (1 - below) ** n
        assert D2[n] == pytest.approx(np.trapezoid(height, x), abs=6e-4)


# --- Dependability ----------------------------------------------------------------------------------------------------

STATE = MetricAttributes(kind=MetricKind.STATE, max_hold_s=1e7)


def test_mtbf_of_several_machines_is_that_of_the_textbooks():
    """Wikipedia, Mean time between failures, section Calculation: failures after 100, 120 and 130 h give 116.667 h."""
    series = [Case((Row(0, 1.0), Row(hours * HOUR_S, 0.0)), STATE, (0, 200 * HOUR_S)) for hours in (100, 120, 130)]
    names = ["m1", "m2", "m3"]
    (row,) = evaluate_groups(
        facts_of(series),
        [STATE] * 3,
        ["mtbf"],
        dict.fromkeys(names, "all"),
        owners=Owners(components=names, metrics=["run"] * 3),
    ).to_pylist()
    assert row["value"] == pytest.approx(116.667, abs=5e-4)


def test_the_bound_without_a_failure_is_that_of_the_nist_handbook():
    """NIST/SEMATECH e-Handbook 8.4.5.1, zero fails: the lower one-sided limit is T / -ln(alpha), T / 2.996 at 95 %."""
    (row,) = evaluate(facts_of([Case((Row(0, 1.0),), STATE, (0, 1_000 * HOUR_S))]), [STATE], ["mtbf"]).to_pylist()
    assert 1_000 / -np.log(0.05) == pytest.approx(333.8, abs=0.05)
    assert row["reason"] == "no failure in the period: with 95 % confidence, MTBF is above 333.8 h"


# --- OEE --------------------------------------------------------------------------------------------------------------


def test_oee_is_that_of_the_published_example():
    """oee.com, "Calculate OEE": 420 min planned, 47 min stopped, ideal cycle 1.0 s, 19,271 parts, 423 rejected."""
    counter = MetricAttributes(kind=MetricKind.COUNTER)
    edges_s = (0, 420 * MINUTE_S)
    series = [
        Case((Row(0, 1.0), Row(373 * MINUTE_S, 0.0)), STATE, edges_s),
        Case((Row(0, 0.0), Row(420 * MINUTE_S - 1, 19_271.0)), counter, edges_s),
        Case((Row(0, 0.0), Row(420 * MINUTE_S - 1, 423.0)), counter, edges_s),
    ]
    named = {"state_metric": "run", "parts_metric": "parts", "scrap_metric": "scrap", "ideal_cycle_time_s": 1.0}
    owners = Owners(components=["m"] * 3, metrics=["run", "parts", "scrap"], attributes={"m": named})
    kpis = ("oee_availability", "oee_effectiveness", "oee_quality", "oee")
    table = evaluate(facts_of(series), [one.attributes for one in series], kpis, owners=owners, skip_inapplicable=True)
    found = {row["kpi"]: round(row["value"], 2) for row in table.to_pylist()}
    assert found == {"oee_availability": 88.81, "oee_effectiveness": 86.11, "oee_quality": 97.80, "oee": 74.79}
