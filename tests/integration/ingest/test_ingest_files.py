"""Files of others: long and wide, every way to write a time, in bounded memory."""

import gzip
import json
import tracemalloc
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gaugehouse.errors import NotFound, Refused, RowsRefused, Unreadable, UnsupportedFormat
from gaugehouse.ingest import ColumnMapping, FileSummary, count_rows_hint, read_file
from gaugehouse.measurements.schema import MEASUREMENT_BATCH

T0 = datetime(2026, 1, 5, 8, tzinfo=UTC)


@pytest.fixture
def write_text(tmp_path):
    def call(name, text):
        path = tmp_path / name
        opener = gzip.open if name.endswith(".gz") else open
        with opener(path, "wb") as file:
            file.write(text.encode())
        return path

    return call


@pytest.fixture
def write_table(tmp_path):
    def call(columns):
        path = tmp_path / "t.parquet"
        pq.write_table(pa.table(columns), path)
        return path

    return call


def read(path, batch_rows=65_536, *, partial=False, summary=None, **mapping):
    tables = list(read_file(path, ColumnMapping(**mapping), batch_rows=batch_rows, partial=partial, summary=summary))
    assert all(table.schema == MEASUREMENT_BATCH and 0 < len(table) <= max(batch_rows, 10) for table in tables)
    rows = [tuple(row.values()) for table in tables for row in table.to_pylist()]
    return sorted(rows, key=repr)


WIDE = "device,time,temp,on,note\na,2026-01-05T08:00:00Z,1.5,true,x\nb,2026-01-05T09:00:00+01:00,,false,y\n"
WIDE_ROWS = [("a", "on", T0, 1.0, 0), ("a", "temp", T0, 1.5, 0), ("b", "on", T0, 0.0, 0)]


def test_a_wide_csv_becomes_one_row_per_filled_cell(write_text):
    summary = FileSummary()
    assert read(write_text("w.csv", WIDE), summary=summary) == WIDE_ROWS
    assert (summary.form, summary.rows_read, summary.measurements, summary.null_cells) == ("wide", 2, 3, 1)
    assert summary.skipped_columns == {"note": "holds string, not numbers"}
    assert (summary.first_at, summary.last_at) == (T0, T0)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("w.csv.gz", WIDE),
        ("w.tsv", WIDE.replace(",", "\t")),
        ("w.txt", WIDE.replace(",", ";")),
        ("w.csv", "\ufeff" + WIDE.replace("\n", "\r\n")),
        ("w.csv", WIDE.replace("device", "DEVICE").replace("time", " Time ")),
    ],
)
def test_csv_comes_compressed_and_with_other_delimiters(name, text, write_text):
    assert read(write_text(name, text)) == WIDE_ROWS


def test_ndjson_comes_nested_and_mixed(write_text):
    lines = [
        {"device": "a", "ts": "2026-01-05T08:00:00Z", "data": {"temp": 1.5, "on": True}},
        {"device": "b", "ts": "2026-01-05T08:00:00Z", "data": {"on": False}, "note": "y"},
    ]
    text = "\n".join(map(json.dumps, lines))
    for name in ("w.ndjson", "w.jsonl.gz"):
        assert read(write_text(name, text + "\n")) == WIDE_ROWS


def test_a_long_file_is_recognized_and_keeps_quality(write_text):
    text = "station,variable,timestamp,reading,quality\na,t,2026-01-05T08:00:00Z,1,bad\na,t,2026-01-05T08:00:00Z,,2\na,p,2026-01-05T08:00:00Z,,0\n"
    summary = FileSummary()
    rows = read(write_text("l.csv", text), summary=summary)
    assert rows == [("a", "t", T0, 1.0, 2), ("a", "t", T0, None, 2)]
    assert (summary.form, summary.null_cells) == ("long", 1)


def test_columns_of_any_names_are_read_through_a_mapping(write_text):
    text = "wer,was,wann,wieviel\na,t,05.01.2026 09:00,1.5\n"
    rows = read(
        write_text("l.csv", text),
        component_column="wer",
        metric_column="was",
        time_column="wann",
        value_column="wieviel",
        time_format="%d.%m.%Y %H:%M",
        timezone="Europe/Berlin",
    )
    assert rows == [("a", "t", T0, 1.5, 0)]


def test_one_component_can_stand_for_the_whole_file(write_table):
    path = write_table({"time": pa.array([T0]), "x": [1], "y": pa.array([None], pa.float64())})
    assert read(path, component="press 7") == [("press 7", "x", T0, 1.0, 0)]


def test_metric_columns_can_be_chosen_and_row_numbers_are_left_out(write_table):
    path = write_table({"No": [1], "component": ["a"], "time": pa.array([T0]), "PM2.5": [1.0], "z": [2.0]})
    assert [row[1] for row in read(path)] == ["PM2.5", "z"]
    assert [row[1] for row in read(path, metric_columns=["PM2.5", "No"])] == ["No", "PM2.5"]


