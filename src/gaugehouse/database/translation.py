"""Vendor exceptions of SQLAlchemy, sqlite3 and psycopg become our errors here, once.

What stays untranslated is a mistake of ours (a broken statement, a missing parent row) and shall be seen as one.
"""

import sqlite3
import sys
from typing import TYPE_CHECKING

from sqlalchemy import exc

from gaugehouse.errors import AlreadyExists, GaugehouseError, StorageFull, Unavailable

if TYPE_CHECKING:
    import psycopg

RETRY_AFTER_S = 1

SQLITE_BUSY_CODES = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
SQLITE_DISK_CODES = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY})
SQLITE_UNIQUE_CODES = frozenset({sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY})
SQLITE_PRIMARY_CODE = 0xFF  # the low byte of an extended result code is the primary one

POSTGRES_UNIQUE = "23505"
POSTGRES_DISK_FULL = "53100"
# Retrying can help: connection (08), resources (53), lock wait and object in use (55), shutdown and cancel (57),
# serialization failure and deadlock (40).
POSTGRES_TRANSIENT_CLASSES = frozenset({"08", "40", "53", "55", "57"})


def find_translation(error: exc.SQLAlchemyError) -> GaugehouseError | None:
    """Return our error for a vendor's, or None where no caller could do anything but report a defect."""
    if isinstance(error, exc.TimeoutError):
        return Unavailable("all connections to the database are in use; try again", retry_after_s=RETRY_AFTER_S)
    if not isinstance(error, exc.DBAPIError):
        return None
    if isinstance(error.orig, sqlite3.Error):
        return _translate_sqlite(error.orig)
    driver = sys.modules.get("psycopg")  # SQLAlchemy loads it for PostgreSQL; nobody else waits for that
    if driver is not None and isinstance(error.orig, driver.Error):
        never_connected = error.orig.sqlstate is None and isinstance(error.orig, driver.OperationalError)
        return _translate_postgres(error.orig, connection_lost=error.connection_invalidated or never_connected)
    return None


def _translate_sqlite(error: sqlite3.Error) -> GaugehouseError | None:
    code: int | None = getattr(error, "sqlite_errorcode", None)  # absent on errors of the Python module itself
    if code is None:
        return None
    if code in SQLITE_UNIQUE_CODES:
        return _taken()
    primary = code & SQLITE_PRIMARY_CODE
    if primary in SQLITE_BUSY_CODES:
        return Unavailable("the database is busy; try again", code="database_busy", retry_after_s=RETRY_AFTER_S)
    if primary == sqlite3.SQLITE_FULL:
        return _full()
    if primary in SQLITE_DISK_CODES:
        return Unavailable("the database cannot be read or written", code="database_unavailable")
    return None


def _translate_postgres(error: "psycopg.Error", *, connection_lost: bool) -> GaugehouseError | None:
    state = error.sqlstate
    if state == POSTGRES_UNIQUE:
        return _taken()
    if state == POSTGRES_DISK_FULL:
        return _full()
    if connection_lost or (state is not None and state[:2] in POSTGRES_TRANSIENT_CLASSES):
        return Unavailable(
            "the database cannot answer right now; try again",
            code="database_unavailable",
            retry_after_s=RETRY_AFTER_S,
        )
    return None


def _taken() -> AlreadyExists:
    return AlreadyExists("the name is already taken")


def _full() -> StorageFull:
    return StorageFull("the disk of the database is full", retry_after_s=RETRY_AFTER_S)
