"""The packed names and the numbers of series, against dictionaries."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories import measurement_batch
from gaugehouse.errors import Refused
from gaugehouse.lake.keyhash import EMPTY
from gaugehouse.lake.known import SeriesIndex, columns_of_batch, rows_of_batch
from gaugehouse.lake.names import NameTable, names_of
from gaugehouse.lake.rows import MEASUREMENTS

NAME = st.one_of(
    st.sampled_from(["", "a", "ab", "abcdefgh", "abcdefghi", "é", "zß", "🂡", "\ue000"]), st.text(max_size=20)
)
NAMES = st.lists(NAME, max_size=40)


def add(table, scope, names):
    packed = names_of(pa.array(names, pa.string()))
    numbers = table.find(scope, packed)
    table.add(scope, packed, numbers, np.ones(len(names), np.bool_))
    return numbers.tolist()


@given(st.lists(st.tuples(st.integers(0, 2), NAMES, st.booleans()), max_size=8))
def test_a_name_table_is_a_dictionary_also_when_the_last_names_are_taken_back(deliveries):
    table, model = NameTable(), {}
    for scope, names, is_kept in deliveries:
        before = dict(model)
        for name in names:
            model.setdefault((scope, name), len(model))
        assert add(table, scope, names) == [model[scope, name] for name in names]
        if not is_kept:
            table.drop_from(len(before))
            model = before
        assert len(table) == len(model)
        assert table.to_arrow(np.arange(len(table))).to_pylist() == [name for _scope, name in model]
        for other in range(3):
            found = table.find(other, names_of(pa.array(names, pa.string()))).tolist()
            assert found == [model.get((other, name), EMPTY) for name in names]


def test_names_keep_their_numbers_while_the_table_grows():
    table = NameTable()
    for start in range(0, 20_000, 2_500):
        assert add(table, 0, [f"device-{n}" for n in range(start, start + 2_500)]) == list(range(start, start + 2_500))
    assert add(table, 0, ["device-19999", "device-0", "device-7777"]) == [19_999, 0, 7_777]


def test_names_that_are_not_needed_get_no_number():
    table = NameTable()
    names = names_of(pa.array(["a", "b", "c"]))
    numbers = table.find(0, names)
    table.add(0, names, numbers, np.array([False, True, False]))
    assert numbers.tolist() == [EMPTY, 0, EMPTY]


def test_names_of_a_slice_are_those_of_the_slice():
    table = NameTable()
    sliced = pa.array(["a", "bc", "def", "g"]).slice(1, 2)
    numbers = table.find(0, names_of(sliced))
    table.add(0, names_of(sliced), numbers, np.ones(2, np.bool_))
    assert table.to_arrow(np.array([1, 0])).to_pylist() == ["def", "bc"]
    assert table.find(0, names_of(pa.array([], pa.string()))).size == 0


@given(st.lists(st.tuples(st.sampled_from("pq"), NAME, NAME), max_size=40), st.randoms())
def test_rows_sort_by_their_names_as_python_sorts_text(series, random):
    index = SeriesIndex(MEASUREMENTS)
    rows = {"p": [], "q": []}
    for project, component, metric in series:
        rows[project].append((component, metric, random.randrange(5), 1.0))
    for project, mine in rows.items():
        if not mine:
            continue
        numbered = rows_of_batch(index, project, measurement_batch(mine), 1)
        order = index.sort_rows(numbered.series, numbered.t)
        keys = [row[:3] for row in mine]
        assert [keys[at] for at in order] == sorted(keys)
        assert index.count_series(project) == len({key[:2] for key in keys})
        names = index.to_arrow(numbered).select(["component", "metric"]).to_pylist()
        assert [(name["component"], name["metric"]) for name in names] == [key[:2] for key in keys]


def test_a_refused_delivery_leaves_no_series_and_no_name():
    index = SeriesIndex(MEASUREMENTS)
    first = rows_of_batch(index, "p", measurement_batch([("a", "m", 1, 1.0), ("b", "m", 1, 1.0)]))
    for _attempt in range(3):
        with pytest.raises(Refused, match="3 series"):
            number(index, [("c", "m"), ("c", "n"), ("a", "n")], limit=3)
    assert (index.component_names, index.topic_names, len(index)) == (["a", "b"], ["m"], 2)
    assert number(index, [("a", "m"), ("c", "m"), ("b", "m")], limit=3).tolist() == [
        *first.series[:1],
        2,
        first.series[1],
    ]


def test_series_of_a_deleted_project_count_again_only_when_they_come_again():
    index = SeriesIndex(MEASUREMENTS)
    number(index, [("a", "m"), ("b", "m"), ("c", "m")], limit=3)
    rows_of_batch(index, "q", measurement_batch([("a", "m", 1, 1.0)]))
    index.forget("p")
    assert (index.count_series("p"), index.count_series("q")) == (0, 1)
    assert number(index, [("d", "m"), ("a", "m"), ("a", "m")], limit=3).tolist()[1:] == [0, 0]
    assert index.count_series("p") == 2
    for too_many in ([("b", "m"), ("c", "m")], [("b", "m"), ("e", "m")], [("e", "m"), ("f", "m")]):
        with pytest.raises(Refused, match="3 series"):
            number(index, too_many, limit=3)
        assert index.count_series("p") == 2
    number(index, [("b", "m"), ("a", "m")], limit=3)
    number(index, [("b", "m"), ("d", "m")], limit=3)
    assert index.count_series("p") == 3
    index.forget("p")
    assert number(index, [("e", "m"), ("d", "m"), ("c", "m")], limit=3).size == 3
    assert (index.count_series("p"), index.count_series("q")) == (3, 1)


def number(index, series, limit):
    batch = measurement_batch([(component, metric, 1, 1.0) for component, metric in series])
    columns = columns_of_batch(batch, MEASUREMENTS)
    return index.number_series("p", columns, series_limit=limit)


def test_names_in_a_dictionary_that_no_row_uses_are_not_kept():
    index = SeriesIndex(MEASUREMENTS)
    unused = pa.DictionaryArray.from_arrays(pa.array([1, 1, 1], pa.int32()), pa.array(["x", "y", "z"]))
    batch = measurement_batch([("a", "m", n, 1.0) for n in range(3)]).set_column(0, "component", unused)
    assert rows_of_batch(index, "p", batch).series.tolist() == [0, 0, 0]
    assert index.component_names == ["y"]
