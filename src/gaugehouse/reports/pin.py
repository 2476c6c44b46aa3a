"""The pin: everything the numbers of a report depend on, fixed when it is asked for.

A pin is kept for years and decoded by every later version. What came later is therefore written only where it says
something: a pin of before is encoded as it was, and with it the digest of its report.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaugehouse.kpi import Definition
from gaugehouse.measurements.comparison import Against
from gaugehouse.measurements.exclusions import Exclusion, ExclusionKind
from gaugehouse.measurements.metric import INDIVIDUAL, MetricAttributes, MetricKind, StateClass, parse_subgroup
from gaugehouse.measurements.period import Period
from gaugehouse.measurements.selection import from_epoch_us, to_epoch_us
from gaugehouse.measurements.shift_calendar import ShiftCalendar, decode_shift_calendar, encode_shift_calendar
from gaugehouse.measurements.shifts import ShiftBucket

PIN_FORMAT = 1
DEFINED = ("name", "version", "title", "unit", "formula", "edge", "higher_is_better")
NUMBERS = ("lsl", "usl", "target", "nominal_interval_s", "max_hold_s", "rollover_at", "max_rate")


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedComponent:
    """A component as it was.

    Args:
        name: Name.
        type: Of the machine.
        labels: By which components are grouped.
        commissioned_at: Begins its part of the period.
        retired_at: Ends it.
        attributes: Those that formulas use, the metrics of its OEE among them.
    """

    name: str
    type: str = ""
    labels: Mapping[str, str]
    commissioned_at: datetime | None = None
    retired_at: datetime | None = None
    attributes: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedShiftCalendar:
    """The project's shift calendar as it was, and which version of it that is."""

    version: int
    calendar: ShiftCalendar


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedSeries:
    """A metric of a component with its resolved attributes."""

    component: str
    metric: str
    attributes: MetricAttributes


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedComparison:
    """The period that another one is compared with, or why there is none.

    Args:
        against: previous or year_before.
        period: None: there is none.
        edges_us: Borders of its buckets; empty without a period. [us]
        partner: Per bucket of the report the bucket of this period beside it, -1 for none.
        reasons: Per bucket of the report why it has none, None where it has one.
    """

    against: Against
    period: Period | None
    edges_us: NDArray[np.int64]
    partner: NDArray[np.int64]
    reasons: tuple[str | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """What a report is about, without who asked.

    Args:
        project: Slug.
        as_of: Newest acknowledged received_at; None when nothing was ever received.
        asked_at: The `now` of a running period.
        period: [start, end) with its zone.
        bucket: The bucket expression; None is the period as one.
        edges_us: n + 1 edges of n buckets: the calendar of that day's tzdata, kept. [us]
        components: Resolved, ordered by name, the silent ones included.
        series: Ordered by (component, metric).
        supporting: Further series that the numbers rest on and that are not shown (what formulas name, metrics that
            show that a device is alive), ordered likewise.
        definitions: The project's own KPIs that are used, as they were.
        kpis: Names per kind of metric, in the order asked.
        catalogue_version: Of the formulas.
        tzdata_version: Of the time zone rules.
        code_version: Of Gaugehouse.
        shift_calendar: The project's, if it had one.
        shifts: Per bucket the shift it is, None for time between shifts; empty where the buckets are no shifts.
        comparison: With which period it is compared.
        group_by: How components are taken together as well.
        group_edges_us: Borders of the shifts that values are grouped by; empty where they are not. [us]
        group_shifts: Which shift lies between two of them, None for time between shifts.
        rows_from: Retention had dropped what was measured before: look-back reaches no further; None: it had not.
        firmware: By component (instant [us], version) of each change, where reports are grouped by it.
        exclusions: Windows that take something out of the period, or of the look-back, for some of the components.
    """

    project: str
    as_of: datetime | None
    asked_at: datetime
    period: Period
    bucket: str | None
    edges_us: NDArray[np.int64]
    components: tuple[PinnedComponent, ...]
    series: tuple[PinnedSeries, ...]
    kpis: Mapping[MetricKind, tuple[str, ...]]
    catalogue_version: str
    tzdata_version: str
    code_version: str
    supporting: tuple[PinnedSeries, ...] = ()
    definitions: tuple[Definition, ...] = ()
    shift_calendar: PinnedShiftCalendar | None = None
    shifts: tuple[ShiftBucket | None, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()
    comparison: PinnedComparison | None = None
    group_by: str | None = None
    group_edges_us: tuple[int, ...] = ()
    group_shifts: tuple[ShiftBucket | None, ...] = ()
    rows_from: datetime | None = None
    firmware: Mapping[str, tuple[tuple[int, str], ...]] = field(default_factory=dict)

    @property
    def periods(self) -> tuple[Period, ...]:
        """All that rows are read of: the period, and the one that it is compared with."""
        compared = None if self.comparison is None else self.comparison.period
        return (self.period,) if compared is None else (self.period, compared)

    @property
    def every_series(self) -> tuple[PinnedSeries, ...]:
        """All that the numbers rest on, shown or not, ordered by (component, metric)."""
        if not self.supporting:
            return self.series
        return tuple(sorted((*self.series, *self.supporting), key=lambda one: (one.component, one.metric)))


def encode_pin(pin: Pin) -> dict[str, Any]:
    """Return the pin as JSON-able values; names and attributes that repeat are written once."""
    components = {component.name: index for index, component in enumerate(pin.components)}
    every = (*pin.series, *pin.supporting)
    metrics = {name: index for index, name in enumerate(sorted({series.metric for series in every}))}
    attributes: list[dict[str, Any]] = []
    positions: dict[str, int] = {}
    known: dict[int, int] = {}  # series share attribute objects: one look at each is enough
    series = []
    for one in every:
        if id(one.attributes) not in known:
            encoded = _encode_attributes(one.attributes)
            position = positions.setdefault(repr(encoded), len(attributes))
            if position == len(attributes):
                attributes.append(encoded)
            known[id(one.attributes)] = position
        series.append([components[one.component], metrics[one.metric], known[id(one.attributes)]])
    encoded_pin = {
        "format": PIN_FORMAT,
        "project": pin.project,
        "as_of_us": None if pin.as_of is None else to_epoch_us(pin.as_of),
        "asked_at_us": to_epoch_us(pin.asked_at),
        "period": _encode_period(pin.period),
        "bucket": pin.bucket,
        "edges": _encode_edges(pin.edges_us),
        "components": [
            [one.name, one.type, dict(one.labels), None if one.retired_at is None else to_epoch_us(one.retired_at)]
            for one in pin.components
        ],
        "metrics": list(metrics),
        "attributes": attributes,
        "series": series[: len(pin.series)],
        "kpis": {kind.value: list(names) for kind, names in sorted(pin.kpis.items())},
        "catalogue_version": pin.catalogue_version,
        "tzdata_version": pin.tzdata_version,
        "code_version": pin.code_version,
    }
    optional = {
        "component_attributes": {one.name: dict(one.attributes) for one in pin.components if one.attributes},
        "commissioned_us": {
            one.name: to_epoch_us(one.commissioned_at) for one in pin.components if one.commissioned_at is not None
        },
        "supporting": series[len(pin.series) :],
        "definitions": [_encode_definition(one) for one in pin.definitions],
        "shift_calendar": _encode_shift_calendar(pin.shift_calendar),
        "shifts": _encode_shifts(pin.shifts),
        "exclusions": [_encode_exclusion(one) for one in pin.exclusions],
        "comparison": None if pin.comparison is None else _encode_comparison(pin.comparison),
        "group_by": pin.group_by,
        "group_shifts": [_encode_edges(np.array(pin.group_edges_us)), _encode_shifts(pin.group_shifts)]
        if pin.group_shifts
        else None,
        "rows_from_us": None if pin.rows_from is None else to_epoch_us(pin.rows_from),
        "firmware": {name: [list(one) for one in own] for name, own in pin.firmware.items()},
    }
    return encoded_pin | {name: value for name, value in optional.items() if value}


def decode_pin(encoded: Mapping[str, Any]) -> Pin:
    """Return the pin that `encode_pin` wrote, also after a database turned 1e22 into an integer or sorted the keys."""
    of_components = encoded.get("component_attributes", {})
    commissioned_us = encoded.get("commissioned_us", {})
    components = tuple(
        PinnedComponent(
            name=name,
            type=type_,
            labels=labels,
            commissioned_at=from_epoch_us(commissioned_us[name]) if name in commissioned_us else None,
            retired_at=None if retired_us is None else from_epoch_us(retired_us),
            attributes={key: _decode_attribute(value) for key, value in of_components.get(name, {}).items()},
        )
        for name, type_, labels, retired_us in encoded["components"]
    )
    attributes = [_decode_attributes(one) for one in encoded["attributes"]]
    group_edges, group_shifts = encoded.get("group_shifts", (None, ()))

    def read_series(triples: Sequence[Sequence[int]]) -> tuple[PinnedSeries, ...]:
        return tuple(
            PinnedSeries(
                component=components[component].name,
                metric=encoded["metrics"][metric],
                attributes=attributes[attribute],
            )
            for component, metric, attribute in triples
        )

    return Pin(
        project=encoded["project"],
        as_of=None if encoded["as_of_us"] is None else from_epoch_us(encoded["as_of_us"]),
        asked_at=from_epoch_us(encoded["asked_at_us"]),
        period=_decode_period(encoded["period"]),
        bucket=encoded["bucket"],
        edges_us=_decode_edges(encoded["edges"]),
        components=components,
        series=read_series(encoded["series"]),
        supporting=read_series(encoded.get("supporting", ())),
        definitions=tuple(_decode_definition(one) for one in encoded.get("definitions", ())),
        kpis={MetricKind(kind): tuple(names) for kind, names in encoded["kpis"].items()},
        catalogue_version=encoded["catalogue_version"],
        tzdata_version=encoded["tzdata_version"],
        code_version=encoded["code_version"],
        shift_calendar=_decode_shift_calendar(encoded.get("shift_calendar")),
        shifts=tuple(_decode_shift(one) for one in encoded.get("shifts", ())),
        exclusions=tuple(_decode_exclusion(one) for one in encoded.get("exclusions", ())),
        comparison=_decode_comparison(encoded["comparison"]) if "comparison" in encoded else None,
        group_by=encoded.get("group_by"),
        group_edges_us=() if group_edges is None else tuple(_decode_edges(group_edges).tolist()),
        group_shifts=tuple(_decode_shift(one) for one in group_shifts),
        rows_from=from_epoch_us(encoded["rows_from_us"]) if "rows_from_us" in encoded else None,
        firmware={
            name: tuple((at_us, version) for at_us, version in own) for name, own in encoded.get("firmware", {}).items()
        },
    )


def _encode_period(period: Period) -> dict[str, Any]:
    return {
        "expression": period.expression,
        "timezone": period.timezone,
        "start_us": to_epoch_us(period.start),
        "end_us": to_epoch_us(period.end),
    }


def _decode_period(encoded: Mapping[str, Any]) -> Period:
    return Period(
        start=from_epoch_us(encoded["start_us"]),
        end=from_epoch_us(encoded["end_us"]),
        timezone=encoded["timezone"],
        expression=encoded["expression"],
    )


def _encode_comparison(comparison: PinnedComparison) -> dict[str, Any]:
    has_period = comparison.period is not None
    return {
        "against": comparison.against,
        "period": _encode_period(comparison.period) if comparison.period is not None else None,
        "edges": _encode_edges(comparison.edges_us) if has_period else None,
        "partner": comparison.partner.tolist(),
        "reasons": list(comparison.reasons),
    }


def _decode_comparison(encoded: Mapping[str, Any]) -> PinnedComparison:
    period = encoded["period"]
    return PinnedComparison(
        against=encoded["against"],
        period=None if period is None else _decode_period(period),
        edges_us=np.empty(0, np.int64) if period is None else _decode_edges(encoded["edges"]),
        partner=np.array(encoded["partner"], np.int64),
        reasons=tuple(encoded["reasons"]),
    )


def _encode_shift_calendar(pinned: PinnedShiftCalendar | None) -> dict[str, Any] | None:
    if pinned is None:
        return None
    return {"version": pinned.version, "calendar": encode_shift_calendar(pinned.calendar)}


def _decode_shift_calendar(encoded: Mapping[str, Any] | None) -> PinnedShiftCalendar | None:
    if encoded is None:
        return None
    return PinnedShiftCalendar(version=encoded["version"], calendar=decode_shift_calendar(encoded["calendar"]))


def _encode_shifts(shifts: Sequence[ShiftBucket | None]) -> list[list[Any] | None]:
    return [None if shift is None else [shift.name, shift.day.isoformat(), shift.is_cut] for shift in shifts]


def _decode_shift(encoded: list[Any] | None) -> ShiftBucket | None:
    if encoded is None:
        return None
    name, day, is_cut = encoded
    return ShiftBucket(name=name, day=date.fromisoformat(day), is_cut=is_cut)


def _encode_exclusion(one: Exclusion) -> dict[str, Any]:
    return {
        "id": one.id,
        "kind": one.kind.value,
        "components": None if one.components is None else list(one.components),
        "start_us": to_epoch_us(one.start),
        "end_us": to_epoch_us(one.end),
        "reason": one.reason,
        "author": one.author,
    }


def _decode_exclusion(encoded: Mapping[str, Any]) -> Exclusion:
    return Exclusion(
        id=encoded["id"],
        kind=ExclusionKind(encoded["kind"]),
        components=None if encoded["components"] is None else tuple(encoded["components"]),
        start=from_epoch_us(encoded["start_us"]),
        end=from_epoch_us(encoded["end_us"]),
        reason=encoded["reason"],
        author=encoded["author"],
    )


def _encode_edges(edges_us: NDArray[np.int64]) -> list[Any]:
    """Write edges as the first one and runs of (step, how often): a year of hours is three runs."""
    steps = np.diff(edges_us)
    borders = np.flatnonzero(np.diff(steps)) + 1
    runs = [[int(run[0]), len(run)] for run in np.split(steps, borders)]
    return [int(edges_us[0]), runs]


def _decode_edges(encoded: list[Any]) -> NDArray[np.int64]:
    first_us, runs = encoded
    steps = [np.full(times, step_us, dtype=np.int64) for step_us, times in runs]
    return np.concatenate([np.array([first_us], dtype=np.int64), *steps]).cumsum()


def _encode_attributes(attributes: MetricAttributes) -> dict[str, Any]:
    encoded: dict[str, Any] = {"kind": attributes.kind.value, "unit": attributes.unit}
    encoded.update({name: _as_float(getattr(attributes, name)) for name in NUMBERS})
    encoded["state_classes"] = [[float(value), name.value] for value, name in sorted(attributes.state_classes.items())]
    later = {
        "state_names": [[float(value), name] for value, name in sorted(attributes.state_names.items())],
        "alive_metric": attributes.alive_metric,
        "lateness_s": _as_float(attributes.lateness_s),
        "subgroup": None if attributes.subgroup == INDIVIDUAL else attributes.subgroup.expression,
    }
    return encoded | {name: value for name, value in later.items() if value not in (None, [])}


def _decode_attributes(encoded: Mapping[str, Any]) -> MetricAttributes:
    numbers = {name: _as_float(encoded[name]) for name in NUMBERS}
    return MetricAttributes(
        kind=MetricKind(encoded["kind"]),
        unit=encoded["unit"],
        state_classes={float(value): StateClass(name) for value, name in encoded["state_classes"]},
        state_names={float(value): name for value, name in encoded.get("state_names", ())},
        alive_metric=encoded.get("alive_metric"),
        lateness_s=_as_float(encoded.get("lateness_s")),
        subgroup=parse_subgroup(encoded["subgroup"]) if "subgroup" in encoded else INDIVIDUAL,
        **numbers,
    )


def _as_float(value: float | None) -> float | None:
    return None if value is None else float(value)


def _decode_attribute(value: object) -> object:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _encode_definition(definition: Definition) -> dict[str, Any]:
    """Write what a manager defined; the rest of a definition is for built-in KPIs."""
    return {name: getattr(definition, name) for name in DEFINED} | {"metric_units": dict(definition.metric_units)}


def _decode_definition(encoded: Mapping[str, Any]) -> Definition:
    return Definition(**{name: encoded[name] for name in (*DEFINED, "metric_units")})
