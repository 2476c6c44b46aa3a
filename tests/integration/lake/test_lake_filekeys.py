"""Which keys a data file may hold: never too few, and without reading where the footer says enough."""

import numpy as np
import pyarrow as pa
import pytest

from factories import measurement_batch
from gaugehouse.lake import delta, filekeys
from gaugehouse.lake.filekeys import FileKeys, keys_of
from gaugehouse.lake.rows import MEASUREMENTS
from gaugehouse.measurements.schema import TIMESTAMP

COMPONENTS = [f"c{number:02d}" for number in range(20)]
MINUTE_US = 60_000_000


def wanted(rows):
    components, metrics, instants = zip(*rows, strict=True)
    return pa.table(
        {
            "component": pa.array(components).dictionary_encode(),
            "metric": pa.array(metrics).dictionary_encode(),
            "measured_at": pa.array(instants, TIMESTAMP),
        }
    )


@pytest.fixture
def path(lakes, monkeypatch):
    """A data file of 20 components x 100 minutes in row groups of 200 rows: two components each."""
    monkeypatch.setattr(delta, "ROW_GROUP_ROWS", 200)
    lake = lakes.open()
    rows = [(component, "m", minute * MINUTE_US, 1.0) for minute in range(100) for component in COMPONENTS]
    lake.append_measurements("p", measurement_batch(rows))
    lake.flush()
    (entry,) = lake.pin().files["measurements"]
    return lake.layout.lake_dir / "measurements" / entry.path


def ask(known, path, rows):
    keys = keys_of(wanted(rows), MEASUREMENTS)
    return known.may_hold(path, keys, np.arange(len(keys))).tolist()


@pytest.fixture
def reads(monkeypatch):
    """Which row groups were read."""
    numbers, read = [], filekeys._read_hashes

    def counted(path, number, spec):
        numbers.append(number)
        return read(path, number, spec)

    monkeypatch.setattr(filekeys, "_read_hashes", counted)
    return numbers


def test_what_is_stored_is_found_and_what_is_not_is_not(path, reads):
    known = FileKeys(MEASUREMENTS, 1 << 20)
    rows = [(component, "m", minute * MINUTE_US) for component in COMPONENTS for minute in range(100)]
    strange = [(component, "m", minute * MINUTE_US + 1) for component, _m, _t in rows[::7] for minute in (3, 50)]
    strange += [(component, "other", 60 * MINUTE_US) for component in COMPONENTS]
    assert ask(known, path, rows) == [True] * len(rows)
    assert ask(known, path, strange) == [False] * len(strange)
    assert sorted(reads) == sorted(set(reads))  # each was read once


def test_keys_beyond_the_bounds_of_every_row_group_read_nothing(path, reads):
    known = FileKeys(MEASUREMENTS, 1 << 20)
    later = [(component, "m", minute * MINUTE_US) for component in COMPONENTS for minute in range(100, 200)]
    assert not any(ask(known, path, [*later, ("b", "m", 0), ("d", "m", 0)]))
    assert reads == []


def test_only_row_groups_of_the_components_asked_for_are_read(path, reads):
    assert ask(FileKeys(MEASUREMENTS, 1 << 20), path, [("c06", "m", 5 * MINUTE_US), ("c07", "m", 1)]) == [True, False]
    assert len(reads) <= 2


def test_what_could_not_be_kept_is_not_read_and_may_be_held(path, reads):
    known = FileKeys(MEASUREMENTS, 1000)
    rows = [(component, "m", 1) for component in COMPONENTS]
    assert ask(known, path, [*rows, ("c00", "m", 200 * MINUTE_US)]) == [True] * len(rows) + [False]
    assert reads == []
