"""Several components as one: facts are merged, then the formula is applied; silence and differences are told."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaugehouse.kpi import (
    GROUP_RESULTS,
    Definition,
    Owners,
    evaluate,
    evaluate_groups,
    kernel,
    make_kpis,
    rank,
    warm_up,
)
from gaugehouse.kpi.catalogue import CATALOGUE
from gaugehouse.measurements.metric import MetricAttributes, MetricKind
from unit.kpi.kpi_cases import METRIC_KPIS, Case, Row, attributes_of, cases, facts_of, readings

HOUR_S = 3_600
STATE = MetricAttributes(kind=MetricKind.STATE, max_hold_s=60.0)


def together(series, *kpis, owners=None, group_of=None, catalogue=CATALOGUE):
    """Return {(metric, kpi): row} of all components as one group, one bucket."""
    owners = owners or Owners(components=[f"c{k}" for k in range(len(series))], metrics=["m"] * len(series))
    groups = group_of or dict.fromkeys(owners.components, "all")
    facts = facts_of(series)
    table = evaluate_groups(facts, [one.attributes for one in series], kpis, groups, owners=owners, catalogue=catalogue)
    assert table.schema == GROUP_RESULTS
    return {(row["metric"], row["kpi"]): row for row in table.to_pylist()}


def state(*values, **changes):
    return Case(readings(*values), replace(STATE, **changes), (0, HOUR_S))


def gauge(*values, **attributes):
    return Case(readings(*values), MetricAttributes(**attributes), (0, HOUR_S))


def test_a_share_is_a_ratio_of_sums():
    busy, rare = state(*[1.0] * 30, *[0.0] * 10), state(0.0)
    found = together([busy, rare], "availability", "uptime", "mtbf")
    assert found["m", "availability"]["value"] == pytest.approx(100 * 30 / 41)
    assert found["m", "uptime"]["value"] == 1_800
    assert found["m", "mtbf"]["value"] == pytest.approx(0.5)
    assert {row["components"] for row in found.values()} == {2}


@given(st.lists(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=12), min_size=1, max_size=5))
@settings(deadline=None, max_examples=60)
def test_moments_of_a_group_are_those_of_all_its_points(drawn):
    found = together([gauge(*values) for values in drawn], "count", "mean", "std", "min", "max", "range")
    values = [value for one in drawn for value in one]
    assert found["m", "count"]["value"] == found["m", "count"]["n"] == len(values)
    assert found["m", "mean"]["value"] == pytest.approx(math.fsum(values) / len(values), rel=1e-9, abs=1e-9)
    assert (found["m", "min"]["value"], found["m", "max"]["value"]) == (min(values), max(values))
    if len(values) > 1:
        assert found["m", "std"]["value"] == pytest.approx(np.std(values, ddof=1), rel=1e-9, abs=1e-6)
    else:
        assert found["m", "std"]["reason"] == "one measurement is not enough: two are needed"


@given(st.sampled_from(MetricKind).flatmap(cases))
@settings(deadline=None, max_examples=60)
def test_a_group_of_one_is_its_component(case):
    facts = facts_of([case])
    owners = Owners(components=["c"], metrics=["m"])
    never = {"median", "p05", "p95", "first", "last", "change", "autocorrelation", "trend", "trend_r2"}
    kpis = [name for name in METRIC_KPIS if name not in never]
    alone = evaluate(facts, [case.attributes], kpis, owners=owners, skip_inapplicable=True).to_pylist()
    grouped = evaluate_groups(facts, [case.attributes], kpis, {"c": "all"}, owners=owners).to_pylist()
    names = ("kpi", "bucket", "value", "unit", "coverage", "n", "status", "reason")
    assert [{name: row[name] for name in names} for row in grouped] == [
        {name: row[name] for name in names} for row in alone
    ]


def test_a_silent_component_stays_in_the_denominator_and_is_told():
    heard = gauge(*[1.0] * 60, nominal_interval_s=60.0, max_hold_s=60.0)
    silent = replace(heard, rows=())
    found = together([heard, silent, silent], "completeness", "coverage", "mean")
    assert found["m", "completeness"]["value"] == pytest.approx(100 / 3)
    assert found["m", "coverage"]["value"] == pytest.approx(100 / 3)
    assert found["m", "coverage"]["coverage"] == pytest.approx(1 / 3)
    assert found["m", "mean"]["value"] == 1
    for row in found.values():
        assert row["status"] == "partial"
        assert row["reason"] == "2 of 3 components are missing: no measurement in the period"
    found = together([silent, silent], "completeness", "mean")
    assert [row["status"] for row in found.values()] == ["no_data", "no_data"]
    assert [row["value"] for row in found.values()] == [0, None]


def test_a_double_rate_of_one_component_does_not_make_up_for_another():
    often = gauge(*[1.0] * 60, nominal_interval_s=120.0)
    never = replace(often, rows=())
    assert together([often, never], "completeness")["m", "completeness"]["value"] == 50


def test_a_component_outside_of_its_life_is_no_part_of_the_group():
    now = state(*[1.0] * 60)
    gone = replace(now, retired_s=0)
    found = together([now, gone], "availability", "unknown_time")
    assert {(row["status"], row["reason"]) for row in found.values()} == {("ok", None)}
    found = together([gone], "availability")
    assert found["m", "availability"]["reason"] == "the component was not in service in the period"


def test_what_cannot_be_told_of_several_components_is_undefined():
    found = together([gauge(1.0, 2.0), gauge(3.0)], "median", "first", "mean")
    assert found["m", "median"]["reason"] == "quantiles of several components cannot be told from those of each"
    assert found["m", "first"]["reason"] == "has no meaning over several components"
    assert found["m", "mean"]["value"] == 2


def test_limits_that_differ_are_told():
    kpi = Definition(name="room", title="Room", unit="U", formula="usl - max")
    asked = {"catalogue": make_kpis([kpi])}
    assert together([gauge(1.0, usl=5.0), gauge(3.0, usl=5.0)], "room", **asked)["m", "room"]["value"] == 2
    found = together([gauge(1.0, usl=5.0), gauge(3.0, usl=6.0)], "room", **asked)
    assert found["m", "room"]["reason"] == "usl differs between the components of the group"
    found = together([gauge(1.0, usl=5.0), gauge(3.0)], "room", **asked)
    assert found["m", "room"]["reason"] == "usl of the metric is not set"


def test_different_units_are_not_added_up():
    found = together([gauge(1.0, unit="kW"), gauge(3.0, unit="W")], "mean", "count", "coverage")
    assert found["m", "mean"]["reason"] == "the components of the group have different units"
    assert found["m", "count"]["value"] == 2
    assert found["m", "coverage"]["status"] == "ok"


def test_groups_and_metrics_have_rows_of_their_own_in_order():
    series = [gauge(1.0), gauge(2.0), gauge(3.0), gauge(4.0)]
    owners = Owners(components=["a", "b", "b", "c"], metrics=["heat", "cold", "heat", "heat"])
    table = evaluate_groups(
        facts_of(series),
        [one.attributes for one in series],
        ["mean", "count"],
        {"a": "line 2", "b": "line 1"},
        owners=owners,
    )
    assert [(row["group"], row["metric"], row["kpi"], row["value"]) for row in table.to_pylist()] == [
        ("line 1", "cold", "mean", 2),
        ("line 1", "cold", "count", 1),
        ("line 1", "heat", "mean", 3),
        ("line 1", "heat", "count", 1),
        ("line 2", "heat", "mean", 1),
        ("line 2", "heat", "count", 1),
    ]


def test_sums_and_means_over_components_are_said_in_the_formula():
    definitions = [
        Definition(name="mean_of_means", title="-", unit="U", formula="mean(mean)"),
        Definition(name="weighted", title="-", unit="U", formula="mean(mean, covered_s)"),
        Definition(name="spread", title="-", unit="U", formula="sum(max - min)"),
        Definition(name="middle", title="-", unit="U", formula="mean(p50)"),
    ]
    kpis = make_kpis(definitions, known=CATALOGUE)
    series = [gauge(1.0, 3.0, max_hold_s=60.0), gauge(*[10.0] * 6, max_hold_s=60.0)]
    found = together(series, *kpis, catalogue={**CATALOGUE, **kpis})
    values = {kpi: row["value"] for (_, kpi), row in found.items()}
    assert values == {"mean_of_means": 6, "weighted": 8, "spread": 2, "middle": 6}
    facts = facts_of(series[:1])
    alone = evaluate(facts, [series[0].attributes], list(kpis), catalogue={**CATALOGUE, **kpis}).to_pylist()
    assert [row["value"] for row in alone] == [2, 2, 2, 2]


def test_energy_per_part_of_a_line_is_all_energy_by_all_parts():
    counters = [
        Case(readings(*values), MetricAttributes(kind=MetricKind.COUNTER, unit=unit), (0, HOUR_S))
        for values, unit in [((0, 10), "kWh"), ((0, 1), "part"), ((0, 10), "kWh"), ((0, 9), "part")]
    ]
    owners = Owners(components=["a", "a", "b", "b"], metrics=["energy", "parts"] * 2)
    per_part = Definition(
        name="per_part",
        title="-",
        unit="kWh/part",
        formula="energy.increase / parts.increase",
        metric_units={"energy": "kWh", "parts": "part"},
    )
    found = together(counters, "per_part", owners=owners, catalogue=make_kpis([per_part]))
    (row,) = found.values()
    assert (row["metric"], row["components"], row["value"]) == (None, 2, 2)


def test_a_sum_of_a_group_keeps_what_rounding_lost():
    found = together([gauge(1e16), gauge(1.0), gauge(-1e16)], "mean")
    assert found["m", "mean"]["value"] == 1 / 3


def test_sums_of_groups_are_compiled_when_the_kernel_is_warm():
    warm_up()
    before = list(kernel.add_rows.signatures)
    together([gauge(1.0, 2.0), gauge(3.0)], "mean", "std", "coverage")
    assert kernel.add_rows.signatures == before
    assert len(before) == 1


def test_what_is_wrong_with_a_member_is_wrong_with_the_group():
    drift, calm = gauge(*[0.1 * k for k in range(40)], usl=5.0), gauge(*[1.0, 2.0, 1.0] * 13, usl=5.0)
    words = ("partial", "autocorrelated: use subgroups")
    for series in ([drift, drift], [drift, calm], [calm, drift]):
        found = together(series, "cpk", "ppk")
        assert (found["m", "cpk"]["status"], found["m", "cpk"]["reason"]) == words
        assert (found["m", "cpk"]["value"] > 0, found["m", "ppk"]["status"]) == (True, "ok")
    assert together([calm, calm], "cpk")["m", "cpk"]["status"] == "ok"


# --- OEE, worked by hand ----------------------------------------------------------------------------------------------


def machine(up_minutes, down_minutes, parts, scrap):
    """Return a machine's state, parts and scrap over one hour; the rest of the hour is silent."""
    running = [1.0] * up_minutes + [0.0] * down_minutes
    counters = MetricAttributes(kind=MetricKind.COUNTER, unit="part")
    amounts = MetricAttributes(kind=MetricKind.DELTA, unit="pieces")
    return [
        state(*running),
        Case((Row(0, 0.0), Row(3_000, float(parts))), counters, (0, HOUR_S)),
        Case((Row(600, float(scrap)),), amounts, (0, HOUR_S)),
    ]


