"""Files of reports on a real lake: what their document says, who makes them, and that they are made once."""

import io
import subprocess
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pypdf
import pytest
from sqlalchemy import func, select, update

from forking import fork
from gaugehouse import reports
from gaugehouse.database.tables import Job, Metric
from gaugehouse.errors import AlreadyExists, NotFound
from gaugehouse.inventory.exclusions import NewExclusion, add_exclusion
from gaugehouse.jobs import Control, JobLost, JobStatus, claim, get_job, run_worker
from gaugehouse.measurements.exclusions import ExclusionKind
from gaugehouse.reports import RENDER_KIND, KpiTarget, Printer, WantedFile, queue_rendering, run_rendering
from gaugehouse.reports.files import CHOSEN_LIMIT
from gaugehouse.reports.passes import say_nothing
from gaugehouse.reports.printing import never_stop
from gaugehouse.reports.render import RenderOptions, ReportFormat
from gaugehouse.reports.surroundings import CAUSE_GONE

T0 = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
TWO_DAYS = "2026-03-02/2026-03-04"
DEADLINE_S = 60.0


def minutely(component, metric, values, start=T0):
    return [(component, metric, start + i * MINUTE, float(value)) for i, value in enumerate(values)]


@pytest.fixture
def printer(plant):
    return Printer(database=plant.database, layout=plant.layout, threads=2)


def document_of(printer, report, revision=1):
    wanted = WantedFile(report_id=report.id, revision=revision, report_format=ReportFormat.PDF)
    return printer._load(wanted, say_nothing, never_stop)


def rows_of(table, *names):
    return [tuple(row[name] for name in names) for row in table.to_pylist()]


@pytest.fixture
def press(plant):
    """Four days of a press: its state with two reasons of down time; a temperature with limits for two days only."""
    states = ([1] * 600 + [0] * 120 + [1] * 660 + [5] * 60) * 4
    plant.deliver(minutely("press", "state", states))
    plant.deliver(minutely("press", "temperature", [60 + i % 10 for i in range(2 * 1440)]))
    plant.registry.register("default", ["silent"], [])
    with plant.database.transaction() as session:
        session.execute(
            update(Metric)
            .where(Metric.name == "state")
            .values(kind="state", state_classes={"1": "up", "0": "down", "5": "down"}, state_names={"5": "jam"})
        )
        session.execute(update(Metric).where(Metric.name == "temperature").values(lsl=55.0, usl=80.0, target=65.0))
    return plant


# --- What a document says ---------------------------------------------------------------------------------------------


def test_a_document_says_what_surrounds_the_values_of_its_buckets(press, printer):
    report, values = press.answer(
        TWO_DAYS,
        bucket="day",
        kpis=("mean", "count", "availability"),
        compare="previous",
        title="Presses",
        targets={"availability": KpiTarget(target=95.0)},
    )
    document = document_of(printer, report)
    assert (document.report_id, document.title, document.asked_by) == (report.id, "Presses", "manager")
    assert (document.digest, document.computed_at) == (report.digest, report.finished_at)
    assert document.values.equals(values)
    totals = {(row["metric"], row["kpi"]): row["value"] for row in document.totals.to_pylist()}
    assert totals["temperature", "count"] == 1440  # of two days the second has no temperature
    assert totals["state", "availability"] == pytest.approx(100 * (1 - 180 / 1440))
    assert rows_of(document.downtime, "component", "reason", "downtime_s", "occurrences") == [
        ("press", "state = 0", 2 * 7200.0, 2),
        ("press", "jam", 2 * 3600.0, 2),
    ]
    wanted = {
        (row["metric"], row["kpi"]): (row["target"], row["lower"], row["upper"]) for row in document.targets.to_pylist()
    }
    assert wanted == {("temperature", "mean"): (65.0, 55.0, 80.0), ("state", "availability"): (95.0, None, None)}
    assert (document.compared_with.start, document.compared_with.end) == (T0 - DAY, T0 + DAY)
    compared = {row["kpi"]: row for row in document.comparison.to_pylist() if row["metric"] == "temperature"}
    assert (compared["count"]["previous"], compared["count"]["difference"]) == (1440.0, 0.0)
    assert [(one.metric, one.lsl, one.usl) for one in document.charts] == [
        ("state", None, None),
        ("temperature", 55.0, 80.0),
    ]
    missing = {(row["component"], row["metric"]): row["reason"] for row in document.missing.to_pylist()}
    assert missing["silent", None] == "this component has never sent a measurement"
    assert missing["press", "temperature"] == "gaps between measurements"
    assert {one.name: one.judges_data for one in document.kpis} == {"mean": False, "count": True, "availability": False}
    assert (document.notes, document.is_whole, document.standing.is_stale) == ((), True, False)


