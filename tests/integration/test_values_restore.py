"""The table of reports' values beside backup, restore, deletion and verification of a whole installation."""

import json

import polars as pl
import pytest

from gaugehouse.backup import make_backup, restore_backup
from gaugehouse.cli.upkeep import verify
from gaugehouse.config import Settings
from gaugehouse.errors import AlreadyExists
from gaugehouse.inventory import create_project, delete_project
from gaugehouse.lake.deletions import refuse_leftovers
from gaugehouse.reports import ValuePublisher
from gaugehouse.runtime import open_runtime
from planting import store_done_report


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


def publish(runtime):
    publisher = ValuePublisher(database=runtime.database, layout=runtime.layout, table=runtime.lake.values)
    while publisher.publish_next():
        pass


def read_table(layout):
    rows = pl.scan_delta(str(layout.lake_dir / "kpi_values")).collect()
    return rows.sort("report_id", "revision", "component", "metric", "kpi", "bucket_start")


def store_done(runtime, number, **more):
    return store_done_report(runtime.layout, runtime.database, number, **more)


@pytest.fixture(autouse=True)
def no_log_file(monkeypatch):
    """Leave the logs of this process as they are: a command would open a file that lasts until it ends."""
    monkeypatch.setattr("gaugehouse.cli.upkeep.configure_logs", lambda *_args, **_more: None)


def verify_from_outside(runtime, capsys):
    """Return (whether all is sound, the findings) of `gaugehouse lake verify` without a server."""
    runtime.close()
    capsys.readouterr()  # what was logged until now
    is_sound = verify(data_dir=runtime.layout.data_dir, as_json=True, keep_in_place=True)
    return is_sound, json.loads(capsys.readouterr().out)["findings"]


def test_a_backup_holds_no_table_and_the_restored_one_is_built_from_the_results(open_house, tmp_path, capsys):
    first = open_house()
    for number in range(3):
        store_done(first, number)
        publish(first)
    make_backup(first.lake, first.database, tmp_path / "backups", keep=None, on_progress=quiet)
    assert not (tmp_path / "backups" / "lake" / "kpi_values").exists()
    elsewhere = Settings(data_dir=tmp_path / "elsewhere", free_space_bytes=0)
    restore_backup(elsewhere, tmp_path / "backups", name=None, on_progress=quiet)
    second = open_house("elsewhere")
    publish(second)
    assert read_table(second.layout).equals(read_table(first.layout))
    store_done(second, 3)
    publish(second)
    assert read_table(second.layout)["report_id"].n_unique() == 4
    assert verify_from_outside(second, capsys) == (True, [])


def test_a_deleted_project_can_be_made_again_and_has_no_old_values(open_house, capsys):
    runtime = open_house()
    for _round in range(2):
        with runtime.database.transaction() as session:
            create_project(session, "plant")
        store_done(runtime, 1, project="plant")
        store_done(runtime, 2 + _round)
        publish(runtime)
        with pytest.raises(AlreadyExists):
            refuse_leftovers(runtime.layout, "plant")
        dropped = {one.table: one.rows for one in runtime.delete_project("plant")}
        assert dropped["kpi_values"] == 4
        refuse_leftovers(runtime.layout, "plant")
        assert set(read_table(runtime.layout)["project"]) == {"default"}
    assert verify_from_outside(runtime, capsys) == (True, [])


def test_rows_of_an_unknown_project_are_named_as_leftovers(open_house, capsys):
    runtime = open_house()
    with runtime.database.transaction() as session:
        create_project(session, "plant")
    store_done(runtime, 1, project="plant")
    publish(runtime)
    with runtime.database.transaction() as session:
        delete_project(session, "plant")
    is_sound, findings = verify_from_outside(runtime, capsys)
    assert is_sound
    assert [(one["code"], one["project"]) for one in findings] == [("values_unowned", "plant")]
