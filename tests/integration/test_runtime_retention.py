"""Retention and deletion across database, lake and report files."""

import os
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from sqlalchemy import delete, select

from factories import event_batch, measurement_batch
from gaugehouse.cli.projects import add_project
from gaugehouse.config import Settings
from gaugehouse.database.tables import Component, Project, Report
from gaugehouse.errors import AlreadyExists, NotFound, Unavailable
from gaugehouse.inventory import ProjectSettings, create_project, get_project, put_project_settings
from gaugehouse.lake import Lake
from gaugehouse.lake.deletions import read_deletions, refuse_leftovers
from gaugehouse.runtime import announce_owner, find_owner, open_runtime

DAY_US = 86_400_000_000


@pytest.fixture
def runtime(tmp_path):
    opened = open_runtime(Settings(data_dir=tmp_path / "data", free_space_bytes=0))
    yield opened
    opened.close()


def age_us(days):
    return int((datetime.now(UTC) - timedelta(days=days)).timestamp() * 1e6)


def fill(runtime, project="default"):
    rows = [("pump-1", "temperature", age_us(days), float(days)) for days in (0, 50, 100, 400)]
    runtime.registry.register(project, ["pump-1"], ["temperature"])
    runtime.lake.append_measurements(project, measurement_batch(rows))
    runtime.lake.append_events(project, event_batch([("pump-1", "alarm", age_us(400), {"x": 1})]))
    runtime.lake.flush()


def bound(runtime, slug="default", **settings):
    with runtime.database.transaction() as session:
        put_project_settings(session, get_project(session, slug).id, ProjectSettings(**settings))


def stored(runtime, table="measurements"):
    return pl.scan_delta(str(runtime.layout.lake_dir / table)).select(pl.len()).collect().item()


def test_a_policy_drops_old_months_of_its_table_only_and_archives_them(runtime, tmp_path):
    fill(runtime)
    bound(runtime, measurements_keep_days=200, archive_dir=tmp_path / "archive")
    ((project, dropped),) = runtime.retain()
    assert (project, dropped.table, dropped.rows, dropped.archived) == ("default", "measurements", 1, True)
    assert (stored(runtime), stored(runtime, "events")) == (3, 1)
    assert pl.scan_parquet(str(tmp_path / "archive" / "**" / "*.parquet")).select(pl.len()).collect().item() == 1
    assert runtime.retain() == []


def test_a_project_without_a_policy_keeps_everything(runtime):
    fill(runtime)
    assert runtime.retain() == []
    assert stored(runtime) == 4


def test_rows_before_what_was_dropped_are_not_accepted_even_without_a_policy(runtime):
    fill(runtime)
    runtime.lake.retain("default", "measurements", datetime.now(UTC) - timedelta(days=200))
    kept_from = runtime.delivery_limits("default").kept_from["measured_at"]
    assert kept_from == runtime.lake.gone("default", "measurements").before
    assert "occurred_at" not in runtime.delivery_limits("default").kept_from


def test_a_deleted_project_takes_inventory_rows_and_report_files_with_it(runtime):
    with runtime.database.transaction() as session:
        project_id = create_project(session, "north").id
    fill(runtime)
    fill(runtime, "north")
    folder = runtime.layout.reports_dir / "rep_1"
    folder.mkdir(parents=True)
    with runtime.database.transaction() as session:
        session.add(
            Report(
                id="rep_1",
                project_id=project_id,
                requested_by="max",
                period_expression="2026-10",
                timezone="UTC",
                request={},
            )
        )
    runtime.delete_project("north")
    assert not folder.exists()
    assert (stored(runtime), stored(runtime, "events")) == (4, 1)
    with runtime.database.reading() as session:
        assert session.scalars(select(Component).where(Component.project_id == project_id)).all() == []
    with pytest.raises(NotFound):
        runtime.registry.find_unknown("north", ["pump-1"], [])
    with pytest.raises(NotFound):
        runtime.delete_project("north")


def fail(*_args):
    raise Unavailable("not now")


def interrupted(runtime, monkeypatch):
    """Leave the deletion of a project `north` that failed in the lake."""
    with runtime.database.transaction() as session:
        create_project(session, "north")
    fill(runtime)
    fill(runtime, "north")
    monkeypatch.setattr(Lake, "delete_project", fail)
    with pytest.raises(Unavailable):
        runtime.delete_project("north")
    monkeypatch.undo()
    assert stored(runtime) == 8


