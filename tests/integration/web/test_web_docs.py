"""The docs page, its description of the API, and the headers of everything."""

import base64
import time

import pytest

from asgi_client import Client
from gaugehouse.access import create_user
from gaugehouse.config import Settings
from gaugehouse.runtime import open_runtime
from gaugehouse.web.app import create_app
from gaugehouse.web.docs import STATIC_DIR
from gaugehouse.web.envelope import SECURITY_HEADERS

OPERATIONS = """\
DELETE /v1/exclusions/{exclusion}
DELETE /v1/invitations/{invitation_id}
DELETE /v1/keys/{key_id}
DELETE /v1/me/keys/{key_id}
DELETE /v1/me/sessions/{session_id}
DELETE /v1/members/{member}
DELETE /v1/report-templates/{name}
DELETE /v1/schedules/{name}
GET /.well-known/jwks.json
GET /health
GET /metrics
GET /ready
GET /v1/audit
GET /v1/audit/verification
GET /v1/components
GET /v1/components/{component}
GET /v1/components/{component}/events
GET /v1/components/{component}/latest
GET /v1/components/{component}/measurements
GET /v1/components/{component}/summary
GET /v1/deliveries
GET /v1/deliveries/{delivery_id}
GET /v1/events
GET /v1/exclusions
GET /v1/exclusions/{exclusion}
GET /v1/firmware/behind
GET /v1/firmware/form
GET /v1/firmware/releases
GET /v1/firmware/releases/{release}
GET /v1/firmware/rollouts
GET /v1/firmware/rollouts/{rollout}
GET /v1/firmware/versions
GET /v1/firmware/{component}
GET /v1/firmware/{component}/target
GET /v1/fleet/overview
GET /v1/fleet/status
GET /v1/fleet/status/{component}
GET /v1/fleet/thresholds
GET /v1/invitations
GET /v1/keys
GET /v1/keys/{key_id}
GET /v1/kpis
GET /v1/kpis/{kpi}/explanation
GET /v1/kpis/{kpi}/versions
GET /v1/latest
GET /v1/live
GET /v1/me
GET /v1/me/keys
GET /v1/me/sessions
GET /v1/measurements
GET /v1/members
GET /v1/metrics
GET /v1/report-templates
GET /v1/report-templates/{name}
GET /v1/report-templates/{name}/versions
GET /v1/reports
GET /v1/reports/{report_id}
GET /v1/reports/{report_id}/changes
GET /v1/reports/{report_id}/result
GET /v1/reports/{report_id}/revisions
GET /v1/reports/{report_id}/staleness
GET /v1/schedules
GET /v1/schedules/{name}
GET /v1/schedules/{name}/history
GET /v1/schedules/{name}/preview
GET /v1/shift-calendar
GET /v1/summary
PATCH /v1/components/{component}
PATCH /v1/firmware/releases/{release}
PATCH /v1/firmware/rollouts/{rollout}
PATCH /v1/members/{member}
PATCH /v1/metrics/{metric}
POST /token
POST /v1/components
POST /v1/components/{component}/move
POST /v1/components/{component}/restore
POST /v1/components/{component}/retire
POST /v1/deliveries/{delivery_id}/retry
POST /v1/events
POST /v1/exclusions
POST /v1/firmware/releases
POST /v1/firmware/rollouts
POST /v1/invitations
POST /v1/invitations/accept
POST /v1/keys
POST /v1/keys/{key_id}/rotate
POST /v1/kpis
POST /v1/logout
POST /v1/logout-everywhere
POST /v1/me/keys
POST /v1/me/keys/{key_id}/rotate
POST /v1/me/password
POST /v1/measurements
POST /v1/members
POST /v1/members/{member}/password-reset
POST /v1/metrics
POST /v1/password-reset
POST /v1/password-reset/confirm
POST /v1/report-templates
POST /v1/reports
POST /v1/reports/{report_id}/cancel
POST /v1/reports/{report_id}/revisions
POST /v1/schedules
POST /v1/schedules/preview
POST /v1/schedules/{name}/pause
POST /v1/schedules/{name}/resume
POST /v1/token/refresh
PUT /v1/firmware/form
PUT /v1/fleet/thresholds
PUT /v1/report-templates/{name}
PUT /v1/schedules/{name}
PUT /v1/shift-calendar"""


BY_LINK = {  # whoever has no password yet, or has lost it
    "POST /v1/invitations/accept",
    "POST /v1/password-reset",
    "POST /v1/password-reset/confirm",
}
WITH_A_REFRESH_TOKEN = {"POST /v1/token/refresh"}  # in the body: there is no other credential, and no scope


def operations(description):
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_the_api_is_the_one_we_promised(app):
    assert "\n".join(sorted(name for name, _ in operations(app.openapi()))) == OPERATIONS


def test_every_operation_is_described(app):
    tags = {tag["name"] for tag in app.openapi()["tags"]}
    ids = [operation["operationId"] for _, operation in operations(app.openapi())]
    assert len(ids) == len(set(ids))
    for name, operation in operations(app.openapi()):
        assert operation["summary"], name
        assert operation["description"], name
        assert set(operation["tags"]) <= tags, name
        for parameter in operation.get("parameters", []):
            assert parameter["in"] in {"query", "path", "header"}, f"{name}: {parameter['name']}"


