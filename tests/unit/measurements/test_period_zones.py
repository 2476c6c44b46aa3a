"""Zones: only names that mean the same on every machine."""

import pytest

from gaugehouse.errors import PeriodRefused
from gaugehouse.measurements.period import find_zone


@pytest.mark.parametrize(
    "name", ["localtime", "posixrules", "Factory", "right/UTC", "posix/UTC", "Europe", "../etc", ""]
)
def test_names_that_depend_on_the_machine_or_mean_nothing_are_refused(name):
    with pytest.raises(PeriodRefused, match="no time zone"):
        find_zone(name)


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "Etc/GMT-8", "Asia/Kolkata"])
def test_iana_names_are_zones(name):
    assert find_zone(name).key == name
