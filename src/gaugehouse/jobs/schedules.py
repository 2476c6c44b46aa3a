"""Schedules: jobs that are due again and again. What a job means, its kind and payload say, and nobody here reads them.

A tick looks for schedules whose `next_at` has come. For each, one transaction moves `next_at` on, writes down the fire
times and creates their jobs: all of it or nothing, whenever the process dies. The move expects what the tick has seen
(`next_at` and `version`), so of two ticks at once one finds nothing to do; that a fire time is unique per schedule is
the second guard.
"""

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, assert_never

import structlog
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from gaugehouse.database import Database, database_now, new_id, tables
from gaugehouse.errors import AlreadyExists, NotFound, Refused, StorageFull, Unavailable
from gaugehouse.jobs.calendar import Recurrence, parse_recurrence
from gaugehouse.jobs.queue import enqueue
from gaugehouse.measurements.names import find_name_problem

TICK_S = 1.0
DUE_AT_ONCE = 100  # schedules that one tick sees to; the next one comes in a second
MISSED_AFTER = timedelta(minutes=5)  # found later than this, a fire time counts as missed: nobody was there to tick
SCHEDULES_LIMIT = 1000  # of one project: they are listed as one page
CATCH_UP_LIMIT = 1000  # jobs that one tick creates for one schedule

Row = tables.Schedule
_log = structlog.stdlib.get_logger()


class CatchUp(StrEnum):
    """What becomes of fire times that were missed because no process ticked."""

    LATEST = "latest"
    ALL = "all"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleWishes:
    """What a schedule is to be.

    Args:
        kind: Of the jobs it creates.
        payload: Of the jobs it creates, JSON-able; the key `schedule` is added.
        recurrence: When.
        catch_up: What becomes of missed fire times: a job for the newest one, for all up to `catch_up_limit` (the
            newest ones), or for none.
        catch_up_limit: 1 to 1000.
    """

    kind: str
    payload: Mapping[str, Any]
    recurrence: Recurrence
    catch_up: CatchUp = CatchUp.LATEST
    catch_up_limit: int = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A schedule as it is kept.

    Args:
        next_at: Its next fire time, whether it is paused or not.
        paused_at: Since when it is paused; None: it runs.
        paused_reason: Why, where not a person paused it.
        author: Who made or last changed it.
        version: Counts changes.
    """

    id: str
    project_id: str
    name: str
    kind: str
    payload: Mapping[str, Any]
    recurrence: str
    timezone: str
    catch_up: CatchUp
    catch_up_limit: int
    next_at: datetime
    paused_at: datetime | None
    paused_reason: str | None
    author: str
    version: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a tick does for one schedule.

    Args:
        runs: Fire times that get a job, in order.
        missed_at: The newest fire time that gets none, where no later one does; None where there is no such.
        skipped: Fire times that get none, `missed_at` not counted.
        next_at: The first fire time that has not come.
    """

    runs: tuple[datetime, ...]
    missed_at: datetime | None
    skipped: int
    next_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Fired:
    """One job that a tick created."""

    schedule_id: str
    fire_at: datetime
    job_id: str


def plan_fires(recurrence: Recurrence, first: datetime, now: datetime, *, catch_up: CatchUp, limit: int) -> Plan:
    """Decide which fire times from `first` up to `now` get a job. Pure.

    Args:
        recurrence: The rule.
        first: The earliest fire time that has not been seen to; not after `now`.
        now: Aware.
        catch_up: For those that were missed.
        limit: Most jobs with `all`.
    """
    due: deque[datetime] = deque(maxlen=limit if catch_up is CatchUp.ALL else 1)
    at, found = first, 0
    while at <= now:
        due.append(at)
        found += 1
        at = recurrence.next_after(at)
    newest = due[-1]
    match catch_up:
        case CatchUp.LATEST | CatchUp.ALL:
            runs = tuple(due)
        case CatchUp.NONE:
            runs = (newest,) if now - newest <= MISSED_AFTER else ()
        case _:
            assert_never(catch_up)
    missed_at = None if runs else newest
    return Plan(runs=runs, missed_at=missed_at, skipped=found - max(len(runs), 1), next_at=at)


def tick(db: Database, *, now: datetime | None = None) -> list[Fired]:
    """Create the jobs of every schedule that is due; return them.

    Any number of processes may do this at once, and die at any point: each fire time gets one job, or none by its
    schedule's wish.

    Args:
        db: The database.
        now: The database's clock without it.

    Raises:
        Unavailable: The database cannot answer; nothing is lost, tick again.
    """
    with db.reading() as session:
        instant = now or db.now(session)
        statement = select(Row).where(Row.next_at <= instant, Row.paused_at.is_(None))
        due = [_view(row) for row in session.scalars(statement.order_by(Row.next_at, Row.id).limit(DUE_AT_ONCE))]
    fired = []
    for schedule in due:
        try:
            fired += _fire(db, schedule, instant)
        except (Unavailable, StorageFull):
            raise
        except Exception:  # noqa: BLE001 - a defect that one schedule meets must not keep the others from their time
            _log.exception("schedule_failed", schedule=schedule.id)
    return fired


