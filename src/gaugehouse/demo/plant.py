"""The plant: which machines stand where, what they measure, and what is known about them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gaugehouse.demo import signals
from gaugehouse.demo.signals import HOUR_S, Floats, Ints, Machines, Scene
from gaugehouse.measurements.metric import DEFAULT_STATE_CLASSES, MetricAttributes, MetricKind, StateClass

COMPONENTS_PER_LINE = 20
MOST_LINES = 12
ROLLOVER_AT = 65_536  # one conveyor counts with 16 bits
VENDORS = ("Nordwerk", "Halden", "Teramo", "Ostberg")

# Every type occurs among the first four, and a plant of 100 has 40 pumps, 25 conveyors, 20 compressors, 15 chillers.
TYPE_PATTERN = (
    *("pump", "conveyor", "compressor", "chiller", "pump", "conveyor", "pump", "compressor", "pump", "conveyor"),
    *("pump", "chiller", "compressor", "pump", "conveyor", "pump", "compressor", "chiller", "pump", "conveyor"),
)
TYPES = ("pump", "compressor", "conveyor", "chiller")
TITLES = {
    "pump": ("Cooling water pump", "Feed pump", "Circulation pump", "Dosing pump"),
    "compressor": ("Screw compressor", "Booster compressor"),
    "conveyor": ("Infeed conveyor", "Packing conveyor", "Transfer conveyor"),
    "chiller": ("Process chiller", "Air conditioning chiller"),
}

# Typical traits in the order of TYPES.
TYPICAL: dict[str, tuple[float, float, float, float]] = {
    "temperature_base": (38.0, 62.0, 30.0, 6.5),
    "temperature_rise": (22.0, 28.0, 24.0, 3.0),
    "pressure_bar": (6.5, 8.2, 1.0, 12.5),
    "vibration_mm_s": (2.8, 3.4, 1.8, 1.2),
    "flow_m3_h": (120.0, 40.0, 1.0, 65.0),
    "power_kw": (15.0, 75.0, 4.0, 55.0),
    "speed_m_s": (1.0, 1.0, 0.8, 1.0),
    "parts_per_hour": (1.0, 1.0, 420.0, 1.0),
    "battery_life_days": (150.0, 150.0, 110.0, 150.0),
}
SPREAD = 0.12  # machines of one type differ by up to this share
WORN_SHARE = 0.08  # machines whose bearing gets worse until it leaves its limit
LATE_WEAR = 0.9  # growth of vibration over the whole period of a worn machine, as a share of its level
NORMAL_WEAR = 0.04


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One metric of the demo plant.

    Args:
        name: Metric name.
        title: For people.
        kind: gauge, counter or state.
        unit: UCUM-like unit.
        types: Component types that have it.
        every: Sampled at every n-th tick.
        level: Values per (machine, tick), for gauges and states.
        increments: Whole steps per (machine, tick), for counters.
        steps_per_unit: Counter steps that make one unit.
        is_wireless_only: Only battery powered sensors have it.
    """

    name: str
    title: str
    kind: MetricKind
    unit: str
    types: tuple[str, ...] = TYPES
    every: int = 1
    level: Callable[[Scene, int], Floats] | None = None
    increments: Callable[[Scene, int], Ints] | None = None
    steps_per_unit: float = 1.0
    is_wireless_only: bool = False


TEMPERATURE_CODE = 0
PARTS_CODE = 7
ROTATING = ("pump", "compressor", "conveyor")
SIGNALS = (
    Signal(name="temperature", title="Temperature", kind=MetricKind.GAUGE, unit="Cel", level=signals.temperature),
    Signal(
        name="pressure",
        title="Pressure",
        kind=MetricKind.GAUGE,
        unit="bar",
        types=("pump", "compressor", "chiller"),
        level=signals.pressure,
    ),
    Signal(
        name="vibration",
        title="Vibration velocity",
        kind=MetricKind.GAUGE,
        unit="mm/s",
        types=ROTATING,
        every=2,
        level=signals.vibration,
    ),
    Signal(
        name="flow",
        title="Volume flow",
        kind=MetricKind.GAUGE,
        unit="m3/h",
        types=("pump",),
        every=2,
        level=signals.flow,
    ),
    Signal(
        name="power",
        title="Electric power",
        kind=MetricKind.GAUGE,
        unit="kW",
        types=("compressor", "chiller"),
        every=2,
        level=signals.power,
    ),
    Signal(
        name="speed",
        title="Belt speed",
        kind=MetricKind.GAUGE,
        unit="m/s",
        types=("conveyor",),
        every=2,
        level=signals.speed,
    ),
    Signal(name="running", title="Operating state", kind=MetricKind.STATE, unit="", every=2, level=signals.running),
    Signal(
        name="parts_total",
        title="Parts transported",
        kind=MetricKind.COUNTER,
        unit="1",
        types=("conveyor",),
        increments=signals.parts_made,
    ),
    Signal(
        name="energy_kwh",
        title="Energy meter",
        kind=MetricKind.COUNTER,
        unit="kW.h",
        types=("chiller",),
        every=2,
        increments=signals.energy_used_wh,
        steps_per_unit=1000.0,
    ),
    Signal(
        name="battery_level",
        title="Battery level",
        kind=MetricKind.GAUGE,
        unit="%",
        every=8,
        level=signals.battery_level,
        is_wireless_only=True,
    ),
    Signal(
        name="rssi",
        title="Signal strength",
        kind=MetricKind.GAUGE,
        unit="dBm",
        every=8,
        level=signals.rssi,
        is_wireless_only=True,
    ),
)

