"""Hostile requests against a real server: refused in one shape, soon and in little memory, and nothing of them is kept."""

import re
import select
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import urlsplit

import polars as pl
import pytest

from faults.hostile import KINDS, Target, attack, check_answer, check_refusal, read_answer, send, tag_of
from faults.hostile_requests import PATHS, STEADY, Attack, read_operations, write_head
from faults.measuring import peak_memory_bytes, quantile_s, sending_single_rows
from functional.rows import deliver_well
from functional.senders import START_US
from gaugehouse.measurements.selection import from_epoch_us
from payloads import JSON

SENDERS = 4
pytestmark = pytest.mark.alone

ROUND = 100
MEMORY_LIMIT_BYTES = 1_500_000_000
# Promised is 2 s; a busy machine needs more. What is no sound HTTP may have to wait for the clocks of heads and bodies.
ANSWER_S, LENIENT_ANSWER_S, UNSOUND_ANSWER_S = 2.0, 10.0, 20.0
RECEIPT = re.compile(r"accepted=(\d+)")
SCOPES = ("--scope", "measurements:write", "--scope", "measurements:read", "--scope", "events:write")


@pytest.fixture
def house(found):
    """A server with a key that may write whatever there is, and enough time for a token."""
    installation = found({"GAUGEHOUSE_TOKEN_LIFETIME_S": "86400", "GAUGEHOUSE_SEGMENT_AGE_S": "2"}, workers=1)
    installation.key = installation.create_key("gateway", *SCOPES)
    return installation.start()


def address_of(house):
    return "127.0.0.1", urlsplit(house.url).port


def steady_rows(number):
    return [(STEADY, "m0", from_epoch_us(START_US + 1_000_000 * (10 * number + n)), float(n), 0) for n in range(10)]


class Siege:
    """Attacks a house, and writes down what it was told.

    Args:
        house: A running installation.
        seed: Of the attacks.
        answer_s: Within which a sound request must be answered. [s]
    """

    def __init__(self, house, seed, answer_s):
        self.house, self.seed, self.answer_s = house, seed, answer_s
        self.address = address_of(house)
        manager = house.sign_in("max")
        token = manager.headers["authorization"].removeprefix("Bearer ")
        operations = read_operations(manager.get("/openapi.json").raise_for_status().json())
        self.target = Target(house.key, token, operations)
        self.device, self.manager = house.device(), manager
        self.statuses, self.accepted = Counter(), 0
        self.refused, self.told_nothing = {}, set()  # by tag: the status; those whose connection broke
        self.longest_s = 0.0
        self._lock = threading.Lock()

    def attack(self, number):
        """Send one attack and judge its answer."""
        kind, made = attack(self.seed, number, self.target)
        try:
            answer, waited_s = send(self.address, made)
            check_answer(made, answer)
            assert waited_s <= (self.answer_s if made.is_http else UNSOUND_ANSWER_S), f"{waited_s:.1f} s"
        except Exception as failed:
            failed.add_note(f"number {number} of seed {self.seed}, one of the {kind}: {made.method} {made.path}")
            raise
        with self._lock:
            self.longest_s = max(self.longest_s, waited_s if made.is_http else 0.0)
            self._write_down(tag_of(self.seed, number), made.path, answer)

    def _write_down(self, tag, path, answer):
        self.statuses[answer.status_code if answer else "closed"] += 1
        if answer is None:
            self.told_nothing.add(tag)
        elif answer.status_code >= 400:
            self.refused[tag] = answer.status_code
        elif answer.status_code in {201, 204} and path in {*PATHS.values(), "/write"}:
            told = (
                answer.json()["accepted"]
                if answer.content
                else RECEIPT.search(answer.headers["x-gaugehouse-receipt"])[1]
            )
            self.accepted += 0 if "idempotency-replayed" in answer.headers else int(told)

    def deliver_well(self, number):
        """Send a good body, as somebody does who knows nothing of the siege."""
        self.accepted += deliver_well(self.device, steady_rows(number))["accepted"]

    def assert_nothing_was_kept_of_what_was_refused(self):
        """Stop the house; every row of its lake belongs to a body that was acknowledged, and is there once."""
        names = self._component_names()
        self.house.stop()
        rows = self.house.read_lake().select("component")
        if self.house.has_rows_on_disk("events"):
            events = self.house.read_lake("events").filter(pl.col("kind") != "conflict")
            rows = pl.concat([rows, events.select("component")])
        assert not set(rows["component"]) & self.refused.keys()
        assert not names & {tag for tag, status in self.refused.items() if status < 500}
        assert rows.filter(~pl.col("component").is_in(sorted(self.told_nothing))).height == self.accepted

    def _component_names(self):
        names, cursor = set(), ""
        while cursor is not None:
            page = self.manager.get("/v1/components", params={"limit": 1000} | ({"cursor": cursor} if cursor else {}))
            names |= {item["name"] for item in page.raise_for_status().json()["items"]}
            cursor = page.json()["next_cursor"]
        return names


