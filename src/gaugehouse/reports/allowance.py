"""What one question may cost: refused before work starts, with the number, the limit and what to narrow."""

from dataclasses import dataclass

from gaugehouse.config import Settings
from gaugehouse.errors import TooLarge
from gaugehouse.kpi import kernel
from gaugehouse.lake import Snapshot
from gaugehouse.reports.compute import count_rows_to_read
from gaugehouse.reports.pin import Pin

MEBIBYTE = 1024 * 1024
# Facts of one series in one bucket. Groups need those of all series at once, other reports of one portion only.
FACTS_BYTES = sum(
    record.itemsize
    for record in (
        kernel.SPANS,
        kernel.POINTS,
        kernel.STEPS,
        kernel.SUBGROUPS,
        kernel.HOLDS,
        kernel.COUNTERS,
        kernel.STATES,
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """Limits of one question beside its number of values.

    Args:
        rows: Most measurements that have to be read, by what the files say of themselves.
        grouped_bytes: Most memory for the facts that groups are made of; once more as much is needed to join them.
            [bytes]
        waiting: Most reports of the project that wait.
    """

    rows: int = 500_000_000
    grouped_bytes: int = 256 * MEBIBYTE
    waiting: int = 200

    @classmethod
    def from_settings(cls, settings: Settings) -> "Allowance":
        """Return what the settings say."""
        return cls(rows=settings.report_max_rows, waiting=settings.report_jobs_waiting)


def check_allowance(pin: Pin, snapshot: Snapshot | None, allowance: Allowance) -> None:
    """Refuse a question that reads too much, or holds too much in memory.

    Args:
        pin: The question.
        snapshot: What the lake shows now.
        allowance: What it may cost.

    Raises:
        TooLarge: The numbers are named.
    """
    _check_groups(pin, allowance.grouped_bytes)
    rows = count_rows_to_read(snapshot, pin, enough=allowance.rows)
    if rows > allowance.rows:
        raise TooLarge(
            f"the report would read up to {rows:,} measurements (counted by the files and row groups they are in); the "
            f"limit is {allowance.rows:,}: choose a shorter period, fewer components or metrics, or no comparison",
            code="report_reads_too_much",
            fields={"rows": rows, "limit": allowance.rows},
        )


def _check_groups(pin: Pin, limit_bytes: int) -> None:
    if pin.group_by is None:
        return
    series, buckets = len(pin.every_series), max(len(pin.edges_us), len(pin.group_edges_us)) - 1
    limit = limit_bytes // FACTS_BYTES
    if series * buckets > limit:
        raise TooLarge(
            f"grouped by {pin.group_by} the report would hold {series * buckets:,} facts at once ({series:,} series in "
            f"{buckets:,} buckets); the limit is {limit:,}: choose longer buckets, fewer components or metrics, or ask "
            "without groups",
            code="report_groups_too_large",
            fields={"cells": series * buckets, "limit": limit, "series": series, "buckets": buckets},
        )
