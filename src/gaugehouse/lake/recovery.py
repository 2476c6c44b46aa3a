"""What a start does before the first write: undo what a power cut tore, then take up the log where it ends."""

import json
import re
import uuid
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import structlog

from gaugehouse.errors import DamageFound, is_exhausted
from gaugehouse.lake.backup import holds
from gaugehouse.lake.commits import CommitContent, commit_entry, commit_name, commit_path, read_commit
from gaugehouse.lake.delta import HINT, LOG_FOLDER, DeltaStore, describe_file
from gaugehouse.lake.durable import make_folder, remove_file, sync_path, write_file
from gaugehouse.lake.flush import app_id
from gaugehouse.lake.known import rows_of_batch
from gaugehouse.lake.manifest import CommittedFile, Manifest, ManifestEntry
from gaugehouse.lake.quarantine import free_name
from gaugehouse.lake.rows import TABLES, empty_rows
from gaugehouse.lake.segments import (
    LogRecord,
    SegmentScan,
    body_of,
    find_segments,
    scan_segment,
    seal_recovered,
    set_torn_tail_aside,
)
from gaugehouse.lake.sequencer import Segment, Sequencer, from_ipc

logger = structlog.get_logger()

QUARANTINE = "_quarantine"
COMMIT_NAME = re.compile(r"^(\d{20})\.json$")


def settle_last_commit(root: Path, manifest: Manifest) -> None:
    """Make a last commit that the manifest does not know durable, or move it aside when a power cut tore it.

    Only the last can be unknown: a commit is in the manifest before the next is made. Rows of a torn one are still in
    the log, because a segment is deleted only after its commits are in the manifest.
    """
    version = _last_unknown_commit(root, manifest)
    if version is None:
        return
    path = commit_path(root, version)
    raw = path.read_bytes()
    content = read_commit(raw)
    if content is None or not _has_its_files(root, content):
        _quarantine(path, root / QUARANTINE)
        logger.warning("torn_commit_quarantined", table=root.name, version=version)
        return
    # Written anew, not just synced: a sync that failed before the stop has marked the old pages clean.
    write_file(path, raw)
    manifest.record(commit_entry(root, version, content))


def torn_last_commit(root: Path, manifest: Manifest) -> int | None:
    """Return the version that `settle_last_commit` would move aside, None when it would not."""
    version = _last_unknown_commit(root, manifest)
    if version is None:
        return None
    content = read_commit(commit_path(root, version).read_bytes())
    return version if content is None or not _has_its_files(root, content) else None


def _last_unknown_commit(root: Path, manifest: Manifest) -> int | None:
    log_dir = root / LOG_FOLDER
    names = [path.name for path in log_dir.iterdir()] if log_dir.exists() else []
    version = max((int(match[1]) for name in names if (match := COMMIT_NAME.match(name))), default=-1)
    return version if version > manifest.durable_version.get(root.name, -1) else None


def _has_its_files(root: Path, content: CommitContent) -> bool:
    return all(_is_readable(root / name, size_bytes) for name, size_bytes in content.added)


def _quarantine(path: Path, folder: Path) -> None:
    make_folder(folder)
    path.rename(free_name(folder / path.name))
    sync_path(folder)
    sync_path(path.parent)


def _is_readable(path: Path, size_bytes: int) -> bool:
    if not path.exists() or path.stat().st_size != size_bytes:
        return False
    try:
        pq.read_metadata(path)
    except (OSError, pa.ArrowException) as exc:
        if is_exhausted(exc):
            raise
        return False
    return True


def drop_torn_checkpoints(root: Path, manifest: Manifest) -> None:
    """Set newest checkpoints aside that are not whole, and remove a hint that is not: the commits say the same.

    A checkpoint is synced before the next is made, so behind one that is whole all are.
    """
    log_dir, written = root / LOG_FOLDER, manifest.files.get(root.name, {})
    for path in sorted(log_dir.glob("*.checkpoint*.parquet"), reverse=True):
        if _is_whole_checkpoint(path, written.get(f"{LOG_FOLDER}/{path.name}")):
            break
        _quarantine(path, root / QUARANTINE)
        logger.warning("torn_checkpoint_dropped", table=root.name, checkpoint=path.name)
    hint, known = log_dir / HINT, written.get(f"{LOG_FOLDER}/{HINT}")
    if hint.exists() and not (_points_to_checkpoint(hint) and (known is None or holds(hint, known.sha256))):
        remove_file(hint)  # nobody needs it


def refuse_damaged_log(root: Path, manifest: Manifest) -> None:
    """Refuse to open a table of which an entry is lost or changed: it would show other files, and fewer rows.

    Entries that the newest checkpoint stands for are not read by anybody any more; `lake verify` names them.

    Raises:
        DamageFound: an entry that was on the disk is missing or not what was written.
    """
    written = manifest.files.get(root.name, {})
    checkpoints = [int(path.name[:20]) for path in (root / LOG_FOLDER).glob("*.checkpoint*.parquet")]
    durable = manifest.durable_version.get(root.name, -1)
    for version in range(max(checkpoints, default=-1) + 1, durable + 1):
        path, known = commit_path(root, version), written.get(commit_name(version))
        is_there = path.exists()
        if not is_there or (known is not None and not holds(path, known.sha256)):
            wrong = "not what was written" if is_there else "missing"
            raise DamageFound(
                f"version {version} of the table {root.name} is {wrong}. Nothing was changed. "
                "`gaugehouse lake repair` brings it back",
                fields={"table": root.name, "version": version},
            )


