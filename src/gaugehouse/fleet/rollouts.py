"""Rollouts: which devices are told to run a release, how many of them, and what one of them is told."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from gaugehouse.database import Database, database_now, new_id
from gaugehouse.database.pages import load_page, read_order
from gaugehouse.database.tables import Component, FirmwareRelease, FirmwareRollout
from gaugehouse.errors import NotFound, Refused
from gaugehouse.fleet.releases import get_form, get_release_row
from gaugehouse.fleet.targets import Device, Plan, Release, ReleaseState, Rollout, RolloutState, Target, choose_target
from gaugehouse.fleet.versions import Form
from gaugehouse.inventory import Page
from gaugehouse.inventory.checks import find_label_problem
from gaugehouse.measurements.names import find_name_problem
from gaugehouse.query import resolve_components

MAX_LISTED_COMPONENTS = 10_000  # of one rollout; longer lists are a label's work
PLAN_AGE_S = 1.0
SORT_COLUMNS = {"created_at": FirmwareRollout.created_at}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRollout:
    """Who is to be told to run a release; all that is given must fit.

    Args:
        release: Id.
        share_percent: How many of those who fit. [%]
        labels: All of these labels with these values.
        components: Names or ids; None is everybody.
    """

    release: str
    share_percent: float = 100.0
    labels: Mapping[str, str] = field(default_factory=dict)
    components: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What the inventory says of a component, as far as decisions look at it."""

    type: str
    labels: Mapping[str, str]

    def device(self, name: str, version: str | None) -> Device:
        """Return it as somebody who asks what to run, under its name and with the version that it runs."""
        return Device(name=name, component_type=self.type, labels=self.labels, version=version)


UNDESCRIBED = Described(type="", labels={})  # what has not sent anything yet


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutView:
    """A rollout as others see it."""

    id: str
    release: str
    version: str
    state: RolloutState
    share_percent: float
    labels: dict[str, str]
    components: tuple[str, ...] | None
    author: str
    created_at: datetime
    updated_at: datetime


def add_rollout(session: Session, project_id: str, new: NewRollout, *, author: str) -> RolloutView:
    """Begin to tell devices to run a release.

    Raises:
        NotFound: the project has no such release or component; components are named.
        Refused: the release is withdrawn, or the share, the labels or the length of the list are not acceptable.
    """
    release = get_release_row(session, project_id, new.release)
    if release.state == ReleaseState.WITHDRAWN:
        raise _refused("release", "is withdrawn: make it available first")
    _check(new)
    names = None if new.components is None else resolve_components(session, project_id, names=new.components)
    row = FirmwareRollout(
        id=new_id("rol"),
        project_id=project_id,
        release_id=release.id,
        state=RolloutState.ACTIVE.value,
        share_percent=new.share_percent,
        labels=dict(new.labels),
        components=None if names is None else list(names),
        author=author,
        created_at=(now := session.scalars(select(database_now())).one()),
        updated_at=now,
    )
    session.add(row)
    session.flush()
    return _view(row, release.version)


def change_rollout(
    session: Session,
    project_id: str,
    rollout_id: str,
    *,
    state: str | None = None,
    share_percent: float | None = None,
) -> RolloutView:
    """Pause, continue or end a rollout, or change its share; a share that grows only adds devices.

    Raises:
        NotFound: the project has none of this id.
        Refused: the state is none, the share is not within 0 and 100, or the rollout has ended.
    """
    row = _get_row(session, project_id, rollout_id)
    if row.state == RolloutState.ENDED:
        raise _refused("state", "is ended: begin a new rollout")
    if state is not None and state not in set(RolloutState):
        raise _refused("state", f"is not one of {', '.join(RolloutState)}")
    if share_percent is not None:
        _check_share(share_percent)
        row.share_percent = share_percent
    row.state = row.state if state is None else state
    row.updated_at = session.scalars(select(database_now())).one()
    session.flush()
    return _view(row, get_release_row(session, project_id, row.release_id).version)


def find_rollouts(
    session: Session,
    project_id: str,
    *,
    include_ended: bool = False,
    sort: str = "-created_at",
    limit: int = 100,
    cursor: str | None = None,
) -> Page[RolloutView]:
    """Return one page of a project's rollouts, ended ones on request."""
    statement = select(FirmwareRollout).where(FirmwareRollout.project_id == project_id)
    if not include_ended:
        statement = statement.where(FirmwareRollout.state != RolloutState.ENDED)
    order = read_order(sort, SORT_COLUMNS, FirmwareRollout.id)
    rows, next_cursor, total = load_page(session, statement, order, limit=limit, cursor=cursor)
    named = select(FirmwareRelease.id, FirmwareRelease.version).where(
        FirmwareRelease.id.in_([row.release_id for row in rows])
    )
    versions = {row.id: row.version for row in session.execute(named)}
    return Page(items=tuple(_view(row, versions[row.release_id]) for row in rows), next_cursor=next_cursor, total=total)


def get_rollout(session: Session, project_id: str, rollout_id: str) -> RolloutView:
    """Return a rollout, ended or not; NotFound when the project has none of this id."""
    row = _get_row(session, project_id, rollout_id)
    return _view(row, get_release_row(session, project_id, row.release_id).version)


