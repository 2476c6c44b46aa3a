"""What changed between two revisions of a report, and because of what. Pure: tables in, a table out."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gaugehouse.measurements.schema import TIMESTAMP
from gaugehouse.measurements.series import SeriesRows
from gaugehouse.reports.digest import format_number

KEYS = ("component", "metric", "kpi", "bucket_start", "bucket_end")
COMPARED = ("value", "unit", "coverage", "n", "status", "reason")
CHANGES = pa.schema(
    [
        pa.field("component", pa.string(), nullable=False),
        pa.field("metric", pa.string()),
        pa.field("kpi", pa.string(), nullable=False),
        pa.field("bucket_start", TIMESTAMP, nullable=False),
        pa.field("bucket_end", TIMESTAMP, nullable=False),
        pa.field("old_value", pa.float64()),
        pa.field("new_value", pa.float64()),
        pa.field("old_coverage", pa.float64()),
        pa.field("new_coverage", pa.float64()),
        pa.field("old_status", pa.string()),  # null: the earlier revision had no such value
        pa.field("new_status", pa.string()),  # null: the later one has none
        pa.field("late_rows", pa.int64(), nullable=False),
        pa.field("because", pa.string(), nullable=False),
    ]
)
BECAUSE_OF_ATTRIBUTES = "{what} changed"
UNEXPLAINED = "definitions or the set of components changed"
REACH_US = 35 * 86_400_000_000  # how far a row can reach: KPI.md, look-back never exceeds 35 days


def find_changes(old: pa.Table, new: pa.Table, late: SeriesRows, attributes: Mapping[tuple[str, str], str]) -> pa.Table:
    """Return the values that two revisions tell differently, in the order of the later one.

    Numbers are compared at the 12 digits of the digest: what it calls the same is no change.

    Args:
        old: The earlier revision, columns of RESULT.
        new: The later one.
        late: Rows that only the later one saw.
        attributes: (component, metric) -> what was changed about them in between, in words.

    Returns:
        Columns of CHANGES.
    """
    both = _paired(old, new)
    changed = both.filter(pa.array(_differs(both)))
    counts = _count_late(changed, late, reach_us=0)
    nearby = _count_late(changed, late, reach_us=REACH_US) - counts
    order = pc.sort_indices(changed, sort_keys=[(name, "ascending") for name in KEYS])
    columns = {
        **{name: changed[name] for name in KEYS},
        **{
            f"{age}_{name}": changed[f"{name}_{age}"]
            for name in ("value", "coverage", "status")
            for age in ("old", "new")
        },
        "late_rows": pa.array(counts, pa.int64()),
        "because": pa.array(_explain(changed, counts, nearby, attributes), pa.string()),
    }
    return pa.table({name: columns[name] for name in CHANGES.names}).cast(CHANGES).take(order)


def _paired(old: pa.Table, new: pa.Table) -> pa.Table:
    """Return the rows of both side by side; a column of the side that lacks a row is null."""
    sides = []
    for table, age in ((old, "old"), (new, "new")):
        keys = {name: table[name] for name in KEYS}
        keys["metric"] = pc.fill_null(keys["metric"], "")  # a join matches no nulls; no metric has an empty name
        sides.append(pa.table({**keys, **{f"{name}_{age}": table[name] for name in COMPARED}}))
    joined = sides[0].join(sides[1], keys=list(KEYS), join_type="full outer").combine_chunks()
    metric = pc.if_else(pc.equal(joined["metric"], ""), pa.scalar(None, pa.string()), joined["metric"])
    return joined.set_column(joined.column_names.index("metric"), "metric", metric)


def _differs(both: pa.Table) -> NDArray[np.bool_]:
    differs = np.zeros(both.num_rows, np.bool_)
    for name in COMPARED:
        left, right = both[f"{name}_old"], both[f"{name}_new"]
        same = pc.fill_null(pc.equal(left, right), False)
        same = pc.or_(same, pc.and_(pc.is_null(left), pc.is_null(right)))
        other = ~same.to_numpy()
        if pa.types.is_floating(left.type):
            at = np.flatnonzero(other)
            texts = [[format_number(value) for value in side.take(pa.array(at)).to_pylist()] for side in (left, right)]
            other[at] = [a != b for a, b in zip(*texts, strict=True)]
        differs |= other
    return differs


def _count_late(changed: pa.Table, late: SeriesRows, *, reach_us: int) -> NDArray[np.int64]:
    """Return for each value how many late rows its series has in its bucket, and so far before and behind it."""
    places = {key: place for place, key in enumerate(zip(late.components, late.metrics, strict=True))}
    keys = zip(changed["component"].to_pylist(), changed["metric"].to_pylist(), strict=True)
    series = [places.get(key, -1) for key in keys]
    bounds_us = [changed[name].cast(pa.int64()).to_numpy() for name in ("bucket_start", "bucket_end")]
    counts = np.zeros(changed.num_rows, np.int64)
    for row, place in enumerate(series):
        if place >= 0:
            own_us = late.measured_at_us[late.offsets[place] : late.offsets[place + 1]]
            first, end = np.searchsorted(own_us, [bounds_us[0][row] - reach_us, bounds_us[1][row] + reach_us])
            counts[row] = end - first
    return counts


def _explain(
    changed: pa.Table,
    counts: NDArray[np.int64],
    nearby: NDArray[np.int64],
    attributes: Mapping[tuple[str, str], str],
) -> list[str]:
    """Say in words what each change comes from, the most direct cause first."""
    keys = zip(changed["component"].to_pylist(), changed["metric"].to_pylist(), strict=True)
    said = []
    for key, count, near in zip(keys, counts.tolist(), nearby.tolist(), strict=True):
        causes = []
        if count:
            causes.append(f"{count:,} late {_rows(count)}")
        elif near:
            causes.append(f"{near:,} late {_rows(near)} before or behind it")
        if key in attributes:
            causes.append(BECAUSE_OF_ATTRIBUTES.format(what=attributes[key]))
        said.append(" and ".join(causes) or UNEXPLAINED)
    return said


def _rows(count: int) -> str:
    return "row" if count == 1 else "rows"
