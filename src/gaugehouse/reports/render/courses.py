"""Which series are worth a chart first: the worst lights, then time outside of limits, then missing time."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from gaugehouse.reports.render.document import Chart
from gaugehouse.reports.render.traffic import SEVERITY, UNJUDGED

SECOND_US = 1_000_000
METRICS_DRAWN = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Course:
    """A chart and what decides its place.

    Args:
        chart: The series.
        light: Its worst light, empty without a target.
        outside: Share of its buckets with a value outside of the limits. [1]
        gaps: How many.
        gap_s: How long all of them are. [s]
        coverage: Of the whole period. [1]
    """

    chart: Chart
    light: str
    outside: float
    gaps: int
    gap_s: float
    coverage: float

    @property
    def badness(self) -> tuple[float, ...]:
        """Sorts the worst first."""
        return SEVERITY.get(self.light, UNJUDGED), -self.outside, self.coverage


def find_courses(charts: Sequence[Chart], board: pl.DataFrame) -> dict[str, list[Course]]:
    """Return the charts by metric: at most METRICS_DRAWN, those with the worst series, ordered by name.

    Args:
        charts: Of a document.
        board: See `build_board`.
    """
    lights = _find_worst_lights(board)
    courses: dict[str, list[Course]] = defaultdict(list)
    for chart in charts:
        courses[chart.metric].append(_judge(chart, lights.get((chart.component, chart.metric), "")))
    ranked = sorted(courses, key=lambda metric: (min(one.badness for one in courses[metric]), metric))
    return {metric: courses[metric] for metric in sorted(ranked[:METRICS_DRAWN])}


def pick_worst(courses: Sequence[Course], limit: int) -> list[Course]:
    """Return all courses by name where they fit; else the worst, worst first."""
    if len(courses) <= limit:
        return sorted(courses, key=lambda one: one.chart.component)
    return sorted(courses, key=lambda one: (one.badness, one.chart.component))[:limit]


def _find_worst_lights(board: pl.DataFrame) -> Mapping[tuple[str, str], str]:
    severity = pl.col("light").replace_strict(SEVERITY, default=UNJUDGED, return_dtype=pl.Int8)
    judged = board.filter(pl.col("light").is_not_null()).sort(severity)
    worst = judged.group_by("component", "metric", maintain_order=True).first()
    return {
        (component, metric): light for component, metric, light in worst.select("component", "metric", "light").rows()
    }


def _judge(chart: Chart, light: str) -> Course:
    is_gap = ~np.isfinite(chart.mean)
    length_s = np.diff(chart.edges_us) / SECOND_US
    begins = is_gap & ~np.concatenate([[False], is_gap[:-1]])
    low = -np.inf if chart.lsl is None else chart.lsl
    high = np.inf if chart.usl is None else chart.usl
    with np.errstate(invalid="ignore"):
        outside = (chart.minimum < low) | (chart.maximum > high)
    coverage = np.where(np.isfinite(chart.coverage), chart.coverage, 0.0)
    return Course(
        chart=chart,
        light=light,
        outside=float(outside.mean()),
        gaps=int(begins.sum()),
        gap_s=float(length_s[is_gap].sum()),
        coverage=float(np.average(coverage, weights=length_s)),
    )
