"""A small plant: two projects with their people."""

import pytest

from gaugehouse.access import Access, grant_role
from gaugehouse.access.passwords import hash_password
from gaugehouse.database import Database, new_id
from gaugehouse.database.tables import Project, User

SECRET = bytes(range(32))
PASSWORD = "a long enough password"


class Clock:
    """Monotonic seconds that a test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture(scope="session")
def password_hash() -> str:
    """The hash of PASSWORD, made once: it is slow on purpose."""
    return hash_password(PASSWORD)


@pytest.fixture
def plant(database: Database, password_hash: str) -> Database:
    """Two projects; mona is manager and vera viewer of `default`, otto admin of `other`."""
    with database.transaction() as session:
        for slug in ("default", "other"):
            session.add(Project(id=new_id("prj"), slug=slug))
        session.flush()
        for name, role, project in (
            ("mona", "manager", "default"),
            ("vera", "viewer", "default"),
            ("otto", "admin", "other"),
        ):
            session.add(User(id=new_id("usr"), name=name, password_hash=password_hash))
            session.flush()
            grant_role(session, name=name, project=project, role=role)
    return database


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def access(plant: Database, clock: Clock) -> Access:
    return Access(plant, SECRET, 900, clock=clock)
