"""Entries as an Arrow table: one row per entry, `details` as the canonical JSON that is hashed."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gaugehouse.audit.entries import Entry

SCHEMA = pa.schema(
    [
        pa.field("chain", pa.string(), nullable=False),
        pa.field("number", pa.int64(), nullable=False),
        pa.field("at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("actor_kind", pa.string(), nullable=False),
        pa.field("actor", pa.string(), nullable=False),
        pa.field("action", pa.string(), nullable=False),
        pa.field("object_kind", pa.string(), nullable=False),
        pa.field("object_id", pa.string()),
        pa.field("object_name", pa.string()),
        pa.field("source", pa.string(), nullable=False),
        pa.field("request_id", pa.string()),
        pa.field("details", pa.string(), nullable=False),
        pa.field("previous_hash", pa.string(), nullable=False),
        pa.field("hash", pa.string(), nullable=False),
    ]
)


def batch_of(entries: Sequence[Entry]) -> pa.RecordBatch:
    """Return entries as one batch, in the same order."""
    columns = [pa.array([getattr(entry, field.name) for entry in entries], field.type) for field in SCHEMA]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def reader_of(parts: Iterable[Sequence[Entry]]) -> pa.RecordBatchReader:
    """Return entries that come some at a time as a reader that holds one batch."""
    return pa.RecordBatchReader.from_batches(SCHEMA, (batch_of(entries) for entries in parts))


def write_parquet(parts: Iterable[Sequence[Entry]], path: Path) -> int:
    """Write entries into a new Parquet file; return how many.

    Raises:
        FileExistsError: there is such a file.
        OSError: it cannot be written.
    """
    rows = 0
    with (
        path.open("xb") as file,
        pq.ParquetWriter(file, SCHEMA, compression="zstd", write_page_checksum=True) as writer,
    ):
        for entries in parts:
            writer.write_batch(batch_of(entries))
            rows += len(entries)
    return rows
