"""An installation whose database is elsewhere: nobody takes an empty SQLite file for it."""

import pytest

from gaugehouse.cli.accounts import list_users
from gaugehouse.cli.diagnosing import diagnose
from gaugehouse.config import Settings
from gaugehouse.database import Database, note_database
from gaugehouse.errors import StartRefused
from gaugehouse.installation import open_database
from gaugehouse.runtime import open_runtime


@pytest.fixture
def elsewhere(tmp_path):
    """Settings that name a database; any will do."""
    return Settings(data_dir=tmp_path / "data", database_url=f"sqlite:///{tmp_path}/elsewhere.db")


def test_a_command_or_server_that_was_not_told_of_the_database_is_refused(elsewhere, monkeypatch):
    monkeypatch.delenv("GAUGEHOUSE_DATABASE_URL", raising=False)
    open_runtime(elsewhere).close()
    forgetful = Settings(data_dir=elsewhere.data_dir)
    for opened in (open_database, open_runtime):
        with pytest.raises(StartRefused, match=r"elsewhere\.db.*GAUGEHOUSE_DATABASE_URL"):
            opened(forgetful)
    with pytest.raises(StartRefused):
        list_users(data_dir=elsewhere.data_dir, project="default", as_json=True)
    with pytest.raises(StartRefused):
        diagnose(data_dir=elsewhere.data_dir, as_json=True)
    assert not (elsewhere.data_dir / "gaugehouse.db").exists()
    open_database(elsewhere).dispose()
    (elsewhere.data_dir / "DATABASE").unlink()
    open_runtime(forgetful).close()


def test_the_note_holds_no_password(tmp_path):
    database = Database.open("postgresql://gaugehouse:s3cret@db.example:5432/plant?password=s3cret")
    settings = Settings(data_dir=tmp_path, database_url="postgresql://")
    note_database(settings, database)
    assert (tmp_path / "DATABASE").read_text() == "postgresql://db.example:5432/plant\n"
    database.dispose()
