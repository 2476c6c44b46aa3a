"""What was broken on purpose, counted: the figures of docs/guarantees.md are printed at the end of a run."""

from collections import Counter

import pytest

from functional.founding import accounts, found, pytest_runtest_makereport

__all__ = ["accounts", "found", "pytest_runtest_makereport"]

TALLY = Counter()


@pytest.fixture(scope="session")
def tally():
    """Counts by what was done; printed at the end."""
    return TALLY


def pytest_sessionfinish(session):
    """Hand the counts of one of several processes to the one that prints them."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["tally"] = dict(TALLY)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    TALLY.update(getattr(node, "workeroutput", {}).get("tally", {}))


def pytest_terminal_summary(terminalreporter):
    if TALLY:
        terminalreporter.section("broken on purpose")
        for what, count in sorted(TALLY.items()):
            terminalreporter.write_line(f"{count:>12,}  {what}")
