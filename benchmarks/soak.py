"""`make soak`: mixed ingestion beside readers and compaction for hours, and every bound that must hold all the while.

Senders and readers are processes of their own. The model of what was sent says what each receipt, the Delta table and
the plain files must hold; `gaugehouse lake verify` has the last word.
"""

import http.client
import json
import multiprocessing
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import psutil
from rich.live import Live
from rich.text import Text

from benchmarks.results import Results, console, show_progress
from benchmarks.service import COMMAND, Service, lake_command, serve
from benchmarks.soak_streams import COUNTS, STREAMS, Progress, run_stream
from benchmarks.workload import COMPONENTS

ROWS_PER_S = 30_000.0  # what two processors sustain beside readers
READ_PERIOD_S = 0.02
QUERY_PERIOD_S = 5.0
GLOB_PERIOD_S = 30.0
GLOB_LAG_S = 1.0  # plain files follow their commit
FILES_PERIOD_S = 5.0
REPORT_PERIOD_S = 0.5
PRINT_PERIOD_S = 20.0  # without a terminal
WARM_UP_S = 12.0  # until each component has sent something, at least
WARM_UP_SHARE = 0.2  # of the time; what is read meanwhile does not count
STEADY_S = 1_200.0  # shorter soaks say nothing about growth, and CI judges no speed: machines differ

NEWEST_P99_LIMIT_S = 0.010
MEMORY_LIMIT_BYTES = 1_500_000_000
GROWTH_LIMIT = 0.05  # of resident memory, from the second quarter to the last
FILES_LIMIT = 200
DESCRIPTORS_LIMIT = 8  # more in the last quarter than in the second: segments and connections come and go
RATE_LIMIT = 0.95  # the last requests may be under way at the end
TABLES = ("measurements", "events")


@dataclass(slots=True, kw_only=True)
class Watched:
    """What was seen each second, or now and then."""

    at_s: list[float] = field(default_factory=list)
    memory_bytes: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    files: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TABLES, 0))
    globs: int = 0
    globs_repeated: int = 0
    wrong_globs: list[str] = field(default_factory=list)
    read_s: list[float] = field(default_factory=list)
    queries: int = 0
    failures: list[str] = field(default_factory=list)
    progress: list[Progress] = field(default_factory=list)
    sender_cpu_s: float = 0.0

    def total(self, name: str) -> int:
        """Return a count over all receipts."""
        return sum(each.told[name] for each in self.progress)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """One thing that must hold; `is_kept` None: this run was too short to say."""

    bound: str
    found: str
    limit: str
    is_kept: bool | None


def run_soak(results: Results, *, seconds: float, rows_per_s: float, work_dir: Path) -> bool:
    """Soak; add the bounds to the results; return whether all were kept."""
    watched = Watched()
    data_dir = work_dir / "data-soak"
    with serve(data_dir) as service:
        cpu_s = service.cpu_s()
        _soak(service, watched, seconds, rows_per_s)
        cpu_s = service.cpu_s() - cpu_s
        show_progress("soak: flush, count")
        lake_command(service, "flush")
        bounds = [*_bounds_meanwhile(watched, seconds, rows_per_s), *_bounds_of_counts(service, watched)]
    show_progress("soak: lake verify")
    bounds.append(_verify(data_dir))
    counts = ", ".join(f"{watched.total(name):,} {name}" for name in COUNTS)
    notes = [
        f"{seconds:.0f} s at {rows_per_s:,.0f} rows/s: "
        + ", ".join(f"{each.share:.1%} {each.form}" for each in STREAMS)
        + "; repeated, late and changed rows besides",
        f"receipts: {counts}; retries {sum(each.retries for each in watched.progress)}",
        f"processors busy: sender {watched.sender_cpu_s / seconds:.2f}, server {cpu_s / seconds:.2f}",
        f"readers: {len(watched.read_s):,} newest values, {watched.queries} aggregations, {watched.globs} globs",
        f"globs: plain files, by DuckDB; {watched.globs_repeated} repeated because files were exchanged meanwhile",
        "every row was fsynced before its receipt, and compared with every stored key",
    ]
    results.add("soak", [_row(each) for each in bounds], notes)
    return all(each.is_kept is not False for each in bounds)


