"""Errors as the clients of the systems before us read them: the addresses of their adapters answer in these shapes.

- `/status`: `{"detail": "..."}`, of a 422 `{"detail": [{"type", "loc", "msg"}]}`; a body that is no JSON is one, too.
- `/api/device-readings`: `{"status": "error", "error_message": "...", "status_code": 400}`; a 422 is 400.
- the second form of firmware updates: one of its sentences as plain text, whatever was wrong; a 422 is 400. What it
  does not know (a full disk, too many requests) is the sentence of every other error here.

The first two have two texts of 401: no key, or one that does not count.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from starlette.responses import PlainTextResponse, Response

from gaugehouse.errors import Unauthenticated, Unreadable
from gaugehouse.fleet.versions import VERSION_REFUSED

MISSING_KEY, INVALID_KEY = "Missing API key", "Invalid API key"
BAD_VERSION = "Version string formatting not valid"
TOLD_AS_400 = frozenset({HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.UNSUPPORTED_MEDIA_TYPE})
# What the second form of firmware updates has one sentence for.
INVALID_UPDATE = TOLD_AS_400 | {
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What is to be said: status, code and fields as of every other error here."""

    status: HTTPStatus
    code: str
    detail: str
    fields: Mapping[str, object]

    @property
    def text(self) -> str:
        """The sentence, or one of the two that devices know when it is about their key."""
        if self.status is not HTTPStatus.UNAUTHORIZED:
            return self.detail
        return MISSING_KEY if self.code == Unauthenticated.default_code else INVALID_KEY


Shape = Callable[[Refusal], tuple[HTTPStatus, dict[str, object] | str]]  # a text is plain text


def _as_status_error(refusal: Refusal) -> tuple[HTTPStatus, dict[str, object]]:
    named = refusal.fields.get("errors")
    if refusal.code == Unreadable.default_code:
        problem = {"type": "json_invalid", "loc": ["body"], "msg": refusal.detail}
        return HTTPStatus.UNPROCESSABLE_ENTITY, {"detail": [problem]}
    if refusal.status is not HTTPStatus.UNPROCESSABLE_ENTITY or not isinstance(named, list):
        return refusal.status, {"detail": refusal.text}
    return refusal.status, {"detail": [_as_fastapi(problem) for problem in named]}


def _as_fastapi(problem: Mapping[str, object]) -> dict[str, object]:
    parts = str(problem.get("field", "body")).split(".")
    return {
        "type": problem.get("code", "value_error"),
        "loc": [int(part) if part.isdecimal() else part for part in parts],
        "msg": problem.get("reason", ""),
    }


def _as_reading_error(refusal: Refusal) -> tuple[HTTPStatus, dict[str, object]]:
    status = refusal.status
    if status is HTTPStatus.UNPROCESSABLE_ENTITY:
        status = HTTPStatus.BAD_REQUEST
    return status, {"status": "error", "error_message": refusal.text, "status_code": int(status)}


def _as_sentence(invalid: str) -> Shape:
    def say(refusal: Refusal) -> tuple[HTTPStatus, str]:
        text = invalid if refusal.status in INVALID_UPDATE else refusal.detail
        if refusal.code == VERSION_REFUSED:
            text = BAD_VERSION
        return HTTPStatus.BAD_REQUEST if refusal.status in TOLD_AS_400 else refusal.status, text

    return say


SHAPES: Mapping[str, Shape] = {
    "/status": _as_status_error,
    "/api/device-readings": _as_reading_error,
    "/upload_firmware_update": _as_sentence("Invalid Request"),
    "/get_firmware_updates_by_device_id": _as_sentence("Invalid request"),  # theirs
}


def find_shape(path: str) -> Shape | None:
    """Return the shape of errors at an address of a system before us, None at our own."""
    for address, shape in SHAPES.items():
        if path == address or path.startswith(f"{address}/"):
            return shape
    return None


def write_legacy_error(shape: Shape, refusal: Refusal, headers: Mapping[str, str]) -> Response:
    """Return an error in one of these shapes."""
    status, body = shape(refusal)
    if isinstance(body, str):
        return PlainTextResponse(body, status, headers=headers)
    content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(content, status, media_type="application/json", headers=headers)
