"""What is known durable: which Delta versions are synced, which files they hold, how far the log is committed.

`log/manifest` is append-only. Each line is the CRC32C of the JSON behind it. A torn last line means nothing: what it
would have said is found again by looking at the files. Now and then it is written anew with what still matters.
"""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path
from typing import TypeVar

import crc32c
import msgspec

from gaugehouse.config import Layout
from gaugehouse.lake.durable import fail_stop, sync_file_descriptor, sync_path, write_all, write_file

TAIL_BYTES = 64 * 1024
FILES_PER_LINE = 512
REWRITE_LINES = 4096  # a start reads that many lines in a few milliseconds
MENDED_BYTES = 128 * 1024  # a line is shorter; trying each of its bits takes seconds at most

Item = TypeVar("Item")


def manifest_path(layout: Layout) -> Path:
    return layout.log_dir / "manifest"


def values_manifest_path(layout: Layout) -> Path:
    """Return where the manifest of the derived table `kpi_values` is: of its own, because both may be thrown away."""
    return layout.log_dir / "manifest-kpi_values"


class CommittedFile(msgspec.Struct, array_like=True, frozen=True):
    """A data file as it was when it was synced."""

    path: str
    size_bytes: int
    sha256: str


class Horizon(msgspec.Struct, array_like=True, frozen=True):
    """Rows of one project and table before an instant were dropped. [us]"""

    table: str
    project: str
    before_us: int
    dropped_at_us: int


class ManifestEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One fact: a durable table version and what it changed, files that are gone, or a segment that is committed.

    Args:
        table: The table that `version`, `files`, `removed` and `gone` are about.
        version: A Delta version that is on the disk.
        files: Files that the version added.
        removed: Files that the version no longer names; they stay on the disk for running readers.
        removed_at_us: When that was. [us]
        gone: Removed files that are no longer on the disk.
        dropped: How far rows were dropped on purpose.
        forgotten: Deleted projects: of a later one of the same slug nothing was dropped.
        segment: A log segment all of whose rows are committed.
        through_us: The received_at up to which everything is committed. [us]
    """

    table: str = ""
    version: int = -1
    files: tuple[CommittedFile, ...] = ()
    removed: tuple[str, ...] = ()
    removed_at_us: int = -1
    gone: tuple[str, ...] = ()
    dropped: tuple[Horizon, ...] = ()
    forgotten: tuple[str, ...] = ()
    segment: int = -1
    through_us: int = -1


def _nobody(_reason: str) -> None:
    return None


@dataclass(slots=True)
class Manifest:
    """The open manifest of the lake owner.

    `files` holds current and superseded data files and the files of the Delta log, `superseded` since when [us].
    `on_failure` is told of every sync that the lake's own disk refuses, whoever asked for it.
    """

    path: Path
    durable_version: dict[str, int] = field(default_factory=dict)
    files: dict[str, dict[str, CommittedFile]] = field(default_factory=dict)
    superseded: dict[str, dict[str, int]] = field(default_factory=dict)
    horizons: dict[tuple[str, str], Horizon] = field(default_factory=dict)
    through_us: int = -1
    segment: int = -1
    line_count: int = 0
    damaged_lines: int = 0
    on_failure: Callable[[str], None] = _nobody
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def load(self) -> None:
        """Read every intact line; cut a torn last line off. A damaged line before others is left out and counted."""
        content = self.path.read_bytes() if self.path.exists() else b""
        intact_bytes = self.take_lines(content)
        if intact_bytes < len(content):
            os.truncate(self.path, intact_bytes)
            sync_path(self.path)

    def take_lines(self, content: bytes) -> int:
        """Take every intact line; return the size of all up to the last intact one [bytes]."""
        intact_bytes = read_bytes = bad_lines = 0
        for line in content.splitlines(keepends=True):
            read_bytes += len(line)
            entry = _parse(line)
            if entry is None:
                bad_lines += 1
                continue
            self._take(entry)
            intact_bytes = read_bytes
            self.damaged_lines += bad_lines
            bad_lines = 0
        return intact_bytes

    def _take(self, entry: ManifestEntry) -> None:
        self.line_count += 1
        self.through_us = max(self.through_us, entry.through_us)
        self.segment = max(self.segment, entry.segment)
        self.take_horizons(entry.dropped)
        if entry.forgotten:
            self.horizons = {key: one for key, one in self.horizons.items() if key[1] not in entry.forgotten}
        if not entry.table:
            return
        self.durable_version[entry.table] = max(entry.version, self.durable_version.get(entry.table, -1))
        files = self.files.setdefault(entry.table, {})
        superseded = self.superseded.setdefault(entry.table, {})
        files.update({file.path: file for file in entry.files})
        superseded.update(dict.fromkeys(entry.removed, entry.removed_at_us))
        for path in entry.gone:
            files.pop(path, None)
            superseded.pop(path, None)

    def take_horizons(self, horizons: Iterable[Horizon]) -> None:
        """Know how far rows were dropped."""
        for horizon in horizons:
            self.horizons[horizon.table, horizon.project] = horizon

    def record(self, entry: ManifestEntry) -> None:
        """Append one fact and sync it."""
        with self._lock, fail_stop(self.on_failure):
            self._append(entry)

    def _append(self, entry: ManifestEntry) -> None:
        is_new = not self.path.exists()
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        size_bytes = os.fstat(descriptor).st_size
        try:
            write_all(descriptor, _format(entry))
            sync_file_descriptor(descriptor)
        except OSError:
            os.ftruncate(descriptor, size_bytes)  # half a line would hide every line that is written behind it
            raise
        finally:
            os.close(descriptor)
        if is_new:
            sync_path(self.path.parent)
        self._take(entry)

    def rewrite_when_long(self) -> bool:
        """Write the manifest anew when most of its lines say what later ones have changed; return whether it was."""
        with self._lock:
            entries = list(self._state())
            if self.line_count < REWRITE_LINES + 2 * len(entries):
                return False
            with fail_stop(self.on_failure):
                write_file(self.path, b"".join(_format(entry) for entry in entries))
            self.line_count = len(entries)
        return True

    def _state(self) -> Iterator[ManifestEntry]:
        """Yield the facts that are left, how far the log is committed last: other processes read the end only."""
        for table, version in self.durable_version.items():
            yield ManifestEntry(table=table, version=version)
            for some in _chunks(self.files[table].values()):
                yield ManifestEntry(table=table, version=version, files=some)
            removed: dict[int, list[str]] = {}
            for path, removed_at_us in self.superseded[table].items():
                removed.setdefault(removed_at_us, []).append(path)
            for removed_at_us, paths in removed.items():
                for names in _chunks(paths):
                    yield ManifestEntry(table=table, version=version, removed=names, removed_at_us=removed_at_us)
        if self.horizons:
            yield ManifestEntry(dropped=tuple(self.horizons.values()))
        yield ManifestEntry(segment=self.segment, through_us=self.through_us)


def _chunks(items: Iterable[Item]) -> Iterator[tuple[Item, ...]]:
    rest = iter(items)
    while chunk := tuple(islice(rest, FILES_PER_LINE)):
        yield chunk


def _format(entry: ManifestEntry) -> bytes:
    body = msgspec.json.encode(entry)
    return f"{crc32c.crc32c(body):08x} ".encode() + body + b"\n"


def _parse(line: bytes) -> ManifestEntry | None:
    if not line.endswith(b"\n") or line[8:9] != b" ":
        return None
    body = line[9:-1]
    if line[:8] != f"{crc32c.crc32c(body):08x}".encode():
        return None
    return msgspec.json.decode(body, type=ManifestEntry)


def read_entries(path: Path) -> list[ManifestEntry]:
    """Return what each intact line says, oldest first."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    return [entry for line in lines if (entry := _parse(line)) is not None]


