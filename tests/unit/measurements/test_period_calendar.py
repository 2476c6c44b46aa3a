"""Named, calendar and explicit periods, and instants."""

from datetime import UTC, datetime, timedelta

import pytest

from gaugehouse.errors import PeriodRefused
from gaugehouse.measurements.period import explicit_period, parse_instant, parse_period

NOW = datetime(2026, 11, 20, 10, 30, tzinfo=UTC)  # a Friday; 11:30 in Berlin


def at(text):
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("expression", "start", "end"),
    [
        ("today", "2026-11-20T00:00+01:00", "2026-11-21T00:00+01:00"),
        ("yesterday", "2026-11-19T00:00+01:00", "2026-11-20T00:00+01:00"),
        ("last_7_days", "2026-11-13T00:00+01:00", "2026-11-20T00:00+01:00"),
        ("last_30_days", "2026-10-21T00:00+02:00", "2026-11-20T00:00+01:00"),
        ("last_24_hours", "2026-11-19T10:30+00:00", "2026-11-20T10:30+00:00"),
        ("this_week", "2026-11-16T00:00+01:00", "2026-11-23T00:00+01:00"),
        ("last_week", "2026-11-09T00:00+01:00", "2026-11-16T00:00+01:00"),
        ("this_month", "2026-11-01T00:00+01:00", "2026-12-01T00:00+01:00"),
        ("last_month", "2026-10-01T00:00+02:00", "2026-11-01T00:00+01:00"),
        ("this_quarter", "2026-10-01T00:00+02:00", "2027-01-01T00:00+01:00"),
        ("last_quarter", "2026-07-01T00:00+02:00", "2026-10-01T00:00+02:00"),
        ("this_year", "2026-01-01T00:00+01:00", "2027-01-01T00:00+01:00"),
        ("last_year", "2025-01-01T00:00+01:00", "2026-01-01T00:00+01:00"),
        ("2026", "2026-01-01T00:00+01:00", "2027-01-01T00:00+01:00"),
        ("2026-Q3", "2026-07-01T00:00+02:00", "2026-10-01T00:00+02:00"),
        ("2026-10", "2026-10-01T00:00+02:00", "2026-11-01T00:00+01:00"),
        ("2026-12", "2026-12-01T00:00+01:00", "2027-01-01T00:00+01:00"),
        ("2026-W45", "2026-11-02T00:00+01:00", "2026-11-09T00:00+01:00"),
        ("2026-W53", "2026-12-28T00:00+01:00", "2027-01-04T00:00+01:00"),
        ("2026-11-20", "2026-11-20T00:00+01:00", "2026-11-21T00:00+01:00"),
        ("2026-03-29", "2026-03-29T00:00+01:00", "2026-03-30T00:00+02:00"),
        ("2026-11-01T06:00:00+01:00/2026-11-02T06:00:00Z", "2026-11-01T05:00+00:00", "2026-11-02T06:00+00:00"),
        ("2026-03-29/2026-03-31", "2026-03-29T00:00+01:00", "2026-03-31T00:00+02:00"),
    ],
)
def test_each_expression_means_its_local_calendar_range(expression, start, end):
    period = parse_period(expression, timezone="Europe/Berlin", now=NOW)
    assert (period.start, period.end) == (at(start), at(end))
    assert (period.timezone, period.expression) == ("Europe/Berlin", expression)


def test_last_week_on_a_monday_is_the_week_that_just_ended():
    period = parse_period("last_week", timezone="UTC", now=datetime(2026, 11, 16, tzinfo=UTC))
    assert (period.start, period.end) == (at("2026-11-09T00:00Z"), at("2026-11-16T00:00Z"))


def test_last_month_in_january_is_december():
    period = parse_period("last_month", timezone="UTC", now=datetime(2027, 1, 31, tzinfo=UTC))
    assert (period.start, period.end) == (at("2026-12-01T00:00Z"), at("2027-01-01T00:00Z"))


def test_today_is_the_day_of_the_zone_not_of_utc():
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    assert parse_period("today", timezone="Pacific/Kiritimati", now=now).start == at("2026-11-21T00:00+14:00")


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-11-20", 24)])
def test_a_dst_day_has_23_or_25_hours(day, hours):
    period = parse_period(day, timezone="Europe/Berlin", now=NOW)
    assert period.end - period.start == timedelta(hours=hours)


