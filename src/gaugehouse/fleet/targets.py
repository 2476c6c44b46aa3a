"""What a device is to run. Pure: releases, rollouts, and what it runs now; the same question has the same answer.

1. The rollout that includes it: one that lists it goes before one by labels, that before one for everybody; of several
   the newest. It may also lead to an older version: that is how an owner pushes a rollback.
2. A device on a withdrawn release goes back: to the recommended one, else to the newest available one below its own,
   else to the newest available one. Releases that a rollout still tries out are the last choice.
3. The recommended release, if it is newer than what runs. While a rollout of it is active or paused, only the devices
   of that rollout are told: who recommends a release and rolls it out to a tenth means the tenth.
4. Otherwise what runs.

A withdrawn release is never the answer. Where nothing is known or left, there is no version, and a reason.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from hashlib import blake2b

from gaugehouse.fleet.versions import Form

POINTS = 1 << 64  # a device's place on a rollout's line: a share is how far along the line it goes


class ReleaseState(StrEnum):
    """Whether devices may run a release: at most one of a type is recommended."""

    AVAILABLE = "available"
    RECOMMENDED = "recommended"
    WITHDRAWN = "withdrawn"


class RolloutState(StrEnum):
    """Whether a rollout tells anybody: a paused one does not, and keeps its release from everybody else."""

    ACTIVE = "active"
    PAUSED = "paused"
    ENDED = "ended"


class Reason(StrEnum):
    """Why a device is told what it is told."""

    ROLLOUT = "rollout"
    ROLLBACK = "rollback"
    RECOMMENDED = "recommended"
    UP_TO_DATE = "up_to_date"
    NO_ALTERNATIVE = "no_alternative"  # what runs is withdrawn, and there is nothing else
    NOTHING_RELEASED = "nothing_released"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A version that can be run.

    Args:
        id: Of its row.
        component_type: Whom it is for; empty is everybody. One for a device's own type goes before one for everybody.
        version: In the project's form when it was released.
        state: See there.
        url: Where it is fetched, if that is known.
        sha256: Of what is fetched, 64 hexadecimal digits.
        created_at: Orders versions that are of no form.
    """

    id: str
    component_type: str
    version: str
    state: ReleaseState
    url: str | None
    sha256: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """Who is told to run a release: all that is given must fit.

    Args:
        id: Of its row; devices have another place on each rollout's line.
        release: What they are told to run.
        state: Active or paused; an ended one says nothing.
        share_percent: How many of those who fit, by a hash of their names. [%]
        labels: All of these labels with these values.
        components: Names; None is everybody.
        created_at: The newest goes first.
    """

    id: str
    release: Release
    state: RolloutState
    share_percent: float
    labels: Mapping[str, str]
    components: frozenset[str] | None
    created_at: datetime

    def includes(self, device: "Device") -> bool:
        """Say whether a device is one of those who are told."""
        if self.state is not RolloutState.ACTIVE or self.release.component_type not in {"", device.component_type}:
            return False
        if self.components is not None and device.name not in self.components:
            return False
        if any(device.labels.get(key) != value for key, value in self.labels.items()):
            return False
        return find_point(self.id, device.name) < round(self.share_percent / 100 * POINTS)

    @property
    def precedence(self) -> tuple[int, datetime, str]:
        """What orders rollouts: the greatest goes first."""
        narrowness = 2 if self.components is not None else 1 if self.labels else 0
        return (narrowness, self.created_at, self.id)


