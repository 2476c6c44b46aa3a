"""Delivery: real mail server, real web server, real folders."""

import base64
import ipaddress
import json
import socket
import ssl
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from functools import partial

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from sqlalchemy import select, update
from structlog.testing import capture_logs

from gaugehouse import reports
from gaugehouse.database.tables import Delivery, Job, Report
from gaugehouse.errors import AlreadyExists, NotFound, Refused, TooLarge, Unavailable
from gaugehouse.jobs import Control, JobCancelled, JobInterrupted, JobLost, claim, get_job, run_worker
from gaugehouse.reports import (
    DELIVERY_KIND,
    Asker,
    DeliveryWorker,
    EmailDestination,
    FolderDestination,
    Printer,
    Reach,
    ReportFile,
    ReportRequest,
    TemplateDefinition,
    WebhookDestination,
    end_delivery,
    printed_files,
    queue_deliveries,
    run_delivery,
)
from gaugehouse.reports.deliveries import TRIED_FOR
from gaugehouse.reports.mail import MailServer
from gaugehouse.reports.webhook import WebhookSender
from receivers import Receiver, load_documented_check

SECRET = "at least sixteen characters"
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
REACH = Reach(has_mail=True, has_folder=True)
USER, PASSWORD = "gauge", "hunter2hunter2"


@pytest.fixture
def worker(plant, tmp_path):
    root = tmp_path / "outgoing"
    root.mkdir()
    return DeliveryWorker(
        database=plant.database,
        files=printed_files(Printer(database=plant.database, layout=plant.layout)),
        webhooks=WebhookSender(private_networks=LOOPBACK),
        delivery_dir=root,
        public_url="https://gauge.example.com",
        limit_bytes=1_000_000,
        fraction=lambda: 0.0,
    )


@pytest.fixture
def deliver_to(plant):
    """Make a report whose template has these destinations, and let it be computed; return it."""

    def make(*destinations, formats=("csv", "json")):
        start = "2026-03-02T00:00:00+00:00"
        plant.registry.register("default", ["pump-1"], ["temperature"])
        definition = TemplateDefinition(
            title="Pumps, weekly",
            request=ReportRequest(period="2026-W10", kpis=("count",)),
            formats=formats,
            destinations=destinations,
        )
        secrets = {one.url: SECRET for one in destinations if isinstance(one, WebhookDestination)}
        with plant.database.transaction() as session:
            reports.create_template(session, plant.manager, "weekly", definition, secrets=secrets, reach=REACH)
        asker = Asker(database=plant.database, source=plant.lake, cells_limit=1000)
        view = reports.request_templated(asker, plant.manager, "weekly")
        assert view.period_start.isoformat() == start
        with plant.working():
            return plant.follow(view)

    return make


def attempt(plant, worker):
    """Run the jobs of deliveries that are due, as a worker does; return how many there were."""
    count = 0
    while (job := take(plant)) is not None:
        run_delivery(job, Control(lambda _progress: None), worker=worker)
        count += 1
    return count


def take(plant):
    return claim(plant.database, worker="delivering", kinds={DELIVERY_KIND}, lease_s=30.0, on_end=end_delivery)


def deliveries(plant, report):
    return plant.see(report).deliveries


def states(plant, report):
    return [(one.kind, one.state, one.attempts) for one in deliveries(plant, report)]


def let_time_pass(plant):
    """Make the jobs that wait for a retry due."""
    with plant.database.transaction() as session:
        session.execute(update(Job).where(Job.status == "queued").values(run_at=Job.created_at))


# --- the outbox -------------------------------------------------------------------------------------------------------


