"""Keys of the recent past and of jumped clocks: never new for a stored key, and mostly no file needed."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from factories import measurement_batch
from gaugehouse.lake.known import SeriesIndex, rows_of_batch, rows_of_keys
from gaugehouse.lake.recent import RecentKeys, generation_of
from gaugehouse.lake.rows import MEASUREMENTS

MINUTE_US = 60_000_000
DAY_US = 86_400_000_000
NOON_US = 1_700_000_000_000_000
AMPLE_BYTES = 1_000_000

JUMP_US = st.sampled_from([
    0, 1, -1, 7, MINUTE_US // 2, MINUTE_US, MINUTE_US + 1, 3 * MINUTE_US, 5 * MINUTE_US, DAY_US, DAY_US + 1, -DAY_US,
])  # fmt: skip
DELIVERY = st.lists(st.tuples(st.sampled_from("abc"), JUMP_US), min_size=1, max_size=6)
STEP = st.one_of(
    st.tuples(st.just("deliver"), st.sampled_from([1, 1000, MINUTE_US, 2 * MINUTE_US, DAY_US]), DELIVERY),
    st.tuples(st.just("restart"), st.sampled_from([0, 1, MINUTE_US]), st.just([])),
)


class Stored:
    """What the files of one project hold, and a memory of it that starts anew as a lake does."""

    def __init__(self, limit_bytes):
        self.limit_bytes = limit_bytes
        self.received = {}
        self.restart(0)

    def restart(self, now_us):
        self.index = SeriesIndex(MEASUREMENTS)
        self.recent = RecentKeys(self.index, self.limit_bytes)
        if not self.received:
            return
        newest = {}
        for component, t in self.received:
            newest[component] = max(t, newest.get(component, t))
        batch = measurement_batch([(component, "m", t, 1.0) for component, t in newest.items()])
        stamps = batch.column("measured_at")  # not what is asked here
        self.index.load_newest("p", batch.append_column("received_at", stamps))
        start_us = max(now_us, *self.received.values())
        ahead = [(component, "m", t, 1.0) for component, t in self.received if t > start_us]
        if len(ahead) <= self.recent.ahead_room:
            self.recent.load_ahead("p", rows_of_keys(self.index, "p", measurement_batch(ahead)), start_us)

    def may_be_stored(self, keys):
        rows = rows_of_batch(self.index, "p", measurement_batch([(component, "m", t, 1.0) for component, t in keys]))
        return self.recent.may_be_stored(rows).tolist()

    def flush(self, keys, received_us):
        batch = measurement_batch([(component, "m", t, 1.0) for component, t in keys])
        rows = rows_of_batch(self.index, "p", batch, received_us)
        self.index.claim(rows)
        self.recent.add(generation_of(rows))
        self.received |= dict.fromkeys(keys, received_us)
        assert self.recent.size_bytes() <= self.limit_bytes


@settings(max_examples=300)
@given(st.lists(STEP, max_size=25), st.sampled_from([100, 400, 900, AMPLE_BYTES]))
def test_a_stored_key_is_never_called_new_whatever_jumps_is_forgotten_or_restarts(steps, limit_bytes):
    stored, now_us = Stored(limit_bytes), NOON_US
    for step, passed_us, delivery in steps:
        now_us += passed_us
        if step == "restart":
            stored.restart(now_us)
        keys = list(dict.fromkeys((component, now_us + jump_us) for component, jump_us in delivery))
        asked = [*keys, *stored.received]
        if not asked:
            continue
        may_be_stored = dict(zip(asked, stored.may_be_stored(asked), strict=True))
        assert all(may_be_stored[key] for key in stored.received)
        fresh = [key for key in keys if key not in stored.received]
        if fresh:
            stored.flush(fresh, now_us)


def flush_minutes(stored, component, start_us, minutes):
    for minute in range(minutes):
        now_us = start_us + minute * MINUTE_US
        stored.flush([(component, now_us)], now_us)


def test_one_row_a_day_ahead_leaves_later_rows_of_its_series_provable_even_when_all_else_is_forgotten():
    stored = Stored(2_000)
    stored.flush([("a", NOON_US + DAY_US)], NOON_US)
    flush_minutes(stored, "a", NOON_US + MINUTE_US, 300)
    now_us = NOON_US + 302 * MINUTE_US
    assert stored.may_be_stored([("a", now_us), ("a", NOON_US + DAY_US)]) == [False, True]
    assert stored.may_be_stored([("a", NOON_US + MINUTE_US)]) == [True], "forgotten"


def test_a_restart_does_not_make_a_series_slow_whose_clock_has_jumped():
    stored = Stored(AMPLE_BYTES)
    stored.flush([("a", NOON_US + DAY_US), ("b", NOON_US)], NOON_US)
    stored.restart(NOON_US + MINUTE_US)
    later_us = NOON_US + 2 * MINUTE_US
    assert stored.may_be_stored([("a", later_us), ("b", later_us), ("a", NOON_US + DAY_US)]) == [False, False, True]


def test_time_that_catches_up_with_a_jumped_key_makes_it_one_like_all_others():
    stored = Stored(AMPLE_BYTES)
    room = stored.recent.ahead_room
    stored.flush([("a", NOON_US + DAY_US)], NOON_US)
    assert stored.recent.ahead_room == room - 1
    stored.flush([("b", NOON_US + DAY_US)], NOON_US + DAY_US)
    assert stored.recent.ahead_room == room
    assert stored.may_be_stored([("a", NOON_US + DAY_US), ("a", NOON_US + DAY_US + 1)]) == [True, False]


def test_keys_ahead_that_find_no_room_are_remembered_like_others_and_make_their_series_slow_when_forgotten():
    stored = Stored(2_000)
    room = stored.recent.ahead_room
    jumped = [("a", NOON_US + DAY_US + n) for n in range(room + 5)]
    stored.flush(jumped, NOON_US)
    assert stored.recent.ahead_room == 0
    assert stored.may_be_stored([*jumped, ("a", NOON_US + 1)]) == [*[True] * len(jumped), False]
    flush_minutes(stored, "b", NOON_US + MINUTE_US, 300)
    now_us = NOON_US + 302 * MINUTE_US
    assert stored.may_be_stored([("a", now_us), ("b", now_us)]) == [True, False]
    assert all(stored.may_be_stored(jumped))


def test_clocks_a_little_ahead_are_not_jumped():
    rows = rows_of_batch(
        SeriesIndex(MEASUREMENTS), "p", measurement_batch([("a", "m", NOON_US + MINUTE_US, 1.0)]), NOON_US
    )
    assert generation_of(rows).ahead.t.size == 0
    assert generation_of(rows).newest_t.tolist() == [NOON_US + MINUTE_US]
    assert generation_of(rows.take(np.empty(0, np.int64))).hashes.size == 0
