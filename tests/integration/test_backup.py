"""Backup while rows come in, restore elsewhere, compare at the mark."""

import gzip
import hashlib
import json
import shutil
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import crc32c
import polars as pl
import pytest

from factories import event_batch, measurement_batch
from gaugehouse.access import Role, create_user
from gaugehouse.backup import make_backup, read_list, restore_backup
from gaugehouse.config import Layout, Settings
from gaugehouse.database import sqlite_url
from gaugehouse.errors import DamageFound, GaugehouseError, NotFound, Refused, StartRefused, Unavailable
from gaugehouse.ingest import Keep, Limits, accept_measurements
from gaugehouse.lake import answer_key
from gaugehouse.runtime import open_runtime

T0_US = 1_767_225_600_000_000
DAY_US = 86_400_000_000


def quiet(_doing, _done, _total):
    return None


@pytest.fixture
def open_house(tmp_path):
    opened = []

    def call(name="data"):
        runtime = open_runtime(Settings(data_dir=tmp_path / name, free_space_bytes=0))
        opened.append(runtime)
        return runtime

    yield call
    for runtime in opened:
        runtime.close()


def fill(runtime, start=0, rows=200):
    batch = [(f"pump-{i % 3}", "temperature", T0_US + (start + i) * DAY_US // 8, i * 0.5) for i in range(rows)]
    runtime.registry.register("default", [f"pump-{i}" for i in range(3)], ["temperature"])
    runtime.lake.append_measurements("default", measurement_batch(batch))
    runtime.lake.append_events("default", event_batch([("pump-1", "alarm", T0_US + start, {"x": start})]))


def back_up(runtime, target, keep=None):
    return make_backup(runtime.lake, runtime.database, target, keep=keep, on_progress=quiet)


def restore(target, data_dir, name=None, **settings):
    return restore_backup(Settings(data_dir=data_dir, **settings), target, name=name, on_progress=quiet)


def change_list(target, name, **changes):
    """Write a backup's list anew with other content and a right checksum; None takes a field out."""
    path = target / "backups" / f"{name}.json"
    listed = json.loads(path.read_bytes().partition(b"\n")[2]) | changes
    body = json.dumps({field: value for field, value in listed.items() if value is not None}).encode()
    path.write_bytes(f"{crc32c.crc32c(body):08x}\n".encode() + body)


def flip(path, byte=50):
    """Change one bit: the size stays."""
    content = path.read_bytes()
    path.write_bytes(content[:byte] + bytes([content[byte] ^ 1]) + content[byte + 1 :])


def facts(data_dir, through=None):
    """Return count and sum per month of a lake, as a plain Delta reader sees it up to an instant."""
    rows = pl.scan_delta(str(Layout(data_dir).lake_dir / "measurements"))
    if through is not None:
        rows = rows.filter(pl.col("received_at") <= through)
    return rows.group_by("month").agg(pl.len(), pl.col("value").sum()).sort("month").collect()


def test_a_restored_installation_holds_the_same_rows_names_and_people(open_house, tmp_path):
    runtime = open_house()
    with runtime.database.transaction() as session:
        create_user(session, name="vera", password="correct horse battery", role=Role.VIEWER, project="default")
    fill(runtime)
    done = back_up(runtime, tmp_path / "backups")
    assert done.rows == 201
    restored = restore(tmp_path / "backups", tmp_path / "elsewhere")
    assert (restored.rows, restored.through) == (201, done.through)
    again = open_house("elsewhere")
    assert facts(tmp_path / "elsewhere").equals(facts(tmp_path / "data"))
    assert again.lake.newest("default").equals(runtime.lake.newest("default"))
    assert again.registry.find_unknown("default", ["pump-0", "pump-9"], ["temperature"]) == (["pump-9"], [])
    assert again.access.issue_token("vera", "correct horse battery", [], None).scopes
    assert (
        again.lake.append_measurements("default", measurement_batch([("pump-0", "temperature", T0_US, 0.0)])).duplicates
        == 1
    )


def test_a_request_that_was_answered_before_the_backup_is_answered_the_same_after_a_restore(open_house, tmp_path):
    runtime = open_house()
    runtime.registry.register("default", ["pump-0"], ["temperature"])
    given = (runtime.lake, runtime.registry, "default")
    rows = b'[{"component":"pump-0","metric":"temperature","measured_at":"2026-01-01T00:00:%02dZ","value":1}]'
    keeps = [Keep(key=answer_key("default", "/v1/measurements", f"k{i}"), fingerprint=b"f", status=201) for i in (0, 1)]
    for i, keep in enumerate(keeps):
        accept_measurements(*given, rows % i, "application/json", limits=Limits(), keep=keep)
        if i == 0:
            runtime.lake.flush()  # one answer in the file, one in the log
    back_up(runtime, tmp_path / "backups")
    restore(tmp_path / "backups", tmp_path / "elsewhere")
    again = open_house("elsewhere").lake.answers
    now_us = time.time_ns() // 1_000
    for keep in keeps:
        found = again.find(keep.key, now_us=now_us)
        assert found == runtime.lake.answers.find(keep.key, now_us=now_us)
        assert b'"accepted":1' in found.body


def test_the_log_of_a_restored_installation_has_another_identity(open_house, tmp_path):
    fill(runtime := open_house())
    back_up(runtime, tmp_path / "backups")
    restore(tmp_path / "backups", tmp_path / "elsewhere")
    uuids = [(Layout(tmp_path / name).log_dir / "uuid").read_text() for name in ("data", "elsewhere")]
    assert uuids[0] != uuids[1]


def test_a_further_backup_copies_only_new_files(open_house, tmp_path):
    fill(runtime := open_house())
    back_up(runtime, tmp_path / "backups")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "backups" / "lake").glob("**/*.parquet")}
    fill(runtime, start=5000)
    back_up(runtime, tmp_path / "backups")
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "backups" / "lake").glob("**/*.parquet")}
    assert before.items() < after.items()


