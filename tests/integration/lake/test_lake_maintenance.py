"""Files that need no human: merged by policy, mirrored for plain globs, dropped when asked to, cleaned up behind."""

import datetime as dt
import errno
import hashlib
import os
import threading
import time

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from factories import event_batch, measurement_batch
from gaugehouse.errors import DamageFound, NotFound, Unavailable
from gaugehouse.lake import compaction, merging, owner, plain
from gaugehouse.lake.commits import commit_durably
from gaugehouse.lake.compaction import tier_of
from gaugehouse.lake.delta import DeltaStore
from gaugehouse.lake.durable import FsyncFailed
from gaugehouse.lake.flush import Flusher
from gaugehouse.lake.manifest import Manifest, manifest_path
from gaugehouse.measurements.selection import Selection

HOUR_US = 3_600_000_000
JANUARY_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
MARCH = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


def send(lake, start, rows=50, *, project="plant", base_us=JANUARY_US, components=3, metrics=2):
    """Append `rows` instants of every series from instant `start` on, and flush them to a file of their own."""
    sent = [
        (f"pump-{component}", f"m{metric}", base_us + t * 1_000_000, t * 0.1)
        for t in range(start, start + rows)
        for component in range(components)
        for metric in range(metrics)
    ]
    lake.append_measurements(project, measurement_batch(sent))
    lake.flush()
    return len(sent)


def read_all(lake, project="plant"):
    statement = "SELECT component, metric, measured_at, value FROM rows ORDER BY ALL"
    return lake.pin().read(Selection(project=project), statement).read_all()


def table_root(lake):
    return lake.layout.lake_dir / "measurements"


def plain_glob(lake):
    return str(lake.layout.lake_dir / "plain" / "measurements" / "**" / "*.parquet")


def current(lake):
    return lake.pin().files["measurements"]


def test_many_small_files_become_one_with_the_same_rows(lake):
    rows = sum(send(lake, 50 * i) for i in range(5))
    before = read_all(lake)
    done = lake.compact()
    assert (done.files_before, done.files_after, done.rows) == (5, 1, rows)
    assert read_all(lake).equals(before)
    assert pl.scan_delta(str(table_root(lake))).select(pl.len()).collect().item() == rows


def test_a_merged_file_is_sorted_by_component_metric_and_time(lake):
    for start in (100, 0, 50):
        send(lake, start)
    lake.compact()
    (entry,) = current(lake)
    rows = pl.read_parquet(table_root(lake) / entry.path)
    assert rows.select("component", "metric", "measured_at").equals(
        rows.select("component", "metric", "measured_at").sort("component", "metric", "measured_at")
    )


def test_a_merge_in_slices_gives_the_same_file_as_one_in_one_piece(lakes, monkeypatch):
    lake = lakes.open()
    for i in range(3):
        send(lake, 50 * i, components=40)
    expected = read_all(lake)
    monkeypatch.setattr(merging, "BATCH_ROWS", (1, 1))
    monkeypatch.setattr("gaugehouse.lake.delta.ROW_GROUP_ROWS", 64)
    lake.compact()
    send(lake, 150, components=40)
    monkeypatch.undo()
    grown = read_all(lake)
    lake.compact()
    assert grown.num_rows == expected.num_rows + 50 * 80
    assert read_all(lake).equals(grown)


def test_compaction_says_that_no_data_changed(lake):
    for i in range(2):
        send(lake, 50 * i)
    lake.compact()
    log = max((table_root(lake) / "_delta_log").glob("*.json")).read_text()
    assert '"dataChange":false' in log
    assert '"dataChange":true' not in log


def test_the_owner_merges_sixteen_files_without_being_asked(lakes):
    lake = lakes.open()
    rows = sum(send(lake, 10 * i, rows=10) for i in range(compaction.FAN_IN))
    deadline = time.monotonic() + 20
    while len(current(lake)) > 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [tier_of(entry) for entry in current(lake)] == [1]
    assert read_all(lake).num_rows == rows


def test_compaction_survives_a_restart_and_keeps_known_keys(lakes):
    lake = lakes.open()
    for i in range(3):
        send(lake, 50 * i)
    lake.compact()
    before = read_all(lake)
    lakes.crash(lake)
    lake = lakes.open()
    assert read_all(lake).equals(before)
    again = lake.append_measurements("plant", measurement_batch([("pump-0", "m0", JANUARY_US, 0.0)]))
    assert (again.accepted, again.duplicates) == (0, 1)


