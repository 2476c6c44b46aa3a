"""SQLite with the key that refuses duplicates, and its rows inside the key's tree (WITHOUT ROWID)."""

import sqlite3
from pathlib import Path

import pyarrow as pa

from benchmarks.peers import Acknowledged


class SqliteTable:
    """A table in a SQLite file."""

    title = "SQLite"
    acknowledged = Acknowledged.FSYNC  # WAL, synchronous = FULL: a sync at each commit
    drops_duplicates = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute(
            "CREATE TABLE t (component TEXT, metric TEXT, measured_at INTEGER, value REAL,"
            " PRIMARY KEY (component, metric, measured_at)) WITHOUT ROWID"
        )

    def insert(self, batch: pa.Table) -> None:
        """Add the rows as one transaction."""
        measured_at_us = batch["measured_at"].cast(pa.int64())
        columns = [batch["component"], batch["metric"], measured_at_us, batch["value"]]
        self._connection.execute("BEGIN")
        rows = zip(*(column.to_pylist() for column in columns), strict=True)
        self._connection.executemany("INSERT OR IGNORE INTO t VALUES (?, ?, ?, ?)", rows)
        self._connection.execute("COMMIT")

    def settle(self) -> None:
        """Write the log into the file."""
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def count(self) -> int:
        """Return the rows it holds."""
        return int(self._connection.execute("SELECT count(*) FROM t").fetchone()[0])

    def size_bytes(self) -> int:
        """Return the bytes of its file."""
        return self._path.stat().st_size

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def open_table(folder: Path) -> SqliteTable:
    """Return an empty table in an empty folder."""
    return SqliteTable(folder / "rows.sqlite")
