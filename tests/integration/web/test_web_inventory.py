"""Components and metrics over HTTP."""

import base64
import json

import pytest


def test_a_component_lives_from_creation_to_restoration(manager, user):
    created = manager.post("/v1/components", json={"name": "chiller 1", "type": "chiller", "labels": {"line": "A"}})
    assert created.status_code == 201, created.text
    component = created.json()
    assert created.headers["location"] == f"/v1/components/{component['id']}"
    assert component["created_at"].endswith("Z")
    assert user.get(created.headers["location"]).json() == component
    assert user.get("/v1/components/chiller 1").json() == component

    changed = manager.patch(
        "/v1/components/chiller 1", json={"title": "Big one", "labels": {"line": None, "hall": "7"}}
    )
    assert changed.json()["labels"] == {"hall": "7"}
    assert changed.json()["title"] == "Big one"
    assert changed.json()["type"] == "chiller"

    assert manager.post("/v1/components/chiller 1/retire").json()["retired_at"]
    assert user.get("/v1/components", params={"search": "chiller 1"}).json()["items"] == []
    listed = user.get("/v1/components", params={"search": "chiller 1", "include_retired": "true"}).json()["items"]
    assert [item["name"] for item in listed] == ["chiller 1"]
    assert manager.post("/v1/components/chiller 1/restore").json()["retired_at"] is None


def test_a_component_knows_since_when_it_is_in_service(manager, user):
    created = manager.post("/v1/components", json={"name": "mill 1", "commissioned_at": "2026-03-16T07:00:00+01:00"})
    assert (created.status_code, created.json()["commissioned_at"]) == (201, "2026-03-16T06:00:00Z"), created.text
    for since, kept in (("2026-04-01T00:00:00Z", "2026-04-01T00:00:00Z"), (None, None)):
        changed = manager.patch("/v1/components/mill 1", json={"commissioned_at": since})
        assert (changed.status_code, changed.json()["commissioned_at"]) == (200, kept), changed.text
    for wrong in ("2026-03-16T06:00:00", "2026-03-16", "yesterday", 1_773_640_800, True, ["2026-03-16T06:00:00Z"]):
        refused = manager.patch("/v1/components/mill 1", json={"commissioned_at": wrong})
        assert refused.status_code == 422, wrong
        assert "commissioned_at" in refused.text
    assert user.get("/v1/components/mill 1").json()["commissioned_at"] is None


def test_many_components_are_created_all_or_none(manager, user):
    names = [f"fan {number}" for number in range(25)]
    created = manager.post("/v1/components", json=[{"name": name, "type": "fan"} for name in names])
    assert created.status_code == 201
    assert [item["name"] for item in created.json()["items"]] == names
    taken = manager.post("/v1/components", json=[{"name": "fan new"}, {"name": "fan 3"}])
    assert taken.status_code == 409
    assert taken.json()["names"] == ["fan 3"]
    assert user.get("/v1/components/fan new").status_code == 404


