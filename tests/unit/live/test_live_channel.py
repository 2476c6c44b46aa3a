"""A channel against a model that is told everything: the newest wins, the last is never lost, bounds hold."""

import itertools
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factories import event_batch, measurement_batch
from gaugehouse.errors import Refused
from gaugehouse.lake.keyhash import NEVER
from gaugehouse.lake.known import rows_of_batch
from gaugehouse.lake.rows import EMPTY_ROWS
from gaugehouse.lake.sequencer import Segment, Sequencer
from gaugehouse.lake.tail import Tail
from gaugehouse.live import Channel, Events, Heartbeat, Measurements, Notice, ProgressWatch, Welcome, Wish
from gaugehouse.live import channel as channel_module
from gaugehouse.measurements.selection import to_epoch_us

PROJECTS = ("mine", "theirs")


class Lake:
    """The part of a lake that is in memory: rows are published as the sequencer does, segments come and go."""

    def __init__(self):
        self.sequencer = Sequencer(recent_keys_bytes=1 << 20, unflushed_limit_bytes=1 << 20, series_limit=1 << 20)
        self.sequencer.active = Segment(number=0)
        self.tail = Tail(self.sequencer, lambda _project: NEVER, events_kept=20)
        self.received_us = 1_000_000

    def _publish(self, table, project, batch):
        sequencer, active = self.sequencer, self.sequencer.active
        self.received_us += 1
        rows = rows_of_batch(sequencer.indexes[table], project, batch, self.received_us)
        sequencer.take_rows(active, dict(EMPTY_ROWS) | {table: rows}, self.received_us)
        sequencer.publish_segment(active, {name: hot.count for name, hot in active.hot.items()})
        sequencer.visible_through_us = self.received_us

    def measure(self, project, rows):
        """Publish (component, metric, measured_at [us], value)."""
        self._publish("measurements", project, measurement_batch(rows))

    def happen(self, project, component, kind, occurred_us):
        self._publish("events", project, event_batch([(component, kind, occurred_us, {"n": 1})]))

    def flush(self, times=1):
        """Seal and retire segments as often."""
        for _ in range(times):
            self.sequencer.active = Segment(number=self.sequencer.active.number + 1)


class Clock:
    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


class NoReports:
    def follow(self, _ids):
        pass

    leave = follow


def channel_of(lake, clock=None, **wish):
    return Channel(lake.tail, NoReports(), "mine", Wish(**wish), clock or Clock())


def told(messages):
    return [row for message in messages if isinstance(message, Measurements) for row in message.rows.to_pylist()]


@dataclass
class Model:
    """What a reader should know: of each series the row with the greatest instant."""

    newest: dict = field(default_factory=dict)
    came: int = 0

    def take_all(self, project, rows, components, metrics):
        for row in rows if project == "mine" else ():
            if (components is None or row[0] in components) and (metrics is None or row[1] in metrics):
                self.take(*row)

    def take(self, component, metric, measured_us, value):
        self.came += 1
        known = self.newest.get((component, metric))
        if known is None or measured_us > known[0]:
            self.newest[component, metric] = measured_us, value


COMPONENTS, METRICS = ("a", "b", "c"), ("m", "n")
ROW = st.tuples(st.sampled_from(COMPONENTS), st.sampled_from(METRICS), st.integers(0, 10_000))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("deliver"), st.sampled_from(PROJECTS), st.lists(ROW, min_size=1, max_size=20)),
        st.tuples(st.just("flush"), st.integers(1, 3)),
        st.tuples(st.just("tick")),
        st.tuples(st.just("look")),
    ),
    max_size=40,
)


@settings(max_examples=50)
@given(STEPS, st.sampled_from([None, ("a",), ("b", "c")]), st.sampled_from([None, ("m",)]), st.booleans())
def test_a_reader_knows_the_newest_value_of_every_series_it_follows_after_each_tick(
    steps, components, metrics, snapshot
):
    lake, clock, model, values = Lake(), Clock(), Model(), itertools.count()
    channel = channel_of(lake, clock, components=components, metrics=metrics, snapshot=snapshot)
    knows, positions, seen, counted = {}, [], set(), []

    def tick():
        clock.now_s += 1.0
        messages = channel.step()
        for row in told(messages):
            knows[row["component"], row["metric"]] = to_epoch_us(row["measured_at"]), row["value"]
        counted.extend(message.coalesced for message in messages if isinstance(message, Measurements))
        positions.extend(message.id for message in messages if getattr(message, "id", None) is not None)
        assert knows == model.newest

    tick()
    for name, *what in [*steps, ("tick",)]:
        if name == "deliver":
            project, rows = what
            fresh = [row for row in dict.fromkeys(rows) if (project, row) not in seen]
            seen.update((project, row) for row in fresh)
            numbered = [(*row, float(next(values))) for row in fresh]
            if numbered:
                lake.measure(project, numbered)
            model.take_all(project, numbered, components, metrics)
        elif name == "flush":
            lake.flush(what[0])
        elif name == "look":
            lake.tail.look()
        else:
            tick()
    assert positions == sorted(positions)
    if None not in counted:  # each row was told, or replaced by a newer one, or late
        assert channel.coalesced <= model.came


