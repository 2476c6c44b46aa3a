"""One consistent picture of a lake's disk, taken beside a running owner or without one, changing nothing."""

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gaugehouse.config import Layout
from gaugehouse.errors import DamageFound, Unavailable, is_exhausted
from gaugehouse.lake.delta import LOG_FOLDER
from gaugehouse.lake.deltalog import TableLog, read_log
from gaugehouse.lake.findings import Finding
from gaugehouse.lake.live import LiveFacts
from gaugehouse.lake.manifest import Manifest, manifest_path
from gaugehouse.lake.recovery import torn_last_commit
from gaugehouse.lake.rows import TABLES
from gaugehouse.lake.segments import SegmentScan, find_segments, scan_segment
from gaugehouse.lake.sequencer import from_ipc

ATTEMPTS, ATTEMPT_PERIOD_S = 20, 0.1
AskLive = Callable[[], LiveFacts]


@dataclass(slots=True, kw_only=True)
class SegmentFacts:
    """What a log segment holds: (received_at [us], rows) of each delivery, by table."""

    number: int
    crc: int
    is_sealed: bool
    torn_bytes: int
    deliveries: dict[str, list[tuple[int, int]]]

    def rows(self, table: str, *, through_us: int | None = None) -> int:
        """Return how many rows of a table it holds, of those received up to an instant."""
        return sum(rows for at_us, rows in self.deliveries[table] if through_us is None or at_us <= through_us)


@dataclass(slots=True, kw_only=True)
class Picture:
    """What the disk said at one moment.

    Args:
        live: What the owner's memory said just before, None without an owner.
        manifest: All intact lines of the manifest.
        logs: The Delta log of each table, up to the version that the manifest calls durable; without an owner, up to
            the last that the next start keeps.
        segments: Intact log segments that are not wholly committed, and those about to be deleted.
        findings: What is wrong with manifest and log.
    """

    live: LiveFacts | None
    manifest: Manifest
    logs: Mapping[str, TableLog]
    segments: list[SegmentFacts]
    log_uuid: uuid.UUID | None = None
    findings: list[Finding] = field(default_factory=list)

    def current(self, table: str) -> set[str]:
        """Return the current files by the manifest."""
        return current_by_manifest(self.manifest, table)


class _Moved(Exception):
    """A segment was flushed while it was looked at."""


def current_by_manifest(manifest: Manifest, table: str) -> set[str]:
    """Return the data files of a table's durable version."""
    known = manifest.files.get(table, {}).keys() - manifest.superseded.get(table, {}).keys()
    return {path for path in known if not path.startswith(f"{LOG_FOLDER}/")}


def log_digests(manifest: Manifest, table: str) -> dict[str, str]:
    """Return SHA-256 by name of the files of a table's Delta log."""
    prefix = f"{LOG_FOLDER}/"
    files = manifest.files.get(table, {})
    return {path.removeprefix(prefix): file.sha256 for path, file in files.items() if path.startswith(prefix)}


def take_picture(layout: Layout, ask_live: AskLive | None) -> Picture:
    """Return a picture whose parts belong together; beside an owner, one whose faults were seen twice.

    Args:
        layout: Where the lake lives.
        ask_live: Asks the running owner; None when the caller holds the lock.

    Raises:
        Unavailable: the lake changes faster than it can be read.
    """
    before: set[tuple[str, str]] | None = None
    for _attempt in range(ATTEMPTS):
        try:
            picture = _take(layout, ask_live)
        except _Moved:
            time.sleep(ATTEMPT_PERIOD_S)
            continue
        faults = _faults(picture)
        # An owner flushes and cleans up between two reads of the disk: what it moved looks wrong once, damage stays.
        if not faults or picture.live is None or faults == before:
            return picture
        before = faults
    raise Unavailable("the lake changes faster than it can be read; try again", retry_after_s=5)


def _faults(picture: Picture) -> set[tuple[str, str]]:
    """Return (where, what) of all that is wrong."""
    faults = {(finding.name, finding.what) for finding in picture.findings}
    return faults | {(f"{table}/{w.name}", w.what) for table, log in picture.logs.items() for w in log.wrong}


def _take(layout: Layout, ask_live: AskLive | None) -> Picture:
    live = ask_live() if ask_live else None
    is_new = _is_new(layout)
    manifest, findings = read_whole_manifest(manifest_path(layout), is_online=live is not None, is_new=is_new)
    if live is not None and manifest.segment >= live.open_segment:
        raise _Moved
    log_uuid, wrong = _read_uuid(layout.log_dir, is_new=is_new)
    findings += wrong
    segments, wrong = _read_segments(layout.log_dir, log_uuid, manifest, is_online=live is not None)
    findings += wrong
    logs = {}
    for name in TABLES:
        root, digests = layout.lake_dir / name, log_digests(manifest, name)
        up_to = manifest.durable_version.get(name) if live else None
        if live is None and (torn := torn_commit(root, manifest)) is not None:
            up_to = torn - 1
            findings.append(_torn_commit_finding(name, torn, is_damage=not manifest.line_count and not is_new))
        logs[name] = read_log(root, up_to=up_to, digests=digests, is_online=live is not None)
    return Picture(live=live, manifest=manifest, logs=logs, segments=segments, log_uuid=log_uuid, findings=findings)


