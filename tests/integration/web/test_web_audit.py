"""Who did what: every changing route leaves an entry or is an exception with a reason; who reads them, and how."""

import asyncio
import io
import json
import time
from datetime import UTC, datetime, timedelta

import httpx
import polars as pl
import pytest
from sqlalchemy import event

from gaugehouse.access import create_user, grant_role
from gaugehouse.audit import ACTIONS, INSTALLATION, EntryFilter, find_entries, verify_audit
from gaugehouse.audit.reading import read_entries, walk_chain
from gaugehouse.database import new_id
from gaugehouse.database.tables import Delivery, Report
from gaugehouse.inventory import create_project
from gaugehouse.web.api import audit

SECRET = "what-an-address-hides"
CHANGING = {"post", "put", "patch", "delete"}
MEASURED = "measurements and events are not audited: their receipts are in the lake's log"
EXCEPTIONS = {
    "POST /v1/measurements": MEASURED,
    "POST /v1/events": MEASURED,
    "POST /v1/schedules/preview": "it changes nothing",
}
FIRST_PASSWORD, SECOND_PASSWORD = "a first long password", "another quite long password"
LEAVER = "a long password of somebody who leaves"
DAY = {"start": "2026-03-01T00:00:00Z", "end": "2026-03-02T00:00:00Z"}
TEMPLATE = {"title": "Pumps", "report": {"period": "last_week"}, "formats": ["csv"]}
SCHEDULE = {"template": "audited", "recurrence": "every Monday 06:00 UTC"}
SHIFT = {"name": "early", "start": "06:00", "duration": "PT8H", "days": ["mon"]}
CALENDAR = {"timezone": "UTC", "shifts": [SHIFT]}
KPI = {
    "name": "audited_kpi",
    "title": "Audited",
    "unit": "kWh/part",
    "formula": "energy_kwh.increase / parts_total.increase",
}


@pytest.fixture(scope="module")
def entries(runtime, admin):
    """What each request wrote, by the method and path of its route."""
    project_id = runtime.access.caller_of_token(admin.headers["Authorization"].removeprefix("Bearer ")).project_id

    def read():
        with runtime.database.reading() as session:
            chains = (EntryFilter(project_id=project_id), EntryFilter(project_id=None))
            return [one for chain in chains for one in find_entries(session, chain, limit=1000).entries]

    return read


class Walk:
    """Calls changing routes one after the other, and keeps which entry each left."""

    def __init__(self, client, entries):
        self.client, self.entries = client, entries
        self.told = {}

    def call(self, method, route, path=None, *, status=(200, 201, 202, 204), **kwargs):
        before = {(one.chain, one.number) for one in self.entries()}
        answer = self.client.request(method, path or route, **kwargs)
        assert answer.status_code in status, f"{method} {route}: {answer.text}"
        new = [one for one in self.entries() if (one.chain, one.number) not in before]
        self.told[f"{method} {route}"] = [(one.action, one.object_name or one.object_id) for one in new]
        for one in new:
            assert one.request_id == answer.headers["x-request-id"]
            assert one.source == "127.0.0.1"
        return answer


def add_failed_delivery(runtime, report_id):
    delivery_id = new_id("dlv")
    with runtime.database.transaction() as session:
        report = session.get(Report, report_id)
        row = Delivery(
            id=delivery_id,
            project_id=report.project_id,
            report_id=report.id,
            revision=1,
            template_id="tpl_0",
            kind="folder",
            address="audited",
            content={},
            state="failed",
            job_id="job_0",
        )
        session.add(row)
    return delivery_id