def _verify(data_dir: Path) -> Bound:
    """Have the stopped lake prove itself."""
    command = [COMMAND, "lake", "verify", "--json", "--data", data_dir]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)["verdict"] if done.stdout else done.stderr.strip()
    return Bound(bound="lake verify", found=found, limit="sound", is_kept=done.returncode == 0)


def _row(bound: Bound) -> dict[str, object]:
    kept = {True: "yes", False: "NO", None: "too short to say"}[bound.is_kept]
    return {"bound": bound.bound, "found": bound.found, "limit": bound.limit, "is_kept": kept}


def _soak(service: Service, watched: Watched, seconds: float, rows_per_s: float) -> None:
    """Send and read for so long, watching."""
    context = multiprocessing.get_context("spawn")
    parts: list[tuple[Any, Connection]] = []
    for run, given in ((_send, (rows_per_s,)), (_read, ())):
        ours, theirs = context.Pipe()
        process = context.Process(target=run, args=(theirs, service.port, service.key, seconds, *given), daemon=True)
        process.start()
        theirs.close()
        parts.append((process, ours))
    for _, ours in parts:  # begin together: a process takes seconds to import everything
        ours.recv()
    begun_s = time.monotonic()
    for _, ours in parts:
        ours.send("go")
    globs = threading.Thread(target=_glob, args=(service, watched, begun_s + seconds), daemon=True)
    globs.start()
    try:
        _watch(service, watched, parts, begun_s, seconds)
    finally:
        for process, _ in parts:
            process.terminate()
            process.join()
    globs.join()


def _watch(
    service: Service, watched: Watched, parts: list[tuple[Any, Connection]], begun_s: float, seconds: float
) -> None:
    server = psutil.Process(service.pid)
    files_at_s = printed_at_s = 0.0
    with Live(console=console, refresh_per_second=2, transient=True) as live:
        while any(process.is_alive() for process, _ in parts):
            time.sleep(1.0)
            now_s = time.monotonic() - begun_s
            watched.at_s.append(now_s)
            watched.memory_bytes.append(server.memory_info().rss)
            watched.descriptors.append(server.num_fds())
            for _, ours in parts:
                _hear(ours, watched)
            if now_s - files_at_s >= FILES_PERIOD_S:
                files_at_s = now_s
                for table in TABLES:
                    watched.files[table] = max(watched.files[table], service.files(table).num_rows)
            line = _line(service, watched, now_s, seconds)
            live.update(Text(line))
            if not console.is_terminal and now_s - printed_at_s >= PRINT_PERIOD_S:
                printed_at_s = now_s
                show_progress(line)
            if watched.failures or any(each.failure for each in watched.progress):
                break
    for _, ours in parts:
        _hear(ours, watched)


def _hear(ours: Connection, watched: Watched) -> None:
    """Take in what a process has said since."""
    with suppress(EOFError):
        while ours.poll():
            for name, said in ours.recv().items():
                if isinstance(said, list) and name != "progress":
                    getattr(watched, name).extend(said)
                else:
                    setattr(watched, name, said)


def _line(service: Service, watched: Watched, now_s: float, seconds: float) -> str:
    accepted = watched.total("accepted")
    recent = watched.read_s[-500:]
    p99_ms = float(np.quantile(recent, 0.99)) * 1e3 if recent else 0.0
    behind_s = max((each.behind_s for each in watched.progress), default=0.0)
    return (
        f"soak {now_s:,.0f}/{seconds:,.0f} s  {accepted:,} rows ({accepted / now_s:,.0f}/s, senders {behind_s:.1f} s "
        f"behind)  memory {watched.memory_bytes[-1] / 1e6:,.0f} MB  {watched.descriptors[-1]} descriptors  "
        f"files {service.files().num_rows}  newest p99 {p99_ms:.1f} ms"
    )