def keep_ticking(db: Database, *, stop: threading.Event, tick_s: float = TICK_S) -> None:
    """Tick until `stop` is set."""
    while not stop.wait(tick_s):
        try:
            tick(db)
        except (Unavailable, StorageFull) as exc:  # a database that restarts: what is due stays due
            _log.warning("tick_failed", code=exc.code)
        except Exception:  # noqa: BLE001 - whatever it is, the next tick must come
            _log.exception("tick_failed")


def _fire(db: Database, schedule: Schedule, now: datetime) -> list[Fired]:
    """Plan before the write lock is taken: a long downtime of an hourly schedule is thousands of fire times."""
    try:
        recurrence = parse_recurrence(schedule.recurrence, timezone=schedule.timezone)
        plan = plan_fires(recurrence, schedule.next_at, now, catch_up=schedule.catch_up, limit=schedule.catch_up_limit)
    except Refused as exc:  # zone rules that were updated may have lost a zone; others must not wait for this one
        _pause_broken(db, schedule, exc.message)
        return []
    with db.transaction() as session:
        if not _take(session, schedule, next_at=plan.next_at):
            return []  # another process did it, or somebody changed the schedule: the next tick sees what it is now
        known = _find_known(session, schedule, plan)
        fired = [_create_job(session, schedule, at) for at in plan.runs if at not in known]
        _write_down(session, schedule, plan, fired, known)
    for one in fired:
        _log.info("schedule_fired", schedule=schedule.id, fire_at=one.fire_at.isoformat(), job_id=one.job_id)
    return fired


def _take(session: Session, schedule: Schedule, **values: object) -> bool:
    """Change a schedule if it is still what was seen; its row stays locked until the transaction ends."""
    statement = (
        update(Row)
        .where(
            Row.id == schedule.id,
            Row.version == schedule.version,
            Row.next_at == schedule.next_at,
            Row.paused_at.is_(None),
        )
        .values(**values)
        .returning(Row.id)
        .execution_options(synchronize_session=False)
    )
    return session.scalars(statement).one_or_none() is not None


def _find_known(session: Session, schedule: Schedule, plan: Plan) -> frozenset[datetime]:
    """Return the fire times that were seen to before: a clock set back and a change of the schedule can repeat them."""
    planned = plan.runs if plan.missed_at is None else (plan.missed_at,)
    fire_at = tables.ScheduleFire.fire_at
    statement = select(fire_at).where(
        tables.ScheduleFire.schedule_id == schedule.id, fire_at >= planned[0], fire_at <= planned[-1]
    )
    return frozenset(session.scalars(statement))


def _create_job(session: Session, schedule: Schedule, fire_at: datetime) -> Fired:
    occasion = {
        "id": schedule.id,
        "name": schedule.name,
        "author": schedule.author,
        "fire_at": fire_at.isoformat(),
    }
    job_id = enqueue(
        session,
        kind=schedule.kind,
        project_id=schedule.project_id,
        subject_id=schedule.id,
        payload={**schedule.payload, "schedule": occasion},
    )
    return Fired(schedule_id=schedule.id, fire_at=fire_at, job_id=job_id)


def _write_down(
    session: Session, schedule: Schedule, plan: Plan, fired: list[Fired], known: frozenset[datetime]
) -> None:
    rows: list[tuple[datetime, str | None]] = [(one.fire_at, one.job_id) for one in fired]
    if plan.missed_at is not None and plan.missed_at not in known:
        rows = [(plan.missed_at, None)]
    for number, (fire_at, job_id) in enumerate(rows):
        session.add(
            tables.ScheduleFire(
                id=new_id("fir"),
                schedule_id=schedule.id,
                fire_at=fire_at,
                job_id=job_id,
                skipped=0 if number else plan.skipped,  # those left out came before all that were not
            )
        )
    session.flush()


def _pause_broken(db: Database, schedule: Schedule, reason: str) -> None:
    with db.transaction() as session:
        _take(session, schedule, paused_at=database_now(), paused_reason=reason, version=Row.version + 1)
    _log.error("schedule_paused", schedule=schedule.id, reason=reason)


def create_schedule(
    session: Session, *, project_id: str, name: str, author: str, wishes: ScheduleWishes, now: datetime
) -> Schedule:
    """Create a schedule; its first fire time is the first one after `now`.

    Raises:
        Refused: The name or the catch-up limit cannot be, or the project has too many schedules.
        AlreadyExists: The project has one of this name.
    """
    _check(name, wishes)
    if _find_row(session, project_id, name) is not None:
        raise AlreadyExists(f"there is already a schedule {name!r}", code="schedule_exists")
    count = session.scalar(select(func.count()).select_from(Row).where(Row.project_id == project_id)) or 0
    if count >= SCHEDULES_LIMIT:
        raise Refused(f"a project has at most {SCHEDULES_LIMIT} schedules; delete one first", code="too_many_schedules")
    row = Row(id=new_id("sch"), project_id=project_id, name=name)
    _set(row, wishes, author, now)
    session.add(row)
    session.flush()
    return _reload(session, row)


