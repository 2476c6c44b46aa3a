"""Exclusion windows: planned maintenance, calibration and the like, taken out of reports with author and reason."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from gaugehouse.inventory import (
    ExclusionView,
    NewExclusion,
    Page,
    add_exclusion,
    find_exclusions,
    get_exclusion,
    withdraw_exclusion,
)
from gaugehouse.measurements.exclusions import ExclusionKind
from gaugehouse.measurements.period import parse_instant
from gaugehouse.web.api.asked import InstantText
from gaugehouse.web.api.lists import ListCursor, ListLimit
from gaugehouse.web.edge import EdgeBody
from gaugehouse.web.problems import CHANGING, SECURED, WITH_BODY, refusals
from gaugehouse.web.security import InRuntime, Manager

router = APIRouter(prefix="/v1/exclusions", tags=["calendar"])

ExclusionId = Annotated[str, Path(examples=["exc_4Fz0bX1mQ9sT7uV2wY3a"])]


class ExclusionBody(EdgeBody):
    """A window to take out, end exclusive."""

    kind: ExclusionKind = Field(strict=False, examples=["maintenance"], description="maintenance, calibration or other")
    components: Literal["all"] | list[str] = Field(
        examples=[["press-1"]], description="Names or ids, or all: later ones included"
    )
    start: str = Field(examples=["2026-11-20T06:00:00+01:00"], description="RFC 3339; or local, in `timezone`")
    end: str = Field(examples=["2026-11-20T08:00:00+01:00"])
    timezone: str | None = Field(None, examples=["Europe/Berlin"], description="IANA zone of times without an offset")
    reason: str = Field(examples=["yearly overhaul of the gearbox"], description="Reports show it")

    def as_exclusion(self) -> NewExclusion:
        """Return the window in the words of the room `inventory`."""
        return NewExclusion(
            kind=self.kind,
            components=None if isinstance(self.components, str) else tuple(self.components),
            start=parse_instant(self.start, timezone=self.timezone),
            end=parse_instant(self.end, timezone=self.timezone),
            reason=self.reason,
        )


@router.post(
    "",
    status_code=201,
    summary="Exclude a window",
    operation_id="add_exclusion",
    responses=refusals(*CHANGING, *WITH_BODY, 404),
)
def add(runtime: InRuntime, caller: Manager, body: ExclusionBody, response: Response) -> ExclusionView:
    """Take a window out of every report that is asked from now on; reports asked before keep their numbers."""
    new = body.as_exclusion()
    with runtime.database.transaction() as session:
        added = add_exclusion(session, caller.project_id, new, author=caller.name)
    response.headers["Location"] = f"/v1/exclusions/{added.id}"
    return added


@router.get("", summary="Find exclusions", operation_id="find_exclusions", responses=refusals(*SECURED, 404))
def list_exclusions(
    runtime: InRuntime,
    caller: Manager,
    start: InstantText = None,
    end: InstantText = None,
    timezone: Annotated[str | None, Query(description="IANA zone of instants without an offset")] = None,
    component: Annotated[str | None, Query(description="Name or id: windows that concern this one")] = None,
    include_withdrawn: bool = False,
    sort: Annotated[str, Query(description="start or created_at; -start reverses")] = "start",
    limit: ListLimit = 100,
    cursor: ListCursor = None,
) -> Page[ExclusionView]:
    """Return one page of the windows that overlap [start, end), withdrawn ones on request."""
    bounds = [None if text is None else parse_instant(text, timezone=timezone) for text in (start, end)]
    with runtime.database.reading() as session:
        return find_exclusions(
            session,
            caller.project_id,
            component=component,
            start=bounds[0],
            end=bounds[1],
            include_withdrawn=include_withdrawn,
            sort=sort,
            limit=limit,
            cursor=cursor,
        )


@router.get("/{exclusion}", summary="One exclusion", operation_id="read_exclusion", responses=refusals(*SECURED, 404))
def read_exclusion(runtime: InRuntime, caller: Manager, exclusion: ExclusionId) -> ExclusionView:
    """Return a window, withdrawn or not."""
    with runtime.database.reading() as session:
        return get_exclusion(session, caller.project_id, exclusion)


@router.delete(
    "/{exclusion}", summary="Withdraw", operation_id="withdraw_exclusion", responses=refusals(*CHANGING, 404)
)
def withdraw(runtime: InRuntime, caller: Manager, exclusion: ExclusionId) -> ExclusionView:
    """Let a window count no more; it stays in the list of withdrawn ones, with who did so and when."""
    with runtime.database.transaction() as session:
        return withdraw_exclusion(session, caller.project_id, exclusion, author=caller.name)
