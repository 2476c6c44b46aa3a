"""A report as a file: found where it is kept, or made by a worker while the request waits for a moment."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import anyio
import pyarrow as pa
from anyio.to_thread import run_sync
from fastapi import Depends, Header, Query, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse

from gaugehouse import reports
from gaugehouse.access import Caller
from gaugehouse.jobs import JobStatus, JobView, get_job
from gaugehouse.reports import WantedFile
from gaugehouse.reports.printing import describe_failure
from gaugehouse.reports.render import (
    DEFAULT_OPTIONS,
    RenderOptions,
    ReportFormat,
    content_security_policy,
    normalise,
)
from gaugehouse.reports.render import MEDIA_TYPES as FILE_TYPES
from gaugehouse.reports.render.csv_text import stream_csv
from gaugehouse.runtime import Runtime
from gaugehouse.web.api.answers import answer_table
from gaugehouse.web.negotiate import FORMATS, Format, choose
from gaugehouse.web.negotiate import MEDIA_TYPES as ROW_TYPES
from gaugehouse.web.threads import Threads

WAIT_S = 20.0  # a page of a plant's month takes 3 s; who waits longer comes again
FIRST_LOOK_S, LONGEST_LOOK_S = 0.1, 1.0
COME_AGAIN_S = 2
PAGE_ROWS_LIMIT = 10_000
PANELS_LIMIT = 100


class ResultForm(StrEnum):
    """What `?format=` may say: rows, as of any question, or the whole report as a file."""

    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"
    ARROW = "arrow"
    PARQUET = "parquet"
    HTML = "html"
    PDF = "pdf"
    XLSX = "xlsx"
    DOCUMENT = "document"


FILES: dict[ResultForm, ReportFormat] = {
    ResultForm.HTML: ReportFormat.HTML,
    ResultForm.PDF: ReportFormat.PDF,
    ResultForm.XLSX: ReportFormat.XLSX,
    ResultForm.DOCUMENT: ReportFormat.JSON,
}
READ_IN_PLACE = frozenset({ReportFormat.HTML, ReportFormat.PDF})  # by a browser; all else is saved
_BY_TYPE: dict[str, ResultForm] = {
    **{media_type: ResultForm(answer.value) for media_type, answer in FORMATS.items()},
    **{
        FILE_TYPES[file].partition(";")[0]: form
        for form, file in FILES.items()
        if form is not ResultForm.DOCUMENT  # application/json is the rows
    },
}
AVAILABLE = (*ROW_TYPES.values(), *(FILE_TYPES[file] for form, file in FILES.items() if form != ResultForm.DOCUMENT))


async def choose_form(
    form: Annotated[
        ResultForm | None,
        Query(alias="format", description="Form of the answer; wins over the Accept header"),
    ] = None,
    accept: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> ResultForm:
    """Return the form that this request asks for."""
    return form or choose(accept, _BY_TYPE, available=AVAILABLE)


AnswerForm = Annotated[ResultForm, Depends(choose_form)]


async def read_options(
    decimal: Annotated[Literal[".", ","], Query(description="CSV, HTML, PDF: decimal separator")] = ".",
    delimiter: Annotated[str | None, Query(description="CSV: comma, semicolon, tab or |")] = None,
    timezone: Annotated[
        str | None, Query(description="CSV, XLSX, HTML, PDF: IANA zone of instants; the report's without it, CSV: UTC")
    ] = None,
    paper: Annotated[Literal["a4", "us-letter"], Query(description="PDF")] = "a4",
    page_rows: Annotated[int, Query(ge=1, le=PAGE_ROWS_LIMIT, description="HTML, PDF: most rows of a table")] = 1_000,
    panels: Annotated[int, Query(ge=0, le=PANELS_LIMIT, description="HTML, PDF: most charts of a metric")] = 12,
) -> RenderOptions:
    """Return what the reader chose.

    Raises:
        Refused: An option that cannot be, or two that contradict each other.
    """
    return RenderOptions(
        decimal=decimal, delimiter=delimiter, timezone=timezone, paper=paper, page_rows=page_rows, panels=panels
    )


FileOptions = Annotated[RenderOptions, Depends(read_options)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A file that is there, and what people see it called."""

    path: Path
    name: str