def walk_accounts(walk, admin, anonymous):
    as_admin, as_nobody = {"headers": admin.headers}, {"headers": {"Authorization": ""}}
    for path, as_who in (("/v1/keys", as_admin), ("/v1/me/keys", {})):
        key = walk.call("POST", path, json={"name": "audited"}, **as_who).json()["view"]
        walk.call("POST", f"{path}/{{key_id}}/rotate", f"{path}/{key['id']}/rotate", **as_who)
        walk.call("DELETE", f"{path}/{{key_id}}", f"{path}/{key['id']}", **as_who)
    member = {"name": "audited member", "password": FIRST_PASSWORD, "role": "viewer"}
    made = walk.call("POST", "/v1/members", json=member, **as_admin).json()
    one = "/v1/members/{member}"
    walk.call("PATCH", one, f"/v1/members/{made['id']}", json={"role": "manager"}, **as_admin)
    reset = walk.call("POST", f"{one}/password-reset", f"/v1/members/{made['id']}/password-reset", **as_admin).json()
    body = {"token": reset["token"], "password": SECOND_PASSWORD}
    walk.call("POST", "/v1/password-reset/confirm", json=body, **as_nobody)
    walk.call("POST", "/v1/password-reset", json={"account": made["name"]}, **as_nobody)
    token = anonymous.post("/token", data={"username": made["name"], "password": SECOND_PASSWORD}).json()
    as_member = {"headers": {"Authorization": f"Bearer {token['access_token']}"}}
    body = {"old_password": SECOND_PASSWORD, "new_password": FIRST_PASSWORD}
    walk.call("POST", "/v1/me/password", json=body, **as_member)
    walk.call("DELETE", one, f"/v1/members/{made['id']}", **as_admin)
    invitation = walk.call("POST", "/v1/invitations", json={"role": "viewer"}, **as_admin).json()
    body = {"token": invitation["token"], "name": made["name"], "password": FIRST_PASSWORD}
    walk.call("POST", "/v1/invitations/accept", json=body, **as_nobody)
    invitation = walk.call("POST", "/v1/invitations", json={"role": "viewer"}, **as_admin).json()
    walk.call("DELETE", "/v1/invitations/{invitation_id}", f"/v1/invitations/{invitation['id']}", **as_admin)
    path = "/v1/components/{component}/move"
    walk.call("POST", path, "/v1/components/audited-1/move", json={"project": "audited-too"}, **as_admin)


@pytest.fixture(scope="module")
def walk(entries, manager, admin, anonymous, runtime):
    with runtime.database.transaction() as session:
        create_project(session, "audited-too")
        grant_role(session, name="admin", project="audited-too", role="admin")
    walk = Walk(manager, entries)
    walk.call("POST", "/token", data={"username": "user", "password": "user"})
    walk.call("POST", "/v1/components", json={"name": "audited-1"})
    one = "/v1/components/{component}"
    walk.call("PATCH", one, "/v1/components/audited-1", json={"title": "Pump"})
    walk.call("POST", f"{one}/retire", "/v1/components/audited-1/retire")
    walk.call("POST", f"{one}/restore", "/v1/components/audited-1/restore")
    walk.call("POST", "/v1/metrics", json={"name": "audited", "kind": "state"})
    walk.call("PATCH", "/v1/metrics/{metric}", "/v1/metrics/audited", json={"title": "Audited"})
    counters = [
        {"name": "energy_kwh", "kind": "counter", "unit": "kWh"},
        {"name": "parts_total", "kind": "counter", "unit": "part"},
    ]
    assert manager.post("/v1/metrics", json=counters).status_code == 201
    walk.call("POST", "/v1/kpis", json=KPI)
    walk.call("PUT", "/v1/shift-calendar", json=CALENDAR)
    added = walk.call(
        "POST", "/v1/exclusions", json={"kind": "maintenance", "components": "all", "reason": "oil", **DAY}
    ).json()
    walk.call("DELETE", "/v1/exclusions/{exclusion}", f"/v1/exclusions/{added['id']}")
    walk.call("POST", "/v1/report-templates", json={"name": "audited", **TEMPLATE})
    walk.call("PUT", "/v1/report-templates/{name}", "/v1/report-templates/audited", json=TEMPLATE)
    walk.call("POST", "/v1/schedules", json={"name": "daily", **SCHEDULE})
    schedule = "/v1/schedules/{name}"
    walk.call("PUT", schedule, "/v1/schedules/daily", json=SCHEDULE)
    walk.call("POST", f"{schedule}/pause", "/v1/schedules/daily/pause")
    walk.call("POST", f"{schedule}/resume", "/v1/schedules/daily/resume")
    walk.call("DELETE", schedule, "/v1/schedules/daily")
    walk.call("DELETE", "/v1/report-templates/{name}", "/v1/report-templates/audited")
    walk.call("PUT", "/v1/fleet/thresholds", json={"offline_after_s": 600})
    walk.call("PUT", "/v1/firmware/form", json={"form": "dotted"})
    firmware, one = "/v1/firmware", {"version": "1.0", "url": f"https://fw.example/1.bin?token={SECRET}"}
    release = walk.call("POST", f"{firmware}/releases", json=one).json()
    rollout = walk.call("POST", f"{firmware}/rollouts", json={"release": release["id"]}).json()
    walk.call(
        "PATCH", f"{firmware}/rollouts/{{rollout}}", f"{firmware}/rollouts/{rollout['id']}", json={"state": "ended"}
    )
    one = {"state": "withdrawn", "url": f"https://fw.example/2.bin?token={SECRET}"}
    walk.call("PATCH", f"{firmware}/releases/{{release}}", f"{firmware}/releases/{release['id']}", json=one)
    report = walk.call("POST", "/v1/reports", json={"period": "2026-03-01"}).json()
    walk.call("POST", "/v1/reports/{report_id}/cancel", f"/v1/reports/{report['id']}/cancel")
    walk.call(
        "POST", "/v1/reports/{report_id}/revisions", f"/v1/reports/{report['id']}/revisions", json={"because": "oil"}
    )
    walk_accounts(walk, admin, anonymous)
    delivery = add_failed_delivery(runtime, report["id"])
    walk.call("POST", "/v1/deliveries/{delivery_id}/retry", f"/v1/deliveries/{delivery}/retry")
    walk_out(walk, runtime)
    return walk


