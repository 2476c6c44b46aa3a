"""Databases that take InfluxDB line protocol over HTTP: started on loopback with an empty folder, and stopped."""

import http.client
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

from benchmarks.peers import Acknowledged, PeerMissing
from benchmarks.peers.tables import folder_bytes

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 60
SETTLE_TIMEOUT_S = 180
TIMEOUT_S = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A started server.

    Args:
        folder: All it stores.
        port: Where it listens on loopback.
        pid: The server process.
    """

    folder: Path
    port: int
    pid: int

    def cpu_s(self) -> float:
        """Return its processor seconds so far."""
        return float(sum(psutil.Process(self.pid).cpu_times()[:2]))

    def memory_bytes(self) -> int:
        """Return its resident memory."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def size_bytes(self) -> int:
        """Return the bytes of its files."""
        return folder_bytes(self.folder)

    def ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        """Return what it answers; anything but success is an OSError."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        if response.status >= http.client.BAD_REQUEST:
            raise OSError(f"{path} answered {response.status}: {text[:200].decode(errors='replace')}")
        return text


class LineServer(Protocol):
    """How one database is started, written to and asked."""

    title: str
    acknowledged: Acknowledged
    drops_duplicates: bool
    write_path: str

    def command(self, folder: Path, port: int) -> list[str]:
        """Return how to start it; `folder` exists and is empty.

        Raises:
            PeerMissing: It cannot be had here.
        """

    def prepare(self, running: Running) -> None:
        """Make it ready for writes; an OSError means: not up yet."""

    def settle(self, running: Running) -> None:
        """Have everything written out and merged."""

    def count(self, running: Running) -> int:
        """Return the rows (values) it holds."""


@contextmanager
def start(server: LineServer, folder: Path) -> Iterator[Running]:
    """Start it on an empty folder; stop it with SIGTERM at the end.

    Raises:
        PeerMissing: It cannot be had, or does not start.
    """
    store = folder / "store"
    store.mkdir(parents=True)
    port = _free_port()
    with (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(server.command(store, port), stdout=output, stderr=subprocess.STDOUT)
    running = Running(folder=store, port=port, pid=process.pid)
    try:
        _wait_until_ready(server, running, process)
        yield running
    finally:
        _stop(process)


def wait_until_still(measure: Callable[[], int], *, period_s: float = 1.0, same: int = 6) -> None:
    """Wait until a figure stays the same for `same` looks in a row."""
    seen: list[int] = []
    deadline_s = time.monotonic() + SETTLE_TIMEOUT_S
    while time.monotonic() < deadline_s and (len(seen) < same or len(set(seen[-same:])) > 1):
        time.sleep(period_s)
        seen.append(measure())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(server: LineServer, running: Running, process: "subprocess.Popen[bytes]") -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            server.prepare(running)
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise PeerMissing(f"{server.title} did not start: {error}") from error
            time.sleep(0.1)
        else:
            return


def _stop(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
