"""How fine the buckets of a plot should be."""

from datetime import datetime, timedelta

from gaugehouse.errors import Refused
from gaugehouse.lake import Snapshot
from gaugehouse.measurements.selection import EPOCH, Selection
from gaugehouse.query.summary import find_extent

# A step is nice when people read it off an axis; below a day each divides the next larger unit of the clock.
STEPS: tuple[tuple[str, timedelta], ...] = (
    ("1s", timedelta(seconds=1)),
    ("5s", timedelta(seconds=5)),
    ("10s", timedelta(seconds=10)),
    ("30s", timedelta(seconds=30)),
    ("1m", timedelta(minutes=1)),
    ("5m", timedelta(minutes=5)),
    ("10m", timedelta(minutes=10)),
    ("15m", timedelta(minutes=15)),
    ("30m", timedelta(minutes=30)),
    ("1h", timedelta(hours=1)),
    ("3h", timedelta(hours=3)),
    ("6h", timedelta(hours=6)),
    ("12h", timedelta(hours=12)),
    ("1d", timedelta(days=1)),
    ("1w", timedelta(weeks=1)),
    # Past a week the calendar's shortest, so that the promise of at most `points` holds.
    ("month", timedelta(days=28)),
    ("quarter", timedelta(days=90)),
    ("year", timedelta(days=365)),
)
POINTS_LIMIT = 100_000  # more points than any screen has columns; also bounds the answer


def choose_every(start: datetime, end: datetime, points: int) -> str:
    """Return the finest nice step that cuts [start, end) into at most so many buckets, wherever the grid lies.

    Args:
        start: First instant.
        end: Exclusive end.
        points: Most buckets per series. A year is the coarsest step, whatever is asked.

    Raises:
        Refused: points is below 1 or over the limit.
    """
    if not 1 <= points <= POINTS_LIMIT:
        raise Refused(f"points must be from 1 to {POINTS_LIMIT}, not {points}", code="points_refused")
    span = max(end - start, timedelta(0))
    for name, step in STEPS:
        # A span of n whole steps touches n + 1 buckets when it does not start on the grid.
        if -(-span // step) + 1 <= points:
            return name
    return STEPS[-1][0]


def find_every(snapshot: Snapshot, selection: Selection, *, points: int) -> str:
    """Return the step for a plot of a selection; an open end of it is where its data begin or end."""
    start, end = selection.start, selection.end
    if start is None or end is None:
        extent = find_extent(snapshot, selection)
        if extent is None:
            return choose_every(EPOCH, EPOCH, points)
        start = start or extent.first_measured_at
        end = end or extent.last_measured_at + timedelta(microseconds=1)
    return choose_every(start, end, points)
