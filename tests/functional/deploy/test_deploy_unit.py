"""deploy/gaugehouse.service: systemd reads it, rates it, and allows every system call that the service makes."""

import re
import shutil
import signal
import subprocess
from datetime import UTC, datetime

import psutil
import pytest

from functional.deploy.deployed import DEPLOY
from functional.installation import ask_report, fetch_result, wait_until
from functional.rows import deliver_well
from gaugehouse.cli.options import EXIT_START_REFUSED
from gaugehouse.lake.owner import FAILED_EXIT_CODE

FILE = DEPLOY / "gaugehouse.service"
TEXT = FILE.read_text("utf-8")
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="no systemd: Debian's package systemd"
)
MOST_EXPOSED = 2.0  # of 10, by `systemd-analyze security`; 1.4 when this was written


def analyze(*arguments):
    done = subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def values_of(name):
    return re.findall(rf"^{name}=(.*)$", TEXT, flags=re.MULTILINE)


@needs_systemd
def test_systemd_understands_every_line(tmp_path):
    there = tmp_path / FILE.name
    there.write_text(TEXT.replace("/opt/gaugehouse/bin/gaugehouse", "/bin/true"))
    assert analyze("verify", "--man=no", there) == ""


@needs_systemd
def test_systemd_finds_it_little_exposed():
    told = analyze("security", "--offline=true", "--no-pager", FILE)
    assert float(re.search(r"Overall exposure level .*: ([\d.]+)", told)[1]) <= MOST_EXPOSED


def test_a_refused_start_is_not_tried_again_and_a_refused_sync_is():
    (never,) = values_of("RestartPreventExitStatus")
    assert str(EXIT_START_REFUSED) in never.split()
    assert str(FAILED_EXIT_CODE) not in never.split()
    assert values_of("Restart") == ["on-failure"]
    assert int(values_of("TimeoutStopSec")[0]) > 20


def allowed_calls():
    """Return the system calls that the filter lets through."""
    sets = {}
    for line in analyze("syscall-filter", "--no-pager").splitlines():
        if line.startswith("@"):
            name = line.strip()
            sets[name] = set()
        elif line.strip() and not line.strip().startswith("#"):
            sets[name].add(line.strip())

    def expand(name):
        return set().union(*(expand(one) if one.startswith("@") else {one} for one in sets[name]))

    allowed = set()
    for value in values_of("SystemCallFilter"):
        names = value.removeprefix("~").split()
        calls = set().union(*(expand(name) if name.startswith("@") else {name} for name in names))
        allowed = allowed - calls if value.startswith("~") else allowed | calls
    return allowed | expand("@default")


@needs_systemd
@pytest.mark.skipif(shutil.which("strace") is None, reason="no strace")
def test_the_filter_allows_every_call_of_server_and_worker(found, tmp_path):
    """From the start over rows, a flush and a report as PDF to the stop."""
    trace = tmp_path / "trace"
    installation = found({"GAUGEHOUSE_SEGMENT_AGE_S": "1"}, workers=1)
    installation.prefix = ("strace", "-f", "-qq", "--seccomp-bpf", "-c", "-o", str(trace))
    installation.launch()
    traced = installation.process
    try:
        child = wait_until(psutil.Process(traced.pid).children, timeout_s=60, what="the server under strace")[0]
        path = installation.data_dir / "run" / "owner.json"
        url = wait_until(lambda: path.exists() and path.read_text(), timeout_s=200, what="the server's address")
        installation.url = re.search(r"http://[\d.:]+", url)[0]
        wait_until(lambda: installation._answers("/health"), timeout_s=200, what="the server's health")
        deliver_well(installation.device(), [("c", "m", datetime.now(UTC).replace(microsecond=0), 1.0, 0)])
        manager = installation.sign_in("max")
        report = ask_report(manager, period="today", kpis=["mean"])
        assert fetch_result(manager, f"/v1/reports/{report['id']}", "pdf").status_code == 200
    finally:
        child.send_signal(signal.SIGTERM)
        traced.wait(60)
    table = trace.read_text().splitlines()
    made = {line.split()[-1] for line in table if re.match(r"\s*[\d.]+\s", line)} - {"total"}
    assert len(made) > 40
    assert made - allowed_calls() == set()
