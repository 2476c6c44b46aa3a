"""Dropping old months of a project, and whole projects: lists of files, because no file holds two projects."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import structlog

from gaugehouse.config import Layout
from gaugehouse.errors import DamageFound
from gaugehouse.lake.backup import holds
from gaugehouse.lake.contents import hash_group, iter_groups
from gaugehouse.lake.delta import FileEntry
from gaugehouse.lake.durable import make_folder, remove_file, write_file
from gaugehouse.lake.keyhash import UInt64s
from gaugehouse.lake.manifest import CommittedFile, Manifest, manifest_path, read_manifest
from gaugehouse.lake.rows import TABLES, TableSpec, instants_us
from gaugehouse.measurements.selection import from_epoch_us

logger = structlog.get_logger()

DECEMBER = 12
STAMP_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """What was dropped from one table.

    Args:
        table: Its name.
        months: 'YYYY-MM', oldest first.
        files: How many.
        rows: How many.
        size_bytes: Of the files; freed once nobody can be reading them any more.
        archived: Whether copies were made first.
    """

    table: str
    months: tuple[str, ...]
    files: int
    rows: int
    size_bytes: int
    archived: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """Rows of a project's table before an instant were dropped on purpose, and when that was done last."""

    before: datetime
    since: datetime


def gone_of(manifest: Manifest, project: str, table: str) -> Gone | None:
    """Return what a manifest says was dropped, None for nothing."""
    horizon = manifest.horizons.get((table, project))
    if horizon is None:
        return None
    return Gone(before=from_epoch_us(horizon.before_us), since=from_epoch_us(horizon.dropped_at_us))


def read_gone(layout: Layout, project: str, table: str) -> Gone | None:
    """Return what was dropped of a project's table; for other processes than the owner."""
    return gone_of(read_manifest(manifest_path(layout)), project, table)


def month_start(instant: datetime) -> datetime:
    """Return the first instant of the month (UTC) that an instant lies in."""
    return instant.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def end_of_month(month: str) -> datetime:
    """Return the first instant after a month 'YYYY-MM'."""
    year, number = (int(part) for part in month.split("-"))
    return datetime(year + number // DECEMBER, number % DECEMBER + 1, 1, tzinfo=UTC)


def whole_months_before(entries: Iterable[FileEntry], project: str, before: datetime) -> list[FileEntry]:
    """Return the files of a project's months that end at or before an instant."""
    return [entry for entry in entries if entry.project == project and end_of_month(entry.month) <= before]


def describe_dropped(table: str, entries: list[FileEntry], *, archived: bool) -> Dropped:
    return Dropped(
        table=table,
        months=tuple(sorted({entry.month for entry in entries})),
        files=len(entries),
        rows=sum(entry.rows for entry in entries),
        size_bytes=sum(entry.size_bytes for entry in entries),
        archived=archived,
    )


def archive_files(
    root: Path, entries: Sequence[FileEntry], archive_dir: Path, written: Mapping[str, CommittedFile]
) -> None:
    """Copy files, synced, to `archive_dir/<table>/project=.../month=.../`, so that each row is there once.

    An attempt that was interrupted has left copies of files that a compaction may have merged since: those go. What an
    earlier retention archived stays.

    Raises:
        DamageFound: a file is not what was written; it must not be dropped as if a good copy existed.
        OSError: the copy could not be made.
    """
    for entry in entries:
        content = (root / entry.path).read_bytes()
        known, sha256 = written.get(entry.path), hashlib.sha256(content).hexdigest()
        if known is not None and sha256 != known.sha256:
            raise DamageFound(
                f"a file of {root.name} of project {entry.project}, month {entry.month} is not what was written; "
                "it was not archived and nothing was dropped",
                code="file_damaged",
                fields={"table": root.name, "project": entry.project, "month": entry.month},
            )
        target = archive_dir / root.name / entry.path
        if not holds(target, sha256):
            make_folder(target.parent)
            write_file(target, content)
    _remove_merged_copies(archive_dir / root.name, entries)


def _remove_merged_copies(archive: Path, entries: Sequence[FileEntry]) -> None:
    """Remove files of an archive all of whose rows are in files that have just been archived."""
    spec = TABLES[archive.name]
    archived = {archive / entry.path for entry in entries}
    for folder in sorted({path.parent for path in archived}):
        others = sorted(set(folder.glob("*.parquet")) - archived)
        if not others:
            continue
        mine = sorted(path for path in archived if path.parent == folder)
        hashes = np.unique(np.concatenate([_row_hashes(path, spec) for path in mine]))
        for other in others:
            if _is_held(other, hashes, spec):
                remove_file(other)
                logger.info("merged_copy_removed", table=spec.name, file=other.name)


def _is_held(path: Path, hashes: UInt64s, spec: TableSpec) -> bool:
    """Say whether all rows of a file are among others; one that cannot be read is somebody else's."""
    try:
        return bool(np.isin(_row_hashes(path, spec), hashes).all())
    except MemoryError:
        raise
    except (OSError, KeyError, pa.ArrowException):
        logger.warning("archived_file_not_understood", table=spec.name, file=path.name)
        return False


def _row_hashes(path: Path, spec: TableSpec) -> UInt64s:
    """Return one hash per row, of its key and of when it was received: a compaction changes neither."""
    columns = ["component", spec.topic, spec.instant, "received_at", *(["body_hash"] if spec.has_extra else [])]
    parts = [
        hash_group(group, spec) ^ (instants_us(group.column("received_at")).astype(np.uint64) * STAMP_SPREAD)
        for group in iter_groups(path.read_bytes(), spec, columns)
    ]
    return np.concatenate([np.empty(0, np.uint64), *parts])
