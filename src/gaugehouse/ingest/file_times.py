"""Times of foreign files to microseconds since 1970 UTC: wall clocks, epochs, date parts, strptime formats.

Wall-clock rules, as PEP 495 with fold 0: a time that occurs twice (clock set back) is the first of the two; a time that
does not occur (clock set forward) is read with the offset before the gap, so that it lands the gap's length later. Both
are counted.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from gaugehouse.errors import Refused
from gaugehouse.ingest.columns import Instants
from gaugehouse.ingest.flaws import Flaws, shown
from gaugehouse.ingest.instants import LAST_EPOCH_S, UNITS_PER_SECOND, instants_from_epochs
from gaugehouse.measurements.schema import TIMESTAMP
from gaugehouse.measurements.selection import from_epoch_us, to_epoch_us

FIXED_OFFSET = re.compile(r"(?:UTC|GMT)?([+-])(\d{1,2})(?::?(\d\d))?")
# Seconds of today have 10 digits, milliseconds 13, microseconds 16: an epoch's unit shows in its size.
UNIT_GUESSES = ((1e11, "s"), (1e14, "ms"), (1e17, "us"), (float("inf"), "ns"))
US_PER_S = 1_000_000
PART_RANGES = {  # half-open; only a second may be a fraction
    "year": (1900, 10_000),
    "month": (1, 13),
    "day": (1, 32),
    "hour": (0, 24),
    "minute": (0, 60),
    "second": (0, 60),
}


@dataclass(frozen=True, slots=True)
class FixedZone:
    """A zone that is always the same time ahead of UTC. [us]"""

    offset_us: int


Zone = FixedZone | ZoneInfo


@dataclass(slots=True)
class ClockChanges:
    """The zone of wall-clock times, if known, and how many of them met a clock change."""

    zone: Zone | None
    ambiguous: int = 0
    nonexistent: int = 0


def find_zone(name: str) -> Zone:
    """Return the zone of an IANA name, or of a fixed offset such as `UTC+8`, `+08:00` or `GMT-03:30` (east is plus).

    `Etc/GMT-8` is an IANA name whose sign is reversed by POSIX custom: it is UTC+8.

    Raises:
        Refused: Neither is known.
    """
    match = FIXED_OFFSET.fullmatch(name.strip())
    if match:
        sign, hours, minutes = match.groups()
        offset = timedelta(hours=int(hours), minutes=int(minutes or 0))
        if offset > timedelta(hours=14) or int(minutes or 0) > 59:
            raise Refused(f"no zone is {shown(name)} away from UTC", code="unknown_timezone")
        return FixedZone((offset // timedelta(microseconds=1)) * (-1 if sign == "-" else 1))
    try:
        return ZoneInfo(name.strip())
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise Refused(
            f"the time zone {shown(name)} is not known; give an IANA name or an offset such as UTC+8",
            code="unknown_timezone",
        ) from exc


def to_utc_us(local_us: NDArray[np.int64], changes: ClockChanges) -> NDArray[np.int64]:
    """Return wall-clock microseconds of the zone as UTC microseconds. [us]

    Raises:
        Refused: No zone is known.
    """
    zone = changes.zone
    if zone is None:
        raise Refused("the times have no offset; name the time zone they were written in", code="missing_timezone")
    if isinstance(zone, FixedZone):
        return local_us - zone.offset_us
    # Distinct times only: many rows share an instant, and clock changes are rare.
    distinct, back = np.unique(local_us, return_inverse=True)
    local = pl.Series(distinct).cast(pl.Datetime("us"))
    first = local.dt.replace_time_zone(zone.key, ambiguous="earliest", non_existent="null")
    last = local.dt.replace_time_zone(zone.key, ambiguous="latest", non_existent="null")
    utc_us = first.dt.epoch("us").fill_null(0).to_numpy().copy()
    gaps = first.is_null().to_numpy()
    for position in np.flatnonzero(gaps):
        wall = from_epoch_us(int(distinct[position])).replace(tzinfo=zone, fold=0)
        utc_us[position] = to_epoch_us(wall.astimezone(UTC))
    changes.nonexistent += int(gaps[back].sum())
    changes.ambiguous += int((first != last).fill_null(value=False).to_numpy()[back].sum())
    shifted: NDArray[np.int64] = utc_us[back]
    return shifted


def instants_from_column(
    column: pa.Array, name: str, flaws: Flaws, *, time_format: str | None, changes: ClockChanges
) -> Instants:
    """Return a time column of a file, of any type that can hold times.

    Raises:
        Refused: The type holds no times, the format does not fit it, or wall-clock times come without a zone.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_timestamp(column.type):
        stored = instants_from_epochs(column.cast(pa.int64()), column.type.unit, name, flaws)
        return stored if column.type.tz is not None else _localized(stored, changes)
    if pa.types.is_date(column.type):
        return instants_from_column(
            column.cast(pa.timestamp("us")), name, flaws, time_format=time_format, changes=changes
        )
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return _from_numbers(column, name, flaws, time_format)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        texts = column.cast(pa.string())
        if time_format in UNITS_PER_SECOND:
            return _from_numbers(numbers_of_texts(texts), name, flaws, time_format, sent=texts)
        if time_format is not None:
            return _from_format(texts, name, flaws, time_format, changes)
        return _from_iso(texts, name, flaws, changes)
    raise Refused(f"the column {shown(name)} is {column.type}, which holds no times", code="wrong_type")


