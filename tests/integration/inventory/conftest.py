"""Every test here runs on SQLite and, when one is given, on PostgreSQL."""

import pytest

from databases import (
    blank_database_url,
    database,
    database_url,
    engine_name,
    migrated_postgres_url,
    migrated_sqlite_file,
)
from gaugehouse.database import Database
from gaugehouse.inventory import create_project, ensure_default_project

__all__ = [
    "blank_database_url",
    "database",
    "database_url",
    "engine_name",
    "migrated_postgres_url",
    "migrated_sqlite_file",
]


@pytest.fixture
def project_id(database: Database) -> str:
    """The default project."""
    with database.transaction() as session:
        return ensure_default_project(session).id


@pytest.fixture
def other_project_id(database: Database) -> str:
    """A second project, `other`."""
    with database.transaction() as session:
        return create_project(session, "other").id
