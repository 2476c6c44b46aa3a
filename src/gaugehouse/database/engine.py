"""The connection to the database: SQLite in one file, or PostgreSQL.

SQLite is used by several threads and several processes at once (server, worker, command line). Its settings are
measured (FACTS.md): rollback journal, because two processes writing in WAL mode can corrupt SQLite before 3.51.3;
synchronous=FULL, because anything less loses acknowledged commits with the power; BEGIN IMMEDIATE, because a
transaction that first reads and then writes cannot wait for its lock, it can only fail.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, select
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.orm import Session
from sqlalchemy.pool import QueuePool

from gaugehouse.database.clock import database_now
from gaugehouse.database.history import is_current
from gaugehouse.database.translation import RETRY_AFTER_S, find_translation
from gaugehouse.errors import StartRefused, Unavailable

BUSY_TIMEOUT_S = 5.0
LOCK_POLL_S = 0.002
READ_ONLY_OPTION = "gaugehouse_read_only"

QUIET: dict[str, Any] = {"hide_parameters": True}  # of a failed statement: hashes of passwords and keys are among them
SQLITE_POOL: dict[str, Any] = {
    "pool_size": 8,
    "max_overflow": -1,  # a connection costs an open file; waiting for one while holding another would deadlock
}
POSTGRES_POOL: dict[str, Any] = {
    "pool_size": 8,
    "max_overflow": 32,  # threads of one server; PostgreSQL allows 100 connections by default
    "pool_timeout": BUSY_TIMEOUT_S,
    "pool_pre_ping": True,  # a restarted server is noticed before a request is
}


def sqlite_url(path: Path) -> str:
    """Return the URL of the SQLite database in one file."""
    return URL.create("sqlite", database=str(path)).render_as_string()


class Database:
    """Transactions on one database; threads may share it, processes open their own."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reading_engine = engine.execution_options(**{READ_ONLY_OPTION: True, "postgresql_readonly": True})
        self._is_sqlite = engine.dialect.name == "sqlite"
        # SQLite waits for a lock by polling with up to 100 ms between two looks; our own threads queue here instead.
        self._sqlite_writer = threading.Lock()

    @classmethod
    def open(cls, url: str) -> "Database":
        """Connect lazily to `sqlite:///FILE` (made with mode 0600) or `postgresql://...`.

        Raises:
            StartRefused: neither of the two, or not a URL.
        """
        parsed = _parse_url(url)
        if parsed.get_backend_name() == "postgresql":
            return cls(create_engine(parsed.set(drivername="postgresql+psycopg"), **QUIET, **POSTGRES_POOL))
        _make_sqlite_file(Path(parsed.database or ""))
        engine = create_engine(
            parsed.set(drivername="sqlite+pysqlite"),
            poolclass=QueuePool,
            connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False},
            **QUIET,
            **SQLITE_POOL,
        )
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return cls(engine)

    @property
    def engine(self) -> Engine:
        """The SQLAlchemy engine, for migrations and tests."""
        return self._engine

    def migrate(self) -> None:
        """Bring the tables to the newest revision; safe when several processes start at once.

        Raises:
            StartRefused: the tables come from a newer version of Gaugehouse.
            Unavailable: the database cannot be reached or stays locked.
        """
        with self._translated():
            if is_current(self._reading_engine):  # without the lock that writers queue for
                return
            from gaugehouse.database.migrating import upgrade  # noqa: PLC0415 - nearly every start finds nothing to do

            with self._writer_turn():
                upgrade(self._engine)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Give a session whose work is committed at exit, and rolled back when an exception leaves the block.

        The lock to write is taken at the start (BEGIN IMMEDIATE on SQLite): keep hashing and reading of files outside.

        Raises:
            Unavailable: the database is locked for too long, or cannot be reached.
            AlreadyExists: a unique rule was violated and the caller had not looked for it.
        """
        with self._translated(), self._writer_turn(), Session(self._engine, expire_on_commit=False) as session:
            if self._is_sqlite:
                session.connection()  # BEGIN IMMEDIATE now, not at the first statement
            yield session
            session.commit()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Give a session that sees one consistent moment on SQLite, writes nothing, and never waits for its turn."""
        with self._translated(), Session(self._reading_engine, expire_on_commit=False) as session:
            yield session

    def now(self, session: Session) -> datetime:
        """Return the database's clock, in UTC."""
        return session.execute(select(database_now())).scalar_one()

    def dispose(self) -> None:
        """Close the pooled connections."""
        self._engine.dispose()

    @contextmanager
    def _writer_turn(self) -> Iterator[None]:
        if not self._is_sqlite:
            yield
            return
        if not self._sqlite_writer.acquire(timeout=BUSY_TIMEOUT_S):
            raise Unavailable("the database is busy; try again", code="database_busy", retry_after_s=RETRY_AFTER_S)
        try:
            yield
        finally:
            self._sqlite_writer.release()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as exc:
            translated = find_translation(exc)
            if translated is None:
                raise
            raise translated from exc


def _parse_url(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as exc:  # its text would repeat the URL, and with it a password
        raise StartRefused("the database URL cannot be read; use sqlite:///FILE or postgresql://...") from exc
    if parsed.drivername == "postgres":
        parsed = parsed.set(drivername="postgresql")
    in_memory = parsed.database in {None, "", ":memory:"}
    if parsed.get_backend_name() not in {"sqlite", "postgresql"} or (
        parsed.get_backend_name() == "sqlite" and in_memory
    ):
        raise StartRefused("the database must be an SQLite file or a PostgreSQL server")
    return parsed


def _make_sqlite_file(path: Path) -> None:
    """Create the file for its owner only (it holds password hashes), and make its name durable."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as exc:
        raise StartRefused(f"the database file cannot be opened: {exc.strerror}") from exc


def _set_up_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the module must not begin or commit by itself; `_begin_sqlite` does
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT_S * 1000)}")
    cursor.execute("PRAGMA journal_mode = DELETE")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    read_only = connection.get_execution_options().get(READ_ONLY_OPTION, False)
    connection.exec_driver_sql(f"PRAGMA query_only = {int(read_only)}")
    if read_only:
        connection.exec_driver_sql("BEGIN")
    else:
        _begin_immediate(connection)


def _begin_immediate(connection: Connection) -> None:
    """Take the write lock, looking every 2 ms.

    SQLite's own wait sleeps up to 100 ms between two looks, and another process that writes all the time leaves gaps
    of less than one: two workers with 4 threads each starved one another for more than 5 s, and lost their leases.
    Only one thread of a process waits here, so looking often costs little.
    """
    cursor = connection.connection.cursor()
    cursor.execute("PRAGMA busy_timeout = 0")
    try:
        deadline_s = time.monotonic() + BUSY_TIMEOUT_S
        while not _has_begun(cursor) and time.monotonic() < deadline_s:
            time.sleep(LOCK_POLL_S)
        if not cursor.connection.in_transaction:
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # once more, for an error that SQLAlchemy has wrapped
    finally:
        cursor.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT_S * 1000)}")
        cursor.close()


def _has_begun(cursor: Any) -> bool:
    try:
        cursor.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return False
    return True
