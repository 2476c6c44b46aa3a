"""Windows: sets of instants as sorted arrays of half-open spans, and what can be done with two of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Spans [start, end) of UTC instants: sorted, none of them empty, a gap between any two.

    Args:
        starts_us: int64. [us]
        ends_us: int64, as long as `starts_us`. [us]
    """

    starts_us: NDArray[np.int64]
    ends_us: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of spans."""
        return len(self.starts_us)

    @property
    def length_us(self) -> int:
        """Time inside all spans. [us]"""
        return int((self.ends_us - self.starts_us).sum())


def merge_windows(spans_us: Iterable[tuple[int, int]] | NDArray[np.int64]) -> Windows:
    """Return the union of spans: in any order, overlapping, touching and empty ones included.

    Args:
        spans_us: (start, end) each. [us]
    """
    spans = np.array(spans_us if isinstance(spans_us, np.ndarray) else list(spans_us), np.int64).reshape(-1, 2)
    spans = spans[spans[:, 0] < spans[:, 1]]
    spans = spans[np.argsort(spans[:, 0], kind="stable")]
    reached_us = np.maximum.accumulate(spans[:, 1])  # how far the spans up to each one reach
    begins = np.ones(len(spans), np.bool_)
    begins[1:] = spans[1:, 0] > reached_us[:-1]
    is_last = np.roll(begins, -1)  # before the next one begins; the very last is followed by the very first
    return Windows(starts_us=spans[begins, 0], ends_us=reached_us[is_last])


NO_WINDOWS = merge_windows([])


def join_windows(several: Sequence[Windows]) -> Windows:
    """Return what lies in any of the sets."""
    spans = [np.stack([one.starts_us, one.ends_us], axis=1) for one in several]
    return merge_windows(np.concatenate(spans)) if spans else NO_WINDOWS


def clip_windows(windows: Windows, start_us: int, end_us: int) -> Windows:
    """Return the part that lies in [start, end)."""
    starts_us, ends_us = np.maximum(windows.starts_us, start_us), np.minimum(windows.ends_us, end_us)
    kept = starts_us < ends_us
    return Windows(starts_us=starts_us[kept], ends_us=ends_us[kept])


def subtract_windows(windows: Windows, removed: Windows) -> Windows:
    """Return what lies in the first set and not in the second."""
    if not len(windows) or not len(removed):
        return windows
    # What is left between the removed spans, from before the first window to behind the last.
    left_us = np.append(min(windows.starts_us[0], removed.starts_us[0]), removed.ends_us)
    right_us = np.append(removed.starts_us, max(windows.ends_us[-1], removed.ends_us[-1]))
    first = np.searchsorted(right_us, windows.starts_us, side="right")  # the first rest that ends behind each start
    behind = np.searchsorted(left_us, windows.ends_us, side="left")  # the first one that begins at or behind its end
    counts = np.maximum(behind - first, 0)
    window = np.repeat(np.arange(len(windows)), counts)
    rest = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts - first, counts)
    starts_us = np.maximum(windows.starts_us[window], left_us[rest])
    ends_us = np.minimum(windows.ends_us[window], right_us[rest])
    kept = starts_us < ends_us
    return Windows(starts_us=starts_us[kept], ends_us=ends_us[kept])
