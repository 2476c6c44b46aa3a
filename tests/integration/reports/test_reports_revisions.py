"""A report is evidence: it says when it is stale, is issued again with reasons, and recomputes to the same digits."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from gaugehouse.database.tables import Metric
from gaugehouse.errors import AlreadyExists, NotFound
from gaugehouse.inventory import NewExclusion, add_exclusion, update_component, update_metric
from gaugehouse.lake import open_snapshot
from gaugehouse.reports import (
    Answer,
    Verdict,
    compare_revisions,
    find_newest_done,
    find_staleness,
    get_pin,
    get_report,
    list_revisions,
    read_answer,
    reissue_report,
    verify_revision,
)
from gaugehouse.reports.ask import find_versions_of_now
from gaugehouse.reports.causes import find_other_versions

T0 = datetime(2026, 3, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
KPIS = ("mean", "count", "time_weighted_mean")


def hourly(metric, values, start=T0, component="pump-1"):
    return [(component, metric, start + i * HOUR, float(value)) for i, value in enumerate(values)]


def staleness(plant, report):
    with plant.database.reading() as session:
        pin = get_pin(session, plant.manager, report.id, report.revision)
        return find_staleness(session, plant.lake.pin(), pin, plant.manager.project_id)


def reissue(plant, report, because="late rows"):
    again = reissue_report(plant.database, plant.lake, plant.manager, report.id, because=because, cells_limit=100_000)
    plant.lake.flush()
    with plant.working():
        return plant.follow(again)


def changes(plant, report):
    with plant.database.reading() as session:
        pins = [get_pin(session, plant.manager, report.id, revision) for revision in (1, 2)]
        views = [get_report(session, plant.manager, report.id, revision) for revision in (1, 2)]
    results = [read_answer(plant.layout, view) for view in views]
    return compare_revisions(plant.lake.pin(), (pins[0], results[0]), (pins[1], results[1])).to_pylist()


def verify(plant, report, **more):
    with plant.database.reading() as session:
        pin = get_pin(session, plant.manager, report.id, report.revision)
    snapshot = open_snapshot(plant.layout.lake_dir, as_of=pin.as_of)
    told = {"digest": report.digest, "stored": read_answer(plant.layout, report), "gone": None} | more
    return verify_revision(snapshot, pin, **told)


def test_a_report_is_stale_once_rows_come_that_its_numbers_would_look_at(plant):
    plant.deliver(hourly("flow", range(24)))
    report, _ = plant.answer(kpis=KPIS)
    assert not staleness(plant, report).is_stale
    plant.deliver(hourly("flow", range(24), start=T0 + timedelta(days=90)))  # behind all that it looks at
    plant.deliver(hourly("flow", range(24), component="pump-2"))  # of a component that it is not about
    assert not staleness(plant, report).is_stale
    plant.deliver(hourly("flow", [5.0, 6.0], start=T0 + HOUR / 2))
    found = staleness(plant, report)
    assert (found.late_rows, found.late_series) == (2, 1)
    assert (found.late_from, found.late_to) == (T0 + HOUR / 2, T0 + 1.5 * HOUR)


def test_that_measuring_goes_on_makes_no_report_stale(plant):
    """A counter's last step is judged by the two points behind it, a line leads to the next; no row after them counts."""
    plant.deliver(hourly("flow", range(24)) + hourly("parts", range(24)) + hourly("mode", [1.0] * 24))
    with plant.database.transaction() as session:
        update_metric(session, plant.manager.project_id, "parts", {"kind": "counter"})
        update_metric(session, plant.manager.project_id, "mode", {"kind": "state"})
    asked = ("mean", "time_weighted_mean_linear", "counter_increase", "availability")
    report, _ = plant.answer("2026-03-01", kpis=asked)
    end = T0 + 24 * HOUR
    next_rows = [one for metric in ("flow", "parts", "mode") for one in hourly(metric, range(24, 27), start=end)]
    plant.deliver(next_rows)
    found = staleness(plant, report)
    assert (found.late_rows, found.late_series) == (1 + 2 + 1, 3)  # the next of flow and mode, the next two of parts
    assert found.late_to == end + HOUR
    again = reissue(plant, report)
    assert not staleness(plant, again).is_stale
    for day in range(1, 9):
        plant.deliver(
            [one for metric in ("flow", "parts", "mode") for one in hourly(metric, range(24), end + day * DAY)]
        )
    assert not staleness(plant, again).is_stale
    plant.deliver(hourly("parts", [24.0], start=end + HOUR / 2))  # between the points that it was judged by
    assert staleness(plant, again).late_rows == 1


