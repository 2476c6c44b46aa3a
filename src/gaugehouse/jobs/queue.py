"""The queue: one table, one UPDATE per step.

```
queued --claim--> running --finish--> done
  ^                 | fail(retry), lease ran out, release
  +-----------------+
                    +--fail, attempts used up--> failed
queued or running --request_cancel--> cancelled
```

Every write of a worker names (id, worker, attempts) and expects `running`: after its lease was given away, a worker
that wakes up again changes nothing and learns that it lost the job.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, ScalarSelect, and_, case, or_, select, tuple_, update
from sqlalchemy.orm import Session

from gaugehouse.database import Database, database_now, new_id, tables
from gaugehouse.errors import NotFound
from gaugehouse.jobs.control import JobCancelled, JobLost, Progress
from gaugehouse.jobs.turns import Ceilings, choose_next, is_due, take_turn

ATTEMPTS_LIMIT = 5
RETRY_DELAY_S = 2.0  # doubled with each attempt: 2, 4, 8, 16 s
MAX_REASON_CHARACTERS = 1000
CANCELLED_REASON = "cancelled on request"
CANCELLED_CODE, LEASE_LOST_CODE, DEFECT_CODE = "cancelled", "worker_lost", "internal_error"
LEASE_LOST_REASON = f"given up after {ATTEMPTS_LIMIT} attempts: the worker was lost each time"
CANCELLED = {"reason": CANCELLED_REASON, "reason_code": CANCELLED_CODE}
NO_PROGRESS: dict[str, Any] = {"phase": "", "rows_read": None, "rows_total": None, "estimated_end_at": None}

Row = tables.Job


class JobStatus(StrEnum):
    """Where a job is. done, failed and cancelled are final."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as its worker holds it: `worker` and `attempts` are the fence."""

    id: str
    kind: str
    project_id: str | None
    subject_id: str
    payload: dict[str, Any]
    worker: str
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """A job as others see it."""

    id: str
    kind: str
    project_id: str | None
    subject_id: str
    status: JobStatus
    attempts: int
    cancel_requested: bool
    progress_percent: float
    doing: str
    phase: str
    rows_read: int | None
    rows_total: int | None
    estimated_end_at: datetime | None
    reason: str | None
    reason_code: str | None
    result: dict[str, Any] | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """What a heartbeat learned about the jobs it named: which are no longer ours, which shall stop."""

    lost: frozenset[tuple[str, int]]
    cancel_requested: frozenset[tuple[str, int]]


EndCallback = Callable[[Session, JobView], None]
"""Told, inside the same transaction, that the queue itself ended a job as failed or cancelled."""


def enqueue(  # noqa: PLR0913 - what a job is
    session: Session,
    *,
    kind: str,
    project_id: str | None,
    subject_id: str,
    payload: Mapping[str, Any],
    priority: int = 0,
    delay_s: float = 0.0,
) -> str:
    """Add a job in the caller's transaction and return its id; a smaller priority runs earlier, none before its delay.

    Args:
        session: An open transaction.
        kind: Which handler runs it.
        project_id: Whose it is.
        subject_id: What it is about.
        payload: For the handler, JSON-able.
        priority: Smaller runs earlier.
        delay_s: From now. [s]
    """
    job_id = new_id("job")
    session.add(
        Row(
            id=job_id,
            kind=kind,
            project_id=project_id,
            subject_id=subject_id,
            payload=dict(payload),
            priority=priority,
            status=JobStatus.QUEUED.value,
            attempts_limit=ATTEMPTS_LIMIT,
            run_at=database_now(delay_s),
        )
    )
    session.flush()
    return job_id


def hasten(session: Session, job_id: str) -> None:
    """Let a job that waits for its time run now."""
    statement = update(Row).where(Row.id == job_id, Row.status == JobStatus.QUEUED).values(run_at=database_now())
    session.execute(statement.execution_options(synchronize_session=False))


