import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaugehouse.inventory.seen_names import FEW, FRESH, PORTION, SeenNames

names = st.lists(st.text(max_size=3), max_size=200)


@given(st.lists(names, max_size=6), names)
def test_it_is_a_set_of_names(added, asked):
    seen, model = SeenNames(), set()
    for some in added:
        seen.add(some)
        model.update(some)
        assert len(seen) == len(model)
        assert seen.find_missing(asked) == [name for name in asked if name not in model]


@pytest.mark.parametrize("count", [0, 1, FRESH, FRESH + 1, PORTION + 2 * FRESH])
def test_few_and_many_are_found_before_and_after_they_are_sorted_in(count):
    seen = SeenNames(f"device-{number}" for number in range(count))
    seen.add(["late", "device-0", "late"])
    known = [f"device-{number}" for number in range(count)]
    assert len(seen) == len({*known, "late", "device-0"})
    assert seen.find_missing(known) == []
    for asked in (["new", "late"], ["new", *known, "late", "other"], ["new"] * (FEW + 1)):
        assert seen.find_missing(asked) == [name for name in asked if name in {"new", "other"}]


def test_a_name_takes_8_bytes_once_it_is_sorted_in():
    seen = SeenNames(f"device-{number}" for number in range(200_000))
    settled, fresh = seen._hashes
    assert (len(settled) + len(fresh), len(fresh) <= len(settled) // 8) == (200_000, True)
    assert sys.getsizeof(settled) <= 9 * len(settled)
