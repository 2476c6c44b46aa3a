"""This machine as a component: its processor, memory, disk and network, every second."""

import platform
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import structlog

from gaugehouse.demo.plant import FleetComponent, FleetMetric
from gaugehouse.errors import GaugehouseError
from gaugehouse.measurements.metric import MetricAttributes, MetricKind
from gaugehouse.measurements.schema import MEASUREMENT_BATCH, QUALITY_GOOD
from gaugehouse.measurements.selection import to_epoch_us

MICROSECONDS_PER_S = 1_000_000
HOST_NAME = "this-host"
HOST_INTERVAL_S = 1.0
LOG_EVERY_FAILURES = 60  # a failing disk shall not fill the log, but it shall stay in it

log = structlog.get_logger(__name__)


def describe_host() -> FleetComponent:
    """Return what the inventory shall know about this machine: what it is, not what it is called."""
    return FleetComponent(
        name=HOST_NAME,
        title="The machine that runs this service",
        type="host",
        line="",
        labels={"system": platform.system() or "unknown"},
        attributes={"processors": psutil.cpu_count() or 1, "memory_bytes": psutil.virtual_memory().total},
    )


def describe_host_metrics(interval_s: float = HOST_INTERVAL_S) -> list[FleetMetric]:
    """Return the metrics that a `HostSampler` measures."""
    gauge, counter = MetricKind.GAUGE, MetricKind.COUNTER
    rows = [
        ("cpu_percent", "Processor in use", gauge, "%", 95.0),
        ("memory_percent", "Memory in use", gauge, "%", 95.0),
        ("disk_used_percent", "Disk in use", gauge, "%", 95.0),
        ("load_1min", "Load average over a minute", gauge, "1", None),
        ("disk_read_bytes", "Read from disks since boot", counter, "By", None),
        ("disk_written_bytes", "Written to disks since boot", counter, "By", None),
        ("network_sent_bytes", "Sent since boot", counter, "By", None),
        ("network_received_bytes", "Received since boot", counter, "By", None),
    ]
    return [
        FleetMetric(
            name=name,
            title=title,
            component=None,
            attributes=MetricAttributes(kind=kind, unit=unit, usl=usl, nominal_interval_s=interval_s),
        )
        for name, title, kind, unit, usl in rows
    ]


class HostSampler:
    """Reads this machine's own gauges and counters.

    Args:
        disk_path: A path on the disk whose use is measured.
    """

    def __init__(self, disk_path: Path) -> None:
        self._disk_path = disk_path
        psutil.cpu_percent(interval=None)  # the first answer of a process is 0 by definition; later ones span two calls

    def sample(self, measured_at: datetime) -> pa.Table:
        """Return one reading of each metric this machine can tell, as MEASUREMENT_BATCH.

        Raises:
            psutil.Error: The system refuses to tell.
            OSError: Likewise.
        """
        values = self._read()
        rows = len(values)
        instants = np.full(rows, to_epoch_us(measured_at), dtype=np.int64)
        codes = pa.array(np.zeros(rows, dtype=np.int32))
        return pa.Table.from_arrays(
            [
                pa.DictionaryArray.from_arrays(codes, pa.array([HOST_NAME])),
                pa.array(list(values), pa.string()).dictionary_encode(),
                pa.array(instants, pa.timestamp("us", tz="UTC")),
                pa.array(list(values.values()), pa.float64()),
                pa.array(np.full(rows, QUALITY_GOOD, dtype=np.uint8)),
            ],
            schema=MEASUREMENT_BATCH,
        )

    def _read(self) -> dict[str, float]:
        values = {
            "cpu_percent": psutil.cpu_percent(interval=None),
            "memory_percent": psutil.virtual_memory().percent,
            "disk_used_percent": psutil.disk_usage(str(self._disk_path)).percent,
            "load_1min": psutil.getloadavg()[0],
        }
        disks = psutil.disk_io_counters()
        if disks is not None:  # a container may have no disk of its own
            values |= {"disk_read_bytes": disks.read_bytes, "disk_written_bytes": disks.write_bytes}
        network = psutil.net_io_counters()
        if network is not None:
            values |= {"network_sent_bytes": network.bytes_sent, "network_received_bytes": network.bytes_recv}
        return {name: float(value) for name, value in values.items()}


class HostCollector:
    """A thread that appends one sample per interval until it is stopped or the lake is closed.

    Samples lie on full intervals, so a restart within one interval repeats no key with another value. A failed append
    or reading is logged and its sample is lost; the next one is tried.

    Args:
        append: Stores a MEASUREMENT_BATCH; raises a `GaugehouseError` when it cannot.
        sampler: Where samples come from.
        is_closed: Says whether the lake is being closed, so that appending must end. Asked before each sample; call
            `stop` before closing the lake all the same, because a sample may be on its way.
        interval_s: Time between two samples. [s]
    """

    def __init__(
        self,
        append: Callable[[pa.Table], object],
        sampler: HostSampler,
        *,
        is_closed: Callable[[], bool],
        interval_s: float = HOST_INTERVAL_S,
    ) -> None:
        self._append = append
        self._sampler = sampler
        self._is_closed = is_closed
        self._interval_us = round(interval_s * MICROSECONDS_PER_S)
        self._stopping = threading.Event()
        self._failures = 0
        self._thread = threading.Thread(target=self._collect, name="host-collector", daemon=True)

    @property
    def is_running(self) -> bool:
        """Whether samples are still being taken."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin with the next full interval."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End after the sample that is being taken, if any. May be called twice."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def _collect(self) -> None:
        last = _now_us() // self._interval_us
        while not self._wait_until((last + 1) * self._interval_us):
            if self._is_closed():
                log.info("host_collection_ended", reason="the lake is closed")
                return
            # A slow append skips intervals; a clock that was set back waits until it has caught up.
            last = max(last + 1, _now_us() // self._interval_us)
            self._take(last * self._interval_us)

    def _wait_until(self, at_us: int) -> bool:
        """Return at that instant, or early with True when stopped."""
        while (left_us := at_us - _now_us()) > 0:
            if self._stopping.wait(min(left_us / MICROSECONDS_PER_S, HOST_INTERVAL_S)):
                return True
        return self._stopping.is_set()

    def _take(self, at_us: int) -> None:
        try:
            self._append(self._sampler.sample(datetime.fromtimestamp(at_us / MICROSECONDS_PER_S, tz=UTC)))
        except (GaugehouseError, psutil.Error, OSError) as error:
            self._failures += 1
            if self._failures % LOG_EVERY_FAILURES == 1:
                log.warning(
                    "host_sample_lost",
                    failures=self._failures,
                    error=type(error).__name__,
                    code=getattr(error, "code", None),
                    reason=str(error),
                )
            return
        if self._failures:
            log.info("host_samples_resumed", lost=self._failures)
            self._failures = 0


def _now_us() -> int:
    return to_epoch_us(datetime.now(UTC))
