"""The catalogue as the page docs/kpis.md."""
# ruff: noqa: E501 - a row of a Markdown table is one line

from collections.abc import Iterable

from gaugehouse.kpi.definition import Kpi
from gaugehouse.kpi.quantities import ALL_KINDS, QUANTITIES, Merge, Quantity
from gaugehouse.kpi.rules import CaveatText
from gaugehouse.measurements.metric import MetricKind

INTRODUCTION = """# KPIs

Generated from the catalogue in `gaugehouse.kpi` (`python -m gaugehouse.kpi > docs/kpis.md`); a test keeps them equal.

Every value comes with its unit, its **coverage** (share of the bucket in which a value is known), `n` (measurements that
are not bad), a **status** and a reason in words:

| status | meaning |
|---|---|
| `ok` | the number rests on everything that it should |
| `partial` | something it rests on is known to be missing: the period still runs, a counter's reading before the start is too old, its last steps are undecided, nobody saw a repair begin, values follow one another too closely for Cp |
| `no_data` | nothing was measured, and nothing known before holds |
| `undefined` | there is data, but the formula has no value (a zero denominator, a single point), or the KPI is not for this kind of metric |

A value **holds** until the next one, at most the metric's max hold (its own setting, else three nominal intervals). The
last value before the period is carried in on the same terms. Beyond that, time is *uncovered*: unknown, never down,
never idle. A period that still runs ends now. Weeks are ISO weeks; days follow the report's time zone across DST.

Formulas are in the language that projects define their own KPIs in ([formulas.md](formulas.md)); `U` is the unit of the
metric. Where a denominator is 0 there is no value, and the reason says why. For several components together (a type, a
label, the fleet) the facts are merged and the formula is applied to the merged ones: a ratio of sums, never a mean of
ratios.

"""
FACTS = """
# Facts

What formulas are made of. Times are exact to the microsecond. `of a group` says how the fact of several components
follows from those of each.

| fact | meaning | unit | for | of a group |
|---|---|---|---|---|
"""
OF_GROUPS = {
    Merge.SUM: "sum",
    Merge.MIN: "smallest",
    Merge.MAX: "largest",
    Merge.SPREAD: "about the mean of all",
    Merge.SAME: "where it is the same for all",
    Merge.NEVER: "undefined",
    Merge.QUANTILE: "undefined",
}
BETTER = {True: "- better: higher\n", False: "- better: lower\n", None: ""}


def render_page(kpis: Iterable[Kpi]) -> str:
    """Return the whole page."""
    sections = [_render(kpi) for kpi in kpis]
    facts = [_render_fact(one) for one in QUANTITIES.values()]
    return INTRODUCTION + "\n".join(sections) + FACTS + "".join(facts)


def _render(kpi: Kpi) -> str:
    definition = kpi.definition
    zero = f"- a denominator of 0: {_show_numbers(definition.zero)}\n" if definition.zero else ""
    return (
        f"## `{kpi.name}`: {kpi.title}\n\n"
        f"- formula: `{kpi.formula}`\n"
        f"- unit: {kpi.unit}\n"
        f"- for: {_list_kinds(kpi.kinds)}{'' if kpi.is_of_metric else ', beside ' + kpi.rule.about.shown}\n"
        f"- edges: {kpi.edge}\n"
        f"{zero}{''.join(_render_caveat(one) for one in definition.caveats)}"
        f"{BETTER[definition.higher_is_better]}"
        f"- source: {kpi.source}\n"
    )


def _render_caveat(caveat: CaveatText) -> str:
    return f"- {caveat.status} when `{caveat.when}`: {_show_numbers(caveat.reason)}\n"


def _render_fact(fact: Quantity) -> str:
    kinds = _list_kinds(fact.kinds)
    return f"| `{fact.name}` | {fact.meaning.replace('|', chr(92) + '|')} | {fact.unit} | {kinds} | {OF_GROUPS[fact.merge]} |\n"


def _list_kinds(kinds: frozenset[MetricKind]) -> str:
    return "every kind of metric" if kinds == ALL_KINDS else ", ".join(sorted(kinds))


def _show_numbers(text: str) -> str:
    """Return a reason with its formulas as code."""
    return text.replace("{", "`").replace("}", "`")
