"""Facts and formulas against the second oracle (kpi_second_oracle.py), and the vectors of the rules, literally."""

import math
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaugehouse.kpi import Want, compute_facts, evaluate, kernel, merge, series_params, warm_up
from gaugehouse.measurements.metric import MetricAttributes, MetricKind, StateClass
from gaugehouse.measurements.selection import EPOCH
from gaugehouse.measurements.series import SeriesRows
from gaugehouse.measurements.windows import merge_windows
from unit.kpi.kpi_cases import METRIC_KPIS, ORACLE_KPIS
from unit.kpi.kpi_second_oracle import DAY_US, SECOND_US, Question, answer

START_US = 20_000 * DAY_US
MINUTE_US = 60 * SECOND_US
VALUES = {
    "gauge": (-1.5, 0.0, 0.1, 2.25, 7.0, 1e9 + 0.125),
    "delta": (0.0, 1.0, 2.5, 9.0),
    "state": (0.0, 1.0, 1.0, 2.0, 3.0, 7.0),
    "counter": (0.0, 1.0, 5.0, 9.0, 10.0, 50.0, 89.0, 90.0, 95.0, 99.0, 100.0, 101.0, 9999.0),
}
CLASSES = ({1.0: "up", 0.0: "down"}, {1.0: "up", 0.0: "down", 2.0: "planned", 3.0: "idle"})
QUANTILE_KPIS = {"median", "p05", "p95"}


@st.composite
def questions(draw, kinds=tuple(VALUES)):
    """Series on a coarse grid, so that rows meet borders, holds end where rows are, and gaps equal max hold."""
    kind = draw(st.sampled_from(kinds))
    grid_us = draw(st.sampled_from((MINUTE_US, MINUTE_US, DAY_US, 1)))
    lengths = draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    edges_us = [START_US + grid_us * sum(lengths[:i]) for i in range(len(lengths) + 1)]
    places = sorted(draw(st.sets(st.integers(-45, sum(lengths) + 6), max_size=30)))
    rows, total = [], 0.0
    for place in places:
        value = draw(st.sampled_from(VALUES[kind]))
        if kind == "counter" and draw(st.integers(0, 3)) > 0:
            value = total + draw(st.sampled_from((0.0, 1.0, 5.0)))
        total = value
        quality = draw(st.sampled_from((0, 0, 0, 0, 0, 1, 2, 2)))
        is_null = quality == 2 and draw(st.booleans())
        rows.append((START_US + place * grid_us, None if is_null else value, quality))
    instants = st.none() | st.integers(-2, 30).map(lambda place: START_US + place * grid_us)
    rate = 20.5 * SECOND_US / grid_us  # between what the values can make: no rounding decides
    return Question(
        rows=rows,
        edges_us=edges_us,
        kind=kind,
        nominal_us=draw(st.sampled_from((None, None, grid_us, 2 * grid_us, 5 * grid_us))),
        max_hold_us=draw(st.sampled_from((None, None, grid_us, 3 * grid_us, 40 * grid_us))),
        rollover_at=draw(st.sampled_from((None, 100.0))) if kind == "counter" else None,
        max_rate=draw(st.sampled_from((None, None, rate))) if kind == "counter" else None,
        classes=draw(st.sampled_from(CLASSES)),
        now_us=draw(instants),
        retired_us=draw(instants),
        commissioned_us=draw(st.none() | st.integers(-2, 10).map(lambda place: START_US + place * grid_us)),
        excluded_us=draw(windows(grid_us)),
        silent_us=draw(windows(grid_us)),
        lsl=draw(st.sampled_from((None, -1.0))),
        usl=draw(st.sampled_from((None, 2.5))),
        subgroup=draw(st.sampled_from(((0, 0), (0, 0), (2, 0), (3, 0), (0, 3 * grid_us)))),
    )


