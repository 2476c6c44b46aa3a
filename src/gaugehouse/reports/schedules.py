"""Schedules of reports: a template, by the calendar. When they are due, the room `jobs` knows; what for, this one."""

import re
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from gaugehouse import jobs
from gaugehouse.access import Caller
from gaugehouse.database.tables import Job, Report, ReportRevision, ReportTemplate, ScheduleFire
from gaugehouse.errors import NotFound, Refused
from gaugehouse.inventory.pages import Page, load_page, read_order
from gaugehouse.jobs import CatchUp, Recurrence, Schedule, ScheduleWishes, parse_recurrence
from gaugehouse.measurements.period import find_zone, parse_period
from gaugehouse.query.components import show_name
from gaugehouse.reports.definitions import check_name
from gaugehouse.reports.request import PeriodBounds
from gaugehouse.reports.templates import SCHEDULE_KIND, Template, find_template

PREVIEW_LIMIT = 100
SKIPPED = "skipped"
FOR_PERIOD = re.compile(r"(?P<when>.*\S)\s+for\s+(?P<period>\S+)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportScheduleWishes:
    """What a schedule of reports is to be.

    Args:
        template: Name.
        recurrence: `every Monday 06:00 Europe/Berlin`, or with the period of its reports,
            `every Monday 06:00 Europe/Berlin for last_week`.
        timezone: Where the recurrence names none; the template's without it.
        catch_up: What becomes of fire times that were missed while no server ran.
        catch_up_limit: Most reports with `all`.
    """

    template: str
    recurrence: str
    timezone: str | None = None
    catch_up: CatchUp = CatchUp.LATEST
    catch_up_limit: int = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleView:
    """A schedule of reports as its readers see it.

    Args:
        id: sch_...
        template: Name of the template.
        period: Of its reports, where it is not the template's own.
        next_at: Its next fire time; None while it is paused.
        paused_at: Since when it is paused.
        paused_reason: Why, where not a person paused it.
        author: Who made or last changed it; its reports are requested in this name.
    """

    id: str
    name: str
    template: str
    recurrence: str
    timezone: str
    period: str | None
    catch_up: str
    catch_up_limit: int
    next_at: datetime | None
    paused_at: datetime | None
    paused_reason: str | None
    author: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FireTime:
    """One fire time ahead.

    Args:
        fire_at: UTC.
        local: The same instant by the clocks of the schedule's zone.
        period_start: Of the report that will be asked for; None where no template is given.
        period_end: Exclusive.
    """

    fire_at: datetime
    local: datetime
    period_start: datetime | None
    period_end: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FireView:
    """One fire time behind.

    Args:
        fire_at: UTC.
        outcome: skipped (missed and left out), queued or running (asking), done (the report was asked for), failed or
            cancelled.
        skipped: How many earlier fire times were missed and left out.
        reason: Why it failed, or else why its report did, in words.
        reason_code: The same as a code.
        report_id: The report it led to.
        report_status: How that report is.
        noticed_at: When a server saw to it.
    """

    fire_at: datetime
    outcome: str
    skipped: int
    job_id: str | None
    reason: str | None
    reason_code: str | None
    report_id: str | None
    report_status: str | None
    noticed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """A recurrence with the period behind its `for`."""

    recurrence: Recurrence
    period: str | None


def create_report_schedule(
    session: Session, caller: Caller, name: str, wishes: ReportScheduleWishes, *, now: datetime
) -> ScheduleView:
    """Let a template's report be asked for by the calendar.

    Raises:
        Refused: Name, recurrence, period or catch-up cannot be.
        NotFound: The project has no such template.
        AlreadyExists: The project has a schedule of this name.
    """
    check_name(name, "schedule")
    template = find_template(session, caller.project_id, wishes.template)
    schedule = jobs.create_schedule(
        session,
        project_id=caller.project_id,
        name=name,
        author=caller.name,
        wishes=_read_wishes(wishes, template, now),
        now=now,
    )
    return _view(schedule, template.name)


def replace_report_schedule(
    session: Session, caller: Caller, name: str, wishes: ReportScheduleWishes, *, now: datetime
) -> ScheduleView:
    """Make a schedule what is wished, from now on; a paused one stays paused.

    Raises:
        Refused: Recurrence, period or catch-up cannot be.
        NotFound: The project has no such schedule or template.
    """
    _get(session, caller, name)
    template = find_template(session, caller.project_id, wishes.template)
    schedule = jobs.replace_schedule(
        session,
        project_id=caller.project_id,
        name=name,
        author=caller.name,
        wishes=_read_wishes(wishes, template, now),
        now=now,
    )
    return _view(schedule, template.name)


def pause_report_schedule(session: Session, caller: Caller, name: str) -> ScheduleView:
    """Let a schedule rest; NotFound when there is none."""
    _get(session, caller, name)
    schedule = jobs.pause_schedule(session, project_id=caller.project_id, name=name)
    return _view(schedule, _find_template_name(session, schedule))


def resume_report_schedule(session: Session, caller: Caller, name: str, *, now: datetime) -> ScheduleView:
    """Let a schedule go on with its next fire time; NotFound when there is none."""
    _get(session, caller, name)
    schedule = jobs.resume_schedule(session, project_id=caller.project_id, name=name, now=now)
    return _view(schedule, _find_template_name(session, schedule))


def delete_report_schedule(session: Session, caller: Caller, name: str) -> None:
    """Delete a schedule and its history; its reports stay. NotFound when there is none."""
    _get(session, caller, name)
    jobs.delete_schedule(session, project_id=caller.project_id, name=name)


def get_report_schedule(session: Session, caller: Caller, name: str) -> ScheduleView:
    """Return a schedule; NotFound when there is none."""
    schedule = _get(session, caller, name)
    return _view(schedule, _find_template_name(session, schedule))


def list_report_schedules(session: Session, caller: Caller) -> list[ScheduleView]:
    """Return a project's schedules by name."""
    found = jobs.find_schedules(session, project_id=caller.project_id, kind=SCHEDULE_KIND)
    statement = select(ReportTemplate.id, ReportTemplate.name).where(ReportTemplate.project_id == caller.project_id)
    names = {row.id: row.name for row in session.execute(statement)}
    return [_view(schedule, names[schedule.payload["template_id"]]) for schedule in found]


def preview_report_schedule(
    session: Session, caller: Caller, name: str, *, now: datetime, count: int
) -> list[FireTime]:
    """Return the next fire times of a schedule, as if it was not paused, and the periods of their reports.

    Raises:
        NotFound: There is none.
        Refused: 1 to 100 fire times.
    """
    schedule = _get(session, caller, name)
    recurrence = parse_recurrence(schedule.recurrence, timezone=schedule.timezone)
    template = find_template(session, caller.project_id, _find_template_name(session, schedule))
    return _look_ahead(recurrence, template, schedule.payload.get("period"), now, count)


def preview_recurrence(text: str, *, timezone: str | None, now: datetime, count: int) -> list[FireTime]:
    """Return the next fire times of a recurrence that no schedule has yet. Pure.

    Raises:
        Refused: It cannot be understood, or 1 to 100 fire times.
    """
    read = _read_recurrence(text, timezone, now)
    return _look_ahead(read.recurrence, None, read.period, now, count)


def list_fires(
    session: Session, caller: Caller, name: str, *, limit: int = 100, cursor: str | None = None
) -> Page[FireView]:
    """Return one page of what became of a schedule's fire times, newest first.

    Raises:
        NotFound: There is no such schedule.
        Refused: limit or cursor cannot be right.
    """
    schedule = _get(session, caller, name)
    order = read_order("-fire_at", {"fire_at": ScheduleFire.fire_at}, ScheduleFire.id)
    statement = select(ScheduleFire).where(ScheduleFire.schedule_id == schedule.id)
    fires, next_cursor, total = load_page(session, statement, order, limit=limit, cursor=cursor)
    asking = _load_jobs(session, [one.job_id for one in fires if one.job_id is not None])
    reports = [job.result["report_id"] for job in asking.values() if job.result]
    computing = _find_report_jobs(session, reports)
    items = tuple(_view_fire(one, asking.get(one.job_id or ""), computing) for one in fires)
    return Page(items=items, next_cursor=next_cursor, total=total)


def _get(session: Session, caller: Caller, name: str) -> Schedule:
    schedule = jobs.get_schedule(session, project_id=caller.project_id, name=name)
    if schedule.kind != SCHEDULE_KIND:
        raise NotFound(f"there is no schedule {show_name(name)!r}", code="schedule_not_found")
    return schedule


def _read_wishes(wishes: ReportScheduleWishes, template: Template, now: datetime) -> ScheduleWishes:
    zone = template.definition.request.timezone
    read = _read_recurrence(wishes.recurrence, wishes.timezone, now, default_timezone=zone)
    return ScheduleWishes(
        kind=SCHEDULE_KIND,
        payload={"template_id": template.id} | _encode_period(read),
        recurrence=read.recurrence,
        catch_up=wishes.catch_up,
        catch_up_limit=wishes.catch_up_limit,
    )


def _read_recurrence(text: str, timezone: str | None, now: datetime, *, default_timezone: str | None = None) -> _Read:
    """Split `every Monday 06:00 Europe/Berlin for last_week`; a zone in the text needs no other."""
    match = FOR_PERIOD.fullmatch(text.strip())
    when, period = (match["when"], match["period"]) if match else (text, None)
    if period is not None:
        parse_period(period, timezone="UTC", now=now)  # refused at once, not at the first fire time
    recurrence = parse_recurrence(when, timezone=timezone, default_timezone=default_timezone)
    return _Read(recurrence=recurrence, period=period)


def _look_ahead(
    recurrence: Recurrence, template: Template | None, period: str | None, now: datetime, count: int
) -> list[FireTime]:
    if not 1 <= count <= PREVIEW_LIMIT:
        raise Refused(f"count must be 1 to {PREVIEW_LIMIT}, not {count}", code="count_refused")
    zone = find_zone(recurrence.timezone)
    found = []
    for fire_at in recurrence.times_after(now, count=count):
        start, end = _find_period(template, period, recurrence.timezone, fire_at)
        local = fire_at.astimezone(zone)
        found.append(FireTime(fire_at=fire_at, local=local, period_start=start, period_end=end))
    return found


def _encode_period(read: _Read) -> dict[str, str]:
    """Return the period of a schedule's own, with its zone: `Monday 06:00 Berlin for last_week` is a week in Berlin."""
    return {} if read.period is None else {"period": read.period, "timezone": read.recurrence.timezone}


def _find_period(
    template: Template | None, period: str | None, timezone: str, fire_at: datetime
) -> tuple[datetime, datetime] | tuple[None, None]:
    if template is None:
        return None, None
    request = template.definition.request
    asked = period or request.period
    if isinstance(asked, PeriodBounds):
        return None, None  # the same at every fire time, and in the template's own words
    found = parse_period(asked, timezone=request.timezone if period is None else timezone, now=fire_at)
    return found.start, found.end


def _load_jobs(session: Session, ids: list[str]) -> dict[str, Job]:
    return {job.id: job for job in session.scalars(select(Job).where(Job.id.in_(ids)))} if ids else {}


def _find_report_jobs(session: Session, ids: list[str]) -> dict[str, Job]:
    statement = (
        select(Report.id, Job)
        .join(ReportRevision, and_(ReportRevision.report_id == Report.id, ReportRevision.revision == Report.revision))
        .join(Job, Job.id == ReportRevision.job_id)
        .where(Report.id.in_(ids))
    )
    return {row.id: row.Job for row in session.execute(statement)} if ids else {}


def _find_template_name(session: Session, schedule: Schedule) -> str:
    row = session.get(ReportTemplate, schedule.payload["template_id"])
    assert row is not None  # noqa: S101 - a template that is in use is not deleted; narrows the type
    return row.name


def _view(schedule: Schedule, template: str) -> ScheduleView:
    return ScheduleView(
        id=schedule.id,
        name=schedule.name,
        template=template,
        recurrence=schedule.recurrence,
        timezone=schedule.timezone,
        period=schedule.payload.get("period"),
        catch_up=schedule.catch_up.value,
        catch_up_limit=schedule.catch_up_limit,
        next_at=None if schedule.paused_at else schedule.next_at,
        paused_at=schedule.paused_at,
        paused_reason=schedule.paused_reason,
        author=schedule.author,
        created_at=schedule.created_at,
        updated_at=schedule.updated_at,
    )


def _view_fire(fire: ScheduleFire, job: Job | None, computing: dict[str, Job]) -> FireView:
    report_id = job.result["report_id"] if job is not None and job.result else None
    report_job = computing.get(report_id) if report_id else None
    told = report_job if job is not None and not job.reason else job
    return FireView(
        fire_at=fire.fire_at,
        outcome=SKIPPED if job is None else job.status,
        skipped=fire.skipped,
        job_id=fire.job_id,
        reason=None if told is None else told.reason,
        reason_code=None if told is None else told.reason_code,
        report_id=report_id,
        report_status=None if report_job is None else report_job.status,
        noticed_at=fire.created_at,
    )
