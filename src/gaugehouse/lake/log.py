"""The write-ahead log: append-only segments of checksummed records, fsynced before anything is acknowledged."""

import os
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import crc32c

from gaugehouse.errors import StorageFull, Unavailable
from gaugehouse.lake.durable import (
    FsyncFailed,
    remove_file,
    storage_error,
    sync_file_descriptor,
    sync_path,
    write_all,
)
from gaugehouse.lake.segments import (
    SEGMENT_HEADER,
    SEGMENT_MAGIC,
    LogRecord,
    RecordKind,
    encode_record,
    frame,
    segment_path,
)


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
    on_synced: Callable[[float], None] = lambda _duration_s: None
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
        return self._write(RecordKind.ROWS, encode_record(record), on_written)

    def _write(self, kind: RecordKind, payload: bytes, on_written: Callable[[int], None] = _nothing) -> int:
        if self.failed:
            raise FsyncFailed("the log is stopped after a disk error", retry_after_s=5)
        if self._descriptor < 0:
            self.open_segment()  # there was no room for it when the last one was sealed
        durable_to = self._durable_to()
        framed = frame(kind, durable_to, payload)
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
        started_s = time.perf_counter()
        try:
            sync_file_descriptor(descriptor)
        except FsyncFailed:
            self._fail()
            raise
        self.on_synced(time.perf_counter() - started_s)
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
