"""`gaugehouse project`: tenants and how long their rows are kept; on the database, while the server runs or not."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from gaugehouse.cli.place import require_database
from gaugehouse.cli.progress import DataTable, out
from gaugehouse.config import Layout, Settings
from gaugehouse.errors import Refused
from gaugehouse.installation import local_trail, open_database
from gaugehouse.inventory import (
    LIMITS,
    ProjectSettings,
    create_project,
    find_projects,
    get_project,
    get_project_settings,
    put_project_settings,
)

OFF = "off"
DURATION = re.compile(r"^(\d+(?:\.\d+)?)\s*([smhdw])$")
UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
DAY_S = UNIT_S["d"]


def list_projects(*, data_dir: Path) -> None:
    """Show every project and its bounds."""
    require_database(Settings(data_dir=data_dir))
    database = open_database(Settings(data_dir=data_dir))
    with database.reading() as session:
        _show(session, [project.slug for project in find_projects(session)])
    database.dispose()


def show_project(*, data_dir: Path, slug: str) -> None:
    """Show one project and its bounds."""
    require_database(Settings(data_dir=data_dir))
    database = open_database(Settings(data_dir=data_dir))
    with database.reading() as session:
        _show(session, [slug])
    database.dispose()


def add_project(*, data_dir: Path, slug: str, title: str) -> None:
    """Create a project and say how to let somebody in.

    Raises:
        AlreadyExists: there is one, or the lake still has rows of an earlier one of this name.
    """
    # Here only: with it comes the lake, for which all other commands of projects would wait.
    from gaugehouse.lake.deletions import refuse_leftovers  # noqa: PLC0415 - see above

    settings = Settings(data_dir=data_dir)
    database = open_database(settings)
    with database.transaction() as session:
        project = create_project(session, slug, title=title)
        refuse_leftovers(Layout(data_dir), slug)  # the slug has been checked by now
        local_trail(settings).tell(session, "project.create", id=project.id, name=slug)
    database.dispose()
    out.print(f"project [bold]{slug}[/bold] created; let somebody in with")
    out.print(f"  gaugehouse user create NAME --role admin --project {slug}", highlight=False)


def set_project(*, data_dir: Path, slug: str, changes: dict[str, str | bool | None]) -> None:
    """Change the given settings of a project and show all; `off` takes a bound away.

    Raises:
        Refused: a value that is no duration, or no absolute folder.
    """
    installation = Settings(data_dir=data_dir)
    database = open_database(installation)
    with database.transaction() as session:
        project_id = get_project(session, slug).id
        settings = get_project_settings(session, project_id)
        read = _read_changes(changes)
        put_project_settings(session, project_id, replace(settings, **read))
        local_trail(installation, project_id).tell(session, "project.change", id=project_id, name=slug, details=read)
        _show(session, [slug])
    database.dispose()


def _read_changes(changes: dict[str, str | bool | None]) -> dict[str, Any]:
    """Return settings by name from what the command line gave, without what it left out."""
    readers: dict[str, Callable[[str], object]] = {
        "lateness_limit_s": read_duration_s,
        "measurements_keep_days": _read_days,
        "events_keep_days": _read_days,
        "archive_dir": Path,
        **dict.fromkeys(LIMITS, _read_count),
    }
    read: dict[str, Any] = {}
    for name, value in changes.items():
        if value == OFF:
            read[name] = None
        elif isinstance(value, str):
            read[name] = readers[name](value)
        elif value is not None:
            read[name] = value
    return read


def read_duration_s(text: str) -> float:
    """Return the seconds of `90s`, `15m`, `36h`, `7d` or `2w`.

    Raises:
        Refused: none of these.
    """
    match = DURATION.match(text.strip().lower())
    if match is None:
        raise Refused(f"{text!r} is not a duration; write 90s, 15m, 36h, 7d, 2w or off", code="duration_refused")
    return float(match[1]) * UNIT_S[match[2]]


def _read_count(text: str) -> int:
    plain = text.replace("_", "").replace(",", "")
    if not plain.isdecimal():
        raise Refused(f"{text!r} is not a whole number such as 1000000, or off", code="limit_refused")
    return int(plain)


def _read_days(text: str) -> int:
    days, rest = divmod(read_duration_s(text), DAY_S)
    if rest or days < 1:
        raise Refused(f"{text!r} is not a number of whole days, such as 400d", code="duration_refused")
    return int(days)


def _show(session: Session, slugs: list[str]) -> None:
    table, limits = DataTable(), list[str]()
    for heading in ("project", "latest arrival", "measurements", "events", "archive", "new names"):
        table.add_column(heading, no_wrap=True)
    for slug in slugs:
        settings = get_project_settings(session, get_project(session, slug).id)
        table.add(slug, *_cells(settings))
        if own := _describe_limits(settings):
            limits.append(f"{slug} has at most: {own}")
    out.print(table)
    for line in limits:  # most projects have none of their own: no column that is empty for them
        out.print(line, highlight=False, soft_wrap=True)


def _cells(settings: ProjectSettings) -> list[str]:
    late = settings.lateness_limit_s
    return [
        "any age" if late is None else f"{late / 3600:,.4g} h old",
        _kept(settings.measurements_keep_days),
        _kept(settings.events_keep_days),
        "none" if settings.archive_dir is None else str(settings.archive_dir),
        "registered" if settings.register_unknown else "refused",
    ]


def _describe_limits(settings: ProjectSettings) -> str:
    own = {name: getattr(settings, name) for name in LIMITS}
    told = [f"{name.removesuffix('_quota').replace('_', ' ')} {limit:,}" for name, limit in own.items() if limit]
    return ", ".join(told)


def _kept(days: int | None) -> str:
    return "kept for ever" if days is None else f"kept {days:,} days"
