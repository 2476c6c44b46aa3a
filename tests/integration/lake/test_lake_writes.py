"""Appending: counted once, conflicts kept, visible at once, in the files after a flush."""

import fcntl
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import children
from factories import event_batch, measurement_batch
from gaugehouse.errors import LakeLocked, Overloaded, Refused, StartRefused, StorageFull, Unavailable
from gaugehouse.lake import is_locked, open_snapshot, read_committed_through
from gaugehouse.lake.delta import DeltaStore
from gaugehouse.lake.known import SeriesIndex
from gaugehouse.lake.sequencer import conflict_events
from gaugehouse.measurements.selection import Selection, from_epoch_us

ALL = Selection(project="p")
DAY_US = 86_400_000_000


def rows_of(snapshot, table="measurements", selection=ALL):
    return snapshot.read(selection, "SELECT * FROM rows ORDER BY ALL", table=table).read_all().to_pylist()


def keys_and_values(snapshot):
    return [(r["component"], r["metric"], r["measured_at"], r["value"]) for r in rows_of(snapshot)]


def test_a_row_is_readable_as_soon_as_it_is_acknowledged(lake):
    appended = lake.append_measurements("p", measurement_batch([("a", "m", 5, 1.5)]))
    assert (appended.accepted, appended.duplicates, appended.late) == (1, 0, 0)
    (row,) = rows_of(lake.pin())
    assert (row["component"], row["metric"], row["value"], row["quality"]) == ("a", "m", 1.5, 0)
    assert row["received_at"] == appended.received_at


def test_a_row_is_readable_when_acknowledged_though_another_request_synced_in_between(lake, monkeypatch):
    take_rows = lake._sequencer.take_rows

    def take_rows_late(*args):
        log = lake._sequencer.log
        log.wait_durable(log.written)  # another request's sync, while this one is being held
        take_rows(*args)

    monkeypatch.setattr(lake._sequencer, "take_rows", take_rows_late)
    lake.append_measurements("p", measurement_batch([("a", "m", 5, 1.5)]))
    assert len(rows_of(lake.pin())) == 1
    assert lake.newest("p").num_rows == 1


@pytest.mark.parametrize("is_flushed", [False, True])
def test_a_repeated_delivery_changes_nothing(lake, is_flushed):
    batch = measurement_batch([("a", "m", t, t / 2) for t in range(100)])
    lake.append_measurements("p", batch)
    before = keys_and_values(lake.pin())
    if is_flushed:
        lake.flush()
    appended = lake.append_measurements("p", batch)
    assert (appended.accepted, appended.duplicates) == (0, 100)
    assert keys_and_values(lake.pin()) == before


@pytest.mark.parametrize("is_flushed", [False, True])
def test_the_first_value_stands_and_the_conflict_is_kept_as_an_event(lake, is_flushed):
    lake.append_measurements("p", measurement_batch([("a", "m", 5, 1.0)]))
    if is_flushed:
        lake.flush()
    appended = lake.append_measurements("p", measurement_batch([("a", "m", 5, 2.0), ("a", "m", 6, 3.0)]))
    assert (appended.accepted, appended.duplicates, appended.conflicts.num_rows) == (1, 0, 1)
    assert appended.conflicts.to_pylist()[0]["stored_value"] == 1.0
    assert [value for *_key, value in keys_and_values(lake.pin())] == [1.0, 3.0]
    (event,) = rows_of(lake.pin(), "events")
    assert event["kind"] == "conflict"
    assert '"refused_value":2.0' in event["body"]


def test_the_same_conflict_twice_is_one_event(lake):
    lake.append_measurements("p", measurement_batch([("a", "m", 5, 1.0)]))
    for _ in range(3):
        assert lake.append_measurements("p", measurement_batch([("a", "m", 5, 2.0)])).conflicts.num_rows == 1
        lake.flush()
    assert len(rows_of(lake.pin(), "events")) == 1


