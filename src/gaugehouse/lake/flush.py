"""From a sealed segment to Delta commits, in the one order that loses nothing.

Parquet written and synced -> is it committed already? -> log entry committed and synced -> manifest synced -> after
every table: hot rows swapped for files, segment deleted. A crash between any two steps repeats the rest at start.
"""

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import structlog

from gaugehouse.lake.answers import Answers
from gaugehouse.lake.commits import commit_durably, settle
from gaugehouse.lake.delta import (
    Change,
    DeltaStore,
    FileEntry,
    month_name,
    month_numbers_of,
    write_data_file,
)
from gaugehouse.lake.durable import remove_file
from gaugehouse.lake.groups import Files
from gaugehouse.lake.keyhash import Int64s
from gaugehouse.lake.known import SeriesIndex
from gaugehouse.lake.manifest import CommittedFile, Manifest, ManifestEntry
from gaugehouse.lake.plain import PlainMirror
from gaugehouse.lake.rows import Rows, TableSpec, distinct_codes, payload_arrays, timestamp_array
from gaugehouse.lake.segments import segment_path
from gaugehouse.lake.sequencer import Segment, Sequencer, now_us

logger = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Flusher:
    """Commits sealed segments; used by one thread at a time."""

    log_dir: Path
    log_uuid: str
    stores: Mapping[str, DeltaStore]
    manifest: Manifest
    sequencer: Sequencer
    mirrors: Mapping[str, PlainMirror]
    answers: Answers

    def flush(self, segment: Segment) -> None:
        """Commit one sealed segment to every table it touches, then let go of it."""
        self.answers.keep(segment.answers, now_us=now_us())
        for name, store in self.stores.items():
            if segment.hot[name].count:
                self._commit_table(segment, store)
        self.manifest.record(ManifestEntry(segment=segment.number, through_us=segment.through_us))
        self.sequencer.retire(segment, self.current_files)
        self.answers.forget_log(segment.answers)
        remove_file(segment_path(self.log_dir, segment.number))
        logger.info("segment_flushed", segment=segment.number, rows=segment.rows)

    def current_files(self) -> Files:
        return {name: tuple(store.files.values()) for name, store in self.stores.items()}

    def app_id(self, table: str) -> str:
        return app_id(self.log_uuid, table)

    def _commit_table(self, segment: Segment, store: DeltaStore) -> None:
        name = store.spec.name
        if store.transaction_version(self.app_id(name)) < segment.number:
            self._write_and_commit(segment, store)
        else:
            # An earlier attempt got as far as the commit and failed behind it: nothing of it is durable yet.
            settle(store, self.manifest)
        part = f"/part-{segment.number:012d}-"
        with store.commit_lock:  # a compaction may be exchanging the same folder
            self.mirrors[name].add(entry for path, entry in store.files.items() if part in path)

    def _write_and_commit(self, segment: Segment, store: DeltaStore) -> None:
        name = store.spec.name
        rows = segment.hot[name].view(segment.hot[name].count)
        written: list[tuple[FileEntry, CommittedFile]] = []
        try:
            for entry, table in partitions(rows, self.sequencer.indexes[name], segment.number):
                file = write_data_file(store.root, entry.path, table)
                written.append((replace(entry, size_bytes=file.size_bytes), file))
            change = Change(
                added=tuple(entry for entry, _file in written),
                transaction=(self.app_id(name), segment.number),
                metadata={
                    "gaugehouse.segment": str(segment.number),
                    "gaugehouse.rows": str(len(rows)),
                    "gaugehouse.crc32c": f"{segment.crc:08x}",
                },
            )
            commit_durably(store, self.manifest, change, tuple(file for _entry, file in written))
        except BaseException:
            self._forget_uncommitted(segment, store, written)
            raise

    def _forget_uncommitted(
        self, segment: Segment, store: DeltaStore, written: list[tuple[FileEntry, CommittedFile]]
    ) -> None:
        """Remove files of a failed attempt, unless the commit went through after all."""
        store.reload()
        if store.transaction_version(self.app_id(store.spec.name)) >= segment.number:
            return
        for _entry, file in written:
            remove_file(store.root / file.path)


def app_id(log_uuid: str, table: str) -> str:
    """Return the Delta transaction id of a log's segments in one table."""
    return f"{log_uuid}:{table}"


def partitions(rows: Rows, index: SeriesIndex, segment: int) -> Iterator[tuple[FileEntry, pa.Table]]:
    """Yield one file per (project, month), its rows sorted by (component, topic, instant)."""
    rows = rows.take(index.sort_rows(rows.series, rows.t))
    projects, project_codes = index.projects_of(rows.series)
    month_numbers = month_numbers_of(rows.t)
    first_month = int(month_numbers.min())
    month_count = int(month_numbers.max()) - first_month + 1
    partition = project_codes.astype(np.int64) * month_count + (month_numbers - first_month)
    used, partition_at = distinct_codes(partition, len(projects) * month_count)
    for position, code in enumerate(used.tolist()):
        part = rows if used.size == 1 else rows.take(partition_at == position)
        project, month = projects[code // month_count], month_name(first_month + code % month_count)
        components, topics = index.name_columns(part.series)
        names = components.dictionary.to_pylist()
        entry = FileEntry(
            path=f"project={project}/month={month}/part-{segment:012d}-{secrets.token_hex(4)}.zstd.parquet",
            size_bytes=0,
            rows=len(part),
            project=project,
            month=month,
            components=(min(names), max(names)),
            instants_us=_bounds(part.t),
            received_us=_bounds(part.received_at),
        )
        yield entry, _file_table(part, index.spec, [components, topics])


def _bounds(column: Int64s) -> tuple[int, int]:
    return int(column.min()), int(column.max())


def _file_table(rows: Rows, spec: TableSpec, names: list[pa.DictionaryArray]) -> pa.Table:
    """Return rows as they stand in a file: names as dictionaries, quality as Delta's byte."""
    payload = [array.cast(pa.int8()) if array.type == pa.uint8() else array for array in payload_arrays(rows, spec)]
    arrays = [*names, timestamp_array(rows.t), *payload, timestamp_array(rows.received_at)]
    return pa.Table.from_arrays(arrays, names=spec.rows.names)
