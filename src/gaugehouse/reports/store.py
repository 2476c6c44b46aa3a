"""Reports as rows: asked, followed, listed, cancelled. What a report is doing is what its job is doing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import pyarrow as pa
from sqlalchemy import select
from sqlalchemy.orm import Session

from gaugehouse.access import Caller
from gaugehouse.config import Layout
from gaugehouse.database import Database, database_now, new_id
from gaugehouse.database.tables import Job, Report
from gaugehouse.errors import AlreadyExists, Forbidden, NotFound
from gaugehouse.inventory.pages import Page, load_page, read_order
from gaugehouse.jobs import JobStatus, enqueue, request_cancel
from gaugehouse.measurements.names import find_name_problem
from gaugehouse.measurements.selection import from_epoch_us
from gaugehouse.query.components import show_name
from gaugehouse.reports.ask import PinSource, make_pin
from gaugehouse.reports.deliveries import DeliveryView, find_deliveries
from gaugehouse.reports.pin import Pin, encode_pin
from gaugehouse.reports.request import ReportRequest, encode_request
from gaugehouse.reports.result import load_result, result_path

JOB_KIND = "report"
ID_CHARACTERS = 32  # as much of a wrong id as an error repeats


class ReportSource(PinSource, Protocol):
    """The lake of a running server: reports need what was acknowledged to be committed."""

    def request_flush(self) -> None:
        """Ask for everything acknowledged so far to be committed soon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """Why a report is asked for, when it is not a person's own question.

    Args:
        asked_at: The `now` of its period: the fire time of a schedule, however late that is seen to; None is now.
        template_id: Where the question comes from.
        template_name: Its name.
        template_version: Which version of it.
        also: What else belongs into the transaction that stores the report; is given the report's id.
    """

    asked_at: datetime | None = None
    template_id: str | None = None
    template_name: str | None = None
    template_version: int | None = None
    also: Callable[[Session, str], None] | None = None


OWN_QUESTION = Occasion()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportView:
    """A report as its readers see it.

    Args:
        id: rep_...
        status: queued, running, done, failed or cancelled.
        progress_percent: 0 to 100. [%]
        doing: What the worker is at, in words.
        reason: Why it failed, in words.
        request: The question as asked.
        period_start: Inclusive, UTC.
        period_end: Exclusive, UTC.
        timezone: IANA zone of calendar and buckets.
        components: How many components it is about.
        series: How many series.
        kpis: KPI names per kind of metric.
        as_of: The answer shows everything received up to this instant; None: the lake was empty.
        asked_at: The `now` of running periods.
        revision: Counts up when the report is issued again.
        digest: SHA-256 of the canonical result, once done.
        result_rows: Rows of the result, once done.
        requested_by: Name of the user or key.
        template: Name of the template that the question comes from.
        template_version: Which version of it.
        deliveries: Where its files went, and how that ended.
    """

    id: str
    status: str
    progress_percent: float
    doing: str
    reason: str | None
    request: dict[str, Any]
    period_start: datetime
    period_end: datetime
    timezone: str
    components: int
    series: int
    kpis: dict[str, list[str]]
    as_of: datetime | None
    asked_at: datetime
    revision: int
    digest: str | None
    result_rows: int | None
    requested_by: str
    template: str | None
    template_version: int | None
    deliveries: tuple[DeliveryView, ...]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


def request_report(
    database: Database,
    source: ReportSource,
    caller: Caller,
    body: ReportRequest,
    *,
    cells_limit: int,
    occasion: Occasion = OWN_QUESTION,
) -> ReportView:
    """Pin a question, then store the report and its job in one transaction.

    The pin of a large project takes a while to resolve, so it is made before the database's write lock is taken.

    Args:
        database: Reports, jobs and the inventory.
        source: The lake.
        caller: Who asks; the project is theirs.
        body: The question.
        cells_limit: Most values of one report.
        occasion: Of a template or a schedule.

    Raises:
        PeriodRefused, NotFound, Refused, TooLarge: See `make_pin`.
        Forbidden: The caller sees one component only.
    """
    _check_sees_project(caller)
    with database.reading() as session:
        asked_at = occasion.asked_at or session.scalars(select(database_now())).one()
        pin = make_pin(
            session,
            source,
            project=caller.project,
            project_id=caller.project_id,
            body=body,
            asked_at=asked_at,
            cells_limit=cells_limit,
        )
    with database.transaction() as session:
        view = _queue(session, caller, body, pin, occasion)
    source.request_flush()
    return view


