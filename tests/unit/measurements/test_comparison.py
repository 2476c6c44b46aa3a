"""What a period is compared with, and which bucket stands beside which."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gaugehouse.measurements.comparison import NoPeriod, find_compared, pair_buckets, pair_shifts
from gaugehouse.measurements.period import bucket_edges_us, explicit_period, find_cut, find_unit, parse_period
from gaugehouse.measurements.shift_calendar import read_shift_calendar
from gaugehouse.measurements.shifts import ShiftBucket, find_shift_buckets
from unit.measurements.calendar_oracle import DAY, FORMS, KEYS, ZONES, bounds, clock, unit_before, unit_of

NOW = datetime(2026, 11, 20, 10, 30, tzinfo=UTC)  # a Friday in week 47
BERLIN = "Europe/Berlin"
EVERY_ZONE = st.sampled_from(ZONES)
INSTANTS = st.datetimes(datetime(1976, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive
UNITS = st.sampled_from(sorted(KEYS))


def compared(expression, against, zone=BERLIN):
    return find_compared(parse_period(expression, timezone=zone, now=NOW), against)


@pytest.mark.parametrize(
    ("expression", "previous", "year_before"),
    [
        ("today", "2026-11-19", "2025-11-20"),
        ("yesterday", "2026-11-18", "2025-11-19"),
        ("2026-03-01", "2026-02-28", "2025-03-01"),
        ("this_week", "2026-W46", "2025-W47"),
        ("last_week", "2026-W45", "2025-W46"),
        ("2026-W01", "2025-W52", "2025-W01"),
        ("2027-W01", "2026-W53", "2026-W01"),
        ("this_month", "2026-10", "2025-11"),
        ("last_month", "2026-09", "2025-10"),
        ("2026-01", "2025-12", "2025-01"),
        ("2028-02", "2028-01", "2027-02"),
        ("this_quarter", "2026-Q3", "2025-Q4"),
        ("last_quarter", "2026-Q2", "2025-Q3"),
        ("2026-Q1", "2025-Q4", "2025-Q1"),
        ("last_year", "2024", "2024"),
        ("2026", "2025", "2025"),
        ("last_7_days", "2026-11-06/2026-11-13", "2025-11-13/2025-11-20"),
        ("2026-03-20/2026-04-10", "2026-02-27/2026-03-20", "2025-03-20/2025-04-10"),
        ("2028-02-20/2028-03-05", "2028-02-06/2028-02-20", "2027-02-20/2027-03-05"),
        ("2028-02-20/2028-02-29", "2028-02-11/2028-02-20", "2027-02-20/2027-03-01"),
    ],
)
def test_each_period_has_the_one_before_it_and_the_one_a_year_before(expression, previous, year_before):
    assert compared(expression, "previous") == parse_period(previous, timezone=BERLIN, now=NOW)
    assert compared(expression, "year_before") == parse_period(year_before, timezone=BERLIN, now=NOW)


@pytest.mark.parametrize(
    ("expression", "against", "zone", "words"),
    [
        ("2026-W53", "year_before", BERLIN, "2025 has no ISO week 53"),
        ("2028-02-29", "year_before", BERLIN, "2027 has no 29 February"),
        ("2028-02-29/2028-03-05", "year_before", BERLIN, "2027 has no 29 February"),
        ("2028-02-20/2028-03-01", "year_before", BERLIN, "2027 has no 29 February"),
        ("2011-12-31", "previous", "Pacific/Apia", "is empty in Pacific/Apia"),
        ("2012-12-30", "year_before", "Pacific/Apia", "is empty in Pacific/Apia"),
        ("1970-01-01", "previous", "UTC", "outside of the years"),
        ("1970", "year_before", "UTC", "outside of the years"),
        ("1970-01-01/8000-01-01", "previous", "UTC", "before the calendar"),
        ("1970-01-01T12:00:00Z/8000-01-01T00:00:00Z", "previous", "UTC", "before the calendar"),
    ],
)
def test_where_there_is_none_the_answer_is_a_reason(expression, against, zone, words):
    answer = compared(expression, against, zone)
    assert isinstance(answer, NoPeriod)
    assert words in answer.reason


@given(UNITS, INSTANTS, EVERY_ZONE)
@settings(deadline=None, max_examples=60)
def test_the_previous_unit_and_that_of_a_year_before_are_the_calendars(unit, inside, zone):
    day = inside.date()
    days = unit_of(day, unit)
    start, end = bounds(days, zone)
    assume(start < end)
    period = parse_period(FORMS[unit](day), timezone=zone, now=NOW)
    check(find_compared(period, "previous"), unit_before(day, unit), zone)
    same = [one for n in range(-800, 0) if is_same_of_year_before(one := day + n * DAY, day, unit)]
    check(find_compared(period, "year_before"), same, zone)


def is_same_of_year_before(one, day, unit):
    if unit == "day":
        return (one.year + 1, one.month, one.day) == (day.year, day.month, day.day)
    if unit == "year":
        return one.year + 1 == day.year
    (year, number), (later, wanted) = KEYS[unit](one), KEYS[unit](day)
    return (year + 1, number) == (later, wanted)


def check(answer, days, zone):
    start, end = bounds(days, zone) if days else (None, None)
    if start == end:  # no such day, or one that the zone skipped
        assert isinstance(answer, NoPeriod)
    else:
        assert (answer.start, answer.end) == (start, end)


@given(INSTANTS, st.integers(1, 400), EVERY_ZONE)
@settings(deadline=None)
def test_days_are_compared_with_as_many_days_that_touch(inside, length, zone):
    first = inside.date()
    expression = f"{first}/{first + length * DAY}"
    assume(clock(parse_period(expression, timezone=zone, now=NOW).start, zone).date() == first)
    answer = find_compared(parse_period(expression, timezone=zone, now=NOW), "previous")
    check(answer, [first - n * DAY for n in range(length, 0, -1)], zone)


@given(INSTANTS, st.timedeltas(timedelta(seconds=1), timedelta(days=300)), EVERY_ZONE)
def test_times_are_compared_with_as_much_time_before(start, length, zone):
    period = explicit_period(start, start + length, timezone=zone)
    assume(find_unit(period.expression) is None and clock(start, zone).time() != datetime.min.time())
    answer = find_compared(period, "previous")
    assert (answer.start, answer.end) == (start - length, start)


@given(INSTANTS, st.integers(1, 1000), EVERY_ZONE)
def test_the_last_hours_are_compared_with_as_many_hours(now, hours, zone):
    period = parse_period(f"last_{hours}_hours", timezone=zone, now=now)
    previous, before = (find_compared(period, against) for against in ("previous", "year_before"))
    assert (previous.start, previous.end) == (period.start - timedelta(hours=hours), period.start)
    if not isinstance(before, NoPeriod):
        assert before.end - before.start == timedelta(hours=hours)
        shown, shown_before = clock(period.end, zone), clock(before.end, zone)
        assert shown_before >= shown.replace(year=shown.year - 1)  # later only where clocks skipped that time
    else:
        assert before.reason.endswith("has no 29 February")


def test_times_a_year_before_are_those_that_clocks_showed():
    summer = compared("2026-03-28T06:00:00+01:00/2026-03-30T14:00:00+02:00", "year_before")
    assert summer.start == datetime.fromisoformat("2025-03-28T06:00+01:00")
    assert summer.end == datetime.fromisoformat("2025-03-30T14:00+02:00")


@given(UNITS, INSTANTS, EVERY_ZONE, st.sampled_from(["previous", "year_before"]))
@settings(deadline=None)
def test_what_is_found_is_a_period_that_can_be_asked_for(unit, inside, zone, against):
    start, end = bounds(unit_of(inside.date(), unit), zone)
    assume(start < end)  # the zone did not skip it
    period = parse_period(FORMS[unit](inside.date()), timezone=zone, now=NOW)
    answer = find_compared(period, against)
    if not isinstance(answer, NoPeriod):
        assert parse_period(answer.expression, timezone=zone, now=NOW) == answer
        assert answer.end <= period.start
        if against == "previous":
            assert answer.end == period.start


# --- Buckets ---------------------------------------------------------------------------------------------------------


def pair(expression, other, every):
    periods = [parse_period(one, timezone=BERLIN, now=NOW) for one in (expression, other)]
    edges = [bucket_edges_us(period, every, limit=99) for period in periods]
    return pair_buckets(*edges, *(find_cut(*one, edge) for *one, edge in zip(periods, [every] * 2, edges, strict=True)))


def test_the_tenth_day_stands_beside_the_tenth_and_the_31st_alone():
    pairs = pair("2026-10", "2026-09", "day")
    assert pairs.partner.tolist() == [*range(30), -1]
    assert pairs.reasons == (None,) * 30 + ("the period it is compared with has 30 buckets",)
    assert pair("2026-09", "2026-10", "day").partner.tolist() == list(range(30))
    assert pair("2026-09", "2026-10", "day").reasons == (None,) * 30


def test_a_week_that_a_month_cuts_stands_beside_no_longer_one():
    # October 2026 begins on a Thursday (4 days) and ends on a Saturday (6); September on a Tuesday (6) and ends with 3.
    pairs = pair("2026-10", "2026-09", "week")
    assert pairs.partner.tolist() == [-1, 1, 2, 3, -1]
    assert {pairs.reasons[0], pairs.reasons[-1]} == {"one of the two buckets is cut off by the border of its period"}
    same = pair("2027-03", "2027-02", "week")  # both begin on a Monday, and February has no fifth week
    assert same.partner.tolist() == [0, 1, 2, 3, -1]
    assert pair("2026-Q3", "2026-Q2", "month").partner.tolist() == [0, 1, 2]  # 31 days beside 30: both are whole


def test_the_rest_of_a_period_stands_beside_a_rest_of_the_same_length():
    assert pair("2026-09", "2026-08", "P7D").partner.tolist() == [0, 1, 2, 3, -1]  # two days, three days
    assert pair("2026-09", "2026-06", "P7D").partner.tolist() == [0, 1, 2, 3, 4]
    assert pair("2026-09", "2026-06", None).partner.tolist() == [0]


CALENDAR = read_shift_calendar(
    {
        "timezone": BERLIN,
        "shifts": [
            {"name": "early", "start": "06:00", "duration": "8h", "days": ["mon", "tue", "wed", "thu", "fri"]},
            {"name": "night", "start": "22:00", "duration": "8h", "days": ["sun", "mon", "tue", "wed", "thu"]},
        ],
        "holidays": [{"day": "2026-10-07"}],
    }
)


def cut(expression):
    period = parse_period(expression, timezone=BERLIN, now=NOW)
    return period, find_shift_buckets(period, CALENDAR, limit=1000).shifts


def test_shifts_stand_beside_those_of_their_name_on_the_same_day():
    period, shifts = cut("2026-W42")
    before, others = cut("2026-W41")
    pairs = pair_shifts(period, shifts, before, others)
    for one, partner, reason in zip(shifts, pairs.partner, pairs.reasons, strict=True):
        if one is None:
            assert (partner, reason) == (-1, "no shift")
        elif one.day == date(2026, 10, 14):
            assert partner == -1
            assert reason == f"there is no shift '{one.name}' on 2026-10-07 in the period it is compared with"
        else:
            assert reason is None
            assert others[partner] == ShiftBucket(name=one.name, day=one.day - 7 * DAY, is_cut=one.is_cut)


def test_a_shift_that_its_period_cuts_off_is_not_compared_with_a_whole_one():
    period, shifts = cut("2026-11-03/2026-11-05")  # begins in the night shift of Monday
    whole = [ShiftBucket(name=one.name, day=one.day - DAY) if one else None for one in shifts]
    pairs = pair_shifts(period, shifts, cut("2026-11-02/2026-11-04")[0], whole)
    assert shifts[0].is_cut
    assert pairs.partner[0] == -1
    assert pairs.reasons[0] == "one of the two shifts is cut off by the border of its period"
    assert [reason for reason in pairs.reasons if reason and "cut" not in reason and "no shift" not in reason] == []
