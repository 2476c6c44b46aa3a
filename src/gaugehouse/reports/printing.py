"""Files of reports are made by workers: once each, by a job that requests share, or on the way to a delivery."""

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Select, and_, or_, select
from sqlalchemy.orm import Session

from gaugehouse.config import QUERY_MEMORY_BYTES, Layout, Settings
from gaugehouse.database import Database, database_now
from gaugehouse.database.tables import Job as JobRow
from gaugehouse.database.tables import Report, ReportRevision
from gaugehouse.errors import AlreadyExists, NotFound
from gaugehouse.jobs import Control, Job, JobStatus, JobView, Progress, enqueue, finish, get_job
from gaugehouse.lake import open_snapshot, read_gone
from gaugehouse.reports.chunks import Limits
from gaugehouse.reports.documents import DEFAULT_TITLE, Issue, make_document
from gaugehouse.reports.files import WantedFile, decode_wanted, encode_wanted, publish_file, write_file
from gaugehouse.reports.parcel import FileSource, ReportFile
from gaugehouse.reports.passes import OnProgress, say_nothing
from gaugehouse.reports.pin import decode_pin
from gaugehouse.reports.render.document import ReportDocument
from gaugehouse.reports.render.formats import MEDIA_TYPES, ReportFormat, compose_name, render
from gaugehouse.reports.request import decode_request, find_extra_tables
from gaugehouse.reports.result import VALUES, load_answer
from gaugehouse.reports.surroundings import Reading, find_surroundings
from gaugehouse.tracing import span

RENDER_KIND = "render_report"
RENDER_PRIORITY = -1  # somebody waits
FAILURE_SHOWN_S = 60.0  # whoever asks so soon is told why it failed; later, it is tried again
COMPUTED_PERCENT = 60.0
RENDERED_PERCENT = 95.0
ONE_TABLE = frozenset({ReportFormat.CSV, ReportFormat.PARQUET})
RENDERING, WRITING = "rendering", "writing"

OnStop = Callable[[Callable[[], None]], None]
"""Is handed what breaks off a reading, for whoever must stop."""


