"""The fleet over HTTP: states by thresholds, pages, the old addresses beside the new ones, gauges."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families as parse

from asgi_client import Client
from gaugehouse.access import create_api_key
from gaugehouse.config import Settings
from gaugehouse.errors import Unavailable
from gaugehouse.fleet import overview, roster
from gaugehouse.fleet.thresholds import Thresholds
from gaugehouse.inventory import ProjectSettings, create_project, get_project, put_project_settings
from gaugehouse.runtime import open_runtime
from gaugehouse.web.api import legacy_status
from gaugehouse.web.app import create_app
from gaugehouse.web.exposition import write_metrics
from gaugehouse.web.fleet_exposition import FLEET_METRICS, TREND_AGE, FleetCollector

JSON = {"Content-Type": "application/json"}
NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Ask anew each time: what is remembered for seconds would hide what a test has just done."""
    monkeypatch.setattr(overview, "TREND_AGE_S", 0.0)
    monkeypatch.setattr(overview, "TREND_SHARE", 0)
    monkeypatch.setattr(overview, "COUNTS_AGE_S", 0.0)
    monkeypatch.setattr(roster, "AGE_S", 0.0)


@pytest.fixture
def project(runtime, request):
    """A project of its own for each test."""
    slug = f"p{abs(hash(request.node.name)):x}"
    with runtime.database.transaction() as session:
        create_project(session, slug)
    return slug


@pytest.fixture
def make_device(runtime, anonymous, project):
    def make(**wanted):
        with runtime.database.transaction() as session:
            return anonymous.with_headers(X_API_Key=create_api_key(session, name="probe", project=project, **wanted))

    return make


@pytest.fixture
def device(make_device):
    return make_device()


@pytest.fixture
def lead(runtime, anonymous, project):
    """Somebody who may do everything in the project."""
    return anonymous.with_headers(Authorization=f"Bearer {runtime.access.issue_operator_token(project)}")


def heartbeat(name, *, ago_s=0, battery=90, rssi=-50, online=True):
    at = (NOW - timedelta(seconds=ago_s)).isoformat().replace("+00:00", "Z")
    return {"device_id": name, "timestamp": at, "battery_level": battery, "rssi": rssi, "online": online}


def report(device, name, **said):
    answer = device.post("/status", json=heartbeat(name, **said))
    assert answer.status_code == 201, answer.text
    return answer.json()


def states(client, **asked):
    answer = client.get("/v1/fleet/status", params=asked)
    assert answer.status_code == 200, answer.text
    return {one["component"]: (one["state"], one["reasons"]) for one in answer.json()["items"]}


def test_states_follow_from_the_thresholds_and_name_their_reasons(device, lead):
    report(device, "well")
    report(device, "low", battery=19)
    report(device, "weak", rssi=-86)
    report(device, "both", battery=1, rssi=-120)
    report(device, "gone", ago_s=901)
    report(device, "off", online=False)
    report(device, "edge", battery=20, rssi=-85)
    expected = {
        "both": ("at-risk", ["low_battery", "weak_rssi"]),
        "edge": ("online", []),
        "gone": ("offline", ["no_heartbeat"]),
        "low": ("at-risk", ["low_battery"]),
        "off": ("offline", ["says_offline"]),
        "weak": ("at-risk", ["weak_rssi"]),
        "well": ("online", []),
    }
    assert states(lead) == expected
    for state in ("online", "at-risk", "offline"):
        wanted = {name: found for name, found in expected.items() if found[0] == state}
        assert states(lead, state=state) == wanted
    for name, (state, reasons) in expected.items():
        one = lead.get(f"/v1/fleet/status/{name}").json()
        assert (one["state"], one["reasons"]) == (state, reasons)
    overview = lead.get("/v1/fleet/overview").json()
    assert overview.pop("average_battery") == pytest.approx((90 * 4 + 19 + 1 + 20) / 7)
    assert overview == {"devices": 7, "online": 2, "at_risk": 3, "offline": 2}


