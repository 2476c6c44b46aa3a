"""`gaugehouse user` and `gaugehouse key`: on the database, while the server runs or not."""

import sys
from collections.abc import Sequence
from pathlib import Path

from gaugehouse.access import create_api_key, create_user, find_api_keys, revoke_user, rotate_signing_key
from gaugehouse.cli.asking import require_installation
from gaugehouse.config import Settings
from gaugehouse.installation import local_trail, open_database, open_secret
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


def revoke(*, data_dir: Path, name: str) -> None:
    """End all sessions and tokens of a user; say how many sessions there were."""
    settings = Settings(data_dir=data_dir)
    require_installation(settings)
    database = open_database(settings)
    with database.transaction() as session:
        ended = revoke_user(session, name=name)
        local_trail(settings).tell(session, "session.end_all", kind="user", name=name, details={"sessions": ended})
    database.dispose()
    sys.stdout.write(f"{name} is signed out everywhere within a second; sessions ended: {ended}\n")


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


def rotate_key(*, data_dir: Path, at_once: bool) -> None:
    """Give the installation a new key that signs tokens; say what becomes of the old one.

    Raises:
        AlreadyExists: the key of the last rotation does not sign yet.
    """
    settings = Settings(data_dir=data_dir)
    require_installation(settings)
    secret, database = open_secret(settings), open_database(settings)
    with database.transaction() as session:
        rotated = rotate_signing_key(session, secret=secret, at_once=at_once)
        details = {"previous": list(rotated.previous), "at_once": at_once}
        local_trail(settings).tell(session, "signing_key.rotate", id=rotated.kid, details=details)
    database.dispose()
    until = rotated.verifies_until
    said = (
        "all tokens so far have ended" if until is None else f"older tokens count until {until:%Y-%m-%d %H:%M:%S} UTC"
    )
    sys.stdout.write(f"key {rotated.kid} signs from now on; {said}\n")
