"""Rows rolled up into buckets, for plots and tables. Evidence is the room `reports`; these sums are quick ones."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gaugehouse.errors import Refused
from gaugehouse.lake import Snapshot
from gaugehouse.measurements.period import bucket_edges_us, explicit_period, find_zone, parse_every, refuse_shifts
from gaugehouse.measurements.schema import TIMESTAMP
from gaugehouse.measurements.selection import Selection, to_epoch_us
from gaugehouse.query.summary import find_extent

Aggregate = Literal["mean", "min", "max", "sum", "count", "first", "last"]
AGGREGATES: dict[str, str] = {
    "mean": "favg(value) AS mean",
    "min": "min(value) AS min",
    "max": "max(value) AS max",
    "sum": "fsum(value) AS sum",
    "count": "count(value) AS count",
    "first": "arg_min(value, measured_at) AS first",
    "last": "arg_max(value, measured_at) AS last",
}
CALENDAR_BUCKETS_LIMIT = 500_000  # 57 years of hours
MICROSECOND = timedelta(microseconds=1)

# A plot's grid does not move with its start, so here a day is a calendar day even where it is written 1d or P1D.
ALIGNED = {("day", 1): "day", ("day", 7): "week", ("month", 1): "month", ("month", 3): "quarter", ("month", 12): "year"}

# `{aggregates}` stands for fragments of AGGREGATES, nothing else. Buckets of one length are integer arithmetic;
# `$origin_us` lies before every row, so `//` never meets a negative.
FIXED_BUCKETS_SQL = """
SELECT
    component,
    metric,
    $origin_us + (epoch_us(measured_at) - $origin_us) // $length_us * $length_us AS bucket_start,
    bucket_start + $length_us AS bucket_end,
    {aggregates}
FROM rows
WHERE quality < 2 AND value IS NOT NULL
GROUP BY component, metric, bucket_start
ORDER BY component, metric, bucket_start
"""

# Calendar buckets have no one length, but all their edges are whole multiples of a slot (an hour, mostly): a hash join
# by slot is four times as fast as a join by time range.
CALENDAR_BUCKETS_SQL = """
SELECT
    component,
    metric,
    bucket_start,
    bucket_end,
    {aggregates}
