"""What a plant plans, as a pin keeps it: its shifts and the buckets they make."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from gaugehouse.errors import PeriodRefused
from gaugehouse.inventory import find_effective_exclusions, find_shift_calendar
from gaugehouse.lake import Gone
from gaugehouse.measurements.comparison import Against, NoPeriod, find_compared, pair_buckets, pair_shifts
from gaugehouse.measurements.exclusions import Exclusion
from gaugehouse.measurements.period import Period, bucket_edges_us, find_cut, parse_every
from gaugehouse.measurements.selection import to_epoch_us
from gaugehouse.measurements.shift_calendar import decode_shift_calendar
from gaugehouse.measurements.shifts import ShiftBucket, find_shift_buckets
from gaugehouse.reports.counted import LOOKBACK
from gaugehouse.reports.pin import PinnedComparison, PinnedShiftCalendar


def pin_shift_calendar(session: Session, project_id: str) -> PinnedShiftCalendar | None:
    """Return the project's shift calendar as it is now; None when it has none."""
    stored = find_shift_calendar(session, project_id)
    if stored is None:
        return None
    return PinnedShiftCalendar(version=stored.version, calendar=decode_shift_calendar(stored.calendar))


def pin_exclusions(
    session: Session, project_id: str, components: Sequence[str], periods: Sequence[Period]
) -> tuple[Exclusion, ...]:
    """Return the windows that take something out of any of several periods, or out of the look-back before them."""
    found = {
        one.id: one
        for period in periods
        for one in find_effective_exclusions(session, project_id, components, period.start - LOOKBACK, period.end)
    }
    return tuple(sorted(found.values(), key=lambda one: (one.start, one.id)))


def pin_comparison(  # noqa: PLR0913 - a period, how it is cut, and what is left of the other one
    period: Period,
    against: Against,
    *,
    now: datetime,
    bucket: str | None,
    calendar: PinnedShiftCalendar | None,
    shifts: tuple[ShiftBucket | None, ...],
    edges_us: NDArray[np.int64],
    gone: Gone | None,
    limit: int,
) -> PinnedComparison:
    """Return what a period is compared with, bucket by bucket, or why it is not.

    A period that still runs is compared with as much of the other one as is over of it; a bucket that still runs with
    nothing.

    Args:
        period: What is compared.
        against: previous or year_before.
        now: Where a running period ends.
        bucket: Bucket expression.
        calendar: The project's.
        shifts: Which shift each bucket is, where buckets are shifts.
        edges_us: Borders of the buckets. [us]
        gone: What retention has dropped.
        limit: Most buckets.
    """
    buckets = len(edges_us) - 1

    def nothing(reason: str) -> PinnedComparison:
        none = np.full(buckets, -1, np.int64)
        return PinnedComparison(
            against=against, period=None, edges_us=np.empty(0, np.int64), partner=none, reasons=(reason,) * buckets
        )

    other = find_compared(period, against)
    if isinstance(other, NoPeriod):
        return nothing(other.reason)
    if period.start >= now:
        return nothing("the period has not begun")
    if now < period.end and bucket is None:
        other = replace(other, end=min(other.end, other.start + (now - period.start)))
    if gone is not None and other.start < gone.before:
        return nothing(f"measurements before {gone.before:%Y-%m-%d} are gone (retention)")
    try:
        other_edges_us, other_shifts = cut_period(other, bucket, calendar, limit=limit)
    except PeriodRefused as refusal:
        return nothing(refusal.message)
    if shifts:
        pairs = pair_shifts(period, shifts, other, other_shifts)
    else:
        cuts = [find_cut(one, bucket, edges) for one, edges in ((period, edges_us), (other, other_edges_us))]
        pairs = pair_buckets(edges_us, other_edges_us, *cuts)
    runs = edges_us[1:] > to_epoch_us(now) if bucket is not None else np.zeros(buckets, np.bool_)
    reasons = tuple("it is not over yet" if run else why for run, why in zip(runs.tolist(), pairs.reasons, strict=True))
    partner = np.where(runs, -1, pairs.partner)
    return PinnedComparison(against=against, period=other, edges_us=other_edges_us, partner=partner, reasons=reasons)


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
