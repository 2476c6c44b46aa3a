"""docs/formulas.md promises nothing that is not so."""

import re
from pathlib import Path

import pytest

from gaugehouse.errors import Refused
from gaugehouse.kpi import CATALOGUE, Definition, KnownMetric, make_kpis
from gaugehouse.kpi.checking import FUNCTIONS, Vocabulary, check_formula
from gaugehouse.measurements.metric import MetricKind

PAGE = (Path(__file__).parents[3] / "docs" / "formulas.md").read_text("utf-8")
EXAMPLES = re.findall(r"^\| ([^|]+) \| ([^|`]+) \| `(.+)` \|$", PAGE, flags=re.MULTILINE)
METRICS = {
    "energy_kwh": KnownMetric(unit="kWh", kind=MetricKind.COUNTER),
    "parts_total": KnownMetric(unit="part", kind=MetricKind.COUNTER),
    "running": KnownMetric(unit="", kind=MetricKind.STATE),
    "Motor/temp 1": KnownMetric(unit="°C", kind=MetricKind.GAUGE),
}
OTHERS = [
    Definition(name="energy_per_part", title="-", unit="kWh/part", formula=EXAMPLES[0][2]),
    Definition(name="quality", title="-", unit="%", formula="running.up_s / running.period_s"),
]
KPIS = {**CATALOGUE, **make_kpis(OTHERS, known=CATALOGUE, metrics=METRICS)}
KNOWN = Vocabulary(metrics=METRICS, kpis={name: kpi.rule.known for name, kpi in KPIS.items()})


@pytest.mark.parametrize(("title", "unit", "formula"), EXAMPLES)
def test_every_example_is_right(title, unit, formula):
    assert check_formula(formula, unit, KNOWN).unit == unit


def test_the_refusal_that_is_shown_is_the_one_that_comes():
    (shown,) = re.findall(r"```text\n(.*?)\n```", PAGE, flags=re.DOTALL)
    formula = shown.splitlines()[1].strip()
    with pytest.raises(Refused) as refused:
        check_formula(formula, "kWh/part", KNOWN)
    assert refused.value.message == shown


def test_every_function_is_told():
    assert len(EXAMPLES) > 10
    for name in FUNCTIONS:
        assert f"`{name}(" in PAGE, name
