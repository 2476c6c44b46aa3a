"""The series of a table: a number for each, and its newest row in memory.

A row that is newer than its series' newest cannot be a duplicate; what proves others new is in `recent`.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gaugehouse.errors import Refused
from gaugehouse.lake import keyhash
from gaugehouse.lake.keyhash import (
    EMPTY,
    MIN_SLOTS,
    NEVER,
    NO_EXTRA,
    Bools,
    Int32s,
    Int64s,
    enter_series,
    find_series,
    raise_newest,
    slots_for,
)
from gaugehouse.lake.names import Names, NameTable, names_of
from gaugehouse.lake.rows import (
    MEASUREMENTS,
    Column,
    Rows,
    TableSpec,
    as_array,
    batch_payload,
    body_extra,
    concat_rows,
    distinct_codes,
    empty_rows,
    grown,
    instants_us,
    order_by_series,
    payload_arrays,
    plain_values,
    room_for,
    timestamp_array,
)
from gaugehouse.limits import refuse_series
from gaugehouse.measurements.schema import NAME, QUALITY_BAD

NO_VALUES: Column = np.empty(0, np.float64)
NO_QUALITIES: Column = np.empty(0, np.uint8)
UNSTAMPED: Int64s = np.empty(0, np.int64)
NO_SERIES: Int32s = np.empty(0, np.int32)
LAKE_WIDE = 0  # the one scope of topics: `temperature` is the same name in every project
TOPIC_MASK = (1 << 32) - 1
STEP_SERIES = 262_144  # so many are copied at a time: a lock is held for milliseconds, not for a second


class SeriesIndex:
    """Numbers every series of one table and knows its newest row.

    Numbers are given under the sequencer's lock; `_lock` keeps readers and `publish` apart from growing columns.
    A series costs about 80 bytes: seven columns, its place in a hash table, its share of a component's name.
    """

    def __init__(self, spec: TableSpec) -> None:
        self.spec = spec
        self._lock = threading.Lock()
        self._components = NameTable()
        self._topics = NameTable()
        self.project_names: list[str] = []
        self._projects: dict[str, int] = {}  # number of each, the scope of its components' names
        self._series_counts: dict[int, int] = {}  # of each scope, without forgotten ones
        self._is_forgotten = np.empty(0, np.bool_)  # of series numbered before the last `forget`
        self._scopes_forgotten: set[int] = set()
        self._published: dict[int, int] = {}  # rows of each kind of event
        self._doubtful_to: dict[int, int] = {}  # of scopes with stored rows that could not be read
        self._count = 0
        self._slots = slots_for(0)
        self.component_of = np.empty(0, np.int32)
        self.topic_of = np.empty(0, np.int32)
        self.claimed_to = np.empty(0, np.int64)  # newest instant claimed, durable or not
        self.covered_from = np.empty(0, np.int64)
        self.newest_t = np.empty(0, np.int64)  # newest visible instant
        self.newest_received_at = np.empty(0, np.int64)
        self._numeric = replace(spec, payload=tuple(p for p in spec.payload if p[1] != "object"), has_extra=False)
        self.newest_payload: dict[str, Column] = {name: np.empty(0, dtype) for name, dtype in self._numeric.payload}

    def __len__(self) -> int:
        """Return the number of series."""
        return self._count

    @property
    def component_names(self) -> list[str]:
        """Every component there is a series of, in order of arrival."""
        return _all_names(self._components)

    @property
    def topic_names(self) -> list[str]:
        """Every metric or kind there is a series of, in order of arrival."""
        return _all_names(self._topics)

    def count_series(self, project: str) -> int:
        """Return the number of series of a project."""
        scope = self._projects.get(project)
        return 0 if scope is None else self._series_counts.get(scope, 0)

    def number_series(self, project: str, columns: "BatchColumns", *, series_limit: int | None = None) -> Int32s:
        """Return the series number of each row, numbering series seen for the first time.

        Raises:
            Refused: the project would hold more than `series_limit` series; no series was numbered, no name is kept.
        """
        scope = self._scope_of(project)
        components = self._components.find(scope, columns.components)
        topics = self._topics.find(LAKE_WIDE, columns.topics)
        numbers, unknown = self._find(components, topics, columns)
        revived = self._forgotten_among(scope, numbers)
        count = self._series_counts.get(scope, 0) + revived.size
        room = (sys.maxsize if series_limit is None else series_limit) - count
        is_full = revived.size > 0 and room < 0
        if is_full or (unknown and not self._add(scope, columns, components, topics, numbers == EMPTY, room)):
            fresh = (numbers == EMPTY) | np.isin(numbers, revived)
            raise refuse_series(series_limit or 0, _describe_series(columns, fresh))
        if revived.size:
            self._is_forgotten[revived] = False
            self._series_counts[scope] = self._series_counts.get(scope, 0) + revived.size
        if unknown:
            numbers, _none = self._find(components, topics, columns)
        return numbers

    def _scope_of(self, project: str) -> int:
        scope = self._projects.get(project)
        if scope is None:
            scope = self._projects[project] = len(self.project_names)
            self.project_names.append(project)
        return scope

    def _forgotten_among(self, scope: int, numbers: Int32s) -> Int32s:
        """Return the distinct series among those of rows that were forgotten and have not come again since."""
        if scope not in self._scopes_forgotten:
            return NO_SERIES
        older = numbers[(numbers != EMPTY) & (numbers < self._is_forgotten.size)]
        return np.unique(older[self._is_forgotten[older]])

    def _find(self, components: Int32s, topics: Int32s, columns: "BatchColumns") -> tuple[Int32s, int]:
        found: tuple[Int32s, int] = find_series(
            self._slots, self.component_of, self.topic_of, components, topics,
            columns.component_codes, columns.topic_codes,
        )  # fmt: skip
        return found

    def _add(
        self,
        scope: int,
        columns: "BatchColumns",
        components: Int32s,
        topics: Int32s,
        is_unknown: Bools,
        room: int,
    ) -> bool:
        """Number the series of unknown rows, and their names, which go into `components` and `topics`.

        Returns whether there was room for so many; if not, nothing was kept.
        """
        component_codes, topic_codes = columns.component_codes[is_unknown], columns.topic_codes[is_unknown]
        with self._lock:
            known_names = len(self._components), len(self._topics)
            self._components.add(scope, columns.components, components, _marked(component_codes, components.size))
            self._topics.add(LAKE_WIDE, columns.topics, topics, _marked(topic_codes, topics.size))
            pairs = components[component_codes].astype(np.int64) << 32 | topics[topic_codes]
            pairs.sort()
            fresh = pairs[np.append(np.ones(1, np.bool_), pairs[1:] != pairs[:-1])]
            if fresh.size > room:
                self._components.drop_from(known_names[0])
                self._topics.drop_from(known_names[1])
                return False
            self._append(fresh, self._doubtful_to.get(scope, NEVER))
            self._series_counts[scope] = self._series_counts.get(scope, 0) + fresh.size
            return True

    def _append(self, pairs: Int64s, doubtful_to: int) -> None:
        start, stop = self._count, self._count + pairs.size
        if stop > self.claimed_to.size:
            self._grow(room_for(stop, self.claimed_to.size))
        self.component_of[start:stop] = pairs >> 32
        self.topic_of[start:stop] = pairs & TOPIC_MASK
        for column in (self.newest_t, self.newest_received_at):
            column[start:stop] = NEVER
        for column in (self.claimed_to, self.covered_from):
            column[start:stop] = doubtful_to
        if 2 * stop > self._slots.size:
            slots = slots_for(stop)
            enter_series(slots, self.component_of, self.topic_of, 0, stop)
            self._slots = slots
        else:
            enter_series(self._slots, self.component_of, self.topic_of, start, stop)
        self._count = stop

    def _grow(self, size: int) -> None:
        count = self._count
        self.component_of = grown(self.component_of, size, count)
        self.topic_of = grown(self.topic_of, size, count)
        self.claimed_to = grown(self.claimed_to, size, count)
        self.covered_from = grown(self.covered_from, size, count)
        self.newest_t = grown(self.newest_t, size, count)
        self.newest_received_at = grown(self.newest_received_at, size, count)
        self.newest_payload = {name: grown(column, size, count) for name, column in self.newest_payload.items()}

    def publish(self, rows: Rows) -> None:
        """Take the newest row of each series from rows that have become durable."""
        with self._lock:
            raise_newest(
                self.newest_t,
                self.newest_received_at,
                self.newest_payload.get("value", NO_VALUES),
                self.newest_payload.get("quality", NO_QUALITIES),
                rows.series,
                rows.t,
                rows.received_at,
                rows.payload.get("value", NO_VALUES),
                rows.payload.get("quality", NO_QUALITIES),
            )
            if self.spec.has_extra:
                kinds, counts = np.unique(self.topic_of[rows.series], return_counts=True)
                for kind, count in zip(kinds.tolist(), counts.tolist(), strict=True):
                    self._published[kind] = self._published.get(kind, 0) + count

    def count_published(self, kind: str) -> int:
        """Return how many events of a kind were published since the start, over all projects."""
        with self._lock:
            (number,) = self._topics.find(LAKE_WIDE, _names((kind,))).tolist()
            return self._published.get(number, 0)

    def load_newest(self, project: str, table: pa.Table) -> None:
        """Take newest rows that come from files: columns component, topic, instant, received_at and payload."""
        columns = columns_of_batch(table, self._numeric)  # an index remembers numbers, not bodies
        rows = Rows(
            series=self.number_series(project, columns),
            t=columns.t,
            extra=NO_EXTRA,
            received_at=instants_us(table.column("received_at")),
            payload=columns.payload,
        )
        self.publish(rows)
        self.claim(rows)
        np.maximum.at(self.covered_from, rows.series, rows.t)

    def forget(self, project: str) -> None:
        """Know nothing any more of a project's rows. Under the sequencer's lock.

        Its series keep their numbers, and count again when they come again.
        """
        series = self.series_of(project, None, None)
        with self._lock:
            for column in (self.claimed_to, self.covered_from, self.newest_t):
                column[series] = NEVER
        if series.size:
            scope = self._projects[project]
            is_forgotten = np.zeros(self._count, np.bool_)
            is_forgotten[: self._is_forgotten.size] = self._is_forgotten
            is_forgotten[series] = True
            self._is_forgotten = is_forgotten
            self._scopes_forgotten.add(scope)
            self._doubtful_to.pop(scope, None)
            self._series_counts[scope] = 0

    def claim(self, rows: Rows) -> None:
        """Raise the newest claimed instants to rows that are known to be stored."""
        np.maximum.at(self.claimed_to, rows.series, rows.t)

    def doubt(self, project: str, instant_us: int) -> None:
        """Take any key of a project up to an instant for one that may be stored, also of series that nobody knows yet.

        For a start that cannot read a file: what could repeat one of its rows is looked for in it, and refused.
        """
        scope = self._scope_of(project)
        self._doubtful_to[scope] = max(instant_us, self._doubtful_to.get(scope, NEVER))
        series = self.series_of(project, None, None)
        for column in (self.claimed_to, self.covered_from):
            column[series] = np.maximum(column[series], instant_us)

    def cover_from(self, project: str, instant_us: int) -> None:
        """Say that all stored keys of a project after an instant are remembered. Under the sequencer's lock."""
        series = self.series_of(project, None, None)
        self.covered_from[series] = np.minimum(self.covered_from[series], instant_us)

    def series_of(self, project: str, components: tuple[str, ...] | None, topics: tuple[str, ...] | None) -> Int32s:
        """Return the numbers of a project's series, of named components and topics where given."""
        scope = self._projects.get(project)
        if scope is None:
            return NO_SERIES
        with self._lock:
            count, component_of, topic_of = self._count, self.component_of, self.topic_of
            scopes = self._components.scopes
            wanted_topics = None if topics is None else self._topics.find(LAKE_WIDE, _names(topics))
            if components is not None:
                series = self._series_of_components(scope, components)
        # Without the lock: what was there before these arrays were taken does not change any more.
        if components is None:
            series = np.flatnonzero(scopes[component_of[:count]] == scope).astype(np.int32)
        if wanted_topics is not None:
            series = series[np.isin(topic_of[series], wanted_topics)]
        return series

    def _series_of_components(self, scope: int, components: tuple[str, ...]) -> Int32s:
        found = self._components.find(scope, _names(components))
        ids = np.unique(found[found != EMPTY])
        if ids.size * len(self._topics) > self._count:
            return np.flatnonzero(np.isin(self.component_of[: self._count], ids)).astype(np.int32)
        topics = np.arange(len(self._topics), dtype=np.int32)
        component_codes = np.repeat(np.arange(ids.size, dtype=np.int32), topics.size)
        series, _unknown = find_series(
            self._slots, self.component_of, self.topic_of, ids, topics, component_codes, np.tile(topics, ids.size)
        )
        known_series: Int32s = series[series != EMPTY]
        return known_series

    def series_from(
        self, first: int, project: str, components: tuple[str, ...] | None, topics: tuple[str, ...] | None
    ) -> tuple[Int32s, int]:
        """Return a project's series numbered `first` or later, chosen as in `series_of`, and how many series there are.

        For who looks again and again: only what is new is looked at.
        """
        with self._lock:
            count, component_of, topic_of = self._count, self.component_of, self.topic_of
            scopes, scope = self._components.scopes, self._projects.get(project)
            if first >= count or scope is None:
                return NO_SERIES, count
            wanted = None if components is None else self._components.find(scope, _names(components))
            wanted_topics = None if topics is None else self._topics.find(LAKE_WIDE, _names(topics))
        series = np.arange(first, count, dtype=np.int32)
        series = series[scopes[component_of[series]] == scope]
        if wanted is not None:
            series = series[np.isin(component_of[series], wanted)]
        if wanted_topics is not None:
            series = series[np.isin(topic_of[series], wanted_topics)]
        return series, count

    def newest_since(self, series: Int32s, since_us: int) -> Rows:
        """Return the newest visible rows of those series whose newest row was received after an instant [us]."""
        # Without the lock: what is raised meanwhile is seen now or next time.
        return self._newest(series[self.newest_received_at[series] > since_us])

    @property
    def component_count(self) -> int:
        """How many components have a number."""
        return len(self._components)

    def number_components(self, project: str, names: pa.StringArray) -> Int32s:
        """Return the number of each component of a project, EMPTY for those without a series."""
        scope = self._projects.get(project)
        if scope is None:
            return np.full(len(names), EMPTY, np.int32)
        with self._lock:
            return self._components.find(scope, names_of(names))

    def name_components(self, numbers: Int32s | Int64s) -> pa.StringArray:
        """Return the names of components by number."""
        return self._components.to_arrow(numbers.astype(np.int64))

    def find_series_of(self, components: Int32s, topics: tuple[str, ...]) -> Int32s:
        """Return the series of each component (first axis) and topic (second), EMPTY where there is none."""
        component_codes = np.repeat(np.arange(components.size, dtype=np.int32), len(topics))
        topic_codes = np.tile(np.arange(len(topics), dtype=np.int32), components.size)
        with self._lock:
            series, _unknown = find_series(
                self._slots, self.component_of, self.topic_of, components,
                self._topics.find(LAKE_WIDE, _names(topics)), component_codes, topic_codes,
            )  # fmt: skip
        found: Int32s = series.reshape(components.size, len(topics))
        return found

    def newest_values(self, series: Int32s) -> tuple[Int64s, Int64s, Column]:
        """Return (measured_at [us], received_at [us], value) of the newest visible rows, in the shape of `series`.

        NEVER, NEVER and NaN where there is none, and for EMPTY; NaN for one of bad quality, too.
        """
        is_known = series != EMPTY
        if not is_known.any():
            return np.full(series.shape, NEVER), np.full(series.shape, NEVER), np.full(series.shape, np.nan)
        with self._lock:
            t = np.where(is_known, self.newest_t[series], NEVER)
            is_known &= t != NEVER
            received_at = np.where(is_known, self.newest_received_at[series], NEVER)
            is_known &= self.newest_payload["quality"][series] != QUALITY_BAD
            value = np.where(is_known, self.newest_payload["value"][series], np.nan)
        return t, received_at, value

    def newest_rows(self, project: str, components: tuple[str, ...] | None) -> pa.Table:
        """Return the newest visible row per series, sorted by component and topic."""
        rows = self._newest(self.series_of(project, components, None))
        return self.to_arrow(rows.take(self._order_by_name(rows.series)))

    def newest_by_project(self) -> Iterator[tuple[str, Rows]]:
        """Yield the newest visible rows of every series, some of one project at a time, without names."""
        with self._lock:
            scope_of = self._components.scopes[self.component_of[: self._count]]
        order = np.argsort(scope_of, kind="stable").astype(np.int32)
        ends = np.cumsum(np.bincount(scope_of)).tolist()
        for project, start, stop in zip(self.project_names, [0, *ends], ends, strict=False):
            for at in range(start, stop, STEP_SERIES):
                yield project, self._newest(order[at : min(at + STEP_SERIES, stop)])

    def _newest(self, series: Int32s) -> Rows:
        """Return the newest row of each series that has one; each is whole, but they need not be of one moment."""
        parts = [self._newest_some(series[at : at + STEP_SERIES]) for at in range(0, series.size, STEP_SERIES)]
        return concat_rows(parts, self._numeric)

    def _newest_some(self, series: Int32s) -> Rows:
        with self._lock:
            series = series[self.newest_t[series] != NEVER]
            return Rows(
                series=series,
                t=self.newest_t[series],
                extra=NO_EXTRA,
                received_at=self.newest_received_at[series],
                payload={name: column[series] for name, column in self.newest_payload.items()},
            )

    def to_arrow(self, rows: Rows) -> pa.Table:
        """Return rows under their names, in the schema that reads give back."""
        names = self.name_columns(rows.series)
        arrays = [column.cast(pa.string()) for column in names]
        arrays += [timestamp_array(rows.t), *payload_arrays(rows, self.spec), timestamp_array(rows.received_at)]
        return pa.Table.from_arrays(arrays, schema=self.spec.rows)

    def newest_schema(self) -> pa.Schema:
        """Return the schema of what `newest_to_arrow` gives and `load_newest` takes: names as dictionaries."""
        spec = self._numeric
        names = [pa.field("component", NAME), pa.field(spec.topic, NAME)]
        others = [spec.instant, "received_at", *(name for name, _dtype in spec.payload)]
        return pa.schema([*names, *(spec.rows.field(name) for name in others)])

    def newest_to_arrow(self, rows: Rows) -> pa.Table:
        """Return newest rows in the `newest_schema`."""
        instants = [timestamp_array(rows.t), timestamp_array(rows.received_at)]
        arrays = [*self.name_columns(rows.series), *instants, *payload_arrays(rows, self._numeric)]
        return pa.Table.from_arrays(arrays, schema=self.newest_schema())

    def name_columns(self, series: Int32s) -> tuple[pa.DictionaryArray, pa.DictionaryArray]:
        """Return the component and topic of each row."""
        return self._components.column(self.component_of[series]), self._topics.column(self.topic_of[series])

    def projects_of(self, series: Int32s) -> tuple[list[str], Int32s]:
        """Return the distinct projects of rows, and each row's position among them."""
        numbers, codes = distinct_codes(self._components.scopes[self.component_of[series]], len(self.project_names))
        return [self.project_names[number] for number in numbers.tolist()], codes

    def sort_rows(self, series: Int32s, t: Int64s) -> Int64s:
        """Return the order of rows by (component, topic, instant), the order of the files."""
        used, positions = distinct_codes(series, self._count)
        rank = np.empty(used.size, np.int32)
        rank[self._order_by_name(used)] = np.arange(used.size, dtype=np.int32)
        _offsets, order = order_by_series(rank[positions], used.size, t)
        return order

    def _order_by_name(self, series: Int32s | Int64s) -> Int64s:
        """Return the order of distinct series by component and topic; UTF-8 sorts like the characters it stands for."""
        components, component_at = distinct_codes(self.component_of[series], len(self._components))
        topics, topic_at = distinct_codes(self.topic_of[series], len(self._topics))
        component_rank, topic_rank = (
            _ranks(self._components.to_arrow(components)),
            _ranks(self._topics.to_arrow(topics)),
        )
        order: Int64s = np.argsort(component_rank[component_at] * topics.size + topic_rank[topic_at], kind="stable")
        return order


