"""From a revision to its document: what it was asked, what it answers, and what surrounds that. Pure: nothing is read.

A document shows a report as it was issued. Whether it still holds is another question, with an answer of its own day
(`find_staleness`), and a file that is opened next year must not seem to know it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gaugehouse.kpi import Kpi
from gaugehouse.measurements.exclusions import Exclusion
from gaugehouse.measurements.period import Period
from gaugehouse.measurements.selection import to_epoch_us
from gaugehouse.reports.changes import CHANGES as FOUND_CHANGES
from gaugehouse.reports.compared import compare_values
from gaugehouse.reports.digest import format_number
from gaugehouse.reports.formulas import make_catalogue
from gaugehouse.reports.overview import Line, Overview, as_one
from gaugehouse.reports.pin import Pin, PinnedComparison, PinnedSeries
from gaugehouse.reports.render.document import (
    CHANGES,
    COMPARISON,
    EXCLUSIONS,
    TARGETS,
    Chart,
    KpiDefinition,
    ReportDocument,
    Versions,
)
from gaugehouse.reports.request import KpiTarget, ReportRequest
from gaugehouse.reports.result import RESULT, VALUES, Answer

DEFAULT_TITLE = "KPI report"
EVERY_COMPONENT = "every component"
PERCENT = 100
# They describe the level of a metric in its own unit: what is wanted of the metric is wanted of them.
LEVELS = frozenset({"mean", "time_weighted_mean", "median", "first", "last"})
# Nobody wants the extremes to be at the target: they are held against the limits only.
EXTREMES = frozenset({"min", "max"})
# They say how good the data are, so low coverage is their result and no reason not to judge it.
JUDGES_DATA = frozenset(
    {
        "count", "late", "completeness", "completeness_slots", "coverage", "gap_count", "longest_gap", "bad_count",
        "counter_glitches", "unknown_time", "unknown_share", "failures_uncertain",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Issue:
    """A revision as it was issued.

    Args:
        report_id: rep_...; empty for one that a command computed and nobody keeps.
        revision: Of it.
        asked_by: User or key.
        computed_at: When its job was done, the one date that its files bear.
        digest: Of its result.
        request: The question as asked.
        pin: What its numbers depend on.
        answer: Its stored result.
    """

    report_id: str
    revision: int
    asked_by: str
    computed_at: datetime
    digest: str
    request: ReportRequest
    pin: Pin
    answer: Answer

    @property
    def own_totals(self) -> pa.Table | None:
        """Its values where they are those of the period as one, else None."""
        return self.answer.values if len(self.pin.edges_us) == 2 and not self.pin.shifts else None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Surroundings:
    """What a document says beside the stored result.

    Args:
        overview: Totals, lines, what is missing; None: it could not be computed, or nobody looks at it.
        others: Totals of the period that the report is compared with, columns of RESULT; None: there are none.
        why_no_others: Why not.
        changes: What differs from the revision before, columns of `changes.CHANGES`.
        notes: What a reader must know of the file.
    """

    overview: Overview | None = None
    others: pa.Table | None = None
    why_no_others: str = ""
    changes: pa.Table | None = None
    notes: tuple[str, ...] = ()


NO_SURROUNDINGS = Surroundings()


def make_document(issue: Issue, around: Surroundings = NO_SURROUNDINGS) -> ReportDocument:
    """Return what all files of a revision say.

    Args:
        issue: The revision.
        around: What was computed for its files. Without an overview, totals are there only where the values are totals,
            and there are neither charts nor down time.
    """
    pin, overview = issue.pin, around.overview
    totals = issue.own_totals
    if totals is None:
        totals = RESULT.empty_table() if overview is None else overview.totals
    compared_with = find_compared_period(pin)
    parts = {} if overview is None else {"missing": overview.missing, "downtime": overview.downtime}
    return ReportDocument(
        report_id=issue.report_id,
        revision=issue.revision,
        title=issue.request.title or DEFAULT_TITLE,
        project=pin.project,
        asked_by=issue.asked_by,
        period=pin.period,
        bucket=pin.bucket,
        as_of=pin.as_of,
        asked_at=pin.asked_at,
        computed_at=issue.computed_at,
        digest=issue.digest,
        versions=Versions(code=pin.code_version, catalogue=pin.catalogue_version, tzdata=pin.tzdata_version),
        components=pin.components,
        kpis=tuple(_define(pin)),
        values=issue.answer.values,
        totals=totals,
        compared_with=compared_with,
        comparison=_compare(issue, totals, around, compared_with),
        targets=_find_targets(issue, totals),
        group_by=pin.group_by,
        **({} if issue.answer.groups is None else {"groups": issue.answer.groups}),
        charts=() if overview is None else tuple(_draw(overview, pin)),
        exclusions=_list_exclusions(pin),
        changes=_list_changes(around.changes, issue.answer.values),
        notes=around.notes,
        is_whole=overview is not None,
        **parts,
    )


# --- Definitions and targets ------------------------------------------------------------------------------------------


def _define(pin: Pin) -> Iterable[KpiDefinition]:
    """Yield what each KPI of the report means, in the order asked; the project's own as they were."""
    catalogue = make_catalogue(pin.definitions)
    kinds = sorted({one.attributes.kind for one in pin.series})
    for name in dict.fromkeys(name for kind in kinds for name in pin.kpis[kind]):
        definition = catalogue[name].definition
        yield KpiDefinition(
            name=name,
            title=definition.title,
            unit=_describe_unit(definition.unit),
            formula=definition.formula,
            source=definition.source or (f"defined in {pin.project}" if definition.version else "Gaugehouse"),
            higher_is_better=definition.higher_is_better,
            judges_data=name in JUDGES_DATA,
            version=definition.version or None,
        )


