"""What keeps a lake fast and bounded without anybody looking after it: merge, checkpoint, clean up, drop.

One thread does this by policy; commands ask for it at once. One thing is done at a time: overlapping compactions
would count every row twice.
"""

import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path

import structlog

from gaugehouse.errors import StorageFull, Unavailable
from gaugehouse.lake.commits import checkpoint_durably, commit_durably, find_superseded, remove_superseded, settle
from gaugehouse.lake.compaction import FileDamaged, Merge, now_us, plan_everything, plan_merge, write_merged
from gaugehouse.lake.delta import Change, DeltaStore, FileEntry
from gaugehouse.lake.deltalog import read_log
from gaugehouse.lake.durable import FsyncFailed, fail_stop, remove_file
from gaugehouse.lake.filerepair import FileRepair, find_merges, mended_file
from gaugehouse.lake.manifest import Horizon, Manifest, ManifestEntry, read_entries
from gaugehouse.lake.plain import PlainMirror
from gaugehouse.lake.quarantine import FOLDER, Quarantine
from gaugehouse.lake.remedies import Copies, Mended
from gaugehouse.lake.retention import (
    Dropped,
    archive_files,
    describe_dropped,
    month_start,
    whole_months_before,
)
from gaugehouse.lake.sequencer import Sequencer
from gaugehouse.measurements.selection import to_epoch_us

logger = structlog.get_logger()

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactionDone:
    """What one call of `compact` did, over all tables."""

    merges: int
    files_before: int
    files_after: int
    rows: int
    bytes_before: int
    bytes_after: int


