"""Reports: KPIs over periods. Managers ask; a worker computes; the answer is kept as evidence."""

from dataclasses import dataclass
from typing import Annotated, Literal, Self

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError
from sqlalchemy.orm import Session

from gaugehouse import reports
from gaugehouse.access import Caller
from gaugehouse.errors import Refused
from gaugehouse.inventory import Page
from gaugehouse.measurements.comparison import Against
from gaugehouse.measurements.period import is_naive_time
from gaugehouse.reports import ComponentFilter, KpiTarget, PeriodBounds, ReportRequest, ReportView, Staleness
from gaugehouse.web.api.answers import answer_table
from gaugehouse.web.api.forms import REPORT_FORMS, ROW_FORMS
from gaugehouse.web.api.lists import ListCursor, ListLimit
from gaugehouse.web.api.report_files import FILES, AnswerForm, FileMaker, FileOptions, answer_file, answer_rows
from gaugehouse.web.edge import EdgeBody
from gaugehouse.web.negotiate import AnswerFormat
from gaugehouse.web.problems import CHANGING, SECURED, WITH_BODY, refusals
from gaugehouse.web.security import InRuntime, Manager, ReportReader
from gaugehouse.web.threads import InThreads

TableName = Literal["values", "comparison", "groups"]

router = APIRouter(prefix="/v1/reports", tags=["reports"])

ReportId = Annotated[str, Path(examples=["rep_4Fz0bX1mQ9sT7uV2wY3a"])]
Revision = Annotated[int | None, Query(ge=1, description="The newest that is done without it")]


class BoundsBody(EdgeBody):
    """An explicit period, end exclusive."""

    start: str = Field(examples=["2026-11-01T00:00:00+01:00"])
    end: str = Field(examples=["2026-11-08T00:00:00+01:00"])


class FilterBody(EdgeBody):
    """Components by type and labels; both narrow."""

    type: str | None = None
    labels: dict[str, str] = Field(default_factory=dict, examples=[{"line": "A"}])


class TargetBody(EdgeBody):
    """What a KPI should be, in its unit; one of the three at least."""

    target: float | None = Field(None, examples=[98.0], description="Wanted value")
    lower: float | None = Field(None, examples=[95.0], description="Least acceptable value")
    upper: float | None = Field(None, description="Greatest acceptable value")


class ReportBody(EdgeBody):
    """The question. All but the period is optional; with a template, only the period may be given."""

    template: str | None = Field(None, description="Name of a saved template that asks the question")
    period: str | BoundsBody | None = Field(
        None,
        validate_default=True,
        examples=["last_month"],
        description="today, yesterday, last_7_days, last_week, last_month, last_quarter, last_year, 2026, 2026-Q3,"
        " 2026-10, 2026-W45, 2026-11-20, start/end, or bounds; needed without a template",
    )
    timezone: str = Field("UTC", examples=["Europe/Berlin"], description="IANA zone of period and buckets")
    components: Literal["all"] | list[str] | FilterBody = Field("all", description="all, names or ids, or a filter")
    metrics: list[str] | None = Field(None, description="All without it")
    kpis: list[str] | None = Field(
        None, examples=[["mean", "availability"]], description="Those of each kind without it"
    )
    bucket: str | None = Field(
        None, examples=["day"], description="hour, day, week, month, quarter, year, shift, a duration"
    )

    compare: Against | None = Field(
        None, examples=["previous"], description="Beside each value that of the period before, or of the year before"
    )
    group_by: str | None = Field(
        None,
        examples=["label:line"],
        description="Also the KPIs of components together: fleet, type, shift, firmware, or label:NAME",
    )
    title: str = Field("", description="Stands on files")
    targets: dict[str, TargetBody] = Field(default_factory=dict, description="By KPI; what values are judged against")

    @field_validator("period")
    @classmethod
    def _need_period(cls, period: str | BoundsBody | None, info: ValidationInfo) -> str | BoundsBody | None:
        if period is None and info.data.get("template") is None:
            raise PydanticCustomError("missing", "Field required")
        return period

    @model_validator(mode="after")
    def _refuse_two_questions(self) -> Self:
        if self.template is not None and self.model_fields_set - {"template", "period"}:
            raise PydanticCustomError("two_questions", "beside a template only its period can be given")
        return self

    @model_validator(mode="after")
    def _refuse_naive_times(self) -> Self:
        if self.template is not None or "timezone" in self.model_fields_set or self.period is None:
            return self
        period = self.period
        for text in (period.start, period.end) if isinstance(period, BoundsBody) else period.split("/"):
            if is_naive_time(text):
                raise PydanticCustomError(
                    "naive_time",
                    "the time {text} has no offset: add one such as +01:00 or Z, or name a timezone",
                    {"text": text},
                )
        return self

    def own_period(self) -> str | PeriodBounds | None:
        """Return the period in the words of the room `reports`, None where the template's is wanted."""
        period = self.period
        return PeriodBounds(start=period.start, end=period.end) if isinstance(period, BoundsBody) else period

    def as_request(self) -> ReportRequest:
        """Return the question in the words of the room `reports`."""
        period, components = self.own_period(), self.components
        assert period is not None  # noqa: S101  # needed without a template; narrows the type
        return ReportRequest(
            period=period,
            timezone=self.timezone,
            components=ComponentFilter(type=components.type, labels=components.labels)
            if isinstance(components, FilterBody)
            else "all"
            if components == "all"
            else tuple(components),
            metrics=None if self.metrics is None else tuple(self.metrics),
            kpis=None if self.kpis is None else tuple(self.kpis),
            bucket=self.bucket,
            compare=self.compare,
            group_by=self.group_by,
            title=self.title,
            targets={kpi: KpiTarget(**target.model_dump()) for kpi, target in self.targets.items()},
        )


