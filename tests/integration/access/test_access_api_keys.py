import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from gaugehouse.access import (
    Access,
    NewApiKey,
    Scope,
    add_api_key,
    create_api_key,
    disable_user,
    end_membership,
    find_api_keys,
    find_role,
    get_api_key,
    grant_role,
    load_api_keys,
    revoke_api_key,
    rotate_api_key,
)
from gaugehouse.access.api_keys import make_key
from gaugehouse.access.users import get_project, get_user
from gaugehouse.database.tables import ApiKey
from gaugehouse.errors import AlreadyExists, NotFound, Refused, Unauthenticated


def _create(database, **changes) -> str:
    with database.transaction() as session:
        return create_api_key(session, **({"name": "line 3", "project": "default"} | changes))


def _keys(database, project="default"):
    with database.reading() as session:
        return find_api_keys(session, get_project(session, project).id)


def test_a_key_stands_for_its_project(access, plant):
    caller = access.caller_of_key(_create(plant, project="other"))
    assert (caller.kind, caller.name, caller.project, caller.component) == ("key", "line 3", "other", None)


def test_a_key_without_scopes_writes_and_reads_measurements_and_events(access, plant):
    caller = access.caller_of_key(_create(plant))
    assert caller.scopes == {
        Scope.MEASUREMENTS_WRITE,
        Scope.MEASUREMENTS_READ,
        Scope.EVENTS_WRITE,
        Scope.EVENTS_READ,
    }
    assert not any(caller.may(scope) for scope in (Scope.USER, Scope.MANAGER, Scope.ADMIN, Scope.REPORTS_READ))


def test_a_key_holds_just_the_scopes_it_was_given(access, plant):
    caller = access.caller_of_key(_create(plant, scopes=["measurements:read"], component="Förderband 3"))
    assert (caller.scopes, caller.component) == ({Scope.MEASUREMENTS_READ}, "Förderband 3")


def test_only_the_hash_and_8_characters_of_a_key_are_stored(plant):
    key = _create(plant)
    with plant.reading() as session:
        row = session.scalars(select(ApiKey)).one()
        stored = [str(getattr(row, column.key)) for column in ApiKey.__table__.columns]
    assert row.shown == key[:8]
    assert not any(key[8:20] in text for text in stored)
    assert len(row.key_hash) == 64


def test_a_revoked_key_is_refused_within_a_second(access, plant, clock):
    key = _create(plant)
    access.caller_of_key(key)
    [view] = _keys(plant)
    with plant.transaction() as session:
        revoke_api_key(session, get_project(session, "default").id, view.id)
    clock.now_s += 1.0
    with pytest.raises(Unauthenticated):
        access.caller_of_key(key)
    assert _keys(plant)[0].revoked_at is not None


def test_a_key_made_after_it_was_asked_for_works_within_a_second(access, plant, clock, monkeypatch):
    key = make_key()
    with pytest.raises(Unauthenticated):
        access.caller_of_key(key)
    monkeypatch.setattr("gaugehouse.access.api_keys.make_key", lambda: key)
    _create(plant)
    clock.now_s += 1.0
    assert access.caller_of_key(key).name == "line 3"


def test_an_expired_key_is_refused_also_from_memory(access, plant):
    key = _create(plant, expires_at=datetime.now(UTC) + timedelta(seconds=1.5))
    access.caller_of_key(key)
    time.sleep(1.51)
    with pytest.raises(Unauthenticated):  # the clock of remembered answers stands still here
        access.caller_of_key(key)


@pytest.mark.parametrize("key", ["", "ghk_", "x", "\ud800", "ghk_" + "0" * 36, "Bearer x", "ключ" * 10])
def test_texts_that_are_no_keys_are_refused(access, key):
    with pytest.raises(Unauthenticated) as caught:
        access.caller_of_key(key)
    assert caught.value.code == "api_key_refused"


def test_an_unknown_well_formed_key_is_refused(access):
    with pytest.raises(Unauthenticated):
        access.caller_of_key(make_key())


