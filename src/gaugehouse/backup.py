"""Backups: everything of an installation as it was at one moment, while the service goes on; and back again.

A backup folder holds a pool of data files and results, each once, and per backup a dump of the database, the answers
kept for senders with an Idempotency-Key, and a list `backups/<moment>.json` that is written last: without it there is
no backup, with it everything it names is there. One backup at a time writes into a folder, under its `LOCK`: the files
of one under way are on no list yet, and another would remove them. Installations may share a folder; what is kept, or
restored by default, is of one of them. Secrets are not in it: a restored installation signs with new ones.
"""

import fcntl
import gzip
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import crc32c
import msgspec

from gaugehouse.config import Layout, Settings
from gaugehouse.database import Database, sqlite_url
from gaugehouse.database.dump import check_dump, check_empty, dump_database, load_database
from gaugehouse.errors import DamageFound, GaugehouseError, NotFound, Refused, Unavailable
from gaugehouse.installation import local_trail
from gaugehouse.lake import BackedLake, KeyedAnswer, Lake, Pool, drop_unlisted, restore_lake
from gaugehouse.lake.answers import ANSWERS, Answers
from gaugehouse.lake.backup import begin_restore, end_restore, holds, is_half_restored
from gaugehouse.lake.durable import make_folder, sync_path, write_file
from gaugehouse.lake.segments import load_log_uuid
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
        installation: Identity of the log that was backed up; None in a list of before there was this field.
    """

    made_at: datetime
    lake: BackedLake
    database: tuple[str, str]
    results: tuple[BackedResult, ...]
    answers: tuple[str, str] | None = None
    installation: str | None = None

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
        warnings: What else somebody should look at; the backup is whole all the same.
    """

    name: str
    through: datetime | None
    rows: int
    size_bytes: int
    removed_files: int
    warnings: tuple[str, ...] = ()


