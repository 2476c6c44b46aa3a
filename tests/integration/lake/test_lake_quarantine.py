"""A damaged file in quarantine: whatever needs it fails by name, and nothing ever counts fewer rows."""

import datetime as dt

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from factories import measurement_batch
from gaugehouse.errors import Unavailable
from gaugehouse.lake import open_snapshot
from gaugehouse.lake.quarantine import quarantine_path, read_quarantine
from gaugehouse.lake.verify import verify_lake
from gaugehouse.measurements.selection import Selection

JANUARY_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
FEBRUARY_US = JANUARY_US + 31 * 86_400_000_000
COUNT = "SELECT count(*) AS n FROM rows"


def send(lake, base_us, rows=50, project="plant", first=0):
    batch = [("pump-1", "flow", base_us + t * 1_000_000, float(t)) for t in range(first, first + rows)]
    done = lake.append_measurements(project, measurement_batch(batch))
    lake.flush()
    return done


def count(snapshot, project="plant", **bounds):
    return snapshot.read(Selection(project=project, **bounds), COUNT).read_all()["n"][0].as_py()


def break_file(lake, month="2026-01"):
    """Damage the file of a month of `plant`; return its path in the table."""
    (entry,) = [e for e in lake.pin().files["measurements"] if (e.project, e.month) == ("plant", month)]
    path = lake.layout.lake_dir / "measurements" / entry.path
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return entry.path


@pytest.fixture
def broken(lake):
    """(a lake of which one file of two months is in quarantine, its path)."""
    for base_us in (JANUARY_US, FEBRUARY_US):
        send(lake, base_us)
    send(lake, JANUARY_US, project="north")
    path = break_file(lake)
    assert lake.quarantine("measurements", path, "its bytes are not what was written")
    return lake, path


def refused(read):
    with pytest.raises(Unavailable) as refusal:
        read()
    assert refusal.value.code == "file_quarantined"
    assert refusal.value.fields == {"table": "measurements", "project": "plant", "month": "2026-01"}


def test_a_question_that_needs_the_file_is_refused_by_name(broken):
    lake, _path = broken
    refused(lambda: count(lake.pin()))
    refused(lambda: lake.pin().load_series(Selection(project="plant")))


def test_questions_about_other_months_and_projects_are_answered(broken):
    lake, _path = broken
    (entry,) = [e for e in lake.pin().files["measurements"] if e.month == "2026-02"]
    assert entry.rows == 50
    assert count(lake.pin(), start=dt.datetime(2026, 2, 1, tzinfo=dt.UTC)) == 50
    assert count(lake.pin(), project="north") == 50


def test_a_report_worker_is_refused_too(broken):
    lake, _path = broken
    refused(lambda: count(open_snapshot(lake.layout.lake_dir)))


def test_readers_of_the_table_and_of_plain_fail_instead_of_counting_fewer_rows(broken):
    lake, _path = broken
    lake_dir = lake.layout.lake_dir
    with pytest.raises(Exception, match=r"No such file|not found"):
        pl.scan_delta(str(lake_dir / "measurements")).select(pl.col("value").sum()).collect()
    glob = str(lake_dir / "plain" / "measurements" / "**" / "*.parquet")
    with pytest.raises(duckdb.Error):
        duckdb.sql(f"SELECT sum(value) FROM read_parquet('{glob}')").fetchall()  # noqa: S608 - a test's own folder
    with pytest.raises(pl.exceptions.PolarsError):
        pl.scan_parquet(glob).select(pl.col("value").sum()).collect()
    with pytest.raises(pa.ArrowInvalid):
        ds.dataset(lake_dir / "plain" / "measurements", partitioning="hive").to_table()


def test_rows_that_could_repeat_one_of_the_file_are_not_accepted(broken, lakes):
    _lake, _path = broken
    lakes.close()
    again = lakes.open()  # so that no recent key is in memory
    with pytest.raises(Unavailable):
        send(again, JANUARY_US, rows=5)
    assert send(again, FEBRUARY_US, first=50, rows=5).accepted == 5


