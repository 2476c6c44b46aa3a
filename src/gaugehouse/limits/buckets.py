"""Token buckets that fill evenly; of each only the moment is kept at which it will be full (GCRA, ITU-T I.371).

So a bucket nobody uses needs no memory, and one that is forgotten is a full one.
"""

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import NamedTuple

NS_PER_S = 1_000_000_000
MAX_BUCKETS = 20_000  # 5 MB of keys and moments, however many addresses somebody has


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A bucket that holds `quota` units and fills within `window_s`.

    Args:
        name: What the sender reads in `RateLimit-Policy`: letters, digits, hyphens.
        quota: Units; at least one. [requests or bytes]
        window_s: [s]
    """

    name: str
    quota: int
    window_s: int = 60


class Taken(NamedTuple):
    """What became of one wish: a tuple, because one is made for every request.

    Args:
        rate: The bucket asked.
        is_granted: Whether it had so much.
        remaining: Whole units that are left.
        reset_after_s: When it is full again if nobody asks. [s]
        retry_after_s: When the same wish is granted, at least one; 0 when it was. [s]
    """

    rate: Rate
    is_granted: bool
    remaining: int
    reset_after_s: int
    retry_after_s: int


class Buckets:
    """One bucket per rate and key.

    Args:
        clock_ns: Monotonic nanoseconds. [ns]
        max_buckets: How many are remembered; the longest unused is forgotten first, and is full when it comes again.
    """

    def __init__(self, *, clock_ns: Callable[[], int] = time.monotonic_ns, max_buckets: int = MAX_BUCKETS) -> None:
        self._clock_ns = clock_ns
        self._max_buckets = max_buckets
        self._full_at_ns: dict[tuple[str, Hashable], int] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._full_at_ns)

    def take(self, rate: Rate, key: Hashable, cost: int = 1) -> Taken:
        """Take `cost` units if the bucket of `key` has them; a wish that is not granted costs nothing.

        What is larger than the whole bucket is granted by a full one, which then has to be paid back: a body of
        10 MB must be able to come at all.
        """
        now_ns, window_ns = self._clock_ns(), rate.window_s * NS_PER_S
        cost_ns = cost * window_ns // rate.quota
        with self._lock:
            missing_ns = self._missing_ns(rate, key, now_ns)
            over_ns = missing_ns + min(cost_ns, window_ns) - window_ns
            if over_ns <= 0:
                missing_ns += cost_ns
                self._keep(rate, key, now_ns + missing_ns)
        return _taken(rate, missing_ns=missing_ns, over_ns=max(over_ns, 0))

    def charge(self, rate: Rate, key: Hashable, cost: int) -> None:
        """Take what was not known before: the bucket may owe it."""
        cost_ns = cost * rate.window_s * NS_PER_S // rate.quota
        now_ns = self._clock_ns()
        with self._lock:
            self._keep(rate, key, now_ns + self._missing_ns(rate, key, now_ns) + cost_ns)

    def give_back(self, rate: Rate, key: Hashable, cost: int = 1) -> None:
        """Undo what `take` granted."""
        self.charge(rate, key, -cost)

    def _missing_ns(self, rate: Rate, key: Hashable, now_ns: int) -> int:
        return max(0, self._full_at_ns.get((rate.name, key), 0) - now_ns)

    def _keep(self, rate: Rate, key: Hashable, full_at_ns: int) -> None:
        name = (rate.name, key)
        self._full_at_ns.pop(name, None)  # to the end: the first entry is always the longest unused
        self._full_at_ns[name] = full_at_ns
        if len(self._full_at_ns) > self._max_buckets:
            del self._full_at_ns[next(iter(self._full_at_ns))]


def _taken(rate: Rate, *, missing_ns: int, over_ns: int) -> Taken:
    window_ns = rate.window_s * NS_PER_S
    return Taken(
        rate=rate,
        is_granted=over_ns == 0,
        remaining=max(0, (window_ns - missing_ns) * rate.quota // window_ns),
        reset_after_s=-(-missing_ns // NS_PER_S),
        retry_after_s=-(-over_ns // NS_PER_S),
    )