def test_replaced_files_stay_for_running_readers_and_go_later(lakes):
    lake = lakes.open(superseded_keep_s=3600.0)
    for i in range(3):
        send(lake, 50 * i)
    pinned = lake.pin()
    lake.compact()
    lake._maintenance.sweep()
    assert pinned.read(Selection(project="plant"), "SELECT count(*) AS n FROM rows").read_all()["n"][0].as_py() == 900
    old = [entry.path for entry in pinned.files["measurements"]]
    assert all((table_root(lake) / path).exists() for path in old)
    lake.close()
    lakes._open.remove(lake)
    lake = lakes.open(superseded_keep_s=0.0)
    lake._maintenance.sweep()
    assert not any((table_root(lake) / path).exists() for path in old)
    assert not lake._manifest.superseded["measurements"]
    assert read_all(lake).num_rows == 900


def test_a_merge_that_never_committed_leaves_no_file_behind(lakes, monkeypatch):
    lake = lakes.open()
    for i in range(3):
        send(lake, 50 * i)
    monkeypatch.setattr(
        "gaugehouse.lake.maintenance.commit_durably", lambda *_: (_ for _ in ()).throw(OSError(5, "no"))
    )
    with pytest.raises(OSError, match="no"):
        lake.compact()
    monkeypatch.undo()
    assert not list(table_root(lake).glob("**/merged-*"))
    assert read_all(lake).num_rows == 900


def test_a_torn_compaction_commit_is_undone_at_start(lakes):
    lake = lakes.open()
    for i in range(3):
        send(lake, 50 * i)
    lines = len(lake._manifest.path.read_bytes().splitlines())
    lake.compact()
    lakes.crash(lake)
    manifest = lake._manifest.path
    manifest.write_bytes(b"".join(manifest.read_bytes().splitlines(keepends=True)[:lines]))
    (merged,) = table_root(lake).glob("**/merged-*")
    merged.write_bytes(merged.read_bytes()[:100])
    lake = lakes.open()
    assert read_all(lake).num_rows == 900
    assert len(current(lake)) == 3
    assert not merged.exists()


def test_a_whole_compaction_commit_that_the_manifest_missed_is_kept(lakes):
    lake = lakes.open()
    for i in range(3):
        send(lake, 50 * i)
    lines = len(lake._manifest.path.read_bytes().splitlines())
    lake.compact()
    lakes.crash(lake)
    manifest = lake._manifest.path
    manifest.write_bytes(b"".join(manifest.read_bytes().splitlines(keepends=True)[:lines]))
    lake = lakes.open()
    assert read_all(lake).num_rows == 900
    assert len(current(lake)) == 1
    assert len(lake._manifest.superseded["measurements"]) == 3


def test_a_damaged_file_is_never_merged(lake):
    for i in range(3):
        send(lake, 50 * i)
    before = current(lake)
    path = table_root(lake) / before[1].path
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    done = lake.compact()
    assert done.merges == 0
    assert current(lake) == before


def test_a_stored_repeat_is_found_and_not_merged(lake, monkeypatch):
    send(lake, 0)
    send(lake, 50)
    first, second = current(lake)
    (table_root(lake) / second.path).write_bytes((table_root(lake) / first.path).read_bytes())
    lake._manifest.files["measurements"].clear()
    assert lake.compact().merges == 0


def test_the_log_is_cleaned_below_the_checkpoint_before_the_newest(lakes):
    lake = lakes.open(checkpoint_every_commits=4)
    for i in range(14):
        send(lake, i, rows=1)
    log_dir = table_root(lake) / "_delta_log"
    versions = sorted(int(path.name[:20]) for path in log_dir.glob("*.json"))
    checkpoints = sorted({int(path.name[:20]) for path in log_dir.glob("*.checkpoint*")})
    assert len(checkpoints) == 2
    assert versions[0] == checkpoints[0]
    assert pl.scan_delta(str(table_root(lake))).select(pl.len()).collect().item() == 14 * 6
    lakes.crash(lake)
    assert read_all(lakes.open()).num_rows == 14 * 6


