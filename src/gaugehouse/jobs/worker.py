"""A worker: claims jobs, runs their handlers, keeps their leases alive."""

import errno
import functools
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

import structlog

from gaugehouse.database import Database
from gaugehouse.errors import GaugehouseError, Kind, StorageFull, Unavailable, is_exhausted
from gaugehouse.jobs.control import Control, JobCancelled, JobInterrupted, JobLost
from gaugehouse.jobs.queue import (
    DEFECT_CODE,
    RETRY_DELAY_S,
    EndCallback,
    Job,
    claim,
    end_cancelled,
    fail,
    find_cancelled,
    finish,
    heartbeat,
    is_held,
    release,
    set_progress,
)
from gaugehouse.jobs.turns import Ceilings
from gaugehouse.tracing import span

Handler = Callable[[Job, Control], None]

BEATS_PER_LEASE = 3  # two heartbeats in a row may fail before anything is lost
CANCEL_LOOK_S = 0.3  # who cancels a job waits for no heartbeat: it ends within a second
PASSING = (Unavailable, StorageFull)  # a database that restarts, or whose disk is full, is no reason to end a worker
FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
RETRIED_KINDS = frozenset({Kind.UNAVAILABLE, Kind.THROTTLED, Kind.FULL, Kind.TOO_SLOW})

_log = structlog.stdlib.get_logger()


def run_worker(  # noqa: PLR0913 - the composition root names each
    db: Database,
    handlers: Mapping[str, Handler],
    *,
    worker: str,
    lease_s: float,
    stop: threading.Event,
    poll_s: float = 0.5,
    threads: int = 1,
    retry_delay_s: float = RETRY_DELAY_S,
    on_end: EndCallback | None = None,
    ceilings: Ceilings | None = None,
) -> None:
    """Run jobs until `stop` is set; then interrupt what runs, put it back and return.

    A handler calls `finish` in the transaction that stores what it made. One that returns without doing so has its
    job ended as done with an empty result. Handlers may run twice for one job, and must bear it.

    Args:
        db: The database.
        handlers: By kind of job.
        worker: Name of this worker, unique among all processes that run now or ran before.
        lease_s: A job is run elsewhere when this worker is silent for so long. [s]
        stop: Set it to end the worker.
        poll_s: Pause between two looks into an empty queue. [s]
        threads: How many jobs run at once.
        retry_delay_s: Pause before the second attempt; doubled with each. [s]
        on_end: Called, inside the ending transaction, for jobs that end as failed or cancelled.
        ceilings: See `claim`.
    """
    loop = _Worker(db, handlers, worker, lease_s, stop, poll_s, retry_delay_s, on_end, threads, ceilings)
    with ThreadPoolExecutor(threads + 2, thread_name_prefix=worker) as pool:
        futures = [
            pool.submit(loop.keep_leases),
            pool.submit(loop.watch_cancels),
            *(pool.submit(loop.work) for _ in range(threads)),
        ]
        wait(futures, return_when=FIRST_EXCEPTION)
        stop.set()  # a thread that met a defect takes the others with it, instead of leaving half a worker
    for future in futures:
        future.result()


