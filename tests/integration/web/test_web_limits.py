"""Limits over HTTP: what is refused, how it is told, and that it stores nothing."""

import json
import time
from dataclasses import replace

import pytest

from asgi_client import Client
from gaugehouse.access import create_api_key, ensure_demo_users
from gaugehouse.access.secret_text import make_secret
from gaugehouse.audit import INSTALLATION
from gaugehouse.audit.reading import walk_chain
from gaugehouse.config import Settings
from gaugehouse.database.ids import random_base62
from gaugehouse.inventory import get_project, get_project_settings, put_project_settings
from gaugehouse.runtime import open_runtime
from gaugehouse.web.app import create_app

JSON = {"Content-Type": "application/json"}


class Service:
    """One installation that can be closed and opened again."""

    def __init__(self, data_dir, **settings):
        self.settings = Settings(data_dir=data_dir, demo=True, **settings)
        self.open()
        with self.runtime.database.transaction() as session:
            ensure_demo_users(session)

    def open(self):
        self.runtime = open_runtime(self.settings)
        app = create_app(self.runtime)
        self.anonymous, self.paces = Client(app), app.state.paces

    def close(self):
        self.runtime.close()

    def key(self):
        with self.runtime.database.transaction() as session:
            key = create_api_key(session, name="probe", project="default")
        return self.anonymous.with_headers(X_API_Key=key)

    def limit(self, **limits):
        with self.runtime.database.transaction() as session:
            project = get_project(session, "default").id
            put_project_settings(session, project, replace(get_project_settings(session, project), **limits))


@pytest.fixture
def make_service(tmp_path):
    made = []

    def make(**settings):
        made.append(Service(tmp_path / "installation", **settings))
        return made[-1]

    yield make
    for service in made:
        service.close()


def row(component, second=0, metric="level"):
    return {"component": component, "metric": metric, "measured_at": f"2026-11-19T10:00:{second:02}Z", "value": 1.0}


def send(client, rows, **headers):
    return client.post("/v1/measurements", content=json.dumps(rows), headers=JSON | headers)


def stored(client):
    answer = client.get("/v1/measurements")
    assert answer.status_code == 200, answer.text
    return len(answer.json()["items"])


def test_a_key_that_writes_too_often_is_told_when_to_come_again_and_nothing_is_stored(make_service):
    service = make_service(writes_per_minute=3)
    device, other = service.key(), service.key()
    answers = [send(device, [row("pump", second)]) for second in range(5)]
    assert [answer.status_code for answer in answers] == [201, 201, 201, 429, 429]
    assert [answer.headers["ratelimit-policy"] for answer in answers] == ['"writes";q=3;w=60'] * 5
    assert answers[0].headers["ratelimit"] == '"writes";r=2;t=20'  # the general way; later ones took the short one
    assert answers[1].headers["ratelimit"].startswith('"writes";r=1;t=')
    refused = answers[4]
    assert 1 <= int(refused.headers["retry-after"]) <= 20
    assert refused.json()["code"] == "rate_limited"
    assert (refused.json()["limit"], refused.json()["quota"]) == ("writes", 3)
    assert stored(device) == 3  # and reading has a bucket of its own
    assert send(other, [row("pump", 9)]).status_code == 201  # so has every key


def test_clients_of_influx_keep_what_is_refused_for_its_number(make_service):
    service = make_service(writes_per_minute=1)
    device = service.key()
    answers = [
        device.post("/api/v2/write?bucket=default", content=b"m,component=c v=1 1763546400000000000") for _ in "ab"
    ]
    assert [answer.status_code for answer in answers] == [204, 503]
    assert int(answers[1].headers["retry-after"]) > 1


def test_bytes_count_by_their_announced_length_or_as_they_came(make_service):
    service = make_service(write_bytes_per_s=10)  # 600 in a minute
    body = json.dumps([row("pump", second) for second in range(6)])
    assert 500 < len(body) < 600
    announced, chunked = service.key(), service.key()
    assert [announced.post("/v1/measurements", content=body, headers=JSON).status_code for _ in "ab"] == [201, 429]

    async def parts():
        yield body.encode()

    answers = [chunked.post("/v1/measurements", content=parts(), headers=JSON) for _ in "abc"]
    assert [answer.status_code for answer in answers] == [201, 201, 429]  # the second found some left, and owes