def test_totals_of_a_report_without_buckets_are_its_values(press, printer):
    report, values = press.answer(TWO_DAYS, kpis=("mean", "max"), compare="previous")
    document = document_of(printer, report)
    assert document.totals.equals(values)
    assert document.comparison.num_rows == values.num_rows


def test_a_comparison_with_nothing_says_why(press, printer):
    report, _ = press.answer("2026-02-28/2026-03-03", kpis=("mean",), bucket="day", compare="previous")
    document = document_of(printer, report)
    (row,) = (row for row in document.comparison.to_pylist() if row["metric"] == "temperature")
    assert row["previous"] is None
    assert row["reason"]


def test_only_exclusions_of_the_period_are_listed_and_cut_at_its_ends(press, printer):
    with press.database.transaction() as session:
        for start, end, reason, components in (
            (T0 - 2 * DAY, T0 - DAY, "before", None),
            (T0 + 12 * HOUR, T0 + 30 * HOUR, "new bearing", ["press"]),
            (T0 + 40 * HOUR, T0 + 41 * HOUR, "fire drill", None),
        ):
            new = NewExclusion(
                kind=ExclusionKind.MAINTENANCE, components=components, start=start, end=end, reason=reason
            )
            add_exclusion(session, press.manager.project_id, new, author="manager")
    report, _ = press.answer(TWO_DAYS, kpis=("mean",))
    document = document_of(printer, report)
    assert rows_of(document.exclusions, "component", "start", "end", "author", "reason") == [
        ("press", T0 + DAY, T0 + 30 * HOUR, "manager", "maintenance: new bearing"),
        ("every component", T0 + 40 * HOUR, T0 + 41 * HOUR, "manager", "maintenance: fire drill"),
    ]


def test_a_revision_lists_what_changed_and_because_of_what(press, printer):
    report, _ = press.answer(TWO_DAYS, kpis=("count",), bucket="day")
    first = document_of(printer, report)
    press.deliver([("press", "temperature", T0 + 2 * DAY + HOUR, 1.0)])
    press.lake.flush()
    reports.reissue_report(press.database, press.lake, press.manager, report.id, because="late", cells_limit=1000)
    press.lake.flush()
    with press.working():
        press.follow(report)
    assert press.see(report).revision == 2
    document = document_of(printer, report, 2)
    assert rows_of(document.changes, "metric", "bucket_start", "old", "new", "unit", "cause") == [
        ("temperature", T0 + 2 * DAY, 0.0, 1.0, "1", "1 late row")
    ]
    assert first.changes.num_rows == 0
    again = document_of(printer, report)  # it is about what was known then
    assert again.totals.equals(first.totals)
    assert (again.missing.equals(first.missing), again.revision) == (True, 1)


def test_a_running_period_is_drawn_up_to_now(plant, printer):
    now = datetime.now(UTC).replace(microsecond=0)
    midnight = now.replace(hour=0, minute=0, second=0)
    plant.deliver([("pump", "flow", midnight + (now - midnight) * share, 1.0) for share in (0.1, 0.5, 0.9)])
    report, _ = plant.answer("today", kpis=("mean",))
    document = document_of(printer, report)
    (chart,) = document.charts
    assert document.is_running
    assert chart.edges_us[0] == int(midnight.timestamp() * 1e6)
    assert chart.edges_us[-1] == int(report.asked_at.timestamp()) * 1_000_000 + report.asked_at.microsecond
    assert len(chart.mean) == len(chart.edges_us) - 1


@pytest.mark.parametrize("bucket", [None, "day"])
def test_what_retention_dropped_is_left_out_with_a_note(press, printer, bucket):
    report, values = press.answer(TWO_DAYS, kpis=("mean", "count"), bucket=bucket)
    press.lake.retain("default", "measurements", datetime(2026, 5, 1, tzinfo=UTC))
    document = document_of(printer, report)
    assert document.values.equals(values)
    assert document.totals.num_rows == (0 if bucket else values.num_rows)
    assert (document.charts, document.is_whole) == ((), False)
    assert "dropped by retention" in document.notes[0]
    for report_format in ReportFormat:
        assert printer.make(WantedFile(report_id=report.id, revision=1, report_format=report_format))
    pdf = printer.make(WantedFile(report_id=report.id, revision=1, report_format=ReportFormat.PDF))
    text = " ".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(pdf)).pages)
    assert "dropped by retention" in " ".join(text.split())
    assert "No series is incomplete" not in text


