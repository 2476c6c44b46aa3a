"""kill -9 in the middle of every step: nothing acknowledged is lost or doubled, and every start is ready in seconds."""

import httpx
import numpy as np
import pyarrow as pa
import pytest

from faults.killing import SETTINGS, Killer, ask, note_longest
from faults.ledgers import KEPT, SCHEMAS, compare, read_delta, read_glob, with_month
from functional.installation import START_S, run_command
from functional.rows import read_answer
from functional.senders import START_US, send_until_acknowledged
from gaugehouse.backup import read_list
from gaugehouse.config import Layout
from gaugehouse.lake.verify import verify_lake
from payloads import write_arrow

READY_S = 5.0  # promised on a machine that does nothing else
FEW_KILLS, MANY_KILLS, CHUNKS = 6, 25, 20
LOOK_EVERY = 3


@pytest.mark.parametrize(
    ("seed", "kills", "ready_limit_s"),
    [
        (0, FEW_KILLS, START_S),
        *(
            pytest.param(seed, MANY_KILLS, READY_S, marks=[pytest.mark.torture, pytest.mark.timeout(3600)])
            for seed in range(1, CHUNKS + 1)
        ),
    ],
)
def test_kills_lose_no_row_and_double_none_and_every_start_is_ready(found, tmp_path, seed, kills, ready_limit_s, tally):
    killer = Killer(found(SETTINGS, is_fresh=True), seed, ready_limit_s)
    killer.start()
    with killer.working():
        for number in range(kills):
            killer.kill_once()
            if number % LOOK_EVERY == LOOK_EVERY - 1:
                killer.look()
        killer.start()
    killer.installation.stop_in_any_state()
    rows = killer.judge()
    assert_sound(killer.installation.data_dir)
    assert_archived_once(killer.operator)
    assert_restores(killer, tmp_path / "elsewhere")
    for way, count in killer.kills.items():
        tally[f"kills: {way}"] += count
    tally["kills"] += kills
    tally["rows acknowledged before kills, all found once"] += rows
    note_longest(tally, "ms until ready after a kill, the longest of all starts", killer.longest_start_s)


def assert_sound(data_dir):
    verdict = verify_lake(Layout(data_dir), ask_live=None, keep_s=86_400, on_progress=lambda *_: None)
    assert [finding for finding in verdict.findings if finding.is_damage] == []


def assert_archived_once(operator):
    """Check that what retention dropped is in the archive, each row once."""
    brief = operator.brief
    for table, before in brief.dropped_before.items():
        archived = with_month(read_glob(operator.archive / table, table))
        dropped = brief.everything(table)
        months = [rows.filter(rows["month"] < before) for rows in (archived, dropped)]
        compare(*months, f"archived {table}")


def assert_restores(killer, data_dir):
    """Check that the newest of the backups that were made between the kills is one."""
    operator = killer.operator
    if not any((operator.backups / "backups").glob("*.json")):
        return
    through_us = read_list(operator.backups).lake.through_us
    done = run_command("restore", operator.backups, "--data", data_dir)
    assert done.returncode == 0, done.stderr
    for table in SCHEMAS:
        restored = read_delta(data_dir / "lake", table)
        assert restored.n_unique(KEPT) == restored.height, "a row is in the backup twice"
        for ledger in operator.ledgers:
            mine = restored.filter(restored["project"] == ledger.project)
            assert mine.join(ledger.everything(table), on=KEPT, how="anti").is_empty(), "a row that nobody was told of"
        standing = read_delta(killer.installation.data_dir / "lake", table)
        wanted = standing.filter(standing["received_at"] <= through_us)
        assert wanted.join(restored, on=KEPT, how="anti").is_empty(), "a row is missing in the backup"


# --- a long log ---

ROWS, ROWS_A_BODY, COMPONENTS = 1_000_000, 100_000, 100


def million_rows():
    """Yield bodies of the same second-by-second history of a hundred components, together a million rows."""
    names = pa.array([f"machine-{number:03}" for number in range(COMPONENTS)])
    for first in range(0, ROWS, ROWS_A_BODY):
        numbers = np.arange(first, first + ROWS_A_BODY)
        times = START_US + numbers // COMPONENTS * 1_000_000
        yield pa.table(
            {
                "component": names.take(pa.array(numbers % COMPONENTS)),
                "metric": pa.repeat(pa.scalar("level"), ROWS_A_BODY),
                "measured_at": pa.array(times, pa.int64()).cast(pa.timestamp("us", tz="UTC")),
                "value": pa.array(numbers, pa.float64()),
            }
        )


@pytest.mark.parametrize("ready_limit_s", [START_S, pytest.param(READY_S, marks=pytest.mark.torture)])
def test_a_start_with_a_million_rows_in_the_log_only_is_ready_in_seconds(found, ready_limit_s, tally):
    installation = found({"GAUGEHOUSE_SEGMENT_AGE_S": "3600"}).start()
    with httpx.Client(timeout=120, trust_env=False) as client:
        for rows in million_rows():
            assert send_until_acknowledged(installation, client, write_arrow(rows))["accepted"] == ROWS_A_BODY
    assert ask(installation, "status")["unflushed_rows"] == ROWS
    installation.kill()
    took_s = installation.start_until_ready()
    note_longest(tally, "ms until ready with a million rows in the log only", took_s)
    assert took_s <= ready_limit_s
    summary = read_answer(installation.sign_in("vera").get("/v1/summary"))
    assert {row["component"]: row["n"] for row in summary} == {
        f"machine-{number:03}": ROWS // COMPONENTS for number in range(COMPONENTS)
    }
    installation.stop()
    stored = read_delta(installation.data_dir / "lake", "measurements")
    assert stored["payload"].sort().to_list() == list(range(ROWS))