@settings(max_examples=50)
@given(st.lists(st.lists(ROW, min_size=1, max_size=10, unique=True), max_size=10))
def test_every_row_is_told_or_counted(deliveries):
    lake, clock, values = Lake(), Clock(), itertools.count()
    channel = channel_of(lake, clock)
    channel.step()
    seen, came, shown = set(), 0, 0
    for rows in deliveries:
        fresh = [(*row, float(next(values))) for row in rows if row not in seen]
        seen.update(rows)
        if fresh:
            lake.measure("mine", fresh)
        came += len(fresh)
        if came % 2:
            clock.now_s += 1.0
            shown += len(told(channel.step()))
    clock.now_s += 1.0
    shown += len(told(channel.step()))
    assert shown + channel.coalesced == came


def test_a_tick_comes_no_sooner_than_asked_for():
    lake, clock = Lake(), Clock()
    channel = channel_of(lake, clock, max_rate_hz=2.0)
    channel.step()
    for number in range(4):
        lake.measure("mine", [("a", "m", number, float(number))])
        assert told(channel.step()) == []
        clock.now_s += 0.1
    assert channel.wait_s == pytest.approx(0.1)
    clock.now_s += 0.1
    assert [row["value"] for row in told(channel.step())] == [3.0]


def test_a_late_row_is_counted_and_not_told():
    lake, clock = Lake(), Clock()
    channel = channel_of(lake, clock)
    channel.step()
    lake.measure("mine", [("a", "m", 50, 1.0)])
    clock.now_s += 1
    channel.step()
    lake.measure("mine", [("a", "m", 10, 2.0)])
    clock.now_s += 1
    assert told(channel.step()) == []
    assert channel.coalesced == 1


def test_large_answers_come_in_parts_and_only_the_last_has_a_position():
    lake = Lake()
    lake.measure("mine", [(f"c{number}", "m", 1, 1.0) for number in range(2_500)])
    welcome, *parts = channel_of(lake).step()
    assert welcome == Welcome(project="mine", max_rate_hz=1.0, series=2_500)
    assert [part.rows.num_rows for part in parts] == [1_000, 1_000, 500]
    assert [part.id for part in parts] == [None, None, lake.received_us]


def test_too_many_series_are_refused_at_first_and_later(monkeypatch):
    monkeypatch.setattr(channel_module, "SERIES_LIMIT", 2)
    lake, clock = Lake(), Clock()
    lake.measure("mine", [("a", "m", 1, 1.0), ("b", "m", 1, 1.0)])
    channel = channel_of(lake, clock)
    channel.step()
    lake.measure("mine", [("c", "m", 1, 1.0)])
    clock.now_s += 1
    with pytest.raises(Refused, match="more than 2 series"):
        channel.step()
    with pytest.raises(Refused, match="more than 2 series"):
        channel_of(lake)
    assert lake.tail._listeners == 1  # the refused one holds nothing


@settings(max_examples=50)
@given(st.lists(st.sampled_from(["mine alarm", "mine idle", "theirs alarm", "flush", "tick"]), max_size=40))
def test_events_arrive_once_and_in_order_or_their_loss_is_told(steps):
    lake, clock, numbers = Lake(), Clock(), itertools.count(1)
    channel = channel_of(lake, clock, measurements=False, kinds=("alarm",))
    channel.step()
    happened, heard, gaps = [], [], 0
    for step in [*steps, "tick"]:
        if step == "tick":
            clock.now_s += 1
            messages = channel.step()
            heard += [row["occurred_at"] for one in messages if isinstance(one, Events) for row in one.rows.to_pylist()]
            gaps += sum(isinstance(one, Notice) and one.code == "events_missed" for one in messages)
        elif step == "flush":
            lake.flush()
        else:
            project, kind = step.split()
            number = next(numbers)
            lake.happen(project, "a", kind, number)
            if (project, kind) == ("mine", "alarm"):
                happened.append(number)
    told_us = [to_epoch_us(at) for at in heard]
    assert told_us == sorted(set(told_us))
    assert set(told_us) <= set(happened)
    assert told_us == happened or gaps


