"""`gaugehouse report schedule`: on the database, while the server runs or not; only a running server sees to them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.orm import Session

from gaugehouse import reports
from gaugehouse.access import Caller
from gaugehouse.cli.desk import installation_database, operator_of
from gaugehouse.cli.progress import DataTable, out, print_table
from gaugehouse.config import Settings
from gaugehouse.errors import Refused
from gaugehouse.installation import local_trail
from gaugehouse.jobs import CatchUp
from gaugehouse.measurements.period import find_zone
from gaugehouse.reports import FireTime, ReportScheduleWishes, ScheduleView
from gaugehouse.web.api.schedules import describe_schedule

NONE = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleOptions:
    """What the command line asks."""

    data_dir: Path
    project: str
    name: str
    template: str
    every: str
    timezone: str | None
    catch_up: str
    catch_up_limit: int


def add_schedule(options: ScheduleOptions) -> None:
    """Create a schedule and show it.

    Raises:
        Refused, NotFound, AlreadyExists: See `create_report_schedule`.
    """
    if options.catch_up not in set(CatchUp):
        raise Refused(
            f"--catch-up must be one of {', '.join(CatchUp)}, not {options.catch_up!r}", code="catch_up_refused"
        )
    wishes = ReportScheduleWishes(
        template=options.template,
        recurrence=options.every,
        timezone=options.timezone,
        catch_up=CatchUp(options.catch_up),
        catch_up_limit=options.catch_up_limit,
    )
    with installation_database(options.data_dir) as database, database.transaction() as session:
        caller = operator_of(session, options.project)
        view = reports.create_report_schedule(session, caller, options.name, wishes, now=database.now(session))
        trail = local_trail(Settings(data_dir=options.data_dir), caller.project_id)
        trail.tell(session, "schedule.create", id=view.id, name=view.name, details=describe_schedule(view))
    _show([view])


def _tell(session: Session, data_dir: Path, caller: Caller, action: str, name: str) -> None:
    local_trail(Settings(data_dir=data_dir), caller.project_id).tell(session, action, name=name)


def list_schedules(*, data_dir: Path, project: str) -> None:
    """Show every schedule of a project."""
    with installation_database(data_dir) as database, database.reading() as session:
        _show(reports.list_report_schedules(session, operator_of(session, project)))


def pause_schedule(*, data_dir: Path, project: str, name: str) -> None:
    """Let a schedule rest and show it."""
    with installation_database(data_dir) as database, database.transaction() as session:
        caller = operator_of(session, project)
        view = reports.pause_report_schedule(session, caller, name)
        _tell(session, data_dir, caller, "schedule.pause", view.name)
    _show([view])


def resume_schedule(*, data_dir: Path, project: str, name: str) -> None:
    """Let a schedule go on and show it."""
    with installation_database(data_dir) as database, database.transaction() as session:
        caller = operator_of(session, project)
        view = reports.resume_report_schedule(session, caller, name, now=database.now(session))
        _tell(session, data_dir, caller, "schedule.resume", view.name)
    _show([view])


def remove_schedule(*, data_dir: Path, project: str, name: str) -> None:
    """Delete a schedule."""
    with installation_database(data_dir) as database, database.transaction() as session:
        caller = operator_of(session, project)
        reports.delete_report_schedule(session, caller, name)
        _tell(session, data_dir, caller, "schedule.delete", name)
    out.print(f"schedule [bold]{name}[/bold] removed")


def preview_schedule(*, data_dir: Path, project: str, name: str, count: int) -> None:
    """Show the next fire times of a schedule."""
    with installation_database(data_dir) as database, database.reading() as session:
        caller, now = operator_of(session, project), database.now(session)
        _show_ahead(reports.preview_report_schedule(session, caller, name, now=now, count=count))


def preview_recurrence(*, every: str, timezone: str | None, count: int) -> None:
    """Show the next fire times of a recurrence that no schedule has yet."""
    _show_ahead(reports.preview_recurrence(every, timezone=timezone, now=datetime.now(UTC), count=count))


def show_history(*, data_dir: Path, project: str, name: str, count: int) -> None:
    """Show what became of a schedule's fire times."""
    table = _table("due", "outcome", "left out before", "report", "its status", "reason")
    with installation_database(data_dir) as database, database.reading() as session:
        caller = operator_of(session, project)
        zone = find_zone(reports.get_report_schedule(session, caller, name).timezone)
        for one in reports.list_fires(session, caller, name, limit=count).items:
            due = f"{one.fire_at.astimezone(zone):%Y-%m-%d %H:%M %Z}"
            report = (one.report_id or NONE, one.report_status or NONE, one.reason or "")
            table.add(due, one.outcome, str(one.skipped or ""), *report)
    print_table(table)


def _table(*headings: str) -> DataTable:
    table = DataTable()
    for heading in headings:
        table.add_column(heading, overflow="fold")  # an id that is cut short is none
    return table


def _show(views: Sequence[ScheduleView]) -> None:
    table = _table("schedule", "template", "recurrence", "zone", "period", "missed", "next")
    for one in views:
        zone = find_zone(one.timezone)
        due = "paused" if one.next_at is None else f"{one.next_at.astimezone(zone):%Y-%m-%d %H:%M %Z}"
        table.add(one.name, one.template, one.recurrence, one.timezone, one.period or NONE, one.catch_up, due)
    print_table(table)


def _show_ahead(times: Sequence[FireTime]) -> None:
    table = _table("due", "UTC", "period from", "to (UTC)")
    for one in times:
        bounds = [NONE if edge is None else f"{edge:%Y-%m-%d %H:%M}" for edge in (one.period_start, one.period_end)]
        table.add(f"{one.local:%a %Y-%m-%d %H:%M %Z}", f"{one.fire_at:%Y-%m-%d %H:%M}", *bounds)
    print_table(table)
