import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from gaugehouse.access import Scope, create_api_key, find_api_keys, revoke_api_key
from gaugehouse.access.api_keys import make_key
from gaugehouse.access.users import get_project
from gaugehouse.database.tables import ApiKey
from gaugehouse.errors import NotFound, Refused, Unauthenticated


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
    now = datetime.now(UTC)
    with pytest.raises(Unauthenticated):
        access.caller_of_key(_create(plant, expires_at=now - timedelta(seconds=1)))
    key = _create(plant, expires_at=now + timedelta(seconds=1))
    access.caller_of_key(key)
    time.sleep(1.01)
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
