"""Facts and whole reports beside a plain group-by over the same Parquet files: 400 series, one row a minute each."""

import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa

from benchmarks.lakes import find_files
from benchmarks.report import DAY_US, ENDLESS_US, GROUP_BY, THREADS, Stock, best, fill_stock, group_plainly, make_pin
from benchmarks.results import Results, show_progress
from gaugehouse.kpi import CATALOGUE, Want
from gaugehouse.lake import open_snapshot
from gaugehouse.measurements.metric import MetricKind
from gaugehouse.measurements.period import bucket_edges_us, explicit_period
from gaugehouse.measurements.selection import from_epoch_us, to_epoch_us
from gaugehouse.reports import digest_result, encode_pin
from gaugehouse.reports.compute import compute_answer, iterate_facts, say_nothing
from gaugehouse.reports.pin import Pin

ROWS = 34_560_000  # 400 series x 60 days x 1,440 minutes
MONTH_DAYS = 30
CELLS_LIMIT = 2_000_000
PLAIN, SOME, MOST, MONTH = (
    "facts without lines, trend, steps, quantiles",
    "all facts but quantiles",
    "all facts",
    "a month, every KPI, to JSON",
)
WANTS = {PLAIN: Want.NOTHING, SOME: Want.LINES | Want.TREND | Want.STEPS, MOST: Want.EVERYTHING & ~Want.LATE}
GOALS = {PLAIN: 1.2, SOME: 2.0, MOST: 4.0, MONTH: 5.0}
EVERY_KPI = tuple(name for name, one in CATALOGUE.items() if MetricKind.GAUGE in one.kinds and one.is_of_metric)


def run_facts(results: Results, *, rows: int, work_dir: Path) -> None:
    """Measure facts and reports over one lake; add the rows to the results."""
    show_progress(f"facts: fill a lake with {rows:,} rows")
    stock = fill_stock(rows, work_dir / f"facts-{rows}")
    pin = make_pin(stock, None)
    files = [str(path) for path in find_files(stock.data_dir)]
    whole_s, _ = best(lambda: group_plainly(GROUP_BY, {"files": files, "bucket_us": ENDLESS_US}))
    measured = [_row(what, _time(lambda want=want: _read_facts(stock, pin, want)), whole_s, stock.rows) for what, want in WANTS.items()]
    month = _first_days(pin, MONTH_DAYS, None)
    month_files = {"files": files, "bucket_us": ENDLESS_US, "end": month.period.end}
    month_s, _ = best(lambda: group_plainly(GROUP_BY_TO, month_files))
    measured.append(_row(MONTH, _time(lambda: _report_as_json(stock, month)), month_s, stock.rows))
    period_s = _time(lambda: compute_answer(_open(stock), pin, threads=THREADS).values)
    days_s = _time(lambda: compute_answer(_open(stock), _first_days(pin, None, "day"), threads=THREADS).values)
    measured.append(_row("the same report by day, beside it in one bucket", days_s, period_s, stock.rows) | {"goal": 2.0})
    results.add("facts", measured, [f"{THREADS} threads, best of some runs; peak memory {_peak_bytes(stock) / 1e6:,.0f} MB"])
    shutil.rmtree(stock.data_dir)
