"""`<lake>/plain/<table>/`: the current files under a path that any glob may read.

Superseded files stay in the table for a day, so a glob over the table itself would count their rows twice. Here each
partition is a real folder of hard links. A flush adds one link; whatever takes files away prepares a new folder and
exchanges it for the old one in a single step. (Links to folders would do that too, but DuckDB's `**` does not follow
them.) Nothing here is synced: a start makes it anew from the table.

A folder that was exchanged stays a while under `_staging`: whoever is listing it at that moment must not get half a
list. And the names that went away stay for a moment, as signs that no engine can read: DuckDB and pyarrow look at each
name after they have listed a folder, and leave out without a word what is not there any more.
"""

import ctypes
import functools
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path

import structlog

from gaugehouse.lake.delta import FileEntry

logger = structlog.get_logger()

PLAIN = "plain"
STAGING = "_staging"
RENAME_EXCHANGE = 2
AT_FDCWD = -100
LISTING_S = 60.0  # how long a reader may take to list one folder
SIGN_S = 0.25  # how long it may take from the list to its names: microseconds, unless the machine is very busy
SIGN = b"not here: list the folder again, or ask `gaugehouse lake verify`\n"


class PlainMirror:
    """The mirror of one table. Used by the threads that commit, each partition by one at a time.

    A file system without hard links or without exchange of folders gets no mirror, rather than a wrong one.
    """

    def __init__(self, lake_dir: Path, table: str) -> None:
        self.root = lake_dir / PLAIN / table
        self.is_kept = True
        self._table_root = lake_dir / table
        self._staging = lake_dir / STAGING / table
        self._replaced: list[tuple[float, Path]] = []  # since when, by the monotonic clock [s]
        self._signs: list[tuple[float, Path]] = []
        self._replaced_lock = threading.Lock()

    def rebuild(self, entries: Collection[FileEntry]) -> None:
        """Make the mirror equal to the table, whatever a crash has left."""
        try:
            shutil.rmtree(self._staging, ignore_errors=True)
            self._staging.mkdir(parents=True)
            self.root.mkdir(parents=True, exist_ok=True)
            wanted = _by_partition(entries)
            for path in sorted(self.root.glob("project=*/month=*")):
                partition = path.relative_to(self.root).as_posix()
                if not self._is_equal(partition, wanted.get(partition, [])):
                    self._switch(partition, wanted.get(partition, []))
            for partition, files in wanted.items():
                if not (self.root / partition).exists():
                    self._switch(partition, files)
            self.wait_for_signs()
        except OSError as exc:
            self._give_up(exc)

    def add(self, entries: Iterable[FileEntry]) -> None:
        """Show files that a flush has committed."""
        self._attempt(self._add, list(entries))

    def replace(self, partitions: Iterable[tuple[str, str]], entries: Iterable[FileEntry]) -> None:
        """Show exactly the files of `entries` in each (project, month)."""
        wanted = _by_partition(entries)
        for project, month in partitions:
            partition = f"project={project}/month={month}"
            self._attempt(functools.partial(self._switch, partition), wanted.get(partition, []))

    def sweep(self, kept_s: float = LISTING_S) -> None:
        """Remove folders that were exchanged longer ago."""
        limit_s = time.monotonic() - kept_s
        with self._replaced_lock:
            old = [path for since_s, path in self._replaced if since_s <= limit_s]
            self._replaced = [(since_s, path) for since_s, path in self._replaced if since_s > limit_s]
        for path in old:
            shutil.rmtree(path, ignore_errors=True)

    def take_down_signs(self) -> None:
        """Remove the signs that have stood long enough; one that the disk does not let go is tried again."""
        self._take_down(time.monotonic() - SIGN_S)

    def _take_down(self, limit_s: float) -> None:
        with self._replaced_lock:
            self._signs = [(since_s, path) for since_s, path in self._signs if since_s > limit_s or not _remove(path)]

    def wait_for_signs(self) -> None:
        """Return once no sign of now stands any more: the next reader is to find files only."""
        newest_s = max((since_s for since_s, _path in self._signs), default=None)
        if newest_s is not None:
            time.sleep(max(0.0, newest_s + SIGN_S - time.monotonic()))
            self._take_down(newest_s)

    def _attempt(self, change: Callable[[list[FileEntry]], None], entries: list[FileEntry]) -> None:
        if not self.is_kept:
            return
        try:
            change(entries)
        except OSError as exc:
            self._give_up(exc)

    def _give_up(self, exc: OSError) -> None:
        """Offer no mirror rather than one that is behind; the next start tries again."""
        self.is_kept = False
        shutil.rmtree(self.root, ignore_errors=True)
        logger.warning("plain_mirror_dropped", table=self.root.name, error=type(exc).__name__, errno=exc.errno)

    def _add(self, entries: list[FileEntry]) -> None:
        for partition, files in _by_partition(entries).items():
            folder = self.root / partition
            if not folder.exists():
                self._switch(partition, files)
                continue
            for entry in files:
                target = folder / Path(entry.path).name
                if not target.exists():
                    _link(self._table_root, entry, target)

    def _is_equal(self, partition: str, files: list[FileEntry]) -> bool:
        shown = {path.name: path.stat().st_ino for path in (self.root / partition).iterdir()}
        sources = {Path(entry.path).name: self._table_root / entry.path for entry in files}
        return shown == {name: path.stat().st_ino if path.exists() else None for name, path in sources.items()}

    def _switch(self, partition: str, files: list[FileEntry]) -> None:
        """Put a folder with exactly these files in place of the old one."""
        folder = self.root / partition
        fresh = self._staging / secrets.token_hex(8)
        fresh.mkdir(parents=True)
        for entry in files:
            _link(self._table_root, entry, fresh / Path(entry.path).name)
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            fresh.rename(folder)
            return
        if files:
            signs = _put_up_signs(fresh, folder)
            _exchange(fresh, folder)
            with self._replaced_lock:
                self._signs += [(time.monotonic(), path) for path in signs]
        else:
            fresh.rmdir()
            folder.rename(fresh)  # a partition without files is no folder at all
            with suppress(OSError):  # the project has other months
                folder.parent.rmdir()
        with self._replaced_lock:
            self._replaced.append((time.monotonic(), fresh))


