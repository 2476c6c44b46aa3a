"""Measurements: deliver and read rows."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from gaugehouse.ingest import Receipt, accept_measurements
from gaugehouse.web.api.answers import answer_buckets, answer_measurements, select
from gaugehouse.web.api.asked import AskedChoice, AskedFineness, AskedPaging, AskedSpan, choose_components
from gaugehouse.web.api.deliveries import (
    DELIVERY_REFUSALS,
    MEASUREMENT_EXAMPLES,
    MEASUREMENT_ROW,
    AskedWishes,
    Sent,
    deliver,
    describe_delivery,
)
from gaugehouse.web.api.forms import READ_REFUSALS, ROW_FORMS
from gaugehouse.web.edge import NameList
from gaugehouse.web.idempotency import AskedKey
from gaugehouse.web.negotiate import AnswerFormat
from gaugehouse.web.security import InRuntime, MeasurementReader, MeasurementWriter
from gaugehouse.web.threads import InThreads

router = APIRouter(prefix="/v1/measurements", tags=["measurements"])

CSV_EXAMPLE = "component,metric,measured_at,value\npump-1,temperature,2026-11-20T10:00:00Z,71.5\n"


@router.post(
    "",
    status_code=201,
    response_model=Receipt,
    summary="Deliver measurements",
    operation_id="add_measurements",
    responses=DELIVERY_REFUSALS,
    openapi_extra=describe_delivery(MEASUREMENT_ROW, MEASUREMENT_EXAMPLES, CSV_EXAMPLE),
)
async def add_measurements(
    request: Request,
    runtime: InRuntime,
    threads: InThreads,
    caller: MeasurementWriter,
    wishes: AskedWishes,
    key: AskedKey,
) -> Response:
    """Store rows; 201 means they are on disk. All or nothing, unless `partial=true`.

    A row whose key (component, metric, measured_at) is known changes nothing: with the same value it is a duplicate,
    with another one a conflict, which is named here and kept as an event. Sending a delivery again is always safe.
    """
    return await deliver(
        accept_measurements, runtime, threads, Sent(request=request, caller=caller, wishes=wishes, key=key)
    )


@router.get(
    "",
    summary="Read measurements across components",
    operation_id="read_measurements",
    response_class=Response,
    responses=ROW_FORMS | READ_REFUSALS,
)
def read_measurements(
    request: Request,
    runtime: InRuntime,
    caller: MeasurementReader,
    choice: AskedChoice,
    span: AskedSpan,
    paging: AskedPaging,
    fineness: AskedFineness,
    answer_format: AnswerFormat,
    metric: NameList = None,
) -> Response:
    """Return rows ordered by component, metric and time, or aggregates per bucket (`every`, `points`)."""
    selection = select(caller.project, choose_components(runtime, caller, choice), metric, span)
    if fineness.wants_buckets:
        return answer_buckets(runtime, selection, fineness, span.timezone, answer_format)
    return answer_measurements(request, runtime, selection, paging, answer_format)
