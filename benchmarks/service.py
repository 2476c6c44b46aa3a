"""A real server process on a fresh folder, and what its lake holds."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyarrow as pa
from deltalake import DeltaTable

from benchmarks.sending import SendingFailed, Target
from benchmarks.workload import Format

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 60
COMMAND = Path(sys.executable).parent / "gaugehouse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A running server.

    Args:
        data_dir: Its folder.
        port: Where it listens on loopback.
        key: An API key that may write.
        pid: The server process.
    """

    data_dir: Path
    port: int
    key: str
    pid: int

    def target(self, each: Format) -> Target:
        """Return where requests of a format go."""
        headers = {"Content-Type": each.content_type, "X-API-Key": self.key}
        return Target(port=self.port, path=each.path, headers=headers)

    def cpu_s(self) -> float:
        """Return processor seconds of the server and its children so far."""
        server = psutil.Process(self.pid)
        return sum(sum(each.cpu_times()[:2]) for each in [server, *server.children(recursive=True)])

    def memory_bytes(self) -> int:
        """Return the resident memory of the server process."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def committed_rows(self) -> int:
        """Return the rows that the lake's measurement files hold, from the Delta log alone."""
        return sum(self.files()["num_records"].to_pylist())

    def files(self, table: str = "measurements") -> pa.Table:
        """Return path, num_records and size_bytes of a table's current files."""
        return current_files(self.data_dir, table)


def current_files(data_dir: Path, table: str = "measurements") -> pa.Table:
    """Return path, num_records and size_bytes of a table's current files, from its Delta log alone."""
    table_dir = data_dir / "lake" / table
    if not (table_dir / "_delta_log").is_dir() or not any((table_dir / "_delta_log").iterdir()):
        return pa.table({"path": [], "num_records": [], "size_bytes": []})
    actions = DeltaTable(table_dir).get_add_actions(flatten=True)
    return pa.table(actions).select(["path", "num_records", "size_bytes"])


def lake_command(service: Service, *arguments: str) -> str:
    """Run `gaugehouse lake ...` beside the server; return what it printed."""
    return run_command(service.data_dir, "lake", *arguments)


def run_command(data_dir: Path, *arguments: str, stdin: str | None = None) -> str:
    """Run `gaugehouse ...` on a folder; return what it printed."""
    done = subprocess.run(
        [COMMAND, *arguments, "--data", data_dir], input=stdin, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"gaugehouse {' '.join(arguments)} failed: {done.stderr.strip()}")
    return done.stdout.strip()


@contextmanager
def serve(data_dir: Path, settings: dict[str, str] | None = None) -> Iterator[Service]:
    """Start a server on an empty folder with one manager and one key; stop it with SIGTERM at the end."""
    data_dir.mkdir(parents=True)
    user = ("user", "create", "bench", "--role", "manager", "--project", "default", "--password-stdin")
    run_command(data_dir, *user, stdin=secrets.token_urlsafe(24))
    key = run_command(data_dir, "key", "create", "bench", "--project", "default")
    with (data_dir / "server-output.txt").open("wb") as output:
        server = subprocess.Popen(
            [COMMAND, "serve", "--data", data_dir, "--host", "127.0.0.1", "--port", "0"],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(settings or {})},
        )
        try:
            yield Service(data_dir=data_dir, port=_wait_for_port(data_dir, server), key=key, pid=server.pid)
        except SendingFailed:
            print(_last_output(data_dir), file=sys.stderr)  # the folder goes, and with it the server's own words
            raise
        finally:
            _stop(server)


def _wait_for_port(data_dir: Path, server: "subprocess.Popen[bytes]") -> int:
    owner_path = data_dir / "run" / "owner.json"
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s:
        if server.poll() is not None:
            raise SystemExit(f"the server ended with {server.returncode}: {_last_output(data_dir)}")
        if owner_path.exists():
            owner = json.loads(owner_path.read_text())
            if owner.get("url") and owner["pid"] == server.pid:
                port = int(owner["url"].rstrip("/").rpartition(":")[2])
                if _listens(port):
                    return port
        time.sleep(0.05)
    raise SystemExit(f"the server did not answer within {START_TIMEOUT_S} s: {_last_output(data_dir)}")


def _listens(port: int) -> bool:
    """Say whether a server that has told its address listens there already."""
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


def _last_output(data_dir: Path) -> str:
    return (data_dir / "server-output.txt").read_text(errors="replace")[-2_000:]


def _stop(server: "subprocess.Popen[bytes]") -> None:
    if server.poll() is None:
        server.send_signal(signal.SIGTERM)
    try:
        server.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
        print("the server did not stop on SIGTERM and was killed", file=sys.stderr)
