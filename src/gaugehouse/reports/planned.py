"""What a plant plans, as a pin keeps it: its shifts and the buckets they make."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from gaugehouse.errors import PeriodRefused
from gaugehouse.inventory import find_effective_exclusions, find_shift_calendar
from gaugehouse.measurements.exclusions import Exclusion
from gaugehouse.measurements.period import Period, bucket_edges_us, parse_every
from gaugehouse.measurements.shift_calendar import decode_shift_calendar
from gaugehouse.measurements.shifts import ShiftBucket, find_shift_buckets
from gaugehouse.reports.counted import LOOKBACK
from gaugehouse.reports.pin import PinnedShiftCalendar


def pin_shift_calendar(session: Session, project_id: str) -> PinnedShiftCalendar | None:
    """Return the project's shift calendar as it is now; None when it has none."""
    stored = find_shift_calendar(session, project_id)
    if stored is None:
        return None
    return PinnedShiftCalendar(version=stored.version, calendar=decode_shift_calendar(stored.calendar))


def pin_exclusions(
    session: Session, project_id: str, components: Sequence[str], period: Period
) -> tuple[Exclusion, ...]:
    """Return the windows that take something out of a period, or out of the look-back before it."""
    start = period.start - LOOKBACK
    return tuple(find_effective_exclusions(session, project_id, components, start, period.end))


def cut_period(
    period: Period, bucket: str | None, calendar: PinnedShiftCalendar | None, *, limit: int
) -> tuple[NDArray[np.int64], tuple[ShiftBucket | None, ...]]:
    """Return the edges of the buckets, and where shifts are asked for, which shift each bucket is.

    Args:
        period: What is cut.
        bucket: Bucket expression; None is the period as one.
        calendar: The project's.
        limit: Most buckets.

    Raises:
        PeriodRefused: Not a bucket, too many of them, or shifts where there are none.
    """
    if bucket is None or parse_every(bucket).unit != "shift":
        return bucket_edges_us(period, bucket, limit=limit), ()
    if calendar is None:
        raise PeriodRefused(
            "the project has no shift calendar; set one with PUT /v1/shift-calendar or `gaugehouse calendar set`",
            code="shift_calendar_missing",
        )
    buckets = find_shift_buckets(period, calendar.calendar, limit=limit)
    return buckets.edges_us, buckets.shifts
