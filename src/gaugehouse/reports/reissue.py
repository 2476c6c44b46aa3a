"""Issue again what late data made stale: as often as the template wishes, and no more often."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import and_, select, update
from sqlalchemy.orm import Session

from gaugehouse.access import Caller, Scope
from gaugehouse.database import Database
from gaugehouse.database.tables import Job, Project, Report, ReportRevision
from gaugehouse.errors import GaugehouseError
from gaugehouse.inventory.checks import split_names
from gaugehouse.jobs import JobStatus
from gaugehouse.lake import Snapshot
from gaugehouse.measurements.period import find_zone
from gaugehouse.reports.definitions import OnLateData, TemplateDefinition
from gaugehouse.reports.pin import Pin, decode_pin
from gaugehouse.reports.staleness import count_late_rows
from gaugehouse.reports.store import reissue_report
from gaugehouse.reports.templated import Asker
from gaugehouse.reports.templates import find_template_by_id

logger = structlog.get_logger()

LOOKED_AT_FOR = timedelta(days=92)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stale:
    """A report that is due to be issued again."""

    report_id: str
    reissued_at: datetime | None


def is_reissue_due(definition: TemplateDefinition, *, issued_at: datetime, now: datetime) -> bool:
    """Return whether a stale report may be issued again now. Pure.

    Args:
        definition: The policy of its template.
        issued_at: When its last revision was asked for.
        now: Aware.
    """
    match definition.on_late_data:
        case OnLateData.NEVER:
            return False
        case OnLateData.DAILY:
            zone = find_zone(definition.request.timezone)
            return now.astimezone(zone).date() > issued_at.astimezone(zone).date()
        case OnLateData.AT_ONCE:
            return now - issued_at >= timedelta(seconds=definition.minimum_pause_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """A report that may have to be issued again: who asked for it, and what its newest revision is pinned to."""

    report_id: str
    caller: Caller
    pin: Pin


def reissue_late(asker: Asker, snapshot: Snapshot) -> list[str]:
    """Issue again what rows that came late have made stale, where the template wishes it; return their ids.

    Looked at are the done reports of templates with such a wish, for `LOOKED_AT_FOR` after they were asked for. What
    changed in attributes or formulas is no reason here: people ask for that.

    Args:
        asker: Database and lake.
        snapshot: What the lake shows now.

    Raises:
        Unavailable: A file of the lake cannot be read.
    """
    with asker.database.reading() as session:
        now = asker.database.now(session)
        candidates = _find_candidates(session, now)
        late = {one.report_id: (one, rows) for one in candidates if (rows := count_late_rows(snapshot, one.pin))}

    def reissue(report_id: str) -> object:
        one, rows = late[report_id]
        because = f"{rows:,} measurement{'s' if rows > 1 else ''} came after {one.pin.as_of:%Y-%m-%d %H:%M:%S} UTC"
        return reissue_report(
            asker.database,
            asker.source,
            one.caller,
            report_id,
            because=because,
            cells_limit=asker.cells_limit,
            allowance=asker.allowance,
            is_automatic=True,
        )

    return reissue_stale(asker.database, late, now=now, reissue=reissue)


def _find_candidates(session: Session, now: datetime) -> list[_Candidate]:
    statement = (
        select(Report, Project.slug, ReportRevision.pin)
        .join(Project, Project.id == Report.project_id)
        .join(ReportRevision, and_(ReportRevision.report_id == Report.id, ReportRevision.revision == Report.revision))
        .join(Job, Job.id == ReportRevision.job_id)
        .where(
            Report.template_id.is_not(None),
            Report.created_at > now - LOOKED_AT_FOR,
            Job.status == JobStatus.DONE.value,
        )
        .order_by(Report.created_at, Report.id)
    )
    policies: dict[str | None, OnLateData] = {}
    found = []
    for report, slug, pin in session.execute(statement):
        if report.template_id not in policies:
            template = find_template_by_id(session, report.template_id)
            policies[report.template_id] = OnLateData.NEVER if template is None else template.definition.on_late_data
        if policies[report.template_id] is not OnLateData.NEVER and pin["as_of_us"] is not None:
            caller = Caller(
                kind="operator",
                name=report.requested_by,
                project=slug,
                project_id=report.project_id,
                scopes=frozenset({Scope.MANAGER}),
            )
            found.append(_Candidate(report_id=report.id, caller=caller, pin=decode_pin(pin)))
    return found


def reissue_stale(
    database: Database, stale: Iterable[str], *, now: datetime, reissue: Callable[[str], object]
) -> list[str]:
    """Issue those of the stale reports again whose templates want that now; return their ids.

    Each is claimed first, so of several processes that are told the same only one does it. A re-issue that fails is
    logged and may be tried again at the next call; one that a crash cut off, when the template's pause is over.

    Args:
        database: Templates and reports.
        stale: Ids of reports that the lake would answer differently now; others than those of templates are passed
            over.
        now: By the database's clock.
        reissue: Is given the id of a report and asks for its next revision.
    """
    with database.reading() as session:
        due = [one for ids in split_names(stale) for one in _find_due(session, ids, now)]
    done = []
    for one in due:
        if not _claim(database, one, now):
            continue
        try:
            reissue(one.report_id)
        except GaugehouseError as exc:
            _release(database, one, now)
            logger.warning("reissue_failed", report=one.report_id, code=exc.code, reason=exc.message)
        else:
            done.append(one.report_id)
            logger.info("report_reissued", report=one.report_id)
    return done


def _find_due(session: Session, ids: list[str], now: datetime) -> list[_Stale]:
    statement = (
        select(Report.id, Report.template_id, Report.reissued_at, Report.created_at)
        .join(ReportRevision, and_(ReportRevision.report_id == Report.id, ReportRevision.revision == Report.revision))
        .join(Job, Job.id == ReportRevision.job_id)
        .where(Report.id.in_(ids), Report.template_id.is_not(None), Job.status == JobStatus.DONE.value)
        .order_by(Report.created_at, Report.id)
    )
    policies: dict[str, TemplateDefinition | None] = {}
    due = []
    for row in session.execute(statement):
        if row.template_id not in policies:
            template = find_template_by_id(session, row.template_id)
            policies[row.template_id] = None if template is None else template.definition
        policy = policies[row.template_id]
        issued_at = row.reissued_at or row.created_at
        if policy is not None and is_reissue_due(policy, issued_at=issued_at, now=now):
            due.append(_Stale(report_id=row.id, reissued_at=row.reissued_at))
    return due


def _claim(database: Database, one: _Stale, now: datetime) -> bool:
    return _move(database, one.report_id, seen=one.reissued_at, to=now)


def _release(database: Database, one: _Stale, now: datetime) -> None:
    _move(database, one.report_id, seen=now, to=one.reissued_at)


def _move(database: Database, report_id: str, *, seen: datetime | None, to: datetime | None) -> bool:
    was = Report.reissued_at.is_(None) if seen is None else Report.reissued_at == seen
    statement = update(Report).where(Report.id == report_id, was).values(reissued_at=to).returning(Report.id)
    with database.transaction() as session:
        found = session.scalars(statement.execution_options(synchronize_session=False)).one_or_none()
    return found is not None
