"""The fast way in for small JSON deliveries: no Arrow until many of them are one batch.

It only says yes. What it cannot vouch for (bad rows, other shapes, rare notations) is None here and left to the general
decoder, which then finds the same rows or names what is wrong: the two cannot disagree about an error.
"""

from datetime import datetime, timedelta

import msgspec

from gaugehouse.ingest.columns import EXACT_INTEGER_LIMIT, QUALITY_CODES
from gaugehouse.ingest.instants import parse_instant_text
from gaugehouse.ingest.json_rows import ROWS_DECODER, Row, count_quotes
from gaugehouse.ingest.limits import Limits
from gaugehouse.measurements.few import FewMeasurements
from gaugehouse.measurements.names import find_name_problem
from gaugehouse.measurements.schema import QUALITY_BAD, QUALITY_GOOD
from gaugehouse.measurements.selection import to_epoch_us

US_PER_S = 1_000_000
KEYS_AND_TEXTS = 7  # of a row without quality: four keys, three texts; each has two quotes


def decode_few(body: bytes, *, limits: Limits, now: datetime) -> FewMeasurements | None:
    """Return the rows of a JSON array if all are good and plainly written.

    Args:
        body: The payload, a few kilobytes at most: this runs where nobody may wait.
        limits: How much one delivery may hold.
        now: The clock that rows may be neither too far ahead of nor too far behind.
    """
    try:
        rows = ROWS_DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not rows or len(rows) > limits.json_rows_limit:
        return None
    few = FewMeasurements(component=[], metric=[], measured_at_us=[], value=[], quality=[])
    earliest_us, latest_us = accepted_span_us(limits, now)
    quotes = 0
    for row in rows:
        instant_us = parse_instant_text(row.measured_at)
        quality, quality_quotes = _quality(row)
        is_named = find_name_problem(row.component) is None and find_name_problem(row.metric) is None
        is_timely = isinstance(instant_us, int) and earliest_us <= instant_us <= latest_us
        if quality < 0 or not is_named or not is_timely or not _is_good_value(row.value, quality):
            return None
        few.component.append(row.component)
        few.metric.append(row.metric)
        few.measured_at_us.append(instant_us)  # type: ignore[arg-type]  # is_timely says it is no text
        few.value.append(row.value)
        few.quality.append(quality)
        quotes += 2 * KEYS_AND_TEXTS + quality_quotes
    # Repeated keys are the one thing that msgspec does not tell.
    return few if count_quotes(body) == quotes else None


def accepted_span_us(limits: Limits, now: datetime) -> tuple[int, int]:
    """Return the first and the last instant that a measurement may have. [us]"""
    now_us = to_epoch_us(now)
    earliest_us = 0
    if limits.lateness_limit_s is not None:
        earliest_us = max(earliest_us, to_epoch_us(now - timedelta(seconds=limits.lateness_limit_s)))
    kept_from = limits.kept_from.get("measured_at")
    if kept_from is not None:
        earliest_us = max(earliest_us, to_epoch_us(kept_from))
    return earliest_us, now_us + int(limits.future_limit_s * US_PER_S)


def _quality(row: Row) -> tuple[int, int]:
    """Return the code of a row's quality, -1 for none that is known, and the quotes it took."""
    if row.quality is msgspec.UNSET:
        return QUALITY_GOOD, 0
    return QUALITY_CODES.get(row.quality, -1), 4 if isinstance(row.quality, str) else 2


def _is_good_value(value: float | None, quality: int) -> bool:
    if value is None:
        return quality == QUALITY_BAD
    return abs(value) < EXACT_INTEGER_LIMIT
