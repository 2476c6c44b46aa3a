"""Firmware: who runs what, what a device is to run, and what managers decide: releases and rollouts."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, Field

from gaugehouse.access import Caller
from gaugehouse.fleet.census import Census, Straggler
from gaugehouse.fleet.firmware import find_version_at
from gaugehouse.fleet.releases import (
    SHA256_PATTERN,
    URL_PATTERN,
    NewRelease,
    ReleaseChanges,
    ReleaseView,
    add_release,
    change_release,
    find_releases,
    get_form,
    get_release,
    put_form,
    tell_changes,
)
from gaugehouse.fleet.rollouts import NewRollout, RolloutView, add_rollout, change_rollout, find_rollouts, get_rollout
from gaugehouse.fleet.targets import Reason, Target
from gaugehouse.inventory import Page
from gaugehouse.measurements.period import parse_instant
from gaugehouse.query.cursor import Cursor, decode_cursor, encode_cursor
from gaugehouse.runtime import Runtime
from gaugehouse.web.api.asked import InstantText
from gaugehouse.web.api.component_rows import ComponentInPath
from gaugehouse.web.api.devices import get_device
from gaugehouse.web.api.lists import ListCursor, ListLimit
from gaugehouse.web.auditing import InOrigin
from gaugehouse.web.edge import EdgeBody
from gaugehouse.web.problems import CHANGING, SECURED, WITH_BODY, refusals
from gaugehouse.web.security import FirmwareReader, InRuntime, Manager

router = APIRouter(prefix="/v1/firmware", tags=["firmware"])

ReleaseId = Annotated[str, Path(examples=["fwr_3kTMd0"])]
RolloutId = Annotated[str, Path(examples=["rol_3kTMd0"])]
State = Literal["available", "recommended", "withdrawn"]
Url = Annotated[str, Field(max_length=1000, pattern=URL_PATTERN, examples=["https://fw.example/1.1.0.bin"])]
Sha256 = Annotated[str, Field(pattern=SHA256_PATTERN)]


class FormBody(EdgeBody):
    """In which form the versions of a project are."""

    form: str = Field(
        examples=["dotted", "FW{number}.{number}[-{word}]"],
        description="dotted, semver, or a pattern of {number}, {word}, [optional part] and plain characters",
    )


class FormView(BaseModel):
    """In which form the versions of a project are."""

    form: str = Field(examples=["dotted"])


class ReleaseBody(EdgeBody):
    """A version to release."""

    version: str = Field(examples=["1.1.0"], description="In the project's form; never changes")
    component_type: str = Field("", examples=["pump"], description="Whom it is for; empty is everybody")
    state: State = Field("available", description="A recommended one takes the place of the one before")
    url: Url | None = None
    sha256: Sha256 | None = None
    notes: str = ""


class ReleasePatch(EdgeBody):
    """What is to change."""

    state: State | None = None
    url: Url | None = None
    sha256: Sha256 | None = None
    notes: str | None = None
    reason: str | None = Field(None, description="Why it is withdrawn")


class RolloutBody(EdgeBody):
    """Whom to tell to run a release: all that is given must fit."""

    release: str = Field(examples=["fwr_3kTMd0"], description="Id of a release")
    share_percent: float = Field(100.0, ge=0, le=100, examples=[10], description="Of those who fit, by a hash [%]")
    labels: dict[str, str] = Field(default_factory=dict, examples=[{"site": "north"}])
    components: list[str] | None = Field(None, description="Names or ids, at most 10,000; null: everybody")


class RolloutPatch(EdgeBody):
    """What is to change."""

    state: Literal["active", "paused", "ended"] | None = Field(None, description="An ended one stays ended")
    share_percent: float | None = Field(None, ge=0, le=100, description="A share that grows only adds devices [%]")


class VersionView(BaseModel):
    """What a component ran at an instant."""

    component: str
    version: str | None = Field(description="null: it had not said yet")
    status: str | None
    since: datetime | None
    at: datetime


class TargetView(BaseModel):
    """What a device is to run."""

    component: str
    running: str | None = Field(description="What it said it runs; null: nothing yet")
    version: str | None = Field(description="What it is to run; null: it has nothing to do")
    is_update: bool = Field(description="Whether that is another version")
    url: str | None
    sha256: str | None
    reason: Reason
    rollout: str | None = Field(description="Id of the rollout that says so")


class Stragglers(BaseModel):
    """Devices behind what is recommended, by name."""

    items: list[Straggler]
    next_cursor: str | None


def view_target(runtime: Runtime, caller: Caller, component: str) -> TargetView:
    """Return what a component that the caller may see is to run."""
    name = get_device(runtime, caller, component)
    running, target = runtime.installed.find_target(caller.project, caller.project_id, name)
    return show_target(name, running, target)


def show_target(component: str, running: str | None, target: Target) -> TargetView:
    """Return what a component that runs some version is told."""
    return TargetView(
        component=component,
        running=running,
        version=target.version,
        is_update=target.version not in {None, running},
        url=target.url,
        sha256=target.sha256,
        reason=target.reason,
        rollout=target.rollout,
    )


@router.get("/versions", summary="Who runs what", operation_id="count_firmware", responses=refusals(*SECURED))
def count_versions(runtime: InRuntime, caller: FirmwareReader, at: InstantText = None) -> Census:
    """Return how many devices run each version, now or at an instant (`at`), and how many are behind."""
    instant = None if at is None else parse_instant(at)
    return runtime.installed.take_census(caller.project, caller.project_id, at=instant, visible=caller.component)


@router.get("/behind", summary="Who is behind", operation_id="find_firmware_behind", responses=refusals(*SECURED))
def list_behind(
    runtime: InRuntime, caller: FirmwareReader, limit: ListLimit = 100, cursor: ListCursor = None
) -> Stragglers:
    """Return devices that run an older version than the recommended one. A version of no form is not judged."""
    after, project = "", caller.project
    if cursor is not None:
        after = str(decode_cursor(cursor, table="firmware", project=project, types=(str,)).key[0])
    found = runtime.installed.find_stragglers(
        project, caller.project_id, limit=limit + 1, after=after, visible=caller.component
    )
    if len(found) <= limit:
        return Stragglers(items=found, next_cursor=None)
    last = Cursor(as_of=datetime.now(UTC), key=(found[limit - 1].component,))
    return Stragglers(items=found[:limit], next_cursor=encode_cursor(last, table="firmware", project=project))


@router.get("/form", summary="Form of versions", operation_id="read_firmware_form", responses=refusals(*SECURED))
def read_form(runtime: InRuntime, caller: FirmwareReader) -> FormView:
    """Return in which form the versions of the project are; `dotted` until somebody chooses."""
    with runtime.database.reading() as session:
        return FormView(form=get_form(session, caller.project_id).text)


@router.put(
    "/form", summary="Set the form", operation_id="set_firmware_form", responses=refusals(*CHANGING, *WITH_BODY)
)
def set_form(runtime: InRuntime, caller: Manager, origin: InOrigin, body: FormBody) -> FormView:
    """Set the form that versions must have from now on; what was reported and released stays."""
    with runtime.database.transaction() as session:
        form = put_form(session, caller.project_id, body.form)
        origin.by(caller).tell(session, "firmware_form.change", details={"form": form.text})
    runtime.firmware_plans.forget(caller.project_id)
    return FormView(form=form.text)


@router.post(
    "/releases",
    status_code=201,
    summary="Release a version",
    operation_id="add_firmware_release",
    responses=refusals(*CHANGING, *WITH_BODY, 409),
)
def add(runtime: InRuntime, caller: Manager, origin: InOrigin, body: ReleaseBody, response: Response) -> ReleaseView:
    """Release a version. Devices are told of it once it is recommended, or by a rollout."""
    with runtime.database.transaction() as session:
        added = add_release(session, caller.project_id, NewRelease(**body.model_dump()), author=caller.name)
        details = {"component_type": added.component_type, "state": added.state}
        origin.by(caller).tell(session, "firmware_release.create", id=added.id, name=added.version, details=details)
    runtime.firmware_plans.forget(caller.project_id)
    response.headers["Location"] = f"/v1/firmware/releases/{added.id}"
    return added


@router.get("/releases", summary="Find releases", operation_id="find_firmware_releases", responses=refusals(*SECURED))
def list_releases(
    runtime: InRuntime,
    caller: Manager,
    state: State | None = None,
    sort: Annotated[str, Query(description="created_at or version (as text); -created_at reverses")] = "-created_at",
    limit: ListLimit = 100,
    cursor: ListCursor = None,
) -> Page[ReleaseView]:
    """Return one page of the project's releases, withdrawn ones included."""
    with runtime.database.reading() as session:
        return find_releases(session, caller.project_id, state=state, sort=sort, limit=limit, cursor=cursor)


