import pytest

from gaugehouse.errors import RowsRefused
from gaugehouse.inventory import (
    NewComponent,
    NewMetric,
    create_components,
    create_metrics,
    get_component,
    update_component,
)
from gaugehouse.measurements.oee import OeeAttributes

OEE = {
    "state_metric": "running",
    "parts_metric": "parts_total",
    "scrap_metric": "scrap_total",
    "ideal_cycle_time_s": 12,
}


@pytest.fixture
def plant(database, project_id):
    with database.transaction() as session:
        create_metrics(
            session,
            project_id,
            [
                NewMetric(name="running", kind="state"),
                NewMetric(name="parts_total", kind="counter"),
                NewMetric(name="scrap_total", kind="delta"),
                NewMetric(name="temperature"),
            ],
        )
        create_components(session, project_id, [NewComponent(name="press-1"), NewComponent(name="press-2", oee=OEE)])
    return database


def change(database, project_id, **changes):
    with database.transaction() as session:
        return update_component(session, project_id, "press-1", oee=changes)


def test_attributes_are_kept_with_the_component(plant, project_id):
    with plant.reading() as session:
        plain, equipped = (get_component(session, project_id, name) for name in ("press-1", "press-2"))
    assert plain.oee is None
    assert equipped.oee == OeeAttributes(
        state_metric="running", parts_metric="parts_total", scrap_metric="scrap_total", ideal_cycle_time_s=12.0
    )
    assert equipped.oee.metrics == ("running", "parts_total", "scrap_total")
    assert equipped.hints == ()


def test_a_change_names_what_changes_and_none_removes(plant, project_id):
    assert change(plant, project_id, **OEE).oee.scrap_metric == "scrap_total"
    changed = change(plant, project_id, scrap_metric=None, good_metric="scrap_total")
    assert (changed.oee.good_metric, changed.oee.scrap_metric, changed.oee.parts_metric) == (
        "scrap_total",
        None,
        "parts_total",
    )
    only_state = change(plant, project_id, good_metric=None, parts_metric=None, ideal_cycle_time_s=None)
    assert only_state.oee == OeeAttributes(state_metric="running")
    assert change(plant, project_id, state_metric=None).oee is None


def test_a_change_of_something_else_leaves_them(plant, project_id):
    with plant.transaction() as session:
        assert update_component(session, project_id, "press-2", title="Big").oee.state_metric == "running"


def test_a_metric_that_nobody_knows_or_of_another_kind_is_allowed_with_a_hint(plant, project_id):
    changed = change(plant, project_id, state_metric="runing", parts_metric="temperature", good_metric="parts_total")
    assert changed.oee.state_metric == "runing"
    assert len(changed.hints) == 2
    assert "'runing'" in changed.hints[0]
    assert "check how it is written" in changed.hints[0]
    assert "counter or delta" in changed.hints[1]
    with plant.reading() as session:
        assert get_component(session, project_id, "press-1").hints == ()
    with plant.transaction() as session:
        new = [NewComponent(name="a", oee={"state_metric": "nope"}), NewComponent(name="b", oee=OEE)]
        assert [len(one.hints) for one in create_components(session, project_id, new)] == [1, 0]


@pytest.mark.parametrize(
    ("oee", "words"),
    [
        (OEE | {"good_metric": "good_total"}, "a good_metric and a scrap_metric"),
        ({"parts_metric": "parts_total"}, "neither good_metric nor scrap_metric"),
        ({"scrap_metric": "scrap_total"}, "without a parts_metric"),
        ({"good_metric": "good_total"}, "without a parts_metric"),
        ({"state_metric": ""}, "state_metric that is empty"),
        ({"state_metric": 7}, "state_metric that is not text"),
        ({"ideal_cycle_time_s": 0}, "ideal_cycle_time_s that is not above 0"),
        ({"ideal_cycle_time_s": float("inf")}, "ideal_cycle_time_s that is not a finite number"),
        ({"ideal_cycle_time_s": "12"}, "ideal_cycle_time_s that is not a number"),
        ({"speed": 1}, "no field 'speed'"),
    ],
)
def test_what_cannot_be_an_oee_is_refused(plant, project_id, oee, words):
    with pytest.raises(RowsRefused) as refusal:
        change(plant, project_id, **oee)
    (problem,) = refusal.value.problems
    assert problem.field == "oee"
    assert words in problem.reason
    with plant.transaction() as session, pytest.raises(RowsRefused):
        create_components(session, project_id, [NewComponent(name="new", oee=oee)])
