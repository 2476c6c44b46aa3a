"""Deliveries as rows: an outbox. Written in the transaction that ends a report, worked off by jobs.

A delivery is pending until its receiver has it or it is given up. Each attempt is one job: the queue's lease and fence
see to it that a killed worker's attempt is made again, so a receiver gets a delivery at least once, always with the
same id.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from gaugehouse.access import Caller
from gaugehouse.database import database_now, new_id
from gaugehouse.database.tables import Delivery, Project, Report, ReportRevision
from gaugehouse.errors import AlreadyExists, NotFound, Refused
from gaugehouse.inventory.pages import Page, load_page, read_order
from gaugehouse.jobs import JobStatus, JobView, enqueue, hasten
from gaugehouse.measurements.names import find_name_problem
from gaugehouse.measurements.selection import from_epoch_us
from gaugehouse.query.components import show_name
from gaugehouse.reports.destinations import FolderDestination, find_addresses, hide_path
from gaugehouse.reports.parcel import Outcome, Subject, encode_subject
from gaugehouse.reports.request import JOB_KIND
from gaugehouse.reports.templates import Template, find_template_by_id

DELIVERY_KIND = "deliver_report"
MAX_REASON_CHARS = 500
SHOWN_ID_CHARS = 32
FIRST_RETRY_S = 30.0
LONGEST_RETRY_S = 4 * 3600.0
TRIED_FOR = timedelta(days=1)


class DeliveryState(StrEnum):
    """Where a delivery is. delivered is final; failed can be retried."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryView:
    """A delivery as its readers see it.

    Args:
        id: dlv_...; receivers see the same one.
        report_id: Of the report.
        revision: Of the report.
        kind: email, webhook or folder.
        to: E-mail address, server of a webhook (its path may be a secret), or folder.
        state: pending, delivered or failed.
        attempts: How often it was tried.
        reason: Why the last attempt failed, in words.
        next_attempt_at: When it will be tried again.
    """

    id: str
    report_id: str
    revision: int
    kind: str
    to: str
    state: str
    attempts: int
    reason: str | None
    created_at: datetime
    next_attempt_at: datetime | None
    delivered_at: datetime | None


def queue_deliveries(session: Session, report_id: str, revision: int) -> int:
    """Write down what is to be delivered of a revision that is done, with a job for each; return how many.

    Called in the transaction that ends the report: both or neither. Where files go is what the template says now, not
    what it said when the report was asked for: people move on.
    """
    return _queue(session, report_id, revision, failure=None)


def _queue(session: Session, report_id: str, revision: int, *, failure: str | None) -> int:
    """Write down a delivery for each address of a report's template; of a failure, for those who can read of it."""
    report = session.get(Report, report_id, populate_existing=True)
    template = (
        None if report is None or report.template_id is None else find_template_by_id(session, report.template_id)
    )
    if report is None or template is None:
        return 0
    about = {
        "formats": list(template.definition.formats) if failure is None else [],
        "subject": encode_subject(_describe(session, report, revision, template, failure)),
    }
    places = [
        (destination, kind, address)
        for destination in template.definition.destinations
        if failure is None or not isinstance(destination, FolderDestination)
        for kind, address in find_addresses(destination)
    ]
    for destination, kind, address in places:
        delivery_id = new_id("dlv")
        session.add(
            Delivery(
                id=delivery_id,
                project_id=report.project_id,
                report_id=report.id,
                revision=revision,
                template_id=template.id,
                kind=kind,
                address=address,
                content={"destination": asdict(destination), **about},
                state=DeliveryState.PENDING.value,
                job_id=_enqueue(session, delivery_id, report.project_id),
            )
        )
    session.flush()
    return len(places)


def _describe(session: Session, report: Report, revision: int, template: Template, failure: str | None) -> Subject:
    project = session.get(Project, report.project_id)
    row = session.get(ReportRevision, (report.id, revision), populate_existing=True)
    assert project is not None and row is not None  # noqa: S101, PT018 - foreign keys; narrows the types
    return Subject(
        project=project.slug,
        template=template.name,
        title=template.definition.title,
        period_start=from_epoch_us(row.pin["period"]["start_us"]),
        period_end=from_epoch_us(row.pin["period"]["end_us"]),
        timezone=report.timezone,
        as_of=row.as_of,
        digest=row.digest,
        failure=failure,
    )


def _enqueue(session: Session, delivery_id: str, project_id: str, *, delay_s: float = 0.0) -> str:
    return enqueue(
        session, kind=DELIVERY_KIND, project_id=project_id, subject_id=delivery_id, payload={}, delay_s=delay_s
    )


def find_retry_delay_s(attempts: int, *, tried_since: datetime, now: datetime, fraction: float) -> float | None:
    """Return how long to wait before the next attempt, None when a day of them is over. Pure. [s]

    30 s, then twice as long each time up to 4 h, each shortened by up to half, so that the deliveries of a receiver
    that was away do not all come at once. The last attempt is made when the day ends.

    Args:
        attempts: Made so far, at least 1.
        tried_since: When the first one was due.
        now: Aware.
        fraction: Chance, 0 to 1.
    """
    left_s = (tried_since + TRIED_FOR - now).total_seconds()
    if left_s <= 0:
        return None
    longest_s = min(FIRST_RETRY_S * 2.0 ** min(attempts - 1, 30), LONGEST_RETRY_S)
    return min(longest_s * (1 - fraction / 2), left_s)


