"""`gaugehouse audit`, and the entries that commands leave, without a process of their own."""

import json
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import typer.main
from sqlalchemy import text

from gaugehouse.cli.accounts import (
    KeyOptions,
    bar_user,
    change_password,
    create_key,
    create_user_account,
    list_keys,
    move_to_project,
    print_invitation,
    print_reset,
    remove_user,
    replace_key,
    revoke,
    revoke_key,
    rotate_key,
    set_role,
)
from gaugehouse.cli.auditing import ListOptions, export_log, list_entries, verify_log
from gaugehouse.cli.calendars import NewWindow, add_window, withdraw_window
from gaugehouse.cli.commands import app
from gaugehouse.cli.projects import add_project, set_project
from gaugehouse.config import Settings
from gaugehouse.errors import AlreadyExists, NotFound, Refused
from gaugehouse.inventory import NewComponent, create_components, get_project
from gaugehouse.runtime import open_runtime
from gaugehouse.upkeep import answers

PASSWORD, NEXT_PASSWORD = "a long password of somebody", "the next password of somebody"
READS = "it only reads"
# What each command leaves in the log; or why nothing.
COMMANDS = {
    "serve": "what is done through it is told by requests",
    "worker": "it computes what was asked for",
    "demo": "measurements are not audited: their receipts are in the lake's log",
    "import": "measurements are not audited: their receipts are in the lake's log",
    "backup": "backup.create",
    "restore": "backup.restore",
    "user create": "user.create",
    "user list": READS,
    "user role": "member.add",
    "user remove": "member.remove",
    "user disable": "user.disable",
    "user enable": "user.enable",
    "user password": "user.reset",
    "user reset": "user.reset_link",
    "user invite": "invitation.create",
    "user revoke": "session.end_all",
    "key create": "key.create",
    "key list": READS,
    "key replace": "key.rotate",
    "key revoke": "key.revoke",
    "key rotate": "signing_key.rotate",
    "component move": "component.move",
    "component enrol": "device.enrol",
    "fleet status": READS,
    "fleet thresholds": "thresholds.change",
    "firmware versions": READS,
    "firmware behind": READS,
    "firmware target": READS,
    "firmware form": "firmware_form.change",
    "firmware list": READS,
    "firmware release": "firmware_release.create",
    "firmware recommend": "firmware_release.change",
    "firmware allow": "firmware_release.change",
    "firmware withdraw": "firmware_release.change",
    "firmware rollout add": "firmware_rollout.create",
    "firmware rollout list": READS,
    "firmware rollout share": "firmware_rollout.change",
    "firmware rollout pause": "firmware_rollout.change",
    "firmware rollout resume": "firmware_rollout.change",
    "firmware rollout end": "firmware_rollout.change",
    "project list": READS,
    "project show": READS,
    "project create": "project.create",
    "project set": "project.change",
    "project delete": "project.delete",
    "calendar show": READS,
    "calendar set": "shift_calendar.change",
    "exclusion add": "exclusion.create",
    "exclusion list": READS,
    "exclusion withdraw": "exclusion.withdraw",
    "lake status": READS,
    "lake verify": "lake.quarantine",
    "lake compact": "lake.compact",
    "lake retain": "lake.retain",
    "lake flush": "lake.flush",
    "lake repair": "lake.repair",
    "kpi list": READS,
    "kpi explain": READS,
    "report run": "report.request",
    "report list": READS,
    "report show": READS,
    "report diff": READS,
    "report verify": READS,
    "report reissue": "report.reissue",
    "report schedule add": "schedule.create",
    "report schedule list": READS,
    "report schedule pause": "schedule.pause",
    "report schedule resume": "schedule.resume",
    "report schedule remove": "schedule.delete",
    "report schedule preview": READS,
    "report schedule history": READS,
    "report template add": "template.create",
    "report template change": "template.change",
    "report template list": READS,
    "report template show": READS,
    "report template remove": "template.delete",
    "doctor": READS,
    "audit list": READS,
    "audit verify": READS,
    "audit export": READS,
}


def commands_below(group, names=()):
    for name, command in sorted(group.commands.items()):
        path = (*names, name)
        if hasattr(command, "commands"):
            yield from commands_below(command, path)
        else:
            yield " ".join(path)


def test_every_command_leaves_an_entry_or_has_a_reason():
    assert set(commands_below(typer.main.get_command(app))) == set(COMMANDS)


