"""Rows that came later than a report knows and that its numbers would look at."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gaugehouse.kpi import Want, find_wanted
from gaugehouse.lake import Snapshot
from gaugehouse.measurements.metric import MetricKind
from gaugehouse.measurements.selection import Selection
from gaugehouse.reports.chunks import POINTS_BEHIND_SQL, ROW_BEHIND_SQL
from gaugehouse.reports.compute import find_counted_end, find_lookback, group_by_lookback, limit_lookback
from gaugehouse.reports.counted import LOOKBACK
from gaugehouse.reports.formulas import make_catalogue
from gaugehouse.reports.pin import Pin, PinnedSeries

COUNT_SQL = """
SELECT component, metric, count(*) AS n, min(epoch_us(measured_at)) AS first_us, max(epoch_us(measured_at)) AS last_us
FROM rows
GROUP BY component, metric
"""
INSTANTS_SQL = """
SELECT component, metric, list(epoch_us(measured_at)) AS measured_at_us
FROM rows
GROUP BY component, metric
"""
# The next points are nearly always close, and only series without enough of them are looked for further away.
STEPS = (timedelta(hours=1), timedelta(days=1), LOOKBACK)

Key = tuple[str, str]
Instants = Mapping[Key, NDArray[np.int64]]


def count_arrivals(snapshot: Snapshot, pin: Pin) -> dict[Key, tuple[int, int, int]]:
    """Return per (component, metric) how many rows came since, and the instants of the first and last of them. [us]

    Rows behind the end count only where they change what the end of a report is judged by: the two points behind a
    counter's last step, and the row that the last straight line leads to. That measuring goes on makes nothing stale.

    Args:
        snapshot: What the lake shows now.
        pin: Of the report.

    Raises:
        Unavailable: A file of the lake cannot be read.
    """
    found: dict[Key, tuple[int, int, int]] = {}

    def add(key: Key, n: int, first_us: int, last_us: int) -> None:
        before = found.get(key, (0, first_us, last_us))
        found[key] = (before[0] + n, min(before[1], first_us), max(before[2], last_us))

    for selection, wanted in _inside(pin, until=None):
        for row in snapshot.read(selection, COUNT_SQL).read_all().to_pylist():
            key = (row["component"], row["metric"])
            if key in wanted:
                add(key, row["n"], row["first_us"], row["last_us"])
    for key, instants_us in _find_behind(snapshot, pin, until=None).items():
        add(key, len(instants_us), int(instants_us[0]), int(instants_us[-1]))
    return found


def load_arrivals(snapshot: Snapshot, pin: Pin, until: datetime | None) -> Instants:
    """Return per (component, metric) the sorted instants of the rows that came since. [us]

    Args:
        snapshot: What the lake shows now.
        pin: Of the report.
        until: Up to when a row was received; None: to now.

    Raises:
        Unavailable: A file of the lake cannot be read.
    """
    found: dict[Key, list[NDArray[np.int64]]] = {}
    for selection, wanted in _inside(pin, until=until):
        table = snapshot.read(selection, INSTANTS_SQL).read_all()
        for key, instants_us in _read_lists(table).items():
            if key in wanted:
                found.setdefault(key, []).append(instants_us)
    for key, instants_us in _find_behind(snapshot, pin, until=until).items():
        found.setdefault(key, []).append(instants_us)
    return {key: np.sort(np.concatenate(parts)) for key, parts in found.items()}


def _inside(pin: Pin, *, until: datetime | None) -> Iterator[tuple[Selection, frozenset[Key]]]:
    """Yield what was received later in the periods of a report and the look-back before them, no row twice."""
    for lookback, series in group_by_lookback(pin.every_series):
        windows = [
            (limit_lookback(pin, one.period.start - lookback), find_counted_end(one)) for one in _of_periods(pin)
        ]
        for start, end in _join(windows):
            selection = Selection(
                project=pin.project,
                components=tuple(sorted({one.component for one in series})),
                metrics=tuple(sorted({one.metric for one in series})),
                start=start,
                end=end,
                received_after=pin.as_of,
                as_of=until,
            )
            yield selection, _keys(series)


def _join(windows: Sequence[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    joined: list[tuple[datetime, datetime]] = []
    for start, end in sorted(windows):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        elif start < end:
            joined.append((start, end))
    return joined


def _of_periods(pin: Pin) -> list[Pin]:
    return [replace(pin, period=period) for period in pin.periods]


def _keys(series: Sequence[PinnedSeries]) -> frozenset[Key]:
    return frozenset((one.component, one.metric) for one in series)


# --- Behind the end ---------------------------------------------------------------------------------------------------


def _find_behind(snapshot: Snapshot, pin: Pin, *, until: datetime | None) -> dict[Key, NDArray[np.int64]]:
    """Return the instants of later rows among the points behind the end that a report looks at, by series."""
    counters = [one for one in pin.every_series if one.attributes.kind is MetricKind.COUNTER]
    lines = [one for one in pin.every_series if one.attributes.kind in _find_line_kinds(pin)]
    looks = (
        _Look(series=counters, sql=POINTS_BEHIND_SQL, points=2, reach=LOOKBACK),
        _Look(series=lines, sql=ROW_BEHIND_SQL, points=1, reach=find_lookback(lines)),
    )
    found: dict[Key, NDArray[np.int64]] = {}
    for own in _of_periods(pin):
        for look in looks:
            for key, instants_us in _find_next(snapshot, own, look, until).items():
                found[key] = np.union1d(found.get(key, np.empty(0, np.int64)), instants_us)
    return found


def _find_line_kinds(pin: Pin) -> frozenset[MetricKind]:
    catalogue = make_catalogue(pin.definitions)
    return frozenset(kind for kind, names in pin.kpis.items() if Want.LINES in find_wanted(list(names), catalogue))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """A look behind the end: of which series how many points matter, and how far away."""

    series: Sequence[PinnedSeries]
    sql: str
    points: int
    reach: timedelta


def _find_next(snapshot: Snapshot, pin: Pin, look: _Look, until: datetime | None) -> dict[Key, NDArray[np.int64]]:
    end = find_counted_end(pin)
    found: dict[Key, NDArray[np.int64]] = {}
    open_series = list(look.series)
    for step in STEPS:
        if not open_series:
            break
        selection = Selection(
            project=pin.project,
            components=tuple(sorted({one.component for one in open_series})),
            metrics=tuple(sorted({one.metric for one in open_series})),
            start=end,
            end=end + min(step, look.reach),
        )
        now = _read_lists(snapshot.read(replace(selection, as_of=until), look.sql).read_all())
        known: Instants = {}
        if pin.as_of is not None:
            known = _read_lists(snapshot.read(replace(selection, as_of=pin.as_of), look.sql).read_all())
        for key in _keys(open_series) & now.keys():
            fresh = np.setdiff1d(now[key], known.get(key, np.empty(0, np.int64)))
            if len(fresh):
                found[key] = fresh
        open_series = [
            one
            for one in open_series
            if len(now.get((one.component, one.metric), ())) < look.points and min(step, look.reach) < look.reach
        ]
    return found


def _read_lists(table: pa.Table) -> dict[Key, NDArray[np.int64]]:
    keys = zip(table["component"].to_pylist(), table["metric"].to_pylist(), strict=True)
    lists = table["measured_at_us"].combine_chunks()
    return {key: lists[place].values.to_numpy() for place, key in enumerate(keys)}
