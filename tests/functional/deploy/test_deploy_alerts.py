"""Each alert fires for what it is about and for nothing else: Prometheus' own unit tests (`promtool test rules`)."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from functional.deploy.deployed import DEPLOY, read_alerts

pytestmark = pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool: Debian's package prometheus")

MINUTES = 480
GIB = 2**30
OPERATION = (Path(__file__).parents[3] / "docs" / "operation.md").read_text("utf-8")
HEALTHY = {
    'up{job="gaugehouse", instance="g"}': "1+0x480",
    'gaugehouse_process_start_time_seconds{instance="g"}': "1000+0x480",
    'gaugehouse_process_open_fds{instance="g"}': "60+0x480",
    'gaugehouse_process_max_fds{instance="g"}': "65536+0x480",
    'gaugehouse_http_request_seconds_count{instance="g", status="2xx"}': "0+6000x480",
    'gaugehouse_http_request_seconds_count{instance="g", status="5xx"}': "0+6x480",
    'gaugehouse_database_up{instance="g"}': "1+0x480",
    'gaugehouse_requests_refused_total{instance="g", code="overloaded"}': "3+0x480",
    'gaugehouse_unflushed_bytes{instance="g"}': f"{GIB // 10}+0x480",
    'gaugehouse_unflushed_limit_bytes{instance="g"}': f"{GIB}+0x480",
    'gaugehouse_lake_lag_seconds{instance="g"}': "15+0x480",
    'gaugehouse_free_bytes{instance="g"}': f"{100 * GIB}-1000x480",
    'gaugehouse_free_limit_bytes{instance="g"}': f"{GIB // 4}+0x480",
    'gaugehouse_quarantined_files{instance="g", table="measurements"}': "0+0x480",
    'gaugehouse_fsync_seconds_bucket{instance="g", le="0.01"}': "0+1000x480",
    'gaugehouse_fsync_seconds_bucket{instance="g", le="1"}': "0+1000x480",
    'gaugehouse_fsync_seconds_bucket{instance="g", le="+Inf"}': "0+1000x480",
    'gaugehouse_jobs{instance="g", state="queued"}': "2+0x480",
    'gaugehouse_jobs{instance="g", state="running"}': "1+0x480",
    'gaugehouse_jobs{instance="g", state="failed"}': "3+0x480",
    'heartbeat_count_total{instance="g", project="p"}': "0+1000x480",
    'online_devices{instance="g", project="p"}': "1000+0x480",
    'at_risk_devices{instance="g", project="p"}': "20+0x480",
    'offline_devices{instance="g", project="p"}': "30+0x480",
}
GONE = None
SICK = {
    "ServiceAway": {'up{job="gaugehouse", instance="g"}': "1+0x470 0+0x10"},
    "RestartsOften": {'gaugehouse_process_start_time_seconds{instance="g"}': "1000+0x470 1000+60x10"},
    "ErrorsAnswered": {'gaugehouse_http_request_seconds_count{instance="g", status="5xx"}': "0+600x480"},
    "DatabaseAway": {'gaugehouse_database_up{instance="g"}': "1+0x470 0+0x10"},
    "DescriptorsRunOut": {'gaugehouse_process_open_fds{instance="g"}': "60000+0x480"},
    "WritesRefused": {'gaugehouse_requests_refused_total{instance="g", code="overloaded"}': "3+0x478 9+0x2"},
    "LogFillsUp": {'gaugehouse_unflushed_bytes{instance="g"}': f"{GIB // 10}+0x470 {8 * GIB // 10}+0x10"},
    "LakeBehind": {'gaugehouse_lake_lag_seconds{instance="g"}': "150+0x480"},
    "LakeFallsBack": {'gaugehouse_lake_lag_seconds{instance="g"}': "15+0x460 30+60x20"},
    "DiskFull": {'gaugehouse_free_bytes{instance="g"}': f"{GIB // 8}+0x480"},
    "DiskNearlyFull": {'gaugehouse_free_bytes{instance="g"}': f"{GIB // 2}+0x480"},
    "DiskFullTomorrow": {'gaugehouse_free_bytes{instance="g"}': f"{100 * GIB}-{100 * 2**20}x480"},
    "FilesInQuarantine": {'gaugehouse_quarantined_files{instance="g", table="measurements"}': "0+0x479 1"},
    "SlowDisk": {'gaugehouse_fsync_seconds_bucket{instance="g", le="0.01"}': "0+900x480"},
    "ReportsStuck": {'gaugehouse_jobs{instance="g", state="running"}': "1+0x470 0+0x10"},
    "ReportsWaiting": {'gaugehouse_jobs{instance="g", state="queued"}': "150+0x480"},
    "ReportsFail": {'gaugehouse_jobs{instance="g", state="failed"}': "3+0x450 3+1x30"},
    "DevicesWentOffline": {'online_devices{instance="g", project="p"}': "1000+0x465 700+0x15"},
    "ManyDevicesOffline": {'offline_devices{instance="g", project="p"}': "400+0x480"},
    "ManyDevicesAtRisk": {'at_risk_devices{instance="g", project="p"}': "150+0x480"},
    "NoHeartbeats": {'heartbeat_count_total{instance="g", project="p"}': "0+1000x460 460000+0x20"},
}
# What cannot come alone: a full disk is nearly full before, and who cannot be scraped tells nothing else.
TOGETHER = {
    "DiskFull": {"DiskNearlyFull", "DiskFullTomorrow"},
    "DiskNearlyFull": set(),
    "LakeFallsBack": {"LakeBehind"},
}


def write_test(changes, firing):
    series = {**HEALTHY, **changes}
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items() if values is not GONE],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": f"{MINUTES}m",
                "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(firing)],
            }
        ],
    }


def run_promtool(folder, *tests):
    shutil.copy(DEPLOY / "alerts.yml", folder)
    path = folder / "alerts_test.yml"
    path.write_text(yaml.safe_dump({"rule_files": ["alerts.yml"], "evaluation_interval": "1m", "tests": [*tests]}))
    done = subprocess.run(["promtool", "test", "rules", path], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_healthy_service_raises_no_alert(tmp_path):
    run_promtool(tmp_path, write_test({}, ()))


def test_every_alert_has_its_case():
    assert SICK.keys() == {rule["alert"] for rule in read_alerts()}


@pytest.mark.parametrize("alert", SICK)
def test_it_fires_for_what_it_is_about_and_no_other_does(alert, tmp_path):
    run_promtool(tmp_path, write_test(SICK[alert], {alert} | TOGETHER.get(alert, set())))


def test_a_service_that_was_never_scraped_is_away(tmp_path):
    run_promtool(tmp_path, write_test({'up{job="gaugehouse", instance="g"}': GONE}, {"ServiceAway"}))


def test_every_alert_says_how_urgent_it_is_and_what_it_means():
    for rule in read_alerts():
        assert rule["labels"]["severity"] in {"page", "ticket"}, rule["alert"]
        assert rule["annotations"]["summary"], rule["alert"]
        assert f"| `{rule['alert']}` |" in OPERATION, f"docs/operation.md does not say what to do about {rule['alert']}"
