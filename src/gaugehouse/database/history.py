"""The one migration history, run from code: a service migrates its own database when it starts."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from gaugehouse.errors import StartRefused

MIGRATIONS_DIR = Path(__file__).parent / "migrations"
POSTGRES_LOCK_KEY = 0x67617567  # "gaug": any fixed number that other programs in the same database do not use


def list_revisions() -> list[str]:
    """Return the revisions that this version knows, the newest last: each has a file that begins with its name."""
    return sorted(path.name.partition("_")[0] for path in (MIGRATIONS_DIR / "versions").glob("[0-9]*.py"))


def upgrade(engine: Engine) -> None:
    """Run all missing migrations in one transaction; a second process waits and finds nothing to do.

    Raises:
        StartRefused: the tables come from a newer version of Gaugehouse.
    """
    if _is_current(engine):
        return
    from gaugehouse.database.migrating import run_migrations  # noqa: PLC0415 - nearly every start finds nothing to do

    with _exclusive_connection(engine) as connection:
        run_migrations(connection)


def _is_current(engine: Engine) -> bool:
    """Say whether there is nothing to do; what cannot be asked now is found out by the migration itself."""
    try:
        with engine.connect() as connection:
            found = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
    except DBAPIError:
        return False
    return found == list_revisions()[-1:]


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
