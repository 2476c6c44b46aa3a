"""Retention and deletion across database, lake and report files."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from sqlalchemy import select

from factories import event_batch, measurement_batch
from gaugehouse.config import Settings
from gaugehouse.database.tables import Component, Report
from gaugehouse.errors import NotFound
from gaugehouse.inventory import ProjectSettings, create_project, get_project, put_project_settings
from gaugehouse.runtime import open_runtime

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
                pin={},
                asked_at=datetime.now(UTC),
                job_id="job_1",
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
