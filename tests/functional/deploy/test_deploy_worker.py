"""A worker that is a container of its own: it sees the data folder of the server, and not its processes."""

import os
import shutil
import signal
import subprocess

import psutil
import pytest

from functional.installation import ask_report

APART = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


def can_unshare():
    if shutil.which("unshare") is None or os.geteuid() != 0:
        return False
    return subprocess.run([*APART, "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_unshare(), reason="needs root, to give a process numbers of its own")
def test_a_worker_in_a_container_of_its_own_computes_reports(found):
    installation = found({"GAUGEHOUSE_WORKERS": "0", "GAUGEHOUSE_SEGMENT_AGE_S": "1"}).start()
    installation.prefix = APART
    worker = installation.begin("worker")
    try:
        state = ask_report(installation.sign_in("max"), period="today", kpis=["mean"])
        assert state["status"] == "done"
    finally:
        (child,) = psutil.Process(worker.pid).children()
        child.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0
        installation.prefix = ()
        installation.stop()
