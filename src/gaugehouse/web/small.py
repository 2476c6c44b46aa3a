"""The short way for deliveries of devices and gateways: no dependency injection, no database, company in the lake.

A thread hop costs a single row more than all else together: with 64 senders each hop waits for the interpreter's lock.
So a few rows are decoded in the event loop; a thousand in a thread, one body at a time: more would only take the lock
from each other. Whatever is not plainly a small, good delivery of a known caller goes the general way, which alone
refuses things.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from time import monotonic

import pyarrow as pa
from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gaugehouse.access import Scope as Right
from gaugehouse.errors import GaugehouseError
from gaugehouse.fleet.heartbeats import read_heartbeat
from gaugehouse.fleet.status import find_stored
from gaugehouse.ingest import decode_few, decode_known, receipt_of, write_receipt
from gaugehouse.lake import Appended, Delivery
from gaugehouse.measurements.few import FewMeasurements
from gaugehouse.measurements.heartbeat import STATUS_METRICS
from gaugehouse.runtime import Runtime
from gaugehouse.tracing import span
from gaugehouse.web.api import legacy_status
from gaugehouse.web.pace import Paces
from gaugehouse.web.problems import write_error
from gaugehouse.web.standings import Standing, Standings
from gaugehouse.web.threads import BodyMemory
from gaugehouse.web.together import Summary

MEASUREMENTS, STATUS = "/v1/measurements", legacy_status.PATH
PATHS = frozenset({MEASUREMENTS, STATUS})
FEW_BYTES = 4 * 1024  # decoded in the event loop: 40 rows, 0.2 ms
LIMIT_BYTES = 256 * 1024  # decoded in a thread: 2,500 rows, 3 ms
JSON_TYPES = frozenset({b"application/json", b"application/json; charset=utf-8"})
# A request with one of these says more than the short way understands.
TELLING_HEADERS = frozenset(
    {b"authorization", b"api_key", b"content-encoding", b"transfer-encoding", b"expect", b"idempotency-key"}
)

Outcome = Appended | BaseException


@dataclass(frozen=True, slots=True, kw_only=True)
class _Understood:
    """A small, good delivery.

    Args:
        rows: What it brings.
        answer: Makes what the sender is told, once it is on the disk.
    """

    rows: FewMeasurements | pa.Table
    answer: Callable[[Appended], Awaitable[bytes]]


class _Outcomes:
    """Brings outcomes from the lake's thread to those who wait in the event loop, all that there are at once."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._settled: deque[tuple[asyncio.Future[Outcome], Outcome]] = deque()
        self._is_woken = False

    def expect(self) -> "asyncio.Future[Outcome]":
        return self._loop.create_future()

    @property
    def is_here(self) -> bool:
        """Whether it belongs to the event loop that runs now."""
        return self._loop is asyncio.get_running_loop()

    def settle(self, future: "asyncio.Future[Outcome]", outcome: Outcome) -> None:
        """Called in the lake's thread."""
        self._settled.append((future, outcome))
        if not self._is_woken:
            self._is_woken = True
            with suppress(RuntimeError):  # the loop has been closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._hand_out)

    def _hand_out(self) -> None:
        self._is_woken = False  # first: whatever is settled from now on wakes us again
        while self._settled:
            future, outcome = self._settled.popleft()
            if not future.done():  # its sender may have gone
                future.set_result(outcome)


