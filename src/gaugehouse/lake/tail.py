"""What became visible since one last looked, for those who follow a lake live.

Nothing of it runs while rows are written: a look takes what is visible by then, as columns. Positions are instants of
receipt [us], which only grow: "everything up to this one is known to me".
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from gaugehouse.lake.keyhash import NEVER, Bools, Int32s, Int64s
from gaugehouse.lake.known import NO_SERIES, SeriesIndex
from gaugehouse.lake.rows import EVENTS, MEASUREMENTS, Rows, concat_rows, grown, room_for
from gaugehouse.lake.sequencer import Segment, Sequencer
from gaugehouse.lake.snapshot import TableName

EVENTS_KEPT = 10_000
BODIES_KEPT_BYTES = 16 * 1024 * 1024
NOTHING_YET = -1  # before every instant of receipt


class Watched:
    """The series of one table that somebody follows; those that come to be later are among them.

    Args:
        index: Of the table.
        project: The one project.
        components: By name, None for all.
        topics: Metrics or kinds, None for all.
    """

    def __init__(
        self,
        index: SeriesIndex,
        project: str,
        components: tuple[str, ...] | None,
        topics: tuple[str, ...] | None,
    ) -> None:
        self.index = index
        self.project = project
        self._components = components
        self._topics = topics
        self._series = NO_SERIES
        self._looked_at = 0

    def series(self) -> Int32s:
        """Return the numbers of all that there are by now."""
        if len(self.index) > self._looked_at:
            fresh, count = self.index.series_from(self._looked_at, self.project, self._components, self._topics)
            self._looked_at = count
            if fresh.size:
                self._series = np.concatenate([self._series, fresh])
        return self._series


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A position, and what was counted up to it.

    Args:
        through_us: Everything received up to here is visible, and was looked at. [us]
        counted_from_us: Behind this position rows are counted. [us]
        rows: Measurements of the watched series between the two, late ones included.
    """

    through_us: int
    counted_from_us: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """Events between two positions.

    Args:
        rows: In the schema EVENT_ROWS, in the order of their arrival.
        dropped: How many older ones were too many for one answer.
        whole_from_us: Behind this position none is missing. [us]
    """

    rows: pa.Table
    dropped: int
    whole_from_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """What lies behind one position and not behind another. [us]"""

    since_us: int
    through_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """How far a segment was read: visible rows per table."""

    segment: Segment
    counts: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """Some events, and what their bodies weigh."""

    rows: Rows
    size_bytes: int


