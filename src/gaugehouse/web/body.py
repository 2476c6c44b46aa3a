"""How a request body comes in: counted, timed, decoded and refused before anyone parses it.

uvicorn has no limit on the size or the duration of a body (RELIABILITY section 3), so this guard wraps ASGI `receive`.
It believes no header: `Content-Length` is only used to refuse sooner. What a body decodes to is counted while it is
decoded, so a bomb costs no more than the first step beyond a limit.
"""

import asyncio
import time
from collections.abc import Callable, Iterator

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gaugehouse.errors import GaugehouseError, TooLarge, TooSlow, Unreadable, UnsupportedFormat
from gaugehouse.web.encodings import DECODERS, Decoder
from gaugehouse.web.problems import write_error

MINIMUM_RATE_BYTES_PER_S = 1024
GRACE_S = 5.0  # a sender may pause this long before the minimum rate counts
DISCARDED_BYTES = 64 * 1024 * 1024  # of a body that is too large; beyond it the connection is simply closed
SMALL_BODY_BYTES = 1024 * 1024  # forms and JSON bodies of everything but ingestion
DECODED_BYTES = 64 * 1024 * 1024  # of an ingest body; a body of the largest size at the usual ratio of 6 to 15
# Honest rows reach 12 to 15, identical ones 300, bombs 1,000 (gzip) to 30,000 (zstd): RELIABILITY section 3.
RATIO_LIMIT = 100
FREE_RATIO_BYTES = 1024 * 1024  # so much output costs nobody anything, whatever it was
IDENTITY = frozenset({"", "identity"})

Clock = Callable[[], float]


def _header(scope: Scope, name: bytes) -> str | None:
    found: list[bytes] = [value for key, value in scope["headers"] if key == name]
    return b", ".join(found).decode("latin-1") if found else None


def find_encoding(scope: Scope) -> str:
    """Return the content encoding that a request announces, in lower case."""
    return (_header(scope, b"content-encoding") or "").strip().lower()


def find_header_problem(scope: Scope, limit_bytes: int) -> GaugehouseError | None:
    """Return why the headers alone refuse this request, before a byte of its body is read."""
    length = _header(scope, b"content-length")
    if length is not None and _header(scope, b"transfer-encoding") is not None:
        return Unreadable("Content-Length and Transfer-Encoding exclude each other", code="ambiguous_length")
    if length is not None and not (length.isascii() and length.isdecimal()):
        return Unreadable("Content-Length must be one whole number", code="ambiguous_length")
    encoding = find_encoding(scope)
    if encoding not in IDENTITY and encoding not in DECODERS:
        return UnsupportedFormat(
            f"the content encoding {encoding[:40]!r} is not read; send gzip, zstd, or the body as it is",
            code="unsupported_encoding",
        )
    if length is not None and int(length) > limit_bytes:
        return _too_large(limit_bytes)
    return None


def _too_large(limit_bytes: int) -> TooLarge:
    return TooLarge(
        f"the body is larger than {limit_bytes} bytes; send it in smaller parts", fields={"limit_bytes": limit_bytes}
    )


class CountedBody:
    """ASGI `receive` of one request that stops at a size, a duration and a minimum rate.

    Args:
        receive: The server's own.
        limit_bytes: Largest body. [bytes]
        timeout_s: From the first wait to the last byte. [s]
        clock: Monotonic seconds.
    """

    def __init__(self, receive: Receive, *, limit_bytes: int, timeout_s: float, clock: Clock = time.monotonic) -> None:
        self._receive = receive
        self._limit_bytes = limit_bytes
        self._timeout_s = timeout_s
        self._clock = clock
        self._started_s: float | None = None
        self._size_bytes = 0
        self._is_complete = False

    def _patience_s(self) -> float:
        """Return how long the next part may take, by the total time and by the minimum rate. [s]"""
        now_s = self._clock()
        if self._started_s is None:
            self._started_s = now_s
        by_rate_s = GRACE_S + self._size_bytes / MINIMUM_RATE_BYTES_PER_S
        return self._started_s + min(self._timeout_s, by_rate_s) - now_s

    async def __call__(self) -> Message:
        if self._is_complete:  # now waiting for a disconnect, which may take as long as it likes
            return await self._receive()
        try:
            async with asyncio.timeout(self._patience_s()):
                message = await self._receive()
        except TimeoutError:
            raise TooSlow(
                f"the body did not arrive: at least {MINIMUM_RATE_BYTES_PER_S} bytes per second,"
                f" all within {self._timeout_s:g} s, are needed"
            ) from None
        if message["type"] != "http.request":
            return message
        self._count(message)
        if self._size_bytes > self._limit_bytes:
            await self.discard()
            raise _too_large(self._limit_bytes)
        return message

    async def discard(self) -> None:
        """Read on without keeping anything, so that a client that first writes all and then reads sees its refusal.

        Answering a sender that is still writing resets the connection, and its own library then reports only that.
        """
        while not self._is_complete and self._size_bytes <= DISCARDED_BYTES:
            try:
                async with asyncio.timeout(self._patience_s()):
                    message = await self._receive()
            except TimeoutError:
                return
            if message["type"] != "http.request":
                return
            self._count(message)

    def _count(self, message: Message) -> None:
        self._size_bytes += len(message.get("body", b""))
        self._is_complete = not message.get("more_body", False)


