"""Known keys: what makes a newer row cheap and an older one cheap enough.

Per series the newest row is in memory: a row that is newer cannot be a duplicate. Keys of the rows flushed most
recently are kept as 8-byte hashes within a memory bound; `covered_from` says, per series, after which instant those
hashes are complete, so that a late row inside that span with no hit is proven new without opening a file.
"""

import threading
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from gaugehouse.errors import Refused
from gaugehouse.lake.keyhash import (
    EMPTY,
    NEVER,
    NO_EXTRA,
    Bools,
    Int32s,
    Int64s,
    NumberMap,
    UInt64s,
    hash_keys,
    raise_newest,
)
from gaugehouse.lake.rows import (
    Column,
    Rows,
    TableSpec,
    as_array,
    batch_payload,
    body_extra,
    distinct_codes,
    empty_rows,
    instants_us,
    name_column,
    order_by_series,
    payload_arrays,
    resized,
    timestamp_array,
)

NO_VALUES: Column = np.empty(0, np.float64)
NO_QUALITIES: Column = np.empty(0, np.uint8)
UNSTAMPED: Int64s = np.empty(0, np.int64)
TOPIC_BITS = 24  # the rest of 63 bits numbers the components
TOPIC_LIMIT = 1 << TOPIC_BITS


class SeriesIndex:
    """Numbers every series of one table and knows its newest row.

    Numbers are given under the sequencer's lock; `_lock` keeps readers and `publish` apart from growing columns.
    """

    def __init__(self, spec: TableSpec) -> None:
        self.spec = spec
        self._lock = threading.Lock()
        self.component_names: list[str] = []
        self.project_names: list[str] = []
        self._project_of = np.empty(0, np.int32)  # per component
        self.topic_names: list[str] = []
        self._components: dict[str, dict[str, int]] = {}
        self._topics: dict[str, int] = {}
        self._projects: dict[str, int] = {}
        self._series_counts: dict[str, int] = {}
        self._numbers = NumberMap()
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
        return len(self._numbers)

    def count_series(self, project: str) -> int:
        """Return the number of series of a project."""
        return self._series_counts.get(project, 0)

    def number_series(self, project: str, columns: "BatchColumns", *, series_limit: int | None = None) -> Int32s:
        """Return the series number of each row, numbering series seen for the first time.

        Raises:
            Refused: the project would hold more than `series_limit` series; no series was numbered.
        """
        self._refuse_names(series_limit, project, columns.components, columns.topics)
        component_ids = np.array([self._component_id(project, name) for name in columns.components], np.int64)
        topic_ids = np.array([self._topic_id(name) for name in columns.topics], np.int64)
        keys = (component_ids[columns.component_codes] << TOPIC_BITS) | topic_ids[columns.topic_codes]
        numbers = self._numbers.find(keys)
        if np.any(numbers == EMPTY):
            fresh = np.unique(keys[numbers == EMPTY])
            self._refuse_over(series_limit, project, fresh.size)
            self._add_series(fresh)
            self._series_counts[project] = self.count_series(project) + fresh.size
            numbers = self._numbers.find(keys)
        return numbers

    def _refuse_names(self, series_limit: int | None, project: str, components: list[str], topics: list[str]) -> None:
        """Refuse before any name is kept: each unseen name means at least one series more."""
        known = self._components.get(project, {})
        unseen_topics = sum(name not in self._topics for name in topics)
        self._refuse_over(series_limit, project, max(unseen_topics, sum(name not in known for name in components)))
        if len(self._topics) + unseen_topics > TOPIC_LIMIT:
            raise Refused(f"a lake holds at most {TOPIC_LIMIT} names of {self.spec.topic}s", code="series_limit")

    def _refuse_over(self, series_limit: int | None, project: str, unseen: int) -> None:
        if unseen and series_limit is not None and self.count_series(project) + unseen > series_limit:
            raise Refused(f"a project holds at most {series_limit} series", code="series_limit")

    def _component_id(self, project: str, name: str) -> int:
        known = self._components.setdefault(project, {})
        number = known.get(name)
        if number is None:
            number = known[name] = len(self.component_names)
            self.component_names.append(name)
            if number >= self._project_of.size:
                self._project_of = resized(self._project_of, max(256, 2 * number), 0)
            self._project_of[number] = self._project_id(project)
        return number

    def _project_id(self, project: str) -> int:
        if project not in self._projects:
            self._projects[project] = len(self.project_names)
            self.project_names.append(project)
        return self._projects[project]

    def _topic_id(self, name: str) -> int:
        number = self._topics.get(name)
        if number is None:
            number = self._topics[name] = len(self.topic_names)
            self.topic_names.append(name)
        return number

    def _add_series(self, keys: Int64s) -> None:
        start, stop = len(self._numbers), len(self._numbers) + keys.size
        with self._lock:
            self._reserve(stop)
            self.component_of[start:stop] = keys >> TOPIC_BITS
            self.topic_of[start:stop] = keys & ((1 << TOPIC_BITS) - 1)
            self._numbers.add(keys)

    def _reserve(self, series: int) -> None:
        if series <= self.claimed_to.size:
            return
        size = max(series, 2 * self.claimed_to.size, 256)
        self.component_of = resized(self.component_of, size, 0)
        self.topic_of = resized(self.topic_of, size, 0)
        self.claimed_to = resized(self.claimed_to, size, NEVER)
        self.covered_from = resized(self.covered_from, size, NEVER)
        self.newest_t = resized(self.newest_t, size, NEVER)
        self.newest_received_at = resized(self.newest_received_at, size, NEVER)
        self.newest_payload = {name: resized(column, size, 0) for name, column in self.newest_payload.items()}

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
        """Know nothing any more of a project's rows; its series keep their numbers. Under the sequencer's lock."""
        series = self.series_of(project, None, None)
        with self._lock:
            for column in (self.claimed_to, self.covered_from, self.newest_t):
                column[series] = NEVER

    def claim(self, rows: Rows) -> None:
        """Raise the newest claimed instants to rows that are known to be stored."""
        np.maximum.at(self.claimed_to, rows.series, rows.t)

    def _is_of_project(self, project: str) -> Bools:
        number = self._projects.get(project, EMPTY)
        is_mine: Bools = self._project_of[self.component_of[: len(self)]] == number
        return is_mine

    def series_of(self, project: str, components: tuple[str, ...] | None, topics: tuple[str, ...] | None) -> Int32s:
        """Return the numbers of a project's series, of named components and topics where given."""
        wanted: Int32s
        with self._lock:
            if components is None:
                wanted = np.flatnonzero(self._is_of_project(project)).astype(np.int32)
            else:
                wanted = self._series_of_components(project, components)
            if topics is not None:
                ids = [self._topics[name] for name in topics if name in self._topics]
                wanted = wanted[np.isin(self.topic_of[wanted], np.array(ids, np.int32))]
        return wanted

    def _series_of_components(self, project: str, components: tuple[str, ...]) -> Int32s:
        known = self._components.get(project, {})
        ids = np.array([known[name] for name in set(components) if name in known], np.int64)
        if ids.size * len(self._topics) > len(self):
            return np.flatnonzero(np.isin(self.component_of[: len(self)], ids)).astype(np.int32)
        topics = np.arange(len(self._topics), dtype=np.int64)
        found = self._numbers.find(((ids[:, None] << TOPIC_BITS) | topics[None, :]).ravel())
        known_series: Int32s = found[found != EMPTY]
        return known_series

    def newest_rows(self, project: str, components: tuple[str, ...] | None) -> pa.Table:
        """Return the newest visible row per series, sorted by component and topic."""
        series = self.series_of(project, components, None)
        with self._lock:
            rows = self._newest(series[self.newest_t[series] != NEVER])
        return self.to_arrow(rows).sort_by([("component", "ascending"), (self.spec.topic, "ascending")])

    def all_newest(self) -> pa.Table:
        """Return the newest visible row of every series of every project, with a column `project`."""
        with self._lock:
            series = np.flatnonzero(self.newest_t[: len(self)] != NEVER).astype(np.int32)
            rows = self._newest(series)
            projects = name_column(self.project_names, self._project_of[self.component_of[series]])
        names = self.name_columns(series)
        arrays = [projects.cast(pa.string()), *names, timestamp_array(rows.t), timestamp_array(rows.received_at)]
        columns = ["project", "component", self.spec.topic, self.spec.instant, "received_at"]
        for name, column in rows.payload.items():
            arrays.append(pa.array(column, from_pandas=column.dtype.kind == "f"))
            columns.append(name)
        return pa.table(dict(zip(columns, arrays, strict=True)))

    def _newest(self, series: Int32s) -> Rows:
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

    def name_columns(self, series: Int32s) -> tuple[pa.DictionaryArray, pa.DictionaryArray]:
        """Return the component and topic of each row."""
        return (
            name_column(self.component_names, self.component_of[series]),
            name_column(self.topic_names, self.topic_of[series]),
        )

    def projects_of(self, series: Int32s) -> tuple[list[str], Int32s]:
        """Return the distinct projects of rows, and each row's position among them."""
        numbers, codes = distinct_codes(self._project_of[self.component_of[series]], len(self.project_names))
        return [self.project_names[number] for number in numbers.tolist()], codes

    def sort_rows(self, series: Int32s, t: Int64s) -> Int64s:
        """Return the order of rows by (component, topic, instant), the order of the files."""
        used, positions = distinct_codes(series, len(self))
        names = [
            (self.component_names[component], self.topic_names[topic])
            for component, topic in zip(self.component_of[used].tolist(), self.topic_of[used].tolist(), strict=True)
        ]
        rank = np.empty(used.size, np.int32)
        rank[sorted(range(used.size), key=names.__getitem__)] = np.arange(used.size, dtype=np.int32)
        _offsets, order = order_by_series(rank[positions], used.size, t)
        return order


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchColumns:
    """A batch as plain columns, before its series are numbered: all that needs no lock."""

    components: list[str]
    component_codes: Int64s
    topics: list[str]
    topic_codes: Int64s
    t: Int64s
    extra: Int64s
    payload: dict[str, Column]

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self.t.size)


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


