"""What the machines of the demo plant would show: shapes, drift and noise as functions of (seed, machine, tick).

Every number comes from a hash of its own coordinates, not from a random stream. So any window of time can be
generated alone, a value never depends on how the period was cut into windows, and the same seed gives the same plant.
Arrays are shaped (machines, ticks) unless a line says otherwise.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bits = NDArray[np.uint64]

HOUR_S = 3_600
DAY_S = 86_400
MONDAY_OFFSET_S = 4 * DAY_S  # 1970-01-05 was a Monday
GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # SplitMix64, Steele, Lea, Flood 2014

STATE_DOWN = 0.0
STATE_RUNNING = 1.0
STATE_PLANNED = 2.0
STATE_IDLE = 3.0

FAILURE_SLOT_S = 4 * DAY_S
FAILURE_SHARE = 0.22  # of (machine, slot) pairs: MTBF about 18 days
FAILURE_LONGEST_S = 8 * HOUR_S
MAINTENANCE_SLOT_S = 14 * DAY_S
MAINTENANCE_LENGTH_S = 3 * HOUR_S

# Streams: what a hash is for. Two uses of one stream would be correlated.
STREAM_TRAIT = 1
STREAM_FAILURE = 2
STREAM_MAINTENANCE = 3
STREAM_FATE = 4
STREAM_GAP = 5
STREAM_BUFFER = 6
STREAM_CONFLICT = 7
STREAM_JITTER = 8
STREAM_FIRMWARE = 9
STREAM_STUCK = 10
STREAM_METRIC = 100  # + metric code

WEEKDAY_FACTOR = np.array([1.0, 1.04, 1.05, 1.02, 0.94, 0.62, 0.45])  # Monday first
SHIFT_HOURS = (6, 22)  # conveyors work two shifts from Monday to Friday and the early one on Saturday


def mix(bits: Bits) -> Bits:
    """Return SplitMix64's finalizer of each element: every input bit moves every output bit."""
    mixed = bits ^ (bits >> np.uint64(30))
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def stream_bases(seed: int, stream: int, machines: Ints) -> Bits:
    """Return one starting point per machine, shaped (machines,), for `cell_bits` of this stream."""
    key = np.array([(seed * 0x632BE59BD9B4E019 + stream * 0xD1B54A32D192ED03) & 0xFFFF_FFFF_FFFF_FFFF], dtype=np.uint64)
    return mix(mix(key) + machines.astype(np.uint64) * GOLDEN)


def cell_bits(bases: Bits, cells: Ints) -> Bits:
    """Return 64 independent bits for every (machine, cell), cells being ticks or slots."""
    return mix(bases[:, None] + (cells.astype(np.uint64) * GOLDEN)[None, :])


def uniform(bits: Bits) -> Floats:
    """Return floats in [0, 1) from the upper 53 bits."""
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def gaussian(bits: Bits) -> Floats:
    """Return nearly normal floats, mean 0, deviation 1: the sum of four 16-bit numbers, never beyond 3.5 deviations."""
    quarters = np.ascontiguousarray(bits).view(np.uint16).reshape(*bits.shape, 4)
    total = quarters.sum(axis=-1, dtype=np.int64)
    return np.asarray((total - 131_070) / 37_837.2, dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Some ticks of the period, ascending.

    Args:
        ticks: Number of the tick since 1970 (instant / interval). int64, shaped (ticks,).
        interval_s: Time between two ticks. [s]
        start_s: First instant of the whole period, where drift is zero. [s since 1970]
        step_s: Time between two samples, a multiple of the interval. [s]
    """

    ticks: Ints
    interval_s: int
    start_s: int
    step_s: int

    @property
    def at_s(self) -> Ints:
        """Instants of the ticks. [s since 1970]"""
        return self.ticks * np.int64(self.interval_s)

    @property
    def age_days(self) -> Floats:
        """Time since the start of the period. [d]"""
        return np.asarray((self.at_s - self.start_s) / DAY_S, dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machines:
    """Traits of some machines as columns, each shaped (machines,).

    Args:
        seed: Seed of the plant.
        number: Position of the machine in the plant, from 0.
        is_shift_bound: Works only during shifts (conveyors).
        temperature_base: Temperature at no load. [Cel]
        temperature_rise: Further rise at full load. [K]
        pressure_bar: Pressure at full load. [bar]
        vibration_mm_s: Vibration at full load. [mm/s]
        wear_per_day: Growth of vibration. [mm/s/d]
        flow_m3_h: Flow at full load. [m3/h]
        power_kw: Power at full load. [kW]
        speed_m_s: Belt speed. [m/s]
        parts_per_hour: Parts at full load. [1/h]
        battery_life_days: Full to empty. [d]
    """

    seed: int
    number: Ints
    is_shift_bound: NDArray[np.bool_]
    temperature_base: Floats
    temperature_rise: Floats
    pressure_bar: Floats
    vibration_mm_s: Floats
    wear_per_day: Floats
    flow_m3_h: Floats
    power_kw: Floats
    speed_m_s: Floats
    parts_per_hour: Floats
    battery_life_days: Floats

    def __len__(self) -> int:
        """Return how many machines these are."""
        return len(self.number)

    def take(self, rows: Ints) -> "Machines":
        """Return the machines at these positions."""
        columns = {name: getattr(self, name)[rows] for name in self.__slots__ if name != "seed"}
        return Machines(seed=self.seed, **columns)


def daily_shape(at_s: Ints) -> Floats:
    """Return the plant's daily curve, shaped (ticks,): 0 at four in the morning, 1 at four in the afternoon. [1]"""
    return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * (at_s % DAY_S - 4 * HOUR_S) / DAY_S), dtype=np.float64)


