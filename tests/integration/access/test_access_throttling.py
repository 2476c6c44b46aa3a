"""What guesses cost: hashes are counted, not timed; a known name and one that nobody has cost the same number."""

import pytest

from gaugehouse.access import access as door
from gaugehouse.errors import Throttled, Unauthenticated

PASSWORD = "a long enough password"


@pytest.fixture
def hashes(monkeypatch):
    """Every hash that is compared from now on; the comparison itself is as real as ever for the right password."""
    compared, compare = [], door.verify_password

    def count(password, password_hash):
        compared.append(password_hash)
        return compare(password, password_hash) if password == PASSWORD else (False, None)

    monkeypatch.setattr(door, "verify_password", count)
    return compared


def guess(access, name, address):
    try:
        access.issue_token(name, "a guess", address=address)
    except (Throttled, Unauthenticated) as exc:
        return exc.code, exc.message, exc.retry_after_s
    return None


def test_a_thousand_guesses_in_a_minute_cost_ten_hashes_and_the_owner_still_signs_in(access, clock, hashes):
    for _ in range(1000):
        guess(access, "mona", "203.0.113.66")
        clock.now_s += 0.0599
    assert 5 < len(hashes) <= 10
    assert access.issue_token("mona", PASSWORD, address="192.0.2.1").project == "default"
    assert access.caller_of_password("mona", PASSWORD, address="192.0.2.1").name == "mona"
    with pytest.raises(Throttled):  # every way that takes a password counts together
        access.caller_of_password("mona", PASSWORD, address="203.0.113.66")


def test_a_name_that_nobody_has_costs_and_answers_the_same_over_two_hundred_tries(access, clock, hashes):
    answers = {}
    for name, address in (("mona", "203.0.113.1"), ("nobody", "203.0.113.2")):
        before, told = len(hashes), []
        for _ in range(200):
            told.append(guess(access, name, address))
            clock.now_s += 2  # whole numbers: sums of them do not depend on where they begin
        answers[name] = (len(hashes) - before, told)
    assert answers["mona"] == answers["nobody"]


def test_two_hundred_tries_that_are_heard_each_compare_one_hash(access, clock, hashes):
    for name in ("mona", "nobody"):
        before = len(hashes)
        for _ in range(100):
            clock.now_s += 1000
            assert guess(access, name, "203.0.113.1")[0] == "login_refused"
        assert len(hashes) - before == 100
    assert len(set(hashes)) == 2  # the account's, and nobody's: of the same parameters
    assert len({stored.rsplit("$", 2)[0] for stored in hashes}) == 1
