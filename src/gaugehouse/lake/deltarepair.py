"""A damaged Delta log: put right by its checksums, shortened to a checkpoint, or said again from the manifest.

Nothing of it is in a backup, and nothing need be: the manifest knows every current file, and the files know their rows.
Originals stay in `<table>/_quarantine/_delta_log/`.
"""

import hashlib
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gaugehouse.errors import DamageFound
from gaugehouse.lake.commits import LINES, commit_name, commit_path
from gaugehouse.lake.delta import HINT, LOG_FOLDER, LOG_NAME, FileEntry, create_table, describe_file, stats_text
from gaugehouse.lake.deltalog import CHECKPOINT, TableLog, TableState, read_log
from gaugehouse.lake.durable import remove_file, write_file
from gaugehouse.lake.filerepair import PART_NAME, REPAIRED, describe_rows
from gaugehouse.lake.flush import app_id
from gaugehouse.lake.manifest import Manifest, ManifestEntry
from gaugehouse.lake.picture import current_by_manifest, log_digests, torn_commit
from gaugehouse.lake.quarantine import FOLDER
from gaugehouse.lake.remedies import Copies, Mended, keep_original, unflip
from gaugehouse.lake.rows import TableSpec
from gaugehouse.lake.segments import SegmentScan, body_of

Action = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaRepair:
    """Mends the Delta log of one table that nobody has open.

    Args:
        root: Folder of the table.
        spec: Of the table.
        manifest: What was written.
        is_manifest_whole: Whether no line of it is lost: then what it does not name is not there.
        copies: Where whole copies of data files may be.
        log_uuid: Identity of the write-ahead log.
        segments: Whole segments of that log by number.
    """

    root: Path
    spec: TableSpec
    manifest: Manifest
    is_manifest_whole: bool
    copies: Copies
    log_uuid: str
    segments: Mapping[int, SegmentScan]

    @property
    def _folder(self) -> Path:
        return self.root / LOG_FOLDER

    def read(self) -> TableLog:
        """Return the log up to the last commit that a start keeps."""
        torn = torn_commit(self.root, self.manifest)
        up_to = None if torn is None else torn - 1
        return read_log(self.root, up_to=up_to, digests=log_digests(self.manifest, self.root.name))

    def repair(self) -> list[Mended]:
        """Mend what can be mended; return what was done and what is still damaged, nothing for a sound log.

        Raises:
            FsyncFailed: the disk refused; what was done is whole, and the rest can be done again.
        """
        log = self.read()
        if not log.damage and not self._lost(log) and HINT not in {wrong.name for wrong in log.wrong}:
            return []
        mended = [*self._unflip_files(), *self._drop_checkpoints()]
        log = self.read()
        lost = self._lost(log)
        if lost and self.is_manifest_whole:
            mended += self._say_again(log, lost)
            log = self.read()
        newest = max(log.checkpoints, default=-1)
        if log.damage and not self._lost(log) and newest >= 0:
            mended += self._shorten(log, newest)
        return [*mended, *self._still_damaged({one.name for one in mended if not one.is_whole})]

    def _still_damaged(self, told: set[str]) -> Iterator[Mended]:
        rest = self.read()
        wrong = {self._name(one.name): one.what for one in rest.damage}
        wrong |= {self._name(f"{version:020d}.json"): "is damaged or missing" for version in self._lost(rest)}
        for name, what in sorted(wrong.items()):
            if name not in told:
                yield Mended(name=name, what=f"{what}, and nothing is left that says what it was", is_whole=False)

    def _lost(self, log: TableLog) -> list[int]:
        """Return the durable versions that no checkpoint stands for and whose entries are damaged or missing."""
        first = max(log.checkpoints, default=-1) + 1
        durable = self.manifest.durable_version.get(self.root.name, -1)
        return [version for version in range(first, durable + 1) if version not in log.commits]

    def _name(self, name: str) -> str:
        return f"{self.root.name}/{LOG_FOLDER}/{name}"

    # -- exact bytes

    def _unflip_files(self) -> Iterator[Mended]:
        """Put right every file in which one bit has flipped."""
        for name, sha256 in sorted(log_digests(self.manifest, self.root.name).items()):
            path = self._folder / name
            content = path.read_bytes() if path.exists() else b""
            if not content or hashlib.sha256(content).hexdigest() == sha256:
                continue
            right = unflip(content, sha256)
            if right is not None:
                self._keep(path)
                write_file(path, right)
                yield Mended(name=self._name(name), what="one flipped bit put right")

    def _keep(self, path: Path) -> None:
        keep_original(path, self.root / FOLDER / LOG_FOLDER)

    # -- what the log can do without

    def _drop_checkpoints(self) -> list[Mended]:
        """Set damaged checkpoints aside, and the hint, which is damaged or points to one: the entries say the same."""
        log = self.read()
        wrong = {one.name for one in log.wrong if one.name == HINT or (one.is_damage and CHECKPOINT.match(one.name))}
        if not wrong:
            return []
        present = {path.name for path in self._folder.iterdir()}
        self._set_aside(sorted({*wrong, HINT} & present))
        return [
            Mended(name=self._name(name), what="set aside: the entries before it say the same")
            for name in sorted(wrong)
        ]

    def _shorten(self, log: TableLog, checkpoint: int) -> list[Mended]:
        """Set everything before the newest checkpoint aside, as cleaning up does: it stands for all of that."""
        damaged = {wrong.name for wrong in log.damage}
        names = [
            path.name
            for path in self._folder.iterdir()
            if (match := LOG_NAME.match(path.name)) and (int(match[1]) < checkpoint or path.name in damaged)
        ]
        self._set_aside(sorted(names))
        what = f"not needed: the checkpoint of version {checkpoint} stands for everything before it"
        return [Mended(name=self._name(name), what=what) for name in sorted(damaged)]

    def _set_aside(self, names: Sequence[str]) -> None:
        for name in names:
            self._keep(self._folder / name)
            remove_file(self._folder / name)
        gone = tuple(f"{LOG_FOLDER}/{name}" for name in names)
        self.manifest.record(ManifestEntry(table=self.root.name, gone=gone))

    # -- what the manifest knows

    def _say_again(self, log: TableLog, lost: list[int]) -> list[Mended]:
        """Write lost entries anew: the last says what all of them did to the files, the others nothing.

        They are written in that order, so the table opens only once it names every file that it should.
        """
        try:
            actions = self._difference(log)
        except DamageFound as exc:
            return [Mended(name=self._name(f"{lost[-1]:020d}.json"), what=exc.message, is_whole=False)]
        for version in lost:
            path = commit_path(self.root, version)
            if path.exists():
                self._keep(path)
            beginning = _first_entry(self.spec) if version == 0 else []
            write_file(path, _entry([*beginning, *(actions if version == lost[-1] else [])]))
        files = tuple(describe_file(self.root, commit_name(version)) for version in lost)
        self.manifest.record(ManifestEntry(table=self.root.name, files=files))
        what = "written anew: the manifest knows the files, and they know their rows"
        return [Mended(name=self._name(f"{version:020d}.json"), what=what) for version in lost]

    def _difference(self, log: TableLog) -> list[Action]:
        """Return what leads from the entries that are left to what the manifest holds for current.

        Raises:
            DamageFound: of a file nobody can say what rows it holds.
        """
        table, state = self.root.name, self._state_without_lost(log)
        current = current_by_manifest(self.manifest, table)
        now_ms = int(time.time() * 1000)
        added = [self._describe(path) for path in sorted(current - state.files.keys())]
        actions = [_transaction(*one, now_ms) for one in self._transactions(state, added)]
        actions += [_add(entry, self.spec, now_ms) for entry in added]
        actions += [_remove(path, now_ms) for path in sorted(state.files.keys() - current)]
        return actions

    def _state_without_lost(self, log: TableLog) -> TableState:
        newest = max(log.checkpoints, default=-1)
        durable = self.manifest.durable_version.get(self.root.name, -1)
        state = log.checkpoints[newest].copy() if newest >= 0 else TableState()
        for version, commit in sorted(log.commits.items()):
            if newest < version <= durable:
                state.take(commit)
        return state

    def _describe(self, path: str) -> FileEntry:
        table = self.root.name
        found = self.copies.find(table, path, self.manifest.files[table][path].sha256)
        if found is None:
            raise DamageFound(f"it named {path}, and of that file there is no whole copy that could say what it holds")
        return describe_rows(path, found[0], self.spec)

    def _transactions(self, state: TableState, added: Sequence[FileEntry]) -> Iterator[tuple[str, int]]:
        """Yield how far the write-ahead log is in the table, where the entries that are left do not say it."""
        app = app_id(self.log_uuid, self.root.name)
        committed = max([self.manifest.segment, *(self._segment_of(entry) for entry in added)])
        if committed > state.transactions.get(app, -1):
            yield app, committed

    def _segment_of(self, entry: FileEntry) -> int:
        """Return the segment of this log that a file was flushed from, if it is still there; -1 if not.

        A restored table has files of another log, whose numbers say nothing here: their rows came at other instants.
        """
        match = PART_NAME.search(entry.path)
        scan = self.segments.get(int(match[1])) if match else None
        if scan is None:
            return -1
        received_us = [record.received_at_us for record in scan.records if body_of(record, self.spec.name)]
        if not received_us or entry.received_us[0] < min(received_us) or entry.received_us[0] > max(received_us):
            return -1
        return scan.number


