"""Templates, schedules and deliveries over HTTP. What they do is tested in the rooms `reports` and `jobs`."""

from datetime import UTC, datetime, timedelta

import pytest

from gaugehouse.jobs import tick

TEMPLATE = {
    "title": "Kilns, weekly",
    "report": {"period": "last_week", "timezone": "Europe/Berlin", "kpis": ["mean"]},
    "formats": ["csv", "json"],
    "targets": {"mean": {"upper": 40}},
    "destinations": [
        {"kind": "webhook", "url": "https://hooks.example.com/T00/token", "secret": "at least sixteen characters"}
    ],
    "on_late_data": "daily",
}
MONDAYS = "every Monday 06:00 Europe/Berlin"


@pytest.fixture(scope="module")
def template(manager):
    answer = manager.post("/v1/report-templates", json=TEMPLATE | {"name": "weekly"})
    assert answer.status_code == 201, answer.text
    return answer


@pytest.fixture(scope="module")
def schedule(manager, template):
    answer = manager.post(
        "/v1/schedules", json={"name": "mondays", "template": "weekly", "recurrence": f"{MONDAYS} for last_month"}
    )
    assert answer.status_code == 201, answer.text
    return answer


def test_a_template_is_created_read_and_listed_without_its_secret(manager, template):
    body = template.json()
    assert template.headers["location"] == "/v1/report-templates/weekly"
    assert (body["version"], body["owner"], body["minimum_pause_s"]) == (1, "manager", 900.0)
    assert body["report"]["period"] == "last_week"
    assert body["targets"] == {"mean": {"target": None, "lower": None, "upper": 40.0}}
    assert body["destinations"] == [{"url": "https://hooks.example.com/T00/token", "attach": True, "kind": "webhook"}]
    assert manager.get("/v1/report-templates/weekly").json() == body
    assert body in manager.get("/v1/report-templates").json()["items"]
    for path in ("/v1/report-templates", "/v1/report-templates/weekly", "/v1/report-templates/weekly/versions"):
        assert "sixteen" not in manager.get(path).text


def test_what_a_template_says_can_be_sent_back_as_a_change(manager, template):
    seen = manager.get("/v1/report-templates/weekly").json()
    fields = ("report", "formats", "targets", "destinations", "on_late_data", "minimum_pause_s")
    changed = {name: seen[name] for name in fields} | {"title": "Kilns, each week"}
    answer = manager.put("/v1/report-templates/weekly", json=changed)
    assert answer.status_code == 200, answer.text
    assert answer.json() == seen | {
        "title": "Kilns, each week",
        "version": seen["version"] + 1,
        "changed_at": answer.json()["changed_at"],
    }
    versions = manager.get("/v1/report-templates/weekly/versions").json()["items"]
    assert [one["title"] for one in versions] == ["Kilns, each week", "Kilns, weekly"]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"name": "weekly"}, 409),
        ({"name": "No Name"}, 422),
        ({"title": ""}, 422),
        ({"report": {}}, 422),
        ({"report": {"period": "someday"}}, 422),
        ({"report": {"period": "last_week", "kpis": ["happiness"]}}, 422),
        ({"report": {"period": "last_week", "components": ["nobody"]}}, 404),
        ({"report": {"template": "weekly"}}, 422),
        ({"formats": []}, 422),
        ({"formats": ["docx"]}, 422),
        ({"targets": {"mean": {}}}, 422),
        ({"targets": {"mean": {"upper": "much"}}}, 422),
        ({"on_late_data": "sometimes"}, 422),
        ({"minimum_pause_s": 1}, 422),
        ({"destinations": [{"kind": "pigeon"}]}, 422),
        ({"destinations": [{"kind": "webhook", "url": "https://a.example/"}]}, 422),
        ({"destinations": [{"kind": "email", "to": ["a@example.com"]}]}, 422),  # no mail server is set here
        ({"destinations": [{"kind": "folder", "path": "weekly"}]}, 422),
        ({"extra": 1}, 422),
    ],
)
def test_a_template_that_cannot_be_is_refused(manager, template, change, status):
    answer = manager.post("/v1/report-templates", json=TEMPLATE | {"name": "other"} | change)
    assert answer.status_code == status, answer.text


def test_a_refused_template_repeats_no_secret(manager):
    answer = manager.post("/v1/report-templates", json=TEMPLATE | {"name": "other", "formats": ["docx"]})
    assert "sixteen" not in answer.text


def test_a_report_is_asked_for_by_template(manager, template):
    answer = manager.post("/v1/reports", json={"template": "weekly", "period": "2026-W46"})
    assert answer.status_code == 202, answer.text
    report = answer.json()
    assert (report["template"], report["request"]["period"], report["timezone"]) == (
        "weekly",
        "2026-W46",
        "Europe/Berlin",
    )
    assert report["deliveries"] == []
    assert manager.post("/v1/reports", json={"template": "weekly"}).status_code == 202
    assert manager.post("/v1/reports", json={"template": "nobody"}).status_code == 404
    for wrong in (
        {"template": "weekly", "kpis": ["mean"]},
        {"template": "weekly", "timezone": "UTC"},
        {"period": None},
    ):
        answer = manager.post("/v1/reports", json=wrong)
        assert (answer.status_code, answer.json()["code"]) == (422, "request_refused"), wrong


