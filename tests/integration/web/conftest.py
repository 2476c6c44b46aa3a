"""One running installation, without sockets: database, lake, demo users, the application."""

import pytest

from asgi_client import Client
from gaugehouse.access import create_api_key, create_user, ensure_demo_users
from gaugehouse.config import Settings
from gaugehouse.runtime import open_runtime
from gaugehouse.web.app import create_app

SMALL_BODY_BYTES = 64 * 1024
SMALL_PAGE_ROWS = 500
ADMIN_PASSWORD = "a long password of an admin"


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("installation"),
        demo=True,
        body_limit_bytes=SMALL_BODY_BYTES,
        page_limit_rows=SMALL_PAGE_ROWS,
    )
    runtime = open_runtime(settings)
    with runtime.database.transaction() as session:
        ensure_demo_users(session)
    yield runtime
    runtime.close()


@pytest.fixture(scope="module")
def app(runtime):
    return create_app(runtime)


@pytest.fixture(scope="module")
def anonymous(app):
    return Client(app)


def signed_in(client, name, scope="", password=None):
    answer = client.post("/token", data={"username": name, "password": password or name, "scope": scope})
    assert answer.status_code == 200, answer.text
    return client.with_headers(Authorization=f"Bearer {answer.json()['access_token']}")


@pytest.fixture(scope="module")
def user(anonymous):
    return signed_in(anonymous, "user")


@pytest.fixture(scope="module")
def manager(anonymous):
    return signed_in(anonymous, "manager")


@pytest.fixture(scope="module")
def admin(runtime, anonymous):
    with runtime.database.transaction() as session:
        create_user(session, name="admin", password=ADMIN_PASSWORD, role="admin", project="default")
    return signed_in(anonymous, "admin", password=ADMIN_PASSWORD)


@pytest.fixture(scope="module")
def make_key(runtime, anonymous):
    def make(**wanted):
        with runtime.database.transaction() as session:
            key = create_api_key(session, name="probe", project="default", **wanted)
        return anonymous.with_headers(X_API_Key=key)

    return make
