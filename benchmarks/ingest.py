"""Sustained ingest over HTTP by format, the flush keeping up, beside plain DuckDB inserts of the same rows."""

import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.baseline import DURABILITY, insert_plainly
from benchmarks.results import Results, show_progress
from benchmarks.sending import Payloads, prepare, send, warm_up
from benchmarks.service import Service, serve
from benchmarks.workload import COMPONENTS, FORMATS, METRICS, Format, Sender

ACKNOWLEDGEMENT = (
    "201 after the rows' log record is fsynced (shared fdatasync); duplicates checked against every stored key"
)
BASELINE_ROWS = 4_000_000
DRAIN_TIMEOUT_S = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One format's sustained run.

    Args:
        rows_per_s: Acknowledged rows per second of the sending time.
        settled_rows_per_s: The same rows per second of the time until all were in the lake's files.
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
    settled_rows_per_s: float
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
            warm_rows, requests, wanted = warm_up(service.target(each), each, senders, payload_dir, seconds)
            show_progress(f"{each.name}: prepare {wanted:,} rows")
            main = prepare(each, senders, wanted, payload_dir, first_request=requests)
            drain(service, warm_rows)
            return sustain(service, each, main, warm_rows=warm_rows, baseline=baseline, seconds=seconds)
    finally:
        shutil.rmtree(payload_dir, ignore_errors=True)
        shutil.rmtree(data_dir, ignore_errors=True)


def sustain(
    service: Service, each: Format, payloads: list[Payloads], *, warm_rows: int, baseline: float, seconds: float
) -> Measured:
    """Send to a server whose files hold `warm_rows`, then wait until they hold all; `baseline` in rows per second."""
    show_progress(f"{each.name}: send for {seconds:.0f} s")
    behind: list[tuple[float, int]] = []

    def look(at_s: float, acknowledged: int) -> None:
        behind.append((at_s, warm_rows + acknowledged - service.committed_rows()))

    server_cpu_s = service.cpu_s()
    sent = send(service.target(each), payloads, seconds=seconds, look=look)
    server_cpu_s = service.cpu_s() - server_cpu_s
    rows_behind = warm_rows + sent.rows - service.committed_rows()
    memory_bytes = service.memory_bytes()
    drain_s, is_exact = drain(service, warm_rows + sent.rows)
    half = [count for at_s, count in behind if at_s <= sent.duration_s / 2]
    payload_bytes = sum(payload.ends[-1] for payload in payloads)
    return Measured(
        format=each.name,
        rows_per_request=each.rows,
        bytes_per_row=payload_bytes / sum(sum(payload.rows) for payload in payloads),
        rows=sent.rows,
        rows_per_s=sent.rows_per_s,
        settled_rows_per_s=sent.rows / (sent.duration_s + drain_s),
        seconds=sent.duration_s,
        has_run_dry=sent.duration_s < seconds,
        rows_behind_half=half[-1] if half else 0,
        rows_behind=rows_behind,
        lag_s=rows_behind / sent.rows_per_s,
        drain_s=drain_s,
        is_exact=is_exact,
        response_p50_s=sent.response(0.50),
        response_p99_s=sent.response(0.99),
        sender_cpu_s=sent.sender_cpu_s,
        server_cpu_s=server_cpu_s,
        server_memory_bytes=memory_bytes,
        retries=sent.retries,
        baseline_rows_per_s=baseline,
        ratio=sent.rows_per_s / baseline,
    )


def drain(service: Service, rows: int) -> tuple[float, bool]:
    """Wait until the files hold `rows`; return how long it took [s] and whether the count is exact."""
    begun_s = time.perf_counter()
    committed = service.committed_rows()
    while committed < rows and time.perf_counter() - begun_s < DRAIN_TIMEOUT_S:
        time.sleep(0.1)
        committed = service.committed_rows()
    return time.perf_counter() - begun_s, committed == rows
