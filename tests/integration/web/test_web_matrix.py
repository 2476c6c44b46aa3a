"""Every route x everybody who may call (19 of them): each cell is asserted, and a route without a row fails.

A row says what a route is asked with, and by its rule what each caller gets. `+` is the row's own status of success; in
the columns of strangers, who have every right in a project of their own, `=` is what that project answers, and 404 is
what something of `alpha` answers.
"""

import json
import re
from dataclasses import dataclass, field

import pytest
from fastapi.routing import iter_route_contexts

from gaugehouse.config import Settings
from gaugehouse.runtime import open_runtime
from integration.web.matrix_plant import (
    CALLERS,
    DEVICE,
    DEVICE_UUID,
    ENDING,
    MARK,
    METRIC,
    NEXT_YEAR,
    NOBODIES,
    PASSWORD,
    SCHEDULE,
    SHIFT_CALENDAR,
    STRANGERS,
    TEMPLATE,
    Plant,
)

# One symbol per caller, in the order of CALLERS: + success, = the stranger's own project, 3 is 403, 4 is 404, 2 is 422.
#                 viewer manager admin operator | device_key other_device_key reading_key project_key | stranger, their key
RULES = {
    "read": "++++ 33++ ==",
    "read one": "++++ 33++ 44",
    "write": "3+++ +3 3+ ==",
    "see": "++++ ++++ ==",
    "see one": "++++ +4++ 44",
    "reports": "3+++ 33++ ==",
    "one report": "3+++ 33++ 44",
    "ask reports": "3+++ 333+ ==",
    "ask one report": "3+++ 333+ 44",
    "manage": "3+++ 3333 =3",
    "manage one": "3+++ 3333 43",
    "manage of alpha": "3+++ 3333 43",
    "administer": "33++ 3333 =3",
    "administer one": "33++ 3333 43",
    "account": "+++2 3333 =3",
    "viewer's own": "+442 3333 43",
    "any": "++++ ++++ ==",
    "people": "+++3 3333 =3",
    "operator": "333+ 1111 31",
    "docs": "++++ 1111 +1",
    "cookie": "1111 1111 11",
    "nobody": "1111 1111 11",
    "public": "++++ ++++ ++",
    "influx": "3+++ +33+ 44",
    "influx query": "3+++ ++3+ ++",
    "write another": "3+++ 333+ ==",
    "own device": "++++ +4++ 44",
    "another device": "++++ 44++ 44",
    "write device": "3+++ +33+ ==",
}
# The browser in which the manager signed in gets what the manager gets, but where cookies do not count or nothing else does.
BROWSER = {"influx": "1", "influx query": "1", "operator": "1", "cookie": "+"}
STATUS_OF = {"1": 401, "2": 422, "3": 403, "4": 404}


@dataclass(frozen=True, kw_only=True)
class Row:
    """How a route is asked.

    Args:
        rule: Of RULES.
        ok: Statuses of those who may.
        own: Statuses of strangers who ask it in their own project; as `ok` when there are none.
        body: JSON; `{n}` in it is another number each time.
        raw: Another body, with its media type.
        query: Of the address.
        names: For each name in braces, which thing of the plant it is.
        ends: It ends the caller's session.
        is_for_nobodies: Whoever has no credentials gets the same.
    """

    rule: str
    ok: frozenset = frozenset({200})
    own: frozenset | None = None
    body: object = None
    raw: tuple = ()
    query: dict = field(default_factory=dict)
    names: dict = field(default_factory=dict)
    ends: bool = False
    is_for_nobodies: bool = False


def row(rule, *ok, **more):
    return Row(rule=rule, ok=frozenset(ok or {200}), **more)


def own(*statuses):
    return {"own": frozenset(statuses)}


def of(**names):
    return {"names": names}


