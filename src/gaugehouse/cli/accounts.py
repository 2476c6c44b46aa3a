"""`gaugehouse user` and `gaugehouse key`: on the database, while the server runs or not."""

import sys
from collections.abc import Sequence
from pathlib import Path

from gaugehouse.access import create_api_key, create_user, find_api_keys
from gaugehouse.config import Settings
from gaugehouse.installation import local_trail, open_database
from gaugehouse.inventory import get_project


def create_user_account(*, data_dir: Path, name: str, role: str, project: str, password: str) -> None:
    """Create a user; say so on stdout."""
    settings = Settings(data_dir=data_dir)
    database = open_database(settings)
    with database.transaction() as session:
        user_id = create_user(session, name=name, password=password, role=role, project=project)
        trail = local_trail(settings, get_project(session, project).id)
        trail.tell(session, "user.create", id=user_id, name=name, details={"role": role})
    database.dispose()
    sys.stdout.write(f"user {name} may sign in to project {project} as {role}\n")


def create_key(*, data_dir: Path, name: str, project: str, component: str | None, scopes: Sequence[str]) -> None:
    """Create an API key and print it alone on stdout, so that scripts can take it."""
    settings = Settings(data_dir=data_dir)
    database = open_database(settings)
    with database.transaction() as session:
        key = create_api_key(session, name=name, project=project, component=component, scopes=scopes)
        project_id = get_project(session, project).id
        newest = find_api_keys(session, project_id)
        made = next(one for one in newest if one.name == name and key.startswith(one.shown))
        details = {"scopes": list(made.scopes), "component": component}
        local_trail(settings, project_id).tell(session, "key.create", id=made.id, name=name, details=details)
    database.dispose()
    sys.stdout.write(f"{key}\n")
