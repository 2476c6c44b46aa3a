"""What a soak sends: streams of one form each, at a fixed rate, that know what every receipt must say."""

import http.client
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from benchmarks.workload import LINES_PATH, METRICS, Sender, encode_arrow, encode_json, encode_lines

GROUP = len(METRICS)  # rows of one component and minute; held back, repeated and changed together
HELD_SHARE = 0.02  # arrive later, up to so many requests:
HELD_REQUESTS = 40
REPEATED_SHARE = 0.02
CONFLICTS_EVERY_REQUESTS = 25
RETRY_STATUSES = (429, 503)
COUNTS = ("accepted", "duplicates", "conflicts", "late")
TOLD = re.compile(r"(accepted|duplicates|conflicts|late)\"?[:=] ?(\d+)")
TIMEOUT_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One form of sending.

    Args:
        form: Also the prefix of its components' names.
        content_type, path, encode: How a request is made.
        rows: Per request, without what is late or repeated.
        share: Of the soak's rows. [1]
        splits: Whether each row is a request of its own.
    """

    form: str
    content_type: str
    encode: Callable[[pa.Table], bytes]
    rows: int
    share: float
    path: str = "/v1/measurements"
    splits: bool = False


STREAMS = (
    Stream(
        form="arrow", content_type="application/vnd.apache.arrow.stream", encode=encode_arrow, rows=8_000, share=0.5
    ),
    Stream(form="lines", content_type="text/plain", encode=encode_lines, rows=4_000, share=0.3, path=LINES_PATH),
    Stream(form="json", content_type="application/json", encode=encode_json, rows=1_000, share=0.197),
    Stream(form="single", content_type="application/json", encode=encode_json, rows=400, share=0.003, splits=True),
)


@dataclass(slots=True, kw_only=True)
class Progress:
    """What one stream has sent and been told so far; `expected` is the model's."""

    requests: int = 0
    retries: int = 0
    behind_s: float = 0.0
    told: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    expected: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A request's rows, and what its receipt must say."""

    rows: pa.Table
    expected: dict[str, int]


def deliveries(stream: Stream) -> Iterator[Delivery]:
    """Yield an endless stream: time by time, then what was held back, repeated and changed."""
    sender = Sender(prefix=stream.form, number=0, senders=1)
    minutes = max(1, stream.rows // (len(sender.components) * GROUP))
    draw = np.random.default_rng(len(stream.form))
    held: dict[int, list[pa.Table]] = {}
    newest_us = np.full(len(sender.components), np.iinfo(np.int64).min)
    number = 0
    while True:
        batch = sender.batch(number * minutes, minutes)
        is_held = draw.random(len(batch) // GROUP) < HELD_SHARE
        now = _groups(batch, ~is_held)
        if is_held.any():
            due = number + int(draw.integers(1, HELD_REQUESTS))
            held.setdefault(due, []).append(_groups(batch, is_held))
        yield Delivery(rows=now, expected=_expect(now, newest_us))
        late = pa.concat_tables(held.pop(number, [batch.slice(0, 0)]))
        repeated = _groups(now, draw.random(len(now) // GROUP) < REPEATED_SHARE)
        changed = now.slice(0, GROUP if number % CONFLICTS_EVERY_REQUESTS == 0 else 0)
        echo = pa.concat_tables([late, repeated, _with_other_values(changed)]).combine_chunks()
        # What is changed may be repeated as well: then its own value was first, as everywhere.
        if len(echo):
            expected = _expect(late, newest_us) | {"duplicates": len(repeated), "conflicts": len(changed)}
            yield Delivery(rows=echo, expected=expected)
        number += 1


def _groups(batch: pa.Table, mask: np.ndarray) -> pa.Table:
    return batch.filter(pa.array(np.repeat(mask, GROUP))).combine_chunks()


def _with_other_values(rows: pa.Table) -> pa.Table:
    values = rows["value"].to_numpy() + 1.0
    return rows.set_column(rows.schema.get_field_index("value"), "value", pa.array(np.round(values, 2)))


def _expect(rows: pa.Table, newest_us: np.ndarray) -> dict[str, int]:
    """Return what the receipt of new rows says; move the newest time of their components on."""
    if not len(rows):
        return dict.fromkeys(COUNTS, 0)
    components = rows["component"].combine_chunks().indices.to_numpy()
    measured_us = rows["measured_at"].cast(pa.int64()).to_numpy()
    late = int((measured_us <= newest_us[components]).sum())
    np.maximum.at(newest_us, components, measured_us)
    return {"accepted": len(rows), "duplicates": 0, "conflicts": 0, "late": late}


def run_stream(stream: Stream, port: int, key: str, rows_per_s: float, until_s: float, progress: Progress) -> None:
    """Send at a fixed rate until a monotonic time; ends early when a request fails or a receipt is wrong."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    headers = {"Content-Type": stream.content_type, "X-API-Key": key}
    next_s = time.monotonic()
    try:
        for delivery in deliveries(stream):
            # Single rows are sent group by group, so that what each receipt says still adds up to the expected.
            step = 1 if stream.splits else len(delivery.rows)
            told = dict.fromkeys(COUNTS, 0)
            for first in range(0, len(delivery.rows), step):
                next_s += step / rows_per_s
                progress.behind_s = max(0.0, time.monotonic() - next_s)
                time.sleep(max(0.0, next_s - time.monotonic()))
                body = stream.encode(delivery.rows.slice(first, step))
                for name, count in _post(connection, stream.path, headers, body, progress).items():
                    told[name] += count
                    progress.told[name] += count
            for name, count in delivery.expected.items():
                progress.expected[name] += count
            if told != delivery.expected:
                progress.failure = f"{stream.form}: the receipt says {told}, it must be {delivery.expected}"
                return
            if time.monotonic() >= until_s:
                return
    except (OSError, http.client.HTTPException) as error:
        progress.failure = f"{stream.form}: {error!r}"
    finally:
        connection.close()


def _post(
    connection: http.client.HTTPConnection, path: str, headers: dict[str, str], body: bytes, progress: Progress
) -> dict[str, int]:
    """Send until it is stored; return the counts of the receipt."""
    while True:
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        text = response.read().decode()
        progress.requests += 1
        if response.status == http.client.CREATED:
            receipt = json.loads(text)
            return {name: receipt[name] for name in COUNTS}
        if response.status == http.client.NO_CONTENT:
            told = TOLD.findall(response.headers["X-Gaugehouse-Receipt"])
            return {name: int(count) for name, count in told}
        if response.status not in RETRY_STATUSES:
            raise OSError(f"{response.status} {text[:300]}")
        progress.retries += 1
        time.sleep(float(response.headers.get("Retry-After") or 1))