def weekday(at_s: Ints) -> Ints:
    """Return the day of the week, shaped (ticks,), Monday = 0."""
    return (at_s - MONDAY_OFFSET_S) // DAY_S % 7


def load_share(at_s: Ints) -> Floats:
    """Return how busy the plant is, shaped (ticks,): daily curve times weekday. [1]"""
    return np.asarray((0.45 + 0.5 * daily_shape(at_s)) * WEEKDAY_FACTOR[weekday(at_s)], dtype=np.float64)


def failures(machines: Machines, slots: Ints) -> tuple[NDArray[np.bool_], Ints, Ints]:
    """Return per (machine, slot of `FAILURE_SLOT_S`) whether it fails there, from when and for how long. [s]"""
    bits = cell_bits(stream_bases(machines.seed, STREAM_FAILURE, machines.number), slots)
    fails = uniform(bits) < FAILURE_SHARE
    offset = uniform(mix(bits + GOLDEN)) * (FAILURE_SLOT_S - FAILURE_LONGEST_S)
    length = 0.1 + 0.9 * uniform(mix(bits + GOLDEN + GOLDEN)) ** 2  # most failures are short
    starts = slots[None, :] * FAILURE_SLOT_S + offset.astype(np.int64)
    return fails, starts, (length * FAILURE_LONGEST_S).astype(np.int64)