def test_events_of_conflicts_are_made_while_others_may_write(lake, monkeypatch):
    lake.append_measurements("p", measurement_batch([("a", "m", t, 1.0) for t in range(5)]))
    was_locked = []

    def watched(conflicts):
        was_locked.append(lake._sequencer.lock.locked())
        return conflict_events(conflicts)

    monkeypatch.setattr("gaugehouse.lake.sequencer.conflict_events", watched)
    appended = lake.append_measurements("p", measurement_batch([("a", "m", t, 2.0) for t in range(9)]))
    assert (appended.accepted, appended.conflicts.num_rows) == (4, 5)
    assert was_locked == [False]
    assert len(rows_of(lake.pin(), "events")) == 5


def test_a_delivery_whose_events_are_refused_claims_no_measurement_either(lakes):
    lake = lakes.open(series_limit=2)
    lake.append_measurements("p", measurement_batch([("a", "m", 1, 1.0)]))
    lake.append_events("p", event_batch([("a", f"kind{n}", 5, {}) for n in range(2)]))
    with pytest.raises(Refused):
        lake.append_measurements("p", measurement_batch([("a", "m", 1, 9.0), ("a", "m", 7, 7.0)]))
    appended = lake.append_measurements("p", measurement_batch([("a", "m", 5, 5.0)]))
    assert (appended.accepted, appended.late) == (1, 0)


def test_another_quality_is_a_conflict_and_a_null_equals_a_null(lake):
    lake.append_measurements("p", measurement_batch([("a", "m", 5, 1.0, 0), ("a", "m", 6, None, 2)]))
    assert lake.append_measurements("p", measurement_batch([("a", "m", 5, 1.0, 1)])).conflicts.num_rows == 1
    assert lake.append_measurements("p", measurement_batch([("a", "m", 6, None, 2)])).duplicates == 1


def test_duplicates_and_conflicts_inside_one_delivery_are_told_apart(lake):
    appended = lake.append_measurements(
        "p", measurement_batch([("a", "m", 5, 1.0), ("a", "m", 5, 1.0), ("a", "m", 5, 9.0), ("a", "m", 4, 7.0)])
    )
    assert (appended.accepted, appended.duplicates, appended.conflicts.num_rows, appended.late) == (2, 1, 1, 1)


def test_projects_share_nothing_not_even_a_file(lake):
    lake.append_measurements("p", measurement_batch([("a", "m", 5, 1.0)]))
    other = lake.append_measurements("q", measurement_batch([("a", "m", 5, 2.0)]))
    assert (other.accepted, other.conflicts.num_rows) == (1, 0)
    lake.flush()
    assert [row["value"] for row in rows_of(lake.pin())] == [1.0]
    folders = {path.parent.parent.name for path in lake.layout.lake_dir.glob("measurements/**/*.parquet")}
    assert folders == {"project=p", "project=q"}
    assert lake.newest("p").column("value").to_pylist() == [1.0]


def test_late_rows_of_any_age_go_to_their_own_month(lake):
    now_us = 1_760_000_000_000_000
    lake.append_measurements("p", measurement_batch([("a", "m", now_us, 1.0)]))
    lake.flush()
    late = lake.append_measurements("p", measurement_batch([("a", "m", now_us - 400 * DAY_US, 2.0)]))
    assert (late.accepted, late.late) == (1, 1)
    lake.flush()
    months = {path.parent.name for path in lake.layout.lake_dir.glob("measurements/**/*.parquet")}
    assert months == {"month=2025-10", "month=2024-09"}
    assert lake.append_measurements("p", measurement_batch([("a", "m", now_us - 400 * DAY_US, 2.0)])).duplicates == 1


