"""Portions of series, and the rows they get."""

import numpy as np
import pyarrow as pa
import pytest

from gaugehouse.measurements.metric import MetricKind
from gaugehouse.reports.chunks import Limits, align_rows, append_points, split_series


def test_series_are_aligned_in_the_order_asked_with_silent_ones_empty(make_rows):
    rows = make_rows({("a", "m"): [(0, 1.0), (1, 2.0)], ("b", "m"): [(5, 3.0)], ("c", "m"): [(7, 4.0)]})
    aligned = align_rows(rows, [("a", "m"), ("a", "x"), ("c", "m"), ("d", "m")])
    assert aligned.offsets.tolist() == [0, 2, 2, 3, 3]
    assert aligned.value.tolist() == [1.0, 2.0, 4.0]
    assert (aligned.components, aligned.metrics) == (["a", "a", "c", "d"], ["m", "x", "m", "m"])


def test_rows_that_are_all_wanted_are_not_copied(make_rows):
    rows = make_rows({("a", "m"): [(0, 1.0)], ("b", "m"): [(5, 3.0)]})
    assert np.shares_memory(align_rows(rows, [("a", "m"), ("b", "m")]).value, rows.value)


def test_no_rows_at_all_are_empty_series(make_rows):
    aligned = align_rows(make_rows({}), [("a", "m"), ("b", "m")])
    assert aligned.offsets.tolist() == [0, 0, 0]
    assert len(aligned) == 2


def test_later_points_go_behind_their_own_series(make_rows, make_series):
    rows = align_rows(
        make_rows({("a", "n"): [(0, 1.0)], ("b", "n"): [(1, 5.0), (2, 6.0)]}), [("a", "n"), ("b", "n"), ("c", "n")]
    )
    counters = [make_series(name, "n", MetricKind.COUNTER) for name in ("a", "b", "c")]
    points = pa.table(
        {
            "component": ["c", "a", "b", "b"],
            "metric": ["n", "n", "n", "other"],
            "measured_at_us": [[90, 91], [70], [80, 81], [1]],
            "value": [[9.0, 9.1], [7.0], [8.0, 8.1], [0.0]],
            "quality": pa.array([[0, 1], [0], [0, 0], [0]], pa.list_(pa.uint8())),
        }
    )
    grown = append_points(rows, points, counters)
    assert grown.offsets.tolist() == [0, 2, 6, 8]
    assert grown.value.tolist() == [1.0, 7.0, 5.0, 6.0, 8.0, 8.1, 9.0, 9.1]
    assert grown.measured_at_us[[1, 4, 5, 6, 7]].tolist() == [70, 80, 81, 90, 91]
    assert grown.quality.tolist() == [0, 0, 0, 0, 0, 0, 0, 1]
    assert grown.quality.dtype == np.uint8


def test_no_later_points_change_nothing(make_rows, make_series):
    rows = make_rows({("a", "n"): [(0, 1.0)]})
    empty = pa.table(
        {
            "component": pa.array([], pa.string()),
            "metric": pa.array([], pa.string()),
            "measured_at_us": pa.array([], pa.list_(pa.int64())),
            "value": pa.array([], pa.list_(pa.float64())),
            "quality": pa.array([], pa.list_(pa.uint8())),
        }
    )
    grown = append_points(rows, empty, [make_series("a", "n", MetricKind.COUNTER)])
    assert grown.offsets.tolist() == [0, 1]
    assert grown.value.tolist() == [1.0]


@pytest.mark.parametrize("rows_limit", [1, 25, 60, 10_000])
@pytest.mark.parametrize("cells_limit", [3, 12, 100_000])
def test_portions_keep_order_and_limits(make_series, rows_limit, cells_limit):
    series = [make_series(f"c{c}", f"m{m}") for c in range(5) for m in range(4)]
    rows_of = {(one.component, one.metric): 10 for one in series if one.component != "c3"}
    chunks = list(split_series(series, rows_of, buckets=3, limits=Limits(rows=rows_limit, cells=cells_limit)))
    assert [one for chunk in chunks for one in chunk.series] == series
    for chunk in chunks:
        assert chunk.rows <= max(rows_limit, 10) or len(chunk.series) == 1
        assert len(chunk.series) * 3 <= cells_limit
        assert chunk.rows == sum(rows_of.get((one.component, one.metric), 0) for one in chunk.series)


def test_a_component_is_not_cut_without_need(make_series):
    series = [make_series(f"c{c}", f"m{m}") for c in range(3) for m in range(4)]
    rows_of = {(one.component, one.metric): 10 for one in series}
    chunks = list(split_series(series, rows_of, buckets=1, limits=Limits(rows=60, cells=1000)))
    assert [len(chunk.series) for chunk in chunks] == [4, 4, 4]
