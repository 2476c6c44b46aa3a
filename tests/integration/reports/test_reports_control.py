"""Progress and control: phases, rows, an end that is estimated; cancels that interrupt; refusals before work starts."""

import errno
import itertools
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import update

from gaugehouse.database.tables import Job
from gaugehouse.errors import Throttled, TooLarge, Unavailable
from gaugehouse.jobs import Ceilings, Progress, request_cancel, run_worker
from gaugehouse.lake import Snapshot, count_rows_at_most
from gaugehouse.measurements.selection import Selection
from gaugehouse.reports import (
    JOB_KIND,
    RENDER_KIND,
    Allowance,
    ReportRequest,
    WantedFile,
    cancel_report,
    compute,
    get_pin,
    printing,
    queue_rendering,
    request_report,
    run,
    run_rendering,
    run_report,
)
from gaugehouse.reports.compute import compute_answer, count_rows_to_read
from gaugehouse.reports.render import ReportFormat

START = datetime(2026, 3, 1, tzinfo=UTC)
PRODUCTION_LEASE_S = 30.0
SOON_S = 3.0  # promised is one second; a busy machine may take longer, the lease's third would be ten


def hourly(component, count, metric="temperature"):
    return [(component, metric, START + timedelta(hours=hour), float(hour)) for hour in range(count)]


@pytest.fixture
def working(plant):
    """Run a worker with the lease of production while a block runs."""
    stop = threading.Event()
    threads = []

    def start(handlers=None, **options):
        handlers = handlers or {JOB_KIND: partial(run_report, worker=plant.worker())}
        settings = {"worker": f"w{len(threads)}", "lease_s": PRODUCTION_LEASE_S, "stop": stop, "poll_s": 0.02}
        thread = threading.Thread(
            target=run_worker, args=(plant.database, handlers), kwargs={**settings, "retry_delay_s": 0.01, **options}
        )
        threads.append(thread)
        thread.start()

    yield start
    stop.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def cancel(plant, report):
    with plant.database.transaction() as session:
        cancel_report(session, plant.manager, report.id)
    began_s = time.monotonic()
    assert plant.follow(report).status == "cancelled"
    took_s = time.monotonic() - began_s
    print(f"cancelled {took_s:.2f} s after the answer")
    assert took_s < SOON_S


# --- cancel ---


def test_a_cancel_waits_neither_for_a_heartbeat_nor_for_the_portion(plant, working, monkeypatch):
    """The portion stands for 5 million rows in the kernel: one call that nothing can interrupt."""
    plant.deliver(hourly("a", 10))
    began, go_on = threading.Event(), threading.Event()
    counted = compute.compute_counted_facts

    def slow(*arguments, **options):
        began.set()
        go_on.wait(60)
        return counted(*arguments, **options)

    monkeypatch.setattr(compute, "compute_counted_facts", slow)
    report = plant.ask(kpis=("mean",))
    plant.lake.flush()
    working()
    assert began.wait(30)
    cancel(plant, report)
    seen = plant.see(report)
    assert (seen.reason, seen.reason_code, seen.estimated_end_at) == ("cancelled on request", "cancelled", None)
    go_on.set()
    assert not (plant.layout.reports_dir / report.id).exists()


def test_a_cancel_interrupts_the_questions_to_the_lake(plant, working, monkeypatch):
    plant.deliver(hourly("a", 10))
    began = threading.Event()
    left = []

    def endless(snapshot, *_args, **_options):
        cursor = snapshot.engine.cursor()
        began.set()
        try:
            cursor.execute("SELECT count(*) FROM range(1000000000000) AS a(x) WHERE x % 7 = 3")
        finally:
            left.append("the question")

    monkeypatch.setattr(Snapshot, "estimate_series", endless)
    report = plant.ask(kpis=("mean",))
    plant.lake.flush()
    working()
    assert began.wait(30)
    time.sleep(0.2)  # let it begin
    cancel(plant, report)
    deadline_s = time.monotonic() + SOON_S
    while not left:
        assert time.monotonic() < deadline_s, "DuckDB goes on"
        time.sleep(0.01)


def test_a_worker_that_stops_waits_for_no_portion_either(plant, monkeypatch):
    plant.deliver(hourly("a", 10))
    began, go_on = threading.Event(), threading.Event()
    monkeypatch.setattr(compute, "compute_counted_facts", lambda *_args, **_options: (began.set(), go_on.wait(60)))
    report = plant.ask(kpis=("mean",))
    plant.lake.flush()
    with plant.working():
        assert began.wait(30)
        began_s = time.monotonic()
    assert time.monotonic() - began_s < SOON_S
    assert plant.see(report).status == "queued"
    go_on.set()


