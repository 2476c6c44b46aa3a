"""A second process on a folder that somebody owns: refused at once, and no crowd of commands changes a row."""

import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from faults.judging import assert_all_found_once
from faults.killing import SETTINGS, ask, note_longest
from faults.ledgers import assert_readers_agree
from functional.installation import run_command, wait_until
from functional.senders import Sender, sending
from gaugehouse.cli.options import EXIT_START_REFUSED
from gaugehouse.errors import Throttled
from gaugehouse.lock import OwnerLock

COMMANDS = ("compact", "flush", "retain", "verify", "status")
ASKED = ("compact", "flush", "retain", "status")  # what the socket itself knows
CALLS = 50
SENDERS = 3

BUSY = ("too many commands ask", "owns this lake", "the owner ended", "changes faster than")

REFUSED_S = 1.0  # promised, beyond the start of Python and of the command line
LENIENT_S = 20.0


@pytest.fixture
def owned(found):
    """A server with rows in several files."""
    installation = found(SETTINGS, is_fresh=True).start()
    with sending([Sender(installation, "before")]):
        wait_until(lambda: count_files(installation) >= 2, what="files to merge")
    yield installation
    installation.stop_in_any_state()


def count_files(installation):
    return len(list((installation.data_dir / "lake" / "plain" / "measurements").rglob("*.parquet")))


def timed(run, tries):
    """Return what a command did, and the shortest time of several tries: the machine may be doing something else. [s]"""
    times_s = []
    for _ in range(tries):
        started_s = time.monotonic()
        done = run()
        times_s.append(time.monotonic() - started_s)
    return done, min(times_s)


def assert_refused(done, pid, code=1):
    """Check that a command was refused in one line that names the owner."""
    assert done.returncode == code, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "owns this lake" in done.stderr
    assert str(pid) in done.stderr


once_or_timed = pytest.mark.parametrize(
    ("tries", "limit_s"), [(1, LENIENT_S), pytest.param(5, REFUSED_S, marks=pytest.mark.torture)]
)


@once_or_timed
def test_a_second_server_is_refused_at_once_by_the_pid_of_the_first(owned, tries, limit_s, tally):
    _help, base_s = timed(lambda: run_command("--help", is_fresh=True), tries)
    done, took_s = timed(lambda: owned.run("serve", "--host", "127.0.0.1", "--port", "0"), tries)
    assert_refused(done, owned.pid, EXIT_START_REFUSED)
    note_longest(tally, "ms until a second server was refused, beyond `gaugehouse --help`", took_s - base_s)
    assert took_s - base_s <= limit_s
    with sending([Sender(owned, "after")]):
        pass


def test_a_second_server_is_refused_before_it_loads_what_a_server_needs(tmp_path):
    lock = OwnerLock(tmp_path / "LOCK")
    lock.acquire()
    try:
        done = run_command("serve", "--data", tmp_path, environment={"PYTHONPROFILEIMPORTTIME": "1"}, is_fresh=True)
    finally:
        lock.release()
    assert done.returncode == EXIT_START_REFUSED
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "gaugehouse.lock" in loaded
    assert not loaded & {"gaugehouse.lake", "deltalake", "duckdb", "numba", "pyarrow", "fastapi"}


@once_or_timed
def test_a_second_command_that_would_own_the_lake_is_refused_at_once(owned, tries, limit_s, tally):
    owned.kill()
    _help, base_s = timed(lambda: run_command("--help", is_fresh=True), tries)
    first = owned.begin("lake", "compact")
    lock = owned.data_dir / "LOCK"
    wait_until(lambda: lock.read_text().strip() == str(first.pid), poll_s=0.001, what="the lock")
    first.send_signal(signal.SIGSTOP)
    try:
        second, took_s = timed(lambda: owned.run("lake", "compact"), tries)
        server = owned.run("serve", "--host", "127.0.0.1", "--port", "0")
    finally:
        first.send_signal(signal.SIGCONT)
    assert_refused(second, first.pid)
    assert_refused(server, first.pid, EXIT_START_REFUSED)
    assert first.wait(60) == 0, owned.output()[-3000:]
    note_longest(tally, "ms until a second command was refused, beyond `gaugehouse --help`", took_s - base_s)
    assert took_s - base_s <= limit_s
    owned.start()


def run_once(installation, command):
    """Run a command; say whether it did its work or found the owner busy, starting or stopping."""
    done = installation.run("lake", command)
    is_refused = done.returncode == 1 and any(reason in done.stderr for reason in BUSY)
    assert done.returncode == 0 or is_refused, f"{command}: {done.returncode} {done.stdout}{done.stderr}"
    return not is_refused


def run_until_done(installation, command):
    while not run_once(installation, command):
        pass


def ask_until_done(installation, command):
    """Ask the running owner over its socket; where too many ask at once, again."""
    while True:
        try:
            return ask(installation, command)
        except Throttled:
            time.sleep(0.05)


def call_at_once(calls):
    """Let (function, *arguments) run all at the same time; return what they return."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [run.result() for run in [pool.submit(*call) for call in calls]]


def draw(commands, count):
    return random.Random(count).choices(commands, k=count)  # noqa: S311 - reproducible, not secret


few_or_all = pytest.mark.parametrize(
    "processes", [4, pytest.param(CALLS, marks=[pytest.mark.torture, pytest.mark.timeout(1800)])]
)


@few_or_all
def test_fifty_maintenance_calls_at_once_beside_writers_change_no_row(found, processes, tally):
    installation = found(SETTINGS | {"GAUGEHOUSE_SEGMENT_AGE_S": "1"}, is_fresh=True).start()
    senders = [Sender(installation, f"sender-{number}", rows_per_body=100, pause_s=0.05) for number in range(SENDERS)]
    with sending(senders):
        wait_until(lambda: count_files(installation) >= SENDERS, what="files to merge")
        call_at_once(
            [(run_until_done, installation, command) for command in draw(COMMANDS, processes)]
            + [(ask_until_done, installation, command) for command in draw(ASKED, CALLS - processes)]
        )
    assert_all_found_once(installation, senders)
    assert_readers_agree(installation.data_dir / "lake")
    tally["maintenance calls at once beside writers"] += CALLS


@few_or_all
def test_many_maintenance_commands_at_once_without_a_server_change_no_row(found, processes, tally):
    installation = found(SETTINGS, is_fresh=True).start()
    senders = [Sender(installation, f"sender-{number}", pause_s=0.05) for number in range(SENDERS)]
    with sending(senders):
        wait_until(lambda: count_files(installation) >= SENDERS, what="files to merge")
    installation.kill()
    done = call_at_once([(run_once, installation, command) for command in draw(COMMANDS, processes)])
    assert any(done)
    assert_all_found_once(installation.start(), senders)
    assert_readers_agree(installation.data_dir / "lake")
    tally["maintenance commands at once without a server"] += processes
    tally["of these refused because another owned the lake"] += done.count(False)
