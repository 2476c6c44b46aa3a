"""Two projects."""

import pytest

from gaugehouse.database import Database
from gaugehouse.inventory import create_project, ensure_default_project


@pytest.fixture
def project_id(database: Database) -> str:
    """The default project."""
    with database.transaction() as session:
        return ensure_default_project(session).id


@pytest.fixture
def other_project_id(database: Database) -> str:
    """A second project, `other`."""
    with database.transaction() as session:
        return create_project(session, "other").id
