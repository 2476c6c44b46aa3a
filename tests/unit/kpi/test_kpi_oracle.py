"""Facts and KPIs against the oracle, over random series of every kind."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaugehouse.kpi import CATALOGUE, evaluate
from gaugehouse.measurements.metric import MetricKind, StateClass
from unit.kpi.kpi_cases import cases, facts_of
from unit.kpi.kpi_oracle import Oracle

KINDS = st.sampled_from(MetricKind)
MANY = settings(max_examples=100)


@given(KINDS.flatmap(cases))
@MANY
def test_every_kpi_agrees_with_the_oracle(case):
    oracle = Oracle(case)
    table = evaluate(facts_of([case]), [case.attributes], list(CATALOGUE), skip_inapplicable=True)
    answers = {(row["kpi"], row["bucket"]): row for row in table.to_pylist()}
    for number, bucket in enumerate(oracle.buckets):
        expected = oracle.results(bucket)
        assert {kpi for kpi, b in answers if b == number} == set(expected)
        for kpi, value in expected.items():
            row = answers[kpi, number]
            # A max hold of three estimated intervals is rounded to whole microseconds.
            assert row["value"] == (None if value is None else pytest.approx(value, rel=1e-9, abs=1e-6)), kpi
            assert row["n"] == len(oracle.inside(bucket))
            assert (row["value"] is None) <= (row["status"] in {"no_data", "undefined"})
            if bucket.length_us:
                share = oracle.covered_us(bucket) / bucket.length_us
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


@given(cases(MetricKind.STATE))
@MANY
def test_state_facts_agree_with_the_oracle_and_add_up_to_the_bucket(case):
    oracle, facts = Oracle(case), facts_of([case])
    for number, bucket in enumerate(oracle.buckets):
        states = facts.states[0, number]
        for name in (StateClass.UP, StateClass.DOWN, StateClass.PLANNED, StateClass.IDLE):
            assert states[f"{name}_us"] == pytest.approx(oracle.class_us(bucket, name), abs=100)
        assert (states["failures"], states["failures_uncertain"]) == oracle.failures(bucket)
        assert 0 <= facts.unknown_us[0, number] <= bucket.length_us
