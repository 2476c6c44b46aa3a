"""The evaluator: the values of terms for many rows and buckets at once, each fact and each KPI once.

A row is what a KPI is asked about: a metric of a component (or a component alone). Without groups a row is answered as
it is. With groups the facts of a group's rows are merged first and the formula is applied to the merged ones, so that a
share is a ratio of sums, never a mean of ratios; `sum` and `mean` in a formula say otherwise where that is wanted.

Rules of propagation (a slow, obvious evaluator in the tests says the same cell by cell):
- the worst status wins, with its reason; of equal ones the first in the text;
- an operand without a value gives no value;
- a zero denominator is undefined, but where an operand is `no_data` the result stays `no_data`;
- of `if`, only the condition and the chosen alternative count;
- a result too large for a float is undefined.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaugehouse.kpi import kernel
from gaugehouse.kpi.checking import Formula
from gaugehouse.kpi.facts import KIND_CODES, Facts
from gaugehouse.kpi.groups import Groups
from gaugehouse.kpi.outcome import (
    NO_DATA,
    REASON_OF_KIND,
    UNDEFINED,
    Mask,
    Numbers,
    Outcome,
    Reason,
    ReasonTexts,
    Status,
    join,
    plain,
)
from gaugehouse.kpi.quantities import LIMITS, QUANTITIES, Merge, Quantity
from gaugehouse.kpi.readings import Readings, find_known
from gaugehouse.kpi.rules import Caveat, Rule, Template
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
)
from gaugehouse.kpi.units import OWN_SYMBOL, parse_unit, show_unit
from gaugehouse.measurements.metric import MetricAttributes, MetricKind

OWN_UNITS = {one.name: one.unit for one in QUANTITIES.values()} | dict(LIMITS)
OWN_EXPONENTS = {name: int(parse_unit(unit, own=True).exponent_of(OWN_SYMBOL)) for name, unit in OWN_UNITS.items()}
NOWHERE = -1  # the series of a metric that a component does not have
SHOWN_DIGITS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Owners:
    """Whose series these are: what formulas need that look beyond one metric.

    Args:
        components: Component of each series.
        metrics: Metric of each series.
        attributes: Attributes of components by name; components without any may be missing.
        hidden: Series that are there for formulas only: no group answers for them.
    """

    components: Sequence[str]
    metrics: Sequence[str]
    attributes: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    hidden: frozenset[int] = frozenset()


class Place(NamedTuple):
    """Where the metric of a subject is, for each row.

    Attributes:
        series: Index of the series, NOWHERE where there is none.
        reason: Why there is none.
        factor: How many of the unit that the formula counts on one of the series' own units is; NaN: another quantity.
    """

    series: NDArray[np.int64]
    reason: NDArray[np.int32]
    factor: kernel.Floats


class _Scope(NamedTuple):
    """What a term is evaluated in.

    Attributes:
        own: Which metric is meant by bare names.
        by_row: By row, or merged.
        zero: What a zero denominator is called.
        is_planned: With the facts of planned busy time.
    """

    own: Subject
    by_row: bool
    zero: int
    is_planned: bool = False


class Calculation:
    """The values of KPIs for some rows.

    Args:
        facts: Of all series.
        attributes: Of the metric of each series.
        rules: KPIs by name: those asked for and those that they name.
        rows: Index of the series that each row is about.
        owners: Whose series these are; None: formulas that name other metrics find none.
        groups: How rows are merged; None: each stands for itself.
    """

    def __init__(
        self,
        facts: Facts,
        attributes: Sequence[MetricAttributes],
        rules: Mapping[str, Rule],
        *,
        rows: NDArray[np.int64],
        owners: Owners | None = None,
        groups: Groups | None = None,
    ) -> None:
        self.texts = ReasonTexts()
        self.rows = rows
        self.groups = groups
        self._facts = facts
        self.attributes = attributes
        self._rules = rules
        self._owners = owners
        self._readings = Readings(facts, attributes, self.texts)
        self._planned = self._readings
        if facts.planned is not None:
            self._planned = Readings(facts.planned, attributes, self.texts)
        self._series: dict[tuple[str, str], int] | None = None
        self._places: dict[Subject, Place] = {}
        self._kpis: dict[tuple[str, Subject, bool, bool], Outcome] = {}

    def evaluate(self, name: str) -> Outcome:
        """Return a KPI for every (row or group, bucket)."""
        with np.errstate(all="ignore"):
            return self._evaluate_kpi(name, OWN_SUBJECT, by_row=self.groups is None)

    def evaluate_term(self, term: Term, *, is_planned: bool = False) -> Outcome:
        """Return a part of a formula for every (row or group, bucket)."""
        scope = _Scope(OWN_SUBJECT, self.groups is None, Reason.NONE, is_planned)
        with np.errstate(all="ignore"):
            return self._fit(self._evaluate(term, scope))

    def find_place(self, subject: Subject) -> Place:
        """Return where the metric of a subject is for each row."""
        if subject not in self._places:
            self._places[subject] = self._look_up(subject)
        return self._places[subject]

    # --- KPIs ---------------------------------------------------------------------------------------------------------

    def _evaluate_kpi(self, name: str, own: Subject, *, by_row: bool, is_planned: bool = False) -> Outcome:
        rule = self._rules[name]
        if OWN_SUBJECT not in rule.formula.subjects:
            own = OWN_SUBJECT  # it is about the component: the same for all of its metrics
        key = (name, own, by_row, is_planned or rule.is_planned)
        if key not in self._kpis:
            zero = Reason.NONE if rule.zero is None else self.texts.code(rule.zero.pattern)
            self._kpis[key] = self._evaluate_rule(rule, _Scope(own, by_row, zero, key[-1]))
        return self._kpis[key]

    def _evaluate_rule(self, rule: Rule, scope: _Scope) -> Outcome:
        own, by_row, zero = scope.own, scope.by_row, scope.zero
        outcome = self._fit(self._evaluate(rule.formula.term, scope), by_row=by_row).copy()
        if rule.zero is not None:
            self._say(outcome, (outcome.status == UNDEFINED) & (outcome.reason == zero), rule.zero, scope)
        for caveat in rule.caveats:
            where = _find_true(self._fit(self._evaluate(caveat.when.term, scope), by_row=by_row))
            if caveat.status is Status.PARTIAL:
                where = (where | self._find_concerned(caveat, scope)) & (outcome.status < NO_DATA)
            outcome.mark(where, caveat.status, Reason.NONE, keeps_value=caveat.status is Status.PARTIAL)
            self._say(outcome, where, caveat.reason, scope)
        if own.kind is not SubjectKind.OWN:
            self._mark_other_kinds(outcome, rule.kinds, own, by_row=by_row)
        return outcome

    def _find_concerned(self, caveat: Caveat, scope: _Scope) -> Mask | bool:
        """Tell for which groups a caveat holds of a member: what is wrong with a part is wrong with the whole."""
        if scope.by_row or self.groups is None:
            return False
        condition = self._fit(self._evaluate(caveat.when.term, scope._replace(by_row=True)), by_row=True)
        return self.groups.find_any(_find_true(condition))

    def _say(self, outcome: Outcome, where: Mask, template: Template, scope: _Scope) -> None:
        """Set the reason of cells to a text, with numbers of each cell where it shows some."""
        if not where.any():
            return
        if not template.formulas:
            outcome.reason[where] = self.texts.code(template.texts[0])
            return
        values = [self._fit(self._evaluate(one.term, scope), by_row=scope.by_row).value for one in template.formulas]
        units = [self._find_unit_texts(one, scope) for one in template.formulas]
        for row, bucket in zip(*np.nonzero(where), strict=True):
            shown = [_show_number(value[row, bucket], unit[row]) for value, unit in zip(values, units, strict=True)]
            text = "".join(part for pair in zip(template.texts, [*shown, ""], strict=True) for part in pair)
            outcome.reason[row, bucket] = self.texts.code(text)

    def _find_unit_texts(self, formula: Formula, scope: _Scope) -> list[str]:
        """Return the unit of a shown number per row or group."""
        if scope.own.kind is SubjectKind.METRIC:  # its values are converted to the unit that the formula counts on
            return [show_unit(formula.unit, scope.own.unit)] * len(self.rows)
        series = self.find_place(scope.own).series
        units = [show_unit(formula.unit, self.attributes[one].unit if one >= 0 else "") for one in series.tolist()]
        return units if scope.by_row or self.groups is None else [units[one] for one in self.groups.firsts.tolist()]

    def _mark_other_kinds(self, outcome: Outcome, kinds: frozenset[MetricKind], own: Subject, *, by_row: bool) -> None:
        series = self.find_place(own).series
        codes = self._facts.kind[np.maximum(series, 0)]
        strange = (series >= 0) & ~np.isin(codes, [KIND_CODES[kind] for kind in kinds])
        if not by_row and self.groups is not None:
            firsts = self.groups.find_first(strange[:, None])[:, 0]
            strange, codes = firsts < len(self.rows), codes[np.minimum(firsts, len(self.rows) - 1)]
        where = np.broadcast_to(strange[:, None], outcome.value.shape)
        outcome.mark(where, Status.UNDEFINED, np.broadcast_to(REASON_OF_KIND[codes][:, None], outcome.value.shape))

    def _fit(self, outcome: Outcome, *, by_row: bool | None = None) -> Outcome:
        """Return an outcome with one cell per (row or group, bucket)."""
        is_by_row = self.groups is None if by_row is None else by_row
        count = len(self.rows) if is_by_row or self.groups is None else self.groups.count
        shape = (count, self._facts.points.shape[1])
        if outcome.value.shape == shape:
            return outcome
        return outcome.spread(shape)

    # --- Terms --------------------------------------------------------------------------------------------------------

    def _evaluate(self, term: Term, scope: _Scope) -> Outcome:
        match term:
            case Constant():
                outcome = plain(term.value)
            case Fact():
                outcome = self._evaluate_fact(term, scope)
            case Limit():
                outcome = self._evaluate_limit(term, scope)
            case ComponentAttribute():
                outcome = self._merge_same(self._read_attribute(term.name), f"@{term.name}", scope)
            case KpiValue():
                own = _resolve(term.subject, scope)
                outcome = self._evaluate_kpi(term.kpi, own, by_row=scope.by_row, is_planned=scope.is_planned)
            case Known():
                outcome = self._evaluate_known(term, scope)
            case Scaled():
                operand = self._evaluate(term.operand, scope)
                outcome = join(_scale(operand.value, term.numerator, term.denominator), operand)
            case Aggregated():
                outcome = self._evaluate_aggregate(term, scope)
            case Applied():
                outcome = self._apply(term, scope)
        return outcome

    def _apply(self, term: Applied, scope: _Scope) -> Outcome:
        operands = [self._evaluate(one, scope) for one in term.operands]
        values = [one.value for one in operands]
        match term.function:
            case "/":
                return self._divide(operands[0], operands[1], term.detail, scope)
            case "if":
                return _choose(*operands)
            case "sqrt":
                joined = join(np.sqrt(np.maximum(values[0], 0)), *operands)
                joined.mark(values[0] < 0, Status.UNDEFINED, Reason.NEGATIVE_ROOT)
                return joined
            case "ln":
                joined = join(np.log(np.where(values[0] > 0, values[0], 1)), *operands)
                joined.mark(values[0] <= 0, Status.UNDEFINED, Reason.NO_LOGARITHM)
                return joined
            case _:
                return join(FUNCTIONS[term.function](*values), *operands)

    def _divide(self, left: Outcome, right: Outcome, detail: str, scope: _Scope) -> Outcome:
        is_zero = right.value == 0
        joined = join(left.value / np.where(is_zero, 1, right.value), left, right)
        reason = scope.zero or self.texts.code(f"{detail} is 0")
        is_zero = np.broadcast_to(is_zero, joined.value.shape)
        joined.mark(is_zero & (joined.status != NO_DATA), Status.UNDEFINED, reason)
        joined.value[is_zero] = np.nan
        return joined

    def _evaluate_fact(self, term: Fact, scope: _Scope) -> Outcome:
        subject = _resolve(term.subject, scope)
        quantity, exponent = QUANTITIES[term.quantity], OWN_EXPONENTS[term.quantity]
        readings = self._planned if scope.is_planned else self._readings
        outcome = self._gather(readings.read(term.quantity), subject, exponent)
        if scope.by_row or self.groups is None:
            return outcome
        return self._merge(outcome, quantity, subject, scope)

    def _evaluate_limit(self, term: Limit, scope: _Scope) -> Outcome:
        subject = _resolve(term.subject, scope)
        outcome = self._gather(self._readings.read(term.name), subject, OWN_EXPONENTS[term.name])
        return self._merge_same(outcome, term.name, scope)

    def _merge_same(self, outcome: Outcome, name: str, scope: _Scope) -> Outcome:
        if scope.by_row or self.groups is None:
            return outcome
        return self.groups.merge_same(outcome, self.texts.code(f"{name} differs between the components of the group"))

    def _read_low(self, quantity: Quantity, subject: Subject, scope: _Scope) -> kernel.Floats | None:
        """Return what rounding of a sum lost, for each row; None where that is not kept."""
        if not quantity.low:
            return None
        readings = self._planned if scope.is_planned else self._readings
        return self._gather(plain(readings.read_low(quantity)), subject, OWN_EXPONENTS[quantity.name]).value

    def _merge(self, outcome: Outcome, quantity: Quantity, subject: Subject, scope: _Scope) -> Outcome:
        """Return a quantity of groups."""
        assert self.groups is not None  # noqa: S101 - asked by the callers
        merge = quantity.merge
        match merge:
            case Merge.SUM:
                merged = self.groups.merge_sum(outcome, self.texts, low=self._read_low(quantity, subject, scope))
            case Merge.MIN:
                merged = self.groups.merge_extreme(outcome, np.minimum, self.texts)
            case Merge.MAX:
                merged = self.groups.merge_extreme(outcome, np.maximum, self.texts)
            case Merge.SPREAD:
                by_row = scope._replace(by_row=True)
                n, total = (self._evaluate(Fact(subject=subject, quantity=name), by_row) for name in ("n", "sum"))
                low = self._read_low(QUANTITIES["sum"], subject, scope)
                assert low is not None  # noqa: S101 - a sum keeps what it lost
                merged = self.groups.merge_spread(outcome, n.value, total.value, low, self.texts)
            case Merge.SAME:
                merged = self._merge_same(outcome, "it", scope)
            case Merge.NEVER | Merge.QUANTILE:
                reason = Reason.NOT_OF_GROUPS if merge is Merge.NEVER else Reason.NO_QUANTILES_OF_GROUPS
                merged = self.groups.merge_never(outcome, reason, self.texts)
        if OWN_EXPONENTS[quantity.name] != 0:
            self._mark_mixed_units(merged, (subject,))
        return merged

    def _evaluate_aggregate(self, term: Aggregated, scope: _Scope) -> Outcome:
        by_row = scope._replace(by_row=True)
        value, *weights = [self._fit(self._evaluate(one, by_row), by_row=True) for one in term.operands]
        is_merged = not scope.by_row and self.groups is not None
        if weights:
            weight = weights[0]
            above = join(value.value * weight.value, value, weight)
            below = Outcome(np.where(np.isnan(above.value), np.nan, weight.value), above.status, above.reason)
        else:
            above, below = value, Outcome(np.where(np.isnan(value.value), np.nan, 1.0), value.status, value.reason)
        if is_merged:
            assert self.groups is not None  # noqa: S101 - tested just above
            above, below = (self.groups.merge_sum(one, self.texts) for one in (above, below))
            self._mark_mixed_units(above, [_resolve(one, scope) for one in term.subjects])
        if term.function == "sum" or not (is_merged or weights):
            return above
        return self._divide(above, below, "the sum of the weights", scope)

    def _mark_mixed_units(self, outcome: Outcome, subjects: Sequence[Subject]) -> None:
        """Mark groups whose components have different units; metrics that the formula names are converted."""
        assert self.groups is not None  # noqa: S101 - only merged outcomes come here
        for subject in subjects:
            if subject.kind is SubjectKind.METRIC:
                continue
            series = self.find_place(subject).series
            units = [self.attributes[one].unit if one != NOWHERE else None for one in series.tolist()]
            places = {unit: place for place, unit in enumerate(dict.fromkeys(units))} | {None: NOWHERE}
            codes = [places[unit] for unit in units]
            mixed = self.groups.find_mixed(np.array(codes, np.int64))
            outcome.mark(np.broadcast_to(mixed[:, None], outcome.value.shape), Status.UNDEFINED, Reason.MIXED_UNITS)

    # --- Where facts and attributes are -------------------------------------------------------------------------------

    def _gather(self, outcome: Outcome, subject: Subject, exponent: int) -> Outcome:
        """Return the outcome of each row's series; `exponent` is that of the metric's unit in it."""
        place = self.find_place(subject)
        found = np.maximum(place.series, 0)
        gathered = Outcome(outcome.value[found], outcome.status[found], outcome.reason[found])
        if exponent and subject.kind is SubjectKind.METRIC and (place.factor != 1).any():
            gathered = self._convert(gathered, subject, place, exponent)
        missing = np.broadcast_to((place.series < 0)[:, None], gathered.value.shape)
        if missing.any():
            gathered.mark(missing, Status.UNDEFINED, np.broadcast_to(place.reason[:, None], missing.shape))
        return gathered

    def _convert(self, outcome: Outcome, subject: Subject, place: Place, exponent: int) -> Outcome:
        """Return values in the unit that the formula counts on, for rows whose metric has another one."""
        factor = np.where(place.factor == 1, 1.0, place.factor**exponent)[:, None]
        converted = Outcome(outcome.value * factor, outcome.status, outcome.reason)
        for row in np.flatnonzero(np.isnan(place.factor)).tolist():
            own = self.attributes[place.series[row]].unit or "1"
            text = f"{subject.name} is in {own} here, the formula counts on {subject.unit or '1'}"
            converted.status[row], converted.reason[row] = UNDEFINED, self.texts.code(text)
        return converted

    def _look_up(self, subject: Subject) -> Place:
        count = len(self.rows)
        if subject.kind is SubjectKind.OWN:
            return Place(self.rows, np.zeros(count, np.int32), np.ones(count))
        series = np.full(count, NOWHERE, np.int64)
        reason = np.zeros(count, np.int32)
        factor = np.ones(count)
        known = self._index_series()
        for row, component in enumerate(self._find_components()):
            metric, why = self._find_metric(subject, component)
            found = known.get((component, metric or ""), NOWHERE)
            series[row] = found
            if found == NOWHERE:
                reason[row] = self.texts.code(why or f"the component has no metric {metric}")
            elif subject.kind is SubjectKind.METRIC:
                factor[row] = _find_factor(self.attributes[found].unit, subject.unit)
        return Place(series, reason, factor)

    def _find_metric(self, subject: Subject, component: str) -> tuple[str | None, str | None]:
        """Return the metric that a subject means for a component, or why it means none."""
        if subject.kind is SubjectKind.METRIC:
            return subject.name, None
        value = self._find_attributes(component).get(subject.name)
        if value is None:
            return None, f"the component has no attribute {subject.name}"
        if not isinstance(value, str):
            return None, f"the component's attribute {subject.name} is not the name of a metric"
        return value, None

    def _read_attribute(self, name: str) -> Outcome:
        values = [self._find_attributes(component).get(name) for component in self._find_components()]
        outcome = plain(np.array([_read_number(value) for value in values], np.float64)[:, None])
        absent = np.array([value is None for value in values], np.bool_)[:, None]
        why = (f"the component has no attribute {name}", f"the component's attribute {name} is not a number")
        outcome.mark(absent, Status.UNDEFINED, self.texts.code(why[0]))
        outcome.mark(~absent & np.isnan(outcome.value), Status.UNDEFINED, self.texts.code(why[1]))
        return outcome

    def _evaluate_known(self, term: Known, scope: _Scope) -> Outcome:
        operand = term.operand
        if isinstance(operand, ComponentAttribute):
            values = [self._find_attributes(component).get(operand.name) for component in self._find_components()]
            known = np.array([value is not None for value in values], np.bool_)
        else:
            series = self.find_place(_resolve(operand.subject, scope)).series
            known = (series >= 0) & find_known(self.attributes, operand.name)[np.maximum(series, 0)]
        if not scope.by_row and self.groups is not None:
            known = self.groups.find_all(known)
        return plain(known.astype(np.float64)[:, None])

    def _find_attributes(self, component: str) -> Mapping[str, object]:
        return {} if self._owners is None else self._owners.attributes.get(component, {})

    def _find_components(self) -> list[str]:
        """Return the component of each row."""
        if self._owners is None:
            return [""] * len(self.rows)
        return [self._owners.components[one] for one in self.rows.tolist()]

    def _index_series(self) -> dict[tuple[str, str], int]:
        if self._series is None:
            owners = self._owners
            keys = [] if owners is None else zip(owners.components, owners.metrics, strict=True)
            self._series = {key: place for place, key in enumerate(keys)}
        return self._series


def _find_true(condition: Outcome) -> Mask:
    """Tell where a condition holds; of cells without data it cannot be told."""
    where: Mask = (condition.value == 1) & (condition.status < NO_DATA)
    return where


def _resolve(subject: Subject, scope: _Scope) -> Subject:
    """Return whose facts are meant where a KPI is evaluated about another metric."""
    return scope.own if subject.kind is SubjectKind.OWN else subject


FUNCTIONS: Mapping[str, Callable[..., kernel.Floats]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "negate": np.negative,
    "abs": np.abs,
    "least": lambda *values: _fold(np.minimum, values),
    "greatest": lambda *values: _fold(np.maximum, values),
    "<": lambda left, right: (left < right).astype(np.float64),
    "<=": lambda left, right: (left <= right).astype(np.float64),
    ">": lambda left, right: (left > right).astype(np.float64),
    ">=": lambda left, right: (left >= right).astype(np.float64),
    "=": lambda left, right: (left == right).astype(np.float64),
    "!=": lambda left, right: (left != right).astype(np.float64),
}


def _fold(function: Callable[[Numbers, Numbers], kernel.Floats], values: Sequence[kernel.Floats]) -> kernel.Floats:
    total = values[0]
    for one in values[1:]:
        total = function(total, one)
    return total


def _scale(value: kernel.Floats, numerator: float, denominator: float) -> kernel.Floats:
    """Convert exactly where that is possible: a division by 3600 is not a product with 1/3600."""
    scaled = value if numerator == 1 else value * numerator
    return scaled if denominator == 1 else scaled / denominator


def _choose(condition: Outcome, chosen: Outcome, other: Outcome) -> Outcome:
    """Return one of two alternatives per cell; the other one does not count."""
    shape = np.broadcast_shapes(condition.value.shape, chosen.value.shape, other.value.shape)
    is_chosen = np.broadcast_to(condition.value, shape) == 1
    taken = Outcome(
        np.where(is_chosen, chosen.value, other.value),
        np.where(is_chosen, chosen.status, other.status).astype(np.int8),
        np.where(is_chosen, chosen.reason, other.reason).astype(np.int32),
    )
    open_ = np.broadcast_to(np.isnan(condition.value), shape)
    taken.status[open_] = 0  # without a condition neither was chosen: only the condition says why
    taken.reason[open_] = Reason.NONE
    return join(taken.value, condition, taken)


def _find_factor(own: str, wanted: str) -> float:
    """Return how many of the wanted unit one of the own unit is, NaN where they measure different things."""
    if own == wanted:
        return 1.0
    given, asked = parse_unit(own), parse_unit(wanted)
    return float(given.factor / asked.factor) if given.powers == asked.powers else float("nan")


def _read_number(value: object) -> float:
    """Return an attribute's number, NaN for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return float("nan")
    return float(value) if abs(value) <= sys.float_info.max else float("nan")


def _show_number(value: float, unit: str) -> str:
    number = f"{value:,.{SHOWN_DIGITS}g}" if np.isfinite(value) else "unknown"
    return number if unit in {"", "1"} else f"{number} {unit}"
