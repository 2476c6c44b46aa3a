"""Archives of retention: each dropped row once, whatever interrupted an attempt."""

import datetime as dt
import shutil

import polars as pl
import pytest

from factories import event_batch, measurement_batch
from gaugehouse.errors import GaugehouseError
from gaugehouse.lake import retention

JANUARY_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
MARCH = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
ROWS = 20


@pytest.fixture(params=["measurements", "events"])
def table(request):
    return request.param


def send(lake, table, first):
    """Append and flush rows of one month: one more file."""
    instants = [JANUARY_US + t * 1_000_000 for t in range(first, first + ROWS)]
    if table == "measurements":
        lake.append_measurements("plant", measurement_batch([("pump-1", "flow", t, t * 0.1) for t in instants]))
    else:
        lake.append_events("plant", event_batch([("pump-1", "alarm", t, {"at": t}) for t in instants]))
    lake.flush()


def archived(archive, table):
    """Return the rows of an archive as others read it."""
    return pl.scan_parquet(str(archive / table / "**" / "*.parquet")).collect()


def stop_after(monkeypatch, copies):
    """Let the archive's disk be full after some copies."""
    write, left = retention.write_file, [copies]

    def write_or_fail(path, content):
        if not left[0]:
            raise OSError(28, "No space left on device")
        left[0] -= 1
        write(path, content)

    monkeypatch.setattr(retention, "write_file", write_or_fail)


def test_copies_of_an_interrupted_attempt_that_were_merged_since_do_not_stay(lake, table, tmp_path, monkeypatch):
    for k in range(3):
        send(lake, table, 100 * k)
    stop_after(monkeypatch, 2)
    with pytest.raises((OSError, GaugehouseError)):
        lake.retain("plant", table, MARCH, tmp_path / "archive")
    monkeypatch.undo()
    assert archived(tmp_path / "archive", table).height == 2 * ROWS
    lake.compact()
    dropped = lake.retain("plant", table, MARCH, tmp_path / "archive")
    assert (dropped.files, dropped.rows) == (1, 3 * ROWS)
    rows = archived(tmp_path / "archive", table)
    assert (rows.height, rows.unique().height) == (3 * ROWS, 3 * ROWS)


def test_what_an_earlier_retention_archived_stays(lake, table, tmp_path):
    send(lake, table, 0)
    lake.retain("plant", table, MARCH, tmp_path / "archive")
    send(lake, table, 500)  # of the same month: it was in the log while the others were dropped
    lake.retain("plant", table, MARCH, tmp_path / "archive")
    send(lake, table, 0)  # the same keys as the first, received anew
    lake.retain("plant", table, MARCH, tmp_path / "archive")
    rows = archived(tmp_path / "archive", table)
    assert (rows.height, rows.unique().height) == (3 * ROWS, 3 * ROWS)


def test_files_of_others_in_an_archive_are_left_alone(lake, table, tmp_path):
    send(lake, table, 0)
    send(lake, table, 100)
    folder = tmp_path / "archive" / table / "project=plant" / "month=2026-01"
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")
    (folder / "broken.parquet").write_bytes(b"PAR1 and no more")
    pl.DataFrame({"other": [1]}).write_parquet(folder / "other.parquet")
    lake.retain("plant", table, MARCH, tmp_path / "archive")
    assert {"notes.txt", "broken.parquet", "other.parquet"} <= {path.name for path in folder.iterdir()}
    assert len(list(folder.iterdir())) == 5


def test_a_copy_that_is_there_with_other_bytes_is_made_anew_before_its_rows_are_dropped(lake, table, tmp_path):
    send(lake, table, 0)
    root = lake.layout.lake_dir / table
    (stored,) = root.glob("project=*/*/*.parquet")
    copy = tmp_path / "archive" / table / stored.relative_to(root)
    copy.parent.mkdir(parents=True)
    shutil.copy(stored, copy)
    content = stored.read_bytes()
    copy.write_bytes(content[:60] + bytes([content[60] ^ 1]) + content[61:])
    lake.retain("plant", table, MARCH, tmp_path / "archive")
    assert copy.read_bytes() == content
