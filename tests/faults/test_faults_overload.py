"""More than is usual, from more senders than usual, some of them slow: refused politely, stored wholly, soon over."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from urllib.parse import urlsplit

import duckdb
import psutil
import pytest

from faults.hostile_requests import write_head
from faults.measuring import instant_us, peak_memory_bytes, quantile_s, sending_single_rows
from faults.overloading import STREAMS, component_of
from functional.installation import REPOSITORY, own_environment, wait_until
from functional.rows import deliver, deliver_well
from functional.senders import START_US, Sender
from gaugehouse.measurements.selection import from_epoch_us
from payloads import ARROW, JSON, write_arrow

pytestmark = pytest.mark.alone

NOMINAL_ROWS_PER_S = 30_000  # what `make soak` sends for an hour
MEBIBYTE = 1024 * 1024
MEMORY_LIMIT_BYTES = 1_500_000_000
RECOVERED_AFTER_S = 10.0
GROUPED = """
    SELECT component, epoch_us(measured_at), count(*), count(DISTINCT metric), min(value), max(value)
    FROM read_parquet($files) GROUP BY ALL"""


def overload(installation, phases):
    """Let a process of its own send through the phases; return when the first began [monotonic s], and what it tells."""
    command = [sys.executable, "-m", "faults.overloading", installation.url, installation.key, json.dumps(phases)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY / "tests", env=own_environment()
    )
    begun_s = json.loads(process.stdout.readline())["begun_s"]
    told, _ = process.communicate(timeout=sum(seconds for seconds, _ in phases) + 120)
    assert process.returncode == 0
    return begun_s, json.loads(told)


def expected_groups(acknowledged, device):
    """Return {(component, instant): (rows, metrics, smallest value, largest value)} of what was acknowledged."""
    of_device = {("device", instant_us(n)): (1, 1, float(n), float(n)) for n in device.acknowledged}
    streams = {stream.form: stream for stream in STREAMS}
    return of_device | {
        (component_of(form, number, n), instant_us(delivery)): (metrics, metrics, float(delivery), float(delivery))
        for form, number, count in acknowledged
        for metrics in [streams[form].metrics]
        for delivery in range(count)
        for n in range(streams[form].components)
    }


def stored_groups(installation):
    """Return the same of what is stored, as DuckDB reads the plain files."""
    files = str(installation.data_dir / "lake" / "plain" / "measurements" / "**" / "*.parquet")
    rows = duckdb.sql(GROUPED, params={"files": files}).fetchall()
    return {row[:2]: row[2:] for row in rows}


SHORT, LONG = (4, 5, 4), (20, 60, 30)  # seconds before, during and after the burst


# The usual load just fits; less for a few seconds, so that a busy machine, which cannot send ten times more, is refused.
LITTLE_ROOM_BYTES = {SHORT: MEBIBYTE, LONG: 4 * MEBIBYTE}


@pytest.mark.parametrize("is_refused", [False, True], ids=["as installed", "with little room"])
@pytest.mark.parametrize(
    "seconds",
    [SHORT, pytest.param(LONG, marks=[pytest.mark.torture, pytest.mark.timeout(1200)])],
    ids=["short", "long"],
)
def test_ten_times_the_usual_load_is_stored_or_refused_politely_and_soon_over(found, is_refused, seconds, tally):
    room = {"GAUGEHOUSE_UNFLUSHED_LIMIT_BYTES": str(LITTLE_ROOM_BYTES[seconds]), "GAUGEHOUSE_SEGMENT_AGE_S": "2"}
    installation = found(room if is_refused else {}, workers=1, is_fresh=True).start()
    before, burst, after = seconds
    phases = [(before, NOMINAL_ROWS_PER_S), (burst, 10 * NOMINAL_ROWS_PER_S), (after, NOMINAL_ROWS_PER_S)]
    with sending_single_rows(installation) as device:
        begun_s, told = overload(installation, phases)
    memory_bytes = peak_memory_bytes(installation.pid)
    sender, late = installation.device(), [("late", "level", from_epoch_us(START_US), 0.0, 0)]
    wait_until(lambda: deliver(sender, late).status_code == 201, what="the end of refusals")
    statuses = Counter({int(status): count for status, count in told["statuses"].items()})
    assert not told["wrong"]
    assert set(statuses) <= {201, 204, 429, 503}
    assert set(device.refused) <= {429, 503}
    assert statuses[503] > 0 or not is_refused
    installation.stop()
    expected = expected_groups(told["acknowledged"], device) | {("late", START_US): (1, 1, 0.0, 0.0)}
    assert stored_groups(installation) == expected
    assert memory_bytes < MEMORY_LIMIT_BYTES
    end_s = begun_s + before + burst
    settled_s = end_s + (RECOVERED_AFTER_S if after > RECOVERED_AFTER_S else after / 2)
    spans_s = {
        "before": (begun_s + before / 2, begun_s + before),
        "meanwhile": (begun_s + before, end_s),
        "after": (settled_s, begun_s + sum(seconds)),
    }
    waited_s = {when: device.waited_between_s(*span_s) for when, span_s in spans_s.items()}
    assert all(waited_s.values()) or is_refused
    name = f"ten times the load, {'little room' if is_refused else 'as installed'}"
    tally[f"{name}: rows"] = sum(group[0] for group in expected.values())
    tally[f"{name}: refusals"] = statuses[429] + statuses[503]
    tally[f"{name}: peak memory [MB]"] = memory_bytes // 1_000_000
    for when, waits_s in waited_s.items():
        if waits_s:  # with the least room, a slow disk is full even before the burst: the device is refused throughout
            tally[f"{name}: p99 of a device's row, {when} [ms]"] = round(quantile_s(waits_s, 0.99) * 1000)
    if seconds == LONG:
        assert quantile_s(waited_s["after"], 0.99) < 2 * quantile_s(waited_s["before"], 0.99)


# --- slow readers and slow uploads beside devices

ROWS_PER_BODY = 100_000
SLOW_OF_EACH = 100
DOWNLOADS = ("ndjson", "csv", "arrow", "parquet")
SLOW_PERIOD_S = 0.5
ENOUGH_ROWS = 20


class SlowClient:
    """A connection on which little happens, for as long as it is let; then another one.

    Args:
        address: Of the server.
        request: What it writes at once.
        drip: What it writes every half second; nothing: it reads a kilobyte instead.
    """

    def __init__(self, address, request, drip=b""):
        self._address, self._request, self._drip = address, request, drip
        self._connect()

    def _connect(self):
        self.socket = socket.socket()
        # The less fits here, the sooner the server has to wait.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect(self._address)
        self.socket.sendall(self._request)
        self.socket.setblocking(False)

    def move(self):
        """Write or read a little; return whether there was something to do."""
        try:
            if self._drip:
                self.socket.sendall(self._drip)
                return True
            return bool(self.socket.recv(1024))
        except BlockingIOError:
            return False
        except OSError:  # cut off, as it may be
            self.socket.close()
            self._connect()
            return False


@contextmanager
def moving_slowly(clients):
    """Let slow clients go on while the block runs; how often each has moved."""
    stop, moved = threading.Event(), Counter()

    def run():
        while not stop.wait(SLOW_PERIOD_S):
            moved.update(number for number, client in enumerate(clients) if client.move())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield moved
    finally:
        stop.set()
        thread.join()
        for client in clients:
            client.socket.close()


def slow_clients(installation, token):
    """Return a hundred readers of everything there is, and a hundred uploads of ten megabytes each."""
    address = "127.0.0.1", urlsplit(installation.url).port
    key = f"X-API-Key: {installation.key}"
    uploads = [
        write_head("POST /v1/measurements HTTP/1.1", [key, f"Content-Type: {JSON}", length])
        for length in (
            f"Content-Length: {10 * MEBIBYTE}",
            "Transfer-Encoding: chunked",
            f"Content-Length: {200 * 1024}",
        )
    ]
    drips = [b" " * 2048, b"800\r\n%b\r\n" % (b" " * 2048), b" " * 2048]
    downloads = [
        write_head(f"GET /v1/measurements?format={form} HTTP/1.1", [f"Authorization: Bearer {token}"])
        for form in DOWNLOADS
    ]
    kinds = len(uploads)
    return [
        *(SlowClient(address, downloads[n % len(downloads)]) for n in range(SLOW_OF_EACH)),
        *(SlowClient(address, uploads[n % kinds], drips[n % kinds]) for n in range(SLOW_OF_EACH)),
    ]


@pytest.mark.parametrize(
    ("bodies", "seconds", "patience_s"),
    [(2, 2, 30.0), pytest.param(10, 60, 1.0, marks=pytest.mark.torture)],
    ids=["short", "long"],
)
def test_slow_readers_and_slow_uploads_do_not_keep_devices_waiting(found, bodies, seconds, patience_s, tally):
    installation = found({"GAUGEHOUSE_TOKEN_LIFETIME_S": "7200"}, is_fresh=True).start()
    sender = Sender(installation, "archive")
    device = installation.device()
    for number in range(bodies):
        body = write_arrow(sender.rows(number * ROWS_PER_BODY, (number + 1) * ROWS_PER_BODY))
        assert device.post("/v1/measurements", content=body, headers={"Content-Type": ARROW}).status_code == 201
    viewer = installation.sign_in("vera")
    token = viewer.headers["authorization"].removeprefix("Bearer ")
    with sending_single_rows(installation) as usual:
        time.sleep(1)
    with moving_slowly(slow_clients(installation, token)) as moved:
        wait_until(lambda: len(moved) > SLOW_OF_EACH, what="slow clients that move")
        with sending_single_rows(installation, "device-beside") as beside:
            time.sleep(seconds)
            wait_until(lambda: len(beside.waited_s) > ENOUGH_ROWS, what="rows of a device beside slow clients")
        assert len(moved) > SLOW_OF_EACH
    memory_bytes = peak_memory_bytes(installation.pid)
    assert beside.refused == Counter()
    assert max(beside.waited_s) < patience_s
    wait_until(lambda: len(psutil.Process(installation.pid).net_connections()) < 50, what="the end of slow connections")
    wait_until(lambda: viewer.get("/v1/summary").status_code == 200, what="the end of questions that wait")
    deliver_well(device, [("afterwards", "level", from_epoch_us(START_US), 1.0, 0)])
    tally["slow clients beside a device"] += 2 * SLOW_OF_EACH
    tally["slow clients: p99 of a device's row without them [ms]"] = round(quantile_s(usual.waited_s, 0.99) * 1000)
    tally["slow clients: p99 of a device's row beside them [ms]"] = round(quantile_s(beside.waited_s, 0.99) * 1000)
    tally["slow clients: peak memory [MB]"] = memory_bytes // 1_000_000
    assert memory_bytes < MEMORY_LIMIT_BYTES
    installation.stop_in_any_state()
    stored = bodies * ROWS_PER_BODY + len(usual.waited_s) + len(beside.waited_s) + 1
    assert installation.read_lake().height == stored
