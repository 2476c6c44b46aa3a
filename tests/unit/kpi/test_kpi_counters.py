"""Counters: the vectors of the KPI rules, and what each decision rests on."""

import pytest

from gaugehouse.kpi import evaluate
from gaugehouse.measurements.metric import MetricAttributes, MetricKind
from unit.kpi.kpi_cases import DAY_S, Case, Row, facts_of, readings

END_S = 3_600


def counter(rows, *, edges_s=(0, END_S), now_s=None, **attributes):
    return Case(rows, MetricAttributes(kind=MetricKind.COUNTER, unit="pcs", **attributes), edges_s, now_s=now_s)


def increase_of(case):
    rows = evaluate(facts_of([case]), [case.attributes], ["counter_increase"]).to_pylist()
    return [row["value"] for row in rows]


def result_of(case, kpi="counter_increase"):
    return evaluate(facts_of([case]), [case.attributes], [kpi]).to_pylist()[0]


@pytest.mark.parametrize(
    ("values", "modulus", "increase"),
    [
        ((65534, 65535, 0, 1), 65536, 3),
        ((100, 9999, 101, 102), None, 2),
        ((100, 3, 4, 101), None, 1),
        ((10, 50, 100, 160), None, 150),
        ((100, 120, 5, 8, 9), None, 29),
        ((100, 9999, 9998, 101, 102), None, 2),
        ((5, 5, 5), None, 0),
    ],
)
def test_a_counter_increases_by(values, modulus, increase):
    assert increase_of(counter(readings(*values), rollover_at=modulus)) == [increase]


@pytest.mark.parametrize(
    ("before", "after", "increases"), [((10, 50, 100), (160, 200), [90, 100]), ((90, 100, 3), (101, 102), [10, 2])]
)
def test_border_steps_belong_to_the_later_bucket_and_decisions_look_across(before, after, increases):
    case = counter(readings(*before, *after), edges_s=(0, 60 * len(before), END_S))
    assert increase_of(case) == increases
    assert sum(increases) == increase_of(counter(case.rows))[0]


def test_a_decision_looks_at_points_behind_the_end_of_the_period():
    assert increase_of(counter(readings(90, 100, 3, 101, 102), edges_s=(0, 180))) == [10]
    assert result_of(counter(readings(90, 100, 3, 4, 5), edges_s=(0, 180)))["value"] == 13


def test_what_is_undecided_at_the_newest_point_is_not_counted_and_partial():
    answer = result_of(counter(readings(90, 100, 3)))
    assert (answer["value"], answer["status"]) == (10, "partial")
    assert answer["reason"] == "the last steps cannot be told from a glitch yet and are not counted"


def test_only_undecided_steps_have_no_value():
    answer = result_of(counter(readings(100, 3, 4)))
    assert (answer["value"], answer["status"]) == (None, "undefined")


def test_points_behind_the_end_are_not_counted_themselves():
    assert increase_of(counter(readings(0, 10, 20, 30), edges_s=(0, 120))) == [10]


def test_the_predecessor_is_the_last_point_before_the_start():
    answer = result_of(counter((Row(-60, 40), Row(60, 50))))
    assert (answer["value"], answer["status"]) == (10, "ok")
    assert result_of(counter((Row(-60, 40), Row(60, 50))), "rate")["value"] == pytest.approx(10 / 120)


def test_an_old_predecessor_still_counts_but_makes_the_result_partial():
    answer = result_of(counter((Row(-20 * DAY_S, 40), Row(60, 50)), max_hold_s=300))
    assert (answer["value"], answer["status"]) == (10, "partial")
    assert answer["reason"] == "the reading before the start is older than the max hold"


def test_a_predecessor_older_than_the_look_back_does_not_count():
    answer = result_of(counter((Row(-36 * DAY_S, 40), Row(60, 50), Row(120, 55))))
    assert (answer["value"], answer["status"]) == (5, "partial")
    assert answer["reason"] == "no reading before the start: counted from the first reading inside"


def test_a_first_reading_exactly_at_the_start_misses_nothing():
    assert result_of(counter(readings(1, 2)))["status"] == "ok"


def test_one_reading_makes_no_step():
    answer = result_of(counter(readings(7)))
    assert (answer["value"], answer["status"]) == (None, "undefined")
    assert answer["reason"] == "no step: a counter needs a reading and one before it"


def test_a_step_above_max_rate_is_left_out_and_the_next_one_counts_from_there():
    case = counter(readings(0, 10, 900, 910, 920), max_rate=1.0)
    assert increase_of(case) == [30]
    assert facts_of([case]).counters["glitches"].tolist() == [[1]]


def test_a_bad_reading_is_no_reading():
    rows = (Row(0, 10), Row(60, 0, 2), Row(120, None, 2), Row(180, 12))
    assert increase_of(counter(rows)) == [2]


def test_a_rollover_every_third_reading_is_no_spike():
    assert increase_of(counter(readings(0, 40, 95, 5, 45, 99, 9), rollover_at=100)) == [209]


def test_resets_rollovers_and_glitches_are_counted_in_their_buckets():
    rows = readings(10, 20, 1, 2, 3, 500, 4, 95, 96, 2, 3)
    counters = facts_of([counter(rows, edges_s=(0, 240, END_S), rollover_at=100)]).counters
    assert counters["resets"].tolist() == [[1, 0]]
    assert counters["glitches"].tolist() == [[0, 1]]
    assert counters["rollovers"].tolist() == [[0, 1]]
