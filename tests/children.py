"""What tests run in processes of their own; in a module because a spawned process must be able to import it."""

from sqlalchemy import select

from gaugehouse.database import Database
from gaugehouse.database.tables import Setting


def count_up(url: str, times: int) -> None:
    """Add one to the setting `count`, each time in a transaction."""
    database = Database.open(url)
    for _ in range(times):
        with database.transaction() as session:
            row = session.scalars(select(Setting).where(Setting.name == "count").with_for_update()).one()
            row.value = {"n": row.value["n"] + 1}
    database.dispose()


def migrate_at_once(url: str, barrier) -> None:
    """Wait for the others, then migrate."""
    database = Database.open(url)
    barrier.wait()
    database.migrate()
    database.dispose()
