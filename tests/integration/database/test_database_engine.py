import multiprocessing
import stat
import threading
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import exc, select, text

from children import count_up
from gaugehouse.database import Database, database_now, insert_missing, new_id, sqlite_url
from gaugehouse.database.tables import Project, Setting
from gaugehouse.errors import AlreadyExists, StartRefused, StorageFull, Unavailable


def test_a_transaction_is_committed_at_exit(database):
    with database.transaction() as session:
        session.add(Project(id=new_id("prj"), slug="plant"))
    with database.reading() as session:
        assert session.scalars(select(Project.slug)).all() == ["plant"]


def test_a_transaction_is_rolled_back_when_an_exception_leaves_it(database):
    with pytest.raises(KeyError), database.transaction() as session:  # noqa: PT012 - the exception must pass the block
        session.add(Project(id=new_id("prj"), slug="plant"))
        session.flush()
        raise KeyError
    with database.reading() as session:
        assert session.scalars(select(Project.slug)).all() == []


def test_instants_come_back_aware_and_in_utc(database):
    there = timezone(timedelta(hours=8))
    instant = datetime(2026, 11, 20, 7, 59, 59, 123456, tzinfo=there)
    with database.transaction() as session:
        session.add(Setting(name="x", value={}, updated_at=instant))
    with database.reading() as session:
        stored = session.scalars(select(Setting.updated_at)).one()
    assert stored == instant
    assert stored.tzinfo == UTC


def test_a_naive_instant_is_not_stored(database):
    with pytest.raises(exc.StatementError, match="without a time zone"), database.transaction() as session:
        session.add(Setting(name="x", value={}, updated_at=datetime(2026, 1, 1)))  # noqa: DTZ001


def test_the_database_tells_its_clock_in_utc(database):
    with database.reading() as session:
        now = database.now(session)
    assert now.tzinfo == UTC
    assert abs(now - datetime.now(UTC)) < timedelta(seconds=5)


def test_an_offset_moves_the_databases_clock_by_seconds(database):
    with database.transaction() as session:
        now, later, before = session.execute(
            select(database_now(), database_now(90.25), database_now(-0.5)),
        ).one()
    assert abs((later - now) - timedelta(seconds=90.25)) < timedelta(milliseconds=50)
    assert abs((now - before) - timedelta(seconds=0.5)) < timedelta(milliseconds=50)


def test_an_instant_stored_by_the_databases_clock_compares_with_one_stored_by_python(database):
    with database.transaction() as session:
        session.add(Setting(name="by database", value={}, updated_at=database_now()))
        session.add(Setting(name="an hour ago", value={}, updated_at=datetime.now(UTC) - timedelta(hours=1)))
        session.add(Setting(name="in an hour", value={}, updated_at=datetime.now(UTC) + timedelta(hours=1)))
    with database.reading() as session:
        names = session.scalars(select(Setting.name).order_by(Setting.updated_at)).all()
        past = session.scalars(select(Setting.name).where(Setting.updated_at <= database_now())).all()
    assert names == ["an hour ago", "by database", "in an hour"]
    assert sorted(past) == ["an hour ago", "by database"]


def test_a_reading_session_cannot_write(database):
    with pytest.raises((exc.DBAPIError, Unavailable)), database.reading() as session:
        session.execute(text("DELETE FROM settings"))
    with database.transaction() as session:  # and the connection is writable again afterwards
        session.add(Setting(name="x", value={}))


def test_a_broken_unique_rule_is_a_conflict_of_ours(database):
    with pytest.raises(AlreadyExists), database.transaction() as session:  # noqa: PT012 - found at commit
        session.add(Project(id=new_id("prj"), slug="plant"))
        session.add(Project(id=new_id("prj"), slug="plant"))


def test_a_missing_parent_row_stays_a_defect(database):
    with pytest.raises(exc.IntegrityError), database.transaction() as session:
        session.execute(
            text("INSERT INTO memberships (user_id, project_id, role, created_at) VALUES ('u', 'p', 'viewer', :at)"),
            {"at": "2026-01-01 00:00:00.000000"},
        )


