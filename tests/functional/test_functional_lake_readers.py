"""Many senders of the same keys, and plain readers of the files, while the service flushes several times a second."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC

import duckdb
import httpx
import numpy as np
import polars as pl
import pytest
from deltalake import DeltaTable

from functional.installation import wait_until
from functional.rows import read_answer
from functional.senders import Sender, send_until_acknowledged, sending
from payloads import write_arrow

THREADS = 64
KEYS = 1000
BODIES = 5


@pytest.fixture(scope="module")
def flushing(found):
    installation = found({"GAUGEHOUSE_SEGMENT_AGE_S": "0.3"}).start()
    yield installation
    installation.stop()


def test_the_same_keys_from_64_threads_are_stored_once_and_acknowledged_to_all(flushing):
    rows = Sender(flushing, "shared").rows(0, KEYS)
    begin = threading.Barrier(THREADS)

    def send(number):
        order = np.random.default_rng(number).permutation(KEYS)
        receipts = Counter()
        with httpx.Client(timeout=60, trust_env=False) as client:
            begin.wait()
            for part in np.array_split(order, BODIES):
                receipt = send_until_acknowledged(flushing, client, write_arrow(rows.take(part)))
                receipts.update({name: receipt[name] for name in ("accepted", "duplicates", "conflicts")})
                time.sleep(0.1)  # so that flushes happen between the bodies
        return receipts

    with ThreadPoolExecutor(THREADS) as pool:
        receipts = list(pool.map(send, range(THREADS)))
    assert all(one["accepted"] + one["duplicates"] == KEYS for one in receipts)
    assert sum(one["accepted"] for one in receipts) == KEYS
    assert sum(one["conflicts"] for one in receipts) == 0
    viewer = flushing.sign_in("vera")
    read = read_answer(viewer.get("/v1/components/shared/measurements", params={"limit": 50_000}))
    assert sorted(row["value"] for row in read) == list(range(KEYS))

    def all_flushed():
        stored = flushing.read_lake().filter(pl.col("component") == "shared")
        assert stored["value"].n_unique() == stored.height
        return stored.height == KEYS

    wait_until(all_flushed, what="the flush")
    assert DeltaTable(flushing.data_dir / "lake" / "measurements").version() >= 1


# --- readers that know nothing of Gaugehouse ---

COLUMNS = ["component", "metric", "measured_at", "value", "received_at"]


def read_with_polars(path):
    return pl.scan_delta(path).select(COLUMNS).collect()


def read_with_pyarrow(path):
    return pl.DataFrame(DeltaTable(path).to_pyarrow_table(columns=COLUMNS))


def read_with_duckdb(path):
    files = DeltaTable(path).file_uris()
    with duckdb.connect() as connection:
        found = connection.sql(f"SELECT {', '.join(COLUMNS)} FROM read_parquet($files)", params={"files": files})  # noqa: S608  # ours
        return pl.DataFrame(found.to_arrow_table())


READERS = {"polars": read_with_polars, "deltalake and pyarrow": read_with_pyarrow, "duckdb": read_with_duckdb}


def as_keys(frame):
    keys = zip(frame["component"], frame["metric"], frame["measured_at"].dt.convert_time_zone("UTC"), strict=True)
    return list(keys)


def assert_exact(frame, senders):
    """Check one state of the files: no row twice, no strange row, and all that was acknowledged up to its newest."""
    frame = frame.filter(pl.col("component").is_in([sender.name for sender in senders]))
    keys = as_keys(frame)
    found = dict(zip(keys, frame["value"], strict=True))
    assert len(found) == len(keys), "a row is there twice"
    if not keys:
        return 0
    newest = frame["received_at"].max().astimezone(UTC)
    for sender in senders:
        acknowledged = sender.acknowledged_keys(through=newest)
        assert acknowledged.items() <= found.items(), "an acknowledged and flushed row is missing"
        numbers = frame.filter(pl.col("component") == sender.name)["value"]
        assert numbers.is_empty() or numbers.max() < sender.sent
        assert all(found[sender.key_of(int(number))] == number for number in numbers)
    return len(keys)


@pytest.mark.parametrize("reader", READERS)
def test_plain_readers_see_every_acknowledged_and_flushed_row_once_during_ingestion(reader, flushing):
    path = str(flushing.data_dir / "lake" / "measurements")
    senders = [Sender(flushing, f"{reader} {i}", rows_per_body=50, pause_s=0.02) for i in range(3)]
    counts = []
    with sending(senders):
        wait_until(flushing.has_rows_on_disk)
        deadline_s = time.monotonic() + 3
        while time.monotonic() < deadline_s:
            counts.append(assert_exact(READERS[reader](path), senders))
            time.sleep(0.05)
    assert counts == sorted(counts)
    assert len(set(counts)) > 3
    total = sum(len(sender.acknowledged_keys()) for sender in senders)
    wait_until(lambda: assert_exact(READERS[reader](path), senders) == total, timeout_s=20, what="the last flush")


def test_filters_on_project_month_and_component_find_the_same_rows(flushing):
    path = str(flushing.data_dir / "lake" / "measurements")
    wait_until(lambda: read_with_polars(path).filter(pl.col("component") == "shared").height == KEYS)
    rows = pl.scan_delta(path).filter(pl.col("project") == "default", pl.col("component") == "shared").collect()
    assert rows.height == KEYS
    assert rows["month"].to_list() == rows["measured_at"].dt.strftime("%Y-%m").to_list()
    table = DeltaTable(path).to_pyarrow_table(filters=[("project", "=", "default"), ("component", "=", "shared")])
    assert table.num_rows == KEYS
    assert pl.scan_delta(path).filter(pl.col("project") == "another").collect().is_empty()
