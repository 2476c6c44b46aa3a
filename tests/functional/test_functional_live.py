"""Live data from outside: a real server, real sockets, readers that behave and one that does not."""

import contextlib
import itertools
import json
import re
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from functional.installation import PASSWORD, REPOSITORY, wait_until
from gaugehouse.access import disable_user, rotate_signing_key
from gaugehouse.config import Settings
from gaugehouse.installation import open_database, open_secret

PAGE = (REPOSITORY / "docs" / "live.md").read_text("utf-8")
numbers = itertools.count()
BEGIN = datetime(2026, 11, 20, tzinfo=UTC)
SMALL_BUFFER_BYTES = 4096


@pytest.fixture(scope="module")
def plant(found):
    """A server of its own: readers are counted here."""
    installation = found(workers=1).start()
    installation.run_well("project", "create", "elsewhere")
    yield installation
    installation.stop()


def rows(component, numbers, metrics=("m",)):
    return [
        {
            "component": component,
            "metric": metric,
            "measured_at": (BEGIN + timedelta(seconds=number)).isoformat(),
            "value": number,
        }
        for number in numbers
        for metric in metrics
    ]


def send(client, delivery):
    assert client.post("/v1/measurements", json=delivery).status_code == 201


@contextlib.contextmanager
def reader(installation, token, *, buffer_bytes=None, **asked):
    """A WebSocket that has said what it wants."""
    address = httpx.URL(installation.url)
    raw = socket.socket()
    if buffer_bytes is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    raw.connect((address.host, address.port))
    url = f"ws://{address.host}:{address.port}/v1/live"
    with connect(url, sock=raw, max_size=None, max_queue=1, proxy=None) as line:
        line.send(json.dumps({"token": token, "subscribe": asked}))
        yield line


def until(line, kind, *, timeout_s=30.0):
    deadline_s = time.monotonic() + timeout_s
    while True:
        message = json.loads(line.recv(timeout=deadline_s - time.monotonic()))
        if message["type"] == kind:
            return message


def token_of(installation, name="max"):
    answer = httpx.post(f"{installation.url}/token", data={"username": name, "password": PASSWORD}, trust_env=False)
    return answer.json()["access_token"]


def metric_of(installation, name):
    text = httpx.get(f"{installation.url}/metrics", trust_env=False).text
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))


def test_a_value_is_told_after_it_was_acknowledged_and_only_in_its_project(plant):
    theirs = plant.run_well("key", "create", "theirs", "--project", "elsewhere").strip()
    with reader(plant, plant.key, max_rate_hz=10) as ours, reader(plant, theirs, max_rate_hz=10) as other:
        until(ours, "welcome"), until(other, "welcome")
        send(plant.device(), rows("shared-name", range(3)))
        send(plant.device(theirs), rows("shared-name", [100]))
        told, told_them = until(ours, "measurements"), until(other, "measurements")
        with pytest.raises(TimeoutError):
            other.recv(timeout=0.5)
    assert [row["value"] for row in told["items"]] == [2.0]
    assert told["coalesced"] == 2
    assert [row["value"] for row in told_them["items"]] == [100.0]


def test_a_reader_who_takes_nothing_is_told_and_cut_while_200_deliveries_are_stored(plant):
    """Counters say it: every delivery is stored, none waits for the reader, who is sent away alone."""
    metrics = [f"quantity-{number}" for number in range(1000)]  # 170 kB a tick
    client = plant.device()
    send(client, rows("flood", [0], metrics))
    before = {name: metric_of(plant, name) for name in COUNTED}
    asked = {"components": ["flood"], "max_rate_hz": 10}
    with reader(plant, plant.key, buffer_bytes=SMALL_BUFFER_BYTES, **asked) as stuck:
        with reader(plant, plant.key, metrics=["calm"], max_rate_hz=10) as calm:
            until(calm, "welcome")
            for number in range(1, 201):
                delivery = rows("flood", [number], metrics) if number % 5 == 0 else rows("calm", [number], ["calm"])
                send(client, delivery)
            floods = 40

            def is_dropped():
                """Send on: ticks on a slow machine are few, and buffers take several megabytes."""
                nonlocal floods
                floods += 1
                send(client, rows("flood", [1000 + floods], metrics))
                return metric_of(plant, TOO_SLOW) > before[TOO_SLOW]

            wait_until(is_dropped, what="the end of the slow reader")
            assert calm.close_code is None
            seen = [until(calm, "measurements")["items"][-1]["value"]]
            while seen[-1] != 199.0:
                seen.append(until(calm, "measurements")["items"][-1]["value"])
        after = {name: metric_of(plant, name) for name in COUNTED}
        assert after[ACCEPTED] - before[ACCEPTED] == floods * 1000 + 160
        assert after[TOO_SLOW] - before[TOO_SLOW] == 1
        notice = read_rest(stuck)
    assert notice["code"] == "too_slow"
    assert stuck.close_code == 4408
    wait_until(lambda: metric_of(plant, "gaugehouse_live_connections") == 0, what="the end of all readers")