async def answer_file(
    request: Request, threads: Threads, find_revision: Callable[[], reports.ReportView], make: "FileMaker"
) -> Response:
    """Return a file, or after a while how far its making is (202).

    Raises:
        AlreadyExists: The report is not done, or the file cannot be made; the message says why.
    """
    look = partial(run_sync, limiter=threads.waiting)
    found = await look(partial(make.begin, find_revision))
    deadline_s, pause_s = time.monotonic() + WAIT_S, FIRST_LOOK_S
    while isinstance(found, tuple) and time.monotonic() < deadline_s and not request.app.state.is_leaving():
        await anyio.sleep(pause_s)
        pause_s = min(1.5 * pause_s, LONGEST_LOOK_S)
        found = await look(partial(make.look, found))
    return _tell_progress(found[1]) if isinstance(found, tuple) else _send(found, make.report_format)


_Making = tuple[WantedFile, JobView]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMaker:
    """One request for a file.

    Args:
        runtime: Of this process.
        caller: Who asks.
        report_format: Which file.
        options: What they chose.
    """

    runtime: Runtime
    caller: Caller
    report_format: ReportFormat
    options: RenderOptions

    def begin(self, find_revision: Callable[[], reports.ReportView]) -> _Found | _Making:
        """Return the file, or the job that makes it."""
        view = find_revision()
        reports.check_done(view)
        wanted = WantedFile(
            report_id=view.id, revision=view.revision, report_format=self.report_format, options=self.options
        )
        if wanted.find_path(self.runtime.layout).exists():
            return self._found(wanted)
        with self.runtime.database.transaction() as session:
            return wanted, reports.queue_rendering(session, self.caller.project_id, wanted)

    def look(self, making: _Making) -> _Found | _Making:
        """Return the file if it is there by now, or how far its job is.

        Raises:
            AlreadyExists: It could not be made.
        """
        wanted, job = making
        with self.runtime.database.reading() as session:
            job = get_job(session, job.id)
        if job.status in {JobStatus.FAILED, JobStatus.CANCELLED}:
            raise describe_failure(wanted, job.reason)
        is_there = job.status is JobStatus.DONE and wanted.find_path(self.runtime.layout).exists()
        return self._found(wanted) if is_there else (wanted, job)

    def _found(self, wanted: WantedFile) -> _Found:
        with self.runtime.database.reading() as session:
            return _Found(path=wanted.find_path(self.runtime.layout), name=reports.find_name(session, wanted))


def answer_rows(rows: pa.Table, form: ResultForm, options: RenderOptions, as_of: object) -> Response:
    """Return rows in their form; CSV as the reader chose, where they did."""
    if form is ResultForm.CSV and normalise(ReportFormat.CSV, options) != DEFAULT_OPTIONS:
        return StreamingResponse(stream_csv(rows, options), media_type=ROW_TYPES[Format.CSV])
    return answer_table(rows, Format(form.value), as_of)


def _send(found: _Found, report_format: ReportFormat) -> Response:
    headers = {"Content-Security-Policy": content_security_policy()} if report_format is ReportFormat.HTML else {}
    return FileResponse(
        found.path,
        media_type=FILE_TYPES[report_format],
        filename=found.name,
        content_disposition_type="inline" if report_format in READ_IN_PLACE else "attachment",
        headers=headers,
    )


def _tell_progress(job: JobView) -> Response:
    is_running = job.status is JobStatus.RUNNING
    body = {
        "status": "rendering",
        "progress_percent": job.progress_percent,
        "doing": job.doing if is_running else "waiting for a worker",
    }
    return JSONResponse(body, 202, headers={"Retry-After": str(COME_AGAIN_S)})
