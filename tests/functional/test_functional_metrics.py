"""What an operator watches, from outside: every counter against the receipts, readiness, traces on a real collector."""

import http.server
import json
import re
import socket
import threading
import time
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families as parse

from functional.installation import ask_report, assert_problem
from functional.rows import deliver, deliver_events

START = datetime(2026, 6, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
OUTCOMES = {"accepted": "accepted", "duplicates": "duplicate", "conflicts": "conflict", "late": "late"}
TABLES = ("measurements", "events")
TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def rows(component, first, last, value=1.0):
    return [(component, "temperature", START + i * SECOND, value, 0) for i in range(first, last)]


def scrape(url):
    """Return every sample of `/metrics` as {(name, sorted labels): value}."""
    answer = httpx.get(f"{url}/metrics", trust_env=False)
    assert answer.status_code == 200, answer.text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse(answer.text)
        for sample in family.samples
    }


def value(samples, name, **labels):
    return samples.get((f"gaugehouse_{name}", tuple(sorted(labels.items()))), 0.0)


@pytest.fixture(scope="module")
def watched(found):
    """A server that nobody else talks to; it flushes when it is told to."""
    installation = found({"GAUGEHOUSE_SEGMENT_AGE_S": "3600", "GAUGEHOUSE_METRICS_PORT": str(free_port())}).start()
    yield installation
    installation.stop()


class Receipts:
    """Adds up what senders were told, by table."""

    def __init__(self):
        self.told = {table: Counter() for table in TABLES}
        self.rejected = Counter()
        self.refused = Counter()

    def take(self, answer, table="measurements"):
        assert answer.status_code == 201, answer.text
        receipt = answer.json()
        self.told[table].update({name: receipt[name] for name in OUTCOMES})
        if receipt["rejected"]:
            self.rejected["rows_refused"] += receipt["rejected"]
        return receipt

    def take_lines(self, answer, events=0):
        """Take a receipt of line protocol of which so many new rows were strings."""
        assert answer.status_code == 204, answer.text
        told = dict(part.split("=") for part in answer.headers["x-gaugehouse-receipt"].split(", "))
        counts = Counter({name: int(told[name]) for name in OUTCOMES})
        counts["accepted"] -= events
        self.told["measurements"].update(counts)
        self.told["events"]["accepted"] += events

    def refuse(self, answer, code, bad_rows=0):
        assert answer.status_code >= 400, answer.text
        self.refused[code] += 1
        if bad_rows:
            self.rejected[code] += bad_rows


def send_everything(device):
    """Send what there is of outcomes; return what was told."""
    receipts = Receipts()
    receipts.take(deliver(device, rows("counted", 100, 150)))
    receipts.take(deliver(device, rows("counted", 100, 150), "arrow"))
    receipts.take(deliver(device, rows("counted", 140, 160, value=2.0), "csv"))
    receipts.take(deliver(device, rows("counted", 0, 30), "parquet"))
    receipts.take(deliver(device, rows("counted", 200, 202)))  # small and known: the short way
    receipts.take(deliver(device, rows("counted", 201, 203, value=5.0)))
    bad = [("counted", "temperature", START + i * SECOND, float("inf") if i % 2 else 1.0, 0) for i in range(300, 310)]
    receipts.refuse(deliver(device, bad, "arrow"), "rows_refused", bad_rows=5)
    assert receipts.take(deliver(device, bad, "arrow", partial="true"))["rejected"] == 5
    events = [("counted", "firmware", START + i * SECOND, {"version": i}) for i in range(4)]
    receipts.take(deliver_events(device, events), "events")
    receipts.take(deliver_events(device, events[:3]), "events")
    ns = int((START + 400 * SECOND).timestamp()) * 10**9
    lines = f'counted,host=line-1 level=1,note="on" {ns}\ncounted,host=line-1 level=2 {ns + 10**9}\n'
    receipts.take_lines(write_lines(device, lines), events=1)
    receipts.refuse(write_lines(device, f"counted,host=line-1 level= {ns}\ncounted level=1 {ns}\n"), "lines_refused", 2)
    receipts.refuse(
        device.post("/v1/measurements", content=b"[", headers={"Content-Type": "application/json"}), "unreadable"
    )
    return receipts


def write_lines(device, lines):
    return device.post("/api/v2/write", params={"bucket": "default"}, content=lines.encode())


def test_every_counter_agrees_with_the_receipts(watched):
    before = scrape(watched.url)
    receipts = send_everything(watched.device())
    after = scrape(watched.url)

    def grown(name, **labels):
        return value(after, name, **labels) - value(before, name, **labels)

    for table in TABLES:
        counted = {told: grown(f"rows_{name}_total", table=table) for told, name in OUTCOMES.items()}
        assert counted == {name: receipts.told[table][name] for name in OUTCOMES}, table
    for code, count in receipts.rejected.items():
        assert grown("rows_rejected_total", reason=code) == count, code
    for code, count in receipts.refused.items():
        assert grown("requests_refused_total", code=code) == count, code
    assert receipts.told["measurements"]["conflicts"] == 11
    assert grown("http_request_seconds_count", method="POST", route="/v1/measurements", status="2xx") == 7
    assert grown("http_request_seconds_count", method="POST", route="/v1/measurements", status="4xx") == 2
    assert grown("fsync_seconds_count") >= 1
    # Conflicts are kept as events, so the log holds those beside what was accepted.
    accepted = sum(told["accepted"] for told in receipts.told.values())
    assert value(after, "unflushed_rows") == accepted + receipts.told["measurements"]["conflicts"]
    assert value(after, "lake_lag_seconds") > 0
    assert value(after, "http_requests_in_flight") == 1  # the scrape itself


