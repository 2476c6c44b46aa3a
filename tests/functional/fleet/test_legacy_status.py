"""Every example of the device status service before us, against a running server. What crashes: test_legacy_crash."""

import httpx
import pytest

SENT = {
    "device_id": "sensor-1",
    "timestamp": "2024-06-14T10:00:00Z",
    "battery_level": 90,
    "rssi": -50,
    "online": True,
}


@pytest.fixture(scope="module")
def stored(device):
    answer = device.post("/status", json=SENT)
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_health_needs_no_key(house):
    answer = httpx.get(f"{house.url}/health", trust_env=False)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_a_status_is_answered_with_its_number_and_when_it_was_stored(stored):
    assert {name: stored[name] for name in SENT} == SENT
    assert stored.keys() == {*SENT, "id", "created_at"}
    assert 0 <= stored["id"] < 2**53
    assert stored["created_at"].endswith("Z")


def test_a_repeated_status_is_answered_with_the_stored_row(device, stored):
    for repeated in (
        SENT,
        SENT | {"battery_level": 10, "online": False},
        SENT | {"timestamp": "2024-06-14T12:00+02:00"},
    ):
        answer = device.post("/status", json=repeated)
        assert (answer.status_code, answer.json()) == (201, stored)


def test_the_newest_status_has_the_same_shape(device, stored):
    answer = device.get("/status/sensor-1")
    assert (answer.status_code, answer.json()) == (200, stored)
    assert '"battery_level":90,"rssi":-50,' in answer.text


def test_the_summary_lists_all_devices(device, stored):
    answer = device.get("/status/summary")
    assert answer.status_code == 200
    body = answer.json()
    assert body.keys() == {"total_devices", "devices"}
    assert body["total_devices"] == len(body["devices"])
    assert [one for one in body["devices"] if one["device_id"] == "sensor-1"] == [SENT]
    assert '"battery_level":90,"rssi":-50,' in answer.text


def test_the_history_has_pages(device, stored):
    span = "start_date=2024-01-01T00:00:00Z&end_date=2024-12-31T23:59:59Z"
    answer = device.get(f"/status/sensor-1/history?page=1&page_size=10&{span}")
    assert answer.status_code == 200
    expected = {
        "device_id": "sensor-1",
        "statuses": [stored],
        "total_records": 1,
        "page": 1,
        "page_size": 10,
        "total_pages": 1,
    }
    assert answer.json() == expected
    assert device.get("/status/sensor-1/history").json() == expected


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/status"), ("GET", "/status/summary"), ("GET", "/status/sensor-1"), ("GET", "/status/sensor-1/history")],
)
def test_a_missing_and_an_invalid_key_are_told_apart(house, method, path):
    without = house.client().request(method, path, json=SENT if method == "POST" else None)
    assert (without.status_code, without.json()) == (401, {"detail": "Missing API key"})
    wrong = house.device("wrong").request(method, path, json=SENT if method == "POST" else None)
    assert (wrong.status_code, wrong.json()) == (401, {"detail": "Invalid API key"})


@pytest.mark.parametrize("path", ["/status/nobody", "/status/nobody/history"])
def test_who_sent_nothing_is_not_found(device, path):
    answer = device.get(path)
    assert answer.status_code == 404
    assert answer.json().keys() == {"detail"}
    assert "not found" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("battery_level", 101), ("battery_level", -1), ("timestamp", "invalid-date"), ("online", "yes"), ("rssi", None)],
)
def test_a_bad_field_is_named(device, field, value):
    answer = device.post("/status", json=SENT | {field: value})
    assert answer.status_code == 422
    (problem,) = answer.json()["detail"]
    assert problem["loc"] == ["body", field]
    assert problem["msg"]


def test_a_page_of_more_than_a_hundred_is_refused(device, stored):
    answer = device.get("/status/sensor-1/history?page_size=101")
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", "page_size"]
