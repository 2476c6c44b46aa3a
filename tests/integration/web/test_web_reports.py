"""Reports over HTTP: asked, followed, cancelled. Computing them is tested in the room `reports`."""

import pytest


@pytest.fixture(scope="module")
def asked(manager):
    rows = [
        {"component": "kiln", "metric": "heat", "measured_at": f"2026-11-{day:02}T10:00:00Z", "value": day}
        for day in range(1, 20)
    ]
    assert manager.post("/v1/measurements", json=rows).status_code == 201
    answer = manager.post("/v1/reports", json={"period": "2026-W46", "kpis": ["mean"], "bucket": "day"})
    assert answer.status_code == 202, answer.text
    return answer


def test_a_report_is_accepted_and_can_be_followed(asked, manager):
    report = asked.json()
    assert asked.headers["location"] == f"/v1/reports/{report['id']}"
    assert (report["status"], report["progress_percent"]) == ("queued", 0)
    assert report["period_start"] == "2026-11-09T00:00:00Z"
    assert manager.get(asked.headers["location"]).json() == report
    assert report in manager.get("/v1/reports").json()["items"]


def test_a_result_that_is_not_there_yet_is_a_409(asked, manager):
    answer = manager.get(f"{asked.headers['location']}/result")
    assert answer.status_code == 409
    assert answer.json()["code"] == "report_not_done"


def test_a_queued_report_can_be_cancelled_once_and_again(asked, manager):
    for _ in range(2):
        answer = manager.post(f"{asked.headers['location']}/cancel")
        assert answer.status_code == 200, answer.text
        assert answer.json()["status"] == "cancelled"


def test_users_cannot_ask_for_reports(user):
    assert user.post("/v1/reports", json={"period": "last_month"}).status_code == 403


def test_a_time_without_an_offset_needs_a_zone_and_a_day_begins_in_utc(manager, asked):
    bounds = {"start": "2026-11-01T00:00", "end": "2026-11-02T00:00"}
    refused = manager.post("/v1/reports", json={"period": bounds})
    assert "2026-11-01T00:00 has no offset" in refused.text
    asked_in = manager.post("/v1/reports", json={"period": bounds, "timezone": "Europe/Berlin"}).json()
    assert asked_in["period_start"] == "2026-10-31T23:00:00Z"
    days = manager.post("/v1/reports", json={"period": {"start": "2026-11-01", "end": "2026-11-02"}}).json()
    assert days["period_start"] == "2026-11-01T00:00:00Z"
    for one in (asked_in, days):
        manager.post(f"/v1/reports/{one['id']}/cancel")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"period": "someday"}, 422),
        ({"period": {"start": "2026-11-01T00:00:00Z"}}, 422),
        ({"period": "last_month", "timezone": "Mars/Olympus"}, 422),
        ({"period": "last_month", "kpis": ["happiness"]}, 422),
        ({"period": "last_month", "components": ["nobody"]}, 404),
        ({"period": "last_month", "components": "some"}, 422),
        ({"period": "last_month", "extra": 1}, 422),
        ({"period": "last_month", "bucket": "fortnightly"}, 422),
        ({"period": "2000/2026", "bucket": "PT1S"}, 422),
        ({"period": "2026-11-01T00:00/2026-11-02T00:00"}, 422),
        ({"period": {"start": "2026-11-01T00:00:00", "end": "2026-11-02T00:00:00Z"}}, 422),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused(manager, body, status):
    answer = manager.post("/v1/reports", json=body)
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize(
    "body",
    [
        {"period": {"start": "2026-11-01T00:00:00+01:00", "end": "2026-11-08T00:00:00+01:00"}},
        {"period": "last_month", "timezone": "Europe/Berlin", "components": "all"},
        {"period": "2026-11", "components": ["kiln"], "metrics": ["heat"], "bucket": "week"},
        {"period": "2026-Q4", "components": {"type": "kiln", "labels": {"line": "A"}}},
    ],
)
def test_questions_take_all_their_forms(asked, manager, body):
    answer = manager.post("/v1/reports", json=body)
    assert answer.status_code == 202, answer.text


def test_a_report_that_does_not_exist_is_a_404(manager):
    for path in ("/v1/reports/rep_nothing", "/v1/reports/rep_nothing/result", "/v1/reports/a%00b"):
        assert manager.get(path).status_code == 404, path
    assert manager.post("/v1/reports/rep_nothing/cancel").status_code == 404