def _describe_unit(unit: str) -> str:
    """Return a unit of the catalogue in words; U is that of the metric.

    >>> [_describe_unit(unit) for unit in ("U", "U.s", "U/h", "%", "1")]
    ["the metric's", "the metric's · s", "the metric's / h", '%', 'a number']
    """
    if unit in {"1", ""}:
        return "a number"
    if not unit.startswith("U"):
        return unit
    return unit.replace("U", "the metric's", 1).replace(".", " · ").replace("/", " / ")


def _find_targets(issue: Issue, totals: pa.Table) -> pa.Table:
    """Return what is wanted of each total: as the request says, else as the metric's own limits say of its level."""
    catalogue = make_catalogue(issue.pin.definitions)
    series = {(one.component, one.metric): one for one in issue.pin.series}
    keys = totals.select(["component", "metric", "kpi"])
    rows: dict[str, list[object]] = {name: [] for name in TARGETS.names}
    for component, metric, kpi in zip(*(keys[name].to_pylist() for name in keys.column_names), strict=True):
        wanted = issue.request.targets.get(kpi)
        if wanted is None:
            wanted = _find_own_target(series.get((component, metric)), kpi, catalogue)
        if wanted is None or metric is None:
            continue
        values = (component, metric, kpi, wanted.target, wanted.lower, wanted.upper)
        for name, value in zip(TARGETS.names, values, strict=True):
            rows[name].append(value)
    return pa.table(rows, schema=TARGETS)


def _find_own_target(one: PinnedSeries | None, kpi: str, catalogue: Mapping[str, Kpi]) -> KpiTarget | None:
    if one is None or kpi not in LEVELS | EXTREMES or catalogue[kpi].unit != "U":
        return None
    limits = one.attributes
    target = limits.target if kpi in LEVELS else None
    own = KpiTarget(target=target, lower=limits.lsl, upper=limits.usl)
    return None if own == KpiTarget() else own


# --- Comparison -------------------------------------------------------------------------------------------------------


def find_compared_period(pin: Pin) -> Period | None:
    """Return the period that totals are compared with: of a period that still runs, as much of the other one."""
    other = None if pin.comparison is None else pin.comparison.period
    if other is None or pin.asked_at >= pin.period.end:
        return other
    return replace(other, end=min(other.end, other.start + (pin.asked_at - pin.period.start)))


def _compare(issue: Issue, totals: pa.Table, around: Surroundings, compared_with: Period | None) -> pa.Table:
    pinned = issue.pin.comparison
    if pinned is None or not totals.num_rows:
        return COMPARISON.empty_table()
    if issue.own_totals is not None and issue.answer.comparison is not None:
        return issue.answer.comparison.select(COMPARISON.names).cast(COMPARISON)
    reason = around.why_no_others or next((one for one in pinned.reasons if one is not None), "nothing to compare with")
    is_there = compared_with is not None and around.others is not None
    whole = PinnedComparison(
        against=pinned.against,
        period=compared_with if is_there else None,
        edges_us=as_one(issue.pin, compared_with).edges_us if compared_with and is_there else np.empty(0, np.int64),
        partner=np.array([0 if is_there else -1], np.int64),
        reasons=(None if is_there else reason,),
    )
    others = around.others if is_there else None
    compared = compare_values(totals, others, as_one(issue.pin, issue.pin.period), whole)
    return compared.select(COMPARISON.names).cast(COMPARISON)


