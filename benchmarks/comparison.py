"""The same rows to other databases in the same run, each with what its acknowledgement is worth.

Line protocol: the same bodies over as many connections to VictoriaMetrics and InfluxDB. Arrow: the same batches
inserted into ClickHouse, DuckDB and SQLite in their own processes, without any HTTP.
"""

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa

from benchmarks.peers import Acknowledged, PeerMissing
from benchmarks.peers.influxdb import InfluxDB
from benchmarks.peers.servers import LineServer, start
from benchmarks.peers.tables import NAMES, insert_alone
from benchmarks.peers.victoria_metrics import VictoriaMetrics
from benchmarks.results import Results, show_progress
from benchmarks.sending import SendingFailed, Target, prepare, send, warm_up
from benchmarks.workload import FORMATS, Format, Sender

LINE_SERVERS: tuple[LineServer, ...] = (VictoriaMetrics(), InfluxDB())
ROWS_PER_S = 3_000_000  # what batches are prepared for
MOST_ROWS = 60_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What one database did with one format.

    Args:
        acknowledged: Where rows were when their sender was told so.
        ratio: Gaugehouse's rows per second by this one's. [1]
        sender_cpu_s: Processor time of the sending process; None where it is the database's. [s]
        cpu_s: Processor time of the database. [s]
        is_exact: It held every acknowledged row afterwards, and no more.
    """

    format: str
    system: str
    acknowledged: str
    drops_duplicates: bool
    rows_per_s: float
    ratio: float | None = None
    seconds: float
    response_p50_s: float | None = None
    response_p99_s: float | None = None
    sender_cpu_s: float | None = None
    cpu_s: float
    memory_bytes: int | None = None
    is_exact: bool


def run_comparison(results: Results, *, seconds: float, connections: int, formats: list[str], work_dir: Path) -> None:
    """Measure peers for those formats that they take and that this run has measured; add the rows to the results."""
    ours = {str(row["format"]): row for row in results.rows("ingest")}
    compared: list[Compared] = []
    missing: dict[str, str] = {}
    for each in [each for each in FORMATS if each.name in formats]:
        if each.is_lines:
            measures = {one.title: _line_measure(one, each, seconds, connections) for one in LINE_SERVERS}
        elif each.name == "arrow":
            batches = _write_batches(each, seconds, connections, work_dir)
            measures = {name: _table_measure(name, each, seconds, batches) for name in NAMES}
        else:
            continue
        own = _ours(ours[each.name])
        compared.append(own)
        for title, measure in measures.items():
            show_progress(f"{each.name}: {title}")
            folder = work_dir / f"peer-{each.name}-{title.replace(' ', '-')}"
            try:
                found = measure(folder)
            except (PeerMissing, SendingFailed) as error:
                missing[title] = str(error)
                continue
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            compared.append(_with_ratio(found, own))
    if compared or missing:
        results.add("peers", [asdict(row) for row in compared], _notes(missing, connections))


def _notes(missing: dict[str, str], connections: int) -> list[str]:
    return [
        f"line protocol: the same bodies over {connections} connections to each",
        "arrow: over HTTP to Gaugehouse; the others take the same batches inside their process, with all processors",
        "acknowledged in memory or page cache: the newest rows are lost when the machine fails",
        *(f"{name} skipped: {why}" for name, why in missing.items()),
    ]


def _ours(row: dict[str, object]) -> Compared:
    return Compared(
        format=str(row["format"]),
        system="Gaugehouse",
        acknowledged=Acknowledged.FSYNC,
        drops_duplicates=True,
        rows_per_s=float(str(row["rows_per_s"])),
        ratio=1.0,
        seconds=float(str(row["seconds"])),
        response_p50_s=float(str(row["response_p50_s"])),
        response_p99_s=float(str(row["response_p99_s"])),
        sender_cpu_s=float(str(row["sender_cpu_s"])),
        cpu_s=float(str(row["server_cpu_s"])),
        memory_bytes=int(str(row["server_memory_bytes"])),
        is_exact=bool(row["is_exact"]),
    )


def _with_ratio(found: Compared, own: Compared) -> Compared:
    return Compared(**{**asdict(found), "ratio": own.rows_per_s / found.rows_per_s})


def _line_measure(server: LineServer, each: Format, seconds: float, connections: int) -> Callable[[Path], Compared]:
    def measure(folder: Path) -> Compared:
        senders = [Sender(prefix=each.name, number=number, senders=connections) for number in range(connections)]
        payload_dir = folder / "payloads"
        payload_dir.mkdir(parents=True)
        with start(server, folder) as running:
            target = Target(port=running.port, path=server.write_path, headers={"Content-Type": each.content_type})
            warm_rows, requests, wanted = warm_up(target, each, senders, payload_dir, seconds)
            payloads = prepare(each, senders, wanted, payload_dir, first_request=requests)
            cpu_s = running.cpu_s()
            sent = send(target, payloads, seconds=seconds)
            return Compared(
                format=each.name,
                system=server.title,
                acknowledged=server.acknowledged,
                drops_duplicates=server.drops_duplicates,
                rows_per_s=sent.rows_per_s,
                seconds=sent.duration_s,
                response_p50_s=sent.response(0.50),
                response_p99_s=sent.response(0.99),
                sender_cpu_s=sent.sender_cpu_s,
                cpu_s=running.cpu_s() - cpu_s,
                memory_bytes=running.memory_bytes(),
                is_exact=server.count(running) == warm_rows + sent.rows,
            )

    return measure


def _table_measure(name: str, each: Format, seconds: float, batches_path: Path) -> Callable[[Path], Compared]:
    def measure(folder: Path) -> Compared:
        inserted = insert_alone(name, batches_path, folder, seconds=seconds)
        return Compared(
            format=each.name,
            system=inserted.title,
            acknowledged=inserted.acknowledged,
            drops_duplicates=inserted.drops_duplicates,
            rows_per_s=inserted.rows_per_s,
            seconds=inserted.duration_s,
            cpu_s=inserted.cpu_s,
            is_exact=inserted.is_exact,
        )

    return measure


def _write_batches(each: Format, seconds: float, connections: int, work_dir: Path) -> Path:
    """Write the batches of all senders, turn by turn, as one Arrow file."""
    senders = [Sender(prefix=each.name, number=number, senders=connections) for number in range(connections)]
    path = work_dir / "batches.arrow"
    write_arrow_file(path, senders, each.rows, min(MOST_ROWS, int(seconds * ROWS_PER_S)))
    return path


def write_arrow_file(path: Path, senders: list[Sender], batch_rows: int, rows: int) -> None:
    """Write the senders' batches, turn by turn, as one Arrow file. Its names are the same in all batches."""
    minutes = senders[0].minutes_per_batch(batch_rows)
    components = [name for sender in senders for name in sender.components]
    first = senders[0].batch(0, 1)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, first.schema) as writer:
        for number in range(max(len(senders), rows // batch_rows)):
            batch = senders[number % len(senders)].batch(number // len(senders) * minutes, minutes)
            writer.write_table(_with_names(batch, components))


def _with_names(batch: pa.Table, components: list[str]) -> pa.Table:
    """Return a batch whose dictionary is that of all senders: an Arrow file cannot replace one."""
    (chunk,) = batch["component"].chunks
    codes = pa.array([components.index(name) for name in chunk.dictionary.to_pylist()], pa.int32())
    column = pa.DictionaryArray.from_arrays(codes.take(chunk.indices), pa.array(components))
    return batch.set_column(0, "component", column)
