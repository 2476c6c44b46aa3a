"""`python -m benchmarks [PART]`: measure one part or all, print tables, keep JSON in benchmarks/results/."""

import argparse
import logging
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import structlog

from benchmarks.backfill import run_backfill
from benchmarks.comparison import run_comparison
from benchmarks.facts import ROWS, run_facts
from benchmarks.fleet import run_fleet
from benchmarks.flush import run_flush
from benchmarks.ingest import run_ingest
from benchmarks.live import run_live
from benchmarks.report import run_report
from benchmarks.results import Results, console, describe_machine
from benchmarks.series import run_series
from benchmarks.size import run_size
from benchmarks.small import run_small
from benchmarks.soak import ROWS_PER_S, run_soak
from benchmarks.workload import FORMATS

PARTS = ("ingest", "peers", "backfill", "small", "live", "size", "flush", "report", "facts", "series", "fleet")
MILLION = 1_000_000
FLEET_SINGLES = 50_000  # statuses of one device each
SMALL_CONNECTIONS = 64  # of senders of single rows


def read_arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "part", nargs="?", choices=[*(part for part in PARTS if part != "peers"), "soak", "all"], default="all"
    )
    parser.add_argument("--seconds", type=float, default=60, help="sending time per format [s]")
    parser.add_argument("--connections", type=int, default=4, help="concurrent senders")
    parser.add_argument("--format", action="append", choices=[each.name for each in FORMATS], help="only these formats")
    parser.add_argument(
        "--rows", action="append", type=int, help="rows of size, flush and report (default 1 M and 10 M)"
    )
    parser.add_argument("--no-peers", action="store_true", help="ingest: only beside plain DuckDB inserts")
    parser.add_argument("--series", type=int, default=3 * MILLION, help="how many series (default 3 M)")
    parser.add_argument("--devices", type=int, default=MILLION, help="how large a fleet (default 1 M)")
    parser.add_argument("--rate", type=float, default=ROWS_PER_S, help="soak: rows per second (default 30,000)")
    parser.add_argument("--dir", type=Path, help="where to work; must be a real disk (default: the temporary folder)")
    return parser.parse_args()


def _runs(arguments: argparse.Namespace, results: Results, work_dir: Path) -> dict[str, Callable[[], object]]:
    """Return what each part runs; False means that a bound was missed."""
    sizes = arguments.rows or [MILLION, 10 * MILLION]
    sending = {"seconds": arguments.seconds, "connections": arguments.connections, "work_dir": work_dir}
    formats = arguments.format or [each.name for each in FORMATS]
    small = sending | {"connections": SMALL_CONNECTIONS}
    return {
        "ingest": lambda: run_ingest(results, **sending, formats=formats),
        "peers": lambda: arguments.no_peers or run_comparison(results, **sending, formats=formats),
        "backfill": lambda: run_backfill(results, **sending),
        "small": lambda: run_small(results, **small),
        "live": lambda: run_live(results, **small),
        "facts": lambda: run_facts(results, rows=min(arguments.rows or [ROWS]), work_dir=work_dir),
        "size": lambda: run_size(results, rows=min(sizes), work_dir=work_dir),
        "flush": lambda: run_flush(results, sizes=sizes, work_dir=work_dir),
        "report": lambda: run_report(results, sizes=sizes, work_dir=work_dir),
        "series": lambda: run_series(results, series=arguments.series, work_dir=work_dir),
        "fleet": lambda: run_fleet(results, devices=arguments.devices, singles=FLEET_SINGLES, work_dir=work_dir),
        "soak": lambda: run_soak(results, seconds=arguments.seconds, rows_per_s=arguments.rate, work_dir=work_dir),
    }


def main() -> None:
    """Run the chosen parts."""
    arguments = read_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # the server and the folder shall go, too
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    parts = {"all": PARTS, "ingest": ("ingest", "peers")}.get(arguments.part, (arguments.part,))
    with tempfile.TemporaryDirectory(prefix="gaugehouse-bench-", dir=arguments.dir) as folder:
        work_dir = Path(folder)
        results = Results(work_dir=work_dir)
        machine = describe_machine(work_dir)
        console.print(
            f"[bold]gaugehouse benchmarks[/bold]  {machine['processors']} processors, {machine['file_system']}, "
            f"load {machine['load_1min']:.1f}, commit {machine['commit']}\n"
        )
        try:
            runs = _runs(arguments, results, work_dir)
            outcomes = [runs[part]() for part in parts]
        finally:  # what was measured before an interruption is kept
            path = results.save()
    console.print(f"kept as {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
    if False in outcomes:
        sys.exit("a bound was missed")


if __name__ == "__main__":
    main()
