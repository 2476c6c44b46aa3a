"""Numbers, durations, instants and names as pages write them."""

import doctest
import math
from datetime import UTC, datetime, timedelta
from importlib import import_module
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaugehouse.measurements.period import Period
from gaugehouse.reports.render.instants import describe_period, format_instant, format_period
from gaugehouse.reports.render.quantities import (
    NOTHING,
    NumberStyle,
    format_difference,
    format_duration,
    format_number,
    format_percent,
    format_quantity,
)
from gaugehouse.reports.render.texts import BREAK, breakable, clean

BERLIN = ZoneInfo("Europe/Berlin")
GERMAN = NumberStyle(decimal=",")


@pytest.mark.parametrize("name", ["quantities", "texts", "instants", "sheets"])
def test_examples_in_docstrings_are_true(name):
    assert doctest.testmod(import_module(f"gaugehouse.reports.render.{name}")).failed == 0


def plain(text):
    """Return a text with spaces that may break."""
    return text.replace("\xa0", " ")


def read_back(text):
    """Return the number that a text of the default style says."""
    return float(text.replace(",", "").replace("−", "-"))


@given(st.floats(min_value=-9e14, max_value=9e14).filter(lambda value: value == 0 or abs(value) >= 1e-4))
def test_a_written_number_is_the_number_to_four_digits_and_to_the_unit(value):
    written = read_back(format_number(value))
    assert math.isclose(written, value, rel_tol=5.1e-4)
    assert abs(written - value) <= 0.5 + 1e-9


@given(st.integers(min_value=-(10**14), max_value=10**14))
def test_whole_numbers_are_never_rounded(value):
    assert read_back(format_number(float(value))) == value


@given(st.floats(min_value=0.0, max_value=100.0))
def test_a_percentage_says_0_or_100_only_when_it_is(value):
    written = read_back(format_percent(value))
    assert (written in {0.0, 100.0}) == (value in {0.0, 100.0}) or min(value, 100 - value) < 1e-8


@given(st.floats(min_value=60.0, max_value=4e9))
def test_a_duration_is_right_to_its_smaller_part_and_its_parts_never_overflow(duration_s):
    lengths = {"d": 86_400, "h": 3_600, "min": 60, "s": 1}
    parts = [part.split("\xa0") for part in format_duration(duration_s).split(" ")]
    read = [(read_back(number), lengths[unit]) for number, unit in parts]
    total_s = sum(number * length for number, length in read)
    smallest = {86_400: 3_600, 3_600: 60, 60: 1}[read[0][1]]
    assert abs(total_s - duration_s) <= smallest / 2 + 1e-6
    for number, length in read[1:]:
        assert number * length < read[0][1]


def test_decimal_comma_changes_both_signs():
    assert format_number(1_234_567.5, GERMAN) == "1.234.568"
    assert format_number(71.5, GERMAN, trim=True) == "71,5"
    assert format_quantity(12.345, "degC", GERMAN) == "12,35\xa0°C"


@pytest.mark.parametrize("nothing", [None, math.nan])
def test_a_missing_number_is_a_dash_whatever_its_unit(nothing):
    assert {format_quantity(nothing, unit) for unit in ("", "1", "s", "%", "bar")} == {NOTHING}


def test_a_zero_has_no_sign_and_infinity_is_not_a_crash():
    assert format_number(-0.0) == "0"
    assert format_quantity(math.inf, "s") == "∞"
    assert format_difference(0.0, 0.0, "degC") == "±0\xa0%"


def test_differences_of_percentages_are_points_and_of_nothing_are_their_amount():
    assert format_difference(-2.5, -3.0, "%") == "−2.5\xa0pp"
    assert format_difference(4.0, None, "1") == "+4"


def test_instants_of_the_repeated_hour_can_be_told_apart():
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert plain(format_instant(first, BERLIN)) == "25 Oct 2026, 02:30 +02:00"
    assert plain(format_instant(first + timedelta(hours=1), BERLIN)) == "25 Oct 2026, 02:30 +01:00"


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        ((2026, 10, 25), (2026, 10, 26), "25 October 2026"),
        ((2026, 10, 19), (2026, 10, 26), "19 – 25 October 2026"),
        ((2026, 12, 28), (2027, 1, 4), "28 December 2026 – 3 January 2027"),
        ((2026, 10, 25, 6), (2026, 10, 25, 7, 30), "25 Oct 2026, 06:00 – 07:30 +01:00"),
        ((2026, 10, 25, 1), (2026, 10, 25, 6), "25 Oct 2026, 01:00 +02:00 – 25 Oct 2026, 06:00 +01:00"),
        ((2026, 10, 25, 6), (2026, 10, 26), "25 Oct 2026, 06:00 +01:00 – 26 Oct 2026, 00:00 +01:00"),
    ],
)
def test_periods_of_whole_days_are_days_with_the_last_one_included(start, end, words):
    period = Period(
        start=datetime(*start, tzinfo=BERLIN).astimezone(UTC),
        end=datetime(*end, tzinfo=BERLIN).astimezone(UTC),
        timezone="Europe/Berlin",
        expression="",
    )
    assert plain(format_period(period, BERLIN)) == words


def test_a_day_over_a_change_of_clocks_says_its_25_hours():
    day = datetime(2026, 10, 24, 22, tzinfo=UTC)
    period = Period(start=day, end=day + timedelta(hours=25), timezone="Europe/Berlin", expression="2026-10-25")
    assert describe_period(period, BERLIN).endswith("(Europe/Berlin), 25 h; clocks change within it")


@given(st.text(alphabet=st.sampled_from("ab/_-. \u200b\n\u202e压"), max_size=120))
def test_long_words_get_places_to_break_and_lose_nothing(name):
    broken = breakable(name)
    assert broken.replace(BREAK, "") == clean(name).replace(BREAK, "")
    assert max((len(piece) for word in broken.split() for piece in word.split(BREAK)), default=0) <= 24


def test_text_that_would_turn_a_line_around_is_replaced():
    assert clean("a\u202eb\x00c\nd") == "a\ufffdb\ufffdc d"
