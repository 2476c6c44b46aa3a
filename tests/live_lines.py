"""Readers of live data over ASGI: a WebSocket and a stream of events, without a server."""

import asyncio
import json
from types import MappingProxyType

WAIT_S = 10.0


class Line:
    """What an application sends, message by message."""

    def __init__(self):
        self._inbox, self._outbox, self._serving = asyncio.Queue(), asyncio.Queue(), None
        self.is_reading = asyncio.Event()
        self.is_reading.set()
        self.state = {}
        self.let_go = 0

    def _serve(self, app, scope):
        async def send(message):
            await self.is_reading.wait()  # as a full buffer does
            await self._outbox.put(message)

        def let_go():
            self.let_go += 1
            self.is_reading.set()

        scope["state"] = self.state = {"let_go": let_go}
        self._serving = asyncio.create_task(app(scope, self._inbox.get, send))

    async def _sent(self, wait_s=WAIT_S):
        async with asyncio.timeout(wait_s):
            return await self._outbox.get()

    async def until(self, kind, **wanted):
        """Return the next message of a type; those of other types before it are passed over."""
        while True:
            message = await self.next()
            if message["type"] == kind and all(message.get(name) == value for name, value in wanted.items()):
                return message

    async def leave(self):
        """Be gone."""
        self.is_reading.set()
        await self._inbox.put(self.goodbye)
        async with asyncio.timeout(WAIT_S):
            await self._serving


class Socket(Line):
    """A WebSocket."""

    goodbye = MappingProxyType({"type": "websocket.disconnect", "code": 1001})

    async def open(self, app, *, headers=None, path="/v1/live"):
        """Connect; return the status of a refusal, None when it is accepted."""
        given = {"host": "localhost"} | (headers or {})
        scope = {
            "type": "websocket", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1",
            "scheme": "ws", "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
            "client": ("127.0.0.1", 40000), "server": ("127.0.0.1", 80), "subprotocols": [],
            "extensions": {"websocket.http.response": {}},
        }  # fmt: skip
        self._serve(app, scope)
        await self._inbox.put({"type": "websocket.connect"})
        answer = await self._sent()
        return None if answer["type"] == "websocket.accept" else answer.get("status", answer["type"])

    async def say(self, **message):
        await self.say_text(json.dumps(message))

    async def say_text(self, text):
        await self._inbox.put({"type": "websocket.receive", "text": text})

    async def next(self):
        """Return the next message; a close as `{"type": "close", "code": ...}`."""
        message = await self._sent()
        if message["type"] == "websocket.close":
            return {"type": "close", "code": message["code"]}
        return json.loads(message["text"])

    async def end(self):
        """Return (last notice, close code), once the application has closed."""
        notice = await self.until("notice")
        closed = await self.next()
        async with asyncio.timeout(WAIT_S):
            await self._serving
        return notice, closed["code"]


class Stream(Line):
    """Server-Sent Events."""

    goodbye = MappingProxyType({"type": "http.disconnect"})

    async def open(self, app, *, headers=None, query="", path="/v1/live"):
        """Ask; return (status, headers)."""
        given = {"host": "localhost", "accept": "text/event-stream"} | (headers or {})
        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET",
            "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": query.encode(), "root_path": "",
            "headers": [(name.lower().encode(), value.encode()) for name, value in given.items()],
            "client": ("127.0.0.1", 40000), "server": ("127.0.0.1", 80),
        }  # fmt: skip
        self._serve(app, scope)
        await self._inbox.put({"type": "http.request", "body": b"", "more_body": False})
        answer = await self._sent()
        headers = {name.decode().lower(): value.decode() for name, value in answer["headers"]}
        return answer["status"], headers

    async def next(self):
        """Return the next message with the frame's id as `frame_id`; the end as `{"type": "close"}`."""
        while True:
            message = await self._sent()
            if not message.get("more_body", False):
                return {"type": "close"}
            fields = dict(line.split(": ", 1) for line in message["body"].decode().splitlines() if line)
            if "data" in fields:
                told = json.loads(fields["data"])
                assert told["type"] == fields["event"]
                return told | {"frame_id": fields.get("id")}

    async def body(self):
        """Return the whole answer of a refusal."""
        return json.loads((await self._sent())["body"])
