"""Composition root: Settings -> Runtime."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gaugehouse.access import Access
from gaugehouse.config import Layout, Settings
from gaugehouse.database import Database
from gaugehouse.installation import open_access, open_database
from gaugehouse.inventory import Registry
from gaugehouse.lake import Lake, is_locked

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
    lake: Lake

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
    except BaseException:
        lake.close()
        raise
    return Runtime(
        settings=settings,
        layout=layout,
        database=database,
        access=access,
        registry=Registry(database),
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
