"""`gaugehouse lake repair`: when a start found damage in the log, keep every record that can still be trusted."""

from dataclasses import dataclass
from pathlib import Path

from gaugehouse.config import Layout
from gaugehouse.errors import DamageFound
from gaugehouse.lake.durable import make_folder, remove_file, write_file
from gaugehouse.lake.lock import OwnerLock
from gaugehouse.lake.manifest import Manifest, manifest_path
from gaugehouse.lake.segments import find_segments, intact_segment, load_log_uuid, scan_segment


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairedSegment:
    """What was done to one damaged segment.

    Args:
        number: Of the segment.
        kept_records: Deliveries that stay in the log; 0 when all of the segment was committed before.
        damaged_bytes: Bytes that no intact record accounts for.
        is_committed: The lake holds all its rows already, so nothing is lost.
    """

    number: int
    kept_records: int
    damaged_bytes: int
    is_committed: bool


def repair_log(layout: Layout) -> list[RepairedSegment]:
    """Mend every damaged segment; the originals go to `log/damaged`. Return what was done, nothing for a sound log.

    Raises:
        LakeLocked: a server owns the lake; a running one has no damaged log.
    """
    lock = OwnerLock(layout.data_dir / "LOCK")
    lock.acquire()
    try:
        manifest = Manifest(manifest_path(layout))
        manifest.load()
        log_uuid = load_log_uuid(layout.log_dir)
        paths = find_segments(layout.log_dir)
        repaired = []
        for path in paths:
            try:
                scan_segment(path, log_uuid=log_uuid, is_last=path == paths[-1])
            except DamageFound:
                repaired.append(_repair(path, log_uuid.bytes, is_committed=int(path.stem) <= manifest.segment))
        return repaired
    finally:
        lock.release()


def _repair(path: Path, log_uuid: bytes, *, is_committed: bool) -> RepairedSegment:
    content = path.read_bytes()
    folder = path.parent / "damaged"
    make_folder(folder)
    write_file(folder / path.name, content)
    mended, kept_records, intact_bytes = intact_segment(content, log_uuid=log_uuid, number=int(path.stem))
    if is_committed:
        remove_file(path)
    else:
        write_file(path, mended, mode=0o600)
    return RepairedSegment(
        number=int(path.stem),
        kept_records=0 if is_committed else kept_records,
        damaged_bytes=len(content) - intact_bytes,
        is_committed=is_committed,
    )
