"""Who runs which version, in memory: a million devices ask what to run every minute, and files answer nobody so often.

Derived from the events of the lake, read once per project and then followed: what came since is one question for the
rows received after the last one. A device's entry costs about 140 bytes: its name, and one number that holds the
instant and the version; asking for one costs microseconds.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from gaugehouse.lake import Gone, Snapshot
from gaugehouse.measurements.firmware import FIRMWARE, read_firmware_body
from gaugehouse.measurements.selection import MICROSECOND, Selection, from_epoch_us, to_epoch_us

FOLLOW_S = 1.0  # events by other addresses show after this; those of `note` at once
REPORTING_LOCKS = 64  # as many reports are stored at once
CODE_BITS = 32  # of the number of a version, below the instant

BODIES_SQL = "SELECT DISTINCT body FROM rows"
NEWEST_SQL = """
SELECT component, epoch_us(newest.occurred_at) AS at_us, newest.body AS body
FROM (
    SELECT component, max({'occurred_at': occurred_at, 'received_at': received_at, 'body': body}) AS newest
    FROM rows
    WHERE body IN (SELECT unnest($bodies::VARCHAR[]))
    GROUP BY component
)
"""


class ShowsEvents(Protocol):
    """The part of the lake that is followed."""

    def pin(self) -> Snapshot: ...
    def count_events(self, kind: str) -> int: ...
    def gone(self, project: str, table: str) -> Gone | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What a device runs, and since when it says so."""

    version: str
    since: datetime


def read_running(snapshot: Snapshot, selection: Selection) -> Iterator[tuple[str, int, str]]:
    """Yield (component, instant [us], version) of the last report in force of each component, by one columnar pass.

    Only texts that occur are read here, each once: a fleet has few versions and states.
    """
    bodies = snapshot.read(selection, BODIES_SQL, table="events").read_all().column("body").to_pylist()
    reported = {body: read_firmware_body(body) for body in bodies}
    versions = {body: one.version for body, one in reported.items() if one is not None and one.is_in_force}
    if not versions:
        return
    for batch in snapshot.read(selection, NEWEST_SQL, {"bodies": list(versions)}, table="events"):
        components, instants, texts = (column.to_pylist() for column in batch.columns)
        for component, at_us, body in zip(components, instants, texts, strict=True):
            yield component, at_us, versions[body]


def read_running_at(snapshot: Snapshot, project: str, at: datetime) -> Iterator[tuple[str, int, str]]:
    """Yield the same of all devices of a project as of an instant, by the last report before it."""
    return read_running(snapshot, Selection(project=project, metrics=(FIRMWARE,), end=at + MICROSECOND))


