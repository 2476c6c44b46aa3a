"""Who runs what, and who is behind what is recommended. Pure, but for the types of components."""

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from gaugehouse.database.tables import Component
from gaugehouse.fleet.targets import Plan, ReleaseState
from gaugehouse.measurements.selection import from_epoch_us

Fleet = Iterable[tuple[str, int, str]]  # component, since when it says so [us], version


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionCount:
    """How many devices of a type run a version.

    Args:
        version: As reported.
        component_type: Empty where no release is for one type alone.
        devices: Number of them.
        state: Of the release; None is a version that was never released here.
        recommended: What they should run; None where nothing is recommended.
        is_behind: Whether that is newer.
    """

    version: str
    component_type: str
    devices: int
    state: ReleaseState | None
    recommended: str | None
    is_behind: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """All devices that ever said what they run, by version, the most frequent first."""

    total_devices: int
    behind_devices: int
    versions: tuple[VersionCount, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Straggler:
    """A device that runs an older version than it should."""

    component: str
    version: str
    since: datetime
    recommended: str


def find_types(session: Session, project_id: str, plan: Plan) -> dict[str, str]:
    """Return the type of each component whose type decides what it should run."""
    wanted = {release.component_type for release in plan.releases} - {""}
    if not wanted:
        return {}
    statement = select(Component.name, Component.type).where(
        Component.project_id == project_id, Component.type.in_(wanted)
    )
    return {row.name: row.type for row in session.execute(statement)}


def find_retired(session: Session, project_id: str, *, by: datetime | None = None) -> frozenset[str]:
    """Return the components that are out of use now, or were by an instant: they are nobody's to look after."""
    retired = Component.retired_at.is_not(None) if by is None else Component.retired_at <= by
    return frozenset(session.scalars(select(Component.name).where(Component.project_id == project_id, retired)))


def count_devices(fleet: Fleet, types: Mapping[str, str]) -> Counter[tuple[str, str]]:
    """Return how many devices there are of each (version, type)."""
    return Counter((version, types.get(component, "")) for component, _since_us, version in fleet)


def take_census(counts: Mapping[tuple[str, str], int], plan: Plan) -> Census:
    """Return who runs what.

    Args:
        counts: Devices by (version, type).
        plan: What the project decided.
    """
    rows = [_count(version, kind, devices, plan) for (version, kind), devices in counts.items()]
    return Census(
        total_devices=sum(row.devices for row in rows),
        behind_devices=sum(row.devices for row in rows if row.is_behind),
        versions=tuple(sorted(rows, key=lambda row: (-row.devices, row.version, row.component_type))),
    )


def _count(version: str, component_type: str, devices: int, plan: Plan) -> VersionCount:
    release = next((one for one in plan.releases_for(component_type) if one.version == version), None)
    recommended = plan.find_recommended(component_type)
    return VersionCount(
        version=version,
        component_type=component_type,
        devices=devices,
        state=None if release is None else release.state,
        recommended=None if recommended is None else recommended.version,
        is_behind=plan.is_behind(version, component_type),
    )


def find_stragglers(
    fleet: Fleet, plan: Plan, types: Mapping[str, str], *, limit: int, after: str = ""
) -> list[Straggler]:
    """Return the first devices behind what is recommended for them, by name.

    Args:
        fleet: Every device and what it runs.
        plan: What the project decided.
        types: From `find_types`.
        limit: At most so many.
        after: Names behind this one only.
    """
    judged: dict[tuple[str, str], bool] = {}  # a fleet has few versions: each is judged once

    def is_behind(version: str, component_type: str) -> bool:
        known = judged.get((version, component_type))
        if known is None:
            known = judged[version, component_type] = plan.is_behind(version, component_type)
        return known

    behind = (one for one in fleet if one[0] > after and is_behind(one[2], types.get(one[0], "")))
    found = heapq.nsmallest(limit, behind)  # a name comes once: nothing else is compared
    return [_straggler(*one, plan, types.get(one[0], "")) for one in found]


def _straggler(component: str, since_us: int, version: str, plan: Plan, component_type: str) -> Straggler:
    recommended = plan.find_recommended(component_type)
    assert recommended is not None  # noqa: S101 - nobody is behind nothing; narrows the type
    since = from_epoch_us(since_us)
    return Straggler(component=component, version=version, since=since, recommended=recommended.version)
