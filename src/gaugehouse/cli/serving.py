"""`gaugehouse serve`: one process that owns the lake, answers HTTP and keeps its worker alive."""

import gc
import ipaddress
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import structlog
import uvicorn
from prometheus_client import start_http_server

from gaugehouse import __version__
from gaugehouse.access import ensure_demo_users, has_users
from gaugehouse.cli.progress import Report, progress_bar
from gaugehouse.cli.supervising import Worker
from gaugehouse.config import Layout, Settings
from gaugehouse.demo.fleet import FleetPlan
from gaugehouse.demo.host import HostCollector, HostSampler
from gaugehouse.demo.load import load_first_fleet, register_host
from gaugehouse.errors import GaugehouseError, StartRefused
from gaugehouse.jobs import keep_ticking, run_worker
from gaugehouse.logs import configure_logs
from gaugehouse.reports import SCHEDULE_KIND, Allowance, Asker, Reach, ValuePublisher, ask_scheduled, reissue_late
from gaugehouse.runtime import Runtime, announce_owner, open_runtime, withdraw_owner
from gaugehouse.tracing import close_tracing, configure_tracing
from gaugehouse.upkeep import answering
from gaugehouse.web.app import create_app
from gaugehouse.web.exposition import registry_of
from gaugehouse.web.server import configure_server
from gaugehouse.web.tls import Certificate, load_certificate
from gaugehouse.web.traffic import Traffic

logger = structlog.get_logger()

DEFAULT_PROJECT = "default"
FLUSH_AT_STOP_S = 8.0  # with the drain of open requests, a stop ends within 20 s
BACKLOG = 2048
RETENTION_FIRST_S, RETENTION_PERIOD_S = 60.0, 3600.0
ASK_POLL_S = 1.0
AUDIT_SETTLE_S = 60.0
VALUES_PERIOD_S, VALUES_RETRY_LAST_S = 2.0, 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """What the command line says; None and False leave it to the environment."""

    data_dir: Path
    host: str | None = None
    port: int | None = None
    demo: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None


def read_settings(options: ServeOptions) -> Settings:
    """Return the settings of the environment with the command line's options on top."""
    given: dict[str, Any] = asdict(options) | {"demo": options.demo or None}
    return Settings(**{name: value for name, value in given.items() if value is not None})


def serve_forever(options: ServeOptions) -> None:
    """Serve until SIGTERM or SIGINT; then flush and return.

    Raises:
        StartRefused: demo mode on a public address, the port is taken, the certificate is of no use, or the lake cannot
            be owned.
    """
    settings = read_settings(options)
    certificate = load_certificate(settings)
    if settings.demo:
        _refuse_public_demo(settings.host)
    Reach.from_settings(settings)  # refused now, not by the first delivery
    layout = Layout(settings.data_dir)
    configure_logs(settings, layout.logs_dir)
    configure_tracing(settings.otlp_endpoint, process="serve", version=__version__)
    with ExitStack() as stack:
        stack.callback(close_tracing)
        stack.enter_context(_orderly_stop())
        listener = stack.enter_context(_bound(settings.host, settings.port))
        url = _url(settings.host, listener, scheme="http" if certificate is None else "https")
        with progress_bar() as report:
            runtime = open_runtime(settings, report)
            stack.callback(runtime.close, flush_timeout_s=FLUSH_AT_STOP_S)
            is_new = settings.demo and _load_demo(runtime, report)
        stack.enter_context(answering(runtime))
        stack.enter_context(_announced(layout, url, certificate))
        stack.enter_context(_beside("retention", _keep_retaining, runtime))
        stack.enter_context(_beside("audit", _keep_settling_audit, runtime))
        stack.enter_context(_schedules(runtime))
        stack.enter_context(_values(runtime))
        if settings.demo:
            stack.enter_context(_host_collector(runtime))
        _greet(runtime, url, is_new=is_new)
        app = create_app(runtime)
        stack.enter_context(_metrics_listener(runtime, app.state.traffic))
        # Last: loading them must not keep the server from being ready.
        for number in range(settings.workers):
            stack.enter_context(Worker(data_dir=settings.data_dir, number=number))
        tls = None if certificate is None else certificate.context
        server = uvicorn.Server(configure_server(app, host=settings.host, port=settings.port, tls=tls))
        app.state.is_leaving = lambda: server.should_exit
        logger.info("serving", url=url, pid=os.getpid(), demo=settings.demo)
        with _settled_memory():
            server.run(sockets=[listener])
        logger.info("stopping", url=url)


