"""The result table: units, statuses, reasons, and which KPI is for which kind."""

import numpy as np
import pyarrow as pa
import pytest

from gaugehouse.errors import Refused
from gaugehouse.kpi import CATALOGUE, RESULTS, Status, Want, evaluate, find_wanted
from gaugehouse.kpi.outcome import REASON_TEXTS, Reason
from gaugehouse.measurements.metric import MetricAttributes, MetricKind, StateClass
from unit.kpi.kpi_cases import DAY_S, ORACLE_KPIS, Case, Row, facts_of, readings

HOUR_S = 3_600


def case_of(rows=(), *, edges_s=(0, HOUR_S), now_s=None, commissioned_s=None, retired_s=None, **attributes):
    return Case(rows, MetricAttributes(**attributes), edges_s, now_s, commissioned_s, retired_s)


def answers_of(case, *kpis):
    return evaluate(facts_of([case]), [case.attributes], kpis).to_pylist()


def answer_of(case, kpi):
    return answers_of(case, kpi)[0]


def test_the_catalogue_has_the_promised_kpis_fully_described():
    assert set(ORACLE_KPIS) <= set(CATALOGUE)
    for kpi in CATALOGUE.values():
        assert all((kpi.title, kpi.formula, kpi.source, kpi.edge, kpi.kinds)), kpi.name


def test_every_reason_has_words():
    assert list(REASON_TEXTS) == list(Reason)


def test_rows_are_ordered_by_series_kpi_and_bucket_and_fit_the_schema():
    cases = [case_of(readings(1.0), edges_s=(0, 60, 120)) for _ in range(2)]
    table = evaluate(facts_of(cases), [case.attributes for case in cases], ["mean", "count"])
    assert table.schema == RESULTS
    order = [(row["series"], row["kpi"], row["bucket"]) for row in table.to_pylist()]
    assert order == [(s, kpi, b) for s in (0, 1) for kpi in ("mean", "count") for b in (0, 1)]


def test_no_series_give_an_empty_table():
    facts = facts_of([case_of()])
    empty = evaluate(facts_of([case_of()]), [case_of().attributes], [])
    assert empty.num_rows == 0
    assert facts.points.shape == (1, 1)


@pytest.mark.parametrize(
    ("kpi", "kind", "unit"),
    [
        ("mean", "gauge", "degC"),
        ("std", "gauge", "degC"),
        ("count", "gauge", "1"),
        ("coverage", "gauge", "%"),
        ("total", "delta", "degC"),
        ("rate", "counter", "degC/s"),
        ("counter_increase", "counter", "degC"),
        ("availability", "state", "%"),
        ("downtime", "state", "s"),
    ],
)
def test_a_unit_follows_from_the_metric(kpi, kind, unit):
    assert answer_of(case_of(kind=MetricKind(kind), unit="degC"), kpi)["unit"] == unit


def test_series_keep_their_own_units():
    cases = [case_of(unit=unit) for unit in ("degC", "bar", "degC", "")]
    table = evaluate(facts_of(cases), [case.attributes for case in cases], ["min", "count"])
    assert table["unit"].to_pylist() == ["degC", "1", "bar", "1", "degC", "1", "", "1"]


@pytest.mark.parametrize(
    ("kind", "refused"),
    [
        ("gauge", {"total", "counter_increase", "rate", "availability", "uptime", "downtime", "unknown_time"}),
        ("counter", {"total", "availability", "uptime", "downtime", "unknown_time"}),
        (
            "delta",
            {"time_weighted_mean", "counter_increase", "rate", "availability", "uptime", "downtime", "unknown_time"},
        ),
        ("state", {"total", "counter_increase", "rate"}),
    ],
)
def test_a_kpi_that_is_not_for_a_kind_is_undefined_or_skipped(kind, refused):
    case = case_of(readings(*range(60)), kind=MetricKind(kind))
    facts = facts_of([case])
    asked = evaluate(facts, [case.attributes], ORACLE_KPIS).to_pylist()
    reason = f"not defined for a metric of kind {kind}"
    assert {row["kpi"] for row in asked if row["reason"] == reason} == refused
    assert all(row["value"] is None and row["status"] == "undefined" for row in asked if row["kpi"] in refused)
    skipped = evaluate(facts, [case.attributes], ORACLE_KPIS, skip_inapplicable=True)
    assert set(skipped["kpi"].to_pylist()) == set(ORACLE_KPIS) - refused


