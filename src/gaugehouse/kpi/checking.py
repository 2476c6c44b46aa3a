"""The checker: what names mean, whether units fit, and which conversions are needed. A tree becomes a term.

Units are symbols here: `U` for the metric that the KPI is about, `@name` for the metric that an attribute names, the
unit that was known for metrics that the formula names. So a formula that passes is right for every metric.
"""

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import reduce
from operator import or_

from gaugehouse.errors import Refused
from gaugehouse.kpi.facts import Want
from gaugehouse.kpi.language import (
    COMPARISONS,
    Attribute,
    Call,
    Negation,
    Node,
    Number,
    Operation,
    Reference,
    Span,
    find_similar,
    parse,
    quote,
    refusal,
    render,
    walk,
)
from gaugehouse.kpi.quantities import ALL_KINDS, LIMITS, QUANTITIES
from gaugehouse.kpi.terms import (
    OWN_SUBJECT,
    Aggregated,
    Applied,
    ComponentAttribute,
    Constant,
    Fact,
    Known,
    KpiValue,
    Limit,
    Scaled,
    Subject,
    SubjectKind,
    Term,
    walk_terms,
)
from gaugehouse.kpi.units import ONE, OWN_SYMBOL, SECONDS, Unit, parse_unit
from gaugehouse.measurements.metric import MetricKind

