import sqlite3
from collections import Counter

import psycopg
import pytest
from sqlalchemy import exc

from gaugehouse.database.ids import BASE62, new_id, random_base62
from gaugehouse.database.translation import find_translation
from gaugehouse.errors import AlreadyExists, StorageFull, Unavailable


def _sqlite(code: int) -> exc.DBAPIError:
    error = sqlite3.OperationalError("the text of the vendor, /with/a/path")
    error.sqlite_errorcode = code
    return exc.DBAPIError("SELECT 1", None, error)


def _postgres(state: str) -> exc.DBAPIError:
    error = psycopg.errors.lookup(state)("the text of the vendor, /with/a/path")
    return exc.DBAPIError("SELECT 1", None, error)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (_sqlite(sqlite3.SQLITE_BUSY), Unavailable),
        (_sqlite(sqlite3.SQLITE_BUSY_SNAPSHOT), Unavailable),
        (_sqlite(sqlite3.SQLITE_LOCKED), Unavailable),
        (_sqlite(sqlite3.SQLITE_IOERR_FSYNC), Unavailable),
        (_sqlite(sqlite3.SQLITE_CANTOPEN), Unavailable),
        (_sqlite(sqlite3.SQLITE_READONLY_DBMOVED), Unavailable),
        (_sqlite(sqlite3.SQLITE_FULL), StorageFull),
        (_sqlite(sqlite3.SQLITE_CONSTRAINT_UNIQUE), AlreadyExists),
        (_sqlite(sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY), AlreadyExists),
        (_postgres("40001"), Unavailable),
        (_postgres("40P01"), Unavailable),
        (_postgres("53300"), Unavailable),
        (_postgres("55P03"), Unavailable),
        (_postgres("57P01"), Unavailable),
        (_postgres("08006"), Unavailable),
        (_postgres("53100"), StorageFull),
        (_postgres("23505"), AlreadyExists),
        (exc.TimeoutError("pool"), Unavailable),
    ],
)
def test_what_a_caller_can_react_to_is_translated_without_the_vendors_text(error, expected):
    translated = find_translation(error)
    assert type(translated) is expected
    assert "/with/a/path" not in translated.message


@pytest.mark.parametrize(
    "error",
    [
        _sqlite(sqlite3.SQLITE_ERROR),
        _sqlite(sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY),
        _sqlite(sqlite3.SQLITE_CONSTRAINT_NOTNULL),
        _postgres("42601"),
        _postgres("23503"),
        _postgres("22P05"),
        exc.DBAPIError("SELECT 1", None, sqlite3.ProgrammingError("of the module itself")),
        exc.InvalidRequestError("misuse"),
    ],
)
def test_our_own_mistakes_stay_visible(error):
    assert find_translation(error) is None


def test_ids_say_what_they_name_and_never_repeat():
    ids = {new_id("cmp") for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(text) == 24 and text.startswith("cmp_") and text[4:].isalnum() for text in ids)


def test_every_character_of_an_id_is_as_likely_as_any_other():
    text = random_base62(620_000)
    counts = Counter(text)
    assert set(counts) == set(BASE62)
    assert max(abs(count - 10_000) for count in counts.values()) < 600  # six standard deviations
    assert len({random_base62(1) for _ in range(2_000)}) == len(BASE62)