METRICS = ["running", "parts", "scrap"]
NAMED = {"state_metric": "running", "parts_metric": "parts", "scrap_metric": "scrap"}
OEE_KPIS = ("oee_availability", "oee_effectiveness", "oee_quality", "oee")


def test_oee_is_the_product_of_its_factors():
    owners = Owners(components=["m1"] * 3, metrics=METRICS, attributes={"m1": {**NAMED, "ideal_cycle_time_s": 9.0}})
    series = machine(40, 10, 200, 20)
    table = evaluate(
        facts_of(series), [one.attributes for one in series], OEE_KPIS, owners=owners, skip_inapplicable=True
    ).to_pylist()
    values = {row["kpi"]: row["value"] for row in table}
    assert values == {
        "oee_availability": pytest.approx(80.0),
        "oee_effectiveness": pytest.approx(100 * 200 * 9 / 2_400),
        "oee_quality": pytest.approx(90.0),
        "oee": pytest.approx(0.8 * 0.75 * 0.9 * 100),
    }
    assert {row["unit"] for row in table} == {"%"}


def test_oee_may_exceed_100_percent_and_prefers_the_metric_of_good_parts():
    own = {**NAMED, "ideal_cycle_time_s": 30.0, "good_metric": "parts"}
    owners = Owners(components=["m1"] * 3, metrics=METRICS, attributes={"m1": own})
    series = machine(40, 10, 200, 20)
    table = evaluate(
        facts_of(series), [one.attributes for one in series], OEE_KPIS, owners=owners, skip_inapplicable=True
    ).to_pylist()
    values = {row["kpi"]: row["value"] for row in table}
    assert values["oee_effectiveness"] == pytest.approx(250.0)
    assert values["oee_quality"] == 100