def test_a_battery_that_falls_too_fast_is_a_risk_and_a_short_fall_is_none(device, lead):
    for hours in range(3):
        report(device, "falling", ago_s=3600 * hours, battery=60 + 5 * hours)
        report(device, "slow", ago_s=3600 * hours, battery=60 + 4 * hours)
        report(device, "charging", ago_s=3600 * hours, battery=90 - 5 * hours)
    report(device, "young", ago_s=60, battery=90)
    report(device, "young", battery=60)
    assert {name: found[1] for name, found in states(lead).items()} == {
        "charging": [],
        "falling": ["falling_battery"],
        "slow": [],
        "young": [],
    }
    assert list(states(lead, state="at-risk")) == ["falling"]


def test_what_a_device_calls_bad_makes_its_battery_fall_no_faster(device, lead):
    rows = [
        {
            "component": name,
            "metric": "battery_level",
            "measured_at": (NOW - timedelta(hours=hours)).isoformat(),
            "value": level,
            "quality": quality if hours == 1 else 0,
        }
        for name, quality in (("good", 0), ("uncertain", 1), ("bad", 2))
        for hours, level in ((5, 90.0), (2, 89.0), (1, 40.0))
    ]
    rows += [
        rows[0] | {"component": name, "measured_at": NOW.isoformat(), "metric": "online", "value": 1}
        for name in ("good", "uncertain", "bad")
    ]
    assert device.post("/v1/measurements", json=rows).status_code == 201
    found = {name: reasons for name, (_state, reasons) in states(lead).items()}
    assert found == {"good": ["falling_battery"], "uncertain": ["falling_battery"], "bad": []}


def test_what_a_device_calls_bad_is_not_known_of_it(device, lead):
    report(device, "one", ago_s=60, battery=80)
    row = {"component": "one", "measured_at": NOW.isoformat(), "quality": 2}
    rows = [row | {"metric": "battery_level", "value": 3.0}, row | {"metric": "online", "value": 0.0}]
    assert device.post("/v1/measurements", json=rows).status_code == 201
    assert states(lead) == {"one": ("online", [])}
    newest, before = lead.get("/status/one/history").json()["statuses"]
    assert (newest["battery_level"], newest["online"], before["battery_level"]) == (None, None, 80)
    assert lead.get("/status/one").json()["battery_level"] is None
    assert lead.get("/status/summary").json()["devices"][0]["battery_level"] is None


def test_thresholds_are_the_projects_own(device, lead, manager):
    defaults = {name: getattr(Thresholds(), name) for name in Thresholds.__slots__}
    assert lead.get("/v1/fleet/thresholds").json() == defaults
    report(device, "one", ago_s=120, battery=50)
    assert states(lead)["one"][0] == "online"
    answer = lead.put("/v1/fleet/thresholds", json={"offline_after_s": 60, "low_battery_percent": 55})
    assert (answer.status_code, answer.json()) == (200, defaults | {"offline_after_s": 60, "low_battery_percent": 55})
    assert states(lead)["one"] == ("offline", ["no_heartbeat", "low_battery"])
    assert manager.get("/v1/fleet/thresholds").json() == defaults
    lead.put("/v1/fleet/thresholds", json={"offline_after_s": 600})
    assert states(lead)["one"] == ("online", [])


@pytest.mark.parametrize(
    "bad", [{"offline_after_s": 0}, {"low_battery_percent": 101}, {"weak_rssi_dbm": 1}, {"other": 1}]
)
def test_thresholds_out_of_bounds_are_refused(lead, bad):
    answer = lead.put("/v1/fleet/thresholds", json=bad)
    assert answer.status_code == 422
    assert next(iter(bad)) in answer.text


def test_pages_have_every_device_once(device, lead):
    names = [f"d{n:02}" for n in range(7)]
    for name in names:
        report(device, name, battery=10 if name < "d04" else 90)
    for asked, expected in (({}, names), ({"state": "at-risk"}, names[:4])):
        found, cursor = [], None
        while True:
            page = lead.get("/v1/fleet/status", params={"limit": 3, **asked} | ({"cursor": cursor} if cursor else {}))
            body = page.json()
            assert body["total"] == len(expected)
            found += [one["component"] for one in body["items"]]
            cursor = body["next_cursor"]
            if cursor is None:
                break
        assert found == expected
    assert lead.get("/v1/fleet/status", params={"cursor": "nonsense"}).json()["code"] == "cursor_refused"


