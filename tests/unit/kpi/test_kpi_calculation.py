"""How values, statuses and reasons go through a formula, against an evaluator that is slow and obvious."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaugehouse.kpi import Definition, Owners, Want, evaluate, explain, make_kpis
from gaugehouse.kpi.calculation import Calculation
from gaugehouse.kpi.catalogue import CATALOGUE
from gaugehouse.kpi.checking import KnownMetric, Vocabulary, check_formula
from gaugehouse.kpi.language import Call, Negation, Number, Operation, Reference, parse, render
from gaugehouse.kpi.outcome import STATUSES, Outcome
from gaugehouse.kpi.readings import Readings
from gaugehouse.kpi.rules import Rule, Template
from gaugehouse.kpi.terms import OWN_SUBJECT
from gaugehouse.measurements.metric import MetricAttributes, MetricKind
from unit.kpi.kpi_cases import Case, Row, cases, facts_of, readings
from unit.kpi.slow_formulas import Cell
from unit.kpi.slow_formulas import evaluate as evaluate_slowly

NAMES = ("n", "bad_n", "gaps", "slots")  # pure numbers, so that no unit is in the way
STATES = [
    (0, "ok", None),
    (3, "ok", None),
    (4, "ok", "estimated"),
    (2, "partial", "running"),
    (5, "partial", "undecided"),
    (0, "no_data", "silent"),
    (None, "no_data", "only bad"),
    (None, "undefined", "no step"),
]


def leaves():
    return st.one_of(
        st.integers(0, 6).map(lambda value: Number(value=float(value))),
        st.sampled_from(NAMES).map(lambda name: Reference(name=name)),
    )


def numbers(below):
    conditions = st.builds(
        lambda one, left, right: Operation(operator=one, left=left, right=right),
        st.sampled_from(["<", "<=", ">", ">=", "=", "!="]),
        below,
        below,
    )
    return st.one_of(
        st.builds(lambda operand: Negation(operand=operand), below),
        st.builds(
            lambda one, left, right: Operation(operator=one, left=left, right=right),
            st.sampled_from("+-*//"),
            below,
            below,
        ),
        st.builds(
            lambda name, arguments: Call(function=name, arguments=tuple(arguments)),
            st.sampled_from(["least", "greatest"]),
            st.lists(below, min_size=2, max_size=3),
        ),
        st.builds(lambda operand: Call(function="abs", arguments=(operand,)), below),
        st.builds(lambda *arguments: Call(function="if", arguments=arguments), conditions, below, below),
    )


class GivenReadings(Readings):
    """Readings that a test chose, in the place of those of the kernel."""

    def __init__(self, texts, cells):
        self._texts, self._cells = texts, cells

    def read(self, name):
        chosen = [STATES[place] for place in self._cells[name]]
        return Outcome(
            np.array([[np.nan if value is None else float(value) for value, _, _ in chosen]]),
            np.array([[STATUSES.index(status) for _, status, _ in chosen]], np.int8),
            np.array([[0 if reason is None else self._texts.code(reason) for _, _, reason in chosen]], np.int32),
        )


@given(
    st.recursive(leaves(), numbers, max_leaves=12), st.lists(st.tuples(*[st.sampled_from(range(8))] * 4), min_size=1)
)
@settings(deadline=None, max_examples=400)
def test_formulas_say_what_the_slow_evaluator_says(tree, chosen):
    text = f"({render(tree)}) + 0 * n"  # names a fact in any case
    formula = check_formula(text, "1", Vocabulary())
    buckets = len(chosen)
    facts = facts_of([Case((), MetricAttributes(), tuple(range(0, 60 * (buckets + 1), 60)))], want=Want.NOTHING)
    rule = Rule(formula=formula, about=OWN_SUBJECT, kinds=frozenset(MetricKind), zero=Template(texts=("zero",)))
    calculation = Calculation(facts, [MetricAttributes()], {"kpi": rule}, rows=np.zeros(1, np.int64))
    cells = {name: [places[k] for places in chosen] for k, name in enumerate(NAMES)}
    calculation._readings = GivenReadings(calculation.texts, cells)
    found = calculation.evaluate("kpi")
    for bucket in range(buckets):
        given_cells = {
            name: Cell(None if value is None else float(value), *others)
            for name, places in cells.items()
            for value, *others in [STATES[places[bucket]]]
        }
        expected = evaluate_slowly(parse(text), given_cells)
        value = found.value[0, bucket]
        assert (None if np.isnan(value) else value) == expected.value
        assert STATUSES[found.status[0, bucket]].value == expected.status
        assert calculation.texts.texts[found.reason[0, bucket]] == expected.reason


def one_answer(definition, case_s, owners=None, metrics=None):
    """Return the answers of one KPI about some series."""
    kpis = make_kpis([definition], known=CATALOGUE, metrics=metrics or {})
    facts = facts_of(case_s)
    return evaluate(
        facts, [case.attributes for case in case_s], [definition.name], catalogue={**CATALOGUE, **kpis}, owners=owners
    ).to_pylist()


def kpi(formula, unit, **others):
    return Definition(name="mine", title="Mine", formula=formula, unit=unit, **others)


def gauge(*values, **attributes):
    return Case(readings(*values), MetricAttributes(**attributes), (0, 3_600))


def test_a_zero_denominator_is_named_where_nothing_else_is_said():
    (answer,) = one_answer(kpi("max / (min - min)", "1"), [gauge(1.0, 2.0)])
    assert (answer["value"], answer["status"], answer["reason"]) == (None, "undefined", "min - min is 0")


def test_roots_and_logarithms_have_their_limits():
    (answer,) = one_answer(kpi("sqrt(0 - n)", "1"), [gauge(1.0)])
    assert (answer["status"], answer["reason"]) == ("undefined", "the square root of a negative number")
    (answer,) = one_answer(kpi("ln(n - 1)", "1"), [gauge(1.0)])
    assert (answer["status"], answer["reason"]) == ("undefined", "the logarithm of a number that is not above 0")
    (answer,) = one_answer(kpi("sqrt(n * n) + ln(1 * n)", "1"), [gauge(1.0)])
    assert (answer["value"], answer["status"]) == (1.0, "ok")


def test_a_result_too_large_for_a_float_is_undefined():
    (answer,) = one_answer(kpi("max * 1e200 * 1e200", "U"), [gauge(1e300)])
    assert answer["reason"] == "the result is too large for a 64 bit float"


def test_silence_keeps_numbers_that_need_no_measurement_and_no_others():
    silent = Case((), MetricAttributes(nominal_interval_s=60.0), (0, 3_600))
    units = {"max - min": "U"}
    for formula, value in (("2 * n", 0), ("covered_s / period_s", 0), ("max - min", None), ("1 / n", None)):
        (answer,) = one_answer(kpi(formula, units.get(formula, "1")), [silent])
        assert (answer["value"], answer["status"]) == (value, "no_data"), formula


def test_a_limit_that_is_not_set_is_named_and_can_be_asked_for():
    (answer,) = one_answer(kpi("usl - max", "U"), [gauge(1.0)])
    assert (answer["status"], answer["reason"]) == ("undefined", "usl of the metric is not set")
    for case, value in ((gauge(1.0, usl=3.0), 2.0), (gauge(1.0), -1.0)):
        (answer,) = one_answer(kpi("if(known(usl), usl - max, 0 - max)", "U"), [case])
        assert answer["value"] == value


# --- Other metrics ----------------------------------------------------------------------------------------------------


def counter(*values, unit=""):
    return Case(readings(*values), MetricAttributes(kind=MetricKind.COUNTER, unit=unit, max_hold_s=600.0), (0, 3_600))


PLANT = Owners(
    components=["press 1", "press 1", "press 2", "press 2", "sensor"],
    metrics=["energy", "parts", "energy", "parts", "heat"],
    attributes={"press 1": {"good": "parts"}, "press 2": {"good": 7}},
)
PER_PART = kpi("energy.increase / parts.increase", "kWh/part", metric_units={"energy": "kWh", "parts": "part"})


def press(energy=(0, 5, 10), parts=(0, 1, 2, 4), unit="kWh"):
    return [counter(*energy, unit=unit), counter(*parts, unit="part")]


def plant(first=None, second=None):
    return [*(first or press()), *(second or press()), gauge(1.0)]


def test_a_kpi_that_names_metrics_is_answered_once_per_component_beside_the_first():
    kpis = make_kpis([PER_PART])
    facts = facts_of(plant())
    attributes = [case.attributes for case in plant()]
    asked = {"catalogue": kpis, "owners": PLANT}
    table = evaluate(facts, attributes, ["mine"], skip_inapplicable=True, **asked).to_pylist()
    assert [(row["series"], row["value"], row["unit"]) for row in table] == [(0, 2.5, "kWh/part"), (2, 2.5, "kWh/part")]
    table = evaluate(facts, attributes, ["mine"], **asked).to_pylist()
    assert [row["status"] for row in table] == ["ok", "undefined", "ok", "undefined", "undefined"]
    assert table[1]["reason"] == "about the component: answered beside another of its metrics"


def test_a_metric_in_another_unit_is_converted_or_undefined():
    minutes = kpi("energy.increase / parts.increase", "h/part", metric_units={"energy": "h", "parts": "part"})
    kpis = make_kpis([minutes])
    for unit, value in (("min", 2.5 / 60), ("h", 2.5), ("kWh", None)):
        cases_ = plant(press(unit=unit))
        facts = facts_of(cases_)
        answer = evaluate(facts, [c.attributes for c in cases_], ["mine"], catalogue=kpis, owners=PLANT).to_pylist()[0]
        assert answer["value"] == (None if value is None else pytest.approx(value, rel=1e-12))
    assert answer["reason"] == "energy is in kWh here, the formula counts on h"


def test_a_component_without_the_metric_has_no_value():
    other = kpi("max - heat.max", "U")
    facts = facts_of(plant())
    metrics = {"heat": KnownMetric(unit="")}
    kpis = make_kpis([replace(other, formula="n - heat.n", unit="1")], metrics=metrics)
    table = evaluate(facts, [c.attributes for c in plant()], ["mine"], catalogue=kpis, owners=PLANT).to_pylist()
    assert [row["value"] for row in table] == [None] * 4 + [0.0]
    assert table[0]["reason"] == "the component has no metric heat"


def test_attributes_name_metrics_and_hold_numbers():
    kpis = make_kpis([kpi("number(@good.increase) * @factor", "1")])
    facts, attributes = facts_of(plant()), [case.attributes for case in plant()]
    for own, value, reason in (
        ({"good": "parts", "factor": 3}, 12.0, None),
        ({"good": "parts"}, None, "the component has no attribute factor"),
        ({"good": "parts", "factor": "three"}, None, "the component's attribute factor is not a number"),
        ({"good": "parts", "factor": True}, None, "the component's attribute factor is not a number"),
        ({"good": "parts", "factor": 10**400}, None, "the component's attribute factor is not a number"),
    ):
        owners = replace(PLANT, attributes={"press 1": own})
        table = evaluate(facts, attributes, ["mine"], catalogue=kpis, owners=owners).to_pylist()
        assert (table[1]["value"], table[1]["reason"]) == (value, reason)
    for own, reason in (
        ({}, "the component has no attribute good"),
        ({"good": 7}, "the component's attribute good is not the name of a metric"),
        ({"good": "scrap"}, "the component has no metric scrap"),
    ):
        owners = replace(PLANT, attributes={"press 1": own})
        table = evaluate(facts, attributes, ["mine"], catalogue=kpis, owners=owners, skip_inapplicable=True).to_pylist()
        assert {row["reason"] for row in table if row["series"] < 2} == {reason}


def test_a_kpi_of_another_metric_is_its_kpi():
    state = Case(readings(1.0, 1.0, 0.0), MetricAttributes(kind=MetricKind.STATE, max_hold_s=60.0), (0, 3_600))
    owners = Owners(components=["a", "a", "a"], metrics=["heat", "running", "count"])
    cases_ = [gauge(4.0), state, counter(1, 2)]
    metrics = {"running": KnownMetric(unit=""), "count": KnownMetric(unit="")}
    kpis = make_kpis([kpi("running.availability * max", "U")], known=CATALOGUE, metrics=metrics)
    facts, attributes = facts_of(cases_), [case.attributes for case in cases_]
    asked = {"catalogue": {**CATALOGUE, **kpis}, "owners": owners}
    (first, *_) = evaluate(facts, attributes, ["mine"], **asked).to_pylist()
    assert first["value"] == pytest.approx(4 * 2 / 3)
    kpis = make_kpis([kpi("count.availability * max", "U")], known=CATALOGUE, metrics=metrics)
    (first, *_) = evaluate(facts, attributes, ["mine"], **{**asked, "catalogue": {**CATALOGUE, **kpis}}).to_pylist()
    assert (first["status"], first["reason"]) == ("undefined", "not defined for a metric of kind counter")


def test_amount_is_what_came_together_whatever_the_kind():
    delta = Case(readings(2.0, 3.0), MetricAttributes(kind=MetricKind.DELTA), (0, 3_600))
    answers = one_answer(kpi("amount", "U"), [delta, counter(1, 2, 8), gauge(1.0)])
    assert [row["value"] for row in answers] == [5.0, 7.0, None]


@given(st.sampled_from(MetricKind).flatmap(cases))
@settings(deadline=None, max_examples=60)
def test_an_explanation_ends_in_the_value_that_is_reported(case):
    facts = facts_of([case])
    fitting = [name for name, one in CATALOGUE.items() if case.attributes.kind in one.kinds and one.is_of_metric]
    table = evaluate(facts, [case.attributes], fitting).to_pylist()
    by_name = {(row["kpi"], row["bucket"]): row for row in table}
    buckets = len(case.edges_s) - 1
    for name, bucket in product(fitting, range(min(buckets, 2))):
        explanation = explain(name, facts, [case.attributes], bucket=bucket)
        row = by_name[name, bucket]
        shown = explanation.result
        assert (shown.value, shown.unit, shown.status, shown.reason) == (
            row["value"],
            row["unit"],
            row["status"],
            row["reason"],
        )


def test_an_explanation_shows_each_name_once_with_its_value_and_unit():
    state = Case(
        tuple(Row(60 * k, value) for k, value in enumerate([1.0, 1.0, 1.0, 0.0])),
        MetricAttributes(kind=MetricKind.STATE, max_hold_s=60.0),
        (0, 3_600),
    )
    found = explain("availability", facts_of([state]), [state.attributes])
    assert found.worked == "180 s / (180 s + 60 s) = 75 %"
    assert [(one.name, one.value, one.unit) for one in found.quantities] == [
        ("up_s", 180.0, "s"),
        ("down_s", 60.0, "s"),
    ]
    found = explain("mtbf", facts_of([state]), [state.attributes])
    assert found.worked == "180 s / 1 = 0.05 h"
