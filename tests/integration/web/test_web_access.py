"""Who may call what: generated over all routes, so that a new one without a rule fails here."""

import json
import re

import pytest
from fastapi.routing import iter_route_contexts
from starlette.routing import WebSocketRoute

from gaugehouse.access import Scope
from gaugehouse.web.api.influx import authorize_influx
from gaugehouse.web.api.legacy_firmware import authorize_update, authorize_url
from gaugehouse.web.api.scraping import sees_projects
from gaugehouse.web.security import CARRIED_BY, authorize, authorize_cookie, authorize_docs

PUBLIC = {
    ("GET", "/health"),
    ("GET", "/ready"),
    ("POST", "/token"),
    ("GET", "/"),
    ("GET", "/b/docs"),
    ("GET", "/static"),
    ("GET", "/ping"),
    ("GET", "/api/ping"),
    ("POST", "/v1/invitations/accept"),
    ("POST", "/v1/password-reset"),
    ("POST", "/v1/password-reset/confirm"),
    ("GET", "/.well-known/jwks.json"),
    ("GET", "/sign-in"),
    ("POST", "/sign-in"),
}
INFLUX = {("POST", "/api/v2/write"), ("POST", "/write"), ("GET", "/query"), ("POST", "/query")}
PAGES = {("GET", "/sign-out"), ("POST", "/sign-out")}
DOCS = {("GET", "/docs"), ("GET", "/openapi.json")}
SCRAPED = {("GET", "/metrics")}
SECRETS = {
    ("POST", "/upload_firmware_update"): authorize_update,
    ("GET", "/get_firmware_updates_by_device_id"): authorize_url,
}
NO_SCOPE = {
    ("GET", "/v1/me"),
    ("POST", "/v1/logout"),
    ("POST", "/v1/logout-everywhere"),
    ("GET", "/v1/live"),  # what is asked for there decides
}
REFRESHED = {("POST", "/v1/token/refresh")}  # a refresh token in the body


def routes(app):
    for context in iter_route_contexts([route for route in app.routes if not isinstance(route, WebSocketRoute)]):
        for method in sorted((context.methods or {"GET"}) - {"HEAD"}):
            yield method, context.path, context


def wanted_scopes(context):
    """Return the scopes that the one dependency asks for on a route; None when the route lacks it."""
    found = [nested for nested in context.dependant.dependencies if nested.call is authorize]
    return [Scope(scope) for scope in found[0].own_oauth_scopes or []] if found else None


def call(client, method, path):
    body = {"json": {}} if method in {"POST", "PATCH"} else {}
    return client.request(method, re.sub(r"{\w+}", "cmp_none", path), **body)


def test_every_route_is_public_on_purpose_or_asks_who_is_calling(app):
    for method, path, context in routes(app):
        if (method, path) in PUBLIC | REFRESHED:
            continue
        calls = {nested.call for nested in context.dependant.dependencies}
        rules = (
            dict.fromkeys(DOCS, authorize_docs)
            | dict.fromkeys(PAGES, authorize_cookie)
            | dict.fromkeys(INFLUX, authorize_influx)
        )
        rule = (rules | SECRETS | dict.fromkeys(SCRAPED, sees_projects)).get((method, path), authorize)
        assert rule in calls, f"{method} {path} has no access rule"


def test_the_one_websocket_is_that_of_live_data(app):
    """Its first message says who is calling: tests/integration/web/test_web_live.py."""
    assert [route.path for route in app.routes if isinstance(route, WebSocketRoute)] == ["/v1/live"]


def test_every_v1_route_asks_for_a_scope(app):
    for method, path, context in routes(app):
        if path.startswith("/v1/") and (method, path) not in NO_SCOPE | PUBLIC | REFRESHED:
            assert wanted_scopes(context), f"{method} {path} asks for no scope"


