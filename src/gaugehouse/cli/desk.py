"""Where the operator of this machine reads and decides: the database of an installation, server or not."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.orm import Session

from gaugehouse.access import Caller, Scope
from gaugehouse.audit import Trail
from gaugehouse.cli.place import require_database
from gaugehouse.config import Settings
from gaugehouse.database import Database
from gaugehouse.installation import local_trail, open_database
from gaugehouse.inventory import get_project

OPERATOR = "operator"


@contextmanager
def installation_database(data_dir: Path) -> Iterator[Database]:
    """Give the database of an installation."""
    database = open_database(Settings(data_dir=data_dir))
    try:
        yield database
    finally:
        database.dispose()


def operator_of(session: Session, project: str) -> Caller:
    """Return who the command line is in a project.

    Raises:
        NotFound: There is no such project.
    """
    found = get_project(session, project)
    return Caller(
        kind="operator", name=OPERATOR, project=found.slug, project_id=found.id, scopes=frozenset({Scope.MANAGER})
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Where decisions are taken: in one transaction, as the operator, with who tells of them."""

    session: Session
    caller: Caller
    trail: Trail

    @property
    def project_id(self) -> str:
        return self.caller.project_id


@contextmanager
def deciding(data_dir: Path, project: str) -> Iterator[Desk]:
    """Give a desk in a project; what is decided holds when it is left.

    Raises:
        NotFound: There is no such project.
    """
    with installation_database(data_dir) as database, database.transaction() as session:
        caller = operator_of(session, project)
        trail = local_trail(Settings(data_dir=data_dir), caller.project_id)
        yield Desk(session=session, caller=caller, trail=trail)


@contextmanager
def reading(data_dir: Path, project: str) -> Iterator[tuple[Session, str]]:
    """Give a session that only reads, and the id of a project: nobody who writes is waited for, or waits.

    Raises:
        NotFound: There is no such project, or no installation; none is made.
        StartRefused: The database is one that we were not told of.
    """
    require_database(Settings(data_dir=data_dir))
    with installation_database(data_dir) as database, database.reading() as session:
        yield session, operator_of(session, project).project_id