@st.composite
def windows(draw, grid_us):
    """Draw disjoint windows with borders on the grid, mostly none."""
    places = sorted(draw(st.just(()) | st.just(()) | st.sets(st.integers(-20, 30), max_size=4)))
    instants = [START_US + place * grid_us for place in places[: len(places) // 2 * 2]]
    return tuple(zip(instants[::2], instants[1::2], strict=True))


def instant(epoch_us):
    return None if epoch_us is None else EPOCH + timedelta(microseconds=epoch_us)


def describe(question):
    return MetricAttributes(
        kind=MetricKind(question.kind),
        unit="u",
        nominal_interval_s=None if question.nominal_us is None else question.nominal_us / SECOND_US,
        max_hold_s=None if question.max_hold_us is None else question.max_hold_us / SECOND_US,
        rollover_at=question.rollover_at,
        max_rate=question.max_rate,
        lsl=question.lsl,
        usl=question.usl,
        state_classes={value: StateClass(name) for value, name in question.classes.items()},
    )


def rows_of(*questions):
    rows = [row for question in questions for row in question.rows]
    return SeriesRows(
        components=[f"c{i}" for i in range(len(questions))],
        metrics=["m"] * len(questions),
        offsets=np.cumsum([0] + [len(question.rows) for question in questions], dtype=np.int64),
        measured_at_us=np.array([row[0] for row in rows], np.int64),
        value=np.array([math.nan if row[1] is None else row[1] for row in rows], np.float64),
        quality=np.array([row[2] for row in rows], np.uint8),
    )


def facts_of(*questions):
    params = series_params(
        [describe(one) for one in questions],
        retired_at=[instant(one.retired_us) for one in questions],
        commissioned_at=[instant(one.commissioned_us) for one in questions],
        excluded=[merge_windows(one.excluded_us) for one in questions],
        unheld=[merge_windows(one.silent_us) for one in questions],
        subgroups=[one.subgroup for one in questions],
    )
    edges_us = np.array(questions[0].edges_us, np.int64)
    facts = compute_facts(rows_of(*questions), params, edges_us, now_us=questions[0].now_us, want=Want.EVERYTHING)
    return replace(facts, late_n=np.zeros(facts.points.shape, np.int64))


def results_of(question, kpis=tuple(METRIC_KPIS), facts=None):
    """Return the rows of the answer by bucket."""
    table = evaluate(facts or facts_of(question), [describe(question)], kpis)
    buckets = [{} for _ in range(table["bucket"].to_numpy().max() + 1)]
    for row in table.to_pylist():
        buckets[row["bucket"]][row["kpi"]] = row
    return buckets


# Rests on squares, or on products with times: rounding shows more than in sums.
ROUGH = {"std_within", "std_within_ranges", "cp", "cpk", "cp_ranges", "cpk_ranges", "pp", "ppk", "trend_r2"}
LEVELS = {"autocorrelation": 1.0, "trend_r2": 1.0}


def find_slack(kpi, scale, expected, question):
    """Return (relative, absolute) rounding that a KPI may have."""
    length_s = (question.edges_us[-1] - question.edges_us[0]) / SECOND_US
    if kpi.startswith("integral"):
        return 1e-13, 1e-14 * scale * length_s
    if kpi == "trend":
        return 1e-9, 1e-9 * scale * 86_400 / (length_s / 100)
    if kpi == "time_weighted_mean_linear":
        return 1e-13, 1e-14 * scale
    return (1e-9 if kpi in ROUGH else 1e-14), LEVELS.get(kpi, 0) * 1e-9 or 1e-15 * scale


def check(found, expected, scale, question, *, rougher=1.0):
    for kpi, row in found.items():
        assert row["n"] == expected["n"], kpi
        assert (row["coverage"] is None) == (expected["share"] is None), kpi
        if expected["share"] is not None:
            assert row["coverage"] == pytest.approx(float(expected["share"]), rel=1e-15), kpi
        if kpi not in expected["kpis"]:
            assert (row["value"], row["status"]) == (None, "undefined"), kpi
            assert "not defined for a metric of kind" in row["reason"], kpi
            continue
        value, status = expected["kpis"][kpi]
        assert row["status"] == status or (status is None and row["value"] is not None), (kpi, row)
        assert (row["value"] is None) == (value is None), (kpi, row)
        if value is not None:
            relative, absolute = find_slack(kpi, scale, expected, question)
            assert row["value"] == pytest.approx(float(value), rel=rougher * relative, abs=rougher * absolute), kpi
        assert status == "ok" or row["reason"], kpi


@settings(max_examples=200)
@given(questions())
def test_every_kpi_of_every_bucket_equals_the_second_oracle(question):
    scale = max((abs(value) for _, value, _ in question.rows if value is not None), default=1.0)
    for found, expected in zip(results_of(question), answer(question), strict=True):
        check(found, expected, scale, question)


@settings(max_examples=80)
@given(questions())
def test_merged_buckets_equal_the_second_oracle_of_the_whole(question):
    kpis = [name for name in METRIC_KPIS if name not in QUANTILE_KPIS]
    (found,) = results_of(question, kpis, merge(facts_of(question)))
    whole = replace(question, edges_us=[question.edges_us[0], question.edges_us[-1]])
    scale = max((abs(value) for _, value, _ in question.rows if value is not None), default=1.0)
    deviation = found.pop("std")  # merged moments round: a second test of its own
    rough = {kpi: found.pop(kpi) for kpi in [*ROUGH, "autocorrelation", "trend"]}
    check(found, answer(whole)[0], scale, question)
    check(rough, answer(whole)[0], scale, question, rougher=1e4)
    value, status = answer(whole)[0]["kpis"]["std"]
    assert deviation["status"] == status
    assert value is None or deviation["value"] == pytest.approx(value, rel=1e-6, abs=1e-7 * scale)


@settings(max_examples=50)
@given(questions(kinds=("counter",)))
def test_two_points_behind_the_end_are_all_that_a_counter_needs(question):
    """What reports load: everything up to E', and the two points behind it, however far away."""
    end_us = question.edges_us[-1] if question.now_us is None else min(question.edges_us[-1], question.now_us)
    behind = [row for row in question.rows if row[0] >= end_us and row[2] != 2][:2]
    fewer = replace(question, rows=[row for row in question.rows if row[0] < end_us] + behind)
    kpis = ("counter_increase", "rate", "completeness", "coverage", "time_weighted_mean", "count", "last")
    assert results_of(fewer, kpis) == results_of(question, kpis)


# --- The test vectors of the rules ------------------------------------------------------------------------------------


def counter(*values, borders=(), **attributes):
    """One reading per minute from the start on; borders are counts of readings."""
    edges_us = [START_US, *(START_US + border * MINUTE_US for border in borders), START_US + DAY_US]
    rows = [(START_US + i * MINUTE_US, float(value), 0) for i, value in enumerate(values)]
    return Question(rows=rows, edges_us=edges_us, kind="counter", max_hold_us=DAY_US, **attributes)


@pytest.mark.parametrize(
    ("question", "increases"),
    [
        (counter(65534, 65535, 0, 1, rollover_at=65536.0), [3]),
        (counter(100, 9999, 101, 102), [2]),
        (counter(100, 3, 4, 101), [1]),
        (counter(10, 50, 100, 160, 200, borders=(3,)), [90, 100]),
        (counter(10, 50, 100, 160, 200), [190]),
        (counter(90, 100, 3, 101, 102, borders=(3,)), [10, 2]),
        (counter(90, 100, 3, 101, 102), [12]),
    ],
)
def test_the_vectors_of_the_rules_hold_in_kernel_and_oracle(question, increases):
    assert [row["counter_increase"]["value"] for row in results_of(question)] == increases
    assert [bucket["kpis"]["counter_increase"][0] for bucket in answer(question)] == increases


@pytest.mark.parametrize(
    ("values", "increase", "status"),
    [
        ((50, 90, 10, 11, 12), 62, "ok"),  # exactly 0.9 and 0.1 of the modulus
        ((50, 89, 10, 11, 12), 51, "ok"),
        ((50, 90, 11, 12, 13), 53, "ok"),
        ((90, 95, 50, 5), 5, "partial"),  # what follows an open question is open too, were it a rollover by itself
    ],
)
def test_a_rollover_goes_from_nine_tenths_to_one_tenth(values, increase, status):
    question = counter(*values, rollover_at=100.0)
    assert answer(question)[0]["kpis"]["counter_increase"] == (increase, status)
    found = results_of(question)[0]["counter_increase"]
    assert (found["value"], found["status"]) == (increase, status)


@pytest.mark.parametrize(("count", "hold_us"), [(9, DAY_US), (10, 3 * MINUTE_US)])
def test_ten_points_are_enough_for_an_estimate(count, hold_us):
    question = Question(rows=readings(count, MINUTE_US), edges_us=[START_US, START_US + DAY_US])
    assert facts_of(question).intervals["max_hold_us"].tolist() == [hold_us]


def test_one_point_is_enough_for_a_time_weighted_mean():
    question = Question(
        rows=[(START_US + MINUTE_US, 7.0, 0)], edges_us=[START_US, START_US + DAY_US], nominal_us=SECOND_US
    )
    (found,) = results_of(question)
    assert found["time_weighted_mean"]["value"] == 7.0
    assert found["std"]["status"] == "undefined"


def test_units_follow_from_the_metric():
    (found,) = results_of(counter(1, 2), ORACLE_KPIS)
    metric = ("min", "max", "mean", "std", "median", "p05", "p95", "first", "last", "change", "range", "total")
    expected = dict.fromkeys((*metric, "time_weighted_mean", "counter_increase"), "u")
    expected |= {"count": "1", "completeness": "%", "coverage": "%", "availability": "%", "rate": "u/s"}
    expected |= dict.fromkeys(("uptime", "downtime", "unknown_time"), "s")
    assert {kpi: row["unit"] for kpi, row in found.items()} == expected


# --- What the comparison with the second oracle, and reading the kernel, brought to light -------------------------------


def readings(count, step_us, first_us=START_US):
    return [(first_us + i * step_us, 1.0, 0) for i in range(count)]


def test_the_nominal_interval_is_estimated_from_the_life_of_the_component_alone():
    rows = readings(20, MINUTE_US) + readings(40, SECOND_US, START_US + 20 * MINUTE_US)
    question = Question(rows=rows, edges_us=[START_US, START_US + DAY_US], retired_us=START_US + 20 * MINUTE_US)
    (found,) = results_of(question)
    assert found["completeness"]["value"] == 100.0
    assert found["coverage"]["value"] == 100.0


@pytest.mark.parametrize("nominal_s", [1e13, 1e18, 1e300, 1.7e308])
def test_a_nominal_interval_of_ages_holds_for_ever_instead_of_never(nominal_s):
    question = Question(rows=readings(1, 1), edges_us=[START_US, START_US + DAY_US], nominal_us=nominal_s * 1e6)
    attributes = replace(describe(question), nominal_interval_s=nominal_s)
    facts = compute_facts(rows_of(question), series_params([attributes]), np.array(question.edges_us))
    assert facts.holds["covered_us"].tolist() == [[DAY_US]]


@pytest.mark.parametrize("nominal_s", [4.1, 8.3, 16.1, 32.3, 0.3])
def test_an_interval_with_a_fraction_is_whole_microseconds(nominal_s):
    nominal_us = round(nominal_s * SECOND_US)
    rows = [(START_US, 1.0, 0), (START_US + 3 * nominal_us, 1.0, 0)]
    question = Question(rows=rows, edges_us=[START_US, START_US + nominal_us, START_US + 3 * nominal_us])
    attributes = replace(describe(question), nominal_interval_s=nominal_s)
    facts = compute_facts(rows_of(question), series_params([attributes]), np.array(question.edges_us))
    assert facts.holds["covered_us"].tolist() == [[nominal_us, 2 * nominal_us]]
    table = evaluate(facts, [attributes], ["completeness"])
    assert table["value"].to_pylist() == [100.0, 0.0]
    assert table["status"].to_pylist() == ["ok", "no_data"]


def test_the_shortest_max_hold_is_a_hold_and_not_the_default():
    params = series_params([MetricAttributes(max_hold_s=1e-9, nominal_interval_s=1e-9)])
    question = Question(rows=readings(1, 1), edges_us=[START_US, START_US + DAY_US])
    facts = compute_facts(rows_of(question), params, np.array(question.edges_us))
    assert facts.holds["covered_us"].tolist() == [[1]]


def test_results_that_rest_on_an_estimated_max_hold_say_so():
    question = Question(rows=readings(20, MINUTE_US), edges_us=[START_US, START_US + DAY_US])
    words = "the nominal interval is not set: estimated from the data"
    kpis = ("completeness", "coverage", "time_weighted_mean")
    (found,) = results_of(question, kpis)
    assert {(row["status"], row["reason"]) for row in found.values()} == {("ok", words)}
    (found,) = results_of(replace(question, max_hold_us=MINUTE_US), kpis)
    assert [row["reason"] for row in found.values()] == [words, None, None]


def test_rows_that_may_not_be_written_need_no_second_compilation():
    warm_up()
    before = len(kernel.fill_series.signatures), len(kernel.fill_quantiles.signatures)
    question = counter(1, 2, 3)
    rows = rows_of(question)
    for column in (rows.offsets, rows.measured_at_us, rows.value, rows.quality):
        column.flags.writeable = False
    facts = compute_facts(
        rows, series_params([describe(question)]), np.array(question.edges_us, np.int64), want=Want.EVERYTHING
    )
    assert facts.increase.tolist() == [[2.0]]
    assert (len(kernel.fill_series.signatures), len(kernel.fill_quantiles.signatures)) == before
