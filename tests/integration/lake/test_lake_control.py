"""The owner's socket: who may ask, what is refused, and what happens when somebody goes away."""

import json
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest

from gaugehouse.errors import Forbidden, GaugehouseError, NotFound, StorageFull
from gaugehouse.lake.control import NAME, REQUEST_BYTES, ControlSocket, NobodyAnswers, ask_owner


def quiet(_doing, _done, _total):
    return None


def echo(given, _report):
    return given


def refuse(_given, _report):
    raise StorageFull("the disk is nearly full", fields={"free_bytes": 7}, retry_after_s=30)


@pytest.fixture
def run_dir(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def owner(run_dir):
    with ControlSocket(run_dir, {"echo": echo, "refuse": refuse}) as control:
        yield control


def talk(run_dir, raw):
    """Send bytes and return the lines of the answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.connect(str(run_dir / NAME))
        with suppress(OSError), caller.makefile("rb") as lines:
            caller.sendall(raw)
            caller.shutdown(socket.SHUT_WR)
            return [json.loads(line) for line in lines]
    return []


def test_a_request_is_answered_with_what_it_was_given(owner, run_dir):
    assert ask_owner(run_dir, "echo", {"project": "größe"}, quiet) == {"project": "größe"}


def test_only_the_user_of_the_owner_can_even_see_the_socket(owner, run_dir):
    assert stat.S_IMODE(run_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE((run_dir / NAME).stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_is_refused_by_the_folder_and_by_name_when_the_folder_is_open(owner, run_dir):
    script = (
        "import os, socket, sys\n"
        f"os.chdir({str(run_dir)!r})\n"  # as root: folders above it are closed to others
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "caller = socket.socket(socket.AF_UNIX)\n"
        "try:\n"
        f"    caller.connect({NAME!r})\n"
        "except PermissionError:\n"
        "    sys.exit(13)\n"
        "try:\n"
        '    caller.sendall(b\'{"do": "echo"}\\n\')\n'
        "except OSError:\n"
        "    pass  # answered and closed before the question came\n"
        "print(caller.makefile().readline())\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 13
    run_dir.chmod(0o777)
    (run_dir / NAME).chmod(0o777)
    opened = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert json.loads(opened.stdout)["problem"]["code"] == "other_user"


def test_an_error_is_the_same_error_on_the_other_side(owner, run_dir):
    with pytest.raises(StorageFull) as refusal:
        ask_owner(run_dir, "refuse", {}, quiet)
    assert (refusal.value.message, refusal.value.code) == ("the disk is nearly full", "storage_full")
    assert (refusal.value.fields, refusal.value.retry_after_s) == ({"free_bytes": 7}, 30)
    (line,) = talk(run_dir, b'{"do": "refuse"}\n')
    assert {"type", "title", "detail", "code"} <= line["problem"].keys()


def test_a_request_that_nobody_knows_is_refused(owner, run_dir):
    with pytest.raises(NotFound, match="format_disk"):
        ask_owner(run_dir, "format_disk", {}, quiet)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "unreadable"),
        (b"hello\n", "unreadable"),
        (b"[1, 2]\n", "unreadable"),
        (b'{"do": 7}\n', "unreadable"),
        (b'{"do": "echo", "with": []}\n', "unreadable"),
        (b"\xff\xfe\n", "unreadable"),
        (b'{"do": "' + b"x" * 2 * REQUEST_BYTES + b'"}\n', "too_large"),
    ],
    ids=["nothing", "no json", "a list", "a number", "a list of arguments", "no text", "too long"],
)
def test_what_is_no_request_is_refused_and_the_next_one_answered(owner, run_dir, raw, code):
    answer = talk(run_dir, raw)
    assert not answer or answer[0]["problem"]["code"] == code  # a refused flood may be cut off
    assert ask_owner(run_dir, "echo", {"a": 1}, quiet) == {"a": 1}


def test_progress_is_told_line_by_line(run_dir):
    def work(_given, report):
        for done in range(4):
            report("working", done, 3)
            time.sleep(0.12)
        return "ready"

    seen = []
    with ControlSocket(run_dir, {"work": work}):
        assert ask_owner(run_dir, "work", {}, lambda *step: seen.append(step)) == "ready"
    assert seen == [("working", done, 3) for done in range(4)]


def test_work_goes_on_to_its_end_when_the_caller_goes_away(run_dir):
    begun, go, ended = threading.Event(), threading.Event(), threading.Event()

    def work(_given, report):
        begun.set()
        go.wait(10)
        for done in range(100):
            report("working", done, 1)
        ended.set()

    with ControlSocket(run_dir, {"work": work}):
        caller = socket.socket(socket.AF_UNIX)
        caller.connect(str(run_dir / NAME))
        caller.sendall(b'{"do": "work"}\n')
        assert begun.wait(10)
        caller.close()
        go.set()
        assert ended.wait(10)


def test_short_questions_are_answered_while_long_work_goes_on(run_dir):
    begun, go = threading.Event(), threading.Event()

    def work(_given, _report):
        begun.set()
        go.wait(10)

    with ControlSocket(run_dir, {"work": work, "echo": echo}):
        thread = threading.Thread(target=ask_owner, args=(run_dir, "work", {}, quiet))
        thread.start()
        assert begun.wait(10)
        assert ask_owner(run_dir, "echo", {}, quiet) == {}
        go.set()
        thread.join()


def test_too_many_callers_at_once_are_told_so(run_dir):
    go = threading.Event()
    waiting = threading.Semaphore(0)

    def work(_given, _report):
        waiting.release()
        go.wait(10)

    with ControlSocket(run_dir, {"work": work}):
        threads = [threading.Thread(target=ask_owner, args=(run_dir, "work", {}, quiet)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for _thread in threads:
            assert waiting.acquire(timeout=10)
        with pytest.raises(GaugehouseError, match="too many commands"):
            ask_owner(run_dir, "work", {}, quiet)
        go.set()
        for thread in threads:
            thread.join()


def test_the_socket_of_a_killed_owner_is_replaced(run_dir):
    run_dir.mkdir()
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(run_dir / NAME))
    dead.close()
    with pytest.raises(NobodyAnswers):
        ask_owner(run_dir, "echo", {}, quiet)
    with ControlSocket(run_dir, {"echo": echo}):
        assert ask_owner(run_dir, "echo", {}, quiet) == {}
    assert not (run_dir / NAME).exists()
    with pytest.raises(NobodyAnswers):
        ask_owner(run_dir, "echo", {}, quiet)


def test_a_folder_whose_path_is_longer_than_a_socket_may_be_works_too(tmp_path):
    run_dir = tmp_path / ("long" * 30) / ("longer" * 20) / "run"
    with ControlSocket(run_dir, {"echo": echo}):
        assert ask_owner(run_dir, "echo", {"a": 1}, quiet) == {"a": 1}
    assert not (run_dir / NAME).exists()


def test_what_nobody_foresaw_is_answered_as_a_problem(run_dir):
    def crash(_given, _report):
        raise RuntimeError("secret")

    with ControlSocket(run_dir, {"crash": crash, "echo": echo}):
        with pytest.raises(GaugehouseError, match="RuntimeError") as refusal:
            ask_owner(run_dir, "crash", {}, quiet)
        assert ask_owner(run_dir, "echo", {}, quiet) == {}
    assert (refusal.value.code, refusal.value.retry_after_s) == ("internal_error", None)
    assert "secret" not in refusal.value.message


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_owner_that_ends_before_it_answers_is_an_error_and_no_hang(run_dir):
    def crash(_given, _report):
        raise SystemExit

    with ControlSocket(run_dir, {"crash": crash}), pytest.raises(NobodyAnswers):
        ask_owner(run_dir, "crash", {}, quiet)


def test_another_uid_is_refused_by_credentials(run_dir, monkeypatch):
    with ControlSocket(run_dir, {"echo": echo}):
        monkeypatch.setattr("gaugehouse.lake.control.ROOT_UID", -1)
        monkeypatch.setattr("gaugehouse.lake.control.os.geteuid", lambda: 4_000_000)
        with pytest.raises(Forbidden):
            ask_owner(run_dir, "echo", {}, quiet)
