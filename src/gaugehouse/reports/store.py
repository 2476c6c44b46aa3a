"""Reports as rows: asked, issued again, followed, listed, cancelled. A revision does what its job is doing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypedDict

import pyarrow as pa
from sqlalchemy import Select, select, update
from sqlalchemy.orm import Session

from gaugehouse.access import Caller
from gaugehouse.audit import Trail
from gaugehouse.config import Layout
from gaugehouse.database import Database, database_now, new_id
from gaugehouse.database.pages import Page, load_page, read_order
from gaugehouse.database.tables import Job, Report, ReportRevision
from gaugehouse.errors import AlreadyExists, Forbidden, NotFound
from gaugehouse.inventory.projects import get_project_settings
from gaugehouse.jobs import JobStatus, enqueue, refuse_too_many_waiting, request_cancel
from gaugehouse.measurements.names import find_name_problem
from gaugehouse.measurements.selection import from_epoch_us
from gaugehouse.query.components import show_name
from gaugehouse.reports.allowance import Allowance
from gaugehouse.reports.ask import DEFAULT_ALLOWANCE, PinSource, make_pin
from gaugehouse.reports.deliveries import DeliveryView, find_deliveries
from gaugehouse.reports.pin import Pin, decode_pin, encode_pin
from gaugehouse.reports.request import (
    JOB_KIND,
    ReportRequest,
    check_wording,
    decode_request,
    encode_request,
    find_extra_tables,
)
from gaugehouse.reports.result import SCHEMAS, VALUES, Answer, load_answer, load_result, result_path

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
        phase: In one word: waiting, counting, computing, grouping, comparing, finishing, writing; empty unless it runs.
        rows_read: Measurements that were read by now; null before the first.
        rows_total: Measurements to be read; until they are counted, as many as the files that are needed hold.
        estimated_end_at: When it will be done, by the pace since computing began; null while there is none.
        reason: Why it failed, in words.
        reason_code: The same for programs.
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
        because: Why this revision was issued; empty for the first.
        digest: SHA-256 of the canonical result, once done.
        result_rows: Rows of the result, once done.
        requested_by: Name of the user or key.
        template: Name of the template that the question comes from.
        template_version: Which version of it.
        deliveries: Where the files of all its revisions went, and how that ended.
    """

    id: str
    status: str
    progress_percent: float
    doing: str
    phase: str
    rows_read: int | None
    rows_total: int | None
    estimated_end_at: datetime | None
    reason: str | None
    reason_code: str | None
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
    because: str
    digest: str | None
    result_rows: int | None
    requested_by: str
    template: str | None
    template_version: int | None
    deliveries: tuple[DeliveryView, ...]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


def request_report(  # noqa: PLR0913 - who asks what, of what, and how large
    database: Database,
    source: ReportSource,
    caller: Caller,
    body: ReportRequest,
    *,
    cells_limit: int,
    allowance: Allowance = DEFAULT_ALLOWANCE,
    occasion: Occasion = OWN_QUESTION,
    trail: Trail | None = None,
) -> ReportView:
    """Pin a question, then store the report and its job in one transaction.

    The pin of a large project takes a while to resolve, so it is made before the database's write lock is taken.

    Args:
        database: Reports, jobs and the inventory.
        source: The lake.
        caller: Who asks; the project is theirs.
        body: The question.
        cells_limit: Most values of one report.
        allowance: What else it may cost.
        occasion: Of a template or a schedule.
        trail: Who asks, for the audit log; None where nobody does.

    Raises:
        PeriodRefused, NotFound, Refused, TooLarge: See `make_pin`.
        Throttled: Too many reports of the project wait.
        Forbidden: The caller sees one component only.
    """
    check_sees_project(caller)
    check_wording(body)
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
            allowance=allowance,
        )
    with database.transaction() as session:
        _check_waiting(session, caller, allowance)
        view = _queue(session, caller, body, pin, occasion)
        if trail is not None:
            told = {"period": pin.period.expression, "template": occasion.template_name}
            trail.tell(session, "report.request", id=view.id, details=told)
    source.request_flush()
    return view


