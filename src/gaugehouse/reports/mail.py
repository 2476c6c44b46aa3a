"""Reports by e-mail, over SMTP: one message for one address.

A repeat carries the same Message-ID, so a mail program that knows it shows one message.
"""

import email.policy
import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Literal

from gaugehouse.config import Settings
from gaugehouse.reports.destinations import EmailDestination
from gaugehouse.reports.parcel import DELIVERED, Outcome, Parcel, describe_period, give_up, safe_name, try_later

TIMEOUT_S = 20.0  # of each answer of the server
REPLY_CHARS = 200
PERMANENT_FROM = 500

MailSecurity = Literal["starttls", "tls", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MailServer:
    """How mail leaves this installation.

    Args:
        host: Name of the server.
        port: Of the server.
        security: `starttls` and `tls` verify the certificate, and never go on without.
        user: Signs in with `password`; None: without.
        password: In no message and no log.
        sender: Address that mail is sent from.
    """

    host: str
    port: int
    security: MailSecurity
    user: str | None
    password: str | None = field(repr=False)
    sender: str

    @classmethod
    def from_settings(cls, settings: Settings) -> "MailServer | None":
        """Return what is set, None without a mail server."""
        if settings.smtp_host is None:
            return None
        return cls(
            host=settings.smtp_host,
            port=settings.smtp_port,
            security=settings.smtp_security,
            user=settings.smtp_user,
            password=settings.smtp_password,
            sender=settings.mail_sender,
        )


def send_mail(
    parcel: Parcel, destination: EmailDestination, address: str, server: MailServer, *, now: datetime
) -> Outcome:
    """Send a report to one address.

    Returns:
        Delivered when the server took responsibility for the message; to be tried later when it could not be reached,
        would not have us, or said so (4xx); never when it refused this message or address for good (5xx).
    """
    message = compose(parcel, destination, address, sender=server.sender, now=now)
    try:
        with _signed_in(server) as smtp:
            smtp.send_message(message, from_addr=server.sender, to_addrs=[address])
    except smtplib.SMTPException as exc:  # an OSError as well
        return _judge(exc, server)
    except ssl.SSLError as exc:
        return try_later(f"the mail server cannot be trusted: {exc.reason or 'TLS failed'}")
    except OSError as exc:
        return try_later(f"the mail server cannot be reached: {exc.strerror or type(exc).__name__}")
    return DELIVERED


@contextmanager
def _signed_in(server: MailServer) -> Iterator[smtplib.SMTP]:
    hello = server.sender.rpartition("@")[2]  # smtplib would ask the DNS for our own name, for up to half a minute
    smtp: smtplib.SMTP
    if server.security == "tls":
        context = ssl.create_default_context()
        smtp = smtplib.SMTP_SSL(server.host, server.port, local_hostname=hello, timeout=TIMEOUT_S, context=context)
    else:
        smtp = smtplib.SMTP(server.host, server.port, local_hostname=hello, timeout=TIMEOUT_S)
    try:
        if server.security == "starttls":
            smtp.starttls(context=ssl.create_default_context())
        if server.user is not None:
            smtp.login(server.user, server.password or "")
        yield smtp
        with suppress(smtplib.SMTPException, OSError):  # the message is taken: a rude goodbye must not repeat it
            smtp.quit()
    finally:
        smtp.close()


def _judge(error: smtplib.SMTPException, server: MailServer) -> Outcome:
    """Tell what concerns this message from what concerns us: that is for the operator to mend, and worth a retry."""
    match error:
        case smtplib.SMTPRecipientsRefused():
            code, reply = next(iter(error.recipients.values()))
            outcome = _judge_reply("the mail server refused the address", code, reply)
        case smtplib.SMTPAuthenticationError():  # its reply may repeat the user
            outcome = try_later(f"the mail server refused our user or password ({error.smtp_code})")
        case smtplib.SMTPConnectError() | smtplib.SMTPHeloError():
            outcome = try_later(f"the mail server would not talk to us ({error.smtp_code})")
        case smtplib.SMTPResponseException():
            outcome = _judge_reply("the mail server refused the message", error.smtp_code, error.smtp_error)
        case smtplib.SMTPNotSupportedError():
            outcome = try_later(f"the mail server lacks what is set for it (security {server.security}, sign-in)")
        case _:
            outcome = try_later("the mail server broke off")
    return outcome


def _judge_reply(what: str, code: int, reply: bytes | str) -> Outcome:
    text = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else reply
    plain = "".join(character if character.isprintable() else " " for character in text)[:REPLY_CHARS].strip()
    reason = f"{what}: {code} {plain}".strip()
    return give_up(reason) if code >= PERMANENT_FROM else try_later(reason)


def compose(parcel: Parcel, destination: EmailDestination, address: str, *, sender: str, now: datetime) -> EmailMessage:
    """Return the message to one address. Pure: the same parcel gives the same message but for its date."""
    message = EmailMessage(policy=email.policy.SMTP)
    revised = f" (revision {parcel.revision})" if parcel.revision > 1 else ""
    failed = "FAILED: " if parcel.subject.failure is not None else ""
    message["Subject"] = failed + parcel.fill_in(destination.subject) + revised
    message["From"] = sender
    message["To"] = address
    message["Date"] = format_datetime(now)
    message["Message-ID"] = f"<{parcel.delivery_id}@{sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's absence note shall answer
    message.set_content(_write_text(parcel, destination), cte="quoted-printable")
    for file in parcel.files:
        media_type = file.media_type.partition(";")[0].strip()
        maintype, _, subtype = media_type.partition("/")
        message.add_attachment(file.read(), maintype=maintype, subtype=subtype, filename=safe_name(file.name))
    return message


def _write_text(parcel: Parcel, destination: EmailDestination) -> str:
    subject = parcel.subject
    if subject.failure is not None:
        return _write_failure(parcel, subject.failure)
    facts = [
        f"Report      {subject.title}",
        f"Period      {describe_period(subject)} ({subject.timezone})",
        f"Project     {subject.project}",
        f"Revision    {parcel.revision}",
        f"Received    up to {subject.as_of.isoformat()}" if subject.as_of else "Received    nothing yet",
        f"Digest      {subject.digest}",
        f"Report id   {parcel.report_id}",
    ]
    if parcel.link:
        facts.append(f"Link        {parcel.link}")
    if parcel.left_out:
        facts += ["", "The files are too large to be attached; fetch them from the server."]
    own = parcel.fill_in(destination.text)
    return "\n".join([*([own, ""] if own else []), *facts, ""])


def _write_failure(parcel: Parcel, reason: str) -> str:
    """Return why there is no report; the template's own text is about one that there is."""
    subject = parcel.subject
    facts = [
        f"The report {subject.title!r} could not be made: {reason}.",
        "",
        f"Period      {describe_period(subject)} ({subject.timezone})",
        f"Project     {subject.project}",
        f"Revision    {parcel.revision}",
        f"Report id   {parcel.report_id}",
    ]
    if parcel.link:
        facts.append(f"Link        {parcel.link}")
    return "\n".join([*facts, "", "It can be asked for again: gaugehouse report run, or POST /v1/reports.", ""])