class SmallDeliveries:
    """Pure ASGI middleware behind the body guard.

    Args:
        app: The general way.
        runtime: What this process works with.
        paces: How fast its callers may ask.
        standings: Who they are.
    """

    def __init__(self, app: ASGIApp, *, runtime: Runtime, paces: Paces, standings: Standings) -> None:
        self._app = app
        self._paces = paces
        self._runtime = runtime
        self._standings = standings
        self._outcomes: _Outcomes | None = None
        self._summary = Summary("small_deliveries_served")
        self._decoding = CapacityLimiter(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started_s = monotonic()
        key, size_bytes = _find_key(scope)
        standing = None if key is None else await self._find_writer(key, scope)
        if standing is None or not self._paces.admits_small(scope, standing.caller, standing.rates, size_bytes):
            await self._app(scope, receive, send)
            return
        memory: BodyMemory = scope["app"].state.threads.small_bodies
        try:
            with memory.admitted() as admit:  # until it is stored: a slow disk must not fill the memory
                messages = await _read_all(receive, admit)
                understood = await self._read(scope["path"], messages, standing)
                if understood is not None:
                    messages.clear()
                    scope["state"] |= {"caller": standing.caller.name, "route": scope["path"]}
                    with span("append", rows=len(understood.rows)):
                        appended = await self._store(standing, understood.rows)
                    answer = await understood.answer(appended)
        except GaugehouseError as exc:  # the body guard's, no room, or the lake's: nobody behind us has a say in it
            await write_error(scope, exc)(scope, receive, send)
            return
        if understood is None:
            await self._app(scope, _Replayed(messages, receive), send)
            return
        await _acknowledge(send, answer)
        scope["state"]["is_summed"] = True
        self._summary.add(monotonic() - started_s, rows=len(understood.rows))

    async def _find_writer(self, key: bytes, scope: Scope) -> Standing | None:
        """Return who a key stands for if that is known and it may write; others learn why not the general way."""
        standing = await self._standings.find(key, scope)
        return standing if standing is not None and standing.caller.may(Right.MEASUREMENTS_WRITE) else None

    async def _read(self, path: str, messages: list[Message], standing: Standing) -> _Understood | None:
        """Return what a body brings if it is all good and brings no new name."""
        if messages[-1]["type"] != "http.request" or messages[-1].get("more_body", False):
            return None  # it is not whole
        body = b"".join(message.get("body", b"") for message in messages)
        if path == STATUS:
            return self._read_status(body, standing)
        rows = await self._read_rows(body, standing)
        return None if rows is None else _Understood(rows=rows, answer=_tell_receipt)

    def _read_status(self, body: bytes, standing: Standing) -> _Understood | None:
        caller, lake = standing.caller, self._runtime.lake
        if len(body) > FEW_BYTES:
            return None
        try:
            heartbeat = read_heartbeat(body, limits=standing.limits)
        except GaugehouseError:
            return None
        is_own = caller.component in {None, heartbeat.component}
        if not is_own or not self._runtime.registry.are_in_memory(
            caller.project, [heartbeat.component], STATUS_METRICS
        ):
            return None

        async def tell(appended: Appended) -> bytes:
            find = partial(find_stored, lake, caller.project, heartbeat, appended)
            # A repeated one may have to be looked for in files.
            is_new = appended.accepted == len(STATUS_METRICS)
            return legacy_status.write_status(find() if is_new else await run_sync(find))

        return _Understood(rows=heartbeat.rows(), answer=tell)

    async def _read_rows(self, body: bytes, standing: Standing) -> FewMeasurements | pa.Table | None:
        caller, registry = standing.caller, self._runtime.registry
        if len(body) > FEW_BYTES:
            decode = partial(
                decode_known, registry, caller.project, body, limits=standing.limits, component=caller.component
            )
            return await run_sync(decode, limiter=self._decoding)
        few = decode_few(body, limits=standing.limits, now=datetime.now(UTC))
        if few is None:
            return None
        if caller.component is not None and any(component != caller.component for component in few.component):
            return None
        return few if registry.are_in_memory(caller.project, few.component, few.metric) else None

    async def _store(self, standing: Standing, rows: FewMeasurements | pa.Table) -> Appended:
        outcomes = self._outcomes
        if outcomes is None or not outcomes.is_here:
            outcomes = self._outcomes = _Outcomes()
        future = outcomes.expect()
        delivery = Delivery(batches={"measurements": rows}, quota=standing.limits.quota)
        self._runtime.lake.submit(standing.caller.project, delivery, partial(outcomes.settle, future))
        outcome = await future
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


async def _read_all(receive: Receive, admit: Callable[[int], None]) -> list[Message]:
    """Return the messages of a body until it ends, breaks off, or is larger than it said."""
    messages: list[Message] = []
    size_bytes = 0
    while True:
        message = await receive()
        messages.append(message)
        part_bytes = len(message.get("body", b""))
        admit(part_bytes)
        size_bytes += part_bytes
        if message["type"] != "http.request" or not message.get("more_body", False) or size_bytes > LIMIT_BYTES:
            return messages


class _Replayed:
    """ASGI `receive` that gives messages again that were read too early."""

    def __init__(self, messages: list[Message], receive: Receive) -> None:
        self._messages = deque(messages)
        self._receive = receive

    async def __call__(self) -> Message:
        return self._messages.popleft() if self._messages else await self._receive()


def _find_key(scope: Scope) -> tuple[bytes | None, int]:
    """Return the API key of what could be a small delivery, None for everything else, and its length [bytes]."""
    if scope["type"] != "http" or scope["path"] not in PATHS or scope["method"] != "POST" or scope["query_string"]:
        return None, 0
    seen: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in TELLING_HEADERS or (name in seen and name == b"x-api-key"):
            return None, 0
        seen[name] = value
    size = seen.get(b"content-length")  # the body guard has checked that it is a number
    if size is None or int(size) > LIMIT_BYTES or seen.get(b"content-type", b"").lower() not in JSON_TYPES:
        return None, 0
    return seen.get(b"x-api-key"), int(size)


async def _tell_receipt(appended: Appended) -> bytes:
    return write_receipt(receipt_of(appended))


async def _acknowledge(send: Send, body: bytes) -> None:
    headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 201, "headers": headers})
    await send({"type": "http.response.body", "body": body})
