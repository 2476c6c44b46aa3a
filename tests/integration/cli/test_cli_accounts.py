"""Commands beside a server that writes: who only looks waits for nobody, and nobody waits for a password's hash."""

import threading
import time

import pytest
from typer.testing import CliRunner

from gaugehouse.access import create_user, passwords
from gaugehouse.cli.accounts import change_password, create_user_account
from gaugehouse.cli.commands import app
from gaugehouse.config import Layout, Settings
from gaugehouse.database import Database, sqlite_url
from gaugehouse.errors import NotFound
from gaugehouse.installation import open_database

PASSWORD = "a long password of somebody"
LOOKING = [
    "user list",
    "key list",
    "project list",
    "project show default",
    "calendar show",
    "exclusion list",
    "audit list",
    "audit verify",
    "report list",
    "report schedule list",
    "report template list",
    "doctor",
]


@pytest.fixture
def data_dir(tmp_path):
    open_database(Settings(data_dir=tmp_path)).dispose()
    Layout(tmp_path).log_dir.mkdir()
    return tmp_path


@pytest.fixture
def server(data_dir):
    database = Database.open(sqlite_url(Layout(data_dir).database_path))
    yield database
    database.dispose()


@pytest.mark.parametrize("command", LOOKING)
def test_a_command_that_only_looks_does_not_wait_for_who_writes(data_dir, server, command):
    with server.transaction():  # who waits for it is refused after five seconds
        done = CliRunner().invoke(app, [*command.split(), "--data", str(data_dir)])
    assert isinstance(done.exception, (type(None), SystemExit, NotFound)), repr(done.exception)  # no calendar is set


@pytest.mark.parametrize("command", ["user list", "key list", "project list", "project show default", "calendar show"])
def test_a_command_that_only_looks_makes_no_installation(tmp_path, command):
    missing = tmp_path / "nothing"
    done = CliRunner().invoke(app, [*command.split(), "--data", str(missing)])
    assert isinstance(done.exception, NotFound)
    assert not missing.exists()


def test_nobody_waits_for_the_hash_of_a_password_that_a_command_sets(data_dir, server):
    with server.transaction() as session:
        create_user(session, name="known", password=PASSWORD, role="viewer", project="default")
    create = {"name": "fresh", "role": "viewer", "project": "default", "password": PASSWORD}
    commands = [
        threading.Thread(target=create_user_account, kwargs={"data_dir": data_dir, **create}),
        threading.Thread(target=change_password, kwargs={"data_dir": data_dir, "name": "known", "password": PASSWORD}),
    ]
    with passwords._turn(), passwords._turn():  # both places of those who hash are taken
        for command in commands:
            command.start()
        deadline_s = time.monotonic() + 1.5
        while time.monotonic() < deadline_s:
            with server.transaction():  # would take five seconds and fail
                pass
            time.sleep(0.01)
    for command in commands:
        command.join(timeout=30)
        assert not command.is_alive()