def claim(
    db: Database,
    *,
    worker: str,
    kinds: Collection[str],
    lease_s: float,
    on_end: EndCallback | None = None,
    ceilings: Ceilings | None = None,
) -> Job | None:
    """Take the next job that is due, or None.

    Jobs whose lease ran out are put back first, ended as failed when their attempts are used up, or as cancelled
    when that was asked for.

    Args:
        db: The database.
        worker: Name of the claiming worker, unique among all processes.
        kinds: Which kinds of jobs it can run.
        lease_s: How long the job is ours without a heartbeat. [s]
        on_end: Called for jobs that end here.
        ceilings: How many jobs of these kinds may run at once, over all workers, which all must say the same; projects
            take turns then. None: the oldest is next, whoever's it is.
    """
    if not _is_anything_due(db, kinds, ceilings):  # an idle worker polls: it must not take SQLite's lock each time
        return None
    with db.transaction() as session:
        if ceilings is not None:
            take_turn(session)
        _end_or_requeue_expired(session, kinds, on_end)
        next_id = _find_oldest(kinds) if ceilings is None else choose_next(session, kinds, ceilings)
        if next_id is None:
            return None
        statement = (
            update(Row)
            .where(Row.id == next_id, Row.status == JobStatus.QUEUED)
            .values(
                status=JobStatus.RUNNING.value,
                worker=worker,
                attempts=Row.attempts + 1,
                lease_until=database_now(lease_s),
                claimed_at=database_now(),
                started_at=case((Row.started_at.is_(None), database_now()), else_=Row.started_at),
                progress_percent=0.0,
                doing="",
                reason=None,
                reason_code=None,
                **NO_PROGRESS,
            )
            .returning(Row.id, Row.kind, Row.project_id, Row.subject_id, Row.payload, Row.attempts)
            .execution_options(synchronize_session=False)
        )
        found = session.execute(statement).one_or_none()
    if found is None:
        return None
    job_id, kind, project_id, subject_id, payload, attempts = found
    return Job(
        id=job_id,
        kind=kind,
        project_id=project_id,
        subject_id=subject_id,
        payload=payload,
        worker=worker,
        attempts=attempts,
    )


def find_cancelled(db: Database, jobs: Sequence[Job]) -> frozenset[tuple[str, int]]:
    """Return which of these jobs shall stop: what `heartbeat` says too, without a write."""
    held = frozenset((job.id, job.attempts) for job in jobs)
    if not held:
        return frozenset()
    ids = sorted({job_id for job_id, _ in held})
    statement = select(Row.id, Row.attempts).where(Row.id.in_(ids), Row.cancel_requested)
    with db.reading() as session:
        found = frozenset((job_id, attempts) for job_id, attempts in session.execute(statement))
    return found & held


def heartbeat(db: Database, *, worker: str, jobs: Sequence[Job], lease_s: float) -> Beat:
    """Extend the leases of exactly these jobs and return which of them are lost or shall stop.

    Only jobs that are named can be reported lost: one that was claimed while the heartbeat was under way is not
    among them, whatever the UPDATE saw (2 of 400 jobs were cancelled by a heartbeat that looked afterwards). Nor is
    one lost that its own handler finished in the meantime.
    """
    held = frozenset((job.id, job.attempts) for job in jobs)
    if not held:
        return Beat(lost=frozenset(), cancel_requested=frozenset())
    statement = (
        update(Row)
        .where(tuple_(Row.id, Row.attempts).in_(sorted(held)), Row.worker == worker, Row.status == JobStatus.RUNNING)
        .values(lease_until=database_now(lease_s))
        .returning(Row.id, Row.attempts, Row.cancel_requested)
        .execution_options(synchronize_session=False)
    )
    with db.transaction() as session:
        kept = {(job_id, attempts): cancel for job_id, attempts, cancel in session.execute(statement)}
        lost = held - kept.keys()
        if lost:
            lost -= _find_done(session, worker, lost)
    return Beat(lost=lost, cancel_requested=frozenset(key for key, cancel in kept.items() if cancel))


def set_progress(db: Database, job: Job, progress: Progress) -> None:
    """Say how far a job is and what it is doing.

    Raises:
        JobCancelled: somebody asked to cancel it.
        JobLost: it is no longer ours.
    """
    statement = (
        update(Row)
        .where(_is_ours(job))
        .values(
            progress_percent=min(max(progress.percent, 0.0), 100.0),
            doing=progress.doing,
            phase=progress.phase,
            rows_read=progress.rows_read,
            rows_total=progress.rows_total,
            estimated_end_at=None if progress.remaining_s is None else database_now(progress.remaining_s),
        )
        .returning(Row.cancel_requested)
        .execution_options(synchronize_session=False)
    )
    with db.transaction() as session:
        cancel_requested = session.scalars(statement).one_or_none()
    if cancel_requested is None:
        raise JobLost
    if cancel_requested:
        raise JobCancelled


