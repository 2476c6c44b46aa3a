"""When recurrences are due, against an oracle that watches the clocks minute by minute."""

import zoneinfo
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaugehouse.errors import PeriodRefused, Refused
from gaugehouse.jobs.calendar import ORDINALS, UNIT_MONTHS, WEEKDAYS, find_instant, parse_recurrence
from gaugehouse.measurements.wall_clock import MACHINE_ZONES

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
ZONES = sorted(zone for zone in zoneinfo.available_timezones() if zone not in MACHINE_ZONES)
# Before 1973 there were offsets with seconds in them, which an oracle of minutes does not see.
YEARS = range(1973, 2038)


# --- the oracle: no arithmetic with offsets, only looking at clocks ---------------------------------------------------


def watch(zone, start, end):
    """Yield (instant, what the clocks show), minute by minute."""
    at = start
    while at < end:
        yield at, at.astimezone(zone).replace(tzinfo=None, fold=0)
        at += MINUTE


def find_by_watching(zone, start, end, hour, minute, is_due_on):
    """Return when the clocks first show hour:minute, or anything later, of each day that counts."""
    found = []
    shown_before = (start - MINUTE).astimezone(zone).replace(tzinfo=None, fold=0)
    for at, shown in watch(zone, start, end):
        day = shown_before.date()
        while day <= shown.date():
            wall = datetime.combine(day, time(hour, minute))
            if shown_before < wall <= shown and is_due_on(day) and at not in found:
                found.append(at)
            day += DAY
        shown_before = max(shown_before, shown)
    return found


@cache
def find_changes(zone_name, year):
    """Return the minutes at which the clocks of a zone change in a year."""
    zone, found = ZoneInfo(zone_name), []
    days = [datetime(year, 1, 1, tzinfo=UTC) + n * DAY for n in range(366)]
    offsets = [day.astimezone(zone).utcoffset() for day in days]
    for before, day, old, new in zip(days, days[1:], offsets, offsets[1:], strict=False):
        low, high = before, day
        while old != new and high - low > MINUTE:
            middle = low + (high - low) // MINUTE // 2 * MINUTE
            low, high = (middle, high) if middle.astimezone(zone).utcoffset() == old else (low, middle)
        found += [high] if old != new else []
    return found


def counts(day, days):
    return days == "day" or (day.weekday() < 5 if days == "weekday" else WEEKDAYS[day.weekday()] in days.split(", "))


