"""A device that asks what to run: the short way answers as the general way does, and follows what is decided."""

import asyncio
import time
from contextlib import contextmanager
from dataclasses import replace

import httpx
import pytest

from gaugehouse.access import create_api_key, revoke_api_key
from gaugehouse.database import Database
from gaugehouse.errors import Unavailable
from gaugehouse.fleet.releases import ReleaseChanges, change_release
from gaugehouse.fleet.rollouts import PLAN_AGE_S, change_rollout
from gaugehouse.inventory import create_project, get_project_settings, put_project_settings
from gaugehouse.web import standings
from gaugehouse.web.api import legacy_firmware

DIFFERING = {"date", "x-request-id", "ratelimit"}


def release(manager, version, **wanted):
    created = manager.post("/v1/firmware/releases", json={"version": version, **wanted})
    assert created.status_code == 201, created.text
    return created.json()


@pytest.fixture(scope="module")
def decided(manager):
    """Two releases, the older one recommended, and a rollout of the newer one to those in the north."""
    first = release(manager, "1.0", state="recommended", url="https://fw.example/1.0", sha256="a" * 64)
    second = release(manager, "1.1")
    wanted = {"release": second["id"], "labels": {"site": "north"}}
    rollout = manager.post("/v1/firmware/rollouts", json=wanted).json()
    return first, second, rollout


@pytest.fixture
def device(make_key, decided):
    return make_key(component="pump-1")


@contextmanager
def general_way_shut(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(legacy_firmware, "view_target", None)
        yield


def target(client, component="pump-1", prefix=""):
    answer = client.get(f"{prefix}/firmware/{component}/target")
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_both_ways_answer_the_same(device, monkeypatch, prefix):
    with general_way_shut(monkeypatch):
        short = device.get(f"{prefix}/firmware/pump-1/target")
    general = device.get(f"{prefix}/firmware/pump-1/target", headers={"Content-Length": "0"})
    assert short.json()["reason"] == "recommended"
    assert (short.status_code, short.content) == (general.status_code, general.content)
    headers = [{k: v for k, v in one.headers.items() if k not in DIFFERING} for one in (short, general)]
    assert headers[0] == headers[1]
    assert short.headers["ratelimit"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/firmware/pump-2/target", 404),
        ("/firmware/pump-2/target/", 404),
        ("/firmware/pump-1/target?at=now", 422),
        ("/firmware//target", 404),
        ("/firmware/target", 404),
        ("/firmware/pump-1/x/target", 404),
    ],
)
def test_whatever_is_not_plainly_a_devices_own_question_is_refused_as_ever(device, path, status):
    assert device.get(path).status_code == status


def test_a_key_of_no_device_and_one_without_the_scope_go_the_general_way(make_key, anonymous, manager, decided):
    manager.post("/v1/components", json={"name": "pump-1"})
    assert target(make_key(scopes=["firmware:read"]))["component"] == "pump-1"
    assert make_key(component="pump-1", scopes=["events:write"]).get("/firmware/pump-1/target").status_code == 403
    assert anonymous.get("/firmware/pump-1/target").status_code == 401
    assert anonymous.get("/firmware/pump-1/target", headers={"X-API-Key": "ghk_nonsense"}).status_code == 401


def test_devices_that_ask_together_are_few_questions_to_the_database(app, make_key, runtime, decided, monkeypatch):
    keys = {name: make_key(component=name).headers["X-API-Key"] for name in (f"crowd-{n}" for n in range(60))}
    questions, reading = [], Database.reading

    def counted(database):
        questions.append(1)
        return reading(database)

    async def all_at_once():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            asked = [client.get(f"/firmware/{name}/target", headers={"X-API-Key": key}) for name, key in keys.items()]
            return await asyncio.gather(*asked)

    with general_way_shut(monkeypatch), monkeypatch.context() as patch:
        patch.setattr(Database, "reading", counted)
        answers = asyncio.run(all_at_once())
    assert [answer.json()["component"] for answer in answers] == list(keys)
    assert len(questions) <= 12  # keys, limits, plan, labels; not one for each device


