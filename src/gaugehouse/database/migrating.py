"""Alembic, for those who have to migrate: everybody else need not load it."""

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection

from gaugehouse.database.history import MIGRATIONS_DIR
from gaugehouse.errors import StartRefused


def alembic_config(connection: Connection | None = None) -> Config:
    """Return Alembic's configuration for our history, on one open connection."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS_DIR).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def run_migrations(connection: Connection) -> None:
    """Bring the tables to the newest revision, in the transaction of a connection.

    Raises:
        StartRefused: the tables come from a newer version of Gaugehouse.
    """
    try:
        command.upgrade(alembic_config(connection), "head")
    except CommandError as exc:
        raise StartRefused(
            "the database was made by a newer version of Gaugehouse; start that version, or restore a backup",
            code="database_too_new",
        ) from exc
