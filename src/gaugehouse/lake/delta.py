"""One Delta table of the lake: open, read its file list, commit, checkpoint, each step synced by us.

delta-rs calls no fsync on a local disk and its automatic checkpoint is not durable, so neither is left to it: Parquet
files are written and synced here, only the log entry is committed through delta-rs, and then the entry is synced.
"""

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from deltalake.transaction import (
    AddAction,
    CommitProperties,
    PostCommitHookProperties,
    RemoveAction,
    Transaction,
)
from numpy.typing import NDArray

from gaugehouse.errors import Unavailable
from gaugehouse.lake.durable import make_folder, sync_path, write_file
from gaugehouse.lake.manifest import CommittedFile
from gaugehouse.lake.rows import TableSpec, as_array, instants_us, with_names_in_use
from gaugehouse.measurements.schema import TIMESTAMP

PARTITION_COLUMNS = ["project", "month"]
ROW_GROUP_ROWS = 131_072
ZSTD_LEVEL = 3
LOG_FOLDER = "_delta_log"
HINT = "_last_checkpoint"
DICTIONARY = "dictionary"
INSTANTS = (
    "measured_at",
    "occurred_at",
    "bucket_start",
    "bucket_end",
)  # even steps; received_at repeats from series to series, which zstd sees better
SAMPLES, SAMPLE_ROWS = 4, 16_384
MILLISECOND_US = 1_000
LOG_NAME = re.compile(r"^(\d{20})\.(?:json|checkpoint.*\.parquet)$")
CHECKPOINT_NAME = re.compile(r"^(\d{20})\.checkpoint.*\.parquet$")
CHECKPOINTS_KEPT = 2  # a reader may have seen the hint to the one before the newest


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """A current data file with what the Delta log says about its rows; bounds are inclusive. [us]

    `received_us` are those of the table's stamp, which is `received_at` where rows were received.
    """

    path: str
    size_bytes: int
    rows: int
    project: str
    month: str
    components: tuple[str, str]
    instants_us: tuple[int, int]
    received_us: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What one commit changes.

    Args:
        added: Files that are synced already.
        removed: Files that the table no longer names.
        is_new_data: False when the same rows only move to other files.
        metadata: Said in the commit, for whoever reads the log.
        transaction: (application id, version) that makes a repeat visible.
    """

    added: tuple[FileEntry, ...] = ()
    removed: tuple[FileEntry, ...] = ()
    is_new_data: bool = True
    metadata: Mapping[str, str] = field(default_factory=dict)
    transaction: tuple[str, int] | None = None


def table_schema(spec: TableSpec) -> pa.Schema:
    """Return the Delta schema of a table. Delta knows no unsigned types: quality is a byte."""
    fields = [pa.field(name, pa.string()) for name in PARTITION_COLUMNS]
    fields += [pa.field(field.name, _stored_type(field.type)) for field in spec.rows]
    return pa.schema(fields)


def _stored_type(kind: pa.DataType) -> pa.DataType:
    return pa.int8() if kind == pa.uint8() else kind


def create_table(root: Path, spec: TableSpec) -> None:
    """Make an empty table of one version; nothing of it is synced."""
    DeltaTable.create(
        root,
        schema=table_schema(spec),
        partition_by=PARTITION_COLUMNS,
        name=spec.name,
        # Clean-up and checkpoints are ours; whoever else opens the table must not start them.
        configuration={
            "delta.enableExpiredLogCleanup": "false",
            "delta.checkpointInterval": "1000000",
            "delta.deletedFileRetentionDuration": "interval 1 days",
        },
    )


class DeltaStore:
    """The owner's handle of one table: its newest version and that version's files.

    Who commits, or makes a checkpoint, holds `commit_lock` until the version is synced and in the manifest: then only
    the last commit can ever be unknown to a start. `files` is replaced, never changed: anyone may read it at any time.
    """

    def __init__(self, root: Path, spec: TableSpec) -> None:
        self.root = root
        self.spec = spec
        self.files: dict[str, FileEntry] = {}
        self.commits_since_checkpoint = 0
        self.commit_lock = threading.RLock()
        self._table: DeltaTable | None = None

    @property
    def log_dir(self) -> Path:
        return self.root / LOG_FOLDER

    @property
    def table(self) -> DeltaTable:
        if self._table is None:
            raise Unavailable("the lake is not open")
        return self._table

    @property
    def version(self) -> int:
        return int(self.table.version())

    def open(self) -> None:
        """Open the table, creating and syncing it the first time."""
        if not any(LOG_NAME.match(path.name) for path in self.log_dir.glob("*")):
            make_folder(self.root)
            create_table(self.root, self.spec)
            sync_path(self.log_dir / f"{0:020d}.json")
            sync_path(self.log_dir)
            sync_path(self.root)
        self._table = DeltaTable(self.root)
        self.commits_since_checkpoint = self.version - self._last_checkpoint_version()
        self.files = {entry.path: entry for entry in list_files(self._table, self.spec)}

    def _last_checkpoint_version(self) -> int:
        hint = self.log_dir / HINT
        return int(json.loads(hint.read_bytes())["version"]) if hint.exists() else 0

    def transaction_version(self, app_id: str) -> int:
        """Return the newest segment committed to this table, -1 for none."""
        version = self.table.transaction_version(app_id)
        return -1 if version is None else int(version)

    def commit(self, change: Change) -> int:
        """Commit a change as one version and return it; `sync_version` makes it durable. Needs `commit_lock`."""
        transactions = [Transaction(*change.transaction)] if change.transaction else None
        now_ms = int(time.time() * 1000)
        actions: list[AddAction | RemoveAction] = [
            _add_action(entry, self.spec, now_ms, is_new_data=change.is_new_data) for entry in change.added
        ]
        actions += [_remove_action(entry, now_ms, is_new_data=change.is_new_data) for entry in change.removed]
        try:
            self.table.create_write_transaction(
                actions,
                "append",
                self.table.schema(),
                PARTITION_COLUMNS,
                commit_properties=CommitProperties(
                    custom_metadata=dict(change.metadata), app_transactions=transactions, max_commit_retries=0
                ),
                post_commithook_properties=PostCommitHookProperties(
                    create_checkpoint=False, cleanup_expired_logs=False
                ),
            )
            self.table.update_incremental()
        except DeltaError as exc:
            raise Unavailable("the lake could not commit; it will try again", retry_after_s=5) from exc
        removed = {entry.path for entry in change.removed}
        kept = {path: entry for path, entry in self.files.items() if path not in removed}
        self.files = kept | {entry.path: entry for entry in change.added}
        self.commits_since_checkpoint += 1
        return self.version

    def sync_version(self) -> None:
        """Make the log entry of the current version durable."""
        sync_path(self.log_dir / f"{self.version:020d}.json")
        sync_path(self.log_dir)

    def reload(self) -> None:
        """Read the table anew: after a commit whose outcome is unknown."""
        with self.commit_lock:
            self.open()

    def checkpoint(self) -> tuple[CommittedFile, ...]:
        """Write a checkpoint of the current version and sync it before anything may rely on it; return its files."""
        with self.commit_lock:
            self.table.create_checkpoint()
            paths = [*self.log_dir.glob(f"{self.version:020d}.checkpoint*"), self.log_dir / HINT]
            for path in paths:
                sync_path(path)
            sync_path(self.log_dir)
            self.commits_since_checkpoint = 0
        return tuple(describe_file(self.root, path.relative_to(self.root).as_posix()) for path in paths)

    def clean_log(self) -> tuple[str, ...]:
        """Remove log entries that the kept checkpoints stand for; return their paths below the table.

        A reader that has read the hint before it moved finds its checkpoint and everything behind it.
        """
        checkpoints = sorted(version for version, _path in self._named(CHECKPOINT_NAME))
        distinct = sorted(set(checkpoints))
        if len(distinct) < CHECKPOINTS_KEPT:
            return ()
        keep_from = distinct[-CHECKPOINTS_KEPT]
        dead = [path for version, path in self._named(LOG_NAME) if version < keep_from]
        for path in sorted(dead):
            path.unlink(missing_ok=True)
        return tuple(path.relative_to(self.root).as_posix() for path in dead)

    def _named(self, pattern: re.Pattern[str]) -> Iterator[tuple[int, Path]]:
        for path in self.log_dir.iterdir():
            match = pattern.match(path.name)
            if match is not None:
                yield int(match[1]), path


def _remove_action(entry: FileEntry, now_ms: int, *, is_new_data: bool) -> RemoveAction:
    return RemoveAction(
        entry.path, is_new_data, now_ms, entry.size_bytes, {"project": entry.project, "month": entry.month}
    )


def _add_action(entry: FileEntry, spec: TableSpec, now_ms: int, *, is_new_data: bool) -> AddAction:
    return AddAction(
        entry.path,
        entry.size_bytes,
        {"project": entry.project, "month": entry.month},
        now_ms,
        is_new_data,
        stats_text(entry, spec),
    )


def stats_text(entry: FileEntry, spec: TableSpec) -> str:
    """Describe a file for the Delta log, as JSON. Times are widened to milliseconds, all that the log keeps."""
    low, high = entry.instants_us
    received_low, received_high = entry.received_us
    stats = {
        "numRecords": entry.rows,
        "minValues": {
            "component": entry.components[0],
            spec.instant: _floor_text(low),
            spec.stamp: _floor_text(received_low),
        },
        "maxValues": {
            "component": entry.components[1],
            spec.instant: _floor_text(high + MILLISECOND_US - 1),
            spec.stamp: _floor_text(received_high + MILLISECOND_US - 1),
        },
        "nullCount": {"component": 0, spec.topic: 0, spec.instant: 0, spec.stamp: 0},
    }
    return json.dumps(stats, ensure_ascii=False)


def _floor_text(epoch_us: int) -> str:
    instant = datetime.fromtimestamp(epoch_us // 1_000_000, UTC)
    return f"{instant:%Y-%m-%dT%H:%M:%S}.{epoch_us % 1_000_000 // MILLISECOND_US:03d}Z"


def list_files(table: DeltaTable, spec: TableSpec) -> list[FileEntry]:
    """Return the files of a table version with their bounds; a maximum is taken as inclusive + 1 ms."""
    actions = pa.table(table.get_add_actions(flatten=True))
    if actions.num_rows == 0:
        return []

    def epoch_us(name: str) -> list[int]:
        bounds: list[int] = instants_us(pc.cast(actions.column(name), TIMESTAMP)).tolist()
        return bounds

    columns = zip(
        actions.column("path").to_pylist(),
        actions.column("size_bytes").to_pylist(),
        actions.column("num_records").to_pylist(),
        actions.column("partition.project").to_pylist(),
        actions.column("partition.month").to_pylist(),
        actions.column("min.component").to_pylist(),
        actions.column("max.component").to_pylist(),
        epoch_us(f"min.{spec.instant}"),
        epoch_us(f"max.{spec.instant}"),
        epoch_us(f"min.{spec.stamp}"),
        epoch_us(f"max.{spec.stamp}"),
        strict=True,
    )
    return [
        FileEntry(
            path=path,
            size_bytes=size,
            rows=rows,
            project=project,
            month=month,
            components=(low_component, high_component),
            instants_us=(low, high + MILLISECOND_US),
            received_us=(received_low, received_high + MILLISECOND_US),
        )
        for (
            path, size, rows, project, month, low_component, high_component, low, high, received_low, received_high,
        ) in columns
    ]  # fmt: skip


def month_numbers_of(instants: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the month (UTC) of each instant [us], counted from 1970-01."""
    return instants.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64)


