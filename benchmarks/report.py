"""A report computed as its job does it, beside a plain DuckDB group-by over the same Parquet files."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from benchmarks.lakes import PROJECT, SENDER, fill, find_files, make_batches, open_lake
from benchmarks.results import Results, show_progress
from benchmarks.workload import FIRST_MINUTE_US, METRICS, MINUTE_US
from gaugehouse.lake import open_snapshot
from gaugehouse.measurements.metric import MetricAttributes, MetricKind
from gaugehouse.measurements.period import bucket_edges_us, explicit_period
from gaugehouse.measurements.selection import from_epoch_us
from gaugehouse.reports.compute import compute_report
from gaugehouse.reports.pin import Pin, PinnedComponent, PinnedSeries

KPIS = (
    *("count", "min", "max", "mean", "std", "median", "p05", "p95", "first", "last", "change"),
    *("time_weighted_mean", "completeness", "coverage"),
)
THREADS = 2
RUNS = 3
CELLS_LIMIT = 2_000_000
GROUP_BY = """
    SELECT component, metric, time_bucket(to_microseconds($bucket_us), measured_at) AS bucket_start,
           count(value), min(value), max(value), avg(value), stddev_samp(value)
    FROM read_parquet($files)
    GROUP BY ALL
"""
GROUP_BY_WITH_QUANTILES = GROUP_BY.replace(
    "stddev_samp(value)", "stddev_samp(value), quantile_cont(value, [0.05, 0.5, 0.95])"
)
DAY_US = 86_400_000_000
ENDLESS_US = 36_500 * DAY_US
ATTRIBUTES = MetricAttributes(kind=MetricKind.GAUGE, nominal_interval_s=60.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """A closed lake with rows in it."""

    data_dir: Path
    rows: int
    minutes: int
    as_of: datetime


def run_report(results: Results, *, sizes: list[int], work_dir: Path) -> None:
    """Measure each size, as one bucket and by day; add the rows to the results."""
    measured = []
    for rows in sizes:
        show_progress(f"report: fill a lake with {rows:,} rows")
        stock = fill_stock(rows, work_dir / f"report-{rows}")
        measured += [_measure(stock, bucket) for bucket in (None, "day")]
        shutil.rmtree(stock.data_dir)
    notes = [
        f"report: {', '.join(KPIS)}; read from the files at the pin, {THREADS} threads, best of {RUNS}",
        f"plain group-by: count, min, max, avg, stddev_samp by DuckDB, {THREADS} threads, best of {RUNS}",
        "the report sums in a fixed order and compensates (any number of threads: the same digits); DuckDB does not",
    ]
    results.add("report", measured, notes)


def fill_stock(rows: int, data_dir: Path) -> Stock:
    """Return a closed lake with these many rows of the workload."""
    batches = make_batches(rows)
    count = sum(len(batch) for batch in batches)
    with open_lake(data_dir, flushes_itself=True) as lake:
        fill(lake, batches)
        lake.flush()
        as_of = lake.newest_received_at()
    if as_of is None:
        raise SystemExit("the lake says it has received nothing")
    return Stock(data_dir=data_dir, rows=count, minutes=count // (len(SENDER.components) * len(METRICS)), as_of=as_of)


def _measure(stock: Stock, bucket: str | None) -> dict[str, object]:
    show_progress(f"report: {stock.rows:,} rows by {bucket or 'period'}")
    pin = make_pin(stock, bucket)
    report_s, result = best(lambda: _compute(stock, pin))
    counted = sum(row["value"] for row in result.to_pylist() if row["kpi"] == "count")
    if counted != stock.rows:
        raise SystemExit(f"the report counted {counted} of {stock.rows} rows")
    files = [str(path) for path in find_files(stock.data_dir)]
    bound = {"files": files, "bucket_us": DAY_US if bucket else ENDLESS_US}
    baseline_s, _ = best(lambda: group_plainly(GROUP_BY, bound))
    quantiles_s, _ = best(lambda: group_plainly(GROUP_BY_WITH_QUANTILES, bound))
    return {
        "rows": stock.rows,
        "bucket": bucket or "period",
        "files": len(files),
        "series": len(pin.series),
        "values": len(result),
        "report_s": report_s,
        "baseline_s": baseline_s,
        "ratio": report_s / baseline_s,
        "quantiles_s": quantiles_s,
        "quantiles_ratio": report_s / quantiles_s,
    }


def make_pin(stock: Stock, bucket: str | None) -> Pin:
    """Return the pin of a report over all rows of a stock."""
    start = from_epoch_us(FIRST_MINUTE_US)
    end = from_epoch_us(FIRST_MINUTE_US + stock.minutes * MINUTE_US)
    period = explicit_period(start, end, timezone="UTC")
    return Pin(
        project=PROJECT,
        as_of=stock.as_of,
        asked_at=stock.as_of,
        period=period,
        bucket=bucket,
        edges_us=bucket_edges_us(period, bucket, limit=CELLS_LIMIT),
        components=tuple(PinnedComponent(name=name, labels={}) for name in sorted(SENDER.components)),
        series=tuple(
            PinnedSeries(component=name, metric=metric, attributes=ATTRIBUTES)
            for name in sorted(SENDER.components)
            for metric in sorted(METRICS)
        ),
        kpis={MetricKind.GAUGE: KPIS},
        catalogue_version="benchmark",
        tzdata_version="benchmark",
        code_version="benchmark",
    )


def _compute(stock: Stock, pin: Pin) -> pa.Table:
    return compute_report(open_snapshot(stock.data_dir / "lake", as_of=stock.as_of), pin, threads=THREADS)


def group_plainly(statement: str, bound: dict[str, object]) -> pa.Table:
    """Run a group-by with a fresh DuckDB."""
    with duckdb.connect() as connection:
        connection.execute(f"SET threads = {THREADS:d}")
        return connection.sql(statement, params=bound).to_arrow_table()


def best(run: Callable[[], pa.Table]) -> tuple[float, pa.Table]:
    """Return the shortest of some runs [s], after one that compiles and fills caches, and what it gave."""
    result = run()
    durations_s = []
    for _ in range(RUNS):
        begun_s = time.perf_counter()
        result = run()
        durations_s.append(time.perf_counter() - begun_s)
    return min(durations_s), result