def finish(session: Session, job: Job, result: Mapping[str, Any]) -> None:
    """End a job as done, inside the transaction that stores what it made: both or neither.

    Raises:
        JobLost: it is no longer ours; let the exception leave the transaction.
    """
    values = {"progress_percent": 100.0, "result": dict(result), "reason": None, "reason_code": None}
    if not _end(session, job, JobStatus.DONE, **values):
        raise JobLost


def fail(  # noqa: PLR0913 - whose job, why, and what then
    db: Database,
    job: Job,
    reason: str,
    *,
    code: str = DEFECT_CODE,
    retry: bool,
    retry_delay_s: float = RETRY_DELAY_S,
    on_end: EndCallback | None = None,
) -> None:
    """Put a job back with a growing delay or, without `retry` or after the last attempt, end it as failed.

    What would be tried again but for somebody's wish to cancel it ends as cancelled. `reason` says why in words, `code`
    for programs.

    Raises:
        JobLost: it is no longer ours.
    """
    delay_s = retry_delay_s * 2 ** (job.attempts - 1)
    requeue = (
        update(Row)
        .where(_is_ours(job), Row.attempts < Row.attempts_limit, Row.cancel_requested.is_(False))
        .values(
            status=JobStatus.QUEUED.value,
            worker=None,
            lease_until=None,
            run_at=database_now(delay_s),
            reason=reason[:MAX_REASON_CHARACTERS],
            reason_code=code,
        )
        .returning(Row.id)
        .execution_options(synchronize_session=False)
    )
    with db.transaction() as session:
        if retry and session.scalars(requeue).one_or_none() is not None:
            return
        is_cancelled = retry and _end(session, job, JobStatus.CANCELLED, Row.cancel_requested.is_(True), **CANCELLED)
        failure = {"reason": reason[:MAX_REASON_CHARACTERS], "reason_code": code}
        if not is_cancelled and not _end(session, job, JobStatus.FAILED, **failure):
            raise JobLost
        _tell(session, job.id, on_end)


def end_cancelled(db: Database, job: Job, *, on_end: EndCallback | None = None) -> None:
    """End a running job as cancelled, after its handler stopped.

    Raises:
        JobLost: it is no longer ours.
    """
    with db.transaction() as session:
        if not _end(session, job, JobStatus.CANCELLED, **CANCELLED):
            raise JobLost
        _tell(session, job.id, on_end)


def is_held(db: Database, job: Job) -> bool:
    """Return whether a job is still running and ours."""
    with db.reading() as session:
        return session.scalar(select(Row.id).where(_is_ours(job))) is not None


def release(db: Database, job: Job, *, on_end: EndCallback | None = None) -> None:
    """Put a job back because its worker stops, at once and without using up an attempt.

    `attempts` still grows, as the fence needs; the limit grows with it. A job that shall be cancelled ends instead.

    Raises:
        JobLost: it is no longer ours.
    """
    statement = (
        update(Row)
        .where(_is_ours(job), Row.cancel_requested.is_(False))
        .values(
            status=JobStatus.QUEUED.value,
            worker=None,
            lease_until=None,
            run_at=database_now(),
            attempts_limit=Row.attempts_limit + 1,
        )
        .returning(Row.id)
        .execution_options(synchronize_session=False)
    )
    with db.transaction() as session:
        if session.scalars(statement).one_or_none() is not None:
            return
        if not _end(session, job, JobStatus.CANCELLED, **CANCELLED):
            raise JobLost
        _tell(session, job.id, on_end)


def request_cancel(session: Session, job_id: str) -> JobStatus:
    """Cancel a queued job now, or ask the worker of a running one to stop; return the status after that.

    A final status is returned as it is.

    Raises:
        NotFound: there is no such job.
    """
    is_queued = Row.status == JobStatus.QUEUED
    # One statement: between two, the job could be put back, and a cancel that found it in neither state be forgotten.
    statement = (
        update(Row)
        .where(Row.id == job_id, Row.status.in_([JobStatus.QUEUED, JobStatus.RUNNING]))
        .values(
            cancel_requested=True,
            status=case((is_queued, JobStatus.CANCELLED.value), else_=Row.status),
            finished_at=case((is_queued, database_now()), else_=Row.finished_at),
            reason=case((is_queued, CANCELLED_REASON), else_=Row.reason),
            reason_code=case((is_queued, CANCELLED_CODE), else_=Row.reason_code),
        )
        .execution_options(synchronize_session=False)
    )
    session.execute(statement)
    return get_job(session, job_id).status


