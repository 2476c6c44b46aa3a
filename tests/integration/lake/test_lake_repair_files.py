"""`lake repair` brings back every byte or row of which something is left, and says plainly what it cannot."""

import itertools
import json
import os
import random
import shutil
from contextlib import contextmanager, suppress

import polars as pl
import pytest

from factories import event_batch
from functional.installation import wait_until
from gaugehouse.errors import DamageFound, LakeLocked, StartRefused, Unavailable
from gaugehouse.lake import Pool, repair_lake
from gaugehouse.lake.durable import FsyncFailed
from gaugehouse.lake.manifest import Manifest, manifest_path, read_manifest
from gaugehouse.lake.quarantine import read_quarantine
from gaugehouse.lake.segments import find_segments
from gaugehouse.lake.verify import set_broken_aside
from gaugehouse.measurements.selection import Selection
from integration.lake.conftest import LakeFactory
from integration.lake.lake_images import (
    copy,
    data_files,
    flip,
    happened,
    keep_answers,
    measured,
    quiet,
    verify,
)

SEED = 20261122
TABLES = ("measurements", "events")
CALLS = ("write", "fdatasync", "fsync", "rename", "replace", "unlink", "link", "mkdir")


def repair(layout, pool=None):
    return repair_lake(layout, pool, quiet)


def rows_of(layout, table="measurements"):
    """Return what a plain Delta reader finds, in one order."""
    return pl.scan_delta(str(layout.lake_dir / table)).sort(pl.all()).collect()


def contents(layout):
    """Return every file but locks, with its bytes: that of a DuckDB goes when Python collects it."""
    paths = [path for path in sorted(layout.data_dir.rglob("*")) if path.is_file() and path.suffix != ".lock"]
    paths = [path for path in paths if path.name != "LOCK"]
    return {path: path.read_bytes() for path in paths}


def spoil(path):
    """Change more than a bit, in place, so that hard links see it too; return what is there now."""
    content = bytearray(path.read_bytes())
    at = len(content) // 3
    content[at : at + 4] = bytes(byte ^ 0xFF for byte in content[at : at + 4])
    with path.open("r+b") as file:
        file.write(content)
    return bytes(content)


def stop_before(lakes, lake, monkeypatch, is_last):
    """Flush, and kill the lake before the manifest says the first entry for which `is_last` is true."""
    record = Manifest.record

    def record_or_stop(manifest, entry):
        if is_last(entry):
            raise FsyncFailed("killed here")
        record(manifest, entry)

    monkeypatch.setattr(Manifest, "record", record_or_stop)
    lake._sequencer.seal()
    lake._flush_wanted.set()
    wait_until(lambda: lakes.failures, what="the end")
    monkeypatch.undo()
    lakes.crash(lake)


def name_of(layout, path):
    return path.relative_to(layout.lake_dir).as_posix()


@pytest.fixture
def before(closed):
    """What plain readers found in the closed lake."""
    return {table: rows_of(closed, table) for table in TABLES}


@pytest.fixture
def check(closed, before):
    """Check that a mended lake holds what it held: for plain readers, `lake verify` and a server that writes on."""

    def call(layout=closed):
        for table in TABLES:
            assert rows_of(layout, table).equals(before[table])
        assert [finding for finding in verify(layout).findings if finding.is_damage] == []
        assert read_quarantine(layout.log_dir) == ()
        assert repair(layout).mended == ()
        factory = LakeFactory(layout.data_dir)
        lake = factory.open()
        assert lake.append_measurements("plant", measured(0)).duplicates == 360
        assert lake.append_measurements("plant", measured(5000)).accepted == 360
        lake.append_events("plant", event_batch([("pump-9", "alarm", 1, {})]))
        lake.close()
        for table, added in zip(TABLES, (360, 1), strict=True):
            assert rows_of(layout, table).height == before[table].height + added
        assert [finding for finding in verify(layout).findings if finding.is_damage] == []

    return call


