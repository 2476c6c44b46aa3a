"""What nobody saw: silence, bad rows and excluded windows in failures, repairs and rates."""

import numpy as np
import pytest

from gaugehouse.kpi import evaluate, find_held, series_params
from gaugehouse.measurements.metric import MetricAttributes, MetricKind, StateClass
from gaugehouse.measurements.windows import merge_windows
from unit.kpi.kpi_cases import DAY_S, Case, Row, facts_of, pack, readings, to_us

HOUR_S = 3_600
ON_CHANGE = MetricAttributes(kind=MetricKind.STATE, alive_metric="beat")


def answers_of(case, *kpis):
    """Return {kpi: row} of the first bucket."""
    rows = evaluate(facts_of([case]), [case.attributes], kpis).to_pylist()
    return {row["kpi"]: row for row in rows if row["bucket"] == 0}


def values_of(case, *kpis):
    return {kpi: row["value"] for kpi, row in answers_of(case, *kpis).items()}


# --- A metric that reports on change, and the silence of its device ---------------------------------------------------


def test_a_failure_across_silence_of_the_alive_metric_is_uncertain():
    rows = (Row(0, 1.0), Row(6 * DAY_S, 0.0), Row(7 * DAY_S, 1.0))
    case = Case(rows, ON_CHANGE, (0, 10 * DAY_S), unheld_s=((HOUR_S, 6 * DAY_S),))
    found = answers_of(case, "failures", "failures_uncertain", "mtbf")
    assert (found["failures"]["value"], found["failures_uncertain"]["value"]) == (0, 1)
    assert found["mtbf"]["status"] == "undefined"


def test_a_failure_after_days_without_a_change_is_certain_while_the_device_is_alive():
    case = Case((Row(0, 1.0), Row(6 * DAY_S, 0.0)), ON_CHANGE, (0, 10 * DAY_S))
    assert values_of(case, "failures", "failures_uncertain") == {"failures": 1, "failures_uncertain": 0}


def test_silence_of_the_alive_metric_censors_a_repair():
    rows = (Row(0, 1.0), Row(600, 0.0), Row(7 * DAY_S, 1.0))
    case = Case(rows, ON_CHANGE, (0, 10 * DAY_S), unheld_s=((HOUR_S, 7 * DAY_S - 8_640),))
    found = answers_of(case, "mttr", "downtime")
    assert (found["mttr"]["value"], found["mttr"]["reason"]) == (None, "no repair ended in the period")
    assert found["downtime"]["value"] == HOUR_S - 600 + 8_640
    assert facts_of([case]).states["repairs_censored"].tolist() == [[1]]


def test_a_failure_that_the_device_fell_silent_over_is_not_open():
    case = Case((Row(0, 0.0),), ON_CHANGE, (0, DAY_S), unheld_s=((HOUR_S, 2 * HOUR_S),))
    assert facts_of([case]).states["open_down_us"].tolist() == [[0]]
    assert facts_of([Case(case.rows, ON_CHANGE, case.edges_s)]).states["open_down_us"].tolist() == [[DAY_S * 10**6]]


def test_nothing_is_held_while_the_device_is_silent():
    silent = merge_windows([(to_us(600), to_us(1_200))])
    params = series_params([ON_CHANGE], unheld=[silent])
    edges_us = np.array([to_us(0), to_us(HOUR_S)])
    held = find_held(pack([(Row(0, 1.0), Row(1_800, 0.0))]), params, edges_us, 0, classes=[StateClass.UP])
    spans = zip(held.starts_us.tolist(), held.ends_us.tolist(), strict=True)
    assert list(spans) == [(to_us(0), to_us(600)), (to_us(1_200), to_us(1_800))]


# --- Bad rows ---------------------------------------------------------------------------------------------------------


def test_a_bad_row_closes_a_down_interval_as_censored():
    rows = (Row(0, 1.0), Row(60, 0.0), Row(120, 0.0, 2), Row(3_000, 1.0))
    case = Case(rows, MetricAttributes(kind=MetricKind.STATE, max_hold_s=3_600.0), (0, HOUR_S))
    found = values_of(case, "downtime", "mttr", "unknown_time", "failures")
    assert found == {"downtime": 60, "mttr": None, "unknown_time": 2_880, "failures": 1}


