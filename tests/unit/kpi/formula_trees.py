"""Random trees of the formula language."""

from hypothesis import strategies as st

from gaugehouse.errors import Refused
from gaugehouse.kpi.language import COMPARISONS, Attribute, Call, Negation, Number, Operation, Reference

NAMES = st.one_of(
    st.sampled_from(["n", "up_s", "energy_kwh", "if", "Förderband", "_x", "e5"]),
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=6).filter(
        lambda text: text.isascii()
    ),
    st.sampled_from(['Motor/temp "1"', "a b", '"', "5", "a.b", "@x", "[s]"]),
)
NUMBERS = st.one_of(
    st.integers(0, 10**18).map(float),
    st.floats(min_value=0, allow_nan=False, allow_infinity=False),
)
UNITS = st.none() | st.sampled_from(["s", "kWh/part", "%", "m³/h", "a b"])


def leaves():
    """Numbers, names, attributes."""
    return st.one_of(
        st.builds(lambda value, unit: Number(value=value, unit=unit), NUMBERS, UNITS),
        st.builds(lambda name: Reference(name=name), NAMES),
        st.builds(lambda metric, name: Reference(metric=metric, name=name), NAMES, NAMES),
        st.builds(lambda attribute, name: Reference(attribute=attribute, name=name), NAMES, NAMES),
        st.builds(lambda name: Attribute(name=name), NAMES),
    )


def _above(below):
    operators = st.sampled_from([*"+-*/", *COMPARISONS])
    return st.one_of(
        st.builds(lambda operand: Negation(operand=operand), below),
        st.builds(lambda one, left, right: Operation(operator=one, left=left, right=right), operators, below, below),
        st.builds(
            lambda name, arguments: Call(function=name, arguments=tuple(arguments)),
            st.sampled_from(["if", "least", "sum", "f_2"]),
            st.lists(below, min_size=1, max_size=3),
        ),
    )


TREES = st.recursive(leaves(), _above, max_leaves=30)


def attempt(function, *arguments):
    """Return (what a function returns, None), or (None, its refusal)."""
    try:
        return function(*arguments), None
    except Refused as refusal:
        return None, refusal
