"""The write-ahead log: append-only segments of checksummed records, fsynced before anything is acknowledged.

A segment file is `<number>.seg`: a header (magic, log uuid, number), then records. A record is

    magic u32 | crc32c u32 | length u32 | kind u8 | durable_to u64 | payload

with the checksum over everything behind it. `durable_to` is the offset in this segment that was known synced when the
record was written, so at start a bad record can be told apart: below the largest durable_to it is damage (something
synced has changed), above it is the torn tail of a power cut, which nobody was promised.
"""

import os
import struct
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

import crc32c
import msgspec

from gaugehouse.errors import DamageFound, StorageFull, Unavailable
from gaugehouse.lake.durable import (
    FsyncFailed,
    make_folder,
    remove_file,
    storage_error,
    sync_file_descriptor,
    sync_path,
    write_all,
    write_file,
)

SEGMENT_MAGIC = b"GHLOG001"
SEGMENT_HEADER = struct.Struct("<8s16sQ")
RECORD_MAGIC = 0x31524847  # "GHR1": lets a reader find the next record behind a damaged length
RECORD_HEADER = struct.Struct("<IIIBQ")
CHECKED_FROM = 8  # the checksum covers what stands behind magic and crc


class RecordKind(IntEnum):
    """What a record holds."""

    ROWS = 1
    MARKER = 2  # nothing but a durable_to, written when the log falls idle
    FOOTER = 3  # the segment is sealed; nothing follows


class LogRecord(msgspec.Struct, array_like=True, frozen=True):
    """The payload of a ROWS record: accepted rows of one project, stamped with one received_at.

    Args:
        received_at_us: Microseconds since 1970 UTC. [us]
        project: Slug.
        measurements: Arrow IPC stream of MEASUREMENT_BATCH, empty for none.
        events: Arrow IPC stream of EVENT_BATCH, empty for none.
    """

    received_at_us: int
    project: str
    measurements: bytes = b""
    events: bytes = b""


_encode_record = msgspec.msgpack.Encoder().encode
_decode_record = msgspec.msgpack.Decoder(LogRecord).decode


@dataclass(slots=True, kw_only=True)
class SegmentScan:
    """What a segment file holds, as found at start."""

    path: Path
    number: int
    records: list[LogRecord]
    valid_bytes: int
    crc: int
    is_sealed: bool
    torn_bytes: int


def segment_path(log_dir: Path, number: int) -> Path:
    return log_dir / f"{number:020d}.seg"


def find_segments(log_dir: Path) -> list[Path]:
    """Return segment files, oldest first."""
    return sorted(log_dir.glob("*.seg"))


def load_log_uuid(log_dir: Path) -> uuid.UUID:
    """Return the identity of this log, made with its folder and never again."""
    path = log_dir / "uuid"
    if path.exists():
        return uuid.UUID(path.read_text("ascii").strip())
    log_uuid = uuid.uuid4()
    write_file(path, f"{log_uuid}\n".encode())
    return log_uuid


def _valid_record(content: memoryview, offset: int) -> tuple[int, int, int] | None:
    """Return (kind, durable_to, end offset) of an intact record at `offset`, or None."""
    if offset + RECORD_HEADER.size > len(content):
        return None
    magic, crc, length, kind, durable_to = RECORD_HEADER.unpack_from(content, offset)
    end = offset + RECORD_HEADER.size + length
    if magic != RECORD_MAGIC or end > len(content):
        return None
    if crc32c.crc32c(content[offset + CHECKED_FROM : end]) != crc:
        return None
    return kind, durable_to, end


def _largest_durable_to_behind(content: memoryview, offset: int) -> int:
    """Return the largest durable_to of intact records somewhere behind a bad one."""
    magic = RECORD_MAGIC.to_bytes(4, "little")
    whole = bytes(content)
    largest = 0
    position = whole.find(magic, offset + 1)
    while position >= 0:
        found = _valid_record(content, position)
        if found is None:
            position = whole.find(magic, position + 1)
            continue
        largest = max(largest, found[1])
        position = whole.find(magic, found[2])
    return largest


