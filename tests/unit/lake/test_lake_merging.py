"""Rows of many sorted files as one sorted stream."""

import itertools

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaugehouse.errors import DamageFound
from gaugehouse.lake import merging
from gaugehouse.lake.delta import FileEntry
from gaugehouse.lake.merging import SortedFile, merged_parts
from gaugehouse.lake.rows import EVENTS, MEASUREMENTS

ROW_GROUP_ROWS = 16
NAMES = ("", "a", "ab", "b", "ß", "日本", "z")


def sorted_file(rows, spec=MEASUREMENTS, *, keep_order=False):
    """Return a file of (component, topic, instant [us]), each of whose rows carries its number."""
    rows = rows if keep_order else sorted(rows)
    columns = {name: [None] * len(rows) for name in spec.rows.names}
    columns["component"] = [component for component, _topic, _t in rows]
    columns[spec.topic] = [topic for _component, topic, _t in rows]
    columns[spec.instant] = [t for _component, _topic, t in rows]
    columns[spec.stamp] = [0] * len(rows)
    table = pa.table(
        {name: pa.array(columns[name], spec.rows.field(name).type) for name in spec.rows.names}, schema=spec.rows
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=ROW_GROUP_ROWS, write_page_checksum=True)
    entry = FileEntry(
        path=f"file-{len(rows)}", size_bytes=sink.tell(), rows=len(rows), project="plant", month="2026-01",
        components=("", ""), instants_us=(0, 0), received_us=(0, 0),
    )  # fmt: skip
    return SortedFile(
        entry, sink.getvalue().to_pybytes(), spec, lambda entry, what: DamageFound(f"{entry.path}: {what}")
    )


def keys(table, spec=MEASUREMENTS):
    instants = table.column(spec.instant).cast(pa.int64()).to_pylist()
    return list(zip(table.column("component").to_pylist(), table.column(spec.topic).to_pylist(), instants, strict=True))


KEYS = st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES[1:4]), st.integers(0, 30))


@given(
    st.sets(KEYS, min_size=1, max_size=200),
    st.randoms(use_true_random=False),
    st.integers(1, 5),
    st.integers(1, 40),
)
def test_all_rows_come_once_and_in_order_in_whole_row_groups(rows, random, file_count, batch_rows):
    files = [[] for _ in range(file_count)]
    for row in sorted(rows):
        random.choice(files).append(row)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "BATCH_ROWS", (batch_rows, batch_rows))
        parts = list(merged_parts([sorted_file(file) for file in files], ROW_GROUP_ROWS))
    assert list(itertools.chain.from_iterable(keys(part) for part in parts)) == sorted(rows)
    assert all(part.num_rows % ROW_GROUP_ROWS == 0 for part in parts[:-1])


@given(st.lists(st.tuples(st.sampled_from("ab"), st.just("k"), st.integers(0, 2)), min_size=1, max_size=120))
def test_events_of_one_instant_all_stay(rows):
    half = len(rows) // 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "BATCH_ROWS", (3, 3))
        parts = list(merged_parts([sorted_file(rows[:half], EVENTS), sorted_file(rows[half:], EVENTS)], ROW_GROUP_ROWS))
    assert [key for part in parts for key in keys(part, EVENTS)] == sorted(rows)


@pytest.mark.parametrize("batch_rows", [1, 7, 1000])
def test_a_key_in_two_files_is_damage_wherever_the_batches_end(monkeypatch, batch_rows):
    monkeypatch.setattr(merging, "BATCH_ROWS", (batch_rows, batch_rows))
    first = [("a", "m", t) for t in range(0, 40, 2)]
    second = [("a", "m", t) for t in range(1, 40, 2)]
    with pytest.raises(DamageFound, match="a key is stored twice"):
        list(merged_parts([sorted_file(first), sorted_file([*second, ("a", "m", 20)])], ROW_GROUP_ROWS))
    with pytest.raises(DamageFound, match="a key is stored twice"):
        list(merged_parts([sorted_file([*first, ("a", "m", 20)])], ROW_GROUP_ROWS))


def test_a_file_that_is_not_sorted_is_damage(monkeypatch):
    monkeypatch.setattr(merging, "BATCH_ROWS", (4, 4))
    rows = [("a", "m", t) for t in range(20)]
    turned = sorted_file([*rows[10:], *rows[:10]], keep_order=True)
    with pytest.raises(DamageFound, match="not sorted"):
        list(merged_parts([turned, sorted_file([("a", "m", t) for t in range(20, 40)])], ROW_GROUP_ROWS))


def test_the_rows_of_one_long_series_come_a_few_at_a_time(monkeypatch):
    monkeypatch.setattr(merging, "BATCH_ROWS", (32, 32))
    files = [sorted_file([("a", "m", t) for t in range(start, 4_000, 4)]) for start in range(4)]
    parts = merged_parts(files, ROW_GROUP_ROWS)
    at_hand = [part.num_rows + sum(file.rows for file in files) for part in parts]
    assert sum(file.rows for file in files) == 0
    assert max(at_hand) <= 2 * 32 * len(files) + ROW_GROUP_ROWS


def test_the_dictionaries_of_a_part_hold_no_names_of_rows_long_gone(monkeypatch):
    monkeypatch.setattr(merging, "BATCH_ROWS", (16, 16))
    files = [sorted_file([(f"c{n:03d}", "m", t) for n in range(400)]) for t in (0, 1)]
    for part in merged_parts(files, ROW_GROUP_ROWS):
        column = part.column("component").combine_chunks()
        assert len(column.dictionary) <= part.num_rows + ROW_GROUP_ROWS
