"""Projects and their settings."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from gaugehouse.database import insert_missing, new_id
from gaugehouse.database.tables import NAME_CHARACTERS, Project
from gaugehouse.errors import AlreadyExists, NotFound, Refused
from gaugehouse.inventory.checks import find_text_problem
from gaugehouse.measurements.names import find_project_problem

DEFAULT_PROJECT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectView:
    """A project as others see it."""

    id: str
    slug: str
    title: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectSettings:
    """What a project's admin decides: whether rows with new component or metric names register them."""

    register_unknown: bool = True


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
    return ProjectSettings(register_unknown=_get_row(session, project_id).register_unknown)


def update_project_settings(
    session: Session, project_id: str, *, register_unknown: bool | None = None
) -> ProjectSettings:
    """Change what is not None and return all settings."""
    row = _get_row(session, project_id)
    if register_unknown is not None:
        row.register_unknown = register_unknown
    session.flush()
    return ProjectSettings(register_unknown=row.register_unknown)


def _get_row(session: Session, project_id: str) -> Project:
    row = session.get(Project, project_id)
    if row is None:
        raise NotFound("there is no such project", code="project_not_found")
    return row


def _view(row: Project) -> ProjectView:
    return ProjectView(id=row.id, slug=row.slug, title=row.title, created_at=row.created_at)
