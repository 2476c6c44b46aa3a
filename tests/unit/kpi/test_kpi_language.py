"""The formula language: every tree survives a trip through text, every mistake is shown where it is."""
# ruff: noqa: RUF001 - signs of other keyboards are read

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaugehouse.errors import Refused
from gaugehouse.kpi.language import (
    MAX_CHARACTERS,
    MAX_DEPTH,
    MAX_NODES,
    Attribute,
    Call,
    Number,
    Operation,
    Reference,
    find_depth,
    parse,
    render,
    walk,
)
from unit.kpi.formula_trees import TREES, attempt


@given(TREES)
@settings(deadline=None, max_examples=300)
def test_every_tree_survives_a_trip_through_text(tree):
    assert parse(render(tree)) == tree


@given(st.text(max_size=60) | st.text(st.sampled_from('ab1.5 +-*/()<>=!,"[]@\n×e'), max_size=60))
@settings(deadline=None, max_examples=500)
def test_any_text_is_a_formula_or_is_refused_with_a_place(text):
    tree, refusal = attempt(parse, text)
    if refusal is None:
        assert parse(render(tree)) == tree
    else:
        assert refusal.code in {"formula_syntax", "formula_too_large"}
        assert min(refusal.fields["line"], refusal.fields["column"]) >= 1
        assert not refusal.message.splitlines()[-1].strip(" ^")


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("up_s/(up_s+down_s)", "up_s / (up_s + down_s)"),
        ("a - b - c", "a - b - c"),
        ("a - (b - c)", "a - (b - c)"),
        ("(a * b) / (c * d)", "a * b / (c * d)"),
        ("-(a + b) * -c", "-(a + b) * -c"),
        ("a × b ÷ c − d", "a * b / c - d"),
        ("if(a ≥ 1 [ kWh ], b, c)", "if(a >= 1 [kWh], b, c)"),
        ("if(a == b, 1, .5)", "if(a = b, 1, 0.5)"),
        ('"Motor/temp ""1""".mean', '"Motor/temp ""1""".mean'),
        ('"plain".n', "plain.n"),
        ("@parts_metric.increase * @ideal_cycle_time_s", "@parts_metric.increase * @ideal_cycle_time_s"),
        ("a\n  + b", "a + b"),
        ("1e3 + 1E-2", "1000 + 0.01"),
    ],
)
def test_a_formula_has_one_spelling(text, canonical):
    assert render(parse(text)) == canonical


def test_operators_bind_as_in_school():
    tree = parse("a + b * c < -d")
    assert isinstance(tree, Operation)
    assert tree.operator == "<"
    assert tree.left == Operation(
        operator="+",
        left=Reference(name="a"),
        right=Operation(operator="*", left=Reference(name="b"), right=Reference(name="c")),
    )


def test_positions_are_those_of_the_text():
    text = 'least(energy_kwh.increase, 5 [kWh]) / "a b".n'
    shown = {type(node): text[node.span.start : node.span.end] for node in walk(parse(text))}
    assert shown[Number] == "5 [kWh]"
    assert shown[Call] == "least(energy_kwh.increase, 5 [kWh])"
    assert shown[Reference] == '"a b".n'
    assert shown[Operation] == text
    assert parse("@a") == Attribute(name="a")


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("", 1, "empty"),
        ("   ", 4, "empty"),
        ("a +", 4, "ends too early"),
        ("a ** b", 4, "expected a number"),
        ("(a + b", 7, "ends too early"),
        ("a + b)", 6, "goes on with ')'"),
        ("2 x", 3, "goes on with 'x'"),
        ("a..b", 3, "expected a name"),
        ("x ^ 2", 3, "no powers"),
        ("5 %", 3, "brackets"),
        ("0,5 * a", 2, "with a point"),
        ("a < b < c", 7, "two comparisons"),
        ('"abc', 1, "does not end"),
        ("3 [kWh", 3, "does not end"),
        ("3 []", 3, "expected a unit"),
        ("a [kWh]", 3, "goes on with"),
        ("[kWh]", 1, "belongs behind a number"),
        ('"".n', 1, "name is empty"),
        ("1e999", 1, "too large"),
        ("f()", 3, "expected a number"),
        ("a\u0000b", 2, "U+0000"),
        ("a; drop table", 2, "one formula"),
        ("__import__('os')", 12, "double quotes"),
    ],
)
def test_a_mistake_is_shown_where_it_is(text, column, words):
    _, refusal = attempt(parse, text)
    assert words in refusal.message
    assert (refusal.fields["line"], refusal.fields["column"]) == (1, column)


def test_the_caret_stands_below_the_place_also_in_long_and_broken_lines():
    long = "a + " * 60
    with pytest.raises(Refused) as refused:
        parse(f"{long}\n{long}? + b")
    message, shown, carets = refused.value.message.split("\n")
    assert "line 2, column 241" in message
    assert shown[carets.index("^")] == "?"
    assert len(shown) < 90


@pytest.mark.parametrize(
    "text",
    [
        "x" * (MAX_CHARACTERS + 1),
        "(" * (MAX_DEPTH + 1) + "a" + ")" * (MAX_DEPTH + 1),
        "(" * 1000 + "a",
        "-" * (MAX_NODES + 1) + "a",
        "-" * 1900 + "a",
        "f(" * 500 + "a",
        "+".join("a" * (MAX_DEPTH + 1)),
        "f(" + ",".join("a" * (MAX_NODES + 1)) + ")",
    ],
)
def test_a_formula_is_bounded(text):
    with pytest.raises(Refused) as refused:
        parse(text)
    assert refused.value.code == "formula_too_large"


def test_the_largest_formulas_are_read():
    assert find_depth(parse("+".join("a" * MAX_DEPTH))) == MAX_DEPTH
    assert len(list(walk(parse("f(" + ",".join("a" * (MAX_NODES - 1)) + ")")))) == MAX_NODES