def test_without_credentials_every_route_answers_401(app, anonymous):
    for method, path, _ in routes(app):
        if path.startswith("/v1/") and (method, path) not in PUBLIC | REFRESHED:
            answer = call(anonymous, method, path)
            assert answer.status_code == 401, f"{method} {path}: {answer.status_code}"
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer not.a.token"},
        {"Authorization": "Bearer " + "x" * 5000},
        {"X-API-Key": "ghk_" + "0" * 36},
        {"X-API-Key": "nonsense"},
        {"Authorization": "Basic dXNlcjp1c2Vy"},
        {"Authorization": "Bearer a", "X-API-Key": "b"},
    ],
)
def test_credentials_that_do_not_count_are_a_401(anonymous, headers):
    assert anonymous.get("/v1/me", headers=headers).status_code == 401


def test_with_the_wrong_scope_every_route_answers_403_and_with_the_right_one_neither(
    app, make_key, user, manager, admin
):
    writer = make_key(scopes=["measurements:write"])
    reader = make_key(scopes=["measurements:read"])
    for method, path, context in routes(app):
        scopes = wanted_scopes(context) if path.startswith("/v1/") else None
        if not scopes:
            continue
        wrong = reader if Scope.MEASUREMENTS_WRITE in scopes else writer
        answer = call(wrong, method, path)
        assert answer.status_code == 403, f"{method} {path}: {answer.status_code}"
        assert answer.json()["scopes_needed"] == [str(scope) for scope in scopes]
        is_for_managers = CARRIED_BY[scopes[0]] is Scope.MANAGER
        is_for_admins = scopes[0] is Scope.ADMIN
        right = admin if is_for_admins else manager if is_for_managers else user
        allowed = call(right, method, path).status_code
        assert allowed not in {401, 403}, f"{method} {path}"
        assert allowed < 500, f"{method} {path}: {allowed}"
        assert call(user, method, path).status_code == 403 or not (is_for_managers or is_for_admins), f"{method} {path}"


WAYS = {
    "X-API-Key": lambda key: {"X-API-Key": key},
    "api_key": lambda key: {"api_key": key},
    "Bearer": lambda key: {"Authorization": f"Bearer {key}"},
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_key_counts_whichever_way_it_is_sent(anonymous, make_key, way):
    key = make_key(component="ways").headers["X-API-Key"]
    headers = way(key)
    me = anonymous.get("/v1/me", headers=headers).json()
    assert (me["kind"], me["component"]) == ("key", "ways")
    row = {"component": "ways", "metric": "m", "measured_at": "2026-11-20T10:00:00Z", "value": 1}
    for _ in range(2):
        assert anonymous.post("/v1/measurements", json=[row], headers=headers).status_code == 201
    assert anonymous.post("/v1/measurements", json=[row], headers=way(key[:-1] + "!")).status_code == 401


@pytest.mark.parametrize("path", ["/v1/me", "/v1/measurements"])
def test_two_different_keys_are_refused(anonymous, make_key, path):
    one, other = (make_key().headers["X-API-Key"] for _ in range(2))
    method = "GET" if path == "/v1/me" else "POST"
    row = {"component": "ways", "metric": "m", "measured_at": "2026-11-20T10:00:00Z", "value": 1}
    body = {} if method == "GET" else {"json": [row]}
    for headers in ({"X-API-Key": one, "api_key": other}, {"X-API-Key": one, "Authorization": f"Bearer {other}"}):
        answer = anonymous.request(method, path, headers=headers, **body)
        assert (answer.status_code, answer.json()["code"]) == (401, "two_credentials")
    assert anonymous.get("/v1/me", headers={"X-API-Key": one, "api_key": one}).status_code == 200


def test_a_key_in_the_address_does_not_count(anonymous, make_key):
    key = make_key().headers["X-API-Key"]
    assert anonymous.get("/v1/me", params={"api_key": key}).status_code in {401, 422}


def test_sign_in_gives_a_bearer_token_that_is_not_stored(anonymous):
    answer = anonymous.post("/token", data={"username": "manager", "password": "manager"})
    assert answer.status_code == 200
    token = answer.json()
    assert (token["token_type"], token["scope"]) == ("bearer", "manager user")
    assert token["expires_in"] > 0
    assert answer.headers["cache-control"] == "no-store"
    me = anonymous.get("/v1/me", headers={"Authorization": f"Bearer {token['access_token']}"}).json()
    assert me == {
        "kind": "user",
        "name": "manager",
        "project": "default",
        "scopes": ["manager", "user"],
        "component": None,
    }


def test_sign_in_with_fewer_scopes_gives_fewer(anonymous):
    answer = anonymous.post("/token", data={"username": "manager", "password": "manager", "scope": "manager"})
    assert answer.json()["scope"] == "manager"


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"username": "user", "password": "wrong"}, 401),
        ({"username": "nobody", "password": "user"}, 401),
        ({"username": "user\0", "password": "user\0"}, 401),
        ({"username": "user", "password": "user", "scope": "manager"}, 403),
        ({"username": "user", "password": "user", "scope": "root"}, 403),
        ({"username": "user"}, 422),
        ({"username": "user", "password": "user", "project": "elsewhere"}, 404),
    ],
)
def test_a_sign_in_that_fails_is_a_problem(anonymous, form, status):
    answer = anonymous.post("/token", data=form)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_unknown_users_and_wrong_passwords_look_the_same(anonymous):
    answers = [
        anonymous.post("/token", data={"username": name, "password": "wrong"}).json() for name in ("user", "nobody")
    ]
    assert len({(answer["detail"], answer["code"], answer["status"]) for answer in answers}) == 1