def mend_lines(content: bytes) -> tuple[bytes, int, int]:
    """Put right the lines in which one bit has flipped; those that are beyond that stay as they are.

    A checksum of 32 bits on a line of a few hundred bytes finds the one bit; what it could mistake for it would name
    checksums of files that no file has.

    Returns:
        The manifest without a torn end, how many lines were put right, how many are damaged still.
    """
    kept: list[bytes] = []
    mended = damaged = 0
    for is_intact, run in groupby(content.splitlines(keepends=True), key=lambda line: _parse(line) is not None):
        lines = list(run)
        right = lines if is_intact else _unflip_lines(b"".join(lines))
        mended += 0 if is_intact else len(right)
        rest = [] if right else [line for line in lines if line.endswith(b"\n")]  # a torn end means nothing
        damaged += len(rest)
        kept += right or rest
    return b"".join(kept), mended, damaged


def intact_lines(content: bytes) -> bytes:
    """Return a manifest without its damaged lines."""
    return b"".join(line for line in content.splitlines(keepends=True) if _parse(line) is not None)


def _unflip_lines(damaged: bytes) -> list[bytes]:
    """Return the lines that one flipped bit has damaged, which may have made two of one or one of two; or none."""
    draft = bytearray(damaged)
    for at in range(len(draft) if len(draft) <= MENDED_BYTES else 0):
        for bit in range(8):
            draft[at] ^= 1 << bit
            lines = bytes(draft).splitlines(keepends=True)
            if all(_is_right(line) for line in lines):
                return lines
            draft[at] ^= 1 << bit
    return []


def _is_right(line: bytes) -> bool:
    try:
        return _parse(line) is not None
    except msgspec.MsgspecError:  # the checksum fits by chance
        return False


def read_manifest(path: Path) -> Manifest:
    """Return what the manifest says now, changing nothing; for readers beside the owner."""
    manifest = Manifest(path)
    if path.exists():
        manifest.take_lines(path.read_bytes())
    return manifest


def read_committed_through_us(path: Path) -> int:
    """Return the newest received_at such that everything up to it is committed, -1 for none. [us]

    For readers in other processes: reads the end of the manifest, and more of it only if need be.
    """
    if not path.exists():
        return -1
    tail_bytes = TAIL_BYTES
    with path.open("rb") as file:
        size_bytes = os.fstat(file.fileno()).st_size
        while True:
            file.seek(max(0, size_bytes - tail_bytes))
            lines = file.read().splitlines(keepends=True)
            entries = [entry for line in lines if (entry := _parse(line)) is not None]
            through_us = max((entry.through_us for entry in entries), default=-1)
            if through_us >= 0 or tail_bytes >= size_bytes:
                return through_us
            tail_bytes *= 8
