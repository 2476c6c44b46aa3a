"""Reports by the calendar through real processes: commands, server, worker, folder, kill -9."""

import json
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

from functional.installation import wait_until
from gaugehouse.cli.options import EXIT_START_REFUSED

HOUR = timedelta(hours=1)
DEFINITION = {
    "title": "Pumps, daily",
    "report": {"period": "yesterday", "timezone": "UTC", "kpis": ["mean", "count"]},
    "formats": ["csv"],
    "destinations": [{"kind": "folder", "path": "daily"}],
}


@pytest.fixture(scope="module")
def plant(found, tmp_path_factory):
    """A running server with a delivery folder and a day of rows."""
    outgoing = tmp_path_factory.mktemp("outgoing")
    installation = found({"GAUGEHOUSE_DELIVERY_DIR": str(outgoing), "GAUGEHOUSE_LEASE_S": "3"}, workers=1).start()
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    rows = [
        {"component": "pump-1", "metric": "temperature", "measured_at": (midnight - n * HOUR).isoformat(), "value": n}
        for n in range(1, 25)
    ]
    assert installation.device().post("/v1/measurements", json=rows).status_code == 201
    installation.outgoing = outgoing
    yield installation
    installation.stop()


@pytest.fixture(scope="module")
def scheduled(plant, tmp_path_factory):
    """A template and a schedule, made by the command line while the server runs."""
    path = tmp_path_factory.mktemp("definitions") / "daily.json"
    path.write_text(json.dumps(DEFINITION))
    assert "version 1" in plant.run_well("report", "template", "add", "daily", path)
    every = "every day 00:00 UTC"
    printed = plant.run_well("report", "schedule", "add", "nightly", "--template", "daily", "--every", every)
    assert "nightly" in printed
    return plant.sign_in("max")


def set_back(installation, name, days):
    """Let a schedule look as if it had been due so many days ago, as after a downtime."""
    connection = sqlite3.connect(installation.data_dir / "gaugehouse.db", timeout=30)
    due = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=days - 1)
    with connection:
        changed = connection.execute(
            "UPDATE schedules SET next_at = ? WHERE name = ?", (due.strftime("%Y-%m-%d %H:%M:%S.%f"), name)
        )
        assert changed.rowcount == 1
    connection.close()
    return due


def history(client, name="nightly"):
    return client.get(f"/v1/schedules/{name}/history").raise_for_status().json()["items"]


def delivered(client, report_id):
    def look():
        report = client.get(f"/v1/reports/{report_id}").raise_for_status().json()
        assert report["status"] not in {"failed", "cancelled"}, report
        states = [one["state"] for one in report["deliveries"]]
        return report if states == ["delivered"] else None

    return wait_until(look, what="the delivery")


def asked(client, count, name="nightly"):
    def look():
        found = history(client, name)
        return found if len(found) >= count and all(one["report_id"] for one in found) else None

    return wait_until(look, what="the reports of the schedule")


def test_a_schedule_that_is_due_leads_to_a_file_in_the_folder(plant, scheduled):
    due = set_back(plant, "nightly", days=1)
    (fire,) = asked(scheduled, 1)
    assert datetime.fromisoformat(fire["fire_at"]) == due
    report = delivered(scheduled, fire["report_id"])
    assert (report["template"], report["requested_by"]) == ("daily", "operator")
    (path,) = (plant.outgoing / "default" / "daily").iterdir()
    lines = path.read_text().splitlines()
    assert len(lines) == 1 + report["result_rows"]
    assert any(",count," in line and ",24" in line for line in lines)
    printed = plant.run_well("report", "schedule", "history", "nightly")
    assert fire["report_id"] in printed
    assert "done" in printed


def test_a_server_that_is_killed_on_the_way_loses_and_doubles_nothing(plant, scheduled):
    """Every hour of today was missed; the server is killed again and again while it catches up."""
    body = {"name": "hourly", "template": "daily", "recurrence": "hourly at :00 UTC", "catch_up": "all"}
    assert scheduled.post("/v1/schedules", json=body).status_code == 201
    due = set_back(plant, "hourly", days=1)
    expected = int((datetime.now(UTC) - due) / HOUR) + 1
    wait_until(lambda: history(scheduled, "hourly"), what="the first fire times")
    for _ in range(2):
        plant.kill()
        plant.start()
    scheduled = plant.sign_in("max")
    found = asked(scheduled, expected, "hourly")
    assert len({one["fire_at"] for one in found}) == len(found)
    reports = [one["report_id"] for one in found]
    assert len(set(reports)) == len(reports)
    for report_id in reports:
        delivered(scheduled, report_id)
    listed = scheduled.get("/v1/reports", params={"limit": 100}).json()["items"]
    assert sum(one["template"] == "daily" for one in listed) == len(found) + 1  # and the one of the test before


def test_commands_show_pause_preview_and_remove(plant, scheduled, tmp_path):
    client = plant.sign_in("max")
    assert "paused" in plant.run_well("report", "schedule", "pause", "nightly")
    assert client.get("/v1/schedules/nightly").json()["paused_at"] is not None
    assert "paused" not in plant.run_well("report", "schedule", "resume", "nightly")
    tried = plant.run_well("report", "schedule", "preview", "--every", "every day 02:30 Europe/Berlin")
    assert len(tried.strip().splitlines()) == 6
    shown = json.loads(plant.run_well("report", "template", "show", "daily"))
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(shown | {"title": "Pumps, every day"}))
    assert "version 2" in plant.run_well("report", "template", "change", "daily", path)
    for name in ("nightly", "hourly"):
        plant.run_well("report", "schedule", "remove", name)
    plant.run_well("report", "template", "remove", "daily")
    assert client.get("/v1/report-templates").json()["items"] == []


def test_a_definition_that_cannot_be_is_refused_in_one_line(plant, tmp_path):
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps(DEFINITION | {"report": {"period": "someday"}}))
    done = plant.run("report", "template", "add", "wrong", path)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "someday" in done.stderr


def test_a_network_that_is_none_is_refused_at_the_start(found):
    installation = found({"GAUGEHOUSE_WEBHOOK_PRIVATE_NETWORKS": "everything"}, workers=1)
    done = installation.run("serve", "--port", "0")
    assert done.returncode == EXIT_START_REFUSED
    assert "GAUGEHOUSE_WEBHOOK_PRIVATE_NETWORKS" in done.stderr
