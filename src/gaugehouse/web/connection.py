"""What happens on a connection before there is a request: heads are bounded in size and time, refusals have our shape.

uvicorn hands headers over only when all have arrived, and bounds neither their size nor their duration: one header of
100 MB kept the event loop busy for 40 s and 3 million short ones took 400 MB, both without credentials; 1000 silent
connections kept everybody else out.
"""

import asyncio
import secrets
from http import HTTPStatus

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gaugehouse.errors import Overloaded
from gaugehouse.web.envelope import SECURITY_HEADERS, Envelope
from gaugehouse.web.problems import write_error, write_problem
from gaugehouse.web.sockets import LINGER_S
from gaugehouse.web.traffic import Traffic


async def _refuse_overload(scope: Scope, receive: Receive, send: Send) -> None:
    answer = write_error(scope, Overloaded("too many connections at once; try again in a second", retry_after_s=1))
    answer.headers["Connection"] = "close"
    await answer(scope, receive, send)


def _find_traffic(app: object) -> Traffic:
    """Return where the application counts what it refuses; one that counts nothing gets its own."""
    traffic: Traffic | None = getattr(getattr(app, "state", None), "traffic", None)
    return traffic or Traffic()


class Connection(HttpToolsProtocol):
    """uvicorn's connection, whose request heads must be small and swift."""

    max_head_bytes = 64 * 1024
    head_timeout_s = 10.0
    max_connections = 1000  # beyond it requests are answered 503 at once

    _is_head_open = True  # from the last byte of a request to the blank line after the next one's headers
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None
    _is_new = True  # no request yet: uvicorn's keep-alive clock does not run
    _is_upgraded = False  # a WebSocket has taken over
    _linger_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Start to wait for the first head."""
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        if self._linger_timer is not None:
            self._linger_timer.cancel()
        super().connection_lost(exc)

    def let_go(self) -> None:
        """Write what is left without waiting for the reader, and cut the connection if it does not take it."""
        self.flow.resume_writing()
        self._linger_timer = self.loop.call_later(LINGER_S, self.transport.abort)

    def data_received(self, data: bytes) -> None:
        """Parse what arrived; of an open head no more than its limit."""
        while data and not self.transport.is_closing():
            room_bytes = self.max_head_bytes - self._head_bytes if self._is_head_open else len(data)
            part, data = data[:room_bytes], data[room_bytes:]
            if self._is_head_open:
                self._head_bytes += len(part)  # before it is parsed: the end of a request starts the count anew
            super().data_received(part)
            if self._is_upgraded:
                return
            if self._is_head_open and self._head_bytes >= self.max_head_bytes and not self.transport.is_closing():
                detail = f"the request's headers are larger than {self.max_head_bytes} bytes"
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, code="headers_too_large", detail=detail)
        if self._is_head_open and self._head_timer is None and not self.transport.is_closing():
            self._wait_for_head()

    def on_message_begin(self) -> None:
        """Give the new head its whole time."""
        super().on_message_begin()
        self._wait_for_head()

    def on_headers_complete(self) -> None:
        """Let the application, or the refusal of one too many, answer."""
        self._is_head_open = self._is_new = False
        self._stop_waiting()
        self.app = self.config.loaded_app
        self.scope["state"]["let_go"] = self.let_go
        if len(self.connections) > self.max_connections:
            self.app = Envelope(_refuse_overload, traffic=_find_traffic(self.config.app))
        super().on_headers_complete()

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over, unless there are too many."""
        self._is_upgraded = True
        self._stop_waiting()
        if len(self.connections) > self.max_connections:
            detail = "too many connections at once; try again in a second"
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, code="overloaded", detail=detail)
            return
        super().handle_websocket_upgrade()

    def on_message_complete(self) -> None:
        """Count the next head from its first byte."""
        super().on_message_complete()
        self._is_head_open, self._head_bytes = True, 0

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # its words are uvicorn's, ours are below
        """Answer what is no HTTP in the shape of every other error."""
        self._refuse(HTTPStatus.BAD_REQUEST, code="unreadable", detail="this is not an HTTP request we can read")

    def _refuse(self, status: HTTPStatus, *, code: str, detail: str) -> None:
        _find_traffic(self.config.app).refused[code] += 1
        request_id = secrets.token_hex(16)
        scope: Scope = {"type": "http", "state": {"request_id": request_id}}
        headers = SECURITY_HEADERS | {"Cache-Control": "no-store", "Connection": "close", "X-Request-Id": request_id}
        answer = write_problem(scope, status, code=code, detail=detail, headers=headers)
        self.transport.write(_as_bytes(answer, status))
        self.transport.close()

    def _wait_for_head(self) -> None:
        self._stop_waiting()
        self._head_timer = self.loop.call_later(self.head_timeout_s, self._give_up)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        """Close a connection whose head does not come; one that still answers, or rests, has other clocks."""
        self._head_timer = None
        if not self._is_new and not self.cycle.response_complete:
            self._wait_for_head()
        elif self._head_bytes:
            detail = f"the request's headers did not arrive within {self.head_timeout_s:g} s"
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, code="too_slow", detail=detail)
        elif self._is_new:
            self.transport.close()


def _as_bytes(answer: Response, status: HTTPStatus) -> bytes:
    status_line = f"HTTP/1.1 {status.value} {status.phrase}".encode()
    headers = (name + b": " + value for name, value in answer.raw_headers)
    return b"\r\n".join([status_line, *headers, b"", bytes(answer.body)])
