"""Idempotency-Key: a request that is sent again gets the answer that the first one got."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated

from fastapi import Depends, Header, Request

from gaugehouse.access import Caller
from gaugehouse.errors import Unreadable
from gaugehouse.ingest import Keep, Receipt, write_receipt
from gaugehouse.lake import KeyedAnswer, answer_key
from gaugehouse.runtime import Runtime

KEY_CHARS = (8, 255)
REPLAYED = "Idempotency-Replayed"


async def read_idempotency_key(
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(
            description="8 to 255 printable ASCII characters, new for each delivery. The same key with the same body"
            " gets the same answer again, for a day; with another body, time_unit or partial it is refused",
            json_schema_extra={"minLength": KEY_CHARS[0], "maxLength": KEY_CHARS[1], "pattern": "^[ -~]+$"},
        ),
    ] = None,
) -> str | None:
    """Return the key of this request, None when it has none.

    Raises:
        Unreadable: it is no key, or there are several.
    """
    if idempotency_key is None:
        return None
    shortest, longest = KEY_CHARS
    is_key = idempotency_key.isascii() and idempotency_key.isprintable() and shortest <= len(idempotency_key) <= longest
    if not is_key or len(request.headers.getlist("idempotency-key")) > 1:
        raise Unreadable(
            f"Idempotency-Key must be one text of {shortest} to {longest} printable ASCII characters",
            code="idempotency_key_unreadable",
        )
    return idempotency_key


AskedKey = Annotated[str | None, Depends(read_idempotency_key)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a delivery is answered: the JSON of its receipt, and whether it was told before."""

    status: int
    body: bytes
    is_replayed: bool = False

    def headers(self) -> dict[str, str]:
        return {REPLAYED: "true"} if self.is_replayed else {}


def accept_once(  # noqa: PLR0913 - what a request has, and what it is for
    runtime: Runtime,
    accept: Callable[[Keep | None], Receipt],
    *,
    body: bytes,
    wishes: str,
    caller: Caller,
    route: str,
    key: str | None,
    status: int,
) -> Told:
    """Let `accept` store a delivery, unless one with this key was stored before. Blocks.

    Args:
        runtime: What this process works with.
        accept: Stores the delivery.
        body: What was sent, not compressed.
        wishes: How it is to be taken: the same bytes in another unit of time are another delivery. One line.
        caller: Who sends it. Keys count per project, and those of a device for itself: it must neither be told what was
            answered to another, nor take the key that the other will use.
        route: They count per route, too.
        key: The Idempotency-Key, if there is one.
        status: What a stored delivery is answered with.

    Raises:
        Refused: the key came with another body or other wishes before.
        AlreadyExists: the first request with this key is still running.
        GaugehouseError: as `accept`; then nothing is kept under the key.
    """
    if key is None:
        return Told(status=status, body=write_receipt(accept(None)))
    answers = runtime.lake.answers
    sender = route if caller.component is None else f"{route}\0{caller.component}"
    keep = Keep(key=answer_key(caller.project, sender, key), fingerprint=_fingerprint(wishes, body), status=status)
    known: KeyedAnswer | None = answers.begin(keep.key, keep.fingerprint, now_us=time.time_ns() // 1_000)
    if known is not None:
        return Told(status=known.status, body=known.body, is_replayed=True)
    try:
        return Told(status=status, body=write_receipt(accept(keep)))
    finally:
        answers.end(keep.key)  # by now the answer is on the disk, or there is none


def _fingerprint(wishes: str, body: bytes) -> bytes:
    digest = sha256(f"{wishes}\n".encode())
    digest.update(body)  # not joined with the line before: it may have 64 MiB
    return digest.digest()