def test_causes_of_changes_are_unknown_where_the_late_rows_are_gone(press, printer):
    report, _ = press.answer(TWO_DAYS, kpis=("count",))
    press.deliver([("press", "temperature", T0 + 2 * DAY + HOUR, 1.0)])
    press.lake.flush()
    reports.reissue_report(press.database, press.lake, press.manager, report.id, because="late", cells_limit=1000)
    press.lake.flush()
    with press.working():
        press.follow(report)
    press.lake.retain("default", "measurements", datetime(2026, 5, 1, tzinfo=UTC))
    assert rows_of(document_of(printer, report, 2).changes, "cause") == [(CAUSE_GONE,)]


def test_an_empty_lake_has_files_too(plant, printer):
    plant.registry.register("default", ["pump"], [])
    report, _ = plant.answer()
    for report_format in ReportFormat:
        assert printer.make(WantedFile(report_id=report.id, revision=1, report_format=report_format))


def test_the_same_revision_gives_the_same_bytes_after_more_data_and_compaction(press, printer):
    report, _ = press.answer(TWO_DAYS, kpis=("mean",), bucket="day")
    wanted = [WantedFile(report_id=report.id, revision=1, report_format=one) for one in ReportFormat]
    before = [printer.make(one) for one in wanted]
    press.deliver([("press", "temperature", T0 + 2 * DAY + HOUR, 1.0)])
    press.lake.flush()
    press.lake.compact()
    assert [printer.make(one) for one in wanted] == before


# --- Who makes them ---------------------------------------------------------------------------------------------------


def queue(plant, wanted):
    with plant.database.transaction() as session:
        return queue_rendering(session, plant.manager.project_id, wanted)


def take(plant, worker="printing"):
    return claim(plant.database, worker=worker, kinds={RENDER_KIND}, lease_s=30.0)


def quietly():
    return Control(lambda _progress: None)


@pytest.fixture
def wanted(press):
    report, _ = press.answer(TWO_DAYS, kpis=("mean",))
    return WantedFile(report_id=report.id, revision=1, report_format=ReportFormat.HTML)


def test_two_requests_share_one_job_and_options_that_a_format_ignores_make_no_other_file(press, printer, wanted):
    job = queue(press, wanted)
    assert queue(press, replace(wanted, options=RenderOptions(paper="us-letter"))).id == job.id
    assert queue(press, replace(wanted, options=RenderOptions(decimal=","))).id != job.id
    run_rendering(take(press), quietly(), printer=printer)
    with press.database.reading() as session:
        assert get_job(session, job.id).status is JobStatus.DONE
    path = wanted.find_path(press.layout)
    assert path.name == "r1.html"
    assert path.read_bytes() == printer.make(wanted)


def test_requests_at_the_same_moment_share_one_job(press, wanted):
    found, together = [], threading.Barrier(4)

    def ask():
        together.wait()
        found.append(queue(press, wanted).id)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1


def test_a_failure_is_told_and_a_minute_later_tried_again(press, wanted):
    def fail(_job, _control):
        raise NotFound("there is no ink")

    job = queue(press, wanted)
    stop = threading.Event()
    options = {"worker": "w", "lease_s": 5.0, "stop": stop, "poll_s": 0.02}
    thread = threading.Thread(target=run_worker, args=(press.database, {RENDER_KIND: fail}), kwargs=options)
    thread.start()
    pause = threading.Event()
    for _ in range(int(DEADLINE_S / 0.02)):
        with press.database.reading() as session:
            if get_job(session, job.id).status is JobStatus.FAILED:
                break
        pause.wait(0.02)
    stop.set()
    thread.join()
    with pytest.raises(AlreadyExists, match="could not be written as html: there is no ink"):
        queue(press, wanted)
    with press.database.transaction() as session:
        session.execute(update(Job).where(Job.id == job.id).values(finished_at=T0))
    assert queue(press, wanted).id != job.id


def test_a_run_that_lost_its_job_publishes_nothing(press, printer, wanted):
    queue(press, wanted)
    job = take(press)
    with press.database.transaction() as session:
        session.execute(update(Job).where(Job.id == job.id).values(attempts=2, worker="other"))
    with pytest.raises(JobLost):
        run_rendering(job, quietly(), printer=printer)
    folder = wanted.find_path(press.layout).parent
    assert list(folder.iterdir()) == []


