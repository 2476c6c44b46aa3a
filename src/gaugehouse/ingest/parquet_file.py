"""Parquet payloads from outside: footer first, page headers second, values last."""

import pyarrow as pa
import pyarrow.parquet as pq

from gaugehouse.errors import TooLarge, Unreadable
from gaugehouse.ingest.columns import RawEvents, RawMeasurements
from gaugehouse.ingest.explain import EVENT_COLUMNS, MEASUREMENT_COLUMNS
from gaugehouse.ingest.limits import Limits
from gaugehouse.ingest.parquet_pages import RowGroup, check_pages, read_row_groups
from gaugehouse.ingest.tables import check_schema, events_from_table, is_text, measurements_from_table
from gaugehouse.ingest.texts import refuse_rows

THRIFT_STRING_LIMIT_BYTES = 1 << 20
THRIFT_CONTAINER_LIMIT = 1 << 16
READ_BATCH_ROWS = 8_192
_BROKEN = (pa.ArrowException, OSError, UnicodeDecodeError)


def read_parquet_measurements(body: bytes, *, limits: Limits, time_unit: str | None) -> RawMeasurements:
    """Return the rows of a Parquet file.

    Raises:
        Unreadable: Not Parquet, or a damaged file.
        Refused: Columns are unknown, missing, repeated or of a type that is not read.
        TooLarge: Too many rows or row groups, or too many bytes once decoded.
    """
    table = _read_table(body, MEASUREMENT_COLUMNS, limits, time_unit)
    return measurements_from_table(table, time_unit=time_unit)


def read_parquet_events(body: bytes, *, limits: Limits, time_unit: str | None) -> RawEvents:
    """Return the rows of a Parquet file. Raises as for measurements."""
    table = _read_table(body, EVENT_COLUMNS, limits, time_unit)
    return events_from_table(table, time_unit=time_unit, limits=limits)


def _read_table(body: bytes, known: tuple[str, ...], limits: Limits, time_unit: str | None) -> pa.Table:
    groups = read_row_groups(body)
    if sum(group.row_count for group in groups) > limits.rows_limit:
        raise refuse_rows(limits.rows_limit)
    if len(groups) > limits.batches_limit:
        raise TooLarge(f"{len(groups)} row groups, at most {limits.batches_limit} are read")
    check_pages(body, groups, decoded_limit_bytes=limits.decoded_limit_bytes)
    try:
        schema = _open(body, []).schema_arrow
        check_schema(schema, known, limits=limits, time_unit=time_unit)
        texts = [field.name for field in schema if is_text(field.type)]
        return _read_rows(_open(body, texts), groups, limits)
    except _BROKEN as exc:
        raise Unreadable("the payload is not a sound Parquet file") from exc


def _open(body: bytes, text_columns: list[str]) -> pq.ParquetFile:
    return pq.ParquetFile(
        pa.BufferReader(body),
        # Texts stay dictionary codes: a plain read of a 14 kB file took 1.5 GB, this one 138 MiB (RELIABILITY).
        read_dictionary=text_columns,
        thrift_string_size_limit=THRIFT_STRING_LIMIT_BYTES,
        thrift_container_size_limit=THRIFT_CONTAINER_LIMIT,
        page_checksum_verification=True,
        pre_buffer=False,
    )


def _read_rows(file: pq.ParquetFile, groups: list[RowGroup], limits: Limits) -> pa.Table:
    filled = [number for number, group in enumerate(groups) if group.row_count]
    batches = []
    row_count = 0
    for batch in file.iter_batches(batch_size=READ_BATCH_ROWS, row_groups=filled, use_threads=False):
        row_count += batch.num_rows
        if row_count > limits.rows_limit:  # the footer's count is a claim
            raise refuse_rows(limits.rows_limit)
        batch.validate(full=True)
        batches.append(batch)
    return pa.Table.from_batches(batches, schema=batches[0].schema if batches else file.schema_arrow)
