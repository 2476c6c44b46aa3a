"""A real lake and a real database in a temporary folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gaugehouse.config import Layout, Settings
from gaugehouse.database import Database, sqlite_url
from gaugehouse.inventory import ensure_default_project
from gaugehouse.lake import Lake


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    opened = Lake.open(Layout(tmp_path), Settings(data_dir=tmp_path, segment_age_s=3_600))
    yield opened
    opened.close()


@pytest.fixture
def database(tmp_path: Path, migrated_sqlite_file: Path) -> Iterator[Database]:
    path = tmp_path / "gaugehouse.db"
    path.write_bytes(migrated_sqlite_file.read_bytes())
    opened = Database.open(sqlite_url(path))
    with opened.transaction() as session:
        ensure_default_project(session)
    yield opened
    opened.dispose()
