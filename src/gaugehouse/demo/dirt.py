"""What goes wrong between a machine and the lake: gaps, an outage, buffering, redelivery, conflicts, a stuck sensor.

All of it is a function of (seed, machine, tick), like the signals.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gaugehouse.demo import signals
from gaugehouse.demo.plant import Plant
from gaugehouse.demo.signals import Bits, Ints, Machines

GAP_SLOT_TICKS = 96
GAP_SHARE = 0.3  # of (machine, slot) pairs hold a gap
GAP_LONGEST_TICKS = 6
BUFFER_SLOT_TICKS = 144
BUFFER_SHARE = 0.25  # of (wireless machine, slot) pairs: the radio is away and everything comes late, at once
BUFFER_LONGEST_TICKS = 24
OUTAGE_LONGEST_S = 9 * signals.HOUR_S
OUTAGE_TICKS_SHARE = 100  # at most one tick in so many
STUCK_LENGTH_S = 9 * signals.HOUR_S
STUCK_SENSORS = 3
CONFLICTS = 12
CONFLICT_CANDIDATES = 256
CONFLICT_OFFSET = 1.5  # what the second delivery says more
OUT_OF_ORDER_SHARE = 0.005
DUPLICATE_SHARE = 0.003
WIRELESS_DUPLICATE_SHARE = 0.012  # at-least-once radio
BAD_SHARE = 0.0005
UNCERTAIN_SHARE = 0.001
REDELIVERY_LONGEST_TICKS = 5
FIELD_RANGE = 65_536  # a fate is four independent 16-bit numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Half-open range of ticks."""

    start_tick: int
    end_tick: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stuck:
    """A temperature sensor that repeats its value: machine's row and when."""

    row: int
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Mishaps:
    """What is decided once for the whole period.

    Args:
        outage_line: Number of the line whose gateway is away, nothing of it arrives.
        outage: When.
        stuck: Stuck temperature sensors.
        conflict_rows: Machine per conflict, shaped (conflicts,).
        conflict_ticks: Tick per conflict: that temperature is delivered again with another value.
    """

    outage_line: int
    outage: Span
    stuck: tuple[Stuck, ...]
    conflict_rows: Ints
    conflict_ticks: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Fates:
    """What happens to each row of a metric. Arrays are shaped (machines, ticks).

    Args:
        late_ticks: How much later than its neighbours it is delivered (out of order).
        is_duplicate: It is delivered a second time.
        redelivery_ticks: How long after the first delivery.
        is_bad: Quality bad, no value.
        is_uncertain: Quality uncertain.
    """

    late_ticks: Ints
    is_duplicate: NDArray[np.bool_]
    redelivery_ticks: Ints
    is_bad: NDArray[np.bool_]
    is_uncertain: NDArray[np.bool_]


