"""The API against its own description: schemathesis asks everything that it says can be asked, and what it does not.

All checks are on. Of requests that fit the description it wants none to be refused; ours may be, when what they say
cannot be done (a cursor of another list, a name that is taken): then the code is the domain's. `request_refused` is the
description's, so a request that fits it gets that only for what no description can say: a text with a NUL, a list
whose names repeat.
"""

import json
import os

import pytest
import schemathesis
import structlog
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

from gaugehouse.access import create_user
from gaugehouse.config import Settings
from gaugehouse.runtime import open_runtime
from gaugehouse.web.app import create_app

PASSWORD = "a long enough password"
EXAMPLES = int(os.environ.get("GAUGEHOUSE_TEST_EXAMPLES", "50"))
ENDING_SESSIONS = ["/v1/logout", "/v1/logout-everywhere", "/v1/me/password"]  # of whoever asks all the others
FITTING_REFUSED = "positive_data_acceptance"
# Of validators of ours, which no description can say: not of a type or a bound.
OUR_CODES = frozenset({"value_error", "naive_time", "two_questions", "template_of_template"})
NEEDED_WITHOUT_A_TEMPLATE = ("missing", "period")
UNREADABLE = 400
OF_CONTENT = frozenset({401, 403, 404, 409, 413, 422, 429})


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    any_number = {f"{name}_per_minute": 0 for name in ("refused", "reads", "reports", "writes")}
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("schema"),
        demo=True,  # its description is open
        allowed_hosts="testserver,localhost",
        token_lifetime_s=86_400,
        report_jobs_waiting=1_000_000,
        **any_number,
    )
    runtime = open_runtime(settings)
    with runtime.database.transaction() as session:
        create_user(session, name="admin", password=PASSWORD, role="admin", project="default")
    yield runtime
    runtime.close()


@pytest.fixture
def quiet():
    """Write no log: it would be gigabytes of refusals."""
    configured = structlog.get_config()
    structlog.configure(processors=[_drop])
    yield
    structlog.configure(**configured)


def _drop(*_):
    raise structlog.DropEvent


def find_failures(runtime, *, max_examples, covers, seed):
    """Return what failed, each kind once for each operation, and how many requests were made."""
    token = runtime.access.issue_token("admin", PASSWORD).access_token
    config = SchemathesisConfig.from_dict(
        {
            "seed": seed,
            "continue-on-failure": True,
            "headers": {"Authorization": f"Bearer {token}"},
            "phases": {"coverage": {"enabled": covers}, "stateful": {"enabled": False}},
            "generation": {"max-examples": max_examples, "database": "none", "no-shrink": True},
        }
    )
    schema = schemathesis.openapi.from_asgi("/openapi.json", create_app(runtime), config=config)
    failures, requests = {}, 0
    for event in from_schema(schema.exclude(path=ENDING_SESSIONS)).execute():
        if isinstance(event, events.NonFatalError | events.FatalError):
            failures[str(vars(event) if hasattr(event, "__dict__") else event)] = "the run itself"
        if isinstance(event, events.ScenarioFinished):
            requests += len(event.recorder.cases)
            failures |= dict(told(event))
    return failures, requests


def told(scenario):
    for case_id, checks in scenario.recorder.checks.items():
        found = scenario.recorder.interactions.get(case_id)
        for check in checks:
            if check.failure_info is not None and not is_of_content(check.name, found):
                failure = check.failure_info.failure
                asked = None if found is None else (found.request.method, found.request.uri, found.request.body)
                yield f"{scenario.label}: {failure.title}", (str(failure.message)[:300], str(asked)[:600])


def is_of_content(check, interaction):
    """Say whether a request that fits the description was refused for what it says."""
    if check != FITTING_REFUSED or interaction is None or interaction.response is None:
        return False
    response = interaction.response
    if response.status_code == UNREADABLE and is_text(interaction.request):
        return True
    problem = json.loads(response.content)
    errors = (problem.get("errors") or []) if problem["code"] == "request_refused" else []
    return response.status_code in OF_CONTENT and all(map(is_ours, errors))


def is_text(request):
    """Say whether a body is of a form whose grammar no description can say: quotes of a CSV, a JSON value per line."""
    given = " ".join(
        value for name, values in request.headers.items() if name.lower() == "content-type" for value in values
    )
    return given.startswith(("text/csv", "application/x-ndjson"))


def is_ours(error):
    code, field = error["code"], error["field"].rpartition(".")[2]
    return code in OUR_CODES or code.endswith("_refused") or (code, field) == NEEDED_WITHOUT_A_TEMPLATE


def test_what_is_described_is_what_happens(runtime, quiet):
    failures, requests = find_failures(runtime, max_examples=3, covers=False, seed=1)
    assert failures == {}
    assert requests > 300


@pytest.mark.torture
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_whatever_is_asked_nothing_breaks_and_nothing_is_otherwise_than_described(runtime, quiet, seed):
    failures, requests = find_failures(runtime, max_examples=EXAMPLES, covers=True, seed=seed)
    assert failures == {}
    assert requests > 5_000
