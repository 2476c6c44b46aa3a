"""Facts and whole reports beside a plain group-by over the same Parquet files: 400 series, one row a minute each."""

import re
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path

import polars as pl
import pyarrow as pa

from benchmarks.lakes import find_files
from benchmarks.report import ENDLESS_US, GROUP_BY, THREADS, Stock, best, fill_stock, group_plainly, make_pin
from benchmarks.results import Results, show_progress
from gaugehouse.kpi import CATALOGUE, Want
from gaugehouse.lake import open_snapshot
from gaugehouse.measurements.metric import MetricKind
from gaugehouse.measurements.period import bucket_edges_us, explicit_period
from gaugehouse.reports import compute_answer, digest_result, encode_pin
from gaugehouse.reports.compute import iterate_facts, say_nothing
from gaugehouse.reports.pin import Pin

ROWS = 34_560_000  # 400 series x 60 days x 1,440 minutes
MONTH = timedelta(days=30)
CELLS_LIMIT = 2_000_000
PLAIN, MOST, ALL = "facts without quantiles, lines, trend, steps", "all facts but quantiles", "all facts"
MONTH_REPORT, BY_DAY = "a month, every KPI, to JSON", "by day, beside the same report in one bucket"
WANTS = {PLAIN: Want.NOTHING, MOST: Want.LINES | Want.TREND | Want.STEPS, ALL: Want.EVERYTHING}
GOALS = {PLAIN: 1.2, MOST: 2.0, ALL: 4.0, MONTH_REPORT: 5.0, BY_DAY: 2.0}
EVERY_KPI = tuple(name for name, one in CATALOGUE.items() if MetricKind.GAUGE in one.kinds and not one.looks_around)
HIGH_WATER = re.compile(r"VmHWM:\s+(\d+) kB")
GROUP_MONTH = GROUP_BY.replace("GROUP BY ALL", "WHERE measured_at < $end GROUP BY ALL")


def run_facts(results: Results, *, rows: int, work_dir: Path) -> None:
    """Measure facts and reports over one lake; add the rows to the results."""
    show_progress(f"facts: fill a lake with {rows:,} rows")
    stock = fill_stock(rows, work_dir / f"facts-{rows}")
    pin = replace(make_pin(stock, None), kpis={MetricKind.GAUGE: EVERY_KPI})
    files = [str(path) for path in find_files(stock.data_dir)]
    bound: dict[str, object] = {"files": files, "bucket_us": ENDLESS_US}
    whole_s = _time("plain group-by", lambda: group_plainly(GROUP_BY, bound))
    measured = [
        _row(what, _time(what, lambda want=want: _read_facts(stock, pin, want)), whole_s)
        for what, want in WANTS.items()
    ]
    month = _shorten(pin)
    month_s = _time("group-by of a month", lambda: group_plainly(GROUP_MONTH, bound | {"end": month.period.end}))
    measured.append(_row(MONTH_REPORT, _time(MONTH_REPORT, lambda: _report_as_json(stock, month)), month_s))
    by_day = replace(pin, bucket="day", edges_us=bucket_edges_us(pin.period, "day", limit=CELLS_LIMIT))
    report_s, days_s = (_time(BY_DAY, lambda one=one: _answer(stock, one)) for one in (pin, by_day))
    measured.append(_row(BY_DAY, days_s, report_s))
    show_progress("facts: memory of a process that computes a report and nothing else")
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as alone:
        peak_mb = alone.submit(_measure_memory_mb, stock, by_day).result()
    notes = [
        f"{stock.rows:,} rows in {len(files)} files; {THREADS} threads, best of some runs after a first one",
        "plain group-by: count, min, max, avg, stddev_samp by DuckDB over the same files",
        f"every KPI: the {len(EVERY_KPI)} that gauges have",
        f"peak memory of a process that computes the report by day, every KPI: {peak_mb:,.0f} MB",
    ]
    results.add("facts", measured, notes)
    shutil.rmtree(stock.data_dir)


def _row(what: str, taken_s: float, beside_s: float) -> dict[str, object]:
    return {"what": what, "taken_s": taken_s, "beside_s": beside_s, "ratio": taken_s / beside_s, "goal": GOALS[what]}


def _time(what: str, run: Callable[[], object]) -> float:
    show_progress(f"facts: {what}")
    taken_s, _ = best(run)
    return taken_s


def _read_facts(stock: Stock, pin: Pin, want: Want) -> int:
    """Compute the facts of all series, and return how many portions that took."""
    snapshot = open_snapshot(stock.data_dir / "lake", as_of=stock.as_of)
    portions = iterate_facts(
        snapshot, pin, edges_us=pin.edges_us, threads=THREADS, limits=None, on_progress=say_nothing, want=want
    )
    return sum(1 for _ in portions)


def _answer(stock: Stock, pin: Pin) -> pa.Table:
    return compute_answer(open_snapshot(stock.data_dir / "lake", as_of=stock.as_of), pin, threads=THREADS).values


def _report_as_json(stock: Stock, pin: Pin) -> int:
    """Answer a report as its readers get it, digest included, and return the size of the text. [characters]"""
    snapshot = open_snapshot(stock.data_dir / "lake", as_of=stock.as_of)
    answer = compute_answer(snapshot, pin, threads=THREADS)
    digest_result(encode_pin(pin), answer)
    frame = pl.from_arrow(answer.values)
    return len(frame.write_json()) if isinstance(frame, pl.DataFrame) else 0


def _measure_memory_mb(stock: Stock, pin: Pin) -> float:
    """Compute a report, and return the most resident memory that this process has ever had. [MB]

    `ru_maxrss` would not do: a process inherits that of the one which started it.
    """
    _answer(stock, pin)
    return int(HIGH_WATER.findall(Path("/proc/self/status").read_text())[0]) * 1024 / 1e6


def _shorten(pin: Pin) -> Pin:
    """Return the pin of the first month of a report."""
    end = min(pin.period.end, pin.period.start + MONTH)
    period = explicit_period(pin.period.start, end, timezone="UTC")
    return replace(pin, period=period, edges_us=bucket_edges_us(period, None, limit=1))