def replace_schedule(
    session: Session, *, project_id: str, name: str, author: str, wishes: ScheduleWishes, now: datetime
) -> Schedule:
    """Make a schedule what is wished; its next fire time is the first one after `now`, what was missed is forgotten.

    Raises:
        Refused: The catch-up limit cannot be.
        NotFound: The project has none of this name.
    """
    _check(name, wishes)
    row = _get_row(session, project_id, name, lock=True)
    _set(row, wishes, author, now)
    row.version += 1
    return _reload(session, row)


def pause_schedule(session: Session, *, project_id: str, name: str) -> Schedule:
    """Let a schedule rest until it is resumed; one that rests stays as it is.

    Raises:
        NotFound: The project has none of this name.
    """
    row = _get_row(session, project_id, name, lock=True)
    if row.paused_at is None:
        row.paused_at = database_now()  # SQL: the flush replaces it by its value
        row.version += 1
    return _reload(session, row)


def resume_schedule(session: Session, *, project_id: str, name: str, now: datetime) -> Schedule:
    """Let a paused schedule go on with the first fire time after `now`: what was missed was missed on purpose.

    Raises:
        NotFound: The project has none of this name.
        Refused: Its rule cannot be understood any more.
    """
    row = _get_row(session, project_id, name, lock=True)
    if row.paused_at is not None:
        row.next_at = parse_recurrence(row.recurrence, timezone=row.timezone).next_after(now)
        row.paused_at = row.paused_reason = None
        row.version += 1
    return _reload(session, row)


def delete_schedule(session: Session, *, project_id: str, name: str) -> None:
    """Delete a schedule and its history; jobs that it created go on.

    Raises:
        NotFound: The project has none of this name.
    """
    session.delete(_get_row(session, project_id, name))
    session.flush()


def get_schedule(session: Session, *, project_id: str, name: str) -> Schedule:
    """Return a schedule.

    Raises:
        NotFound: The project has none of this name.
    """
    return _view(_get_row(session, project_id, name))


def find_schedules(session: Session, *, project_id: str, kind: str) -> list[Schedule]:
    """Return a project's schedules of one kind by name."""
    statement = select(Row).where(Row.project_id == project_id, Row.kind == kind).order_by(Row.name)
    return [_view(row) for row in session.scalars(statement)]


def _check(name: str, wishes: ScheduleWishes) -> None:
    problem = find_name_problem(name)
    if problem is not None:
        raise Refused(f"the name of a schedule {problem}", code="name_refused")
    if not 1 <= wishes.catch_up_limit <= CATCH_UP_LIMIT:
        raise Refused(
            f"catch_up_limit must be 1 to {CATCH_UP_LIMIT}, not {wishes.catch_up_limit}", code="catch_up_refused"
        )


def _set(row: Row, wishes: ScheduleWishes, author: str, now: datetime) -> None:
    row.kind = wishes.kind
    row.payload = dict(wishes.payload)
    row.recurrence = wishes.recurrence.text
    row.timezone = wishes.recurrence.timezone
    row.catch_up = wishes.catch_up.value
    row.catch_up_limit = wishes.catch_up_limit
    row.next_at = wishes.recurrence.next_after(now)
    row.author = author
    row.updated_at = now


def _find_row(session: Session, project_id: str, name: str, *, lock: bool = False) -> Row | None:
    if find_name_problem(name) is not None:  # some text would make a driver fail
        return None
    statement = select(Row).where(Row.project_id == project_id, Row.name == name)
    return session.scalars(statement.with_for_update() if lock else statement).one_or_none()


def _get_row(session: Session, project_id: str, name: str, *, lock: bool = False) -> Row:
    row = _find_row(session, project_id, name, lock=lock)
    if row is None:
        shown = name[: tables.NAME_CHARACTERS].encode(errors="replace").decode()
        raise NotFound(f"there is no schedule {shown!r}", code="schedule_not_found")
    return row


def _reload(session: Session, row: Row) -> Schedule:
    session.flush()
    session.refresh(row)
    return _view(row)


def _view(row: Row) -> Schedule:
    return Schedule(
        id=row.id,
        project_id=row.project_id,
        name=row.name,
        kind=row.kind,
        payload=row.payload,
        recurrence=row.recurrence,
        timezone=row.timezone,
        catch_up=CatchUp(row.catch_up),
        catch_up_limit=row.catch_up_limit,
        next_at=row.next_at,
        paused_at=row.paused_at,
        paused_reason=row.paused_reason,
        author=row.author,
        version=row.version,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
