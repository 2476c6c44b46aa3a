"""What lies beside the current files: the plain mirror, replaced files, and what nothing names."""

import time
from collections.abc import Mapping
from pathlib import Path

from gaugehouse.config import Layout
from gaugehouse.lake.deltalog import ListedFile
from gaugehouse.lake.findings import Finding
from gaugehouse.lake.manifest import manifest_path, read_manifest
from gaugehouse.lake.picture import Picture, current_by_manifest
from gaugehouse.lake.plain import PLAIN

MIRROR_ATTEMPTS, MIRROR_PERIOD_S = 20, 0.25
UNCOMMITTED_S = 60.0  # a younger file may be one that is about to be committed
OVERDUE_S = 3600.0  # a busy owner removes replaced files late


def check_mirror(
    layout: Layout,
    table: str,
    files: Mapping[str, ListedFile],
    is_online: bool,  # noqa: FBT001 - a fact, not a switch
    *,
    manifest_file: Path | None = None,
) -> list[Finding]:
    """Compare `plain/<table>` with the current files: the same names, the same bytes on the disk.

    `manifest_file` is that of the table, where it has one of its own.
    """
    root, mirror = layout.lake_dir / table, layout.lake_dir / PLAIN / table
    if not mirror.exists():
        what = "there is no plain/: the file system cannot keep one, or the next start makes it"
        return [Finding(code="plain_missing", is_damage=False, what=what, table=table, name=f"plain/{table}")]
    current = set(files)
    for _attempt in range(MIRROR_ATTEMPTS if is_online else 1):
        wrong = _differences(root, mirror, current)
        if not wrong:
            return []
        if is_online:
            time.sleep(MIRROR_PERIOD_S)
            current = current_by_manifest(read_manifest(manifest_file or manifest_path(layout)), table)
    return [
        Finding(code="plain_differs", is_damage=is_online, what=what, table=table, name=f"plain/{table}/{path}")
        for path, what in wrong
    ]


def _differences(root: Path, mirror: Path, current: set[str]) -> list[tuple[str, str]]:
    shown = {path.relative_to(mirror).as_posix(): _inode(path) for path in mirror.glob("project=*/month=*/*")}
    wrong = [(path, "plain/ does not show it; the next start mends that") for path in sorted(current - shown.keys())]
    wrong += [(path, "plain/ shows it, and it is not current") for path in sorted(shown.keys() - current)]
    for path in sorted(current & shown.keys()):
        stored = _inode(root / path)
        if stored is not None and stored != shown[path]:
            wrong.append((path, "plain/ shows another file under its name"))
    return wrong


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def check_leftovers(layout: Layout, table: str, picture: Picture, keep_s: float) -> list[Finding]:
    """Find data files that nothing names, and replaced ones that should be gone."""
    root = layout.lake_dir / table
    superseded = picture.manifest.superseded.get(table, {})
    state = picture.logs[table].state
    named = state.files.keys() | picture.current(table) | superseded.keys()  # two of them: a commit may be unsettled
    orphans = [path for path in _stored(root) if path not in named]
    if picture.live is not None:  # the owner goes on: look again who names them now
        manifest = read_manifest(manifest_path(layout))
        known = manifest.files.get(table, {}).keys() | manifest.superseded.get(table, {}).keys()
        orphans = [path for path in orphans if path not in known and _age_s(root / path) > UNCOMMITTED_S]
    what = "no version of the table names it; the next start removes it"
    findings = [Finding(code="file_orphaned", is_damage=False, what=what, table=table, name=path) for path in orphans]
    limit_us = (time.time() - keep_s - OVERDUE_S) * 1e6
    late = [path for path, since_us in superseded.items() if since_us < limit_us and (root / path).exists()]
    if late and picture.live is not None:
        what = f"{len(late):,} replaced files should have been removed by now"
        findings.append(Finding(code="superseded_kept", is_damage=False, what=what, table=table, name=late[0]))
    return findings


def _stored(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.glob("project=*/month=*/*"))


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
