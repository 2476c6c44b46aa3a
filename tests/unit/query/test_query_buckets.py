"""Buckets: calendar and fixed lengths, in UTC and across DST, against plain Python."""

import math
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import get_args
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from gaugehouse.errors import PeriodRefused, Refused
from gaugehouse.measurements.selection import Selection
from gaugehouse.query import read_buckets
from gaugehouse.query.buckets import AGGREGATES, Aggregate

BERLIN = ZoneInfo("Europe/Berlin")
SPRING = datetime(2026, 3, 28, tzinfo=BERLIN).astimezone(UTC)  # the 29th has 23 hours
AUTUMN = datetime(2026, 10, 24, tzinfo=BERLIN).astimezone(UTC)  # the 25th has 25 hours


def series(start, *, step, n, component="pump-1", metric="temperature"):
    rng = np.random.default_rng(n)
    return [(component, metric, start + i * step, float(v)) for i, v in enumerate(rng.normal(20, 5, n))]


def floor_local(instant, zone, every):
    local = instant.astimezone(zone)
    if every == "hour":
        return instant.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    midnight = datetime(local.year, local.month, local.day, tzinfo=zone)
    shift = {
        "day": midnight,
        "week": midnight - timedelta(days=midnight.weekday()),
        "month": midnight.replace(day=1),
        "quarter": midnight.replace(month=(midnight.month - 1) // 3 * 3 + 1, day=1),
        "year": midnight.replace(month=1, day=1),
    }
    return shift[every].astimezone(UTC)


def roll_up(rows, start_of):
    groups = defaultdict(list)
    for component, metric, at, value, *quality in rows:
        if value is None or (quality and quality[0] == 2):
            continue
        groups[component, metric, start_of(at)].append((at, value))
    for key in sorted(groups):
        values = [v for _, v in sorted(groups[key])]
        yield (
            *key,
            {
                "mean": math.fsum(values) / len(values),
                "min": min(values),
                "max": max(values),
                "sum": math.fsum(values),
                "count": len(values),
                "first": values[0],
                "last": values[-1],
            },
        )


def assert_equals_oracle(table, oracle):
    oracle = list(oracle)
    assert list(zip(table["component"].to_pylist(), table["metric"].to_pylist(), strict=True)) == [
        o[:2] for o in oracle
    ]
    assert table["bucket_start"].to_pylist() == [o[2] for o in oracle]
    for name in AGGREGATES:
        assert table[name].to_pylist() == pytest.approx([o[3][name] for o in oracle], rel=1e-12)


@pytest.mark.parametrize("every", ["hour", "day", "week", "month", "quarter", "year"])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu"])
def test_calendar_buckets_follow_the_wall_clock_of_the_zone(make_snapshot, every, zone):
    if every == "hour" and zone in {"America/St_Johns", "Asia/Kathmandu"}:
        pytest.skip("the oracle floors hours in UTC")
    rows = series(SPRING - timedelta(days=40), step=timedelta(hours=5, minutes=7), n=900)
    rows += series(SPRING, step=timedelta(hours=9), n=200, component="pump-2")
    table = read_buckets(
        make_snapshot(rows), Selection(project="default"), every=every, aggregates=AGGREGATES, timezone=zone
    ).read_all()
    assert_equals_oracle(table, roll_up(rows, lambda at: floor_local(at, ZoneInfo(zone), every)))


@pytest.mark.parametrize(("day", "hours"), [(SPRING, 23), (AUTUMN, 25)])
def test_a_day_of_clock_change_has_its_own_length(make_snapshot, day, hours):
    rows = series(day, step=timedelta(hours=1), n=72)
    selection = Selection(project="default", start=day, end=day + timedelta(days=3))
    table = read_buckets(
        make_snapshot(rows), selection, every="day", aggregates=["count"], timezone="Europe/Berlin"
    ).read_all()
    assert table["count"].to_pylist()[:2] == [24, hours]
    assert table["bucket_end"][1].as_py() - table["bucket_start"][1].as_py() == timedelta(hours=hours)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/New_York"])
@pytest.mark.parametrize(("every", "length"), [("30s", 30), ("15m", 900), ("PT24H", 86_400), ("PT7M", 420)])
def test_fixed_buckets_are_counted_from_local_midnight(make_snapshot, zone, every, length):
    start = datetime(2026, 1, 5, 0, 0, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    rows = series(start, step=timedelta(seconds=77), n=3000)
    selection = Selection(project="default", start=start, end=start + timedelta(days=30))
    offset_s = int(start.astimezone(ZoneInfo(zone)).utcoffset().total_seconds())

    def start_of(at):
        local_s = int(at.timestamp()) + offset_s
        return max(datetime.fromtimestamp(local_s // length * length - offset_s, tz=UTC), start)

    table = read_buckets(make_snapshot(rows), selection, every=every, aggregates=AGGREGATES, timezone=zone).read_all()
    assert_equals_oracle(table, roll_up(rows, start_of))
    if 86_400 % length == 0:
        assert table["bucket_start"][0].as_py() == start


@pytest.mark.parametrize("every", ["15m", "day"])
def test_the_outer_buckets_end_where_the_selection_does(make_snapshot, every):
    start = datetime(2026, 1, 5, 10, 7, tzinfo=UTC)
    end = datetime(2026, 1, 7, 3, 3, 3, 7, tzinfo=UTC)
    rows = series(start - timedelta(days=2), step=timedelta(minutes=1), n=8000)
    table = read_buckets(
        make_snapshot(rows), Selection(project="default", start=start, end=end), every=every, aggregates=["count"]
    ).read_all()
    assert table["bucket_start"][0].as_py() == start
    assert table["bucket_end"][-1].as_py() == end
    assert sum(table["count"].to_pylist()) == sum(start <= row[2] < end for row in rows)
    assert table["bucket_start"].to_pylist()[1:] == table["bucket_end"].to_pylist()[:-1]


def test_a_start_at_an_odd_microsecond_does_not_make_slots_explode(make_snapshot):
    start = datetime(2026, 1, 5, 10, 7, 33, 123_457, tzinfo=UTC)
    rows = series(start, step=timedelta(hours=1), n=100)
    selection = Selection(project="default", start=start, end=start + timedelta(days=200))
    table = read_buckets(make_snapshot(rows), selection, every="P2D", aggregates=["count"]).read_all()
    assert sum(table["count"].to_pylist()) == 100
    assert table["count"].to_pylist()[0] == 48


def test_bad_and_missing_values_are_left_out(make_snapshot):
    t0 = datetime(2026, 1, 5, tzinfo=UTC)
    rows = [
        ("a", "m", t0, 1.0, 0),
        ("a", "m", t0 + timedelta(seconds=1), 900.0, 2),
        ("a", "m", t0 + timedelta(seconds=2), None, 2),
        ("a", "m", t0 + timedelta(seconds=3), 3.0, 1),
        ("a", "m", t0 + timedelta(hours=5), None, 2),
    ]
    table = read_buckets(
        make_snapshot(rows), Selection(project="default"), every="hour", aggregates=["count", "mean", "last"]
    ).read_all()
    assert table.to_pylist() == [
        {
            "component": "a",
            "metric": "m",
            "bucket_start": t0,
            "bucket_end": t0 + timedelta(hours=1),
            "count": 2,
            "mean": 2.0,
            "last": 3.0,
        }
    ]


@pytest.mark.parametrize("every", ["15m", "month"])
def test_no_rows_are_no_buckets(make_snapshot, every):
    table = read_buckets(make_snapshot(), Selection(project="default"), every=every, aggregates=["mean"]).read_all()
    assert table.num_rows == 0
    assert table.column_names == ["component", "metric", "bucket_start", "bucket_end", "mean"]


@pytest.mark.parametrize("aggregates", [[], ["mean", "mean"], ["median"], ["mean", "1; DROP TABLE rows"]])
def test_unknown_or_repeated_aggregates_are_refused(make_snapshot, aggregates):
    with pytest.raises(Refused, match="mean, min, max, sum, count, first, last"):
        read_buckets(make_snapshot(), Selection(project="default"), every="1h", aggregates=aggregates)


@pytest.mark.parametrize(("every", "timezone"), [("fortnight", "UTC"), ("0s", "UTC"), ("1h", "Mars/Olympus")])
def test_a_bucket_or_zone_nobody_knows_is_refused(make_snapshot, every, timezone):
    with pytest.raises(PeriodRefused):
        read_buckets(make_snapshot(), Selection(project="default"), every=every, aggregates=["mean"], timezone=timezone)


def test_every_aggregate_of_the_api_is_one_that_can_be_asked_for():
    assert get_args(Aggregate) == tuple(AGGREGATES)
