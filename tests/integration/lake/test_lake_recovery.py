"""Starting again: after kill -9 at random moments, torn commits, torn checkpoints, lost indexes."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

import gaugehouse.lake.delta
from factories import event_batch, measurement_batch
from gaugehouse.errors import DamageFound, LakeLocked
from gaugehouse.lake import repair_lake
from gaugehouse.lake.durable import FsyncFailed
from gaugehouse.lake.flush import Flusher
from gaugehouse.lake.manifest import Manifest, ManifestEntry, manifest_path
from gaugehouse.lake.segments import find_segments, intact_segment, load_log_uuid
from gaugehouse.measurements.selection import Selection

ALL = Selection(project="p")
CHILD = Path(__file__).with_name("lake_writer.py")


def count(lake):
    return lake.pin().read(ALL, "SELECT count(*) AS n FROM rows").read_all()["n"][0].as_py()


def append(lake, *instants, value=1.0):
    return lake.append_measurements("p", measurement_batch([("a", "m", t, value) for t in instants]))


def repair(layout):
    return repair_lake(layout, None, lambda *_: None).mended


def commits(lake, table="measurements"):
    return sorted((lake.layout.lake_dir / table / "_delta_log").glob("*.json"))


def test_unflushed_rows_come_back_from_the_log(lakes):
    lake = lakes.open()
    append(lake, 1, 2, 3)
    lake.append_events("p", event_batch([("a", "alarm", 1, {"x": 1})]))
    stamp = lake.newest_received_at()
    lakes.crash(lake)
    lake = lakes.open()
    assert count(lake) == 3
    assert lake.newest_received_at() == stamp
    assert append(lake, 2, 3, 4).duplicates == 2
    lake.flush()
    assert count(lake) == 4
    assert pl.scan_delta(str(lake.layout.lake_dir / "events")).collect().height == 1


def test_a_clean_stop_leaves_no_log_and_a_start_reads_no_data_file(lakes, monkeypatch):
    lake = lakes.open()
    append(lake, 1, 2, 3)
    lake.close()
    lakes._open.remove(lake)
    assert find_segments(lake.layout.log_dir) == []
    monkeypatch.setattr("gaugehouse.lake.indexfile.read_newest", lambda *_: pytest.fail("read the lake"))
    assert append(lakes.open(), 3, 4).duplicates == 1


def test_files_newer_than_the_saved_index_are_read_on_top(lakes):
    lake = lakes.open()
    append(lake, 1)
    lake._save_indexes()
    append(lake, 7, value=7.0)
    lake.flush()
    lakes.crash(lake)
    lake = lakes.open()
    assert lake.newest("p").column("value").to_pylist() == [7.0]
    assert append(lake, 7, value=7.0).duplicates == 1


@pytest.mark.parametrize("damage", ["missing", "torn", "flipped"])
def test_a_lost_index_is_rebuilt_from_the_files(lakes, damage):
    lake = lakes.open()
    append(lake, 1, 7, value=7.0)
    lake.close()
    lakes._open.remove(lake)
    path = lake.layout.log_dir / "index" / "measurements.arrow"
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "torn":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 4
        path.write_bytes(content)
    lake = lakes.open()
    assert lake.newest("p").column("value").to_pylist() == [7.0]
    assert append(lake, 7, value=7.0).duplicates == 1


@pytest.mark.parametrize("damage", ["json cut", "json cut at a line", "json empty", "parquet cut", "parquet missing"])
def test_a_commit_that_a_power_cut_tore_is_undone_and_its_rows_flushed_again(lakes, monkeypatch, damage):
    lake = lakes.open()
    append(lake, 1, 2)
    lake.flush()
    append(lake, 3, 4)
    # The cut comes after the log entry was made, before it was synced: the manifest does not know it yet.
    monkeypatch.setattr(Manifest, "record", lambda *_: (_ for _ in ()).throw(FsyncFailed("cut")))
    lake._sequencer.seal()
    lake._flush_wanted.set()
    wait_for(lambda: lakes.failures)
    monkeypatch.undo()
    lakes.crash(lake)
    tear(commits(lake)[-1], damage)
    lake = lakes.open()
    lake.flush()
    assert count(lake) == 4
    frame = pl.scan_delta(str(lake.layout.lake_dir / "measurements")).collect()
    assert sorted(frame["measured_at"].dt.epoch("us").to_list()) == [1, 2, 3, 4]
    assert list((lake.layout.lake_dir / "measurements" / "_quarantine").iterdir())


def tear(commit, damage):
    lines = commit.read_bytes()
    added = next(json.loads(line)["add"] for line in lines.splitlines() if b'"add"' in line)
    data = commit.parent.parent / added["path"]
    if damage == "json cut":
        commit.write_bytes(lines[: len(lines) // 2])
    elif damage == "json cut at a line":
        commit.write_bytes(b"".join(lines.splitlines(keepends=True)[:-1]))
    elif damage == "json empty":
        commit.write_bytes(b"")
    elif damage == "parquet cut":
        data.write_bytes(data.read_bytes()[: data.stat().st_size // 2])
    else:
        data.unlink()


def wait_for(condition, timeout_s=30.0):
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def kill_between_commit_and_manifest(lakes, lake, monkeypatch):
    monkeypatch.setattr(Manifest, "record", lambda *_: (_ for _ in ()).throw(FsyncFailed("killed here")))
    lake._sequencer.seal()
    lake._flush_wanted.set()
    wait_for(lambda: lakes.failures)
    monkeypatch.undo()
    lakes.crash(lake)


def test_a_commit_that_the_manifest_missed_is_not_made_twice(lakes, monkeypatch):
    lake = lakes.open()
    append(lake, 1, 2)
    kill_between_commit_and_manifest(lakes, lake, monkeypatch)
    lake = lakes.open()
    lake.flush()
    assert count(lake) == 2
    assert pl.scan_delta(str(lake.layout.lake_dir / "measurements")).collect().height == 2


def test_a_commit_that_the_manifest_missed_is_synced_before_its_segment_goes(lakes, monkeypatch):
    lake = lakes.open()
    append(lake, 1, 2)
    kill_between_commit_and_manifest(lakes, lake, monkeypatch)
    synced, fdatasync = [], os.fdatasync

    def spy(descriptor):
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fdatasync(descriptor)

    monkeypatch.setattr(os, "fdatasync", spy)
    lake = lakes.open()
    lake.flush()
    assert any(name.startswith(commits(lake)[-1].name) for name in synced)
    manifest = Manifest(manifest_path(lake.layout))
    manifest.load()
    assert manifest.durable_version["measurements"] == 1


def test_rows_of_a_commit_that_the_manifest_missed_count_as_received(lakes, monkeypatch):
    lake = lakes.open()
    append(lake, 1)
    lake.flush()
    stamp = append(lake, 2).received_at
    kill_between_commit_and_manifest(lakes, lake, monkeypatch)
    lake = lakes.open()
    assert lake.newest_received_at() == stamp
    assert lake.pin().received_through == stamp


def test_a_commit_whose_sync_could_not_even_begin_is_synced_by_the_next_attempt(lakes, monkeypatch):
    lake = lakes.open()
    append(lake, 1, 2)
    synced, sync_path = [], gaugehouse.lake.delta.sync_path

    def run_out_of_descriptors_once(path):
        synced.append(path.name)
        if synced == [path.name]:
            raise OSError(errno.EMFILE, "Too many open files")
        sync_path(path)

    monkeypatch.setattr("gaugehouse.lake.delta.sync_path", run_out_of_descriptors_once)
    monkeypatch.setattr("gaugehouse.lake.commits.sync_path", run_out_of_descriptors_once)
    lake.flush()
    assert synced.count(f"{1:020d}.json") == 2
    assert pl.scan_delta(str(lake.layout.lake_dir / "measurements")).collect().height == 2
    manifest = Manifest(manifest_path(lake.layout))
    manifest.load()
    assert manifest.durable_version["measurements"] == 1


def test_a_full_disk_leaves_no_half_files_however_often_a_flush_is_tried(lakes, monkeypatch):
    lake = lakes.open()
    append(lake, 1, 2)
    tries, write = [], os.write

    def full(descriptor, content):
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        if "parquet" in name and len(tries) < 2:
            tries.append(name)
            write(descriptor, bytes(content)[:5])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, content)

    monkeypatch.setattr(os, "write", full)
    monkeypatch.setattr("gaugehouse.lake.owner.RETRY_FIRST_S", 0.01)
    lake.flush()
    assert len(tries) == 2
    assert [path.suffix for path in lake.layout.lake_dir.glob("measurements/project=*/*/*")] == [".parquet"]
    assert count(lake) == 2


def test_a_flush_that_fails_for_no_foreseen_reason_is_tried_again(lakes, monkeypatch):
    lake = lakes.open()
    append(lake, 1, 2)
    tries, current_files = [], Flusher.current_files

    def fail_once(flusher):
        tries.append(1)
        if len(tries) == 1:
            raise RuntimeError
        return current_files(flusher)

    monkeypatch.setattr(Flusher, "current_files", fail_once)
    monkeypatch.setattr("gaugehouse.lake.owner.RETRY_FIRST_S", 0.01)
    lake.flush(timeout_s=10)
    assert pl.scan_delta(str(lake.layout.lake_dir / "measurements")).collect().height == 2


def test_a_manifest_line_that_found_no_room_hides_no_later_line(lakes, monkeypatch):
    path = lakes.layout.data_dir.parent / "manifest"
    manifest = Manifest(path)
    manifest.record(ManifestEntry(segment=1, through_us=10))
    write = os.write

    def full(descriptor, content):
        write(descriptor, bytes(content)[:5])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        manifest.record(ManifestEntry(segment=2, through_us=20))
    monkeypatch.undo()
    manifest.record(ManifestEntry(segment=2, through_us=30))
    again = Manifest(path)
    again.load()
    assert (again.segment, again.through_us) == (2, 30)


def test_a_torn_checkpoint_does_not_brick_the_table(lakes):
    lake = lakes.open(checkpoint_every_commits=2)
    for t in range(4):
        append(lake, t)
        lake.flush()
    lake.close()
    lakes._open.remove(lake)
    log_dir = lake.layout.lake_dir / "measurements" / "_delta_log"
    older, newest = sorted(log_dir.glob("*.checkpoint*.parquet"))
    newest.write_bytes(b"")
    lake = lakes.open()
    assert count(lake) == 4
    assert older.exists()
    assert not (log_dir / "_last_checkpoint").exists()


def test_a_checkpoint_with_a_footer_and_no_pages_is_dropped(lakes):
    lake = lakes.open(checkpoint_every_commits=2)
    for t in range(4):
        append(lake, t)
        lake.flush()
    lake.close()
    lakes._open.remove(lake)
    log_dir = lake.layout.lake_dir / "measurements" / "_delta_log"
    older, newest = sorted(log_dir.glob("*.checkpoint*.parquet"))
    content = newest.read_bytes()
    newest.write_bytes(content[:4] + bytes(len(content) // 3) + content[4 + len(content) // 3 :])
    assert count(lakes.open()) == 4
    assert older.exists()
    assert not newest.exists()


def test_leftovers_of_a_flush_that_never_committed_are_removed(lakes):
    lake = lakes.open()
    append(lake, 1)
    lake.flush()
    (kept,) = lake.layout.lake_dir.glob("measurements/**/*.parquet")
    leftover = kept.with_name("part-000000000099-0badc0de.zstd.parquet")
    leftover.write_bytes(kept.read_bytes())
    half = kept.with_name(kept.name + ".tmp")
    half.write_bytes(b"half")
    lakes.crash(lake)
    lake = lakes.open()
    assert list(lake.layout.lake_dir.glob("measurements/**/*.parquet*")) == [kept]
    assert count(lake) == 1


def test_damage_to_a_synced_record_stops_the_start_and_changes_nothing(lakes):
    lake = lakes.open()
    append(lake, 1)
    append(lake, 2)
    time.sleep(0.4)  # idle: the log writes down that it is durable
    lakes.crash(lake)
    path = find_segments(lake.layout.log_dir)[0]
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamageFound):
        lakes.open()
    assert path.read_bytes() == bytes(content)


def test_a_repair_keeps_every_intact_record_and_the_damaged_original(lakes):
    lake = lakes.open()
    append(lake, 1)
    append(lake, 2)
    append(lake, 3)
    time.sleep(0.4)
    lakes.crash(lake)
    path = find_segments(lake.layout.log_dir)[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1  # in the middle of the second of three deliveries
    path.write_bytes(content)
    with pytest.raises(DamageFound):
        lakes.open()
    (repaired,) = repair(lake.layout)
    assert not repaired.is_whole
    assert repaired.what.startswith("deliveries kept: 2;")
    assert (lake.layout.log_dir / "damaged" / path.name).read_bytes() == bytes(content)
    lake = lakes.open()
    assert count(lake) == 2
    lake.flush()
    assert append(lake, 1, 2, 3).accepted == 1, "what was lost can be sent again"


def test_a_sound_log_needs_no_repair_and_a_running_lake_allows_none(lakes):
    lake = lakes.open()
    append(lake, 1)
    with pytest.raises(LakeLocked):
        repair(lake.layout)
    lakes.crash(lake)
    assert repair(lake.layout) == ()
    assert count(lakes.open()) == 1


def test_a_damaged_segment_that_is_committed_already_is_only_set_aside(lakes, monkeypatch):
    lake = lakes.open()
    append(lake, 1, 2)
    monkeypatch.setattr("gaugehouse.lake.flush.remove_file", lambda *_: None)  # killed before the segment goes
    lake.flush()
    lakes.crash(lake)
    monkeypatch.undo()
    path = find_segments(lake.layout.log_dir)[0]
    content = bytearray(path.read_bytes())
    content[60] ^= 1
    path.write_bytes(content)
    (repaired,) = repair(lake.layout)
    assert repaired.is_whole
    lake = lakes.open()
    lake.flush()
    assert count(lake) == 2


def test_checkpoints_come_also_when_no_process_lives_long(lakes):
    for t in range(5):
        lake = lakes.open(checkpoint_every_commits=3)
        append(lake, t)
        lake.close()
        lakes._open.remove(lake)
    log_dir = lake.layout.lake_dir / "measurements" / "_delta_log"
    assert list(log_dir.glob("*.checkpoint*.parquet"))
    assert count(lakes.open()) == 5


def test_a_committed_segment_with_another_content_is_never_deleted(lakes, monkeypatch):
    lake = lakes.open()
    append(lake, 1)
    monkeypatch.setattr("gaugehouse.lake.flush.remove_file", lambda *_: None)  # killed before the segment goes
    lake.flush()
    lakes.crash(lake)
    monkeypatch.undo()
    path, log_uuid = find_segments(lake.layout.log_dir)[0], load_log_uuid(lake.layout.log_dir)
    other, _kept, _intact = intact_segment(path.read_bytes(), log_uuid=log_uuid.bytes, number=int(path.stem))
    path.write_bytes(other)
    with pytest.raises(DamageFound, match="not the one"):
        lakes.open()


def test_a_refused_fsync_stops_everything_and_acknowledges_nothing(lakes, monkeypatch):
    lake = lakes.open()
    append(lake, 1)

    def refuse(_descriptor):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", refuse)
    with pytest.raises(FsyncFailed):
        append(lake, 2)
    assert lakes.failures
    assert count(lake) == 1, "what was not acknowledged is not shown"
    with pytest.raises(FsyncFailed):
        append(lake, 3)
    monkeypatch.undo()
    with pytest.raises(FsyncFailed):
        append(lake, 4)
    lakes.crash(lake)
    assert count(lakes.open()) >= 1


def test_a_manifest_that_was_lost_is_not_missed(lakes):
    lake = lakes.open()
    append(lake, 1, 2)
    lake.close()
    lakes._open.remove(lake)
    manifest_path(lake.layout).unlink()
    lake = lakes.open()
    assert count(lake) == 2
    assert lake.committed_through() >= lake.newest_received_at()


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(n, marks=pytest.mark.torture) for n in range(2, 60))])
def test_every_acknowledged_row_survives_kill_9_exactly_once(lakes, seed):
    rng = random.Random(seed)  # noqa: S311 - reproducible, not secret
    acknowledged = {}
    for _round in range(2):
        child = subprocess.Popen(
            [sys.executable, str(CHILD), str(lakes.layout.data_dir), str(rng.randrange(2**30))],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert child.stdout.readline().strip() == "open"
        deadline_s = time.monotonic() + rng.uniform(0.05, 1.2)
        while time.monotonic() < deadline_s:
            line = child.stdout.readline()
            if not line.endswith("\n"):
                break
            for component, t, value in json.loads(line):
                acknowledged.setdefault((component, t), value)
        child.send_signal(signal.SIGKILL)
        # What the pipe still holds was acknowledged before the kill.
        for line in child.stdout.read().splitlines(keepends=True):
            if line.endswith("\n"):
                for component, t, value in json.loads(line):
                    acknowledged.setdefault((component, t), value)
        child.wait()
        child.stdout.close()
    lake = lakes.open()
    lake.flush()
    frame = pl.scan_delta(str(lake.layout.lake_dir / "measurements")).collect()
    stored = {
        (component, t): value
        for component, t, value in frame.select("component", pl.col("measured_at").dt.epoch("us"), "value").rows()
    }
    assert len(stored) == frame.height, "a key is stored twice"
    assert {key: stored.get(key) for key in acknowledged} == acknowledged
    assert acknowledged
    plain = pl.scan_parquet(str(lake.layout.lake_dir / "plain" / "measurements" / "**" / "*.parquet"))
    assert plain.select(pl.len()).collect().item() == frame.height