def test_an_unknown_kpi_is_refused_by_name():
    with pytest.raises(Refused, match="no KPI is called 'happiness'") as refusal:
        answers_of(case_of(), "mean", "happiness")
    assert refusal.value.code == "unknown_kpi"


def test_a_kpi_asked_twice_is_answered_once():
    assert len(answers_of(case_of(), "mean", "mean")) == 1


def test_quantiles_must_have_been_computed():
    assert find_wanted(["mean", "p95"]) is Want.QUANTILES
    assert find_wanted(["mean"]) is Want.NOTHING
    case = case_of(readings(1.0))
    with pytest.raises(ValueError, match="quantiles were not computed"):
        evaluate(facts_of([case], want=Want.NOTHING), [case.attributes], ["median"])


def test_silence_is_no_data_and_keeps_honest_numbers():
    gauge = {row["kpi"]: row for row in answers_of(case_of(nominal_interval_s=60.0), *ORACLE_KPIS[:16])}
    values = {kpi: row["value"] for kpi, row in gauge.items() if row["value"] is not None}
    assert values == {"count": 0, "completeness": 0, "coverage": 0}
    assert {row["status"] for kpi, row in gauge.items() if kpi != "total"} == {"no_data"}
    assert gauge["mean"]["reason"] == "no measurement in the period"


def test_silence_of_a_state_is_unknown_never_down():
    case = case_of(kind=MetricKind.STATE)
    answers = answers_of(case, "uptime", "downtime", "unknown_time", "availability")
    assert [row["value"] for row in answers] == [0, 0, HOUR_S, None]
    assert {row["status"] for row in answers} == {"no_data"}


def test_only_bad_measurements_are_named():
    answer = answer_of(case_of((Row(0, 5.0, 2), Row(60, None, 2))), "mean")
    assert (answer["status"], answer["reason"]) == ("no_data", "only bad measurements in the period")


def test_one_measurement_has_a_mean_and_a_time_weighted_mean_but_no_std():
    answers = answers_of(case_of(readings(5.0)), "mean", "time_weighted_mean", "std", "change", "range", "p95")
    assert [row["value"] for row in answers] == [5, 5, None, 0, 0, 5]
    assert (answers[2]["status"], answers[2]["reason"]) == (
        "undefined",
        "one measurement is not enough: two are needed",
    )


def test_a_value_is_carried_in_for_at_most_max_hold():
    answer = answer_of(case_of((Row(-60, 7.0),), max_hold_s=300.0), "time_weighted_mean")
    assert (answer["value"], answer["n"], answer["status"]) == (7, 0, "ok")
    assert answer["coverage"] == pytest.approx(240 / HOUR_S)
    assert answer_of(case_of((Row(-300, 7.0),), max_hold_s=300.0), "time_weighted_mean")["status"] == "no_data"


def test_a_bad_row_ends_the_hold_before_it():
    answer = answer_of(case_of((Row(0, 7.0), Row(60, None, 2))), "coverage")
    assert answer["value"] == pytest.approx(100 * 60 / HOUR_S)


def test_completeness_counts_silence_and_never_exceeds_100():
    assert answer_of(case_of(readings(*range(30)), nominal_interval_s=60.0), "completeness")["value"] == 50
    assert answer_of(case_of(readings(*range(90), step_s=30), nominal_interval_s=60.0), "completeness")["value"] == 100


def test_completeness_says_when_the_interval_is_estimated_or_unknown():
    estimated = answer_of(case_of(readings(*range(30))), "completeness")
    assert (estimated["value"], estimated["status"]) == (50, "ok")
    assert "estimated" in estimated["reason"]
    unknown = answer_of(case_of(readings(1, 2, 3)), "completeness")
    assert (unknown["value"], unknown["status"]) == (None, "undefined")
    short = answer_of(case_of(readings(1, 2, 3), nominal_interval_s=7_200.0), "completeness")
    assert (short["status"], short["reason"]) == ("undefined", "the period is shorter than the nominal interval")