def test_every_refusal_is_described_with_the_one_schema(app):
    for name, operation in operations(app.openapi()):
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                schema = response["content"]["application/problem+json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/Problem"}, f"{name} {status}"
        if name.split()[1].startswith("/v1/") and name not in BY_LINK:
            assert {"401", "422", "503"} <= set(operation["responses"]), name
            assert name in WITH_A_REFRESH_TOKEN or "403" in operation["responses"], name
            assert name in WITH_A_REFRESH_TOKEN or operation["security"], name
        if "requestBody" in operation:
            assert {"400", "408", "413", "415"} <= set(operation["responses"]), name
        if "{" in name or name == "POST /token":
            assert "404" in operation["responses"], name


def test_the_description_offers_only_role_scopes_to_people(app):
    description = app.openapi()
    offered = description["components"]["securitySchemes"]["OAuth2PasswordBearer"]["flows"]["password"]
    assert set(offered["scopes"]) == {"user", "manager", "admin"}
    assert offered["tokenUrl"] == "token"
    for name, operation in operations(description):
        for requirement in operation.get("security", []):
            for scopes in requirement.values():
                assert set(scopes) <= {"user", "manager", "admin"}, name


def test_every_reference_in_the_description_leads_somewhere(app):
    description = app.openapi()

    def references(value):
        if isinstance(value, dict):
            yield from ([value["$ref"]] if isinstance(value.get("$ref"), str) else [])
            value = list(value.values())
        if isinstance(value, list):
            for part in value:
                yield from references(part)

    for reference in set(references(description)):
        assert reference.removeprefix("#/components/schemas/") in description["components"]["schemas"], reference


@pytest.mark.parametrize("path", ["/", "/b/docs"])
def test_old_addresses_lead_to_the_docs(anonymous, path):
    answer = anonymous.get(path)
    assert answer.status_code == 307
    assert answer.headers["location"] == "/docs"


def test_the_docs_are_open_in_demo_mode_and_load_nothing_from_elsewhere(anonymous):
    page = anonymous.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "//" not in page.text.replace("<!doctype", "")
    assert "<script>" not in page.text
    assert anonymous.get("/openapi.json").status_code == 200
    for path in [part.split('"')[0] for part in page.text.split('="')[1:] if part.startswith("/static/")]:
        asset = anonymous.get(path)
        assert asset.status_code == 200, path
        assert "max-age" in asset.headers["cache-control"]


def test_the_vendored_swagger_ui_carries_its_licence_and_version():
    vendored = STATIC_DIR / "swagger-ui"
    assert "Apache License" in (vendored / "LICENSE").read_text()
    assert (vendored / "VERSION").read_text().startswith("swagger-ui-dist ")


@pytest.mark.parametrize(
    "path",
    ["/health", "/docs", "/openapi.json", "/nowhere", "/v1/me", "/static/docs.js", "/static/../app.py", "/static"],
)
def test_every_answer_has_the_security_headers(anonymous, path):
    answer = anonymous.get(path)
    for name, value in SECURITY_HEADERS.items():
        assert answer.headers[name] == value, name
    assert "server" not in answer.headers
    assert answer.headers["cache-control"] in {"no-store", "public, max-age=3600"}


def test_static_files_outside_the_folder_are_not_served(anonymous):
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/swagger-ui/../../app.py", "/static/"):
        assert anonymous.get(path).status_code == 404, path


@pytest.mark.parametrize("path", ["/docs", "/static/docs.js"])
@pytest.mark.parametrize("wanted", ["bytes=nonsense", "bytes=99999999-", "bytes=0-3,6-7", "lines=1"])
def test_files_leave_whole_whatever_range_is_wanted(anonymous, path, wanted):
    answer = anonymous.get(path, headers={"Range": wanted})
    assert answer.status_code == 200
    assert answer.content == anonymous.get(path).content


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/v1/components", "GET, POST"),
        ("/v1/components/x", "GET, PATCH"),
        ("/v1/reports/x/cancel", "POST"),
        ("/health", "GET, HEAD"),
        ("/docs", "GET"),
        ("/static/docs.js", "GET, HEAD"),
    ],
)
def test_a_405_names_every_method_of_the_address(anonymous, path, methods):
    answer = anonymous.delete(path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == methods
    assert answer.headers["content-type"] == "application/problem+json"


def test_health_and_readiness_answer_without_credentials(anonymous):
    assert anonymous.get("/health").json() == {"status": "ok"}
    assert anonymous.get("/ready").json() == {"status": "ready"}


def test_readiness_does_not_wait_for_a_writer(anonymous, runtime):
    with runtime.database.transaction():
        began_s = time.monotonic()
        assert anonymous.get("/ready").status_code == 200
        assert time.monotonic() - began_s < 2


def basic(name, password):
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def test_outside_demo_mode_the_docs_want_a_login(tmp_path):
    runtime = open_runtime(Settings(data_dir=tmp_path))
    with runtime.database.transaction() as session:
        create_user(session, name="ada", password="a long enough one", role="viewer", project="default")
    client = Client(create_app(runtime))
    token = client.post("/token", data={"username": "ada", "password": "a long enough one"}).json()["access_token"]
    for path in ("/docs", "/openapi.json"):
        refused = client.get(path)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Basic ")
        assert client.get(path, headers=basic("ada", "wrong wrong wrong")).status_code == 401
        nonsense = client.get(path, headers={"Authorization": "Basic !!!"})
        assert (nonsense.status_code, nonsense.json()["code"]) == (401, "login_refused")
        assert nonsense.headers["www-authenticate"].startswith('Basic realm="')
        assert client.get(path, headers=basic("ada", "a long enough one")).status_code == 200
        assert client.get(path, headers={"Authorization": f"Bearer {token}"}).status_code == 200
    runtime.close()