def scan_segment(path: Path, *, log_uuid: uuid.UUID, is_last: bool) -> SegmentScan:
    """Read a segment and tell damage from a torn tail.

    Raises:
        DamageFound: a record that was known durable is bad, or a sealed segment is not whole.
    """
    content = memoryview(path.read_bytes())
    number = int(path.stem)
    if not _has_valid_header(content, log_uuid=log_uuid, number=number):
        return _headerless(path, number=number, content=content, is_last=is_last)
    offset, largest_durable_to, is_sealed = SEGMENT_HEADER.size, 0, False
    records: list[LogRecord] = []
    while not is_sealed and (found := _valid_record(content, offset)) is not None:
        kind, durable_to, end = found
        largest_durable_to = max(largest_durable_to, durable_to)
        if kind == RecordKind.ROWS:
            records.append(_decode_record(content[offset + RECORD_HEADER.size : end]))
        is_sealed = kind == RecordKind.FOOTER
        offset = end
    largest_durable_to = max(largest_durable_to, _largest_durable_to_behind(content, offset))
    torn_bytes = len(content) - offset
    if offset < largest_durable_to or (torn_bytes and is_sealed) or (not is_sealed and not is_last):
        raise DamageFound(
            f"log segment {number} is damaged at byte {offset}: a record that was synced cannot be read back. "
            "Nothing was changed. `gaugehouse lake repair` sets the damaged bytes aside and keeps every intact record",
            fields={"segment": number, "offset": offset},
        )
    return SegmentScan(
        path=path,
        number=number,
        records=records,
        valid_bytes=offset,
        crc=crc32c.crc32c(content[:offset]),
        is_sealed=is_sealed,
        torn_bytes=torn_bytes,
    )


def _has_valid_header(content: memoryview, *, log_uuid: uuid.UUID, number: int) -> bool:
    if len(content) < SEGMENT_HEADER.size:
        return False
    magic, owner, stored_number = SEGMENT_HEADER.unpack_from(content, 0)
    return bool(magic == SEGMENT_MAGIC and owner == log_uuid.bytes and stored_number == number)


def _headerless(path: Path, *, number: int, content: memoryview, is_last: bool) -> SegmentScan:
    """Judge a segment without a valid header: only the newest can be a creation that a power cut tore."""
    if not is_last or _largest_durable_to_behind(content, -1):
        raise DamageFound(
            f"log segment {number} has no valid header. Nothing was changed. "
            "`gaugehouse lake repair` sets the damaged bytes aside and keeps every intact record",
            fields={"segment": number, "offset": 0},
        )
    return SegmentScan(
        path=path, number=number, records=[], valid_bytes=0, crc=0, is_sealed=False, torn_bytes=len(content)
    )


def set_torn_tail_aside(scan: SegmentScan) -> None:
    """Save the torn bytes of a segment under `torn/`, then cut them off."""
    folder = scan.path.parent / "torn"
    make_folder(folder)
    with scan.path.open("rb") as file:
        file.seek(scan.valid_bytes)
        write_file(folder / f"{scan.number:020d}-{scan.valid_bytes}.bin", file.read())
    os.truncate(scan.path, scan.valid_bytes)
    sync_path(scan.path)


def seal_recovered(scan: SegmentScan) -> int:
    """Write the footer that a stopped process owed its last segment; return the segment's checksum."""
    footer = _frame(RecordKind.FOOTER, scan.valid_bytes, b"")
    with scan.path.open("ab", buffering=0) as file:
        sync_file_descriptor(file.fileno())
        write_all(file.fileno(), footer)
        sync_file_descriptor(file.fileno())
    return crc32c.crc32c(footer, scan.crc)


def _frame(kind: RecordKind, durable_to: int, payload: bytes) -> bytes:
    body = RECORD_HEADER.pack(0, 0, len(payload), kind, durable_to)[CHECKED_FROM:] + payload
    return struct.pack("<II", RECORD_MAGIC, crc32c.crc32c(body)) + body


def _nothing(_position: int) -> None:
    return None


