"""What senders with an Idempotency-Key were told: kept for a day, so that a repeated request gets the same answer.

An answer is part of the log record of its rows, so a crash cannot part them. Before a segment is deleted its answers
go into a file of their own, `log/answers.db`; until then they are in memory as well, bounded like the log itself.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import crc32c
import structlog

from gaugehouse.errors import AlreadyExists, Refused, Unavailable
from gaugehouse.lake.durable import sync_path
from gaugehouse.lake.segments import KeyedAnswer, encode_answer

Result = TypeVar("Result")
logger = structlog.get_logger()

ANSWERS = "answers.db"
KEPT_US = 86_400_000_000  # a day
PROJECT_BYTES, KEY_BYTES = 8, 16

CREATE = """
    CREATE TABLE IF NOT EXISTS answers (
        key BLOB PRIMARY KEY, fingerprint BLOB NOT NULL, status INTEGER NOT NULL, body BLOB NOT NULL,
        answered_at_us INTEGER NOT NULL, crc INTEGER NOT NULL
    ) WITHOUT ROWID"""
CREATE_INDEX = "CREATE INDEX IF NOT EXISTS answers_by_age ON answers (answered_at_us)"
INSERT = "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?)"
FIND = "SELECT key, fingerprint, status, body, answered_at_us, crc FROM answers WHERE key = ?"
ALL = "SELECT key, fingerprint, status, body, answered_at_us, crc FROM answers"
EXPIRE = "DELETE FROM answers WHERE answered_at_us < ?"
DELETE_PROJECT = "DELETE FROM answers WHERE substr(key, 1, 8) = ?"


def answer_key(project: str, route: str, key: str) -> bytes:
    """Return what an Idempotency-Key is kept under: a digest that begins with one of the project."""
    return _project_digest(project) + blake2b(f"{route}\0{key}".encode(), digest_size=KEY_BYTES).digest()


def _project_digest(project: str) -> bytes:
    return blake2b(project.encode(), digest_size=PROJECT_BYTES).digest()


@dataclass(slots=True)
class Answers:
    """The answers of a lake's owner. All methods may be called from any thread."""

    path: Path
    _in_log: dict[bytes, KeyedAnswer] = field(default_factory=dict)
    _running: dict[bytes, bytes] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _file_lock: threading.Lock = field(default_factory=threading.Lock)
    _connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open the file, or begin a new one beside it when it is damaged: rows are told apart without it."""
        with self._file_lock:
            try:
                self._connected()
            except sqlite3.Error as exc:
                if not _is_damage(exc):
                    raise _unreadable() from exc
                self._set_aside()
                self._connected()
            sync_path(self.path.parent)

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None)
        try:
            # A rollback journal: one connection needs no more, and it has none of the faults of SQLite's WAL.
            connection.execute("PRAGMA journal_mode = TRUNCATE")
            connection.execute("PRAGMA synchronous = EXTRA")
            connection.execute(CREATE)
            connection.execute(CREATE_INDEX)
            _check_pages(connection)
            _check_schema(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_aside(self) -> None:
        """Let go of a damaged file; the next one begins empty."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None
        damaged = self.path.with_name(self.path.name + ".damaged")
        self.path.rename(damaged)
        logger.warning("answers_damaged", kept_as=damaged.name)

    def begin(self, key: bytes, fingerprint: bytes, *, now_us: int) -> KeyedAnswer | None:
        """Return the answer that a request was given before; None lets it run, until `end`.

        Raises:
            Refused: the key came with another delivery before.
            AlreadyExists: the first request with this key is still running.
            Unavailable: the answers cannot be read.
        """
        with self._lock:
            if key in self._running:
                _check_same(self._running[key], fingerprint)
                raise AlreadyExists(
                    "a request with this Idempotency-Key is still running; send it again for its answer",
                    code="idempotency_key_running",
                    retry_after_s=1,
                )
            self._running[key] = fingerprint
        found = None
        try:
            found = self.find(key, now_us=now_us)
            if found is not None:
                _check_same(found.fingerprint, fingerprint)
        except BaseException:
            self.end(key)
            raise
        if found is not None:
            self.end(key)
        return found

    def end(self, key: bytes) -> None:
        """Let the next request with this key run, or have the answer that is kept by now."""
        with self._lock:
            self._running.pop(key, None)

    def find(self, key: bytes, *, now_us: int) -> KeyedAnswer | None:
        """Return the answer kept under a key, None when there is none or it is older than a day."""
        with self._lock:
            found = self._in_log.get(key)
        if found is None:
            row = self._run(lambda file: file.execute(FIND, (key,)).fetchone())
            found = None if row is None else _intact(*row)
        return found if found is not None and found.answered_at_us >= now_us - KEPT_US else None

    def note(self, answers: Iterable[KeyedAnswer]) -> None:
        """Know answers that are in the log."""
        with self._lock:
            self._in_log.update({answer.key: answer for answer in answers})

    def kept(self) -> list[KeyedAnswer]:
        """Return every answer there is, in the log and in the file.

        Raises:
            Unavailable: the file cannot be read.
        """
        with self._lock:
            known = dict(self._in_log)
        rows = self._run(lambda file: file.execute(ALL).fetchall())
        stored = [answer for answer in (_intact(*row) for row in rows) if answer is not None]
        return list({answer.key: answer for answer in [*stored, *known.values()]}.values())

    def keep(self, answers: Sequence[KeyedAnswer], *, now_us: int) -> None:
        """Make answers of a segment durable in the file, and drop those older than a day.

        Raises:
            Unavailable: the file cannot be written.
        """
        if not answers:
            return
        rows = [(one.key, one.fingerprint, one.status, one.body, one.answered_at_us, _crc(one)) for one in answers]
        self._run(lambda file: _store(file, rows, expired_us=now_us - KEPT_US))

    def forget_log(self, answers: Iterable[KeyedAnswer]) -> None:
        """Let go of answers whose segment is about to be deleted; they must be in the file."""
        with self._lock:
            for answer in answers:
                if self._in_log.get(answer.key) == answer:
                    del self._in_log[answer.key]

    def delete_project(self, project: str) -> None:
        """Remove every answer that senders of a project were given."""
        digest = _project_digest(project)
        with self._lock:
            self._in_log = {key: one for key, one in self._in_log.items() if not key.startswith(digest)}
        self._run(lambda file: file.execute(DELETE_PROJECT, (digest,)))

    def close(self) -> None:
        with self._file_lock:
            if self._connection is not None:
                self._connection.close()

    def _run(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Do something with the file; if it is damaged, with a new one: no segment must wait for a broken page.

        Raises:
            Unavailable: the file cannot be read or written.
        """
        with self._file_lock:
            try:
                try:
                    return work(self._connected())
                except sqlite3.DatabaseError as exc:
                    if not _is_damage(exc):
                        raise
                    self._set_aside()
                    connection = self._connected()
                    sync_path(self.path.parent)
                    return work(connection)
            except (sqlite3.Error, OSError) as exc:
                raise _unreadable() from exc


def find_damage(path: Path) -> str | None:
    """Return what is wrong with a file of answers, None when nothing is; the file is not changed."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as connection:
            if connection.execute("PRAGMA integrity_check(1)").fetchone() != ("ok",):
                return "its pages do not fit together"
            _check_schema(connection)
            changed = sum(_intact(*row) is None for row in connection.execute(ALL))
    except sqlite3.Error:
        return "it cannot be read"
    return f"{changed:,} of the answers are not what was written" if changed else None


def _check_schema(connection: sqlite3.Connection) -> None:
    """Refuse a table that is none of ours: a bit of its description may have flipped, which SQLite checks nowhere."""
    with closing(sqlite3.connect(":memory:")) as fresh:
        fresh.execute(CREATE)
        fresh.execute(CREATE_INDEX)
        if _describe(connection) != _describe(fresh):
            raise sqlite3.DatabaseError("table or index are not those that were made")


def _describe(connection: sqlite3.Connection) -> list[tuple[object, ...]]:
    questions = (
        "SELECT type, name, tbl_name FROM sqlite_schema ORDER BY name",
        "PRAGMA table_xinfo(answers)",
        "PRAGMA index_xinfo(answers_by_age)",
    )
    return [row for question in questions for row in connection.execute(question).fetchall()]


def _check_pages(connection: sqlite3.Connection) -> None:
    if connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
        raise sqlite3.DatabaseError("its pages do not fit together")


def _store(file: sqlite3.Connection, rows: Sequence[tuple[object, ...]], *, expired_us: int) -> None:
    """Write answers and drop those from before an instant, all or nothing."""
    file.execute("BEGIN IMMEDIATE")
    try:
        file.executemany(INSERT, rows)
        file.execute(EXPIRE, (expired_us,))
        file.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            file.execute("ROLLBACK")
        raise


def _is_damage(exc: sqlite3.Error) -> bool:
    """Say whether the file is at fault, which no repetition cures; a full disk or a lock are of derived types."""
    return type(exc) is sqlite3.DatabaseError


def _crc(answer: KeyedAnswer) -> int:
    return crc32c.crc32c(encode_answer(answer))


def _intact(
    key: bytes, fingerprint: bytes, status: int, body: bytes, answered_at_us: int, crc: int
) -> KeyedAnswer | None:
    """Return an answer as it was stored; a changed one is none: its request runs again and stores nothing twice."""
    answer = KeyedAnswer(key=key, fingerprint=fingerprint, status=status, body=body, answered_at_us=answered_at_us)
    if _crc(answer) == crc:
        return answer
    logger.warning("answer_damaged")
    return None


def _check_same(known: bytes, fingerprint: bytes) -> None:
    if known != fingerprint:
        raise Refused(
            "this Idempotency-Key came with another body, or one to be taken in another way, before;"
            " use a new key for a new delivery",
            code="idempotency_key_reused",
        )


def _unreadable() -> Unavailable:
    return Unavailable("the answers to earlier requests cannot be read or written right now", retry_after_s=5)
