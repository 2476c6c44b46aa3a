"""Bytes of a media type to a checked batch."""

from datetime import datetime

from gaugehouse.ingest.arrow_stream import read_arrow_events, read_arrow_measurements
from gaugehouse.ingest.check import Decoded, check_events, check_measurements
from gaugehouse.ingest.csv_rows import read_csv_events, read_csv_measurements
from gaugehouse.ingest.instants import TimeUnit
from gaugehouse.ingest.json_rows import (
    read_json_events,
    read_json_measurements,
    read_ndjson_events,
    read_ndjson_measurements,
)
from gaugehouse.ingest.limits import Limits
from gaugehouse.ingest.media import Format, find_format
from gaugehouse.ingest.parquet_file import read_parquet_events, read_parquet_measurements

_MEASUREMENT_READERS = {
    Format.JSON: read_json_measurements,
    Format.NDJSON: read_ndjson_measurements,
    Format.CSV: read_csv_measurements,
    Format.ARROW: read_arrow_measurements,
    Format.PARQUET: read_parquet_measurements,
}
_EVENT_READERS = {
    Format.JSON: read_json_events,
    Format.NDJSON: read_ndjson_events,
    Format.CSV: read_csv_events,
    Format.ARROW: read_arrow_events,
    Format.PARQUET: read_parquet_events,
}


def decode_measurements(
    body: bytes,
    media_type: str,
    *,
    limits: Limits,
    now: datetime,
    partial: bool = False,
    time_unit: TimeUnit | None = None,
) -> Decoded:
    """Return the measurement rows of a payload, decoded and checked.

    Args:
        body: The payload, not compressed.
        media_type: Content-Type, parameters allowed.
        limits: How much one delivery may hold.
        now: The clock that rows may not be too far ahead of.
        partial: Leave bad rows out and name them, instead of refusing all.
        time_unit: Unit of integer times; None: times are texts with an offset, or Arrow timestamps with a zone.

    Raises:
        UnsupportedFormat: The media type or its charset is not read.
        Unreadable: The payload is not what its type says.
        Refused: Its columns are not acceptable.
        RowsRefused: A row is bad and `partial` is False.
        TooLarge: Over a limit.
    """
    read = _MEASUREMENT_READERS[find_format(media_type)]
    raw = read(body, limits=limits, time_unit=time_unit)
    return check_measurements(raw, limits=limits, now=now, partial=partial)


def decode_events(
    body: bytes,
    media_type: str,
    *,
    limits: Limits,
    now: datetime,
    partial: bool = False,
    time_unit: TimeUnit | None = None,
) -> Decoded:
    """Return the event rows of a payload, decoded and checked; arguments and errors as for measurements."""
    read = _EVENT_READERS[find_format(media_type)]
    raw = read(body, limits=limits, time_unit=time_unit)
    return check_events(raw, limits=limits, now=now, partial=partial)
