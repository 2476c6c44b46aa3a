"""Schedules: reports of a template by the calendar."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from gaugehouse import reports
from gaugehouse.inventory import Page
from gaugehouse.jobs import CatchUp
from gaugehouse.reports import FireTime, FireView, ReportScheduleWishes, ScheduleView
from gaugehouse.web.api.lists import ListCursor, ListLimit, one_page
from gaugehouse.web.edge import EdgeBody
from gaugehouse.web.problems import CHANGING, SECURED, WITH_BODY, refusals
from gaugehouse.web.security import InRuntime, Manager

router = APIRouter(prefix="/v1/schedules", tags=["reports"])

ScheduleName = Annotated[str, Path(examples=["mondays"])]
PreviewCount = Annotated[int, Query(ge=1, le=100, description="How many fire times")]
RECURRENCE_HELP = (
    "every Monday 06:00 Europe/Berlin, every weekday 06:00 ..., first day of month 06:00 ..., hourly at :15 ...;"
    " `for last_week` behind it is the period of its reports"
)


class RecurrenceBody(EdgeBody):
    """When something repeats."""

    recurrence: str = Field(
        max_length=200, examples=["every Monday 06:00 Europe/Berlin for last_week"], description=RECURRENCE_HELP
    )
    timezone: str | None = Field(None, examples=["Europe/Berlin"], description="IANA zone, where the text names none")


class ScheduleBody(RecurrenceBody):
    """A schedule."""

    template: str = Field(examples=["weekly-pumps"], description="Name of the template")
    catch_up: CatchUp = Field(
        CatchUp.LATEST, strict=False, description="What becomes of fire times that were missed: one report, all or none"
    )
    catch_up_limit: int = Field(24, description="Most reports with `all`, 1 to 1000")

    def as_wishes(self) -> ReportScheduleWishes:
        """Return it in the words of the room `reports`."""
        return ReportScheduleWishes(
            template=self.template,
            recurrence=self.recurrence,
            timezone=self.timezone,
            catch_up=self.catch_up,
            catch_up_limit=self.catch_up_limit,
        )


class NewScheduleBody(ScheduleBody):
    """A schedule to create."""

    name: str = Field(examples=["mondays"], description="1-63 of a-z, 0-9, - and _; never changes")


@router.get("", summary="List schedules", operation_id="find_schedules", responses=refusals(*SECURED))
def list_schedules(runtime: InRuntime, caller: Manager) -> Page[ScheduleView]:
    """Return the project's schedules by name."""
    with runtime.database.reading() as session:
        return one_page(reports.list_report_schedules(session, caller))


@router.post(
    "",
    status_code=201,
    summary="Create a schedule",
    operation_id="create_schedule",
    responses=refusals(*CHANGING, *WITH_BODY, 404, 409),
)
def add_schedule(runtime: InRuntime, caller: Manager, body: NewScheduleBody, response: Response) -> ScheduleView:
    """Let a template's report be asked for by the calendar, from the next fire time on."""
    with runtime.database.transaction() as session:
        now = runtime.database.now(session)
        view = reports.create_report_schedule(session, caller, body.name, body.as_wishes(), now=now)
    response.headers["Location"] = f"/v1/schedules/{view.name}"
    return view


@router.post(
    "/preview",
    summary="Try a recurrence",
    operation_id="preview_recurrence",
    responses=refusals(*SECURED, *WITH_BODY),
)
def try_recurrence(
    runtime: InRuntime,
    caller: Manager,  # noqa: ARG001  # its scope is what is asked for
    body: RecurrenceBody,
    count: PreviewCount = 5,
) -> Page[FireTime]:
    """Return the next fire times of a recurrence that no schedule has yet."""
    with runtime.database.reading() as session:
        now = runtime.database.now(session)
    return one_page(reports.preview_recurrence(body.recurrence, timezone=body.timezone, now=now, count=count))


@router.get("/{name}", summary="One schedule", operation_id="read_schedule", responses=refusals(*SECURED, 404))
def read_schedule(runtime: InRuntime, caller: Manager, name: ScheduleName) -> ScheduleView:
    """Return a schedule with its next fire time."""
    with runtime.database.reading() as session:
        return reports.get_report_schedule(session, caller, name)


@router.put(
    "/{name}",
    summary="Change a schedule",
    operation_id="replace_schedule",
    responses=refusals(*CHANGING, *WITH_BODY, 404),
)
def replace_schedule(runtime: InRuntime, caller: Manager, name: ScheduleName, body: ScheduleBody) -> ScheduleView:
    """Make a schedule something else from now on; a paused one stays paused."""
    with runtime.database.transaction() as session:
        now = runtime.database.now(session)
        return reports.replace_report_schedule(session, caller, name, body.as_wishes(), now=now)


@router.delete(
    "/{name}",
    status_code=204,
    summary="Delete a schedule",
    operation_id="delete_schedule",
    responses=refusals(*CHANGING, 404),
)
def delete_schedule(runtime: InRuntime, caller: Manager, name: ScheduleName) -> None:
    """Delete a schedule and its history; its reports stay."""
    with runtime.database.transaction() as session:
        reports.delete_report_schedule(session, caller, name)


@router.post(
    "/{name}/pause", summary="Pause a schedule", operation_id="pause_schedule", responses=refusals(*CHANGING, 404)
)
def pause_schedule(runtime: InRuntime, caller: Manager, name: ScheduleName) -> ScheduleView:
    """Let a schedule rest."""
    with runtime.database.transaction() as session:
        return reports.pause_report_schedule(session, caller, name)


@router.post(
    "/{name}/resume", summary="Resume a schedule", operation_id="resume_schedule", responses=refusals(*CHANGING, 404)
)
def resume_schedule(runtime: InRuntime, caller: Manager, name: ScheduleName) -> ScheduleView:
    """Let a paused schedule go on with its next fire time; what it missed is not made up for."""
    with runtime.database.transaction() as session:
        now = runtime.database.now(session)
        return reports.resume_report_schedule(session, caller, name, now=now)


@router.get(
    "/{name}/preview",
    summary="What a schedule will do",
    operation_id="preview_schedule",
    responses=refusals(*SECURED, 404),
)
def preview_schedule(
    runtime: InRuntime, caller: Manager, name: ScheduleName, count: PreviewCount = 5
) -> Page[FireTime]:
    """Return the next fire times of a schedule and the periods of their reports."""
    with runtime.database.reading() as session:
        now = runtime.database.now(session)
        return one_page(reports.preview_report_schedule(session, caller, name, now=now, count=count))


@router.get(
    "/{name}/history",
    summary="What a schedule did",
    operation_id="read_schedule_history",
    responses=refusals(*SECURED, 404),
)
def read_history(
    runtime: InRuntime, caller: Manager, name: ScheduleName, limit: ListLimit = 100, cursor: ListCursor = None
) -> Page[FireView]:
    """Return one page of fire times with what became of them, the newest first."""
    with runtime.database.reading() as session:
        return reports.list_fires(session, caller, name, limit=limit, cursor=cursor)