def never_stop(_interrupt: Callable[[], None]) -> None:
    """Break nothing off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Printer:
    """What makes files in a process.

    Args:
        database: Reports and jobs.
        layout: Where lake, results and files live.
        threads: Threads that one file is computed with.
        query_memory_bytes: What the columns being read may take together [bytes].
        limits: What one file holds in memory while it is computed.
        lock: One file at a time: a workbook of 200,000 rows takes 0.6 GB.
    """

    database: Database
    layout: Layout
    threads: int = 1
    query_memory_bytes: int = QUERY_MEMORY_BYTES
    limits: Limits = field(default_factory=Limits)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def from_settings(cls, settings: Settings, database: Database) -> "Printer":
        """Return what the settings say."""
        return cls(
            database=database,
            layout=Layout(settings.data_dir),
            threads=settings.worker_threads,
            query_memory_bytes=settings.query_memory_bytes,
        )

    def provide(self, wanted: WantedFile) -> Path:
        """Return where a file is, made now unless it is there.

        Raises:
            NotFound, AlreadyExists, Unavailable, TooLarge, StorageFull: See `make`, `write_file`.
        """
        path = wanted.find_path(self.layout)
        with self.lock:
            if not path.exists():
                unfinished = write_file(
                    self._make(wanted, say_nothing, never_stop), path, writer=secrets.token_hex(8), attempt=0
                )
                publish_file(unfinished, path)
        return path

    def make(self, wanted: WantedFile, on_progress: OnProgress = say_nothing, on_stop: OnStop = never_stop) -> bytes:
        """Return the bytes of a file, which nobody keeps.

        Args:
            wanted: Which file.
            on_progress: Is told how far this is; raise in it to stop.
            on_stop: Is handed what interrupts the questions to the lake.

        Raises:
            NotFound: There is no such revision.
            AlreadyExists: It has no result.
            Unavailable: Its result or the lake cannot be read.
            TooLarge: The format cannot hold it.
        """
        with self.lock:
            return self._make(wanted, on_progress, on_stop)

    def _make(self, wanted: WantedFile, on_progress: OnProgress, on_stop: OnStop) -> bytes:
        with span("report.print", report=wanted.report_id, format=wanted.report_format.value):
            document = self._load(wanted, on_progress, on_stop)
            doing = f"writing {wanted.report_format.value}"
            on_progress(Progress(percent=COMPUTED_PERCENT, doing=doing, phase=RENDERING))
            return render(document, wanted.report_format, wanted.options)

    def _load(self, wanted: WantedFile, on_progress: OnProgress, on_stop: OnStop) -> ReportDocument:
        issue, before = load_issue(self.database, self.layout, wanted.report_id, wanted.revision)
        if wanted.report_format in ONE_TABLE and wanted.options.table == VALUES:
            return make_document(issue)  # nobody would see what surrounds them
        snapshot = None
        if issue.pin.as_of is not None:
            snapshot = open_snapshot(self.layout.lake_dir, memory_bytes=self.query_memory_bytes)
            on_stop(snapshot.engine.interrupt)
        share = COMPUTED_PERCENT / 100
        reading = Reading(
            snapshot=snapshot,
            gone=read_gone(self.layout, issue.pin.project, "measurements"),
            threads=self.threads,
            limits=self.limits,
            on_progress=lambda step: on_progress(replace(step, percent=share * step.percent)),
        )
        return make_document(issue, find_surroundings(issue, before, reading))


def load_issue(database: Database, layout: Layout, report_id: str, revision: int) -> tuple[Issue, Issue | None]:
    """Return a revision as it was issued, and the last one before it that has a result.

    Raises:
        NotFound: There is no such revision.
        AlreadyExists: It has no result.
        Unavailable: Its result cannot be read.
    """
    with database.reading() as session:
        rows = session.execute(_find_issued(report_id, revision)).all()
    if not rows or rows[0].ReportRevision.revision != revision:
        raise NotFound(f"the report has no revision {revision}", code="revision_not_found")
    if rows[0].Job.status != JobStatus.DONE:
        raise AlreadyExists(f"the report has no result, it is {rows[0].Job.status}", code="report_not_done")
    before = next((row for row in rows[1:] if row.Job.status == JobStatus.DONE), None)
    return _issue(layout, *rows[0]), None if before is None else _issue(layout, *before)


def _find_issued(report_id: str, revision: int) -> Select[Report, ReportRevision, JobRow]:
    return (
        select(Report, ReportRevision, JobRow)
        .join(ReportRevision, ReportRevision.report_id == Report.id)
        .join(JobRow, JobRow.id == ReportRevision.job_id)
        .where(Report.id == report_id, ReportRevision.revision <= revision)
        .order_by(ReportRevision.revision.desc())
    )


def _issue(layout: Layout, report: Report, row: ReportRevision, job: JobRow) -> Issue:
    return Issue(
        report_id=report.id,
        revision=row.revision,
        asked_by=row.requested_by,
        computed_at=job.finished_at or row.created_at,
        digest=row.digest or "",
        request=decode_request(report.request),
        pin=decode_pin(row.pin),
        answer=load_answer(layout, report.id, row.revision, find_extra_tables(report.request)),
    )


# --- By a job ---------------------------------------------------------------------------------------------------------


def queue_rendering(session: Session, project_id: str, wanted: WantedFile) -> JobView:
    """Return the job that makes a file: one that does already, else a new one.

    Args:
        session: An open transaction.
        project_id: Whose report it is.
        wanted: A file of a revision that is done.

    Raises:
        AlreadyExists: It has failed just now; the message says why.
    """
    # Two requests at once shall share one job: the second waits here until the first has queued it.
    session.execute(select(Report.id).where(Report.id == wanted.report_id).with_for_update())
    payload = encode_wanted(wanted)
    for job_id, status, reason, known in session.execute(_find_renderings(wanted.report_id)):
        if known != payload:
            continue
        if status == JobStatus.FAILED:
            raise describe_failure(wanted, reason)
        return get_job(session, job_id)
    job_id = enqueue(
        session,
        kind=RENDER_KIND,
        project_id=project_id,
        subject_id=wanted.report_id,
        payload=payload,
        priority=RENDER_PRIORITY,
    )
    return get_job(session, job_id)


def _find_renderings(report_id: str) -> Select[str, str, str | None, dict[str, Any]]:
    has_just_failed = and_(JobRow.status == JobStatus.FAILED, JobRow.finished_at > database_now(-FAILURE_SHOWN_S))
    is_open = JobRow.status.in_([JobStatus.QUEUED, JobStatus.RUNNING])
    return (
        select(JobRow.id, JobRow.status, JobRow.reason, JobRow.payload)
        .where(JobRow.subject_id == report_id, JobRow.kind == RENDER_KIND, or_(is_open, has_just_failed))
        .order_by(JobRow.created_at.desc(), JobRow.id)
    )


def describe_failure(wanted: WantedFile, reason: str | None) -> AlreadyExists:
    """Return why a file is not there."""
    said = reason or "no reason was given"
    return AlreadyExists(
        f"the report could not be written as {wanted.report_format.value}: {said}",
        code="rendering_failed",
        fields={"format": wanted.report_format.value},
    )


def run_rendering(job: Job, control: Control, *, printer: Printer) -> None:
    """Make the file that a job is about; a handler for `run_worker` once `printer` is bound.

    Running it again gives the same file. A run that lost its job publishes nothing.

    Raises:
        JobCancelled, JobLost, JobInterrupted: As `control` says.
        NotFound, AlreadyExists, Unavailable, TooLarge, StorageFull: See `Printer.make`, `write_file`.
    """
    wanted = decode_wanted(job.subject_id, job.payload)
    path = wanted.find_path(printer.layout)
    unfinished = None
    try:
        if not path.exists():
            content = control.run(lambda: printer.make(wanted, control.tell, control.on_cancel))
            control.tell(Progress(percent=RENDERED_PERCENT, doing="writing the file", phase=WRITING))
            unfinished = write_file(content, path, writer=job.id, attempt=job.attempts)
        with printer.database.transaction() as session:
            finish(session, job, {"format": wanted.report_format.value})  # the fence: raises before anything shows
            if unfinished is not None:
                publish_file(unfinished, path)
    finally:
        if unfinished is not None:
            unfinished.unlink(missing_ok=True)


# --- For deliveries ---------------------------------------------------------------------------------------------------


def printed_files(printer: Printer) -> FileSource:
    """Return what takes files where they are kept, or makes them.

    The function raises what `Printer.provide` does.
    """

    def take(report_id: str, revision: int, file_format: str) -> ReportFile:
        wanted = WantedFile(report_id=report_id, revision=revision, report_format=ReportFormat(file_format))
        with printer.database.reading() as session:
            name = find_name(session, wanted)
        return ReportFile(name=name, media_type=MEDIA_TYPES[wanted.report_format], content=printer.provide(wanted))

    return take


def find_name(session: Session, wanted: WantedFile) -> str:
    """Return what people see a file called.

    Raises:
        NotFound: There is no such revision.
    """
    row = session.execute(
        select(Report.request, ReportRevision.pin)
        .join(ReportRevision, ReportRevision.report_id == Report.id)
        .where(Report.id == wanted.report_id, ReportRevision.revision == wanted.revision)
    ).one_or_none()
    if row is None:
        raise NotFound(f"the report has no revision {wanted.revision}", code="revision_not_found")
    title = row.request.get("title") or DEFAULT_TITLE
    return compose_name(row.pin["project"], title, wanted.report_id, wanted.revision, wanted.report_format)
