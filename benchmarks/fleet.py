"""A fleet: so many devices with a key each, a status of each in batches, then some by themselves; and reading them."""

import csv
import http.client
import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.results import Results, show_progress
from benchmarks.sending import NEVER_S, Sent, send, write_payloads
from benchmarks.service import Service, run_command, serve
from benchmarks.thin import exchange, question, request_head
from benchmarks.workload import FORMATS, encode_arrow

METRICS = ("battery_level", "rssi", "online")
DEVICES_PER_BATCH = 16_000
SENDERS = 2
CONNECTIONS = 64
WARM_DEVICES = 10
ASKED_ONES = 2_000
SUMMARY_PAGE = 10_000
SETTLED_S = 0.5
COMMIT_TIMEOUT_S = 120.0
NEWEST_BOUND_S = 0.010  # of 99 in 100
BYTES_PER_SERIES_BOUND = 200
JUDGED_DEVICES = 100_000  # of fewer the memory is what one body of rows needs for a moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One fleet.

    Args:
        devices: How many; three series each.
        enrol_s: `gaugehouse component enrol` beside the running server, its start included. [s]
        batch_rows_per_s: Rows of the batch route, all series new. [1/s]
        memory_batch_bytes: What the server is larger by (RSS) once all are in files.
        bytes_per_series: The same by series.
        single_requests: Statuses of one device each, with its own key.
        single_per_s, single_p50_s, single_p99_s: `POST /status`. [1/s], [s]
        single_server_cpu_s: Processor time of the server per request. [s]
        target_requests: Devices that asked what to run, each once and with its own key.
        target_per_s, target_p50_s, target_p99_s: `GET /firmware/{device}/target`, a tenth rolled out. [1/s], [s]
        target_server_cpu_s: Processor time of the server per request. [s]
        newest_p50_s, newest_p99_s: `GET /status/{device}` of devices at random, one after the other. [s]
        summary_s, summary_bytes: `GET /status/summary` of all, streamed.
        page_s: One page of it of 10,000 devices, the slowest of first, middle and last. [s]
        listing_s: One page of 1,000 of `/v1/fleet/status`, the slowest of the first ten, by cursor. [s]
        state_s: The first 1,000 devices at risk. [s]
        scrape_first_s, scrape_s: `/metrics` when nothing is counted yet, and when the counts are too old. [s]
        is_exact: The files held every acknowledged row once.
    """

    devices: int
    enrol_s: float
    enrolled_per_s: float
    batch_s: float
    batch_rows_per_s: float
    batch_p99_s: float
    memory_batch_bytes: int
    bytes_per_series: float
    single_requests: int
    single_per_s: float
    single_p50_s: float
    single_p99_s: float
    single_server_cpu_s: float
    target_requests: int
    target_per_s: float
    target_p50_s: float
    target_p99_s: float
    target_server_cpu_s: float
    newest_p50_s: float
    newest_p99_s: float
    summary_s: float
    summary_bytes: int
    page_s: float
    listing_s: float
    state_s: float
    scrape_first_s: float
    scrape_s: float
    memory_bytes: int
    is_exact: bool


def run_fleet(results: Results, *, devices: int, singles: int, work_dir: Path) -> bool:
    """Measure a fleet; add the row to the results; return whether the bounds were kept."""
    with serve(work_dir / "data-fleet") as service:
        measured = _measure(service, devices, min(singles, devices), work_dir)
    notes = [
        "a device: a component with a key of its own, named like device-0001234; three series each",
        f"batches: Arrow, {DEVICES_PER_BATCH:,} devices a body, {SENDERS} connections, all series new to the server",
        f"singles: POST /status with the device's own key, each key once, {CONNECTIONS} connections",
        "memory: resident size of the server beyond what it had with ten devices, once all rows are in files",
        f"newest of one: {ASKED_ONES:,} devices at random over one connection, HTTP included",
    ]
    results.add("fleet", [asdict(measured)], notes)
    is_small = devices < JUDGED_DEVICES or measured.bytes_per_series <= BYTES_PER_SERIES_BOUND
    return measured.is_exact and is_small and measured.newest_p99_s < NEWEST_BOUND_S


def _measure(service: Service, devices: int, singles: int, work_dir: Path) -> Measured:
    now = datetime.now(UTC).replace(microsecond=0)
    reader = Reader(service)
    _warm_up(service, reader, now, work_dir)
    empty_bytes = _settled_memory(service)
    show_progress(f"fleet: {devices:,} devices enrolled")
    begun_s = time.perf_counter()
    keys = _enrol(service, devices, work_dir)
    enrol_s = time.perf_counter() - begun_s
    rows = (WARM_DEVICES + devices + singles) * len(METRICS)
    show_progress("fleet: a status of each, in batches")
    batch = _send_batches(service, devices, now - timedelta(minutes=2), work_dir)
    _wait_for_files(service, rows - singles * len(METRICS))
    full_bytes = _settled_memory(service)
    show_progress(f"fleet: {singles:,} statuses by themselves")
    single_s, response_s, cpu_s = _send_singles(service, keys, singles, now)
    show_progress(f"fleet: {singles:,} devices ask what to run")
    _roll_out(service)
    target_s, target_response_s, target_cpu_s = _ask_targets(service, keys, singles)
    show_progress("fleet: read")
    asked = random.Random(0).sample(range(devices), min(ASKED_ONES, devices))  # noqa: S311 - a workload
    newest_s = sorted(reader.get(f"/status/{_name(one)}").taken_s for one in asked)
    pages = sorted({1, max(1, devices // SUMMARY_PAGE // 2), -(-devices // SUMMARY_PAGE)})
    path = f"/status/summary?page_size={SUMMARY_PAGE}&page="
    scrape_first_s = reader.get("/metrics").taken_s
    time.sleep(6)  # the counts are too old then
    summary = reader.get("/status/summary")
    return Measured(
        devices=devices,
        enrol_s=enrol_s,
        enrolled_per_s=devices / enrol_s,
        batch_s=batch.duration_s,
        batch_rows_per_s=batch.rows_per_s,
        batch_p99_s=batch.response(0.99),
        memory_batch_bytes=full_bytes - empty_bytes,
        bytes_per_series=(full_bytes - empty_bytes) / (devices * len(METRICS)),
        single_requests=len(response_s),
        single_per_s=len(response_s) / single_s,
        single_p50_s=response_s[len(response_s) // 2],
        single_p99_s=response_s[len(response_s) * 99 // 100],
        single_server_cpu_s=cpu_s / len(response_s),
        target_requests=len(target_response_s),
        target_per_s=len(target_response_s) / target_s,
        target_p50_s=target_response_s[len(target_response_s) // 2],
        target_p99_s=target_response_s[len(target_response_s) * 99 // 100],
        target_server_cpu_s=target_cpu_s / len(target_response_s),
        newest_p50_s=newest_s[len(newest_s) // 2],
        newest_p99_s=newest_s[len(newest_s) * 99 // 100],
        summary_s=summary.taken_s,
        summary_bytes=len(summary.body),
        page_s=max(reader.get(f"{path}{page}").taken_s for page in pages),
        listing_s=max(_list_pages(reader, 10)),
        state_s=reader.get("/v1/fleet/status?state=at-risk&limit=1000").taken_s,
        scrape_first_s=scrape_first_s,
        scrape_s=reader.get("/metrics").taken_s,
        memory_bytes=_settled_memory(service),
        is_exact=_wait_for_files(service, rows),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came, and how long it took with its body. [s]"""

    body: bytes
    taken_s: float


