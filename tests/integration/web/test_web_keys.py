"""Keys over HTTP: made and shown once, replaced, ended; personal ones live as long as their owner's membership."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from gaugehouse.access import create_api_key, create_user, end_membership, find_api_keys
from gaugehouse.inventory import create_project

PASSWORD = "a long enough password"
ROW = {"component": "press", "metric": "level", "measured_at": "2026-11-20T10:00:00Z", "value": 1}


@pytest.fixture(scope="module")
def elsewhere(runtime):
    """Id of a key of another project."""
    with runtime.database.transaction() as session:
        project = create_project(session, "elsewhere")
        create_api_key(session, name="theirs", project="elsewhere")
        return find_api_keys(session, project.id)[0].id


@pytest.fixture(scope="module")
def person(runtime, anonymous):
    """Sign somebody new in, and return what calls as they."""

    def sign_in(name, role="manager"):
        with runtime.database.transaction() as session:
            create_user(session, name=name, password=PASSWORD, role=role, project="default")
        token = anonymous.post("/token", data={"username": name, "password": PASSWORD}).json()["access_token"]
        return anonymous.with_headers(Authorization=f"Bearer {token}")

    return sign_in


def make(client, path="/v1/keys", **wanted):
    answer = client.post(path, json={"name": "line 3"} | wanted)
    assert answer.status_code == 201, answer.text
    return answer.json()


def forget(runtime):
    """Let the next question about a key be asked anew: as if a second had passed."""
    runtime.access._keys._answers.clear()


def test_a_key_is_shown_when_it_is_made_and_never_again(admin, anonymous):
    made = make(admin, component="press", scopes=["measurements:write"])
    assert re.fullmatch(r"ghk_[0-9A-Za-z]{36}", made["key"])
    view = made["view"]
    assert (view["name"], view["component"], view["owner"]) == ("line 3", "press", None)
    assert view["scopes"] == ["measurements:write"]
    assert view["shown"] == made["key"][:8]
    assert admin.get(f"/v1/keys/{view['id']}").json() == view
    listed = admin.get("/v1/keys", params={"component": "press"})
    assert view in listed.json()["items"]
    assert made["key"][8:] not in listed.text
    device = anonymous.with_headers(X_API_Key=made["key"])
    assert device.post("/v1/measurements", json=[ROW]).status_code == 201
    assert device.post("/v1/measurements", json=[ROW | {"component": "other"}]).status_code == 403
    assert device.get("/v1/measurements").status_code == 403


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ({"scopes": ["admin"]}, "scope_refused"),
        ({"scopes": ["account"]}, "scope_refused"),
        ({"scopes": ["reports:write"], "component": "press"}, "scope_refused"),
        ({"scopes": ["events:write"], "read_only": True}, "scope_refused"),
        ({"name": ""}, "name_refused"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expiry_refused"),
        ({"expires_at": "9999-12-31T23:59:59-14:00"}, "request_refused"),
        ({"expires_at": "2030-01-01T00:00:00"}, "request_refused"),
    ],
)
def test_a_key_that_cannot_be_is_refused(admin, wanted, code):
    answer = admin.post("/v1/keys", json={"name": "line 3"} | wanted)
    assert (answer.status_code, answer.json()["code"]) == (422, code)


def test_a_rotation_shows_the_new_key_and_lets_the_older_count_until_the_overlap_ends(admin, anonymous):
    old = make(admin, scopes=["measurements:read"])
    asked_at = datetime.now(UTC)
    answer = admin.post(f"/v1/keys/{old['view']['id']}/rotate", params={"overlap_s": 600})
    assert answer.status_code == 201
    new = answer.json()
    for key in (old["key"], new["key"]):
        assert anonymous.get("/v1/me", headers={"X-API-Key": key}).json()["scopes"] == ["measurements:read"]
    view = admin.get(f"/v1/keys/{old['view']['id']}").json()
    assert view["successor_id"] == new["view"]["id"]
    ends_at = datetime.fromisoformat(view["expires_at"])
    assert timedelta(seconds=590) < ends_at - asked_at < timedelta(seconds=660)
    again = admin.post(f"/v1/keys/{old['view']['id']}/rotate")
    assert (again.status_code, again.json()["code"]) == (409, "api_key_ended")


@pytest.mark.parametrize("overlap_s", ["-1", "nan", "1e9", "soon"])
def test_an_overlap_that_makes_no_sense_is_a_422(admin, overlap_s):
    old = make(admin)
    path = f"/v1/keys/{old['view']['id']}/rotate"
    assert admin.post(path, params={"overlap_s": overlap_s}).status_code == 422


def test_an_ended_key_is_refused_and_stays_listed(admin, anonymous, runtime):
    made = make(admin)
    headers = {"X-API-Key": made["key"]}
    assert anonymous.get("/v1/me", headers=headers).status_code == 200
    assert admin.delete(f"/v1/keys/{made['view']['id']}").json()["revoked_at"] is not None
    forget(runtime)
    assert anonymous.get("/v1/me", headers=headers).status_code == 401
    assert admin.get(f"/v1/keys/{made['view']['id']}").json()["revoked_at"] is not None


def test_keys_of_another_project_are_not_there(admin, manager, elsewhere):
    for client, path in ((admin, "/v1/keys"), (manager, "/v1/me/keys")):
        for method, part in (("POST", "/rotate"), ("DELETE", "")):
            answers = [client.request(method, f"{path}/{key}{part}") for key in (elsewhere, "key_none")]
            assert [answer.status_code for answer in answers] == [404, 404]
            assert len({answer.json()["detail"] for answer in answers}) == 1
    assert admin.get(f"/v1/keys/{elsewhere}").status_code == 404
    assert elsewhere not in admin.get("/v1/keys", params={"limit": 1000}).text


def test_a_members_keys_are_theirs(admin, person, anonymous):
    one, other = person("kim"), person("lee")
    made = make(one, "/v1/me/keys", name="laptop")
    assert made["view"]["owner"] == "kim"
    assert anonymous.get("/v1/me", headers={"X-API-Key": made["key"]}).json()["name"] == "kim/laptop"
    path = f"/v1/me/keys/{made['view']['id']}"
    assert [item["id"] for item in one.get("/v1/me/keys").json()["items"]] == [made["view"]["id"]]
    assert other.get("/v1/me/keys").json()["items"] == []
    assert [other.post(f"{path}/rotate").status_code, other.delete(path).status_code] == [404, 404]
    assert admin.post(f"/v1/keys/{made['view']['id']}/rotate").status_code == 404  # it would be theirs to use
    assert made["view"]["id"] in admin.get("/v1/keys", params={"limit": 1000}).text
    assert one.post(f"{path}/rotate").status_code == 201
    assert admin.delete(f"/v1/keys/{made['view']['id']}").status_code == 200


def test_a_viewer_makes_no_key_that_writes(person):
    viewer = person("viola", role="viewer")
    answer = viewer.post("/v1/me/keys", json={"name": "laptop", "scopes": ["measurements:write"]})
    assert (answer.status_code, answer.json()["code"]) == (422, "scope_refused")
    assert make(viewer, "/v1/me/keys", read_only=True)["view"]["scopes"] == ["measurements:read", "events:read"]


def test_a_token_of_few_scopes_buys_no_key_of_more(person, anonymous):
    whole = person("nils")
    held = make(whole, "/v1/me/keys", scopes=["measurements:write"])["view"]["id"]
    few = anonymous.post("/token", data={"username": "nils", "password": PASSWORD, "scope": "user"}).json()
    limited = anonymous.with_headers(Authorization=f"Bearer {few['access_token']}")
    asked = [
        limited.post("/v1/me/keys", json={"name": "laptop", "scopes": ["measurements:write"]}),
        limited.post("/v1/me/keys", json={"name": "laptop"}),
        limited.post(f"/v1/me/keys/{held}/rotate"),
    ]
    assert [(answer.status_code, answer.json()["code"]) for answer in asked] == [(403, "scope_not_granted")] * 3
    assert [one["id"] for one in whole.get("/v1/me/keys").json()["items"]] == [held]  # nothing was made or replaced
    assert make(limited, "/v1/me/keys", read_only=True)["view"]["scopes"] == ["measurements:read", "events:read"]
    assert limited.delete(f"/v1/me/keys/{held}").status_code == 200  # to end one is no more than to lose it


def test_a_leavers_key_is_refused(person, runtime, anonymous):
    key = make(person("lea"), "/v1/me/keys")["key"]
    headers = {"X-API-Key": key}
    assert anonymous.get("/v1/components", headers=headers).status_code == 200
    with runtime.database.transaction() as session:
        end_membership(session, name="lea", project="default")
    forget(runtime)
    assert anonymous.get("/v1/components", headers=headers).status_code == 401


def test_a_personal_key_does_nothing_that_needs_a_session(person, anonymous):
    key = make(person("sam", role="admin"), "/v1/me/keys")["key"]
    client = anonymous.with_headers(X_API_Key=key)
    for method, path in (("GET", "/v1/me/keys"), ("POST", "/v1/me/keys"), ("GET", "/v1/keys"), ("GET", "/v1/members")):
        assert client.request(method, path, json={"name": "more"} if method == "POST" else None).status_code == 403
    body = {"old_password": PASSWORD, "new_password": "another long password"}
    assert client.post("/v1/me/password", json=body).status_code == 403


def test_the_operator_of_the_machine_has_no_personal_keys(runtime, anonymous):
    operator = anonymous.with_headers(Authorization=f"Bearer {runtime.access.issue_operator_token('default')}")
    assert operator.get("/v1/me/keys").json()["code"] == "no_user"
    assert operator.get("/v1/keys").status_code == 200


def test_the_last_use_of_a_key_is_told(admin, anonymous, runtime):
    made = make(admin, component="press")
    assert made["view"]["last_used_at"] is None
    device = anonymous.with_headers(X_API_Key=made["key"])
    for _ in range(3):
        assert device.post("/v1/measurements", json=[ROW]).status_code == 201
    runtime.access.write_key_uses(is_last=True)
    assert admin.get(f"/v1/keys/{made['view']['id']}").json()["last_used_at"] is not None
