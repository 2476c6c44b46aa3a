"""A small plant: a real lake, a real database, a manager, and a worker that runs in this process."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest
from sqlalchemy import select

from gaugehouse.access import Caller, Scope
from gaugehouse.config import Layout, Settings
from gaugehouse.database import Database
from gaugehouse.database.tables import Component, Job, Project, Report, ReportRevision
from gaugehouse.inventory import Registry, ensure_default_project
from gaugehouse.jobs import run_worker
from gaugehouse.lake import Lake
from gaugehouse.measurements.schema import MEASUREMENT_BATCH
from gaugehouse.measurements.selection import to_epoch_us
from gaugehouse.reports import (
    JOB_KIND,
    RESULT,
    Limits,
    ReportRequest,
    ReportView,
    ReportWorker,
    announce_failure,
    get_report,
    read_result,
    request_report,
    run_report,
)
from gaugehouse.reports.result import publish_result, result_path, write_result

DEADLINE_S = 60.0
CELLS_LIMIT = 100_000
MARCH, DAY = datetime(2026, 3, 1, tzinfo=UTC), timedelta(days=1)


@dataclass
class Plant:
    """What a test drives: deliver, ask, let the worker run, read."""

    database: Database
    lake: Lake
    layout: Layout
    manager: Caller
    registry: Registry
    limits: Limits
    threads: int = 2
    wait_s: float = 20.0

    def deliver(self, rows: Sequence[tuple]) -> None:
        """Append (component, metric, measured_at, value[, quality]) and register their names."""
        components, metrics, instants, values = (
            list(column) for column in zip(*(row[:4] for row in rows), strict=True)
        )
        quality = [row[4] if len(row) > 4 else 0 for row in rows]
        self.registry.register("default", sorted(set(components)), sorted(set(metrics)))
        batch = pa.table(
            [pa.array(column) for column in (components, metrics)]
            + [
                pa.array(instants, pa.timestamp("us", "UTC")),
                pa.array(values, pa.float64()),
                pa.array(quality, pa.uint8()),
            ],
            names=MEASUREMENT_BATCH.names,
        ).cast(MEASUREMENT_BATCH)
        self.lake.append_measurements("default", batch)

    def ask(self, period="2026-03", **question) -> ReportView:
        """Request a report as the manager."""
        body = ReportRequest(period=period, **question)
        return request_report(self.database, self.lake, self.manager, body, cells_limit=CELLS_LIMIT)

    def see(self, report: ReportView) -> ReportView:
        with self.database.reading() as session:
            return get_report(session, self.manager, report.id)

    def worker(self) -> ReportWorker:
        return ReportWorker(
            database=self.database,
            layout=self.layout,
            threads=self.threads,
            limits=self.limits,
            wait_s=self.wait_s,
            poll_s=0.01,
        )

    @contextmanager
    def working(self, handler: Callable | None = None) -> Iterator[None]:
        """Run a worker in a thread while the block runs."""
        stop = threading.Event()
        handlers = {JOB_KIND: handler or partial(run_report, worker=self.worker())}
        options = {"worker": "test-1", "lease_s": 5.0, "stop": stop, "poll_s": 0.02, "retry_delay_s": 0.01}
        options["on_end"] = announce_failure
        thread = threading.Thread(target=run_worker, args=(self.database, handlers), kwargs=options)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def follow(self, report: ReportView) -> ReportView:
        """Wait for the end of a report."""
        pause = threading.Event()
        for _ in range(int(DEADLINE_S / 0.02)):
            view = self.see(report)
            if view.status in {"done", "failed", "cancelled"}:
                return view
            pause.wait(0.02)
        raise AssertionError(f"still {view.status} ({view.doing}) after {DEADLINE_S} s")

    def answer(self, period="2026-03", **question) -> tuple[ReportView, pa.Table]:
        """Ask, flush, compute and read a report."""
        report = self.ask(period, **question)
        self.lake.flush()
        with self.working():
            report = self.follow(report)
        assert report.status == "done", report.reason
        return report, read_result(self.layout, report)

    def change_component(self, name: str, **values) -> None:
        with self.database.transaction() as session:
            row = session.scalars(select(Component).where(Component.name == name)).one()
            for column, value in values.items():
                setattr(row, column, value)


@pytest.fixture
def plant(tmp_path: Path, database: Database) -> Iterator[Plant]:
    layout = Layout(tmp_path / "data")
    with database.transaction() as session:
        project = ensure_default_project(session)
    lake = Lake.open(layout, Settings(data_dir=layout.data_dir, segment_age_s=3600))
    manager = Caller(
        kind="user",
        name="manager",
        project=project.slug,
        project_id=project.id,
        scopes=frozenset({Scope.USER, Scope.MANAGER}),
    )
    opened = Plant(
        database=database,
        lake=lake,
        layout=layout,
        manager=manager,
        registry=Registry(database),
        limits=Limits(),
    )
    yield opened
    opened.lake.close()  # a test may have opened another one


def store_done_report(layout, database, number, *, project="default", start=MARCH, values=(1.0, 2.0)) -> str:
    """Store a report of two KPIs and a day per value as a worker leaves it, without the computing; return its id."""
    report_id = f"rep_{project[:8]}{number:06d}"
    rows = [
        ("pump-1", "flow", kpi, start + i * DAY, start + (i + 1) * DAY, value, "1", 1.0, 24, "ok", None)
        for kpi in ("mean", "count")
        for i, value in enumerate(values)
    ]
    result = pa.Table.from_pylist([dict(zip(RESULT.names, row, strict=True)) for row in rows], schema=RESULT)
    path = result_path(layout, report_id, 1)
    publish_result(write_result(result, path, digest="d", attempt=0), path)
    pin = {"period": {"start_us": to_epoch_us(start)}}
    with database.transaction() as session:
        project_id = session.query(Project).filter(Project.slug == project).one().id
        job_id = report_id.replace("rep", "job")
        session.add(
            Report(
                id=report_id, project_id=project_id, requested_by="m", period_expression="", timezone="UTC", request={}
            )
        )  # fmt: skip
        session.add(
            Job(
                id=job_id, kind="report", project_id=project_id, subject_id=report_id, status="done", attempts_limit=1,
                finished_at=start + 90 * DAY,
            )
        )  # fmt: skip
        session.flush()
        session.add(
            ReportRevision(
                report_id=report_id, revision=1, requested_by="m", because="", pin=pin, asked_at=start,
                job_id=job_id, digest="d", result_rows=len(rows),
            )
        )  # fmt: skip
    return report_id
