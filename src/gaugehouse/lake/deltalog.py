"""What a table's `_delta_log` says, read without delta-rs: by `lake status` and, entry by entry, by `lake verify`.

A second reader on purpose: what one library writes and reads back itself proves little, and a damaged entry must be
named instead of ending the process.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from gaugehouse.errors import is_exhausted

COMMIT = re.compile(r"^(\d{20})\.json$")
CHECKPOINT = re.compile(r"^(\d{20})\.checkpoint\.parquet$")
HINT = "_last_checkpoint"
CHECKPOINT_COLUMNS = ["add", "txn", "metaData", "protocol"]
CHECKPOINTS_KEPT = 2  # entries before the older of them are removed one by one


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedFile:
    """A data file as the Delta log describes it; `stats` is its JSON, parsed."""

    path: str
    size_bytes: int
    project: str
    month: str
    modified_at_ms: int
    stats: Mapping[str, Any]

    @property
    def rows(self) -> int:
        return int(self.stats.get("numRecords", -1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One log entry: what it adds and removes, and what it says about itself."""

    version: int
    added: tuple[ListedFile, ...]
    removed: tuple[str, ...]
    said: Mapping[str, str]
    transactions: Mapping[str, int]
    table_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    """One thing in the log that is not as it was written.

    Args:
        name: Of the file.
        what: Is wrong with it.
        is_damage: False for what a power cut may leave: nothing needs it, and the next start or checkpoint removes it.
    """

    name: str
    what: str
    is_damage: bool = True


@dataclass(slots=True, kw_only=True)
class TableState:
    """Files of one version and the newest segment of each log in it."""

    version: int = -1
    files: dict[str, ListedFile] = field(default_factory=dict)
    transactions: dict[str, int] = field(default_factory=dict)
    table_id: str | None = None

    def take(self, commit: Commit) -> None:
        self.version = commit.version
        for path in commit.removed:
            self.files.pop(path, None)
        self.files.update({file.path: file for file in commit.added})
        self.transactions.update(commit.transactions)
        self.table_id = commit.table_id or self.table_id

    def copy(self) -> "TableState":
        return TableState(
            version=self.version,
            files=dict(self.files),
            transactions=dict(self.transactions),
            table_id=self.table_id,
        )


@dataclass(slots=True, kw_only=True)
class TableLog:
    """A log as it was read.

    Args:
        state: Of the newest version that could be reached.
        commits: Intact entries by version.
        checkpoints: Intact checkpoints by version.
        wrong: What is damaged, missing or left over.
        is_whole: Whether `state` is that of the version asked for.
    """

    state: TableState = field(default_factory=TableState)
    commits: dict[int, Commit] = field(default_factory=dict)
    checkpoints: dict[int, TableState] = field(default_factory=dict)
    wrong: list[Wrong] = field(default_factory=list)
    is_whole: bool = True

    @property
    def damage(self) -> list[Wrong]:
        """What is wrong and not a mere leftover."""
        return [wrong for wrong in self.wrong if wrong.is_damage]


def read_log(
    root: Path, *, up_to: int | None = None, digests: Mapping[str, str] | None = None, is_online: bool = False
) -> TableLog:
    """Read a table's log.

    Args:
        root: Folder of the table.
        up_to: The version to stop at; None for the newest.
        digests: SHA-256 by file name of what was written, where it is known.
        is_online: Whether an owner runs, who has mended already what a start mends.

    Returns:
        Everything that can be read, and what cannot.
    """
    log = TableLog()
    folder = root / "_delta_log"
    contents = dict(_contents(folder, up_to))
    for name, content in contents.items():
        expected = (digests or {}).get(name)
        if expected is not None and hashlib.sha256(content).hexdigest() != expected:
            log.wrong.append(Wrong(name=name, what="is not what was written"))
        else:
            _take_file(log, name, content)
    if not is_online:
        _forgive_torn_checkpoints(log, contents, digests or {})
    _check_hint(log, folder, contents, digests or {}, is_online=is_online)
    _replay(log, up_to)
    return log


def _forgive_torn_checkpoints(log: TableLog, contents: Mapping[str, bytes], digests: Mapping[str, str]) -> None:
    """Call the newest checkpoints left over that cannot be read and were never known to be on the disk."""
    for name in sorted((name for name in contents if CHECKPOINT.match(name)), reverse=True):
        if int(name[:20]) in log.checkpoints:
            break
        if name not in digests:
            what = "cannot be read: what a power cut leaves of a new checkpoint; the next start removes it"
            kept = [wrong for wrong in log.wrong if wrong.name != name]
            log.wrong = [*kept, Wrong(name=name, what=what, is_damage=False)]


def _contents(folder: Path, up_to: int | None) -> Iterator[tuple[str, bytes]]:
    names = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    for name in names:
        match = COMMIT.match(name) or CHECKPOINT.match(name)
        if match is None or (up_to is not None and int(match[1]) > up_to):
            continue
        try:
            yield name, (folder / name).read_bytes()
        except FileNotFoundError:
            continue  # cleaned up behind a checkpoint meanwhile; a gap that matters is found below
        except OSError as exc:
            if is_exhausted(exc):
                raise
            yield name, b""


