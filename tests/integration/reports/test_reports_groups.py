"""Components together, values beside those of another period, and the best and the worst: worked out by hand."""

from datetime import UTC, datetime, timedelta

import pytest

from factories import event_batch
from gaugehouse.errors import NotFound, Refused
from gaugehouse.inventory import put_shift_calendar, update_component, update_metric
from gaugehouse.measurements.shift_calendar import read_shift_calendar
from gaugehouse.reports import decode_pin, encode_pin, get_pin, rank_result, read_answer, read_result

MARCH = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def state_rows(component, start, hours):
    """One row an hour; `hours` is a text of u(p) and d(own)."""
    return [(component, "running", start + n * HOUR, float(one == "u")) for n, one in enumerate(hours)]


@pytest.fixture
def lines(plant):
    """Three presses on two lines, up and down for some hours of 2 March; the day before all were up for two hours."""
    names = {"press-1": "A", "press-2": "A", "press-3": "B"}
    second = MARCH + 24 * HOUR
    for name, hours in {"press-1": "uuuuuuud", "press-2": "uddd", "press-3": "uu"}.items():
        plant.deliver(state_rows(name, second, hours))
        plant.deliver(state_rows(name, MARCH, "uu"))
    with plant.database.transaction() as session:
        attributes = {"kind": "state", "max_hold_s": 3600.0, "nominal_interval_s": 3600.0}
        update_metric(session, plant.manager.project_id, "running", attributes)
        for name, line in names.items():
            update_component(session, plant.manager.project_id, name, labels={"line": line})
    return plant


def answer(plant, period="2026-03-02", **more):
    report, _ = plant.answer(period, kpis=("availability", "uptime"), **more)
    return report, read_answer(plant.layout, report)


def test_a_group_is_a_ratio_of_sums(lines):
    _report, found = answer(lines, group_by="label:line")
    values = {(row["group"], row["kpi"]): (row["value"], row["components"]) for row in found.groups.to_pylist()}
    assert values == {
        ("A", "availability"): (pytest.approx(100 * 8 / 12), 2),
        ("A", "uptime"): (8 * 3600, 2),
        ("B", "availability"): (100, 1),
        ("B", "uptime"): (2 * 3600, 1),
    }


def test_groups_by_shift_are_of_shifts_only(lines):
    shifts = [{"name": "early", "start": "00:00", "duration": "PT6H", "days": ["mon"]}]
    with lines.database.transaction() as session:
        calendar = read_shift_calendar({"timezone": "UTC", "shifts": shifts})
        put_shift_calendar(session, lines.manager.project_id, calendar, author="max")
    _report, found = answer(lines, group_by="fleet", bucket="shift")
    second = MARCH + 24 * HOUR
    assert {(row["bucket_start"], row["bucket_end"]) for row in found.groups.to_pylist()} == {
        (second, second + 6 * HOUR)
    }


def test_shifts_of_the_same_name_are_a_group_over_all_components_and_days(lines):
    """Early shifts are 00:00 to 02:00 of both days, late ones 02:00 to 08:00."""
    days = ["sun", "mon"]
    shifts = [
        {"name": "early", "start": "00:00", "duration": "PT2H", "days": days},
        {"name": "late", "start": "02:00", "duration": "PT6H", "days": days},
    ]
    with lines.database.transaction() as session:
        calendar = read_shift_calendar({"timezone": "UTC", "shifts": shifts})
        put_shift_calendar(session, lines.manager.project_id, calendar, author="max")
    report, found = answer(lines, "2026-03-01/2026-03-03", group_by="shift")
    rows = {(row["group"], row["kpi"]): row for row in found.groups.to_pylist()}
    assert rows["early", "uptime"]["value"] == 3600 * (3 * 2 + 2 + 1 + 2)
    assert rows["early", "availability"]["value"] == pytest.approx(100 * 11 / 12)
    assert rows["late", "uptime"]["value"] == 3600 * 5
    assert rows["late", "availability"]["value"] == pytest.approx(100 * 5 / 8)  # press-1 uuuuud, press-2 dd
    assert rows["early", "uptime"]["components"] == 3 * 2
    assert {(row["bucket_start"], row["bucket_end"]) for row in rows.values()} == {(MARCH, MARCH + 48 * HOUR)}
    _again, by_day = answer(lines, "2026-03-01/2026-03-03", group_by="shift", bucket="day")
    uptimes = {
        (row["group"], row["bucket_start"]): row["value"] for row in by_day.groups.to_pylist() if row["kpi"] == "uptime"
    }
    assert uptimes["early", MARCH] == 3600 * 6
    assert uptimes["early", MARCH + 24 * HOUR] == 3600 * 5
    with lines.database.reading() as session:
        pin = get_pin(session, lines.manager, report.id, 1)
    assert decode_pin(encode_pin(pin)).group_shifts == pin.group_shifts


def test_a_component_without_the_label_is_in_no_group(lines):
    with lines.database.transaction() as session:
        update_component(session, lines.manager.project_id, "press-3", labels={"line": None})
    _report, found = answer(lines, group_by="label:line")
    assert set(found.groups["group"].to_pylist()) == {"A"}


