"""The fleet: which devices are online, at risk or offline, and when they count as that."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from gaugehouse.access import Caller
from gaugehouse.fleet import Counts, State, Thresholds
from gaugehouse.fleet.listing import Wanted, list_devices
from gaugehouse.fleet.status import no_device
from gaugehouse.fleet.thresholds import BOUNDS, get_thresholds, put_thresholds
from gaugehouse.runtime import Runtime
from gaugehouse.web.api.asked import AskedChoice, choose_components
from gaugehouse.web.api.component_rows import ComponentInPath
from gaugehouse.web.api.devices import get_device
from gaugehouse.web.api.lists import ListCursor, ListLimit
from gaugehouse.web.auditing import InOrigin
from gaugehouse.web.edge import EdgeBody
from gaugehouse.web.encode import page_rows
from gaugehouse.web.problems import CHANGING, SECURED, WITH_BODY, refusals
from gaugehouse.web.security import InRuntime, Manager, StatusReader

router = APIRouter(prefix="/v1/fleet", tags=["fleet"])

DEFAULTS = Thresholds()


class DeviceStatus(BaseModel):
    """What a device said last, and what that makes it."""

    component: str = Field(examples=["sensor-1"])
    state: State = Field(description="Exactly one; a device at risk is in touch")
    reasons: list[str] = Field(
        description="no_heartbeat, says_offline; low_battery, weak_rssi, falling_battery", examples=[["low_battery"]]
    )
    measured_at: datetime = Field(description="The newest instant of any of the three metrics")
    battery_level: float | None = Field(description="Newest value, null when it was never sent [%]")
    rssi: float | None = Field(description="Newest value [dBm]")
    online: bool | None = Field(description="What the device says of itself")


class DeviceList(BaseModel):
    """One page of devices, by name."""

    items: list[DeviceStatus]
    next_cursor: str | None
    total: int = Field(description="Devices on all pages")


class ThresholdsBody(EdgeBody):
    """When a device is offline or at risk; what is left out is the default."""

    offline_after_s: float = Field(DEFAULTS.offline_after_s, description="Silent for longer: offline [s]")
    low_battery_percent: float = Field(DEFAULTS.low_battery_percent, description="Below: at risk [%]")
    weak_rssi_dbm: float = Field(DEFAULTS.weak_rssi_dbm, description="Below: at risk [dBm]")
    falling_battery_percent_per_hour: float = Field(
        DEFAULTS.falling_battery_percent_per_hour, description="Falls at least so fast: at risk [%/h]"
    )
    falling_battery_window_s: float = Field(
        DEFAULTS.falling_battery_window_s, description="Over which time that is looked at, back from now [s]"
    )


class FleetCounts(BaseModel):
    """How a fleet is."""

    devices: int
    online: int
    at_risk: int
    offline: int
    average_battery: float | None = Field(description="Mean of the newest levels, offline devices included [%]")


def _thresholds(runtime: Runtime, caller: Caller) -> Thresholds:
    with runtime.database.reading() as session:
        return get_thresholds(session, caller.project_id)


@router.get(
    "/status",
    summary="Devices and what they are",
    operation_id="find_device_states",
    response_model=DeviceList,
    responses=refusals(*SECURED, 404),
)
def list_status(
    runtime: InRuntime,
    caller: StatusReader,
    choice: AskedChoice,
    state: Annotated[State | None, Query(description="Only devices in this state")] = None,
    limit: ListLimit = 100,
    cursor: ListCursor = None,
) -> Response:
    """Return one page of the devices of the project by name, from memory.

    A device is a component that sent one of `battery_level`, `rssi` and `online`; retired ones are left out.
    """
    is_chosen = choice.names is not None or choice.type is not None or bool(choice.labels)
    page = list_devices(
        runtime.fleet,
        caller.project,
        caller.project_id,
        Wanted(
            names=choose_components(runtime, caller, choice) if is_chosen else None,
            state=state,
            visible=caller.component,
        ),
        _thresholds(runtime, caller),
        now=datetime.now(UTC),
        limit=limit,
        cursor=cursor,
    )
    return page_rows(page.devices, {"next_cursor": page.next_cursor, "total": page.total})


@router.get(
    "/status/{component}",
    summary="What a device is",
    operation_id="read_device_state",
    responses=refusals(*SECURED, 404),
)
def read_status(runtime: InRuntime, caller: StatusReader, component: ComponentInPath) -> DeviceStatus:
    """Return what one device said last, and what that makes it."""
    name = get_device(runtime, caller, component)
    page = list_devices(
        runtime.fleet,
        caller.project,
        caller.project_id,
        Wanted(names=(name,), visible=caller.component),
        _thresholds(runtime, caller),
        now=datetime.now(UTC),
        limit=1,
    )
    for found in page.devices.to_pylist():
        return DeviceStatus(**found)
    raise no_device(component)


@router.get(
    "/overview", summary="How the fleet is", operation_id="read_fleet_overview", responses=refusals(*SECURED, 404)
)
def read_overview(runtime: InRuntime, caller: StatusReader) -> FleetCounts:
    """Return how many devices are online, at risk and offline; of a key of one device it is that one."""
    thresholds = _thresholds(runtime, caller)
    devices = runtime.fleet.find_devices(caller.project, caller.project_id, visible=caller.component)
    counts: Counts = runtime.fleet.count(caller.project, devices, thresholds, datetime.now(UTC))
    return FleetCounts(
        devices=counts.devices,
        online=counts.online,
        at_risk=counts.at_risk,
        offline=counts.offline,
        average_battery=counts.average_battery,
    )


@router.get(
    "/thresholds",
    summary="When a device is offline or at risk",
    operation_id="read_fleet_thresholds",
    responses=refusals(*SECURED),
)
def read_thresholds(runtime: InRuntime, caller: StatusReader) -> Thresholds:
    """Return the thresholds of the project, or the defaults."""
    return _thresholds(runtime, caller)


@router.put(
    "/thresholds",
    summary="Say when a device is offline or at risk",
    operation_id="put_fleet_thresholds",
    responses=refusals(*CHANGING, *WITH_BODY),
    description="Set the thresholds of the project: "
    + ", ".join(f"`{name}` from {low:g} to {high:g}" for name, (low, high) in BOUNDS.items())
    + ". What is left out is the default again.",
)
def set_thresholds(runtime: InRuntime, caller: Manager, origin: InOrigin, body: ThresholdsBody) -> Thresholds:
    """Set the thresholds of the project; what is left out is the default again."""
    thresholds = Thresholds(**body.model_dump())
    with runtime.database.transaction() as session:
        put_thresholds(session, caller.project_id, thresholds)
        origin.by(caller).tell(session, "thresholds.change", details=asdict(thresholds))
    return thresholds