def write_sign(path: Path, size_bytes: int) -> None:
    """Write what is no Parquet in place of a file of so many bytes; it takes no room on the disk.

    Not shorter: Polars and Spark pass over empty files, and Polars panics when a file shrinks while it reads.
    """
    with path.open("wb") as file:
        file.seek(max(0, size_bytes - len(SIGN)))
        file.write(SIGN)


def _is_sign(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-min(len(SIGN), path.stat().st_size), os.SEEK_END)
        return file.read() == SIGN


def _put_up_signs(fresh: Path, folder: Path) -> list[Path]:
    """Write a sign for each file of the old folder that the new one lacks; return where they will stand."""
    gone = {path.name: path for path in folder.iterdir()}
    for path in fresh.iterdir():
        gone.pop(path.name, None)
    for name, path in gone.items():
        write_sign(fresh / name, path.stat().st_size)
    return list(gone.values())


def _link(root: Path, entry: FileEntry, target: Path) -> None:
    """Show a file; a sign for one that is lost or in quarantine: globs fail on it, and count no fewer rows."""
    try:
        os.link(root / entry.path, target)
    except FileNotFoundError:
        write_sign(target, entry.size_bytes)


def _remove(sign: Path) -> bool:
    """Remove a sign, and nothing that may stand there by now; return whether it is gone."""
    try:
        if _is_sign(sign):
            sign.unlink()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _by_partition(entries: Iterable[FileEntry]) -> dict[str, list[FileEntry]]:
    partitions: dict[str, list[FileEntry]] = {}
    for entry in entries:
        partitions.setdefault(f"project={entry.project}/month={entry.month}", []).append(entry)
    return partitions


def _exchange(left: Path, right: Path) -> None:
    """Swap two folders in one step; Python's own rename cannot.

    Raises:
        OSError: the system or the file system has no such call.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        raise OSError(0, "this system cannot exchange folders")
    if libc.renameat2(AT_FDCWD, os.fsencode(left), AT_FDCWD, os.fsencode(right), RENAME_EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