def _check_waiting(session: Session, caller: Caller, allowance: Allowance) -> None:
    own = get_project_settings(session, caller.project_id).reports_waiting_quota
    limit = allowance.waiting if own is None else own
    refuse_too_many_waiting(session, kind=JOB_KIND, project_id=caller.project_id, limit=limit, what="reports")


def _queue(session: Session, caller: Caller, body: ReportRequest, pin: Pin, occasion: Occasion) -> ReportView:
    report_id = new_id("rep")
    session.add(
        Report(
            id=report_id,
            project_id=caller.project_id,
            requested_by=caller.name,
            period_expression=pin.period.expression,
            timezone=pin.period.timezone,
            request=encode_request(body),
            template_id=occasion.template_id,
            template_name=occasion.template_name,
            template_version=occasion.template_version,
        )
    )
    session.flush()
    _queue_revision(session, caller, report_id, 1, pin, because="")
    if occasion.also is not None:
        occasion.also(session, report_id)
    return get_report(session, caller, report_id)


def _queue_revision(  # noqa: PLR0913 - a revision, and why there is one
    session: Session,
    caller: Caller,
    report_id: str,
    revision: int,
    pin: Pin,
    *,
    because: str,
    is_automatic: bool = False,
) -> None:
    payload = {"revision": revision, "is_automatic": is_automatic}
    job_id = enqueue(session, kind=JOB_KIND, project_id=caller.project_id, subject_id=report_id, payload=payload)
    session.add(
        ReportRevision(
            report_id=report_id,
            revision=revision,
            requested_by=caller.name,
            because=because,
            pin=encode_pin(pin),
            as_of=pin.as_of,
            asked_at=pin.asked_at,
            job_id=job_id,
        )
    )
    session.flush()


def reissue_report(  # noqa: PLR0913 - who asks for what again, why, and how large
    database: Database,
    source: ReportSource,
    caller: Caller,
    report_id: str,
    *,
    because: str,
    cells_limit: int,
    allowance: Allowance = DEFAULT_ALLOWANCE,
    is_automatic: bool = False,
    trail: Trail | None = None,
) -> ReportView:
    """Ask the question of a report once more, of what is known by now: its next revision.

    Period and `now` stay those of the first revision, so that only late rows, attributes and definitions can make a
    difference.

    Args:
        database: Reports, jobs and the inventory.
        source: The lake.
        caller: Who asks.
        report_id: Of the report.
        because: Why, in words.
        cells_limit: Most values of one report.
        allowance: What else it may cost.
        is_automatic: Nobody asked: it is delivered only if it says something else than the revision before.
        trail: Who asks, for the audit log; None where nobody does.

    Raises:
        NotFound, Forbidden: See `get_report`.
        AlreadyExists: Its newest revision is not ended yet.
        Refused: Measurements that it needs were dropped meanwhile.
        Throttled: Too many reports of the project wait.
    """
    with database.reading() as session:
        newest = get_report(session, caller, report_id)
        _check_ended(newest)
        first = decode_pin(_get_revision(session, caller, report_id, 1)[1].pin)
        pin = make_pin(
            session,
            source,
            project=caller.project,
            project_id=caller.project_id,
            body=decode_request(newest.request),
            asked_at=first.asked_at,
            cells_limit=cells_limit,
            allowance=allowance,
            period=first.period,
        )
    revision = newest.revision + 1
    with database.transaction() as session:
        _check_waiting(session, caller, allowance)
        # Of two that ask at the same time one counts up; the other finds that somebody has.
        counted = session.scalars(
            update(Report)
            .where(Report.id == report_id, Report.revision == newest.revision)
            .values(revision=revision)
            .returning(Report.id)
            .execution_options(synchronize_session=False)
        ).one_or_none()
        if counted is None:
            raise _is_running(revision)
        _queue_revision(session, caller, report_id, revision, pin, because=because, is_automatic=is_automatic)
        view = get_report(session, caller, report_id)
        if trail is not None:
            trail.tell(session, "report.reissue", id=report_id, details={"revision": revision, "because": because})
    source.request_flush()
    return view


