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
    installation = found(
        {"GAUGEHOUSE_SEGMENT_AGE_S": "0.5", "GAUGEHOUSE_DELIVERY_DIR": str(outgoing)}, workers=1
    ).start()
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
    for words in (
        "Mills: Übersicht <b>",
        "mill 1",
        "mill 2",
        report["digest"],
        "off target",
        "gaugehouse report verify",
    ):
        assert words in text


def test_a_file_is_made_once_and_keeps_its_bytes(plant, manager, report):
    first = fetch(manager, report, accept=PDF)
    path = plant.data_dir / "reports" / report["id"] / "files" / "r1.pdf"
    assert path.read_bytes() == first.content
    changed_at = path.stat().st_mtime_ns
    assert fetch(manager, report, format="pdf").content == first.content
    assert path.stat().st_mtime_ns == changed_at
    assert not list(path.parent.glob("*.tmp"))


def test_the_page_carries_its_policy_and_nothing_of_a_user_is_markup(manager, report):
    answer = fetch(manager, report, accept="text/html,application/xhtml+xml,*/*;q=0.8")
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"].startswith("inline")
    assert "Mills: Übersicht &lt;b&gt;" in answer.text
    assert "Übersicht <b>" not in answer.text
    assert "<script" not in answer.text
    assert "mill 2" in answer.text
    assert "no measurement" in answer.text or "gaps between measurements" in answer.text


def test_the_workbook_has_typed_cells(manager, report):
    answer = fetch(manager, report, accept=XLSX)
    assert answer.headers["content-disposition"].startswith("attachment")
    book = openpyxl.load_workbook(io.BytesIO(answer.content))
    assert {"Report", "KPIs", "Values", "Definitions", "Components"} <= set(book.sheetnames)
    rows = list(book["KPIs"].iter_rows(values_only=True))
    found = {(row[0], row[2]): row[rows[0].index("value")] for row in rows[1:]}
    assert found["mill 1", "count"] == 3 * 24 * 60 - 120  # the period ends at midnight in Berlin
    assert found["mill 2", "mean"] == pytest.approx(5.0)
    assert book["Values"].max_row == 1 + 2 * 3 * 3


def test_the_document_says_it_all_to_programs(manager, report):
    answer = fetch(manager, report, format="document")
    told = answer.json()
    assert told["format"] == "gaugehouse.report.1"
    assert told["digest"] == report["digest"]
    assert (told["report"]["id"], told["report"]["revision"]) == (report["id"], 1)
    assert len(told["items"]) == 2 * 3 * 3
    totals = {(row["component"], row["kpi"]): row["value"] for row in told["totals"]}
    assert totals["mill 2", "mean"] == pytest.approx(5.0)
    lights = {(row["component"], row["kpi"]): row["light"] for row in told["lights"]}
    assert (lights["mill 1", "coverage"], lights["mill 2", "coverage"]) == ("amber", "red")
    assert told["compared_with"]["start"] == "2026-03-28T23:00:00Z"
    assert {row["reason"] for row in told["comparison"] if row["kpi"] == "mean"} != {None}
    (chart,) = (one for one in told["charts"] if one["component"] == "mill 2")
    assert None in chart["mean"]
    assert [row["component"] for row in told["missing"]] == ["mill 2", "mill 1"]


def test_rows_leave_as_they_always_did(manager, report):
    location = f"/v1/reports/{report['id']}/result"
    rows = manager.get(location).json()
    assert len(rows["items"]) == 2 * 3 * 3
    assert rows.keys() == {"items", "next_cursor", "as_of"}
    plain = manager.get(location, params={"format": "csv"}).text
    assert plain.splitlines()[0].startswith("component,metric,kpi")
    chosen = manager.get(location, params={"format": "csv", "decimal": ",", "timezone": "Europe/Berlin"})
    lines = chosen.content.decode().split("\r\n")
    assert lines[0].startswith("component;metric;kpi")
    assert "2026-04-01T00:00:00+02:00" in lines[1]
    assert len(lines) == 1 + 2 * 3 * 3 + 1


def test_options_make_files_of_their_own(plant, manager, report):
    german = read_pdf(fetch(manager, report, format="pdf", decimal=",", paper="us-letter", panels=0).content)
    assert "Course over the period" not in german
    assert "Course over the period" in read_pdf(fetch(manager, report, format="pdf").content)
    folder = plant.data_dir / "reports" / report["id"] / "files"
    assert len(list(folder.glob("r1-*.pdf"))) == 1


