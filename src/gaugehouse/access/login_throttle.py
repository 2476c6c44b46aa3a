"""Wrong passwords cost their sender time, and nobody else any.

Failures count per account *and* address: whoever attacks an account from one address does not lock its owner out at
another. An attempt counts as failed from its beginning, so that a thousand at once get no further than a thousand one
after the other. Whether an account exists makes no difference. In memory only: a restart forgets all of it.
"""

import hashlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from gaugehouse.errors import Throttled, Unauthenticated
from gaugehouse.limits import group_address

FREE_FAILURES = 5
FIRST_DELAY_S = 1
LONGEST_DELAY_S = 900
FORGET_AFTER_S = 86_400
ADDRESS_FAILURES = 20  # of one address, over all accounts, within
ADDRESS_WINDOW_S = 60.0
MAX_PAIRS = 10_000  # 3 MB; from one address somebody needs eight hours to push out an entry
MAX_ADDRESSES = 5_000  # 6 MB with 20 moments each
LOCKOUT_OVER_S = 3_600  # without a refusal: longer than any delay, so that a patient program is one lock-out

LOGIN_THROTTLED = "login_throttled"
LockedOut = Literal["account", "address"]


@dataclass(slots=True)
class _Pair:
    """What is known of one account as asked for from one address."""

    failures: int = 0
    under_way: int = 0
    open_at_s: float = 0.0
    last_at_s: float = 0.0


class LoginThrottle:
    """Admits attempts to sign in. Shared by all threads and by every route that takes a password.

    Args:
        clock: Monotonic seconds. [s]
        max_pairs, max_addresses: How many are remembered; the longest unused is forgotten first.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        max_pairs: int = MAX_PAIRS,
        max_addresses: int = MAX_ADDRESSES,
    ) -> None:
        self._clock = clock
        self._max_pairs = max_pairs
        self._max_addresses = max_addresses
        self._pairs: dict[bytes, _Pair] = {}
        self._addresses: dict[str, deque[float]] = {}  # moments of attempts that failed or are under way
        self._lockouts: dict[bytes | str, float] = {}  # when somebody was last refused there
        self._lock = threading.Lock()

    @contextmanager
    def attempt(self, account: str, address: str) -> Iterator[None]:
        """Let one password be checked within the block.

        Leaving it by `Unauthenticated` is a failure; by another error it was no attempt; else it was a success, which
        forgives the earlier failures of this account from this address.

        Raises:
            Throttled: Not now (`login_throttled`), with when.
        """
        name, sender, now_s = _name_pair(account, address), group_address(address), self._clock()
        with self._lock:
            self._refuse(name, sender, now_s)
            self._begin(name, sender, now_s)
        try:
            yield
        except Unauthenticated:
            self._end(name, is_failure=True)
            raise
        except BaseException:
            self._end(name, is_failure=False)
            self._take_back(sender, now_s)
            raise
        self._end(name, is_failure=False, is_success=True)
        self._take_back(sender, now_s)

    def refuse_early(self, account: str, address: str) -> None:
        """Refuse what `attempt` would refuse, before it takes a place in any queue.

        Raises:
            Throttled: As `attempt`.
        """
        with self._lock:
            self._refuse(_name_pair(account, address), group_address(address), self._clock())

    def find_new_lockout(self, account: str, address: str) -> LockedOut | None:
        """Return what is locked out if nobody was told of it yet: to be asked when an attempt was refused.

        A lock-out ends by a success, or when nothing was refused for `LOCKOUT_OVER_S`.

        Returns:
            `account`: this account from this address; `address`: all accounts from it. None if neither is, or if that
            was told before.
        """
        name, sender, now_s = _name_pair(account, address), group_address(address), self._clock()
        with self._lock:
            pair, moments = self._pairs.get(name), self._addresses.get(sender, ())
            if pair is not None and now_s < pair.open_at_s:
                return "account" if self._is_new_lockout(name, now_s) else None
            if len(moments) >= ADDRESS_FAILURES:
                return "address" if self._is_new_lockout(sender, now_s) else None
        return None

    def _is_new_lockout(self, what: bytes | str, now_s: float) -> bool:
        last_s = self._lockouts.pop(what, None)
        self._lockouts[what] = now_s  # at the end: the first entry is always the longest unused
        if len(self._lockouts) > self._max_pairs:
            del self._lockouts[next(iter(self._lockouts))]
        return last_s is None or now_s - last_s >= LOCKOUT_OVER_S

    def _refuse(self, name: bytes, sender: str, now_s: float) -> None:
        pair = self._pairs.get(name)
        if pair is not None and now_s - pair.last_at_s < FORGET_AFTER_S:
            if now_s < pair.open_at_s:
                raise _throttled(pair.open_at_s - now_s)
            if pair.under_way and pair.failures + pair.under_way >= FREE_FAILURES:
                raise _throttled(FIRST_DELAY_S)
        moments = self._addresses.get(sender)
        if moments is not None:
            while moments and now_s - moments[0] >= ADDRESS_WINDOW_S:
                moments.popleft()
            if len(moments) >= ADDRESS_FAILURES:
                raise _throttled(moments[0] + ADDRESS_WINDOW_S - now_s)

    def _begin(self, name: bytes, sender: str, now_s: float) -> None:
        pair = self._pairs.pop(name, None)
        if pair is None or (now_s - pair.last_at_s >= FORGET_AFTER_S and not pair.under_way):
            pair = _Pair()
        pair.under_way += 1
        pair.last_at_s = now_s
        self._pairs[name] = pair  # at the end: the first entry is always the longest unused
        if len(self._pairs) > self._max_pairs:
            del self._pairs[next(iter(self._pairs))]
        moments = self._addresses.pop(sender, None) or deque()
        moments.append(now_s)
        self._addresses[sender] = moments
        if len(self._addresses) > self._max_addresses:
            del self._addresses[next(iter(self._addresses))]

    def _end(self, name: bytes, *, is_failure: bool, is_success: bool = False) -> None:
        with self._lock:
            pair = self._pairs.get(name)
            if pair is None:  # forgotten meanwhile
                return
            pair.under_way = max(0, pair.under_way - 1)
            if is_success:
                pair.failures, pair.open_at_s = 0, 0.0
                self._lockouts.pop(name, None)
            if is_failure:
                pair.failures += 1
                pair.open_at_s = self._clock() + _delay_s(pair.failures)
            if not pair.failures and not pair.under_way:
                del self._pairs[name]

    def _take_back(self, sender: str, moment_s: float) -> None:
        with self._lock:
            moments = self._addresses.get(sender)
            if moments is None or moment_s not in moments:
                return
            moments.remove(moment_s)
            if not moments:
                del self._addresses[sender]


def _delay_s(failures: int) -> float:
    """Return how long nobody may try again: nothing for the first failures, then doubling. [s]"""
    beyond = failures - FREE_FAILURES
    return 0.0 if beyond < 0 else float(min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** min(beyond, 20)))


def _name_pair(account: str, address: str) -> bytes:
    """Return a name of bounded length: that of the account is whatever somebody sent."""
    text = f"{group_address(address)}\0{account}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=16).digest()


def _throttled(wait_s: float) -> Throttled:
    return Throttled(
        "too many wrong passwords; wait before the next attempt",
        code=LOGIN_THROTTLED,
        retry_after_s=max(1, math.ceil(wait_s)),
    )
