"""What is sent, when it is sent again, and where it may go: the parts that need no network."""

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from ipaddress import ip_address, ip_network
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaugehouse.reports import EmailDestination, OnLateData, ReportFile, ReportRequest, TemplateDefinition
from gaugehouse.reports.deliveries import LONGEST_RETRY_S, TRIED_FOR, find_retry_delay_s
from gaugehouse.reports.mail import compose
from gaugehouse.reports.parcel import Parcel, Subject, decode_subject, describe_period, encode_subject, safe_name
from gaugehouse.reports.reissue import is_reissue_due
from gaugehouse.reports.webhook import WebhookSender, is_inside, is_public, resolve_host, sign, write_body
from receivers import load_documented_check

T0 = datetime(2026, 11, 16, 5, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
PDF = ReportFile(name="week 46.pdf", media_type="application/pdf", content=b"%PDF-1.7 \x00\xff")
CSV = ReportFile(name="week 46.csv", media_type="text/csv; charset=utf-8", content="ä,1\n".encode())


def make_subject(**changes):
    described = {
        "project": "default",
        "template": "weekly",
        "title": "Pumpen, wöchentlich",
        "period_start": datetime(2026, 11, 8, 23, tzinfo=UTC),
        "period_end": datetime(2026, 11, 15, 23, tzinfo=UTC),
        "timezone": "Europe/Berlin",
        "as_of": T0,
        "digest": "ab" * 32,
    }
    return Subject(**(described | changes))


def make_parcel(**changes):
    content = {
        "delivery_id": "dlv_1",
        "report_id": "rep_1",
        "revision": 1,
        "subject": make_subject(),
        "link": "https://gauge.example.com/v1/reports/rep_1",
        "files": (PDF, CSV),
        "left_out": False,
    }
    return Parcel(**(content | changes))


# --- retries ----------------------------------------------------------------------------------------------------------


@given(st.floats(0, 0.999999))
def test_attempts_come_later_and_later_and_end_after_a_day(fraction):
    now, delays, attempts = T0, [], 0
    while True:
        attempts += 1  # each fails at once
        delay_s = find_retry_delay_s(attempts, tried_since=T0, now=now, fraction=fraction)
        if delay_s is None:
            break
        delays.append(delay_s)
        now += timedelta(seconds=delay_s)
    assert now == T0 + TRIED_FOR
    assert 15 <= delays[0] <= 30
    assert all(later >= earlier for earlier, later in pairwise(delays[:-1]))
    assert max(delays) <= LONGEST_RETRY_S
    assert 12 <= attempts <= 30


def test_a_receiver_that_is_slow_to_refuse_is_not_tried_for_longer_than_a_day():
    assert find_retry_delay_s(3, tried_since=T0, now=T0 + TRIED_FOR, fraction=0.5) is None
    assert find_retry_delay_s(12, tried_since=T0, now=T0 + TRIED_FOR - timedelta(seconds=5), fraction=0) == 5


def test_chance_spreads_the_attempts_of_many_deliveries():
    delays = {find_retry_delay_s(5, tried_since=T0, now=T0, fraction=n / 100) for n in range(100)}
    assert len(delays) == 100
    assert (min(delays), max(delays)) == (pytest.approx(30 * 16 * 0.505), 30 * 16)


# --- what late data lead to -------------------------------------------------------------------------------------------


def definition(on_late_data, pause_s=900.0):
    request = ReportRequest(period="last_week", timezone="Europe/Berlin")
    return TemplateDefinition(title="T", request=request, on_late_data=on_late_data, minimum_pause_s=pause_s)


@pytest.mark.parametrize(
    ("policy_", "issued", "now", "is_due"),
    [
        (OnLateData.NEVER, "2026-11-16 06:00", "2027-11-16 06:00", False),
        (OnLateData.DAILY, "2026-11-16 06:00", "2026-11-16 23:59", False),
        (OnLateData.DAILY, "2026-11-16 23:59", "2026-11-17 00:00", True),  # a day of Berlin: 23:00 UTC
        (OnLateData.AT_ONCE, "2026-11-16 06:00", "2026-11-16 06:14", False),
        (OnLateData.AT_ONCE, "2026-11-16 06:00", "2026-11-16 06:15", True),
    ],
)
def test_a_stale_report_is_issued_again_as_its_template_wishes(policy_, issued, now, is_due):
    issued_at, now_at = (datetime.fromisoformat(text).replace(tzinfo=BERLIN).astimezone(UTC) for text in (issued, now))
    assert is_reissue_due(definition(policy_), issued_at=issued_at, now=now_at) is is_due


# --- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "end", "text"),
    [
        ("2026-11-09T00:00+01:00", "2026-11-16T00:00+01:00", "2026-11-09 to 2026-11-15"),
        ("2026-11-09T00:00+01:00", "2026-11-10T00:00+01:00", "2026-11-09"),
        ("2026-10-25T00:00+02:00", "2026-10-26T00:00+01:00", "2026-10-25"),
        ("2026-11-09T06:00+01:00", "2026-11-09T14:00+01:00", "2026-11-09 06:00 to 2026-11-09 14:00 Europe/Berlin"),
    ],
)
def test_periods_are_told_in_the_words_of_people(start, end, text):
    edges = {"period_start": datetime.fromisoformat(start), "period_end": datetime.fromisoformat(end)}
    assert describe_period(make_subject(**edges)) == text


