"""Loading the fleet into a real lake and inventory: the receipts match the plan's own counts."""

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gaugehouse.demo.fleet import FleetPlan
from gaugehouse.demo.host import HOST_NAME, HostCollector, HostSampler
from gaugehouse.demo.load import load_first_fleet, load_fleet, register_host
from gaugehouse.demo.plant import ROLLOVER_AT
from gaugehouse.errors import NotFound, Overloaded
from gaugehouse.inventory import Registry, find_components, get_component, get_project, resolve_attributes
from gaugehouse.measurements.metric import MetricKind, StateClass
from gaugehouse.measurements.selection import Selection

NOW = datetime(2026, 11, 20, 23, 17, 5, tzinfo=UTC)
PLAN = FleetPlan(component_count=20, days=10, interval_s=1_800)
COUNT = "SELECT count(*) AS n, count(DISTINCT (component, metric, measured_at)) AS keys FROM rows"
CONFLICTS = "SELECT count(*) AS n FROM rows WHERE kind = 'conflict'"


def read(lake, statement, table="measurements"):
    return lake.pin().read(Selection(project="default"), statement, table=table).read_all().to_pylist()


def test_receipts_match_what_the_plan_expects(lake, database):
    expected = PLAN.expected(NOW)
    loaded = load_fleet(lake, database, Registry(database), PLAN, NOW)
    assert (loaded.rows, loaded.accepted) == (expected.rows, expected.distinct)
    assert (loaded.duplicates, loaded.conflicts) == (expected.duplicates, expected.conflicts)
    assert loaded.conflicts > 5
    assert loaded.late > 50
    assert read(lake, COUNT) == [{"n": expected.distinct, "keys": expected.distinct}]
    assert loaded.events == len(PLAN.events(NOW))
    assert read(lake, CONFLICTS, table="events") == [{"n": expected.conflicts}]


def test_loading_twice_stores_nothing_the_second_time_even_after_a_flush(lake, database):
    registry = Registry(database)
    first = load_fleet(lake, database, registry, PLAN, NOW)
    lake.flush()
    second = load_fleet(lake, database, registry, PLAN, NOW)
    assert second.rows == first.rows
    assert (second.accepted, second.events) == (0, 0)
    assert second.duplicates == first.accepted + first.duplicates
    assert second.conflicts == first.conflicts


def test_the_inventory_knows_machines_and_attributes(lake, database):
    load_fleet(lake, database, Registry(database), PLAN, NOW)
    with database.reading() as session:
        project_id = get_project(session, "default").id
        page = find_components(session, project_id, type="conveyor", limit=100)
        series = [("conveyor-001", "parts_total"), ("conveyor-002", "parts_total"), ("pump-001", "running")]
        attributes = resolve_attributes(session, project_id, series)
    assert page.total == 5
    assert all(component.line == "line-1" and component.title for component in page.items)
    assert [attributes[key].rollover_at for key in series] == [ROLLOVER_AT, None, None]
    assert all(attributes[key].kind is MetricKind.COUNTER for key in series[:2])
    assert attributes[series[0]].nominal_interval_s == 1_800
    assert attributes[series[2]].state_classes[3.0] is StateClass.IDLE


def test_a_bigger_fleet_adds_machines_to_a_smaller_one(lake, database):
    registry = Registry(database)
    load_fleet(lake, database, registry, FleetPlan(component_count=4, days=1), NOW)
    load_fleet(lake, database, registry, FleetPlan(component_count=8, days=1), NOW)
    with database.reading() as session:
        assert find_components(session, get_project(session, "default").id).total == 8


def test_progress_reaches_the_number_of_rows(lake, database):
    seen = []
    loaded = load_fleet(
        lake, database, Registry(database), PLAN, NOW, on_progress=lambda done, total: seen.append((done, total))
    )
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == loaded.rows
    assert all(done <= total for done, total in seen)
    assert abs(PLAN.estimated_rows - loaded.rows) < 0.05 * loaded.rows


def test_an_unknown_project_is_refused_before_anything_is_stored(lake, database):
    with pytest.raises(NotFound):
        load_fleet(lake, database, Registry(database), PLAN, NOW, project="elsewhere")
    assert lake.unflushed_rows() == 0


class BusyLake:
    """Refuses the first deliveries as overloaded, then passes them on."""

    def __init__(self, lake, refusals: int):
        self.lake = lake
        self.refusals = refusals

    def append(self, project, delivery):
        if self.refusals:
            self.refusals -= 1
            raise Overloaded("too much is waiting", retry_after_s=0)
        return self.lake.append(project, delivery)


def test_loading_waits_while_the_flush_is_behind(lake, database, monkeypatch):
    monkeypatch.setattr("gaugehouse.demo.load.DEFAULT_WAIT_S", 0.01)
    busy = BusyLake(lake, refusals=3)
    loaded = load_fleet(busy, database, Registry(database), FleetPlan(component_count=4, days=1), NOW)
    assert busy.refusals == 0
    assert loaded.accepted == FleetPlan(component_count=4, days=1).expected(NOW).distinct


def test_the_host_is_registered_and_its_samples_arrive_in_the_lake(lake, database):
    register_host(database)
    register_host(database)  # a second start finds it there
    arrived = threading.Event()

    def append(batch):
        lake.append_measurements("default", batch)
        arrived.set()

    collector = HostCollector(append, HostSampler(Path("/")), is_closed=lambda: False, interval_s=0.05)
    collector.start()
    assert arrived.wait(10)
    collector.stop()
    newest = lake.newest("default", [HOST_NAME])
    assert "cpu_percent" in newest["metric"].to_pylist()
    with database.reading() as session:
        assert get_component(session, get_project(session, "default").id, HOST_NAME).type == "host"


def test_a_first_load_that_was_cut_short_is_taken_up_with_the_same_rows(lake, database):
    class Cut(Exception):
        pass

    def cut(_done, _total):
        raise Cut

    registry, plan = Registry(database), FleetPlan(component_count=40, days=15, interval_s=900)
    with pytest.raises(Cut):
        load_first_fleet(lake, database, registry, plan, has_rows=False, on_progress=cut)
    (partial,) = read(lake, COUNT)
    assert load_first_fleet(lake, database, registry, plan, has_rows=True)
    (whole,) = read(lake, COUNT)
    assert partial["n"] < whole["n"] == whole["keys"]
    (conflicts,) = read(lake, CONFLICTS, "events")
    assert conflicts["n"] <= plan.expected(NOW).conflicts + 5
    assert not load_first_fleet(lake, database, registry, plan, has_rows=True), "loaded once in a life"


def test_a_lake_that_holds_rows_of_its_own_gets_no_demo_plant(lake, database):
    assert not load_first_fleet(lake, database, Registry(database), PLAN, has_rows=True)
    assert read(lake, COUNT)[0]["n"] == 0
