"""Sessions: refresh tokens that count once, and every way in which a session ends."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from gaugehouse.access import (
    Access,
    SessionLimits,
    disable_user,
    end_membership,
    end_session,
    end_sessions,
    grant_role,
    revoke_user,
    set_password,
)
from gaugehouse.access import sessions as session_rules
from gaugehouse.access.sessions import KEPT_GENERATIONS, REUSE_GRACE_S
from gaugehouse.database.tables import LoginSession, RefreshToken, User
from gaugehouse.errors import Unauthenticated

SECRET = bytes(range(32))
PASSWORD = "a long enough password"


@pytest.fixture
def reused():
    """Sessions that ended because a token came twice."""
    return []


@pytest.fixture
def refresh(access, reused):
    return lambda token: access.refresh_token(token, lambda _session, found: reused.append(found))


def sign_in(access, name="mona", **wanted):
    return access.issue_token(name, PASSWORD, **wanted)


def let_pass(plant, seconds, *columns):
    """Move what was written down of sessions and their tokens into the past."""
    with plant.transaction() as session:
        for table in (LoginSession, RefreshToken):
            for row in session.scalars(select(table)).all():
                for column in columns or ("created_at", "used_at", "replaced_at"):
                    if getattr(row, column, None) is not None:
                        setattr(row, column, getattr(row, column) - timedelta(seconds=seconds))


def count(plant, table):
    with plant.reading() as session:
        return session.scalar(select(func.count()).select_from(table))


def change(plant, act, **arguments):
    with plant.transaction() as session:
        return act(session, **arguments)


def test_each_refresh_token_buys_the_next_tokens(access, refresh):
    issued = [sign_in(access)]
    for _ in range(3):
        issued.append(refresh(issued[-1].refresh_token))
    assert len({one.refresh_token for one in issued}) == 4
    callers = [access.caller_of_token(one.access_token) for one in issued]
    assert {(caller.name, caller.project, caller.scopes) for caller in callers} == {
        ("mona", "default", frozenset({"user", "manager"}))
    }
    assert len({caller.session for caller in callers}) == 1


def test_only_hashes_are_stored(access, refresh, plant):
    tokens = [sign_in(access).refresh_token]
    tokens.append(refresh(tokens[0]).refresh_token)
    tokens.append(access.start_page_session("mona", PASSWORD).secret)
    with plant.reading() as session:
        rows = session.execute(select(RefreshToken.token_hash)).all() + session.execute(select(LoginSession)).all()
        stored = str(rows) + str([vars(row) for (row,) in session.execute(select(LoginSession)).all()])
    assert not [token for token in tokens if token in stored or token[4:] in stored]


def test_fewer_scopes_stay_fewer_and_a_lost_role_is_lost(access, refresh, plant):
    narrow, wide = sign_in(access, requested=["manager"]), sign_in(access)
    assert refresh(narrow.refresh_token).scopes == ("manager",)
    change(plant, grant_role, name="mona", project="default", role="viewer")
    assert refresh(wide.refresh_token).scopes == ("user",)


@pytest.mark.parametrize(
    "token",
    ["", "ghr_", "ghr_" + "0" * 43, "ghs_" + "0" * 43, "x" * 10_000, "ghr_" + "\0" * 43, "Förderband", "' OR 1"],
)
def test_what_is_no_refresh_token_is_refused_with_one_text(refresh, reused, token):
    with pytest.raises(Unauthenticated) as caught:
        refresh(token)
    assert caught.value.code == "refresh_refused"
    assert not reused


def test_a_token_that_comes_twice_ends_the_whole_family(access, refresh, plant, clock, reused):
    stolen = sign_in(access)
    other = sign_in(access)
    newest = refresh(stolen.refresh_token)
    let_pass(plant, REUSE_GRACE_S + 1)
    with pytest.raises(Unauthenticated):
        refresh(stolen.refresh_token)
    assert [one.user_name for one in reused] == ["mona"]
    with pytest.raises(Unauthenticated):
        refresh(newest.refresh_token)
    clock.now_s += 1.0
    for ended in (stolen, newest):
        with pytest.raises(Unauthenticated):
            access.caller_of_token(ended.access_token)
    assert access.caller_of_token(other.access_token).name == "mona"  # another session is none of it


def test_a_lost_answer_may_be_asked_for_again_for_a_moment(access, refresh, plant, reused):
    first = sign_in(access).refresh_token
    refresh(first)  # lost on its way
    refresh(first)  # and again
    third = refresh(first)
    let_pass(plant, REUSE_GRACE_S + 1)
    assert refresh(third.refresh_token).project == "default"
    assert not reused


def test_who_holds_the_answer_that_seemed_lost_ends_the_session(access, refresh, reused):
    first = sign_in(access).refresh_token
    lost = refresh(first).refresh_token
    again = refresh(first).refresh_token
    with pytest.raises(Unauthenticated):
        refresh(lost)
    assert len(reused) == 1
    with pytest.raises(Unauthenticated):
        refresh(again)


def test_the_grace_ends_when_somebody_uses_what_followed(access, refresh, reused):
    first = sign_in(access).refresh_token
    refresh(refresh(first).refresh_token)
    with pytest.raises(Unauthenticated):
        refresh(first)  # within ten seconds all the same
    assert len(reused) == 1


def test_an_idle_session_ends(access, refresh, plant):
    token = sign_in(access).refresh_token
    let_pass(plant, session_rules.IDLE_S - 10, "used_at")
    token = refresh(token).refresh_token  # which is a use
    let_pass(plant, session_rules.IDLE_S - 10, "used_at")
    token = refresh(token).refresh_token
    let_pass(plant, session_rules.IDLE_S, "used_at")
    with pytest.raises(Unauthenticated):
        refresh(token)


def test_a_session_ends_at_last_however_busy_it_is(access, refresh, plant):
    token = sign_in(access).refresh_token
    let_pass(plant, session_rules.LIFETIME_S - 10, "created_at")
    token = refresh(token).refresh_token
    let_pass(plant, 10, "created_at")
    with pytest.raises(Unauthenticated):
        refresh(token)


ENDS = {
    "signed out": lambda session, caller: end_session(session, caller.session),
    "ended by an admin": lambda session, caller: end_sessions(session, user_id=caller.id, project_id=caller.project_id),
    "revoked": lambda session, caller: revoke_user(session, name=caller.name),
    "password changed": lambda session, caller: set_password(
        session, name=caller.name, password="another long enough one"
    ),
    "disabled": lambda session, caller: disable_user(session, name=caller.name),
    "membership ended": lambda session, caller: end_membership(session, name=caller.name, project="default"),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_session_that_ended_opens_nothing_within_a_second(access, refresh, plant, clock, end):
    issued, page = sign_in(access), access.start_page_session("mona", PASSWORD)
    other = Access(plant, SECRET, 900, clock=clock)
    caller = access.caller_of_token(issued.access_token)
    page_caller = access.caller_of_cookie(page.secret)
    for door in (access, other):
        assert door.caller_of_token(issued.access_token).name == door.caller_of_cookie(page.secret).name == "mona"
    with plant.transaction() as session:
        for one in (caller, page_caller):
            end(session, one)
            if end is ENDS["membership ended"]:
                break
    with pytest.raises(Unauthenticated):
        refresh(issued.refresh_token)
    clock.now_s += 1.0
    for door in (access, other):
        with pytest.raises(Unauthenticated):
            door.caller_of_token(issued.access_token)
        with pytest.raises(Unauthenticated):
            door.caller_of_cookie(page.secret)


def test_signing_out_ends_this_session_only(access, refresh, plant, clock):
    here, there = sign_in(access), sign_in(access)
    change(plant, end_session, session_id=access.caller_of_token(here.access_token).session)
    clock.now_s += 1.0
    with pytest.raises(Unauthenticated):
        access.caller_of_token(here.access_token)
    assert access.caller_of_token(there.access_token).name == "mona"
    assert refresh(there.refresh_token).project == "default"


def test_an_admin_ends_the_sessions_of_one_project_only(access, plant, clock):
    change(plant, grant_role, name="otto", project="default", role="viewer")
    default, other = (sign_in(access, "otto", project=project) for project in ("default", "other"))
    caller = access.caller_of_token(default.access_token)
    assert change(plant, end_sessions, user_id=caller.id, project_id=caller.project_id) == 1
    clock.now_s += 1.0
    with pytest.raises(Unauthenticated):
        access.caller_of_token(default.access_token)
    assert access.caller_of_token(other.access_token).project == "other"


def test_a_changed_password_keeps_the_session_that_changed_it(access, refresh, plant):
    mine, other = sign_in(access), sign_in(access)
    kept = access.caller_of_token(mine.access_token).session
    change(plant, set_password, name="mona", password="another long enough one", keep_session=kept)
    assert access.caller_of_token(refresh(mine.refresh_token).access_token).name == "mona"
    with pytest.raises(Unauthenticated):
        refresh(other.refresh_token)


def test_nobody_keeps_the_session_of_another_user(access, refresh, plant):
    stranger = access.caller_of_token(sign_in(access, "vera").access_token).session
    mine = sign_in(access)
    change(plant, set_password, name="mona", password="another long enough one", keep_session=stranger)
    with pytest.raises(Unauthenticated):
        refresh(mine.refresh_token)


def test_a_busy_family_keeps_a_bounded_number_of_used_tokens(access, refresh, plant):
    token = sign_in(access).refresh_token
    for _ in range(KEPT_GENERATIONS + 5):
        token = refresh(token).refresh_token
    assert count(plant, RefreshToken) == KEPT_GENERATIONS + 1


def test_of_too_many_sessions_of_a_user_the_longest_unused_ends(access, refresh, plant, monkeypatch):
    monkeypatch.setattr(session_rules, "SESSIONS_PER_USER", 3)
    first = sign_in(access)
    let_pass(plant, 60)
    others = [sign_in(access) for _ in range(3)]
    assert count(plant, LoginSession) == 3
    with pytest.raises(Unauthenticated):
        refresh(first.refresh_token)
    assert refresh(others[0].refresh_token).project == "default"


def test_sessions_that_nobody_can_use_are_dropped(access, plant):
    sign_in(access)
    let_pass(plant, session_rules.IDLE_S)
    sign_in(access, "vera")
    with plant.transaction() as session:
        session.execute(update(User).where(User.name == "vera").values(token_version=7))
    kept = sign_in(access)
    assert access.drop_expired_sessions() == 2
    assert access.caller_of_token(kept.access_token).name == "mona"
    assert count(plant, RefreshToken) == 1


def test_a_cookie_stands_for_its_user_with_all_scopes(access, plant, clock):
    started = access.start_page_session("mona", PASSWORD)
    caller = access.caller_of_cookie(started.secret)
    assert (caller.name, caller.session, caller.scopes) == ("mona", started.id, {"user", "manager"})
    change(plant, grant_role, name="mona", project="default", role="viewer")
    clock.now_s += 1.0
    assert access.caller_of_cookie(started.secret).scopes == {"user"}


def test_a_cookie_that_is_used_does_not_idle_out(access, plant, clock):
    cookie = access.start_page_session("mona", PASSWORD).secret
    for _ in range(3):
        let_pass(plant, session_rules.IDLE_S - 10, "used_at")
        clock.now_s += 1.0
        assert access.caller_of_cookie(cookie).name == "mona"
    let_pass(plant, session_rules.IDLE_S, "used_at")
    clock.now_s += 1.0
    with pytest.raises(Unauthenticated):
        access.caller_of_cookie(cookie)


@pytest.mark.parametrize("cookie", ["", "ghs_" + "0" * 43, "ghr_" + "0" * 43, "x" * 10_000, "ghs_" + "é" * 43])
def test_what_is_no_cookie_of_ours_is_refused(access, cookie):
    with pytest.raises(Unauthenticated):
        access.caller_of_cookie(cookie)


def test_the_two_kinds_of_secrets_are_not_mixed_up(access, refresh):
    issued, page = sign_in(access), access.start_page_session("mona", PASSWORD)
    for wrong in (issued.refresh_token, issued.access_token, "ghs_" + issued.refresh_token[4:]):
        with pytest.raises(Unauthenticated):
            access.caller_of_cookie(wrong)
    for wrong in (page.secret, "ghr_" + page.secret[4:], issued.access_token):
        with pytest.raises(Unauthenticated):
            refresh(wrong)
    for wrong in (issued.refresh_token, page.secret):
        with pytest.raises(Unauthenticated):
            access.caller_of_token(wrong)


def test_shorter_limits_hold_for_sessions_that_there_are(access, plant):
    issued = sign_in(access)
    let_pass(plant, 120)
    strict = Access(plant, SECRET, 900, sessions=SessionLimits(lifetime_s=3600, idle_s=60))
    with pytest.raises(Unauthenticated):
        strict.refresh_token(issued.refresh_token, lambda *_: None)
