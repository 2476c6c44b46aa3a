"""Bytes per row on the disk once all is merged, of the same rows in every database."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow as pa

from benchmarks.comparison import LINE_SERVERS, write_arrow_file
from benchmarks.lakes import PROJECT, open_lake, with_quality
from benchmarks.peers import PeerMissing
from benchmarks.peers.servers import LineServer, start
from benchmarks.peers.tables import NAMES, insert_alone
from benchmarks.results import Results, show_progress
from benchmarks.sending import NEVER_S, Payloads, SendingFailed, Target, send, write_payloads
from benchmarks.service import current_files, lake_command, serve
from benchmarks.workload import COMPONENTS, FIRST_MINUTE_US, FORMATS, LINES, METRICS, MINUTE_US, Sender

(ONE_FIELD,) = (each for each in FORMATS if each.name == "lines-1-field")
JITTER_US = 20_000  # of a sender that means to send each minute at the same second
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
        "small senders: 4 rows per component and minute, received at its own second of the minute, within 20 ms",
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


def _store_bodies(data_dir: Path, payloads: list[Payloads]) -> Stored:
    with serve(data_dir) as service:
        sent = send(service.target(ONE_FIELD), payloads, seconds=NEVER_S)
        lake_command(service, "flush")
        lake_command(service, "compact")
        return _stored(data_dir, sent.rows, f"bodies of {LINES:,} lines")


@dataclass(slots=True, kw_only=True)
class _Clock:
    """The lake's clock, as slow as real senders would make it. [us since 1970]"""

    now_us: int = 0

    def read(self) -> int:
        return self.now_us


def _store_small(data_dir: Path, minutes: int) -> Stored:
    """Append what each component sends by itself: each minute its metrics, at its own second.

    In this process and with a clock of its own: sent as fast as possible, deliveries would share `received_at`, which
    is most of what the rows of small senders cost.
    """
    draw = np.random.default_rng(0)
    phases_us = np.sort(draw.integers(0, MINUTE_US, COMPONENTS))
    clock = _Clock()
    rows = with_quality(ALL.batch(0, minutes))
    with patch("gaugehouse.lake.sequencer.now_us", clock.read), open_lake(data_dir, flushes_itself=True) as lake:
        for minute in range(minutes):
            late_us = draw.integers(0, JITTER_US, COMPONENTS)
            arrivals_us = (FIRST_MINUTE_US + minute * MINUTE_US + phases_us + late_us).tolist()
            for number, clock.now_us in enumerate(arrivals_us):
                first = (minute * COMPONENTS + number) * len(METRICS)
                lake.append_measurements(PROJECT, rows.slice(first, len(METRICS)))
        lake.flush()
        lake.compact()
    return _stored(data_dir, len(rows), "4 rows of a component")


def _stored(data_dir: Path, rows: int, sent_as: str) -> Stored:
    files = current_files(data_dir)
    return Stored(
        system="Gaugehouse",
        sent_as=sent_as,
        rows=rows,
        size_bytes=sum(files["size_bytes"].to_pylist()),
        drops_duplicates=True,
        is_exact=sum(files["num_records"].to_pylist()) == rows,
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