def test_a_file_in_the_making_can_be_cancelled(plant, working, monkeypatch):
    plant.deliver(hourly("a", 10))
    report, _ = plant.answer(kpis=("mean",))
    began, go_on = threading.Event(), threading.Event()
    monkeypatch.setattr(printing, "render", lambda *_args: (began.set(), go_on.wait(60)))
    printer = printing.Printer(database=plant.database, layout=plant.layout)
    wanted = WantedFile(report_id=report.id, revision=1, report_format=ReportFormat.PDF)
    with plant.database.transaction() as session:
        job = queue_rendering(session, plant.manager.project_id, wanted)
    working({RENDER_KIND: partial(run_rendering, printer=printer)})
    assert began.wait(60)
    with plant.database.transaction() as session:
        request_cancel(session, job.id)
    began_s = time.monotonic()
    while get_status(plant, job.id) == "running":
        assert time.monotonic() - began_s < SOON_S
        time.sleep(0.02)
    assert get_status(plant, job.id) == "cancelled"
    go_on.set()
    assert not wanted.find_path(plant.layout).exists()


def get_status(plant, job_id):
    with plant.database.reading() as session:
        return session.get(Job, job_id).status


# --- progress ---


def test_a_running_report_says_phase_rows_and_when_it_will_be_done(plant, working, monkeypatch):
    for name in "abc":
        plant.deliver(hourly(name, 100))
    plant.limits = type(plant.limits)(rows=100, cells=1000)
    at, go_on = threading.Semaphore(0), threading.Semaphore(0)
    counted = compute.compute_counted_facts

    def step(*arguments, **options):
        at.release()
        assert go_on.acquire(timeout=60)
        return counted(*arguments, **options)

    monkeypatch.setattr(compute, "compute_counted_facts", step)
    report = plant.ask(kpis=("mean",))
    assert (report.phase, report.rows_read, report.rows_total, report.estimated_end_at) == ("", None, None, None)
    plant.lake.flush()
    working()
    seen = []
    for pause_s in (1.2, 0.6, 0.0):
        assert at.acquire(timeout=60)
        time.sleep(0.05)
        seen.append(plant.see(report))
        time.sleep(pause_s)  # as if the portion took so long
        go_on.release()
    done = plant.follow(report)
    assert [(one.phase, one.rows_read, one.rows_total) for one in seen] == [
        ("computing", 0, 300),
        ("computing", 100, 300),
        ("computing", 200, 300),
    ]
    assert seen[0].estimated_end_at is None
    assert seen[1].started_at < seen[1].estimated_end_at < done.finished_at + timedelta(seconds=10)
    assert (done.status, done.rows_read, done.rows_total, done.phase) == ("done", 300, 300, "")
    assert done.estimated_end_at is None


def test_each_pass_over_the_rows_is_told_of(plant):
    plant.deliver([*hourly("a", 100), ("a", "temperature", START - timedelta(days=3), 1.0)])
    plant.lake.flush()
    report = plant.ask("2026-03-01/2026-03-04", kpis=("mean",), compare="previous")
    plant.lake.flush()
    with plant.database.reading() as session:
        pin = get_pin(session, plant.manager, report.id)
    told: list[Progress] = []
    compute_answer(plant.lake.pin(), pin, on_progress=told.append)
    assert list(dict.fromkeys(one.phase for one in told)) == ["counting", "computing", "comparing", "finishing"]
    assert [one.percent for one in told] == sorted(one.percent for one in told)
    assert all(one.rows_read <= one.rows_total for one in told)
    assert told[-1].rows_read == told[-1].rows_total == 102  # both files whole, and once more the one of the row before


# --- refusals before work starts ---


def ask_within(plant, allowance, period="2026-03", **question):
    body = ReportRequest(period=period, **question)
    return request_report(plant.database, plant.lake, plant.manager, body, cells_limit=1_000_000, allowance=allowance)


def test_a_report_that_would_read_too_much_is_refused_with_the_numbers(plant):
    plant.deliver(hourly("a", 300))
    plant.lake.flush()
    plant.deliver(hourly("b", 200))  # not in files yet
    with pytest.raises(TooLarge, match=r"up to 500 measurements .* limit is 499: choose a shorter period") as refused:
        ask_within(plant, Allowance(rows=499))
    assert (refused.value.code, refused.value.fields) == ("report_reads_too_much", {"rows": 500, "limit": 499})
    ask_within(plant, Allowance(rows=500))
    ask_within(plant, Allowance(rows=300), components=("b",))  # counted closer, it is but the hot rows
    plant.lake.flush()
    with pytest.raises(TooLarge, match="up to 1,000 measurements"):  # what is in a row group counts in both periods
        ask_within(plant, Allowance(rows=600), "2026-03-05/2026-03-09", compare="previous")