@cache
def pick_days(year, ordinal, days, unit):
    """Return the picked day of each month, quarter or year of a year, by listing all of them."""
    group = {"month": lambda day: day.month, "quarter": lambda day: (day.month - 1) // 3, "year": lambda _day: 0}[unit]
    fitting = [day for n in range(366) if (day := date(year, 1, 1) + n * DAY).year == year and counts(day, days)]
    units = [[day for day in fitting if group(day) == number] for number in sorted(set(map(group, fitting)))]
    return [one[-1 if ordinal == "last" else list(ORDINALS).index(ordinal)] for one in units]


# --- rules over clock changes -----------------------------------------------------------------------------------------


@st.composite
def windows(draw):
    """Draw a zone and some days, around a change of its clocks where it has one in that year."""
    zone_name, year = draw(st.sampled_from(ZONES)), draw(st.sampled_from(YEARS))
    changes = find_changes(zone_name, year)
    if changes:
        start = draw(st.sampled_from(changes)) - timedelta(minutes=draw(st.integers(0, 1_440)))
    else:
        start = datetime(year, 1, 1, tzinfo=UTC) + timedelta(minutes=draw(st.integers(0, 525_000)))
    return zone_name, start, start + 2 * DAY


@given(
    windows(), st.integers(0, 23), st.integers(0, 59), st.sampled_from(["day", "weekday", *WEEKDAYS, "Monday, Sunday"])
)
@settings(max_examples=150, deadline=None)
def test_wall_times_of_days_are_due_when_the_clocks_first_show_them_or_anything_later(window, hour, minute, days):
    zone_name, start, end = window
    recurrence = parse_recurrence(f"every {days} {hour:02}:{minute:02}", timezone=zone_name)
    expected = find_by_watching(ZoneInfo(zone_name), start, end, hour, minute, lambda day: counts(day, days))
    found = []
    at = start - timedelta(microseconds=1)
    while (at := recurrence.next_after(at)) < end:
        found.append(at)
    assert found == expected


@given(windows(), st.integers(0, 59))
@settings(max_examples=150, deadline=None)
def test_hours_are_due_whenever_the_clocks_show_the_minute(window, minute):
    zone_name, start, end = window
    recurrence = parse_recurrence(f"hourly at :{minute:02}", timezone=zone_name)
    expected = [at for at, shown in watch(ZoneInfo(zone_name), start, end) if shown.minute == minute]
    found = []
    at = start - timedelta(microseconds=1)
    while (at := recurrence.next_after(at)) < end:
        found.append(at)
    assert found == expected


@pytest.mark.parametrize("year", [2026, 2027])
def test_every_zone_is_right_over_both_changes_of_a_year(year):
    changed = [(name, change) for name in ZONES for change in find_changes(name, year)]
    assert len(changed) > 300  # else nothing is tested
    for name, change in changed[:: 7 if year == 2026 else 5]:
        start, end = change - timedelta(hours=3), change + timedelta(hours=3)
        for hour, minute in ((0, 0), (1, 30), (2, 30)):
            recurrence = parse_recurrence(f"every day {hour:02}:{minute:02} {name}")
            expected = find_by_watching(ZoneInfo(name), start, end, hour, minute, lambda _day: True)
            times = recurrence.times_after(start - timedelta(microseconds=1), count=3)
            assert [at for at in times if at < end] == expected, (name, change, hour)


@given(
    st.sampled_from(list(ORDINALS)),
    st.sampled_from(["day", "weekday", *WEEKDAYS]),
    st.sampled_from(list(UNIT_MONTHS)),
    st.dates(date(1990, 1, 1), date(2040, 1, 1)),
)
@settings(max_examples=100, deadline=None)
def test_the_nth_day_of_a_month_quarter_or_year_is_counted(ordinal, days, unit, first):
    recurrence = parse_recurrence(f"{ordinal} {days} of {unit} 00:00 UTC")
    start = datetime(first.year, first.month, first.day, tzinfo=UTC)
    found = recurrence.next_after(start - timedelta(microseconds=1))
    picked = [day for year in (first.year, first.year + 1) for day in pick_days(year, ordinal, days, unit)]
    assert found.date() == min(day for day in picked if day >= first)
    assert (found.hour, found.minute, found.second) == (0, 0, 0)


@given(st.integers(20 * 365 * 86_400 * 10**6, 70 * 365 * 86_400 * 10**6), st.integers(0, 10**9))
@settings(max_examples=100, deadline=None)
def test_the_next_time_lies_ahead_and_there_is_none_between(at_us, step_us):
    recurrence = parse_recurrence("every weekday 02:30 Europe/Berlin")
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)
    following = recurrence.next_after(at)
    assert following > at
    between = min(at + timedelta(microseconds=step_us), following - timedelta(microseconds=1))
    assert recurrence.next_after(between) == following


# --- examples that people can check -----------------------------------------------------------------------------------


def due(text, start, *, count):
    return [
        f"{at:%m-%d %H:%M}" for at in parse_recurrence(text).times_after(datetime.fromisoformat(start), count=count)
    ]


@pytest.mark.parametrize(
    ("text", "start", "expected"),
    [
        # Berlin leaves out 02:00 to 03:00 of 29 March, and has them twice on 25 October.
        ("every day 02:30 Europe/Berlin", "2026-03-28T12:00Z", ["03-29 01:00", "03-30 00:30", "03-31 00:30"]),
        ("every day 03:00 Europe/Berlin", "2026-03-28T12:00Z", ["03-29 01:00", "03-30 01:00", "03-31 01:00"]),
        ("every day 02:30 Europe/Berlin", "2026-10-24T12:00Z", ["10-25 00:30", "10-26 01:30", "10-27 01:30"]),
        ("every Monday 06:00 Europe/Berlin", "2026-10-17T12:00Z", ["10-19 04:00", "10-26 05:00", "11-02 05:00"]),
        ("hourly at :15 Europe/Berlin", "2026-03-29T00:00Z", ["03-29 00:15", "03-29 01:15", "03-29 02:15"]),
        ("hourly at :15 Europe/Berlin", "2026-10-25T00:00Z", ["10-25 00:15", "10-25 01:15", "10-25 02:15"]),
        # Half an hour: the quarter past two is left out in spring, the quarter to two comes twice in autumn.
        ("hourly at :15 Australia/Lord_Howe", "2026-10-03T14:00Z", ["10-03 14:45", "10-03 16:15", "10-03 17:15"]),
        ("hourly at :45 Australia/Lord_Howe", "2026-04-04T14:00Z", ["04-04 14:45", "04-04 15:15", "04-04 16:15"]),
        # Beirut goes from 23:59 to 01:00; Apia from 29 to 31 December 2011.
        ("every day 00:00 Asia/Beirut", "2026-03-28T12:00Z", ["03-28 22:00", "03-29 21:00"]),
        ("every day 06:00 Pacific/Apia", "2011-12-29T12:00Z", ["12-29 16:00", "12-30 10:00", "12-30 16:00"]),
        ("every day 00:00 Pacific/Apia", "2011-12-29T12:00Z", ["12-30 10:00", "12-31 10:00"]),
        ("first Monday of month 06:00 UTC", "2026-01-01T00:00Z", ["01-05 06:00", "02-02 06:00", "03-02 06:00"]),
        ("last weekday of month 18:00 UTC", "2026-01-01T00:00Z", ["01-30 18:00", "02-27 18:00", "03-31 18:00"]),
        ("last day of month 06:00 UTC", "2028-01-31T07:00Z", ["02-29 06:00", "03-31 06:00"]),
        ("every quarter 06:00 UTC", "2026-01-01T06:00Z", ["04-01 06:00", "07-01 06:00", "10-01 06:00", "01-01 06:00"]),
        ("every year 00:00 UTC", "2026-06-01T00:00Z", ["01-01 00:00", "01-01 00:00"]),
    ],
)
def test_examples(text, start, expected):
    assert due(text, start, count=len(expected)) == expected


