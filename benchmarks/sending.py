"""Prepared requests, sent over some connections at once, whoever the receiver is."""

import http.client
import mmap
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from benchmarks.workload import Format, Sender

LATE = re.compile(rb'"late": ?(\d+)')
RETRY_STATUSES = (429, 503)
RESPONSE_TIMEOUT_S = 60
MAX_LOSSES = 2  # of one request
NEVER_S = 600.0
LOOKS = 10  # per run: looking costs the sender some processor time
FIRST_ROWS = 500_000  # sent before the rate is estimated: the first requests of a server are slow
WARM_UP_ROWS = 2_000_000
SPARE = 1.4  # payloads prepared beyond what the warm-up's rate promises; the table says when they ended early


class SendingFailed(Exception):
    """The receiver refused a request for good, or the connection broke."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Who takes requests on loopback, and how they are announced."""

    port: int
    path: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Payloads:
    """Encoded requests of one sender, end to end in one file, read through the page cache."""

    path: Path
    ends: list[int]
    rows: list[int]


@dataclass(slots=True, kw_only=True)
class Tally:
    """What one sender has seen so far."""

    acknowledged: int = 0
    late: int = 0
    retries: int = 0
    response_s: list[float] = field(default_factory=list)
    failure: str = ""
    answered_s: float = field(default_factory=time.perf_counter)  # when the last answer came [perf_counter s]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What all senders together have seen.

    Args:
        late: Rows that the receipts call late; only Gaugehouse's receipts do.
        duration_s: From the first request to the last answer. [s]
        sender_cpu_s: Processor time of this process meanwhile. [s]
        response_s: Request until answer, sorted. [s]
    """

    rows: int
    late: int
    duration_s: float
    sender_cpu_s: float
    retries: int
    response_s: list[float]

    @property
    def rows_per_s(self) -> float:
        """Acknowledged rows per second."""
        return self.rows / self.duration_s

    def response(self, share: float) -> float:
        """Return the time within which this share of the requests was answered. [s]"""
        return self.response_s[min(len(self.response_s) - 1, int(len(self.response_s) * share))]


def write_payloads(path: Path, batches: Iterable[pa.Table], encode: Callable[[pa.Table], bytes]) -> Payloads:
    """Encode batches into one file."""
    ends: list[int] = []
    counts: list[int] = []
    with path.open("wb") as file:
        for batch in batches:
            file.write(encode(batch))
            ends.append(file.tell())
            counts.append(len(batch))
    return Payloads(path=path, ends=ends, rows=counts)


def prepare(each: Format, senders: list[Sender], rows: int, folder: Path, *, first_request: int) -> list[Payloads]:
    """Write each sender's requests, from its given one on, until all together have `rows`."""
    requests = max(1, -(-rows // (each.rows * len(senders))))
    minutes = senders[0].minutes_per_batch(each.rows)
    numbers = range(first_request, first_request + requests)
    return [
        write_payloads(
            folder / f"{sender.number}-{first_request}",
            (sender.batch(request * minutes, minutes) for request in numbers),
            each.encode,
        )
        for sender in senders
    ]


def warm_up(target: Target, each: Format, senders: list[Sender], folder: Path, seconds: float) -> tuple[int, int, int]:
    """Send the first rows, then enough to know the rate.

    Returns:
        Rows acknowledged, requests sent by each sender, and the rows that `seconds` will need.
    """
    first = prepare(each, senders, FIRST_ROWS, folder, first_request=0)
    warm = prepare(each, senders, WARM_UP_ROWS, folder, first_request=len(first[0].ends))
    sent = [send(target, payloads, seconds=NEVER_S) for payloads in (first, warm)]
    requests = len(first[0].ends) + len(warm[0].ends)
    return sent[0].rows + sent[1].rows, requests, int(sent[1].rows_per_s * seconds * SPARE)


def send(
    target: Target, payloads: list[Payloads], *, seconds: float, look: Callable[[float, int], None] | None = None
) -> Sent:
    """Send from all connections at once until time or payloads end.

    Args:
        target: Who takes them.
        payloads: One per connection.
        seconds: When to stop. [s]
        look: Called now and then with the time since the begin [s] and the rows acknowledged.

    Raises:
        SendingFailed: See there.
    """
    os.sync()  # what preparing left dirty shall not be written during the measurement
    tallies = [Tally() for _ in payloads]
    begun_s, begun_cpu_s = time.perf_counter(), time.process_time()
    threads = [
        threading.Thread(target=_send_one, args=(target, payload, tally, begun_s + seconds))
        for payload, tally in zip(payloads, tallies, strict=True)
    ]
    for thread in threads:
        thread.start()
    while look is not None and any(thread.is_alive() for thread in threads):
        threads[0].join(seconds / LOOKS)
        look(time.perf_counter() - begun_s, sum(tally.acknowledged for tally in tallies))
    for thread in threads:
        thread.join()
    duration_s, cpu_s = time.perf_counter() - begun_s, time.process_time() - begun_cpu_s
    failures = [tally.failure for tally in tallies if tally.failure]
    if failures:
        raise SendingFailed(failures[0])
    return Sent(
        rows=sum(tally.acknowledged for tally in tallies),
        late=sum(tally.late for tally in tallies),
        duration_s=duration_s,
        sender_cpu_s=cpu_s,
        retries=sum(tally.retries for tally in tallies),
        response_s=sorted(taken_s for tally in tallies for taken_s in tally.response_s),
    )


def _send_one(target: Target, payloads: Payloads, tally: Tally, until_s: float) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=RESPONSE_TIMEOUT_S)
    try:
        with payloads.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            start = 0
            for end, rows in zip(payloads.ends, payloads.rows, strict=True):
                if time.perf_counter() >= until_s or not _post(connection, target, mapped[start:end], rows, tally):
                    break
                start = end
    except (OSError, http.client.HTTPException) as error:
        tally.failure = f"the connection broke: {error!r}"
    finally:
        connection.close()


def _post(connection: http.client.HTTPConnection, target: Target, body: bytes, rows: int, tally: Tally) -> bool:
    """Send one request until it is acknowledged; False when it was refused for good.

    A connection that was closed between two requests is opened anew, as every HTTP client does: a sender that waits for
    its payload's pages longer than the server keeps idle connections finds it so. What was stored is a duplicate then.
    """
    losses = 0
    while True:
        begun_s = time.perf_counter()
        try:
            connection.request("POST", target.path, body, target.headers)
            response = connection.getresponse()
        except (ConnectionError, http.client.RemoteDisconnected) as error:
            losses += 1
            rested_s = begun_s - tally.answered_s
            print(f"  a connection was lost after {rested_s:.1f} s of rest: {error!r}", file=sys.stderr)
            if losses > MAX_LOSSES:
                raise
            connection.close()
            tally.retries += 1
            continue
        text = response.read()
        tally.answered_s = time.perf_counter()
        tally.response_s.append(tally.answered_s - begun_s)
        if response.status in (http.client.CREATED, http.client.NO_CONTENT):
            tally.acknowledged += rows
            counted = LATE.search(text)
            tally.late += int(counted[1]) if counted else 0
            return True
        if response.status not in RETRY_STATUSES:
            tally.failure = f"{response.status} {text[:500].decode(errors='replace')}"
            return False
        tally.retries += 1
        time.sleep(float(response.headers.get("Retry-After") or 1))
