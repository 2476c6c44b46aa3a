"""JSON and NDJSON payloads.

Three readers, the fastest first; each hands over to the next what it cannot vouch for:

1. Polars (NDJSON only, without the interpreter's lock),
2. msgspec into structs that become columns at once,
3. `explain.py`, which names what is wrong, at a tenth of the speed.

An array cut into lines for Polars was tried: the passes over the bytes that prove the cut right cost what it saved.

Neither of the fast parsers reports repeated keys, and Polars ignores unknown ones. Both show in one number: a payload
with the decoded content and nothing else has exactly two unescaped quotes per key and per text.
"""

import re
from collections.abc import Iterable
from typing import Annotated

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa

from gaugehouse.ingest.columns import (
    EXACT_INTEGER_LIMIT,
    QUALITY_CODES,
    QUALITY_TEXTS,
    Names,
    Numbers,
    RawEvents,
    RawMeasurements,
    names_from_arrow,
    names_from_list,
    numbers_from_arrow,
    repeated_name,
)
from gaugehouse.ingest.explain import (
    EVENT_COLUMNS,
    MEASUREMENT_COLUMNS,
    explain_events,
    explain_measurements,
    rows_of_columns,
)
from gaugehouse.ingest.flaws import Flaws
from gaugehouse.ingest.instants import instants_from_epochs, instants_from_text
from gaugehouse.ingest.json_walk import read_document, read_lines
from gaugehouse.ingest.limits import Limits
from gaugehouse.ingest.texts import check_commas, check_lines, read_utf8, refuse_rows

BROADCAST = ("component", "metric", "kind")
# A row has five cells at most: four commas between them, one behind it, one to spare. The fast parsers make Python's
# objects of everything before anybody counts rows, at fifteen times the bytes of `1,`.
COMMAS_PER_ROW, SPARE_COMMAS = 6, 64
# An event's body is limited as canonical text; as it comes, escapes and indents may make it several times as long.
CHARS_PER_LIMIT_BYTE, SHORTEST_ROW_LIMIT_CHARS = 8, 64 * 1024
Quality = int | str | None | msgspec.UnsetType
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class Row(msgspec.Struct, forbid_unknown_fields=True, gc=False, kw_only=True):
    """One row on the wire: lives only until it is cut into columns."""

    component: str
    metric: str
    measured_at: str
    value: float | None
    quality: Quality = msgspec.UNSET


class _EpochRow(Row, forbid_unknown_fields=True, gc=False, kw_only=True):
    measured_at: Int64  # type: ignore[assignment]  # the same row with a declared time_unit


class _Columns(msgspec.Struct, forbid_unknown_fields=True, gc=False, kw_only=True):
    component: list[str] | str
    metric: list[str] | str
    measured_at: list[str]
    value: list[float | None]
    quality: list[int | str | None] | msgspec.UnsetType = msgspec.UNSET


class _EpochColumns(_Columns, forbid_unknown_fields=True, gc=False, kw_only=True):
    measured_at: list[Int64]  # type: ignore[assignment]  # the same columns with a declared time_unit


