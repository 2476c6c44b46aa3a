"""Values, strings and timestamps of line protocol; what cannot be stored is flagged by its cell."""

import re
from datetime import datetime
from enum import StrEnum

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gaugehouse.ingest import line_scan as scan
from gaugehouse.ingest.bodies import BodyRefused, canonical_body
from gaugehouse.ingest.check import check_instants
from gaugehouse.ingest.columns import Instants
from gaugehouse.ingest.flaws import Flaws, shown
from gaugehouse.ingest.instants import LAST_EPOCH_S
from gaugehouse.ingest.limits import Limits
from gaugehouse.ingest.line_split import SplitBody
from gaugehouse.measurements.selection import to_epoch_us

ESCAPED_IN_STRING = re.compile(r'\\(["\\])')
INFINITE_WORDS = frozenset({"nan", "inf", "infinity"})


class Precision(StrEnum):
    """The unit of timestamps."""

    NANOSECONDS = "ns"
    MICROSECONDS = "us"
    MILLISECONDS = "ms"
    SECONDS = "s"
    MINUTES = "m"
    HOURS = "h"


UNIT_US = {
    Precision.MICROSECONDS: 1,
    Precision.MILLISECONDS: 1_000,
    Precision.SECONDS: 1_000_000,
    Precision.MINUTES: 60_000_000,
    Precision.HOURS: 3_600_000_000,
}


def read_values(split: SplitBody, flaws: Flaws) -> NDArray[np.float64]:
    """Return the number of each cell, 0 of strings; flag those that are none."""
    starts, stops = split.cells[scan.VALUE_START], split.cells[scan.VALUE_STOP]
    values, kinds = scan.read_values(split.data, starts, stops)
    kinds[split.cells[scan.IS_STRING].astype(bool)] = scan.FLOAT
    is_long = kinds == scan.LONG_FLOAT
    if is_long.any():
        values[is_long] = _read_long_floats(*scan.gather_texts(split.data, starts[is_long], stops[is_long]))
    if kinds.max(initial=scan.FLOAT) <= scan.LONG_FLOAT and np.isfinite(values).all():
        return values
    flaws.add("value", kinds == scan.NO_NUMBER, lambda cell: _explain_value(split.cell_value(cell)))
    flaws.add(
        "value",
        kinds == scan.BIG_INTEGER,
        lambda cell: f"is an integer over 2^53, which a float64 cannot keep: {shown(split.cell_value(cell))}",
    )
    flaws.add("value", kinds == scan.NEGATIVE_UNSIGNED, "is negative, but marked as unsigned")
    flaws.add("value", ~np.isfinite(values), lambda cell: _explain_infinite(split.cell_value(cell)))
    return values


def _read_long_floats(joined: scan.Bytes, offsets: scan.Int32s) -> NDArray[np.float64]:
    """Return texts with more digits than an exact float64 has as the nearest float64 each."""
    texts = pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(joined))
    try:
        floats: NDArray[np.float64] = texts.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:  # it takes neither 1e999 nor 1e-999
        floats = np.array([float(text) for text in texts.to_pylist()])
    return floats


def _explain_value(text: str) -> str:
    if not text:
        return "is missing"
    if text.lower().lstrip("+-") in INFINITE_WORDS:
        return _explain_infinite(text)
    return f"is no number, boolean or quoted string: {shown(text)}"


def _explain_infinite(text: str) -> str:
    return f"is not a finite number: {shown(text)}"


def read_times(
    split: SplitBody, precision: Precision, flaws: Flaws, *, limits: Limits, now: datetime
) -> NDArray[np.int64]:
    """Return the instant of each cell, checked. [us since 1970]"""
    starts, stops, line = split.lines[scan.TIME_START], split.lines[scan.TIME_STOP], split.cells[scan.LINE]
    counts, kinds = scan.read_times(split.data, starts, stops)
    unit_us = UNIT_US.get(precision)
    largest = LAST_EPOCH_S * 1_000_000 // unit_us if unit_us else scan.LARGEST_TIME
    is_missing = counts == scan.NO_TIME
    is_absurd = ~is_missing & ((counts >= largest) | (counts <= -largest)) & (kinds == scan.GOOD_TIME)
    counts[is_absurd | is_missing | (kinds != scan.GOOD_TIME)] = 0
    epoch_us = counts * unit_us if unit_us else counts // 1_000
    epoch_us[is_missing] = to_epoch_us(now)
    if kinds.any() or is_absurd.any():

        def explain(cell: int) -> str:
            text = split.text(starts[line[cell]], stops[line[cell]])
            return f"is not a whole number of {precision} since 1970 within the calendar: {shown(text)}"

        flaws.add("timestamp", ((kinds != scan.GOOD_TIME) | is_absurd)[line], explain)
    cell_us: NDArray[np.int64] = epoch_us[line]
    is_string = split.cells[scan.IS_STRING].astype(bool)
    given, now_us = np.ones(len(cell_us), dtype=bool), to_epoch_us(now)
    for field, others in (("measured_at", is_string), ("occurred_at", ~is_string)):
        if not others.all():
            instants = Instants(epoch_us=np.where(others, now_us, cell_us), given=given)
            check_instants(field, instants, flaws, limits=limits, now=now)
    return cell_us


def read_strings(split: SplitBody, is_string: NDArray[np.bool_], flaws: Flaws, limits: Limits) -> list[str]:
    """Return the body of each string cell: the text as JSON."""
    bodies, reasons = [], {}
    for cell in np.flatnonzero(is_string).tolist():
        text = split.cell_value(cell)
        text = ESCAPED_IN_STRING.sub(r"\1", text) if "\\" in text else text
        try:
            bodies.append(
                canonical_body(text, depth_limit=limits.depth_limit, size_limit_bytes=limits.line_limit_bytes)
            )
        except BodyRefused as exc:
            reasons[cell] = str(exc)
    flaws.add_cells("value", reasons)
    return bodies