def rows_of_batch(index: SeriesIndex, project: str, batch: pa.Table, received_at_us: int | None = None) -> Rows:
    """Return a batch as rows with numbered series, stamped if a stamp is given."""
    rows = numbered_rows(index, project, columns_of_batch(batch, index.spec))
    if received_at_us is None:
        return rows
    return replace(rows, received_at=np.full(batch.num_rows, received_at_us, np.int64))


def _names_and_codes(column: pa.ChunkedArray) -> tuple[list[str], Int64s]:
    """Return the dictionary of a name column and each row's code in it."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    array = as_array(column if column.num_chunks == 1 else column.unify_dictionaries())
    if len(array.dictionary) > len(array):  # names that no row has need no number
        array = array.dictionary_decode().dictionary_encode()
    return array.dictionary.to_pylist(), array.indices.to_numpy(zero_copy_only=False).astype(np.int64)


@dataclass(slots=True, kw_only=True)
class Generation:
    """Sorted hashes of flushed keys, and the newest instant of each series among them."""

    hashes: UInt64s
    series: Int32s
    newest_t: Int64s


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentKeysPlan:
    """Generations to keep, oldest first, and generations to forget."""

    kept: list[Generation]
    forgotten: list[Generation]


def _size_bytes(generations: list[Generation]) -> int:
    return sum(part.hashes.nbytes + part.series.nbytes + part.newest_t.nbytes for part in generations)


class RecentKeys:
    """Hashes of the keys flushed most recently, merged like a log-structured tree, within a memory bound."""

    def __init__(self, index: SeriesIndex, limit_bytes: int) -> None:
        self._index = index
        self._limit_bytes = limit_bytes
        self._generations: list[Generation] = []  # oldest first

    def add(self, generation: Generation) -> None:
        """Remember rows that have just been flushed; forget the oldest when over the bound."""
        self.take(self.plan(generation))

    def plan(self, generation: Generation) -> "RecentKeysPlan":
        """Return what remembering rows comes to. Merging millions of hashes needs no lock, only one who plans."""
        kept, forgotten = list(self._generations), []
        if generation.hashes.size:
            kept.append(generation)
        while len(kept) > 1 and kept[-2].hashes.size < 2 * kept[-1].hashes.size:
            newer, older = kept.pop(), kept.pop()
            kept.append(_merged(older, newer))
        while kept and _size_bytes(kept) > self._limit_bytes:
            forgotten.append(kept.pop(0))
        return RecentKeysPlan(kept=kept, forgotten=forgotten)

    def take(self, plan: "RecentKeysPlan") -> None:
        """Do what `plan` said; under the sequencer's lock."""
        self._generations = plan.kept
        for generation in plan.forgotten:
            np.maximum.at(self._index.covered_from, generation.series, generation.newest_t)

    def size_bytes(self) -> int:
        return _size_bytes(self._generations)

    def may_be_stored(self, rows: Rows) -> Bools:
        """Return for each row whether a stored row could have its key: False is proof that it is new."""
        is_covered = rows.t > self._index.covered_from[rows.series]
        hashes = hash_keys(rows.series, rows.t, rows.extra)
        is_hit = np.zeros(len(rows), np.bool_)
        for generation in self._generations:
            positions = np.searchsorted(generation.hashes, hashes)
            positions[positions == generation.hashes.size] = 0
            is_hit |= generation.hashes[positions] == hashes
        answer: Bools = ~is_covered | is_hit
        return answer


def generation_of(rows: Rows) -> Generation:
    """Return the hashes of flushed rows, ready to be remembered."""
    series, newest_t = _newest_per_series(rows.series, rows.t)
    hashes = np.sort(hash_keys(rows.series, rows.t, rows.extra))
    return Generation(hashes=hashes, series=series, newest_t=newest_t)


def _newest_per_series(series: Int32s, t: Int64s) -> tuple[Int32s, Int64s]:
    order = np.lexsort((t, series))
    ordered = series[order]
    is_last = np.append(ordered[1:] != ordered[:-1], np.ones(min(1, series.size), np.bool_))
    return ordered[is_last], t[order][is_last]


def _merged(older: Generation, newer: Generation) -> Generation:
    hashes = np.concatenate([older.hashes, newer.hashes])
    hashes.sort(kind="stable")  # two sorted runs: a merge
    series, newest_t = _newest_per_series(
        np.concatenate([older.series, newer.series]), np.concatenate([older.newest_t, newer.newest_t])
    )
    return Generation(hashes=hashes, series=series, newest_t=newest_t)
