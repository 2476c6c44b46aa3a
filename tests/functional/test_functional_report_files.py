"""A report as a file, from outside: every format asked for over HTTP and looked into, delivered, written by commands."""

import io
import json
from datetime import UTC, datetime, timedelta

import openpyxl
import pypdf
import pytest

from functional.installation import ask_report, assert_problem, wait_until
from functional.rows import deliver_well

START = datetime(2026, 4, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
PDF = "application/pdf"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
QUESTION = {
    "period": "2026-04-01/2026-04-04",
    "timezone": "Europe/Berlin",
    "bucket": "day",
    "kpis": ["mean", "count", "coverage"],
    "components": ["mill 1", "mill 2"],
    "title": "Mills: Übersicht <b>",
    "targets": {"coverage": {"target": 99}},
    "compare": "previous",
}


@pytest.fixture(scope="module")
def plant(found, tmp_path_factory):
    outgoing = tmp_path_factory.mktemp("outgoing")
    installation = found({"GAUGEHOUSE_SEGMENT_AGE_S": "0.5", "GAUGEHOUSE_DELIVERY_DIR": str(outgoing)}).start()
    rows = [("mill 1", "force", START + i * MINUTE, float(i % 60), 0) for i in range(3 * 24 * 60)]
    rows += [("mill 2", "force", START + i * MINUTE, 5.0, 0) for i in range(24 * 60)]  # silent for two days
    deliver_well(installation.device(), rows)
    installation.outgoing = outgoing
    yield installation
    installation.stop()


@pytest.fixture(scope="module")
def manager(plant):
    return plant.sign_in("max")


@pytest.fixture(scope="module")
def report(manager):
    return ask_report(manager, **QUESTION)


def fetch(client, report, accept=None, **wanted):
    """Ask for a file until it is there."""
    headers = {"Accept": accept} if accept else {}

    def look():
        answer = client.get(f"/v1/reports/{report['id']}/result", params=wanted, headers=headers)
        assert answer.status_code in {200, 202}, answer.text
        if answer.status_code == 202:
            assert answer.json()["status"] == "rendering"
            assert int(answer.headers["retry-after"]) > 0
        return answer if answer.status_code == 200 else None

    return wait_until(look, what="the file")


def read_pdf(content):
    return " ".join(" ".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(content)).pages).split())


def test_the_pdf_says_what_the_report_says(plant, manager, report):
    answer = fetch(manager, report, accept=PDF)
    assert answer.headers["content-type"] == PDF
    name = f"default_mills-bersicht-b_{report['id']}_r1.pdf"
    assert answer.headers["content-disposition"] == f'inline; filename="{name}"'
    text = read_pdf(answer.content)
    for words in ("Mills: Übersicht <b>", "mill 1", "mill 2", report["digest"], "off target", "gaugehouse report verify"):
        assert words in text
