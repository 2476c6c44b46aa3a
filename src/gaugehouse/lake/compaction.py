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
from functools import partial
from pathlib import Path

import pyarrow as pa

from gaugehouse.errors import DamageFound
from gaugehouse.lake.delta import ROW_GROUP_ROWS, DataFileWriter, FileEntry
from gaugehouse.lake.manifest import CommittedFile
from gaugehouse.lake.merging import SortedFile, merged_parts
from gaugehouse.lake.rows import TableSpec, as_array, instants_us

TIER_LIMIT = 4
FAN_IN = 16  # so many files of one tier become one of the next
QUIET_FAN_IN = 4  # of all tiers, in a partition that gets no more rows
QUIET_S = 3600.0
FULL_ROWS = 16_777_216  # a file never grows beyond this: merging keeps its compressed bytes in memory
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
    inputs = [
        SortedFile(entry, content, spec, partial(_damage, spec=spec))
        for entry, content in zip(merge.entries, contents, strict=True)
    ]
    with DataFileWriter(root, path) as writer:
        for rows in merged_parts(inputs, ROW_GROUP_ROWS):
            if should_stop():
                return None
            bounds.take(rows)
            writer.write(rows)
        if bounds.rows != merge.rows:
            raise _damage(first, f"files of {merge.rows} rows held {bounds.rows}", spec)
        file = writer.close()
    return bounds.entry(path, file.size_bytes, first.project, first.month), file


def _read_written(root: Path, entry: FileEntry, spec: TableSpec, written: CommittedFile | None) -> bytes:
    """Return a file's bytes, compared with what was written before any library looks at them."""
    try:
        content = (root / entry.path).read_bytes()
    except FileNotFoundError as exc:
        raise _damage(entry, "a file is missing", spec) from exc
    if written is not None and hashlib.sha256(content).hexdigest() != written.sha256:
        raise _damage(entry, "a file is not what was written", spec)
    return content


class FileDamaged(DamageFound):
    """A data file is not what was written."""

    default_code = "file_damaged"


def _damage(entry: FileEntry, what: str, spec: TableSpec) -> DamageFound:
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


def now_us() -> int:
    return time.time_ns() // 1_000