def test_inserting_missing_rows_skips_known_ones_and_keeps_the_transaction_alive(database):
    rows = [{"id": new_id("prj"), "slug": f"plant-{number}"} for number in range(3)]
    with database.transaction() as session:
        insert_missing(session, Project, rows[:2])
        insert_missing(session, Project, [{**row, "id": new_id("prj")} for row in rows])
        insert_missing(session, Project, [])
    with database.reading() as session:
        assert session.scalars(select(Project.slug).order_by(Project.slug)).all() == ["plant-0", "plant-1", "plant-2"]


def test_many_threads_write_without_seeing_a_lock(database):
    failures: list[BaseException] = []

    def write(number: int) -> None:
        try:
            for count in range(10):
                with database.transaction() as session:
                    session.add(Setting(name=f"{number}-{count}", value={}))
        except BaseException as exc:  # noqa: BLE001 - carried to the test's own thread
            failures.append(exc)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.reading() as session:
        assert len(session.scalars(select(Setting.name)).all()) == 160
    assert failures == []


def test_several_processes_read_and_write_the_same_row_without_losing_one(database, database_url):
    with database.transaction() as session:
        session.add(Setting(name="count", value={"n": 0}))
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=count_up, args=(database_url, 40)) for _ in range(2)]
    for process in processes:
        process.start()
    count_up(database_url, 40)
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    with database.reading() as session:
        assert session.scalars(select(Setting.value)).one() == {"n": 120}


def test_a_lock_held_for_too_long_is_unavailable_and_names_no_vendor(tmp_path, monkeypatch):
    monkeypatch.setattr("gaugehouse.database.engine.BUSY_TIMEOUT_S", 0.2)
    url = sqlite_url(tmp_path / "gaugehouse.db")
    holder, other = Database.open(url), Database.open(url)
    holder.migrate()
    with holder.transaction(), pytest.raises(Unavailable) as caught, other.transaction():
        pass
    assert caught.value.code == "database_busy"
    assert caught.value.retry_after_s is not None
    with holder.transaction(), pytest.raises(Unavailable), holder.transaction():  # its own threads wait as briefly
        pass
    with other.transaction() as session:
        session.add(Setting(name="x", value={}))
    holder.dispose()
    other.dispose()


def test_readers_go_on_while_a_transaction_is_open(database):
    with database.transaction() as session:
        session.add(Setting(name="x", value={}))
        session.flush()
        began_s = time.monotonic()
        with database.reading() as reader:
            assert reader.scalars(select(Setting.name)).all() == []
        assert time.monotonic() - began_s < 1


def test_sqlite_runs_with_the_measured_settings(tmp_path: Path):
    path = tmp_path / "deep" / "gaugehouse.db"
    database = Database.open(sqlite_url(path))
    with database.transaction() as session:
        settings = {
            name: session.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
        }
    database.dispose()
    assert settings == {"journal_mode": "delete", "synchronous": 2, "busy_timeout": 5000, "foreign_keys": 1}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_full_sqlite_file_is_a_full_disk(tmp_path: Path):
    database = Database.open(sqlite_url(tmp_path / "gaugehouse.db"))
    database.migrate()
    with pytest.raises(StorageFull), database.transaction() as session:  # noqa: PT012 - any of the inserts may fail
        pages = session.execute(text("PRAGMA page_count")).scalar_one()
        session.execute(text(f"PRAGMA max_page_count = {pages}"))
        for number in range(1000):
            session.add(Setting(name=f"{number}", value={"text": "x" * 1000}))
            session.flush()
    database.dispose()


def test_an_unreachable_postgres_is_unavailable_and_keeps_the_password():
    database = Database.open("postgresql://someone:hidden-password@127.0.0.1:1/none")
    with pytest.raises(Unavailable) as caught, database.transaction() as session:
        session.execute(text("SELECT 1"))
    database.dispose()
    assert "hidden-password" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["mysql://u:hidden@h/d", "sqlite://", "sqlite:///:memory:", "no url at all", "sqlite:////proc/none/x.db"]
)
def test_other_databases_are_refused_without_repeating_the_url(url):
    with pytest.raises(StartRefused) as caught:
        Database.open(url)
    assert "hidden" not in str(caught.value)
    assert "/proc" not in str(caught.value)


def test_a_failed_statement_does_not_tell_its_values(database):
    with pytest.raises(exc.DBAPIError) as failed, database.transaction() as session:
        session.execute(text("INSERT INTO no_such_table (hash) VALUES (:hash)"), {"hash": "a-secret-hash"})
    assert "a-secret-hash" not in str(failed.value)
