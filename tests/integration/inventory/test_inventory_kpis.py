"""KPIs of projects: kept version by version, checked against what the project has."""

import pytest

from gaugehouse.errors import NotFound, Refused, TooLarge
from gaugehouse.inventory import NewComponent, NewMetric, create_components, create_metrics, update_metric
from gaugehouse.inventory import kpis as project_kpis
from gaugehouse.inventory.kpis import NewKpi, define_kpi, find_definitions, find_kpi_versions, find_kpis
from gaugehouse.kpi import CATALOGUE

PER_PART = NewKpi(
    name="energy_per_part",
    title="Energy per part",
    unit="kWh/part",
    formula="energy_kwh.increase / parts_total.increase",
    edge="undefined without parts",
    higher_is_better=False,
)


@pytest.fixture
def plant(database, project_id):
    with database.transaction() as session:
        create_components(session, project_id, [NewComponent(name="press", attributes={"ideal_cycle_time_s": 9})])
        create_metrics(
            session,
            project_id,
            [
                NewMetric(name="energy_kwh", kind="counter", unit="kWh"),
                NewMetric(name="parts_total", kind="counter", unit="part"),
            ],
        )
    return database


def define(database, project_id, new=PER_PART, by="ann"):
    with database.transaction() as session:
        return define_kpi(session, project_id, new, defined_by=by)


def changed(**changes):
    return NewKpi(**{name: getattr(PER_PART, name) for name in NewKpi.__dataclass_fields__} | changes)


def test_a_kpi_is_found_as_it_was_defined_behind_the_built_in_ones(plant, project_id, other_project_id):
    defined = define(plant, project_id)
    assert (defined.version, defined.defined_by, defined.kinds, defined.is_built_in) == (1, "ann", ("counter",), False)
    with plant.reading() as session:
        *built_in, own = find_kpis(session, project_id)
        assert own == defined
        assert [one.name for one in built_in] == list(CATALOGUE)
        assert len(find_kpis(session, other_project_id)) == len(CATALOGUE)
        (stored,) = find_definitions(session, project_id)
    assert stored.metric_units == {"energy_kwh": "kWh", "parts_total": "part"}


def test_a_change_is_a_new_version_and_no_change_is_none(plant, project_id):
    first = define(plant, project_id)
    assert define(plant, project_id, by="bob") == first
    second = define(plant, project_id, changed(formula="2 * energy_kwh.increase / parts_total.increase"), by="bob")
    assert (second.version, second.defined_by) == (2, "bob")
    with plant.reading() as session:
        assert find_kpi_versions(session, project_id, "energy_per_part") == [second, first]
        assert [one.version for one in find_kpis(session, project_id) if not one.is_built_in] == [2]


def test_a_metric_that_changed_its_unit_makes_a_new_version(plant, project_id):
    define(plant, project_id)
    with plant.transaction() as session:
        update_metric(session, project_id, "energy_kwh", {"unit": "MJ"})
    with pytest.raises(Refused, match="gives MJ/part, but the KPI's unit is kWh/part"):
        define(plant, project_id)
    assert define(plant, project_id, changed(unit="MJ/part")).version == 2


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"formula": "energy_kwh.incrase"}, "formula_unknown_name"),
        ({"formula": "energy_kwh.increase +"}, "formula_syntax"),
        ({"unit": "kWh"}, "formula_units"),
        ({"formula": "@cycle * n", "unit": "1"}, "formula_unknown_name"),
        ({"formula": "energy_per_part"}, "formula_cycle"),
        ({"name": "mean"}, "kpi_refused"),
        ({"title": "a\x00"}, "kpi_refused"),
        ({"edge": "\ud800"}, "kpi_refused"),
        ({"unit": "x" * 65}, "kpi_refused"),
        ({"formula": "\ud800"}, "formula_syntax"),
    ],
)
def test_what_is_not_right_is_refused_and_nothing_is_stored(plant, project_id, changes, code):
    with pytest.raises(Refused) as refused:
        define(plant, project_id, changed(**changes))
    assert refused.value.code == code
    with plant.reading() as session:
        assert find_definitions(session, project_id) == []


def test_attributes_of_components_may_be_used(plant, project_id):
    new = NewKpi(name="slow", title="Slow", unit="s", formula="@ideal_cycle_time_s * n")
    assert define(plant, project_id, new).version == 1


def test_a_kpi_that_does_not_exist_is_not_found(plant, project_id):
    with plant.reading() as session:
        for name in ("nothing", "", "a\x00", "\ud800", "x" * 300):
            with pytest.raises(NotFound):
                find_kpi_versions(session, project_id, name)
        (built_in,) = find_kpi_versions(session, project_id, "mean")
    assert (built_in.version, built_in.is_built_in, built_in.formula) == (0, True, "sum / n")


def test_a_kpi_that_is_no_longer_right_is_listed_without_kinds(plant, project_id, monkeypatch):
    define(plant, project_id)
    define(
        plant, project_id, NewKpi(name="cost", title="Cost", unit="EUR/part", formula="energy_per_part * 1 [EUR/kWh]")
    )
    define(plant, project_id, NewKpi(name="sound", title="Sound", unit="1", formula="n"))
    with plant.transaction() as session:
        row = session.query(project_kpis.KpiDefinition).filter_by(name="energy_per_part").one()
        row.formula = "energy_kwh.this_is_gone"
    with plant.reading() as session:
        kinds = {one.name: one.kinds for one in find_kpis(session, project_id) if not one.is_built_in}
    assert kinds["cost"] is kinds["energy_per_part"] is None
    assert kinds["sound"]


def test_a_project_has_a_bounded_number_of_kpis(plant, project_id, monkeypatch):
    monkeypatch.setattr(project_kpis, "MAX_PROJECT_KPIS", 1)
    define(plant, project_id)
    with pytest.raises(TooLarge):
        define(plant, project_id, changed(name="another"))
    assert define(plant, project_id, changed(title="Other")).version == 2