def test_reads_and_reports_count_by_user(make_service):
    service = make_service(reads_per_minute=4, reports_per_minute=1)
    form = {"username": "manager", "password": "manager"}
    token = service.anonymous.post("/token", data=form).json()["access_token"]
    user = service.anonymous.with_headers(Authorization=f"Bearer {token}")
    assert "ratelimit" in user.get("/v1/me").headers
    asked = [user.post("/v1/reports", json={"nonsense": 1}) for _ in "ab"]
    assert [answer.status_code for answer in asked] == [422, 429]
    assert '"reports";r=0' in asked[1].headers["ratelimit"]
    assert user.get("/v1/me").status_code == 200
    assert user.get("/v1/me").status_code == 429


def test_a_member_and_their_keys_share_what_a_member_may(make_service):
    service = make_service(reads_per_minute=4)
    sign_in = service.anonymous.post("/token", data={"username": "manager", "password": "manager"}).json()
    member = service.anonymous.with_headers(Authorization=f"Bearer {sign_in['access_token']}")
    keys = [member.post("/v1/me/keys", json={"name": name}).json()["key"] for name in ("one", "two")]
    codes = [service.anonymous.get("/v1/me", headers={"X-API-Key": key}).status_code for key in (*keys, keys[0])]
    assert codes == [200, 200, 429]
    assert member.get("/v1/me").status_code == 429
    assert service.key().get("/v1/me").status_code == 200  # a key of the project counts for itself


def test_a_device_that_tries_names_of_people_is_told_to_stop(make_service):
    service = make_service(refused_per_minute=2)
    with service.runtime.database.transaction() as session:
        key = create_api_key(session, name="7", project="default", component="7")
    send(service.anonymous.with_headers(X_API_Key=key), [row("7")])
    path = "/get_firmware_updates_by_device_id"
    asked = [{"email": name, "device_id": "7", "secret": key} for name in ("ann", "manager", "bob", "eve")]
    assert [service.anonymous.get(path, params=one).status_code for one in asked] == [401, 200, 401, 429]


def test_guesses_at_the_token_of_metrics_count_as_other_guesses_do(make_service):
    service = make_service(refused_per_minute=2, metrics_token="a long token of metrics")
    guess = service.anonymous.with_headers(Authorization="Bearer a guess")
    assert [guess.get("/metrics").status_code for _ in range(3)] == [401, 401, 429]
    right = service.anonymous.with_headers(Authorization="Bearer a long token of metrics")
    assert right.get("/metrics").status_code == 200


def test_strangers_are_counted_by_address_and_keep_nobody_out(make_service):
    service = make_service(refused_per_minute=2)
    device = service.key()
    wrong = service.anonymous.with_headers(X_API_Key="ghk_" + "0" * 36)
    answers = [client.get("/v1/me").status_code for client in (wrong, service.anonymous, wrong, service.anonymous)]
    assert answers == [401, 401, 429, 429]
    assert service.anonymous.post("/write?db=default", content=b"x").status_code == 503
    upload = {"device_id": 1, "secret": "a guess", "version": "1.1"}
    guess = service.anonymous.post("/upload_firmware_update", json=upload)
    assert (guess.status_code, guess.text.partition(":")[0]) == (429, "too many requests")
    assert device.get("/v1/me").status_code == 200
    assert service.anonymous.get("/health").status_code == 200


def made_up(prefix):
    return make_secret("ghk_") if prefix == "ghk_" else prefix + random_base62(43)


