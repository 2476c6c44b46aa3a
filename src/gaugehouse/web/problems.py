"""The one table from kinds of errors to HTTP, and the one shape of an error body (RFC 9457).

Every answer of 400 and above is `application/problem+json` with
`type, title, status, detail, code, instance, request_id`, and `errors` (at most 20) where parts of the request are
named; an error's own fields stand beside them. `type` is a URN per code and `instance` the URN of the request, so
neither repeats what the caller sent. A body never holds a path of this machine, a stack trace or the rejected input.
"""

import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Mount
from starlette.types import Scope

from gaugehouse.errors import MAX_ROWS_NAMED, GaugehouseError, Kind, Refused, Unreadable, UnsupportedFormat
from gaugehouse.web.influx_errors import speaks_influx, write_influx_error
from gaugehouse.web.legacy_errors import Refusal, find_shape, write_legacy_error
from gaugehouse.web.pages import speaks_html, write_refusal

log = structlog.get_logger(__name__)

STATUS: Mapping[Kind, HTTPStatus] = {
    Kind.INVALID: HTTPStatus.BAD_REQUEST,
    Kind.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    Kind.FORBIDDEN: HTTPStatus.FORBIDDEN,
    Kind.MISSING: HTTPStatus.NOT_FOUND,
    Kind.NOT_ACCEPTABLE: HTTPStatus.NOT_ACCEPTABLE,
    Kind.TOO_SLOW: HTTPStatus.REQUEST_TIMEOUT,
    Kind.CONFLICT: HTTPStatus.CONFLICT,
    Kind.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Kind.UNSUPPORTED: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    Kind.REFUSED: HTTPStatus.UNPROCESSABLE_ENTITY,
    Kind.THROTTLED: HTTPStatus.TOO_MANY_REQUESTS,
    Kind.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Kind.START_REFUSED: HTTPStatus.SERVICE_UNAVAILABLE,
    Kind.FULL: HTTPStatus.INSUFFICIENT_STORAGE,
}

# What a caller may assume when an error does not say when to come back. [s]
RETRY_AFTER_S: Mapping[HTTPStatus, int] = {
    HTTPStatus.TOO_MANY_REQUESTS: 1,
    HTTPStatus.SERVICE_UNAVAILABLE: 5,
    HTTPStatus.INSUFFICIENT_STORAGE: 60,
}
# Statuses that only the frameworks below give, with the codes we promise for them.
ROUTER_CODES: Mapping[int, str] = {
    400: "unreadable",
    401: "login_refused",  # FastAPI's, of a Basic header that is none
    404: "not_found",
    405: "method_not_allowed",
}
METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
# The sender may still be writing: no further request can follow on this connection.
CLOSING = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE})

MEDIA_TYPE = "application/problem+json"
MAX_BODY_BYTES = 8 * 1024  # RELIABILITY section 3: an error is never worth more
MAX_TEXT_CHARS = 1000
MAX_REASON_CHARS = 200
MAX_DEPTH = 4
BEARER_CHALLENGE = 'Bearer realm="gaugehouse"'


