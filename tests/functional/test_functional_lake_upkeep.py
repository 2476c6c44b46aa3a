"""`gaugehouse lake ...` from outside: beside a running server and without one, in a terminal and for programs."""

import json
import stat
from datetime import UTC, datetime, timedelta

import pytest

from functional.installation import assert_problem, wait_until

NOW = datetime.now(UTC)
DAMAGED = 3


@pytest.fixture(scope="module")
def running(found):
    installation = found({"GAUGEHOUSE_SEGMENT_AGE_S": "3600"}).start()
    yield installation
    installation.stop()


@pytest.fixture
def own(found):
    """A server of this test alone; it may be stopped and broken."""
    return found({"GAUGEHOUSE_SEGMENT_AGE_S": "3600"}).start()


def send(installation, component, rows=20, age=timedelta(0)):
    batch = [
        {
            "component": component,
            "metric": "temperature",
            "measured_at": (NOW - age - timedelta(seconds=number)).isoformat(),
            "value": number * 0.5,
        }
        for number in range(rows)
    ]
    assert installation.device().post("/v1/measurements", json=batch).json()["accepted"] == rows


def ask(installation, *arguments):
    return json.loads(installation.run_well("lake", *arguments, "--json"))


def current_files(installation):
    return sorted((installation.data_dir / "lake" / "plain" / "measurements").rglob("*.parquet"))


def break_a_file(installation):
    """Damage one current file where it lies; the plain mirror shows the same bytes."""
    path = current_files(installation)[0]
    with path.open("r+b") as file:
        file.seek(40)
        byte = file.read(1)[0]
        file.seek(40)
        file.write(bytes([byte ^ 4]))
    return path.relative_to(installation.data_dir / "lake" / "plain" / "measurements").as_posix()


def test_status_beside_a_server_counts_what_is_in_the_log_and_what_flush_brings_into_files(running):
    send(running, "status-1")
    before = ask(running, "status")
    assert before["is_online"] is True
    assert before["unflushed_rows"] >= 20
    assert before["lag_s"] > 0
    assert ask(running, "flush")["rows"] >= 20
    after = ask(running, "status")
    assert (after["unflushed_rows"], after["lag_s"], after["quarantined"]) == (0, 0.0, [])
    table = next(one for one in after["tables"] if one["table"] == "measurements")
    assert table["rows"] >= 20
    assert table["series"] >= 1
    assert sum(one["rows"] for one in after["partitions"] if one["table"] == "measurements") == table["rows"]


def test_status_fits_into_a_terminal_of_100_columns_and_says_what_an_operator_asks(running):
    shown = running.run_well("lake", "status")
    assert max(len(line.rstrip()) for line in shown.splitlines()[1:]) <= 100
    for word in ("version", "checkpoint", "files", "rows", "size", "B/row", "replaced", "merged", "in the log only"):
        assert word in shown


def test_compact_merges_beside_a_server_and_every_row_stays(running):
    for number in range(3):
        send(running, f"compact-{number}")
        ask(running, "flush")
    rows = running.read_lake().height
    done = ask(running, "compact")
    assert done["merges"] >= 1
    assert done["files_after"] < done["files_before"]
    assert running.read_lake().height == rows
    assert "nothing to merge" in running.run_well("lake", "compact")


def test_verify_beside_a_server_finds_nothing_and_compares_with_its_memory(running):
    send(running, "verify-1")
    verdict = ask(running, "verify")
    assert (verdict["verdict"], verdict["findings"], verdict["is_online"], verdict["rows_agree"]) == (
        "sound", [], True, True
    )  # fmt: skip
    shown = running.run_well("lake", "verify")
    assert shown.rstrip().splitlines()[-1] == "verdict: SOUND"