def _check_ended(view: ReportView) -> None:
    if view.status in {JobStatus.QUEUED, JobStatus.RUNNING}:
        raise _is_running(view.revision)


def _is_running(revision: int) -> AlreadyExists:
    return AlreadyExists(f"revision {revision} of the report is still being computed", code="report_running")


def get_report(session: Session, caller: Caller, report_id: str, revision: int | None = None) -> ReportView:
    """Return a report of the caller's project, as its newest revision or a chosen one.

    Raises:
        NotFound: There is none with this id, or no such revision of it.
        Forbidden: The caller sees one component only.
    """
    check_sees_project(caller)
    row = _get_revision(session, caller, report_id, revision)
    return _view(*row, find_deliveries(session, [report_id]))


def get_pin(session: Session, caller: Caller, report_id: str, revision: int | None = None) -> Pin:
    """Return what a revision's numbers depend on.

    Raises:
        NotFound, Forbidden: See `get_report`.
    """
    check_sees_project(caller)
    return decode_pin(_get_revision(session, caller, report_id, revision)[1].pin)


def list_revisions(session: Session, caller: Caller, report_id: str) -> list[ReportView]:
    """Return every revision of a report, the newest first.

    Raises:
        NotFound, Forbidden: See `get_report`.
    """
    check_sees_project(caller)
    _get_revision(session, caller, report_id)
    statement = _revisions_of(caller).where(Report.id == report_id).order_by(ReportRevision.revision.desc())
    deliveries = find_deliveries(session, [report_id])
    return [_view(report, row, job, deliveries) for report, row, job in session.execute(statement)]


def find_newest_done(session: Session, caller: Caller, report_id: str) -> ReportView:
    """Return the newest revision that has a result; the newest of all when none has.

    Raises:
        NotFound, Forbidden: See `get_report`.
    """
    views = list_revisions(session, caller, report_id)
    return next((view for view in views if view.status == JobStatus.DONE), views[0])


def list_reports(session: Session, caller: Caller, *, limit: int = 100, cursor: str | None = None) -> Page[ReportView]:
    """Return one page of the project's reports, newest first.

    Raises:
        Refused: limit or cursor cannot be right.
        Forbidden: The caller sees one component only.
    """
    check_sees_project(caller)
    order = read_order("-created_at", {"created_at": Report.created_at}, Report.id)
    statement = select(Report).where(Report.project_id == caller.project_id)
    reports, next_cursor, total = load_page(session, statement, order, limit=limit, cursor=cursor)
    newest = _revisions_of(caller).where(
        Report.id.in_([one.id for one in reports]), ReportRevision.revision == Report.revision
    )
    deliveries = find_deliveries(session, [one.id for one in reports])
    views = {report.id: _view(report, row, job, deliveries) for report, row, job in session.execute(newest)}
    return Page(items=tuple(views[report.id] for report in reports), next_cursor=next_cursor, total=total)


def cancel_report(session: Session, caller: Caller, report_id: str) -> ReportView:
    """Cancel a report that waits, or ask the worker of a running one to stop; one that is cancelled stays so.

    Raises:
        NotFound: There is none with this id.
        AlreadyExists: It is done or failed.
        Forbidden: The caller sees one component only.
    """
    check_sees_project(caller)
    report, row, job = _get_revision(session, caller, report_id)
    status = request_cancel(session, job.id)
    if status in {JobStatus.DONE, JobStatus.FAILED}:
        raise AlreadyExists(f"the report is {status.value} and cannot be cancelled", code="report_ended")
    session.refresh(job)
    return _view(report, row, job, find_deliveries(session, [report.id]))


def read_result(layout: Layout, report: ReportView, table: str = VALUES) -> pa.Table:
    """Return one table of a report that is done: its values with the columns of RESULT, or one that was asked for too.

    Raises:
        AlreadyExists: It is not done.
        NotFound: It has no such table.
        Unavailable: Its file is gone or damaged.
    """
    check_done(report)
    if table != VALUES and table not in find_extra_tables(report.request):
        raise NotFound(f"the report was not asked for {table}", code="table_not_found")
    return load_result(result_path(layout, report.id, report.revision, table), SCHEMAS[table])


