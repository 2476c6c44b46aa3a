"""`gaugehouse lake repair`: bring back what checksums, replaced files, the log or a backup still know.

It works through what the later steps need first: manifest, identity of the log, its segments, small files, the Delta
logs, data files. Each step is whole after a kill, and a repair that runs again goes on where the last one ended.
Nothing is destroyed: what was damaged stays in `log/damaged` and `<table>/_quarantine`.
"""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pyarrow as pa
import structlog

from gaugehouse.config import Layout
from gaugehouse.errors import DamageFound
from gaugehouse.lake.answers import ANSWERS, find_damage
from gaugehouse.lake.backup import Pool, refuse_half_restored
from gaugehouse.lake.commits import settle
from gaugehouse.lake.contents import read_contents
from gaugehouse.lake.delta import DeltaStore, described
from gaugehouse.lake.deltalog import ListedFile, TableLog
from gaugehouse.lake.deltarepair import DeltaRepair
from gaugehouse.lake.durable import remove_file, write_file
from gaugehouse.lake.filerepair import FileRepair, find_merges
from gaugehouse.lake.flush import app_id
from gaugehouse.lake.indexfile import index_path, is_intact_index
from gaugehouse.lake.manifest import (
    CommittedFile,
    Manifest,
    ManifestEntry,
    intact_lines,
    manifest_path,
    mend_lines,
    read_entries,
)
from gaugehouse.lake.plain import PlainMirror
from gaugehouse.lake.quarantine import Quarantine, is_broken, is_intact, quarantine_path, set_aside
from gaugehouse.lake.recovery import drop_torn_checkpoints, settle_last_commit
from gaugehouse.lake.remedies import DAMAGED, Copies, Mended, keep_original
from gaugehouse.lake.rows import TABLES, TableSpec
from gaugehouse.lake.segments import (
    RECORD_HEADER,
    SEGMENT_HEADER,
    SegmentScan,
    find_segments,
    intact_segment,
    scan_segment,
    segment_uuid,
)
from gaugehouse.lake.valuecheck import check_values
from gaugehouse.lake.values import discard_values, mended_values
from gaugehouse.lock import OwnerLock

logger = structlog.get_logger()
Progress = Callable[[str, int, int], None]


