"""Rules: what is computed for a KPI, checked: its formula, its caveats, and the reasons that name numbers."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gaugehouse.errors import Refused
from gaugehouse.kpi.checking import Formula, KnownKpi, Vocabulary, check_condition, check_formula, check_value
from gaugehouse.kpi.outcome import Status
from gaugehouse.kpi.terms import OWN_SUBJECT, Subject
from gaugehouse.measurements.metric import MetricKind

SHOWN_NUMBER = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CaveatText:
    """When a KPI has no value although its formula has one, or only a partial one.

    Args:
        when: A condition in the formula language. Where it cannot be told, the caveat does not apply.
        status: undefined or partial.
        reason: In words; `{formula}` shows a number.
    """

    when: str
    status: Status
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A reason with formulas between its texts whose values are shown: one text more than there are formulas."""

    texts: tuple[str, ...]
    formulas: tuple[Formula, ...] = ()

    @property
    def pattern(self) -> str:
        """The reason itself where it shows no number; else what stands for it until the numbers are known."""
        return "{}".join(self.texts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caveat:
    """A checked `CaveatText`."""

    when: Formula
    status: Status
    reason: Template


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What is computed for a KPI.

    Args:
        formula: Its value.
        about: The metric whose facts it is about; for one that only names metrics, the one it is shown beside.
        kinds: Kinds of that metric that it is defined for.
        zero: Reason of a zero denominator; None names the denominator.
        caveats: In order; a later one overrides an earlier one.
        is_planned: Its facts are those of planned busy time, also in the KPIs that it names.
    """

    formula: Formula
    about: Subject
    kinds: frozenset[MetricKind]
    zero: Template | None = None
    caveats: tuple[Caveat, ...] = ()
    is_planned: bool = False

    @property
    def formulas(self) -> tuple[Formula, ...]:
        """All formulas that are needed."""
        templates = [one.reason for one in self.caveats] + ([] if self.zero is None else [self.zero])
        shown = [formula for one in templates for formula in one.formulas]
        return (self.formula, *(one.when for one in self.caveats), *shown)

    @property
    def known(self) -> KnownKpi:
        """What other formulas need to know of it."""
        return KnownKpi(unit=self.formula.unit, kinds_of={**self.formula.kinds_of, self.about: self.kinds})

    @property
    def is_of_metric(self) -> bool:
        """Tell whether it is about one metric, not about the component."""
        return self.about == OWN_SUBJECT


def make_rule(  # noqa: PLR0913 - a formula and the rules around it
    text: str,
    unit: str,
    vocabulary: Vocabulary,
    *,
    kinds: frozenset[MetricKind] | None = None,
    zero: str = "",
    caveats: Sequence[CaveatText] = (),
    is_planned: bool = False,
) -> Rule:
    """Return what is computed for a KPI, checked.

    Args:
        text: The formula.
        unit: Declared.
        vocabulary: What may be named.
        kinds: Metric kinds it is defined for; None: those that have all facts it needs.
        zero: Reason of a zero denominator.
        caveats: See `CaveatText`.
        is_planned: See `Rule`.

    Raises:
        Refused: See `check_formula`.
    """
    formula = check_formula(text, unit, vocabulary)
    about = _find_about(formula, kinds)
    return Rule(
        formula=formula,
        about=about,
        kinds=formula.kinds_of[about] if kinds is None else kinds,
        zero=_make_template(zero, unit, vocabulary) if zero else None,
        caveats=tuple(
            Caveat(
                when=check_condition(one.when, vocabulary),
                status=one.status,
                reason=_make_template(one.reason, unit, vocabulary),
            )
            for one in caveats
        ),
        is_planned=is_planned,
    )


def _find_about(formula: Formula, kinds: frozenset[MetricKind] | None) -> Subject:
    """Return the metric itself, else the first one in the text that may have the kinds."""
    choice = [OWN_SUBJECT] if OWN_SUBJECT in formula.kinds_of else list(formula.kinds_of)
    fitting = [one for one in choice if kinds is None or kinds <= formula.kinds_of[one]]
    if not fitting:
        named = ", ".join(sorted(kinds or ()))
        raise Refused(f"no metric in {formula.text} has all its facts for kind {named}", code="formula_kind")
    return fitting[0]


def _make_template(text: str, unit: str, vocabulary: Vocabulary) -> Template:
    parts = SHOWN_NUMBER.split(text)
    return Template(texts=tuple(parts[::2]), formulas=tuple(check_value(one, unit, vocabulary) for one in parts[1::2]))