def _take_file(log: TableLog, name: str, content: bytes) -> None:
    version = int(name[:20])
    if CHECKPOINT.match(name):
        state = _read_checkpoint(content, version)
        if state is None:
            log.wrong.append(Wrong(name=name, what="cannot be read"))
        else:
            log.checkpoints[version] = state
        return
    commit = _read_commit(content, version)
    if commit is None:
        log.wrong.append(Wrong(name=name, what="cannot be read"))
    else:
        log.commits[version] = commit


def _read_commit(content: bytes, version: int) -> Commit | None:
    try:
        actions = [json.loads(line) for line in content.splitlines()]
        return _commit(actions, version) if actions else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _commit(actions: list[dict[str, Any]], version: int) -> Commit:
    said: dict[str, str] = next((action["commitInfo"] for action in actions if "commitInfo" in action), {})
    return Commit(
        version=version,
        added=tuple(_listed(action["add"]) for action in actions if "add" in action),
        removed=tuple(unquote(action["remove"]["path"]) for action in actions if "remove" in action),
        said={name: text for name, text in said.items() if name.startswith("gaugehouse.")},
        transactions={action["txn"]["appId"]: action["txn"]["version"] for action in actions if "txn" in action},
        table_id=next((action["metaData"]["id"] for action in actions if "metaData" in action), None),
    )


def _listed(add: Mapping[str, Any]) -> ListedFile:
    partition = dict(add["partitionValues"])
    return ListedFile(
        path=unquote(add["path"]),
        size_bytes=int(add["size"]),
        project=partition["project"],
        month=partition["month"],
        modified_at_ms=int(add["modificationTime"]),
        stats=json.loads(add["stats"]),
    )


def _read_checkpoint(content: bytes, version: int) -> TableState | None:
    try:
        actions = pq.ParquetFile(pa.BufferReader(content)).read().select(CHECKPOINT_COLUMNS).to_pylist()
        commit = _commit([{name: a for name, a in action.items() if a} for action in actions], version)
    except MemoryError:
        raise  # Arrow's is an ArrowException too, and says nothing about the file
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError, AttributeError):
        return None
    state = TableState()
    state.take(commit)
    return state


def _check_hint(
    log: TableLog, folder: Path, contents: Mapping[str, bytes], digests: Mapping[str, str], *, is_online: bool
) -> None:
    """Compare `_last_checkpoint` with what was written, and with the checkpoint that it points to.

    A start removes a hint that cannot be read or points to none: the entries say the same.
    """
    path = folder / HINT
    if not path.exists():
        return
    content = path.read_bytes()
    try:
        version = int(json.loads(content)["version"])
    except (ValueError, KeyError, TypeError):
        log.wrong.append(Wrong(name=HINT, what="cannot be read", is_damage=is_online))
        return
    name = f"{version:020d}.checkpoint.parquet"
    if name not in contents and not (folder / name).exists():
        log.wrong.append(Wrong(name=HINT, what="points to a checkpoint that is not there", is_damage=is_online))
    elif name in digests and HINT in digests and hashlib.sha256(content).hexdigest() != digests[HINT]:
        # A checkpoint that is not written down yet has brought a hint of its own.
        log.wrong.append(Wrong(name=HINT, what="is not what was written"))


def _replay(log: TableLog, up_to: int | None) -> None:
    """Reach the wanted version from the newest checkpoint; compare what earlier ones lead to with later ones."""
    newest = max([*log.commits, *log.checkpoints], default=-1) if up_to is None else up_to
    state = TableState()
    first = min([*log.checkpoints, *log.commits], default=0)
    # Before that, entries are removed one by one, and a power cut may bring any of them back.
    kept_from = sorted(log.checkpoints)[-CHECKPOINTS_KEPT] if len(log.checkpoints) >= CHECKPOINTS_KEPT else 0
    if first in log.checkpoints:
        state = log.checkpoints[first].copy()
    elif first > 0:
        state.version = first - 1
        log.is_whole = False  # until a checkpoint says what came before
        what = "has nothing before it, neither entries nor checkpoint"
        log.wrong.append(Wrong(name=f"{first:020d}.json", what=what, is_damage=first >= kept_from))
    while state.version < newest:
        version = state.version + 1
        checkpoint, commit = log.checkpoints.get(version), log.commits.get(version)
        if commit is not None:
            state.take(commit)
        else:
            later = [v for v in log.checkpoints if v >= version]
            name = f"{version:020d}.json"
            if not any(wrong.name == name for wrong in log.wrong):
                log.wrong.append(Wrong(name=name, what="is missing", is_damage=version >= kept_from))
            if not later:
                log.is_whole = False
                break
            state, log.is_whole = log.checkpoints[min(later)].copy(), True
            continue
        if checkpoint is not None:
            _compare(log, checkpoint, state)
            state, log.is_whole = checkpoint.copy(), True
    log.state = state


def _compare(log: TableLog, checkpoint: TableState, replayed: TableState) -> None:
    if log.is_whole and (checkpoint.files, checkpoint.transactions) != (replayed.files, replayed.transactions):
        name = f"{checkpoint.version:020d}.checkpoint.parquet"
        log.wrong.append(Wrong(name=name, what="does not say what the entries before it say"))