def test_what_is_to_be_delivered_is_written_down_when_the_report_is_done(plant, deliver_to):
    report = deliver_to(
        EmailDestination(to=("a@example.com", "b@example.com")),
        WebhookDestination(url="https://hooks.example.com/T00/token"),
        FolderDestination(path="weekly"),
    )
    found = {(one.kind, one.to, one.state) for one in report.deliveries}
    assert found == {
        ("email", "a@example.com", "pending"),
        ("email", "b@example.com", "pending"),
        ("webhook", "https://hooks.example.com", "pending"),  # without its path: it may be a secret
        ("folder", "weekly", "pending"),
    }
    with plant.database.reading() as session:
        page = reports.list_deliveries(session, plant.manager, state="pending", limit=3)
        assert (page.total, len(page.items)) == (4, 3)
        assert reports.list_deliveries(session, plant.manager, state="failed").total == 0
        with pytest.raises(Refused):
            reports.list_deliveries(session, plant.manager, state="lost")


def test_a_report_that_is_not_finished_delivers_nothing(plant, deliver_to, monkeypatch):
    def fail(*_arguments):
        raise Unavailable("the power went away here")

    monkeypatch.setattr("gaugehouse.reports.run.publish_result", fail)
    report = deliver_to(FolderDestination(path="weekly"))
    assert (report.status, report.deliveries) == ("failed", ())


def test_who_waits_for_a_report_that_fails_is_told_why(plant, worker, deliver_to, monkeypatch):
    def fail(*_arguments):
        raise Refused("measurements of the period were dropped", code="gone")

    monkeypatch.setattr("gaugehouse.reports.run._refuse_gone", fail)
    with Receiver().listening() as receiver:
        report = deliver_to(FolderDestination(path="weekly"), WebhookDestination(url=receiver.url()))
        assert report.status == "failed"
        assert states(plant, report) == [("webhook", "pending", 0)]  # in a folder nobody would read of it
        assert attempt(plant, worker) == 1
    assert states(plant, report) == [("webhook", "delivered", 1)]
    ((_path, _headers, content),) = receiver.requests
    body = json.loads(content)
    assert (body["event"], body["reason"]) == ("report.failed", "measurements of the period were dropped")
    assert (body["report"]["id"], body["report"]["digest"], body["files"]) == (report.id, None, [])


def test_nobody_is_told_of_a_report_that_was_cancelled(plant, deliver_to, monkeypatch):
    def cancel(*_arguments):
        raise JobCancelled

    monkeypatch.setattr("gaugehouse.reports.run._refuse_gone", cancel)
    report = deliver_to(WebhookDestination(url="https://hooks.example.com/T00"))
    assert (report.status, report.deliveries) == ("cancelled", ())


def test_a_report_without_a_template_or_with_a_deleted_one_delivers_nothing(plant, deliver_to):
    report = deliver_to()
    assert report.deliveries == ()
    own = plant.ask("2026-W10")
    with plant.database.transaction() as session:
        assert queue_deliveries(session, own.id, 1) == 0
        assert queue_deliveries(session, "rep_nobody", 1) == 0
        reports.delete_template(session, plant.manager, "weekly")
        assert queue_deliveries(session, report.id, 2) == 0


def test_a_revision_is_delivered_to_where_the_template_says_now(plant, worker, deliver_to):
    report = deliver_to(FolderDestination(path="old"))
    with plant.database.transaction() as session:
        row = reports.get_template(session, plant.manager, "weekly")
        moved = TemplateDefinition(
            title=row.title,
            request=ReportRequest(period="2026-W10"),
            formats=("csv",),
            destinations=(FolderDestination(path="new"),),
        )
        reports.replace_template(session, plant.manager, "weekly", moved, secrets={}, reach=REACH)
    reports.reissue_report(
        plant.database, plant.lake, plant.manager, report.id, because="late rows", cells_limit=10_000
    )
    plant.lake.flush()
    with plant.working():
        assert plant.follow(report).revision == 2
    assert [(one.revision, one.to) for one in deliveries(plant, report)] == [(1, "old"), (2, "new")]


