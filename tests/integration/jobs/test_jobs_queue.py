from contextlib import contextmanager
from datetime import timedelta

import pytest
from sqlalchemy import event, select, update

from gaugehouse.database import Database, database_now, tables
from gaugehouse.errors import NotFound
from gaugehouse.jobs import (
    Job,
    JobCancelled,
    JobLost,
    JobStatus,
    Progress,
    claim,
    enqueue,
    fail,
    finish,
    get_job,
    heartbeat,
    release,
    request_cancel,
    set_progress,
)

KINDS = {"report"}


def _enqueue(database: Database, **changes) -> str:
    with database.transaction() as session:
        return enqueue(
            session, **({"kind": "report", "project_id": None, "subject_id": "rep_1", "payload": {"n": 1}} | changes)
        )


def _claim(database: Database, worker="w1", **changes) -> Job | None:
    return claim(database, worker=worker, kinds=KINDS, lease_s=30.0, **changes)


def _see(database: Database, job_id: str):
    with database.reading() as session:
        return get_job(session, job_id)


def _let_lease_run_out(database: Database, job_id: str) -> None:
    with database.transaction() as session:
        session.execute(
            update(tables.Job)
            .where(tables.Job.id == job_id)
            .values(lease_until=database_now(-1.0), run_at=database_now())
        )


def _make_due(database: Database) -> None:
    with database.transaction() as session:
        session.execute(update(tables.Job).values(run_at=database_now()))


def _column(database: Database, job_id: str, column):
    with database.reading() as session:
        return session.scalar(select(column).where(tables.Job.id == job_id))


def test_a_job_is_claimed_with_what_was_enqueued(database):
    job_id = _enqueue(database)
    job = _claim(database)
    assert job == Job(
        id=job_id, kind="report", project_id=None, subject_id="rep_1", payload={"n": 1}, worker="w1", attempts=1
    )
    seen = _see(database, job_id)
    assert seen.status is JobStatus.RUNNING
    assert seen.started_at >= seen.created_at


def test_a_job_of_a_transaction_that_failed_does_not_exist(database):
    with pytest.raises(KeyError), database.transaction() as session:  # noqa: PT012 - the exception must pass the block
        enqueue(session, kind="report", project_id=None, subject_id="rep_1", payload={})
        raise KeyError
    assert _claim(database) is None


def test_a_claimed_job_is_not_claimed_again(database):
    _enqueue(database)
    assert _claim(database, "w1") is not None
    assert _claim(database, "w2") is None


def test_jobs_of_other_kinds_are_left_alone(database):
    _enqueue(database, kind="export")
    assert _claim(database) is None


def test_a_smaller_priority_runs_first_then_the_older(database):
    last, first, second = (_enqueue(database, priority=priority) for priority in (5, -1, 0))
    third = _enqueue(database, priority=0)
    assert [_claim(database).id for _ in range(4)] == [first, second, third, last]


def test_the_lease_is_counted_by_the_databases_clock(database):
    job_id = _enqueue(database)
    _claim(database)
    with database.reading() as session:
        now = database.now(session)
    lease_until = _column(database, job_id, tables.Job.lease_until)
    assert timedelta(seconds=28) < lease_until - now <= timedelta(seconds=30)


def test_progress_is_seen(database):
    job_id = _enqueue(database)
    set_progress(database, _claim(database), Progress(percent=42.5, doing="computing facts"))
    seen = _see(database, job_id)
    assert (seen.progress_percent, seen.doing) == (42.5, "computing facts")


def test_finishing_stores_the_result_with_what_the_job_made(database):
    job_id = _enqueue(database)
    job = _claim(database)
    with database.transaction() as session:
        session.add(tables.Setting(name="made", value={}))
        finish(session, job, {"rows": 7})
    seen = _see(database, job_id)
    assert (seen.status, seen.result, seen.progress_percent) == (JobStatus.DONE, {"rows": 7}, 100.0)
    assert seen.finished_at >= seen.started_at


