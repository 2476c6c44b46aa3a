"""`gaugehouse user`, `key` and `component move`: on the database, while the server runs or not."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy.orm import Session

from gaugehouse.access import (
    ApiKeyView,
    MadeLink,
    NewApiKey,
    add_api_key,
    add_user,
    check_user_name,
    disable_user,
    enable_user,
    find_api_keys,
    find_role,
    get_api_key,
    get_member,
    grant_role,
    invite,
    load_members,
    make_reset,
    prepare_password,
    remove_member,
    replace_password,
    revoke_api_key,
    revoke_user,
    rotate_api_key,
    rotate_signing_key,
)
from gaugehouse.access.users import get_user
from gaugehouse.audit import Trail
from gaugehouse.cli.desk import reading
from gaugehouse.cli.json_output import print_json
from gaugehouse.cli.place import require_installation
from gaugehouse.cli.progress import DataTable, print_table
from gaugehouse.config import Settings
from gaugehouse.errors import Refused
from gaugehouse.installation import local_trail, open_database, open_secret
from gaugehouse.inventory import get_project, move_component

OPERATOR = "operator"
MEMBERS_SHOWN = 1000
NONE = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """One open transaction of a command: what it changes and what it tells become true together."""

    settings: Settings
    session: Session
    project_id: str | None

    @property
    def trail(self) -> Trail:
        """Who acts: the operator, in the chain of the project, or of the installation."""
        return local_trail(self.settings, self.project_id)

    def of_project(self) -> str:
        """Return the id of the project."""
        assert self.project_id is not None  # noqa: S101 - only asked where one was named; narrows the type
        return self.project_id


@contextmanager
def _desk(data_dir: Path, project: str | None = None) -> Iterator[Desk]:
    settings = Settings(data_dir=data_dir)
    database = open_database(settings)
    try:
        with database.transaction() as session:
            project_id = None if project is None else get_project(session, project).id
            yield Desk(settings=settings, session=session, project_id=project_id)
    finally:
        database.dispose()


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def create_user_account(*, data_dir: Path, name: str, role: str, project: str, password: str) -> None:
    """Create a user; say so on stdout."""
    check_user_name(name)
    prepared = prepare_password(password, user_name=name)  # before the transaction: it takes its time
    with _desk(data_dir, project) as desk:
        user_id = add_user(desk.session, name=name, password=prepared, role=role, project_id=desk.of_project())
        desk.trail.tell(desk.session, "user.create", id=user_id, name=name, details={"role": role})
    _say(f"user {name} may sign in to project {project} as {role}")


def list_users(*, data_dir: Path, project: str, as_json: bool) -> None:
    """Show the members of a project."""
    with reading(data_dir, project) as (session, project_id):
        page = load_members(session, project_id, include_demo=True, limit=MEMBERS_SHOWN)
    if as_json:
        print_json({"items": page.items, "total": page.total})
        return
    table = DataTable()
    for heading in ("name", "role", "since (UTC)", "e-mail", "kept out since (UTC)"):
        table.add_column(heading)
    for one in page.items:
        table.add(one.name, one.role, _instant(one.since), one.email or NONE, _instant(one.disabled_at))
    print_table(table)


def set_role(*, data_dir: Path, name: str, role: str, project: str) -> None:
    """Give a user a role in a project, whether they were a member before or not."""
    with _desk(data_dir, project) as desk:
        user_id = get_user(desk.session, name).id
        before = find_role(desk.session, user_id, desk.of_project())
        grant_role(desk.session, name=name, project=project, role=role)
        action, details = "member.add", {"role": role}
        if before is not None:
            action, details = "member.change", {"from": before.value, "to": role}
        desk.trail.tell(desk.session, action, id=user_id, name=name, details=details)
    _say(f"user {name} is {role} of project {project}")


def remove_user(*, data_dir: Path, name: str, project: str) -> None:
    """Take a user out of a project; their personal keys for it end."""
    with _desk(data_dir, project) as desk:
        gone = remove_member(desk.session, desk.of_project(), name, include_demo=True)
        desk.trail.tell(desk.session, "member.remove", id=gone.id, name=gone.name, details={"role": gone.role})
    _say(f"user {gone.name} is no member of project {project} any more")


def bar_user(*, data_dir: Path, name: str, is_barred: bool) -> None:
    """Keep a user out of the whole service, or let them in again."""
    with _desk(data_dir) as desk:
        (disable_user if is_barred else enable_user)(desk.session, name=name)
        action = "user.disable" if is_barred else "user.enable"
        desk.trail.tell(desk.session, action, id=get_user(desk.session, name).id, name=name)
    _say(f"user {name} is {'kept out; all tokens and personal keys end' if is_barred else 'let in again'}")


def change_password(*, data_dir: Path, name: str, password: str) -> None:
    """Give a user a new password; all their tokens end."""
    prepared = prepare_password(password, user_name=name)  # before the transaction: it takes its time
    with _desk(data_dir) as desk:
        user_id = get_user(desk.session, name).id
        replace_password(desk.session, user_id, prepared)
        desk.trail.tell(desk.session, "user.reset", id=user_id, name=name)
    _say(f"user {name} has a new password; all tokens end")


def print_reset(*, data_dir: Path, name: str) -> None:
    """Print a one-time link, or its token alone, by which a user sets a new password."""
    with _desk(data_dir) as desk:
        user_id = get_user(desk.session, name).id
        link = make_reset(desk.session, user_id, made_by=OPERATOR)
        desk.trail.tell(desk.session, "user.reset_link", id=user_id, name=name)
    _print_link(desk.settings, "reset", link)


def print_invitation(*, data_dir: Path, role: str, project: str) -> None:
    """Print a one-time link, or its token alone, by which somebody becomes a member."""
    with _desk(data_dir, project) as desk:
        link = invite(desk.session, project_id=desk.of_project(), role=role, email=None, made_by=OPERATOR)
        desk.trail.tell(desk.session, "invitation.create", id=link.id, details={"role": role})
    _print_link(desk.settings, "invitation", link)


def _print_link(settings: Settings, kind: str, link: MadeLink) -> None:
    base = settings.public_url
    _say(link.token if base is None else f"{base.rstrip('/')}/b/account#{kind}={link.token}")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyOptions:
    """What `key create` was told."""

    name: str
    project: str
    component: str | None
    scopes: Sequence[str]
    is_read_only: bool
    expires_days: float | None
    owner: str | None


def create_key(*, data_dir: Path, options: KeyOptions) -> None:
    """Create an API key and print it alone on stdout, so that scripts can take it.

    Raises:
        Refused: the lifetime is no number of days.
    """
    new = NewApiKey(
        name=options.name,
        component=options.component,
        scopes=options.scopes,
        is_read_only=options.is_read_only,
        expires_at=read_end(options.expires_days),
    )
    with _desk(data_dir, options.project) as desk:
        owner = None
        if options.owner is not None:
            owner = get_member(desk.session, desk.of_project(), options.owner, include_demo=True).id
        made = add_api_key(desk.session, new, project_id=desk.of_project(), owner_id=owner)
        details = {"scopes": list(made.view.scopes), "component": made.view.component, "owner": made.view.owner}
        desk.trail.tell(desk.session, "key.create", id=made.view.id, name=made.view.name, details=details)
    _say(made.key)


def read_end(days: float | None) -> datetime | None:
    """Return when so many days from now are over.

    Raises:
        Refused: that is no instant.
    """
    if days is None:
        return None
    try:
        return datetime.now(UTC) + timedelta(days=days)
    except (OverflowError, ValueError) as exc:
        raise Refused("--expires-days is a number of days within a century", code="expiry_refused") from exc


def list_keys(*, data_dir: Path, project: str, as_json: bool) -> None:
    """Show the keys of a project, the newest first."""
    with reading(data_dir, project) as (session, project_id):
        keys = find_api_keys(session, project_id)
    if as_json:
        print_json({"items": keys, "total": len(keys)})
        return
    table = DataTable()
    for heading in ("id", "key", "name", "of", "scopes", "last used (UTC)", "ends (UTC)"):
        table.add_column(heading, overflow="fold", no_wrap=heading in {"id", "key"})
    for one in keys:
        ends = f"ended {_instant(one.revoked_at)}" if one.revoked_at else _instant(one.expires_at)
        table.add(
            one.id, f"{one.shown}...", one.name, _say_owner(one), " ".join(one.scopes), _instant(one.last_used_at), ends
        )
    print_table(table)


def replace_key(*, data_dir: Path, project: str, key_id: str, overlap_s: float) -> None:
    """Print a new key that may what an older one may; the older one ends after the overlap."""
    with _desk(data_dir, project) as desk:
        made = rotate_api_key(desk.session, desk.of_project(), key_id, overlap_s=overlap_s)
        old = get_api_key(desk.session, desk.of_project(), key_id)
        ends_at = old.revoked_at or old.expires_at
        details = {"successor": made.view.id, "ends_at": None if ends_at is None else ends_at.isoformat()}
        desk.trail.tell(desk.session, "key.rotate", id=old.id, name=old.name, details=details)
    _say(made.key)


def revoke_key(*, data_dir: Path, project: str, key_id: str) -> None:
    """End a key; a running server refuses it within a second."""
    with _desk(data_dir, project) as desk:
        ended = revoke_api_key(desk.session, desk.of_project(), key_id)
        desk.trail.tell(desk.session, "key.revoke", id=ended.id, name=ended.name, details={"owner": ended.owner})
    _say(f"key {ended.name} has ended")


def move_to_project(*, data_dir: Path, component: str, source: str, target: str) -> None:
    """Move a component with its device keys to another project; both audit logs tell."""
    with _desk(data_dir, source) as desk:
        target_id = get_project(desk.session, target).id
        moved = move_component(desk.session, component, source_id=desk.of_project(), target_id=target_id)
        details = {"from": source, "to": target, "keys": moved.keys}
        told = [(desk.of_project(), moved.source_component_id), (target_id, moved.component.id)]
        for project_id, component_id in sorted(told):  # as over HTTP: one order for all
            trail = local_trail(desk.settings, project_id)
            trail.tell(desk.session, "component.move", id=component_id, name=moved.component.name, details=details)
    _say(f"component {moved.component.name} is in project {target} now, and {moved.keys} device keys with it")


def _say_owner(key: ApiKeyView) -> str:
    if key.owner is not None:
        return f"{key.owner} (personal)"
    return key.component or "the project"


def _second(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M:%S}"


def _instant(instant: datetime | None) -> str:
    return NONE if instant is None else f"{instant:%Y-%m-%d %H:%M}"


def revoke(*, data_dir: Path, name: str) -> None:
    """End all sessions and tokens of a user; say how many sessions there were."""
    require_installation(Settings(data_dir=data_dir))
    with _desk(data_dir) as desk:
        ended = revoke_user(desk.session, name=name)
        desk.trail.tell(desk.session, "session.end_all", kind="user", name=name, details={"sessions": ended})
    _say(f"{name} is signed out everywhere within a second; sessions ended: {ended}")


def rotate_key(*, data_dir: Path, at_once: bool) -> None:
    """Give the installation a new key that signs tokens; say what becomes of the old one.

    Raises:
        AlreadyExists: the key of the last rotation does not sign yet.
    """
    settings = Settings(data_dir=data_dir)
    require_installation(settings)
    secret = open_secret(settings)
    with _desk(data_dir) as desk:
        rotated = rotate_signing_key(desk.session, secret=secret, at_once=at_once)
        details = {"previous": list(rotated.previous), "at_once": at_once}
        desk.trail.tell(desk.session, "signing_key.rotate", id=rotated.kid, details=details)
    until = rotated.verifies_until
    if until is None:
        _say(
            f"key {rotated.kid} signs from now on: within a second every server refuses all access tokens before it;"
            " sessions go on with their next refresh"
        )
        return
    _say(
        f"key {rotated.kid} signs from {_second(rotated.signs_from)} UTC on; older tokens count until"
        f" {_second(until)} UTC"
    )