class _Envelope(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    measurements: list[Row]


class _EpochEnvelope(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    measurements: list[_EpochRow]


ROWS_DECODER, _EPOCH_ROWS = msgspec.json.Decoder(list[Row]), msgspec.json.Decoder(list[_EpochRow])
_LINE, _EPOCH_LINE = msgspec.json.Decoder(Row), msgspec.json.Decoder(_EpochRow)
_ENVELOPE, _EPOCH_ENVELOPE = msgspec.json.Decoder(_Envelope), msgspec.json.Decoder(_EpochEnvelope)
_COLUMNS, _EPOCH_COLUMNS = msgspec.json.Decoder(_Columns), msgspec.json.Decoder(_EpochColumns)
_NOT_FOR_MSGSPEC = (msgspec.DecodeError, RecursionError)

_ENVELOPE_START = re.compile(rb'\s*\{\s*"measurements"')
_JSON_SCALAR = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?|true|false")
_FILLED_LINE = re.compile(rb"\S[^\n]*")
_REQUIRED = ("component", "metric", "measured_at", "value")
_LINE_SCHEMA = {
    "component": pl.String,
    "metric": pl.String,
    "measured_at": pl.String,
    "value": pl.Float64,
    "quality": pl.String,
}


def read_json_measurements(body: bytes, *, limits: Limits, time_unit: str | None) -> RawMeasurements:
    """Return the rows of a JSON array, of `{"measurements": [...]}`, or of an object of columns.

    Raises:
        Unreadable: Not JSON.
        Refused: Columns are unknown, missing, repeated or of unequal length.
        TooLarge: Too many rows.
    """
    text = read_utf8(body)
    check_commas(text, COMMAS_PER_ROW * limits.rows_limit + SPARE_COMMAS, limits.rows_limit)
    found = _read_json_by_msgspec(text, limits, time_unit)
    if found is not None:
        return found
    return explain_measurements(_read_rows(text, "measurements", MEASUREMENT_COLUMNS, limits), time_unit=time_unit)


def read_json_events(body: bytes, *, limits: Limits, time_unit: str | None) -> RawEvents:
    """Return the rows of a JSON array, of `{"events": [...]}`, or of an object of columns. Raises as above."""
    rows = _read_rows(read_utf8(body), "events", EVENT_COLUMNS, limits)
    return explain_events(rows, time_unit=time_unit, limits=limits)


def read_ndjson_measurements(body: bytes, *, limits: Limits, time_unit: str | None) -> RawMeasurements:
    """Return one row per line; blank lines are skipped and not counted.

    Raises:
        Unreadable: A line is not JSON.
        TooLarge: Too many rows, or too long a line.
    """
    text = read_utf8(body)
    check_lines(text, limits)
    check_commas(text, COMMAS_PER_ROW * limits.rows_limit + SPARE_COMMAS, limits.rows_limit)
    found = _read_lines_by_polars(text, limits.rows_limit) if time_unit is None else None
    if found is None:
        found = _read_lines_by_msgspec(text, limits, time_unit)
    if found is None:
        rows = read_lines(text.decode(), row_limit=limits.rows_limit)
        found = explain_measurements(rows, time_unit=time_unit)
    return found


def read_ndjson_events(body: bytes, *, limits: Limits, time_unit: str | None) -> RawEvents:
    """Return one row per line; blank lines are skipped and not counted. Raises as for measurements."""
    text = read_utf8(body)
    check_lines(text, limits)
    return explain_events(read_lines(text.decode(), row_limit=limits.rows_limit), time_unit=time_unit, limits=limits)


def _read_rows(body: bytes, envelope: str, known: tuple[str, ...], limits: Limits) -> Iterable[object]:
    document = read_document(
        body.decode(),
        envelope,
        array_limit=min(limits.json_rows_limit, limits.rows_limit),
        column_limit=limits.rows_limit,
        longest_chars=max(CHARS_PER_LIMIT_BYTE * limits.line_limit_bytes, SHORTEST_ROW_LIMIT_CHARS),
    )
    return rows_of_columns(document, known, broadcast=BROADCAST) if isinstance(document, dict) else document


def count_quotes(body: bytes) -> int:
    """Return the number of quotes that delimit texts of a JSON payload."""
    if b"\\" not in body:
        return body.count(b'"')
    # A run of backslashes always starts an escape, so pairs counted from its left are escaped backslashes.
    unescaped = body.replace(b"\\\\", b"")
    return unescaped.count(b'"') - unescaped.count(b'\\"')


def _read_json_by_msgspec(body: bytes, limits: Limits, time_unit: str | None) -> RawMeasurements | None:
    start = body.lstrip(b" \t\r\n")[:1]
    try:
        if start == b"[":
            rows: list[Row] = (_EPOCH_ROWS if time_unit else ROWS_DECODER).decode(body)  # type: ignore[assignment]  # invariance
            quotes = 0
        elif _ENVELOPE_START.match(body):
            rows = (_EPOCH_ENVELOPE if time_unit else _ENVELOPE).decode(body).measurements  # type: ignore[assignment]  # invariance
            quotes = 2
        else:
            return _from_columns((_EPOCH_COLUMNS if time_unit else _COLUMNS).decode(body), body, limits, time_unit)
    except _NOT_FOR_MSGSPEC:
        return None
    if len(rows) > limits.json_rows_limit:
        raise refuse_rows(limits.json_rows_limit)
    return _from_rows(rows, quotes=count_quotes(body) - quotes, time_unit=time_unit)


def _read_lines_by_msgspec(body: bytes, limits: Limits, time_unit: str | None) -> RawMeasurements | None:
    try:
        rows: list[Row] = (_EPOCH_LINE if time_unit else _LINE).decode_lines(body)  # type: ignore[assignment]  # invariance
    except _NOT_FOR_MSGSPEC:
        return None
    if len(rows) > limits.rows_limit:
        raise refuse_rows(limits.rows_limit)
    # msgspec takes two objects on one line and one object on two lines.
    if sum(1 for _ in _FILLED_LINE.finditer(body)) != len(rows):  # not split: ten million blank lines take 80 MB
        return None
    return _from_rows(rows, quotes=count_quotes(body), time_unit=time_unit)


def _from_rows(rows: list[Row], *, quotes: int, time_unit: str | None) -> RawMeasurements | None:
    qualities = [row.quality for row in rows]
    if qualities.count(msgspec.UNSET) == len(rows):
        quality, quality_quotes = np.zeros(len(rows), dtype=np.uint8), 0
    else:
        found = _qualities([None if quality is msgspec.UNSET else quality for quality in qualities])
        if found is None:
            return None
        quality, text_quotes = found
        quality_quotes = text_quotes + 2 * (len(rows) - qualities.count(msgspec.UNSET))
    texts = 2 if time_unit else 3
    if quotes != 2 * (4 + texts) * len(rows) + quality_quotes:
        return None
    values = _values([row.value for row in rows])
    if values is None:
        return None
    flaws = Flaws(len(rows))
    times = [row.measured_at for row in rows]
    return RawMeasurements(
        component=_names([row.component for row in rows], len(rows)),
        metric=_names([row.metric for row in rows], len(rows)),
        measured_at=instants_from_epochs(pa.array(times, pa.int64()), time_unit, "measured_at", flaws)
        if time_unit
        else instants_from_text(pa.array(times, pa.string()), "measured_at", flaws),
        value=values,
        quality=quality,
        flaws=flaws,
    )


def _from_columns(columns: _Columns, body: bytes, limits: Limits, time_unit: str | None) -> RawMeasurements | None:
    row_count = len(columns.value)
    names = (columns.component, columns.metric)
    lists = [columns.measured_at, *(column for column in names if isinstance(column, list))]
    quotes = 2 * 4 + 2 * sum(1 if isinstance(column, str) else row_count for column in names)
    quotes += 0 if time_unit else 2 * row_count
    quality = np.zeros(row_count, dtype=np.uint8)
    if not isinstance(columns.quality, msgspec.UnsetType):
        lists.append(columns.quality)  # type: ignore[arg-type]  # only its length is looked at
        found = _qualities(columns.quality)
        if found is None:
            return None
        quality, text_quotes = found
        quotes += 2 + text_quotes
    values = _values(columns.value)
    if any(len(column) != row_count for column in lists) or count_quotes(body) != quotes or values is None:
        return None
    if row_count > limits.rows_limit:
        raise refuse_rows(limits.rows_limit)
    flaws = Flaws(row_count)
    return RawMeasurements(
        component=_names(columns.component, row_count),
        metric=_names(columns.metric, row_count),
        measured_at=instants_from_epochs(pa.array(columns.measured_at, pa.int64()), time_unit, "measured_at", flaws)
        if time_unit
        else instants_from_text(pa.array(columns.measured_at, pa.string()), "measured_at", flaws),
        value=values,
        quality=quality,
        flaws=flaws,
    )


def _names(column: list[str] | str, row_count: int) -> Names:
    if isinstance(column, str):
        return repeated_name(column, row_count)
    return names_from_list(column)


def _values(column: list[float | None]) -> Numbers | None:
    floats = np.array(column, np.float64)  # null becomes NaN, which JSON cannot say
    numbers = Numbers(floats=floats, given=~np.isnan(floats))
    return numbers if are_exact(numbers) else None


def are_exact(numbers: Numbers) -> bool:
    """Say whether no number is so large that it may have been an integer that float64 cannot keep."""
    with np.errstate(invalid="ignore"):
        return not bool((np.abs(numbers.floats) >= EXACT_INTEGER_LIMIT).any())


def _qualities(column: list[int | str | None]) -> tuple[np.ndarray[tuple[int], np.dtype[np.uint8]], int] | None:
    """Return codes and the quotes that texts among them took, or None when one is unknown."""
    try:
        codes = np.fromiter(map(QUALITY_CODES.__getitem__, column), dtype=np.uint8, count=len(column))
    except KeyError:
        return None
    return codes, 2 * sum(isinstance(quality, str) for quality in column)


def _read_lines_by_polars(body: bytes, row_limit: int) -> RawMeasurements | None:
    # Polars turns numbers into texts, takes repeated and unknown keys, reads a lone surrogate as NUL, and may recurse
    # as deep as brackets nest. So: no escapes, no arrays, as many objects as braces, no text that a number could have
    # become, and the quotes must add up. What does not fit, or is too much, is left to the next reader.
    objects = body.count(b"}")
    if objects > row_limit or objects != body.count(b"{") or b"\\" in body or b"[" in body:
        return None
    try:
        frame = pl.read_ndjson(body, schema=_LINE_SCHEMA)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return None
    if len(frame) != objects or any(frame[name].null_count() for name in _REQUIRED):
        return None
    return _from_frame(frame, body)


def _from_frame(frame: pl.DataFrame, body: bytes) -> RawMeasurements | None:
    component, metric = (names_from_arrow(frame[name].to_arrow()) for name in ("component", "metric"))
    if any(_JSON_SCALAR.fullmatch(name) for names in (component, metric) for name in names.distinct.to_pylist()):
        return None
    quotes = 2 * 7 * len(frame)
    quality = np.zeros(len(frame), dtype=np.uint8)
    if frame["quality"].null_count() < len(frame):
        texts = names_from_arrow(frame["quality"].to_arrow())
        words = texts.distinct.to_pylist()
        if not QUALITY_TEXTS.keys() >= set(words):
            return None
        # A key for each, and the quotes of a word; 0, 1 and 2 are numbers (as texts the count would not fit).
        cost = np.array([4 if word.isalpha() else 2 for word in words], dtype=np.int64)
        given = texts.codes >= 0
        quotes += int(cost[texts.codes[given]].sum())
        quality[given] = np.array([QUALITY_TEXTS[word] for word in words], dtype=np.uint8)[texts.codes[given]]
    values = numbers_from_arrow(frame["value"].to_arrow())
    if body.count(b'"') != quotes or not are_exact(values):
        return None
    flaws = Flaws(len(frame))
    measured_at = instants_from_text(frame["measured_at"].to_arrow().cast(pa.string()), "measured_at", flaws)
    if flaws.bad.any():
        # What is no time may have been a number: two quotes short, which a repeated key elsewhere would make up for.
        return None
    return RawMeasurements(
        component=component, metric=metric, measured_at=measured_at, value=values, quality=quality, flaws=flaws
    )
