"""Text payloads: encoding and line lengths, before any parser sees them."""

import codecs

import numpy as np

from gaugehouse.errors import TooLarge, Unreadable
from gaugehouse.ingest.limits import Limits

NEWLINE, QUOTE, COMMA = 10, 34, 44
STEP_BYTES = 64 * 1024
# Blank lines are skipped, a tenth of a microsecond each, and bodies of events may have newlines in quotes.
LINES_PER_ROW, SPARE_LINES = 20, 1000


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


def check_lines(body: bytes, limits: Limits) -> None:
    """Refuse a payload with a longer line, or very many empty ones, before a parser buffers or reads them.

    Raises:
        TooLarge: A line is longer than the limit, or there are more than any number of rows needs.
    """
    letters = np.frombuffer(body, dtype=np.uint8)
    begin, line = 0, 1  # of the line that a step begins in
    lines_limit = LINES_PER_ROW * limits.rows_limit + SPARE_LINES
    for start in range(0, letters.size, STEP_BYTES):  # all at once, ten million newlines would take 240 MB
        ends = np.flatnonzero(letters[start : start + STEP_BYTES] == NEWLINE) + start
        lengths = np.diff(ends, prepend=begin - 1) - 1
        if lengths.max(initial=0) > limits.line_limit_bytes:
            longest = int(lengths.argmax())
            raise _too_long(line + longest, int(lengths[longest]), limits.line_limit_bytes)
        if ends.size:
            begin, line = int(ends[-1]) + 1, line + ends.size
        if line > lines_limit:
            raise TooLarge(f"more than {lines_limit} lines in one delivery", code="too_many_lines")
    if letters.size - begin > limits.line_limit_bytes:
        raise _too_long(line, letters.size - begin, limits.line_limit_bytes)


def _too_long(line: int, size_bytes: int, limit_bytes: int) -> TooLarge:
    return TooLarge(f"line {line} has {size_bytes} bytes, at most {limit_bytes} are allowed")


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
