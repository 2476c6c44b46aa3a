import multiprocessing
import shutil

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from children import migrate_at_once
from gaugehouse.database import Database
from gaugehouse.database.history import MIGRATIONS_DIR, list_revisions
from gaugehouse.database.migrating import alembic_config
from gaugehouse.database.tables import Base
from gaugehouse.errors import StartRefused


@pytest.fixture
def blank(blank_database_url):
    database = Database.open(blank_database_url)
    yield database
    database.dispose()


def test_the_migrated_tables_are_the_declared_ones(blank):
    blank.migrate()
    with blank.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True, "render_as_batch": True}
        )
        assert compare_metadata(context, Base.metadata) == []


def test_a_difference_would_be_seen(blank):
    blank.migrate()
    with blank.engine.begin() as connection:
        connection.execute(text("ALTER TABLE settings ADD COLUMN forgotten INTEGER"))
        connection.execute(text("DROP INDEX uq_metrics_project_id_name"))
    with blank.engine.connect() as connection:
        context = MigrationContext.configure(connection)
        found = {difference[0] for difference in compare_metadata(context, Base.metadata)}
    assert found == {"remove_column", "add_index"}


def test_migrating_again_changes_nothing(blank):
    blank.migrate()
    blank.migrate()
    with blank.engine.connect() as connection:
        assert (
            connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == list_revisions()[-1:]
        )


def test_a_failing_migration_leaves_nothing_behind(blank):
    with blank.engine.begin() as connection:
        connection.execute(text("CREATE TABLE settings (x INTEGER)"))  # in the way of the second table
    with pytest.raises(Exception, match="settings"):
        blank.migrate()
    with blank.engine.connect() as connection:
        assert inspect(connection).get_table_names() == ["settings"]


def test_the_history_has_one_head_and_goes_back_to_nothing(blank):
    blank.migrate()
    script = ScriptDirectory.from_config(alembic_config())
    assert script.get_heads() == list_revisions()[-1:]
    assert [one.revision for one in script.walk_revisions()] == list_revisions()[::-1]
    with blank.engine.begin() as connection:
        command.downgrade(alembic_config(connection), "base")
    with blank.engine.connect() as connection:
        assert inspect(connection).get_table_names() == ["alembic_version"]


def test_tables_of_a_newer_version_are_refused(blank):
    blank.migrate()
    with blank.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StartRefused) as caught:
        blank.migrate()
    assert caught.value.code == "database_too_new"


def test_processes_that_start_at_once_migrate_once(blank_database_url, blank):
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(3)
    processes = [spawn.Process(target=migrate_at_once, args=(blank_database_url, barrier)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    with blank.engine.connect() as connection:
        assert (
            connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == list_revisions()[-1:]
        )


def test_a_generated_migration_imports_what_it_needs(blank, tmp_path):
    """Generated anew from nothing, with every column type we use, the text runs as it is."""
    copy = shutil.copytree(
        MIGRATIONS_DIR, tmp_path / "migrations", ignore=shutil.ignore_patterns("0*.py", "__pycache__")
    )
    with blank.engine.begin() as connection:
        config = alembic_config(connection)
        config.set_main_option("script_location", str(copy))
        command.revision(config, "all anew", autogenerate=True, rev_id="a1")
        command.upgrade(config, "head")
    with blank.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
