"""Rows of many files as sorted series."""

import numpy as np

from gaugehouse.lake.scan import RowPart, group_rows


def part(components, metrics, codes, t):
    return RowPart(
        components=components,
        component_codes=np.array([code for code, _metric in codes], np.int32),
        metrics=metrics,
        metric_codes=np.array([metric for _code, metric in codes], np.int32),
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
