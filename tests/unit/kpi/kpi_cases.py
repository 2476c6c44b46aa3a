"""Series for KPI tests: what to build them from, and hypothesis strategies. Times are whole seconds after START_S."""

from dataclasses import dataclass, replace

import numpy as np
from hypothesis import strategies as st

from gaugehouse.kpi import Want, compute_facts, series_params
from gaugehouse.measurements.metric import MetricAttributes, MetricKind, StateClass
from gaugehouse.measurements.selection import from_epoch_us
from gaugehouse.measurements.series import SeriesRows
from gaugehouse.measurements.windows import merge_windows

SECOND_US = 1_000_000
START_S = 1_700_000_000
DAY_S = 86_400

# Answered beside a component, from the metrics that its attributes name: test_kpi_oee.py.
MACHINE_KPIS = [
    "parts",
    "good_parts",
    "oee_availability",
    "oee_effectiveness",
    "oee_quality",
    "oee",
    "oee_unknown_share",
]
# What both oracles answer.
ORACLE_KPIS = [
    "count",
    "min",
    "max",
    "mean",
    "std",
    "median",
    "p05",
    "p95",
    "first",
    "last",
    "change",
    "range",
    "total",
    "time_weighted_mean",
    "completeness",
    "coverage",
    "counter_increase",
    "rate",
    "availability",
    "uptime",
    "downtime",
    "unknown_time",
]
# What the first oracle answers: all there is of one metric.
METRIC_KPIS = [
    *ORACLE_KPIS,
    "time_weighted_mean_linear",
    "integral",
    "integral_hours",
    "integral_linear",
    "late",
    "completeness_slots",
    "gap_count",
    "longest_gap",
    "bad_count",
    "rate_per_hour",
    "counter_resets",
    "counter_glitches",
    "time_above",
    "time_above_share",
    "time_below",
    "time_below_share",
    "time_outside",
    "time_outside_share",
    "planned_time",
    "planned_share",
    "idle_time",
    "idle_share",
    "unknown_share",
    "failures",
    "failures_uncertain",
    "mtbf",
    "mtbf_fe_plus_1",
    "mttr",
    "std_within",
    "std_within_ranges",
    "autocorrelation",
    "cp",
    "cpk",
    "cp_ranges",
    "cpk_ranges",
    "pp",
    "ppk",
    "trend",
    "trend_r2",
]


@dataclass(frozen=True)
class Row:
    """One stored row: seconds after START_S, value (None: null), quality, and whether it came too late."""

    at_s: float
    value: float | None
    quality: int = 0
    is_late: bool = False


@dataclass(frozen=True)
class Case:
    """One series, its attributes, bucket borders and clips in seconds after START_S."""

    rows: tuple[Row, ...]
    attributes: MetricAttributes
    edges_s: tuple[int, ...]
    now_s: int | None = None
    commissioned_s: int | None = None
    retired_s: int | None = None
    excluded_s: tuple[tuple[int, int], ...] = ()
    unheld_s: tuple[tuple[int, int], ...] = ()
    subgroup: tuple[int, int] = (0, 0)  # points, seconds


def readings(*values, step_s=60, at_s=0):
    """Return good rows at a fixed interval."""
    return tuple(Row(at_s + k * step_s, value) for k, value in enumerate(values))


def to_us(at_s):
    return round((START_S + at_s) * SECOND_US)


def pack(series):
    """Return rows of several series as SeriesRows."""
    rows = [row for one in series for row in one]
    return SeriesRows(
        components=[f"c{k}" for k in range(len(series))],
        metrics=["m"] * len(series),
        offsets=np.cumsum([0, *(len(one) for one in series)], dtype=np.int64),
        measured_at_us=np.array([to_us(row.at_s) for row in rows], np.int64),
        value=np.array([np.nan if row.value is None else row.value for row in rows], np.float64),
        quality=np.array([row.quality for row in rows], np.uint8),
    )


def facts_of(cases, *, threads=1, want=Want.EVERYTHING):
    """Return the facts of cases that share borders and now."""
    params = series_params(
        [case.attributes for case in cases],
        commissioned_at=[_instant(case.commissioned_s) for case in cases],
        retired_at=[_instant(case.retired_s) for case in cases],
        excluded=[_windows(case.excluded_s) for case in cases],
        unheld=[_windows(case.unheld_s) for case in cases],
        subgroups=[(case.subgroup[0], case.subgroup[1] * SECOND_US) for case in cases],
    )
    first = cases[0]
    facts = compute_facts(
        pack([case.rows for case in cases]),
        params,
        np.array([to_us(edge_s) for edge_s in first.edges_s], np.int64),
        now_us=None if first.now_s is None else to_us(first.now_s),
        threads=threads,
        want=want,
    )
    return replace(
        facts, late_n=np.array([_count_late(case, spans) for case, spans in zip(cases, facts.spans, strict=True)])
    )