def test_nested_columns_are_named_by_their_last_part_unless_two_share_it(write_table):
    inside = pa.array([{"t": 1.0, "p": 2.0}])
    path = write_table({"device": ["a"], "time": pa.array([T0]), "in": inside, "out": pa.array([{"t": 3.0}])})
    assert [row[1:4:2] for row in read(path)] == [("in.t", 1.0), ("out.t", 3.0), ("p", 2.0)]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([T0]),
        pa.array([T0], pa.timestamp("ns", "Asia/Tokyo")),
        pa.array([T0.timestamp()], pa.float64()),
        pa.array([int(T0.timestamp())], pa.int32()),
        pa.array([int(T0.timestamp() * 1000)]),
        pa.array([int(T0.timestamp() * 1_000_000)], pa.uint64()),
        pa.array([int(T0.timestamp()) * 1_000_000_000]),
        pa.array(["2026-01-05 09:00:00+01:00"]),
        pa.array(["20260105T080000Z"]),
        pa.array(["2026-01-05T08:00Z"]).dictionary_encode(),
    ],
)
def test_every_kind_of_time_column_with_an_offset_is_read(column, write_table):
    assert read(write_table({"device": ["a"], "ts": column, "x": [1]})) == [("a", "x", T0, 1.0, 0)]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([T0.replace(tzinfo=None) + timedelta(hours=8)]),
        pa.array(["2026-01-05 16:00:00"]),
        pa.array(["2026-01-05T16:00"]),
        pa.array(["20260105T160000"]),
    ],
)
@pytest.mark.parametrize("zone", ["Asia/Shanghai", "UTC+8", "+08:00", "GMT+0800", "Etc/GMT-8"])
def test_wall_clock_times_need_a_zone(column, zone, write_table):
    path = write_table({"device": ["a"], "ts": column, "x": [1]})
    assert read(path, timezone=zone) == [("a", "x", T0, 1.0, 0)]
    with pytest.raises(Refused, match="zone"):
        read(path)


def test_dates_are_midnight_of_the_zone(write_table):
    path = write_table({"device": ["a"], "date": pa.array([date(2026, 1, 5)]), "x": [1]})
    assert read(path, timezone="UTC+8")[0][2] == datetime(2026, 1, 4, 16, tzinfo=UTC)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "UTC+15", "UTC+8:99", "", "../etc/passwd", "/etc/localtime"])
def test_an_unknown_zone_is_refused(zone, write_text):
    with pytest.raises(Refused) as refused:
        read(write_text("w.csv", WIDE), timezone=zone)
    assert refused.value.code == "unknown_timezone"


def test_date_parts_are_a_wall_clock_time(write_text):
    text = "station,year,month,day,hour,x\na,2026,1,5,16,1\na,2026,2,30,16,1\n"
    summary = FileSummary()
    assert read(write_text("p.csv", text), timezone="UTC+8", partial=True, summary=summary) == [("a", "x", T0, 1.0, 0)]
    assert summary.bad_rows == 1
    assert summary.problems[0].as_fields() == {
        "row": 1,
        "field": "time",
        "reason": "is not a date and time that exists",
    }


def test_date_parts_of_any_names_with_fractions_of_seconds_are_read(write_table):
    path = write_table({"c": ["a"], "Y": [2026], "M": [1], "D": [5], "h": [8], "m": [0], "s": [0.25], "x": [1]})
    parts = {"year": "Y", "month": "M", "day": "D", "hour": "h", "minute": "m", "second": "s"}
    rows = read(path, component_column="c", time_parts=parts, timezone="UTC")
    assert rows == [("a", "x", T0 + timedelta(seconds=0.25), 1.0, 0)]


def test_clock_changes_follow_the_documented_rule_and_are_counted(write_text):
    times = ["2026-03-29 01:59", "2026-03-29 02:30", "2026-03-29 03:00", "2026-10-25 02:30", "2026-10-25 03:00"]
    text = "device,time,x\n" + "".join(f"a,{time},{i}\n" for i, time in enumerate(times))
    summary = FileSummary()
    rows = read(write_text("dst.csv", text), timezone="Europe/Berlin", summary=summary)
    expected = ["2026-03-29T00:59", "2026-03-29T01:30", "2026-03-29T01:00", "2026-10-25T00:30", "2026-10-25T02:00"]
    assert {row[3]: f"{row[2]:%Y-%m-%dT%H:%M}" for row in rows} == dict(enumerate(expected))
    assert (summary.nonexistent_times, summary.ambiguous_times) == (1, 1)


