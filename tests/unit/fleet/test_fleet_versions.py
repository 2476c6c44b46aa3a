"""Versions: SemVer 2.0.0 as its text has it, dotted ones, and the patterns of projects."""

import time
from contextlib import suppress
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaugehouse.errors import Refused
from gaugehouse.fleet.versions import read_form

DOTTED, SEMVER = read_form("dotted"), read_form("semver")
PATTERN = read_form("FW{number}.{number}[-{word}][+{number}]")

# Clause 11 of semver.org, in its own order.
RISING = [
    "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1",
    "1.0.0", "2.0.0", "2.1.0", "2.1.1", "10.0.0",
]  # fmt: skip
VALID = [
    "0.0.4",
    "1.1.2-prerelease+meta",
    "1.1.2+meta-valid",
    "1.0.0-0A.is.legal",
    "1.0.0--",
    "99999999999999999999.0.0",
]
INVALID = [
    "", "1", "1.2", "1.2.3.4", "01.1.1", "1.01.1", "1.2.3-", "1.2.3+", "1.2.3-01", "1.2.3-a..b", "1.2.3+a+b", "v1.2.3",
    "1.2.3 ", "1.2.३", "1.2.3-é", "-1.2.3", "1.2.3-a_b", "1.2.3+" + "a" * 100,
]  # fmt: skip


@pytest.mark.parametrize("form", [SEMVER, DOTTED])
def test_precedence_is_that_of_the_standard(form):
    for older, newer in combinations(RISING, 2):
        assert form.is_newer(newer, older) is True, (older, newer)
        assert form.is_newer(older, newer) is False, (older, newer)


@pytest.mark.parametrize("version", VALID + RISING)
def test_what_the_standard_calls_valid_is_taken(version):
    assert SEMVER.precedence(version) is not None


@pytest.mark.parametrize("version", INVALID)
def test_what_the_standard_calls_invalid_is_not(version):
    assert SEMVER.precedence(version) is None


def test_what_is_built_of_a_version_is_neither_newer_nor_older():
    assert SEMVER.precedence("1.0.0+a") == SEMVER.precedence("1.0.0+b")


@pytest.mark.parametrize("version", ["1.1", "1.0.3", "1.2.3.4", "2024.05", "1.1-rc.1", "1.1+b7"])
def test_dotted_versions_have_two_to_four_numbers(version):
    assert DOTTED.precedence(version) is not None


@pytest.mark.parametrize(
    "version", ["1", "11", "1.2.3.4.5", "a.b", "1..2", ".1", "1.", "1.1_2", "v1.1", "1." + "9" * 19]
)
def test_other_texts_are_not_dotted(version):
    assert DOTTED.precedence(version) is None


def test_a_missing_number_is_0():
    assert DOTTED.precedence("1.1") == DOTTED.precedence("1.1.0")
    assert DOTTED.is_newer("1.1.0.1", "1.1") is True
    assert DOTTED.is_newer("1.10", "1.9") is True


def test_a_pattern_orders_numbers_as_numbers_and_candidates_before_what_they_became():
    rising = ["FW1.2-a", "FW1.2-b", "FW1.2", "FW1.2+3", "FW1.2+12", "FW1.10-a", "FW2.0"]
    for older, newer in combinations(rising, 2):
        assert PATTERN.is_newer(newer, older) is True, (older, newer)


@pytest.mark.parametrize(
    "version", ["FW1", "1.2", "FW1.2-", "FW1.2-a-b", "FW1.2+a", "fw1.2", "FW1.2-a+", "FW1.2x", "FW.2"]
)
def test_a_text_beside_the_pattern_is_no_version(version):
    assert PATTERN.precedence(version) is None
    assert PATTERN.is_newer(version, "FW1.2") is None


@pytest.mark.parametrize(
    "text",
    [
        "", "1.2", "v{word}", "[{number}]", "[.{number}]", "{number}{number}", "{word}{number}", "{number}5", "{number}[5]",
        "{number}[", "{number}]", "{number}[]", "{number}[.[x]]", "{number", "{digits}", "{number}[.a].b", "{word}[-a]x{number}",
        "{number} ", "é{number}", "{number}" + "." * 100,
    ],
)  # fmt: skip
def test_a_pattern_that_could_be_read_in_two_ways_or_tells_no_order_is_refused(text):
    with pytest.raises(Refused) as caught:
        read_form(text)
    assert caught.value.code == "form_refused"


def test_a_refusal_names_the_form():
    with pytest.raises(Refused, match="SemVer11' is no version of the form dotted"):
        DOTTED.check("SemVer11")


number = st.integers(0, 10**18 - 1)
identifier = st.from_regex(r"\A(0|[1-9][0-9]{0,3}|[0-9]*[a-zA-Z-][0-9a-zA-Z-]{0,4})\Z")
candidates = st.lists(identifier, max_size=3).map(lambda parts: "-" + ".".join(parts) if parts else "")
versions = st.builds(lambda a, b, c, tail: f"{a}.{b}.{c}{tail}", number, number, number, candidates)
near = st.builds(lambda a, b, c, tail: f"{a}.{b}.{c}{tail}", *[st.integers(0, 2)] * 3, candidates)


@given(st.lists(versions | near, min_size=3, max_size=3))
def test_the_order_is_total_and_transitive(three):
    a, b, c = three
    assert (SEMVER.is_newer(a, b), SEMVER.is_newer(b, a)) != (True, True)
    equal = SEMVER.precedence(a) == SEMVER.precedence(b)
    assert SEMVER.is_newer(a, b) or SEMVER.is_newer(b, a) or equal
    if SEMVER.is_newer(a, b) and SEMVER.is_newer(b, c):
        assert SEMVER.is_newer(a, c)


@given(versions | near, versions | near)
def test_both_forms_agree_on_what_both_take(a, b):
    assert DOTTED.is_newer(a, b) == SEMVER.is_newer(a, b)


@given(st.tuples(number, number), st.tuples(number, number))
def test_a_pattern_orders_as_its_numbers(a, b):
    written = [f"FW{one[0]}.{one[1]}" for one in (a, b)]
    assert PATTERN.is_newer(*written) is (a > b)


@given(st.text(max_size=120))
def test_no_text_makes_a_form_fail(text):
    for form in (SEMVER, DOTTED, PATTERN):
        form.precedence(text)
    with suppress(Refused):
        read_form(text)


@pytest.mark.parametrize("form", ["dotted", "semver", "{number}.{number}[-{word}][+{word}][.{number}][_{word}]"])
def test_hostile_texts_cost_no_more_than_their_length(form):
    hostile = ["1." * 50, "1" * 100, "1.1-" + "a" * 96, "1.1.1-" + "a." * 47, "1.1" + "-" * 97, "{" * 100]
    began_s = time.process_time()
    for _ in range(100):
        for version in hostile:
            read_form(form).precedence(version)
    assert time.process_time() - began_s < 1.0  # 600 texts: a millisecond each would be a thousand times too slow