@pytest.mark.parametrize("changes", [True, False])
def test_a_revision_that_nobody_asked_for_is_delivered_if_it_says_something_else(plant, deliver_to, changes):
    monday = datetime(2026, 3, 2, tzinfo=UTC)
    plant.deliver([("pump-1", "temperature", monday, 1.0)])
    report = deliver_to(FolderDestination(path="weekly"))
    plant.deliver([("pump-1", "temperature", monday + timedelta(days=1 if changes else 8), 2.0)])
    reports.reissue_report(
        plant.database,
        plant.lake,
        plant.manager,
        report.id,
        because="late rows",
        cells_limit=10_000,
        is_automatic=True,
    )
    plant.lake.flush()
    with plant.working():
        assert plant.follow(report).revision == 2
    assert [one.revision for one in deliveries(plant, report)] == ([1, 2] if changes else [1])


def test_one_worker_does_it_all(plant, worker, deliver_to):
    """Through `run_worker`, as `gaugehouse worker` does."""
    report = deliver_to(FolderDestination(path="weekly"))
    stop = threading.Event()
    handlers = {DELIVERY_KIND: partial(run_delivery, worker=worker)}
    options = {"worker": "w", "lease_s": 5.0, "stop": stop, "poll_s": 0.02, "on_end": end_delivery}
    thread = threading.Thread(target=run_worker, args=(plant.database, handlers), kwargs=options)
    thread.start()
    deadline_s = time.monotonic() + 20
    while states(plant, report) != [("folder", "delivered", 1)] and time.monotonic() < deadline_s:
        time.sleep(0.02)
    stop.set()
    thread.join()
    assert states(plant, report) == [("folder", "delivered", 1)]


def test_a_worker_that_lost_its_job_keeps_nothing_and_the_next_one_delivers_again(plant, worker, deliver_to):
    report = deliver_to(FolderDestination(path="weekly"))
    job = take(plant)
    with plant.database.transaction() as session:  # its lease runs out, another worker takes over
        session.execute(update(Job).where(Job.id == job.id).values(attempts=2, worker="other"))
    with pytest.raises(JobLost):
        run_delivery(job, Control(lambda _progress: None), worker=worker)
    assert len(list((worker.delivery_dir / "default" / "weekly").iterdir())) == 2  # it was delivered all the same
    assert states(plant, report) == [("folder", "pending", 0)]
    run_delivery(replace(job, attempts=2, worker="other"), Control(lambda _progress: None), worker=worker)
    assert states(plant, report) == [("folder", "delivered", 1)]


def test_a_job_that_the_queue_gave_up_fails_its_delivery(plant, deliver_to):
    report = deliver_to(FolderDestination(path="weekly"))
    with plant.database.transaction() as session:
        session.execute(
            update(Job)
            .where(Job.kind == DELIVERY_KIND)
            .values(status="running", attempts=5, worker="dead", lease_until=Job.created_at)
        )
    assert take(plant) is None
    (one,) = deliveries(plant, report)
    assert (one.state, one.next_attempt_at) == ("failed", None)
    assert "given up after 5 attempts" in one.reason


def test_an_attempt_that_is_interrupted_does_not_count(plant, worker, deliver_to):
    report = deliver_to(WebhookDestination(url="http://127.0.0.1:9/"))
    control = Control(lambda _progress: None)
    files = worker.files

    def stop_meanwhile(*asked):
        control.stop("interrupted")
        return files(*asked)

    with pytest.raises(JobInterrupted):
        run_delivery(take(plant), control, worker=replace(worker, files=stop_meanwhile))
    assert states(plant, report) == [("webhook", "pending", 0)]


def test_files_that_cannot_be_made_are_told_in_words(plant, worker, deliver_to):
    def fail(error, *_asked):
        raise error

    report = deliver_to(FolderDestination(path="weekly"), formats=("xlsx",))
    attempt(plant, replace(worker, files=partial(fail, Unavailable("the renderer is busy"))))
    (one,) = deliveries(plant, report)
    assert (one.state, one.reason) == ("pending", "the renderer is busy")
    let_time_pass(plant)
    attempt(plant, replace(worker, files=partial(fail, TooLarge("too many values for xlsx"))))
    (one,) = deliveries(plant, report)
    assert (one.state, one.attempts) == ("failed", 2)
    assert "xlsx" in one.reason