def _localized(local: Instants, changes: ClockChanges) -> Instants:
    return Instants(epoch_us=to_utc_us(local.epoch_us, changes), given=local.given)


def numbers_of_texts(texts: pa.Array) -> pa.Array:
    """Return texts as float64, `true` and `false` as 1 and 0; what is no number is null."""
    try:
        return texts.cast(pa.float64())
    except pa.ArrowInvalid:
        words = pl.Series(pa.chunked_array([texts])).str.strip_chars().str.to_lowercase()
        numbers = words.replace({"true": "1", "false": "0"}).cast(pl.Float64, strict=False)
        return pa.array(numbers.to_numpy(), pa.float64(), mask=numbers.is_null().to_numpy())


def _from_numbers(
    column: pa.Array, name: str, flaws: Flaws, time_format: str | None, *, sent: pa.StringArray | None = None
) -> Instants:
    if time_format is not None and time_format not in UNITS_PER_SECOND:
        raise Refused(f"the column {shown(name)} holds numbers: its format is one of s, ms, us, ns", code="wrong_type")
    unit = time_format or _guess_unit(column)
    if sent is not None:
        lost = sent.is_valid().to_numpy(zero_copy_only=False) & ~column.is_valid().to_numpy(zero_copy_only=False)
        flaws.add(name, lost, lambda row: f"is not an epoch in {unit}: {shown(sent[row].as_py())}")
    if pa.types.is_integer(column.type):
        return instants_from_epochs(column.cast(pa.int64(), safe=False), unit, name, flaws)
    numbers = column.cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False)
    given = ~np.isnan(numbers)
    with np.errstate(invalid="ignore"):
        absurd = given & ~(np.abs(numbers / UNITS_PER_SECOND[unit]) < LAST_EPOCH_S)
    flaws.add(name, absurd, lambda row: f"is outside the calendar: {numbers[row]} {unit} since 1970")
    usable = np.where(given & ~absurd, numbers, 0.0)
    # Rounded to the nearest microsecond, not cut: a float64 of seconds is hardly ever exactly the microsecond meant.
    epoch_us = np.rint(usable * (US_PER_S / UNITS_PER_SECOND[unit])).astype(np.int64)
    return Instants(epoch_us=epoch_us, given=given & ~absurd)


def _guess_unit(column: pa.Array) -> str:
    numbers = column.drop_null().cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    typical = float(np.nanmedian(np.abs(numbers))) if len(numbers) else 0.0
    return next(unit for ceiling, unit in UNIT_GUESSES if not typical >= ceiling)


def _from_format(texts: pa.StringArray, name: str, flaws: Flaws, time_format: str, changes: ClockChanges) -> Instants:
    frame = pl.Series(pa.chunked_array([texts]))
    try:
        parsed = frame.str.to_datetime(time_format, strict=False, time_unit="us")
    except pl.exceptions.PolarsError as exc:
        raise Refused(f"{shown(time_format)} is not a strptime format of a date and time", code="wrong_type") from exc
    given = texts.is_valid().to_numpy(zero_copy_only=False)
    found = parsed.is_not_null().to_numpy()
    flaws.add(name, given & ~found, lambda row: f"does not fit {shown(time_format)}: {shown(texts[row].as_py())}")
    epoch_us = parsed.dt.epoch("us").fill_null(0).to_numpy()
    has_offset = isinstance(parsed.dtype, pl.Datetime) and parsed.dtype.time_zone is not None
    found_instants = Instants(epoch_us=epoch_us, given=given & found)
    return found_instants if has_offset else _localized(found_instants, changes)


