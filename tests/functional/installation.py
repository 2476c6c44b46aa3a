"""A real installation in a folder of its own: server process, command line and HTTP clients, all from outside."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import polars as pl
import psutil

from forking import fork

REPOSITORY = Path(__file__).parents[2]
START_S = 120  # a busy machine; an idle one needs three
STOP_S = 20  # promised
PASSWORD = "correct horse battery staple"


def wait_until(is_true, *, timeout_s=60.0, poll_s=0.05, what="the condition"):
    """Return the first true answer of `is_true`; fail when none comes in time."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        answer = is_true()
        if answer:
            return answer
        assert time.monotonic() < deadline_s, f"{what} did not come about within {timeout_s:.0f} s"
        time.sleep(poll_s)


def own_environment(extra=None):
    """Return this process's environment without settings of an installation of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GAUGEHOUSE_")}
    return kept | (extra or {})


def run_command(*arguments, stdin="", timeout_s=180, environment=None, is_fresh=False):
    """Run `gaugehouse ARGUMENTS` to its end: in a Python of its own when fresh, else as a fork, seconds faster."""
    command = ["-m", "gaugehouse", *map(str, arguments)]
    environment = own_environment(environment)
    if is_fresh:
        return subprocess.run(
            [sys.executable, *command],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env=environment,
            cwd=REPOSITORY,
            check=False,
        )
    with ExitStack() as stack:
        given, out, err = (stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(3))
        given.write(stdin)
        given.seek(0)
        process = fork(command, stdin=given, stdout=out, stderr=err, environment=environment, directory=REPOSITORY)
        stack.callback(process.kill)
        code = process.wait(timeout_s)
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(command, code, out.read(), err.read())


class Installation:
    """A data folder, the server process on it, and its callers.

    Args:
        data_dir: Everything lives below it.
        environment: Settings of the server.
        is_fresh: Whether its processes are each started anew; else they are forks, which saves seconds each.
    """

    def __init__(self, data_dir, environment=None, *, is_fresh=False):
        self.data_dir = Path(data_dir)
        self.is_fresh = is_fresh
        self.environment = environment or {}
        self.process = None
        self.options = ()
        self.prefix = ()  # what every process is started by, such as a program that confines it
        self.url = None
        self.key = None
        self._clients = ExitStack()
        self._outputs = []

    # --- the command line ---

    def run(self, *arguments, stdin="", timeout_s=180):
        """Run a command on this installation's folder."""
        return run_command(
            *arguments,
            "--data",
            self.data_dir,
            stdin=stdin,
            timeout_s=timeout_s,
            environment=self.environment,
            is_fresh=self.is_fresh,
        )

    def run_well(self, *arguments, stdin="", timeout_s=180):
        """Run a command that must succeed; return its stdout."""
        done = self.run(*arguments, stdin=stdin, timeout_s=timeout_s)
        assert done.returncode == 0, f"gaugehouse {' '.join(map(str, arguments))}: {done.stdout}{done.stderr}"
        return done.stdout

    def create_user(self, name, role, password=PASSWORD):
        self.run_well(
            "user", "create", name, "--role", role, "--project", "default", "--password-stdin", stdin=password
        )

    def create_key(self, name, *options):
        return self.run_well("key", "create", name, "--project", "default", *options).strip()

    # --- the server ---

    @property
    def pid(self):
        return self.process.pid

    def start(self, *options):
        """Start the server and return when it answers."""
        self.launch(*options)
        self.url = wait_until(self._find_url, timeout_s=START_S, what="the server's address")
        wait_until(self._is_healthy, timeout_s=START_S, what="the server's health")
        return self

    def launch(self, *options):
        """Begin to start the server; it may be killed before it answers."""
        self.options = options
        self.process = self.begin("serve", "--host", "127.0.0.1", "--port", "0", *options)

    def begin(self, *arguments):
        """Start a command on this installation's folder and return its process; `output` shows what it prints."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        output = self.data_dir.parent / f"{self.data_dir.name}-output-{len(self._outputs)}.txt"
        self._outputs.append(output)
        command = ["-m", "gaugehouse", *map(str, arguments), "--data", str(self.data_dir)]
        environment = own_environment(self.environment)
        with output.open("wb") as file:
            if not self.is_fresh and not self.prefix:
                return fork(command, stdout=file, environment=environment, directory=REPOSITORY)
            return subprocess.Popen(
                [*self.prefix, sys.executable, *command],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=REPOSITORY,
            )

    def start_until_ready(self):
        """Start the server and return how long it took until it said that it takes writes. [s]"""
        started_s = time.monotonic()
        self.launch()
        self.url = wait_until(self._find_url, poll_s=0.01, timeout_s=START_S, what="the server's address")
        wait_until(lambda: self._answers("/ready"), poll_s=0.01, timeout_s=START_S, what="the server's readiness")
        return time.monotonic() - started_s

    def _find_url(self):
        assert self.process.poll() is None, f"the server ended with {self.process.returncode}:\n{self.output()}"
        path = self.data_dir / "run" / "owner.json"
        try:
            owner = json.loads(path.read_text())
        except FileNotFoundError:  # not there yet, or just removed: a killed server leaves its file to the next
            return None
        return owner["url"] if owner["pid"] == self.process.pid else None

    def _is_healthy(self):
        return self._answers("/health")

    def _answers(self, path):
        assert self.process.poll() is None, f"the server ended with {self.process.returncode}:\n{self.output()}"
        try:
            return httpx.get(f"{self.url}{path}", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def stop(self):
        """Stop the server as a supervisor does: SIGTERM, then it is gone within 20 s with exit code 0."""
        self._clients.close()
        started_s = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(STOP_S)
        assert code == 0, f"the server ended with {code} after {time.monotonic() - started_s:.1f} s:\n{self.output()}"
        assert "leaked" not in self.output()
        assert "Traceback" not in self.output()

    def stop_in_any_state(self):
        """Stop the server, whatever it has printed, with everything flushed."""
        self._clients.close()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(STOP_S) == 0, self.output()[-3000:]

    def kill(self):
        """End the server as a power cut does."""
        self.process.kill()
        self.process.wait(STOP_S)

    def restart(self):
        self.stop()
        return self.start(*self.options)

    def close(self):
        """End whatever still runs; for the end of a test."""
        self._clients.close()
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def worker(self):
        """Return the process of the server's report worker."""

        def find():
            children = psutil.Process(self.pid).children()
            return next((child for child in children if "worker" in child.cmdline()), None)

        return wait_until(find, timeout_s=START_S, what="a worker process")

    def crashes(self):
        """Return what the server's log says of requests that crashed: an answer says nothing of it."""
        path = self.data_dir / "logs" / "gaugehouse.log"
        lines = path.read_text().splitlines() if path.exists() else []
        return "\n".join(json.loads(line)["exception"][-2000:] for line in lines if '"request_crashed"' in line)

    def output(self):
        """Return what the servers of this folder printed."""
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')}" for path in self._outputs)

    # --- callers ---

    def client(self, headers=None, **options):
        """Return an HTTP client of the running server."""
        client = httpx.Client(base_url=self.url, headers=headers, timeout=120, trust_env=False, **options)
        return self._clients.enter_context(client)

    def sign_in(self, name, password=PASSWORD, scope=None):
        """Return a client with a token."""
        form = {"username": name, "password": password} | ({"scope": scope} if scope else {})
        answer = httpx.post(f"{self.url}/token", data=form, timeout=120, trust_env=False)
        assert answer.status_code == 200, answer.text
        return self.client({"Authorization": f"Bearer {answer.json()['access_token']}"})

    def make_key(self, name, **wanted):
        """Make a key through the running server: a command takes seconds."""
        answer = self.sign_in("ada").post("/v1/keys", json={"name": name} | wanted)
        assert answer.status_code == 201, answer.text
        return answer.json()["key"]

    def device(self, key=None):
        """Return a client with an API key."""
        return self.client({"X-API-Key": key or self.key})

    # --- the lake, as anybody reads it ---

    def has_rows_on_disk(self, table="measurements"):
        return any((self.data_dir / "lake" / table / "_delta_log").glob("*.json"))

    def read_lake(self, table="measurements"):
        """Return every row of a Delta table."""
        return pl.scan_delta(str(self.data_dir / "lake" / table)).collect()