@pytest.fixture
def pool(images, tmp_path):
    """A backup of the closed lake."""
    factory = LakeFactory(copy(images[0].data_dir, tmp_path / "backed").data_dir)
    lake = factory.open()
    backed = lake.back_up(tmp_path / "backups")
    lake.close()
    return pool_of(tmp_path / "backups", backed)


def pool_of(folder, backed):
    files = {f"{table}/{one.entry.path}": one for table, files in backed.tables.items() for one in files}
    return Pool(folder=folder, files=files)


def merged_file(layout):
    """Return the merged file of January."""
    (path,) = [path for path in data_files(layout) if path.name.startswith("merged-")]
    return path


def part_file(layout):
    """Return the file of January that was never merged."""
    return next(path for path in data_files(layout) if path.name.startswith("part-"))


# -- nothing to do


def test_a_sound_lake_is_left_as_it_is(cut):
    before = contents(cut)
    done = repair(cut)
    assert (done.mended, done.is_whole) == ((), True)
    assert done.looked_at > 2
    assert contents(cut) == before


def test_a_running_lake_and_half_a_restore_are_refused(lakes, closed):
    lakes.open()
    with pytest.raises(LakeLocked):
        repair(lakes.layout)
    (closed.log_dir / "restoring").touch()
    with pytest.raises(StartRefused):
        repair(closed)


# -- data files


@pytest.mark.parametrize("damage", ["changed", "cut", "missing", "in quarantine"])
def test_a_data_file_comes_back_from_a_backup(closed, pool, check, damage):
    path = part_file(closed)
    spoiled = spoil(path)
    if damage == "cut":
        spoiled = spoiled[:100]
        os.truncate(path, 100)
    elif damage == "missing":
        path.unlink()
        (closed.lake_dir / "plain" / path.relative_to(closed.lake_dir)).unlink()
    elif damage == "in quarantine":
        assert set_broken_aside(closed, verify(closed))
    done = repair(closed, pool)
    assert [(one.name, one.what, one.rows) for one in done.mended] == [
        (name_of(closed, path), "copied from the backup", 360)
    ]
    if damage != "missing":
        kept = closed.lake_dir / "measurements" / "_quarantine" / path.relative_to(closed.lake_dir / "measurements")
        assert kept.read_bytes() == spoiled
    check()


def test_a_copy_in_a_backup_that_is_damaged_itself_is_not_taken(closed, pool, before):
    path = part_file(closed)
    spoil(pool.folder / "lake" / path.relative_to(closed.lake_dir))
    spoil(path)
    done = repair(closed, pool)
    assert (done.is_whole, done.lost_rows) == (False, 360)
    assert before


def test_a_flipped_bit_is_put_right_without_any_copy(closed, check):
    path = part_file(closed)
    written = path.read_bytes()
    flip(path, random.Random(SEED).randrange(8 * len(written)))  # noqa: S311 - reproducible, not secret
    (done,) = repair(closed).mended
    assert (done.name, done.what) == (name_of(closed, path), "one flipped bit put right")
    assert path.read_bytes() == written
    check()


def test_a_file_that_plain_still_has_comes_back_from_there(closed, check):
    part_file(closed).unlink()
    (done,) = repair(closed).mended
    assert done.what == "plain/ still had it"
    check()


def test_a_file_whose_copy_in_quarantine_is_whole_is_taken_back(closed, check):
    path = part_file(closed)
    written = path.read_bytes()
    spoil(path)
    set_broken_aside(closed, verify(closed))
    kept = closed.lake_dir / "measurements" / "_quarantine" / path.relative_to(closed.lake_dir / "measurements")
    kept.write_bytes(written)
    (done,) = repair(closed).mended
    assert done.what == "the copy in quarantine is whole"
    check()


def test_a_merged_file_is_merged_again_from_the_files_that_it_had_replaced(closed, check):
    path = merged_file(closed)
    spoil(path)
    version = read_manifest(manifest_path(closed)).durable_version["measurements"]
    (done,) = repair(closed).mended
    assert (done.what, done.rows) == ("merged again from 6 files that it had replaced", 6 * 360)
    assert merged_file(closed) != path
    assert read_manifest(manifest_path(closed)).durable_version["measurements"] == version + 1
    check()