def _meet(theirs: Connection) -> None:
    theirs.send("ready")
    theirs.recv()


def _send(theirs: Connection, port: int, key: str, seconds: float, rows_per_s: float) -> None:
    """Run all streams, a thread each; say how far they are."""
    _meet(theirs)
    until_s = time.monotonic() + seconds
    progress = [Progress() for _ in STREAMS]
    threads = [
        threading.Thread(target=run_stream, args=(each, port, key, rows_per_s * each.share, until_s, own))
        for each, own in zip(STREAMS, progress, strict=True)
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        threads[0].join(REPORT_PERIOD_S)
        time.sleep(REPORT_PERIOD_S)
        theirs.send({"progress": progress, "sender_cpu_s": time.process_time()})
    theirs.send({"progress": progress, "sender_cpu_s": time.process_time()})


def _read(theirs: Connection, port: int, key: str, seconds: float) -> None:
    """Read newest values at a fixed rate, and an aggregation now and then over a connection of its own."""
    _meet(theirs)
    begun_s = time.monotonic()
    warm_s = max(WARM_UP_S, WARM_UP_SHARE * seconds)
    draw = np.random.default_rng(0)
    read_s: list[float] = []
    failures: list[str] = []
    queries: list[int] = []
    asking = threading.Thread(
        target=_query, args=(port, key, begun_s + seconds, queries.append, failures.append), daemon=True
    )
    asking.start()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    while time.monotonic() < begun_s + seconds and not failures:
        time.sleep(READ_PERIOD_S)
        form = STREAMS[int(draw.integers(len(STREAMS)))].form
        component = f"{form}-{int(draw.integers(COMPONENTS)):03d}"
        asked_s = time.perf_counter()
        status, text = _get(connection, f"/v1/components/{component}/latest", key)
        took_s = time.perf_counter() - asked_s
        is_warm = time.monotonic() > begun_s + warm_s
        if is_warm:
            read_s.append(took_s)
            if status != http.client.OK:
                failures.append(f"newest values answered {status} {text[:200]}")
        if len(read_s) >= 1 / READ_PERIOD_S:
            theirs.send({"read_s": list(read_s), "queries": len(queries), "failures": list(failures)})
            read_s.clear()
    theirs.send({"read_s": read_s, "queries": len(queries), "failures": failures})


def _query(
    port: int, key: str, until_s: float, on_answer: Callable[[int], None], on_failure: Callable[[str], None]
) -> None:
    path = "/v1/components/arrow-000/measurements?metric=power&every=1d&aggregate=mean,max,count&timezone=Europe/Berlin"
    while time.monotonic() < until_s - QUERY_PERIOD_S:
        time.sleep(QUERY_PERIOD_S)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)  # the server closes idle ones
        try:
            status, text = _get(connection, path, key)
        except (OSError, http.client.HTTPException) as error:
            status, text = 0, repr(error)
        connection.close()
        on_answer(status)
        if status != http.client.OK:
            on_failure(f"an aggregation answered {status} {text[:200]}")


def _get(connection: http.client.HTTPConnection, path: str, key: str) -> tuple[int, str]:
    connection.request("GET", path, headers={"X-API-Key": key})
    response = connection.getresponse()
    return response.status, response.read().decode()


def _glob(service: Service, watched: Watched, until_s: float) -> None:
    """Count the plain files by DuckDB beside everything; a glob holds what was committed before it began or later."""
    while time.monotonic() < until_s - GLOB_PERIOD_S:
        time.sleep(GLOB_PERIOD_S)
        at_least = service.committed_rows()
        time.sleep(GLOB_LAG_S)
        found = _count_plain(service, watched)
        at_most = service.committed_rows()
        watched.globs += 1
        if not at_least <= found <= at_most:
            watched.wrong_globs.append(f"{found:,} rows, not between {at_least:,} and {at_most:,}")


