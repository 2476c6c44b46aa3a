"""Name rules: what may name a component, a metric or a project."""

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaugehouse.measurements.names import REFUSED_CATEGORIES, REFUSED_CHARACTER, find_name_problem, find_project_problem


@pytest.mark.parametrize(
    "name", ["a", "Förderband 3", "泵-1", "line/7#x", "a" * 200, "PM2.5", "😀", "e\N{ZERO WIDTH JOINER}x"]
)
def test_a_printable_text_of_up_to_200_characters_is_a_name(name):
    assert find_name_problem(name) is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "empty"),
        ("a" * 201, "201 characters"),
        (" a", "space"),
        ("a ", "space"),
        ("a\N{NO-BREAK SPACE}", "space"),
        ("a\x00b", "control"),
        ("a\nb", "control"),
        ("a\x85b", "control"),
        ("a\ud800", "surrogate"),
        ("a\N{LINE SEPARATOR}b", "line separator"),
        ("o\N{COMBINING DIAERESIS}", "normal form"),
    ],
)
def test_other_texts_are_refused_with_a_reason(name, words):
    assert words in find_name_problem(name)


@given(st.text(max_size=210))
def test_the_rules_agree_with_their_definition_character_by_character(name):
    fits = (
        1 <= len(name) <= 200
        and name == name.strip()
        and all(unicodedata.category(character) not in {"Cc", "Cs", "Zl", "Zp"} for character in name)
        and unicodedata.normalize("NFC", name) == name
    )
    assert (find_name_problem(name) is None) == fits


def test_every_character_of_a_refused_category_is_found_and_no_other():
    for code in range(sys.maxunicode + 1):
        is_refused = unicodedata.category(chr(code)) in REFUSED_CATEGORIES
        assert bool(REFUSED_CHARACTER.search(chr(code))) == is_refused, hex(code)


@pytest.mark.parametrize("slug", ["default", "0", "a-b", "a" * 63])
def test_a_lower_case_slug_names_a_project(slug):
    assert find_project_problem(slug) is None


@pytest.mark.parametrize("slug", ["", "-a", "A", "a_b", "a" * 64, "a b", "a\n", "ä"])
def test_other_texts_name_no_project(slug):
    assert find_project_problem(slug) is not None
