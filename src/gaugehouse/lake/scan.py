"""Rows of many files as sorted series, without a sort: files are sorted already, so grouping is counting.

Names travel as dictionary codes; a file's pages are checked against their checksums while they are read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gaugehouse.errors import Unavailable
from gaugehouse.lake.delta import FileEntry
from gaugehouse.lake.keyhash import Bools, Int32s, Int64s
from gaugehouse.lake.rows import Rows, distinct_codes, instants_us, order_by_series
from gaugehouse.measurements.selection import Selection, to_epoch_us
from gaugehouse.measurements.series import SeriesRows

KEY_COLUMNS = ["component", "metric", "measured_at", "value", "quality"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPart:
    """Rows of one file or of the hot rows: names with codes, and columns."""

    components: list[str]
    component_codes: Int32s
    metrics: list[str]
    metric_codes: Int32s
    t: Int64s
    value: NDArray[np.float64]
    quality: NDArray[np.uint8]


RowParts = list[RowPart]


def rows_part(components: pa.DictionaryArray, metrics: pa.DictionaryArray, rows: Rows) -> RowPart:
    """Return hot rows as a part."""
    return RowPart(
        components=components.dictionary.to_pylist(),
        component_codes=components.indices.to_numpy(zero_copy_only=False),
        metrics=metrics.dictionary.to_pylist(),
        metric_codes=metrics.indices.to_numpy(zero_copy_only=False),
        t=rows.t,
        value=rows.payload["value"].astype(np.float64, copy=False),
        quality=rows.payload["quality"].astype(np.uint8, copy=False),
    )


def read_file_rows(path: Path, entry: FileEntry, selection: Selection) -> RowPart:
    """Return the rows of one file that a selection wants.

    Raises:
        Unavailable: the file is gone or damaged.
    """
    first_us, last_us = entry.received_us
    needs_received_at = (selection.as_of is not None and last_us > to_epoch_us(selection.as_of)) or (
        selection.received_after is not None and first_us <= to_epoch_us(selection.received_after)
    )
    columns = [*KEY_COLUMNS, "received_at"] if needs_received_at else KEY_COLUMNS
    try:
        with pq.ParquetFile(
            path, read_dictionary=["component", "metric"], page_checksum_verification=True, pre_buffer=False
        ) as file:
            groups = find_wanted_groups(file.metadata, selection)
            table = file.read_row_groups(groups, columns=columns)
    except (OSError, pa.ArrowException) as exc:
        raise Unavailable("a file of the lake cannot be read; the answer would be incomplete") from exc
    return _selected(table, selection, needs_received_at=needs_received_at)


def find_wanted_groups(metadata: pq.FileMetaData, selection: Selection) -> list[int]:
    """Return the row groups whose statistics admit a wanted row."""
    names = [metadata.schema.column(i).name for i in range(metadata.num_columns)]
    component, instant = names.index("component"), names.index("measured_at")
    wanted = []
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        by_name = row_group.column(component).statistics
        by_time = row_group.column(instant).statistics
        if _group_may_hold(by_name, by_time, selection):
            wanted.append(group)
    return wanted


def _group_may_hold(by_name: pq.Statistics, by_time: pq.Statistics, selection: Selection) -> bool:
    if by_time is not None and by_time.has_min_max:
        if selection.start is not None and by_time.max < selection.start:
            return False
        if selection.end is not None and by_time.min >= selection.end:
            return False
    if selection.components is None or by_name is None or not by_name.has_min_max:
        return True
    return any(by_name.min <= name <= by_name.max for name in selection.components)


def _selected(table: pa.Table, selection: Selection, *, needs_received_at: bool) -> RowPart:
    components, component_codes = _codes(table.column("component"))
    metrics, metric_codes = _codes(table.column("metric"))
    t = instants_us(table.column("measured_at"))
    mask = np.ones(t.size, np.bool_)
    if selection.components is not None:
        mask &= _named(components, selection.components)[component_codes]
    if selection.metrics is not None:
        mask &= _named(metrics, selection.metrics)[metric_codes]
    if selection.start is not None:
        mask &= t >= to_epoch_us(selection.start)
    if selection.end is not None:
        mask &= t < to_epoch_us(selection.end)
    if needs_received_at:
        received_us = instants_us(table.column("received_at"))
        if selection.as_of is not None:
            mask &= received_us <= to_epoch_us(selection.as_of)
        if selection.received_after is not None:
            mask &= received_us > to_epoch_us(selection.received_after)
    value = table.column("value").to_numpy()
    quality = table.column("quality").to_numpy().astype(np.uint8)
    picked = slice(None) if mask.all() else mask
    return RowPart(
        components=components,
        component_codes=component_codes[picked],
        metrics=metrics,
        metric_codes=metric_codes[picked],
        t=t[picked],
        value=value[picked],
        quality=quality[picked],
    )


def _codes(column: pa.ChunkedArray) -> tuple[list[str], Int32s]:
    unified = column.unify_dictionaries()
    if unified.num_chunks == 0:
        return [], np.empty(0, np.int32)
    codes = np.concatenate([chunk.indices.to_numpy(zero_copy_only=False) for chunk in unified.chunks])
    return unified.chunk(0).dictionary.to_pylist(), codes.astype(np.int32, copy=False)


def _named(names: list[str], wanted: tuple[str, ...]) -> Bools:
    chosen = set(wanted)
    return np.array([name in chosen for name in names], np.bool_)


def group_rows(parts: RowParts) -> SeriesRows:
    """Return the rows of all parts as series in (component, metric) order, each in increasing time.

    Parts must come in the order of their times where they can: then nothing is sorted.
    """
    component_rank = _rank({name for part in parts for name in part.components})
    metric_rank = _rank({name for part in parts for name in part.metrics})
    codes = [_series_codes(part, component_rank, metric_rank) for part in parts]
    arrived_t = _joined([part.t for part in parts], np.int64)
    # Of all pairs of names few may have rows: only those get a place.
    used, position = distinct_codes(_joined(codes, np.int64), len(component_rank) * len(metric_rank))
    offsets, order = order_by_series(position, used.size, arrived_t)
    components, metrics = list(component_rank), list(metric_rank)
    return SeriesRows(
        components=[components[i // len(metrics)] for i in used.tolist()],
        metrics=[metrics[i % len(metrics)] for i in used.tolist()],
        offsets=offsets,
        measured_at_us=arrived_t[order],
        value=_joined([part.value for part in parts], np.float64)[order],
        quality=_joined([part.quality for part in parts], np.uint8)[order],
    )


def _joined(columns: Sequence[NDArray[np.generic]], dtype: type[np.generic]) -> np.ndarray:
    return np.concatenate(columns) if columns else np.empty(0, dtype)


def _rank(names: set[str]) -> dict[str, int]:
    return {name: rank for rank, name in enumerate(sorted(names))}


def _series_codes(part: RowPart, component_rank: dict[str, int], metric_rank: dict[str, int]) -> Int64s:
    component = np.array([component_rank[name] for name in part.components], np.int64)
    metric = np.array([metric_rank[name] for name in part.metrics], np.int64)
    if not part.t.size:
        return np.empty(0, np.int64)
    codes: Int64s = component[part.component_codes] * len(metric_rank) + metric[part.metric_codes]
    return codes