def test_devices_are_chosen_by_label_and_retired_ones_are_left_out(device, lead):
    for name, line in (("a", "north"), ("b", "south"), ("c", "north")):
        report(device, name)
        lead.patch(f"/v1/components/{name}", json={"labels": {"line": line}})
    assert list(states(lead, label="line:north")) == ["a", "c"]
    lead.post("/v1/components/c/retire")
    assert list(states(lead)) == ["a", "b"]
    assert device.get("/status/summary").json()["total_devices"] == 2
    lead.post("/v1/components/c/restore")
    assert list(states(lead)) == ["a", "b", "c"]


def test_a_device_key_reports_and_sees_its_own_device_only(device, make_device):
    report(device, "other")
    own = make_device(component="mine")
    report(own, "mine")
    answer = own.post("/status", json=heartbeat("other", ago_s=5))
    assert answer.status_code == 403
    assert answer.json().keys() == {"detail"}
    assert own.get("/status/other").status_code == own.get("/status/other/history").status_code == 404
    assert [one["device_id"] for one in own.get("/status/summary").json()["devices"]] == ["mine"]
    assert list(states(own)) == ["mine"]
    assert own.get("/v1/fleet/overview").json()["devices"] == 1
    assert own.get("/v1/fleet/status/other").status_code == 404


READ_OF_ITSELF = "a1b2c3d4-0000-4000-8000-000000000009"
QUESTIONS = [
    f"/status/{READ_OF_ITSELF}",
    f"/status/{READ_OF_ITSELF}/history",
    f"/api/device-readings/{READ_OF_ITSELF}/latest-timestamp",
    f"/api/device-readings/{READ_OF_ITSELF}/cumulative-count",
    f"/firmware/{READ_OF_ITSELF}",
]


@pytest.mark.parametrize(
    ("wanted", "is_row_reader"),
    [
        pytest.param({"component": READ_OF_ITSELF}, False, id="of the device"),
        pytest.param({}, True, id="of the project"),
        pytest.param({"scopes": ["measurements:read", "events:read"]}, True, id="read-only"),
    ],
)
def test_every_key_of_a_device_or_project_reads_at_the_old_addresses_what_was_sent(
    device, make_device, wanted, is_row_reader
):
    """As the systems before answered every key; rows as such are for keys that were given `measurements:read`."""
    report(device, READ_OF_ITSELF)
    reading = {"count": 9, "timestamp": NOW.isoformat()}
    device.post("/api/device-readings/create", json={"id": READ_OF_ITSELF, "readings": [reading]})
    said = {"firmware": "1.0.3", "timestamp": NOW.isoformat(), "status": "updated"}
    device.post(f"/firmware/{READ_OF_ITSELF}", json=said)
    key = make_device(**wanted)
    newest, history, latest, count, firmware = [key.get(question) for question in QUESTIONS]
    assert newest.json()["battery_level"] == 90
    assert history.json()["statuses"] == [newest.json()]
    assert latest.json() == {"timestamp": NOW.strftime("%Y-%m-%dT%H:%M:%S+0000")}
    assert count.json() == {"cumulative_count": 9}
    assert [one["firmware"] for one in firmware.json()] == ["1.0.3"]
    assert key.get("/v1/measurements").status_code == (200 if is_row_reader else 403)


def test_a_key_that_only_writes_reads_nothing_at_the_old_addresses(device, make_device):
    report(device, READ_OF_ITSELF)
    key = make_device(component=READ_OF_ITSELF, scopes=["measurements:write", "events:write"])
    assert [key.get(question).status_code for question in QUESTIONS] == [403] * len(QUESTIONS)


def test_projects_do_not_see_each_others_devices(device, user):
    report(device, "hidden")
    assert "hidden" not in states(user)
    assert user.get("/status/hidden").status_code == 404


def test_the_short_way_and_the_general_way_answer_alike(device, monkeypatch):
    first = report(device, "twice", ago_s=100)
    with monkeypatch.context() as patch:
        patch.setattr(legacy_status, "_store", None)  # the general way needs it
        short = report(device, "twice", ago_s=50)
        assert report(device, "twice", ago_s=100, battery=1) == first
        assert report(device, "twice", ago_s=50, rssi=-1) == short
    general = device.post("/status", content=json.dumps(heartbeat("twice", ago_s=50, rssi=-1)), headers={})
    assert general.json() == short
    bad = device.post("/status", json=heartbeat("twice", battery=101))
    assert bad.json()["detail"][0]["loc"] == ["body", "battery_level"]


