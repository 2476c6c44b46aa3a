"""Reports into a folder: each file appears whole, under its name, and never outside of the root.

Folders are opened one by one, each below the one before and never through a link, so that neither a path nor a link
that somebody puts there leads elsewhere, not even between a check and its use.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gaugehouse.reports.destinations import FolderDestination, split_folder
from gaugehouse.reports.parcel import DELIVERED, Outcome, Parcel, ReportFile, give_up, safe_name, try_later

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
BLOCKED = {errno.ELOOP, errno.ENOTDIR, errno.EISDIR}
FILE_MODE, FOLDER_MODE = 0o640, 0o750


def place_files(parcel: Parcel, destination: FolderDestination, root: Path) -> Outcome:
    """Write a report's files to `root/<project>/<path>/`; a repeat replaces them by themselves.

    Returns:
        Delivered when every file is durable; never when a link or file stands where a folder must be; to be tried later
        when the system refused.
    """
    names = (parcel.subject.project, *split_folder(destination.path))
    try:
        with _opened(root, names) as folder:
            for file in parcel.files:
                _place(folder, file, draft=f".{parcel.delivery_id}.tmp")
            os.fsync(folder)
    except OSError as exc:
        shown = "/".join(names)
        if exc.errno in BLOCKED:
            return give_up(f"the folder {shown} cannot be used: a link or a file stands in the way")
        return try_later(f"the folder {shown} cannot be written: {exc.strerror or type(exc).__name__}")
    return DELIVERED


@contextmanager
def _opened(root: Path, names: tuple[str, ...]) -> Iterator[int]:
    """Give a descriptor of the folder at the end of `names`; missing ones are made, but the root."""
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # the operator's choice: it may be a link
    try:
        for name in names:
            with suppress(FileExistsError):
                os.mkdir(name, FOLDER_MODE, dir_fd=folder)
                os.fsync(folder)
            inner = os.open(name, FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def _place(folder: int, file: ReportFile, *, draft: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(draft, dir_fd=folder)  # an attempt that was killed left it
    with os.fdopen(os.open(draft, NEW_FILE, FILE_MODE, dir_fd=folder), "wb") as written:
        written.write(file.read())
        written.flush()
        os.fsync(written.fileno())
    os.rename(draft, safe_name(file.name), src_dir_fd=folder, dst_dir_fd=folder)