@pytest.mark.parametrize(
    ("seed", "count", "answer_s"),
    [
        (1, 12 * len(KINDS), LENIENT_ANSWER_S),
        pytest.param(2, 10_000, ANSWER_S, marks=[pytest.mark.torture, pytest.mark.timeout(7200)]),
    ],
    ids=["few", "many"],
)
def test_hostile_requests_are_refused_in_one_shape_and_nothing_of_them_is_kept(house, seed, count, answer_s, tally):
    siege = Siege(house, seed, answer_s)
    processes = house.pid, house.worker().pid
    with sending_single_rows(house) as device, ThreadPoolExecutor(SENDERS) as pool:
        for first in range(0, count, ROUND):
            siege.deliver_well(first)
            for done in [pool.submit(siege.attack, number) for number in range(first, min(first + ROUND, count))]:
                done.result()
        siege.deliver_well(count)
    siege.accepted += len(device.acknowledged)
    assert device.refused == Counter()
    assert max(device.waited_s) <= answer_s
    memory_bytes = peak_memory_bytes(house.pid)
    assert (house.pid, house.worker().pid) == processes
    assert house.process.poll() is None
    siege.assert_nothing_was_kept_of_what_was_refused()
    tally["hostile requests"] += count
    for status, times in siege.statuses.items():
        tally[f"hostile requests: {status}"] += times
    tally["hostile requests: longest answer [ms]"] = round(siege.longest_s * 1000)
    tally["hostile requests: longest wait of a device [ms]"] = round(max(device.waited_s) * 1000)
    tally["hostile requests: peak memory [MB]"] = memory_bytes // 1_000_000
    assert memory_bytes < MEMORY_LIMIT_BYTES


# --- slow senders


class Slow(NamedTuple):
    """A sender that takes its time.

    Args:
        path: Where it sends to.
        begin: What it writes at once.
        drip: What it writes every second from then on.
        status: What it is answered; None: it is hung up on.
        cut_after_s: Promised, from the first byte on. [s]
    """

    path: str
    begin: bytes
    drip: bytes
    status: int | None
    cut_after_s: float


BODY_S = 12.0  # a setting; 30 s without it
GRACE_S, HEAD_S = 5.0, 10.0
GZIP_NAME = bytes.fromhex("1f8b0808000000000003")  # a name of any length follows


