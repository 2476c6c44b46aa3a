"""Composition root: Settings -> Runtime."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import select

from gaugehouse.access import Access
from gaugehouse.config import Layout, Settings
from gaugehouse.database import Database
from gaugehouse.database.tables import Report
from gaugehouse.ingest import Limits, warm_up
from gaugehouse.installation import open_access, open_database
from gaugehouse.inventory import (
    FirstLabels,
    ProjectSettings,
    Registry,
    delete_project,
    find_projects,
    get_project,
    get_project_settings,
)
from gaugehouse.lake import Dropped, Lake, is_locked

INSTANTS = {"measurements": "measured_at", "events": "occurred_at"}
Progress = Callable[[str, int, int], None]


def _quiet(_doing: str, _done: int, _total: int) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """Everything that one running owner of an installation works with."""

    settings: Settings
    layout: Layout
    database: Database
    access: Access
    registry: Registry
    labels: FirstLabels
    lake: Lake

    def delivery_limits(self, project: str) -> Limits:
        """Return what one delivery to a project may hold, by the settings of the service and of the project."""
        settings = self.registry.settings(project)
        kept_from = {
            instant: earliest
            for table, instant in INSTANTS.items()
            if (earliest := self._kept_from(project, table, settings)) is not None
        }
        limits = Limits.from_settings(self.settings)
        return replace(limits, lateness_limit_s=settings.lateness_limit_s, kept_from=kept_from)

    def _kept_from(self, project: str, table: str, settings: ProjectSettings) -> datetime | None:
        """Return before which instant a project keeps no rows: by its settings, or because they were dropped."""
        keep_days = settings.keep_days(table)
        gone = self.lake.gone(project, table)
        bounds = [] if keep_days is None else [datetime.now(UTC) - timedelta(days=keep_days)]
        bounds += [] if gone is None else [gone.before]
        return max(bounds, default=None)

    def retain(self) -> list[tuple[str, Dropped]]:
        """Drop what every project's settings say is too old; return (project, what) for each table that lost rows."""
        with self.database.reading() as session:
            projects = [(one.slug, get_project_settings(session, one.id)) for one in find_projects(session)]
        found = []
        for slug, settings in projects:
            for table in INSTANTS:
                keep_days = settings.keep_days(table)
                if keep_days is None:
                    continue
                before = datetime.now(UTC) - timedelta(days=keep_days)
                dropped = self.lake.retain(slug, table, before, settings.archive_dir)
                found += [(slug, dropped)] if dropped.files else []
        return found

    def delete_project(self, slug: str) -> list[Dropped]:
        """Delete a project for good: who may enter first, then what it stored, then the files of its reports.

        Raises:
            NotFound: there is none.
            GaugehouseError: its rows could not be flushed in time; call again.
        """
        with self.database.transaction() as session:
            project_id = get_project(session, slug).id
            reports = list(session.scalars(select(Report.id).where(Report.project_id == project_id)))
            delete_project(session, slug)
        self.registry.forget(slug)
        self.labels.forget(slug)
        dropped = self.lake.delete_project(slug)
        for report in reports:
            shutil.rmtree(self.layout.reports_dir / report, ignore_errors=True)
        return dropped

    def close(self, *, flush_timeout_s: float = 10.0) -> None:
        """Commit what is acknowledged, let go of the lake and the database."""
        self.lake.close(flush_timeout_s)
        self.database.dispose()


def open_runtime(settings: Settings, on_progress: Progress = _quiet) -> Runtime:
    """Become the owner of an installation.

    Raises:
        StartRefused: another process owns it, something is damaged, or the clock is behind.
    """
    layout = Layout(settings.data_dir)
    lake = Lake.open(layout, settings, on_progress)
    try:
        database = open_database(settings)
        access = open_access(settings, database)
        warm_up()
    except BaseException:
        lake.close()
        raise
    return Runtime(
        settings=settings,
        layout=layout,
        database=database,
        access=access,
        registry=Registry(database),
        labels=FirstLabels(database),
        lake=lake,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningOwner:
    """The server that owns an installation right now."""

    pid: int
    url: str


def _owner_path(layout: Layout) -> Path:
    return layout.run_dir / "owner.json"


def announce_owner(layout: Layout, url: str) -> None:
    """Say where this owner answers, for the commands of the same machine."""
    layout.run_dir.mkdir(parents=True, exist_ok=True)
    path = _owner_path(layout)
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps({"pid": os.getpid(), "url": url}))
    draft.replace(path)


def withdraw_owner(layout: Layout) -> None:
    _owner_path(layout).unlink(missing_ok=True)


def find_owner(layout: Layout) -> RunningOwner | None:
    """Return the server that owns the installation, None when no process holds its lock or answers HTTP."""
    path = _owner_path(layout)
    if not is_locked(layout.data_dir / "LOCK") or not path.exists():
        return None
    announced = json.loads(path.read_text())
    return RunningOwner(pid=announced["pid"], url=announced["url"])
