"""Projects and their settings."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from gaugehouse.database import insert_missing, new_id
from gaugehouse.database.tables import NAME_CHARACTERS, Project
from gaugehouse.errors import AlreadyExists, NotFound, Refused
from gaugehouse.inventory.checks import find_text_problem
from gaugehouse.limits import Quota
from gaugehouse.measurements.names import find_project_problem

DEFAULT_PROJECT = "default"
DAY_S = 86_400
LIMITS = {  # of a project's own -> largest that its column holds
    "writes_per_minute": 2**31 - 1,
    "write_bytes_per_s": 2**53,
    "reads_per_minute": 2**31 - 1,
    "reports_per_minute": 2**31 - 1,
    "series_quota": 2**31 - 1,
    "rows_per_day_quota": 2**53,
    "reports_waiting_quota": 2**31 - 1,
}
LONGEST_BOUND_DAYS = 36_500  # a century; now minus a bound must be in the calendar, or every write fails


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectView:
    """A project as others see it."""

    id: str
    slug: str
    title: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectSettings:
    """What a project's admin decides.

    Args:
        register_unknown: Rows with new component or metric names register them.
        lateness_limit_s: Rows that are older than this when they arrive are refused; None takes any age. [s]
        measurements_keep_days: Months of measurements that are older are dropped; None keeps all. [d]
        events_keep_days: The same for events. [d]
        archive_dir: Folder that dropped files are copied to first; None copies nothing.
        writes_per_minute, write_bytes_per_s, reads_per_minute, reports_per_minute: As in `limits.Pace`.
        series_quota, rows_per_day_quota: As in `limits.Quota`.
        reports_waiting_quota: Most reports that may wait; None is what the service's settings say.
    """

    register_unknown: bool = True
    lateness_limit_s: float | None = None
    measurements_keep_days: int | None = None
    events_keep_days: int | None = None
    archive_dir: Path | None = None
    writes_per_minute: int | None = None
    write_bytes_per_s: int | None = None
    reads_per_minute: int | None = None
    reports_per_minute: int | None = None
    series_quota: int | None = None
    rows_per_day_quota: int | None = None
    reports_waiting_quota: int | None = None

    @property
    def quota(self) -> Quota:
        """What the lake counts of the project."""
        return Quota(series=self.series_quota, rows_per_day=self.rows_per_day_quota)

    def keep_days(self, table: str) -> int | None:
        """Return how long rows of a table are kept. [d]"""
        return {"measurements": self.measurements_keep_days, "events": self.events_keep_days}[table]


def ensure_default_project(session: Session) -> ProjectView:
    """Return the project of a fresh installation; several processes may ask at once."""
    insert_missing(session, Project, [{"id": new_id("prj"), "slug": DEFAULT_PROJECT, "title": "Default"}])
    return get_project(session, DEFAULT_PROJECT)


def create_project(session: Session, slug: str, *, title: str = "") -> ProjectView:
    """Create a project.

    Raises:
        Refused: not a slug.
        AlreadyExists: the slug is taken.
    """
    problem = find_project_problem(slug) or find_text_problem(title, limit_characters=NAME_CHARACTERS)
    if problem is not None:
        raise Refused(f"the project cannot be created: its slug or title {problem}", code="name_refused")
    if find_project(session, slug) is not None:
        raise AlreadyExists(f"there is already a project {slug!r}", code="project_exists")
    session.add(Project(id=new_id("prj"), slug=slug, title=title))
    session.flush()
    return get_project(session, slug)


def find_projects(session: Session) -> list[ProjectView]:
    """Return all projects by slug."""
    return [_view(row) for row in session.scalars(select(Project).order_by(Project.slug))]


def find_project(session: Session, slug: str) -> ProjectView | None:
    """Return a project, or None."""
    if find_project_problem(slug) is not None:
        return None
    row = session.scalars(select(Project).where(Project.slug == slug)).one_or_none()
    return None if row is None else _view(row)


def get_project(session: Session, slug: str) -> ProjectView:
    """Return a project; NotFound when there is none."""
    found = find_project(session, slug)
    if found is None:
        raise NotFound(f"there is no project {slug!r}", code="project_not_found")
    return found


def get_project_settings(session: Session, project_id: str) -> ProjectSettings:
    """Return the settings of a project."""
    return _settings(_get_row(session, project_id))


def put_project_settings(session: Session, project_id: str, settings: ProjectSettings) -> None:
    """Replace all settings of a project.

    Raises:
        Refused: a bound that is not positive or longer than a century, a limit that is not positive or too large to
            keep, or an archive folder that is not an absolute path.
    """
    lateness_days = None if settings.lateness_limit_s is None else settings.lateness_limit_s / DAY_S
    bounds = (lateness_days, settings.measurements_keep_days, settings.events_keep_days)
    if any(bound is not None and not bound > 0 for bound in bounds):
        raise Refused("a bound must be greater than zero; leave it out for none", code="bound_refused")
    if any(bound is not None and bound > LONGEST_BOUND_DAYS for bound in bounds):
        raise Refused(f"a bound is at most {LONGEST_BOUND_DAYS:,} days; leave it out for none", code="bound_refused")
    for name, largest in LIMITS.items():
        limit = getattr(settings, name)
        if limit is not None and not 1 <= limit <= largest:
            raise Refused(f"{name} must be from 1 to {largest:,}; leave it out for none", code="limit_refused")
    if settings.archive_dir is not None and not settings.archive_dir.is_absolute():
        raise Refused("the archive folder must be an absolute path", code="archive_refused")
    row = _get_row(session, project_id)
    row.register_unknown = settings.register_unknown
    row.lateness_limit_s = settings.lateness_limit_s
    row.measurements_keep_days = settings.measurements_keep_days
    row.events_keep_days = settings.events_keep_days
    row.archive_dir = None if settings.archive_dir is None else str(settings.archive_dir)
    for name in LIMITS:
        setattr(row, name, getattr(settings, name))
    session.flush()


def delete_project(session: Session, slug: str) -> None:
    """Delete a project with its members, keys, components, metrics, jobs and reports; its rows are the lake's part.

    Raises:
        NotFound: there is none.
    """
    session.execute(delete(Project).where(Project.id == get_project(session, slug).id))


def _settings(row: Project) -> ProjectSettings:
    return ProjectSettings(
        register_unknown=row.register_unknown,
        lateness_limit_s=row.lateness_limit_s,
        measurements_keep_days=row.measurements_keep_days,
        events_keep_days=row.events_keep_days,
        archive_dir=None if row.archive_dir is None else Path(row.archive_dir),
        **{name: getattr(row, name) for name in LIMITS},
    )


def _get_row(session: Session, project_id: str) -> Project:
    row = session.get(Project, project_id)
    if row is None:
        raise NotFound("there is no such project", code="project_not_found")
    return row


def _view(row: Project) -> ProjectView:
    return ProjectView(id=row.id, slug=row.slug, title=row.title, created_at=row.created_at)