def test_each_backup_can_be_restored_by_name(open_house, tmp_path):
    fill(runtime := open_house())
    first = back_up(runtime, tmp_path / "backups")
    fill(runtime, start=5000)
    runtime.lake.compact()
    back_up(runtime, tmp_path / "backups")
    assert restore(tmp_path / "backups", tmp_path / "first", first.name).rows == 201
    assert restore(tmp_path / "backups", tmp_path / "newest").rows == 402


def test_old_backups_go_with_the_files_that_only_they_had(open_house, tmp_path):
    target = tmp_path / "backups"
    fill(runtime := open_house())
    first = back_up(runtime, target)
    fill(runtime, start=200)
    runtime.lake.compact()
    done = back_up(runtime, target, keep=1)
    assert done.removed_files > 0
    with pytest.raises(NotFound):
        read_list(target, first.name)
    listed = {file.entry.path for files in read_list(target).lake.tables.values() for file in files}
    assert {path.parent.name + path.name for path in (target / "lake").glob("**/*.parquet")} == {
        path.split("/")[1] + path.split("/")[2] for path in listed
    }
    assert restore(target, tmp_path / "elsewhere").rows == 402


def test_a_backup_beside_a_writer_and_a_compactor_is_whole_at_its_mark(open_house, tmp_path):
    runtime = open_house()
    fill(runtime)
    stopping, failures = threading.Event(), []

    def write():
        try:
            number = 1
            while not stopping.is_set():
                fill(runtime, start=200 * number, rows=60)
                runtime.lake.flush()
                if number % 4 == 0:
                    runtime.lake.compact()
                number += 1
        except BaseException as exc:
            failures.append(exc)
            raise

    writer = threading.Thread(target=write)
    writer.start()
    marks = []
    for number in range(4):
        done = back_up(runtime, tmp_path / "backups")
        restore(tmp_path / "backups", tmp_path / f"copy-{number}", done.name)
        marks.append(done)
    stopping.set()
    writer.join()
    assert not failures
    for number, done in enumerate(marks):
        assert facts(tmp_path / f"copy-{number}", done.through).equals(facts(tmp_path / "data", done.through))


