"""Entries for readers: filtered, in pages, the newest first; and whole, in order."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, func, or_, select
from sqlalchemy.orm import Session

from gaugehouse.audit.entries import INSTALLATION, Entry
from gaugehouse.database import Database
from gaugehouse.database.tables import Base
from gaugehouse.errors import Refused

ENTRIES = Base.metadata.tables["audit_entries"]
ENTRIES_AT_ONCE = 2_000
CURSOR_CHARACTERS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryFilter:
    """Which entries are wanted; None leaves a field open.

    Args:
        project_id: Whose chain; None is the installation's.
        actor: Name of who acted, exactly.
        action: A word of the log, or what stands before its dot: `report` finds all of reports.
        object: Id or name of what it was done to, exactly.
        since: From this instant on, aware.
        until: Before this instant, aware.
    """

    project_id: str | None
    actor: str | None = None
    action: str | None = None
    object: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryPage:
    """Some entries, the cursor of the next page (None: this was the last) and how many fit the filter."""

    entries: tuple[Entry, ...]
    next_cursor: str | None
    total: int


def find_entries(session: Session, wanted: EntryFilter, *, limit: int, cursor: str | None = None) -> EntryPage:
    """Return one page of entries, the newest first; a page is never shifted by entries that come meanwhile.

    Raises:
        Refused: The cursor is none of this list.
    """
    total = session.scalar(select(func.count()).select_from(_select(wanted).subquery())) or 0
    entries, next_cursor = _load(session, wanted, limit=limit, cursor=cursor)
    return EntryPage(entries=entries, next_cursor=next_cursor, total=total)


def _load(
    session: Session, wanted: EntryFilter, *, limit: int, cursor: str | None
) -> tuple[tuple[Entry, ...], str | None]:
    statement = _select(wanted)
    if cursor is not None:
        statement = statement.where(ENTRIES.c.number < _read_cursor(cursor))
    rows = list(session.execute(statement.order_by(ENTRIES.c.number.desc()).limit(limit + 1)))
    entries = tuple(Entry(**row._mapping) for row in rows[:limit])  # noqa: SLF001 - SQLAlchemy's public name for it
    return entries, str(entries[-1].number) if len(rows) > limit else None


def read_entries(database: Database, wanted: EntryFilter) -> Iterator[list[Entry]]:
    """Yield all entries that fit, the newest first, some at a time; a slow reader keeps nobody from writing."""
    cursor: str | None = None
    while True:
        with database.reading() as session:
            entries, cursor = _load(session, wanted, limit=ENTRIES_AT_ONCE, cursor=cursor)
        if entries:
            yield list(entries)
        if cursor is None:
            return


def walk_chain(database: Database, chain: str) -> Iterator[Entry]:
    """Yield every entry of a chain in the order of its numbers."""
    seen = -1
    while True:
        statement = (
            select(ENTRIES)
            .where(ENTRIES.c.chain == chain, ENTRIES.c.number > seen)
            .order_by(ENTRIES.c.number)
            .limit(ENTRIES_AT_ONCE)
        )
        with database.reading() as session:
            rows = list(session.execute(statement))
        for row in rows:
            yield Entry(**row._mapping)  # noqa: SLF001 - as above
        if len(rows) < ENTRIES_AT_ONCE:
            return
        seen = rows[-1].number


def _select(wanted: EntryFilter) -> Select[tuple[object, ...]]:
    statement = select(ENTRIES).where(ENTRIES.c.chain == (wanted.project_id or INSTALLATION))
    if wanted.actor is not None:
        statement = statement.where(ENTRIES.c.actor == wanted.actor)
    if wanted.action is not None:
        statement = statement.where(
            or_(ENTRIES.c.action == wanted.action, ENTRIES.c.action.startswith(f"{wanted.action}.", autoescape=True))
        )
    if wanted.object is not None:
        statement = statement.where(or_(ENTRIES.c.object_id == wanted.object, ENTRIES.c.object_name == wanted.object))
    if wanted.since is not None:
        statement = statement.where(ENTRIES.c.at >= wanted.since)
    if wanted.until is not None:
        statement = statement.where(ENTRIES.c.at < wanted.until)
    return statement


def _read_cursor(cursor: str) -> int:
    if len(cursor) > CURSOR_CHARACTERS or not (cursor.isascii() and cursor.isdecimal()) or int(cursor) >= 2**63:
        raise Refused("the cursor is not one of this list; start again without it", code="cursor_refused")
    return int(cursor)
