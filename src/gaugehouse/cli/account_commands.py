"""`gaugehouse user`, `key` and `component`: the commands and their options; the work is in `cli/accounts.py`."""
# ruff: noqa: PLC0415 - imports inside commands keep the start of every other command fast

import sys
from pathlib import Path
from typing import Annotated

import typer

from gaugehouse.cli.options import DEFAULT_DATA, AsJson, Data, Project

user_app = typer.Typer(help="Users and their roles.", no_args_is_help=True)
key_app = typer.Typer(help="API keys of devices, programs and members; the signing key.", no_args_is_help=True)
component_app = typer.Typer(help="Components: what is measured.", no_args_is_help=True)

Role = Annotated[str, typer.Option(help="viewer, manager or admin")]
FromStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin")]
KeyId = Annotated[str, typer.Argument(metavar="ID", help="key_..., as `key list` shows it")]
DAY_S = 86_400


def _read_password(*, from_stdin: bool) -> str:
    if not from_stdin and not sys.stdin.isatty():
        raise typer.BadParameter("there is no terminal to ask for the password: use --password-stdin")
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    password: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    return password


@user_app.command(name="create")
def user_create(
    name: str,
    role: Role,
    data: Data = DEFAULT_DATA,
    project: Project = "default",
    password_stdin: FromStdin = False,
) -> None:
    """Create a user with a role in a project; works while the server runs."""
    from gaugehouse.cli.accounts import create_user_account

    password = _read_password(from_stdin=password_stdin)
    create_user_account(data_dir=data, name=name, role=role, project=project, password=password)


@user_app.command(name="list")
def user_list(data: Data = DEFAULT_DATA, project: Project = "default", as_json: AsJson = False) -> None:
    """Show the members of a project."""
    from gaugehouse.cli.accounts import list_users

    list_users(data_dir=data, project=project, as_json=as_json)


@user_app.command(name="role")
def user_role(name: str, role: Role, data: Data = DEFAULT_DATA, project: Project = "default") -> None:
    """Give a user a role in a project, as a new member or another one; it holds within a second."""
    from gaugehouse.cli.accounts import set_role

    set_role(data_dir=data, name=name, role=role, project=project)


@user_app.command(name="remove")
def user_remove(name: str, data: Data = DEFAULT_DATA, project: Project = "default") -> None:
    """Take a user out of a project; their personal keys for it end."""
    from gaugehouse.cli.accounts import remove_user

    remove_user(data_dir=data, name=name, project=project)


@user_app.command(name="disable")
def user_disable(name: str, data: Data = DEFAULT_DATA) -> None:
    """Keep a user out of the whole service; all their tokens and personal keys end."""
    from gaugehouse.cli.accounts import bar_user

    bar_user(data_dir=data, name=name, is_barred=True)


@user_app.command(name="enable")
def user_enable(name: str, data: Data = DEFAULT_DATA) -> None:
    """Let a user in again; tokens and keys that ended stay ended."""
    from gaugehouse.cli.accounts import bar_user

    bar_user(data_dir=data, name=name, is_barred=False)


@user_app.command(name="password")
def user_password(name: str, data: Data = DEFAULT_DATA, password_stdin: FromStdin = False) -> None:
    """Give a user a new password; all their tokens end."""
    from gaugehouse.cli.accounts import change_password

    change_password(data_dir=data, name=name, password=_read_password(from_stdin=password_stdin))


@user_app.command(name="reset")
def user_reset(name: str, data: Data = DEFAULT_DATA) -> None:
    """Print a link by which a user sets a new password within an hour: it is shown only now."""
    from gaugehouse.cli.accounts import print_reset

    print_reset(data_dir=data, name=name)


@user_app.command(name="invite")
def user_invite(role: Role, data: Data = DEFAULT_DATA, project: Project = "default") -> None:
    """Print a link by which somebody becomes a member within three days: it is shown only now."""
    from gaugehouse.cli.accounts import print_invitation

    print_invitation(data_dir=data, role=role, project=project)