class _Followed:
    """The devices of one project, as far as they were followed."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.followed_s = float("-inf")  # monotonic
        self.counted = -1
        self.as_of: datetime | None = None
        self.gone_before: datetime | None = None
        self.entries: dict[str, int] = {}
        self.versions: list[str] = []
        self.devices: list[int] = []  # by version
        self._codes: dict[str, int] = {}

    def take(self, component: str, at_us: int, version: str) -> None:
        """Take a report in force, unless a later one is known; of one instant the last to come counts."""
        known = self.entries.get(component)
        if known is not None and known >> CODE_BITS > at_us:
            return
        code = self._codes.setdefault(version, len(self.versions))
        if code == len(self.versions):
            self.versions.append(version)
            self.devices.append(0)
        if known is not None:
            self.devices[known & ((1 << CODE_BITS) - 1)] -= 1
        self.devices[code] += 1
        self.entries[component] = at_us << CODE_BITS | code

    def drop_before(self, before: datetime) -> None:
        """Know nothing of reports that retention has dropped."""
        first = to_epoch_us(before) << CODE_BITS
        for component in [name for name, entry in self.entries.items() if entry < first]:
            self.devices[self.entries.pop(component) & ((1 << CODE_BITS) - 1)] -= 1

    def read(self, entry: int) -> Running:
        at_us, code = entry >> CODE_BITS, entry & ((1 << CODE_BITS) - 1)
        return Running(version=self.versions[code], since=from_epoch_us(at_us))


class RunningVersions:
    """Answers from memory which version each device runs. Shared by all threads.

    Args:
        lake: Where events come from.
        clock: Monotonic seconds. [s]
    """

    def __init__(self, lake: ShowsEvents, clock: Callable[[], float] = time.monotonic) -> None:
        self._lake = lake
        self._clock = clock
        self._projects: dict[str, _Followed] = {}
        self._lock = threading.Lock()
        self._reporting = tuple(threading.Lock() for _ in range(REPORTING_LOCKS))

    def find(self, project: str, component: str) -> Running | None:
        """Return what a component runs now, None when it never said, or so long ago that retention dropped it.

        Raises:
            Unavailable: the lake cannot be read.
        """
        self._follow(project)
        return self.recall(project, component)

    def is_current(self, project: str) -> bool:
        """Say whether a project was followed a moment ago, so that `recall` says what `find` would."""
        followed = self._projects.get(project)
        return followed is not None and self._clock() - followed.followed_s < FOLLOW_S

    def recall(self, project: str, component: str) -> Running | None:
        """Return what `find` does, as far as the project was followed; without a look into the lake."""
        followed = self._projects.get(project)
        entry = None if followed is None else followed.entries.get(component)
        return None if followed is None or entry is None else followed.read(entry)

    def read_all(self, project: str) -> Iterator[tuple[str, int, str]]:
        """Yield (component, instant [us], version) of every component that ever said what it runs, in no order."""
        followed = self._follow(project)
        versions, mask = followed.versions, (1 << CODE_BITS) - 1
        for component, entry in list(followed.entries.items()):
            yield component, entry >> CODE_BITS, versions[entry & mask]

    def count(self, project: str) -> Mapping[str, int]:
        """Return how many devices run each version, versions of none left out."""
        followed = self._follow(project)
        with followed.lock:
            return {version: n for version, n in zip(followed.versions, followed.devices, strict=True) if n}

    def reporting(self, project: str, component: str) -> AbstractContextManager[object]:
        """Return what lets one report of a component be compared with what it runs, and stored, at a time.

        Who got no answer sends again: both must not find that the version is a new one.
        """
        return self._reporting[hash((project, component)) % REPORTING_LOCKS]

    def note(self, project: str, component: str, running: Running) -> None:
        """Take a report that was just stored: who sends one and then asks is not told what it ran before."""
        followed = self._projects.get(project)
        if followed is not None:
            with followed.lock:
                followed.take(component, to_epoch_us(running.since), running.version)

    def forget(self, project: str) -> None:
        """Know nothing any more of a project that was deleted."""
        with self._lock:
            self._projects.pop(project, None)

    def _follow(self, project: str) -> _Followed:
        with self._lock:
            followed = self._projects.setdefault(project, _Followed())
        if self._clock() - followed.followed_s < FOLLOW_S:
            return followed
        with followed.lock:
            if self._clock() - followed.followed_s >= FOLLOW_S:
                self._catch_up(project, followed)
        return followed

    def _catch_up(self, project: str, followed: _Followed) -> None:
        now_s, counted = self._clock(), self._lake.count_events(FIRMWARE)  # before the pin: what it misses counts later
        if counted != followed.counted:
            snapshot = self._lake.pin()
            selection = Selection(project=project, metrics=(FIRMWARE,), received_after=followed.as_of)
            for component, at_us, version in read_running(snapshot, selection):
                followed.take(component, at_us, version)
            followed.as_of, followed.counted = snapshot.received_through, counted
        gone = self._lake.gone(project, "events")
        if gone is not None and gone.before != followed.gone_before:
            followed.drop_before(gone.before)
            followed.gone_before = gone.before
        followed.followed_s = now_s
