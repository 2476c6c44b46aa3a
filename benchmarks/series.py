"""What millions of series cost: memory, a start from the saved index, and the newest value of one and of all."""

import logging
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import structlog

from benchmarks.lakes import PROJECT, open_lake
from benchmarks.results import Results, show_progress
from gaugehouse.measurements.schema import MEASUREMENT_BATCH, TIMESTAMP

METRICS = ["battery_level", "humidity", "temperature"]
COMPONENTS_PER_BATCH = 33_000
ASKED_ONES = 2_000
BEGUN_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
HOUR_US = 3_600_000_000


def run_series(results: Results, *, series: int, work_dir: Path) -> None:
    """Measure a lake of so many series; add the row to the results."""
    notes = [
        f"{len(METRICS)} metrics of each component, components named like device-0001234, one row per series",
        "a process of its own builds the lake; another, that has opened an empty one before, opens it again",
        "memory: what the process is larger by (RSS) once the lake is open, nothing but this included",
        f"newest of one: {ASKED_ONES:,} components at random, as Arrow, without HTTP",
    ]
    components = -(-series // len(METRICS))
    data_dir = work_dir / "series"
    show_progress(f"series: {components * len(METRICS):,}, appended and flushed")
    built = _alone(_build, data_dir, components)
    show_progress("series: opened again")
    results.add("series", [built | _alone(_reopen, data_dir, components)], notes)


def _alone(measure: Callable[[Path, int], dict[str, object]], data_dir: Path, components: int) -> dict[str, object]:
    """Measure in a new process, whose memory is its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=_keep_quiet) as pool:
        return pool.submit(measure, data_dir, components).result()


def _keep_quiet() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))


def _batch(first: int, last: int) -> pa.Table:
    """Return one row of every metric of components first..last, each measured at some time of one hour."""
    count = last - first
    names = pa.array([f"device-{number:07d}" for number in range(first, last)])
    codes = [np.repeat(np.arange(count), len(METRICS)), np.tile(np.arange(len(METRICS)), count)]
    rows = count * len(METRICS)
    random = np.random.default_rng(first)
    instants = pa.array(BEGUN_US + random.integers(0, HOUR_US, rows)).cast(TIMESTAMP)
    values = np.round(random.normal(20, 5, rows), 2)
    return pa.Table.from_arrays(
        [
            pa.DictionaryArray.from_arrays(pa.array(codes[0].astype(np.int32)), names),
            pa.DictionaryArray.from_arrays(pa.array(codes[1].astype(np.int32)), pa.array(METRICS)),
            instants,
            pa.array(values),
            pa.array(np.zeros(rows, np.uint8)),
        ],
        schema=MEASUREMENT_BATCH,
    )


def _build(data_dir: Path, components: int) -> dict[str, object]:
    with open_lake(data_dir, flushes_itself=True) as lake:
        taken_s = []
        for first in range(0, components, COMPONENTS_PER_BATCH):
            batch = _batch(first, min(first + COMPONENTS_PER_BATCH, components))
            begun_s = time.perf_counter()
            lake.append_measurements(PROJECT, batch)
            taken_s.append(time.perf_counter() - begun_s)
        lake.flush()
        begun_s = time.perf_counter()
    return {
        "series": components * len(METRICS),
        "append_s": sum(taken_s),
        "append_p99_s": float(np.quantile(taken_s, 0.99)),
        "close_s": time.perf_counter() - begun_s,
        "index_bytes": sum(path.stat().st_size for path in (data_dir / "log" / "index").iterdir()),
    }


def _reopen(data_dir: Path, components: int) -> dict[str, object]:
    with open_lake(data_dir.with_name("empty"), flushes_itself=True) as lake:  # so that all code is loaded
        lake.append_measurements(PROJECT, _batch(0, 10))
        lake.newest(PROJECT)
    before_bytes = psutil.Process().memory_info().rss
    begun_s = time.perf_counter()
    with open_lake(data_dir, flushes_itself=True) as lake:
        open_s = time.perf_counter() - begun_s
        memory_bytes = psutil.Process().memory_info().rss - before_bytes
        one_s = []
        for number in np.random.default_rng(0).integers(0, components, ASKED_ONES).tolist():
            begun_s = time.perf_counter()
            newest = lake.newest(PROJECT, [f"device-{number:07d}"])
            one_s.append(time.perf_counter() - begun_s)
            assert newest.num_rows == len(METRICS)
        begun_s = time.perf_counter()
        assert lake.newest(PROJECT).num_rows == components * len(METRICS)
        all_s = time.perf_counter() - begun_s
    return {
        "open_s": open_s,
        "bytes_per_series": memory_bytes / (components * len(METRICS)),
        "newest_one_p50_s": float(np.median(one_s)),
        "newest_one_p99_s": float(np.quantile(one_s, 0.99)),
        "newest_all_s": all_s,
    }
