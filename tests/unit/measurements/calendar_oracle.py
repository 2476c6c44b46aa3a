"""The calendar again, slow and obvious: instants are looked for one by one, days are picked out of a long list."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

from gaugehouse.errors import PeriodRefused
from gaugehouse.measurements.period import find_zone

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
FURTHEST_EAST = timedelta(hours=15)  # no clock is further ahead of UTC


def is_zone(name: str) -> bool:
    try:
        find_zone(name)
    except PeriodRefused:
        return False
    return True


ZONES = sorted(filter(is_zone, available_timezones()))


def clock(instant: datetime, zone: str) -> datetime:
    """Return what the clocks of a zone show."""
    return instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0)


def first_instant(local: datetime, zone: str) -> datetime:
    """Return the first minute at which clocks show this local time, a whole minute, or a later one."""
    instant = local.replace(tzinfo=UTC) - FURTHEST_EAST
    while clock(instant, zone) < local:
        instant += MINUTE
    return instant


def day_begins(day: date, zone: str) -> datetime:
    return first_instant(datetime(day.year, day.month, day.day), zone)  # noqa: DTZ001 - local on purpose


def quarter(day: date) -> tuple[int, int]:
    return day.year, (day.month - 1) // 3 + 1


def month(day: date) -> tuple[int, int]:
    return day.year, day.month


def week(day: date) -> tuple[int, int]:
    return day.isocalendar()[:2]


def year(day: date) -> int:
    return day.year


def itself(day: date) -> date:
    return day


KEYS: dict[str, Callable[[date], object]] = {
    "day": itself,
    "week": week,
    "month": month,
    "quarter": quarter,
    "year": year,
}
FORMS = {
    "day": lambda day: day.isoformat(),
    "week": lambda day: "{:04}-W{:02}".format(*week(day)),
    "month": lambda day: "{:04}-{:02}".format(*month(day)),
    "quarter": lambda day: "{:04}-Q{}".format(*quarter(day)),
    "year": lambda day: f"{day.year:04}",
}


def days_around(day: date) -> list[date]:
    """Return every day from two years before to two years behind."""
    return [day + n * DAY for n in range(-800, 801)]


def unit_of(day: date, unit: str) -> list[date]:
    """Return the days of the unit that a day lies in."""
    return [one for one in days_around(day) if KEYS[unit](one) == KEYS[unit](day)]


def unit_before(day: date, unit: str) -> list[date]:
    """Return the days of the unit before the one that a day lies in."""
    return unit_of(unit_of(day, unit)[0] - DAY, unit)


def days_of(expression: str, today: date) -> list[date]:
    """Return the days that a relative expression means."""
    if expression == "today":
        return [today]
    if expression == "yesterday":
        return [today - DAY]
    which, what, *rest = expression.split("_")
    if rest == ["days"]:
        return [today - n * DAY for n in range(int(what), 0, -1)]
    return unit_of(today, what) if which == "this" else unit_before(today, what)


def bounds(days: list[date], zone: str) -> tuple[datetime, datetime]:
    return day_begins(days[0], zone), day_begins(days[-1] + DAY, zone)
