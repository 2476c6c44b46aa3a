"""System calls that fail under a running server: only what is on the disk is acknowledged, and nothing hangs."""

import shutil
import signal
import subprocess
import time
from contextlib import contextmanager

import httpx
import pytest

from faults.judging import assert_all_found_once
from functional.installation import wait_until
from functional.senders import Sender, sending

FAIL_STOP_CODE = 70
SETTINGS = {"GAUGEHOUSE_SEGMENT_AGE_S": "0.3", "GAUGEHOUSE_CHECKPOINT_EVERY_COMMITS": "3"}
SYNCS = "fdatasync,fsync"
# Which calls fail with what; each at some of its first forty occurrences. Not `write`: strace cannot tell a file from the
# event loop's own wake-up, which may not fail; full disks are real ones, in test_faults_full_disk.py.
FAULTS = [
    ("openat", "EMFILE"),
    ("openat", "EIO"),
    ("openat", "ENOSPC"),
    ("rename,renameat,renameat2", "EIO"),
    ("link,linkat", "EIO"),
    ("unlink,unlinkat", "EIO"),
    ("ftruncate", "EIO"),
    ("mkdir,mkdirat", "ENOSPC"),
]
FEW, MANY = (2,), tuple(range(1, 41))

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="faults are injected by strace")


@contextmanager
def failing(pid, calls, error, when):
    """Let system calls of a process fail while the block runs."""
    wanted = ["-e", f"trace={calls}", "-e", f"inject={calls}:error={error}:when={when}"]
    strace = subprocess.Popen(
        ["strace", "-f", "-qq", "-o", "/dev/null", "-p", str(pid), *wanted], stderr=subprocess.PIPE, text=True
    )
    try:
        time.sleep(0.3)
        if strace.poll() not in {None, 0, FAIL_STOP_CODE}:  # it ends as the process does that it watches
            pytest.skip(f"strace may not attach here: {strace.stderr.read().strip()}")
        yield
    finally:
        strace.send_signal(signal.SIGINT)
        strace.wait(30)
        strace.stderr.close()


def is_answering(installation):
    try:
        return httpx.get(f"{installation.url}/health", timeout=5, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("when", [*FEW, *(pytest.param(n, marks=pytest.mark.torture) for n in MANY if n not in FEW)])
def test_a_refused_sync_stops_the_server_and_what_it_acknowledged_is_there(found, when, tally):
    installation = found(SETTINGS).start()
    senders = [Sender(installation, f"sender-{i}", pause_s=0.01) for i in range(4)]
    with sending(senders):
        # The database syncs too, and survives a refusal; from now on it has no part in a delivery.
        wait_until(lambda: all(sender.acknowledged for sender in senders), what="the first acknowledgements")
        with failing(installation.pid, SYNCS, "EIO", f"{when}+"):
            code = installation.process.wait(60)
        installation.start()
        time.sleep(0.5)
    assert code == FAIL_STOP_CODE, installation.output()[-3000:]
    assert_all_found_once(installation, senders)
    tally["servers stopped by a refused sync"] += 1


@pytest.mark.parametrize(("calls", "error"), FAULTS)
@pytest.mark.parametrize("whens", [FEW, pytest.param(MANY, marks=pytest.mark.torture)], ids=["few", "many"])
def test_a_failing_call_is_answered_503_or_507_and_loses_nothing(found, calls, error, whens, tally):
    installation = found(SETTINGS).start()
    senders = [Sender(installation, f"sender-{i}", pause_s=0.01) for i in range(4)]
    with sending(senders):
        for when in whens:
            time.sleep(0.3)
            with failing(installation.pid, calls, error, f"{when}..{when + 2}"):
                time.sleep(1.5)
            tally[f"faults: {calls.partition(',')[0]} {error}"] += 1
            if installation.process.poll() is not None:
                assert installation.process.returncode == FAIL_STOP_CODE, installation.output()[-3000:]
                installation.start()
            wait_until(lambda: is_answering(installation), timeout_s=30, what="an answer after the fault")
    assert_all_found_once(installation, senders)
