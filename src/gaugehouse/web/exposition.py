"""The service's own metrics in Prometheus' formats.

Names, types and meanings are in METRICS; docs/observability.md is tested against it.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from sqlalchemy import and_, case, func, select
from sqlalchemy.orm import Session

from gaugehouse import __version__
from gaugehouse.database import database_now
from gaugehouse.database.tables import Job
from gaugehouse.errors import Unavailable
from gaugehouse.lake import Durations, RowCounts
from gaugehouse.runtime import Runtime
from gaugehouse.web.fleet_exposition import FleetCollector
from gaugehouse.web.traffic import Traffic

Labels = tuple[str, ...]

# A delivery that waits hours for its next attempt is no sign of too few workers.
IS_WAITING = and_(Job.status == "queued", Job.run_at > database_now())
JOB_STATE = case((IS_WAITING, "waiting"), else_=Job.status).label("state")

METRICS: Mapping[str, tuple[str, str]] = {
    "gaugehouse_build_info": ("gauge", "Version of the running service; always 1"),
    "gaugehouse_rows_accepted_total": ("counter", "Rows that were new and are on the disk"),
    "gaugehouse_rows_duplicate_total": ("counter", "Rows that repeated a stored one and changed nothing"),
    "gaugehouse_rows_conflict_total": ("counter", "Rows that contradicted a stored one; kept as events"),
    "gaugehouse_rows_late_total": ("counter", "Accepted rows that were not newer than their series"),
    "gaugehouse_rows_rejected_total": ("counter", "Rows that could not be stored, by reason"),
    "gaugehouse_requests_refused_total": ("counter", "Requests that were answered with a problem, by its code"),
    "gaugehouse_fsync_seconds": ("histogram", "Time of one shared sync of the log"),
    "gaugehouse_flush_seconds": ("histogram", "Time from a sealed log segment to durable Delta commits"),
    "gaugehouse_compaction_seconds": ("histogram", "Time of one merge of small files"),
    "gaugehouse_rows_flushed_total": ("counter", "Rows committed to the Delta tables"),
    "gaugehouse_rows_compacted_total": ("counter", "Rows written again by merges"),
    "gaugehouse_unflushed_rows": ("gauge", "Acknowledged rows that are in the log and not yet in the Delta tables"),
    "gaugehouse_unflushed_bytes": ("gauge", "Size of the log that is not yet in the Delta tables"),
    "gaugehouse_unflushed_limit_bytes": ("gauge", "Above this much unflushed log writes answer 503"),
    "gaugehouse_free_bytes": ("gauge", "Free space of the disk that the log is on"),
    "gaugehouse_free_limit_bytes": ("gauge", "With less free space than this writes answer 507"),
    "gaugehouse_quarantined_files": ("gauge", "Data files that are damaged and set aside; what needs one is refused"),
    "gaugehouse_lake_lag_seconds": ("gauge", "Age of the oldest acknowledged row that is not in the Delta tables"),
    "gaugehouse_active_files": ("gauge", "Current data files"),
    "gaugehouse_active_files_per_partition_max": ("gauge", "Current data files of the partition with most of them"),
    "gaugehouse_series": ("gauge", "Series in memory"),
    "gaugehouse_lake_commits_total": ("counter", "Commits to the Delta table since it was made"),
    "gaugehouse_database_up": ("gauge", "1 when the database answered this scrape, else 0"),
    "gaugehouse_jobs": ("gauge", "Jobs by state; `queued` is the depth of the queue, `waiting` is for later"),
    "gaugehouse_http_request_seconds": ("histogram", "Time to answer, by method, route and class of status"),
    "gaugehouse_http_requests_in_flight": ("gauge", "Requests that are being answered"),
    "gaugehouse_live_connections": ("gauge", "Readers of live data, by transport"),
    "gaugehouse_live_messages_total": ("counter", "Messages to readers of live data, by type"),
    "gaugehouse_live_dropped_total": ("counter", "Readers of live data that were sent away, by reason"),
    "gaugehouse_live_skipped_rows_total": (
        "counter",
        "Rows that readers of live data were not sent: newer ones replaced them, or events were too many",
    ),
}


@dataclass(frozen=True, slots=True, eq=False)
class ServiceCollector(Collector):
    """Reads everything at the moment of a scrape.

    Args:
        runtime: What is running.
        traffic: What HTTP came to.
        by_project: Name projects and months, which are tenants' data.
    """

    runtime: Runtime
    traffic: Traffic
    by_project: bool

    def collect(self) -> Iterator[Metric]:
        """Yield every family of METRICS."""
        yield _gauge("gaugehouse_build_info", {("version",): {(__version__,): 1.0}})
        yield from self._rows()
        yield from self._lake()
        yield from self._database()
        yield from self._traffic()
        yield from self._live()

    def _rows(self) -> Iterator[Metric]:
        counts = self.runtime.lake.meters.rows()
        labels = ("table", "project") if self.by_project else ("table",)
        for name, read in _ROW_COUNTS.items():
            sums: dict[Labels, float] = {} if self.by_project else {("measurements",): 0.0, ("events",): 0.0}
            for (project, table), one in counts.items():
                key = (table, project) if self.by_project else (table,)
                sums[key] = sums.get(key, 0.0) + read(one)
            yield _counter(name, labels, sums)
        yield _counter("gaugehouse_rows_rejected_total", ("reason",), _labelled(self.traffic.rejected_rows))
        yield _counter("gaugehouse_requests_refused_total", ("code",), _labelled(self.traffic.refused))

    def _lake(self) -> Iterator[Metric]:
        lake = self.runtime.lake
        meters = lake.meters
        yield _histogram("gaugehouse_fsync_seconds", (), {(): meters.fsync})
        yield _histogram("gaugehouse_flush_seconds", (), {(): meters.flush})
        yield _histogram("gaugehouse_compaction_seconds", (), {(): meters.compaction})
        yield _counter("gaugehouse_rows_flushed_total", (), {(): float(meters.flushed_rows)})
        yield _counter("gaugehouse_rows_compacted_total", (), {(): float(meters.compacted_rows)})
        yield _gauge("gaugehouse_unflushed_rows", {(): {(): float(lake.unflushed_rows())}})
        yield _gauge("gaugehouse_unflushed_bytes", {(): {(): float(lake.unflushed_bytes())}})
        yield from self._room()
        yield _gauge("gaugehouse_lake_lag_seconds", {(): {(): lake.lag_s()}})
        yield from self._files()
        yield _counter("gaugehouse_lake_commits_total", ("table",), _labelled(lake.count_commits()))
        yield _gauge("gaugehouse_series", {("table",): _labelled(lake.count_series())})

    def _room(self) -> Iterator[Metric]:
        lake, settings = self.runtime.lake, self.runtime.settings
        quarantined = {"measurements": 0, "events": 0} | Counter(table for table, _path in lake.find_quarantined())
        yield _gauge("gaugehouse_unflushed_limit_bytes", {(): {(): float(settings.unflushed_limit_bytes)}})
        yield _gauge("gaugehouse_free_bytes", {(): {(): float(lake.free_bytes())}})
        yield _gauge("gaugehouse_free_limit_bytes", {(): {(): float(settings.free_space_bytes)}})
        yield _gauge("gaugehouse_quarantined_files", {("table",): _labelled(quarantined)})

    def _files(self) -> Iterator[Metric]:
        counts = self.runtime.lake.count_files()
        totals: dict[Labels, float] = {("measurements",): 0.0, ("events",): 0.0}
        most = dict(totals)
        for (table, _project, _month), count in counts.items():
            totals[table,] += count
            most[table,] = max(most[table,], count)
        if self.by_project:
            labels = ("table", "project", "month")
            yield _gauge("gaugehouse_active_files", {labels: {key: float(count) for key, count in counts.items()}})
        else:
            yield _gauge("gaugehouse_active_files", {("table",): totals})
        yield _gauge("gaugehouse_active_files_per_partition_max", {("table",): most})

    def _database(self) -> Iterator[Metric]:
        """Yield what only the database knows; all else must be told just when it is away."""
        try:
            with self.runtime.database.reading() as session:
                counts = count_jobs(session)
        except Unavailable:
            yield _gauge("gaugehouse_database_up", {(): {(): 0.0}})
            return
        yield _gauge("gaugehouse_database_up", {(): {(): 1.0}})
        yield _gauge("gaugehouse_jobs", {("state",): counts})

    def _traffic(self) -> Iterator[Metric]:
        durations = dict(self.traffic.durations)  # a request may end meanwhile
        yield _histogram("gaugehouse_http_request_seconds", ("method", "route", "status"), durations)
        yield _gauge("gaugehouse_http_requests_in_flight", {(): {(): float(self.traffic.in_flight)}})

    def _live(self) -> Iterator[Metric]:
        counts = self.runtime.readers.counts
        by_transport = {("websocket",): 0.0, ("sse",): 0.0} | _labelled(counts.open)
        skipped: dict[Labels, float] = {
            ("measurements",): float(counts.coalesced_rows),
            ("events",): float(counts.dropped_events),
        }
        yield _gauge("gaugehouse_live_connections", {("transport",): by_transport})
        yield _counter("gaugehouse_live_messages_total", ("type",), _labelled(counts.messages))
        yield _counter("gaugehouse_live_dropped_total", ("reason",), _labelled(counts.dropped))
        yield _counter("gaugehouse_live_skipped_rows_total", ("table",), skipped)


def count_jobs(session: Session) -> dict[Labels, float]:
    """Return how many jobs there are in each state; a queue that is empty is a zero."""
    found = session.execute(select(JOB_STATE, func.count()).group_by("state")).all()
    return {("queued",): 0.0, ("running",): 0.0} | {(state,): float(count) for state, count in found}


_ROW_COUNTS: Mapping[str, Callable[[RowCounts], int]] = {
    "gaugehouse_rows_accepted_total": attrgetter("accepted"),
    "gaugehouse_rows_duplicate_total": attrgetter("duplicates"),
    "gaugehouse_rows_conflict_total": attrgetter("conflicts"),
    "gaugehouse_rows_late_total": attrgetter("late"),
}


def _labelled(counts: Mapping[str, int]) -> dict[Labels, float]:
    """Return counts by one label, copied at once: the event loop goes on counting."""
    return {(label,): float(count) for label, count in dict(counts).items()}


def _counter(name: str, labels: Labels, samples: Mapping[Labels, float]) -> Metric:
    family = CounterMetricFamily(name, METRICS[name][1], labels=labels)
    for values, value in sorted(samples.items()):
        family.add_metric(values, value)
    return family


def _gauge(name: str, samples: Mapping[Labels, Mapping[Labels, float]]) -> Metric:
    ((labels, values),) = samples.items()
    family = GaugeMetricFamily(name, METRICS[name][1], labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, value)
    return family


def _histogram(name: str, labels: Labels, samples: Mapping[Labels, Durations]) -> Metric:
    family = HistogramMetricFamily(name, METRICS[name][1], labels=labels)
    for values, durations in sorted(samples.items(), key=lambda sample: sample[0]):
        family.add_metric(values, durations.cumulative(), durations.sum_s)
    return family


def registry_of(runtime: Runtime, traffic: Traffic, *, by_project: bool) -> CollectorRegistry:
    """Return what one scrape reads: ours, and this process's memory, files and processor time."""
    registry = CollectorRegistry()
    registry.register(ServiceCollector(runtime, traffic, by_project))
    registry.register(FleetCollector(runtime, by_project))
    ProcessCollector(namespace="gaugehouse", registry=registry)
    return registry


def write_metrics(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """Return (body, Content-Type) in the format that a scraper accepts."""
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type
