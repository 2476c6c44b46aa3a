"""Workers that die, stand still or find the database locked in the middle of a report: one result, of the same digits."""

import itertools
import json
import os
import random
import signal
import sqlite3
import time
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta

import psutil
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import DBAPIError

from databases import database, database_url, engine_name, migrated_postgres_url, migrated_sqlite_file
from faults.differences import assert_same_result
from faults.walking import PHASES
from forking import fork
from functional.installation import own_environment, wait_until
from gaugehouse.database.engine import BUSY_TIMEOUT_S
from gaugehouse.database.tables import Job, Metric, ReportRevision
from gaugehouse.kpi import CATALOGUE
from gaugehouse.lake import open_snapshot
from gaugehouse.reports import Answer, compute_report, decode_pin, digest_result, encode_pin, read_result
from gaugehouse.reports.result import DIGEST_KEY
from planting import plant

__all__ = ["database", "database_url", "engine_name", "migrated_postgres_url", "migrated_sqlite_file", "plant"]

WORK = "import json, sys; from faults.walking import work; work(**json.loads(sys.argv[1]))"
LEASE_S = 1.0
START = datetime(2026, 3, 1, tzinfo=UTC)
KINDS = {"temperature": "gauge", "parts": "counter", "scrap": "delta", "running": "state"}
LATE = {"job_lost_at_end", "job_stopped_as_lost", "job_done", "job_end_failed"}  # how a run ends that stood still


class Workers:
    """Starts the workers of one plant, tells how they are, and ends them all."""

    def __init__(self, data_dir, database_url):
        self._data_dir = data_dir
        self._database_url = database_url
        self._names = {}
        self._processes = {}

    def start(self, blow=None, *, lease_s=LEASE_S):
        """Start a worker and return its process id; `blow` is (phase, line, signal)."""
        name = f"worker-{len(self._names)}"
        environment = {"GAUGEHOUSE_DATABASE_URL": self._database_url, "GAUGEHOUSE_LEASE_S": str(lease_s)}
        worker = json.dumps({"data_dir": str(self._data_dir), "name": name, "blow": blow})
        with (self._data_dir / f"{name}.txt").open("wb") as output:
            process = fork(["-c", WORK, worker], stdout=output, environment=own_environment(environment))
        self._names[process.pid], self._processes[process.pid] = name, process
        return process.pid

    def is_standing(self, pid):
        """Say whether a worker is dead or stopped."""
        return self._status(pid) in {None, psutil.STATUS_ZOMBIE, psutil.STATUS_STOPPED}

    @staticmethod
    def _status(pid):
        try:
            return psutil.Process(pid).status()
        except psutil.NoSuchProcess:
            return None

    def kill(self, pid):
        self._processes[pid].kill()
        self._processes[pid].wait()

    def lines_of(self, pid):
        """Return how many lines each phase of a worker's first report took, None before it has ended."""
        path = self._data_dir / f"{self._names[pid]}.json"
        return json.loads(path.read_text()) if path.exists() and path.stat().st_size else None

    def said(self, pid):
        """Return the events that a worker logged."""
        lines = (self._data_dir / f"{self._names[pid]}.txt").read_text().splitlines()
        return [json.loads(line).get("event") for line in lines if line.startswith("{")]

    def output(self):
        return "\n".join((self._data_dir / f"{name}.txt").read_text()[-3000:] for name in self._names.values())

    def close(self):
        for pid in self._names:
            self.kill(pid)


@pytest.fixture
def workers(plant, database_url):
    describe(plant)
    made = Workers(plant.layout.data_dir, database_url)
    yield made
    made.close()


def describe(plant):
    """Fill the plant: three components, each kind of metric, some hundred rows each, all in files."""
    for component, metric in itertools.product("abc", KINDS):
        rng = random.Random(f"{component} {metric}")  # noqa: S311 - reproducible, not secret
        values = (float(rng.randrange(5)) for _ in range(200))
        values = itertools.accumulate(values) if metric == "parts" else values
        plant.deliver([(component, metric, START + timedelta(hours=3 * i), v) for i, v in enumerate(values)])
    with plant.database.transaction() as session:
        for metric, kind in KINDS.items():
            session.execute(update(Metric).where(Metric.name == metric).values(kind=kind, nominal_interval_s=10_800.0))
    plant.lake.flush()


def ask(plant):
    return plant.ask(bucket="day", kpis=tuple(CATALOGUE))


def is_done(plant, report):
    view = plant.see(report)
    assert view.status in {"queued", "running", "done"}, (view.status, view.reason)
    return view.status == "done"


