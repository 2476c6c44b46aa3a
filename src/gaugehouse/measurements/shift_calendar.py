"""Shift calendars: which shifts a plant works, on which days, in its own time zone; read from JSON and checked."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time, timedelta
from itertools import combinations
from typing import Any

from gaugehouse.errors import PeriodRefused, Refused
from gaugehouse.measurements.names import find_name_problem
from gaugehouse.measurements.period import parse_every
from gaugehouse.measurements.wall_clock import find_zone

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MAX_SHIFTS = 100
MAX_HOLIDAYS = 1000  # a pin holds the whole calendar
MAX_SHOWN_CHARACTERS = 64  # of what was sent and is wrong
MINUTE_US = 60_000_000
HOUR_MIN = 60
DAY_MIN = 24 * HOUR_MIN

_TIME_OF_DAY = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
_DATE = re.compile(r"(19[7-9][0-9]|[2-8][0-9]{3})-[0-9]{2}-[0-9]{2}")  # the years that periods may lie in
_CALENDAR_FIELDS = frozenset({"timezone", "shifts", "holidays"})
_SHIFT_FIELDS = frozenset({"name", "start", "duration", "days", "valid_from", "valid_until"})
_HOLIDAY_FIELDS = frozenset({"day", "name"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """A span of the wall clock that is worked on some days of the week.

    Args:
        name: What people call it; several shifts may share it on different days.
        start: When it begins, in the calendar's zone.
        duration_min: From its start to its end on the wall clock, up to 24 hours. [min]
        days: Days of the week it starts on, 0 is Monday.
        valid_from: The first day it may start on; None is always.
        valid_until: The last one; None is for ever.
    """

    name: str
    start: time
    duration_min: int
    days: frozenset[int]
    valid_from: date | None = None
    valid_until: date | None = None

    @property
    def start_min(self) -> int:
        """From midnight to its start on the wall clock. [min]"""
        return self.start.hour * HOUR_MIN + self.start.minute

    def starts_on(self, day: date) -> bool:
        """Say whether it starts on this day, holidays apart."""
        is_begun = self.valid_from is None or self.valid_from <= day
        return day.weekday() in self.days and is_begun and (self.valid_until is None or day <= self.valid_until)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holiday:
    """A day on which no shift starts; one that started the day before still ends on it."""

    day: date
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftCalendar:
    """The shifts of a project; no two of them ever overlap on the wall clock.

    Args:
        timezone: IANA zone whose clocks hang in the plant.
        shifts: At least one.
        holidays: By day.
    """

    timezone: str
    shifts: tuple[Shift, ...]
    holidays: tuple[Holiday, ...] = ()


def read_shift_calendar(content: object) -> ShiftCalendar:
    """Return the calendar that JSON describes, checked.

    Args:
        content: `{"timezone": "Europe/Berlin", "shifts": [{"name": "night", "start": "22:00", "duration": "PT8H",
            "days": ["mon", "tue"], "valid_from": "2026-11-01", "valid_until": null}], "holidays": [{"day":
            "2026-12-25", "name": "Christmas Day"}]}`; validity and holidays may be left out.

    Raises:
        Refused: The first thing that cannot be, by its field: an unknown zone or field, a start that is no time of
            day, more than 24 hours, shifts that overlap or share a name on one day.
    """
    fields = _read_object(content, "", _CALENDAR_FIELDS)
    timezone = _read_text(fields, "", "timezone")
    try:
        find_zone(timezone)
    except PeriodRefused as unknown:
        raise _refused("timezone", unknown.message) from unknown
    shifts = tuple(_read_shift(one, f"shifts.{n}.") for n, one in enumerate(_read_list(fields, "shifts", MAX_SHIFTS)))
    if not shifts:
        raise _refused("shifts", "name at least one shift")
    holidays = [_read_holiday(one, n) for n, one in enumerate(_read_list(fields, "holidays", MAX_HOLIDAYS))]
    if len({one.day for one in holidays}) < len(holidays):
        raise _refused("holidays", "a day is named twice")
    _refuse_overlaps(shifts)
    return ShiftCalendar(
        timezone=timezone, shifts=shifts, holidays=tuple(sorted(holidays, key=lambda holiday: holiday.day))
    )


def encode_shift_calendar(calendar: ShiftCalendar) -> dict[str, Any]:
    """Return the JSON that `read_shift_calendar` reads, in its one canonical form."""
    return {
        "timezone": calendar.timezone,
        "shifts": [
            {
                "name": shift.name,
                "start": f"{shift.start:%H:%M}",
                "duration": _encode_duration(shift.duration_min),
                "days": [WEEKDAYS[day] for day in sorted(shift.days)],
                "valid_from": None if shift.valid_from is None else shift.valid_from.isoformat(),
                "valid_until": None if shift.valid_until is None else shift.valid_until.isoformat(),
            }
            for shift in calendar.shifts
        ],
        "holidays": [{"day": holiday.day.isoformat(), "name": holiday.name} for holiday in calendar.holidays],
    }


def decode_shift_calendar(encoded: Mapping[str, Any]) -> ShiftCalendar:
    """Return the calendar that `encode_shift_calendar` wrote: it was checked then, by the rules of then."""
    return ShiftCalendar(
        timezone=encoded["timezone"],
        shifts=tuple(
            Shift(
                name=shift["name"],
                start=time.fromisoformat(shift["start"]),
                duration_min=_find_minutes(shift["duration"]),
                days=frozenset(WEEKDAYS.index(day) for day in shift["days"]),
                valid_from=None if shift["valid_from"] is None else date.fromisoformat(shift["valid_from"]),
                valid_until=None if shift["valid_until"] is None else date.fromisoformat(shift["valid_until"]),
            )
            for shift in encoded["shifts"]
        ),
        holidays=tuple(
            Holiday(day=date.fromisoformat(holiday["day"]), name=holiday["name"]) for holiday in encoded["holidays"]
        ),
    )


# --- Reading ---------------------------------------------------------------------------------------------------------


def _refused(field: str, reason: str) -> Refused:
    return Refused(
        f"the shift calendar cannot be used: {field or 'it'}: {reason}",
        code="shift_calendar_refused",
        fields={"errors": [{"field": field, "reason": reason}]},
    )


def _show(value: object) -> str:
    return repr(str(value)[:MAX_SHOWN_CHARACTERS])


def _read_object(content: object, where: str, known: frozenset[str]) -> Mapping[str, object]:
    if not isinstance(content, Mapping):
        raise _refused(where.rstrip("."), "is not a JSON object")
    unknown = sorted(str(name)[:MAX_SHOWN_CHARACTERS] for name in content if name not in known)
    if unknown:
        raise _refused(f"{where}{unknown[0]}", f"is not a field; there are {', '.join(sorted(known))}")
    return content


def _read_list(fields: Mapping[str, object], name: str, limit: int) -> Sequence[object]:
    value = fields.get(name) or []
    if not isinstance(value, list | tuple):
        raise _refused(name, "is not a list")
    if len(value) > limit:
        raise _refused(name, f"are {len(value):,}, at most {limit:,} are allowed")
    return value


def _read_text(fields: Mapping[str, object], where: str, name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise _refused(f"{where}{name}", "is missing" if value is None else "is not text")
    return value


def _read_shift(content: object, where: str) -> Shift:
    fields = _read_object(content, where, _SHIFT_FIELDS)
    name = _read_text(fields, where, "name")
    problem = find_name_problem(name)
    if problem is not None:
        raise _refused(f"{where}name", problem)
    start = _read_text(fields, where, "start")
    if not _TIME_OF_DAY.fullmatch(start):
        raise _refused(f"{where}start", f"{_show(start)} is no time of day; write 06:00 or 22:30")
    valid_from, valid_until = (_read_day(fields, where, name) for name in ("valid_from", "valid_until"))
    if valid_from is not None and valid_until is not None and valid_from > valid_until:
        raise _refused(f"{where}valid_until", "lies before valid_from")
    return Shift(
        name=name,
        start=time.fromisoformat(start),
        duration_min=_read_duration(fields, where),
        days=_read_weekdays(fields, where),
        valid_from=valid_from,
        valid_until=valid_until,
    )


def _read_duration(fields: Mapping[str, object], where: str) -> int:
    text = _read_text(fields, where, "duration")
    try:
        duration_us = parse_every(text).duration_us if len(text) <= MAX_SHOWN_CHARACTERS else None
    except PeriodRefused:
        duration_us = None
    if duration_us is None or duration_us % MINUTE_US:
        raise _refused(
            f"{where}duration",
            f"{_show(text)} is no length in whole minutes; write PT8H, PT7H30M or 8h",
        )
    if duration_us > DAY_MIN * MINUTE_US:
        raise _refused(f"{where}duration", f"{_show(text)} is more than 24 hours; a shift starts anew each day")
    return duration_us // MINUTE_US


def _read_weekdays(fields: Mapping[str, object], where: str) -> frozenset[int]:
    value = fields.get("days")
    if not isinstance(value, list | tuple) or not value or any(day not in WEEKDAYS for day in value):
        raise _refused(f"{where}days", f"is not a list of days of the week; write {', '.join(WEEKDAYS)}")
    if len(set(value)) < len(value):
        raise _refused(f"{where}days", "names a day twice")
    return frozenset(WEEKDAYS.index(str(day)) for day in value)


def _read_day(fields: Mapping[str, object], where: str, name: str) -> date | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, str) and _DATE.fullmatch(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise _refused(f"{where}{name}", f"{_show(value)} is no day from 1970 to 8999; write 2026-12-25")


def _read_holiday(content: object, number: int) -> Holiday:
    where = f"holidays.{number}."
    fields = _read_object(content, where, _HOLIDAY_FIELDS)
    day = _read_day(fields, where, "day")
    if day is None:
        raise _refused(f"{where}day", "is missing")
    name = fields.get("name") or ""
    problem = find_name_problem(name) if isinstance(name, str) and name else None
    if not isinstance(name, str) or problem is not None:
        raise _refused(f"{where}name", problem or "is not text")
    return Holiday(day=day, name=name)


def _find_minutes(duration: str) -> int:
    return (parse_every(duration).duration_us or 0) // MINUTE_US


def _encode_duration(duration_min: int) -> str:
    hours, minutes = divmod(duration_min, HOUR_MIN)
    return "PT" + (f"{hours}H" if hours else "") + (f"{minutes}M" if minutes else "")


# --- No two at a time ------------------------------------------------------------------------------------------------


def _refuse_overlaps(shifts: Sequence[Shift]) -> None:
    """Refuse shifts that overlap, or share a name on one day: then nobody could say which one is meant."""
    for (number, one), (_, other) in combinations(enumerate(shifts), 2):
        day = _find_shared_day(one, other, 0)
        if day is not None and one.name == other.name:
            raise _refused(f"shifts.{number}.name", f"two shifts called {one.name!r} start on a {day:%A}")
        for days_later in (-1, 0, 1):  # no shift reaches further
            ahead_min = other.start_min + days_later * DAY_MIN - one.start_min
            day = _find_shared_day(one, other, days_later)
            if day is not None and -other.duration_min < ahead_min < one.duration_min:
                begun = day + timedelta(days=days_later) if ahead_min > 0 else day
                raise _refused(f"shifts.{number}", f"{one.name!r} and {other.name!r} overlap on a {begun:%A}")


def _find_shared_day(one: Shift, other: Shift, days_later: int) -> date | None:
    """Return a day on which `one` starts, while `other` starts so many days later; None if there never is one."""
    later = timedelta(days=days_later)
    firsts = [one.valid_from, None if other.valid_from is None else other.valid_from - later]
    lasts = [one.valid_until, None if other.valid_until is None else other.valid_until - later]
    last = min((day for day in lasts if day is not None), default=None)
    first = max((day for day in firsts if day is not None), default=None)
    day = first or (date(2000, 1, 1) if last is None else last - timedelta(days=6))  # any week is like the next
    for candidate in (day + timedelta(days=n) for n in range(7)):
        if last is not None and candidate > last:
            break
        if candidate.weekday() in one.days and (candidate + later).weekday() in other.days:
            return candidate
    return None
