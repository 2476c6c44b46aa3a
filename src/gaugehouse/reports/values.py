"""The values of done revisions as rows of the lake's table `kpi_values`.

The result file of a revision is the evidence; the table is made of those files and can be made of them again. Which
batch a revision belongs to is written down before that batch is committed, and the number of the newest committed
batch is in the table's own log: so a crash between the two repeats the batch or finds it there, and a table that was
thrown away gets the same batches once more.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as pa
import structlog
from sqlalchemy import Select, func, select, tuple_, update
from sqlalchemy.orm import Session

from gaugehouse.config import Layout
from gaugehouse.database import Database
from gaugehouse.database.tables import Job, Project, Report, ReportRevision
from gaugehouse.errors import Unavailable
from gaugehouse.lake import Portion, ValueTable
from gaugehouse.lake.valuecheck import order_by_key
from gaugehouse.measurements.schema import TIMESTAMP, VALUE_ROWS
from gaugehouse.measurements.selection import from_epoch_us
from gaugehouse.reports.result import RESULT, load_coded, result_path

logger = structlog.get_logger()

REVISIONS_AT_ONCE = 200
ROWS_AT_ONCE = 2_000_000  # of a batch, unless its first revision alone has more
KEY = ("component", "metric", "kpi", "bucket_start")
START_US = ("period", "start_us")
TAKEN = [name for name in VALUE_ROWS.names if name in RESULT.names]
Key = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class DoneRevision:
    """A revision whose values are wanted.

    Args:
        project: Slug.
        month: 'YYYY-MM' of the start of its period, UTC.
        report_id: Of the report.
        revision: Of it.
        computed_at: When it was done.
    """

    project: str
    month: str
    report_id: str
    revision: int
    computed_at: datetime

    @property
    def key(self) -> Key:
        return self.report_id, self.revision


@dataclass(slots=True, kw_only=True)
class ValuePublisher:
    """What brings done revisions into the table; in the process that owns the lake.

    Args:
        database: Says which revisions are done.
        layout: Where their results are.
        table: Where their values go.
        unreadable: Revisions whose result cannot be read; the next start tries them again.
    """

    database: Database
    layout: Layout
    table: ValueTable
    unreadable: set[Key] = field(default_factory=set)

    def publish_next(self) -> int:
        """Commit one batch; return how many revisions it has, 0 when all that are done are in the table.

        Raises:
            StorageFull: The disk is nearly full.
            Unavailable: The lake is closing, or the disk refused; the same batch is tried again by the next call.
        """
        with self.table.changing():  # a project that is deleted meanwhile waits, and its rows go with the others
            newest = self.table.newest_batch()
            with self.database.reading() as session:
                batch = _find_unfinished(session, newest)
            if batch is None:
                batch = self._claim(newest)
            return 0 if batch is None else self._publish(batch)

    def _claim(self, newest: int) -> int | None:
        """Write down which revisions are the next batch, and return its number; None when there are none."""
        with self.database.reading() as session:
            wanted = _find_lacking(session, self.unreadable)
        if not wanted:
            return None
        with self.database.transaction() as session:
            last = session.scalars(select(func.max(ReportRevision.values_batch)).where(IS_DONE)).one()
            batch = 1 + max(newest, -1 if last is None else last)
            _set_batch(session, wanted, batch)
        return batch

    def _publish(self, batch: int) -> int:
        with self.database.reading() as session:
            revisions = _load_revisions(session, batch)
        unreadable: list[Key] = []
        draft = self.table.write(batch, self._portions(revisions, unreadable))
        if unreadable:  # before the commit: what is in a committed batch counts as published
            self.unreadable.update(unreadable)
            try:
                with self.database.transaction() as session:
                    _set_batch(session, unreadable, None)
            except BaseException:
                self.table.discard(draft)
                raise
        self.table.commit(draft)
        logger.info("values_published", batch=batch, revisions=len(revisions) - len(unreadable), rows=draft.rows)
        return len(revisions)

    def _portions(self, revisions: Sequence[DoneRevision], unreadable: list[Key]) -> Iterator[Portion]:
        for one in revisions:
            try:
                result = load_coded(result_path(self.layout, one.report_id, one.revision), TAKEN)
            except Unavailable:
                logger.warning("values_unreadable", report=one.report_id, revision=one.revision)
                unreadable.append(one.key)
                continue
            yield Portion(project=one.project, month=one.month, rows=value_rows(one, result))

    def drop_unknown_projects(self) -> list[str]:
        """Remove rows of projects that the database does not know any more; return their slugs."""
        with self.table.changing():
            with self.database.reading() as session:
                known = set(session.scalars(select(Project.slug)))
            unknown = sorted(self.table.projects() - known)
            for slug in unknown:
                self.table.delete_project(slug)
        return unknown


def value_rows(revision: DoneRevision, result: pa.Table) -> pa.Table:
    """Return the rows of a revision.

    Args:
        revision: Which one.
        result: Columns TAKEN of RESULT, text as dictionaries, rows in any order.

    Returns:
        Columns of VALUE_ROWS by component, metric (absent ones last), KPI and bucket; names as dictionaries.
    """
    rows = result.take(pa.array(order_by_key(result, KEY)))
    count = rows.num_rows
    own = {
        "report_id": pa.repeat(pa.scalar(revision.report_id, pa.string()), count).dictionary_encode(),
        "revision": pa.repeat(pa.scalar(revision.revision, pa.int32()), count),
        "computed_at": pa.repeat(pa.scalar(revision.computed_at, TIMESTAMP), count),
    }
    return pa.table({name: own[name] if name in own else rows.column(name) for name in VALUE_ROWS.names})


IS_DONE = ReportRevision.digest.is_not(None)


def _find_unfinished(session: Session, newest: int) -> int | None:
    """Return the oldest batch that is written down and not committed."""
    statement = select(func.min(ReportRevision.values_batch)).where(IS_DONE, ReportRevision.values_batch > newest)
    return session.scalars(statement).one()


def _find_lacking(session: Session, unreadable: set[Key]) -> list[Key]:
    """Return done revisions that belong to no batch yet, as many as one takes."""
    statement = (
        select(ReportRevision.report_id, ReportRevision.revision, ReportRevision.result_rows)
        .where(IS_DONE, ReportRevision.values_batch.is_(None))
        .limit(REVISIONS_AT_ONCE + len(unreadable))
    )
    lacking = [row for row in session.execute(statement) if (row.report_id, row.revision) not in unreadable]
    wanted: list[Key] = []
    rows = 0
    for row in lacking[:REVISIONS_AT_ONCE]:
        rows += row.result_rows or 0
        if wanted and rows > ROWS_AT_ONCE:
            break
        wanted.append((row.report_id, row.revision))
    return wanted


def _set_batch(session: Session, keys: Sequence[Key], batch: int | None) -> None:
    session.execute(
        update(ReportRevision)
        .where(tuple_(ReportRevision.report_id, ReportRevision.revision).in_(keys))
        .values(values_batch=batch)
        .execution_options(synchronize_session=False)
    )


def _load_revisions(session: Session, batch: int) -> list[DoneRevision]:
    """Return the revisions of a batch by project, month, report and revision."""
    found = [
        DoneRevision(
            project=row.slug,
            month=f"{from_epoch_us(int(row.start_us)):%Y-%m}",
            report_id=row.report_id,
            revision=row.revision,
            computed_at=row.finished_at,
        )
        for row in session.execute(_revisions_of(batch))
    ]
    return sorted(found, key=lambda one: (one.project, one.month, *one.key))


def _revisions_of(batch: int) -> Select[str, str, int, float, datetime | None]:
    return (
        select(
            Project.slug,
            ReportRevision.report_id,
            ReportRevision.revision,
            ReportRevision.pin[START_US].as_float().label("start_us"),  # whole up to 2^53, which is the year 2255
            Job.finished_at,
        )
        .join(Report, Report.id == ReportRevision.report_id)
        .join(Project, Project.id == Report.project_id)
        .join(Job, Job.id == ReportRevision.job_id)
        .where(IS_DONE, ReportRevision.values_batch == batch)
    )