def test_events_are_unique_by_their_body(lake):
    batch = event_batch([("a", "alarm", 5, {"code": 1}), ("a", "alarm", 5, {"code": 2})])
    assert lake.append_events("p", batch).accepted == 2
    lake.flush()
    again = lake.append_events("p", event_batch([("a", "alarm", 5, {"code": 1}), ("a", "alarm", 5, {"code": 3})]))
    assert (again.accepted, again.duplicates) == (1, 1)
    assert len(rows_of(lake.pin(), "events")) == 3


def test_stamps_rise_with_the_order_of_acknowledgement_and_make_the_past_readable(lake):
    stamps = [lake.append_measurements("p", measurement_batch([("a", "m", t, float(t))])).received_at for t in range(5)]
    assert stamps == sorted(set(stamps))
    lake.flush()
    for count, stamp in enumerate(stamps, start=1):
        past = Selection(project="p", as_of=stamp)
        assert len(rows_of(lake.pin(), selection=past)) == count
        assert len(rows_of(open_snapshot(lake.layout.lake_dir, as_of=stamp), selection=past)) == count
        assert len(rows_of(open_snapshot(lake.layout.lake_dir, as_of=stamp))) == count
        assert open_snapshot(lake.layout.lake_dir, as_of=stamp).load_series(ALL).measured_at_us.size == count
    assert read_committed_through(lake.layout) == stamps[-1]


def test_what_was_received_after_a_moment_can_be_read_alone_wherever_it_lies(lake):
    stamps = []
    for t in range(6):
        stamps.append(lake.append_measurements("p", measurement_batch([("a", "m", 10 - t, float(t))])).received_at)
        if t == 3:
            lake.flush()
    for compact in (False, True):
        if compact:
            lake.flush()
            lake.compact()
        for count, stamp in enumerate(stamps, start=1):
            later = Selection(project="p", received_after=stamp)
            expected = sorted(10 - t for t in range(count, 6))
            assert [row["measured_at"] for row in rows_of(lake.pin(), selection=later)] == list(
                map(from_epoch_us, expected)
            )
            assert lake.pin().load_series(later).measured_at_us.tolist() == expected
        between = Selection(project="p", received_after=stamps[1], as_of=stamps[4])
        assert lake.pin().load_series(between).measured_at_us.tolist() == [6, 7, 8]


def test_a_snapshot_does_not_change_while_rows_arrive_and_are_flushed(lake):
    lake.append_measurements("p", measurement_batch([("a", "m", 1, 1.0)]))
    pinned = lake.pin()
    before = rows_of(pinned)
    lake.append_measurements("p", measurement_batch([("a", "m", 2, 2.0), ("b", "m", 1, 2.0)]))
    lake.flush()
    lake.append_measurements("p", measurement_batch([("a", "m", 3, 3.0)]))
    assert rows_of(pinned) == before
    assert len(rows_of(lake.pin())) == 4


def test_a_series_that_appears_while_a_snapshot_is_read_does_not_disturb_it(lake, monkeypatch):
    lake.append_measurements("p", measurement_batch([("a", "m", 1, 1.0)]))
    pinned, series_of = lake.pin(), SeriesIndex.series_of

    def series_of_a_moment_later(*args):
        lake.append_measurements("p", measurement_batch([("b", "m", 1, 1.0)]))
        return series_of(*args)

    monkeypatch.setattr(SeriesIndex, "series_of", series_of_a_moment_later)
    assert len(rows_of(pinned)) == 1


def test_plain_readers_see_each_flushed_row_once_with_the_documented_types(lake):
    lake.append_measurements("p", measurement_batch([("a", "m", 5, 1.0, 0), ("a", "n", 6, None, 2)]))
    lake.flush()
    frame = pl.scan_delta(str(lake.layout.lake_dir / "measurements")).sort("metric").collect()
    assert frame.select("project", "component", "metric", "value", "quality").rows() == [
        ("p", "a", "m", 1.0, 0),
        ("p", "a", "n", None, 2),
    ]
    assert frame.schema["measured_at"] == pl.Datetime("us", "UTC")


