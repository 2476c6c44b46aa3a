"""What counts: exclusions, signs of life, shifts and subgroups in the numbers of a report, worked out by hand."""

from datetime import UTC, datetime, timedelta

import pytest

from gaugehouse.inventory import NewExclusion, add_exclusion, put_shift_calendar, update_component, update_metric
from gaugehouse.measurements.shift_calendar import read_shift_calendar

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def answer(plant, *kpis, metric, period="2026-03-02"):
    """Return {kpi: row} of press-1; `metric` is one name or several."""
    metrics = (metric,) if isinstance(metric, str) else metric
    _report, table = plant.answer(period, components=("press-1",), metrics=metrics, kpis=kpis)
    return {row["kpi"]: row for row in table.to_pylist()}


def exclude(plant, start, end, components=("press-1",)):
    new = NewExclusion(kind="maintenance", components=components, start=start, end=end, reason="new belt")
    with plant.database.transaction() as session:
        add_exclusion(session, plant.manager.project_id, new, author="max")


def describe(plant, metric, **attributes):
    with plant.database.transaction() as session:
        update_metric(session, plant.manager.project_id, metric, attributes)


@pytest.fixture
def day(plant):
    """A load each hour of a Monday: the number of the hour."""
    plant.deliver([("press-1", "load", MONDAY + n * HOUR, float(n)) for n in range(24)])
    describe(plant, "load", nominal_interval_s=3600.0, max_hold_s=3600.0)
    return plant


def test_excluded_time_counts_neither_above_nor_below_the_line(day):
    exclude(day, MONDAY + 2 * HOUR, MONDAY + 12 * HOUR)
    rows = answer(day, "count", "mean", "time_weighted_mean", "coverage", "completeness", metric="load")
    hours = [0, 1, *range(12, 24)]
    assert rows["count"]["value"] == 14
    assert rows["mean"]["value"] == pytest.approx(sum(hours) / 14)
    assert rows["time_weighted_mean"]["value"] == pytest.approx(sum(hours) / 14)
    assert (rows["coverage"]["value"], rows["completeness"]["value"]) == (100, 100)


def test_a_value_from_a_calibration_before_the_period_holds_into_it_not(day):
    describe(day, "load", max_hold_s=7200.0)
    day.deliver([("press-1", "load", MONDAY - MINUTE, 1000.0), ("press-2", "load", MONDAY, 1.0)])
    day.deliver([("press-1", "load", MONDAY + 24 * HOUR + 30 * MINUTE, 9.0)])
    before = answer(day, "coverage", "max", metric="load", period="2026-03-03")
    assert before["coverage"]["value"] == pytest.approx(100 * (0.5 + 2) / 24)  # 30 minutes of Monday's last, 2 hours
    exclude(day, MONDAY + 23 * HOUR, MONDAY + 24 * HOUR)
    after = answer(day, "coverage", "max", metric="load", period="2026-03-03")
    assert after["coverage"]["value"] == pytest.approx(100 * 2 / 24)


def test_the_exclusions_of_others_change_nothing(day):
    day.deliver([("press-2", "load", MONDAY, 1.0)])
    exclude(day, MONDAY, MONDAY + 12 * HOUR, components=("press-2",))
    assert answer(day, "count", metric="load")["count"]["value"] == 24


def test_what_reports_on_change_holds_while_its_device_is_alive(plant):
    plant.deliver([("press-1", "mode", MONDAY - 3 * HOUR, 1.0), ("press-1", "mode", MONDAY + 20 * HOUR, 0.0)])
    # A beat each minute from midnight to 06:00, and from 18:00 to midnight.
    beats = [*range(6 * 60), *range(18 * 60, 24 * 60)]
    plant.deliver([("press-1", "beat", MONDAY + n * MINUTE, 1.0) for n in beats])
    describe(plant, "mode", kind="state", alive_metric="beat")
    describe(plant, "beat", nominal_interval_s=60.0, max_hold_s=60.0)
    rows = answer(plant, "uptime", "downtime", "unknown_time", "coverage", metric="mode")
    hours = {name: rows[name]["value"] / 3600 for name in ("uptime", "downtime", "unknown_time")}
    assert hours == {"uptime": 6 + 2, "downtime": 4, "unknown_time": 12}
    assert rows["coverage"]["value"] == 50


def test_without_any_sign_of_life_no_value_holds(plant):
    plant.deliver([("press-1", "mode", MONDAY, 1.0)])
    describe(plant, "mode", kind="state", alive_metric="beat")
    row = answer(plant, "availability", metric="mode")["availability"]
    assert (row["value"], row["coverage"]) == (None, 0)


