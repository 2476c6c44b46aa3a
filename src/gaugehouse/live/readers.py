"""All readers of one server: how many there may be, and what became of them."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from gaugehouse.access import Caller
from gaugehouse.errors import Overloaded, Throttled
from gaugehouse.lake import Lake
from gaugehouse.live.channel import Channel
from gaugehouse.live.progress import ProgressWatch
from gaugehouse.live.wish import Wish

Name = tuple[str, str, str]


@dataclass(slots=True, kw_only=True)
class ReaderCounts:
    """Counts since the start; changed by whoever serves readers."""

    open: Counter[str] = field(default_factory=Counter)  # by transport
    messages: Counter[str] = field(default_factory=Counter)  # by type
    dropped: Counter[str] = field(default_factory=Counter)  # readers, by the code of the reason
    coalesced_rows: int = 0
    dropped_events: int = 0


class Readers:
    """Lets readers in, within bounds.

    Args:
        lake: What they follow.
        progress: Knows how far reports are.
        limit: Most readers at once.
        limit_per_caller: Of these, most of one user or key in one project.
    """

    def __init__(self, lake: Lake, progress: ProgressWatch, *, limit: int, limit_per_caller: int) -> None:
        self._lake = lake
        self._progress = progress
        self._limit = limit
        self._limit_per_caller = limit_per_caller
        self._lock = threading.Lock()
        self._open: Counter[Name] = Counter()
        self.counts = ReaderCounts()

    @contextmanager
    def admitted(self, caller: Caller, transport: str) -> Iterator[None]:
        """Count one reader as long as it is there.

        Raises:
            Throttled: the caller has as many as one may have.
            Overloaded: there are as many as the server takes.
        """
        name = caller.account
        with self._lock:
            if self._open[name] >= self._limit_per_caller:
                raise Throttled(
                    f"you have {self._limit_per_caller} live connections, as many as one caller may have; close some",
                    code="too_many_readers",
                )
            if self._open.total() >= self._limit:
                raise Overloaded("the server has as many live connections as it takes; try again later")
            self._open[name] += 1
            self.counts.open[transport] += 1
        try:
            yield
        finally:
            with self._lock:
                self._open[name] -= 1
                self._open += Counter()  # drops what is at zero
                self.counts.open[transport] -= 1

    def open(self, caller: Caller, wish: Wish) -> Channel:
        """Return a channel of a caller's project; who opens it closes it.

        Raises:
            Refused: the wish is out of bounds.
            Forbidden: the caller lacks a scope for it.
            Unavailable: some newest values are in a damaged file.
        """
        wish.check()
        wish.refuse_without_scope(caller)
        if wish.measurements and wish.snapshot:
            self._lake.refuse_unread(caller.project, wish.components)
        return Channel(self._lake.tail, self._progress, caller.project, wish)

    def close(self, channel: Channel) -> None:
        """Close a channel, once, and count what it did not tell."""
        if not channel.close():
            return
        with self._lock:
            self.counts.coalesced_rows += channel.coalesced
            self.counts.dropped_events += channel.dropped_events
