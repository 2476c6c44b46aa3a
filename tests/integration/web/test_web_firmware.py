"""Who runs what, who is behind, what is decided, by HTTP; the form of versions; another project sees nothing."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest

from gaugehouse.access import create_api_key
from gaugehouse.fleet.rollouts import Plans
from gaugehouse.fleet.running import RunningVersions
from gaugehouse.inventory import create_project


@pytest.fixture(scope="module", autouse=True)
def fleet(runtime, manager, user):
    """Four devices: two on 1.0, one on 1.1, one that only tried."""
    manager.post(
        "/v1/components", json=[{"name": name, "labels": {"site": "north"}} for name in ("d1", "d2", "d3", "d4")]
    )
    reports = [
        ("d1", "2026-01-01", "0.9", "updated"),
        ("d1", "2026-02-01", "1.0", "updated"),
        ("d2", "2026-02-02", "1.0", ""),
        ("d3", "2026-02-03", "1.1", "success"),
        ("d3", "2026-02-04", "1.2", "failed"),
        ("d4", "2026-02-05", "1.2", "downloading"),
    ]
    for name, day, version, status in reports:
        sent = {"firmware": version, "timestamp": f"{day}T00:00:00Z", "status": status}
        assert manager.post(f"/firmware/{name}", json=sent).status_code == 201
    return manager


@pytest.fixture(scope="module")
def stranger(runtime, anonymous):
    with runtime.database.transaction() as session:
        create_project(session, "elsewhere")
        return anonymous.with_headers(X_API_Key=create_api_key(session, name="eve", project="elsewhere"))


def counted(answer):
    assert answer.status_code == 200, answer.text
    return {one["version"]: one["devices"] for one in answer.json()["versions"]}


def test_versions_are_counted_now_and_as_they_were(user, make_key):
    assert counted(user.get("/v1/firmware/versions")) == {"1.0": 2, "1.1": 1}
    assert counted(user.get("/v1/firmware/versions?at=2026-01-15T00:00:00Z")) == {"0.9": 1}
    assert counted(user.get("/v1/firmware/versions?at=2026-02-02T00:00:00Z")) == {"1.0": 2}
    assert counted(user.get("/v1/firmware/versions?at=2025-01-01T00:00:00Z")) == {}
    assert counted(make_key(component="d3").get("/v1/firmware/versions")) == {"1.1": 1}


@pytest.mark.parametrize(
    ("at", "version", "since"),
    [
        ("2025-12-31T23:59:59Z", None, None),
        ("2026-01-01T00:00:00Z", "0.9", "2026-01-01T00:00:00Z"),
        ("2026-01-31T23:59:59.999999Z", "0.9", "2026-01-01T00:00:00Z"),
        ("2026-02-01T01:00:00+01:00", "1.0", "2026-02-01T00:00:00Z"),
        (None, "1.0", "2026-02-01T00:00:00Z"),
    ],
)
def test_the_version_in_force_is_that_of_the_last_report_before(user, at, version, since):
    found = user.get("/v1/firmware/d1", params={} if at is None else {"at": at}).json()
    assert (found["version"], found["since"]) == (version, since)


def test_an_attempt_is_no_version_in_force(user):
    assert user.get("/v1/firmware/d3").json()["version"] == "1.1"
    assert user.get("/v1/firmware/d4").json()["version"] is None
    target = user.get("/v1/firmware/d4/target").json()
    assert (target["running"], target["version"], target["reason"]) == (None, None, "nothing_released")


def test_a_component_in_the_way_of_a_list_is_asked_for_by_its_id(manager, user):
    created = manager.post("/v1/components", json={"name": "versions"}).json()
    assert user.get(f"/v1/firmware/{created['id']}").json()["component"] == "versions"


def test_from_release_to_withdrawal(manager, user):
    first = manager.post("/v1/firmware/releases", json={"version": "1.0"}).json()
    second = manager.post("/v1/firmware/releases", json={"version": "1.1", "state": "recommended"}).json()
    census = user.get("/v1/firmware/versions").json()
    assert (census["total_devices"], census["behind_devices"]) == (3, 2)
    assert [(one["version"], one["state"], one["is_behind"]) for one in census["versions"]] == [
        ("1.0", "available", True),
        ("1.1", "recommended", False),
    ]
    page = user.get("/v1/firmware/behind?limit=1").json()
    assert [(one["component"], one["version"], one["recommended"]) for one in page["items"]] == [("d1", "1.0", "1.1")]
    rest = user.get("/v1/firmware/behind", params={"limit": 1, "cursor": page["next_cursor"]}).json()
    assert ([one["component"] for one in rest["items"]], rest["next_cursor"]) == (["d2"], None)
    assert user.get("/v1/firmware/d1/target").json()["reason"] == "recommended"

    gone = manager.patch(
        f"/v1/firmware/releases/{second['id']}", json={"state": "withdrawn", "reason": "bricks radios"}
    )
    assert gone.json()["withdrawn_reason"] == "bricks radios"
    told = user.get("/v1/firmware/d3/target").json()
    assert (told["version"], told["reason"], told["is_update"]) == ("1.0", "rollback", True)
    assert user.get("/v1/firmware/d4/target").json()["version"] is None  # a new device never gets it
    assert user.get("/v1/firmware/behind").json()["items"] == []
    listed = manager.get("/v1/firmware/releases?state=withdrawn").json()
    assert [one["id"] for one in listed["items"]] == [second["id"]]
    assert manager.get(f"/v1/firmware/releases/{first['id']}").json()["state"] == "available"
    assert manager.post("/v1/firmware/releases", json={"version": "1.0"}).json()["code"] == "release_exists"
    assert manager.post("/v1/firmware/releases", json={"version": "latest"}).json()["code"] == "version_refused"


def test_rollouts_by_http(manager, user):
    release = manager.post("/v1/firmware/releases", json={"version": "1.3"}).json()
    begun = manager.post(
        "/v1/firmware/rollouts", json={"release": release["id"], "labels": {"site": "north"}, "share_percent": 0}
    )
    assert begun.status_code == 201
    assert user.get("/v1/firmware/d2/target").json()["version"] == "1.0"
    where = begun.headers["location"]
    assert manager.patch(where, json={"share_percent": 100}).json()["share_percent"] == 100
    assert user.get("/v1/firmware/d2/target").json() | {"url": None} == {
        "component": "d2", "running": "1.0", "version": "1.3", "is_update": True, "url": None, "sha256": None,
        "reason": "rollout", "rollout": begun.json()["id"],
    }  # fmt: skip
    assert manager.get("/v1/firmware/rollouts").json()["total"] == 1
    assert manager.patch(where, json={"state": "ended"}).json()["state"] == "ended"
    assert manager.get("/v1/firmware/rollouts").json()["total"] == 0
    assert manager.get(where).json()["state"] == "ended"
    assert user.get("/v1/firmware/d2/target").json()["version"] == "1.0"


def test_a_key_may_ask_for_its_own_device_before_it_ever_reported(make_key, user):
    key = make_key(component="unborn")
    assert key.get("/firmware/unborn/target").json()["reason"] == "nothing_released"
    assert key.get("/firmware/d1/target").status_code == 404
    assert user.get("/firmware/unborn/target").status_code == 404


def test_another_project_sees_and_changes_nothing(stranger, manager, fleet):
    for path in ("/firmware/d1", "/firmware/d1/target", "/v1/firmware/d1", "/v1/firmware/d1/target"):
        assert stranger.get(path).status_code == 404, path
    assert counted(stranger.get("/v1/firmware/versions")) == {}
    assert counted(stranger.get("/v1/firmware/versions?at=2026-06-01T00:00:00Z")) == {}
    assert stranger.get("/v1/firmware/behind").json()["items"] == []
    # A device that moved there under the same name reports anew, and its old events stay where they were.
    sent = {"firmware": "7.0", "timestamp": "2026-03-01T00:00:00Z", "status": "updated"}
    assert stranger.post("/firmware/d1", json=sent).status_code == 201
    assert [one["firmware"] for one in stranger.get("/firmware/d1").json()] == ["7.0"]
    assert [one["firmware"] for one in manager.get("/firmware/d1").json()] == ["0.9", "1.0"]
    assert stranger.get("/v1/firmware/d1?at=2026-02-15T00:00:00Z").json()["version"] is None
    assert counted(manager.get("/v1/firmware/versions")) == {"1.0": 2, "1.1": 1}


def test_what_other_addresses_and_other_starts_know_is_the_same(runtime, manager, fleet):
    """Memory that was followed, memory that is built anew, and the files agree; before and after a flush."""
    row = {"component": "d4", "kind": "firmware", "occurred_at": "2026-02-06T00:00:00Z", "body": {"version": "1.0"}}
    runtime.versions.count("default")
    manager.post("/v1/events", json=[row])
    late = {"component": "d1", "kind": "firmware", "occurred_at": "2026-01-20T00:00:00Z", "body": {"version": "0.95"}}
    manager.post("/v1/events", json=[late])
    followed = RunningVersions(runtime.lake)
    for _ in range(2):
        expected = {name: version for name, _, version in RunningVersions(runtime.lake).read_all("default")}
        assert expected == {"d1": "1.0", "d2": "1.0", "d3": "1.1", "d4": "1.0"}
        assert {name: version for name, _, version in followed.read_all("default")} == expected
        assert manager.get("/v1/firmware/d1?at=2026-01-25T00:00:00Z").json()["version"] == "0.95"
        runtime.lake.flush()


def test_memory_is_followed_not_read_again(runtime, manager):
    now_s = [0.0]
    versions = RunningVersions(runtime.lake, clock=lambda: now_s[0])
    before = versions.count("default")
    sent = {"component": "d2", "kind": "firmware", "occurred_at": "2026-02-10T00:00:00Z", "body": {"version": "1.4"}}
    manager.post("/v1/events", json=[sent])
    assert versions.count("default") == before  # looked at a moment ago
    now_s[0] = 1.0
    assert versions.find("default", "d2").version == "1.4"
    assert versions.count("default") == before | {"1.4": 1, "1.0": before["1.0"] - 1}
    manager.post("/v1/events", json=[sent])  # a repeat
    now_s[0] = 2.0
    assert versions.count("default")["1.4"] == 1
    versions.forget("default")
    assert versions.find("default", "d2").version == "1.4"


def test_a_manager_chooses_the_form_of_versions(runtime, manager, user, stranger):
    assert user.get("/v1/firmware/form").json() == {"form": "dotted"}
    assert manager.put("/v1/firmware/form", json={"form": "{number}{number}"}).json()["code"] == "form_refused"
    assert manager.put("/v1/firmware/form", json={"form": "FW{number}"}).json() == {"form": "FW{number}"}
    sent = {"firmware": "FW7", "timestamp": "2026-02-11T00:00:00Z"}
    assert manager.post("/firmware/d2", json=sent).status_code == 201
    refused = manager.post("/firmware/d2", json=sent | {"firmware": "1.0"})
    assert (refused.status_code, refused.json()["code"]) == (422, "version_refused")
    assert stranger.get("/v1/firmware/form").json() == {"form": "dotted"}
    assert (
        Plans(runtime.database).form(runtime.access.caller_of_key(stranger.headers["X-API-Key"]).project_id).text
        == "dotted"
    )
    assert manager.put("/v1/firmware/form", json={"form": "dotted"}).status_code == 200


def test_a_retired_device_is_neither_counted_nor_behind(runtime, manager, user, make_key):
    runtime.versions.forget("default")  # what tests before sent as events shows after a second
    release = manager.post("/v1/firmware/releases", json={"version": "9.0", "state": "recommended"}).json()
    before = counted(user.get("/v1/firmware/versions"))
    behind = {one["component"] for one in user.get("/v1/firmware/behind").json()["items"]}
    assert "d3" in behind
    retired = manager.post("/v1/components/d3/retire").json()
    version = user.get("/v1/firmware/d3").json()["version"]
    assert counted(user.get("/v1/firmware/versions")) == {
        name: devices for name, devices in (before | {version: before[version] - 1}).items() if devices
    }
    assert {one["component"] for one in user.get("/v1/firmware/behind").json()["items"]} == behind - {"d3"}
    assert counted(make_key(component="d3").get("/v1/firmware/versions")) == {}
    earlier = {"at": (datetime.fromisoformat(retired["retired_at"]) - timedelta(seconds=1)).isoformat()}
    assert counted(user.get("/v1/firmware/versions", params=earlier)) == before
    later = {"at": retired["retired_at"]}
    assert sum(counted(user.get("/v1/firmware/versions", params=later)).values()) == sum(before.values()) - 1
    manager.post("/v1/components/d3/restore")
    assert counted(user.get("/v1/firmware/versions")) == before
    manager.patch(f"/v1/firmware/releases/{release['id']}", json={"state": "withdrawn"})


def test_an_update_that_is_sent_again_before_its_answer_is_one_event(anonymous, make_key):
    device = make_key(component="77")
    sent = {"device_id": 77, "secret": device.headers["X-API-Key"], "version": "SemVer1.0"}
    for version in ("SemVer1.0", "SemVer2.0", "SemVer1.0"):
        with ThreadPoolExecutor(8) as pool:
            bodies = [sent | {"version": version}] * 24
            answers = pool.map(lambda body: anonymous.post("/upload_firmware_update", json=body).text, bodies)
            assert set(answers) == {"Successfully updated firmware version"}
    assert [one["firmware"] for one in device.get("/firmware/77").json()] == ["1.0", "2.0", "1.0"]


def test_instants_are_utc_texts(user):
    since = user.get("/v1/firmware/d3").json()["since"]
    assert datetime.fromisoformat(since).utcoffset().total_seconds() == 0
