"""Questions to a real lake: rows in memory and in files are one, pages show one moment."""

import json
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from gaugehouse.measurements.selection import Selection
from gaugehouse.query import find_as_of, find_extent, read_buckets, read_events, read_measurements, summarize

T0 = datetime(2026, 3, 1, tzinfo=UTC)
ALL = Selection(project="default")


def minutes(component, n, start=T0, metric="temperature"):
    return [(component, metric, start + timedelta(minutes=i), float(i)) for i in range(n)]


def read_pages(lake, selection, limit, between=lambda: None, read=read_measurements):
    cursor, pages = None, []
    while True:
        page = read(lake.pin(), selection, limit=limit, cursor=cursor)
        pages.append(page.reader.read_all())
        cursor = page.next_cursor
        if cursor is None:
            return pa.concat_tables(pages)
        between()


@pytest.mark.parametrize("is_flushed", [False, True])
def test_an_acknowledged_row_is_in_the_next_answer(lake, is_flushed):
    for n in range(1, 4):
        lake.deliver([("a", "m", T0 + timedelta(minutes=n), float(n))])
        if is_flushed:
            lake.flush()
        assert read_measurements(lake.pin(), ALL, limit=10).reader.read_all().num_rows == n


def test_rows_in_memory_and_in_files_are_read_in_one_order(lake):
    lake.deliver(minutes("b", 50) + minutes("a", 10))
    lake.flush()
    lake.deliver(minutes("a", 10, start=T0 - timedelta(hours=1)) + minutes("c", 5))
    table = read_measurements(lake.pin(), ALL).reader.read_all()
    keys = list(zip(*(table[name].to_pylist() for name in ("component", "metric", "measured_at")), strict=True))
    assert keys == sorted(keys)
    assert len(set(keys)) == 75


def test_pages_show_the_moment_of_the_first_whatever_arrives_and_is_flushed_between(lake):
    lake.deliver(minutes("a", 40) + minutes("b", 40))
    whole = read_measurements(lake.pin(), ALL).reader.read_all()
    arrivals = iter(range(1000))

    def disturb():
        n = next(arrivals)
        lake.deliver([("a", "temperature", T0 - timedelta(minutes=n + 1), -1.0), ("c", "temperature", T0, -1.0)])
        if n % 3 == 0:
            lake.flush()

    assert read_pages(lake, ALL, 7, between=disturb).equals(whole)


def test_an_earlier_state_of_knowledge_can_be_read(lake):
    lake.deliver(minutes("a", 3))
    then = lake.pin().received_through
    lake.deliver(minutes("b", 3))
    lake.flush()
    selection = Selection(project="default", as_of=then)
    page = read_measurements(lake.pin(), selection, limit=2)
    rest = read_measurements(lake.pin(), selection, limit=2, cursor=page.next_cursor)
    assert rest.reader.read_all()["component"].to_pylist() == ["a"]
    assert page.as_of == find_as_of(lake.pin(), selection) == then


def test_a_project_sees_its_own_rows_only(lake):
    lake.deliver(minutes("a", 3))
    lake.deliver(minutes("a", 5), project="other")
    for flush in (False, True):
        if flush:
            lake.flush()
        assert summarize(lake.pin(), ALL)["n"].to_pylist() == [3]
        assert summarize(lake.pin(), Selection(project="other"))["n"].to_pylist() == [5]
        assert read_measurements(lake.pin(), Selection(project="third")).reader.read_all().num_rows == 0


def test_conflicts_are_events_with_both_values(lake):
    lake.deliver(minutes("a", 3))
    lake.deliver([("a", "temperature", T0 + timedelta(minutes=1), 99.0)])
    for flush in (False, True):
        if flush:
            lake.flush()
        page = read_events(lake.pin(), Selection(project="default", metrics=("conflict",)), limit=5)
        events = page.reader.read_all().to_pylist()
        assert [(event["component"], event["occurred_at"]) for event in events] == [("a", T0 + timedelta(minutes=1))]
        body = json.loads(events[0]["body"])
        assert (body["metric"], body["stored_value"], body["refused_value"]) == ("temperature", 1.0, 99.0)


def test_pages_of_events_join_to_all_of_them(lake):
    lake.deliver(minutes("a", 9) + minutes("b", 9))
    lake.deliver([(c, m, t, v + 1) for c, m, t, v in minutes("a", 9) + minutes("b", 9)])
    lake.flush()
    whole = read_events(lake.pin(), ALL).reader.read_all()
    assert whole.num_rows == 18
    assert read_pages(lake, ALL, 4, read=read_events).equals(whole)


@pytest.mark.parametrize("every", ["15m", "hour", "day"])
def test_buckets_span_memory_and_files(lake, every):
    lake.deliver(minutes("a", 100))
    lake.flush()
    lake.deliver(minutes("a", 100, start=T0 + timedelta(minutes=100)))
    table = read_buckets(lake.pin(), ALL, every=every, aggregates=["count", "first", "last"]).read_all()
    length = {"15m": 15, "hour": 60, "day": 1440}[every]
    assert table["count"].to_pylist() == [min(length, 200 - start) for start in range(0, 200, length)]
    assert table["first"][0].as_py() == 0.0
    assert table["last"][-1].as_py() == 99.0


def test_a_stream_is_given_in_batches(lake):
    lake.deliver(minutes("a", 50_000) + minutes("b", 50_000))
    sizes = [batch.num_rows for batch in read_measurements(lake.pin(), ALL).reader]
    assert sum(sizes) == 100_000
    assert max(sizes) <= 65_536


def test_an_empty_lake_has_no_extent_and_an_empty_summary(lake):
    assert find_extent(lake.pin(), ALL) is None
    assert summarize(lake.pin(), ALL).num_rows == 0
    assert read_events(lake.pin(), ALL, limit=3).reader.read_all().num_rows == 0