def test_rows_of_a_file_are_sorted_and_its_pages_carry_checksums(lake, lakes):
    rng = np.random.default_rng(3)
    rows = [(f"c{rng.integers(9)}", f"m{rng.integers(3)}", int(t), 1.0) for t in rng.permutation(2000)]
    lake.append_measurements("p", measurement_batch(rows))
    lake.flush()
    (path,) = lakes.layout.lake_dir.glob("measurements/**/*.parquet")
    table = pq.read_table(path, partitioning=None)
    keys = list(zip(*(table.column(name).to_pylist() for name in ("component", "metric", "measured_at")), strict=True))
    assert keys == sorted(keys)
    assert len(keys) == 2000
    columns = pq.read_metadata(path).row_group(0)
    content = path.read_bytes()
    for column in (columns.column(i) for i in range(columns.num_columns)):
        if column.path_in_schema == "received_at":
            continue  # not read for series
        flipped = bytearray(content)
        start = column.dictionary_page_offset or column.data_page_offset
        flipped[start + column.total_compressed_size - 3] ^= 1
        with pytest.raises(OSError, match="CRC checksum"):
            pq.read_table(pa.BufferReader(bytes(flipped)), page_checksum_verification=True)


def test_no_write_waits_for_a_compiled_loop(tmp_path):
    """They are loaded from files as the lake opens: later there may be no descriptor left for that."""
    ran = subprocess.run(
        [sys.executable, "-c", f"import children; children.write_with_warm_loops({str(tmp_path)!r})"],
        env=os.environ | {"PYTHONPATH": str(Path(children.__file__).parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert ran.stdout.splitlines()[-1] == "[]"


def test_64_threads_with_the_same_thousand_keys_store_each_once_while_a_flush_runs(lake):
    batch = measurement_batch([(f"c{n % 50}", "m", n, float(n)) for n in range(1000)])
    barrier = threading.Barrier(64)

    def deliver(_number):
        barrier.wait()
        appended = lake.append_measurements("p", batch)
        return appended.accepted, appended.duplicates

    flushing = threading.Event()

    def keep_flushing():
        while not flushing.is_set():
            lake.flush()

    flusher = threading.Thread(target=keep_flushing)
    flusher.start()
    with ThreadPoolExecutor(64) as pool:
        receipts = list(pool.map(deliver, range(64)))
    flushing.set()
    flusher.join()
    lake.flush()
    assert sum(accepted for accepted, _duplicates in receipts) == 1000
    assert all(accepted + duplicates == 1000 for accepted, duplicates in receipts)
    stored = pl.scan_delta(str(lake.layout.lake_dir / "measurements")).collect()
    assert stored.height == 1000
    assert stored.select("component", "metric", "measured_at").is_unique().all()


def test_readers_never_see_half_a_delivery_or_a_row_twice_while_flushes_run(lake):
    done = threading.Event()
    seen = []

    def read():
        while not done.is_set():
            seen.append(lake.pin().read(ALL, "SELECT count(*) AS n FROM rows").read_all()["n"][0].as_py())

    reader = threading.Thread(target=read)
    reader.start()
    for block in range(60):
        lake.append_measurements("p", measurement_batch([(f"c{n}", "m", block, 1.0) for n in range(100)]))
        if block % 5 == 0:
            lake.flush()
    done.set()
    reader.join()
    assert seen == sorted(seen)
    assert all(count % 100 == 0 for count in seen)
    assert len(set(seen)) > 1


def test_newest_values_come_from_memory_also_for_late_rows(lake):
    lake.append_measurements("p", measurement_batch([("a", "m", 5, 1.0), ("a", "m", 9, 2.0), ("b", "m", 1, 3.0)]))
    lake.append_measurements("p", measurement_batch([("a", "m", 7, 4.0)]))
    newest = lake.newest("p")
    assert newest.column("value").to_pylist() == [2.0, 3.0]
    assert lake.newest("p", ["b", "nobody"]).column("value").to_pylist() == [3.0]
    for n in range(8):
        lake.append_measurements("p", measurement_batch([(f"c{n}", "m", 1, 0.0)]))
    assert lake.newest("p", ["b", "b"]).column("value").to_pylist() == [3.0], "asked twice, answered once"
    assert lake.newest("q").num_rows == 0


def test_series_come_sorted_from_files_and_hot_rows_alike(lake):
    lake.append_measurements("p", measurement_batch([("b", "m", 5, 5.0), ("a", "n", 3, 3.0)]))
    lake.flush()
    lake.append_measurements("p", measurement_batch([("b", "m", 2, 2.0), ("b", "m", 8, 8.0)]))
    lake.flush()
    lake.append_measurements("p", measurement_batch([("b", "m", 6, 6.0), ("a", "n", 1, None, 2)]))
    rows = lake.pin().load_series(ALL)
    assert list(zip(rows.components, rows.metrics, strict=True)) == [("a", "n"), ("b", "m")]
    assert rows.offsets.tolist() == [0, 2, 6]
    assert rows.measured_at_us.tolist() == [1, 3, 2, 5, 6, 8]
    assert rows.value[1:].tolist() == [3.0, 2.0, 5.0, 6.0, 8.0]
    assert np.isnan(rows.value[0])
    assert rows.quality.tolist() == [2, 0, 0, 0, 0, 0]


def test_series_honour_every_bound_of_a_selection(lake):
    stamps = []
    for t in range(6):
        stamps.append(lake.append_measurements("p", measurement_batch([("a", "m", t, 1.0), ("b", "n", t, 1.0)])))
        if t % 2:
            lake.flush()
    selection = Selection(
        project="p",
        components=("a",),
        start=from_epoch_us(1),
        end=from_epoch_us(5),
        as_of=stamps[3].received_at,
    )
    assert lake.pin().load_series(selection).measured_at_us.tolist() == [1, 2, 3]
    lake.flush()
    pinned = open_snapshot(lake.layout.lake_dir, as_of=stamps[3].received_at)
    assert pinned.load_series(selection).measured_at_us.tolist() == [1, 2, 3]
    assert pinned.load_series(Selection(project="p", metrics=("n",))).components == ["b"]
    assert len(pinned.load_series(Selection(project="nobody"))) == 0


def test_a_second_owner_is_refused_with_the_holders_pid(lakes, lake):
    with pytest.raises(LakeLocked, match=r"pid \d+"):
        lakes.open()


def test_a_look_at_the_lock_does_not_refuse_the_owner_who_comes_that_moment(lakes):
    lakes.layout.data_dir.mkdir()
    path = lakes.layout.data_dir / "LOCK"
    path.touch()
    with path.open() as asker:
        fcntl.flock(asker, fcntl.LOCK_SH)
        threading.Timer(0.08, lambda: fcntl.flock(asker, fcntl.LOCK_UN)).start()
        lakes.open()
    assert is_locked(path)


def test_writes_are_refused_whole_when_too_much_waits(lakes):
    lake = lakes.open(unflushed_limit_bytes=1024 * 1024)
    row = 0

    def fill():
        nonlocal row
        while True:
            lake.append_measurements("p", measurement_batch([("a", "m", row + n, 1.0) for n in range(20_000)]))
            row += 20_000

    with pytest.raises(Overloaded) as refusal:
        fill()
    assert refusal.value.retry_after_s is not None
    assert len(rows_of(lake.pin())) == row
    lake.flush()
    assert lake.append_measurements("p", measurement_batch([("a", "m", row, 1.0)])).accepted == 1


def test_writes_are_refused_at_the_free_space_mark(lakes):
    lake = lakes.open(free_space_bytes=2**60)
    with pytest.raises(StorageFull):
        lake.append_measurements("p", measurement_batch([("a", "m", 1, 1.0)]))
    assert rows_of(lake.pin()) == []


def test_a_project_holds_no_more_series_than_allowed_and_keeps_writing_to_those_it_has(lakes):
    lake = lakes.open(series_limit=3)
    lake.append_measurements("p", measurement_batch([(f"c{n}", "m", 1, 1.0) for n in range(3)]))
    for row in [("c9", "m", 1, 1.0), ("c0", "n", 1, 1.0)]:
        with pytest.raises(Refused, match="3 series"):
            lake.append_measurements("p", measurement_batch([row, ("c0", "m", 2, 1.0)]))
    assert lake.append_measurements("p", measurement_batch([("c0", "m", 2, 1.0)])).accepted == 1
    assert lake.append_measurements("q", measurement_batch([("c9", "m", 2, 1.0)])).accepted == 1
    lake.append_events("p", event_batch([("a", f"kind{n}", 5, {}) for n in range(3)]))
    with pytest.raises(Refused, match="3 series"):
        lake.append_events("p", event_batch([("a", "kind9", 5, {})]))


def test_names_that_no_row_has_are_not_kept(lake):
    batch = measurement_batch([(f"c{n}", "m", 1, 1.0) for n in range(50)])
    lake.append_measurements("p", batch.slice(7, 1))
    assert lake._sequencer.indexes["measurements"].component_names == ["c7"]


def test_a_clock_far_behind_the_newest_row_refuses_to_start(lakes, monkeypatch):
    lake = lakes.open()
    lake.append_measurements("p", measurement_batch([("a", "m", 1, 1.0)]))
    lake.close()
    lakes._open.remove(lake)
    an_hour_ago = int((datetime.now(UTC) - timedelta(hours=1)).timestamp() * 1e6)
    monkeypatch.setattr("gaugehouse.lake.owner.now_us", lambda: an_hour_ago)
    with pytest.raises(StartRefused, match="clock"):
        lakes.open()
    reopened = lakes.open(allow_clock_behind=True)
    assert reopened.append_measurements("p", measurement_batch([("a", "m", 2, 1.0)])).accepted == 1


def test_an_empty_lake_answers_every_question(lake):
    assert rows_of(lake.pin()) == []
    assert lake.newest("p").num_rows == 0
    assert len(lake.pin().load_series(ALL)) == 0
    assert lake.newest_received_at() is None
    assert isinstance(lake.pin().read(ALL, "SELECT * FROM rows").schema, pa.Schema)


def test_a_closed_lake_refuses_writes_and_loses_none_that_it_acknowledged_while_closing(lakes):
    lake = lakes.open()
    barrier, acknowledged = threading.Barrier(9), []

    def send(sender):
        barrier.wait()
        for t in range(100_000):
            try:
                lake.append_measurements("p", measurement_batch([(f"c{sender}", "m", t, 1.0)]))
            except Unavailable as exc:
                return exc.code
            acknowledged.append((sender, t))
        return "never refused"

    with ThreadPoolExecutor(8) as pool:
        ends = [pool.submit(send, sender) for sender in range(8)]
        barrier.wait()
        time.sleep(0.05)
        lake.close()
        assert {end.result() for end in ends} == {"unavailable"}
    lakes._open.remove(lake)
    assert lakes.failures == []
    assert len(rows_of(lakes.open().pin())) == len(acknowledged) > 0


def test_a_lake_that_cannot_stop_committing_keeps_its_lock(lakes, monkeypatch):
    lake = lakes.open()
    started, go_on = threading.Event(), threading.Event()
    commit = DeltaStore.commit

    def commit_slowly(*args, **kwargs):
        started.set()
        go_on.wait()
        return commit(*args, **kwargs)

    monkeypatch.setattr(DeltaStore, "commit", commit_slowly)
    lake.append_measurements("p", measurement_batch([("a", "m", 1, 1.0)]))
    lake.request_flush()
    started.wait()
    lake.close(timeout_s=0.1)
    with pytest.raises(LakeLocked):
        lakes.open()
    go_on.set()
