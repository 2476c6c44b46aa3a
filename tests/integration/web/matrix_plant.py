"""What the matrix of callers and routes is played on: three projects, everybody who may call, and things to call for.

Names of things of the project `alpha` begin with MARK, so that an answer to somebody else shows what it leaks.
"""

import asyncio
import itertools
import time
from datetime import UTC, datetime, timedelta

from sqlalchemy import update

from asgi_client import Client
from gaugehouse.access import (
    NewApiKey,
    add_api_key,
    create_user,
    disable_user,
    end_sessions,
    get_member_id,
    grant_role,
    revoke_api_key,
)
from gaugehouse.access.caller import KEY_SCOPES
from gaugehouse.access.tokens import Claims, sign_token
from gaugehouse.database import new_id
from gaugehouse.database.tables import ApiKey, Delivery
from gaugehouse.inventory import create_project
from gaugehouse.web.app import create_app
from gaugehouse.web.cookies import SESSION_COOKIE

PASSWORD = "a long enough password"
MARK = "alphaonly"
DEVICE, OTHER_DEVICE = f"{MARK}-press", f"{MARK}-oven"
METRIC = f"{MARK}-heat"
DEVICE_UUID = "063c5957-8905-45f9-bfe3-960713788919"

NOBODIES = (
    "anonymous",
    "garbage",
    "expired_token",
    "ended_session",
    "disabled_user",
    "revoked_key",
    "expired_key",
    "ended_cookie",
)
CALLERS = (
    "viewer",
    "manager",
    "admin",
    "operator",
    "device_key",
    "other_device_key",
    "reading_key",
    "project_key",
    "stranger",
    "stranger_key",
)
STRANGERS = frozenset({"stranger", "stranger_key"})
PEOPLE = frozenset({"viewer", "manager", "admin", "stranger"})
ENDING = PEOPLE | {"browser"}  # whose sessions some routes end
TEMPLATE = {"title": MARK, "report": {"period": "last_week", "timezone": "UTC", "kpis": ["mean"]}}
SCHEDULE = {"recurrence": "every Monday 06:00 UTC for last_month"}
SHIFT_CALENDAR = {
    "timezone": "UTC",
    "shifts": [{"name": "early", "start": "06:00", "duration": "PT8H", "days": ["mon", "tue"]}],
}
NEXT_YEAR = {"start": "2027-01-01T00:00:00Z", "end": "2027-01-02T00:00:00Z"}
REMEMBERED_S = 1.1  # how long somebody who was let in may stay so


class SteadyClient(Client):
    """Calls in one event loop for all: a new one each time would start its threads anew."""

    def __init__(self, app, headers=None, runner=None):
        super().__init__(app, headers)
        self._runner = runner or asyncio.Runner()

    def request(self, method, path, *, headers=None, **kwargs):
        return self._runner.run(self._call(method, path, headers=headers, **kwargs))

    def with_headers(self, **headers):
        return SteadyClient(self._app, super().with_headers(**headers).headers, self._runner)

    def close(self):
        self._runner.close()


