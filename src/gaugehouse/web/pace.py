"""How fast callers may ask: which buckets a request is taken from, and what it is told about them.

A caller's requests count by key or user within a project; who has no credentials that count, by address. Whoever has is
never refused for its neighbours: a factory is one address, and one broken device in it must not keep the others out.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from http import HTTPMethod

from fastapi import Request
from starlette.types import Scope

from gaugehouse.access import Caller
from gaugehouse.config import Settings
from gaugehouse.errors import Throttled, Unauthenticated
from gaugehouse.limits import MAX_BUCKETS, Buckets, Pace, Rate, Taken, find_client_address, group_address, read_networks

MINUTE_S = 60
REPORT_PATH = re.compile(r"/v1/reports(/[^/]+/revisions)?")
LINK_RATE = Rate(name="links", quota=20, window_s=MINUTE_S)  # of one address
Header = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """The buckets of one caller; None is without bound."""

    writes: Rate | None
    write_bytes: Rate | None
    reads: Rate | None
    reports: Rate | None


def write_rate_headers(taken: Sequence[Taken]) -> list[Header]:
    """Return what an answer says of the buckets it was taken from.

    Source: draft-ietf-httpapi-ratelimit-headers-11. Drafts change: nobody else writes these headers.
    """
    policies = [_write_policy(rate.name, rate.quota, rate.window_s) for rate, *_rest in taken]
    levels = [f'"{one.rate.name}";r={one.remaining};t={one.reset_after_s}' for one in taken]
    return [(b"ratelimit-policy", ", ".join(policies).encode()), (b"ratelimit", ", ".join(levels).encode())]


@lru_cache(maxsize=1024)
def _write_policy(name: str, quota: int, window_s: int) -> str:
    return f'"{name}";q={quota};w={window_s}'


class Paces:
    """The buckets of one application, and what the settings say of them.

    Args:
        settings: What holds where a project says nothing.
        is_write: Says of a path whether deliveries go there.
        max_buckets: How many are remembered of callers, and as many of strangers.
    """

    def __init__(self, settings: Settings, *, is_write: Callable[[str], bool], max_buckets: int = MAX_BUCKETS) -> None:
        self._buckets = Buckets(max_buckets=max_buckets)
        # Apart: whoever has a thousand networks must not be able to fill the buckets of callers by pushing them out.
        self._strangers = Buckets(max_buckets=max_buckets)
        self._is_write = is_write
        self._proxies = read_networks(settings.trusted_proxies, setting="GAUGEHOUSE_TRUSTED_PROXIES")
        self._refused = _rate("refused", settings.refused_per_minute)
        self._settings = settings
        self.rates_of = lru_cache(maxsize=1024)(self._rates_of)  # of each pace that any project has

    def _rates_of(self, pace: Pace) -> Rates:
        settings = self._settings
        return Rates(
            writes=_rate("writes", _first(pace.writes_per_minute, settings.writes_per_minute)),
            write_bytes=_rate("write-bytes", _first(pace.write_bytes_per_s, settings.write_bytes_per_s) * MINUTE_S),
            reads=_rate("reads", _first(pace.reads_per_minute, settings.reads_per_minute)),
            reports=_rate("reports", _first(pace.reports_per_minute, settings.reports_per_minute)),
        )

    def find_address(self, scope: Scope) -> str:
        """Return whose address a request is; only our own proxies are believed about others'."""
        peer = scope.get("client")
        forwarded: list[str] = []
        if self._proxies:
            forwarded = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
        return find_client_address(None if peer is None else peer[0], forwarded, self._proxies)

    def admit(self, scope: Scope, caller: Caller) -> None:
        """Count one request of a caller, once.

        Raises:
            Throttled: A bucket is empty (`rate_limited`); with its name and when to come again.
        """
        if caller.kind == "operator" or "taken" in scope["state"]:  # this machine's command line; counted before
            return
        rates = self.rates_of(caller.pace)
        is_post = scope["method"] == HTTPMethod.POST
        if is_post and self._is_write(scope["path"]):
            self._admit_write(scope, caller, rates)
            return
        is_report = is_post and REPORT_PATH.fullmatch(scope["path"]) is not None
        self._take(scope, [(rates.reads, 1), (rates.reports if is_report else None, 1)], caller.account, self._buckets)

    def _admit_write(self, scope: Scope, caller: Caller, rates: Rates) -> None:
        size_bytes = _announced_bytes(scope)
        if size_bytes is None and rates.write_bytes is not None:
            # Called with its length once the body is here.
            scope["state"]["charge_body"] = partial(self._buckets.charge, rates.write_bytes, caller.account)
        self._take(scope, [(rates.writes, 1), (rates.write_bytes, size_bytes or 0)], caller.account, self._buckets)

    def admits_small(self, scope: Scope, caller: Caller, rates: Rates, size_bytes: int) -> bool:
        """Count one small delivery if its buckets have it; who is refused learns why the general way."""
        return self._admits(scope, caller, [(rates.writes, 1), (rates.write_bytes, size_bytes)])

    def admits_question(self, scope: Scope, caller: Caller, rates: Rates) -> bool:
        """Count one short question likewise."""
        return self._admits(scope, caller, [(rates.reads, 1)])

    def _admits(self, scope: Scope, caller: Caller, wishes: Sequence[tuple[Rate | None, int]]) -> bool:
        if self._find_refusal(scope, wishes, caller.account, self._buckets) is None:
            return True
        del scope["state"]["taken"]  # there it is asked again
        return False

    def refuse_stranger(self, scope: Scope) -> None:
        """Count one request without credentials that count.

        Raises:
            Throttled: Too many of them came from its address.
        """
        self._take(scope, [(self._refused, 1)], group_address(self.find_address(scope)), self._strangers)

    def forgive_stranger(self, scope: Scope) -> None:
        """Undo what `refuse_stranger` counted: they were none."""
        scope["state"].pop("taken", None)
        if self._refused is not None:
            self._strangers.give_back(self._refused, group_address(self.find_address(scope)))

    def has_room_for_stranger(self, scope: Scope) -> bool:
        """Say whether `refuse_stranger` would only count."""
        if self._refused is None:
            return True
        name = group_address(self.find_address(scope))
        is_granted = self._strangers.take(self._refused, name).is_granted
        if is_granted:
            self._strangers.give_back(self._refused, name)
        return is_granted

    def admit_link(self, scope: Scope) -> None:
        """Count one use of a one-time link, or one wish for one: nobody who does that has credentials.

        Raises:
            Throttled: Too many of them came from its address.
        """
        self._take(scope, [(LINK_RATE, 1)], group_address(self.find_address(scope)), self._strangers)

    def _take(self, scope: Scope, wishes: Sequence[tuple[Rate | None, int]], name: object, buckets: Buckets) -> None:
        refused = self._find_refusal(scope, wishes, name, buckets)
        if refused is not None:
            rate = refused.rate
            raise Throttled(
                f"too many requests: {rate.quota:,} {rate.name} in {rate.window_s} s are allowed; send it again later",
                code="rate_limited",
                fields={"limit": rate.name, "quota": rate.quota, "window_s": rate.window_s},
                retry_after_s=refused.retry_after_s,
            )

    def _find_refusal(
        self, scope: Scope, wishes: Sequence[tuple[Rate | None, int]], name: object, buckets: Buckets
    ) -> Taken | None:
        taken: list[Taken] = []
        for rate, cost in wishes:
            if rate is None:
                continue
            taken.append(buckets.take(rate, name, cost))
            if not taken[-1].is_granted:
                scope["state"]["taken"] = taken
                return taken[-1]
        if taken:
            scope["state"]["taken"] = taken
        return None