def test_components_are_found_by_search_type_and_label_and_come_in_pages(manager, user):
    manager.post(
        "/v1/components",
        json=[{"name": f"belt {number}", "type": "belt", "labels": {"line": "AB"[number % 2]}} for number in range(7)],
    )
    found = user.get("/v1/components", params={"type": "belt", "label": "line:A"}).json()
    assert [item["name"] for item in found["items"]] == ["belt 0", "belt 2", "belt 4", "belt 6"]
    assert found["total"] == 4
    names, cursor = [], None
    while True:
        fields = {"search": "BELT", "sort": "-name", "limit": 3} | ({"cursor": cursor} if cursor else {})
        page = user.get("/v1/components", params=fields).json()
        names += [item["name"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert names == [f"belt {number}" for number in reversed(range(7))]


def test_a_name_with_a_slash_is_reached_by_query_field_and_by_id(manager, user):
    created = manager.post("/v1/components", json={"name": "line 1/pump"}).json()
    (found,) = user.get("/v1/components", params={"component": "line 1/pump"}).json()["items"]
    assert found == created
    assert user.get(f"/v1/components/{created['id']}").json() == created
    row = {"component": "line 1/pump", "metric": "on", "measured_at": "2026-11-20T10:00:00Z", "value": 1}
    assert manager.post("/v1/measurements", json=[row]).status_code == 201
    for path in ("/v1/measurements", "/v1/latest", "/v1/summary"):
        assert len(user.get(path, params={"component": "line 1/pump"}).json()["items"]) == 1
    assert len(user.get(f"/v1/components/{created['id']}/measurements").json()["items"]) == 1


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/components", {"name": ""}, 422),
        ("POST", "/v1/components", {"name": "x", "colour": "red"}, 422),
        ("POST", "/v1/components", {"name": 7}, 422),
        ("POST", "/v1/components", {"name": "x", "labels": {"a": 1}}, 422),
        ("POST", "/v1/components", [], 422),
        ("POST", "/v1/components", [{"name": "x"}] * 1001, 422),
        ("POST", "/v1/components", "x", 422),
        ("POST", "/v1/components", {"name": "a\0b"}, 422),
        ("PATCH", "/v1/components/nobody", {"title": "x"}, 404),
        ("PATCH", "/v1/components/nobody", {"name": "x"}, 422),
        ("POST", "/v1/components/nobody/retire", None, 404),
        ("POST", "/v1/metrics", {"name": "m", "kind": "guess"}, 422),
        ("POST", "/v1/metrics", {"name": "m", "lsl": True}, 422),
        ("PATCH", "/v1/metrics/nothing", {"unit": "K"}, 404),
    ],
)
def test_what_cannot_be_stored_is_refused(manager, method, path, body, status):
    answer = manager.request(method, path, json=body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_metric_is_described_for_the_project_and_for_one_component(manager, user):
    manager.post("/v1/components", json={"name": "hot one"})
    new = {"name": "heat", "kind": "gauge", "unit": "Cel", "usl": 90, "nominal_interval_s": 10}
    created = manager.post("/v1/metrics", json=new)
    assert created.status_code == 201, created.text
    assert created.json()["usl"] == 90
    assert manager.post("/v1/metrics", json=new).status_code == 409
    changed = manager.patch("/v1/metrics/heat", json={"lsl": 10, "usl": None})
    assert (changed.json()["lsl"], changed.json()["usl"], changed.json()["unit"]) == (10, None, "Cel")
    own = manager.patch("/v1/metrics/heat", params={"component": "hot one"}, json={"usl": 120})
    assert own.json()["component"] == "hot one"
    (listed,) = user.get("/v1/metrics", params={"search": "heat"}).json()["items"]
    assert listed["usl"] is None
    (listed,) = user.get("/v1/metrics", params={"component": "hot one"}).json()["items"]
    assert listed["usl"] == 120


def test_many_metrics_are_created_at_once(manager):
    new = [
        {"name": "state", "kind": "state", "state_classes": {"1": "up", "2": "planned"}},
        {"name": "total", "kind": "counter"},
    ]
    created = manager.post("/v1/metrics", json=new)
    assert created.status_code == 201, created.text
    assert [item["name"] for item in created.json()["items"]] == ["state", "total"]


def test_first_sight_registers_components_and_metrics(manager, user):
    row = {"component": "newcomer", "metric": "pulse", "measured_at": "2026-11-20T10:00:00Z", "value": 1}
    assert manager.post("/v1/measurements", json=[row]).status_code == 201
    assert user.get("/v1/components/newcomer").status_code == 200
    assert [item["name"] for item in user.get("/v1/metrics?search=pulse").json()["items"]] == ["pulse"]


def test_a_component_that_is_named_must_fit_the_other_filters_too(manager, user):
    manager.post("/v1/components", json={"name": "kiln/1", "type": "kiln", "labels": {"line": "K"}})
    manager.post("/v1/components/kiln%2F1/retire")
    for fields, found in [({}, 1), ({"type": "kiln"}, 1), ({"type": "oven"}, 0), ({"label": "line:L"}, 0)]:
        page = user.get("/v1/components", params={"component": "kiln/1"} | fields).json()
        assert len(page["items"]) == page["total"] == found, fields
    assert user.get("/v1/components", params={"component": "kiln/2"}).status_code == 404


def test_a_metric_with_a_slash_is_changed_by_its_id_and_shows_names_only(manager, user):
    owner = manager.post("/v1/components", json={"name": "press 1"}).json()
    created = manager.post("/v1/metrics", json={"name": "m³/h", "unit": "m3"}).json()
    changed = manager.patch(f"/v1/metrics/{created['id']}", json={"unit": "m3/h"})
    assert (changed.json()["name"], changed.json()["unit"]) == ("m³/h", "m3/h")
    own = manager.patch(f"/v1/metrics/{created['id']}", params={"component": owner["id"]}, json={"usl": 3})
    assert (own.json()["name"], own.json()["component"], own.json()["usl"]) == ("m³/h", "press 1", 3)
    (listed,) = user.get("/v1/metrics", params={"component": owner["id"]}).json()["items"]
    assert listed == own.json()
    also = manager.post("/v1/metrics", json={"name": "torque", "component": owner["id"]})
    assert also.json()["component"] == "press 1"


def test_a_component_never_keeps_what_cannot_be_written_again(manager, user):
    for depth in (30, 40, 260, 500, 900):
        body = f'{{"name": "deep {depth}", "attributes": {{"a": {"[" * depth}{"]" * depth}}}}}'
        answer = manager.post("/v1/components", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == (201 if depth == 30 else 422), depth
    assert len(user.get("/v1/components", params={"search": "deep "}).json()["items"]) == 1


@pytest.mark.parametrize("instant", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_cursor_at_the_end_of_the_calendar_is_refused(user, instant):
    cursor = base64.urlsafe_b64encode(json.dumps(["created_at", instant, "x"]).encode()).decode().rstrip("=")
    answer = user.get("/v1/components", params={"sort": "created_at", "cursor": cursor})
    assert answer.status_code == 422
    assert answer.json()["code"] == "cursor_refused"
