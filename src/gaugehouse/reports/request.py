"""What a manager asks for, before anything is looked up."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import msgspec

from gaugehouse.errors import Refused
from gaugehouse.inventory.checks import find_text_problem
from gaugehouse.measurements.comparison import Against
from gaugehouse.query.components import show_name

JOB_KIND = "report"  # of jobs that compute one
TITLE_CHARS = 200


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
        group_by: Components taken together: `fleet`, `type`, `shift`, `firmware` or `label:NAME`; None: no groups.
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


def find_target_problem(kpi: str, target: KpiTarget) -> str | None:
    """Return why a target cannot be, as the end of a sentence about it; None when it can."""
    if target == KpiTarget():
        return f"the target of {kpi!r} says nothing: give target, lower or upper"
    bounds = [one for one in (target.lower, target.target, target.upper) if one is not None]
    if bounds != sorted(bounds):
        return f"the target of {kpi!r} must have lower <= target <= upper"
    return None


def check_wording(request: ReportRequest) -> None:
    """Refuse a title or targets that could not stand on a file.

    Raises:
        Refused: The message says which.
    """
    problem = find_text_problem(request.title, limit_characters=TITLE_CHARS)
    if problem is not None:
        raise Refused(f"title {problem}", code="title_refused")
    for kpi, target in request.targets.items():
        problem = find_target_problem(show_name(kpi), target)
        if request.kpis is not None and kpi not in request.kpis:
            problem = f"there is a target for {show_name(kpi)!r}, which the report does not ask for"
        if problem is not None:
            raise Refused(problem, code="target_refused", fields={"kpi": show_name(kpi)})


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
