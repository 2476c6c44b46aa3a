"""CSV payloads (RFC 4180: comma, double quotes, a header line)."""

import csv
import io
import math
import re
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.csv as arrow_csv

from gaugehouse.errors import TooLarge, Unreadable
from gaugehouse.ingest.bodies import body_from_text
from gaugehouse.ingest.columns import RawEvents, RawMeasurements
from gaugehouse.ingest.explain import (
    EVENT_COLUMNS,
    MEASUREMENT_COLUMNS,
    Misfit,
    check_columns,
    explain_events,
    explain_measurements,
)
from gaugehouse.ingest.json_rows import are_exact
from gaugehouse.ingest.limits import Limits
from gaugehouse.ingest.tables import measurements_from_table
from gaugehouse.ingest.texts import check_lines, read_utf8, refuse_rows
from gaugehouse.measurements.schema import NAME

_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_FLOAT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "infinity": math.inf}
_LONGEST_INTEGER = 400  # digits; int() of thousands is refused by Python, and no float64 is that long


def read_csv_measurements(body: bytes, *, limits: Limits, time_unit: str | None) -> RawMeasurements:
    """Return the rows of a CSV with a header; an empty field is a null, blank lines are skipped and not counted.

    Raises:
        Unreadable: Not UTF-8, no header, or quotes that do not close.
        Refused: Columns are unknown, missing or repeated.
        TooLarge: Too many rows or fields, or too long a line.
    """
    text = read_utf8(body)
    check_lines(text, limits)
    header = _read_header(text, MEASUREMENT_COLUMNS, limits)
    raw = _read_fast(text, header, limits, time_unit)
    if raw is None:
        raw = explain_measurements(_rows(text, limits, time_unit), time_unit=time_unit)
    return raw


def read_csv_events(body: bytes, *, limits: Limits, time_unit: str | None) -> RawEvents:
    """Return the rows of a CSV with a header; a body that is JSON is that value, another is text. Raises as above."""
    text = read_utf8(body)
    check_lines(text, limits)
    _read_header(text, EVENT_COLUMNS, limits)
    return explain_events(_rows(text, limits, time_unit), time_unit=time_unit, limits=limits)


def _read_header(text: bytes, known: tuple[str, ...], limits: Limits) -> list[str]:
    header = next(_records(text[: 2 * limits.line_limit_bytes].decode(errors="ignore")), None)
    if not header:
        raise Unreadable("the payload has no header line")
    if len(header) > limits.csv_fields_limit:
        raise TooLarge(f"{len(header)} fields in a line, at most {limits.csv_fields_limit} are read")
    check_columns(header, known)
    return header


def _records(text: str) -> Iterator[list[str]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        try:
            record = next(reader, None)
        except csv.Error as exc:
            raise Unreadable(f"line {reader.line_num} is not CSV: {exc}") from exc
        if record is None:
            return
        if record:
            yield record


def _read_fast(text: bytes, header: list[str], limits: Limits, time_unit: str | None) -> RawMeasurements | None:
    types = {
        "component": NAME,
        "metric": NAME,
        "measured_at": pa.int64() if time_unit else pa.string(),
        "value": pa.float64(),
        "quality": NAME,
    }
    convert = arrow_csv.ConvertOptions(
        column_types=types,
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=True,
    )
    try:
        table = arrow_csv.read_csv(pa.BufferReader(text), convert_options=convert)
    except (pa.ArrowException, OSError):
        return None  # the slow reader says which row
    if table.column_names != header:
        return None
    if len(table) > limits.rows_limit:
        raise refuse_rows(limits.rows_limit)
    raw = measurements_from_table(table, time_unit=time_unit)
    return raw if are_exact(raw.value) else None


def _rows(text: bytes, limits: Limits, time_unit: str | None) -> Iterator[object]:
    records = _records(text.decode())
    header = next(records)
    for number, record in enumerate(records):
        if number == limits.rows_limit:
            raise refuse_rows(limits.rows_limit)
        if len(record) != len(header):
            yield Misfit(f"has {len(record)} fields, the header has {len(header)}")
            continue
        yield {name: _cell(name, field, time_unit) for name, field in zip(header, record, strict=True)}


def _cell(name: str, field: str, time_unit: str | None) -> object:
    if name == "body":
        return body_from_text(field)
    if not field:
        return None
    if name == "value":
        return _number(field)
    if name == "quality" and field in {"0", "1", "2"}:
        return int(field)
    if time_unit and name in {"measured_at", "occurred_at"} and _INTEGER.fullmatch(field.strip(" \t")):
        return int(field) if len(field) < _LONGEST_INTEGER else field
    return field


def _number(field: str) -> object:
    stripped = field.strip(" \t")
    if _INTEGER.fullmatch(stripped) and len(stripped) < _LONGEST_INTEGER:
        return int(stripped)
    if _FLOAT.fullmatch(stripped):
        return float(stripped)
    not_finite = _NOT_FINITE.get(stripped.lower().lstrip("+-"))
    return field if not_finite is None else not_finite
