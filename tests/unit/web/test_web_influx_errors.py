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
    ("error", "status", "name"),
    [
        (TooSlow("slow"), 503, "unavailable"),
        (Throttled("many"), 503, "unavailable"),
        (Overloaded("busy", retry_after_s=7), 503, "unavailable"),
        (Unavailable("away"), 503, "unavailable"),
        (StorageFull("full"), 507, "unavailable"),
        (too_old("lines_refused"), 400, "invalid"),
        (too_old("too_late"), 422, "unprocessable entity"),
        (too_old("older_than_retention"), 422, "unprocessable entity"),
    ],
)
def test_each_error_has_the_status_and_name_that_these_clients_act_on(error, status, name):
    answer = answer_of(error)
    assert answer.status_code == status
    assert json.loads(answer.body)["code"] == name
    assert answer.headers["x-platform-error-code"] == name
    if status >= 500:
        assert int(answer.headers["retry-after"]) == (error.retry_after_s or int(answer.headers["retry-after"])) > 0
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
