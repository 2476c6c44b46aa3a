"""How far reports are, for those who follow many of them: one question for all, without what they are about."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from gaugehouse.access import Caller
from gaugehouse.database.tables import Job, Report, ReportRevision
from gaugehouse.errors import NotFound
from gaugehouse.measurements.names import find_name_problem
from gaugehouse.query.components import show_name
from gaugehouse.reports.store import ID_CHARACTERS, check_sees_project, show_job


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportProgress:
    """The newest revision of a report, in the words of `ReportView`."""

    id: str
    revision: int
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


def check_sees_reports(session: Session, caller: Caller, report_ids: Collection[str]) -> None:
    """Refuse to follow reports that are not of the caller's project.

    Raises:
        NotFound: One of them does not exist, or is another project's: the answer is the same.
        Forbidden: A key that is bound to a component.
    """
    if not report_ids:
        return
    check_sees_project(caller)
    storable = [one for one in report_ids if find_name_problem(one) is None]  # others would make a driver fail
    statement = select(Report.id).where(Report.project_id == caller.project_id, Report.id.in_(storable))
    known = set(session.scalars(statement))
    for one in report_ids:
        if one not in known:
            raise NotFound(f"there is no report {show_name(one)[:ID_CHARACTERS]!r}", code="report_not_found")


def find_progress(session: Session, report_ids: Collection[str]) -> dict[str, ReportProgress]:
    """Return how far the newest revision of each report is, by id; who may see which was asked before."""
    is_newest = (ReportRevision.report_id == Report.id) & (ReportRevision.revision == Report.revision)
    statement = (
        select(Report.id, Report.revision, Job)
        .join(ReportRevision, is_newest)
        .join(Job, Job.id == ReportRevision.job_id)
        .where(Report.id.in_(report_ids))
    )
    return {
        report_id: ReportProgress(id=report_id, revision=revision, **show_job(job))
        for report_id, revision, job in session.execute(statement)
    }
