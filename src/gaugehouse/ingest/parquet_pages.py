"""The pages of a Parquet file, read from their own headers before pyarrow decodes any.

A footer may lie: a reader allocates what the page header claims (up to 2 GiB a page), and a delta-encoded text page can
unfold to thousands of times its size. Layout: parquet-format, parquet.thrift `PageHeader`, Thrift compact protocol.
"""

from dataclasses import dataclass

import pyarrow.parquet as pq

from gaugehouse.errors import Refused, TooLarge, Unreadable

# Thrift compact protocol type codes.
TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
NESTING_LIMIT = 8  # a page header nests three deep
PAGES_LIMIT = 100_000

# Field numbers of PageHeader and of the headers inside it, parquet.thrift.
UNCOMPRESSED_SIZE, COMPRESSED_SIZE = 2, 3
DATA_HEADER, DICTIONARY_HEADER, DATA_HEADER_V2 = 5, 7, 8
ENCODING_FIELD = {DATA_HEADER: 2, DICTIONARY_HEADER: 2, DATA_HEADER_V2: 4}
# PLAIN, PLAIN_DICTIONARY, RLE, RLE_DICTIONARY, and for numbers DELTA_BINARY_PACKED and BYTE_STREAM_SPLIT.
TEXT_ENCODINGS = frozenset({0, 2, 3, 8})
NUMBER_ENCODINGS = TEXT_ENCODINGS | {5, 9}


class _Thrift:
    """A position in bytes of the Thrift compact protocol."""

    def __init__(self, source: bytes, at: int) -> None:
        self.source = source
        self.at = at

    def byte(self) -> int:
        if not 0 <= self.at < len(self.source):
            raise Unreadable("a Parquet page header ends early")
        self.at += 1
        return self.source[self.at - 1]

    def varint(self) -> int:
        found = 0
        for shift in range(0, 70, 7):
            byte = self.byte()
            found |= (byte & 0x7F) << shift
            if byte < 0x80:
                return found
        raise Unreadable("a Parquet page header holds a number that is too long")

    def zigzag(self) -> int:
        found = self.varint()
        return (found >> 1) ^ -(found & 1)

    def struct(self, depth: int = 0) -> dict[int, object]:
        """Return field number -> integer or struct; other types are skipped."""
        if depth > NESTING_LIMIT:
            raise Unreadable("a Parquet page header is nested too deeply")
        fields: dict[int, object] = {}
        number = 0
        while header := self.byte():
            number = number + (header >> 4) if header >> 4 else self.zigzag()
            fields[number] = self._value(header & 0x0F, depth)
        return fields

    def _value(self, kind: int, depth: int) -> object:
        if kind in {TRUE, FALSE}:
            return None
        if kind in {I16, I32, I64}:
            return self.zigzag()
        if kind == STRUCT:
            return self.struct(depth + 1)
        if kind == BINARY:
            length = self.varint()  # moves the position too: not to be folded into the next line
            self.at += length
        elif kind in {BYTE, DOUBLE}:
            self.at += 1 if kind == BYTE else 8
        else:  # lists, sets and maps do not occur in page headers
            raise Unreadable("a Parquet page header holds a value of an unknown type")
        return None


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Where the pages of one column chunk lie."""

    start: int
    end: int
    is_text: bool


def find_filled_groups(footer: pq.FileMetaData) -> list[int]:
    """Return the row groups with rows; the offsets of empty ones mean nothing, so they are neither checked nor read."""
    return [group for group in range(footer.num_row_groups) if footer.row_group(group).num_rows > 0]


def _find_chunks(footer: pq.FileMetaData, size_bytes: int) -> list[_Chunk]:
    chunks = []
    for group in find_filled_groups(footer):
        row_group = footer.row_group(group)
        for position in range(row_group.num_columns):
            column = row_group.column(position)
            start = column.data_page_offset
            if column.has_dictionary_page and column.dictionary_page_offset is not None:
                start = min(start, column.dictionary_page_offset) if column.dictionary_page_offset > 0 else start
            end = start + column.total_compressed_size
            if not 0 < start <= end <= size_bytes:
                raise Unreadable("a Parquet column lies outside its file")
            chunks.append(_Chunk(start, end, column.physical_type == "BYTE_ARRAY"))
    return chunks


def check_pages(body: bytes, footer: pq.FileMetaData, *, decoded_limit_bytes: int) -> None:
    """Refuse a file whose pages claim to decode to more than the limit, or use encodings that unfold.

    Raises:
        Unreadable: A page header is broken.
        Refused: A page uses an encoding that is not read.
        TooLarge: The pages claim more bytes than the limit.
    """
    claimed, pages = 0, 0
    for chunk in _find_chunks(footer, len(body)):
        at = chunk.start
        while at < chunk.end:
            thrift = _Thrift(body, at)
            header = thrift.struct()
            claimed += _checked_size(header, UNCOMPRESSED_SIZE)
            at = thrift.at + _checked_size(header, COMPRESSED_SIZE)
            pages += 1
            if claimed > decoded_limit_bytes or pages > PAGES_LIMIT:
                raise TooLarge(f"the file decodes to more than {decoded_limit_bytes} bytes")
            _check_encodings(header, TEXT_ENCODINGS if chunk.is_text else NUMBER_ENCODINGS)
        if at != chunk.end:
            raise Unreadable("a Parquet page goes beyond its column")


def _checked_size(header: dict[int, object], field: int) -> int:
    size = header.get(field)
    if not isinstance(size, int) or size < 0:
        raise Unreadable("a Parquet page header has no size")
    return size


def _check_encodings(header: dict[int, object], allowed: frozenset[int]) -> None:
    for number, encoding_field in ENCODING_FIELD.items():
        inner = header.get(number)
        if isinstance(inner, dict) and inner.get(encoding_field, 0) not in allowed:
            raise Refused(
                "a column uses a Parquet encoding that is not read here; write PLAIN or dictionary encoding",
                code="unsupported_parquet",
            )
