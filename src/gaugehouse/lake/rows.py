"""Rows as plain columns: what the sequencer claims, the log replays and the flush writes.

Inside the lake a row names its series by number; names come back when rows leave (`rows_to_arrow`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gaugehouse.lake.keyhash import (
    EMPTY,
    NO_EXTRA,
    Int32s,
    Int64s,
    find_rows,
    group_by_code,
    insert_rows,
    slots_for,
    unsorted_groups,
)
from gaugehouse.measurements.schema import (
    EVENT_BATCH,
    EVENT_ROWS,
    MEASUREMENT_BATCH,
    MEASUREMENT_ROWS,
    TIMESTAMP,
    VALUE_ROWS,
)

Column = NDArray[Any]  # a table's payload columns differ in type
BARE_TYPES = {
    pa.float64(): np.dtype(np.float64),
    pa.uint8(): np.dtype(np.uint8),
    pa.int32(): np.dtype(np.int32),
    pa.int64(): np.dtype(np.int64),
    TIMESTAMP: np.dtype(np.int64),
}
Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSpec:
    """What sets one table of the lake apart.

    Args:
        name: Folder below the lake.
        batch: Schema of what ingest hands over.
        rows: Schema of what reads give back.
        topic: Second name column: `metric` or `kind`.
        instant: Time column.
        payload: Further columns and how they are held in memory.
        has_extra: Whether several rows may share series and instant (told apart by their body's hash).
        stamp: Column that says when a row came to be.
    """

    name: str
    batch: pa.Schema
    rows: pa.Schema
    topic: str
    instant: str
    payload: tuple[tuple[str, str], ...]
    has_extra: bool
    stamp: str = "received_at"


MEASUREMENTS = TableSpec(
    name="measurements",
    batch=MEASUREMENT_BATCH,
    rows=MEASUREMENT_ROWS,
    topic="metric",
    instant="measured_at",
    payload=(("value", "float64"), ("quality", "uint8")),
    has_extra=False,
)
EVENTS = TableSpec(
    name="events",
    batch=EVENT_BATCH,
    rows=EVENT_ROWS,
    topic="kind",
    instant="occurred_at",
    payload=(("body", "object"), ("body_hash", "object")),
    has_extra=True,
)
TABLES = {spec.name: spec for spec in (MEASUREMENTS, EVENTS)}
# Derived from the results of reports: not one of TABLES, for its rows pass neither log nor sequencer (`values`).
VALUES = TableSpec(
    name="kpi_values",
    batch=VALUE_ROWS,
    rows=VALUE_ROWS,
    topic="kpi",
    instant="bucket_start",
    payload=(),
    has_extra=False,
    stamp="computed_at",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Columns of rows of one table, one entry per row.

    Args:
        series: int32 number of the series in the series index.
        t: int64 instant. [us since 1970 UTC]
        extra: int64, first half of the body's hash; empty for measurements.
        received_at: int64. [us since 1970 UTC]; empty before the sequencer stamped them.
        payload: Further columns by name.
    """

    series: Int32s
    t: Int64s
    extra: Int64s
    received_at: Int64s
    payload: dict[str, Column]

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self.t.size)

    def at(self, positions: Int64s) -> "Rows":
        """Return the rows at ascending positions; all of them without a copy."""
        return self if positions.size == len(self) else self.take(positions)

    def take(self, picked: NDArray[np.bool_] | NDArray[np.integer]) -> "Rows":
        """Return the picked rows, by mask or by position."""
        return Rows(
            series=self.series[picked],
            t=self.t[picked],
            extra=self.extra[picked] if self.extra.size else NO_EXTRA,
            received_at=self.received_at[picked] if self.received_at.size else self.received_at,
            payload={name: column[picked] for name, column in self.payload.items()},
        )


EMPTY_ROWS = {
    spec.name: Rows(
        series=np.empty(0, np.int32),
        t=np.empty(0, np.int64),
        extra=NO_EXTRA,
        received_at=np.empty(0, np.int64),
        payload={name: np.empty(0, dtype) for name, dtype in spec.payload},
    )
    for spec in TABLES.values()
}


