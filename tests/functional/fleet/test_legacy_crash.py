"""What the systems before us acknowledged is there after kill -9 and after a restart."""

import pytest

STATUS = {
    "device_id": "sensor-1",
    "timestamp": "2024-06-14T10:00:00Z",
    "battery_level": 90,
    "rssi": -50,
    "online": True,
}
READER = "a1b2c3d4-0000-4000-8000-000000000003"
LARGEST = 2**53 - 1


@pytest.fixture(scope="module")
def server(found):
    return found().start()


def send_readings(device, *readings):
    sent = [{"count": count, "timestamp": timestamp} for count, timestamp in readings]
    answer = device.post("/api/device-readings/create", json={"id": READER, "readings": sent})
    assert answer.status_code == 201, answer.text


def test_statuses_and_sums_stay_what_they_were(server):
    device = server.device()
    stored = device.post("/status", json=STATUS).json()
    send_readings(device, *[(LARGEST, f"2021-09-29T16:08:{n:02}Z") for n in range(10)])
    server.kill()
    again = server.start().device()
    assert again.get("/status/sensor-1").json() == stored
    send_readings(again, (1, "2021-09-29T16:09:00+02:00"))
    total = again.get(f"/api/device-readings/{READER}/cumulative-count").json()
    assert total == {"cumulative_count": 10 * LARGEST + 1}
    server.restart()
    assert server.device().post("/status", json=STATUS | {"rssi": -70}).json() == stored
