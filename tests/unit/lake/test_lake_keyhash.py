"""Hashes among sorted hashes: the same answer as a plain set."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gaugehouse.lake.keyhash import are_known

LAST = 2**64 - 1
# Hashes are spread evenly, but nothing may go wrong where they are not.
HASHES = st.one_of(st.integers(0, LAST), st.integers(0, 300), st.integers(LAST - 300, LAST), st.just(2**63))


def array(numbers):
    return np.array(sorted(numbers), np.uint64)


@given(several=st.lists(st.lists(HASHES, max_size=200), max_size=3), wanted=st.lists(HASHES, max_size=50))
def test_a_hash_is_known_when_one_of_the_arrays_has_it(several, wanted):
    known = are_known(np.array(wanted, np.uint64), [array(numbers) for numbers in several])
    assert known.tolist() == [any(one in numbers for numbers in several) for one in wanted]


def test_all_and_only_those_among_many_are_known():
    draw = np.random.default_rng(0)
    numbers = np.unique(draw.integers(0, LAST, 200_000, np.uint64))
    strange = np.setdiff1d(draw.integers(0, LAST, 2000, np.uint64), numbers)
    wanted = draw.permutation(np.concatenate([numbers[::100], strange]))
    assert (are_known(wanted, [numbers[::2].copy(), numbers[1::2].copy()]) == np.isin(wanted, numbers)).all()