def test_those_who_send_one_instant_at_once_are_all_told_what_was_stored(device):
    report(device, "race", ago_s=9)
    with ThreadPoolExecutor(8) as pool:
        said = [heartbeat("race", battery=n, rssi=-n) for n in range(32)]
        answers = [answer.json() for answer in pool.map(lambda one: device.post("/status", json=one), said)]
    assert all(answer == answers[0] for answer in answers)
    assert answers[0]["battery_level"] == -answers[0]["rssi"]
    assert device.get("/status/race").json() == answers[0]


def test_a_project_that_registers_nothing_names_the_unknown_device(runtime, device, project):
    report(device, "known")
    with runtime.database.transaction() as session:
        put_project_settings(session, get_project(session, project).id, ProjectSettings(register_unknown=False))
    answer = device.post("/status", json=heartbeat("stranger"))
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "device_id"]
    report(device, "known", ago_s=1)


def test_the_metrics_of_a_status_are_registered_as_what_they_are(device, lead):
    report(device, "kinds")
    device.post(
        "/api/device-readings/create",
        json={
            "id": "063c5957-8905-45f9-bfe3-960713788919",
            "readings": [{"count": 1, "timestamp": "2024-01-01T00:00:00Z"}],
        },
    )
    kinds = {one["name"]: one["kind"] for one in lead.get("/v1/metrics").json()["items"]}
    assert kinds == {
        "battery_level": "gauge",
        "count": "delta",
        "online": "state",
        "rssi": "gauge",
        "utc_offset_s": "gauge",
    }


def test_a_status_in_parts_shows_the_newest_of_each_and_the_history_what_was_sent(device):
    rows = [
        {"component": "parts", "metric": metric, "measured_at": f"2026-01-01T0{hour}:00:00Z", "value": value}
        for metric, hour, value in (("battery_level", 1, 40.5), ("rssi", 2, -60), ("online", 2, 1))
    ]
    device.post("/v1/measurements", json=rows)
    newest = device.get("/status/parts").json()
    assert (newest["timestamp"], newest["battery_level"]) == ("2026-01-01T02:00:00Z", 40.5)
    history = device.get("/status/parts/history").json()
    assert [(one["timestamp"], one["battery_level"], one["rssi"], one["online"]) for one in history["statuses"]] == [
        ("2026-01-01T02:00:00Z", None, -60, True),
        ("2026-01-01T01:00:00Z", 40.5, None, None),
    ]
    completed = device.post(
        "/status",
        json={
            "device_id": "parts",
            "timestamp": "2026-01-01T01:00:00Z",
            "battery_level": 9,
            "rssi": -9,
            "online": False,
        },
    ).json()
    assert (completed["battery_level"], completed["rssi"], completed["online"]) == (40.5, -9, False)


def test_history_pages_are_the_newest_first_and_both_dates_count(runtime, device):
    for second in range(25):
        report(device, "paged", ago_s=second)
    for where in ("hot rows", "files"):
        if where == "files":
            runtime.lake.flush()
        pages = [device.get(f"/status/paged/history?page={n}&page_size=10").json() for n in (1, 2, 3, 4)]
        assert [len(page["statuses"]) for page in pages] == [10, 10, 5, 0], where
        assert {(page["total_records"], page["total_pages"]) for page in pages} == {(25, 3)}
        times = [one["timestamp"] for page in pages for one in page["statuses"]]
        assert times == sorted(times, reverse=True)
        span = device.get("/status/paged/history", params={"start_date": times[9], "end_date": times[2]}).json()
        assert [one["timestamp"] for one in span["statuses"]] == times[2:10]
    empty = device.get("/status/paged/history?start_date=2020-01-01T00:00:00Z&end_date=2020-01-02T00:00:00Z").json()
    assert (empty["total_records"], empty["total_pages"], empty["statuses"]) == (0, 0, [])
    for_ever = device.get("/status/paged/history", params={"end_date": "9999-12-31T23:59:59.999999Z"}).json()
    assert for_ever["total_records"] == 25
    wrong = device.get("/status/paged/history?end_date=soon")
    assert (wrong.status_code, wrong.json()["detail"][0]["loc"]) == (422, ["query", "end_date"])


