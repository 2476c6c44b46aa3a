"""Raw rows in key order: pages with a cursor, or one stream."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

import pyarrow as pa

from gaugehouse.errors import Refused
from gaugehouse.lake import Snapshot
from gaugehouse.measurements.schema import EVENT_ROWS, MEASUREMENT_ROWS
from gaugehouse.measurements.selection import Selection
from gaugehouse.query.cursor import Cursor, decode_cursor, encode_cursor

STREAM_SORT_ROWS = 2_000_000  # one sort holds about this many rows (or one component): a stream's memory is bounded

EVENT_PAGE = pa.schema([EVENT_ROWS.field(name) for name in ("component", "kind", "occurred_at", "body", "received_at")])

# LIMIT null is no limit.
FIRST_MEASUREMENTS_SQL = """
SELECT component, metric, measured_at, value, quality, received_at
FROM rows
ORDER BY component, metric, measured_at
LIMIT $limit
"""

# `component >= $component` says nothing new, but it is the part that row group statistics can answer.
NEXT_MEASUREMENTS_SQL = """
SELECT component, metric, measured_at, value, quality, received_at
FROM rows
WHERE component >= $component
  AND (component > $component
    OR metric > $metric
    OR (metric = $metric AND epoch_us(measured_at) > $measured_at_us))
ORDER BY component, metric, measured_at
LIMIT $limit
"""

FIRST_EVENTS_SQL = """
SELECT component, kind, occurred_at, body, received_at, lower(hex(body_hash)) AS body_digest
FROM rows
ORDER BY component, occurred_at, kind, body_digest
LIMIT $limit
"""

NEXT_EVENTS_SQL = """
SELECT component, kind, occurred_at, body, received_at, lower(hex(body_hash)) AS body_digest
FROM rows
WHERE component >= $component
  AND (component > $component
    OR epoch_us(occurred_at) > $occurred_at_us
    OR (epoch_us(occurred_at) = $occurred_at_us
      AND (kind > $kind OR (kind = $kind AND lower(hex(body_hash)) > $body_digest))))
