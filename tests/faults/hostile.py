"""Ten thousand hostile requests, each made anew from a seed and its number; how they are sent, and what answers may be."""

import random
import socket
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from http.client import HTTPException, HTTPResponse
from typing import NamedTuple

import httpx

from faults.hostile_requests import REQUEST_KINDS, Attack, Operation, deliver
from faults.hostile_tables import TABLE_KINDS
from faults.hostile_texts import TEXT_KINDS
from functional.installation import REPOSITORY, assert_problem

START = datetime(2026, 6, 1, tzinfo=UTC)
PATIENCE_S = 60
MOST_REFUSAL_BYTES = 64 * 1024
INFLUX_PATHS = {"/write", "/query", "/api/v2/write"}
PROBLEM = "application/problem+json"
SAID_BY_NOBODY = ("Traceback", 'File "', "site-packages", str(REPOSITORY), tempfile.gettempdir())


class Target(NamedTuple):
    """Whom the attacks are aimed at.

    Args:
        key: May write measurements and events.
        token: A manager's.
        operations: From `read_operations`.
    """

    key: str
    token: str
    operations: tuple[Operation, ...]


@dataclass(frozen=True, slots=True)
class Aim:
    """What one attack is made with: random numbers, a target, and the name of a component that no other attack names."""

    rng: random.Random
    tag: str
    target: Target

    def instant(self, number):
        return START + timedelta(seconds=number)

    def epoch_us(self, number):
        return int(self.instant(number).timestamp()) * 1_000_000

    def epoch_ns(self, number):
        return self.epoch_us(number) * 1000


KINDS = {**TEXT_KINDS, **TABLE_KINDS, **REQUEST_KINDS}


def tag_of(seed, number):
    """Return a name that differs from every other attack's in most of its letters: damage makes none of another."""
    return "h" + blake2b(f"{seed} {number}".encode(), digest_size=6).hexdigest()


def attack(seed, number, target):
    """Return (kind, attack); numbers that follow each other are of all kinds in turn."""
    kind = list(KINDS)[number % len(KINDS)]
    rng = random.Random(f"{seed} {number}")  # noqa: S311 - repeatable, not secret
    aim = Aim(rng, tag_of(seed, number), target)
    made = KINDS[kind](aim)
    return kind, made if isinstance(made, Attack) else deliver(aim, made)


class Answered(NamedTuple):
    """What came back, None when the connection was closed without an answer, and how long after the last byte. [s]"""

    answer: httpx.Response | None
    waited_s: float


def send(address, attack):
    """Send an attack; return what was answered."""
    with socket.create_connection(address, timeout=PATIENCE_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(ConnectionError):  # refused before all was written
            for part in attack.parts:
                connection.sendall(part)
            if attack.ends_early:
                connection.shutdown(socket.SHUT_WR)
        sent_s = time.monotonic()
        answer = read_answer(connection, attack.method)
        return Answered(answer, time.monotonic() - sent_s)


def read_answer(connection, method="POST"):
    """Return the answer on a connection, None when there is none."""
    response = HTTPResponse(connection, method=method)
    try:
        response.begin()
        content = response.read()
    except (HTTPException, ConnectionError):
        return None
    finally:
        response.close()
    return httpx.Response(response.status, headers=response.getheaders(), content=content)


def check_answer(attack, answer):
    """Check what may be answered to a hostile request: anything but a failure, and every refusal in one shape."""
    if answer is None:
        assert not attack.is_http, "a sound request was not answered"
        return
    assert answer.status_code < 500 or answer.status_code in {503, 507}, answer.text[:2000]
    for said in SAID_BY_NOBODY:
        assert said not in answer.text, said
    if answer.status_code >= 400:
        check_refusal(attack, answer)


def check_refusal(attack, answer):
    assert len(answer.content) <= MOST_REFUSAL_BYTES
    if answer.status_code in {429, 503, 507}:
        assert int(answer.headers["retry-after"]) >= 1
    is_influx = attack.path in INFLUX_PATHS
    if is_influx and (attack.is_http or answer.headers["content-type"] != PROBLEM):
        told = answer.json()
        assert told.get("error") or {"code", "message"} <= told.keys(), told
        assert answer.headers["x-influxdb-error"]
    else:
        assert_problem(answer, answer.status_code)