def follow(client, location, *, timeout_s=120.0, until=("done", "failed", "cancelled")):
    """Return all states of a report that were seen, the last one being final."""
    seen = []

    def look():
        seen.append(client.get(location).raise_for_status().json())
        return seen[-1]["status"] in until

    wait_until(look, timeout_s=timeout_s, what=f"the end of report {location}")
    return seen


def ask_report(client, **question):
    """Ask for a report, wait for it, and return its last state."""
    asked = client.post("/v1/reports", json=question)
    assert asked.status_code == 202, asked.text
    state = follow(client, asked.headers["location"])[-1]
    assert state["status"] == "done", state
    return state


def fetch_result(client, location, report_format):
    """Return the answer with a report's file in some format, once a worker has made it."""

    def ask():
        answer = client.get(f"{location}/result", params={"format": report_format})
        return answer if answer.status_code != 202 else None

    return wait_until(ask, what=f"the {report_format} of {location}")


def assert_problem(answer, status, code=None):
    """Check the one shape of errors and return the body."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert {"type", "title", "status", "detail", "code", "instance", "request_id"} <= body.keys()
    assert body["status"] == status
    assert body["type"] == f"urn:gaugehouse:problem:{body['code']}"
    assert body["request_id"] == answer.headers["x-request-id"]
    assert len(answer.content) <= 8 * 1024
    assert "Traceback" not in answer.text
    assert str(REPOSITORY) not in answer.text
    assert tempfile.gettempdir() not in answer.text
    if code is not None:
        assert body["code"] == code
    return body
