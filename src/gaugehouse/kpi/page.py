"""The catalogue as the page docs/kpis.md."""
# ruff: noqa: E501 - a row of a Markdown table is one line

from collections.abc import Iterable

from gaugehouse.kpi.catalogue import ALL_KINDS, Kpi

INTRODUCTION = """# KPIs

Generated from the catalogue in `gaugehouse.kpi` (`python -m gaugehouse.kpi > docs/kpis.md`); a test keeps them equal.

Every value comes with its unit, its **coverage** (share of the bucket in which a value is known), `n` (measurements that
are not bad), a **status** and a reason in words:

| status | meaning |
|---|---|
| `ok` | the number rests on everything that it should |
| `partial` | something it rests on is known to be missing: the period still runs, a counter's reading before the start is too old, its last steps are undecided |
| `no_data` | nothing was measured, and nothing known before holds |
| `undefined` | there is data, but the formula has no value (a zero denominator, a single point), or the KPI is not for this kind of metric |

A value **holds** until the next one, at most the metric's max hold (its own setting, else three nominal intervals). The
last value before the period is carried in on the same terms. Beyond that, time is *uncovered*: unknown, never down,
never idle. A period that still runs ends now. Weeks are ISO weeks; days follow the report's time zone across DST.

"""


def render_page(kpis: Iterable[Kpi]) -> str:
    """Return the whole page."""
    sections = [_render(kpi) for kpi in kpis]
    return INTRODUCTION + "\n".join(sections)


def _render(kpi: Kpi) -> str:
    kinds = "every kind of metric" if kpi.kinds == ALL_KINDS else ", ".join(sorted(kpi.kinds))
    return (
        f"## `{kpi.name}`: {kpi.title}\n\n"
        f"- formula: {kpi.formula}\n"
        f"- unit: {kpi.unit.value}\n"
        f"- for: {kinds}\n"
        f"- edges: {kpi.edge}\n"
        f"- source: {kpi.source}\n"
    )
