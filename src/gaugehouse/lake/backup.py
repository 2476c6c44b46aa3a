"""Copies of the lake: a pool of data files, each kept once, and lists that say which of them a backup is made of.

Data files are never changed, so a further backup copies only new ones. Every copy is compared with what was written,
also those of earlier backups. `log/restoring` says that a restore has begun and has not come to its end.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from gaugehouse.config import Layout
from gaugehouse.errors import DamageFound, GaugehouseError, StartRefused
from gaugehouse.lake.commits import commit_durably, settle
from gaugehouse.lake.delta import Change, DeltaStore, FileEntry
from gaugehouse.lake.durable import make_folder, remove_file, write_file
from gaugehouse.lake.manifest import CommittedFile, Manifest, ManifestEntry, manifest_path
from gaugehouse.lake.rows import TABLES, TableSpec
from gaugehouse.lake.segments import load_log_uuid
from gaugehouse.lock import OwnerLock

Progress = Callable[[str, int, int], None]
RESTORING = "restoring"


class BackedFile(msgspec.Struct, frozen=True):
    """A data file of a backup: what the table says of it, and its checksum."""

    entry: FileEntry
    sha256: str


class BackedLake(msgspec.Struct, frozen=True):
    """The lake as it was when it was backed up.

    Args:
        through_us: Everything received up to this instant is in it. [us]
        tables: The files of each table.
    """

    through_us: int
    tables: dict[str, tuple[BackedFile, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The data files of all backups in a folder.

    Args:
        folder: Of the backups.
        files: By 'table/path': what the lists say of them.
    """

    folder: Path
    files: Mapping[str, BackedFile]


def pool_path(target: Path, table: str, path: str) -> Path:
    return target / "lake" / table / path


def copy_files(
    layout: Layout,
    target: Path,
    files: Mapping[str, Sequence[FileEntry]],
    written: Mapping[str, Mapping[str, CommittedFile]],
    on_progress: Progress,
) -> dict[str, tuple[BackedFile, ...]]:
    """Copy what the pool does not have yet, synced; return the lists of a backup.

    Raises:
        DamageFound: a file is missing or not what was written; the backup would not be one.
    """
    total = sum(entry.size_bytes for entries in files.values() for entry in entries)
    done = 0
    tables: dict[str, tuple[BackedFile, ...]] = {}
    for table, entries in files.items():
        backed = []
        for entry in entries:
            backed.append(_copy(layout.lake_dir / table, target, entry, written.get(table, {}).get(entry.path)))
            done += entry.size_bytes
            on_progress("copying data files", done, total)
        tables[table] = tuple(backed)
    return tables


def _copy(root: Path, target: Path, entry: FileEntry, known: CommittedFile | None) -> BackedFile:
    copy = pool_path(target, root.name, entry.path)
    if known is not None and holds(copy, known.sha256):
        return BackedFile(entry=entry, sha256=known.sha256)
    content = _read_checked(root / entry.path, entry, None if known is None else known.sha256, root.name)
    make_folder(copy.parent)
    write_file(copy, content)
    return BackedFile(entry=entry, sha256=hashlib.sha256(content).hexdigest())


