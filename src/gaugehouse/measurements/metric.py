"""What is known about a metric beside its rows: unit, kind, limits, intervals, state map."""

from dataclasses import dataclass, field
from enum import StrEnum


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