class Problem(BaseModel):
    """The one error body of this API (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["urn:gaugehouse:problem:not_found"], description="Stable URN of this kind of problem")
    title: str = Field(examples=["Not Found"], description="What the status means")
    status: int = Field(examples=[404], description="The HTTP status again")
    detail: str = Field(description="One sentence: what was wrong and what to do")
    code: str = Field(examples=["not_found"], description="Stable name for programs")
    instance: str = Field(description="URN of this one request")
    request_id: str = Field(description="Quote this when asking for help; it stands on every log line of the request")
    errors: list[dict[str, Any]] | None = Field(None, max_length=20, description="Which parts were wrong: the first 20")


def _plain_text(text: str, max_chars: int = MAX_TEXT_CHARS) -> str:
    """Return text that UTF-8 can carry (no lone surrogates), cut to a bounded length."""
    clean = text[:max_chars].encode("utf-8", errors="replace").decode("utf-8")
    return clean if len(text) <= max_chars else f"{clean}…"


def _plain(value: object, depth: int = 0) -> object:
    """Return `value` as something every JSON reader takes: finite numbers, clean text, bounded sizes."""
    match value:
        case None | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case Mapping() if depth < MAX_DEPTH:
            pairs = list(value.items())[:MAX_ROWS_NAMED]
            return {_plain_text(str(key), MAX_REASON_CHARS): _plain(item, depth + 1) for key, item in pairs}
        case list() | tuple() if depth < MAX_DEPTH:
            return [_plain(item, depth + 1) for item in value[:MAX_ROWS_NAMED]]
        case _:
            return _plain_text(str(value), MAX_REASON_CHARS)


def _encode(body: dict[str, object]) -> bytes:
    return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _fit(body: dict[str, object]) -> bytes:
    """Encode within MAX_BODY_BYTES: named errors go first, one by one, then every extra field."""
    encoded = _encode(body)
    named = body.get("errors")
    while len(encoded) > MAX_BODY_BYTES and isinstance(named, list) and len(named) > 1:
        named.pop()
        encoded = _encode(body)
    if len(encoded) > MAX_BODY_BYTES:
        encoded = _encode(
            {key: value for key, value in body.items() if key in Problem.model_fields and key != "errors"}
        )
    return encoded


def request_id_of(scope: Scope) -> str:
    """Return the id that the envelope gave this request."""
    state: dict[str, str] = scope.get("state", {})
    return state.get("request_id", "unknown")


def write_problem(
    scope: Scope,
    status: HTTPStatus,
    *,
    code: str,
    detail: str,
    fields: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return the one error response; every handler ends here."""
    scope.setdefault("state", {})["problem_code"] = code
    closing = {"Connection": "close"} if status in CLOSING else {}
    if speaks_influx(scope.get("path", "")):
        said, all_headers = _plain_text(detail), closing | dict(headers or {})
        return write_influx_error(
            scope["path"], status, code=code, detail=said, fields=fields or {}, headers=all_headers
        )
    shape = find_shape(scope.get("path", ""))
    if shape is not None:
        refusal = Refusal(status=status, code=code, detail=_plain_text(detail), fields=fields or {})
        return write_legacy_error(shape, refusal, closing | dict(headers or {}))
    if speaks_html(scope.get("path", "")):
        return write_refusal(status, _plain_text(detail), closing | dict(headers or {}))
    request_id = request_id_of(scope)
    body: dict[str, object] = {
        "type": f"urn:gaugehouse:problem:{code}",
        "title": status.phrase,
        "status": int(status),
        "detail": _plain_text(detail),
        "code": code,
        "instance": f"urn:gaugehouse:request:{request_id}",
        "request_id": request_id,
    }
    body |= {key: _plain(value) for key, value in (fields or {}).items() if key not in body}
    return Response(_fit(body), status, media_type=MEDIA_TYPE, headers=closing | dict(headers or {}))


def write_error(scope: Scope, error: GaugehouseError) -> Response:
    """Return the response of one of our own errors, by its kind."""
    status = STATUS[error.kind]
    headers: dict[str, str] = {}
    if status in RETRY_AFTER_S:
        headers["Retry-After"] = str(error.retry_after_s or RETRY_AFTER_S[status])
    elif error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    if error.kind is Kind.UNAUTHENTICATED:
        challenge = error.fields.get("challenge", BEARER_CHALLENGE)
        headers["WWW-Authenticate"] = str(challenge)
    for counted in ("bad_rows", "bad_lines"):
        if counted in error.fields:
            scope.setdefault("state", {})["rejected"] = (error.code, error.fields[counted])
    fields = {key: value for key, value in error.fields.items() if key != "challenge"}
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("request_failed", code=error.code, detail=error.message)
    return write_problem(scope, status, code=error.code, detail=error.message, fields=fields, headers=headers)


def write_unexpected(scope: Scope) -> Response:
    """Return the last-resort answer, which says nothing about the cause: that is in the log under the request id."""
    detail = "something went wrong on our side; the request id leads to the cause in the server's log"
    return write_problem(scope, HTTPStatus.INTERNAL_SERVER_ERROR, code="internal_error", detail=detail)


