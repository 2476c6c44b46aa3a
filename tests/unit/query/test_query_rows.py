"""Raw rows: order, pages, streams, events."""

import base64
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from gaugehouse.errors import Refused
from gaugehouse.measurements.schema import MEASUREMENT_ROWS
from gaugehouse.measurements.selection import Selection
from gaugehouse.query import read_events, read_measurements
from gaugehouse.query.cursor import _check, decode_cursor

T0 = datetime(2026, 3, 1, tzinfo=UTC)
ALL = Selection(project="default")


def grid(components=("b", "a", "Förderband 3"), metrics=("temperature", "rssi"), n=7):
    return [
        (component, metric, T0 + timedelta(minutes=(i * 5) % n), float(i), 0)
        for i in range(n)
        for component in components
        for metric in metrics
    ]


def keys(table):
    return list(zip(*(table[name].to_pylist() for name in ("component", "metric", "measured_at")), strict=True))


def read_pages(snapshot, selection, limit, read=read_measurements):
    cursor, tables = None, []
    while True:
        page = read(snapshot, selection, limit=limit, cursor=cursor)
        tables.append(page.reader.read_all())
        cursor = page.next_cursor
        if cursor is None:
            return tables


def test_rows_come_in_key_order_with_all_columns(make_snapshot):
    page = read_measurements(make_snapshot(grid()), ALL, limit=1000, cursor=None)
    table = page.reader.read_all()
    assert table.schema.equals(MEASUREMENT_ROWS)
    assert keys(table) == sorted(keys(table))
    assert table.num_rows == 42
    assert page.next_cursor is None


@pytest.mark.parametrize("limit", [1, 2, 6, 7, 13, 41, 42, 43])
def test_pages_of_any_size_join_to_the_whole(make_snapshot, limit):
    snapshot = make_snapshot(grid())
    whole = read_measurements(snapshot, ALL, limit=None, cursor=None).reader.read_all()
    pages = read_pages(snapshot, ALL, limit)
    assert pa.concat_tables(pages).equals(whole)
    assert all(page.num_rows == limit for page in pages[:-1])
    assert pages[-1].num_rows > 0


def test_pages_of_named_components_join_to_the_whole(make_snapshot):
    snapshot = make_snapshot(grid())
    selection = Selection(project="default", components=("b", "Förderband 3"), metrics=("rssi",))
    joined = pa.concat_tables(read_pages(snapshot, selection, 4))
    assert joined.equals(read_measurements(snapshot, selection).reader.read_all())
    assert set(joined["component"].to_pylist()) == {"b", "Förderband 3"}


def test_later_pages_do_not_show_rows_received_after_the_first(make_snapshot):
    rows = grid(components=("a",), metrics=("m",), n=6)
    late = [("a", "m", T0 + timedelta(minutes=5, seconds=30), 99.0), ("z", "m", T0, 99.0)]
    first = read_measurements(make_snapshot(rows), ALL, limit=4)
    second = read_measurements(make_snapshot(rows + late), ALL, limit=4, cursor=first.next_cursor)
    assert second.reader.read_all()["value"].to_pylist().count(99.0) == 0
    assert second.next_cursor is None


def test_an_empty_lake_is_an_empty_last_page(make_snapshot):
    page = read_measurements(make_snapshot(), ALL, limit=10)
    assert page.reader.read_all().num_rows == 0
    assert page.next_cursor is None


def test_a_stream_from_a_cursor_gives_what_is_left(make_snapshot):
    snapshot = make_snapshot(grid())
    first = read_measurements(snapshot, ALL, limit=10)
    rest = read_measurements(snapshot, ALL, limit=None, cursor=first.next_cursor).reader.read_all()
    assert rest.num_rows == 32
    assert keys(first.reader.read_all()) + keys(rest) == sorted(
        keys(read_measurements(snapshot, ALL).reader.read_all())
    )


def test_a_stream_reads_part_by_part_in_order(make_snapshot, monkeypatch):
    monkeypatch.setattr("gaugehouse.query.rows.STREAM_SORT_ROWS", 3)
    snapshot = make_snapshot(grid())
    table = read_measurements(snapshot, ALL).reader.read_all()
    assert keys(table) == sorted(keys(table))
    assert len(snapshot.statements) == 1 + 3  # counts, then one sort per component


