"""Composition root: Settings -> Runtime."""

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from gaugehouse.access import Access
from gaugehouse.audit import LOCAL, Heads, Refusals, Trail, end_chain
from gaugehouse.config import Layout, Settings
from gaugehouse.database import Database, note_database
from gaugehouse.database.tables import Report
from gaugehouse.errors import GaugehouseError, NotFound
from gaugehouse.fleet import Fleet, Installed, Plans, RunningVersions
from gaugehouse.ingest import Limits, SeriesRoom, warm_up
from gaugehouse.installation import open_access, open_database, open_heads
from gaugehouse.inventory import (
    FirstLabels,
    ProjectSettings,
    Registry,
    delete_project,
    find_project,
    find_projects,
    get_project_settings,
)
from gaugehouse.lake import Dropped, Lake, is_locked
from gaugehouse.lake.deletions import Deletion, find_deletion, forget_deletion, read_deletions, write_deletion
from gaugehouse.live import ProgressWatch, Readers

logger = structlog.get_logger()

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
    heads: Heads
    refusals: Refusals
    registry: Registry
    labels: FirstLabels
    lake: Lake
    fleet: Fleet
    versions: RunningVersions
    firmware_plans: Plans
    readers: Readers

    @property
    def installed(self) -> Installed:
        """Answers what the devices of a whole project run."""
        return Installed(lake=self.lake, database=self.database, versions=self.versions, plans=self.firmware_plans)

    def trail(self, *, actor_kind: str = "operator", actor: str = "operator", project_id: str | None = None) -> Trail:
        """Return who acts without a request: the command line of this machine, or the server by itself."""
        return Trail(heads=self.heads, actor_kind=actor_kind, actor=actor, project_id=project_id, source=LOCAL)

    def delivery_limits(self, project: str) -> Limits:
        """Return what one delivery to a project may hold, by the settings of the service and of the project."""
        settings = self.registry.settings(project)
        kept_from = {
            instant: earliest
            for table, instant in INSTANTS.items()
            if (earliest := self._kept_from(project, table, settings)) is not None
        }
        if settings.rows_per_day_quota is not None:
            self.lake.recall_rows_of_day(project)
        limits = Limits.from_settings(self.settings)
        return replace(limits, quota=settings.quota, lateness_limit_s=settings.lateness_limit_s, kept_from=kept_from)

    def room_for_measurements(self, project: str, limits: Limits) -> SeriesRoom:
        """Return where one delivery of devices goes, within what its project may keep and bring."""
        return SeriesRoom(lake=self.lake, project=project, table="measurements", quota=limits.quota)

    def _kept_from(self, project: str, table: str, settings: ProjectSettings) -> datetime | None:
        """Return before which instant a project keeps no rows: by its settings, or because they were dropped."""
        keep_days = settings.keep_days(table)
        gone = self.lake.gone(project, table)
        bounds = [] if keep_days is None else [datetime.now(UTC) - timedelta(days=keep_days)]
        bounds += [] if gone is None else [gone.before]
        return max(bounds, default=None)

    def retain(self, trail: Trail | None = None) -> list[tuple[str, Dropped]]:
        """Drop what every project's settings say is too old; return (project, what) for each table that lost rows.

        A table that fails, for want of room in its archive, say, keeps no other from it; the first failure is raised
        when all have been tried. What was dropped is logged in either case, and in the audit log of the project.

        Args:
            trail: Who wants that; the server by itself without one.
        """
        trail = trail or self.trail(actor_kind="service", actor="retention")
        with self.database.reading() as session:
            projects = [(one.slug, one.id, get_project_settings(session, one.id)) for one in find_projects(session)]
        found: list[tuple[str, Dropped]] = []
        failures: list[Exception] = []
        for slug, project_id, settings in projects:
            for table in INSTANTS:
                try:
                    dropped = self._retain(slug, table, settings, replace(trail, project_id=project_id))
                except Exception as exc:
                    is_expected = isinstance(exc, (GaugehouseError, OSError))
                    why = type(exc).__name__
                    logger.exception("retention_failed", project=slug, table=table, error=why, exc_info=not is_expected)
                    failures.append(exc)
                    continue
                if dropped is not None and dropped.files:
                    logger.info("retention_dropped", project=slug, table=table, months=dropped.months)
                    found.append((slug, dropped))
        if failures:
            raise failures[0]
        return found

    def _tell_dropped(self, trail: Trail, slug: str, table: str, dropped: Dropped) -> None:
        details = {"table": table, "months": list(dropped.months), "rows": dropped.rows, "files": dropped.files}
        with self.database.transaction() as session:
            trail.tell(session, "lake.retain", kind="project", id=trail.project_id, name=slug, details=details)

    def _retain(self, slug: str, table: str, settings: ProjectSettings, trail: Trail) -> Dropped | None:
        keep_days = settings.keep_days(table)
        if keep_days is None:
            return None
        before = datetime.now(UTC) - timedelta(days=keep_days)
        dropped = self.lake.retain(slug, table, before, settings.archive_dir)
        if dropped is not None and dropped.files:
            self._tell_dropped(trail, slug, table, dropped)
        return dropped

    def delete_project(self, slug: str) -> list[Dropped]:
        """Delete a project for good: who may enter first, then what it stored, then the files of its reports.

        That it is to be gone is written down before: what fails then is finished by the next start, or by calling
        again. Rows of a project that the database does not know are removed as well.

        Raises:
            NotFound: neither database nor lake has anything of it.
            GaugehouseError: its rows could not be flushed in time; call again.
        """
        begun = find_deletion(self.layout, slug)
        with self.database.reading() as session:
            project = find_project(session, slug)
            reports = [] if project is None else _reports_of(session, project.id)
        if project is None and begun is None and not self.lake.holds(slug):
            raise NotFound(f"there is no project {slug!r}", code="project_not_found")
        project_id = None if begun is None else begun.project_id
        deletion = Deletion(
            project=slug,
            project_id=project_id if project is None else project.id,
            reports=(*reports, *(() if begun is None else begun.reports)),
        )
        write_deletion(self.layout, deletion)
        return self._delete(deletion, self.trail())

    def _delete(self, deletion: Deletion, trail: Trail) -> list[Dropped]:
        slug = deletion.project
        with self.database.transaction() as session:
            project = find_project(session, slug)
            if project is not None and project.id == deletion.project_id:  # not a later one of this name
                end_chain(session, trail, project.id, slug)
                delete_project(session, slug)
        self.registry.forget(slug)
        self.labels.forget(slug)
        self.fleet.forget(slug)
        self.versions.forget(slug)
        dropped = self.lake.delete_project(slug)
        for report in deletion.reports:
            shutil.rmtree(self.layout.reports_dir / report, ignore_errors=True)
        forget_deletion(self.layout, slug)
        return dropped

    def finish_deletions(self) -> None:
        """Finish what an earlier owner began; a deletion that fails again is left to the next start."""
        for deletion in read_deletions(self.layout):
            try:
                self._delete(deletion, self.trail(actor_kind="service", actor="start"))
                logger.info("deletion_finished", project=deletion.project)
            except Exception:  # whatever it is: others must be served
                logger.exception("deletion_failed", project=deletion.project)

    def close(self, *, flush_timeout_s: float = 10.0) -> None:
        """Commit what is acknowledged, let go of the lake and the database."""
        self.refusals.settle(is_last=True)
        with suppress(GaugehouseError):  # when keys were last used is nice to know
            self.access.write_key_uses(is_last=True)
        self.fleet.close()
        self.lake.close(flush_timeout_s)
        self.database.dispose()


