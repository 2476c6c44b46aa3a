"""Labels that senders bring along: written where a component has none of that name yet, never changed."""

import threading
from collections.abc import Mapping

from sqlalchemy import select

from gaugehouse.database import Database, database_now
from gaugehouse.database.tables import Component, Project
from gaugehouse.inventory.checks import MAX_LABELS, find_label_key_problem, find_text_problem, split_names

REMEMBERED_COMPONENTS = 100_000  # beyond it all are forgotten and asked for again: some MiB


class FirstLabels:
    """Remembers which labels each component has, so that only a first sight asks the database. Shared by all threads.

    Args:
        db: Where components are.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._seen: dict[tuple[str, str], frozenset[str]] = {}
        self._lock = threading.Lock()

    def add_missing(self, project: str, labels: Mapping[str, Mapping[str, str]]) -> None:
        """Give components the labels they lack: what stands there, stays.

        Labels that the inventory does not take (too many, too long) are left out. A project that takes no new names
        from senders takes no labels from them either.

        Args:
            project: Slug.
            labels: Labels by the name of a registered component.
        """
        seen = self._seen
        fresh = {
            name: mine for name, mine in labels.items() if not mine.keys() <= seen.get((project, name), frozenset())
        }
        if not fresh:
            return
        with self._db.transaction() as session:
            ids = select(Project.id).where(Project.slug == project, Project.register_unknown)
            for portion in split_names(sorted(fresh)):  # one order for all: no two transactions deadlock
                statement = (
                    select(Component)
                    .where(Component.project_id.in_(ids), Component.name.in_(portion))
                    .order_by(Component.name)
                    .with_for_update()
                )
                for row in session.scalars(statement):
                    merged = _merge(row.labels, fresh[row.name])
                    if merged != row.labels:
                        row.labels = merged
                        row.updated_at = session.scalars(select(database_now())).one()
        self._remember(project, fresh)

    def forget(self, project: str) -> None:
        """Know nothing any more of a project that was deleted."""
        with self._lock:
            self._seen = {name: labels for name, labels in self._seen.items() if name[0] != project}

    def _remember(self, project: str, fresh: Mapping[str, Mapping[str, str]]) -> None:
        with self._lock:
            if len(self._seen) + len(fresh) > REMEMBERED_COMPONENTS:
                self._seen = {}
            for name, mine in fresh.items():
                self._seen[project, name] = self._seen.get((project, name), frozenset()) | mine.keys()


def _merge(labels: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    merged = dict(labels)
    for key, value in new.items():
        is_good = find_label_key_problem(key) is None and find_text_problem(value) is None
        if key not in merged and is_good and len(merged) < MAX_LABELS:
            merged[key] = value
    return merged
