"""A disk that is full for real: writes are refused with 507, reads go on, and nothing has to be restarted afterwards."""

import shutil
import subprocess
from datetime import UTC, datetime

import httpx
import pytest

from faults.judging import assert_all_found_once
from functional.installation import Installation, wait_until
from functional.senders import Sender, sending

DISK_MIB, ROOM_MIB = 96, 1  # what is left above the water mark
MIB = 1024 * 1024
SETTINGS = {"GAUGEHOUSE_SEGMENT_AGE_S": "0.5"}
RESUMED_S = 30.0  # promised within five seconds; a busy machine needs more


@pytest.fixture
def small_disk(tmp_path):
    """A tmpfs with little room, most of it taken by a ballast file."""
    root = tmp_path / "disk"
    root.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(root)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"a full disk needs the right to mount one: {mounted.stderr.strip()}")
    yield root
    subprocess.run(["umount", "-l", str(root)], check=True)


@pytest.fixture
def house_on(accounts, small_disk):
    """Make a running server on the small disk."""
    made = []

    def call(water_mark_mib):
        shutil.copytree(accounts.data_dir, small_disk / "data")
        installation = Installation(
            small_disk / "data", SETTINGS | {"GAUGEHOUSE_FREE_SPACE_BYTES": str(water_mark_mib * MIB)}
        )
        installation.key = accounts.key
        made.append(installation)
        installation.start()
        taken = shutil.disk_usage(small_disk).free - (water_mark_mib + ROOM_MIB) * MIB
        (small_disk / "ballast").write_bytes(bytes(taken))
        return installation

    yield call
    for installation in made:
        installation.close()


def try_to_write(installation):
    """Send a row that is new: one that is stored already is acknowledged on the fullest disk."""
    row = [{"component": "probe", "metric": "m", "measured_at": datetime.now(UTC).isoformat(), "value": 1.0}]
    return httpx.post(
        f"{installation.url}/v1/measurements",
        json=row,
        headers={"X-API-Key": installation.key},
        timeout=60,
        trust_env=False,
    )


@pytest.mark.parametrize("water_mark_mib", [16, 0], ids=["at the water mark", "to the last byte"])
def test_a_full_disk_refuses_writes_and_nothing_else_until_there_is_room(house_on, small_disk, water_mark_mib, tally):
    installation = house_on(water_mark_mib)
    viewer = installation.sign_in("vera")
    senders = [Sender(installation, f"sender-{i}", rows_per_body=10_000, pause_s=0.1) for i in range(4)]
    with sending(senders):
        refusal = wait_until(
            lambda: (answer := try_to_write(installation)).status_code == 507 and answer, what="a refusal"
        )
        assert refusal.json()["code"] == "storage_full"
        assert int(refusal.headers["retry-after"]) > 0
        assert httpx.get(f"{installation.url}/health", trust_env=False).status_code == 200
        assert viewer.get("/v1/summary").status_code == 200
        before = [len(sender.acknowledged) for sender in senders]
        (small_disk / "ballast").unlink()
        wait_until(
            lambda: all(len(s.acknowledged) > count + 1 for s, count in zip(senders, before, strict=True)),
            timeout_s=RESUMED_S,
            what="writing again",
        )
    assert_all_found_once(installation, senders)
    tally["full disks"] += 1
