import pytest

from gaugehouse.errors import AlreadyExists, NotFound, Refused, RowsRefused
from gaugehouse.inventory import (
    NewComponent,
    NewMetric,
    ProjectSettings,
    create_components,
    create_metrics,
    find_metrics,
    get_metric,
    put_project_settings,
    resolve_attributes,
    update_metric,
)
from gaugehouse.measurements.metric import MetricAttributes, MetricKind, StateClass, Subgroup


def _create(database, project_id, *new):
    with database.transaction() as session:
        return create_metrics(session, project_id, list(new))


@pytest.fixture
def plant(database, project_id):
    with database.transaction() as session:
        create_components(session, project_id, [NewComponent(name="pump-1"), NewComponent(name="pump-2")])
        create_metrics(
            session,
            project_id,
            [
                NewMetric(name="temperature", title="Bearing", unit="Cel", lsl=10, usl=80.5, nominal_interval_s=60),
                NewMetric(name="parts_total", kind="counter", rollover_at=65536, max_rate=5),
                NewMetric(name="running", kind="state", state_classes={"1.0": "up", "2": "planned", "-0.5": "down"}),
                NewMetric(name="pressure"),
                NewMetric(name="temperature", component="pump-2", usl=60),
            ],
        )
    return database


def test_a_created_metric_is_found_again_as_it_was_given(plant, project_id):
    with plant.reading() as session:
        metric = get_metric(session, project_id, "temperature")
        own = get_metric(session, project_id, "temperature", component="pump-2")
    assert (metric.title, metric.unit, metric.lsl, metric.usl) == ("Bearing", "Cel", 10.0, 80.5)
    assert (metric.kind, metric.component, metric.max_hold_s) == (None, None, None)
    assert (own.component, own.usl, own.lsl, own.unit) == ("pump-2", 60.0, None, None)


def test_attributes_are_the_components_own_else_the_projects_else_the_defaults(plant, project_id):
    series = [("pump-1", "temperature"), ("pump-2", "temperature"), ("pump-1", "running"), ("new", "unheard of")]
    with plant.reading() as session:
        found = resolve_attributes(session, project_id, series)
    common = MetricAttributes(unit="Cel", lsl=10.0, usl=80.5, nominal_interval_s=60.0)
    assert found == {
        series[0]: common,
        series[1]: MetricAttributes(unit="Cel", lsl=10.0, usl=60.0, nominal_interval_s=60.0),
        series[2]: MetricAttributes(
            kind=MetricKind.STATE,
            state_classes={1.0: StateClass.UP, 2.0: StateClass.PLANNED, -0.5: StateClass.DOWN},
        ),
        series[3]: MetricAttributes(),
    }


def test_attributes_of_many_series_are_few_values(plant, project_id):
    series = [(f"c{number}", metric) for number in range(3000) for metric in ("temperature", "x")]
    with plant.reading() as session:
        found = resolve_attributes(session, project_id, series)
    assert len(found) == 6000
    assert len({id(attributes) for attributes in found.values()}) == 2


def test_attributes_of_another_project_do_not_show(plant, other_project_id):
    with plant.reading() as session:
        found = resolve_attributes(session, other_project_id, [("pump-1", "temperature")])
        assert found == {("pump-1", "temperature"): MetricAttributes()}
        with pytest.raises(NotFound):
            get_metric(session, other_project_id, "temperature")


def test_a_change_sets_what_it_names_and_none_clears(plant, project_id):
    with plant.transaction() as session:
        changed = update_metric(
            session, project_id, "temperature", {"usl": None, "target": 40, "kind": "gauge", "title": "Lager"}
        )
    assert (changed.usl, changed.target, changed.kind, changed.lsl, changed.title) == (
        None,
        40.0,
        "gauge",
        10.0,
        "Lager",
    )
    with plant.reading() as session:
        assert get_metric(session, project_id, "temperature") == changed
        assert [item.name for item in find_metrics(session, project_id, search="LAGER").items] == ["temperature"]


def test_a_components_first_change_makes_its_own_row(plant, project_id):
    with plant.transaction() as session:
        update_metric(session, project_id, "pressure", {"usl": 3.5}, component="pump-1")
    with plant.reading() as session:
        found = resolve_attributes(session, project_id, [("pump-1", "pressure"), ("pump-2", "pressure")])
        assert [item.name for item in find_metrics(session, project_id, component="pump-1").items] == ["pressure"]
    assert [attributes.usl for attributes in found.values()] == [3.5, None]


def test_changing_what_does_not_exist_is_not_found(plant, project_id):
    for name, component in (("nothing", None), ("nothing", "pump-1"), ("pressure", "nothing"), ("a\x00", None)):
        with plant.transaction() as session, pytest.raises(NotFound):
            update_metric(session, project_id, name, {"usl": 1}, component=component)


@pytest.mark.parametrize("changes", [{"name": "x"}, {"id": "x"}, {"project_id": "x"}, {"search_text": "x"}])
def test_only_attributes_can_be_changed(plant, project_id, changes):
    with plant.transaction() as session, pytest.raises(Refused) as caught:
        update_metric(session, project_id, "pressure", changes)
    assert caught.value.code == "attribute_unknown"


