"""One process owns a lake: the holder of this lock alone appends and commits.

Apart from the room `lake`, which takes a second to load: who would own a lake can be refused before that.
"""

import fcntl
import os
import time
from pathlib import Path

from gaugehouse.errors import LakeLocked

ATTEMPTS, ATTEMPT_PERIOD_S = 5, 0.05


class OwnerLock:
    """An exclusive `flock` on `<data>/LOCK`; the kernel drops it when the process dies, however it dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock or refuse.

        Raises:
            LakeLocked: another process holds it; the message names its pid.
        """
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _take(descriptor)
        except BlockingIOError as exc:
            os.close(descriptor)
            raise _locked(self._path) from exc
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _take(descriptor: int) -> None:
    """Take the lock; it can be held for an instant by someone who only asks (`is_locked`)."""
    for _attempt in range(ATTEMPTS - 1):
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(ATTEMPT_PERIOD_S)
    return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _locked(path: Path) -> LakeLocked:
    holder = path.read_text("ascii", "replace").strip() or "unknown"
    return LakeLocked(
        f"another process (pid {holder}) owns this lake; stop it first, or use its HTTP interface",
        fields={"pid": holder},
    )


def is_locked(path: Path) -> bool:
    """Say whether some process holds the lock right now."""
    if not path.exists():
        return False
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def refuse_locked(path: Path) -> None:
    """Refuse what would have to own a lake that another process owns, early; `acquire` decides.

    Raises:
        LakeLocked: another process holds the lock; the message names its pid.
    """
    if is_locked(path):
        raise _locked(path)