def _ranks(names: pa.StringArray) -> Int64s:
    """Return the position of each name among the sorted names; equal names of two projects may come in any order."""
    ranks = np.empty(len(names), np.int64)
    ranks[pc.array_sort_indices(names).to_numpy()] = np.arange(len(names))
    return ranks


def _marked(codes: Int32s, count: int) -> Bools:
    """Return which of the codes below `count` occur."""
    marks = np.zeros(count, np.bool_)
    marks[codes] = True
    return marks


def _names(names: tuple[str, ...]) -> Names:
    return names_of(pa.array(names, pa.string()))


def _all_names(table: NameTable) -> list[str]:
    names: list[str] = table.to_arrow(np.arange(len(table))).to_pylist()
    return names


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchColumns:
    """A batch as plain columns, before its series are numbered: all that needs no lock."""

    components: Names
    component_codes: Int32s
    topics: Names
    topic_codes: Int32s
    t: Int64s
    extra: Int64s
    payload: dict[str, Column]

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self.t.size)

    def count_topic(self, topic: bytes, among: Bools) -> int:
        """Return how many of the marked rows are of a topic, given in UTF-8."""
        starts = self.topics.starts
        for code in np.flatnonzero(np.diff(starts) == len(topic)).tolist():
            if self.topics.letters[starts[code] : starts[code + 1]].tobytes() == topic:
                return int(np.count_nonzero(among & (self.topic_codes == code)))
        return 0


