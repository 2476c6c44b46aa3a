"""What a plant plans, in the pin of a report and in its buckets."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from gaugehouse.database.tables import ReportRevision
from gaugehouse.errors import PeriodRefused
from gaugehouse.inventory import (
    NewExclusion,
    add_exclusion,
    put_shift_calendar,
    update_component,
    update_metric,
    withdraw_exclusion,
)
from gaugehouse.measurements.shift_calendar import read_shift_calendar
from gaugehouse.measurements.shifts import ShiftBucket
from gaugehouse.reports import decode_pin, make_pin
from gaugehouse.reports.request import ReportRequest

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
SHIFTS = [
    {"name": "day", "start": "08:00", "duration": "PT8H", "days": ["mon", "tue"]},
    {"name": "night", "start": "22:00", "duration": "PT8H", "days": ["mon"]},
]


def set_calendar(plant, shifts=SHIFTS):
    calendar = read_shift_calendar({"timezone": "UTC", "shifts": shifts})
    with plant.database.transaction() as session:
        return put_shift_calendar(session, plant.manager.project_id, calendar, author="max")


def exclude(plant, components, start, end):
    new = NewExclusion(kind="calibration", components=components, start=start, end=end, reason="new gauge")
    with plant.database.transaction() as session:
        return add_exclusion(session, plant.manager.project_id, new, author="max")


def pin_of(plant, report):
    with plant.database.reading() as session:
        return decode_pin(session.scalars(select(ReportRevision).filter_by(report_id=report.id)).one().pin)


@pytest.fixture
def week(plant):
    """A value each hour of a week: the number of the hour."""
    for name in ("press-1", "press-2"):
        plant.deliver([(name, "load", MONDAY + n * HOUR, float(n)) for n in range(168)])
    return plant


def test_a_report_by_shift_has_rows_for_shifts_only(week):
    set_calendar(week)
    report, table = week.answer("2026-W10", components=("press-1",), kpis=("count", "mean"), bucket="shift")
    rows = [
        (row["bucket_start"], row["bucket_end"], row["value"]) for row in table.to_pylist() if row["kpi"] == "count"
    ]
    assert rows == [
        (MONDAY + 8 * HOUR, MONDAY + 16 * HOUR, 8),
        (MONDAY + 22 * HOUR, MONDAY + 30 * HOUR, 8),
        (MONDAY + 32 * HOUR, MONDAY + 40 * HOUR, 8),
    ]
    assert [row["value"] for row in table.to_pylist() if row["kpi"] == "mean"] == [11.5, 25.5, 35.5]
    shifts = [one for one in pin_of(week, report).shifts if one is not None]
    assert shifts == [
        ShiftBucket(name="day", day=MONDAY.date()),
        ShiftBucket(name="night", day=MONDAY.date()),
        ShiftBucket(name="day", day=MONDAY.date() + timedelta(days=1)),
    ]


def test_a_pin_keeps_the_calendar_that_the_project_had(week):
    before = week.ask("2026-W10")
    assert pin_of(week, before).shift_calendar is None
    stored = set_calendar(week)
    report = week.ask("2026-W10")
    set_calendar(week, SHIFTS[:1])
    pinned = pin_of(week, report).shift_calendar
    assert (pinned.version, len(pinned.calendar.shifts)) == (stored.version, 2)
    assert pin_of(week, report).shifts == ()


def test_shifts_without_a_calendar_are_refused(week):
    with pytest.raises(PeriodRefused) as refusal:
        week.ask("2026-W10", bucket="shift")
    assert refusal.value.code == "shift_calendar_missing"


def test_a_pin_keeps_the_windows_of_its_components_whoever_withdraws_them(week):
    mine = exclude(week, ("press-1", "press-2"), MONDAY - HOUR, MONDAY + HOUR)
    exclude(week, ("press-2",), MONDAY, MONDAY + HOUR)
    before = exclude(week, None, MONDAY - 9 * HOUR, MONDAY)  # what was measured in it does not hold into the week
    exclude(week, None, MONDAY + 168 * HOUR, MONDAY + 169 * HOUR)
    report = week.ask("2026-W10", components=("press-1",))
    with week.database.transaction() as session:
        withdraw_exclusion(session, week.manager.project_id, mine.id, author="anna")
    first, pinned = pin_of(week, report).exclusions
    assert first.id == before.id
    assert (pinned.id, pinned.components, pinned.reason, pinned.author) == (mine.id, ("press-1",), "new gauge", "max")
    assert (pinned.start, pinned.end) == (MONDAY - HOUR, MONDAY + HOUR)
    assert [one.id for one in pin_of(week, week.ask("2026-W10", components=("press-1",))).exclusions] == [before.id]


def test_a_pin_names_what_keeps_its_series_alive(week):
    with week.database.transaction() as session:
        update_metric(session, week.manager.project_id, "load", {"alive_metric": "beat"}, component="press-1")
    pin = pin_of(week, week.ask("2026-W10"))
    assert [(one.component, one.metric) for one in pin.series] == [("press-1", "load"), ("press-2", "load")]
    assert [(one.component, one.metric) for one in pin.supporting] == [("press-1", "beat")]
    assert pin.series[0].attributes.alive_metric == "beat"


def test_a_pin_names_what_oee_is_computed_from_and_reads_it_only_for_oee(week):
    week.deliver([("press-1", name, MONDAY, 1.0) for name in ("running", "parts", "good")])
    oee = {"state_metric": "running", "parts_metric": "parts", "good_metric": "good", "ideal_cycle_time_s": 12}
    with week.database.transaction() as session:
        update_metric(session, week.manager.project_id, "running", {"kind": "state"})
        update_metric(session, week.manager.project_id, "parts", {"kind": "counter"})
        update_component(session, week.manager.project_id, "press-1", attributes={"state_metric": "other"}, oee=oee)
    pin = pin_of(week, week.ask("2026-W10", metrics=("running",), kpis=("availability",)))
    assert (pin.supporting, [dict(one.attributes) for one in pin.components]) == ((), [{}])
    pin = pin_of(week, week.ask("2026-W10", metrics=("running",), kpis=("oee",)))
    assert dict(pin.components[0].attributes) == oee
    assert [one.metric for one in pin.supporting] == ["good", "parts"]


def test_a_question_makes_the_same_pin_when_nothing_changed(week):
    set_calendar(week)
    exclude(week, None, MONDAY, MONDAY + HOUR)
    asked = {"project": "default", "project_id": week.manager.project_id, "cells_limit": 10_000, "asked_at": MONDAY}
    body = ReportRequest(period="2026-W10", bucket="shift")
    with week.database.reading() as session:
        first, second = (make_pin(session, week.lake, body=body, **asked) for _ in range(2))
    assert first.exclusions == second.exclusions
    assert first.shifts == second.shifts
    assert first.shift_calendar == second.shift_calendar
