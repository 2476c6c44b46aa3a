"""What a whole project runs: who runs which version, and who is behind; for addresses and commands alike."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from gaugehouse.database import Database
from gaugehouse.fleet.census import Census, Straggler, count_devices, find_stragglers, find_types, take_census
from gaugehouse.fleet.rollouts import Plans
from gaugehouse.fleet.running import RunningVersions, read_running_at
from gaugehouse.fleet.targets import Plan, Target
from gaugehouse.lake import Lake


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
        """Return how many devices of a project run each version, and how many are behind.

        Args:
            project: Slug.
            project_id: Of the same.
            at: As of an instant; None is now.
            visible: The only device that the caller may see; None is all of them.

        Raises:
            Unavailable: the lake or the database cannot be read.
        """
        plan = self.plans.get(project_id)
        types = self._find_types(project_id, plan)
        if at is None and visible is None and not types:
            counts = self.versions.count(project)
            return take_census({(version, ""): devices for version, devices in counts.items()}, plan)
        fleet = self.versions.read_all(project) if at is None else read_running_at(self.lake.pin(), project, at)
        return take_census(count_devices(_seen(fleet, visible), types), plan)

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
        types = self._find_types(project_id, plan)
        fleet = _seen(self.versions.read_all(project), visible)
        return find_stragglers(fleet, plan, types, limit=limit, after=after)

    def find_target(self, project: str, project_id: str, component: str) -> tuple[str | None, Target]:
        """Return what a component runs, if it ever said, and what it is to run."""
        running = self.versions.find(project, component)
        version = None if running is None else running.version
        return version, self.plans.find_target(project_id, component, version)

    def _find_types(self, project_id: str, plan: Plan) -> dict[str, str]:
        with self.database.reading() as session:
            return find_types(session, project_id, plan)


def _seen(fleet: Iterator[tuple[str, int, str]], visible: str | None) -> Iterator[tuple[str, int, str]]:
    return (one for one in fleet if visible in {None, one[0]})
