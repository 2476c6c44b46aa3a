"""Installations that the functional tests share: a start takes seconds, so most tests are guests in one house."""

import pytest

from functional.founding import accounts, found, pytest_runtest_makereport

__all__ = ["accounts", "found", "pytest_runtest_makereport"]


@pytest.fixture(scope="session")
def house(found):
    """One running server for all tests that only talk to it, each about components of its own."""
    lasting = {"GAUGEHOUSE_TOKEN_LIFETIME_S": "7200"}  # one token each for the whole run
    installation = found(lasting, workers=1, is_fresh=True).start()
    yield installation
    installation.stop()


@pytest.fixture(scope="session")
def viewer(house):
    return house.sign_in("vera")


@pytest.fixture(scope="session")
def manager(house):
    return house.sign_in("max")


@pytest.fixture(scope="session")
def admin(house):
    return house.sign_in("ada")


@pytest.fixture(scope="session")
def device(house):
    return house.device()


@pytest.fixture(scope="session")
def demo(found):
    """One server in demo mode for everything that looks at the demo."""
    environment = {"GAUGEHOUSE_SEGMENT_AGE_S": "1", "GAUGEHOUSE_TOKEN_LIFETIME_S": "7200"}
    installation = found(environment, workers=1, is_fresh=True).start("--demo")
    yield installation
    installation.stop()
