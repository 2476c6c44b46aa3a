"""Which rows a question is about."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def to_epoch_us(instant: datetime) -> int:
    """Return an aware instant as whole microseconds since 1970-01-01T00:00Z. [us]"""
    return (instant - EPOCH) // MICROSECOND


def from_epoch_us(epoch_us: int) -> datetime:
    """Return the UTC instant of whole microseconds since 1970-01-01T00:00Z."""
    return EPOCH + timedelta(microseconds=epoch_us)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Rows of one project: named components and metrics (None: all) in the half-open time range [start, end).

    Args:
        project: Slug of the one project.
        components: Names; None means every component, an empty tuple none.
        metrics: Metric names (for events: kinds); None means all.
        start: First instant, inclusive; None is the beginning.
        end: Exclusive end; None is open.
        as_of: Only rows with `received_at` up to this instant; None is all that is acknowledged.
        received_after: Only rows with `received_at` later than this instant.
    """

    project: str
    components: tuple[str, ...] | None = None
    metrics: tuple[str, ...] | None = None
    start: datetime | None = None
    end: datetime | None = None
    as_of: datetime | None = None
    received_after: datetime | None = None
