"""A process that sends what a plant sends, at a rate that changes, over a hundred connections and in every format.

Arguments: address, key, phases as JSON: [[seconds, rows per second], ...]. Says when each phase began, and at the end
what was answered and which deliveries were acknowledged, as JSON, one line each.
"""

import http.client
import json
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[1]))

import pyarrow as pa

from faults.measuring import instant_us
from gaugehouse.measurements.selection import from_epoch_us
from payloads import ARROW, CSV, JSON, NDJSON, PARQUET, TIMESTAMP, to_text, write_arrow, write_parquet

METRICS = [f"m{n:02}" for n in range(100)]
PAUSE_S = 0.2  # after a refusal: impatient, whatever Retry-After says
AT, VALUE = "@", "#"  # what differs from delivery to delivery


class Stream(NamedTuple):
    """What some connections send: each delivery holds one instant of some components of their own.

    Args:
        form: Also the prefix of the components' names.
        components: Of one connection; each has METRICS, but for single rows.
        connections: How many send so.
        share: Of all rows. [1]
    """

    form: str
    components: int
    connections: int
    share: float
    media_type: str = JSON
    path: str = "/v1/measurements"
    metrics: int = len(METRICS)

    @property
    def rows(self):
        return self.components * self.metrics


STREAMS = (
    Stream("arrow", 80, 16, 0.5, ARROW),
    Stream("lines", 40, 16, 0.297, "text/plain", "/api/v2/write?bucket=default&precision=us"),
    Stream("json", 10, 16, 0.1),
    Stream("columns", 20, 4, 0.03),
    Stream("ndjson", 20, 4, 0.03, NDJSON),
    Stream("csv", 20, 4, 0.02, CSV),
    Stream("parquet", 40, 4, 0.02, PARQUET),
    Stream("single", 1, 36, 0.003, metrics=1),
)
CONNECTIONS = sum(stream.connections for stream in STREAMS)


def component_of(form, connection, component):
    return f"{form}-{connection}-{component}"


class Writer:
    """Makes the deliveries of one connection: everything but instant and value is written once."""

    def __init__(self, stream, connection):
        self._form = stream.form
        names = [component_of(stream.form, connection, n) for n in range(stream.components)]
        metrics = METRICS[: stream.metrics]
        self._pairs = [(name, metric) for name in names for metric in metrics]
        self._template = self._write_template(names, metrics).encode()
        self._columns = [pa.array([pair[k] for pair in self._pairs]).dictionary_encode() for k in (0, 1)]

    def _write_template(self, names, metrics):
        row = '{"component":"%s","metric":"%s","measured_at":"@","value":#}'
        match self._form:
            case "json" | "single":
                return f"[{','.join(row % pair for pair in self._pairs)}]"
            case "ndjson":
                return "\n".join(row % pair for pair in self._pairs)
            case "csv":
                return "\n".join(
                    ["component,metric,measured_at,value", *(f"{c},{m},{AT},{VALUE}" for c, m in self._pairs)]
                )
            case "columns":
                columns = {"component": [c for c, _ in self._pairs], "metric": [m for _, m in self._pairs]}
                columns |= {"measured_at": [AT] * len(self._pairs), "value": [VALUE] * len(self._pairs)}
                return json.dumps(columns).replace(f'"{VALUE}"', VALUE)
            case _:
                fields = ",".join(f"{metric}={VALUE}" for metric in metrics)
                return "\n".join(f"gaugehouse,component={name} {fields} {AT}" for name in names)

    def write(self, number):
        """Return the body of a delivery."""
        at_us = instant_us(number)
        if self._form in {"arrow", "parquet"}:
            count = len(self._pairs)
            instants = pa.array([at_us] * count, pa.int64()).cast(TIMESTAMP)
            columns = [*self._columns, instants, pa.array([float(number)] * count)]
            table = pa.table(columns, names=["component", "metric", "measured_at", "value"])
            return write_arrow(table) if self._form == "arrow" else write_parquet(table)
        at = str(at_us) if self._form == "lines" else to_text(from_epoch_us(at_us))
        return self._template.replace(AT.encode(), at.encode()).replace(VALUE.encode(), b"%d" % number)


class Connection:
    """Sends one delivery after the other, each until it is acknowledged, as fast as it is told to."""

    def __init__(self, stream, number, phases):
        self.stream, self.number, self._phases = stream, number, phases
        self._writer = Writer(stream, number)
        self.statuses, self.wrong, self.acknowledged = Counter(), [], 0

    def run(self, port, key, begun_s):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        headers = {"Content-Type": self.stream.media_type, "X-API-Key": key}
        next_s = begun_s
        while (rows_per_s := self._rate(time.monotonic() - begun_s)) is not None:
            is_new = self._send(connection, headers, self._writer.write(self.acknowledged))
            self.acknowledged += is_new
            now_s = time.monotonic()
            share = rows_per_s * self.stream.share / self.stream.connections
            next_s = max(now_s, next_s + self.stream.rows / share) if is_new else now_s + PAUSE_S
            time.sleep(next_s - now_s)
        connection.close()

    def _rate(self, since_s):
        """Return the rows per second of the phase that runs, None after the last."""
        for seconds, rows_per_s in self._phases:
            since_s -= seconds
            if since_s < 0:
                return rows_per_s
        return None

    def _send(self, connection, headers, body):
        connection.request("POST", self.stream.path, body, headers)
        response = connection.getresponse()
        text = response.read()
        self.statuses[response.status] += 1
        is_refusal = response.status in {429, 503} and int(response.headers["Retry-After"] or 0) >= 1
        if response.status not in {201, 204} and not is_refusal:
            self.wrong.append(f"{self.stream.form}: {response.status} {text[:300].decode(errors='replace')}")
        return response.status in {201, 204}


def main(url, key, phases):
    connections = [Connection(stream, n, phases) for stream in STREAMS for n in range(stream.connections)]
    begun_s = time.monotonic()
    threads = [threading.Thread(target=each.run, args=(urlsplit(url).port, key, begun_s)) for each in connections]
    for thread in threads:
        thread.start()
    print(json.dumps({"begun_s": begun_s}), flush=True)
    for thread in threads:
        thread.join()
    told = {
        "statuses": sum((each.statuses for each in connections), Counter()),
        "wrong": [wrong for each in connections for wrong in each.wrong][:20],
        "acknowledged": [[each.stream.form, each.number, each.acknowledged] for each in connections],
    }
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