def test_a_time_that_lies_right_at_a_change_is_found_to_the_second():
    zone = ZoneInfo("Africa/Monrovia")  # 44 min 30 s were left out on 7 January 1972
    assert find_instant(datetime.combine(date(1972, 1, 7), time(0, 20)), zone) == datetime(
        1972, 1, 7, 0, 44, 30, tzinfo=UTC
    )


# --- texts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "one_spelling"),
    [
        ("Every  DAY at 6:00 Europe/Berlin", "every day 06:00"),
        ("every monday 06:00 Europe/Berlin", "every Monday 06:00"),
        ("every Sunday, Monday and friday 06:00 Europe/Berlin", "every Monday, Friday, Sunday 06:00"),
        ("every Monday, Tuesday, Wednesday, Thursday and Friday 06:00 Europe/Berlin", "every weekday 06:00"),
        ("the first day of the month at 06:00 Europe/Berlin", "first day of month 06:00"),
        ("every month 06:00 Europe/Berlin", "first day of month 06:00"),
        ("last friday of each quarter 23:59 Europe/Berlin", "last Friday of quarter 23:59"),
        ("every hour at :05 Europe/Berlin", "hourly at :05"),
    ],
)
def test_texts_are_kept_in_one_spelling_that_means_the_same(text, one_spelling):
    read = parse_recurrence(text)
    assert (read.text, read.timezone) == (one_spelling, "Europe/Berlin")
    assert parse_recurrence(read.text, timezone=read.timezone) == read


@pytest.mark.parametrize(
    "text",
    [
        "",
        "every",
        "every fortnight 06:00 UTC",
        "every Monday 24:00 UTC",
        "every Monday 06:60 UTC",
        "every Monday UTC",
        "fifth Monday of month 06:00 UTC",
        "first Monday of week 06:00 UTC",
        "hourly at :60 UTC",
        "every Monday 06:00 Europe/Berlin please",
        "every day 06:00 UTC" + " " * 10 + "x" * 300,
    ],
)
def test_other_texts_are_refused_with_examples(text):
    with pytest.raises(Refused, match="first Monday of month") as caught:
        parse_recurrence(text)
    assert caught.value.code == "recurrence_refused"
    assert len(caught.value.message) < 1000


def test_a_zone_is_needed_exists_and_is_one():
    with pytest.raises(Refused, match="names no time zone"):
        parse_recurrence("every day 06:00")
    with pytest.raises(PeriodRefused, match="Mars/Olympus"):
        parse_recurrence("every day 06:00 Mars/Olympus")
    with pytest.raises(Refused, match="one time zone"):
        parse_recurrence("every day 06:00 Europe/Berlin", timezone="UTC")
    assert parse_recurrence("every day 06:00", timezone="Asia/Tokyo", default_timezone="UTC").timezone == "Asia/Tokyo"
    assert parse_recurrence("every day 06:00 Asia/Tokyo", default_timezone="UTC").timezone == "Asia/Tokyo"
    assert parse_recurrence("every day 06:00", default_timezone="UTC").timezone == "UTC"
