"""How many measurements of a report came later than their metric's lateness bound."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gaugehouse.kpi import Facts
from gaugehouse.lake import Snapshot
from gaugehouse.measurements.selection import Selection, from_epoch_us
from gaugehouse.measurements.windows import Windows
from gaugehouse.reports.chunks import Chunk, narrow
from gaugehouse.reports.pin import PinnedSeries

LATE_SQL = """
SELECT component, metric, list(epoch_us(measured_at)) AS measured_at_us
FROM rows
WHERE quality < 2 AND value IS NOT NULL AND epoch_us(received_at) - epoch_us(measured_at) > $bound_us
GROUP BY component, metric
"""


def count_late(
    snapshot: Snapshot | None, selection: Selection, chunk: Chunk, facts: Facts, excluded: list[Windows]
) -> NDArray[np.int64]:
    """Return the number of late points of each (series, bucket); 0 where a metric has no bound.

    Args:
        snapshot: One pinned moment; None is a lake without rows.
        selection: Project, period and moment of the report.
        chunk: Which series.
        facts: Of them; says which time counts.
        excluded: Per series what is taken out of it.
    """
    late_n = np.zeros(facts.points.shape, np.int64)
    if snapshot is None:
        return late_n
    within = replace(selection, start=from_epoch_us(int(facts.edges_us[0])))  # without the look-back
    index = {(one.component, one.metric): place for place, one in enumerate(chunk.series)}
    for bound_s, series in _group_by_bound(chunk.series):
        found = snapshot.read(narrow(within, series), LATE_SQL, {"bound_us": round(bound_s * 1e6)}).read_all()
        asked = {(one.component, one.metric) for one in series}
        for row in range(found.num_rows):
            key = (found["component"][row].as_py(), found["metric"][row].as_py())
            if key in asked:
                place = index[key]
                late_n[place] = _count(found["measured_at_us"][row].values, facts, place, excluded[place])
    return late_n


def _group_by_bound(series: tuple[PinnedSeries, ...]) -> Iterator[tuple[float, list[PinnedSeries]]]:
    bound = [one for one in series if one.attributes.lateness_s is not None]
    for bound_s, several in groupby(sorted(bound, key=_bound_s), key=_bound_s):
        yield bound_s, sorted(several, key=lambda one: (one.component, one.metric))


def _bound_s(one: PinnedSeries) -> float:
    return one.attributes.lateness_s or 0.0


def _count(times: pa.Array, facts: Facts, place: int, excluded: Windows) -> NDArray[np.int64]:
    """Count instants in the part of each bucket that counts."""
    times_us = np.sort(times.to_numpy())
    window = np.searchsorted(excluded.starts_us, times_us, side="right") - 1
    if len(excluded):
        times_us = times_us[(window < 0) | (times_us >= excluded.ends_us[np.maximum(window, 0)])]
    spans = facts.spans[place]
    late_n = np.searchsorted(times_us, spans["end_us"]) - np.searchsorted(times_us, spans["start_us"])
    return np.asarray(late_n, np.int64)
