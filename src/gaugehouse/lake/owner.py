"""The lake of a running owner: open, append, pin, flush, close."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import structlog
from deltalake.exceptions import DeltaError

from gaugehouse.config import Layout, Settings
from gaugehouse.errors import GaugehouseError, StartRefused, StorageFull, Unavailable
from gaugehouse.lake.answers import ANSWERS, Answers
from gaugehouse.lake.backup import BackedLake, Pool, copy_files, refuse_half_restored
from gaugehouse.lake.commits import settle
from gaugehouse.lake.delta import DeltaStore, FileEntry
from gaugehouse.lake.durable import FsyncFailed, fail_stop, make_folder
from gaugehouse.lake.engine import Engine, remove_old_spills
from gaugehouse.lake.filekeys import FileKeys
from gaugehouse.lake.flush import Flusher
from gaugehouse.lake.gather import Gather
from gaugehouse.lake.groups import Appended, Delivery
from gaugehouse.lake.indexfile import Damage, load_index, save_index
from gaugehouse.lake.keyhash import NEVER, Int32s
from gaugehouse.lake.known import warm_up
from gaugehouse.lake.live import LiveFacts, live_facts
from gaugehouse.lake.log import Log
from gaugehouse.lake.lookup import FileLookup
from gaugehouse.lake.maintenance import CompactionDone, Maintenance
from gaugehouse.lake.manifest import Manifest, ManifestEntry, manifest_path, read_committed_through_us
from gaugehouse.lake.meters import LakeMeters
from gaugehouse.lake.newest import NewestColumns, Numbered, find_components, read_newest
from gaugehouse.lake.plain import PlainMirror
from gaugehouse.lake.proofs import Proofs
from gaugehouse.lake.quarantine import Quarantine, is_broken, refuse_quarantined
from gaugehouse.lake.recovery import (
    committed_segments,
    drop_torn_checkpoints,
    newest_received_us,
    refuse_damaged_log,
    remove_uncommitted_files,
    replay,
    scan_log,
    settle_checkpoints,
    settle_last_commit,
)
from gaugehouse.lake.remedies import Copies, Mended
from gaugehouse.lake.retention import Dropped, Gone, gone_of
from gaugehouse.lake.rows import TABLES
from gaugehouse.lake.segments import find_segments, load_log_uuid
from gaugehouse.lake.sequencer import CONFLICT_KIND, Sequencer, now_us
from gaugehouse.lake.snapshot import HotView, Snapshot, TableName
from gaugehouse.lake.tail import Tail
from gaugehouse.lake.values import ValueTable
from gaugehouse.limits import day_of_us
from gaugehouse.lock import OwnerLock
from gaugehouse.measurements.selection import MICROSECOND, Selection, from_epoch_us, to_epoch_us
from gaugehouse.tracing import span

logger = structlog.get_logger()

KEEPER_PERIOD_S = 0.05
IDLE_S = 0.1  # an idle log writes down how far it is durable
FORCED_SEAL_PERIOD_S = 5.0
FREE_SPACE_PERIOD_S = 0.5
RETRY_FIRST_S, RETRY_LAST_S = 1.0, 30.0
MAINTENANCE_PERIOD_S = 1.0
CLOSED_PROJECT_S = 60.0  # longer than any request that began before the project was deleted
FAILED_EXIT_CODE = 70
COUNTED: dict[TableName, str] = {  # what a quota of rows per day counts
    "measurements": "SELECT count(*) AS rows FROM rows",
    "events": f"SELECT count(*) AS rows FROM rows WHERE kind <> '{CONFLICT_KIND}'",  # noqa: S608 - a constant
}
GATHERED_ROWS = 1_000  # larger deliveries gain nothing from company, and would make it wait


def _quiet(_doing: str, _done: int, _total: int) -> None:
    return None


def _stop_process(reason: str) -> None:
    """Fail-stop: after a disk error nothing in memory can be trusted to match the disk."""
    logger.critical("storage_failed", reason=reason)
    os._exit(FAILED_EXIT_CODE)


def read_committed_through(layout: Layout) -> datetime | None:
    """Return the newest received_at such that everything up to it is in the Delta tables; for other processes."""
    through_us = read_committed_through_us(manifest_path(layout))
    return from_epoch_us(through_us) if through_us >= 0 else None


class Lake:
    """The one writer of a lake. All methods may be called from any thread."""

    def __init__(self, layout: Layout, settings: Settings, on_failure: Callable[[str], None]) -> None:
        self.layout = layout
        self._settings = settings
        self._on_failure = on_failure
        self._lock = OwnerLock(layout.data_dir / "LOCK")
        self._engine = Engine(layout.run_dir, memory_bytes=settings.query_memory_bytes)
        self._stores = {name: DeltaStore(layout.lake_dir / name, spec) for name, spec in TABLES.items()}
        self._manifest = Manifest(manifest_path(layout))
        self._quarantine = Quarantine(layout.log_dir)
        self._proofs = Proofs(layout.lake_dir, self._manifest.files, self.quarantine)
        self._unread: dict[str, tuple[FileEntry, ...]] = dict.fromkeys(TABLES, ())  # nothing of them is in memory
        self._sequencer = Sequencer(
            recent_keys_bytes=settings.recent_keys_bytes,
            unflushed_limit_bytes=settings.unflushed_limit_bytes,
            series_limit=settings.series_limit,
        )
        self._gather = Gather(self._sequencer)
        self.tail = Tail(self._sequencer, self._kept_from_us)
        self._opened_us = -1
        self._recalling = threading.Lock()
        self._recalled: set[str] = set()  # projects whose rows of the day before this start are counted
        self.answers = Answers(layout.log_dir / ANSWERS)
        self.values = ValueTable(layout, settings, self._fail)
        self._failure_told = threading.Lock()
        self._stopping = threading.Event()
        self._flush_wanted = threading.Event()
        self._flushed = threading.Condition()
        self._seal_wanted = False
        self._last_forced_s = float("-inf")
        self._free_space_seen_at_s = float("-inf")
        self._has_free_space = True
        self._commits_since_index = 0
        self._threads: list[threading.Thread] = []
        self._flusher: Flusher | None = None
        mirrors = {name: PlainMirror(layout.lake_dir, name) for name in TABLES}
        self._maintenance = Maintenance(
            stores=self._stores,
            manifest=self._manifest,
            sequencer=self._sequencer,
            mirrors=mirrors,
            checkpoint_every_commits=settings.checkpoint_every_commits,
            superseded_keep_s=settings.superseded_keep_s,
            free_space_bytes=settings.free_space_bytes,
            should_stop=self._stopping.is_set,
        )

    @classmethod
    def open(
        cls,
        layout: Layout,
        settings: Settings,
        on_progress: Callable[[str, int, int], None] = _quiet,
        on_failure: Callable[[str], None] = _stop_process,
    ) -> "Lake":
        """Take the lock, repair, recover, and begin to accept writes.

        Args:
            layout: Where the installation lives.
            settings: Limits and periods.
            on_progress: Called with (what, done, total) during long steps.
            on_failure: Called once when the disk refuses a sync; the default ends the process.

        Raises:
            LakeLocked: another process owns this lake.
            DamageFound: something that was synced cannot be read back.
            StartRefused: the clock is behind the newest row, or the folder is half restored.
            Unavailable: a data file is what was written, and yet it cannot be read.
        """
        for folder in (layout.data_dir, layout.lake_dir, layout.log_dir):
            make_folder(folder)
        lake = cls(layout, settings, on_failure)
        lake._lock.acquire()
        try:
            refuse_half_restored(layout)
            lake._recover(on_progress)
        except BaseException:
            lake._lock.release()
            raise
        lake._start_threads()
        return lake

    def _recover(self, on_progress: Callable[[str, int, int], None]) -> None:
        started_s = time.monotonic()
        warm_up()
        remove_old_spills(self.layout.run_dir)
        log_dir = self.layout.log_dir
        log_uuid = load_log_uuid(log_dir)
        self._manifest.load()
        self._quarantine.load()
        for store in self._stores.values():
            settle_last_commit(store.root, self._manifest)
            drop_torn_checkpoints(store.root, self._manifest)
            refuse_damaged_log(store.root, self._manifest)
            store.open()
            settle(store, self._manifest)  # the creation of a new table
            settle_checkpoints(store, self._manifest)
        committed = committed_segments(self._stores, str(log_uuid))
        for name, store in self._stores.items():
            written = self._manifest.files.get(name, {})
            self._maintenance.leave_alone(self._quarantine.release(store.root, store.files, written))
            remove_uncommitted_files(store, self._manifest)
            self._maintenance.mirrors[name].rebuild(store.files.values())
            index, recent = self._sequencer.indexes[name], self._sequencer.recent[name]
            listed = self._quarantine.paths_of(name)
            damage = Damage(listed=listed, written=written, set_aside=partial(self._set_aside, store))
            self._unread[name] = load_index(
                log_dir, index, recent, store, self._engine, damage=damage, on_progress=on_progress
            )
        scans = scan_log(log_dir, log_uuid)
        replay(scans, self._stores, committed, self._sequencer)
        sequencer = self._sequencer
        self.answers.open()
        for segment in sequencer.sealed:
            self.answers.note(segment.answers)
        sequencer.on_answers = self.answers.note
        sequencer.last_received_us = max(sequencer.last_received_us, newest_received_us(self._stores, self._manifest))
        self._mend_manifest()
        # Also of segments that are committed but were not deleted any more: their rows show in the files.
        replayed_us = [segment.through_us for segment in sequencer.sealed]
        sequencer.visible_through_us = max([self._manifest.through_us, *replayed_us])
        self._refuse_clock_behind()
        numbers = [*committed.values(), self._manifest.segment, *(scan.number for scan in scans)]
        self._opened_us = sequencer.last_received_us  # whatever is stamped from now on is later
        log = Log(log_dir, log_uuid, max(numbers, default=-1) + 1)
        log.on_failure = self._fail
        log.open_segment()
        sequencer.start(log, number=log.number)
        self._flusher = Flusher(
            log_dir=log_dir,
            log_uuid=str(log_uuid),
            stores=self._stores,
            manifest=self._manifest,
            sequencer=sequencer,
            mirrors=self._maintenance.mirrors,
            answers=self.answers,
        )
        sequencer.files = self._flusher.current_files()
        sequencer.refuse_when_unfit = self._refuse_when_full
        sequencer.lookup = FileLookup(
            engine=self._engine,
            stores=self._stores,
            indexes=sequencer.indexes,
            number_lock=sequencer.lock,
            file_keys={name: FileKeys(spec, self._settings.file_keys_bytes) for name, spec in TABLES.items()},
            quarantined=lambda: self._quarantine.paths,
            proofs=self._proofs,
        ).find
        logger.info(
            "lake_opened",
            versions={name: store.version for name, store in self._stores.items()},
            files=sum(len(store.files) for store in self._stores.values()),
            replayed_segments=len(scans),
            replayed_rows=sequencer.unflushed_rows(),
            duration_s=round(time.monotonic() - started_s, 3),
        )

    def _set_aside(self, store: DeltaStore, entry: FileEntry, what: str) -> None:
        """Put a data file in quarantine; the caller sees to it that nobody changes the table meanwhile."""
        self._quarantine.add(store.root, entry, what)
        self._maintenance.leave_alone([entry.path])
        self._maintenance.mirror(store, [entry])

    def _mend_manifest(self) -> None:
        """Say again how far the files go, when the manifest that said so is lost."""
        in_files_us = newest_received_us(self._stores, self._manifest)
        first_replayed_us = min((s.first_us for s in self._sequencer.sealed if s.rows), default=in_files_us + 1)
        if self._manifest.through_us < 0 <= in_files_us:
            self._manifest.record(ManifestEntry(through_us=min(in_files_us, first_replayed_us - 1)))

    def _refuse_clock_behind(self) -> None:
        behind_s = (self._sequencer.last_received_us - now_us()) / 1e6
        if behind_s > self._settings.clock_behind_limit_s and not self._settings.allow_clock_behind:
            raise StartRefused(
                f"this machine's clock is {behind_s:.0f} s behind the newest stored row; set the clock, "
                "or start with GAUGEHOUSE_ALLOW_CLOCK_BEHIND=1 if the rows are right",
                code="clock_behind",
            )

    def _start_threads(self) -> None:
        self._manifest.on_failure = self._fail  # until now, the start itself fails
        for name, run in (
            ("lake-keeper", self._keep),
            ("lake-flusher", self._flush_sealed),
            ("lake-maintainer", self._maintain),
        ):
            thread = threading.Thread(target=run, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)
        self._gather.start()
        self._flush_wanted.set()

    # -- writing

    def append_measurements(self, project: str, batch: pa.Table) -> Appended:
        """Store what is new in a batch of MEASUREMENT_BATCH; return once it is on the disk.

        Raises:
            Overloaded: too much waits to be flushed.
            StorageFull: below the free-space mark, or the disk is full; nothing was stored.
            Unavailable: the disk refused; nothing is acknowledged.
        """
        return self.append(project, Delivery(batches={"measurements": batch}))

    def append_events(self, project: str, batch: pa.Table) -> Appended:
        """Store what is new in a batch of EVENT_BATCH; return once it is on the disk. Raises as above."""
        return self.append(project, Delivery(batches={"events": batch}))

    def append(self, project: str, delivery: Delivery) -> Appended:
        """Store what is new of a delivery; return once it is on the disk. Raises as above."""
        with span("append", rows=len(delivery)):
            if len(delivery) > GATHERED_ROWS:
                return self._sequencer.append(project, delivery)
            return self._gather.append(project, delivery)

    def submit(self, project: str, delivery: Delivery, on_done: Callable[[Appended | BaseException], None]) -> None:
        """Store a small delivery; `on_done` is called in another thread once it is on the disk, or with the error.

        Raises:
            Unavailable: the lake is closing; `on_done` is not called.
        """
        self._gather.submit(project, delivery, on_done)

    def count_series_of(self, project: str, table: TableName = "measurements") -> int:
        """Return how many series of a table a project has."""
        return self._sequencer.indexes[table].count_series(project)

    def refuse_rows_of_day(self, project: str, rows: int, quota: int) -> None:
        """Refuse rows that are new for certain, before anything is done for them.

        Raises:
            Throttled: with them the project would bring more than `quota` on this UTC day.
        """
        with self._sequencer.lock:
            self._sequencer.rows_of_day.refuse_over(project, rows, quota, self._stamp_us())

    def _stamp_us(self) -> int:
        """Return about which stamp a row would get now: never one before the newest, whatever the clock says. [us]"""
        return max(now_us(), self._sequencer.last_received_us)

    def recall_rows_of_day(self, project: str) -> None:
        """Count what a project brought on this UTC day before the lake was opened, once; slow the first time.

        Without it a quota of rows per day begins anew with each start.

        Raises:
            Unavailable: a file cannot be read.
        """
        if project in self._recalled or day_of_us(self._stamp_us()) != day_of_us(self._opened_us):
            return
        with self._recalling:  # who came at the same time waits for the one look
            if project not in self._recalled:
                self._recall_rows_of_day(project)

    def _recall_rows_of_day(self, project: str) -> None:
        opened_at = from_epoch_us(self._opened_us)
        midnight = opened_at.replace(hour=0, minute=0, second=0, microsecond=0)
        before = Selection(project=project, received_after=midnight - MICROSECOND, as_of=opened_at)
        snapshot, rows = self.pin(), 0
        for table, statement in COUNTED.items():
            with snapshot.read(before, statement, table=table) as reader:
                rows += reader.read_all().column("rows")[0].as_py()
        with self._sequencer.lock:
            self._recalled.add(project)
            self._sequencer.rows_of_day.recall(project, rows, day_of_us(self._opened_us))

    def _refuse_when_full(self) -> None:
        now_s = time.monotonic()
        if now_s - self._free_space_seen_at_s > FREE_SPACE_PERIOD_S:
            self._free_space_seen_at_s = now_s
            self._has_free_space = self.free_bytes() >= self._settings.free_space_bytes
        if not self._has_free_space:
            raise StorageFull("the disk is nearly full; nothing of this request was stored", retry_after_s=30)

    def _fail(self, reason: str = "a sync was refused by the disk") -> None:
        if self._failure_told.acquire(blocking=False):
            self._on_failure(reason)

    # -- reading

    def pin(self) -> Snapshot:
        """Return one consistent moment: the files of the newest commit and the rows acknowledged since."""
        sequencer = self._sequencer
        with sequencer.view_lock:
            segments = [*sequencer.sealed, sequencer.active]
            hot = {
                name: HotView(rows=tuple(segment.hot[name].view() for segment in segments), index=index)
                for name, index in sequencer.indexes.items()
            }
            files, through_us = sequencer.files, sequencer.visible_through_us
        return Snapshot(
            engine=self._engine,
            lake_dir=self.layout.lake_dir,
            files=files,
            hot=hot,
            received_through_us=through_us,
            proofs=self._proofs,
            quarantined=self._quarantine.paths,
        )

    def newest(self, project: str, components: Sequence[str] | None = None) -> pa.Table:
        """Return the newest measurement of each series, from memory, in the schema MEASUREMENT_ROWS.

        Raises:
            Unavailable: one of them may be in a damaged file that no start since could read.
        """
        self.refuse_unread(project, components)
        return self.series(project, components)

    def refuse_unread(self, project: str, components: Sequence[str] | None = None) -> None:
        """Refuse to answer from memory what may be in a damaged file that no start since could read.

        Raises:
            Unavailable: there is such a file.
        """
        current = self._stores["measurements"].files
        unread = [entry for entry in self._unread["measurements"] if entry.project == project and entry.path in current]
        if components is not None:
            unread = [one for one in unread if any(one.components[0] <= c <= one.components[1] for c in components)]
        refuse_quarantined(self._quarantine.paths, "measurements", unread)

    def series(self, project: str, components: Sequence[str] | None = None) -> pa.Table:
        """Return component and metric of each series, with the newest measurement that is known of it.

        A series all of whose rows are in a damaged file that no start since could read is not among them.
        """
        wanted = None if components is None else tuple(components)
        rows = self._sequencer.indexes["measurements"].newest_rows(project, wanted)
        gone = self.gone(project, "measurements")
        return rows if gone is None else rows.filter(pc.greater_equal(rows.column("measured_at"), gone.before))

    def find_components(self, project: str, metrics: tuple[str, ...]) -> Numbered:
        """Return the components that have a row of one of these metrics, by number, in order of their names."""
        return find_components(self._sequencer.indexes["measurements"], project, metrics, self._kept_from_us(project))

    def number_components(self, project: str, names: pa.StringArray | Sequence[str]) -> Int32s:
        """Return the number of each component, EMPTY for those that have no rows."""
        given = names if isinstance(names, pa.StringArray) else pa.array(names, pa.string())
        return self._sequencer.indexes["measurements"].number_components(project, given)

    def name_components(self, numbers: Int32s) -> pa.StringArray:
        """Return the names of components by number."""
        return self._sequencer.indexes["measurements"].name_components(numbers)

    def newest_columns(self, project: str, components: Int32s, metrics: tuple[str, ...]) -> NewestColumns:
        """Return the newest rows that memory knows of these metrics of components by number, from memory.

        What is in a damaged file that no start since could read is not among them: `refuse_unread` says whether.
        """
        since_us = self._kept_from_us(project)
        return read_newest(self._sequencer.indexes["measurements"], components, metrics, since_us)

    def _kept_from_us(self, project: str) -> int:
        gone = self.gone(project, "measurements")
        return NEVER if gone is None else to_epoch_us(gone.before)

    def newest_received_at(self) -> datetime | None:
        """Return the stamp of the newest acknowledged record."""
        through_us = self._sequencer.visible_through_us
        return from_epoch_us(through_us) if through_us >= 0 else None

    def count_events(self, kind: str) -> int:
        """Return how many events of a kind became visible since the start: another number, and there is a new one."""
        return self._sequencer.indexes["events"].count_published(kind)

    def committed_through(self) -> datetime | None:
        """Return the newest received_at such that everything up to it is in the Delta tables."""
        return from_epoch_us(self._manifest.through_us) if self._manifest.through_us >= 0 else None

    @property
    def meters(self) -> LakeMeters:
        """What was counted since the lake was opened."""
        return self._sequencer.meters

    def lag_s(self) -> float:
        """Return the age of the oldest acknowledged row that is not in the Delta tables. [s]"""
        sequencer = self._sequencer
        with sequencer.view_lock:  # while one is being sealed it is in neither place
            segments = [*sequencer.sealed, sequencer.active]
        oldest_us = min((segment.first_us for segment in segments if segment.rows), default=-1)
        return max(0.0, (now_us() - oldest_us) / 1e6) if oldest_us >= 0 else 0.0

    def count_files(self) -> dict[tuple[str, str, str], int]:
        """Return the current files by (table, project, month)."""
        counts: dict[tuple[str, str, str], int] = {}
        for table, entries in self._sequencer.files.items():
            for entry in entries:
                key = (table, entry.project, entry.month)
                counts[key] = counts.get(key, 0) + 1
        return counts

    def count_commits(self) -> dict[str, int]:
        """Return how many commits each Delta table has had since it was made."""
        return {name: store.version + 1 for name, store in self._stores.items()}

    def count_series(self) -> dict[str, int]:
        """Return how many series each table has in memory."""
        return {name: len(index) for name, index in self._sequencer.indexes.items()}

    def refuse_when_unfit(self) -> None:
        """Refuse as a write would be refused now.

        Raises:
            StorageFull: the disk is nearly full.
            Unavailable: the lake is closing, or the disk has failed.
        """
        if self._stopping.is_set() or self._sequencer.log.failed:
            raise Unavailable("the lake takes no writes", retry_after_s=5)
        self._refuse_when_full()

    def free_bytes(self) -> int:
        """Return the free space of the disk that the log is on. [bytes]"""
        return shutil.disk_usage(self.layout.log_dir).free

    def find_quarantined(self) -> list[tuple[str, str]]:
        """Return (table, path) of every data file that is set aside."""
        return [(file.table, file.path) for file in self._quarantine.files]

    def unflushed_rows(self) -> int:
        return self._sequencer.unflushed_rows()

    def unflushed_bytes(self) -> int:
        return self._sequencer.unflushed_bytes()

    # -- flushing

    def request_flush(self) -> None:
        """Ask for the rows acknowledged so far to be committed soon; honoured at most every 5 s."""
        self._seal_wanted = True

    def flush(self, timeout_s: float = 600.0) -> None:
        """Commit everything acknowledged so far; return when it is in the Delta tables.

        Raises:
            GaugehouseError: not done within the timeout.
        """
        self._sequencer.seal()
        last = max((segment.number for segment in self._sequencer.sealed), default=-1)
        self._flush_wanted.set()
        deadline_s = time.monotonic() + timeout_s
        with self._flushed:
            while any(segment.number <= last for segment in self._sequencer.sealed):
                left_s = deadline_s - time.monotonic()
                if left_s <= 0 or not self._flushed.wait(min(left_s, 1.0)):
                    self._check_flush_alive(left_s)

    def _check_flush_alive(self, left_s: float) -> None:
        if left_s <= 0:
            raise GaugehouseError("the lake did not flush in time", code="flush_timeout")

    def _keep(self) -> None:
        """Seal by age, size or wish; write durability markers when idle; take down signs of plain/."""
        while not self._stopping.wait(KEEPER_PERIOD_S):
            try:
                for mirror in self._maintenance.mirrors.values():
                    mirror.take_down_signs()
                self._keep_once()
            except FsyncFailed:
                return  # the log has already stopped the process
            except (GaugehouseError, OSError) as exc:
                logger.warning("log_upkeep_failed", error=type(exc).__name__)
            except BaseException:  # a lake that seals nothing any more would fill up unnoticed
                logger.exception("log_upkeep_failed")

    def _keep_once(self) -> None:
        sequencer, now_s = self._sequencer, time.monotonic()
        active = sequencer.active
        if not active.is_empty:
            is_old = now_s - active.opened_at_s >= self._settings.segment_age_s
            is_big = sequencer.log.size_bytes >= self._settings.segment_size_bytes
            is_forced = self._seal_wanted and now_s - self._last_forced_s >= FORCED_SEAL_PERIOD_S
            if is_forced:
                self._last_forced_s = now_s
            if is_old or is_big or is_forced:
                self._seal_wanted = False
                sequencer.seal()
                self._flush_wanted.set()
        else:
            self._seal_wanted = False
        if now_s - sequencer.last_append_s >= IDLE_S:
            with sequencer.lock:
                position = sequencer.log.mark()
            if position is not None:
                sequencer.log.wait_durable(position)

    def _flush_sealed(self) -> None:
        """Flush sealed segments in order until stopped; a failed attempt is tried again, later and later."""
        retry_s = RETRY_FIRST_S
        while True:
            self._flush_wanted.wait()
            self._flush_wanted.clear()
            while self._sequencer.sealed:
                try:
                    self._flush_oldest()
                    retry_s = RETRY_FIRST_S
                except FsyncFailed as exc:
                    self._fail(exc.message)
                    return
                except BaseException as exc:  # whatever it is: the rows wait in the log, and others must be flushed
                    is_expected = isinstance(exc, (GaugehouseError, OSError, DeltaError, pa.ArrowException))
                    logger.exception(
                        "flush_failed", error=type(exc).__name__, retry_s=retry_s, exc_info=not is_expected
                    )
                    if self._stopping.wait(retry_s):
                        return
                    retry_s = min(2 * retry_s, RETRY_LAST_S)
            if self._stopping.is_set():
                return

    def _flush_oldest(self) -> None:
        assert self._flusher is not None  # noqa: S101 - set before the thread starts
        segment, started_s = self._sequencer.sealed[0], time.perf_counter()
        with span("flush", segment=segment.number, rows=segment.rows):
            self._flusher.flush(segment)
        self.meters.flush.observe(time.perf_counter() - started_s)
        self.meters.flushed_rows += segment.rows
        self._commits_since_index += 1
        try:
            self._tidy_after_flush()
        except FsyncFailed:
            raise
        except Exception as exc:  # noqa: BLE001 - the rows are in files: others need not wait for what is tried again
            logger.warning("flush_upkeep_failed", error=type(exc).__name__)
        with self._flushed:
            self._flushed.notify_all()

    def _tidy_after_flush(self) -> None:
        """Do what keeps starts short; the maintainer does no harm by trying the same."""
        self._maintenance.checkpoint_when_due()
        if self._commits_since_index >= self._settings.index_every_commits:
            self._save_indexes()

    # -- maintenance

    def _maintain(self) -> None:
        """Clean up and merge by policy; a failed attempt is tried again, later and later."""
        retry_s = RETRY_FIRST_S
        while not self._stopping.wait(MAINTENANCE_PERIOD_S):
            try:
                self._maintain_once()
                retry_s = RETRY_FIRST_S
            except FsyncFailed as exc:
                self._fail(exc.message)
                return
            except BaseException as exc:  # whatever it is, the rows are safe; a lake nobody looks after grows slow
                is_expected = isinstance(exc, (GaugehouseError, OSError, DeltaError, pa.ArrowException))
                logger.exception(
                    "maintenance_failed", error=type(exc).__name__, retry_s=retry_s, exc_info=not is_expected
                )
                if self._stopping.wait(retry_s):
                    return
                retry_s = min(2 * retry_s, RETRY_LAST_S)

    def _maintain_once(self) -> None:
        """Tidy, whatever else waits: it frees the disk. Merge while no rows wait: merging can, senders cannot."""
        try:
            self._maintenance.tidy()
        finally:
            while len(self._sequencer.sealed) <= 1 and self._maintenance.merge_next():
                pass

    def compact(
        self, project: str | None = None, on_progress: Callable[[str, int, int], None] = _quiet
    ) -> CompactionDone:
        """Merge all files that can be merged, of one project or of all; ingestion and reads go on.

        Raises:
            StorageFull: not enough free space for the copies.
        """
        done = self._maintenance.compact(project, on_progress)
        self._wait_for_signs()
        return done

    def _wait_for_signs(self) -> None:
        """Return once plain/ shows nothing but files, for who reads it next."""
        for mirror in self._maintenance.mirrors.values():
            mirror.wait_for_signs()

    def retain(self, project: str, table: str, before: datetime, archive_dir: Path | None = None) -> Dropped:
        """Drop the months of a project that end at or before an instant, after copying them where asked to.

        Rows measured before the resulting horizon are no longer accepted by whoever asks `gone`.

        Raises:
            DamageFound: a file to be archived is damaged; nothing was dropped.
            OSError: the archive cannot be written; nothing was dropped.
        """
        return self._maintenance.retain(project, table, before, archive_dir)

    def back_up(self, target: Path, on_progress: Callable[[str, int, int], None] = _quiet) -> BackedLake:
        """Copy the committed files to a backup folder and say which they are.

        Files that a compaction replaces meanwhile stay long enough; those of a dropped month or a deleted project too,
        or the copy fails and says so.

        Raises:
            DamageFound: a file is missing or not what was written.
            OSError: the target cannot be written.
        """
        sequencer = self._sequencer
        with sequencer.view_lock:
            files = dict(sequencer.files)
            # The manifest calls a segment committed a moment before its files are shown: until then it is sealed.
            not_shown_us = [segment.first_us for segment in sequencer.sealed if segment.rows]
            through_us = min([self._manifest.through_us, *(first_us - 1 for first_us in not_shown_us)])
        written = {table: dict(known) for table, known in self._manifest.files.items()}
        tables = copy_files(self.layout, target, files, written, on_progress)
        return BackedLake(through_us, tables)

    def gone(self, project: str, table: str) -> Gone | None:
        """Return before which instant rows of a project were dropped on purpose, None when none were."""
        return gone_of(self._manifest, project, table)

    def holds(self, project: str) -> bool:
        """Say whether there is anything of a project: rows, or replaced files that running readers may need."""
        if any(entry.project == project for store in self._stores.values() for entry in store.files.values()):
            return True
        superseded = [path for old in list(self._manifest.superseded.values()) for path in list(old)]
        if any(path.startswith(f"project={project}/") for path in superseded) or self.values.holds(project):
            return True
        sequencer = self._sequencer
        with sequencer.lock:
            return any(
                bool((index.claimed_to[index.series_of(project, None, None)] != NEVER).any())
                for index in sequencer.indexes.values()
            )

    def delete_project(self, project: str) -> list[Dropped]:
        """Remove every row of a project from the lake and from memory, at once and for good.

        Its deliveries are refused from now on and for a minute, so that none that is under way comes after this.

        Raises:
            GaugehouseError: its rows could not be flushed in time; nothing was removed.
        """
        sequencer = self._sequencer
        with sequencer.lock:
            sequencer.closed_projects[project] = time.monotonic() + CLOSED_PROJECT_S
        self.flush()
        dropped = self._maintenance.delete_project(project)
        dropped += self.values.delete_project(project)
        self.answers.delete_project(project)
        self.meters.forget(project)
        with sequencer.lock:
            for index in sequencer.indexes.values():
                index.forget(project)
        self._save_indexes()  # the saved ones still know its rows
        return dropped

    def quarantine(self, table: str, path: str, what: str) -> bool:
        """Set a current data file aside that is not what was written; False when it is after all, or is not current."""
        store = self._stores.get(table)
        entry = store.files.get(path) if store is not None else None
        if store is None or entry is None:
            return False
        with store.commit_lock:
            written = self._manifest.files[table].get(path)
            if path not in store.files or not is_broken(store.root, entry, written):
                return False
            with fail_stop(self._fail):
                self._set_aside(store, entry, what)
        return True

    def repair_files(self, pool: Pool | None, on_progress: Callable[[str, int, int], None] = _quiet) -> list[Mended]:
        """Bring data files in quarantine back: from copies, backups, or the files that a merged one had replaced.

        Args:
            pool: Data files of backups, None without one.
            on_progress: Called with (what, done, total).

        Returns:
            What became of each file that was in quarantine, and of `kpi_values` when it had to be dropped.
        """
        unread = {entry.path for entries in self._unread.values() for entry in entries}
        copies = Copies(lake_dir=self.layout.lake_dir, pool=pool)
        return [*self._maintenance.repair(self._quarantine, copies, unread, on_progress), *self.values.mend()]

    def facts(self) -> LiveFacts:
        """Return what only memory knows, as one moment."""
        return live_facts(self._sequencer)

    def _save_indexes(self) -> None:
        through_us = self._sequencer.visible_through_us  # read first: up to it, everything is in the indexes
        with fail_stop(self._fail):
            self._save_each_index(through_us)
        self._commits_since_index = 0

    def _save_each_index(self, through_us: int) -> None:
        for name, store in self._stores.items():
            index, unread = self._sequencer.indexes[name], self._unread[name]
            save_index(self.layout.log_dir, index, store, through_us=through_us, unread=unread)

    def _close_log(self) -> None:
        log = self._sequencer.log
        if not log.failed:
            log.wait_durable(log.written)  # requests that are still waiting for it
        if self._sequencer.active.is_empty and not log.failed:
            log.discard_open_segment()
        else:
            log.close()

    def close(self, timeout_s: float = 15.0) -> None:
        """Refuse further writes, commit what is acknowledged, save the series index, and let go of the lake.

        What cannot be committed in time stays in the log and is committed by the next start.
        """
        self._sequencer.stop()
        self._gather.close()
        try:
            self.flush(timeout_s)
            self._save_indexes()
        except (GaugehouseError, OSError) as exc:
            logger.warning("lake_closed_unflushed", error=type(exc).__name__, rows=self.unflushed_rows())
        self._stopping.set()
        self._flush_wanted.set()
        for thread in self._threads:
            thread.join(timeout_s)
        is_idle = self._maintenance.wait_until_idle(timeout_s) and self.values.close(timeout_s)
        if not is_idle or any(thread.is_alive() for thread in self._threads):
            # It may still commit: the next owner must wait until this process is gone.
            logger.warning("lake_closed_while_busy", rows=self.unflushed_rows())
            return
        self._wait_for_signs()
        self._close_log()
        self.answers.close()
        self._lock.release()
        logger.info("lake_closed", unflushed_segments=len(find_segments(self.layout.log_dir)))