def _reports_of(session: Session, project_id: str) -> list[str]:
    return list(session.scalars(select(Report.id).where(Report.project_id == project_id)))


def open_runtime(settings: Settings, on_progress: Progress = _quiet) -> Runtime:
    """Become the owner of an installation, and finish the deletions of projects that an earlier owner began.

    Raises:
        StartRefused: another process owns it, something is damaged, or the clock is behind.
    """
    layout = Layout(settings.data_dir)
    lake = Lake.open(layout, settings, on_progress)
    withdraw_owner(layout)  # what a killed server announced
    try:
        database = open_database(settings)
        note_database(settings, database)
        access = open_access(settings, database)
        warm_up()
    except BaseException:
        lake.close()
        raise
    runtime = Runtime(
        settings=settings,
        layout=layout,
        database=database,
        access=access,
        heads=open_heads(settings),
        refusals=Refusals(database),
        registry=Registry(database),
        labels=FirstLabels(database),
        lake=lake,
        fleet=Fleet.of(lake, database),
        versions=RunningVersions(lake),
        firmware_plans=Plans(database),
        readers=Readers(
            lake,
            ProgressWatch(database),
            limit=settings.live_readers,
            limit_per_caller=settings.live_readers_per_caller,
        ),
    )
    runtime.finish_deletions()
    return runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningOwner:
    """The server that owns an installation right now."""

    pid: int
    url: str
    certificate: str | None = None  # PEM, when it speaks HTTPS: the one to expect there, whatever its name


def _owner_path(layout: Layout) -> Path:
    return layout.run_dir / "owner.json"


def announce_owner(layout: Layout, url: str, *, certificate: str | None = None) -> None:
    """Say where this owner answers, for the commands of the same machine."""
    layout.run_dir.mkdir(parents=True, exist_ok=True)
    path = _owner_path(layout)
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps({"pid": os.getpid(), "url": url, "certificate": certificate}))
    draft.replace(path)


def withdraw_owner(layout: Layout) -> None:
    _owner_path(layout).unlink(missing_ok=True)


def find_owner(layout: Layout) -> RunningOwner | None:
    """Return the server that owns the installation, None when no process holds its lock or its holder answers no HTTP.

    What a killed server announced is not believed: somebody else may listen there by now, and would be sent a token.
    """
    path, lock = _owner_path(layout), layout.data_dir / "LOCK"
    if not is_locked(lock):
        return None
    try:
        announced = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    if lock.read_text("ascii", "replace").strip() != str(announced["pid"]):
        return None
    return RunningOwner(pid=announced["pid"], url=announced["url"], certificate=announced.get("certificate"))