def _from_iso(texts: pa.StringArray, name: str, flaws: Flaws, changes: ClockChanges) -> Instants:
    given = texts.is_valid().to_numpy(zero_copy_only=False)
    for target in (TIMESTAMP, pa.timestamp("us")):
        try:
            parsed = texts.cast(target).cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid:
            continue
        found = Instants(epoch_us=parsed, given=given)
        return found if target == TIMESTAMP else _localized(found, changes)
    return _from_odd_iso(texts, given, name, flaws, changes)


def _from_odd_iso(
    texts: pa.StringArray, given: NDArray[np.bool_], name: str, flaws: Flaws, changes: ClockChanges
) -> Instants:
    encoded = texts.dictionary_encode()
    codes = encoded.indices.fill_null(0).to_numpy(zero_copy_only=False)
    parsed = [_parse_iso(text) for text in encoded.dictionary.to_pylist()]
    if not parsed:
        return Instants(epoch_us=np.zeros(len(texts), dtype=np.int64), given=given)
    wrong = np.array([moment is None for moment in parsed])
    is_local = np.array([moment is not None and moment.tzinfo is None for moment in parsed])
    epoch_us = np.array(
        [0 if moment is None else to_epoch_us(moment.replace(tzinfo=moment.tzinfo or UTC)) for moment in parsed],
        dtype=np.int64,
    )
    rows_us, rows_local = epoch_us[codes], given & is_local[codes]
    flaws.add(
        name,
        given & wrong[codes],
        lambda row: f"is not an ISO 8601 time: {shown(texts[row].as_py())}; give its strptime format",
    )
    if rows_local.any():
        rows_us[rows_local] = to_utc_us(rows_us[rows_local], changes)
    return Instants(epoch_us=rows_us, given=given & ~wrong[codes])


def _parse_iso(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError:
        return None


def instants_from_parts(parts: Mapping[str, pa.Array], flaws: Flaws, changes: ClockChanges) -> Instants:
    """Return wall-clock times given as columns of year, month, day and possibly hour, minute, second (or a fraction).

    Raises:
        Refused: No zone is known.
    """
    numbers = {
        part: column.cast(pa.float64(), safe=False).fill_null(np.nan).to_numpy(zero_copy_only=False)
        for part, column in parts.items()
    }
    given = ~np.any([np.isnan(column) for column in numbers.values()], axis=0)
    sound = given & np.all([_is_sound(part, column) for part, column in numbers.items()], axis=0)
    whole = {part: np.where(sound, column, PART_RANGES[part][0]) for part, column in numbers.items()}
    months = (whole["year"].astype(np.int64) - 1970) * 12 + whole["month"].astype(np.int64) - 1
    days = months.astype("datetime64[M]").astype("datetime64[D]") + (whole["day"].astype(np.int64) - 1)
    sound &= days.astype("datetime64[M]").astype(np.int64) == months  # the 31st of a shorter month
    seconds = np.zeros(len(sound), dtype=np.float64)
    for part, size_s in (("hour", 3600.0), ("minute", 60.0), ("second", 1.0)):
        seconds += whole[part] * size_s if part in whole else 0.0
    local_us = days.astype("datetime64[us]").astype(np.int64) + np.rint(seconds * US_PER_S).astype(np.int64)
    flaws.add("time", given & ~sound, "is not a date and time that exists")
    return _localized(Instants(epoch_us=np.where(sound, local_us, 0), given=sound), changes)


def _is_sound(part: str, column: NDArray[np.float64]) -> NDArray[np.bool_]:
    low, high = PART_RANGES[part]
    with np.errstate(invalid="ignore"):
        in_range = (column >= low) & (column < high)
        sound: NDArray[np.bool_] = in_range if part == "second" else in_range & (column == np.floor(column))
    return sound
