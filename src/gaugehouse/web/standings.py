"""Who sends with which key, and what its project takes: from memory, a second old at most, for the short ways."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from time import monotonic

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.types import Scope

from gaugehouse.access import Caller
from gaugehouse.errors import GaugehouseError
from gaugehouse.ingest import Limits
from gaugehouse.runtime import Runtime
from gaugehouse.web.pace import Paces, Rates
from gaugehouse.web.together import Together

STANDING_AGE_S = 1.0  # a revocation must hold after one second
RENEW_AGE_S = 0.5  # before that it is asked for again, so that nobody has to wait
STANDINGS_LIMIT = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Who a key stands for and what its project takes, as asked at some moment [monotonic s]."""

    caller: Caller
    limits: Limits
    rates: Rates
    asked_s: float


class Standings:
    """Knows the standings of the keys that came last. In the event loop only.

    Args:
        runtime: What this process works with.
        paces: How fast callers may ask.
    """

    def __init__(self, runtime: Runtime, paces: Paces) -> None:
        self._runtime = runtime
        self._paces = paces
        self._standings: dict[bytes, Standing] = {}
        self._questions = Together(self._renew)
        self._asking = CapacityLimiter(1)  # of its own: slow reads must not keep devices out

    async def find(self, key: bytes, scope: Scope) -> Standing | None:
        """Return who a key stands for, None where that is not known; others learn why the general way."""
        digest = sha256(key).digest()
        standing = self._standings.get(digest)
        age_s = STANDING_AGE_S if standing is None else monotonic() - standing.asked_s
        if standing is None and not self._may_be_asked(key, scope):
            return None
        if age_s >= RENEW_AGE_S:
            renewal = self._questions.put(key)
            if age_s >= STANDING_AGE_S:
                standing = await asyncio.shield(renewal)
        return standing

    def _may_be_asked(self, key: bytes, scope: Scope) -> bool:
        """Say whether the database may be asked about a key: not about one that may be made up, of too many."""
        return self._runtime.access.met.has(key.decode("latin-1")) or self._paces.has_room_for_stranger(scope)

    async def _renew(self, keys: Sequence[bytes]) -> Mapping[bytes, Standing]:
        found = await run_sync(self._ask, keys, limiter=self._asking)
        for key in keys:
            digest = sha256(key).digest()
            self._standings.pop(digest, None)  # to the end: the first is always the oldest
            if key in found:
                self._standings[digest] = found[key]
        while len(self._standings) > STANDINGS_LIMIT:
            del self._standings[next(iter(self._standings))]
        return found

    def _ask(self, keys: Sequence[bytes]) -> dict[bytes, Standing]:
        asked_s = monotonic()
        try:
            callers = self._runtime.access.callers_of_keys([key.decode("latin-1") for key in keys])
        except GaugehouseError:
            return {}
        limits: dict[str, Limits | None] = {}
        found: dict[bytes, Standing] = {}
        for key, caller in zip(keys, callers, strict=True):
            standing = None if caller is None else self._stand(caller, limits, asked_s)
            if standing is not None:
                found[key] = standing
        return found

    def _stand(self, caller: Caller, limits: dict[str, Limits | None], asked_s: float) -> Standing | None:
        if caller.project not in limits:
            try:
                limits[caller.project] = self._runtime.delivery_limits(caller.project)
            except GaugehouseError:
                limits[caller.project] = None
        taken = limits[caller.project]
        if taken is None:
            return None
        return Standing(caller=caller, limits=taken, rates=self._paces.rates_of(caller.pace), asked_s=asked_s)
