"""Live data over a WebSocket: the first message says who listens to what, later ones change that."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated

import structlog
from anyio.to_thread import run_sync
from fastapi import FastAPI
from pydantic import Field, ValidationError
from starlette.routing import WebSocketRoute
from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect

from gaugehouse.access import Caller
from gaugehouse.errors import GaugehouseError, Overloaded, Refused, TooSlow, Unauthenticated, Unreadable
from gaugehouse.limits import group_address
from gaugehouse.live import MAX_RATE_HZ, MIN_RATE_HZ, REPORTS_LIMIT, Channel, Wish
from gaugehouse.live.wish import DEFAULT_RATE_HZ
from gaugehouse.runtime import Runtime
from gaugehouse.web.api.asked import Choice
from gaugehouse.web.api.live import PATH, open_channel, read_position
from gaugehouse.web.edge import EdgeBody
from gaugehouse.web.live import LEAVING, Gone, Listening, Said, close_code_of, is_same, let_go_of, run_to_end, serve
from gaugehouse.web.pace import Paces, counting_strangers
from gaugehouse.web.problems import name_errors, write_error
from gaugehouse.web.security import Credentials, identify, identify_again
from gaugehouse.web.threads import Threads

log = structlog.get_logger(__name__)

FIRST_MESSAGE_S = 10.0
STRANGERS_LIMIT = 400  # sockets that have not said yet who they are,
STRANGERS_PER_ADDRESS = 50  # and how many of them one address may have: nobody must keep all others out
LOOK_PERIOD_S = 0.5
MESSAGE_PERIOD_S = 0.25  # each message is a question of its own
INTERNAL_ERROR = 1011
Names = Annotated[list[str] | None, Field(max_length=1000)]


class SubscribeBody(EdgeBody):
    """What a reader asks for; `{}` is the newest values of every series."""

    components: Names = None
    type: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    metrics: Names = None
    measurements: bool = True
    kinds: Names = None
    events: bool = False
    reports: Annotated[list[str], Field(max_length=REPORTS_LIMIT)] = Field(default_factory=list)
    max_rate_hz: float = Field(default=DEFAULT_RATE_HZ, ge=MIN_RATE_HZ, le=MAX_RATE_HZ)
    snapshot: bool = True
    last_event_id: str | None = None

    def as_wish(self) -> Wish:
        """Return it in the words of the room `live`, but for the components."""
        return Wish(
            metrics=None if self.metrics is None else tuple(self.metrics),
            measurements=self.measurements,
            kinds=None if self.events else tuple(self.kinds or ()),
            reports=tuple(self.reports),
            max_rate_hz=self.max_rate_hz,
            snapshot=self.snapshot,
            after_us=read_position(self.last_event_id),
        )

    def as_choice(self) -> Choice:
        """Return which components."""
        names = None if self.components is None else tuple(self.components)
        return Choice(names=names, type=self.type, labels=self.labels)


class ClientMessage(EdgeBody):
    """What a reader may send: a token or key, at first and whenever it has a newer one; what it asks for."""

    token: str | None = Field(None, max_length=8192)
    subscribe: SubscribeBody | None = None


def read_message(message: Message) -> ClientMessage:
    """Return what a reader has sent.

    Raises:
        Unreadable: no JSON text.
        Refused: JSON, but not what is taken here.
    """
    text = message.get("text")
    if text is None:
        raise Unreadable("messages are JSON in text frames")
    try:
        return ClientMessage.model_validate_json(text)
    except ValidationError as exc:
        errors = exc.errors(include_url=False, include_context=False, include_input=False)
        if errors[0]["type"] == "json_invalid":
            raise Unreadable("the message is not valid JSON") from None
        named = name_errors(errors)
        raise Refused(
            f"the message cannot be accepted; the first reason is {named[0]['field']}: {named[0]['reason']}",
            code="request_refused",
            fields={"errors": named},
        ) from None


class SocketLine:
    """One accepted WebSocket."""

    transport = "websocket"

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._receiving: asyncio.Task[Message] | None = None
        self._hear: Callable[[ClientMessage], Awaitable[None]] | None = None

    async def send(self, said: Said) -> None:
        """Send one message."""
        try:
            await self._socket.send({"type": "websocket.send", "text": said.text})
        except (WebSocketDisconnect, OSError):
            raise Gone from None

    async def receive(self, wait_s: float) -> Message | None:
        """Return the next message, None when there is none in time.

        Raises:
            Gone: the reader has left.
        """
        if self._receiving is None:
            self._receiving = asyncio.create_task(self._receive())
        done, _waiting = await asyncio.wait({self._receiving}, timeout=wait_s)
        if not done:
            return None
        message, self._receiving = self._receiving.result(), None
        if message["type"] == "websocket.disconnect":
            raise Gone
        return message

    async def _receive(self) -> Message:
        return await self._socket.receive()

    async def rest(self, wait_s: float) -> None:
        """Wait so long, or for one message and what it asks for."""
        message = await self.receive(wait_s)
        if message is not None and self._hear is not None:
            await self._hear(read_message(message))
            await asyncio.sleep(MESSAGE_PERIOD_S)

    def answer_by(self, hear: Callable[[ClientMessage], Awaitable[None]]) -> None:
        """Let what comes from now on be heard there."""
        self._hear = hear

    async def end(self, said: Said, error: GaugehouseError) -> None:
        """Say a last thing and close."""
        let_go_of(self._socket.scope)
        await self.send(said)
        code, reason = close_code_of(error), error.code
        try:
            await self._socket.send({"type": "websocket.close", "code": code, "reason": reason})
        except (WebSocketDisconnect, OSError):
            raise Gone from None

    async def close(self) -> None:
        """Wait for nothing any more."""
        if self._receiving is not None:
            self._receiving.cancel()
            await asyncio.wait({self._receiving})


class Conversation:
    """What one reader says, and what that leads to.

    Args:
        socket: Accepted.
        runtime: What is running.
        paces: Count its messages as requests.
        threads: Where the database is asked.
        is_leaving: Whether the server stops.
    """

    def __init__(
        self,
        socket: WebSocket,
        runtime: Runtime,
        *,
        paces: Paces,
        threads: Threads,
        is_leaving: Callable[[], bool],
    ) -> None:
        self._scope = socket.scope
        self._runtime = runtime
        self._paces = paces
        self._threads = threads
        self._is_leaving = is_leaving
        self._given = Credentials()
        self._listening: Listening | None = None

    async def begin(self, line: SocketLine) -> Listening:
        """Return what the first message asks for.

        Raises:
            TooSlow: it does not come.
            GaugehouseError: it is not what a first message should be, or asks for what the caller may not have.
        """
        asked = await self._wait_for_first(line)
        if asked.token is None:
            self._paces.refuse_stranger(self._scope)
            raise Unauthenticated("the first message needs a token: a token from POST /token, or an API key")
        caller = await self._identify(asked.token)
        channel = await self._open(caller, asked.subscribe or SubscribeBody())
        self._listening = Listening(
            readers=self._runtime.readers,
            caller=caller,
            identify=lambda max_age_s: identify_again(self._runtime.access, self._given, max_age_s),
            channel=channel,
            threads=self._threads.live,
            is_leaving=self._is_leaving,
        )
        return self._listening

    async def hear(self, said: ClientMessage) -> None:
        """Take a newer token, another wish, or both.

        Raises:
            GaugehouseError: as `begin`.
        """
        listening = self._listening
        assert listening is not None  # noqa: S101 - nothing is heard before `begin` is done
        if said.token is not None:
            caller = await self._identify(said.token)
            if not is_same(caller, listening.caller):
                raise Unauthenticated("this token is of somebody else; open another connection", code="caller_changed")
            listening.caller = caller
        if said.subscribe is not None:
            listening.change(await self._open(listening.caller, said.subscribe))

    async def _wait_for_first(self, line: SocketLine) -> ClientMessage:
        until_s = time.monotonic() + FIRST_MESSAGE_S
        while time.monotonic() < until_s:
            message = await line.receive(LOOK_PERIOD_S)
            if message is not None:
                return read_message(message)
            if self._is_leaving():
                raise LEAVING
        raise TooSlow(f"the first message did not come within {FIRST_MESSAGE_S:g} s")

    async def _identify(self, token: str) -> Caller:
        given = Credentials(token=token)
        with counting_strangers(self._paces, self._scope) as strangers:
            caller = await identify(self._runtime.access, self._threads, given, strangers)
        self._given = given
        return caller

    async def _open(self, caller: Caller, body: SubscribeBody) -> Channel:
        self._paces.admit({**self._scope, "method": "GET", "state": {}}, caller)
        ask = partial(open_channel, self._runtime, caller, body.as_wish(), body.as_choice())
        return await run_sync(ask, limiter=self._threads.live)


class LiveSockets:
    """The WebSocket at the address of live data."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._strangers: Counter[str] = Counter()

    def route(self) -> WebSocketRoute:
        """Return where it is."""
        return WebSocketRoute(PATH, self.follow)

    async def follow(self, socket: WebSocket) -> None:
        """Serve one connection to its end."""
        state = self._app.state
        address = group_address(state.paces.find_address(socket.scope))
        if self._strangers.total() >= STRANGERS_LIMIT or self._strangers[address] >= STRANGERS_PER_ADDRESS:
            refusal = Overloaded("too many connections wait for their first message; try again in a second")
            await write_error(socket.scope, refusal)(socket.scope, socket.receive, socket.send)
            return
        line, runtime = SocketLine(socket), state.runtime
        conversation = Conversation(
            socket, runtime, paces=state.paces, threads=state.threads, is_leaving=state.is_leaving
        )
        try:
            await socket.accept()
            converse = partial(self._converse, conversation, line, runtime, address)
            await run_to_end(converse, line, runtime.readers)
        except Exception:  # as the envelope does for requests
            log.exception("live_crashed")
            await socket.close(INTERNAL_ERROR)
        finally:
            await line.close()

    async def _converse(self, conversation: Conversation, line: SocketLine, runtime: Runtime, address: str) -> None:
        self._strangers[address] += 1
        try:
            listening = await conversation.begin(line)
        finally:
            self._strangers[address] -= 1
            self._strangers += Counter()  # drops what is at zero
        try:
            with runtime.readers.admitted(listening.caller, line.transport):
                line.answer_by(conversation.hear)
                await serve(listening, line)
        finally:
            runtime.readers.close(listening.channel)