def _is_new(layout: Layout) -> bool:
    """Say whether nothing was ever stored here: a first start that was cut off has nothing to lose."""
    return not find_segments(layout.log_dir) and not any(layout.lake_dir.glob("*/project=*"))


def torn_commit(root: Path, manifest: Manifest) -> int | None:
    """Return the version that the next start undoes."""
    try:
        return torn_last_commit(root, manifest)
    except OSError as exc:
        if is_exhausted(exc):
            raise
        return None
    except (KeyError, TypeError, AttributeError):  # whole lines that no commit holds: named when it is read
        return None


def _torn_commit_finding(table: str, version: int, *, is_damage: bool) -> Finding:
    why = "what a power cut leaves; the next start undoes it"
    if is_damage:
        why = "and no manifest says whether it ever was"
    what = f"version {version}, or a file of it, is not whole: {why}"
    return Finding(
        code="commit_torn", is_damage=is_damage, what=what, table=table, name=f"{LOG_FOLDER}/{version:020d}.json"
    )


def read_whole_manifest(path: Path, *, is_online: bool, is_new: bool) -> tuple[Manifest, list[Finding]]:
    """Return what all intact lines say, and a finding for each that is not."""
    manifest = Manifest(path)
    content = path.read_bytes() if path.exists() else b""
    if not content:
        what = "the manifest is missing: no checksum is known"
        return manifest, [_log_damage("manifest_missing", "manifest", what, is_damage=not is_new)]
    lines = content.splitlines(keepends=True)
    findings = []
    for number, line in enumerate(lines, 1):
        if manifest.take_lines(line):
            continue
        if number == len(lines) and not line.endswith(b"\n"):
            if not is_online:  # beside an owner it is a line that is just being written
                what = "the last line is not whole: what a power cut leaves; the next start cuts it off"
                findings.append(_log_damage("manifest_torn", "manifest", what, is_damage=False))
        else:
            findings.append(_log_damage("manifest_damaged", "manifest", f"line {number} is not what was written"))
    return manifest, findings


def _log_damage(code: str, name: str, what: str, *, is_damage: bool = True) -> Finding:
    return Finding(code=code, is_damage=is_damage, what=what, name=f"log/{name}")


def _read_uuid(log_dir: Path, *, is_new: bool) -> tuple[uuid.UUID | None, list[Finding]]:
    path = log_dir / "uuid"
    if not path.exists():
        what = "the identity of the log is missing"
        return None, [_log_damage("log_identity_missing", "uuid", what, is_damage=not is_new)]
    content = path.read_bytes()
    try:
        found = uuid.UUID(content.decode("ascii").strip())
    except ValueError:
        return None, [_log_damage("log_identity_damaged", "uuid", "the identity of the log cannot be read")]
    if content != f"{found}\n".encode():
        return found, [_log_damage("log_identity_damaged", "uuid", "the identity of the log is not as it was written")]
    return found, []


def _read_segments(
    log_dir: Path, log_uuid: uuid.UUID | None, manifest: Manifest, *, is_online: bool
) -> tuple[list[SegmentFacts], list[Finding]]:
    if log_uuid is None:
        return [], []
    paths = find_segments(log_dir)
    segments, findings = [], []
    for path in paths:
        try:
            scan = scan_segment(path, log_uuid=log_uuid, is_last=path == paths[-1])
            segments.append(_facts(scan))
        except FileNotFoundError as exc:
            raise _Moved from exc
        except DamageFound as exc:
            if is_online and path != paths[-1] and _is_growing(path, paths):
                raise _Moved from exc
            findings.append(_log_damage("segment_damaged", path.name, exc.message.split(". ", maxsplit=1)[0]))
    findings += _torn(segments) if not is_online else []
    findings += _gaps([int(path.stem) for path in paths], manifest.segment)
    return segments, findings


def _is_growing(path: Path, paths: list[Path]) -> bool:
    """Say whether a segment was the open one when the folder was listed, and has been sealed since."""
    return path == paths[-2] and time.time() - path.stat().st_mtime < 1.0


def _torn(segments: list[SegmentFacts]) -> list[Finding]:
    return [
        _log_damage(
            "segment_torn",
            f"{segment.number:020d}.seg",
            f"the last {segment.torn_bytes:,} bytes are no whole record: what a power cut leaves; "
            "nobody was promised them, and the next start sets them aside",
            is_damage=False,
        )
        for segment in segments
        if segment.torn_bytes
    ]


def _gaps(numbers: list[int], committed: int) -> list[Finding]:
    present = sorted(number for number in numbers if number > committed)
    if not present:
        return []
    first = committed + 1 if committed >= 0 else present[0]
    return [
        _log_damage("segment_missing", f"{number:020d}.seg", f"segment {number} is missing, its rows are not committed")
        for number in sorted(set(range(first, present[-1])) - set(present))
    ]


def _facts(scan: SegmentScan) -> SegmentFacts:
    deliveries: dict[str, list[tuple[int, int]]] = {name: [] for name in TABLES}
    for record in scan.records:
        for name, body in (("measurements", record.measurements), ("events", record.events)):
            if body:
                deliveries[name].append((record.received_at_us, from_ipc(body).num_rows))
    return SegmentFacts(
        number=scan.number,
        crc=scan.crc,
        is_sealed=scan.is_sealed,
        torn_bytes=scan.torn_bytes,
        deliveries=deliveries,
    )
