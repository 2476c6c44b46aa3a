"""Writers in trouble: killed servers, repeated requests, more rows than the disk takes, a full disk."""

import json
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil

from functional.installation import assert_problem, wait_until
from functional.rows import read_answer
from functional.senders import Sender, sending
from payloads import ARROW, write_arrow

MEBIBYTE = 1024 * 1024
JSON = "application/json"
OVERLOAD_S = 4.0
OVERLOADERS = 24


def rows_of(component, numbers):
    return [
        {
            "component": component,
            "metric": "level",
            "measured_at": f"2026-07-01T00:{n // 60:02}:{n % 60:02}Z",
            "value": n,
        }
        for n in numbers
    ]


def post(client, rows, key=None, **options):
    headers = {"Content-Type": JSON} | ({"Idempotency-Key": key} if key else {})
    return client.post("/v1/measurements", content=json.dumps(rows), headers=headers, **options)


def test_a_request_repeated_after_kill_9_gets_its_first_answer(found):
    installation = found({"GAUGEHOUSE_SEGMENT_AGE_S": "1"}).start()
    device = installation.device()
    rows = rows_of("killed", range(3))
    first = post(device, [*rows, rows[0]], "delivery-0001")
    assert first.json()["accepted"] == 3
    again_known = post(device, rows, "delivery-0002")  # all duplicates: no row goes with its receipt
    installation.kill()
    installation.start()
    device = installation.device()
    for answer, repeated in (
        (first, post(device, [*rows, rows[0]], "delivery-0001")),
        (again_known, post(device, rows, "delivery-0002")),
    ):
        assert (repeated.status_code, repeated.content) == (201, answer.content)
        assert repeated.headers["idempotency-replayed"] == "true"
    wait_until(lambda: installation.read_lake().height == 3, what="the flush of the rows")
    installation.kill()
    installation.start()
    repeated = post(installation.device(), [*rows, rows[0]], "delivery-0001")
    assert (repeated.content, repeated.headers["idempotency-replayed"]) == (first.content, "true")
    assert_problem(post(installation.device(), rows[:1], "delivery-0001"), 422, "idempotency_key_reused")
    installation.stop()
    assert installation.read_lake().height == 3


def test_a_request_killed_on_its_way_is_stored_once_under_its_key(found):
    installation = found({"GAUGEHOUSE_SEGMENT_AGE_S": "0.5"}).start()
    told = {}

    def send(worker):
        for number in range(40):
            rows = rows_of(f"worker-{worker}", [number])
            key = f"delivery-{worker}-{number}"
            told[key] = (rows, persist(installation, rows, key))

    with ThreadPoolExecutor(6) as pool:
        done = [pool.submit(send, worker) for worker in range(6)]
        for _kill in range(2):
            time.sleep(0.4)
            installation.kill()
            installation.start()
        for each in done:
            each.result()
    device = installation.device()
    for key, (rows, answer) in told.items():
        repeated = post(device, rows, key)
        assert repeated.content == answer
        assert repeated.headers["idempotency-replayed"] == "true"
        # Sent again after a cut it was either answered anew from the log or stored for the first time.
        assert json.loads(answer)["accepted"] == 1
    installation.stop()
    assert installation.read_lake().height == len(told)


def persist(installation, rows, key):
    """Send a request until it is answered, whatever happens to the server; return the answer's body."""
    until_s = time.monotonic() + 120
    while time.monotonic() < until_s:
        try:
            with httpx.Client(
                base_url=installation.url, headers={"X-API-Key": installation.key}, trust_env=False
            ) as client:
                answer = post(client, rows, key, timeout=30)
        except httpx.TransportError:
            time.sleep(0.05)
            continue
        if answer.status_code == 201:
            return answer.content
        assert answer.status_code in {409, 503}, answer.text
        time.sleep(0.05)
    raise AssertionError("a request was never answered")


