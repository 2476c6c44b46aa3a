"""Shifts as spans of instants: the buckets of a period, and the time that a plant plans to be busy.

A shift is planned on the wall clock and ends on it: the people of a night shift from 22:00 to 06:00 are relieved at
06:00 whatever happened to the clocks, so it lasts 7 hours in the night they are put forward and 9 in the one they are
put back. (US Department of Labor, FLSA Hours Worked Advisor, "Daylight Savings Time": a shift from 23:00 to 07:30 works
one hour less, or one hour more.) Were its duration elapsed time, it would overlap with the early shift on one of the
two days, and leave an hour that is nobody's on the other.

A border that clocks skip lies at their jump; one that they show twice lies where they show it first, as in
`parse_instant`. What touches on the wall clock therefore touches in instants, on every day of every zone; a shift whose
whole time is skipped has no length, and does not take place.

A shift belongs to the local day it starts on, also behind midnight.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from gaugehouse.errors import PeriodRefused
from gaugehouse.measurements.period import CALENDAR_BUCKETS_LIMIT, Period, too_many_buckets
from gaugehouse.measurements.selection import to_epoch_us
from gaugehouse.measurements.shift_calendar import Shift, ShiftCalendar
from gaugehouse.measurements.wall_clock import DAY, find_wall_instant, find_zone
from gaugehouse.measurements.windows import NO_WINDOWS, Windows, clip_windows, merge_windows, subtract_windows

MARGIN = 2 * DAY  # a shift may have started the day before; and where clocks are put back over midnight, one more


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftBucket:
    """The shift that a bucket is, or a part of.

    Args:
        name: Of the shift.
        day: The local day it starts on.
        is_cut: The period begins or ends inside it.
    """

    name: str
    day: date
    is_cut: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftBuckets:
    """A period cut at the borders of its shifts.

    Args:
        edges_us: int64, one more than there are buckets, strictly increasing. [us]
        shifts: Per bucket; None for time between shifts, which callers drop.
    """

    edges_us: NDArray[np.int64]
    shifts: tuple[ShiftBucket | None, ...]

    @property
    def is_shift(self) -> NDArray[np.bool_]:
        """Which buckets are shifts."""
        return np.array([shift is not None for shift in self.shifts], np.bool_)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Occurrence:
    """One shift of one day. [us]"""

    name: str
    day: date
    start_us: int
    end_us: int


def find_shift_buckets(period: Period, calendar: ShiftCalendar, *, limit: int) -> ShiftBuckets:
    """Return the shifts of a period as buckets, and the time between them as buckets without a shift.

    Shifts at the borders of the period are clipped to it.

    Args:
        period: What is cut.
        calendar: Its zone says when shifts start, whatever zone the period has.
        limit: Most buckets, CALENDAR_BUCKETS_LIMIT at most.

    Raises:
        PeriodRefused: Not one shift lies in the period, or there are more buckets than the limit.
    """
    limit = min(limit, CALENDAR_BUCKETS_LIMIT)
    if _count_at_least(period, calendar) > limit:
        raise too_many_buckets(period, "shift", limit)
    start_us, end_us = to_epoch_us(period.start), to_epoch_us(period.end)
    edges_us: list[int] = [start_us]
    shifts: list[ShiftBucket | None] = []
    for one in _find_occurrences(calendar, period.start, period.end):
        if one.start_us > edges_us[-1]:
            edges_us.append(one.start_us)
            shifts.append(None)
        is_cut = one.start_us < start_us or one.end_us > end_us
        edges_us.append(min(one.end_us, end_us))
        shifts.append(ShiftBucket(name=one.name, day=one.day, is_cut=is_cut))
        if len(shifts) > limit:
            raise too_many_buckets(period, "shift", limit)
    if not shifts:
        raise PeriodRefused(
            f"no shift of the project's calendar lies in {period.expression!r}", fields={"period": period.expression}
        )
    if edges_us[-1] < end_us:
        edges_us.append(end_us)
        shifts.append(None)
    return ShiftBuckets(edges_us=np.array(edges_us, np.int64), shifts=tuple(shifts))


def _count_at_least(period: Period, calendar: ShiftCalendar) -> int:
    """Return how many shifts a period has at least, without a look at any."""
    zone = find_zone(calendar.timezone)
    first, last = period.start.astimezone(zone).date(), period.end.astimezone(zone).date()
    found = 0
    for shift in calendar.shifts:
        begin, end = max(first, shift.valid_from or first), min(last, shift.valid_until or last)
        whole_weeks = max(0, (end - begin).days - 2) // 7  # the days at both ends may be cut
        found += max(0, whole_weeks * len(shift.days) - len(calendar.holidays))
    return found * 9 // 10  # a short shift may be skipped by clocks once a year


def find_busy(calendar: ShiftCalendar, start: datetime, end: datetime, *, excluded: Windows = NO_WINDOWS) -> Windows:
    """Return when a plant plans to be busy in [start, end): its shifts, without what is taken out.

    Args:
        calendar: The shifts.
        start: Inclusive.
        end: Exclusive.
        excluded: Of one component, see `exclusions.find_excluded`.

    Source: ISO 22400-2:2014, planned busy time: the planned operation time less planned down time.
    """
    spans = [(one.start_us, one.end_us) for one in _find_occurrences(calendar, start, end)]
    return subtract_windows(clip_windows(merge_windows(spans), to_epoch_us(start), to_epoch_us(end)), excluded)


def _find_occurrences(calendar: ShiftCalendar, start: datetime, end: datetime) -> Iterator[_Occurrence]:
    """Yield the shifts that overlap [start, end) in their order, whole; none of them overlaps another."""
    zone = find_zone(calendar.timezone)
    start_us, end_us = to_epoch_us(start), to_epoch_us(end)
    first, last = start.astimezone(zone).date() - MARGIN, end.astimezone(zone).date() + DAY
    for shift, day in _find_planned(calendar, first, last):
        begin = datetime.combine(day, shift.start)
        starts_us = to_epoch_us(find_wall_instant(begin, zone))
        ends_us = to_epoch_us(find_wall_instant(begin + timedelta(minutes=shift.duration_min), zone))
        if max(starts_us, start_us) < min(ends_us, end_us):
            yield _Occurrence(name=shift.name, day=day, start_us=starts_us, end_us=ends_us)


def _find_planned(calendar: ShiftCalendar, first: date, last: date) -> Iterator[tuple[Shift, date]]:
    """Yield each shift that starts from the first to the last day, in the order of the wall clock."""
    holidays = {holiday.day for holiday in calendar.holidays}
    in_order: Sequence[Shift] = sorted(calendar.shifts, key=lambda shift: shift.start_min)
    for n in range((last - first).days + 1):
        day = first + n * DAY
        if day not in holidays:
            yield from ((shift, day) for shift in in_order if shift.starts_on(day))