class Tail:
    """Follows the visible rows of a lake while somebody listens. Shared by all threads.

    Args:
        sequencer: Whose rows.
        kept_from_us: From which instant of measurement a project keeps rows. [us]
        events_kept: How many of the newest events are remembered.
    """

    def __init__(
        self, sequencer: Sequencer, kept_from_us: Callable[[str], int], *, events_kept: int = EVENTS_KEPT
    ) -> None:
        self._sequencer = sequencer
        self._kept_from_us = kept_from_us
        self._events_kept = events_kept
        self._lock = threading.Lock()
        self._listeners = 0
        self._place: _Place | None = None
        self._through_us = NOTHING_YET
        self._begun_us = NOTHING_YET
        self._whole_from_us = NOTHING_YET  # events behind it are kept
        self._rows_of: Int64s = np.zeros(0, np.int64)  # of each series of measurements, since the tail began
        self._kept: deque[_Kept] = deque()

    def open(self) -> None:
        """Begin to follow, if nobody did."""
        with self._lock:
            self._listeners += 1
            if self._listeners == 1:
                self._begin()

    def close(self) -> None:
        """Hold nothing any more, if nobody else follows."""
        with self._lock:
            self._listeners -= 1
            if self._listeners == 0:
                self._place = None
                self._kept.clear()
                self._rows_of = np.zeros(0, np.int64)

    def watch(
        self,
        table: TableName,
        project: str,
        components: Sequence[str] | None = None,
        topics: Sequence[str] | None = None,
    ) -> Watched:
        """Return the series of a choice, None for all."""
        index = self._sequencer.indexes[table]
        chosen = [None if names is None else tuple(names) for names in (components, topics)]
        return Watched(index, project, *chosen)

    def look(self, watched: Watched | None = None) -> Look:
        """Take what has become visible; return how far that is, and how many rows of some series came by then."""
        series = NO_SERIES if watched is None else watched.series()
        with self._lock:
            if self._sequencer.visible_through_us != self._through_us or self._place is None:
                self._take()
            counted = series[series < self._rows_of.size]
            rows = int(self._rows_of[counted].sum())
            return Look(through_us=self._through_us, counted_from_us=self._begun_us, rows=rows)

    def newest_since(self, watched: Watched, since_us: int) -> pa.Table:
        """Return the newest measurement of each series that got a newer one after a position, in MEASUREMENT_ROWS."""
        rows = watched.index.newest_since(watched.series(), since_us)
        return watched.index.to_arrow(rows.take(rows.t >= max(self._kept_from_us(watched.project), NEVER + 1)))

    def events_in(self, watched: Watched, span: Span, *, limit_rows: int, limit_bytes: int) -> Happened:
        """Return the newest events of those series between two positions, within bounds.

        Args:
            watched: Series of events.
            span: Its end was looked at before.
            limit_rows: Most events.
            limit_bytes: Most text of their bodies together; one event is given however long it is. [bytes]
        """
        series = watched.series()
        with self._lock:
            parts = [one.rows for one in self._kept if one.rows.received_at[-1] > span.since_us]
            whole_from_us = self._whole_from_us
        rows = concat_rows([part.take(_among(part, series, span)) for part in parts], EVENTS)
        fitting = _count_fitting(rows, limit_rows, limit_bytes)
        kept = rows.take(np.arange(len(rows) - fitting, len(rows)))
        return Happened(rows=watched.index.to_arrow(kept), dropped=len(rows) - fitting, whole_from_us=whole_from_us)

    def _begin(self) -> None:
        """Stand at this moment."""
        sequencer = self._sequencer
        with sequencer.view_lock:
            newest = sequencer.active
            self._place = _Place(segment=newest, counts=_visible(newest))
            self._through_us = sequencer.visible_through_us
        self._begun_us = self._whole_from_us = self._through_us
        self._rows_of = np.zeros(0, np.int64)
        self._kept.clear()

    def _take(self) -> None:
        sequencer, place = self._sequencer, self._place
        if place is None:
            self._begin()
            return
        with sequencer.view_lock:
            newer = [one for one in (*sequencer.sealed, sequencer.active) if one.number > place.segment.number]
            if newer and newer[0].number > place.segment.number + 1:
                is_missed = True  # it came and went between two looks
            else:
                is_missed = False
                views = [_unread(place.segment, place.counts), *(_unread(one, {}) for one in newer)]
                newest = newer[-1] if newer else place.segment
                self._place = _Place(segment=newest, counts=_visible(newest))
                self._through_us = sequencer.visible_through_us
        if is_missed:
            self._begin()
            return
        for view in views:
            self._count(view[MEASUREMENTS.name])
            self._keep(view[EVENTS.name])

    def _count(self, rows: Rows) -> None:
        if not len(rows):
            return
        needed = int(rows.series.max()) + 1
        if needed > self._rows_of.size:
            used = self._rows_of.size
            self._rows_of = grown(self._rows_of, room_for(needed, used), used)
            self._rows_of[used:] = 0
        np.add.at(self._rows_of, rows.series, 1)

    def _keep(self, rows: Rows) -> None:
        if not len(rows):
            return
        whole = rows.take(np.arange(len(rows)))  # a copy: a view would keep the columns of its segment
        self._kept.append(_Kept(rows=whole, size_bytes=sum(map(len, whole.payload["body"]))))
        while len(self._kept) > 1 and self._is_over():
            self._whole_from_us = int(self._kept.popleft().rows.received_at[-1])

    def _is_over(self) -> bool:
        rows, size_bytes = sum(len(one.rows) for one in self._kept), sum(one.size_bytes for one in self._kept)
        return rows > self._events_kept or size_bytes > BODIES_KEPT_BYTES


def _visible(segment: Segment) -> dict[str, int]:
    return {name: hot.visible for name, hot in segment.hot.items()}


def _unread(segment: Segment, counts: dict[str, int]) -> dict[str, Rows]:
    return {name: hot.view(start=counts.get(name, 0)) for name, hot in segment.hot.items()}


def _among(rows: Rows, series: Int32s, span: Span) -> Bools:
    is_inside = (rows.received_at > span.since_us) & (rows.received_at <= span.through_us)
    chosen: Bools = is_inside & np.isin(rows.series, series)
    return chosen


def _count_fitting(rows: Rows, limit_rows: int, limit_bytes: int) -> int:
    """Return how many of the last rows fit."""
    count, size_bytes = 0, 0
    for body in rows.payload["body"][::-1][:limit_rows]:
        size_bytes += len(body)
        if count and size_bytes > limit_bytes:
            break
        count += 1
    return count