def test_too_many_events_are_dropped_oldest_first_and_counted(monkeypatch):
    monkeypatch.setattr(channel_module, "EVENTS_PER_TICK", 3)
    lake, clock = Lake(), Clock()
    channel = channel_of(lake, clock, kinds=None, measurements=False)
    channel.step()
    for number in range(1, 6):
        lake.happen("mine", "a", "alarm", number)
    clock.now_s += 1
    (events,) = channel.step()
    assert [to_epoch_us(row["occurred_at"]) for row in events.rows.to_pylist()] == [3, 4, 5]
    assert (events.dropped, channel.dropped_events) == (2, 2)


def test_what_is_kept_of_events_is_bounded_and_the_gap_is_told():
    lake, clock = Lake(), Clock()
    channel = channel_of(lake, clock, kinds=None, measurements=False)
    channel.step()
    for number in range(1, 31):
        lake.happen("mine", "a", "alarm", number)
        lake.tail.look()  # as another reader does
    clock.now_s += 1
    notice, events = channel.step()
    assert notice.code == "events_missed"
    assert events.rows.num_rows == 20


def test_silence_is_broken_by_heartbeats_with_the_position():
    lake, clock = Lake(), Clock()
    lake.measure("mine", [("a", "m", 1, 1.0)])
    channel = channel_of(lake, clock)
    channel.step()
    heard = []
    for _ in range(64):
        clock.now_s += 0.5
        heard += channel.step()
    assert heard == [Heartbeat(id=lake.received_us)] * 2


def test_who_comes_back_gets_what_changed_since_and_a_made_up_position_gets_no_more():
    lake = Lake()
    lake.measure("mine", [("a", "m", 1, 1.0), ("b", "m", 1, 1.0)])
    before = lake.received_us
    lake.measure("mine", [("b", "m", 2, 2.0)])
    lake.flush(3)
    _welcome, changes = channel_of(lake, after_us=before).step()
    assert [(row["component"], row["value"]) for row in changes.rows.to_pylist()] == [("b", 2.0)]
    assert (changes.is_snapshot, changes.coalesced) == (False, None)
    assert len(channel_of(lake, after_us=lake.received_us + 10**9).step()) == 1


def test_nothing_is_held_when_nobody_listens():
    lake = Lake()
    channels = [channel_of(lake, kinds=None) for _ in range(2)]
    lake.happen("mine", "a", "alarm", 1)
    for one in channels:
        one.step()
        assert one.close()
        assert not one.close()
    assert lake.tail._place is None
    assert not lake.tail._kept
    assert lake.tail._rows_of.size == 0


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        ({"max_rate_hz": 0.05}, "rate_refused"),
        ({"max_rate_hz": 11}, "rate_refused"),
        ({"max_rate_hz": float("nan")}, "rate_refused"),
        ({"measurements": False}, "nothing_asked"),
        ({"reports": ("r",) * 101}, "too_many_reports"),
    ],
)
def test_wishes_out_of_bounds_are_refused(wish, code):
    with pytest.raises(Refused) as refused:
        channel_of(Lake(), **wish)
    assert refused.value.code == code


class Database:
    """Counts how often it is asked; `find_progress` is given in its place."""

    asked = 0

    def reading(self):
        self.asked += 1
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        return None


def test_reports_are_asked_about_once_a_second_for_all(monkeypatch):
    asked = []
    monkeypatch.setattr("gaugehouse.live.progress.find_progress", lambda _session, ids: asked.append(sorted(ids)) or {})
    clock = Clock()
    watch = ProgressWatch(Database(), clock)
    watch.follow(["a", "b"])
    watch.follow(["b", "c"])
    for _ in range(40):
        watch.find(["a"])
        watch.find(["b", "c"])
        clock.now_s += 0.1
    assert len(asked) == 4
    assert asked[0] == ["a", "b", "c"]
    watch.leave(["a", "b"])
    clock.now_s += 1
    watch.find(["b"])
    assert asked[-1] == ["b", "c"]
