"""Summaries, extents and the choice of a resolution."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaugehouse.errors import Refused
from gaugehouse.measurements.selection import Selection
from gaugehouse.query import choose_every, find_every, find_extent, summarize
from gaugehouse.query.resolution import STEPS

T0 = datetime(2026, 3, 1, tzinfo=UTC)
ALL = Selection(project="default")


def test_a_summary_names_each_series_once_with_its_bad_rows(make_snapshot):
    rows = [
        ("b", "temperature", T0, 4.0, 0),
        ("b", "temperature", T0 + timedelta(hours=2), 8.0, 1),
        ("b", "temperature", T0 + timedelta(hours=3), 99.0, 2),
        ("b", "temperature", T0 + timedelta(hours=1), 3.0, 0),
        ("a", "state", T0, None, 2),
    ]
    table = summarize(make_snapshot(rows), ALL)
    assert table.to_pylist() == [
        {
            "component": "a",
            "metric": "state",
            "n": 0,
            "bad_n": 1,
            "first_measured_at": T0,
            "last_measured_at": T0,
            "min": None,
            "max": None,
            "mean": None,
            "last_value": None,
        },
        {
            "component": "b",
            "metric": "temperature",
            "n": 3,
            "bad_n": 1,
            "first_measured_at": T0,
            "last_measured_at": T0 + timedelta(hours=3),
            "min": 3.0,
            "max": 8.0,
            "mean": 5.0,
            "last_value": 8.0,
        },
    ]


def test_the_extent_spans_all_rows_of_a_selection(make_snapshot):
    rows = [("a", "m", T0 + timedelta(days=d), 1.0) for d in (3, 1, 2)]
    extent = find_extent(make_snapshot(rows), ALL)
    assert (extent.first_measured_at, extent.last_measured_at) == (T0 + timedelta(days=1), T0 + timedelta(days=3))
    assert find_extent(make_snapshot(), ALL) is None


@pytest.mark.parametrize(
    ("span", "points", "every"),
    [
        (timedelta(minutes=1), 100, "1s"),
        (timedelta(hours=1), 200, "30s"),
        (timedelta(days=1), 300, "5m"),
        (timedelta(days=1), 25, "1h"),
        (timedelta(days=30), 800, "1h"),
        (timedelta(days=365), 400, "1d"),
        (timedelta(days=365), 100, "1w"),
        (timedelta(days=4 * 365), 100, "month"),
        (timedelta(0), 2, "1s"),
    ],
)
def test_the_resolution_is_the_finest_that_fits(span, points, every):
    assert choose_every(T0, T0 + span, points) == every


@given(
    st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=20_000)).map(T0.__sub__),
    st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=1500)),
    st.integers(min_value=3, max_value=3000),
)
def test_the_resolution_never_gives_more_buckets_than_points(start, span, points):
    every = choose_every(start, start + span, points)
    shortest = dict(STEPS)[every]
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    first, last = (start - epoch) // shortest, (start + span - timedelta(microseconds=1) - epoch) // shortest
    assert last - first + 1 <= points or every == "year"


@pytest.mark.parametrize("points", [0, -1, 100_001])
def test_a_number_of_points_no_plot_can_have_is_refused(points):
    with pytest.raises(Refused):
        choose_every(T0, T0 + timedelta(days=1), points)


def test_open_bounds_are_where_the_data_end(make_snapshot):
    snapshot = make_snapshot([("a", "m", T0 + timedelta(minutes=m), 1.0) for m in range(61)])
    assert find_every(snapshot, ALL, points=70) == "1m"
    assert find_every(snapshot, Selection(project="default", end=T0 + timedelta(minutes=5)), points=70) == "5s"
    assert find_every(make_snapshot(), ALL, points=70) == "1s"
