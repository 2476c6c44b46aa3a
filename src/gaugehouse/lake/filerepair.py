"""Damaged data files of one table: the bytes that were written, or else the same rows in a new file.

A merged file that nobody has a copy of is merged again from the files that it replaced: they stay on the disk for a
day, and in backups for longer. A file that was flushed a moment ago is written again from its log segment. The new
file takes the place of the damaged one in one commit.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import pyarrow as pa
import structlog

from gaugehouse.errors import DamageFound
from gaugehouse.lake.commits import commit_durably
from gaugehouse.lake.compaction import Merge, merge_contents, tier_of
from gaugehouse.lake.contents import read_contents
from gaugehouse.lake.delta import MILLISECOND_US, Change, DeltaStore, FileEntry, write_data_file
from gaugehouse.lake.deltalog import TableLog
from gaugehouse.lake.durable import remove_file, write_file
from gaugehouse.lake.flush import partitions
from gaugehouse.lake.known import SeriesIndex, rows_of_batch
from gaugehouse.lake.manifest import CommittedFile, Manifest, ManifestEntry
from gaugehouse.lake.quarantine import Quarantine, QuarantinedFile, set_aside
from gaugehouse.lake.remedies import IN_PLACE, Copies, Mended
from gaugehouse.lake.rows import TableSpec, concat_rows
from gaugehouse.lake.segments import SegmentScan, body_of
from gaugehouse.lake.sequencer import from_ipc

logger = structlog.get_logger()

PART_NAME = re.compile(r"/part-(\d{12})-[0-9a-f]{8}\.zstd\.parquet$")
LISTED_WIDER_US = 2 * MILLISECOND_US  # the Delta log rounds a maximum up, and its reader adds a millisecond
REPAIRED = "gaugehouse.repaired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """What became of one data file: `added` is the one that holds its rows now, where it is another."""

    mended: Mended
    added: FileEntry | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRepair:
    """Brings data files of one table back. Nobody else may commit to the table or merge its files meanwhile.

    Args:
        store: The table, open.
        manifest: What was written.
        quarantine: The list that files come off.
        copies: Where whole copies may be.
        merges: Path of a merged file -> those that it replaced.
        segments: Whole segments of the log by number, of a lake that nobody runs.
    """

    store: DeltaStore
    manifest: Manifest
    quarantine: Quarantine
    copies: Copies
    merges: Mapping[str, tuple[str, ...]]
    segments: Mapping[int, SegmentScan]

    def repair(self, entry: FileEntry, what: str) -> Repaired:
        """Bring a current file back, or leave it in quarantine.

        Args:
            entry: The file.
            what: Was found.

        Raises:
            Unavailable, FsyncFailed: the disk refused; what was done is whole, and the rest can be done again.
        """
        table = self.store.spec.name
        self.quarantine.add(self.store.root, entry, what)
        written = self.manifest.files.get(table, {}).get(entry.path)
        found = self.copies.find(table, entry.path, None if written is None else written.sha256)
        if found is not None:
            self._put_back(entry.path, *found)
            return Repaired(mended=mended_file(table, entry, found[1]))
        made = self._write_anew(entry)
        if made is None:
            why = "no whole copy is left, and nothing that holds its rows"
            return Repaired(mended=mended_file(table, entry, why, is_whole=False))
        added, file, source = made
        change = Change(
            added=(added,),
            removed=(entry,),
            is_new_data=False,
            metadata={REPAIRED: "1", "gaugehouse.rows": str(added.rows)},
        )
        commit_durably(self.store, self.manifest, change, (file,))
        self.quarantine.take_off(table, entry.path)
        return Repaired(mended=mended_file(table, entry, source), added=added)

    def _put_back(self, path: str, content: bytes, where: str) -> None:
        root = self.store.root
        if where != IN_PLACE:
            set_aside(root, path)  # what an interrupted repair or quarantine has left there
            write_file(root / path, content)
        self.quarantine.take_off(root.name, path)

    def _write_anew(self, entry: FileEntry) -> tuple[FileEntry, CommittedFile, str] | None:
        """Write the rows of a file into a new one; return it and what they were taken from."""
        root, spec = self.store.root, self.store.spec
        made = self._from_segment(entry) or self._from_replaced(entry)
        if made is None:
            return None
        added, _file, source = made
        if not _is_same(added, entry):
            remove_file(root / added.path)
            logger.warning("rows_differ", table=spec.name, project=entry.project, month=entry.month, source=source)
            return None
        return made

    def _from_segment(self, entry: FileEntry) -> tuple[FileEntry, CommittedFile, str] | None:
        match = PART_NAME.search(entry.path)
        scan = self.segments.get(int(match[1])) if match else None
        if scan is None:
            return None
        spec, index = self.store.spec, SeriesIndex(self.store.spec)
        rows = concat_rows(
            [
                rows_of_batch(index, record.project, from_ipc(body), record.received_at_us)
                for record in scan.records
                if (body := body_of(record, spec.name))
            ],
            spec,
        )
        for made, table in partitions(rows, index, scan.number) if len(rows) else ():
            if (made.project, made.month) == (entry.project, entry.month):
                file = write_data_file(self.store.root, made.path, table)
                return replace(made, size_bytes=file.size_bytes), file, "written again from the log"
        return None

    def _from_replaced(self, entry: FileEntry) -> tuple[FileEntry, CommittedFile, str] | None:
        origins = self._origins(entry.path)
        if origins is None:
            return None
        spec = self.store.spec
        try:
            entries = [describe_rows(path, content, spec) for path, content in origins]
            merge = Merge(entries=tuple(entries), tier=tier_of(entry))
            contents = [content for _path, content in origins]
            made = merge_contents(self.store.root, merge, contents, spec, lambda: False)
        except DamageFound as exc:
            logger.warning("files_do_not_merge", table=spec.name, reason=exc.message)
            return None
        assert made is not None  # noqa: S101 - nobody asks it to stop
        return *made, f"merged again from {len(origins)} files that it had replaced"

    def _origins(self, path: str) -> list[tuple[str, bytes]] | None:
        """Return files that together held the rows of a merged one, None when one of them is not to be had.

        One that is not, but was merged itself, is taken as what it was merged from.
        """
        table = self.store.spec.name
        written = self.manifest.files.get(table, {})
        origins: list[tuple[str, bytes]] = []
        for origin in self.merges.get(path, ()):
            known = written.get(origin)
            found = self.copies.find(table, origin, None if known is None else known.sha256)
            if found is not None:
                origins.append((origin, found[0]))
                continue
            deeper = self._origins(origin)
            if deeper is None:
                return None
            origins += deeper
        return origins or None


def mended_file(table: str, entry: FileEntry | QuarantinedFile, what: str, *, is_whole: bool = True) -> Mended:
    """Return what became of a data file."""
    return Mended(
        name=f"{table}/{entry.path}",
        what=what,
        is_whole=is_whole,
        rows=entry.rows,
        project=entry.project,
        month=entry.month,
    )


def describe_rows(path: str, content: bytes, spec: TableSpec) -> FileEntry:
    """Return what the Delta log says of a file, by its rows; the content must be what was written.

    Raises:
        DamageFound: it holds no rows, or they cannot be read.
    """
    try:
        found = read_contents(content, spec)
    except (OSError, pa.ArrowException) as exc:
        raise DamageFound(f"a file of {spec.name} cannot be read: {path}") from exc
    if found.components is None or found.instants_us is None or found.received_us is None:
        raise DamageFound(f"a file of {spec.name} holds no rows: {path}")
    project, month = (part.partition("=")[2] for part in path.split("/")[:2])
    return FileEntry(
        path=path,
        size_bytes=len(content),
        rows=found.rows,
        project=project,
        month=month,
        components=found.components,
        instants_us=found.instants_us,
        received_us=found.received_us,
    )


def _is_same(made: FileEntry, lost: FileEntry) -> bool:
    """Say whether a new file holds as many rows within the same bounds, as far as the Delta log keeps them."""
    if (made.rows, made.components) != (lost.rows, lost.components):
        return False
    pairs = [(made.instants_us, lost.instants_us), (made.received_us, lost.received_us)]
    return all(
        0 <= low - listed_low < MILLISECOND_US and 0 <= listed_high - high <= LISTED_WIDER_US
        for (low, high), (listed_low, listed_high) in pairs
    )


def find_merges(log: TableLog, entries: list[ManifestEntry], table: str) -> dict[str, tuple[str, ...]]:
    """Return which files each merged one has replaced, as far as Delta log and manifest still say it.

    A line of the manifest that was written anew holds the files of many commits, and no removed ones beside them.
    """
    merges: dict[str, tuple[str, ...]] = {}
    for entry in entries:
        if entry.table == table and entry.files and entry.removed:
            merges |= {file.path: entry.removed for file in entry.files if "/merged-" in file.path}
    for commit in log.commits.values():
        if "gaugehouse.compacted" in commit.said:
            merges |= {file.path: commit.removed for file in commit.added}
    return merges
