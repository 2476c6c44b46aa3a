"""Rows as tests know them: (component, metric, measured_at, value, quality); written and read in every format."""

import csv
import io
import json
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq

from payloads import ARROW, CSV, EVENTS, JSON, MEASUREMENTS, NDJSON, PARQUET, write, write_columns

READ_TYPES = (JSON, NDJSON, CSV, ARROW, PARQUET)
DELIVERIES = {"rows": JSON, "columns": JSON, "ndjson": NDJSON, "csv": CSV, "arrow": ARROW, "parquet": PARQUET}


def as_dicts(rows):
    return [dict(zip(MEASUREMENTS.names, row, strict=True)) for row in rows]


def deliver(client, rows, form="rows", **options):
    """Post measurement rows in one form; return the answer."""
    dicts = as_dicts(rows)
    body = write_columns(dicts) if form == "columns" else write(dicts, DELIVERIES[form])
    headers = {"Content-Type": DELIVERIES[form]}
    return client.post("/v1/measurements", content=body, headers=headers, params=options)


def deliver_well(client, rows, form="rows"):
    """Post rows that must be taken; return the receipt."""
    answer = deliver(client, rows, form)
    assert answer.status_code == 201, answer.text
    return answer.json()


def deliver_events(client, events, media_type=JSON):
    """Post (component, kind, occurred_at, body) rows; return the answer."""
    dicts = [dict(zip(EVENTS.names, (*event[:3], json.dumps(event[3])), strict=True)) for event in events]
    return client.post("/v1/events", content=write(dicts, media_type, EVENTS), headers={"Content-Type": media_type})


def read_answer(answer):
    """Return the rows of an answer in any format as dicts with aware datetimes."""
    assert answer.status_code == 200, answer.text
    media_type = answer.headers["content-type"].partition(";")[0]
    match media_type:
        case "application/json":
            rows = answer.json()["items"]
        case "application/x-ndjson":
            rows = [json.loads(line) for line in answer.content.splitlines()]
        case "text/csv":
            rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
        case "application/vnd.apache.arrow.stream":
            rows = pa.ipc.open_stream(answer.content).read_all().to_pylist()
        case "application/vnd.apache.parquet":
            rows = pq.read_table(io.BytesIO(answer.content)).to_pylist()
    return [{name: _read_cell(name, cell) for name, cell in row.items()} for row in rows]


NUMBERS = {"value", "mean", "min", "max", "sum", "first", "last", "last_value", "coverage"}
COUNTS = {"quality", "n", "bad_n", "count"}


def _read_cell(name, cell):
    if isinstance(cell, str) and name.endswith(("_at", "_start", "_end")):
        return datetime.fromisoformat(cell)
    if isinstance(cell, datetime):
        return cell.astimezone(UTC)
    if isinstance(cell, str) and name in NUMBERS | COUNTS | {"reason", "metric"} and not cell:
        return None
    if isinstance(cell, str) and name in NUMBERS:
        return float(cell)
    if isinstance(cell, str) and name in COUNTS:
        return int(cell)
    return cell


def as_tuples(dicts, names=tuple(MEASUREMENTS.names)):
    return [tuple(row[name] for name in names) for row in dicts]


def read_back(client, component, media_type=JSON, **options):
    """Return the stored rows of one component as tuples, in the order they were answered."""
    params = {"component": component} | ({"limit": 50_000} if media_type == JSON else {}) | options
    answer = client.get("/v1/measurements", params=params, headers={"Accept": media_type})
    return as_tuples(read_answer(answer))
