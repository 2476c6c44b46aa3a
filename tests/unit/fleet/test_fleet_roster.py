"""Which devices there are, remembered as long as that is true or finding them anew costs too much."""

from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

from gaugehouse.fleet import roster
from gaugehouse.fleet.roster import Roster
from gaugehouse.lake.newest import Numbered


class FakeLake:
    """Components are called by their numbers."""

    def __init__(self):
        self.devices = [3, 1, 2]
        self.series = 9
        self.is_whole = True
        self.asked = 0

    def find_components(self, _project, _metrics):
        self.asked += 1
        return Numbered(numbers=np.array(self.devices, np.int32), is_whole=self.is_whole)

    def number_components(self, _project, names):
        return np.array([int(name) for name in names], np.int32)

    def count_series_of(self, _project):
        return self.series


class FakeDatabase:
    def __init__(self):
        self.retired = []

    @contextmanager
    def reading(self):
        yield SimpleNamespace(scalars=lambda _statement: list(self.retired))


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(s=100.0, step_s=0.0)

    def tick():
        now.s += now.step_s
        return now.s

    monkeypatch.setattr(roster.time, "monotonic", tick)
    return now


@pytest.fixture
def lake():
    return FakeLake()


@pytest.fixture
def database():
    return FakeDatabase()


@pytest.fixture
def devices(lake, database, clock):
    asked = Roster(lake=lake, database=database)
    return lambda: asked.find_devices("p", "prj_1").tolist()


def test_a_whole_list_is_found_once_until_a_series_comes(devices, lake):
    assert devices() == devices() == [3, 1, 2]
    assert lake.asked == 1
    lake.devices, lake.series = [3, 1, 2, 4], 10
    assert devices() == [3, 1, 2, 4]
    assert lake.asked == 2


def test_a_list_that_is_not_whole_is_looked_at_again_soon(devices, lake, clock):
    lake.is_whole = False
    devices()
    lake.devices = [3, 1, 2, 4]  # it shows, with no new series
    assert devices() == [3, 1, 2]
    clock.s += 1.0
    assert devices() == [3, 1, 2, 4]


def test_a_list_that_took_long_is_used_for_a_while_although_devices_come(devices, lake, clock):
    clock.step_s = 1.0  # every look at the clock is a second later
    devices()
    clock.step_s = 0.0
    lake.devices, lake.series = [4], 10
    assert devices() == [3, 1, 2]
    clock.s += 10.0
    assert devices() == [4]


def test_retired_devices_are_left_out_within_a_second(devices, database, clock):
    devices()
    database.retired = ["1"]
    clock.s += 1.0
    assert devices() == [3, 2]
    database.retired = []
    clock.s += 1.0
    assert devices() == [3, 1, 2]


def test_a_deleted_project_is_forgotten(lake, database, clock):
    asked = Roster(lake=lake, database=database)
    asked.find_devices("p", "prj_1")
    asked.forget("p")
    lake.devices = [7]  # as many series as before, other devices
    assert asked.find_devices("p", "prj_2").tolist() == [7]
