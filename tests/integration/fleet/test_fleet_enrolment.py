"""Many devices at once: components and keys in the database."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, text

from gaugehouse.access import Access, NewApiKey, Scope, add_api_key, load_api_keys, revoke_api_key
from gaugehouse.database.tables import ApiKey, Component
from gaugehouse.errors import Refused, RowsRefused
from gaugehouse.fleet.enrolment import enrol, find_keyed
from gaugehouse.inventory import NewComponent, create_components, find_components

NAMES = [f"device-{number:04d}" for number in range(2_500)]  # more than one statement binds
DEVICES = [NewComponent(name=name) for name in NAMES]


def enrolled(database, project_id, devices=DEVICES, **wanted):
    with database.transaction() as session:
        return enrol(session, project_id, devices, **wanted)


def count(database, table):
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(table))


def test_every_device_becomes_a_component_and_its_key_is_that_devices(database, project_id):
    done = enrolled(database, project_id)
    assert (done.created, done.keyed, [one.component for one in done.keys]) == (len(NAMES), 0, NAMES)
    assert len({one.key for one in done.keys}) == len(NAMES)
    access = Access(database, bytes(32), 900)
    for one in (done.keys[0], done.keys[1_234], done.keys[-1]):
        caller = access.caller_of_key(one.key)
        assert (caller.component, caller.name, caller.project_id) == (one.component, one.component, project_id)
        assert caller.scopes == {Scope.MEASUREMENTS_WRITE, Scope.EVENTS_WRITE, Scope.STATUS_READ, Scope.FIRMWARE_READ}


def test_of_a_key_only_hash_and_first_characters_are_stored(database, project_id):
    (one,) = enrolled(database, project_id, DEVICES[:1]).keys
    with database.reading() as session:
        stored = " ".join(str(cell) for cell in session.execute(text("SELECT * FROM api_keys")).one())
    assert one.key[:8] in stored
    assert one.key[8:20] not in stored


def test_repeating_makes_only_what_is_missing(database, project_id):
    enrolled(database, project_id, DEVICES[:1_500])
    again = enrolled(database, project_id)
    assert (again.created, again.keyed, [one.component for one in again.keys]) == (1_000, 1_500, NAMES[1_500:])
    assert (count(database, ApiKey), count(database, Component)) == (len(NAMES), len(NAMES))


def test_components_that_exist_keep_what_they_are(database, project_id):
    with database.transaction() as session:
        create_components(session, project_id, [NewComponent(name="device-0001", title="mine", type="pump")])
    devices = [NewComponent(name=name, type="meter") for name in NAMES[:3]]
    assert enrolled(database, project_id, devices).created == 2
    with database.reading() as session:
        found = {one.name: (one.title, one.type) for one in find_components(session, project_id).items}
    assert found == {"device-0000": ("", "meter"), "device-0001": ("mine", "pump"), "device-0002": ("", "meter")}


def test_a_key_that_counts_no_more_is_none(database, project_id):
    soon = datetime.now(UTC) + timedelta(days=1)
    enrolled(database, project_id, DEVICES[:2], expires_at=soon)
    with database.transaction() as session:
        ended, _other = load_api_keys(session, project_id).items
        revoke_api_key(session, project_id, ended.id)
        session.execute(text("UPDATE api_keys SET expires_at = created_at WHERE revoked_at IS NULL"))
        assert find_keyed(session, project_id, NAMES[:2]) == set()
    assert len(enrolled(database, project_id, DEVICES[:2]).keys) == 2


def test_keys_of_other_projects_and_of_people_are_none_of_the_devices(database, project_id, other_project_id):
    enrolled(database, other_project_id, DEVICES[:1])
    with database.transaction() as session:
        add_api_key(session, NewApiKey(name="of the project"), project_id=project_id)
        assert find_keyed(session, project_id, NAMES) == set()
        assert find_keyed(session, other_project_id, NAMES) == {NAMES[0]}


@pytest.mark.parametrize(
    ("devices", "wanted", "error"),
    [
        ([*DEVICES[:5], DEVICES[2]], {}, RowsRefused),
        ([*DEVICES[:5], NewComponent(name="a\x00b")], {}, RowsRefused),
        (DEVICES[:5], {"scopes": ["reports:read"]}, Refused),
        (DEVICES[:5], {"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}, Refused),
    ],
)
def test_what_is_refused_leaves_nothing(database, project_id, devices, wanted, error):
    with pytest.raises(error):
        enrolled(database, project_id, devices, **wanted)
    assert (count(database, ApiKey), count(database, Component)) == (0, 0)


def test_the_keys_of_one_component_and_the_newest_are_found_by_an_index(database, project_id):
    if database.engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL plans by what a table holds")
    statements = (
        "SELECT id FROM api_keys WHERE project_id = 'p' AND component = 'c'",
        "SELECT id FROM api_keys WHERE project_id = 'p' ORDER BY created_at DESC, id DESC LIMIT 101",
    )
    with database.reading() as session:
        for statement in statements:
            plan = " ".join(str(row) for row in session.execute(text(f"EXPLAIN QUERY PLAN {statement}")))
            assert "USING" in plan
            assert "SCAN" not in plan
            assert "TEMP B-TREE" not in plan
