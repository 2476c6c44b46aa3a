"""From the question to the result, through lake, database and jobs."""

import json
import threading
from datetime import UTC, datetime, timedelta
from functools import partial

import numpy as np
import pytest
from sqlalchemy import update

from gaugehouse.access import Caller, Scope
from gaugehouse.config import Settings
from gaugehouse.database.tables import Job, Metric, ReportRevision
from gaugehouse.errors import AlreadyExists, Forbidden, NotFound, PeriodRefused, Refused, TooLarge, Unavailable
from gaugehouse.inventory import update_metric
from gaugehouse.jobs import JobLost, claim
from gaugehouse.jobs.control import Control
from gaugehouse.lake import Lake, open_snapshot
from gaugehouse.reports import (
    JOB_KIND,
    RESULT,
    ComponentFilter,
    PeriodBounds,
    ReportRequest,
    cancel_report,
    get_pin,
    get_report,
    list_reports,
    read_result,
    request_report,
    run_report,
)
from gaugehouse.reports.ask import refuse_gone_of

T0 = datetime(2026, 3, 1, tzinfo=UTC)


def hourly(component, metric, values, start=T0):
    return [(component, metric, start + timedelta(hours=i), float(v)) for i, v in enumerate(values)]


def cells(table, *names):
    return {tuple(row[name] for name in names): row["value"] for row in table.select([*names, "value"]).to_pylist()}


# --- asking -----------------------------------------------------------------------------------------------------------


def test_a_report_is_asked_computed_and_read(plant):
    rng = np.random.default_rng(1)
    values = {name: rng.normal(20, 3, 31 * 24) for name in ("pump-1", "pump-2")}
    for name, series in values.items():
        plant.deliver(hourly(name, "temperature", series))
    asked = plant.ask(kpis=("mean", "max", "count"))
    assert (asked.status, asked.progress_percent, asked.digest) == ("queued", 0, None)
    assert (asked.period_start, asked.period_end) == (T0, datetime(2026, 4, 1, tzinfo=UTC))
    report, table = plant.answer(kpis=("mean", "max", "count"))
    assert table.schema.equals(RESULT)
    assert (report.result_rows, report.progress_percent, report.doing) == (6, 100, "")
    assert table["kpi"].to_pylist() == ["mean", "max", "count"] * 2
    found = cells(table, "component", "kpi")
    for name, series in values.items():
        assert found[name, "mean"] == pytest.approx(series.mean(), rel=1e-12)
        assert found[name, "max"] == series.max()
        assert found[name, "count"] == 744
    assert set(table["status"].to_pylist()) == {"ok"}


def test_an_empty_lake_answers_no_data_for_every_component(plant):
    plant.registry.register("default", ["pump-1", "pump-2"], ["temperature"])
    report, table = plant.answer()
    assert report.as_of is None
    assert table["component"].to_pylist() == ["pump-1", "pump-2"]
    assert table["metric"].to_pylist() == [None, None]
    assert set(table["status"].to_pylist()) == {"no_data"}
    assert table["reason"][0].as_py() == "this component has never sent a measurement"
    _, table = plant.answer(metrics=("temperature",), kpis=("mean", "count"))
    assert cells(table, "component", "metric", "kpi") == {
        ("pump-1", "temperature", "mean"): None,
        ("pump-1", "temperature", "count"): 0,
        ("pump-2", "temperature", "mean"): None,
        ("pump-2", "temperature", "count"): 0,
    }


def test_a_project_without_components_is_an_empty_result(plant):
    report, table = plant.answer()
    assert (report.result_rows, table.num_rows) == (0, 0)


def test_a_component_that_fell_silent_stays_visible(plant):
    plant.deliver(hourly("pump-1", "temperature", range(24), start=T0 - timedelta(days=200)))
    plant.deliver(hourly("pump-2", "temperature", range(24)))
    _, table = plant.answer(kpis=("mean", "coverage"), bucket="week")
    by_status = {row["component"]: [] for row in table.to_pylist()}
    for row in table.to_pylist():
        by_status[row["component"]].append((row["kpi"], row["value"], row["status"]))
    assert by_status["pump-1"] == [("mean", None, "no_data")] * 6 + [("coverage", 0.0, "no_data")] * 6
    assert by_status["pump-2"][0] == ("mean", 11.5, "ok")


