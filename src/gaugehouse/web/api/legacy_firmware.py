"""Firmware as two small systems before this one spoke it; see docs/compatibility.md. Thin: the room `fleet` does it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import PlainTextResponse, Response

from gaugehouse.access import Caller, Scope, is_member
from gaugehouse.errors import NotFound, Refused, Unauthenticated
from gaugehouse.fleet.firmware import FirmwareEvent, NewReport, find_events, store_report
from gaugehouse.fleet.running import Running
from gaugehouse.fleet.versions import VERSION_REFUSED
from gaugehouse.measurements.firmware import Reported
from gaugehouse.measurements.period import parse_instant
from gaugehouse.runtime import Runtime
from gaugehouse.web.api.devices import get_device
from gaugehouse.web.api.firmware import TargetView, view_target
from gaugehouse.web.edge import EdgeBody
from gaugehouse.web.pace import admit_caller, counting_strangers, paces_of
from gaugehouse.web.security import EventWriter, FirmwareReader, InRuntime, find_caller_of_key
from gaugehouse.web.threads import InThreads

router = APIRouter(include_in_schema=False)  # told in docs/compatibility.md

PATH, UPLOAD_PATH = "/firmware", "/upload_firmware_update"
UPDATED = "Successfully updated firmware version"
PREFIX = "SemVer"  # theirs, before every version
INSTALLED = "updated"  # the second form knows no other status

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


class UpdateBody(EdgeBody):
    """The second form: the key stands in the body, and there is no time."""

    device_id: int | str = Field(examples=[1])
    secret: str = Field(max_length=200, repr=False)
    version: str = Field(max_length=200, examples=["SemVer1.1"])


class UpdateView(BaseModel):
    """One event, as the second form lists it."""

    device_id: int | str
    version: str
    timestamp: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """Who uploads, and what."""

    caller: Caller
    component: str
    version: str


@router.post(PATH + "/{device_id}", status_code=201)
async def add_report(
    runtime: InRuntime, threads: InThreads, caller: EventWriter, device_id: DeviceId, body: ReportBody
) -> ReportView:
    """Store what a device runs since when; the same report again changes nothing."""
    occurred_at = parse_instant(body.timestamp)
    new = NewReport(component=device_id, version=body.firmware, status=body.status, occurred_at=occurred_at)
    await threads.deliveries.run(partial(_store, runtime, caller, new))
    return ReportView(firmware=new.version, timestamp=occurred_at, status=new.status)


@router.get(PATH + "/{device_id}")
def list_reports(runtime: InRuntime, caller: FirmwareReader, device_id: DeviceId) -> list[ReportView]:
    """Return the events of a device, the oldest first; of very many the newest."""
    name = get_device(runtime, caller, device_id)
    return [
        ReportView(firmware=event.version, timestamp=event.occurred_at, status=event.status)
        for event in _find(runtime, caller, name)
    ]


@router.get(PATH + "/{device_id}/target")
def read_target(runtime: InRuntime, caller: FirmwareReader, device_id: DeviceId) -> TargetView:
    """Return what a device is to run, as `/v1/firmware/{component}/target` does."""
    return view_target(runtime, caller, device_id)


def _store(runtime: Runtime, caller: Caller, new: NewReport) -> None:
    """Store a report, and let who asks next know."""
    runtime.firmware_plans.form(caller.project_id).check(new.version)
    limits = runtime.delivery_limits(caller.project)
    store_report(runtime.lake, runtime.registry, caller.project, new, limits=limits, visible=caller.component)
    if Reported(version=new.version, status=new.status).is_in_force:
        running = Running(version=new.version, since=new.occurred_at)
        runtime.versions.note(caller.project, new.component, running)


def _find(runtime: Runtime, caller: Caller, component: str) -> list[FirmwareEvent]:
    limit = runtime.settings.page_limit_rows
    return find_events(runtime.lake.pin(), caller.project, component, limit=limit)


# --- the second form: the device's key as `secret`, in the body or (where that is allowed) in the address


def _find_device(request: Request, runtime: Runtime, device_id: int | str, secret: str, scope: Scope) -> Caller:
    """Return the device whose own key a secret is; nobody learns what was wrong."""
    with counting_strangers(paces_of(request), request.scope) as strangers:
        caller = find_caller_of_key(runtime.access, secret, strangers)
        if caller.component != str(device_id) or not caller.may(scope):
            raise Unauthenticated("the secret is not this device's", code="secret_refused")
    admit_caller(request, caller)
    return caller


def authorize_update(request: Request, runtime: InRuntime, body: UpdateBody) -> Update:
    """Return what is uploaded if its secret is the API key of its device.

    Raises:
        Unauthenticated: it is not, or may not write events.
        Refused: the version is not dotted, with or without `SemVer` before it.
    """
    caller = _find_device(request, runtime, body.device_id, body.secret, Scope.EVENTS_WRITE)
    version = body.version.removeprefix(PREFIX)
    if "." not in version:
        raise Refused("the version is not dotted", code=VERSION_REFUSED)
    return Update(caller=caller, component=str(body.device_id), version=version)


@router.post(UPLOAD_PATH)
async def upload(
    runtime: InRuntime, threads: InThreads, update: Annotated[Update, Depends(authorize_update)]
) -> Response:
    """Store that a device runs a version from now on; the one that it runs already adds no event."""
    await threads.deliveries.run(partial(_upload, runtime, update))
    return PlainTextResponse(UPDATED)


def _upload(runtime: Runtime, update: Update) -> None:
    project, component = update.caller.project, update.component
    with runtime.versions.reporting(project, component):
        running = runtime.versions.find(project, component)
        if running is None or running.version != update.version:
            new = NewReport(
                component=component, version=update.version, status=INSTALLED, occurred_at=datetime.now(UTC)
            )
            _store(runtime, update.caller, new)


def authorize_url(
    request: Request,
    runtime: InRuntime,
    email: Annotated[str, Query(max_length=200)],
    device_id: Annotated[str, Query(max_length=200)],
    secret: Annotated[str, Query(max_length=200)],
) -> Caller:
    """Return the device whose key stands in the address, where that is allowed.

    Raises:
        NotFound: it is not: addresses are kept in logs of proxies and histories of browsers.
        Unauthenticated: the secret is not the device's, or nobody of this name is in its project.
    """
    if not (runtime.settings.demo or runtime.settings.legacy_url_secret):
        raise NotFound("this address wants a secret in it: it is off without GAUGEHOUSE_LEGACY_URL_SECRET")
    caller = _find_device(request, runtime, device_id, secret, Scope.FIRMWARE_READ)
    with runtime.database.reading() as session:
        is_known = is_member(session, caller.project_id, email, include_demo=runtime.settings.demo)
    with counting_strangers(paces_of(request), request.scope):  # a device's key must not find out who there is
        if not is_known:
            raise Unauthenticated("nobody of this name is in the project", code="secret_refused")
    return caller


@router.get("/get_firmware_updates_by_device_id")
def list_updates(runtime: InRuntime, caller: Annotated[Caller, Depends(authorize_url)]) -> list[UpdateView]:
    """Return the events of a device as the second form lists them."""
    component = caller.component or ""
    is_number = component.isascii() and component.isdigit() and str(int(component)) == component
    return [
        UpdateView(
            device_id=int(component) if is_number else component,
            version=f"{PREFIX}{event.version}",
            timestamp=event.occurred_at,
        )
        for event in _find(runtime, caller, component)
    ]