def walk_out(walk, runtime):
    """Sign in somebody who then leaves in every way there is."""
    with runtime.database.transaction() as session:
        create_user(session, name="leaver", password=LEAVER, role="viewer", project="default")

    def sign_in():
        return walk.client.post("/token", data={"username": "leaver", "password": LEAVER}).json()

    first, second = sign_in(), sign_in()
    walk.call("POST", "/v1/token/refresh", json={"refresh_token": first["refresh_token"]})
    as_leaver = {"headers": {"Authorization": f"Bearer {second['access_token']}"}}
    known = {one["id"] for one in walk.client.get("/v1/me/sessions", **as_leaver).json()["items"]}
    sign_in()
    (ended,) = {one["id"] for one in walk.client.get("/v1/me/sessions", **as_leaver).json()["items"]} - known
    walk.call("DELETE", "/v1/me/sessions/{session_id}", f"/v1/me/sessions/{ended}", **as_leaver)
    for route, tokens in (("/v1/logout", first), ("/v1/logout-everywhere", second)):
        walk.call("POST", route, headers={"Authorization": f"Bearer {tokens['access_token']}"})


def changing_routes(app):
    for path, methods in app.openapi()["paths"].items():
        for method in methods:
            if method in CHANGING:
                yield f"{method.upper()} {path}"


def test_every_changing_route_leaves_one_entry_or_is_an_exception(app, walk):
    for route in changing_routes(app):
        if route in EXCEPTIONS:
            continue
        assert route in walk.told, f"{route} has no entry in the audit log, and no reason why"
        assert len(walk.told[route]) == 1, f"{route} left {walk.told[route]}"


def test_exceptions_are_routes_that_there_are(app):
    assert set(EXCEPTIONS) <= set(changing_routes(app))


def test_entries_say_what_was_done_to_what(walk):
    assert walk.told["PATCH /v1/components/{component}"] == [("component.change", "audited-1")]
    assert walk.told["DELETE /v1/schedules/{name}"] == [("schedule.delete", "daily")]
    assert walk.told["PATCH /v1/firmware/releases/{release}"] == [("firmware_release.change", "1.0")]
    assert walk.told["POST /token"] == [("login.accept", "user")]
    assert walk.told["POST /v1/token/refresh"] == [("token.refresh", "leaver")]
    assert walk.told["DELETE /v1/me/sessions/{session_id}"] == [("session.end", "leaver")]
    assert walk.told["POST /v1/logout"] == [("session.end", "leaver")]
    assert walk.told["POST /v1/logout-everywhere"] == [("session.end_all", "leaver")]


def test_the_chains_hold(walk, runtime):
    verdict = verify_audit(runtime.database, runtime.heads)
    assert verdict.is_sound
    assert verdict.findings == ()


def test_no_password_token_or_secret_is_in_the_log(walk, runtime, anonymous, manager):
    secret = "a password in the wrong field"
    anonymous.post("/token", data={"username": secret, "password": "x"})
    text = json.dumps([str(one) for one in walk.entries()])
    assert secret not in text
    assert SECRET not in text
    assert not any(part in text for part in ("ghk_", "ghl_", FIRST_PASSWORD, SECOND_PASSWORD))
    assert manager.headers["Authorization"].removeprefix("Bearer ") not in text


def test_a_thousand_guesses_leave_few_entries_and_a_count(runtime, anonymous):
    before = len(list(walk_chain(runtime.database, INSTALLATION)))
    for _ in range(5):
        assert anonymous.post("/token", data={"username": "manager", "password": "guess"}).status_code == 401
    runtime.refusals.settle(is_last=True)
    new = list(walk_chain(runtime.database, INSTALLATION))[before:]
    mine = [one for one in new if one.object_name == "manager"]
    assert [(one.action, one.actor_kind, json.loads(one.details)) for one in mine] == [
        ("login.refuse", "unknown", {"code": "login_refused"}),
        ("login.refuse", "unknown", {"repeats": 4}),
    ]