@dataclass(slots=True, kw_only=True)
class Maintenance:
    """The upkeep of one lake's tables."""

    stores: Mapping[str, DeltaStore]
    manifest: Manifest
    sequencer: Sequencer
    mirrors: Mapping[str, PlainMirror]
    checkpoint_every_commits: int
    superseded_keep_s: float
    free_space_bytes: int
    should_stop: Callable[[], bool]
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False)
    _damaged: set[str] = field(default_factory=set, init=False)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one thing be done at a time, and nothing any more once the lake is closing."""
        with self._lock:
            if self.should_stop():
                raise Unavailable("the lake is closing; nothing was changed", retry_after_s=5)
            yield

    def wait_until_idle(self, timeout_s: float) -> bool:
        """Return whether what was begun before `should_stop` has ended; nothing begins after it."""
        is_idle = self._lock.acquire(timeout=timeout_s)
        if is_idle:
            self._lock.release()
        return is_idle

    def tidy(self) -> None:
        """Clean up and write down what is due: each task for itself, for a full disk needs what the others free.

        Raises:
            Exception: the first failure, after every task has been tried; a refused sync at once.
        """
        tasks: list[Callable[[], object]] = [
            self.sweep,
            *(mirror.sweep for mirror in self.mirrors.values()),
            *(partial(settle, store, self.manifest) for store in self.stores.values()),
            self.checkpoint_when_due,
            self.manifest.rewrite_when_long,
        ]
        failures: list[Exception] = []
        with self._lock:
            for task in tasks:
                if self.should_stop():
                    return
                try:
                    task()
                except FsyncFailed:
                    raise
                except Exception as exc:  # noqa: BLE001 - raised below
                    failures.append(exc)
        if failures:
            raise failures[0]

    def merge_next(self) -> bool:
        """Merge what the policy asks for next; return whether there may be more to merge."""
        with self._lock:
            if self.should_stop():
                return False
            for name in self.stores:
                merge = plan_merge(self._mergeable(name), now_us=now_us())
                if merge is not None and self.merge(name, merge) is not None:
                    return True
        return False

    def checkpoint_when_due(self) -> None:
        """Make durable checkpoints of tables with enough commits, then remove log entries that they stand for."""
        for store in self.stores.values():
            with store.commit_lock:
                if store.commits_since_checkpoint >= self.checkpoint_every_commits:
                    self._checkpoint(store)

    def _checkpoint(self, store: DeltaStore) -> None:
        checkpoint_durably(store, self.manifest)

    def _mergeable(self, table: str) -> list[FileEntry]:
        """Return the files that readers see and that are current: none of a segment whose hot rows still show."""
        current = self.stores[table].files
        return [e for e in self.sequencer.files[table] if e.path in current and e.path not in self._damaged]

    def merge(self, table: str, merge: Merge) -> FileEntry | None:
        """Merge files of one partition; return the new file, None when stopped, or when a file is damaged."""
        with fail_stop(self.manifest.on_failure):
            return self._merge(table, merge)

    def _merge(self, table: str, merge: Merge) -> FileEntry | None:
        store = self.stores[table]
        self._refuse_when_full(store.root, sum(entry.size_bytes for entry in merge.entries))
        started_s = time.perf_counter()
        try:
            made = write_merged(store.root, merge, store.spec, self.manifest.files.get(table, {}), self.should_stop)
        except FileDamaged as exc:
            # Left as they are, for `lake verify` to name; others can still be merged.
            self._damaged.update(entry.path for entry in merge.entries)
            first = merge.entries[0]
            logger.warning(
                "compaction_found_damage", table=table, project=first.project, month=first.month, reason=exc.message
            )
            return None
        if made is None:
            return None
        entry, file = made
        change = Change(
            added=(entry,),
            removed=merge.entries,
            is_new_data=False,
            metadata={"gaugehouse.compacted": str(len(merge.entries)), "gaugehouse.rows": str(entry.rows)},
        )
        try:
            commit_durably(store, self.manifest, change, (file,))
        except BaseException:
            self._undo_merge(store, merge, entry)
            raise
        self._show(table, merge.entries, (entry,))
        meters = self.sequencer.meters
        meters.compaction.observe(time.perf_counter() - started_s)
        meters.compacted_rows += entry.rows
        logger.info(
            "files_merged", table=table, project=entry.project, month=entry.month, files=len(merge.entries),
            tier=merge.tier, rows=entry.rows, size_bytes=entry.size_bytes,
        )  # fmt: skip
        return entry

    def _undo_merge(self, store: DeltaStore, merge: Merge, entry: FileEntry) -> None:
        """Remove the file of a merge that failed, unless its commit went through after all: then show it."""
        table = store.spec.name
        try:
            store.reload()
        except Exception:  # nobody knows what the table names: the file stays, and the next start looks
            logger.exception("merge_outcome_unknown", table=table, project=entry.project, month=entry.month)
            return
        if entry.path in store.files:
            self._show(table, merge.entries, (entry,))
        else:
            remove_file(store.root / entry.path)

    def _refuse_when_full(self, root: Path, size_bytes: int) -> None:
        if shutil.disk_usage(root).free < self.free_space_bytes + size_bytes:
            raise StorageFull("the disk is too full for a compaction", retry_after_s=60)

    def _show(self, table: str, removed: Sequence[FileEntry], added: Sequence[FileEntry]) -> None:
        self.sequencer.replace_files(table, [entry.path for entry in removed], added)
        self.mirror(self.stores[table], removed)

    def mirror(self, store: DeltaStore, changed: Sequence[FileEntry]) -> None:
        """Show the current files of the partitions of files that are not there any more."""
        with store.commit_lock:
            partitions = sorted({(entry.project, entry.month) for entry in changed})
            wanted = [e for e in store.files.values() if (e.project, e.month) in partitions]
            self.mirrors[store.spec.name].replace(partitions, wanted)

    def repair(
        self, quarantine: Quarantine, copies: Copies, unread: Collection[str], on_progress: Progress
    ) -> list[Mended]:
        """Bring files in quarantine back where there is a whole copy, or all that a merged one had replaced.

        Args:
            quarantine: The owner's list.
            copies: Where whole copies may be.
            unread: Files of which nothing is in memory; they come back with a start only.
            on_progress: Called with (what, done, total).
        """
        mended = []
        with self._alone(), fail_stop(self.manifest.on_failure):
            files = quarantine.files
            for done, file in enumerate(files, 1):
                entry = self.stores[file.table].files.get(file.path)
                if file.path in unread:
                    why = "the server could not read it when it started: stop it and repair again"
                    mended.append(mended_file(file.table, file, why, is_whole=False))
                elif entry is not None:
                    mended.append(self._repair_file(quarantine, copies, self.stores[file.table], entry))
                on_progress("mending files", done, len(files))
        return mended

    def _repair_file(self, quarantine: Quarantine, copies: Copies, store: DeltaStore, entry: FileEntry) -> Mended:
        table = store.spec.name
        log, entries = read_log(store.root), read_entries(self.manifest.path)
        repair = FileRepair(
            store=store,
            manifest=self.manifest,
            quarantine=quarantine,
            copies=copies,
            merges=find_merges(log, entries, table),
            segments={},
        )
        with store.commit_lock:
            repaired = repair.repair(entry, "")
            if repaired.added is not None:
                self._show(table, (entry,), (repaired.added,))
            elif repaired.mended.is_whole:
                self._damaged.discard(entry.path)
                self.mirror(store, [entry])
        return repaired.mended

    def leave_alone(self, paths: Iterable[str]) -> None:
        """Merge none of these files: they are in quarantine."""
        self._damaged.update(paths)

    def compact(self, project: str | None, on_progress: Progress) -> CompactionDone:
        """Merge all that can be merged, of one project or of all.

        Raises:
            StorageFull: not enough free space for the copies.
            Unavailable: the lake is closing.
        """
        with self._alone():
            files_before, bytes_before = self._totals(project)
            plans = [
                (table, merge)
                for table in self.stores
                for merge in plan_everything(e for e in self._mergeable(table) if project in (None, e.project))
            ]
            total, done, merges = sum(merge.rows for _table, merge in plans), 0, 0
            on_progress("compacting", done, total)
            for table, merge in plans:
                merges += self.merge(table, merge) is not None
                done += merge.rows
                on_progress("compacting", done, total)
            files_after, bytes_after = self._totals(project)
        return CompactionDone(
            merges=merges,
            files_before=files_before,
            files_after=files_after,
            rows=total,
            bytes_before=bytes_before,
            bytes_after=bytes_after,
        )

    def _totals(self, project: str | None) -> tuple[int, int]:
        entries = [
            entry
            for store in self.stores.values()
            for entry in store.files.values()
            if project in (None, entry.project)
        ]
        return len(entries), sum(entry.size_bytes for entry in entries)

    def sweep(self) -> int:
        """Remove files that were superseded long enough ago; return how many."""
        return sum(
            self._remove_superseded(store, find_superseded(store, self.manifest, keep_s=self.superseded_keep_s))
            for store in self.stores.values()
        )

    def _remove_superseded(self, store: DeltaStore, paths: list[str]) -> int:
        return remove_superseded(store, self.manifest, paths)

    def retain(self, project: str, table: str, before: datetime, archive_dir: Path | None) -> Dropped:
        """Drop the months of a project that end at or before an instant, after copying them where asked to.

        Raises:
            DamageFound: a file to be archived is damaged; nothing was dropped.
            OSError: the archive cannot be written; nothing was dropped.
        """
        with self._alone():
            store = self.stores[table]
            entries = whole_months_before(self._mergeable_or_damaged(table), project, before)
            if archive_dir is not None:
                archive_files(store.root, entries, archive_dir, self.manifest.files.get(table, {}))
            if entries:
                horizon = Horizon(table, project, to_epoch_us(month_start(before)), now_us())
                self._drop(store, entries, "retention", (horizon,))
        return describe_dropped(table, entries, archived=archive_dir is not None)

    def _mergeable_or_damaged(self, table: str) -> list[FileEntry]:
        current = self.stores[table].files
        return [entry for entry in self.sequencer.files[table] if entry.path in current]

    def _drop(
        self, store: DeltaStore, entries: Sequence[FileEntry], reason: str, horizons: tuple[Horizon, ...] = ()
    ) -> None:
        metadata = {"gaugehouse.dropped": reason, "gaugehouse.rows": str(sum(entry.rows for entry in entries))}
        change = Change(removed=tuple(entries), metadata=metadata)
        try:
            commit_durably(store, self.manifest, change, (), horizons)
        except BaseException:
            if not any(entry.path in store.files for entry in entries):
                # Committed, only not in the manifest yet, which comes with the next settling of the table.
                self.manifest.take_horizons(horizons)
                self._show(store.spec.name, entries, ())
            raise
        self._show(store.spec.name, entries, ())
        logger.info("files_dropped", table=store.spec.name, reason=reason, files=len(entries))

    def delete_project(self, project: str) -> list[Dropped]:
        """Drop every file of a project and remove them from the disk at once. Its rows must all be flushed."""
        dropped = []
        with self._alone():
            for table, store in self.stores.items():
                entries = [e for e in self._mergeable_or_damaged(table) if e.project == project]
                if entries:
                    self._drop(store, entries, "project deleted")
                mine = f"project={project}/"
                superseded = self.manifest.superseded.get(table, {})
                self._remove_superseded(store, [path for path in superseded if path.startswith(mine)])
                self.mirrors[table].sweep(kept_s=0.0)
                for root in (store.root, store.root / FOLDER):
                    shutil.rmtree(root / f"project={project}", ignore_errors=True)
                dropped.append(describe_dropped(table, entries, archived=False))
            if any(project == whose for _table, whose in self.manifest.horizons):
                self.manifest.record(ManifestEntry(forgotten=(project,)))
        return dropped
