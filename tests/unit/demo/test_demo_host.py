"""This machine as a component: real readings, and a thread that survives failures but hides none."""

import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
import structlog

from gaugehouse.demo.host import HOST_NAME, HostCollector, HostSampler, describe_host, describe_host_metrics
from gaugehouse.errors import StorageFull
from gaugehouse.measurements.metric import MetricKind
from gaugehouse.measurements.schema import MEASUREMENT_BATCH

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
INTERVAL_S = 0.02


class Lake:
    """Collects batches; fails on the calls it is told to."""

    def __init__(self, wanted: int, failing: tuple[int, ...] = ()):
        self.batches: list[pa.Table] = []
        self.calls = 0
        self.is_closed = False
        self.wanted = wanted
        self.failing = failing
        self.enough = threading.Event()

    def append(self, batch: pa.Table) -> None:
        self.calls += 1
        if self.calls in self.failing:
            raise StorageFull("the disk is full")
        self.batches.append(batch)
        if len(self.batches) == self.wanted:
            self.enough.set()


@pytest.fixture
def sampler() -> HostSampler:
    return HostSampler(Path("/"))


def collect(lake: Lake, sampler: HostSampler) -> HostCollector:
    return HostCollector(lake.append, sampler, is_closed=lambda: lake.is_closed, interval_s=INTERVAL_S)


def test_a_sample_is_a_valid_batch_of_this_host_at_one_instant(sampler):
    batch = sampler.sample(NOW)
    batch.validate(full=True)
    assert batch.schema.equals(MEASUREMENT_BATCH)
    assert set(batch["component"].to_pylist()) == {HOST_NAME}
    assert batch["measured_at"].cast(pa.int64()).unique().to_pylist() == [int(NOW.timestamp() * 1_000_000)]
    assert batch["value"].null_count == 0


def test_every_sampled_metric_is_described_with_kind_and_unit(sampler):
    described = {metric.name: metric.attributes for metric in describe_host_metrics()}
    batch = sampler.sample(NOW)
    names = batch["metric"].to_pylist()
    assert {"cpu_percent", "memory_percent", "disk_used_percent", "load_1min"} <= set(names) <= described.keys()
    assert all(attributes.unit and attributes.nominal_interval_s == 1 for attributes in described.values())
    values = dict(zip(names, batch["value"].to_pylist(), strict=True))
    assert all(0 <= values[name] <= 100 for name in names if name.endswith("percent"))
    assert all(described[name].kind is MetricKind.COUNTER for name in names if name.endswith("bytes"))


def test_counters_never_fall_between_two_samples(sampler):
    first, second = (
        dict(zip(b["metric"].to_pylist(), b["value"].to_pylist(), strict=True))
        for b in (sampler.sample(NOW), sampler.sample(NOW))
    )
    assert all(second[name] >= first[name] for name in first if name.endswith("bytes"))


def test_the_host_is_described_without_its_name():
    host = describe_host()
    assert host.name == "this-host"
    assert host.type == "host"


def test_samples_lie_on_distinct_full_intervals(sampler):
    lake = Lake(wanted=4)
    collector = collect(lake, sampler)
    collector.start()
    assert lake.enough.wait(10)
    collector.stop()
    instants_us = [batch["measured_at"].cast(pa.int64())[0].as_py() for batch in lake.batches]
    assert instants_us == sorted(set(instants_us))
    assert all(instant_us % round(INTERVAL_S * 1_000_000) == 0 for instant_us in instants_us)


def test_a_failed_append_is_logged_and_survived(sampler):
    lake = Lake(wanted=3, failing=(1, 2))
    with structlog.testing.capture_logs() as logs:
        collector = collect(lake, sampler)
        collector.start()
        assert lake.enough.wait(10)
        collector.stop()
    assert lake.calls >= 5
    lost = [line for line in logs if line["event"] == "host_sample_lost"]
    assert [(line["code"], line["failures"]) for line in lost] == [("storage_full", 1)]
    assert [line["lost"] for line in logs if line["event"] == "host_samples_resumed"] == [2]


def test_a_failed_reading_is_logged_and_survived():
    lake = Lake(wanted=1)
    with structlog.testing.capture_logs() as logs:
        collector = collect(lake, HostSampler(Path("/no such folder")))
        collector.start()
        until_s = time.monotonic() + 10
        while not logs and time.monotonic() < until_s:
            time.sleep(INTERVAL_S)
        assert collector.is_running
        collector.stop()
    assert lake.batches == []
    assert [line["error"] for line in logs if line["event"] == "host_sample_lost"] == ["FileNotFoundError"]


def test_collection_ends_when_the_lake_is_closed(sampler):
    lake = Lake(wanted=1)
    collector = collect(lake, sampler)
    collector.start()
    assert lake.enough.wait(10)
    lake.is_closed = True
    collector._thread.join(10)
    assert not collector.is_running


def test_stopping_is_prompt_and_may_be_repeated(sampler):
    collector = HostCollector(Lake(wanted=1).append, sampler, is_closed=lambda: False, interval_s=3_600)
    collector.stop()  # never started
    collector = HostCollector(Lake(wanted=1).append, sampler, is_closed=lambda: False, interval_s=3_600)
    collector.start()
    collector.stop(timeout_s=3)
    collector.stop()
    assert not collector.is_running
