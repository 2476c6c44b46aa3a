"""Which devices a project has, in order of their names: a number each, remembered until a series comes or goes."""

import threading
import time
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from sqlalchemy import select

from gaugehouse.database import Database
from gaugehouse.database.tables import Component
from gaugehouse.lake.keyhash import EMPTY, Int32s
from gaugehouse.lake.newest import Numbered
from gaugehouse.measurements.heartbeat import STATUS_METRICS

AGE_S = 1.0  # of a list that may be short of a device that is just coming; and of the list of retired ones
# While a million devices come one by one, their names must not be sorted for each: a list that took long is used for
# so many times as long, should devices have come meanwhile. One that took less than so long [s] is always made anew.
REUSED_TIMES = 10
ALWAYS_ANEW_S = 0.02


class FindsComponents(Protocol):
    """The part of the lake that knows which components there are."""

    def find_components(self, project: str, metrics: tuple[str, ...]) -> Numbered: ...
    def number_components(self, project: str, names: list[str]) -> Int32s: ...
    def count_series_of(self, project: str) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listed:
    """Devices as of some moment."""

    numbered: Numbered
    series: int
    listed_at_s: float
    duration_s: float

    def holds(self, series: int, now_s: float) -> bool:
        """Say whether these are still all, or cost too much to be found anew so soon."""
        age_s = now_s - self.listed_at_s
        if self.duration_s >= ALWAYS_ANEW_S and age_s < REUSED_TIMES * self.duration_s:
            return True
        # A device that was left out may show at any moment.
        return self.series == series and (self.numbered.is_whole or age_s < AGE_S)


@dataclass(slots=True, kw_only=True)
class Roster:
    """The devices of every project that was asked about. Shared by all threads; 4 bytes a device.

    A device is a component that sent one of the metrics of a status; one that was retired is none any more.
    """

    lake: FindsComponents
    database: Database
    _listed: dict[str, _Listed] = field(default_factory=dict)
    _retired: dict[str, tuple[float, list[str]]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def find_devices(self, project: str, project_id: str) -> Int32s:
        """Return the numbers of all devices that are in use, in order of their names."""
        retired = self.lake.number_components(project, self._find_retired(project, project_id))
        devices = self._list(project).numbers
        return without(devices, retired[retired != EMPTY])

    def _list(self, project: str) -> Numbered:
        with self._lock:  # one sorts a million names, the others wait for it
            series, now_s = self.lake.count_series_of(project), time.monotonic()
            known = self._listed.get(project)
            if known is not None and known.holds(series, now_s):
                return known.numbered
            numbered = self.lake.find_components(project, STATUS_METRICS)
            ended_s = time.monotonic()
            self._listed[project] = _Listed(
                numbered=numbered, series=series, listed_at_s=ended_s, duration_s=ended_s - now_s
            )
            return numbered

    def _find_retired(self, project: str, project_id: str) -> list[str]:
        asked_at_s, names = self._retired.get(project, (float("-inf"), []))
        now_s = time.monotonic()
        if now_s - asked_at_s >= AGE_S:
            retired = select(Component.name).where(
                Component.project_id == project_id, Component.retired_at.is_not(None)
            )
            with self.database.reading() as session:
                names = list(session.scalars(retired))
            self._retired[project] = (now_s, names)
        return names

    def forget(self, project: str) -> None:
        """Know nothing any more of a project that was deleted."""
        with self._lock:
            self._listed.pop(project, None)
            self._retired.pop(project, None)


def without(numbers: Int32s, gone: Int32s) -> Int32s:
    """Return numbers but those that are gone, in the same order."""
    if not gone.size:
        return numbers
    kept: Int32s = numbers[~np.isin(numbers, gone)]
    return kept