def test_a_day_whose_midnight_is_skipped_begins_when_the_clocks_jump():
    period = parse_period("2018-11-04", timezone="America/Sao_Paulo", now=NOW)  # 00:00 became 01:00
    assert period.start == at("2018-11-04T03:00Z")
    assert period.end - period.start == timedelta(hours=23)


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("tomorrow", "is no period"),
        ("", "is no period"),
        ("2026-13", "the calendar has no"),
        ("2026-02-30", "the calendar has no"),
        ("2025-W53", "the calendar has no"),
        ("0000", "the calendar has no"),
        ("9999", "the calendar has no"),
        ("9500", "outside of the years"),
        ("1969", "outside of the years"),
        ("last_0_days", "must count from 1"),
        ("last_999999_days", "must count from 1"),
        ("2026-11-01/2026-11-01", "is empty"),
        ("2026-11-02/2026-11-01", "is empty"),
        ("2026-11-01T00:00/2026-11-02T00:00", "has no offset"),
        ("a/b/c", "one slash"),
        ("2026-11-31/2026-12-02", "there is no day"),
        ("2026-11-01/soon", "is no time"),
    ],
)
def test_what_is_no_period_is_refused_and_the_message_names_it(expression, complaint):
    with pytest.raises(PeriodRefused, match=complaint) as refusal:
        parse_period(expression, timezone="Europe/Berlin", now=NOW)
    assert refusal.value.code == "period_refused"


def test_a_day_that_the_zone_skipped_is_empty():
    with pytest.raises(PeriodRefused, match="is empty in Pacific/Apia"):
        parse_period("2011-12-30", timezone="Pacific/Apia", now=NOW)


@pytest.mark.parametrize("zone", ["Europe/Atlantis", "Europe", "../etc/passwd", "", "/etc/localtime", "UTC\0"])
def test_an_unknown_zone_is_refused(zone):
    with pytest.raises(PeriodRefused, match="no time zone is called"):
        parse_period("today", timezone=zone, now=NOW)


def test_an_instant_needs_an_offset_or_a_zone():
    assert parse_instant("2026-11-20T08:00:00+01:00") == at("2026-11-20T07:00Z")
    assert parse_instant("2026-11-20T08:00:00", timezone="Europe/Berlin") == at("2026-11-20T07:00Z")
    with pytest.raises(PeriodRefused, match="has no offset"):
        parse_instant("2026-11-20T08:00:00")


def test_an_offset_in_the_text_wins_over_the_zone():
    assert parse_instant("2026-11-20T08:00:00Z", timezone="Asia/Tokyo") == at("2026-11-20T08:00Z")


def test_a_local_time_that_clocks_skip_is_refused():
    with pytest.raises(PeriodRefused, match="does not exist in Europe/Berlin"):
        parse_instant("2026-03-29T02:30:00", timezone="Europe/Berlin")


def test_a_local_time_that_occurs_twice_is_the_first():
    assert parse_instant("2026-10-25T02:30:00", timezone="Europe/Berlin") == at("2026-10-25T00:30Z")


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:00:00-12:00", "1969-12-31T23:59:59Z"])
def test_an_instant_outside_of_the_calendar_is_refused(text):
    with pytest.raises(PeriodRefused, match="outside of the years"):
        parse_instant(text)


def test_an_explicit_period_is_stored_in_utc_and_spelled_out():
    period = explicit_period(
        datetime.fromisoformat("2026-11-20T08:00:00+01:00"), datetime(2026, 11, 21, tzinfo=UTC), timezone="UTC"
    )
    assert period.expression == "2026-11-20T07:00:00+00:00/2026-11-21T00:00:00+00:00"
    assert period.start.tzinfo is UTC


def test_an_explicit_period_refuses_naive_times():
    with pytest.raises(PeriodRefused, match="has no offset"):
        explicit_period(datetime(2026, 11, 20), datetime(2026, 11, 21, tzinfo=UTC), timezone="UTC")  # noqa: DTZ001 - naive on purpose


def test_an_explicit_period_refuses_a_start_behind_its_end():
    with pytest.raises(PeriodRefused, match="is empty"):
        explicit_period(NOW, NOW, timezone="UTC")
