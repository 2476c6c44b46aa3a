"""How long the lake takes to append rows durably and to flush them as one commit, beside plain DuckDB inserts."""

import shutil
import time
from pathlib import Path

import psutil

from benchmarks.baseline import DURABILITY, insert_plainly
from benchmarks.lakes import BATCH_ROWS, fill, find_files, make_batches, open_lake
from benchmarks.results import Results, show_progress


def run_flush(results: Results, *, sizes: list[int], work_dir: Path) -> None:
    """Measure each size on an empty lake; add the rows to the results."""
    notes = [
        f"append: batches of {BATCH_ROWS:,} rows, each fsynced in the log; flush: sort, Parquet, fsync, one commit",
        f"plain insert: the same batches; {DURABILITY}",
    ]
    results.add("flush", [_measure(rows, work_dir) for rows in sizes], notes)


def _measure(rows: int, work_dir: Path) -> dict[str, object]:
    show_progress(f"flush: {rows:,} rows")
    batches = make_batches(rows)
    count = sum(len(batch) for batch in batches)
    data_dir = work_dir / f"flush-{rows}"
    with open_lake(data_dir, flushes_itself=False) as lake:
        append_s = fill(lake, batches)
        begun_s = time.perf_counter()
        lake.flush()
        flush_s = time.perf_counter() - begun_s
        memory_bytes = psutil.Process().memory_info().rss
    file_bytes = sum(path.stat().st_size for path in find_files(data_dir))
    shutil.rmtree(data_dir)
    baseline = insert_plainly(work_dir / "plain.duckdb", batches)
    return {
        "rows": count,
        "append_s": append_s,
        "flush_s": flush_s,
        "flush_rows_per_s": count / flush_s,
        "baseline_s": baseline.duration_s,
        "flush_ratio": flush_s / baseline.duration_s,
        "whole_ratio": (append_s + flush_s) / baseline.duration_s,
        "file_bytes_per_row": file_bytes / count,
        "memory_bytes": memory_bytes,
    }
