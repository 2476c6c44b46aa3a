"""What is small on the wire and would be huge as Python's objects is refused, or read a piece at a time."""

import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faults.hostile_tables import list_of_parquet
from gaugehouse.errors import TooLarge, Unreadable
from gaugehouse.ingest import Limits, json_walk
from payloads import CSV, JSON, NDJSON, PARQUET

INSTANT = "2026-11-20T10:00:00Z"
ROW = {"component": "a", "metric": "m", "measured_at": INSTANT, "value": 1.5, "quality": 0}
EVENT = {"component": "a", "kind": "k", "occurred_at": INSTANT, "body": None}
MANY = [{}] * 10_000  # 30 KB of text, 1 MB of objects
COMMAS = ", ,,{[" * 20


def peak_bytes(work):
    """Return the most memory that was taken while something was done."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture
def refuse(decode):
    def call(body, media_type, **limits):
        with pytest.raises(TooLarge, match="rows in one delivery") as refused:
            decode(body, media_type, limits=Limits(**limits))
        assert refused.value.code == "too_many_rows"

    return call


FLOODS = {
    "column of numbers": (b'{"component":"a","metric":"b","measured_at":[],"value":[%b1]}' % (b"1.5," * 300_000), JSON),
    "column of texts": (b'{"component":[%b"a"],"metric":"b","measured_at":[],"value":[]}' % (b'"a",' * 300_000), JSON),
    "rows": (json.dumps([ROW] * 12_000).encode(), JSON),
    "lines": (b"\n".join([json.dumps(ROW).encode()] * 12_000), NDJSON),
    "escaped": (b'{"component":"\\\\\\",[","value":[%b1]}' % (b"1.5," * 300_000), JSON),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_more_values_than_rows_can_have_are_refused_before_they_are_decoded(flood, refuse):
    body, media_type = FLOODS[flood]
    peak = peak_bytes(lambda: refuse(body, media_type, rows_limit=1000, json_rows_limit=1000))
    copies = 2 if b"\\" in body else int(media_type == NDJSON)  # without escapes; a mask of newlines
    assert peak < copies * len(body) + 500_000


@pytest.mark.parametrize("name", [COMMAS, '"' + COMMAS, COMMAS + "\\", '\\"' + COMMAS])
@pytest.mark.parametrize("media_type", [JSON, NDJSON])
def test_commas_in_names_are_no_values(name, media_type, decode):
    rows = [ROW | {"component": name}] * 1000
    lines = b"\n".join(json.dumps(row).encode() for row in rows)
    body = json.dumps(rows).encode() if media_type == JSON else lines
    limits = Limits(rows_limit=1000, json_rows_limit=1000)
    assert len(decode(body, media_type, limits=limits).batch) == 1000
    columns = {key: [row[key] for row in rows] for key in ROW}
    assert len(decode(json.dumps(columns).encode(), JSON, limits=limits).batch) == 1000


def test_a_row_of_millions_of_objects_is_not_decoded(decode, decode_event_rows):
    body = b"[[" + b"{}," * 500_000 + b"{}]]"
    column = b'{"component":"a","kind":"k","occurred_at":[],"body":[[' + b"{}," * 500_000 + b"{}]]}"
    text = b'[{"component":"' + b"x" * 700_000 + b'"}]'
    for call, flood in ((decode, body), (decode_event_rows, body), (decode_event_rows, column), (decode, text)):

        def refused(call=call, flood=flood):
            with pytest.raises(TooLarge, match="has more than 524288 characters"):
                call(flood, JSON)

        assert peak_bytes(refused) < 30_000_000, "80 MB without a bound"


@pytest.mark.parametrize("media_type", [NDJSON, CSV])
def test_millions_of_blank_lines_are_refused_before_they_are_read(media_type, decode):
    body = b"component,metric,measured_at,value\n" + b"\n" * 3_000_000

    def refused():
        with pytest.raises(TooLarge, match="more than 2001000 lines") as found:
            decode(body, media_type)
        assert found.value.code == "too_many_lines"

    assert peak_bytes(refused) < 4_000_000, "70 MB when all lines are measured at once"


def test_a_parquet_header_of_millions_of_numbers_is_refused_before_they_are_read(decode):
    body = list_of_parquet(groups=16)

    def refused():
        with pytest.raises(TooLarge, match="headers of the Parquet file"):
            decode(body, PARQUET)

    assert peak_bytes(refused) < 2 * len(body), "80 MB for the list alone"


@pytest.mark.parametrize("media_type", [NDJSON, CSV])
@pytest.mark.parametrize("before", [0, 1, 65_500, 200_000])
def test_a_long_line_is_found_and_named_wherever_it_is(before, media_type, decode):
    body = b"x\n" * before + b"y" * 65_537 + b"\n" * 70_000 + b"z"
    with pytest.raises(TooLarge, match=f"line {before + 1} has 65537 bytes"):
        decode(body, media_type)
    with pytest.raises(TooLarge, match=f"line {before + 1} has 65537 bytes"):
        decode(body.rstrip(b"\nz"), media_type)


@pytest.mark.parametrize("shape", ["rows", "envelope", "columns"])
def test_bodies_are_objects_one_at_a_time(shape, decode_event_rows):
    events = [EVENT | {"body": MANY}] * 30
    document = {
        "rows": events,
        "envelope": {"events": events},
        "columns": {key: [e[key] for e in events] for key in EVENT},
    }
    body = json.dumps(document[shape]).encode()
    decoded = []
    assert peak_bytes(lambda: decoded.append(decode_event_rows(body, JSON))) < 8_000_000, "30 MB all at once"
    assert {row["body"] for row in decoded[0].batch.to_pylist()} == {json.dumps(MANY, separators=(",", ":"))}


def test_columns_with_nested_cells_are_named_as_rows_are(decode_event_rows):
    bodies = [[1, [2]], {"a": "],", "b": {}}, "text", 1.5, None, [], {"k": 1, "k ": 2}]
    columns = {"component": "a", "kind": "k", "occurred_at": [INSTANT] * len(bodies), "body": bodies}
    for indent in (None, 3):
        decoded = decode_event_rows(json.dumps(columns, indent=indent).encode(), JSON)
        assert [json.loads(row["body"]) for row in decoded.batch.to_pylist()] == bodies
    odd = b'{"component":["a",["b"],{"c":1}],"kind":"k","occurred_at":["%b","%b","%b"],"body":[{"a":1,"a":2},1,2]}'
    decoded = decode_event_rows(odd % ((INSTANT.encode(),) * 3), JSON, partial=True)
    assert [(problem.row, problem.field) for problem in decoded.problems] == [
        (0, "body"),
        (1, "component"),
        (2, "component"),
    ]
    assert "is an array, not text" in decoded.problems[1].reason
    assert "is an object, not text" in decoded.problems[2].reason


VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**30), 10**30),
        st.floats(allow_nan=False),
        st.text(max_size=60),
        st.sampled_from([float("inf"), float("-inf")]),
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def outcome_of(text):
    try:
        return json_walk._decode_at(text, 0, len(text) + 1)
    except Unreadable as exc:
        return exc.message


@settings(max_examples=400)
@given(VALUES, st.booleans(), st.integers(1, 70), st.data())
def test_what_is_read_through_a_window_is_what_is_read_at_once(value, is_ascii, window_chars, data):
    text = json.dumps(value, ensure_ascii=is_ascii) + data.draw(st.sampled_from(["", ",", "] ", "}}", ' , "x"']))
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(text) - 1))
        text = text[:at] + data.draw(st.sampled_from(["", "\\", '"', "x", "]", "1", "\x00"])) + text[at + 1 :]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_walk, "WINDOWS_CHARS", ())
        at_once = outcome_of(text)
        patch.setattr(json_walk, "WINDOWS_CHARS", (window_chars, 3 * window_chars))
        assert repr(outcome_of(text)) == repr(at_once)


@pytest.mark.parametrize("number", ["1.25", "1e-7", "-12.5E+10", "-Infinity", "1234567890"])
def test_a_number_that_a_window_cuts_is_read_whole(number, monkeypatch):
    for window_chars in range(1, 40):
        monkeypatch.setattr(json_walk, "WINDOWS_CHARS", (window_chars,))
        assert json_walk._decode_at(f"{number} ]", 0, 60) == (float(number), len(number))


def test_rows_longer_than_a_window_are_read(decode_event_rows):
    bodies = ["x" * n for n in (4000, 4096, 5000, 60_000, 65_000)] + [list(range(11_000))]
    rows = [EVENT | {"component": f"c{n}", "body": body} for n, body in enumerate(bodies)]
    decoded = decode_event_rows(json.dumps(rows, indent=9).encode(), JSON)
    assert [json.loads(row["body"]) for row in decoded.batch.to_pylist()] == bodies


def test_an_array_alone_is_as_long_as_its_limit(rows, decode):
    limits = Limits(rows_limit=10, json_rows_limit=6)
    body = json.dumps([ROW | {"note": 1}] * 6).encode()
    assert decode(body, JSON, limits=limits, partial=True).bad_rows == 6
    with pytest.raises(TooLarge, match="more than 6 rows"):
        decode(json.dumps([ROW | {"note": 1}] * 7).encode(), JSON, limits=limits, partial=True)