MEASUREMENT = {"component": DEVICE, "metric": METRIC, "measured_at": "2026-11-20T10:00:00Z", "value": 1}
EVENT = {"component": DEVICE, "kind": "alarm", "occurred_at": "2026-11-20T10:00:00Z", "body": {"n": "{n}"}}
KPI = {"name": MARK + "_k{n}", "title": "t", "unit": "1", "formula": "n * 3"}
HEARTBEAT = {"device_id": DEVICE, "timestamp": "2026-11-20T10:00:00Z", "battery_level": 1, "rssi": -1, "online": True}
READINGS = {"id": DEVICE_UUID, "readings": [{"count": 1, "timestamp": "2026-11-20T10:00:00Z"}]}
FIRMWARE = {"firmware": "1.0.3", "timestamp": "2026-11-20T10:00:00Z", "status": "updated"}
ASKED = {"period": "2026-W46", "kpis": ["mean"]}
LINE = (f"{MARK},component={DEVICE} heat=1 1763632800000000000".encode(), "text/plain")
NEW_MEMBER = {"name": MARK + "-n{n}", "password": PASSWORD, "role": "viewer"}
DEVICE_KEY = {"component": "device"}

LISTED = {
    "POST /v1/measurements": row("write", 201, body=[MEASUREMENT]),
    "GET /v1/measurements": row("read"),
    "POST /v1/events": row("write", 201, body=[EVENT]),
    "GET /v1/events": row("read"),
    "POST /v1/components": row("manage", 201, body=[{"name": MARK + "-n{n}"}]),
    "GET /v1/components": row("read"),
    "GET /v1/components/{component}": row("read one", **of(component="device")),
    "PATCH /v1/components/{component}": row("manage one", body={"title": "t{n}"}, **of(component="device")),
    "POST /v1/components/{component}/retire": row("manage one", **of(component="component")),
    "POST /v1/components/{component}/restore": row("manage one", **of(component="component")),
    "POST /v1/components/{component}/move": row(
        "administer one", body={"project": "gamma"}, **of(component="component")
    ),
    "GET /v1/latest": row("read"),
    "GET /v1/summary": row("read"),
    "GET /v1/components/{component}/latest": row("read one", **of(component="device")),
    "GET /v1/components/{component}/summary": row("read one", **of(component="device")),
    "GET /v1/components/{component}/events": row("read one", **of(component="device")),
    "GET /v1/components/{component}/measurements": row("read one", **of(component="device")),
    "GET /v1/metrics": row("read"),
    "POST /v1/metrics": row("manage", 201, body={"name": MARK + "-n{n}"}),
    "PATCH /v1/metrics/{metric}": row("manage one", body={"title": "t{n}"}, **of(metric="metric")),
    "GET /v1/kpis": row("reports"),
    "POST /v1/kpis": row("manage", 201, body=KPI),
    "GET /v1/kpis/{kpi}/explanation": row(
        "one report", query={"component": DEVICE, "metric": METRIC, "period": "2026-W47"}, **of(kpi="kpi")
    ),
    "GET /v1/kpis/{kpi}/versions": row("one report", **of(kpi="kpi")),
    "GET /v1/shift-calendar": row("manage of alpha"),
    "PUT /v1/shift-calendar": row("manage", body=SHIFT_CALENDAR),
    "POST /v1/exclusions": row(
        "manage of alpha", 201, body={"kind": "maintenance", "components": [DEVICE], "reason": "r"} | NEXT_YEAR
    ),
    "GET /v1/exclusions": row("manage"),
    "GET /v1/exclusions/{exclusion}": row("manage one", **of(exclusion="exclusion")),
    "DELETE /v1/exclusions/{exclusion}": row("manage one", **of(exclusion="exclusion")),
    "GET /v1/firmware/versions": row("see"),
    "GET /v1/firmware/behind": row("see"),
    "GET /v1/firmware/form": row("see"),
    "PUT /v1/firmware/form": row("manage", body={"form": "dotted"}),
    "POST /v1/firmware/releases": row("manage", 201, body={"version": "2.0.{n}"}),
    "GET /v1/firmware/releases": row("manage"),
    "GET /v1/firmware/releases/{release}": row("manage one", **of(release="release")),
    "PATCH /v1/firmware/releases/{release}": row("manage one", body={"notes": "n{n}"}, **of(release="release")),
    "POST /v1/firmware/rollouts": row("manage of alpha", 201, body={"release": "{release}"}, **of(release="release")),
    "GET /v1/firmware/rollouts": row("manage"),
    "GET /v1/firmware/rollouts/{rollout}": row("manage one", **of(rollout="rollout")),
    "PATCH /v1/firmware/rollouts/{rollout}": row("manage one", body={"state": "paused"}, **of(rollout="rollout")),
    "GET /v1/firmware/{component}/target": row("see one", **of(component="device")),
    "GET /v1/firmware/{component}": row("see one", **of(component="device")),
    "GET /v1/fleet/status": row("see"),
    "GET /v1/fleet/status/{component}": row("see one", **of(component="device")),
    "GET /v1/fleet/overview": row("see"),
    "GET /v1/fleet/thresholds": row("see"),
    "PUT /v1/fleet/thresholds": row("manage", body={"offline_after_s": 600}),
    "POST /v1/reports": row("ask reports", 202, body=ASKED),
    "GET /v1/reports": row("reports"),
    "GET /v1/reports/{report_id}": row("one report", **of(report_id="report")),
    "GET /v1/reports/{report_id}/result": row("one report", 409, **of(report_id="report")),
    "GET /v1/reports/{report_id}/revisions": row("one report", **of(report_id="report")),
    "POST /v1/reports/{report_id}/revisions": row(
        "ask one report", 409, body={"because": "b"}, **of(report_id="report")
    ),
    "GET /v1/reports/{report_id}/staleness": row("one report", **of(report_id="report")),
    "GET /v1/reports/{report_id}/changes": row("one report", 409, **of(report_id="report")),
    "POST /v1/reports/{report_id}/cancel": row("ask one report", **of(report_id="report")),
    "GET /v1/report-templates": row("manage"),
    "POST /v1/report-templates": row("manage", 201, body=TEMPLATE | {"name": MARK + "-n{n}"}),
    "GET /v1/report-templates/{name}": row("manage one", **of(name="template")),
    "PUT /v1/report-templates/{name}": row("manage one", body=TEMPLATE, **of(name="template")),
    "DELETE /v1/report-templates/{name}": row("manage one", 204, **of(name="template")),
    "GET /v1/report-templates/{name}/versions": row("manage one", **of(name="template")),
    "GET /v1/schedules": row("manage"),
    "POST /v1/schedules": row(
        "manage of alpha", 201, body=SCHEDULE | {"name": MARK + "-n{n}", "template": "{name}"}, **of(name="template")
    ),
    "POST /v1/schedules/preview": row("manage", body=SCHEDULE),
    "GET /v1/schedules/{name}": row("manage one", **of(name="schedule")),
    "PUT /v1/schedules/{name}": row(
        "manage one", body=SCHEDULE | {"template": "{template}"}, **of(name="schedule", template="template")
    ),
    "DELETE /v1/schedules/{name}": row("manage one", 204, **of(name="schedule")),
    "POST /v1/schedules/{name}/pause": row("manage one", **of(name="schedule")),
    "POST /v1/schedules/{name}/resume": row("manage one", **of(name="schedule")),
    "GET /v1/schedules/{name}/preview": row("manage one", **of(name="schedule")),
    "GET /v1/schedules/{name}/history": row("manage one", **of(name="schedule")),
    "GET /v1/deliveries": row("manage"),
    "GET /v1/deliveries/{delivery_id}": row("manage one", **of(delivery_id="delivery")),
    "POST /v1/deliveries/{delivery_id}/retry": row("manage one", 409, **of(delivery_id="delivery")),
    "POST /token": row("public", 401, 429, raw=(b"username=nobody&password=x", "application/x-www-form-urlencoded")),
    "POST /v1/token/refresh": row("nobody", body={"refresh_token": "ghr_none"}),
    "POST /v1/logout": row("people", 204, ends=True),
    "POST /v1/logout-everywhere": row("people", ends=True),
    "GET /v1/me": row("any"),
    "GET /v1/me/keys": row("account"),
    "POST /v1/me/keys": row("account", 201, body={"name": "n{n}", "scopes": ["measurements:read"]}),
    "POST /v1/me/keys/{key_id}/rotate": row("viewer's own", 201, **of(key_id="key_of_viewer")),
    "DELETE /v1/me/keys/{key_id}": row("viewer's own", **of(key_id="key_of_viewer")),
    "GET /v1/me/sessions": row("account"),
    "DELETE /v1/me/sessions/{session_id}": row("viewer's own", 204, **of(session_id="session_of_viewer")),
    "POST /v1/me/password": row("account", 204, body={"old_password": PASSWORD, "new_password": PASSWORD}, ends=True),
    "GET /v1/keys": row("administer"),
    "POST /v1/keys": row("administer", 201, body={"name": "n{n}"}),
    "GET /v1/keys/{key_id}": row("administer one", **of(key_id="alpha_key")),
    "DELETE /v1/keys/{key_id}": row("administer one", **of(key_id="alpha_key")),
    "POST /v1/keys/{key_id}/rotate": row("administer one", 201, **of(key_id="alpha_key")),
    "GET /v1/members": row("administer"),
    "POST /v1/members": row("administer", 201, body=NEW_MEMBER),
    "PATCH /v1/members/{member}": row("administer one", body={"role": "manager"}, **of(member="member")),
    "DELETE /v1/members/{member}": row("administer one", **of(member="member")),
    "POST /v1/members/{member}/password-reset": row("administer one", 201, **of(member="member")),
    "POST /v1/invitations": row("administer", 201, body={"role": "viewer"}),
    "GET /v1/invitations": row("administer"),
    "DELETE /v1/invitations/{invitation_id}": row("administer one", **of(invitation_id="invitation")),
    "POST /v1/invitations/accept": row(
        "public", 422, 429, body={"token": "ghl_none", "name": "n", "password": PASSWORD}
    ),
    "POST /v1/password-reset": row("public", 202, 429, body={"account": "nobody"}),
    "POST /v1/password-reset/confirm": row("public", 422, 429, body={"token": "ghl_none", "password": PASSWORD}),
    "GET /.well-known/jwks.json": row("public"),
    "GET /v1/audit": row("administer"),
    "GET /v1/audit/verification": row("administer"),
    "GET /health": row("public"),
    "GET /ready": row("public", 200, 503),
    "GET /metrics": row("operator"),
    # Asked for what nobody can have: who may would hold the line for ever. What is whose: test_web_live.
    "GET /v1/live": row("any", 422, query={"max_rate_hz": "1000"}),
}
# Not in the description: pages, and the addresses of systems before us.
UNLISTED = {
    "GET /": row("public", 307),
    "GET /b/docs": row("public", 307),
    "GET /docs": row("docs"),
    "GET /openapi.json": row("docs"),
    "GET /static": row("public", 404),
    "GET /sign-in": row("public"),
    "POST /sign-in": row(
        "public", 403, raw=(b"username=u&password=p&form_token=f", "application/x-www-form-urlencoded")
    ),
    "GET /sign-out": row("cookie"),
    "POST /sign-out": row("cookie", 403, raw=(b"form_token=f", "application/x-www-form-urlencoded")),
    "GET /ping": row("public", 204),
    "HEAD /ping": row("public", 204),
    "GET /api/ping": row("public"),
    "POST /api/v2/write": row("influx", 204, raw=LINE, query={"bucket": "alpha"}),
    "POST /write": row("influx", 204, raw=LINE, query={"db": "alpha"}),
    "GET /query": row("influx query"),
    "POST /query": row("influx query"),
    "POST /status": row("write", 201, body=HEARTBEAT),
    "GET /status/summary": row("see"),
    "GET /status/{device_id}": row("own device", **of(device_id="device_name")),
    "GET /status/{device_id}/history": row("own device", **of(device_id="device_name")),
    "POST /api/device-readings/create": row("write another", 201, body=READINGS),
    "GET /api/device-readings/{device_id}/latest-timestamp": row("another device", **of(device_id="device_uuid")),
    "GET /api/device-readings/{device_id}/cumulative-count": row("another device", **of(device_id="device_uuid")),
    "POST /firmware/{device_id}": row("write device", 201, body=FIRMWARE, **of(device_id="device_name")),
    "GET /firmware/{device_id}": row("own device", **of(device_id="device_name")),
    "GET /firmware/{device_id}/target": row("own device", **of(device_id="device_name")),
    "POST /upload_firmware_update": row("public", 400, 401, body={"device_id": 1, "secret": "x", "version": "1.1"}),
    "GET /get_firmware_updates_by_device_id": row("public", 404, query={"email": "e", "device_id": "1", "secret": "x"}),
}
ROWS = LISTED | UNLISTED