STRANGE = {
    "a read": lambda client: client.get("/v1/me", headers={"X-API-Key": made_up("ghk_")}),
    "a bearer": lambda client: client.get("/v1/me", headers={"Authorization": f"Bearer {made_up('ghk_')}"}),
    "a small delivery": lambda client: send(client, [row("pump")], **{"X-API-Key": made_up("ghk_")}),
    "line protocol": lambda client: client.post(f"/api/v2/write?bucket=default&p={made_up('ghk_')}", content=b"m v=1"),
    "an old device": lambda client: client.post(
        "/upload_firmware_update", json={"device_id": 1, "secret": made_up("ghk_"), "version": "1.1"}
    ),
    "a cookie": lambda client: client.get("/v1/me", headers={"Cookie": f"__Host-session={made_up('ghs_')}"}),
    "a refresh token": lambda client: client.post("/v1/token/refresh", json={"refresh_token": made_up("ghr_")}),
}
TOO_MANY = {"line protocol": 503}  # Telegraf drops rows at a 429


@pytest.mark.parametrize("strange", STRANGE)
def test_an_address_that_makes_up_secrets_is_refused_before_the_database_is_asked(make_service, monkeypatch, strange):
    service = make_service(refused_per_minute=3)
    device = service.key()
    assert device.get("/v1/me").status_code == 200
    ask = STRANGE[strange]
    assert [ask(service.anonymous).status_code for _ in range(3)] == [401] * 3
    ask(service.anonymous)  # which keys there are is known from now on, for two seconds
    met = service.runtime.access.met
    met._clock = lambda: met._looked_s or 0.0
    with monkeypatch.context() as patch:
        for question in ("reading", "transaction"):
            patch.setattr(service.runtime.access._db, question, None)  # a question to the database is an error
        refused = ask(service.anonymous)
        assert refused.status_code == TOO_MANY.get(strange, 429), refused.text
        assert int(refused.headers["retry-after"]) >= 1
    monkeypatch.setattr(service.runtime.access._keys, "_answers", {})  # a minute later it is asked about again
    assert device.get("/v1/me").status_code == 200
    assert send(device, [row("pump")]).status_code == 201


@pytest.mark.parametrize("use", ["a read", "a small delivery", "line protocol"])
def test_a_good_key_is_let_in_beside_who_makes_them_up_however_new_it_is(make_service, use):
    service = make_service(refused_per_minute=3)
    clock_s = [0.0]
    service.runtime.access.met._clock = lambda: clock_s[0]
    ask, uses = (
        STRANGE["a read"],
        {
            "a read": lambda client, _second: client.get("/v1/me"),
            "a small delivery": lambda client, second: send(client, [row("pump", second)]),
            "line protocol": lambda client, second: client.post(
                "/api/v2/write?bucket=default", content=f"m,component=pump v=1 {1_700_000_000_000_000_000 + second}"
            ),
        },
    )
    for _turn in range(2):  # the second key is made after we looked for keys
        device = service.key()
        assert [ask(service.anonymous).status_code for _ in range(5)][-1] == 429
        assert {uses[use](device, second).status_code for second in range(3)} <= {200, 201, 204}
        clock_s[0] += 2.0


def test_any_number_of_made_up_keys_costs_one_question(make_service, monkeypatch):
    service = make_service(refused_per_minute=1)
    ask, access = STRANGE["a read"], service.runtime.access
    assert [ask(service.anonymous).status_code for _ in range(2)] == [401, 429]
    access.met._clock = lambda: access.met._looked_s
    with monkeypatch.context() as patch:
        patch.setattr(access._db, "reading", None)
        assert {ask(service.anonymous).status_code for _ in range(100)} == {429}


def test_who_makes_up_refresh_tokens_takes_no_lock_from_those_who_write(make_service):
    service = make_service()
    with service.runtime.database.transaction():  # would take five seconds, and fail
        began_s = time.monotonic()
        assert STRANGE["a refresh token"](service.anonymous).status_code == 401
        assert time.monotonic() - began_s < 3


def test_only_a_trusted_proxy_says_for_whom_it_asks(make_service):
    service = make_service(refused_per_minute=1, trusted_proxies="127.0.0.0/8")
    codes = [
        service.anonymous.get("/v1/me", headers={"X-Forwarded-For": address}).status_code
        for address in ("192.0.2.1", "192.0.2.2", "6.6.6.6, 192.0.2.1")
    ]
    assert codes == [401, 401, 429]