class _Worker:
    """What the threads of one worker share: the jobs they hold."""

    def __init__(  # noqa: PLR0913, PLR0917 - made in one place
        self,
        db: Database,
        handlers: Mapping[str, Handler],
        name: str,
        lease_s: float,
        stop: threading.Event,
        poll_s: float,
        retry_delay_s: float,
        on_end: EndCallback | None,
        threads: int,
        ceilings: Ceilings | None = None,
    ) -> None:
        self._db = db
        self._handlers = handlers
        self._name = name
        self._lease_s = lease_s
        self._stop = stop
        self._poll_s = poll_s
        self._retry_delay_s = retry_delay_s
        self._on_end = on_end
        self._ceilings = ceilings
        self._held: dict[tuple[str, int], tuple[Job, Control]] = {}
        self._lock = threading.Lock()
        self._threads_working = threads
        self._all_ended = threading.Event()

    def work(self) -> None:
        """Claim and run jobs until the worker stops."""
        try:
            while not self._stop.is_set():
                job = self._claim()
                if job is None:
                    self._stop.wait(self._poll_s)
                else:
                    self._run(job)
        finally:
            with self._lock:
                self._threads_working -= 1
                if self._threads_working == 0:
                    self._all_ended.set()

    def keep_leases(self) -> None:
        """Beat until no thread works any more; from the stop on, interrupt what still runs."""
        interval_s = self._lease_s / BEATS_PER_LEASE
        while not self._all_ended.is_set():
            self.beat()
            if self._stop.is_set():
                self._interrupt_all()
                self._all_ended.wait(min(interval_s, 0.1))
            else:
                self._stop.wait(interval_s)

    def watch_cancels(self) -> None:
        """Look for cancels until no thread works any more: not beside the beats, whose lease no wait may cost."""
        while not self._all_ended.is_set():
            self.look_for_cancels()
            self._all_ended.wait(CANCEL_LOOK_S)

    def beat(self) -> None:
        """Extend all leases once, and pass on what the database says about them."""
        with self._lock:
            held = dict(self._held)  # before the UPDATE: what is claimed from here on cannot look lost
        try:
            news = heartbeat(self._db, worker=self._name, jobs=[job for job, _ in held.values()], lease_s=self._lease_s)
        except PASSING as exc:  # the next beat comes within the lease
            _log.warning("heartbeat_failed", worker=self._name, code=exc.code)
            return
        for key in news.lost:
            if held[key][1].stop("lost"):
                _log.warning("job_lost", job_id=key[0], worker=self._name, attempt=key[1])
        for key in news.cancel_requested:
            held[key][1].stop("cancelled")

    def look_for_cancels(self) -> None:
        """Tell jobs to stop that somebody wants to cancel, without a write."""
        with self._lock:
            held = dict(self._held)
        try:
            keys = find_cancelled(self._db, [job for job, control in held.values() if not control.cancelled])
        except PASSING as exc:
            _log.warning("look_for_cancels_failed", worker=self._name, code=exc.code)
            return
        for key in keys:
            held[key][1].stop("cancelled")

    def _interrupt_all(self) -> None:
        with self._lock:
            controls = [control for _, control in self._held.values()]
        for control in controls:
            control.stop("interrupted")

    def _claim(self) -> Job | None:
        try:
            return claim(
                self._db,
                worker=self._name,
                kinds=self._handlers.keys(),
                lease_s=self._lease_s,
                on_end=self._on_end,
                ceilings=self._ceilings,
            )
        except PASSING as exc:
            _log.warning("claim_failed", worker=self._name, code=exc.code)
            return None

    def _run(self, job: Job) -> None:
        control = Control(functools.partial(set_progress, self._db, job))
        with self._lock:
            self._held[job.id, job.attempts] = (job, control)
        with structlog.contextvars.bound_contextvars(job_id=job.id, attempt=job.attempts, worker=self._name):
            _log.info("job_started", kind=job.kind)
            try:
                self._end(job, control, self._call_handler(job, control))
            except JobLost:
                _log.warning("job_lost_at_end")
            except PASSING as exc:  # its lease will run out, and the job be run again
                _log.warning("job_end_failed", code=exc.code)
            finally:
                with self._lock:
                    del self._held[job.id, job.attempts]

    def _call_handler(self, job: Job, control: Control) -> Exception | None:
        try:
            with span("job", kind=job.kind, job=job.id, attempt=job.attempts):
                self._handlers[job.kind](job, control)
        except Exception as exc:  # noqa: BLE001 - one of the two places: whatever a job does, the worker goes on
            return exc
        finally:
            control.close()
        return None

    def _end(self, job: Job, control: Control, error: Exception | None) -> None:
        if error is None:
            self._finish_if_open(job)
        elif isinstance(error, JobLost) or control.cause == "lost":
            _log.warning("job_stopped_as_lost")
        elif isinstance(error, JobCancelled) or control.cause == "cancelled":
            end_cancelled(self._db, job, on_end=self._on_end)
            _log.info("job_cancelled")
        elif isinstance(error, JobInterrupted) or control.cause == "interrupted":
            release(self._db, job, on_end=self._on_end)
            _log.info("job_put_back")
        else:
            self._fail(job, error)

    def _finish_if_open(self, job: Job) -> None:
        if is_held(self._db, job):  # usually not: the handler has finished it together with what it made
            with self._db.transaction() as session:
                finish(session, job, {})
        _log.info("job_done")

    def _fail(self, job: Job, error: Exception) -> None:
        known = _recognise(error)
        if known is not None:
            reason, code, retry = known.message, known.code, known.kind in RETRIED_KINDS
            _log.warning("job_attempt_failed", reason=reason, code=code, retry=retry)
        else:  # a defect of ours: its text may hold a path, so only the log has it
            reason, code, retry = f"internal error ({type(error).__name__})", DEFECT_CODE, True
            _log.error("job_attempt_failed", reason=reason, retry=retry, exc_info=error)
        fail(self._db, job, reason, code=code, retry=retry, retry_delay_s=self._retry_delay_s, on_end=self._on_end)


def _recognise(error: Exception) -> GaugehouseError | None:
    """Return what a failure is in words that people can act on; None for a defect of ours."""
    if isinstance(error, GaugehouseError):
        return error
    if isinstance(error, OSError) and error.errno in FULL_ERRNOS:
        return StorageFull("the disk is full; make room, then it can be done")
    if is_exhausted(error):
        return Unavailable("the machine has too little memory or too few open files left for it", code="out_of_memory")
    return None
