"""What a template may say."""

import json
from dataclasses import replace
from ipaddress import ip_network

import pytest

from gaugehouse.config import Settings
from gaugehouse.errors import Refused, StartRefused
from gaugehouse.reports import (
    EmailDestination,
    FolderDestination,
    KpiTarget,
    OnLateData,
    Reach,
    ReportRequest,
    TemplateDefinition,
    WebhookDestination,
)
from gaugehouse.reports.definitions import check_definition, check_name, decode_definition, encode_definition
from gaugehouse.reports.destinations import hide_path, read_networks, split_folder
from gaugehouse.reports.request import ComponentFilter, PeriodBounds, decode_request, encode_request

ALL = Reach(has_mail=True, has_folder=True)
WEEKLY = TemplateDefinition(
    title="Pumps, weekly",
    request=ReportRequest(period="last_week", timezone="Europe/Berlin", kpis=("availability",)),
    formats=("pdf", "xlsx"),
    targets={"availability": KpiTarget(target=98.0, lower=95.0)},
    destinations=(
        EmailDestination(to=("a@example.com", "b@example.com"), subject="{title}"),
        WebhookDestination(url="https://hooks.example.com/x?y=1", attach=False),
        FolderDestination(path="weekly/line 1"),
    ),
    on_late_data=OnLateData.AT_ONCE,
    minimum_pause_s=600.0,
)


def test_a_definition_comes_back_from_the_database_as_it_was():
    check_definition(WEEKLY, ALL)
    assert decode_definition(json.loads(json.dumps(encode_definition(WEEKLY)))) == WEEKLY


@pytest.mark.parametrize(
    "request_",
    [
        ReportRequest(period="2026-11"),
        ReportRequest(period=PeriodBounds(start="2026-11-01T00:00Z", end="2026-11-02T00:00Z"), components=("a", "b")),
        ReportRequest(period="today", components=ComponentFilter(type="pump", labels={"line": "A"}), metrics=("m",)),
        ReportRequest(period="last_month", kpis=("mean", "max"), bucket="day"),
    ],
)
def test_a_question_comes_back_from_the_database_as_it_was(request_):
    assert decode_request(json.loads(json.dumps(encode_request(request_)))) == request_


def test_a_question_of_an_older_version_gets_the_defaults_of_newer_fields():
    assert decode_request({"period": "last_week"}) == ReportRequest(period="last_week")


@pytest.mark.parametrize("name", ["weekly", "weekly-pumps_2", "0", "a" * 63])
def test_good_names(name):
    check_name(name, "template")


@pytest.mark.parametrize("name", ["", "-a", "_a", "A", "a b", "a/b", "ü", "a" * 64, "a\n", "a\0"])
def test_names_that_cannot_stand_in_an_address_are_refused(name):
    with pytest.raises(Refused, match="name of a template"):
        check_name(name, "template")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"title": " "}, "title"),
        ({"title": "a\nb"}, "title"),
        ({"title": "x" * 201}, "title"),
        ({"formats": ()}, "formats"),
        ({"formats": ("pdf", "pdf")}, "formats"),
        ({"targets": {"availability": KpiTarget()}}, "targets"),
        ({"targets": {"availability": KpiTarget(lower=2.0, upper=1.0)}}, "targets"),
        ({"targets": {"availability": KpiTarget(lower=2.0, target=1.0)}}, "targets"),
        ({"targets": {"": KpiTarget(lower=2.0)}}, "targets"),
        ({"targets": {"mean": KpiTarget(lower=2.0)}}, "targets"),
        ({"targets": {f"kpi{n}": KpiTarget(lower=2.0) for n in range(101)}}, "targets"),
        ({"minimum_pause_s": 59.0}, "minimum_pause_s"),
        ({"minimum_pause_s": float("inf")}, "minimum_pause_s"),
        ({"destinations": (FolderDestination(path="a"),) * 2}, "destinations"),
        ({"destinations": tuple(FolderDestination(path=f"a{n}") for n in range(21))}, "destinations"),
        ({"destinations": (EmailDestination(to=()),)}, "destinations.0.to"),
        ({"destinations": (EmailDestination(to=("a@b.c", "a@b.c")),)}, "destinations"),
        ({"destinations": (EmailDestination(to=("a@b.c",), subject="a\r\nBcc: x@y.z"),)}, "destinations.0.subject"),
        ({"destinations": (EmailDestination(to=("a@b.c",), text="x" * 2001),)}, "destinations.0.text"),
    ],
)
def test_what_could_not_be_kept_or_delivered_is_refused_by_field(change, field):
    with pytest.raises(Refused) as caught:
        check_definition(replace(WEEKLY, **change), ALL)
    assert caught.value.fields["field"] == field