def judge(plant, report):
    """Compare a report with its pin computed once more, in peace; there is one result file, and no other."""
    with plant.database.reading() as session:
        row = session.get(ReportRevision, (report.id, 1))
        job = session.scalars(select(Job).where(Job.id == row.job_id)).one()
        assert (job.status, job.lease_until, job.progress_percent) == ("done", None, 100)
    pin = decode_pin(row.pin)
    expected = compute_report(open_snapshot(plant.layout.lake_dir, as_of=pin.as_of), pin)
    assert_same_result(read_result(plant.layout, plant.see(report)), expected, f"report {report.id}")
    path = plant.layout.reports_dir / report.id / "r1.parquet"
    assert list(path.parent.iterdir()) == [path]
    in_file = pq.read_schema(path).metadata[DIGEST_KEY].decode()
    assert {row.digest, job.result["digest"], in_file} == {digest_result(encode_pin(pin), Answer(values=expected))}
    assert (row.result_rows, job.result["rows"]) == (expected.num_rows, expected.num_rows)


def judge_all(plant, reports):
    for report in reports:
        judge(plant, report)
    assert {path.name for path in plant.layout.reports_dir.iterdir()} == {report.id for report in reports}


def finish(plant, workers, report):
    """Let a worker that meets no harm do what is left of a report; return how long that took. [s]"""
    started_s = time.monotonic()
    pid = workers.start()
    wait_until(lambda: is_done(plant, report), poll_s=0.02, what=f"the end of report {report.id}")
    workers.kill(pid)  # wherever it is by now: its report is done
    return time.monotonic() - started_s


def count_lines(plant, workers):
    """Let a report be computed in peace; return the report and how many lines each phase has."""
    report = ask(plant)
    pid = workers.start()
    lines = wait_until(lambda: workers.lines_of(pid), what="the first report")
    workers.kill(pid)
    assert lines.keys() == PHASES.keys()
    return report, lines


def draw_points(seed, lines, count, phases=tuple(PHASES)):
    """Return (phase, line) pairs, phase after phase, the line by lot."""
    rng = random.Random(seed)  # noqa: S311 - reproducible, not secret
    return [(phase, rng.randint(1, lines[phase])) for phase in itertools.islice(itertools.cycle(phases), count)]


def hit(plant, workers, report, phase, line, number):
    """Start a worker that strikes itself, and return its process id; None when it was done before that line."""
    pid = workers.start((phase, line, number))
    wait_until(lambda: workers.is_standing(pid) or workers.lines_of(pid), poll_s=0.01, what=f"line {line} of {phase}")
    return pid if workers.is_standing(pid) else workers.kill(pid)


@pytest.mark.parametrize(
    "kills",
    [6, pytest.param(210, marks=[pytest.mark.torture, pytest.mark.timeout(7200)])],
    ids=["each phase once", "210 points"],
)
def test_a_report_whose_worker_is_killed_at_any_line_is_done_once_by_the_next(plant, workers, kills, tally):
    first, lines = count_lines(plant, workers)
    reports, longest_s = [first], 0.0
    for phase, line in draw_points(kills, lines, kills):
        reports.append(ask(plant))
        if hit(plant, workers, reports[-1], phase, line, signal.SIGKILL) is not None:
            tally[f"workers killed while: {phase}"] += 1
        longest_s = max(longest_s, finish(plant, workers, reports[-1]))
        judge(plant, reports[-1])
    judge_all(plant, reports)
    tally["longest time from a new worker to the end of a killed one's report, lease 1 s [ms]"] = round(
        1000 * longest_s
    )


@pytest.mark.parametrize(
    "kills",
    [2, pytest.param(60, marks=[pytest.mark.torture, pytest.mark.timeout(7200)])],
    ids=["few", "60 moments"],
)
def test_a_report_whose_worker_is_killed_at_any_moment_is_done_once_by_the_next(plant, workers, kills, tally):
    """Also within the calls of libraries: half a file, half a commit."""
    rng, reports = random.Random(kills), [ask(plant)]  # noqa: S311 - reproducible, not secret
    length_s = finish(plant, workers, reports[0])
    for turn in range(kills):
        reports.append(ask(plant))
        pid = workers.start()
        time.sleep((turn + rng.random()) / kills * length_s)  # spread evenly: few kills shall not all come late
        workers.kill(pid)
        tally["workers killed at any moment"] += not is_done(plant, reports[-1])
        finish(plant, workers, reports[-1])
    judge_all(plant, reports)