def test_rows_received_after_the_question_do_not_count(plant):
    plant.deliver(hourly("pump-1", "temperature", [1.0, 2.0]))
    report = plant.ask(kpis=("count",))
    plant.deliver(hourly("pump-1", "temperature", [3.0], start=T0 + timedelta(days=1)))
    plant.lake.flush()
    with plant.working():
        report = plant.follow(report)
    assert read_result(plant.layout, report)["value"].to_pylist() == [2.0]


def test_a_lake_that_was_closed_and_opened_again_is_reported_on_at_once(plant):
    plant.deliver(hourly("pump-1", "temperature", [1.0, 2.0]))
    plant.lake.close()
    plant.lake = Lake.open(plant.layout, Settings(data_dir=plant.layout.data_dir, segment_age_s=3600))
    report = plant.ask(kpis=("mean",))
    with plant.working():
        assert plant.follow(report).status == "done"


def test_a_running_period_ends_when_it_was_asked(plant):
    now = datetime.now(UTC)
    start = now - timedelta(days=2)
    plant.registry.register("default", ["press"], ["running"])
    with plant.database.transaction() as session:
        session.execute(update(Metric).values(kind="state", nominal_interval_s=3600.0))
    plant.deliver(hourly("press", "running", [1] * 48, start=start + timedelta(seconds=1)))
    bounds = PeriodBounds(start=start.isoformat(), end=(now + timedelta(days=5)).isoformat())
    report, table = plant.answer(bounds, kpis=("availability", "uptime", "downtime", "unknown_time", "coverage"))
    found = cells(table, "kpi")
    assert found["availability",] == 100.0
    assert found["downtime",] == 0.0
    elapsed_s = (report.asked_at - start).total_seconds()
    assert found["uptime",] + found["unknown_time",] == pytest.approx(elapsed_s, abs=1e-6)
    assert found["unknown_time",] == pytest.approx(1.0, abs=1e-6)
    assert found["coverage",] == pytest.approx(100 * (elapsed_s - 1) / elapsed_s)


def test_a_period_that_lies_ahead_is_no_data(plant):
    plant.deliver(hourly("pump-1", "temperature", [1.0, 2.0]))
    _, table = plant.answer("2200", kpis=("mean", "count"))
    assert set(table["status"].to_pylist()) <= {"no_data", "undefined"}
    assert cells(table, "kpi")["mean",] is None


def test_days_of_clock_change_are_buckets_of_23_and_25_hours(plant):
    start = datetime(2026, 1, 1, tzinfo=UTC)
    plant.deliver(hourly("pump-1", "temperature", np.arange(365 * 24.0), start=start))
    _, table = plant.answer("2026", timezone="Europe/Berlin", bucket="day", kpis=("count", "mean"))
    counts = {row["bucket_start"]: row for row in table.to_pylist() if row["kpi"] == "count"}
    assert len(counts) == 365
    spring, autumn = datetime(2026, 3, 28, 23, tzinfo=UTC), datetime(2026, 10, 24, 22, tzinfo=UTC)
    assert counts[spring]["value"] == 23
    assert counts[spring]["bucket_end"] - spring == timedelta(hours=23)
    assert counts[autumn]["value"] == 25
    assert counts[autumn]["bucket_end"] - autumn == timedelta(hours=25)
    mean = cells(table, "bucket_start", "kpi")[spring, "mean"]
    first = (spring - start) // timedelta(hours=1)
    assert mean == pytest.approx(np.arange(first, first + 23).mean(), rel=1e-12)


def test_components_are_chosen_by_name_id_type_and_label(plant):
    for name in ("a", "b", "c", "d"):
        plant.deliver(hourly(name, "temperature", [1.0]))
    plant.change_component("a", type="pump", labels={"line": "1"})
    plant.change_component("b", type="pump", labels={"line": "2"})
    plant.change_component("c", type="chiller", labels={"line": "2"})

    def chosen(components):
        _, table = plant.answer(components=components, kpis=("count",))
        return table["component"].to_pylist()

    assert chosen(("d", "b")) == ["b", "d"]
    assert chosen(ComponentFilter(type="pump")) == ["a", "b"]
    assert chosen(ComponentFilter(labels={"line": "2"})) == ["b", "c"]
    assert chosen(ComponentFilter(type="pump", labels={"line": "2"})) == ["b"]
    assert chosen(ComponentFilter(type="robot")) == []
    assert chosen("all") == ["a", "b", "c", "d"]