def spell_left(
    machines: Machines, ticks: Ints, *, stream: int, slot_ticks: int, share: float, longest_ticks: int
) -> Ints:
    """Return how many ticks a spell (gap, buffering) still lasts per (machine, tick); 0 outside spells.

    Each slot of `slot_ticks` holds at most one spell, entirely inside it.
    """
    slots, slot_of_tick = np.unique(ticks // slot_ticks, return_inverse=True)
    bits = signals.cell_bits(signals.stream_bases(machines.seed, stream, machines.number), slots)
    happens = signals.uniform(bits) < share
    draws = signals.mix(bits + signals.GOLDEN)
    length = 1 + (draws % np.uint64(longest_ticks)).astype(np.int64)
    offset = (draws >> np.uint64(32)).astype(np.int64) % (slot_ticks - longest_ticks)
    end = np.where(happens, slots[None, :] * slot_ticks + offset + length, 0)[:, slot_of_tick]
    left = end - ticks[None, :]
    return np.where((left > 0) & (left <= length[:, slot_of_tick]), left, 0)


def is_lost(plant: Plant, mishaps: Mishaps, ticks: Ints) -> NDArray[np.bool_]:
    """Return which readings never arrive, shaped (machines, ticks): gaps of one machine, the outage of one line."""
    left = spell_left(
        plant.machines,
        ticks,
        stream=signals.STREAM_GAP,
        slot_ticks=GAP_SLOT_TICKS,
        share=GAP_SHARE,
        longest_ticks=GAP_LONGEST_TICKS,
    )
    in_outage = (ticks >= mishaps.outage.start_tick) & (ticks < mishaps.outage.end_tick)
    is_on_line = plant.line_codes == mishaps.outage_line
    return np.asarray((left > 0) | (is_on_line[:, None] & in_outage[None, :]), dtype=np.bool_)


def buffered_ticks(plant: Plant, ticks: Ints) -> Ints:
    """Return how long each reading waits in the sensor, shaped (machines, ticks); wired machines never wait."""
    waits = np.zeros((len(plant.machines), len(ticks)), dtype=np.int64)
    rows = np.flatnonzero(plant.is_wireless)
    waits[rows] = spell_left(
        plant.machines.take(rows),
        ticks,
        stream=signals.STREAM_BUFFER,
        slot_ticks=BUFFER_SLOT_TICKS,
        share=BUFFER_SHARE,
        longest_ticks=BUFFER_LONGEST_TICKS,
    )
    return waits


def decide_fates(machines: Machines, is_wireless: NDArray[np.bool_], ticks: Ints, *, metric_code: int) -> Fates:
    """Return the fate of each row of one metric."""
    stream = signals.STREAM_FATE * 10_000 + metric_code
    bits = signals.cell_bits(signals.stream_bases(machines.seed, stream, machines.number), ticks)
    fields = bits.view(np.uint16).reshape(*bits.shape, 4)
    duplicate_below = np.where(is_wireless, WIRELESS_DUPLICATE_SHARE, DUPLICATE_SHARE) * FIELD_RANGE
    delays: Bits = fields[..., 3].astype(np.uint64)
    return Fates(
        late_ticks=np.where(fields[..., 0] < OUT_OF_ORDER_SHARE * FIELD_RANGE, 1 + delays % np.uint64(3), 0).astype(
            np.int64
        ),
        is_duplicate=fields[..., 1] < duplicate_below[:, None],
        redelivery_ticks=1 + (delays // np.uint64(8) % np.uint64(REDELIVERY_LONGEST_TICKS)).astype(np.int64),
        is_bad=fields[..., 2] < BAD_SHARE * FIELD_RANGE,
        is_uncertain=fields[..., 2] >= (1 - UNCERTAIN_SHARE) * FIELD_RANGE,
    )


def plan_mishaps(plant: Plant, *, first_tick: int, tick_count: int, interval_s: int) -> Mishaps:
    """Decide the outage, the stuck sensors and the conflicts of a period of `tick_count` ticks."""
    seed = plant.machines.seed
    outage_ticks = min(OUTAGE_LONGEST_S // interval_s, -(-tick_count // OUTAGE_TICKS_SHARE)) if tick_count > 20 else 0
    outage_start = first_tick + tick_count * 55 // 100
    outage = Span(start_tick=outage_start, end_tick=outage_start + outage_ticks)
    without_conflicts = Mishaps(
        outage_line=int(plant.line_codes[-1]) // 2,
        outage=outage,
        stuck=_stuck_sensors(plant, first_tick=first_tick, tick_count=tick_count, interval_s=interval_s),
        conflict_rows=np.empty(0, dtype=np.int64),
        conflict_ticks=np.empty(0, dtype=np.int64),
    )
    draws = signals.stream_bases(seed, signals.STREAM_CONFLICT, np.arange(CONFLICT_CANDIDATES))
    rows = (draws % np.uint64(len(plant.names))).astype(np.int64)
    ticks = first_tick + (draws >> np.uint64(24)).astype(np.int64) % tick_count
    pairs = zip(rows.tolist(), ticks.tolist(), strict=True)
    arrives = np.flatnonzero([_arrives_whole(plant, without_conflicts, row, tick) for row, tick in pairs])[:CONFLICTS]
    cells = np.unique(np.stack([rows[arrives], ticks[arrives]], axis=1), axis=0)
    return Mishaps(
        outage_line=without_conflicts.outage_line,
        outage=outage,
        stuck=without_conflicts.stuck,
        conflict_rows=cells[:, 0],
        conflict_ticks=cells[:, 1],
    )


def _stuck_sensors(plant: Plant, *, first_tick: int, tick_count: int, interval_s: int) -> tuple[Stuck, ...]:
    length = max(3, min(STUCK_LENGTH_S // interval_s, tick_count // 4))
    draws = signals.stream_bases(plant.machines.seed, signals.STREAM_STUCK, np.arange(STUCK_SENSORS)).tolist()
    rows = {bits % len(plant.names): bits >> 24 for bits in draws}  # one spell per sensor
    starts = {row: first_tick + bits % max(1, tick_count - length) for row, bits in rows.items()}
    return tuple(
        Stuck(row=row, span=Span(start_tick=start, end_tick=start + length)) for row, start in sorted(starts.items())
    )


def _arrives_whole(plant: Plant, mishaps: Mishaps, row: int, tick: int) -> bool:
    """Return whether this temperature arrives with a value, so that a second value contradicts it."""
    ticks = np.array([tick])
    machine = plant.machines.take(np.array([row]))
    fates = decide_fates(machine, plant.is_wireless[[row]], ticks, metric_code=0)
    return not bool(is_lost(plant, mishaps, ticks)[row, 0] or fates.is_bad[0, 0])
