"""Making files survive a power cut: what is written is synced, and so is the folder that names it.

delta-rs syncs nothing on a local disk, so every file that an acknowledgement depends on passes through here.
A failed fsync is never retried: after it the kernel may have dropped the pages and a second call would lie.
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gaugehouse.errors import GaugehouseError, StorageFull, Unavailable


class FsyncFailed(Unavailable):
    """The disk refused to keep what was written; the process must stop and start again from the log."""

    default_code = "storage_failed"


FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def storage_error(exc: OSError) -> GaugehouseError:
    """Return the situation that an `OSError` of a write stands for, without its path."""
    if exc.errno in FULL_ERRNOS:
        return StorageFull("the disk is full; nothing of this request was stored", retry_after_s=30)
    return Unavailable("the disk refused a write; nothing of this request was stored", retry_after_s=5)


@contextmanager
def fail_stop(on_failure: Callable[[str], None]) -> Iterator[None]:
    """Tell whoever owns the disk that it refused a sync, before anybody could try again and be believed."""
    try:
        yield
    except FsyncFailed as exc:
        on_failure(exc.message)
        raise


def sync_file_descriptor(descriptor: int) -> None:
    """Flush one open file's data and size to the disk.

    Raises:
        FsyncFailed: the disk reported an error; do not try again.
    """
    try:
        os.fdatasync(descriptor)
    except OSError as exc:
        raise FsyncFailed("the disk reported an error while syncing; stopping to protect stored data") from exc


def sync_path(path: Path) -> None:
    """Flush a closed file or a folder's entries to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as exc:
        raise FsyncFailed("the disk reported an error while syncing; stopping to protect stored data") from exc
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Create a folder and its parents, each entry synced in its parent."""
    missing = [path]
    while not missing[-1].parent.exists():
        missing.append(missing[-1].parent)
    for folder in reversed(missing):
        if not folder.exists():
            folder.mkdir(exist_ok=True)
            sync_path(folder.parent)


def write_file(path: Path, content: bytes | memoryview, *, mode: int = 0o644) -> None:
    """Replace a file as a whole: after a crash it holds the old content or the new one."""
    temporary = path.with_name(path.name + ".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        write_all(descriptor, content)
        sync_file_descriptor(descriptor)
    except BaseException:
        temporary.unlink()  # on a full disk every attempt would leave another one
        raise
    finally:
        os.close(descriptor)
    temporary.rename(path)
    sync_path(path.parent)


def write_all(descriptor: int, content: bytes | memoryview) -> None:
    """Write every byte; the kernel may take less than asked in one call."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def remove_file(path: Path) -> None:
    """Remove a file durably: it does not come back after a power cut."""
    path.unlink(missing_ok=True)
    sync_path(path.parent)