def test_a_long_manifest_is_written_anew_and_says_the_same(lakes, monkeypatch):
    lake = lakes.open()
    for i in range(6):
        send(lake, i, rows=1)
        lake.compact()
    before = (dict(lake._manifest.files["measurements"]), dict(lake._manifest.superseded["measurements"]))
    committed = lake.committed_through()
    lines = lake._manifest.line_count
    monkeypatch.setattr("gaugehouse.lake.manifest.REWRITE_LINES", -1000)
    assert lake._manifest.rewrite_when_long()
    assert lake._manifest.line_count < lines
    again = Manifest(manifest_path(lake.layout))
    again.load()
    assert (again.files["measurements"], again.superseded["measurements"]) == before
    assert again.through_us == lake._manifest.through_us
    assert (again.segment, again.durable_version) == (lake._manifest.segment, lake._manifest.durable_version)
    lakes.crash(lake)
    lake = lakes.open()
    assert lake.committed_through() == committed
    assert read_all(lake).num_rows == 36


# -- plain/


def count_by_duckdb(lake):
    with duckdb.connect(":memory:") as connection:
        return connection.execute("SELECT count(*) FROM read_parquet(?)", [plain_glob(lake)]).fetchall()[0][0]


def count_by_polars(lake):
    return pl.scan_parquet(plain_glob(lake)).select(pl.len()).collect().item()


def count_by_pyarrow(lake):
    return ds.dataset(lake.layout.lake_dir / "plain" / "measurements", partitioning="hive").count_rows()


def count_plainly(lake):
    counts = {count(lake) for count in (count_by_duckdb, count_by_polars, count_by_pyarrow)}
    assert len(counts) == 1
    return counts.pop()


def test_a_plain_glob_is_right_after_every_step(lakes):
    lake = lakes.open()
    rows = 0
    for i in range(4):
        rows += send(lake, 50 * i)
        assert count_plainly(lake) == rows
    lake.compact()
    assert count_plainly(lake) == rows
    rows += send(lake, 0, base_us=JANUARY_US + 40 * 24 * HOUR_US)
    assert count_plainly(lake) == rows
    lake.retain("plant", "measurements", dt.datetime(2026, 2, 1, tzinfo=dt.UTC))
    assert count_plainly(lake) == 300
    lakes.crash(lake)
    assert count_plainly(lakes.open()) == 300


def test_a_mirror_that_a_crash_left_behind_is_made_anew(lakes):
    lake = lakes.open()
    send(lake, 0)
    (shown,) = (lake.layout.lake_dir / "plain" / "measurements").glob("**/*.parquet")
    lakes.crash(lake)
    shown.rename(shown.with_name("stale.parquet"))
    (shown.parent / "another.parquet").hardlink_to(shown.with_name("stale.parquet"))
    lake = lakes.open()
    assert count_plainly(lake) == 300


def test_who_is_listing_a_folder_that_is_exchanged_sees_all_of_it(lake):
    for start in (0, 50, 100):
        send(lake, start)
    (folder,) = (lake.layout.lake_dir / "plain" / "measurements").glob("project=*/month=*")
    with os.scandir(folder) as listing:
        lake.compact()
        assert len(list(listing)) == 3
    assert len(list(folder.iterdir())) == 1
    mirror = lake._maintenance.mirrors["measurements"]
    staging = lake.layout.lake_dir / "_staging" / "measurements"
    mirror.sweep()
    assert len(list(staging.iterdir())) == 1
    mirror.sweep(kept_s=0)
    assert not list(staging.iterdir())


@pytest.fixture
def exchanged(lakes, monkeypatch):
    """A lake that has just merged three files into one, and the names that a reader listed before."""
    monkeypatch.setattr("gaugehouse.lake.plain.SIGN_S", 3600.0)
    lake = lakes.open()
    for start in (0, 50, 100):
        send(lake, start)
    (folder,) = (lake.layout.lake_dir / "plain" / "measurements").glob("project=*/month=*")
    listed = sorted(folder.iterdir())
    lake._maintenance.compact(None, lambda *_: None)
    yield lake, folder, listed
    monkeypatch.setattr("gaugehouse.lake.plain.SIGN_S", 0.0)