def test_an_interval_that_begins_behind_a_bad_row_may_be_longer():
    rows = (Row(0, 1.0), Row(60, 0.0), Row(120, 0.0, 2), Row(180, 0.0), Row(240, 1.0))
    case = Case(rows, MetricAttributes(kind=MetricKind.STATE, max_hold_s=3_600.0), (0, HOUR_S))
    found = answers_of(case, "mttr")["mttr"]
    assert (found["value"], found["status"]) == (60 / HOUR_S, "partial")
    assert found["reason"].endswith("while nothing was known: it took longer")


# --- Excluded windows -------------------------------------------------------------------------------------------------


def test_an_excluded_window_is_taken_out_of_a_repair_and_does_not_part_it():
    rows = (Row(0, 1.0), Row(600, 0.0), Row(1_200, 0.0), Row(1_800, 0.0), Row(2_400, 1.0))
    attributes = MetricAttributes(kind=MetricKind.STATE, max_hold_s=700.0)
    case = Case(rows, attributes, (0, HOUR_S), excluded_s=((900, 1_500),))
    found = answers_of(case, "mttr")["mttr"]
    assert (found["value"], found["status"]) == (pytest.approx(1_200 / HOUR_S), "ok")


def test_a_rate_is_over_the_time_that_counts():
    attributes = MetricAttributes(kind=MetricKind.COUNTER, nominal_interval_s=60.0)
    rows = readings(*(60.0 * k for k in range(62)), at_s=-60)
    case = Case(rows, attributes, (0, HOUR_S), excluded_s=((900, 2_700),))
    assert values_of(case, "counter_increase", "rate", "rate_per_hour") == {
        "counter_increase": 1_800,
        "rate": 1,
        "rate_per_hour": 3_600,
    }


def test_a_step_that_lies_in_excluded_time_alone_has_no_rate():
    attributes = MetricAttributes(kind=MetricKind.COUNTER, nominal_interval_s=60.0)
    case = Case((Row(0, 0.0), Row(600, 5.0)), attributes, (0, HOUR_S), excluded_s=((0, 600),))
    assert values_of(case, "counter_increase", "rate") == {"counter_increase": 5, "rate": None}


# --- Counters that reset more often than can be told ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ((0, 500, 1_000, 0, 500, 1_000, 0, 500, 1_000, 1_200), "partial"),
        ((0, 7, 0, 7, 0, 7, 0), "partial"),
        ((100, 9_999, 101, 102), "ok"),
        ((5, 5, 5, 0, 5, 5), "ok"),
        ((0, 1, 2, 0, 3, 4, 5, 6, 0, 7, 8), "ok"),
    ],
)
def test_more_glitches_than_steps_make_an_increase_partial(values, status):
    attributes = MetricAttributes(kind=MetricKind.COUNTER, nominal_interval_s=60.0)
    found = answers_of(Case(readings(*map(float, values)), attributes, (0, HOUR_S)), "counter_increase", "rate")
    assert {row["status"] for row in found.values()} == {status}
    if status == "partial":
        assert found["rate"]["reason"].startswith("more readings were left out as glitches than steps were counted")


# --- Autocorrelation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (readings(1.0, 2.0, 3.0), 0.0),
        (readings(1.0, 2.0, 3.0, 4.0, 5.0), 0.4),
        # Two close pairs among gaps: only they have products, all have a share in the variance.
        (
            tuple(Row(at_s, v) for at_s, v in [(0, 0.0), (2_000, 10.0), (2_060, 10.0), (4_000, -10.0), (4_060, -10.0)]),
            0.5,
        ),
        # The pair over the border is none of the period.
        ((Row(-60, -100.0), Row(0, 0.0), Row(60, 2.0)), -0.5),
    ],
)
def test_autocorrelation_is_c1_by_c0(rows, expected):
    case = Case(rows, MetricAttributes(nominal_interval_s=60.0), (0, 2 * HOUR_S))
    assert answers_of(case, "autocorrelation")["autocorrelation"]["value"] == pytest.approx(expected, abs=1e-15)


def test_without_a_close_pair_there_is_no_autocorrelation():
    case = Case(readings(1.0, 2.0, step_s=600), MetricAttributes(nominal_interval_s=60.0), (0, HOUR_S))
    found = answers_of(case, "autocorrelation")["autocorrelation"]
    assert found["reason"] == "no two consecutive measurements of the period are at most max hold apart"
