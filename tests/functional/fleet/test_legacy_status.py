"""Every example of the device status service before us, against a running server."""

import pytest

SENT = {
    "device_id": "sensor-1",
    "timestamp": "2024-06-14T10:00:00Z",
    "battery_level": 90,
    "rssi": -50,
    "online": True,
}


@pytest.fixture(scope="module")
def server(found):
    return found().start()


@pytest.fixture(scope="module")
def device(server):
    return server.device()


def test_a_status_is_stored_and_answered_with_its_number_and_when_it_was_stored(device):
    answer = device.post("/status", json=SENT)
    assert answer.status_code == 201, answer.text
    stored = answer.json()
    assert {name: stored[name] for name in SENT} == SENT
    assert 0 <= stored["id"] < 2**53
    assert stored["created_at"].endswith("Z")
    assert stored.keys() == {*SENT, "id", "created_at"}
    assert '"battery_level":90,' in answer.text
    newest = device.get("/status/sensor-1")
    assert (newest.status_code, newest.json()) == (200, stored)