class DecodedBody:
    """ASGI `receive` of one request that decodes what a `CountedBody` lets through.

    Args:
        counted: Where the encoded body comes from.
        decoder: Of its encoding.
        limit_bytes: Largest decoded body. [bytes]
    """

    def __init__(self, counted: CountedBody, decoder: Decoder, *, limit_bytes: int) -> None:
        self._counted = counted
        self._decoder = decoder
        self._limit_bytes = limit_bytes
        self._encoded_bytes = 0
        self._decoded_bytes = 0

    async def __call__(self) -> Message:
        message = await self._counted()
        if message["type"] != "http.request":
            return message
        part = message.get("body", b"")
        self._encoded_bytes += len(part)
        try:
            decoded = b"".join(self._decode(part))
            if not message.get("more_body", False):
                self._decoder.finish()
        except GaugehouseError:
            await self._counted.discard()
            raise
        return {**message, "body": decoded}

    def _decode(self, part: bytes) -> Iterator[bytes]:
        for piece in self._decoder.feed(part):
            self._decoded_bytes += len(piece)
            if self._decoded_bytes > self._limit_bytes:
                raise TooLarge(
                    f"the body decodes to more than {self._limit_bytes} bytes; send it in smaller parts",
                    fields={"limit_bytes": self._limit_bytes},
                )
            if self._decoded_bytes > max(FREE_RATIO_BYTES, RATIO_LIMIT * self._encoded_bytes):
                raise TooLarge(
                    f"the body decodes to more than {RATIO_LIMIT} times its size; send it less compressed",
                    code="compressed_too_much",
                )
            yield piece


class BodyGuard:
    """Pure ASGI middleware: every request's body passes through a `CountedBody`, and a `DecodedBody` if it must.

    Args:
        app: What is guarded.
        limit_bytes: Largest body of the ingest endpoints. [bytes]
        timeout_s: Longest time for a body. [s]
        ingest_paths: Paths that take measurement bodies; all others take at most SMALL_BODY_BYTES.
    """

    def __init__(self, app: ASGIApp, *, limit_bytes: int, timeout_s: float, ingest_paths: frozenset[str]) -> None:
        self._app = app
        self._limit_bytes = limit_bytes
        self._timeout_s = timeout_s
        self._ingest_paths = ingest_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_ingest = scope["path"] in self._ingest_paths
        limit_bytes = self._limit_bytes if is_ingest else min(SMALL_BODY_BYTES, self._limit_bytes)
        problem = find_header_problem(scope, limit_bytes)
        counted = CountedBody(receive, limit_bytes=limit_bytes, timeout_s=self._timeout_s)
        if problem is not None:
            # Whoever expects a 100 first has not begun to write; reading would ask for the body.
            if isinstance(problem, TooLarge) and _header(scope, b"expect") is None:
                await counted.discard()
            await write_error(scope, problem)(scope, receive, send)
            return
        encoding = find_encoding(scope)
        if encoding in IDENTITY:
            await self._app(scope, counted, send)
            return
        decoded_limit_bytes = DECODED_BYTES if is_ingest else limit_bytes
        decoded = DecodedBody(counted, DECODERS[encoding](), limit_bytes=decoded_limit_bytes)
        await self._app(scope, decoded, send)
