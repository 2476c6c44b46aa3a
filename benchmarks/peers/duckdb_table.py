"""DuckDB's native table: no key, a transaction per batch."""

from pathlib import Path

import duckdb
import pyarrow as pa

from benchmarks.peers import Acknowledged


class DuckTable:
    """A table in a DuckDB file."""

    title = "DuckDB"
    acknowledged = Acknowledged.FSYNC  # write-ahead log and fdatasync at each commit
    drops_duplicates = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = duckdb.connect(str(path))
        self._connection.execute(
            "CREATE TABLE t (component VARCHAR, metric VARCHAR, measured_at TIMESTAMPTZ, value DOUBLE)"
        )

    def insert(self, batch: pa.Table) -> None:
        """Add the rows as one transaction."""
        self._connection.register("batch", batch)
        self._connection.execute("INSERT INTO t SELECT component, metric, measured_at, value FROM batch")
        self._connection.unregister("batch")

    def settle(self) -> None:
        """Write the log into the file."""
        self._connection.execute("CHECKPOINT")

    def count(self) -> int:
        """Return the rows it holds."""
        return int(self._connection.sql("SELECT count(*) FROM t").fetchall()[0][0])

    def size_bytes(self) -> int:
        """Return the bytes of its file."""
        return self._path.stat().st_size

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def open_table(folder: Path) -> DuckTable:
    """Return an empty table in an empty folder."""
    return DuckTable(folder / "rows.duckdb")