@dataclass
class Installation:
    data_dir: Path

    def told(self, capsys, project=None):
        capsys.readouterr()
        list_entries(ListOptions(project=project), data_dir=self.data_dir, as_json=True)
        items = json.loads(capsys.readouterr().out)["items"]
        assert {(one["actor_kind"], one["source"]) for one in items} <= {("operator", "local")}
        return [(one["action"], one["object_name"]) for one in reversed(items)]


@pytest.fixture
def installation(tmp_path):
    runtime = open_runtime(Settings(data_dir=tmp_path / "data"))
    runtime.close()
    return Installation(data_dir=tmp_path / "data")


def key_options(name, **wanted):
    standard = {"component": None, "scopes": [], "is_read_only": False, "expires_days": None, "owner": None}
    return KeyOptions(**standard | {"name": name, "project": "plant"} | wanted)


def test_accounts_and_projects_leave_entries(installation, capsys):
    data_dir = installation.data_dir
    add_project(data_dir=data_dir, slug="plant", title="")
    set_project(data_dir=data_dir, slug="plant", changes={"measurements_keep_days": "400d"})
    create_user_account(data_dir=data_dir, name="ann", role="admin", project="plant", password=PASSWORD)
    create_key(data_dir=data_dir, options=key_options("press"))
    key = capsys.readouterr().out.splitlines()[-1]
    assert installation.told(capsys) == [("project.create", "plant")]
    assert installation.told(capsys, "plant") == [
        ("project.change", "plant"),
        ("user.create", "ann"),
        ("key.create", "press"),
    ]
    stored = (data_dir / "gaugehouse.db").read_bytes()
    assert key.encode() not in stored
    assert PASSWORD.encode() not in stored


def printed(capsys):
    return capsys.readouterr().out.splitlines()[-1]


def test_people_leave_entries_and_no_secret_among_them(installation, capsys):
    data_dir, plant = installation.data_dir, {"data_dir": installation.data_dir, "project": "plant"}
    add_project(data_dir=data_dir, slug="plant", title="")
    create_user_account(**plant, name="ann", role="admin", password=PASSWORD)
    create_user_account(data_dir=data_dir, project="default", name="bob", role="viewer", password=PASSWORD)
    set_role(**plant, name="bob", role="viewer")
    set_role(**plant, name="bob", role="manager")
    remove_user(**plant, name="bob")
    print_invitation(**plant, role="viewer")
    invitation = printed(capsys)
    bar_user(data_dir=data_dir, name="bob", is_barred=True)
    bar_user(data_dir=data_dir, name="bob", is_barred=False)
    change_password(data_dir=data_dir, name="bob", password=NEXT_PASSWORD)
    print_reset(data_dir=data_dir, name="bob")
    reset = printed(capsys)
    revoke(data_dir=data_dir, name="bob")
    assert installation.told(capsys, "plant") == [
        ("user.create", "ann"),
        ("member.add", "bob"),
        ("member.change", "bob"),
        ("member.remove", "bob"),
        ("invitation.create", None),
    ]
    assert installation.told(capsys)[1:] == [
        ("user.disable", "bob"),
        ("user.enable", "bob"),
        ("user.reset", "bob"),
        ("user.reset_link", "bob"),
        ("session.end_all", "bob"),
    ]
    stored = (data_dir / "gaugehouse.db").read_bytes()
    assert not [secret for secret in (invitation, reset, PASSWORD, NEXT_PASSWORD) if secret.encode() in stored]


def test_keys_leave_entries_and_no_secret_among_them(installation, capsys):
    data_dir = installation.data_dir
    add_project(data_dir=data_dir, slug="plant", title="")
    create_key(data_dir=data_dir, options=key_options("press"))
    first = printed(capsys)
    list_keys(data_dir=data_dir, project="plant", as_json=True)
    (listed,) = json.loads(capsys.readouterr().out)["items"]
    replace_key(data_dir=data_dir, project="plant", key_id=listed["id"], overlap_s=600)
    second = printed(capsys)
    revoke_key(data_dir=data_dir, project="plant", key_id=listed["id"])
    rotate_key(data_dir=data_dir, at_once=False)
    assert [action for action, _ in installation.told(capsys, "plant")] == ["key.create", "key.rotate", "key.revoke"]
    assert [action for action, _ in installation.told(capsys)] == ["project.create", "signing_key.rotate"]
    stored = (data_dir / "gaugehouse.db").read_bytes()
    assert not [secret for secret in (first, second) if secret.encode() in stored]