def test_what_a_delivery_is_about_comes_back_from_the_database_as_it_was():
    for subject in (make_subject(), make_subject(as_of=None, digest=None), make_subject(failure="no rows")):
        assert decode_subject(json.loads(json.dumps(encode_subject(subject)))) == subject
    older = encode_subject(make_subject())
    del older["failure"]
    assert decode_subject(older) == make_subject()


@pytest.mark.parametrize("name", ["../../etc/passwd", "/abs", "a/b", 'x"; y=z.pdf', "a\r\nb", "..", "", "ü" * 300])
def test_file_names_cannot_mislead(name):
    safe = safe_name(name)
    assert safe
    assert not set(safe) & set('/\\"\r\n\0;')
    assert not safe.startswith(".")
    assert len(safe) <= 120


def test_only_known_words_are_filled_in():
    parcel = make_parcel(subject=make_subject(title="{period} {0.__class__}"))
    assert parcel.fill_in("{title} {revision} {other} {") == "{period} {0.__class__} 1 {other} {"


# --- e-mail -----------------------------------------------------------------------------------------------------------


def read_message(parcel, **destination):
    to = EmailDestination(to=("a@example.com",), **destination)
    message = compose(parcel, to, "a@example.com", sender="gauge@example.org", now=T0)
    return message_from_bytes(bytes(message), policy=policy.default)


def test_a_message_says_what_it_is_about_and_carries_the_files():
    message = read_message(make_parcel(), text="Guten Morgen,\nWoche {period}")
    assert message["subject"] == "Pumpen, wöchentlich: 2026-11-09 to 2026-11-15"
    assert (message["from"], message["to"]) == ("gauge@example.org", "a@example.com")
    assert message["message-id"] == "<dlv_1@example.org>"
    assert message["auto-submitted"] == "auto-generated"
    text = message.get_body().get_content().replace("\r\n", "\n")
    assert text.startswith("Guten Morgen,\nWoche 2026-11-09 to 2026-11-15\n")
    for part in ("Pumpen, wöchentlich", "ab" * 32, "rep_1", "https://gauge.example.com/v1/reports/rep_1"):
        assert part in text
    attached = {part.get_filename(): part for part in message.iter_attachments()}
    assert attached["week-46.pdf"].get_content() == PDF.content
    assert attached["week-46.csv"].get_content_type() == "text/csv"


def test_a_message_of_a_later_revision_or_without_files_says_so():
    message = read_message(make_parcel(revision=3, files=(), left_out=True))
    assert message["subject"].endswith("(revision 3)")
    assert "too large" in message.get_body().get_content()
    assert list(message.iter_attachments()) == []


def test_a_message_of_a_failure_says_why_and_nothing_of_a_result():
    subject = make_subject(failure="the lake did not commit in time", digest=None)
    message = read_message(make_parcel(subject=subject, files=()), text="Here are the numbers of {period}")
    assert message["subject"] == "FAILED: Pumpen, wöchentlich: 2026-11-09 to 2026-11-15"
    text = message.get_body().get_content()
    assert text.startswith("The report 'Pumpen, wöchentlich' could not be made: the lake did not commit in time.")
    assert "Here are the numbers" not in text
    assert "2026-11-09 to 2026-11-15 (Europe/Berlin)" in text


def test_a_title_cannot_add_a_header():
    message = read_message(make_parcel(subject=make_subject(title="x" * 180 + " Bcc: evil@example.com")))
    assert message["bcc"] is None
    assert "evil@example.com" in message["subject"]


# --- webhook ----------------------------------------------------------------------------------------------------------

SECRET = "at least sixteen characters"


