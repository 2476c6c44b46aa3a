"""What a server takes while it is in trouble: its memory, and how long a device waits for an acknowledgement."""

import http.client
import json
import re
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from functional.senders import START_US
from gaugehouse.measurements.selection import from_epoch_us
from payloads import JSON, to_text

PERIOD_S = 0.02
HIGH_WATER = re.compile(r"VmHWM:\s+(\d+) kB")


def instant_us(number):
    """Return the instant of a device's row. [us]"""
    return START_US + 1_000_000 * number


def peak_memory_bytes(pid):
    """Return the most resident memory that a process has ever had, as its kernel counted it."""
    return int(HIGH_WATER.search(Path(f"/proc/{pid}/status").read_text())[1]) * 1024


def quantile_s(waited_s, share):
    """Return the time within which this share of the answers came. [s]"""
    return sorted(waited_s)[min(len(waited_s) - 1, int(len(waited_s) * share))]


@dataclass(slots=True)
class Device:
    """What a device saw.

    Args:
        acknowledged: The numbers of its rows that are stored.
        sent_s: When it sent each of them. [monotonic s]
        waited_s: How long it waited for the acknowledgement of each. [s]
        refused: What it was told instead of one, and how often.
    """

    acknowledged: list[int] = field(default_factory=list)
    sent_s: list[float] = field(default_factory=list)
    waited_s: list[float] = field(default_factory=list)
    refused: Counter[int] = field(default_factory=Counter)

    def waited_between_s(self, start_s, end_s):
        """Return how long it waited for the rows that it sent in a span of time. [s]"""
        return [waited for sent, waited in zip(self.sent_s, self.waited_s, strict=True) if start_s <= sent < end_s]


@contextmanager
def sending_single_rows(installation, component="device"):
    """Let a device send row after row while the block runs; every row is told what became of it."""
    device, stop, failures = Device(), threading.Event(), []

    def run():
        try:
            _send_rows(installation, component, device, stop)
        except Exception as failed:  # noqa: BLE001 - raised again in the thread of the test
            failures.append(failed)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield device
    finally:
        stop.set()
        thread.join()
    if failures:
        raise failures[0]


def _send_rows(installation, component, device, stop):
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(installation.url).port, timeout=60)
    headers = {"Content-Type": JSON, "X-API-Key": installation.key}
    number = 0
    while not stop.wait(PERIOD_S):
        number += 1
        measured_at = to_text(from_epoch_us(instant_us(number)))
        row = {"component": component, "metric": "level", "measured_at": measured_at, "value": float(number)}
        sent_s = time.monotonic()
        connection.request("POST", "/v1/measurements", json.dumps([row]), headers)
        response = connection.getresponse()
        response.read()
        if response.status == http.client.CREATED:
            device.acknowledged.append(number)
            device.sent_s.append(sent_s)
            device.waited_s.append(time.monotonic() - sent_s)
        else:
            device.refused[response.status] += 1
    connection.close()
