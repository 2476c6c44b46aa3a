"""Rows of many files as sorted series, without a sort: files are sorted already, so grouping is counting.

Names travel as dictionary codes; a file's pages are checked against their checksums while they are read.
"""

from bisect import bisect_left, bisect_right
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gaugehouse.errors import Unavailable
from gaugehouse.lake.delta import FileEntry
from gaugehouse.lake.keyhash import Bools, Int32s, Int64s, copy_runs, group_by_code, run_starts, seal, unsorted_groups
from gaugehouse.lake.rows import Rows, distinct_codes, instants_us
from gaugehouse.measurements.selection import Selection, to_epoch_us
from gaugehouse.measurements.series import SeriesRows

# Sharing rows out evenly among so few is near enough: a series with many rows has row groups of its own.
FEW_SERIES = 16
KEY_COLUMNS = ["component", "metric", "measured_at", "value", "quality"]

SeriesKey = tuple[str, str]  # component, metric


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """Consecutive rows of one series, in a part: a sorted file has one run per series, hot rows have many.

    Args:
        component_codes: Of each run, into the names of its part.
        metric_codes: Likewise.
        starts: First row of each run.
        lengths: Rows of each.
    """

    component_codes: Int32s
    metric_codes: Int32s
    starts: Int64s
    lengths: Int64s


