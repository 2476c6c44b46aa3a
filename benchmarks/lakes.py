"""Lakes filled in this process with the workload's rows, for what needs no server."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.workload import Sender
from gaugehouse.config import Layout, Settings
from gaugehouse.lake import Lake
from gaugehouse.measurements.schema import MEASUREMENT_BATCH

PROJECT = "default"
BATCH_ROWS = 50_000
NEVER_S = 1e9
UNLIMITED_BYTES = 2**40
SENDER = Sender(prefix="machine", number=0, senders=1)


def make_batches(rows: int) -> list[pa.Table]:
    """Return the workload's first `rows` rows as MEASUREMENT_BATCH tables."""
    minutes = SENDER.minutes_per_batch(BATCH_ROWS)
    batches = [SENDER.batch(turn * minutes, minutes) for turn in range(-(-rows // BATCH_ROWS))]
    return [with_quality(batch) for batch in batches]


def with_quality(batch: pa.Table) -> pa.Table:
    """Return a batch of the workload as a MEASUREMENT_BATCH table."""
    return pa.Table.from_arrays(
        [*batch.columns, pa.array(np.zeros(len(batch), dtype=np.uint8))], schema=MEASUREMENT_BATCH
    )


@contextmanager
def open_lake(data_dir: Path, *, flushes_itself: bool) -> Iterator[Lake]:
    """Open an empty lake; without `flushes_itself` all rows stay in one segment until `flush` is called."""
    held = {} if flushes_itself else {"segment_age_s": NEVER_S, "segment_size_bytes": UNLIMITED_BYTES}
    settings = Settings.model_validate({"data_dir": data_dir, "unflushed_limit_bytes": UNLIMITED_BYTES, **held})
    lake = Lake.open(Layout(data_dir), settings)
    try:
        yield lake
    finally:
        lake.close()


def fill(lake: Lake, batches: list[pa.Table]) -> float:
    """Append every batch and return how long that took. [s]"""
    begun_s = time.perf_counter()
    for batch in batches:
        lake.append_measurements(PROJECT, batch)
    return time.perf_counter() - begun_s


def find_files(data_dir: Path) -> list[Path]:
    """Return the Parquet files of the measurements; the lake must be flushed and not yet compacted."""
    return sorted((data_dir / "lake" / "measurements").rglob("*.parquet"))
