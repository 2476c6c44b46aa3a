"""`gaugehouse backup` beside a running server, `gaugehouse restore` elsewhere, and a server on what came back."""

import re
import threading

import polars as pl
import pytest

from functional.installation import run_command, wait_until


def rows(number, count=50):
    return [
        {
            "component": f"backed-{i % 3}",
            "metric": "temperature",
            "measured_at": f"2026-10-{1 + number % 28:02d}T{i % 24:02d}:{number % 60:02d}:{i:02d}Z",
            "value": number + i / 100,
        }
        for i in range(count)
    ]


def stored(data_dir, through=None):
    table = pl.scan_delta(str(data_dir / "lake" / "measurements"))
    if through is not None:
        table = table.filter(pl.col("received_at") <= pl.lit(through).str.to_datetime(time_zone="UTC", time_unit="us"))
    return table.select("component", "metric", "measured_at", "value").sort(pl.all()).collect()


@pytest.fixture
def served(found):
    installation = found().start()
    yield installation
    installation.stop()


def test_a_backup_during_ingestion_restores_to_exactly_its_mark(served, tmp_path):
    device = served.device()
    stopping, refused = threading.Event(), []

    def send():
        number = 0
        while not stopping.is_set():
            answer = device.post("/v1/measurements", json=rows(number))
            if answer.status_code != 201:
                refused.append(answer.status_code)
            number += 1

    sender = threading.Thread(target=send)
    sender.start()
    try:
        wait_until(lambda: device.get("/v1/components/backed-0/latest").status_code == 200, what="the first rows")
        first = served.run_well("backup", tmp_path / "backups")
        said = served.run_well("backup", tmp_path / "backups", "--keep", "1")
    finally:
        stopping.set()
        sender.join()
    assert refused == []
    assert first != said
    through = re.search(r"up to (\S+ \S+) UTC", said)[1]
    elsewhere = tmp_path / "elsewhere"
    done = run_command("restore", tmp_path / "backups", "--data", elsewhere)
    assert done.returncode == 0, done.stderr
    served.stop()
    assert stored(elsewhere, through).equals(stored(served.data_dir, through))
    assert len(stored(elsewhere, through)) > 0


def test_a_restored_installation_serves_its_people_and_keys(served, tmp_path):
    device = served.device()
    assert device.post("/v1/measurements", json=rows(0)).json()["accepted"] == 50
    served.run_well("backup", tmp_path / "backups")
    served.stop()
    elsewhere = tmp_path / "elsewhere"
    done = run_command("restore", tmp_path / "backups", "--data", elsewhere)
    assert done.returncode == 0, done.stderr
    again = type(served)(elsewhere).start()
    try:
        again.key = served.key
        assert again.device().post("/v1/measurements", json=rows(0)).json()["duplicates"] == 50
        again.sign_in("vera")
    finally:
        again.close()


def test_a_backup_of_a_stopped_installation_works_and_a_full_folder_is_refused(served, tmp_path):
    served.device().post("/v1/measurements", json=rows(0))
    served.stop()
    assert "50 rows" in served.run_well("backup", tmp_path / "backups")
    refused = run_command("restore", tmp_path / "backups", "--data", served.data_dir)
    assert refused.returncode == 1
    assert "not empty" in refused.stderr


def test_a_folder_without_an_installation_has_nothing_to_back_up(served, tmp_path):
    refused = run_command("backup", tmp_path / "backups", "--data", tmp_path / "nothing")
    assert refused.returncode == 1
    assert "no installation" in refused.stderr
    assert not (tmp_path / "backups").exists()