def test_the_summary_is_the_same_in_pages_as_whole_and_in_portions(device, monkeypatch):
    for n in range(5):
        report(device, f"s{n}", battery=n + (0.5 if n == 3 else 0))
    whole = device.get("/status/summary").json()
    assert [one["device_id"] for one in whole["devices"]] == [f"s{n}" for n in range(5)]
    monkeypatch.setattr(overview, "PORTION", 2)
    assert device.get("/status/summary").json() == whole
    parts = [device.get(f"/status/summary?page={n}&page_size=2").json() for n in (1, 2, 3)]
    assert {part["total_devices"] for part in parts} == {5}
    assert [one for part in parts for one in part["devices"]] == whole["devices"]
    assert device.get("/status/summary?page=9").json() == {"total_devices": 5, "devices": []}


def test_nobody_is_an_empty_fleet(device, lead):
    assert device.get("/status/summary").json() == {"total_devices": 0, "devices": []}
    assert states(lead) == {}
    assert lead.get("/v1/fleet/overview").json() == {
        "devices": 0,
        "online": 0,
        "at_risk": 0,
        "offline": 0,
        "average_battery": None,
    }


def scrape(runtime, *, by_project):
    registry = CollectorRegistry()
    registry.register(FleetCollector(runtime, by_project))
    body, _media_type = write_metrics(registry, "text/plain")
    families = {family.name: family for family in parse(body.decode())}
    assert set(families) <= {name.removesuffix("_total") for name in FLEET_METRICS}
    return {
        (sample.name, sample.labels.get("project")): sample.value for f in families.values() for sample in f.samples
    }


def test_gauges_count_devices_and_heartbeats_once(runtime, device, project):
    before = scrape(runtime, by_project=False)
    report(device, "well", battery=80)
    report(device, "well", battery=80)
    report(device, "low", battery=10)
    report(device, "gone", ago_s=1000, battery=60)
    device.post(
        "/v1/measurements",
        json=[
            {"component": "well", "metric": "online", "measured_at": "2026-01-01T00:00:00Z", "value": 1},
            {"component": "well", "metric": "other", "measured_at": "2026-01-01T00:00:00Z", "value": 1},
        ],
    )
    mine = {name: value for (name, label), value in scrape(runtime, by_project=True).items() if label == project}
    mine.pop(TREND_AGE, None)
    assert mine == {
        "heartbeat_count_total": 4,
        "online_devices": 2,
        "at_risk_devices": 1,
        "offline_devices": 1,
        "average_battery": 50,
    }
    after = scrape(runtime, by_project=False)
    assert all(label is None for _name, label in after)
    assert after["heartbeat_count_total", None] == before["heartbeat_count_total", None] + 4
    assert after["online_devices", None] == before["online_devices", None] + 2


def wait_until(is_true):
    until_s = time.monotonic() + 30
    while not is_true():
        assert time.monotonic() < until_s
        time.sleep(0.01)


def test_a_scrape_never_waits_for_the_question_whose_battery_falls(runtime, device, project, monkeypatch):
    for hours in range(3):
        report(device, "falling", ago_s=3600 * hours, battery=60 + 5 * hours)
    may_end, find_falling = threading.Event(), overview.find_falling

    def slow(*asked):
        may_end.wait(30)
        return find_falling(*asked)

    def scraped():
        found = scrape(runtime, by_project=True)
        return found["at_risk_devices", project], found.get((TREND_AGE, project))

    monkeypatch.setattr(overview, "find_falling", slow)
    try:
        assert scraped() == scraped() == (0, None)  # the question hangs; nothing is known yet
    finally:
        may_end.set()
    wait_until(lambda: scraped()[0] == 1)
    monkeypatch.setattr(overview, "TREND_AGE_S", 3600.0)
    ages = [scraped()[1], scraped()[1]]
    assert 0 <= ages[0] < ages[1] < 60
    assert scrape(runtime, by_project=False)[TREND_AGE, None] >= ages[1]


def test_a_question_about_falling_batteries_that_fails_leaves_the_scrape_whole(runtime, device, project, monkeypatch):
    report(device, "one", battery=10)

    def fail(*_asked):
        raise Unavailable("a file cannot be read")

    monkeypatch.setattr(overview, "find_falling", fail)
    for _ in range(2):
        assert scrape(runtime, by_project=True)["at_risk_devices", project] == 1


