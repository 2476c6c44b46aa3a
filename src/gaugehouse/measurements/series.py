"""Rows of many series as contiguous arrays, the shape that facts are computed on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesRows:
    """Measurements grouped by series, each series in strictly increasing time.

    Series are ordered by (component, metric); the rows of series i are `offsets[i]:offsets[i + 1]`.

    Args:
        components: Component name per series.
        metrics: Metric name per series.
        offsets: int64, one more than there are series.
        measured_at_us: int64 per row, microseconds since 1970 UTC. [us]
        value: float64 per row, NaN where the stored value is null.
        quality: uint8 per row: 0 good, 1 uncertain, 2 bad.
    """

    components: list[str]
    metrics: list[str]
    offsets: NDArray[np.int64]
    measured_at_us: NDArray[np.int64]
    value: NDArray[np.float64]
    quality: NDArray[np.uint8]

    @classmethod
    def empty(cls) -> "SeriesRows":
        """Return no series."""
        return cls(
            components=[],
            metrics=[],
            offsets=np.zeros(1, np.int64),
            measured_at_us=np.empty(0, np.int64),
            value=np.empty(0, np.float64),
            quality=np.empty(0, np.uint8),
        )

    def __len__(self) -> int:
        """Return the number of series."""
        return len(self.components)