def test_a_restart_keeps_the_quarantine_and_compaction_leaves_the_file_alone(broken, lakes):
    lake, path = broken
    send(lake, JANUARY_US + 3_600_000_000)
    send(lake, JANUARY_US + 7_200_000_000)
    lake.close()
    lakes._open.remove(lake)
    again = lakes.open()
    refused(lambda: count(again.pin()))
    done = again.compact("plant")
    assert (done.merges, done.rows) == (1, 100)
    assert path in {entry.path for entry in again.pin().files["measurements"]}
    verdict = verify_lake(again.layout, ask_live=again.facts, keep_s=86_400.0, on_progress=lambda *_: None)
    assert [finding.code for finding in verdict.findings] == ["file_quarantined"]


def test_the_list_tells_what_was_found_and_how_many_rows_it_is_about(broken):
    lake, path = broken
    (file,) = read_quarantine(lake.layout.log_dir)
    assert (file.table, file.path, file.project, file.month, file.rows) == (
        "measurements", path, "plant", "2026-01", 50
    )  # fmt: skip


def test_a_file_that_is_what_was_written_is_not_set_aside(lake):
    send(lake, JANUARY_US)
    (entry,) = lake.pin().files["measurements"]
    assert not lake.quarantine("measurements", entry.path, "somebody says so")
    assert not lake.quarantine("measurements", "no/such/file", "somebody says so")
    assert not lake.quarantine("no_table", entry.path, "somebody says so")
    assert count(lake.pin()) == 50


def test_a_deleted_project_leaves_nothing_in_quarantine(broken, lakes):
    lake, path = broken
    lake.delete_project("plant")
    assert not list((lake.layout.lake_dir / "measurements").rglob("*project=plant*"))
    lake.close()
    lakes._open.remove(lake)
    lakes.open()
    assert read_quarantine(lake.layout.log_dir) == ()
    assert path