@router.post(
    "",
    status_code=202,
    summary="Ask for a report",
    operation_id="request_report",
    responses=refusals(*CHANGING, *WITH_BODY, 404),
)
def ask(runtime: InRuntime, caller: Manager, body: ReportBody, response: Response) -> ReportView:
    """Pin the question to this moment and queue it; `Location` is where to follow it."""
    cells_limit = runtime.settings.report_cells_limit
    allowance = reports.Allowance.from_settings(runtime.settings)
    if body.template is not None:
        asker = reports.Asker(
            database=runtime.database, source=runtime.lake, cells_limit=cells_limit, allowance=allowance
        )
        view = reports.request_templated(asker, caller, body.template, period=body.own_period())
    else:
        question = body.as_request()
        view = reports.request_report(
            runtime.database, runtime.lake, caller, question, cells_limit=cells_limit, allowance=allowance
        )
    response.headers["Location"] = f"/v1/reports/{view.id}"
    return view


@router.get("", summary="List reports", operation_id="find_reports", responses=refusals(*SECURED))
def list_reports(
    runtime: InRuntime, caller: ReportReader, limit: ListLimit = 100, cursor: ListCursor = None
) -> Page[ReportView]:
    """Return one page of the project's reports, the newest first."""
    with runtime.database.reading() as session:
        return reports.list_reports(session, caller, limit=limit, cursor=cursor)


@router.get("/{report_id}", summary="Follow a report", operation_id="read_report", responses=refusals(*SECURED, 404))
def follow(runtime: InRuntime, caller: ReportReader, report_id: ReportId) -> ReportView:
    """Return status, progress in per cent and rows, what the worker is doing, and when it will be done."""
    with runtime.database.reading() as session:
        return reports.get_report(session, caller, report_id)


@router.get(
    "/{report_id}/result",
    summary="Read the result",
    operation_id="read_report_result",
    response_class=Response,
    responses=REPORT_FORMS | refusals(*SECURED, 404, 406, 409),
)
async def read_report_result(
    request: Request,
    threads: InThreads,
    runtime: InRuntime,
    caller: ReportReader,
    report_id: ReportId,
    form: AnswerForm,
    options: FileOptions,
    revision: Revision = None,
    table: Annotated[
        TableName, Query(description="values, or what the report was asked for too: comparison, groups")
    ] = "values",
    top: Annotated[int | None, Query(ge=1, description="Only so many of the highest values of each KPI")] = None,
    bottom: Annotated[int | None, Query(ge=1, description="Only so many of the lowest values")] = None,
) -> Response:
    """Return one row per component (or group), metric, KPI and bucket: value, unit, coverage, n, status and reason.

    As HTML, PDF, XLSX, or as the document with everything that these say: the whole report, as it was issued. Such a
    file is made by a worker when it is asked for first; until it is there, 202 says how far that is.
    """

    def find() -> ReportView:
        with runtime.database.reading() as session:
            return _find_revision(session, caller, report_id, revision)

    if form in FILES:
        if table != "values" or top is not None or bottom is not None:
            raise Refused("table, top and bottom are about rows; this format is the whole report", code="rows_only")
        maker = FileMaker(runtime=runtime, caller=caller, report_format=FILES[form], options=options)
        return await answer_file(request, threads, find, maker)

    def read() -> Response:
        view = find()
        rows = reports.rank_result(reports.read_result(runtime.layout, view, table), top=top, bottom=bottom)
        return answer_rows(rows, form, options, view.as_of)

    return await run_in_threadpool(read)


