"""Reports with KPIs of the project and of components: pinned with their definitions, computed from all they need."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from gaugehouse.database.tables import Component, KpiDefinition, Metric, ReportRevision
from gaugehouse.errors import Refused
from gaugehouse.inventory.kpis import NewKpi, define_kpi
from gaugehouse.reports import Answer, Limits, compute_report, decode_pin, digest_result, encode_pin

T0 = datetime(2026, 3, 2, tzinfo=UTC)
KINDS = {"energy": ("counter", "kWh"), "parts": ("counter", "part"), "running": ("state", "")}
PER_PART = NewKpi(name="per_part", title="Energy per part", unit="kWh/part", formula="energy.increase / parts.increase")
COST = NewKpi(name="cost", title="Cost per part", unit="EUR/part", formula="per_part * 0.5 [EUR/kWh]")


@pytest.fixture
def project_id(plant):
    return plant.manager.project_id


@pytest.fixture
def filled(plant, project_id):
    """Two presses that make 1 and 3 parts an hour, and a sensor."""
    rows = []
    for component, rate in (("press-1", 1.0), ("press-2", 3.0)):
        for hour in range(25):
            at = T0 + timedelta(hours=hour)
            rows += [(component, "energy", at, 6.0 * hour), (component, "parts", at, rate * hour)]
            rows.append((component, "running", at, float(hour % 4 != 0)))
    rows.append(("sensor", "heat", T0, 20.0))
    plant.deliver(rows)
    with plant.database.transaction() as session:
        for name, (kind, unit) in KINDS.items():
            values = {"kind": kind, "unit": unit, "nominal_interval_s": 3600.0}
            session.execute(update(Metric).where(Metric.name == name).values(**values))
        own = {"state_metric": "running", "parts_metric": "parts", "good_metric": "parts", "ideal_cycle_time_s": 600}
        session.execute(update(Component).where(Component.name == "press-1").values(attributes=own))
        for new in (PER_PART, COST):
            define_kpi(session, project_id, new, defined_by="manager")
    return plant


def pin_of(plant, report):
    with plant.database.reading() as session:
        return session.scalars(select(ReportRevision.pin).where(ReportRevision.report_id == report.id)).one()


def values_of(table):
    return {(row["component"], row["metric"], row["kpi"]): row["value"] for row in table.to_pylist()}


def test_a_kpi_of_the_project_is_answered_beside_the_first_metric_it_names(filled):
    _, table = filled.answer("2026-03-02", kpis=("cost", "per_part"))
    found = values_of(table)
    assert found == {
        ("press-1", "energy", "cost"): pytest.approx(3.0),
        ("press-1", "energy", "per_part"): pytest.approx(6.0),
        ("press-2", "energy", "cost"): pytest.approx(1.0),
        ("press-2", "energy", "per_part"): pytest.approx(2.0),
    }
    assert {row["unit"] for row in table.to_pylist()} == {"EUR/part", "kWh/part"}


def test_metrics_that_only_the_formula_needs_are_read_and_not_shown(filled):
    _, table = filled.answer("2026-03-02", kpis=("per_part", "count"), metrics=("energy",))
    assert {row["metric"] for row in table.to_pylist()} == {"energy"}
    assert values_of(table)["press-2", "energy", "per_part"] == pytest.approx(2.0)


def test_the_pin_holds_the_definitions_and_old_ones_are_kept(filled, project_id):
    report, table = filled.answer("2026-03-02", kpis=("cost",), bucket="PT6H")
    stored = pin_of(filled, report)
    assert [one["name"] for one in stored["definitions"]] == ["cost", "per_part"]
    assert {one["version"] for one in stored["definitions"]} == {1}
    with filled.database.transaction() as session:
        new = NewKpi(name="per_part", title="-", unit="kWh/part", formula="2 * energy.increase / parts.increase")
        assert define_kpi(session, project_id, new, defined_by="manager").version == 2
    pin = decode_pin(stored)
    assert encode_pin(pin) == stored
    for limits in (Limits(), Limits(rows=1, cells=1)):
        again = compute_report(filled.lake.pin(), pin, limits=limits, threads=2)
        assert digest_result(stored, Answer(values=again)) == report.digest
    _, changed = filled.answer("2026-03-02", kpis=("cost",), bucket="PT6H")
    for before, after in zip(table["value"].to_pylist(), changed["value"].to_pylist(), strict=True):
        assert after == pytest.approx(2 * before)


def test_a_report_without_such_kpis_has_the_pin_it_always_had(filled):
    report, _ = filled.answer("2026-03-02", kpis=("count", "availability"))
    stored = pin_of(filled, report)
    assert not {"definitions", "supporting", "component_attributes"} & set(stored)


def test_oee_uses_the_attributes_that_were_pinned(filled):
    report, table = filled.answer("2026-03-02", kpis=("oee", "oee_availability"))
    found = values_of(table)
    assert found["press-1", "running", "oee_availability"] == pytest.approx(75.0)
    assert found["press-1", "running", "oee"] == pytest.approx(100 * 24 * 600 / 86_400, rel=0.05)
    assert found["press-2", "running", "oee"] is None
    reasons = {row["kpi"]: row["reason"] for row in table.to_pylist() if row["component"] == "press-2"}
    assert reasons["oee_availability"] == "the component has no attribute state_metric"
    assert reasons["oee"] == "the component has no attribute parts_metric"
    with filled.database.transaction() as session:
        session.execute(update(Component).values(attributes={}))
    stored = pin_of(filled, report)
    again = compute_report(filled.lake.pin(), decode_pin(stored))
    assert digest_result(stored, Answer(values=again)) == report.digest


def test_a_definition_that_is_not_right_any_more_refuses_the_report(filled):
    with filled.database.transaction() as session:
        session.execute(update(KpiDefinition).where(KpiDefinition.name == "per_part").values(formula="gone + n"))
    with pytest.raises(Refused, match="gone"):
        filled.ask("2026-03-02", kpis=("cost",))
