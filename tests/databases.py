"""Fresh databases for integration tests: SQLite always, PostgreSQL when GAUGEHOUSE_TEST_POSTGRES_URL is set.

The conftest.py of the integration tests imports the fixtures by name. Each test gets its own SQLite file, or an
emptied schema.
"""

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from gaugehouse.database import Database, sqlite_url
from gaugehouse.database.ids import random_base62
from gaugehouse.database.tables import Base

__all__ = [
    "blank_database_url",
    "database",
    "database_url",
    "engine_name",
    "migrated_postgres_url",
    "migrated_sqlite_file",
]

POSTGRES_URL = os.environ.get("GAUGEHOUSE_TEST_POSTGRES_URL")
LEFT_BEHIND_S = 30.0
ENGINES = [
    "sqlite",
    pytest.param(
        "postgresql",
        marks=[
            pytest.mark.postgres,
            pytest.mark.skipif(POSTGRES_URL is None, reason="GAUGEHOUSE_TEST_POSTGRES_URL is not set"),
        ],
    ),
]


@pytest.fixture(scope="session")
def migrated_sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One migrated file to copy: migrating with fsync costs a tenth of a second, a copy nothing."""
    path = tmp_path_factory.mktemp("template") / "gaugehouse.db"
    database = Database.open(sqlite_url(path))
    database.migrate()
    database.dispose()
    return path


@contextmanager
def new_schema() -> Iterator[str]:
    """Give the URL of a new, empty schema of the PostgreSQL server; drop it afterwards."""
    schema = f"test_{random_base62(16).lower()}"
    url = make_url(POSTGRES_URL)
    engine = create_engine(url.set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    yield url.update_query_dict({"options": f"-c search_path={schema}"}).render_as_string(hide_password=False)
    with engine.begin() as connection:
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
    engine.dispose()


@pytest.fixture(scope="session")
def migrated_postgres_url() -> Iterator[str]:
    """One migrated schema for all tests: migrating costs a second, emptying it a fraction."""
    with new_schema() as url:
        database = Database.open(url)
        database.migrate()
        database.dispose()
        yield url


@pytest.fixture(params=ENGINES)
def engine_name(request: pytest.FixtureRequest) -> str:
    """`sqlite` or `postgresql`."""
    return request.param


@pytest.fixture
def blank_database_url(engine_name: str, tmp_path: Path) -> Iterator[str]:
    """URL of a database without any table."""
    if engine_name == "sqlite":
        yield sqlite_url(tmp_path / "blank.db")
    else:
        with new_schema() as url:
            yield url


@pytest.fixture
def database_url(engine_name: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a database with all tables and no rows."""
    if engine_name == "sqlite":
        path = tmp_path / "gaugehouse.db"
        shutil.copy(request.getfixturevalue("migrated_sqlite_file"), path)
        return sqlite_url(path)
    url: str = request.getfixturevalue("migrated_postgres_url")
    database = Database.open(url)
    with database.transaction() as session:
        names = ", ".join(table.name for table in Base.metadata.sorted_tables)
        session.execute(text(f"TRUNCATE {names} CASCADE"))
    database.dispose()
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An open database with all tables and no rows."""
    database = Database.open(database_url)
    yield database
    for (
        thread
    ) in threading.enumerate():  # what a cancel left behind gives its connection back to a pool that is no more
        if thread.name.endswith("-working"):
            thread.join(LEFT_BEHIND_S)
    database.dispose()
