"""The one migration history: which revisions there are, and whether a database has them. Without Alembic."""

from pathlib import Path

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

MIGRATIONS_DIR = Path(__file__).parent / "migrations"


def list_revisions() -> list[str]:
    """Return the revisions that this version knows, the newest last: each has a file that begins with its name."""
    return sorted(path.name.partition("_")[0] for path in (MIGRATIONS_DIR / "versions").glob("[0-9]*.py"))


def is_current(engine: Engine) -> bool:
    """Say whether there is nothing to do; what cannot be asked now is found out by the migration itself."""
    try:
        with engine.connect() as connection:
            found = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
    except DBAPIError:
        return False
    return found == list_revisions()[-1:]