@pytest.mark.parametrize("scope", ["user", "manager", "admin", "nonsense", ""])
def test_a_key_opens_no_user_session(plant, scope):
    with pytest.raises(Refused):
        _create(plant, scopes=["measurements:read", scope])


def test_a_key_of_one_component_reads_no_reports(plant):
    with pytest.raises(Refused):
        _create(plant, scopes=["reports:read"], component="pump-1")


@pytest.mark.parametrize("changes", [{"name": ""}, {"name": "a\nb"}, {"component": " pump"}])
def test_a_key_with_a_bad_name_is_refused(plant, changes):
    with pytest.raises(Refused):
        _create(plant, **changes)


def test_a_key_of_another_project_cannot_be_revoked(plant):
    _create(plant)
    [view] = _keys(plant)
    with plant.transaction() as session, pytest.raises(NotFound):
        revoke_api_key(session, get_project(session, "other").id, view.id)
    with plant.transaction() as session, pytest.raises(NotFound):
        create_api_key(session, name="x", project="nowhere")


def _add(database, *, owner=None, project="default", **wanted):
    with database.transaction() as session:
        owner_id = None if owner is None else get_user(session, owner).id
        new = NewApiKey(**({"name": "laptop"} | wanted))
        return add_api_key(session, new, project_id=get_project(session, project).id, owner_id=owner_id)


def _rotate(database, key_id, overlap_s, *, project="default", owner=None):
    with database.transaction() as session:
        owner_id = None if owner is None else get_user(session, owner).id
        project_id = get_project(session, project).id
        return rotate_api_key(session, project_id, key_id, overlap_s=overlap_s, owner_id=owner_id)


def test_a_key_of_one_component_writes_and_reads_its_status_and_target_only(access, plant):
    caller = access.caller_of_key(_add(plant, component="pump").key)
    assert caller.scopes == {Scope.MEASUREMENTS_WRITE, Scope.EVENTS_WRITE, Scope.STATUS_READ, Scope.FIRMWARE_READ}


def test_a_read_only_key_reads(access, plant):
    caller = access.caller_of_key(_add(plant, is_read_only=True).key)
    assert caller.scopes == {Scope.MEASUREMENTS_READ, Scope.EVENTS_READ}
    for scope in ("measurements:write", "events:write", "reports:write"):
        with pytest.raises(Refused):
            _add(plant, is_read_only=True, scopes=[scope])


def test_a_key_that_has_ended_before_it_is_made_is_refused(plant):
    with pytest.raises(Refused) as caught:
        _add(plant, expires_at=datetime.now(UTC) - timedelta(seconds=10))
    assert caught.value.code == "expiry_refused"


def test_after_a_rotation_both_keys_count_until_the_overlap_ends(access, plant, clock):
    old = _add(plant, component="pump", scopes=["events:write"])
    new = _rotate(plant, old.view.id, 1.0)
    assert access.caller_of_key(old.key).component == "pump"
    caller = access.caller_of_key(new.key)
    assert (caller.name, caller.component, caller.scopes) == ("laptop", "pump", {Scope.EVENTS_WRITE})
    time.sleep(1.05)
    with pytest.raises(Unauthenticated):
        access.caller_of_key(old.key)
    assert access.caller_of_key(new.key).id == new.view.id
    ended = next(one for one in _keys(plant) if one.id == old.view.id)
    assert ended.successor_id == new.view.id


def test_a_rotation_without_overlap_ends_the_older_key_within_a_second(access, plant, clock):
    old = _add(plant)
    access.caller_of_key(old.key)
    _rotate(plant, old.view.id, 0)
    clock.now_s += 1.0
    with pytest.raises(Unauthenticated):
        access.caller_of_key(old.key)


def test_a_rotation_lengthens_no_life(plant):
    soon = datetime.now(UTC) + timedelta(hours=1)
    old = _add(plant, expires_at=soon)
    new = _rotate(plant, old.view.id, 7200)
    assert new.view.expires_at == soon
    assert {one.expires_at for one in _keys(plant)} == {soon}