def find_runs(component_codes: Int32s, metric_codes: Int32s) -> Runs:
    """Return the runs of some rows."""
    starts = run_starts(seal(component_codes), seal(metric_codes))
    return Runs(
        component_codes=component_codes[starts],
        metric_codes=metric_codes[starts],
        starts=starts,
        lengths=np.diff(starts, append=component_codes.size),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPart:
    """Rows of one file or of the hot rows: names, whose runs they are, and columns."""

    components: list[str]
    metrics: list[str]
    runs: Runs
    t: Int64s
    value: NDArray[np.float64]
    quality: NDArray[np.uint8]


RowParts = list[RowPart]


def rows_part(components: pa.DictionaryArray, metrics: pa.DictionaryArray, rows: Rows) -> RowPart:
    """Return hot rows as a part."""
    return RowPart(
        components=components.dictionary.to_pylist(),
        metrics=metrics.dictionary.to_pylist(),
        runs=find_runs(
            components.indices.to_numpy(zero_copy_only=False), metrics.indices.to_numpy(zero_copy_only=False)
        ),
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
    with _open_checked(path) as file:
        table = file.read_row_groups(find_wanted_groups(file.metadata, selection), columns=columns)
    return _selected(table, entry, selection, needs_received_at=needs_received_at)


def estimate_file_rows(path: Path, selection: Selection, wanted: Sequence[SeriesKey]) -> Counter[SeriesKey]:
    """Return about how many rows of each wanted series lie in the row groups of a file that admit one.

    Rows of a component are shared out evenly among its metrics, where a row group has several of them; and those of a
    row group of few series among all of these, without reading it.

    Args:
        path: Of the file.
        selection: Of the wanted rows.
        wanted: (component, metric) of each wanted series, in order.

    Raises:
        Unavailable: the file is gone or damaged.
    """
    counts: Counter[SeriesKey] = Counter()
    with _open_checked(path) as file:
        for group in find_wanted_groups(file.metadata, selection):  # one by one: a file may have 100 million rows
            metadata = file.metadata.row_group(group)
            candidates = _find_candidates(metadata, wanted)
            if len(candidates) <= FEW_SERIES:
                counts.update(_share(metadata.num_rows, candidates))
                continue
            names, codes = _codes(file.read_row_group(group, columns=["component"]).column("component"))
            rows_of = dict(zip(names, np.bincount(codes, minlength=len(names)).tolist(), strict=True))
            for component, own in groupby(candidates, key=itemgetter(0)):
                counts.update(_share(rows_of.get(component, 0), list(own)))
    return counts


def _share(rows: int, keys: Sequence[SeriesKey]) -> dict[SeriesKey, int]:
    """Return rows shared out evenly."""
    share, rest = divmod(rows, max(1, len(keys)))
    return {key: share + (place < rest) for place, key in enumerate(keys)}


def _find_candidates(metadata: pq.RowGroupMetaData, wanted: Sequence[SeriesKey]) -> Sequence[SeriesKey]:
    """Return the wanted series that a row group can hold."""
    by_name = _find_statistics(metadata, "component")
    if by_name is None or not by_name.has_min_max:
        return wanted
    begin = bisect_left(wanted, by_name.min, key=itemgetter(0))
    found = wanted[begin : bisect_right(wanted, by_name.max, lo=begin, key=itemgetter(0))]
    by_metric = _find_statistics(metadata, "metric")
    if by_name.min != by_name.max or by_metric is None or not by_metric.has_min_max:
        return found
    return [key for key in found if by_metric.min <= key[1] <= by_metric.max]


def _find_statistics(metadata: pq.RowGroupMetaData, name: str) -> pq.Statistics | None:
    columns = (metadata.column(place) for place in range(metadata.num_columns))
    return next((column.statistics for column in columns if column.path_in_schema == name), None)


def count_part(part: RowPart) -> Counter[SeriesKey]:
    """Return the rows of each series of a part."""
    codes = part.runs.component_codes.astype(np.int64) * len(part.metrics) + part.runs.metric_codes
    used, place = np.unique(codes, return_inverse=True)
    rows = np.zeros(used.size, np.int64)
    np.add.at(rows, place, part.runs.lengths)
    components, metrics = part.components, part.metrics
    names = ((components[code // len(metrics)], metrics[code % len(metrics)]) for code in used.tolist())
    return Counter(dict(zip(names, rows.tolist(), strict=True)))


@contextmanager
def _open_checked(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a file whose pages are checked while they are read, and say what it means when that fails."""
    try:
        with pq.ParquetFile(
            path, read_dictionary=["component", "metric"], page_checksum_verification=True, pre_buffer=False
        ) as file:
            yield file
    except (OSError, pa.ArrowException) as exc:
        raise Unavailable("a file of the lake cannot be read; the answer would be incomplete") from exc


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


def _selected(table: pa.Table, entry: FileEntry, selection: Selection, *, needs_received_at: bool) -> RowPart:
    components, component_codes = _codes(table.column("component"))
    metrics, metric_codes = _codes(table.column("metric"))
    runs = find_runs(component_codes, metric_codes)
    t = instants_us(table.column("measured_at"))
    value = table.column("value").to_numpy()
    quality = table.column("quality").to_numpy().astype(np.uint8)
    # Bounds that a whole file lies in are not looked at row by row: most files of a report are like that.
    masks = []
    wanted = _wanted(runs, components, metrics, selection)
    if not wanted.all():
        masks.append(np.repeat(wanted, runs.lengths))
    if selection.start is not None and entry.instants_us[0] < to_epoch_us(selection.start):
        masks.append(t >= to_epoch_us(selection.start))
    if selection.end is not None and entry.instants_us[1] >= to_epoch_us(selection.end):
        masks.append(t < to_epoch_us(selection.end))
    if needs_received_at:
        received_us = instants_us(table.column("received_at"))
        if selection.as_of is not None:
            masks.append(received_us <= to_epoch_us(selection.as_of))
        if selection.received_after is not None:
            masks.append(received_us > to_epoch_us(selection.received_after))
    mask = np.logical_and.reduce(masks) if masks else np.True_
    if not mask.all():
        runs = find_runs(component_codes[mask], metric_codes[mask])
        t, value, quality = t[mask], value[mask], quality[mask]
    return RowPart(components=components, metrics=metrics, runs=runs, t=t, value=value, quality=quality)


def _wanted(runs: Runs, components: list[str], metrics: list[str], selection: Selection) -> Bools:
    """Tell which runs are of wanted series."""
    wanted = np.ones(runs.starts.size, np.bool_)
    if selection.components is not None:
        wanted &= _named(components, selection.components)[runs.component_codes]
    if selection.metrics is not None:
        wanted &= _named(metrics, selection.metrics)[runs.metric_codes]
    return wanted


def _codes(column: pa.ChunkedArray) -> tuple[list[str], Int32s]:
    unified = column.unify_dictionaries()
    if unified.num_chunks == 0:
        return [], np.empty(0, np.int32)
    codes = np.concatenate([chunk.indices.to_numpy(zero_copy_only=False) for chunk in unified.chunks])
    return unified.chunk(0).dictionary.to_pylist(), codes.astype(np.int32, copy=False)


def _named(names: list[str], wanted: tuple[str, ...]) -> Bools:
    chosen = set(wanted)
    return np.array([name in chosen for name in names], np.bool_)


def group_rows(parts: RowParts, *, threads: int = 1) -> SeriesRows:
    """Return the rows of all parts as series in (component, metric) order, each in increasing time.

    Whole runs are copied to their places; parts must come in the order of their times where they can: then nothing is
    sorted.

    Args:
        parts: Rows of files and of memory.
        threads: Parts are copied by this many threads.
    """
    component_rank = _rank({name for part in parts for name in part.components})
    metric_rank = _rank({name for part in parts for name in part.metrics})
    codes = [_series_codes(part, component_rank, metric_rank) for part in parts]
    lengths = _joined([part.runs.lengths for part in parts], np.int64)
    # Of all pairs of names few may have rows: only those get a place.
    used, position = distinct_codes(_joined(codes, np.int64), len(component_rank) * len(metric_rank))
    first_runs, order = group_by_code(position, used.size)
    borders = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths[order])])
    places = np.empty(lengths.size, np.int64)
    places[order] = borders[:-1]
    offsets = borders[first_runs]
    t, value, quality = (np.empty(borders[-1], dtype) for dtype in (np.int64, np.float64, np.uint8))

    begins = np.cumsum([0, *(part.runs.starts.size for part in parts)])[:-1].tolist()

    def copy(part: RowPart, begin: int) -> None:
        runs = part.runs
        own_places = places[begin : begin + runs.starts.size]
        for source, target in ((part.t, t), (part.value, value), (part.quality, quality)):
            copy_runs(seal(source), target, runs.starts, runs.lengths, own_places)

    with ThreadPoolExecutor(max_workers=threads) as pool:
        deque(pool.map(copy, parts, begins), maxlen=0)
    sort_unsorted(offsets, t, value, quality)
    components, metrics = list(component_rank), list(metric_rank)
    return SeriesRows(
        components=[components[i // len(metrics)] for i in used.tolist()],
        metrics=[metrics[i % len(metrics)] for i in used.tolist()],
        offsets=offsets,
        measured_at_us=t,
        value=value,
        quality=quality,
    )


def sort_unsorted(offsets: Int64s, t: Int64s, *columns: NDArray[np.generic]) -> None:
    """Sort the rows of those groups that did not arrive in time order, in place."""
    for group in np.flatnonzero(unsorted_groups(offsets, t)).tolist():
        own = slice(offsets[group], offsets[group + 1])
        order = np.argsort(t[own], kind="stable")
        for column in (t, *columns):
            column[own] = column[own][order]


def _joined(columns: Sequence[NDArray[np.generic]], dtype: type[np.generic]) -> np.ndarray:
    return np.concatenate(columns) if columns else np.empty(0, dtype)


def _rank(names: set[str]) -> dict[str, int]:
    return {name: rank for rank, name in enumerate(sorted(names))}


def _series_codes(part: RowPart, component_rank: dict[str, int], metric_rank: dict[str, int]) -> Int64s:
    """Return the code of each run's series: its place among all pairs of names."""
    component = np.array([component_rank[name] for name in part.components], np.int64)
    metric = np.array([metric_rank[name] for name in part.metrics], np.int64)
    if not part.runs.starts.size:
        return np.empty(0, np.int64)
    codes: Int64s = component[part.runs.component_codes] * len(metric_rank) + metric[part.runs.metric_codes]
    return codes