def test_the_fleet_is_one_group_by_the_hour_too(lines):
    _report, found = answer(lines, group_by="fleet", bucket="hour")
    rows = [row for row in found.groups.to_pylist() if row["kpi"] == "availability"]
    assert [row["value"] for row in rows[:4]] == [100, pytest.approx(100 * 2 / 3), 50, 50]
    assert [row["bucket_start"] for row in rows] == [MARCH + (24 + n) * HOUR for n in range(24)]


def test_groups_that_nobody_asked_for_are_not_there(lines):
    report, found = answer(lines)
    assert (found.groups, found.comparison) == (None, None)
    with pytest.raises(NotFound, match="was not asked for groups"):
        read_result(lines.layout, report, "groups")


def test_what_nothing_can_be_grouped_by_is_refused(lines):
    with pytest.raises(Refused) as refusal:
        lines.ask("2026-03-02", group_by="colour")
    assert refusal.value.code == "group_by_refused"


def test_each_value_stands_beside_that_of_the_period_before(lines):
    _report, found = answer(lines, compare="previous")
    rows = {(row["component"], row["kpi"]): row for row in found.comparison.to_pylist()}
    one = rows["press-1", "uptime"]
    assert (one["value"], one["previous"], one["difference"], one["percent"]) == (7 * 3600, 7200, 5 * 3600, 250)
    same = rows["press-3", "availability"]
    assert (same["difference"], same["percent"], same["reason"]) == (0, 0, None)


def test_a_side_that_is_missing_is_null_with_a_reason_never_0(lines):
    _report, found = answer(lines, "2026-03-01", compare="previous")
    rows = {(row["component"], row["kpi"]): row for row in found.comparison.to_pylist()}
    one = rows["press-1", "availability"]
    assert (one["previous"], one["difference"], one["percent"]) == (None, None, None)
    assert one["reason"].startswith("then: ")
    silent = rows["press-1", "uptime"]  # a silent day has 0 s of it, and nobody measured them
    assert (silent["value"], silent["previous"], silent["difference"], silent["percent"]) == (7200, None, None, None)
    assert silent["reason"].startswith("then: ")
    _report, found = answer(lines, "2026-03-03", compare="previous", components=("press-3",))
    (now_silent,) = [row for row in found.comparison.to_pylist() if row["kpi"] == "uptime"]
    assert (now_silent["previous"], now_silent["difference"], now_silent["percent"]) == (7200, None, None)
    assert now_silent["reason"]


def test_bucket_stands_beside_bucket(lines):
    _report, found = answer(lines, compare="previous", bucket="hour", components=("press-2",))
    rows = [row for row in found.comparison.to_pylist() if row["kpi"] == "availability"]
    assert [(row["value"], row["previous"]) for row in rows[:3]] == [(100, 100), (0, 100), (0, None)]
    assert [row["percent"] for row in rows[:2]] == [0, -100]


def test_the_best_and_the_worst(lines):
    report, _found = answer(lines)
    table = read_result(lines.layout, report)
    best = [row for row in rank_result(table, top=2, bottom=None).to_pylist() if row["kpi"] == "availability"]
    assert [(row["rank"], row["component"]) for row in best] == [(1, "press-3"), (2, "press-1")]
    worst = [row for row in rank_result(table, top=None, bottom=1).to_pylist() if row["kpi"] == "availability"]
    assert [row["component"] for row in worst] == ["press-2"]
    with pytest.raises(Refused):
        rank_result(table, top=1, bottom=1)


def test_answers_with_groups_and_comparison_are_proved_like_others(lines):
    first, found = answer(lines, compare="previous", group_by="fleet", bucket="day")
    second, again = answer(lines, compare="previous", group_by="fleet", bucket="day")
    assert found.groups.equals(again.groups)
    assert found.comparison.equals(again.comparison)
    plain, _ = answer(lines, bucket="day")
    assert len({first.digest, second.digest, plain.digest}) == 3  # asked at another moment, and about other things


def run_firmware(plant, *changes):
    """Deliver (component, hour of 2 March, version, status)."""
    rows = [
        (component, "firmware", 1_772_409_600_000_000 + hour * 3_600_000_000, {"firmware": version, "status": status})
        for component, hour, version, status in changes
    ]
    plant.lake.append_events("default", event_batch(rows))


def test_versions_of_firmware_are_groups_each_with_the_time_it_was_in_force(lines):
    run_firmware(
        lines,
        ("press-1", -5, "1.0", "updated"),
        ("press-1", 4, "1.1", "downloaded"),  # not in force yet
        ("press-1", 5, "1.1", "updated"),
        ("press-1", 6, "1.1", "updated"),
        ("press-2", 0, "1.0", "updated"),
        ("press-3", 30, "2.0", "updated"),  # the day after
    )
    _report, found = answer(lines, group_by="firmware")
    values = {(row["group"], row["kpi"]): (row["value"], row["components"]) for row in found.groups.to_pylist()}
    assert values == {
        ("1.0", "availability"): (pytest.approx(100 * (5 + 1) / (5 + 4)), 2),
        ("1.0", "uptime"): (6 * 3600, 2),
        ("1.1", "availability"): (pytest.approx(100 * 2 / 3), 1),  # up for two hours, down for one
        ("1.1", "uptime"): (2 * 3600, 1),
    }


def test_without_firmware_events_there_are_no_groups_of_it(lines):
    _report, found = answer(lines, group_by="firmware")
    assert found.groups.num_rows == 0
