import statistics
import time

import pytest
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from sqlalchemy import select, update

from gaugehouse.access import (
    Access,
    Scope,
    create_user,
    disable_user,
    enable_user,
    end_membership,
    ensure_demo_users,
    grant_role,
    has_users,
    set_password,
)
from gaugehouse.access.passwords import verify_password
from gaugehouse.database import new_id
from gaugehouse.database.tables import Project, User
from gaugehouse.errors import AlreadyExists, Forbidden, NotFound, Refused, Unauthenticated

SECRET = bytes(range(32))
PASSWORD = "a long enough password"


def _change(database, change, **arguments):
    with database.transaction() as session:
        change(session, **arguments)


@pytest.mark.parametrize(
    ("name", "requested", "granted"),
    [
        ("vera", [], ["user"]),
        ("vera", ["user"], ["user"]),
        ("mona", [], ["user", "manager"]),
        ("mona", ["user"], ["user"]),
        ("mona", ["manager"], ["manager"]),
        ("mona", ["manager", "user"], ["user", "manager"]),
        ("otto", [], ["user", "manager", "admin"]),
    ],
)
def test_a_token_holds_what_was_requested_or_everything_held(access, name, requested, granted):
    issued = access.issue_token(name, PASSWORD, requested)
    caller = access.caller_of_token(issued.access_token)
    assert list(issued.scopes) == granted
    assert caller.scopes == set(granted)
    assert (caller.kind, caller.name, caller.project) == ("user", name, issued.project)
    assert issued.expires_in_s == 900


@pytest.mark.parametrize(
    ("name", "requested"),
    [
        ("vera", ["manager"]),
        ("vera", ["user", "manager"]),
        ("mona", ["admin"]),
        ("mona", ["measurements:write"]),
        ("otto", ["nonsense"]),
    ],
)
def test_a_scope_that_is_not_held_is_not_granted(access, name, requested):
    with pytest.raises(Forbidden) as caught:
        access.issue_token(name, PASSWORD, requested)
    assert caught.value.code == "scope_not_granted"


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("mona", "a wrong password"),
        ("mona", ""),
        ("mona", "x" * 100_000),
        ("nobody", PASSWORD),
        ("", PASSWORD),
        ("mo\x00na", PASSWORD),
        ("\ud800", PASSWORD),
        ("Mona", PASSWORD),
        ("mona' OR 1=1 --", PASSWORD),
        ("n" * 10_000, PASSWORD),
    ],
)
def test_every_wrong_login_gets_the_same_answer(access, name, password):
    with pytest.raises(Unauthenticated) as caught:
        access.issue_token(name, password, ["manager"])
    assert (caught.value.message, caught.value.code) == ("the user name or the password is wrong", "login_refused")


def test_an_unknown_user_costs_the_same_time_as_a_wrong_password(access, clock):
    def measure_s(name: str) -> float:
        clock.now_s += 1_000  # nobody is throttled here
        began_s = time.process_time()
        with pytest.raises(Unauthenticated):
            access.issue_token(name, "a wrong password")
        return time.process_time() - began_s

    times = [(measure_s("mona"), measure_s("nobody")) for _ in range(9)]
    known_s, unknown_s = (statistics.median(column) for column in zip(*times, strict=True))
    assert unknown_s == pytest.approx(known_s, rel=0.5)  # without the hash it would be a tenth


def test_a_project_that_is_not_yours_does_not_exist(access):
    for project in ("other", "nowhere", "\x00"):
        with pytest.raises(NotFound) as caught:
            access.issue_token("mona", PASSWORD, project=project)
        assert caught.value.message == "the project does not exist or is not yours"


def test_a_user_of_several_projects_gets_a_token_for_one(access, plant):
    _change(plant, grant_role, name="otto", project="default", role="viewer")
    assert access.issue_token("otto", PASSWORD).project == "default"
    other = access.issue_token("otto", PASSWORD, project="other")
    assert access.caller_of_token(other.access_token).may(Scope.ADMIN)
    default = access.caller_of_token(access.issue_token("otto", PASSWORD, project="default").access_token)
    assert default.scopes == {Scope.USER}
    assert default.project_id != access.caller_of_token(other.access_token).project_id


def test_a_user_of_several_projects_without_the_default_one_must_name_one(access, plant):
    with plant.transaction() as session:
        session.add(Project(id=new_id("prj"), slug="third"))
        session.flush()
        grant_role(session, name="otto", project="third", role="viewer")
    with pytest.raises(Refused) as caught:
        access.issue_token("otto", PASSWORD)
    assert caught.value.fields == {"projects": ["other", "third"]}


