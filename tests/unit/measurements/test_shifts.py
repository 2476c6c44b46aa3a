"""Shifts of a period: buckets and planned time, on ordinary days and on those of clock changes."""

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gaugehouse.errors import PeriodRefused
from gaugehouse.measurements.period import bucket_edges_us, explicit_period, parse_every, parse_period
from gaugehouse.measurements.selection import from_epoch_us, to_epoch_us
from gaugehouse.measurements.shift_calendar import Holiday, Shift, ShiftCalendar
from gaugehouse.measurements.shifts import _count_at_least, find_busy, find_shift_buckets
from gaugehouse.measurements.windows import merge_windows
from unit.measurements.calendar_oracle import DAY, ZONES, clock, first_instant

NOW = datetime(2026, 11, 20, tzinfo=UTC)
HOUR_US = 3_600_000_000
EVERY_DAY = frozenset(range(7))


def shift(name, start, hours, days=EVERY_DAY, **validity):
    return Shift(
        name=name, start=time.fromisoformat(start), duration_min=round(hours * 60), days=frozenset(days), **validity
    )


THREE = (shift("early", "06:00", 8), shift("late", "14:00", 8), shift("night", "22:00", 8))


def plant(*shifts, zone="Europe/Berlin", holidays=()):
    days = tuple(Holiday(day=date.fromisoformat(day)) for day in holidays)
    return ShiftCalendar(timezone=zone, shifts=shifts, holidays=days)


def cut(expression, calendar, zone="Europe/Berlin", limit=10_000):
    """Return (name, day, hours) of each bucket; hours as elapsed time."""
    buckets = find_shift_buckets(parse_period(expression, timezone=zone, now=NOW), calendar, limit=limit)
    hours = (np.diff(buckets.edges_us) / HOUR_US).tolist()
    return [
        (None, None, length) if one is None else (one.name, one.day.isoformat(), length)
        for one, length in zip(buckets.shifts, hours, strict=True)
    ]


def test_a_night_shift_belongs_to_the_day_it_starts():
    assert cut("2026-11-20", plant(*THREE)) == [
        ("night", "2026-11-19", 6),
        ("early", "2026-11-20", 8),
        ("late", "2026-11-20", 8),
        ("night", "2026-11-20", 2),
    ]


def test_shifts_at_the_borders_of_the_period_are_marked_as_cut():
    period = parse_period("2026-11-20", timezone="Europe/Berlin", now=NOW)
    shifts = find_shift_buckets(period, plant(*THREE), limit=10).shifts
    assert [one.is_cut for one in shifts] == [True, False, False, True]


def test_time_between_shifts_is_a_bucket_of_nobody():
    calendar = plant(shift("day", "07:00", 9, days=range(5)))
    assert cut("2026-11-20/2026-11-24", calendar) == [
        (None, None, 7),
        ("day", "2026-11-20", 9),
        (None, None, 8 + 48 + 7),
        ("day", "2026-11-23", 9),
        (None, None, 8),
    ]
    period = parse_period("2026-11-20/2026-11-24", timezone="Europe/Berlin", now=NOW)
    assert find_shift_buckets(period, calendar, limit=10).is_shift.tolist() == [False, True, False, True, False]


@pytest.mark.parametrize(("night", "hours"), [("2026-03-28", 7), ("2026-10-24", 9), ("2026-11-19", 8)])
def test_a_night_shift_ends_when_clocks_say_so_and_is_an_hour_shorter_or_longer(night, hours):
    day = date.fromisoformat(night)
    lengths = {(name, start): length for name, start, length in cut(f"{day - DAY}/{day + 3 * DAY}", plant(*THREE))}
    assert lengths["night", night] == hours
    assert lengths["early", (day + DAY).isoformat()] == 8


def test_the_example_of_the_department_of_labor():
    calendar = plant(shift("graveyard", "23:00", 8.5), zone="America/New_York")
    lengths = {
        night: next(
            length
            for name, day, length in cut(f"{night}/{date.fromisoformat(night) + 2 * DAY}", calendar, "America/New_York")
            if day == night
        )
        for night in ("2026-03-07", "2026-06-06", "2026-10-31")
    }
    assert lengths == {"2026-03-07": 7.5, "2026-06-06": 8.5, "2026-10-31": 9.5}


