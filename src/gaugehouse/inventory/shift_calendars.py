"""The shift calendar of a project: each change is a new version, and every version stays readable."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from gaugehouse.database import database_now
from gaugehouse.database.tables import ShiftCalendarVersion
from gaugehouse.errors import NotFound
from gaugehouse.measurements.shift_calendar import ShiftCalendar, encode_shift_calendar

MAX_VERSION = 2**31 - 1  # of the column


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftCalendarView:
    """A version of a project's shift calendar.

    Args:
        version: Counts from 1.
        calendar: As `measurements.shift_calendar` reads and writes it.
        author: Who made this version.
        created_at: When.
    """

    version: int
    calendar: dict[str, Any]
    author: str
    created_at: datetime


def put_shift_calendar(session: Session, project_id: str, calendar: ShiftCalendar, *, author: str) -> ShiftCalendarView:
    """Make a calendar the project's; the same one again makes no new version.

    Raises:
        AlreadyExists: somebody else made a version at the same moment.
    """
    newest = find_shift_calendar(session, project_id)
    encoded = encode_shift_calendar(calendar)
    if newest is not None and newest.calendar == encoded:
        return newest
    row = ShiftCalendarVersion(
        project_id=project_id,
        version=1 if newest is None else newest.version + 1,
        calendar=encoded,
        author=author,
        created_at=session.scalars(select(database_now())).one(),
    )
    session.add(row)
    session.flush()
    return _view(row)


def find_shift_calendar(session: Session, project_id: str, *, version: int | None = None) -> ShiftCalendarView | None:
    """Return the newest version, or the one that is asked for; None when there is none."""
    statement = select(ShiftCalendarVersion).where(ShiftCalendarVersion.project_id == project_id)
    if version is not None:
        if not 1 <= version <= MAX_VERSION:
            return None
        statement = statement.where(ShiftCalendarVersion.version == version)
    row = session.scalars(statement.order_by(ShiftCalendarVersion.version.desc()).limit(1)).one_or_none()
    return None if row is None else _view(row)


def get_shift_calendar(session: Session, project_id: str, *, version: int | None = None) -> ShiftCalendarView:
    """Return the newest version, or the one that is asked for.

    Raises:
        NotFound: the project has no calendar, or not that version.
    """
    found = find_shift_calendar(session, project_id, version=version)
    if found is None:
        which = "no shift calendar" if version is None else f"no version {version} of its shift calendar"
        raise NotFound(f"the project has {which}", code="shift_calendar_not_found")
    return found


def _view(row: ShiftCalendarVersion) -> ShiftCalendarView:
    return ShiftCalendarView(
        version=row.version, calendar=dict(row.calendar), author=row.author, created_at=row.created_at
    )
