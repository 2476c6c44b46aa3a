"""Instants and periods as people read them, in the report's zone; every ambiguous one with its offset.

English month names are ours: `strftime` would follow the locale of the machine.
"""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from gaugehouse.measurements.period import Period
from gaugehouse.reports.render.quantities import FIXED

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
LONG_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
HOUR = timedelta(hours=1)


def format_offset(local: datetime) -> str:
    """Return the distance to UTC as `+02:00`; a zone that had seconds in it shows them.

    >>> format_offset(datetime(2026, 11, 1, tzinfo=UTC))
    '+00:00'
    """
    return local.isoformat()[-6:] if local.utcoffset() is not None else ""


def format_instant(instant: datetime | None, zone: ZoneInfo) -> str:
    """Return a local time with its offset, to the second where it has seconds.

    >>> format_instant(datetime(2026, 10, 25, 0, 30, tzinfo=UTC), ZoneInfo("Europe/Berlin")).replace(FIXED, " ")
    '25 Oct 2026, 02:30 +02:00'
    """
    if instant is None:
        return "–"
    local = instant.astimezone(zone)
    return f"{_format_day(local)}, {format_clock(local)}{FIXED}{format_offset(local)}"


def format_exact(instant: datetime | None) -> str:
    """Return an instant as evidence needs it: UTC, with every digit that it has."""
    return "–" if instant is None else instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def format_clock(local: datetime) -> str:
    """Return the time of day, with seconds only where there are some."""
    return f"{local:%H:%M:%S}" if local.second else f"{local:%H:%M}"


def _format_day(local: datetime) -> str:
    return f"{local.day}{FIXED}{MONTHS[local.month - 1]}{FIXED}{local.year}"


def format_period(period: Period, zone: ZoneInfo) -> str:
    """Return a period as days where it is made of days, the last day included; else its two instants.

    >>> berlin = ZoneInfo("Europe/Berlin")
    >>> start, end = datetime(2026, 10, 18, 22, tzinfo=UTC), datetime(2026, 11, 8, 23, tzinfo=UTC)
    >>> format_period(Period(start=start, end=end, timezone="Europe/Berlin", expression=""), berlin)
    '19 October – 8 November 2026'
    """
    first, end = period.start.astimezone(zone), period.end.astimezone(zone)
    if first.time() != time() or end.time() != time():
        if (first.date(), first.utcoffset()) == (end.date(), end.utcoffset()):
            return f"{_format_day(first)}, {format_clock(first)} – {format_clock(end)}{FIXED}{format_offset(end)}"
        return f"{format_instant(period.start, zone)} – {format_instant(period.end, zone)}"
    last = (period.end - timedelta(microseconds=1)).astimezone(zone)
    last_day = f"{last.day} {LONG_MONTHS[last.month - 1]} {last.year}"
    if first.date() == last.date():
        return last_day
    first_day = f"{first.day}"
    if (first.year, first.month) != (last.year, last.month):
        first_day += f" {LONG_MONTHS[first.month - 1]}"
    if first.year != last.year:
        first_day += f" {first.year}"
    return f"{first_day} – {last_day}"


def describe_period(period: Period, zone: ZoneInfo) -> str:
    """Return the exact bounds and the real length of a period, and that clocks changed in it."""
    hours = (period.end - period.start) / HOUR
    start, end = format_instant(period.start, zone), format_instant(period.end, zone)
    length = f"{hours:,.0f} h" if hours == round(hours) else f"{hours:,.2f} h"
    moved = period.end.astimezone(zone).utcoffset() != period.start.astimezone(zone).utcoffset()
    clocks = "; clocks change within it" if moved else ""
    return f"from {start} until before {end} ({zone.key}), {length}{clocks}"
