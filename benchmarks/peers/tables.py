"""Tables of databases that run in the caller's process. `python -m benchmarks.peers.tables` is such a process.

Each is measured alone, by the interpreter of its own environment: this module imports nothing but pyarrow.
"""

import importlib
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from benchmarks.peers import Acknowledged, PeerMissing
from benchmarks.peers.installing import find_python

ROOT = Path(__file__).parents[2]
NAMES = ("duckdb_table", "clickhouse_table", "sqlite_table")
REQUIREMENTS = {"clickhouse_table": "chdb==4.4.0"}  # the others are here already
NEVER_S = 1e9
TIMEOUT_S = 1_800


class Table(Protocol):
    """An empty table in a new folder: component, metric, measured_at [us, UTC], value."""

    title: str
    acknowledged: Acknowledged
    drops_duplicates: bool

    def insert(self, batch: pa.Table) -> None:
        """Add the rows of one batch, as one transaction where there are any."""

    def settle(self) -> None:
        """Merge and write out everything."""

    def count(self) -> int:
        """Return the rows it holds."""

    def size_bytes(self) -> int:
        """Return the bytes of its files."""

    def close(self) -> None:
        """Let go of the folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inserted:
    """What a table did with a file of batches.

    Args:
        duration_s: Spent inside `insert`. [s]
        cpu_s: Processor time of the whole process meanwhile. [s]
        size_bytes: Its files once everything was merged and written out.
    """

    title: str
    acknowledged: str
    drops_duplicates: bool
    rows: int
    duration_s: float
    cpu_s: float
    size_bytes: int
    is_exact: bool

    @property
    def rows_per_s(self) -> float:
        """Rows inserted per second."""
        return self.rows / self.duration_s


def insert_alone(name: str, batches_path: Path, folder: Path, *, seconds: float = NEVER_S) -> Inserted:
    """Insert the batches of an Arrow file into a table, in a process of its own, until they or the time end.

    Raises:
        PeerMissing: The table's library cannot be had, or it failed.
    """
    python = find_python(REQUIREMENTS[name]) if name in REQUIREMENTS else Path(sys.executable)
    command = [str(python), "-m", "benchmarks.peers.tables", name, str(batches_path), str(folder), str(seconds)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    if done.returncode:
        raise PeerMissing(f"{name} failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return Inserted(**json.loads(done.stdout.splitlines()[-1]))


def insert_all(table: Table, batches_path: Path, *, seconds: float) -> Inserted:
    """Insert batches one after the other; only the inserts are timed."""
    rows, duration_s = 0, 0.0
    cpu_s = 0.0
    with pa.memory_map(str(batches_path)) as source, pa.ipc.open_file(source) as reader:
        for number in range(reader.num_record_batches):
            batch = pa.Table.from_batches([reader.get_batch(number)])
            begun_s, begun_cpu_s = time.perf_counter(), time.process_time()
            table.insert(batch)
            duration_s += time.perf_counter() - begun_s
            cpu_s += time.process_time() - begun_cpu_s
            rows += len(batch)
            if duration_s >= seconds:
                break
    table.settle()
    is_exact, size_bytes = table.count() == rows, table.size_bytes()
    table.close()
    return Inserted(
        title=table.title,
        acknowledged=table.acknowledged,
        drops_duplicates=table.drops_duplicates,
        rows=rows,
        duration_s=duration_s,
        cpu_s=cpu_s,
        size_bytes=size_bytes,
        is_exact=is_exact,
    )


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files below a folder: neither holes nor the unused end of a last block count."""
    found = [(Path(parent) / name).lstat() for parent, _, names in os.walk(folder) for name in names]
    return sum(min(each.st_size, each.st_blocks * 512) for each in found)


def main() -> None:
    """Insert as the arguments say; print what happened as JSON."""
    name, batches, folder, seconds = sys.argv[1:]
    Path(folder).mkdir(parents=True)
    open_table = importlib.import_module(f"benchmarks.peers.{name}").open_table
    print(json.dumps(asdict(insert_all(open_table(Path(folder)), Path(batches), seconds=float(seconds)))))
    sys.stdout.flush()
    os._exit(0)  # chdb's threads have crashed an interpreter that was ending


if __name__ == "__main__":
    main()
