"""Terms: what a checked formula computes. Names are resolved and conversions of units are steps of their own."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class SubjectKind(StrEnum):
    """Whose facts a term reads."""

    OWN = "own"  # of the metric that the KPI is about
    METRIC = "metric"  # of a metric that the formula names
    ATTRIBUTE = "attribute"  # of the metric that an attribute of the component names


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A metric, from the point of view of a formula.

    Args:
        kind: How the metric is found.
        name: Of the metric or of the attribute.
        unit: Unit that the formula counts on, for metrics that it names.
    """

    kind: SubjectKind
    name: str = ""
    unit: str = ""

    @property
    def shown(self) -> str:
        """What stands before the point in a formula."""
        return f"@{self.name}" if self.kind is SubjectKind.ATTRIBUTE else self.name


OWN_SUBJECT = Subject(kind=SubjectKind.OWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """A number."""

    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A quantity of a metric, in the unit that it is stored in."""

    subject: Subject
    quantity: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """An attribute of a metric: usl, lsl, target ..."""

    subject: Subject
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentAttribute:
    """A number among the attributes of the component."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KpiValue:
    """Another KPI, about this or another metric of the component."""

    subject: Subject
    kpi: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled:
    """`operand x numerator / denominator`: a conversion of units. One of both is 1 where that is possible: exact."""

    operand: "Term"
    numerator: float
    denominator: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """An operator or function of numbers. Conditions are 1 or 0.

    Args:
        function: As in the language; `negate` for the sign.
        operands: In the order of the text.
        detail: For a division: the denominator as text.
    """

    function: str
    operands: tuple["Term", ...]
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Whether an attribute is set."""

    operand: Limit | ComponentAttribute


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregated:
    """A sum or mean over the components of a group.

    Args:
        function: sum or mean.
        operands: The value of each component, and its weight.
        subjects: Metrics in whose unit the values are: components with other units cannot be added.
    """

    function: str
    operands: tuple["Term", ...]
    subjects: tuple[Subject, ...]


Term = Constant | Fact | Limit | ComponentAttribute | KpiValue | Scaled | Applied | Known | Aggregated


def walk_terms(term: Term) -> Iterator[Term]:
    """Yield a term and all below it, in the order of the formula."""
    waiting = [term]
    while waiting:
        one = waiting.pop()
        yield one
        match one:
            case Scaled() | Known():
                waiting.append(one.operand)
            case Applied() | Aggregated():
                waiting.extend(reversed(one.operands))
            case Constant() | Fact() | Limit() | ComponentAttribute() | KpiValue():
                pass
