"""The addresses of the device status service before us. Errors are in its shapes: `legacy_errors.py`."""

from collections.abc import Mapping
from datetime import datetime

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from gaugehouse.access import Caller
from gaugehouse.fleet.heartbeats import accept_heartbeat, read_heartbeat
from gaugehouse.fleet.status import Status, get_newest, stored_status
from gaugehouse.runtime import Runtime
from gaugehouse.web.security import InRuntime, MeasurementReader, MeasurementWriter
from gaugehouse.web.threads import InThreads

PATH = "/status"

router = APIRouter(prefix=PATH, include_in_schema=False)  # told in docs/compatibility.md: its shapes are not ours


def plain_number(value: float | None) -> float | int | None:
    """Return a number as it was sent: 90, not 90.0."""
    return int(value) if value is not None and value.is_integer() else value


def shown_status(status: Status) -> dict[str, object]:
    """Return a status as that service shows it in lists."""
    return {
        "device_id": status.component,
        "timestamp": status.measured_at,
        "battery_level": plain_number(status.battery_level),
        "rssi": plain_number(status.rssi),
        "online": status.is_online,
    }


def write_status(status: Status) -> bytes:
    """Return a status with its number and when it was stored."""
    added: Mapping[str, int | datetime] = {"id": status.number, "created_at": status.received_at}
    return msgspec.json.encode(shown_status(status) | added)


@router.post("")
async def add_status(request: Request, runtime: InRuntime, threads: InThreads, caller: MeasurementWriter) -> Response:
    """Store a status; 201 means it is on the disk. A repeated one is answered with what was stored first."""

    def store(body: bytes, _media_type: str) -> bytes:
        return write_status(_store(runtime, caller, body))

    stored = await threads.deliveries.store(request, store)
    return Response(stored, 201, media_type="application/json")


def _store(runtime: Runtime, caller: Caller, body: bytes) -> Status:
    heartbeat = read_heartbeat(body, limits=runtime.delivery_limits(caller.project))
    appended = accept_heartbeat(runtime.lake, runtime.registry, caller.project, heartbeat, component=caller.component)
    return stored_status(runtime.lake, caller.project, heartbeat, appended)


@router.get("/{device_id}")
def read_status(runtime: InRuntime, caller: MeasurementReader, device_id: str) -> Response:
    """Return the newest status of a device, from memory."""
    found = get_newest(runtime.lake, caller.project, device_id, visible=caller.component)
    return Response(write_status(found), media_type="application/json")
