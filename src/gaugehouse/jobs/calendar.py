"""Recurrences: when something is to run, by the clocks of a time zone. Pure: no database, no clock of its own.

A wall time is read the same way on every day of the year: it means *the first instant at which the zone's clocks show
it or anything later*.

- Where clocks are set forward over it, that is the instant of the jump: 02:30 of a night without 02:30 is 03:00.
- Where clocks are set back and it comes twice, that is the first time only.
- Where a zone left out a whole day (Apia, 30 December 2011), it is the beginning of the next one.

Hours are counted as they pass, not as they are called: `hourly at :15` runs whenever the clocks show a quarter past, so
twice in an hour that is repeated, and not for one that is left out.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import count, islice
from zoneinfo import ZoneInfo

from gaugehouse.errors import Refused
from gaugehouse.measurements.period import find_zone

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
HOURS_AHEAD = 3  # no zone changes its clocks twice within so many hours: one of them is a whole one
MAX_TEXT_CHARS = 200

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
EVERY_DAY = frozenset(range(7))
WORKING_DAYS = frozenset(range(5))
ORDINALS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "last": -1}
UNIT_MONTHS = {"month": 1, "quarter": 3, "year": 12}

_NAMES = "|".join(WEEKDAYS)
_CLOCK = r"(?:at )?(?P<hour>[01]?[0-9]|2[0-3]):(?P<minute>[0-5][0-9])"
_ZONE = r"(?: (?P<zone>\S+))?"
_FORMS = tuple(
    re.compile(form + _ZONE, re.IGNORECASE)
    for form in (
        r"(?:hourly|every hour) at :(?P<minute>[0-5][0-9])",
        rf"every (?P<unit>{'|'.join(UNIT_MONTHS)}) {_CLOCK}",
        rf"every (?P<days>day|weekday|(?:{_NAMES})(?:(?:, | and |, and )(?:{_NAMES}))*) {_CLOCK}",
        (
            rf"(?:the )?(?P<ordinal>{'|'.join(ORDINALS)}) (?P<days>day|weekday|{_NAMES})"
            rf" of (?:the |each |every )?(?P<unit>{'|'.join(UNIT_MONTHS)}) {_CLOCK}"
        ),
    )
)
EXAMPLES = (
    "every day 06:00, every weekday 06:00, every Monday 06:00, every Monday, Thursday 06:00, every quarter 06:00, "
    "first day of month 06:00, first Monday of month 06:00, last weekday of month 18:00, hourly at :15, each with a "
    "zone such as Europe/Berlin behind it"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recurrence:
    """A rule for instants that repeat. Made by `parse_recurrence`.

    Args:
        text: The rule in its one spelling, without the zone.
        timezone: IANA zone whose clocks count.
        minute: Of the hour.
        hour: Of the day; None is every hour.
        weekdays: The days that count, 0 is Monday.
        months: 0: each of these days. 1, 3, 12: one of them in each month, quarter, year.
        ordinal: Which one: 1 to 4 from the front, -1 the last.
    """

    text: str
    timezone: str
    minute: int
    hour: int | None = None
    weekdays: frozenset[int] = EVERY_DAY
    months: int = 0
    ordinal: int = 1

    def next_after(self, instant: datetime) -> datetime:
        """Return the first fire time after an instant, in UTC.

        Args:
            instant: Aware.
        """
        zone = find_zone(self.timezone)
        after = instant.astimezone(UTC)
        if self.hour is None:
            return _find_next_hourly(after, zone, self.minute)
        # No earlier day can do: once the clocks show a later date, each of its wall times has been shown or passed.
        days = self._find_days(after.astimezone(zone).date())
        walls = (datetime.combine(day, time(self.hour, self.minute)) for day in days)
        return next(at for wall in walls if (at := find_instant(wall, zone)) > after)

    def times_after(self, instant: datetime, *, count: int) -> list[datetime]:
        """Return the next so many fire times after an instant, in UTC."""
        return list(islice(self._times_after(instant), count))

    def _times_after(self, instant: datetime) -> Iterator[datetime]:
        while True:
            instant = self.next_after(instant)
            yield instant

    def _find_days(self, first: date) -> Iterator[date]:
        """Yield the days of this rule in order, from the day or block of months that `first` lies in."""
        if not self.months:
            yield from (day for n in count() if (day := first + n * DAY).weekday() in self.weekdays)
        start = _find_block(first, self.months)
        while True:
            following = _add_months(start, self.months)
            yield self._pick_day(start, following)
            start = following

    def _pick_day(self, start: date, end: date) -> date:
        """Return the day of the block [start, end): each has at least four of every weekday."""
        day, step = (start, DAY) if self.ordinal > 0 else (end - DAY, -DAY)
        to_pass = abs(self.ordinal) - 1
        while day.weekday() not in self.weekdays or to_pass:
            to_pass -= day.weekday() in self.weekdays
            day += step
        return day


def parse_recurrence(text: str, *, timezone: str | None = None, default_timezone: str | None = None) -> Recurrence:
    """Return the rule that a text means; case and spaces do not matter, but in the zone's name.

    Args:
        text: One of EXAMPLES.
        timezone: IANA zone; the text may name none, or this one.
        default_timezone: IANA zone where neither names one.

    Raises:
        Refused: Not one of these, no zone, or two.
        PeriodRefused: No zone is called so.
    """
    plain = " ".join(text.split())
    match = next((found for form in _FORMS if (found := form.fullmatch(plain))), None)
    if match is None or len(plain) > MAX_TEXT_CHARS:
        raise _refuse(f"{plain[:MAX_TEXT_CHARS]!r} is no recurrence; write {EXAMPLES}", plain)
    said = match.groupdict()
    if said["zone"] and timezone and said["zone"] != timezone:
        raise _refuse(f"{plain!r} is in {said['zone']}, but {timezone} was asked for; name one time zone", plain)
    zone = said["zone"] or timezone or default_timezone
    if not zone:
        raise _refuse(f"{plain!r} names no time zone; put one behind it, such as Europe/Berlin or UTC", plain)
    find_zone(zone)
    return _build(said, zone)


def _refuse(message: str, plain: str) -> Refused:
    return Refused(message, code="recurrence_refused", fields={"recurrence": plain[:MAX_TEXT_CHARS]})


def _build(said: dict[str, str | None], timezone: str) -> Recurrence:
    minute = int(said["minute"] or 0)
    if said.get("hour") is None:
        return Recurrence(text=f"hourly at :{minute:02}", timezone=timezone, minute=minute)
    hour = int(said["hour"] or 0)
    weekdays = _read_days(said.get("days") or "day")
    unit, ordinal = (said.get("unit") or "").lower(), (said.get("ordinal") or "first").lower()
    days = _write_days(weekdays)
    rule = f"{ordinal} {days} of {unit}" if unit else f"every {days}"
    return Recurrence(
        text=f"{rule} {hour:02}:{minute:02}",
        timezone=timezone,
        minute=minute,
        hour=hour,
        weekdays=weekdays,
        months=UNIT_MONTHS.get(unit, 0),
        ordinal=ORDINALS[ordinal],
    )


def _read_days(text: str) -> frozenset[int]:
    if text.lower() in {"day", "weekday"}:
        return EVERY_DAY if text.lower() == "day" else WORKING_DAYS
    named = re.findall(_NAMES, text, re.IGNORECASE)
    return frozenset(WEEKDAYS.index(name.capitalize()) for name in named)


def _write_days(weekdays: frozenset[int]) -> str:
    if weekdays == EVERY_DAY:
        return "day"
    return "weekday" if weekdays == WORKING_DAYS else ", ".join(WEEKDAYS[day] for day in sorted(weekdays))


def find_instant(wall: datetime, zone: ZoneInfo) -> datetime:
    """Return the first instant at which a zone's clocks show a wall time or anything later, in UTC.

    Args:
        wall: Naive, whole seconds.
        zone: Whose clocks.
    """
    first = wall.replace(tzinfo=zone).astimezone(UTC)  # fold=0: the first of two
    if _show(first, zone) == wall:
        return first
    # Left out: read by the offset behind the jump it lies before the jump, by the one before the jump behind it.
    before = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    while first - before > SECOND:
        middle = before + (first - before) // SECOND // 2 * SECOND
        before, first = (before, middle) if _show(middle, zone) >= wall else (middle, first)
    return first


def _show(instant: datetime, zone: ZoneInfo) -> datetime:
    """Return what the clocks show, without a zone."""
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


def _find_next_hourly(after: datetime, zone: ZoneInfo, minute: int) -> datetime:
    offsets = {(after + hours * HOUR).astimezone(zone).utcoffset() for hours in range(HOURS_AHEAD + 1)}
    found = []
    for offset in offsets:
        assert offset is not None  # noqa: S101 - a zone's; narrows the type
        local = after + offset
        first = local.replace(minute=minute, second=0, microsecond=0) - offset
        found += [first + hours * HOUR for hours in range(HOURS_AHEAD + 1)]
    shown = ((at, _show(at, zone)) for at in sorted(found) if at > after)
    return next(at for at, wall in shown if (wall.minute, wall.second) == (minute, 0))


def _find_block(day: date, months: int) -> date:
    return day.replace(month=(day.month - 1) // months * months + 1, day=1)


def _add_months(start: date, months: int) -> date:
    years, month = divmod(start.month - 1 + months, 12)
    return date(start.year + years, month + 1, 1)
