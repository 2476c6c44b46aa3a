"""Which rows are new: the sequencer's pure half against a dictionary."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from factories import measurement_batch
from gaugehouse.lake.claims import Classified, Unsure, Verdicts, classify, no_verdicts
from gaugehouse.lake.keyhash import group_by_code, unsorted_groups
from gaugehouse.lake.known import SeriesIndex, rows_of_batch
from gaugehouse.lake.recent import RecentKeys, generation_of
from gaugehouse.lake.rows import MEASUREMENTS, HotRows

ROW = st.tuples(
    st.sampled_from(["a", "b"]),
    st.sampled_from(["m", "n"]),
    st.integers(0, 12),
    st.sampled_from([1.0, 2.0, None]),
)


def with_quality(row):
    return (*row, 2 if row[3] is None else 0)


class Model:
    """First accepted wins, in the plainest words."""

    def __init__(self):
        self.stored = {}

    def deliver(self, rows):
        accepted, duplicates, conflicts = [], 0, []
        for row in rows:
            key, value = row[:3], row[3:]
            if key not in self.stored:
                self.stored[key] = value
                accepted.append(True)
                continue
            accepted.append(False)
            if self.stored[key] == value:
                duplicates += 1
            else:
                conflicts.append(key)
        return accepted, duplicates, conflicts


@settings(max_examples=80)
@given(st.lists(st.lists(ROW.map(with_quality), min_size=1, max_size=25), max_size=8), st.data())
def test_claims_agree_with_a_dictionary_whatever_is_hot_hashed_or_in_files(deliveries, data):
    index = SeriesIndex(MEASUREMENTS)
    recent = RecentKeys(index, limit_bytes=data.draw(st.sampled_from([64, 100_000])))
    hot, in_files, model = [HotRows(MEASUREMENTS)], [], Model()
    for delivery in deliveries:
        rows = rows_of_batch(index, "p", measurement_batch(delivery), 1)
        outcome = classify(rows, index, hot, recent, no_verdicts(MEASUREMENTS, 0))
        if isinstance(outcome, Unsure):
            outcome = classify(rows, index, hot, recent, ask(index, in_files, outcome))
        assert isinstance(outcome, Classified)
        accepted, duplicates, conflicts = model.deliver(delivery)
        assert outcome.is_accepted.tolist() == accepted
        assert outcome.duplicate_at.size == duplicates
        assert [delivery[at][:3] for at in outcome.conflict_at] == conflicts
        hot[-1].append(rows.take(outcome.is_accepted))
        if data.draw(st.booleans()):
            for segment in hot:
                in_files.append(segment.view(segment.count))
                recent.add(generation_of(in_files[-1]))
            hot = [HotRows(MEASUREMENTS)]
        elif data.draw(st.booleans()):
            hot = [*hot, HotRows(MEASUREMENTS)]


def ask(index, in_files, unsure):
    """Answer what only files know, as the lookup does."""
    asked = unsure.rows
    known = {
        (int(s), int(t)): (part, i)
        for part in in_files
        for i, (s, t) in enumerate(zip(part.series, part.t, strict=True))
    }
    hits = [known[key] for key in zip(asked.series.tolist(), asked.t.tolist(), strict=True) if key in known]
    stored = asked.take(np.empty(0, np.int64))
    if hits:
        names = [
            (
                index.component_names[index.component_of[part.series[i]]],
                index.topic_names[index.topic_of[part.series[i]]],
                int(part.t[i]),
                None if np.isnan(part.payload["value"][i]) else float(part.payload["value"][i]),
                int(part.payload["quality"][i]),
            )
            for part, i in hits
        ]
        stored = rows_of_batch(index, "p", measurement_batch(names))
    return Verdicts(generation=0, asked=asked, stored=stored)


def test_undoing_a_claim_leaves_the_index_as_it_was():
    index = SeriesIndex(MEASUREMENTS)
    recent = RecentKeys(index, 1000)
    first = rows_of_batch(
        index, "p", measurement_batch([("a", "m", 5, 1.0), ("a", "m", 9, 1.0), ("a", "m", 7, 1.0)]), 1
    )
    before = index.claimed_to.copy()
    outcome = classify(first, index, [HotRows(MEASUREMENTS)], recent, no_verdicts(MEASUREMENTS, 0))
    outcome.undo()
    assert index.claimed_to.tolist() == before.tolist()


def test_a_late_row_inside_what_the_hashes_cover_is_proven_new_without_a_file():
    index = SeriesIndex(MEASUREMENTS)
    recent = RecentKeys(index, 1_000_000)
    flushed = rows_of_batch(index, "p", measurement_batch([("a", "m", t, 1.0) for t in range(0, 100, 2)]), 1)
    assert isinstance(classify(flushed, index, [], recent, no_verdicts(MEASUREMENTS, 0)), Classified)
    recent.add(generation_of(flushed))
    late = rows_of_batch(index, "p", measurement_batch([("a", "m", 31, 1.0)]), 2)
    outcome = classify(late, index, [], recent, no_verdicts(MEASUREMENTS, 0))
    assert isinstance(outcome, Classified)
    assert (outcome.late_at.tolist(), outcome.is_accepted.tolist()) == ([0], [True])
    known = rows_of_batch(index, "p", measurement_batch([("a", "m", 30, 1.0)]), 2)
    assert isinstance(classify(known, index, [], recent, no_verdicts(MEASUREMENTS, 0)), Unsure)


def test_forgotten_hashes_send_late_rows_to_the_files():
    index = SeriesIndex(MEASUREMENTS)
    recent = RecentKeys(index, limit_bytes=200)
    for start in (0, 100, 200):
        flushed = rows_of_batch(index, "p", measurement_batch([("a", "m", start + t, 1.0) for t in range(20)]), 1)
        classify(flushed, index, [], recent, no_verdicts(MEASUREMENTS, 0))
        recent.add(generation_of(flushed))
    assert recent.size_bytes() <= 200
    late = rows_of_batch(index, "p", measurement_batch([("a", "m", 50, 1.0)]), 2)
    assert isinstance(classify(late, index, [], recent, no_verdicts(MEASUREMENTS, 0)), Unsure)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), max_size=60))
def test_grouping_by_code_is_a_stable_sort(rows):
    codes = np.array([code for code, _t in rows], np.int32)
    t = np.array([t for _code, t in rows], np.int64)
    offsets, order = group_by_code(codes, 6)
    assert order.tolist() == np.argsort(codes, kind="stable").tolist()
    assert np.diff(offsets).tolist() == [codes.tolist().count(code) for code in range(6)]
    expected = [
        any(b <= a for a, b in pairwise(part))
        for code in range(6)
        for part in [[value for c, value in rows if c == code]]
    ]
    assert unsorted_groups(offsets, t[order]).tolist() == expected
