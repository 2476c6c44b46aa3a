import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import func, select

from children import run_counting_worker, run_slow_worker
from gaugehouse.database import Database, tables
from gaugehouse.errors import Refused, StorageFull, Unavailable
from gaugehouse.jobs import JobStatus, claim, enqueue, finish, get_job, request_cancel, run_worker
from gaugehouse.jobs.control import Control
from gaugehouse.jobs.worker import _Worker

DEADLINE_S = 60.0


def _enqueue(database: Database, *, kind="work", count=1) -> list[str]:
    with database.transaction() as session:
        return [
            enqueue(session, kind=kind, project_id=None, subject_id=f"rep_{number}", payload={"n": number})
            for number in range(count)
        ]


def _see(database: Database, job_id: str):
    with database.reading() as session:
        return get_job(session, job_id)


def _wait_until(is_true) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not is_true():
        assert time.monotonic() < deadline_s, "waited for too long"
        time.sleep(0.01)


@contextmanager
def _working(database: Database, handlers, **options):
    """Run a worker in threads while the block runs."""
    stop = threading.Event()
    settings = {"worker": "w1", "lease_s": 1.0, "poll_s": 0.01, "retry_delay_s": 0.01} | options
    thread = threading.Thread(target=run_worker, args=(database, handlers), kwargs={**settings, "stop": stop})
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


def _wait_for_end(database: Database, job_id: str):
    _wait_until(lambda: _see(database, job_id).finished_at is not None)
    return _see(database, job_id)


def test_a_handler_that_just_returns_has_its_job_done(database):
    [job_id] = _enqueue(database)
    with _working(database, {"work": lambda _job, _control: None}):
        seen = _wait_for_end(database, job_id)
    assert (seen.status, seen.result) == (JobStatus.DONE, {})


def test_a_handlers_own_finish_stands(database):
    [job_id] = _enqueue(database)

    def handle(job, control):
        control.progress(30, "reading")
        with database.transaction() as session:
            finish(session, job, {"rows": job.payload["n"]})

    with _working(database, {"work": handle}):
        seen = _wait_for_end(database, job_id)
    assert (seen.status, seen.result) == (JobStatus.DONE, {"rows": 0})


def test_a_job_longer_than_its_lease_is_kept_by_the_heartbeat(database):
    [job_id] = _enqueue(database)
    slow, quick = {"work": lambda _job, _control: time.sleep(1.5)}, {"work": lambda _job, _control: None}
    with _working(database, slow, lease_s=0.6):
        _wait_until(lambda: _see(database, job_id).status is JobStatus.RUNNING)
        with _working(database, quick, worker="w2", lease_s=0.6):
            seen = _wait_for_end(database, job_id)
    assert (seen.status, seen.attempts) == (JobStatus.DONE, 1)


def test_a_transient_failure_is_tried_5_times_and_then_has_its_reason(database):
    [job_id], attempts, told = _enqueue(database), [], []

    def handle(job, _control):
        attempts.append(job.attempts)
        raise Unavailable("the lake is not ready")

    with _working(database, {"work": handle}, on_end=lambda _session, view: told.append((view.id, view.status))):
        seen = _wait_for_end(database, job_id)
    assert attempts == [1, 2, 3, 4, 5]
    assert (seen.status, seen.reason) == (JobStatus.FAILED, "the lake is not ready")
    assert told == [(job_id, JobStatus.FAILED)]


def test_a_failure_that_heals_is_done_in_the_end(database):
    [job_id] = _enqueue(database)

    def handle(job, _control):
        if job.attempts < 3:
            raise Unavailable("the lake is not ready")

    with _working(database, {"work": handle}):
        seen = _wait_for_end(database, job_id)
    assert (seen.status, seen.attempts, seen.reason) == (JobStatus.DONE, 3, None)


