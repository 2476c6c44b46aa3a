"""kill -9 of server and worker: every acknowledged row once, every report done once."""

import time
from datetime import UTC, datetime, timedelta

import polars as pl
import psutil
import pyarrow as pa
import pytest

from functional.installation import START_S, ask_report, follow, wait_until
from functional.rows import read_answer
from functional.senders import Sender, sending
from payloads import ARROW, write_arrow

KILLS = 2


def test_every_acknowledged_row_is_stored_once_however_often_the_server_is_killed(found):
    installation = found({"GAUGEHOUSE_SEGMENT_AGE_S": "0.5"}, workers=1).start()
    senders = [Sender(installation, f"sender-{i}", pause_s=0.02) for i in range(6)]
    with sending(senders):
        for i in range(KILLS):
            time.sleep(1.0 + 0.37 * i)  # in the middle of deliveries and, with this segment age, of flushes
            installation.kill()
            installation.start()
        time.sleep(0.5)
    expected = {}
    for sender in senders:
        assert len(sender.acknowledged) > KILLS
        expected |= sender.acknowledged_keys()
    assert_read_over_http(installation, len(expected), senders)
    installation.stop()
    rows = installation.read_lake()
    assert rows.height == len(expected)
    keys = zip(rows["component"], rows["metric"], rows["measured_at"], strict=True)
    assert dict(zip(keys, rows["value"], strict=True)) == expected
    assert not installation.has_rows_on_disk("events") or installation.read_lake("events").is_empty()
    assert rows["received_at"].null_count() == 0


def assert_read_over_http(installation, count, senders):
    viewer = installation.sign_in("vera")
    summary = read_answer(viewer.get("/v1/summary"))
    assert sum(row["n"] for row in summary) == count
    assert {row["component"] for row in summary} == {sender.name for sender in senders}


# --- reports ---

PERIOD_START = datetime(2026, 7, 1, tzinfo=UTC)
SERIES = [(f"machine-{i:02}", metric) for i in range(20) for metric in ("speed", "torque", "load")]
ROWS_EACH = 500
QUESTION = {
    "period": "2026-07",
    "bucket": "1h",
    "kpis": ["count", "mean", "std", "median", "p05", "p95", "min", "max", "time_weighted_mean", "coverage"],
}


@pytest.fixture(scope="module")
def busy(found):
    """A server whose worker needs a second or more for a report; a silent worker is given up after two seconds."""
    installation = found({"GAUGEHOUSE_LEASE_S": "2", "GAUGEHOUSE_SEGMENT_AGE_S": "1"}, workers=1).start()
    step_us = 31 * 86_400 * 1_000_000 // ROWS_EACH
    start_us = int(PERIOD_START.timestamp()) * 1_000_000
    count = len(SERIES) * ROWS_EACH
    times = [start_us + step_us * (i % ROWS_EACH) for i in range(count)]
    table = pa.table(
        {
            "component": [SERIES[i // ROWS_EACH][0] for i in range(count)],
            "metric": [SERIES[i // ROWS_EACH][1] for i in range(count)],
            "measured_at": pa.array(times, pa.int64()).cast(pa.timestamp("us", tz="UTC")),
            "value": [float((i * 7919) % 1000) for i in range(count)],
        }
    )
    answer = installation.device().post("/v1/measurements", content=write_arrow(table), headers={"Content-Type": ARROW})
    assert answer.json()["accepted"] == count
    yield installation
    installation.stop()


def read_values(client, report_id):
    answer = client.get(f"/v1/reports/{report_id}/result", headers={"Accept": ARROW}).raise_for_status()
    return pl.from_arrow(pa.ipc.open_stream(answer.content).read_all())


def ask_and_catch_running(installation, interrupt):
    """Ask for reports until one is interrupted while it runs; return its id."""
    for _ in range(10):
        manager = installation.sign_in("max")
        report_id = manager.post("/v1/reports", json=QUESTION).raise_for_status().json()["id"]
        wait_until(
            lambda: manager.get(f"/v1/reports/{report_id}").json()["status"] != "queued",  # noqa: B023  # used at once
            poll_s=0.005,
            timeout_s=START_S,
            what="the start of a report",
        )
        interrupt()
        if not list((installation.data_dir / "reports" / report_id).glob("*.parquet")):
            return report_id
    raise AssertionError("no report could be interrupted in time")


def assert_done_once(installation, report_id):
    """Wait for a report, and compare it with the answer to the same question asked in peace."""
    manager = installation.sign_in("max")
    state = follow(manager, f"/v1/reports/{report_id}")[-1]
    assert state["status"] == "done", state
    assert state["progress_percent"] == 100
    assert [path.name for path in (installation.data_dir / "reports" / report_id).iterdir()] == ["r1.parquet"]
    values = read_values(manager, report_id)
    assert values.height == state["result_rows"] == len(SERIES) * len(QUESTION["kpis"]) * 31 * 24
    again = ask_report(manager, **QUESTION)
    assert values.equals(read_values(manager, again["id"]))
    assert values.filter(pl.col("kpi") == "count")["value"].sum() == len(SERIES) * ROWS_EACH


def test_a_report_survives_the_death_of_its_worker(busy):
    worker = busy.worker()

    def kill_worker():
        busy.worker().kill()

    report_id = ask_and_catch_running(busy, kill_worker)
    assert_done_once(busy, report_id)
    assert busy.worker().pid != worker.pid


def test_a_report_survives_the_death_of_the_server(busy):
    killed = []

    def kill_server():
        killed.append(busy.worker())
        busy.kill()

    def kill_and_restart():
        kill_server()
        busy.start()

    report_id = ask_and_catch_running(busy, kill_and_restart)
    assert_done_once(busy, report_id)
    for worker in killed:
        wait_until(lambda: is_gone(worker), what="the end of a worker without a server")  # noqa: B023  # used at once


def is_gone(process):
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_rows_that_were_acknowledged_before_a_crash_are_read_after_it(busy):
    moment = datetime.now(UTC)
    row = {"component": "witness", "metric": "level", "measured_at": moment.isoformat(), "value": 0.5}
    receipt = busy.device().post("/v1/measurements", json=[row]).raise_for_status().json()
    busy.kill()
    busy.start()
    viewer = busy.sign_in("vera")
    [stored] = read_answer(viewer.get("/v1/measurements", params={"component": "witness"}))
    assert (stored["measured_at"], stored["value"]) == (moment, 0.5)
    assert stored["received_at"] == datetime.fromisoformat(receipt["received_at"])
    [newest] = read_answer(viewer.get("/v1/components/witness/latest"))
    assert newest["measured_at"] == moment
    later = busy.device().post(
        "/v1/measurements", json=[row | {"measured_at": (moment + timedelta(seconds=1)).isoformat()}]
    )
    assert datetime.fromisoformat(later.json()["received_at"]) > stored["received_at"]

    def find():
        return busy.read_lake().filter(pl.col("component") == "witness").height == 2

    wait_until(find, what="the flush")