def test_a_key_is_replaced_once_and_not_after_its_end(plant):
    old = _add(plant)
    _rotate(plant, old.view.id, 60)
    with pytest.raises(AlreadyExists):
        _rotate(plant, old.view.id, 60)
    ended = _add(plant)
    with plant.transaction() as session:
        revoke_api_key(session, get_project(session, "default").id, ended.view.id)
    with pytest.raises(AlreadyExists):
        _rotate(plant, ended.view.id, 60)


@pytest.mark.parametrize("overlap_s", [-1, 31 * 86_400, float("nan")])
def test_an_overlap_that_makes_no_sense_is_refused(plant, overlap_s):
    old = _add(plant)
    with pytest.raises(Refused):
        _rotate(plant, old.view.id, overlap_s)


def test_keys_of_other_projects_and_other_members_are_not_there(plant):
    elsewhere, monas = _add(plant, project="other"), _add(plant, owner="mona")
    for key_id in (elsewhere.view.id, monas.view.id, "key_none", "", "\x00"):
        with pytest.raises(NotFound):
            _rotate(plant, key_id, 60)
    for key_id in (elsewhere.view.id, monas.view.id):
        with pytest.raises(NotFound):
            _rotate(plant, key_id, 60, owner="vera")
    assert _rotate(plant, monas.view.id, 60, owner="mona").view.owner == "mona"


def test_many_keys_are_asked_for_at_once_and_always_anew(access, plant):
    keys = [_create(plant, component=f"pump-{number}") for number in range(3)]
    personal = _add(plant, owner="mona").key
    callers = access.callers_of_keys([keys[2], "nonsense", keys[0], make_key(), personal, keys[2]])
    assert [caller and caller.name for caller in callers] == ["line 3", None, "line 3", None, "mona/laptop", "line 3"]
    assert [caller and caller.component for caller in callers] == ["pump-2", None, "pump-0", None, None, "pump-2"]
    [view] = [one for one in _keys(plant) if one.component == "pump-0"]
    with plant.transaction() as session:
        revoke_api_key(session, get_project(session, "default").id, view.id)
    assert [caller is None for caller in access.callers_of_keys([keys[0], keys[1]])] == [True, False]
    assert access.callers_of_keys([]) == []
    with pytest.raises(Unauthenticated):  # what was asked is remembered for the others
        access.caller_of_key(keys[0])
    with plant.transaction() as session:
        disable_user(session, name="mona")
    assert access.callers_of_keys([personal]) == [None]


def test_the_use_of_a_key_is_written_down_at_most_once_a_minute(access, plant, clock):
    key = _add(plant).key
    assert _keys(plant)[0].last_used_at is None
    for _ in range(100):
        access.caller_of_key(key)
    assert access.write_key_uses() == 1
    first = _keys(plant)[0].last_used_at
    assert timedelta(0) <= datetime.now(UTC) - first < timedelta(minutes=1)
    access.caller_of_key(key)
    clock.now_s += 59
    assert access.write_key_uses() == 0
    assert _keys(plant)[0].last_used_at == first
    clock.now_s += 2
    assert access.write_key_uses() == 1
    assert _keys(plant)[0].last_used_at > first
    access.caller_of_key(key)
    assert access.write_key_uses(is_last=True) == 1
    assert access.write_key_uses(is_last=True) == 0


def test_asking_for_a_key_waits_for_no_writer(access, plant, clock):
    key = _add(plant).key
    access.caller_of_key(key)
    with plant.transaction():  # the database is somebody else's: SQLite has one writer
        for _ in range(1000):
            access.caller_of_key(key)


def test_refused_keys_have_no_use(access, plant, clock):
    made = _add(plant)
    with plant.transaction() as session:
        revoke_api_key(session, get_project(session, "default").id, made.view.id)
    with pytest.raises(Unauthenticated):
        access.caller_of_key(made.key)
    assert access.write_key_uses() == 0


