"""The DuckDB of a process: what it may load, how much memory it takes, where it spills."""

import errno
import fcntl
import os
import secrets
import shutil
import threading
import weakref
from contextlib import suppress
from pathlib import Path

import duckdb

from gaugehouse.config import QUERY_MEMORY_BYTES
from gaugehouse.errors import StorageFull, Unavailable
from gaugehouse.lock import is_locked

SPILL = "spill-"
MARK = ".lock"  # beside a folder of this name: whoever spills there holds it


class Engine:
    """DuckDB, set up once: no downloads, no replacement scans, UTC. Each question gets its own cursor.

    Args:
        run_dir: What needs more memory than it may take is written below it, in a folder of this process.
        memory_bytes: For all questions of the process together.
    """

    def __init__(self, run_dir: Path, *, memory_bytes: int = QUERY_MEMORY_BYTES) -> None:
        self._spill = _Spill(run_dir)
        self._connection = duckdb.connect(
            ":memory:",
            config={
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "python_enable_replacements": False,
                "memory_limit": f"{memory_bytes}B",
                "temp_directory": self._spill.folder,
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


class _Spill:
    """Where one engine spills: a folder under a lock that ends with the process, however it ends.

    Not known by its pid: processes in containers have the same ones, and cannot see each other's.
    """

    def __init__(self, run_dir: Path) -> None:
        path = run_dir / f"{SPILL}{os.getpid()}-{secrets.token_hex(4)}"
        mark = path.with_name(path.name + MARK)
        self.folder = ""  # nowhere: beside a lake that may only be read
        try:
            run_dir.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(mark, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return
        weakref.finalize(self, _end_spill, descriptor, mark)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        self.folder = str(path)


def _end_spill(descriptor: int, mark: Path) -> None:
    with suppress(OSError):
        mark.unlink()
    os.close(descriptor)


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
    for path in run_dir.glob(f"{SPILL}*"):
        mark = path if path.name.endswith(MARK) else path.with_name(path.name + MARK)
        if not is_locked(mark):
            shutil.rmtree(mark.with_name(mark.name.removesuffix(MARK)), ignore_errors=True)
            mark.unlink(missing_ok=True)