@pytest.fixture(scope="module")
def plant(tmp_path_factory):
    settings = Settings(data_dir=tmp_path_factory.mktemp("matrix"), host="0.0.0.0")  # noqa: S104 - it is not served
    runtime = open_runtime(settings)
    plant = Plant(runtime)
    yield plant
    plant.close()
    runtime.close()


def symbol_of(row, caller):
    if caller == "browser":
        return BROWSER.get(row.rule) or symbol_of(row, "manager")
    return RULES[row.rule].replace(" ", "")[CALLERS.index(caller)]


def expected(row, caller):
    """Return the statuses that a caller may get."""
    symbol = symbol_of(row, caller)
    if symbol in STATUS_OF:
        return {STATUS_OF[symbol]}
    return row.ok if symbol == "+" or row.own is None else row.own


def filled(plant, row):
    """Return what each name in braces stands for, by name and, where a thing has both, by id."""
    found = {name: getattr(plant, thing)() for name, thing in row.names.items()}
    yield {name: pair[0] for name, pair in found.items()}
    if any(pair[1] for pair in found.values()):  # another one: the first may have moved away meanwhile
        found = {name: getattr(plant, thing)() for name, thing in row.names.items()}
        yield {name: pair[1] or pair[0] for name, pair in found.items()}


def own_names(text):
    """Return what strangers say where others speak of things of `alpha`."""
    return text.replace(MARK, "betaonly").replace(DEVICE_UUID, "1b4e28ba-2fa1-4d2a-883f-0016d3cca427")


