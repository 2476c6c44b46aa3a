"""What only a real socket shows: bodies without a length, smuggled lengths, slow senders, the server's own headers."""

import socket
import threading
import time

import httpx
import pytest
import uvicorn

from gaugehouse.web.server import configure_server

from .conftest import SMALL_BODY_BYTES


@pytest.fixture(scope="module")
def address(app):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(configure_server(app, host="127.0.0.1", port=0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield listener.getsockname()
        server.should_exit = True
        thread.join()


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
        parts = []
        while part := connection.recv(65_536):
            parts.append(part)
        return b"".join(parts)


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


def test_heads_are_answered_without_a_body(http):
    answer = http.head("/docs")
    assert answer.content == b""
    assert answer.status_code in {200, 405}
