"""What changed between two revisions: only real differences, each with its cause."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest

from gaugehouse.measurements.selection import to_epoch_us
from gaugehouse.reports.causes import Causes, ChangedWindow
from gaugehouse.reports.changes import CHANGES, UNEXPLAINED, find_changes
from gaugehouse.reports.result import COMPARED, GROUPED, RESULT, Answer

DAY = dt.timedelta(days=1)
START = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)


def row(component="pump", metric="flow", kpi="mean", day=0, value=1.0, **more):
    told = {"unit": "l/s", "coverage": 1.0, "n": 10, "status": "ok", "reason": None} | more
    bounds = {"bucket_start": START + day * DAY, "bucket_end": START + (day + 1) * DAY}
    return {"component": component, "metric": metric, "kpi": kpi, "value": value} | bounds | told


def result(*rows):
    return pa.Table.from_pylist(list(rows), schema=RESULT)


def late(component="pump", metric="flow", *instants):
    return {(component, metric): np.array([to_epoch_us(at) for at in instants], np.int64)}


def compare(old, new, **causes):
    found = find_changes(old, new, Causes(**causes))
    assert found.schema.equals(CHANGES)
    return found.to_pylist()


def changes(old, new, late_rows=None, attributes=None, **causes):
    answers = [Answer(values=result(*rows)) for rows in (old, new)]
    return compare(*answers, late=late_rows or {}, of_series=attributes or {}, **causes)


def test_the_same_values_are_no_change_in_any_order():
    rows = [row(day=0), row(day=1), row(metric=None, kpi="count"), row(kpi="max", value=None, status="no_data")]
    assert changes(rows, rows[::-1]) == []


def test_what_differs_behind_the_twelfth_digit_is_no_change():
    assert changes([row(value=0.1 + 0.2)], [row(value=0.3)]) == []
    assert len(changes([row(value=0.3)], [row(value=0.300000000001)])) == 1


def test_a_late_row_in_the_bucket_is_the_cause():
    inside = late("pump", "flow", START + DAY / 2, START + DAY)
    (change,) = changes([row(), row(day=3)], [row(value=2.0), row(day=3)], inside)
    assert (change["old_value"], change["new_value"], change["late_rows"]) == (1.0, 2.0, 1)
    assert change["because"] == "1 late row"


def test_a_late_row_before_the_bucket_is_named_as_such():
    before = late("pump", "flow", START - DAY, START - DAY / 2)
    (change,) = changes([row()], [row(value=2.0)], before)
    assert (change["late_rows"], change["because"]) == (0, "2 late rows before or behind it")


def test_late_rows_of_another_component_explain_nothing():
    (change,) = changes([row()], [row(value=2.0)], late("press", "flow", START))
    assert change["because"] == UNEXPLAINED


def test_what_a_formula_also_looks_at_is_named():
    (change,) = changes([row(kpi="oee")], [row(kpi="oee", value=2.0)], late("pump", "parts", START))
    assert (change["late_rows"], change["because"]) == (0, "1 late row of parts")
    (change,) = changes([row(kpi="oee")], [row(kpi="oee", value=2.0)], attributes={("pump", "parts"): "rollover_at"})
    assert change["because"] == "parts: rollover_at changed"


def window(components, start, end):
    us = {"start_us": to_epoch_us(start), "end_us": to_epoch_us(end)}
    return ChangedWindow(components=components, text="calibration was added", **us)


@pytest.mark.parametrize(
    ("causes", "because"),
    [
        ({"of_component": {"pump": "ideal_cycle_time_s"}}, "ideal_cycle_time_s changed"),
        ({"of_component": {"press": "ideal_cycle_time_s"}}, UNEXPLAINED),
        ({"of_kpi": {"mean": "the definition of mean changed"}}, "the definition of mean changed"),
        ({"of_all": ("the shift calendar changed",)}, "the shift calendar changed"),
        ({"windows": (window(None, START, START + DAY),)}, "calibration was added"),
        ({"windows": (window(frozenset({"pump"}), START, START + DAY),)}, "calibration was added"),
        ({"windows": (window(frozenset({"press"}), START, START + DAY),)}, UNEXPLAINED),
        ({"windows": (window(None, START + 2 * DAY, START + 3 * DAY),)}, UNEXPLAINED),
    ],
)
def test_what_was_changed_on_purpose_is_named_where_it_concerns_a_value(causes, because):
    (change,) = changes([row()], [row(value=2.0)], **causes)
    assert change["because"] == because


def test_values_of_groups_and_of_the_period_it_is_compared_with_are_compared_too():
    values = result(row())
    at = {"bucket_start": START, "bucket_end": START + DAY, "kpi": "mean", "metric": "flow"}

    def answer(group, previous):
        of_group = at | {"group": "A", "components": 2, "value": group, "unit": "l/s", "n": 20, "status": "ok"}
        beside = at | {"component": "pump", "value": 1.0, "previous": previous}
        return Answer(
            values=values,
            groups=pa.Table.from_pylist([of_group], schema=GROUPED),
            comparison=pa.Table.from_pylist([beside], schema=COMPARED),
        )

    before = START - DAY
    found = compare(
        answer(1.0, 5.0),
        answer(2.0, None),
        late=late("pump", "flow", before),
        compared_us=(to_epoch_us(before), to_epoch_us(START)),
    )
    told = [(one["table"], one["component"], one["old_value"], one["new_value"], one["because"]) for one in found]
    assert told == [
        ("comparison", "pump", 5.0, None, "1 late row"),
        ("groups", "A", 1.0, 2.0, "1 late row before or behind it"),
    ]


def test_a_changed_attribute_is_named_beside_late_rows():
    inside = late("pump", "flow", START)
    (change,) = changes([row()], [row(unit="m3/h")], inside, {("pump", "flow"): "unit, usl"})
    assert change["because"] == "1 late row and unit, usl changed"


@pytest.mark.parametrize(("old", "new"), [([], [row()]), ([row()], [])])
def test_a_value_that_only_one_revision_has_is_a_change(old, new):
    (change,) = changes(old, new)
    assert (change["old_status"], change["new_status"]) == (("ok" if old else None), ("ok" if new else None))


def test_a_value_that_became_undefined_is_a_change():
    (change,) = changes([row()], [row(value=None, status="undefined", reason="no step")])
    assert (change["new_value"], change["new_status"]) == (None, "undefined")


def test_changes_are_ordered_by_name_and_time():
    old = [row(component=c, day=d) for c in "ba" for d in (1, 0)]
    new = [row(component=c, day=d, value=5.0) for c in "ab" for d in (0, 1)]
    found = [(change["component"], change["bucket_start"]) for change in changes(old, new)]
    assert found == sorted(found)