def test_a_project_has_a_pace_of_its_own_within_a_second(make_service):
    service = make_service(writes_per_minute=0)
    service.limit(writes_per_minute=1)
    device = service.key()
    assert [send(device, [row("pump", second)]).status_code for second in range(2)] == [201, 429]


def test_new_series_over_the_quota_are_named_and_refused_and_old_ones_go_on(make_service):
    service = make_service()
    service.limit(series_quota=2)
    device = service.key()
    assert send(device, [row("a"), row("b")]).status_code == 201
    unknown_name = send(device, [row("a", 1), row("c")])
    assert (unknown_name.status_code, unknown_name.json()["code"]) == (422, "series_limit")
    assert unknown_name.json()["new"] == ["c"]
    assert service.runtime.registry.find_unknown("default", ["c"], []) == (["c"], [])  # it was not registered either
    service.runtime.registry.register("default", [], ["rpm"])
    known_names = send(device, [row("a", 1), row("b", 1, metric="rpm")])
    assert (known_names.status_code, known_names.json()["new"]) == (422, ["b / rpm"])
    assert stored(device) == 2
    assert send(device, [row("a", 1), row("b", 1)]).status_code == 201


def test_rows_per_day_end_at_the_quota_over_a_restart_and_repeats_are_free(make_service):
    service = make_service()
    service.limit(rows_per_day_quota=5)
    device = service.key()
    headers = dict(device.headers)
    assert send(device, [row("a", second) for second in range(3)]).status_code == 201
    assert send(device, [row("a", second) for second in range(3)]).json()["duplicates"] == 3
    service.close()
    service.open()
    device = Client(service.anonymous._app, headers)
    refused = send(device, [row("a", second) for second in range(10, 13)])
    assert (refused.status_code, refused.json()["code"]) == (429, "rows_per_day_quota")
    assert 1 <= int(refused.headers["retry-after"]) <= 86_400
    assert (refused.json()["rows_today"], refused.json()["quota"]) == (3, 5)
    assert stored(device) == 3
    assert send(device, [row("a", 10), row("a", 11)]).status_code == 201
    assert send(device, [row("a", 12)]).status_code == 429
    assert send(device, [row("new")]).json()["code"] == "rows_per_day_quota"
    assert service.runtime.registry.find_unknown("default", ["new"], []) == (["new"], [])  # nor was it registered
    assert send(device, [row("a", 10)]).json()["duplicates"] == 1
    assert stored(device) == 5


def status(device, second=0):
    at = f"2026-11-19T10:00:{second:02}Z"
    return {"device_id": device, "timestamp": at, "battery_level": 90, "rssi": -50, "online": True}


READINGS = {
    "id": "063c5957-8905-45f9-bfe3-960713788919",
    "readings": [{"count": 1, "timestamp": "2026-11-19T10:00:00Z"}],
}


REPORT = {"firmware": "1.0", "timestamp": "2026-11-19T10:00:00Z"}


def test_what_devices_send_is_held_to_the_quotas_and_registers_nothing_beyond_them(make_service):
    service = make_service()
    service.limit(rows_per_day_quota=3)
    device = service.key()
    assert device.post("/status", json=status("a")).status_code == 201
    new = {"/status": status("b"), "/api/device-readings/create": READINGS, "/firmware/c": REPORT}
    refused = {path: device.post(path, json=body) for path, body in (new | {"/status": status("a", 1)}).items()}
    refused["new"] = device.post("/status", json=new["/status"])
    assert {path: answer.status_code for path, answer in refused.items()} == dict.fromkeys(refused, 429)
    assert int(refused["/status"].headers["retry-after"]) >= 1
    assert "rows on a UTC day" in refused["/status"].json()["detail"]
    names = ["b", READINGS["id"], "c"]
    assert service.runtime.registry.find_unknown("default", names, []) == (names, [])
    assert device.post("/status", json=status("a")).status_code == 201  # a repeat is free
    assert stored(device) == 3