def test_a_file_that_is_there_is_not_made_again(press, printer, wanted):
    path = printer.provide(wanted)
    path.write_bytes(b"as it was sent")
    queue(press, wanted)
    run_rendering(take(press), quietly(), printer=printer)
    assert printer.provide(wanted) == path
    assert path.read_bytes() == b"as it was sent"


def test_files_of_a_readers_choice_make_room_for_one_another(press, printer, wanted):
    printer.provide(wanted)
    for rows in range(1, CHOSEN_LIMIT + 4):
        path = printer.provide(replace(wanted, report_format=ReportFormat.CSV, options=_choose(rows)))
    names = {one.name for one in path.parent.iterdir()}
    assert len([name for name in names if name.startswith("r1-")]) == CHOSEN_LIMIT
    assert {"r1.html", path.name} <= names


def _choose(number):
    zones = ("Europe/Berlin", "Asia/Tokyo", "America/New_York", "Africa/Cairo", "Asia/Kolkata", "Pacific/Auckland")
    return RenderOptions(
        timezone=zones[number % len(zones)], delimiter=";|\t"[number // 6 % 3], byte_order_mark=number > 12
    )


def test_a_revision_that_has_no_result_has_no_file(press, printer):
    report = press.ask(TWO_DAYS)
    for revision, error in ((1, AlreadyExists), (2, NotFound)):
        with pytest.raises(error):
            printer.make(WantedFile(report_id=report.id, revision=revision, report_format=ReportFormat.PDF))


# Stands still in front of the file's writing when told to; else runs through.
WORKER = """
import sys, threading
from functools import partial
from pathlib import Path
from gaugehouse.config import Layout
from gaugehouse.database import Database
from gaugehouse.jobs import run_worker
from gaugehouse.reports import RENDER_KIND, Printer, run_rendering

url, folder, name, stop_at = sys.argv[1:]
database = Database.open(url)
printer = Printer(database=database, layout=Layout(Path(folder)))

def handle(job, control):
    tell = control.tell
    def stand_still(progress):
        tell(progress)
        if stop_at and progress.doing.startswith(stop_at):
            print("standing still", flush=True)
            threading.Event().wait()
    control.tell = stand_still
    run_rendering(job, control, printer=printer)

run_worker(database, {RENDER_KIND: handle}, worker=name, lease_s=1.0, stop=threading.Event(), poll_s=0.05)
"""


@pytest.mark.parametrize("moment", ["charts", "writing html", "writing the file"])
def test_a_renderer_that_is_killed_is_followed_by_the_next_one(press, printer, wanted, database_url, moment):
    job = queue(press, wanted)
    command = ["-c", WORKER, database_url, str(press.layout.data_dir)]
    started = []
    try:
        for name, stop_at in (("first", moment), ("second", "")):
            started.append(fork([*command, name, stop_at], stdout=subprocess.PIPE))
            if stop_at:
                assert any(line == "standing still\n" for line in started[0].stdout)
                started[0].kill()
                started[0].wait()
                assert not wanted.find_path(press.layout).exists()
        pause = threading.Event()
        for _ in range(int(DEADLINE_S / 0.05)):
            with press.database.reading() as session:
                status = get_job(session, job.id).status
            if status is not JobStatus.QUEUED and status is not JobStatus.RUNNING:
                break
            pause.wait(0.05)
        assert status is JobStatus.DONE
    finally:
        for process in started:
            process.kill()
            process.wait()
            process.stdout.close()
    path = wanted.find_path(press.layout)
    assert [one.name for one in path.parent.iterdir()] == ["r1.html"]
    assert path.read_bytes() == printer.make(wanted)
    with press.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Job).where(Job.kind == RENDER_KIND)) == 1


def test_components_taken_together_have_a_section_of_their_own(press, printer):
    press.deliver(minutely("press 2", "temperature", [50] * 1440))
    report, _ = press.answer("2026-03-01", kpis=("mean", "count"), group_by="fleet", bucket=None)
    document = document_of(printer, report)
    assert rows_of(document.groups, "group", "metric", "kpi", "value")[-1] == ("fleet", "temperature", "count", 2880.0)
    html = printer.make(WantedFile(report_id=report.id, revision=1, report_format=ReportFormat.HTML)).decode()
    assert "By fleet" in html
    assert "2,880" in html
    report, _ = press.answer(TWO_DAYS, kpis=("mean",), group_by="fleet", bucket="day")
    html = printer.make(WantedFile(report_id=report.id, revision=1, report_format=ReportFormat.HTML)).decode()
    assert "are in the XLSX and JSON files of this report" in html
