"""A report from a template: asked for by name, or by a schedule at its fire time."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from gaugehouse.access import Caller, Scope
from gaugehouse.database import Database
from gaugehouse.database.tables import Project
from gaugehouse.errors import NotFound
from gaugehouse.jobs import Control, Job, finish
from gaugehouse.reports.allowance import Allowance
from gaugehouse.reports.ask import DEFAULT_ALLOWANCE
from gaugehouse.reports.request import PeriodBounds, ReportRequest
from gaugehouse.reports.store import Occasion, ReportSource, ReportView, request_report
from gaugehouse.reports.templates import Template, find_template, find_template_by_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """What every scheduled question of a process shares.

    Args:
        database: Templates, reports and jobs.
        source: The lake, opened by this process: only its owner knows what was acknowledged last.
        cells_limit: Most values of one report.
        allowance: What else one may cost.
    """

    database: Database
    source: ReportSource
    cells_limit: int
    allowance: Allowance = DEFAULT_ALLOWANCE


def request_templated(
    asker: Asker, caller: Caller, name: str, *, period: str | PeriodBounds | None = None
) -> ReportView:
    """Ask for a template's report now.

    Args:
        asker: Database and lake.
        caller: Who asks; the project is theirs.
        name: Of the template.
        period: Instead of the template's own.

    Raises:
        NotFound: The project has no such template, or lacks what the template asks about.
        PeriodRefused, Refused, TooLarge, Throttled, Forbidden: See `request_report`.
    """
    with asker.database.reading() as session:
        template = find_template(session, caller.project_id, name)
    return _request(asker, caller, template, period, _occasion(template))


def ask_scheduled(job: Job, control: Control, *, asker: Asker) -> None:
    """Ask for the report that a schedule is due for; a handler for `run_worker` once `asker` is bound.

    The period is read at the fire time, so that a report that a downtime delayed is about the same days. The report is
    stored together with the end of this job: asked for once, however often the job is run.

    Raises:
        JobCancelled, JobLost, JobInterrupted: As `control` says.
        NotFound: The template is deleted, or what it asks about is gone.
        PeriodRefused, Refused, TooLarge: See `request_report`.
        Unavailable: Database or lake cannot answer now.
    """
    schedule: Mapping[str, Any] = job.payload["schedule"]
    with asker.database.reading() as session:
        template = find_template_by_id(session, job.payload["template_id"])
        project = None if job.project_id is None else session.get(Project, job.project_id)
    if template is None or project is None:
        raise NotFound("the template of this schedule was deleted", code="template_not_found")
    caller = Caller(
        kind="operator",
        name=schedule["author"],
        project=project.slug,
        project_id=project.id,
        scopes=frozenset({Scope.MANAGER}),
    )
    asked_at = datetime.fromisoformat(schedule["fire_at"])
    occasion = replace(_occasion(template), asked_at=asked_at, also=partial(_finish, job))
    control.check()
    _request(asker, caller, template, job.payload.get("period"), occasion, timezone=job.payload.get("timezone"))


def _finish(job: Job, session: Session, report_id: str) -> None:
    finish(session, job, {"report_id": report_id})


def _occasion(template: Template) -> Occasion:
    return Occasion(template_id=template.id, template_name=template.name, template_version=template.version)


def _as_question(template: Template) -> ReportRequest:
    """Return what a template asks, with the title and the targets that stand on its files."""
    request, definition = template.definition.request, template.definition
    return replace(request, title=request.title or definition.title, targets={**request.targets, **definition.targets})


def _request(
    asker: Asker,
    caller: Caller,
    template: Template,
    period: str | PeriodBounds | None,
    occasion: Occasion,
    *,
    timezone: str | None = None,
) -> ReportView:
    body = _as_question(template)
    if period is not None:
        body = replace(body, period=period, timezone=timezone or body.timezone)
    return request_report(
        asker.database,
        asker.source,
        caller,
        body,
        cells_limit=asker.cells_limit,
        allowance=asker.allowance,
        occasion=occasion,
    )
