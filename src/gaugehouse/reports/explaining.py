"""How a KPI of one component came to its value over a period: a report of one value, with its workings."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
from sqlalchemy.orm import Session

from gaugehouse import __version__
from gaugehouse.errors import NotFound, Refused, TooLarge
from gaugehouse.inventory import get_component, resolve_attributes
from gaugehouse.kpi import ExplainedValue, Explanation, Kpi, evaluate, explain
from gaugehouse.lake import Snapshot
from gaugehouse.measurements.metric import MetricKind
from gaugehouse.measurements.period import Period, parse_period
from gaugehouse.measurements.selection import Selection, to_epoch_us
from gaugehouse.query.components import show_name
from gaugehouse.reports.ask import find_catalogue_version
from gaugehouse.reports.chunks import count_rows
from gaugehouse.reports.compute import iterate_facts, say_nothing
from gaugehouse.reports.formulas import (
    choose_definitions,
    find_supporting,
    make_catalogue,
    make_owners,
    pin_series,
    read_attributes,
)
from gaugehouse.reports.pin import Pin, PinnedComponent
from gaugehouse.reports.planned import pin_exclusions, pin_shift_calendar
from gaugehouse.reports.zones import find_tzdata_version

EXPLAINED_ROWS = 5_000_000  # of one component: it is explained while somebody waits
EVERYTHING_RECEIVED = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class KpiQuestion:
    """What is to be explained.

    Args:
        project: Slug.
        project_id: Its id.
        kpi: Name.
        component: Name or id.
        metric: The one that the KPI is about; None: the first that has it.
        period: Calendar expression.
        timezone: IANA zone of the calendar.
        asked_at: The `now` of named and running periods.
    """

    project: str
    project_id: str
    kpi: str
    component: str
    metric: str | None
    period: str
    timezone: str
    asked_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedKpi:
    """An explanation and what it is about."""

    component: str
    metric: str
    period: Period
    explanation: Explanation


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplanationView:
    """An explanation as its readers see it.

    Args:
        kpi: Name.
        title: For people.
        version: Of the formula; 0: built in.
        formula: In the formula language.
        source: What it follows.
        edge: When it has no value.
        component: Whose value it is.
        metric: What it is about, or stands beside.
        period_start: Inclusive, UTC.
        period_end: Exclusive, UTC.
        quantities: What stands in the formula, each once.
        worked: The formula with the values in the place of the names.
        result: The value.
    """

    kpi: str
    title: str
    version: int
    formula: str
    source: str
    edge: str
    component: str
    metric: str
    period_start: datetime
    period_end: datetime
    quantities: tuple[ExplainedValue, ...]
    worked: str
    result: ExplainedValue


def view_explanation(explained: ExplainedKpi) -> ExplanationView:
    """Return what readers see of an explanation."""
    explanation = explained.explanation
    kpi = explanation.kpi
    return ExplanationView(
        kpi=kpi.name,
        title=kpi.title,
        version=kpi.definition.version,
        formula=kpi.formula,
        source=kpi.source,
        edge=kpi.edge,
        component=explained.component,
        metric=explained.metric,
        period_start=explained.period.start,
        period_end=explained.period.end,
        quantities=explanation.quantities,
        worked=explanation.worked,
        result=explanation.result,
    )


def explain_kpi(session: Session, snapshot: Snapshot, question: KpiQuestion) -> ExplainedKpi:
    """Return how a KPI came to its value.

    Args:
        session: An open session.
        snapshot: What the lake shows.
        question: See `KpiQuestion`.

    Raises:
        NotFound: There is no such KPI or component, or it has no such metric.
        PeriodRefused: The period cannot be understood.
        Refused: No metric of the component has the KPI.
        TooLarge: The period has too many rows to be explained at once.
    """
    definitions = choose_definitions(session, question.project_id, [question.kpi])
    catalogue = make_catalogue(definitions)
    kpi = catalogue.get(question.kpi)
    if kpi is None:
        raise NotFound(f"there is no KPI {show_name(question.kpi)!r}", code="kpi_not_found")
    pin = replace(_make_pin(session, snapshot, question, kpi), definitions=definitions)
    _check_size(snapshot, pin)
    ((chunk, facts),) = iterate_facts(
        snapshot, pin, edges_us=pin.edges_us, threads=1, limits=None, on_progress=say_nothing, want=kpi.want
    )
    attributes = [one.attributes for one in chunk.series]
    owners = make_owners(chunk.series, pin)
    answers = evaluate(facts, attributes, [kpi.name], catalogue=catalogue, owners=owners, skip_inapplicable=True)
    shown = {one.metric for one in pin.series}
    places = [place for place in answers["series"].to_pylist() if chunk.series[place].metric in shown]
    if not places:
        raise _not_for_kind(kpi)
    explanation = explain(kpi.name, facts, attributes, series=places[0], catalogue=catalogue, owners=owners)
    one = chunk.series[places[0]]
    return ExplainedKpi(component=one.component, metric=one.metric, period=pin.period, explanation=explanation)


def _check_size(snapshot: Snapshot, pin: Pin) -> None:
    names = tuple(sorted({one.metric for one in pin.every_series}))
    components = tuple(one.name for one in pin.components)
    period = Selection(
        project=pin.project, components=components, metrics=names, start=pin.period.start, end=pin.period.end
    )
    rows = sum(count_rows(snapshot, period).values())
    if rows > EXPLAINED_ROWS:
        raise TooLarge(
            f"the period has {rows:,} rows, at most {EXPLAINED_ROWS:,} are explained at once: choose a shorter one",
            code="period_too_large",
        )


def _not_for_kind(kpi: Kpi) -> Refused:
    fitting = ", ".join(sorted(kpi.kinds))
    return Refused(f"no such metric of the component has {kpi.name}: it is for {fitting}", code="kpi_not_for_kind")


def _make_pin(session: Session, snapshot: Snapshot, question: KpiQuestion, kpi: Kpi) -> Pin:
    """Return the pin of a report of one value, not to be kept."""
    period = parse_period(question.period, timezone=question.timezone, now=question.asked_at)
    component = get_component(session, question.project_id, question.component)
    everything = Selection(project=question.project, components=(component.name,))
    known = sorted(count_rows(snapshot, everything))
    keys = [key for key in known if question.metric in {None, key[1]}]
    if not keys:
        what = "metric with rows" if question.metric is None else f"metric {show_name(question.metric)!r} with rows"
        raise NotFound(f"{component.name} has no {what}", code="metric_not_found")
    if kpi.is_of_metric:
        kinds = resolve_attributes(session, question.project_id, keys)
        keys = [key for key in keys if kinds[key].kind in kpi.kinds][:1]
        if not keys:
            raise _not_for_kind(kpi)
    own = read_attributes(session, question.project_id, [component.name], [kpi])
    shown, supporting = pin_series(session, question.project_id, keys, find_supporting(keys, known, own, [kpi]))
    pinned = PinnedComponent(
        name=component.name,
        labels={},
        commissioned_at=component.commissioned_at,
        retired_at=component.retired_at,
        attributes=own.get(component.name, {}),
    )
    return Pin(
        project=question.project,
        as_of=EVERYTHING_RECEIVED,
        asked_at=question.asked_at,
        period=period,
        bucket=None,
        edges_us=np.array([to_epoch_us(period.start), to_epoch_us(period.end)], np.int64),
        components=(pinned,),
        series=shown,
        kpis=dict.fromkeys(MetricKind, (kpi.name,)),
        catalogue_version=find_catalogue_version(),
        tzdata_version=find_tzdata_version(),
        code_version=__version__,
        supporting=supporting,
        shift_calendar=pin_shift_calendar(session, question.project_id),
        exclusions=pin_exclusions(session, question.project_id, [component.name], [period]),
    )
