"""Backups: everything of an installation as it was at one moment, while the service goes on; and back again.

A backup folder holds a pool of data files and results, each once, and per backup a dump of the database, the answers
kept for senders with an Idempotency-Key, and a list `backups/<moment>.json` that
is written last: without it there is no backup, with it everything it names is there. Secrets are not in it: a restored
installation signs with new ones.
"""

import gzip
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import crc32c
import msgspec

from gaugehouse.config import Layout, Settings
from gaugehouse.database import Database, sqlite_url
from gaugehouse.database.dump import dump_database, load_database
from gaugehouse.errors import DamageFound, GaugehouseError, NotFound
from gaugehouse.lake import BackedLake, KeyedAnswer, Lake, drop_unlisted, restore_lake
from gaugehouse.lake.answers import ANSWERS, Answers
from gaugehouse.lake.durable import make_folder, write_file
from gaugehouse.measurements.selection import from_epoch_us

Progress = Callable[[str, int, int], None]
CRC_CHARACTERS = 8


class BackedResult(msgspec.Struct, frozen=True):
    """A report's result file below `reports/`."""

    path: str
    size_bytes: int
    sha256: str


class BackupList(msgspec.Struct, frozen=True):
    """What one backup is made of.

    Args:
        made_at: When it was begun.
        lake: Data files.
        database: Name and sha256 of the database's dump.
        results: Files of reports.
        answers: Name and sha256 of what senders with an Idempotency-Key were told; None in a backup that has none.
    """

    made_at: datetime
    lake: BackedLake
    database: tuple[str, str]
    results: tuple[BackedResult, ...]
    answers: tuple[str, str] | None = None

    @property
    def rows(self) -> int:
        """Rows of all tables of the lake."""
        return sum(file.entry.rows for files in self.lake.tables.values() for file in files)

    @property
    def size_bytes(self) -> int:
        """Size of all data files."""
        return sum(file.entry.size_bytes for files in self.lake.tables.values() for file in files)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupDone:
    """What one call made.

    Args:
        name: Of the backup, to restore it by.
        through: Every row acknowledged up to this instant is in it.
        rows: Of all tables.
        size_bytes: Of all its data files, copied now or before.
        removed_files: Files of backups that are no longer kept.
    """

    name: str
    through: datetime | None
    rows: int
    size_bytes: int
    removed_files: int


def make_backup(lake: Lake, database: Database, target: Path, *, keep: int | None, on_progress: Progress) -> BackupDone:
    """Back up everything acknowledged so far; ingestion and reads go on.

    Args:
        lake: The open lake.
        database: Its database.
        target: Folder of the backups, on another disk if it is to be worth something.
        keep: How many backups to keep, this one included; None keeps all.
        on_progress: Called with (what, done, total).

    Raises:
        DamageFound: a data file is not what was written; no backup was made.
        GaugehouseError: the lake could not be flushed in time.
        OSError: the target cannot be written.
    """
    made_at = datetime.now(UTC)
    name = f"{made_at:%Y%m%dT%H%M%S.%fZ}"
    answers = _copy_answers(lake, target, name)  # before the flush: their rows are in the backup
    lake.flush()
    backed = lake.back_up(target, on_progress)
    # After the lake: every name that its rows have is in the database by now.
    dump = _copy_database(database, target, name)
    results = _copy_results(lake.layout, target)
    make_folder(target / "backups")
    _write_list(target / "backups" / f"{name}.json", BackupList(made_at, backed, dump, results, answers))
    removed = _prune(target, keep) if keep is not None else 0
    return BackupDone(
        name=name,
        through=from_epoch_us(backed.through_us) if backed.through_us >= 0 else None,
        rows=sum(file.entry.rows for files in backed.tables.values() for file in files),
        size_bytes=sum(file.entry.size_bytes for files in backed.tables.values() for file in files),
        removed_files=removed,
    )


def _copy_database(database: Database, target: Path, name: str) -> tuple[str, str]:
    content = gzip.compress(b"".join(dump_database(database)), mtime=0)
    file_name = f"{name}.jsonl.gz"
    make_folder(target / "database")
    write_file(target / "database" / file_name, content, mode=0o600)  # it holds hashes of passwords
    return file_name, hashlib.sha256(content).hexdigest()


def _copy_answers(lake: Lake, target: Path, name: str) -> tuple[str, str]:
    content = gzip.compress(msgspec.msgpack.encode(lake.answers.kept()), mtime=0)
    file_name = f"{name}.msgpack.gz"
    make_folder(target / "answers")
    write_file(target / "answers" / file_name, content, mode=0o600)
    return file_name, hashlib.sha256(content).hexdigest()


