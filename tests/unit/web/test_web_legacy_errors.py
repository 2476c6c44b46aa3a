"""Errors at the addresses of the systems before us, in their shapes."""

import json
from http import HTTPStatus

import pytest

from gaugehouse.errors import (
    Forbidden,
    NotFound,
    Overloaded,
    Refused,
    RowProblem,
    RowsRefused,
    StorageFull,
    Throttled,
    TooLarge,
    Unauthenticated,
    Unreadable,
)
from gaugehouse.fleet.heartbeats import refuse_fields
from gaugehouse.fleet.versions import VERSION_REFUSED
from gaugehouse.web.legacy_errors import find_shape
from gaugehouse.web.problems import write_error, write_unexpected

STATUS, READINGS = "/status/sensor-1", "/api/device-readings/create"
UPLOAD, UPDATES = "/upload_firmware_update", "/get_firmware_updates_by_device_id"


def answer(path, error):
    response = write_error({"path": path, "type": "http"}, error)
    assert response.headers["content-type"] == "application/json"
    return response.status_code, json.loads(response.body), response.headers


@pytest.mark.parametrize(
    "path", ["/status", "/status/a", "/status/a/history", "/api/device-readings/x/cumulative-count", UPLOAD, UPDATES]
)
def test_their_addresses_have_their_shapes(path):
    assert find_shape(path) is not None


@pytest.mark.parametrize(
    "path", ["/", "/statuses", "/v1/fleet/status", "/api/v2/write", "/api/ping", "/api/device-readingsx", "/firmware/a"]
)
def test_others_do_not(path):
    assert find_shape(path) is None


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (Unauthenticated("send a key"), 401, "Missing API key"),
        (Unauthenticated("no", code="api_key_refused"), 401, "Invalid API key"),
        (Unauthenticated("no", code="token_refused"), 401, "Invalid API key"),
        (Forbidden("of its own component only"), 403, "of its own component only"),
        (NotFound("device not found: x"), 404, "device not found: x"),
        (TooLarge("too large"), 413, "too large"),
        (Overloaded("busy", retry_after_s=1), 503, "busy"),
        (StorageFull("full"), 507, "full"),
    ],
)
def test_a_sentence_stands_where_they_look_for_it(error, status, text):
    assert answer(STATUS, error)[:2] == (status, {"detail": text})
    assert answer(READINGS, error)[:2] == (
        status,
        {"status": "error", "error_message": text, "status_code": status},
    )


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (Unreadable("no JSON"), 400, "Invalid Request"),
        (Refused("one is too long"), 400, "Invalid Request"),
        (Unauthenticated("no", code="secret_refused"), 401, "Invalid Request"),
        (NotFound("it is off"), 404, "Invalid Request"),
        (Refused("not dotted", code=VERSION_REFUSED), 400, "Version string formatting not valid"),
        (Throttled("too many requests", code="rate_limited", retry_after_s=7), 429, "too many requests"),
        (StorageFull("full"), 507, "full"),
    ],
)
def test_updates_are_refused_in_plain_sentences(error, status, text):
    for path in (UPLOAD, UPDATES):
        response = write_error({"path": path, "type": "http"}, error)
        assert response.headers["content-type"] == "text/plain; charset=utf-8"
        expected = text.replace("Request", "request") if path == UPDATES else text  # theirs
        assert (response.status_code, response.body.decode()) == (status, expected)


def test_bad_fields_are_named_by_their_place():
    error = refuse_fields({"body.battery_level": "must be from 0 to 100", "query.page.0": "is odd"})
    assert answer(STATUS, error)[:2] == (
        422,
        {
            "detail": [
                {"type": "value_refused", "loc": ["body", "battery_level"], "msg": "must be from 0 to 100"},
                {"type": "value_refused", "loc": ["query", "page", 0], "msg": "is odd"},
            ]
        },
    )
    assert answer(READINGS, error)[1]["status_code"] == 400


def test_what_is_no_json_is_a_field_error_there_and_a_400_here():
    error = Unreadable("the body is not valid JSON")
    status, body, _headers = answer(STATUS, error)
    assert (status, body["detail"][0]["loc"]) == (422, ["body"])
    assert answer(READINGS, error)[0] == 400


def test_refusals_of_any_kind_have_the_shape():
    rows = RowsRefused([RowProblem(row=0, field="value", reason="is null")], bad_rows=1)
    for error in (Refused("no"), rows):
        for path in (STATUS, READINGS):
            status, body, _headers = answer(path, error)
            assert status in {400, 422}
            assert "detail" in body or body["status"] == "error"


def test_headers_stay():
    assert answer(STATUS, Overloaded("busy", retry_after_s=7))[2]["retry-after"] == "7"
    assert answer(STATUS, Unauthenticated("x"))[2]["www-authenticate"].startswith("Bearer")
    assert answer(READINGS, TooLarge("x"))[2]["connection"] == "close"


def test_what_nobody_expected_says_nothing_of_its_cause():
    response = write_unexpected({"path": STATUS, "type": "http"})
    assert response.status_code == HTTPStatus.INTERNAL_SERVER_ERROR
    assert json.loads(response.body).keys() == {"detail"}
