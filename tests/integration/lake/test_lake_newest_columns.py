"""Newest values side by side by number, and heartbeats counted as they are stored."""

from datetime import UTC, datetime

import numpy as np
import pytest

from factories import measurement_batch
from gaugehouse.lake import known, newest
from gaugehouse.lake.keyhash import EMPTY, NEVER

METRICS = ("battery_level", "rssi", "online")
NAN = float("nan")


def append(lake, *rows, project="p"):
    return lake.append_measurements(project, measurement_batch(rows))


def read(lake, names, project="p", metrics=METRICS):
    """Return (instants, values) as lists, one per component."""
    found = lake.newest_columns(project, lake.number_components(project, names), metrics)
    return found.measured_at_us.T.tolist(), [
        [None if np.isnan(v) else v for v in row] for row in found.value.T.tolist()
    ]


def names_of(lake, project="p", metrics=METRICS):
    return lake.name_components(lake.find_components(project, metrics).numbers).to_pylist()


@pytest.fixture
def filled(lake):
    append(
        lake, ("b", "rssi", 5, -50.0), ("b", "online", 6, 1.0), ("a", "battery_level", 7, 90.0), ("c", "other", 8, 1.0)
    )
    append(lake, ("b", "rssi", 3, -70.0), ("a", "battery_level", 9, None, 2))
    append(lake, ("b", "online", 99, 0.0), project="q")
    return lake


def test_each_component_has_a_row_of_every_metric_or_nothing(filled):
    instants, values = read(filled, ["a", "b", "c", "nobody"])
    assert instants == [[9, NEVER, NEVER], [NEVER, 5, 6], [NEVER] * 3, [NEVER] * 3]
    assert values == [[None, None, None], [None, -50.0, 1.0], [None] * 3, [None] * 3]
    received = filled.newest_columns("p", filled.number_components("p", ["b"]), METRICS).received_at_us[:, 0]
    assert received[0] == NEVER
    assert received[1] == received[2] > 0


def test_a_value_of_bad_quality_is_none(filled):
    append(filled, ("b", "rssi", 10, -99.0, 2), ("b", "online", 10, 0.0, 1))
    assert read(filled, ["b"]) == ([[NEVER, 10, 10]], [[None, None, 0.0]])


def test_those_with_a_row_of_the_metrics_are_found_in_order_of_their_names(filled):
    assert names_of(filled) == ["a", "b"]
    assert names_of(filled, metrics=("other",)) == ["c"]
    assert names_of(filled, metrics=("nothing",)) == []
    assert names_of(filled, project="q") == ["b"]
    assert names_of(filled, project="nowhere") == []


def test_a_project_that_nobody_has_written_to_has_no_numbers(filled):
    assert filled.number_components("nowhere", ["a"]).tolist() == [EMPTY]
    assert read(filled, ["a"], project="nowhere")[0] == [[NEVER] * 3]
    assert read(filled, [])[0] == []


def test_many_are_read_in_steps_that_agree_with_one(filled, monkeypatch):
    rows = [(f"d{n}", METRICS[n % 3], n + 1, float(n)) for n in range(100)]
    append(filled, *rows)
    names = [f"d{n}" for n in range(100)]
    whole = read(filled, names)
    monkeypatch.setattr(newest, "STEP_SERIES", 10)
    monkeypatch.setattr(known, "STEP_SERIES", 10)
    assert read(filled, names) == whole
    assert [max(row) for row in whole[0]] == [n + 1 for n in range(100)]


def test_a_restart_knows_the_same(lakes, lake, filled):
    before = read(lake, ["a", "b", "c"]), names_of(lake)
    lake.close()
    lakes._open.remove(lake)
    again = lakes.open()
    assert (read(again, ["a", "b", "c"]), names_of(again)) == before


def test_dropped_months_are_not_shown(lake):
    old_us = int(datetime(2024, 1, 5, tzinfo=UTC).timestamp() * 1e6)
    new_us = int(datetime(2024, 3, 5, tzinfo=UTC).timestamp() * 1e6)
    append(lake, ("old", "rssi", old_us, -1.0), ("new", "rssi", new_us, -2.0))
    assert lake.find_components("p", METRICS).is_whole
    lake.flush()
    lake.retain("p", "measurements", datetime(2024, 2, 10, tzinfo=UTC))
    assert read(lake, ["old", "new"])[1] == [[None] * 3, [None, -2.0, None]]
    found = lake.find_components("p", METRICS)
    assert lake.name_components(found.numbers).to_pylist() == ["new"]
    assert not found.is_whole  # the other may send again at any moment, with no new series


def test_heartbeats_are_counted_once_each_by_project(lake):
    append(lake, ("a", "online", 1, 1.0), ("a", "online", 2, 0.0), ("a", "rssi", 1, 1.0), ("a", "onlin3", 1, 1.0))
    append(lake, ("a", "online", 1, 1.0), ("a", "online", 2, 1.0), ("b", "online", 1, 1.0))
    append(lake, ("a", "rssi", 9, 1.0))
    append(lake, ("a", "online", 1, 1.0), project="q")
    assert lake.meters.heartbeats() == {"p": 3, "q": 1}
    lake.delete_project("q")
    assert lake.meters.heartbeats() == {"p": 3, "": 1}
