"""The outside of an Arrow IPC stream, read from its flatbuffer headers before pyarrow decodes anything.

pyarrow allocates what a compressed buffer claims to hold (zstd: 30,000 times its size) and appends dictionary deltas
before anyone can validate them; both are visible here. Layout: Arrow columnar format, "IPC streaming format".
"""

import struct
from dataclasses import dataclass

from gaugehouse.errors import Refused, TooLarge, Unreadable

CONTINUATION = 0xFFFFFFFF
SCHEMA, DICTIONARY_BATCH, RECORD_BATCH = 1, 2, 3
# Field positions in Message.fbs and Schema.fbs.
MESSAGE_HEADER_TYPE, MESSAGE_HEADER, MESSAGE_BODY_LENGTH = 1, 2, 3
DICTIONARY_DATA, DICTIONARY_IS_DELTA = 1, 2
BATCH_BUFFERS, BATCH_COMPRESSION = 2, 3
SCHEMA_ENDIANNESS = 0
STORED_AS_IS = -1
BUFFER_STRUCT_BYTES = 16
VALIDATION_FACTOR = 16  # each batch validates its dictionaries again: bounded to this many decoded limits


@dataclass(frozen=True, slots=True)
class _Table:
    """A flatbuffer table at a position of some bytes."""

    flat: bytes
    at: int

    def _field_at(self, number: int) -> int | None:
        vtable = self.at - _read("<i", self.flat, self.at)
        entry = 4 + 2 * number
        if entry + 2 > _read("<H", self.flat, vtable):
            return None
        offset = _read("<H", self.flat, vtable + entry)
        return self.at + offset if offset else None

    def scalar(self, number: int, layout: str) -> int:
        at = self._field_at(number)
        return 0 if at is None else _read(layout, self.flat, at)

    def table(self, number: int) -> "_Table | None":
        at = self._field_at(number)
        return None if at is None else _Table(self.flat, at + _read("<I", self.flat, at))

    def vector(self, number: int) -> tuple[int, int]:
        """Return position of the first element and number of elements."""
        at = self._field_at(number)
        if at is None:
            return 0, 0
        start = at + _read("<I", self.flat, at)
        return start + 4, _read("<I", self.flat, start)


def _read(layout: str, source: bytes, at: int) -> int:
    if at < 0:
        raise Unreadable("the payload is not a sound Arrow IPC stream")
    found: int = struct.unpack_from(layout, source, at)[0]
    return found


def check_framing(body: bytes, *, decoded_limit_bytes: int, batches_limit: int) -> None:
    """Refuse a stream that would decode to too much, or that uses what is not read.

    Raises:
        Unreadable: The framing is broken or goes on after its end.
        Refused: Dictionary deltas, big-endian data, or other messages than schema, dictionaries and batches.
        TooLarge: More batches, or more decoded bytes, than the limits.
    """
    try:
        _walk(body, decoded_limit_bytes, batches_limit)
    except struct.error as exc:
        raise Unreadable("the payload is not a sound Arrow IPC stream") from exc


def _walk(body: bytes, decoded_limit_bytes: int, batches_limit: int) -> None:
    at, messages, dictionary_bytes, decoded_bytes = 0, 0, 0, 0
    while at < len(body):
        if _read("<I", body, at) != CONTINUATION:
            raise Unreadable("the payload is not an Arrow IPC stream")
        size = _read("<i", body, at + 4)
        at += 8
        if size == 0:
            break
        message = _Table(body[at : at + size], _read("<I", body, at))
        data_at = at + size
        at = data_at + message.scalar(MESSAGE_BODY_LENGTH, "<q")
        if size < 0 or not data_at <= at <= len(body):
            raise Unreadable("the payload ends inside an Arrow message")
        header_type, message_bytes = _check_message(message, body[data_at:at])
        messages += 1
        decoded_bytes += message_bytes
        dictionary_bytes += message_bytes if header_type == DICTIONARY_BATCH else 0
        if messages > batches_limit:
            raise TooLarge(f"more than {batches_limit} batches in one stream; send fewer and larger ones")
        if dictionary_bytes * messages > VALIDATION_FACTOR * decoded_limit_bytes:
            raise TooLarge("too many batches for so large dictionaries; send fewer and larger ones")
        if decoded_bytes > decoded_limit_bytes:
            raise TooLarge(f"the stream decodes to more than {decoded_limit_bytes} bytes")
    if at < len(body):
        raise Unreadable("the payload goes on after the end of its Arrow stream")


def _check_message(message: _Table, data: bytes) -> tuple[int, int]:
    """Return header type and decoded bytes of one message."""
    header_type = message.scalar(MESSAGE_HEADER_TYPE, "<B")
    header = message.table(MESSAGE_HEADER)
    if header is None:
        raise Unreadable("an Arrow message has no header")
    if header_type == SCHEMA:
        if header.scalar(SCHEMA_ENDIANNESS, "<h") != 0:
            raise Refused("big-endian Arrow data is not read", code="unsupported_arrow")
        return header_type, 0
    if header_type == DICTIONARY_BATCH:
        if header.scalar(DICTIONARY_IS_DELTA, "<B"):
            raise Refused("dictionary deltas are not read; send whole dictionaries", code="unsupported_arrow")
        inner = header.table(DICTIONARY_DATA)
        if inner is None:
            raise Unreadable("an Arrow dictionary has no data")
        return header_type, _decoded_bytes(inner, data)
    if header_type == RECORD_BATCH:
        return header_type, _decoded_bytes(header, data)
    raise Refused("only record batches and dictionaries are read from an Arrow stream", code="unsupported_arrow")


def _decoded_bytes(batch: _Table, data: bytes) -> int:
    start, count = batch.vector(BATCH_BUFFERS)
    is_compressed = batch.table(BATCH_COMPRESSION) is not None
    total = 0
    for position in range(start, start + count * BUFFER_STRUCT_BYTES, BUFFER_STRUCT_BYTES):
        offset, length = _read("<q", batch.flat, position), _read("<q", batch.flat, position + 8)
        if offset < 0 or length < 0 or offset + length > len(data):
            raise Unreadable("an Arrow buffer lies outside its message")
        claimed = _read("<q", data, offset) if is_compressed and length else STORED_AS_IS
        if claimed < STORED_AS_IS:
            raise Unreadable("an Arrow buffer claims a negative size")
        total += length if claimed == STORED_AS_IS else claimed
    return total
