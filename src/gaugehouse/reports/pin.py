"""The pin: everything the numbers of a report depend on, fixed when it is asked for.

A pin is kept for years and decoded by every later version. What came later is therefore written only where it says
something: a pin of before is encoded as it was, and with it the digest of its report.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaugehouse.measurements.exclusions import Exclusion, ExclusionKind
from gaugehouse.measurements.metric import INDIVIDUAL, MetricAttributes, MetricKind, StateClass, parse_subgroup
from gaugehouse.measurements.oee import OeeAttributes
from gaugehouse.measurements.period import Period
from gaugehouse.measurements.selection import from_epoch_us, to_epoch_us
from gaugehouse.measurements.shift_calendar import ShiftCalendar, decode_shift_calendar, encode_shift_calendar
from gaugehouse.measurements.shifts import ShiftBucket

PIN_FORMAT = 1
NUMBERS = ("lsl", "usl", "target", "nominal_interval_s", "max_hold_s", "rollover_at", "max_rate")


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedComponent:
    """A component as it was: `retired_at` ends its part of the period, `oee` names what its OEE is computed from."""

    name: str
    type: str = ""
    labels: Mapping[str, str]
    retired_at: datetime | None = None
    oee: OeeAttributes | None = None


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
        kpis: Names per kind of metric, in the order asked.
        catalogue_version: Of the formulas.
        tzdata_version: Of the time zone rules.
        code_version: Of Gaugehouse.
        shift_calendar: The project's, if it had one.
        shifts: Per bucket the shift it is, None for time between shifts; empty where the buckets are no shifts.
        exclusions: Windows that take something out of the period for some of the components.
        needed: Series that are read because others rest on them (alive metrics, the metrics of OEE) and not reported,
            ordered by (component, metric); none of them is in `series`.
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
    shift_calendar: PinnedShiftCalendar | None = None
    shifts: tuple[ShiftBucket | None, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()
    needed: tuple[PinnedSeries, ...] = ()


def encode_pin(pin: Pin) -> dict[str, Any]:
    """Return the pin as JSON-able values; names and attributes that repeat are written once."""
    components = {component.name: index for index, component in enumerate(pin.components)}
    everything = (*pin.series, *pin.needed)
    metrics = {name: index for index, name in enumerate(sorted({series.metric for series in everything}))}
    attributes: list[dict[str, Any]] = []
    positions: dict[str, int] = {}
    known: dict[int, int] = {}  # series share attribute objects: one look at each is enough
    series = []
    for one in everything:
        if id(one.attributes) not in known:
            encoded = _encode_attributes(one.attributes)
            position = positions.setdefault(repr(encoded), len(attributes))
            if position == len(attributes):
                attributes.append(encoded)
            known[id(one.attributes)] = position
        series.append([components[one.component], metrics[one.metric], known[id(one.attributes)]])
    return {
        "format": PIN_FORMAT,
        "project": pin.project,
        "as_of_us": None if pin.as_of is None else to_epoch_us(pin.as_of),
        "asked_at_us": to_epoch_us(pin.asked_at),
        "period": {
            "expression": pin.period.expression,
            "timezone": pin.period.timezone,
            "start_us": to_epoch_us(pin.period.start),
            "end_us": to_epoch_us(pin.period.end),
        },
        "bucket": pin.bucket,
        "edges": _encode_edges(pin.edges_us),
        "components": [_encode_component(one) for one in pin.components],
        "metrics": list(metrics),
        "attributes": attributes,
        "series": series[: len(pin.series)],
        "kpis": {kind.value: list(names) for kind, names in sorted(pin.kpis.items())},
        "catalogue_version": pin.catalogue_version,
        "tzdata_version": pin.tzdata_version,
        "code_version": pin.code_version,
    } | _encode_calendar(pin, series[len(pin.series) :])


def decode_pin(encoded: Mapping[str, Any]) -> Pin:
    """Return the pin that `encode_pin` wrote, also after a database turned 1e22 into an integer or sorted the keys."""
    period = encoded["period"]
    components = tuple(_decode_component(*one) for one in encoded["components"])
    attributes = [_decode_attributes(one) for one in encoded["attributes"]]

    def decode_series(several: list[list[int]]) -> tuple[PinnedSeries, ...]:
        return tuple(
            PinnedSeries(
                component=components[component].name,
                metric=encoded["metrics"][metric],
                attributes=attributes[attribute],
            )
            for component, metric, attribute in several
        )

    calendar = encoded.get("shift_calendar")
    return Pin(
        project=encoded["project"],
        as_of=None if encoded["as_of_us"] is None else from_epoch_us(encoded["as_of_us"]),
        asked_at=from_epoch_us(encoded["asked_at_us"]),
        period=Period(
            start=from_epoch_us(period["start_us"]),
            end=from_epoch_us(period["end_us"]),
            timezone=period["timezone"],
            expression=period["expression"],
        ),
        bucket=encoded["bucket"],
        edges_us=_decode_edges(encoded["edges"]),
        components=components,
        series=decode_series(encoded["series"]),
        kpis={MetricKind(kind): tuple(names) for kind, names in encoded["kpis"].items()},
        catalogue_version=encoded["catalogue_version"],
        tzdata_version=encoded["tzdata_version"],
        code_version=encoded["code_version"],
        shift_calendar=None
        if calendar is None
        else PinnedShiftCalendar(version=calendar["version"], calendar=decode_shift_calendar(calendar["calendar"])),
        shifts=tuple(_decode_shift(one) for one in encoded.get("shifts", ())),
        exclusions=tuple(_decode_exclusion(one) for one in encoded.get("exclusions", ())),
        needed=decode_series(encoded.get("needed", [])),
    )


def _encode_component(one: PinnedComponent) -> list[Any]:
    retired_us = None if one.retired_at is None else to_epoch_us(one.retired_at)
    encoded: list[Any] = [one.name, one.type, dict(one.labels), retired_us]
    return encoded if one.oee is None else [*encoded, asdict(one.oee)]


def _decode_component(
    name: str, type_: str, labels: dict[str, str], retired_us: int | None, oee: dict[str, Any] | None = None
) -> PinnedComponent:
    return PinnedComponent(
        name=name,
        type=type_,
        labels=labels,
        retired_at=None if retired_us is None else from_epoch_us(retired_us),
        oee=None
        if oee is None
        else OeeAttributes(**{**oee, "ideal_cycle_time_s": _as_float(oee["ideal_cycle_time_s"])}),
    )


def _encode_calendar(pin: Pin, needed: list[list[int]]) -> dict[str, Any]:
    """Return what came with shifts and exclusions, each only where there is any."""
    calendar = pin.shift_calendar
    parts: dict[str, Any] = {
        "shift_calendar": None
        if calendar is None
        else {"version": calendar.version, "calendar": encode_shift_calendar(calendar.calendar)},
        "shifts": [
            None if shift is None else [shift.name, shift.day.isoformat(), shift.is_cut] for shift in pin.shifts
        ],
        "exclusions": [_encode_exclusion(one) for one in pin.exclusions],
        "needed": needed,
    }
    return {name: part for name, part in parts.items() if part}


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
    return encoded | {name: value for name, value in later.items() if value}


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
