"""Rows leave here: Arrow record batches to JSON, NDJSON, CSV, Arrow and Parquet, column by column, batch by batch.

- Instants in JSON, NDJSON and CSV are RFC 3339 in UTC with `Z`; microseconds stand there only when they are not zero,
  then always with six digits (pydantic writes the single values of other answers by the same rule).
- A text cell of a CSV that a spreadsheet would run as a formula is prefixed with `'` (SECURITY: CSV injection).
- No Python object per row: Polars writes 1 M rows/s as NDJSON here; `to_pylist` and `json` managed a thirtieth. A few
  rows, such as the newest values of a component, are the exception: Polars needs 0.7 ms for one row as for a thousand
  and waits for the interpreter's lock meanwhile; msgspec writes 64 rows in that time, with the same values.
"""

import io
from collections.abc import Callable, Iterator, Mapping

import msgspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from starlette.responses import Response, StreamingResponse

from gaugehouse.reports.render.cells import disarm_formulas, write_instants
from gaugehouse.web.negotiate import MEDIA_TYPES, Format

NESTED = "body"  # the column of events that holds canonical JSON text (measurements/schema.py)
ROWS_AT_ONCE = 65_536  # of one JSON chunk: 12 MB of text
FEW_ROWS = 64
PARQUET_ROW_GROUP_ROWS = 131_072  # small enough to leave soon, large enough to compress


def _frame(batch: pa.RecordBatch) -> pl.DataFrame:
    frame = pl.from_arrow(batch)
    assert isinstance(frame, pl.DataFrame)  # noqa: S101  # from_arrow gives a Series for arrays only; narrows the type
    return frame


def _plain_frame(batch: pa.RecordBatch) -> pl.DataFrame:
    """Return the batch with plain text instead of codes: names may be dictionaries on the wire between rooms."""
    return _frame(batch).with_columns(pl.col(pl.Categorical).cast(pl.String))


def encode_ndjson(batch: pa.RecordBatch) -> bytes:
    """Return one JSON object per row and line; a column named `body` holds JSON text and becomes a JSON value."""
    if batch.num_rows <= FEW_ROWS:
        return _encode_few(batch)
    frame = write_instants(_plain_frame(batch))
    text: str = _nest_body(frame) if NESTED in frame.columns else frame.write_ndjson()
    return text.encode()


def _encode_few(batch: pa.RecordBatch) -> bytes:
    """Return the same as Polars does, faster for a few rows."""
    rows = batch.to_pylist()
    if NESTED in batch.schema.names:
        for row in rows:
            row[NESTED] = msgspec.Raw(row[NESTED].encode())
    return b"".join(b"%b\n" % msgspec.json.encode(row) for row in rows)


def _nest_body(frame: pl.DataFrame) -> str:
    """Return NDJSON whose `body` is not a text with JSON in it but the JSON itself."""
    flat = pl.struct(pl.exclude(NESTED)).struct.json_encode().str.head(-1)
    lines = frame.select(pl.concat_str(flat, pl.lit(f',"{NESTED}":'), pl.col(NESTED), pl.lit("}\n"))).to_series()
    return str(lines.str.join("").item())


def _stream_ndjson(batches: Iterator[pa.RecordBatch], _schema: pa.Schema) -> Iterator[bytes]:
    for batch in batches:
        yield encode_ndjson(batch)


def _stream_csv(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[bytes]:
    yield (",".join(schema.names) + "\n").encode()
    for batch in batches:
        frame = disarm_formulas(write_instants(_plain_frame(batch)))
        text: str = frame.write_csv(include_header=False)
        yield text.encode()


def _stream_arrow(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[bytes]:
    sink = _Chunks()
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
            yield sink.take()
    yield sink.take()


def _stream_parquet(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[bytes]:
    sink = _Chunks()
    with pq.ParquetWriter(sink, schema, compression="zstd", write_page_checksum=True) as writer:
        for batch in batches:
            writer.write_batch(batch, row_group_size=PARQUET_ROW_GROUP_ROWS)
            yield sink.take()
    yield sink.take()


class _Chunks(io.RawIOBase):
    """A file that is written at one end and taken away at the other."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        return True

    def write(self, part: object) -> int:
        taken = bytes(memoryview(part))  # type: ignore[arg-type]  # io.RawIOBase says Buffer, which 3.11 cannot name
        self._parts.append(taken)
        self._position += len(taken)
        return len(taken)

    def tell(self) -> int:
        return self._position

    def take(self) -> bytes:
        """Return what was written since the last time."""
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken


_STREAMS: Mapping[Format, Callable[[Iterator[pa.RecordBatch], pa.Schema], Iterator[bytes]]] = {
    Format.NDJSON: _stream_ndjson,
    Format.CSV: _stream_csv,
    Format.ARROW: _stream_arrow,
    Format.PARQUET: _stream_parquet,
}


def _begun(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """Return the batches with the first one already read: what fails at once is still answered as a problem."""
    first = next(reader, None)

    def rest() -> Iterator[pa.RecordBatch]:
        if first is not None:
            yield first
            yield from reader

    return rest()


def stream_rows(
    reader: pa.RecordBatchReader, answer_format: Format, headers: Mapping[str, str] | None = None
) -> Response:
    """Return rows as a streamed answer; memory holds one batch. Call it in a worker thread.

    Args:
        reader: Any schema; read to its end while the answer leaves.
        answer_format: Anything but JSON, whose page wants its cursor: see `page_rows`.
        headers: Extra headers, as made by `link_next`.
    """
    batches = _begun(reader)
    chunks = (chunk for chunk in _STREAMS[answer_format](batches, reader.schema) if chunk)
    return StreamingResponse(chunks, media_type=MEDIA_TYPES[answer_format], headers=headers)


def page_rows(rows: pa.Table, members: Mapping[str, object]) -> Response:
    """Return rows as one JSON object: `{"items": [...], ...members}`; a large one is streamed.

    Args:
        rows: Any schema.
        members: What stands beside the items, such as next_cursor.
    """
    chunks = _write_page(rows, members)
    if rows.num_rows > ROWS_AT_ONCE:
        return StreamingResponse(chunks, media_type=MEDIA_TYPES[Format.JSON])
    return Response(b"".join(chunks), media_type=MEDIA_TYPES[Format.JSON])


def _write_page(rows: pa.Table, members: Mapping[str, object]) -> Iterator[bytes]:
    separator = b'{"items":['
    for batch in rows.to_batches(max_chunksize=ROWS_AT_ONCE):
        if batch.num_rows:
            # A line break inside a text is escaped in NDJSON: the others are between rows.
            yield separator + encode_ndjson(batch).rstrip(b"\n").replace(b"\n", b",")
            separator = b","
    rest = msgspec.json.encode(members)[1:]
    yield (separator if separator != b"," else b"") + b"]" + (b"," if members else b"") + rest


def link_next(url: str, cursor: str | None) -> dict[str, str]:
    """Return the headers that lead to the next page, none on the last.

    Args:
        url: Path and query of the next page, percent-encoded.
        cursor: As in the JSON page's `next_cursor`.
    """
    return {} if cursor is None else {"Link": f'<{url}>; rel="next"', "X-Next-Cursor": cursor}