def test_what_is_decided_here_counts_at_once(device, manager, decided):
    _, second, rollout = decided
    assert target(device)["version"] == "1.0"
    created = manager.post("/v1/components", json={"name": "pump-1", "labels": {"site": "north"}})
    if created.status_code == 409:
        assert manager.patch("/v1/components/pump-1", json={"labels": {"site": "north"}}).status_code == 200
    assert target(device) | {"url": None} == {
        "component": "pump-1", "running": None, "version": "1.1", "is_update": True, "url": None, "sha256": None,
        "reason": "rollout", "rollout": rollout["id"],
    }  # fmt: skip
    sent = {"firmware": "1.1", "timestamp": "2026-03-01T00:00:00Z", "status": "updated"}
    assert device.post("/firmware/pump-1", json=sent).status_code == 201
    assert target(device)["is_update"] is False
    manager.patch(f"/v1/firmware/releases/{second['id']}", json={"state": "withdrawn"})
    back = target(device)
    assert (back["version"], back["reason"], back["is_update"]) == ("1.0", "rollback", True)
    manager.patch(f"/v1/firmware/releases/{second['id']}", json={"state": "available"})
    assert target(device)["reason"] == "rollout"


def wait_for(ask, wanted, within_s):
    begun_s = time.monotonic()
    while (found := ask()) != wanted:
        assert time.monotonic() - begun_s < within_s, f"still {found!r}"
        time.sleep(0.02)


def test_what_another_process_decides_counts_within_a_second(device, runtime, decided):
    """A command of the same machine, or another node: it writes to the database and tells nobody."""
    _, second, rollout = decided
    project_id = runtime.access.caller_of_key(device.headers["X-API-Key"]).project_id
    assert target(device)["reason"] == "rollout"
    with runtime.database.transaction() as session:
        change_release(session, project_id, second["id"], ReleaseChanges(state="withdrawn", reason="bricks radios"))
    wait_for(lambda: target(device)["reason"], "rollback", PLAN_AGE_S + 0.5)
    with runtime.database.transaction() as session:
        change_release(session, project_id, second["id"], ReleaseChanges(state="available"))
    wait_for(lambda: target(device)["reason"], "rollout", PLAN_AGE_S + 0.5)
    with runtime.database.transaction() as session:
        change_rollout(session, project_id, rollout["id"], state="ended")
    wait_for(lambda: target(device)["reason"], "up_to_date", PLAN_AGE_S + 0.5)


def test_a_revoked_key_is_out_after_a_second(device, runtime, monkeypatch):
    assert target(device)["component"] == "pump-1"
    caller = runtime.access.caller_of_key(device.headers["X-API-Key"])
    with runtime.database.transaction() as session:
        revoke_api_key(session, caller.project_id, caller.id)
    later_s = standings.monotonic() + standings.STANDING_AGE_S
    monkeypatch.setattr(standings, "monotonic", lambda: later_s)
    monkeypatch.setattr(runtime.access._keys, "_answers", {})
    assert device.get("/firmware/pump-1/target").status_code == 401


def test_a_database_that_is_away_is_told_as_ever(device, runtime, monkeypatch):
    target(device)

    def fail(_project_id):
        raise Unavailable("the database is away")

    monkeypatch.setattr(runtime.firmware_plans, "get", fail)
    runtime.firmware_plans.forget(runtime.access.caller_of_key(device.headers["X-API-Key"]).project_id)
    assert device.get("/firmware/pump-1/target").status_code == 503


def test_a_device_of_another_project_is_told_what_its_own_project_decided(runtime, anonymous, device):
    with runtime.database.transaction() as session:
        create_project(session, "elsewhere")
        key = create_api_key(session, name="eve", project="elsewhere", component="pump-1")
    theirs = anonymous.with_headers(X_API_Key=key)
    assert target(theirs) == {
        "component": "pump-1", "running": None, "version": None, "is_update": False, "url": None, "sha256": None,
        "reason": "nothing_released", "rollout": None,
    }  # fmt: skip
    assert target(device)["version"] is not None


def test_questions_count_as_reads(runtime, anonymous):
    with runtime.database.transaction() as session:
        project_id = create_project(session, "hurried").id
        key = create_api_key(session, name="h", project="hurried", component="pump-1")
        own = get_project_settings(session, project_id)
        put_project_settings(session, project_id, replace(own, reads_per_minute=3))
    hurried = anonymous.with_headers(X_API_Key=key)
    answers = [hurried.get("/firmware/pump-1/target") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert answers[3].json()["code"] == "rate_limited"