def slow_senders(key, token):
    """Return every way to be slow, by name."""
    as_device = [f"X-API-Key: {key}", f"Content-Type: {JSON}"]
    as_manager = [f"Authorization: Bearer {token}", f"Content-Type: {JSON}"]
    form = ["Content-Type: application/x-www-form-urlencoded"]

    def posting(path, *lines):
        return write_head(f"POST {path} HTTP/1.1", lines)

    rows, lines, long = "/v1/measurements", "/api/v2/write", "Content-Length: 100000"
    to_rows = posting(rows, *as_device, long)
    return {
        "a byte of the body a second": Slow(rows, to_rows, b" ", 408, GRACE_S),
        "a small chunk a second": Slow(
            rows, posting(rows, *as_device, "Transfer-Encoding: chunked"), b"1\r\n \r\n", 408, GRACE_S
        ),
        "a byte of gzip a second": Slow(
            rows, posting(rows, *as_device, long, "Content-Encoding: gzip") + GZIP_NAME, b"n", 408, GRACE_S
        ),
        "a small body that does not come": Slow(
            rows, posting(rows, *as_device, "Content-Length: 10"), b"", 408, GRACE_S
        ),
        "a body that ends after four kilobytes": Slow(rows, to_rows + b" " * 4096, b"", 408, GRACE_S + 4),
        "a body at twice the lowest rate": Slow(rows, to_rows, b" " * 2048, 408, BODY_S),
        "a body that waits for a go-ahead and does not come": Slow(
            rows, posting(rows, *as_device, "Content-Length: 10", "Expect: 100-continue"), b"", 408, GRACE_S
        ),
        "events": Slow("/v1/events", posting("/v1/events", *as_device, long), b" ", 408, GRACE_S),
        "line protocol": Slow(lines, posting(f"{lines}?bucket=default", *as_device, long), b"m", 503, GRACE_S),
        "a report": Slow("/v1/reports", posting("/v1/reports", *as_manager, long), b" ", 408, GRACE_S),
        "a component": Slow("/v1/components", posting("/v1/components", *as_manager, long), b" ", 408, GRACE_S),
        "a password": Slow("/token", posting("/token", *form, long), b"u", 408, GRACE_S),
        "a byte of the head a second": Slow(rows, b"POST /v1/measurements HTTP/1.1\r\nX: ", b"y", 408, HEAD_S),
        "a header a second": Slow(rows, b"GET /health HTTP/1.1\r\n", b"X: y\r\n", 408, HEAD_S),
        "nothing": Slow(rows, b"", b"", None, HEAD_S),
    }


def be_slow(address, slow):
    """Send as slowly as asked; return the answer and when it came, from the first byte on. [s]"""
    begun_s = time.monotonic()
    with socket.create_connection(address, timeout=60) as connection:
        connection.sendall(slow.begin)
        while not is_answered(connection) and time.monotonic() - begun_s < 60:
            with suppress(ConnectionError):
                connection.sendall(slow.drip)
        took_s = time.monotonic() - begun_s
        answer = read_answer(connection)
        with suppress(ConnectionError):
            assert connection.recv(1) == b"", "the connection was not closed"
    return answer, took_s


def is_answered(connection):
    """Wait a second for an answer; a go-ahead is none."""
    if not select.select([connection], [], [], 1.0)[0]:
        return False
    beginning = connection.recv(25, socket.MSG_PEEK)
    if beginning.startswith(b"HTTP/1.1 100"):
        connection.recv(len(beginning))
        return False
    return True


@pytest.mark.parametrize(
    ("each", "late_s"),
    [(2, 10.0), pytest.param(20, 2.0, marks=pytest.mark.torture)],
    ids=["few", "many"],
)
def test_slow_senders_are_cut_off_and_devices_notice_nothing(found, each, late_s, tally):
    installation = found({"GAUGEHOUSE_BODY_TIMEOUT_S": str(BODY_S)})
    installation.key = installation.create_key("gateway", *SCOPES)
    installation.start()
    token = installation.sign_in("max").headers["authorization"].removeprefix("Bearer ")
    senders = slow_senders(installation.key, token)
    with sending_single_rows(installation) as device, ThreadPoolExecutor(each * len(senders)) as pool:
        slow = [
            (name, pool.submit(be_slow, address_of(installation), senders[name]))
            for name in senders
            for _ in range(each)
        ]
        for name, done in slow:
            answer, took_s = done.result()
            assert (answer.status_code if answer else None) == senders[name].status, name
            assert 0.8 * senders[name].cut_after_s < took_s < senders[name].cut_after_s + 1 + late_s, (
                f"{name}: {took_s:.1f} s"
            )
            if answer is not None:
                check_refusal(Attack(path=senders[name].path, parts=()), answer)
    assert device.refused == Counter()
    assert max(device.waited_s) < 1.0 + late_s
    tally["slow senders cut off"] += len(slow)
    tally["slow senders: p99 of a device's row meanwhile [ms]"] = round(quantile_s(device.waited_s, 0.99) * 1000)
    installation.stop()
    rows = installation.read_lake()
    assert rows.height == len(device.waited_s)
