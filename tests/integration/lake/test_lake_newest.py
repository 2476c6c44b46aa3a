"""The newest row of each series across stops, crashes and compactions, and series whose clock has jumped."""

import time

import pytest

from factories import event_batch, measurement_batch
from gaugehouse.errors import Unavailable
from gaugehouse.lake import indexfile, known
from gaugehouse.lake.compaction import plan_everything

DAY_US = 86_400_000_000
SECOND_US = 1_000_000


def now_us():
    return time.time_ns() // 1_000


def append(lake, *rows, project="p"):
    return lake.append_measurements(project, measurement_batch([(*row, 0) if len(row) == 4 else row for row in rows]))


def restart(lakes, lake, *, crash=False):
    if crash:
        lakes.crash(lake)
    else:
        lake.close()
        lakes._open.remove(lake)
    return lakes.open()


@pytest.fixture
def lookups(monkeypatch):
    """Count looks into files; call the fixture with a lake to begin."""
    asked = []

    def watch(lake):
        find = lake._sequencer.lookup

        def counted(spec, rows, files):
            asked.append(len(rows))
            return find(spec, rows, files)

        monkeypatch.setattr(lake._sequencer, "lookup", counted)
        return asked

    return watch


@pytest.fixture
def scans(monkeypatch):
    """Note (files, received after) of each scan of a start."""
    asked = []
    read_newest = indexfile.read_newest

    def noted(engine, spec, paths, received_after):
        asked.append((len(paths), received_after))
        return read_newest(engine, spec, paths, received_after)

    monkeypatch.setattr(indexfile, "read_newest", noted)
    return asked


@pytest.mark.parametrize("steps", ["one step", "many steps"])
def test_every_newest_row_survives_a_stop_as_it_was(lakes, monkeypatch, steps):
    if steps == "many steps":
        monkeypatch.setattr(known, "STEP_SERIES", 3)
    lake = lakes.open()
    append(lake, *[(f"c{n}", f"m{n % 3}", 10 + n, n * 0.5) for n in range(20)], ("bad", "m", 1, None, 2))
    append(lake, ("c1", "m1", 99, 7.0), ("é", "m", 5, 1.0), project="q")
    append(lake, ("c0", "m0", 50, 3.0))
    lake.append_events("q", event_batch([("a", "alarm", 5, {"x": 1})]))
    before = {project: lake.newest(project) for project in "pq"}
    lake = restart(lakes, lake)
    assert {project: lake.newest(project) for project in "pq"} == before
    assert lake.newest("p", ["c0"]).column("value").to_pylist() == [3.0]
    assert lake.newest("q", ["é", "bad"]).column("component").to_pylist() == ["é"]
    assert append(lake, ("c1", "m1", 99, 7.0), project="q").duplicates == 1
    assert lake.append_events("q", event_batch([("a", "alarm", 5, {"x": 1})])).duplicates == 1


def test_a_start_reads_what_came_after_the_saved_index_however_compaction_moved_it(lakes, scans):
    lake = lakes.open()
    for n in range(3):
        append(lake, (f"c{n}", "m", 10, 1.0))
        lake.flush()
    saved_through = lake.newest_received_at()
    lake._save_indexes()
    for n in range(3):
        append(lake, (f"c{n}", "m", 20, 2.0), (f"d{n}", "m", 20, 2.0))
        lake.flush()
    assert lake.compact().files_after == 1
    before = lake.newest("p")
    lake = restart(lakes, lake, crash=True)
    assert lake.newest("p") == before
    assert scans == [(1, saved_through)], "the one merged file, but only its later rows"
    del scans[:]
    assert restart(lakes, lake).newest("p") == before
    assert scans == [], "all that is in it was saved at the stop"


def test_files_that_compaction_made_of_known_ones_are_not_read_again(lakes, scans):
    lake = lakes.open()
    for n in range(6):
        append(lake, (f"c{n}", "m", 10, 1.0))
        lake.flush()
        time.sleep(0.005)  # bounds in the Delta log are 1 to 2 ms wide
    lake._save_indexes()
    first = list(lake._stores["measurements"].files.values())[:5]
    (merge,) = plan_everything(first)
    assert lake._maintenance.merge("measurements", merge) is not None
    lake = restart(lakes, lake, crash=True)
    assert lake.newest("p").num_rows == 6
    assert scans == []