def test_a_component_that_was_retired_counts_until_then(plant):
    plant.deliver(hourly("pump-1", "temperature", range(24 * 10)))
    plant.change_component("pump-1", retired_at=T0 + timedelta(days=4))
    _, table = plant.answer(kpis=("count", "coverage"), bucket="day")
    counts = [row for row in table.to_pylist() if row["kpi"] == "count"]
    assert [row["value"] for row in counts[:6]] == [24, 24, 24, 24, None, None]
    assert counts[5]["reason"] == "the component was not in service in the period"
    _, table = plant.answer("2026-04", kpis=("count",))
    assert table.num_rows == 0
    _, table = plant.answer("2026-04", kpis=("count",), components=("pump-1",))
    assert table["status"].to_pylist() == ["no_data"]


def test_metrics_that_are_named_are_not_made_up_for_components_that_measure_others(plant):
    plant.deliver(hourly("pump-1", "temperature", [1.0]) + hourly("pump-2", "pressure", [1.0]))
    plant.registry.register("default", ["pump-3"], [])

    def series(**question):
        _, table = plant.answer(metrics=("pressure",), kpis=("count",), **question)
        return list(zip(table["component"].to_pylist(), table["value"].to_pylist(), strict=True))

    assert series() == [("pump-2", 1), ("pump-3", 0)]
    assert series(components=("pump-1", "pump-2")) == [("pump-1", 0), ("pump-2", 1)]


def test_the_default_kpis_fit_the_kind_of_each_metric(plant):
    rows = [
        row
        for metric in ("temperature", "parts_total", "count", "running")
        for row in hourly("press", metric, [1, 1, 2, 3] if metric != "running" else [1, 0, 1, 1])
    ]
    plant.deliver(rows)
    with plant.database.transaction() as session:
        for metric, kind in (("parts_total", "counter"), ("count", "delta"), ("running", "state")):
            session.execute(update(Metric).where(Metric.name == metric).values(kind=kind, unit="1"))
    report, table = plant.answer()
    kpis = {}
    for row in table.to_pylist():
        kpis.setdefault(row["metric"], []).append(row["kpi"])
    assert kpis == {
        "temperature": report.kpis["gauge"],
        "parts_total": report.kpis["counter"],
        "count": report.kpis["delta"],
        "running": report.kpis["state"],
    }
    assert cells(table, "metric", "kpi")["parts_total", "counter_increase"] == 2
    assert cells(table, "metric", "kpi")["count", "total"] == 7


def test_a_kpi_is_computed_for_the_metrics_that_can_have_it(plant):
    plant.deliver(hourly("press", "temperature", [1, 2]) + hourly("press", "running", [1, 1]))
    with plant.database.transaction() as session:
        session.execute(update(Metric).where(Metric.name == "running").values(kind="state"))
    _, table = plant.answer(kpis=("availability", "mean"))
    assert list(cells(table, "metric", "kpi")) == [
        ("running", "availability"),
        ("running", "mean"),
        ("temperature", "mean"),
    ]


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "error", "words"),
    [
        ({"kpis": ("mean", "mtbf9")}, Refused, "mtbf9"),
        ({"kpis": ()}, Refused, "at least one"),
        ({"kpis": ("availability",)}, Refused, "state"),
        ({"period": "last_fortnight"}, PeriodRefused, "last_fortnight"),
        ({"timezone": "Mars/Olympus"}, PeriodRefused, "Mars/Olympus"),
        ({"bucket": "PT0S"}, PeriodRefused, "PT0S"),
        ({"period": PeriodBounds(start="2026-03-02", end="2026-03-01")}, PeriodRefused, "before"),
        ({"components": ("pump-1", "pump-7", "pump-8")}, NotFound, "pump-7"),
        ({"metrics": ("pressure",)}, NotFound, "pressure"),
        ({"bucket": "PT30S", "kpis": ("mean",)}, TooLarge, "178,560"),
        ({"bucket": "PT1S"}, (PeriodRefused, TooLarge), "100"),
        ({"bucket": "PT1M"}, TooLarge, "624,960"),
        ({"components": ComponentFilter(labels={"": "x"})}, Refused, "key"),
    ],
)
def test_what_cannot_be_answered_is_refused_before_a_job_exists(plant, question, error, words):
    plant.deliver(hourly("pump-1", "temperature", [1.0]) + hourly("pump-2", "temperature", [1.0]))
    with pytest.raises(error, match=words):
        plant.ask(**question)
    with plant.database.reading() as session:
        assert list_reports(session, plant.manager).total == 0