def test_new_devices_over_the_quota_of_series_are_refused(make_service):
    service = make_service()
    service.limit(series_quota=3)
    device = service.key()
    assert [device.post("/status", json=status(name)).status_code for name in "aab"] == [201, 201, 422]
    assert service.runtime.registry.find_unknown("default", ["b"], []) == (["b"], [])


@pytest.mark.parametrize(
    ("path", "body"), [("/status", status("a")), ("/api/device-readings/create", READINGS), ("/firmware/a", REPORT)]
)
def test_what_devices_send_counts_as_deliveries(make_service, path, body):
    device = make_service(writes_per_minute=1).key()
    answers = [device.post(path, json=body) for _ in "ab"]
    assert [answer.status_code for answer in answers] == [201, 429]
    assert {answer.headers["ratelimit-policy"] for answer in answers} == {'"writes";q=1;w=60'}
    assert int(answers[1].headers["retry-after"]) >= 1
    assert device.get("/v1/me").status_code == 200


def test_reports_that_wait_are_a_quota_of_the_project(make_service):
    service = make_service()
    service.limit(reports_waiting_quota=1)
    form = {"username": "manager", "password": "manager"}
    token = service.anonymous.post("/token", data=form).json()["access_token"]
    user = service.anonymous.with_headers(Authorization=f"Bearer {token}")
    assert send(service.key(), [row("a")]).status_code == 201
    question = {"period": "2026-11-19/2026-11-20", "kpis": ["mean"]}
    answers = [user.post("/v1/reports", json=question) for _ in "ab"]
    assert [answer.status_code for answer in answers] == [202, 429], [answer.text for answer in answers]


def test_wrong_passwords_are_delayed_and_the_owner_elsewhere_is_not(make_service, monkeypatch):
    service = make_service(trusted_proxies="127.0.0.1")
    hashes = []
    from gaugehouse.access import access  # noqa: PLC0415 - its name for the function is what is counted

    check = access.verify_password
    monkeypatch.setattr(access, "verify_password", lambda *both: hashes.append(1) or check(*both))

    def sign_in(password, address, name="user"):
        form = {"username": name, "password": password}
        return service.anonymous.post("/token", data=form, headers={"X-Forwarded-For": address})

    answers = [sign_in("guess", "203.0.113.66") for _ in range(60)]
    assert len(hashes) <= 10
    assert [answer.status_code for answer in answers[:5]] == [401] * 5
    assert (answers[5].status_code, answers[5].json()["code"]) == (429, "login_throttled")
    assert int(answers[5].headers["retry-after"]) >= 1
    assert sign_in("user", "203.0.113.66").status_code == 429  # not even the right one, from there
    assert sign_in("user", "192.0.2.1").status_code == 200
    before = len(hashes)
    nobody = [sign_in("guess", "203.0.113.77", name="nobody") for _ in range(10)]
    assert [answer.status_code for answer in nobody][:6] == [answer.status_code for answer in answers][:6]
    assert len(hashes) - before >= 5
    assert nobody[0].json()["detail"] == answers[0].json()["detail"]


def test_a_thousand_refused_sign_ins_are_one_entry_of_the_audit_log_with_the_address_behind_the_proxy(make_service):
    service = make_service(trusted_proxies="127.0.0.1")

    def sign_in(name, address):
        form = {"username": name, "password": "guess"}
        return service.anonymous.post("/token", data=form, headers={"X-Forwarded-For": f"6.6.6.6, {address}"})

    assert {sign_in("user", "203.0.113.66").status_code for _ in range(1000)} == {401, 429}
    secret = "a password in the wrong field"
    assert {sign_in(secret, "203.0.113.77").status_code for _ in range(10)} == {401, 429}
    service.runtime.refusals.settle(is_last=True)
    told = [one for one in walk_chain(service.runtime.database, INSTALLATION) if one.action == "login.throttle"]
    assert [(one.source, one.object_name, json.loads(one.details)) for one in told] == [
        ("203.0.113.66", "user", {"locked": "account"}),
        ("203.0.113.77", None, {"locked": "account"}),
    ]
