"""Deliver: one attempt is one job. The files are gathered, sent, and how it went is kept with the end of the job."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import structlog
from sqlalchemy.orm import Session

from gaugehouse.config import Settings
from gaugehouse.database import Database
from gaugehouse.database.tables import Delivery
from gaugehouse.errors import GaugehouseError
from gaugehouse.jobs import Control, Job, finish
from gaugehouse.jobs.worker import RETRIED_KINDS
from gaugehouse.reports.deliveries import DeliveryState, find_retry_delay_s, store_delivered, store_failed
from gaugehouse.reports.destinations import (
    Destination,
    EmailDestination,
    FolderDestination,
    Reach,
    WebhookDestination,
    decode_destination,
)
from gaugehouse.reports.folder import place_files
from gaugehouse.reports.mail import MailServer, send_mail
from gaugehouse.reports.parcel import (
    Fate,
    FileSource,
    Outcome,
    Parcel,
    ReportFile,
    decode_subject,
    give_up,
    try_later,
)
from gaugehouse.reports.printing import Printer, printed_files
from gaugehouse.reports.templates import find_secret
from gaugehouse.reports.webhook import WebhookSender, send_webhook
from gaugehouse.tracing import span

logger = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryWorker:
    """What every delivery of a worker process shares.

    Args:
        database: Deliveries and jobs.
        files: Where the files of a report come from.
        mail: None: no mail server is set.
        webhooks: How webhooks leave.
        delivery_dir: Root of all folders; None: none is set.
        public_url: Where people reach this server; None: links are left out.
        limit_bytes: Larger sets of files are not sent by e-mail or webhook. [bytes]
        fraction: Chance for the pause before a retry, 0 to 1.
        now: The clock; the database's by default.
    """

    database: Database
    files: FileSource
    mail: MailServer | None = None
    webhooks: WebhookSender = field(default_factory=WebhookSender)
    delivery_dir: Path | None = None
    public_url: str | None = None
    limit_bytes: int
    fraction: Callable[[], float] = random.random
    now: Callable[[Session], datetime] | None = None

    @classmethod
    def from_settings(cls, settings: Settings, database: Database, printer: Printer | None = None) -> "DeliveryWorker":
        """Return what the settings say; files are made by this printer.

        Raises:
            StartRefused: They cannot be understood.
        """
        return cls(
            database=database,
            files=printed_files(Printer.from_settings(settings, database) if printer is None else printer),
            mail=MailServer.from_settings(settings),
            webhooks=WebhookSender(private_networks=Reach.from_settings(settings).private_networks),
            delivery_dir=settings.delivery_dir,
            public_url=settings.public_url,
            limit_bytes=settings.delivery_limit_bytes,
        )

    def read_clock(self, session: Session) -> datetime:
        """Return what time it is."""
        return self.database.now(session) if self.now is None else self.now(session)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What one attempt needs to know of its delivery."""

    delivery: Delivery
    destination: Destination
    secret: str | None
    now: datetime


def run_delivery(job: Job, control: Control, *, worker: DeliveryWorker) -> None:
    """Make one attempt; a handler for `run_worker` once `worker` is bound.

    Killed after the receiver has it and before that is kept, it is sent again, under the same id.

    Raises:
        JobCancelled, JobLost, JobInterrupted: As `control` says; an attempt that was broken off does not count.
    """
    asked = _read(job, worker)
    if asked is None:
        return
    with span("delivery", delivery=asked.delivery.id, kind=asked.delivery.kind):
        outcome = _attempt(asked, worker, control)
    if outcome.fate is not Fate.DELIVERED:
        control.check()
    _keep(job, outcome, worker)


def _read(job: Job, worker: DeliveryWorker) -> _Asked | None:
    """Return the delivery of a job, None when it needs no attempt, or another job makes it."""
    with worker.database.reading() as session:
        row = session.get(Delivery, job.subject_id)
        if row is None or row.state != DeliveryState.PENDING or row.job_id != job.id:
            return None
        destination = decode_destination(row.content["destination"])
        is_webhook = isinstance(destination, WebhookDestination)
        secret = find_secret(session, row.template_id, row.address) if is_webhook else None
        return _Asked(delivery=row, destination=destination, secret=secret, now=worker.read_clock(session))


