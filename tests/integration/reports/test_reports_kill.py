"""A worker that is killed in the middle: the report is computed by the next one, once and to the same digits."""

import subprocess
import threading
from datetime import UTC, datetime, timedelta

import pytest

from forking import fork
from gaugehouse.reports import RESULT, read_result
from gaugehouse.reports.result import write_result

T0 = datetime(2026, 3, 1, tzinfo=UTC)
DEADLINE_S = 60.0

# Stops for ever in front of the portion whose words begin with the fourth argument; without one it runs through.
WORKER = """
import sys, threading
from functools import partial
from pathlib import Path
from gaugehouse.config import Layout
from gaugehouse.database import Database
from gaugehouse.jobs import run_worker
from gaugehouse.reports import Limits, ReportWorker, run_report

url, folder, name, stop_at = sys.argv[1:]
database = Database.open(url)
worker = ReportWorker(database=database, layout=Layout(Path(folder)), limits=Limits(rows=10, cells=10))

def handle(job, control):
    tell = control.tell
    def stand_still(progress):
        tell(progress)
        if stop_at and progress.doing.startswith(stop_at):
            print("standing still", flush=True)
            threading.Event().wait()
    control.tell = stand_still
    run_report(job, control, worker=worker)

run_worker(database, {"report": handle}, worker=name, lease_s=1.0, stop=threading.Event(), poll_s=0.05)
"""


@pytest.fixture
def start_worker(plant, database_url):
    """Start workers in processes of their own; whatever is left of them ends with the test."""
    started = []

    def start(name, *, stop_at=""):
        command = ["-c", WORKER, database_url, str(plant.layout.data_dir), name, stop_at]
        process = fork(command, stdout=subprocess.PIPE)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("moment", ["computing b", "writing the result"])
def test_a_report_whose_worker_is_killed_is_done_by_the_next_one(plant, start_worker, moment):
    for name in ("a", "b", "c"):
        plant.deliver([(name, "temperature", T0 + timedelta(hours=i), float(i % 7)) for i in range(100)])
    expected, table = plant.answer(kpis=("mean", "std"))
    report = plant.ask(kpis=("mean", "std"))
    first = start_worker("first", stop_at=moment)
    assert any(line == "standing still\n" for line in first.stdout)  # after lines of its log
    first.kill()
    first.wait()
    assert plant.see(report).status == "running"
    assert plant.see(report).digest is None
    start_worker("second")
    pause = threading.Event()
    for _ in range(int(DEADLINE_S / 0.05)):
        if plant.see(report).status == "done":
            break
        pause.wait(0.05)
    report = plant.see(report)
    assert report.status == "done"
    assert read_result(plant.layout, report).equals(table)
    folder = plant.layout.reports_dir / report.id
    assert [path.name for path in folder.iterdir()] == ["r1.parquet"]
    assert report.result_rows == expected.result_rows == 6


def test_a_late_run_removes_what_earlier_ones_left_and_not_what_the_next_one_is_writing(tmp_path):
    path, nothing = tmp_path / "rep_1" / "r1.parquet", RESULT.empty_table()
    left, written = (write_result(nothing, path, digest="d", attempt=attempt) for attempt in (1, 3))
    assert not left.exists()
    late = write_result(nothing, path, digest="d", attempt=2)
    assert sorted(path.parent.iterdir()) == [late, written]