# --- retries on a simulated clock -------------------------------------------------------------------------------------


def test_a_receiver_that_stays_away_is_tried_for_a_day_and_then_given_up(plant, worker, deliver_to):
    report = deliver_to(FolderDestination(path="weekly"))
    with plant.database.reading() as session:
        clock = [session.scalars(select(Delivery.tried_since)).one()]
    started_at, away = clock[0], replace(worker, delivery_dir=worker.delivery_dir / "missing", now=lambda _s: clock[0])
    waits_s = []
    while attempt(plant, away):
        (one,) = deliveries(plant, report)
        if one.state == "failed":
            break
        waits_s.append((one.next_attempt_at - clock[0]).total_seconds())
        clock[0] = one.next_attempt_at
        let_time_pass(plant)
    assert waits_s[:5] == [30, 60, 120, 240, 480]
    assert clock[0] == started_at + TRIED_FOR
    assert (one.attempts, one.next_attempt_at) == (len(waits_s) + 1, None)
    assert "No such file" in one.reason

    with plant.database.transaction() as session:
        assert reports.retry_delivery(session, plant.manager, one.id).state == "pending"
    assert attempt(plant, worker) == 1
    (one,) = deliveries(plant, report)
    assert (one.state, one.reason) == ("delivered", None)
    with pytest.raises(AlreadyExists), plant.database.transaction() as session:
        reports.retry_delivery(session, plant.manager, one.id)


def test_the_queue_holds_a_retry_back_until_its_time(plant, worker, deliver_to):
    report = deliver_to(FolderDestination(path="weekly"))
    attempt(plant, replace(worker, delivery_dir=None))
    assert attempt(plant, worker) == 0
    (one,) = deliveries(plant, report)
    with plant.database.transaction() as session:  # a person does not want to wait
        reports.retry_delivery(session, plant.manager, one.id)
    assert attempt(plant, worker) == 1
    assert states(plant, report) == [("folder", "delivered", 2)]


@pytest.mark.parametrize("delivery_id", ["dlv_nobody", "a\0b", "\ud800"])
def test_a_delivery_that_does_not_exist_is_not_found(plant, delivery_id):
    for do in (reports.get_delivery, reports.retry_delivery):
        with pytest.raises(NotFound), plant.database.transaction() as session:
            do(session, plant.manager, delivery_id)


# --- folder -----------------------------------------------------------------------------------------------------------


def test_files_appear_whole_below_the_root_and_again_as_they_were(plant, worker, deliver_to):
    report = deliver_to(FolderDestination(path="weekly/pumps"))
    folder = worker.delivery_dir / "default" / "weekly" / "pumps"
    folder.mkdir(parents=True)
    (folder / f".{report.deliveries[0].id}.tmp").write_bytes(b"left by a killed attempt")
    attempt(plant, worker)
    names = sorted(path.name for path in folder.iterdir())
    assert names == [f"default_pumps-weekly_{report.id}_r1.{suffix}" for suffix in ("csv", "json")]
    told = json.loads((folder / names[1]).read_text())
    assert (told["items"][0]["kpi"], told["report"]["title"]) == ("count", "Pumps, weekly")
    assert (folder / names[0]).read_bytes() == worker.files(report.id, 1, "csv").read()


@pytest.mark.parametrize("where", ["default", "default/weekly"])
def test_links_lead_nowhere(plant, worker, deliver_to, tmp_path, where):
    report = deliver_to(FolderDestination(path="weekly"))
    outside = tmp_path / "outside"
    outside.mkdir()
    link = worker.delivery_dir / where
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(outside)
    attempt(plant, worker)
    (one,) = deliveries(plant, report)
    assert one.state == "failed"
    assert "stands in the way" in one.reason
    assert list(outside.iterdir()) == []


