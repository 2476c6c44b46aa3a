"""The status of one device: what its three metrics say at an instant, from memory where it is the newest.

A status is what the rows of `battery_level`, `rssi` and `online` say at one instant. The *newest* status of a device
has the newest instant of any of the three, and of each metric the newest value, whenever that was measured: whoever
sends all three at once, as `POST /status` does, sees them as they were sent, and whoever reports his battery once a day
has a battery level all day long. A metric that was never sent is null.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gaugehouse.errors import NotFound
from gaugehouse.fleet.heartbeats import Heartbeat
from gaugehouse.lake import Appended, NewestColumns, Snapshot
from gaugehouse.lake.keyhash import NEVER, Int32s
from gaugehouse.measurements.heartbeat import STATUS_METRICS
from gaugehouse.measurements.schema import QUALITY_BAD, TIMESTAMP
from gaugehouse.measurements.selection import Selection, from_epoch_us
from gaugehouse.query.components import show_name

ID_BITS = 53  # every JSON reader keeps such an integer exactly

# Of one device. Where the quality is bad nothing is known, whatever the value.
STATUSES_SQL = f"""
SELECT
    measured_at,
    any_value(value) FILTER (metric = 'battery_level' AND quality <> {QUALITY_BAD}) AS battery_level,
    any_value(value) FILTER (metric = 'rssi' AND quality <> {QUALITY_BAD}) AS rssi,
    any_value(value) FILTER (metric = 'online' AND quality <> {QUALITY_BAD}) AS online,
    max(received_at) AS received_at
FROM rows
GROUP BY measured_at
"""  # noqa: S608 - a number of ours


class ReadsNewest(Protocol):
    """The part of the lake that knows newest values."""

    def refuse_unread(self, project: str, components: list[str] | None = None) -> None: ...
    def number_components(self, project: str, names: list[str]) -> Int32s: ...
    def newest_columns(self, project: str, components: Int32s, metrics: tuple[str, ...]) -> NewestColumns: ...
    def name_components(self, numbers: Int32s) -> pa.StringArray: ...
    def pin(self) -> Snapshot: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What a device said of itself.

    Args:
        component: Name of the device.
        measured_at: When.
        battery_level: None when it never said so. [%]
        rssi: As above. [dBm]
        is_online: As above.
        received_at: When the rows were stored; of several the last.
    """

    component: str
    measured_at: datetime
    battery_level: float | None
    rssi: float | None
    is_online: bool | None
    received_at: datetime

    @property
    def number(self) -> int:
        """A number that this status always has: a hash of component and instant, of 53 bits."""
        key = f"{self.component}\0{self.measured_at.isoformat()}".encode()
        return int.from_bytes(blake2b(key, digest_size=8).digest()) >> (64 - ID_BITS)


def find_newest(lake: ReadsNewest, project: str, component: str) -> Status | None:
    """Return the newest status of a device from memory, None when it never sent one.

    Raises:
        Unavailable: It may be in a damaged file.
    """
    lake.refuse_unread(project, [component])
    newest = lake.newest_columns(project, lake.number_components(project, [component]), STATUS_METRICS)
    instant_us = int(newest.newest_us[0])
    if instant_us == NEVER:
        return None
    at_instant = newest.measured_at_us[:, 0] == instant_us
    battery_level, rssi, online = (None if np.isnan(value) else float(value) for value in newest.value[:, 0])
    return Status(
        component=component,
        measured_at=from_epoch_us(instant_us),
        battery_level=battery_level,
        rssi=rssi,
        is_online=None if online is None else online == 1,
        received_at=from_epoch_us(int(newest.received_at_us[at_instant, 0].max())),
    )


def get_newest(lake: ReadsNewest, project: str, component: str, *, visible: str | None = None) -> Status:
    """Return the newest status of a device.

    Args:
        lake: Where newest values are known.
        project: Slug.
        component: Name.
        visible: The only device that the caller may see; None is all of them.

    Raises:
        NotFound: It never sent one, or the caller may not see it.
        Unavailable: It may be in a damaged file.
    """
    found = find_newest(lake, project, component) if visible in {None, component} else None
    if found is None:
        raise no_device(component)
    return found


def no_device(component: str) -> NotFound:
    return NotFound(f"device not found: {show_name(component)!r} has sent no status", code="device_not_found")


def find_stored(lake: ReadsNewest, project: str, heartbeat: Heartbeat, appended: Appended) -> Status:
    """Return what stands in the lake for a heartbeat that has just been delivered.

    Where all its rows were new it is what was sent; else what was stored first, in memory or in files.
    """
    if appended.accepted == len(STATUS_METRICS):
        return Status(
            component=heartbeat.component,
            measured_at=from_epoch_us(heartbeat.measured_at_us),
            battery_level=heartbeat.battery_level,
            rssi=heartbeat.rssi,
            is_online=heartbeat.is_online,
            received_at=appended.received_at,
        )
    numbers = lake.number_components(project, [heartbeat.component])
    newest = lake.newest_columns(project, numbers, STATUS_METRICS)
    if (newest.measured_at_us == heartbeat.measured_at_us).all():
        found = find_newest(lake, project, heartbeat.component)
        if found is not None and found.measured_at == from_epoch_us(heartbeat.measured_at_us):
            return found
    return _read_status(lake.pin(), project, heartbeat)


def _read_status(snapshot: Snapshot, project: str, heartbeat: Heartbeat) -> Status:
    instant = from_epoch_us(heartbeat.measured_at_us)
    selection = Selection(
        project=project,
        components=(heartbeat.component,),
        metrics=STATUS_METRICS,
        start=instant,
        end=instant + timedelta(microseconds=1),
    )
    (status,) = statuses_of(heartbeat.component, snapshot.read(selection, STATUSES_SQL).read_all())
    return status


def statuses_of(component: str, rows: pa.Table) -> list[Status]:
    """Return the statuses of one device from the answer to STATUSES_SQL; a few at most."""
    return [
        Status(
            component=component,
            measured_at=row["measured_at"],
            battery_level=row["battery_level"],
            rssi=row["rssi"],
            is_online=None if row["online"] is None else row["online"] == 1,
            received_at=row["received_at"],
        )
        for row in rows.to_pylist()
    ]


def to_columns(lake: ReadsNewest, project: str, numbers: Int32s, newest: NewestColumns | None = None) -> pa.RecordBatch:
    """Return the newest status of devices by number.

    Args:
        lake: Where newest values are known.
        project: Slug.
        numbers: Of the devices.
        newest: Their newest values, where they are at hand already.

    Returns:
        component, measured_at, battery_level [%], rssi [dBm], online (bool); null for what was never sent. Devices of
        which nothing is known (any more) are left out.
    """
    newest = lake.newest_columns(project, numbers, STATUS_METRICS) if newest is None else newest
    is_known = newest.newest_us != NEVER
    battery_level, rssi, online = (
        pa.array(column[is_known], pa.float64(), from_pandas=True) for column in newest.value
    )
    return pa.RecordBatch.from_pydict(
        {
            "component": lake.name_components(numbers[is_known]),
            "measured_at": pa.array(newest.newest_us[is_known], pa.int64()).view(TIMESTAMP),
            "battery_level": battery_level,
            "rssi": rssi,
            "online": pc.equal(online, 1.0),
        }
    )
