"""The demo fleet: a plant's measurements and events, as they would be delivered, dirt included."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gaugehouse.demo import dirt, happenings, signals
from gaugehouse.demo.dirt import Mishaps
from gaugehouse.demo.plant import (
    PARTS_CODE,
    ROLLOVER_AT,
    SIGNALS,
    TEMPERATURE_CODE,
    FleetComponent,
    FleetMetric,
    Plant,
    build_plant,
    describe_components,
    describe_metrics,
    is_reset_tick,
)
from gaugehouse.demo.signals import Floats, Ints, Scene, Window
from gaugehouse.errors import Refused
from gaugehouse.measurements.schema import MEASUREMENT_BATCH, QUALITY_BAD, QUALITY_GOOD, QUALITY_UNCERTAIN
from gaugehouse.measurements.selection import to_epoch_us

MICROSECONDS_PER_S = 1_000_000
BATCH_ROWS = 50_000
WINDOW_ROWS = 250_000  # rows generated at once: some tens of megabytes
LONGEST_JITTER_S = 2  # radio sensors read a little before the full tick

DEFAULT_COMPONENTS = 100
DEFAULT_DAYS = 62.0  # covers the whole of last month on any day
DEFAULT_INTERVAL_S = 1_800  # with 62 days: 10,000 measurements and more of each component, a million of all


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverySummary:
    """What a receiver must count when it took every delivery of a plan.

    Args:
        rows: Rows delivered.
        distinct: Rows stored: distinct keys.
        duplicates: Rows delivered again with the same value.
        conflicts: Rows delivered again with another value.
    """

    rows: int
    distinct: int
    duplicates: int
    conflicts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """Some rows as columns; `delivered` is the tick of arrival."""

    component: NDArray[np.int32]
    metric: NDArray[np.int32]
    measured_at_us: Ints
    value: Floats
    quality: NDArray[np.uint8]
    delivered: Ints

    def __len__(self) -> int:
        return len(self.delivered)

    def take(self, rows: Ints | NDArray[np.bool_]) -> "_Rows":
        return _Rows(**{name: getattr(self, name)[rows] for name in self.__slots__})

    @staticmethod
    def concatenate(parts: "list[_Rows]") -> "_Rows":
        return _Rows(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in _Rows.__slots__})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Born:
    """The rows that were measured in one window, redeliveries included, and how many of them are such."""

    rows: _Rows
    duplicates: int
    conflicts: int


class _Meter:
    """Running totals of the counters of one metric, carried from window to window."""

    def __init__(self, totals: Ints, resets: NDArray[np.bool_], modulus: Ints) -> None:
        self._totals = totals
        self._resets = resets
        self._modulus = modulus

    def advance(self, increments: Ints, is_reset: NDArray[np.bool_]) -> Ints:
        """Return the counter after each tick; a reset happens before the parts of its tick are counted."""
        reached = increments.cumsum(axis=1) + self._totals[:, None]
        at_reset = np.where(self._resets[:, None] & is_reset[None, :], reached - increments, 0)
        counted = reached - np.maximum.accumulate(at_reset, axis=1)
        self._totals = counted[:, -1].copy()
        return np.asarray(counted % self._modulus[:, None], dtype=np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetPlan:
    """A demo plant over a period that ends now. The same plan and `now` give the same bytes.

    Args:
        component_count: Machines.
        days: Length of the period. [d]
        interval_s: Time between two readings of the fastest metrics. [s]
        seed: Another seed is another plant.
    """

    component_count: int = DEFAULT_COMPONENTS
    days: float = DEFAULT_DAYS
    interval_s: int = DEFAULT_INTERVAL_S
    seed: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.component_count <= 1_000_000:
            raise Refused(f"a demo fleet has 1 to 1,000,000 components, not {self.component_count}")
        if not 1 <= self.interval_s <= signals.DAY_S:
            raise Refused(f"the interval of a demo fleet is 1 s to a day, not {self.interval_s} s")
        if not 0 < self.days <= 3_660 or self.tick_count < 1:
            raise Refused(f"a demo fleet covers at least one interval and at most ten years, not {self.days} days")

    @property
    def tick_count(self) -> int:
        """Readings of the fastest metrics."""
        return int(self.days * signals.DAY_S / self.interval_s)

    @property
    def estimated_rows(self) -> int:
        """About how many rows are delivered: known without generating them, for a progress bar."""
        plant = self.plant
        return sum(self.tick_count // signal.every * len(plant.rows_of(signal)) for signal in SIGNALS)

    @property
    def plant(self) -> Plant:
        """The machines."""
        return build_plant(self.component_count, days=self.days, seed=self.seed)

    def last_tick(self, now: datetime) -> int:
        """Return the number of the newest tick: `now` in whole intervals since 1970."""
        return to_epoch_us(now) // (self.interval_s * MICROSECONDS_PER_S)

    def components(self) -> list[FleetComponent]:
        """Return what the inventory shall know about each machine."""
        return describe_components(self.plant)

    def metrics(self) -> list[FleetMetric]:
        """Return each metric, then limits and moduli of single components."""
        return describe_metrics(self.plant, interval_s=self.interval_s)

    def deliveries(self, now: datetime) -> Iterator[pa.Table]:
        """Yield the measurements in the order of their arrival, as batches of up to 50,000 rows.

        Args:
            now: End of the period, floored to the interval.

        Yields:
            MEASUREMENT_BATCH: one row per delivered reading; late and repeated rows among newer ones.
        """
        generator = _Generator(self, now)
        waiting: list[_Rows] = []
        for window in generator.windows():
            rows = _Rows.concatenate([*waiting, generator.bear(window).rows])
            arrived = rows.delivered <= window.ticks[-1]
            waiting = [rows.take(~arrived)]
            due = rows.take(arrived)
            in_order = due.take(np.argsort(due.delivered, kind="stable"))
            yield from generator.encode(in_order)

    def expected(self, now: datetime) -> DeliverySummary:
        """Return what a receiver must count after all of `deliveries(now)`."""
        generator = _Generator(self, now)
        rows = duplicates = conflicts = 0
        for window in generator.windows():
            born = generator.bear(window)
            rows += len(born.rows)
            duplicates += born.duplicates
            conflicts += born.conflicts
        distinct = rows - duplicates - conflicts
        return DeliverySummary(rows=rows, distinct=distinct, duplicates=duplicates, conflicts=conflicts)

    def events(self, now: datetime) -> pa.Table:
        """Return the plant's events up to `now` as EVENT_BATCH in the order of their instants.

        Kinds: `failure`, `alarm`, `maintenance`, `firmware`, `connection_lost`, `connection_restored`.
        """
        generator = _Generator(self, now)
        last_s = generator.last_tick * self.interval_s
        return happenings.list_events(
            generator.plant,
            generator.mishaps,
            start_s=last_s - (self.tick_count - 1) * self.interval_s,
            end_s=last_s,
            interval_s=self.interval_s,
        )


class _Generator:
    """One walk through the period of a plan: the meters' totals are its only state."""

    def __init__(self, plan: FleetPlan, now: datetime) -> None:
        self.plan = plan
        self.plant = plan.plant
        self.last_tick = plan.last_tick(now)
        self.first_tick = self.last_tick - plan.tick_count + 1
        if self.first_tick * plan.interval_s < signals.DAY_S:
            raise Refused("a demo fleet cannot begin before 1970-01-02")
        self.mishaps: Mishaps = dirt.plan_mishaps(
            self.plant, first_tick=self.first_tick, tick_count=plan.tick_count, interval_s=plan.interval_s
        )
        self._rows_of = [self.plant.rows_of(signal) for signal in SIGNALS]
        self._meters = {
            code: self._start_meter(code) for code, signal in enumerate(SIGNALS) if signal.increments is not None
        }
        self._stuck_values = [self._level_of(stuck.row, stuck.span.start_tick) for stuck in self.mishaps.stuck]
        self._names = pa.array(self.plant.names, pa.string())
        self._metrics = pa.array([signal.name for signal in SIGNALS], pa.string())

    def windows(self) -> Iterator[Window]:
        """Yield the period as consecutive windows of about WINDOW_ROWS rows."""
        rows_per_tick = sum(len(rows) / SIGNALS[code].every for code, rows in enumerate(self._rows_of))
        length = max(1, int(WINDOW_ROWS / rows_per_tick))
        for start in range(self.first_tick, self.last_tick + 1, length):
            yield self._window(start, min(start + length, self.last_tick + 1))

    def bear(self, window: Window) -> _Born:
        """Return what is measured in the window; windows must come in order, because counters count."""
        scene = signals.look(self.plant.machines, window)
        is_lost = dirt.is_lost(self.plant, self.mishaps, window.ticks)
        waits = dirt.buffered_ticks(self.plant, window.ticks)
        jitter_us = self._jitter_us(window)
        parts: list[_Rows] = []
        duplicates: list[_Rows] = []
        for code, rows in enumerate(self._rows_of):
            part = scene.take(rows, every=SIGNALS[code].every, last_tick=self.last_tick)
            if not len(rows) or not len(part.window.ticks):
                continue
            cells = np.ix_(rows, part.window.ticks - window.ticks[0])
            measured, repeated = self._measure(code, part, ~is_lost[cells], waits[cells], jitter_us[cells])
            parts.append(measured)
            duplicates.append(repeated)
        conflicts = self._contradict(parts[0], window) if parts else []
        every_row = _Rows.concatenate([*parts, *duplicates, *conflicts])
        return _Born(
            rows=every_row,
            duplicates=sum(len(part) for part in duplicates),
            conflicts=sum(len(part) for part in conflicts),
        )

    def encode(self, rows: _Rows) -> Iterator[pa.Table]:
        """Yield the rows as batches; all share one dictionary of names."""
        columns = [
            pa.DictionaryArray.from_arrays(pa.array(rows.component), self._names),
            pa.DictionaryArray.from_arrays(pa.array(rows.metric), self._metrics),
            pa.array(rows.measured_at_us, pa.timestamp("us", tz="UTC")),
            pa.array(rows.value, mask=rows.quality == QUALITY_BAD),
            pa.array(rows.quality),
        ]
        table = pa.Table.from_arrays(columns, schema=MEASUREMENT_BATCH)
        for offset in range(0, len(table), BATCH_ROWS):
            yield table.slice(offset, BATCH_ROWS)

    def _window(self, start_tick: int, end_tick: int) -> Window:
        return Window(
            ticks=np.arange(start_tick, end_tick, dtype=np.int64),
            interval_s=self.plan.interval_s,
            start_s=self.first_tick * self.plan.interval_s,
            step_s=self.plan.interval_s,
        )

    def _measure(
        self, code: int, scene: Scene, arrives: NDArray[np.bool_], waits: Ints, jitter_us: Ints
    ) -> tuple[_Rows, _Rows]:
        """Return the rows of one metric that arrive, and those of them that arrive twice."""
        machines, ticks = scene.machines, scene.window.ticks
        fates = dirt.decide_fates(machines, self.plant.is_wireless[machines.number], ticks, metric_code=code)
        values = self._values(code, scene)
        quality = np.where(fates.is_bad, QUALITY_BAD, np.where(fates.is_uncertain, QUALITY_UNCERTAIN, QUALITY_GOOD))
        machine, column = np.nonzero(arrives)
        cells = (machine, column)
        delivered = np.minimum(ticks[column] + waits[cells] + fates.late_ticks[cells], self.last_tick)
        rows = _Rows(
            component=machines.number[machine].astype(np.int32),
            metric=np.full(len(machine), code, dtype=np.int32),
            measured_at_us=scene.window.at_s[column] * MICROSECONDS_PER_S - jitter_us[cells],
            value=values[cells],
            quality=quality[cells].astype(np.uint8),
            delivered=delivered,
        )
        again = np.flatnonzero(fates.is_duplicate[cells])
        redelivered = np.minimum(delivered + fates.redelivery_ticks[cells], self.last_tick)
        return rows, _deliver_at(rows.take(again), redelivered[again])

    def _values(self, code: int, scene: Scene) -> Floats:
        signal = SIGNALS[code]
        stream = signals.STREAM_METRIC + code
        if signal.increments is not None:
            counted = self._meters[code].advance(signal.increments(scene, stream), is_reset_tick(scene))
            return np.asarray(counted / signal.steps_per_unit, dtype=np.float64)
        if signal.level is None:
            raise ValueError(f"signal {signal.name} has neither level nor increments")
        values = signal.level(scene, stream)
        if code == TEMPERATURE_CODE:
            for stuck, value in zip(self.mishaps.stuck, self._stuck_values, strict=True):
                ticks = scene.window.ticks
                values[stuck.row, (ticks >= stuck.span.start_tick) & (ticks < stuck.span.end_tick)] = value
        return values

    def _level_of(self, row: int, tick: int) -> float:
        """Return the temperature of one machine at one tick."""
        scene = signals.look(self.plant.machines.take(np.array([row])), self._window(tick, tick + 1))
        return float(signals.temperature(scene, signals.STREAM_METRIC + TEMPERATURE_CODE)[0, 0])

    def _contradict(self, temperatures: _Rows, window: Window) -> list[_Rows]:
        """Return one more row, with another value, for each conflict that was planned for this window."""
        is_here = (self.mishaps.conflict_ticks >= window.ticks[0]) & (self.mishaps.conflict_ticks <= window.ticks[-1])
        found = []
        interval_us = self.plan.interval_s * MICROSECONDS_PER_S
        ticks = -(-temperatures.measured_at_us // interval_us)  # jitter reads before the tick
        pairs = zip(self.mishaps.conflict_rows[is_here], self.mishaps.conflict_ticks[is_here], strict=True)
        for row, tick in pairs:
            first = temperatures.take(np.flatnonzero((temperatures.component == row) & (ticks == tick)))
            other = _deliver_at(first, np.minimum(first.delivered + 2, self.last_tick))
            other.value[:] += dirt.CONFLICT_OFFSET
            found.append(other)
        return found

    def _jitter_us(self, window: Window) -> Ints:
        """Return how long before the full tick each radio sensor reads, shaped (machines, ticks). [us]"""
        jitter = np.zeros((len(self.plant.machines), len(window.ticks)), dtype=np.int64)
        rows = np.flatnonzero(self.plant.is_wireless)
        bases = signals.stream_bases(self.plan.seed, signals.STREAM_JITTER, self.plant.machines.number[rows])
        longest_ms = min(LONGEST_JITTER_S * 1000, self.plan.interval_s * 1000 // 4)
        drawn_ms = (signals.cell_bits(bases, window.ticks) % np.uint64(longest_ms)).astype(np.int64)
        jitter[rows] = drawn_ms * 1000
        return jitter

    def _start_meter(self, code: int) -> _Meter:
        rows = self._rows_of[code]
        machines = self.plant.machines.take(rows)
        stream = signals.STREAM_METRIC + code
        draws = signals.stream_bases(self.plan.seed, stream + 2_000, machines.number)
        totals = (draws % np.uint64(40_000)).astype(np.int64)
        modulus = np.full(len(rows), np.iinfo(np.int64).max, dtype=np.int64)
        if code == PARTS_CODE and self.plant.rollover_row is not None:
            short = int(np.flatnonzero(rows == self.plant.rollover_row)[0])
            modulus[short] = ROLLOVER_AT
            totals[short] = ROLLOVER_AT - max(1, self._parts_of_period(self.plant.rollover_row) * 6 // 10)
        resets = self.plant.resets_weekly(rows) & (code == PARTS_CODE)
        return _Meter(totals, resets, modulus)

    def _parts_of_period(self, row: int) -> int:
        """Return how many parts one conveyor moves in the whole period."""
        machine = self.plant.machines.take(np.array([row]))
        stream = signals.STREAM_METRIC + PARTS_CODE
        edges = [*range(self.first_tick, self.last_tick + 1, WINDOW_ROWS), self.last_tick + 1]
        scenes = (signals.look(machine, self._window(start, end)) for start, end in itertools.pairwise(edges))
        return sum(int(signals.parts_made(scene, stream).sum()) for scene in scenes)


def _deliver_at(rows: _Rows, delivered: Ints) -> _Rows:
    """Return copies of the rows that arrive at other ticks."""
    columns = {name: getattr(rows, name) for name in rows.__slots__ if name != "delivered"}
    return _Rows(delivered=delivered, **columns)


def floor_to_interval(now: datetime, *, interval_s: int) -> datetime:
    """Return the newest full tick: the instant at which a plan's period ends."""
    return now - timedelta(microseconds=to_epoch_us(now) % (interval_s * MICROSECONDS_PER_S))
