"""What operators ask of the owner of a lake: the same answers through its socket and where a command owns the lake.

Entry: `answering` beside a running owner, `answers` for a command that is the owner itself.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from gaugehouse.backup import make_backup, read_pool
from gaugehouse.errors import Refused
from gaugehouse.fleet import State
from gaugehouse.fleet.listing import Wanted, list_devices
from gaugehouse.fleet.thresholds import get_thresholds
from gaugehouse.inventory import get_project
from gaugehouse.lake import Repair
from gaugehouse.lake.control import Answer, ControlSocket, Progress
from gaugehouse.lake.live import LiveFacts
from gaugehouse.runtime import Runtime

Arguments = TypeVar("Arguments")


class NoArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of a request that needs nothing."""


class CompactArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which project's files to merge; all without one."""

    project: str | None = None


class ProjectArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A project by its slug."""

    project: str


class QuarantineArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A data file that somebody found damaged, and how."""

    table: str
    path: str
    what: str


class RepairArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where backups are, as an absolute path."""

    backups: str | None = None


class BackupArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where backups go, as an absolute path, and how many to keep."""

    target: str
    keep: int | None = None


class FleetArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which devices of a project: in one of some states (none is any), or one by name; at most so many of each."""

    project: str
    limit: int
    states: tuple[State, ...] = ()
    component: str | None = None


class StragglersArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A project, and how many of its devices at most."""

    project: str
    limit: int


class VersionsArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A project, and as of when it is asked about."""

    project: str
    at: datetime | None = None


class TargetArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A device of a project."""

    project: str
    component: str


def answers(runtime: Runtime) -> dict[str, Answer]:
    """Return what an owner does for each request."""

    def tell(
        action: str, *, kind: str | None = None, name: str | None = None, details: Mapping[str, object] | None = None
    ) -> None:
        with runtime.database.transaction() as session:
            runtime.trail().tell(session, action, kind=kind, name=name, details=details)

    def status(given: Mapping[str, Any], _report: Progress) -> LiveFacts:
        _read(given, NoArguments)
        return runtime.lake.facts()

    def flush(given: Mapping[str, Any], _report: Progress) -> object:
        _read(given, NoArguments)
        rows = runtime.lake.unflushed_rows()
        runtime.lake.flush()
        tell("lake.flush", kind="lake", details={"rows": rows})
        return {"rows": rows}

    def compact(given: Mapping[str, Any], report: Progress) -> object:
        project = _read(given, CompactArguments).project
        done = runtime.lake.compact(project, report)
        tell("lake.compact", kind="lake", details={"project": project})
        return done

    def retain(given: Mapping[str, Any], _report: Progress) -> object:
        _read(given, NoArguments)
        done = runtime.retain(runtime.trail())
        return [{"project": project, **msgspec.to_builtins(dropped)} for project, dropped in done]

    def delete_project(given: Mapping[str, Any], _report: Progress) -> object:
        return runtime.delete_project(_read(given, ProjectArguments).project)

    def quarantine(given: Mapping[str, Any], _report: Progress) -> object:
        asked = _read(given, QuarantineArguments)
        is_quarantined = runtime.lake.quarantine(asked.table, asked.path, asked.what)
        tell("lake.quarantine", kind="file", name=asked.path, details={"table": asked.table, "done": is_quarantined})
        return {"is_quarantined": is_quarantined}

    def backup(given: Mapping[str, Any], report: Progress) -> object:
        asked = _read(given, BackupArguments)
        done = make_backup(runtime.lake, runtime.database, Path(asked.target), keep=asked.keep, on_progress=report)
        tell("backup.create", name=done.name, details={"keep": asked.keep, "rows": done.rows})
        return done

    def repair(given: Mapping[str, Any], report: Progress) -> object:
        backups = _read(given, RepairArguments).backups
        pool = None if backups is None else read_pool(Path(backups))
        mended = tuple(runtime.lake.repair_files(pool, report))
        tell("lake.repair", kind="lake", details={"mended": len(mended)})
        return Repair(mended=mended, looked_at=len(mended))

    return {
        **_fleet_answers(runtime),
        "status": status,
        "flush": flush,
        "compact": compact,
        "retain": retain,
        "delete_project": delete_project,
        "quarantine": quarantine,
        "backup": backup,
        "repair": repair,
    }


def _fleet_answers(runtime: Runtime) -> dict[str, Answer]:
    """Return what an owner says of devices, which is in its memory."""

    def find_project_id(project: str) -> str:
        with runtime.database.reading() as session:
            return get_project(session, project).id

    def fleet(given: Mapping[str, Any], _report: Progress) -> object:
        asked = _read(given, FleetArguments)
        with runtime.database.reading() as session:
            project_id = get_project(session, asked.project).id
            thresholds = get_thresholds(session, project_id)
        devices, now = runtime.fleet.find_devices(asked.project, project_id), datetime.now(UTC)
        counts = runtime.fleet.count(asked.project, devices, thresholds, now)
        names = None if asked.component is None else (asked.component,)
        pages = [
            list_devices(
                runtime.fleet,
                asked.project,
                project_id,
                Wanted(names=names, state=state),
                thresholds,
                now=now,
                limit=asked.limit,
            )
            for state in asked.states or (None,)
        ]
        return {
            "devices": counts.devices,
            "online": counts.online,
            "at_risk": counts.at_risk,
            "offline": counts.offline,
            "average_battery": counts.average_battery,
            "total": sum(page.total for page in pages),
            "items": [device for page in pages for device in page.devices.to_pylist()],
        }

    def firmware_versions(given: Mapping[str, Any], _report: Progress) -> object:
        asked = _read(given, VersionsArguments)
        return runtime.installed.take_census(asked.project, find_project_id(asked.project), at=asked.at)

    def firmware_behind(given: Mapping[str, Any], _report: Progress) -> object:
        asked = _read(given, StragglersArguments)
        return runtime.installed.find_stragglers(asked.project, find_project_id(asked.project), limit=asked.limit)

    def firmware_target(given: Mapping[str, Any], _report: Progress) -> object:
        asked = _read(given, TargetArguments)
        project_id = find_project_id(asked.project)
        running, target = runtime.installed.find_target(asked.project, project_id, asked.component)
        return {"component": asked.component, "running": running, **asdict(target)}

    return {
        "fleet": fleet,
        "firmware_versions": firmware_versions,
        "firmware_behind": firmware_behind,
        "firmware_target": firmware_target,
    }


def _read(given: Mapping[str, Any], kind: type[Arguments]) -> Arguments:
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as exc:
        raise Refused(f"the request cannot be understood: {exc}", code="request_refused") from exc


@contextmanager
def answering(runtime: Runtime) -> Iterator[None]:
    """Answer commands of this machine's user as long as the owner runs."""
    with ControlSocket(runtime.layout.run_dir, answers(runtime)):
        yield
