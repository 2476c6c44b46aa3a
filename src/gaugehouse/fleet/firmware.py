"""Firmware as devices report it: events of the lake, one hot path in, one pruned question out."""

from dataclasses import dataclass
from datetime import datetime

import msgspec

from gaugehouse.ingest import Limits, Receipt, accept_events
from gaugehouse.ingest.accept import HoldsSeries, KnowsNames
from gaugehouse.lake import Snapshot
from gaugehouse.measurements.firmware import FIRMWARE, Reported, read_firmware_body, write_firmware_body
from gaugehouse.measurements.selection import MICROSECOND, Selection, from_epoch_us

# Events of one instant in the order they came; the body last, so that no two engines order them differently.
IN_ORDER = "occurred_at, received_at, body"
EVENTS_SQL = f"""
SELECT epoch_us(occurred_at) AS at_us, epoch_us(received_at) AS received_us, body
FROM rows ORDER BY {IN_ORDER}
"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True, kw_only=True)
class FirmwareEvent:
    """One report of a device."""

    version: str
    status: str
    occurred_at: datetime
    received_at: datetime

    @property
    def is_in_force(self) -> bool:
        return Reported(version=self.version, status=self.status).is_in_force


@dataclass(frozen=True, slots=True, kw_only=True)
class NewReport:
    """What a device says it runs.

    Args:
        component: Its name.
        version: In the project's form.
        status: Its own word; `updated`, `installed`, `success` and none mean that the version runs.
        occurred_at: Since when; aware.
    """

    component: str
    version: str
    status: str
    occurred_at: datetime


def store_report(
    lake: HoldsSeries, registry: KnowsNames, project: str, new: NewReport, *, limits: Limits, visible: str | None
) -> Receipt:
    """Store a report as an event, like any other; the same one again is a duplicate and changes nothing.

    Args:
        lake: Where it is appended.
        registry: Where names are known.
        project: Slug.
        new: What is reported; its version was checked.
        limits: Of deliveries to the project.
        visible: The only component that the caller's key may write.

    Raises:
        Forbidden: a key of another component.
        RowsRefused: the instant is too far ahead or too old, or the project registers no new names.
        Refused: the project has no room for another series of events.
        Throttled: the project has brought its rows of the day.
    """
    row = {
        "component": new.component,
        "kind": FIRMWARE,
        "occurred_at": new.occurred_at.isoformat(),
        "body": write_firmware_body(Reported(version=new.version, status=new.status)),
    }
    body = msgspec.json.encode([row])
    return accept_events(lake, registry, project, body, "application/json", limits=limits, component=visible)


def find_events(
    snapshot: Snapshot, project: str, component: str, *, until: datetime | None = None, limit: int | None = None
) -> list[FirmwareEvent]:
    """Return the newest reports of a component, the oldest of them first.

    Args:
        snapshot: One pinned moment.
        project: Slug.
        component: Name.
        until: Leave out what came after this instant.
        limit: At most so many; None is all.
    """
    end = None if until is None else until + MICROSECOND
    selection = Selection(project=project, components=(component,), metrics=(FIRMWARE,), end=end)
    rows = snapshot.read(selection, EVENTS_SQL, table="events").read_all()
    if limit is not None and rows.num_rows > limit:
        rows = rows.slice(rows.num_rows - limit)
    found = (_read_event(*row.values()) for row in rows.to_pylist())
    return [event for event in found if event is not None]


def _read_event(at_us: int, received_us: int, body: str) -> FirmwareEvent | None:
    reported = read_firmware_body(body)
    if reported is None:
        return None
    return FirmwareEvent(
        version=reported.version,
        status=reported.status,
        occurred_at=from_epoch_us(at_us),
        received_at=from_epoch_us(received_us),
    )


def find_version_at(snapshot: Snapshot, project: str, component: str, at: datetime) -> FirmwareEvent | None:
    """Return the report that was in force at an instant: the last one before it, however long ago."""
    events = find_events(snapshot, project, component, until=at)
    return next((event for event in reversed(events) if event.is_in_force), None)
