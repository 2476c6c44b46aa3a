"""`gaugehouse doctor` on real folders: what it looks at, what it says, and by which code it ends."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from gaugehouse.access import create_api_key, disable_user, ensure_demo_users, prepare_password, replace_password
from gaugehouse.access.users import get_user
from gaugehouse.checkup import examine
from gaugehouse.cli.diagnosing import diagnose
from gaugehouse.config import Layout, Settings
from gaugehouse.database.tables import ApiKey, User
from gaugehouse.errors import NotFound
from gaugehouse.installation import local_trail, open_access, open_database


@pytest.fixture
def settings(tmp_path, monkeypatch):
    for name in ("GAUGEHOUSE_HOST", "GAUGEHOUSE_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    settings = Settings(data_dir=tmp_path / "data")
    database = open_database(settings)
    open_access(settings, database)
    with database.transaction() as session:
        create_api_key(session, name="used", project="default", expires_at=datetime.now(UTC) + timedelta(days=9))
        create_api_key(session, name="forgotten", project="default")
        long_ago = datetime.now(UTC) - timedelta(days=100)
        session.execute(update(ApiKey).where(ApiKey.name == "forgotten").values(created_at=long_ago))
    database.dispose()
    layout = Layout(settings.data_dir)
    layout.log_dir.mkdir()
    layout.data_dir.chmod(0o700)
    return settings


def codes(capsys, data_dir):
    exit_code = diagnose(data_dir=data_dir, as_json=True)
    said = json.loads(capsys.readouterr().out)
    return exit_code, said["verdict"], {finding["code"] for finding in said["findings"]}


def test_what_is_looked_at(settings):
    found = examine(settings)
    assert [key.name for key in found.keys] == ["forgotten", "used"]
    assert found.readable == ()
    assert 0 < found.free_bytes < found.size_bytes
    assert (found.backed_up_at, found.has_rows, found.has_admin) == (None, False, False)


def test_open_folders_are_found_and_a_closed_one_above_them_is_enough(settings):
    layout = Layout(settings.data_dir)
    layout.secrets_dir.chmod(0o750)
    layout.database_path.chmod(0o644)
    assert examine(settings).readable == ("secrets",)
    layout.data_dir.chmod(0o755)
    assert "database" in examine(settings).readable


def test_a_backup_is_known_by_the_audit_log(settings):
    database = open_database(settings)
    with database.transaction() as session:
        local_trail(settings).tell(session, "backup.create")
    database.dispose()
    assert examine(settings).backed_up_at is not None


def test_the_exit_code_says_how_bad_it_is(settings, capsys, monkeypatch):
    monkeypatch.setattr("gaugehouse.checkup.gathering._ask_kernel", lambda: True)
    exit_code, verdict, found = codes(capsys, settings.data_dir)
    assert (exit_code, verdict) == (3, "warning")
    assert {"keys_writing_endless", "keys_unused"} <= found
    monkeypatch.setenv("GAUGEHOUSE_HOST", "0.0.0.0")  # noqa: S104 - nothing listens
    exit_code, verdict, found = codes(capsys, settings.data_dir)
    assert (exit_code, verdict) == (4, "critical")
    assert "no_tls" in found


def test_people_read_what_why_and_how_to_mend_it(settings, capsys):
    diagnose(data_dir=settings.data_dir, as_json=False)
    said = capsys.readouterr().out
    for text in ("WARNING", "keys_unused", "what", "why", "mend", "forgotten (default)", "15 checks"):
        assert text in said


def test_where_there_is_no_installation_there_is_nothing_to_look_at(tmp_path):
    with pytest.raises(NotFound):
        diagnose(data_dir=tmp_path, as_json=False)


def test_keys_that_write_everywhere_are_told_from_those_of_devices_and_readers(settings):
    database = open_database(settings)
    with database.transaction() as session:
        create_api_key(session, name="device", project="default", component="press-1")
        create_api_key(session, name="reader", project="default", scopes=["measurements:read"])
    database.dispose()
    assert {key.name: key.writes_all for key in examine(settings).keys} == {
        "used": True,
        "forgotten": True,
        "device": False,
        "reader": False,
    }


def test_demo_users_that_were_left_behind_are_found_until_they_are_kept_out(settings, capsys):
    database = open_database(settings)
    with database.transaction() as session:
        ensure_demo_users(session)
    exit_code, _verdict, found = codes(capsys, settings.data_dir)
    assert exit_code >= 3
    assert "demo_users_left" in found
    with database.transaction() as session:
        disable_user(session, name="user")
        replace_password(session, get_user(session, "manager").id, prepare_password("of somebody else", user_name="m"))
    database.dispose()
    assert examine(settings).demo_accounts == ()


def test_a_demo_password_that_counts_is_critical(settings, capsys):
    database = open_database(settings)
    with database.transaction() as session:
        ensure_demo_users(session)
        session.execute(update(User).where(User.name == "manager").values(is_demo=False))  # no command does that
    database.dispose()
    exit_code, _verdict, found = codes(capsys, settings.data_dir)
    assert exit_code == 4
    assert {"demo_password", "demo_users_left"} <= found