def read_answer(layout: Layout, report: ReportView) -> Answer:
    """Return all tables of a report that is done. Raises as `read_result` does."""
    check_done(report)
    return load_answer(layout, report.id, report.revision, find_extra_tables(report.request))


def check_done(report: ReportView) -> None:
    """Refuse to read a report without a result.

    Raises:
        AlreadyExists: It is not done; the message says what it is.
    """
    if report.status != JobStatus.DONE:
        reason = f": {report.reason}" if report.reason else ""
        raise AlreadyExists(f"the report has no result, it is {report.status}{reason}", code="report_not_done")


def _revisions_of(caller: Caller) -> Select[Report, ReportRevision, Job]:
    return (
        select(Report, ReportRevision, Job)
        .join(ReportRevision, ReportRevision.report_id == Report.id)
        .join(Job, Job.id == ReportRevision.job_id)
        .where(Report.project_id == caller.project_id)
    )


def _get_revision(
    session: Session, caller: Caller, report_id: str, revision: int | None = None
) -> tuple[Report, ReportRevision, Job]:
    missing = NotFound(f"there is no report {show_name(report_id)[:ID_CHARACTERS]!r}", code="report_not_found")
    if find_name_problem(report_id) is not None:  # some text would make a driver fail
        raise missing
    wanted = Report.revision if revision is None else revision
    statement = _revisions_of(caller).where(Report.id == report_id, ReportRevision.revision == wanted)
    row = session.execute(statement).one_or_none()
    if row is None and revision is not None:
        _get_revision(session, caller, report_id)  # which says that there is no such report
        raise NotFound(f"the report has no revision {revision}", code="revision_not_found")
    if row is None:
        raise missing
    report, issued, job = row
    return report, issued, job


def check_sees_project(caller: Caller) -> None:
    """Refuse reports to who sees one component only.

    Raises:
        Forbidden: A key that is bound to a component.
    """
    if caller.component is not None:
        raise Forbidden("a key that is bound to one component cannot see reports about others", code="key_is_bound")


class ShownJob(TypedDict):
    """What a report tells of its job, in the words of `ReportView`."""

    status: str
    progress_percent: float
    doing: str
    phase: str
    rows_read: int | None
    rows_total: int | None
    estimated_end_at: datetime | None
    reason: str | None
    reason_code: str | None
    finished_at: datetime | None


def show_job(job: Job) -> ShownJob:
    """Return how far a job is: what it does while it runs, and why it ended unless that was well."""
    is_running = job.status == JobStatus.RUNNING
    is_well = is_running or job.status == JobStatus.DONE
    return ShownJob(
        status=job.status,
        progress_percent=job.progress_percent,
        doing=job.doing if is_running else "",
        phase=job.phase if is_running else "",
        rows_read=job.rows_read,
        rows_total=job.rows_total,
        estimated_end_at=job.estimated_end_at if is_running else None,
        reason=None if is_well else job.reason,
        reason_code=None if is_well else job.reason_code,
        finished_at=job.finished_at,
    )


def _view(
    report: Report, row: ReportRevision, job: Job, deliveries: Mapping[str, tuple[DeliveryView, ...]]
) -> ReportView:
    pin = row.pin
    return ReportView(
        id=report.id,
        **show_job(job),
        request=report.request,
        period_start=from_epoch_us(pin["period"]["start_us"]),
        period_end=from_epoch_us(pin["period"]["end_us"]),
        timezone=report.timezone,
        components=len(pin["components"]),
        series=len(pin["series"]),
        kpis={kind: list(names) for kind, names in pin["kpis"].items()},
        as_of=row.as_of,
        asked_at=row.asked_at,
        revision=row.revision,
        because=row.because,
        digest=row.digest,
        result_rows=row.result_rows,
        requested_by=row.requested_by,
        template=report.template_name,
        template_version=report.template_version,
        deliveries=deliveries.get(report.id, ()),
        created_at=row.created_at,
        started_at=job.started_at,
    )