def ask(plant, client, route, row, names, *, renamed=str):
    """Send what a row says."""
    method, path = route.split(" ")
    more = {"params": row.query} if row.query else {}
    if row.raw:
        more |= {"content": row.raw[0], "headers": {"Content-Type": row.raw[1]}}
    elif row.body is not None:
        text = json.dumps(row.body)
        for name, value in ({"n": str(plant.number())} | names).items():
            text = text.replace(f"{{{name}}}", value)
        more |= {"content": renamed(text).encode(), "headers": {"Content-Type": "application/json"}}
    address = renamed(re.sub(r"{(\w+)}", lambda match: names[match[1]], path))
    return client.request(method, address, **more)


def test_every_route_has_a_row_and_every_row_a_route(plant):
    app = plant.clients["anonymous"]._app
    listed = {f"{method.upper()} {path}" for path, one in app.openapi()["paths"].items() for method in one}
    assert set(LISTED) == listed
    routed = {
        f"{method} {context.path}"
        for context in iter_route_contexts(app.routes)
        for method in context.methods or {"GET"}
    }
    heads = {f"HEAD {route.removeprefix('GET ')}" for route in routed if route.startswith("GET ")}
    assert set(ROWS) == routed - (heads - set(UNLISTED))


@pytest.mark.parametrize("route", ROWS)
def test_who_has_no_credentials_that_count_gets_a_401(plant, route):
    row = ROWS[route]
    names = dict.fromkeys(row.names, "cmp_none") | dict.fromkeys({"device_id"} & set(row.names), DEVICE_UUID)
    for nobody in NOBODIES:
        answer = ask(plant, plant.clients[nobody], route, row, names)
        wanted = row.ok if row.rule == "public" else {401}
        assert answer.status_code in wanted, f"{nobody}: {answer.status_code} {answer.text[:200]}"


@pytest.mark.parametrize("route", ROWS)
def test_everybody_gets_what_the_table_says(plant, route):
    row = ROWS[route]
    for caller in (*CALLERS, "browser"):
        for names in filled(plant, row):
            renamed = own_names if symbol_of(row, caller) == "=" else str
            answer = ask(plant, plant.clients[caller], route, row, names, renamed=renamed)
            wanted = expected(row, caller)
            said = f"{caller} {names}: {answer.status_code}, not {sorted(wanted)}: {answer.text[:300]}"
            assert answer.status_code in wanted, said
            if caller in STRANGERS and answer.status_code < 300:
                assert MARK not in answer.text, f"{caller}: {answer.text[:300]}"
            if row.ends and caller in ENDING and answer.status_code < 300:
                plant.renew(caller)