def test_a_flush_empties_the_log_and_counts_its_commits(watched):
    deliver(watched.device(), rows("flushed", 0, 5))
    before = scrape(watched.url)
    watched.run_well("lake", "flush")
    after = scrape(watched.url)
    assert value(after, "unflushed_rows") == 0
    assert value(after, "lake_lag_seconds") == 0
    assert value(after, "flush_seconds_count") - value(before, "flush_seconds_count") == 1
    assert value(after, "lake_commits_total", table="measurements") - value(
        before, "lake_commits_total", table="measurements"
    ) in {1, 2}  # a merge may have come by
    assert value(after, "rows_flushed_total") - value(before, "rows_flushed_total") == value(before, "unflushed_rows")
    assert value(after, "active_files", table="measurements") >= 1


def test_the_separate_listener_tells_totals_only(watched):
    deliver(watched.device(), rows("listened", 0, 5))
    url = f"http://127.0.0.1:{watched.environment['GAUGEHOUSE_METRICS_PORT']}"
    samples = scrape(url)
    assert value(samples, "rows_accepted_total", table="measurements") >= 5
    assert not any(name == "project" for _sample, labels in samples for name, _label in labels)


def test_a_disk_without_the_room_we_want_is_not_ready_but_alive(found):
    installation = found({"GAUGEHOUSE_FREE_SPACE_BYTES": str(2**62)}).start()
    client = installation.client()
    problem = assert_problem(client.get("/ready"), 503, "lake_not_ready")
    assert problem["part"] == "lake"
    assert client.get("/health").json() == {"status": "ok"}
    assert_problem(deliver(installation.device(), rows("full", 0, 3)), 507, "storage_full")
    assert value(scrape(installation.url), "requests_refused_total", code="storage_full") == 1
    installation.stop()


@contextmanager
def collector():
    """A stand-in for an OpenTelemetry collector: gives (address, spans that came, as (service, span))."""
    came = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            sent = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
            for resource in sent.resource_spans:
                named = {one.key: one.value.string_value for one in resource.resource.attributes}
                came.extend((named["service.name"], span) for scope in resource.scope_spans for span in scope.spans)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_arguments):
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/traces", came
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_collector_gets_the_spans_of_requests_appends_flushes_and_reports(found):
    with collector() as (endpoint, came):
        installation = found({"GAUGEHOUSE_OTLP_ENDPOINT": endpoint, "GAUGEHOUSE_SEGMENT_AGE_S": "1"}, workers=1).start()
        device = installation.device()
        traced = device.post(
            "/v1/measurements",
            content=json.dumps([{"component": "t", "metric": "m", "measured_at": "2026-06-01T00:00:00Z", "value": 1}]),
            headers={"Content-Type": "application/json", "traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01"},
        )
        assert traced.status_code == 201, traced.text
        ask_report(installation.sign_in("max"), period="last_7_days", kpis=["mean"])
        installation.stop()
    by_name = {}
    for service, span in came:
        by_name.setdefault((service, span.name), []).append(span)
    request = next(
        one for one in by_name["gaugehouse-serve", "POST /v1/measurements"] if one.trace_id.hex() == TRACE_ID
    )
    assert request.parent_span_id.hex() == SPAN_ID
    attributes = {one.key: one.value for one in request.attributes}
    assert attributes["http.route"].string_value == "/v1/measurements"
    assert attributes["http.response.status_code"].int_value == 201
    append = next(one for one in by_name["gaugehouse-serve", "append"] if one.trace_id.hex() == TRACE_ID)
    assert {one.key: one.value.int_value for one in append.attributes}["rows"] == 1
    assert by_name["gaugehouse-serve", "flush"]
    (job,) = by_name["gaugehouse-worker", "job"]
    for phase in ("report.wait_for_lake", "report.compute", "report.store"):
        (done,) = by_name["gaugehouse-worker", phase]
        assert done.parent_span_id == job.span_id, phase
    served = [json.loads(line) for line in installation.output().splitlines() if '"request_served"' in line]
    assert TRACE_ID in {line.get("trace_id") for line in served}


def test_a_collector_that_is_away_delays_neither_requests_nor_the_stop(found):
    installation = found({"GAUGEHOUSE_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}/v1/traces"}).start()
    device = installation.device()
    started_s = time.monotonic()
    assert deliver(device, rows("away", 0, 5)).status_code == 201
    assert time.monotonic() - started_s < 5
    installation.stop()


def test_without_an_endpoint_nothing_of_opentelemetry_is_loaded(watched):
    opened = Path(f"/proc/{watched.pid}/maps").read_text()
    assert not re.search(r"opentelemetry|_upb", opened)  # protobuf's own library comes with the exporter
