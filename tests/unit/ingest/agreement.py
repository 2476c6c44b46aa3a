"""Two readers of one format must say the same, whatever the bytes are: the compiled or columnar one, and the slow one."""

import json
from datetime import UTC, datetime
from unittest.mock import patch

import numpy as np

from gaugehouse.errors import GaugehouseError, LinesRefused
from gaugehouse.ingest import (
    Limits,
    LineMapping,
    Precision,
    csv_rows,
    decode_events,
    decode_few,
    decode_lines,
    decode_measurements,
    json_rows,
)
from gaugehouse.ingest.bodies import hash_bodies
from gaugehouse.measurements.few import few_to_arrow
from gaugehouse.measurements.names import find_name_problem
from gaugehouse.measurements.schema import EVENT_BATCH, MEASUREMENT_BATCH, QUALITY_BAD
from gaugehouse.measurements.selection import to_epoch_us
from payloads import JSON
from unit.ingest.line_reference import BadLine, read_slowly

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
NOW_US = to_epoch_us(NOW)
NOW_NS = NOW_US * 1000

# --- line protocol: the compiled passes and the reader by character


def decode(text, *, unit="ns", limits=None, **mapping):
    body = text if isinstance(text, bytes) else text.encode()
    return decode_lines(
        body, precision=Precision(unit), mapping=LineMapping(**mapping), limits=limits or Limits(), now=NOW
    )


def rows_of(decoded):
    """Return what was decoded as tuples (component, name, instant, value), measurements before events."""
    assert decoded.measurements.schema == MEASUREMENT_BATCH
    assert decoded.events.schema == EVENT_BATCH
    decoded.measurements.validate(full=True)
    decoded.events.validate(full=True)
    assert decoded.events["body_hash"].combine_chunks().equals(hash_bodies(decoded.events["body"].combine_chunks()))
    numbers = [
        (row["component"], row["metric"], to_epoch_us(row["measured_at"]), row["value"])
        for row in decoded.measurements.to_pylist()
    ]
    texts = [
        (row["component"], row["kind"], to_epoch_us(row["occurred_at"]), json.loads(row["body"]))
        for row in decoded.events.to_pylist()
    ]
    return numbers + texts


def read_both(text, **options):
    """Return what both readers say: rows, or the number of the first bad line. They must agree."""
    try:
        slow = read_slowly(text, now_us=NOW_US, **options)
    except BadLine as exc:
        bad_line = exc.line
    else:
        return agree(decode(text, **options), slow)
    refused = _refusal_of(text, options)
    assert refused is not None, f"only the slow reader finds line {bad_line} bad"
    assert refused.problems[0].line == bad_line
    assert refused.bad_lines >= 1
    return bad_line


def _refusal_of(text, options):
    try:
        decode(text, **options)
    except LinesRefused as refused:
        return refused
    return None


def agree(decoded, slow):
    """Return the rows that both readers found."""
    expected = [(row.component, row.name, row.at_us, row.value) for row in slow]
    expected.sort(key=lambda row: isinstance(row[3], str))
    found = rows_of(decoded)
    assert found == expected
    assert all(np.signbit(a[3]) == np.signbit(b[3]) for a, b in zip(found, expected, strict=True) if a[3] == 0)
    return found


# --- JSON, NDJSON, CSV: the fast readers, and the one that names what is wrong


def read_ways(body, media_type, time_unit=None):
    """Check that the fast readers and the slow one say the same of a delivery; return what they say."""
    fast = outcome_of(body, media_type, time_unit)
    nothing = {"new": lambda *_: None}
    with (
        patch.object(json_rows, "_read_json_by_msgspec", **nothing),
        patch.object(json_rows, "_read_lines_by_polars", **nothing),
        patch.object(json_rows, "_read_lines_by_msgspec", **nothing),
        patch.object(csv_rows, "_read_fast", **nothing),
    ):
        slow = outcome_of(body, media_type, time_unit)
    assert fast == slow
    if media_type == JSON and time_unit is None:
        agree_on_few(body, Limits())
    return slow


def outcome_of(body, media_type, time_unit=None, decode_rows=decode_measurements):
    """Return the rows of a delivery and which of it were bad, or how all of it is refused; either must be sound."""
    try:
        decoded = decode_rows(body, media_type, limits=Limits(), now=NOW, partial=True, time_unit=time_unit)
    except GaugehouseError as refused:
        # An answer must be writable as JSON, whatever was in the payload.
        json.dumps([refused.message, refused.fields], allow_nan=False).encode()
        return type(refused).__name__, refused.code
    check_batch(decoded.batch)
    assert len(decoded.problems) >= min(1, decoded.bad_rows)
    rows = [repr(row) for row in decoded.batch.to_pylist()]  # repr: -0.0 is not 0.0
    kept = None if decoded.row_numbers is None else decoded.row_numbers.tolist()
    return rows, kept, decoded.bad_rows, [(problem.row, problem.field) for problem in decoded.problems]


def events_outcome_of(body, media_type, time_unit=None):
    return outcome_of(body, media_type, time_unit, decode_events)


def check_batch(batch):
    """Check what everything behind the decoders relies on."""
    batch.validate(full=True)
    is_measurements = "value" in batch.column_names
    assert batch.schema == (MEASUREMENT_BATCH if is_measurements else EVENT_BATCH)
    for chunk in (chunk for name in batch.column_names[:2] for chunk in batch[name].chunks):
        names = chunk.dictionary.to_pylist()
        assert len(set(names)) == len(names)
        assert set(chunk.to_pylist()) == set(names)
        assert not any(map(find_name_problem, names))
    for row in batch.to_pylist():
        at_us = to_epoch_us(row["measured_at" if is_measurements else "occurred_at"])
        assert 0 <= at_us <= NOW_US + 86_400_000_000
        if not is_measurements:
            json.loads(row["body"])
        elif row["value"] is None:
            assert row["quality"] == QUALITY_BAD
        else:
            assert abs(row["value"]) < float("inf")
            assert row["quality"] <= QUALITY_BAD


def agree_on_few(body, limits):
    """Check that the short way says yes to nothing that the general decoder refuses or reads otherwise."""
    few = decode_few(body, limits=limits, now=NOW)
    try:
        decoded = decode_measurements(body, JSON, limits=limits, now=NOW)
    except GaugehouseError:
        assert few is None
        return
    if few is not None:
        assert few_to_arrow([few]).to_pylist() == decoded.batch.to_pylist()
        assert few_to_arrow([few]).schema == decoded.batch.schema