def concat_rows(parts: list[Rows], spec: TableSpec) -> Rows:
    """Return all rows of the parts, in order."""
    if not parts:
        return empty_rows(spec)
    if len(parts) == 1:
        return parts[0]
    return Rows(
        series=np.concatenate([part.series for part in parts]),
        t=np.concatenate([part.t for part in parts]),
        extra=np.concatenate([part.extra for part in parts]),
        received_at=np.concatenate([part.received_at for part in parts]),
        payload={name: np.concatenate([part.payload[name] for part in parts]) for name, _dtype in spec.payload},
    )


def empty_rows(spec: TableSpec) -> Rows:
    return EMPTY_ROWS[spec.name]


def as_array(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Return a column as one array, without a copy for the usual single chunk."""
    if isinstance(column, pa.Array):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def joined(parts: Sequence[pa.Table]) -> pa.Table:
    """Return the rows of tables in one chunk per column, with one dictionary for each column of names."""
    return pa.concat_tables(parts).unify_dictionaries().combine_chunks()


def with_names_in_use(rows: pa.Table) -> pa.Table:
    """Return rows whose dictionaries hold no name that no row has: a slice keeps those of the whole."""
    for position, field in enumerate(rows.schema):
        if not pa.types.is_dictionary(field.type):
            continue
        column = as_array(rows.column(position))
        if not column.null_count:
            used, codes = distinct_codes(column.indices.to_numpy(), len(column.dictionary))
            names = column.dictionary.take(pa.array(used))
            rows = rows.set_column(position, field.name, pa.DictionaryArray.from_arrays(pa.array(codes), names))
    return rows


def plain_values(array: pa.Array, dtype: np.dtype[Any]) -> Column:
    """Return the values of a column of numbers or instants as a writable array of its own; a null becomes NaN.

    Read from the buffer where nothing is null: `to_numpy` costs a one-row request five times as much.
    """
    is_bare = array.null_count == 0 and BARE_TYPES.get(array.type) == dtype
    if not is_bare:
        return np.array(array.to_numpy(zero_copy_only=False), dtype=dtype)
    values = array.buffers()[1]
    if values is None:
        return np.empty(0, dtype)
    return np.frombuffer(values, dtype, len(array), array.offset * dtype.itemsize).copy()


def instants_us(column: pa.ChunkedArray | pa.Array) -> Int64s:
    """Return a timestamp column as a writable int64 array. [us]"""
    return plain_values(as_array(column), np.dtype(np.int64))


def batch_payload(batch: pa.Table, spec: TableSpec) -> dict[str, Column]:
    """Return the payload columns of a batch; a null value becomes NaN, which no accepted value is."""
    return {name: plain_values(as_array(batch.column(name)), np.dtype(dtype)) for name, dtype in spec.payload}


def body_extra(batch: pa.Table, spec: TableSpec) -> Int64s:
    """Return the first 8 bytes of each body's hash as a number; empty for measurements."""
    if not spec.has_extra:
        return NO_EXTRA
    joined = b"".join(value[:8] for value in batch.column("body_hash").to_pylist())
    return np.frombuffer(joined, np.int64).copy()


def distinct_codes(codes: NDArray[np.integer], limit: int) -> tuple[Int64s, Int32s]:
    """Return the distinct codes in order, and each row's position among them. Codes are below `limit`."""
    if codes.size < limit // 8:
        used, positions = np.unique(codes, return_inverse=True)
        return used.astype(np.int64), positions.astype(np.int32)
    # Many rows of few codes: a table of marks costs a tenth of a sort.
    is_used = np.zeros(limit, np.bool_)
    is_used[codes] = True
    used = np.flatnonzero(is_used)
    position_of = np.empty(limit, np.int32)
    position_of[used] = np.arange(used.size, dtype=np.int32)
    return used, position_of[codes]


def order_by_series(codes: Int32s, code_count: int, t: Int64s) -> tuple[Int64s, Int64s]:
    """Return (offsets per code, order of rows by code and time).

    A counting sort keeps the order of arrival; only series that did not arrive in time order are sorted.
    """
    offsets, order = group_by_code(codes, code_count)
    for group in np.flatnonzero(unsorted_groups(offsets, t[order])).tolist():
        part = order[offsets[group] : offsets[group + 1]]
        order[offsets[group] : offsets[group + 1]] = part[np.argsort(t[part], kind="stable")]
    return offsets, order


def payload_arrays(rows: Rows, spec: TableSpec) -> list[pa.Array]:
    """Return the payload columns as Arrow, NaN back to null."""
    arrays = []
    for name, _dtype in spec.payload:
        column = rows.payload[name]
        is_float = column.dtype.kind == "f"
        arrays.append(pa.array(column, type=spec.rows.field(name).type, from_pandas=is_float))
    return arrays


def timestamp_array(instants: Int64s) -> pa.Array:
    return pa.array(instants, pa.int64()).view(TIMESTAMP)


class HotRows:
    """Rows of one table in one log segment: columns that grow, and a table of their keys.

    Rows are claimed when they are appended to the log and become visible, in the same order, once they are durable.
    A reader keeps `visible` rows of the arrays it took: growing replaces arrays, it never changes what was there.
    """

    def __init__(self, spec: TableSpec) -> None:
        self.spec = spec
        self.count = 0
        self.visible = 0
        self._bounds_us = (0, 0)  # of the instants, once there are any
        self._columns = empty_rows(spec)
        self._slots = slots_for(0)

    def append(self, rows: Rows) -> None:
        """Claim the keys of rows, which must be new."""
        end = self.count + len(rows)
        self._reserve(end)
        columns = self._columns
        columns.series[self.count : end] = rows.series
        columns.t[self.count : end] = rows.t
        columns.received_at[self.count : end] = rows.received_at
        if self.spec.has_extra:
            columns.extra[self.count : end] = rows.extra
        for name, column in rows.payload.items():
            columns.payload[name][self.count : end] = column
        insert_rows(self._slots, columns.series, columns.t, columns.extra, self.count, end)
        if len(rows):
            low, high = int(rows.t.min()), int(rows.t.max())
            known = self._bounds_us if self.count else (low, high)
            self._bounds_us = min(low, known[0]), max(high, known[1])
        self.count = end

    def find(self, rows: Rows) -> Int32s:
        """Return the position of each key here, EMPTY where it is not."""
        found = np.full(len(rows), EMPTY, np.int32)
        if self.count == 0:
            return found
        low, high = self._bounds_us
        inside = np.flatnonzero((rows.t >= low) & (rows.t <= high))
        if inside.size:
            columns, wanted = self._columns, rows.at(inside)
            found[inside] = find_rows(
                self._slots, columns.series, columns.t, columns.extra, wanted.series, wanted.t, wanted.extra
            )
        return found

    def view(self, stop: int | None = None, start: int = 0) -> Rows:
        """Return rows start..stop without copying: all that are visible by default."""
        stop = self.visible if stop is None else stop
        columns = self._columns
        return Rows(
            series=columns.series[start:stop],
            t=columns.t[start:stop],
            extra=columns.extra[start:stop] if self.spec.has_extra else NO_EXTRA,
            received_at=columns.received_at[start:stop],
            payload={name: column[start:stop] for name, column in columns.payload.items()},
        )

    def _reserve(self, rows: int) -> None:
        if rows > self._columns.t.size:
            self._columns = self._grown(room_for(rows, self._columns.t.size))
        if 2 * rows > self._slots.size:
            self._slots = slots_for(2 * rows)
            columns = self._columns
            insert_rows(self._slots, columns.series, columns.t, columns.extra, 0, self.count)

    def _grown(self, size: int) -> Rows:
        columns = self._columns
        return Rows(
            series=grown(columns.series, size, self.count),
            t=grown(columns.t, size, self.count),
            extra=grown(columns.extra, size, self.count) if self.spec.has_extra else NO_EXTRA,
            received_at=grown(columns.received_at, size, self.count),
            payload={name: grown(column, size, self.count) for name, column in columns.payload.items()},
        )


def room_for(rows: int, size: int) -> int:
    """Return how long a column of `size` entries should become to hold `rows`."""
    return max(rows, 2 * size, 256)


def grown(column: NDArray[Scalar], size: int, used: int) -> NDArray[Scalar]:
    """Return a longer copy of a column with its first `used` entries; readers of the old one are not disturbed.

    The rest is left as it is, so that room which is never used costs no memory.
    """
    longer: NDArray[Scalar] = np.empty(size, column.dtype)
    longer[:used] = column[:used]
    return longer