def test_overload_is_refused_not_stored_by_halves_and_nothing_acknowledged_is_lost(found):
    """Ten times more than may wait: a limit of 1 MiB of log, and files that appear only when a segment is old."""
    installation = found({"GAUGEHOUSE_UNFLUSHED_LIMIT_BYTES": str(MEBIBYTE), "GAUGEHOUSE_SEGMENT_AGE_S": "1.5"}).start()
    seen, acknowledged, until_s = Counter(), {}, time.monotonic() + OVERLOAD_S

    def overload(number):
        sender = Sender(installation, f"overload-{number}")
        with httpx.Client(
            base_url=installation.url, headers={"X-API-Key": installation.key}, trust_env=False
        ) as client:
            first = 0
            while time.monotonic() < until_s:
                content = write_arrow(sender.rows(first, first + 2_000))
                answer = client.post("/v1/measurements", content=content, headers={"Content-Type": ARROW}, timeout=60)
                seen[answer.status_code] += 1
                if answer.status_code == 201:
                    acknowledged[number] = acknowledged.get(number, 0) + answer.json()["accepted"]
                    first += 2_000
                else:
                    assert_problem(answer, answer.status_code)
                    assert int(answer.headers["retry-after"]) >= 1

    with ThreadPoolExecutor(OVERLOADERS) as pool:
        for done in [pool.submit(overload, number) for number in range(OVERLOADERS)]:
            done.result()
    assert set(seen) <= {201, 429, 503}
    assert seen[201] > 0
    assert seen[503] > 0
    assert psutil.Process(installation.pid).memory_info().rss < 700 * MEBIBYTE
    summary = read_answer(installation.sign_in("vera").get("/v1/summary"))
    counts = Counter()
    for row in summary:
        counts[row["component"]] += row["n"]
    assert counts == {f"overload-{number}": count for number, count in acknowledged.items()}
    late = Sender(installation, "afterwards")
    with sending([late]):
        wait_until(lambda: late.acknowledged, what="a delivery after the overload")
    installation.stop()
    stored = installation.read_lake()
    assert stored.height == sum(acknowledged.values()) + len(late.acknowledged_keys())


def test_memory_stays_bounded_while_nothing_is_flushed(found):
    """A segment that never closes: 4 MiB of log, then 503 and not a byte more, while reads go on."""
    installation = found(
        {"GAUGEHOUSE_UNFLUSHED_LIMIT_BYTES": str(4 * MEBIBYTE), "GAUGEHOUSE_SEGMENT_AGE_S": "3600"}
    ).start()
    device, viewer = installation.device(), installation.sign_in("vera")
    sender = Sender(installation, "stalled")
    accepted, refused, first = 0, 0, 0
    while refused < 1:
        content = write_arrow(sender.rows(first, first + 20_000))
        answer = device.post("/v1/measurements", content=content, headers={"Content-Type": ARROW})
        accepted += answer.json().get("accepted", 0)
        refused += answer.status_code == 503
        first += 20_000
    before_bytes = psutil.Process(installation.pid).memory_info().rss
    content = write_arrow(sender.rows(first, first + 100_000))

    def push():
        with httpx.Client(
            base_url=installation.url, headers={"X-API-Key": installation.key}, trust_env=False
        ) as client:
            for _ in range(10):
                answer = client.post("/v1/measurements", content=content, headers={"Content-Type": ARROW}, timeout=60)
                assert_problem(answer, 503, "overloaded")

    threads = [threading.Thread(target=push) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert psutil.Process(installation.pid).memory_info().rss < before_bytes + 200 * MEBIBYTE
    assert post(device, rows_of("stalled", [1])).status_code == 503  # small ones as well
    assert sum(row["n"] for row in read_answer(viewer.get("/v1/summary"))) == accepted
    installation.stop()
    assert installation.read_lake().height == accepted


def test_below_the_free_space_mark_writes_get_507_and_reads_go_on(found):
    installation = found().start()
    assert post(installation.device(), rows_of("full", range(2))).status_code == 201
    installation.stop()
    free_bytes = psutil.disk_usage(str(installation.data_dir)).free
    installation.environment["GAUGEHOUSE_FREE_SPACE_BYTES"] = str(2 * free_bytes)
    installation.start()
    refused = post(installation.device(), rows_of("full", [2]), "delivery-0001")
    assert_problem(refused, 507, "storage_full")
    assert int(refused.headers["retry-after"]) >= 1
    assert sum(row["n"] for row in read_answer(installation.sign_in("vera").get("/v1/summary"))) == 2
    installation.stop()
    del installation.environment["GAUGEHOUSE_FREE_SPACE_BYTES"]
    installation.start()
    answer = post(installation.device(), rows_of("full", [2]), "delivery-0001")
    assert (answer.json()["accepted"], "idempotency-replayed" in answer.headers) == (1, False)
    installation.stop()