def test_what_is_forbidden_is_written_down(entries, user):
    assert user.post("/v1/components", json={"name": "never"}).status_code == 403
    refused = [one for one in entries() if one.action == "request.refuse" and one.actor == "user"]
    assert refused[0].object_name == "POST /v1/components"
    assert json.loads(refused[0].details) == {"code": "forbidden", "scopes_needed": ["manager"]}


def test_readers_page_through_the_log(walk, admin):
    seen, cursor = [], None
    while True:
        page = admin.get("/v1/audit", params={"limit": 7} | ({"cursor": cursor} if cursor else {})).json()
        seen += [one["number"] for one in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == list(range(seen[0], 0, -1))
    assert page["total"] == seen[0]


def test_readers_filter(walk, admin):
    def actions(**wanted):
        return {one["action"] for one in admin.get("/v1/audit", params=wanted).json()["items"]}

    assert actions(action="component") == {
        "component.create",
        "component.change",
        "component.retire",
        "component.restore",
        "component.move",
    }
    assert actions(object="audited-1") == actions(action="component")
    assert actions(actor="nobody") == set()
    assert actions(until=(datetime.now(UTC) - timedelta(days=1)).isoformat()) == set()
    assert "component.create" in actions(since=(datetime.now(UTC) - timedelta(days=1)).isoformat(), actor="manager")
    assert actions(action="component") <= ACTIONS.keys()


@pytest.mark.parametrize("form", ["ndjson", "csv", "arrow", "parquet"])
def test_the_whole_log_leaves_in_every_form(walk, admin, form):
    answer = admin.get("/v1/audit", params={"format": form, "action": "component"})
    assert answer.status_code == 200, answer.text
    read = {"ndjson": pl.read_ndjson, "csv": pl.read_csv, "arrow": pl.read_ipc_stream, "parquet": pl.read_parquet}
    frame = read[form](io.BytesIO(answer.content))
    assert set(frame["object_name"]) == {"audited-1"}
    assert frame["action"].to_list()[-1] == "component.create"


def test_a_page_of_another_form_names_the_next(walk, admin):
    answer = admin.get("/v1/audit", params={"format": "csv", "limit": 2})
    assert answer.headers["x-next-cursor"] in answer.headers["link"]


def test_only_the_operator_reads_of_the_installation(runtime, anonymous, admin):
    assert admin.get("/v1/audit", params={"installation": "true"}).status_code == 403
    anonymous.post("/token", data={"username": "manager", "password": "a wrong one"})  # of no single project
    token = runtime.access.issue_operator_token("default")
    operator = anonymous.with_headers(Authorization=f"Bearer {token}")
    page = operator.get("/v1/audit", params={"installation": "true"}).json()
    assert {one["chain"] for one in page["items"]} == {INSTALLATION}


def test_an_admin_verifies_the_own_chain(walk, admin):
    verdict = admin.get("/v1/audit/verification").json()
    assert verdict["findings"] == []
    ((chain),) = verdict["chains"]
    assert (chain["project"], chain["broken"]) == ("default", None)
    assert chain["entries"] > 20


def test_one_chain_is_walked_at_a_time_and_few_wait_for_it(app, admin, monkeypatch):
    running, most, verify = [], [], audit.verify_audit

    def slow(*given, **asked):
        running.append(1)
        most.append(len(running))
        time.sleep(0.1)
        running.pop()
        return verify(*given, **asked)

    monkeypatch.setattr(audit, "verify_audit", slow)

    async def all_at_once():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=admin.headers) as client:
            return await asyncio.gather(*(client.get("/v1/audit/verification") for _ in range(12)))

    codes = sorted(answer.status_code for answer in asyncio.run(all_at_once()))
    assert codes == [200] * 4 + [503] * 8
    assert max(most) == 1


def test_a_whole_log_is_not_counted_for_each_of_its_parts(walk, runtime):
    statements = []

    def note(_connection, _cursor, statement, *_rest):
        statements.append(statement)

    event.listen(runtime.database.engine, "before_cursor_execute", note)
    parts = list(read_entries(runtime.database, EntryFilter(project_id=None)))
    event.remove(runtime.database.engine, "before_cursor_execute", note)
    assert parts
    assert len([one for one in statements if "audit_entries" in one]) == len(parts)
    assert not [one for one in statements if "count(" in one]