def test_oee_without_an_attribute_says_which_one():
    owners = Owners(components=["m1"] * 3, metrics=METRICS, attributes={"m1": NAMED})
    series = machine(40, 10, 200, 20)
    facts, attributes = facts_of(series), [one.attributes for one in series]
    table = evaluate(facts, attributes, OEE_KPIS, owners=owners, skip_inapplicable=True).to_pylist()
    reasons = {row["kpi"]: row["reason"] for row in table}
    assert reasons["oee"] == reasons["oee_effectiveness"] == "the component has no attribute ideal_cycle_time_s"
    assert reasons["oee_availability"] is None
    table = evaluate(
        facts, attributes, OEE_KPIS, owners=replace(owners, attributes={}), skip_inapplicable=True
    ).to_pylist()
    assert {row["status"] for row in table} == {"undefined"}
    assert {row["kpi"] for row in table} == set(OEE_KPIS)


def test_oee_is_undefined_where_one_of_its_factors_is():
    owners = Owners(components=["m1"] * 3, metrics=METRICS, attributes={"m1": {**NAMED, "ideal_cycle_time_s": 9.0}})
    for series, reasons in (
        (machine(0, 50, 0, 0), ("not running at any known time of the period", "no parts were made")),
        (machine(40, 10, 0, 0), ("no parts were made", "no parts were made")),
    ):
        facts, attributes = facts_of(series), [one.attributes for one in series]
        table = evaluate(facts, attributes, OEE_KPIS, owners=owners, skip_inapplicable=True).to_pylist()
        found = {row["kpi"]: row for row in table}
        assert [found[kpi]["value"] for kpi in ("oee_quality", "oee")] == [None, None]
        assert (found["oee"]["reason"], found["oee_quality"]["reason"]) == reasons
        assert found["oee_availability"]["value"] == pytest.approx(
            100 * sum(series[0].rows[k].value for k in range(50)) / 50
        )