def month_name(number: int) -> str:
    """Return 'YYYY-MM' of a month counted from 1970-01."""
    return str(np.datetime64(number, "M"))


class DataFileWriter:
    """One sorted Parquet file with page checksums, written part by part and synced with its folders at `close`.

    Left without `close`, nothing stays behind: the bytes are kept in memory until they are whole.
    """

    def __init__(self, root: Path, path: str) -> None:
        self._root = root
        self._path = path
        self._sink = pa.BufferOutputStream()
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def write(self, table: pa.Table) -> None:
        """Add rows: names as dictionaries, in file order."""
        if self._writer is None:
            self._writer = _parquet_writer(self._sink, table)
        for start in range(0, table.num_rows, ROW_GROUP_ROWS):  # each with a dictionary of its own names
            self._writer.write_table(with_names_in_use(table.slice(start, ROW_GROUP_ROWS)))

    def close(self) -> CommittedFile:
        """Write the file down and return what the manifest says about it."""
        self.__exit__()
        content = memoryview(self._sink.getvalue())
        target = self._root / self._path
        make_folder(target.parent)
        write_file(target, content)
        return described(self._path, content)


def _parquet_writer(sink: pa.NativeFile, table: pa.Table) -> pq.ParquetWriter:
    """Return a writer with the encodings of docs/decisions/0007: each by measurement, values by a sample of these."""
    dictionaries = [field.name for field in table.schema if pa.types.is_dictionary(field.type)]
    encodings = {name: "DELTA_BINARY_PACKED" for name in INSTANTS if name in table.column_names}
    if "value" in table.column_names:
        chosen = smallest_encoding(as_array(table.column("value")))
        if chosen == DICTIONARY:
            dictionaries.append("value")
        else:
            encodings["value"] = chosen
    return pq.ParquetWriter(
        sink,
        table.schema,
        compression="zstd",
        compression_level=ZSTD_LEVEL,
        use_dictionary=dictionaries,
        column_encoding=encodings,
        write_page_checksum=True,
        write_page_index=True,
        store_schema=False,  # dictionary columns are an encoding here, not a type that readers should see
    )


