"""Content encodings of request bodies, decoded in steps of bounded size: a small body can stand for a huge one."""

import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

from gaugehouse.errors import TooLarge, Unreadable

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

STEP_BYTES = 256 * 1024  # most that comes out before anybody counts it
# RFC 9659: who encodes for HTTP uses no larger window; a frame that asks for more would take its memory here.
WINDOW_LOG_LIMIT = 23
# Writers of blocks (bgzip) make 2,000 of 10 MiB of NDJSON. An empty one has 9 bytes and costs 6 us: 10 MiB, 7 s.
MEMBERS_LIMIT = 4000
GZIP_WRAPPER = 16 + zlib.MAX_WBITS


class Decoder(Protocol):
    """Turns a body that comes in parts into what it stands for."""

    def feed(self, part: bytes) -> Iterator[bytes]:
        """Yield what a part decodes to, at most STEP_BYTES at once; parts not asked for are not decoded.

        Raises:
            Unreadable: This is not the encoding that was announced.
            TooLarge: The body is of too many parts.
        """
        ...

    def finish(self) -> None:
        """Say that no part is left.

        Raises:
            Unreadable: The body ended in the middle.
        """
        ...


class GzipDecoder:
    """One gzip member after another (RFC 1952)."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(GZIP_WRAPPER)
        self._members = 1

    def feed(self, part: bytes) -> Iterator[bytes]:
        """Yield what a part decodes to."""
        is_full = False
        while part or is_full:
            if self._member.eof:
                self._member = zlib.decompressobj(GZIP_WRAPPER)
                self._members = _count_one_more(self._members)
            try:
                decoded = self._member.decompress(part, STEP_BYTES)
            except zlib.error:
                raise _broken("gzip") from None
            part = self._member.unconsumed_tail or self._member.unused_data
            is_full = len(decoded) == STEP_BYTES and not self._member.eof
            yield decoded

    def finish(self) -> None:
        """Say that no part is left."""
        if not self._member.eof:
            raise _torn("gzip")


class ZstdDecoder:
    """One Zstandard frame after another (RFC 8878)."""

    def __init__(self) -> None:
        self._frame = _new_frame()
        self._frames = 1

    def feed(self, part: bytes) -> Iterator[bytes]:
        """Yield what a part decodes to."""
        while part or not (self._frame.eof or self._frame.needs_input):
            if self._frame.eof:
                self._frame = _new_frame()
                self._frames = _count_one_more(self._frames)
            try:
                decoded = self._frame.decompress(part, STEP_BYTES)
            except zstd.ZstdError:
                raise _broken("zstd") from None
            part = self._frame.unused_data if self._frame.eof else b""
            yield decoded

    def finish(self) -> None:
        """Say that no part is left."""
        if not self._frame.eof:
            raise _torn("zstd")


def _new_frame() -> zstd.ZstdDecompressor:
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: WINDOW_LOG_LIMIT})


def _count_one_more(members: int) -> int:
    if members == MEMBERS_LIMIT:
        raise TooLarge(
            f"the body is compressed in more than {MEMBERS_LIMIT} parts; send it as one", code="too_many_parts"
        )
    return members + 1


def _broken(encoding: str) -> Unreadable:
    return Unreadable(f"the body is not well-formed {encoding}, as Content-Encoding says it is", code="broken_encoding")


def _torn(encoding: str) -> Unreadable:
    return Unreadable(f"the {encoding} body ends too early; send it again", code="broken_encoding")


DECODERS: dict[str, Callable[[], Decoder]] = {"gzip": GzipDecoder, "x-gzip": GzipDecoder, "zstd": ZstdDecoder}