@pytest.mark.parametrize(
    "address",
    [
        "",
        "a",
        "a@",
        "@b",
        "a b@c.d",
        "a@b..c",
        "a@-b",
        "<a@b.c>",
        "a@b.c\r\nX: y",
        "ä@b.c",
        "a@b.c,d@e.f",
        "a" * 65 + "@b.c",
    ],
)
def test_texts_that_are_no_address_are_refused(address):
    with pytest.raises(Refused, match="no e-mail address"):
        check_definition(replace(WEEKLY, destinations=(EmailDestination(to=(address,)),)), ALL)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example.com",
        "ftp://example.com/",
        "https://",
        "https:///path",
        "https://user:hunter2@example.com/",
        "https://example.com/#part",
        "https://example.com:99999/",
        "https://example.com:0/",
        "https://exa mple.com/",
        "https://example.com/\r\nHost: other",
        "https://exämple.com/",
        "https://[::1/",
        "https://example.com/" + "x" * 1000,
        "file:///etc/passwd",
        "https://example%2ecom/",
        "https://.example.com/",
        "https://example..com/",
    ],
)
def test_texts_that_are_no_webhook_url_are_refused_without_being_repeated(url):
    with pytest.raises(Refused) as caught:
        check_definition(replace(WEEKLY, destinations=(WebhookDestination(url=url),)), ALL)
    assert "hunter2" not in caught.value.message
    assert caught.value.fields["field"] == "destinations.0.url"


@pytest.mark.parametrize("url", ["https://example.com", "http://10.0.0.7:8080/x?y=z", "https://[2001:db8::1]:8443/"])
def test_good_webhook_urls(url):
    check_definition(replace(WEEKLY, destinations=(WebhookDestination(url=url),)), ALL)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/etc",
        "..",
        "a/..",
        "../a",
        "a//b",
        "a/",
        ".",
        "./a",
        ".hidden",
        "a\\b",
        "a\0b",
        "a/~",
        "a.",
        "a /b",
        "x" * 101,
    ],
)
def test_folders_that_lead_elsewhere_are_refused(path):
    with pytest.raises(Refused):
        split_folder(path)


def test_a_folder_is_its_names():
    assert split_folder("weekly/line 1/2026.11") == ("weekly", "line 1", "2026.11")


@pytest.mark.parametrize(
    ("destination", "setting"),
    [
        (EmailDestination(to=("a@b.c",)), "GAUGEHOUSE_SMTP_HOST"),
        (FolderDestination(path="a"), "GAUGEHOUSE_DELIVERY_DIR"),
    ],
)
def test_ways_that_are_not_set_up_are_refused_by_their_setting(destination, setting):
    with pytest.raises(Refused, match=setting):
        check_definition(replace(WEEKLY, destinations=(destination,)), Reach(has_mail=False, has_folder=False))


def test_the_settings_say_what_can_be_reached(tmp_path):
    assert Reach.from_settings(Settings()) == Reach(has_mail=False, has_folder=False)
    wide = Settings(smtp_host="mail", delivery_dir=tmp_path, webhook_private_networks="10.0.0.0/8, fd00::/8")
    networks = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    assert Reach.from_settings(wide) == Reach(has_mail=True, has_folder=True, private_networks=networks)
    for wrong in ("10.0.0.1/8", "everything", "10.0.0.0/8;fd00::/8"):
        with pytest.raises(StartRefused, match="WEBHOOK_PRIVATE_NETWORKS"):
            read_networks(wrong)


def test_the_path_of_a_webhook_is_hidden():
    assert (
        hide_path("https://hooks.example.com:8443/services/T00/B00/secret?token=x") == "https://hooks.example.com:8443"
    )
