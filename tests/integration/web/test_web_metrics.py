"""`/metrics`, `/ready` and traces: who sees what, and whether it counts right."""

from dataclasses import replace

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from asgi_client import Client
from gaugehouse.errors import Unavailable
from gaugehouse.jobs import enqueue
from gaugehouse.tracing import close_tracing, configure_tracing, current_trace_id, span
from gaugehouse.web.app import create_app
from gaugehouse.web.exposition import METRICS, count_jobs

TOKEN = "a-long-enough-secret"


def row(second, value=1.0, component="meter-1"):
    measured_at = f"2026-11-01T00:00:{second:02d}Z"
    return {"component": component, "metric": "temperature", "measured_at": measured_at, "value": value}


def scrape(client, **headers):
    answer = client.with_headers(**headers).get("/metrics") if headers else client.get("/metrics")
    assert answer.status_code == 200, answer.text
    return {family.name: family for family in parse(answer.text)}


def value(families, name, **labels):
    samples = [s for family in families.values() for s in family.samples if s.name == name]
    found = [sample.value for sample in samples if sample.labels == labels]
    return found[0] if found else 0.0


@pytest.fixture
def public(runtime):
    """The same installation, were it listening on every address."""
    open_runtime = replace(
        runtime, settings=runtime.settings.model_copy(update={"host": "192.0.2.7", "metrics_token": TOKEN})
    )
    return Client(create_app(open_runtime))


def test_every_metric_that_is_promised_is_served(anonymous):
    families = scrape(anonymous)
    served = {name for family in families.values() for name in (family.name, f"{family.name}_total")}
    assert METRICS.keys() <= served
    assert "gaugehouse_process_resident_memory_bytes" in served


def test_jobs_that_wait_for_their_time_are_no_depth_of_the_queue(database):
    job = {"kind": "report", "project_id": None, "subject_id": "rep_1", "payload": {}}
    with database.transaction() as session:
        for delay_s in (0, 0, 3600):
            enqueue(session, **job, delay_s=delay_s)
    with database.reading() as session:
        assert count_jobs(session) == {("queued",): 2, ("running",): 0, ("waiting",): 1}


def test_outcomes_of_deliveries_are_counted_exactly(anonymous, manager):
    def counts():
        families = scrape(anonymous)
        names = ("accepted", "duplicate", "conflict", "late")
        return [value(families, f"gaugehouse_rows_{name}_total", table="measurements") for name in names]

    before = counts()
    assert manager.post("/v1/measurements", json=[row(5), row(6)]).json()["accepted"] == 2
    again = manager.post("/v1/measurements", json=[row(5), row(6, value=9.0), row(1), row(7)]).json()
    assert (again["accepted"], again["duplicates"], again["conflicts"], again["late"]) == (2, 1, 1, 1)
    assert [now - then for now, then in zip(counts(), before, strict=True)] == [4, 1, 1, 1]


def test_refusals_are_counted_by_reason(anonymous, manager):
    before = scrape(anonymous)
    assert manager.post("/v1/measurements", json=[row(9, value="high"), row(10)]).status_code == 422
    assert anonymous.get("/v1/components").status_code == 401
    after = scrape(anonymous)
    for name, labels in (
        ("gaugehouse_rows_rejected_total", {"reason": "rows_refused"}),
        ("gaugehouse_requests_refused_total", {"code": "rows_refused"}),
        ("gaugehouse_requests_refused_total", {"code": "unauthenticated"}),
    ):
        assert value(after, name, **labels) - value(before, name, **labels) == 1, name


def test_latencies_are_told_by_route_and_never_by_address(anonymous, user):
    user.get("/v1/components/some-secret-name/latest")
    anonymous.get("/no/such/address")
    families = scrape(anonymous)
    routes = {sample.labels["route"] for sample in families["gaugehouse_http_request_seconds"].samples}
    assert "/v1/components/{component}/latest" in routes
    assert "unmatched" in routes
    assert not any("secret" in route or "such" in route for route in routes)


def test_projects_are_named_to_the_operator_only(anonymous, runtime, manager):
    manager.post("/v1/measurements", json=[row(20)])
    assert 'project="default"' not in anonymous.get("/metrics").text
    token = runtime.access.issue_operator_token("default")
    families = scrape(anonymous, Authorization=f"Bearer {token}")
    assert value(families, "gaugehouse_rows_accepted_total", table="measurements", project="default") > 0


def test_on_a_public_address_only_the_operator_scrapes(public, runtime):
    assert public.get("/metrics").status_code == 401
    assert public.with_headers(Authorization="Bearer wrong").get("/metrics").status_code == 401
    assert public.with_headers(Authorization=f"Bearer {TOKEN}").get("/metrics").status_code == 200
    operator = runtime.access.issue_operator_token("default")
    assert public.with_headers(Authorization=f"Bearer {operator}").get("/metrics").status_code == 200


