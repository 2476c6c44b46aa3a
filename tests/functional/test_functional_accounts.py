"""Keys and members as the command line changes them beside a running server: two processes, one second."""

import csv
import json
import time

import pytest

from functional.installation import PASSWORD

BOUND_S = 1.0  # in which a revocation must hold everywhere
ROW = {"component": "accounts press", "metric": "level", "measured_at": "2026-11-20T10:00:00Z", "value": 1}


@pytest.fixture(scope="module")
def staffed(found):
    """A server of its own: so many commands are forks here, and the shared one's are not."""
    installation = found().start()
    yield installation
    installation.stop()


def refused(done):
    """Return why a command ended with 1."""
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stderr


def deliver(device):
    return device.post("/v1/measurements", json=[ROW]).status_code


def key_id(staffed, name):
    listed = staffed.run_well("key", "list", "--json")
    return next(one["id"] for one in json.loads(listed)["items"] if one["name"] == name)


def test_a_revoked_key_is_refused_within_a_second_by_the_other_process(staffed):
    device = staffed.device(staffed.create_key("accounts press", "--component", "accounts press"))
    assert [deliver(device) for _ in range(3)] == [201] * 3  # the first registers, the others go the short way
    staffed.run_well("key", "revoke", key_id(staffed, "accounts press"))
    time.sleep(BOUND_S)
    assert deliver(device) == 401


def test_a_leavers_personal_key_is_refused_within_a_second_by_the_other_process(staffed):
    staffed.create_user("lea", "manager")
    device = staffed.device(staffed.create_key("laptop", "--personal", "lea"))
    assert [deliver(device) for _ in range(3)] == [201] * 3
    assert device.get("/v1/me").json()["name"] == "lea/laptop"
    staffed.run_well("user", "remove", "lea")
    time.sleep(BOUND_S)
    assert deliver(device) == 401
    assert device.get("/v1/me").status_code == 401


def test_a_replaced_key_and_its_successor_count_side_by_side(staffed):
    old = staffed.create_key("accounts gateway")
    new = staffed.run_well("key", "replace", key_id(staffed, "accounts gateway"), "--overlap-s", "600").strip()
    assert [staffed.device(key).get("/v1/me").status_code for key in (old, new)] == [200, 200]
    assert "API key" in refused(staffed.run("key", "replace", "key_none"))


def test_an_invited_user_signs_in_and_a_reset_ends_the_old_password(staffed):
    token = staffed.run_well("user", "invite", "--role", "viewer").strip()
    anonymous = staffed.client()
    body = {"token": token, "name": "ida", "password": PASSWORD}
    assert anonymous.post("/v1/invitations/accept", json=body).status_code == 200
    assert staffed.sign_in("ida").get("/v1/me").json()["scopes"] == ["user"]
    token = staffed.run_well("user", "reset", "ida").strip()
    body = {"token": token, "password": "another quite long password"}
    assert anonymous.post("/v1/password-reset/confirm", json=body).status_code == 204
    assert anonymous.post("/token", data={"username": "ida", "password": PASSWORD}).status_code == 401


def test_the_commands_for_members_and_moves(staffed):
    staffed.run_well("project", "create", "south")
    in_south = ("--project", "south")
    staffed.run_well("user", "create", "anna", "--role", "admin", *in_south, "--password-stdin", stdin=PASSWORD)
    assert "last admin" in refused(staffed.run("user", "remove", "anna", *in_south))
    assert "last admin" in refused(staffed.run("user", "role", "anna", "--role", "viewer", *in_south))
    staffed.run_well("user", "disable", "anna")
    assert staffed.client().post("/token", data={"username": "anna", "password": PASSWORD}).status_code == 401
    staffed.run_well("user", "enable", "anna")
    assert staffed.sign_in("anna").get("/v1/me").status_code == 200
    staffed.run_well("user", "role", "anna", "--role", "viewer")
    assert "anna" in staffed.run_well("user", "list")
    key = staffed.make_key("mover", component="accounts press")
    assert deliver(staffed.device(key)) == 201
    staffed.run_well("component", "move", "accounts press", "--to", "south")
    time.sleep(BOUND_S)
    assert staffed.device(key).get("/v1/me").json()["project"] == "south"
    assert "nowhere" in refused(staffed.run("component", "move", "drill", "--to", "nowhere"))


def test_a_fleet_is_enrolled_beside_the_server_and_each_device_speaks_for_itself(staffed, tmp_path):
    devices, keys = tmp_path / "devices.csv", tmp_path / "keys.csv"
    devices.write_text("component,type\n" + "".join(f"meter-{number},meter\n" for number in range(300)))
    said = staffed.run_well("component", "enrol", str(devices), str(keys))
    assert "300 devices got a key" in said
    with keys.open(newline="") as file:
        key_of = {row["component"]: row["key"] for row in csv.DictReader(file)}
    status = {"timestamp": "2026-11-20T10:00:00Z", "battery_level": 90, "rssi": -60, "online": True}
    for name in ("meter-0", "meter-299"):
        device = staffed.device(key_of[name])
        assert [device.post("/status", json=status | {"device_id": name}).status_code for _ in range(2)] == [201] * 2
        assert device.get(f"/status/{name}").json()["battery_level"] == 90
        assert device.post("/status", json=status | {"device_id": "meter-7"}).status_code == 403
    assert "exists" in refused(staffed.run("component", "enrol", str(devices), str(keys)))
