"""Shift calendar, exclusion windows and what OEE needs, over HTTP."""

import pytest

SHIFT = {"name": "early", "start": "06:00", "duration": "PT8H", "days": ["mon", "tue"]}
CALENDAR = {"timezone": "Europe/Berlin", "shifts": [SHIFT]}
WINDOW = {
    "kind": "maintenance",
    "components": ["lathe-1"],
    "start": "2026-11-20T06:00:00+01:00",
    "end": "2026-11-20T08:00:00+01:00",
    "reason": "new spindle",
}


@pytest.fixture(scope="module")
def lathe(manager):
    return manager.post("/v1/components", json={"name": "lathe-1"}).json()


def test_the_shift_calendar_is_set_read_and_versioned(manager):
    assert manager.get("/v1/shift-calendar").status_code == 404
    first = manager.put("/v1/shift-calendar", json=CALENDAR)
    assert first.status_code == 200, first.text
    assert (first.json()["version"], first.json()["author"]) == (1, "manager")
    assert first.json()["created_at"].endswith("Z")
    stored = first.json()["calendar"]
    assert stored["shifts"] == [SHIFT | {"valid_from": None, "valid_until": None}]
    assert manager.put("/v1/shift-calendar", json=stored).json() == first.json()  # what was read can be put again
    second = manager.put("/v1/shift-calendar", json=CALENDAR | {"holidays": [{"day": "2026-12-25"}]})
    assert second.json()["version"] == 2
    assert manager.get("/v1/shift-calendar").json() == second.json()
    assert manager.get("/v1/shift-calendar", params={"version": 1}).json() == first.json()
    assert manager.get("/v1/shift-calendar", params={"version": 3}).status_code == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (CALENDAR | {"timezone": "Mars/Olympus"}, "timezone"),
        (CALENDAR | {"shifts": [SHIFT, SHIFT]}, "shifts.0.name"),
        (CALENDAR | {"shifts": [SHIFT | {"duration": "PT25H"}]}, "shifts.0.duration"),
        (CALENDAR | {"shifts": [SHIFT | {"start": 6}]}, "body.shifts.0.start"),
        (CALENDAR | {"shifts": []}, "shifts"),
        (CALENDAR | {"zone": "UTC"}, "body.zone"),
        ({}, "body.timezone"),
    ],
)
def test_a_calendar_that_cannot_be_is_refused_by_its_field(manager, body, field):
    answer = manager.put("/v1/shift-calendar", json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["field"] == field


def test_an_exclusion_lives_from_its_author_to_who_withdraws_it(manager, lathe):
    added = manager.post("/v1/exclusions", json=WINDOW)
    assert added.status_code == 201, added.text
    one = added.json()
    assert added.headers["location"] == f"/v1/exclusions/{one['id']}"
    assert (one["start"], one["end"]) == ("2026-11-20T05:00:00Z", "2026-11-20T07:00:00Z")
    assert (one["components"], one["author"], one["withdrawn_at"]) == (["lathe-1"], "manager", None)
    assert manager.get(added.headers["location"]).json() == one
    assert manager.get("/v1/exclusions", params={"component": lathe["id"]}).json()["items"] == [one]
    gone = manager.delete(added.headers["location"])
    assert gone.status_code == 200
    assert gone.json()["withdrawn_by"] == "manager"
    assert manager.get("/v1/exclusions").json()["items"] == []
    assert manager.get("/v1/exclusions", params={"include_withdrawn": "true"}).json()["items"] == [gone.json()]


def test_times_without_an_offset_need_a_zone(manager, lathe):
    local = WINDOW | {"start": "2026-03-29T01:00", "end": "2026-03-29T04:00", "components": "all"}
    assert manager.post("/v1/exclusions", json=local).status_code == 422
    added = manager.post("/v1/exclusions", json=local | {"timezone": "Europe/Berlin"}).json()
    assert (added["start"], added["end"]) == ("2026-03-29T00:00:00Z", "2026-03-29T02:00:00Z")
    assert added["components"] is None
    found = {"start": "2026-03-29T03:59", "end": "2026-03-30", "timezone": "Europe/Berlin"}
    assert [one["id"] for one in manager.get("/v1/exclusions", params=found).json()["items"]] == [added["id"]]
    assert manager.get("/v1/exclusions", params=found | {"start": "2026-03-29T04:00"}).json()["items"] == []
    manager.delete(f"/v1/exclusions/{added['id']}")


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"kind": "holiday"}, 422),
        ({"components": []}, 422),
        ({"components": "some"}, 422),
        ({"components": ["nobody"]}, 404),
        ({"reason": ""}, 422),
        ({"end": WINDOW["start"]}, 422),
        ({"start": "soon"}, 422),
        ({"author": "somebody"}, 422),
    ],
)
def test_an_exclusion_that_cannot_be_is_refused(manager, lathe, changes, status):
    answer = manager.post("/v1/exclusions", json=WINDOW | changes)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_what_does_not_exist_is_a_404(manager):
    for path in ("/v1/exclusions/exc_nothing", "/v1/exclusions/a%00b"):
        assert manager.get(path).status_code == manager.delete(path).status_code == 404
    assert manager.get("/v1/exclusions", params={"component": "nobody"}).status_code == 404


