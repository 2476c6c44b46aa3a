"""Foreign files as chunks of rows, by suffix: CSV, NDJSON (both also .gz or .zst), Parquet."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from gaugehouse.errors import Refused, Unreadable, UnsupportedFormat
from gaugehouse.ingest.file_mapping import ColumnMapping, resolve_columns
from gaugehouse.ingest.flaws import shown

NULL_TEXTS = ["", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "#N/A"]
NUMBER_TEXT = r"^\s*([+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[Tt]rue|TRUE|[Ff]alse|FALSE)\s*$"
COMPRESSED_SUFFIXES = frozenset({".gz", ".zst"})
CSV_SUFFIXES = frozenset({".csv", ".tsv", ".txt"})
NDJSON_SUFFIXES = frozenset({".ndjson", ".jsonl"})
PARQUET_SUFFIXES = frozenset({".parquet", ".pq"})
NUMERIC_SHARE = 0.9  # of the filled cells
BLOCK_BYTES = 4 * 1024 * 1024  # of text that is parsed at once
SAMPLE_BYTES = 256 * 1024
PARQUET_CHUNK_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows of a file.

    Args:
        rows: The columns that are read (all, for text files). Numbers of a CSV are still text.
        schema: All columns of the file, with the types that they mean: numbers of a CSV are float64 here.
    """

    rows: pa.Table
    schema: pa.Schema


def read_chunks(path: Path, mapping: ColumnMapping) -> Iterator[Chunk]:
    """Yield the rows of a file in bounded memory.

    Raises:
        UnsupportedFormat: The suffix is not known.
        Unreadable: The file is empty or not what its suffix says. Errors of pyarrow and of the system come as they are.
    """
    suffix = _meaning_suffix(path)
    if suffix in PARQUET_SUFFIXES:
        yield from _read_parquet(path, mapping)
    elif suffix in CSV_SUFFIXES:
        yield from _read_csv(path)
    elif suffix in NDJSON_SUFFIXES:
        yield from _read_ndjson(path)
    else:
        raise UnsupportedFormat(f"files that end with {shown(suffix)} are not read; .csv, .ndjson and .parquet are")


def count_rows_hint(path: Path) -> int | None:
    """Return about how many rows a file has (exact for Parquet), None where only reading it would tell."""
    try:
        if _meaning_suffix(path) in PARQUET_SUFFIXES:
            return int(pq.read_metadata(path).num_rows)
        if path.suffix.lower() in COMPRESSED_SUFFIXES:
            return None
        with path.open("rb") as file:
            sample = file.read(SAMPLE_BYTES)
        lines = sample.count(b"\n")
        return path.stat().st_size * lines // len(sample) if lines else None
    except (pa.ArrowException, OSError):
        return None


def _meaning_suffix(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return next((suffix for suffix in reversed(suffixes) if suffix not in COMPRESSED_SUFFIXES), "")


def _read_parquet(path: Path, mapping: ColumnMapping) -> Iterator[Chunk]:
    with pq.ParquetFile(path, pre_buffer=False) as file:
        schema = file.schema_arrow
        roots = {leaf.path[0] for leaf in resolve_columns(schema, mapping).used_leaves()}
        names = [name for name in schema.names if name in roots]
        for batch in file.iter_batches(batch_size=PARQUET_CHUNK_ROWS, columns=names):
            yield Chunk(pa.Table.from_batches([batch]), schema)


def _open(path: Path) -> Any:
    return pa.input_stream(str(path), compression="detect")


def _read_csv(path: Path) -> Iterator[Chunk]:
    with _open(path) as stream:
        header, delimiter = _read_header(stream.read(SAMPLE_BYTES).decode("utf-8-sig", errors="replace"))
    schema: pa.Schema | None = None
    with _open(path) as stream:
        reader = arrow_csv.open_csv(
            stream,
            read_options=arrow_csv.ReadOptions(block_size=BLOCK_BYTES),
            parse_options=arrow_csv.ParseOptions(delimiter=delimiter),
            # Everything as text: a cell that is no number can then be named by its row.
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.string()),
                null_values=NULL_TEXTS,
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
        for batch in reader:
            rows = pa.Table.from_batches([batch])
            schema = schema if schema is not None else _meant_schema(rows)
            yield Chunk(rows, schema)


def _read_header(sample: str) -> tuple[list[str], str]:
    first_line = sample.split("\n", 1)[0]
    delimiter = max(",;\t|", key=first_line.count)
    header = next(csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter), [])
    if not header:
        raise Unreadable("the file is empty")
    repeated = [name for position, name in enumerate(header) if name in header[:position]]
    if repeated:
        raise Refused(f"the column {shown(repeated[0])} is given twice", code="duplicate_column")
    return header, delimiter


def _meant_schema(rows: pa.Table) -> pa.Schema:
    # The first block decides; a text among numbers, or further down, is a bad row and named as one.
    return pa.schema(
        [pa.field(name, pa.float64() if _looks_numeric(rows[name]) else pa.string()) for name in rows.column_names]
    )


def _looks_numeric(column: pa.ChunkedArray) -> bool:
    share = pc.mean(pc.match_substring_regex(column, NUMBER_TEXT)).as_py()
    return share is None or bool(share >= NUMERIC_SHARE)  # None: nothing but nulls so far


def _read_ndjson(path: Path) -> Iterator[Chunk]:
    with _open(path) as stream:
        rest = b""
        while block := stream.read(BLOCK_BYTES):
            whole, newline, rest = (rest + block).rpartition(b"\n")
            if newline:
                yield from _parse_lines(whole)
        yield from _parse_lines(rest)


def _parse_lines(lines: bytes) -> Iterator[Chunk]:
    if not lines.strip():
        return
    try:
        rows = pl.read_ndjson(lines, infer_schema_length=None).to_arrow()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as exc:
        raise Unreadable("a line of the file is not a JSON object") from exc
    yield Chunk(rows, rows.schema)
