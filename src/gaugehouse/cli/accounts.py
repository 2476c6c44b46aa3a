"""`gaugehouse user` and `gaugehouse key`: on the database, while the server runs or not."""

import sys
from collections.abc import Sequence
from pathlib import Path

from gaugehouse.access import create_api_key, create_user
from gaugehouse.config import Settings
from gaugehouse.installation import open_database


def create_user_account(*, data_dir: Path, name: str, role: str, project: str, password: str) -> None:
    """Create a user; say so on stdout."""
    database = open_database(Settings(data_dir=data_dir))
    with database.transaction() as session:
        create_user(session, name=name, password=password, role=role, project=project)
    database.dispose()
    sys.stdout.write(f"user {name} may sign in to project {project} as {role}\n")


def create_key(*, data_dir: Path, name: str, project: str, component: str | None, scopes: Sequence[str]) -> None:
    """Create an API key and print it alone on stdout, so that scripts can take it."""
    database = open_database(Settings(data_dir=data_dir))
    with database.transaction() as session:
        key = create_api_key(session, name=name, project=project, component=component, scopes=scopes)
    database.dispose()
    sys.stdout.write(f"{key}\n")