BAD_VALUES = [
    ("kind", "speed"),
    ("kind", 7),
    ("kind", []),
    ("unit", 7),
    ("unit", "x" * 300),
    ("unit", "a\x00"),
    ("title", "\ud800"),
    ("lsl", "7"),
    ("lsl", True),
    ("usl", float("nan")),
    ("usl", float("inf")),
    ("target", 10**400),
    ("nominal_interval_s", 0),
    ("max_hold_s", -1),
    ("rollover_at", 0),
    ("max_rate", -5),
    ("state_classes", {"on": "up"}),
    ("state_classes", {"nan": "up"}),
    ("state_classes", {"1": "running"}),
    ("state_classes", {"1": []}),
    ("state_classes", ["up"]),
    ("state_classes", {str(number): "up" for number in range(65)}),
    ("state_names", {"on": "producing"}),
    ("state_names", {"1": ""}),
    ("state_names", {"1": 7}),
    ("state_names", ["producing"]),
    ("alive_metric", ""),
    ("alive_metric", 7),
    ("lateness_s", 0),
    ("lateness_s", "1h"),
    ("subgroup", "1"),
    ("subgroup", "1001"),
    ("subgroup", "P1D"),
    ("subgroup", "day"),
    ("subgroup", 5),
]


@pytest.mark.parametrize(("field", "value"), BAD_VALUES)
def test_a_bad_value_is_refused_and_named(plant, project_id, field, value):
    with plant.transaction() as session, pytest.raises(RowsRefused) as caught:
        update_metric(session, project_id, "pressure", {field: value})
    assert [problem.field for problem in caught.value.problems] == [field]
    with pytest.raises(RowsRefused):
        _create(plant, project_id, NewMetric(name="new", **{field: value}))


def test_limits_must_not_cross(plant, project_id):
    with plant.transaction() as session, pytest.raises(RowsRefused):
        update_metric(session, project_id, "temperature", {"lsl": 81})  # usl is 80.5


def test_taken_and_repeated_names_create_nothing(plant, project_id):
    with pytest.raises(AlreadyExists) as caught:
        _create(plant, project_id, NewMetric(name="new"), NewMetric(name="pressure"))
    assert caught.value.fields == {"names": ["pressure"]}
    with pytest.raises(AlreadyExists):
        _create(plant, project_id, NewMetric(name="temperature", component="pump-2"))
    with pytest.raises(RowsRefused):
        _create(plant, project_id, NewMetric(name="new"), NewMetric(name="new"))
    with pytest.raises(NotFound):
        _create(plant, project_id, NewMetric(name="new"), NewMetric(name="pressure", component="nothing"))
    with plant.reading() as session:
        assert find_metrics(session, project_id).total == 4


def test_metrics_are_listed_by_kind_search_and_page(plant, project_id):
    with plant.reading() as session:
        assert [item.name for item in find_metrics(session, project_id, kind="counter").items] == ["parts_total"]
        gauges = find_metrics(session, project_id, kind="gauge")
        assert [item.name for item in gauges.items] == ["pressure", "temperature"]  # no kind is a gauge
        first = find_metrics(session, project_id, sort="-name", limit=3)
        rest = find_metrics(session, project_id, sort="-name", limit=3, cursor=first.next_cursor)
        with pytest.raises(Refused):
            find_metrics(session, project_id, kind="speed")
    names = [item.name for item in first.items + rest.items]
    assert names == ["temperature", "running", "pressure", "parts_total"]


def test_names_of_states_alive_metric_lateness_and_subgroup_are_resolved(plant, project_id):
    changes = {
        "state_names": {"1.0": "producing", "7": "cleaning"},
        "alive_metric": "pressure",
        "lateness_s": 3600,
        "subgroup": "05",
    }
    with plant.transaction() as session:
        changed = update_metric(session, project_id, "running", changes)
        update_metric(session, project_id, "running", {"subgroup": "PT1H", "lateness_s": 60}, component="pump-1")
        found = resolve_attributes(session, project_id, [("pump-1", "running"), ("pump-2", "running")])
    assert changed.state_names == {"1": "producing", "7": "cleaning"}
    assert (changed.subgroup, changed.lateness_s, changed.alive_metric, changed.hints) == ("5", 3600.0, "pressure", ())
    own, common = found.values()
    assert common.state_names == {1.0: "producing", 7.0: "cleaning"}
    assert common.state_classes[1.0] is StateClass.UP
    assert (common.subgroup, own.subgroup) == (
        Subgroup(size=5, expression="5"),
        Subgroup(duration_us=3_600_000_000, expression="PT1H"),
    )
    assert (common.alive_metric, common.lateness_s, own.lateness_s) == ("pressure", 3600.0, 60.0)


def test_an_alive_metric_that_nobody_knows_yet_is_allowed_with_a_hint(plant, project_id):
    with plant.transaction() as session:
        (hint,) = update_metric(session, project_id, "running", {"alive_metric": "heart_beat"}).hints
        assert "heart_beat" in hint
        assert update_metric(session, project_id, "running", {"unit": "1"}).hints == ()
    created = _create(plant, project_id, NewMetric(name="a", alive_metric="b"), NewMetric(name="b", alive_metric="c"))
    assert [len(one.hints) for one in created] == [0, 1]  # b came with the same request


def test_a_metric_is_not_kept_alive_by_itself(plant, project_id):
    with plant.transaction() as session, pytest.raises(RowsRefused):
        update_metric(session, project_id, "running", {"alive_metric": "running"})


def test_the_lateness_bound_of_the_project_counts_where_a_metric_has_none(plant, project_id):
    with plant.transaction() as session:
        put_project_settings(session, project_id, ProjectSettings(lateness_limit_s=7200))
        update_metric(session, project_id, "pressure", {"lateness_s": 60})
        found = resolve_attributes(session, project_id, [("pump-1", "pressure"), ("pump-1", "temperature")])
    assert [attributes.lateness_s for attributes in found.values()] == [60.0, 7200.0]