@pytest.fixture
def merged_twice(tmp_path):
    """(a lake whose files were merged twice, its backup of before that); nothing replaced is left on its disk."""
    factory = LakeFactory(tmp_path / "twice")
    lake = factory.open(superseded_keep_s=0.0)
    for k in range(2):
        for half in range(2):
            lake.append_measurements("plant", measured(200 * k + 60 * half))
            lake.append_events("plant", happened(20 * k + 10 * half))
            lake.flush()
        if k == 0:
            backed = lake.back_up(tmp_path / "backups")
            lake.compact()
    second = lake.back_up(tmp_path / "backups")
    lake.compact()
    lake._maintenance.sweep()
    lake.close()
    files = pool_of(tmp_path / "backups", backed).files | pool_of(tmp_path / "backups", second).files
    return factory.layout, Pool(folder=tmp_path / "backups", files=files)


@pytest.mark.parametrize("table", TABLES)
def test_what_a_backup_has_of_before_a_merge_is_merged_again(merged_twice, table):
    layout, pool = merged_twice
    before = rows_of(layout, table)
    (path,) = data_files(layout, table)
    spoil(path)
    assert not repair(layout).is_whole
    # The file of the first merge is lost in the backup as well: its own origins stand for it.
    (first,) = [name for name in pool.files if name.startswith(f"{table}/") and "/merged-1-" in name]
    (pool.folder / "lake" / first).unlink()
    done = repair(layout, pool)
    assert [one.what for one in done.mended] == ["merged again from 4 files that it had replaced"]
    assert rows_of(layout, table).equals(before)
    assert [finding for finding in verify(layout).findings if finding.is_damage] == []


def test_a_merge_of_which_one_origin_is_lost_is_not_made_up(merged_twice):
    layout, pool = merged_twice
    (path,) = data_files(layout)
    spoil(path)
    for name in pool.files:
        if name.startswith("measurements/") and ("/merged-1-" in name or "/part-000000000001-" in name):
            (pool.folder / "lake" / name).unlink()
    done = repair(layout, pool)
    assert (done.is_whole, done.lost_rows) == (False, 4 * 360)
    assert not list((layout.lake_dir / "measurements").glob("project=*/month=*/*.parquet"))


@pytest.mark.parametrize("table", TABLES)
def test_rows_that_are_still_in_the_log_are_taken_from_there(lakes, monkeypatch, table):
    lake = lakes.open()
    lake.append_measurements("north", measured(0))
    lake.append_measurements("plant", measured(100))
    lake.append_events("plant", happened(0))
    monkeypatch.setattr("gaugehouse.lake.flush.remove_file", lambda *_: None)  # killed before the segment goes
    lake.flush()
    lakes.crash(lake)
    monkeypatch.undo()
    before = {table: rows_of(lakes.layout, table) for table in TABLES}
    (path,) = data_files(lakes.layout, table)
    spoil(path)
    (done,) = repair(lakes.layout).mended
    assert done.what == "written again from the log"
    lake = lakes.open()
    lake.flush()
    for name in TABLES:
        assert rows_of(lakes.layout, name).equals(before[name])
    assert verify(lakes.layout, lake.facts).findings == []


def test_what_nobody_has_any_more_is_named_refused_by_name_and_brought_back_by_a_later_backup(closed, pool, check):
    path = part_file(closed)
    spoil(path)
    done = repair(closed)
    (lost,) = done.mended
    assert (done.is_whole, done.lost_rows, lost.project, lost.month) == (False, 360, "plant", "2026-01")
    assert lost.name == name_of(closed, path)
    (listed,) = read_quarantine(closed.log_dir)
    assert f"measurements/{listed.path}" == lost.name
    factory = LakeFactory(closed.data_dir)
    lake = factory.open()
    with pytest.raises(Unavailable) as refusal:
        lake.pin().read(Selection(project="plant"), "SELECT count(*) FROM rows")
    assert refusal.value.code == "file_quarantined"
    lake.close()
    assert repair(closed).lost_rows == 360
    assert [one.what for one in repair(closed, pool).mended] == ["copied from the backup"]
    check()


