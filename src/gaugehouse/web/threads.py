"""Who may use worker threads, and how many: deliveries and sign-ins each have their own, so neither starves the rest.

So have the questions who is calling: 40 slow reads must not keep devices from writing.
Everything else runs in Starlette's default pool of 40 threads; `/health` needs none.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, TypeVar

import anyio
from anyio.to_thread import run_sync
from fastapi import Depends, Request

from gaugehouse.config import MEBIBYTE
from gaugehouse.errors import GaugehouseError, Overloaded, Throttled

DELIVERIES_AT_ONCE = 64  # they wait for one shared fsync: the more wait together, the less each costs
DELIVERIES_IN_MEMORY_BYTES = 256 * MEBIBYTE  # bodies being received or stored; bounds memory in a burst
SMALL_IN_MEMORY_BYTES = 64 * MEBIBYTE  # those of the short way: whatever large ones do, devices have room
HASHES_AT_ONCE = 2  # one argon2id hash takes 19 MiB and 32 ms of a core
CALLERS_AT_ONCE = 4  # tokens and keys that the database is asked about
LOOKS_AT_ONCE = 2  # whether a file is there that a worker makes; each takes a millisecond, however many wait
LIVE_AT_ONCE = 2  # of steps for live readers: they wait, whoever writes does not
CHECKS_AT_ONCE = 4  # a database that hangs must not take a thread for each probe
CHECK_TIMEOUT_S = 2.0  # who asks whether we are ready waits five seconds or ten
WALKS_WAITING = 3
SIGN_INS_WAITING = 16  # a quarter of a second; more is an attack or a stampede

Answer = TypeVar("Answer")


class BodyMemory:
    """Counts the bytes of bodies that are being received or stored, up to a bound.

    Args:
        limit_bytes: Of all of them together. [bytes]
    """

    def __init__(self, *, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._bytes = 0

    @contextmanager
    def admitted(self) -> Iterator[Callable[[int], None]]:
        """Let one body in; what is yielded counts its bytes as they come, decoded.

        Not what its header announces: 26 senders that announce ten megabytes each, and then send a kilobyte a second,
        would keep everybody else out.

        Raises:
            Overloaded: Too many bytes of other bodies are in memory.
        """
        admitted_bytes = 0

        def admit(more_bytes: int) -> None:
            nonlocal admitted_bytes
            others_bytes = self._bytes - admitted_bytes
            if self._bytes + more_bytes > self._limit_bytes and others_bytes:
                raise Overloaded("too many deliveries at once; try again in a second", retry_after_s=1)
            self._bytes += more_bytes
            admitted_bytes += more_bytes

        try:
            yield admit
        finally:
            self._bytes -= admitted_bytes


class Deliveries:
    """Takes bodies in within a memory bound, and stores them in threads of their own."""

    def __init__(self, *, in_memory_limit_bytes: int = DELIVERIES_IN_MEMORY_BYTES) -> None:
        self._memory = BodyMemory(limit_bytes=in_memory_limit_bytes)
        self._limiter = anyio.CapacityLimiter(DELIVERIES_AT_ONCE)

    async def store(self, request: Request, accept: Callable[[bytes, str], Answer]) -> Answer:
        """Read the body, then run `accept(body, media_type)` in a thread.

        Raises:
            Overloaded: Too many bytes of other deliveries are in memory.
        """
        with self._memory.admitted() as admit:
            body = await _read(request, admit)
            charge = request.scope.get("state", {}).get("charge_body")
            if charge is not None:  # it did not announce its length when its sender was admitted
                charge(len(body))
            media_type = request.headers.get("content-type", "")
            return await run_sync(accept, body, media_type, limiter=self._limiter)

    async def run(self, store: Callable[[], Answer]) -> Answer:
        """Run `store`, whose small body was read already, in a thread."""
        return await run_sync(store, limiter=self._limiter)


async def _read(request: Request, admit: Callable[[int], None]) -> bytes:
    parts = []
    async for part in request.stream():
        admit(len(part))
        parts.append(part)
    return b"".join(parts)


class _Queue:
    """Runs few calls at once in threads, and lets a few more wait.

    What the limiter itself counts is no bound: of a hundred that come at once none waits yet when it is asked.
    """

    def __init__(self, *, at_once: int, waiting: int) -> None:
        self._limiter = anyio.CapacityLimiter(at_once)
        self._limit = at_once + waiting
        self._inside = 0

    async def run(self, call: Callable[[], Answer], refusal: GaugehouseError) -> Answer:
        """Run `call` in a thread; raise `refusal` if too many wait already."""
        if self._inside >= self._limit:
            raise refusal
        self._inside += 1
        try:
            return await run_sync(call, limiter=self._limiter)
        finally:
            self._inside -= 1


class SignIns:
    """Lets few passwords be checked at once, a few more wait, and turns the rest away."""

    def __init__(self) -> None:
        self._queue = _Queue(at_once=HASHES_AT_ONCE, waiting=SIGN_INS_WAITING)

    async def run(self, check: Callable[[], Answer]) -> Answer:
        """Run `check` in a thread.

        Raises:
            Throttled: Too many are waiting already.
        """
        refusal = Throttled("too many sign-ins at once; try again in a second", code="too_many_sign_ins")
        return await self._queue.run(check, refusal)


class Walks:
    """Lets one walk along a chain of the audit log at a time: it takes seconds of a core, and every admin may ask."""

    def __init__(self) -> None:
        self._queue = _Queue(at_once=1, waiting=WALKS_WAITING)

    async def run(self, walk: Callable[[], Answer]) -> Answer:
        """Run `walk` in a thread.

        Raises:
            Overloaded: Others are waiting already.
        """
        detail = "the audit log is being verified for others; try again in a few seconds"
        return await self._queue.run(walk, Overloaded(detail, retry_after_s=5))


class Checks:
    """Asks parts of the service whether they are fit, and waits for none of them for long.

    A thread that hangs is left alone: anyio counts it no more, so we do.
    """

    def __init__(self, *, timeout_s: float = CHECK_TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._limiter = anyio.CapacityLimiter(CHECKS_AT_ONCE)
        self._running = threading.BoundedSemaphore(CHECKS_AT_ONCE)

    async def passes(self, check: Callable[[], None]) -> bool:
        """Run `check` in a thread; return whether it returned in time and raised none of our errors."""
        with anyio.move_on_after(self._timeout_s):
            return await run_sync(self._run, check, limiter=self._limiter, abandon_on_cancel=True)
        return False

    def _run(self, check: Callable[[], None]) -> bool:
        if not self._running.acquire(blocking=False):
            return False
        try:
            check()
        except GaugehouseError:
            return False
        finally:
            self._running.release()
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Threads:
    """The pools of one application."""

    deliveries: Deliveries = field(default_factory=Deliveries)
    small_bodies: BodyMemory = field(default_factory=lambda: BodyMemory(limit_bytes=SMALL_IN_MEMORY_BYTES))
    callers: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(CALLERS_AT_ONCE))
    sign_ins: SignIns = field(default_factory=SignIns)
    walks: Walks = field(default_factory=Walks)
    checks: Checks = field(default_factory=Checks)
    live: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(LIVE_AT_ONCE))
    waiting: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(LOOKS_AT_ONCE))


async def find_threads(request: Request) -> Threads:
    """Return the pools of this application; `create_app` put them there."""
    threads: Threads = request.app.state.threads
    return threads


InThreads = Annotated[Threads, Depends(find_threads)]