def test_a_damaged_file_stops_a_backup_and_a_restore(open_house, tmp_path):
    fill(runtime := open_house())
    target = tmp_path / "backups"
    back_up(runtime, target)
    pooled = next((target / "lake").glob("**/*.parquet"))
    content = pooled.read_bytes()
    pooled.write_bytes(content[:50] + bytes([content[50] ^ 1]) + content[51:])
    with pytest.raises(DamageFound):
        restore(target, tmp_path / "elsewhere")
    stored = next((runtime.layout.lake_dir / "measurements").glob("project=*/**/*.parquet"))
    stored.write_bytes(stored.read_bytes()[:-1] + b"x")
    with pytest.raises(DamageFound):
        back_up(runtime, tmp_path / "others")
    assert not (tmp_path / "others" / "backups").exists()


def test_a_restore_never_touches_what_is_there(open_house, tmp_path):
    fill(runtime := open_house())
    back_up(runtime, tmp_path / "backups")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(GaugehouseError, match="not empty"):
        restore(tmp_path / "backups", tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]


def test_a_folder_without_backups_says_so(tmp_path):
    with pytest.raises(NotFound, match="no backup"):
        restore(tmp_path, tmp_path / "elsewhere")


def test_a_torn_list_is_no_backup(open_house, tmp_path):
    fill(runtime := open_house())
    back_up(runtime, tmp_path / "backups")
    path = next((tmp_path / "backups" / "backups").glob("*.json"))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DamageFound):
        restore(tmp_path / "backups", tmp_path / "elsewhere")


def test_a_moment_is_named_after_its_clock(open_house, tmp_path):
    fill(runtime := open_house())
    made_at = read_list(tmp_path / "b", back_up(runtime, tmp_path / "b").name).made_at
    assert abs(made_at - datetime.now(UTC)) < timedelta(minutes=1)


# -- several at once, and of several installations


def test_a_second_backup_into_the_same_folder_is_refused_while_one_is_under_way(open_house, tmp_path):
    fill(first := open_house())
    fill(second := open_house("other"), start=5000)
    target, is_copying, may_go_on = tmp_path / "backups", threading.Event(), threading.Event()
    made = []

    def wait_midway(_doing, _done, _total):
        is_copying.set()
        assert may_go_on.wait(30)

    def run():
        made.append(make_backup(first.lake, first.database, target, keep=None, on_progress=wait_midway))

    slow = threading.Thread(target=run)
    slow.start()
    assert is_copying.wait(30)
    for runtime in (first, second):
        with pytest.raises(Unavailable, match="under way") as refusal:
            back_up(runtime, target, keep=1)
        assert refusal.value.code == "backup_running"
    may_go_on.set()
    slow.join()
    assert restore(target, tmp_path / "elsewhere", made[0].name).rows == 201
    back_up(second, target, keep=1)


def test_a_backup_that_failed_leaves_the_folder_to_the_next(open_house, tmp_path):
    fill(runtime := open_house())

    def fail(_doing, _done, _total):
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011 - the one above
        make_backup(runtime.lake, runtime.database, tmp_path / "backups", keep=None, on_progress=fail)
    assert back_up(runtime, tmp_path / "backups").rows == 201


def test_backups_of_another_installation_are_neither_counted_nor_removed(open_house, tmp_path):
    target = tmp_path / "backups"
    fill(one := open_house())
    fill(other := open_house("other"), start=5000)
    theirs = back_up(one, target)
    mine = [back_up(other, target, keep=1) for _ in range(3)]
    assert {path.stem for path in (target / "backups").iterdir()} == {theirs.name, mine[-1].name}
    assert restore(target, tmp_path / "elsewhere", theirs.name).rows == 201
    back_up(one, target, keep=1)
    assert restore(target, tmp_path / "other-copy", mine[-1].name).rows == 201


def test_a_list_of_before_installations_were_named_is_left_alone_and_restored_by_name(open_house, tmp_path):
    target = tmp_path / "backups"
    fill(runtime := open_house())
    old = back_up(runtime, target)
    change_list(target, old.name, installation=None)
    assert read_list(target).installation is None
    assert restore(target, tmp_path / "only").rows == 201
    fill(runtime, start=5000)
    runtime.lake.compact()
    back_up(runtime, target, keep=1)
    assert restore(target, tmp_path / "elsewhere", old.name).rows == 201