def test_a_refused_job_fails_at_once(database):
    [job_id] = _enqueue(database)

    def handle(_job, _control):
        raise Refused("the period has no end")

    with _working(database, {"work": handle}):
        seen = _wait_for_end(database, job_id)
    assert (seen.status, seen.attempts, seen.reason) == (JobStatus.FAILED, 1, "the period has no end")


def test_a_defect_does_not_end_the_worker_and_its_text_stays_in_the_log(database):
    broken, fine = _enqueue(database, count=2)

    def handle(job, _control):
        if job.id == broken:
            raise FileNotFoundError("/secret/place")

    with _working(database, {"work": handle}):
        assert _wait_for_end(database, fine).status is JobStatus.DONE
        seen = _wait_for_end(database, broken)
    assert (seen.status, seen.attempts, seen.reason) == (JobStatus.FAILED, 5, "internal error (FileNotFoundError)")


def test_cancelling_interrupts_a_running_handler(database):
    [job_id], interrupted, told = _enqueue(database), threading.Event(), []

    def handle(_job, control):
        control.on_cancel(interrupted.set)
        assert interrupted.wait(DEADLINE_S)
        control.check()

    with _working(database, {"work": handle}, lease_s=0.3, on_end=lambda _s, view: told.append(view.status)):
        _wait_until(lambda: _see(database, job_id).status is JobStatus.RUNNING)
        with database.transaction() as session:
            request_cancel(session, job_id)
        seen = _wait_for_end(database, job_id)
    assert (seen.status, seen.attempts) == (JobStatus.CANCELLED, 1)
    assert told == [JobStatus.CANCELLED]


def test_a_vendors_error_after_an_interrupt_counts_as_cancelled(database):
    [job_id] = _enqueue(database)

    def handle(_job, control):
        interrupted = threading.Event()
        control.on_cancel(interrupted.set)
        assert interrupted.wait(DEADLINE_S)
        raise RuntimeError("INTERRUPT Error: Interrupted!")

    with _working(database, {"work": handle}, lease_s=0.3):
        _wait_until(lambda: _see(database, job_id).status is JobStatus.RUNNING)
        with database.transaction() as session:
            request_cancel(session, job_id)
        assert _wait_for_end(database, job_id).status is JobStatus.CANCELLED


def test_a_stopping_worker_puts_its_job_back(database):
    [job_id] = _enqueue(database)

    def handle(_job, control):
        while True:
            control.progress(1, "waiting")
            time.sleep(0.01)

    with _working(database, {"work": handle}, lease_s=30.0):
        _wait_until(lambda: _see(database, job_id).status is JobStatus.RUNNING)
    assert _see(database, job_id).status is JobStatus.QUEUED
    with _working(database, {"work": lambda _job, _control: None}, worker="w2"):
        assert _wait_for_end(database, job_id).status is JobStatus.DONE


class _ClaimsBeforeEachTransaction(Database):
    """A database where something happens just before a transaction: a race, made certain."""

    def __init__(self, database: Database, meanwhile) -> None:
        super().__init__(database.engine)
        self._meanwhile = meanwhile

    @contextmanager
    def transaction(self):
        self._meanwhile()
        with super().transaction() as session:
            yield session


def test_a_job_claimed_during_a_heartbeat_does_not_look_lost(database):
    _enqueue(database, count=2)
    held: dict = {}

    def claim_one_more():
        job = claim(database, worker="w1", kinds={"work"}, lease_s=30.0)
        if job is not None:
            held[job.id, job.attempts] = (job, Control(lambda _progress: None))

    claim_one_more()
    racing = _ClaimsBeforeEachTransaction(database, claim_one_more)
    worker = _Worker(racing, {}, "w1", 30.0, threading.Event(), 0.1, 1.0, None, 1)
    worker._held = held
    worker.beat()
    assert len(held) == 2
    assert [control.cause for _, control in held.values()] == [None, None]


