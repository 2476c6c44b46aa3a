"""InfluxDB line protocol: numbers and booleans become measurements, strings become events.

The bytes are split by compiled passes (`line_scan.py`, called by `line_split.py` and `line_cells.py`); each distinct
key (measurement and tags) and field name is read once, by `line_keys.py`; here they meet, are checked as rows of every
other format are, and become columns.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gaugehouse.errors import MAX_ROWS_NAMED, LineProblem, LinesRefused
from gaugehouse.ingest import line_scan as scan
from gaugehouse.ingest.bodies import hash_bodies
from gaugehouse.ingest.check import find_bad_names
from gaugehouse.ingest.columns import Names
from gaugehouse.ingest.flaws import Flaws, shown
from gaugehouse.ingest.limits import Limits
from gaugehouse.ingest.line_cells import Precision, read_strings, read_times, read_values
from gaugehouse.ingest.line_keys import BadKey, LineMapping, LineSeries, read_field_key, read_key
from gaugehouse.ingest.line_split import SplitBody, explain_line, split_body
from gaugehouse.ingest.texts import read_utf8
from gaugehouse.measurements.schema import EVENT_BATCH, MEASUREMENT_BATCH, TIMESTAMP

HASH_SEED = np.uint64(secrets.randbits(64))
Column = TypeVar("Column", bound=np.generic)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedLines:
    """The rows of one delivery.

    Args:
        measurements: MEASUREMENT_BATCH, in the order sent.
        events: EVENT_BATCH, in the order sent; `kind` is what would be the metric.
        labels: Per component the tags that are no part of a name; the first value of a label counts.
        origins: Where each distinct field of each distinct key came first.
    """

    measurements: pa.Table
    events: pa.Table
    labels: dict[str, dict[str, str]]
    origins: "Origins"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origins:
    """Per distinct field of a key: its component, its metric or kind, and the first line that has it."""

    component: list[str]
    metric: list[str]
    line: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Topics:
    """Distinct fields of distinct keys.

    Args:
        of_cell: Topic of each cell.
        component, metric: Codes of each topic's names; -1 of a bad one.
        components, metrics: The distinct names.
        labels: As in DecodedLines.
        bad: Topics whose key or names cannot be stored.
    """

    of_cell: NDArray[np.int32]
    first_cell: NDArray[np.int32]
    component: NDArray[np.int32]
    metric: NDArray[np.int32]
    components: list[str]
    metrics: list[str]
    labels: dict[str, dict[str, str]]
    bad: dict[int, BadKey]


def decode_lines(
    body: bytes, *, precision: Precision, mapping: LineMapping, limits: Limits, now: datetime
) -> DecodedLines:
    """Return the rows of a payload, decoded and checked.

    Args:
        body: Line protocol, not compressed.
        precision: Unit of the timestamps; what is finer than a microsecond is cut towards the past.
        mapping: Which tags mean what.
        limits: How much one delivery may hold; a row is a field.
        now: The clock: rows may not be too far ahead of it, and lines without a timestamp get it, all the same.

    Raises:
        Unreadable: Not UTF-8.
        LinesRefused: A line is bad.
        TooLarge: Too many fields, or too long a line.
    """
    split = split_body(read_utf8(body), limits)
    topics = _read_topics(split, mapping)
    flaws = Flaws(split.cells.shape[1])
    _flag_topics(topics, flaws)
    values = read_values(split, flaws)
    epoch_us = read_times(split, precision, flaws, limits=limits, now=now)
    is_string = split.cells[scan.IS_STRING].astype(bool)
    bodies = read_strings(split, is_string, flaws, limits)
    _refuse(split, flaws)
    return DecodedLines(
        measurements=_measurements(topics, ~is_string, values, epoch_us),
        events=_events(topics, is_string, bodies, epoch_us),
        labels=topics.labels,
        origins=Origins(
            component=[topics.components[code] for code in topics.component],
            metric=[topics.metrics[code] for code in topics.metric],
            line=split.line_numbers()[topics.first_cell].tolist(),
        ),
    )


def _read_topics(split: SplitBody, mapping: LineMapping) -> _Topics:
    lines, cells, data = split.lines, split.cells, split.data
    starts, stops = lines[scan.KEY_START], lines[scan.KEY_STOP]
    keys, first_line = _number(data, starts, stops, np.zeros(len(starts), np.int32))
    series = [read_key(split.body[starts[line] : stops[line]], mapping) for line in first_line.tolist()]
    starts, stops = cells[scan.FIELD_START], cells[scan.FIELD_STOP]
    of_cell, first_cell = _number(data, starts, stops, keys[cells[scan.LINE]])
    fields = [read_field_key(split.body[starts[cell] : stops[cell]]) for cell in first_cell.tolist()]
    key_of_topic = keys[cells[scan.LINE][first_cell]].tolist()
    bad: dict[int, BadKey] = {}
    components: dict[str, int] = {}
    metrics: dict[str, int] = {}
    codes = np.full((2, len(fields)), -1, np.int32)
    for topic, (key, field) in enumerate(zip(key_of_topic, fields, strict=True)):
        one = series[key]
        if isinstance(one, BadKey):
            bad[topic] = one
            continue
        metric = f"{one.prefix}{field}{one.suffix}"
        codes[0, topic] = components.setdefault(one.component, len(components))
        codes[1, topic] = metrics.setdefault(metric, len(metrics))
    bad |= _find_bad_names("component", list(components), codes[0]) | _find_bad_names("metric", list(metrics), codes[1])
    return _Topics(
        of_cell=of_cell,
        first_cell=first_cell,
        component=codes[0],
        metric=codes[1],
        components=list(components),
        metrics=list(metrics),
        labels=_labels(series),
        bad=bad,
    )


def _number(
    data: scan.Bytes, starts: scan.Int32s, stops: scan.Int32s, groups: scan.Int32s
) -> tuple[scan.Int32s, scan.Int32s]:
    slots, following = scan.slots_for(len(starts)), np.empty(len(starts), np.int32)
    numbers, firsts = scan.number_texts(data, starts, stops, groups, slots, following, HASH_SEED)
    return numbers, firsts


def _labels(series: list[LineSeries | BadKey]) -> dict[str, dict[str, str]]:
    labels: dict[str, dict[str, str]] = {}
    for one in series:
        if isinstance(one, LineSeries) and one.labels:
            mine = labels.setdefault(one.component, {})
            for name, value in one.labels:
                mine.setdefault(name, value)
    return labels


def _find_bad_names(field: str, names: list[str], codes: NDArray[np.int32]) -> dict[int, BadKey]:
    reasons = find_bad_names(pa.array(names, pa.string()))
    found = np.flatnonzero(np.isin(codes, list(reasons))).tolist() if reasons else []
    return {topic: BadKey(field=field, reason=reasons[int(codes[topic])]) for topic in found}


def _flag_topics(topics: _Topics, flaws: Flaws) -> None:
    for field in sorted({problem.field for problem in topics.bad.values()}):
        is_bad = np.zeros(len(topics.component), dtype=bool)
        is_bad[[topic for topic, problem in topics.bad.items() if problem.field == field]] = True
        flaws.add(field, is_bad[topics.of_cell], lambda cell: topics.bad[int(topics.of_cell[cell])].reason)


def _refuse(split: SplitBody, flaws: Flaws) -> None:
    """Refuse the delivery when a line is bad: those that could not be split, and those whose cells are flagged."""
    if not split.bad_lines and not flaws.bad.any():
        return
    numbers, cells = split.line_numbers(), split.cells
    problems = [explain_line(split, place) for place in range(split.problems.shape[1])]
    for flaw in flaws.first():
        field = read_field_key(split.body[cells[scan.FIELD_START, flaw.row] : cells[scan.FIELD_STOP, flaw.row]])
        name = shown(field) if flaw.field == "value" else flaw.field
        problems.append(LineProblem(line=int(numbers[flaw.row]), field=name, reason=flaw.reason))
    problems.sort(key=lambda problem: problem.line)
    bad_lines = split.bad_lines + len(np.unique(numbers[flaws.bad]))
    code = None if split.bad_lines else flaws.code
    raise LinesRefused(_distinct(problems)[:MAX_ROWS_NAMED], bad_lines=bad_lines, code=code)


def _distinct(problems: list[LineProblem]) -> list[LineProblem]:
    """Return problems without repeats: what is wrong with a key is wrong with each of its fields."""
    return list(dict.fromkeys(problems))


def _measurements(
    topics: _Topics, keep: NDArray[np.bool_], values: NDArray[np.float64], epoch_us: NDArray[np.int64]
) -> pa.Table:
    columns = [
        *_name_columns(topics, keep),
        _timestamps(epoch_us, keep),
        pa.array(_kept(values, keep)),
        pa.array(np.zeros(int(keep.sum()), np.uint8)),
    ]
    return pa.Table.from_arrays(columns, schema=MEASUREMENT_BATCH)


def _events(topics: _Topics, keep: NDArray[np.bool_], bodies: list[str], epoch_us: NDArray[np.int64]) -> pa.Table:
    if not bodies:
        return EVENT_BATCH.empty_table()
    texts = pa.array(bodies, pa.string())
    columns = [*_name_columns(topics, keep), _timestamps(epoch_us, keep), texts, hash_bodies(texts)]
    return pa.Table.from_arrays(columns, schema=EVENT_BATCH)


def _name_columns(topics: _Topics, keep: NDArray[np.bool_]) -> list[pa.Array]:
    of_cell = _kept(topics.of_cell, keep)
    return [
        Names(codes=codes[of_cell], distinct=pa.array(distinct, pa.string())).compact().to_arrow()
        for codes, distinct in ((topics.component, topics.components), (topics.metric, topics.metrics))
    ]


def _kept(column: NDArray[Column], keep: NDArray[np.bool_]) -> NDArray[Column]:
    return column if keep.all() else column[keep]


def _timestamps(epoch_us: NDArray[np.int64], keep: NDArray[np.bool_]) -> pa.Array:
    return pa.array(_kept(epoch_us, keep)).cast(TIMESTAMP)


def warm_up() -> None:
    """Load the compiled passes, so that the first delivery need not wait for them."""
    data = np.frombuffer(b"a,component=b c=1.5,d=1 1\n", np.uint8)
    lines, cells, problems = np.empty((5, 9), np.int32), np.empty((6, 9), np.int32), np.empty((4, 9), np.int32)
    line_count, cell_count, _ = scan.split_lines(data, lines, cells, problems, 99)
    lines, cells = lines[:, :line_count], cells[:, :cell_count]
    _number(data, lines[scan.KEY_START], lines[scan.KEY_STOP], np.zeros(line_count, np.int32))
    starts, stops = cells[scan.VALUE_START], cells[scan.VALUE_STOP]
    scan.read_values(data, starts, stops)
    scan.read_times(data, lines[scan.TIME_START], lines[scan.TIME_STOP])
    scan.gather_texts(data, starts.copy(), stops.copy())
