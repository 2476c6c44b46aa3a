"""Single-row requests over HTTP from many connections, some rows late; sent with little processor time."""

import json
import random
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.results import Results, show_progress
from benchmarks.service import Service, serve
from benchmarks.thin import CREATED, Connection, exchange, request_head
from benchmarks.workload import Sender, encode_arrow

ACKNOWLEDGEMENT = "201 after the row's log record is fsynced; duplicates checked against every stored key"
HISTORY_ROWS = 400_000  # what old rows are looked up in
HISTORY_ROUNDS = 8
RECENT_KEYS_BYTES = 1024 * 1024  # so few hashes that old rows need a look into the files
LATE_SHARES = (0.0, 0.2)
ROOM_PER_S = 6_000  # requests made in advance, so that making them costs no time while sending
LATE_REACH_MINUTES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One run.

    Args:
        late_share: Rows that are older than their series' newest; half of them by minutes, half by weeks. [1]
        requests_per_s: Acknowledged single-row requests. [1/s]
        response_p50_s, response_p99_s, response_longest_s: Request until answer, of all rows. [s]
        late_p99_s: The same of the late rows. [s]
        sender_cpu_s, server_cpu_s: Processor time per second. [1]
        is_exact: The files held every acknowledged row once.
    """

    late_share: float
    connections: int
    requests: int
    requests_per_s: float
    response_p50_s: float
    response_p99_s: float
    response_longest_s: float
    late_p99_s: float
    sender_cpu: float
    server_cpu: float
    is_exact: bool


def run_small(results: Results, *, seconds: float, connections: int, work_dir: Path) -> None:
    """Measure single rows without and with late ones; add the rows to the results."""
    measured = []
    for share in LATE_SHARES:
        with serve(
            work_dir / f"data-small-{share}", {"GAUGEHOUSE_RECENT_KEYS_BYTES": str(RECENT_KEYS_BYTES)}
        ) as service:
            history_rows = _send_history(service)
            warm = _run(service, connections=connections, seconds=2.0, late_share=share, first=0)
            show_progress(f"single rows, {share:.0%} late: send for {seconds:.0f} s")
            server_cpu_s, sender_cpu_s = service.cpu_s(), time.process_time()
            sent, duration_s = _run(service, connections=connections, seconds=seconds, late_share=share, first=100_000)
            server_cpu_s, sender_cpu_s = service.cpu_s() - server_cpu_s, time.process_time() - sender_cpu_s
            late = sorted(each for one in sent for each in one.late_response_s)
            every = sorted([*late, *(each for one in sent for each in one.response_s)])
            rows = history_rows + len(every) + sum(len(one.response_s) + len(one.late_response_s) for one in warm[0])
            measured.append(
                Measured(
                    late_share=share,
                    connections=connections,
                    requests=len(every),
                    requests_per_s=len(every) / duration_s,
                    response_p50_s=every[len(every) // 2],
                    response_p99_s=every[len(every) * 99 // 100],
                    response_longest_s=every[-1],
                    late_p99_s=late[len(late) * 99 // 100] if late else 0.0,
                    sender_cpu=sender_cpu_s / duration_s,
                    server_cpu=server_cpu_s / duration_s,
                    is_exact=_is_exact(service, rows),
                )
            )
        show_progress(f"single rows, {share:.0%} late: {measured[-1].requests_per_s:,.0f} requests/s")
    notes = [
        f"acknowledged: {ACKNOWLEDGEMENT}",
        "one JSON row per request; late rows: half a few minutes old, half weeks old and looked up in the files",
    ]
    results.add("small", [asdict(row) for row in measured], notes)


def _send_history(service: Service) -> int:
    """Store weeks of minutes of the series that single rows will be late for; return how many rows."""
    sender = Sender(prefix="small", number=0, senders=1)
    minutes = sender.minutes_per_batch(HISTORY_ROWS // HISTORY_ROUNDS)
    rows = 0
    for turn in range(HISTORY_ROUNDS):
        batch = sender.batch(turn * minutes, minutes)
        rows += len(batch)
        head = request_head(service.key, "application/vnd.apache.arrow.stream")
        with socket.create_connection(("127.0.0.1", service.port)) as one:
            body = encode_arrow(batch)
            one.sendall(head % len(body) + body)
            if not one.recv(65_536).startswith(CREATED):
                raise SystemExit("the history was refused")
    while service.committed_rows() < rows:
        time.sleep(0.2)
    return rows


def _requests(
    service: Service, number: int, *, count: int, late_share: float, first: int
) -> Iterator[tuple[bytes, bool]]:
    """Yield requests of one row of one series, and whether the row is late; all keys differ."""
    head = request_head(service.key, "application/json")
    draw = random.Random(number + first)  # noqa: S311 - a workload, the same each time
    newest = datetime(2024, 1, 1, tzinfo=UTC)
    history = datetime(2020, 1, 1, tzinfo=UTC)
    for minute in range(first, first + count):
        chance = draw.random()
        at = newest + timedelta(minutes=minute)
        if chance < late_share / 2:
            at -= timedelta(minutes=draw.randrange(1, LATE_REACH_MINUTES), seconds=30, milliseconds=minute % 1000)
        elif chance < late_share:
            at = history + timedelta(minutes=draw.randrange(900), seconds=1, microseconds=minute)
        row = {
            "component": f"small-{number:03d}",
            "metric": "temperature",
            "measured_at": at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "value": round(draw.uniform(0, 100), 2),
        }
        body = json.dumps([row], separators=(",", ":")).encode()
        yield head % len(body) + body, chance < late_share


def _run(
    service: Service, *, connections: int, seconds: float, late_share: float, first: int
) -> tuple[list[Connection], float]:
    """Keep one request under way per connection until time is up; return the connections and the duration. [s]"""
    count = int(seconds * ROOM_PER_S / connections)
    requests = [
        list(_requests(service, number, count=count, late_share=late_share, first=first))
        for number in range(connections)
    ]
    return exchange(service.port, [iter(each) for each in requests], seconds=seconds)


def _is_exact(service: Service, rows: int) -> bool:
    """Wait until the files hold as many rows as were acknowledged; say whether they hold no more."""
    until_s = time.monotonic() + 60
    while service.committed_rows() < rows and time.monotonic() < until_s:
        time.sleep(0.2)
    return service.committed_rows() == rows
