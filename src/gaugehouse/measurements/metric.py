"""What is known about a metric beside its rows: unit, kind, limits, intervals, state map, subgroups."""

import re
from dataclasses import dataclass, field
from enum import StrEnum

from gaugehouse.errors import PeriodRefused, Refused
from gaugehouse.measurements.period import parse_every


class MetricKind(StrEnum):
    """How values of a metric add up over time."""

    GAUGE = "gauge"  # a level: temperature
    COUNTER = "counter"  # a rising total: parts_total
    DELTA = "delta"  # an amount per interval: count
    STATE = "state"  # a code: running


class StateClass(StrEnum):
    """What a state means for availability."""

    UP = "up"
    DOWN = "down"
    PLANNED = "planned"
    IDLE = "idle"
    UNKNOWN = "unknown"


DEFAULT_STATE_CLASSES: dict[float, StateClass] = {1.0: StateClass.UP, 0.0: StateClass.DOWN}


NO_SUBGROUP = "none"
MAX_SUBGROUP_SIZE = 1000
MAX_SUBGROUP_CHARACTERS = 32
_SUBGROUP_SIZE = re.compile(r"[0-9]{1,4}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subgroup:
    """How measurements are grouped for Cp and Cpk: one by one (both None), so many in a row, or by time.

    Args:
        size: Consecutive measurements in a group.
        duration_us: Length of a group. [us]
        expression: `none`, the size, or the duration as it was written.
    """

    size: int | None = None
    duration_us: int | None = None
    expression: str = NO_SUBGROUP


INDIVIDUAL = Subgroup()


def parse_subgroup(text: str) -> Subgroup:
    """Return what `none`, a size such as `5`, or a duration such as `PT1H` or `15m` means.

    Raises:
        Refused: None of these.
    """
    if text == NO_SUBGROUP:
        return INDIVIDUAL
    if _SUBGROUP_SIZE.fullmatch(text):
        size = int(text)
        if 2 <= size <= MAX_SUBGROUP_SIZE:
            return Subgroup(size=size, expression=str(size))
    elif len(text) <= MAX_SUBGROUP_CHARACTERS:
        try:
            duration_us = parse_every(text).duration_us
        except PeriodRefused:
            duration_us = None
        if duration_us is not None:
            return Subgroup(duration_us=duration_us, expression=text.strip())
    raise Refused(
        f"{text[:MAX_SUBGROUP_CHARACTERS]!r} is no subgroup: write none, a size from 2 to {MAX_SUBGROUP_SIZE}, "
        "or a duration such as PT1H",
        code="subgroup_refused",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricAttributes:
    """Attributes of one metric of one component, resolved (KPI.md names each use).

    Args:
        kind: gauge, counter, delta or state.
        unit: UCUM-like unit text, empty when unknown.
        lsl: Lower specification limit. [unit]
        usl: Upper specification limit. [unit]
        target: Wanted value. [unit]
        nominal_interval_s: Time between two samples when all is well. [s]
        max_hold_s: How long a value stands without a successor. [s]
        rollover_at: Modulus of a counter. [unit]
        max_rate: Steepest credible counter rise. [unit/s]
        state_classes: State value -> class; other values are unknown.
        state_names: State value -> what people call it; any value may have a name, or none.
        alive_metric: Metric of the same component; the value holds while that one is covered by its own max hold
            (for metrics that report on change).
        lateness_s: Rows accepted later than this after `measured_at` count as late: the metric's own, else the
            project's bound; None: no row is late. [s]
        subgroup: How measurements are grouped for Cp and Cpk.
    """

    kind: MetricKind = MetricKind.GAUGE
    unit: str = ""
    lsl: float | None = None
    usl: float | None = None
    target: float | None = None
    nominal_interval_s: float | None = None
    max_hold_s: float | None = None
    rollover_at: float | None = None
    max_rate: float | None = None
    state_classes: dict[float, StateClass] = field(default_factory=lambda: dict(DEFAULT_STATE_CLASSES))
    state_names: dict[float, str] = field(default_factory=dict)
    alive_metric: str | None = None
    lateness_s: float | None = None
    subgroup: Subgroup = INDIVIDUAL
