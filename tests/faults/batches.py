"""Batches that show when they are seen by halves, and the judge of what readers see of them.

A sender numbers its batches and sends one after the other. A batch is one row of each of the sender's series, and the
batch's number is the value of all. So whatever a reader sees must be a beginning: batches 0 to k, each whole and once.
"""

from datetime import UTC, datetime

import httpx
import polars as pl
import pyarrow as pa

from functional.senders import PATIENCE_S, START_US, send_until_acknowledged
from payloads import write_arrow

MACHINES, METRICS = 3, ("level", "flow")
SERIES = MACHINES * len(METRICS)
SECOND_US = 1_000_000
SHIFT = (0, 1, -1)  # of three batches the last two swap places in time, so that the late path is walked as well
LINES_WRITTEN = 204
SENDER = pl.col("component").str.split("-").list.first().alias("sender")

# What a reader that can count says of each series; the judge needs no row.
FOLDED = """
SELECT component, metric, count(*) AS n, count(DISTINCT value) AS "distinct", min(value) AS low, max(value) AS high
FROM {rows} GROUP BY component, metric
"""
FOLDS = {
    "n": pl.len(),
    "distinct": pl.col("value").n_unique(),
    "low": pl.col("value").min(),
    "high": pl.col("value").max(),
}


class BatchSender:
    """Sends batches of its own series as Arrow.

    Args:
        installation: Where to.
        name: What its components begin with.
        pause_s: Between an answer and the next batch. [s]
    """

    def __init__(self, installation, name, *, pause_s=0.05):
        self._installation = installation
        self.name = name
        self._pause_s = pause_s
        self.sent = 0
        self.acknowledged = 0
        self.received = []  # received_at of each batch, where the answer says it

    def run(self, stop):
        """Send until told to stop; the last batch is acknowledged too."""
        with httpx.Client(timeout=PATIENCE_S, trust_env=False) as client:
            while not stop.is_set():
                number = self.sent
                self.sent += 1
                self._send(client, number)
                self.acknowledged += 1
                stop.wait(self._pause_s)

    def _send(self, client, number):
        receipt = send_until_acknowledged(self._installation, client, write_arrow(self._table(number)))
        assert receipt["accepted"] == SERIES, receipt
        self.received.append(datetime.fromisoformat(receipt["received_at"]))

    def _table(self, number):
        keys = [(f"{self.name}-{machine}", metric) for machine in range(MACHINES) for metric in METRICS]
        return pa.table(
            {
                "component": [component for component, _metric in keys],
                "metric": [metric for _component, metric in keys],
                "measured_at": pa.array([instant_us(number)] * SERIES, pa.int64()).cast(pa.timestamp("us", tz="UTC")),
                "value": [float(number)] * SERIES,
            }
        )

    def acknowledged_through(self, through):
        """Return how many batches were received up to an instant, None for none."""
        return 0 if through is None else sum(received_at <= through for received_at in list(self.received))


class LineSender(BatchSender):
    """Sends batches as line protocol, each with one event of its first component more: both are one delivery."""

    def _send(self, client, number):
        fields = ",".join(f"{metric}={number}" for metric in METRICS)
        lines = [f"gaugehouse,component={self.name}-{machine} {fields}" for machine in range(MACHINES)]
        lines.append(f'gaugehouse,component={self.name}-0 note="{number}"')
        body = "\n".join(f"{line} {instant_us(number)}" for line in lines)
        answer = client.post(
            f"{self._installation.url}/api/v2/write?bucket=default&precision=us",
            content=body,
            headers={"Authorization": f"Token {self._installation.key}"},
        )
        assert answer.status_code == LINES_WRITTEN, answer.text
        assert f"accepted={SERIES + 1}," in answer.headers["X-Gaugehouse-Receipt"]


def instant_us(number):
    """Return when a batch is measured. [us]"""
    return START_US + SECOND_US * (number + SHIFT[number % 3])


def newest_of(count):
    """Return the count that newest values speak of when so many batches are there."""
    return 1 + max(range(max(0, count - 3), count), key=instant_us) if count else 0


def window_from(number):
    """Return (first batch, instant) such that the batches from the first on are the rows from the instant on."""
    first = max(0, number // 3 * 3)
    return first, datetime.fromtimestamp(START_US // SECOND_US + first, UTC)


def fold(rows):
    """Return what FOLDED says, of a frame of rows."""
    return rows.group_by("component", "metric").agg(**FOLDS)


def count_batches(folded, *, first=0):
    """Return how many batches of each sender are there, when nothing but whole batches are there, each once.

    Args:
        folded: Frame with the columns of FOLDED.
        first: The batch that the rows begin with.
    """
    counts = {}
    by_sender = folded.group_by(SENDER)
    for (sender,), series in by_sender:
        shapes = set(series.select("n", "distinct", "low", "high").rows())
        assert series.height == SERIES, f"{sender}: {series.height} of {SERIES} series of a batch"
        assert len(shapes) == 1, f"{sender}: half a batch: {sorted(series.rows())}"
        [(n, distinct, low, high)] = shapes
        assert n == distinct == high - low + 1, f"{sender}: {n} rows, {distinct} batches, from {low:.0f} to {high:.0f}"
        assert low == first, f"{sender}: begins with batch {low:.0f}, not {first}"
        counts[sender] = int(high) + 1
    return counts


def count_newest(rows):
    """Return for each sender the number of its newest batch in time, plus one; all series must agree on it.

    Args:
        rows: Frame with component, metric, measured_at and value, one row per series.
    """
    counts = {}
    for (sender,), series in rows.group_by(SENDER):
        newest = set(series.select(pl.col("measured_at").dt.epoch("us"), "value").rows())
        assert series.height == SERIES, f"{sender}: {series.height} of {SERIES} series of a batch"
        assert len(newest) == 1, f"{sender}: half a batch is newest: {sorted(series.rows())}"
        [(measured_at_us, value)] = newest
        assert measured_at_us == instant_us(int(value)), f"{sender}: batch {value:.0f} at {measured_at_us}"
        counts[sender] = int(value) + 1
    return counts
