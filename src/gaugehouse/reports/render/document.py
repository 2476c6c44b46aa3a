"""What a report says, whole: the one input of all its formats.

Everything is resolved when a document is made: names, units, limits, targets. A format only arranges it, so that six
formats cannot say six different things. Optional tables may be empty: a format leaves the section out, or says so.
"""

from dataclasses import dataclass, field, fields
from datetime import datetime

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gaugehouse.measurements.period import Period
from gaugehouse.measurements.schema import TIMESTAMP
from gaugehouse.reports.pin import PinnedComponent
from gaugehouse.reports.result import GROUPED, RESULT

COMPARISON = pa.schema(
    [
        pa.field("component", pa.string(), nullable=False),
        pa.field("metric", pa.string()),
        pa.field("kpi", pa.string(), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("previous", pa.float64()),
        pa.field("difference", pa.float64()),  # value - previous, null where either is
        pa.field("percent", pa.float64()),  # 100 x difference / |previous| [%]
        pa.field("reason", pa.string()),  # why there is no difference
    ]
)
TARGETS = pa.schema(
    [
        pa.field("component", pa.string(), nullable=False),
        pa.field("metric", pa.string()),
        pa.field("kpi", pa.string(), nullable=False),
        pa.field("target", pa.float64()),
        pa.field("lower", pa.float64()),
        pa.field("upper", pa.float64()),
    ]
)
DOWNTIME = pa.schema(
    [
        pa.field("component", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),  # name of the state, or why it was down
        pa.field("downtime_s", pa.float64(), nullable=False),
        pa.field("occurrences", pa.int64(), nullable=False),
    ]
)
MISSING = pa.schema(
    [
        pa.field("component", pa.string(), nullable=False),
        pa.field("metric", pa.string()),  # null: it never sent anything, so its metrics are not known
        pa.field("coverage", pa.float64()),  # [1]
        pa.field("longest_gap_s", pa.float64()),
        pa.field("reason", pa.string(), nullable=False),
    ]
)
EXCLUSIONS = pa.schema(
    [
        pa.field("component", pa.string(), nullable=False),
        pa.field("start", TIMESTAMP, nullable=False),
        pa.field("end", TIMESTAMP, nullable=False),
        pa.field("author", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
    ]
)
CHANGES = pa.schema(
    [
        pa.field("component", pa.string(), nullable=False),
        pa.field("metric", pa.string()),
        pa.field("kpi", pa.string(), nullable=False),
        pa.field("bucket_start", TIMESTAMP, nullable=False),
        pa.field("bucket_end", TIMESTAMP, nullable=False),
        pa.field("old", pa.float64()),
        pa.field("new", pa.float64()),
        pa.field("unit", pa.string(), nullable=False),
        pa.field("cause", pa.string(), nullable=False),
    ]
)
SCHEMAS = {
    "values": RESULT,
    "totals": RESULT,
    "comparison": COMPARISON,
    "targets": TARGETS,
    "downtime": DOWNTIME,
    "missing": MISSING,
    "exclusions": EXCLUSIONS,
    "changes": CHANGES,
    "groups": GROUPED,
}

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """What computed the numbers."""

    code: str
    catalogue: str
    tzdata: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Whether the numbers still are what they would be today.

    Args:
        late_n: Rows of the period that were accepted after `as_of`.
        changed: Attributes, formulas or calendars that were changed since, in words.
        superseded_by: The newest revision, where that is not this one.
    """

    late_n: int = 0
    changed: tuple[str, ...] = ()
    superseded_by: int | None = None

    @property
    def is_stale(self) -> bool:
        """Tell whether a computation today could give other numbers."""
        return self.late_n > 0 or bool(self.changed) or self.superseded_by is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class KpiDefinition:
    """What a KPI of the report means.

    Args:
        name: As in the column `kpi`.
        title: For people.
        unit: How the unit follows from the metric's, in words.
        formula: As the report used it.
        source: Standard, paper or product.
        higher_is_better: Which way is good; None where neither is.
        judges_data: It says how good the data are, so low coverage is its result and no reason not to judge it.
        version: Of a project's own KPI.
    """

    name: str
    title: str
    unit: str
    formula: str
    source: str
    higher_is_better: bool | None = None
    judges_data: bool = False
    version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """How values are judged against targets; see `traffic`.

    Args:
        tolerance: How far from a target still counts as close to it, as a share of it. [1]
        min_coverage: Below this coverage a value is not judged. [1]
    """

    tolerance: float = 0.05
    min_coverage: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chart:
    """A series over the period, bucket by bucket.

    Args:
        component: Name.
        metric: Name.
        unit: Of the values.
        edges_us: n + 1 edges of n buckets, strictly increasing; charts may share the array. [us]
        minimum: Smallest value of each bucket, NaN where there is none: a gap. [unit]
        mean: The same of means; it is what the line shows. [unit]
        maximum: The same of largest values. [unit]
        coverage: Share of each bucket that data cover, 0..1. [1]
        lsl: Lower specification limit. [unit]
        usl: Upper specification limit. [unit]
        target: Wanted value. [unit]

    Raises:
        ValueError: The arrays do not fit each other.
    """

    component: str
    metric: str
    unit: str
    edges_us: NDArray[np.int64]
    minimum: Numbers
    mean: Numbers
    maximum: Numbers
    coverage: Numbers
    lsl: float | None = None
    usl: float | None = None
    target: float | None = None

    def __post_init__(self) -> None:
        buckets = len(self.edges_us) - 1
        for name in ("minimum", "mean", "maximum", "coverage"):
            if buckets < 1 or getattr(self, name).shape != (buckets,):
                raise ValueError(f"{name} of {self.component}/{self.metric} must have one number for {buckets} buckets")


def _empty(name: str) -> pa.Table:
    return SCHEMAS[name].empty_table()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReportDocument:
    """A report, ready to be written in any format.

    Args:
        report_id: rep_...; empty for one that a command computed and nobody keeps.
        revision: Counts up when the report is issued again.
        title: For people; free text.
        project: Slug.
        asked_by: User or key.
        period: [start, end) with its zone.
        bucket: The bucket expression; None is the period as one.
        as_of: The numbers know everything received up to here; None: the lake was empty.
        asked_at: The `now` of a running period.
        computed_at: When the numbers were computed; the date inside files.
        digest: SHA-256 of the canonical result.
        versions: What computed it.
        standing: Whether it is still what it would be today.
        components: What it is about, the silent ones included.
        kpis: Definitions of every KPI in it.
        values: RESULT, one row per series, KPI and bucket.
        totals: RESULT, the same over the whole period.
        compared_with: The period that `comparison` looks back to.
        comparison: COMPARISON of the totals.
        targets: TARGETS of the totals.
        judging: How values are judged.
        group_by: How components are taken together as well; None: each for itself only.
        groups: GROUPED: the KPIs of components together, per bucket.
        charts: One per series that is worth drawing, ordered by metric and component.
        downtime: DOWNTIME, for the Pareto.
        missing: MISSING: which series are incomplete, and why.
        exclusions: EXCLUSIONS that were taken out of the period.
        changes: CHANGES to the revision before.
        notes: What a reader must know of this file beside the numbers, a sentence each.
        is_whole: Totals, charts, down time and what is missing could be found out; else notes say why not.

    Raises:
        ValueError: A table does not have the columns of its schema.
    """

    report_id: str
    revision: int
    title: str
    project: str
    asked_by: str
    period: Period
    bucket: str | None
    as_of: datetime | None
    asked_at: datetime
    computed_at: datetime
    digest: str
    versions: Versions
    standing: Standing = field(default_factory=Standing)
    components: tuple[PinnedComponent, ...]
    kpis: tuple[KpiDefinition, ...]
    values: pa.Table
    totals: pa.Table
    compared_with: Period | None = None
    comparison: pa.Table = field(default_factory=lambda: _empty("comparison"))
    targets: pa.Table = field(default_factory=lambda: _empty("targets"))
    judging: Judging = field(default_factory=Judging)
    group_by: str | None = None
    groups: pa.Table = field(default_factory=lambda: _empty("groups"))
    charts: tuple[Chart, ...] = ()
    downtime: pa.Table = field(default_factory=lambda: _empty("downtime"))
    missing: pa.Table = field(default_factory=lambda: _empty("missing"))
    exclusions: pa.Table = field(default_factory=lambda: _empty("exclusions"))
    changes: pa.Table = field(default_factory=lambda: _empty("changes"))
    notes: tuple[str, ...] = ()
    is_whole: bool = True

    def __post_init__(self) -> None:
        for one in fields(self):
            schema = SCHEMAS.get(one.name)
            if schema is not None and not getattr(self, one.name).schema.equals(schema):
                raise ValueError(f"{one.name} must have the columns {schema.names} and their types")

    @property
    def is_running(self) -> bool:
        """Tell whether the period had not ended when the report was asked for."""
        return self.asked_at < self.period.end
