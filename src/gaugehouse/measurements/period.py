"""Periods and buckets: calendar expressions in a time zone become half-open ranges of UTC instants.

A local day may have 23 or 25 hours, or not exist at all (a zone that crossed the date line); a local midnight may not
exist. Every border here is therefore found as an instant first and compared as one.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import count
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from gaugehouse.errors import PeriodRefused
from gaugehouse.measurements.selection import EPOCH, to_epoch_us
from gaugehouse.measurements.wall_clock import add_months, find_midnight, find_month_start
from gaugehouse.measurements.wall_clock import find_zone as find_zone

CalendarUnit = Literal["hour", "day", "week", "month", "quarter", "year", "shift"]

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
LAST_INSTANT = datetime(9000, 1, 1, tzinfo=UTC)  # the rest of the calendar is room for one longest bucket
MAX_MONTHS = 1_200  # of one bucket
MAX_DAYS = 36_525  # of one bucket, and of last_N_days
CALENDAR_BUCKETS_LIMIT = 200_000  # each is found by itself: 23 years of hours, 548 of days
LENGTHS: dict[str, timedelta] = {  # about
    "hour": HOUR,
    "day": DAY,
    "week": 7 * DAY,
    "month": 30 * DAY,
    "quarter": 91 * DAY,
    "year": 365 * DAY,
}
MONTHS = {"month": 1, "quarter": 3, "year": 12}
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """Half-open range [start, end) of UTC instants, and the zone and expression it came from."""

    start: datetime
    end: datetime
    timezone: str
    expression: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Every:
    """Length of a bucket.

    Args:
        expression: As asked for.
        unit: Calendar unit, None for a fixed duration. Shifts are those of a project's calendar (`shifts.py`).
        count: How many units.
        duration_us: Fixed duration, None for a calendar unit. [us]
        aligned: Borders lie on the calendar (local midnight, Monday, first of the month); otherwise they are counted
            from the start of the period.
    """

    expression: str
    unit: CalendarUnit | None = None
    count: int = 1
    duration_us: int | None = None
    aligned: bool = False


# --- Instants -------------------------------------------------------------------------------------------------------


def parse_instant(text: str, *, timezone: str | None = None) -> datetime:
    """Return the UTC instant of an ISO 8601 time with offset, or of a local time in the named zone.

    A local time that occurs twice (clocks set back) is the first of the two; a date in a zone is where it begins.

    Raises:
        PeriodRefused: Unreadable, naive without a zone, skipped by the zone's clocks, or outside 1970 to 8999.
    """
    if timezone is not None and _DATE.fullmatch(text):
        return _to_utc(find_midnight(_parse_day(text), find_zone(timezone)), text)
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise PeriodRefused(
            f"{text!r} is no time; write ISO 8601 with an offset such as 2026-11-20T08:00:00+01:00"
        ) from error
    if parsed.tzinfo is not None:
        return _to_utc(parsed, text)
    if timezone is None:
        raise PeriodRefused(f"the time {text!r} has no offset; add one such as +01:00 or Z, or name a time zone")
    instant = _to_utc(parsed.replace(tzinfo=find_zone(timezone)), text)
    if instant.astimezone(find_zone(timezone)).replace(tzinfo=None) != parsed.replace(fold=0):
        raise PeriodRefused(f"the local time {text!r} does not exist in {timezone}: its clocks skip it")
    return instant


def is_naive_time(text: str) -> bool:
    """Say whether a text is a time of day that nobody can place without a zone."""
    if ":" not in text and "T" not in text:  # a day, or a week of a year
        return False
    try:
        return datetime.fromisoformat(text).tzinfo is None
    except ValueError:
        return False


def _to_utc(instant: datetime, text: str) -> datetime:
    try:
        converted = instant.astimezone(UTC)
    except OverflowError as error:
        raise _out_of_range(text) from error
    if not EPOCH <= converted <= LAST_INSTANT:
        raise _out_of_range(text)
    return converted


def _out_of_range(text: str) -> PeriodRefused:
    return PeriodRefused(f"{text!r} lies outside of the years 1970 to 8999")


# --- Named and calendar periods --------------------------------------------------------------------------------------


def explicit_period(start: datetime, end: datetime, *, timezone: str) -> Period:
    """Return the period between two aware instants.

    Raises:
        PeriodRefused: A naive time, an unknown zone, or a start that is not before the end.
    """
    for instant in (start, end):
        if instant.tzinfo is None:
            raise PeriodRefused(f"the time {instant.isoformat()!r} has no offset; add one such as +01:00 or Z")
    find_zone(timezone)
    return _build_period(_to_utc(start, start.isoformat()), _to_utc(end, end.isoformat()), timezone, None)


def _build_period(start: datetime, end: datetime, timezone: str, expression: str | None) -> Period:
    text = expression or f"{start.isoformat()}/{end.isoformat()}"
    if start >= end:
        raise PeriodRefused(f"the period {text!r} is empty in {timezone}: its start is not before its end")
    return Period(start=start, end=end, timezone=timezone, expression=text)


def parse_period(expression: str, *, timezone: str, now: datetime) -> Period:
    """Return the period that an expression means in a zone at this moment.

    A period that has begun keeps its full calendar end; what comes after `now` is the reader's business.

    Args:
        expression: `today`, `yesterday`, `last_7_days` (the 7 local days before today; any number), `last_24_hours`
            (up to now; any number), `this_week|month|quarter|year`, `last_week|month|quarter|year`, `2026`, `2026-Q3`,
            `2026-10`, `2026-W45`, `2026-11-20`, or `start/end`: two times with offset, or two local dates.
        timezone: IANA name.
        now: Aware instant.

    Raises:
        PeriodRefused: Not an expression of this list, or an unknown zone.
    """
    zone = find_zone(timezone)
    text = expression.strip()
    if "/" in text:
        return _parse_range(text, zone)
    hours = _HOURS.fullmatch(text)
    if hours:
        end = _to_utc(now, text)
        return _build_period(_go_back(end, _count(hours[1], text) * HOUR, text), end, timezone, text)
    days = _find_days(text, now.astimezone(zone).date())
    if days is None:
        raise PeriodRefused(
            f"{text!r} is no period; use today, yesterday, last_7_days, last_24_hours, this_ or last_ with week, "
            "month, quarter or year, 2026, 2026-Q3, 2026-10, 2026-W45, 2026-11-20, or start/end with offsets",
            fields={"period": text},
        )
    start, end = (_to_utc(find_midnight(day, zone), text) for day in days)
    return _build_period(start, end, timezone, text)


def _parse_range(text: str, zone: ZoneInfo) -> Period:
    parts = text.split("/")
    if len(parts) != 2:
        raise PeriodRefused(f"{text!r} is no period; write start/end with one slash")
    start, end = (_parse_border(part.strip(), zone) for part in parts)
    return _build_period(start, end, zone.key, text)


def _parse_border(text: str, zone: ZoneInfo) -> datetime:
    """Return a border of an explicit period: a local date means its beginning, a time needs its offset."""
    if _DATE.fullmatch(text):
        return _to_utc(find_midnight(_parse_day(text), zone), text)
    return parse_instant(text)


def _parse_day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise PeriodRefused(f"there is no day {text!r}") from error


def _count(digits: str, text: str) -> int:
    number = int(digits)
    if not 1 <= number <= MAX_DAYS:
        raise PeriodRefused(f"{text!r} must count from 1 to {MAX_DAYS}")
    return number


def _go_back(end: datetime, duration: timedelta, text: str) -> datetime:
    try:
        return _to_utc(end - duration, text)
    except OverflowError as error:
        raise _out_of_range(text) from error


def _find_days(text: str, today: date) -> tuple[date, date] | None:
    """Return first day and day after the last of a named or calendar period, None if it is neither."""
    named = _NAMED.fullmatch(text)
    if named:
        return _find_named_days(named[1], named[2], today)
    if text == "today":
        return today, today + DAY
    if text == "yesterday":
        return today - DAY, today
    days = re.fullmatch(r"last_([0-9]{1,6})_days", text)
    if days:
        return _shift_day(today, -_count(days[1], text), text), today
    for pattern, _, find in _CALENDAR_FORMS:
        match = re.fullmatch(pattern, text)
        if match:
            return _find_calendar_days(text, match, find)
    return None


def _shift_day(day: date, days: int, text: str) -> date:
    try:
        return day + days * DAY
    except OverflowError as error:
        raise _out_of_range(text) from error


def _find_named_days(which: str, unit: str, today: date) -> tuple[date, date]:
    if unit == "week":
        start = today - today.weekday() * DAY
        return (start, start + 7 * DAY) if which == "this" else (start - 7 * DAY, start)
    months = MONTHS[unit]
    start = find_month_start(today, months)
    shift = 0 if which == "this" else -months
    return add_months(start, shift), add_months(start, shift + months)


def _find_calendar_days(
    text: str, match: re.Match[str], find: Callable[[re.Match[str]], tuple[date, date]]
) -> tuple[date, date]:
    try:
        return find(match)
    except (ValueError, OverflowError) as error:
        raise PeriodRefused(f"the calendar has no {text!r}", fields={"period": text}) from error


def _months_from(start: date, months: int) -> tuple[date, date]:
    return start, add_months(start, months)


def _days_from(start: date, days: int) -> tuple[date, date]:
    return start, start + days * DAY


_NAMED = re.compile(r"(this|last)_(week|month|quarter|year)")
_HOURS = re.compile(r"last_([0-9]{1,6})_hours")
_CALENDAR_FORMS: tuple[tuple[str, CalendarUnit, Callable[[re.Match[str]], tuple[date, date]]], ...] = (
    (r"([0-9]{4})", "year", lambda match: _months_from(date(int(match[1]), 1, 1), 12)),
    (r"([0-9]{4})-Q([1-4])", "quarter", lambda match: _months_from(date(int(match[1]), int(match[2]) * 3 - 2, 1), 3)),
    (r"([0-9]{4})-([0-9]{2})", "month", lambda match: _months_from(date(int(match[1]), int(match[2]), 1), 1)),
    (
        r"([0-9]{4})-W([0-9]{2})",
        "week",
        lambda match: _days_from(date.fromisocalendar(int(match[1]), int(match[2]), 1), 7),
    ),
    (r"[0-9]{4}-[0-9]{2}-[0-9]{2}", "day", lambda match: _days_from(date.fromisoformat(match[0]), 1)),
)


def find_unit(expression: str) -> CalendarUnit | None:
    """Return of which calendar unit a period is one, `hour` for `last_N_hours`; None for days and explicit borders."""
    text = expression.strip()
    if text in {"today", "yesterday"}:
        return "day"
    if _HOURS.fullmatch(text):
        return "hour"
    named = _NAMED.fullmatch(text)
    if named:
        return _NAMED_UNITS[named[2]]
    return next((unit for pattern, unit, _ in _CALENDAR_FORMS if re.fullmatch(pattern, text)), None)


# --- Buckets ---------------------------------------------------------------------------------------------------------

_NAMED_UNITS: dict[str, CalendarUnit] = {
    "hour": "hour",
    "day": "day",
    "week": "week",
    "month": "month",
    "quarter": "quarter",
    "year": "year",
    "shift": "shift",
}
_ISO_CALENDAR = re.compile(r"P(?:([0-9]+)Y)?(?:([0-9]+)M)?(?:([0-9]+)W)?(?:([0-9]+)D)?")
_ISO_CLOCK = re.compile(r"PT(?:([0-9]+)H)?(?:([0-9]+)M)?(?:([0-9]+(?:\.[0-9]{1,6})?)S)?")
_SHORT = re.compile(r"([0-9]+)([smhdw])")
_SHORT_FORMS = {"s": "PT{}S", "m": "PT{}M", "h": "PT{}H", "d": "P{}D", "w": "P{}W"}


def parse_every(every: str) -> Every:
    """Return the bucket length that an expression means.

    Args:
        every: `hour`, `day`, `week`, `month`, `quarter`, `year` (on the calendar), `shift` (of a project's calendar);
            an ISO 8601 duration counted from the start of the period (P1D is a calendar day, PT24H is not); or 30s,
            5m, 1h, 1d, 1w for PT30S ... P1W.

    Raises:
        PeriodRefused: None of these, zero, or calendar and clock units mixed.
    """
    text = every.strip()
    if text in _NAMED_UNITS:
        return Every(expression=text, unit=_NAMED_UNITS[text], aligned=True)
    short = _SHORT.fullmatch(text)
    iso = _SHORT_FORMS[short[2]].format(short[1]) if short else text
    calendar = _ISO_CALENDAR.fullmatch(iso)
    if calendar and any(calendar.groups()):
        return _build_calendar_every(text, *(int(digits or 0) for digits in calendar.groups()))
    clock = _ISO_CLOCK.fullmatch(iso)
    if clock and any(clock.groups()):
        hours, minutes, seconds = (Decimal(digits or 0) for digits in clock.groups())
        duration_us = int((hours * 3600 + minutes * 60 + seconds) * 1_000_000)
        if not 0 < duration_us <= MAX_DAYS * DAY // timedelta(microseconds=1):
            raise PeriodRefused(f"a bucket cannot be {text!r} long")
        return Every(expression=text, duration_us=duration_us)
    raise PeriodRefused(
        f"{text!r} is no bucket; use hour, day, week, month, quarter, year, shift, an ISO 8601 duration such as PT15M "
        "or P1D (not both in one), or 30s, 5m, 1h, 1d, 1w",
        fields={"every": text},
    )


def _build_calendar_every(text: str, years: int, months: int, weeks: int, days: int) -> Every:
    months += 12 * years
    days += 7 * weeks
    if months and days:
        raise PeriodRefused(f"{text!r} mixes months with days; use one of them")
    number = months or days
    if not 1 <= number <= (MAX_MONTHS if months else MAX_DAYS):
        raise PeriodRefused(f"a bucket cannot be {text!r} long")
    return Every(expression=text, unit="month" if months else "day", count=number)


def bucket_edges_us(period: Period, every: str | None, *, limit: int) -> NDArray[np.int64]:
    """Return the borders of the buckets of a period: one more than there are buckets, strictly increasing. [us]

    The first and the last bucket are clipped to the period. Calendar buckets follow the period's zone: a DST day has
    23 or 25 hours, and its hours are all real.

    Args:
        period: What is cut.
        every: See `parse_every`; None is one bucket.
        limit: Most buckets; of those on the calendar CALENDAR_BUCKETS_LIMIT, whatever it is.

    Raises:
        PeriodRefused: Not a bucket length, shifts (see `shifts.find_shift_buckets`), or more buckets than the limit.
    """
    start_us, end_us = to_epoch_us(period.start), to_epoch_us(period.end)
    if every is None:
        return np.array([start_us, end_us], np.int64)
    parsed = parse_every(every)
    refuse_shifts(parsed)
    if parsed.duration_us is not None:
        buckets = -((start_us - end_us) // parsed.duration_us)
        if buckets > limit:
            raise too_many_buckets(period, parsed.expression, limit)
        return np.append(np.arange(start_us, end_us, parsed.duration_us, dtype=np.int64), end_us)
    limit = min(limit, CALENDAR_BUCKETS_LIMIT)
    refuse_hopeless(period, parsed.expression, LENGTHS[parsed.unit or "day"] * parsed.count, limit)
    edges_us = [start_us]
    for instant in _find_borders(period, parsed):
        if instant >= period.end:
            break
        if to_epoch_us(instant) > edges_us[-1]:  # a day the zone skipped has no length, and no bucket
            edges_us.append(to_epoch_us(instant))
        if len(edges_us) > limit:
            raise too_many_buckets(period, parsed.expression, limit)
    return np.array([*edges_us, end_us], np.int64)


def find_cut(period: Period, every: str | None, edges_us: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which buckets of a period its borders cut off: at most the first and the last.

    Args:
        period: What was cut.
        every: See `parse_every`; None is one bucket, as long as the period.
        edges_us: Of `bucket_edges_us`. [us]
    """
    is_cut = np.zeros(len(edges_us) - 1, np.bool_)
    if every is None:
        return is_cut
    parsed = parse_every(every)
    if parsed.duration_us is not None:
        is_cut[-1] = edges_us[-1] - edges_us[-2] < parsed.duration_us
        return is_cut
    is_cut[0] = not _is_border(period, period.start, every)
    is_cut[-1] |= not _is_border(period, period.end, every)
    return is_cut


def _is_border(period: Period, instant: datetime, every: str) -> bool:
    moment = timedelta(microseconds=1)
    around = replace(period, start=instant - moment, end=instant + moment)
    return len(bucket_edges_us(around, every, limit=3)) > len((around.start, around.end))


def refuse_shifts(every: Every) -> None:
    """Refuse buckets whose borders only a project's shift calendar knows.

    Raises:
        PeriodRefused: The bucket is `shift`.
    """
    if every.unit == "shift":
        raise PeriodRefused(
            "buckets of shifts need the project's shift calendar, which only reports look at; use hour or day here",
            fields={"every": every.expression},
        )


def refuse_hopeless(period: Period, every: str, length: timedelta, limit: int) -> None:
    """Refuse a period that has clearly more buckets than the limit, before they are looked for one by one.

    Args:
        period: What is cut.
        every: The bucket, in words.
        length: Of one bucket, about.
        limit: Most buckets.

    Raises:
        PeriodRefused: There are at least a tenth more, so that clocks and calendar make no difference.
    """
    if (period.end - period.start) / length > 1.1 * limit + 1:
        raise too_many_buckets(period, every, limit)


def too_many_buckets(period: Period, every: str, limit: int) -> PeriodRefused:
    """Return the refusal of a period that would have more buckets than the limit."""
    return PeriodRefused(
        f"{period.expression!r} in buckets of {every!r} is more than {limit} buckets; use longer ones",
        fields={"every": every, "limit": limit},
    )


def _find_borders(period: Period, every: Every) -> Iterator[datetime]:
    """Yield the bucket borders from the period's start on, without end."""
    zone = find_zone(period.timezone)
    if every.unit == "hour":
        return _find_hours(period.start, zone)
    local = period.start.astimezone(zone)
    if every.aligned:
        return (find_midnight(day, zone) for day in _find_aligned_days(local.date(), every.unit))
    return (_find_wall_time(day, local, zone) for day in _find_counted_days(local.date(), every))


def _find_hours(start: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    """Yield the instants at which local clocks show a full hour, each hour that really passes."""
    instant = start
    while True:
        before = instant
        instant += HOUR - _into_hour(instant, zone)
        while into_hour := _into_hour(instant, zone):  # clocks moved by half an hour in between
            earlier = instant - into_hour  # they may have moved to a full hour (Caracas 2016: 02:30 to 03:00)
            is_full = earlier > before and not _into_hour(earlier, zone)
            instant = earlier if is_full else instant + HOUR - into_hour
        yield instant


def _into_hour(instant: datetime, zone: ZoneInfo) -> timedelta:
    """Return how long ago local clocks showed a full hour, if they were not moved since."""
    local = instant.astimezone(zone)
    return timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)


def _find_aligned_days(day: date, unit: CalendarUnit | None) -> Iterator[date]:
    if unit == "day":
        return (day + n * DAY for n in count())
    if unit == "week":
        monday = day - day.weekday() * DAY
        return (monday + n * 7 * DAY for n in count())
    months = MONTHS[unit or "month"]
    start = find_month_start(day, months)
    return (add_months(start, n * months) for n in count())


def _find_counted_days(day: date, every: Every) -> Iterator[date]:
    """Yield days counted from the first one, so that month ends do not drift (31 January, 28 February, 31 March)."""
    if every.unit == "day":
        return (day + n * every.count * DAY for n in count())
    return (add_months(day, n * every.count) for n in count())


def _find_wall_time(day: date, local: datetime, zone: ZoneInfo) -> datetime:
    """Return the instant at which clocks show the start's time of day on another day."""
    if local.time() == time():
        return find_midnight(day, zone)
    return datetime.combine(day, local.time().replace(fold=0), zone).astimezone(UTC)