def test_a_link_in_the_place_of_a_file_is_replaced_not_followed(plant, worker, deliver_to, tmp_path):
    report = deliver_to(FolderDestination(path="weekly"), formats=("csv",))
    target = tmp_path / "precious"
    target.write_text("precious")
    folder = worker.delivery_dir / "default" / "weekly"
    folder.mkdir(parents=True)
    place = folder / f"default_pumps-weekly_{report.id}_r1.csv"
    place.symlink_to(target)
    attempt(plant, worker)
    assert states(plant, report) == [("folder", "delivered", 1)]
    assert target.read_text() == "precious"
    assert place.exists()
    assert not place.is_symlink()


def test_names_of_files_stay_in_their_folder(plant, worker, deliver_to):
    def name_badly(*_asked):
        return ReportFile(name="../../escaped.csv", media_type="text/csv", content=b"1")

    deliver_to(FolderDestination(path="weekly"), formats=("csv",))
    attempt(plant, replace(worker, files=name_badly))
    assert [path.name for path in worker.delivery_dir.rglob("*") if path.is_file()] == ["escaped.csv"]
    assert (worker.delivery_dir / "default" / "weekly" / "escaped.csv").exists()


# --- e-mail -----------------------------------------------------------------------------------------------------------


class Mailbox:
    """Keeps messages; refuses recipients as told."""

    def __init__(self):
        self.messages = []
        self.refusals = {}

    async def handle_RCPT(self, _server, _session, envelope, address, _options):
        if address in self.refusals:
            return self.refusals[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server, _session, envelope):
        self.messages.append((envelope.rcpt_tos, message_from_bytes(envelope.content, policy=policy.default)))
        return "250 taken"


class SmtpsController(Controller):
    """TLS from the first byte. Its own first look, that starts it, must speak TLS as well."""

    def _trigger_server(self):
        context = ssl.create_default_context()
        with (
            socket.create_connection(("127.0.0.1", self.port), 5) as raw,
            context.wrap_socket(raw, server_hostname="localhost") as encrypted,
        ):
            encrypted.recv(1024)


def check_login(_server, _session, _envelope, _mechanism, data):
    is_known = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=is_known, handled=False)


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def trusted(authority, tmp_path, monkeypatch):
    """Let this process trust the test's own authority; return it."""
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(path)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    return authority


@pytest.fixture
def mailbox():
    return Mailbox()


@contextmanager
def serving_mail(mailbox, *, certificate=None, **options):
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
    controller = Controller(mailbox, hostname="127.0.0.1", port=free_port(), tls_context=context, **options)
    controller.start()
    try:
        yield MailServer(
            host="localhost", port=controller.port, security="none", user=None, password=None, sender="g@example.org"
        )
    finally:
        controller.stop()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_each_address_gets_a_message_of_its_own_with_the_files(plant, worker, deliver_to, mailbox):
    report = deliver_to(EmailDestination(to=("a@example.com", "b@example.com"), subject="{title} {period}"))
    with serving_mail(mailbox) as server:
        assert attempt(plant, replace(worker, mail=server)) == 2
    assert sorted(to for to, _ in mailbox.messages) == [["a@example.com"], ["b@example.com"]]
    for to, message in mailbox.messages:
        assert message["to"] == to[0]
        assert message["subject"] == "Pumps, weekly 2026-03-02 to 2026-03-08"
        assert report.digest in message.get_body().get_content()
        assert f"https://gauge.example.com/v1/reports/{report.id}" in message.get_body().get_content()
        names = [part.get_filename() for part in message.iter_attachments()]
        assert names == [f"default_pumps-weekly_{report.id}_r1.{suffix}" for suffix in ("csv", "json")]
    ids = {message["message-id"] for _, message in mailbox.messages}
    assert ids == {f"<{one.id}@example.org>" for one in report.deliveries}
    assert [one.state for one in deliveries(plant, report)] == ["delivered", "delivered"]


