"""Windows against sets of seconds."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gaugehouse.measurements.windows import (
    NO_WINDOWS,
    clip_windows,
    join_windows,
    merge_windows,
    subtract_windows,
)

SPANS = st.lists(st.tuples(st.integers(-30, 30), st.integers(0, 12)).map(lambda span: (span[0], span[0] + span[1])))


def seconds(windows):
    """Return every whole second of the windows, after checking that they are sorted, apart and not empty."""
    assert windows.starts_us.dtype == windows.ends_us.dtype == np.int64
    assert len(windows) == len(windows.starts_us) == len(windows.ends_us)
    assert (windows.starts_us < windows.ends_us).all()
    assert (windows.starts_us[1:] > windows.ends_us[:-1]).all()
    inside = {
        second for start, end in zip(windows.starts_us, windows.ends_us, strict=True) for second in range(start, end)
    }
    assert windows.length_us == len(inside)
    return inside


def covered(spans):
    return {second for start, end in spans for second in range(start, end)}


@given(SPANS)
def test_merging_keeps_every_second_and_adds_none(spans):
    assert seconds(merge_windows(spans)) == covered(spans)
    assert seconds(merge_windows(np.array(spans, np.int64).reshape(-1, 2))) == covered(spans)


@given(SPANS, SPANS)
def test_subtracting_leaves_what_is_only_in_the_first(spans, removed):
    left = subtract_windows(merge_windows(spans), merge_windows(removed))
    assert seconds(left) == covered(spans) - covered(removed)


@given(SPANS, SPANS, SPANS)
def test_joining_is_the_union(a, b, c):
    assert seconds(join_windows([merge_windows(a), merge_windows(b), merge_windows(c)])) == covered([*a, *b, *c])


@given(SPANS, st.integers(-35, 35), st.integers(-35, 35))
def test_clipping_keeps_what_lies_inside(spans, start, end):
    clipped = clip_windows(merge_windows(spans), start, end)
    assert seconds(clipped) == covered(spans) & set(range(start, end))


def test_no_spans_are_no_windows():
    assert len(NO_WINDOWS) == len(join_windows([])) == len(subtract_windows(NO_WINDOWS, NO_WINDOWS)) == 0
    assert NO_WINDOWS.length_us == 0