def test_a_key_of_one_component_sees_and_writes_that_one_only(make_key, manager):
    names = ["bound/pump", "other pump"]
    assert manager.post("/v1/components", json=[{"name": name} for name in names]).status_code == 201
    key = make_key(component="bound/pump", scopes=["measurements:write", "measurements:read", "events:read"])
    row = {"metric": "rssi", "measured_at": "2026-11-20T10:00:00Z", "value": -50}
    assert key.post("/v1/measurements", json=[row | {"component": "bound/pump"}]).status_code == 201
    assert key.post("/v1/measurements", json=[row | {"component": "other pump"}]).status_code == 403
    assert manager.post("/v1/measurements", json=[row | {"component": "other pump"}]).status_code == 201
    assert [item["name"] for item in key.get("/v1/components").json()["items"]] == ["bound/pump"]
    for path in ("/v1/measurements", "/v1/latest", "/v1/summary"):
        assert {item["component"] for item in key.get(path).json()["items"]} == {"bound/pump"}, path
        assert key.get(path, params={"component": "other pump"}).status_code == 404, path
    for path in ("", "/latest", "/summary", "/events", "/measurements"):
        assert key.get(f"/v1/components/other pump{path}").status_code == 404, path
    assert key.get("/v1/components", params={"component": "other pump"}).status_code == 404


def test_what_a_bound_key_may_not_see_answers_like_what_does_not_exist(make_key, manager):
    created = manager.post("/v1/components", json=[{"name": "mine"}, {"name": "not mine"}]).json()["items"]
    other = created[1]
    manager.post("/v1/metrics", json=[{"name": "glow"}, {"name": "glow", "component": "not mine", "usl": 7}])
    key = make_key(component="mine", scopes=["measurements:read", "events:read"])
    asked = [f"/v1/components/{{}}{part}" for part in ("", "/latest", "/summary", "/events", "/measurements")]
    fields = ("components", "metrics", "latest", "summary", "events", "measurements")
    asked += [f"/v1/{resource}?component={{}}" for resource in fields]
    for path in asked:
        for hidden in ("not mine", other["id"]):
            answers = [key.get(path.format(name)) for name in (hidden, "nobody")]
            assert [answer.status_code for answer in answers] == [404, 404], path
            said = [
                {name: text for name, text in answer.json().items() if name not in {"instance", "request_id"}}
                for answer in answers
            ]
            assert json.dumps(said[0]).replace(hidden, "nobody") == json.dumps(said[1]), path
            assert other["id"] == hidden or other["id"] not in answers[0].text
            assert hidden == "not mine" or "not mine" not in answers[0].text


def test_a_key_of_a_component_that_does_not_exist_yet_finds_nothing(make_key):
    key = make_key(component="to be delivered", scopes=["measurements:read", "events:read"])
    for path in ("/v1/components", "/v1/latest", "/v1/summary", "/v1/events", "/v1/measurements"):
        assert key.get(path).json()["items"] == [], path
