"""Senders as real ones are: they repeat a delivery, unchanged, until it is acknowledged."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import httpx
import pyarrow as pa

from payloads import ARROW, write_arrow

START_US = 1_780_000_000_000_000
PAUSE_S = 0.05
PATIENCE_S = 120


def send_until_answered(installation, client, body, headers, path="/v1/measurements"):
    """Post a body until it is acknowledged or refused for good; a lost connection, 429, 503 or 507 is for another time.

    Returns:
        The answer, and how many requests before it may have been stored although nobody was told.
    """
    deadline_s = time.monotonic() + PATIENCE_S
    untold = 0
    while time.monotonic() < deadline_s:
        try:
            answer = client.post(f"{installation.url}{path}", content=body, headers=headers)
        except httpx.ConnectError:
            pass
        except httpx.TransportError:
            untold += 1
        else:
            if not is_for_later(answer):
                return answer, untold
        time.sleep(PAUSE_S)
    raise AssertionError("a delivery was never answered")


def is_for_later(answer):
    """Say whether nothing of a delivery was stored and the same may be sent again."""
    is_running = answer.status_code == 409 and answer.json()["code"] == "idempotency_key_running"
    return is_running or answer.status_code in {429, 503, 507}


def send_until_acknowledged(installation, client, body, media_type=ARROW):
    """Post measurements until the answer is 201; return the receipt."""
    headers = {"Content-Type": media_type, "X-API-Key": installation.key}
    answer, _untold = send_until_answered(installation, client, body, headers)
    assert answer.status_code == 201, answer.text
    return answer.json()


class Sender:
    """Sends rows of its own component, each with its own number as the value, in bodies of a few hundred.

    Every third body holds rows that are older than the ones before, so that the late path is walked as well.
    """

    METRICS = ("level", "flow")

    def __init__(self, installation, name, *, rows_per_body=200, pause_s=0.0):
        self._installation = installation
        self.name = name
        self._rows_per_body = rows_per_body
        self._pause_s = pause_s
        self.acknowledged = []  # (received_at, first number, end number)
        self.sent = 0  # rows that may be on disk: acknowledged or on the way

    def rows(self, first, end):
        """Return the rows with these numbers as a table."""
        numbers = range(first, end)
        # Bodies swap places in time: body 3k+1 is measured after body 3k+2.
        times = [START_US + 1_000_000 * (n + self._shift(n)) for n in numbers]
        return pa.table(
            {
                "component": [self.name] * len(numbers),
                "metric": [self.METRICS[n % 2] for n in numbers],
                "measured_at": pa.array(times, pa.int64()).cast(pa.timestamp("us", tz="UTC")),
                "value": pa.array(numbers, pa.float64()),
            }
        )

    def _shift(self, number):
        return {0: 0, 1: self._rows_per_body, 2: -self._rows_per_body}[number // self._rows_per_body % 3]

    def key_of(self, number):
        """Return (component, metric, measured_at) of a row."""
        measured_at = datetime.fromtimestamp(START_US // 1_000_000, UTC) + timedelta(
            seconds=number + self._shift(number)
        )
        return self.name, self.METRICS[number % 2], measured_at

    def run(self, stop):
        """Send until told to stop; the last body is acknowledged too."""
        with httpx.Client(timeout=60, trust_env=False) as client:
            while not stop.is_set():
                first, end = self.sent, self.sent + self._rows_per_body
                self.sent = end
                receipt = send_until_acknowledged(self._installation, client, write_arrow(self.rows(first, end)))
                assert receipt["accepted"] + receipt["duplicates"] == end - first, receipt
                self.acknowledged.append((datetime.fromisoformat(receipt["received_at"]), first, end))
                stop.wait(self._pause_s)

    def acknowledged_keys(self, through=None):
        """Return {key: value} of acknowledged rows, received at or before an instant."""
        return {
            self.key_of(number): float(number)
            for received_at, first, end in list(self.acknowledged)
            if through is None or received_at <= through
            for number in range(first, end)
        }


@contextmanager
def sending(senders):
    """Let senders run beside the block; afterwards all they sent is acknowledged."""
    stop = threading.Event()
    with ThreadPoolExecutor(len(senders)) as pool:
        runs = [pool.submit(sender.run, stop) for sender in senders]
        try:
            yield
        finally:
            stop.set()
        for run in runs:
            run.result(PATIENCE_S)
