"""The yardstick: a plain DuckDB table on the same disk that takes the same Arrow batches."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from benchmarks.peers.duckdb_table import DuckTable

DURABILITY = "DuckDB file database, no key, autocommit per batch: write-ahead log + fdatasync at each commit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inserted:
    """What the plain inserts did."""

    rows: int
    duration_s: float

    @property
    def rows_per_s(self) -> float:
        """Rows inserted per second."""
        return self.rows / self.duration_s


def insert_plainly(database_path: Path, batches: Iterable[pa.Table]) -> Inserted:
    """Insert each batch with `INSERT INTO t SELECT * FROM batch`; only the inserts are timed.

    Args:
        database_path: A file that does not exist yet; it is removed afterwards.
        batches: component, metric, measured_at, value.
    """
    table = DuckTable(database_path)
    rows = 0
    duration_s = 0.0
    for batch in batches:
        begun_s = time.perf_counter()
        table.insert(batch)
        duration_s += time.perf_counter() - begun_s
        rows += len(batch)
    table.close()
    for path in database_path.parent.glob(f"{database_path.name}*"):
        path.unlink()
    return Inserted(rows=rows, duration_s=duration_s)