def test_a_damaged_replaced_file_is_brought_back_or_set_aside(closed, pool, check):
    manifest = read_manifest(manifest_path(closed))
    root = closed.lake_dir / "measurements"
    first, second = sorted(manifest.superseded["measurements"])[:2]
    spoil(root / first)
    flip(root / second, 1000)
    done = repair(closed, pool)
    assert [one.what for one in done.mended] == [
        "set aside: its rows are in another file, and nobody reads it",
        "one flipped bit put right",
    ]
    assert not (root / first).exists()
    assert (root / "_quarantine" / first).exists()
    check()


# -- Delta logs


def log_files(layout):
    return sorted(path for table in TABLES for path in (layout.lake_dir / table / "_delta_log").iterdir())


DAMAGES = {
    "changed": spoil,
    "flipped": lambda path: flip(path, 401),
    "empty": lambda path: os.truncate(path, 0),
    "missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("share", [len(DAMAGES), pytest.param(1, marks=pytest.mark.torture)], ids=["some", "all"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_each_file_of_a_delta_log_is_mended_or_done_without(images, before, tmp_path, damage, share):
    names = [path.relative_to(images[0].data_dir) for path in log_files(images[0])]
    assert len({path.suffix for path in names}) == 3
    for number, name in list(enumerate(names))[list(DAMAGES).index(damage) % share :: share]:
        layout = copy(images[0].data_dir, tmp_path / f"lake-{number}")
        DAMAGES[damage](layout.data_dir / name)
        findings = verify(layout).findings
        done = repair(layout)
        assert done.is_whole, (name, done.mended)
        assert bool(done.mended) == bool(findings), name
        for table in TABLES:
            assert rows_of(layout, table).equals(before[table]), name
        assert [finding for finding in verify(layout).findings if finding.is_damage] == [], name
        factory = LakeFactory(layout.data_dir)
        lake = factory.open()
        assert lake.append_measurements("plant", measured(0)).duplicates == 360
        lake.append_measurements("plant", measured(5000))
        lake.close()
        assert rows_of(layout).height == before["measurements"].height + 360, name
        shutil.rmtree(layout.data_dir)


@pytest.mark.parametrize("lost", [(0,), (0, 2), (2, 4), (0, 1, 2, 3, 4)])
def test_entries_behind_the_last_checkpoint_are_said_again(lakes, lost):
    lake = lakes.open(checkpoint_every_commits=1000)
    for k in range(4):
        lake.append_measurements("plant", measured(100 * k))
        lake.append_events("plant", happened(10 * k))
        lake.flush()
        if k == 2:
            lake.compact()
    lake.close()
    lakes._open.remove(lake)
    before = {table: rows_of(lakes.layout, table) for table in TABLES}
    folder = lakes.layout.lake_dir / "measurements" / "_delta_log"
    for version in lost:
        path = folder / f"{version:020d}.json"
        path.unlink() if version % 4 else spoil(path)
    done = repair(lakes.layout)
    assert {one.what for one in done.mended} == {"written anew: the manifest knows the files, and they know their rows"}
    assert len(done.mended) == len(lost)
    assert rows_of(lakes.layout).equals(before["measurements"])
    assert verify(lakes.layout).findings == []
    lake = lakes.open()
    assert lake.append_measurements("plant", measured(0)).duplicates == 360
    lake.append_measurements("plant", measured(5000))
    lake.flush()
    assert rows_of(lakes.layout).height == before["measurements"].height + 360


def test_a_lost_entry_of_a_segment_that_is_still_in_the_log_is_not_flushed_twice(lakes, monkeypatch):
    lake = lakes.open()
    lake.append_measurements("plant", measured(0))
    lake.flush()
    lake.append_measurements("plant", measured(100))
    stop_before(lakes, lake, monkeypatch, lambda entry: entry.segment > 0)
    before = rows_of(lakes.layout)
    max((lakes.layout.lake_dir / "measurements" / "_delta_log").glob("*.json")).unlink()
    with pytest.raises(DamageFound):
        lakes.open()
    assert repair(lakes.layout).is_whole
    lake = lakes.open()
    lake.flush()
    assert rows_of(lakes.layout).equals(before)


def test_an_entry_that_named_a_file_of_which_nothing_is_left_is_not_made_up(closed, before):
    folder = closed.lake_dir / "measurements" / "_delta_log"
    for path in folder.glob("*checkpoint*"):
        path.unlink()
    last = max(folder.glob("*.json"))
    (path,) = [json.loads(line)["add"]["path"] for line in last.read_bytes().splitlines() if b'"add"' in line]
    spoil(last)
    spoil(closed.lake_dir / "measurements" / path)
    held = contents(closed)
    done = repair(closed)
    assert not done.is_whole
    assert path in str(done.mended)
    changed = {path for path, content in held.items() if not path.exists() or path.read_bytes() != content}
    assert changed == set()
    assert before


# -- the small files


@pytest.mark.parametrize("flips", [20, pytest.param(1_000, marks=pytest.mark.torture)], ids=["few", "many"])
def test_a_flipped_bit_of_the_manifest_is_put_right(closed, check, flips):
    path = manifest_path(closed)
    written = path.read_bytes()
    rng = random.Random(SEED)  # noqa: S311 - reproducible, not secret
    for _ in range(flips):
        bit = rng.randrange(8 * (len(written) - 1))
        flip(path, bit)
        (done,) = repair(closed).mended
        assert (done.name, done.is_whole) == ("log/manifest", True)
        assert path.read_bytes() == written, bit
    check()


@pytest.mark.parametrize("damage", ["a line", "a line, with a backup", "all"])
def test_what_a_lost_manifest_knew_is_known_again(closed, pool, check, damage):
    path = manifest_path(closed)
    if damage == "all":
        path.unlink()
        for table in TABLES:  # without it nobody knows either which entries were cleaned up
            shutil.rmtree(closed.lake_dir / table / "_quarantine", ignore_errors=True)
    else:
        lines = path.read_bytes().splitlines(keepends=True)
        at = next(number for number, line in enumerate(lines) if part_file(closed).name.encode() in line)
        lines[at] = b"x" * 20 + lines[at][20:]
        path.write_bytes(b"".join(lines))
    done = repair(closed, pool if damage.endswith("backup") else None)
    assert done.is_whole, done.mended
    assert any("known again" in one.what for one in done.mended)
    check()


@pytest.mark.parametrize("bit", [3, 5, 8 * 8 + 1, 8 * 36])
def test_the_identity_of_the_log_is_written_again(cut, bit):
    path = cut.log_dir / "uuid"
    written = path.read_bytes()
    flip(path, bit)
    (done,) = repair(cut).mended
    assert (done.name, path.read_bytes()) == ("log/uuid", written)
    assert verify(cut).findings == []


def test_an_identity_that_cannot_be_read_stops_a_start_by_name(closed):
    (closed.log_dir / "uuid").write_bytes(b"\xff\xfe")
    with pytest.raises(DamageFound, match="identity"):
        LakeFactory(closed.data_dir).open()


def test_what_a_start_can_do_without_is_set_aside(closed, check):
    answers = keep_answers(closed)
    flip(answers, answers.read_bytes().index(b"{}{}{}") * 8 + 1)
    index = closed.log_dir / "index" / "events.arrow"
    flip(index, 900)
    spoil(part_file(closed))
    set_broken_aside(closed, verify(closed))
    flip(closed.log_dir / "quarantine", 100)
    held = {path.name: path.read_bytes() for path in (answers, index, closed.log_dir / "quarantine")}
    done = repair(closed)
    assert [(one.name, one.is_whole) for one in done.mended] == [
        ("log/index/events.arrow", True),
        ("log/answers.db", True),
        ("log/quarantine", True),
        (name_of(closed, part_file(closed)), False),
    ]
    assert {name: (closed.log_dir / "damaged" / name).read_bytes() for name in held} == held
    assert len(read_quarantine(closed.log_dir)) == 1
    assert check


# -- the log


def test_a_segment_whose_head_or_footer_is_damaged_loses_nothing(cut):
    sealed = find_segments(cut.log_dir)[0]
    for bit in (3, 8 * (sealed.stat().st_size - 5)):
        flip(sealed, bit)
        (done,) = repair(cut).mended
        assert (done.name, done.is_whole) == (f"log/{sealed.name}", True), done
    factory = LakeFactory(cut.data_dir)
    lake = factory.open()
    assert lake.unflushed_rows() == 360 + 120 + 20
    lake.close()
    assert [finding for finding in verify(cut).findings if finding.is_damage] == []


def test_a_damaged_segment_of_which_one_table_is_committed_is_not_flushed_to_it_again(lakes, monkeypatch):
    lake = lakes.open()
    lake.append_measurements("plant", measured(0))
    lake.append_events("plant", happened(0))
    lake.append_events("plant", happened(100))
    stop_before(lakes, lake, monkeypatch, lambda entry: entry.table == "events")
    (lakes.layout.lake_dir / "events" / "_delta_log" / f"{1:020d}.json").unlink()  # a power cut: it was never synced
    segment = find_segments(lakes.layout.log_dir)[0]  # an empty one has been opened behind it
    flip(segment, 8 * (segment.read_bytes().rindex(b"pump-1") + 1))  # in the last delivery
    done = repair(lakes.layout)
    assert [(one.name, one.is_whole) for one in done.mended] == [(f"log/{segment.name}", False)]
    lake = lakes.open()
    lake.flush()
    assert (rows_of(lakes.layout).height, rows_of(lakes.layout, "events").height) == (360, 20)
    assert verify(lakes.layout, lake.facts).findings == []


# -- a start


@pytest.mark.parametrize("damage", ["the last is missing", "one is missing", "a statistic", "all are missing"])
def test_a_start_refuses_a_table_of_which_an_entry_is_lost_or_changed(closed, damage):
    folder = closed.lake_dir / "measurements" / "_delta_log"
    for path in folder.glob("*checkpoint*"):
        path.unlink()
    entries = sorted(folder.glob("*.json"))
    gone = {"the last is missing": entries[-1:], "one is missing": entries[-2:-1], "all are missing": entries}
    for path in gone.get(damage, []):
        path.unlink()
    if damage == "a statistic":
        entries[-1].write_text(entries[-1].read_text().replace("pump-2", "pump-1"))
    held = contents(closed)
    with pytest.raises(DamageFound, match="lake repair"):
        LakeFactory(closed.data_dir).open()
    assert {path: content for path, content in contents(closed).items() if path in held} == held


def test_a_start_does_not_believe_a_checkpoint_that_is_not_what_was_written(closed, before):
    folder = closed.lake_dir / "measurements" / "_delta_log"
    newest = max(folder.glob("*.checkpoint.parquet"))
    table = pl.read_parquet(newest)
    table.filter(pl.col("add").is_null() | pl.col("add").struct.field("path").str.contains("merged")).write_parquet(
        newest
    )
    lake = LakeFactory(closed.data_dir).open()
    lake.close()
    assert rows_of(closed).equals(before["measurements"])
    assert [path.name for path in (folder.parent / "_quarantine").glob("*.checkpoint*")] == [newest.name]


# -- interrupted, and again


class Killed(BaseException):
    """This process ends here."""


@contextmanager
def killed_at(number):
    """End the block, as far as the disk can tell, at its n-th call that changes something; give the calls that came."""
    came = []

    def watched(real):
        def call(*args, **kwargs):
            came.append(real)
            if len(came) > number:
                raise Killed
            return real(*args, **kwargs)

        return call

    with pytest.MonkeyPatch.context() as patch, suppress(Killed):
        for call in CALLS:
            patch.setattr(os, call, watched(getattr(os, call)))
        yield came


@pytest.fixture
def ruined(closed, pool, before):
    """The closed lake with damage of each kind, of which every row can be had again."""
    spoil(merged_file(closed))
    part_file(closed).unlink()
    (north,) = data_files(closed, pattern="project=north/month=*/*.parquet")
    spoil(north)
    spoil(max((closed.lake_dir / "measurements" / "_delta_log").glob("*.json")))
    spoil(min((closed.lake_dir / "events" / "_delta_log").glob("*.json")))
    flip(closed.log_dir / "manifest", 777)
    flip(closed.log_dir / "uuid", 20)
    flip(closed.log_dir / "index" / "measurements.arrow", 5000)
    assert before
    without_merged = {name: file for name, file in pool.files.items() if "merged" not in name}
    return closed, Pool(folder=pool.folder, files=without_merged)


def test_damage_of_every_kind_at_once_is_mended(ruined, check):
    layout, pool = ruined
    done = repair(layout, pool)
    assert done.is_whole, done.mended
    check()


@pytest.mark.parametrize("step", [24, pytest.param(1, marks=pytest.mark.torture)], ids=["some", "every"])
def test_a_repair_that_is_killed_at_any_call_is_finished_by_the_next(ruined, before, tmp_path, step):
    layout, pool = ruined
    for number in itertools.count(step=step):
        target = copy(layout.data_dir, tmp_path / f"killed-{number}")
        with killed_at(number) as came:
            repair(target, pool)
        repair(target, pool)
        for table in TABLES:
            assert rows_of(target, table).equals(before[table]), number
        assert repair(target, pool).mended == (), number
        assert [finding for finding in verify(target).findings if finding.is_damage] == [], number
        shutil.rmtree(target.data_dir)
        if len(came) <= number:
            break
    assert number > 40


# -- beside a running server


@pytest.fixture
def served(closed, pool):
    factory = LakeFactory(closed.data_dir)
    lake = factory.open()
    yield lake, pool
    factory.close()


def count(lake, project="plant"):
    return lake.pin().read(Selection(project=project), "SELECT count(*) AS n FROM rows").read_all()["n"][0].as_py()


def quarantine(lake, path):
    spoil(path)
    assert lake.quarantine("measurements", path.relative_to(lake.layout.lake_dir / "measurements").as_posix(), "it is")
    with pytest.raises(Unavailable):
        count(lake)


def test_a_running_lake_takes_a_file_back_from_a_backup(served, before):
    lake, pool = served
    rows = count(lake)
    path = part_file(lake.layout)
    quarantine(lake, path)
    assert not lake.repair_files(None)[0].is_whole
    (done,) = lake.repair_files(pool)
    assert (done.what, done.is_whole) == ("copied from the backup", True)
    assert count(lake) == rows
    assert verify(lake.layout, lake.facts).findings == []
    lake.compact()
    assert path not in data_files(lake.layout), "it is merged like any other again"
    assert rows_of(lake.layout).equals(before["measurements"])


def test_a_running_lake_merges_a_file_again_from_those_that_it_had_replaced(served, before):
    lake, _pool = served
    rows = count(lake)
    quarantine(lake, merged_file(lake.layout))
    (done,) = lake.repair_files(None)
    assert done.what == "merged again from 6 files that it had replaced"
    assert count(lake) == rows
    assert verify(lake.layout, lake.facts).findings == []
    assert rows_of(lake.layout).equals(before["measurements"])
    assert lake.repair_files(None) == []


def test_a_file_that_the_start_could_not_read_comes_back_with_another_start(closed, pool, check):
    shutil.rmtree(closed.log_dir / "index")
    spoil_tail = part_file(closed)
    os.truncate(spoil_tail, 100)
    factory = LakeFactory(closed.data_dir)
    lake = factory.open()
    (done,) = lake.repair_files(pool)
    assert not done.is_whole
    assert "stop it" in done.what
    lake.close()
    assert repair(closed, pool).is_whole
    check()