def test_a_move_is_told_by_both_projects(installation, capsys):
    add_project(data_dir=installation.data_dir, slug="plant", title="")
    runtime = open_runtime(Settings(data_dir=installation.data_dir))
    with runtime.database.transaction() as session:
        create_components(session, get_project(session, "default").id, [NewComponent(name="press-1")])
    runtime.close()
    move_to_project(data_dir=installation.data_dir, component="press-1", source="default", target="plant")
    for project in ("default", "plant"):
        assert installation.told(capsys, project)[-1] == ("component.move", "press-1")


def test_windows_leave_entries(installation, capsys):
    window = NewWindow(
        kind="maintenance",
        components=None,
        start="2026-03-01T06:00Z",
        end="2026-03-01T08:00Z",
        timezone=None,
        reason="oil",
    )
    add_window(data_dir=installation.data_dir, project="default", window=window, author="ann")
    exclusion_id = capsys.readouterr().out.strip()
    withdraw_window(data_dir=installation.data_dir, project="default", exclusion_id=exclusion_id, author="ann")
    told = installation.told(capsys, "default")
    assert [action for action, _ in told] == ["exclusion.create", "exclusion.withdraw"]


def test_upkeep_of_the_lake_leaves_entries(installation, tmp_path, capsys):
    runtime = open_runtime(Settings(data_dir=installation.data_dir))
    ask = answers(runtime)
    quiet = lambda *_: None  # noqa: E731 - progress of nothing
    ask["flush"]({}, quiet)
    ask["compact"]({"project": None}, quiet)
    ask["backup"]({"target": str(tmp_path / "backups"), "keep": None}, quiet)
    ask["repair"]({"backups": None}, quiet)
    runtime.close()
    told = installation.told(capsys)
    assert [action for action, _ in told] == ["lake.flush", "lake.compact", "backup.create", "lake.repair"]


def test_a_deleted_project_is_told_by_the_installation(installation, capsys):
    add_project(data_dir=installation.data_dir, slug="plant", title="")
    set_project(data_dir=installation.data_dir, slug="plant", changes={"measurements_keep_days": "400d"})
    runtime = open_runtime(Settings(data_dir=installation.data_dir))
    runtime.delete_project("plant")
    runtime.close()
    assert installation.told(capsys) == [("project.create", "plant"), ("project.delete", "plant")]
    assert verify_log(data_dir=installation.data_dir, as_json=False)


def test_damage_is_told(installation, capsys):
    add_project(data_dir=installation.data_dir, slug="plant", title="")
    assert verify_log(data_dir=installation.data_dir, as_json=True)
    sound = json.loads(capsys.readouterr().out.partition("{")[2].join(["{", ""]))
    assert sound["verdict"] == "sound"
    runtime = open_runtime(Settings(data_dir=installation.data_dir))
    with runtime.database.transaction() as session:
        session.execute(text("DROP TRIGGER audit_entries_update"))
        session.execute(text("UPDATE audit_entries SET actor = 'eve'"))
    runtime.close()
    capsys.readouterr()
    assert not verify_log(data_dir=installation.data_dir, as_json=False)
    assert "entry_changed: installation: entry 1 is not as it was written" in capsys.readouterr().out


def test_the_log_is_exported_in_order(installation, tmp_path, capsys):
    for slug in ("plant", "press"):
        add_project(data_dir=installation.data_dir, slug=slug, title="")
    create_key(data_dir=installation.data_dir, options=key_options("k"))
    export_log(data_dir=installation.data_dir, file=tmp_path / "all.parquet", project=None)
    export_log(data_dir=installation.data_dir, file=tmp_path / "plant.parquet", project="plant")
    everything = pq.read_table(tmp_path / "all.parquet")
    assert everything.column("action").to_pylist() == ["project.create", "project.create", "key.create"]
    assert everything.column("number").to_pylist() == [1, 2, 1]
    assert pq.read_table(tmp_path / "plant.parquet").num_rows == 1
    with pytest.raises(AlreadyExists):
        export_log(data_dir=installation.data_dir, file=tmp_path / "all.parquet", project=None)
    with pytest.raises(Refused, match="parquet"):
        export_log(data_dir=installation.data_dir, file=tmp_path / "all.csv", project=None)


def test_without_an_installation_there_is_no_log(tmp_path):
    with pytest.raises(NotFound):
        verify_log(data_dir=tmp_path / "none", as_json=False)
