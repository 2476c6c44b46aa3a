"""`gaugehouse calendar` and `exclusion`: what a plant plans; on the database, while the server runs or not."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, time
from pathlib import Path

from rich.table import Table
from rich.text import Text
from sqlalchemy.orm import Session

from gaugehouse.audit import Trail
from gaugehouse.cli.desk import reading
from gaugehouse.cli.json_output import print_json
from gaugehouse.cli.progress import out, print_table
from gaugehouse.config import Settings
from gaugehouse.errors import Refused, Unreadable
from gaugehouse.installation import local_trail, open_database
from gaugehouse.inventory import (
    ExclusionView,
    NewExclusion,
    add_exclusion,
    find_exclusions,
    get_project,
    get_shift_calendar,
    put_shift_calendar,
    withdraw_exclusion,
)
from gaugehouse.measurements.names import find_name_problem
from gaugehouse.measurements.period import parse_instant
from gaugehouse.measurements.shift_calendar import (
    DAY_MIN,
    HOUR_MIN,
    WEEKDAYS,
    Shift,
    ShiftCalendar,
    decode_shift_calendar,
    read_shift_calendar,
)

WINDOWS_SHOWN = 100
NAMES_SHOWN = 3
ALL_DAYS = frozenset(range(7))


@contextmanager
def _writing(data_dir: Path, project: str, author: str) -> Iterator[tuple[Session, str, Trail]]:
    """Give a transaction, the project's id and who acts; the author is kept with what is written: it must be a name."""
    problem = find_name_problem(author)
    if problem is not None:
        raise Refused(f"the author {problem}", code="author_refused")
    settings = Settings(data_dir=data_dir)
    database = open_database(settings)
    try:
        with database.transaction() as session:
            project_id = get_project(session, project).id
            yield session, project_id, local_trail(settings, project_id)
    finally:
        database.dispose()


# --- Shifts ----------------------------------------------------------------------------------------------------------


def show_calendar(*, data_dir: Path, project: str, version: int | None, as_json: bool) -> None:
    """Show the shifts and holidays of a project.

    Raises:
        NotFound: there is no such project, calendar or version.
    """
    with reading(data_dir, project) as (session, project_id):
        stored = get_shift_calendar(session, project_id, version=version)
    if as_json:
        print_json(stored.calendar)
        return
    calendar = decode_shift_calendar(stored.calendar)
    made = f"version {stored.version} by {stored.author}, {_minute(stored.created_at)}; clocks of "
    out.print(Text.assemble(made, (calendar.timezone, "bold")))
    print_table(_shift_table(calendar))
    for holiday in calendar.holidays:
        out.print(f"no shifts on {holiday.day:%Y-%m-%d}  {holiday.name}", highlight=False, markup=False)


def set_calendar(*, data_dir: Path, project: str, file: Path, author: str) -> None:
    """Make the calendar of a file the project's, and say which version that is.

    Raises:
        Unreadable: the file is not JSON.
        Refused: it is no calendar; the field is named.
        NotFound: there is no such project.
    """
    calendar = read_shift_calendar(_read_json(file))
    with _writing(data_dir, project, author) as (session, project_id, trail):
        stored = put_shift_calendar(session, project_id, calendar, author=author)
        details = {"version": stored.version, "author": author}
        trail.tell(session, "shift_calendar.change", details=details)
    out.print(f"version {stored.version} of the shift calendar of {project}: {len(calendar.shifts)} shifts")


def _read_json(file: Path) -> object:
    text = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise Unreadable(f"{file} is not valid JSON") from exc


def _shift_table(calendar: ShiftCalendar) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("shift", "from", "to", "hours", "starts on", "valid"):
        table.add_column(heading, no_wrap=True, justify="right" if heading == "hours" else "left")
    for shift in calendar.shifts:
        end = time(*divmod((shift.start_min + shift.duration_min) % DAY_MIN, HOUR_MIN))
        table.add_row(
            Text(shift.name),
            f"{shift.start:%H:%M}",
            f"{end:%H:%M}",
            f"{shift.duration_min / HOUR_MIN:.4g}",
            "every day" if shift.days == ALL_DAYS else " ".join(WEEKDAYS[day] for day in sorted(shift.days)),
            _validity(shift),
        )
    return table


def _validity(shift: Shift) -> str:
    since = "" if shift.valid_from is None else f"from {shift.valid_from} "
    return (since + ("" if shift.valid_until is None else f"until {shift.valid_until}")).strip() or "always"


# --- Exclusions ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWindow:
    """What the command line gives: texts that are not understood yet."""

    kind: str
    components: tuple[str, ...] | None
    start: str
    end: str
    timezone: str | None
    reason: str


def add_window(*, data_dir: Path, project: str, window: NewWindow, author: str) -> None:
    """Take a window out of the numbers and print its id alone, so that scripts can take it.

    Raises:
        Refused: times, kind or reason cannot be.
        NotFound: there is no such project or component.
    """
    new = NewExclusion(
        kind=window.kind,
        components=window.components,
        start=parse_instant(window.start, timezone=window.timezone),
        end=parse_instant(window.end, timezone=window.timezone),
        reason=window.reason,
    )
    with _writing(data_dir, project, author) as (session, project_id, trail):
        added = add_exclusion(session, project_id, new, author=author)
        details = {"kind": added.kind, "start": added.start.isoformat(), "end": added.end.isoformat(), "author": author}
        trail.tell(session, "exclusion.create", id=added.id, details=details)
    sys.stdout.write(f"{added.id}\n")


def list_windows(*, data_dir: Path, project: str, component: str | None, with_withdrawn: bool, as_json: bool) -> None:
    """Show the latest windows of a project."""
    with reading(data_dir, project) as (session, project_id):
        page = find_exclusions(
            session,
            project_id,
            component=component,
            include_withdrawn=with_withdrawn,
            sort="-start",
            limit=WINDOWS_SHOWN,
        )
    if as_json:
        print_json(page.items)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading, characters in (("id", 24), ("from", 16), ("to (UTC)", 16)):
        table.add_column(heading, no_wrap=True, min_width=characters)
    for heading in ("kind", "components", "reason", "by"):
        table.add_column(heading, overflow="fold")
    for one in page.items:
        table.add_row(*_cells(one))
    print_table(table)
    if page.total > len(page.items):
        out.print(f"the latest {len(page.items)} of {page.total:,}", style="dim")


def withdraw_window(*, data_dir: Path, project: str, exclusion_id: str, author: str) -> None:
    """Let a window count no more.

    Raises:
        NotFound: the project has none of this id.
    """
    with _writing(data_dir, project, author) as (session, project_id, trail):
        one = withdraw_exclusion(session, project_id, exclusion_id, author=author)
        trail.tell(session, "exclusion.withdraw", id=one.id, details={"author": author})
    when = "" if one.withdrawn_at is None else f", {_minute(one.withdrawn_at)}"
    out.print(f"{one.id} withdrawn by {one.withdrawn_by}{when}", markup=False)


def _cells(one: ExclusionView) -> list[Text]:
    named = one.components or ("all",)
    more = f" and {len(named) - NAMES_SHOWN:,} more" if len(named) > NAMES_SHOWN else ""
    components = ", ".join(named[:NAMES_SHOWN]) + more
    who = one.author if one.withdrawn_by is None else f"{one.author}, withdrawn by {one.withdrawn_by}"
    texts = [one.id, f"{one.start:%Y-%m-%d %H:%M}", f"{one.end:%Y-%m-%d %H:%M}", one.kind, components, one.reason, who]
    return [Text(text, "dim" if one.withdrawn_at else "") for text in texts]


def _minute(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M} UTC"
