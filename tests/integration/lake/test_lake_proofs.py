"""No question is answered from a file that is not what was written, whether or not anybody has verified it."""

import datetime as dt

import duckdb
import pytest

import gaugehouse.lake.proofs
from factories import measurement_batch
from gaugehouse.errors import Unavailable
from gaugehouse.lake import open_snapshot
from gaugehouse.lake.quarantine import read_quarantine
from gaugehouse.measurements.selection import Selection
from integration.lake.conftest import LakeFactory
from integration.lake.lake_images import data_files, flip, measured

MEAN = "SELECT avg(value) AS mean FROM rows"
VALUES = "SELECT avg(value) FROM read_parquet('{}')"


def mean(snapshot, project="plant", **bounds):
    return snapshot.read(Selection(project=project, **bounds), MEAN).read_all()["mean"][0].as_py()


def refused(act):
    with pytest.raises(Unavailable) as refusal:
        act()
    assert refusal.value.code == "file_quarantined"
    assert refusal.value.fields == {"table": "measurements", "project": "plant", "month": "2026-01"}


@pytest.fixture
def rotten(closed):
    """A closed lake with a bit flipped in a file of January such that DuckDB reads another value and says nothing."""
    path = data_files(closed)[0]
    query = VALUES.format(path)
    written = duckdb.sql(query).fetchall()
    for bit in range(32, 8 * path.stat().st_size):
        flip(path, bit)
        try:
            if duckdb.sql(query).fetchall() != written:
                return closed
        except duckdb.Error:
            pass
        flip(path, bit)
    pytest.fail("DuckDB notices every bit")


@pytest.fixture
def lake(rotten):
    factory = LakeFactory(rotten.data_dir)
    yield factory.open()
    factory.close()


def test_the_first_question_that_needs_it_finds_it_and_puts_it_in_quarantine(lake):
    assert read_quarantine(lake.layout.log_dir) == ()
    refused(lambda: mean(lake.pin()))
    (listed,) = read_quarantine(lake.layout.log_dir)
    assert (listed.table, listed.project, listed.month) == ("measurements", "plant", "2026-01")
    refused(lambda: mean(lake.pin()))
    refused(lambda: lake.pin().load_series(Selection(project="plant")))
    assert mean(lake.pin(), project="north")
    assert mean(lake.pin(), start=dt.datetime(2026, 2, 1, tzinfo=dt.UTC)) is None


def test_a_question_that_was_pinned_before_is_refused_too(lake):
    pinned = lake.pin()
    refused(lambda: mean(lake.pin()))
    refused(lambda: mean(pinned))


def test_late_rows_are_not_compared_with_it(lake):
    refused(lambda: lake.append_measurements("plant", measured(0)))
    newer = measurement_batch([("pump-1", "flow", 1_772_000_000_000_000, 1.0)])
    assert lake.append_measurements("plant", newer).accepted == 1


def test_a_start_that_has_to_read_it_puts_it_in_quarantine(rotten):
    (rotten.log_dir / "index" / "measurements.arrow").unlink()
    factory = LakeFactory(rotten.data_dir)
    lake = factory.open()
    refused(lambda: lake.newest("plant"))
    assert len(read_quarantine(rotten.log_dir)) == 1
    factory.close()


def test_the_worker_of_reports_refuses_it_by_itself(rotten):
    refused(lambda: open_snapshot(rotten.lake_dir).load_series(Selection(project="plant")))


def test_a_file_is_compared_once_in_the_life_of_a_process(closed, monkeypatch):
    asked = []
    is_broken = gaugehouse.lake.proofs.is_broken

    def count(root, entry, written):
        asked.append(entry.path)
        return is_broken(root, entry, written)

    monkeypatch.setattr("gaugehouse.lake.proofs.is_broken", count)
    factory = LakeFactory(closed.data_dir)
    lake = factory.open()
    for _ in range(3):
        mean(lake.pin())
    assert len(asked) == len(set(asked)) == len(data_files(closed))
    factory.close()
