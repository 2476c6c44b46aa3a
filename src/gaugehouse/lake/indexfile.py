"""The saved series index: the newest row of each series, so that a start need not read the lake.

It holds every row received up to an instant, `through`. At start, rows received later are read from the files that can
have some, however compaction has moved them meanwhile; a saved index that is missing, torn or of another history is
ignored and the index is rebuilt by a scan. The file is a CRC32C and an Arrow IPC stream behind it, each batch the
series of one project with names of its own.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import crc32c
import pyarrow as pa
import structlog

from gaugehouse.errors import Unavailable
from gaugehouse.lake.delta import MILLISECOND_US, DeltaStore, FileEntry
from gaugehouse.lake.durable import make_folder, remove_file, write_file
from gaugehouse.lake.engine import Engine
from gaugehouse.lake.known import SeriesIndex, rows_of_keys
from gaugehouse.lake.manifest import CommittedFile
from gaugehouse.lake.quarantine import is_broken
from gaugehouse.lake.recent import RecentKeys
from gaugehouse.lake.rows import TableSpec
from gaugehouse.lake.sequencer import now_us
from gaugehouse.lake.snapshot import read_keys_after, read_newest
from gaugehouse.measurements.schema import NAME
from gaugehouse.measurements.selection import from_epoch_us

logger = structlog.get_logger()

FILES_PER_STEP = 64
CHECKSUM_BYTES = 4
LISTED_WIDER_US = 2 * MILLISECOND_US  # the Delta log rounds a maximum up, and its reader adds a millisecond
BEFORE_ALL_US = -1
Progress = Callable[[str, int, int], None]

_saving = threading.Lock()  # a flush and a stop may both want to


def index_path(log_dir: Path, spec: TableSpec) -> Path:
    return log_dir / "index" / f"{spec.name}.arrow"


@dataclass(frozen=True, slots=True, kw_only=True)
class _SavedIndex:
    """What a saved index says of itself.

    Args:
        through_us: Every row received up to this instant is in it. [us]
        files: Files that are in it as a whole, though by their bounds they could hold later rows.
        unread: Files that could not be read when it was begun: nothing of them is in it, whatever their bounds.
        body: The stream of its series.
    """

    through_us: int = BEFORE_ALL_US
    files: frozenset[str] = frozenset()
    unread: frozenset[str] = frozenset()
    body: memoryview | None = None

    def covers(self, entry: FileEntry) -> bool:
        return entry.path not in self.unread and (entry.received_us[1] <= self.through_us or entry.path in self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """What a start does about data files that it cannot read.

    Args:
        listed: Paths of files that are in quarantine.
        written: What each file was when it was written.
        set_aside: Puts a file in quarantine, and says why.
    """

    listed: frozenset[str]
    written: Mapping[str, CommittedFile]
    set_aside: Callable[[FileEntry, str], None]


def save_index(
    log_dir: Path,
    index: SeriesIndex,
    store: DeltaStore,
    *,
    through_us: int,
    unread: Iterable[FileEntry] = (),
) -> None:
    """Save what is visible now. Writers and readers of the index wait for milliseconds at most.

    Args:
        log_dir: Where the log lives.
        index: The newest rows of a table.
        store: That table.
        through_us: Every row received up to this instant is visible in the index already. [us]
        unread: But for the rows of these files.
    """
    with _saving:
        with store.commit_lock:  # or the version might not be on the disk yet
            version, files = store.version, store.files
        last = [path for path, entry in files.items() if entry.received_us[1] > through_us - LISTED_WIDER_US]
        metadata = {
            "table": _table_id(store),
            "version": str(version),
            "through_us": str(through_us),
            "files": "\n".join(last),
            "unread": "\n".join(entry.path for entry in unread),
        }
        body = _encode(index, metadata)
        path = index_path(log_dir, index.spec)
        make_folder(path.parent)
        write_file(path, crc32c.crc32c(body).to_bytes(CHECKSUM_BYTES, "little") + body)


def _table_id(store: DeltaStore) -> str:
    return str(store.table.metadata().id)


def _encode(index: SeriesIndex, metadata: dict[str, str]) -> memoryview:
    spec = index.spec
    schema = index.newest_schema().insert(0, pa.field("project", NAME)).with_metadata(metadata)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        for project, rows in index.newest_by_project():
            table = index.newest_to_arrow(rows)
            named = pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), len(rows)), [project])
            writer.write_table(table.add_column(0, schema.field("project"), named))
    logger.debug("series_index_saved", table=spec.name, series=len(index))
    return memoryview(sink.getvalue())


def load_index(  # noqa: PLR0913 - what to fill, from where, and what to do when that fails
    log_dir: Path,
    index: SeriesIndex,
    recent: RecentKeys,
    store: DeltaStore,
    engine: Engine,
    *,
    damage: Damage,
    on_progress: Progress,
) -> tuple[FileEntry, ...]:
    """Fill the index from the saved one and the rows it does not know, or from all files; return what it cannot read.

    A damaged file must not keep a lake from opening. It goes in quarantine, and every row that could repeat one of its
    rows counts as late from now on: it is looked for in the file, and refused because the file is not there.

    Args:
        log_dir: Where the log lives.
        index: The index to fill.
        recent: Takes the keys that are ahead of the clock, so that later rows of their series need no file.
        store: The table.
        engine: Reads its files.
        damage: What to do about files that cannot be read.
        on_progress: Called with (what, done, total).

    Raises:
        Unavailable: a file is what was written, and yet cannot be read; it is named.
    """
    saved = _read_saved(index_path(log_dir, index.spec), store)
    if saved.body is not None:
        _load_saved(index, saved.body, {entry.project for entry in store.files.values()})
    rest = [entry for entry in store.files.values() if not saved.covers(entry)]
    if rest:
        known = saved.body is not None
        logger.info("series_index_scans_files", table=store.spec.name, files=len(rest), has_saved_index=known)
    scan = _Scan(index=index, store=store, engine=engine, damage=damage)
    known_after = [entry for entry in rest if entry.path not in saved.unread]
    unknown = [entry for entry in rest if entry.path in saved.unread]
    scan.take(known_after, saved.through_us, on_progress)
    scan.take(unknown, BEFORE_ALL_US, on_progress)
    for entry in scan.unread:
        index.doubt(entry.project, entry.instants_us[1])
    _load_ahead(index, recent, store, engine)
    pa.default_memory_pool().release_unused()
    return tuple(scan.unread)


def is_intact_index(content: bytes) -> bool:
    """Say whether a saved index is what was written."""
    checksum = crc32c.crc32c(memoryview(content)[CHECKSUM_BYTES:])
    return checksum.to_bytes(CHECKSUM_BYTES, "little") == content[:CHECKSUM_BYTES]


def _read_saved(path: Path, store: DeltaStore) -> _SavedIndex:
    if not path.exists():
        return _SavedIndex()
    content = path.read_bytes()
    body = memoryview(content)[CHECKSUM_BYTES:]
    if not is_intact_index(content):
        logger.warning("series_index_unreadable", table=store.spec.name)
        return _SavedIndex()
    try:
        metadata = pa.ipc.open_stream(body).schema.metadata
        table_id, version = metadata[b"table"].decode(), int(metadata[b"version"])
        through_us, files = int(metadata[b"through_us"]), metadata[b"files"].decode().split("\n")
        unread = metadata.get(b"unread", b"").decode().split("\n")
    except (pa.ArrowInvalid, KeyError):
        logger.warning("series_index_of_another_version", table=store.spec.name)
        return _SavedIndex()
    if table_id != _table_id(store) or version > store.version:
        logger.warning("series_index_of_another_history", table=store.spec.name)
        remove_file(path)  # the table may get beyond that version, and then nobody could tell
        return _SavedIndex()
    return _SavedIndex(through_us=through_us, files=frozenset(files), unread=frozenset(unread), body=body)


def _load_saved(index: SeriesIndex, body: memoryview, projects: set[str]) -> None:
    """Take the saved series of projects that still have rows in files: others are in the log, or were deleted."""
    for batch in pa.ipc.open_stream(body):
        project = batch.column("project").dictionary[0].as_py()
        if project in projects:
            index.load_newest(project, pa.Table.from_batches([batch]))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scan:
    """Takes the newest rows of files into an index; `unread` are those that it could not read."""

    index: SeriesIndex
    store: DeltaStore
    engine: Engine
    damage: Damage
    unread: list[FileEntry] = field(default_factory=list)

    def take(self, entries: Sequence[FileEntry], through_us: int, on_progress: Progress) -> None:
        """Take the newest rows of files among those received after an instant."""
        done = 0
        for project in sorted({entry.project for entry in entries}):
            mine = [entry for entry in entries if entry.project == project]
            for start in range(0, len(mine), FILES_PER_STEP):
                step = mine[start : start + FILES_PER_STEP]
                self._take_step(project, step, through_us)
                done += len(step)
                on_progress(f"indexing {self.index.spec.name}", done, len(entries))

    def _take_step(self, project: str, step: Sequence[FileEntry], through_us: int) -> None:
        self.unread.extend(entry for entry in step if entry.path in self.damage.listed)
        there = [entry for entry in step if entry.path not in self.damage.listed and self._is_whole(entry)]
        if not there:
            return
        try:
            self._load(project, there, through_us)
        except Unavailable:  # of one of them
            for entry in there:
                self._take_alone(entry, through_us)

    def _is_whole(self, entry: FileEntry) -> bool:
        """Say whether a file may be read; DuckDB does not notice most damage, so one that is not is set aside."""
        if is_broken(self.store.root, entry, self.damage.written.get(entry.path)):
            self._set_aside(entry, "the start found it missing or not what was written")
            return False
        return True

    def _load(self, project: str, entries: Sequence[FileEntry], through_us: int) -> None:
        paths = [str(self.store.root / entry.path) for entry in entries]
        newest = read_newest(self.engine, self.index.spec, paths, from_epoch_us(through_us))
        self.index.load_newest(project, newest)

    def _take_alone(self, entry: FileEntry, through_us: int) -> None:
        try:
            self._load(entry.project, [entry], through_us)
        except Unavailable as exc:
            if entry.path in self.damage.written:
                raise _unreadable(self.store.spec.name, entry) from exc
            self._set_aside(entry, "the start could not read it, and nothing says what was written")

    def _set_aside(self, entry: FileEntry, what: str) -> None:
        self.damage.set_aside(entry, what)
        self.unread.append(entry)


def _unreadable(table: str, entry: FileEntry) -> Unavailable:
    return Unavailable(
        f"a file of {table} of project {entry.project}, month {entry.month} is what was written, and yet it cannot be "
        f"read: {entry.path}. Is there too little memory, or are there too few file descriptors?",
        code="file_unreadable",
        fields={"table": table, "project": entry.project, "month": entry.month, "file": entry.path},
    )


def _load_ahead(index: SeriesIndex, recent: RecentKeys, store: DeltaStore, engine: Engine) -> None:
    """Remember the stored keys that are ahead of the clock.

    Without them a series whose clock once jumped a day ahead would count as covered from there on only, and each of
    its rows until then would need a look into the files. A project whose files cannot be read, or that has more such
    keys than there is room for, stays like that: right, only slow.
    """
    start_us = max([now_us(), *(entry.received_us[1] for entry in store.files.values())])
    reaching = [entry for entry in store.files.values() if entry.instants_us[1] > start_us]
    for project in sorted({entry.project for entry in reaching}):
        paths = [str(store.root / entry.path) for entry in reaching if entry.project == project]
        room = recent.ahead_room
        try:
            keys = read_keys_after(engine, index.spec, paths, from_epoch_us(start_us), limit=room + 1)
        except (
            Unavailable
        ) as exc:  # a damaged file is for `lake verify` to name; it must not keep the lake from opening
            logger.warning("keys_ahead_unreadable", table=store.spec.name, project=project, reason=exc.message)
            continue
        if keys.num_rows <= room:
            recent.load_ahead(project, rows_of_keys(index, project, keys), start_us)
