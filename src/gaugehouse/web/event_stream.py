"""A live reader over Server-Sent Events: an HTTP answer that does not end.

Source: WHATWG HTML, section 9.2 (2026).
"""

import asyncio
from contextlib import suppress

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from gaugehouse.errors import GaugehouseError
from gaugehouse.web.live import Gone, Said, let_go_of

MEDIA_TYPE = "text/event-stream"
RETRY_MS = 2_000  # a browser that was cut off comes back after this
HEADERS = {
    "Cache-Control": "no-store",
    "Connection": "close",  # nothing can follow it
    "X-Accel-Buffering": "no",  # nginx would hold messages back
}


class EventStream:
    """Writes messages into one answer; the reader's side of it says only that it has left."""

    transport = "sse"

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._listening: asyncio.Task[Message] | None = None

    async def start(self) -> None:
        """Send the head."""
        head = Response(status_code=200, media_type=MEDIA_TYPE, headers=HEADERS)
        headers = [pair for pair in head.raw_headers if pair[0] != b"content-length"]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._write(f"retry: {RETRY_MS}\n\n")

    async def send(self, said: Said) -> None:
        """Send one message."""
        await self._write(_frame(said))

    async def rest(self, wait_s: float) -> None:
        """Wait so long.

        Raises:
            Gone: the reader has left.
        """
        if self._listening is None:
            self._listening = asyncio.create_task(self._leave())
        done, _waiting = await asyncio.wait({self._listening}, timeout=wait_s)
        if done:
            raise Gone

    async def _leave(self) -> Message:
        message = await self._receive()
        while message["type"] != "http.disconnect":
            message = await self._receive()
        return message

    async def end(self, said: Said, error: GaugehouseError) -> None:  # noqa: ARG002 - of a Line
        """Say a last thing and end the answer."""
        let_go_of(self._scope)
        await self._write(_frame(said))
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def close(self) -> None:
        """Wait for nothing any more."""
        if self._listening is not None:
            self._listening.cancel()
            with suppress(asyncio.CancelledError):
                await self._listening

    async def _write(self, text: str) -> None:
        await self._send({"type": "http.response.body", "body": text.encode(), "more_body": True})


def _frame(said: Said) -> str:
    position = "" if said.id is None else f"id: {said.id}\n"
    return f"event: {said.type}\n{position}data: {said.text}\n\n"
