"""Firmware as two small systems before this one spoke it; see docs/compatibility.md. Thin: the room `fleet` does it."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from gaugehouse.access import Caller
from gaugehouse.errors import NotFound
from gaugehouse.fleet.firmware import FirmwareEvent, NewReport, find_events, store_report
from gaugehouse.measurements.period import parse_instant
from gaugehouse.runtime import Runtime
from gaugehouse.web.api.asked import Choice, choose_components
from gaugehouse.web.edge import EdgeBody
from gaugehouse.web.security import EventReader, EventWriter, InRuntime

router = APIRouter(include_in_schema=False)  # told in docs/compatibility.md

DeviceId = Annotated[str, Path(min_length=1, max_length=200)]


class ReportBody(EdgeBody):
    """What a device says it runs."""

    firmware: str = Field(min_length=1, examples=["1.0.3"])
    timestamp: str = Field(max_length=64, examples=["2023-01-01T00:00:00.000000Z"], description="With Z or an offset")
    status: str = Field("", max_length=64, examples=["updated"])


class ReportView(BaseModel):
    """One event of a device."""

    firmware: str
    timestamp: datetime
    status: str


def get_device(runtime: Runtime, caller: Caller, device_id: str) -> str:
    """Return the name of a component that the caller may see.

    Raises:
        NotFound: the project has none, or it is not the caller's: the answer is the same.
    """
    if caller.component == device_id:  # a device need not have sent anything yet
        return device_id
    names = choose_components(runtime, caller, Choice(names=(device_id,), type=None, labels={})) or ()
    for name in names:
        return name
    raise NotFound(f"there is no component {device_id[:200]!r}", code="component_not_found")


def _view(event: FirmwareEvent) -> ReportView:
    return ReportView(firmware=event.version, timestamp=event.occurred_at, status=event.status)


@router.post("/firmware/{device_id}", status_code=201)
def add_report(runtime: InRuntime, caller: EventWriter, device_id: DeviceId, body: ReportBody) -> ReportView:
    """Store what a device runs since when; the same report again changes nothing."""
    occurred_at = parse_instant(body.timestamp)
    new = NewReport(component=device_id, version=body.firmware, status=body.status, occurred_at=occurred_at)
    limits = runtime.delivery_limits(caller.project)
    store_report(runtime.lake, runtime.registry, caller.project, new, limits=limits, visible=caller.component)
    return ReportView(firmware=body.firmware, timestamp=occurred_at, status=body.status)


@router.get("/firmware/{device_id}")
def list_reports(runtime: InRuntime, caller: EventReader, device_id: DeviceId) -> list[ReportView]:
    """Return every event of a device, the oldest first."""
    name = get_device(runtime, caller, device_id)
    limit = runtime.settings.page_limit_rows
    return [_view(event) for event in find_events(runtime.lake.pin(), caller.project, name, limit=limit)]