def test_names_of_another_project_are_not_read(make_snapshot):
    page = read_measurements(make_snapshot(grid()), Selection(project="other"), limit=5)
    assert page.reader.read_all().num_rows == 0


@pytest.mark.parametrize("limit", [0, -3])
def test_a_limit_below_one_is_refused(make_snapshot, limit):
    with pytest.raises(Refused, match="limit must be 1 or more"):
        read_measurements(make_snapshot(), ALL, limit=limit)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-3],
        lambda text: text[:20] + ("A" if text[20] != "A" else "B") + text[21:],
        lambda _: "",
        lambda _: "é",
        lambda _: "%%%",
        lambda text: text * 200,
    ],
)
def test_a_tampered_cursor_is_refused(make_snapshot, change):
    snapshot = make_snapshot(grid())
    cursor = read_measurements(snapshot, ALL, limit=3).next_cursor
    with pytest.raises(Refused) as refused:
        read_measurements(snapshot, ALL, limit=3, cursor=change(cursor))
    assert refused.value.code == "cursor_refused"


@pytest.mark.parametrize(
    "content",
    [
        b"not json",
        b"\xff",
        b"[]",
        b"7",
        b"null",
        b"[" * 3000,
        b'["then","a","b",1]',
        b'[NaN,"a","b",1]',
        b'[true,"a","b",1]',
        b'[99999999999999999999999,"a","b",1]',
        b'[1,"a","b",99999999999999999999]',
        b'[1,"\\ud800","b",1]',
        b'[1,"a","b",1,2]',
    ],
)
def test_a_forged_cursor_is_refused(make_snapshot, content):
    forged = base64.urlsafe_b64encode(_check(content, "measurements", "default") + content).rstrip(b"=").decode()
    with pytest.raises(Refused) as refused:
        read_measurements(make_snapshot(grid()), ALL, limit=3, cursor=forged)
    assert refused.value.code == "cursor_refused"


def test_a_cursor_of_another_project_or_table_is_refused(make_snapshot):
    cursor = read_measurements(make_snapshot(grid()), ALL, limit=3).next_cursor
    with pytest.raises(Refused):
        read_measurements(make_snapshot(grid(), project="other"), Selection(project="other"), limit=3, cursor=cursor)
    with pytest.raises(Refused):
        read_events(make_snapshot(grid()), ALL, limit=3, cursor=cursor)


def test_a_cursor_survives_any_name(make_snapshot):
    name = 'Förder"band\\ 3 ' + "漢" * 180
    snapshot = make_snapshot([(name, name, T0 + timedelta(seconds=s), 1.0) for s in range(3)])
    cursor = read_measurements(snapshot, ALL, limit=2).next_cursor
    assert decode_cursor(cursor, table="measurements", project="default", types=(str, str, int)).key[0] == name
    assert read_measurements(snapshot, ALL, limit=2, cursor=cursor).reader.read_all().num_rows == 1


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 9])
def test_pages_of_events_join_to_the_whole_even_when_only_the_body_differs(make_snapshot, limit):
    events = [
        (c, k, T0 + timedelta(days=d), f'{{"n":{n}}}')
        for c in "ba"
        for k in ("alarm", "conflict")
        for d in (1, 0)
        for n in (0, 1)
    ]
    snapshot = make_snapshot(events=events)
    whole = read_events(snapshot, ALL).reader.read_all()
    assert whole.column_names == ["component", "kind", "occurred_at", "body", "received_at"]
    assert whole.num_rows == 16
    assert pa.concat_tables(read_pages(snapshot, ALL, limit, read_events)).equals(whole)
    order = list(zip(*(whole[name].to_pylist() for name in ("component", "occurred_at", "kind")), strict=True))
    assert order == sorted(order)


def test_events_are_selected_by_kind(make_snapshot):
    snapshot = make_snapshot(events=[("a", "alarm", T0, "{}"), ("a", "conflict", T0, "{}")])
    table = read_events(snapshot, Selection(project="default", metrics=("conflict",)), limit=5).reader.read_all()
    assert table["kind"].to_pylist() == ["conflict"]
