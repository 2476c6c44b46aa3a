"""Log segments as files: their records, and what a start believes of them.

A segment file is `<number>.seg`: a header (magic, log uuid, number), then records. A record is

    magic u32 | crc32c u32 | length u32 | kind u8 | durable_to u64 | payload

with the checksum over everything behind it. `durable_to` is the offset in this segment that was known synced when the
record was written, so at start a bad record can be told apart: below the largest durable_to it is damage (something
synced has changed), above it is the torn tail of a power cut, which nobody was promised.
"""

import os
import struct
import uuid
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import crc32c
import msgspec

from gaugehouse.errors import DamageFound
from gaugehouse.lake.durable import make_folder, sync_file_descriptor, sync_path, write_all, write_file

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


class KeyedAnswer(msgspec.Struct, array_like=True, frozen=True):
    """What the sender of a delivery with an Idempotency-Key was told.

    Args:
        key: Digest of project, route and key.
        fingerprint: SHA-256 of the request's body.
        status: HTTP status.
        body: Of the answer.
        answered_at_us: Microseconds since 1970 UTC. [us]
    """

    key: bytes
    fingerprint: bytes
    status: int
    body: bytes
    answered_at_us: int


class LogRecord(msgspec.Struct, array_like=True, frozen=True):
    """The payload of a ROWS record: accepted rows of one project, stamped with one received_at.

    Fields are only ever added at the end, each with a default: older records lack them.

    Args:
        received_at_us: Microseconds since 1970 UTC. [us]
        project: Slug.
        measurements: Arrow IPC stream of MEASUREMENT_BATCH, empty for none.
        events: Arrow IPC stream of EVENT_BATCH, empty for none.
        answers: What senders with an Idempotency-Key were told; a record may hold nothing else.
    """

    received_at_us: int
    project: str
    measurements: bytes = b""
    events: bytes = b""
    answers: tuple[KeyedAnswer, ...] = ()


def body_of(record: LogRecord, table: str) -> bytes:
    """Return a record's rows of a table as Arrow IPC, empty for none."""
    return {"measurements": record.measurements, "events": record.events}[table]


encode_record = msgspec.msgpack.Encoder().encode
encode_answer = msgspec.msgpack.Encoder().encode
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
    """Return the identity of this log, made with its folder and never again.

    Raises:
        DamageFound: it is there and cannot be read.
    """
    path = log_dir / "uuid"
    if path.exists():
        try:
            return uuid.UUID(path.read_bytes().decode("ascii").strip())
        except ValueError as exc:
            what = (
                "the identity of the log cannot be read. Nothing was changed. `gaugehouse lake repair` brings it back"
            )
            raise DamageFound(what) from exc
    log_uuid = uuid.uuid4()
    write_file(path, f"{log_uuid}\n".encode())
    return log_uuid


def segment_uuid(path: Path) -> str | None:
    """Return the identity of the log that a segment says it is of, None when its header is damaged."""
    with path.open("rb") as file:
        head = file.read(SEGMENT_HEADER.size)
    if len(head) < SEGMENT_HEADER.size or not head.startswith(SEGMENT_MAGIC):
        return None
    return str(uuid.UUID(bytes=SEGMENT_HEADER.unpack(head)[1]))


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
    return max((durable_to for *_where, durable_to in iter_intact_records(content, offset + 1)), default=0)


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
    footer = frame(RecordKind.FOOTER, scan.valid_bytes, b"")
    with scan.path.open("ab", buffering=0) as file:
        sync_file_descriptor(file.fileno())
        write_all(file.fileno(), footer)
        sync_file_descriptor(file.fileno())
    return crc32c.crc32c(footer, scan.crc)


def frame(kind: RecordKind, durable_to: int, payload: bytes) -> bytes:
    body = RECORD_HEADER.pack(0, 0, len(payload), kind, durable_to)[CHECKED_FROM:] + payload
    return struct.pack("<II", RECORD_MAGIC, crc32c.crc32c(body)) + body


def iter_intact_records(content: memoryview, offset: int = 0) -> Iterator[tuple[int, int, int, int]]:
    """Yield (offset, end, kind, durable_to) of every intact record from `offset` on, stepping over damage."""
    magic = RECORD_MAGIC.to_bytes(4, "little")
    whole = bytes(content)
    position = whole.find(magic, offset)
    while position >= 0:
        found = _valid_record(content, position)
        if found is None:
            position = whole.find(magic, position + 1)
            continue
        yield position, found[2], found[0], found[1]
        position = whole.find(magic, found[2])


def intact_segment(
    content: bytes, *, log_uuid: bytes, number: int, committed: Collection[str] = ()
) -> tuple[bytes, int, int]:
    """Return (a sealed segment of the intact records, how many deliveries it holds, bytes that were intact).

    Rows of tables to which the segment is committed already are left out: it is not the one any more that was.
    """
    view = memoryview(content)
    records = list(iter_intact_records(view))
    nothing = dict.fromkeys(committed, b"")
    payloads = [
        encode_record(msgspec.structs.replace(_decode_record(view[start + RECORD_HEADER.size : end]), **nothing))
        for start, end, kind, _durable_to in records
        if kind == RecordKind.ROWS
    ]
    mended = SEGMENT_HEADER.pack(SEGMENT_MAGIC, log_uuid, number)
    mended += b"".join(frame(RecordKind.ROWS, 0, payload) for payload in payloads)
    mended += frame(RecordKind.FOOTER, len(mended), b"")
    has_header = content.startswith(SEGMENT_HEADER.pack(SEGMENT_MAGIC, log_uuid, number))
    intact_bytes = sum(end - start for start, end, *_rest in records) + SEGMENT_HEADER.size * has_header
    return mended, len(payloads), intact_bytes