ENDS = {
    "disabled": (disable_user, {"name": "mona"}),
    "password changed": (set_password, {"name": "mona", "password": "another long password"}),
    "membership ended": (end_membership, {"name": "mona", "project": "default"}),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_token_ends_within_a_second(access, plant, clock, end):
    token = access.issue_token("mona", PASSWORD).access_token
    assert access.caller_of_token(token).name == "mona"
    change, arguments = end
    _change(plant, change, **arguments)
    clock.now_s += 0.5
    access.caller_of_token(token)  # a remembered answer, not older than a second
    clock.now_s += 0.5
    with pytest.raises(Unauthenticated):
        access.caller_of_token(token)


def test_a_changed_role_changes_the_tokens_within_a_second(access, plant, clock):
    token = access.issue_token("mona", PASSWORD).access_token
    assert access.caller_of_token(token).may(Scope.MANAGER)
    _change(plant, grant_role, name="mona", project="default", role="viewer")
    clock.now_s += 1.0
    caller = access.caller_of_token(token)
    assert caller.may(Scope.USER)
    assert not caller.may(Scope.MANAGER)
    _change(plant, grant_role, name="mona", project="default", role="admin")
    clock.now_s += 1.0
    assert access.caller_of_token(token).scopes == {Scope.USER, Scope.MANAGER}  # never more than was issued


def test_old_tokens_of_a_disabled_user_stay_ended(access, plant, clock):
    token = access.issue_token("mona", PASSWORD).access_token
    _change(plant, disable_user, name="mona")
    with pytest.raises(Unauthenticated):
        access.issue_token("mona", PASSWORD)
    _change(plant, enable_user, name="mona")
    clock.now_s += 1.0
    with pytest.raises(Unauthenticated):
        access.caller_of_token(token)
    assert access.caller_of_token(access.issue_token("mona", PASSWORD).access_token).name == "mona"


def test_requests_in_one_second_ask_the_database_once(access, plant, clock):
    token = access.issue_token("mona", PASSWORD).access_token
    access.caller_of_token(token)
    with pytest.MonkeyPatch.context() as patch:
        for question in ("reading", "transaction"):
            patch.setattr(plant, question, None)  # any question to the database is an error
        for _ in range(1000):
            access.caller_of_token(token)
    clock.now_s += 1.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plant, "reading", None)
        with pytest.raises(TypeError):
            access.caller_of_token(token)


def test_a_token_of_another_installation_is_refused(access, plant):
    token = Access(plant, bytes(32), 900).issue_token("mona", PASSWORD).access_token
    with pytest.raises(Unauthenticated):
        access.caller_of_token(token)


def test_a_longer_lifetime_is_not_accepted_after_it_was_shortened(access, plant):
    token = Access(plant, SECRET, 86_400).issue_token("mona", PASSWORD).access_token
    with pytest.raises(Unauthenticated):
        access.caller_of_token(token)


def test_a_login_replaces_a_hash_of_older_parameters(access, plant):
    older = PasswordHash((Argon2Hasher(memory_cost=8192, time_cost=1, parallelism=1),)).hash(PASSWORD)
    with plant.transaction() as session:
        session.execute(update(User).where(User.name == "mona").values(password_hash=older))
    token = access.issue_token("mona", PASSWORD).access_token
    with plant.reading() as session:
        stored = session.scalars(select(User.password_hash).where(User.name == "mona")).one()
    assert "m=19456,t=2,p=1" in stored
    assert verify_password(PASSWORD, stored) == (True, None)
    assert access.caller_of_token(token).name == "mona"  # and nobody is logged out by it


def test_a_password_by_http_basic_gives_all_scopes(access):
    caller = access.caller_of_password("mona", PASSWORD)
    assert (caller.name, caller.project, caller.scopes) == ("mona", "default", {Scope.USER, Scope.MANAGER})
    with pytest.raises(Unauthenticated):
        access.caller_of_password("mona", "a wrong password")


def test_the_command_line_may_do_everything_in_one_project(access):
    caller = access.caller_of_token(access.issue_operator_token("other"))
    assert (caller.kind, caller.project) == ("operator", "other")
    assert all(caller.may(scope) for scope in Scope)
    with pytest.raises(NotFound):
        access.issue_operator_token("nowhere")


def test_demo_users_log_in_in_demo_mode_only(access, plant):
    _change(plant, ensure_demo_users)
    _change(plant, ensure_demo_users)
    demo = Access(plant, SECRET, 900, demo=True)
    token = demo.issue_token("manager", "manager").access_token
    assert demo.caller_of_token(token).scopes == {Scope.USER, Scope.MANAGER}
    assert demo.issue_token("user", "user").scopes == (Scope.USER,)
    with pytest.raises(Unauthenticated):
        access.issue_token("manager", "manager")
    with pytest.raises(Unauthenticated):
        access.caller_of_token(token)


def test_demo_users_do_not_count_as_users_and_give_way_to_real_ones(database, plant):
    with plant.transaction() as session:
        for user in session.scalars(select(User)).all():
            session.delete(user)
    with plant.transaction() as session:
        assert not has_users(session)
        ensure_demo_users(session)
        assert not has_users(session)
        create_user(session, name="manager", password=PASSWORD, role="admin", project="default")
        assert has_users(session)
        ensure_demo_users(session)
    real = Access(plant, SECRET, 900)
    assert Scope.ADMIN in real.issue_token("manager", PASSWORD).scopes
    with pytest.raises(Unauthenticated):
        Access(plant, SECRET, 900, demo=True).issue_token("manager", "manager")


def test_a_taken_name_is_a_conflict(plant):
    with plant.transaction() as session, pytest.raises(AlreadyExists):
        create_user(session, name="mona", password=PASSWORD, role="viewer", project="other")


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "a:b"},
        {"name": ""},
        {"name": " x"},
        {"name": "a\x00"},
        {"password": "short"},
        {"role": "king"},
        {"role": ""},
    ],
)
def test_a_user_that_could_not_work_is_refused(plant, changes):
    arguments = {"name": "nina", "password": PASSWORD, "role": "viewer", "project": "default"} | changes
    with plant.transaction() as session, pytest.raises(Refused):
        create_user(session, **arguments)


def test_a_user_of_no_project_is_not_found(plant):
    with plant.transaction() as session, pytest.raises(NotFound):
        create_user(session, name="nina", password=PASSWORD, role="viewer", project="nowhere")
