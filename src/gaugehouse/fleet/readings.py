"""Counted readings of devices: an amount and the offset of the clock that it was read by, two rows of one instant.

A device is a component that is named by its UUID. `count` is a metric of kind `delta`: its sum is the cumulative count.
`utc_offset_s` remembers which offset was sent, for those who want their time back as they wrote it.
"""

import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

import numpy as np

from gaugehouse.errors import NotFound, Refused, TooLarge, Unreadable
from gaugehouse.fleet.heartbeats import KnowsNames, accept_rows, find_instant_problem
from gaugehouse.fleet.status import ReadsNewest
from gaugehouse.ingest import Limits, SeriesRoom
from gaugehouse.ingest.columns import EXACT_INTEGER_LIMIT
from gaugehouse.ingest.instants import parse_instant_text
from gaugehouse.lake import Appended, Snapshot
from gaugehouse.lake.keyhash import NEVER
from gaugehouse.measurements.few import FewMeasurements
from gaugehouse.measurements.schema import QUALITY_BAD, QUALITY_GOOD
from gaugehouse.measurements.selection import Selection, from_epoch_us

COUNT, UTC_OFFSET = "count", "utc_offset_s"
READING_KINDS = {COUNT: "delta", UTC_OFFSET: "gauge"}
UUID_VERSION = 4
OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)?")

