"""Projects from outside: created, bounded, shown and followed by the running server."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from functional.installation import wait_until


@pytest.fixture(scope="module")
def bounded(found):
    installation = found().start()
    yield installation
    installation.stop()


def row(age, component="pump-1"):
    moment = datetime.now(UTC) - age
    return {"component": component, "metric": "temperature", "measured_at": moment.isoformat(), "value": 1.5}


def problem_code(response):
    return response.json().get("code")


def test_a_running_server_follows_a_lateness_bound_and_its_removal(bounded):
    device = bounded.device()
    late = [row(timedelta(days=3))]
    assert device.post("/v1/measurements", json=late).status_code == 201
    bounded.run_well("project", "set", "default", "--lateness", "36h")
    late = [row(timedelta(days=4))]
    refused = wait_until(
        lambda: (answer := device.post("/v1/measurements", json=late)).status_code == 422 and answer,
        what="the bound",
    )
    assert problem_code(refused) == "too_late"
    assert refused.json()["errors"][0]["field"] == "measured_at"
    partial = device.post("/v1/measurements?partial=true", json=[*late, row(timedelta(0))])
    assert (partial.json()["accepted"], partial.json()["rejected"]) == (1, 1)
    bounded.run_well("project", "set", "default", "--lateness", "off")
    wait_until(lambda: device.post("/v1/measurements", json=late).status_code == 201, what="the removal of the bound")


def test_rows_older_than_a_project_keeps_are_refused(bounded):
    device = bounded.device()
    shown = bounded.run_well("project", "set", "default", "--keep-measurements", "30d")
    assert re.search(r"default\s+any age\s+kept 30 days\s+kept for ever", shown)
    old = [row(timedelta(days=31), component="pump-2")]
    refused = wait_until(
        lambda: (answer := device.post("/v1/measurements", json=old)).status_code == 422 and answer, what="the horizon"
    )
    assert problem_code(refused) == "older_than_retention"
    bounded.run_well("project", "set", "default", "--keep-measurements", "off")


def test_a_second_project_has_its_own_name_and_people(bounded):
    bounded.run_well("project", "create", "north", "--title", "The north hall")
    assert "north" in bounded.run_well("project", "list")
    again = bounded.run("project", "create", "north")
    assert again.returncode == 1
    assert "already a project" in again.stderr


@pytest.mark.parametrize(
    "option",
    [("--lateness", "soon"), ("--keep-measurements", "12h"), ("--archive", "not/absolute"), ("--lateness", "0s")],
)
def test_a_setting_that_cannot_be_is_refused_and_changes_nothing(bounded, option):
    before = bounded.run_well("project", "show", "default")
    done = bounded.run("project", "set", "default", *option)
    assert done.returncode == 1
    assert bounded.run_well("project", "show", "default") == before