def test_files_that_are_too_large_or_unwanted_are_told_of(plant, worker, deliver_to, mailbox):
    deliver_to(EmailDestination(to=("a@example.com",)), EmailDestination(to=("b@example.com",), attach=False))
    with serving_mail(mailbox) as server:
        attempt(plant, replace(worker, mail=server, limit_bytes=10))
    said = {to[0]: message for to, message in mailbox.messages}
    assert all(list(message.iter_attachments()) == [] for message in said.values())
    assert "too large" in said["a@example.com"].get_body().get_content()
    assert "too large" not in said["b@example.com"].get_body().get_content()


@pytest.mark.parametrize(
    ("reply", "state"),
    [("550 5.1.1 no such\x07 user", "failed"), ("451 4.7.1 greylisted, come back", "pending")],
)
def test_a_refused_address_is_given_up_or_tried_again_as_the_server_says(
    plant, worker, deliver_to, mailbox, reply, state
):
    report = deliver_to(EmailDestination(to=("a@example.com", "b@example.com")))
    mailbox.refusals["b@example.com"] = reply
    with serving_mail(mailbox) as server:
        attempt(plant, replace(worker, mail=server))
    found = {one.to: one for one in deliveries(plant, report)}
    assert found["a@example.com"].state == "delivered"
    assert found["b@example.com"].state == state
    assert found["b@example.com"].reason.startswith(f"the mail server refused the address: {reply[:3]}")
    assert found["b@example.com"].reason.isprintable()


def test_a_mail_server_that_is_away_or_not_set_is_tried_again(plant, worker, deliver_to, mailbox):
    report = deliver_to(EmailDestination(to=("a@example.com",)))
    attempt(plant, worker)
    assert "GAUGEHOUSE_SMTP_HOST" in deliveries(plant, report)[0].reason
    with serving_mail(mailbox) as server:
        gone = replace(server, port=free_port())
    let_time_pass(plant)
    attempt(plant, replace(worker, mail=gone))
    (one,) = deliveries(plant, report)
    assert (one.state, one.attempts) == ("pending", 2)
    assert one.reason == "the mail server cannot be reached: Connection refused"


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_tls_is_used_and_the_certificate_verified(plant, worker, deliver_to, mailbox, trusted, security):
    deliver_to(EmailDestination(to=("a@example.com", "b@example.com")))
    options = {"certificate": trusted.issue_cert("localhost")}
    if security == "starttls":
        options |= {"require_starttls": True, "authenticator": check_login, "auth_required": True}
        server_of = partial(serving_mail, mailbox, **options)
    else:
        server_of = partial(serving_tls_mail, mailbox, options["certificate"])
    with server_of() as server:
        user = {"user": USER, "password": PASSWORD} if security == "starttls" else {}
        attempt(plant, replace(worker, mail=replace(server, security=security, **user)))
    assert len(mailbox.messages) == 2


