"""The addresses of the device status service before us. Errors are in its shapes: `legacy_errors.py`."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from gaugehouse.access import Caller
from gaugehouse.fleet.heartbeats import accept_heartbeat, read_heartbeat, refuse_fields
from gaugehouse.fleet.history import read_history
from gaugehouse.fleet.overview import portions
from gaugehouse.fleet.status import Status, find_stored, get_newest, statuses_of, to_columns
from gaugehouse.ingest.instants import parse_instant_text
from gaugehouse.lake.keyhash import Int32s
from gaugehouse.measurements.selection import from_epoch_us
from gaugehouse.runtime import Runtime
from gaugehouse.web.encode import encode_ndjson
from gaugehouse.web.security import InRuntime, MeasurementWriter, StatusReader
from gaugehouse.web.threads import InThreads

PATH = "/status"
JSON = "application/json"
LARGEST_PAGE = 100
LARGEST_SUMMARY_PAGE = 10_000
LAST_PAGE = 10**9

router = APIRouter(prefix=PATH, include_in_schema=False)  # told in docs/compatibility.md: its shapes are not ours

PageNumber = Annotated[int, Query(ge=1, le=LAST_PAGE)]


def _plain_number(value: float | None) -> float | int | None:
    """Return a number as it was sent: 90, not 90.0."""
    return int(value) if value is not None and value.is_integer() else value


def _shown(status: Status) -> dict[str, object]:
    return {
        "device_id": status.component,
        "timestamp": status.measured_at,
        "battery_level": _plain_number(status.battery_level),
        "rssi": _plain_number(status.rssi),
        "online": status.is_online,
        "id": status.number,
        "created_at": status.received_at,
    }


def write_status(status: Status) -> bytes:
    """Return a status as that service answers it."""
    return msgspec.json.encode(_shown(status))


@router.post("")
async def add_status(request: Request, runtime: InRuntime, threads: InThreads, caller: MeasurementWriter) -> Response:
    """Store a status; 201 means it is on the disk. A repeated one is answered with what was stored first."""

    def store(body: bytes, _media_type: str) -> bytes:
        return write_status(_store(runtime, caller, body))

    return Response(await threads.deliveries.store(request, store), 201, media_type=JSON)


def _store(runtime: Runtime, caller: Caller, body: bytes) -> Status:
    limits = runtime.delivery_limits(caller.project)
    heartbeat = read_heartbeat(body, limits=limits)
    room = runtime.room_for_measurements(caller.project, limits)
    appended = accept_heartbeat(room, runtime.registry, heartbeat, component=caller.component)
    return find_stored(runtime.lake, caller.project, heartbeat, appended)


@router.get("/summary")
def read_summary(
    runtime: InRuntime,
    caller: StatusReader,
    page: Annotated[int | None, Query(ge=1, le=LAST_PAGE)] = None,
    page_size: Annotated[int | None, Query(ge=1, le=LARGEST_SUMMARY_PAGE)] = None,
) -> Response:
    """Return all devices with their newest status, streamed from memory; or one page of them, which is ours."""
    runtime.lake.refuse_unread(caller.project, None if caller.component is None else [caller.component])
    devices = runtime.fleet.find_devices(caller.project, caller.project_id, visible=caller.component)
    if page is None and page_size is None:
        chunks = _write_summary(runtime, caller.project, devices, int(devices.size))
        return StreamingResponse(chunks, media_type=JSON)
    size = LARGEST_PAGE if page_size is None else page_size
    first = ((page or 1) - 1) * size
    chunks = _write_summary(runtime, caller.project, devices[first : first + size], int(devices.size))
    return Response(b"".join(chunks), media_type=JSON)


def _write_summary(runtime: Runtime, project: str, devices: Int32s, total: int) -> Iterator[bytes]:
    separator = b""
    yield b'{"total_devices":%d,"devices":[' % total
    for portion in portions(devices):
        rows = encode_ndjson(_summary_rows(to_columns(runtime.lake, project, portion)))
        if rows:
            # A line break inside a text is escaped in NDJSON: the others are between rows.
            yield separator + rows.rstrip(b"\n").replace(b"\n", b",")
            separator = b","
    yield b"]}"


def _summary_rows(statuses: pa.RecordBatch) -> pa.RecordBatch:
    columns = {
        "device_id": statuses["component"],
        "timestamp": statuses["measured_at"],
        "battery_level": _plain_numbers(statuses["battery_level"]),
        "rssi": _plain_numbers(statuses["rssi"]),
        "online": statuses["online"],
    }
    return pa.RecordBatch.from_pydict(columns)


def _plain_numbers(column: pa.DoubleArray) -> pa.Array:
    """Return integers where all of a column are: as they were sent."""
    floats = column.to_numpy(zero_copy_only=False)
    is_whole = np.isnan(floats) | (floats == np.trunc(floats))
    return pc.cast(column, pa.int64()) if is_whole.all() else column


@router.get("/{device_id}/history")
def read_status_history(
    runtime: InRuntime,
    caller: StatusReader,
    device_id: str,
    page: PageNumber = 1,
    page_size: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = 10,
    start_date: str | None = None,
    end_date: str | None = None,
) -> Response:
    """Return one page of the statuses of a device, the newest first; both dates belong to the span."""
    history = read_history(
        runtime.lake.pin(),
        caller.project,
        device_id,
        visible=caller.component,
        first=_read_instant("start_date", start_date),
        last=_read_instant("end_date", end_date),
        page=page,
        page_size=page_size,
    )
    body = {
        "device_id": device_id,
        "statuses": [_shown(status) for status in statuses_of(device_id, history.statuses)],
        "total_records": history.total,
        "page": page,
        "page_size": page_size,
        "total_pages": -(-history.total // page_size),
    }
    return Response(msgspec.json.encode(body), media_type=JSON)


def _read_instant(field: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    instant_us = parse_instant_text(text)
    problem = instant_us if isinstance(instant_us, str) else None
    if isinstance(instant_us, int) and instant_us < 0:
        problem = "is before 1970"
    if problem is not None:
        raise refuse_fields({f"query.{field}": problem})
    return from_epoch_us(int(instant_us))


@router.get("/{device_id}")
async def read_status(runtime: InRuntime, caller: StatusReader, device_id: str) -> Response:
    """Return the newest status of a device, from memory: a thread would cost more than the answer."""
    found = get_newest(runtime.lake, caller.project, device_id, visible=caller.component)
    return Response(write_status(found), media_type=JSON)