def test_rows_after_the_moment_of_a_running_period_make_nothing_stale(plant):
    now = datetime.now(UTC)
    plant.deliver([("pump-1", "flow", now - timedelta(minutes=n), float(n)) for n in range(1, 30)])
    report, _ = plant.answer(f"{now:%Y-%m}", kpis=("mean",))
    later = report.asked_at + timedelta(seconds=1)
    plant.deliver([("pump-1", "flow", later, 5.0)])
    assert not staleness(plant, report).is_stale


def stale_by(plant, report):
    found = staleness(plant, report)
    return found.changed_attributes, found.changed_rules


def test_a_report_is_stale_once_what_its_numbers_rest_on_is_changed(plant):
    plant.deliver(hourly("flow", range(24)))
    report, _ = plant.answer("2026-03-01", kpis=("mean",))
    assert stale_by(plant, report) == ((), ())
    project = plant.manager.project_id
    new = NewExclusion(kind="calibration", components=("pump-1",), start=T0, end=T0 + HOUR, reason="new gauge")
    with plant.database.transaction() as session:
        update_component(session, project, "pump-1", labels={"line": "A"}, commissioned_at=T0 - DAY)
    assert stale_by(plant, report) == ((), ())  # nothing groups by it, and no time is cut off
    with plant.database.transaction() as session:
        update_component(session, project, "pump-1", commissioned_at=T0 + HOUR)
        add_exclusion(session, project, new, author="max")
    assert stale_by(plant, report) == (
        ("pump-1: commissioned_at",),
        ("calibration 2026-03-01 00:00 to 2026-03-01 01:00 UTC was added (new gauge)",),
    )
    reissue(plant, report)
    found = changes(plant, report)
    assert [(row["kpi"], row["new_value"]) for row in found] == [("mean", 12.0)]
    assert found[0]["because"] == (
        "commissioned_at changed and calibration 2026-03-01 00:00 to 2026-03-01 01:00 UTC was added (new gauge)"
    )


def test_time_before_a_component_was_in_service_does_not_count(plant):
    half = T0 + 12 * HOUR
    plant.deliver(hourly("flow", range(12), start=half))
    with plant.database.transaction() as session:
        update_metric(session, plant.manager.project_id, "flow", {"nominal_interval_s": 3600.0, "max_hold_s": 3600.0})
    _, before = plant.answer("2026-03-01", kpis=("completeness",))
    with plant.database.transaction() as session:
        update_component(session, plant.manager.project_id, "pump-1", commissioned_at=half)
    report, after = plant.answer("2026-03-01", kpis=("completeness", "coverage"))
    assert before["value"].to_pylist() == [50]
    assert after["value"].to_pylist() == [100, 100]
    with plant.database.transaction() as session:
        view = update_component(session, plant.manager.project_id, "pump-1", commissioned_at=None)
    assert view.commissioned_at is None
    assert verify(plant, report).verdict is Verdict.SAME  # it is in the pin


def test_late_rows_of_the_compared_period_are_seen_and_named(plant):
    plant.deliver(hourly("flow", range(48)))
    report, _ = plant.answer("2026-03-02", kpis=("mean",), compare="previous")
    plant.deliver(hourly("flow", [1000.0], start=T0 + HOUR / 2))
    assert staleness(plant, report).late_rows == 1
    reissue(plant, report)
    (change,) = [row for row in changes(plant, report) if row["table"] == "comparison"]
    assert (change["old_value"], change["because"]) == (11.5, "1 late row")


def test_a_verification_says_by_what_else_a_report_was_computed(plant):
    plant.deliver(hourly("flow", range(24)))
    report, _ = plant.answer(kpis=KPIS)
    assert verify(plant, report).other_versions == ()
    with plant.database.reading() as session:
        pin = replace(get_pin(session, plant.manager, report.id, 1), code_version="0.0.1")
    told = find_other_versions(pin, find_versions_of_now())
    assert [text.split(" then")[0] for text in told] == ["Gaugehouse 0.0.1"]


def test_a_report_is_stale_once_an_attribute_is_changed(plant):
    plant.deliver(hourly("flow", range(24)))
    report, _ = plant.answer(kpis=KPIS)
    with plant.database.transaction() as session:
        session.query(Metric).filter(Metric.name == "flow").update({"unit": "l/s", "usl": 9.0})
    assert staleness(plant, report).changed_attributes == ("pump-1 flow: unit, usl",)