@contextmanager
def _orderly_stop() -> Iterator[None]:
    """Let SIGTERM and SIGINT unwind this process instead of ending it.

    While uvicorn serves it has its own handlers; when it has drained it raises the signal again, which must not
    cut the flush short.
    """

    def leave(_number: int, _frame: FrameType | None) -> None:
        if not leaving:
            leaving.append(True)
            raise SystemExit(0)

    leaving: list[bool] = []
    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        leaving.append(True)
        for number, handler in before.items():
            signal.signal(number, handler)


def _refuse_public_demo(host: str) -> None:
    try:
        is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise StartRefused(
            f"demo mode has well-known passwords, so it listens on loopback only, not on {host}", code="demo_is_local"
        )


@contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    """Take the port before anything else, so that a taken one refuses at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as exc:
        listener.close()
        raise StartRefused(
            f"cannot listen on {host}:{port}: {exc.strerror}; choose another with --port", code="port_taken"
        ) from exc
    try:
        yield listener
    finally:
        listener.close()


def _url(host: str, listener: socket.socket, *, scheme: str) -> str:
    port = listener.getsockname()[1]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


@contextmanager
def _announced(layout: Layout, url: str, certificate: Certificate | None) -> Iterator[None]:
    """Tell commands of this machine where we are, and by which certificate they know us; SIGHUP reads it again."""
    announce_owner(layout, url, certificate=None if certificate is None else certificate.shown())
    try:
        with nullcontext() if certificate is None else _renewing(layout, url, certificate):
            yield
    finally:
        withdraw_owner(layout)


@contextmanager
def _renewing(layout: Layout, url: str, certificate: Certificate) -> Iterator[None]:
    def renew(_number: int, _frame: FrameType | None) -> None:
        try:
            certificate.renew()
            announce_owner(layout, url, certificate=certificate.shown())
        except (StartRefused, OSError) as exc:  # the one before goes on
            logger.warning("certificate_not_renewed", reason=getattr(exc, "message", type(exc).__name__))
        else:
            logger.info("certificate_renewed")

    before = signal.signal(signal.SIGHUP, renew)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def _load_demo(runtime: Runtime, report: Report) -> bool:
    """Create the demo users and, the first time, the demo fleet; say whether it was the first time."""
    with runtime.database.transaction() as session:
        ensure_demo_users(session)
    return load_first_fleet(
        runtime.lake,
        runtime.database,
        runtime.registry,
        FleetPlan(),
        has_rows=runtime.lake.newest_received_at() is not None,
        on_progress=lambda done, total: report("loading the demo plant", done, total),
    )


@contextmanager
def _settled_memory() -> Iterator[None]:
    """Let Python look for garbage among what is new only.

    What is loaded by now stays as long as we serve: looking through half a million objects again and again let every
    request of that moment wait for 60 ms.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()  # DuckDB would report frozen objects as leaked when Python ends


@contextmanager
def _metrics_listener(runtime: Runtime, traffic: Traffic) -> Iterator[None]:
    """Serve totals to a scraper on an address of its own, where one is set."""
    port, host = runtime.settings.metrics_port, runtime.settings.metrics_host
    if port is None:
        yield
        return
    try:
        server, thread = start_http_server(port, host, registry_of(runtime, traffic, by_project=False))
    except OSError as exc:
        raise StartRefused(
            f"cannot listen on {host}:{port} for metrics: {exc.strerror}; choose another port", code="port_taken"
        ) from exc
    logger.info("serving_metrics", url=f"http://{host}:{server.server_port}/metrics")
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _keep_retaining(runtime: Runtime, stopping: threading.Event) -> None:
    """Drop rows that are too old and sessions that have ended, soon after the start and then every hour."""
    wait_s = RETENTION_FIRST_S
    while not stopping.wait(wait_s):
        wait_s = RETENTION_PERIOD_S
        try:
            runtime.access.drop_expired_sessions()
            runtime.retain()
        except (GaugehouseError, OSError) as exc:  # a full archive, say: other tables were seen to
            logger.warning("retention_incomplete", error=type(exc).__name__)
        except Exception:  # whatever it is: the next hour must come
            logger.exception("retention_incomplete")


def _keep_settling_audit(runtime: Runtime, stopping: threading.Event) -> None:
    """Write down every minute how often was refused again what nobody tried since, and which keys were used."""
    while not stopping.wait(AUDIT_SETTLE_S):
        for settle in (runtime.refusals.settle, runtime.access.write_key_uses):
            try:
                settle()
            except Exception:  # whatever it is: the next minute must come
                logger.exception("audit_settle_failed")


