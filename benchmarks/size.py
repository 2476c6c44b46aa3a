"""Bytes per row on the disk once all is merged, of the same rows in every database."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from benchmarks.comparison import LINE_SERVERS, write_arrow_file
from benchmarks.peers import PeerMissing
from benchmarks.peers.servers import LineServer, start
from benchmarks.peers.tables import NAMES, insert_alone
from benchmarks.results import Results, show_progress
from benchmarks.sending import NEVER_S, Payloads, SendingFailed, Target, send, write_payloads
from benchmarks.service import Service, lake_command, serve
from benchmarks.thin import exchange, request_head
from benchmarks.workload import COMPONENTS, FORMATS, LINES, METRICS, Sender, encode_ndjson

(ONE_FIELD,) = (each for each in FORMATS if each.name == "lines-1-field")
ALL = Sender(prefix="machine", number=0, senders=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What one database needed for the rows."""

    system: str
    sent_as: str
    rows: int
    size_bytes: int
    drops_duplicates: bool
    is_exact: bool


def run_size(results: Results, *, rows: int, work_dir: Path) -> None:
    """Store the same rows everywhere; add the rows to the results."""
    stored: list[Stored] = []
    missing: dict[str, str] = {}
    minutes = max(1, rows // (COMPONENTS * len(METRICS)))
    with _folder(work_dir / "size") as folder:
        bodies = [write_payloads(folder / "bodies", _bodies(minutes), ONE_FIELD.encode)]
        show_progress("size: Gaugehouse")
        stored.append(_store_bodies(folder / "ours", bodies))
        show_progress("size: Gaugehouse, small senders")
        stored.append(_store_small(folder / "small", minutes))
        write_arrow_file(folder / "batches", [ALL], LINES, minutes * COMPONENTS * len(METRICS))
        for title, measure in {
            **{name: lambda name=name: _store_in_table(name, folder) for name in NAMES},
            **{one.title: lambda one=one: _store_in_server(one, folder, bodies) for one in LINE_SERVERS},
        }.items():
            show_progress(f"size: {title}")
            try:
                stored.append(measure())
            except (PeerMissing, SendingFailed) as error:
                missing[title] = str(error)
    ours = stored[0].size_bytes / stored[0].rows
    shown = [_show(each, ours) for each in stored]
    notes = [
        "Gaugehouse: the current Parquet files after `lake compact`, with received_at of every row; the log is empty",
        "others: without anything like received_at; after a forced merge, their log written out",
        "small senders: one JSON request per component and minute, sent as fast as they are taken",
        "at their real pace received_at would have a few bits more",
        *(f"{name} skipped: {why}" for name, why in missing.items()),
    ]
    results.add("size", shown, notes)


@contextmanager
def _folder(path: Path) -> Iterator[Path]:
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _show(stored: Stored, ours_per_row: float) -> dict[str, object]:
    per_row = stored.size_bytes / stored.rows
    return {
        "system": stored.system,
        "sent_as": stored.sent_as,
        "rows": stored.rows,
        "bytes_per_row": per_row,
        "ratio": ours_per_row / per_row,
        "drops_duplicates": stored.drops_duplicates,
        "is_exact": stored.is_exact,
    }


def _bodies(minutes: int) -> Iterator[pa.Table]:
    step = ALL.minutes_per_batch(LINES)
    return (ALL.batch(first, min(step, minutes - first)) for first in range(0, minutes, step))


def _small_requests(key: str, number: int, minutes: int) -> Iterator[tuple[bytes, bool]]:
    """Yield what one component sends: each minute a JSON array of its metrics."""
    rows = encode_ndjson(Sender(prefix=ALL.prefix, number=number, senders=COMPONENTS).batch(0, minutes)).splitlines()
    head = request_head(key, "application/json")
    for first in range(0, len(rows), len(METRICS)):
        body = b"[" + b",".join(rows[first : first + len(METRICS)]) + b"]"
        yield head % len(body) + body, False


def _store_bodies(data_dir: Path, payloads: list[Payloads]) -> Stored:
    with serve(data_dir) as service:
        sent = send(service.target(ONE_FIELD), payloads, seconds=NEVER_S)
        return _stored(service, sent.rows, f"bodies of {LINES:,} lines")


def _store_small(data_dir: Path, minutes: int) -> Stored:
    with serve(data_dir) as service:
        requests = [_small_requests(service.key, number, minutes) for number in range(COMPONENTS)]
        connections, _duration_s = exchange(service.port, requests, seconds=NEVER_S)
        rows = sum(len(each.response_s) for each in connections) * len(METRICS)
        return _stored(service, rows, "4 rows of a component")


def _stored(service: Service, rows: int, sent_as: str) -> Stored:
    lake_command(service, "flush")
    lake_command(service, "compact")
    return Stored(
        system="Gaugehouse",
        sent_as=sent_as,
        rows=rows,
        size_bytes=service.committed_bytes(),
        drops_duplicates=True,
        is_exact=service.committed_rows() == rows,
    )


def _store_in_table(name: str, folder: Path) -> Stored:
    inserted = insert_alone(name, folder / "batches", folder / name)
    return Stored(
        system=inserted.title,
        sent_as=f"batches of {LINES:,} rows",
        rows=inserted.rows,
        size_bytes=inserted.size_bytes,
        drops_duplicates=inserted.drops_duplicates,
        is_exact=inserted.is_exact,
    )


def _store_in_server(server: LineServer, folder: Path, bodies: list[Payloads]) -> Stored:
    with start(server, folder / server.title.replace(" ", "-")) as running:
        target = Target(port=running.port, path=server.write_path, headers={"Content-Type": ONE_FIELD.content_type})
        sent = send(target, bodies, seconds=NEVER_S)
        server.settle(running)
        return Stored(
            system=server.title,
            sent_as=f"bodies of {LINES:,} lines",
            rows=sent.rows,
            size_bytes=running.size_bytes(),
            drops_duplicates=server.drops_duplicates,
            is_exact=server.count(running) == sent.rows,
        )
