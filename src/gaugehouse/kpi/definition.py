"""Definitions: KPIs as people write them, built in or of a project, and a set of them made ready to be computed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import or_

from gaugehouse.errors import Refused
from gaugehouse.kpi.checking import FUNCTIONS, Formula, KnownMetric, Vocabulary
from gaugehouse.kpi.facts import Want
from gaugehouse.kpi.language import PLAIN_NAME, Reference, find_depth, parse, walk
from gaugehouse.kpi.quantities import LIMITS, QUANTITIES
from gaugehouse.kpi.rules import CaveatText, Rule, make_rule
from gaugehouse.kpi.terms import OWN_SUBJECT, Subject
from gaugehouse.measurements.metric import MetricKind

MAX_HEIGHT = 160  # of a formula together with those below it: each level costs a few frames of the interpreter's stack
MAX_NAME_CHARACTERS = 64
MAX_TITLE_CHARACTERS = 200
MAX_EDGE_CHARACTERS = 1_000
MAX_UNIT_CHARACTERS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A KPI as it is written.

    Args:
        name: Stable name in requests, columns and templates, and in other formulas.
        title: Name for people.
        unit: Of its values; U is the unit of the metric that it is about.
        formula: In the formula language.
        source: Standard, paper or product that it follows.
        edge: When it has no value, and what happens at the borders of the period.
        kinds: Metric kinds it is defined for; None: all that have the facts it needs.
        zero: Reason of a zero denominator; `{formula}` shows a number.
        caveats: When it has no value, or a partial one, although the formula has one.
        higher_is_better: For traffic lights; None: neither is.
        is_planned: It is about planned busy time: its facts are those of the shifts, without what is excluded.
        version: Counts up with each change of a project's KPI; 0: built in.
        metric_units: The metrics that the formula names, with the units they had when it was defined.
    """

    name: str
    title: str
    unit: str
    formula: str
    source: str = ""
    edge: str = ""
    kinds: frozenset[MetricKind] | None = None
    zero: str = ""
    caveats: tuple[CaveatText, ...] = ()
    higher_is_better: bool | None = None
    is_planned: bool = False
    version: int = 0
    metric_units: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kpi:
    """A definition that was checked, and what is computed for it.

    Args:
        definition: As written.
        rule: As computed.
        want: Passes over the rows that it needs, also through the KPIs that it names.
        quantities: Facts that it needs, likewise.
        subjects: Metrics whose facts it needs, likewise.
        attributes: Attributes of components that it needs, likewise.
        height: Levels of its formula and of the highest one that it names, together.
        needs_planned: It rests on the facts of planned busy time, likewise.
    """

    definition: Definition
    rule: Rule
    want: Want
    quantities: frozenset[str]
    subjects: frozenset[Subject]
    attributes: frozenset[str]
    height: int
    needs_planned: bool

    @property
    def name(self) -> str:
        return self.definition.name

    @property
    def title(self) -> str:
        return self.definition.title

    @property
    def unit(self) -> str:
        return self.definition.unit

    @property
    def formula(self) -> str:
        return self.definition.formula

    @property
    def source(self) -> str:
        return self.definition.source

    @property
    def edge(self) -> str:
        return self.definition.edge

    @property
    def kinds(self) -> frozenset[MetricKind]:
        return self.rule.kinds

    @property
    def is_of_metric(self) -> bool:
        """Tell whether it is about one metric; else about a component, and shown beside one of its metrics."""
        return self.rule.is_of_metric

    @property
    def looks_around(self) -> bool:
        """Tell whether it needs more than the facts and attributes of one metric."""
        return bool(self.attributes) or self.subjects != {OWN_SUBJECT}


def make_kpis(
    definitions: Iterable[Definition],
    *,
    known: Mapping[str, Kpi] | None = None,
    metrics: Mapping[str, KnownMetric] | None = None,
    attributes: frozenset[str] | None = None,
) -> dict[str, Kpi]:
    """Return KPIs in an order in which each comes after those that its formula names.

    Args:
        definitions: Any order; they may name one another, but not in a circle.
        known: KPIs that they may name beside one another.
        metrics: Metrics that formulas may name; None: those of each definition, in the units it counts on.
        attributes: Names of attributes of components; None accepts any.

    Raises:
        Refused: `formula_cycle`, `kpi_name_refused`, or what `check_formula` says.
    """
    own = {one.name: one for one in definitions}
    made = dict(known or {})
    for name in _sort(own):
        one = own[name]
        vocabulary = Vocabulary(
            metrics={metric: KnownMetric(unit=unit) for metric, unit in one.metric_units.items()}
            if metrics is None
            else metrics,
            kpis={other: kpi.rule.known for other, kpi in made.items()},
            attributes=attributes,
        )
        made[name] = _make_kpi(one, vocabulary, made)
    return {name: kpi for name, kpi in made.items() if name in own}


