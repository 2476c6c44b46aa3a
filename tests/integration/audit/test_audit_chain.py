"""Chains of the audit log on both databases: who writes them, what the database refuses, what a verification finds."""

import multiprocessing
import threading
from dataclasses import asdict

import pytest
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.exc import DBAPIError

from children import tell_many
from gaugehouse.audit import INSTALLATION, EntryFilter, Heads, Trail, end_chain, find_entries, verify_audit
from gaugehouse.audit.entries import GENESIS, Act, hash_entry, seal
from gaugehouse.audit.reading import walk_chain
from gaugehouse.audit.trail import CHAINS, ENTRIES
from gaugehouse.errors import GaugehouseError, Refused

PROJECT = "prj_00000000000000000001"


@pytest.fixture
def heads(tmp_path):
    return Heads(tmp_path / "secrets")


@pytest.fixture
def trail(heads):
    return Trail(heads=heads, actor_kind="user", actor="ann", project_id=PROJECT, source="192.0.2.7", request_id="r1")


@pytest.fixture
def operator(heads):
    return Trail(heads=heads, actor_kind="operator", actor="operator", project_id=None, source="local")


def tell(database, trail, count=1):
    for number in range(count):
        with database.transaction() as session:
            trail.tell(session, "component.change", id=f"cmp_{number}", name="pump-1", details={"title": "Pümp"})


def entries_of(database, chain=PROJECT):
    return list(walk_chain(database, chain))


class Tamperer:
    """Somebody who may do everything in the database, and lifts what it refuses."""

    def __init__(self, database):
        self.database = database

    def run(self, *statements):
        with self.database.transaction() as session:
            self._lift(session)
            for statement in statements:
                session.execute(statement)

    def _lift(self, session):
        if session.get_bind().dialect.name == "postgresql":
            for table in ("audit_entries", "audit_chains"):
                session.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
            return
        for name in session.scalars(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).all():
            session.execute(text(f"DROP TRIGGER {name}"))


@pytest.fixture
def tamperer(database):
    yield Tamperer(database)
    if database.engine.dialect.name == "postgresql":  # the schema is shared by all tests
        with database.transaction() as session:
            for table in ("audit_entries", "audit_chains"):
                session.execute(text(f"ALTER TABLE {table} ENABLE TRIGGER USER"))


def at(number, chain=PROJECT):
    return (ENTRIES.c.chain == chain) & (ENTRIES.c.number == number)


def found(database, heads):
    return [(one.code, one.number) for one in verify_audit(database, heads).findings]


def test_entries_count_from_one_and_follow_one_another(database, trail, heads):
    tell(database, trail, 3)
    entries = entries_of(database)
    assert [entry.number for entry in entries] == [1, 2, 3]
    assert [entry.previous_hash for entry in entries] == [GENESIS, entries[0].hash, entries[1].hash]
    assert all(hash_entry(entry) == entry.hash for entry in entries)
    verdict = verify_audit(database, heads)
    assert verdict.is_sound
    assert [(one.entries, one.hash) for one in verdict.chains] == [(3, entries[2].hash)]
    assert heads.read()[PROJECT].hash == entries[2].hash


def test_an_act_that_is_taken_back_leaves_no_entry_and_no_gap(database, trail, heads):
    tell(database, trail)
    with database.transaction() as session:
        trail.tell(session, "component.change", name="never")
        session.rollback()
    tell(database, trail)
    assert [(entry.number, entry.object_name) for entry in entries_of(database)] == [(1, "pump-1"), (2, "pump-1")]
    assert heads.read()[PROJECT].number == 2
    assert verify_audit(database, heads).is_sound