def test_a_defect_outside_a_handler_ends_the_whole_worker(database):
    _enqueue(database)

    def break_down():
        raise ZeroDivisionError

    stop = threading.Event()
    broken = _ClaimsBeforeEachTransaction(database, break_down)
    with pytest.raises(ZeroDivisionError):
        run_worker(broken, {"work": lambda _job, _control: None}, worker="w1", lease_s=1.0, stop=stop, threads=3)
    assert stop.is_set()


@pytest.mark.parametrize("refusal", [Unavailable("away"), StorageFull("full")], ids=["away", "full"])
def test_a_worker_outlives_a_database_that_cannot_write(database, refusal):
    [job_id], refusals = _enqueue(database), iter([refusal] * 3)

    def refuse_3_times():
        for unavailable in refusals:
            raise unavailable

    recovering = _ClaimsBeforeEachTransaction(database, refuse_3_times)
    with _working(recovering, {"work": lambda _job, _control: None}):
        assert _wait_for_end(database, job_id).status is JobStatus.DONE


def test_400_jobs_over_2_processes_of_4_threads_run_once_each(database, database_url, tmp_path):
    job_ids = _enqueue(database, kind="count", count=400)
    spawn = multiprocessing.get_context("spawn")
    stop, files = spawn.Event(), [tmp_path / "a", tmp_path / "b"]
    processes = [
        spawn.Process(target=run_counting_worker, args=(database_url, f"w{file.name}", stop, str(file)))
        for file in files
    ]
    for process in processes:
        process.start()

    def count_done() -> int:
        with database.reading() as session:
            return session.scalar(select(func.count()).where(tables.Job.status == "done"))

    deadline_s = time.monotonic() + 3 * DEADLINE_S
    while count_done() < 400 and time.monotonic() < deadline_s:
        time.sleep(0.1)
    stop.set()
    for process in processes:
        process.join()
    runs = [file.read_text("utf-8").splitlines() for file in files]
    assert Counter(runs[0] + runs[1]) == Counter(job_ids)
    assert min(len(of_one) for of_one in runs) > 0
    with database.reading() as session:
        assert Counter(session.scalars(select(tables.Job.attempts))) == {1: 400}
        assert session.scalar(select(func.count()).select_from(tables.Setting)) == 400


@pytest.fixture
def slow_worker(database, database_url, tmp_path):
    """Another process that holds a job and waits for the file `go`."""
    [job_id] = _enqueue(database, kind="slow")
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=run_slow_worker, args=(database_url, str(tmp_path), 1.0))
    process.start()
    _wait_until((tmp_path / "started").exists)
    yield job_id, process
    if process.is_alive():
        process.kill()
    process.join()


def _run_elsewhere(database: Database, job_id: str) -> None:
    def handle(job, _control):
        with database.transaction() as session:
            session.add(tables.Setting(name="from the other worker", value={}))
            finish(session, job, {"by": "other"})

    with _working(database, {"slow": handle}, worker="other"):
        assert _wait_for_end(database, job_id).result == {"by": "other"}


def test_the_job_of_a_stopped_process_is_run_elsewhere_and_its_late_finish_is_refused(
    database, slow_worker, tmp_path: Path
):
    job_id, process = slow_worker
    os.kill(process.pid, signal.SIGSTOP)
    try:
        _run_elsewhere(database, job_id)
    finally:
        (tmp_path / "go").touch()
        os.kill(process.pid, signal.SIGCONT)
    _wait_until((tmp_path / "outcome").exists)
    process.join()
    assert (tmp_path / "outcome").read_text("utf-8") == "lost"
    assert (_see(database, job_id).result, _see(database, job_id).attempts) == ({"by": "other"}, 2)
    with database.reading() as session:
        assert session.scalars(select(tables.Setting.name)).all() == ["from the other worker"]


def test_the_job_of_a_killed_process_is_run_elsewhere(database, slow_worker):
    job_id, process = slow_worker
    process.kill()
    process.join()
    _run_elsewhere(database, job_id)
    assert _see(database, job_id).status is JobStatus.DONE
