"""Installations with accounts, made for tests of any folder, and what their servers printed beside a failure."""

import itertools
import re
import shutil

import pytest

from functional.installation import Installation

OPEN = []
SHOWN_CHARS = 10_000
SERVED_WELL = re.compile(r'"status": 2..,.*"request_served"')


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Show what the servers printed beside a failure."""
    report = yield
    if report.failed:
        for installation in OPEN:
            shown = "\n".join(line for line in installation.output().splitlines() if not SERVED_WELL.search(line))
            report.sections.append((f"servers of {installation.data_dir.name}", shown[-SHOWN_CHARS:]))
    return report


@pytest.fixture(scope="session")
def accounts(tmp_path_factory):
    """A folder that no server has seen: a viewer, a manager, an admin and a key, made by the command line."""
    template = Installation(tmp_path_factory.mktemp("accounts") / "data")
    template.create_user("vera", "viewer")
    template.create_user("max", "manager")
    template.create_user("ada", "admin")
    template.key = template.create_key("sender")
    return template


@pytest.fixture(scope="session")
def found(accounts, tmp_path_factory):
    """Make installations with those accounts, none of them running yet.

    Their servers start no worker of reports unless told: it takes as long to start as a server.
    """
    numbers = itertools.count()

    def call(environment=None, *, workers=0, is_fresh=False):
        folder = tmp_path_factory.mktemp("installation") / f"data-{next(numbers)}"
        shutil.copytree(accounts.data_dir, folder)
        settings = {"GAUGEHOUSE_WORKERS": str(workers)} | (environment or {})
        installation = Installation(folder, settings, is_fresh=is_fresh)
        installation.key = accounts.key
        OPEN.append(installation)
        return installation

    yield call
    for installation in OPEN:
        installation.close()
    OPEN.clear()