def test_names_that_were_listed_before_an_exchange_are_there_when_looked_at_and_cannot_be_read(exchanged):
    """DuckDB and pyarrow leave out, without a word, what is gone when they first look at the names of their list."""
    lake, _folder, listed = exchanged
    assert len(listed) == 3
    for path in listed:
        assert path.stat().st_size > 0  # Polars leaves out empty files
        with pytest.raises(pa.ArrowInvalid):
            pq.read_metadata(path)
    for count in (count_by_duckdb, count_by_polars, count_by_pyarrow):
        with pytest.raises(Exception, match=r"magic|PAR1"):
            count(lake)


def test_old_names_of_an_exchange_go_by_themselves_soon(exchanged, monkeypatch):
    lake, folder, _listed = exchanged
    monkeypatch.setattr("gaugehouse.lake.plain.SIGN_S", 0.0)
    deadline = time.monotonic() + 20
    while len(list(folder.iterdir())) > 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert count_plainly(lake) == 900


def test_old_names_of_an_exchange_do_not_outlive_a_crash(exchanged, lakes, monkeypatch):
    lake, folder, _listed = exchanged
    monkeypatch.setattr("gaugehouse.lake.plain.SIGN_S", 0.1)
    lakes.crash(lake)
    lake = lakes.open()
    assert len(list(folder.iterdir())) == 1
    assert count_plainly(lake) == 900


def test_a_plain_glob_beside_a_compactor_is_never_wrong(lakes):
    """A listing may name a file that is gone before it is opened: then the reader gets an error, never a wrong count."""
    lake = lakes.open()
    rows, step = 0, 12
    done, failed = threading.Event(), []

    def write():
        nonlocal rows
        try:
            for i in range(60):
                rows += send(lake, 2 * i, rows=2)
                if i % 5 == 4:
                    lake.compact()
        except BaseException as exc:
            failed.append(exc)
            raise
        finally:
            done.set()

    rows += send(lake, 1000, rows=2)
    writer = threading.Thread(target=write)
    writer.start()
    counts = []
    with duckdb.connect(":memory:") as connection:
        while not done.is_set():
            try:
                counts.append(
                    connection.execute("SELECT count(*) FROM read_parquet(?)", [plain_glob(lake)]).fetchall()[0][0]
                )
            except (duckdb.IOException, duckdb.InvalidInputException):
                time.sleep(0.01)  # as a reader would: what went away is told for a quarter of a second
    writer.join()
    assert not failed
    assert counts
    assert all(count % step == 0 for count in counts)
    assert counts == sorted(counts)
    time.sleep(2 * plain.SIGN_S)
    assert count_plainly(lake) == rows


# -- retention and deletion


def test_retention_drops_whole_months_and_says_so(lake, tmp_path):
    send(lake, 0)
    send(lake, 0, base_us=JANUARY_US + 35 * 24 * HOUR_US)
    send(lake, 0, base_us=JANUARY_US + 65 * 24 * HOUR_US)
    send(lake, 0, project="other")
    archive = tmp_path / "archive"
    dropped = lake.retain("plant", "measurements", MARCH + dt.timedelta(days=9), archive)
    assert (dropped.months, dropped.rows, dropped.files) == (("2026-01", "2026-02"), 600, 2)
    assert read_all(lake).num_rows == 300
    assert read_all(lake, "other").num_rows == 300
    assert lake.gone("plant", "measurements").before == MARCH
    assert lake.newest("other").num_rows == 6
    assert lake.gone("other", "measurements") is None
    assert pl.scan_parquet(str(archive / "measurements" / "**" / "*.parquet")).select(pl.len()).collect().item() == 600


def test_the_horizon_of_retention_survives_a_restart(lakes):
    lake = lakes.open()
    send(lake, 0)
    lake.retain("plant", "measurements", MARCH)
    lakes.crash(lake)
    lake = lakes.open()
    assert lake.gone("plant", "measurements").before == MARCH
    assert read_all(lake).num_rows == 0


def test_newest_values_never_show_a_dropped_row(lake):
    send(lake, 0)
    lake.retain("plant", "measurements", MARCH)
    assert lake.newest("plant").num_rows == 0
    send(lake, 0, base_us=JANUARY_US + 65 * 24 * HOUR_US, components=1)
    assert lake.newest("plant")["component"].to_pylist() == ["pump-0", "pump-0"]


