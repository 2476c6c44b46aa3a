"""Events: bodies become canonical JSON texts, alike in every format."""

import hashlib
import json
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaugehouse.errors import Refused, RowsRefused, TooLarge
from gaugehouse.ingest import Limits
from gaugehouse.ingest.bodies import body_from_text, canonical_body
from gaugehouse.measurements.schema import EVENT_BATCH
from payloads import ARROW, CSV, EVENTS, JSON, MEDIA_TYPES, NDJSON, PARQUET, from_batch, to_table, write, write_arrow

MOMENT = datetime(2026, 11, 20, 10, tzinfo=UTC)
EVENT = {"component": "a", "kind": "alarm", "occurred_at": "2026-11-20T10:00:00Z", "body": {"b": 1, "a": [None, "ü"]}}
LETTERS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
BODIES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | LETTERS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(LETTERS, inner, max_size=3),
    max_leaves=8,
)


def canonical(body):
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def test_a_body_is_kept_with_sorted_keys_and_no_spaces_and_hashed(decode_event_rows):
    batch = decode_event_rows(json.dumps([EVENT]).encode(), JSON).batch
    assert batch.schema == EVENT_BATCH
    text = '{"a":[null,"ü"],"b":1}'
    assert batch["body"].to_pylist() == [text]
    assert batch["body_hash"].to_pylist() == [hashlib.blake2b(text.encode(), digest_size=16).digest()]


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
@given(bodies=st.lists(BODIES, max_size=4))
@settings(max_examples=40)
def test_events_come_back_as_they_were_written(media_type, bodies, decode_event_rows):
    sent = [
        {"component": "a", "kind": f"k{i}", "occurred_at": MOMENT, "body": canonical(body)}
        for i, body in enumerate(bodies)
    ]
    decoded = decode_event_rows(write(sent, media_type, EVENTS), media_type)
    assert from_batch(decoded.batch) == sent


@given(BODIES)
@settings(max_examples=200)
def test_a_canonical_body_is_the_same_value_and_canonical_again(body):
    text = canonical_body(body, depth_limit=50, size_limit_bytes=1 << 20)
    assert json.loads(text) == body
    assert canonical_body(body_from_text(text), depth_limit=50, size_limit_bytes=1 << 20) == text


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("plain words", '"plain words"'),
        ("", '""'),
        ('{"b": 1, "a": 2}', '{"a":2,"b":1}'),
        ("12", "12"),
        ("NaN", '"NaN"'),
        ('"12"', '"12"'),
        ("[1,", '"[1,"'),
        ("[" * 50_000, None),
    ],
)
def test_a_text_body_that_is_json_is_that_value_and_else_text(text, kept, decode_event_rows):
    body = write_arrow(to_table([{**EVENT, "occurred_at": MOMENT, "body": text}], EVENTS))
    if kept is not None:
        assert decode_event_rows(body, ARROW).batch["body"].to_pylist() == [kept]
    else:
        assert decode_event_rows(body, ARROW).batch["body"].to_pylist() == [json.dumps(text)]


def test_a_null_body_of_a_table_is_json_null(decode_event_rows):
    body = write_arrow(to_table([{**EVENT, "occurred_at": MOMENT, "body": None}], EVENTS))
    assert decode_event_rows(body, ARROW).batch["body"].to_pylist() == ["null"]


@pytest.mark.parametrize(
    ("cell", "field", "words"),
    [
        ('"body": NaN', "body", "number"),
        ('"body": [Infinity]', "body", "number"),
        ('"body": {"a":1,"a":2}', "body", "repeats a key"),
        ('"body": [{"a":{"b":1,"b":2}}]', "body", "repeats a key"),
        ('"body": ' + "[" * 9 + "]" * 9, "body", "deeper"),
        ('"body": "\\ud800"', "body", "surrogate"),
        ('"body": {"\\ud800":1}', "body", "surrogate"),
        ('"other": 1', "body", "missing"),
        ('"body": 1, "kind": ""', "kind", "twice"),
        ('"body": 1, "occurred_at": 5', "occurred_at", "twice"),
    ],
)
def test_a_bad_body_is_named_with_row_and_reason(cell, field, words, decode_event_rows):
    row = '{"component":"a","kind":"k","occurred_at":"2026-11-20T10:00:00Z",' + cell + "}"
    for body, media_type in ((f"[{json.dumps(EVENT)},{row}]", JSON), (f"{json.dumps(EVENT)}\n{row}", NDJSON)):
        with pytest.raises(RowsRefused) as refused:
            decode_event_rows(body.encode(), media_type)
        found = [problem for problem in refused.value.problems if problem.row == 1 and problem.field == field]
        assert any(words in problem.reason for problem in found)


def test_a_body_over_the_limit_is_a_bad_row(decode_event_rows):
    body = json.dumps([EVENT | {"body": "ü" * 500}]).encode()
    assert decode_event_rows(body, JSON, limits=Limits(line_limit_bytes=1002)).bad_rows == 0
    with pytest.raises(RowsRefused, match="1002 bytes"):
        decode_event_rows(body, JSON, limits=Limits(line_limit_bytes=1001))


def test_events_may_come_as_an_envelope_or_as_columns(decode_event_rows):
    envelope = json.dumps({"events": [EVENT]}).encode()
    columns = json.dumps(
        {"component": "a", "kind": "alarm", "occurred_at": [EVENT["occurred_at"]], "body": [EVENT["body"]]}
    )
    assert decode_event_rows(envelope, JSON).batch == decode_event_rows(columns.encode(), JSON).batch


def test_a_dictionary_of_one_long_body_does_not_unfold(decode_event_rows):
    rows = 5_000
    coded = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * 50_000]))
    table = pa.table(
        {
            "component": ["a"] * rows,
            "kind": ["k"] * rows,
            "occurred_at": pa.array([MOMENT] * rows, pa.timestamp("us", "UTC")),
            "body": coded,
        }
    )
    with pytest.raises(TooLarge, match="bodies"):
        decode_event_rows(write_arrow(table), ARROW)


@pytest.mark.parametrize("media_type", [CSV, PARQUET])
def test_a_missing_event_column_is_refused(media_type, decode_event_rows):
    body = b"component,kind,occurred_at\n" if media_type == CSV else write([], PARQUET)
    with pytest.raises(Refused):
        decode_event_rows(body, media_type)