def test_a_restore_without_a_name_is_refused_where_several_installations_have_backups(open_house, tmp_path):
    target = tmp_path / "backups"
    fill(one := open_house())
    fill(other := open_house("other"), start=5000)
    back_up(one, target)
    newest = [back_up(one, target).name, back_up(other, target).name]
    with pytest.raises(Refused, match="--name") as refusal:
        restore(target, tmp_path / "elsewhere")
    assert refusal.value.fields["newest"] == newest
    uuids = [(Layout(tmp_path / name).log_dir / "uuid").read_text().strip() for name in ("data", "other")]
    for said in (*newest, *uuids):
        assert said in refusal.value.message
    assert not (tmp_path / "elsewhere").exists()
    assert restore(target, tmp_path / "elsewhere", newest[0]).rows == 201


# -- what a backup says of itself


def test_a_backup_claims_no_row_that_is_not_in_its_files_yet(open_house, tmp_path, monkeypatch):
    """A segment is in the manifest a moment before readers, and backups, see its files."""
    fill(runtime := open_house())
    runtime.lake.flush()
    stamp = runtime.lake.append_measurements(
        "default", measurement_batch([("pump-0", "temperature", T0_US + 7, 0.5)])
    ).received_at
    sequencer, is_recorded, may_go_on = runtime.lake._sequencer, threading.Event(), threading.Event()
    retire = sequencer.retire

    def wait(*given):
        is_recorded.set()
        assert may_go_on.wait(30)
        retire(*given)

    monkeypatch.setattr(sequencer, "retire", wait, raising=False)
    flushing = threading.Thread(target=runtime.lake.flush)
    flushing.start()
    assert is_recorded.wait(30)
    assert runtime.lake.committed_through() == stamp
    backed = runtime.lake.back_up(tmp_path / "backups")
    may_go_on.set()
    flushing.join()
    assert sum(file.entry.rows for file in backed.tables["measurements"]) == 200
    assert backed.through_us < stamp.timestamp() * 1e6
    assert runtime.lake.back_up(tmp_path / "backups").through_us == round(stamp.timestamp() * 1e6)


# -- copies that are there already


def test_a_copy_in_the_pool_that_has_changed_is_made_anew(open_house, tmp_path):
    fill(runtime := open_house())
    back_up(runtime, tmp_path / "backups")
    for pooled in (tmp_path / "backups" / "lake").glob("**/*.parquet"):
        flip(pooled)
    done = back_up(runtime, tmp_path / "backups")
    assert restore(tmp_path / "backups", tmp_path / "elsewhere", done.name).rows == 201


def test_a_copy_of_a_result_that_has_changed_is_made_anew(open_house, tmp_path):
    fill(runtime := open_house())
    result = runtime.layout.reports_dir / "rep_1" / "r1.parquet"
    result.parent.mkdir(parents=True)
    result.write_bytes(b"figures" * 100)
    back_up(runtime, tmp_path / "backups")
    flip(tmp_path / "backups" / "reports" / "rep_1" / "r1.parquet")
    done = back_up(runtime, tmp_path / "backups")
    restore(tmp_path / "backups", tmp_path / "elsewhere", done.name)
    assert (Layout(tmp_path / "elsewhere").reports_dir / "rep_1" / "r1.parquet").read_bytes() == result.read_bytes()


def test_beside_a_damaged_list_a_backup_is_made_and_nothing_is_removed(open_house, tmp_path):
    target = tmp_path / "backups"
    fill(runtime := open_house())
    damaged, old = back_up(runtime, target), back_up(runtime, target)
    flip(target / "backups" / f"{damaged.name}.json")
    fill(runtime, start=5000)
    runtime.lake.compact()
    before = {path for path in target.rglob("*") if path.is_file()}
    done = back_up(runtime, target, keep=1)
    assert done.removed_files == 0
    assert before < {path for path in target.rglob("*") if path.is_file()}
    (warning,) = done.warnings
    assert damaged.name in warning
    assert restore(target, tmp_path / "elsewhere", done.name).rows == 402
    (target / "backups" / f"{damaged.name}.json").unlink()
    assert back_up(runtime, target, keep=1).warnings == ()
    with pytest.raises(NotFound):
        read_list(target, old.name)


