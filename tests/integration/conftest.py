"""Databases for every room: a test that asks for one runs on SQLite and, when one is given, on PostgreSQL."""

from databases import (
    blank_database_url,
    database,
    database_url,
    engine_name,
    migrated_postgres_url,
    migrated_sqlite_file,
)

__all__ = [
    "blank_database_url",
    "database",
    "database_url",
    "engine_name",
    "migrated_postgres_url",
    "migrated_sqlite_file",
]
