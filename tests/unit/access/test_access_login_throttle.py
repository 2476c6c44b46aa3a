"""Wrong passwords cost time: by account and address, the same for names that nobody has."""

import threading

import pytest

from gaugehouse.access.login_throttle import LoginThrottle
from gaugehouse.errors import Throttled, Unauthenticated, Unavailable


class Clock:
    def __init__(self):
        self.now_s = 1000.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


def refuse():
    raise Unauthenticated("wrong")


def guess(throttle, account="mona", address="192.0.2.1"):
    """One wrong password; returns how long to wait, 0 when it was looked at."""
    try:
        with throttle.attempt(account, address):
            refuse()
    except Throttled as exc:
        return exc.retry_after_s if exc.code == "login_throttled" else None
    except Unauthenticated:
        return 0


def succeed(throttle, account="mona", address="192.0.2.1"):
    with throttle.attempt(account, address):
        pass


def test_five_failures_are_free_then_the_delay_doubles_up_to_a_quarter_of_an_hour(clock):
    throttle, delays = LoginThrottle(clock), []
    for _ in range(5):
        assert guess(throttle) == 0
    for _ in range(13):
        delays.append(guess(throttle))
        clock.now_s += delays[-1]
        assert guess(throttle) == 0  # who waits as told is heard
    assert delays == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]


def test_a_thousand_guesses_within_a_minute_are_at_most_ten_looks(clock):
    throttle, looked_at = LoginThrottle(clock), 0
    for _ in range(1000):
        looked_at += guess(throttle) == 0
        clock.now_s += 0.0599
    assert 5 < looked_at <= 10


def test_a_thousand_guesses_at_once_get_no_further():
    throttle, together, looked_at = LoginThrottle(Clock()), threading.Barrier(50), []

    def ask():
        together.wait()
        for _ in range(20):
            try:
                with throttle.attempt("mona", "192.0.2.1"):
                    looked_at.append(1)
                    refuse()
            except (Throttled, Unauthenticated):
                pass

    threads = [threading.Thread(target=ask) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(looked_at) == 5


def test_the_owner_signs_in_from_another_address_while_the_account_is_attacked(clock):
    throttle = LoginThrottle(clock)
    for _ in range(1000):
        guess(throttle, address="203.0.113.66")
        clock.now_s += 0.01
    succeed(throttle, address="192.0.2.1")


def test_a_success_forgives_the_failures_before_it(clock):
    throttle = LoginThrottle(clock)
    for _ in range(3):
        for _ in range(4):
            assert guess(throttle) == 0
        succeed(throttle)


def test_one_address_has_twenty_failures_a_minute_over_all_accounts(clock):
    throttle = LoginThrottle(clock)
    waits = [guess(throttle, account=f"user{number}") for number in range(40)]
    assert waits == [0] * 20 + [60] * 20
    assert guess(throttle, account="another", address="192.0.2.2") == 0
    clock.now_s += 59
    assert guess(throttle, account="late") == 1
    clock.now_s += 1
    assert guess(throttle, account="late") == 0


def test_signing_in_rightly_is_never_too_often(clock):
    throttle = LoginThrottle(clock)
    for _ in range(100):
        succeed(throttle)
    assert not throttle._pairs
    assert not throttle._addresses


def test_what_fails_for_another_reason_is_no_attempt(clock):
    throttle = LoginThrottle(clock)
    for _ in range(100):
        with pytest.raises(Unavailable), throttle.attempt("mona", "192.0.2.1"):
            raise Unavailable("the database is away")
    assert guess(throttle) == 0


def test_names_nobody_has_are_treated_alike(clock):
    throttle = LoginThrottle(clock)
    assert [guess(throttle, "mona") for _ in range(8)] == [guess(throttle, "n" * 100_000) for _ in range(8)]


def test_whoever_has_an_ipv6_network_is_one_address(clock):
    throttle = LoginThrottle(clock)
    waits = [guess(throttle, address=f"2001:db8::{number:x}") for number in range(10)]
    assert waits == [0] * 5 + [1] * 5


def test_the_early_refusal_counts_nothing(clock):
    throttle = LoginThrottle(clock)
    for _ in range(100):
        throttle.refuse_early("mona", "192.0.2.1")
    for _ in range(5):
        guess(throttle)
    with pytest.raises(Throttled):
        throttle.refuse_early("mona", "192.0.2.1")


def test_memory_is_bounded_and_the_newest_stay(clock):
    throttle = LoginThrottle(clock, max_pairs=100, max_addresses=50)
    for number in range(1000):
        guess(throttle, account="mona", address=f"198.51.100.{number}"[:15])
        guess(throttle, account="mona", address=f"host{number}")
    assert len(throttle._pairs) <= 100
    assert len(throttle._addresses) <= 50
    for _ in range(5):
        guess(throttle, address="host999")
    assert guess(throttle, address="host999") > 0


def test_failures_are_forgotten_after_a_day(clock):
    throttle = LoginThrottle(clock)
    for _ in range(6):
        guess(throttle)
        clock.now_s += 1
    clock.now_s += 86_400
    assert [guess(throttle) for _ in range(5)] == [0] * 5


def refused_and_told(throttle, account="mona", address="192.0.2.1"):
    """What lock-outs were told of during ten attempts."""
    told = [throttle.find_new_lockout(account, address) for _ in range(10) if guess(throttle, account, address)]
    return [one for one in told if one is not None]


def test_a_lockout_is_told_of_once_until_a_success_or_an_hour_without_a_refusal(clock):
    throttle = LoginThrottle(clock)
    assert refused_and_told(throttle) == ["account"]
    clock.now_s += 3_000
    assert refused_and_told(throttle) == []  # the same one goes on
    clock.now_s += 3_700
    assert refused_and_told(throttle) == ["account"]
    clock.now_s += 1_000
    succeed(throttle)
    assert refused_and_told(throttle) == ["account"]


def test_an_address_that_tries_many_names_is_one_lockout(clock):
    throttle = LoginThrottle(clock)
    told = [kind for number in range(1_000) for kind in refused_and_told(throttle, f"name-{number}")]
    assert told == ["account"] * 4 + ["address"]


def test_attempts_that_are_merely_at_once_are_no_lockout(clock):
    throttle = LoginThrottle(clock)
    guess(throttle)
    assert throttle.find_new_lockout("mona", "192.0.2.1") is None
