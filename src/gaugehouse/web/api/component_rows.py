"""The rows of one component: newest values, a summary, events, measurements.

A name that holds a `/` cannot stand in a path: use the component's id, or `/v1/measurements?component=` and its
siblings `/v1/events`, `/v1/latest` and `/v1/summary`.
"""

from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc
from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from gaugehouse.access import Caller
from gaugehouse.query import find_as_of, summarize
from gaugehouse.runtime import Runtime
from gaugehouse.web.api.answers import answer_buckets, answer_events, answer_measurements, answer_table, select
from gaugehouse.web.api.asked import (
    AskedChoice,
    AskedFineness,
    AskedPaging,
    AskedSpan,
    Choice,
    Span,
    choose_components,
)
from gaugehouse.web.api.forms import READ_REFUSALS, ROW_FORMS
from gaugehouse.web.edge import NameList
from gaugehouse.web.negotiate import AnswerFormat, Format
from gaugehouse.web.security import EventReader, InRuntime, MeasurementReader

ComponentInPath = Annotated[str, Path(description="Name or id", examples=["pump-1"])]

router = APIRouter(tags=["components"], default_response_class=Response, responses=ROW_FORMS | READ_REFUSALS)


def _one(component: str) -> Choice:
    return Choice(names=(component,), type=None, labels={})


def _answer_latest(
    runtime: Runtime, caller: Caller, choice: Choice, metrics: list[str] | None, answer_format: Format
) -> Response:
    newest = runtime.lake.newest(caller.project, choose_components(runtime, caller, choice))
    if metrics is not None:
        newest = newest.filter(pc.is_in(newest["metric"], pa.array(metrics, pa.string())))
    return answer_table(newest, answer_format, runtime.lake.newest_received_at())


def _answer_summary(
    runtime: Runtime, caller: Caller, choice: Choice, metrics: list[str] | None, span: Span, answer_format: Format
) -> Response:
    selection = select(caller.project, choose_components(runtime, caller, choice), metrics, span)
    snapshot = runtime.lake.pin()
    return answer_table(summarize(snapshot, selection), answer_format, find_as_of(snapshot, selection))


@router.get("/v1/latest", summary="Newest values across components", operation_id="read_latest")
def read_latest(
    runtime: InRuntime,
    caller: MeasurementReader,
    choice: AskedChoice,
    answer_format: AnswerFormat,
    metric: NameList = None,
) -> Response:
    """Return the newest row of each series, from memory."""
    return _answer_latest(runtime, caller, choice, metric, answer_format)


@router.get("/v1/summary", summary="Summary across components", operation_id="read_summary")
def read_summary(
    runtime: InRuntime,
    caller: MeasurementReader,
    choice: AskedChoice,
    span: AskedSpan,
    answer_format: AnswerFormat,
    metric: NameList = None,
) -> Response:
    """Return for each series how many rows, since when and until when, smallest, largest, mean and last value."""
    return _answer_summary(runtime, caller, choice, metric, span, answer_format)


@router.get("/v1/components/{component}/latest", summary="Newest values", operation_id="read_component_latest")
def read_component_latest(
    runtime: InRuntime,
    caller: MeasurementReader,
    component: ComponentInPath,
    answer_format: AnswerFormat,
    metric: NameList = None,
) -> Response:
    """Return the newest row of each metric, from memory."""
    return _answer_latest(runtime, caller, _one(component), metric, answer_format)


@router.get("/v1/components/{component}/summary", summary="Summary", operation_id="read_component_summary")
def read_component_summary(
    runtime: InRuntime,
    caller: MeasurementReader,
    component: ComponentInPath,
    span: AskedSpan,
    answer_format: AnswerFormat,
    metric: NameList = None,
) -> Response:
    """Return for each metric how many rows, since when and until when, smallest, largest, mean and last value."""
    return _answer_summary(runtime, caller, _one(component), metric, span, answer_format)


@router.get("/v1/components/{component}/events", summary="Events", operation_id="read_component_events")
def read_component_events(
    request: Request,
    runtime: InRuntime,
    caller: EventReader,
    component: ComponentInPath,
    span: AskedSpan,
    paging: AskedPaging,
    answer_format: AnswerFormat,
    kind: NameList = None,
) -> Response:
    """Return what happened to the component, in order of time."""
    selection = select(caller.project, choose_components(runtime, caller, _one(component)), kind, span)
    return answer_events(request, runtime, selection, paging, answer_format)


@router.get(
    "/v1/components/{component}/measurements", summary="Measurements", operation_id="read_component_measurements"
)
def read_component_measurements(
    request: Request,
    runtime: InRuntime,
    caller: MeasurementReader,
    component: ComponentInPath,
    span: AskedSpan,
    paging: AskedPaging,
    fineness: AskedFineness,
    answer_format: AnswerFormat,
    metric: NameList = None,
) -> Response:
    """Return rows ordered by metric and time, or aggregates per bucket (`every`, or `points` for a plot)."""
    selection = select(caller.project, choose_components(runtime, caller, _one(component)), metric, span)
    if fineness.wants_buckets:
        return answer_buckets(runtime, selection, fineness, span.timezone, answer_format)
    return answer_measurements(request, runtime, selection, paging, answer_format)
