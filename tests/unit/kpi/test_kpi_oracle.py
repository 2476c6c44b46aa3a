"""Facts and KPIs against the oracle, over random series of every kind."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaugehouse.kpi import CATALOGUE, evaluate
from gaugehouse.measurements.metric import MetricKind, StateClass
from unit.kpi.kpi_cases import MACHINE_KPIS, METRIC_KPIS, cases, facts_of
from unit.kpi.kpi_oracle import Oracle

KINDS = st.sampled_from(MetricKind)
MANY = settings(max_examples=100)


def slack_of(kpi, oracle, bucket):
    """Return how far rounding can move a value: by the size of what is added up, not of what is left of it."""
    size = max([1.0, *(abs(value) for _, value in oracle.points)])
    spread = max([0.0, *(abs(value - oracle.points[0][1]) for _, value in oracle.points)])
    length_s = oracle.length_us(bucket) / 1e6
    if kpi.startswith("integral"):
        return 1e-6 + 1e-12 * size * max(1.0, length_s)
    if kpi == "time_weighted_mean_linear":
        return 1e-9 * size
    if kpi == "trend":
        return 1e-6 + 1e-10 * 86_400 * spread / math.sqrt(oracle.trend(bucket)[0])
    return 1e-6  # a max hold of three estimated intervals is rounded to whole microseconds


def test_every_kpi_of_the_catalogue_has_an_oracle():
    assert sorted([*METRIC_KPIS, *MACHINE_KPIS]) == sorted(CATALOGUE)


@given(KINDS.flatmap(cases))
@MANY
def test_every_kpi_agrees_with_the_oracle(case):
    oracle = Oracle(case)
    table = evaluate(facts_of([case]), [case.attributes], METRIC_KPIS, skip_inapplicable=True)
    answers = {(row["kpi"], row["bucket"]): row for row in table.to_pylist()}
    for number, bucket in enumerate(oracle.buckets):
        expected = oracle.results(bucket)
        assert {kpi for kpi, b in answers if b == number} == set(expected)
        for kpi, value in expected.items():
            row = answers[kpi, number]
            assert (row["value"] is None) == (value is None), (kpi, row, value)
            if value is not None:
                assert row["value"] == pytest.approx(value, rel=1e-9, abs=slack_of(kpi, oracle, bucket)), kpi
            assert row["n"] == len(oracle.inside(bucket))
            assert (row["value"] is None) <= (row["status"] in {"no_data", "undefined"})
            if oracle.length_us(bucket):
                share = oracle.covered_us(bucket) / oracle.length_us(bucket)
                assert row["coverage"] == pytest.approx(share, abs=1e-6)


@given(KINDS.flatmap(cases))
@MANY
def test_point_and_gap_facts_agree_with_the_oracle(case):
    oracle, facts = Oracle(case), facts_of([case])
    assert facts.intervals["nominal_us"][0] == oracle.nominal_us
    assert facts.intervals["estimated"][0] == oracle.estimated
    for number, bucket in enumerate(oracle.buckets):
        inside = oracle.inside(bucket)
        points = facts.points[0, number]
        assert (points["n"], points["bad_n"]) == (len(inside), oracle.bad_n(bucket))
        assert points["head_us"].tolist() == [*(at for at, _ in inside[:3]), 0, 0, 0][:3]
        assert points["tail"].tolist() == [*(value for _, value in inside[-3:]), 0, 0, 0][:3]
        if inside:
            assert (points["first_us"], points["last_us"]) == (inside[0][0], inside[-1][0])
            assert points["min_us"] == min(inside, key=lambda point: point[1])[0]
            assert points["max_us"] == max(inside, key=lambda point: point[1])[0]
        gaps_us = oracle.gaps_us(bucket)
        assert facts.gaps[0, number] == len(gaps_us)
        assert facts.longest_gap_us[0, number] == max(gaps_us, default=0)


@given(cases(MetricKind.COUNTER))
@settings(max_examples=100)
def test_counter_facts_agree_with_the_oracle(case):
    oracle, facts = Oracle(case), facts_of([case])
    for number, bucket in enumerate(oracle.buckets):
        expected = oracle.counter(bucket)
        assert facts.increase[0, number] == pytest.approx(expected.pop("increase"), rel=1e-12, abs=1e-12)
        assert {name: int(facts.counters[0, number][name]) for name in expected} == expected
        if expected["steps"]:
            assert facts.counted_us[0, number] == oracle.counted_us(expected["from_us"], expected["to_us"])


@given(cases(MetricKind.STATE))
@MANY
def test_state_facts_agree_with_the_oracle_and_add_up_to_the_bucket(case):
    oracle, facts = Oracle(case), facts_of([case])
    for number, bucket in enumerate(oracle.buckets):
        states = facts.states[0, number]
        for name in (StateClass.UP, StateClass.DOWN, StateClass.PLANNED, StateClass.IDLE):
            assert states[f"{name}_us"] == pytest.approx(oracle.class_us(bucket, name), abs=100)
        assert (states["failures"], states["failures_uncertain"]) == oracle.failures(bucket)
        assert 0 <= facts.unknown_us[0, number] <= oracle.length_us(bucket)
        assert facts.length_us[0, number] == oracle.length_us(bucket)
        assert {name: int(states[name]) for name in oracle.repairs(bucket)} == oracle.repairs(bucket)


@given(cases(MetricKind.STATE))
@MANY
def test_time_per_state_adds_up_to_the_time_per_class(case):
    facts = facts_of([case])
    classes = list(case.attributes.state_classes.values())
    for name in (StateClass.UP, StateClass.DOWN, StateClass.PLANNED, StateClass.IDLE):
        places = [place for place, one in enumerate(classes) if one is name]
        np.testing.assert_array_equal(facts.state_us[..., places].sum(axis=-1), facts.states[f"{name}_us"])
    np.testing.assert_array_equal(facts.state_us.sum(axis=-1), facts.holds["covered_us"])
    assert facts.state_entries.sum() <= facts.points["n"].sum()


@given(cases(MetricKind.GAUGE))
@MANY
def test_limits_lines_slots_trend_and_pairs_agree_with_the_oracle(case):
    oracle, facts = Oracle(case), facts_of([case])
    for number, bucket in enumerate(oracle.buckets):
        points, holds, steps = (group[0, number] for group in (facts.points, facts.holds, facts.steps))
        outside_n, above_us, below_us = oracle.beyond(bucket)
        assert points["outside_n"] == outside_n
        assert (holds["above_us"], holds["below_us"]) == pytest.approx((above_us, below_us), abs=100)
        area, covered_us = oracle.lines(bucket)
        assert holds["linear_covered_us"] == covered_us
        assert holds["linear_area"] == pytest.approx(area, rel=1e-9, abs=1e-3)
        assert points["slots"] == oracle.slots(bucket)
        t_m2, products = oracle.trend(bucket)
        assert points["t_m2"] == pytest.approx(t_m2, rel=1e-9, abs=1e-6)
        assert points["t_value"] == pytest.approx(products, rel=1e-9, abs=1e-9 * math.sqrt(t_m2 * points["m2"]) + 1e-9)
        pairs = oracle.pairs(bucket)
        assert steps["pairs"] == len(pairs)
        assert steps["moving_range"] == pytest.approx(float(sum(abs(b - a) for b, a in pairs)), rel=1e-12)
        inner = oracle.pairs(bucket, inner=True)
        assert steps["inner_pairs"] == len(inner)
        assert steps["border"] == len(pairs) - len(inner)
        if inner:
            size = float(max(abs(value) for pair in inner for value in pair)) ** 2 * len(inner)
            products = float(oracle.lagged_products(bucket)[0])
            assert facts.lagged_products[0, number] == pytest.approx(products, rel=1e-9, abs=1e-12 * size + 1e-12)


@given(cases(MetricKind.GAUGE))
@MANY
def test_subgroups_agree_with_the_oracle(case):
    oracle, facts = Oracle(case), facts_of([case])
    for number, bucket in enumerate(oracle.buckets):
        groups, degrees, squares, ranges, too_large = oracle.within(bucket)
        found = facts.subgroups[0, number]
        assert (found["groups"], found["degrees"], found["too_large"]) == (groups, degrees, too_large)
        assert found["squares"] == pytest.approx(squares, rel=1e-9, abs=1e-6)
        assert found["scaled_ranges"] == pytest.approx(ranges, rel=1e-12)