# --- Charts, exclusions, changes --------------------------------------------------------------------------------------


def _draw(overview: Overview, pin: Pin) -> Iterable[Chart]:
    """Yield the charts by metric and component. What still lies ahead is not drawn: it is no gap."""
    edges_us = overview.edges_us
    now_us = to_epoch_us(pin.asked_at)
    begun = max(1, int(np.searchsorted(edges_us[:-1], now_us, side="left")))
    edges_us = np.minimum(edges_us[: begun + 1], max(now_us, int(edges_us[begun - 1]) + 1))
    for line in sorted(overview.lines, key=lambda one: (one.series.metric, one.series.component)):
        yield _draw_line(line, edges_us)


def _draw_line(line: Line, edges_us: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Chart:
    attributes, buckets = line.series.attributes, len(edges_us) - 1
    return Chart(
        component=line.series.component,
        metric=line.series.metric,
        unit=attributes.unit,
        edges_us=edges_us,
        minimum=line.minimum[:buckets],
        mean=line.mean[:buckets],
        maximum=line.maximum[:buckets],
        coverage=line.coverage[:buckets],
        lsl=attributes.lsl,
        usl=attributes.usl,
        target=attributes.target,
    )


def _list_exclusions(pin: Pin) -> pa.Table:
    """Return the windows that take something out of the period; a pin also keeps those of the look-back before it."""
    shown = {one.name for one in pin.components}
    rows: dict[str, list[object]] = {name: [] for name in EXCLUSIONS.names}
    for one in pin.exclusions:
        start, end = max(one.start, pin.period.start), min(one.end, pin.period.end)
        if start >= end:
            continue
        for name in _name_components(one, shown):
            values = (name, start, end, one.author, f"{one.kind.value}: {one.reason}")
            for column, value in zip(EXCLUSIONS.names, values, strict=True):
                rows[column].append(value)
    return pa.table(rows, schema=EXCLUSIONS)


def _name_components(one: Exclusion, shown: set[str]) -> Sequence[str]:
    if one.components is None:
        return (EVERY_COMPONENT,)
    return [name for name in one.components if name in shown]


def _list_changes(changes: pa.Table | None, values: pa.Table) -> pa.Table:
    """Return what differs from the revision before; where only its quality does, the cause says what of it."""
    if changes is None:
        return CHANGES.empty_table()
    changes = changes.filter(pc.equal(changes["table"], VALUES))
    units = _find_units(values)
    rows = changes.select(FOUND_CHANGES.names).to_pylist()
    metrics = changes["metric"].to_pylist()
    return pa.table(
        {
            **{name: changes[name] for name in ("component", "metric", "kpi", "bucket_start", "bucket_end")},
            "old": changes["old_value"],
            "new": changes["new_value"],
            "unit": [units.get((metric, row["kpi"]), "") for metric, row in zip(metrics, rows, strict=True)],
            "cause": [_say_cause(row) for row in rows],
        }
    ).cast(CHANGES)


def _find_units(values: pa.Table) -> dict[tuple[str | None, str], str]:
    """Return the unit of each KPI of a metric."""
    unique = values.group_by(["metric", "kpi"], use_threads=False).aggregate([("unit", "first")])
    columns = (unique[name].to_pylist() for name in ("metric", "kpi", "unit_first"))
    return {(metric, kpi): unit for metric, kpi, unit in zip(*columns, strict=True)}


def _say_cause(row: Mapping[str, object]) -> str:
    cause = str(row["because"])
    old, new = (_as_text(row[f"{age}_value"]) for age in ("old", "new"))
    if old != new:
        return cause
    if row["old_status"] != row["new_status"]:
        return f"{row['old_status'] or 'not there'} became {row['new_status'] or 'not there'}: {cause}"
    coverages = [row[f"{age}_coverage"] for age in ("old", "new")]
    if all(isinstance(one, float) for one in coverages) and coverages[0] != coverages[1]:
        before, now = (f"{PERCENT * one:.4g} %" for one in coverages if isinstance(one, float))
        return f"coverage {before} became {now}: {cause}"
    return cause


def _as_text(value: object) -> str | None:
    return format_number(value) if isinstance(value, float) else None
