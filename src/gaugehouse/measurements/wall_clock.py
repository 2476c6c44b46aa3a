"""Wall clocks: time zones, the instants at which their clocks show a local time, and days of the calendar."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gaugehouse.errors import PeriodRefused

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)

# Names that mean something else on another machine: a report must not depend on where it is computed.
MACHINE_ZONES = frozenset({"localtime", "posixrules", "Factory", "leapseconds"})


def find_zone(timezone: str) -> ZoneInfo:
    """Return the IANA zone of this name.

    Raises:
        PeriodRefused: No zone has this name.
    """
    unknown = PeriodRefused(
        f"no time zone is called {timezone!r}; use an IANA name such as Europe/Berlin or UTC",
        fields={"timezone": timezone},
    )
    if timezone in MACHINE_ZONES or timezone.startswith(("right/", "posix/")):
        raise unknown
    try:
        return ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # OSError: a folder of zones such as `Europe`
        raise unknown from error


def find_wall_instant(local: datetime, zone: ZoneInfo) -> datetime:
    """Return the first instant at which clocks show this local time or a later one.

    A time that clocks skip is reached at their jump; of a time that they show twice the first counts. So a later local
    time is never reached earlier, and what follows one another on the wall clock does so in instants.

    Args:
        local: Naive local time.
        zone: Whose clocks.
    """
    instant = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    # A skipped time maps behind the jump, by as much as it lies behind the skipped part's beginning: go back.
    ahead = _show(instant, zone) - local
    before = instant - ahead
    while instant - before > SECOND:
        middle = before + (instant - before) / 2
        before, instant = (before, middle) if _show(middle, zone) >= local else (middle, instant)
    return instant.replace(microsecond=0) if ahead else instant  # clocks are moved at full seconds


def find_midnight(day: date, zone: ZoneInfo) -> datetime:
    """Return the instant a local day begins: midnight, or the moment the clocks skip over midnight."""
    return find_wall_instant(datetime.combine(day, time()), zone)


def find_month_start(day: date, months: int) -> date:
    """Return the first day of the month, quarter (3) or year (12) that the day lies in."""
    return day.replace(month=(day.month - 1) // months * months + 1, day=1)


def add_months(day: date, months: int) -> date:
    """Return the day so many months later; the last of the month where it has no such day (31 January -> 28)."""
    index = day.year * 12 + day.month - 1 + months
    year, month = divmod(index, 12)
    following = date(year + (month + 1) // 12, (month + 1) % 12 + 1, 1)
    return date(year, month + 1, min(day.day, (following - DAY).day))


def _show(instant: datetime, zone: ZoneInfo) -> datetime:
    """Return what the clocks of a zone show, naive."""
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)
