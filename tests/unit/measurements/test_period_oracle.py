"""Every named period and every calendar bucket, in every zone there is, against the slow and obvious calendar."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gaugehouse.errors import PeriodRefused
from gaugehouse.measurements.period import bucket_edges_us, explicit_period, find_unit, parse_instant, parse_period
from gaugehouse.measurements.selection import to_epoch_us
from gaugehouse.measurements.wall_clock import find_wall_instant
from unit.measurements.calendar_oracle import (
    DAY,
    FORMS,
    KEYS,
    ZONES,
    bounds,
    clock,
    day_begins,
    days_of,
    first_instant,
    unit_of,
)

EVERY_ZONE = st.sampled_from(ZONES)
INSTANTS = st.datetimes(datetime(1973, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive
RELATIVE = st.sampled_from(
    ["today", "yesterday", "last_7_days", "last_1_days", "last_400_days"]
    + [f"{which}_{unit}" for which in ("this", "last") for unit in ("week", "month", "quarter", "year")]
)
UNITS = st.sampled_from(sorted(KEYS))
MANY = settings(deadline=None, max_examples=120)


def berlin(text):
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Berlin")).astimezone(UTC)


def check(expression, now, zone, days):
    start, end = bounds(days, zone)
    if start == end:  # the zone skipped that day
        with pytest.raises(PeriodRefused, match="is empty"):
            parse_period(expression, timezone=zone, now=now)
        return
    period = parse_period(expression, timezone=zone, now=now)
    assert (period.start, period.end) == (start, end)


def test_there_are_zones_to_look_at():
    assert len(ZONES) > 400
    assert {"Pacific/Apia", "America/St_Johns", "Africa/Casablanca", "Asia/Pyongyang"} <= set(ZONES)


@given(RELATIVE, INSTANTS, EVERY_ZONE)
@example("last_week", datetime(2027, 1, 4, tzinfo=UTC), "Europe/Berlin")  # the week before is 2026-W53
@example("last_quarter", datetime(2026, 1, 1, tzinfo=UTC), "America/New_York")  # still 2025 there
@example("last_month", datetime(2026, 3, 31, 23, tzinfo=UTC), "Europe/Berlin")
@example("yesterday", datetime(2011, 12, 30, 12, tzinfo=UTC), "Pacific/Apia")  # there was no 30th
@example("today", datetime(2018, 11, 4, 12, tzinfo=UTC), "America/Sao_Paulo")  # began at 01:00
@MANY
def test_a_relative_period_is_what_the_local_calendar_says_now(expression, now, zone):
    check(expression, now, zone, days_of(expression, clock(now, zone).date()))


@given(UNITS, INSTANTS, EVERY_ZONE)
@example("week", datetime(2026, 12, 31, tzinfo=UTC), "Asia/Kathmandu")  # 2026-W53
@example("day", datetime(2028, 2, 29, tzinfo=UTC), "Africa/Cairo")
@MANY
def test_a_calendar_period_is_what_the_local_calendar_says(unit, inside, zone):
    day = inside.date()
    expression = FORMS[unit](day)
    assert find_unit(expression) == unit
    check(expression, datetime(2026, 11, 20, tzinfo=UTC), zone, unit_of(day, unit))


@given(INSTANTS, st.integers(1, 500), EVERY_ZONE)
@settings(deadline=None)
def test_two_local_dates_are_a_period(inside, length, zone):
    first = inside.date()
    days = [first + n * DAY for n in range(length)]
    check(f"{first}/{first + length * DAY}", inside, zone, days)


@given(INSTANTS, st.integers(1, 2000), EVERY_ZONE)
def test_the_last_hours_end_now_and_are_hours_whatever_clocks_do(now, hours, zone):
    period = parse_period(f"last_{hours}_hours", timezone=zone, now=now)
    assert (period.start, period.end) == (now - timedelta(hours=hours), now)


@given(UNITS, INSTANTS, st.timedeltas(timedelta(minutes=1), timedelta(days=40)), EVERY_ZONE)
@settings(deadline=None, max_examples=60)
def test_calendar_buckets_begin_where_the_unit_begins(unit, start, length, zone):
    period = explicit_period(start, start + length, timezone=zone)
    first, last = clock(start, zone).date() - DAY, clock(start + length, zone).date() + DAY
    days = [first + n * DAY for n in range((last - first).days + 1)]
    begins = [day_begins(day, zone) for day in days if KEYS[unit](day) != KEYS[unit](day - DAY)]
    inner = sorted({to_epoch_us(instant) for instant in begins if period.start < instant < period.end})
    expected = [to_epoch_us(period.start), *inner, to_epoch_us(period.end)]
    assert bucket_edges_us(period, unit, limit=1000).tolist() == expected


@given(INSTANTS, st.timedeltas(timedelta(minutes=1), timedelta(days=3)), EVERY_ZONE)
@settings(deadline=None, max_examples=60)
def test_hour_buckets_begin_on_full_local_hours_and_leave_none_out(start, length, zone):
    period = explicit_period(start, start + length, timezone=zone)
    edges_us = bucket_edges_us(period, "hour", limit=1000)
    assert (np.diff(edges_us) > 0).all()
    full = {
        to_epoch_us(instant)
        for n in range(int(length / timedelta(minutes=1)) + 2)
        if (instant := start.replace(second=0, microsecond=0) + n * timedelta(minutes=1)) > start
        and instant < period.end
        and clock(instant, zone).minute == 0
    }
    assert set(edges_us[1:-1].tolist()) == full


@given(INSTANTS, st.integers(0, 1439), EVERY_ZONE)
@example(datetime(2026, 3, 29, tzinfo=UTC), 150, "Europe/Berlin")  # 02:30 is skipped
@example(datetime(2026, 10, 25, tzinfo=UTC), 150, "Europe/Berlin")  # 02:30 occurs twice
@example(datetime(2011, 12, 30, tzinfo=UTC), 700, "Pacific/Apia")  # the whole day is skipped
@example(datetime(2006, 10, 29, tzinfo=UTC), 0, "America/St_Johns")  # 00:01 became 23:01
@example(datetime(2006, 10, 29, tzinfo=UTC), 1, "America/St_Johns")
@MANY
def test_a_wall_time_is_reached_when_clocks_first_show_it_or_a_later_one(inside, minute, zone):
    local = datetime.combine(inside.date(), datetime.min.time()) + timedelta(minutes=minute)
    assert find_wall_instant(local, ZoneInfo(zone)) == first_instant(local, zone)


def test_a_date_in_a_zone_is_the_instant_it_begins():
    assert parse_instant("2026-03-29", timezone="Europe/Berlin") == berlin("2026-03-29")
    assert parse_instant("2018-11-04", timezone="America/Sao_Paulo") == datetime(2018, 11, 4, 3, tzinfo=UTC)
    with pytest.raises(PeriodRefused, match="there is no day"):
        parse_instant("2026-02-29", timezone="Europe/Berlin")


@pytest.mark.parametrize("text", ["2026-11-20T08:00", "2026-11-20", "2026-11-20 08:00:00.5"])
def test_a_naive_time_without_a_zone_is_refused(text):
    with pytest.raises(PeriodRefused, match="has no offset"):
        parse_instant(text)


@pytest.mark.parametrize(
    ("expression", "unit"),
    [
        ("today", "day"),
        ("yesterday", "day"),
        ("last_quarter", "quarter"),
        ("this_week", "week"),
        (" 2026-W45 ", "week"),
        ("last_24_hours", "hour"),
        ("last_7_days", None),
        ("2026-11-01/2026-11-08", None),
    ],
)
def test_an_expression_tells_its_unit(expression, unit):
    assert find_unit(expression) == unit