@router.get(
    "/releases/{release}",
    summary="One release",
    operation_id="read_firmware_release",
    responses=refusals(*SECURED, 404),
)
def read_release(runtime: InRuntime, caller: Manager, release: ReleaseId) -> ReleaseView:
    """Return a release, withdrawn or not."""
    with runtime.database.reading() as session:
        return get_release(session, caller.project_id, release)


@router.patch(
    "/releases/{release}",
    summary="Change a release",
    operation_id="change_firmware_release",
    responses=refusals(*CHANGING, *WITH_BODY, 404),
)
def patch_release(
    runtime: InRuntime, caller: Manager, origin: InOrigin, release: ReleaseId, body: ReleasePatch
) -> ReleaseView:
    """Recommend, withdraw or describe a release. Devices on a withdrawn one are told to go back."""
    with runtime.database.transaction() as session:
        changed = change_release(session, caller.project_id, release, ReleaseChanges(**body.model_dump()))
        told = tell_changes(body.model_dump(exclude_unset=True))
        origin.by(caller).tell(session, "firmware_release.change", id=changed.id, name=changed.version, details=told)
    runtime.firmware_plans.forget(caller.project_id)
    return changed


@router.post(
    "/rollouts",
    status_code=201,
    summary="Roll out",
    operation_id="add_firmware_rollout",
    responses=refusals(*CHANGING, *WITH_BODY, 404),
)
def roll_out(
    runtime: InRuntime, caller: Manager, origin: InOrigin, body: RolloutBody, response: Response
) -> RolloutView:
    """Tell a share of all devices, of those with labels, or of those in a list, to run a release."""
    components = None if body.components is None else tuple(body.components)
    new = NewRollout(release=body.release, share_percent=body.share_percent, labels=body.labels, components=components)
    with runtime.database.transaction() as session:
        added = add_rollout(session, caller.project_id, new, author=caller.name)
        details = body.model_dump(exclude={"components"}) | {"components": components and len(components)}
        origin.by(caller).tell(session, "firmware_rollout.create", id=added.id, name=added.version, details=details)
    runtime.firmware_plans.forget(caller.project_id)
    response.headers["Location"] = f"/v1/firmware/rollouts/{added.id}"
    return added