def define(
    new: Definition,
    others: Sequence[Definition],
    *,
    built_in: Mapping[str, Kpi],
    metrics: Mapping[str, KnownMetric],
    attributes: frozenset[str],
) -> Definition:
    """Return a project's KPI as it can be stored: checked against what the project has, with the units it counts on.

    Args:
        new: As a manager wrote it; its version is kept.
        others: The project's other KPIs, the newest version of each.
        built_in: The catalogue.
        metrics: The project's metrics.
        attributes: Names of the attributes that its components have.

    Raises:
        Refused: The name cannot be used, or the formula is not right, or another KPI rests on this one and would not
            be right any more.
    """
    problem = _find_definition_problem(new, built_in)
    if problem is not None:
        raise Refused(f"the KPI cannot be defined: {problem}", code="kpi_refused")
    project = {one.name: one for one in others} | {new.name: new}
    _sort(project)  # refuses circles
    below = make_kpis([project[name] for name in find_needed(new, project)], known=built_in)
    made = make_kpis([new], known={**built_in, **below}, metrics=metrics, attributes=attributes)[new.name]
    defined = replace(new, metric_units=made.rule.formula.metric_units)
    _check_dependents(defined, project, built_in)
    return defined


def _check_dependents(defined: Definition, project: Mapping[str, Definition], built_in: Mapping[str, Kpi]) -> None:
    """Refuse a change that another KPI does not survive."""
    changed = {**project, defined.name: defined}
    for one in project.values():
        needed = find_needed(one, changed)
        if defined.name not in needed:
            continue
        try:
            make_kpis([*(changed[name] for name in needed), one], known=built_in)
        except Refused as refusal:
            raise Refused(
                f"{one.name} rests on {defined.name} and would not be right any more: {refusal.message}",
                code=refusal.code,
                fields=refusal.fields,
            ) from refusal


def _find_definition_problem(new: Definition, built_in: Mapping[str, Kpi]) -> str | None:
    """Return why a definition cannot be stored, before its formula is looked at."""
    if not PLAIN_NAME.fullmatch(new.name) or not new.name.isascii() or not new.name.islower():
        return "its name must be lower case letters, digits and _, and begin with a letter"
    if len(new.name) > MAX_NAME_CHARACTERS:
        return f"its name has {len(new.name)} characters, at most {MAX_NAME_CHARACTERS} are allowed"
    if new.name in built_in or new.name in QUANTITIES or new.name in LIMITS or new.name in FUNCTIONS:
        return f"{new.name} is the name of a built-in KPI, a fact, an attribute or a function"
    limits = {"title": MAX_TITLE_CHARACTERS, "edge": MAX_EDGE_CHARACTERS, "unit": MAX_UNIT_CHARACTERS}
    for name, limit in limits.items():
        text = getattr(new, name)
        if len(text) > limit:
            return f"its {name} has {len(text)} characters, at most {limit} are allowed"
    return None if new.title.strip() else "it needs a title"


def _make_kpi(one: Definition, vocabulary: Vocabulary, made: Mapping[str, Kpi]) -> Kpi:
    rule = make_rule(
        one.formula,
        one.unit,
        vocabulary,
        kinds=one.kinds,
        zero=one.zero,
        caveats=one.caveats,
        is_planned=one.is_planned,
    )
    named = [made[name] for name in sorted({name for formula in rule.formulas for name in formula.kpis})]
    height = max(find_depth(f.node) for f in rule.formulas) + max((kpi.height for kpi in named), default=0)
    if height > MAX_HEIGHT:
        raise Refused(f"{one.name} rests on too many KPIs in a row", code="formula_too_large")
    parts: tuple[Formula | Kpi, ...] = (*rule.formulas, *named)
    return Kpi(
        definition=one,
        rule=rule,
        want=reduce(or_, (part.want for part in parts)),
        quantities=frozenset(name for part in parts for name in part.quantities),
        subjects=frozenset(subject for part in parts for subject in part.subjects),
        attributes=frozenset(name for part in parts for name in part.attributes),
        height=height,
        needs_planned=rule.is_planned or any(kpi.needs_planned for kpi in named),
    )


def _find_named(one: Definition) -> list[str]:
    """Return the names in a definition's formulas that may be KPIs; a fact goes before a KPI of its name (`min`)."""
    texts = [one.formula, *(caveat.when for caveat in one.caveats)]
    nodes = [node for text in texts for node in walk(parse(text))]
    names = dict.fromkeys(node.name for node in nodes if isinstance(node, Reference))
    return [name for name in names if name not in QUANTITIES and name not in LIMITS]


def find_needed(one: Definition, others: Mapping[str, Definition]) -> list[str]:
    """Return the names of the KPIs that one rests on, directly or not, out of others."""
    found: dict[str, None] = {}
    waiting = [one]
    while waiting:
        for name in _find_named(waiting.pop()):
            if name in others and name not in found:
                found[name] = None
                waiting.append(others[name])
    return list(found)


def _sort(own: Mapping[str, Definition]) -> list[str]:
    """Return names so that each comes after those it names (depth first, without recursion)."""
    named = {name: [other for other in _find_named(one) if other in own] for name, one in own.items()}
    done: dict[str, None] = {}
    for start in own:
        path = [] if start in done else [start]
        while path:
            waits_for = next((one for one in named[path[-1]] if one not in done), None)
            if waits_for is None:
                done[path.pop()] = None
            elif waits_for in path:
                raise _cycle([*path[path.index(waits_for) :], waits_for])
            else:
                path.append(waits_for)
    return list(done)


def _cycle(path: Sequence[str]) -> Refused:
    return Refused(f"KPIs rest on one another in a circle: {' -> '.join(path)}", code="formula_cycle")
