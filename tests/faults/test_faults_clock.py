"""Clocks that jump under a running server, both ways: receipts stay in order, and no row is lost or stored twice."""

import shutil
import struct
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from faults.judging import assert_all_found_once
from functional.installation import wait_until
from functional.senders import Sender, sending
from gaugehouse.cli.options import EXIT_START_REFUSED

COMPILER = shutil.which("cc")
DAY_S, HOUR_S = 86_400, 3_600
JUMPS_S = (2 * DAY_S, 2 * DAY_S + HOUR_S, 0, -3 * HOUR_S, 10 * DAY_S)

pytestmark = pytest.mark.skipif(COMPILER is None, reason="clocks are moved by a preloaded library, made by cc")


class Clock:
    """The wall clock of processes, ahead of ours by so many seconds; their monotonic clocks and sleeps are left alone.

    Not libfaketime: its clock_nanosleep refuses every sleep of Python, and threads wait for its lock.
    """

    def __init__(self, folder):
        self._library, self._file = folder / "clock.so", folder / "clock"
        source = Path(__file__).with_name("clock.c")
        subprocess.run([COMPILER, "-O2", "-shared", "-fPIC", "-o", self._library, source, "-ldl"], check=True)
        self.set(0)

    def set(self, ahead_s):
        """Let it jump."""
        mode = "r+b" if self._file.exists() else "wb"  # mapped: the file stays the one it was
        with self._file.open(mode) as file:
            file.write(struct.pack("=q", ahead_s * 1_000_000_000))

    @property
    def environment(self):
        """What a process is started with."""
        return {"LD_PRELOAD": str(self._library), "CLOCK_AHEAD_FILE": str(self._file)}


def acknowledge_some_more(senders):
    before = [len(sender.acknowledged) for sender in senders]
    wait_until(
        lambda: all(len(s.acknowledged) > count + 2 for s, count in zip(senders, before, strict=True)),
        timeout_s=30,
        what="acknowledgements after the jump",
    )


def test_a_clock_that_jumps_both_ways_loses_no_row_and_receipts_stay_in_order(found, tmp_path, tally):
    clock = Clock(tmp_path)
    installation = found({"GAUGEHOUSE_SEGMENT_AGE_S": "0.3"} | clock.environment, is_fresh=True).start()
    senders = [Sender(installation, f"sender-{i}", pause_s=0.02) for i in range(3)]
    with sending(senders):
        for ahead_s in JUMPS_S:
            clock.set(ahead_s)
            acknowledge_some_more(senders)
            tally["clock jumps"] += 1
    for sender in senders:
        stamps = [received_at for received_at, _first, _end in sender.acknowledged]
        assert stamps == sorted(stamps)
        assert stamps[-1] > datetime.now(UTC) + timedelta(days=9)  # the server did see the last jump
    assert_all_found_once(installation, senders)


def test_a_start_far_behind_the_newest_row_is_refused_until_the_clock_is_right(found, tmp_path, tally):
    clock = Clock(tmp_path)
    installation = found(clock.environment, is_fresh=True).start()
    senders = [Sender(installation, "sender-0")]
    with sending(senders):
        acknowledge_some_more(senders)
    installation.stop()
    clock.set(-HOUR_S)
    refused = installation.run("serve", "--host", "127.0.0.1", "--port", "0", timeout_s=60)
    assert refused.returncode == EXIT_START_REFUSED
    assert "clock" in refused.stdout + refused.stderr
    assert "Traceback" not in refused.stdout + refused.stderr
    clock.set(0)
    installation.start()
    assert_all_found_once(installation, senders)
    tally["starts refused by the clock"] += 1
