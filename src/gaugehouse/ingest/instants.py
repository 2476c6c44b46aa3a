"""Times as they arrive, to microseconds since 1970 UTC.

Accepted text is RFC 3339, and of ISO 8601 the extended form with an offset: `2026-11-20T10:00:00.123456+01:00`, with
`T`, `t` or a space, seconds and minutes optional, the offset `Z`, `z`, `+01:00`, `+0100` or `+01`; never without one.
A fraction finer than a microsecond is cut towards the past, whatever the format (text, nanosecond epochs, Arrow).
"""

import re
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gaugehouse.ingest.columns import Instants
from gaugehouse.ingest.flaws import Flaws, shown
from gaugehouse.measurements.schema import TIMESTAMP
from gaugehouse.measurements.selection import to_epoch_us

ISO_TEXT = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d+))?)?)?([Zz]|[+-]\d\d(?::?\d\d)?)?", re.ASCII
)
LAST_EPOCH_S = 253_402_300_800  # the year 10000


class TimeUnit(StrEnum):
    """The declared unit of integer epochs."""

    SECONDS = "s"
    MILLISECONDS = "ms"
    MICROSECONDS = "us"
    NANOSECONDS = "ns"


UNITS_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def parse_instant_text(text: str) -> int | str:
    """Return one time text as microseconds since 1970 UTC, or why it is none. [us]"""
    match = ISO_TEXT.fullmatch(text)
    if match is None:
        return f"is not a time: {shown(text)}; send RFC 3339 such as 2026-11-20T10:00:00Z"
    day, hour, minute, second, fraction, offset = match.groups()
    if offset is None:
        return f"has no offset: {shown(text)}; add Z or +01:00"
    try:
        local = datetime.fromisoformat(f"{day}T{hour}:{minute or '00'}:{second or '00'}").replace(
            tzinfo=_offset_zone(offset)
        )
    except ValueError:
        return f"is not a time that exists: {shown(text)}"
    # Not .astimezone(): year 1 and 9999 with an offset would overflow; exact integers do not.
    return to_epoch_us(local) + int((fraction or "0")[:6].ljust(6, "0"))


def _offset_zone(offset: str) -> timezone:
    if offset in "Zz":
        return UTC
    hours, minutes = int(offset[1:3]), int(offset[-2:]) if len(offset) > len("+01") else 0
    if minutes > 59:
        raise ValueError
    size = timedelta(hours=hours, minutes=minutes)
    return timezone(-size if offset[0] == "-" else size)


def instants_from_text(texts: pa.StringArray, field: str, flaws: Flaws) -> Instants:
    """Return a text column as instants; what is no instant is flagged."""
    for unit in ("us", "ns"):
        # Arrow's own parser takes 30 M texts/s and, asked for a zone, refuses texts without an offset. With unit ns it
        # also takes 7 to 9 digits. Its grammar is a part of ISO_TEXT (tested) but for the year 0000: refused by check.
        try:
            parsed = texts.cast(pa.timestamp(unit, tz="UTC"))
        except pa.ArrowInvalid:
            continue
        epochs, given = _numbers_of(parsed)
        return Instants(epoch_us=epochs if unit == "us" else epochs // 1000, given=given)
    return _instants_from_odd_text(texts, field, flaws)


def _numbers_of(instants: pa.TimestampArray) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return (numbers, where one is given); 0 stands for a null."""
    numbers = instants.view(pa.int64())
    if not numbers.null_count:
        return numbers.to_numpy(), np.ones(len(numbers), bool)
    given = numbers.is_valid().to_numpy(zero_copy_only=False)
    return numbers.fill_null(0).to_numpy(zero_copy_only=False), given


def _instants_from_odd_text(texts: pa.StringArray, field: str, flaws: Flaws) -> Instants:
    given = texts.is_valid().to_numpy(zero_copy_only=False)
    encoded = texts.dictionary_encode()
    parsed = [parse_instant_text(text) for text in encoded.dictionary.to_pylist()]
    codes = encoded.indices.fill_null(0).to_numpy(zero_copy_only=False)
    wrong = np.array([isinstance(instant, str) for instant in parsed], dtype=bool)
    known = np.array([0 if isinstance(instant, str) else instant for instant in parsed], dtype=np.int64)
    if not parsed:
        return Instants(epoch_us=np.zeros(len(texts), dtype=np.int64), given=given)
    flaws.add(field, given & wrong[codes], lambda row: str(parsed[codes[row]]))
    return Instants(epoch_us=known[codes], given=given & ~wrong[codes])


def instants_from_epochs(epochs: pa.Array, unit: str, field: str, flaws: Flaws) -> Instants:
    """Return integers of a unit (s, ms, us, ns) since 1970 UTC as instants; what no calendar holds is flagged."""
    counts = epochs.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    given = epochs.is_valid().to_numpy(zero_copy_only=False)
    # Compared by division: the last instant in nanoseconds is more than an int64 holds.
    seconds = counts // UNITS_PER_SECOND[unit]
    absurd = given & ((seconds >= LAST_EPOCH_S) | (seconds <= -LAST_EPOCH_S))
    flaws.add(field, absurd, lambda row: f"is outside the calendar: {counts[row]} {unit} since 1970")
    counts = np.where(absurd, 0, counts)
    ratio = UNITS_PER_SECOND[unit] // UNITS_PER_SECOND["us"]
    epoch_us = counts // ratio if ratio else counts * (UNITS_PER_SECOND["us"] // UNITS_PER_SECOND[unit])
    return Instants(epoch_us=epoch_us, given=given & ~absurd)


def instants_from_timestamps(column: pa.Array, field: str, flaws: Flaws) -> Instants:
    """Return an Arrow timestamp column with a zone (stored as UTC whatever the zone's name) as instants."""
    if column.type == TIMESTAMP:
        epochs, given = _numbers_of(column)
        return Instants(epoch_us=epochs, given=given)
    return instants_from_epochs(column.cast(pa.int64()), column.type.unit, field, flaws)
