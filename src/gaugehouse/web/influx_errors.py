"""Errors as the clients of InfluxDB read them: the addresses of `api/influx.py` answer in these shapes, and only those.

| | version 1 (`/write`, `/query`) | version 2 (`/api/v2/write`) |
|---|---|---|
| body | `{"error": "..."}` | `{"code": "invalid", "message": "...", "line": 3}` |
| headers | `X-Influxdb-Error` | `X-Influxdb-Error`, `X-Platform-Error-Code` |

Bad lines are 400 as there (elsewhere here: 422), so that Telegraf drops what can never be stored instead of repeating
it; rows that are too old stay 422, as there. Telegraf drops what any other 4xx refuses, so what a repetition can cure
(a body that was too slow, too many requests, an Idempotency-Key whose first request still runs) is 503; 503 and 507 say
when to come back, and all these clients do.
"""

import json
from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import Response

VERSION_1_PATHS = frozenset({"/write", "/query"})
VERSION_2_PATHS = frozenset({"/api/v2/write"})
STILL_422_CODES = frozenset({"older_than_retention", "too_late", "idempotency_key_reused"})
CURABLE = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS})
DEFAULT_RETRY_AFTER = "1"
MAX_HEADER_CHARS = 500
CHALLENGE = 'Basic realm="gaugehouse"'
NAMES: Mapping[HTTPStatus, str] = {
    HTTPStatus.BAD_REQUEST: "invalid",
    HTTPStatus.UNAUTHORIZED: "unauthorized",
    HTTPStatus.FORBIDDEN: "forbidden",
    HTTPStatus.NOT_FOUND: "not found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method not allowed",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "request too large",
    HTTPStatus.UNPROCESSABLE_ENTITY: "unprocessable entity",
    HTTPStatus.INTERNAL_SERVER_ERROR: "internal error",
    HTTPStatus.SERVICE_UNAVAILABLE: "unavailable",
    HTTPStatus.INSUFFICIENT_STORAGE: "unavailable",
}


def speaks_influx(path: str) -> bool:
    """Say whether an address answers errors in these shapes."""
    return path in VERSION_1_PATHS or path in VERSION_2_PATHS


def write_influx_error(
    path: str, status: HTTPStatus, *, code: str, detail: str, fields: Mapping[str, object], headers: Mapping[str, str]
) -> Response:
    """Return an error of one of these addresses; `code` and `fields` as of every other error here."""
    if status is HTTPStatus.UNPROCESSABLE_ENTITY and code not in STILL_422_CODES:
        status = HTTPStatus.BAD_REQUEST
    if status in CURABLE:
        status = HTTPStatus.SERVICE_UNAVAILABLE
    body: dict[str, object] = {"error": detail}
    own_headers = {"X-Influxdb-Error": _header_text(detail)}
    if path in VERSION_2_PATHS:
        name = NAMES.get(status, "invalid")
        body = {"code": name, "message": detail} | _first_line(fields)
        own_headers["X-Platform-Error-Code"] = name
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        own_headers["Retry-After"] = headers.get("Retry-After", DEFAULT_RETRY_AFTER)
    if status is HTTPStatus.UNAUTHORIZED:
        own_headers["WWW-Authenticate"] = CHALLENGE
    content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(content, status, media_type="application/json", headers={**headers, **own_headers})


def _first_line(fields: Mapping[str, object]) -> dict[str, object]:
    errors = fields.get("errors")
    first = errors[0] if isinstance(errors, list) and errors else {}
    return {"line": first["line"]} if "line" in first else {}


def _header_text(text: str) -> str:
    """Return text that a header can carry: printable ASCII."""
    plain = text[:MAX_HEADER_CHARS].encode("ascii", errors="replace").decode()
    return "".join(character if character.isprintable() else "?" for character in plain)