async def _on_gaugehouse_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, GaugehouseError)  # noqa: S101  # registered for this class only; narrows the type
    return write_error(request.scope, error)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """Answer what Starlette or FastAPI raised.

    FastAPI turns whatever reading a body raised into a 400; the cause is the truth (413, 408, 415 from `web/body.py`).
    """
    assert isinstance(error, HTTPException)  # noqa: S101  # registered for this class only; narrows the type
    if isinstance(error.__cause__, GaugehouseError):
        return write_error(request.scope, error.__cause__)
    status = HTTPStatus(error.status_code)
    code = ROUTER_CODES.get(error.status_code, status.phrase.lower().replace(" ", "_"))
    detail = error.detail if error.detail and error.detail != status.phrase else _explain(status)
    headers = dict(error.headers or {})
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_find_methods(request))
    return write_problem(request.scope, status, code=code, detail=detail, headers=headers)


def _find_methods(request: Request) -> list[str]:
    """Return what an address takes. The router's own header names the methods of the first route at it only.

    An address that is described as it stands (`/v1/schedules/preview`) is not also told of as a case of a pattern
    (`/v1/schedules/{name}`), as OpenAPI reads it.
    """
    routes: Sequence[BaseRoute] = request.app.routes
    asked = dict(request.scope) | {"root_path": ""}  # a mount has changed it
    contexts = [context for context in iter_route_contexts(routes) if context.path == asked["path"]]
    own = {method for context in contexts for method in context.methods or ()}
    if own:
        return [method for method in METHODS if method in own]
    return [method for method in METHODS if any(_takes(route, asked | {"method": method}) for route in routes)]


def _takes(route: BaseRoute, scope: Scope) -> bool:
    if route.matches(scope)[0] is not Match.FULL:
        return False
    return not isinstance(route, Mount) or scope["method"] in {"GET", "HEAD"}  # static files: a mount matches anything


def _explain(status: HTTPStatus) -> str:
    match status:
        case HTTPStatus.NOT_FOUND:
            return "there is nothing at this address; /docs lists what there is"
        case HTTPStatus.METHOD_NOT_ALLOWED:
            return "this address does not take this method; the Allow header lists those it takes"
        case _:
            return status.description or status.phrase


def name_errors(errors: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return what pydantic found wrong as our errors name it: the first 20, without the input."""
    return [
        {"field": ".".join(str(part) for part in error["loc"]), "reason": error["msg"], "code": error["type"]}
        for error in errors[:MAX_ROWS_NAMED]
    ]


def _explain_validation(errors: Sequence[Mapping[str, Any]]) -> GaugehouseError:
    if any(error["type"] == "json_invalid" for error in errors):
        return Unreadable("the body is not valid JSON")
    if any(error["loc"][0] == "body" and isinstance(error.get("input"), bytes) for error in errors):
        # Only a body of another media type is handed to the validation as it came.
        return UnsupportedFormat("the body must be JSON: send Content-Type: application/json")
    named = name_errors(errors)
    count = "1 part" if len(errors) == 1 else f"{len(errors)} parts"
    return Refused(
        f"{count} of the request cannot be accepted; the first is {named[0]['field']}: {named[0]['reason']}",
        code="request_refused",
        fields={"errors": named},
    )


async def _on_validation_error(request: Request, error: Exception) -> Response:
    """Answer 422 without echoing the input: FastAPI's own handler answers 500 to NaN and megabytes to kilobytes."""
    assert isinstance(error, RequestValidationError)  # noqa: S101  # registered for this class only; narrows the type
    return write_error(request.scope, _explain_validation(error.errors()))


def install_error_table(app: FastAPI) -> None:
    """Make `app` answer every error in the one shape; what is left over is answered by the envelope."""
    app.add_exception_handler(GaugehouseError, _on_gaugehouse_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_validation_error)


SECURED = (401, 403, 422, 429, 503)  # of every endpoint behind a credential: the database that knows it may be away
WITH_BODY = (400, 408, 413, 415)  # of those that take a body
CHANGING = (*SECURED, 507)  # of those that change the inventory, queue a job or store rows


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the `responses=` of an endpoint: the statuses it may refuse with, all of one shape."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in sorted(set(statuses))
    }
