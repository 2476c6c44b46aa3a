"""What a running job's handler holds: say how far it is, learn that it must stop."""

import threading
import time
from collections.abc import Callable
from typing import ClassVar, Literal

from gaugehouse.errors import GaugehouseError, Kind

PROGRESS_INTERVAL_S = 0.5  # each report of progress is a durable write; people look no more often

StopCause = Literal["cancelled", "lost", "interrupted"]


class JobLost(GaugehouseError):
    """The job's lease ran out and it belongs to another run now: nothing of this one may be stored."""

    kind: ClassVar[Kind] = Kind.CONFLICT
    default_code: ClassVar[str] = "job_lost"

    def __init__(self) -> None:
        super().__init__("the job is no longer held by this worker")


class JobCancelled(GaugehouseError):
    """Somebody asked to cancel the job; let the exception leave the handler."""

    kind: ClassVar[Kind] = Kind.CONFLICT
    default_code: ClassVar[str] = "job_cancelled"

    def __init__(self) -> None:
        super().__init__("the job was cancelled")


class JobInterrupted(GaugehouseError):
    """The worker stops; the job goes back to the queue. Let the exception leave the handler."""

    kind: ClassVar[Kind] = Kind.UNAVAILABLE
    default_code: ClassVar[str] = "job_interrupted"

    def __init__(self) -> None:
        super().__init__("the worker stops; the job will be run again")


_EXCEPTIONS: dict[StopCause, type[JobLost | JobCancelled | JobInterrupted]] = {
    "cancelled": JobCancelled,
    "lost": JobLost,
    "interrupted": JobInterrupted,
}


class Control:
    """One run of one job. The handler's thread calls it; the heartbeat's thread tells it to stop.

    Args:
        report: Stores progress; raises JobCancelled or JobLost.
        clock: Monotonic seconds. [s]
    """

    def __init__(self, report: Callable[[float, str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._report = report
        self._clock = clock
        self._reported_s: float | None = None
        self._doing = ""
        self._cause: StopCause | None = None
        self._callbacks: list[Callable[[], None]] = []
        self._is_over = False
        self._lock = threading.Lock()

    @property
    def cancelled(self) -> bool:
        """Whether the handler shall stop, for whatever cause; `check` raises the exception that says which."""
        return self._cause is not None

    @property
    def cause(self) -> StopCause | None:
        """Why the handler shall stop, or None."""
        return self._cause

    def check(self) -> None:
        """Raise JobCancelled, JobLost or JobInterrupted when the handler shall stop."""
        if self._cause is not None:
            raise _EXCEPTIONS[self._cause]

    def progress(self, percent: float, doing: str) -> None:
        """Say how far the job is and what it is doing; at most two such words a second are stored.

        Raises:
            JobCancelled, JobLost, JobInterrupted: stop; let the exception leave the handler.
        """
        self.check()
        now_s = self._clock()
        is_recent = self._reported_s is not None and now_s - self._reported_s < PROGRESS_INTERVAL_S
        if is_recent and doing == self._doing:
            return
        self._reported_s, self._doing = now_s, doing
        self._report(percent, doing)

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """Call back, from another thread, when the handler shall stop (`connection.interrupt`); at once if it shall."""
        with self._lock:
            self._callbacks.append(callback)
            is_stopped = self._cause is not None
        if is_stopped:
            callback()

    def stop(self, cause: StopCause) -> bool:
        """Tell the handler to stop; return whether it is news: the first cause stands, and none after the end."""
        with self._lock:
            if self._cause is not None or self._is_over:
                return False
            self._cause = cause
            callbacks = list(self._callbacks)
        for callback in callbacks:
            callback()
        return True

    def close(self) -> None:
        """The handler has returned: late news of the heartbeat concern it no more."""
        with self._lock:
            self._is_over = True
            self._callbacks.clear()
