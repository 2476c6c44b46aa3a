"""A real Prometheus scrapes a real server with the operator's token and answers all that dashboards and alerts ask."""

import shutil
import socket
import subprocess
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import yaml

from functional.deploy.deployed import DEPLOY, find_alert_questions, find_questions
from functional.installation import ask_report, wait_until
from functional.rows import deliver, deliver_events

pytestmark = pytest.mark.skipif(shutil.which("prometheus") is None, reason="no Prometheus: Debian's package prometheus")

TOKEN = "the operator's token of this test"
YESTERDAY_DEVICES = 7
QUESTIONS = find_questions()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def write_configuration(folder, url, token_file):
    """Write what deploy/ has, with this server's address and token, scraped each second."""
    configuration = yaml.safe_load((DEPLOY / "prometheus.yml").read_text("utf-8"))
    configuration["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    (scrape,) = configuration["scrape_configs"]
    scrape["authorization"]["credentials_file"] = str(token_file)
    scrape["static_configs"] = [{"targets": [url.removeprefix("http://")]}]
    shutil.copy(DEPLOY / "alerts.yml", folder)
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(configuration), "utf-8")
    return path


def send_some(installation, number):
    """Send rows of every outcome, and read some."""
    device = installation.device()
    now = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    rows = [("pump", "m", now + timedelta(seconds=10 * number + n), float(n), 0) for n in range(5)]
    late = [("pump", "m", now - timedelta(days=1, seconds=number), 1.0, 0)]
    for one in (rows, rows, [(*rows[0][:3], 99.0, 0)], late):
        assert deliver(device, one).status_code == 201
    assert deliver(device, [("pump", "m", now, float("inf"), 0)], "arrow").status_code == 422
    assert deliver_events(device, [("pump", "note", rows[0][2], {"n": number})]).status_code == 201
    sent_at = datetime.now(UTC).isoformat()
    status = {"device_id": "d-1", "timestamp": sent_at, "battery_level": 80, "rssi": -50, "online": True}
    assert device.post("/status", json=status).status_code == 201
    reader = installation.sign_in("vera")
    assert reader.get("/v1/measurements", params={"component": "pump"}).status_code == 200
    assert installation.sign_in("max").get("/v1/reports/rep_of_nobody").json()["code"].startswith("report_")


def fill_in_yesterday(folder, url):
    """Write what a server told this Prometheus a day ago, as the blocks that it would have made of it by now."""
    instance = url.removeprefix("http://")
    labels = f'instance="{instance}",job="gaugehouse",project="default"'
    day_ago_s = int(datetime.now(UTC).timestamp()) - 86_400
    scrapes = range(day_ago_s - 600, day_ago_s + 3600, 60)  # until long after all is asked
    lines = [f"online_devices{{{labels}}} {YESTERDAY_DEVICES} {at_s}\n" for at_s in scrapes]
    written = folder / "yesterday.txt"
    written.write_text(f"# TYPE online_devices gauge\n{''.join(lines)}# EOF\n", "utf-8")
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(written), str(folder / "data")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


class Prometheus:
    def __init__(self, url, process):
        self.url, self.process = url, process

    def ask(self, path, **params):
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=params, timeout=30, trust_env=False)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def query(self, expression):
        return self.ask("query", query=expression)["result"]

    def is_ready(self):
        assert self.process.poll() is None
        try:
            return httpx.get(f"{self.url}/-/ready", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture(scope="module")
def scraped(found, tmp_path_factory):
    """A server whose token is in a file, as systemd and Docker hand it over."""
    secrets = tmp_path_factory.mktemp("secrets")
    (secrets / "gaugehouse_metrics_token").write_text(f"{TOKEN}\n", "utf-8")
    installation = found({"CREDENTIALS_DIRECTORY": str(secrets), "GAUGEHOUSE_SEGMENT_AGE_S": "1"}, workers=1).start()
    yield installation, secrets / "gaugehouse_metrics_token"
    installation.stop()


@pytest.fixture(scope="module")
def prometheus(scraped, tmp_path_factory):
    """Prometheus beside it, after some scrapes with rows between them."""
    installation, token_file = scraped
    folder = tmp_path_factory.mktemp("prometheus")
    configuration = write_configuration(folder, installation.url, token_file)
    fill_in_yesterday(folder, installation.url)
    port = free_port()
    command = ["prometheus", f"--config.file={configuration}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            [*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=output, stderr=subprocess.STDOUT
        )
    try:
        running = Prometheus(f"http://127.0.0.1:{port}", process)
        wait_until(running.is_ready, what="Prometheus")
        send_some(installation, 0)
        ask_report(installation.sign_in("max"), period="today", kpis=["mean"])
        counted = "count_over_time(gaugehouse_rows_conflict_total{table='measurements'}[1m]) >= 3"
        wait_until(lambda: running.query(counted), what="scrapes")
        send_some(installation, 1)
        wait_until(lambda: running.query("sum(rate(gaugehouse_rows_late_total[1m])) > 0"), what="later scrapes")
        wait_until(lambda: running.query("count_over_time(gaugehouse_jobs{state='done'}[1m]) >= 2"), what="jobs")
        yield running
    finally:
        process.terminate()
        process.wait(20)


def test_the_operators_token_shows_projects_by_name(prometheus):
    assert [one["value"][1] for one in prometheus.query('up{job="gaugehouse"}')] == ["1"]
    (stored,) = prometheus.query('gaugehouse_rows_accepted_total{table="measurements", project="default"}')
    assert float(stored["value"][1]) >= 12
    assert prometheus.ask("label/project/values", **{"match[]": "gaugehouse_rows_accepted_total"}) == ["default"]


def test_dashboards_ask_only_for_metrics_that_there_are(prometheus):
    told = set(prometheus.ask("label/__name__/values"))
    missing = {name: question.where for question in QUESTIONS for name in question.names - told}
    assert not missing


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.where)
def test_every_query_of_every_dashboard_is_answered(prometheus, question):
    assert prometheus.query(question.expression), question.expression


def test_today_and_yesterday_are_told_apart(prometheus):
    """`offset 1d` asks for blocks that are a day old, which a Prometheus that has just begun has not."""
    now, day_ago = [question for question in QUESTIONS if "now and a day ago" in question.where]
    told = [prometheus.query(question.expression)[0]["value"][1] for question in (now, day_ago)]
    assert told == ["1", str(YESTERDAY_DEVICES)]


def test_every_alert_rule_is_evaluated_and_a_healthy_service_raises_none(prometheus):
    def find_rules():
        rules = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
        return rules if all(rule["health"] == "ok" for rule in rules) else None

    rules = wait_until(find_rules, what="the first evaluation of every rule")
    assert {rule["name"]: rule["lastError"] for rule in rules if rule.get("lastError")} == {}
    assert len(rules) == len(find_alert_questions())
    assert [rule["name"] for rule in rules if rule["state"] == "firing"] == []


@pytest.mark.parametrize("question", find_alert_questions(), ids=lambda question: question.where)
def test_alerts_watch_metrics_that_there_are(prometheus, question):
    told = set(prometheus.ask("label/__name__/values"))
    seldom = {"gaugehouse_requests_refused_total"}
    assert question.names <= told | seldom
