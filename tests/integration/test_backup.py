"""Backup while rows come in, restore elsewhere, compare at the mark."""

import threading
import time
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from factories import event_batch, measurement_batch
from gaugehouse.access import Role, create_user
from gaugehouse.backup import make_backup, read_list, restore_backup
from gaugehouse.config import Layout, Settings
from gaugehouse.errors import DamageFound, GaugehouseError, NotFound
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


def restore(target, data_dir, name=None):
    return restore_backup(Settings(data_dir=data_dir), target, name=name, on_progress=quiet)


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