# -- restores that are refused, and one that stops half way


def test_a_restore_into_a_database_with_rows_is_refused_before_anything_is_restored(open_house, tmp_path):
    fill(runtime := open_house())
    back_up(runtime, tmp_path / "backups")
    with pytest.raises(GaugehouseError, match="database is not empty") as refusal:
        restore(tmp_path / "backups", tmp_path / "elsewhere", database_url=sqlite_url(runtime.layout.database_path))
    assert refusal.value.code == "target_not_empty"
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("head", [{"gaugehouse_database": "9999"}, {"something": "else"}])
def test_a_dump_that_this_version_cannot_load_is_refused_before_anything_is_restored(open_house, tmp_path, head):
    target = tmp_path / "backups"
    fill(runtime := open_house())
    done = back_up(runtime, target)
    path = target / "database" / read_list(target).database[0]
    lines = gzip.decompress(path.read_bytes()).splitlines()
    path.write_bytes(gzip.compress(b"\n".join([json.dumps(head).encode(), *lines[1:]])))
    change_list(target, done.name, database=[path.name, hashlib.sha256(path.read_bytes()).hexdigest()])
    with pytest.raises(Refused) as refusal:
        restore(target, tmp_path / "elsewhere")
    assert refusal.value.code == "dump_refused"
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("step", ["restore_lake", "_restore_answers", "_restore_database", "end_restore"])
def test_what_a_restore_that_stopped_half_way_left_is_never_taken_for_an_installation(
    open_house, tmp_path, monkeypatch, step
):
    fill(runtime := open_house())
    target, elsewhere = tmp_path / "backups", tmp_path / "elsewhere"
    back_up(runtime, target)
    monkeypatch.setattr(f"gaugehouse.backup.{step}", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        restore(target, elsewhere)
    monkeypatch.undo()
    with pytest.raises(StartRefused, match="restore again") as refusal:
        open_house("elsewhere")
    assert refusal.value.code == "restore_unfinished"
    with pytest.raises(GaugehouseError, match="not empty"):
        restore(target, elsewhere)
    shutil.rmtree(elsewhere)
    assert restore(target, elsewhere).rows == 201
    open_house("elsewhere")


def test_a_restore_is_marked_before_its_first_file_and_not_when_it_is_done(open_house, tmp_path):
    fill(runtime := open_house())
    back_up(runtime, tmp_path / "backups")
    marker, seen = Layout(tmp_path / "elsewhere").log_dir / "restoring", []

    def look(_doing, _done, _total):
        seen.append(marker.exists())

    restore_backup(Settings(data_dir=tmp_path / "elsewhere"), tmp_path / "backups", name=None, on_progress=look)
    assert seen
    assert all(seen)
    assert not marker.exists()


def test_after_a_restore_that_found_damage_the_database_takes_another(open_house, tmp_path):
    target, elsewhere = tmp_path / "backups", tmp_path / "elsewhere"
    fill(runtime := open_house())
    back_up(runtime, target)
    pooled = min((target / "lake").glob("**/*.parquet"))
    flip(pooled)
    url = sqlite_url(tmp_path / "people.db")
    with pytest.raises(DamageFound):
        restore(target, elsewhere, database_url=url)
    flip(pooled)
    shutil.rmtree(elsewhere)
    assert restore(target, elsewhere, database_url=url).database_rows > 0


def test_a_target_that_cannot_be_written_is_one_line(open_house, tmp_path):
    open_house().close()
    (tmp_path / "file").touch()
    command = [sys.executable, "-m", "gaugehouse", "backup", str(tmp_path / "file" / "x"), "--data", tmp_path / "data"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines() == [f"gaugehouse: {tmp_path}/file/x: Not a directory"]
