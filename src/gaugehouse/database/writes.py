"""Statements that SQLite and PostgreSQL spell through different constructs."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Session


def insert_missing(session: Session, table: type[DeclarativeBase], rows: Sequence[Mapping[str, object]]) -> None:
    """Insert rows and skip those that any unique rule already knows; one statement, many rows.

    Never a savepoint around an insert: an IntegrityError aborts the outer PostgreSQL transaction.
    """
    if not rows:
        return
    target = table.__table__
    assert isinstance(target, Table)  # noqa: S101 - declarative classes of ours are never mapped to a join
    if session.get_bind().dialect.name == "postgresql":
        session.execute(postgresql.insert(target).on_conflict_do_nothing(), list(rows))
    else:
        session.execute(sqlite.insert(target).on_conflict_do_nothing(), list(rows))
