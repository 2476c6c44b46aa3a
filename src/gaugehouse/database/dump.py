"""The whole database as lines of JSON, one per row: the same text from SQLite and PostgreSQL, into either.

The first line names the revision of the tables; a dump is loaded by the version of Gaugehouse that made it or a newer.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Table, insert, inspect, select, text
from sqlalchemy.orm import Session

from gaugehouse.database.clock import UtcDateTime
from gaugehouse.database.engine import Database
from gaugehouse.database.history import list_revisions
from gaugehouse.database.tables import Base
from gaugehouse.errors import GaugehouseError, Refused

ROWS_PER_INSERT = 500


def dump_database(database: Database) -> Iterator[bytes]:
    """Yield every row of every table as it was at one moment."""
    with database.reading() as session:
        if session.get_bind().dialect.name == "postgresql":
            session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        revision = session.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
        yield _line({"gaugehouse_database": revision})
        for table in Base.metadata.sorted_tables:
            for row in session.execute(select(table)).mappings():
                yield _line({"table": table.name, "row": {name: _plain(value) for name, value in row.items()}})


def _line(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def check_dump(lines: Sequence[bytes]) -> None:
    """Look at a dump before anything is done with it.

    Raises:
        Refused: it is none, or one of a newer version.
    """
    head = json.loads(lines[0]) if lines else {}
    if "gaugehouse_database" not in head:
        raise Refused("this is no dump of a Gaugehouse database", code="dump_refused")
    revision = head["gaugehouse_database"]
    if revision not in list_revisions():
        raise Refused(
            f"the dump of the database has revision {revision!r}, which this version of Gaugehouse does not know; "
            "restore with the version that made it, or a newer one",
            code="dump_refused",
        )


def check_empty(database: Database) -> None:
    """Look at a database before anything is restored into it; it may have no tables yet.

    Raises:
        GaugehouseError: it holds rows.
    """
    with database.reading() as session:
        made = inspect(session.connection()).get_table_names()
        _refuse_rows(session, [table for table in Base.metadata.sorted_tables if table.name in made])


def load_database(database: Database, lines: Sequence[bytes]) -> int:
    """Fill an empty, migrated database; return how many rows came.

    Raises:
        Refused: no dump, or one with tables that this version does not have.
        GaugehouseError: the database holds rows already.
    """
    check_dump(lines)
    tables = {table.name: table for table in Base.metadata.sorted_tables}
    count = 0
    with database.transaction() as session:
        _refuse_rows(session, tables.values())
        waiting: list[dict[str, Any]] = []
        current: Table | None = None
        for line in lines[1:]:
            content = json.loads(line)
            table = tables.get(content["table"])
            if table is None:
                raise Refused(f"the dump has a table {content['table']!r} that this version lacks", code="dump_refused")
            if table is not current or len(waiting) >= ROWS_PER_INSERT:
                _insert(session, current, waiting)
                current, waiting = table, []
            waiting.append({name: _read(table, name, value) for name, value in content["row"].items()})
            count += 1
        _insert(session, current, waiting)
    return count


def _refuse_rows(session: Session, tables: Iterable[Table]) -> None:
    for table in tables:
        if session.execute(select(table).limit(1)).first() is not None:
            raise GaugehouseError("the database is not empty; restore into an empty one", code="target_not_empty")


def _insert(session: Session, table: Table | None, rows: list[dict[str, Any]]) -> None:
    if table is not None and rows:
        session.execute(insert(table), rows)


def _read(table: Table, name: str, value: Any) -> Any:
    is_instant = isinstance(table.c[name].type, UtcDateTime) and value is not None
    return datetime.fromisoformat(value) if is_instant else value
