"""Row by row: turns plain Python values into columns and says of each bad cell what is wrong with it.

The fast readers hand over to this one what they cannot take; with `partial` its good rows are stored.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from gaugehouse.errors import Refused
from gaugehouse.ingest.bodies import BodyRefused, DuplicateKeys, canonical_body
from gaugehouse.ingest.columns import (
    EXACT_INTEGER_LIMIT,
    QUALITY_CODES,
    QUALITY_WORDS,
    Instants,
    RawEvents,
    RawMeasurements,
    names_from_arrow,
    numbers_from_arrow,
)
from gaugehouse.ingest.flaws import Flaws, shown
from gaugehouse.ingest.instants import instants_from_epochs, instants_from_text
from gaugehouse.ingest.json_walk import Nested
from gaugehouse.ingest.limits import Limits
from gaugehouse.measurements.names import find_name_problem

MEASUREMENT_COLUMNS = ("component", "metric", "measured_at", "value", "quality")
EVENT_COLUMNS = ("component", "kind", "occurred_at", "body")
OPTIONAL_COLUMNS = frozenset({"quality"})
INT64_LIMIT = 2**63
SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Misfit:
    """A row that has no cells to look at, and why."""

    reason: str


class CellRefused(ValueError):
    """One cell is bad; the text says why."""


@dataclass(slots=True)
class _Cells:
    """The cells of one column as they come, and the reasons of the bad ones."""

    values: list[object] = field(default_factory=list)
    reasons: dict[int, str] = field(default_factory=dict)


Reader = Callable[[object], object]


def kind_of(value: object) -> str:
    """Return what a JSON value is, in words for a message."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, str):
        return f"text ({shown(value)})"
    if isinstance(value, dict):
        return "an object"
    return "an array" if isinstance(value, list) else "a number"


def _read_name(value: object) -> object:
    if value is None:
        return None
    if not isinstance(value, str):
        raise CellRefused(f"is {kind_of(value)}, not text")
    if SURROGATE.search(value):  # Arrow cannot take it; other name rules are checked on columns
        raise CellRefused(find_name_problem(value) or "is not text")
    return value


def _read_time_text(value: object) -> object:
    if value is None or (isinstance(value, str) and not SURROGATE.search(value)):
        return value
    raise CellRefused(f"is {kind_of(value)}, not a time text; integer epochs need a declared time_unit")


def _read_epoch(value: object) -> object:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise CellRefused(f"is {kind_of(value)}, not an integer of the declared time_unit")
    if abs(value) >= INT64_LIMIT:
        raise CellRefused("is outside the calendar")
    return value


def _read_value(value: object) -> object:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CellRefused(f"is {kind_of(value)}, not a number")
    if isinstance(value, int) and abs(value) > EXACT_INTEGER_LIMIT:
        raise CellRefused("is an integer over 2^53, which a float64 cannot keep; send it as two metrics or as a float")
    return float(value)


def _read_quality(value: object) -> object:
    # 1.0 is the same JSON number as 1 (and Polars cannot tell them apart), true is not.
    known = isinstance(value, str | int | float) and not isinstance(value, bool) and value in QUALITY_CODES
    if value is None or known:
        return QUALITY_CODES[value]
    raise CellRefused(f"{QUALITY_WORDS}, not {kind_of(value)}")


def _collect(rows: Iterable[object], readers: Mapping[str, Reader]) -> tuple[dict[str, _Cells], Flaws]:
    cells = {name: _Cells() for name in readers}
    oddities: dict[int, tuple[str, str]] = {}
    count = 0
    for number, row in enumerate(rows):
        count += 1
        misfit = _find_misfit(row, readers)
        if misfit is not None:
            oddities[number] = misfit
        cells_of_row: Mapping[str, object] = row if isinstance(row, dict) else {}
        for name, reader in readers.items():
            _collect_cell(cells[name], number, name, cells_of_row, reader)
    flaws = Flaws(count)
    for odd_field in dict.fromkeys(name for name, _ in oddities.values()):
        flaws.add_cells(odd_field, {row: reason for row, (name, reason) in oddities.items() if name == odd_field})
    whole_rows = np.zeros(count, dtype=bool)
    whole_rows[[number for number, (name, _) in oddities.items() if name == "row"]] = True
    for name, column in cells.items():
        flaws.add_cells(name, {row: why for row, why in column.reasons.items() if not whole_rows[row]})
        flaws.settle(name, whole_rows)
    return cells, flaws


def _find_misfit(row: object, readers: Mapping[str, Reader]) -> tuple[str, str] | None:
    if isinstance(row, Misfit):
        return "row", row.reason
    if not isinstance(row, dict):
        return "row", f"is {kind_of(row)}, not an object"
    if isinstance(row, DuplicateKeys):
        return shown(row.duplicate).strip("'"), "is given twice"
    for name in row:
        if name not in readers:
            return shown(name).strip("'"), "is not a known column"
    return None


