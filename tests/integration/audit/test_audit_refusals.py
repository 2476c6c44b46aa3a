"""Refusals become few entries, whoever tries how often."""

import json
from dataclasses import replace

import pytest

from gaugehouse.audit import INSTALLATION, Heads, Refusals, Trail
from gaugehouse.audit.reading import walk_chain
from gaugehouse.audit.repeats import BURST_ENTRIES, WINDOW_S


class Clock:
    """Seconds that pass when a test says so."""

    now_s = 0.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def refusals(database, clock):
    return Refusals(database, clock)


@pytest.fixture
def somebody(tmp_path):
    heads = Heads(tmp_path / "secrets")
    return Trail(
        heads=heads, actor_kind="unknown", actor="unknown", project_id=None, source="192.0.2.7", request_id="r"
    )


def guess(refusals, somebody, name="ann", action="login.refuse"):
    refusals.note(somebody, action, kind="user", tried=name, name=name, details={"code": "login_refused"})


def details_of(database):
    return [json.loads(entry.details) for entry in walk_chain(database, INSTALLATION)]


def test_a_thousand_guesses_at_one_name_are_two_entries(database, refusals, somebody, clock):
    for _ in range(1_000):
        guess(refusals, somebody)
    clock.now_s = WINDOW_S
    guess(refusals, somebody)
    assert details_of(database) == [{"code": "login_refused"}, {"code": "login_refused", "repeats": 999}]


def test_what_nobody_repeats_is_told_when_its_minute_is_over(database, refusals, somebody, clock):
    guess(refusals, somebody)
    guess(refusals, somebody)
    refusals.settle()
    assert len(details_of(database)) == 1
    clock.now_s = WINDOW_S
    refusals.settle()
    refusals.settle()
    assert details_of(database) == [{"code": "login_refused"}, {"repeats": 1}]


def test_guesses_at_many_names_are_bounded_and_hide_no_sign_in(database, refusals, somebody, clock):
    for number in range(1_000):
        guess(refusals, somebody, name=f"name-{number}")
    guess(refusals, somebody, name="ann", action="login.accept")
    actions = [entry.action for entry in walk_chain(database, INSTALLATION)]
    assert actions.count("login.refuse") == BURST_ENTRIES
    assert actions[-1] == "login.accept"
    clock.now_s = 6.5  # one more is allowed
    guess(refusals, somebody, name="the next")
    assert details_of(database)[-1] == {"code": "login_refused", "others": 1_000 - BURST_ENTRIES}


def test_sign_ins_of_one_account_from_everywhere_hide_no_sign_in_of_another(database, refusals, somebody):
    """Whoever has a network of IPv6 has any number of addresses."""
    for number in range(200):
        mine = replace(somebody, actor_kind="user", actor="mallory", source=f"2001:db8::{number:x}")
        refusals.note(mine, "login.accept", kind="user", tried="", name="mallory")
    stolen = replace(somebody, actor_kind="user", actor="ann", source="2001:db8::ffff")
    refusals.note(stolen, "login.accept", kind="user", tried="", name="ann")
    actors = [entry.actor for entry in walk_chain(database, INSTALLATION)]
    assert actors.count("mallory") == BURST_ENTRIES
    assert actors[-1] == "ann"