def test_unknown_kpis_are_named_beside_the_known_ones(plant):
    with pytest.raises(Refused) as refused:
        plant.ask(kpis=("mean", "nonsense"))
    assert refused.value.fields["unknown"] == ["nonsense"]
    assert "time_weighted_mean" in refused.value.fields["known"]


def test_a_key_of_one_component_sees_no_reports(plant):
    report = plant.ask()
    bound = Caller(
        kind="key",
        name="k",
        project="default",
        project_id=plant.manager.project_id,
        scopes=frozenset({Scope.REPORTS_READ}),
        component="pump-1",
    )
    with plant.database.transaction() as session:
        for call in (
            partial(get_report, session, bound, report.id),
            partial(list_reports, session, bound),
            partial(cancel_report, session, bound, report.id),
            partial(request_report, session, plant.lake, bound, ReportRequest(period="2026"), cells_limit=10),
        ):
            with pytest.raises(Forbidden):
                call()


@pytest.mark.parametrize("report_id", ["rep_00000000000000000000", "", "x" * 5000, "\x00", "\ud800"])
def test_a_report_nobody_has_is_not_found(plant, report_id):
    with plant.database.reading() as session, pytest.raises(NotFound):
        get_report(session, plant.manager, report_id)


def test_a_report_of_another_project_is_not_found(plant):
    report = plant.ask()
    stranger = Caller(kind="user", name="x", project="other", project_id="prj_other", scopes=plant.manager.scopes)
    with plant.database.transaction() as session:
        for call in (get_report, cancel_report):
            with pytest.raises(NotFound):
                call(session, stranger, report.id)
        assert list_reports(session, stranger).total == 0


# --- following --------------------------------------------------------------------------------------------------------


def test_reports_are_listed_newest_first_in_pages(plant):
    asked = [plant.ask(kpis=("count",)).id for _ in range(5)]
    with plant.database.reading() as session:
        first = list_reports(session, plant.manager, limit=3)
        second = list_reports(session, plant.manager, limit=3, cursor=first.next_cursor)
    listed = [one.id for one in first.items + second.items]
    assert sorted(listed) == sorted(asked)
    assert [one.created_at for one in first.items] == sorted((one.created_at for one in first.items), reverse=True)
    assert (first.total, second.next_cursor) == (5, None)


def test_a_waiting_report_is_cancelled_at_once_and_has_no_result(plant):
    report = plant.ask()
    with plant.database.transaction() as session:
        assert cancel_report(session, plant.manager, report.id).status == "cancelled"
    with plant.database.transaction() as session:
        assert cancel_report(session, plant.manager, report.id).status == "cancelled"
    with pytest.raises(AlreadyExists, match="cancelled"):
        read_result(plant.layout, plant.see(report))


def test_a_running_report_stops_between_portions(plant):
    for name in ("a", "b", "c"):
        plant.deliver(hourly(name, "temperature", range(100)))
    report = plant.ask()
    plant.lake.flush()
    began, go_on = threading.Event(), threading.Event()
    spoken = []

    def slow(job, control):
        def tell(progress):
            spoken.append(progress.doing)
            if progress.doing.startswith("computing a"):
                began.set()
                go_on.wait(30)
            Control.tell(control, progress)

        control.tell = tell
        run_report(job, control, worker=plant.worker())

    plant.limits = type(plant.limits)(rows=10, cells=10)
    with plant.working(slow):
        assert began.wait(30)
        with plant.database.transaction() as session:
            cancel_report(session, plant.manager, report.id)
        go_on.set()
        report = plant.follow(report)
    assert report.status == "cancelled"
    assert not any(doing.startswith("computing b") for doing in spoken)
    assert not (plant.layout.reports_dir / report.id).exists()


def test_a_report_that_is_done_cannot_be_cancelled(plant):
    report, _ = plant.answer()
    with plant.database.transaction() as session, pytest.raises(AlreadyExists, match="done"):
        cancel_report(session, plant.manager, report.id)


def test_a_report_waits_for_the_lake_and_says_so(plant):
    plant.deliver(hourly("pump-1", "temperature", [1.0]))
    report = plant.ask()
    with plant.working():
        pause = threading.Event()
        while plant.see(report).doing != "waiting for the lake":
            pause.wait(0.02)
        assert plant.see(report).status == "running"
        plant.lake.flush()
        assert plant.follow(report).status == "done"


