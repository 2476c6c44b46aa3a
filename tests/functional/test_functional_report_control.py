"""Progress and control of reports from outside: rows and end while they run, cancels within a second, refusals."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from functional.installation import ask_report, assert_problem, follow, wait_until
from functional.rows import deliver_well

START = datetime(2026, 4, 1, tzinfo=UTC)
STEP = timedelta(seconds=30)
ROWS = 80_000  # four weeks
SOON_S = 3.0  # promised is one second; a test machine does other things beside
LONG = {
    "period": "2026-04-01/2026-04-28",
    "bucket": "2m",
    "components": ["press 1", "press 2"],
    "kpis": [
        *("count", "min", "max", "mean", "std", "median", "p05", "p95", "first", "last", "change", "range"),
        *("time_weighted_mean", "time_weighted_mean_linear", "integral", "coverage", "gap_count", "longest_gap"),
        *("bad_count", "trend"),
    ],  # 800,000 values: whose digest takes as long as all the computing
}


@pytest.fixture(scope="module")
def plant(found):
    environment = {
        "GAUGEHOUSE_SEGMENT_AGE_S": "0.5",
        "GAUGEHOUSE_REPORT_MAX_ROWS": "250000",
        "GAUGEHOUSE_REPORT_JOBS_WAITING": "4",
    }
    installation = found(environment, workers=1).start()
    device = installation.device()
    for component in LONG["components"]:
        rows = [(component, "force", START + i * STEP, float(i % 60), 0) for i in range(ROWS)]
        deliver_well(device, rows, "arrow")
    yield installation
    installation.stop()


@pytest.fixture(scope="module")
def manager(plant):
    return plant.sign_in("max")


def ask(client, **question):
    answer = client.post("/v1/reports", json=question)
    assert answer.status_code == 202, answer.text
    return answer.headers["location"]


def test_a_long_report_says_how_far_it_is_and_ends_within_a_second_of_its_cancel(plant, manager):
    location = ask(manager, **LONG)

    def look():
        state = manager.get(location).json()
        assert state["status"] in {"queued", "running"}, state
        return state if state["phase"] in {"computing", "finishing", "writing"} else None

    state = wait_until(look, poll_s=0.02, what="the computing")
    assert 0 <= state["rows_read"] <= state["rows_total"] == 2 * ROWS
    answer = manager.post(f"{location}/cancel")
    answered_s = time.monotonic()
    assert answer.status_code == 200, answer.text
    ended = follow(manager, location)[-1]
    took_s = time.monotonic() - answered_s
    print(f"cancelled {took_s:.2f} s after the answer")
    assert (ended["status"], ended["reason_code"]) == ("cancelled", "cancelled")
    assert took_s < SOON_S
    began_s = time.monotonic()
    ask_report(manager, period="2026-04-01", components=["press 1"], kpis=["mean"])  # the worker is free, and well
    print(f"the next report took {time.monotonic() - began_s:.2f} s")


def test_a_report_that_reads_too_much_is_refused_before_work_starts(manager):
    answer = manager.post("/v1/reports", json={"period": "2026-04-05/2026-04-20", "compare": "previous"})
    problem = assert_problem(answer, 413, "report_reads_too_much")
    assert problem["limit"] == 250_000 < problem["rows"]
    assert "choose a shorter period" in problem["detail"]


def test_buckets_without_end_are_refused_at_once(manager):
    for bucket in ("hour", "day", "PT1S"):
        began_s = time.monotonic()
        question = {"period": "1970-01-02/8999-01-01", "timezone": "Europe/Berlin", "bucket": bucket}
        assert_problem(manager.post("/v1/reports", json=question), 422, "period_refused")
        assert time.monotonic() - began_s < SOON_S


def test_a_project_that_has_enough_reports_waiting_is_told_to_come_again(plant, manager):
    locations = []
    try:
        for _ in range(6):  # one of them runs, four wait
            answer = manager.post("/v1/reports", json=LONG)
            if answer.status_code != 202:
                break
            locations.append(answer.headers["location"])
        assert_problem(answer, 429, "too_many_waiting")
        assert int(answer.headers["retry-after"]) > 0
        assert len(locations) in {4, 5}
    finally:
        for location in locations:
            manager.post(f"{location}/cancel")
    assert {follow(manager, location)[-1]["status"] for location in locations} == {"cancelled"}


def test_a_report_by_command_line_and_the_list_of_reports(plant, manager):
    ask_report(manager, period="2026-04-01", components=["press 1"], kpis=["mean"])
    listed = plant.run_well("report", "list")
    assert "done" in listed
    assert "cancelled" in listed
    shown = plant.run("report", "run", "--period", "2026-04-02", "--component", "press 1", "--kpi", "mean")
    assert shown.returncode == 0, shown.stderr
    assert "2,880 of 2,880 rows" in shown.stderr or "rows" in shown.stderr
