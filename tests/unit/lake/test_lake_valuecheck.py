"""Order of the rows of reports' values, against Polars'."""

import numpy as np
import polars as pl
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from gaugehouse.lake.valuecheck import count_runs, order_by_key, rank_names
from gaugehouse.reports.values import KEY

NAMES = st.text("aZé\N{GRINNING FACE}\0 ", max_size=3)
KEYS = st.lists(st.tuples(NAMES, st.none() | NAMES, NAMES, st.integers(-(2**40), 2**40)), max_size=30)


def coded(keys):
    columns = list(zip(*keys, strict=True)) or [()] * len(KEY)
    arrays = [pa.array(column, pa.string()).dictionary_encode() for column in columns[:3]]
    return pa.table([*arrays, pa.array(columns[3], pa.timestamp("us", "UTC"))], names=list(KEY))


@given(KEYS)
def test_rows_are_ordered_as_other_engines_order_them_absent_names_last(keys):
    table = coded(keys)
    ordered = pl.DataFrame(table.take(pa.array(order_by_key(table, KEY))))
    assert ordered.cast(dict.fromkeys(KEY[:3], pl.String)).equals(
        pl.DataFrame(keys, list(KEY), orient="row", schema_overrides=dict.fromkeys(KEY[:3], pl.String))
        .with_columns(pl.col(KEY[3]).cast(pl.Int64).cast(pl.Datetime("us", "UTC")))
        .sort(KEY, nulls_last=True)
    )


@given(st.lists(st.none() | NAMES, max_size=30))
def test_a_rank_tells_names_apart_as_they_compare(names):
    ranks = rank_names(pa.array(names, pa.string()).dictionary_encode()).tolist()
    comparable = [(name is None, name or "") for name in names]
    pairs = [(i, j) for i in range(len(names)) for j in range(len(names))]
    assert all((ranks[i] < ranks[j]) == (comparable[i] < comparable[j]) for i, j in pairs)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3)), max_size=30))
def test_runs_are_counted(pairs):
    reports, revisions = np.array([one for one, _ in pairs], np.int64), np.array([two for _, two in pairs], np.int32)
    assert count_runs(reports, revisions) == sum(i == 0 or pairs[i] != pairs[i - 1] for i in range(len(pairs)))
