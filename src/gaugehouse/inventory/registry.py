"""Names that were seen before, in memory: every batch of rows asks, nearly none brings a new one."""

import threading
import time
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import select

from gaugehouse.database import Database, insert_missing
from gaugehouse.database.tables import Component, Metric, Project
from gaugehouse.errors import NotFound
from gaugehouse.inventory.checks import split_names
from gaugehouse.inventory.components import component_row
from gaugehouse.inventory.metrics import metric_row
from gaugehouse.inventory.projects import ProjectSettings, find_project, get_project_settings
from gaugehouse.inventory.seen_names import SeenNames

SETTINGS_AGE_S = 1.0
NAMES_AT_ONCE = 10_000  # read at a start: a million texts at once are a hundred megabytes for good


class _KnownNames:
    """Names of one project. They are never deleted, so what is known stays true; what is not may be new elsewhere."""

    def __init__(self, project_id: str, components: Iterable[str], metrics: Iterable[str]) -> None:
        self.project_id = project_id
        self.components = SeenNames(components)
        self.metrics = set(metrics)


class Registry:
    """Knows the components and metrics of each project and registers new ones. Shared by all threads."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._projects: dict[str, _KnownNames] = {}
        self._settings: dict[str, tuple[float, ProjectSettings]] = {}  # with when they were read [monotonic s]
        self._lock = threading.Lock()

    def find_unknown(
        self, project: str, components: Sequence[str], metrics: Sequence[str]
    ) -> tuple[list[str], list[str]]:
        """Return the names, of those given, that no one has registered yet, each in the order given.

        The database is asked only about names that are not in memory.

        Raises:
            NotFound: there is no such project.
        """
        known = self._known(project)
        new_components = known.components.find_missing(components)
        new_metrics = [name for name in metrics if name not in known.metrics]
        if new_components or new_metrics:
            self._look_up(known, new_components, new_metrics)
            new_components = known.components.find_missing(new_components)
            new_metrics = [name for name in new_metrics if name not in known.metrics]
        return new_components, new_metrics

    def are_in_memory(self, project: str, components: Sequence[str], metrics: Sequence[str]) -> bool:
        """Say whether all names are known to be registered, without a look into the database."""
        known = self._projects.get(project)
        return known is not None and known.metrics.issuperset(metrics) and not known.components.find_missing(components)

    def register(
        self,
        project: str,
        components: Sequence[str],
        metrics: Sequence[str],
        *,
        kinds: Mapping[str, str] | None = None,
    ) -> None:
        """Make names known, whoever else registers them at the same time. They must have passed the name rules.

        `kinds` says what new metrics are that somebody knows more of; the others are gauges until they are described.

        Raises:
            NotFound: there is no such project.
        """
        known = self._known(project)
        # One order for all: no two transactions deadlock.
        new_components = known.components.find_missing(sorted(set(components)))
        new_metrics = sorted(set(metrics) - known.metrics)
        if not new_components and not new_metrics:
            return
        with self._db.transaction() as session:
            # In memory it may outlive its deletion for a moment: a row of a project that is gone would be our mistake.
            is_there = (
                select(Project.id).where(Project.id == known.project_id).with_for_update(read=True, key_share=True)
            )
            if session.scalar(is_there) is None:
                raise _no_project(project)
            insert_missing(session, Component, [component_row(known.project_id, name) for name in new_components])
            rows = [metric_row(known.project_id, name, kind=(kinds or {}).get(name)) for name in new_metrics]
            insert_missing(session, Metric, rows)
        self._remember(known, new_components, new_metrics)

    def settings(self, project: str) -> ProjectSettings:
        """Return a project's settings, at most a second old.

        Raises:
            NotFound: there is no such project.
        """
        read_at_s, settings = self._settings.get(project, (float("-inf"), ProjectSettings()))
        now_s = time.monotonic()
        if now_s - read_at_s > SETTINGS_AGE_S:
            with self._db.reading() as session:
                found = find_project(session, project)
                if found is None:
                    raise _no_project(project)
                settings = get_project_settings(session, found.id)
            self._settings[project] = (now_s, settings)
        return settings

    def forget(self, project: str) -> None:
        """Know nothing any more of a project that was deleted."""
        with self._lock:
            self._projects.pop(project, None)
            self._settings.pop(project, None)

    def registration_allowed(self, project: str) -> bool:
        """Return whether rows with new names may register them: a setting of the project, asked anew each time."""
        with self._db.reading() as session:
            allowed = session.scalar(select(Project.register_unknown).where(Project.slug == project))
        if allowed is None:
            raise _no_project(project)
        return allowed

    def _known(self, project: str) -> _KnownNames:
        with self._lock:
            known = self._projects.get(project)
        if known is not None:
            return known
        loaded = self._load(project)
        with self._lock:
            return self._projects.setdefault(project, loaded)

    def _load(self, project: str) -> _KnownNames:
        with self._db.reading() as session:
            project_id = session.scalar(select(Project.id).where(Project.slug == project))
            if project_id is None:
                raise _no_project(project)
            return _KnownNames(
                project_id,
                session.scalars(
                    select(Component.name)
                    .where(Component.project_id == project_id)
                    .execution_options(yield_per=NAMES_AT_ONCE)
                ),
                session.scalars(
                    select(Metric.name).where(Metric.project_id == project_id, Metric.component_id.is_(None))
                ),
            )

    def _look_up(self, known: _KnownNames, components: Sequence[str], metrics: Sequence[str]) -> None:
        found_components: list[str] = []
        found_metrics: list[str] = []
        with self._db.reading() as session:
            for portion in split_names(components):
                found_components += session.scalars(
                    select(Component.name).where(Component.project_id == known.project_id, Component.name.in_(portion))
                )
            for portion in split_names(metrics):
                found_metrics += session.scalars(
                    select(Metric.name).where(
                        Metric.project_id == known.project_id,
                        Metric.component_id.is_(None),
                        Metric.name.in_(portion),
                    )
                )
        self._remember(known, found_components, found_metrics)

    def _remember(self, known: _KnownNames, components: Iterable[str], metrics: Iterable[str]) -> None:
        with self._lock:
            known.components.add(components)
            known.metrics.update(metrics)


def _no_project(project: str) -> NotFound:
    return NotFound(f"there is no project {project!r}", code="project_not_found")