@pytest.mark.parametrize(
    ("wanted", "status", "code"),
    [
        ({"format": "docx"}, 422, "request_refused"),
        ({"format": "pdf", "decimal": "x"}, 422, "request_refused"),
        ({"format": "pdf", "timezone": "Mars/Olympus"}, 422, None),
        ({"format": "pdf", "page_rows": 1_000_000}, 422, "request_refused"),
        ({"format": "pdf", "top": 3}, 422, "rows_only"),
        ({"format": "csv", "delimiter": "x"}, 422, "report_option_refused"),
        ({"format": "pdf", "revision": 7}, 404, "revision_not_found"),
    ],
)
def test_what_cannot_be_made_is_refused(manager, report, wanted, status, code):
    answer = manager.get(f"/v1/reports/{report['id']}/result", params=wanted)
    assert_problem(answer, status)
    assert code is None or answer.json()["code"] == code


def test_a_media_type_that_nobody_writes_is_refused(manager, report):
    answer = manager.get(f"/v1/reports/{report['id']}/result", headers={"Accept": "image/png"})
    assert_problem(answer, 406)
    assert PDF in answer.json()["available"]


def test_a_viewer_gets_no_file(plant, report):
    viewer = plant.sign_in("vera")
    assert_problem(viewer.get(f"/v1/reports/{report['id']}/result", headers={"Accept": PDF}), 403)


def test_a_template_delivers_a_pdf_with_its_title_and_targets(plant, manager):
    body = {
        "name": "mills",
        "title": "Mills of the month",
        "report": {key: QUESTION[key] for key in ("period", "timezone", "kpis", "components")},
        "formats": ["pdf", "xlsx"],
        "targets": {"coverage": {"target": 99}},
        "destinations": [{"kind": "folder", "path": "mills"}],
    }
    assert manager.post("/v1/report-templates", json=body).status_code == 201
    report = ask_report(manager, template="mills")

    def delivered():
        (one,) = manager.get(f"/v1/reports/{report['id']}").json()["deliveries"]
        assert one["state"] != "failed", one
        return one["state"] == "delivered"

    wait_until(delivered, what="the delivery")
    paths = sorted((plant.outgoing / "default" / "mills").iterdir())
    assert [path.name for path in paths] == [
        f"default_mills-of-the-month_{report['id']}_r1.{suffix}" for suffix in ("pdf", "xlsx")
    ]
    text = read_pdf(paths[0].read_bytes())
    assert "Mills of the month" in text
    assert "off target" in text
    assert fetch(manager, report, format="pdf").content == paths[0].read_bytes()
    told = manager.get(f"/v1/reports/{report['id']}").json()["request"]
    assert (told["title"], told["targets"]["coverage"]["target"]) == ("Mills of the month", 99)


def test_commands_write_the_same_files(plant, manager, report, tmp_path):
    shown = tmp_path / "shown.pdf"
    plant.run_well("report", "show", report["id"], "--output", shown)
    assert shown.read_bytes() == fetch(manager, report, format="pdf").content
    asked = [
        "report", "run", "--period", "2026-04-01/2026-04-04", "--component", "mill 1", "--kpi", "mean,coverage",
        "--title", "By hand", "--target", "coverage=99", "--target", "mean=20..40", "--compare", "previous",
    ]  # fmt: skip
    plant.run_well(*asked, "--output", tmp_path / "run.pdf")
    assert "By hand" in read_pdf((tmp_path / "run.pdf").read_bytes())
    plant.run_well(*asked, "--output", tmp_path / "run.json")
    told = json.loads((tmp_path / "run.json").read_text())
    assert told["report"]["title"] == "By hand"
    assert {(row["kpi"], row["target"], row["lower"], row["upper"]) for row in told["targets"]} == {
        ("coverage", 99.0, None, None),
        ("mean", None, 20.0, 40.0),
    }
    refused = plant.run(*asked, "--target", "coverage=much", "--output", tmp_path / "run.pdf")
    assert refused.returncode == 1
    assert "availability=95" in refused.stderr + refused.stdout
    assert plant.run("report", "show", report["id"], "--output", tmp_path / "run.docx").returncode == 1


def test_a_command_without_a_server_writes_files_too(found, tmp_path):
    folder = found(workers=1)
    path = tmp_path / "rows.csv"
    lines = [f"press,{(START + i * MINUTE).isoformat()},{i % 7}" for i in range(1440)]
    path.write_text("\n".join(["component,measured_at,heat", *lines]))
    folder.run_well("import", path, "--component-column", "component", "--time-column", "measured_at")
    asked = ["report", "run", "--period", "2026-04-01", "--kpi", "mean,count"]
    for suffix in ("pdf", "html", "xlsx", "json", "csv", "parquet"):
        folder.run_well(*asked, "--output", tmp_path / f"day.{suffix}")
    assert "not kept" in read_pdf((tmp_path / "day.pdf").read_bytes())
    assert "gaugehouse report verify" not in (tmp_path / "day.html").read_text()
    assert json.loads((tmp_path / "day.json").read_text())["items"][1]["value"] == 1440
    assert (tmp_path / "day.csv").read_bytes().count(b"\r\n") == 3
