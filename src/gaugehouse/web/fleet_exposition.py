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

TREND_AGE = "falling_battery_age_seconds"
FLEET_METRICS: Mapping[str, tuple[str, str]] = {
    "heartbeat_count_total": ("counter", "Heartbeats stored since the service started: new rows of the metric online"),
    "online_devices": ("gauge", "Devices that are in touch, those at risk included"),
    "at_risk_devices": ("gauge", "Devices in touch with a low or falling battery or a weak signal"),
    "offline_devices": ("gauge", "Devices that were silent for too long or said that they are offline"),
    "average_battery": ("gauge", "Mean of the newest battery levels in percent; absent without any"),
    TREND_AGE: ("gauge", "Age of what at_risk_devices knows of falling batteries, the oldest; absent before the first"),
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
        heartbeats = self.runtime.lake.meters.heartbeats()
        try:
            found = self.runtime.fleet.count_all(datetime.now(UTC))
        except Unavailable:
            yield self._count_heartbeats(heartbeats)
            return
        # A counter that appears with its first heartbeat hides that one from `increase`: those of devices begin at 0.
        yield self._count_heartbeats(dict.fromkeys(found, 0) | heartbeats)
        counts = self._by_label(found, Counts())
        for name, read in GAUGES.items():
            values = {key: read(of_project) for key, of_project in counts.items()}
            yield self._gauge(name, {key: value for key, value in values.items() if value is not None})
        ages = {project: age_s for project, age_s in self.runtime.fleet.trend_ages_s().items() if project in found}
        if ages and not self.by_project:
            ages = {"": max(ages.values())}
        yield self._gauge(TREND_AGE, {(project,) * self.by_project: age_s for project, age_s in sorted(ages.items())})

    def _count_heartbeats(self, heartbeats: Mapping[str, int]) -> Metric:
        name = "heartbeat_count_total"
        family = CounterMetricFamily(name, FLEET_METRICS[name][1], labels=self._labels)
        for key, count in self._by_label(heartbeats, 0).items():
            family.add_metric(key, count)
        return family

    def _gauge(self, name: str, values: Mapping[tuple[str, ...], float]) -> Metric:
        gauge = GaugeMetricFamily(name, FLEET_METRICS[name][1], labels=self._labels)
        for key, value in values.items():
            gauge.add_metric(key, value)
        return gauge

    @property
    def _labels(self) -> tuple[str, ...]:
        return ("project",) if self.by_project else ()

    def _by_label(self, found: Mapping[str, Summed], zero: Summed) -> dict[tuple[str, ...], Summed]:
        if self.by_project:
            return {(project,): one for project, one in sorted(found.items())}
        return {(): sum(found.values(), zero)}