def store_delivered(row: Delivery, *, now: datetime) -> None:
    """Keep that a receiver has a delivery."""
    row.state = DeliveryState.DELIVERED.value
    row.attempts += 1
    row.delivered_at = now
    row.reason = row.next_attempt_at = None


def store_failed(session: Session, row: Delivery, outcome: Outcome, *, delay_s: float | None, now: datetime) -> None:
    """Keep that an attempt failed; queue the next one, or give up without a delay."""
    row.attempts += 1
    row.reason = outcome.reason[:MAX_REASON_CHARS]
    if delay_s is None:
        row.state = DeliveryState.FAILED.value
        row.next_attempt_at = None
        return
    row.next_attempt_at = now + timedelta(seconds=delay_s)
    row.job_id = _enqueue(session, row.id, row.project_id, delay_s=delay_s)


def end_delivery(session: Session, job: JobView) -> None:
    """Fail a delivery whose job the queue itself ended; an `on_end` of `run_worker`."""
    if job.kind != DELIVERY_KIND or job.status is JobStatus.DONE:
        return
    statement = (
        update(Delivery)
        .where(Delivery.id == job.subject_id, Delivery.job_id == job.id, Delivery.state == DeliveryState.PENDING.value)
        .values(state=DeliveryState.FAILED.value, reason=job.reason, next_attempt_at=None)
    )
    session.execute(statement.execution_options(synchronize_session=False))


def announce_failure(session: Session, job: JobView) -> None:
    """Tell those who wait for a report of a template that it failed, and why; an `on_end` of `run_worker`.

    Nobody is told of one that was cancelled on request: who did that knows.
    """
    if job.kind != JOB_KIND or job.status is not JobStatus.FAILED:
        return
    revision = session.scalars(select(ReportRevision.revision).where(ReportRevision.job_id == job.id)).one_or_none()
    if revision is not None:
        _queue(session, job.subject_id, revision, failure=job.reason or "no reason is known")


def find_deliveries(session: Session, report_ids: Sequence[str]) -> dict[str, tuple[DeliveryView, ...]]:
    """Return the deliveries of each of these reports, in the order they were written down."""
    statement = select(Delivery).where(Delivery.report_id.in_(report_ids)).order_by(Delivery.created_at, Delivery.id)
    found: dict[str, list[DeliveryView]] = {}
    for row in session.scalars(statement) if report_ids else ():
        found.setdefault(row.report_id, []).append(_view(row))
    return {report_id: tuple(views) for report_id, views in found.items()}


def list_deliveries(
    session: Session, caller: Caller, *, state: str | None = None, limit: int = 100, cursor: str | None = None
) -> Page[DeliveryView]:
    """Return one page of the project's deliveries, newest first.

    Raises:
        Refused: No such state, limit or cursor.
    """
    statement = select(Delivery).where(Delivery.project_id == caller.project_id)
    if state is not None:
        if state not in set(DeliveryState):
            raise Refused(f"state must be one of {', '.join(DeliveryState)}", code="state_refused")
        statement = statement.where(Delivery.state == state)
    order = read_order("-created_at", {"created_at": Delivery.created_at}, Delivery.id)
    rows, next_cursor, total = load_page(session, statement, order, limit=limit, cursor=cursor)
    return Page(items=tuple(_view(row) for row in rows), next_cursor=next_cursor, total=total)


def get_delivery(session: Session, caller: Caller, delivery_id: str) -> DeliveryView:
    """Return a delivery of the caller's project.

    Raises:
        NotFound: There is none with this id.
    """
    return _view(_get_row(session, caller, delivery_id))


def retry_delivery(session: Session, caller: Caller, delivery_id: str) -> DeliveryView:
    """Try a delivery again now, for another day if need be; one that waits for its next attempt waits no longer.

    Raises:
        NotFound: There is none with this id.
        AlreadyExists: Its receiver has it.
    """
    row = _get_row(session, caller, delivery_id, lock=True)
    if row.state == DeliveryState.DELIVERED:
        raise AlreadyExists("the delivery has arrived and is not sent again", code="delivery_arrived")
    if row.state == DeliveryState.FAILED:
        row.state = DeliveryState.PENDING.value
        row.tried_since = database_now()  # SQL: the flush replaces it by its value
        row.job_id = _enqueue(session, row.id, row.project_id)
    else:
        hasten(session, row.job_id)
    row.next_attempt_at = None
    session.flush()
    session.refresh(row)
    return _view(row)


def _get_row(session: Session, caller: Caller, delivery_id: str, *, lock: bool = False) -> Delivery:
    row = None
    if find_name_problem(delivery_id) is None:  # some text would make a driver fail
        statement = select(Delivery).where(Delivery.id == delivery_id, Delivery.project_id == caller.project_id)
        row = session.scalars(statement.with_for_update() if lock else statement).one_or_none()
    if row is None:
        raise NotFound(f"there is no delivery {show_name(delivery_id)[:SHOWN_ID_CHARS]!r}", code="delivery_not_found")
    return row


def _view(row: Delivery) -> DeliveryView:
    return DeliveryView(
        id=row.id,
        report_id=row.report_id,
        revision=row.revision,
        kind=row.kind,
        to=hide_path(row.address) if row.kind == "webhook" else row.address,
        state=row.state,
        attempts=row.attempts,
        reason=row.reason,
        created_at=row.created_at,
        next_attempt_at=row.next_attempt_at,
        delivered_at=row.delivered_at,
    )
