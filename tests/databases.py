"""Fresh databases for integration tests: SQLite always, PostgreSQL when GAUGEHOUSE_TEST_POSTGRES_URL is set.

A room's conftest.py takes the fixtures with `from databases import *`. Each test gets its own file or schema.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from gaugehouse.database import Database, sqlite_url
from gaugehouse.database.ids import random_base62

__all__ = ["blank_database_url", "database", "database_url", "migrated_sqlite_file"]

POSTGRES_URL = os.environ.get("GAUGEHOUSE_TEST_POSTGRES_URL")
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


@pytest.fixture(params=ENGINES)
def blank_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a database without any table."""
    if request.param == "sqlite":
        yield sqlite_url(tmp_path / "gaugehouse.db")
        return
    schema = f"test_{random_base62(16).lower()}"
    url = make_url(POSTGRES_URL)
    engine = create_engine(url.set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    yield url.update_query_dict({"options": f"-c search_path={schema}"}).render_as_string(hide_password=False)
    with engine.begin() as connection:
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
    engine.dispose()


@pytest.fixture
def database_url(blank_database_url: str, migrated_sqlite_file: Path) -> str:
    """URL of a database with all tables and no rows."""
    url = make_url(blank_database_url)
    if url.get_backend_name() == "sqlite":
        shutil.copy(migrated_sqlite_file, url.database)
        return blank_database_url
    database = Database.open(blank_database_url)
    database.migrate()
    database.dispose()
    return blank_database_url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An open database with all tables and no rows."""
    database = Database.open(database_url)
    yield database
    database.dispose()