def test_a_border_that_clocks_skip_lies_at_their_jump():
    calendar = plant(shift("a", "00:00", 2.5), shift("b", "02:30", 3))
    jump = datetime(2026, 3, 29, 1, tzinfo=UTC)
    period = parse_period("2026-03-29", timezone="Europe/Berlin", now=NOW)
    edges = [from_epoch_us(int(edge)) for edge in find_shift_buckets(period, calendar, limit=9).edges_us]
    assert edges[1] == jump
    assert cut("2026-03-29", calendar)[:2] == [("a", "2026-03-29", 2), ("b", "2026-03-29", 2.5)]


def test_a_border_that_clocks_show_twice_lies_where_they_show_it_first():
    calendar = plant(shift("a", "00:00", 2.5), shift("b", "02:30", 3))
    assert cut("2026-10-25", calendar)[:2] == [("a", "2026-10-25", 2.5), ("b", "2026-10-25", 4)]


def test_a_shift_whose_whole_time_is_skipped_does_not_take_place():
    calendar = plant(shift("a", "02:15", 0.5), shift("b", "03:00", 1))
    assert cut("2026-03-29", calendar) == [(None, None, 2), ("b", "2026-03-29", 1), (None, None, 20)]
    apia = plant(*THREE, zone="Pacific/Apia")  # 30 December 2011 did not exist there
    days = [day for name, day, _ in cut("2011-12-29/2012-01-01", apia, "Pacific/Apia") if name == "early"]
    assert days == ["2011-12-29", "2011-12-31"]


def test_on_a_holiday_no_shift_starts_and_the_night_before_still_ends():
    assert cut("2026-12-25", plant(*THREE, holidays=["2026-12-25"])) == [("night", "2026-12-24", 6), (None, None, 18)]


def test_a_shift_starts_from_its_first_to_its_last_valid_day():
    calendar = plant(
        shift("old", "06:00", 8, valid_until=date(2026, 11, 20)),
        shift("new", "05:00", 9, valid_from=date(2026, 11, 21)),
    )
    started = [(name, day) for name, day, _ in cut("2026-11-19/2026-11-23", calendar) if name]
    assert started == [("old", "2026-11-19"), ("old", "2026-11-20"), ("new", "2026-11-21"), ("new", "2026-11-22")]


def test_the_clocks_of_the_plant_count_not_those_of_the_report():
    tokyo = plant(shift("day", "08:00", 8), zone="Asia/Tokyo")
    assert cut("2026-11-20", tokyo, "UTC") == [
        ("day", "2026-11-20", 7),
        (None, None, 16),
        ("day", "2026-11-21", 1),
    ]


def test_a_period_without_any_shift_is_refused():
    with pytest.raises(PeriodRefused, match="no shift of the project's calendar lies in '2026-11-22'"):
        cut("2026-11-22", plant(shift("day", "07:00", 9, days=range(5))))  # a Sunday


def test_more_buckets_than_the_limit_are_refused():
    with pytest.raises(PeriodRefused, match="more than 20 buckets"):
        cut("2026", plant(*THREE), limit=20)


def test_hopelessly_many_shifts_are_refused_without_a_look_at_one(monkeypatch):
    monkeypatch.setattr("gaugehouse.measurements.shifts._find_occurrences", None)
    with pytest.raises(PeriodRefused, match="more than 200000 buckets"):
        cut("1970-01-02/8999-01-01", plant(*THREE), limit=10**9)


def test_shifts_are_a_bucket_that_needs_a_calendar():
    assert parse_every("shift").unit == "shift"
    period = parse_period("2026-11-20", timezone="UTC", now=NOW)
    with pytest.raises(PeriodRefused, match="need the project's shift calendar"):
        bucket_edges_us(period, "shift", limit=10)


# --- Any zone, any calendar ------------------------------------------------------------------------------------------


