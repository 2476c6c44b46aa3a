"""Errors of InfluxDB's addresses: what Telegraf must repeat is never a 4xx, which it would drop."""

import json
from http import HTTPStatus

import pytest

from gaugehouse.errors import (
    GaugehouseError,
    LineProblem,
    LinesRefused,
    Overloaded,
    StorageFull,
    Throttled,
    TooSlow,
    Unavailable,
)
from gaugehouse.web.problems import write_error, write_unexpected


def answer_of(error, path="/api/v2/write"):
    return write_error({"type": "http", "path": path, "state": {"request_id": "req-12345678"}}, error)


def too_old(code):
    return LinesRefused([LineProblem(line=2, field="measured_at", reason="is too old")], bad_lines=1, code=code)


@pytest.mark.parametrize(
    ("error", "status", "name", "retry_after"),
    [
        (TooSlow("slow"), 503, "unavailable", "1"),
        (Throttled("many"), 503, "unavailable", "1"),
        (Overloaded("busy", retry_after_s=7), 503, "unavailable", "7"),
        (Unavailable("away"), 503, "unavailable", "5"),
        (StorageFull("full"), 507, "unavailable", "60"),
        (too_old("lines_refused"), 400, "invalid", None),
        (too_old("too_late"), 422, "unprocessable entity", None),
        (too_old("older_than_retention"), 422, "unprocessable entity", None),
    ],
)
def test_each_error_has_the_status_name_and_wait_that_these_clients_act_on(error, status, name, retry_after):
    answer = answer_of(error)
    assert answer.status_code == status
    assert json.loads(answer.body)["code"] == name
    assert answer.headers["x-platform-error-code"] == name
    assert answer.headers.get("retry-after") == retry_after
    first = answer_of(error, "/write")
    assert (first.status_code, json.loads(first.body)) == (status, {"error": error.message})


def test_the_line_is_named_beside_the_message():
    assert json.loads(answer_of(too_old("too_late")).body)["line"] == 2


def test_an_unexpected_error_says_nothing_about_its_cause():
    answer = write_unexpected({"type": "http", "path": "/write", "state": {}})
    assert answer.status_code == HTTPStatus.INTERNAL_SERVER_ERROR
    assert json.loads(answer.body).keys() == {"error"}


def test_other_addresses_keep_their_shape():
    answer = answer_of(GaugehouseError("no"), "/v1/measurements")
    assert answer.media_type == "application/problem+json"