class Reader:
    """One connection that asks, with a key that may see all devices."""

    def __init__(self, service: Service) -> None:
        scopes = ("--scope", "status:read", "--scope", "measurements:read")
        self._key = run_command(service.data_dir, "key", "create", "bench reader", "--project", "default", *scopes)
        self._connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=600)

    def get(self, path: str) -> Answer:
        """Ask one question; SystemExit if it is refused."""
        begun_s = time.perf_counter()
        try:
            response = self._ask(path)
        except (ConnectionError, http.client.RemoteDisconnected):  # the server closed it, for it rested long
            self._connection.close()
            begun_s = time.perf_counter()
            response = self._ask(path)
        body = response.read()
        taken_s = time.perf_counter() - begun_s
        if response.status != http.client.OK:
            raise SystemExit(f"{path}: {response.status} {body[:500].decode(errors='replace')}")
        return Answer(body=body, taken_s=taken_s)

    def _ask(self, path: str) -> http.client.HTTPResponse:
        self._connection.request("GET", path, headers={"X-API-Key": self._key})
        return self._connection.getresponse()


def _name(device: int) -> str:
    return f"device-{device:07d}"


def _enrol(service: Service, devices: int, work_dir: Path) -> list[str]:
    """Make all devices known by command; return their keys, by number."""
    wanted, made = work_dir / "devices.csv", work_dir / "keys.csv"
    wanted.write_text("component\n" + "".join(f"{_name(number)}\n" for number in range(devices)))
    run_command(service.data_dir, "component", "enrol", str(wanted), str(made))
    with made.open(newline="") as file:
        rows = csv.reader(file)
        next(rows)
        return [key for _component, key in rows]


def status_batch(first: int, last: int, at: datetime) -> pa.Table:
    """Return one status, three rows, of devices first..last, each at its own moment of a minute."""
    devices = last - first
    draw = np.random.default_rng(first)
    values = np.empty((devices, len(METRICS)))
    values[:, 0] = draw.integers(5, 101, devices)
    values[:, 1] = draw.integers(-95, -40, devices)
    values[:, 2] = draw.random(devices) > 0.02
    instants_us = int(at.timestamp()) * 1_000_000 + draw.integers(0, 60_000_000, devices)
    codes = np.arange(devices, dtype=np.int32).repeat(len(METRICS))
    metrics = np.tile(np.arange(len(METRICS), dtype=np.int32), devices)
    return pa.table(
        {
            "component": pa.DictionaryArray.from_arrays(
                pa.array(codes), pa.array([_name(number) for number in range(first, last)])
            ),
            "metric": pa.DictionaryArray.from_arrays(pa.array(metrics), pa.array(METRICS)),
            "measured_at": pa.array(instants_us.repeat(len(METRICS)), pa.timestamp("us", tz="UTC")),
            "value": pa.array(values.reshape(-1)),
        }
    )


