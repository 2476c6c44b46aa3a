"""One reader: its position, its ticks, and what it is told at each."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from gaugehouse.errors import Refused
from gaugehouse.lake import NOTHING_YET, Look, Span, Tail
from gaugehouse.live.progress import ProgressWatch
from gaugehouse.live.wish import SERIES_LIMIT, Wish
from gaugehouse.measurements.selection import from_epoch_us
from gaugehouse.reports import ReportProgress

HEARTBEAT_S = 15.0  # proxies cut what is silent for a minute, some after thirty seconds
LOOK_PERIOD_S = 0.5  # the slowest reader still looks so often: who it is, whether the server stops, what passes by
ROWS_PER_MESSAGE = 1_000  # a slow line has the time that a reader is given for each of them
EVENTS_PER_TICK = 1_000
EVENT_BYTES_PER_TICK = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """The first message: what was understood."""

    project: str
    max_rate_hz: float
    series: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurements:
    """Newest values that changed.

    Args:
        rows: In the schema MEASUREMENT_ROWS: one row per series.
        is_snapshot: Whether these are the values at the beginning.
        coalesced: How many other rows of the reader's series came since its last tick; null when that is not known.
        id: The position behind this, on the last message of a tick. [us]
    """

    rows: pa.Table
    is_snapshot: bool
    coalesced: int | None
    id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """Events, in the schema EVENT_ROWS; `dropped` older ones were too many for one tick."""

    rows: pa.Table
    dropped: int
    id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progressed:
    """How far a report is now."""

    report: ReportProgress


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """Nothing has changed."""

    id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something that a program should act upon, in words of `code` and `detail`."""

    code: str
    detail: str
    fields: dict[str, object] = field(default_factory=dict)


Message = Welcome | Measurements | Events | Progressed | Heartbeat | Notice
State = Literal["new", "open", "closed"]


