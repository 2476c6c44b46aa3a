"""The newest values of many components side by side: a column per metric, no name and no object per row.

Components go by their numbers in the series index, which hold as long as the process runs: a number costs 4 bytes where
a name costs 20, and nothing has to be looked up twice.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from gaugehouse.lake.keyhash import NEVER, Int32s, Int64s
from gaugehouse.lake.known import STEP_SERIES, SeriesIndex
from gaugehouse.lake.rows import Column, distinct_codes


@dataclass(frozen=True, slots=True, kw_only=True)
class NewestColumns:
    """The newest row of each metric (first axis) of each component (second axis).

    Args:
        measured_at_us: NEVER where there is none. [us]
        received_at_us: As above. [us]
        value: NaN where there is none, or its quality is bad.
    """

    measured_at_us: NDArray[np.int64]
    received_at_us: NDArray[np.int64]
    value: Column

    @property
    def newest_us(self) -> Int64s:
        """The newest instant of each component, NEVER for those without. [us]"""
        newest: Int64s = self.measured_at_us.max(axis=0)
        return newest


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbered:
    """Components by number, in order of their names.

    Args:
        numbers: For `read_newest` and `name_components`.
        is_whole: False when some component was left out because nothing of it shows yet, or any more.
    """

    numbers: Int32s
    is_whole: bool


def find_components(index: SeriesIndex, project: str, metrics: tuple[str, ...], since_us: int) -> Numbered:
    """Return the components of a project that have a row of one of these metrics, measured since an instant [us]."""
    series = index.series_of(project, None, metrics)
    is_seen = index.newest_t[series] >= max(since_us, NEVER + 1)
    found, _positions = distinct_codes(index.component_of[series[is_seen]], index.component_count)
    names = index.name_components(found)
    order = pc.array_sort_indices(names).to_numpy()
    return Numbered(numbers=found[order].astype(np.int32), is_whole=bool(is_seen.all()))


def read_newest(index: SeriesIndex, components: Int32s, metrics: tuple[str, ...], since_us: int) -> NewestColumns:
    """Return the newest rows of components given by number (EMPTY: nothing), those measured since an instant [us]."""
    shape = (components.size, len(metrics))
    t, received_at = np.full(shape, NEVER, np.int64), np.full(shape, NEVER, np.int64)
    value = np.full(shape, np.nan)
    step = max(1, STEP_SERIES // len(metrics))
    for at in range(0, components.size, step):
        part = slice(at, min(at + step, components.size))
        series = index.find_series_of(components[part], metrics)
        t[part], received_at[part], value[part] = index.newest_values(series)
    gone = t < since_us
    t[gone], received_at[gone], value[gone] = NEVER, NEVER, np.nan
    return NewestColumns(measured_at_us=t.T, received_at_us=received_at.T, value=value.T)
