"""A file of a report while no worker has made it yet, and when none can."""

import threading
import time

import pytest
from sqlalchemy import func, select

from gaugehouse.database.tables import Job
from gaugehouse.errors import TooLarge
from gaugehouse.jobs import run_worker
from gaugehouse.reports import JOB_KIND, RENDER_KIND, Printer, ReportWorker, run_rendering, run_report
from gaugehouse.web.api import report_files

PATIENCE_S = 30.0


@pytest.fixture
def working(runtime):
    """Run jobs in a thread while a block runs."""

    class Working:
        def __init__(self, handlers):
            self._stop = threading.Event()
            options = {"worker": "w", "lease_s": 5.0, "stop": self._stop, "poll_s": 0.02}
            self._thread = threading.Thread(target=run_worker, args=(runtime.database, handlers), kwargs=options)

        def __enter__(self):
            self._thread.start()

        def __exit__(self, *_raised):
            self._stop.set()
            self._thread.join()

    return Working


@pytest.fixture
def computed(runtime, manager, working):
    """A report that is done, without any file."""
    rows = [
        {"component": "oven", "metric": "heat", "measured_at": f"2026-11-{day:02}T10:00:00Z", "value": day}
        for day in range(9, 16)
    ]
    assert manager.post("/v1/measurements", json=rows).status_code == 201
    asked = manager.post("/v1/reports", json={"period": "2026-W46", "kpis": ["mean"], "components": ["oven"]})
    assert asked.status_code == 202, asked.text
    runtime.lake.flush()
    worker = ReportWorker(database=runtime.database, layout=runtime.layout)
    location = asked.headers["location"]
    with working({JOB_KIND: lambda job, control: run_report(job, control, worker=worker)}):
        deadline_s = time.monotonic() + PATIENCE_S
        while manager.get(location).json()["status"] != "done":
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
    return f"{location}/result"


def count_jobs(runtime):
    with runtime.database.reading() as session:
        return session.scalar(select(func.count()).select_from(Job).where(Job.kind == RENDER_KIND))


def test_a_file_that_no_worker_makes_is_promised_and_asked_for_once(runtime, manager, computed, monkeypatch):
    monkeypatch.setattr(report_files, "WAIT_S", 0.3)
    before = count_jobs(runtime)
    for _ in range(2):
        answer = manager.get(computed, headers={"Accept": "application/pdf"})
        assert answer.status_code == 202
        assert answer.headers["retry-after"] == "2"
        assert answer.json() == {"status": "rendering", "progress_percent": 0.0, "doing": "waiting for a worker"}
    assert count_jobs(runtime) == before + 1


def test_who_leaves_lets_nobody_wait(app, manager, computed):
    stay, app.state.is_leaving = app.state.is_leaving, lambda: True
    started_s = time.monotonic()
    try:
        assert manager.get(computed, params={"format": "html", "panels": 3}).status_code == 202
    finally:
        app.state.is_leaving = stay
    assert time.monotonic() - started_s < report_files.WAIT_S / 2


def test_a_request_waits_for_the_worker(runtime, manager, computed, working):
    printer = Printer(database=runtime.database, layout=runtime.layout)
    with working({RENDER_KIND: lambda job, control: run_rendering(job, control, printer=printer)}):
        answer = manager.get(computed, params={"format": "html"})
    assert answer.status_code == 200, answer.text
    assert "oven" in answer.text


def test_a_file_that_cannot_be_made_says_why(manager, computed, working):
    def fail(_job, _control):
        raise TooLarge("the report has 9 values; XLSX is written up to 8 rows")

    with working({RENDER_KIND: fail}):
        for _ in range(2):  # who asks again soon is told again
            answer = manager.get(computed, params={"format": "xlsx"})
            assert answer.status_code == 409
            assert answer.headers["content-type"] == "application/problem+json"
            told = answer.json()
            assert (told["code"], told["format"]) == ("rendering_failed", "xlsx")
            assert told["detail"].endswith("as xlsx: the report has 9 values; XLSX is written up to 8 rows")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"title": "x" * 201}, "title_refused"),
        ({"targets": {"mean": {}}}, "target_refused"),
        ({"targets": {"mean": {"lower": 3, "upper": 2}}}, "target_refused"),
        ({"targets": {"availability": {"target": 98}}}, "target_refused"),
    ],
)
def test_a_title_or_target_that_cannot_stand_on_a_file_is_refused(manager, change, code):
    answer = manager.post("/v1/reports", json={"period": "last_month", "kpis": ["mean"]} | change)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