def test_a_personal_key_may_what_it_was_given_and_its_owner_may_now(access, plant, clock):
    key = _add(plant, owner="mona", scopes=["measurements:write", "measurements:read", "reports:read"]).key
    caller = access.caller_of_key(key)
    assert (caller.kind, caller.name, caller.project) == ("key", "mona/laptop", "default")
    assert caller.may(Scope.MEASUREMENTS_WRITE)
    assert not any(caller.may(scope) for scope in (Scope.USER, Scope.MANAGER, Scope.ACCOUNT, Scope.EVENTS_WRITE))
    with plant.transaction() as session:
        grant_role(session, name="mona", project="default", role="viewer")
    clock.now_s += 1.0
    assert access.caller_of_key(key).scopes == {Scope.MEASUREMENTS_READ}
    with plant.transaction() as session:
        grant_role(session, name="mona", project="default", role="admin")
    clock.now_s += 1.0
    assert Scope.MEASUREMENTS_WRITE in access.caller_of_key(key).scopes


def test_nobody_makes_a_personal_key_for_more_than_they_may(plant):
    with pytest.raises(Refused) as caught:
        _add(plant, owner="vera", scopes=["measurements:write"])
    assert caught.value.code == "scope_refused"
    with pytest.raises(NotFound):
        _add(plant, owner="otto")


def test_who_is_kept_out_leaves_no_key_for_the_day_they_are_let_in(plant):
    """Their token counts for up to a second after they were disabled."""
    with plant.transaction() as session:
        disable_user(session, name="mona")
    with pytest.raises(NotFound):
        _add(plant, owner="mona")


def test_a_key_that_is_made_while_its_owner_goes_ends_with_the_others(plant, database_url):
    if not database_url.startswith("postgresql"):
        pytest.skip("SQLite lets one write at a time")
    for end, arguments in ((end_membership, {"project": "default"}), (disable_user, {})):
        with plant.transaction() as session:
            if find_role(session, get_user(session, "mona").id, get_project(session, "default").id) is None:
                grant_role(session, name="mona", project="default", role="manager")
        other = type(plant).open(database_url)
        ending = threading.Thread(target=_end_in, args=(other, end, arguments))
        with plant.transaction() as session:
            project_id, owner_id = get_project(session, "default").id, get_user(session, "mona").id
            made = add_api_key(session, NewApiKey(name="laptop"), project_id=project_id, owner_id=owner_id)
            ending.start()
            time.sleep(0.5)  # it has got as far as it gets
        ending.join(timeout=20)
        other.dispose()
        with plant.reading() as session:
            assert get_api_key(session, project_id, made.view.id).revoked_at is not None


def _end_in(database, end, arguments):
    with database.transaction() as session:
        end(session, name="mona", **arguments)


@pytest.mark.parametrize(
    ("end", "arguments"),
    [(end_membership, {"project": "default"}), (disable_user, {})],
    ids=["left the project", "disabled"],
)
def test_a_leavers_keys_end_within_a_second_in_every_process_and_do_not_come_back(
    plant, database_url, clock, end, arguments
):
    own, other_database = Access(plant, bytes(32), 900, clock=clock), type(plant).open(database_url)
    other = Access(other_database, bytes(32), 900, clock=clock)
    key = _add(plant, owner="mona").key
    for access in (own, other):
        assert access.caller_of_key(key).name == "mona/laptop"
    with plant.transaction() as session:
        end(session, name="mona", **arguments)
    clock.now_s += 1.0
    for access in (own, other):
        with pytest.raises(Unauthenticated):
            access.caller_of_key(key)
    with plant.transaction() as session:
        get_user(session, "mona").disabled_at = None
        grant_role(session, name="mona", project="default", role="manager")
    clock.now_s += 1.0
    for access in (own, other):
        with pytest.raises(Unauthenticated):
            access.caller_of_key(key)
    other_database.dispose()


def test_lists_of_keys_go_on_page_by_page(plant):
    made = [_add(plant, name=f"key {number}", component="pump" if number % 2 else None) for number in range(5)]
    _add(plant, project="other")
    with plant.reading() as session:
        project_id, seen, cursor = get_project(session, "default").id, [], None
        while True:
            page = load_api_keys(session, project_id, limit=2, cursor=cursor)
            seen += [view.id for view in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert sorted(seen) == sorted(one.view.id for one in made)
        assert page.total == 5
        bound = load_api_keys(session, project_id, component="pump")
    assert {view.name for view in bound.items} == {"key 1", "key 3"}