@user_app.command(name="revoke")
def user_revoke(name: str, data: Data = DEFAULT_DATA) -> None:
    """End all sessions and tokens of a user, in every project, within a second; works while the server runs."""
    from gaugehouse.cli.accounts import revoke

    revoke(data_dir=data, name=name)


@key_app.command(name="create")
def key_create(
    name: str,
    data: Data = DEFAULT_DATA,
    project: Project = "default",
    component: Annotated[str | None, typer.Option(help="Bind the key to this one component")] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(help="Repeatable; default: write and read; of one component write, read status and target"),
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="It must not write")] = False,
    expires_days: Annotated[float | None, typer.Option(help="It ends by itself after so many days")] = None,
    personal: Annotated[str | None, typer.Option(metavar="USER", help="As the personal key of this member")] = None,
) -> None:
    """Create an API key and print it, alone, on stdout: it is shown only now."""
    from gaugehouse.cli.accounts import KeyOptions, create_key

    options = KeyOptions(
        name=name,
        project=project,
        component=component,
        scopes=scope or [],
        is_read_only=read_only,
        expires_days=expires_days,
        owner=personal,
    )
    create_key(data_dir=data, options=options)


@key_app.command(name="list")
def key_list(data: Data = DEFAULT_DATA, project: Project = "default", as_json: AsJson = False) -> None:
    """Show the keys of a project: what they may, when they were last used, when they end."""
    from gaugehouse.cli.accounts import list_keys

    list_keys(data_dir=data, project=project, as_json=as_json)


@key_app.command(name="rotate")
def key_rotate(
    data: Data = DEFAULT_DATA,
    at_once: Annotated[bool, typer.Option("--at-once", help="End all tokens: the old key was exposed")] = False,
) -> None:
    """Let a new key sign tokens; the old one verifies until its last token has expired. No restart is needed."""
    from gaugehouse.cli.accounts import rotate_key

    rotate_key(data_dir=data, at_once=at_once)


@key_app.command(name="replace")
def key_replace(
    key_id: KeyId,
    data: Data = DEFAULT_DATA,
    project: Project = "default",
    overlap_s: Annotated[float, typer.Option(help="How long the older one still counts [s]")] = DAY_S,
) -> None:
    """Print a new key that may what an older one may; the older one ends after the overlap."""
    from gaugehouse.cli.accounts import replace_key

    replace_key(data_dir=data, project=project, key_id=key_id, overlap_s=overlap_s)


@key_app.command(name="revoke")
def key_revoke(key_id: KeyId, data: Data = DEFAULT_DATA, project: Project = "default") -> None:
    """End a key; a running server refuses it within a second."""
    from gaugehouse.cli.accounts import revoke_key

    revoke_key(data_dir=data, project=project, key_id=key_id)


@component_app.command(name="enrol")
def component_enrol(
    devices: Annotated[Path, typer.Argument(help="CSV: a column component, and type and title if wanted")],
    keys: Annotated[Path, typer.Argument(help="CSV that is made: component,key; readable by you alone")],
    data: Data = DEFAULT_DATA,
    project: Project = "default",
    scope: Annotated[
        list[str] | None, typer.Option(help="Repeatable; default: write, read its own status and firmware target")
    ] = None,
    expires_days: Annotated[float | None, typer.Option(help="The keys end by themselves after so many days")] = None,
) -> None:
    """Make a fleet known: each device of a list becomes a component with a key of its own."""
    from gaugehouse.cli.accounts import read_end
    from gaugehouse.cli.enrolling import EnrolOptions, enrol_devices

    options = EnrolOptions(
        data_dir=data,
        project=project,
        devices=devices,
        keys=keys,
        scopes=scope or [],
        expires_at=read_end(expires_days),
    )
    enrol_devices(options)


@component_app.command(name="move")
def component_move(
    name: str,
    to: Annotated[str, typer.Option(help="Slug of the other project")],
    data: Data = DEFAULT_DATA,
    project: Project = "default",
) -> None:
    """Move a component with its device keys to another project; what it sent before stays with the old one."""
    from gaugehouse.cli.accounts import move_to_project

    move_to_project(data_dir=data, component=name, source=project, target=to)
