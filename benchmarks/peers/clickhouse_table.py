"""ClickHouse in the process (chdb): MergeTree as it comes, names as LowCardinality, ordered by series and time."""

from pathlib import Path

import pyarrow as pa
from chdb import session

from benchmarks.peers import Acknowledged


class ClickHouseTable:
    """A MergeTree table in a folder."""

    title = "ClickHouse"
    acknowledged = Acknowledged.PAGE_CACHE  # MergeTree's default: no fsync after an insert
    drops_duplicates = False

    def __init__(self, folder: Path) -> None:
        self._session = session.Session(str(folder))
        self._session.query("CREATE DATABASE b ENGINE = Atomic")
        self._session.query(
            "CREATE TABLE b.t (component LowCardinality(String), metric LowCardinality(String),"
            " measured_at DateTime64(6, 'UTC'), value Float64)"
            " ENGINE = MergeTree ORDER BY (component, metric, measured_at)"
        )

    def insert(self, batch: pa.Table) -> None:  # noqa: ARG002 - the statement finds it by its name
        """Add the rows as one part."""
        self._session.query("INSERT INTO b.t SELECT component, metric, measured_at, value FROM Python(batch)")

    def settle(self) -> None:
        """Merge all parts into one; the replaced ones count no more."""
        self._session.query("OPTIMIZE TABLE b.t FINAL")

    def count(self) -> int:
        """Return the rows it holds."""
        return int(str(self._session.query("SELECT count() FROM b.t", "CSV")))

    def size_bytes(self) -> int:
        """Return the bytes of the parts that count: replaced ones stay in the folder for minutes."""
        answer = self._session.query("SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND table = 't'", "CSV")
        return int(str(answer))

    def close(self) -> None:
        """Let go of the folder."""
        self._session.close()


def open_table(folder: Path) -> ClickHouseTable:
    """Return an empty table in an empty folder."""
    return ClickHouseTable(folder)