def test_a_revision_says_what_changed_and_why_and_leaves_the_first_as_it_was(plant):
    plant.deliver(hourly("flow", range(48)) + hourly("pressure", range(48)))
    report, first = plant.answer("2026-03-01/2026-03-03", kpis=KPIS, bucket="day")
    plant.deliver(hourly("flow", [1000.0], start=T0 + timedelta(days=1, minutes=30)))
    again = reissue(plant, report)
    assert (again.status, again.revision, again.because) == ("done", 2, "late rows")
    assert again.asked_at == report.asked_at
    found = changes(plant, report)
    assert {(row["metric"], row["kpi"], row["bucket_start"], row["because"]) for row in found} == {
        ("flow", kpi, T0 + timedelta(days=1), "1 late row") for kpi in KPIS
    }
    (count,) = [row for row in found if row["kpi"] == "count"]
    assert (count["old_value"], count["new_value"]) == (24, 25)
    with plant.database.reading() as session:
        assert [view.revision for view in list_revisions(session, plant.manager, report.id)] == [2, 1]
        old = get_report(session, plant.manager, report.id, 1)
    assert read_answer(plant.layout, old).values.equals(first)
    assert not staleness(plant, again).is_stale


def test_a_named_period_is_the_same_days_in_every_revision(plant):
    plant.deliver(hourly("flow", range(24), start=datetime.now(UTC).replace(minute=0, second=0) - timedelta(days=2)))
    report, _ = plant.answer("last_7_days", kpis=KPIS)
    again = reissue(plant, report)
    assert (again.period_start, again.period_end) == (report.period_start, report.period_end)
    assert again.digest == report.digest  # nothing came meanwhile
    assert changes(plant, report) == []


def test_while_a_revision_is_computed_the_one_before_is_answered_and_no_other_is_begun(plant):
    plant.deliver(hourly("flow", range(24)))
    report, _ = plant.answer(kpis=KPIS)
    reissue_report(plant.database, plant.lake, plant.manager, report.id, because="again", cells_limit=1000)
    with plant.database.reading() as session:
        assert find_newest_done(session, plant.manager, report.id).revision == 1
    with pytest.raises(AlreadyExists) as refusal:
        reissue_report(plant.database, plant.lake, plant.manager, report.id, because="again", cells_limit=1000)
    assert refusal.value.code == "report_running"


def test_a_revision_that_was_never_issued_is_not_found(plant):
    plant.deliver(hourly("flow", range(24)))
    report, _ = plant.answer(kpis=KPIS)
    with plant.database.reading() as session, pytest.raises(NotFound) as refusal:
        get_report(session, plant.manager, report.id, 2)
    assert refusal.value.code == "revision_not_found"


def test_a_report_recomputes_to_the_same_digits_after_compaction_and_more_rows(plant):
    for day in range(4):
        plant.deliver(hourly("flow", range(24), start=T0 + timedelta(days=day)))
        plant.lake.flush()
    report, _ = plant.answer(kpis=KPIS)
    plant.deliver(hourly("flow", range(24), start=T0 + timedelta(minutes=7)))
    plant.lake.flush()
    plant.lake.compact()
    found = verify(plant, report)
    assert (found.verdict, found.recomputed_digest) == (Verdict.SAME, report.digest)
    assert found.differences.num_rows == 0


def test_a_changed_result_file_is_told_from_changed_data(plant):
    plant.deliver(hourly("flow", range(24)))
    report, table = plant.answer(kpis=KPIS)
    forged = pl.from_arrow(table).with_columns(value=pl.col("value") + 1).to_arrow().cast(table.schema)
    found = verify(plant, report, stored=Answer(values=forged))
    assert found.verdict is Verdict.DAMAGED
    assert found.differences.num_rows == len(KPIS)
    assert verify(plant, report, digest="0" * 64, stored=Answer(values=table)).verdict is Verdict.DAMAGED


def test_where_retention_dropped_the_rows_the_stored_result_is_what_is_left(plant):
    plant.deliver(hourly("flow", range(24)))
    report, _ = plant.answer(kpis=KPIS)
    plant.lake.retain("default", "measurements", datetime(2026, 4, 1, tzinfo=UTC))
    found = verify(plant, report, gone=plant.lake.gone("default", "measurements"))
    assert found.verdict is Verdict.GONE
    assert found.gone_since is not None
    assert found.recomputed_digest is None
