"""Which columns of a foreign file are component, time and values; guessed where nothing is said."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from gaugehouse.errors import Refused
from gaugehouse.ingest.flaws import shown
from gaugehouse.ingest.tables import is_text
from gaugehouse.measurements.names import find_name_problem

# Guesses, best first, compared without case. Real files: Beijing air quality (station; year, month, day, hour), IoT
# device messages (device beside device_id; ts), and what historians and telemetry exporters write.
COMPONENT_GUESSES = (
    "component",
    "component_id",
    "device",
    "device_name",
    "device_id",
    "station",
    "station_id",
    "machine",
    "machine_id",
    "sensor",
    "sensor_id",
    "asset",
    "asset_id",
    "equipment",
    "host",
    "meter",
    "node",
)
TIME_GUESSES = ("measured_at", "timestamp", "time", "ts", "datetime", "date_time", "occurred_at", "date")
METRIC_GUESSES = ("metric", "metric_name", "measurement", "variable", "parameter", "tag", "signal")
VALUE_GUESSES = ("value", "reading", "val")
QUALITY_GUESSES = ("quality",)
PARTS = ("year", "month", "day", "hour", "minute", "second")
REQUIRED_PARTS = ("year", "month", "day")
ROW_NUMBER_NAMES = frozenset({"", "no", "nr", "index", "row", "rownum", "row_number", "id", "#", "unnamed: 0"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnMapping:
    """What is known about the columns of a file; None means guess.

    Columns inside nested records are named by their path, `data.temp`, or by the last part where that is unique.

    Args:
        component: One component for the whole file.
        component_column: Column of component names.
        time_column: Column of times.
        time_format: strptime format of the time column, or the unit s, ms, us or ns of numeric epochs.
        time_parts: year, month, day, hour, minute, second -> column, instead of one time column.
        timezone: Zone of wall-clock times: IANA name, or `UTC+8` (east is plus; `Etc/GMT-8` is the same, by POSIX).
        metric_column: Long form: column of metric names.
        value_column: Long form: column of values.
        quality_column: Long form: column of qualities.
        metric_columns: Wide form: columns that are metrics; None takes every numeric or boolean one.
    """

    component: str | None = None
    component_column: str | None = None
    time_column: str | None = None
    time_format: str | None = None
    time_parts: Mapping[str, str] | None = None
    timezone: str | None = None
    metric_column: str | None = None
    value_column: str | None = None
    quality_column: str | None = None
    metric_columns: Sequence[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """A column of a file, possibly inside records: its path, and its type."""

    path: tuple[str, ...]
    type: pa.DataType

    @property
    def dotted(self) -> str:
        return ".".join(self.path)

    @property
    def last(self) -> str:
        return self.path[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedColumns:
    """The columns that are read, and why the others are not.

    Args:
        component: Constant component, or None.
        component_leaf: Column of components, or None.
        time_leaf: Column of times, or None.
        part_leaves: Date part -> column; empty when there is a time column.
        metric_leaf: Long form: column of metric names, or None for the wide form.
        value_leaf: Long form: column of values.
        quality_leaf: Long form: column of qualities, or None.
        metric_leaves: Wide form: metric name -> column.
        skipped: Column -> why it is not read.
    """

    component: str | None
    component_leaf: Leaf | None
    time_leaf: Leaf | None
    part_leaves: Mapping[str, Leaf]
    metric_leaf: Leaf | None
    value_leaf: Leaf | None
    quality_leaf: Leaf | None
    metric_leaves: Mapping[str, Leaf]
    skipped: Mapping[str, str]

    def used_leaves(self) -> list[Leaf]:
        single = (self.component_leaf, self.time_leaf, self.metric_leaf, self.value_leaf, self.quality_leaf)
        return [
            *(leaf for leaf in single if leaf is not None),
            *self.part_leaves.values(),
            *self.metric_leaves.values(),
        ]


def find_leaves(schema: pa.Schema) -> list[Leaf]:
    """Return the columns of a schema with records taken apart."""
    found: list[Leaf] = []

    def walk(path: tuple[str, ...], column_type: pa.DataType) -> None:
        if pa.types.is_struct(column_type):
            for child in column_type.fields:
                walk((*path, child.name), child.type)
        else:
            found.append(Leaf(path=path, type=column_type))

    for field in schema:
        walk((field.name,), field.type)
    return found


class _Columns:
    """Finds leaves by name."""

    def __init__(self, leaves: Sequence[Leaf]) -> None:
        self.leaves = leaves

    def named(self, name: str) -> Leaf:
        exact = [leaf for leaf in self.leaves if leaf.dotted == name]
        found = exact or [leaf for leaf in self.leaves if leaf.last == name]
        if len(found) != 1:
            trouble = "is not in the file" if not found else "is in the file more than once; name it by its path"
            raise Refused(
                f"the column {shown(name)} {trouble}; its columns are {self._listed()}", code="missing_column"
            )
        return found[0]

    def guess(self, candidates: Sequence[str]) -> Leaf | None:
        for candidate in candidates:
            found = [leaf for leaf in self.leaves if leaf.last.strip().lower() == candidate]
            if len(found) == 1:
                return found[0]
        return None

    def optional(self, name: str | None, candidates: Sequence[str]) -> Leaf | None:
        return self.named(name) if name is not None else self.guess(candidates)

    def _listed(self) -> str:
        return ", ".join(shown(leaf.dotted) for leaf in self.leaves[:20])


def is_numeric(column_type: pa.DataType) -> bool:
    """Say whether cells of a type are values: numbers, and booleans as 0 and 1."""
    return bool(
        pa.types.is_integer(column_type)
        or pa.types.is_floating(column_type)
        or pa.types.is_decimal(column_type)
        or pa.types.is_boolean(column_type)
        or pa.types.is_null(column_type)
    )


def resolve_columns(schema: pa.Schema, mapping: ColumnMapping) -> ResolvedColumns:
    """Return which columns of a file are read, from what was said and from guesses.

    Raises:
        Refused: A named column is not there, or no component, time or metric can be found.
    """
    columns = _Columns(find_leaves(schema))
    component_leaf = None
    if mapping.component is None:
        component_leaf = columns.optional(mapping.component_column, COMPONENT_GUESSES)
        if component_leaf is None:
            raise Refused("no component column was found; name it, or give one component", code="missing_column")
    part_leaves = _find_parts(columns, mapping)
    time_leaf = None if part_leaves else columns.optional(mapping.time_column, TIME_GUESSES)
    if time_leaf is None and not part_leaves:
        raise Refused("no time column was found; name it, or the columns of its parts", code="missing_column")
    metric_leaf, value_leaf = _find_long_form(columns, mapping)
    taken = [leaf for leaf in (component_leaf, time_leaf, metric_leaf, value_leaf) if leaf is not None]
    taken += part_leaves.values()
    quality_leaf = columns.optional(mapping.quality_column, QUALITY_GUESSES) if metric_leaf is not None else None
    metric_leaves: dict[str, Leaf] = {}
    skipped: dict[str, str] = {}
    if metric_leaf is None:
        metric_leaves, skipped = _find_metrics(columns, mapping, taken)
    return ResolvedColumns(
        component=mapping.component,
        component_leaf=component_leaf,
        time_leaf=time_leaf,
        part_leaves=part_leaves,
        metric_leaf=metric_leaf,
        value_leaf=value_leaf,
        quality_leaf=quality_leaf,
        metric_leaves=metric_leaves,
        skipped=skipped,
    )


def _find_parts(columns: _Columns, mapping: ColumnMapping) -> dict[str, Leaf]:
    if mapping.time_parts is not None:
        unknown = set(mapping.time_parts) - set(PARTS)
        if unknown or not set(REQUIRED_PARTS) <= set(mapping.time_parts):
            raise Refused(f"time parts are {', '.join(PARTS)}; year, month and day are needed", code="wrong_time_parts")
        return {part: columns.named(name) for part, name in mapping.time_parts.items()}
    if mapping.time_column is not None or columns.guess(TIME_GUESSES) is not None:
        return {}
    guessed = {part: leaf for part in PARTS if (leaf := columns.guess((part,))) is not None}
    return guessed if set(REQUIRED_PARTS) <= set(guessed) else {}


def _find_long_form(columns: _Columns, mapping: ColumnMapping) -> tuple[Leaf | None, Leaf | None]:
    if mapping.metric_columns is not None:
        return None, None
    metric = columns.optional(mapping.metric_column, METRIC_GUESSES)
    value = columns.optional(mapping.value_column, VALUE_GUESSES)
    if metric is not None and value is not None and is_text(metric.type):
        return metric, value
    if mapping.metric_column is not None or mapping.value_column is not None:
        raise Refused("the long form needs a text column of metrics and a column of values", code="missing_column")
    return None, None


def _find_metrics(
    columns: _Columns, mapping: ColumnMapping, taken: Sequence[Leaf]
) -> tuple[dict[str, Leaf], dict[str, str]]:
    skipped: dict[str, str] = {}
    if mapping.metric_columns is not None:
        wanted = [columns.named(name) for name in mapping.metric_columns]
    else:
        wanted = []
        for leaf in columns.leaves:
            if leaf in taken:
                continue
            if not is_numeric(leaf.type):
                skipped[leaf.dotted] = f"holds {leaf.type}, not numbers"
            elif leaf.last.strip().lower() in ROW_NUMBER_NAMES:
                skipped[leaf.dotted] = "looks like a row number; name it to read it"
            else:
                wanted.append(leaf)
    if not wanted:
        raise Refused("no numeric column was found that could be a metric", code="missing_column")
    return _name_metrics(wanted), skipped


def _name_metrics(leaves: Sequence[Leaf]) -> dict[str, Leaf]:
    last_names = [_clean(leaf.last) for leaf in leaves]
    named: dict[str, Leaf] = {}
    for leaf, last_name in zip(leaves, last_names, strict=True):
        name = last_name if last_names.count(last_name) == 1 else _clean(leaf.dotted)
        problem = find_name_problem(name)
        if problem is not None or name in named:
            raise Refused(f"the column {shown(leaf.dotted)} cannot name a metric: {problem or 'it comes twice'}")
        named[name] = leaf
    return named


def _clean(header: str) -> str:
    # Headers are typed by people: outer spaces and composed letters are no difference they meant.
    return unicodedata.normalize("NFC", header.strip())