def test_threads_write_one_chain_without_gaps(database, trail, heads):
    threads = [threading.Thread(target=tell, args=(database, trail, 10)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [entry.number for entry in entries_of(database)] == list(range(1, 41))
    assert verify_audit(database, heads).is_sound
    assert heads.read()[PROJECT].number == 40


def test_processes_write_one_chain_without_gaps(database, database_url, heads, tmp_path):
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(3)
    given = (database_url, tmp_path / "secrets", PROJECT, 10, barrier)
    processes = [spawn.Process(target=tell_many, args=given) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert [entry.number for entry in entries_of(database)] == list(range(1, 31))
    assert verify_audit(database, heads).is_sound
    assert heads.read()[PROJECT].number == 30


REFUSED = {
    "an entry is changed": update(ENTRIES).where(at(1)).values(actor="eve"),
    "an entry is deleted": delete(ENTRIES).where(at(2)),
    "all entries are deleted": delete(ENTRIES),
    "a head goes back": update(CHAINS).values(number=1),
    "a head jumps": update(CHAINS).values(number=9),
    "a chain is deleted": delete(CHAINS).where(CHAINS.c.chain == PROJECT),
    "a chain is renamed": update(CHAINS).values(chain="another", number=3),
}


@pytest.mark.parametrize("statement", REFUSED.values(), ids=REFUSED.keys())
def test_the_database_refuses(database, trail, heads, statement):
    tell(database, trail, 2)
    with pytest.raises((DBAPIError, GaugehouseError)), database.transaction() as session:
        session.execute(statement)
    assert len(entries_of(database)) == 2
    assert verify_audit(database, heads).is_sound


def test_the_database_refuses_to_replace_an_entry(database, trail, heads):
    tell(database, trail)
    (entry,) = entries_of(database)
    replaced = {column.name: getattr(entry, column.name) for column in ENTRIES.c} | {"actor": "eve"}
    is_sqlite = database.engine.dialect.name == "sqlite"
    statement = insert(ENTRIES).prefix_with("OR REPLACE") if is_sqlite else insert(ENTRIES)
    with pytest.raises((DBAPIError, GaugehouseError)), database.transaction() as session:
        session.execute(statement.values(**replaced))
    assert entries_of(database) == [entry]


def test_a_changed_entry_is_named(database, trail, heads, tamperer):
    tell(database, trail, 4)
    tamperer.run(update(ENTRIES).where(at(2)).values(actor="eve"))
    assert found(database, heads) == [("entry_changed", 2)]


def test_an_entry_that_was_written_anew_is_named(database, trail, heads, tamperer):
    """With a right hash of its own: the next one still names the old hash."""
    tell(database, trail, 4)
    old = entries_of(database)[1]
    forged = old.__class__(**({field: getattr(old, field) for field in old.__dataclass_fields__} | {"actor": "eve"}))
    tamperer.run(update(ENTRIES).where(at(2)).values(actor="eve", hash=hash_entry(forged)))
    assert found(database, heads) == [("entry_changed", 2)]


def test_a_missing_entry_is_named(database, trail, heads, tamperer):
    tell(database, trail, 4)
    tamperer.run(delete(ENTRIES).where(at(3)))
    assert found(database, heads) == [("entry_missing", 3)]


def test_entries_that_changed_places_are_named(database, trail, heads, tamperer):
    tell(database, trail, 4)
    tamperer.run(
        update(ENTRIES).where(at(2)).values(number=99),
        update(ENTRIES).where(at(3)).values(number=2),
        update(ENTRIES).where(at(99)).values(number=3),
    )
    assert found(database, heads) == [("entry_moved", 2)]


def test_a_truncated_chain_is_found_by_its_head(database, trail, heads, tamperer):
    tell(database, trail, 4)
    tamperer.run(delete(ENTRIES).where(ENTRIES.c.number > 2))
    assert found(database, heads) == [("chain_truncated", 3)]


def test_a_chain_that_is_truncated_with_its_head_is_found_by_the_file(database, trail, heads, tamperer):
    tell(database, trail, 4)
    second = entries_of(database)[1]
    tamperer.run(
        delete(ENTRIES).where(ENTRIES.c.number > 2),
        update(CHAINS).where(CHAINS.c.chain == PROJECT).values(number=2, hash=second.hash),
    )
    assert found(database, heads) == [("chain_truncated", 3)]


def test_a_chain_that_is_gone_is_found_by_the_file(database, trail, heads, tamperer):
    tell(database, trail, 2)
    tamperer.run(delete(CHAINS), delete(ENTRIES))
    assert found(database, heads) == [("chain_truncated", 1)]


def test_a_chain_that_was_written_anew_from_its_start_is_found_by_the_file(database, trail, heads, tamperer, tmp_path):
    tell(database, trail, 2)
    tamperer.run(delete(CHAINS), delete(ENTRIES))
    elsewhere = Trail(
        heads=Heads(tmp_path / "elsewhere"), actor_kind="user", actor="eve", project_id=PROJECT, source="local"
    )
    tell(database, elsewhere, 2)
    assert found(database, heads) == [("entry_changed", 2)]


def test_an_entry_that_somebody_added_is_named(database, trail, heads):
    """The database takes it, and its hashes are right: but no head was moved with it."""
    tell(database, trail, 2)
    last = entries_of(database)[-1]
    act = Act(**{field: getattr(last, field) for field in Act.__dataclass_fields__})
    forged = seal(act, number=3, at=last.at, previous_hash=last.hash)
    with database.transaction() as session:
        session.execute(insert(ENTRIES).values(**asdict(forged)))
    assert found(database, heads) == [("entry_added", 3)]


def test_a_project_that_is_deleted_while_its_chain_is_read_is_no_damage(database, trail, operator, heads):
    tell(database, trail, 3)

    class DeletedMeanwhile:
        """The database, in which somebody deletes the project between the list of chains and the first entry."""

        readings = 0

        def reading(self):
            self.readings += 1
            if self.readings == 2:
                with database.transaction() as session:
                    end_chain(session, operator, PROJECT, "plant")
            return database.reading()

    verdict = verify_audit(DeletedMeanwhile(), heads)
    assert verdict.findings == ()
    assert entries_of(database) == []


def test_a_lost_file_is_told_and_no_damage(database, trail, heads, tmp_path):
    tell(database, trail)
    (tmp_path / "secrets" / "audit-heads.json").unlink()
    verdict = verify_audit(database, heads)
    assert [one.code for one in verdict.findings] == ["heads_missing"]
    assert verdict.is_sound


def test_a_crash_between_commit_and_file_is_no_damage(database, trail, heads, tmp_path):
    tell(database, trail, 2)
    kept = (tmp_path / "secrets" / "audit-heads.json").read_bytes()
    tell(database, trail, 2)
    (tmp_path / "secrets" / "audit-heads.json").write_bytes(kept)
    assert verify_audit(database, heads).is_sound


def test_a_deleted_project_leaves_its_last_hash(database, trail, operator, heads):
    tell(database, trail, 3)
    last = entries_of(database)[-1]
    with database.transaction() as session:
        end_chain(session, operator, PROJECT, "plant")
    assert entries_of(database) == []
    (entry,) = entries_of(database, INSTALLATION)
    assert (entry.action, entry.object_id, entry.object_name) == ("project.delete", PROJECT, "plant")
    assert entry.details == f'{{"entries":3,"last_hash":"{last.hash}"}}'
    assert heads.read().keys() == {INSTALLATION}
    assert found(database, heads) == []


def test_readers_find_by_actor_action_object_and_time(database, trail, operator):
    tell(database, trail, 2)
    with database.transaction() as session:
        trail.tell(session, "report.request", id="rep_1")
        trail.tell(session, "report.cancel", id="rep_1")
        operator.tell(session, "lake.compact")

    def numbers(**wanted):
        with database.reading() as session:
            page = find_entries(session, EntryFilter(project_id=PROJECT, **wanted), limit=10)
        return [entry.number for entry in page.entries]

    third = entries_of(database)[2]
    assert numbers() == [4, 3, 2, 1]
    assert numbers(action="report") == [4, 3]
    assert numbers(action="report.cancel") == [4]
    assert numbers(action="repor_") == []
    assert numbers(actor="ann") == [4, 3, 2, 1]
    assert numbers(actor="operator") == []
    assert numbers(object="rep_1") == [4, 3]
    assert numbers(object="pump-1") == [2, 1]
    assert set(numbers(since=third.at)) >= {3, 4}
    assert 3 not in numbers(until=third.at)


def test_pages_go_on_after_the_last_entry_that_was_seen(database, trail):
    tell(database, trail, 5)
    with database.reading() as session:
        first = find_entries(session, EntryFilter(project_id=PROJECT), limit=2)
    tell(database, trail)
    with database.reading() as session:
        second = find_entries(session, EntryFilter(project_id=PROJECT), limit=2, cursor=first.next_cursor)
        third = find_entries(session, EntryFilter(project_id=PROJECT), limit=2, cursor=second.next_cursor)
        with pytest.raises(Refused, match="cursor"):
            find_entries(session, EntryFilter(project_id=PROJECT), limit=2, cursor="-1")
    seen = [entry.number for page in (first, second, third) for entry in page.entries]
    assert seen == [5, 4, 3, 2, 1]
    assert (first.total, third.next_cursor) == (5, None)


def test_the_database_keeps_what_the_entry_says(database, trail):
    tell(database, trail)
    with database.reading() as session:
        row = session.execute(select(ENTRIES)).one()
    assert (row.actor, row.source, row.request_id) == ("ann", "192.0.2.7", "r1")
    assert row.details == '{"title":"P\\u00fcmp"}'
