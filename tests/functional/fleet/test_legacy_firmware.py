"""Every documented example of the two firmware systems that this one replaces, against a real server and its log."""

import pytest

from functional.installation import assert_problem

INSTANT = "2023-01-01T00:00:00.000000Z"
REPORT = {"firmware": "1.0.3", "timestamp": INSTANT, "status": "updated"}
STORED = REPORT | {"timestamp": "2023-01-01T00:00:00Z"}
UPLOAD, LIST = "/upload_firmware_update", "/get_firmware_updates_by_device_id"


@pytest.fixture(scope="module")
def device_of(house):
    """Return a client with the key of one component, in the header that its old firmware sends."""
    keys = {}

    def call(component, server=house):
        if (component, server) not in keys:
            keys[component, server] = server.make_key(f"device {component}", component=component)
        client = server.client({"api_key": keys[component, server]})
        client.secret = keys[component, server]
        return client

    return call


# --- the firmware manager


def test_a_device_reports_and_members_read_its_events(house, viewer, device_of):
    sent = device_of("fw-1").post("/firmware/fw-1", json=REPORT)
    assert (sent.status_code, sent.json()) == (201, STORED)
    again = device_of("fw-1").post("/firmware/fw-1", json=REPORT)
    assert (again.status_code, again.json()) == (201, STORED)
    for member in (viewer, house.device(), device_of("fw-1")):
        read = member.get("/firmware/fw-1")
        assert (read.status_code, read.json()) == (200, [STORED])


def test_a_device_uploads_only_for_itself(viewer, device_of):
    device_of("fw-2").post("/firmware/fw-2", json=REPORT)
    assert_problem(device_of("fw-3").post("/firmware/fw-2", json=REPORT | {"firmware": "6.6"}), 403, "other_component")
    assert_problem(device_of("fw-3").get("/firmware/fw-2"), 404, "component_not_found")
    assert viewer.get("/firmware/fw-2").json() == [STORED]
    assert_problem(viewer.post("/firmware/fw-2", json=REPORT), 403)


def test_without_a_key_or_with_two_nobody_is_let_in(house, device_of):
    nobody, device = house.client(), device_of("fw-4")
    assert_problem(nobody.post("/firmware/fw-4", json=REPORT), 401)
    assert_problem(nobody.get("/firmware/fw-4", headers={"api_key": "nonsense"}), 401, "api_key_refused")
    assert_problem(device.get("/firmware/fw-4", headers={"X-API-Key": house.key}), 401, "two_credentials")
    assert device.get("/firmware/fw-4", headers={"X-API-Key": device.secret}).json() == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"firmware": "one"}, "version_refused"),
        ({"firmware": ""}, "request_refused"),
        ({"timestamp": "yesterday"}, "period_refused"),
        ({"timestamp": "2023-01-01T00:00:00"}, "period_refused"),
        ({"timestamp": "2999-01-01T00:00:00Z"}, "rows_refused"),
        ({"other": 1}, "request_refused"),
        ({"firmware": None}, "request_refused"),
    ],
)
def test_a_report_that_cannot_be_kept_is_refused(device_of, change, code):
    device = device_of("fw-5")
    assert_problem(device.post("/firmware/fw-5", json=REPORT | change), 422, code)
    assert device.get("/firmware/fw-5").json() == []


def test_events_by_the_general_address_are_the_same_events(house, viewer, device_of):
    rows = [
        {"component": "fw-6", "kind": "firmware", "occurred_at": f"2023-01-0{day}T00:00:00Z", "body": body}
        for day, body in enumerate([{"version": "1.0"}, {"firmware": "1.1", "status": "updated"}, ["else"]], start=1)
    ]
    assert house.device().post("/v1/events", json=rows).status_code == 201
    device_of("fw-6").post("/firmware/fw-6", json=REPORT | {"timestamp": "2023-01-04T01:00:00+01:00"})
    assert [(one["firmware"], one["status"], one["timestamp"]) for one in viewer.get("/firmware/fw-6").json()] == [
        ("1.0", "", "2023-01-01T00:00:00Z"),
        ("1.1", "updated", "2023-01-02T00:00:00Z"),
        ("1.0.3", "updated", "2023-01-04T00:00:00Z"),
    ]


def test_a_device_learns_what_to_run(manager, device_of):
    device = device_of("fw-7")
    device.post("/firmware/fw-7", json=REPORT)
    asked = device.get("/firmware/fw-7/target")
    assert (asked.status_code, asked.json()["reason"], asked.json()["is_update"]) == (200, "up_to_date", False)
    sent = {"version": "1.0.9", "url": "https://fw.example/1.0.9.bin", "sha256": "a" * 64}
    release = manager.post("/v1/firmware/releases", json=sent)
    assert release.status_code == 201, release.text
    wanted = {"release": release.json()["id"], "components": ["fw-7"]}
    rollout = manager.post("/v1/firmware/rollouts", json=wanted)
    assert rollout.status_code == 201, rollout.text
    told = device.get("/firmware/fw-7/target").json()
    assert told == device.get("/v1/firmware/fw-7/target").json()
    assert told == sent | {
        "component": "fw-7",
        "running": "1.0.3",
        "is_update": True,
        "reason": "rollout",
        "rollout": rollout.json()["id"],
    }
    device.post("/firmware/fw-7", json=REPORT | {"firmware": "1.0.9", "timestamp": "2023-02-01T00:00:00Z"})
    assert device.get("/firmware/fw-7/target").json()["is_update"] is False  # at once: its report counts already
    assert manager.patch(rollout.headers["location"], json={"state": "ended"}).status_code == 200


