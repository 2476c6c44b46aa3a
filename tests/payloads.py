"""Measurement and event rows written in every format that can be delivered."""

import csv
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq

JSON, NDJSON, CSV = "application/json", "application/x-ndjson", "text/csv"
ARROW, PARQUET = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"
MEDIA_TYPES = (JSON, NDJSON, CSV, ARROW, PARQUET)

TIMESTAMP = pa.timestamp("us", tz="UTC")
MEASUREMENTS = pa.schema(
    [
        ("component", pa.string()),
        ("metric", pa.string()),
        ("measured_at", TIMESTAMP),
        ("value", pa.float64()),
        ("quality", pa.uint8()),
    ]
)
EVENTS = pa.schema(
    [("component", pa.string()), ("kind", pa.string()), ("occurred_at", TIMESTAMP), ("body", pa.string())]
)


def to_text(moment):
    return moment.isoformat().replace("+00:00", "Z")


def as_json_rows(rows):
    return [{name: to_text(cell) if hasattr(cell, "isoformat") else cell for name, cell in row.items()} for row in rows]


def write_json(rows):
    return json.dumps(as_json_rows(rows)).encode()


def write_columns(rows, names=MEASUREMENTS.names):
    written = as_json_rows(rows)
    return json.dumps({name: [row[name] for row in written] for name in names}).encode()


def write_ndjson(rows, *, ensure_ascii=True):
    return "\n".join(json.dumps(row, ensure_ascii=ensure_ascii) for row in as_json_rows(rows)).encode()


def write_csv(rows, names):
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(names)
    for row in as_json_rows(rows):
        writer.writerow(["" if row[name] is None else row[name] for name in names])
    return text.getvalue().encode()


def to_table(rows, schema):
    return pa.table({name: [row[name] for row in rows] for name in schema.names}, schema=schema)


def write_arrow(table, *, compression=None, max_chunksize=None):
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table, max_chunksize=max_chunksize)
    return sink.getvalue()


def write_parquet(table, **options):
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def write(rows, media_type, schema=MEASUREMENTS):
    """Return rows (dicts with datetimes; event bodies are JSON texts) in a format."""
    if media_type == CSV:
        return write_csv(rows, schema.names)
    if media_type in {ARROW, PARQUET}:
        table = to_table(rows, schema)
        return write_arrow(table) if media_type == ARROW else write_parquet(table)
    if schema is EVENTS:
        rows = [row | {"body": json.loads(row["body"])} for row in rows]
    return write_json(rows) if media_type == JSON else write_ndjson(rows)


def from_batch(batch):
    """Return a decoded batch as dicts."""
    return [{name: cell for name, cell in row.items() if name != "body_hash"} for row in batch.to_pylist()]
