"""How live readers are served, whatever the line is: what is said, when it ends, and how that is told."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Protocol, assert_never

import anyio
import msgspec
import pyarrow as pa
import structlog
from anyio.to_thread import run_sync
from starlette.types import Scope

from gaugehouse.access import Caller
from gaugehouse.errors import GaugehouseError, TooSlow, Unauthenticated, Unavailable
from gaugehouse.live import (
    Channel,
    Events,
    Heartbeat,
    Measurements,
    Message,
    Notice,
    Progressed,
    Readers,
    Welcome,
)
from gaugehouse.measurements.selection import from_epoch_us
from gaugehouse.web.encode import encode_ndjson
from gaugehouse.web.problems import STATUS

log = structlog.get_logger(__name__)

SEND_TIMEOUT_S = 5.0  # who takes no byte for so long is too slow
NOTICE_TIMEOUT_S = 1.0
CHECK_AGE_S = 0.3  # with a look each half second: what ends a token ends its channel within 0.8 s
LEAVING = Unavailable("the server stops; come back with your last id", code="server_stopping", retry_after_s=5)
TOO_SLOW = TooSlow(f"nothing could be written to you for {SEND_TIMEOUT_S:g} s; come back with your last id")


class Gone(Exception):
    """The reader has left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One message as text.

    Args:
        type: As it stands in the text.
        id: The position behind it, None on messages that do not move it.
        text: JSON without a line break.
    """

    type: str
    id: str | None
    text: str


class Line(Protocol):
    """A connection to one reader."""

    transport: str

    async def send(self, said: Said) -> None:
        """Send one message; wait as long as the reader's buffer is full."""

    async def rest(self, wait_s: float) -> None:
        """Wait so long, or until the reader wants something.

        Raises:
            Gone: it has left.
        """

    async def end(self, said: Said, error: GaugehouseError) -> None:
        """Say a last thing and close."""


Identify = Callable[[float], Caller]  # who that still is, by an answer at most so old [s]


@dataclass(slots=True, kw_only=True)
class Listening:
    """One reader while it is served.

    Args:
        readers: Where it is counted.
        caller: Who it is.
        identify: Asks again; blocks.
        channel: What it is told.
        threads: Few: everything that computes for readers waits for them.
        is_leaving: Whether the server stops.
    """

    readers: Readers
    caller: Caller
    identify: Identify
    channel: Channel
    threads: anyio.CapacityLimiter
    is_leaving: Callable[[], bool]

    async def run(self, line: Line) -> None:
        """Tell the reader what there is until it leaves or may stay no longer; never raises but for that."""
        while True:
            for said in await run_sync(self._step, limiter=self.threads):
                await deliver(line, said)
                self.readers.counts.messages[said.type] += 1
            if self.is_leaving():
                raise LEAVING
            await line.rest(self.channel.wait_s)

    def change(self, channel: Channel) -> None:
        """Tell from now on what another channel says."""
        self.readers.close(self.channel)
        self.channel = channel

    def _step(self) -> list[Said]:
        self._check()
        return [write(message) for message in self.channel.step()]

    def _check(self) -> None:
        """Refuse who may not listen any more.

        Raises:
            Unauthenticated: what they showed counts no more, or for somebody else.
            Forbidden: they lost a scope that this needs.
        """
        caller = self.identify(CHECK_AGE_S)
        self.channel.wish.refuse_without_scope(caller)
        if not is_same(caller, self.caller):
            raise Unauthenticated("these credentials stand for something else by now", code="caller_changed")


def is_same(one: Caller, other: Caller) -> bool:
    """Say whether two callers are one, who sees the same."""
    return all(
        getattr(one, name) == getattr(other, name) for name in ("kind", "id", "project_id", "project", "component")
    )


async def deliver(line: Line, said: Said) -> None:
    """Send one message.

    Raises:
        TooSlow: the reader took nothing for too long; nothing of this message was sent.
    """
    try:
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await line.send(said)
    except TimeoutError:
        raise TOO_SLOW from None


async def serve(listening: Listening, line: Line) -> None:
    """Serve one reader to its end, and say why it ended; log and count it."""
    begun_s, code = time.monotonic(), "reader_left"
    with structlog.contextvars.bound_contextvars(caller=listening.caller.name, transport=line.transport):
        log.info("live_opened", project=listening.caller.project)
        try:
            code = await run_to_end(lambda: listening.run(line), line, listening.readers)
        finally:
            listening.readers.close(listening.channel)
            log.info("live_closed", code=code, duration_s=round(time.monotonic() - begun_s, 3))


async def run_to_end(run: Callable[[], Awaitable[None]], line: Line, readers: Readers) -> str:
    """Run something that ends with an error; tell the reader which, and return its code."""
    try:
        await run()
    except Gone:
        return "reader_left"
    except GaugehouseError as error:
        readers.counts.dropped[error.code] += 1
        await _say_last(line, error)
        return error.code
    return "reader_left"


async def _say_last(line: Line, error: GaugehouseError) -> None:
    notice = Notice(code=error.code, detail=error.message, fields={"status": int(STATUS[error.kind]), **error.fields})
    try:
        async with asyncio.timeout(NOTICE_TIMEOUT_S):
            await line.end(write(notice), error)
    except (TimeoutError, Gone):
        return  # it was told as well as could be


def let_go_of(scope: Scope) -> None:
    """Let what is written from now on wait for nobody, and the connection be cut soon."""
    let_go = scope.get("state", {}).get("let_go")
    if let_go is not None:
        let_go()


def close_code_of(error: GaugehouseError) -> int:
    """Return with which code a WebSocket is closed: 4000 and the HTTP status, but for what passes by itself."""
    status = STATUS[error.kind]
    if error is LEAVING:
        return 1012
    return 1013 if status is HTTPStatus.SERVICE_UNAVAILABLE else 4000 + int(status)


def _instant(position_us: int | None) -> str | None:
    return None if position_us is None else _text(from_epoch_us(position_us))


def _text(value: object) -> str:
    encoded: str = msgspec.json.decode(msgspec.json.encode(value))
    return encoded


def write(message: Message) -> Said:
    """Return a message as text. Blocks for thousands of rows."""
    match message:
        case Welcome():
            return _write("welcome", asdict(message))
        case Measurements():
            fields = {"snapshot": message.is_snapshot, "coalesced": message.coalesced}
            return _write("measurements", fields, position_us=message.id, rows=message.rows)
        case Events():
            rows = message.rows.drop_columns(["body_hash"])
            return _write("events", {"dropped": message.dropped}, position_us=message.id, rows=rows)
        case Progressed():
            return _write("report", asdict(message.report))
        case Heartbeat():
            return _write("heartbeat", {}, position_us=message.id)
        case Notice():
            return _write("notice", {"code": message.code, "detail": message.detail, **message.fields})
        case _:
            assert_never(message)


def _write(
    name: str, fields: Mapping[str, object], *, position_us: int | None = None, rows: pa.Table | None = None
) -> Said:
    position = _instant(position_us)
    members = {"type": name, **({} if position is None else {"id": position}), **fields}
    if rows is None:
        return Said(type=name, id=position, text=msgspec.json.encode(members).decode())
    items = b",".join(_items(rows.to_batches()))
    return Said(
        type=name, id=position, text=(msgspec.json.encode(members)[:-1] + b',"items":[' + items + b"]}").decode()
    )


def _items(batches: Sequence[pa.RecordBatch]) -> list[bytes]:
    # A line break inside a text is escaped in NDJSON: the others are between rows.
    return [encode_ndjson(batch).rstrip(b"\n").replace(b"\n", b",") for batch in batches if batch.num_rows]