@contextmanager
def serving_tls_mail(mailbox, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    controller = SmtpsController(mailbox, hostname="127.0.0.1", port=free_port(), ssl_context=context)
    controller.start()
    try:
        yield MailServer(
            host="localhost", port=controller.port, security="tls", user=None, password=None, sender="g@example.org"
        )
    finally:
        controller.stop()


def test_a_server_that_cannot_be_trusted_gets_nothing(plant, worker, deliver_to, mailbox, authority):
    report = deliver_to(EmailDestination(to=("a@example.com",)))
    with serving_mail(mailbox, certificate=authority.issue_cert("localhost")) as server:  # of nobody we know
        attempt(plant, replace(worker, mail=replace(server, security="starttls")))
        assert deliveries(plant, report)[0].reason.startswith("the mail server cannot be trusted")
    let_time_pass(plant)
    with serving_mail(mailbox) as server:  # no TLS at all: never in the clear
        attempt(plant, replace(worker, mail=replace(server, security="starttls")))
    (one,) = deliveries(plant, report)
    assert (one.state, one.attempts, mailbox.messages) == ("pending", 2, [])
    assert "security starttls" in one.reason


def test_a_wrong_password_is_told_without_it(plant, worker, deliver_to, mailbox, trusted):
    report = deliver_to(EmailDestination(to=("a@example.com",)))
    options = {"require_starttls": True, "authenticator": check_login, "auth_required": True}
    with serving_mail(mailbox, certificate=trusted.issue_cert("localhost"), **options) as server:
        signed = replace(server, security="starttls", user=USER, password="wrong" + PASSWORD)
        assert PASSWORD not in repr(signed)
        with capture_logs() as logged:
            attempt(plant, replace(worker, mail=signed))
    (one,) = deliveries(plant, report)
    assert one.state == "pending"
    assert "user or password" in one.reason
    assert PASSWORD not in repr(logged) + repr(one)


# --- webhook ----------------------------------------------------------------------------------------------------------


def test_a_webhook_gets_a_signed_body_with_the_files(plant, worker, deliver_to):
    with Receiver().listening() as receiver, capture_logs() as logged:
        report = deliver_to(WebhookDestination(url=receiver.url(path="/hook?token=abc")))
        attempt(plant, worker)
    ((path, headers, body),) = receiver.requests
    assert path == "/hook?token=abc"
    assert load_documented_check()(headers["Gaugehouse-Signature"], body, SECRET)
    said = json.loads(body)
    assert headers["Gaugehouse-Delivery"] == said["delivery"] == report.deliveries[0].id
    assert (said["report"]["id"], said["report"]["digest"]) == (report.id, report.digest)
    assert base64.b64decode(said["files"][0]["content_base64"]) == worker.files(report.id, 1, "csv").read()
    assert states(plant, report) == [("webhook", "delivered", 1)]
    assert SECRET not in repr(logged) + repr(plant.see(report))
    assert "token=abc" not in repr(logged) + repr(plant.see(report))


def test_a_webhook_that_fails_is_tried_again_under_the_same_id(plant, worker, deliver_to):
    with Receiver(lambda number: [500, 429, 404, 200][number - 1]).listening() as receiver:
        report = deliver_to(WebhookDestination(url=receiver.url()))
        for _ in range(4):
            attempt(plant, worker)
            let_time_pass(plant)
    assert states(plant, report) == [("webhook", "delivered", 4)]
    assert len({headers["Gaugehouse-Delivery"] for _, headers, _ in receiver.requests}) == 1
    assert len({body for _, _, body in receiver.requests}) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 410])
def test_redirects_are_not_followed_and_end_it_as_gone_does(plant, worker, deliver_to, status):
    with Receiver(lambda _number: status).listening() as receiver:
        report = deliver_to(WebhookDestination(url=receiver.url()))
        attempt(plant, worker)
    (one,) = deliveries(plant, report)
    assert (one.state, len(receiver.requests)) == ("failed", 1)
    assert str(status) in one.reason


def test_private_networks_are_refused_unless_allowed(plant, worker, deliver_to):
    with Receiver().listening() as receiver:
        report = deliver_to(
            WebhookDestination(url=receiver.url()),
            WebhookDestination(url=f"https://localhost:{receiver.port}/"),
            WebhookDestination(url=f"https://2130706433:{receiver.port}/"),
        )
        attempt(plant, replace(worker, webhooks=WebhookSender()))
    assert [one.state for one in deliveries(plant, report)] == ["failed"] * 3
    assert receiver.requests == []


def test_the_address_that_was_checked_is_the_one_that_is_called(plant, worker, deliver_to):
    """A name that means something else at every look (DNS rebinding) is looked at once."""
    looks = []

    def rebind(_host, port):
        looks.append(1)
        address = "127.0.0.1" if len(looks) == 1 else "127.0.0.66"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    with Receiver().listening() as receiver:
        report = deliver_to(WebhookDestination(url=receiver.url("hooks.example.com")))
        attempt(plant, replace(worker, webhooks=WebhookSender(private_networks=LOOPBACK, resolve=rebind)))
    assert len(looks) == 1
    assert receiver.requests[0][1]["Host"] == f"hooks.example.com:{receiver.port}"
    assert states(plant, report) == [("webhook", "delivered", 1)]