def find_point(rollout_id: str, component: str) -> int:
    """Return where a device stands on a rollout's line, 0 to 2^64 - 1: for ever, and as if at random.

    >>> find_point("rol_1", "pump-1") == find_point("rol_1", "pump-1") != find_point("rol_2", "pump-1")
    True
    """
    digest = blake2b(f"{rollout_id}\0{component}".encode(), digest_size=8, person=b"gauge.rollout")
    return int.from_bytes(digest.digest(), "big")


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Who asks: its name, what the inventory says of it, and the version it runs, if it ever said."""

    name: str
    component_type: str
    labels: Mapping[str, str]
    version: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a device is to run; no version: it has nothing to do."""

    version: str | None
    url: str | None
    sha256: str | None
    reason: Reason
    rollout: str | None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that a project decided, as of one moment.

    Args:
        form: Of its versions.
        releases: All of them, the newest first.
        rollouts: Those that are not ended.
    """

    form: Form
    releases: tuple[Release, ...]
    rollouts: tuple[Rollout, ...]

    @cached_property
    def ordered_rollouts(self) -> tuple[Rollout, ...]:
        """Rollouts, the one that goes before others first."""
        return tuple(sorted(self.rollouts, key=lambda rollout: rollout.precedence, reverse=True))

    @cached_property
    def tried_out(self) -> frozenset[str]:
        """Ids of the releases that a rollout still hands out."""
        return frozenset(rollout.release.id for rollout in self.rollouts)

    @cached_property
    def looks_at_components(self) -> bool:
        """Whether an answer depends on types or labels, which the inventory must be asked for."""
        return any(release.component_type for release in self.releases) or any(one.labels for one in self.rollouts)

    def releases_for(self, component_type: str) -> list[Release]:
        """Return the releases for a type of component, those for this type alone first."""
        fitting = [release for release in self.releases if release.component_type in {"", component_type}]
        return sorted(fitting, key=lambda release: not release.component_type)

    def find_recommended(self, component_type: str) -> Release | None:
        """Return what a type of component should run."""
        return _find_recommended(self.releases_for(component_type))

    def is_behind(self, version: str, component_type: str) -> bool:
        """Say whether a version is older than the one that is recommended; one of no form is not judged."""
        recommended = self.find_recommended(component_type)
        return recommended is not None and self.form.is_newer(recommended.version, version) is True


def choose_target(plan: Plan, device: Device) -> Target:
    """Return what a device is to run, see above."""
    for rollout in plan.ordered_rollouts:
        if rollout.release.state is not ReleaseState.WITHDRAWN and rollout.includes(device):
            return _tell(rollout.release, Reason.ROLLOUT, rollout.id)
    mine = plan.releases_for(device.component_type)
    running = next((release for release in mine if release.version == device.version), None)
    if running is not None and running.state is ReleaseState.WITHDRAWN:
        way_back = _find_way_back(plan, mine, running)
        return _stay(None, Reason.NO_ALTERNATIVE) if way_back is None else _tell(way_back, Reason.ROLLBACK)
    recommended = _find_recommended(mine)
    if recommended is not None and recommended.id not in plan.tried_out and _is_news(plan.form, recommended, device):
        return _tell(recommended, Reason.RECOMMENDED)
    if device.version is None:
        return _stay(None, Reason.NOTHING_RELEASED)
    return _stay(device.version, Reason.UP_TO_DATE)


def _is_news(form: Form, release: Release, device: Device) -> bool:
    return device.version is None or form.is_newer(release.version, device.version) is True


def _tell(release: Release, reason: Reason, rollout: str | None = None) -> Target:
    return Target(version=release.version, url=release.url, sha256=release.sha256, reason=reason, rollout=rollout)


def _stay(version: str | None, reason: Reason) -> Target:
    return Target(version=version, url=None, sha256=None, reason=reason, rollout=None)


def _find_recommended(mine: Sequence[Release]) -> Release | None:
    return next((release for release in mine if release.state is ReleaseState.RECOMMENDED), None)


def _find_way_back(plan: Plan, mine: Sequence[Release], running: Release) -> Release | None:
    fit = [release for release in mine if release.state is not ReleaseState.WITHDRAWN]
    fit = [release for release in fit if release.id not in plan.tried_out] or fit
    recommended = _find_recommended(fit)
    if recommended is not None:
        return recommended
    older = [release for release in fit if plan.form.is_newer(running.version, release.version)]
    return max(older or fit, key=lambda release: _age(plan.form, release), default=None)


def _age(form: Form, release: Release) -> tuple[object, ...]:
    """Return what orders releases by version; one that is no version of the form (any more) comes before all others."""
    precedence = form.precedence(release.version)
    return (precedence is not None, precedence or (), release.created_at)
