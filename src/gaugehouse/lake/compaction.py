"""Many small files of a partition become one sorted file, each row at most four times.

A flush leaves files of tier 0; merging files gives one of a higher tier, and tier 4 is left alone. The rows are the
same, so readers, known keys and pinned reports notice nothing: one Delta commit swaps the files (`dataChange` false),
and the old ones stay on the disk for whoever is reading them.
"""

import hashlib
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gaugehouse.errors import DamageFound
from gaugehouse.lake.delta import DataFileWriter, FileEntry
from gaugehouse.lake.keyhash import Int64s
from gaugehouse.lake.manifest import CommittedFile
from gaugehouse.lake.rows import TableSpec, as_array, instants_us, order_by_series

TIER_LIMIT = 4
FAN_IN = 16  # so many files of one tier become one of the next
QUIET_FAN_IN = 4  # of all tiers, in a partition that gets no more rows
QUIET_S = 3600.0
FULL_ROWS = 16_777_216  # a file never grows beyond this: merging keeps its rows in memory slice by slice
SLICE_ROWS = 1_048_576
MERGED_NAME = re.compile(r"/merged-(\d)-[0-9a-f]{16}\.zstd\.parquet$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """Files of one partition that become one.

    Args:
        entries: At least two, oldest rows first.
        tier: Of the result; higher than that of every input.
    """

    entries: tuple[FileEntry, ...]
    tier: int

    @property
    def rows(self) -> int:
        return sum(entry.rows for entry in self.entries)


def tier_of(entry: FileEntry) -> int:
    """Return how often the rows of a file have been rewritten."""
    match = MERGED_NAME.search(entry.path)
    return int(match[1]) if match else 0


def by_partition(entries: Iterable[FileEntry]) -> dict[tuple[str, str], list[FileEntry]]:
    """Return the files of each (project, month), oldest rows first."""
    partitions: dict[tuple[str, str], list[FileEntry]] = {}
    for entry in entries:
        partitions.setdefault((entry.project, entry.month), []).append(entry)
    for files in partitions.values():
        files.sort(key=lambda entry: (entry.received_us, entry.path))
    return partitions


def plan_merge(entries: Iterable[FileEntry], *, now_us: int) -> Merge | None:
    """Return the most useful merge that the policy asks for, None when every partition is as it should be."""
    merges = [
        merge
        for files in by_partition(entries).values()
        if (merge := _plan_partition(files, now_us=now_us)) is not None
    ]
    return max(merges, key=lambda merge: len(merge.entries), default=None)


def plan_everything(entries: Iterable[FileEntry]) -> Iterator[Merge]:
    """Yield merges that leave as few files as possible, whatever the policy would wait for."""
    for files in by_partition(entries).values():
        open_files = _open(files)
        while len(group := _fitting(open_files)) > 1:
            yield _merge(group)
            open_files = open_files[len(group) :]


def _plan_partition(files: list[FileEntry], *, now_us: int) -> Merge | None:
    open_files = _open(files)
    for tier in range(TIER_LIMIT):
        group = _fitting([entry for entry in open_files if tier_of(entry) == tier])
        is_full = sum(entry.rows for entry in group) >= FULL_ROWS // 2
        if len(group) >= FAN_IN or (is_full and len(group) > 1):
            return _merge(group)
    newest_us = max(entry.received_us[1] for entry in files)
    if len(open_files) >= QUIET_FAN_IN and now_us - newest_us > QUIET_S * 1e6:
        group = _fitting(open_files)
        return _merge(group) if len(group) > 1 else None
    return None


def _open(files: list[FileEntry]) -> list[FileEntry]:
    """Return the files that may still be merged."""
    return [entry for entry in files if tier_of(entry) < TIER_LIMIT and entry.rows < FULL_ROWS // 2]


def _fitting(files: Sequence[FileEntry]) -> list[FileEntry]:
    """Return the first files whose rows fit into one."""
    group: list[FileEntry] = []
    rows = 0
    for entry in files:
        if rows + entry.rows > FULL_ROWS:
            break
        group.append(entry)
        rows += entry.rows
    return group


def _merge(files: Sequence[FileEntry]) -> Merge:
    return Merge(entries=tuple(files), tier=1 + max(tier_of(entry) for entry in files))


def write_merged(
    root: Path,
    merge: Merge,
    spec: TableSpec,
    written: Mapping[str, CommittedFile],
    should_stop: Callable[[], bool],
) -> tuple[FileEntry, CommittedFile] | None:
    """Write one file with the rows of all, synced; return None when asked to stop.

    Args:
        root: Folder of the table.
        merge: What to merge.
        spec: Of the table.
        written: What each file was when it was written, as the manifest says.
        should_stop: Asked between slices.

    Raises:
        DamageFound: a file is not what was written, a row is missing or a key is there twice; nothing is left behind.
    """
    contents = [_read_written(root, entry, spec, written.get(entry.path)) for entry in merge.entries]
    return merge_contents(root, merge, contents, spec, should_stop)


def merge_contents(
    root: Path, merge: Merge, contents: Sequence[bytes], spec: TableSpec, should_stop: Callable[[], bool]
) -> tuple[FileEntry, CommittedFile] | None:
    """Write one file with the rows of files whose bytes are at hand, wherever they came from; otherwise as above."""
    first = merge.entries[0]
    path = f"project={first.project}/month={first.month}/merged-{merge.tier}-{secrets.token_hex(8)}.zstd.parquet"
    bounds = Bounds(spec)
    inputs = [_OpenFile(entry, content, spec) for entry, content in zip(merge.entries, contents, strict=True)]
    with DataFileWriter(root, path) as writer:
        for rows in _sorted_slices(inputs, spec):
            if should_stop():
                return None
            bounds.take(rows)
            writer.write(rows)
        if bounds.rows != merge.rows:
            raise _damage(first, spec, f"files of {merge.rows} rows held {bounds.rows}")
        file = writer.close()
    return bounds.entry(path, file.size_bytes, first.project, first.month), file


def _read_written(root: Path, entry: FileEntry, spec: TableSpec, written: CommittedFile | None) -> bytes:
    """Return a file's bytes, compared with what was written before any library looks at them."""
    try:
        content = (root / entry.path).read_bytes()
    except FileNotFoundError as exc:
        raise _damage(entry, spec, "a file is missing") from exc
    if written is not None and hashlib.sha256(content).hexdigest() != written.sha256:
        raise _damage(entry, spec, "a file is not what was written")
    return content


class FileDamaged(DamageFound):
    """A data file is not what was written."""

    default_code = "file_damaged"


def _damage(entry: FileEntry, spec: TableSpec, what: str) -> DamageFound:
    return FileDamaged(
        f"compaction of {spec.name} of project {entry.project}, month {entry.month}: {what}; nothing was changed",
        fields={"table": spec.name, "project": entry.project, "month": entry.month},
    )


class Bounds:
    """What the Delta log will say about the rows of a new file, taken part by part."""

    def __init__(self, spec: TableSpec) -> None:
        self._spec = spec
        self.rows = 0
        self._components: list[str] = []
        self._instants: list[int] = []
        self._received: list[int] = []

    def take(self, rows: pa.Table) -> None:
        """Take rows whose components are a dictionary of names that are all in use."""
        self.rows += rows.num_rows
        names = as_array(rows.column("component")).dictionary.to_pylist()
        self._components = [min([*self._components, *names]), max([*self._components, *names])]
        for column, bounds in ((self._spec.instant, self._instants), (self._spec.stamp, self._received)):
            instants = instants_us(rows.column(column))
            bounds[:] = [min([*bounds, int(instants.min())]), max([*bounds, int(instants.max())])]

    def entry(self, path: str, size_bytes: int, project: str, month: str) -> FileEntry:
        return FileEntry(
            path=path,
            size_bytes=size_bytes,
            rows=self.rows,
            project=project,
            month=month,
            components=(self._components[0], self._components[1]),
            instants_us=(self._instants[0], self._instants[1]),
            received_us=(self._received[0], self._received[1]),
        )


def _sorted_slices(files: "Sequence[_OpenFile]", spec: TableSpec) -> Iterator[pa.Table]:
    """Yield all rows by (component, topic, instant), some components at a time, so that memory stays bounded."""
    borders = _slice_borders([span for file in files for span in file.spans])
    for low, high in zip([None, *borders], [*borders, None], strict=True):
        parts = [part for file in files if (part := file.read(low, high)).num_rows]
        if parts:
            yield _sorted(parts, files[0].entry, spec)


def _slice_borders(spans: list[tuple[str, int]]) -> list[str]:
    """Return names of components at which to cut, about SLICE_ROWS apart, from where row groups begin."""
    borders: list[str] = []
    rows = 0
    for name, count in sorted(spans):
        if rows >= SLICE_ROWS and (not borders or name > borders[-1]):
            borders.append(name)
            rows = 0
        rows += count
    return borders


class _OpenFile:
    """One input: which components begin in which row group, and the rows between two components.

    Its bytes must be what was written: a damaged footer can end a process.
    """

    def __init__(self, entry: FileEntry, content: bytes, spec: TableSpec) -> None:
        self.entry = entry
        self._spec = spec
        self._file = pq.ParquetFile(
            pa.BufferReader(content), read_dictionary=["component", spec.topic], page_checksum_verification=True
        )
        metadata = self._file.metadata
        column = self._file.schema_arrow.get_field_index("component")
        groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
        self._bounds = [(s.min, s.max) for s in (group.column(column).statistics for group in groups)]
        self.spans = [(low, group.num_rows) for (low, _high), group in zip(self._bounds, groups, strict=True)]

    def read(self, low: str | None, high: str | None) -> pa.Table:
        """Return rows of components low <= name < high, names as dictionaries."""
        groups = [
            index
            for index, (first, last) in enumerate(self._bounds)
            if (high is None or first < high) and (low is None or last >= low)
        ]
        try:
            rows = self._file.read_row_groups(groups, columns=self._spec.rows.names)
        except (OSError, pa.ArrowException) as exc:
            raise _damage(self.entry, self._spec, "a file cannot be read") from exc
        names = rows.column("component")
        if low is not None:
            rows = rows.filter(pc.greater_equal(names.cast(pa.string()), low))
        if high is not None:
            rows = rows.filter(pc.less(rows.column("component").cast(pa.string()), high))
        return rows


def _sorted(parts: list[pa.Table], entry: FileEntry, spec: TableSpec) -> pa.Table:
    """Return the rows of sorted parts, in file order.

    Raises:
        DamageFound: a key is there twice.
    """
    rows = pa.concat_tables(parts).unify_dictionaries().combine_chunks()
    components, component_names = _ranked(rows.column("component"))
    topics, topic_names = _ranked(rows.column(spec.topic))
    codes = components * len(topic_names) + topics
    used, series = np.unique(codes, return_inverse=True)
    t = instants_us(rows.column(spec.instant))
    _offsets, order = order_by_series(series.astype(np.int32), used.size, t)
    if not spec.has_extra:
        _refuse_repeats(series[order], t[order], entry, spec)
    rows = rows.set_column(0, "component", _dictionary(components, component_names))
    rows = rows.set_column(1, spec.topic, _dictionary(topics, topic_names))
    return rows.take(pa.array(order))


def _refuse_repeats(series: Int64s, t: Int64s, entry: FileEntry, spec: TableSpec) -> None:
    if np.any((series[1:] == series[:-1]) & (t[1:] == t[:-1])):
        raise _damage(entry, spec, "a key is stored twice")


def _ranked(column: pa.ChunkedArray) -> tuple[Int64s, list[str]]:
    """Return for each row the position of its name among the sorted names, and those names."""
    array = as_array(column)
    names = array.dictionary.to_pylist()
    order = sorted(range(len(names)), key=names.__getitem__)
    rank = np.empty(len(names), np.int64)
    rank[order] = np.arange(len(names))
    return rank[array.indices.to_numpy(zero_copy_only=False)], [names[index] for index in order]


def _dictionary(codes: Int64s, names: list[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(names, pa.string()))


def now_us() -> int:
    return time.time_ns() // 1_000
