"""Events: deliver and read what happened at an instant."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from gaugehouse.ingest import Receipt, accept_events
from gaugehouse.web.api.answers import answer_events, select
from gaugehouse.web.api.asked import AskedChoice, AskedPaging, AskedSpan, choose_components
from gaugehouse.web.api.deliveries import (
    DELIVERY_REFUSALS,
    EVENT_EXAMPLES,
    EVENT_ROW,
    AskedWishes,
    Sent,
    deliver,
    describe_delivery,
)
from gaugehouse.web.api.forms import READ_REFUSALS, ROW_FORMS
from gaugehouse.web.edge import NameList
from gaugehouse.web.idempotency import AskedKey
from gaugehouse.web.negotiate import AnswerFormat
from gaugehouse.web.security import EventReader, EventWriter, InRuntime
from gaugehouse.web.threads import InThreads

router = APIRouter(prefix="/v1/events", tags=["events"])

CSV_EXAMPLE = 'component,kind,occurred_at,body\npump-1,alarm,2026-11-20T10:00:00Z,"{""code"":7}"\n'


@router.post(
    "",
    status_code=201,
    response_model=Receipt,
    summary="Deliver events",
    operation_id="add_events",
    responses=DELIVERY_REFUSALS,
    openapi_extra=describe_delivery(EVENT_ROW, EVENT_EXAMPLES, CSV_EXAMPLE),
)
async def add_events(
    request: Request,
    runtime: InRuntime,
    threads: InThreads,
    caller: EventWriter,
    wishes: AskedWishes,
    key: AskedKey,
) -> Response:
    """Store events; 201 means they are on disk. All or nothing, unless `partial=true`.

    An event with the same component, kind, time and body as a known one is a duplicate and changes nothing.
    """
    sent = Sent(request=request, caller=caller, wishes=wishes, key=key)
    return await deliver(accept_events, runtime, threads, sent)


@router.get(
    "",
    summary="Read events across components",
    operation_id="read_events",
    response_class=Response,
    responses=ROW_FORMS | READ_REFUSALS,
)
def read_events(
    request: Request,
    runtime: InRuntime,
    caller: EventReader,
    choice: AskedChoice,
    span: AskedSpan,
    paging: AskedPaging,
    answer_format: AnswerFormat,
    kind: NameList = None,
) -> Response:
    """Return events ordered by component and time. `conflict` events tell of refused values."""
    selection = select(caller.project, choose_components(runtime, caller, choice), kind, span)
    return answer_events(request, runtime, selection, paging, answer_format)