def test_the_coverage_of_oee_is_the_time_whose_state_is_known():
    owners = Owners(components=["m1"] * 3, metrics=METRICS, attributes={"m1": {**NAMED, "ideal_cycle_time_s": 9.0}})
    unmapped, parts, scrap = state(*[1.0] * 30, *[7.0] * 30), *machine(40, 10, 200, 20)[1:]
    series = [unmapped, parts, scrap]
    kpis = (*OEE_KPIS, "oee_unknown_share", "uptime")
    facts, attributes = facts_of(series), [one.attributes for one in series]
    table = evaluate(facts, attributes, kpis, owners=owners, skip_inapplicable=True).to_pylist()
    found = {row["kpi"]: row for row in table}
    assert {row["coverage"] for kpi, row in found.items() if kpi != "uptime"} == {0.5}
    assert (found["oee_unknown_share"]["value"], found["uptime"]["coverage"]) == (50, 1)
    grouped = together(
        [*series, *machine(60, 0, 200, 0)],
        *kpis,
        owners=replace(
            owners,
            components=["m1"] * 3 + ["m2"] * 3,
            metrics=METRICS * 2,
            attributes={name: {**NAMED, "ideal_cycle_time_s": 9.0} for name in ("m1", "m2")},
        ),
    )
    assert {row["coverage"] for (_, kpi), row in grouped.items() if kpi != "uptime"} == {0.75}
    assert grouped[None, "oee_unknown_share"]["value"] == 25


