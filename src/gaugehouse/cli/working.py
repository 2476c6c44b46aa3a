"""`gaugehouse worker`: computes and delivers reports until it is told to stop."""

import os
import secrets
import select
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType

import structlog

from gaugehouse import __version__
from gaugehouse.config import Layout, Settings
from gaugehouse.database import Database
from gaugehouse.installation import open_database
from gaugehouse.jobs import Ceilings, run_worker
from gaugehouse.kpi import warm_up
from gaugehouse.logs import configure_logs
from gaugehouse.reports import (
    DELIVERY_KIND,
    JOB_KIND,
    RENDER_KIND,
    DeliveryWorker,
    Printer,
    ReportWorker,
    announce_failure,
    end_delivery,
    run_delivery,
    run_rendering,
    run_report,
)
from gaugehouse.tracing import close_tracing, configure_tracing

logger = structlog.get_logger()

PARENT_POLL_S = 0.2
DELIVERY_POLL_S = 2.0


def work_forever(*, data_dir: Path, with_parent: bool) -> None:
    """Run report jobs until SIGTERM, SIGINT or, with a parent, until that one is gone."""
    settings = Settings(data_dir=data_dir)
    layout = Layout(settings.data_dir)
    configure_logs(settings, layout.logs_dir, file_name="worker.log")
    configure_tracing(settings.otlp_endpoint, process="worker", version=__version__)
    stop = threading.Event()

    def leave(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
    parent_watch = threading.Thread(target=_wait_for_parent, args=(stop,), name="parent-watch", daemon=True)
    if with_parent:
        parent_watch.start()
    database = open_database(settings)
    warm_up()  # compiled once per machine: the first report shall not wait for it
    # A name of its own for each start: a lease of an earlier process can never look like ours.
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    logger.info("worker_started", worker=name)
    report_worker = ReportWorker(
        database=database,
        layout=layout,
        threads=settings.worker_threads,
        query_memory_bytes=settings.query_memory_bytes,
    )
    with _delivering(settings, database, name, stop):
        run_worker(
            database,
            {JOB_KIND: partial(run_report, worker=report_worker)},
            worker=name,
            lease_s=settings.lease_s,
            stop=stop,
            on_end=announce_failure,
            ceilings=Ceilings(running=settings.report_jobs, running_per_project=settings.report_jobs_per_project),
        )
    database.dispose()
    if with_parent:
        parent_watch.join()  # DuckDB prints what it calls leaks when a thread is alive while Python ends
    close_tracing()
    logger.info("worker_stopped", worker=name)


@contextmanager
def _delivering(settings: Settings, database: Database, name: str, stop: threading.Event) -> Iterator[None]:
    """Print and deliver beside the computing.

    Who waits for a file must not wait for a long report, nor a report for a receiver that does not answer.
    """
    printer = Printer.from_settings(settings, database)
    worker = DeliveryWorker.from_settings(settings, database, printer)
    common = {"db": database, "lease_s": settings.lease_s, "stop": stop}
    delivering = {
        "handlers": {DELIVERY_KIND: partial(run_delivery, worker=worker)},
        "worker": f"{name}-delivering",
        "poll_s": DELIVERY_POLL_S,
        "on_end": end_delivery,
    }
    printing = {"handlers": {RENDER_KIND: partial(run_rendering, printer=printer)}, "worker": f"{name}-printing"}
    threads = [
        threading.Thread(target=run_worker, kwargs={**common, **options}, name=str(options["worker"]))
        for options in (delivering, printing)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _wait_for_parent(stop: threading.Event) -> None:
    """Stop when standard input closes: the kernel closes it whichever way the parent ends."""
    while not stop.is_set():
        readable, _, _ = select.select([sys.stdin], [], [], PARENT_POLL_S)
        if readable and not os.read(sys.stdin.fileno(), 1024):
            stop.set()
