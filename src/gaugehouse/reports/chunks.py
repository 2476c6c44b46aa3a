"""The series of a report in portions that fit in memory, and the rows of one portion."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gaugehouse.lake import Snapshot
from gaugehouse.measurements.metric import MetricKind
from gaugehouse.measurements.schema import QUALITY_BAD
from gaugehouse.measurements.selection import Selection
from gaugehouse.measurements.series import SeriesRows
from gaugehouse.reports.pin import PinnedSeries

ROWS_PER_SERIES_SQL = """
SELECT component, metric, count(*) AS n
FROM rows
GROUP BY component, metric
"""

# A counter's last step is judged by the two points behind it (KPI.md, Counters), however far away they are.
POINTS_BEHIND_SQL = """
SELECT
    component,
    metric,
    min(epoch_us(measured_at), 2) AS measured_at_us,
    arg_min(value, measured_at, 2) AS value,
    arg_min(quality, measured_at, 2) AS quality
FROM rows
WHERE quality < 2 AND value IS NOT NULL
GROUP BY component, metric
"""


# A straight line over the end leads to the very next row, good or bad.
ROW_BEHIND_SQL = """
SELECT
    component,
    metric,
    min(epoch_us(measured_at), 1) AS measured_at_us,
    arg_min(coalesce(value, 'NaN'::DOUBLE), measured_at, 1) AS value,
    arg_min(quality, measured_at, 1) AS quality
FROM rows
GROUP BY component, metric
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one portion may hold at once.

    Args:
        rows: Rows that are loaded, as far as known without reading them; one series may have more.
        cells: Series x buckets whose facts are kept, about 670 bytes each and 100 per KPI.
    """

    rows: int = 5_000_000
    cells: int = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Series that are read and computed together, in the order of the pin, and about how many rows that takes."""

    series: tuple[PinnedSeries, ...]
    rows: int


def split_series(
    series: Sequence[PinnedSeries],
    rows_of: Mapping[tuple[str, str], int],
    *,
    buckets: int,
    limits: Limits,
    together: bool = False,
) -> Iterator[Chunk]:
    """Yield the series in order, cut between components; a component over the limits is cut between its metrics.

    Where formulas look beyond one metric, the series of a component stay `together`, whatever the limits.
    """
    series_limit = max(1, limits.cells // buckets)
    held: list[PinnedSeries] = []
    held_rows = 0
    for _, group in groupby(series, key=lambda one: one.component):
        own = list(group)
        own_rows = sum(_count(one, rows_of) for one in own)
        if held and (held_rows + own_rows > limits.rows or len(held) + len(own) > series_limit):
            yield Chunk(series=tuple(held), rows=held_rows)
            held, held_rows = [], 0
        if not together and (own_rows > limits.rows or len(own) > series_limit):
            yield from _split_component(own, rows_of, series_limit=series_limit, rows_limit=limits.rows)
            continue
        held += own
        held_rows += own_rows
    if held:
        yield Chunk(series=tuple(held), rows=held_rows)


def count_rows(snapshot: Snapshot, selection: Selection) -> dict[tuple[str, str], int]:
    """Return how many rows each series of a selection has; those without any are missing."""
    counts = snapshot.read(selection, ROWS_PER_SERIES_SQL).read_all()
    keys = zip(counts["component"].to_pylist(), counts["metric"].to_pylist(), strict=True)
    return dict(zip(keys, counts["n"].to_pylist(), strict=True))


def load_chunk(
    snapshot: Snapshot | None,
    selection: Selection,
    chunk: Chunk,
    *,
    look_ahead: timedelta | None = None,
    threads: int = 1,
) -> SeriesRows:
    """Return the rows of a portion's series, one entry per series of it, with what is needed behind the end.

    Args:
        snapshot: One pinned moment; None is a lake without rows.
        selection: Project, look-back and period of the report.
        chunk: Which series.
        look_ahead: How far behind the end the next row of a level is looked for; None: it is not needed.
        threads: Files are read by this many threads.
    """
    wanted = [(one.component, one.metric) for one in chunk.series]
    if snapshot is None:
        return align_rows(SeriesRows.empty(), wanted)
    rows = align_rows(snapshot.load_series(narrow(selection, chunk.series), threads=threads), wanted)
    counters = [one for one in chunk.series if one.attributes.kind is MetricKind.COUNTER]
    others = [one for one in chunk.series if one.attributes.kind is not MetricKind.COUNTER]
    if selection.end is None:
        return rows
    if counters and look_ahead is not None:  # a bad row parts the last line, and is no point
        behind = replace(narrow(selection, counters), start=selection.end, end=selection.end + look_ahead)
        rows = append_points(rows, _keep_bad(snapshot.read(behind, ROW_BEHIND_SQL).read_all()), counters)
    if counters:
        behind = replace(narrow(selection, counters), start=selection.end, end=None)
        rows = append_points(rows, snapshot.read(behind, POINTS_BEHIND_SQL).read_all(), counters)
    if others and look_ahead is not None:
        behind = replace(narrow(selection, others), start=selection.end, end=selection.end + look_ahead)
        rows = append_points(rows, snapshot.read(behind, ROW_BEHIND_SQL).read_all(), others)
    return rows


def align_rows(rows: SeriesRows, wanted: Sequence[tuple[str, str]]) -> SeriesRows:
    """Return exactly the wanted series, in that order: unasked ones are dropped, silent ones have no rows.

    Args:
        rows: As found.
        wanted: (component, metric) of each series, ordered as `rows` is: by component, then metric.
    """
    found = {key: index for index, key in enumerate(zip(rows.components, rows.metrics, strict=True))}
    positions = np.array([found.get(key, -1) for key in wanted], dtype=np.int64)
    lengths = np.where(positions >= 0, rows.offsets[positions + 1] - rows.offsets[positions], 0)
    keep = _rows_of(rows, positions)
    return SeriesRows(
        components=[component for component, _ in wanted],
        metrics=[metric for _, metric in wanted],
        offsets=_offsets(lengths),
        measured_at_us=rows.measured_at_us[keep],
        value=rows.value[keep],
        quality=rows.quality[keep],
    )


def append_points(rows: SeriesRows, points: pa.Table, series: Sequence[PinnedSeries]) -> SeriesRows:
    """Return the rows with later points behind the last row of their series.

    Args:
        rows: Rows up to some instant.
        points: component, metric and lists measured_at_us, value, quality in time order, all behind that instant.
        series: Those whose points are taken; points of others are left out.
    """
    index = {key: position for position, key in enumerate(zip(rows.components, rows.metrics, strict=True))}
    asked = {(one.component, one.metric) for one in series}
    keys = list(zip(points["component"].to_pylist(), points["metric"].to_pylist(), strict=True))
    taken = sorted((index[key], place) for place, key in enumerate(keys) if key in asked)
    chosen = points.take(pa.array([place for _, place in taken], pa.int64())).combine_chunks()
    positions = np.array([position for position, _ in taken], dtype=np.int64)
    counts = chosen["measured_at_us"].combine_chunks().value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)
    at = np.repeat(rows.offsets[positions + 1], counts)
    lengths = np.diff(rows.offsets)
    lengths[positions] += counts
    return replace(
        rows,
        offsets=_offsets(lengths),
        measured_at_us=np.insert(rows.measured_at_us, at, _flatten(chosen["measured_at_us"], np.int64)),
        value=np.insert(rows.value, at, _flatten(chosen["value"], np.float64)),
        quality=np.insert(rows.quality, at, _flatten(chosen["quality"], np.uint8)),
    )