def holds(path: Path, sha256: str) -> bool:
    """Say whether a copy is there and is what was written; one that cannot be read is not."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError:
        return False


def _read_checked(path: Path, entry: FileEntry, sha256: str | None, table: str) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        content = b""
    is_same = len(content) == entry.size_bytes and sha256 in (None, hashlib.sha256(content).hexdigest())
    if not is_same:
        raise DamageFound(
            f"a file of {table} of project {entry.project}, month {entry.month} is missing or not what was written",
            code="file_damaged",
            fields={"table": table, "project": entry.project, "month": entry.month, "file": path.name},
        )
    return content


def drop_unlisted(target: Path, kept: Iterable[BackedLake]) -> int:
    """Remove files of the pool that no kept backup is made of; return how many."""
    listed = {
        pool_path(target, table, file.entry.path)
        for lake in kept
        for table, files in lake.tables.items()
        for file in files
    }
    dead = [path for path in (target / "lake").glob("*/project=*/month=*/*") if path not in listed]
    for path in dead:
        path.unlink()
    return len(dead)


def begin_restore(layout: Layout) -> None:
    """Say on the disk that a restore has begun: until `end_restore`, nobody takes the folder for an installation."""
    make_folder(layout.log_dir)
    write_file(layout.log_dir / RESTORING, b"")


def end_restore(layout: Layout) -> None:
    """Say that everything is there."""
    remove_file(layout.log_dir / RESTORING)


def is_half_restored(layout: Layout) -> bool:
    """Say whether a restore has begun and has not come to its end."""
    return (layout.log_dir / RESTORING).exists()


def refuse_half_restored(layout: Layout) -> None:
    """Refuse to take a part of an installation for one.

    Raises:
        StartRefused: a restore has not come to its end.
    """
    if is_half_restored(layout):
        raise StartRefused(
            "a restore into this folder has not come to its end, so rows, people or reports are missing; "
            "empty the folder and restore again",
            code="restore_unfinished",
        )


def restore_lake(layout: Layout, target: Path, backed: BackedLake, on_progress: Progress) -> int:
    """Build tables, manifest and an empty log of a new identity from a backup; return how many rows they hold.

    Raises:
        LakeLocked: somebody owns that folder.
        DamageFound: a file of the backup is not what was backed up.
        GaugehouseError: there are tables already.
    """
    lock = OwnerLock(layout.data_dir / "LOCK")
    for folder in (layout.data_dir, layout.lake_dir, layout.log_dir):
        make_folder(folder)
    lock.acquire()
    try:
        if any(layout.lake_dir.iterdir()):
            raise GaugehouseError("there is a lake already; restore into an empty folder", code="target_not_empty")
        load_log_uuid(layout.log_dir)
        manifest = Manifest(manifest_path(layout))
        total = sum(file.entry.size_bytes for files in backed.tables.values() for file in files)
        done = 0
        for name, spec in TABLES.items():
            store = DeltaStore(layout.lake_dir / name, spec)
            store.open()
            settle(store, manifest)
            files = backed.tables.get(name, ())
            entries = []
            for file in files:
                source = pool_path(target, name, file.entry.path)
                content = _read_checked(source, file.entry, file.sha256, name)
                make_folder((store.root / file.entry.path).parent)
                write_file(store.root / file.entry.path, content)
                entries.append(_exact(file.entry, content, spec))
                done += file.entry.size_bytes
                on_progress("restoring data files", done, total)
            if files:
                _commit_restored(store, manifest, files, entries)
        manifest.record(ManifestEntry(through_us=backed.through_us))
    finally:
        lock.release()
    return sum(file.entry.rows for files in backed.tables.values() for file in files)


def _exact(entry: FileEntry, content: bytes, spec: TableSpec) -> FileEntry:
    """Return what a table says of a file with the exact bounds of its rows: those of a Delta log are wider."""
    footer = pq.read_metadata(pa.BufferReader(content))
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]

    def bounds(name: str) -> tuple[int, int]:
        statistics = [group.column(footer.schema.names.index(name)).statistics for group in groups]
        return min(one.min_raw for one in statistics), max(one.max_raw for one in statistics)

    return replace(entry, instants_us=bounds(spec.instant), received_us=bounds("received_at"))


def _commit_restored(
    store: DeltaStore, manifest: Manifest, files: Sequence[BackedFile], entries: Sequence[FileEntry]
) -> None:
    change = Change(added=tuple(entries), metadata={"gaugehouse.restored": str(len(files))})
    described = tuple(CommittedFile(file.entry.path, file.entry.size_bytes, file.sha256) for file in files)
    commit_durably(store, manifest, change, described)
