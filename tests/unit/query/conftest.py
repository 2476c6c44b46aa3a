"""A snapshot in memory: the relation `rows` over Arrow tables, no lake and no disk."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from gaugehouse.measurements.schema import EVENT_ROWS, MEASUREMENT_ROWS
from gaugehouse.measurements.selection import Selection


class MemorySnapshot:
    """What `gaugehouse.lake.Snapshot` promises, over two Arrow tables."""

    def __init__(
        self, engine: duckdb.DuckDBPyConnection, project: str, measurements: pa.Table, events: pa.Table
    ) -> None:
        self.engine = engine
        self.project = project
        self.measurements = measurements
        self.events = events
        self.statements: list[str] = []

    @property
    def received_through(self) -> datetime | None:
        stamps = [at for table in (self.measurements, self.events) for at in table["received_at"].to_pylist()]
        return max(stamps, default=None)

    def read(
        self,
        selection: Selection,
        statement: str,
        parameters: dict[str, object] | None = None,
        *,
        table: str = "measurements",
        batch_rows: int = 65_536,
    ) -> pa.RecordBatchReader:
        self.statements.append(statement)
        stored = self.measurements if table == "measurements" else self.events
        rows = _select(stored, selection, table) if selection.project == self.project else stored.slice(0, 0)
        con = self.engine.cursor()
        con.register("rows", rows)
        return con.sql(statement, params=parameters or {}).to_arrow_reader(batch_rows)


def _select(stored: pa.Table, selection: Selection, table: str) -> pa.Table:
    when, what = ("measured_at", "metric") if table == "measurements" else ("occurred_at", "kind")
    keep = np.ones(stored.num_rows, dtype=bool)
    for column, wanted in (("component", selection.components), (what, selection.metrics)):
        if wanted is not None:
            keep &= np.array([name in wanted for name in stored[column].to_pylist()], dtype=bool)
    stamps = stored[when].to_pylist()
    received = stored["received_at"].to_pylist()
    keep &= np.array([selection.start is None or at >= selection.start for at in stamps], dtype=bool)
    keep &= np.array([selection.end is None or at < selection.end for at in stamps], dtype=bool)
    keep &= np.array([selection.as_of is None or at <= selection.as_of for at in received], dtype=bool)
    return stored.filter(pa.array(keep))


@pytest.fixture(scope="session")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    """One DuckDB for all: connecting costs more than a question."""
    connection = duckdb.connect(config={"autoinstall_known_extensions": "false", "threads": 1})
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    yield connection
    connection.close()


@pytest.fixture
def make_snapshot(engine: duckdb.DuckDBPyConnection) -> Callable[..., MemorySnapshot]:
    """Build a snapshot from (component, metric, measured_at, value[, quality]) and (component, kind, at, body)."""

    def make(rows: Sequence[tuple] = (), events: Sequence[tuple] = (), *, project: str = "default") -> MemorySnapshot:
        clock = itertools.count(1)
        received_at = (datetime(2026, 6, 1, tzinfo=UTC) + timedelta(microseconds=n) for n in clock)
        stored = [(*row[:4], row[4] if len(row) > 4 else 0, next(received_at)) for row in rows]
        happened = [(*event[:4], bytes([n] * 16), next(received_at)) for n, event in enumerate(events)]
        return MemorySnapshot(engine, project, _table(stored, MEASUREMENT_ROWS), _table(happened, EVENT_ROWS))

    return make


def _table(rows: Sequence[tuple], schema: pa.Schema) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)
