"""Instants in the database: one column type that is always aware UTC, and the database's own clock.

Leases compare instants that several processes wrote, so all of them come from one clock: the database's.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, Dialect, Float, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """An aware instant. SQLite forgets the zone, PostgreSQL answers in the session's: both come back as UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    @property
    def python_type(self) -> type[datetime]:
        """What the column holds in Python; pages ask it to read their cursors."""
        return datetime

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy calls it so
        if value is None:
            return None
        if value.tzinfo is None:
            msg = "an instant without a time zone cannot be stored"
            raise ValueError(msg)
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy calls it so
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class DatabaseNow(FunctionElement[datetime]):
    """SQL expression for the database's clock plus an offset; build it with `database_now`."""

    type = UtcDateTime()
    inherit_cache = True
    name = "database_now"


def database_now(offset_s: float = 0.0) -> DatabaseNow:
    """Return the SQL expression "now by the database's clock, plus `offset_s` seconds"."""
    return DatabaseNow(bindparam(None, offset_s, type_=Float()))


@compiles(DatabaseNow, "sqlite")
def _compile_for_sqlite(element: DatabaseNow, compiler: SQLCompiler, **kw: Any) -> str:
    # `%f` has three digits; the column type reads and compares six, hence the zeros.
    return (
        f"strftime('%Y-%m-%d %H:%M:%f000', 'now', printf('%+.3f seconds', {compiler.process(element.clauses, **kw)}))"
    )


@compiles(DatabaseNow, "postgresql")
def _compile_for_postgresql(element: DatabaseNow, compiler: SQLCompiler, **kw: Any) -> str:
    # now() is the start of the transaction and would make a lease shorter than it was asked for.
    return f"(statement_timestamp() + make_interval(secs => {compiler.process(element.clauses, **kw)}))"
