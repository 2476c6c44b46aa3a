"""A look over series: how many rows, since when, how big."""

from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from gaugehouse.lake import Snapshot
from gaugehouse.measurements.schema import TIMESTAMP
from gaugehouse.measurements.selection import Selection

SUMMARY = pa.schema(
    [
        pa.field("component", pa.string()),
        pa.field("metric", pa.string()),
        pa.field("n", pa.int64()),
        pa.field("bad_n", pa.int64()),
        pa.field("first_measured_at", TIMESTAMP),
        pa.field("last_measured_at", TIMESTAMP),
        pa.field("min", pa.float64()),
        pa.field("max", pa.float64()),
        pa.field("mean", pa.float64()),
        pa.field("last_value", pa.float64()),
    ]
)

EXTENT = pa.schema([pa.field("first_measured_at", TIMESTAMP), pa.field("last_measured_at", TIMESTAMP)])

SUMMARY_SQL = """
SELECT
    component,
    metric,
    count(value) FILTER (quality < 2) AS n,
    count(*) FILTER (quality >= 2 OR value IS NULL) AS bad_n,
    min(measured_at) AS first_measured_at,
    max(measured_at) AS last_measured_at,
    min(value) FILTER (quality < 2) AS min,
    max(value) FILTER (quality < 2) AS max,
    favg(value) FILTER (quality < 2) AS mean,
    arg_max(value, measured_at) FILTER (quality < 2) AS last_value
FROM rows
GROUP BY component, metric
ORDER BY component, metric
"""

EXTENT_SQL = """
SELECT min(measured_at) AS first_measured_at, max(measured_at) AS last_measured_at
FROM rows
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """The earliest and the latest instant that is measured, both inclusive."""

    first_measured_at: datetime
    last_measured_at: datetime


def summarize(snapshot: Snapshot, selection: Selection) -> pa.Table:
    """Describe each series of a selection in one row.

    Returns:
        Columns of SUMMARY, ordered by (component, metric): n counts good and uncertain values, bad_n bad and missing
        ones; first and last_measured_at cover both; min, max, mean and last_value only n. [metric's unit]
    """
    return snapshot.read(selection, SUMMARY_SQL).read_all().cast(SUMMARY)


def find_extent(snapshot: Snapshot, selection: Selection) -> Extent | None:
    """Return the earliest and latest `measured_at` of a selection, None when it has no rows."""
    found = snapshot.read(selection, EXTENT_SQL).read_all().cast(EXTENT)
    first, last = found["first_measured_at"][0].as_py(), found["last_measured_at"][0].as_py()
    return None if first is None else Extent(first_measured_at=first, last_measured_at=last)