@contextmanager
def _beside(name: str, keep: Callable[[Runtime, threading.Event], None], runtime: Runtime) -> Iterator[None]:
    """Have a thread of its own do something until the server stops, which an event tells it."""
    stopping = threading.Event()
    thread = threading.Thread(target=keep, args=(runtime, stopping), name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(FLUSH_AT_STOP_S)


@contextmanager
def _schedules(runtime: Runtime) -> Iterator[None]:
    """Create the jobs of schedules that are due, and ask for their reports.

    Here and not in a worker: what a report is pinned to, only the owner of the lake knows.
    """
    stopping, asking = threading.Event(), threading.Event()
    tick = partial(keep_ticking, runtime.database, stop=stopping)
    ask = partial(_keep_asking, runtime, stopping, asking)
    reissue = partial(_keep_reissuing, runtime, stopping)
    threads = [threading.Thread(target=run, daemon=True) for run in (tick, ask, reissue)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopping.set()
        asking.set()
        for thread in threads:
            thread.join(FLUSH_AT_STOP_S)


def _make_asker(runtime: Runtime) -> Asker:
    return Asker(
        database=runtime.database,
        source=runtime.lake,
        cells_limit=runtime.settings.report_cells_limit,
        allowance=Allowance.from_settings(runtime.settings),
    )


def _keep_asking(runtime: Runtime, stopping: threading.Event, asking: threading.Event) -> None:
    """Run the jobs that ask for scheduled reports; `asking` ends one run of the worker, `stopping` all."""
    asker = _make_asker(runtime)
    while not stopping.is_set():
        try:
            run_worker(
                runtime.database,
                {SCHEDULE_KIND: partial(ask_scheduled, asker=asker)},
                worker=f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}-asking",
                lease_s=runtime.settings.lease_s,
                stop=asking,
                poll_s=ASK_POLL_S,
            )
        except Exception:  # whatever it is: jobs that wait must find somebody
            logger.exception("asking_failed")
            stopping.wait(ASK_POLL_S)
            asking.clear()


def _keep_reissuing(runtime: Runtime, stopping: threading.Event) -> None:
    """Issue reports again that late rows have made stale, as their templates wish."""
    asker = _make_asker(runtime)
    while not stopping.wait(runtime.settings.reissue_s):
        try:
            reissue_late(asker, runtime.lake.pin())
        except Exception:  # the next round may do better
            logger.exception("reissuing_failed")


@contextmanager
def _values(runtime: Runtime) -> Iterator[None]:
    """Keep the lake's table of reports' values up to date."""
    stopping = threading.Event()
    thread = threading.Thread(target=_keep_publishing, args=(runtime, stopping), name="values", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        runtime.lake.values.close(FLUSH_AT_STOP_S)  # a batch under way is left to the next start
        thread.join(FLUSH_AT_STOP_S)


def _keep_publishing(runtime: Runtime, stopping: threading.Event) -> None:
    """Look over the table once, then publish what is done and look after its files, over and over."""
    table = runtime.lake.values
    publisher = ValuePublisher(database=runtime.database, layout=runtime.layout, table=table)
    is_looked_over = False
    wait_s = 0.0
    while not stopping.wait(wait_s):
        try:
            if not is_looked_over:
                table.mend()
                publisher.drop_unknown_projects()
                is_looked_over = True
            while not stopping.is_set() and publisher.publish_next():
                pass
            table.tidy()
            wait_s = VALUES_PERIOD_S
        except Exception as exc:  # whatever it is: nothing is lost, the next round may do better
            if stopping.is_set():
                return
            is_expected = isinstance(exc, (GaugehouseError, OSError))
            logger.exception("publishing_values_failed", error=type(exc).__name__, exc_info=not is_expected)
            wait_s = min(2 * max(wait_s, VALUES_PERIOD_S), VALUES_RETRY_LAST_S)


@contextmanager
def _host_collector(runtime: Runtime) -> Iterator[None]:
    register_host(runtime.database)
    collector = HostCollector(
        lambda batch: runtime.lake.append_measurements(DEFAULT_PROJECT, batch),
        HostSampler(runtime.layout.data_dir),
        is_closed=lambda: False,
    )
    collector.start()
    try:
        yield
    finally:
        collector.stop()


def _greet(runtime: Runtime, url: str, *, is_new: bool) -> None:
    """Say on stdout where to go and how to get in."""
    lines = ["", f"  Gaugehouse   {url}", f"  API docs     {url}/docs"]
    if runtime.settings.demo:
        lines += ["  sign in      user/user (reads)   manager/manager (reads, writes, reports)"]
        if is_new:
            lines += ["  demo plant   100 machines, one million measurements; this host is live as `this-host`"]
    else:
        with runtime.database.reading() as session:
            if not has_users(session):
                lines += [
                    "",
                    "  There is no user yet. Create the first one, from another terminal:",
                    f"    gaugehouse user create NAME --role admin --data {runtime.settings.data_dir}",
                ]
    sys.stdout.write("\n".join([*lines, "", ""]))
    sys.stdout.flush()