FROM rows
JOIN (
    SELECT bucket_start, bucket_end, unnest(range(first_slot, end_slot)) AS slot
    FROM (
        SELECT
            unnest($starts_us::BIGINT[]) AS bucket_start,
            unnest($ends_us::BIGINT[]) AS bucket_end,
            unnest($first_slots::BIGINT[]) AS first_slot,
            unnest($end_slots::BIGINT[]) AS end_slot
    )
) AS slots ON slots.slot = (epoch_us(measured_at) - $origin_us) // $slot_us
WHERE quality < 2 AND value IS NOT NULL
GROUP BY component, metric, bucket_start, bucket_end
ORDER BY component, metric, bucket_start
"""


def read_buckets(
    snapshot: Snapshot, selection: Selection, *, every: str, aggregates: Sequence[str], timezone: str = "UTC"
) -> pa.RecordBatchReader:
    """Roll up good and uncertain values per series and bucket; buckets without any are left out.

    Calendar buckets (hour, day, ISO week, month, quarter, year, also written 1d, 1w, P1M ...) follow the zone's wall
    clock across DST. Fixed ones (`15m`, PT24H ...) are counted from 1970-01-01T00:00 of the wall clock that the zone
    shows at the start of the selection, so a length that divides a day has an edge at midnight. Counts of days or
    months (P2D) are counted from the start of the selection. The first and the last bucket end where the selection
    does.

    Args:
        snapshot: One pinned moment of the lake.
        selection: Which rows.
        every: Bucket expression of `measurements.period`.
        aggregates: Names out of AGGREGATES, each once.
        timezone: IANA zone.

    Returns:
        component, metric, bucket_start, bucket_end, and one column per aggregate in the order asked [metric's unit;
        count: 1], ordered by (component, metric, bucket_start).

    Raises:
        Refused: An aggregate is unknown, named twice, or none is named.
        PeriodRefused: The bucket or the zone cannot be understood.
    """
    schema = _result_schema(aggregates)
    asked = ", ".join(AGGREGATES[name] for name in aggregates)
    parsed = parse_every(every)
    refuse_shifts(parsed)
    if parsed.duration_us is not None:
        origin_us = _find_origin_us(snapshot, selection, timezone=timezone, length_us=parsed.duration_us)
        parameters: dict[str, object] = {"origin_us": origin_us, "length_us": parsed.duration_us}
        return _shape(
            snapshot.read(selection, FIXED_BUCKETS_SQL.format(aggregates=asked), parameters), schema, selection
        )
    aligned = ALIGNED.get((str(parsed.unit), parsed.count), every)
    edges_us = _find_edges_us(snapshot, selection, every=aligned, timezone=timezone)
    if edges_us is None:
        return pa.RecordBatchReader.from_batches(schema, [])
    statement = CALENDAR_BUCKETS_SQL.format(aggregates=asked)
    return _shape(snapshot.read(selection, statement, _bind_edges(edges_us)), schema, selection)


def _result_schema(aggregates: Sequence[str]) -> pa.Schema:
    unknown = [name for name in aggregates if name not in AGGREGATES]
    if unknown or not aggregates or len(set(aggregates)) < len(aggregates):
        named = ", ".join(unknown or aggregates) or "nothing"
        raise Refused(
            f"aggregates must be some of {', '.join(AGGREGATES)}, each once, not {named}", code="aggregates_refused"
        )
    return pa.schema(
        [
            pa.field("component", pa.string()),
            pa.field("metric", pa.string()),
            pa.field("bucket_start", TIMESTAMP),
            pa.field("bucket_end", TIMESTAMP),
            *(pa.field(name, pa.int64() if name == "count" else pa.float64()) for name in aggregates),
        ]
    )


def _find_origin_us(snapshot: Snapshot, selection: Selection, *, timezone: str, length_us: int) -> int:
    """Return an edge of the grid at or before 1970-01-01T00:00Z. [us]"""
    zone = find_zone(timezone)
    moment = selection.start
    if moment is None and timezone != "UTC":
        extent = find_extent(snapshot, selection)
        moment = None if extent is None else extent.first_measured_at
    offset = timedelta(0) if moment is None else moment.astimezone(zone).utcoffset() or timedelta(0)
    return (-(offset // MICROSECOND)) % length_us - length_us


def _find_edges_us(snapshot: Snapshot, selection: Selection, *, every: str, timezone: str) -> NDArray[np.int64] | None:
    """Return the calendar's edges over the selection; an open side reaches over the data. None: no data. [us]"""
    zone = find_zone(timezone)
    start, end = selection.start, selection.end
    if start is None or end is None:
        extent = find_extent(snapshot, selection)
        if extent is None:
            return None
        start = start or _year_start(extent.first_measured_at, zone, ahead=0)
        end = end or _year_start(extent.last_measured_at, zone, ahead=2)
    if start >= end:
        return None
    period = explicit_period(start, end, timezone=timezone)
    return bucket_edges_us(period, every, limit=CALENDAR_BUCKETS_LIMIT)


def _year_start(instant: datetime, zone: ZoneInfo, *, ahead: int) -> datetime:
    """Return the local Monday midnight at or before the first of January of a year: an edge of days and of weeks."""
    first = datetime(instant.astimezone(zone).year + ahead, 1, 1, tzinfo=zone)
    return first - timedelta(days=first.weekday())


def _bind_edges(edges_us: NDArray[np.int64]) -> dict[str, object]:
    """Return the buckets' edges, and the slots they are made of.

    A slot is the longest time of which all inner buckets are whole multiples. The first and the last bucket may be cut
    anywhere: there the slots reach beyond, where the selection has no rows.
    """
    inner = edges_us[1:-1]
    lengths = np.diff(inner)
    slot_us = int(np.gcd.reduce(lengths)) if len(lengths) else int(edges_us[-1] - edges_us[0])
    anchor_us = int(inner[0]) if len(inner) else int(edges_us[0])
    origin_us = anchor_us - -(-(anchor_us - int(edges_us[0])) // slot_us) * slot_us
    return {
        "starts_us": edges_us[:-1].tolist(),
        "ends_us": edges_us[1:].tolist(),
        "first_slots": ((edges_us[:-1] - origin_us) // slot_us).tolist(),
        "end_slots": (-(-(edges_us[1:] - origin_us) // slot_us)).tolist(),
        "origin_us": origin_us,
        "slot_us": slot_us,
    }


def _shape(reader: pa.RecordBatchReader, schema: pa.Schema, selection: Selection) -> pa.RecordBatchReader:
    def batches() -> Iterator[pa.RecordBatch]:
        for batch in reader:
            columns = [_clip(batch[field.name], field.name, selection).cast(field.type) for field in schema]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def _clip(column: pa.Array, name: str, selection: Selection) -> pa.Array:
    if name == "bucket_start" and selection.start is not None:
        return pc.max_element_wise(column, pa.scalar(to_epoch_us(selection.start)))
    if name == "bucket_end" and selection.end is not None:
        return pc.min_element_wise(column, pa.scalar(to_epoch_us(selection.end)))
    return column