def test_pages_that_go_on_with_a_list_do_not_judge_the_whole_fleet_again(device, lead, monkeypatch):
    names = [f"d{n:02}" for n in range(30)]
    for name in names:
        report(device, name, battery=10, ago_s=60)
    judged, judge = [], overview.judge
    monkeypatch.setattr(
        overview, "judge", lambda newest, *rest: judged.append(newest.newest_us.size) or judge(newest, *rest)
    )
    pages, cursor = [], None
    while cursor is not None or not pages:
        asked = {"state": "at-risk", "limit": 10} | ({"cursor": cursor} if cursor else {})
        body = lead.get("/v1/fleet/status", params=asked).json()
        pages.append([one["component"] for one in body["items"]])
        cursor = body["next_cursor"]
        if len(pages) == 1:
            report(device, "d15", battery=90)  # it is well again, and d11 is the first to be heard of
            report(device, "d11", battery=5)
    assert pages == [names[:10], [name for name in names[10:20] if name != "d15"], names[20:]]
    assert judged == [30, 10, 10, 10]
    assert list(states(lead, state="at-risk")) == [name for name in names if name != "d15"]
    monkeypatch.setattr(overview, "PICTURE_AGE_S", 0.0)
    monkeypatch.setattr(overview, "PICTURE_TIMES", 0)
    before = len(judged)
    lead.get("/v1/fleet/status", params=asked)
    assert judged[before:][0] == 30  # what all were is too old


def test_other_thresholds_are_another_picture(device, lead):
    for name in ("a", "b", "c"):
        report(device, name, battery=30)
    lead.put("/v1/fleet/thresholds", json={"low_battery_percent": 50})
    first = lead.get("/v1/fleet/status", params={"state": "at-risk", "limit": 1}).json()
    assert (first["total"], [one["component"] for one in first["items"]]) == (3, ["a"])
    lead.put("/v1/fleet/thresholds", json={})
    asked = {"state": "at-risk", "limit": 1, "cursor": first["next_cursor"]}
    assert lead.get("/v1/fleet/status", params=asked).json()["total"] == 0


def test_heartbeats_are_counted_from_the_start_of_the_service_for_every_project_with_devices(tmp_path):
    """A counter that begins at 0, as Prometheus takes it: what comes first after a start is an increase."""
    settings = Settings(data_dir=tmp_path / "data")
    with_one = Client(create_app(first := open_runtime(settings)))
    with first.database.transaction() as session:
        key = create_api_key(session, name="probe", project="default")
    with_one = with_one.with_headers(X_API_Key=key)
    assert ("heartbeat_count_total", "default") not in scrape(first, by_project=True)
    report(with_one, "one")
    report(with_one, "one", ago_s=5)
    report(with_one, "one", ago_s=5)
    assert scrape(first, by_project=True)["heartbeat_count_total", "default"] == 2
    assert scrape(first, by_project=False)["heartbeat_count_total", None] == 2
    first.close()
    second = open_runtime(settings)
    try:
        assert scrape(second, by_project=True)["heartbeat_count_total", "default"] == 0
        assert scrape(second, by_project=False)["heartbeat_count_total", None] == 0
    finally:
        second.close()
    assert "since the service started" in FLEET_METRICS["heartbeat_count_total"][1]


def test_cumulative_counts_survive_odd_rows(device):
    name = "063c5957-8905-45f9-bfe3-960713788919"
    device.post(
        "/api/device-readings/create",
        json={"id": name, "readings": [{"count": 3, "timestamp": "2024-01-01T00:00:00Z"}]},
    )
    rows = [
        {"component": name, "metric": "count", "measured_at": "2024-01-01T01:00:00Z", "value": 0.5},
        {"component": name, "metric": "count", "measured_at": "2024-01-01T02:00:00Z", "value": None, "quality": 2},
        {"component": name, "metric": "count", "measured_at": "2024-01-01T03:00:00Z", "value": 4, "quality": 2},
    ]
    assert device.post("/v1/measurements", json=rows).status_code == 201
    assert device.get(f"/api/device-readings/{name}/cumulative-count").json() == {"cumulative_count": 3.5}
    assert device.get(f"/api/device-readings/{name}/latest-timestamp").json() == {
        "timestamp": "2024-01-01T03:00:00+0000"
    }
