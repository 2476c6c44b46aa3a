"""Power cuts in the middle of every step: nothing acknowledged is lost, nothing is stored twice, every table opens."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from faults.cutting import STEPS
from faults.power import Disk, NoPowerToCut
from gaugehouse.config import Layout, Settings
from gaugehouse.lake import Lake
from gaugehouse.lake.verify import verify_lake

WRITER = Path(__file__).parents[1] / "integration" / "lake" / "lake_writer.py"
ROUNDS = {"commit": 51, "compaction": 22, "checkpoint": 22}  # what a table's readers depend on is cut most often
ROUNDS_ELSE = 13  # 212 cuts in all
PATIENCE_S = 60.0


@pytest.fixture
def disk(tmp_path):
    try:
        disk = Disk(tmp_path)
    except NoPowerToCut as exc:
        pytest.skip(f"power cuts need a loop device and the right to mount it: {exc}")
    yield disk
    disk.close()


class Acknowledged:
    """What a writer said before its end: key -> value, and how the end came."""

    def __init__(self):
        self.rows = {}
        self.cut = None

    def read(self, stream, *, for_s=PATIENCE_S):
        """Take in what is said until the stream ends or time is up."""
        deadline_s = time.monotonic() + for_s
        while time.monotonic() < deadline_s:
            line = stream.readline()
            if not line.endswith("\n"):
                return
            said = json.loads(line)
            if isinstance(said, dict):
                self.cut = said
            else:
                self.rows |= {(component, t): value for component, t, value in said}


def write(data_dir, seed, *cut):
    child = subprocess.Popen(
        [sys.executable, str(WRITER), str(data_dir), str(seed), *map(str, cut)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    said = child.stdout.readline().strip()
    if said != "open" and not said.startswith('{"cut"'):
        child.kill()
        raise AssertionError(f"the writer did not start: {child.communicate()[1][-2000:]}")
    return child, said


def live_until_the_cut(disk, step, seed, acknowledged):
    child, said = write(disk.root / "data", seed, step, disk.root)
    if said != "open":  # the start itself was cut
        acknowledged.cut = json.loads(said)
    acknowledged.read(child.stdout)
    child.kill()
    _rest, errors = child.communicate()
    assert acknowledged.cut is not None, f"no cut came during {step}: {errors[-2000:]}"
    disk.restore()


def live_until_a_kill(disk, seed, acknowledged):
    """Write on after the repair, so that it is not only readable; end by kill -9."""
    child, _said = write(disk.root / "data", seed)
    acknowledged.read(child.stdout, for_s=random.Random(seed).uniform(0.2, 0.6))  # noqa: S311 - reproducible
    child.send_signal(signal.SIGKILL)
    acknowledged.read(child.stdout)
    child.communicate()


def judge(data_dir, acknowledged):
    """Compare what plain readers find with what was acknowledged."""
    settings = Settings(data_dir=data_dir, free_space_bytes=0)
    lake = Lake.open(Layout(data_dir), settings)
    lake.close()
    table = data_dir / "lake" / "measurements"
    stored = pl.scan_delta(str(table)).select("component", pl.col("measured_at").dt.epoch("us"), "value").collect()
    found = {(component, t): value for component, t, value in stored.rows()}
    assert len(found) == stored.height, "a key is stored twice"
    lost = {key: value for key, value in acknowledged.items() if found.get(key) != value}
    assert not lost, f"{len(lost)} acknowledged rows are missing or changed"
    assert all(value == t % 97 for (_component, t), value in found.items())
    plain = pl.scan_parquet(str(data_dir / "lake" / "plain" / "measurements" / "**" / "*.parquet"))
    assert plain.select(pl.len()).collect().item() == stored.height
    verdict = verify_lake(Layout(data_dir), ask_live=None, keep_s=86_400, on_progress=lambda *_: None)
    assert [finding for finding in verdict.findings if finding.is_damage] == []


def many_cuts():
    """Yield (step, number): one cut during every step, and many of them for the long run."""
    for step in STEPS:
        yield step, 0
        for number in range(1, ROUNDS.get(step, ROUNDS_ELSE)):
            yield pytest.param(step, number, marks=pytest.mark.torture)


@pytest.mark.parametrize(("step", "round_number"), list(many_cuts()))
def test_no_acknowledged_row_is_lost_or_doubled_by_a_power_cut_during(step, round_number, disk, tally):
    seed = round_number * 1000 + list(STEPS).index(step)
    acknowledged = Acknowledged()
    live_until_the_cut(disk, step, seed, acknowledged)
    live_until_a_kill(disk, seed + 500, acknowledged)
    judge(disk.root / "data", acknowledged.rows)
    assert acknowledged.rows
    tally["power cuts"] += 1
    tally[f"power cuts during: {step}"] += 1
    tally[f"power cuts at: {acknowledged.cut['where']}"] += 1
    tally["rows acknowledged before power cuts, all found once"] += len(acknowledged.rows)