# --- the second form


def upload(client, device_id, secret, version):
    answer = client.post(UPLOAD, json={"device_id": device_id, "secret": secret, "version": version})
    assert answer.headers["content-type"].startswith("text/plain")
    return answer.status_code, answer.text


def test_the_second_form_answers_with_its_three_sentences(house, viewer, device_of):
    nobody, secret = house.client(), device_of("1").secret
    assert upload(nobody, 1, secret, "SemVer1.1") == (200, "Successfully updated firmware version")
    assert upload(nobody, 1, "AAA", "SemVer1.1") == (401, "Invalid Request")
    assert upload(nobody, 2, secret, "SemVer1.1") == (401, "Invalid Request")
    assert upload(nobody, 1, house.key, "SemVer1.1") == (401, "Invalid Request")  # no device's own key
    assert upload(nobody, 1, secret, "SemVer11") == (400, "Version string formatting not valid")
    assert upload(nobody, 1, secret, "SemVer1.x") == (400, "Version string formatting not valid")
    assert upload(nobody, 1, "AAA", "SemVer11") == (401, "Invalid Request")  # nothing for whoever only guesses
    assert upload(nobody, [1], secret, "SemVer1.1") == (400, "Invalid Request")
    assert nobody.post(UPLOAD, content=b"{").text == "Invalid Request"
    assert [one["firmware"] for one in viewer.get("/firmware/1").json()] == ["1.1"]


def test_a_version_that_runs_already_adds_no_event(house, viewer, device_of):
    nobody, secret = house.client(), device_of("3").secret
    for version in ("SemVer1.1", "SemVer1.1", "1.1", "SemVer1.2", "SemVer1.2", "SemVer1.1"):
        assert upload(nobody, "3", secret, version)[0] == 200
    assert [one["firmware"] for one in viewer.get("/firmware/3").json()] == ["1.1", "1.2", "1.1"]


@pytest.fixture(scope="module")
def lenient(found):
    """A server whose operator allows keys in that one address."""
    installation = found({"GAUGEHOUSE_LEGACY_URL_SECRET": "true", "GAUGEHOUSE_LOG_LEVEL": "DEBUG"}).start()
    yield installation
    installation.stop()


def test_the_address_with_a_secret_in_it_is_off(house, device_of):
    asked = {"email": "vera", "device_id": "1", "secret": device_of("1").secret}
    refused = house.client().get(LIST, params=asked)
    assert (refused.status_code, refused.text) == (404, "Invalid request")


def test_where_it_is_allowed_it_lists_the_events_and_says_nothing_of_what_is_wrong(lenient, device_of):
    nobody, secret = lenient.client(), device_of("1", lenient).secret
    for version in ("SemVer1.1", "SemVer1.2"):
        assert upload(nobody, 1, secret, version)[0] == 200
    right = {"email": "vera", "device_id": "1", "secret": secret}
    listed = nobody.get(LIST, params=right)
    assert listed.status_code == 200
    assert [(one["device_id"], one["version"]) for one in listed.json()] == [(1, "SemVer1.1"), (1, "SemVer1.2")]
    wrong = [{"email": "nobody"}, {"email": "user"}, {"device_id": "2"}, {"secret": "AAA"}, {"secret": lenient.key}]
    for change in wrong:
        refused = nobody.get(LIST, params=right | change)
        assert (refused.status_code, refused.text) == (401, "Invalid request"), change
    for lacking in right:
        refused = nobody.get(LIST, params={name: text for name, text in right.items() if name != lacking})
        assert (refused.status_code, refused.text) == (400, "Invalid request"), lacking


def test_no_log_holds_a_secret_whatever_came_of_the_request(lenient, device_of):
    nobody, secret = lenient.client(), device_of("9", lenient).secret
    upload(nobody, 9, secret, "SemVer1.1")
    upload(nobody, 9, secret, "SemVer11")
    upload(nobody, [9], secret, "SemVer1.1")
    nobody.post(UPLOAD, params={"secret": secret}, json={})
    for path in (LIST, f"{LIST}/", UPLOAD, "/firmware/9", "/nowhere"):
        for method in ("GET", "POST", "PUT"):
            nobody.request(method, path, params={"email": "vera", "device_id": "9", "secret": secret, "more": "1"})
    nobody.get(LIST, params={"email": "vera", "device_id": "9", "secret": secret})
    nobody.get("/firmware/9", headers={"api_key": secret})
    nobody.get("/firmware/9", headers={"api_key": secret[:-1] + "!"})
    log = (lenient.data_dir / "logs" / "gaugehouse.log").read_text() + lenient.output()
    assert LIST in log
    assert UPLOAD in log
    assert secret not in log
    assert secret[8:-1] not in log
