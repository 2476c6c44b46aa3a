"""Sustained ingest over HTTP by format, the flush keeping up, beside plain DuckDB inserts of the same rows."""

import http.client
import mmap
import os
import shutil
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.baseline import DURABILITY, insert_plainly
from benchmarks.results import Results, show_progress
from benchmarks.service import Service, serve
from benchmarks.workload import COMPONENTS, FORMATS, METRICS, Format, Sender

ACKNOWLEDGEMENT = (
    "201 after the rows' log record is fsynced (shared fdatasync); duplicates checked against every stored key"
)
FIRST_ROWS = 500_000  # sent before the rate is estimated: the first requests of a server are slow
WARM_UP_ROWS = 2_000_000
SPARE = 1.4  # payloads prepared beyond what the warm-up's rate promises; the table says when they ended early
BASELINE_ROWS = 4_000_000
DRAIN_TIMEOUT_S = 120
NEVER_S = 600.0
LAG_SAMPLES = 10  # per run: looking costs the sender some processor time
RETRY_STATUSES = (429, 503)
RESPONSE_TIMEOUT_S = 60


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
    requests: int = 0
    retries: int = 0
    response_s: list[float] = field(default_factory=list)
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One format's sustained run.

    Args:
        rows_per_s: Acknowledged rows per second of the sending time.
        seconds: Sending time. [s]
        has_run_dry: The payloads ended before the time did.
        rows_behind_half: Acknowledged rows not yet in the lake's files, at half time.
        rows_behind: The same at the end.
        lag_s: rows_behind as seconds of arrival. [s]
        drain_s: Until the files held every acknowledged row. [s]
        is_exact: They then held exactly the acknowledged rows.
        response_p50_s, response_p99_s: Request until answer. [s]
        sender_cpu_s, server_cpu_s: Processor time during sending. [s]
        retries: Answers that asked to come back later.
    """

    format: str
    rows_per_request: int
    bytes_per_row: float
    rows: int
    rows_per_s: float
    seconds: float
    has_run_dry: bool
    rows_behind_half: int
    rows_behind: int
    lag_s: float
    drain_s: float
    is_exact: bool
    response_p50_s: float
    response_p99_s: float
    sender_cpu_s: float
    server_cpu_s: float
    server_memory_bytes: int
    retries: int
    baseline_rows_per_s: float
    ratio: float


def run_ingest(results: Results, *, seconds: float, connections: int, formats: list[str], work_dir: Path) -> None:
    """Measure each format on a fresh server; add the rows to the results."""
    chosen = [each for each in FORMATS if each.name in formats]
    measured = []
    for each in chosen:
        baseline = _measure_baseline(each, connections, work_dir)
        measured.append(_measure(each, baseline, seconds=seconds, connections=connections, work_dir=work_dir))
        show_progress(f"{each.name}: {measured[-1].rows_per_s:,.0f} rows/s, {measured[-1].ratio:.2f} x plain insert")
    notes = [
        f"acknowledged: {ACKNOWLEDGEMENT}",
        f"plain insert: {DURABILITY}; timed in this run just before each format",
        f"workload: {COMPONENTS} components x {len(METRICS)} metrics per minute, arrival by time",
        f"{connections} connections, each component from one of them; payloads prepared before the clock",
    ]
    results.add("ingest", [asdict(row) for row in measured], notes)


def _measure_baseline(each: Format, connections: int, work_dir: Path) -> float:
    """Return rows per second of plain inserts of the batches that the format's requests carry."""
    senders = [Sender(prefix="base", number=number, senders=connections) for number in range(connections)]
    minutes = senders[0].minutes_per_batch(each.rows)
    rounds = max(1, BASELINE_ROWS // (each.rows * connections))
    show_progress(f"{each.name}: plain DuckDB inserts")
    batches = [sender.batch(turn * minutes, minutes) for turn in range(rounds) for sender in senders]
    return insert_plainly(work_dir / "plain.duckdb", batches).rows_per_s


def _measure(each: Format, baseline: float, *, seconds: float, connections: int, work_dir: Path) -> Measured:
    data_dir = work_dir / f"data-{each.name}"
    payload_dir = work_dir / f"payloads-{each.name}"
    payload_dir.mkdir()
    senders = [Sender(prefix=each.name, number=number, senders=connections) for number in range(connections)]
    try:
        with serve(data_dir) as service:
            show_progress(f"{each.name}: warm-up")
            first = _prepare(each, senders, FIRST_ROWS, payload_dir, first_request=0)
            warm = _prepare(each, senders, WARM_UP_ROWS, payload_dir, first_request=len(first[0].ends))
            first_rows, _ = _count(_send(service, each, first, seconds=NEVER_S))
            rows, rows_per_s = _count(_send(service, each, warm, seconds=NEVER_S))
            wanted = int(rows_per_s * seconds * SPARE)
            show_progress(f"{each.name}: prepare {wanted:,} rows")
            sent = len(first[0].ends) + len(warm[0].ends)
            main = _prepare(each, senders, wanted, payload_dir, first_request=sent)
            _drain(service, first_rows + rows)
            return _sustain(service, each, main, first_rows + rows, baseline, seconds)
    finally:
        shutil.rmtree(payload_dir, ignore_errors=True)
        shutil.rmtree(data_dir, ignore_errors=True)


def _count(sent: tuple[list[Tally], float]) -> tuple[int, float]:
    """Return the acknowledged rows and their rate. [1/s]"""
    tallies, duration_s = sent
    rows = sum(tally.acknowledged for tally in tallies)
    return rows, rows / duration_s


def _sustain(
    service: Service, each: Format, payloads: list[Payloads], warm_rows: int, baseline: float, seconds: float
) -> Measured:
    show_progress(f"{each.name}: send for {seconds:.0f} s")
    os.sync()  # what preparing left dirty shall not be written during the measurement
    behind: list[tuple[float, int]] = []
    server_cpu_s, sender_cpu_s = service.cpu_s(), time.process_time()
    tallies, sent_s = _send(service, each, payloads, seconds=seconds, behind=behind, warm_rows=warm_rows)
    sender_cpu_s, server_cpu_s = time.process_time() - sender_cpu_s, service.cpu_s() - server_cpu_s
    rows = sum(tally.acknowledged for tally in tallies)
    rows_behind = warm_rows + rows - service.committed_rows()
    memory_bytes = service.memory_bytes()
    drain_s, is_exact = _drain(service, warm_rows + rows)
    half = [count for at_s, count in behind if at_s <= sent_s / 2]
    responses = sorted(duration for tally in tallies for duration in tally.response_s)
    payload_bytes = sum(payload.ends[-1] for payload in payloads)
    return Measured(
        format=each.name,
        rows_per_request=each.rows,
        bytes_per_row=payload_bytes / sum(sum(payload.rows) for payload in payloads),
        rows=rows,
        rows_per_s=_count((tallies, sent_s))[1],
        seconds=sent_s,
        has_run_dry=sent_s < seconds,
        rows_behind_half=half[-1] if half else 0,
        rows_behind=rows_behind,
        lag_s=rows_behind / (rows / sent_s),
        drain_s=drain_s,
        is_exact=is_exact,
        response_p50_s=responses[len(responses) // 2],
        response_p99_s=responses[len(responses) * 99 // 100],
        sender_cpu_s=sender_cpu_s,
        server_cpu_s=server_cpu_s,
        server_memory_bytes=memory_bytes,
        retries=sum(tally.retries for tally in tallies),
        baseline_rows_per_s=baseline,
        ratio=rows / sent_s / baseline,
    )


def _prepare(each: Format, senders: list[Sender], rows: int, folder: Path, *, first_request: int) -> list[Payloads]:
    """Write the requests of every sender, `rows` in all, following those numbered below `first_request`."""
    requests = max(1, -(-rows // (each.rows * len(senders))))
    prepared = []
    for sender in senders:
        minutes = sender.minutes_per_batch(each.rows)
        path = folder / f"{first_request}-{sender.number}.bin"
        ends: list[int] = []
        counts: list[int] = []
        with path.open("wb") as file:
            for request in range(first_request, first_request + requests):
                batch = sender.batch(request * minutes, minutes)
                file.write(each.encode(batch))
                ends.append(file.tell())
                counts.append(len(batch))
        prepared.append(Payloads(path=path, ends=ends, rows=counts))
    return prepared


def _send(
    service: Service,
    each: Format,
    payloads: list[Payloads],
    *,
    seconds: float,
    behind: list[tuple[float, int]] | None = None,
    warm_rows: int = 0,
) -> tuple[list[Tally], float]:
    """Send from all connections at once until time or payloads end; return the tallies and the duration. [s]"""
    tallies = [Tally() for _ in payloads]
    begun_s = time.perf_counter()
    threads = [
        threading.Thread(target=_send_one, args=(service, each, payload, tally, begun_s + seconds))
        for payload, tally in zip(payloads, tallies, strict=True)
    ]
    for thread in threads:
        thread.start()
    while behind is not None and any(thread.is_alive() for thread in threads):
        threads[0].join(seconds / LAG_SAMPLES)
        acknowledged = warm_rows + sum(tally.acknowledged for tally in tallies)
        behind.append((time.perf_counter() - begun_s, acknowledged - service.committed_rows()))
    for thread in threads:
        thread.join()
    duration_s = time.perf_counter() - begun_s
    failures = [tally.failure for tally in tallies if tally.failure]
    if failures:
        raise SystemExit(f"{each.name}: {failures[0]}")
    return tallies, duration_s


def _send_one(service: Service, each: Format, payloads: Payloads, tally: Tally, until_s: float) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=RESPONSE_TIMEOUT_S)
    headers = {"Content-Type": each.content_type, "X-API-Key": service.key}
    try:
        with payloads.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            start = 0
            for end, rows in zip(payloads.ends, payloads.rows, strict=True):
                if time.perf_counter() >= until_s or not _post(connection, headers, mapped[start:end], rows, tally):
                    break
                start = end
    except (OSError, http.client.HTTPException) as error:
        tally.failure = f"the connection broke: {error!r}"
    finally:
        connection.close()


def _post(
    connection: http.client.HTTPConnection, headers: dict[str, str], body: bytes, rows: int, tally: Tally
) -> bool:
    """Send one request until it is acknowledged; False when it was refused for good."""
    while True:
        begun_s = time.perf_counter()
        connection.request("POST", "/v1/measurements", body, headers)
        response = connection.getresponse()
        text = response.read()
        tally.response_s.append(time.perf_counter() - begun_s)
        if response.status == http.client.CREATED:
            tally.acknowledged += rows
            tally.requests += 1
            return True
        if response.status not in RETRY_STATUSES:
            tally.failure = f"{response.status} {text[:500].decode(errors='replace')}"
            return False
        tally.retries += 1
        time.sleep(float(response.headers.get("Retry-After") or 1))


def _drain(service: Service, rows: int) -> tuple[float, bool]:
    """Wait until the files hold `rows`; return how long it took [s] and whether the count is exact."""
    begun_s = time.perf_counter()
    committed = service.committed_rows()
    while committed < rows and time.perf_counter() - begun_s < DRAIN_TIMEOUT_S:
        time.sleep(0.1)
        committed = service.committed_rows()
    return time.perf_counter() - begun_s, committed == rows
