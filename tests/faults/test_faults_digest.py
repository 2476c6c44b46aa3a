"""One digest: however the rows lie in files, whatever is still in memory, in whatever portions, on any number of threads.

Each lake receives the same rows in an order of its own, and then rows that the pin does not know. Values are those that
betray a sum that depends on its order: large ones with a tiny spread, alternating signs, both zeros, denormals.
"""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import product

import numpy as np
import pyarrow as pa
import pytest

from factories import measurement_batch
from faults.differences import assert_same_result, find_differences
from gaugehouse.config import Layout, Settings
from gaugehouse.kpi import CATALOGUE
from gaugehouse.lake import Lake, open_snapshot
from gaugehouse.measurements.metric import MetricAttributes, MetricKind, StateClass, Subgroup
from gaugehouse.measurements.period import bucket_edges_us, parse_period
from gaugehouse.reports import Answer, Limits, compute_report, digest_result, encode_pin
from gaugehouse.reports.pin import Pin, PinnedComponent, PinnedSeries

DAY_S = 86_400
PERIOD = parse_period("2026-03-28/2026-04-01", timezone="Europe/Berlin", now=datetime(2026, 6, 1, tzinfo=UTC))
BEFORE_S, BEHIND_S = 2 * DAY_S, DAY_S  # rows outside the period that numbers inside depend on
COMPONENTS = ("chiller-Ü", "conveyor-1", "pump-2")
STATES = dict(zip((0.0, 1.0, 2.0, 3.0, 4.0), reversed(StateClass), strict=True))
RARELY = 0.02


def walk(rng, n):
    return 1e7 + 1e-6 * rng.standard_normal(n).cumsum()


def alternate(rng, n):
    return np.where(np.arange(n) % 2, 1e15, -1e15) + rng.standard_normal(n)


def zeros(rng, n):
    return np.copysign(0.0, rng.choice([-1.0, 1.0], n))


def denormals(rng, n):
    return rng.integers(-1000, 1000, n) * 5e-324


def extremes(rng, n):
    return rng.choice([1.7e308, -1.7e308, 1e-308, 1.0, -1.0], n)


def decimals(rng, n):
    return rng.integers(-500, 500, n) / 10.0


def count_up(rng, n):
    """A counter with resets, dips, spikes and rollovers at 1000."""
    readings = np.cumsum(rng.integers(0, 40, n)) % 1000.0
    readings[rng.random(n) < RARELY] = 0.0
    readings[rng.random(n) < RARELY] += 300.0
    return readings


def count_far(rng, n):
    """A counter whose readings are where doubles are whole numbers only."""
    return 2.0**53 - 1e6 + np.cumsum(rng.integers(0, 7, n))


def amounts(rng, n):
    return rng.choice([1e16, 1.0, -1e16, 0.1, 3.0], n)


def codes(rng, n):
    return rng.choice([0.0, 1.0, 1.0, 1.0, 2.0, 3.0, 4.0, 7.0, -0.0], n)


PAIRS = Subgroup(size=2, expression="2")  # two rows of an hour, on average
OEE = {"state_metric": "state", "parts_metric": "parts", "scrap_metric": "scrap", "ideal_cycle_time_s": 60.0}

# Metric -> its values, and what is known of it.
METRICS = {
    "alternating": (alternate, MetricAttributes(unit="A")),
    "decimal": (
        decimals,
        MetricAttributes(unit="Cel", max_hold_s=7200.0, lsl=-30.0, usl=30.0, target=1.0, lateness_s=60.0),
    ),
    "denormal": (denormals, MetricAttributes()),
    "extreme": (extremes, MetricAttributes(unit="N")),
    "offset": (walk, MetricAttributes(unit="Pa", nominal_interval_s=600.0, lsl=9e6, usl=1.1e7, subgroup=PAIRS)),
    "parts": (count_up, MetricAttributes(kind=MetricKind.COUNTER, rollover_at=1000.0, max_rate=1.0)),
    "revolutions": (count_far, MetricAttributes(kind=MetricKind.COUNTER, nominal_interval_s=600.0)),
    "scrap": (amounts, MetricAttributes(kind=MetricKind.DELTA, nominal_interval_s=600.0)),
    "state": (codes, MetricAttributes(kind=MetricKind.STATE, state_classes=STATES)),
    "zero": (zeros, MetricAttributes()),
}


