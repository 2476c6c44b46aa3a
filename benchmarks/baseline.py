"""The yardstick: a plain DuckDB table on the same disk that takes the same Arrow batches."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

DURABILITY = "DuckDB file database, no key, autocommit per batch: write-ahead log + fdatasync at each commit"
CREATE = "CREATE TABLE t (component VARCHAR, metric VARCHAR, measured_at TIMESTAMPTZ, value DOUBLE)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inserted:
    """What the plain inserts did."""

    rows: int
    duration_s: float

    @property
    def rows_per_s(self) -> float:
        """Rows inserted per second."""
        return self.rows / self.duration_s


def insert_plainly(database_path: Path, batches: Iterable[pa.Table], *, threads: int | None = None) -> Inserted:
    """Insert each batch with `INSERT INTO t SELECT * FROM batch`; only the inserts are timed.

    Args:
        database_path: A file that does not exist yet; it is removed afterwards.
        batches: component, metric, measured_at, value.
        threads: DuckDB's threads; its own choice by default.
    """
    connection = duckdb.connect(str(database_path))
    if threads:
        connection.execute(f"SET threads = {threads:d}")
    connection.execute(CREATE)
    rows = 0
    duration_s = 0.0
    for batch in batches:
        connection.register("batch", batch)
        begun_s = time.perf_counter()
        connection.execute("INSERT INTO t SELECT component, metric, measured_at, value FROM batch")
        duration_s += time.perf_counter() - begun_s
        connection.unregister("batch")
        rows += len(batch)
    connection.close()
    for path in database_path.parent.glob(f"{database_path.name}*"):
        path.unlink()
    return Inserted(rows=rows, duration_s=duration_s)