STATE_CLASSES = {
    **DEFAULT_STATE_CLASSES,
    signals.STATE_PLANNED: StateClass.PLANNED,
    signals.STATE_IDLE: StateClass.IDLE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetComponent:
    """What the inventory shall know about one machine."""

    name: str
    title: str
    type: str
    line: str
    labels: dict[str, str]
    attributes: dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetMetric:
    """What the inventory shall know about a metric; with a component, what differs for that one."""

    name: str
    title: str
    component: str | None
    attributes: MetricAttributes


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """All machines: names, places and traits. Arrays are shaped (components,).

    Args:
        names: Component names, in the order of `machines`.
        type_codes: Positions in TYPES.
        line_codes: Number of the line, from 0.
        is_wireless: Has a battery powered sensor that buffers and redelivers.
        machines: Traits as columns.
        rollover_row: The conveyor with the 16-bit counter; None in a plant without conveyors.
    """

    names: tuple[str, ...]
    type_codes: Ints
    line_codes: Ints
    is_wireless: NDArray[np.bool_]
    machines: Machines
    rollover_row: int | None

    def rows_of(self, signal: Signal) -> Ints:
        """Return the positions of the machines that have this metric."""
        has_type = np.isin(self.type_codes, [TYPES.index(name) for name in signal.types])
        if signal.is_wireless_only:
            has_type &= self.is_wireless
        return np.flatnonzero(has_type)

    def resets_weekly(self, rows: Ints) -> NDArray[np.bool_]:
        """Return which counters the crew sets to zero on Monday morning: every other machine, never the 16-bit one."""
        chosen: NDArray[np.bool_] = rows % 2 == 1
        if self.rollover_row is not None:
            chosen &= rows != self.rollover_row
        return chosen


def build_plant(component_count: int, *, days: float, seed: int) -> Plant:
    """Return the plant of this size; the period matters only to wear and to the 16-bit counter's rate."""
    number = np.arange(component_count, dtype=np.int64)
    type_codes = np.array([TYPES.index(name) for name in TYPE_PATTERN], dtype=np.int64)[number % len(TYPE_PATTERN)]
    lines = min(max(-(-component_count // COMPONENTS_PER_LINE), 1), MOST_LINES)
    conveyors = np.flatnonzero(type_codes == TYPES.index("conveyor"))
    rollover_row = int(conveyors[0]) if len(conveyors) else None
    machines = _machines(number, type_codes, days=days, seed=seed)
    if rollover_row is not None:
        # Slow enough that the counter rolls over once in the period: conveyors run at about 45 % of full load.
        slow = min(machines.parts_per_hour[rollover_row], 100_000 / (days * 24))
        machines.parts_per_hour[rollover_row] = slow
    return Plant(
        names=_names(type_codes),
        type_codes=type_codes,
        line_codes=number * lines // component_count,
        is_wireless=(number % 4 == 1),
        machines=machines,
        rollover_row=rollover_row,
    )


def _names(type_codes: Ints) -> tuple[str, ...]:
    """Return `pump-001`, `conveyor-001`, `pump-002`, ...: counted per type."""
    digits = max(3, len(str(len(type_codes))))
    seen = dict.fromkeys(range(len(TYPES)), 0)
    names = []
    for code in type_codes.tolist():
        seen[code] += 1
        names.append(f"{TYPES[code]}-{seen[code]:0{digits}d}")
    return tuple(names)


def _machines(number: Ints, type_codes: Ints, *, days: float, seed: int) -> Machines:
    def trait(position: int) -> Floats:
        stream = signals.STREAM_TRAIT * 10_000 + position
        return signals.uniform(signals.stream_bases(seed, stream, number))

    columns = {
        name: np.array(typical)[type_codes] * (1 - SPREAD + 2 * SPREAD * trait(position))
        for position, (name, typical) in enumerate(TYPICAL.items())
    }
    wear_share = np.where(trait(len(TYPICAL)) < WORN_SHARE, LATE_WEAR, NORMAL_WEAR)
    return Machines(
        seed=seed,
        number=number,
        is_shift_bound=type_codes == TYPES.index("conveyor"),
        wear_per_day=columns["vibration_mm_s"] * wear_share / days,
        **columns,
    )


def describe_components(plant: Plant) -> list[FleetComponent]:
    """Return what the inventory shall know about each machine."""
    return [_describe(plant, row) for row in range(len(plant.names))]


def _describe(plant: Plant, row: int) -> FleetComponent:
    kind = TYPES[int(plant.type_codes[row])]
    number = plant.names[row].rpartition("-")[2]
    titles = TITLES[kind]
    line = f"line-{int(plant.line_codes[row]) + 1}"
    bits = int(signals.stream_bases(plant.machines.seed, signals.STREAM_TRAIT, np.array([row]))[0])
    vendor = VENDORS[bits % len(VENDORS)]
    return FleetComponent(
        name=plant.names[row],
        title=f"{titles[bits // 8 % len(titles)]} {int(number)}",
        type=kind,
        line=line,
        labels={
            "building": "AB"[int(plant.line_codes[row]) % 2],
            "criticality": "high" if bits // 64 % 5 == 0 else "normal",
            "connection": "wireless" if plant.is_wireless[row] else "wired",
        },
        attributes={
            "vendor": vendor,
            "serial_number": f"{vendor[:2].upper()}-{bits % 900_000 + 100_000}",
            "rated_power_kw": round(float(plant.machines.power_kw[row]), 1),
        },
    )


def describe_metrics(plant: Plant, *, interval_s: int) -> list[FleetMetric]:
    """Return each metric, then the limits and the modulus that belong to single components."""
    metrics = [_project_metric(signal, interval_s) for signal in SIGNALS if len(plant.rows_of(signal))]
    for code, signal in enumerate(SIGNALS):
        base = _project_metric(signal, interval_s).attributes
        for row in plant.rows_of(signal).tolist():
            own = _own_attributes(plant, code, row, base)
            if own is not None:
                metrics.append(
                    FleetMetric(name=signal.name, title=signal.title, component=plant.names[row], attributes=own)
                )
    return metrics


LOWEST_BATTERY_PERCENT = 15.0
LOWEST_RSSI_DBM = -92.0
PARTS_PER_S_LIMIT = 2.0  # no belt of the plant moves more; a steeper step is a glitch


def _project_metric(signal: Signal, interval_s: int) -> FleetMetric:
    lowest = {"battery_level": LOWEST_BATTERY_PERCENT, "rssi": LOWEST_RSSI_DBM}.get(signal.name)
    attributes = MetricAttributes(
        kind=signal.kind,
        unit=signal.unit,
        lsl=lowest,
        nominal_interval_s=float(interval_s * signal.every),
        max_rate=PARTS_PER_S_LIMIT if signal.name == "parts_total" else None,
        state_classes=dict(STATE_CLASSES if signal.kind is MetricKind.STATE else DEFAULT_STATE_CLASSES),
    )
    return FleetMetric(name=signal.name, title=signal.title, component=None, attributes=attributes)


def _own_attributes(plant: Plant, code: int, row: int, base: MetricAttributes) -> MetricAttributes | None:
    """Return the attributes of one series where they differ from the metric's: limits around its own normal values."""
    traits = plant.machines
    lsl, usl, target, rollover_at = base.lsl, base.usl, base.target, base.rollover_at
    match SIGNALS[code].name:
        case "temperature":
            rise = float(traits.temperature_rise[row])
            target = round(float(traits.temperature_base[row]) + 0.6 * rise, 1)
            lsl, usl = round(target - 0.75 * rise - 2, 1), round(target + 0.45 * rise + 1.2, 1)
        case "pressure":
            target = round(float(traits.pressure_bar[row]) * 0.96, 2)
            lsl, usl = round(target * 0.85, 2), round(target * 1.12, 2)
        case "vibration":
            usl = round(float(traits.vibration_mm_s[row]) * 1.6, 2)
        case "parts_total" if row == plant.rollover_row:
            rollover_at = float(ROLLOVER_AT)
        case _:
            return None
    return MetricAttributes(
        kind=base.kind,
        unit=base.unit,
        lsl=lsl,
        usl=usl,
        target=target,
        nominal_interval_s=base.nominal_interval_s,
        max_rate=base.max_rate,
        rollover_at=rollover_at,
        state_classes=base.state_classes,
    )


def is_reset_tick(scene: Scene) -> NDArray[np.bool_]:
    """Return at which ticks a new week of counting begins (Monday 06:00), shaped (ticks,)."""
    since = scene.window.at_s - signals.MONDAY_OFFSET_S - signals.SHIFT_HOURS[0] * HOUR_S
    week_s = 7 * signals.DAY_S
    return np.asarray(since // week_s != (since - scene.window.step_s) // week_s, dtype=np.bool_)
