"""Whose job is next where not all may run at once: ceilings over all workers, and projects that take turns.

A project's turn comes when none has fewer jobs running, and of those the one that was served longest ago. So one that
has 500 jobs waiting is served as often as one that has two.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, func, select, text
from sqlalchemy.orm import Session, aliased

from gaugehouse.database import database_now, tables
from gaugehouse.errors import Throttled

TURN_LOCK_KEY = 0x67617574  # "gaut": claims with ceilings stand in line for it on PostgreSQL
COME_AGAIN_S = 30

Row = tables.Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceilings:
    """How many jobs may run at once, over all workers.

    Args:
        running: Of all projects together; None: as many as there are workers for.
        running_per_project: Of one project; None: likewise.
    """

    running: int | None = None
    running_per_project: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    """The job that is next of a project, and when one of its jobs was claimed last."""

    job_id: str
    project_id: str | None
    order: tuple[object, ...]


def is_due(kinds: Collection[str]) -> ColumnElement[bool]:
    """Return the condition that a job waits and its time has come."""
    return and_(Row.status == "queued", Row.run_at <= database_now(), Row.kind.in_(sorted(kinds)))


def take_turn(session: Session) -> None:
    """Let no other claim with ceilings come between counting and claiming, until the transaction ends.

    SQLite lets in one writing transaction at a time anyway; rows of PostgreSQL that are only counted are not locked.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": TURN_LOCK_KEY})


def choose_next(session: Session, kinds: Collection[str], ceilings: Ceilings) -> str | None:
    """Return the id of the job that may be claimed next; None when none is due, or none of those may run now.

    The smallest priority first, then the project with the fewest running jobs, then the one served longest ago, then
    the oldest job.
    """
    running = _count_running(session, kinds)
    if ceilings.running is not None and sum(running.values()) >= ceilings.running:
        return None
    limit = ceilings.running_per_project
    allowed = [
        head
        for head in _find_heads(session, kinds, running)
        if limit is None or running.get(head.project_id, 0) < limit
    ]
    return min(allowed, key=lambda head: head.order).job_id if allowed else None


def _count_running(session: Session, kinds: Collection[str]) -> dict[str | None, int]:
    statement = (
        select(Row.project_id, func.count())
        .where(Row.status == "running", Row.kind.in_(sorted(kinds)))
        .group_by(Row.project_id)
    )
    return dict(session.execute(statement).all())


def _find_heads(session: Session, kinds: Collection[str], running: Mapping[str | None, int]) -> list[_Head]:
    place = func.row_number().over(partition_by=Row.project_id, order_by=(Row.priority, Row.created_at, Row.id))
    due = (
        select(Row.id, Row.project_id, Row.kind, Row.priority, Row.created_at, place.label("place"))
        .where(is_due(kinds))
        .subquery()
    )
    earlier = aliased(Row)
    served_at = (
        select(func.max(earlier.claimed_at))
        .where(earlier.project_id == due.c.project_id, earlier.kind == due.c.kind)
        .scalar_subquery()
    )
    statement = select(due, served_at.label("served_at")).where(due.c.place == 1)
    return [
        _Head(
            job_id=row.id,
            project_id=row.project_id,
            order=(
                row.priority,
                running.get(row.project_id, 0),
                0.0 if row.served_at is None else row.served_at.timestamp(),
                row.created_at,
                row.id,
            ),
        )
        for row in session.execute(statement)
    ]


def refuse_too_many_waiting(session: Session, *, kind: str, project_id: str, limit: int, what: str) -> None:
    """Refuse one more job of a project that has as many waiting as it may.

    Args:
        session: An open transaction: of two that ask at the same time, the second waits for the first.
        kind: Of the jobs.
        project_id: Whose.
        limit: Most jobs that wait.
        what: The jobs, in words: "reports".

    Raises:
        Throttled: There are too many already.
    """
    session.execute(select(tables.Project.id).where(tables.Project.id == project_id).with_for_update())
    statement = select(func.count()).where(Row.status == "queued", Row.kind == kind, Row.project_id == project_id)
    waiting = session.scalars(statement).one()
    if waiting >= limit:
        raise Throttled(
            f"{waiting:,} {what} of this project wait already, the limit is {limit:,}; come again when some are "
            "done, or cancel some",
            code="too_many_waiting",
            fields={"waiting": waiting, "limit": limit},
            retry_after_s=COME_AGAIN_S,
        )
