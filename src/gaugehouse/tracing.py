"""OpenTelemetry traces, off by default: spans that cost one comparison until `configure_tracing` was called."""

import importlib
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from gaugehouse.errors import StartRefused

EXPORT_TIMEOUT_S = 2.0
GIVE_UP_S = 1.0  # after the stop; a request that is under way then may take EXPORT_TIMEOUT_S more

# The packages are an extra: without them, and without an endpoint, nothing of OpenTelemetry is loaded.
_tracer: Any = None
_api: Any = None
_propagator: Any = None
_provider: Any = None
_exporter: Any = None
_OFF: AbstractContextManager[None] = nullcontext()


def configure_tracing(endpoint: str | None, *, process: str, version: str, exporter: Any = None) -> None:
    """Send spans to an OTLP collector over HTTP; do nothing without an endpoint.

    Args:
        endpoint: `http://collector:4318/v1/traces`.
        process: `serve` or `worker`, the service's name behind `gaugehouse-`.
        version: Of Gaugehouse.
        exporter: Another exporter than OTLP, for tests; it gets each span as it ends.

    Raises:
        StartRefused: an endpoint is set, but the extra `otel` is not installed.
    """
    global _tracer, _api, _propagator, _provider, _exporter  # noqa: PLW0603 - one tracer per process, set at its start
    if endpoint is None and exporter is None:
        return
    try:
        _api = importlib.import_module("opentelemetry.trace")
        sdk = importlib.import_module("opentelemetry.sdk.trace")
        export = importlib.import_module("opentelemetry.sdk.trace.export")
        resources = importlib.import_module("opentelemetry.sdk.resources")
        propagation = importlib.import_module("opentelemetry.trace.propagation.tracecontext")
        otlp = importlib.import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    except ImportError as exc:
        raise StartRefused(
            "traces need the extra packages: install gaugehouse[otel], or leave GAUGEHOUSE_OTLP_ENDPOINT out",
            code="otel_missing",
        ) from exc
    resource = resources.Resource.create({"service.name": f"gaugehouse-{process}", "service.version": version})
    _provider = sdk.TracerProvider(resource=resource)
    _exporter = exporter or otlp.OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_TIMEOUT_S)
    processor = export.BatchSpanProcessor if exporter is None else export.SimpleSpanProcessor
    _provider.add_span_processor(processor(_exporter))
    _tracer = _provider.get_tracer("gaugehouse", version)
    _propagator = propagation.TraceContextTextMapPropagator()


def close_tracing() -> None:
    """Send what is still waiting, as far as that goes within three seconds, and be off again.

    The processor itself would wait half a minute for a collector that is away.
    """
    global _tracer, _provider, _exporter  # noqa: PLW0603 - see configure_tracing
    if _provider is not None:
        giving_up = threading.Timer(GIVE_UP_S, _exporter.shutdown)
        giving_up.start()
        _provider.shutdown()
        giving_up.cancel()
        giving_up.join()
    _tracer = _provider = _exporter = None


def is_tracing() -> bool:
    """Whether spans go anywhere."""
    return _tracer is not None


def span(name: str, **attributes: str | float) -> AbstractContextManager[Any]:
    """Time a piece of work, as a part of what this thread or task is tracing; gives the span, None while off.

    Args:
        name: What is done.
        attributes: What is known before it begins.
    """
    if _tracer is None:
        return _OFF
    started: AbstractContextManager[Any] = _tracer.start_as_current_span(name, attributes=attributes)
    return started


def serving_span(name: str, headers: Mapping[str, str]) -> AbstractContextManager[Any]:
    """Time the answer to a request whose headers may name the caller's trace (W3C `traceparent`)."""
    if _tracer is None:
        return _OFF
    context = _propagator.extract(headers)
    started: AbstractContextManager[Any] = _tracer.start_as_current_span(
        name, context=context, kind=_api.SpanKind.SERVER
    )
    return started


def note(**attributes: str | float) -> None:
    """Add what became known to the span that this thread or task is in, if there is one."""
    if _tracer is not None:
        _api.get_current_span().set_attributes(attributes)


def mark_failed(current: Any) -> None:
    """Say that the work of a span failed, where no exception says so."""
    current.set_status(_api.StatusCode.ERROR)


def current_trace_id() -> str | None:
    """Return the id of the trace that this thread or task works for, 32 hexadecimal digits."""
    if _tracer is None:
        return None
    context = _api.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else None
