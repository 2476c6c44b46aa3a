"""Damaged data files: set aside and listed, so that whatever needs one fails by name and never with fewer rows.

`log/quarantine` is one line, a CRC32C and a JSON list; it is synced before a file is moved to `<table>/_quarantine/`.
The Delta log goes on naming the file: every reader of the table, ours or not, fails on it instead of reading bytes
that are not what was written. `lake repair` puts a good copy back and takes the entry off the list.
"""

import hashlib
import itertools
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import crc32c
import msgspec
import structlog

from gaugehouse.errors import Unavailable, is_exhausted
from gaugehouse.lake.delta import FileEntry
from gaugehouse.lake.deltalog import ListedFile
from gaugehouse.lake.durable import make_folder, sync_path, write_file
from gaugehouse.lake.manifest import CommittedFile

logger = structlog.get_logger()

FOLDER = "_quarantine"


class QuarantinedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A data file that is not what was written.

    Args:
        table: Its table.
        path: Its path in the table, and below `_quarantine`.
        project: Whose rows.
        month: 'YYYY-MM' of its rows.
        rows: How many rows cannot be read.
        what: What was found.
        found_at_us: When. [us]
    """

    table: str
    path: str
    project: str
    month: str
    rows: int
    what: str
    found_at_us: int


def quarantine_path(log_dir: Path) -> Path:
    return log_dir / "quarantine"


def read_quarantine(log_dir: Path) -> tuple[QuarantinedFile, ...]:
    """Return the listed files; a list that cannot be read counts as empty, for the files are gone all the same."""
    path = quarantine_path(log_dir)
    if not path.exists():
        return ()
    content = path.read_bytes()
    if not is_intact(content):
        logger.error("quarantine_list_unreadable")
        return ()
    return tuple(msgspec.json.decode(content[9:], type=list[QuarantinedFile]))


def read_quarantined_paths(log_dir: Path) -> frozenset[str]:
    """Return the listed files as 'table/path'."""
    return frozenset(f"{file.table}/{file.path}" for file in read_quarantine(log_dir))


def is_broken(root: Path, entry: FileEntry | ListedFile, written: CommittedFile | None) -> bool:
    """Say whether a data file is missing, cannot be read, or is not what was written."""
    try:
        content = (root / entry.path).read_bytes()
    except OSError as exc:
        if is_exhausted(exc):
            raise
        return True
    expected = entry.size_bytes if written is None else written.size_bytes
    return len(content) != expected or (written is not None and hashlib.sha256(content).hexdigest() != written.sha256)


def is_intact(content: bytes) -> bool:
    """Say whether a list is what was written."""
    return content[:9] == f"{crc32c.crc32c(content[9:]):08x} ".encode()


def refuse_quarantined(listed: frozenset[str], table: str, entries: Iterable[FileEntry]) -> None:
    """Refuse to answer from files of which one is damaged.

    Raises:
        Unavailable: names project, month and table.
    """
    for entry in entries:
        if f"{table}/{entry.path}" in listed:
            raise Unavailable(
                f"a file of {table} of project {entry.project}, month {entry.month} is damaged and in quarantine; "
                "the answer would be incomplete. `gaugehouse lake verify` names the file",
                code="file_quarantined",
                fields={"table": table, "project": entry.project, "month": entry.month},
                retry_after_s=300,
            )


def set_aside(root: Path, path: str) -> None:
    """Move a file of a table, if it is there, where no reader finds it."""
    source = root / path
    if not source.exists():
        return
    target = root / FOLDER / path
    make_folder(target.parent)
    source.rename(free_name(target))
    sync_path(target.parent)
    sync_path(source.parent)


def free_name(path: Path) -> Path:
    """Return a name that no damaged file of an earlier time has."""
    names = (path.with_name(f"{path.name}.{number}") if number else path for number in itertools.count())
    return next(name for name in names if not name.exists())


class Quarantine:
    """The list of the lake owner. `paths` ('table/path') is replaced, never changed: anyone may read it."""

    def __init__(self, log_dir: Path) -> None:
        self._log_dir = log_dir
        self._lock = threading.Lock()
        self.files: tuple[QuarantinedFile, ...] = ()
        self.paths: frozenset[str] = frozenset()

    def load(self) -> None:
        """Read the list."""
        self._show(read_quarantine(self._log_dir))

    def _show(self, files: tuple[QuarantinedFile, ...]) -> None:
        self.files = files
        self.paths = frozenset(f"{file.table}/{file.path}" for file in files)

    def paths_of(self, table: str) -> frozenset[str]:
        """Return the listed files of a table."""
        return frozenset(file.path for file in self.files if file.table == table)

    def release(self, root: Path, current: Mapping[str, FileEntry], written: Mapping[str, CommittedFile]) -> list[str]:
        """Forget files of a table that are whole again, or that it names no more; return the others.

        Args:
            root: Folder of the table.
            current: Its files.
            written: What each was when it was written.
        """
        with self._lock:
            mine = [file for file in self.files if file.table == root.name]
            free = [
                file
                for file in mine
                if file.path not in current
                or (file.path in written and not is_broken(root, current[file.path], written[file.path]))
            ]
            if free:
                self._write(tuple(file for file in self.files if file not in free))
            for file in free:
                (root / FOLDER / file.path).unlink(missing_ok=True)
                logger.info("quarantine_released", table=file.table, project=file.project, month=file.month)
            return [file.path for file in mine if file not in free]

    def add(self, root: Path, entry: FileEntry | ListedFile, what: str) -> QuarantinedFile:
        """List a file, then move it; what is listed already stays as it is."""
        with self._lock:
            table = root.name
            known = [file for file in self.files if (file.table, file.path) == (table, entry.path)]
            if known:
                return known[0]
            file = QuarantinedFile(
                table=table,
                path=entry.path,
                project=entry.project,
                month=entry.month,
                rows=entry.rows,
                what=what,
                found_at_us=time.time_ns() // 1_000,
            )
            self._write((*self.files, file))
            set_aside(root, entry.path)
        logger.error("file_quarantined", table=table, project=entry.project, month=entry.month, rows=entry.rows)
        return file

    def take_off(self, table: str, path: str) -> None:
        """Forget a file that is whole again, or whose rows are in another; its damaged copy stays set aside."""
        with self._lock:
            if f"{table}/{path}" in self.paths:
                self._write(tuple(file for file in self.files if (file.table, file.path) != (table, path)))
        logger.info("quarantine_lifted", table=table)

    def _write(self, files: tuple[QuarantinedFile, ...]) -> None:
        body = msgspec.json.encode(files)
        write_file(quarantine_path(self._log_dir), f"{crc32c.crc32c(body):08x} ".encode() + body)
        self._show(files)