def _send_batches(service: Service, devices: int, at: datetime, work_dir: Path, *, first: int = 0) -> Sent:
    (arrow,) = (each for each in FORMATS if each.name == "arrow")
    starts = range(first, first + devices, DEVICES_PER_BATCH)
    batches = [(start, min(start + DEVICES_PER_BATCH, first + devices)) for start in starts]
    payloads = [
        write_payloads(
            work_dir / f"fleet-{first}-{sender}",
            (status_batch(*span, at) for span in batches[sender::SENDERS]),
            encode_arrow,
        )
        for sender in range(min(SENDERS, len(batches)))
    ]
    return send(service.target(arrow), payloads, seconds=NEVER_S)


def _warm_up(service: Service, reader: Reader, now: datetime, work_dir: Path) -> None:
    """Have all code loaded, by ten devices of other numbers, so that it is not counted as theirs."""
    _send_batches(service, WARM_DEVICES, now - timedelta(minutes=2), work_dir, first=9_000_000)
    for path in ("/status/device-9000000", "/status/summary", "/v1/fleet/status?state=at-risk", "/metrics"):
        reader.get(path)
    _wait_for_files(service, WARM_DEVICES * len(METRICS))


def _send_singles(service: Service, keys: list[str], count: int, at: datetime) -> tuple[float, list[float], float]:
    """Send a newer status of some devices, each with its own key.

    Returns:
        How long it took [s], request until answer of each, sorted [s], and the server's processor time [s].
    """
    draw = random.Random(1)  # noqa: S311 - a workload, the same each time
    chosen = draw.sample(range(len(keys)), count)
    requests = [list(_singles(keys, chosen[one::CONNECTIONS], at, draw)) for one in range(CONNECTIONS)]
    return _exchange(service, requests)


def _exchange(service: Service, requests: list[list[tuple[bytes, bool]]]) -> tuple[float, list[float], float]:
    """Return what `_send_singles` does, of requests by connection."""
    cpu_s = service.cpu_s()
    sent, duration_s = exchange(service.port, [iter(each) for each in requests], seconds=NEVER_S)
    return duration_s, sorted(taken_s for one in sent for taken_s in one.response_s), service.cpu_s() - cpu_s


def _singles(keys: list[str], devices: list[int], at: datetime, draw: random.Random) -> Iterator[tuple[bytes, bool]]:
    for device in devices:
        status = {
            "device_id": _name(device),
            "timestamp": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "battery_level": draw.randrange(5, 101),
            "rssi": draw.randrange(-95, -40),
            "online": True,
        }
        body = json.dumps(status, separators=(",", ":")).encode()
        yield request_head(keys[device], "application/json", path="/status") % len(body) + body, False


def _roll_out(service: Service) -> None:
    """Have something for devices to be told: a release for a tenth of them."""
    run_command(service.data_dir, "firmware", "release", "1.1.0", "--url", "https://fw.example/1.1.0")
    run_command(service.data_dir, "firmware", "rollout", "add", "1.1.0", "--share", "10")


def _ask_targets(service: Service, keys: list[str], count: int) -> tuple[float, list[float], float]:
    """Let some devices ask what to run, each once with its own key; return as `_send_singles`."""
    chosen = random.Random(2).sample(range(len(keys)), count)  # noqa: S311 - a workload, the same each time
    asked = [(question(keys[one], f"/firmware/{_name(one)}/target"), False) for one in chosen]
    return _exchange(service, [asked[one::CONNECTIONS] for one in range(CONNECTIONS)])


def _list_pages(reader: Reader, pages: int) -> Iterator[float]:
    """Yield how long each of the first pages of the list of devices takes. [s]"""
    cursor = ""
    for _ in range(pages):
        answer = reader.get(f"/v1/fleet/status?limit=1000{cursor}")
        yield answer.taken_s
        found = json.loads(answer.body)["next_cursor"]
        if found is None:
            return
        cursor = f"&cursor={found}"


def _wait_for_files(service: Service, rows: int) -> bool:
    """Wait until the files hold so many rows; say whether they hold no more."""
    _wait(lambda: service.committed_rows() >= rows)
    return service.committed_rows() == rows


def _wait(is_true: Callable[[], bool]) -> None:
    until_s = time.monotonic() + COMMIT_TIMEOUT_S
    while not is_true() and time.monotonic() < until_s:
        time.sleep(0.2)


def _settled_memory(service: Service) -> int:
    """Return the server's resident memory once it has not moved by a hundredth for half a second."""
    before_bytes, now_bytes = 0, service.memory_bytes()
    for _ in range(60):
        if abs(now_bytes - before_bytes) < now_bytes / 100:
            break
        time.sleep(SETTLED_S)
        before_bytes, now_bytes = now_bytes, service.memory_bytes()
    return now_bytes