@router.get("/rollouts", summary="Find rollouts", operation_id="find_firmware_rollouts", responses=refusals(*SECURED))
def list_rollouts(
    runtime: InRuntime,
    caller: Manager,
    include_ended: bool = False,
    sort: Annotated[str, Query(description="created_at; -created_at reverses")] = "-created_at",
    limit: ListLimit = 100,
    cursor: ListCursor = None,
) -> Page[RolloutView]:
    """Return one page of the project's rollouts, ended ones on request."""
    with runtime.database.reading() as session:
        return find_rollouts(
            session, caller.project_id, include_ended=include_ended, sort=sort, limit=limit, cursor=cursor
        )


@router.get(
    "/rollouts/{rollout}",
    summary="One rollout",
    operation_id="read_firmware_rollout",
    responses=refusals(*SECURED, 404),
)
def read_rollout(runtime: InRuntime, caller: Manager, rollout: RolloutId) -> RolloutView:
    """Return a rollout, ended or not."""
    with runtime.database.reading() as session:
        return get_rollout(session, caller.project_id, rollout)


@router.patch(
    "/rollouts/{rollout}",
    summary="Change a rollout",
    operation_id="change_firmware_rollout",
    responses=refusals(*CHANGING, *WITH_BODY, 404),
)
def patch_rollout(
    runtime: InRuntime, caller: Manager, origin: InOrigin, rollout: RolloutId, body: RolloutPatch
) -> RolloutView:
    """Pause, continue or end a rollout, or change its share: a growing one only adds devices."""
    with runtime.database.transaction() as session:
        changed = change_rollout(
            session, caller.project_id, rollout, state=body.state, share_percent=body.share_percent
        )
        details = body.model_dump(exclude_unset=True)
        origin.by(caller).tell(session, "firmware_rollout.change", id=changed.id, name=changed.version, details=details)
    runtime.firmware_plans.forget(caller.project_id)
    return changed


@router.get(
    "/{component}/target",
    summary="What to run",
    operation_id="read_firmware_target",
    responses=refusals(*SECURED, 404),
)
def read_target(runtime: InRuntime, caller: FirmwareReader, component: ComponentInPath) -> TargetView:
    """Return what a device is to run: `version` with its `url` and `sha256`, and whether that is an update.

    Always 200: what it runs already is an answer as well, and `reason` says why.
    """
    return view_target(runtime, caller, component)


@router.get(
    "/{component}",
    summary="Version in force",
    operation_id="read_firmware_version",
    responses=refusals(*SECURED, 404),
)
def read_version(
    runtime: InRuntime,
    caller: FirmwareReader,
    component: ComponentInPath,
    at: InstantText = None,
) -> VersionView:
    """Return what a component runs now, or ran at an instant (`at`): the last report before it counts.

    A component that is named like a list beside it (`versions`, `form` ...) is asked for by its id.
    """
    name = get_device(runtime, caller, component)
    instant = datetime.now(UTC) if at is None else parse_instant(at)
    event = find_version_at(runtime.lake.pin(), caller.project, name, instant)
    return VersionView(
        component=name,
        version=None if event is None else event.version,
        status=None if event is None else event.status,
        since=None if event is None else event.occurred_at,
        at=instant,
    )
