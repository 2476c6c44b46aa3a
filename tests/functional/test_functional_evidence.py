"""A report as evidence, from outside: stale, issued again with reasons, compared, proved, and found out when forged."""

import re
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from functional.installation import ask_report, assert_problem, follow
from functional.rows import deliver_well, read_answer
from payloads import ARROW

START = datetime(2026, 4, 1, tzinfo=UTC)
QUESTION = {"period": "2026-04-01/2026-04-03", "bucket": "day", "kpis": ["mean", "count"], "components": ["press 7"]}
EXIT_DAMAGED = 3


def minutes(first, count, value=1.0):
    return [("press 7", "force", START + timedelta(minutes=first + i), value, 0) for i in range(count)]


@pytest.fixture(scope="module")
def issued(found):
    """A server with a report of two revisions: a late row came on the second day."""
    installation = found({"GAUGEHOUSE_SEGMENT_AGE_S": "0.5"}, workers=1).start()
    deliver_well(installation.device(), minutes(0, 2 * 24 * 60))
    manager = installation.sign_in("max")
    report = ask_report(manager, **QUESTION)
    deliver_well(installation.device(), [("press 7", "force", START + timedelta(days=1, seconds=30), 100.0, 0)])
    stale = manager.get(f"/v1/reports/{report['id']}/staleness").raise_for_status().json()
    assert stale["is_stale"] is True
    assert (stale["staleness"]["late_rows"], stale["staleness"]["late_series"]) == (1, 1)
    asked = manager.post(f"/v1/reports/{report['id']}/revisions", json={"because": "the press was offline"})
    assert asked.status_code == 202, asked.text
    assert follow(manager, asked.headers["location"])[-1]["status"] == "done"
    return installation, manager, report


def test_the_newest_revision_holds_and_the_first_says_what_it_said(issued):
    _installation, manager, report = issued
    location = f"/v1/reports/{report['id']}"
    assert manager.get(f"{location}/staleness").json()["is_stale"] is False
    revisions = manager.get(f"{location}/revisions").raise_for_status().json()
    assert [(one["revision"], one["because"]) for one in revisions] == [(2, "the press was offline"), (1, "")]
    assert revisions[1]["digest"] == report["digest"] != revisions[0]["digest"]

    def counts(**wanted):
        rows = read_answer(manager.get(f"{location}/result", params=wanted))
        return [row["value"] for row in rows if row["kpi"] == "count"]

    assert counts() == counts(revision=2) == [1440, 1441]
    assert counts(revision=1) == [1440, 1440]
    assert_problem(manager.get(f"{location}/result", params={"revision": 3}), 404, "revision_not_found")


def test_changes_name_the_value_before_and_after_and_the_late_row(issued):
    _installation, manager, report = issued
    answer = manager.get(f"/v1/reports/{report['id']}/changes", headers={"Accept": ARROW})
    changes = pl.read_ipc_stream(answer.raise_for_status().content)
    assert changes.select("kpi", "because").rows() == [("count", "1 late row"), ("mean", "1 late row")]
    assert set(changes["bucket_start"]) == {START + timedelta(days=1)}
    assert changes.filter(pl.col("kpi") == "count").select("old_value", "new_value").rows() == [(1440, 1441)]


def test_a_viewer_issues_nothing(issued):
    installation, _manager, report = issued
    viewer = installation.sign_in("vera")
    refused = viewer.post(f"/v1/reports/{report['id']}/revisions", json={"because": "I want to"})
    assert_problem(refused, 403)


def test_the_command_line_lists_shows_compares_and_proves(issued):
    installation, _manager, report = issued
    report_id = report["id"]
    assert report_id in installation.run_well("report", "list")
    shown = installation.run_well("report", "show", report_id)
    assert "the press was offline" in shown
    assert "holds" in shown
    assert "1 late row" in installation.run_well("report", "diff", report_id)
    for revision in ("1", "2"):
        proved = installation.run_well("report", "verify", report_id, "--revision", revision)
        assert re.search(r"same.*recomputed", proved)


def test_a_forged_result_is_found_out(issued):
    installation, _manager, report = issued
    path = installation.data_dir / "reports" / report["id"] / "r1.parquet"
    honest = path.read_bytes()
    rows = pl.read_parquet(path)
    rows.with_columns(value=pl.col("value") * 2).write_parquet(path)
    try:
        done = installation.run("report", "verify", report["id"], "--revision", "1")
    finally:
        path.write_bytes(honest)
    assert done.returncode == EXIT_DAMAGED, done.stdout + done.stderr
    assert "damaged" in done.stdout
    assert "Traceback" not in done.stderr