def _count_plain(service: Service, watched: Watched) -> int:
    glob = str(service.data_dir / "lake" / "plain" / "measurements" / "**" / "*.parquet")
    with duckdb.connect() as connection:
        connection.execute("SET threads = 1")
        for _ in range(10):
            try:
                return int(
                    connection.execute("SELECT count(value) FROM read_parquet($glob)", {"glob": glob}).fetchall()[0][0]
                )
            except duckdb.IOException:  # files were exchanged between listing and opening: documented, run again
                watched.globs_repeated += 1
                time.sleep(0.1)
    return -1


def _quarter(values: list[int], number: int) -> float:
    """Return the median of a quarter of the soak, from 0."""
    length = len(values) // 4
    return float(np.median(values[number * length : (number + 1) * length])) if length else float(np.median(values))


def _bounds_meanwhile(watched: Watched, seconds: float, rows_per_s: float) -> list[Bound]:
    failures = [*watched.failures, *(each.failure for each in watched.progress if each.failure)]
    share = watched.total("accepted") / (rows_per_s * seconds)
    p50_s, p99_s = (float(np.quantile(watched.read_s or [np.inf], each)) for each in (0.5, 0.99))
    memory_bytes = [_quarter(watched.memory_bytes, number) for number in (1, 3)]
    growth = memory_bytes[1] / memory_bytes[0] - 1
    descriptors = [_quarter(watched.descriptors, number) for number in (1, 3)]
    most_bytes = max(watched.memory_bytes)
    is_steady = seconds >= STEADY_S
    return [
        Bound(
            bound="every request stored, every receipt as modelled",
            found=failures[0] if failures else "yes",
            limit="yes",
            is_kept=not failures,
        ),
        Bound(
            bound="rows accepted of those planned",
            found=f"{share:.1%}",
            limit=f">= {RATE_LIMIT:.0%}",
            is_kept=share >= RATE_LIMIT if is_steady else None,
        ),
        Bound(
            bound="newest values p99",
            found=f"{p99_s * 1e3:.1f} ms (p50 {p50_s * 1e3:.1f} ms)",
            limit=f"< {NEWEST_P99_LIMIT_S * 1e3:.0f} ms",
            is_kept=p99_s < NEWEST_P99_LIMIT_S if is_steady else None,
        ),
        Bound(
            bound="most resident memory",
            found=f"{most_bytes / 1e6:,.0f} MB",
            limit=f"< {MEMORY_LIMIT_BYTES / 1e6:,.0f} MB",
            is_kept=most_bytes < MEMORY_LIMIT_BYTES,
        ),
        Bound(
            bound="memory growth, second to last quarter",
            found=f"{growth:+.1%}",
            limit=f"<= {GROWTH_LIMIT:.0%}",
            is_kept=growth <= GROWTH_LIMIT if is_steady else None,
        ),
        Bound(
            bound="open descriptors, second and last quarter",
            found=f"{descriptors[0]:.0f}, {descriptors[1]:.0f}",
            limit=f"+{DESCRIPTORS_LIMIT}",
            is_kept=descriptors[1] - descriptors[0] <= DESCRIPTORS_LIMIT,
        ),
        *(
            Bound(
                bound=f"most active files of {table}",
                found=str(count),
                limit=f"<= {FILES_LIMIT}",
                is_kept=count <= FILES_LIMIT,
            )
            for table, count in watched.files.items()
        ),
        Bound(
            bound="plain globs beside compaction",
            found=watched.wrong_globs[0] if watched.wrong_globs else f"{watched.globs} right",
            limit="all right",
            is_kept=not watched.wrong_globs,
        ),
    ]


def _bounds_of_counts(service: Service, watched: Watched) -> list[Bound]:
    accepted, conflicts = watched.total("accepted"), watched.total("conflicts")
    counts = [
        ("rows in Delta = accepted by receipts", service.committed_rows(), accepted),
        ("rows in plain files = accepted by receipts", _count_plain(service, watched), accepted),
        ("conflicts kept as events", sum(service.files("events")["num_records"].to_pylist()), conflicts),
    ]
    return [
        Bound(bound=bound, found=f"{found:,}", limit=f"{wanted:,}", is_kept=found == wanted)
        for bound, found, wanted in counts
    ]
