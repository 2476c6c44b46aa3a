"""Runs missing migrations from code, by Alembic: those who find nothing to do need not load it."""

from collections.abc import Iterator
from contextlib import contextmanager

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, text

from gaugehouse.database.history import MIGRATIONS_DIR
from gaugehouse.errors import StartRefused

POSTGRES_LOCK_KEY = 0x67617567  # "gaug": any fixed number that other programs in the same database do not use


def alembic_config(connection: Connection | None = None) -> Config:
    """Return Alembic's configuration for our history, on one open connection."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS_DIR).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def upgrade(engine: Engine) -> None:
    """Run all missing migrations in one transaction; a second process waits and finds nothing to do.

    Raises:
        StartRefused: the tables come from a newer version of Gaugehouse.
    """
    with _exclusive_connection(engine) as connection:
        _run_migrations(connection)


def _run_migrations(connection: Connection) -> None:
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


@contextmanager
def _exclusive_connection(engine: Engine) -> Iterator[Connection]:
    if engine.dialect.name == "postgresql":
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": POSTGRES_LOCK_KEY})
            yield connection
        return
    with engine.connect() as connection, _foreign_keys_off(connection), connection.begin():
        yield connection
        if connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
            raise StartRefused("a migration would break a reference between tables; nothing was changed")


@contextmanager
def _foreign_keys_off(connection: Connection) -> Iterator[None]:
    """Switch checks off while tables are rebuilt: SQLite cannot alter most things, Alembic copies and drops instead.

    The switch does nothing inside a transaction, so it goes to the driver before SQLAlchemy begins one.
    """
    raw = connection.connection.cursor()
    raw.execute("PRAGMA foreign_keys = OFF")
    try:
        yield
    finally:
        raw.execute("PRAGMA foreign_keys = ON")
        raw.close()
