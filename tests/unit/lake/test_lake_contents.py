"""What a data file holds, told from its bytes alone."""

import io
import itertools
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaugehouse.lake.contents import find_keys, read_contents, repeated_hashes
from gaugehouse.lake.rows import EVENTS, MEASUREMENTS
from gaugehouse.measurements.schema import TIMESTAMP

KEYS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "ü", "pump-10", "pump-9"]), st.sampled_from(["m", "n"]), st.integers(0, 50)),
    min_size=1,
    max_size=60,
)


def file_of(keys, group_rows=7, bodies=None):
    """Return the bytes of a file with these (component, topic, instant [us]) in this order."""
    topic, instant = ("metric", "measured_at") if bodies is None else ("kind", "occurred_at")
    columns = {
        "component": pa.array([key[0] for key in keys], pa.string()),
        topic: pa.array([key[1] for key in keys], pa.string()),
        instant: pa.array([key[2] for key in keys], pa.int64()).cast(TIMESTAMP),
        "received_at": pa.array(range(len(keys)), pa.int64()).cast(TIMESTAMP),
    }
    if bodies is not None:
        columns["body_hash"] = pa.array(bodies, pa.binary())
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, row_group_size=group_rows, write_page_checksum=True)
    return sink.getvalue()


@given(KEYS, st.integers(1, 9))
def test_sorted_distinct_keys_have_no_unsorted_rows_however_the_file_is_cut(keys, group_rows):
    distinct = sorted(set(keys))
    found = read_contents(file_of(distinct, group_rows), MEASUREMENTS)
    assert (found.rows, found.unsorted_rows) == (len(distinct), 0)
    assert found.components == (distinct[0][0], distinct[-1][0])
    instants = [key[2] for key in distinct]
    assert found.instants_us == (min(instants), max(instants))
    assert found.received_us == (0, len(distinct) - 1)


@given(KEYS, st.integers(1, 9))
def test_any_other_order_has_as_many_unsorted_rows_as_steps_that_do_not_rise(keys, group_rows):
    expected = sum(later <= earlier for earlier, later in itertools.pairwise(keys))
    assert read_contents(file_of(keys, group_rows), MEASUREMENTS).unsorted_rows == expected


@given(KEYS, KEYS)
def test_exactly_the_keys_that_are_in_both_files_have_repeated_hashes(left, right):
    left, right = sorted(set(left)), sorted(set(right))
    files = [file_of(left), file_of(right)]
    repeated = repeated_hashes([part for file in files for part in read_contents(file, MEASUREMENTS).hashes])
    assert set(find_keys(files[0], MEASUREMENTS, repeated)) == set(left) & set(right)
    assert repeated.size == len(set(left) & set(right))


def test_shares_of_the_keys_are_together_all_of_them():
    content = file_of(sorted({(f"c{number % 7}", "m", number) for number in range(500)}))
    parts = [read_contents(content, MEASUREMENTS, share=(which, 3)).hashes for which in range(3)]
    together = np.sort(np.concatenate([array for part in parts for array in part]))
    assert together.tolist() == sorted(np.concatenate(read_contents(content, MEASUREMENTS).hashes).tolist())


def test_close_instants_of_many_metrics_do_not_collide():
    rng = random.Random(1)  # noqa: S311 - reproducible, not secret
    keys = sorted({("pump", f"m{rng.randrange(300)}", rng.randrange(4096)) for _ in range(50_000)})
    assert repeated_hashes(read_contents(file_of(keys, 10_000), MEASUREMENTS).hashes).size == 0


def test_events_of_one_instant_are_told_apart_by_their_bodies():
    keys = [("pump", "alarm", 5)] * 3
    bodies = [b"a" * 16, b"b" * 16, b"b" * 8 + b"c" * 8]
    content = file_of(keys, bodies=bodies)
    found = read_contents(content, EVENTS)
    assert found.unsorted_rows == 0
    repeated = repeated_hashes(found.hashes)  # two hashes begin alike
    assert [key[3] for key in find_keys(content, EVENTS, repeated)] == bodies[1:]


def test_a_page_that_was_changed_is_not_read():
    content = bytearray(file_of([("pump", "m", number) for number in range(1000)], 1000))
    content[len(content) // 3] ^= 1
    with pytest.raises((OSError, pa.ArrowException)):
        read_contents(bytes(content), MEASUREMENTS)