@pytest.mark.parametrize(
    "stops",
    [2, pytest.param(60, marks=[pytest.mark.torture, pytest.mark.timeout(7200)])],
    ids=["few", "60 points"],
)
def test_a_worker_that_stands_still_past_its_lease_and_goes_on_changes_nothing(plant, workers, stops, tally):
    first, lines = count_lines(plant, workers)
    reports = [first]
    for phase, line in draw_points(stops, lines, stops, ("writing the file", "storing the result", *PHASES)):
        reports.append(ask(plant))
        stopped = hit(plant, workers, reports[-1], phase, line, signal.SIGSTOP)
        if stopped is None:
            continue
        can_be_replaced = can_write(plant, reports[-1]) and not is_done(plant, reports[-1])
        other = workers.start()
        if can_be_replaced:
            wait_until(lambda: is_done(plant, reports[-1]), what="the end of the report elsewhere")
        else:  # who stands still in the middle of a transaction holds its lock: all must wait, none may break it
            time.sleep(2 * LEASE_S)
        path = plant.layout.reports_dir / reports[-1].id / "r1.parquet"
        before = identify(path)
        os.kill(stopped, signal.SIGCONT)
        if phase != "claiming":  # it may have claimed nothing
            wait_until(lambda: LATE & set(workers.said(stopped)), what="the end of the late run")  # noqa: B023  # used at once
        wait_until(lambda: is_done(plant, reports[-1]), what="the end of the report")
        # Who says that it was late has not removed its draft yet.
        wait_until(lambda: list(path.parent.iterdir()) == [path], what="the end of the late draft")  # noqa: B023
        assert not can_be_replaced or identify(path) == before, "the late run touched the result"
        for pid in (stopped, other):
            workers.kill(pid)
        judge(plant, reports[-1])
        tally[f"workers stopped past their lease while: {phase}"] += 1
        tally["reports of stopped workers that another one did"] += can_be_replaced
    judge_all(plant, reports)


def identify(path):
    if not path.exists():
        return None
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


def can_write(plant, report):
    """Say whether nobody holds a lock that keeps others from the report's job."""
    try:
        if plant.database.engine.dialect.name == "sqlite":
            with closing(sqlite3.connect(plant.database.engine.url.database, timeout=0.5)) as connection:
                connection.execute("BEGIN IMMEDIATE")
        else:
            with plant.database.engine.connect() as connection:
                job = select(Job.id).where(Job.subject_id == report.id)
                connection.execute(job.with_for_update(of=Job, nowait=True))
    except (sqlite3.OperationalError, DBAPIError):
        return False
    return True


def stop_without_a_lock(plant, workers, report, phase):
    """Return a worker that stands still early in a phase.

    Its heart, which says how far it is as a phase begins, may stand still in the middle of a transaction: then the next
    one is stopped a few lines later.
    """
    lines = 3 * (1, 6, 11, 16)  # before the phase's own transaction
    with plant.database.transaction() as session:
        session.execute(update(Job).where(Job.subject_id == report.id).values(attempts_limit=len(lines) + 1))
    for line in lines:
        pid = hit(plant, workers, report, phase, line, signal.SIGSTOP)
        if pid is not None and can_write(plant, report):
            return pid
        if pid is not None:
            workers.kill(pid)
    raise AssertionError("every worker held a lock")


@contextmanager
def locked(database):
    """Let nobody else write to the jobs while the block runs."""
    with database.transaction() as session:
        if database.engine.dialect.name == "postgresql":
            session.execute(text("LOCK TABLE jobs IN EXCLUSIVE MODE"))
        yield


@pytest.mark.parametrize("phase", ["storing the result", pytest.param("reading", marks=pytest.mark.torture)], ids=str)
def test_a_database_that_is_locked_for_longer_than_lease_and_patience_delays_a_report_and_no_more(
    plant, workers, phase, tally
):
    report = ask(plant)
    pid = stop_without_a_lock(plant, workers, report, phase)
    with locked(plant.database):
        os.kill(pid, signal.SIGCONT)
        time.sleep(LEASE_S + BUSY_TIMEOUT_S + 1.0)
        assert not is_done(plant, report)
    wait_until(lambda: is_done(plant, report), what="the end of the report")
    judge_all(plant, [report])
    tally[f"databases locked while: {phase}"] += 1


@pytest.mark.parametrize(
    "count", [8, pytest.param(200, marks=[pytest.mark.torture, pytest.mark.timeout(3600)])], ids=["few", "many"]
)
def test_two_workers_on_one_queue_do_each_report_once(plant, workers, count, tally):
    pids = [workers.start(lease_s=60.0), workers.start(lease_s=60.0)]
    wait_until(lambda: all("worker_started" in workers.said(pid) for pid in pids), what="two workers")
    reports = [ask(plant) for _ in range(count)]
    for report in reports:
        wait_until(lambda: is_done(plant, report), what=f"the end of report {report.id}")  # noqa: B023  # used at once
    with plant.database.reading() as session:
        jobs = session.scalars(select(Job)).all()
        assert {job.attempts for job in jobs} == {1}
        assert len({job.worker for job in jobs}) == 2
    judge_all(plant, reports)
    tally["reports of two workers on one queue"] += count
