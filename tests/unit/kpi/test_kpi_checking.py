"""The checker: names, kinds and units, with the place of each mistake and what could have been meant."""

import pytest
from hypothesis import given, settings

from gaugehouse.errors import Refused
from gaugehouse.kpi import CATALOGUE
from gaugehouse.kpi.checking import KnownMetric, Vocabulary, check_condition, check_formula, check_value
from gaugehouse.kpi.language import render
from gaugehouse.kpi.terms import Applied, Constant, Scaled
from gaugehouse.measurements.metric import MetricKind
from unit.kpi.formula_trees import TREES, attempt

PLANT = Vocabulary(
    metrics={
        "energy_kwh": KnownMetric(unit="kWh", kind=MetricKind.COUNTER),
        "parts_total": KnownMetric(unit="part", kind=MetricKind.COUNTER),
        "Motor/temp 1": KnownMetric(unit="°C", kind=MetricKind.GAUGE),
        "running": KnownMetric(unit="", kind=MetricKind.STATE),
        "stops_min": KnownMetric(unit="min", kind=MetricKind.DELTA),
        "plain": KnownMetric(unit="", kind=MetricKind.GAUGE),
    },
    kpis={name: kpi.rule.known for name, kpi in CATALOGUE.items()},
    attributes=frozenset({"ideal_cycle_time_s", "parts_metric", "limit_percent"}),
)


def check(text, unit):
    return check_formula(text, unit, PLANT)


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("energy_kwh.increase / parts_total.increase", "kWh/part"),
        ("energy_kwh.increase * 0.4 [kg/kWh]", "kg"),
        ("energy_kwh.increase / period_s", "kWh/h"),
        ('"Motor/temp 1".mean - 20 [°C]', "°C"),
        ('if("Motor/temp 1".max > 80 [°C], 1, 0)', "1"),
        ("running.availability", "%"),
        ("1 - running.availability", "%"),
        ("stops_min.sum / running.up_s", "%"),
        ("stops_min.sum + running.down_s", "h"),
        ("running.up_s / running.failures", "d"),
        ("number(parts_total.increase) * @ideal_cycle_time_s / running.up_s", "%"),
        ("number(@parts_metric.amount)", "1"),
        ("sqrt(energy_kwh.squared_deviations)", "kWh"),
        ("ln(energy_kwh.max / energy_kwh.min)", "1"),
        ("ln(running.availability)", "1"),
        ("sum(energy_kwh.increase) / sum(parts_total.increase)", "kWh/part"),
        ("mean(running.availability, running.up_s)", "%"),
        ("increase / counted_s", "U/h"),
        ("area_locf", "U.h"),
        ("if(known(usl), usl - max, 0)", "U"),
        ("max - 2 [U]", "U"),
        ("greatest(0, mean - target)", "U"),
        ("n * @limit_percent", "1"),
        ("std / mean", "%"),
    ],
)
def test_units_that_fit_are_accepted(text, unit):
    assert check(text, unit).unit == unit