def make_rows(seed, interval_s):
    """Return (component, metric, measured_at [us], value, quality): irregular, with gaps, nulls and bad rows."""
    rng = np.random.default_rng(seed)
    first_s = int(PERIOD.start.timestamp()) - BEFORE_S
    n = int((PERIOD.end - PERIOD.start).total_seconds() + BEFORE_S + BEHIND_S) // interval_s
    rows = []
    for component, (metric, (values, _attributes)) in product(COMPONENTS, METRICS.items()):
        steps_s = interval_s * rng.uniform(0.5, 1.5, n)
        steps_s[rng.random(n) < RARELY] *= 30  # gaps, some longer than any hold
        times_us = (np.floor(1e6 * (first_s + np.cumsum(steps_s)))).astype(np.int64)
        quality = rng.choice([0, 1, 2], n, p=[0.9, 0.05, 0.05])
        is_null = (quality == 2) & (rng.random(n) < 0.5)
        cells = zip(times_us.tolist(), values(rng, n).tolist(), quality.tolist(), is_null.tolist(), strict=True)
        rows += [(component, metric, t, None if null else value, q) for t, value, q, null in cells]
    return rows


def make_pin():
    """Return what asks for every KPI of every series by the hour; `as_of` is that of no lake."""
    everywhere = {kind: tuple(name for name in CATALOGUE if kind in CATALOGUE[name].kinds) for kind in MetricKind}
    return Pin(
        project="default",
        as_of=datetime(2026, 6, 1, tzinfo=UTC),
        asked_at=datetime(2026, 6, 1, tzinfo=UTC),
        period=PERIOD,
        bucket="hour",
        edges_us=bucket_edges_us(PERIOD, "hour", limit=1000),
        components=tuple(PinnedComponent(name=name, labels={}, attributes=OEE) for name in COMPONENTS),
        series=tuple(
            PinnedSeries(component=component, metric=metric, attributes=METRICS[metric][1])
            for component, metric in product(COMPONENTS, METRICS)
        ),
        kpis=everywhere,
        catalogue_version="1",
        tzdata_version="1",
        code_version="1",
    )


class Lakes:
    """The same rows in lakes of different layouts: {layout: (snapshot, newest received_at of those rows)}."""

    def __init__(self, folder, monkeypatch, rows, *, files):
        self._folder = folder
        self._monkeypatch = monkeypatch
        self._rows = rows
        self._files = files
        self._open = []
        self.made = {
            "many small files": self._many_small_files(),
            "compacted": self._compacted(),
            "partly in memory, small row groups": self._partly_in_memory(),
        }

    def _deliver(self, lake, rows, seed, parts, *, flushed):
        order = np.random.default_rng(seed).permutation(len(rows))
        for number, part in enumerate(np.array_split(order, parts)):
            lake.append_measurements("default", measurement_batch([rows[i] for i in part]))
            if number < flushed:
                lake.flush()

    def _fill(self, name, seed, parts, *, flushed):
        """Return a lake with the rows and then others in between, and when the last of the rows was received."""
        layout = Layout(self._folder / name)
        lake = Lake.open(layout, Settings(data_dir=layout.data_dir, segment_age_s=3600.0, free_space_bytes=0))
        self._open.append(lake)
        self._deliver(lake, self._rows, seed, parts, flushed=flushed)
        as_of = lake.newest_received_at()
        unknown = [(component, metric, t + 1, 1e3, 0) for component, metric, t, *_rest in self._rows[::7]]
        self._deliver(lake, unknown, seed, 2, flushed=2 if flushed == parts else 0)
        return lake, as_of

    def _many_small_files(self):
        lake, as_of = self._fill("many", 1, self._files, flushed=self._files)
        return open_snapshot(lake.layout.lake_dir, as_of=as_of), as_of

    def _compacted(self):
        self._monkeypatch.setattr("gaugehouse.lake.merging.BATCH_ROWS", (500, 500))
        lake, as_of = self._fill("compacted", 2, self._files, flushed=self._files)
        lake.compact()
        snapshot = open_snapshot(lake.layout.lake_dir, as_of=as_of)
        assert {entry.month for entry in snapshot.files["measurements"]} == {"2026-03", "2026-04"}
        assert len(snapshot.files["measurements"]) == 2
        return snapshot, as_of

    def _partly_in_memory(self):
        self._monkeypatch.setattr("gaugehouse.lake.delta.ROW_GROUP_ROWS", 97)
        lake, as_of = self._fill("hot", 3, 6, flushed=3)
        assert lake.unflushed_rows() > len(self._rows) // 3
        return lake.pin(), as_of

    def close(self):
        for lake in self._open:
            lake.close()