TOO_SLOW = 'gaugehouse_live_dropped_total{reason="too_slow"}'
ACCEPTED = 'gaugehouse_rows_accepted_total{table="measurements"}'
COUNTED = (TOO_SLOW, ACCEPTED)


def read_rest(line):
    """Return the last message of a connection that is read again at last."""
    message = None
    with contextlib.suppress(ConnectionClosed):
        while True:
            message = json.loads(line.recv(timeout=10))
    return message


def test_a_reader_that_never_reads_again_is_cut(plant):
    metrics = [f"weight-{number}" for number in range(1000)]
    client = plant.device()
    send(client, rows("heavy", [0], metrics))
    dropped = metric_of(plant, TOO_SLOW)
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
        address = httpx.URL(plant.url)
        raw.connect((address.host, address.port))
        raw.sendall(
            f"GET /v1/live?component=heavy&max_rate_hz=10 HTTP/1.1\r\nHost: {address.host}\r\n"
            f"X-API-Key: {plant.key}\r\nAccept: text/event-stream\r\n\r\n".encode()
        )
        number = 0

        def is_dropped():
            nonlocal number
            number += 1
            send(client, rows("heavy", [number], metrics))
            return metric_of(plant, TOO_SLOW) > dropped

        wait_until(is_dropped, poll_s=0.3, what="the end of the slow reader")
        wait_until(lambda: metric_of(plant, "gaugehouse_live_connections") == 0, what="its connection's end")
        raw.settimeout(20)
        with contextlib.suppress(ConnectionResetError):
            while raw.recv(1 << 20):
                pass


def _end_key(plant):
    token = plant.create_key(f"short-{next(numbers)}", "--scope", "measurements:read")
    admin = plant.sign_in("ada")
    mine = next(one["id"] for one in admin.get("/v1/keys").json()["items"] if one["shown"] == token[:8])
    return token, lambda: admin.delete(f"/v1/keys/{mine}").raise_for_status()


def _end_session(plant):
    client = plant.sign_in("vera")
    return client.headers["Authorization"].removeprefix("Bearer "), lambda: client.post("/v1/logout").raise_for_status()


def _end_membership(plant):
    name = f"leaver-{next(numbers)}"
    plant.create_user(name, "viewer")
    admin = plant.sign_in("ada")
    return token_of(plant, name), lambda: admin.delete(f"/v1/members/{name}").raise_for_status()


def _on_database(plant, change):
    """Do what a command does, in this process: its own end is no part of what is measured."""
    settings = Settings(data_dir=plant.data_dir)

    def end():
        database = open_database(settings)
        with database.transaction() as session:
            change(session)
        database.dispose()

    return end


def _end_user(plant):
    name = f"barred-{next(numbers)}"
    plant.create_user(name, "viewer")
    token = token_of(plant, name)
    return token, _on_database(plant, lambda session: disable_user(session, name=name))


def _end_signing_key(plant):
    secret = open_secret(Settings(data_dir=plant.data_dir))
    token = token_of(plant, "vera")
    return token, _on_database(plant, lambda session: rotate_signing_key(session, secret=secret, at_once=True))


def _follow_socket(plant, token, ending):
    with reader(plant, token, max_rate_hz=0.1, snapshot=False) as line:
        until(line, "welcome")
        ending()
        ended_s = time.monotonic()
        notice = until(line, "notice")
        took_s = time.monotonic() - ended_s
        with pytest.raises(ConnectionClosed):
            line.recv(timeout=5)
        assert (notice["status"], line.close_code) == (401, 4401)
    return took_s


def _follow_stream(plant, token, ending):
    client = plant.client({"Authorization": f"Bearer {token}"})
    with client.stream("GET", "/v1/live", params={"max_rate_hz": 0.1, "snapshot": "false"}) as answer:
        assert answer.status_code == 200
        lines = answer.iter_lines()
        next(line for line in lines if line == "event: welcome")
        ending()
        ended_s = time.monotonic()
        next(line for line in lines if line == "event: notice")
        took_s = time.monotonic() - ended_s
        assert '"status":401' in next(lines)
        assert all(not line for line in lines)
    return took_s