def smallest_encoding(values: pa.Array) -> str:
    """Return the encoding that makes values smallest: decimals, smooth floats and noise want different ones."""
    step = max(SAMPLE_ROWS, len(values) // SAMPLES)
    sample = pa.concat_arrays([values.slice(start, SAMPLE_ROWS) for start in range(0, len(values), step)])
    return min((DICTIONARY, "PLAIN", "BYTE_STREAM_SPLIT"), key=lambda encoding: _encoded_bytes(sample, encoding))


def _encoded_bytes(values: pa.Array, encoding: str) -> int:
    sink = pa.BufferOutputStream()
    pq.write_table(
        pa.table({"value": values}),
        sink,
        compression="zstd",
        compression_level=ZSTD_LEVEL,
        use_dictionary=encoding == DICTIONARY,
        column_encoding=None if encoding == DICTIONARY else {"value": encoding},
        store_schema=False,
    )
    return int(sink.tell())


def write_data_file(root: Path, path: str, table: pa.Table) -> CommittedFile:
    """Write one sorted Parquet file with page checksums and sync it with its folders."""
    with DataFileWriter(root, path) as writer:
        writer.write(table)
        return writer.close()


def describe_file(root: Path, path: str) -> CommittedFile:
    """Return what the manifest says about a data file that is there already."""
    return described(path, (root / path).read_bytes())


def described(path: str, content: bytes | memoryview) -> CommittedFile:
    return CommittedFile(path=path, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