def resolve_to_loopback(_host, port):
    return [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.99", port)),  # nobody: the next one is tried
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
    ]


@pytest.mark.parametrize(("name", "state"), [("hooks.example.com", "delivered"), ("other.example.com", "pending")])
def test_https_is_verified_for_the_name_although_the_address_is_pinned(plant, worker, deliver_to, trusted, name, state):
    with Receiver(certificate=trusted.issue_cert(name)).listening() as receiver:
        report = deliver_to(WebhookDestination(url=receiver.url("hooks.example.com")))
        webhooks = WebhookSender(private_networks=LOOPBACK, resolve=resolve_to_loopback)
        attempt(plant, replace(worker, webhooks=webhooks))
    (one,) = deliveries(plant, report)
    assert one.state == state
    assert one.reason is None or "cannot be trusted" in one.reason


def test_a_receiver_that_trickles_holds_nobody_up(plant, worker, deliver_to):
    over = threading.Event()

    def trickle(handler):
        try:
            while not over.wait(0.02):
                handler.wfile.write(b"H")
                handler.wfile.flush()
        except OSError:
            over.set()

    with Receiver(lambda _number: trickle).listening() as receiver:
        report = deliver_to(WebhookDestination(url=receiver.url()))
        began_s = time.monotonic()
        attempt(plant, replace(worker, webhooks=replace(worker.webhooks, total_timeout_s=0.5)))
        assert time.monotonic() - began_s < 5
        over.set()
    (one,) = deliveries(plant, report)
    assert (one.state, one.reason) == ("pending", f"http://127.0.0.1:{receiver.port} took too long to answer")


def test_nonsense_instead_of_an_answer_is_tried_again(plant, worker, deliver_to):
    def answer(handler):
        handler.wfile.write(b"SSH-2.0-OpenSSH_9.9\r\n")
        handler.close_connection = True

    with Receiver(lambda _number: answer).listening() as receiver:
        report = deliver_to(WebhookDestination(url=receiver.url()))
        attempt(plant, worker)
    (one,) = deliveries(plant, report)
    assert (one.state, one.reason) == (
        "pending",
        f"http://127.0.0.1:{receiver.port} answered something that is not HTTP",
    )


def test_a_worker_that_stops_breaks_a_webhook_off(plant, worker, deliver_to):
    over = threading.Event()
    with Receiver(lambda _number: lambda _handler: over.wait(20)).listening() as receiver:
        report = deliver_to(WebhookDestination(url=receiver.url()))
        control = Control(lambda _progress: None)
        threading.Timer(0.3, control.stop, ["interrupted"]).start()
        began_s = time.monotonic()
        with pytest.raises(JobInterrupted):
            run_delivery(take(plant), control, worker=worker)
        assert time.monotonic() - began_s < 5
        over.set()
    assert states(plant, report) == [("webhook", "pending", 0)]


def test_without_its_template_a_webhook_has_no_secret_and_is_given_up(plant, worker, deliver_to):
    with Receiver().listening() as receiver:
        report = deliver_to(WebhookDestination(url=receiver.url()))
        with plant.database.transaction() as session:
            reports.delete_template(session, plant.manager, "weekly")
        attempt(plant, worker)
    assert deliveries(plant, report)[0].state == "failed"
    assert receiver.requests == []


def test_the_end_of_a_job_is_kept_with_the_delivery(plant, worker, deliver_to):
    report = deliver_to(FolderDestination(path="weekly"))
    attempt(plant, worker)
    with plant.database.reading() as session:
        row = session.scalars(select(Delivery)).one()
        assert get_job(session, row.job_id).result == {"fate": "delivered"}
        assert row.delivered_at - row.created_at < timedelta(minutes=5)
        assert session.get(Report, report.id).template_name == "weekly"