def columns_of_batch(batch: pa.Table, spec: TableSpec) -> BatchColumns:
    """Return a batch as plain columns."""
    components, component_codes = _names_and_codes(batch.column("component"))
    topics, topic_codes = _names_and_codes(batch.column(spec.topic))
    return BatchColumns(
        components=components,
        component_codes=component_codes,
        topics=topics,
        topic_codes=topic_codes,
        t=instants_us(batch.column(spec.instant)),
        extra=body_extra(batch, spec),
        payload=batch_payload(batch, spec),
    )


def numbered_rows(index: SeriesIndex, project: str, columns: BatchColumns, *, series_limit: int | None = None) -> Rows:
    """Return columns as rows with numbered series, not stamped yet.

    Raises:
        Refused: the project would hold more than `series_limit` series.
    """
    if not len(columns):
        return empty_rows(index.spec)
    return Rows(
        series=index.number_series(project, columns, series_limit=series_limit),
        t=columns.t,
        extra=columns.extra,
        received_at=UNSTAMPED,
        payload=columns.payload,
    )


SERIES_LOOKED_AT = 1_000  # rows of a refused batch: enough to name some


def _describe_series(columns: BatchColumns, wanted: Bools) -> list[str]:
    """Return the first distinct series among wanted rows, as `component / topic`."""
    pairs = zip(columns.component_codes[wanted].tolist(), columns.topic_codes[wanted].tolist(), strict=True)
    first = dict.fromkeys(islice(pairs, SERIES_LOOKED_AT))
    names = columns.components, columns.topics
    return [" / ".join(_text_of(*one) for one in zip(names, pair, strict=True)) for pair in first]


