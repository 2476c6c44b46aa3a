"""Errors of the second form of firmware updates: one of its three sentences as plain text, whatever was wrong.

What it does not know (a full disk, too many requests) is the sentence of every other error here.
"""

from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import PlainTextResponse, Response

UPDATED = "Successfully updated firmware version"
BAD_VERSION = "Version string formatting not valid"
INVALID: Mapping[str, str] = {
    "/upload_firmware_update": "Invalid Request",
    "/get_firmware_updates_by_device_id": "Invalid request",  # theirs
}
TOLD_AS_400 = frozenset({HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.UNSUPPORTED_MEDIA_TYPE})
THEIRS = TOLD_AS_400 | {
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
}


def speaks_firmware_updates(path: str) -> bool:
    """Say whether an address answers errors in these sentences."""
    return path in INVALID


def write_update_error(
    path: str, status: HTTPStatus, *, code: str, detail: str, headers: Mapping[str, str]
) -> Response:
    """Return an error of one of these addresses; `code` as of every other error here."""
    text = INVALID[path] if status in THEIRS else detail
    if code == "version_refused":
        text = BAD_VERSION
    shown = HTTPStatus.BAD_REQUEST if status in TOLD_AS_400 else status
    return PlainTextResponse(text, shown, headers=dict(headers))
