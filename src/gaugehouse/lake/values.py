"""`kpi_values`: the values of all reports as one Delta table, derived from the result files of their revisions.

Its rows pass neither log nor sequencer, because each of them can be built again. So the table has a manifest of its
own, and both are thrown away as soon as anything of them is not as it was written: whoever publishes begins anew.

Rows come in batches of whole revisions. The number of a batch is the Delta transaction of its commit and only rises,
so that a batch which is committed is known for one for ever, whatever was merged since. All rows of a revision are in
one file.
"""

import itertools
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import structlog
from deltalake.exceptions import DeltaError

from gaugehouse.config import Layout, Settings
from gaugehouse.errors import DamageFound, StorageFull, Unavailable, is_exhausted
from gaugehouse.lake.commits import (
    checkpoint_durably,
    commit_durably,
    find_superseded,
    remove_superseded,
    settle,
)
from gaugehouse.lake.compaction import Bounds, Merge, plan_merge, tier_of
from gaugehouse.lake.contents import read_written
from gaugehouse.lake.delta import ROW_GROUP_ROWS, Change, DataFileWriter, DeltaStore, FileEntry
from gaugehouse.lake.durable import FULL_ERRNOS, fail_stop, remove_file, sync_path
from gaugehouse.lake.manifest import CommittedFile, Manifest, values_manifest_path
from gaugehouse.lake.plain import PLAIN, PlainMirror
from gaugehouse.lake.recovery import (
    drop_torn_checkpoints,
    refuse_damaged_log,
    remove_uncommitted_files,
    settle_checkpoints,
    settle_last_commit,
)
from gaugehouse.lake.remedies import Mended
from gaugehouse.lake.retention import Dropped, describe_dropped
from gaugehouse.lake.rows import VALUES, as_array, joined
from gaugehouse.lake.valuecheck import VALUE_NAMES, ValueCheck, check_values, count_runs, rank_names

logger = structlog.get_logger()

