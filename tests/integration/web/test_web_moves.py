"""A component moves to another project: its past stays, its keys go along, and both logs tell."""

import time

import pytest

from gaugehouse.access import create_user, grant_role
from gaugehouse.audit import EntryFilter, find_entries
from gaugehouse.inventory import create_project

PASSWORD = "a long enough password"


@pytest.fixture(scope="module")
def projects(runtime, admin):
    """Ids by slug; `admin` is admin of `default` and `north`, a viewer of `south` and nothing in `west`."""
    with runtime.database.transaction() as session:
        made = {slug: create_project(session, slug).id for slug in ("north", "south", "west")}
        grant_role(session, name="admin", project="north", role="admin")
        grant_role(session, name="admin", project="south", role="viewer")
        create_user(session, name="nora", password=PASSWORD, role="admin", project="north")
    return made


@pytest.fixture(scope="module")
def nora(anonymous, projects):
    token = anonymous.post("/token", data={"username": "nora", "password": PASSWORD}).json()["access_token"]
    return anonymous.with_headers(Authorization=f"Bearer {token}")


def wait():
    """Let what is remembered of keys grow too old, in the short way of deliveries as well."""
    time.sleep(1.0)


def row(component, second, value=1.0):
    return {
        "component": component,
        "metric": "level",
        "measured_at": f"2026-11-20T10:00:{second:02d}Z",
        "value": value,
    }


def values(client, component):
    answer = client.get("/v1/measurements", params={"component": component})
    return [item["value"] for item in answer.json()["items"]] if answer.status_code == 200 else answer.status_code


def create(admin, name, **described):
    assert admin.post("/v1/components", json={"name": name} | described).status_code == 201
    scopes = ["measurements:write", "measurements:read", "status:read"]
    return admin.post("/v1/keys", json={"name": name, "component": name, "scopes": scopes}).json()["key"]


def move(client, name, project):
    return client.post(f"/v1/components/{name}/move", json={"project": project})


def test_what_it_sent_before_stays_and_what_it_sends_goes_to_the_new_project(admin, nora, anonymous, runtime):
    key = create(admin, "mill", title="Mill 1", labels={"line": "A"})
    device = anonymous.with_headers(X_API_Key=key)
    assert device.post("/v1/measurements", json=[row("mill", 1, 1.0)]).status_code == 201
    assert admin.post("/v1/metrics", json={"name": "level", "component": "mill", "usl": 7}).status_code == 201
    answer = move(admin, "mill", "north")
    assert answer.status_code == 200, answer.text
    moved = answer.json()
    assert (moved["name"], moved["title"], moved["labels"], moved["retired_at"]) == (
        "mill",
        "Mill 1",
        {"line": "A"},
        None,
    )
    wait()
    assert device.get("/v1/me").json()["project"] == "north"
    assert device.post("/v1/measurements", json=[row("mill", 2, 2.0)]).status_code == 201
    assert values(device, "mill") == [2.0]
    assert values(nora, "mill") == [2.0]
    assert values(admin, "mill") == [1.0]
    assert "mill" not in [one["name"] for one in admin.get("/v1/components").json()["items"]]
    assert admin.get("/v1/components/mill").json()["retired_at"] is not None
    described = nora.get("/v1/metrics", params={"component": "mill"}).json()["items"]
    assert 7 in [one["usl"] for one in described]


def test_both_logs_tell(admin, runtime, projects):
    create(admin, "lathe")
    project_id = runtime.access.caller_of_token(admin.headers["Authorization"].removeprefix("Bearer ")).project_id
    assert move(admin, "lathe", "north").status_code == 200
    with runtime.database.reading() as session:
        for chain in (project_id, projects["north"]):
            wanted = EntryFilter(project_id=chain, action="component.move", object="lathe")
            [entry] = find_entries(session, wanted, limit=10).entries
            assert entry.details == '{"from":"default","keys":1,"to":"north"}'


