"""`gaugehouse lake status`: how much, in how many files, and how far behind; read from the disk, changing nothing."""

import itertools
import time
from dataclasses import dataclass

import msgspec

from gaugehouse.config import Layout
from gaugehouse.lake.deltalog import ListedFile, TableLog
from gaugehouse.lake.manifest import Manifest
from gaugehouse.lake.picture import AskLive, Picture, take_picture
from gaugehouse.lake.quarantine import QuarantinedFile, read_quarantine
from gaugehouse.lake.rows import TABLES, VALUES
from gaugehouse.lake.valuecheck import take_value_picture


class PartitionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One month of a project in one table."""

    table: str
    project: str
    month: str
    files: int
    rows: int
    size_bytes: int
    bytes_per_row: float | None


class TableStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One table: its versions, and files that are no longer part of it.

    Args:
        table: Its name.
        version: The newest durable one.
        checkpoint_version: Of the newest checkpoint, -1 for none.
        checkpoints: How many are kept.
        files: Current ones.
        rows: In them.
        size_bytes: Of them.
        superseded_files: Replaced ones that wait for their removal.
        superseded_bytes: Of them.
        compacted_at_us: When files were merged last, None for never. [us]
        series: In the owner's memory, None without an owner, and of `kpi_values`.
    """

    table: str
    version: int
    checkpoint_version: int
    checkpoints: int
    files: int
    rows: int
    size_bytes: int
    superseded_files: int
    superseded_bytes: int
    compacted_at_us: int | None
    series: int | None


class LakeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A lake at one moment.

    Args:
        is_online: Whether an owner answered.
        tables: All of them; `kpi_values` once a report is done.
        partitions: By table, project and month.
        unflushed_rows: Acknowledged rows that are not in files yet.
        unflushed_bytes: What they take in the log.
        lag_s: How long the oldest of them has waited, 0 for none. [s]
        log_segments: Files of the log.
        committed_through_us: Everything received up to this instant is in files, None for nothing yet. [us]
        quarantined: Damaged data files.
        findings: Damage that was met on the way; `lake verify` looks for all of it.
    """

    is_online: bool
    tables: tuple[TableStatus, ...]
    partitions: tuple[PartitionStatus, ...]
    unflushed_rows: int
    unflushed_bytes: int
    lag_s: float
    log_segments: int
    committed_through_us: int | None
    quarantined: tuple[QuarantinedFile, ...]
    findings: tuple[str, ...]


def read_status(layout: Layout, ask_live: AskLive | None) -> LakeStatus:
    """Return the status of a lake.

    Args:
        layout: Where it lives.
        ask_live: Asks the running owner, None when there is none.

    Raises:
        Unavailable: the lake changes faster than it can be read.
    """
    picture = take_picture(layout, ask_live)
    wrong = [finding.what for finding in picture.findings if finding.is_damage]
    wrong += [f"{one.name} of the Delta log {one.what}" for log in picture.logs.values() for one in log.damage]
    tables = _list_tables(layout, picture)
    rows, size_bytes, oldest_us = _unflushed(layout, picture)
    return LakeStatus(
        is_online=picture.live is not None,
        tables=tuple(_table_status(one) for one in tables),
        partitions=tuple(part for one in tables for part in _partitions(one)),
        unflushed_rows=rows,
        unflushed_bytes=size_bytes,
        lag_s=round(max(0.0, time.time() - oldest_us / 1e6), 3) if oldest_us >= 0 else 0.0,
        log_segments=len(picture.segments),
        committed_through_us=picture.manifest.through_us if picture.manifest.through_us >= 0 else None,
        quarantined=read_quarantine(layout.log_dir),
        findings=tuple(wrong),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """What was read of one table."""

    name: str
    log: TableLog
    manifest: Manifest
    series: int | None


def _list_tables(layout: Layout, picture: Picture) -> list[_Table]:
    live = picture.live
    tables = [
        _Table(
            name=name,
            log=picture.logs[name],
            manifest=picture.manifest,
            series=live.tables[name].series if live is not None else None,
        )
        for name in TABLES
    ]
    values = take_value_picture(layout)  # which no report has made yet, perhaps
    if values is not None:
        tables.append(_Table(name=VALUES.name, log=values.log, manifest=values.manifest, series=None))
    return tables


def _table_status(table: _Table) -> TableStatus:
    log = table.log
    files = log.state.files.values()
    written = table.manifest.files.get(table.name, {})
    superseded = [written[path] for path in table.manifest.superseded.get(table.name, {}) if path in written]
    merged_ms = [file.modified_at_ms for file in files if "/merged-" in file.path]
    return TableStatus(
        table=table.name,
        version=log.state.version,
        checkpoint_version=max(log.checkpoints, default=-1),
        checkpoints=len(log.checkpoints),
        files=len(files),
        rows=sum(file.rows for file in files),
        size_bytes=sum(file.size_bytes for file in files),
        superseded_files=len(superseded),
        superseded_bytes=sum(file.size_bytes for file in superseded),
        compacted_at_us=max(merged_ms) * 1000 if merged_ms else None,
        series=table.series,
    )


def _partition_of(file: ListedFile) -> tuple[str, str]:
    return file.project, file.month


def _partitions(table: _Table) -> list[PartitionStatus]:
    found = []
    files = sorted(table.log.state.files.values(), key=_partition_of)
    for (project, month), group in itertools.groupby(files, key=_partition_of):
        mine = list(group)
        rows, size_bytes = sum(file.rows for file in mine), sum(file.size_bytes for file in mine)
        found.append(
            PartitionStatus(
                table=table.name,
                project=project,
                month=month,
                files=len(mine),
                rows=rows,
                size_bytes=size_bytes,
                bytes_per_row=round(size_bytes / rows, 2) if rows else None,
            )
        )
    return found


def _unflushed(layout: Layout, picture: Picture) -> tuple[int, int, int]:
    """Return (rows, bytes, when the oldest was received [us] or -1) of what is only in the log."""
    live = picture.live
    if live is not None:
        return live.unflushed_rows, live.unflushed_bytes, live.oldest_unflushed_us
    waiting = [segment for segment in picture.segments if segment.number > picture.manifest.segment]
    paths = [layout.log_dir / f"{segment.number:020d}.seg" for segment in waiting]
    received_us = [at_us for segment in waiting for some in segment.deliveries.values() for at_us, _rows in some]
    return (
        sum(segment.rows(table) for segment in waiting for table in TABLES),
        sum(path.stat().st_size for path in paths if path.exists()),
        min(received_us, default=-1),
    )