@pytest.mark.parametrize(
    ("line", "field", "words"),
    [
        ("a,2026-01-05T08:00:00Z,oops", "temp", "oops"),
        ("a,2026-01-05T08:00:00Z,inf", "temp", "finite"),
        ("a,2026-01-05T08:00:00Z,9007199254740993", "temp", "2^53"),
        ("a,yesterday,1", "time", "yesterday"),
        ("a,,1", "time", "missing"),
        ("a,1969-01-01T00:00:00Z,1", "time", "1970"),
        ("a,2999-01-01T00:00:00Z,1", "time", "ahead"),
        (",2026-01-05T08:00:00Z,1", "device", "missing"),
        (" a,2026-01-05T08:00:00Z,1", "device", "space"),
    ],
)
def test_a_bad_row_is_named_by_its_row_in_the_file(line, field, words, write_text):
    good = "a,2026-01-05T08:00:00Z,1\n"
    path = write_text("bad.csv", "device,time,temp\n" + good * 10 + line + "\n" + good)
    with pytest.raises(RowsRefused) as refused:
        # Few rows a batch: the number must be the file's, not the batch's.
        read(path, 3)
    problem = refused.value.problems[0]
    assert (problem.row, problem.field) == (10, field)
    assert words in problem.reason
    summary = FileSummary()
    assert len(read(path, 3, partial=True, summary=summary)) == 11
    assert (summary.bad_rows, summary.rows_read) == (1, 12)


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"component_column": "nope"}, "nope"),
        ({"time_column": "nope"}, "nope"),
        ({"metric_columns": ["nope"]}, "nope"),
        ({"metric_columns": ["note"]}, "not a number"),
        ({"metric_column": "note"}, "long form"),
        ({"time_parts": {"year": "temp"}}, "day"),
        ({"time_format": "s"}, "epoch"),
    ],
)
def test_a_mapping_that_does_not_fit_is_refused_with_the_reason(mapping, words, write_text):
    with pytest.raises(Refused, match=words):
        read(write_text("w.csv", WIDE), **mapping)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("time,x\n2026-01-05T08:00:00Z,1\n", "component"),
        ("device,x\na,1\n", "time"),
        ("device,time\na,2026-01-05T08:00:00Z\n", "numeric"),
    ],
)
def test_what_cannot_be_guessed_must_be_named(text, words, write_text):
    with pytest.raises(Refused, match=words):
        read(write_text("g.csv", text))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("e.csv", ""),
        ("e.parquet", "not parquet"),
        ("e.ndjson", "{"),
        ("e.csv", 'a,b\n"1'),
        ("e.csv.gz", None),
        ("e.csv", "device,time,x\na,b\n"),
    ],
)
def test_a_damaged_file_is_unreadable(name, text, tmp_path, write_text):
    path = tmp_path / name
    if text is None:
        path.write_bytes(b"not gzip")
    else:
        write_text(name, text)
    with pytest.raises(Unreadable):
        read(path)


def test_a_file_that_is_not_there_or_of_another_kind_is_refused(tmp_path):
    with pytest.raises(NotFound):
        read(tmp_path / "none.csv")
    with pytest.raises(UnsupportedFormat):
        read(tmp_path / "book.xlsx")


def test_the_row_hint_is_exact_for_parquet_and_close_for_text(write_table, write_text):
    assert count_rows_hint(write_table({"x": [1] * 1234})) == 1234
    lines = "".join(f"{i:06d},{i}\n" for i in range(100_000))
    hint = count_rows_hint(write_text("h.csv", lines))
    assert 90_000 < hint < 115_000
    assert count_rows_hint(write_text("h.csv.gz", lines)) is None


def test_wide_long_and_nested_files_of_the_same_measurements_are_read_alike(tmp_path):
    frame = pl.DataFrame(
        {
            "device": [f"d{i % 3}" for i in range(500)],
            "time": [T0 + timedelta(seconds=i) for i in range(500)],
            "a": [i * 0.5 if i % 7 else None for i in range(500)],
            "b": list(range(500)),
        }
    )
    long = frame.unpivot(["a", "b"], index=["device", "time"], variable_name="metric").drop_nulls("value")
    frame.write_parquet(tmp_path / "wide.parquet")
    frame.write_csv(tmp_path / "wide.csv")
    frame.write_ndjson(tmp_path / "wide.ndjson")
    long.write_parquet(tmp_path / "long.parquet")
    long.write_csv(tmp_path / "long.csv")
    frame.select("device", "time", pl.struct("a", "b").alias("data")).write_parquet(tmp_path / "nested.parquet")
    expected = sorted(((d, m, t, float(v), 0) for d, t, m, v in long.rows()), key=repr)
    for path in tmp_path.iterdir():
        zone = {"timezone": "UTC"} if path.suffix == ".ndjson" else {}
        for batch_rows in (65_536, 64):
            assert read(path, batch_rows, **zone) == expected, path.name


def test_a_large_csv_is_read_in_bounded_memory(tmp_path):
    path = tmp_path / "large.csv"
    line = "d1,2026-01-05T08:00:00Z,1.25,2.5\n"
    with path.open("w") as file:
        file.write("device,time,x,y\n")
        for _ in range(60):
            file.write(line * 10_000)
    tracemalloc.start()
    before = pa.total_allocated_bytes()
    highest = 0
    count = 0
    for table in read_file(path, ColumnMapping()):
        count += len(table)
        highest = max(highest, pa.total_allocated_bytes() - before)
    python_peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 1_200_000
    assert highest + python_peak < 120 * 2**20
