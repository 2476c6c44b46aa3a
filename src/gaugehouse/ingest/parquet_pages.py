"""The footer and the pages of a Parquet file, read from their Thrift headers before pyarrow decodes any value.

A footer may lie: a reader allocates what the page header claims (up to 2 GiB a page), and a delta-encoded text page can
unfold to thousands of times its size. pyarrow's own view of a column chunk must not be asked: `row_group.column()`
ended the process on a damaged footer (pyarrow 26.0.1: an exception of C++ that nobody catches).
Layout: parquet-format, parquet.thrift `FileMetaData` and `PageHeader`; Thrift compact protocol.
"""

import struct
from dataclasses import dataclass

from gaugehouse.errors import Refused, TooLarge, Unreadable

MAGIC = b"PAR1"
TAIL_BYTES = 8  # length of the footer and the magic word
FOOTER_LIMIT_BYTES = 1 << 20  # 1,000 row groups of 5 columns take half of it
PAGES_LIMIT = 20_000  # each is a header to read: 0.4 s
# Of the footer, and of all page headers: 1,000 row groups of 5 columns, and as many pages as may be, have 300,000 each.
# A list of ten million numbers would take ten seconds, and every page of every column may begin at the same one.
VALUES_LIMIT = 1_000_000

# Thrift compact protocol type codes.
TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
NESTING_LIMIT = 12  # FileMetaData nests seven deep

# Field numbers of parquet.thrift.
FILE_ROW_GROUPS = 4
GROUP_COLUMNS, GROUP_ROWS = 1, 3
CHUNK_FILE_PATH, CHUNK_META = 1, 3
META_TYPE, META_SIZE, META_DATA_OFFSET, META_DICTIONARY_OFFSET = 1, 7, 9, 11
BYTE_ARRAY_TYPE = 6
PAGE_UNCOMPRESSED_SIZE, PAGE_COMPRESSED_SIZE = 2, 3
DATA_HEADER, DICTIONARY_HEADER, DATA_HEADER_V2 = 5, 7, 8
ENCODING_FIELD = {DATA_HEADER: 2, DICTIONARY_HEADER: 2, DATA_HEADER_V2: 4}
# PLAIN, PLAIN_DICTIONARY, RLE, RLE_DICTIONARY, and for numbers DELTA_BINARY_PACKED and BYTE_STREAM_SPLIT.
TEXT_ENCODINGS = frozenset({0, 2, 3, 8})
NUMBER_ENCODINGS = TEXT_ENCODINGS | {5, 9}

Fields = dict[int, object]


class _Budget:
    """How many values may still be read."""

    def __init__(self) -> None:
        self.left = VALUES_LIMIT

    def spend(self, values: int) -> None:
        self.left -= values
        if self.left < 0:
            raise TooLarge(f"the headers of the Parquet file hold more than {VALUES_LIMIT} values")


