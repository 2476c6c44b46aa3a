"""Axes: round numbers, and instants on the calendar of the zone."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaugehouse.measurements.period import parse_period
from gaugehouse.reports.render.quantities import NumberStyle
from gaugehouse.reports.render.ticks import find_time_axis, find_value_axis

NOW = datetime(2027, 1, 1, 12, tzinfo=UTC)
STYLE = NumberStyle()


def axis_of(expression, zone="Europe/Berlin", most=6):
    return find_time_axis(parse_period(expression, timezone=zone, now=NOW), ZoneInfo(zone), most=most)


@given(
    st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15),
    st.floats(min_value=0, max_value=1e15),
)
def test_a_value_axis_holds_its_data_with_few_distinct_labels(low, span):
    axis = find_value_axis(low, low + span, STYLE)
    slack = 1e-9 * max(abs(low), abs(low + span), 1e-9)
    assert axis.low <= low + slack
    assert axis.high >= low + span - slack
    assert 2 <= len(axis.ticks) <= 8
    assert len(set(axis.labels)) == len(axis.labels)


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (61.2, 78.9, ("60", "65", "70", "75", "80")),
        (0, 123_456, ("0", "50k", "100k", "150k")),
        (0, 0, ("−1.0", "−0.5", "0", "0.5", "1.0")),
        (0.0012, 0.0019, ("0.0012", "0.0014", "0.0016", "0.0018", "0.0020")),
    ],
)
def test_labels_of_a_value_axis_are_round(low, high, labels):
    assert find_value_axis(low, high, STYLE).labels == labels


def test_the_largest_doubles_can_be_drawn():
    assert len(find_value_axis(-1.7e308, 1.7e308, STYLE).ticks) > 2


def test_a_day_over_the_change_of_clocks_is_25_hours_wide_with_ticks_on_its_clock():
    axis = axis_of("2026-10-25")
    assert axis.high == 25 * 3_600
    assert [(seconds / 3_600, label) for seconds, label in zip(axis.ticks, axis.labels, strict=True)] == [
        (0, "25\xa0Oct"), (7, "06:00"), (13, "12:00"), (19, "18:00"), (25, "26\xa0Oct"),
    ]  # fmt: skip


def test_the_hour_that_happens_twice_has_two_ticks():
    axis = axis_of("2026-10-25T00:00:00+02:00/2026-10-25T04:00:00+01:00")
    assert axis.labels == ("25\xa0Oct", "01:00", "02:00", "02:00", "03:00", "04:00")
    assert [seconds / 3_600 for seconds in axis.ticks] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"])
@pytest.mark.parametrize("expression", ["2026-03-08", "2026-W13", "2026-03", "2026-Q4", "2026"])
def test_ticks_lie_inside_of_the_period_on_local_hours_and_are_few(expression, zone):
    axis = axis_of(expression, zone)
    start = parse_period(expression, timezone=zone, now=NOW).start
    assert 2 <= len(axis.ticks) <= 7
    assert axis.low <= axis.ticks[0] < axis.ticks[-1] <= axis.high
    for seconds in axis.ticks:
        assert (start + timedelta(seconds=seconds)).astimezone(ZoneInfo(zone)).minute == 0


@pytest.mark.parametrize(("minutes", "label"), [(4, "10:01"), (25, "10:05"), (100, "10:30")])
def test_short_periods_have_ticks_on_full_minutes(minutes, label):
    start = datetime(2026, 11, 20, 9, 0, 30, tzinfo=UTC)
    end = start + timedelta(minutes=minutes)
    assert label in axis_of(f"{start.isoformat()}/{end.isoformat()}").labels
