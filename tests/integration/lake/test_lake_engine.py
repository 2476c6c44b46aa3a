"""Questions take no more memory than they may: what needs more is written beside the data, and gone afterwards."""

import fcntl

import pytest

from factories import measurement_batch
from gaugehouse.config import MEBIBYTE
from gaugehouse.errors import Unavailable
from gaugehouse.lake import open_snapshot
from gaugehouse.lake.engine import MARK, SPILL, remove_old_spills
from gaugehouse.measurements.selection import Selection

ROWS = 400_000
ALL = Selection(project="p")
SORTED_SQL = """
SELECT r.component || '/' || n.range AS name, value
FROM rows AS r CROSS JOIN range(8) AS n
ORDER BY md5(name), value
"""


@pytest.fixture
def lake(lakes):
    lake = lakes.open(query_memory_bytes=128 * MEBIBYTE)
    batch = [(f"component-{n % 1000}", "m", n, float(n)) for n in range(ROWS)]
    lake.append_measurements("p", measurement_batch(batch))
    lake.flush()
    return lake


def size_bytes(folder):
    return sum(path.stat().st_size for path in folder.iterdir())


def test_what_needs_more_memory_is_spilled_beside_the_data_and_removed(lake, lakes):
    (mark,) = lakes.layout.run_dir.glob(f"{SPILL}*{MARK}")
    spills = mark.with_name(mark.name.removesuffix(MARK))
    reader = lake.pin().read(ALL, SORTED_SQL)
    first = reader.read_next_batch()
    assert size_bytes(spills) > MEBIBYTE
    rows = first.num_rows + sum(batch.num_rows for batch in reader)
    assert rows == 8 * ROWS
    assert size_bytes(spills) < 1024  # the mark of whose it is


def test_without_room_to_spill_a_question_is_refused_and_others_go_on(lake, lakes):
    lake._engine.cursor().execute("SET GLOBAL max_temp_directory_size = '1MB'")
    with pytest.raises(Unavailable) as refusal:
        lake.pin().read(ALL, SORTED_SQL).read_all()
    assert refusal.value.code == "question_too_heavy"
    assert lake.pin().read(ALL, "SELECT count(*) AS n FROM rows").read_all()["n"].to_pylist() == [ROWS]


def test_a_start_removes_what_a_killed_process_spilled(tmp_path):
    old, of_before_marks, held = (tmp_path / f"{SPILL}{name}" for name in ("1-aa", "1", "1-bb"))
    for folder in (old, of_before_marks, held):
        folder.mkdir()
        (folder / "duckdb_temp_storage_DEFAULT-0.tmp").write_bytes(b"rows")
    (tmp_path / f"{old.name}{MARK}").touch()
    with (tmp_path / f"{held.name}{MARK}").open("w") as mark:
        fcntl.flock(mark, fcntl.LOCK_EX)  # by a process that this one cannot see: all are number 1 in their containers
        remove_old_spills(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [held.name, f"{held.name}{MARK}"]


def test_who_reads_beside_the_owner_is_bounded_too(lake, lakes):
    snapshot = open_snapshot(lakes.layout.lake_dir, memory_bytes=64 * MEBIBYTE)
    assert snapshot.engine.cursor().sql("SELECT current_setting('memory_limit')").fetchall() == [("64.0 MiB",)]
