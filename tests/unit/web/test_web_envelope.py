"""What goes round every request and answer."""

import asyncio

import pytest
import structlog
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse, StreamingResponse

from gaugehouse.web.envelope import MAX_URL_BYTES, SECURITY_HEADERS, Envelope
from gaugehouse.web.problems import install_error_table


@pytest.fixture
def app():
    app = FastAPI(middleware=[Middleware(Envelope)])
    install_error_table(app)

    @app.get("/plain")
    def plain() -> PlainTextResponse:
        return PlainTextResponse("hello", headers={"Cache-Control": "public, max-age=60"})

    @app.get("/id")
    def bound_id() -> dict[str, object]:
        return structlog.contextvars.get_contextvars()

    @app.get("/broken-stream")
    def broken_stream() -> StreamingResponse:
        def rows():
            yield b"first"
            raise RuntimeError("in the middle")

        return StreamingResponse(rows())

    return app


@pytest.mark.parametrize("path", ["/plain", "/id", "/nowhere", "/" + "x" * MAX_URL_BYTES])
def test_every_answer_has_the_security_headers(client, path):
    answer = client.get(path)
    for name, value in SECURITY_HEADERS.items():
        assert answer.headers[name] == value
    assert answer.headers["x-request-id"]


def test_answers_are_not_stored_unless_they_say_so(client):
    assert client.get("/id").headers["cache-control"] == "no-store"
    assert client.get("/plain").headers["cache-control"] == "public, max-age=60"


def test_the_callers_request_id_is_kept_and_bound_to_the_log(client):
    answer = client.get("/id", headers={"X-Request-Id": "trace-0123456789"})
    assert answer.headers["x-request-id"] == "trace-0123456789"
    assert answer.json()["request_id"] == "trace-0123456789"


@pytest.mark.parametrize("hostile", ["short", "x" * 65, 'a"b"c"d"e"f', "line break123", "../../etc/passwd"])
def test_a_request_id_that_could_do_harm_is_replaced(client, hostile):
    assert client.get("/id", headers={"X-Request-Id": hostile}).headers["x-request-id"] != hostile


def test_an_address_over_8_kib_is_a_414(client):
    answer = client.get("/plain?" + "x" * MAX_URL_BYTES)
    assert answer.status_code == 414
    assert answer.json()["code"] == "address_too_long"


def test_one_log_line_tells_the_whole_request(client):
    with structlog.testing.capture_logs() as lines:
        client.get("/plain")
    served = [line for line in lines if line["event"] == "request_served"]
    assert len(served) == 1
    assert served[0]["status"] == 200
    assert served[0]["path"] == "/plain"
    assert served[0]["response_size_bytes"] == 5
    assert served[0]["duration_s"] >= 0


def test_a_stream_that_breaks_is_cut_off_and_logged(client):
    with structlog.testing.capture_logs() as lines:
        client.get("/broken-stream")
    assert "request_crashed" in [line["event"] for line in lines]


def test_https_answers_ask_for_https_from_now_on(app):
    assert b"strict-transport-security" not in dict(_headers(app, "http"))
    assert b"strict-transport-security" in dict(_headers(app, "https"))


def _headers(app, scheme):

    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/plain",
        "raw_path": b"/plain",
        "query_string": b"",
        "headers": [],
        "scheme": scheme,
        "server": ("x", 80),
        "client": ("y", 1),
        "http_version": "1.1",
        "root_path": "",
    }
    asyncio.run(app(scope, receive, send))
    return sent[0]["headers"]