def _write_as_loser(database: Database, job: Job) -> list[str]:
    """Try every write of a worker; return those that were not refused."""

    @contextmanager
    def refused(name):
        try:
            yield
        except JobLost:
            return
        accepted.append(name)

    accepted: list[str] = []
    with refused("progress"):
        set_progress(database, job, Progress(percent=10, doing="late"))
    with refused("finish"), database.transaction() as session:
        session.add(tables.Setting(name="late", value={}))
        finish(session, job, {"late": True})
    with refused("fail"):
        fail(database, job, "late", retry=False)
    with refused("retry"):
        fail(database, job, "late", retry=True)
    with refused("release"):
        release(database, job)
    if heartbeat(database, worker=job.worker, jobs=[job], lease_s=30.0).lost != {(job.id, job.attempts)}:
        accepted.append("heartbeat")
    return accepted


@pytest.mark.parametrize("next_worker", ["w2", "w1"])
def test_a_worker_that_lost_its_lease_can_write_nothing(database, next_worker):
    job_id = _enqueue(database)
    loser = _claim(database, "w1")
    _let_lease_run_out(database, job_id)
    winner = _claim(database, next_worker)  # a worker of the same name is told apart by its attempt
    assert winner.attempts == 2
    assert _write_as_loser(database, loser) == []
    assert _see(database, job_id).status is JobStatus.RUNNING
    with database.transaction() as session:
        finish(session, winner, {"by": "winner"})
    assert _write_as_loser(database, loser) == []
    assert _see(database, job_id).result == {"by": "winner"}
    with database.reading() as session:
        assert session.scalars(select(tables.Setting.name)).all() == []


def test_a_heartbeat_keeps_the_lease(database):
    job_id = _enqueue(database)
    job = _claim(database)
    _let_lease_run_out(database, job_id)
    beat = heartbeat(database, worker="w1", jobs=[job], lease_s=30.0)
    assert (beat.lost, beat.cancel_requested) == (frozenset(), frozenset())
    assert _claim(database, "w2") is None


def test_a_heartbeat_reports_only_jobs_it_was_asked_about(database):
    jobs = []
    for _ in range(3):
        _enqueue(database)
        jobs.append(_claim(database))
    beat = heartbeat(database, worker="w1", jobs=jobs[:2], lease_s=30.0)
    assert beat.lost == frozenset()
    assert heartbeat(database, worker="w1", jobs=[], lease_s=30.0).lost == frozenset()


def test_a_job_finished_during_a_heartbeat_does_not_look_lost(database):
    _enqueue(database)
    job = _claim(database)
    with database.transaction() as session:
        finish(session, job, {})
    assert heartbeat(database, worker="w1", jobs=[job], lease_s=30.0).lost == frozenset()
    assert heartbeat(database, worker="w2", jobs=[job], lease_s=30.0).lost == {(job.id, 1)}


def test_a_lost_worker_is_replaced_until_the_attempts_are_used_up(database):
    job_id, ended = _enqueue(database), []

    def on_end(session, view):
        session.add(tables.Setting(name="told", value={"status": view.status, "reason": view.reason}))
        ended.append(view.id)

    for attempt in range(1, 6):
        job = _claim(database, f"w{attempt}", on_end=on_end)
        assert job.attempts == attempt
        _let_lease_run_out(database, job_id)
    assert _claim(database, on_end=on_end) is None
    seen = _see(database, job_id)
    assert seen.status is JobStatus.FAILED
    assert "5 attempts" in seen.reason
    assert seen.finished_at is not None
    assert ended == [job_id]
    with database.reading() as session:
        assert session.scalars(select(tables.Setting.value)).one() == {"status": "failed", "reason": seen.reason}


def test_a_failed_attempt_waits_longer_each_time_then_the_job_has_failed(database):
    job_id, delays_s = _enqueue(database), []
    for _ in range(4):
        fail(database, _claim(database), "the lake is not ready", retry=True, retry_delay_s=2.0)
        assert _claim(database) is None  # not due yet
        with database.reading() as session:
            delays_s.append((_column(database, job_id, tables.Job.run_at) - database.now(session)).total_seconds())
        assert _see(database, job_id).status is JobStatus.QUEUED
        _make_due(database)
    fail(database, _claim(database), "the lake is not ready", retry=True)
    assert delays_s == pytest.approx([2, 4, 8, 16], abs=1)
    seen = _see(database, job_id)
    assert (seen.status, seen.reason, seen.attempts) == (JobStatus.FAILED, "the lake is not ready", 5)


