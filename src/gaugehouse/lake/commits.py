"""A commit as one durable step: the files before it, the log entry, then the manifest that says so.

Whatever fails in between is settled before the next commit of the table, so only the last can be unknown to a start.
"""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import structlog

from gaugehouse.lake.delta import LOG_FOLDER, Change, DeltaStore, describe_file
from gaugehouse.lake.durable import fail_stop, sync_path
from gaugehouse.lake.manifest import CommittedFile, Horizon, Manifest, ManifestEntry

logger = structlog.get_logger()

HORIZONS = "gaugehouse.horizons"  # how far rows were dropped, said in the commit that drops them
LINES = "gaugehouse.lines"  # how many the entry has: cut at the end of one it is as valid as a whole one


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitContent:
    """What one entry of a Delta log adds and removes, (path, size [bytes]) and paths, and how far rows are dropped."""

    added: tuple[tuple[str, int], ...]
    removed: tuple[str, ...]
    dropped: tuple[Horizon, ...] = ()


def commit_name(version: int) -> str:
    """Return the path of a log entry below its table."""
    return f"{LOG_FOLDER}/{version:020d}.json"


def commit_path(root: Path, version: int) -> Path:
    return root / commit_name(version)


def read_commit(content: bytes) -> CommitContent | None:
    """Return what a log entry changes, None when it is not whole."""
    try:
        actions = [json.loads(line) for line in content.splitlines()]
    except ValueError:
        return None
    said = [action["commitInfo"] for action in actions if "commitInfo" in action]
    if not said or len(actions) != int(said[0].get(LINES, len(actions))):
        return None
    return CommitContent(
        added=tuple((action["add"]["path"], action["add"]["size"]) for action in actions if "add" in action),
        removed=tuple(action["remove"]["path"] for action in actions if "remove" in action),
        dropped=tuple(horizon for action in actions for horizon in _read_horizons(action)),
    )


def _read_horizons(action: dict[str, Any]) -> list[Horizon]:
    said = action.get("commitInfo", {}).get(HORIZONS)
    return [] if said is None else msgspec.json.decode(said, type=list[Horizon])


def commit_entry(root: Path, version: int, content: CommitContent) -> ManifestEntry:
    """Return what the manifest says of a commit whose files are on the disk."""
    return ManifestEntry(
        table=root.name,
        version=version,
        files=(
            *(describe_file(root, path) for path, _size_bytes in content.added),
            describe_file(root, commit_name(version)),
        ),
        removed=content.removed,
        removed_at_us=time.time_ns() // 1_000 if content.removed else -1,
        dropped=content.dropped,
    )


def commit_durably(
    store: DeltaStore,
    manifest: Manifest,
    change: Change,
    files: tuple[CommittedFile, ...],
    dropped: tuple[Horizon, ...] = (),
) -> None:
    """Commit a change whose files are synced; return when a power cut cannot undo it.

    A disk that refuses a sync is told to the manifest's `on_failure` before this raises.

    Raises:
        Unavailable: the outcome may be unknown; `settle` finds out.
        FsyncFailed: the disk refused.
    """
    lines = len(change.added) + len(change.removed) + (change.transaction is not None) + 1  # and what it says itself
    metadata = {**change.metadata, LINES: str(lines)}
    if dropped:  # also in the commit itself: the manifest may not come to say it
        metadata[HORIZONS] = msgspec.json.encode(dropped).decode()
    change = replace(change, metadata=metadata)
    with store.commit_lock, fail_stop(manifest.on_failure):
        settle(store, manifest)
        try:
            store.commit(change)
        except BaseException:
            store.reload()  # it may have gone through after all
            raise
        store.sync_version()
        removed = tuple(entry.path for entry in change.removed)
        manifest.record(
            ManifestEntry(
                table=store.spec.name,
                version=store.version,
                files=(*files, describe_file(store.root, commit_name(store.version))),
                removed=removed,
                removed_at_us=time.time_ns() // 1_000 if removed else -1,
                dropped=dropped,
            )
        )


def settle(store: DeltaStore, manifest: Manifest) -> None:
    """Make commits durable that an earlier attempt of this process left behind.

    A disk that refuses a sync is told to the manifest's `on_failure` before this raises.
    """
    with store.commit_lock, fail_stop(manifest.on_failure):
        for version in range(manifest.durable_version.get(store.spec.name, -1) + 1, store.version + 1):
            path = commit_path(store.root, version)
            content = read_commit(path.read_bytes())
            assert content is not None  # noqa: S101 - delta-rs has just read it
            sync_path(path)
            sync_path(store.log_dir)
            manifest.record(commit_entry(store.root, version, content))


def checkpoint_durably(store: DeltaStore, manifest: Manifest) -> None:
    """Make a durable checkpoint of the current version, then remove log entries that it stands for.

    Needs `commit_lock`. A disk that refuses a sync is told to the manifest's `on_failure` before this raises.
    """
    settle(store, manifest)  # what is said below of a version counts for all before it
    name, version = store.spec.name, store.version
    with fail_stop(manifest.on_failure):
        files = store.checkpoint()
    manifest.record(ManifestEntry(table=name, version=version, files=files))
    removed = store.clean_log()
    if removed:
        manifest.record(ManifestEntry(table=name, version=version, gone=removed))
    logger.info("checkpoint_made", table=name, version=version, log_entries_removed=len(removed))


def find_superseded(store: DeltaStore, manifest: Manifest, *, keep_s: float) -> list[str]:
    """Return the files that were replaced long enough ago to be removed."""
    limit_us = time.time_ns() // 1_000 - int(keep_s * 1e6)
    superseded = manifest.superseded.get(store.spec.name, {})
    return [path for path, since_us in superseded.items() if since_us <= limit_us]


def remove_superseded(store: DeltaStore, manifest: Manifest, paths: Iterable[str]) -> int:
    """Remove replaced files from the disk and return how many."""
    dead = [path for path in paths if path not in store.files]
    for path in dead:
        (store.root / path).unlink(missing_ok=True)
    if dead:
        manifest.record(ManifestEntry(table=store.spec.name, gone=tuple(dead)))
        logger.info("superseded_files_removed", table=store.spec.name, files=len(dead))
    return len(dead)