@pytest.mark.parametrize("follow", [_follow_socket, _follow_stream])
@pytest.mark.parametrize("end", [_end_key, _end_session, _end_membership, _end_user, _end_signing_key])
def test_what_is_revoked_ends_within_a_second(plant, end, follow):
    """The best of three: the machine may be busy, the promise is the server's."""
    assert any(follow(plant, *end(plant)) < 1.0 for _ in range(3))


def test_the_progress_of_a_report_arrives(plant):
    manager = plant.sign_in("max")
    send(plant.device(), rows("reported", range(100)))
    question = {"period": "2026-11-20", "components": ["reported"], "kpis": ["mean"]}
    asked = manager.post("/v1/reports", json=question)
    report = asked.json()["id"]
    with reader(plant, token_of(plant), measurements=False, reports=[report], max_rate_hz=10) as line:
        states = [until(line, "report")]
        while states[-1]["status"] != "done":
            states.append(until(line, "report", timeout_s=120))
    assert {state["id"] for state in states} == {report}
    percents = [state["progress_percent"] for state in states]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert states[-1]["revision"] == 1


def test_server_sent_events_are_read_with_any_client_and_resumed(plant):
    client = plant.device()
    send(client, rows("streamed", [1, 2]))

    def read(headers=None, *, then=lambda: None):
        told = {}
        query = {"component": "streamed", "max_rate_hz": "10"}
        with client.stream("GET", "/v1/live", params=query, headers=headers) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            for line in answer.iter_lines():
                name, _, text = line.partition(": ")
                told[name] = text
                if not line and told.get("event") == "measurements":
                    return json.loads(told["data"]), told["id"]
        raise AssertionError("the stream ended")

    first, last = read()
    send(client, rows("streamed", [3]))
    second, after = read({"Last-Event-ID": last})
    assert (first["snapshot"], [row["value"] for row in first["items"]]) == (True, [2.0])
    assert (second["snapshot"], [row["value"] for row in second["items"]]) == (False, [3.0])
    assert after > last


def test_a_page_of_another_site_opens_no_socket(plant):
    address = httpx.URL(plant.url)
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://{address.host}:{address.port}/v1/live", origin="https://evil.example", proxy=None)
    assert refused.value.response.status_code == 403
    assert json.loads(refused.value.response.body)["code"] == "origin_refused"


def test_a_long_message_ends_the_socket(plant):
    address = httpx.URL(plant.url)
    with connect(f"ws://{address.host}:{address.port}/v1/live", proxy=None) as line:
        line.send("x" * 100_000)
        with pytest.raises(ConnectionClosed):
            line.recv(timeout=10)
        assert line.close_code == 1009


def test_readers_are_told_that_the_server_stops_and_come_back_with_what_they_know(found):
    installation = found().start()
    client = installation.device()
    send(client, rows("lasting", [1]))
    with reader(installation, installation.key, max_rate_hz=10) as line:
        last = until(line, "measurements")["id"]
        stopping = threading.Thread(target=installation.restart)
        stopping.start()
        notice = until(line, "notice")
        with pytest.raises(ConnectionClosed):
            line.recv(timeout=10)
    stopping.join()
    assert (notice["code"], line.close_code) == ("server_stopping", 1012)
    send(installation.device(), rows("lasting", [2]))
    with reader(installation, installation.key, last_event_id=last) as line:
        told = until(line, "measurements")
    assert [row["value"] for row in told["items"]] == [2.0]
    installation.stop()


def test_the_examples_of_the_page_work(demo):
    answer = httpx.post(f"{demo.url}/token", data={"username": "user", "password": "user"}, trust_env=False)
    token = answer.json()["access_token"]
    shell = re.search(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL).group(1)
    done = subprocess.run(
        ["bash", "-e", "-c", shell.replace("http://127.0.0.1:8080", demo.url)],
        capture_output=True, text=True, timeout=60, check=True, env={"TOKEN": token, "no_proxy": "127.0.0.1", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert re.findall(r"^event: (\w+)$", done.stdout, re.MULTILINE)[:3] == ["welcome", "measurements", "measurements"]
    snippet = re.search(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL).group(1)
    code = f"TOKEN = {token!r}\n" + snippet.replace("ws://127.0.0.1:8080", demo.url.replace("http", "ws"))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["welcome", "measurements", "measurements"]
