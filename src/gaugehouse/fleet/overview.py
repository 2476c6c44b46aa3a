"""All devices of a project at once: who they are, what they are, how many of each kind. Columns from memory."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import pyarrow as pa
import structlog
from numpy.typing import NDArray

from gaugehouse.database import Database
from gaugehouse.errors import GaugehouseError
from gaugehouse.fleet.roster import Roster
from gaugehouse.fleet.states import STATES, Codes, Judged, State, judge
from gaugehouse.fleet.thresholds import Thresholds, find_all_thresholds
from gaugehouse.fleet.trends import find_falling
from gaugehouse.inventory import ProjectView, find_projects
from gaugehouse.lake import Lake, NewestColumns
from gaugehouse.lake.keyhash import EMPTY, Int32s
from gaugehouse.measurements.heartbeat import BATTERY, STATUS_METRICS
from gaugehouse.measurements.selection import to_epoch_us

log = structlog.get_logger(__name__)

PORTION = 65_536  # devices that are looked at together: a few megabytes
PICTURE_AGE_S = 1.0  # of what devices were when a list of them was begun, for the pages that go on with it;
PICTURE_TIMES = 10  # or so many times what it took
TREND_AGE_S = 60.0
TREND_SHARE = 20  # a question that took a second is asked again after twenty, should that be longer
COUNTS_AGE_S = 5.0  # scrapers that come more often see the same counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Devices:
    """Devices of a project with their newest values, all in the order of their names.

    Args:
        numbers: Of each device; `Lake.name_components` names them.
        newest: Of STATUS_METRICS.
        judged: What they are.
    """

    numbers: Int32s
    newest: NewestColumns
    judged: Judged


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How a fleet is.

    Args:
        online: In touch and well.
        at_risk: In touch, with a reason to look after them.
        offline: Silent for too long, or saying so.
        battery_sum: Of the newest levels of all devices that have one. [%]
        battery_count: How many those are.
    """

    online: int = 0
    at_risk: int = 0
    offline: int = 0
    battery_sum: float = 0.0
    battery_count: int = 0

    @property
    def devices(self) -> int:
        return self.online + self.at_risk + self.offline

    def __add__(self, other: "Counts") -> "Counts":
        """Return the counts of two fleets together."""
        return Counts(
            online=self.online + other.online,
            at_risk=self.at_risk + other.at_risk,
            offline=self.offline + other.offline,
            battery_sum=self.battery_sum + other.battery_sum,
            battery_count=self.battery_count + other.battery_count,
        )

    @property
    def average_battery(self) -> float | None:
        """Mean of the newest levels; None without any. [%]"""
        return self.battery_sum / self.battery_count if self.battery_count else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trend:
    """Whose battery falls too fast, as asked at some moment [monotonic s], which took some time."""

    numbers: Int32s
    thresholds: Thresholds
    asked_at_s: float
    duration_s: float

    def is_fresh(self, thresholds: Thresholds, now_s: float) -> bool:
        return thresholds == self.thresholds and now_s - self.asked_at_s < max(
            TREND_AGE_S, TREND_SHARE * self.duration_s
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Picture:
    """What all devices of a project were at some moment [monotonic s], which took some time; 5 bytes a device."""

    numbers: Int32s
    state: Codes
    thresholds: Thresholds
    judged_at_s: float
    duration_s: float

    def is_fresh(self, thresholds: Thresholds, now_s: float) -> bool:
        age_limit_s = max(PICTURE_AGE_S, PICTURE_TIMES * self.duration_s)
        return thresholds == self.thresholds and now_s - self.judged_at_s < age_limit_s


@dataclass(slots=True, kw_only=True)
class Fleet:
    """The devices of all projects. Shared by all threads."""

    lake: Lake
    database: Database
    roster: Roster
    _trends: dict[str, _Trend] = field(default_factory=dict)
    _counts: dict[str, Counts] = field(default_factory=dict)
    _counted_at_s: float = float("-inf")
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _asking: dict[str, threading.Lock] = field(default_factory=dict)
    _trend_lock: threading.Lock = field(default_factory=threading.Lock)
    _pictures: dict[str, _Picture] = field(default_factory=dict)
    _beside: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(max_workers=1, thread_name_prefix="fleet-trends")
    )
    _asked_beside: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, lake: Lake, database: Database) -> "Fleet":
        return cls(lake=lake, database=database, roster=Roster(lake=lake, database=database))

    def find_devices(self, project: str, project_id: str, *, visible: str | None = None) -> Int32s:
        """Return the numbers of the devices that a caller may see, in order of their names."""
        devices = self.roster.find_devices(project, project_id)
        if visible is None:
            return devices
        own: Int32s = devices[np.isin(devices, self.lake.number_components(project, [visible]))]
        return own

    def judge(self, project: str, numbers: Int32s, thresholds: Thresholds, now: datetime) -> Devices:
        """Return devices by number with what they are now.

        Whose battery falls is asked of the lake for all devices together, at most once a minute.

        Raises:
            Unavailable: A file cannot be read.
        """
        return self._judge(project, numbers, self._find_falling(project, thresholds, now), thresholds, now)

    def _judge(self, project: str, numbers: Int32s, falling: Int32s, thresholds: Thresholds, now: datetime) -> Devices:
        newest = self.lake.newest_columns(project, numbers, STATUS_METRICS)
        is_falling: NDArray[np.bool_] = np.isin(numbers, falling)
        judged = judge(newest, is_falling, thresholds, to_epoch_us(now))
        return Devices(numbers=numbers, newest=newest, judged=judged)

    def find_in_state(
        self, project: str, numbers: Int32s, state: State, thresholds: Thresholds, now: datetime
    ) -> Int32s:
        """Return those of some devices that are in a state, in the same order. Raises as `judge`."""
        found: Int32s = numbers[self._find_states(project, numbers, thresholds, now) == STATES.index(state)]
        return found

    def list_in_state(
        self,
        project: str,
        numbers: Int32s,
        state: State,
        thresholds: Thresholds,
        now: datetime,
        *,
        goes_on: bool,
    ) -> Int32s:
        """Return what `find_in_state` does for all devices of a project; page after page without judging all again.

        Args:
            project: Slug.
            numbers: All of its devices.
            state: Which they are to be in.
            thresholds: Of the project.
            now: The clock.
            goes_on: Whether this is a later page of a list: then what they were a moment ago is good enough. Somebody
                who looks at a million devices by pages would have them all judged a hundred times.
        """
        picture = self._pictures.get(project)
        if not goes_on or picture is None or not picture.is_fresh(thresholds, time.monotonic()):
            begun_s = time.monotonic()
            states = self._find_states(project, numbers, thresholds, now)
            ended_s = time.monotonic()
            picture = self._pictures[project] = _Picture(
                numbers=numbers,
                state=states,
                thresholds=thresholds,
                judged_at_s=ended_s,
                duration_s=ended_s - begun_s,
            )
        found: Int32s = picture.numbers[picture.state == STATES.index(state)]
        return found

    def _find_states(self, project: str, numbers: Int32s, thresholds: Thresholds, now: datetime) -> Codes:
        falling = self._find_falling(project, thresholds, now)
        parts = self._portions(project, numbers, falling, thresholds, now)
        return np.concatenate([np.empty(0, np.uint8), *(part.judged.state for part in parts)])

    def _portions(
        self, project: str, numbers: Int32s, falling: Int32s, thresholds: Thresholds, now: datetime
    ) -> Iterator[Devices]:
        for portion in portions(numbers):
            yield self._judge(project, portion, falling, thresholds, now)

    def count(self, project: str, numbers: Int32s, thresholds: Thresholds, now: datetime) -> Counts:
        """Return how some devices of a project are. Raises as `judge`."""
        return self._count(project, numbers, self._find_falling(project, thresholds, now), thresholds, now)

    def _count(self, project: str, numbers: Int32s, falling: Int32s, thresholds: Thresholds, now: datetime) -> Counts:
        counts = Counts()
        for part in self._portions(project, numbers, falling, thresholds, now):
            of_state = np.bincount(part.judged.state, minlength=len(STATES)).tolist()
            levels = part.newest.value[STATUS_METRICS.index(BATTERY)]
            known = levels[~np.isnan(levels)]
            counts += Counts(
                online=of_state[STATES.index(State.ONLINE)],
                at_risk=of_state[STATES.index(State.AT_RISK)],
                offline=of_state[STATES.index(State.OFFLINE)],
                battery_sum=float(known.sum()),
                battery_count=int(known.size),
            )
        return counts

    def count_all(self, now: datetime) -> dict[str, Counts]:
        """Return how the fleet of every project that has devices is, at most a few seconds old.

        It waits for no file: whose battery falls is what is known of it by now, and asked for beside (`trend_age_s`). A
        project one of whose files cannot be read is left out.

        Raises:
            Unavailable: The database is away.
        """
        with self._lock:
            if time.monotonic() - self._counted_at_s < COUNTS_AGE_S:
                return self._counts
            with self.database.reading() as session:
                projects, thresholds = find_projects(session), find_all_thresholds(session)
            counts: dict[str, Counts] = {}
            for one in projects:
                try:
                    counted = self._count_project(one, thresholds.get(one.id, Thresholds()), now)
                except GaugehouseError:
                    continue
                if counted.devices:
                    counts[one.slug] = counted
            self._counts, self._counted_at_s = counts, time.monotonic()
            return counts

    def _count_project(self, project: ProjectView, thresholds: Thresholds, now: datetime) -> Counts:
        self.lake.refuse_unread(project.slug)
        devices = self.roster.find_devices(project.slug, project.id)
        if not devices.size:
            return Counts()
        known = self._trends.get(project.slug)
        if known is None or not known.is_fresh(thresholds, time.monotonic()):
            self._ask_beside(project.slug, thresholds, now)
        falling = devices[:0] if known is None else known.numbers
        return self._count(project.slug, devices, falling, thresholds, now)

    def trend_ages_s(self) -> dict[str, float]:
        """Return how old what is known of falling batteries is, by project; those not asked about left out. [s]"""
        now_s = time.monotonic()
        return {project: now_s - trend.asked_at_s for project, trend in list(self._trends.items())}

    def _ask_beside(self, project: str, thresholds: Thresholds, now: datetime) -> None:
        """Have it asked whose battery falls, by a thread for all projects; once at a time."""
        with self._trend_lock:
            if project in self._asked_beside:
                return
            self._asked_beside.add(project)

        def ask() -> None:
            try:
                self._find_falling(project, thresholds, now)
            except GaugehouseError as exc:
                log.warning("trend_unknown", project=project, code=exc.code)
            finally:
                with self._trend_lock:
                    self._asked_beside.discard(project)

        with suppress(RuntimeError):  # it is being closed
            self._beside.submit(ask)

    def close(self) -> None:
        """Ask for nothing beside any more, and wait for what is under way: the lake is about to close."""
        self._beside.shutdown(cancel_futures=True)

    def _find_falling(self, project: str, thresholds: Thresholds, now: datetime) -> Int32s:
        with self._trend_lock:
            asking = self._asking.setdefault(project, threading.Lock())
        with asking:  # one asks, the others wait for its answer
            known = self._trends.get(project)
            if known is None or not known.is_fresh(thresholds, time.monotonic()):
                known = self._trends[project] = self._ask_falling(project, thresholds, now)
            return known.numbers

    def _ask_falling(self, project: str, thresholds: Thresholds, now: datetime) -> _Trend:
        started_s = time.monotonic()
        names = find_falling(self.lake.pin(), project, thresholds, now).column("component")
        numbers = self.lake.number_components(project, _as_array(names))
        ended_s = time.monotonic()
        return _Trend(
            numbers=numbers[numbers != EMPTY],
            thresholds=thresholds,
            asked_at_s=ended_s,
            duration_s=ended_s - started_s,
        )

    def forget(self, project: str) -> None:
        """Know nothing any more of a project that was deleted."""
        self.roster.forget(project)
        with self._trend_lock:
            self._trends.pop(project, None)
            self._asking.pop(project, None)
            self._pictures.pop(project, None)


def portions(numbers: Int32s) -> Iterator[Int32s]:
    """Yield devices some at a time."""
    for at in range(0, numbers.size, PORTION):
        yield numbers[at : at + PORTION]


def _as_array(column: pa.ChunkedArray) -> pa.StringArray:
    array = column.combine_chunks()
    return pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) else array