def test_a_missing_period_is_named_as_before(manager):
    errors = manager.post("/v1/reports", json={"kpis": ["mean"]}).json()["errors"]
    assert [(one["field"], one["code"]) for one in errors] == [("body.period", "missing")]


def test_a_schedule_is_created_previewed_paused_resumed_and_changed(manager, schedule):
    body = schedule.json()
    assert schedule.headers["location"] == "/v1/schedules/mondays"
    assert (body["recurrence"], body["timezone"], body["period"], body["author"]) == (
        "every Monday 06:00",
        "Europe/Berlin",
        "last_month",
        "manager",
    )
    assert datetime.fromisoformat(body["next_at"]) > datetime.now(UTC)
    assert manager.get("/v1/schedules/mondays").json() == body
    assert body in manager.get("/v1/schedules").json()["items"]
    ahead = manager.get("/v1/schedules/mondays/preview", params={"count": 3}).json()["items"]
    assert ahead[0]["fire_at"] == body["next_at"]
    assert len(ahead) == 3
    assert all("T06:00:00+0" in one["local"] and one["period_start"] < one["period_end"] for one in ahead)
    assert manager.post("/v1/schedules/mondays/pause").json()["next_at"] is None
    assert manager.post("/v1/schedules/mondays/resume").json()["next_at"] == body["next_at"]
    changed = {"template": "weekly", "recurrence": "every day 06:00", "catch_up": "all", "catch_up_limit": 3}
    answer = manager.put("/v1/schedules/mondays", json=changed)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["period"], answer.json()["catch_up"]) == (None, "all")


def test_a_recurrence_can_be_tried(manager):
    body = {"recurrence": "every day 02:30", "timezone": "Europe/Berlin"}
    ahead = manager.post("/v1/schedules/preview", json=body, params={"count": 2}).json()["items"]
    assert [one["period_start"] for one in ahead] == [None, None]
    for wrong in ({"recurrence": "every day 02:30"}, {"recurrence": "sometimes"}, {"recurrence": "x" * 300}):
        assert manager.post("/v1/schedules/preview", json=wrong).status_code == 422


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"name": "mondays"}, 409),
        ({"name": "No Name"}, 422),
        ({"template": "nobody"}, 404),
        ({"recurrence": "every Monday"}, 422),
        ({"recurrence": "every Monday 06:00 Mars/Olympus"}, 422),
        ({"recurrence": "every Monday 06:00 for someday"}, 422),
        ({"timezone": "UTC"}, 422),
        ({"catch_up": "some"}, 422),
        ({"catch_up_limit": 1001}, 422),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(manager, schedule, change, status):
    body = {"name": "other", "template": "weekly", "recurrence": MONDAYS} | change
    answer = manager.post("/v1/schedules", json=body)
    assert answer.status_code == status, answer.text


def test_history_says_what_became_of_fire_times(manager, schedule, runtime):
    name = {"name": "historic", "template": "weekly", "recurrence": "every day 00:00 UTC"}
    assert manager.post("/v1/schedules", json=name).status_code == 201
    assert manager.get("/v1/schedules/historic/history").json() == {"items": [], "next_cursor": None, "total": 0}
    tick(runtime.database, now=datetime.now(UTC) + timedelta(days=1))
    (fire,) = manager.get("/v1/schedules/historic/history").json()["items"]
    assert (fire["outcome"], fire["skipped"], fire["report_id"]) == ("queued", 0, None)


def test_what_schedules_use_stays_and_all_else_can_be_deleted(manager):
    assert manager.post("/v1/report-templates", json=TEMPLATE | {"name": "brief"}).status_code == 201
    body = {"name": "brief", "template": "brief", "recurrence": MONDAYS}
    assert manager.post("/v1/schedules", json=body).status_code == 201
    answer = manager.delete("/v1/report-templates/brief")
    assert (answer.status_code, answer.json()["schedules"]) == (409, ["brief"])
    for path in ("/v1/schedules/brief", "/v1/report-templates/brief"):
        answer = manager.delete(path)
        assert (answer.status_code, answer.content) == (204, b"")
        assert manager.get(path).status_code == 404
        assert manager.delete(path).status_code == 404


@pytest.mark.parametrize("name", ["nobody", "a%00b", "%ED%A0%80", "x" * 300])
def test_what_does_not_exist_is_a_404(manager, name):
    for path in (
        f"/v1/report-templates/{name}",
        f"/v1/report-templates/{name}/versions",
        f"/v1/schedules/{name}",
        f"/v1/schedules/{name}/history",
        f"/v1/schedules/{name}/preview",
        f"/v1/deliveries/{name}",
    ):
        assert manager.get(path).status_code == 404, path
    for path in (f"/v1/schedules/{name}/pause", f"/v1/schedules/{name}/resume", f"/v1/deliveries/{name}/retry"):
        assert manager.post(path).status_code == 404, path


def test_deliveries_are_listed(manager):
    assert manager.get("/v1/deliveries").json() == {"items": [], "next_cursor": None, "total": 0}
    assert manager.get("/v1/deliveries", params={"state": "lost"}).status_code == 422


def test_users_see_none_of_it(user):
    for path in ("/v1/report-templates", "/v1/schedules", "/v1/deliveries"):
        assert user.get(path).status_code == 403, path
