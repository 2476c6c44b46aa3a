"""Demo mode: one command on an empty folder gives a plant, live input, two accounts and open documentation."""

import re
from collections import Counter
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from functional.installation import ask_report, assert_problem, wait_until
from functional.rows import read_answer

HOST = "this-host"


@pytest.fixture(scope="module")
def user(demo):
    return demo.sign_in("user", "user")


@pytest.fixture(scope="module")
def manager(demo):
    return demo.sign_in("manager", "manager")


def test_it_says_where_to_go_and_how_to_get_in(demo):
    output = demo.output()
    assert demo.url in output
    assert f"{demo.url}/docs" in output
    assert "user/user" in output
    assert "manager/manager" in output


def test_the_plant_has_a_hundred_machines_with_ten_thousand_measurements_each(user):
    page = user.get("/v1/components", params={"limit": 500}).json()
    machines = {one["name"]: one for one in page["items"] if one["labels"].get("line") and one["name"] != HOST}
    assert len(machines) == 100
    assert HOST in {one["name"] for one in page["items"]}
    assert {one["type"] for one in machines.values()} == {"pump", "compressor", "conveyor", "chiller"}
    counts = Counter()
    newest = {}
    for row in read_answer(user.get("/v1/summary", params={"format": "arrow"})):
        counts[row["component"]] += row["n"] + row["bad_n"]
        newest[row["component"]] = max(newest.get(row["component"], row["last_measured_at"]), row["last_measured_at"])
    assert min(counts[name] for name in machines) >= 10_000
    assert sum(counts[name] for name in machines) >= 1_000_000
    assert min(newest[name] for name in machines) > datetime.now(UTC) - timedelta(days=2)
    # The plant is read every half hour: its newest rows are at most that old.
    assert max(newest[name] for name in machines) > datetime.now(UTC) - timedelta(minutes=35)


def test_it_holds_the_dirt_of_a_real_plant(manager):
    kinds = Counter(row["kind"] for row in read_answer(manager.get("/v1/events", params={"format": "arrow"})))
    assert kinds["conflict"] > 0
    metrics = {one["name"]: one for one in manager.get("/v1/metrics", params={"limit": 500}).json()["items"]}
    assert {"gauge", "counter", "state"} <= {one["kind"] for one in metrics.values()}


def test_this_host_is_measured_every_second(user):
    def newest():
        rows = read_answer(user.get(f"/v1/components/{HOST}/latest"))
        return {row["metric"]: (row["measured_at"], row["value"]) for row in rows}

    first = newest()
    assert "cpu_percent" in first
    moved = wait_until(
        lambda: (now := newest()) and now["cpu_percent"][0] >= first["cpu_percent"][0] + timedelta(seconds=2) and now,
        timeout_s=30,
        what="two seconds of this host",
    )
    assert all(moved[metric][0] > first[metric][0] for metric in first)


def test_a_user_reads_and_a_manager_reports_about_last_month(user, manager):
    assert set(user.get("/v1/me").json()["scopes"]) == {"user"}
    assert set(manager.get("/v1/me").json()["scopes"]) == {"user", "manager"}
    assert_problem(user.post("/v1/reports", json={"period": "last_month"}), 403)
    state = ask_report(manager, period="last_month", kpis=["mean", "availability", "counter_increase"])
    result = read_answer(manager.get(f"/v1/reports/{state['id']}/result", params={"format": "arrow"}))
    assert len({row["component"] for row in result}) >= 100
    defined = Counter(row["kpi"] for row in result if row["value"] is not None)
    assert all(defined[kpi] >= 100 for kpi in ("mean", "availability"))
    assert defined["counter_increase"] > 0


def test_the_documentation_is_open_local_and_strict(demo):
    with httpx.Client(base_url=demo.url, trust_env=False) as browser:
        for path in ("/", "/b/docs"):
            answer = browser.get(path)
            assert (answer.status_code, answer.headers["location"]) == (307, "/docs")
        page = browser.get("/docs")
        assert page.status_code == 200
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert not re.search(r"(src|href)=\"(https?:)?//", page.text)
        assert not re.search(r"<script(?![^>]*\bsrc=)", page.text)
        for asset in re.findall(r'(?:src|href)="(/[^"]+)"', page.text):
            assert browser.get(asset).status_code == 200, asset
        description = browser.get("/openapi.json").json()
        assert "/v1/measurements" in description["paths"]


def test_another_start_finds_the_plant_and_does_not_load_it_again(demo):
    def count():
        rows = read_answer(demo.sign_in("user", "user").get("/v1/summary", params={"format": "arrow"}))
        return sum(row["n"] + row["bad_n"] for row in rows if row["component"] != HOST)

    before = count()
    demo.restart()
    assert count() == before


def test_the_demo_accounts_do_not_exist_outside_demo_mode(demo):
    options = demo.options
    demo.stop()
    demo.start()
    for name in ("user", "manager"):
        form = {"username": name, "password": name}
        assert_problem(httpx.post(f"{demo.url}/token", data=form, trust_env=False), 401)
    assert_problem(httpx.get(f"{demo.url}/docs", trust_env=False), 401)
    demo.stop()
    demo.start(*options)
