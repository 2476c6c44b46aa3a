"""Every documented example of the two firmware systems that this one replaces, against a real server."""

import pytest

INSTANT = "2023-01-01T00:00:00.000000Z"
REPORT = {"firmware": "1.0.3", "timestamp": INSTANT, "status": "updated"}


@pytest.fixture(scope="module")
def device_of(house):
    """Return a client with the key of one component, in the header that its old firmware sends."""
    keys = {}

    def call(component):
        if component not in keys:
            keys[component] = house.create_key(f"device {component}", "--component", component)
        return house.client({"api_key": keys[component]})

    return call


def test_a_device_reports_and_members_read_its_events(house, viewer, device_of):
    sent = device_of("fw-1").post("/firmware/fw-1", json=REPORT)
    assert (sent.status_code, sent.json()) == (201, REPORT | {"timestamp": "2023-01-01T00:00:00Z"})
    for member in (viewer, house.device(), device_of("fw-1")):
        read = member.get("/firmware/fw-1")
        assert (read.status_code, read.json()) == (200, [REPORT | {"timestamp": "2023-01-01T00:00:00Z"}])