def get_job(session: Session, job_id: str) -> JobView:
    """Return a job as it is now.

    Raises:
        NotFound: there is no such job.
    """
    row = session.scalars(select(Row).where(Row.id == job_id).execution_options(populate_existing=True)).one_or_none()
    if row is None:
        raise NotFound("there is no such job", code="job_not_found")
    return JobView(
        id=row.id,
        kind=row.kind,
        project_id=row.project_id,
        subject_id=row.subject_id,
        status=JobStatus(row.status),
        attempts=row.attempts,
        cancel_requested=row.cancel_requested,
        progress_percent=row.progress_percent,
        doing=row.doing,
        phase=row.phase,
        rows_read=row.rows_read,
        rows_total=row.rows_total,
        estimated_end_at=row.estimated_end_at,
        reason=row.reason,
        reason_code=row.reason_code,
        result=row.result,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )


def _is_ours(job: Job) -> ColumnElement[bool]:
    return and_(
        Row.id == job.id,
        Row.worker == job.worker,
        Row.attempts == job.attempts,
        Row.status == JobStatus.RUNNING,
    )


def _is_expired(kinds: Collection[str]) -> ColumnElement[bool]:
    return and_(Row.status == JobStatus.RUNNING, Row.lease_until < database_now(), Row.kind.in_(sorted(kinds)))


def _find_oldest(kinds: Collection[str]) -> ScalarSelect[str]:
    return (
        select(Row.id)
        .where(is_due(kinds))
        .order_by(Row.priority, Row.created_at, Row.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )


def _is_anything_due(db: Database, kinds: Collection[str], ceilings: Ceilings | None) -> bool:
    with db.reading() as session:
        if ceilings is None:
            return session.scalar(select(Row.id).where(or_(is_due(kinds), _is_expired(kinds))).limit(1)) is not None
        is_expired = session.scalar(select(Row.id).where(_is_expired(kinds)).limit(1)) is not None
        return is_expired or choose_next(session, kinds, ceilings) is not None


def _end_or_requeue_expired(session: Session, kinds: Collection[str], on_end: EndCallback | None) -> None:
    expired = session.scalars(
        select(Row.id).where(_is_expired(kinds)).order_by(Row.id).with_for_update(skip_locked=True)
    ).all()
    if not expired:
        return
    is_over = or_(Row.attempts >= Row.attempts_limit, Row.cancel_requested)
    requeue = (
        update(Row)
        .where(Row.id.in_(expired), Row.status == JobStatus.RUNNING)
        .values(status=JobStatus.QUEUED.value, worker=None, lease_until=None, run_at=database_now())
    )
    end = (
        update(Row)
        .where(Row.id.in_(expired), is_over)
        .values(
            status=case((Row.cancel_requested, JobStatus.CANCELLED.value), else_=JobStatus.FAILED.value),
            reason=case((Row.cancel_requested, CANCELLED_REASON), else_=LEASE_LOST_REASON),
            reason_code=case((Row.cancel_requested, CANCELLED_CODE), else_=LEASE_LOST_CODE),
            finished_at=database_now(),
        )
        .returning(Row.id)
    )
    ended = session.scalars(end.execution_options(synchronize_session=False)).all()
    session.execute(requeue.execution_options(synchronize_session=False))
    for job_id in ended:
        _tell(session, job_id, on_end)


def _end(session: Session, job: Job, status: JobStatus, *conditions: ColumnElement[bool], **values: object) -> bool:
    statement = (
        update(Row)
        .where(_is_ours(job), *conditions)
        .values(status=status.value, finished_at=database_now(), lease_until=None, estimated_end_at=None, **values)
        .returning(Row.id)
        .execution_options(synchronize_session=False)
    )
    return session.scalars(statement).one_or_none() is not None


def _find_done(session: Session, worker: str, keys: Collection[tuple[str, int]]) -> frozenset[tuple[str, int]]:
    statement = select(Row.id, Row.attempts).where(
        tuple_(Row.id, Row.attempts).in_(sorted(keys)), Row.worker == worker, Row.status == JobStatus.DONE
    )
    return frozenset((job_id, attempts) for job_id, attempts in session.execute(statement))


def _tell(session: Session, job_id: str, on_end: EndCallback | None) -> None:
    if on_end is not None:
        on_end(session, get_job(session, job_id))
