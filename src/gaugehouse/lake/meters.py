"""What a lake counts of itself while it works; who shows it, and how, is decided elsewhere."""

import threading
from bisect import bisect_left
from dataclasses import dataclass, field

# Upper bounds of durations. [s]
FSYNC_BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
WORK_BOUNDS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
NOBODY = ""  # whose rows are those of deleted projects; no project is called that


class Durations:
    """A histogram of durations [s]; observed by one thread at a time, read by any."""

    def __init__(self, bounds_s: tuple[float, ...]) -> None:
        self.bounds_s = bounds_s
        self.counts = [0] * (len(bounds_s) + 1)  # the last is for all that is longer
        self.sum_s = 0.0

    def observe(self, duration_s: float) -> None:
        self.counts[bisect_left(self.bounds_s, duration_s)] += 1
        self.sum_s += duration_s

    def cumulative(self) -> list[tuple[str, float]]:
        """Return (upper bound, how many were at most that long), the last bound `+Inf`."""
        total, buckets = 0, []
        for bound, count in zip([*map(str, self.bounds_s), "+Inf"], list(self.counts), strict=True):
            total += count
            buckets.append((bound, float(total)))
        return buckets


@dataclass(slots=True)
class RowCounts:
    """Rows of one project and table since the start."""

    accepted: int = 0
    duplicates: int = 0
    conflicts: int = 0
    late: int = 0

    def add(self, other: "RowCounts") -> None:
        self.accepted += other.accepted
        self.duplicates += other.duplicates
        self.conflicts += other.conflicts
        self.late += other.late


@dataclass(slots=True)
class LakeMeters:
    """Counters and durations of one lake since it was opened."""

    fsync: Durations = field(default_factory=lambda: Durations(FSYNC_BOUNDS_S))
    flush: Durations = field(default_factory=lambda: Durations(WORK_BOUNDS_S))
    compaction: Durations = field(default_factory=lambda: Durations(WORK_BOUNDS_S))
    compacted_rows: int = 0
    flushed_rows: int = 0
    _rows: dict[tuple[str, str], RowCounts] = field(default_factory=dict)
    _heartbeats: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count_heartbeats(self, project: str, heartbeats: int) -> None:
        """Count accepted rows of the metric that says a device is there."""
        with self._lock:
            self._heartbeats[project] = self._heartbeats.get(project, 0) + heartbeats

    def heartbeats(self) -> dict[str, int]:
        """Return the heartbeats so far by project."""
        with self._lock:
            return dict(self._heartbeats)

    def count(self, project: str, table: str, *, accepted: int, duplicates: int, conflicts: int, late: int) -> None:
        """Count the outcome of one delivery."""
        with self._lock:
            counts = self._rows.get((project, table))
            if counts is None:
                counts = self._rows[project, table] = RowCounts()
            counts.accepted += accepted
            counts.duplicates += duplicates
            counts.conflicts += conflicts
            counts.late += late

    def forget(self, project: str) -> None:
        """Name a deleted project no more; its rows stay in the totals, which must never fall."""
        with self._lock:
            for table in [table for owner, table in self._rows if owner == project]:
                rest = self._rows.setdefault((NOBODY, table), RowCounts())
                rest.add(self._rows.pop((project, table)))
            if project in self._heartbeats:
                self._heartbeats[NOBODY] = self._heartbeats.get(NOBODY, 0) + self._heartbeats.pop(project)

    def rows(self) -> dict[tuple[str, str], RowCounts]:
        """Return the counts so far, by (project, table)."""
        with self._lock:
            return {key: RowCounts(c.accepted, c.duplicates, c.conflicts, c.late) for key, c in self._rows.items()}