class Plant:
    """Three projects: `alpha`, which the matrix is about; `beta`, of the strangers; `gamma`, of alpha's admin too."""

    def __init__(self, runtime):
        self.runtime = runtime
        self._client = SteadyClient(create_app(runtime))
        self._numbers = itertools.count(1)
        self.clients = {"anonymous": self._client}
        with runtime.database.transaction() as session:
            self.ids = {slug: create_project(session, slug).id for slug in ("alpha", "beta", "gamma")}
            for name, role, project in (
                ("viewer", "viewer", "alpha"),
                ("manager", "manager", "alpha"),
                ("admin", "admin", "alpha"),
                ("second", "admin", "alpha"),  # so that the first is not the last
                ("leaver", "manager", "alpha"),
                ("stranger", "admin", "beta"),
            ):
                create_user(session, name=name, password=PASSWORD, role=role, project=project)
            grant_role(session, name="admin", project="gamma", role="admin")
        for name in PEOPLE:
            self.renew(name)
        operator = runtime.access.issue_operator_token("alpha")
        self.clients["operator"] = self._client.with_headers(Authorization=f"Bearer {operator}")
        self._let_keys_in()
        self._let_nobodies_in()
        self._fill()
        time.sleep(REMEMBERED_S)

    def close(self):
        self._client.close()

    def renew(self, name):
        """Sign somebody in, again if need be; the manager in their browser as well."""
        name = "manager" if name == "browser" else name
        self.clients[name] = self._sign_in(name)
        if name == "manager":
            cookie = self.runtime.access.start_page_session("manager", PASSWORD, "alpha").secret
            browser = {"Cookie": f"{SESSION_COOKIE}={cookie}", "Sec_Fetch_Site": "same-origin"}
            self.clients["browser"] = self._client.with_headers(**browser)

    def _sign_in(self, name):
        project = {"viewer": "alpha", "manager": "alpha", "admin": "alpha"}.get(name, "")
        form = {"username": name, "password": PASSWORD} | ({"project": project} if project else {})
        answer = self._client.post("/token", data=form)
        assert answer.status_code == 200, answer.text
        return self._client.with_headers(Authorization=f"Bearer {answer.json()['access_token']}")

    def key(self, project="alpha", **wanted):
        """Return a new key and its id."""
        with self.runtime.database.transaction() as session:
            new = NewApiKey(name=f"{project}-key", **wanted)
            made = add_api_key(session, new, project_id=self.ids[project])
        return made.key, made.view.id

    def _let_keys_in(self):
        everything = sorted(KEY_SCOPES)
        for name, wanted in (
            ("device_key", {"component": DEVICE}),
            ("other_device_key", {"component": OTHER_DEVICE}),
            ("reading_key", {"scopes": [scope for scope in everything if scope.endswith(":read")]}),
            ("project_key", {"scopes": everything}),
            ("stranger_key", {"project": "beta", "scopes": everything}),
        ):
            key, _ = self.key(**wanted)
            self.clients[name] = self._client.with_headers(X_API_Key=key)

    def _let_nobodies_in(self):
        """Everybody who could call once, or never."""
        client, runtime = self._client, self.runtime
        self.clients["garbage"] = client.with_headers(Authorization="Bearer not.a.token")
        self.clients["expired_token"] = client.with_headers(Authorization=f"Bearer {self._expired_token()}")
        self.clients["ended_session"] = self._sign_in("leaver")
        cookie = runtime.access.start_page_session("leaver", PASSWORD).secret
        self.clients["ended_cookie"] = client.with_headers(Cookie=f"{SESSION_COOKIE}={cookie}")
        with runtime.database.transaction() as session:
            create_user(session, name="disabled", password=PASSWORD, role="admin", project="alpha")
            leaver_id = get_member_id(session, name="leaver", project_id=self.ids["alpha"])
            end_sessions(session, user_id=leaver_id)
        self.clients["disabled_user"] = self._sign_in("disabled")
        revoked, revoked_id = self.key(scopes=sorted(KEY_SCOPES))
        expired, expired_id = self.key(scopes=sorted(KEY_SCOPES), expires_at=datetime.now(UTC) + timedelta(days=1))
        with runtime.database.transaction() as session:
            disable_user(session, name="disabled")
            revoke_api_key(session, self.ids["alpha"], revoked_id)
            yesterday = datetime.now(UTC) - timedelta(days=1)
            session.execute(update(ApiKey).where(ApiKey.id == expired_id).values(expires_at=yesterday))
        self.clients["revoked_key"] = client.with_headers(X_API_Key=revoked)
        self.clients["expired_key"] = client.with_headers(X_API_Key=expired)

    def _expired_token(self):
        with self.runtime.database.reading() as session:
            subject = get_member_id(session, name="admin", project_id=self.ids["alpha"])
        claims = Claims(kind="user", subject=subject, project="alpha", scopes=("user", "manager", "admin"), version=0)
        signature = self.runtime.access._signing_keys.signature()
        return sign_token(claims, by=signature, issued_at_s=int(time.time()) - 3600, lifetime_s=900)

    def _fill(self):
        manager = self.clients["manager"]
        rows = [
            {"component": name, "metric": metric, "measured_at": "2026-11-20T10:00:00Z", "value": 1}
            for name in (DEVICE, OTHER_DEVICE, DEVICE_UUID)
            for metric in (METRIC, "battery_level", "rssi", "online", "count")
        ]
        self.ask(manager.post("/v1/measurements", json=rows))
        event = {"component": DEVICE, "kind": "alarm", "occurred_at": "2026-11-20T10:00:00Z", "body": {"text": MARK}}
        self.ask(manager.post("/v1/events", json=[event]))
        self.ask(manager.put("/v1/shift-calendar", json=SHIFT_CALENDAR))

    def number(self):
        """Return another number each time: for names that nobody has yet."""
        return next(self._numbers)

    @staticmethod
    def ask(answer, statuses=frozenset({200, 201, 202})):
        assert answer.status_code in statuses, answer.text
        return answer.json()

    # What an address can name. Each returns (name or id, id or None when it has one name only).

    def component(self):
        name = f"{MARK}-c{self.number()}"
        made = self.ask(self.clients["manager"].post("/v1/components", json=[{"name": name}]))
        return name, made["items"][0]["id"]

    def device(self):
        listed = self.ask(self.clients["manager"].get("/v1/components", params={"component": DEVICE}))
        return DEVICE, listed["items"][0]["id"]

    def device_name(self):
        return DEVICE, None

    def device_uuid(self):
        return DEVICE_UUID, None

    def metric(self):
        return METRIC, None

    def kpi(self):
        name = f"{MARK}_{self.number()}"
        body = {"name": name, "title": MARK, "unit": "1", "formula": "n * 2"}
        self.ask(self.clients["manager"].post("/v1/kpis", json=body))
        return name, None

    def exclusion(self):
        body = {"kind": "maintenance", "components": [DEVICE], "reason": MARK} | NEXT_YEAR
        return self.ask(self.clients["manager"].post("/v1/exclusions", json=body))["id"], None

    def release(self):
        body = {"version": f"1.0.{self.number()}", "notes": MARK}
        return self.ask(self.clients["manager"].post("/v1/firmware/releases", json=body))["id"], None

    def rollout(self):
        body = {"release": self.release()[0], "components": [DEVICE]}
        return self.ask(self.clients["manager"].post("/v1/firmware/rollouts", json=body))["id"], None

    def report(self):
        body = {"period": "2026-W46", "kpis": ["mean"], "components": [DEVICE]}
        return self.ask(self.clients["manager"].post("/v1/reports", json=body))["id"], None

    def template(self):
        name = f"{MARK}-t{self.number()}"
        self.ask(self.clients["manager"].post("/v1/report-templates", json=TEMPLATE | {"name": name}))
        return name, None

    def schedule(self):
        name = f"{MARK}-s{self.number()}"
        body = SCHEDULE | {"name": name, "template": self.template()[0]}
        self.ask(self.clients["manager"].post("/v1/schedules", json=body))
        return name, None

    def delivery(self):
        """Return one that has arrived: computing reports is no part of this."""
        row = Delivery(
            id=new_id("dlv"),
            project_id=self.ids["alpha"],
            report_id=self.report()[0],
            revision=1,
            template_id=new_id("tpl"),
            kind="folder",
            address=MARK,
            content={},
            state="delivered",
            job_id=new_id("job"),
        )
        with self.runtime.database.transaction() as session:
            session.add(row)
        return row.id, None

    def alpha_key(self):
        return self.key(component=DEVICE)[1], None

    def key_of_viewer(self):
        made = self.clients["viewer"].post("/v1/me/keys", json={"name": MARK, "scopes": ["measurements:read"]})
        return self.ask(made)["view"]["id"], None

    def session_of_viewer(self):
        spare = self._sign_in("viewer")
        listed = self.ask(spare.get("/v1/me/sessions"))
        return next(item["id"] for item in listed["items"] if item["is_current"]), None

    def member(self):
        name = f"{MARK}-m{self.number()}"
        body = {"name": name, "password": PASSWORD, "role": "viewer"}
        self.ask(self.clients["admin"].post("/v1/members", json=body))
        return name, None

    def invitation(self):
        return self.ask(self.clients["admin"].post("/v1/invitations", json={"role": "viewer"}))["id"], None