@pytest.fixture
def line(plant):
    """A press that is up 08:00-12:00, down to 13:00, up to 16:00, idle to midnight; 60 parts an hour while it is up.

    One part in ten is scrap. Between 10:00 and 11:00 nobody knows its state, though it goes on to make parts. It is up
    once more from 20:00 to 21:00, outside of its shift.
    """
    states = {8: 1, 10: None, 11: 1, 12: 0, 13: 1, 16: 2, 20: 1, 21: 2}
    state, modes, parts, made = None, [], [], 0
    for minute in range(24 * 60):
        state = states.get(minute // 60, state) if minute % 60 == 0 else state
        if state is not None and minute >= 8 * 60 and not 10 * 60 <= minute < 11 * 60:
            modes.append(("press-1", "mode", MONDAY + minute * MINUTE, float(state)))
        is_made = state == 1 or 10 * 60 <= minute < 11 * 60
        made += is_made
        parts.append(("press-1", "parts", MONDAY + minute * MINUTE + timedelta(seconds=59), float(made)))
        parts.append(("press-1", "scrap", MONDAY + minute * MINUTE + timedelta(seconds=59), float(made // 10)))
    plant.deliver(modes)
    plant.deliver(parts)
    describe(plant, "mode", kind="state", state_classes={"1": "up", "0": "down", "2": "idle"}, max_hold_s=60.0)
    describe(plant, "parts", kind="counter")
    describe(plant, "scrap", kind="counter")
    oee = {"state_metric": "mode", "parts_metric": "parts", "scrap_metric": "scrap", "ideal_cycle_time_s": 45.0}
    with plant.database.transaction() as session:
        update_component(session, plant.manager.project_id, "press-1", oee=oee)
    return plant


OF_OEE = ("mode", "parts")
FACTORS = ("oee_availability", "oee_effectiveness", "oee_quality", "oee")


def test_oee_without_a_shift_calendar_is_about_all_known_time(line):
    rows = answer(line, *FACTORS, metric=OF_OEE)
    up_h, busy_h = 2 + 1 + 3 + 1, 2 + 1 + 1 + 3 + 8
    parts = 60 * up_h
    assert rows["oee_availability"]["value"] == pytest.approx(100 * up_h / busy_h)
    assert rows["oee_effectiveness"]["value"] == pytest.approx(100 * parts * 45 / (3600 * up_h))
    assert rows["oee_quality"]["value"] == pytest.approx(90, abs=0.3)  # whole scrap counts
    assert rows["oee"]["value"] == pytest.approx(100 * up_h / busy_h * 0.75 * 0.9, rel=0.004)
    assert rows["oee"]["coverage"] == pytest.approx(15 / 24)


def test_oee_is_about_the_shifts_and_what_is_known_of_them(line):
    shifts = [{"name": "day", "start": "08:00", "duration": "PT9H", "days": ["mon"]}]
    with line.database.transaction() as session:
        calendar = read_shift_calendar({"timezone": "UTC", "shifts": shifts})
        put_shift_calendar(session, line.manager.project_id, calendar, author="max")
    rows = answer(line, *FACTORS, "availability", "uptime", metric=OF_OEE)
    up_h, busy_h = 2 + 1 + 3, 2 + 1 + 1 + 3 + 1
    assert rows["oee_availability"]["value"] == pytest.approx(100 * up_h / busy_h)
    assert rows["oee_effectiveness"]["value"] == pytest.approx(75)
    assert rows["oee"]["value"] == pytest.approx(100 * up_h / busy_h * 0.75 * 0.9, rel=0.004)
    assert rows["oee"]["coverage"] == pytest.approx(8 / 9)
    # The same metric beside it, by the clock: 7 of 15 known hours are up.
    assert rows["uptime"]["value"] == 7 * 3600
    assert rows["availability"]["value"] == pytest.approx(100 * 7 / 8)


def test_oee_is_about_the_time_that_its_machine_was_alive(line):
    """The beat says the same as the rows of the state do: nobody knows 10:00 to 11:00."""
    alive = [n for n in range(8 * 60, 24 * 60) if not 10 * 60 <= n < 11 * 60]
    line.deliver([("press-1", "beat", MONDAY + n * MINUTE, 1.0) for n in alive])
    before = answer(line, *FACTORS, metric=OF_OEE)
    describe(line, "mode", alive_metric="beat")
    describe(line, "beat", nominal_interval_s=60.0, max_hold_s=60.0)
    after = answer(line, *FACTORS, metric=OF_OEE)
    assert {name: row["value"] for name, row in after.items()} == {
        name: pytest.approx(row["value"]) for name, row in before.items()
    }


def test_oee_leaves_out_what_is_excluded(line):
    exclude(line, MONDAY + 12 * HOUR, MONDAY + 13 * HOUR)  # the breakdown was a planned change of the belt
    rows = answer(line, *FACTORS, metric=OF_OEE)
    assert rows["oee_availability"]["value"] == pytest.approx(100 * 7 / 14)
    assert rows["oee_effectiveness"]["value"] == pytest.approx(75)


def test_subgroups_of_a_metric_are_those_of_its_capability(day):
    describe(day, "load", usl=30.0, lsl=-10.0, subgroup="2")
    pairs = answer(day, "std_within", metric="load")["std_within"]["value"]
    assert pairs == pytest.approx(0.5**0.5)  # (0, 1), (2, 3), ...: variance 1/2 each
    describe(day, "load", subgroup="PT4H")
    assert answer(day, "std_within", metric="load")["std_within"]["value"] == pytest.approx((5 / 3) ** 0.5)


def test_late_measurements_are_counted_by_the_bound_of_their_metric(day):
    assert answer(day, "late", metric="load")["late"]["reason"] == "lateness_s of the metric is not set"
    describe(day, "load", lateness_s=3600.0)  # the rows of March arrived when this test ran
    assert answer(day, "late", metric="load")["late"]["value"] == 24
    exclude(day, MONDAY, MONDAY + 4 * HOUR)
    assert answer(day, "late", metric="load")["late"]["value"] == 20
    describe(day, "load", lateness_s=1e10)
    assert answer(day, "late", metric="load")["late"]["value"] == 0