def maintenance_starts(machines: Machines, slots: Ints) -> Ints:
    """Return when planned maintenance begins per (machine, fortnight): a weekday at a full hour in the morning. [s]"""
    bits = cell_bits(stream_bases(machines.seed, STREAM_MAINTENANCE, machines.number), slots)
    day = (bits % np.uint64(10)).astype(np.int64)
    hour = 6 + (bits >> np.uint64(32)).astype(np.int64) % 5
    return MONDAY_OFFSET_S + slots[None, :] * MAINTENANCE_SLOT_S + (day + day // 5 * 2) * DAY_S + hour * HOUR_S


def running_state(machines: Machines, at_s: Ints) -> Floats:
    """Return the state codes: running, idle outside shifts, planned maintenance, down after a failure (strongest)."""
    hour = at_s % DAY_S // HOUR_S
    day = weekday(at_s)
    last_hour = np.where(day == 5, 14, SHIFT_HOURS[1])
    in_shift = (hour >= SHIFT_HOURS[0]) & (hour < last_hour) & (day != 6)
    state = np.where(machines.is_shift_bound[:, None] & ~in_shift[None, :], STATE_IDLE, STATE_RUNNING)

    slots, slot_of_tick = np.unique((at_s - MONDAY_OFFSET_S) // MAINTENANCE_SLOT_S, return_inverse=True)
    since_start = at_s[None, :] - maintenance_starts(machines, slots)[:, slot_of_tick]
    state[(since_start >= 0) & (since_start < MAINTENANCE_LENGTH_S)] = STATE_PLANNED

    slots, slot_of_tick = np.unique(at_s // FAILURE_SLOT_S, return_inverse=True)
    fails, starts, lengths = failures(machines, slots)
    since_failure = at_s[None, :] - starts[:, slot_of_tick]
    state[fails[:, slot_of_tick] & (since_failure >= 0) & (since_failure < lengths[:, slot_of_tick])] = STATE_DOWN
    return state


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Some machines during a window, with what all their signals depend on.

    Args:
        machines: The machines.
        window: The ticks.
        state: State code per (machine, tick).
        load: The machine's load per (machine, tick), 0 while it does not run. [1]
    """

    machines: Machines
    window: Window
    state: Floats
    load: Floats

    def take(self, rows: Ints, *, every: int, last_tick: int) -> "Scene":
        """Return some of the machines, sampled at every n-th tick counted back from the last one of the period."""
        columns = np.flatnonzero((last_tick - self.window.ticks) % every == 0)
        window = Window(
            ticks=self.window.ticks[columns],
            interval_s=self.window.interval_s,
            start_s=self.window.start_s,
            step_s=self.window.interval_s * every,
        )
        cells = np.ix_(rows, columns)
        return Scene(machines=self.machines.take(rows), window=window, state=self.state[cells], load=self.load[cells])


def look(machines: Machines, window: Window) -> Scene:
    """Return what the machines do during the window."""
    state = running_state(machines, window.at_s)
    load = (state == STATE_RUNNING) * load_share(window.at_s)[None, :]
    return Scene(machines=machines, window=window, state=state, load=load)


def _noise(scene: Scene, stream: int) -> Floats:
    return gaussian(cell_bits(stream_bases(scene.machines.seed, stream, scene.machines.number), scene.window.ticks))


def _wander(scene: Scene, stream: int) -> Floats:
    """Return a slow wave of a few days between -1 and 1, its length and phase a trait of the series."""
    bits = stream_bases(scene.machines.seed, stream + 1_000, scene.machines.number)
    period_s = DAY_S * (2.3 + 4.0 * uniform(bits))
    phase = uniform(mix(bits + GOLDEN))
    return np.asarray(
        np.sin(2 * np.pi * (scene.window.at_s[None, :] / period_s[:, None] + phase[:, None])), dtype=np.float64
    )


def temperature(scene: Scene, stream: int) -> Floats:
    """Return temperatures: base, weather, rise by load, slow wave and noise. [Cel]"""
    ambient = 2.5 * (daily_shape(scene.window.at_s) - 0.5)
    rise = scene.machines.temperature_rise[:, None]
    level = scene.machines.temperature_base[:, None] + ambient[None, :] + rise * scene.load
    drift = 0.01 * rise * np.sqrt(np.maximum(scene.window.age_days, 0.0))[None, :]
    swing = 0.03 * rise * _wander(scene, stream) + 0.02 * rise * _noise(scene, stream)
    return np.round(level + drift + swing, 1)


def pressure(scene: Scene, stream: int) -> Floats:
    """Return pressures: full while running, a rest pressure otherwise. [bar]"""
    share = np.where(scene.load > 0, 0.88 + 0.12 * scene.load, 0.15) + 0.008 * _wander(scene, stream)
    return np.round(scene.machines.pressure_bar[:, None] * (share + 0.006 * _noise(scene, stream)), 2)


def vibration(scene: Scene, stream: int) -> Floats:
    """Return vibration velocities: by load, growing with wear. [mm/s]"""
    wear = scene.machines.wear_per_day[:, None] * np.maximum(scene.window.age_days, 0.0)[None, :]
    level: Floats = np.where(
        scene.load > 0, scene.machines.vibration_mm_s[:, None] * (0.6 + 0.4 * scene.load) + wear, 0.05
    )
    return np.round(level * (1 + 0.06 * _noise(scene, stream)), 2)  # noise ends at 3.5 deviations: never negative


def flow(scene: Scene, stream: int) -> Floats:
    """Return flows, never negative. [m3/h]"""
    level = scene.machines.flow_m3_h[:, None] * scene.load
    spread = 1 + 0.03 * _noise(scene, stream) + 0.02 * _wander(scene, stream)
    return np.round(level * spread, 1)


def power(scene: Scene, stream: int) -> Floats:
    """Return electric power: standby 2 %, idle losses and load while running. [kW]"""
    share = np.where(scene.load > 0, 0.22 + 0.75 * scene.load, 0.02)
    return np.round(scene.machines.power_kw[:, None] * share * (1 + 0.02 * _noise(scene, stream)), 2)


def speed(scene: Scene, stream: int) -> Floats:
    """Return belt speeds: nominal while running, else 0. [m/s]"""
    is_running = scene.load > 0
    level = scene.machines.speed_m_s[:, None] * (1 + 0.01 * _noise(scene, stream))
    return np.round(is_running * level, 3)


def running(scene: Scene, stream: int) -> Floats:  # noqa: ARG001 (one signature for every signal)
    """Return state codes."""
    return scene.state


def battery_level(scene: Scene, stream: int) -> Floats:
    """Return the charge of a wireless sensor: falls linearly, back to 100 when the cell is changed. [%]"""
    phase = uniform(stream_bases(scene.machines.seed, stream, scene.machines.number))
    used = scene.window.at_s[None, :] / (DAY_S * scene.machines.battery_life_days[:, None]) + phase[:, None]
    return np.round(100.0 - 95.0 * (used % 1.0), 0)


def rssi(scene: Scene, stream: int) -> Floats:
    """Return radio signal strengths, worse while the hall is busy. [dBm]"""
    level = -62.0 - 14.0 * uniform(stream_bases(scene.machines.seed, stream, scene.machines.number))[:, None]
    return np.round(level - 6.0 * daily_shape(scene.window.at_s)[None, :] + 3.0 * _noise(scene, stream), 0)


def parts_made(scene: Scene, stream: int) -> Ints:
    """Return whole parts made in the interval that ends at each tick."""
    hours = scene.window.step_s / HOUR_S
    wanted = scene.machines.parts_per_hour[:, None] * hours * scene.load
    dither = uniform(cell_bits(stream_bases(scene.machines.seed, stream, scene.machines.number), scene.window.ticks))
    return np.floor(wanted * (0.9 + 0.2 * dither) + dither).astype(np.int64) * (wanted > 0)


def energy_used_wh(scene: Scene, stream: int) -> Ints:
    """Return whole watt hours used in the interval that ends at each tick: integers add up without rounding."""
    used_wh = power(scene, stream) * (1000 * scene.window.step_s / HOUR_S)
    return np.asarray(np.rint(used_wh), dtype=np.int64)
