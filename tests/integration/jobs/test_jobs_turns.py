"""Ceilings over all workers, and projects that take turns."""

import threading
from collections import Counter

import pytest
from sqlalchemy import func, select

from gaugehouse.database import Database, tables
from gaugehouse.errors import Throttled
from gaugehouse.jobs import Ceilings, claim, enqueue, finish, refuse_too_many_waiting, request_cancel

KIND = "report"


@pytest.fixture
def projects(database) -> list[str]:
    """Three projects."""
    ids = [f"prj_{name}" for name in "abc"]
    with database.transaction() as session:
        session.add_all(tables.Project(id=one, slug=one[-1]) for one in ids)
    return ids


def _enqueue(database: Database, project_id: str, count=1, **options) -> list[str]:
    with database.transaction() as session:
        return [
            enqueue(session, kind=KIND, project_id=project_id, subject_id=f"rep_{n}", payload={}, **options)
            for n in range(count)
        ]


def _claim(database: Database, ceilings: Ceilings, worker="w1"):
    return claim(database, worker=worker, kinds={KIND}, lease_s=60.0, ceilings=ceilings)


def _finish(database: Database, job) -> None:
    with database.transaction() as session:
        finish(session, job, {})


def _running(database: Database) -> Counter:
    statement = (
        select(tables.Job.project_id, func.count())
        .where(tables.Job.status == "running")
        .group_by(tables.Job.project_id)
    )
    with database.reading() as session:
        return Counter(dict(session.execute(statement).all()))


def test_no_more_jobs_run_than_all_may_and_one_project_may(database, projects):
    for project in projects:
        _enqueue(database, project, 5)
    ceilings = Ceilings(running=5, running_per_project=2)
    held = [_claim(database, ceilings) for _ in range(5)]
    assert _claim(database, ceilings) is None
    assert sorted(_running(database).values()) == [1, 2, 2]
    _finish(database, held[0])
    assert _claim(database, ceilings) is not None
    assert _claim(database, ceilings) is None


def test_a_project_at_its_ceiling_leaves_workers_to_others(database, projects):
    first, second, _ = projects
    _enqueue(database, first, 9)
    ceilings = Ceilings(running_per_project=2)
    assert [_claim(database, ceilings).project_id for _ in range(2)] == [first, first]
    assert _claim(database, ceilings) is None
    _enqueue(database, second)
    assert _claim(database, ceilings).project_id == second


def test_500_waiting_jobs_of_one_project_keep_no_other_waiting(database, projects):
    first, second, third = projects
    _enqueue(database, first, 500)
    ceilings = Ceilings(running=1, running_per_project=1)
    served = []
    for turn in range(9):
        if turn == 2:
            _enqueue(database, second, 3)
            _enqueue(database, third, 1)
        job = _claim(database, ceilings)
        served.append(job.project_id)
        _finish(database, job)
    assert served == [first, first, second, third, first, second, first, second, first]


def test_of_one_project_the_oldest_job_is_next_and_a_smaller_priority_before_it(database, projects):
    oldest, later = _enqueue(database, projects[0], 1), _enqueue(database, projects[0], 1)
    [urgent] = _enqueue(database, projects[0], 1, priority=-1)
    assert [_claim(database, Ceilings()).id for _ in range(3)] == [urgent, *oldest, *later]


@pytest.mark.parametrize("ceilings", [Ceilings(running=3, running_per_project=2), Ceilings(running_per_project=1)])
def test_many_workers_never_exceed_the_ceilings_and_leave_no_job_behind(database, projects, ceilings):
    jobs = [job for project in projects for job in _enqueue(database, project, 8)]
    others = Database.open(database.engine.url.render_as_string(hide_password=False))  # as another process has one
    seen, done, lock, failures = [], [], threading.Lock(), []

    def work(name: str, own: Database) -> None:
        try:
            while len(done) < len(jobs):
                job = _claim(own, ceilings, name)
                if job is None:
                    continue
                running = _running(own)
                _finish(own, job)
                with lock:
                    seen.append(running)
                    done.append(job.id)
        except BaseException as exc:
            failures.append(exc)
            raise

    threads = [
        threading.Thread(target=work, args=(f"w{n}", database if n % 2 else others), daemon=True) for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    others.dispose()
    assert not failures
    assert sorted(done) == sorted(jobs)
    assert max(max(one.values()) for one in seen) <= ceilings.running_per_project
    assert max(one.total() for one in seen) <= (ceilings.running or len(projects))


def test_a_project_that_has_enough_waiting_is_told_so(database, projects):
    first, second, _ = projects
    waiting = _enqueue(database, first, 3)

    def ask(project_id: str) -> None:
        with database.transaction() as session:
            refuse_too_many_waiting(session, kind=KIND, project_id=project_id, limit=3, what="reports")

    with pytest.raises(Throttled, match=r"3 reports .* limit is 3") as refused:
        ask(first)
    assert refused.value.code == "too_many_waiting"
    ask(second)
    with database.transaction() as session:
        request_cancel(session, waiting[0])
    ask(first)
