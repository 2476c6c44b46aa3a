"""Rows leave in five forms and come back the same."""

import asyncio
import io
import json
from datetime import UTC, datetime

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaugehouse.measurements.schema import MEASUREMENT_ROWS
from gaugehouse.web import encode
from gaugehouse.web.encode import ROWS_AT_ONCE, encode_ndjson, link_next, page_rows, stream_rows
from gaugehouse.web.negotiate import MEDIA_TYPES, Format

ROWS = pa.table(
    {
        "component": ["pump-1", 'quo"te, comma', "Förderband 3", "=cmd|' /C calc'!A0", "\tTab"],
        "metric": ["temperature", "-minus", "+plus", "@at", "line\nbreak"],
        "measured_at": pa.array(
            [
                datetime(2026, 11, 20, 10, tzinfo=UTC),
                datetime(2026, 11, 20, 10, 0, 0, 1, tzinfo=UTC),
                datetime(1970, 1, 1, tzinfo=UTC),
                datetime(2026, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
                datetime(2026, 11, 20, 10, 0, 0, 500_000, tzinfo=UTC),
            ],
            pa.timestamp("us", "UTC"),
        ),
        "value": [20.5, -1e300, None, 0.1, 1.0],
        "quality": pa.array([0, 1, 2, 0, 0], pa.uint8()),
        "received_at": pa.array([datetime(2026, 11, 20, 10, tzinfo=UTC)] * 5, pa.timestamp("us", "UTC")),
    },
    schema=MEASUREMENT_ROWS,
)
INSTANTS = [
    "2026-11-20T10:00:00Z",
    "2026-11-20T10:00:00.000001Z",
    "1970-01-01T00:00:00Z",
    "2026-12-31T23:59:59.999999Z",
    "2026-11-20T10:00:00.500000Z",
]


def body(response):
    async def read():
        return b"".join([chunk async for chunk in response.body_iterator])

    return asyncio.run(read())


def stream(answer_format, rows=ROWS, rows_per_batch=2):
    reader = pa.RecordBatchReader.from_batches(rows.schema, rows.to_batches(max_chunksize=rows_per_batch))
    response = stream_rows(reader, answer_format)
    assert response.headers["content-type"] == MEDIA_TYPES[answer_format]
    return body(response)


def plain_rows():
    rows = ROWS.to_pylist()
    for row, instant in zip(rows, INSTANTS, strict=True):
        row["measured_at"], row["received_at"] = instant, "2026-11-20T10:00:00Z"
    return rows


def test_ndjson_holds_every_row_with_exact_values():
    assert [json.loads(line) for line in stream(Format.NDJSON).splitlines()] == plain_rows()


def test_a_json_page_holds_every_row_and_its_cursor():
    page = json.loads(page_rows(ROWS, {"next_cursor": "abc", "as_of": None}).body)
    assert page == {"items": plain_rows(), "next_cursor": "abc", "as_of": None}


def test_a_large_json_page_is_streamed_and_holds_every_row_once():
    numbers = pa.table({"n": pa.array(range(2 * ROWS_AT_ONCE + 1))})
    page = json.loads(body(page_rows(numbers, {"next_cursor": None})))
    assert [item["n"] for item in page["items"]] == list(range(2 * ROWS_AT_ONCE + 1))
    assert page["next_cursor"] is None


def test_an_empty_json_page_is_valid():
    assert json.loads(page_rows(ROWS.slice(0, 0), {"next_cursor": None}).body) == {"items": [], "next_cursor": None}
    assert json.loads(page_rows(ROWS, {}).body) == {"items": plain_rows()}


def test_parquet_and_arrow_hold_the_same_table():
    assert pq.read_table(io.BytesIO(stream(Format.PARQUET))).equals(ROWS)
    assert pa.ipc.open_stream(stream(Format.ARROW)).read_all().equals(ROWS)


def test_csv_disarms_formulas_in_text_and_leaves_numbers_alone():
    frame = pl.read_csv(stream(Format.CSV))
    assert frame["component"].to_list() == ["pump-1", 'quo"te, comma', "Förderband 3", "'=cmd|' /C calc'!A0", "'\tTab"]
    assert frame["metric"].to_list() == ["temperature", "'-minus", "'+plus", "'@at", "line\nbreak"]
    assert frame["value"].to_list() == [20.5, -1e300, None, 0.1, 1.0]
    assert frame["measured_at"].to_list() == INSTANTS


@pytest.mark.parametrize("answer_format", [Format.CSV, Format.ARROW, Format.PARQUET, Format.NDJSON])
def test_no_rows_are_still_a_valid_answer(answer_format):
    content = stream(answer_format, ROWS.slice(0, 0))
    match answer_format:
        case Format.CSV:
            assert content == b"component,metric,measured_at,value,quality,received_at\n"
        case Format.ARROW:
            assert pa.ipc.open_stream(content).read_all().num_rows == 0
        case Format.PARQUET:
            assert pq.read_table(io.BytesIO(content)).schema.names == ROWS.schema.names
        case _:
            assert content == b""


def test_the_body_of_an_event_is_json_in_json_and_text_in_csv():
    events = pa.table({"component": ["p", "q"], "body": ['{"a":[1,"x"]}', "null"]})
    lines = [json.loads(line) for line in stream(Format.NDJSON, events).splitlines()]
    assert lines == [{"component": "p", "body": {"a": [1, "x"]}}, {"component": "q", "body": None}]
    assert pl.read_csv(stream(Format.CSV, events))["body"].to_list() == ['{"a":[1,"x"]}', "null"]


def test_names_as_dictionary_codes_leave_as_text():
    coded = pa.table({"component": pa.array(["p", "=q"]).dictionary_encode()})
    assert stream(Format.NDJSON, coded) == b'{"component":"p"}\n{"component":"=q"}\n'
    assert stream(Format.CSV, coded) == b"component\np\n'=q\n"


def test_a_read_that_fails_at_once_fails_before_the_answer_starts():
    def batches():
        raise ValueError("broken")
        yield

    reader = pa.RecordBatchReader.from_batches(ROWS.schema, batches())
    with pytest.raises(ValueError, match="broken"):
        stream_rows(reader, Format.NDJSON)


def test_the_next_page_is_linked():
    assert link_next("/v1/measurements?cursor=abc", "abc") == {
        "Link": '</v1/measurements?cursor=abc>; rel="next"',
        "X-Next-Cursor": "abc",
    }
    assert link_next("/v1/measurements", None) == {}


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
INSTANTS_US = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)  # the years 1 to 9999
FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(
    rows=st.lists(
        st.tuples(
            TEXTS, INSTANTS_US, st.none() | FINITE, st.integers(0, 255), st.dictionaries(TEXTS, FINITE, max_size=2)
        ),
        max_size=8,
    ),
    with_body=st.booleans(),
)
def test_a_few_rows_are_written_as_many_are(rows, with_body):
    names, instants, values, qualities, bodies = zip(*rows, strict=True) if rows else ((), (), (), (), ())
    columns = {
        "component": pa.array(names, pa.string()),
        "measured_at": pa.array(instants, pa.timestamp("us", "UTC")),
        "value": pa.array(values, pa.float64()),
        "quality": pa.array(qualities, pa.uint8()),
    }
    if with_body:
        columns["body"] = pa.array([json.dumps(each) for each in bodies], pa.string())
    batch = pa.RecordBatch.from_pydict(columns)
    few = encode_ndjson(batch)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encode, "FEW_ROWS", 0)
        many = encode_ndjson(batch)
    # Exponents may be written 1e16 or 1e+16; `repr` tells 1 from 1.0, and -0.0 from 0.0.
    assert [repr(json.loads(line)) for line in few.splitlines()] == [
        repr(json.loads(line)) for line in many.splitlines()
    ]
