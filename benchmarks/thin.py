"""Sends small requests over many connections with as little processor time as Python can: one epoll loop, raw bytes."""

import select
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

CREATED = b"HTTP/1.1 201"
SUCCEEDED = b"HTTP/1.1 20"
HEAD_END = b"\r\n\r\n"
LENGTH = b"content-length: "


@dataclass(slots=True, kw_only=True)
class Connection:
    """A socket, the requests that go over it (each with whether its row is late), and what came back."""

    socket: socket.socket
    requests: Iterator[tuple[bytes, bool]]
    is_late: bool = False
    sent_at_s: float = 0.0
    answer: bytes = b""
    response_s: list[float] = field(default_factory=list)
    late_response_s: list[float] = field(default_factory=list)


def request_head(key: str, content_type: str, *, path: str = "/v1/measurements") -> bytes:
    """Return a head that lacks but the length of its body: `head % len(body)`."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nX-API-Key: {key}\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: %d\r\n\r\n"
    ).encode()


def question(key: str, path: str) -> bytes:
    """Return a whole request that asks for an address."""
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\nX-API-Key: {key}\r\n\r\n".encode()


def exchange(
    port: int, requests: list[Iterator[tuple[bytes, bool]]], *, seconds: float
) -> tuple[list[Connection], float]:
    """Keep one request under way per connection until time or requests end.

    Returns:
        The connections, and how long it took. [s]
    """
    opened: dict[int, Connection] = {}
    poll = select.epoll()
    for each in requests:
        one = socket.create_connection(("127.0.0.1", port))
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened[one.fileno()] = Connection(socket=one, requests=each)
    begun_s = time.perf_counter()
    for descriptor, connection in opened.items():
        poll.register(descriptor, select.EPOLLIN)
        _send_next(connection)
    busy = len(opened)
    while busy:
        for descriptor, _event in poll.poll():
            connection = opened[descriptor]
            if not _take(connection):
                continue
            if time.perf_counter() - begun_s >= seconds or not _send_next(connection):
                poll.unregister(descriptor)
                connection.socket.close()
                busy -= 1
    poll.close()
    return list(opened.values()), time.perf_counter() - begun_s


def _send_next(connection: Connection) -> bool:
    request, connection.is_late = next(connection.requests, (b"", False))
    connection.sent_at_s = time.perf_counter()
    connection.socket.sendall(request)
    return bool(request)


def _take(connection: Connection) -> bool:
    """Read what has come; say whether the answer is whole."""
    connection.answer += connection.socket.recv(65_536)
    end = connection.answer.find(HEAD_END)
    if end < 0:
        return False
    at = connection.answer.index(LENGTH) + len(LENGTH)
    size_bytes = int(connection.answer[at : connection.answer.index(b"\r", at)])
    if len(connection.answer) < end + len(HEAD_END) + size_bytes:
        return False
    if not connection.answer.startswith(SUCCEEDED):
        raise SystemExit(f"refused: {connection.answer.decode(errors='replace')}")
    taken = connection.late_response_s if connection.is_late else connection.response_s
    taken.append(time.perf_counter() - connection.sent_at_s)
    connection.answer = b""
    return True
