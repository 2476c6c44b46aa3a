"""What a lake counts of itself: buckets and sums."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaugehouse.lake.meters import FSYNC_BOUNDS_S, WORK_BOUNDS_S, Durations, LakeMeters, RowCounts

SECONDS = st.floats(min_value=0, max_value=100) | st.sampled_from([*FSYNC_BOUNDS_S, *WORK_BOUNDS_S])


@pytest.mark.parametrize("bounds_s", [FSYNC_BOUNDS_S, WORK_BOUNDS_S])
def test_bounds_rise(bounds_s):
    assert all(low < high for low, high in itertools.pairwise(bounds_s))


@given(st.lists(SECONDS))
def test_a_bucket_counts_what_lasted_at_most_its_bound(observed_s):
    durations = Durations(FSYNC_BOUNDS_S)
    for duration_s in observed_s:
        durations.observe(duration_s)
    expected = [(str(bound), float(sum(one <= bound for one in observed_s))) for bound in FSYNC_BOUNDS_S]
    assert durations.cumulative() == [*expected, ("+Inf", float(len(observed_s)))]
    assert durations.sum_s == pytest.approx(sum(observed_s))


def test_rows_are_counted_by_project_and_table():
    meters = LakeMeters()
    meters.count("a", "measurements", accepted=3, duplicates=1, conflicts=0, late=2)
    meters.count("a", "events", accepted=1, duplicates=0, conflicts=0, late=0)
    meters.count("b", "measurements", accepted=0, duplicates=0, conflicts=4, late=0)
    meters.count("a", "measurements", accepted=1, duplicates=1, conflicts=1, late=1)
    assert meters.rows() == {
        ("a", "measurements"): RowCounts(4, 2, 1, 3),
        ("a", "events"): RowCounts(1, 0, 0, 0),
        ("b", "measurements"): RowCounts(0, 0, 4, 0),
    }


def test_a_deleted_project_is_named_no_more_and_totals_do_not_fall():
    meters = LakeMeters()
    for project in ("kept", "gone", "gone-too"):
        meters.count(project, "measurements", accepted=5, duplicates=4, conflicts=3, late=2)
    meters.count("gone", "events", accepted=1, duplicates=0, conflicts=0, late=0)
    meters.forget("gone")
    meters.forget("gone-too")
    meters.forget("never-there")
    assert meters.rows() == {
        ("kept", "measurements"): RowCounts(5, 4, 3, 2),
        ("", "measurements"): RowCounts(10, 8, 6, 4),
        ("", "events"): RowCounts(1, 0, 0, 0),
    }


def test_what_is_returned_stays_as_it_was():
    meters = LakeMeters()
    meters.count("a", "events", accepted=1, duplicates=0, conflicts=0, late=0)
    before = meters.rows()
    meters.count("a", "events", accepted=1, duplicates=0, conflicts=0, late=0)
    assert before["a", "events"].accepted == 1


def test_no_count_of_many_threads_is_lost():
    meters = LakeMeters()

    def count(_number):
        for _ in range(2_000):
            meters.count("a", "events", accepted=1, duplicates=2, conflicts=3, late=4)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(8)))
    assert meters.rows() == {("a", "events"): RowCounts(16_000, 32_000, 48_000, 64_000)}