FUNCTIONS: Mapping[str, tuple[int, int]] = {  # name -> least and most arguments
    "if": (3, 3),
    "least": (2, 16),
    "greatest": (2, 16),
    "abs": (1, 1),
    "sqrt": (1, 1),
    "ln": (1, 1),
    "number": (1, 1),
    "known": (1, 1),
    "sum": (1, 1),
    "mean": (1, 2),
}
LARGEST_TERM = 10**300  # of a fraction: larger ones are no floats
VERBS = {"+": "added to", "-": "subtracted from"} | dict.fromkeys(COMPARISONS, "compared with")


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownMetric:
    """A metric that formulas may name; a kind that is not known is not checked."""

    unit: str
    kind: MetricKind | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownKpi:
    """A KPI that formulas may name: its unit, and the metrics it needs, each with the kinds that it may have."""

    unit: str
    kinds_of: Mapping[Subject, frozenset[MetricKind]]

    @property
    def is_of_metric(self) -> bool:
        """Tell whether it is about one metric, not about the component."""
        return OWN_SUBJECT in self.kinds_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What a formula may name beside facts and attributes of metrics.

    Args:
        metrics: Metrics of the project.
        kpis: Other KPIs.
        attributes: Names of attributes that components have; None accepts any.
    """

    metrics: Mapping[str, KnownMetric] = field(default_factory=dict)
    kpis: Mapping[str, KnownKpi] = field(default_factory=dict)
    attributes: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Formula:
    """A checked formula.

    Args:
        text: As written.
        unit: Of its values: declared, or derived where nothing was. Text with U for the unit of the metric.
        node: The tree.
        term: What is computed.
        kinds_of: Whose facts it uses, in the order of the text, and which kinds of metrics have them.
    """

    text: str
    unit: str
    node: Node
    term: Term
    kinds_of: Mapping[Subject, frozenset[MetricKind]]

    @property
    def subjects(self) -> tuple[Subject, ...]:
        return tuple(self.kinds_of)

    @property
    def quantities(self) -> frozenset[str]:
        """Facts it reads itself, of whatever metric."""
        return frozenset(one.quantity for one in walk_terms(self.term) if isinstance(one, Fact))

    @property
    def attributes(self) -> frozenset[str]:
        """Attributes of components that it uses itself."""
        named = (one.name for one in walk_terms(self.term) if isinstance(one, ComponentAttribute))
        return frozenset([*named, *(one.name for one in self.kinds_of if one.kind is SubjectKind.ATTRIBUTE)])

    @property
    def kpis(self) -> frozenset[str]:
        """KPIs it names."""
        return frozenset(one.kpi for one in walk_terms(self.term) if isinstance(one, KpiValue))

    @property
    def want(self) -> Want:
        """Passes over the rows that its own facts need."""
        return reduce(or_, (QUANTITIES[name].want for name in self.quantities), Want.NOTHING)

    @property
    def metric_units(self) -> dict[str, str]:
        """The metrics it names itself, each with the unit that it counts on."""
        subjects = [one.subject for one in walk_terms(self.term) if isinstance(one, Fact | Limit | KpiValue)]
        return {one.name: one.unit for one in subjects if one.kind is SubjectKind.METRIC}


def check_formula(text: str, unit: str, vocabulary: Vocabulary) -> Formula:
    """Return a formula whose values are in the unit that a KPI declares.

    Args:
        text: The formula.
        unit: Declared; U is the unit of the metric that the KPI is about.
        vocabulary: What may be named.

    Raises:
        Refused: `formula_syntax`, `formula_too_large`, `formula_unknown_name`, `formula_arguments`, `formula_type`,
            `formula_kind`, `formula_units`; with the place.
    """
    checker = _Checker(text, vocabulary)
    found = checker.check_number(checker.node)
    declared = parse_unit(unit, own=checker.is_of_metric)
    formula = checker.finish(checker.declare(found, declared, unit), unit)
    if not formula.subjects:
        raise refusal(text, checker.node.span, "the formula names no fact of a metric", code="formula_type")
    return formula


def check_value(text: str, unit: str, vocabulary: Vocabulary) -> Formula:
    """Return a formula in a unit for people, for texts that show a number: in the wanted one where that is possible."""
    checker = _Checker(text, vocabulary)
    found = checker.check_number(checker.node)
    given, wanted = found.unit or ONE, parse_unit(unit, own=checker.is_of_metric)
    if given.powers != wanted.powers:
        wanted, unit = given.without_factor(), str(given.without_factor())
    return checker.finish(checker.declare(found, wanted, unit), unit)


def check_condition(text: str, vocabulary: Vocabulary) -> Formula:
    """Return a formula that is a condition: 1 where it holds, else 0."""
    checker = _Checker(text, vocabulary)
    return checker.finish(checker.check_condition(checker.node).term, "1")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Checked:
    """A term with its unit; None fits any: the number 0."""

    term: Term
    unit: Unit | None
    is_condition: bool = False


class _Checker:
    """One formula on its way to a term."""

    def __init__(self, text: str, vocabulary: Vocabulary) -> None:
        self.node = parse(text)
        self.is_of_metric = any(_is_own(one, vocabulary) for one in walk(self.node))
        self._text = unicodedata.normalize("NFC", text)  # positions are those of the parser
        self._vocabulary = vocabulary
        self._kinds: dict[Subject, frozenset[MetricKind]] = {}
        self._in_aggregate = False

    def finish(self, term: Term, unit: str) -> Formula:
        for subject, own_kinds in self._kinds.items():
            if not own_kinds:
                whose = f"of {quote(subject.name)} " if subject.name else ""
                raise self._refusal(self.node, f"no kind of metric has all facts {whose}in it", "formula_kind")
        return Formula(text=self._text, unit=unit, node=self.node, term=term, kinds_of=dict(self._kinds))

    def declare(self, found: _Checked, declared: Unit, unit: str) -> Term:
        """Return the term in the declared unit."""
        if found.unit is None:
            return found.term
        if found.unit.powers != declared.powers:
            hint = self._find_unit_hint(found.unit, declared)
            why = f"the formula gives {_show(found.unit)}, but the KPI's unit is {unit or '1'}{hint}"
            raise self._refusal(self.node, why, "formula_units")
        return self._convert(self.node, found.term, found.unit, declared)

    def check_number(self, node: Node) -> _Checked:
        found = self._check(node)
        if found.is_condition:
            raise self._refusal(node, "expected a number, not a condition: write if(condition, 1, 0)", "formula_type")
        return found

    def check_condition(self, node: Node) -> _Checked:
        found = self._check(node)
        if not found.is_condition:
            raise self._refusal(node, "expected a condition such as n > 0", "formula_type")
        return found

    def _refusal(self, node: Node, why: str, code: str, near: Iterable[str] = ()) -> Refused:
        return refusal(self._text, node.span, why, code=code, suggestions=near)

    def _check(self, node: Node) -> _Checked:
        match node:
            case Number():
                return self._check_literal(node)
            case Reference():
                return self._check_reference(node)
            case Attribute():
                self._check_attribute_name(node.name, node.span)
                return _Checked(term=ComponentAttribute(name=node.name), unit=find_attribute_unit(node.name))
            case Negation():
                found = self.check_number(node.operand)
                return _Checked(term=Applied(function="negate", operands=(found.term,)), unit=found.unit)
            case Operation():
                return self._check_operation(node)
            case Call():
                return self._check_call(node)

    def _check_literal(self, node: Number) -> _Checked:
        if node.unit is None:
            return _Checked(term=Constant(value=node.value), unit=None if node.value == 0 else ONE)
        return _Checked(term=Constant(value=node.value), unit=parse_unit(node.unit, own=self.is_of_metric))

    # --- Names --------------------------------------------------------------------------------------------------------

    def _check_reference(self, node: Reference) -> _Checked:
        subject = self._find_subject(node)
        name = node.name
        if name in QUANTITIES:
            return self._check_fact(node, subject)
        if name in LIMITS:
            self._note(subject, ALL_KINDS)
            return _Checked(term=Limit(subject=subject, name=name), unit=self._place_unit(LIMITS[name], subject))
        kpi = self._vocabulary.kpis.get(name)
        if kpi is None:
            raise self._unknown_name(node)
        if not kpi.is_of_metric:
            if subject is not OWN_SUBJECT:
                why = f"{name} is about the component, not about one metric: write {name}"
                raise self._refusal(node, why, "formula_type")
            for one, kinds in kpi.kinds_of.items():
                self._note(one, kinds)
            return _Checked(term=KpiValue(subject=OWN_SUBJECT, kpi=name), unit=parse_unit(kpi.unit))
        self._check_kind(node, subject, kpi.kinds_of[OWN_SUBJECT])
        return _Checked(term=KpiValue(subject=subject, kpi=name), unit=self._place_unit(kpi.unit, subject))

    def _check_fact(self, node: Reference, subject: Subject) -> _Checked:
        quantity = QUANTITIES[node.name]
        self._check_kind(node, subject, quantity.kinds)
        unit = self._place_unit(quantity.stored_unit, subject)
        return _Checked(term=Fact(subject=subject, quantity=node.name), unit=unit)

    def _find_subject(self, node: Reference) -> Subject:
        if node.attribute is not None:
            self._check_attribute_name(node.attribute, node.span)
            return Subject(kind=SubjectKind.ATTRIBUTE, name=node.attribute)
        if node.metric is None:
            return OWN_SUBJECT
        metric = self._vocabulary.metrics.get(node.metric)
        if metric is None:
            near = [quote(one) for one in find_similar(node.metric, self._vocabulary.metrics)]
            raise self._refusal(node, f"there is no metric {quote(node.metric)}", "formula_unknown_name", near)
        return Subject(kind=SubjectKind.METRIC, name=node.metric, unit=metric.unit)

    def _check_attribute_name(self, name: str, span: Span) -> None:
        known = self._vocabulary.attributes
        if known is not None and name not in known:
            near = [f"@{quote(one)}" for one in find_similar(name, known)]
            why = f"no component has an attribute {quote(name)}"
            raise refusal(self._text, span, why, code="formula_unknown_name", suggestions=near)

    def _check_kind(self, node: Reference, subject: Subject, kinds: frozenset[MetricKind]) -> None:
        metric = self._vocabulary.metrics.get(subject.name) if subject.kind is SubjectKind.METRIC else None
        if metric is not None and metric.kind is not None and metric.kind not in kinds:
            fitting = " or ".join(sorted(kinds))
            why = f"{node.name} is for metrics of kind {fitting}; {quote(subject.name)} is a {metric.kind}"
            raise self._refusal(node, why, "formula_kind")
        self._note(subject, kinds)

    def _note(self, subject: Subject, kinds: frozenset[MetricKind]) -> None:
        self._kinds[subject] = self._kinds.get(subject, ALL_KINDS) & kinds

    def _unknown_name(self, node: Reference) -> Refused:
        name = node.name
        known = [*QUANTITIES, *LIMITS, *self._vocabulary.kpis]
        if node.metric is None and node.attribute is None:
            if name in self._vocabulary.metrics:
                why = f"{quote(name)} is a metric: say which fact of it"
                return self._refusal(node, why, "formula_unknown_name", [f"{quote(name)}.{self._example_of(name)}"])
            if name in (self._vocabulary.attributes or ()):
                return self._refusal(
                    node, f"{quote(name)} is an attribute of components", "formula_unknown_name", [f"@{quote(name)}"]
                )
        return self._refusal(
            node, f"{name!r} is no fact, attribute or KPI", "formula_unknown_name", find_similar(name, known)
        )

    def _example_of(self, metric: str) -> str:
        kind = self._vocabulary.metrics[metric].kind
        return {MetricKind.COUNTER: "increase", MetricKind.DELTA: "sum", MetricKind.STATE: "up_s"}.get(
            kind or MetricKind.GAUGE, "mean"
        )

    # --- Units --------------------------------------------------------------------------------------------------------

    def _place_unit(self, text: str, subject: Subject) -> Unit:
        """Return the unit of a fact of a subject."""
        unit = parse_unit(text, own=True)
        match subject.kind:
            case SubjectKind.OWN:
                return unit
            case SubjectKind.METRIC:
                return unit.replaced(OWN_SYMBOL, parse_unit(subject.unit))
            case SubjectKind.ATTRIBUTE:
                return unit.replaced(OWN_SYMBOL, Unit(((subject.shown, Fraction(1)),)))

    def _convert(self, node: Node, term: Term, given: Unit, wanted: Unit) -> Term:
        ratio = given.factor / wanted.factor
        if ratio == 1:
            return term
        if Unit((), ratio).is_extreme or max(ratio.numerator, ratio.denominator) > LARGEST_TERM:
            raise self._refusal(node, f"{given} and {wanted} are too far apart", "formula_units")
        return Scaled(operand=term, numerator=float(ratio.numerator), denominator=float(ratio.denominator))

    def _unify(self, node: Node, what: str, left: _Checked, right: _Checked) -> tuple[Term, Unit | None]:
        """Return the right one in the unit of the left one, and the unit of both."""
        if left.unit is None or right.unit is None:
            return right.term, left.unit or right.unit
        if left.unit.powers != right.unit.powers:
            hint = self._find_unit_hint(left.unit, right.unit)
            why = f"{_show(right.unit)} cannot be {what} {_show(left.unit)}{hint}"
            raise self._refusal(node, why, "formula_units")
        return self._convert(node, right.term, right.unit, left.unit), left.unit

    def _find_unit_hint(self, left: Unit, right: Unit) -> str:
        if OWN_SYMBOL in {symbol for unit in (left, right) for symbol, _ in unit.powers}:
            return " (U is the unit of the metric, which differs from metric to metric)"
        without = [one.name for one in self._kinds if one.kind is SubjectKind.METRIC and not one.unit]
        if without:
            return f" ({', '.join(quote(name) for name in without)} has no unit: set it)"
        if ONE in (left, right):
            return "; give numbers their unit in brackets: 5 [kWh]"
        return ""

    # --- Operators and functions --------------------------------------------------------------------------------------

    def _check_operation(self, node: Operation) -> _Checked:
        left, right = self.check_number(node.left), self.check_number(node.right)
        if node.operator in "*/":
            return self._check_product(node, left, right)
        term, unit = self._unify(node, VERBS[node.operator], left, right)
        applied = Applied(function=node.operator, operands=(left.term, term))
        return _Checked(term=applied, unit=unit, is_condition=node.operator in COMPARISONS)

    def _check_product(self, node: Operation, left: _Checked, right: _Checked) -> _Checked:
        above, below = left.unit or ONE, right.unit or ONE
        unit = above * below if node.operator == "*" else above / below
        if unit.is_extreme:
            raise self._refusal(node, "the units are too far apart", "formula_units")
        detail = render(node.right) if node.operator == "/" else ""
        term = Applied(function=node.operator, operands=(left.term, right.term), detail=detail)
        return _Checked(term=term, unit=unit)

    def _check_call(self, node: Call) -> _Checked:
        if node.function not in FUNCTIONS:
            near = find_similar(node.function, FUNCTIONS)
            why = f"there is no function {node.function!r}; there are {', '.join(FUNCTIONS)}"
            raise self._refusal(node, why, "formula_unknown_name", near)
        least, most = FUNCTIONS[node.function]
        if not least <= len(node.arguments) <= most:
            wanted = str(least) if least == most else f"{least} to {most}"
            why = f"{node.function} takes {wanted} arguments, not {len(node.arguments)}"
            raise self._refusal(node, why, "formula_arguments")
        match node.function:
            case "if":
                return self._check_if(node)
            case "least" | "greatest":
                return self._check_extreme(node)
            case "known":
                return self._check_known(node)
            case "number":
                return self._check_bare_number(node)
            case "sum" | "mean":
                return self._check_aggregate(node)
            case _:
                return self._check_function(node)

    def _check_if(self, node: Call) -> _Checked:
        condition = self.check_condition(node.arguments[0])
        chosen, other = (self.check_number(one) for one in node.arguments[1:])
        term, unit = self._unify(node, "an alternative to", chosen, other)
        return _Checked(term=Applied(function="if", operands=(condition.term, chosen.term, term)), unit=unit)

    def _check_extreme(self, node: Call) -> _Checked:
        first, *others = (self.check_number(one) for one in node.arguments)
        total, terms = first, [first.term]
        for one in others:
            term, unit = self._unify(node, "compared with", total, one)
            total = _Checked(term=term, unit=unit)
            terms.append(term)
        return _Checked(term=Applied(function=node.function, operands=tuple(terms)), unit=total.unit)

    def _check_known(self, node: Call) -> _Checked:
        found = self._check(node.arguments[0])
        if not isinstance(found.term, Limit | ComponentAttribute):
            why = "known() asks for an attribute of the metric or component, such as usl or @name"
            raise self._refusal(node.arguments[0], why, "formula_type")
        return _Checked(term=Known(operand=found.term), unit=None, is_condition=True)

    def _check_bare_number(self, node: Call) -> _Checked:
        found = self.check_number(node.arguments[0])
        unit = found.unit or ONE
        if unit.factor != 1 or any(symbol == "s" for symbol, _ in unit.powers):
            why = (
                f"number() leaves out a unit, but {_show(unit)} is time or a ratio: divide by one of it, such as 1 [h]"
            )
            raise self._refusal(node, why, "formula_units")
        return _Checked(term=found.term, unit=ONE)

    def _check_aggregate(self, node: Call) -> _Checked:
        if self._in_aggregate:
            why = f"{node.function}() over components stands within another one"
            raise self._refusal(node, why, "formula_type")
        self._in_aggregate = True
        found = [self.check_number(one) for one in node.arguments]
        self._in_aggregate = False
        unit = found[0].unit
        symbols = {symbol for one in found if one.unit is not None for symbol, _ in one.unit.powers}
        subjects = tuple(one for one in self._kinds if _find_symbol(one) in symbols)
        operands = tuple(one.term for one in found)
        return _Checked(term=Aggregated(function=node.function, operands=operands, subjects=subjects), unit=unit)

    def _check_function(self, node: Call) -> _Checked:
        """Check abs, sqrt and ln."""
        found = self.check_number(node.arguments[0])
        unit = found.unit or ONE
        if node.function == "abs":
            return _Checked(term=Applied(function="abs", operands=(found.term,)), unit=found.unit)
        plain = unit.without_factor()
        term = Applied(function=node.function, operands=(self._convert(node, found.term, unit, plain),))
        if node.function == "sqrt":
            return _Checked(term=term, unit=plain.root())
        if plain != ONE:
            why = f"ln() needs a number without a unit, not {_show(unit)}: divide by a reference first"
            raise self._refusal(node, why, "formula_units")
        return _Checked(term=term, unit=ONE)


def _is_own(node: Node, vocabulary: Vocabulary) -> bool:
    """Tell whether a name stands for something of the metric that the KPI is about."""
    if not isinstance(node, Reference) or node.metric is not None or node.attribute is not None:
        return False
    kpi = vocabulary.kpis.get(node.name)
    return node.name in QUANTITIES or node.name in LIMITS or (kpi is not None and kpi.is_of_metric)


def _show(unit: Unit) -> str:
    """Return a unit as people know it: that times are stored in microseconds is nobody's business."""
    seconds = unit.exponent_of("s")
    is_stored = seconds.denominator == 1 and unit.factor == SECONDS["us"] ** int(seconds)
    return str(unit.without_factor() if is_stored else unit)


def _find_symbol(subject: Subject) -> str | None:
    """Return the symbol that stands for the unit of a subject; named metrics have a known one."""
    return {SubjectKind.OWN: OWN_SYMBOL, SubjectKind.ATTRIBUTE: subject.shown, SubjectKind.METRIC: None}[subject.kind]


def find_attribute_unit(name: str) -> Unit:
    """Return the unit that the name of an attribute ends in: cycle_time_s, limit_percent; else 1."""
    ending = name.rpartition("_")[2] if "_" in name else ""
    return parse_unit("%" if ending == "percent" else ending) if ending in {*SECONDS, "percent"} else ONE