def test_a_saved_index_of_another_lake_is_not_believed(lakes, tmp_path):
    other = type(lakes)(tmp_path / "other")
    stranger = other.open()
    append(stranger, ("stranger", "m", 10, 1.0))
    stranger.close()
    other._open.clear()
    lake = lakes.open()
    append(lake, ("mine", "m", 10, 1.0))
    lake.close()
    lakes._open.remove(lake)
    path = lake.layout.log_dir / "index" / "measurements.arrow"
    path.write_bytes((stranger.layout.log_dir / "index" / "measurements.arrow").read_bytes())
    lake = lakes.open()
    assert lake.newest("p").column("component").to_pylist() == ["mine"]
    assert not path.exists()


def test_rows_of_a_deleted_project_do_not_come_back_from_an_index_saved_before(lakes, monkeypatch):
    lake = lakes.open()
    append(lake, ("a", "m", 10, 1.0))
    append(lake, ("a", "m", 10, 1.0), project="q")
    lake.flush()
    lake._save_indexes()
    monkeypatch.setattr(lake, "_save_indexes", lambda: None)
    lake.delete_project("p")
    lake = restart(lakes, lake, crash=True)
    assert (lake.newest("p").num_rows, lake.newest("q").num_rows) == (0, 1)
    assert append(lake, ("a", "m", 5, 1.0)).accepted == 1
    assert lake.newest("p").column("measured_at").cast("int64").to_pylist() == [5]


@pytest.mark.parametrize("crash", [False, True])
def test_a_series_whose_clock_jumped_a_day_ahead_is_not_looked_up_in_files_after_a_start(lakes, lookups, crash):
    lake = lakes.open()
    jumped_us = now_us() + DAY_US
    append(lake, ("a", "m", jumped_us, 1.0), ("b", "m", jumped_us, 1.0))
    lake.append_events("p", event_batch([("a", "alarm", jumped_us, {"x": 1})]))
    lake.flush()
    append(lake, ("a", "m", now_us(), 2.0), ("c", "m", jumped_us, 3.0))  # in the log only, when it crashes
    lake = restart(lakes, lake, crash=crash)
    asked = lookups(lake)
    for _turn in range(3):
        later_us = now_us() + SECOND_US
        outcome = append(lake, *[(component, "m", later_us, 4.0) for component in "abc"])
        assert (outcome.accepted, outcome.late) == (3, 3)
        assert lake.append_events("p", event_batch([("a", "alarm", later_us, {"x": 2})])).accepted == 1
        lake.flush()
    assert asked == []
    assert append(lake, ("a", "m", jumped_us, 1.0), ("c", "m", jumped_us, 3.0)).duplicates == 2
    assert lake.append_events("p", event_batch([("a", "alarm", jumped_us, {"x": 1})])).duplicates == 1
    assert asked, "what may be stored was looked up"
    assert lake.newest("p", ["a"]).column("value").to_pylist() == [1.0], "the newest row is the one that jumped"


def test_more_jumped_keys_than_there_is_memory_for_make_a_start_slow_but_never_wrong(lakes, lookups):
    lake = lakes.open(recent_keys_bytes=2**20)
    room = lake._sequencer.recent["measurements"].ahead_room
    first_us = now_us() + DAY_US
    append(lake, *[("a", "m", first_us + n, 1.0) for n in range(room + 1)])
    lake.close()
    lakes._open.remove(lake)
    lake = lakes.open(recent_keys_bytes=2**20)
    asked = lookups(lake)
    assert append(lake, ("a", "m", now_us(), 2.0)).accepted == 1
    assert len(asked) == 1
    assert append(lake, ("a", "m", first_us, 1.0), ("a", "m", first_us + room, 1.0)).duplicates == 2


def test_a_damaged_file_of_jumped_keys_does_not_keep_a_lake_from_opening(lakes):
    lake = lakes.open()
    jumped_us = now_us() + DAY_US
    append(lake, ("a", "m", jumped_us, 1.0))
    lake.close()
    lakes._open.remove(lake)
    (damaged,) = lake._stores["measurements"].files
    (lake.layout.lake_dir / "measurements" / damaged).write_bytes(b"not Parquet")
    lake = lakes.open()
    assert lake.newest("p").num_rows == 1
    assert append(lake, *[(component, "m", now_us(), 1.0) for component in "ab"]).accepted == 2
    with pytest.raises(Unavailable):
        append(lake, ("a", "m", jumped_us, 1.0))