def test_nothing_is_changed_any_more_once_the_lake_is_closing(lakes):
    lake = lakes.open()
    send(lake, 0)
    send(lake, 50)
    lake.close()
    lakes._open.remove(lake)
    with pytest.raises(Unavailable):
        lake.compact()
    assert len(list(table_root(lake).glob("**/*.zstd.parquet"))) == 2


def test_fifty_calls_at_once_leave_every_row_once(lake):
    rows = sum(send(lake, 10 * i, rows=10) for i in range(8))
    calls = [threading.Thread(target=lake.compact) for _ in range(25)]
    calls += [threading.Thread(target=lake._maintenance.merge_next) for _ in range(25)]
    for call in calls:
        call.start()
    for call in calls:
        call.join()
    assert read_all(lake).num_rows == rows
    assert pl.scan_delta(str(table_root(lake))).select(pl.len()).collect().item() == rows


def test_nothing_is_dropped_when_a_file_to_be_archived_is_damaged(lake, tmp_path):
    send(lake, 0)
    path = table_root(lake) / current(lake)[0].path
    path.write_bytes(path.read_bytes()[:-9] + bytes(9))
    with pytest.raises(DamageFound):
        lake.retain("plant", "measurements", MARCH, tmp_path / "archive")
    assert len(current(lake)) == 1


def test_a_deleted_project_leaves_nothing_behind(lakes):
    lake = lakes.open()
    send(lake, 0)
    send(lake, 0, project="other")
    send(lake, 50)
    lake.compact()
    lake.delete_project("plant")
    assert not list(lake.layout.lake_dir.glob("**/project=plant"))
    assert lake.newest("plant").num_rows == 0
    assert read_all(lake).num_rows == 0
    assert read_all(lake, "other").num_rows == 300
    with pytest.raises(NotFound):
        send(lake, 0)
    lakes.crash(lake)
    lake = lakes.open()
    assert lake.newest("plant").num_rows == 0
    assert send(lake, 0) == 300
    assert read_all(lake).num_rows == 300


def test_nothing_is_gone_of_a_project_that_takes_the_name_of_a_deleted_one(lakes):
    lake = lakes.open()
    send(lake, 0)
    lake.retain("plant", "measurements", MARCH)
    assert lake.gone("plant", "measurements").before == MARCH
    lake.delete_project("plant")
    lakes.crash(lake)
    lake = lakes.open()
    assert lake.gone("plant", "measurements") is None
    send(lake, 0)
    assert lake.newest("plant").num_rows == 6


def test_compaction_of_one_project_leaves_others_alone(lake):
    for i in range(2):
        send(lake, 50 * i)
        send(lake, 50 * i, project="other")
    lake.compact("plant")
    assert len([e for e in current(lake) if e.project == "plant"]) == 1
    assert len([e for e in current(lake) if e.project == "other"]) == 2


def test_events_are_merged_like_measurements(lake):
    for i in range(3):
        lake.append_events("plant", event_batch([(f"pump-{1 - j}", "alarm", JANUARY_US, 2 * i + j) for j in range(2)]))
        lake.flush()
    lake.compact()
    (entry,) = lake.pin().files["events"]
    bodies = pl.read_parquet(lake.layout.lake_dir / "events" / entry.path).sort("body")["body"].to_list()
    assert bodies == [str(i) for i in range(6)]


# -- when something fails


@pytest.fixture
def alone(lakes, monkeypatch):
    """A lake whose maintainer never does anything by itself."""
    monkeypatch.setattr("gaugehouse.lake.owner.MAINTENANCE_PERIOD_S", 3600.0)
    return lakes.open()


def lose_lines(lake, lines):
    manifest = lake._manifest.path
    manifest.write_bytes(b"".join(manifest.read_bytes().splitlines(keepends=True)[:lines]))


