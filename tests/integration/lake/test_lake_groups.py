"""Small deliveries in groups: each gets the receipt it would have got alone, in some order."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from factories import event_batch, measurement_batch
from gaugehouse.errors import Overloaded, Refused, Unavailable
from gaugehouse.lake import Delivery, gather
from gaugehouse.lake.groups import Waiting
from gaugehouse.measurements.few import FewMeasurements
from gaugehouse.measurements.selection import Selection

ALL = Selection(project="p")
ROW = st.tuples(st.sampled_from("ab"), st.sampled_from("mn"), st.integers(0, 8), st.sampled_from([1.0, 2.0]))


def few(rows):
    component, metric, at_us, value = (list(column) for column in zip(*rows, strict=True))
    return FewMeasurements(
        component=component, metric=metric, measured_at_us=at_us, value=value, quality=[0] * len(value)
    )


def delivery(rows, *, as_lists=False):
    return Delivery(batches={"measurements": few(rows) if as_lists else measurement_batch(rows)})


def rows_of(lake, table="measurements"):
    return lake.pin().read(ALL, "SELECT * FROM rows ORDER BY ALL", table=table).read_all().to_pylist()


def write_in_rounds(lake, deliveries):
    """Put deliveries through the sequencer as one group; return (number, outcome) in the order they were written.

    Those with questions join the next round.
    """
    waiting = [Waiting(delivery=one) for one in deliveries]
    written, open_ones = [], waiting
    while open_ones:
        position = lake._sequencer.write_group("p", open_ones)
        lake._sequencer.log.wait_durable(position)
        written += [
            (next(n for n, each in enumerate(waiting) if each is one), one.outcome)
            for one in open_ones
            if one.question is None
        ]
        open_ones = [one for one in open_ones if one.question is not None]
        lake._sequencer.look_up(open_ones)
    return written


def write_together(lake, deliveries):
    return [outcome for _number, outcome in sorted(write_in_rounds(lake, deliveries), key=lambda pair: pair[0])]


class Model:
    """First accepted wins; late is what is not newer than everything accepted of its series."""

    def __init__(self):
        self.stored, self.newest = {}, {}

    def deliver(self, rows):
        told = Counter()
        for component, metric, at_us, value in rows:
            key, series = (component, metric, at_us), (component, metric)
            if key in self.stored:
                told["duplicates" if self.stored[key] == value else "conflicts"] += 1
                continue
            self.stored[key] = value
            told["accepted"] += 1
            told["late"] += at_us <= self.newest.get(series, -1)
            self.newest[series] = max(at_us, self.newest.get(series, -1))
        return told


def figures(appended):
    return Counter(
        accepted=appended.accepted,
        duplicates=appended.duplicates,
        late=appended.late,
        conflicts=appended.conflicts.num_rows,
    )


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    groups=st.lists(
        st.lists(st.tuples(st.lists(ROW, min_size=1, max_size=4), st.booleans()), min_size=1, max_size=6), max_size=4
    ),
    flushed=st.lists(st.booleans(), min_size=4, max_size=4),
)
def test_each_of_a_group_gets_the_receipt_of_its_own_rows(tmp_path_factory, groups, flushed):
    from gaugehouse.config import Layout, Settings  # noqa: PLC0415 - a lake per example
    from gaugehouse.lake import Lake  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("lake")
    lake = Lake.open(Layout(folder), Settings(data_dir=folder, segment_age_s=3600.0, free_space_bytes=0))
    model = Model()
    try:
        for group, is_flushed in zip(groups, flushed, strict=False):
            written = write_in_rounds(lake, [delivery(rows, as_lists=as_lists) for rows, as_lists in group])
            for number, appended in written:
                assert figures(appended) == model.deliver(group[number][0])
            if is_flushed:
                lake.flush()
        stored = {
            (r["component"], r["metric"], int(r["measured_at"].timestamp() * 1_000_000)): r["value"]
            for r in rows_of(lake)
        }
        assert stored == model.stored
    finally:
        lake.close()


def test_a_group_is_one_record_and_survives_a_crash(lakes):
    lake = lakes.open()
    write_together(lake, [delivery([("a", "m", t, 1.0)], as_lists=True) for t in range(20)])
    before = rows_of(lake)
    assert len({row["received_at"] for row in before}) == 1
    lakes.crash(lake)
    assert rows_of(lakes.open()) == before


def test_64_threads_with_the_same_keys_store_each_once_and_count_every_row(lake):
    batches = [measurement_batch([("a", "m", t, 1.0), ("a", "m", t + 1, 1.0)]) for t in range(40)]

    def send(number):
        return [lake.append_measurements("p", batch) for batch in (batches if number % 2 else reversed(batches))]

    with ThreadPoolExecutor(64) as pool:
        appended = [one for many in pool.map(send, range(64)) for one in many]
    assert sum(one.accepted for one in appended) == 41 == len(rows_of(lake))
    assert sum(one.duplicates for one in appended) == 64 * 80 - 41
    assert sum(one.conflicts.num_rows for one in appended) == 0


def test_measurements_and_events_of_one_group_are_counted_apart(lake):
    lake.append_measurements("p", measurement_batch([("a", "m", 5, 1.0)]))
    outcomes = write_together(
        lake,
        [
            delivery([("a", "m", 5, 2.0)]),
            Delivery(batches={"events": event_batch([("a", "alarm", 5, {"n": 1}), ("a", "alarm", 5, {"n": 1})])}),
            delivery([("a", "m", 5, 3.0), ("a", "m", 6, 1.0)]),
        ],
    )
    assert [figures(one) for one in outcomes] == [
        Counter(conflicts=1),
        Counter(accepted=1, duplicates=1),
        Counter(accepted=1, conflicts=1),
    ]
    assert [one.conflicts.to_pylist()[0]["refused_value"] for one in outcomes if one.conflicts.num_rows] == [2.0, 3.0]
    assert sorted(row["kind"] for row in rows_of(lake, "events")) == ["alarm", "conflict", "conflict"]


def test_only_the_delivery_that_asks_for_too_many_series_fails(lakes):
    lake = lakes.open(series_limit=2)
    outcomes = write_together(
        lake,
        [
            delivery([("a", "m", 1, 1.0)]),
            delivery([("b", "m", 1, 1.0), ("c", "m", 1, 1.0)]),
            delivery([("b", "n", 1, 1.0)]),
        ],
    )
    assert [getattr(one, "accepted", None) for one in outcomes] == [1, None, 1]
    assert isinstance(outcomes[1], Refused)
    assert len(rows_of(lake)) == 2


def test_what_was_written_before_a_neighbour_failed_is_waited_for(lakes, monkeypatch):
    lake = lakes.open(series_limit=2)
    good, greedy = (Waiting(delivery=delivery([(c, "m", 1, 1.0) for c in names])) for names in ("a", "bc"))
    claim = lake._sequencer._claim_together

    def fail_alone(project, together):
        if together == [greedy]:
            raise Overloaded("too many rows wait", retry_after_s=5)
        return claim(project, together)

    monkeypatch.setattr(lake._sequencer, "_claim_together", fail_alone)
    before = lake._sequencer.log.written
    position = lake._gather._write_group("p", [good, greedy])
    assert (good.result().accepted, type(greedy.outcome)) == (1, Overloaded)
    assert position == lake._sequencer.log.written > before


def test_a_group_holds_so_many_rows_and_no_more(monkeypatch):
    monkeypatch.setattr(gather, "ROWS_TOGETHER", 3)
    queue = SimpleQueue()
    for rows in (2, 2, 1, 5, 1):
        queue.put(
            gather._Submitted(delivery=delivery([("a", "m", t, 1.0) for t in range(rows)]), project="p", on_done=None)
        )
    queue.put(None)
    assert [[len(one.delivery) for one in group] for group in gather._groups(queue)] == [[2, 2], [1, 5], [1]]


def test_a_delivery_that_needs_files_while_the_lake_closes_is_told_so(old):
    outcomes = SimpleQueue()
    gathering = old._gather
    judge = old._sequencer.write_group

    def close_meanwhile(project, several):
        position = judge(project, several)
        gathering._is_closed = True
        return position

    old._sequencer.write_group = close_meanwhile
    old.submit("p", delivery([("a", "m", 55, 1.0)], as_lists=True), outcomes.put)
    assert isinstance(outcomes.get(timeout=30), Unavailable)
    gathering._is_closed = False
    assert gathering._late.empty()


@pytest.fixture
def old(lakes):
    """A lake started on files: every older row needs a look into them."""
    lake = lakes.open()
    lake.append_measurements("p", measurement_batch([(c, "m", t, 1.0) for c in "abc" for t in range(0, 1000, 10)]))
    lake.close()
    lakes._open.clear()
    return lakes.open()


def test_a_late_row_that_waits_for_files_keeps_nobody_else(old):
    asked, answer = threading.Event(), threading.Event()
    lookup = old._sequencer.lookup

    def slow_lookup(*args):
        asked.set()
        answer.wait(30)
        return lookup(*args)

    old._sequencer.lookup = slow_lookup
    outcomes = SimpleQueue()
    old.submit("p", delivery([("a", "m", 55, 1.0)], as_lists=True), outcomes.put)
    assert asked.wait(30)
    for t in range(2000, 2010):
        assert old.append_measurements("p", measurement_batch([("a", "m", t, 1.0)])).accepted == 1
    assert outcomes.empty()
    answer.set()
    late = outcomes.get(timeout=30)
    assert (late.accepted, late.late) == (1, 1)


def test_only_the_delivery_whose_look_into_the_files_fails_is_refused(old):
    lookup = old._sequencer.lookup

    def picky(spec, rows, files):
        if 55 in rows.t:
            raise Unavailable("a file of the lake cannot be read")
        return lookup(spec, rows, files)

    old._sequencer.lookup = picky
    outcomes = [SimpleQueue() for _ in range(4)]
    for t, queue in zip((45, 55, 60, 2000), outcomes, strict=True):
        old.submit("p", delivery([("b", "m", t, 1.0)], as_lists=True), queue.put)
    told = [queue.get(timeout=30) for queue in outcomes]
    assert isinstance(told[1], Unavailable)
    assert [figures(one) for one in (told[0], told[2], told[3])] == [
        Counter(accepted=1, late=1),
        Counter(duplicates=1),
        Counter(accepted=1),
    ]


def test_late_rows_are_judged_by_hashes_of_the_files_and_hits_by_the_files(old):
    appended = old.append_measurements(
        "p", measurement_batch([("a", "m", 10, 1.0), ("a", "m", 20, 5.0), ("a", "m", 25, 1.0), ("c", "m", 990, 1.0)])
    )
    assert figures(appended) == Counter(accepted=1, duplicates=2, conflicts=1, late=1)
    assert appended.conflicts.to_pylist()[0]["stored_value"] == 1.0


def test_a_closing_lake_refuses_what_comes_and_answers_all_that_came(lakes, monkeypatch):
    lake = lakes.open()
    is_writing, is_stopped = threading.Event(), threading.Event()
    log_type, stop = type(lake._sequencer.log), lake._sequencer.stop
    wait_durable = log_type.wait_durable

    def wait_until_stopped(log, position):
        is_writing.set()
        assert is_stopped.wait(30)
        wait_durable(log, position)

    def stop_and_tell():
        stop()
        is_stopped.set()

    monkeypatch.setattr(log_type, "wait_durable", wait_until_stopped)
    monkeypatch.setattr(lake._sequencer, "stop", stop_and_tell)
    outcomes = [SimpleQueue() for _ in range(200)]
    for t, queue in enumerate(outcomes):
        lake.submit("p", delivery([("a", "m", t, 1.0)], as_lists=True), queue.put)
        assert is_writing.wait(30), "the first is on its way alone"
    lake.close()
    told = [queue.get(timeout=30) for queue in outcomes]
    assert told[0].accepted == 1
    assert [type(one) for one in told[1:]] == [Unavailable] * 199
    with pytest.raises(Unavailable):
        lake.append_measurements("p", measurement_batch([("a", "m", 1, 1.0)]))
    assert len(rows_of(lakes.open())) == 1
