"""Traces: nothing while off, the caller's trace while on, its id on log lines."""

import json
import logging
import sys

import pytest
import structlog
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from gaugehouse.config import Settings
from gaugehouse.errors import StartRefused
from gaugehouse.logs import configure_logs
from gaugehouse.tracing import (
    close_tracing,
    configure_tracing,
    current_trace_id,
    is_tracing,
    mark_failed,
    note,
    serving_span,
    span,
)

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01"}


@pytest.fixture
def exporter():
    exporter = InMemorySpanExporter()
    configure_tracing(None, process="test", version="0", exporter=exporter)
    yield exporter
    close_tracing()


def test_without_an_endpoint_nothing_is_traced():
    configure_tracing(None, process="test", version="0")
    assert not is_tracing()
    with span("work", rows=1) as current, serving_span("request", PARENT) as serving:
        note(more=1)
        assert (current, serving, current_trace_id()) == (None, None, None)


def test_an_endpoint_without_the_extra_refuses_to_start(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(StartRefused) as refused:
        configure_tracing("http://127.0.0.1:9/v1/traces", process="test", version="0")
    assert refused.value.code == "otel_missing"
    assert not is_tracing()


def test_a_request_continues_the_trace_of_its_caller_and_work_inside_is_its_child(exporter):
    with serving_span("request", PARENT) as serving:
        with span("append", rows=3):
            note(sync_wait_s=0.25)
        mark_failed(serving)
    append, request = exporter.get_finished_spans()
    assert f"{request.context.trace_id:032x}" == TRACE_ID
    assert f"{request.parent.span_id:016x}" == SPAN_ID
    assert request.kind is SpanKind.SERVER
    assert request.status.status_code is StatusCode.ERROR
    assert append.parent.span_id == request.context.span_id
    assert dict(append.attributes) == {"rows": 3, "sync_wait_s": 0.25}


@pytest.mark.parametrize("headers", [{}, {"traceparent": "nonsense"}, {"traceparent": "00-" + "0" * 32 + "-x-01"}])
def test_a_caller_without_a_trace_begins_one(exporter, headers):
    with serving_span("request", headers):
        pass
    (request,) = exporter.get_finished_spans()
    assert request.parent is None
    assert request.context.trace_id != 0


def test_log_lines_carry_the_trace_they_belong_to(exporter, restored_logging, capsys):
    configure_logs(Settings())
    log = structlog.get_logger()
    with serving_span("request", PARENT):
        log.info("inside")
        logging.getLogger("library").warning("also_inside")
    log.info("outside")
    lines = {line["event"]: line for line in map(json.loads, capsys.readouterr().out.splitlines())}
    assert lines["inside"]["trace_id"] == TRACE_ID
    assert lines["also_inside"]["trace_id"] == TRACE_ID
    assert "trace_id" not in lines["outside"]


def test_closing_is_idempotent_and_ends_tracing(exporter):
    close_tracing()
    close_tracing()
    assert not is_tracing()
