"""The DuckDB of a process: what it may load, how much memory it takes, where it spills."""

import errno
import os
import shutil
import threading
import weakref
from contextlib import suppress
from pathlib import Path

import duckdb
import psutil

from gaugehouse.config import QUERY_MEMORY_BYTES
from gaugehouse.errors import StorageFull, Unavailable

SPILL = "spill-"


class Engine:
    """DuckDB, set up once: no downloads, no replacement scans, UTC. Each question gets its own cursor.

    Args:
        run_dir: What needs more memory than it may take is written below it, in a folder of this process.
        memory_bytes: For all questions of the process together.
    """

    def __init__(self, run_dir: Path, *, memory_bytes: int = QUERY_MEMORY_BYTES) -> None:
        self._connection = duckdb.connect(
            ":memory:",
            config={
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "python_enable_replacements": False,
                "memory_limit": f"{memory_bytes}B",
                "temp_directory": _find_spill_dir(run_dir),
            },
        )
        self._connection.execute("SET GLOBAL TimeZone = 'UTC'")
        self._cursors: weakref.WeakSet[duckdb.DuckDBPyConnection] = weakref.WeakSet()
        self._is_interrupted = False
        self._lock = threading.Lock()

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Return a cursor for one question.

        Raises:
            Unavailable: `interrupt` was called.
        """
        with self._lock:
            self.check()
            cursor = self._connection.cursor()
            self._cursors.add(cursor)
        return cursor

    def interrupt(self) -> None:
        """Break off what is asked now, and refuse all that follows: whoever asks is to stop. For any thread."""
        with self._lock:
            self._is_interrupted = True
            cursors = list(self._cursors)
        for cursor in cursors:
            with suppress(duckdb.Error):  # one that is closed already
                cursor.interrupt()

    def check(self) -> None:
        """Refuse to go on after `interrupt`.

        Raises:
            Unavailable: It was called.
        """
        if self._is_interrupted:
            raise Unavailable("the question was broken off", code="question_interrupted")


def _find_spill_dir(run_dir: Path) -> str:
    """Return where this process spills, empty where it cannot: beside a lake that may only be read."""
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError:
        return ""
    return str(run_dir / f"{SPILL}{os.getpid()}")


def explain_failure(exc: duckdb.Error, otherwise: str) -> Unavailable | StorageFull:
    """Return why a question failed.

    Args:
        exc: What DuckDB said.
        otherwise: What it means unless it is about memory or a full disk.
    """
    if isinstance(exc, duckdb.OutOfMemoryException):
        return Unavailable(
            "the question needs more memory than there is for questions now; ask for less of it, or later",
            code="question_too_heavy",
            retry_after_s=5,
        )
    if isinstance(exc, duckdb.IOException) and os.strerror(errno.ENOSPC) in str(exc):
        return StorageFull("the disk is full: the question cannot put aside what does not fit into memory")
    return Unavailable(otherwise, retry_after_s=5)


def remove_old_spills(run_dir: Path) -> None:
    """Remove what processes that were killed have left."""
    for folder in run_dir.glob(f"{SPILL}*"):
        number = folder.name.removeprefix(SPILL)
        if number.isdigit() and not psutil.pid_exists(int(number)):
            shutil.rmtree(folder, ignore_errors=True)