def test_a_good_copy_in_its_old_place_ends_the_quarantine_at_the_next_start_and_a_bad_one_does_not(broken, lakes):
    lake, path = broken
    root = lake.layout.lake_dir / "measurements"
    bad = (root / "_quarantine" / path).read_bytes()
    good = bytearray(bad)
    good[len(good) // 2] ^= 1
    for content in (bad, good):
        lake.close()
        lakes._open.remove(lake)
        (root / path).write_bytes(content)
        lake = lakes.open()
        if content == bad:
            (root / path).unlink()
            refused(lambda: count(lake.pin()))  # noqa: B023 - called at once
    assert count(lake.pin()) == 100
    assert read_quarantine(lake.layout.log_dir) == ()
    assert not list((root / "_quarantine").rglob("*.parquet"))
    assert len(list((lake.layout.lake_dir / "plain" / "measurements").rglob("*.parquet"))) == 3
    assert verify_lake(lake.layout, ask_live=lake.facts, keep_s=86_400.0, on_progress=lambda *_: None).findings == []


def test_a_damaged_list_is_no_reason_not_to_start(broken, lakes):
    lake, _path = broken
    lake.close()
    lakes._open.remove(lake)
    with quarantine_path(lake.layout.log_dir).open("ab") as file:
        file.write(b"x")
    with pytest.raises(Unavailable):
        count(lakes.open().pin())


# -- files that no saved index knows


BROKEN = {
    "missing": lambda path: path.unlink(),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "no parquet": lambda path: path.write_bytes(b"x" * path.stat().st_size),
}


@pytest.fixture(params=BROKEN)
def unread(lakes, request):
    """(a lake that was killed, lost the file of February and was opened again, path of that file, its content)."""
    lake = lakes.open()
    send(lake, JANUARY_US)
    send(lake, JANUARY_US, project="north")
    lake._save_indexes()
    send(lake, FEBRUARY_US)
    lake.append_measurements("plant", measurement_batch([("new", "flow", FEBRUARY_US, 1.0)]))
    lake.flush()
    lake.compact()
    (entry,) = [e for e in lake.pin().files["measurements"] if e.month == "2026-02"]
    path = lake.layout.lake_dir / "measurements" / entry.path
    content = path.read_bytes()
    lakes.crash(lake)
    BROKEN[request.param](path)
    return lakes.open(), path, content


def refused_by_name(act):
    with pytest.raises(Unavailable) as refusal:
        act()
    assert refusal.value.code == "file_quarantined"
    assert refusal.value.fields == {"table": "measurements", "project": "plant", "month": "2026-02"}


def check_nothing_is_counted_twice(lake):
    repeat = measurement_batch([("new", "flow", FEBRUARY_US, 1.0)])
    refused_by_name(lambda: send(lake, FEBRUARY_US, rows=5))
    refused_by_name(lambda: lake.append_measurements("plant", repeat))
    assert send(lake, JANUARY_US, rows=5).duplicates == 5
    assert send(lake, JANUARY_US, rows=5, project="north").duplicates == 5


def test_a_lake_opens_beside_a_damaged_file_that_no_index_knows_and_counts_nothing_twice(unread):
    lake, path, _content = unread
    assert [file.path for file in lake._quarantine.files] == [path.relative_to(path.parents[2]).as_posix()]
    check_nothing_is_counted_twice(lake)
    assert send(lake, FEBRUARY_US, first=3_600, rows=5).accepted == 5
    assert send(lake, FEBRUARY_US, first=3_600, rows=5).duplicates == 5
    refused_by_name(lambda: count(lake.pin()))
    assert count(lake.pin(), end=dt.datetime(2026, 2, 1, tzinfo=dt.UTC)) == 50
    verdict = verify_lake(lake.layout, ask_live=lake.facts, keep_s=86_400.0, on_progress=lambda *_: None)
    assert "file_quarantined" in {finding.code for finding in verdict.findings}


def test_newest_values_that_may_be_in_a_damaged_file_are_refused_by_name(unread):
    lake, _path, _content = unread
    refused_by_name(lambda: lake.newest("plant"))
    refused_by_name(lambda: lake.newest("plant", ["new"]))
    assert lake.newest("plant", ["another"]).num_rows == 0
    assert lake.newest("north").num_rows == 1
    assert lake.series("plant")["component"].to_pylist() == ["pump-1"]


def test_an_index_that_is_saved_without_a_damaged_file_does_not_count_as_one_with_it(unread, lakes):
    lake, _path, _content = unread
    send(lake, FEBRUARY_US, first=3_600, rows=5)
    lake.close()
    lakes._open.remove(lake)
    again = lakes.open()
    check_nothing_is_counted_twice(again)
    refused_by_name(lambda: again.newest("plant"))


def test_a_good_copy_of_a_file_that_no_index_knows_is_read_by_the_next_start(unread, lakes):
    lake, path, content = unread
    lake.close()
    lakes._open.remove(lake)
    path.write_bytes(content)
    lake = lakes.open()
    assert lake.newest("plant")["component"].to_pylist() == ["new", "pump-1"]
    assert lake.newest("plant")["measured_at"].cast("int64").to_pylist() == [FEBRUARY_US, FEBRUARY_US + 49_000_000]
    assert send(lake, FEBRUARY_US, rows=5).duplicates == 5
    assert count(lake.pin()) == 101


def test_a_file_in_quarantine_that_no_index_knows_does_not_keep_a_lake_from_opening(lakes):
    lake = lakes.open()
    send(lake, FEBRUARY_US)
    assert lake.quarantine("measurements", break_file(lake, "2026-02"), "damaged")
    lakes.crash(lake)
    lake = lakes.open()
    refused_by_name(lambda: send(lake, FEBRUARY_US, rows=5))


def test_a_project_that_is_deleted_with_its_damaged_file_begins_anew(unread):
    lake, _path, _content = unread
    lake.delete_project("plant")
    lake._sequencer.closed_projects.clear()
    assert send(lake, FEBRUARY_US, rows=5).accepted == 5
    assert lake.newest("plant").num_rows == 1
    done = lake.append_measurements("plant", measurement_batch([("fresh", "flow", FEBRUARY_US, 1.0)]))
    assert (done.accepted, done.late) == (1, 0), "no row is late for the sake of a file that is gone"


def test_a_file_that_is_what_was_written_and_cannot_be_read_is_named(lakes, monkeypatch):
    lake = lakes.open()
    send(lake, JANUARY_US)
    (entry,) = lake.pin().files["measurements"]
    lakes.crash(lake)

    def fail(*_args):
        raise Unavailable("a file of the lake cannot be read")

    monkeypatch.setattr("gaugehouse.lake.indexfile.read_newest", fail)
    with pytest.raises(Unavailable) as refusal:
        lakes.open()
    assert refusal.value.fields == {
        "table": "measurements", "project": "plant", "month": "2026-01", "file": entry.path
    }  # fmt: skip
    monkeypatch.undo()
    assert count(lakes.open().pin()) == 50
