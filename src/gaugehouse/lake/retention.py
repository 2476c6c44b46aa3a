"""Dropping old months of a project, and whole projects: lists of files, because no file holds two projects."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gaugehouse.config import Layout
from gaugehouse.errors import DamageFound
from gaugehouse.lake.delta import FileEntry
from gaugehouse.lake.durable import make_folder, write_file
from gaugehouse.lake.manifest import CommittedFile, Manifest, manifest_path, read_manifest
from gaugehouse.measurements.selection import from_epoch_us

DECEMBER = 12


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
    root: Path, entries: Iterable[FileEntry], archive_dir: Path, written: Mapping[str, CommittedFile]
) -> None:
    """Copy files, synced, to `archive_dir/<table>/project=.../month=.../`; what is there already is kept.

    Raises:
        DamageFound: a file is not what was written; it must not be dropped as if a good copy existed.
        OSError: the copy could not be made.
    """
    for entry in entries:
        content = (root / entry.path).read_bytes()
        known = written.get(entry.path)
        if known is not None and hashlib.sha256(content).hexdigest() != known.sha256:
            raise DamageFound(
                f"a file of {root.name} of project {entry.project}, month {entry.month} is not what was written; "
                "it was not archived and nothing was dropped",
                code="file_damaged",
                fields={"table": root.name, "project": entry.project, "month": entry.month},
            )
        target = archive_dir / root.name / entry.path
        if not target.exists() or target.stat().st_size != len(content):
            make_folder(target.parent)
            write_file(target, content)