def test_the_check_of_the_documentation_accepts_what_we_sign_and_nothing_else():
    is_genuine = load_documented_check()
    body = write_body(make_parcel(), attach=True)
    signature = sign(SECRET, body, timestamp_s=1_795_000_000)
    assert is_genuine(signature, body, SECRET, now_s=1_795_000_299)
    assert not is_genuine(signature, body + b" ", SECRET, now_s=1_795_000_000)
    assert not is_genuine(signature, body, SECRET + "x", now_s=1_795_000_000)
    assert not is_genuine(signature.replace("t=1795000000", "t=1795000001"), body, SECRET, now_s=1_795_000_000)
    assert not is_genuine(signature, body, SECRET, now_s=1_795_000_301)
    assert not is_genuine(signature, body, SECRET, now_s=1_794_999_699)


def test_the_body_names_the_report_and_holds_its_files():
    body = json.loads(write_body(make_parcel(), attach=True))
    assert (body["event"], body["delivery"], body["template"]) == ("report.done", "dlv_1", "weekly")
    assert body["report"]["period_start"] == "2026-11-08T23:00:00+00:00"
    (pdf, _csv) = body["files"]
    assert base64.b64decode(pdf["content_base64"]) == PDF.content
    assert pdf["sha256"] == hashlib.sha256(PDF.content).hexdigest()
    assert json.loads(write_body(make_parcel(), attach=False))["files"] == []
    assert write_body(make_parcel(), attach=True) == write_body(make_parcel(), attach=True)
    assert "reason" not in body
    failed = json.loads(write_body(make_parcel(subject=make_subject(failure="no rows"), files=()), attach=True))
    assert (failed["event"], failed["reason"], failed["files"]) == ("report.failed", "no rows", [])


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",  # noqa: S104 - an address to refuse, nobody binds it
        "10.1.2.3",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.169.254",  # where clouds keep their credentials
        "100.64.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fc00::1",
        "fd12:3456::1",
        "fec0::1",
        "ff02::1",
        "2001:db8::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a00:1",
        "64:ff9b:1::c0a8:101",
        "2002:7f00:1::",
        "2002:a00:1::1",
        "2001:0:4136:e378:8000:63bf:f5ff:fffe",  # Teredo of 10.0.0.1
        "192.0.0.9",
        "192.0.0.192",
        "3fff::1",
        "5f00::1",
    ],
)
def test_addresses_of_the_inside_are_not_public(address):
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.215.14", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
)
def test_addresses_of_the_internet_are_public(address):
    assert is_public(ip_address(address))


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_as_public_inside_of_ipv6(address):
    for inside in (f"::ffff:{address}", f"64:ff9b::{address}"):
        assert is_public(ip_address(inside)) == is_public(address)


def test_a_network_that_is_named_is_inside_also_as_ipv4_inside_of_ipv6():
    networks = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    assert is_inside(ip_address("10.1.1.1"), networks)
    assert is_inside(ip_address("::ffff:10.1.1.1"), networks)
    assert is_inside(ip_address("fd00::5"), networks)
    assert not is_inside(ip_address("192.168.1.1"), networks)
    assert not is_inside(ip_address("1.1.1.1"), networks)


def resolver(*addresses):
    return lambda _host, port: [
        (10 if ":" in one else 2, 1, 6, "", (one, port, 0, 0) if ":" in one else (one, port)) for one in addresses
    ]


def find(*addresses, networks=(), is_encrypted=True):
    sender = WebhookSender(private_networks=networks, resolve=resolver(*addresses))
    found, outcome = resolve_host("hooks.example.com", 443, sender, is_encrypted=is_encrypted)
    return [one.place[0] for one in found], outcome


def test_of_a_names_addresses_only_the_allowed_ones_are_tried():
    assert find("127.0.0.1", "1.1.1.1", "::1", "2606:4700::1") == (["1.1.1.1", "2606:4700::1"], None)
    found, outcome = find("127.0.0.1", "fe80::1%eth0", "::ffff:10.0.0.1")
    assert (found, outcome.fate) == ([], "never")
    assert "PRIVATE_NETWORKS" in outcome.reason


def test_unencrypted_only_networks_that_are_named_are_reached():
    networks = (ip_network("10.0.0.0/8"),)
    assert find("10.1.1.1", networks=networks, is_encrypted=False) == (["10.1.1.1"], None)
    found, outcome = find("1.1.1.1", networks=networks, is_encrypted=False)
    assert (found, outcome.fate) == ([], "never")
    assert "https" in outcome.reason


def test_a_name_that_does_not_resolve_may_do_so_later():
    def fail(_host, _port):
        raise OSError(-2, "Name or service not known")

    found, outcome = resolve_host("nowhere.example", 443, WebhookSender(resolve=fail), is_encrypted=True)
    assert (found, outcome.fate) == ([], "later")
