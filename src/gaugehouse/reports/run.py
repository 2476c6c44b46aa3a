"""The worker's part: wait for the lake, compute, write the result, finish."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from sqlalchemy import select, update

from gaugehouse.config import QUERY_MEMORY_BYTES, Layout
from gaugehouse.database import Database
from gaugehouse.database.tables import ReportRevision
from gaugehouse.errors import NotFound, Unavailable
from gaugehouse.jobs import Control, Job, Pace, Progress, finish
from gaugehouse.lake import open_snapshot, read_committed_through, read_gone
from gaugehouse.reports.ask import refuse_gone_of
from gaugehouse.reports.chunks import Limits
from gaugehouse.reports.compute import compute_answer
from gaugehouse.reports.deliveries import queue_deliveries
from gaugehouse.reports.digest import digest_result
from gaugehouse.reports.passes import COUNTING
from gaugehouse.reports.pin import Pin, decode_pin, encode_pin
from gaugehouse.reports.result import VALUES, Answer, load_answer, publish_result, result_path, write_result
from gaugehouse.tracing import span

WAITING_PERCENT = 5.0  # waiting for the lake is the first part of the bar, writing the last
COMPUTED_PERCENT = 95.0
WAITING, WRITING = "waiting", "writing"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportWorker:
    """What every report of a worker process shares.

    Args:
        database: Reports and jobs.
        layout: Where lake and results live.
        threads: Threads one report computes with.
        limits: What one report holds in memory.
        query_memory_bytes: What the questions of one report to the lake may take.
        wait_s: How long the lake's owner has to commit what a report shows; then the attempt fails. [s]
        poll_s: Pause between two looks at what is committed. [s]
    """

    database: Database
    layout: Layout
    threads: int = 1
    limits: Limits = field(default_factory=Limits)
    query_memory_bytes: int = QUERY_MEMORY_BYTES
    wait_s: float = 60.0
    poll_s: float = 0.1


def run_report(job: Job, control: Control, *, worker: ReportWorker) -> None:
    """Compute the report that a job is about and finish both; a handler for `run_worker` once `worker` is bound.

    Running it again gives the same result. A run that lost its job stores nothing: the result file appears and the
    report is finished inside the transaction that the job's fence guards.

    Raises:
        JobCancelled, JobLost, JobInterrupted: As `control` says.
        Unavailable: The lake's owner did not commit in time, or a file cannot be read.
        Refused: Measurements of the period, or of the time before it that the numbers need, were dropped meanwhile.
    """
    with worker.database.reading() as session:
        revision = int(job.payload.get("revision", 1))
        row = session.get(ReportRevision, (job.subject_id, revision))
        if row is None:
            raise NotFound("the report of this job does not exist", code="report_not_found")
        pin = decode_pin(row.pin)
    _refuse_gone(worker, pin)
    with span("report.wait_for_lake", report=job.subject_id):
        _wait_for_lake(worker, pin.as_of, control)
    answer, digest = control.run(lambda: _compute(worker, job, pin, control))
    with span("report.store", report=job.subject_id, rows=answer.values.num_rows):
        _store(worker, job, revision, answer, digest, control)


def _compute(worker: ReportWorker, job: Job, pin: Pin, control: Control) -> tuple[Answer, str]:
    """Return the answer and its digest. Nothing is stored: who is left behind by a cancel does no harm."""
    snapshot = None
    if pin.as_of is not None:
        snapshot = open_snapshot(worker.layout.lake_dir, as_of=pin.as_of, memory_bytes=worker.query_memory_bytes)
        control.on_cancel(snapshot.engine.interrupt)
    _refuse_gone(worker, pin)  # again: what was dropped while we waited is not in the snapshot
    follower = _Follower(control)
    with span("report.compute", report=job.subject_id, series=len(pin.series)):
        answer = compute_answer(snapshot, pin, threads=worker.threads, limits=worker.limits, on_progress=follower.tell)
    control.tell(replace(follower.told, doing="writing the result", phase=WRITING, remaining_s=None))
    return answer, digest_result(encode_pin(pin), answer)


class _Follower:
    """Tells of the computing as a part of the job, with the time that it will take."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._pace = Pace()
        self.told = Progress(percent=WAITING_PERCENT, doing="")

    def tell(self, progress: Progress) -> None:
        remaining_s = None if progress.phase == COUNTING else self._pace.find_remaining_s(progress.percent)
        percent = WAITING_PERCENT + progress.percent / 100 * (COMPUTED_PERCENT - WAITING_PERCENT)
        self.told = replace(progress, percent=percent, remaining_s=remaining_s)
        self._control.tell(self.told)