def _copy_results(layout: Layout, target: Path) -> tuple[BackedResult, ...]:
    """Copy results of reports: they are written once, under a name that is never used again."""
    copied = []
    for path in sorted(layout.reports_dir.glob("*/r*.parquet")):
        relative = path.relative_to(layout.reports_dir).as_posix()
        content = path.read_bytes()
        copy = target / "reports" / relative
        if not copy.exists() or copy.stat().st_size != len(content):
            make_folder(copy.parent)
            write_file(copy, content)
        copied.append(BackedResult(relative, len(content), hashlib.sha256(content).hexdigest()))
    return tuple(copied)


def _write_list(path: Path, listed: BackupList) -> None:
    body = msgspec.json.encode(listed)
    write_file(path, f"{crc32c.crc32c(body):08x}\n".encode() + body)


def read_list(target: Path, name: str | None = None) -> BackupList:
    """Return what a backup is made of; the newest without a name.

    Raises:
        NotFound: there is no such backup.
        DamageFound: its list is not what was written.
    """
    paths = sorted((target / "backups").glob(f"{name or '*'}.json"))
    if not paths:
        raise NotFound("there is no such backup" if name else "there is no backup in this folder", code="no_backup")
    head, _newline, body = paths[-1].read_bytes().partition(b"\n")
    if head != f"{crc32c.crc32c(body):08x}".encode():
        raise DamageFound(f"the list of backup {paths[-1].stem} is damaged; restore another", code="backup_damaged")
    return msgspec.json.decode(body, type=BackupList)


def _prune(target: Path, keep: int) -> int:
    """Remove all but the newest backups, and files that only those had."""
    names = sorted(path.stem for path in (target / "backups").glob("*.json"))
    dead, kept = names[: max(0, len(names) - keep)], names[max(0, len(names) - keep) :]
    lists = [read_list(target, name) for name in kept]
    for name in dead:
        (target / "backups" / f"{name}.json").unlink()
    databases = {one.database[0] for one in lists}
    answers = {one.answers[0] for one in lists if one.answers is not None}
    results = {result.path for one in lists for result in one.results}
    loose = [path for path in (target / "database").iterdir() if path.name not in databases]
    loose += [path for path in (target / "answers").glob("*") if path.name not in answers]
    loose += [
        path
        for path in (target / "reports").glob("*/*")
        if path.relative_to(target / "reports").as_posix() not in results
    ]
    for path in loose:
        path.unlink()
    return len(loose) + drop_unlisted(target, [one.lake for one in lists])


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What came back."""

    made_at: datetime
    through: datetime | None
    rows: int
    database_rows: int
    results: int


def restore_backup(settings: Settings, target: Path, *, name: str | None, on_progress: Progress) -> Restored:
    """Build an installation from a backup, in an empty folder and an empty database.

    Every file is compared with its checksum on the way. The log gets a new identity, so that nothing of the old
    installation can ever be mixed in.

    Raises:
        NotFound: there is no such backup.
        DamageFound: a file of the backup is damaged; the folder is left for another attempt after it is emptied.
        GaugehouseError: the folder or the database is not empty.
    """
    layout = Layout(settings.data_dir)
    if layout.data_dir.exists() and any(layout.data_dir.iterdir()):
        raise GaugehouseError("the folder is not empty; restore into an empty one", code="target_not_empty")
    listed = read_list(target, name)
    dump = gzip.decompress(_read_checked(target / "database", listed.database)).splitlines()
    rows = restore_lake(layout, target, listed.lake, on_progress)
    database = Database.open(settings.database_url or sqlite_url(layout.database_path))
    try:
        database.migrate()
        database_rows = load_database(database, dump)
    finally:
        database.dispose()
    if listed.answers is not None:
        _restore_answers(layout, _read_checked(target / "answers", listed.answers))
    for result in listed.results:
        _restore_result(layout, target, result)
    through_us = listed.lake.through_us
    return Restored(
        made_at=listed.made_at,
        through=from_epoch_us(through_us) if through_us >= 0 else None,
        rows=rows,
        database_rows=database_rows,
        results=len(listed.results),
    )


def _read_checked(folder: Path, file: tuple[str, str]) -> bytes:
    """Return the bytes of a file that is listed with its sha256."""
    name, sha256 = file
    content = (folder / name).read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise DamageFound(f"the backup's copy of the {folder.name} is not what was written", code="backup_damaged")
    return content


def _restore_answers(layout: Layout, content: bytes) -> None:
    answers = Answers(layout.log_dir / ANSWERS)
    answers.open()
    try:
        kept = msgspec.msgpack.decode(gzip.decompress(content), type=list[KeyedAnswer])
        answers.keep(kept, now_us=time.time_ns() // 1_000)
    finally:
        answers.close()


def _restore_result(layout: Layout, target: Path, result: BackedResult) -> None:
    content = (target / "reports" / result.path).read_bytes()
    if hashlib.sha256(content).hexdigest() != result.sha256:
        raise DamageFound("the result of a report is not what was backed up", code="backup_damaged")
    path = layout.reports_dir / result.path
    make_folder(path.parent)
    write_file(path, content)
