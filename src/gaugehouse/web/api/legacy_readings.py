"""The addresses of the device readings service before us. Errors are in its shapes: `legacy_errors.py`."""

from datetime import datetime

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from gaugehouse.fleet.readings import accept_readings, get_latest_at, read_device_id, read_readings, sum_counts
from gaugehouse.web.security import InRuntime, MeasurementWriter, StatusReader
from gaugehouse.web.threads import InThreads

PREFIX, CREATE = "/api", "/device-readings/create"
CREATE_PATH = PREFIX + CREATE

router = APIRouter(prefix=PREFIX, include_in_schema=False)  # told in docs/compatibility.md: its shapes are not ours

OK = {"status": "ok"}


@router.get("/ping")
async def ping() -> Response:
    """Say that somebody is here."""
    return JSONResponse(OK)


@router.post(CREATE)
async def add_readings(request: Request, runtime: InRuntime, threads: InThreads, caller: MeasurementWriter) -> Response:
    """Store readings; 201 means they are on the disk. What is known by device and instant is passed over."""

    def store(body: bytes, _media_type: str) -> None:
        limits = runtime.delivery_limits(caller.project)
        readings = read_readings(body, limits=limits)
        room = runtime.room_for_measurements(caller.project, limits)
        accept_readings(room, runtime.registry, readings, component=caller.component)

    await threads.deliveries.store(request, store)
    return JSONResponse(OK, 201)


@router.get("/device-readings/{device_id}/latest-timestamp")
def read_latest_timestamp(runtime: InRuntime, caller: StatusReader, device_id: str) -> Response:
    """Return when the newest reading of a device was read, with the offset that was sent."""
    device = read_device_id(device_id)
    latest_at = get_latest_at(runtime.lake, caller.project, device, visible=caller.component)
    return JSONResponse({"timestamp": shown_instant(latest_at)})


@router.get("/device-readings/{device_id}/cumulative-count")
def read_cumulative_count(runtime: InRuntime, caller: StatusReader, device_id: str) -> Response:
    """Return the sum of all readings of a device."""
    device = read_device_id(device_id)
    count = sum_counts(runtime.lake.pin(), caller.project, device, visible=caller.component)
    return JSONResponse({"cumulative_count": count})


def shown_instant(instant: datetime) -> str:
    """Return an instant as that service writes it: 2012-09-29T16:08:15+0100, with a fraction only where there is one.

    >>> shown_instant(datetime.fromisoformat("2012-09-29T16:08:15+01:00"))
    '2012-09-29T16:08:15+0100'
    """
    fraction = ".%f" if instant.microsecond else ""
    return instant.strftime(f"%Y-%m-%dT%H:%M:%S{fraction}%z")