@st.composite
def calendars(draw):
    """Draw shifts that follow one another over the day, with or without gaps, some of them on some days only."""
    borders = sorted(draw(st.sets(st.integers(0, 1439), min_size=2, max_size=5)))
    spans = [*pairwise(borders), (borders[-1], borders[0] + 1440)]
    kept = draw(st.lists(st.sampled_from(spans), min_size=1, unique=True))
    shifts = [
        Shift(
            name=f"s{start}",
            start=time(*divmod(start, 60)),
            duration_min=draw(st.integers(1, end - start)) if draw(st.booleans()) else end - start,
            days=draw(st.just(EVERY_DAY) | st.frozensets(st.integers(0, 6), min_size=1)),
        )
        for start, end in kept
    ]
    return ShiftCalendar(timezone=draw(st.sampled_from(ZONES)), shifts=tuple(shifts))


PERIODS = st.builds(
    lambda start, length, zone: explicit_period(start, start + length, timezone=zone),
    st.datetimes(datetime(1973, 1, 1), datetime(2050, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - bounds are naive
    st.timedeltas(timedelta(minutes=1), timedelta(days=3)),
    st.sampled_from(["UTC", "Europe/Berlin"]),
)


def occurrences(calendar, period):
    """Return {(name, day): (start, end)} clipped to the period, from clocks that are read minute by minute."""
    zone = calendar.timezone
    first = clock(period.start, zone).date() - 2 * DAY
    found = {}
    for day in (first + n * DAY for n in range((period.end - period.start).days + 6)):
        for one in calendar.shifts:
            if day.weekday() in one.days:
                begin = datetime.combine(day, one.start)
                start, end = (
                    first_instant(local, zone) for local in (begin, begin + timedelta(minutes=one.duration_min))
                )
                if max(start, period.start) < min(end, period.end):
                    found[one.name, day] = (max(start, period.start), min(end, period.end))
    return found


@given(calendars(), PERIODS)
@settings(deadline=None, max_examples=30)
@example(
    plant(*THREE, zone="America/St_Johns"),
    explicit_period(datetime(2006, 10, 28, tzinfo=UTC), datetime(2006, 10, 31, tzinfo=UTC), timezone="UTC"),
)
@example(
    plant(*THREE, zone="Pacific/Apia"),
    explicit_period(datetime(2011, 12, 29, tzinfo=UTC), datetime(2012, 1, 1, tzinfo=UTC), timezone="UTC"),
)
def test_buckets_are_contiguous_and_each_shift_is_where_its_clocks_say(calendar, period):
    expected = occurrences(calendar, period)
    busy = find_busy(calendar, period.start, period.end)
    spans = [(to_epoch_us(start), to_epoch_us(end)) for start, end in expected.values()]
    union = merge_windows(spans)
    assert (busy.starts_us.tolist(), busy.ends_us.tolist()) == (union.starts_us.tolist(), union.ends_us.tolist())
    assert union.length_us == sum(end - start for start, end in spans)  # no two of them overlap, whatever clocks do
    if not expected:
        with pytest.raises(PeriodRefused):
            find_shift_buckets(period, calendar, limit=1000)
        return
    buckets = find_shift_buckets(period, calendar, limit=1000)
    edges_us = buckets.edges_us
    assert edges_us.dtype == np.int64
    assert (edges_us[0], edges_us[-1]) == (to_epoch_us(period.start), to_epoch_us(period.end))
    assert (np.diff(edges_us) > 0).all()
    found = {
        (one.name, one.day): (from_epoch_us(int(start)), from_epoch_us(int(end)))
        for one, start, end in zip(buckets.shifts, edges_us[:-1], edges_us[1:], strict=True)
        if one is not None
    }
    assert found == expected
    assert _count_at_least(period, calendar) <= len(found)
    assert all(a is not None or b is not None for a, b in pairwise(buckets.shifts))  # free time is one bucket


def test_planned_time_is_the_shifts_without_what_is_excluded():
    period = parse_period("2026-11-20", timezone="Europe/Berlin", now=NOW)
    start_us = to_epoch_us(period.start)
    excluded = merge_windows([(start_us + 7 * HOUR_US, start_us + 9 * HOUR_US)])
    calendar = plant(shift("early", "06:00", 8), shift("late", "14:00", 8))
    busy = find_busy(calendar, period.start, period.end, excluded=excluded)
    assert ((busy.starts_us - start_us) / HOUR_US).tolist() == [6, 9]
    assert ((busy.ends_us - start_us) / HOUR_US).tolist() == [7, 22]
    assert busy.length_us == 14 * HOUR_US
