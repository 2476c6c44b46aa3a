"""What counts of a period, for each series: exclusions, signs of life, shifts; and the facts under these rules."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from gaugehouse.kpi import Facts, Want, compute_facts, find_held, series_params
from gaugehouse.measurements.exclusions import find_excluded
from gaugehouse.measurements.metric import StateClass
from gaugehouse.measurements.selection import to_epoch_us
from gaugehouse.measurements.series import SeriesRows
from gaugehouse.measurements.shifts import find_busy
from gaugehouse.measurements.windows import NO_WINDOWS, Windows, join_windows, subtract_windows
from gaugehouse.reports.pin import Pin, PinnedSeries

LOOKBACK = timedelta(days=35)  # KPI.md: look-back never exceeds 35 days
BUSY = frozenset({StateClass.UP, StateClass.DOWN, StateClass.IDLE})
STATE_METRIC = "state_metric"
PART_METRICS = ("parts_metric", "good_metric", "scrap_metric")

Indices = Mapping[tuple[str, str], int]


def compute_counted_facts(
    rows: SeriesRows, series: Sequence[PinnedSeries], pin: Pin, edges_us: NDArray[np.int64], *, want: Want, threads: int
) -> Facts:
    """Return the facts of some series of a report.

    Args:
        rows: One entry per series.
        series: Of the pin, with the metrics that say whether they are alive.
        pin: Says what does not count.
        edges_us: Borders of the buckets. [us]
        want: See `compute_facts`.
        threads: Likewise.
    """
    return _compute(
        rows,
        series,
        pin,
        edges_us,
        paused=None,
        silent=_find_silent(rows, series, pin, edges_us),
        excluded=find_series_exclusions(series, pin),
        want=want,
        threads=threads,
    )


def compute_planned_facts(
    rows: SeriesRows, series: Sequence[PinnedSeries], pin: Pin, edges_us: NDArray[np.int64], *, threads: int
) -> Facts:
    """Return the facts of planned busy time: of the metrics that OEE is computed from, and zeros for all others.

    Planned busy time is what lies in shifts, is not excluded, and in which the machine is known to be up, down or idle.
    Parts count inside it only: all factors of OEE are about the same time.

    Args:
        rows: One entry per series.
        series: Of the pin, whole components.
        pin: Says what is planned, and which metrics a component's OEE is computed from.
        edges_us: Borders of the buckets. [us]
        threads: See `compute_facts`.

    Source: ISO 22400-2:2014, planned busy time.
    """
    index = {(one.component, one.metric): place for place, one in enumerate(series)}
    roles = _find_roles(pin, index)
    silent = _find_silent(rows, series, pin, edges_us)  # by the rows of all: signs of life have no role in OEE
    kept = _keep_rows(rows, [place for place in range(len(series)) if place in roles])
    excluded = find_series_exclusions(series, pin)
    off = _find_off_shift(pin)
    paused = [off if roles.get(place) == STATE_METRIC else NO_WINDOWS for place in range(len(series))]
    states = series_params([one.attributes for one in series], excluded=excluded, unheld=silent)
    busy_of: dict[str, Windows] = {}
    for place, role in roles.items():
        if role == STATE_METRIC:
            held = find_held(kept, states, edges_us, place, now_us=to_epoch_us(pin.asked_at), classes=BUSY)
            busy_of[series[place].component] = subtract_windows(held, join_windows([excluded[place], off]))
    for place, role in roles.items():
        busy = busy_of.get(series[place].component)
        if role != STATE_METRIC and busy is not None:
            excluded[place] = subtract_windows(_everything(pin), busy)
    return _compute(
        kept,
        series,
        pin,
        edges_us,
        paused=paused,
        silent=silent,
        excluded=excluded,
        want=Want.NOTHING,
        threads=threads,
    )


def _compute(  # noqa: PLR0913 - rows, whose they are, and what counts of them
    rows: SeriesRows,
    series: Sequence[PinnedSeries],
    pin: Pin,
    edges_us: NDArray[np.int64],
    *,
    excluded: Sequence[Windows],
    paused: Sequence[Windows] | None,
    silent: Sequence[Windows] | None,
    want: Want,
    threads: int,
) -> Facts:
    attributes = [one.attributes for one in series]
    components = {one.name: one for one in pin.components}
    now_us = to_epoch_us(pin.asked_at)
    params = series_params(
        attributes,
        commissioned_at=[components[one.component].commissioned_at for one in series],
        retired_at=[components[one.component].retired_at for one in series],
        excluded=excluded,
        paused=paused,
        unheld=silent,
        subgroups=[(one.subgroup.size or 0, one.subgroup.duration_us or 0) for one in attributes],
    )
    return compute_facts(rows, params, edges_us, now_us=now_us, threads=threads, want=want)


def find_series_exclusions(series: Sequence[PinnedSeries], pin: Pin) -> list[Windows]:
    """Return per series what is excluded, look-back included: a value from a calibration holds into no period."""
    names = list(dict.fromkeys(one.component for one in series))
    excluded = find_excluded(pin.exclusions, names, pin.period.start - LOOKBACK, pin.period.end)
    return [excluded[one.component] for one in series]


def _find_silent(
    rows: SeriesRows, series: Sequence[PinnedSeries], pin: Pin, edges_us: NDArray[np.int64]
) -> list[Windows] | None:
    """Return per series when the metric that says whether its device is alive says nothing; None: none has such one."""
    if all(one.attributes.alive_metric is None for one in series):
        return None
    index = {(one.component, one.metric): place for place, one in enumerate(series)}
    plain = series_params([one.attributes for one in series])
    silent: dict[tuple[str, str | None], Windows] = {}
    for one in series:
        key = (one.component, one.attributes.alive_metric)
        if one.attributes.alive_metric is not None and key not in silent:
            place = index[one.component, one.attributes.alive_metric]
            held = find_held(rows, plain, edges_us, place, now_us=to_epoch_us(pin.asked_at))
            silent[key] = subtract_windows(_everything(pin), held)
    return [silent.get((one.component, one.attributes.alive_metric), NO_WINDOWS) for one in series]


def _find_roles(pin: Pin, index: Indices) -> dict[int, str]:
    """Return which series OEE is computed from, and as what."""
    return {
        index[one.name, metric]: role
        for one in pin.components
        for role in (STATE_METRIC, *PART_METRICS)
        if isinstance(metric := one.attributes.get(role), str) and (one.name, metric) in index
    }


def _find_off_shift(pin: Pin) -> Windows:
    """Return the time between shifts, look-back included; none where a project has no shift calendar."""
    if pin.shift_calendar is None:
        return NO_WINDOWS
    busy = find_busy(pin.shift_calendar.calendar, pin.period.start - LOOKBACK, pin.period.end)
    return subtract_windows(_everything(pin), busy)


def _everything(pin: Pin) -> Windows:
    start_us, end_us = to_epoch_us(pin.period.start - LOOKBACK), to_epoch_us(pin.period.end)
    return Windows(starts_us=np.array([start_us], np.int64), ends_us=np.array([end_us], np.int64))


def _keep_rows(rows: SeriesRows, places: Sequence[int]) -> SeriesRows:
    """Return the same series, with the rows of some of them only."""
    is_kept = np.zeros(len(rows), np.bool_)
    is_kept[list(places)] = True
    lengths = np.diff(rows.offsets)
    keep = np.repeat(is_kept, lengths)
    return replace(
        rows,
        offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(np.where(is_kept, lengths, 0), dtype=np.int64)]),
        measured_at_us=rows.measured_at_us[keep],
        value=rows.value[keep],
        quality=rows.quality[keep],
    )
