"""What a whole project runs: who runs which version, and who is behind; for addresses and commands alike."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from gaugehouse.database import Database
from gaugehouse.fleet.census import (
    Census,
    Straggler,
    count_devices,
    find_retired,
    find_stragglers,
    find_types,
    take_census,
)
from gaugehouse.fleet.rollouts import Plans
from gaugehouse.fleet.running import RunningVersions, read_running_at
from gaugehouse.fleet.targets import Plan, Target
from gaugehouse.lake import Lake

Running: TypeAlias = Iterator[tuple[str, int, str]]  # component, since when it says so [us], version


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What devices run, beside what is decided. Shared by all threads."""

    lake: Lake
    database: Database
    versions: RunningVersions
    plans: Plans

    def take_census(
        self, project: str, project_id: str, *, at: datetime | None = None, visible: str | None = None
    ) -> Census:
        """Return how many devices of a project run each version, and how many are behind; retired ones are left out.

        Args:
            project: Slug.
            project_id: Of the same.
            at: As of an instant; None is now.
            visible: The only device that the caller may see; None is all of them.

        Raises:
            Unavailable: the lake or the database cannot be read.
        """
        plan = self.plans.get(project_id)
        types, retired = self._look_up(project_id, plan, by=at)
        if at is None and visible is None and not types:
            counts = Counter(self.versions.count(project))
            gone = (self.versions.recall(project, component) for component in retired)
            counts.subtract(running.version for running in gone if running is not None)
            return take_census({(version, ""): devices for version, devices in counts.items() if devices}, plan)
        fleet = self.versions.read_all(project) if at is None else read_running_at(self.lake.pin(), project, at)
        return take_census(count_devices(_seen(fleet, visible, retired), types), plan)

    def find_stragglers(
        self, project: str, project_id: str, *, limit: int, after: str = "", visible: str | None = None
    ) -> list[Straggler]:
        """Return the first devices behind what is recommended for them, by name.

        Args:
            project: Slug.
            project_id: Of the same.
            limit: At most so many.
            after: Names behind this one only.
            visible: As of `take_census`.
        """
        plan = self.plans.get(project_id)
        types, retired = self._look_up(project_id, plan)
        fleet = _seen(self.versions.read_all(project), visible, retired)
        return find_stragglers(fleet, plan, types, limit=limit, after=after)

    def find_target(self, project: str, project_id: str, component: str) -> tuple[str | None, Target]:
        """Return what a component runs, if it ever said, and what it is to run."""
        running = self.versions.find(project, component)
        version = None if running is None else running.version
        return version, self.plans.find_target(project_id, component, version)

    def _look_up(
        self, project_id: str, plan: Plan, *, by: datetime | None = None
    ) -> tuple[Mapping[str, str], frozenset[str]]:
        """Return the types that decide, and who is retired, now or by an instant."""
        with self.database.reading() as session:
            return find_types(session, project_id, plan), find_retired(session, project_id, by=by)


def _seen(fleet: Running, visible: str | None, retired: frozenset[str]) -> Running:
    return (one for one in fleet if visible in {None, one[0]} and one[0] not in retired)