def _text_of(names: Names, at: int) -> str:
    return bytes(names.letters[names.starts[at] : names.starts[at + 1]]).decode()


def rows_of_batch(index: SeriesIndex, project: str, batch: pa.Table, received_at_us: int | None = None) -> Rows:
    """Return a batch as rows with numbered series, stamped if a stamp is given."""
    rows = numbered_rows(index, project, columns_of_batch(batch, index.spec))
    if received_at_us is None:
        return rows
    return replace(rows, received_at=np.full(batch.num_rows, received_at_us, np.int64))


def rows_of_keys(index: SeriesIndex, project: str, keys: pa.Table) -> Rows:
    """Return stored keys, the key columns of a table, as rows without stamps and payload."""
    columns = columns_of_batch(keys, replace(index.spec, payload=()))
    series = index.number_series(project, columns)
    return Rows(series=series, t=columns.t, extra=columns.extra, received_at=UNSTAMPED, payload={})


def _names_and_codes(column: pa.ChunkedArray) -> tuple[Names, Int32s]:
    """Return the dictionary of a name column and each row's code in it."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    array = as_array(column if column.num_chunks == 1 else column.unify_dictionaries())
    if len(array.dictionary) > len(array):  # a slice of a long column: most names are of rows that are not here
        array = array.dictionary_decode().dictionary_encode()
    return names_of(array.dictionary), plain_values(array.indices, np.dtype(np.int32))


def warm_up() -> None:
    """Load every compiled loop that a write needs, so that the first write need not wait for it."""
    keyhash.warm_up()
    index, count = SeriesIndex(MEASUREMENTS), MIN_SLOTS  # enough names for the tables to grow
    codes = np.arange(count, dtype=np.int32)
    columns = BatchColumns(
        components=_names(tuple(str(code) for code in codes)),
        component_codes=codes,
        topics=_names(("warm",)),
        topic_codes=np.zeros(count, np.int32),
        t=np.zeros(count, np.int64),
        extra=NO_EXTRA,
        payload={},
    )
    index.sort_rows(index.number_series("warm", columns), columns.t)
    with suppress(Refused):
        index.number_series("full", columns, series_limit=0)