class Channel:
    """What one reader is told. Steps are made by one thread at a time.

    Args:
        tail: Follows the lake, and is open as long as this is.
        progress: Knows how far reports are.
        project: Whose rows.
        wish: What is asked for.
        clock: Monotonic seconds. [s]

    Raises:
        Refused: the wish is out of bounds, or about too many series.
    """

    def __init__(
        self,
        tail: Tail,
        progress: ProgressWatch,
        project: str,
        wish: Wish,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        wish.check()
        self.wish = wish
        self._tail = tail
        self._progress = progress
        self._project = project
        self._clock = clock
        self._measured = tail.watch("measurements", project, wish.components, wish.metrics)
        self._happened = tail.watch("events", project, wish.components, wish.kinds)
        self._since_us = NOTHING_YET
        self._counted: int | None = None  # rows by then; null: not known
        self._told: dict[str, ReportProgress] = {}
        self._due_s = float("-inf")
        self._spoke_s = self._clock()
        self._state: State = "new"
        self.coalesced = 0  # rows that were not told because newer ones followed
        self.dropped_events = 0
        self._refuse_too_many()
        tail.open()
        progress.follow(wish.reports)

    @property
    def wait_s(self) -> float:
        """How long to wait before the next step. [s]"""
        return max(0.0, min(self._due_s - self._clock(), LOOK_PERIOD_S))

    def close(self) -> bool:
        """Follow nothing any more; say whether it did until now."""
        if self._state == "closed":
            return False
        self._state = "closed"
        self._tail.close()
        self._progress.leave(self.wish.reports)
        return True

    def step(self) -> list[Message]:
        """Return what is to be said now: nothing, most of the time.

        Raises:
            Refused: the choice has become too wide (`too_many_series`).
            Unavailable: the database is away.
        """
        look, now_s = self._tail.look(self._measured if self.wish.measurements else None), self._clock()
        said: list[Message] = []
        if self._state == "new":
            said = self._begin(look)
        elif now_s >= self._due_s:
            said = self._tick(look)
        if now_s >= self._due_s:
            self._due_s = now_s + 1 / self.wish.max_rate_hz
        if not said and now_s - self._spoke_s >= HEARTBEAT_S:
            said = [Heartbeat(id=self._since_us if self._since_us >= 0 else None)]
        if said:
            self._spoke_s = now_s
        return said

    def _begin(self, look: Look) -> list[Message]:
        """Say what was understood, then what is, or what has changed since the reader's position."""
        self._state = "open"
        wish = self.wish
        series = len(self._measured.series()) if wish.measurements else 0
        said: list[Message] = [Welcome(project=self._project, max_rate_hz=wish.max_rate_hz, series=series)]
        if wish.after_us is not None:
            self._since_us = min(wish.after_us, look.through_us)
            return said + self._tick(look)
        if wish.measurements and wish.snapshot:
            rows = self._tail.newest_since(self._measured, NOTHING_YET)
            said += _in_messages(rows, is_snapshot=True, coalesced=0, position=look.through_us)
        self._since_us, self._counted = look.through_us, look.rows
        return said + self._report_changes()

    def _tick(self, look: Look) -> list[Message]:
        self._refuse_too_many()
        said: list[Message] = []
        if look.through_us != self._since_us:
            happened = self._changed_events(look)
            said = self._changed_values(look, position=None if happened else look.through_us) + happened
            self._since_us, self._counted = look.through_us, look.rows
        return said + self._report_changes()

    def _changed_values(self, look: Look, *, position: int | None) -> list[Message]:
        """Return the newest values of the series that have another one since the last tick."""
        if not self.wish.measurements:
            return []
        rows = self._tail.newest_since(self._measured, self._since_us)
        coalesced = None
        if self._counted is not None and self._since_us >= look.counted_from_us:
            told = pc.sum(pc.less_equal(rows.column("received_at"), from_epoch_us(look.through_us))).as_py() or 0
            coalesced = look.rows - self._counted - told
            self.coalesced += coalesced
        return _in_messages(rows, is_snapshot=False, coalesced=coalesced, position=position)

    def _changed_events(self, look: Look) -> list[Message]:
        """Return the events since the last tick, and a notice if some of them are not known."""
        if not self.wish.events:
            return []
        span = Span(since_us=self._since_us, through_us=look.through_us)
        found = self._tail.events_in(self._happened, span, limit_rows=EVENTS_PER_TICK, limit_bytes=EVENT_BYTES_PER_TICK)
        self.dropped_events += found.dropped
        said: list[Message] = []
        if span.since_us < found.whole_from_us:
            said.append(_tell_gap(span.since_us, found.whole_from_us))
        if found.rows.num_rows:
            said.append(Events(rows=found.rows, dropped=found.dropped, id=look.through_us))
        return said

    def _report_changes(self) -> list[Message]:
        if not self.wish.reports:
            return []
        found = [one for one in self._progress.find(self.wish.reports) if self._told.get(one.id) != one]
        self._told.update((one.id, one) for one in found)
        return [Progressed(report=one) for one in found]

    def _refuse_too_many(self) -> None:
        if self.wish.measurements and len(self._measured.series()) > SERIES_LIMIT:
            raise Refused(
                f"these are more than {SERIES_LIMIT:,} series: name fewer components or metrics", code="too_many_series"
            )


def _in_messages(rows: pa.Table, *, is_snapshot: bool, coalesced: int | None, position: int | None) -> list[Message]:
    """Return values as messages of bounded size, the position on the last: only behind that all of them are known."""
    starts = range(0, rows.num_rows, ROWS_PER_MESSAGE)
    last = len(starts) - 1
    return [
        Measurements(
            rows=rows.slice(start, ROWS_PER_MESSAGE),
            is_snapshot=is_snapshot,
            coalesced=coalesced if number == last else 0,
            id=position if number == last else None,
        )
        for number, start in enumerate(starts)
    ]


def _tell_gap(since_us: int, whole_from_us: int) -> Notice:
    since, until = (from_epoch_us(max(at, 0)) for at in (since_us, whole_from_us))
    return Notice(
        code="events_missed",
        detail="events received in between may be missing here; GET /v1/events has them",
        fields={"received_after": since, "received_through": until},
    )
