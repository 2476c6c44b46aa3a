"""Top and bottom N of results."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gaugehouse.kpi.outcome import Status


def rank(
    results: pa.Table, *, names: Sequence[str], count: int, lowest: bool = False, bucket: str = "bucket"
) -> pa.Table:
    """Return the rows with the highest (or lowest) values of each KPI, metric and bucket, best first.

    Args:
        results: Columns kpi, metric, value, status, that of the bucket and those in `names`. Rows without a value have
            no rank, nor has the 0 of a silent one; temperatures are not ranked among pressures.
        names: Columns that tell rows apart, such as component and metric: equal values are in the order of names.
        count: How many of each KPI, metric and bucket.
        lowest: Whether the lowest values come first.
        bucket: Column that says which bucket a row is of.

    Returns:
        The rows of `results` that are kept, with a first column `rank` (int32, from 1), ordered by KPI and metric (as
        in `results`), bucket and rank.
    """
    is_known = pc.is_in(results["status"], pa.array([Status.OK, Status.PARTIAL], pa.string()))
    valued = results.filter(pc.and_(pc.is_valid(results["value"]), is_known))
    metric = pc.fill_null(valued["metric"], "")  # no metric has an empty name
    places = {"place": _number(valued["kpi"]), "metric_place": _number(metric)}
    table = valued
    for name, place in places.items():
        table = table.append_column(name, place)
    by = [*places, bucket]
    order = [(name, "ascending") for name in by] + [("value", "ascending" if lowest else "descending")]
    table = table.sort_by(order + [(name, "ascending") for name in names])
    ranks = _count_up(np.column_stack([table[name].cast(pa.int64()).to_numpy() for name in by]))
    kept = table.add_column(0, pa.field("rank", pa.int32(), nullable=False), pa.array(ranks, pa.int32()))
    return kept.filter(pa.array(ranks <= count)).select(["rank", *results.column_names])


def _number(names: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the number of each name, counted as they come up."""
    return pc.index_in(names, pc.unique(names))


def _count_up(keys: np.ndarray[tuple[int, int], np.dtype[np.int64]]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return 1, 2, 3 ... for each run of equal keys."""
    place = np.arange(len(keys))
    is_first = np.ones(len(keys), np.bool_)
    is_first[1:] = (keys[1:] != keys[:-1]).any(axis=1)
    starts = np.maximum.accumulate(np.where(is_first, place, 0))
    return place - starts + 1
