"""Rows of many files as sorted series."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gaugehouse.lake.scan import RowPart, count_part, find_runs, group_rows


def part(components, metrics, codes, t):
    return RowPart(
        components=components,
        metrics=metrics,
        runs=find_runs(
            np.array([component for component, _ in codes], np.int32),
            np.array([metric for _, metric in codes], np.int32),
        ),
        t=np.array(t, np.int64),
        value=np.array(t, np.float64),
        quality=np.zeros(len(t), np.uint8),
    )


def test_series_of_several_parts_are_merged_in_name_and_time_order():
    rows = group_rows([part(["b", "a"], ["m"], [(0, 0), (1, 0)], [5, 9]), part(["a"], ["n", "m"], [(0, 1)], [3])])
    assert list(zip(rows.components, rows.metrics, strict=True)) == [("a", "m"), ("b", "m")]
    assert rows.offsets.tolist() == [0, 2, 3]
    assert rows.measured_at_us.tolist() == [3, 9, 5]


def test_more_pairs_of_names_than_32_bits_count_stay_apart():
    names = [f"{n:05d}" for n in range(70_000)]
    rows = group_rows([part(names, names, [(n, n) for n in range(70_000)], range(70_000))])
    assert rows.components == rows.metrics == names
    assert rows.measured_at_us.tolist() == list(range(70_000))


def test_no_rows_are_no_series():
    for parts in ([], [part([], [], [], [])], [part(["a"] * 9, ["m"], [], [])]):
        rows = group_rows(parts)
        assert (rows.components, rows.offsets.tolist()) == ([], [0])


NAMES = ["b", "c", "a"]
ROWS = st.lists(
    st.lists(st.tuples(st.sampled_from(range(3)), st.sampled_from(range(2))), max_size=12), min_size=1, max_size=4
)


@given(rows=ROWS, seed=st.integers(0, 2**32 - 1), threads=st.sampled_from([1, 3]))
def test_any_parts_become_sorted_series(rows, seed, threads):
    instants = iter(np.random.default_rng(seed).permutation(sum(map(len, rows))).tolist())
    parts = [part(NAMES, ["y", "x"], codes, [next(instants) for _ in codes]) for codes in rows]
    expected = sorted(
        (NAMES[component], ["y", "x"][metric], t)
        for codes, own in zip(rows, parts, strict=True)
        for (component, metric), t in zip(codes, own.t.tolist(), strict=True)
    )
    grouped = group_rows(parts, threads=threads)
    lengths = np.diff(grouped.offsets)
    found = zip(
        np.repeat(grouped.components, lengths),
        np.repeat(grouped.metrics, lengths),
        grouped.measured_at_us.tolist(),
        strict=True,
    )
    assert list(found) == expected
    assert grouped.value.tolist() == grouped.measured_at_us.tolist()
    assert (lengths > 0).all()


@given(codes=ROWS.map(lambda rows: rows[0]))
def test_the_rows_of_a_part_are_counted_by_series(codes):
    expected = Counter((NAMES[component], ["y", "x"][metric]) for component, metric in codes)
    assert count_part(part(NAMES, ["y", "x"], codes, range(len(codes)))) == expected
