"""Live data: newest values, events and progress of reports as they come, as Server-Sent Events.

The same over a WebSocket at the same address is `live_socket`.
"""

from dataclasses import replace
from functools import partial
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Header, Query, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gaugehouse.access import Caller
from gaugehouse.live import MAX_RATE_HZ, MIN_RATE_HZ, REPORTS_LIMIT, Channel, Wish
from gaugehouse.live.wish import DEFAULT_RATE_HZ
from gaugehouse.measurements.period import parse_instant
from gaugehouse.measurements.selection import to_epoch_us
from gaugehouse.reports import check_sees_reports
from gaugehouse.runtime import Runtime
from gaugehouse.web.api.asked import AskedChoice, Choice, choose_components
from gaugehouse.web.edge import NameList
from gaugehouse.web.event_stream import MEDIA_TYPE, EventStream
from gaugehouse.web.live import Listening, serve
from gaugehouse.web.negotiate import choose
from gaugehouse.web.problems import SECURED, refusals
from gaugehouse.web.security import Anyone, Credentials, InRuntime, find_credentials, identify_again
from gaugehouse.web.threads import InThreads

PATH = "/v1/live"

router = APIRouter(tags=["live"])

STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Messages until either side closes: `welcome`, `measurements`, `events`, `report`, `heartbeat`,"
        " `notice`; see docs/live.md",
        "content": {MEDIA_TYPE: {}},  # OpenAPI 3.1 has no words for one message of many
    }
}


async def read_wish(
    metric: NameList = None,
    measurements: Annotated[bool, Query(description="Whether newest values are wanted")] = True,
    kind: Annotated[NameList, Query(description="Kinds of events that are wanted; `events=true` for all")] = None,
    events: Annotated[bool, Query(description="Whether events of all kinds are wanted")] = False,
    report: Annotated[NameList, Query(description=f"Reports to follow, at most {REPORTS_LIMIT}")] = None,
    max_rate_hz: Annotated[float, Query(ge=MIN_RATE_HZ, le=MAX_RATE_HZ, description="Most ticks per second [Hz]")] = (
        DEFAULT_RATE_HZ
    ),
    snapshot: Annotated[bool, Query(description="Begin with the newest values")] = True,
    last_event_id: Annotated[
        str | None, Header(alias="Last-Event-ID", description="Begin with what changed since this id")
    ] = None,
) -> Wish:
    """Return what is asked for, but for the components."""
    return Wish(
        metrics=None if metric is None else tuple(metric),
        measurements=measurements,
        kinds=None if events else tuple(kind or ()),
        reports=tuple(report or ()),
        max_rate_hz=max_rate_hz,
        snapshot=snapshot,
        after_us=read_position(last_event_id),
    )


AskedWish = Annotated[Wish, Depends(read_wish)]
GivenCredentials = Annotated[Credentials, Depends(find_credentials)]


def read_position(text: str | None) -> int | None:
    """Return the position that an id stands for. [us]

    Raises:
        Refused: it is none of ours.
    """
    return None if not text else to_epoch_us(parse_instant(text))


def open_channel(runtime: Runtime, caller: Caller, wish: Wish, choice: Choice) -> Channel:
    """Return a channel for a wish about some components, when all of it is the caller's to see. Blocks.

    Raises:
        Refused: it is out of bounds.
        Forbidden: the caller lacks a scope for it.
        NotFound: a component or report does not exist, or is another project's.
    """
    wish.check()
    wish.refuse_without_scope(caller)
    with runtime.database.reading() as session:
        check_sees_reports(session, caller, wish.reports)
    return runtime.readers.open(caller, replace(wish, components=choose_components(runtime, caller, choice)))


class LiveAnswer(Response):
    """An answer that is written as long as its reader listens."""

    media_type = MEDIA_TYPE

    def __init__(self, listening: Listening) -> None:
        super().__init__()
        self._listening = listening

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        stream = EventStream(scope, receive, send)
        listening = self._listening
        try:
            with listening.readers.admitted(listening.caller, stream.transport):
                await stream.start()
                await serve(listening, stream)
        finally:
            listening.readers.close(listening.channel)
            await stream.close()


@router.get(
    PATH,
    summary="Follow what changes",
    operation_id="follow_live",
    response_class=Response,
    responses=STREAM | refusals(*SECURED, 404, 406),
)
async def follow(
    request: Request,
    runtime: InRuntime,
    threads: InThreads,
    caller: Anyone,
    given: GivenCredentials,
    choice: AskedChoice,
    wish: AskedWish,
    accept: Annotated[str | None, Header()] = None,
) -> Response:
    """Send the newest values, then what changes, at most `max_rate_hz` times a second; also events and reports.

    Newest values need the scope `measurements:read`, events `events:read`, reports `reports:read`. The same messages
    come over a WebSocket at this address, whose first message carries the token: see docs/live.md.
    """
    choose(accept, {MEDIA_TYPE: None}, available=[MEDIA_TYPE])
    channel = await run_sync(open_channel, runtime, caller, wish, choice, limiter=threads.live)
    return LiveAnswer(
        Listening(
            readers=runtime.readers,
            caller=caller,
            identify=partial(identify_again, runtime.access, given),
            channel=channel,
            threads=threads.live,
            is_leaving=request.app.state.is_leaving,
        )
    )