def _refuse_gone(worker: ReportWorker, pin: Pin) -> None:
    gone = read_gone(worker.layout, pin.project, "measurements")
    refuse_gone_of(gone, pin)


def _wait_for_lake(worker: ReportWorker, as_of: datetime | None, control: Control) -> None:
    """Return once everything received up to `as_of` is committed."""
    deadline_s = time.monotonic() + worker.wait_s
    control.tell(Progress(percent=0, doing="waiting for the lake", phase=WAITING))
    while as_of is not None:
        committed = read_committed_through(worker.layout)
        if committed is not None and committed >= as_of:
            return
        if time.monotonic() >= deadline_s:
            raise Unavailable(
                f"the lake did not commit what was received up to {as_of.isoformat()} within {worker.wait_s:.0f} s; "
                "is the service running?",
                code="lake_not_committed",
            )
        control.check()
        time.sleep(worker.poll_s)


def _store(worker: ReportWorker, job: Job, revision: int, answer: Answer, digest: str, control: Control) -> None:
    paths = {name: result_path(worker.layout, job.subject_id, revision, name) for name in answer.tables}
    is_repeated = bool(job.payload.get("is_automatic")) and _says_the_same(worker, job.subject_id, revision, answer)
    unfinished: dict[str, Path] = {}

    def write() -> None:
        try:
            for name, table in answer.tables.items():
                unfinished[name] = write_result(table, paths[name], digest=digest, attempt=job.attempts)
                control.check()
        except BaseException:  # left behind, it clears up after itself
            _remove(unfinished)
            raise

    try:
        control.run(write)
        with worker.database.transaction() as session:
            finish(
                session, job, {"digest": digest, "rows": answer.values.num_rows}
            )  # the fence: raises before anything shows
            session.execute(
                update(ReportRevision)
                .where(ReportRevision.report_id == job.subject_id, ReportRevision.revision == revision)
                .values(
                    digest=digest,
                    result_path=str(paths[VALUES].relative_to(worker.layout.reports_dir)),
                    result_rows=answer.values.num_rows,
                )
            )
            if not is_repeated:
                queue_deliveries(session, job.subject_id, revision)
            for name, path in paths.items():
                publish_result(unfinished[name], path)
    finally:
        _remove(unfinished)


def _remove(unfinished: Mapping[str, Path]) -> None:
    for file in list(unfinished.values()):
        file.unlink(missing_ok=True)


def _says_the_same(worker: ReportWorker, report_id: str, revision: int, answer: Answer) -> bool:
    """Say whether a revision tells what the last one before it did: nobody wants that by mail."""
    with worker.database.reading() as session:
        before = session.scalars(
            select(ReportRevision.revision)
            .where(
                ReportRevision.report_id == report_id,
                ReportRevision.revision < revision,
                ReportRevision.digest.is_not(None),
            )
            .order_by(ReportRevision.revision.desc())
            .limit(1)
        ).one_or_none()
    if before is None:
        return False
    extra = [name for name in answer.tables if name != VALUES]
    try:
        earlier = load_answer(worker.layout, report_id, before, extra)
    except Unavailable:
        return False
    return digest_result({}, earlier) == digest_result({}, answer)