def test_plans_are_for_managers(user):
    assert user.get("/v1/shift-calendar").status_code == user.get("/v1/exclusions").status_code == 403
    assert user.post("/v1/exclusions", json=WINDOW).status_code == 403


def test_a_component_says_what_its_oee_is_computed_from(manager):
    oee = {"state_metric": "spinning", "parts_metric": "turned", "good_metric": "good", "ideal_cycle_time_s": 3.5}
    created = manager.post("/v1/components", json={"name": "lathe-2", "oee": oee})
    assert created.status_code == 201, created.text
    assert created.json()["oee"] == oee | {"scrap_metric": None}
    assert len(created.json()["hints"]) == 3
    changed = manager.patch("/v1/components/lathe-2", json={"oee": {"good_metric": None, "scrap_metric": "scrap"}})
    assert changed.json()["oee"]["scrap_metric"] == "scrap"
    both = manager.patch("/v1/components/lathe-2", json={"oee": {"good_metric": "good"}})
    assert both.status_code == 422
    assert "a good_metric and a scrap_metric" in both.json()["errors"][0]["reason"]
    assert manager.patch("/v1/components/lathe-2", json={"oee": {"speed": 1}}).status_code == 422
    everything = dict.fromkeys(oee | {"scrap_metric": None})
    assert manager.patch("/v1/components/lathe-2", json={"oee": everything}).json()["oee"] is None


def test_a_metric_names_its_states_its_subgroup_and_what_keeps_it_alive(manager):
    new = {
        "name": "door",
        "kind": "state",
        "state_classes": {"1": "up"},
        "state_names": {"1": "closed", "2": "open"},
        "alive_metric": "door_beat",
        "subgroup": "PT8H",
        "lateness_s": 900,
    }
    created = manager.post("/v1/metrics", json=new)
    assert created.status_code == 201, created.text
    assert created.json() | new == created.json()
    assert "door_beat" in created.json()["hints"][0]
    cleared = manager.patch("/v1/metrics/door", json={"state_names": None, "subgroup": None})
    assert (cleared.json()["state_names"], cleared.json()["subgroup"]) == (None, None)
    refused = manager.patch("/v1/metrics/door", json={"subgroup": "some"})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "subgroup"


def test_shifts_are_buckets_of_reports_and_not_of_plain_reads(manager, lathe):
    answer = manager.get("/v1/measurements", params={"every": "shift"})
    assert answer.status_code == 422
    assert "shift calendar" in answer.json()["detail"]
    manager.put("/v1/shift-calendar", json=CALENDAR)
    asked = manager.post("/v1/reports", json={"period": "2026-W47", "bucket": "shift", "timezone": "Europe/Berlin"})
    assert asked.status_code == 202, asked.text
    sunday = manager.post("/v1/reports", json={"period": "2026-11-22", "bucket": "shift"})
    assert sunday.status_code == 422
    assert "no shift" in sunday.json()["detail"]
