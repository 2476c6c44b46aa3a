"""One error shape for the whole API."""

import errno
import json
import os
from datetime import UTC, datetime
from http import HTTPStatus

import pytest
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.middleware import Middleware

import gaugehouse.errors
from gaugehouse.errors import (
    Forbidden,
    GaugehouseError,
    Kind,
    Overloaded,
    RowProblem,
    RowsRefused,
    StorageFull,
    Throttled,
    TooLarge,
    Unauthenticated,
)
from gaugehouse.web.edge import EdgeBody
from gaugehouse.web.envelope import Envelope
from gaugehouse.web.problems import (
    MAX_BODY_BYTES,
    MEDIA_TYPE,
    RETRY_AFTER_S,
    STATUS,
    Problem,
    install_error_table,
    write_error,
)

SCOPE = {"type": "http", "state": {"request_id": "req-12345678"}, "path": "/x"}


def error_classes(root=GaugehouseError):
    yield root
    for child in root.__subclasses__():
        yield from error_classes(child)


def make(cls):
    """Return an error as its class would make it, whatever its constructor wants."""
    error = cls.__new__(cls)
    GaugehouseError.__init__(error, "something was wrong")
    return error


def body_of(response):
    return json.loads(response.body)


def assert_is_problem(body, status):
    Problem.model_validate(body)
    assert body["status"] == status
    assert body["title"] == HTTPStatus(status).phrase
    assert body["type"] == f"urn:gaugehouse:problem:{body['code']}"
    assert body["instance"] == f"urn:gaugehouse:request:{body['request_id']}"
    assert body["detail"]


def test_every_kind_has_a_status():
    assert set(STATUS) == set(Kind)


@pytest.mark.parametrize("cls", list(error_classes()), ids=lambda cls: cls.__name__)
def test_every_error_class_is_answered_in_the_one_shape(cls):
    response = write_error(SCOPE, make(cls))
    assert response.status_code == STATUS[cls.kind]
    assert response.media_type == MEDIA_TYPE
    assert_is_problem(body_of(response), response.status_code)
    assert body_of(response)["code"] == make(cls).code


def test_the_tree_in_the_errors_room_is_all_there_is():
    defined = {value for value in vars(gaugehouse.errors).values() if isinstance(value, type)}
    assert {cls for cls in defined if issubclass(cls, GaugehouseError)} <= set(error_classes())


@pytest.mark.parametrize("cls", [Throttled, Overloaded, StorageFull])
def test_errors_that_pass_say_when_to_come_back(cls):
    assert int(write_error(SCOPE, cls("later")).headers["retry-after"]) == RETRY_AFTER_S[STATUS[cls.kind]]
    assert write_error(SCOPE, cls("later", retry_after_s=7)).headers["retry-after"] == "7"


def test_a_401_carries_a_challenge_and_a_403_does_not():
    assert write_error(SCOPE, Unauthenticated("who?")).headers["www-authenticate"].startswith("Bearer")
    assert "www-authenticate" not in write_error(SCOPE, Forbidden("no")).headers


def test_a_challenge_of_its_own_stays_out_of_the_body():
    response = write_error(SCOPE, Unauthenticated("who?", fields={"challenge": 'Basic realm="x"'}))
    assert response.headers["www-authenticate"] == 'Basic realm="x"'
    assert "challenge" not in body_of(response)


def test_a_413_closes_the_connection_because_the_sender_may_still_write():
    assert write_error(SCOPE, TooLarge("big")).headers["connection"] == "close"


def test_fields_of_an_error_stand_in_the_body_but_cannot_replace_its_members():
    error = GaugehouseError(
        "no", fields={"names": ["a", "b"], "status": 200, "instance": "/etc", "at": datetime(2026, 1, 1, tzinfo=UTC)}
    )
    body = body_of(write_error(SCOPE, error))
    assert body["names"] == ["a", "b"]
    assert body["at"] == "2026-01-01T00:00:00Z"
    assert_is_problem(body, 422)


def test_a_problem_stays_below_8_kib_whatever_it_names():
    problems = [RowProblem(row=row, field="component", reason="\ud800é" * 5000) for row in range(50)]
    encoded = write_error(SCOPE, RowsRefused(problems, bad_rows=50)).body
    assert len(encoded) <= MAX_BODY_BYTES
    assert 1 <= len(json.loads(encoded)["errors"]) <= 20
    encoded = write_error(SCOPE, GaugehouseError("x" * 10_000, fields={f"f{i}": "y" * 10_000 for i in range(200)})).body
    assert len(encoded) <= MAX_BODY_BYTES
    assert_is_problem(json.loads(encoded), 422)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", b"\xff", {"a": {"b": {"c": {"d": {"e": 1}}}}}])