ORDER BY component, occurred_at, kind, body_digest
LIMIT $limit
"""

ROWS_PER_COMPONENT_SQL = """
SELECT component, count(*) AS n
FROM rows
GROUP BY component
ORDER BY component
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One answer: rows, and where the next page starts.

    Args:
        reader: The rows, batch by batch; read it once.
        next_cursor: For the next page; None on the last page and for a stream without a limit.
        as_of: The received_at through which it is complete, the same on all pages; None while the lake is empty.
    """

    reader: pa.RecordBatchReader
    next_cursor: str | None
    as_of: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """What differs between the two tables: statements, key, result."""

    table: Literal["measurements", "events"]
    key: tuple[str, ...]
    key_types: tuple[type, ...]
    first_sql: str
    next_sql: str
    schema: pa.Schema


_MEASUREMENTS = _Source(
    table="measurements",
    key=("component", "metric", "measured_at"),
    key_types=(str, str, int),
    first_sql=FIRST_MEASUREMENTS_SQL,
    next_sql=NEXT_MEASUREMENTS_SQL,
    schema=MEASUREMENT_ROWS,
)
_EVENTS = _Source(
    table="events",
    key=("component", "occurred_at", "kind", "body_digest"),
    key_types=(str, int, str, str),
    first_sql=FIRST_EVENTS_SQL,
    next_sql=NEXT_EVENTS_SQL,
    schema=EVENT_PAGE,
)


def read_measurements(
    snapshot: Snapshot, selection: Selection, *, limit: int | None = None, cursor: str | None = None
) -> Page:
    """Read raw rows, ordered by (component, metric, measured_at).

    Args:
        snapshot: One pinned moment of the lake.
        selection: Which rows.
        limit: Most rows of this page, which is then read at once; None streams everything that is left.
        cursor: Where the page before ended. All pages show the moment of the first one.

    Returns:
        Columns of MEASUREMENT_ROWS, unique by key.

    Raises:
        Refused: The cursor was not handed out for this project's measurements, or the limit is below 1.
    """
    return _read(_MEASUREMENTS, snapshot, selection, limit=limit, cursor=cursor)


def read_events(
    snapshot: Snapshot, selection: Selection, *, limit: int | None = None, cursor: str | None = None
) -> Page:
    """Read events, ordered by (component, occurred_at, kind, content); `selection.metrics` names kinds.

    Args:
        snapshot: One pinned moment of the lake.
        selection: Which events.
        limit: Most events of this page; None streams everything that is left.
        cursor: Where the page before ended.

    Returns:
        component, kind, occurred_at, body (JSON text), received_at.

    Raises:
        Refused: The cursor was not handed out for this project's events, or the limit is below 1.
    """
    return _read(_EVENTS, snapshot, selection, limit=limit, cursor=cursor)


def find_as_of(snapshot: Snapshot, selection: Selection) -> datetime | None:
    """Return the received_at through which an answer is complete; None while the lake is empty."""
    through = snapshot.received_through
    if through is None or selection.as_of is None:
        return through
    return min(through, selection.as_of)


def _read(source: _Source, snapshot: Snapshot, selection: Selection, *, limit: int | None, cursor: str | None) -> Page:
    if limit is not None and limit < 1:
        raise Refused(f"limit must be 1 or more, not {limit}", code="limit_refused")
    statement, after = source.first_sql, {}
    if cursor is not None:
        position = decode_cursor(cursor, table=source.table, project=selection.project, types=source.key_types)
        selection = _leave_out(selection, before=str(position.key[0]), as_of=position.as_of)
        statement, after = source.next_sql, _bind_key(source, position.key)
    if limit is None:
        parts = _split_by_component(source, snapshot, selection, rows_per_part=STREAM_SORT_ROWS)
        batches = _read_parts(source, snapshot, parts, statement, after | {"limit": None})
        reader = pa.RecordBatchReader.from_batches(source.schema, _shape(batches, source))
        return Page(reader=reader, next_cursor=None, as_of=find_as_of(snapshot, selection))
    # One row more than asked tells whether there is a next page.
    parts = _split_by_component(source, snapshot, selection, rows_per_part=limit + 1)
    found = list(_take(_read_parts(source, snapshot, parts, statement, after | {"limit": limit + 1}), limit + 1))
    rows = sum(batch.num_rows for batch in found)
    next_cursor = None
    as_of = find_as_of(snapshot, selection)
    if rows > limit and as_of is not None:
        key = _last_key(source, pa.Table.from_batches(found).slice(limit - 1, 1))
        next_cursor = encode_cursor(Cursor(as_of=as_of, key=key), table=source.table, project=selection.project)
    shown = list(_shape(_take(found, limit), source))
    return Page(reader=pa.RecordBatchReader.from_batches(source.schema, shown), next_cursor=next_cursor, as_of=as_of)


def _bind_key(source: _Source, key: Sequence[str | int]) -> dict[str, object]:
    names = (f"{name}_us" if kind is int else name for name, kind in zip(source.key, source.key_types, strict=True))
    return dict(zip(names, key, strict=True))


def _last_key(source: _Source, row: pa.Table) -> tuple[str | int, ...]:
    columns = (
        row[name].cast(pa.int64()) if kind is int else row[name]
        for name, kind in zip(source.key, source.key_types, strict=True)
    )
    return tuple(column[0].as_py() for column in columns)


def _leave_out(selection: Selection, *, before: str, as_of: datetime) -> Selection:
    """Drop the components that earlier pages covered, so that their files are not opened."""
    components = selection.components
    if components is not None:
        components = tuple(name for name in components if name >= before)
    moment = as_of if selection.as_of is None else min(as_of, selection.as_of)
    return replace(selection, components=components, as_of=moment)


def _split_by_component(
    source: _Source, snapshot: Snapshot, selection: Selection, *, rows_per_part: int
) -> Iterator[Selection]:
    """Yield selections that follow each other in key order, of at least so many rows each (but the last).

    Sorting part by part bounds memory, and a page does not sort what lies behind it.
    """
    if selection.components is not None and len(selection.components) <= 1:
        yield selection
        return
    counts = snapshot.read(selection, ROWS_PER_COMPONENT_SQL, table=source.table).read_all()
    names: list[str] = []
    rows = 0
    for name, n in zip(counts["component"].to_pylist(), counts["n"].to_pylist(), strict=True):
        names.append(name)
        rows += n
        if rows >= rows_per_part:
            yield replace(selection, components=tuple(names))
            names, rows = [], 0
    if names:
        yield replace(selection, components=tuple(names))


def _read_parts(
    source: _Source,
    snapshot: Snapshot,
    parts: Iterator[Selection],
    statement: str,
    parameters: dict[str, object],
) -> Iterator[pa.RecordBatch]:
    for part in parts:
        yield from snapshot.read(part, statement, parameters, table=source.table)


def _take(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield batch.slice(0, rows)
        rows -= batch.num_rows
        if rows <= 0:
            return


def _shape(batches: Iterator[pa.RecordBatch], source: _Source) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield batch.select(source.schema.names).cast(source.schema)