def test_a_lake_that_never_commits_fails_the_report_with_a_reason(plant):
    plant.deliver(hourly("pump-1", "temperature", [1.0]))
    plant.lake.request_flush = lambda: None
    plant.wait_s = 0.05
    report = plant.ask()
    with plant.database.transaction() as session:
        session.execute(update(Job).values(attempts_limit=1))
    plant.lake._stopping.set()  # the owner seals no more
    with plant.working():
        report = plant.follow(report)
    assert report.status == "failed"
    assert "is the service running?" in report.reason
    with pytest.raises(AlreadyExists, match="failed: the lake did not commit"):
        read_result(plant.layout, report)


def test_a_defect_fails_the_report_without_a_path_or_a_traceback(plant):
    report = plant.ask()
    with plant.database.transaction() as session:
        session.execute(update(Job).values(attempts_limit=1))
        session.execute(update(ReportRevision).values(pin={"format": 99, "/secret/path": 1}))

    with plant.working():
        pause = threading.Event()
        for _ in range(1000):
            with plant.database.reading() as session:
                job = session.get(Job, session.get(ReportRevision, (report.id, 1)).job_id)
                if job.status == "failed":
                    break
            pause.wait(0.02)
    assert job.status == "failed"
    assert "/" not in job.reason
    assert "Traceback" not in job.reason


# --- finishing --------------------------------------------------------------------------------------------------------


def claimed(plant, worker):
    job = claim(plant.database, worker=worker, kinds=[JOB_KIND], lease_s=0.01)
    assert job is not None
    return job


def test_a_worker_that_lost_its_job_stores_nothing(plant):
    plant.deliver(hourly("pump-1", "temperature", [1.0, 5.0]))
    report = plant.ask()
    plant.lake.flush()
    slow = claimed(plant, "slow")
    threading.Event().wait(0.05)  # its lease runs out
    fast = claimed(plant, "fast")
    control = Control(lambda _progress: None)
    with pytest.raises(JobLost):
        run_report(slow, control, worker=plant.worker())
    folder = plant.layout.reports_dir / report.id
    assert list(folder.iterdir()) == []
    assert plant.see(report).digest is None
    run_report(fast, control, worker=plant.worker())
    assert [path.name for path in folder.iterdir()] == ["r1.parquet"]
    assert plant.see(report).status == "done"


def test_a_run_that_died_before_finishing_leaves_no_result_and_the_next_one_cleans_up(plant, monkeypatch):
    plant.deliver(hourly("pump-1", "temperature", [1.0, 5.0]))
    report = plant.ask()
    plant.lake.flush()
    folder = plant.layout.reports_dir / report.id
    folder.mkdir(parents=True)
    (folder / "r1.parquet.0.tmp").write_bytes(b"half a file of a run that was killed")
    with plant.working():
        report = plant.follow(report)
    assert report.status == "done"
    assert [path.name for path in folder.iterdir()] == ["r1.parquet"]


def test_a_failed_commit_can_be_run_again_with_the_same_digest(plant, monkeypatch):
    plant.deliver(hourly("pump-1", "temperature", [1.0, 5.0]))
    report = plant.ask()
    plant.lake.flush()
    job = claimed(plant, "first")
    control = Control(lambda _progress: None)

    def broken(*_):
        raise Unavailable("the database is gone")

    with monkeypatch.context() as patched:
        patched.setattr("gaugehouse.reports.run.publish_result", broken)
        with pytest.raises(Unavailable):
            run_report(job, control, worker=plant.worker())
    assert plant.see(report).status == "running"
    assert plant.see(report).digest is None
    run_report(job, control, worker=plant.worker())
    assert plant.see(report).status == "done"


def test_a_damaged_result_is_not_shown(plant):
    report, _ = plant.answer(components="all")
    path = plant.layout.reports_dir / report.id / "r1.parquet"
    content = bytearray(path.read_bytes())
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(Unavailable) as refused:
        read_result(plant.layout, report)
    assert "/" not in refused.value.message


def test_the_pin_is_stored_with_everything_the_numbers_depend_on(plant):
    plant.deliver(hourly("pump-1", "temperature", [1.0]))
    report = plant.ask(bucket="week", timezone="Europe/Berlin")
    with plant.database.reading() as session:
        pin = session.get(ReportRevision, (report.id, 1)).pin
    assert json.dumps(pin)
    assert pin["as_of_us"] is not None
    assert pin["attributes"][0]["kind"] == "gauge"
    assert all(pin[f"{name}_version"] for name in ("catalogue", "tzdata", "code"))
    assert report.id not in json.dumps(pin)