def _keep_bad(points: pa.Table) -> pa.Table:
    """Return the rows behind that are no points, of lists of one row each."""
    value, quality = (pc.list_element(points[name], 0) for name in ("value", "quality"))
    return points.filter(pc.or_(pc.is_nan(value), pc.equal(quality, QUALITY_BAD)))


def _split_component(
    own: Sequence[PinnedSeries], rows_of: Mapping[tuple[str, str], int], *, series_limit: int, rows_limit: int
) -> Iterator[Chunk]:
    held: list[PinnedSeries] = []
    held_rows = 0
    for one in own:
        n = _count(one, rows_of)
        if held and (held_rows + n > rows_limit or len(held) + 1 > series_limit):
            yield Chunk(series=tuple(held), rows=held_rows)
            held, held_rows = [], 0
        held.append(one)
        held_rows += n
    yield Chunk(series=tuple(held), rows=held_rows)


def narrow(selection: Selection, series: Sequence[PinnedSeries]) -> Selection:
    """Return a selection of the components and metrics of some series; it may have other pairs of them."""
    return replace(
        selection,
        components=tuple(sorted({one.component for one in series})),
        metrics=tuple(sorted({one.metric for one in series})),
    )


def _rows_of(rows: SeriesRows, positions: NDArray[np.int64]) -> NDArray[np.bool_] | slice:
    """Return what picks the rows of some series; when all of them are picked, nothing is copied."""
    used = np.zeros(len(rows), dtype=np.bool_)
    used[positions[positions >= 0]] = True
    return slice(None) if used.all() else np.repeat(used, np.diff(rows.offsets))


def _count(one: PinnedSeries, rows_of: Mapping[tuple[str, str], int]) -> int:
    return rows_of.get((one.component, one.metric), 0)


def _offsets(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths, dtype=np.int64)])


def _flatten(lists: pa.ChunkedArray, dtype: type[np.generic]) -> NDArray[np.generic]:
    flat: NDArray[np.generic] = lists.combine_chunks().flatten().to_numpy(zero_copy_only=False).astype(dtype)
    return flat
