"""`lake verify` finds every way a lake can be broken, names it, and has nothing to say about a sound one."""

import errno
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from gaugehouse.config import Layout, Settings
from gaugehouse.lake import Lake, restore_lake
from gaugehouse.lake.commits import commit_durably
from gaugehouse.lake.contents import read_contents
from gaugehouse.lake.delta import Change, write_data_file
from gaugehouse.lake.durable import FsyncFailed
from gaugehouse.lake.manifest import Manifest
from gaugehouse.lake.plain import SIGN
from gaugehouse.lake.rows import MEASUREMENTS
from gaugehouse.lake.verify import set_broken_aside
from gaugehouse.measurements.selection import Selection
from integration.lake.lake_images import (
    codes,
    data_files,
    flip,
    happened,
    keep_answers,
    measured,
    verify,
)

SEED = 20261121
FLIPS = 200
# Damage at the very end looks like a power cut; so does a hint that cannot be read: nothing needs it.
TORN = {"segment_torn", "manifest_torn", "delta_log_torn"}


# -- sound lakes


def test_a_closed_lake_verifies_without_a_word(closed):
    verdict = verify(closed)
    assert verdict.findings == []
    assert (verdict.figures.rows, verdict.figures.segments) == (6 * 360 + 360 + 360 + 360 + 120 + 7 * 20, 0)
    assert verdict.figures.superseded_files
    assert verdict.figures.checkpoints


def test_a_lake_after_a_power_cut_verifies_without_a_word(cut):
    verdict = verify(cut)
    assert verdict.findings == []
    assert (verdict.figures.segments, verdict.figures.segment_rows) == (2, 360 + 20 + 120)


def test_a_last_commit_that_the_manifest_does_not_know_yet_is_no_damage(closed):
    path = closed.log_dir / "manifest"
    lines = path.read_bytes().splitlines(keepends=True)
    last = max(number for number, line in enumerate(lines) if b'"measurements"' in line and b"part-" in line)
    version = json.loads(lines[last][9:])["version"]
    kept = [line for line in lines if not (b'"measurements"' in line and json.loads(line[9:])["version"] >= version)]
    path.write_bytes(b"".join(kept))
    verdict = verify(closed)
    assert codes(verdict) == {"commit_unsettled"}
    assert not verdict.is_damaged


@pytest.mark.parametrize("kills", [2, pytest.param(60, marks=pytest.mark.torture)])
def test_a_lake_whose_owner_was_killed_while_it_merged_and_cleaned_up_has_leftovers_at_most(tmp_path, kills):
    rng = random.Random(SEED)  # noqa: S311 - reproducible, not secret
    layout = Layout(tmp_path / "data")
    layout.data_dir.mkdir()
    script = str(Path(__file__).with_name("lake_writer.py"))
    for kill in range(kills):
        with (tmp_path / "said").open("wb") as said:
            command = [sys.executable, script, str(layout.data_dir), str(kill)]
            owner = subprocess.Popen(command, stdout=said, stderr=subprocess.DEVNULL)
            while not (tmp_path / "said").stat().st_size:
                time.sleep(0.02)
            time.sleep(rng.uniform(0.3, 2.0))
            owner.kill()
            owner.wait()
        assert [finding for finding in verify(layout, keep_s=0.3).findings if finding.is_damage] == []


def test_a_lake_restored_from_a_backup_of_a_restarted_one_verifies(closed, tmp_path):
    lake = Lake.open(closed, Settings(data_dir=closed.data_dir, free_space_bytes=0))
    backed = lake.back_up(tmp_path / "backups")
    lake.close()
    restored = Layout(tmp_path / "restored")
    restore_lake(restored, tmp_path / "backups", backed, lambda *_: None)
    assert codes(verify(restored)) == {"plain_missing"}  # which the next start makes


def test_an_empty_lake_verifies_without_a_word(lakes):
    lakes.open().close()
    assert verify(lakes.layout).findings == []


def test_verifying_changes_nothing(cut):
    def contents():
        paths = [path for path in sorted(cut.data_dir.rglob("*")) if path.is_file()]
        return {path: (path.stat().st_ino, path.read_bytes()) for path in paths}

    before = contents()
    verify(cut)
    assert contents() == before