@pytest.mark.parametrize(
    ("text", "unit", "code", "words"),
    [
        (
            "energy_kwh.increase / parts_total.increase",
            "kWh",
            "formula_units",
            "gives kWh/part, but the KPI's unit is kWh",
        ),
        ("energy_kwh.increase + parts_total.increase", "kWh", "formula_units", "part cannot be added to kWh"),
        ("energy_kwh.increase - 5", "kWh", "formula_units", "5 [kWh]"),
        ("increase + up_s", "U", "formula_units", "differs from metric to metric"),
        ("if(max > 80 [°C], 1, 0)", "1", "formula_units", "differs from metric to metric"),
        ("plain.mean + 20 [°C]", "°C", "formula_units", "plain has no unit: set it"),
        ("if(n > 0, up_s, failures)", "s", "formula_units", "an alternative to"),
        ("ln(energy_kwh.max)", "1", "formula_units", "without a unit, not kWh"),
        ("number(up_s)", "1", "formula_units", "such as 1 [h]"),
        ("n", "kWh", "formula_units", "gives 1, but the KPI's unit is kWh"),
        ("5 [d9] * 5 [d9] * n", "d18", "formula_units", "too far apart"),
        ("energy_kwh", "kWh", "formula_unknown_name", "energy_kwh.increase"),
        ("energy_kw.increase", "kWh", "formula_unknown_name", "did you mean energy_kwh?"),
        ("energy_kwh.incrase", "kWh", "formula_unknown_name", "did you mean increase"),
        ('"Motor/tmp 1".mean', "°C", "formula_unknown_name", 'did you mean "Motor/temp 1"?'),
        ("ideal_cycle_time_s", "s", "formula_unknown_name", "@ideal_cycle_time_s"),
        ("@parts_metrics.amount", "1", "formula_unknown_name", "@parts_metric"),
        ("USL - max", "U", "formula_unknown_name", "did you mean usl?"),
        ("leest(n, 1)", "1", "formula_unknown_name", "did you mean least"),
        ("__import__(n)", "1", "formula_unknown_name", "no function"),
        ("least(n)", "1", "formula_arguments", "2 to 16 arguments, not 1"),
        ("if(n > 0, 1)", "1", "formula_arguments", "3 arguments, not 2"),
        ("if(n, 1, 0)", "1", "formula_type", "expected a condition"),
        ("n > 0", "1", "formula_type", "expected a number"),
        ("(n > 0) + 1", "1", "formula_type", "expected a number"),
        ("known(max)", "1", "formula_type", "attribute of the metric or component"),
        ("sum(mean(n))", "1", "formula_type", "within another"),
        ("5", "1", "formula_type", "names no fact"),
        ("energy_kwh.oee", "%", "formula_type", "about the component"),
        ('"Motor/temp 1".increase', "°C", "formula_kind", "is a gauge"),
        ("energy_kwh.availability", "%", "formula_kind", "is a counter"),
        ("increase * up_s", "U.s", "formula_kind", "no kind of metric"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(text, unit, code, words):
    with pytest.raises(Refused) as refused:
        check(text, unit)
    assert refused.value.code == code
    assert words in refused.value.message
    assert refused.value.fields["line"] == 1


def test_a_place_is_that_of_the_part_that_is_wrong():
    with pytest.raises(Refused) as refused:
        check("n +\n  energy_kwh.incrase", "kWh")
    assert (refused.value.fields["line"], refused.value.fields["column"]) == (2, 3)
    assert refused.value.fields["suggestions"][0] == "increase"


def test_conversions_are_exact_where_they_can_be():
    assert check("up_s", "h").term == Scaled(
        operand=check("up_s", "us").term, numerator=1.0, denominator=3_600_000_000.0
    )
    assert check("up_s / period_s", "%").term.numerator == 100.0
    assert isinstance(check("up_s / period_s", "1").term, Applied)


def test_zero_fits_every_unit_and_other_numbers_none():
    zero = check("greatest(0, energy_kwh.increase)", "kWh").term
    assert zero.operands[0] == Constant(value=0.0)
    with pytest.raises(Refused):
        check("greatest(1, energy_kwh.increase)", "kWh")


def test_kinds_follow_from_the_facts():
    assert check("up_s / failures", "h").kinds_of == {check("up_s", "s").subjects[0]: frozenset({MetricKind.STATE})}
    (amount,) = check("amount", "U").kinds_of.values()
    assert amount == {MetricKind.COUNTER, MetricKind.DELTA}


def test_metrics_that_are_named_are_kept_with_the_unit_they_are_counted_in():
    formula = check("energy_kwh.increase / number(parts_total.increase)", "kWh")
    assert formula.metric_units == {"energy_kwh": "kWh", "parts_total": "part"}


def test_a_shown_number_has_the_unit_of_the_kpi_where_it_can():
    assert check_value("up_s / 3", "h", PLANT).unit == "h"
    assert check_value("up_s / 3", "%", PLANT).unit == "s"


def test_a_condition_is_one():
    assert check_condition("n > 3", PLANT).term.function == ">"
    with pytest.raises(Refused):
        check_condition("n", PLANT)


@given(TREES)
@settings(deadline=None, max_examples=300)
def test_any_tree_is_checked_or_refused(tree):
    text = render(tree)
    if len(text) > 2_000:
        return
    formula, refusal = attempt(lambda: check_formula(text, "1", PLANT))
    assert formula.subjects if refusal is None else refusal.code.startswith("formula_")
