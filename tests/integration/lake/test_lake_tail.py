"""A tail on a real lake: rows come from many threads, segments are sealed, flushed and gone, nothing is missed unsaid."""

import threading
import time

import pytest

from factories import event_batch, measurement_batch
from gaugehouse.lake import NOTHING_YET, Span

SENDERS, DELIVERIES, ROWS = 4, 25, 10
LIMITS = {"limit_rows": 1000, "limit_bytes": 1 << 20}


@pytest.fixture
def tail(lake):
    lake.tail.open()
    yield lake.tail
    lake.tail.close()


def send(lake, sender):
    for number in range(DELIVERIES):
        first = number * ROWS
        rows = [(f"c{sender}", "m", first + offset, float(first + offset)) for offset in range(ROWS)]
        lake.append_measurements("plant", measurement_batch(rows))
        lake.append_events("plant", event_batch([(f"c{sender}", "alarm", first, {"n": 1})]))


def test_every_row_is_counted_and_every_event_told_while_segments_come_and_go(lake, tail):
    watched, alarms = tail.watch("measurements", "plant"), tail.watch("events", "plant", topics=["alarm"])
    elsewhere = tail.watch("measurements", "elsewhere")
    position, known, events = tail.look(watched).through_us, {}, []
    senders = [threading.Thread(target=send, args=(lake, number)) for number in range(SENDERS)]
    for sender in senders:
        sender.start()
    ends_s = time.monotonic() + 60
    while time.monotonic() < ends_s:
        is_last = not any(sender.is_alive() for sender in senders)
        look = tail.look(watched)
        for row in tail.newest_since(watched, position).to_pylist():
            known[row["component"]] = row["value"]
        span = Span(since_us=position, through_us=look.through_us)
        found = tail.events_in(alarms, span, **LIMITS)
        assert found.whole_from_us <= position
        events += [(row["component"], row["occurred_at"]) for row in found.rows.to_pylist()]
        position = look.through_us
        if is_last:
            break
        lake._sequencer.seal()
        lake._flush_wanted.set()
    assert look.rows == SENDERS * DELIVERIES * ROWS
    assert known == {f"c{number}": DELIVERIES * ROWS - 1.0 for number in range(SENDERS)}
    assert len(events) == len(set(events)) == SENDERS * DELIVERIES
    assert tail.look(elsewhere).rows == 0


def test_segments_that_went_by_unseen_are_admitted_and_values_are_right_all_the_same(lake, tail):
    watched, alarms = tail.watch("measurements", "plant"), tail.watch("events", "plant")
    position = tail.look(watched).through_us
    for number in range(3):
        lake.append_measurements("plant", measurement_batch([("c", "m", number, float(number))]))
        lake.append_events("plant", event_batch([("c", "alarm", number, {})]))
        lake.flush()
    look = tail.look(watched)
    assert look.counted_from_us == look.through_us > position
    assert [row["value"] for row in tail.newest_since(watched, position).to_pylist()] == [2.0]
    found = tail.events_in(alarms, Span(since_us=position, through_us=look.through_us), **LIMITS)
    assert found.whole_from_us > position


def test_a_position_outlives_the_server(lakes):
    lake = lakes.open()
    lake.append_measurements("plant", measurement_batch([("a", "m", 1, 1.0), ("b", "m", 1, 1.0)]))
    lake.tail.open()
    position = lake.tail.look().through_us
    lake.append_measurements("plant", measurement_batch([("b", "m", 2, 2.0)]))
    lakes.crash(lake)
    lake = lakes.open()
    watched = lake.tail.watch("measurements", "plant")
    assert [row["component"] for row in lake.tail.newest_since(watched, position).to_pylist()] == ["b"]
    assert lake.tail.newest_since(watched, NOTHING_YET).num_rows == 2


def test_a_deleted_project_is_seen_no_more(lake, tail):
    lake.append_measurements("plant", measurement_batch([("a", "m", 1, 1.0)]))
    watched = tail.watch("measurements", "plant")
    assert tail.newest_since(watched, NOTHING_YET).num_rows == 1
    lake.delete_project("plant")
    assert tail.newest_since(watched, NOTHING_YET).num_rows == 0