def _attempt(asked: _Asked, worker: DeliveryWorker, control: Control) -> Outcome:
    control.progress(0, "gathering the files")
    parcel = control.run(lambda: _pack(asked, worker))  # a file that nobody has asked for yet is made now
    if isinstance(parcel, Outcome):
        return parcel
    control.progress(50, "sending")
    match asked.destination:
        case EmailDestination():
            return _mail(parcel, asked, asked.destination, worker)
        case WebhookDestination():
            return _post(parcel, asked, asked.destination, worker, control)
        case FolderDestination():
            if worker.delivery_dir is None:
                return try_later("this server has no delivery folder set (GAUGEHOUSE_DELIVERY_DIR)")
            return place_files(parcel, asked.destination, worker.delivery_dir)


def _mail(parcel: Parcel, asked: _Asked, destination: EmailDestination, worker: DeliveryWorker) -> Outcome:
    if worker.mail is None:
        return try_later("this server has no mail server set (GAUGEHOUSE_SMTP_HOST)")
    return send_mail(parcel, destination, asked.delivery.address, worker.mail, now=asked.now)


def _post(
    parcel: Parcel, asked: _Asked, destination: WebhookDestination, worker: DeliveryWorker, control: Control
) -> Outcome:
    if asked.secret is None:
        return give_up("the template was deleted, and with it the secret that deliveries are signed with")
    now_s = int(asked.now.timestamp())
    return send_webhook(parcel, destination, asked.secret, worker.webhooks, now_s=now_s, on_cut=control.on_cancel)


def _pack(asked: _Asked, worker: DeliveryWorker) -> Parcel | Outcome:
    """Return what is to be sent, or why it cannot be made."""
    row = asked.delivery
    is_wanted = isinstance(asked.destination, FolderDestination) or asked.destination.attach
    try:
        found = [worker.files(row.report_id, row.revision, one) for one in row.content["formats"]] if is_wanted else []
        files = tuple(ReportFile(name=one.name, media_type=one.media_type, content=one.read()) for one in found)
    except GaugehouseError as exc:
        return try_later(exc.message) if exc.kind in RETRIED_KINDS else give_up(exc.message)
    except OSError as exc:
        return try_later(f"a file of the report cannot be read: {exc.strerror or type(exc).__name__}")
    is_too_large = sum(file.size_bytes for file in files) > worker.limit_bytes
    left_out = is_too_large and not isinstance(asked.destination, FolderDestination)
    base = worker.public_url
    return Parcel(
        delivery_id=row.id,
        report_id=row.report_id,
        revision=row.revision,
        subject=decode_subject(row.content["subject"]),
        link=None if base is None else f"{base}/v1/reports/{row.report_id}",
        files=() if left_out else files,
        left_out=left_out,
    )


def _keep(job: Job, outcome: Outcome, worker: DeliveryWorker) -> None:
    """End the job and keep how it went, both or neither; who lost the job keeps nothing."""
    with worker.database.transaction() as session:
        finish(session, job, {"fate": outcome.fate.value})
        row = session.get(Delivery, job.subject_id, with_for_update=True)
        if row is None:
            return
        now = worker.read_clock(session)
        if outcome.fate is Fate.DELIVERED:
            store_delivered(row, now=now)
        else:
            delay_s = None
            if outcome.fate is Fate.LATER:
                delay_s = find_retry_delay_s(
                    row.attempts + 1, tried_since=row.tried_since, now=now, fraction=worker.fraction()
                )
            store_failed(session, row, outcome, delay_s=delay_s, now=now)
        kind, state, attempts = row.kind, row.state, row.attempts
    logger.info("delivery_attempted", delivery=job.subject_id, kind=kind, state=state, attempts=attempts)
