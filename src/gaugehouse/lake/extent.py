"""How many rows a question can have to read at most, from what the files say of themselves: no row is read for it."""

from bisect import bisect_left
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq

from gaugehouse.lake.delta import FileEntry
from gaugehouse.lake.scan import find_wanted_groups
from gaugehouse.lake.snapshot import Snapshot, may_hold
from gaugehouse.measurements.selection import Selection


def count_rows_at_most(snapshot: Snapshot, selection: Selection, *, enough: int | None = None) -> int:
    """Return how many measurements a selection has at most.

    Counted are all rows of every file that can hold a wanted one. Where that is more than `enough`, the row groups of
    these files are looked at: 131,072 rows of few components each, instead of a file of a month.

    Args:
        snapshot: A moment of the lake.
        selection: Which rows.
        enough: A smaller count needs no closer look; None: never look closer.
    """
    anyone = replace(selection, components=None)
    names = None if selection.components is None else sorted(selection.components)
    entries = [
        entry
        for entry in snapshot.files["measurements"]
        if may_hold(entry, anyone) and (names is None or _may_name(entry, names))
    ]
    view = snapshot.hot.get("measurements")
    rows = sum(entry.rows for entry in entries)
    hot_rows = 0 if view is None else sum(len(part) for part in view.rows)
    if enough is None or rows + hot_rows <= enough:
        return rows + hot_rows
    hot_rows = 0 if view is None else len(view.select(selection))
    return hot_rows + sum(_count_in_groups(snapshot, entry, selection) for entry in entries)


def _may_name(entry: FileEntry, names: list[str]) -> bool:
    """Look for one of these components by bisection: a project may have thousands of them, and of files."""
    low, high = entry.components
    place = bisect_left(names, low)
    return place < len(names) and names[place] <= high


def _count_in_groups(snapshot: Snapshot, entry: FileEntry, selection: Selection) -> int:
    try:
        metadata = pq.read_metadata(snapshot.lake_dir / "measurements" / entry.path)
    except (OSError, pa.ArrowException):  # whoever reads its rows will say so
        return entry.rows
    return sum(metadata.row_group(group).num_rows for group in find_wanted_groups(metadata, selection))