# --- what retention dropped --------------------------------------------------------------------------------------------


def test_a_period_that_begins_before_what_is_left_is_refused_with_the_day_it_went(plant):
    plant.deliver(hourly("pump-1", "temperature", range(24)))
    plant.lake.flush()
    plant.lake.retain("default", "measurements", datetime(2026, 4, 1, tzinfo=UTC))
    with pytest.raises(Refused, match="gone since") as refused:
        plant.ask(kpis=("mean",))
    assert refused.value.code == "dropped_by_retention"
    assert refused.value.fields["before"] == "2026-04-01T00:00:00+00:00"


def test_a_report_whose_rows_go_before_it_runs_fails_and_says_why(plant):
    plant.deliver(hourly("pump-1", "temperature", range(24)))
    asked = plant.ask(kpis=("mean",))
    plant.lake.flush()
    plant.lake.retain("default", "measurements", datetime(2026, 4, 1, tzinfo=UTC))
    with plant.working():
        report = plant.follow(asked)
    assert report.status == "failed"
    assert "gone since" in report.reason


def test_rows_that_go_while_a_report_waits_for_the_lake_are_noticed(plant, monkeypatch):
    plant.deliver(hourly("pump-1", "temperature", range(24)))
    asked = plant.ask(kpis=("mean",))
    plant.lake.flush()

    def drop_and_open(lake_dir, *, as_of, memory_bytes):
        plant.lake.retain("default", "measurements", datetime(2026, 4, 1, tzinfo=UTC))
        return open_snapshot(lake_dir, as_of=as_of, memory_bytes=memory_bytes)

    monkeypatch.setattr("gaugehouse.reports.run.open_snapshot", drop_and_open)
    with plant.working():
        report = plant.follow(asked)
    assert report.status == "failed"
    assert "gone since" in report.reason


def test_what_is_gone_before_a_period_cuts_its_look_back_and_no_report(plant):
    before = datetime(2026, 2, 27, tzinfo=UTC)
    plant.deliver([("pump-1", "parts", before + timedelta(hours=12 * i), 20.0 + i) for i in range(60)])
    with plant.database.transaction() as session:
        update_metric(session, plant.manager.project_id, "parts", {"kind": "counter"})
    whole, table = plant.answer("2026-03-01", kpis=("counter_increase",), components=("pump-1",))
    assert table["value"].to_pylist() == [2.0]
    plant.lake.retain("default", "measurements", datetime(2026, 3, 1, tzinfo=UTC))
    report, table = plant.answer("2026-03-01", kpis=("counter_increase",), components=("pump-1",))
    assert table["value"].to_pylist() == [1.0]  # the step into the period is gone with what was before it
    with plant.database.reading() as session:
        pins = [get_pin(session, plant.manager, one.id) for one in (whole, report)]
    assert [pin.rows_from for pin in pins] == [None, datetime(2026, 3, 1, tzinfo=UTC)]
    gone = plant.lake.gone("default", "measurements")
    refuse_gone_of(gone, pins[1])
    with pytest.raises(Refused, match="gone since"):
        refuse_gone_of(gone, pins[0])  # the same numbers cannot be had any more


def test_a_report_that_needs_little_of_the_time_before_its_period_can_be_recomputed_when_older_rows_went(plant):
    plant.deliver([("pump-1", "temperature", datetime(2026, 2, 27 + i, tzinfo=UTC), 20.0) for i in range(2)])
    plant.deliver(hourly("pump-1", "temperature", range(24)))
    with plant.database.transaction() as session:
        session.execute(update(Metric).values(nominal_interval_s=3600.0))
    plant.lake.flush()
    asked = [plant.ask(day, kpis=("mean",)) for day in ("2026-03-01", "2026-03-02")]
    plant.lake.retain("default", "measurements", datetime(2026, 3, 1, tzinfo=UTC))
    gone = plant.lake.gone("default", "measurements")
    with plant.database.reading() as session:
        first, second = (get_pin(session, plant.manager, one.id) for one in asked)
    with pytest.raises(Refused, match="gone since"):
        refuse_gone_of(gone, first)
    refuse_gone_of(gone, second)