def test_a_user_is_not_the_operator(user):
    answer = user.get("/metrics")
    assert answer.status_code == 403
    assert answer.json()["code"] == "operator_only"


def test_behind_a_proxy_nothing_is_open(anonymous):
    assert anonymous.with_headers(X_Forwarded_For="203.0.113.9").get("/metrics").status_code == 401


def test_openmetrics_is_served_to_who_asks_for_it(anonymous):
    accept = "application/openmetrics-text; version=1.0.0"
    answer = anonymous.with_headers(Accept=accept).get("/metrics")
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert {family.name for family in parse_openmetrics(answer.text)} >= {"gaugehouse_lake_lag_seconds"}


def test_unflushed_rows_and_lag_go_to_zero_with_a_flush(anonymous, manager, runtime):
    manager.post("/v1/measurements", json=[row(30)])
    assert value(scrape(anonymous), "gaugehouse_unflushed_rows") >= 1
    before = value(scrape(anonymous), "gaugehouse_flush_seconds_count")
    runtime.lake.flush()
    families = scrape(anonymous)
    assert value(families, "gaugehouse_unflushed_rows") == 0
    assert value(families, "gaugehouse_lake_lag_seconds") == 0
    assert value(families, "gaugehouse_flush_seconds_count") > before
    assert value(families, "gaugehouse_active_files", table="measurements") >= 1


def test_ready_is_no_when_the_lake_takes_no_writes(anonymous, runtime, monkeypatch):
    assert anonymous.get("/ready").status_code == 200
    monkeypatch.setattr(runtime.lake, "_has_free_space", False)
    monkeypatch.setattr(runtime.lake, "_free_space_seen_at_s", float("inf"))
    answer = anonymous.get("/ready")
    assert (answer.status_code, answer.json()["code"]) == (503, "lake_not_ready")
    assert anonymous.get("/health").status_code == 200


def test_ready_is_no_when_the_log_has_failed(anonymous, runtime, monkeypatch):
    monkeypatch.setattr(runtime.lake._sequencer.log, "failed", True)
    answer = anonymous.get("/ready")
    assert (answer.status_code, answer.json()["part"]) == (503, "lake")


class AwayDatabase:
    """A database that nobody reaches."""

    def reading(self):
        raise Unavailable("the database at /srv/secret cannot be reached")


def test_without_the_database_ready_says_so_and_metrics_go_on(runtime):
    client = Client(create_app(replace(runtime, database=AwayDatabase())))
    answer = client.get("/ready")
    assert (answer.status_code, answer.json()["part"], answer.json()["code"]) == (503, "database", "database_not_ready")
    assert "secret" not in answer.text
    assert client.get("/health").status_code == 200
    families = scrape(client)
    assert value(families, "gaugehouse_database_up") == 0
    assert value(families, "gaugehouse_requests_refused_total", code="database_not_ready") == 1


def test_the_part_of_lines_that_is_events_is_counted_as_events(anonymous, make_key):
    def counts():
        families = scrape(anonymous)
        return [value(families, "gaugehouse_rows_accepted_total", table=table) for table in ("measurements", "events")]

    before = counts()
    lines = 'm,host=liner a=1,b="on",c=2 1780000000000000000\n'
    sent = make_key().post("/api/v2/write", params={"bucket": "default"}, content=lines)
    assert sent.status_code == 204, sent.text
    assert [now - then for now, then in zip(counts(), before, strict=True)] == [2, 1]


# -- traces


@pytest.fixture
def spans():
    exporter = InMemorySpanExporter()
    configure_tracing(None, process="test", version="0", exporter=exporter)
    yield exporter
    close_tracing()


def test_a_request_continues_the_callers_trace(anonymous, spans):
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    anonymous.with_headers(traceparent=f"00-{trace_id}-00f067aa0ba902b7-01").get("/health")
    (found,) = spans.get_finished_spans()
    assert found.name == "GET /health"
    assert f"{found.context.trace_id:032x}" == trace_id
    assert found.attributes["http.response.status_code"] == 200


def test_a_flush_is_a_span_with_its_rows(manager, runtime, spans):
    manager.post("/v1/measurements", json=[row(40)])
    runtime.lake.flush()
    flushes = [one for one in spans.get_finished_spans() if one.name == "flush"]
    assert flushes[0].attributes["rows"] >= 1


def test_without_an_endpoint_there_are_no_spans_and_no_trace_ids():
    with span("anything") as current:
        assert current is None
        assert current_trace_id() is None