# Whole numbers are summed as integers, so that no order and no size costs a digit; others come only by /v1.
SUM_SQL = f"""
SELECT
    count(value) AS n,
    CAST(sum(CAST(value AS HUGEINT)) FILTER (value = trunc(value) AND abs(value) < {EXACT_INTEGER_LIMIT}) AS VARCHAR)
        AS whole,
    sum(value) FILTER (value <> trunc(value) OR abs(value) >= {EXACT_INTEGER_LIMIT}) AS rest
FROM rows
WHERE quality <> {QUALITY_BAD}
"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """An amount that a device has counted.

    Args:
        measured_at_us: When it was read. [us since 1970 UTC]
        utc_offset_s: Offset of the device's clock. [s]
        count: A positive whole number.
    """

    measured_at_us: int
    utc_offset_s: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """What one device delivers, in the order sent."""

    device: str
    readings: Sequence[Reading]

    def rows(self) -> FewMeasurements:
        """Return two rows for each reading."""
        twice = len(self.readings) * 2
        return FewMeasurements(
            component=[self.device] * twice,
            metric=[COUNT, UTC_OFFSET] * len(self.readings),
            measured_at_us=[one.measured_at_us for one in self.readings for _ in READING_KINDS],
            value=[float(value) for one in self.readings for value in (one.count, one.utc_offset_s)],
            quality=[QUALITY_GOOD] * twice,
        )


def read_device_id(text: object) -> str:
    """Return the name of a device from its UUID of version 4, in any notation of case.

    Raises:
        Refused: It is none.
    """
    try:
        parsed = uuid.UUID(text) if isinstance(text, str) else None
    except ValueError:
        parsed = None
    if parsed is None or parsed.version != UUID_VERSION or str(parsed) != str(text).lower():
        raise Refused("id must be a UUID of version 4 such as 063c5957-8905-45f9-bfe3-960713788919")
    return str(parsed)


def read_readings(body: bytes, *, limits: Limits, now: datetime | None = None) -> Readings:
    """Return what `{"id": UUID4, "readings": [{"count", "timestamp"}]}` says; other members are passed over.

    Args:
        body: JSON.
        limits: How many readings, how old and how far ahead of the clock they may be.
        now: The clock; that of this machine without it.

    Raises:
        Unreadable: Not JSON.
        TooLarge: Too many readings.
        Refused: Something of it cannot be accepted; the first such reading is named, and nothing is stored.
    """
    try:
        sent = json.loads(body)
    except (ValueError, RecursionError):  # UnicodeDecodeError is one of them
        raise Unreadable("the body is not valid JSON") from None
    if not isinstance(sent, dict):
        raise Refused("the body must be an object with id and readings")
    device, found = read_device_id(sent.get("id")), sent.get("readings")
    if not isinstance(found, list) or not found:
        raise Refused("readings must be a list of at least one reading")
    if len(found) > limits.json_rows_limit:
        raise TooLarge(f"at most {limits.json_rows_limit} readings fit one request; send the rest in another")
    clock = now or datetime.now(UTC)
    return Readings(device=device, readings=[_read_one(at, one, limits, clock) for at, one in enumerate(found)])


def _read_one(at: int, sent: object, limits: Limits, now: datetime) -> Reading:
    if not isinstance(sent, dict):
        raise Refused(f"readings[{at}] must be an object with count and timestamp")
    count, text = sent.get("count"), sent.get("timestamp")
    if isinstance(count, bool) or not isinstance(count, int) or not 0 < count < EXACT_INTEGER_LIMIT:
        raise Refused(f"readings[{at}].count must be a positive integer")
    if not isinstance(text, str):
        raise Refused(f"readings[{at}].timestamp must be a text such as 2021-09-29T16:08:15+01:00")
    instant_us = parse_instant_text(text)
    problem = find_instant_problem(instant_us, limits, now)
    if problem is not None:
        raise Refused(f"readings[{at}].timestamp {problem}")
    return Reading(measured_at_us=int(instant_us), utc_offset_s=find_offset_s(text), count=count)


def find_offset_s(text: str) -> int:
    """Return the offset of a time that has one. [s]

    >>> find_offset_s("2021-09-29T16:08:15+0130")
    5400
    >>> find_offset_s("2021-09-29T16:08:15Z")
    0
    """
    found = OFFSET.search(text, len("2021-09-29T16"))
    if found is None:
        return 0
    sign, hours, minutes = found.groups()
    size_s = int(hours) * 3600 + int(minutes or 0) * 60
    return -size_s if sign == "-" else size_s


def accept_readings(room: SeriesRoom, registry: KnowsNames, readings: Readings, *, component: str | None) -> Appended:
    """Store readings; returns when they are durable. What is known by (device, instant) changes nothing.

    Args:
        room: Where rows are appended, and what of them the project may still bring.
        registry: Where names are known.
        readings: Checked ones.
        component: The only component that the caller's key may write.

    Raises:
        GaugehouseError: As `accept_rows`.
    """
    return accept_rows(room, registry, readings.rows(), kinds=READING_KINDS, component=component)


def get_latest_at(lake: ReadsNewest, project: str, device: str, *, visible: str | None = None) -> datetime:
    """Return the instant of the newest reading of a device with the offset that was sent, from memory.

    Raises:
        NotFound: It has none, or the caller may not see it.
        Unavailable: It may be in a damaged file.
    """
    if visible not in {None, device}:
        raise _no_readings(device)
    lake.refuse_unread(project, [device])
    newest = lake.newest_columns(project, lake.number_components(project, [device]), (COUNT, UTC_OFFSET))
    (instant_us,), (offset_at_us,) = newest.measured_at_us.tolist()
    if instant_us == NEVER:
        raise _no_readings(device)
    # A count that came another way has no offset beside it.
    is_known = offset_at_us == instant_us and not np.isnan(newest.value[1, 0])
    offset = timedelta(seconds=float(newest.value[1, 0]) if is_known else 0.0)
    is_offset = abs(offset) < timedelta(days=1)
    return from_epoch_us(instant_us).astimezone(timezone(offset) if is_offset else UTC)


def sum_counts(snapshot: Snapshot, project: str, device: str, *, visible: str | None = None) -> int | float:
    """Return the sum of all counts of a device, exact: an integer as long as only integers were stored.

    Raises:
        NotFound: It has none, or the caller may not see it.
        Unavailable: A file cannot be read.
    """
    if visible not in {None, device}:
        raise _no_readings(device)
    selection = Selection(project=project, components=(device,), metrics=(COUNT,))
    (row,) = snapshot.read(selection, SUM_SQL).read_all().to_pylist()
    if not row["n"]:
        raise _no_readings(device)
    whole = int(row["whole"] or 0)
    return whole if row["rest"] is None else whole + float(row["rest"])


def _no_readings(device: str) -> NotFound:
    return NotFound(f"device {device} not found: it has no readings", code="device_not_found")
