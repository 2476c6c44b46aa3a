"""What is delivered: a report's files and what a receiver must know about them."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from gaugehouse.measurements.period import find_zone
from gaugehouse.measurements.selection import from_epoch_us, to_epoch_us

UNSAFE_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")
NAME_CHARS = 120


class Fate(StrEnum):
    """How an attempt to deliver ended."""

    DELIVERED = "delivered"
    LATER = "later"
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an attempt ended, and why in words, without a secret; empty when it is delivered."""

    fate: Fate
    reason: str = ""


DELIVERED = Outcome(fate=Fate.DELIVERED)


def try_later(reason: str) -> Outcome:
    """Return that it did not work now."""
    return Outcome(fate=Fate.LATER, reason=reason)


def give_up(reason: str) -> Outcome:
    """Return that it will not work however often it is tried."""
    return Outcome(fate=Fate.NEVER, reason=reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFile:
    """One file of a report: its bytes, or where they are."""

    name: str
    media_type: str
    content: bytes | Path

    @property
    def size_bytes(self) -> int:
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    def read(self) -> bytes:
        """Return the bytes."""
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()


FileSource = Callable[[str, int, str], ReportFile]
"""(report id, revision, format) -> the file. Raises GaugehouseError: Unavailable when it may work later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a delivery is about, as it was when the report was done: later changes of names change no repeat.

    Args:
        project: Slug.
        template: Name.
        title: Of the template.
        period_start: UTC.
        period_end: UTC, exclusive.
        timezone: IANA zone of the period.
        as_of: The report shows everything received up to this instant.
        digest: Of the result.
        failure: Why there is no result, in words; None: there is one.
    """

    project: str
    template: str
    title: str
    period_start: datetime
    period_end: datetime
    timezone: str
    as_of: datetime | None
    digest: str | None
    failure: str | None = None


def encode_subject(subject: Subject) -> dict[str, Any]:
    """Return it as JSON-able values."""
    return {
        "project": subject.project,
        "template": subject.template,
        "title": subject.title,
        "period_start_us": to_epoch_us(subject.period_start),
        "period_end_us": to_epoch_us(subject.period_end),
        "timezone": subject.timezone,
        "as_of_us": None if subject.as_of is None else to_epoch_us(subject.as_of),
        "digest": subject.digest,
        "failure": subject.failure,
    }


def decode_subject(encoded: dict[str, Any]) -> Subject:
    """Return what `encode_subject` wrote."""
    as_of_us = encoded["as_of_us"]
    return Subject(
        project=encoded["project"],
        template=encoded["template"],
        title=encoded["title"],
        period_start=from_epoch_us(encoded["period_start_us"]),
        period_end=from_epoch_us(encoded["period_end_us"]),
        timezone=encoded["timezone"],
        as_of=None if as_of_us is None else from_epoch_us(as_of_us),
        digest=encoded["digest"],
        failure=encoded.get("failure"),  # rows of older versions have none
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """One delivery, ready to be sent.

    Args:
        delivery_id: Stable over all attempts.
        report_id: Of the report.
        revision: Of the report.
        subject: What it is about.
        link: Where people find the report; None: the server does not know its own address.
        files: What is to be sent along.
        left_out: Files are too large to be sent along.
    """

    delivery_id: str
    report_id: str
    revision: int
    subject: Subject
    link: str | None
    files: tuple[ReportFile, ...]
    left_out: bool

    def fill_in(self, text: str) -> str:
        """Return a text with `{title}`, `{period}`, `{project}` and `{revision}` filled in; all else stays as it is."""
        words = {
            "title": self.subject.title,
            "period": describe_period(self.subject),
            "project": self.subject.project,
            "revision": str(self.revision),
        }
        return re.sub(r"{(\w+)}", lambda match: words.get(match[1], match[0]), text)


def describe_period(subject: Subject) -> str:
    """Return a period as people write it: whole days by their dates, the last one included, all else to the minute.

    >>> from datetime import UTC
    >>> start, end = datetime(2026, 11, 8, 23, tzinfo=UTC), datetime(2026, 11, 15, 23, tzinfo=UTC)
    >>> described = {"project": "p", "template": "t", "title": "T", "as_of": None, "digest": None}
    >>> describe_period(Subject(period_start=start, period_end=end, timezone="Europe/Berlin", **described))
    '2026-11-09 to 2026-11-15'
    """
    zone = find_zone(subject.timezone)
    start, end = subject.period_start.astimezone(zone), subject.period_end.astimezone(zone)
    if start.time() == end.time() == time():
        last = end.date() - timedelta(days=1)
        return f"{start:%Y-%m-%d}" if start.date() == last else f"{start:%Y-%m-%d} to {last:%Y-%m-%d}"
    return f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} {subject.timezone}"


def safe_name(name: str) -> str:
    """Return a file name that neither a header nor a file system can misread.

    >>> safe_name("../week 46: Linie 1.pdf")
    'week-46-Linie-1.pdf'
    """
    return UNSAFE_IN_NAMES.sub("-", name).strip(".-")[-NAME_CHARS:] or "report"