def test_the_bound_is_never_below_what_is_read(plant):
    for day in range(4):
        plant.deliver(
            [(c, m, START + timedelta(days=day, hours=h), 1.0) for c in "abc" for m in "xy" for h in range(24)]
        )
        plant.lake.flush()
    snapshot = plant.lake.pin()
    assert isinstance(snapshot, Snapshot)
    for components, days in itertools.product((("a",), ("b", "c"), None), (1, 3)):
        selection = Selection(project="default", components=components, start=START, end=START + timedelta(days=days))
        loaded = snapshot.load_series(selection)
        for enough in (None, 0):
            assert count_rows_at_most(snapshot, selection, enough=enough) >= len(loaded.value)
        keys = list(zip(loaded.components, loaded.metrics, strict=True))
        estimated = snapshot.estimate_series(selection, keys, threads=2)
        assert set(keys) == set(estimated)
        lengths = loaded.offsets[1:] - loaded.offsets[:-1]
        assert all(estimated[key] >= rows for key, rows in zip(keys, lengths, strict=True))  # metrics have equal shares
    nothing = Selection(project="default", components=("zzz",))
    assert count_rows_at_most(snapshot, nothing) == 0


def test_a_report_without_a_lake_reads_nothing(plant):
    report = plant.ask()
    with plant.database.reading() as session:
        pin = get_pin(session, plant.manager, report.id)
    assert count_rows_to_read(None, pin, enough=0) == 0


def test_groups_that_would_not_fit_into_memory_are_refused_before_work_starts(plant):
    plant.deliver([row for name in "abcd" for row in hourly(name, 2)])
    allowance = Allowance(grouped_bytes=1_000_000)
    with pytest.raises(TooLarge, match="grouped by fleet the report would hold 2,976 facts") as refused:
        ask_within(plant, allowance, group_by="fleet", bucket="hour", kpis=("mean",))
    assert refused.value.code == "report_groups_too_large"
    ask_within(plant, allowance, group_by="fleet", bucket="day", kpis=("mean",))
    ask_within(plant, allowance, bucket="hour", kpis=("mean",))


def test_a_project_with_enough_reports_waiting_is_told_to_come_again(plant):
    for _ in range(2):
        ask_within(plant, Allowance(waiting=2))
    with pytest.raises(Throttled, match=r"2 reports of this project wait already") as refused:
        ask_within(plant, Allowance(waiting=2))
    assert refused.value.retry_after_s


# --- failures ---


def test_a_failed_report_says_why_in_words_and_in_one(plant, working, monkeypatch):
    plant.deliver(hourly("a", 10))
    reports = [plant.ask(kpis=("mean",)) for _ in range(4)]
    plant.lake.flush()
    with plant.database.transaction() as session:
        session.execute(update(Job).values(attempts_limit=1))
    failures = iter(
        [
            Unavailable("the question needs more memory than there is", code="question_too_heavy"),
            OSError(errno.ENOSPC, "No space left on device"),
            MemoryError(),
            KeyError("a defect"),
        ]
    )

    def fail(*_args, **_options):
        raise next(failures)

    monkeypatch.setattr(Snapshot, "estimate_series", fail)
    working(ceilings=Ceilings(running_per_project=1))
    ended = [plant.follow(one) for one in reports]
    assert {one.status for one in ended} == {"failed"}
    assert [one.reason_code for one in ended] == [
        "question_too_heavy",
        "storage_full",
        "out_of_memory",
        "internal_error",
    ]
    assert "more memory" in ended[0].reason
    assert "disk is full" in ended[1].reason
    assert "memory" in ended[2].reason
    assert "internal error (KeyError)" in ended[3].reason


def test_a_report_whose_lake_went_away_says_so(plant, working):
    plant.deliver(hourly("a", 10))
    report = plant.ask(kpis=("mean",))
    plant.lake.flush()
    with plant.database.transaction() as session:
        session.execute(update(Job).values(attempts_limit=1))
    layout = replace(plant.layout, data_dir=plant.layout.data_dir / "elsewhere")
    worker = replace(plant.worker(), layout=layout, wait_s=0.05)
    working({JOB_KIND: partial(run_report, worker=worker)})
    failed = plant.follow(report)
    assert (failed.status, failed.reason_code) == ("failed", "lake_not_committed")
    assert "is the service running?" in failed.reason


def test_a_cancel_while_the_result_is_written_leaves_no_file_behind(plant, working, monkeypatch):
    plant.deliver(hourly("a", 10))
    began, go_on, written = threading.Event(), threading.Event(), []
    write_result = run.write_result

    def slow(*arguments, **options):
        began.set()
        go_on.wait(60)
        written.append(write_result(*arguments, **options))
        return written[-1]

    monkeypatch.setattr(run, "write_result", slow)
    report = plant.ask(kpis=("mean",))
    plant.lake.flush()
    working()
    assert began.wait(30)
    cancel(plant, report)
    go_on.set()
    deadline_s = time.monotonic() + 30
    while not written or written[-1].exists():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    assert not list((plant.layout.reports_dir / report.id).iterdir())
