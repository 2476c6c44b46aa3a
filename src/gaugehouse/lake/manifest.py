"""What is known durable: which Delta versions are synced, which files they hold, how far the log is committed.

`log/manifest` is append-only. Each line is the CRC32C of the JSON behind it. A torn last line means nothing: what it
would have said is found again by looking at the files.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

import crc32c
import msgspec

from gaugehouse.config import Layout
from gaugehouse.lake.durable import sync_file_descriptor, sync_path, write_all

TAIL_BYTES = 64 * 1024


def manifest_path(layout: Layout) -> Path:
    return layout.log_dir / "manifest"


class CommittedFile(msgspec.Struct, array_like=True, frozen=True):
    """A data file as it was when it was synced."""

    path: str
    size_bytes: int
    sha256: str


class ManifestEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One fact: a durable table version with its new files, or a segment that is wholly committed."""

    table: str = ""
    version: int = -1
    files: tuple[CommittedFile, ...] = ()
    segment: int = -1
    through_us: int = -1


@dataclass(slots=True)
class Manifest:
    """The open manifest of the lake owner."""

    path: Path
    durable_version: dict[str, int] = field(default_factory=dict)
    through_us: int = -1
    segment: int = -1

    def load(self) -> None:
        """Read every intact line; cut a torn last line off."""
        content = self.path.read_bytes() if self.path.exists() else b""
        intact = 0
        for line in content.splitlines(keepends=True):
            entry = _parse(line)
            if entry is None:
                break
            self._take(entry)
            intact += len(line)
        if intact < len(content):
            os.truncate(self.path, intact)
            sync_path(self.path)

    def _take(self, entry: ManifestEntry) -> None:
        if entry.table:
            self.durable_version[entry.table] = entry.version
        self.through_us = max(self.through_us, entry.through_us)
        self.segment = max(self.segment, entry.segment)

    def record(self, entry: ManifestEntry) -> None:
        """Append one fact and sync it."""
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


def read_committed_through_us(path: Path) -> int:
    """Return the newest received_at such that everything up to it is committed, -1 for none. [us]

    For readers in other processes: reads the end of the manifest only.
    """
    if not path.exists():
        return -1
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        lines = file.read().splitlines(keepends=True)
    entries = [entry for line in lines if (entry := _parse(line)) is not None]
    return max((entry.through_us for entry in entries), default=-1)