@pytest.fixture
def make_lakes(tmp_path, monkeypatch):
    made = []

    def call(rows, *, files):
        made.append(Lakes(tmp_path, monkeypatch, rows, files=files))
        return made[-1].made

    yield call
    for lakes in made:
        lakes.close()


@pytest.mark.parametrize(
    ("recomputations", "interval_s", "files"),
    [(2, 1800, 8), pytest.param(20, 300, 60, marks=[pytest.mark.torture, pytest.mark.timeout(7200)])],
    ids=["cut", "full"],
)
def test_one_digest_over_file_layouts_threads_and_recomputations(make_lakes, recomputations, interval_s, files, tally):
    pin, rng = make_pin(), np.random.default_rng(recomputations)
    lakes = make_lakes(make_rows(5, interval_s), files=files)
    first, digests = None, set()
    for number, (layout, (snapshot, as_of)), threads in product(range(recomputations), lakes.items(), (1, 2, 4)):
        limits = Limits(rows=int(rng.integers(1, 50_000)), cells=int(rng.integers(95, 5_000))) if number else Limits()
        result = compute_report(snapshot, replace(pin, as_of=as_of), threads=threads, limits=limits)
        first = first or result
        assert_same_result(result, first, f"{layout}, {threads} threads, recomputation {number}, {limits}")
        digests.add(digest_result(encode_pin(pin), Answer(values=result)))
        tally["recomputations of one report, one digest"] += 1
    assert len(digests) == 1
    assert_says_something(first)
    tally["values in that report"] += first.num_rows


def assert_says_something(result):
    """Check that every KPI has a number somewhere: a report of nothing is the same in any layout."""
    ok = result.filter(pa.compute.is_valid(result["value"]))
    assert set(CATALOGUE) - set(ok["kpi"].to_pylist()) == set()
    assert ok.num_rows > result.num_rows // 2


def test_a_row_that_differs_in_its_last_bit_names_itself(make_lakes):
    pin = make_pin()
    snapshot, as_of = make_lakes(make_rows(5, 7200), files=1)["many small files"]
    result = compute_report(snapshot, replace(pin, as_of=as_of))
    values = result["value"].to_pylist()
    at = next(i for i, value in enumerate(values) if value)
    changed = [*values[:at], np.nextafter(values[at], np.inf).item(), *values[at + 1 :]]
    other = result.set_column(result.schema.get_field_index("value"), "value", pa.array(changed, pa.float64()))
    [line] = find_differences(other, result)
    row = result.slice(at, 1).to_pylist()[0]
    assert line.startswith(f"{row['component']}/{row['metric']} {row['kpi']} {row['bucket_start']:%Y-%m-%d %H:%M}: ")
    with pytest.raises(AssertionError, match="1 rows differ"):
        assert_same_result(other, result, "here")
