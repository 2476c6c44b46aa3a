"""How a KPI came to its value: every quantity of its formula with its value in the user's own data, and the result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gaugehouse.kpi.calculation import NOWHERE, Calculation, Owners
from gaugehouse.kpi.catalogue import CATALOGUE, get_kpis
from gaugehouse.kpi.checking import find_attribute_unit
from gaugehouse.kpi.definition import Kpi
from gaugehouse.kpi.facts import Facts
from gaugehouse.kpi.language import Attribute, Node, Reference, render, walk
from gaugehouse.kpi.outcome import STATUSES, Outcome
from gaugehouse.kpi.quantities import LIMITS, QUANTITIES
from gaugehouse.kpi.terms import (
    OWN_SUBJECT,
    ComponentAttribute,
    Fact,
    KpiValue,
    Limit,
    Subject,
    SubjectKind,
    Term,
)
from gaugehouse.kpi.units import parse_unit, show_unit
from gaugehouse.measurements.metric import MetricAttributes

SHOWN_DIGITS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedValue:
    """A name in a formula, and what it stands for.

    Args:
        name: As it stands in the formula.
        meaning: In words.
        value: None: there is none.
        unit: Of the value.
        status: ok, partial, no_data or undefined.
        reason: Why it is not plainly ok.
    """

    name: str
    meaning: str
    value: float | None
    unit: str
    status: str
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A KPI with the values that its formula was applied to.

    Args:
        kpi: Name, title, formula, source and edge rule.
        quantities: What stands in the formula, each once, in its order.
        worked: The formula with the values in the place of the names.
        result: Its value.
    """

    kpi: Kpi
    quantities: tuple[ExplainedValue, ...]
    worked: str
    result: ExplainedValue


def explain(  # noqa: PLR0913 - what is known, what is asked, and about what
    name: str,
    facts: Facts,
    attributes: Sequence[MetricAttributes],
    *,
    series: int = 0,
    bucket: int = 0,
    catalogue: Mapping[str, Kpi] = CATALOGUE,
    owners: Owners | None = None,
) -> Explanation:
    """Return how a KPI of one series and bucket came to its value.

    Args:
        name: Of the KPI.
        facts: As for `evaluate`.
        attributes: One per series.
        series: Which one.
        bucket: Which one.
        catalogue: The KPIs there are.
        owners: Whose series these are.

    Raises:
        Refused: The KPI is not in the catalogue.
    """
    (kpi,) = get_kpis([name], catalogue)
    rules = {one.name: one.rule for one in catalogue.values()}
    rows = np.array([series], np.int64)
    calculation = Calculation(facts, attributes, rules, rows=rows, owners=owners)
    nodes = [node for node in walk(kpi.rule.formula.node) if isinstance(node, Reference | Attribute)]
    values = {}
    for node in dict.fromkeys(nodes):
        term, factor, unit = _find_value(node, kpi, catalogue)
        outcome = calculation.evaluate_term(term, is_planned=kpi.rule.is_planned)
        subject = getattr(term, "subject", OWN_SUBJECT)
        shown = _Shown(render(node), _find_meaning(node, catalogue), factor, _place_unit(unit, subject, calculation))
        values[node] = shown.fill(outcome, bucket, calculation)
    unit = _place_unit(kpi.unit, OWN_SUBJECT, calculation) if kpi.is_of_metric else kpi.unit
    result = _Shown(name, kpi.title, 1.0, unit).fill(calculation.evaluate(name), bucket, calculation)

    def spell(node: Node) -> str | None:
        return _spell(values[node]) if isinstance(node, Reference | Attribute) else None

    worked = f"{render(kpi.rule.formula.node, spell)} = {_spell(result)}"
    return Explanation(kpi=kpi, quantities=tuple(values.values()), worked=worked, result=result)


class _Shown(NamedTuple):
    """How a value is shown; `factor` turns the stored unit into that for people."""

    name: str
    meaning: str
    factor: float
    unit: str

    def fill(self, outcome: Outcome, bucket: int, calculation: Calculation) -> ExplainedValue:
        value = float(outcome.value[0, bucket]) * self.factor
        return ExplainedValue(
            name=self.name,
            meaning=self.meaning,
            value=None if np.isnan(value) else value,
            unit=self.unit,
            status=STATUSES[outcome.status[0, bucket]].value,
            reason=calculation.texts.texts[outcome.reason[0, bucket]],
        )


def _find_value(node: Reference | Attribute, kpi: Kpi, catalogue: Mapping[str, Kpi]) -> tuple[Term, float, str]:
    """Return what a name stands for, what turns it into the unit for people, and that unit."""
    if isinstance(node, Attribute):
        return ComponentAttribute(name=node.name), 1.0, str(find_attribute_unit(node.name))
    subject = OWN_SUBJECT
    if node.metric is not None:
        unit = kpi.definition.metric_units.get(node.metric, "")
        subject = Subject(kind=SubjectKind.METRIC, name=node.metric, unit=unit)
    elif node.attribute is not None:
        subject = Subject(kind=SubjectKind.ATTRIBUTE, name=node.attribute)
    if node.name in LIMITS:
        return Limit(subject=subject, name=node.name), 1.0, LIMITS[node.name]
    if node.name not in QUANTITIES:
        return KpiValue(subject=subject, kpi=node.name), 1.0, catalogue[node.name].unit
    quantity = QUANTITIES[node.name]
    factor = parse_unit(quantity.stored_unit).factor / parse_unit(quantity.unit).factor
    return Fact(subject=subject, quantity=node.name), float(factor), quantity.unit


def _place_unit(unit: str, subject: Subject, calculation: Calculation) -> str:
    """Return the text of a unit with that of the subject's metric in it."""
    if subject.kind is SubjectKind.METRIC:
        return show_unit(unit, subject.unit)
    series = int(calculation.find_place(subject).series[0])
    return show_unit(unit, calculation.attributes[series].unit if series != NOWHERE else "")


def _find_meaning(node: Reference | Attribute, catalogue: Mapping[str, Kpi]) -> str:
    if isinstance(node, Attribute):
        return "attribute of the component"
    if node.name in LIMITS:
        return "attribute of the metric"
    return QUANTITIES[node.name].meaning if node.name in QUANTITIES else catalogue[node.name].title


def _spell(shown: ExplainedValue) -> str:
    if shown.value is None:
        return "(no value)"
    number = f"{shown.value:.{SHOWN_DIGITS}g}"
    return number if shown.unit in {"", "1"} else f"{number} {shown.unit}"
