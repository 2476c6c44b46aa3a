"""Deletions of projects, written down before they begin: whatever interrupts one, the next start finishes it."""

from collections.abc import Iterable
from pathlib import Path

import msgspec
import structlog

from gaugehouse.config import Layout
from gaugehouse.errors import AlreadyExists
from gaugehouse.lake.durable import make_folder, remove_file, write_file

logger = structlog.get_logger()

FOLDER = "deletions"
TABLE_FOLDERS = "*/project={slug}"


class Deletion(msgspec.Struct, frozen=True, kw_only=True):
    """A project that is to be gone.

    Args:
        project: Its slug.
        project_id: Its id, so that a later project of the same slug is not meant; None when only rows are left of it.
        reports: Ids of its reports, whose files go too.
    """

    project: str
    project_id: str | None
    reports: tuple[str, ...]


def write_deletion(layout: Layout, deletion: Deletion) -> None:
    """Write down, synced, that a project is to be gone."""
    folder = layout.log_dir / FOLDER
    make_folder(folder)
    write_file(folder / f"{deletion.project}.json", msgspec.json.encode(deletion))


def forget_deletion(layout: Layout, slug: str) -> None:
    """Say that everything of a project is gone."""
    remove_file(layout.log_dir / FOLDER / f"{slug}.json")


def read_deletions(layout: Layout) -> list[Deletion]:
    """Return the deletions that are not finished; a file that is none is left out and logged."""
    found = []
    for path in sorted((layout.log_dir / FOLDER).glob("*.json")):
        try:
            found.append(msgspec.json.decode(path.read_bytes(), type=Deletion))
        except msgspec.DecodeError:
            logger.warning("deletion_unreadable", name=path.name)
    return found


def find_deletion(layout: Layout, slug: str) -> Deletion | None:
    """Return the unfinished deletion of a project, if there is one."""
    return next((one for one in read_deletions(layout) if one.project == slug), None)


def refuse_leftovers(layout: Layout, slug: str) -> None:
    """Refuse a new project that would see rows of an earlier one of its name.

    Raises:
        AlreadyExists: its deletion is not finished, or the lake has files of it.
    """
    if find_deletion(layout, slug) is None and not _has_files(layout.lake_dir.glob(TABLE_FOLDERS.format(slug=slug))):
        return
    raise AlreadyExists(
        f"the lake still has rows of an earlier project {slug!r}; finish with `gaugehouse project delete {slug}`",
        code="project_not_gone",
    )


def _has_files(folders: Iterable[Path]) -> bool:
    return any(path.is_file() for folder in folders for path in folder.rglob("*"))