def _first_entry(spec: TableSpec) -> list[Action]:
    """Return what the first version of a table says: its protocol and schema."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / spec.name
        root.mkdir()
        create_table(root, spec)
        lines = commit_path(root, 0).read_bytes().splitlines()
    return [action for action in map(json.loads, lines) if "commitInfo" not in action]


def _entry(actions: Sequence[Action]) -> bytes:
    said = {"timestamp": int(time.time() * 1000), "operation": "WRITE", REPAIRED: "1", LINES: str(len(actions) + 1)}
    return "\n".join(json.dumps(action, ensure_ascii=False) for action in [{"commitInfo": said}, *actions]).encode()


def _transaction(app: str, version: int, now_ms: int) -> Action:
    return {"txn": {"appId": app, "version": version, "lastUpdated": now_ms}}


def _add(entry: FileEntry, spec: TableSpec, now_ms: int) -> Action:
    return {
        "add": {
            "path": entry.path,
            "partitionValues": {"project": entry.project, "month": entry.month},
            "size": entry.size_bytes,
            "modificationTime": now_ms,
            "dataChange": True,
            "stats": stats_text(entry, spec),
        }
    }


def _remove(path: str, now_ms: int) -> Action:
    return {"remove": {"path": path, "deletionTimestamp": now_ms, "dataChange": False}}
