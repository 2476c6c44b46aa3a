"""What goes round every request and answer: id, limits of the address, security headers, access log, last resort."""

import random
import re
import time
from collections.abc import MutableMapping
from contextlib import AbstractContextManager, nullcontext
from http import HTTPStatus
from typing import Any

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gaugehouse.errors import Unavailable, is_exhausted
from gaugehouse.tracing import is_tracing, mark_failed, serving_span
from gaugehouse.web.pace import write_rate_headers
from gaugehouse.web.problems import write_error, write_problem, write_unexpected
from gaugehouse.web.traffic import Traffic, route_of

log = structlog.get_logger(__name__)

MAX_URL_BYTES = 8 * 1024
MAX_LOGGED_PATH_CHARS = 200
EXHAUSTED = Unavailable(
    "the server has no open files or memory to spare; send the request again", code="exhausted", retry_after_s=1
)
REQUEST_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{7,63}")
CLIENT_CLOSED_REQUEST = 499  # nginx's name for it; only ever logged
TRACE_HEADERS = frozenset({b"traceparent", b"tracestate"})

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
        " font-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_DEFAULT_HEADERS = [
    (name.lower().encode(), value.encode()) for name, value in {**SECURITY_HEADERS, "Cache-Control": "no-store"}.items()
]
STRICT_TRANSPORT_SECURITY = "max-age=31536000; includeSubDomains"


def choose_request_id(scope: Scope) -> str:
    """Return the caller's X-Request-Id when it is harmless, else a fresh one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text = value.decode("latin-1")
            return text if REQUEST_ID.fullmatch(text) else _fresh_id()
    return _fresh_id()


def _fresh_id() -> str:
    return f"{random.getrandbits(128):032x}"


def _url_size_bytes(scope: Scope) -> int:
    return len(scope.get("raw_path") or scope["path"].encode()) + len(scope["query_string"])


class _Answer:
    """Sends one answer with the headers that every answer has, and remembers what the log wants to know."""

    def __init__(self, send: Send, scope: Scope, request_id: str) -> None:
        self._send = send
        self._is_secure = scope["scheme"] == "https"
        self._state = scope["state"]
        self._request_id = request_id
        self.status = 0
        self.size_bytes = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._complete(message)
        elif message["type"] == "http.response.body":
            self.size_bytes += len(message.get("body", b""))
        await self._send(message)

    def _complete(self, message: MutableMapping[str, object]) -> None:
        given = [pair for pair in message.get("headers", ()) if pair[0].lower() != b"x-request-id"]  # type: ignore[attr-defined]  # ASGI says so
        names = {name.lower() for name, _value in given}
        given += [pair for pair in _DEFAULT_HEADERS if pair[0] not in names]
        given.append((b"x-request-id", self._request_id.encode("latin-1")))
        taken = self._state.get("taken")
        if taken:
            given += write_rate_headers(taken)
        if self._is_secure:  # over plain HTTP browsers ignore it
            given.append((b"strict-transport-security", STRICT_TRANSPORT_SECURITY.encode()))
        message["headers"] = given


def _span_of(scope: Scope) -> AbstractContextManager[Any]:
    """Return the span of a request, in the trace that the caller's W3C headers name."""
    if not is_tracing():
        return nullcontext()
    parent = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in TRACE_HEADERS}
    return serving_span(f"HTTP {scope['method']}", parent)


def _describe(span: Any, scope: Scope, status: int) -> None:
    route = route_of(scope)
    span.update_name(f"{scope['method']} {route}")
    span.set_attributes(
        {"http.request.method": scope["method"], "http.route": route, "http.response.status_code": status}
    )
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        mark_failed(span)


class Envelope:
    """Pure ASGI middleware, the outermost: what leaves without it would lack the security headers.

    Every request is one line in the log, but for those whose handler says `is_summed` and writes down many as one.
    """

    def __init__(self, app: ASGIApp, *, traffic: Traffic | None = None) -> None:
        self._app = app
        self._traffic = traffic or Traffic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = time.perf_counter()
        request_id = choose_request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        answer = _Answer(send, scope, request_id)
        self._traffic.begin()
        with structlog.contextvars.bound_contextvars(request_id=request_id), _span_of(scope) as span:
            try:
                await self._serve(scope, receive, answer)
            finally:
                status, duration_s = answer.status or CLIENT_CLOSED_REQUEST, time.perf_counter() - started_s
                self._traffic.end(scope, status, duration_s)
                if not scope["state"].get("is_summed"):
                    self._log(scope, answer, duration_s)
                if span is not None:
                    _describe(span, scope, status)

    def _log(self, scope: Scope, answer: _Answer, duration_s: float) -> None:
        log.info(
            "request_served",
            method=scope["method"],
            path=scope["path"][:MAX_LOGGED_PATH_CHARS],
            status=answer.status or CLIENT_CLOSED_REQUEST,
            response_size_bytes=answer.size_bytes,
            duration_s=round(duration_s, 6),
            caller=scope["state"].get("caller"),
        )

    async def _serve(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        """Run the application; an unknown error becomes a 500 that says nothing, and a full trace in the log.

        Where it is the process that has no descriptors or memory left, the same request may be answered a moment later.
        """
        if _url_size_bytes(scope) > MAX_URL_BYTES:
            detail = f"the address is longer than {MAX_URL_BYTES} bytes"
            refusal = write_problem(scope, HTTPStatus.REQUEST_URI_TOO_LONG, code="address_too_long", detail=detail)
            await refusal(scope, receive, answer)
            return
        try:
            await self._app(scope, receive, answer)
        except ClientDisconnect:
            return
        except Exception as exc:  # the 500 handler, one of the two places that may
            log.exception("request_crashed")
            if answer.status:  # half an answer is out: only a broken connection tells the caller
                raise
            await (write_error(scope, EXHAUSTED) if is_exhausted(exc) else write_unexpected(scope))(
                scope, receive, answer
            )
