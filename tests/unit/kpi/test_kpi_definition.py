"""KPIs of projects: what may be defined, in which order they are made ready, and what a change must not break."""

from dataclasses import replace

import pytest

from gaugehouse.errors import Refused
from gaugehouse.kpi import CATALOGUE, Definition, KnownMetric, Want, define, make_kpis
from gaugehouse.kpi.language import MAX_DEPTH
from gaugehouse.measurements.metric import MetricKind

METRICS = {
    "energy_kwh": KnownMetric(unit="kWh", kind=MetricKind.COUNTER),
    "parts": KnownMetric(unit="part", kind=MetricKind.COUNTER),
}


def kpi(name, formula, unit="1", **others):
    return Definition(name=name, title=name.title(), formula=formula, unit=unit, **others)


def defined(new, *others, metrics=METRICS):
    return define(new, others, built_in=CATALOGUE, metrics=metrics, attributes=frozenset({"area_m2"}))


PER_PART = kpi("per_part", "energy_kwh.increase / parts.increase", "kWh/part")


def test_a_definition_keeps_the_units_that_its_metrics_had():
    stored = defined(PER_PART)
    assert stored == replace(PER_PART, metric_units={"energy_kwh": "kWh", "parts": "part"})
    (made,) = make_kpis([stored], known=CATALOGUE).values()
    assert made.kinds == {MetricKind.COUNTER}
    assert not made.is_of_metric


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "mean"}, "built-in KPI"),
        ({"name": "up_s"}, "a fact"),
        ({"name": "usl"}, "attribute"),
        ({"name": "if"}, "function"),
        ({"name": "Per part"}, "lower case"),
        ({"name": "per-part"}, "lower case"),
        ({"name": "größe"}, "lower case"),
        ({"name": ""}, "lower case"),
        ({"name": "x" * 65}, "at most 64"),
        ({"title": "  "}, "title"),
        ({"title": "x" * 201}, "at most 200"),
        ({"edge": "x" * 1_001}, "at most 1000"),
        ({"unit": "x" * 65}, "at most 64"),
    ],
)
def test_what_cannot_be_stored_is_refused_in_words(changes, words):
    with pytest.raises(Refused) as refused:
        defined(replace(PER_PART, **changes))
    assert refused.value.code == "kpi_refused"
    assert words in refused.value.message


def test_kpis_may_rest_on_one_another_in_any_order():
    cost = kpi("cost", "per_part * 0.3 [EUR/kWh]", "EUR/part")
    saved = kpi("saved", "if(cost < 1 [EUR/part], 1, 0) * parts.increase", "part", metric_units={"parts": "part"})
    made = make_kpis([saved, cost, defined(PER_PART)], known=CATALOGUE)
    assert list(made) == ["per_part", "cost", "saved"]
    assert made["saved"].quantities == {"increase"}


def test_what_a_kpi_needs_follows_through_those_it_names():
    made = make_kpis([kpi("skew", "(mean - median) / std")], known=CATALOGUE)
    assert made["skew"].want == Want.QUANTILES
    assert made["skew"].kinds == set(MetricKind)


@pytest.mark.parametrize(
    ("others", "new", "path"),
    [
        ([], kpi("a", "a + n"), "a -> a"),
        ([kpi("b", "a + n")], kpi("a", "b + n"), "a -> b -> a"),
        ([kpi("b", "c + n"), kpi("c", "if(n > 0, a, n)")], kpi("a", "b"), "a -> b -> c -> a"),
    ],
)
def test_a_circle_is_named(others, new, path):
    with pytest.raises(Refused) as refused:
        defined(new, *others)
    assert refused.value.code == "formula_cycle"
    places = path.split(" -> ")[:-1]
    turns = [" -> ".join([*places[k:], *places[:k], places[k]]) for k in range(len(places))]
    assert any(turn in refused.value.message for turn in turns)


def test_a_change_that_others_do_not_survive_is_refused():
    cost = kpi("cost", "per_part * 0.3 [EUR/kWh]", "EUR/part")
    others = (defined(PER_PART), cost)
    with pytest.raises(Refused, match="cost rests on per_part and would not be right any more") as refused:
        defined(kpi("per_part", "parts.increase / energy_kwh.increase", "part/kWh"), *others)
    assert refused.value.code == "formula_units"
    assert defined(kpi("per_part", "energy_kwh.increase / (2 * parts.increase)", "kWh/part"), *others).metric_units


def test_a_broken_kpi_of_the_project_is_not_in_the_way_of_others():
    broken = kpi("broken", "this_is_gone + n")
    assert defined(PER_PART, broken).metric_units
    with pytest.raises(Refused, match="this_is_gone"):
        defined(kpi("mine", "broken + 1"), broken)


def test_a_long_chain_of_high_formulas_is_refused():
    high = " + ".join(["{}", *["n"] * (MAX_DEPTH - 2)])
    chain = [kpi(f"k{k}", high.format(f"k{k - 1}" if k else "n")) for k in range(4)]
    with pytest.raises(Refused, match="too many KPIs in a row") as refused:
        make_kpis(chain)
    assert refused.value.code == "formula_too_large"


def test_unknown_attributes_are_refused_at_the_definition():
    assert defined(kpi("density", "n / @area_m2"))
    with pytest.raises(Refused, match="did you mean @area_m2"):
        defined(kpi("density", "n / @area_m3"))