def test_a_component_that_comes_back_is_the_one_it_was(admin, anonymous, runtime):
    key = create(admin, "drill")
    device = anonymous.with_headers(X_API_Key=key)
    assert device.post("/v1/measurements", json=[row("drill", 1, 1.0)]).status_code == 201
    before = admin.get("/v1/components/drill").json()["id"]
    assert move(admin, "drill", "north").status_code == 200
    north = anonymous.post(
        "/token", data={"username": "admin", "password": "a long password of an admin", "project": "north"}
    )
    admin_of_north = anonymous.with_headers(Authorization=f"Bearer {north.json()['access_token']}")
    back = move(admin_of_north, "drill", "default")
    assert (back.status_code, back.json()["id"], back.json()["retired_at"]) == (200, before, None)
    wait()
    assert device.post("/v1/measurements", json=[row("drill", 2, 2.0)]).status_code == 201
    assert values(device, "drill") == [1.0, 2.0]


def test_one_who_is_not_admin_of_both_learns_nothing(admin, nora, projects):
    create(admin, "saw")
    answers = [move(admin, "saw", slug) for slug in ("south", "west", "nowhere")]
    assert [answer.status_code for answer in answers] == [404] * 3
    assert len({answer.json()["detail"] for answer in answers}) == 1
    assert move(nora, "saw", "default").status_code == 404
    assert move(nora, admin.get("/v1/components/saw").json()["id"], "default").status_code == 404


def test_the_operator_moves_to_any_project(admin, runtime, anonymous, projects):
    create(admin, "kiln")
    operator = anonymous.with_headers(Authorization=f"Bearer {runtime.access.issue_operator_token('default')}")
    assert move(operator, "kiln", "west").status_code == 200


def test_a_move_that_cannot_be_is_refused_and_changes_nothing(admin, nora, runtime, anonymous):
    key = create(admin, "crane")
    assert nora.post("/v1/components", json={"name": "crane"}).status_code == 201
    for project, status, code in (("north", 409, "component_exists"), ("default", 422, "same_project")):
        answer = move(admin, "crane", project)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    wait()
    assert anonymous.get("/v1/me", headers={"X-API-Key": key}).json()["project"] == "default"
    assert admin.get("/v1/components/crane").json()["retired_at"] is None
    assert move(admin, "nothing", "north").status_code == 404


def test_a_personal_key_stays_with_its_owner(admin, runtime, anonymous):
    create(admin, "press")
    body = {"name": "laptop", "component": "press", "scopes": ["measurements:read"]}
    key = admin.post("/v1/me/keys", json=body).json()["key"]
    assert move(admin, "press", "north").status_code == 200
    wait()
    assert anonymous.get("/v1/me", headers={"X-API-Key": key}).json()["project"] == "default"


def test_firmware_of_a_device_that_moved_is_asked_and_told_in_its_new_project_alone(admin, nora, anonymous):
    for client, version in ((admin, "1.1"), (nora, "2.0")):
        released = client.post("/v1/firmware/releases", json={"version": version, "state": "recommended"})
        assert released.status_code == 201, released.text
    assert admin.post("/v1/components", json={"name": "planer"}).status_code == 201
    key = admin.post("/v1/keys", json={"name": "planer", "component": "planer"}).json()["key"]
    device = anonymous.with_headers(X_API_Key=key)
    sent = {"firmware": "1.0", "timestamp": "2026-01-01T00:00:00Z", "status": "updated"}
    assert device.post("/firmware/planer", json=sent).status_code == 201
    told = device.get("/firmware/planer/target").json()
    assert (told["running"], told["version"]) == ("1.0", "1.1")
    assert "planer" in {one["component"] for one in admin.get("/v1/firmware/behind").json()["items"]}
    assert move(admin, "planer", "north").status_code == 200
    wait()
    assert device.get("/firmware/planer").json() == []
    assert device.get("/v1/firmware/planer?at=2026-02-01T00:00:00Z").json()["version"] is None
    told = device.get("/firmware/planer/target").json()
    assert (told["running"], told["version"]) == (None, "2.0")
    assert [one["firmware"] for one in admin.get("/firmware/planer").json()] == ["1.0"]
    assert nora.get("/firmware/planer").json() == []
    for client in (admin, nora):  # it is nobody's any more where it was, and has said nothing yet where it is
        assert "planer" not in {one["component"] for one in client.get("/v1/firmware/behind").json()["items"]}
