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


# --- how a value came to be -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mill(manager):
    """A mill that is up for three of the four known hours of a day, and made parts for some energy."""
    hours = [("running", hour, float(hour != 7)) for hour in range(6, 10)]
    counts = [("parts_total", 6, 0.0), ("parts_total", 9, 40.0), ("energy_kwh", 6, 100.0), ("energy_kwh", 9, 120.0)]
    rows = [
        {"component": "mill", "metric": metric, "measured_at": f"2026-11-18T{hour:02}:00:00Z", "value": value}
        for metric, hour, value in hours + counts
    ]
    assert manager.patch("/v1/metrics/running", json={"kind": "state"}).status_code in {200, 404}
    new = [{"name": "running", "kind": "state", "nominal_interval_s": 3600, "max_hold_s": 3600}]
    assert manager.post("/v1/metrics", json=new).status_code in {201, 409}
    assert manager.post("/v1/measurements", json=rows).status_code == 201
    return manager


def explanation(caller, kpi, **asked):
    question = {"component": "mill", "period": "2026-11-18"} | asked
    return caller.get(f"/v1/kpis/{kpi}/explanation", params=question)


def test_a_kpi_is_explained_from_the_users_own_data(mill):
    found = explanation(mill, "availability")
    assert found.status_code == 200, found.text
    body = found.json()
    assert (body["component"], body["metric"], body["formula"]) == ("mill", "running", "up_s / (up_s + down_s)")
    values = {one["name"]: (one["value"], one["unit"]) for one in body["quantities"]}
    assert values == {"up_s": (3 * 3600, "s"), "down_s": (3600, "s")}
    assert body["worked"] == "10800 s / (10800 s + 3600 s) = 75 %"
    assert (body["result"]["value"], body["result"]["unit"]) == (75, "%")


def test_a_kpi_of_the_project_is_explained_with_the_metrics_it_names(plant, mill):
    assert plant.post("/v1/kpis", json=PER_PART).status_code == 201
    body = explanation(mill, "energy_per_part").json()
    assert {one["name"]: one["value"] for one in body["quantities"]} == {
        "energy_kwh.increase": 20,
        "parts_total.increase": 40,
    }
    assert body["result"]["value"] == 0.5


@pytest.mark.parametrize(
    ("kpi", "asked", "status"),
    [
        ("happiness", {}, 404),
        ("availability", {"component": "nobody"}, 404),
        ("availability", {"metric": "nothing"}, 404),
        ("availability", {"metric": "energy_kwh"}, 422),
        ("availability", {"period": "someday"}, 422),
        ("availability", {"timezone": "Mars/Olympus"}, 422),
    ],
)
def test_what_cannot_be_explained_is_refused(mill, kpi, asked, status):
    assert explanation(mill, kpi, **asked).status_code == status
