"""Where axes have their ticks, and what stands there: instants on the report's calendar, round numbers.

Charts get finished ticks and labels. What draws them knows neither time zones nor punctuation, so a day of 25 hours is
25 hours wide, and an axis writes numbers as the tables do.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from gaugehouse.measurements.period import Period, bucket_edges_us
from gaugehouse.measurements.selection import from_epoch_us, to_epoch_us
from gaugehouse.reports.render.instants import MONTHS
from gaugehouse.reports.render.quantities import FIXED, NumberStyle, format_number, write_power_of_ten

TICKS_LIMIT = 10_000
SECOND_US = 1_000_000
MINUTE_S, HOUR_S, DAY_S = 60.0, 3_600.0, 86_400.0
SMALLEST_DRAWN = 1e-290
LARGEST_DRAWN = 1e300  # differences of larger numbers overflow
STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
FACTORS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
SHORTENED_FROM = 1e5
LARGEST_LABEL = 1e13
MAX_DECIMALS = 9
TINY = 1e-4
PADDING = 0.05  # of the span, above and below flat data


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """An axis: its bounds, and its ticks with their labels."""

    low: float
    high: float
    ticks: tuple[float, ...]
    labels: tuple[str, ...]


def find_value_axis(low: float, high: float, style: NumberStyle, *, most: int = 4) -> Axis:
    """Return an axis that holds [low, high], with round numbers.

    Args:
        low: Smallest number drawn, finite.
        high: Largest number drawn, finite.
        style: Punctuation of the labels.
        most: About how many ticks.
    """
    low, high = max(low, -LARGEST_DRAWN), min(high, LARGEST_DRAWN)
    if high - low <= max(abs(low) * 1e-9, abs(high) * 1e-9, SMALLEST_DRAWN):  # flat: give it room
        room = max(abs(high) * PADDING, 1e-9) if high else 1.0
        low, high = low - room, high + room
    step = _find_step((high - low) / most)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(step * place for place in range(first, last + 1))
    return Axis(low=ticks[0], high=ticks[-1], ticks=ticks, labels=tuple(_label_values(ticks, step, style)))


def _find_step(least: float) -> float:
    magnitude = 10.0 ** math.floor(math.log10(least))
    return next(size * magnitude for size in STEPS if size * magnitude >= least * (1 - 1e-9))


def _label_values(ticks: tuple[float, ...], step: float, style: NumberStyle) -> list[str]:
    largest = max(abs(ticks[0]), abs(ticks[-1]))
    factor, sign = _find_factor(largest, step)
    scaled = step / factor
    decimals = next((places for places in range(MAX_DECIMALS) if abs(scaled - round(scaled, places)) < scaled / 1e6), 9)
    labels = [format_number(tick / factor, style, decimals=decimals) for tick in ticks]
    return [label + sign if label.strip("0.,") else "0" for label in labels]


def _find_factor(largest: float, step: float) -> tuple[float, str]:
    """Return what labels are divided by, and what stands behind them instead."""
    if largest >= LARGEST_LABEL or step < TINY:
        exponent = math.floor(math.log10(largest))
        return 10.0**exponent, f"{FIXED}×{FIXED}{write_power_of_ten(exponent)}"
    if largest < SHORTENED_FROM:
        return 1.0, ""
    return next(((size, sign) for size, sign in FACTORS if step >= size / 10), (1.0, ""))


@dataclass(frozen=True, slots=True)
class _Spacing:
    """A way to place ticks on the calendar: every border of `unit` whose local time is kept."""

    length_s: float
    unit: str
    is_kept: Callable[[datetime], bool]
    label: Callable[[datetime], str]


def _label_clock(local: datetime) -> str:
    return _label_day(local) if not (local.hour or local.minute) else f"{local:%H:%M}"


def _label_day(local: datetime) -> str:
    return f"{local.day}{FIXED}{MONTHS[local.month - 1]}"


def _label_month(local: datetime) -> str:
    return f"{local.year}" if local.month == 1 else MONTHS[local.month - 1]


def _every_minutes(minutes: int) -> _Spacing:
    return _Spacing(minutes * MINUTE_S, f"PT{minutes}M", lambda _local: True, _label_clock)


def _every_hours(hours: int) -> _Spacing:
    return _Spacing(hours * HOUR_S, "hour", lambda local: local.hour % hours == 0 and not local.minute, _label_clock)


def _every_days(days: int) -> _Spacing:
    return _Spacing(days * DAY_S, "day", lambda local: local.toordinal() % days == 0, _label_day)


def _every_months(months: int) -> _Spacing:
    return _Spacing(months * 30 * DAY_S, "month", lambda local: (local.month - 1) % months == 0, _label_month)


def _every_years(years: int) -> _Spacing:
    return _Spacing(years * 365 * DAY_S, "year", lambda local: local.year % years == 0, lambda local: f"{local.year}")


_SPACINGS = (
    *map(_every_minutes, (1, 5, 15, 30)),
    *map(_every_hours, (1, 3, 6, 12)),
    *map(_every_days, (1, 2)),
    _Spacing(7 * DAY_S, "week", lambda _local: True, _label_day),
    *map(_every_months, (1, 3)),
    *map(_every_years, (1, 2, 5, 25, 100)),
)


def find_time_axis(period: Period, zone: ZoneInfo, *, most: int = 6) -> Axis:
    """Return an axis over a period in seconds since its start, with ticks on the borders of the zone's calendar. [s]

    Elapsed seconds, not local clocks: where clocks change, a day is as wide as it was long.
    """
    length_s = (period.end - period.start).total_seconds()
    spacing = next((one for one in _SPACINGS if length_s / one.length_s <= most), _SPACINGS[-1])
    start_us = to_epoch_us(period.start)
    kept = [
        (edge_us, local)
        for edge_us in _find_borders(period, spacing).tolist()
        if spacing.is_kept(local := from_epoch_us(edge_us).astimezone(zone))
    ]
    return Axis(
        low=0.0,
        high=length_s,
        ticks=tuple((edge_us - start_us) / SECOND_US for edge_us, _local in kept),
        labels=tuple(spacing.label(local) for _edge_us, local in kept),
    )


def _find_borders(period: Period, spacing: _Spacing) -> NDArray[np.int64]:
    """Return the calendar's borders inside of the period, its own bounds included where they are some. [us]"""
    before = timedelta(seconds=spacing.length_s)
    if spacing.unit.startswith("PT"):  # counted from a full hour before, so that ticks are full minutes of the clock
        before = timedelta(seconds=period.start.timestamp() % HOUR_S + HOUR_S)
    wider = Period(
        start=period.start - before,
        end=period.end + timedelta(microseconds=1),
        timezone=period.timezone,
        expression=period.expression,
    )
    borders = bucket_edges_us(wider, spacing.unit, limit=TICKS_LIMIT)[1:-1]
    return borders[borders >= to_epoch_us(period.start)]
