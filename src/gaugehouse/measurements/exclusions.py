"""Exclusion windows: time that is taken out of the numbers on purpose, with a reason and an author."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from gaugehouse.measurements.selection import to_epoch_us
from gaugehouse.measurements.windows import NO_WINDOWS, Windows, clip_windows, merge_windows


class ExclusionKind(StrEnum):
    """Why time does not count."""

    MAINTENANCE = "maintenance"  # planned
    CALIBRATION = "calibration"
    OTHER = "other"  # the reason says what


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusion:
    """One window [start, end) of some components, or of all.

    Args:
        id: exc_...
        kind: maintenance, calibration or other.
        components: Names; None is every component of the project, later ones included.
        start: First instant that does not count, UTC.
        end: First one that counts again, UTC.
        reason: In words.
        author: Who said so.
    """

    id: str
    kind: ExclusionKind
    components: tuple[str, ...] | None
    start: datetime
    end: datetime
    reason: str
    author: str


def find_excluded(
    exclusions: Iterable[Exclusion], components: Sequence[str], start: datetime, end: datetime
) -> dict[str, Windows]:
    """Return what is taken out of [start, end) for each component: merged, disjoint, sorted.

    Components without a window of their own share one value: a hundred thousand of them cost nothing.

    Args:
        exclusions: In any order, overlapping or not.
        components: Names.
        start: Of the period, inclusive.
        end: Exclusive.
    """
    common: list[tuple[int, int]] = []
    own: dict[str, list[tuple[int, int]]] = {}
    for one in exclusions:
        span = (to_epoch_us(one.start), to_epoch_us(one.end))
        if one.components is None:
            common.append(span)
        for component in one.components or ():
            own.setdefault(component, []).append(span)
    period_us = (to_epoch_us(start), to_epoch_us(end))
    shared = clip_windows(merge_windows(common), *period_us) if common else NO_WINDOWS
    return {
        name: clip_windows(merge_windows([*common, *own[name]]), *period_us) if name in own else shared
        for name in components
    }