def test_a_running_period_ends_now_and_the_future_has_not_begun():
    rows = readings(*[1.0] * 45)
    case = case_of(rows, edges_s=(0, 1_800, HOUR_S, 5_400), now_s=2_700, kind=MetricKind.STATE, max_hold_s=60.0)
    uptime = answers_of(case, "uptime", "availability")
    assert [row["value"] for row in uptime] == [1_800, 900, None, 100, 100, None]
    assert [row["status"] for row in uptime[:3]] == ["ok", "partial", "no_data"]
    assert [row["coverage"] for row in uptime[:3]] == [1, 1, None]
    assert uptime[1]["reason"] == "the period is still running: counted until now"
    assert uptime[2]["reason"] == "the period has not begun"


def test_a_bucket_that_ends_now_is_not_running():
    assert answer_of(case_of(readings(1.0), now_s=HOUR_S), "count")["status"] == "ok"


def test_time_outside_of_the_life_of_a_component_does_not_count():
    case = case_of(
        readings(*[1.0] * 60), commissioned_s=600, retired_s=1_200, edges_s=(0, 300, HOUR_S), max_hold_s=60.0
    )
    before, inside = answers_of(case, "count")
    assert (before["value"], before["status"]) == (None, "no_data")
    assert before["reason"] == "the component was not in service in the period"
    assert (inside["value"], inside["coverage"], inside["status"]) == (10, 1, "ok")


def test_low_coverage_alone_is_not_partial():
    answer = answer_of(case_of(readings(1.0, 2.0), max_hold_s=60.0), "mean")
    assert (answer["status"], answer["reason"]) == ("ok", None)
    assert answer["coverage"] == pytest.approx(120 / HOUR_S)


def test_a_hold_longer_than_the_look_back_may_hide_a_value():
    long_hold = {"max_hold_s": 40.0 * DAY_S}
    assert answer_of(case_of(readings(1.0, at_s=600), **long_hold), "coverage")["status"] == "partial"
    assert answer_of(case_of(readings(1.0, at_s=-600), **long_hold), "coverage")["status"] == "ok"


def test_availability_leaves_planned_idle_and_unknown_time_out():
    classes = {1.0: StateClass.UP, 0.0: StateClass.DOWN, 2.0: StateClass.PLANNED, 3.0: StateClass.IDLE}
    case = case_of(
        readings(1.0, 0.0, 2.0, 3.0, 9.0, step_s=600),
        kind=MetricKind.STATE,
        state_classes=classes,
        max_hold_s=600.0,
    )
    answers = answers_of(case, "availability", "uptime", "downtime", "unknown_time")
    assert [row["value"] for row in answers] == [50, 600, 600, 1_200]


def test_neither_up_nor_down_is_undefined_not_zero():
    answer = answer_of(case_of(readings(9.0), kind=MetricKind.STATE), "availability")
    assert (answer["value"], answer["status"]) == (None, "undefined")
    assert answer["reason"] == "neither up nor down at any known time of the period"


def test_an_overflow_is_undefined_not_infinite():
    answers = answers_of(case_of(readings(1.7e308, -1.7e308, 1.7e308, 1.7e308)), "mean", "std", "range", "max")
    assert [row["status"] for row in answers] == ["undefined", "undefined", "undefined", "ok"]
    assert answers[0]["reason"] == "the result is too large for a 64 bit float"


def test_statuses_are_the_four_of_the_rules():
    assert [status.value for status in Status] == ["ok", "partial", "no_data", "undefined"]


def test_results_are_plain_columns_without_nan():
    case = case_of()
    table = evaluate(facts_of([case]), [case.attributes], ["mean", "coverage"])
    assert table["value"].null_count == 1
    assert not np.isnan(table["value"].drop_null().to_numpy()).any()
    assert table.schema.field("status").type == pa.string()