def test_what_json_cannot_carry_is_written_as_text(value):
    encoded = write_error(SCOPE, GaugehouseError("no", fields={"value": value})).body
    json.loads(encoded.decode("utf-8", errors="strict"), parse_constant=pytest.fail)


class Row(EdgeBody):
    value: float
    name: str


@pytest.fixture
def app():
    app = FastAPI(middleware=[Middleware(Envelope)])
    install_error_table(app)

    @app.post("/rows")
    def add(rows: list[Row]) -> int:
        return len(rows)

    @app.post("/one")
    def add_one(row: Row | None = None) -> int:
        return 0 if row is None else 1

    @app.get("/rows")
    def read() -> int:
        return 0

    @app.get("/crash")
    def crash() -> None:
        raise RuntimeError("/etc/passwd SELECT secret FROM users")

    @app.get("/exhausted")
    def exhaust(errno_: int) -> None:
        raise OSError(errno_, os.strerror(errno_), "/var/lib/secret")

    @app.get("/validation")
    def validation() -> None:
        raise RequestValidationError([{"loc": ("body", 0, "value"), "type": "x", "msg": "bad", "input": float("nan")}])

    return app


def test_addresses_and_methods_that_do_not_exist_are_problems(client):
    answer = client.get("/nowhere")
    assert_is_problem(answer.json(), 404)
    assert answer.json()["code"] == "not_found"
    answer = client.delete("/rows")
    assert_is_problem(answer.json(), 405)
    assert answer.headers["allow"] == "GET, POST"
    assert answer.headers["content-type"] == MEDIA_TYPE


def test_a_crash_says_nothing_about_its_cause(client, caplog):
    answer = client.get("/crash")
    assert_is_problem(answer.json(), 500)
    for trace in ("/", "Traceback", "SELECT", "secret", "RuntimeError", "gaugehouse/"):
        assert trace not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(("errno_", "status"), [(errno.EMFILE, 503), (errno.ENFILE, 503), (errno.ENOENT, 500)])
def test_a_server_without_descriptors_asks_to_come_back(client, errno_, status):
    answer = client.get(f"/exhausted?errno_={errno_}")
    assert_is_problem(answer.json(), status)
    assert ("retry-after" in answer.headers) == (status == 503)
    assert "secret" not in answer.text


def test_unreadable_json_is_a_400(client):
    answer = client.post("/rows", content=b'[{"value": ', headers={"content-type": "application/json"})
    assert_is_problem(answer.json(), 400)


def test_json_nested_beyond_reason_is_a_400(client):
    answer = client.post("/rows", content=b"[" * 200_000, headers={"content-type": "application/json"})
    assert_is_problem(answer.json(), 400)


@pytest.mark.parametrize("depth", [40, 300, 900])
def test_json_nested_deeper_than_any_use_is_a_422(client, depth):
    content = b'[{"value": 1, "name": ' + b"[" * depth + b"]" * depth + b"}]"
    answer = client.post("/rows", content=content, headers={"content-type": "application/json"})
    assert_is_problem(answer.json(), 422)
    assert "nested" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/rows", "/one"])
@pytest.mark.parametrize("media_type", ["text/csv", "application/x-www-form-urlencoded", ""])
def test_a_body_that_does_not_say_it_is_json_is_a_415(client, path, media_type):
    answer = client.post(path, content=b'{"value": 1, "name": "x"}', headers={"content-type": media_type})
    assert_is_problem(answer.json(), 415)


@pytest.mark.parametrize(
    "content",
    [
        b'[{"value": NaN, "name": "\\ud800"}]',
        b'[{"value": Infinity}]',
        b'[{"value": 1, "name": "x", "\\ud800": 1}]',
        b"{}",
        b"null",
    ],
)
def test_refused_content_is_a_422_that_names_the_part_and_does_not_echo_it(client, content):
    answer = client.post("/rows", content=content, headers={"content-type": "application/json"})
    assert_is_problem(answer.json(), 422)
    assert answer.json()["errors"][0]["field"].startswith("body")
    assert "NaN" not in answer.text


def test_twenty_thousand_bad_items_are_answered_in_8_kib(client):
    answer = client.post("/rows", json=[{}] * 20_000)
    assert_is_problem(answer.json(), 422)
    assert len(answer.content) <= MAX_BODY_BYTES
    assert len(answer.json()["errors"]) == 20


def test_a_validation_error_with_nan_input_is_answered(client):
    assert_is_problem(client.get("/validation").json(), 422)