def paces_of(request: Request) -> Paces:
    """Return the buckets of this application; `create_app` put them there."""
    paces: Paces = request.app.state.paces
    return paces


class StrangerCount:
    """Counts one request against its address, at most once."""

    def __init__(self, paces: Paces, scope: Scope) -> None:
        self._paces, self._scope = paces, scope
        self._is_counted = False

    @property
    def has_room(self) -> bool:
        """Whether `count` would only count."""
        return self._is_counted or self._paces.has_room_for_stranger(self._scope)

    def count(self) -> None:
        """Count it now: before the database is asked about a secret that may be made up.

        Raises:
            Throttled: Too many such requests came from there.
        """
        if not self._is_counted:
            self._paces.refuse_stranger(self._scope)
            self._is_counted = True

    def forgive(self) -> None:
        """Count it no more."""
        if self._is_counted:
            self._paces.forgive_stranger(self._scope)
            self._is_counted = False


@contextmanager
def counting_strangers(paces: Paces, scope: Scope) -> Iterator[StrangerCount]:
    """Count a request against its address if what is done here does not let its caller in.

    Raises:
        Throttled: Too many such requests came from there.
    """
    counted = StrangerCount(paces, scope)
    try:
        yield counted
    except Unauthenticated:
        counted.count()
        raise
    except BaseException:
        counted.forgive()
        raise
    counted.forgive()


def admit_caller(request: Request, caller: Caller) -> None:
    """Note who is calling, for the logs and the audit log, and count their request.

    Raises:
        Throttled: They ask too often.
    """
    request.state.caller = caller.name
    request.state.calling = caller
    paces_of(request).admit(request.scope, caller)


def _rate(name: str, quota: int) -> Rate | None:
    return Rate(name=name, quota=quota, window_s=MINUTE_S) if quota else None


def _first(own: int | None, standard: int) -> int:
    return standard if own is None else own


def _announced_bytes(scope: Scope) -> int | None:
    """Return the length that a body announces; the body guard has checked that it is a number."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value)
    return None
