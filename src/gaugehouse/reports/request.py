"""What a manager asks for, before anything is looked up."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import msgspec

from gaugehouse.measurements.comparison import Against


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodBounds:
    """An explicit period: ISO 8601 instants; without an offset they are read in the report's zone."""

    start: str
    end: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentFilter:
    """Components by what they are: all of a type, all with these labels; both narrow."""

    type: str | None = None
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class KpiTarget:
    """What a KPI should be, in its unit: wanted, and the bounds of what is acceptable."""

    target: float | None = None
    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRequest:
    """One question: KPIs x components x period (x buckets).

    Args:
        period: A calendar expression (`last_month`, `2026-Q3`, `2026-11-20`, `start/end`), or bounds.
        timezone: IANA zone of the calendar and the buckets.
        components: "all", names or ids, or a filter.
        metrics: Names; None is every metric that a component has.
        kpis: Names; None is a sensible set for each metric's kind.
        bucket: hour, day, week, month, quarter, year, shift, or a duration; None is the period as one.
        compare: With which other period: `previous` or `year_before`; None with none.
        group_by: Components taken together: `fleet`, `type` or `label:NAME`; None: each for itself only.
        title: For people, on files.
        targets: By KPI; values are judged against them.
    """

    period: str | PeriodBounds
    timezone: str = "UTC"
    components: Literal["all"] | tuple[str, ...] | ComponentFilter = "all"
    metrics: tuple[str, ...] | None = None
    kpis: tuple[str, ...] | None = None
    bucket: str | None = None
    compare: Against | None = None
    group_by: str | None = None
    title: str = ""
    targets: Mapping[str, KpiTarget] = field(default_factory=dict)


def encode_request(request: ReportRequest) -> dict[str, Any]:
    """Return the question as JSON-able values, as it was asked."""
    return asdict(request)


def decode_request(encoded: Mapping[str, Any]) -> ReportRequest:
    """Return the question that `encode_request` wrote; fields that did not exist then have their defaults."""
    return msgspec.convert(dict(encoded), ReportRequest)


def find_extra_tables(encoded: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the tables that an encoded question asks for beside its values."""
    wanted = {"comparison": encoded.get("compare"), "groups": encoded.get("group_by")}
    return tuple(name for name, asked in wanted.items() if asked is not None)
