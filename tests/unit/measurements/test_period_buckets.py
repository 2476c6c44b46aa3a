"""Buckets: borders of a period in any zone."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gaugehouse.errors import PeriodRefused
from gaugehouse.measurements.period import bucket_edges_us, explicit_period, parse_every, parse_period
from gaugehouse.measurements.selection import from_epoch_us, to_epoch_us

NOW = datetime(2026, 11, 20, 10, 30, tzinfo=UTC)
HOUR_US = 3_600_000_000
ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",  # clocks jumped at midnight
    "America/St_Johns",  # half hour offset, clocks once moved at 00:01
    "Asia/Kathmandu",  # +05:45
    "Asia/Beirut",
    "Australia/Lord_Howe",  # clocks move by half an hour
    "Pacific/Apia",  # skipped a whole day
    "Pacific/Kiritimati",
    "Africa/Casablanca",
    "America/Havana",
]
INSTANTS = st.datetimes(datetime(1971, 1, 1), datetime(2037, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive
PERIODS = st.builds(
    lambda start, length, zone: explicit_period(start, start + length, timezone=zone),
    INSTANTS,
    st.timedeltas(timedelta(microseconds=1), timedelta(days=40)),
    st.sampled_from(ZONES),
)
EVERYS = st.sampled_from(
    ["hour", "day", "week", "month", "quarter", "year", "P1D", "P2W", "P1M", "P1Y6M", "PT1H", "1h", "1w"]
)


def edges_of(expression, every, zone="Europe/Berlin", limit=100_000):
    return bucket_edges_us(parse_period(expression, timezone=zone, now=NOW), every, limit=limit)


def locals_of(edges_us, zone):
    return [from_epoch_us(int(edge)).astimezone(ZoneInfo(zone)) for edge in edges_us]


@given(PERIODS, EVERYS)
def test_edges_increase_and_cover_the_period(period, every):
    edges_us = bucket_edges_us(period, every, limit=10_000)
    assert edges_us.dtype == np.int64
    assert (edges_us[0], edges_us[-1]) == (to_epoch_us(period.start), to_epoch_us(period.end))
    assert (np.diff(edges_us) > 0).all()


@given(PERIODS)
@example(explicit_period(datetime(2011, 12, 28, tzinfo=UTC), datetime(2012, 1, 2, tzinfo=UTC), timezone="Pacific/Apia"))
@example(
    explicit_period(datetime(2018, 11, 3, tzinfo=UTC), datetime(2018, 11, 6, tzinfo=UTC), timezone="America/Sao_Paulo")
)
def test_a_day_bucket_begins_with_the_first_instant_of_a_local_day(period):
    for edge_us in bucket_edges_us(period, "day", limit=100)[1:-1]:
        zone = ZoneInfo(period.timezone)
        instant = from_epoch_us(int(edge_us))
        local = instant.astimezone(zone)
        before = (instant - timedelta(microseconds=1)).astimezone(zone)
        midnight_exists = datetime.combine(local.date(), time(), zone).astimezone(UTC).astimezone(zone).time() == time()
        assert local.time() == time() or not midnight_exists
        # St. John's once put 00:01 back to 23:01: there a day begins twice, and the first beginning counts.
        assert before.date() < local.date()


@given(PERIODS)
def test_an_hour_bucket_begins_on_a_full_local_hour(period):
    edges_us = bucket_edges_us(period, "hour", limit=2_000)
    assert all(local.minute == local.second == 0 for local in locals_of(edges_us[1:-1], period.timezone))
    assert (np.diff(edges_us) <= 1.5 * HOUR_US).all()


@pytest.mark.parametrize(
    ("day", "zone", "hours"),
    [
        ("2026-03-29", "Europe/Berlin", 23),
        ("2026-10-25", "Europe/Berlin", 25),
        ("2026-11-20", "Europe/Berlin", 24),
        ("2026-11-20", "Asia/Kathmandu", 24),
    ],
)
def test_a_day_has_as_many_hour_buckets_as_hours_pass(day, zone, hours):
    edges_us = edges_of(day, "hour", zone)
    assert len(edges_us) == hours + 1
    assert (np.diff(edges_us) == HOUR_US).all()


def test_the_hours_of_a_25_hour_day_carry_their_offset():
    edges = locals_of(edges_of("2026-10-25", "hour"), "Europe/Berlin")
    assert [edge.isoformat()[11:] for edge in edges[1:5]] == [
        "01:00:00+02:00",
        "02:00:00+02:00",
        "02:00:00+01:00",
        "03:00:00+01:00",
    ]


def test_half_hour_dst_makes_one_hour_longer():
    edges_us = edges_of("2026-04-05", "hour", "Australia/Lord_Howe")
    assert sorted(set(np.diff(edges_us) // 60_000_000)) == [60, 90]


@pytest.mark.parametrize(
    ("period", "zone"), [("2016-05-01", "America/Caracas"), ("2018-05-04/2018-05-06", "Asia/Pyongyang")]
)
def test_clocks_that_jump_to_a_full_hour_make_one_hour_shorter(period, zone):
    edges_us = edges_of(period, "hour", zone)
    assert sorted(np.diff(edges_us) // 60_000_000)[:2] == [30, 60]


def test_calendar_buckets_are_clipped_to_the_period():
    edges = locals_of(edges_of("2026-01-20/2026-04-10", "month"), "Europe/Berlin")
    assert [edge.date().isoformat() for edge in edges] == [
        "2026-01-20",
        "2026-02-01",
        "2026-03-01",
        "2026-04-01",
        "2026-04-10",
    ]


@pytest.mark.parametrize(
    ("expression", "every", "buckets"),
    [("2026", "month", 12), ("2026", "quarter", 4), ("2026", "week", 53), ("2025-01-01/2027-01-01", "year", 2)],
)
def test_named_buckets_count_as_the_calendar_does(expression, every, buckets):
    assert len(edges_of(expression, every)) == buckets + 1


def test_week_buckets_begin_on_monday():
    edges = locals_of(edges_of("2026-11", "week"), "Europe/Berlin")
    assert {edge.weekday() for edge in edges[1:-1]} == {0}


def test_p1d_is_a_calendar_day_and_pt24h_is_not():
    calendar = locals_of(edges_of("2026-10-24/2026-10-28", "P1D"), "Europe/Berlin")
    exact = locals_of(edges_of("2026-10-24/2026-10-28", "PT24H"), "Europe/Berlin")
    assert [edge.hour for edge in calendar] == [0, 0, 0, 0, 0]
    assert [edge.hour for edge in exact] == [0, 0, 23, 23, 23, 0]


def test_a_duration_counts_from_the_start_of_the_period():
    edges = locals_of(edges_of("2026-10-24T06:00:00+02:00/2026-10-26T12:00:00+01:00", "P1D"), "Europe/Berlin")
    assert [edge.isoformat() for edge in edges] == [
        "2026-10-24T06:00:00+02:00",
        "2026-10-25T06:00:00+01:00",
        "2026-10-26T06:00:00+01:00",
        "2026-10-26T12:00:00+01:00",
    ]


def test_months_from_the_31st_do_not_drift():
    edges = locals_of(edges_of("2026-01-31/2026-05-31", "P1M", "UTC"), "UTC")
    assert [edge.date() for edge in edges] == [
        date(2026, 1, 31),
        date(2026, 2, 28),
        date(2026, 3, 31),
        date(2026, 4, 30),
        date(2026, 5, 31),
    ]


def test_no_bucket_length_is_one_bucket():
    assert len(edges_of("2026", None)) == 2


@pytest.mark.parametrize(
    ("every", "duration_us"),
    [
        ("30s", 30_000_000),
        ("5m", 300_000_000),
        ("1h", HOUR_US),
        ("PT15M", HOUR_US // 4),
        ("PT1H30M0.5S", 5_400_500_000),
    ],
)
def test_clock_durations_are_exact(every, duration_us):
    assert parse_every(every).duration_us == duration_us


@pytest.mark.parametrize(
    ("every", "unit", "count"), [("1d", "day", 1), ("2w", "day", 14), ("P1Y2M", "month", 14), ("P3D", "day", 3)]
)
def test_calendar_durations_have_a_unit_and_no_length(every, unit, count):
    parsed = parse_every(every)
    assert (parsed.unit, parsed.count, parsed.duration_us, parsed.aligned) == (unit, count, None, False)


@pytest.mark.parametrize(
    "every",
    ["", "P", "PT", "0s", "P0D", "fortnight", "P1DT12H", "P1M1D", "-1h", "1.5h", "999999999d", "PT1e9S", "P9999Y"],
)
def test_what_is_no_bucket_is_refused(every):
    with pytest.raises(PeriodRefused):
        parse_every(every)


@pytest.mark.parametrize("every", ["hour", "1s", "PT0.000001S", "day"])
def test_more_buckets_than_the_limit_are_refused_quickly(every):
    with pytest.raises(PeriodRefused, match="more than 300 buckets"):
        edges_of("2026", every, limit=300)


@pytest.mark.parametrize("every", ["hour", "day", "week", "P1D", "P2W"])
def test_hopelessly_many_buckets_are_refused_without_a_look_at_one(every, monkeypatch):
    monkeypatch.setattr("gaugehouse.measurements.period._find_borders", None)
    with pytest.raises(PeriodRefused, match=r"more than 1000 buckets"):
        edges_of("1970-01-02/8999-01-01", every, limit=1000)


def test_buckets_on_the_calendar_have_a_limit_of_their_own():
    """Each takes some microseconds: two million would take the server half a minute."""
    with pytest.raises(PeriodRefused, match=r"more than 200000 buckets"):
        edges_of("1970-01-02/8999-01-01", "hour", limit=10**9)
    assert len(edges_of("2026", "PT1M", limit=10**6)) == 365 * 1440 + 1  # these are counted, not looked for


def test_as_many_buckets_as_the_limit_are_fine():
    assert len(edges_of("2026-11", "day", limit=30)) == 31
    assert len(edges_of("2026-11", "1d", limit=30)) == 31
    assert len(edges_of("2026-11", "PT24H", limit=30)) == 31
