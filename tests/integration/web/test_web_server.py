"""What only a real socket shows: bodies without a length, smuggled lengths, slow senders, the server's own headers."""

import json
import socket
import threading
import time
from contextlib import contextmanager

import httpx
import pytest
import uvicorn

from gaugehouse.web.connection import Connection
from gaugehouse.web.envelope import SECURITY_HEADERS
from gaugehouse.web.server import configure_server

from .conftest import SMALL_BODY_BYTES


@contextmanager
def serving(app, connection=Connection):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(configure_server(app, host="127.0.0.1", port=0, connection=connection))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield listener.getsockname()
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def address(app):
    with serving(app) as address:
        yield address


class Impatient(Connection):
    """Waits less for a head than a test does."""

    head_timeout_s = 0.3


@pytest.fixture(scope="module")
def impatient_address(app):
    with serving(app, Impatient) as address:
        yield address


@pytest.fixture(scope="module")
def http(address):
    with httpx.Client(base_url=f"http://{address[0]}:{address[1]}", timeout=10) as client:
        token = client.post("/token", data={"username": "manager", "password": "manager"}).json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        yield client


def exchange(address, request):
    """Send raw bytes and return the whole answer."""
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(request)
        return read_all(connection)


def read_all(connection):
    parts = []
    while part := connection.recv(65_536):
        parts.append(part)
    return b"".join(parts)


def assert_is_problem(answer, status):
    """Check an answer of the connection itself, which no part of the application has seen."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    assert lines[0].startswith(f"HTTP/1.1 {status} ")
    assert headers["content-type"] == "application/problem+json"
    assert headers["connection"] == "close"
    assert int(headers["content-length"]) == len(body)
    assert json.loads(body)["status"] == status
    assert json.loads(body)["request_id"] == headers["x-request-id"]
    for name in SECURITY_HEADERS:
        assert name.lower() in headers, name


def test_answers_do_not_name_the_server(http):
    assert "server" not in http.get("/health").headers


def test_a_body_without_a_length_is_counted(http):
    def chunks():
        for _ in range(40):
            yield b" " * (SMALL_BODY_BYTES // 10)

    answer = http.post("/v1/measurements", content=chunks(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert http.get("/health").status_code == 200


def test_a_body_over_the_limit_is_refused_before_it_is_read(http):
    content = b" " * (20 * SMALL_BODY_BYTES)
    answer = http.post("/v1/measurements", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert http.get("/health").status_code == 200


@pytest.mark.parametrize(
    "lengths",
    [
        b"Content-Length: 2\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 2",
        b"Content-Length: 2\r\nContent-Length: 3",
        b"Content-Length: +2",
        b"Content-Length: 2, 2",
    ],
)
def test_two_lengths_in_one_request_are_refused(address, lengths):
    request = b"POST /v1/measurements HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + lengths
    answer = exchange(address, request + b"\r\n\r\n2\r\n[]\r\n0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_a_client_that_leaves_in_the_middle_of_a_body_harms_nobody(address, http):
    for _ in range(5):
        with socket.create_connection(address) as connection:
            connection.sendall(
                b"POST /v1/measurements HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: "
                + http.headers["Authorization"].encode()
                + b"\r\nContent-Length: 1000\r\n\r\n[{"
            )
    assert http.get("/health").status_code == 200
    assert http.get("/ready").status_code == 200


def test_a_stream_leaves_in_parts(http):
    rows = [
        {"component": "server", "metric": "m", "measured_at": f"2026-11-20T10:{n // 60:02}:{n % 60:02}Z", "value": n}
        for n in range(600)
    ]
    assert http.post("/v1/measurements", json=rows).status_code == 201
    with http.stream("GET", "/v1/measurements?component=server&format=ndjson") as answer:
        assert "content-length" not in answer.headers
        assert sum(1 for _ in answer.iter_lines()) == 600


@pytest.mark.parametrize("request_bytes", [b"this is no HTTP\r\n\r\n", b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_what_is_no_http_is_answered_in_the_one_shape(address, request_bytes):
    assert_is_problem(exchange(address, request_bytes), 400)


@pytest.mark.parametrize(
    "headers",
    [b"X-Long: " + b"a" * Connection.max_head_bytes, b"".join(b"X-%d: y\r\n" % n for n in range(10_000))],
    ids=["one long header", "many headers"],
)
def test_headers_over_their_limit_are_refused(address, headers):
    request = b"GET /health HTTP/1.1\r\nHost: x\r\n" + headers
    assert_is_problem(exchange(address, request[: Connection.max_head_bytes]), 431)


def test_headers_below_their_limit_and_bodies_above_it_pass(address, http):
    rows = [
        {
            "component": "head",
            "metric": "m" * 100,
            "measured_at": f"2026-11-20T10:00:{n // 10:02}.{n % 10}Z",
            "value": n,
        }
        for n in range(300)
    ]
    for _ in range(3):  # on one connection: each request has the whole limit
        answer = http.get("/health", headers={"X-Long": "a" * (Connection.max_head_bytes - 1000)})
        assert answer.status_code == 200
        body = json.dumps(rows)[:-1] + " " * (SMALL_BODY_BYTES - len(json.dumps(rows)) - 1) + "]"
        answer = http.post("/v1/measurements", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 201, answer.text


def test_pipelined_requests_are_all_answered(address):
    request = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = exchange(address, request * 2000 + last)
    assert answer.count(b"HTTP/1.1 200 OK") == 2001


@pytest.mark.parametrize("part", [b"GET /health HTTP/1.1\r\nHost: x\r\n", b"\r\n"])
def test_a_head_that_does_not_end_is_given_up(impatient_address, part):
    assert_is_problem(exchange(impatient_address, part), 408)


def test_a_second_head_that_does_not_end_is_given_up(impatient_address):
    with socket.create_connection(impatient_address, timeout=10) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
        connection.sendall(b"GET /health")
        assert_is_problem(read_all(connection), 408)


def test_a_connection_that_says_nothing_is_closed(impatient_address):
    assert exchange(impatient_address, b"") == b""


def test_a_slow_answer_is_not_cut_short_by_the_wait_for_the_next_head(impatient_address, http):
    with socket.create_connection(impatient_address, timeout=10) as connection:
        connection.sendall(
            b"POST /v1/measurements HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
            b"Content-Length: 3\r\nAuthorization: " + http.headers["Authorization"].encode() + b"\r\n\r\n"
        )
        time.sleep(2 * Impatient.head_timeout_s)
        connection.sendall(b"[ ]")
        assert read_all(connection).startswith(b"HTTP/1.1 ")


def test_one_connection_too_many_is_answered_503(app):
    class Crowded(Connection):
        max_connections = 2

    request = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    with serving(app, Crowded) as address, socket.create_connection(address), socket.create_connection(address):
        answer = exchange(address, request)
        assert_is_problem(answer, 503)
        assert b"retry-after: 1\r\n" in answer.lower()
    with serving(app, Crowded) as address, socket.create_connection(address):
        closing = request[:-2] + b"Connection: close\r\n\r\n"
        assert exchange(address, closing).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_a_load_balancer_may_ask_by_head(http, path):
    head, get = http.head(path), http.get(path)
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["content-length"] == get.headers["content-length"]