def test_oee_of_a_fleet_is_a_ratio_of_sums():
    series = [*machine(40, 10, 200, 20), *machine(10, 40, 10, 0)]
    attributes = {"m1": {**NAMED, "ideal_cycle_time_s": 9.0}, "m2": {**NAMED, "ideal_cycle_time_s": 60.0}}
    owners = Owners(components=["m1"] * 3 + ["m2"] * 3, metrics=METRICS * 2, attributes=attributes)
    found = together(series, *OEE_KPIS, owners=owners)
    values = {kpi: row["value"] for (_, kpi), row in found.items()}
    assert values == {
        "oee_availability": pytest.approx(100 * 3_000 / 6_000),
        "oee_effectiveness": pytest.approx(100 * (1_800 + 600) / 3_000),
        "oee_quality": pytest.approx(100 * 190 / 210),
        "oee": pytest.approx(100 * (180 * 9 + 10 * 60) / 6_000),
    }


# --- Ranking ----------------------------------------------------------------------------------------------------------


def test_the_best_and_the_worst_are_found_and_ties_go_by_name():
    owners = ["d", "a", "c", "b", "silent"]
    series = [gauge(2.0), gauge(1.0), gauge(2.0), gauge(3.0), replace(gauge(1.0), rows=())]
    table = evaluate(facts_of(series), [one.attributes for one in series], ["mean", "count"])
    names = [owners[row] for row in table["series"].to_pylist()]
    table = table.append_column("component", [names]).append_column("metric", [["level"] * len(names)])
    best = rank(table, names=["component"], count=3).to_pylist()
    shown = [(row["kpi"], row["rank"], row["component"]) for row in best]
    assert shown[:3] == [("mean", 1, "b"), ("mean", 2, "c"), ("mean", 3, "d")]
    assert shown[3:] == [("count", 1, "a"), ("count", 2, "b"), ("count", 3, "c")]
    worst = rank(table, names=["component"], count=1, lowest=True).to_pylist()
    assert [(row["kpi"], row["component"]) for row in worst] == [("mean", "a"), ("count", "a")]  # silence is no 0
    assert rank(table.slice(0, 0), names=["component"], count=3).num_rows == 0


def test_each_metric_has_a_ranking_of_its_own():
    table = evaluate(facts_of([gauge(20.0), gauge(30.0), gauge(101_325.0)]), [gauge(1.0).attributes] * 3, ["mean"])
    table = table.append_column("component", [["a", "b", "a"]])
    table = table.append_column("metric", [["temperature", "temperature", "pressure"]])
    best = rank(table, names=["component"], count=1).to_pylist()
    assert [(row["metric"], row["component"], row["rank"]) for row in best] == [
        ("temperature", "b", 1),
        ("pressure", "a", 1),
    ]


@given(st.lists(attributes_of(MetricKind.GAUGE), min_size=1, max_size=4))
@settings(deadline=None, max_examples=20)
def test_the_order_of_components_changes_no_digit_but_by_rounding(drawn):
    series = [Case(readings(*[0.1 * k] * 5), one, (0, HOUR_S)) for k, one in enumerate(drawn)]
    forwards = together(series, "mean", "count", "range", "time_weighted_mean")
    backwards = together(series[::-1], "mean", "count", "range", "time_weighted_mean")
    for key, row in forwards.items():
        assert row["value"] == pytest.approx(backwards[key]["value"], rel=1e-12, abs=1e-15)
        assert row["status"] == backwards[key]["status"]
