"""What readers of live data cost ingestion: the same deliveries with none, one and a hundred of them, as ratios."""

import json
import selectors
import socket
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.request import urlopen

from benchmarks.results import Results, show_progress
from benchmarks.service import Service, serve
from benchmarks.thin import exchange, request_head

READERS = (0, 1, 100)
ROUNDS = 3  # each in another order, so that a machine that warms up favours nobody
RATE_HZ = 2
COMPONENTS = 100
FIRST_ANSWER_S = 30.0
NOTES = [
    "one JSON row per request; readers over Server-Sent Events in a process of their own on the same processors",
    f"each follows every series, {RATE_HZ} ticks a second",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One number of readers.

    Args:
        readers: Who follow every series, `RATE_HZ` times a second.
        deliveries_per_s: Acknowledged single rows, the median of the rounds. [1/s]
        ratio: Of that to the rate without readers. [1]
        server_cpu_ms: Processor time of the server per delivery. [ms]
        cpu_ratio: Of that to the time without readers. [1]
        messages: That readers got, over all rounds.
        dropped: Readers that were too slow.
    """

    readers: int
    connections: int
    deliveries_per_s: float
    ratio: float
    server_cpu_ms: float
    cpu_ratio: float
    messages: int
    dropped: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round:
    deliveries_per_s: float
    server_cpu_ms: float
    messages: int
    dropped: int


def run_live(results: Results, *, seconds: float, connections: int, work_dir: Path) -> None:
    """Measure every number of readers in turn; add the rows to the results."""
    rounds: dict[int, list[_Round]] = {readers: [] for readers in READERS}
    limits = {"GAUGEHOUSE_LIVE_READERS_PER_CALLER": "200", "GAUGEHOUSE_WORKERS": "0"}
    numbers = iter(range(1_000_000_000))
    with serve(work_dir / "data-live", limits) as service:
        _send(service, numbers, connections=connections, seconds=2.0)
        for number in range(ROUNDS):
            for readers in READERS[number % 3 :] + READERS[: number % 3]:
                show_progress(f"live: {readers} readers, round {number + 1} of {ROUNDS}")
                with _listening(service, readers):
                    measured = _measure(service, numbers, connections=connections, seconds=seconds / ROUNDS)
                rounds[readers].append(measured)
    results.add("live", [asdict(row) for row in _summarize(rounds, connections)], NOTES)


def _summarize(rounds: dict[int, list[_Round]], connections: int) -> Iterator[Measured]:
    """Yield what the rounds of each number of readers come to."""
    base_rate = statistics.median(one.deliveries_per_s for one in rounds[0])
    base_cpu_ms = statistics.median(one.server_cpu_ms for one in rounds[0])
    for readers, measured in rounds.items():
        rate = statistics.median(one.deliveries_per_s for one in measured)
        cpu_ms = statistics.median(one.server_cpu_ms for one in measured)
        yield Measured(
            readers=readers,
            connections=connections,
            deliveries_per_s=rate,
            ratio=rate / base_rate,
            server_cpu_ms=cpu_ms,
            cpu_ratio=cpu_ms / base_cpu_ms,
            messages=sum(one.messages for one in measured),
            dropped=sum(one.dropped for one in measured),
        )


def _measure(service: Service, numbers: Iterator[int], *, connections: int, seconds: float) -> _Round:
    before_cpu_s, before = service.cpu_s(), _count(service)
    deliveries, duration_s = _send(service, numbers, connections=connections, seconds=seconds)
    after, cpu_s = _count(service), service.cpu_s() - before_cpu_s
    return _Round(
        deliveries_per_s=deliveries / duration_s,
        server_cpu_ms=1000 * cpu_s / deliveries,
        messages=after[0] - before[0],
        dropped=after[1] - before[1],
    )


def _send(service: Service, numbers: Iterator[int], *, connections: int, seconds: float) -> tuple[int, float]:
    """Keep one delivery under way per connection; return (deliveries, duration [s])."""
    requests = [_requests(service, numbers, f"live-{number % COMPONENTS:03d}") for number in range(connections)]
    sent, duration_s = exchange(service.port, requests, seconds=seconds)
    return sum(len(one.response_s) for one in sent), duration_s


def _requests(service: Service, numbers: Iterator[int], component: str) -> Iterator[tuple[bytes, bool]]:
    head = request_head(service.key, "application/json")
    begin = datetime(2024, 1, 1, tzinfo=UTC)
    for number in numbers:
        at = (begin + timedelta(seconds=number)).strftime("%Y-%m-%dT%H:%M:%SZ")
        row = {"component": component, "metric": "temperature", "measured_at": at, "value": number % 100}
        body = json.dumps([row], separators=(",", ":")).encode()
        yield head % len(body) + body, False


def _count(service: Service) -> tuple[int, int]:
    """Return (messages to readers, readers that were dropped) so far."""
    with urlopen(f"http://127.0.0.1:{service.port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    names = ("gaugehouse_live_messages_total", 'gaugehouse_live_dropped_total{reason="too_slow"}')
    found = [sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name)) for name in names]
    return int(found[0]), int(found[1])


@contextmanager
def _listening(service: Service, readers: int) -> Iterator[None]:
    """Let so many readers listen in a process of their own, which throws away what it reads."""
    command = [sys.executable, "-m", "benchmarks.live", str(service.port), service.key, str(readers)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[1])
    assert process.stdout is not None
    try:
        if process.stdout.readline() != b"listening\n":
            raise SystemExit("the readers could not listen")
        yield
    finally:
        process.communicate()  # the end of its input is the end of it


def _listen(port: int, key: str, readers: int) -> None:
    """Open the readers, say so when all have their first answer, and read until the input ends."""
    head = (
        f"GET /v1/live?max_rate_hz={RATE_HZ} HTTP/1.1\r\nHost: bench\r\nX-API-Key: {key}\r\n"
        "Accept: text/event-stream\r\n\r\n"
    ).encode()
    with selectors.DefaultSelector() as selector:
        for _ in range(readers):
            one = socket.create_connection(("127.0.0.1", port), timeout=FIRST_ANSWER_S)
            one.sendall(head)
            if not one.recv(65_536).startswith(b"HTTP/1.1 200"):
                raise SystemExit("refused")
            selector.register(one, selectors.EVENT_READ)
        print("listening", flush=True)
        selector.register(sys.stdin, selectors.EVENT_READ)
        while True:
            for ready, _events in selector.select():
                if ready.fileobj is sys.stdin:
                    return
                assert isinstance(ready.fileobj, socket.socket)
                ready.fileobj.recv(1 << 20)


if __name__ == "__main__":
    _listen(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
