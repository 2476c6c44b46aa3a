"""KPIs over HTTP: listed, defined, versioned, refused with the place."""

import pytest

PER_PART = {
    "name": "energy_per_part",
    "title": "Energy per part",
    "unit": "kWh/part",
    "formula": "energy_kwh.increase / parts_total.increase",
}


@pytest.fixture(scope="module")
def plant(manager):
    new = [
        {"name": "energy_kwh", "kind": "counter", "unit": "kWh"},
        {"name": "parts_total", "kind": "counter", "unit": "part"},
    ]
    assert manager.post("/v1/metrics", json=new).status_code == 201
    return manager


def test_the_catalogue_is_listed_with_formulas(manager):
    page = manager.get("/v1/kpis").json()
    availability = next(one for one in page["items"] if one["name"] == "availability")
    assert availability["formula"] == "up_s / (up_s + down_s)"
    assert (availability["unit"], availability["kinds"], availability["is_built_in"]) == ("%", ["state"], True)
    assert availability["higher_is_better"] is True
    assert page["total"] == len(page["items"])


def test_a_kpi_is_defined_and_changed_by_managers(plant):
    created = plant.post("/v1/kpis", json=PER_PART)
    assert created.status_code == 201, created.text
    assert (created.json()["version"], created.json()["defined_by"]) == (1, "manager")
    assert plant.post("/v1/kpis", json=PER_PART).json()["version"] == 1
    changed = plant.post("/v1/kpis", json=PER_PART | {"higher_is_better": False}).json()
    assert changed["version"] == 2
    versions = plant.get("/v1/kpis/energy_per_part/versions").json()["items"]
    assert [one["version"] for one in versions] == [2, 1]
    assert changed in plant.get("/v1/kpis").json()["items"]


def test_a_formula_that_is_wrong_is_refused_with_the_place(plant):
    answer = plant.post("/v1/kpis", json=PER_PART | {"formula": "energy_kwh.incrase / parts_total.increase"})
    assert answer.status_code == 422
    body = answer.json()
    assert (body["code"], body["line"], body["column"]) == ("formula_unknown_name", 1, 1)
    assert body["suggestions"][0] == "increase"
    assert body["detail"].splitlines()[2].strip(" ^") == ""


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        (PER_PART | {"extra": 1}, 422),
        (PER_PART | {"formula": 7}, 422),
        (PER_PART | {"formula": "x" * 3000}, 422),
        (PER_PART | {"unit": "kWh"}, 422),
        (PER_PART | {"name": "mean"}, 422),
        (PER_PART | {"formula": "\x00"}, 422),
    ],
)
def test_what_cannot_be_stored_is_refused(plant, body, status):
    answer = plant.post("/v1/kpis", json=body)
    assert answer.status_code == status, answer.text


def test_users_define_no_kpis(user):
    assert user.post("/v1/kpis", json=PER_PART).status_code == 403


def test_a_kpi_that_does_not_exist_is_a_404(manager):
    assert manager.get("/v1/kpis/nothing/versions").status_code == 404


def test_a_report_names_the_kpi_and_refuses_what_is_none(plant):
    row = {"component": "press", "metric": "energy_kwh", "measured_at": "2026-11-20T10:00:00Z", "value": 1}
    assert plant.post("/v1/measurements", json=[row]).status_code == 201
    question = {"period": "2026-11-20", "kpis": ["energy_per_part", "mean"]}
    assert plant.post("/v1/reports", json=question).status_code == 202
    refused = plant.post("/v1/reports", json=question | {"kpis": ["energy_per_prt"]})
    assert refused.status_code == 422
    assert "energy_per_part" in refused.json()["known"] or len(refused.json()["known"]) == 20