def _collect_cell(column: _Cells, number: int, name: str, row: Mapping[str, object], reader: Reader) -> None:
    if name not in row and name not in OPTIONAL_COLUMNS:
        column.values.append(None)
        column.reasons[number] = "is missing"
        return
    try:
        column.values.append(reader(row.get(name)))
    except CellRefused as exc:
        column.values.append(None)
        column.reasons[number] = str(exc)


def _instants(column: _Cells, name: str, flaws: Flaws, time_unit: str | None) -> Instants:
    if time_unit is None:
        return instants_from_text(pa.array(column.values, pa.string()), name, flaws)
    return instants_from_epochs(pa.array(column.values, pa.int64()), time_unit, name, flaws)


def explain_measurements(rows: Iterable[object], *, time_unit: str | None) -> RawMeasurements:
    """Return measurement rows (one mapping each, or a Misfit) as columns, every bad cell flagged with its reason."""
    read_time = _read_time_text if time_unit is None else _read_epoch
    readers = (_read_name, _read_name, read_time, _read_value, _read_quality)
    cells, flaws = _collect(rows, dict(zip(MEASUREMENT_COLUMNS, readers, strict=True)))
    quality = pa.array(cells["quality"].values, pa.uint8()).fill_null(0)
    return RawMeasurements(
        component=names_from_arrow(pa.array(cells["component"].values, pa.string())),
        metric=names_from_arrow(pa.array(cells["metric"].values, pa.string())),
        measured_at=_instants(cells["measured_at"], "measured_at", flaws, time_unit),
        value=numbers_from_arrow(pa.array(cells["value"].values, pa.float64())),
        quality=quality.to_numpy(zero_copy_only=False),
        flaws=flaws,
    )


def explain_events(rows: Iterable[object], *, time_unit: str | None, limits: Limits) -> RawEvents:
    """Return event rows (one mapping each, or a Misfit) as columns, every bad cell flagged with its reason."""

    def read_body(value: object) -> object:
        try:
            return canonical_body(value, depth_limit=limits.depth_limit, size_limit_bytes=limits.line_limit_bytes)
        except BodyRefused as exc:
            raise CellRefused(str(exc)) from exc

    read_time = _read_time_text if time_unit is None else _read_epoch
    cells, flaws = _collect(rows, dict(zip(EVENT_COLUMNS, (_read_name, _read_name, read_time, read_body), strict=True)))
    return RawEvents(
        component=names_from_arrow(pa.array(cells["component"].values, pa.string())),
        kind=names_from_arrow(pa.array(cells["kind"].values, pa.string())),
        occurred_at=_instants(cells["occurred_at"], "occurred_at", flaws, time_unit),
        body=pa.array(cells["body"].values, pa.string()),
        flaws=flaws,
    )


def check_columns(names: Sequence[str], known: Sequence[str]) -> None:
    """Refuse a payload whose columns are not the known ones, whatever its rows hold.

    Raises:
        Refused: A column is unknown, missing or repeated.
    """
    for position, name in enumerate(names):
        if name not in known:
            raise Refused(
                f"the column {shown(name)} is not known; the columns are {', '.join(known)}",
                code="unknown_column",
                fields={"column": shown(name).strip("'")},
            )
        if name in names[:position]:
            raise Refused(f"the column {shown(name)} is given twice", code="duplicate_column", fields={"column": name})
    for name in known:
        if name not in names and name not in OPTIONAL_COLUMNS:
            raise Refused(f"the column '{name}' is missing", code="missing_column", fields={"column": name})


def rows_of_columns(
    columns: Mapping[str, object], known: Sequence[str], *, broadcast: Sequence[str]
) -> Iterator[object]:
    """Return a payload of columns as rows; a single text stands for every row in the `broadcast` columns.

    Raises:
        Refused: Columns are unknown, missing, no arrays, or of unequal length.
    """
    check_columns(list(columns), known)
    lengths = {name: len(column) for name, column in columns.items() if isinstance(column, list)}
    for name, column in columns.items():
        if name not in lengths and not (name in broadcast and isinstance(column, str)):
            raise Refused(
                f"the column '{name}' is {kind_of(column)}, not an array", code="wrong_type", fields={"column": name}
            )
    if len(set(lengths.values())) > 1:
        raise Refused(f"the columns differ in length: {lengths}", code="ragged_columns", fields={"lengths": lengths})
    row_count = next(iter(lengths.values()), 0)
    full = [column if isinstance(column, list) else [column] * row_count for column in columns.values()]
    names = list(columns)
    return (dict(zip(names, map(_opened, row), strict=True)) for row in zip(*full, strict=True))


def _opened(cell: object) -> object:
    return cell.read() if isinstance(cell, Nested) else cell
