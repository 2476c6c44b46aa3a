"""Every example of the device readings service before us, against a running server."""

import pytest

DEVICE = "063c5957-8905-45f9-bfe3-960713788919"
SENT = {"id": DEVICE, "readings": [{"count": 9, "timestamp": "2021-09-29T16:09:15+01:00"}]}
CREATE = "/api/device-readings/create"


def send(device, name, *readings):
    sent = [{"count": count, "timestamp": timestamp} for count, timestamp in readings]
    return device.post(CREATE, json={"id": name, "readings": sent})


def assert_error(answer, status):
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body.keys() == {"status", "error_message", "status_code"}
    assert (body["status"], body["status_code"]) == ("error", status)
    assert body["error_message"]


def test_ping(house, device):
    for client in (device, house.client()):
        answer = client.get("/api/ping")
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_a_reading_is_stored_and_summed(device):
    answer = device.post(CREATE, json=SENT)
    assert (answer.status_code, answer.json()) == (201, {"status": "ok"})
    latest = device.get(f"/api/device-readings/{DEVICE}/latest-timestamp")
    assert (latest.status_code, latest.json()) == (200, {"timestamp": "2021-09-29T16:09:15+0100"})
    total = device.get(f"/api/device-readings/{DEVICE}/cumulative-count")
    assert (total.status_code, total.json()) == (200, {"cumulative_count": 9})


def test_the_newest_time_comes_back_with_its_offset_and_the_counts_as_one_sum(device):
    name = "a1b2c3d4-0000-4000-8000-000000000001"
    answer = send(device, name, (2, "2012-09-29T16:08:15+01:00"), (15, "2012-09-29T16:07:15+0100"))
    assert answer.status_code == 201
    assert send(device, name.upper(), (6, "2012-09-29T15:00:15Z")).status_code == 201
    latest = device.get(f"/api/device-readings/{name}/latest-timestamp").json()
    assert latest == {"timestamp": "2012-09-29T16:08:15+0100"}
    assert device.get(f"/api/device-readings/{name}/cumulative-count").json() == {"cumulative_count": 23}


def test_one_instant_in_three_notations_counts_once(device):
    name = "a1b2c3d4-0000-4000-8000-000000000002"
    for timestamp in ("2021-09-29T16:08:15+01:00", "2021-09-29T16:08:15+0100", "2021-09-29T15:08:15Z"):
        assert send(device, name, (7, timestamp), (7, timestamp)).status_code == 201
    assert device.get(f"/api/device-readings/{name}/cumulative-count").json() == {"cumulative_count": 7}
    latest = device.get(f"/api/device-readings/{name}/latest-timestamp").json()
    assert latest == {"timestamp": "2021-09-29T16:08:15+0100"}


@pytest.mark.parametrize("question", ["latest-timestamp", "cumulative-count"])
def test_a_device_without_readings_is_not_found(device, question):
    assert_error(device.get(f"/api/device-readings/a1b2c3d4-0000-4000-8000-0000000000ff/{question}"), 404)


@pytest.mark.parametrize(
    "body",
    [
        SENT | {"id": "not-a-uuid"},
        SENT | {"id": "063c5957-8905-15f9-bfe3-960713788919"},
        SENT | {"readings": []},
        {"id": DEVICE},
        SENT | {"readings": [{"count": 0, "timestamp": "2021-09-29T16:09:15+01:00"}]},
        SENT | {"readings": [{"count": 1.5, "timestamp": "2021-09-29T16:09:15+01:00"}]},
        SENT | {"readings": [{"count": 1, "timestamp": "yesterday"}]},
        SENT | {"readings": [{"count": 1, "timestamp": "2021-09-29T16:09:15"}]},
        [],
    ],
)
def test_what_cannot_be_stored_is_refused_whole(device, body):
    assert_error(device.post(CREATE, json=body), 400)


def test_what_is_no_json_is_refused(device):
    assert_error(device.post(CREATE, content=b"{"), 400)


def test_a_key_is_needed(house):
    answer = house.client().post(CREATE, json=SENT)
    assert_error(answer, 401)
    assert answer.json()["error_message"] == "Missing API key"
    assert house.device("wrong").post(CREATE, json=SENT).json()["error_message"] == "Invalid API key"