def settle_checkpoints(store: DeltaStore, manifest: Manifest) -> None:
    """Write down checkpoints that are whole and that the manifest missed, with the hint that points to the newest."""
    known = manifest.files.get(store.spec.name, {})
    paths = [path.relative_to(store.root).as_posix() for path in store.log_dir.glob("*.checkpoint*.parquet")]
    missed = [path for path in paths if path not in known]
    hint = f"{LOG_FOLDER}/{HINT}"
    if missed and (store.root / hint).exists():
        missed.append(hint)
    if missed:
        files = tuple(describe_file(store.root, path) for path in missed)
        manifest.record(ManifestEntry(table=store.spec.name, version=store.version, files=files))


def _is_whole_checkpoint(path: Path, written: CommittedFile | None) -> bool:
    """Say whether it is what was written, or, of one that nobody knows, whether every page is there.

    The footer of a file that was never synced can be older than its pages.
    """
    try:
        if written is not None:
            return holds(path, written.sha256)
        pq.ParquetFile(path).read()
    except (OSError, pa.ArrowException) as exc:
        if is_exhausted(exc):
            raise
        return False
    return True


def _points_to_checkpoint(hint: Path) -> bool:
    try:
        name = f"{json.loads(hint.read_bytes())['version']:020d}.checkpoint*.parquet"
    except (ValueError, KeyError, TypeError):
        return False
    return any(hint.parent.glob(name))


def remove_uncommitted_files(store: DeltaStore, manifest: Manifest) -> None:
    """Remove data files that no version names and that no version has named: a commit that never came to be.

    Superseded files are in the manifest. Without a manifest nobody can be reading them: they go as well.
    """
    kept = store.files.keys() | manifest.superseded.get(store.spec.name, {}).keys()
    for path in store.root.glob("project=*/month=*/*.parquet*"):
        if path.name.endswith(".tmp") or path.relative_to(store.root).as_posix() not in kept:
            remove_file(path)


def committed_segments(stores: Mapping[str, DeltaStore], log_uuid: str) -> dict[str, int]:
    """Return the newest committed segment of each table."""
    return {name: store.transaction_version(app_id(log_uuid, name)) for name, store in stores.items()}


def scan_log(log_dir: Path, log_uuid: uuid.UUID) -> list[SegmentScan]:
    """Read every segment, oldest first; a torn tail is set aside and the last segment gets its footer."""
    paths = find_segments(log_dir)
    scans: list[SegmentScan] = []
    for path in paths:
        scan = scan_segment(path, log_uuid=log_uuid, is_last=path == paths[-1])
        if scan.torn_bytes:
            set_torn_tail_aside(scan)
            logger.warning("torn_log_tail_cut", segment=scan.number, size_bytes=scan.torn_bytes)
        if scan.valid_bytes == 0:
            remove_file(path)  # a creation that a power cut tore: it held nothing
            continue
        if not scan.is_sealed:
            scan.crc = seal_recovered(scan)
        scans.append(scan)
    return scans


def commit_digests(store: DeltaStore) -> dict[str, str]:
    """Return segment number -> checksum of the segments in the newest commits."""
    commits = sorted(store.log_dir.glob("*.json"))[-64:]
    digests: dict[str, str] = {}
    for path in commits:
        for line in path.read_bytes().splitlines():
            try:
                commit = json.loads(line).get("commitInfo", {})
            except ValueError:  # a damaged entry that a checkpoint stands for
                continue
            if "gaugehouse.segment" in commit:
                digests[commit["gaugehouse.segment"]] = commit["gaugehouse.crc32c"]
    return digests


def replay(
    scans: list[SegmentScan], stores: Mapping[str, DeltaStore], committed: Mapping[str, int], sequencer: Sequencer
) -> None:
    """Make the rows of segments that are not wholly committed hot again; drop the segments that are.

    Raises:
        DamageFound: a segment that is committed differs from what was committed.
    """
    for scan in scans:
        rest = {name for name in stores if committed[name] < scan.number}
        for name in set(stores) - rest:
            if any(body_of(record, name) for record in scan.records):  # a mended segment has no such rows any more
                _check_digest(scan, stores[name])
        segment = Segment(number=scan.number, crc=scan.crc, size_bytes=scan.valid_bytes)
        for record in scan.records:
            _replay_record(record, segment, rest, sequencer)
        sequencer.sealed.append(segment)


def _check_digest(scan: SegmentScan, store: DeltaStore) -> None:
    digest = commit_digests(store).get(str(scan.number))
    if digest is not None and digest != f"{scan.crc:08x}":
        raise DamageFound(
            f"log segment {scan.number} is not the one that was committed to {store.spec.name}; nothing was changed",
            fields={"segment": scan.number, "table": store.spec.name},
        )


def _replay_record(record: LogRecord, segment: Segment, tables: set[str], sequencer: Sequencer) -> None:
    rows = {}
    for name, index in sequencer.indexes.items():
        body = body_of(record, name)
        if not body or name not in tables:
            rows[name] = empty_rows(TABLES[name])
            continue
        part = rows_of_batch(index, record.project, from_ipc(body), record.received_at_us)
        index.claim(part)
        rows[name] = part
    sequencer.take_rows(segment, rows, record.received_at_us)
    segment.answers.extend(record.answers)
    sequencer.publish_segment(segment, {name: hot.count for name, hot in segment.hot.items()})
    sequencer.last_received_us = max(sequencer.last_received_us, record.received_at_us)


def newest_received_us(stores: Mapping[str, DeltaStore], manifest: Manifest) -> int:
    """Return the newest received_at that the lake knows of. [us]"""
    bounds = [entry.received_us[1] for store in stores.values() for entry in store.files.values()]
    return max([manifest.through_us, *bounds])
