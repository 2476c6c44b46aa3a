"""Unit algebra: what is known converts, what is not stays opaque, and no text of a metric is a mistake."""

import doctest
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaugehouse.kpi import units
from gaugehouse.kpi.units import ONE, OWN_SYMBOL, Unit, parse_unit, show_unit

SYMBOLS = ["kWh", "part", "°C", "m", "s", "min", "h", "d", "us", "%", "ppm", "l"]
TEXTS = st.recursive(
    st.builds(
        lambda symbol, exponent: symbol + exponent,
        st.sampled_from(SYMBOLS),
        st.sampled_from(["", "", "2", "^2", "-1", "³"]),
    ),
    lambda below: (
        st.builds(lambda a, one, b: f"{a}{one}{b}", below, st.sampled_from("/.*"), below)
        | st.builds(lambda a, b: f"{a}/({b})", below, below)
    ),
    max_leaves=3,
)


def test_the_examples_of_the_docstrings_hold():
    assert doctest.testmod(units).failed == 0


@given(TEXTS, TEXTS)
def test_products_and_quotients_undo_one_another(left, right):
    a, b = parse_unit(left), parse_unit(right)
    assert a * b / b == a
    assert a * b == b * a
    assert a / a == ONE
    assert (a * a).without_factor().root() == a.without_factor()


@given(TEXTS)
def test_a_unit_of_symbols_with_whole_exponents_can_be_read_again(text):
    unit = parse_unit(text)
    if " " not in str(unit):  # a factor that has no name, such as d2
        assert parse_unit(str(unit)) == unit


@given(st.text(max_size=30))
def test_any_text_is_a_unit(text):
    unit = parse_unit(text)
    assert unit == parse_unit(text)
    assert isinstance(str(unit), str)
    assert show_unit("U", text) == text
    assert isinstance(show_unit("1/U", text), str)


@pytest.mark.parametrize(
    ("text", "shown", "factor"),
    [
        ("", "1", 1),
        ("1", "1", 1),
        ("%", "%", Fraction(1, 100)),
        ("kWh/(part.h)", "kWh/part/h", Fraction(1, 3600)),
        ("m3/h", "m3/h", Fraction(1, 3600)),
        ("m³ / h", "m3/h", Fraction(1, 3600)),
        ("/min", "1/min", Fraction(1, 60)),
        ("\u03bcs", "us", Fraction(1, 1_000_000)),
        ("parts per hour", "parts per hour", 1),
        ("10^3/ul", "10^3/ul", 1),
        ("a//b", "a//b", 1),
        ("d9.d9.d9", "d9.d9.d9", 1),
    ],
)
def test_units_are_read_and_shown(text, shown, factor):
    assert (str(parse_unit(text)), parse_unit(text).factor) == (shown, factor)


def test_the_own_unit_is_no_unit_of_enzymes():
    assert parse_unit("U/l") != parse_unit("U/l", own=True)
    assert parse_unit("U/s", own=True).replaced(OWN_SYMBOL, parse_unit("U/l")) == parse_unit("U/l/s")
    assert parse_unit("U2", own=True).replaced(OWN_SYMBOL, parse_unit("min")) == Unit(
        (("s", Fraction(2)),), Fraction(3600)
    )


@pytest.mark.parametrize(
    ("template", "metric", "shown"),
    [
        ("U", "degC", "degC"),
        ("U", "", ""),
        ("U/s", "", "1/s"),
        ("U/s", "m3/h", "m3/h/s"),
        ("1/U", "m3/h", "1/(m3/h)"),
        ("h/U", "kWh", "h/kWh"),
        ("U2", "mm", "mm2"),
        ("Ul/s", "kWh", "Ul/s"),
        ("%", "kWh", "%"),
    ],
)
def test_the_unit_of_a_kpi_follows_from_the_metric(template, metric, shown):
    assert show_unit(template, metric) == shown
