"""What a running job's handler holds: say how far it is, learn that it must stop."""

import contextvars
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

from gaugehouse.errors import GaugehouseError, Kind

PROGRESS_INTERVAL_S = 0.5  # each report of progress is a durable write; people look no more often

FIRST_PACE_S = 1.0  # what was done in less says nothing about the rest

StopCause = Literal["cancelled", "lost", "interrupted"]
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a job is.

    Args:
        percent: 0 to 100. [%]
        doing: In words.
        phase: In one word, for programs.
        rows_read: Rows that were read by now; None: nothing is read, or nobody counts.
        rows_total: Rows that will have been read in the end, as far as is known.
        remaining_s: How long it will take from now; None: nobody knows yet. [s]
    """

    percent: float
    doing: str
    phase: str = ""
    rows_read: int | None = None
    rows_total: int | None = None
    remaining_s: float | None = None


class Pace:
    """How long the rest takes, if it goes on as it did since the first look.

    Args:
        clock: Monotonic seconds. [s]
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began: tuple[float, float] | None = None

    def find_remaining_s(self, percent: float) -> float | None:
        """Return the time that is left at this per cent; None while there is no pace to go by. [s]"""
        now_s = self._clock()
        if self._began is None:
            self._began = (now_s, percent)
        began_s, first = self._began
        if now_s - began_s < FIRST_PACE_S or percent <= first:
            return None
        return (now_s - began_s) * (100.0 - percent) / (percent - first)


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

    def __init__(self, report: Callable[[Progress], None], clock: Callable[[], float] = time.monotonic) -> None:
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
        """Say how far the job is and what it is doing; see `tell`."""
        self.tell(Progress(percent=percent, doing=doing))

    def tell(self, progress: Progress) -> None:
        """Say how far the job is; at most two such words a second are stored.

        Raises:
            JobCancelled, JobLost, JobInterrupted: stop; let the exception leave the handler.
        """
        self.check()
        now_s = self._clock()
        is_recent = self._reported_s is not None and now_s - self._reported_s < PROGRESS_INTERVAL_S
        if is_recent and progress.doing == self._doing:
            return
        self._reported_s, self._doing = now_s, progress.doing
        self._report(progress)

    def run(self, work: Callable[[], Made]) -> Made:
        """Do work that cannot be interrupted everywhere; when the handler shall stop, leave it behind.

        It is done by a thread of its own. One that is left behind goes on to its next `check`, and what it makes is
        dropped: work changes nothing that outlives it.

        Raises:
            JobCancelled, JobLost, JobInterrupted: at once when the handler shall stop, whatever the work is at.
        """
        self.check()
        done = threading.Event()
        made: list[Made] = []
        failures: list[BaseException] = []

        def do() -> None:
            try:
                made.append(work())
            except BaseException as exc:  # noqa: BLE001 - passed on below; left behind, nobody asks
                failures.append(exc)
            finally:
                done.set()

        name = f"{threading.current_thread().name}-working"
        thread = threading.Thread(target=contextvars.copy_context().run, args=(do,), name=name)
        self.on_cancel(done.set)
        thread.start()
        done.wait()
        self.check()
        thread.join()
        if failures:
            raise failures[0]
        return made[0]

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