def load_plan(session: Session, project_id: str) -> Plan:
    """Return all that a project decided about firmware."""
    rows = session.scalars(
        select(FirmwareRelease)
        .where(FirmwareRelease.project_id == project_id)
        .order_by(FirmwareRelease.created_at.desc(), FirmwareRelease.id)
    )
    releases = {row.id: _release(row) for row in rows}
    open_rollouts = session.scalars(
        select(FirmwareRollout).where(
            FirmwareRollout.project_id == project_id, FirmwareRollout.state != RolloutState.ENDED
        )
    )
    return Plan(
        form=get_form(session, project_id),
        releases=tuple(releases.values()),
        rollouts=tuple(_rollout(row, releases[row.release_id]) for row in open_rollouts),
    )


class Plans:
    """What each project decided, at most a second old: every device asks every minute. Shared by all threads.

    Args:
        db: Where it is decided.
        clock: Monotonic seconds. [s]
    """

    def __init__(self, db: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._db = db
        self._clock = clock
        self._plans: dict[str, tuple[float, Plan]] = {}
        self._lock = threading.Lock()

    def recall(self, project_id: str) -> Plan | None:
        """Return a project's plan if it is known and young enough; without a look into the database."""
        loaded_s, plan = self._plans.get(project_id, (float("-inf"), None))
        return plan if self._clock() - loaded_s < PLAN_AGE_S else None

    def get(self, project_id: str) -> Plan:
        """Return a project's plan."""
        recalled = self.recall(project_id)
        if recalled is not None:
            return recalled
        with self._lock:  # one asks the database, the others wait for what it finds
            loaded_s, plan = self._plans.get(project_id, (float("-inf"), None))
            now_s = self._clock()
            if plan is None or now_s - loaded_s >= PLAN_AGE_S:
                with self._db.reading() as session:
                    plan = load_plan(session, project_id)
                self._plans[project_id] = (now_s, plan)
        return plan

    def form(self, project_id: str) -> Form:
        """Return the form of a project's versions."""
        return self.get(project_id).form

    def forget(self, project_id: str) -> None:
        """Ask the database anew: something was decided here."""
        with self._lock:
            self._plans.pop(project_id, None)

    def find_target(self, project_id: str, component: str, version: str | None) -> Target:
        """Return what a component is to run; the inventory is asked only where types or labels decide.

        Args:
            project_id: The one project.
            component: Name; one that has not sent anything yet has no type and no labels.
            version: What it runs, if it ever said.
        """
        plan = self.get(project_id)
        described = self.describe(project_id, [component])[component] if plan.looks_at_components else UNDESCRIBED
        return choose_target(plan, described.device(component, version))

    def describe(self, project_id: str, components: Sequence[str]) -> dict[str, Described]:
        """Return what the inventory says of components, also of those that it does not know; in one question."""
        statement = select(Component.name, Component.type, Component.labels).where(
            Component.project_id == project_id, Component.name.in_(components)
        )
        with self._db.reading() as session:
            found = {row.name: Described(type=row.type, labels=row.labels) for row in session.execute(statement)}
        return {component: found.get(component, UNDESCRIBED) for component in components}


def _check(new: NewRollout) -> None:
    _check_share(new.share_percent)
    problem = find_label_problem(new.labels)
    if problem is not None:
        raise _refused("labels", problem)
    if new.components is not None and not 1 <= len(new.components) <= MAX_LISTED_COMPONENTS:
        raise _refused("components", f"are {len(new.components)}: name 1 to {MAX_LISTED_COMPONENTS}, or use a label")


def _check_share(share_percent: float) -> None:
    if not 0 <= share_percent <= 100:
        raise _refused("share_percent", f"is {share_percent}, not within 0 and 100")


def _refused(field_name: str, reason: str) -> Refused:
    return Refused(
        f"the rollout cannot be kept: {field_name} {reason}",
        code="rollout_refused",
        fields={"errors": [{"field": field_name, "reason": reason}]},
    )


def _get_row(session: Session, project_id: str, rollout_id: str) -> FirmwareRollout:
    row = session.get(FirmwareRollout, rollout_id) if find_name_problem(rollout_id) is None else None
    if row is None or row.project_id != project_id:
        raise NotFound(f"there is no rollout {rollout_id[:64]!r}", code="rollout_not_found")
    return row


def _release(row: FirmwareRelease) -> Release:
    return Release(
        id=row.id,
        component_type=row.component_type,
        version=row.version,
        state=ReleaseState(row.state),
        url=row.url,
        sha256=row.sha256,
        created_at=row.created_at,
    )


def _rollout(row: FirmwareRollout, release: Release) -> Rollout:
    return Rollout(
        id=row.id,
        release=release,
        state=RolloutState(row.state),
        share_percent=row.share_percent,
        labels=row.labels,
        components=None if row.components is None else frozenset(row.components),
        created_at=row.created_at,
    )


def _view(row: FirmwareRollout, version: str) -> RolloutView:
    return RolloutView(
        id=row.id,
        release=row.release_id,
        version=version,
        state=RolloutState(row.state),
        share_percent=row.share_percent,
        labels=row.labels,
        components=None if row.components is None else tuple(row.components),
        author=row.author,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