def test_the_socket_is_for_the_servers_user_alone(running):
    run_dir = running.data_dir / "run"
    assert stat.S_IMODE(run_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE((run_dir / "control.sock").stat().st_mode) == 0o600


def test_retain_and_delete_follow_the_projects_beside_a_server(own):
    send(own, "old-1", age=timedelta(days=400))
    send(own, "new-1")
    ask(own, "flush")
    own.run_well("project", "set", "default", "--keep-measurements", "100d")
    (dropped,) = ask(own, "retain")
    assert (dropped["project"], dropped["rows"], dropped["archived"]) == ("default", 20, False)
    assert "nothing is older" in own.run_well("lake", "retain")
    assert own.read_lake().height == 20
    answer = own.run("project", "delete", "default", stdin="n\n")
    assert answer.returncode != 0
    assert own.read_lake().height == 20
    assert "20 rows" in own.run_well("project", "delete", "default", "--yes")
    assert own.read_lake().height == 0
    own.close()


def test_everything_works_without_a_server_too(own):
    send(own, "alone-1", age=timedelta(days=400))
    ask(own, "flush")
    send(own, "alone-1")
    own.kill()
    status = ask(own, "status")
    assert (status["is_online"], status["unflushed_rows"]) == (False, 20)
    assert ask(own, "verify")["verdict"] == "sound"
    assert ask(own, "status")["unflushed_rows"] == 20  # neither has touched the log
    ask(own, "flush")
    assert ask(own, "status")["unflushed_rows"] == 0
    assert own.read_lake().height == 40
    ask(own, "compact")
    own.run_well("project", "set", "default", "--keep-measurements", "100d")
    assert ask(own, "retain")[0]["rows"] == 20
    own.run_well("project", "delete", "default", "--yes")
    assert own.read_lake().height == 0


def test_damage_is_named_with_exit_code_3_and_the_file_is_in_quarantine_until_it_is_repaired(own):
    send(own, "hurt-1")
    send(own, "hurt-2", age=timedelta(days=400))
    ask(own, "flush")
    own.stop()
    path = break_a_file(own)
    looked = own.run("lake", "verify", "--keep-in-place")
    assert looked.returncode == DAMAGED
    assert "file_damaged" in looked.stdout
    assert (own.data_dir / "lake" / "measurements" / path).exists()
    own.start()
    done = own.run("lake", "verify", "--json")
    assert done.returncode == DAMAGED
    verdict = json.loads(done.stdout)
    assert verdict["verdict"] == "damaged"
    assert verdict["quarantined"] == [f"measurements/{path}"]
    month = path.split("month=")[1][:7]
    day = datetime.fromisoformat(f"{month}-01T00:00:00+00:00")
    reading = own.sign_in("vera")
    answer = reading.get("/v1/measurements", params={"start": day.isoformat()})
    body = assert_problem(answer, 503, "file_quarantined")
    assert (body["project"], body["month"], body["table"]) == ("default", month, "measurements")
    later = own.run("lake", "verify")
    assert later.returncode == DAMAGED
    assert later.stdout.rstrip().splitlines()[-1].startswith("verdict: DAMAGED")
    assert "in quarantine" in own.run_well("lake", "status")
    assert max(len(line.rstrip()) for line in own.run("lake", "status").stdout.splitlines()[1:]) <= 160
    own.restart()
    assert_problem(own.sign_in("vera").get("/v1/measurements", params={"start": day.isoformat()}), 503)
    own.stop()


def test_a_folder_without_an_installation_is_refused(found, tmp_path):
    nowhere = type(found())(tmp_path / "nowhere")
    for command in ("status", "verify", "compact", "retain", "flush"):
        done = nowhere.run("lake", command)
        assert (done.returncode, done.stdout) == (1, "")
        assert "there is no installation" in done.stderr
    assert not (tmp_path / "nowhere").exists()


def test_a_killed_server_leaves_a_socket_that_the_next_one_replaces(own):
    own.kill()
    assert (own.data_dir / "run" / "control.sock").exists()
    assert ask(own, "status")["is_online"] is False
    own.start()
    assert wait_until(lambda: ask(own, "status")["is_online"], what="the new server's socket")
    own.stop()
    assert not (own.data_dir / "run" / "control.sock").exists()
