"""`python -m benchmarks [ingest|small|flush|report|series|all]`: measure, keep JSON in benchmarks/results/."""

import argparse
import logging
import signal
import sys
import tempfile
from pathlib import Path

import structlog

from benchmarks.flush import run_flush
from benchmarks.ingest import run_ingest
from benchmarks.report import run_report
from benchmarks.results import Results, console, describe_machine
from benchmarks.series import run_series
from benchmarks.small import run_small
from benchmarks.workload import FORMATS

PARTS = ("ingest", "small", "flush", "report", "series")
MILLION = 1_000_000
SMALL_CONNECTIONS = 64  # of senders of single rows


def read_arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("part", nargs="?", choices=[*PARTS, "all"], default="all")
    parser.add_argument("--seconds", type=float, default=60, help="sending time per format [s]")
    parser.add_argument("--connections", type=int, default=4, help="concurrent senders")
    parser.add_argument("--format", action="append", choices=[each.name for each in FORMATS], help="only these formats")
    parser.add_argument("--rows", action="append", type=int, help="rows of flush and report (default 1 M and 10 M)")
    parser.add_argument("--series", type=int, default=3 * MILLION, help="how many series (default 3 M)")
    parser.add_argument("--dir", type=Path, help="where to work; must be a real disk (default: the temporary folder)")
    return parser.parse_args()


def main() -> None:
    """Run the chosen parts."""
    arguments = read_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # the server and the folder shall go, too
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    parts = PARTS if arguments.part == "all" else (arguments.part,)
    with tempfile.TemporaryDirectory(prefix="gaugehouse-bench-", dir=arguments.dir) as folder:
        work_dir = Path(folder)
        results = Results(work_dir=work_dir)
        machine = describe_machine(work_dir)
        console.print(
            f"[bold]gaugehouse benchmarks[/bold]  {machine['processors']} processors, {machine['file_system']}, "
            f"load {machine['load_1min']:.1f}, commit {machine['commit']}\n"
        )
        try:
            if "ingest" in parts:
                formats = arguments.format or [each.name for each in FORMATS]
                run_ingest(
                    results,
                    seconds=arguments.seconds,
                    connections=arguments.connections,
                    formats=formats,
                    work_dir=work_dir,
                )
            if "small" in parts:
                run_small(results, seconds=arguments.seconds, connections=SMALL_CONNECTIONS, work_dir=work_dir)
            sizes = arguments.rows or [MILLION, 10 * MILLION]
            if "flush" in parts:
                run_flush(results, sizes=sizes, work_dir=work_dir)
            if "report" in parts:
                run_report(results, sizes=sizes, work_dir=work_dir)
            if "series" in parts:
                run_series(results, series=arguments.series, work_dir=work_dir)
        finally:  # what was measured before an interruption is kept
            path = results.save()
    console.print(f"kept as {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")


if __name__ == "__main__":
    main()
