"""Text payloads: encoding and line lengths, before any parser sees them."""

import codecs

import numpy as np

from gaugehouse.errors import TooLarge, Unreadable

NEWLINE, QUOTE, COMMA = 10, 34, 44
STEP_BYTES = 64 * 1024


def read_utf8(body: bytes) -> bytes:
    """Return a UTF-8 payload without its byte order mark (accepted in every text format: spreadsheets write one).

    Raises:
        Unreadable: The bytes are not UTF-8.
    """
    if body.isascii():  # ten times as fast as decoding
        return body
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise Unreadable(f"the payload is not UTF-8 at byte {exc.start}") from exc
    return body.removeprefix(codecs.BOM_UTF8)


def check_line_lengths(body: bytes, line_limit_bytes: int) -> None:
    """Refuse a payload with a longer line, before a parser buffers it.

    Raises:
        TooLarge: A line is longer than the limit.
    """
    ends = np.flatnonzero(np.frombuffer(body, dtype=np.uint8) == NEWLINE)
    lengths = np.diff(ends, prepend=-1, append=len(body)) - 1
    if lengths.max() > line_limit_bytes:
        line = int(lengths.argmax())
        raise TooLarge(f"line {line + 1} has {lengths[line]} bytes, at most {line_limit_bytes} are allowed")


def check_commas(body: bytes, comma_limit: int, row_limit: int) -> None:
    """Refuse JSON with more commas between values than so many rows can have, before a parser sees it.

    Raises:
        TooLarge: There are more.
    """
    # Counted at a gigabyte a second; names may have commas too, so what looks too much is looked at more closely.
    if len(body) > comma_limit and body.count(b",") > comma_limit and _count_bare_commas(body) > comma_limit:
        raise refuse_rows(row_limit)


def _count_bare_commas(body: bytes) -> int:
    """Return the number of commas of a JSON payload that are not in texts."""
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in body else body
    letters = np.frombuffer(plain, dtype=np.uint8)
    count, is_inside = 0, False
    for start in range(0, letters.size, STEP_BYTES):
        part = letters[start : start + STEP_BYTES]
        quotes = np.cumsum(part == QUOTE, dtype=np.uint8)  # only whether it is even counts, so it may overflow
        inside = (quotes & 1).astype(bool) ^ is_inside
        count += int(np.count_nonzero((part == COMMA) & ~inside))
        is_inside = bool(inside[-1])
    return count


def refuse_rows(row_limit: int) -> TooLarge:
    """Return the refusal of a delivery with too many rows."""
    return TooLarge(f"more than {row_limit} rows in one delivery; send smaller ones", code="too_many_rows")
