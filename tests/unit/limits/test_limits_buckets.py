"""Buckets against a slow model, from many threads, and within a memory bound."""

import sys
import threading
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from gaugehouse.limits import Buckets, Rate

S = 1_000_000_000


class ClockNs:
    def __init__(self):
        self.now_ns = 5 * S

    def __call__(self):
        return self.now_ns


class SlowBucket:
    """The definition: a number of units that grows with time up to its quota."""

    def __init__(self, rate, now_ns):
        self.rate, self.units, self.seen_ns = rate, Fraction(rate.quota), now_ns

    def take(self, cost, now_ns):
        gained = Fraction((now_ns - self.seen_ns) * self.rate.quota, self.rate.window_s * S)
        self.units, self.seen_ns = min(Fraction(self.rate.quota), self.units + gained), now_ns
        if self.units < min(cost, self.rate.quota):
            return False
        self.units -= cost
        return True


# Windows that the quota divides in nanoseconds: there both are exact. Elsewhere a grant may be a few ns early.
EXACT = st.sampled_from([(1, 1), (5, 60), (20, 60), (600, 60), (1000, 1), (6000, 60)])


@given(
    EXACT,
    st.lists(st.tuples(st.integers(0, 90 * S), st.integers(1, 30), st.sampled_from("abc")), max_size=60),
)
def test_a_bucket_grants_exactly_what_its_definition_grants(shape, wishes):
    rate, clock = Rate(name="r", quota=shape[0], window_s=shape[1]), ClockNs()
    buckets, models = Buckets(clock_ns=clock), {}
    for wait_ns, cost, key in wishes:
        clock.now_ns += wait_ns
        model = models.setdefault(key, SlowBucket(rate, clock.now_ns))
        taken = buckets.take(rate, key, cost)
        assert taken.is_granted == model.take(cost, clock.now_ns)
        assert taken.remaining == max(0, model.units // 1)


@given(EXACT, st.lists(st.tuples(st.integers(0, 2 * S), st.integers(1, 9)), max_size=40))
def test_who_waits_as_long_as_told_is_served(shape, wishes):
    rate, clock = Rate(name="r", quota=shape[0], window_s=shape[1]), ClockNs()
    buckets = Buckets(clock_ns=clock)
    for wait_ns, cost in wishes:
        clock.now_ns += wait_ns
        taken = buckets.take(rate, "a", cost)
        if taken.is_granted:
            assert taken.retry_after_s == 0
            continue
        assert taken.retry_after_s >= 1
        clock.now_ns += (taken.retry_after_s - 1) * S
        if taken.retry_after_s > 1:
            assert not buckets.take(rate, "a", cost).is_granted  # and not much earlier
        clock.now_ns += S
        assert buckets.take(rate, "a", cost).is_granted


def test_what_is_larger_than_the_bucket_comes_once_and_is_paid_back():
    rate, clock = Rate(name="bytes", quota=100, window_s=10), ClockNs()
    buckets = Buckets(clock_ns=clock)
    assert buckets.take(rate, "a", 250).is_granted
    refused = buckets.take(rate, "a", 1)
    assert (refused.is_granted, refused.remaining, refused.reset_after_s, refused.retry_after_s) == (False, 0, 25, 16)


def test_a_charge_may_owe_and_is_remembered():
    rate, clock = Rate(name="bytes", quota=100, window_s=10), ClockNs()
    buckets = Buckets(clock_ns=clock)
    buckets.charge(rate, "a", 150)
    assert buckets.take(rate, "a").retry_after_s == 6
    assert buckets.take(rate, "b").is_granted


def test_rates_of_different_names_have_different_buckets():
    buckets = Buckets(clock_ns=ClockNs())
    assert buckets.take(Rate(name="reads", quota=1), "a").is_granted
    assert buckets.take(Rate(name="writes", quota=1), "a").is_granted
    assert not buckets.take(Rate(name="reads", quota=1), "a").is_granted


def test_threads_together_get_no_more_than_the_quota():
    rate, buckets, granted = Rate(name="r", quota=500), Buckets(clock_ns=ClockNs()), []

    def ask():
        granted.extend(buckets.take(rate, "a").is_granted for _ in range(300))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(granted), sum(granted)) == (2400, 500)


def test_a_million_addresses_take_a_few_megabytes_and_the_newest_stay():
    rate, buckets = Rate(name="refused", quota=1), Buckets(clock_ns=ClockNs())
    for number in range(100_000):  # the bound is reached after a fifth of it; a million would only take longer
        buckets.take(rate, f"198.51.{number}")
    assert len(buckets) == 20_000
    assert not buckets.take(rate, "198.51.99999").is_granted
    assert buckets.take(rate, "198.51.0").is_granted  # forgotten is full
    size_bytes = sys.getsizeof(buckets._full_at_ns) + sum(
        sys.getsizeof(name) + sys.getsizeof(name[1]) + sys.getsizeof(moment)
        for name, moment in buckets._full_at_ns.items()
    )
    assert size_bytes < 6_000_000


def test_use_keeps_a_bucket_from_being_forgotten():
    rate, buckets = Rate(name="r", quota=2), Buckets(clock_ns=ClockNs(), max_buckets=2)
    buckets.take(rate, "a")
    buckets.take(rate, "b")
    buckets.take(rate, "a")
    buckets.take(rate, "c")  # b was unused the longest
    assert buckets.take(rate, "a").retry_after_s > 0
