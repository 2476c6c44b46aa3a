"""OEE and its factors against the first oracle: of machines, and of several of them together."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaugehouse.kpi import Owners, evaluate, evaluate_groups
from gaugehouse.measurements.metric import MetricKind, StateClass
from unit.kpi.kpi_cases import (
    COUNTER_VALUES,
    MACHINE_KPIS,
    STATE_VALUES,
    Case,
    attributes_of,
    facts_of,
    rows_of,
    windows,
)
from unit.kpi.kpi_oracle import Oracle

METRICS = ("run", "parts", "good", "scrap")
EDGES_S = (0, 1_800, 3_600)
KIND_OF = {"run": MetricKind.STATE, "parts": MetricKind.COUNTER, "good": MetricKind.COUNTER, "scrap": MetricKind.DELTA}
VALUES_OF = {
    "run": STATE_VALUES,
    "parts": COUNTER_VALUES,
    "good": COUNTER_VALUES,
    "scrap": st.integers(0, 3).map(float),
}


@st.composite
def machines(draw):
    """Draw the metrics of one machine and the attributes that name them; some name too few."""
    excluded_s = draw(windows())
    series = {
        name: Case(
            rows=draw(rows_of(VALUES_OF[name], max_size=15)),
            attributes=replace(draw(attributes_of(KIND_OF[name])), unit="part" if name != "run" else ""),
            edges_s=EDGES_S,
            excluded_s=excluded_s,
        )
        for name in METRICS
    }
    names = {f"{'state' if name == 'run' else name}_metric": name for name in METRICS}
    left_out = draw(st.sampled_from([(), ("good_metric",), ("good_metric", "scrap_metric"), ("parts_metric",)]))
    attributes = {key: name for key, name in names.items() if key not in left_out}
    if draw(st.integers(0, 5)):
        attributes["ideal_cycle_time_s"] = draw(st.sampled_from([1.0, 30.0]))
    return series, attributes


class Machine:
    """What the oracle knows of a machine in one bucket; None: not known."""

    def __init__(self, series, attributes, number):
        oracles = {name: Oracle(case) for name, case in series.items()}
        run = oracles["run"]
        bucket = run.buckets[number]
        self.length_us = run.length_us(bucket)
        self.up_us, down_us, idle_us, self.unknown_us = (
            run.class_us(bucket, one) for one in (StateClass.UP, StateClass.DOWN, StateClass.IDLE, StateClass.UNKNOWN)
        )
        self.busy_us = self.up_us + down_us + idle_us
        self.parts, self.good, scrap = (
            self._count(oracles[name], bucket) if f"{name}_metric" in attributes else None
            for name in ("parts", "good", "scrap")
        )
        if "good_metric" not in attributes:
            self.good = None if None in {self.parts, scrap} else self.parts - scrap
        self.ideal_s = attributes.get("ideal_cycle_time_s")

    @staticmethod
    def _count(oracle, bucket):
        if oracle.case.attributes.kind is MetricKind.DELTA:
            inside = [Fraction(value) for _, value in oracle.inside(bucket)]
            return sum(inside) if inside and oracle.length_us(bucket) else None
        facts = oracle.counter(bucket)
        inside = oracle.inside(bucket) and oracle.length_us(bucket)
        return Fraction(facts["increase"]) if facts["steps"] and inside else None

    def ideal_us(self, parts):
        return None if None in {parts, self.ideal_s} else parts * Fraction(self.ideal_s) * 10**6


def ratio(above, below):
    """Return a share of sums in per cent; of what is not known of any machine there is none."""
    if None in {above, below} or not below:
        return None
    return float(100 * Fraction(above) / Fraction(below))


def expect(machine):
    """Return {kpi: value} of one machine."""
    if not machine.length_us:
        return dict.fromkeys(MACHINE_KPIS)
    factors = {
        "oee_availability": ratio(machine.up_us, machine.busy_us),
        "oee_effectiveness": ratio(machine.ideal_us(machine.parts), machine.up_us),
        "oee_quality": ratio(machine.good, machine.parts),
    }
    oee = ratio(machine.ideal_us(machine.good), machine.busy_us)
    return factors | {
        "oee": None if None in factors.values() else oee,
        "parts": machine.parts,
        "good_parts": machine.good,
        "oee_unknown_share": ratio(machine.unknown_us, machine.length_us),
    }


def check(found, expected):
    for kpi, row in found.items():
        assert (row["value"] is None) == (expected[kpi] is None), (kpi, row, expected)
        if expected[kpi] is not None:
            assert row["value"] == pytest.approx(float(expected[kpi]), rel=1e-9, abs=1e-6), kpi
        assert row["status"] in ({"no_data", "undefined"} if row["value"] is None else {"ok", "partial", "no_data"})


def own(several):
    components = [f"m{number}" for number in range(len(several)) for _ in METRICS]
    attributes = {f"m{number}": named for number, (_, named) in enumerate(several)}
    return Owners(components=components, metrics=list(METRICS) * len(several), attributes=attributes)


@given(machines())
@settings(deadline=None, max_examples=100)
def test_oee_and_its_factors_agree_with_the_oracle(drawn):
    series = list(drawn[0].values())
    facts, attributes = facts_of(series), [one.attributes for one in series]
    table = evaluate(facts, attributes, MACHINE_KPIS, owners=own([drawn]), skip_inapplicable=True).to_pylist()
    for number in range(len(EDGES_S) - 1):
        found = {row["kpi"]: row for row in table if row["bucket"] == number and row["value"] is not None}
        empty = {row["kpi"]: row for row in table if row["bucket"] == number and row["kpi"] not in found}
        machine = Machine(*drawn, number)
        check(empty | found, expect(machine))
        for kpi, row in found.items():
            if kpi.startswith("oee"):
                assert row["coverage"] == pytest.approx(1 - machine.unknown_us / machine.length_us, abs=1e-6)


@given(st.lists(machines(), min_size=2, max_size=3))
@settings(deadline=None, max_examples=50)
def test_oee_of_several_machines_is_a_ratio_of_sums_over_those_that_are_known(several):
    series = [case for drawn in several for case in drawn[0].values()]
    facts, attributes = facts_of(series), [one.attributes for one in series]
    groups = {f"m{number}": "all" for number in range(len(several))}
    kpis = ["oee_availability", "oee_unknown_share"]
    table = evaluate_groups(facts, attributes, kpis, groups, owners=own(several)).to_pylist()
    for number in range(len(EDGES_S) - 1):
        present = [machine for machine in (Machine(*drawn, number) for drawn in several) if machine.length_us]
        sums = {
            name: sum(getattr(one, name) for one in present) for name in ("up_us", "busy_us", "unknown_us", "length_us")
        }
        expected = {
            "oee_availability": ratio(sums["up_us"], sums["busy_us"]),
            "oee_unknown_share": ratio(sums["unknown_us"], sums["length_us"]),
        }
        check({row["kpi"]: row for row in table if row["bucket"] == number}, expected)