# -- what a power cut leaves, and the next start mends


def check_that_a_start_mends(lakes, rows, found):
    """Verify a lake that nobody owns: these leftovers and no damage; the next start keeps every row and tidies up."""
    verdict = verify(lakes.layout)
    assert [finding for finding in verdict.findings if finding.is_damage] == []
    assert codes(verdict) == found
    assert set_broken_aside(lakes.layout, verdict) == []
    lake = lakes.open()
    lake.flush()
    count = lake.pin().read(Selection(project="plant"), "SELECT count(*) AS n FROM rows").read_all()["n"][0].as_py()
    assert count == rows
    assert verify(lakes.layout, lake.facts).is_damaged is False
    lake.close()
    lakes._open.remove(lake)
    return verify(lakes.layout)


@pytest.mark.parametrize("damage", ["json cut", "json empty", "parquet cut", "parquet missing"])
def test_a_last_commit_that_a_power_cut_tore_is_no_damage(lakes, monkeypatch, damage):
    lake = lakes.open()
    lake.append_measurements("plant", measured(0))
    lake.flush()
    lake.append_measurements("plant", measured(100))
    monkeypatch.setattr(Manifest, "record", lambda *_: (_ for _ in ()).throw(FsyncFailed("cut")))
    lake._sequencer.seal()
    lake._flush_wanted.set()
    while not lakes.failures:
        time.sleep(0.01)
    monkeypatch.undo()
    lakes.crash(lake)
    root = lakes.layout.lake_dir / "measurements"
    commit = max((root / "_delta_log").glob("*.json"))
    (path,) = [json.loads(line)["add"]["path"] for line in commit.read_bytes().splitlines() if b'"add"' in line]
    if damage == "parquet missing":
        (root / path).unlink()
    else:
        torn = root / path if damage == "parquet cut" else commit
        os.truncate(torn, 0 if damage == "json empty" else torn.stat().st_size // 2)
    found = {"commit_torn"} if damage == "parquet missing" else {"commit_torn", "file_orphaned"}
    assert check_that_a_start_mends(lakes, 720, found).findings == []


def test_a_torn_last_commit_is_damage_when_no_manifest_says_that_it_was_not_whole_before(closed):
    (closed.log_dir / "manifest").unlink()
    os.truncate(max((closed.lake_dir / "measurements" / "_delta_log").glob("*.json")), 0)
    damage = {finding.code for finding in verify(closed).findings if finding.is_damage}
    assert {"manifest_missing", "commit_torn"} <= damage


@pytest.fixture
def unrecorded(lakes):
    """The Delta log of a lake that was cut off from power behind a checkpoint, before the manifest knew of it."""
    lake = lakes.open(checkpoint_every_commits=1000)
    store = lake._stores["measurements"]
    for k in range(3):
        lake.append_measurements("plant", measured(100 * k))
        lake.flush()
        if k < 2:
            lake._maintenance._checkpoint(store)
    store.checkpoint()
    lakes.crash(lake)
    return store.log_dir


@pytest.mark.parametrize("damage", ["empty", "cut", "pages lost", "missing", "hint empty", "hint and all"])
def test_a_new_checkpoint_that_a_power_cut_tore_is_no_damage(lakes, unrecorded, damage):
    older, newest = sorted(unrecorded.glob("*.checkpoint*.parquet"))[-2:]
    content = newest.read_bytes()
    if damage in {"empty", "hint and all"}:
        newest.write_bytes(b"")
    elif damage == "cut":
        newest.write_bytes(content[: len(content) // 2])
    elif damage == "pages lost":
        newest.write_bytes(content[:4] + bytes(len(content) // 3) + content[4 + len(content) // 3 :])
    elif damage == "missing":
        newest.unlink()
    if damage.startswith("hint"):
        (unrecorded / "_last_checkpoint").write_bytes(b"")
    assert check_that_a_start_mends(lakes, 1080, {"delta_log_torn"}).findings == []
    assert older.exists()


def test_a_checkpoint_that_was_known_to_be_on_the_disk_is_damaged_when_it_cannot_be_read(closed):
    os.truncate(max((closed.lake_dir / "measurements" / "_delta_log").glob("*.checkpoint.parquet")), 100)
    assert codes(verify(closed)) == {"delta_log_damaged"}


@pytest.fixture
def cleaned(lakes):
    """(the Delta log of a closed lake with two checkpoints, what was removed before the older of them)."""
    lake = lakes.open(checkpoint_every_commits=1000)
    store = lake._stores["measurements"]
    removed = {}
    for k in range(9):
        lake.append_measurements("plant", measured(100 * k, rows=10))
        lake.flush()
        if k % 3 == 2:
            contents = {path.name: path.read_bytes() for path in store.log_dir.iterdir()}
            lake._maintenance._checkpoint(store)
            removed |= {name: content for name, content in contents.items() if not (store.log_dir / name).exists()}
    lakes.crash(lake)
    return store.log_dir, removed


@pytest.mark.parametrize("seed", range(6))
def test_entries_that_a_power_cut_brings_back_behind_a_checkpoint_are_no_damage(lakes, cleaned, seed):
    folder, removed = cleaned
    rng = random.Random(SEED + seed)  # noqa: S311 - reproducible, not secret
    names = sorted(removed)
    assert len(names) >= 6, names
    for name in [names[3]] if seed == 0 else rng.sample(names, rng.randrange(1, len(names))):
        (folder / name).write_bytes(removed[name])
    assert check_that_a_start_mends(lakes, 540, codes(verify(lakes.layout)) & {"delta_log_torn"}) is not None


def test_an_entry_that_is_missing_behind_the_older_checkpoint_is_damage(cleaned, lakes):
    folder, _removed = cleaned
    older, newest = (int(path.name[:20]) for path in sorted(folder.glob("*.checkpoint.parquet")))
    assert newest - older > 1
    (folder / f"{older + 1:020d}.json").unlink()
    assert codes(verify(lakes.layout)) == {"delta_log_damaged"}


@pytest.mark.parametrize("stage", ["nothing", "identity", "torn entry", "empty manifest", "torn manifest"])
def test_a_first_start_that_a_power_cut_ended_is_no_damage(lakes, stage):
    lakes.open()
    lakes.crash(lakes._open[0])
    layout = lakes.layout
    manifest = (layout.log_dir / "manifest").read_bytes()
    shutil.rmtree(layout.log_dir)
    layout.log_dir.mkdir()
    if stage != "nothing":
        (layout.log_dir / "uuid").write_text("00000000-0000-4000-8000-000000000000\n")
    if stage == "torn entry":
        os.truncate(layout.lake_dir / "measurements" / "_delta_log" / f"{0:020d}.json", 0)
        shutil.rmtree(layout.lake_dir / "events")
    if stage in {"empty manifest", "torn manifest"}:
        (layout.log_dir / "manifest").write_bytes(b"" if stage == "empty manifest" else manifest[:30])
    if stage in {"nothing", "identity"}:
        shutil.rmtree(layout.lake_dir)
        layout.lake_dir.mkdir()
    verdict = verify(layout)
    assert [finding for finding in verdict.findings if finding.is_damage] == []
    lakes.open().close()


# -- single bits


@pytest.mark.parametrize(
    ("seed", "flips"), [(SEED, FLIPS), pytest.param(SEED + 1, 5_000, marks=pytest.mark.torture)], ids=["few", "many"]
)
def test_every_single_flipped_bit_is_found(cut, seed, flips):
    rng = random.Random(seed)  # noqa: S311 - reproducible, not secret
    paths = [
        path
        for path in sorted(cut.data_dir.rglob("*"))
        # answers.db holds no rows; each of its answers has a checksum of its own (test_lake_answers).
        if path.is_file()
        and "plain" not in path.parts
        and path.name not in {"LOCK", "answers.db"}
        and path.stat().st_size
    ]
    kinds = {path.suffix or path.name for path in paths}
    assert {".parquet", ".json", ".seg", ".arrow", "manifest", "uuid", "_last_checkpoint"} <= kinds
    missed = []
    for _number in range(flips):
        path = rng.choice(paths)
        bit = rng.randrange(8 * path.stat().st_size)
        flip(path, bit)
        verdict = verify(cut)
        if not verdict.is_damaged and not codes(verdict) & TORN:
            missed.append((seed, path.name, bit))
        flip(path, bit)
    assert missed == []
    assert verify(cut).findings == []


# -- one thing at a time


def test_a_missing_file_is_named_with_its_project_and_month(closed):
    path = data_files(closed)[0]
    path.unlink()
    (finding,) = [finding for finding in verify(closed).findings if finding.code == "file_missing"]
    assert (finding.project, finding.month, finding.name) == (
        "plant", "2026-01", path.relative_to(closed.lake_dir / "measurements").as_posix()
    )  # fmt: skip


def test_a_shortened_file_is_damage(closed):
    os.truncate(data_files(closed)[0], 100)
    assert codes(verify(closed)) == {"file_damaged"}


def test_a_file_that_nothing_names_is_a_leftover_and_no_damage(closed):
    path = data_files(closed)[0]
    shutil.copy(path, path.with_name("part-999999999999-00000000.zstd.parquet"))
    verdict = verify(closed)
    assert codes(verdict) == {"file_orphaned"}
    assert not verdict.is_damaged


def test_a_file_that_plain_lacks_or_shows_twice_is_named(closed):
    shown = closed.lake_dir / "plain" / "measurements" / "project=plant" / "month=2026-01"
    first = min(shown.iterdir())
    shutil.copy(first, shown / "part-000000000000-11111111.zstd.parquet")
    first.unlink()
    verdict = verify(closed)
    assert codes(verdict) == {"plain_differs"}
    assert len(verdict.findings) == 2


def test_a_copy_under_the_name_of_a_current_file_in_plain_is_named(closed):
    shown = min((closed.lake_dir / "plain" / "measurements").rglob("*.parquet"))
    content = shown.read_bytes()
    shown.unlink()
    shown.write_bytes(content)
    (finding,) = verify(closed).findings
    assert "another file" in finding.what


def test_a_lost_log_segment_is_missed(cut):
    min(cut.log_dir.glob("*.seg")).unlink()
    assert "segment_missing" in codes(verify(cut))


def test_a_lost_entry_of_the_delta_log_is_missed(closed):
    log_dir = closed.lake_dir / "measurements" / "_delta_log"
    max(log_dir.glob("*.json")).unlink()
    verdict = verify(closed)
    assert verdict.is_damaged
    assert codes(verdict) & {"commit_lost", "delta_log_damaged"}


def test_a_lost_manifest_is_missed_and_the_rest_still_verified(closed):
    (closed.log_dir / "manifest").unlink()
    found = codes(verify(closed))
    assert {"manifest_missing", "file_unknown"} <= found


def test_an_exchanged_log_identity_is_found(closed):
    (closed.log_dir / "uuid").write_text("00000000-0000-4000-8000-000000000000\n")
    assert codes(verify(closed)) == {"log_identity_differs"}


# -- files that were committed wrong, with right checksums


def add_file(layout, entry, rows, name="part-000000000000-22222222.zstd.parquet"):
    """Commit a file with right checksums, as a bug of ours would."""
    lake = Lake.open(layout, Settings(data_dir=layout.data_dir, segment_age_s=3600, free_space_bytes=0))
    store = lake._stores["measurements"]
    path = f"project={entry['project']}/month={entry['month']}/{name}"
    file = write_data_file(store.root, path, rows)
    like = next(iter(store.files.values()))
    found = read_contents((store.root / path).read_bytes(), MEASUREMENTS)
    added = replace(
        like,
        path=path,
        size_bytes=file.size_bytes,
        rows=found.rows,
        project=entry["project"],
        month=entry["month"],
        components=found.components,
        instants_us=found.instants_us,
        received_us=found.received_us,
    )
    commit_durably(store, lake._manifest, Change(added=(added,)), (file,))
    lake._maintenance.mirrors["measurements"].rebuild(store.files.values())
    lake.close()


def rows_of(layout, count=10):
    table = pq.ParquetFile(data_files(layout)[0], read_dictionary=["component", "metric"]).read()
    return table.select(["component", "metric", "measured_at", "value", "quality", "received_at"]).slice(0, count)


def test_a_key_that_is_stored_in_two_files_is_found_and_named(closed):
    add_file(closed, {"project": "plant", "month": "2026-01"}, rows_of(closed))
    (finding,) = verify(closed).findings
    assert finding.code == "key_repeated"
    assert finding.what.startswith("10 of its keys are stored already, such as pump-0 / flow at 2026-01-01T00:")


def test_a_repeated_key_is_found_when_keys_are_compared_share_by_share(closed, monkeypatch):
    add_file(closed, {"project": "plant", "month": "2026-01"}, rows_of(closed))
    monkeypatch.setattr("gaugehouse.lake.verify.KEYS_AT_ONCE", 500)
    findings = verify(closed).findings
    assert {finding.code for finding in findings} == {"key_repeated"}
    assert sum(int(finding.what.split()[0]) for finding in findings) == 10


def test_rows_of_another_month_are_found(closed):
    add_file(closed, {"project": "plant", "month": "2026-02"}, rows_of(closed))
    verdict = verify(closed)
    assert codes(verdict) == {"partition_wrong"}
    assert "2026-01" in verdict.findings[0].what


def test_unsorted_rows_are_found(closed):
    later = pc.add(rows_of(closed).column("measured_at"), pa.scalar(10**12, pa.duration("us")))
    rows = rows_of(closed).set_column(2, "measured_at", later)
    add_file(closed, {"project": "plant", "month": "2026-01"}, rows.take(list(reversed(range(10)))))
    (finding,) = verify(closed).findings
    assert (finding.code, finding.what.split()[0]) == ("file_unsorted", "9")


def test_a_commit_that_miscounts_its_rows_is_found(closed):
    """Both the entry and its checksum are changed: only the sum can tell."""
    root = closed.lake_dir / "measurements"
    path = max((root / "_delta_log").glob("*.json"))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if "commitInfo" in line:
            line["commitInfo"]["gaugehouse.rows"] = "1"
    path.write_text("\n".join(json.dumps(line) for line in lines))
    trust(closed, path)
    assert codes(verify(closed)) == {"commit_miscounts"}


def test_statistics_that_are_not_those_of_the_rows_are_found(closed):
    root = closed.lake_dir / "measurements"
    path = max((root / "_delta_log").glob("*.json"))
    path.write_text(path.read_text().replace('pump-2\\"', 'pump-1\\"'))
    trust(closed, path)
    for checkpoint in (root / "_delta_log").glob(f"{path.stem}.checkpoint*"):
        checkpoint.unlink()
    assert "statistics_wrong" in codes(verify(closed))


def trust(layout, path):
    """Write a file's present checksum into the manifest."""
    import crc32c  # noqa: PLC0415 - used by this forger alone

    root = layout.lake_dir / "measurements"
    content = path.read_bytes()
    file = [path.relative_to(root).as_posix(), len(content), hashlib.sha256(content).hexdigest()]
    body = json.dumps({"table": "measurements", "version": -1, "files": [file]}).encode()
    with (layout.log_dir / "manifest").open("ab") as manifest:
        manifest.write(f"{crc32c.crc32c(body):08x} ".encode() + body + b"\n")


@pytest.mark.parametrize("damage", ["an answer", "a page", "the head"])
def test_a_damaged_file_of_kept_answers_is_found(closed, damage):
    path = keep_answers(closed)
    assert codes(verify(closed)) == set()
    content = path.read_bytes()
    at = {"an answer": content.index(b"{}{}{}") * 8 + 1, "a page": 4096 * 8 + 3, "the head": 1}[damage]
    flip(path, at)
    assert codes(verify(closed)) == {"answers_damaged"}


def test_an_unfinished_transaction_of_kept_answers_is_left_to_the_next_start(closed):
    path = keep_answers(closed)
    path.with_name(f"{path.name}-journal").write_bytes(b"what a power cut leaves")
    flip(path, 1)
    assert codes(verify(closed)) == set()


# -- beside an owner


def test_a_running_lake_verifies_without_a_word_while_it_is_written_merged_and_swept(lakes):
    lake = lakes.open(segment_age_s=0.2, checkpoint_every_commits=3, index_every_commits=4, superseded_keep_s=0.0)
    stopping = threading.Event()

    def write():
        start = 0
        while not stopping.is_set():
            lake.append_measurements("plant", measured(start, rows=20))
            lake.append_events("plant", happened(start, rows=3))
            start += 20

    def merge():
        while not stopping.wait(0.05):
            lake.compact()

    threads = [threading.Thread(target=write), threading.Thread(target=merge)]
    for thread in threads:
        thread.start()
    try:
        verdicts, deadline_s = [], time.monotonic() + 6.0
        while time.monotonic() < deadline_s:
            verdicts.append(verify(lakes.layout, lake.facts, keep_s=0.0))
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
    assert [finding for verdict in verdicts for finding in verdict.findings] == []
    assert all(verdict.rows_agree for verdict in verdicts)
    assert verdicts[-1].figures.rows


def test_rows_that_the_owner_sees_and_the_disk_lacks_are_found(lake, lakes):
    lake.append_measurements("plant", measured(0))
    lake.flush()
    hot = lake._sequencer.active.hot["measurements"]
    hot.visible += 1
    verdict = verify(lakes.layout, lake.facts)
    hot.visible -= 1
    assert codes(verdict) == {"rows_disagree"}
    assert verdict.rows_agree is False


# -- quarantine by whoever holds the lock


def test_a_broken_file_is_set_aside_listed_and_named_ever_after(closed):
    path = data_files(closed)[0]
    flip(path, 800)
    relative = path.relative_to(closed.lake_dir / "measurements").as_posix()
    assert set_broken_aside(closed, verify(closed)) == [f"measurements/{relative}"]
    assert not path.exists()
    assert (closed.lake_dir / "measurements" / "_quarantine" / relative).exists()
    assert (closed.lake_dir / "plain" / "measurements" / relative).read_bytes().endswith(SIGN)
    verdict = verify(closed)
    assert {finding.code for finding in verdict.findings if finding.is_damage} == {"file_quarantined"}
    assert verdict.is_damaged


def read_with(monkeypatch, path, *errors):
    """Let the next reads of a file fail with these errors, the last of them ever after if it is not None."""
    read, left = Path.read_bytes, list(errors)

    def read_or_fail(asked):
        error = None if asked != path else left.pop(0) if len(left) > 1 else left[0]
        if error is not None:
            raise OSError(error, os.strerror(error))
        return read(asked)

    monkeypatch.setattr(Path, "read_bytes", read_or_fail)


def test_a_file_that_could_not_be_read_for_a_moment_stays_where_it_is(closed, monkeypatch):
    path = data_files(closed)[0]
    read_with(monkeypatch, path, errno.EIO, None)
    verdict = verify(closed)
    assert codes(verdict) == {"file_unreadable"}
    assert set_broken_aside(closed, verdict) == []
    assert path.exists()
    assert verify(closed).findings == []


def test_a_file_that_cannot_be_read_again_is_set_aside(closed, monkeypatch):
    path = data_files(closed)[0]
    read_with(monkeypatch, path, errno.EIO)
    assert len(set_broken_aside(closed, verify(closed))) == 1
    assert not path.exists()


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_a_process_that_can_open_nothing_any_more_blames_no_file(closed, monkeypatch, error):
    path = data_files(closed)[0]
    read_with(monkeypatch, path, errno.EIO, error)
    verdict = verify(closed)
    for ask in (lambda: verify(closed), lambda: set_broken_aside(closed, verdict)):
        with pytest.raises(OSError, match=os.strerror(error)):
            ask()
    assert path.exists()
    assert not (closed.log_dir / "quarantine").exists()


def test_a_process_without_memory_blames_no_file(closed, monkeypatch):
    def fail(*_given, **_more):
        raise pa.ArrowMemoryError

    monkeypatch.setattr("gaugehouse.lake.verify.read_contents", fail)
    with pytest.raises(MemoryError):
        verify(closed)


def test_a_process_without_memory_blames_no_checkpoint(closed, monkeypatch):
    def fail(*_given, **_more):
        raise pa.ArrowMemoryError

    monkeypatch.setattr("gaugehouse.lake.deltalog.pq.ParquetFile", fail)
    with pytest.raises(MemoryError):
        verify(closed)


def test_a_restore_that_has_not_come_to_its_end_is_damage(closed):
    (closed.log_dir / "restoring").touch()
    assert codes(verify(closed)) == {"restore_unfinished"}
