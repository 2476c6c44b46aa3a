"""Measurement files of others, long or wide, as batches of ours, in bounded memory.

In the wide form every metric column becomes rows of its own. Null and NaN cells are skipped and counted (in the long
form a null is kept where its quality is bad); booleans are 0 and 1; text columns are skipped with a note.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gaugehouse.errors import MAX_ROWS_NAMED, NotFound, Refused, RowProblem, RowsRefused, Unreadable
from gaugehouse.ingest.check import check_instants, check_names
from gaugehouse.ingest.columns import (
    EXACT_INTEGER_LIMIT,
    Instants,
    Names,
    Numbers,
    names_from_arrow,
    repeated_name,
)
from gaugehouse.ingest.file_mapping import ColumnMapping, Leaf, ResolvedColumns, is_numeric, resolve_columns
from gaugehouse.ingest.file_sources import Chunk, read_chunks
from gaugehouse.ingest.file_times import (
    ClockChanges,
    find_zone,
    instants_from_column,
    instants_from_parts,
    numbers_of_texts,
)
from gaugehouse.ingest.flaws import Flaws, shown
from gaugehouse.ingest.limits import Limits
from gaugehouse.ingest.tables import is_text, qualities_from_column
from gaugehouse.measurements.schema import MEASUREMENT_BATCH, QUALITY_BAD, TIMESTAMP
from gaugehouse.measurements.selection import from_epoch_us

LONGEST_EXACT_CHARS = 40  # of an integer text, spaces included
INTEGER_TEXT = r"^\s*[+-]?\d+\s*$"


@dataclass(slots=True, kw_only=True)
class FileSummary:
    """What was found while reading a file; grows with each batch.

    Args:
        form: `long` or `wide`, once known.
        rows_read: Rows of the file so far.
        measurements: Measurements handed out so far.
        null_cells: Cells that were null or NaN, skipped.
        bad_rows: Rows of the file left out (only with `partial`).
        problems: The first 20 bad cells; rows are 0-based rows of the file.
        skipped_columns: Column -> why it is not read.
        ambiguous_times: Rows whose wall-clock time occurs twice; the first was taken.
        nonexistent_times: Rows whose wall-clock time lies in a gap; read with the offset before it.
        first_at: Earliest instant.
        last_at: Latest instant.
    """

    form: str = ""
    rows_read: int = 0
    measurements: int = 0
    null_cells: int = 0
    bad_rows: int = 0
    problems: list[RowProblem] = field(default_factory=list)
    skipped_columns: dict[str, str] = field(default_factory=dict)
    ambiguous_times: int = 0
    nonexistent_times: int = 0
    first_at: datetime | None = None
    last_at: datetime | None = None


def read_file(
    path: Path,
    mapping: ColumnMapping | None = None,
    *,
    batch_rows: int = 65_536,
    limits: Limits | None = None,
    partial: bool = False,
    summary: FileSummary | None = None,
) -> Iterator[pa.Table]:
    """Yield the measurements of a file as MEASUREMENT_BATCH tables of at most `batch_rows` rows.

    Args:
        path: CSV, NDJSON or Parquet, by its suffix.
        mapping: Which columns are what; guessed where it says nothing.
        batch_rows: Most rows of one batch (but never less than one row of the file).
        limits: Only `future_limit_s` is used.
        partial: Leave bad rows out and count them, instead of ending at the first batch that has one.
        summary: Filled while reading.

    Raises:
        NotFound: There is no such file.
        UnsupportedFormat: The suffix is not known.
        Unreadable: The file is not what its suffix says.
        Refused: Columns cannot be found, or times come without a zone.
        RowsRefused: A row is bad and `partial` is False.
    """
    reading = _Reading(
        mapping=mapping or ColumnMapping(),
        batch_rows=batch_rows,
        limits=limits or Limits(),
        partial=partial,
        summary=summary if summary is not None else FileSummary(),
    )
    try:
        for chunk in read_chunks(path, reading.mapping):
            yield from reading.batches(chunk)
    except FileNotFoundError as exc:
        raise NotFound("the file does not exist") from exc
    except (pa.ArrowException, OSError, UnicodeDecodeError) as exc:
        raise Unreadable("the file is damaged or not what its suffix says") from exc


@dataclass(frozen=True, slots=True)
class _Block:
    """Measurements of some rows of a file: which row each came from, and what it says."""

    source_rows: NDArray[np.intp]
    metric: Names
    value: Numbers
    quality: NDArray[np.uint8]


class _Reading:
    """One pass over one file."""

    def __init__(
        self, *, mapping: ColumnMapping, batch_rows: int, limits: Limits, partial: bool, summary: FileSummary
    ) -> None:
        self.mapping = mapping
        self.batch_rows = batch_rows
        self.limits = limits
        self.partial = partial
        self.summary = summary
        self.changes = ClockChanges(find_zone(mapping.timezone) if mapping.timezone is not None else None)

    def batches(self, chunk: Chunk) -> Iterator[pa.Table]:
        columns = resolve_columns(chunk.schema, self.mapping)
        self.summary.form = "wide" if columns.metric_leaf is None else "long"
        self.summary.skipped_columns.update(columns.skipped)
        step = max(1, self.batch_rows // max(1, len(columns.metric_leaves)))
        for start in range(0, len(chunk.rows), step):
            rows = chunk.rows.slice(start, step).combine_chunks()
            batch = self._batch(rows, columns)
            self.summary.rows_read += len(rows)
            if len(batch):
                self._note(batch)
                yield batch

    def _batch(self, rows: pa.Table, columns: ResolvedColumns) -> pa.Table:
        flaws = Flaws(len(rows))
        component = _read_component(rows, columns, flaws)
        instants = self._read_instants(rows, columns, flaws)
        block = _read_wide(rows, columns, flaws) if columns.metric_leaf is None else _read_long(rows, columns, flaws)
        self._settle(flaws)
        kept = ~flaws.bad[block.source_rows]
        empty = ~block.value.given & (block.quality != QUALITY_BAD)
        self.summary.null_cells += int((kept & empty).sum())
        kept &= ~empty
        sources = block.source_rows[kept]
        values = Numbers(floats=block.value.floats[kept], given=block.value.given[kept])
        return pa.Table.from_arrays(
            [
                Names(codes=component.codes[sources], distinct=component.distinct).compact().to_arrow(),
                block.metric.take(kept).to_arrow(),
                pa.array(instants.epoch_us[sources], pa.int64()).cast(TIMESTAMP),
                pa.array(values.floats, pa.float64(), mask=~values.given),
                pa.array(block.quality[kept], pa.uint8()),
            ],
            schema=MEASUREMENT_BATCH,
        )

    def _read_instants(self, rows: pa.Table, columns: ResolvedColumns, flaws: Flaws) -> Instants:
        if columns.time_leaf is None:
            parts = {part: _numeric_column(rows, leaf) for part, leaf in columns.part_leaves.items()}
            field_name, instants = "time", instants_from_parts(parts, flaws, self.changes)
        else:
            field_name = columns.time_leaf.dotted
            column = _column(rows, columns.time_leaf)
            is_epoch_text = is_text(column.type) and is_numeric(columns.time_leaf.type)
            instants = instants_from_column(
                numbers_of_texts(column) if is_epoch_text and self.mapping.time_format is None else column,
                field_name,
                flaws,
                time_format=self.mapping.time_format,
                changes=self.changes,
            )
        check_instants(field_name, instants, flaws, limits=self.limits, now=datetime.now(UTC))
        return instants

    def _settle(self, flaws: Flaws) -> None:
        bad_rows = int(flaws.bad.sum())
        if not bad_rows:
            return
        problems = [
            RowProblem(row=self.summary.rows_read + problem.row, field=problem.field, reason=problem.reason)
            for problem in flaws.first()
        ]
        if not self.partial:
            raise RowsRefused(problems, bad_rows=bad_rows)
        self.summary.bad_rows += bad_rows
        self.summary.problems = [*self.summary.problems, *problems][:MAX_ROWS_NAMED]

    def _note(self, batch: pa.Table) -> None:
        summary = self.summary
        summary.measurements += len(batch)
        summary.ambiguous_times = self.changes.ambiguous
        summary.nonexistent_times = self.changes.nonexistent
        bounds = pc.min_max(batch["measured_at"].cast(pa.int64()))
        first, last = from_epoch_us(bounds["min"].as_py()), from_epoch_us(bounds["max"].as_py())
        summary.first_at = first if summary.first_at is None else min(first, summary.first_at)
        summary.last_at = last if summary.last_at is None else max(last, summary.last_at)


def _column(rows: pa.Table, leaf: Leaf) -> pa.Array:
    """Return the cells of a leaf; a null record has null cells. A file without the column gives nulls."""
    column = rows[leaf.path[0]]
    array = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
    return pc.struct_field(array, list(leaf.path[1:])) if len(leaf.path) > 1 else array


def _numeric_column(rows: pa.Table, leaf: Leaf) -> pa.Array:
    column = _column(rows, leaf)
    return numbers_of_texts(column) if is_text(column.type) else column


def _read_component(rows: pa.Table, columns: ResolvedColumns, flaws: Flaws) -> Names:
    if columns.component_leaf is None:
        names = repeated_name(columns.component or "", len(rows))
    else:
        names = _read_names(rows, columns.component_leaf)
    check_names("component" if columns.component_leaf is None else columns.component_leaf.dotted, names, flaws)
    return names


def _read_names(rows: pa.Table, leaf: Leaf) -> Names:
    column = _column(rows, leaf)
    if pa.types.is_integer(column.type):
        column = column.cast(pa.string())
    if not is_text(column.type):
        raise Refused(f"the column {shown(leaf.dotted)} is {column.type}, which names nothing", code="wrong_type")
    return names_from_arrow(column)


def _read_wide(rows: pa.Table, columns: ResolvedColumns, flaws: Flaws) -> _Block:
    parts = [_read_numbers(_column(rows, leaf), leaf.dotted, flaws) for leaf in columns.metric_leaves.values()]
    count = len(parts)
    return _Block(
        source_rows=np.tile(np.arange(len(rows)), count),
        metric=Names(
            codes=np.repeat(np.arange(count, dtype=np.int32), len(rows)),
            distinct=pa.array(list(columns.metric_leaves), pa.string()),
        ),
        value=Numbers(
            floats=np.concatenate([part.floats for part in parts]),
            given=np.concatenate([part.given for part in parts]),
        ),
        quality=np.zeros(count * len(rows), dtype=np.uint8),
    )


def _read_long(rows: pa.Table, columns: ResolvedColumns, flaws: Flaws) -> _Block:
    if columns.metric_leaf is None or columns.value_leaf is None:
        raise Refused("the long form needs a column of metrics and a column of values", code="missing_column")
    metric = _read_names(rows, columns.metric_leaf)
    check_names(columns.metric_leaf.dotted, metric, flaws)
    quality = np.zeros(len(rows), dtype=np.uint8)
    if columns.quality_leaf is not None:
        quality = qualities_from_column(_column(rows, columns.quality_leaf), columns.quality_leaf.dotted, flaws)
    return _Block(
        source_rows=np.arange(len(rows)),
        metric=metric,
        value=_read_numbers(_column(rows, columns.value_leaf), columns.value_leaf.dotted, flaws),
        quality=quality,
    )


def _read_numbers(column: pa.Array, name: str, flaws: Flaws) -> Numbers:
    """Return cells as numbers; NaN is how many tools write a missing cell, so it is one."""
    if pa.types.is_null(column.type):
        column = column.cast(pa.float64())
    if is_text(column.type):
        floats, inexact = _parse_numbers(column, name, flaws)
    elif is_numeric(column.type):
        floats, inexact = column.cast(pa.float64(), safe=False), _find_inexact(column)
    else:
        raise Refused(f"the column {shown(name)} is {column.type}, not numbers", code="wrong_type")
    flaws.add(name, inexact, "is an integer over 2^53, which a float64 cannot keep")
    numbers = floats.fill_null(np.nan).to_numpy(zero_copy_only=False)
    flaws.add(name, np.isinf(numbers), "is not a finite number")
    return Numbers(floats=numbers, given=~np.isnan(numbers))


def _find_inexact(column: pa.Array) -> NDArray[np.bool_]:
    if not pa.types.is_integer(column.type):
        return np.zeros(len(column), dtype=bool)
    integers = column.fill_null(0).to_numpy(zero_copy_only=False)
    inexact: NDArray[np.bool_] = (integers > EXACT_INTEGER_LIMIT) | (integers < -EXACT_INTEGER_LIMIT)
    return inexact


def _parse_numbers(texts: pa.Array, name: str, flaws: Flaws) -> tuple[pa.Array, NDArray[np.bool_]]:
    floats = numbers_of_texts(texts)
    given = texts.is_valid().to_numpy(zero_copy_only=False)
    lost = given & ~floats.is_valid().to_numpy(zero_copy_only=False)
    flaws.add(name, lost, lambda row: f"is text ({shown(str(texts[row].as_py()))}), not a number")
    sizes = np.abs(floats.fill_null(0).to_numpy(zero_copy_only=False))
    inexact = sizes >= EXACT_INTEGER_LIMIT
    if inexact.any():
        are_integers = pc.match_substring_regex(texts, INTEGER_TEXT).fill_null(fill_value=False)
        inexact &= are_integers.to_numpy(zero_copy_only=False)
        # float64 rounds 2^53 + 1 to 2^53: only the text tells. A number longer than Python reads is over it anyway.
        large = texts.filter(pa.array(inexact)).to_pylist()
        inexact[inexact] = [len(text) > LONGEST_EXACT_CHARS or abs(int(text)) > EXACT_INTEGER_LIMIT for text in large]
    return floats, inexact
