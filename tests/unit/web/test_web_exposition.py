"""Prometheus' families from what is counted: names, totals, who sees projects, and a database that is away."""

import re
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from gaugehouse.errors import Unavailable
from gaugehouse.lake.meters import LakeMeters
from gaugehouse.live import ReaderCounts
from gaugehouse.web.exposition import METRICS, ServiceCollector, write_metrics
from gaugehouse.web.traffic import BOUNDS_S, Traffic

DOCS = (Path(__file__).parents[3] / "docs/observability.md").read_text("utf-8")
FILES = {
    ("measurements", "plant", "2026-10"): 3,
    ("measurements", "plant", "2026-11"): 7,
    ("measurements", "yard", "2026-11"): 1,
    ("events", "plant", "2026-11"): 2,
}


class FakeLake:
    """As much of a lake as is watched."""

    def __init__(self):
        self.meters = LakeMeters()
        self.meters.count("plant", "measurements", accepted=10, duplicates=2, conflicts=1, late=3)
        self.meters.count("yard", "measurements", accepted=5, duplicates=0, conflicts=0, late=0)
        self.meters.count("plant", "events", accepted=4, duplicates=1, conflicts=0, late=0)
        self.meters.fsync.observe(0.004)
        self.meters.fsync.observe(0.5)

    def unflushed_rows(self):
        return 12

    def unflushed_bytes(self):
        return 3456

    def free_bytes(self):
        return 5_000_000

    def find_quarantined(self):
        return [("measurements", "a.parquet"), ("measurements", "b.parquet")]

    def lag_s(self):
        return 7.5

    def count_files(self):
        return FILES

    def count_commits(self):
        return {"measurements": 21, "events": 4}

    def count_series(self):
        return {"measurements": 100, "events": 9}


class FakeDatabase:
    """Knows how many jobs there are, or is away."""

    def __init__(self, jobs=(), *, is_away=False):
        self._jobs = list(jobs)
        self._is_away = is_away

    @contextmanager
    def reading(self):
        if self._is_away:
            raise Unavailable("the database cannot be reached")
        yield SimpleNamespace(execute=lambda _statement: SimpleNamespace(all=lambda: self._jobs))


def collect(*, by_project=False, database=None, traffic=None, accept="text/plain"):
    """Return (families by name, samples) as a scraper reads them."""
    database = database or FakeDatabase([("queued", 2), ("done", 40)])
    settings = SimpleNamespace(unflushed_limit_bytes=10_000, free_space_bytes=2_000)
    readers = SimpleNamespace(counts=ReaderCounts())
    runtime = SimpleNamespace(lake=FakeLake(), database=database, settings=settings, readers=readers)
    registry = CollectorRegistry()
    registry.register(ServiceCollector(runtime, traffic or Traffic(), by_project))
    body, content_type = write_metrics(registry, accept)
    read = parse_openmetrics if content_type.startswith("application/openmetrics-text") else parse
    families = {family.name: family for family in read(body.decode())}
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families.values()
        for sample in family.samples
    }
    return families, samples


def value(samples, name, **labels):
    return samples[f"gaugehouse_{name}", tuple(sorted(labels.items()))]


def test_the_documentation_lists_every_metric_with_its_type_and_meaning():
    expected = [f"| `{name}` | {kind} | {meaning} |" for name, (kind, meaning) in METRICS.items()]
    assert re.findall(r"^\| `gaugehouse_\w+` \|.*$", DOCS, flags=re.MULTILINE) == expected


def test_the_documentation_names_no_metric_that_there_is_none_of():
    words = set(re.findall(r"\bgaugehouse_\w+", DOCS))
    named = {re.sub(r"(?<=_seconds)_bucket$", "", word) for word in words if not word.startswith("gaugehouse_process_")}
    assert named == METRICS.keys()


@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text; version=1.0.0"])
@pytest.mark.parametrize("by_project", [False, True])
def test_just_what_is_documented_is_served_with_those_types(accept, by_project):
    families, _samples = collect(by_project=by_project, accept=accept)
    served = {
        f"{family.name}_total" if family.type == "counter" else family.name: (family.type, family.documentation)
        for family in families.values()
    }
    assert served == METRICS


def test_names_follow_the_rules_of_prometheus():
    for name, (kind, _meaning) in METRICS.items():
        assert re.fullmatch(r"gaugehouse(_[a-z]+)+", name), name
        assert name.endswith("_total") == (kind == "counter"), name
        assert name.endswith("_seconds") or kind != "histogram", name


def test_whoever_it_is_sees_totals():
    _families, samples = collect()
    assert value(samples, "rows_accepted_total", table="measurements") == 15
    assert value(samples, "rows_accepted_total", table="events") == 4
    assert value(samples, "rows_duplicate_total", table="measurements") == 2
    assert value(samples, "rows_conflict_total", table="measurements") == 1
    assert value(samples, "rows_late_total", table="measurements") == 3
    assert value(samples, "active_files", table="measurements") == 11
    assert value(samples, "active_files_per_partition_max", table="measurements") == 7
    assert value(samples, "unflushed_rows") == 12
    assert value(samples, "unflushed_bytes") == 3456
    assert value(samples, "lake_lag_seconds") == 7.5
    assert value(samples, "unflushed_limit_bytes") == 10_000
    assert value(samples, "free_bytes") == 5_000_000
    assert value(samples, "free_limit_bytes") == 2_000
    assert value(samples, "quarantined_files", table="measurements") == 2
    assert value(samples, "quarantined_files", table="events") == 0
    assert value(samples, "lake_commits_total", table="events") == 4
    assert not any("plant" in label or "2026-11" in label for _name, labels in samples for _key, label in labels)


def test_the_operator_sees_projects_and_months_and_the_same_totals():
    _families, samples = collect(by_project=True)
    assert value(samples, "rows_accepted_total", table="measurements", project="yard") == 5
    assert value(samples, "active_files", table="measurements", project="plant", month="2026-11") == 7
    assert sum(count for (name, _), count in samples.items() if name == "gaugehouse_rows_accepted_total") == 19
    assert sum(count for (name, _), count in samples.items() if name == "gaugehouse_active_files") == 13
    assert value(samples, "active_files_per_partition_max", table="events") == 2


def test_buckets_are_cumulative_and_end_with_everything():
    _families, samples = collect()
    buckets = [
        (float(dict(labels)["le"]), count)
        for (name, labels), count in samples.items()
        if name == "gaugehouse_fsync_seconds_bucket"
    ]
    assert sorted(buckets) == buckets
    assert dict(buckets)[0.0025] == 0
    assert dict(buckets)[0.005] == 1
    assert dict(buckets)[float("inf")] == 2
    assert value(samples, "fsync_seconds_count") == 2
    assert value(samples, "fsync_seconds_sum") == pytest.approx(0.504)


def test_jobs_are_counted_by_state_and_an_empty_queue_is_a_zero():
    _families, samples = collect(database=FakeDatabase([("done", 40)]))
    assert value(samples, "jobs", state="queued") == 0
    assert value(samples, "jobs", state="done") == 40
    assert value(samples, "database_up") == 1


def test_a_database_that_is_away_hides_nothing_but_its_jobs():
    families, samples = collect(database=FakeDatabase(is_away=True))
    assert value(samples, "database_up") == 0
    assert "gaugehouse_jobs" not in families
    assert value(samples, "rows_accepted_total", table="measurements") == 15


def served(traffic, route, status, *, method="GET", **state):
    traffic.begin()
    traffic.end({"method": method, "route": SimpleNamespace(path=route), "state": state}, status, BOUNDS_S[0])


def test_traffic_is_counted_by_template_method_and_class_of_status():
    traffic = Traffic()
    served(traffic, "/v1/me", 200)
    served(traffic, "/v1/me", 201)
    served(traffic, "/v1/me", 403, problem_code="forbidden")
    served(traffic, None, 404, problem_code="not_found")
    served(traffic, "/v1/events", 422, method="POST", problem_code="rows_refused", rejected=("rows_refused", 3))
    served(traffic, "/v1/events", 201, method="BREW", rejected=("rows_refused", 2))
    traffic.begin()
    _families, samples = collect(traffic=traffic)

    def count(**labels):
        return value(samples, "http_request_seconds_count", **labels)

    assert count(method="GET", route="/v1/me", status="2xx") == 2
    assert count(method="GET", route="/v1/me", status="4xx") == 1
    assert count(method="GET", route="unmatched", status="4xx") == 1
    assert count(method="other", route="/v1/events", status="2xx") == 1
    assert value(samples, "requests_refused_total", code="forbidden") == 1
    assert value(samples, "rows_rejected_total", reason="rows_refused") == 5
    assert value(samples, "http_requests_in_flight") == 1