def _find_revision(session: Session, caller: Caller, report_id: str, revision: int | None) -> ReportView:
    if revision is None:
        return reports.find_newest_done(session, caller, report_id)
    return reports.get_report(session, caller, report_id, revision)


@router.get(
    "/{report_id}/revisions",
    summary="List the revisions of a report",
    operation_id="find_report_revisions",
    responses=refusals(*SECURED, 404),
)
def list_revisions(runtime: InRuntime, caller: ReportReader, report_id: ReportId) -> list[ReportView]:
    """Return every revision that was issued, the newest first."""
    with runtime.database.reading() as session:
        return reports.list_revisions(session, caller, report_id)


class ReissueBody(EdgeBody):
    """Why a report is issued again."""

    because: str = Field(min_length=1, max_length=500, examples=["line 3 delivered its missing hours"])


@router.post(
    "/{report_id}/revisions",
    status_code=202,
    summary="Issue a report again",
    operation_id="reissue_report",
    responses=refusals(*CHANGING, *WITH_BODY, 404, 409),
)
def reissue(
    runtime: InRuntime, caller: Manager, report_id: ReportId, body: ReissueBody, response: Response
) -> ReportView:
    """Ask the same question, over the same period, of what is known now; earlier revisions stay as they are."""
    limit = runtime.settings.report_cells_limit
    view = reports.reissue_report(
        runtime.database,
        runtime.lake,
        caller,
        report_id,
        because=body.because,
        cells_limit=limit,
        allowance=reports.Allowance.from_settings(runtime.settings),
    )
    response.headers["Location"] = f"/v1/reports/{view.id}"
    return view


@dataclass(frozen=True, slots=True, kw_only=True)
class StalenessAnswer:
    """What a revision does not know: rows that came later, attributes that were changed."""

    is_stale: bool
    staleness: Staleness


@router.get(
    "/{report_id}/staleness",
    summary="Ask whether a report still holds",
    operation_id="read_report_staleness",
    responses=refusals(*SECURED, 404),
)
def read_staleness(
    runtime: InRuntime, caller: ReportReader, report_id: ReportId, revision: Revision = None
) -> StalenessAnswer:
    """Return how many rows arrived since that could change its numbers, and which attributes are others now."""
    with runtime.database.reading() as session:
        view = _find_revision(session, caller, report_id, revision)
        pin = reports.get_pin(session, caller, report_id, view.revision)
        staleness = reports.find_staleness(session, runtime.lake.pin(), pin, caller.project_id)
    return StalenessAnswer(is_stale=staleness.is_stale, staleness=staleness)


@router.get(
    "/{report_id}/changes",
    summary="Compare two revisions",
    operation_id="read_report_changes",
    response_class=Response,
    responses=ROW_FORMS | refusals(*SECURED, 404, 406, 409),
)
def read_changes(
    runtime: InRuntime,
    caller: ReportReader,
    report_id: ReportId,
    answer_format: AnswerFormat,
    since: Annotated[int | None, Query(ge=1, description="The one before without it")] = None,
    revision: Revision = None,
) -> Response:
    """Return each value that two revisions tell differently: old, new, and because of what."""
    with runtime.database.reading() as session:
        new = _find_revision(session, caller, report_id, revision)
        old = reports.get_report(session, caller, report_id, max(1, new.revision - 1) if since is None else since)
        pins = [reports.get_pin(session, caller, report_id, view.revision) for view in (old, new)]
    results = [reports.read_answer(runtime.layout, view) for view in (old, new)]
    changes = reports.compare_revisions(runtime.lake.pin(), (pins[0], results[0]), (pins[1], results[1]))
    return answer_table(changes, answer_format, new.as_of)


@router.post(
    "/{report_id}/cancel",
    summary="Cancel a report",
    operation_id="cancel_report",
    responses=refusals(*CHANGING, 404, 409),
)
def cancel(runtime: InRuntime, caller: Manager, report_id: ReportId) -> ReportView:
    """Stop a queued or running report; the worker is interrupted."""
    with runtime.database.transaction() as session:
        return reports.cancel_report(session, caller, report_id)
