"""docs/calendar.md is true: its examples are read, its tables recomputed."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gaugehouse.measurements.comparison import find_compared
from gaugehouse.measurements.period import Period, bucket_edges_us, parse_period
from gaugehouse.measurements.shift_calendar import read_shift_calendar

PAGE = (Path(__file__).parents[3] / "docs/calendar.md").read_text("utf-8")
BERLIN = "Europe/Berlin"
NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)


def period(expression):
    return parse_period(expression, timezone=BERLIN, now=NOW)


def cells(column, *, below):
    """Return the texts in backticks of one column of the table below a heading."""
    table = re.search(rf"\n## {below}\n.*?\n((?:\|[^\n]*\n)+)", PAGE, re.DOTALL)[1]
    return [re.findall(r"`([^`]+)`", row.split("|")[column]) for row in table.splitlines()[2:]]


def test_every_period_of_the_table_is_one():
    written = [text for texts in cells(1, below="Periods") for text in texts]
    assert len(written) >= 18
    for text in written:
        assert isinstance(period(text), Period)


@pytest.mark.parametrize(("column", "against"), [(2, "previous"), (3, "year_before")])
def test_what_the_table_compares_is_what_is_compared(column, against):
    pairs = [
        (asked[0], answer[0])
        for asked, answer in zip(cells(1, below="Comparison"), cells(column, below="Comparison"), strict=True)
        if asked and answer
    ]
    assert len(pairs) >= 2
    for asked, answer in pairs:
        assert find_compared(period(asked), against) == period(answer)


@pytest.mark.parametrize(("every", "buckets"), [("hour", 25), ("day", 1), ("PT24H", 2)])
def test_the_day_of_25_hours_has_the_buckets_of_the_table(every, buckets):
    assert len(bucket_edges_us(period("2026-10-25"), every, limit=99)) == buckets + 1


def test_the_example_is_a_calendar():
    example = read_shift_calendar(json.loads(re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)[1]))
    assert [shift.name for shift in example.shifts] == ["early", "late", "night", "early"]
