"""What operators ask of the owner of a lake: the same answers through its socket and where a command owns the lake.

Entry: `answering` beside a running owner, `answers` for a command that is the owner itself.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from gaugehouse.backup import make_backup, read_pool
from gaugehouse.errors import Refused
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
        "status": status,
        "flush": flush,
        "compact": compact,
        "retain": retain,
        "delete_project": delete_project,
        "quarantine": quarantine,
        "backup": backup,
        "repair": repair,
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
