"""The main job from end to end: sign in, deliver in every format, read back in every format, report, download."""

import math
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import httpx
import numpy as np
import pytest

from functional import report_oracle
from functional.installation import PASSWORD, ask_report, assert_problem, follow
from functional.rows import (
    DELIVERIES,
    READ_TYPES,
    as_tuples,
    deliver,
    deliver_events,
    deliver_well,
    read_answer,
    read_back,
)
from payloads import CSV, JSON, NDJSON, PARQUET

START = datetime(2026, 3, 27, 22, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ODD_VALUES = [0.0, -0.0, 0.1, 1 / 3, -1.5e-300, 1.7976931348623157e308, 5e-324, 2.0**53, -(2.0**53), 1e22]


def make_rows(component, *, n=400, seed=0):
    """Return rows of two metrics: odd numbers, microseconds, all qualities, missing values, out of order."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        measured_at = START + i * MINUTE + timedelta(microseconds=int(rng.integers(0, 59_000_000)))
        value = ODD_VALUES[i] if i < len(ODD_VALUES) else float(rng.normal(70, 10))
        quality = [0, 0, 0, 0, 0, 0, 0, 1, 2][int(rng.integers(9))]
        value = None if quality == 2 and rng.random() < 0.5 else value
        rows.append((component, ("temperature", "Druck µ, rel.")[i % 2], measured_at, value, quality))
    rng.shuffle(rows)
    return rows


def in_order(rows):
    return sorted(rows, key=lambda row: row[:3])


def exact(rows):
    """Return rows in which values are compared to the last bit, the sign of zero included."""
    return [(*row[:3], None if row[3] is None else float(row[3]).hex(), *row[4:]) for row in rows]


@pytest.mark.parametrize("form", DELIVERIES)
def test_rows_of_every_delivery_format_are_read_back_exactly_in_every_answer_format(form, device, viewer):
    component = f"Förderband {form}"
    rows = make_rows(component)
    receipt = deliver_well(device, rows, form)
    assert (receipt["accepted"], receipt["duplicates"], receipt["conflicts"]) == (len(rows), 0, 0)
    for media_type in READ_TYPES:
        answer = viewer.get(
            f"/v1/components/{component}/measurements", params={"limit": 50_000}, headers={"Accept": media_type}
        )
        assert answer.headers["content-type"].startswith(media_type)
        stored = read_answer(answer)
        assert exact(as_tuples(stored)) == exact(in_order(rows)), media_type
        assert {row["received_at"] for row in stored} == {datetime.fromisoformat(receipt["received_at"])}
    again = deliver_well(device, rows, form)
    assert (again["accepted"], again["duplicates"], again["conflicts"]) == (0, len(rows), 0)


def test_what_was_just_acknowledged_is_in_the_next_read(device, viewer):
    for i in range(30):
        row = ("just now", "level", START + i * MINUTE, float(i), 0)
        deliver_well(device, [row])
        assert read_back(viewer, "just now")[-1] == row
        assert len(read_back(viewer, "just now")) == i + 1
        [newest] = read_answer(viewer.get("/v1/components/just now/latest"))
        assert (newest["measured_at"], newest["value"]) == (row[2], row[3])


@pytest.mark.parametrize("media_type", READ_TYPES)
def test_events_of_every_format_are_kept_once(media_type, house, manager):
    name = f"press {media_type}"
    bodies = [{"version": "1.4.2"}, ["a", None, 1.5], 'Ölstand, "niedrig"\n', None]
    events = [(name, "firmware", START + i * MINUTE, body) for i, body in enumerate(bodies)]
    for accepted in (len(events), 0):
        answer = deliver_events(manager, events, media_type)
        assert answer.status_code == 201, answer.text
        assert (answer.json()["accepted"], answer.json()["duplicates"]) == (accepted, len(events) - accepted)
    read = read_answer(manager.get("/v1/events", params={"component": name, "kind": "firmware"}))
    assert as_tuples(read, ("component", "kind", "occurred_at", "body")) == events


def test_json_pages_follow_their_cursor_to_every_row_once(device, viewer):
    rows = make_rows("paged", n=250)
    deliver_well(device, rows)
    pages, cursor = [], None
    while True:
        params = {"component": "paged", "limit": 60} | ({"cursor": cursor} if cursor else {})
        answer = viewer.get("/v1/measurements", params=params)
        pages.append(as_tuples(read_answer(answer)))
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            break
    assert [len(page) for page in pages] == [60, 60, 60, 60, 10]
    assert [row for page in pages for row in page] == in_order(rows)


def test_rows_are_chosen_by_time_metric_and_moment_of_knowledge(device, viewer):
    rows = make_rows("chosen", n=100)
    first = deliver_well(device, rows[:50])
    deliver_well(device, rows[50:])
    start, end = START + 20 * MINUTE, START + 60 * MINUTE
    inside = [row for row in in_order(rows) if start <= row[2] < end and row[1] == "temperature"]
    assert inside
    asked = {"start": start.isoformat(), "end": end.isoformat(), "metric": "temperature"}
    assert read_back(viewer, "chosen", **asked) == inside
    assert read_back(viewer, "chosen", as_of=first["received_at"]) == in_order(rows[:50])


def bucket_oracle(rows, edges):
    """Return {(metric, start): aggregates} over good and uncertain values."""
    cells = defaultdict(list)
    for row in in_order(rows):
        if row[4] < 2 and row[3] is not None:
            start = max(edge for edge in edges if edge <= row[2])
            cells[row[1], start].append(row[3])
    return {
        key: {
            "mean": np.mean(values),
            "min": min(values),
            "max": max(values),
            "sum": math.fsum(values),
            "count": len(values),
            "first": values[0],
            "last": values[-1],
        }
        for key, values in cells.items()
    }


def assert_buckets(answer, expected):
    found = {(row["metric"], row["bucket_start"]): row for row in read_answer(answer)}
    assert found.keys() == expected.keys()
    for key, aggregates in expected.items():
        for name, value in aggregates.items():
            assert found[key][name] == pytest.approx(value, rel=1e-12), (key, name)


@pytest.mark.parametrize("media_type", READ_TYPES)
def test_buckets_equal_numpy_across_the_change_to_summer_time(media_type, house, viewer):
    component = "buckets"
    rng = np.random.default_rng(5)
    rows = [
        (component, "flow", START + i * 10 * MINUTE, float(rng.normal(20, 3)), int(rng.choice([0, 0, 0, 1, 2])))
        for i in range(6 * 24 * 3)
    ]
    deliver_well(house.device(), rows)
    asked = {"component": component, "aggregate": "mean,min,max,sum,count,first,last"}
    headers = {"Accept": media_type}
    berlin = ZoneInfo("Europe/Berlin")
    days = [datetime(2026, 3, 27, tzinfo=berlin) + timedelta(days=i) for i in range(6)]
    answer = viewer.get(
        "/v1/measurements", params=asked | {"every": "day", "timezone": "Europe/Berlin"}, headers=headers
    )
    assert_buckets(answer, bucket_oracle(rows, [day.astimezone(UTC) for day in days]))
    hours = [START.replace(minute=0) + timedelta(hours=i) for i in range(24 * 4)]
    answer = viewer.get("/v1/measurements", params=asked | {"every": "1h"}, headers=headers)
    assert_buckets(answer, bucket_oracle(rows, hours))


def test_a_plot_gets_about_as_many_points_as_it_asks_for(device, viewer):
    deliver_well(device, [("plotted", "flow", START + i * MINUTE, float(i), 0) for i in range(1000)])
    answer = viewer.get("/v1/components/plotted/measurements", params={"points": 50, "aggregate": "count"})
    counts = [row["count"] for row in read_answer(answer)]
    assert 10 <= len(counts) <= 50
    assert sum(counts) == 1000


def test_latest_and_summary_tell_of_each_series(device, viewer):
    rows = [row for row in make_rows("summed", n=200) if row[3] is None or 1e-3 < row[3] < 1e6]
    deliver_well(device, rows)
    latest = {row["metric"]: row for row in read_answer(viewer.get("/v1/components/summed/latest"))}
    summary = {row["metric"]: row for row in read_answer(viewer.get("/v1/components/summed/summary"))}
    assert latest.keys() == summary.keys() == {row[1] for row in rows}
    for metric, row in summary.items():
        series = [one for one in in_order(rows) if one[1] == metric]
        values = [value for _, value in report_oracle.good_points(series)]
        assert (latest[metric]["measured_at"], latest[metric]["value"]) == series[-1][2:4]
        assert (row["n"], row["bad_n"]) == (len(values), len(series) - len(values))
        assert (row["first_measured_at"], row["last_measured_at"]) == (series[0][2], series[-1][2])
        assert (row["min"], row["max"], row["last_value"]) == (min(values), max(values), values[-1])
        assert row["mean"] == pytest.approx(math.fsum(values) / len(values), rel=1e-13)


def test_components_appear_by_themselves_and_managers_describe_retire_and_restore_them(device, viewer, manager):
    rows = [("kiln-7", "heat", START, 900.0, 0)]
    deliver_well(device, rows)
    assert viewer.get("/v1/components/kiln-7").json()["name"] == "kiln-7"
    change = {"type": "kiln", "labels": {"line": "K"}, "title": "Kiln 7"}
    assert_problem(viewer.patch("/v1/components/kiln-7", json=change), 403)
    assert manager.patch("/v1/components/kiln-7", json=change).json()["labels"] == {"line": "K"}
    assert [one["name"] for one in viewer.get("/v1/components", params={"label": "line:K"}).json()["items"]] == [
        "kiln-7"
    ]
    manager.post("/v1/components/kiln-7/retire").raise_for_status()
    assert viewer.get("/v1/components", params={"type": "kiln"}).json()["items"] == []
    assert read_back(viewer, "kiln-7") == rows
    manager.post("/v1/components/kiln-7/restore").raise_for_status()
    assert viewer.get("/v1/components", params={"type": "kiln"}).json()["total"] == 1
    bulk = manager.post("/v1/components", json=[{"name": "kiln-8", "type": "kiln"}, {"name": "kiln-9"}])
    assert (bulk.status_code, len(bulk.json()["items"])) == (201, 2)
    assert_problem(manager.post("/v1/components", json={"name": "kiln-8"}), 409)


# --- reports ---

PLANT_START = datetime(2026, 5, 4, tzinfo=UTC)
DAY = timedelta(days=1)
NOMINAL_S = 300.0
KINDS = {"rp_temperature": "gauge", "rp_running": "state", "rp_parts_total": "counter", "rp_count": "delta"}
ALL_KPIS = [
    "count", "min", "max", "mean", "std", "median", "p05", "p95", "first", "last", "change", "total",
    "time_weighted_mean", "completeness", "coverage", "counter_increase", "rate", "availability", "uptime", "downtime",
    "unknown_time",
]  # fmt: skip


def make_plant(components, *, seed=11, days=3):
    """Return rows of each kind of metric, from a day before PLANT_START on, with gaps, bad rows and resets."""
    rng = np.random.default_rng(seed)
    rows = []
    for component in components:
        for metric, kind in KINDS.items():
            total = 100.0
            t_s = -86_400.0 + float(rng.uniform(0, NOMINAL_S))
            while t_s < days * 86_400:
                total += float(rng.integers(0, 12))
                if kind == "counter" and rng.random() < 0.004:
                    total = float(rng.integers(0, 5))
                value = {
                    "gauge": float(rng.normal(60, 8)),
                    "state": float(rng.choice([1, 1, 1, 0, 7])),
                    "counter": total,
                    "delta": float(rng.integers(0, 9)),
                }[kind]
                quality = int(rng.choice([0, 0, 0, 0, 0, 1, 2])) if kind in {"gauge", "state"} else 0
                measured_at = PLANT_START + timedelta(microseconds=round(t_s * 1e6))
                rows.append((component, metric, measured_at, value, quality))
                t_s += NOMINAL_S * float(rng.uniform(0.8, 1.2))
                if kind in {"gauge", "state"} and rng.random() < 0.02:
                    t_s += NOMINAL_S * float(rng.uniform(2, 20))
    return rows


def expect(kind, rows, start, end):
    if kind == "gauge":
        return report_oracle.expect_gauge(rows, start, end, nominal_s=NOMINAL_S)
    if kind == "state":
        return report_oracle.expect_state(rows, start, end, nominal_s=NOMINAL_S)
    if kind == "counter":
        return report_oracle.expect_counter(rows, start, end)
    return report_oracle.expect_delta(rows, start, end)


@pytest.fixture(scope="module")
def plant(device, manager):
    """Two presses with four metrics each, described by the manager; (rows, names)."""
    components = ["press-1", "press-2"]
    rows = make_plant(components)
    described = [
        {"name": metric, "kind": kind, "nominal_interval_s": NOMINAL_S, "unit": "u"} for metric, kind in KINDS.items()
    ]
    assert manager.post("/v1/metrics", json=described).status_code == 201
    order = np.random.default_rng(1).permutation(len(rows))
    for part in np.array_split(order, 3):  # late and out of order
        deliver_well(device, [rows[i] for i in part], "arrow")
    return rows, components


def assert_report_equals_numpy(result, rows, days):
    found = {(row["component"], row["metric"], row["bucket_start"], row["kpi"]): row for row in result}
    assert len(found) == len(result)
    for component, metric in sorted({row[:2] for row in rows}):
        series = [row for row in rows if row[:2] == (component, metric)]
        for start, end in pairwise(days):
            for kpi, value in expect(KINDS[metric], series, start, end).items():
                row = found[component, metric, start, kpi]
                assert row["bucket_end"] == end
                assert row["value"] == pytest.approx(value, rel=1e-9, abs=1e-9), (component, metric, kpi, start)


def test_a_manager_asks_for_a_report_follows_it_and_downloads_what_numpy_says(plant, manager):
    rows, components = plant
    days = [PLANT_START + i * DAY for i in range(4)]
    question = {
        "period": {"start": days[0].isoformat(), "end": days[-1].isoformat()},
        "components": components,
        "kpis": ALL_KPIS,
        "bucket": "day",
    }
    asked = manager.post("/v1/reports", json=question)
    assert asked.status_code == 202
    assert asked.json()["status"] == "queued"
    location = asked.headers["location"]
    assert location == f"/v1/reports/{asked.json()['id']}"
    states = follow(manager, location)
    assert states[-1]["status"] == "done"
    assert {one["status"] for one in states} <= {"queued", "running", "done"}
    progress = [one["progress_percent"] for one in states]
    assert progress == sorted(progress)
    assert progress[-1] == 100
    assert states[-1]["requested_by"] == "max"
    assert len(states[-1]["digest"]) == 64

    for media_type in (JSON, CSV, PARQUET, NDJSON):
        answer = manager.get(f"{location}/result", headers={"Accept": media_type})
        result = read_answer(answer)
        assert len(result) == states[-1]["result_rows"]
        assert_report_equals_numpy(result, rows, days)
    assert {row["coverage"] is None for row in result} == {False}
    listed = manager.get("/v1/reports").json()["items"]
    assert asked.json()["id"] in {one["id"] for one in listed}


def test_the_same_question_gives_the_same_numbers_again(plant, manager):
    _, components = plant
    question = {"period": "2026-05", "components": components, "bucket": "week", "timezone": "Europe/Berlin"}
    results = []
    for _ in range(2):
        state = ask_report(manager, **question)
        results.append(read_answer(manager.get(f"/v1/reports/{state['id']}/result")))
    assert results[0] == results[1]
    assert results[0]


def test_a_report_shows_rows_that_were_acknowledged_just_before_it_was_asked_for(device, manager):
    now = datetime.now(UTC)
    for value in (1.0, 2.0):
        row = ("fresh", "level", now + timedelta(microseconds=int(value)), value, 0)
        receipt = deliver_well(device, [row])
        state = ask_report(
            manager,
            period={"start": (now - DAY).isoformat(), "end": (now + DAY).isoformat()},
            components=["fresh"],
            kpis=["count"],
        )
        assert datetime.fromisoformat(state["as_of"]) >= datetime.fromisoformat(receipt["received_at"])
        [result] = read_answer(manager.get(f"/v1/reports/{state['id']}/result"))
        assert result["value"] == value


def test_a_user_may_not_ask_for_a_report(plant, viewer, device):
    question = {"period": "2026-05"}
    assert_problem(viewer.post("/v1/reports", json=question), 403)
    assert_problem(device.post("/v1/reports", json=question), 403)
    assert_problem(viewer.get("/v1/reports"), 403)


def test_a_report_is_cancelled_before_or_while_it_runs_or_not_at_all(plant, manager):
    _, components = plant
    asked = manager.post("/v1/reports", json={"period": "2026-05", "components": components})
    location = asked.headers["location"]
    assert manager.post(f"{location}/cancel").status_code == 200
    state = follow(manager, location)[-1]
    assert state["status"] == "cancelled"
    assert_problem(manager.get(f"{location}/result"), 409)
    done = ask_report(manager, period="2026-05", components=components, kpis=["count"])
    assert_problem(manager.post(f"/v1/reports/{done['id']}/cancel"), 409)
    assert_problem(manager.get("/v1/reports/rep_00000000000000000000"), 404)


def test_a_report_that_cannot_be_answered_is_refused_at_once(plant, manager):
    assert_problem(manager.post("/v1/reports", json={"period": "last_fortnight"}), 422)
    assert_problem(manager.post("/v1/reports", json={"period": "2026-05", "timezone": "Mars/Olympus"}), 422)
    assert_problem(manager.post("/v1/reports", json={"period": "2026-05", "kpis": ["happiness"]}), 422, "kpi_unknown")
    assert_problem(manager.post("/v1/reports", json={"period": "2026-05", "components": ["nobody"]}), 404)
    assert_problem(manager.post("/v1/reports", json={"period": "2026", "bucket": "1m"}), 413, "report_too_large")


# --- access ---

SECURED = [
    "/v1/components",
    "/v1/measurements",
    "/v1/events",
    "/v1/latest",
    "/v1/summary",
    "/v1/metrics",
    "/v1/reports",
]


@pytest.mark.parametrize("path", SECURED)
def test_nobody_gets_in_without_credentials(path, house):
    assert_problem(httpx.get(house.url + path, trust_env=False), 401)
    for headers in ({"Authorization": "Bearer nonsense"}, {"X-API-Key": "ghk_" + "0" * 36}):
        assert_problem(httpx.get(house.url + path, headers=headers, trust_env=False), 401)
    if path in {"/v1/measurements", "/v1/events"}:
        assert_problem(httpx.post(house.url + path, json=[], trust_env=False), 401)


def test_scopes_are_granted_to_whom_they_belong(house):
    def ask(name, scope, password=PASSWORD):
        form = {"username": name, "password": password, "scope": scope}
        return httpx.post(f"{house.url}/token", data=form, trust_env=False)

    assert ask("vera", "user").json()["scope"] == "user"
    assert_problem(ask("vera", "manager"), 403)
    assert [set(ask("max", scope).json()["scope"].split()) for scope in ("user", "manager", "user manager")] == [
        {"user"},
        {"manager"},
        {"user", "manager"},
    ]
    assert_problem(ask("max", "user", "wrong password"), 401)
    assert_problem(ask("nobody", "user"), 401)
    only_user = house.sign_in("max", scope="user")
    assert_problem(only_user.post("/v1/reports", json={"period": "2026-05"}), 403)


def test_a_viewer_cannot_write_and_a_key_of_one_component_writes_that_one_only(house, viewer):
    rows = [("bound", "level", START, 1.0, 0)]
    assert_problem(deliver(viewer, rows), 403)
    bound = house.device(house.create_key("bound key", "--component", "bound"))
    assert deliver_well(bound, rows)["accepted"] == 1
    assert_problem(deliver(bound, [("another", "level", START, 1.0, 0)]), 403)
    assert read_back(viewer, "bound") == rows
    assert_problem(viewer.get("/v1/components/another"), 404)
