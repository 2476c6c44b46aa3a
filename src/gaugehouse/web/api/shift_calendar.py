"""The shift calendar of a project: managers read it and make new versions; old ones stay."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from gaugehouse.inventory import ShiftCalendarView, get_shift_calendar, put_shift_calendar
from gaugehouse.measurements.shift_calendar import read_shift_calendar
from gaugehouse.web.edge import EdgeBody
from gaugehouse.web.problems import CHANGING, SECURED, WITH_BODY, refusals
from gaugehouse.web.security import InRuntime, Manager

router = APIRouter(prefix="/v1/shift-calendar", tags=["calendar"])


class ShiftBody(EdgeBody):
    """A span of the wall clock that is worked on some days of the week."""

    name: str = Field(examples=["night"], description="Several shifts may share it on different days")
    start: str = Field(examples=["22:00"], description="Local time of day")
    duration: str = Field(examples=["PT8H"], description="On the wall clock, up to 24 hours: PT8H, PT7H30M, 8h")
    days: list[str] = Field(examples=[["mon", "tue", "wed", "thu", "fri"]], description="Days it starts on")
    valid_from: str | None = Field(None, examples=["2026-11-01"], description="First day it may start on")
    valid_until: str | None = Field(None, description="Last day it may start on")


class HolidayBody(EdgeBody):
    """A day on which no shift starts."""

    day: str = Field(examples=["2026-12-25"])
    name: str = Field("", examples=["Christmas Day"])


class ShiftCalendarBody(EdgeBody):
    """All shifts of the project; none may overlap with another."""

    timezone: str = Field(examples=["Europe/Berlin"], description="IANA zone of the plant's clocks")
    shifts: list[ShiftBody]
    holidays: list[HolidayBody] = Field(default_factory=list)


@router.get("", summary="The shift calendar", operation_id="read_shift_calendar", responses=refusals(*SECURED, 404))
def read_calendar(
    runtime: InRuntime,
    caller: Manager,
    version: Annotated[int | None, Query(description="An older version; the newest without it")] = None,
) -> ShiftCalendarView:
    """Return the newest version, or the one that is asked for, with who made it and when."""
    with runtime.database.reading() as session:
        return get_shift_calendar(session, caller.project_id, version=version)


@router.put(
    "",
    summary="Set the shift calendar",
    operation_id="put_shift_calendar",
    responses=refusals(*CHANGING, *WITH_BODY, 409),
)
def put_calendar(runtime: InRuntime, caller: Manager, body: ShiftCalendarBody) -> ShiftCalendarView:
    """Make this the calendar of the project, as a new version; the same one again changes nothing."""
    calendar = read_shift_calendar(body.model_dump())
    with runtime.database.transaction() as session:
        return put_shift_calendar(session, caller.project_id, calendar, author=caller.name)