def test_an_interrupted_deletion_is_finished_by_the_next_start(tmp_path, monkeypatch):
    runtime = open_runtime(Settings(data_dir=tmp_path / "data", free_space_bytes=0))
    interrupted(runtime, monkeypatch)
    runtime.close()
    for _attempt in range(2):  # and the refused one leaves nothing behind
        with pytest.raises(AlreadyExists, match="project delete north"):
            add_project(data_dir=tmp_path / "data", slug="north", title="")
    runtime = open_runtime(Settings(data_dir=tmp_path / "data", free_space_bytes=0))
    assert (stored(runtime), stored(runtime, "events")) == (4, 1)
    assert read_deletions(runtime.layout) == []
    refuse_leftovers(runtime.layout, "north")
    with pytest.raises(NotFound):
        runtime.delete_project("north")
    runtime.close()


def test_an_interrupted_deletion_is_finished_by_another_call(runtime, monkeypatch):
    interrupted(runtime, monkeypatch)
    dropped = runtime.delete_project("north")
    assert sum(one.rows for one in dropped) == 5
    assert (stored(runtime), stored(runtime, "events")) == (4, 1)
    assert read_deletions(runtime.layout) == []


def test_a_later_project_of_the_name_is_not_what_an_interrupted_deletion_means(tmp_path, monkeypatch):
    runtime = open_runtime(Settings(data_dir=tmp_path / "data", free_space_bytes=0))
    interrupted(runtime, monkeypatch)
    with runtime.database.transaction() as session:
        later = create_project(session, "north").id
    runtime.close()
    runtime = open_runtime(Settings(data_dir=tmp_path / "data", free_space_bytes=0))
    with runtime.database.reading() as session:
        assert get_project(session, "north").id == later
    assert stored(runtime) == 4
    runtime.close()


def test_rows_of_a_project_that_the_database_does_not_know_can_be_deleted(runtime):
    with runtime.database.transaction() as session:
        create_project(session, "north")
    fill(runtime, "north")
    with runtime.database.transaction() as session:
        session.execute(delete(Project).where(Project.slug == "north"))  # as a restored database may be
    with pytest.raises(AlreadyExists):
        refuse_leftovers(runtime.layout, "north")
    runtime.delete_project("north")
    assert stored(runtime) == 0
    assert not runtime.lake.holds("north")
    with pytest.raises(NotFound):
        runtime.delete_project("north")


def test_rows_that_are_only_in_memory_count_as_what_is_left_of_a_project(runtime):
    assert not runtime.lake.holds("north")
    runtime.lake.append_measurements("north", measurement_batch([("pump-1", "flow", age_us(1), 1.0)]))
    assert runtime.lake.holds("north")
    assert [one.rows for one in runtime.delete_project("north")] == [1, 0]


def test_one_project_whose_archive_fails_does_not_keep_retention_from_the_others(runtime, tmp_path):
    with runtime.database.transaction() as session:
        create_project(session, "north")
    fill(runtime)
    fill(runtime, "north")
    (tmp_path / "file").touch()
    bound(runtime, "default", measurements_keep_days=200, events_keep_days=200, archive_dir=tmp_path / "file" / "below")
    bound(runtime, "north", measurements_keep_days=200)
    with pytest.raises(NotADirectoryError):
        runtime.retain()
    assert (stored(runtime), stored(runtime, "events")) == (7, 2)


def test_what_a_killed_server_announced_is_not_believed(tmp_path):
    settings = Settings(data_dir=tmp_path / "data", free_space_bytes=0)
    runtime = open_runtime(settings)
    announce_owner(runtime.layout, "http://127.0.0.1:1")
    assert find_owner(runtime.layout).pid == os.getpid()
    (runtime.layout.data_dir / "LOCK").write_text(f"{os.getpid() + 1}\n")  # as of a command that owns the lake now
    assert find_owner(runtime.layout) is None
    (runtime.layout.data_dir / "LOCK").write_text(f"{os.getpid()}\n")
    runtime.close()
    runtime = open_runtime(settings)  # with the pid of the killed one, as in a container
    assert find_owner(runtime.layout) is None
    runtime.close()