def _count_late(case, spans):
    """Return how many late points each bucket has, as whoever reads rows counts them."""
    late_us = [to_us(row.at_s) for row in case.rows if row.is_late and row.quality < 2 and row.value is not None]
    windows = [(to_us(a), to_us(b)) for a, b in case.excluded_s]
    counted_us = [at_us for at_us in late_us if not any(a <= at_us < b for a, b in windows)]
    return [sum(span["start_us"] <= at_us < span["end_us"] for at_us in counted_us) for span in spans]


def _windows(windows_s):
    return merge_windows((to_us(start_s), to_us(end_s)) for start_s, end_s in windows_s)


def _instant(at_s):
    return None if at_s is None else from_epoch_us(to_us(at_s))


STATE_CLASSES = {
    1.0: StateClass.UP,
    0.0: StateClass.DOWN,
    2.0: StateClass.PLANNED,
    3.0: StateClass.IDLE,
    4.0: StateClass.UNKNOWN,
}
GAUGE_VALUES = st.one_of(st.integers(-5, 5).map(float), st.floats(-1e6, 1e6, allow_nan=False))
COUNTER_VALUES = st.one_of(st.integers(0, 12).map(float), st.sampled_from([90.0, 95.0, 99.0, 100.0]))
STATE_VALUES = st.sampled_from([0.0, 0.0, 1.0, 1.0, 2.0, 3.0, 4.0, 7.0])


@st.composite
def rows_of(draw, values, *, max_size=40):
    """Draw rows with regular stretches, gaps (some longer than the look-back), bad and null values."""
    steps_s = st.one_of(st.just(60), st.just(60), st.integers(1, 400), st.integers(3_000, 40 * DAY_S))
    at_s = draw(st.sampled_from([-40 * DAY_S, -2 * DAY_S, -600, -60, 0, 30]))
    rows = []
    for value in draw(st.lists(values, max_size=max_size)):
        quality = draw(st.sampled_from([0, 0, 0, 0, 0, 1, 2]))
        null = quality == 2 and draw(st.booleans())
        rows.append(Row(at_s, None if null else value, quality, is_late=draw(st.booleans())))
        at_s += draw(steps_s)
    return tuple(rows)


EDGES = st.lists(
    st.one_of(st.integers(0, 3_000), st.integers(0, 60).map(lambda minute: 60 * minute), st.integers(0, 60 * DAY_S)),
    min_size=2,
    max_size=7,
    unique=True,
).map(lambda edges: tuple(sorted(edges)))


@st.composite
def attributes_of(draw, kind):
    return MetricAttributes(
        kind=kind,
        lsl=draw(st.sampled_from([None, -2.0])),
        usl=draw(st.sampled_from([None, 3.0])),
        nominal_interval_s=draw(st.sampled_from([None, 60.0, 45.5])),
        max_hold_s=draw(st.sampled_from([None, None, 90.0, 0.5, 4_000.0, 50.0 * DAY_S])),
        rollover_at=draw(st.sampled_from([None, 100.0])),
        max_rate=draw(st.sampled_from([None, 0.1, 1.0])),
        state_classes=STATE_CLASSES,
        lateness_s=draw(st.sampled_from([None, 600.0])),
    )


@st.composite
def windows(draw):
    """Draw up to three disjoint windows in order, mostly none."""
    borders = draw(st.one_of(st.just([]), st.lists(st.integers(-1_000, 5_000), max_size=6, unique=True)))
    ordered = sorted(borders)[: len(borders) // 2 * 2]
    return tuple(zip(ordered[::2], ordered[1::2], strict=True))


@st.composite
def cases(draw, kind, *, edges=EDGES):
    values = {MetricKind.COUNTER: COUNTER_VALUES, MetricKind.STATE: STATE_VALUES}.get(kind, GAUGE_VALUES)
    edges_s = draw(edges)
    clips = st.one_of(st.none(), st.none(), st.integers(-100, edges_s[-1] + 100))
    commissioned_s, retired_s = draw(clips), draw(clips)
    if commissioned_s is not None and retired_s is not None and commissioned_s > retired_s:
        commissioned_s, retired_s = retired_s, commissioned_s
    return Case(
        rows=draw(rows_of(values)),
        attributes=draw(attributes_of(kind)),
        edges_s=edges_s,
        now_s=draw(clips),
        commissioned_s=commissioned_s,
        retired_s=retired_s,
        excluded_s=draw(windows()),
        unheld_s=draw(windows()),
        subgroup=draw(st.sampled_from([(0, 0), (2, 0), (5, 0), (0, 300), (0, 61)])),
    )
