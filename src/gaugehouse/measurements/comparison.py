"""What a period is compared with, the previous one of its kind or the same one a year before, and bucket with bucket.

Every answer is an expression that `parse_period` understands, so it is right by the same rules. Where there is nothing
to compare with, the answer is a reason: a missing value is null with that reason, never 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal, assert_never
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from gaugehouse.errors import PeriodRefused
from gaugehouse.measurements.period import MONTHS, CalendarUnit, Period, find_unit, parse_period
from gaugehouse.measurements.shifts import ShiftBucket
from gaugehouse.measurements.wall_clock import (
    DAY,
    add_months,
    find_midnight,
    find_month_start,
    find_wall_instant,
    find_zone,
)

Against = Literal["previous", "year_before"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoPeriod:
    """There is no period to compare with, and why."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Which bucket of the other period stands beside each bucket.

    Args:
        partner: int64, index per bucket; -1 is none.
        reasons: Per bucket why it has none; None where it has one.
    """

    partner: NDArray[np.int64]
    reasons: tuple[str | None, ...]


def find_compared(period: Period, against: Against) -> Period | NoPeriod:
    """Return the period that another one is compared with.

    Args:
        period: From `parse_period` or `explicit_period`; its expression says of which kind it is.
        against: `previous`: the day, ISO week, month, quarter or year before; as many local days before; for borders
            that are not local midnights, as much time before. `year_before`: the same day, month or quarter of the year
            before; the ISO week of the same number in the ISO year before; else the same local dates or times a year
            before (`last_N_hours`: ending then, as long). 29 February and a week 53 may have none.

    Returns:
        The period, or the reason why there is none: the calendar lacks it, the zone skipped it, it begins before 1970.
    """
    zone = find_zone(period.timezone)
    try:
        match against:
            case "previous":
                expression = _find_previous(period, zone)
            case "year_before":
                expression = _find_year_before(period, zone)
            case _:
                assert_never(against)
        return parse_period(expression, timezone=period.timezone, now=period.start)
    except _NotThere as missing:
        return NoPeriod(reason=str(missing))
    except OverflowError:
        return NoPeriod(reason="it would begin before the calendar does")
    except PeriodRefused as refusal:
        return NoPeriod(reason=refusal.message)


class _NotThere(Exception):
    """The calendar has no such date; the text is the reason."""


def _find_previous(period: Period, zone: ZoneInfo) -> str:
    unit = find_unit(period.expression)
    first = period.start.astimezone(zone).date()
    if unit == "day":
        return (first - DAY).isoformat()
    if unit == "week":
        return _name_week(first - 7 * DAY)
    if unit in MONTHS:
        months = MONTHS[unit]
        return _name_month(add_months(find_month_start(first, months), -months), unit)
    days = _find_whole_days(period, zone)
    if unit is None and days is not None:
        return f"{days[0] - (days[1] - days[0])}/{days[0]}"
    return _name_instants(period.start - (period.end - period.start), period.start)


def _find_year_before(period: Period, zone: ZoneInfo) -> str:
    unit = find_unit(period.expression)
    first = period.start.astimezone(zone).date()
    if unit == "day":
        return _year_back(first).isoformat()
    if unit == "week":
        return _name_week_of_year_before(first)
    if unit in MONTHS:
        return _name_month(add_months(find_month_start(first, MONTHS[unit]), -12), unit)
    days = _find_whole_days(period, zone)
    if unit is None and days is not None:
        return f"{_year_back(days[0])}/{_year_back(days[1] - DAY) + DAY}"
    end = _wall_year_back(period.end, zone)
    if unit == "hour":
        return _name_instants(end - (period.end - period.start), end)
    return _name_instants(_wall_year_back(period.start, zone), end)


def _find_whole_days(period: Period, zone: ZoneInfo) -> tuple[date, date] | None:
    """Return the first local day and the one behind the last, if the period begins and ends with a day."""
    first, behind = (instant.astimezone(zone).date() for instant in (period.start, period.end))
    is_whole = find_midnight(first, zone) == period.start and find_midnight(behind, zone) == period.end
    return (first, behind) if is_whole and first < behind else None


def _year_back(day: date) -> date:
    try:
        return day.replace(year=day.year - 1)
    except ValueError as error:
        raise _NotThere(f"{day.year - 1} has no 29 February") from error


def _wall_year_back(instant: datetime, zone: ZoneInfo) -> datetime:
    """Return when clocks showed the same a year before."""
    local = instant.astimezone(zone)
    return find_wall_instant(datetime.combine(_year_back(local.date()), local.time()), zone)


def _name_week(day: date) -> str:
    year, week, _ = day.isocalendar()
    return f"{year:04}-W{week:02}"


def _name_week_of_year_before(day: date) -> str:
    year, week, _ = day.isocalendar()
    if week == 53:
        raise _NotThere(f"{year - 1} has no ISO week 53")  # no two years in a row have one
    return f"{year - 1:04}-W{week:02}"


def _name_month(start: date, unit: CalendarUnit) -> str:
    if unit == "year":
        return f"{start.year:04}"
    return f"{start.year:04}-Q{start.month // 3 + 1}" if unit == "quarter" else f"{start.year:04}-{start.month:02}"


def _name_instants(start: datetime, end: datetime) -> str:
    return f"{start.isoformat()}/{end.isoformat()}"


# --- Buckets ---------------------------------------------------------------------------------------------------------


def pair_buckets(
    edges_us: NDArray[np.int64],
    compared_us: NDArray[np.int64],
    is_cut: NDArray[np.bool_],
    is_compared_cut: NDArray[np.bool_],
) -> Pairs:
    """Return bucket i beside bucket i: the first hour beside the first hour, the tenth day beside the tenth.

    A bucket that a border of its period cuts off stands beside one of the same length only: the first week of October
    may have four days, and that of September six.

    Args:
        edges_us: Borders of the buckets of the period. [us]
        compared_us: Those of the period that it is compared with. [us]
        is_cut: Which buckets are cut, see `find_cut`.
        is_compared_cut: Likewise, of the other period.
    """
    buckets, compared = len(is_cut), len(is_compared_cut)
    partner = np.full(buckets, -1, np.int64)
    reasons: list[str | None] = [f"the period it is compared with has {compared} buckets"] * buckets
    lengths_us, compared_lengths_us = np.diff(edges_us), np.diff(compared_us)
    for n in range(min(buckets, compared)):
        is_short = (is_cut[n] or is_compared_cut[n]) and lengths_us[n] != compared_lengths_us[n]
        partner[n] = -1 if is_short else n
        reasons[n] = "one of the two buckets is cut off by the border of its period" if is_short else None
    return Pairs(partner=partner, reasons=tuple(reasons))


def pair_shifts(
    period: Period, shifts: Sequence[ShiftBucket | None], compared: Period, others: Sequence[ShiftBucket | None]
) -> Pairs:
    """Return each shift beside the one of its name on the same day of the other period, counted from its first day.

    Args:
        period: What is compared.
        shifts: Its buckets.
        compared: What it is compared with.
        others: The buckets of that.
    """
    first, other_first = (one.start.astimezone(find_zone(one.timezone)).date() for one in (period, compared))
    index_of = {(one.name, one.day - other_first): n for n, one in enumerate(others) if one is not None}
    partner = np.full(len(shifts), -1, np.int64)
    reasons: list[str | None] = []
    for n, shift in enumerate(shifts):
        if shift is None:
            reasons.append("no shift")
            continue
        index = index_of.get((shift.name, shift.day - first))
        reasons.append(_find_shift_problem(shift, None if index is None else others[index], other_first - first))
        partner[n] = index if index is not None and reasons[-1] is None else -1
    return Pairs(partner=partner, reasons=tuple(reasons))


def _find_shift_problem(shift: ShiftBucket, other: ShiftBucket | None, earlier: timedelta) -> str | None:
    """Return why a shift cannot be compared with its partner, None if it can."""
    if other is None:
        return f"there is no shift {shift.name!r} on {shift.day + earlier} in the period it is compared with"
    if shift.is_cut != other.is_cut:
        return "one of the two shifts is cut off by the border of its period"
    return None