class Repair(msgspec.Struct, frozen=True, kw_only=True):
    """What one repair found and did.

    Args:
        mended: Everything that was not as it was written; empty for a sound lake.
        looked_at: How many data files were compared with what was written.
    """

    mended: tuple[Mended, ...]
    looked_at: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether nothing is lost any more."""
        return all(one.is_whole for one in self.mended)

    @property
    def lost_rows(self) -> int:
        """Rows of data files that could not be brought back."""
        return sum(one.rows for one in self.mended if not one.is_whole)


def repair_lake(layout: Layout, pool: Pool | None, on_progress: Progress) -> Repair:
    """Mend what can be mended of a lake that nobody owns.

    Args:
        layout: Where it lives.
        pool: Data files of backups, None without one.
        on_progress: Called with (what, done, total).

    Raises:
        LakeLocked: a server owns the lake.
        StartRefused: the folder is half restored.
        OSError, Unavailable: the disk refused; what was done is whole, and the rest can be done again.
    """
    lock = OwnerLock(layout.data_dir / "LOCK")
    lock.acquire()
    try:
        refuse_half_restored(layout)
        return _Mending(layout=layout, pool=pool, on_progress=on_progress).run()
    finally:
        lock.release()


class _Mending:
    """One repair under way."""

    def __init__(self, layout: Layout, pool: Pool | None, on_progress: Progress) -> None:
        self._layout = layout
        self._on_progress = on_progress
        self._copies = Copies(lake_dir=layout.lake_dir, pool=pool)
        self._manifest = Manifest(manifest_path(layout))
        self._quarantine = Quarantine(layout.log_dir)
        self._is_manifest_whole = True
        self._log_uuid: uuid.UUID | None = None
        self._segments: dict[int, SegmentScan] = {}
        self._damaged_segments: list[Path] = []
        self._mended: list[Mended] = []
        self._looked_at = 0

    def run(self) -> Repair:
        self._mend_manifest()
        self._mend_identity()
        self._scan_segments()
        self._mend_small_files()
        self._quarantine.load()
        for spec in TABLES.values():
            self._mended += self._delta(spec).repair()
        self._mend_segments()
        for spec in TABLES.values():
            log = self._delta(spec).read()
            if not log.damage and log.is_whole:
                self._know_again(spec, log)
                self._mend_files(spec, log)
        self._drop_damaged_lines()
        self._drop_damaged_values()
        for one in self._mended:
            logger.info("mended" if one.is_whole else "not_mended", name=one.name, what=one.what, rows=one.rows)
        return Repair(mended=tuple(self._mended), looked_at=self._looked_at)

    def _drop_damaged_values(self) -> None:
        """Drop the table that is derived from reports when something of it is wrong: it is built anew."""
        check = check_values(self._layout, is_online=False)
        if check.findings:
            discard_values(self._layout)
            self._mended.append(mended_values(check))

    def _note(self, name: str, what: str, *, is_whole: bool = True) -> None:
        self._mended.append(Mended(name=name, what=what, is_whole=is_whole))

    def _keep(self, path: Path) -> None:
        keep_original(path, self._layout.log_dir / DAMAGED)

    # -- the folder of the log

    def _mend_manifest(self) -> None:
        path = self._manifest.path
        content = path.read_bytes() if path.exists() else b""
        kept, mended, damaged = mend_lines(content)
        if mended or damaged:
            self._keep(path)
        if mended:
            write_file(path, kept)
            self._note("log/manifest", f"lines in which one bit had flipped, put right: {mended:,}")
        self._is_manifest_whole = bool(content) and not damaged
        self._manifest.load()

    def _drop_damaged_lines(self) -> None:
        """Leave damaged lines out at last: until all is done, whoever goes on must know that something is lost."""
        path = self._manifest.path
        content = path.read_bytes() if path.exists() else b""
        kept = intact_lines(content)
        if kept != content:
            write_file(path, kept)
            lost = content.count(b"\n") - kept.count(b"\n")
            self._note("log/manifest", f"damaged lines left out: {lost:,}")

    def _mend_identity(self) -> None:
        """Bring the identity of the log back, which its commits and its segments bear."""
        known = {
            app.partition(":")[0] for spec in TABLES.values() for app in self._delta(spec).read().state.transactions
        } or set(filter(None, map(segment_uuid, find_segments(self._layout.log_dir))))
        path = self._layout.log_dir / "uuid"
        content = path.read_bytes() if path.exists() else b""
        found = _uuid_of(content)
        if found is None or (known and found not in known):
            found = min(known) if len(known) == 1 else None
        if found is None:
            if content or find_segments(self._layout.log_dir):
                self._note("log/uuid", "cannot be read, and nothing that bears it is left", is_whole=False)
            return
        if content != f"{found}\n".encode():
            if content:
                self._keep(path)
            write_file(path, f"{found}\n".encode())
            self._note("log/uuid", "written again: commits and segments bear it")
        self._log_uuid = uuid.UUID(found)

    def _scan_segments(self) -> None:
        if self._log_uuid is None:
            return
        paths = find_segments(self._layout.log_dir)
        for path in paths:
            try:
                scan = scan_segment(path, log_uuid=self._log_uuid, is_last=path == paths[-1])
            except DamageFound:
                self._damaged_segments.append(path)
            else:
                self._segments[scan.number] = scan

    def _mend_segments(self) -> None:
        """Keep every record that can be trusted of each damaged segment, but for rows that are in files already."""
        committed = {
            name: self._delta(spec).read().state.transactions.get(app_id(str(self._log_uuid), name), -1)
            for name, spec in TABLES.items()
        }
        for path in self._damaged_segments:
            number = int(path.stem)
            self._keep(path)
            if number <= self._manifest.segment:
                remove_file(path)
                self._note(f"log/{path.name}", "set aside: all its rows are in files")
            else:
                self._mend_segment(path, [name for name, newest in committed.items() if newest >= number])

    def _mend_segment(self, path: Path, committed: list[str]) -> None:
        assert self._log_uuid is not None  # noqa: S101 - else no segment was scanned
        content = path.read_bytes()
        mended, kept_records, intact_bytes = intact_segment(
            content, log_uuid=self._log_uuid.bytes, number=int(path.stem), committed=committed
        )
        write_file(path, mended, mode=0o600)
        lost_bytes = len(content) - intact_bytes
        is_whole = lost_bytes in {RECORD_HEADER.size, SEGMENT_HEADER.size}  # a marker, or the head
        lost = "held no row" if is_whole else "are lost with what they held"
        what = f"deliveries kept: {kept_records:,}; {lost_bytes:,} damaged bytes {lost}"
        self._note(f"log/{path.name}", what, is_whole=is_whole)

    def _mend_small_files(self) -> None:
        """Set aside what a start can do without."""
        log_dir = self._layout.log_dir
        for spec in TABLES.values():
            path = index_path(log_dir, spec)
            if path.exists() and not is_intact_index(path.read_bytes()):
                self._set_aside(path, f"log/index/{path.name}", "set aside: the next start makes it anew")
        path = log_dir / ANSWERS
        journal = path.with_name(f"{path.name}-journal")
        is_settled = not journal.exists() or not journal.stat().st_size
        if path.exists() and is_settled and find_damage(path) is not None:
            what = "set aside: a repeated request gets no earlier answer, and stores nothing twice all the same"
            self._set_aside(path, f"log/{ANSWERS}", what)
        path = quarantine_path(log_dir)
        if path.exists() and not is_intact(path.read_bytes()):
            self._set_aside(path, "log/quarantine", "made anew: the damaged files below are listed again")

    def _set_aside(self, path: Path, name: str, what: str) -> None:
        self._keep(path)
        remove_file(path)
        self._note(name, what)

    # -- the tables

    def _delta(self, spec: TableSpec) -> DeltaRepair:
        return DeltaRepair(
            root=self._layout.lake_dir / spec.name,
            spec=spec,
            manifest=self._manifest,
            is_manifest_whole=self._is_manifest_whole,
            copies=self._copies,
            log_uuid=str(self._log_uuid),
            segments=self._segments,
        )

    def _know_again(self, spec: TableSpec, log: TableLog) -> None:
        """Say again what was written where the manifest is lost that said it: by a backup, or by the files."""
        written = self._manifest.files.get(spec.name, {})
        unknown = [file for path, file in sorted(log.state.files.items()) if path not in written]
        durable = self._manifest.durable_version.get(spec.name, -1)
        if not unknown or self._is_settled_by_a_start(log, durable):
            return
        files = [known for file in unknown if (known := self._witness(spec, file)) is not None]
        version = log.state.version if durable < 0 else durable
        self._manifest.record(ManifestEntry(table=spec.name, version=version, files=tuple(files)))
        what = f"the checksums of {len(files):,} files of {spec.name} are known again"
        self._note("log/manifest", what, is_whole=len(files) == len(unknown))

    def _is_settled_by_a_start(self, log: TableLog, durable: int) -> bool:
        """Say whether only the last commit is unknown: a stop without warning has kept it from the manifest."""
        return self._is_manifest_whole and log.state.version == durable + 1

    def _witness(self, spec: TableSpec, file: ListedFile) -> CommittedFile | None:
        """Return what was written, None when nothing can bear it out: a file's pages have checksums of their own."""
        found = self._copies.find(spec.name, file.path, None)
        if found is not None:
            return described(file.path, found[0])
        path = self._layout.lake_dir / spec.name / file.path
        content = path.read_bytes() if path.exists() else b""
        try:
            is_whole = len(content) == file.size_bytes and read_contents(content, spec).rows == file.rows
        except (OSError, pa.ArrowException):
            is_whole = False
        return described(file.path, content) if is_whole else None

    def _mend_files(self, spec: TableSpec, log: TableLog) -> None:
        """Compare every data file with what was written, and bring back those that differ."""
        listed = self._quarantine.paths_of(spec.name)
        broken = [path for path in self._broken(spec, log) if path not in listed]
        for path in sorted(listed - log.state.files.keys()):
            self._quarantine.take_off(spec.name, path)
        if not broken and not listed & log.state.files.keys():
            self._mend_replaced(spec)
            return
        store = self._open(spec)
        repair = FileRepair(
            store=store,
            manifest=self._manifest,
            quarantine=self._quarantine,
            copies=self._copies,
            merges=find_merges(log, read_entries(self._manifest.path), spec.name),
            segments=self._segments,
        )
        paths = sorted({*broken, *listed} & store.files.keys())
        for done, path in enumerate(paths, 1):
            self._mended.append(repair.repair(store.files[path], "a repair found it not to be what was written").mended)
            self._on_progress(f"mending {spec.name}", done, len(paths))
        self._mend_replaced(spec)
        PlainMirror(self._layout.lake_dir, spec.name).rebuild(store.files.values())

    def _broken(self, spec: TableSpec, log: TableLog) -> Iterator[str]:
        root, written = self._layout.lake_dir / spec.name, self._manifest.files.get(spec.name, {})
        for done, (path, file) in enumerate(sorted(log.state.files.items()), 1):
            if is_broken(root, file, written.get(path)):
                yield path
            self._looked_at += 1
            self._on_progress(f"comparing {spec.name}", done, len(log.state.files))

    def _open(self, spec: TableSpec) -> DeltaStore:
        """Open a table as a start does."""
        store = DeltaStore(self._layout.lake_dir / spec.name, spec)
        settle_last_commit(store.root, self._manifest)
        drop_torn_checkpoints(store.root, self._manifest)
        store.open()
        settle(store, self._manifest)
        return store

    def _mend_replaced(self, spec: TableSpec) -> None:
        """Bring replaced files back that are damaged, or set them aside: nobody reads them once no server runs."""
        root, written = self._layout.lake_dir / spec.name, self._manifest.files.get(spec.name, {})
        for path in sorted(self._manifest.superseded.get(spec.name, {})):
            known = written.get(path)
            if known is None or not (root / path).exists() or described(path, (root / path).read_bytes()) == known:
                continue
            found = self._copies.find(spec.name, path, known.sha256)
            set_aside(root, path)
            if found is not None:
                write_file(root / path, found[0])
            what = found[1] if found is not None else "set aside: its rows are in another file, and nobody reads it"
            self._note(f"{spec.name}/{path}", what)


def _uuid_of(content: bytes) -> str | None:
    try:
        return str(uuid.UUID(content.decode("ascii").strip()))
    except ValueError:
        return None