def no_room(*_args, **_kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_the_horizon_of_retention_is_in_its_commit_when_the_manifest_missed_it(lakes):
    lake = lakes.open()
    send(lake, 0)
    lines = len(lake._manifest.path.read_bytes().splitlines())
    lake.retain("plant", "measurements", MARCH)
    gone = lake.gone("plant", "measurements")
    lakes.crash(lake)
    lose_lines(lake, lines)
    lake = lakes.open()
    assert read_all(lake).num_rows == 0
    assert lake.gone("plant", "measurements") == gone
    assert reloaded(lake).horizons == lake._manifest.horizons


def test_a_drop_without_room_for_its_manifest_line_is_known_at_once_and_written_down_later(alone, monkeypatch):
    send(alone, 0)
    monkeypatch.setattr(Manifest, "_append", no_room)
    with pytest.raises(OSError, match="No space"):
        alone.retain("plant", "measurements", MARCH)
    assert alone.gone("plant", "measurements").before == MARCH
    assert read_all(alone).num_rows == 0
    monkeypatch.undo()
    assert not reloaded(alone).horizons
    alone._maintenance.tidy()
    assert reloaded(alone).horizons == alone._manifest.horizons
    assert len(reloaded(alone).superseded["measurements"]) == 1


@pytest.mark.parametrize("command", ["compact", "retain", "delete", "quarantine"])
def test_a_sync_that_the_disk_refuses_under_a_command_stops_the_owner(alone, lakes, monkeypatch, command):
    for i in range(2):
        send(alone, 50 * i)
    path = current(alone)[0].path
    if command == "quarantine":
        (table_root(alone) / path).write_bytes(b"broken")

    def refuse(_descriptor):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", refuse)
    act = {
        "compact": alone.compact,
        "retain": lambda: alone.retain("plant", "measurements", MARCH),
        "delete": lambda: alone.delete_project("plant"),
        "quarantine": lambda: alone.quarantine("measurements", path, "broken"),
    }[command]
    with pytest.raises(FsyncFailed):
        act()
    monkeypatch.undo()
    assert len(lakes.failures) == 1


def test_an_archive_whose_disk_refuses_a_sync_is_no_reason_to_stop(alone, lakes, monkeypatch, tmp_path):
    send(alone, 0)

    def refuse(_path, _content):
        raise FsyncFailed("the disk of the archive")

    monkeypatch.setattr("gaugehouse.lake.retention.write_file", refuse)
    with pytest.raises(FsyncFailed):
        alone.retain("plant", "measurements", MARCH, tmp_path / "archive")
    assert lakes.failures == []
    assert read_all(alone).num_rows == 300


def test_a_checkpoint_says_nothing_of_a_commit_that_the_manifest_missed_before_that_is_in_it(alone, monkeypatch):
    for i in range(3):
        send(alone, 50 * i)
    monkeypatch.setattr(Manifest, "_append", no_room)
    with pytest.raises(OSError, match="No space"):
        alone.compact()
    monkeypatch.undo()
    alone._maintenance._checkpoint(alone._stores["measurements"])
    manifest = reloaded(alone)
    assert len(manifest.superseded["measurements"]) == 3
    assert current(alone)[0].path in manifest.files["measurements"]


def test_a_merge_that_commits_and_then_fails_is_shown_and_its_file_stays(alone, monkeypatch):
    for i in range(3):
        send(alone, 50 * i)
    monkeypatch.setattr(Manifest, "_append", no_room)
    with pytest.raises(OSError, match="No space"):
        alone.compact()
    monkeypatch.undo()
    assert len(current(alone)) == 1
    assert read_all(alone).num_rows == 900


def test_a_merge_of_which_nobody_knows_whether_it_was_committed_leaves_its_file(alone, lakes, monkeypatch):
    for i in range(3):
        send(alone, 50 * i)

    def commit_and_lose_sight(store, manifest, change, files):
        before = store.files
        commit_durably(store, manifest, change, files)
        store.files = before
        raise Unavailable("the outcome is unknown")

    def fail(_store):
        raise Unavailable("the table cannot be read")

    monkeypatch.setattr("gaugehouse.lake.maintenance.commit_durably", commit_and_lose_sight)
    monkeypatch.setattr(DeltaStore, "reload", fail)
    with pytest.raises(Unavailable, match="outcome"):
        alone.compact()
    monkeypatch.undo()
    assert len(list(table_root(alone).glob("**/merged-*"))) == 1
    lakes.crash(alone)
    assert read_all(lakes.open()).num_rows == 900


def test_replaced_files_go_also_while_rows_wait_to_be_flushed(lakes, monkeypatch):
    monkeypatch.setattr("gaugehouse.lake.owner.MAINTENANCE_PERIOD_S", 0.02)
    lake = lakes.open()
    for i in range(3):
        send(lake, 50 * i)
    lake.compact()
    monkeypatch.setattr(Flusher, "flush", no_room)
    for i in range(3):
        lake.append_measurements("plant", measurement_batch([("pump-9", "m", JANUARY_US + i, 1.0)]))
        lake._sequencer.seal()
    lake._maintenance.superseded_keep_s = 0.0
    wait_for(lambda: not lake._manifest.superseded["measurements"])
    assert len(list(table_root(lake).glob("project=*/*/*"))) == 1
    monkeypatch.undo()


def test_a_checkpoint_that_fails_delays_no_flush_no_merge_and_no_clean_up(lakes, monkeypatch):
    monkeypatch.setattr("gaugehouse.lake.owner.MAINTENANCE_PERIOD_S", 0.02)
    monkeypatch.setattr("gaugehouse.lake.owner.RETRY_FIRST_S", 0.02)
    lake = lakes.open(checkpoint_every_commits=2, superseded_keep_s=0.0)
    monkeypatch.setattr(DeltaStore, "checkpoint", no_room)
    failed = []
    monkeypatch.setattr(owner.logger, "exception", lambda event, **_fields: failed.append(event))
    for i in range(compaction.FAN_IN):
        send(lake, 10 * i, rows=10)
    wait_for(lambda: len(current(lake)) == 1)
    wait_for(lambda: not lake._manifest.superseded["measurements"])
    assert "flush_failed" not in failed
    assert "maintenance_failed" in failed
    monkeypatch.undo()


def wait_for(condition, timeout_s=30.0):
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


# -- the manifest


def test_the_manifest_knows_every_file_of_the_delta_log(lakes):
    lake = lakes.open(checkpoint_every_commits=4)
    for i in range(14):
        send(lake, i, rows=1)
    root = table_root(lake)
    for manifest in (lake._manifest, reloaded(lake)):
        known = {path: file for path, file in manifest.files["measurements"].items() if path.startswith("_delta_log/")}
        assert known.keys() == {path.relative_to(root).as_posix() for path in (root / "_delta_log").iterdir()}
        for path, file in known.items():
            assert hashlib.sha256((root / path).read_bytes()).hexdigest() == file.sha256


def reloaded(lake):
    manifest = Manifest(manifest_path(lake.layout))
    manifest.load()
    return manifest


def test_a_damaged_line_of_the_manifest_costs_only_what_it_said(lakes):
    lake = lakes.open()
    for i in range(3):
        send(lake, i, rows=1)
    before = dict(lake._manifest.files["measurements"])
    committed = lake.committed_through()
    lakes.crash(lake)
    path = manifest_path(lake.layout)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2][:20] + bytes([lines[2][20] ^ 1]) + lines[2][21:]
    path.write_bytes(b"".join(lines))
    manifest = reloaded(lake)
    assert manifest.damaged_lines == 1
    assert manifest.files["measurements"].items() <= before.items()
    assert path.read_bytes() == b"".join(lines)
    lake = lakes.open()
    assert lake.committed_through() == committed
    assert read_all(lake).num_rows == 18


def test_a_checkpoint_that_the_manifest_missed_is_written_down_at_the_next_start(lakes, monkeypatch):
    lake = lakes.open(checkpoint_every_commits=3)
    record = Manifest.record

    def forget_checkpoints(self, entry):
        if not any("checkpoint" in file.path for file in entry.files):
            record(self, entry)

    monkeypatch.setattr(Manifest, "record", forget_checkpoints)
    for i in range(4):
        send(lake, i, rows=1)
    assert not any("checkpoint" in path for path in lake._manifest.files["measurements"])
    lakes.crash(lake)
    monkeypatch.undo()
    known = lakes.open()._manifest.files["measurements"]
    named = {path.rsplit("/", 1)[1].lstrip("0123456789") for path in known if "checkpoint" in path}
    assert named == {".checkpoint.parquet", "_last_checkpoint"}
