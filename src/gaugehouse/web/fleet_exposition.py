"""The metrics of the fleet in Prometheus' formats, under the names that dashboards of the system before us ask for.

Names, types and meanings are in FLEET_METRICS; docs/fleet.md is tested against it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gaugehouse.errors import Unavailable
from gaugehouse.fleet import Counts
from gaugehouse.runtime import Runtime

FLEET_METRICS: Mapping[str, tuple[str, str]] = {
    "heartbeat_count_total": ("counter", "Heartbeats that were stored: new rows of the metric online"),
    "online_devices": ("gauge", "Devices that are in touch, those at risk included"),
    "at_risk_devices": ("gauge", "Devices in touch with a low or falling battery or a weak signal"),
    "offline_devices": ("gauge", "Devices that were silent for too long or said that they are offline"),
    "average_battery": ("gauge", "Mean of the newest battery levels in percent; absent without any"),
}
GAUGES: Mapping[str, Callable[[Counts], float | None]] = {
    "online_devices": lambda counts: counts.online + counts.at_risk,
    "at_risk_devices": lambda counts: counts.at_risk,
    "offline_devices": lambda counts: counts.offline,
    "average_battery": lambda counts: counts.average_battery,
}

Summed = TypeVar("Summed", int, Counts)


@dataclass(frozen=True, slots=True, eq=False)
class FleetCollector(Collector):
    """Reads the fleet at the moment of a scrape, from memory.

    Args:
        runtime: What is running.
        by_project: Name projects, which are tenants' data.
    """

    runtime: Runtime
    by_project: bool

    def collect(self) -> Iterator[Metric]:
        """Yield every family of FLEET_METRICS; the gauges only while the database answers, which has thresholds."""
        labels = ("project",) if self.by_project else ()
        heartbeats = self.runtime.lake.meters.heartbeats()
        family = CounterMetricFamily("heartbeat_count_total", FLEET_METRICS["heartbeat_count_total"][1], labels=labels)
        for key, count in self._by_label(heartbeats, 0).items():
            family.add_metric(key, count)
        yield family
        try:
            counts = self._by_label(self.runtime.fleet.count_all(datetime.now(UTC)), Counts())
        except Unavailable:
            return
        for name, read in GAUGES.items():
            gauge = GaugeMetricFamily(name, FLEET_METRICS[name][1], labels=labels)
            for key, of_project in counts.items():
                value = read(of_project)
                if value is not None:
                    gauge.add_metric(key, value)
            yield gauge

    def _by_label(self, found: Mapping[str, Summed], zero: Summed) -> dict[tuple[str, ...], Summed]:
        if self.by_project:
            return {(project,): one for project, one in sorted(found.items())}
        return {(): sum(found.values(), zero)}