def make_backup(lake: Lake, database: Database, target: Path, *, keep: int | None, on_progress: Progress) -> BackupDone:
    """Back up everything acknowledged so far; ingestion and reads go on.

    Args:
        lake: The open lake.
        database: Its database.
        target: Folder of the backups, on another disk if it is to be worth something.
        keep: How many backups of this installation to keep, this one included; None keeps all.
        on_progress: Called with (what, done, total).

    Raises:
        DamageFound: a data file is not what was written; no backup was made.
        Unavailable: another backup into this folder is under way.
        GaugehouseError: the lake could not be flushed in time.
        OSError: the target cannot be written.
    """
    with _alone(target):
        return _make_backup(lake, database, target, keep=keep, on_progress=on_progress)


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Let one backup at a time write into a folder, whichever process or thread makes it."""
    make_folder(target)
    descriptor = os.open(target / "LOCK", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise Unavailable(
                "another backup into this folder is under way; wait until it is done", code="backup_running"
            ) from exc
        yield
    finally:
        os.close(descriptor)


def _make_backup(
    lake: Lake, database: Database, target: Path, *, keep: int | None, on_progress: Progress
) -> BackupDone:
    made_at = datetime.now(UTC)
    name = f"{made_at:%Y%m%dT%H%M%S.%fZ}"
    answers = _copy_answers(lake, target, name)  # before the flush: their rows are in the backup
    lake.flush()
    backed = lake.back_up(target, on_progress)
    # After the lake: every name that its rows have is in the database by now.
    dump = _copy_database(database, target, name)
    results = _copy_results(lake.layout, target)
    make_folder(target / "backups")
    installation = str(load_log_uuid(lake.layout.log_dir))
    _write_list(_list_path(target, name), BackupList(made_at, backed, dump, results, answers, installation))
    removed, warnings = (0, ()) if keep is None else _prune(target, installation, keep)
    return BackupDone(
        name=name,
        through=from_epoch_us(backed.through_us) if backed.through_us >= 0 else None,
        rows=sum(file.entry.rows for files in backed.tables.values() for file in files),
        size_bytes=sum(file.entry.size_bytes for files in backed.tables.values() for file in files),
        removed_files=removed,
        warnings=warnings,
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
        sha256 = hashlib.sha256(content).hexdigest()
        copy = target / "reports" / relative
        if not holds(copy, sha256):
            make_folder(copy.parent)
            write_file(copy, content)
        copied.append(BackedResult(relative, len(content), sha256))
    return tuple(copied)


def _write_list(path: Path, listed: BackupList) -> None:
    body = msgspec.json.encode(listed)
    write_file(path, f"{crc32c.crc32c(body):08x}\n".encode() + body)


def _list_path(target: Path, name: str) -> Path:
    return target / "backups" / f"{name}.json"


def _names(target: Path) -> list[str]:
    """Return the names of all backups in a folder, oldest first."""
    return sorted(path.stem for path in (target / "backups").glob("*.json"))


def read_list(target: Path, name: str | None = None) -> BackupList:
    """Return what a backup is made of; the newest without a name.

    Raises:
        NotFound: there is no such backup.
        Refused: no name, and several installations have backups in this folder.
        DamageFound: its list is not what was written.
    """
    name = name or _newest(target)
    try:
        head, _newline, body = _list_path(target, name).read_bytes().partition(b"\n")
    except FileNotFoundError as exc:
        raise NotFound("there is no such backup", code="no_backup") from exc
    if head != f"{crc32c.crc32c(body):08x}".encode():
        raise DamageFound(f"the list of backup {name} is damaged; restore another", code="backup_damaged")
    try:
        return msgspec.json.decode(body, type=BackupList)
    except msgspec.ValidationError as exc:
        what = f"this version of Gaugehouse does not understand the list of backup {name}: a newer one has made it"
        raise DamageFound(what, code="backup_not_understood") from exc


def _newest(target: Path) -> str:
    """Return the newest backup of the one installation that has any here."""
    lists, _unreadable = _read_lists(target)
    newest = {listed.installation: name for name, listed in lists.items()}
    if len(newest) > 1:
        named = ", ".join(f"{name} (of {installation or 'an unknown one'})" for installation, name in newest.items())
        raise Refused(
            f"{len(newest)} installations have backups in this folder; say with --name which to restore. "
            f"The newest of each: {named}",
            code="several_installations",
            fields={"newest": sorted(newest.values())},
        )
    names = _names(target)  # also a damaged one: to restore an older one instead is for people to decide
    if not names:
        raise NotFound("there is no backup in this folder", code="no_backup")
    return names[-1]


def _read_lists(target: Path) -> tuple[dict[str, BackupList], list[str]]:
    """Return all lists of a folder by name, oldest first, and the names of those that cannot be read."""
    lists, unreadable = {}, []
    for name in _names(target):
        try:
            lists[name] = read_list(target, name)
        except (DamageFound, NotFound, OSError):
            unreadable.append(name)
    return lists, unreadable


def read_pool(target: Path) -> Pool:
    """Return the data files of all backups in a folder whose lists can be read.

    Raises:
        NotFound: there is no backup.
        DamageFound: there are only damaged ones.
    """
    lists, unreadable = _read_lists(target)
    if not lists and unreadable:
        raise DamageFound(f"the list of backup {', '.join(unreadable)} is damaged", code="backup_damaged")
    if not lists:
        raise NotFound("there is no backup in this folder", code="no_backup")
    return Pool(
        folder=target,
        files={
            f"{table}/{file.entry.path}": file
            for listed in lists.values()
            for table, files in listed.lake.tables.items()
            for file in files
        },
    )


def _prune(target: Path, installation: str, keep: int) -> tuple[int, tuple[str, ...]]:
    """Remove all but the newest backups of an installation, and files that only those had.

    Returns:
        How many files went, and what stood in the way: the backup before it is made and stays.
    """
    lists, unreadable = _read_lists(target)
    if unreadable:
        what = (
            f"nothing was removed: the list of backup {', '.join(unreadable)} cannot be read, so nobody knows which "
            "files it needs. Delete it when it is not wanted"
        )
        return 0, (what,)
    mine = [name for name, listed in lists.items() if listed.installation == installation]
    dead = mine[: max(0, len(mine) - keep)]
    try:
        return _remove(target, dead, [listed for name, listed in lists.items() if name not in dead]), ()
    except OSError as exc:
        return 0, (f"older backups could not be removed: {os.strerror(exc.errno or 0)}",)


def _remove(target: Path, dead: Sequence[str], kept: Sequence[BackupList]) -> int:
    """Remove lists, and then what the kept ones do not name; return how many files went."""
    for name in dead:
        _list_path(target, name).unlink()
    if dead:
        sync_path(target / "backups")  # no list may come back without its files
    databases = {one.database[0] for one in kept}
    answers = {one.answers[0] for one in kept if one.answers is not None}
    results = {result.path for one in kept for result in one.results}
    loose = [path for path in (target / "database").iterdir() if path.name not in databases]
    loose += [path for path in (target / "answers").glob("*") if path.name not in answers]
    loose += [
        path
        for path in (target / "reports").glob("*/*")
        if path.relative_to(target / "reports").as_posix() not in results
    ]
    for path in loose:
        path.unlink()
    return len(loose) + drop_unlisted(target, [one.lake for one in kept])


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
    installation can ever be mixed in. Until all is there, nobody can take the folder for an installation. The database
    comes last, in one transaction: after a restore that failed, only the folder has to be emptied.

    Raises:
        NotFound: there is no such backup.
        Refused: no name, and several installations have backups there; or the dump is of a newer version.
        DamageFound: a file of the backup is damaged; the folder is left for another attempt after it is emptied.
        GaugehouseError: the folder or the database is not empty.
    """
    layout = Layout(settings.data_dir)
    _refuse_full(layout)
    listed = read_list(target, name)
    dump = gzip.decompress(_read_checked(target / "database", listed.database)).splitlines()
    check_dump(dump)
    if settings.database_url is not None:
        _check_database(settings.database_url)
    begin_restore(layout)
    rows = restore_lake(layout, target, listed.lake, on_progress)
    if listed.answers is not None:
        _restore_answers(layout, _read_checked(target / "answers", listed.answers))
    for result in listed.results:
        _restore_result(layout, target, result)
    database_rows = _restore_database(settings, dump)
    end_restore(layout)
    through_us = listed.lake.through_us
    return Restored(
        made_at=listed.made_at,
        through=from_epoch_us(through_us) if through_us >= 0 else None,
        rows=rows,
        database_rows=database_rows,
        results=len(listed.results),
    )


