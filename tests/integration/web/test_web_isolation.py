"""Whatever projects, components, keys, people and moves there are: nothing of one project is ever seen from another.

A model holds for each project which rows it must have. Names of components are the same in all projects, values are all
different: a row that crossed would be seen by its value, and one that is lost by its absence.
"""

import itertools
from collections import defaultdict

import deltalake
import polars as pl
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from gaugehouse.access import create_user, end_membership, grant_role
from gaugehouse.config import Layout, Settings
from gaugehouse.inventory import create_project
from gaugehouse.runtime import open_runtime
from gaugehouse.web.app import create_app
from integration.web.matrix_plant import SteadyClient

PASSWORD = "a long enough password"
EXAMPLES, STEPS = 6, 15  # half a minute
COMPONENTS = ("press", "oven", "saw")
PROJECTS = range(3)
NUMBERS = itertools.count(1)
KEY_SCOPES = ["measurements:write", "measurements:read", "events:write", "events:read", "status:read"]
a_project, a_component = st.sampled_from(PROJECTS), st.sampled_from(COMPONENTS)
EVERYTHING = defaultdict(set)  # of all examples: project -> values


class Plant(RuleBasedStateMachine):
    """One example: three new projects in an installation that all examples share."""

    runtime = client = None

    @initialize()
    def found(self):
        number = next(NUMBERS)
        self.slugs = [f"p{number}-{letter}" for letter in "abc"]
        self.user = f"user{number}"
        with self.runtime.database.transaction() as session:
            for slug in self.slugs:
                create_project(session, slug)
            create_user(session, name=self.user, password=PASSWORD, role="viewer", project=self.slugs[0])
        self.operators = [self.as_token(self.runtime.access.issue_operator_token(slug)) for slug in self.slugs]
        self.member_of, self.tokens = {0}, {}
        self.rows = defaultdict(dict)  # project -> (component, second) -> value
        self.registered = defaultdict(set)  # project -> components
        self.keys = []  # [client, project, component or None]
        self.reports = defaultdict(set)
        self.moved = set()  # (project, component) that went away

    def as_token(self, token):
        return self.client.with_headers(Authorization=f"Bearer {token}")

    def forget(self):
        """Let everything be asked anew, as if a second had passed."""
        access = self.runtime.access
        for remembered in (access._keys, access._standings, access._project_ids):
            remembered._answers.clear()

    # --- what happens

    @rule(project=a_project, component=st.none() | a_component)
    def make_key(self, project, component):
        body = {"name": "k", "component": component, "scopes": KEY_SCOPES}
        made = self.operators[project].post("/v1/keys", json=body)
        assert made.status_code == 201, made.text
        self.keys.append([self.client.with_headers(X_API_Key=made.json()["key"]), project, component])

    @rule(project=a_project, component=a_component, second=st.integers(0, 59), data=st.data())
    def write(self, project, component, second, data):
        writers = [(self.operators[project], project, None), *self.keys]
        client, project, bound = data.draw(st.sampled_from(writers))
        value = next(NUMBERS)
        row = {
            "component": component,
            "metric": "level",
            "measured_at": f"2026-11-20T10:00:{second:02d}Z",
            "value": value,
        }
        answer = client.post("/v1/measurements", params={"partial": "false"}, json=[row])
        if bound not in {None, component}:
            assert answer.status_code == 403, answer.text
            return
        assert answer.status_code == 201, answer.text
        self.registered[project].add(component)
        kept = self.rows[project].setdefault((component, second), value)
        assert answer.json()["accepted"] == (kept == value)

    @rule(source=a_project, destination=a_project, component=a_component)
    def move(self, source, destination, component):
        answer = self.operators[source].post(
            f"/v1/components/{component}/move", json={"project": self.slugs[destination]}
        )
        self.forget()
        if answer.status_code != 200:
            is_here = component in self.registered[source]
            assert answer.status_code in ({409, 422} if is_here else {404, 422}), answer.text
            return
        self.registered[destination].add(component)
        for key in self.keys:
            if key[1:] == [source, component]:
                key[1] = destination

    @rule(project=a_project, role=st.sampled_from(["viewer", "manager"]))
    def join(self, project, role):
        with self.runtime.database.transaction() as session:
            grant_role(session, name=self.user, project=self.slugs[project], role=role)
        self.member_of.add(project)
        self.forget()

    @rule(project=a_project)
    def leave(self, project):
        if project in self.member_of:
            with self.runtime.database.transaction() as session:
                grant_role(session, name=self.user, project=self.slugs[project], role="viewer")
                end_membership(session, name=self.user, project=self.slugs[project])
            self.member_of.discard(project)
            self.forget()

    @rule(project=a_project)
    def ask_report(self, project):
        body = {"period": "2026-11-20", "kpis": ["mean"]}
        answer = self.operators[project].post("/v1/reports", json=body)
        if answer.status_code == 202:
            self.reports[project].add(answer.json()["id"])

    # --- what is seen

    def seen(self, client, path="/v1/measurements"):
        answer = client.get(path, params={"limit": 1000} if path == "/v1/measurements" else {})
        assert answer.status_code == 200, answer.text
        return {item["value"] for item in answer.json()["items"]}

    @rule(project=a_project)
    def look_as_a_member(self, project):
        form = {"username": self.user, "password": PASSWORD, "project": self.slugs[project]}
        signed_in = self.client.post("/token", data=form)
        assert signed_in.status_code == (200 if project in self.member_of else 404)
        if signed_in.status_code == 200:
            self.tokens[project] = self.as_token(signed_in.json()["access_token"])
        for known, client in self.tokens.items():
            if known not in self.member_of:
                assert client.get("/v1/me").status_code == 401
        if project in self.member_of:
            assert self.seen(self.tokens[project]) == set(self.rows[project].values())

    @rule()
    def look_as_keys(self):
        for client, project, component in self.keys:
            mine = {value for (name, _), value in self.rows[project].items() if component in {None, name}}
            assert self.seen(client) == mine
            assert self.seen(client, "/v1/latest") <= mine

    @rule(project=a_project)
    def look_as_operator(self, project):
        operator = self.operators[project]
        assert self.seen(operator) == set(self.rows[project].values())
        assert self.seen(operator, "/v1/latest") <= set(self.rows[project].values())
        listed = {item["name"] for item in operator.get("/v1/components").json()["items"]}
        assert listed <= self.registered[project]
        assert {item["id"] for item in operator.get("/v1/reports").json()["items"]} == self.reports[project]
        for other, reports in self.reports.items():
            for report in reports:
                answer = operator.get(f"/v1/reports/{report}")
                assert answer.status_code == (200 if other == project else 404)
        audit = operator.get("/v1/audit", params={"limit": 1000}).json()["items"]
        assert len({entry["chain"] for entry in audit}) <= 1
        assert {entry["object_id"] for entry in audit if entry["action"] == "report.request"} == self.reports[project]

    def teardown(self):
        if hasattr(self, "slugs"):
            self.look_as_keys()
            for project in PROJECTS:
                self.look_as_operator(project)
                EVERYTHING[self.slugs[project]] |= set(self.rows[project].values())


@pytest.fixture
def runtime(tmp_path):
    any_number = {f"{name}_per_minute": 0 for name in ("refused", "reads", "reports", "writes")}
    runtime = open_runtime(Settings(data_dir=tmp_path, report_jobs_waiting=1_000_000, **any_number))
    yield runtime
    runtime.close()


def stored(runtime):
    """Return what stands in the files, by project, and the folders that it stands in."""
    runtime.lake.flush(timeout_s=60)
    table = deltalake.DeltaTable(Layout(runtime.settings.data_dir).lake_dir / "measurements")
    rows = pl.from_arrow(table.to_pyarrow_table(columns=["project", "value"]))
    return {slug: set(group["value"]) for (slug,), group in rows.group_by("project")}


@pytest.mark.timeout(900)
def test_nothing_ever_crosses(runtime):
    Plant.runtime, Plant.client = runtime, SteadyClient(create_app(runtime))
    EVERYTHING.clear()
    run_state_machine_as_test(
        Plant,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
    Plant.client.close()
    assert stored(runtime) == {slug: values for slug, values in EVERYTHING.items() if values}
