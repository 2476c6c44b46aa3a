"""A year of old rows, sent as Arrow into a lake whose series all have newer rows: every row of it is late."""

import shutil
from pathlib import Path

from benchmarks.ingest import drain, run_ingest
from benchmarks.results import Results, show_progress
from benchmarks.sending import NEVER_S, Payloads, Sent, send, write_payloads
from benchmarks.service import Service, serve
from benchmarks.workload import COMPONENTS, FORMATS, METRICS, Sender

YEAR_MINUTES = 366 * 1440  # 2020, the workload's first year
LATER_MINUTE = 3 * YEAR_MINUTES  # the lake is full of rows from here on
LATER_ROWS = 10_000_000
(ARROW,) = (each for each in FORMATS if each.name == "arrow")


def run_backfill(results: Results, *, seconds: float, connections: int, work_dir: Path) -> None:
    """Measure the year, thinned so that it fits into `seconds` of the Arrow rate; add the row to the results."""
    arrow = [row for row in results.rows("ingest") if row["format"] == "arrow"]
    if not arrow:
        run_ingest(results, seconds=seconds, connections=connections, formats=["arrow"], work_dir=work_dir)
        arrow = results.rows("ingest")
    rate, settled_rate = (float(str(arrow[0][name])) for name in ("rows_per_s", "settled_rows_per_s"))
    every_minutes = max(1, round(YEAR_MINUTES * COMPONENTS * len(METRICS) / (rate * seconds)))
    data_dir, payload_dir = work_dir / "data-backfill", work_dir / "payloads-backfill"
    payload_dir.mkdir()
    senders = [Sender(prefix="machine", number=number, senders=connections) for number in range(connections)]
    try:
        with serve(data_dir) as service:
            full = send(service.target(ARROW), _later(senders, payload_dir), seconds=NEVER_S)
            show_progress(f"backfill: prepare a year, one row each {every_minutes} minutes")
            year = [_year(sender, every_minutes, payload_dir) for sender in senders]
            drain(service, full.rows)
            show_progress("backfill: send the year")
            cpu_s = service.cpu_s()
            sent = send(service.target(ARROW), year, seconds=NEVER_S)
            cpu_s = service.cpu_s() - cpu_s
            row = _row(service, sent, full.rows, rate, settled_rate) | {"server_cpu_s": cpu_s}
    finally:
        shutil.rmtree(payload_dir, ignore_errors=True)
        shutil.rmtree(data_dir, ignore_errors=True)
    notes = [
        f"{full.rows:,} rows of a later year were in the files before; then 2020, a row each {every_minutes} minutes",
        "acknowledged as in ingest: fsynced, every key compared with everything stored",
    ]
    results.add("backfill", [row], notes)


def _later(senders: list[Sender], folder: Path) -> list[Payloads]:
    minutes = senders[0].minutes_per_batch(ARROW.rows)
    requests = LATER_ROWS // (ARROW.rows * len(senders))
    return [
        write_payloads(
            folder / f"later-{sender.number}",
            (sender.batch(LATER_MINUTE + request * minutes, minutes) for request in range(requests)),
            ARROW.encode,
        )
        for sender in senders
    ]


def _year(sender: Sender, every_minutes: int, folder: Path) -> Payloads:
    minutes = sender.minutes_per_batch(ARROW.rows)
    span = minutes * every_minutes
    batches = (
        sender.batch(first, min(minutes, (YEAR_MINUTES - first) // every_minutes), every_minutes=every_minutes)
        for first in range(0, YEAR_MINUTES - every_minutes + 1, span)
    )
    return write_payloads(folder / f"year-{sender.number}", batches, ARROW.encode)


def _row(
    service: Service, sent: Sent, before: int, arrow_rows_per_s: float, arrow_settled_rows_per_s: float
) -> dict[str, object]:
    rows_behind = before + sent.rows - service.committed_rows()
    memory_bytes = service.memory_bytes()
    drain_s, is_exact = drain(service, before + sent.rows)
    settled_rows_per_s = sent.rows / (sent.duration_s + drain_s)
    return {
        "rows": sent.rows,
        "rows_per_s": sent.rows_per_s,
        "ratio": sent.rows_per_s / arrow_rows_per_s,
        "arrow_rows_per_s": arrow_rows_per_s,
        "settled_rows_per_s": settled_rows_per_s,
        "settled_ratio": settled_rows_per_s / arrow_settled_rows_per_s,
        "months": 12,
        "seconds": sent.duration_s,
        "late": sent.late,
        "response_p50_s": sent.response(0.50),
        "response_p99_s": sent.response(0.99),
        "sender_cpu_s": sent.sender_cpu_s,
        "server_memory_bytes": memory_bytes,
        "rows_behind": rows_behind,
        "drain_s": drain_s,
        "retries": sent.retries,
        "is_exact": is_exact,
    }