def _refuse_full(layout: Layout) -> None:
    if is_half_restored(layout):
        what = "the folder is not empty: an earlier restore has not come to its end there; empty it and restore again"
        raise GaugehouseError(what, code="target_not_empty")
    if layout.data_dir.exists() and any(layout.data_dir.iterdir()):
        raise GaugehouseError("the folder is not empty; restore into an empty one", code="target_not_empty")


def _check_database(url: str) -> None:
    """Find out before anything is restored whether a database takes it."""
    database = Database.open(url)
    try:
        check_empty(database)
        database.migrate()
    finally:
        database.dispose()


def _restore_database(settings: Settings, dump: Sequence[bytes]) -> int:
    database = Database.open(settings.database_url or sqlite_url(Layout(settings.data_dir).database_path))
    try:
        database.migrate()
        rows = load_database(database, dump)
        with database.transaction() as session:
            local_trail(settings).tell(session, "backup.restore", details={"rows": rows})
        return rows
    finally:
        database.dispose()


def _read_checked(folder: Path, file: tuple[str, str]) -> bytes:
    """Return the bytes of a file that is listed with its sha256."""
    name, sha256 = file
    try:
        content = (folder / name).read_bytes()
    except FileNotFoundError:
        content = b""
    if hashlib.sha256(content).hexdigest() != sha256:
        what = f"the backup's copy of the {folder.name} is missing or not what was written"
        raise DamageFound(what, code="backup_damaged")
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
    content = _read_checked(target / "reports", (result.path, result.sha256))
    path = layout.reports_dir / result.path
    make_folder(path.parent)
    write_file(path, content)
