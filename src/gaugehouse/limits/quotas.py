"""What a project's admin or the operator allows it: requests by time (a pace), things kept or done (a quota)."""

from collections.abc import Sequence
from dataclasses import dataclass

from gaugehouse.errors import MAX_ROWS_NAMED, Refused

US_PER_S = 1_000_000
DAY_US = 86_400 * US_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast each caller of a project may ask; None is what the service's settings say.

    Args:
        writes_per_minute: Deliveries of one key or user. [1/min]
        write_bytes_per_s: Their bodies on the wire. [bytes/s]
        reads_per_minute: Every other request of one key or user. [1/min]
        reports_per_minute: Reports asked for by one user or key. [1/min]
    """

    writes_per_minute: int | None = None
    write_bytes_per_s: int | None = None
    reads_per_minute: int | None = None
    reports_per_minute: int | None = None


STANDARD_PACE = Pace()


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """How much a project may keep and bring; None is no bound of its own.

    Args:
        series: Most distinct series per table.
        rows_per_day: Most new rows on one UTC day, by the instant they were received.
    """

    series: int | None = None
    rows_per_day: int | None = None


NO_QUOTA = Quota()


def strictest(quotas: Sequence[Quota]) -> Quota:
    """Return the least of each bound among quotas."""
    return Quota(
        series=min((one.series for one in quotas if one.series is not None), default=None),
        rows_per_day=min((one.rows_per_day for one in quotas if one.rows_per_day is not None), default=None),
    )


def refuse_series(limit: int, names: Sequence[str]) -> Refused:
    """Return the refusal of rows that would begin more series than their project may hold; the first are named."""
    named = ", ".join(repr(name) for name in names[:3])
    return Refused(
        f"a project holds at most {limit:,} series, and this request would begin more, such as {named}: nothing of it "
        "was stored; rows of known series are taken",
        code="series_limit",
        fields={"limit": limit, "new": list(names[:MAX_ROWS_NAMED])},
    )


def day_of_us(instant_us: int) -> int:
    """Return the UTC day of an instant, counted from 1970-01-01. [d]"""
    return instant_us // DAY_US


def seconds_to_next_day(instant_us: int) -> int:
    """Return the whole seconds until the next UTC midnight, at least one. [s]"""
    return -(-(DAY_US - instant_us % DAY_US) // US_PER_S)