def test_a_failure_that_a_retry_cannot_heal_is_final(database):
    job_id = _enqueue(database)
    fail(database, _claim(database), "the period has no end", retry=False)
    assert (_see(database, job_id).status, _see(database, job_id).attempts) == (JobStatus.FAILED, 1)


def test_putting_a_job_back_uses_up_no_attempt(database):
    job_id = _enqueue(database)
    for _ in range(10):
        release(database, _claim(database))
    for _ in range(4):
        fail(database, _claim(database), "busy", retry=True)
        _make_due(database)
    assert _see(database, job_id).status is JobStatus.QUEUED
    fail(database, _claim(database), "busy", retry=True)
    assert _see(database, job_id).status is JobStatus.FAILED


def test_a_queued_job_is_cancelled_at_once(database):
    job_id = _enqueue(database)
    with database.transaction() as session:
        assert request_cancel(session, job_id) is JobStatus.CANCELLED
    assert _claim(database) is None
    assert _see(database, job_id).finished_at is not None


def test_a_running_job_learns_that_it_is_cancelled(database):
    job_id = _enqueue(database)
    job = _claim(database)
    with database.transaction() as session:
        assert request_cancel(session, job_id) is JobStatus.RUNNING
    assert heartbeat(database, worker="w1", jobs=[job], lease_s=30.0).cancel_requested == {(job_id, 1)}
    with pytest.raises(JobCancelled):
        set_progress(database, job, Progress(percent=10, doing="still going"))


def test_a_cancelled_job_whose_worker_died_ends_as_cancelled(database):
    job_id = _enqueue(database)
    _claim(database)
    with database.transaction() as session:
        request_cancel(session, job_id)
    _let_lease_run_out(database, job_id)
    assert _claim(database, "w2") is None
    assert _see(database, job_id).status is JobStatus.CANCELLED


def _cancel(database: Database, job_id: str) -> None:
    with database.transaction() as session:
        request_cancel(session, job_id)


@pytest.mark.parametrize(
    "leave",
    [release, lambda database, job, on_end: fail(database, job, "busy", retry=True, on_end=on_end)],
    ids=["release", "fail"],
)
def test_a_job_that_shall_be_cancelled_is_never_put_back(database, leave):
    job_id, told = _enqueue(database), []
    job = _claim(database)
    _cancel(database, job_id)
    leave(database, job, on_end=lambda _session, view: told.append((view.id, view.status)))
    seen = _see(database, job_id)
    assert (seen.status, seen.reason) == (JobStatus.CANCELLED, "cancelled on request")
    assert seen.finished_at is not None
    assert told == [(job_id, JobStatus.CANCELLED)]
    with pytest.raises(JobLost):
        leave(database, job, on_end=None)


def test_a_job_that_failed_for_good_says_so_although_it_shall_be_cancelled(database):
    job_id = _enqueue(database)
    job = _claim(database)
    _cancel(database, job_id)
    fail(database, job, "the period has no end", retry=False)
    assert (_see(database, job_id).status, _see(database, job_id).reason) == (
        JobStatus.FAILED,
        "the period has no end",
    )


def test_a_cancel_is_one_statement_so_that_no_job_slips_through_between_two(database):
    job_id = _enqueue(database)
    statements = []
    event.listen(database.engine, "before_cursor_execute", lambda _c, _cur, sql, *_: statements.append(sql.split()[0]))
    _cancel(database, job_id)
    assert statements.count("UPDATE") == 1


def test_cancelling_what_has_ended_changes_nothing(database):
    job_id = _enqueue(database)
    job = _claim(database)
    with database.transaction() as session:
        finish(session, job, {})
    with database.transaction() as session:
        assert request_cancel(session, job_id) is JobStatus.DONE


def test_cancelling_and_looking_at_no_job_is_not_found(database):
    with database.transaction() as session, pytest.raises(NotFound):
        request_cancel(session, "job_none")
    with database.reading() as session, pytest.raises(NotFound):
        get_job(session, "job_none")