APP_ID = "gaugehouse:kpi_values"
MERGED_ROWS = 1_048_576  # a merge holds them in memory at once, some 70 bytes each, up to three times
UNREADABLE = (
    DamageFound,
    DeltaError,
    OSError,
    pa.ArrowException,
    msgspec.MsgspecError,
    ValueError,
    KeyError,
    TypeError,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Portion:
    """The values of one revision.

    Args:
        project: Slug.
        month: 'YYYY-MM' of the start of its period, UTC.
        rows: Columns of VALUE_ROWS by component, metric (absent ones last), KPI and bucket; names as dictionaries.
    """

    project: str
    month: str
    rows: pa.Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """The files of a batch, synced, that no version names yet."""

    batch: int
    files: tuple[tuple[FileEntry, CommittedFile], ...]

    @property
    def rows(self) -> int:
        return sum(entry.rows for entry, _file in self.files)


class ValueTable:
    """The table `kpi_values` of a running owner. All methods may be called from any thread.

    Nothing is on the disk before the first batch.
    """

    def __init__(self, layout: Layout, settings: Settings, on_failure: Callable[[str], None]) -> None:
        self.root = layout.lake_dir / VALUES.name
        self._layout = layout
        self._settings = settings
        self._on_failure = on_failure
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._is_open = False
        self._renew()

    def _renew(self) -> None:
        self._store = DeltaStore(self.root, VALUES)
        self._manifest = Manifest(values_manifest_path(self._layout))
        self._manifest.on_failure = self._on_failure
        self._mirror = PlainMirror(self._layout.lake_dir, VALUES.name)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Let nobody else change the table: what was read of the database before a commit must still hold at it.

        Raises:
            Unavailable: the lake is closing.
        """
        with self._alone():
            self._refuse_when_closing()
            yield

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._lock, fail_stop(self._on_failure):
            yield

    def _refuse_when_closing(self) -> None:
        if self._closing.is_set():
            raise Unavailable("the lake is closing; nothing was changed", retry_after_s=5)

    def close(self, timeout_s: float) -> bool:
        """Begin nothing any more; return whether what was begun has ended."""
        self._closing.set()
        is_idle = self._lock.acquire(timeout=timeout_s)
        if is_idle:
            self._lock.release()
        return is_idle

    # -- opening, and beginning anew

    @property
    def _exists(self) -> bool:
        return self.root.exists()

    def _open(self) -> DeltaStore:
        if not self._is_open:
            self._renew()
            try:
                self._recover()
            except MemoryError:
                raise  # Arrow's is an ArrowException too, and says nothing about the table
            except UNREADABLE as exc:
                if is_exhausted(exc) or (isinstance(exc, OSError) and exc.errno in FULL_ERRNOS):
                    raise
                self._begin_anew(exc.message if isinstance(exc, DamageFound) else type(exc).__name__)
            self._is_open = True
        return self._store

    def _recover(self) -> None:
        store, manifest = self._store, self._manifest
        manifest.load()
        if manifest.damaged_lines:
            raise DamageFound("lines of the manifest are not what was written")
        settle_last_commit(store.root, manifest)
        drop_torn_checkpoints(store.root, manifest)
        refuse_damaged_log(store.root, manifest)
        store.open()
        settle(store, manifest)
        settle_checkpoints(store, manifest)
        if manifest.durable_version[VALUES.name] > store.version:
            raise DamageFound("the newest versions of the table are gone")
        for entry in store.files.values():
            if (store.root / entry.path).stat().st_size != entry.size_bytes:
                raise DamageFound(f"{entry.path} is not as long as it was")
        remove_uncommitted_files(store, manifest)
        self._mirror.rebuild(store.files.values())

    def _begin_anew(self, why: str) -> None:
        """Throw the table away and make an empty one: its rows are published again."""
        logger.warning("values_table_dropped", reason=why)
        discard_values(self._layout)
        self._renew()
        self._recover()
        self._is_open = True

    def mend(self) -> list[Mended]:
        """Look at every byte of the table; begin anew when something is wrong. Return what was done about it.

        Raises:
            Unavailable: the lake is closing.
        """
        with self.changing():
            if not self._exists:
                return []
            self._open()
            check = check_values(self._layout, is_online=False, before_file=self._refuse_when_closing)
            if not check.findings:
                return []
            self._begin_anew(check.findings[0].what)
            return [mended_values(check)]

    # -- publishing

    def newest_batch(self) -> int:
        """Return the number of the newest committed batch, -1 for none: no smaller one can be committed any more."""
        with self._alone():
            return self._open().transaction_version(APP_ID) if self._exists else -1

    def write(self, batch: int, portions: Iterable[Portion]) -> Draft:
        """Write the files of a batch, synced; nobody sees them before `commit`. Belongs into `changing`.

        Args:
            batch: Its number, greater than `newest_batch`.
            portions: By project, month, report and revision. Those of up to a row group are in memory at once.

        Raises:
            StorageFull: the disk is nearly full.
            Unavailable: the lake is closing.
        """
        self._refuse_when_full(0)
        self._open()
        files: list[tuple[FileEntry, CommittedFile]] = []
        try:
            for (project, month), some in itertools.groupby(portions, key=lambda one: (one.project, one.month)):
                name = f"part-{batch:012d}-{secrets.token_hex(4)}.zstd.parquet"
                path = f"project={project}/month={month}/{name}"
                made = self._write_file(path, project, month, _row_groups(portion.rows for portion in some))
                files += [] if made is None else [made]
        except BaseException:
            self._remove(files)
            raise
        return Draft(batch=batch, files=tuple(files))

    def _write_file(
        self, path: str, project: str, month: str, parts: Iterable[pa.Table]
    ) -> tuple[FileEntry, CommittedFile] | None:
        bounds = Bounds(VALUES)
        with DataFileWriter(self.root, path) as writer:
            for rows in parts:
                self._refuse_when_closing()
                bounds.take(rows)
                writer.write(rows)
            if not bounds.rows:
                return None
            file = writer.close()
        return bounds.entry(path, file.size_bytes, project, month), file

    def commit(self, draft: Draft) -> None:
        """Commit a batch durably, also one without rows. Belongs into `changing`.

        Raises:
            Unavailable: the outcome may be unknown; `newest_batch` tells it.
        """
        entries = tuple(entry for entry, _file in draft.files)
        change = Change(
            added=entries,
            transaction=(APP_ID, draft.batch),
            metadata={"gaugehouse.batch": str(draft.batch), "gaugehouse.rows": str(draft.rows)},
        )
        try:
            commit_durably(self._store, self._manifest, change, tuple(file for _entry, file in draft.files))
        except BaseException:
            self._is_open = False  # whoever comes next looks at the disk
            raise
        self._mirror.add(entries)

    def discard(self, draft: Draft) -> None:
        """Remove the files of a batch that is not to be committed."""
        self._remove(draft.files)

    def _remove(self, files: Iterable[tuple[FileEntry, CommittedFile]]) -> None:
        for entry, _file in files:
            remove_file(self.root / entry.path)

    def _refuse_when_full(self, size_bytes: int) -> None:
        if shutil.disk_usage(self._layout.lake_dir).free < self._settings.free_space_bytes + size_bytes:
            raise StorageFull("the disk is too full to publish values of reports", retry_after_s=60)

    # -- upkeep

    def tidy(self) -> None:
        """Remove what was replaced long ago, merge small files, make checkpoints that are due.

        Raises:
            StorageFull: too full for a merge.
            Unavailable: the lake is closing.
        """
        with self.changing():
            if not self._exists:
                return
            store = self._open()
            old = find_superseded(store, self._manifest, keep_s=self._settings.superseded_keep_s)
            remove_superseded(store, self._manifest, old)
            self._mirror.sweep()
            settle(store, self._manifest)
            with store.commit_lock:
                if store.commits_since_checkpoint >= self._settings.checkpoint_every_commits:
                    checkpoint_durably(store, self._manifest)
            self._manifest.rewrite_when_long()
        while self._merge_next():
            pass

    def _merge_next(self) -> bool:
        with self.changing():
            small = [entry for entry in self._open().files.values() if entry.rows < MERGED_ROWS // 2]
            planned = plan_merge(small, now_us=time.time_ns() // 1_000)
            if planned is None:
                return False
            try:
                self._merge(_trimmed(planned))
            except DamageFound as exc:
                self._begin_anew(exc.message)
                return False
            return True

    def _merge(self, merge: Merge) -> None:
        self._refuse_when_full(sum(entry.size_bytes for entry in merge.entries))
        first = merge.entries[0]
        name = f"merged-{merge.tier}-{secrets.token_hex(8)}.zstd.parquet"
        path = f"project={first.project}/month={first.month}/{name}"
        rows = _merged([self._read_written(entry) for entry in merge.entries])
        made = self._write_file(path, first.project, first.month, _slices(rows))
        assert made is not None  # noqa: S101 - no file is empty
        entry, file = made
        metadata = {"gaugehouse.compacted": str(len(merge.entries)), "gaugehouse.rows": str(entry.rows)}
        change = Change(added=(entry,), removed=merge.entries, is_new_data=False, metadata=metadata)
        try:
            commit_durably(self._store, self._manifest, change, (file,))
        except BaseException:
            self._is_open = False
            raise
        self._show(merge.entries)
        logger.info(
            "files_merged", table=VALUES.name, project=entry.project, month=entry.month, files=len(merge.entries),
            tier=merge.tier, rows=entry.rows, size_bytes=entry.size_bytes,
        )  # fmt: skip

    def _read_written(self, entry: FileEntry) -> pa.Table:
        """Return the rows of a file whose bytes are what was written.

        Raises:
            DamageFound: they are not.
        """
        written = self._manifest.files.get(VALUES.name, {}).get(entry.path)
        content, wrong = read_written(self.root, entry.path, written, entry.size_bytes)
        if content is None or written is None:
            raise DamageFound(f"{entry.path}: {wrong[1] if wrong else 'the manifest does not know it'}")
        file = pq.ParquetFile(pa.BufferReader(content), read_dictionary=VALUE_NAMES, page_checksum_verification=True)
        rows = file.read(columns=VALUES.rows.names)
        if rows.num_rows != entry.rows:
            raise DamageFound(f"{entry.path} holds {rows.num_rows} rows, not {entry.rows}")
        return rows

    def _show(self, changed: Sequence[FileEntry]) -> None:
        """Show in plain/ the current files of the partitions of files that are not there any more."""
        partitions = sorted({(entry.project, entry.month) for entry in changed})
        wanted = [entry for entry in self._store.files.values() if (entry.project, entry.month) in partitions]
        self._mirror.replace(partitions, wanted)
        self._mirror.wait_for_signs()

    # -- projects

    def projects(self) -> set[str]:
        """Return the slugs of the projects that have rows here."""
        with self._alone():
            return {entry.project for entry in self._open().files.values()} if self._exists else set()

    def holds(self, project: str) -> bool:
        """Say whether there is any file of a project, replaced ones included."""
        return any(path.is_file() for path in (self.root / f"project={project}").glob("month=*/*"))

    def delete_project(self, project: str) -> list[Dropped]:
        """Remove every row and file of a project, at once and for good; return what that was, nothing for none.

        Raises:
            Unavailable: the lake is closing, or could not commit; call again.
        """
        with self.changing():
            if not self._exists:
                return []
            store = self._open()
            entries = [entry for entry in store.files.values() if entry.project == project]
            if entries:
                metadata = {"gaugehouse.dropped": "project deleted"}
                commit_durably(store, self._manifest, Change(removed=tuple(entries), metadata=metadata), ())
                self._show(entries)
                logger.info("files_dropped", table=VALUES.name, reason="project deleted", files=len(entries))
            superseded = self._manifest.superseded.get(VALUES.name, {})
            mine = [path for path in superseded if path.startswith(f"project={project}/")]
            remove_superseded(store, self._manifest, mine)
            self._mirror.sweep(kept_s=0.0)
            shutil.rmtree(self.root / f"project={project}", ignore_errors=True)
        return [describe_dropped(VALUES.name, entries, archived=False)] if entries else []


def discard_values(layout: Layout) -> None:
    """Remove the table, durably, in an order that no crash can make whole of; the caller owns the lake."""
    remove_file(values_manifest_path(layout))  # without it, what is left of the table is unknown to everybody
    for folder in (layout.lake_dir / VALUES.name, layout.lake_dir / PLAIN / VALUES.name):
        if folder.exists():
            shutil.rmtree(folder)
    sync_path(layout.lake_dir)


def mended_values(check: ValueCheck) -> Mended:
    """Return what is said of a table that was thrown away."""
    wrong = f"{check.findings[0].name or 'the manifest'} and {len(check.findings) - 1} more"
    what = f"dropped because of {wrong}; the server builds it anew from the results of the reports"
    return Mended(name=VALUES.name, what=what)


def _row_groups(parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield the rows of tables in order, in tables of about a row group: single reports are small."""
    waiting: list[pa.Table] = []
    for rows in parts:
        waiting.append(rows)
        if sum(one.num_rows for one in waiting) >= ROW_GROUP_ROWS:
            yield joined(waiting)
            waiting = []
    if any(one.num_rows for one in waiting):
        yield joined(waiting)


def _slices(rows: pa.Table) -> Iterator[pa.Table]:
    return (rows.slice(start, ROW_GROUP_ROWS) for start in range(0, rows.num_rows, ROW_GROUP_ROWS))


def _trimmed(merge: Merge) -> Merge:
    """Return as much of a merge as fits into memory: at least two files, as each holds less than half of that."""
    totals = itertools.accumulate(entry.rows for entry in merge.entries)
    entries = tuple(entry for entry, total in zip(merge.entries, totals, strict=True) if total <= MERGED_ROWS)
    return Merge(entries=entries, tier=1 + max(tier_of(entry) for entry in entries))


def _merged(files: Sequence[pa.Table]) -> pa.Table:
    """Return the rows of files by report and revision; inside a revision they keep their order.

    Raises:
        DamageFound: a revision is in two of the files.
    """
    rows = joined(files)
    reports = rank_names(as_array(rows.column("report_id")))
    revisions = as_array(rows.column("revision")).to_numpy()
    order = np.lexsort((revisions, reports))
    if count_runs(reports[order], revisions[order]) != sum(_count_revisions(file) for file in files):
        raise DamageFound("a revision of a report is in two files")
    return rows.take(pa.array(order))


def _count_revisions(file: pa.Table) -> int:
    rows = file.select(["report_id", "revision"]).unify_dictionaries().combine_chunks()
    return count_runs(rank_names(as_array(rows.column("report_id"))), as_array(rows.column("revision")).to_numpy())
