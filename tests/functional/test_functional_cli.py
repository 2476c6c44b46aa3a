"""The contract of the command line: what scripts rely on."""

import csv
import re
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import polars as pl
import pytest

from functional import report_oracle
from functional.installation import (
    PASSWORD,
    REPOSITORY,
    Installation,
    assert_problem,
    follow,
    own_environment,
    run_command,
    wait_until,
)
from functional.rows import deliver_well, read_answer, read_back
from gaugehouse.cli.options import EXIT_START_REFUSED

START = datetime(2026, 4, 1, tzinfo=UTC)
COMMANDS = ["serve", "worker", "demo", "import", "report", "user", "key"]
HEAVY = ("duckdb", "polars", "deltalake", "pyarrow", "numpy", "numba", "sqlalchemy", "fastapi", "uvicorn", "httpx")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder that nobody has used."""
    return Installation(tmp_path_factory.mktemp("cli") / "data")


@pytest.fixture(scope="module")
def newcomer(found, tmp_path_factory):
    """A running server on a fresh folder: no users, and no worker of its own."""
    installation = found({"GAUGEHOUSE_WORKERS": "0", "GAUGEHOUSE_SEGMENT_AGE_S": "1"}, is_fresh=True)
    installation.data_dir = tmp_path_factory.mktemp("newcomer") / "data"
    installation.start()
    yield installation
    installation.stop()


def assert_refused(done, *parts, code=1):
    """Check that a command ended with one line that says why."""
    assert done.returncode == code, done.stdout + done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("gaugehouse: ")
    assert all(str(part) in lines[0] for part in parts), lines[0]


# --- help and wrong usage ---


def test_help_is_quick_and_imports_nothing_heavy():
    code = f"import sys, gaugehouse.cli; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    started_s = time.monotonic()
    done = run_command("--help", is_fresh=True)
    assert time.monotonic() - started_s < 10  # one on an idle machine
    assert done.returncode == 0
    assert all(command in done.stdout for command in COMMANDS)


def test_the_installed_command_is_the_same():
    command = Path(sys.executable).parent / "gaugehouse"
    done = subprocess.run([command, "serve", "--help"], capture_output=True, text=True, check=True)
    assert "--demo" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["fly"],
        ["serve", "--port", "many"],
        ["serve", "--wings"],
        ["user", "create", "ann"],
        ["import", "no-such-file.csv"],
        ["report"],
    ],
)
def test_wrong_usage_ends_with_2(arguments):
    done = run_command(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


# --- users and keys ---


def test_accounts_are_made_while_the_server_runs_and_count_at_once(house):
    house.create_user("nina", "viewer")
    assert house.sign_in("nina").get("/v1/me").json()["scopes"] == ["user"]
    assert_refused(
        house.run(
            "user", "create", "nina", "--role", "viewer", "--project", "default", "--password-stdin", stdin=PASSWORD
        ),
        "nina",
    )
    key = house.run_well("key", "create", "press-7", "--project", "default", "--component", "press-7")
    assert key.startswith("ghk_")
    assert len(key.split()) == 1  # the key alone, for scripts
    me = house.device(key.strip()).get("/v1/me").json()
    assert (me["kind"], me["component"]) == ("key", "press-7")
    reader = house.create_key("reader", "--scope", "measurements:read")
    assert house.device(reader).get("/v1/me").json()["scopes"] == ["measurements:read"]
    answer = house.device(reader).post("/v1/measurements", json=[])
    assert_problem(answer, 403)


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (["user", "create", "short", "--role", "viewer", "--password-stdin"], "short"),
        (["user", "create", "lost", "--role", "viewer", "--project", "nowhere", "--password-stdin"], PASSWORD),
        (["key", "create", "lost", "--scope", "everything"], None),
    ],
)
def test_accounts_that_cannot_be_are_refused_in_one_line(arguments, stdin, house):
    done = house.run(*arguments, stdin=stdin)
    assert_refused(done)
    assert done.stdout == ""


# --- serve ---


def test_a_start_without_users_says_how_to_create_one_and_lets_nobody_in(newcomer):
    output = newcomer.output()
    assert "gaugehouse user create" in output
    for name in ("user", "manager", "admin"):
        form = {"username": name, "password": name}
        assert_problem(httpx.post(f"{newcomer.url}/token", data=form, trust_env=False), 401)
    for path in ("/docs", "/openapi.json"):
        answer = httpx.get(newcomer.url + path, trust_env=False)
        assert_problem(answer, 401)
        assert answer.headers["www-authenticate"].startswith("Basic ")
    newcomer.create_user("first", "admin")
    assert newcomer.sign_in("first").get("/v1/me").json()["name"] == "first"
    assert httpx.get(f"{newcomer.url}/docs", auth=("first", PASSWORD), trust_env=False).status_code == 200


def test_a_second_server_on_the_same_folder_is_refused_with_the_pid_of_the_first(newcomer):
    done = newcomer.run("serve", "--host", "127.0.0.1", "--port", "0", timeout_s=60)
    assert done.returncode == EXIT_START_REFUSED
    assert f"pid {newcomer.pid}" in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert httpx.get(f"{newcomer.url}/health", trust_env=False).status_code == 200


def test_a_taken_port_is_refused(folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert_refused(folder.run("serve", "--host", "127.0.0.1", "--port", port), port, code=EXIT_START_REFUSED)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])  # noqa: S104  # that is what must be refused
def test_demo_mode_listens_on_loopback_only(host, folder):
    done = folder.run("serve", "--demo", "--host", host, "--port", "0")
    assert_refused(done, "demo", code=EXIT_START_REFUSED)
    assert not (folder.data_dir / "lake").exists()


def test_a_worker_alone_computes_what_waits_and_leaves_on_sigterm(newcomer):
    newcomer.create_user("boss", "manager")
    manager = newcomer.sign_in("boss")
    rows = [("lathe", "speed", START + timedelta(minutes=i), float(i), 0) for i in range(100)]
    deliver_well(manager, rows)
    asked = manager.post("/v1/reports", json={"period": "2026-04", "kpis": ["count", "mean"]})
    location = asked.headers["location"]
    time.sleep(1)
    assert manager.get(location).json()["status"] == "queued"
    command = [sys.executable, "-m", "gaugehouse", "worker", "--data", str(newcomer.data_dir)]
    worker = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=own_environment())
    try:
        assert follow(manager, location)[-1]["status"] == "done"
    finally:
        worker.terminate()
        code = worker.wait(20)
    assert code == 0
    values = {row["kpi"]: row["value"] for row in read_answer(manager.get(f"{location}/result"))}
    assert values == {"count": 100, "mean": 49.5}


# --- import and report ---


def make_rows(component, n=500):
    rng = np.random.default_rng(n)
    return [
        (component, metric, START + timedelta(minutes=10 * i), round(float(rng.normal(50, 9)), 6), 0)
        for i in range(n)
        for metric in ("heat", "noise")
    ]


def write_wide(path, rows):
    """Write rows as a file of others: one line per component and time, local times, an empty cell here and there."""
    lines = {}
    for component, metric, measured_at, value, _ in rows:
        lines.setdefault((component, measured_at), {})[metric] = value
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["machine", "when", "heat", "noise"])
        for (component, measured_at), cells in lines.items():
            local = measured_at + timedelta(hours=2)
            writer.writerow([component, f"{local:%Y-%m-%d %H:%M:%S}", cells["heat"], cells.get("noise", "")])


OPTIONS = ["--component-column", "machine", "--time-column", "when", "--timezone", "UTC+2"]


def count_imported(stdout):
    """Return accepted, duplicates and conflicts of the one line of a summary."""
    line = next(line for line in stdout.splitlines() if ".csv" in line)
    return tuple(int(text.replace(",", "")) for text in line.split()[-4:-1])


def read_report(path):
    frame = pl.read_csv(path) if path.suffix == ".csv" else pl.read_parquet(path)
    return {(row["component"], row["metric"], row["kpi"]): row["value"] for row in frame.to_dicts()}


def expect(rows):
    """Return what the report about the whole of April says."""
    expected = {}
    for component, metric in {row[:2] for row in rows}:
        facts = report_oracle.describe(
            [row for row in rows if row[:2] == (component, metric)], START, START.replace(month=5)
        )
        expected |= {(component, metric, kpi): pytest.approx(facts[kpi], rel=1e-12) for kpi in ("mean", "p95", "count")}
    return expected


def assert_import_and_report(installation, component, tmp_path, written):
    rows = [row for i, row in enumerate(make_rows(component)) if row[1] == "heat" or i % 5]
    path = tmp_path / "machines.csv"
    write_wide(path, rows)
    for expected in ((len(rows), 0, 0), (0, len(rows), 0)):
        assert count_imported(installation.run_well("import", path, *OPTIONS)) == expected
    asked = ["report", "run", "--period", "2026-04", "--kpi", "mean,p95,count", "--component", component]
    printed = installation.run_well(*asked)
    assert component in printed
    assert "p95" in printed
    assert "heat" in printed
    for name in written:
        installation.run_well(*asked, "--output", tmp_path / name)
        assert read_report(tmp_path / name) == expect(rows)
    return rows


def test_import_and_report_through_the_running_server(house, viewer, tmp_path):
    rows = assert_import_and_report(house, "imported machine", tmp_path, ["april.csv"])
    assert read_back(viewer, "imported machine") == sorted(rows, key=lambda row: row[:3])


def test_import_and_report_and_demo_without_a_server(folder, tmp_path):
    rows = assert_import_and_report(folder, "imported machine", tmp_path, ["april.csv", "april.parquet"])
    stored = folder.read_lake()
    assert stored.height == len(rows)
    assert set(stored["component"]) == {"imported machine"}

    before = datetime.now(UTC)
    printed = folder.run_well("demo", "--components", "5", "--days", "2", "--interval", "600")
    assert "accepted" in printed
    plant = folder.read_lake().filter(pl.col("component") != "imported machine")
    assert plant["component"].n_unique() == 5
    assert plant.height > 5 * 2 * 144
    assert plant.select("component", "metric", "measured_at").is_duplicated().sum() == 0
    assert abs(plant["measured_at"].max() - before) < timedelta(hours=1)
    assert plant["measured_at"].min() < before - timedelta(hours=40)
    assert folder.read_lake("events").height > 0


def test_the_demo_loads_through_a_running_server_too(house, viewer):
    printed = house.run_well("demo", "--components", "4", "--days", "1", "--interval", "600", "--seed", "7")
    rows, accepted = (int(re.search(rf"([\d,]+) {word}", printed)[1].replace(",", "")) for word in ("rows", "accepted"))
    assert rows >= accepted > 4 * 144
    types = {one["type"] for one in viewer.get("/v1/components", params={"limit": 500}).json()["items"]}
    assert {"pump", "compressor", "conveyor", "chiller"} <= types


def test_files_that_cannot_be_imported_are_refused_in_one_line(house, tmp_path):
    good = tmp_path / "good.csv"
    write_wide(good, make_rows("never imported", n=3))
    not_a_file = tmp_path / "broken.parquet"
    not_a_file.write_bytes(b"PAR1 nonsense PAR1")
    for path, options in [
        (good, ["--component-column", "nothing", "--time-column", "when", "--timezone", "UTC"]),
        (good, ["--component-column", "machine", "--time-column", "when"]),
        (not_a_file, []),
    ]:
        done = house.run("import", path, *options)
        assert done.returncode == 1, done.stdout + done.stderr
        assert done.stderr.strip().splitlines()[-1].startswith("gaugehouse: ")
        assert "Traceback" not in done.stderr
        assert str(REPOSITORY) not in done.stderr


def test_reports_that_cannot_be_are_refused_in_one_line(house, folder, tmp_path):
    for installation, arguments in (
        (house, ["--period", "last_fortnight"]),
        (folder, ["--period", "2026-04", "--kpi", "happiness"]),
        (folder, ["--period", "2026-04", "--component", "nobody at all"]),
    ):
        done = installation.run("report", "run", *arguments)
        assert done.returncode == 1, done.stdout + done.stderr
        assert done.stderr.strip().splitlines()[-1].startswith("gaugehouse: ")
        assert "Traceback" not in done.stderr
    assert_refused(house.run("report", "run", "--period", "2026-04", "--output", tmp_path / "april.docx"))


def test_after_sigterm_everything_acknowledged_is_in_the_files_and_nobody_is_announced(found):
    installation = found(workers=1).start()
    rows = [("leaving", "level", START + timedelta(seconds=i), float(i), 0) for i in range(1000)]
    deliver_well(installation.device(), rows)
    worker = installation.worker()
    installation.stop()
    assert installation.read_lake().sort("measured_at")["value"].to_list() == list(range(1000))
    assert not (installation.data_dir / "run" / "owner.json").exists()
    wait_until(lambda: not worker.is_running(), what="the end of the worker")