@dataclass(slots=True)
class Log:
    """The open end of the log. `append` and `seal` are called under the sequencer's lock; `wait_durable` is not.

    Positions count bytes over all segments since this process started, so they only ever grow.
    """

    log_dir: Path
    log_uuid: uuid.UUID
    number: int
    on_durable: Callable[[int], None] = _nothing
    on_failure: Callable[[], None] = lambda: None
    size_bytes: int = 0
    written: int = 0
    durable: int = 0
    crc: int = 0
    failed: bool = False
    _descriptor: int = -1
    _segment_start: int = 0
    _marked_durable_to: int = 0
    _is_syncing: bool = False
    _condition: threading.Condition = field(default_factory=threading.Condition)

    def open_segment(self) -> None:
        """Create the segment file `number`, synced with its folder before any record goes in."""
        header = SEGMENT_HEADER.pack(SEGMENT_MAGIC, self.log_uuid.bytes, self.number)
        try:
            descriptor = self._create(segment_path(self.log_dir, self.number), header)
        except FsyncFailed:
            self._fail()
            raise
        except OSError as exc:
            raise storage_error(exc) from exc
        self._descriptor = descriptor
        self.size_bytes, self.crc = len(header), crc32c.crc32c(header)
        self._segment_start, self._marked_durable_to = self.written, 0

    def _create(self, path: Path, header: bytes) -> int:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            write_all(descriptor, header)
            sync_file_descriptor(descriptor)
            sync_path(self.log_dir)
        except BaseException:
            os.close(descriptor)
            path.unlink()
            raise
        return descriptor

    def append(self, record: LogRecord, on_written: Callable[[int], None] = _nothing) -> int:
        """Write one record and return the position that must be durable before it may be acknowledged.

        `on_written` gets that position before any sync can cover the record: who publishes what is durable must
        know of it by then.

        Raises:
            StorageFull, Unavailable: not written; the segment is as it was before.
        """
        return self._write(RecordKind.ROWS, _encode_record(record), on_written)

    def _write(self, kind: RecordKind, payload: bytes, on_written: Callable[[int], None] = _nothing) -> int:
        if self.failed:
            raise FsyncFailed("the log is stopped after a disk error", retry_after_s=5)
        if self._descriptor < 0:
            self.open_segment()  # there was no room for it when the last one was sealed
        durable_to = self._durable_to()
        framed = _frame(kind, durable_to, payload)
        try:
            write_all(self._descriptor, framed)
        except OSError as exc:
            self._undo_partial_write()
            raise storage_error(exc) from exc
        self.size_bytes += len(framed)
        self.crc = crc32c.crc32c(framed, self.crc)
        self._marked_durable_to = durable_to
        position = self.written + len(framed)
        try:
            on_written(position)
        except BaseException:
            self._fail()  # the log holds rows that memory does not know
            raise
        with self._condition:
            self.written = position
        return position

    def _undo_partial_write(self) -> None:
        try:
            os.ftruncate(self._descriptor, self.size_bytes)
        except OSError:
            self._fail()

    def _durable_to(self) -> int:
        """Return the offset in the open segment that is known synced."""
        return SEGMENT_HEADER.size + max(0, self.durable - self._segment_start)

    def wait_durable(self, position: int) -> None:
        """Return once everything up to `position` is on the disk. One fdatasync serves all who wait.

        Raises:
            FsyncFailed: the disk refused; nothing after the last durable position may be acknowledged.
        """
        while True:
            with self._condition:
                while self._is_syncing and self.durable < position and not self.failed:
                    self._condition.wait()
                if self.durable >= position:
                    return
                if self.failed:
                    raise FsyncFailed("the log is stopped after a disk error", retry_after_s=5)
                self._is_syncing = True
                target, descriptor = self.written, self._descriptor
            self._sync(descriptor, target)

    def _sync(self, descriptor: int, target: int) -> None:
        try:
            sync_file_descriptor(descriptor)
        except FsyncFailed:
            self._fail()
            raise
        # Rows become visible before anyone who waits for them is told.
        try:
            self.on_durable(target)
        except BaseException:
            self._fail()  # or all who wait would wait for ever
            raise
        with self._condition:
            self.durable = target
            self._is_syncing = False
            self._condition.notify_all()

    def _fail(self) -> None:
        with self._condition:
            self.failed = True
            self._is_syncing = False
            self._condition.notify_all()
        self.on_failure()

    def mark(self) -> int | None:
        """Write down how far the log is durable, once it has fallen idle; return the position to wait for, if any."""
        if self.durable < self.written or self._durable_to() <= max(self._marked_durable_to, SEGMENT_HEADER.size):
            return None
        position = self._write(RecordKind.MARKER, b"")
        # The marker needs no marker of its own: what it promises lies before it.
        self._marked_durable_to = self.size_bytes
        return position

    def seal(self) -> tuple[int, int]:
        """Close the open segment with a footer and open the next; return (number, checksum) of the sealed one.

        A disk without room for the next segment does not undo the footer: the following append tries again.

        Raises:
            StorageFull, Unavailable: no footer was written; the segment stays open.
        """
        self.wait_durable(self.written)
        self.wait_durable(self._write(RecordKind.FOOTER, b""))
        sealed = (self.number, self.crc)
        self.close()
        self.number += 1
        self.size_bytes = self.crc = 0
        self._segment_start, self._marked_durable_to = self.written, 0
        with suppress(StorageFull, Unavailable):
            self.open_segment()
        if self.failed:
            raise FsyncFailed("the log is stopped after a disk error", retry_after_s=5)
        return sealed

    def close(self) -> None:
        """Let go of the open segment once no sync is running; nothing may be appended or waited for any more."""
        with self._condition:
            while self._is_syncing:
                self._condition.wait()
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def discard_open_segment(self) -> None:
        """Remove the open segment, which must hold no rows: a clean stop leaves no log behind."""
        self.close()
        remove_file(segment_path(self.log_dir, self.number))


def iter_intact_records(content: memoryview) -> Iterator[tuple[int, int, int, int]]:
    """Yield (offset, end, kind, durable_to) of every intact record, stepping over damage."""
    magic = RECORD_MAGIC.to_bytes(4, "little")
    whole = bytes(content)
    position = whole.find(magic)
    while position >= 0:
        found = _valid_record(content, position)
        if found is None:
            position = whole.find(magic, position + 1)
            continue
        yield position, found[2], found[0], found[1]
        position = whole.find(magic, found[2])