def _queue(session: Session, caller: Caller, body: ReportRequest, pin: Pin, occasion: Occasion) -> ReportView:
    report_id = new_id("rep")
    job_id = enqueue(session, kind=JOB_KIND, project_id=caller.project_id, subject_id=report_id, payload={})
    session.add(
        Report(
            id=report_id,
            project_id=caller.project_id,
            requested_by=caller.name,
            period_expression=pin.period.expression,
            timezone=pin.period.timezone,
            request=encode_request(body),
            pin=encode_pin(pin),
            as_of=pin.as_of,
            asked_at=pin.asked_at,
            job_id=job_id,
            template_id=occasion.template_id,
            template_name=occasion.template_name,
            template_version=occasion.template_version,
        )
    )
    session.flush()
    if occasion.also is not None:
        occasion.also(session, report_id)
    return get_report(session, caller, report_id)


def get_report(session: Session, caller: Caller, report_id: str) -> ReportView:
    """Return a report of the caller's project.

    Raises:
        NotFound: There is none with this id.
        Forbidden: The caller sees one component only.
    """
    _check_sees_project(caller)
    report, job = _get_row(session, caller, report_id)
    return _view(report, job, find_deliveries(session, [report.id]))


def list_reports(session: Session, caller: Caller, *, limit: int = 100, cursor: str | None = None) -> Page[ReportView]:
    """Return one page of the project's reports, newest first.

    Raises:
        Refused: limit or cursor cannot be right.
        Forbidden: The caller sees one component only.
    """
    _check_sees_project(caller)
    order = read_order("-created_at", {"created_at": Report.created_at}, Report.id)
    statement = select(Report).where(Report.project_id == caller.project_id)
    reports, next_cursor, total = load_page(session, statement, order, limit=limit, cursor=cursor)
    jobs = {job.id: job for job in session.scalars(select(Job).where(Job.id.in_([one.job_id for one in reports])))}
    deliveries = find_deliveries(session, [one.id for one in reports])
    items = tuple(_view(report, jobs[report.job_id], deliveries) for report in reports)
    return Page(items=items, next_cursor=next_cursor, total=total)


def cancel_report(session: Session, caller: Caller, report_id: str) -> ReportView:
    """Cancel a report that waits, or ask the worker of a running one to stop; one that is cancelled stays so.

    Raises:
        NotFound: There is none with this id.
        AlreadyExists: It is done or failed.
        Forbidden: The caller sees one component only.
    """
    _check_sees_project(caller)
    report, job = _get_row(session, caller, report_id)
    status = request_cancel(session, job.id)
    if status in {JobStatus.DONE, JobStatus.FAILED}:
        raise AlreadyExists(f"the report is {status.value} and cannot be cancelled", code="report_ended")
    session.refresh(job)
    return _view(report, job, find_deliveries(session, [report.id]))


def read_result(layout: Layout, report: ReportView) -> pa.Table:
    """Return the rows of a report that is done, with the columns of RESULT.

    Raises:
        AlreadyExists: It is not done.
        Unavailable: Its file is gone or damaged.
    """
    if report.status != JobStatus.DONE:
        reason = f": {report.reason}" if report.reason else ""
        raise AlreadyExists(f"the report has no result, it is {report.status}{reason}", code="report_not_done")
    return load_result(result_path(layout, report.id, report.revision))


def _get_row(session: Session, caller: Caller, report_id: str) -> tuple[Report, Job]:
    missing = NotFound(f"there is no report {show_name(report_id)[:ID_CHARACTERS]!r}", code="report_not_found")
    if find_name_problem(report_id) is not None:  # some text would make a driver fail
        raise missing
    statement = (
        select(Report, Job)
        .join(Job, Job.id == Report.job_id)
        .where(Report.id == report_id, Report.project_id == caller.project_id)
    )
    row = session.execute(statement).one_or_none()
    if row is None:
        raise missing
    report, job = row
    return report, job


def _check_sees_project(caller: Caller) -> None:
    if caller.component is not None:
        raise Forbidden("a key that is bound to one component cannot see reports about others", code="key_is_bound")


def _view(report: Report, job: Job, deliveries: Mapping[str, tuple[DeliveryView, ...]]) -> ReportView:
    pin = report.pin
    is_running = job.status == JobStatus.RUNNING
    return ReportView(
        id=report.id,
        status=job.status,
        progress_percent=job.progress_percent,
        doing=job.doing if is_running else "",
        reason=None if is_running or job.status == JobStatus.DONE else job.reason,
        request=report.request,
        period_start=from_epoch_us(pin["period"]["start_us"]),
        period_end=from_epoch_us(pin["period"]["end_us"]),
        timezone=report.timezone,
        components=len(pin["components"]),
        series=len(pin["series"]),
        kpis={kind: list(names) for kind, names in pin["kpis"].items()},
        as_of=report.as_of,
        asked_at=report.asked_at,
        revision=report.revision,
        digest=report.digest,
        result_rows=report.result_rows,
        requested_by=report.requested_by,
        template=report.template_name,
        template_version=report.template_version,
        deliveries=deliveries.get(report.id, ()),
        created_at=report.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )
