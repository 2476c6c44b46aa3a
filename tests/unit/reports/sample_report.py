"""A report of a plant as a manager gets it: 12 components, three weeks over a change of clocks, and all that goes wrong.

Gaps, a silent component, undefined KPIs, names that are formulas, markup or script, targets hit and missed, a
comparison, downtime with causes, excluded time, and a revision that changed values.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from gaugehouse.measurements.period import Period, bucket_edges_us
from gaugehouse.measurements.schema import TIMESTAMP
from gaugehouse.measurements.selection import from_epoch_us
from gaugehouse.reports.pin import PinnedComponent
from gaugehouse.reports.render import Chart, KpiDefinition, ReportDocument, Standing, Versions
from gaugehouse.reports.render.document import CHANGES, COMPARISON, DOWNTIME, EXCLUSIONS, MISSING, TARGETS
from gaugehouse.reports.result import GROUPED, RESULT

BERLIN = ZoneInfo("Europe/Berlin")
PERIOD = Period(
    start=datetime(2026, 10, 19, tzinfo=BERLIN).astimezone(UTC),
    end=datetime(2026, 11, 9, tzinfo=BERLIN).astimezone(UTC),
    timezone="Europe/Berlin",
    expression="2026-10-19/2026-11-09",
)
BEFORE = Period(
    start=datetime(2026, 9, 28, tzinfo=BERLIN).astimezone(UTC),
    end=PERIOD.start,
    timezone="Europe/Berlin",
    expression="2026-09-28/2026-10-19",
)
FORMULA = '=HYPERLINK("http://example.invalid","press")'
MARKUP = '#strong[x] $y$ *bold* @ref <label> #import "/etc/passwd" // \\ _i_ `raw`'
SCRIPT = "<script>alert('1')</script>&amp;\"><img src=x onerror=alert(2)>"
LONG = "plant-north/hall-3/line_7/cell-12/press/" + "x" * 60 + "/drive-end-bearing-vibration-sensor"
HOSTILE = (FORMULA, MARKUP, SCRIPT, LONG)
COMPONENTS = (
    "Förderband 3",
    "mill-01",
    "mill-02",
    "press-01",
    "press-02",
    "press-03",
    "press-04",
    "silent-01",
    *HOSTILE,
)
SILENT = "silent-01"
HOUR_US = 3_600_000_000
SECOND_US = 1_000_000
NO_DATA = "no measurement in the period"
NO_FAILURE = "no failure: MTBF is above 168.2 h (one-sided 95 % bound)"

KPIS = (
    ("mean", "Mean", "metric's", "sum / n", "definition", None),
    (
        "time_weighted_mean",
        "Time-weighted mean",
        "metric's",
        "sum(v x hold) / covered time",
        "TimescaleDB toolkit",
        None,
    ),
    ("p95", "95th percentile", "metric's", "quantile 0.95, exact", "Hyndman and Fan 1996, type 7", False),
    ("max", "Maximum", "metric's", "largest value", "definition", False),
    ("completeness", "Completeness", "%", "min(1, n / expected)", "Gaugehouse KPI rules", True),
    ("coverage", "Coverage", "%", "covered time / period", "OPC UA Part 13, PercentGood", True),
    ("counter_increase", "Increase", "metric's", "sum of the steps", "TimescaleDB toolkit counter_agg", True),
    ("rate", "Rate", "metric's/s", "increase / time between readings", "TimescaleDB toolkit counter_agg", True),
    ("availability", "Availability", "%", "up / (up + down)", "IEC 60050-192, on known time only", True),
    ("downtime", "Down time", "s", "time held in states of class down", "IEC 60050-192", False),
    ("mtbf", "MTBF", "h", "up time / failures", "ISO 22400-2", True),
)
OF_METRIC = {
    "temperature": ("mean", "time_weighted_mean", "p95", "max", "completeness", "coverage"),
    "parts_total": ("counter_increase", "rate", "coverage"),
    "running": ("availability", "downtime", "mtbf", "coverage"),
}
UNITS = {"temperature": "degC", "parts_total": "1", "running": ""}
CAUSES = ("jam", "tool change", "no material", "electrical fault", "cleaning", "waiting for the operator")


def unit_of(metric, kpi):
    fixed = {
        "completeness": "%",
        "coverage": "%",
        "availability": "%",
        "downtime": "s",
        "mtbf": "h",
        "counter_increase": "1",
    }
    return fixed.get(kpi, "1/s" if kpi == "rate" else UNITS[metric])


def edges_of(period, every):
    return bucket_edges_us(period, every, limit=100_000)


def sample_charts(components, rng):
    """Return hourly courses: a daily swing, noise, gaps of different lengths, one series that never sent."""
    edges_us = edges_of(PERIOD, "hour")
    hours = (edges_us[:-1] - edges_us[0]) / HOUR_US
    charts = []
    for place, name in enumerate(components):
        is_gap = np.zeros(len(hours), bool)
        is_gap[40 + 7 * place : 46 + 9 * place] = place % 3 != 0
        is_gap[300:330] |= place % 4 == 1
        is_gap[400:460:2] |= place % 5 == 2  # single buckets between gaps
        is_gap[:] |= name == SILENT
        mean = 68 + place / 3 + 5 * np.sin(hours / 24 * 2 * np.pi) + rng.normal(0, 0.8, len(hours))
        mean[350:362] += 9 * (place == 4)
        spread = np.abs(rng.normal(1.6, 0.5, len(hours)))
        mean = np.where(is_gap, np.nan, mean)
        coverage = np.where(is_gap, 0.0, np.clip(rng.normal(0.99, 0.04, len(hours)), 0, 1))
        limits = {"lsl": 55.0, "usl": 80.0, "target": 68.0}
        charts.append(
            Chart(
                component=name, metric="temperature", unit="degC", edges_us=edges_us, minimum=mean - spread, mean=mean,
                maximum=mean + spread, coverage=coverage, **limits,
            )
        )  # fmt: skip
        up = np.where(is_gap, np.nan, (rng.random(len(hours)) > 0.02 * (1 + place % 4)).astype(float))
        charts.append(
            Chart(
                component=name, metric="running", unit="", edges_us=edges_us, minimum=up, mean=up, maximum=up,
                coverage=coverage,
            )
        )  # fmt: skip
    return tuple(sorted(charts, key=lambda one: (one.metric, one.component)))


def sample_values(components, edges_us, rng):
    """Return RESULT rows, every series, KPI and bucket; the silent component has no numbers, MTBF is often undefined."""
    rows = {name: [] for name in RESULT.names}
    for place, component in enumerate(components):
        for metric, kpis in OF_METRIC.items():
            for kpi in kpis:
                for start_us, end_us in pairwise(edges_us.tolist()):
                    is_silent = component == SILENT
                    coverage = 0.0 if is_silent else 1 - 0.08 * (place % 4) - (0.5 if place == 5 else 0)
                    value, status, reason = _value_of(kpi, place, coverage, (end_us - start_us) / SECOND_US, rng)
                    if is_silent and kpi not in {"completeness", "coverage"}:
                        value, status, reason = None, "no_data", NO_DATA
                    cells = (component, metric, kpi, start_us, end_us, value, unit_of(metric, kpi), coverage)
                    n = 0 if is_silent else int(coverage * (end_us - start_us) / SECOND_US / 60)
                    for name, cell in zip(RESULT.names, (*cells, n, status, reason), strict=True):
                        rows[name].append(cell)
    for name in ("bucket_start", "bucket_end"):
        rows[name] = pa.array([int(us) for us in rows[name]], pa.int64()).cast(TIMESTAMP)
    return pa.table(rows, schema=RESULT).sort_by([("component", "ascending"), ("metric", "ascending")])


def _value_of(kpi, place, coverage, length_s, rng):
    noise = float(rng.normal())
    if kpi == "mtbf" and place % 2:
        return None, "undefined", NO_FAILURE
    value = {
        "mean": 68 + place / 3 + noise / 5,
        "time_weighted_mean": 68 + place / 3 + noise / 5,
        "p95": 76 + place / 3 + noise,
        "max": 78.5 + place / 3 + noise,
        "completeness": 100 * coverage,
        "coverage": 100 * coverage,
        "counter_increase": round((900 + 40 * place) * length_s / 3_600),
        "rate": (900 + 40 * place) / 3_600 + noise / 1_000,
        "availability": 99.2 - 2.1 * (place % 4) - (18 if place == 6 else 0),
        "downtime": length_s * (0.008 + 0.021 * (place % 4) + (0.18 if place == 6 else 0)),
        "mtbf": 91.5 + 7 * place,
    }[kpi]
    if kpi == "counter_increase" and place == 3:
        return value, "partial", "the last steps cannot be told from a glitch yet and are not counted"
    return value, "ok", None


def sample_targets(components):
    rows = [(name, "running", "availability", 95.0, 85.0, None) for name in components]
    rows += [(name, "temperature", "mean", None, 60.0, 72.0) for name in components]
    rows += [(name, "temperature", "p95", 80.0, None, None) for name in components]
    rows += [
        (name, "parts_total", "counter_increase", 480_000.0 + 9_000 * (place == 4), None, None)
        for place, name in enumerate(components)
    ]
    return rows_table(rows, TARGETS)


def sample_comparison(totals, rng):
    """Return the totals against the period before; what was silent has nothing to compare with."""
    rows = []
    for row in totals.select(["component", "metric", "kpi", "value"]).to_pylist():
        value = row["value"]
        previous = None if value is None else value * (1 + float(rng.normal(0, 0.04)))
        if previous is None:
            rows.append((*row.values(), None, None, None, "no value in this period"))
        else:
            percent = 100 * (value - previous) / abs(previous) if previous else None
            rows.append((*row.values(), previous, value - previous, percent, None))
    return rows_table(rows, COMPARISON)


def rows_table(rows, schema):
    """Return a table of tuples; instants are aware datetimes."""
    columns = zip(*rows, strict=True) if rows else [[] for _ in schema]
    return pa.table(
        [pa.array(list(column), field.type) for column, field in zip(columns, schema, strict=True)], schema=schema
    )


def sample_downtime(components, rng):
    rows = []
    for place, component in enumerate(components[:8]):
        for rank, cause in enumerate(CAUSES):
            if (place + rank) % 3:
                rows.append((component, cause, float(rng.integers(600, 90_000)) / (rank + 1), int(rng.integers(1, 9))))
    rows += [(FORMULA, MARKUP, 5_400.0, 3), ("press-01", SCRIPT, 600.0, 1)]
    return rows_table(rows, DOWNTIME)


def plant_report(components=COMPONENTS, **changes):
    """Return the sample; `changes` replace fields of the document."""
    rng = np.random.default_rng(7)
    totals = sample_values(components, edges_of(PERIOD, None), rng)
    noon = datetime(2026, 10, 27, 12, tzinfo=UTC)
    fields = {
        "report_id": "rep_4Fz0bX1mQ9sT7uV2wY3a",
        "revision": 2,
        "title": "Presses and mills, weeks 43 to 45",
        "project": "plant-north",
        "asked_by": "manager",
        "period": PERIOD,
        "bucket": "day",
        "as_of": datetime(2026, 11, 9, 5, 0, 12, 345_678, tzinfo=UTC),
        "asked_at": datetime(2026, 11, 9, 5, 0, 13, tzinfo=UTC),
        "computed_at": datetime(2026, 11, 9, 5, 0, 41, 987_654, tzinfo=UTC),
        "digest": "9f2c41d07a5be86310f4d2a97b8c6e5512ab34cd56ef7890a1b2c3d4e5f60718",
        "versions": Versions(code="0.5.0", catalogue="3b1f09a2c4d5e6f7", tzdata="2026b"),
        "standing": Standing(),
        "components": tuple(
            PinnedComponent(name=name, type="press" if "press" in name else "", labels={"line": "A", "=x": "+y"})
            for name in components
        ),
        "kpis": tuple(
            KpiDefinition(
                name=name, title=title, unit=unit, formula=formula, source=source, higher_is_better=up,
                judges_data=name in {"coverage", "completeness"},
            )
            for name, title, unit, formula, source, up in KPIS
        ),
        "values": sample_values(components, edges_of(PERIOD, "day"), rng),
        "totals": totals,
        "compared_with": BEFORE,
        "comparison": sample_comparison(totals, rng),
        "targets": sample_targets(components),
        "group_by": "label:line",
        "groups": rows_table(
            [
                (group, "temperature", kpi, PERIOD.start, PERIOD.end, 4, value, "degC", 0.9, 5_000, "ok", None)
                for group in ("A", SCRIPT)
                for kpi, value in (("mean", 68.4), ("max", 81.25))
            ],
            GROUPED,
        ),
        "charts": sample_charts(components, rng),
        "downtime": sample_downtime(components, rng),
        "missing": rows_table(
            [
                (SILENT, "temperature", 0.0, 505 * 3_600.0, NO_DATA),
                (SILENT, None, None, None, "this component has never sent a measurement"),
                ("press-02", "temperature", 0.42, 34 * 3_600.0, "two gaps longer than the max hold of 3 min"),
                (FORMULA, "running", 0.913, 5_430.0, "only bad measurements between 02:00 and 03:30"),
            ],
            MISSING,
        ),
        "exclusions": rows_table(
            [
                ("press-01", noon, noon + timedelta(hours=6), "alice", "planned maintenance: hydraulics"),
                ("mill-02", datetime(2026, 10, 25, 0, tzinfo=UTC), datetime(2026, 10, 25, 2, tzinfo=UTC), "bob <b@x>", SCRIPT),
            ],
            EXCLUSIONS,
        ),
        "changes": rows_table(
            [
                ("press-01", "temperature", "mean", PERIOD.start, PERIOD.end, 69.71, 69.74, "degC", "128 late rows"),
                ("press-03", "running", "availability", noon, noon + timedelta(hours=1), None, 88.0, "%", "late rows"),
                (MARKUP, "running", "downtime", PERIOD.start, PERIOD.end, 41_000.0, 39_000.0, "s", "max hold changed"),
            ],
            CHANGES,
        ),
    }  # fmt: skip
    return ReportDocument(**(fields | changes))


def bare_report(**changes):
    """Return the sample without any optional part: one bucket, no targets, nothing compared, drawn or missing."""
    empty = {
        name: schema.empty_table()
        for name, schema in (
            ("comparison", COMPARISON), ("targets", TARGETS), ("downtime", DOWNTIME), ("missing", MISSING),
            ("exclusions", EXCLUSIONS), ("changes", CHANGES), ("groups", GROUPED),
        )
    }  # fmt: skip
    sample = plant_report(components=("mill-01", "mill-02"))
    bare = {
        "revision": 1,
        "bucket": None,
        "values": sample.totals,
        "compared_with": None,
        "charts": (),
        "group_by": None,
    }
    return replace(sample, **(bare | empty | changes))


def wide_report(count):
    """Return a report of many components with one metric, as a fleet has them."""
    names = tuple(f"pump-{place:04d}" for place in range(count))
    bare = bare_report()
    totals = sample_values(names, edges_of(PERIOD, None), np.random.default_rng(7))
    totals = totals.filter(pc.equal(totals["metric"], "running"))
    targets = rows_table([(name, "running", "availability", 95.0, 85.0, None) for name in names], TARGETS)
    components = tuple(PinnedComponent(name=name, labels={}) for name in names)
    return replace(bare, components=components, totals=totals, values=totals, targets=targets)


def frame_of(table):
    return pl.from_arrow(table)


def local_days(period):
    """Return the local dates of a period's daily buckets."""
    return [from_epoch_us(int(us)).astimezone(BERLIN).date() for us in edges_of(period, "day")[:-1]]