class _Thrift:
    """A position in bytes of the Thrift compact protocol."""

    def __init__(self, source: bytes, at: int, budget: _Budget) -> None:
        self.source = source
        self.at = at
        self._budget = budget

    def byte(self) -> int:
        if not 0 <= self.at < len(self.source):
            raise Unreadable("a Parquet header ends early")
        self.at += 1
        return self.source[self.at - 1]

    def varint(self) -> int:
        found = 0
        for shift in range(0, 70, 7):
            byte = self.byte()
            found |= (byte & 0x7F) << shift
            if byte < 0x80:
                return found
        raise Unreadable("a Parquet header holds a number that is too long")

    def zigzag(self) -> int:
        found = self.varint()
        return (found >> 1) ^ -(found & 1)

    def struct(self, depth: int = 0) -> Fields:
        """Return field number -> integer, struct, list, or True for what is only skipped."""
        if depth > NESTING_LIMIT:
            raise Unreadable("a Parquet header is nested too deeply")
        fields: Fields = {}
        number = 0
        while header := self.byte():
            number = number + (header >> 4) if header >> 4 else self.zigzag()
            kind = header & 0x0F
            if number in fields:
                raise Unreadable("a Parquet header repeats a field")
            self._budget.spend(1)
            fields[number] = kind == TRUE if kind in {TRUE, FALSE} else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> object:
        if kind in {I16, I32, I64}:
            return self.zigzag()
        if kind == STRUCT:
            return self.struct(depth + 1)
        if kind in {LIST, SET}:
            header = self.byte()
            size = header >> 4 if header >> 4 < 15 else self.varint()
            if size > len(self.source) - self.at:  # each element takes a byte at least
                raise Unreadable("a Parquet header ends early")
            self._budget.spend(size)
            return [self._value(header & 0x0F, depth + 1) for _ in range(size)]
        if kind == BINARY:
            length = self.varint()  # moves the position too: not to be folded into the next line
            self.at += length
        elif kind in {BYTE, TRUE, FALSE, DOUBLE}:
            self.at += 8 if kind == DOUBLE else 1
        else:  # maps do not occur in parquet.thrift
            raise Unreadable("a Parquet header holds a value of an unknown type")
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Where the pages of one column of one row group lie."""

    start: int
    end: int
    is_text: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RowGroup:
    """Rows and column chunks of one row group."""

    row_count: int
    chunks: tuple[Chunk, ...]


def read_row_groups(body: bytes) -> list[RowGroup]:
    """Return the row groups that the footer of a Parquet file names; an empty one has no chunks.

    Raises:
        Unreadable: No Parquet file, or a broken footer.
        TooLarge: A footer over the limit.
        Refused: A column lies in another file.
    """
    if len(body) < TAIL_BYTES + len(MAGIC) or not body.startswith(MAGIC) or not body.endswith(MAGIC):
        raise Unreadable("the payload is not a Parquet file")
    (footer_bytes,) = struct.unpack("<I", body[-TAIL_BYTES:-4])
    start = len(body) - TAIL_BYTES - footer_bytes
    if start < len(MAGIC):
        raise Unreadable("the footer of the Parquet file is longer than the file")
    if footer_bytes > FOOTER_LIMIT_BYTES:
        raise TooLarge(f"the footer has {footer_bytes} bytes, at most {FOOTER_LIMIT_BYTES} are read")
    footer = _Thrift(body[:-TAIL_BYTES], start, _Budget()).struct()
    return [_row_group(fields, len(body)) for fields in _structs(footer, FILE_ROW_GROUPS)]


def _row_group(fields: Fields, size_bytes: int) -> RowGroup:
    row_count = _number(fields, GROUP_ROWS)
    # The offsets of empty row groups mean nothing; nobody reads those groups.
    chunks = _structs(fields, GROUP_COLUMNS) if row_count else []
    return RowGroup(row_count=row_count, chunks=tuple(_chunk(chunk, size_bytes) for chunk in chunks))


def _chunk(fields: Fields, size_bytes: int) -> Chunk:
    if CHUNK_FILE_PATH in fields:
        raise Refused("a column of the Parquet file lies in another file", code="unsupported_parquet")
    meta = fields.get(CHUNK_META)
    if not isinstance(meta, dict):
        raise Unreadable("a Parquet column has no description")
    start = _number(meta, META_DATA_OFFSET)
    if META_DICTIONARY_OFFSET in meta:
        dictionary_at = _number(meta, META_DICTIONARY_OFFSET)
        start = min(start, dictionary_at) if dictionary_at else start
    end = start + _number(meta, META_SIZE)
    if not 0 < start <= end <= size_bytes:
        raise Unreadable("a Parquet column lies outside its file")
    return Chunk(start=start, end=end, is_text=meta.get(META_TYPE) == BYTE_ARRAY_TYPE)


def _structs(fields: Fields, number: int) -> list[Fields]:
    found = fields.get(number)
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise Unreadable("the footer of the Parquet file is broken")
    return found


def _number(fields: Fields, number: int) -> int:
    found = fields.get(number)
    if isinstance(found, bool) or not isinstance(found, int) or found < 0:
        raise Unreadable("a Parquet header lacks a size")
    return found


def check_pages(body: bytes, groups: list[RowGroup], *, decoded_limit_bytes: int) -> None:
    """Refuse a file whose pages claim to decode to more than the limit, or use encodings that unfold.

    Raises:
        Unreadable: A page header is broken.
        Refused: A page uses an encoding that is not read.
        TooLarge: The pages claim more bytes than the limit.
    """
    claimed_bytes, pages, budget = 0, 0, _Budget()
    for chunk in (chunk for group in groups for chunk in group.chunks):
        at = chunk.start
        while at < chunk.end:
            thrift = _Thrift(body, at, budget)
            header = thrift.struct()
            claimed_bytes += _number(header, PAGE_UNCOMPRESSED_SIZE)
            at = thrift.at + _number(header, PAGE_COMPRESSED_SIZE)
            pages += 1
            if claimed_bytes > decoded_limit_bytes or pages > PAGES_LIMIT:
                raise TooLarge(f"the file decodes to more than {decoded_limit_bytes} bytes")
            _check_encodings(header, TEXT_ENCODINGS if chunk.is_text else NUMBER_ENCODINGS)
        if at != chunk.end:
            raise Unreadable("a Parquet page goes beyond its column")


def _check_encodings(header: Fields, allowed: frozenset[int]) -> None:
    for number, encoding_field in ENCODING_FIELD.items():
        inner = header.get(number)
        if isinstance(inner, dict) and _number(inner, encoding_field) not in allowed:
            raise Refused(
                "a column uses a Parquet encoding that is not read here; write PLAIN or dictionary encoding",
                code="unsupported_parquet",
            )
