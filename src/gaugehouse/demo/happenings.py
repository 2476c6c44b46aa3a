"""Events of the demo plant: failures with their alarms, maintenance, firmware updates, the lost line."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from gaugehouse.demo import signals
from gaugehouse.demo.dirt import Mishaps
from gaugehouse.demo.plant import Plant
from gaugehouse.demo.signals import Ints, Machines
from gaugehouse.measurements.schema import EVENT_BATCH

MICROSECONDS_PER_S = 1_000_000
FIRMWARE_SLOT_S = 30 * signals.DAY_S
FIRST_FIRMWARE_SLOT = 600  # spring 2019: version 1.0
ALARM_AHEAD_S = 25 * 60
FAILURE_CODES = ("E12 overload", "E17 bearing temperature", "E21 phase loss", "E33 seal leakage", "E40 no feedback")


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One event: machine's row, kind, instant [s since 1970] and what it says."""

    row: int
    kind: str
    at_s: int
    body: dict[str, object]


def list_events(plant: Plant, mishaps: Mishaps, *, start_s: int, end_s: int, interval_s: int) -> pa.Table:
    """Return all events with start_s <= instant <= end_s as EVENT_BATCH, ordered by instant, machine and kind."""
    found = [
        *_failures(plant.machines, start_s=start_s, end_s=end_s),
        *_maintenance(plant.machines, start_s=start_s, end_s=end_s),
        *_firmware(plant, start_s=start_s, end_s=end_s),
        *_outage(plant, mishaps, interval_s=interval_s),
    ]
    inside = [event for event in found if start_s <= event.at_s <= end_s]
    inside.sort(key=lambda event: (event.at_s, event.row, event.kind))
    bodies = [json.dumps(event.body, sort_keys=True, separators=(",", ":"), ensure_ascii=False) for event in inside]
    instants = np.array([event.at_s for event in inside], dtype=np.int64) * MICROSECONDS_PER_S
    return pa.Table.from_arrays(
        [
            pa.array([plant.names[event.row] for event in inside], pa.string()).dictionary_encode(),
            pa.array([event.kind for event in inside], pa.string()).dictionary_encode(),
            pa.array(instants, pa.timestamp("us", tz="UTC")),
            pa.array(bodies, pa.string()),
            pa.array([hashlib.blake2b(body.encode(), digest_size=16).digest() for body in bodies], pa.binary(16)),
        ],
        schema=EVENT_BATCH,
    )


def _slots(start_s: int, end_s: int, slot_s: int) -> Ints:
    """Return the slots that overlap the period, and one before it."""
    return np.arange(start_s // slot_s - 1, end_s // slot_s + 1, dtype=np.int64)


def _failures(machines: Machines, *, start_s: int, end_s: int) -> Iterator[Happening]:
    fails, starts, lengths = signals.failures(machines, _slots(start_s, end_s, signals.FAILURE_SLOT_S))
    for row, slot in zip(*np.nonzero(fails), strict=True):
        at_s, length_s = int(starts[row, slot]), int(lengths[row, slot])
        code, _, cause = FAILURE_CODES[at_s % len(FAILURE_CODES)].partition(" ")
        body: dict[str, object] = {"code": code, "text": cause, "expected_duration_min": length_s // 60}
        yield Happening(row=int(row), kind="failure", at_s=at_s, body=body)
        if at_s % 3:  # most failures announce themselves
            warning: dict[str, object] = {"code": code, "severity": "warning", "text": f"{cause} rising"}
            yield Happening(row=int(row), kind="alarm", at_s=at_s - ALARM_AHEAD_S, body=warning)


def _maintenance(machines: Machines, *, start_s: int, end_s: int) -> Iterator[Happening]:
    since_monday = signals.MONDAY_OFFSET_S
    slots = _slots(start_s - since_monday, end_s - since_monday, signals.MAINTENANCE_SLOT_S)
    starts = signals.maintenance_starts(machines, slots)
    for row, slot in np.ndindex(starts.shape):
        at_s = int(starts[row, slot])
        body: dict[str, object] = {
            "planned_duration_min": signals.MAINTENANCE_LENGTH_S // 60,
            "text": "Inspection and lubrication",
            "work_order": f"WO-{slots[slot]}-{row + 1:04d}",
        }
        yield Happening(row=row, kind="maintenance", at_s=at_s, body=body)


def _version(slot: int) -> str:
    return f"{1 + (slot - FIRST_FIRMWARE_SLOT) // 12}.{(slot - FIRST_FIRMWARE_SLOT) % 12}"


def _firmware(plant: Plant, *, start_s: int, end_s: int) -> Iterator[Happening]:
    """Yield the monthly update of every radio sensor, spread over the month."""
    rows = np.flatnonzero(plant.is_wireless)
    slots = _slots(start_s, end_s, FIRMWARE_SLOT_S)
    bases = signals.stream_bases(plant.machines.seed, signals.STREAM_FIRMWARE, plant.machines.number[rows])
    offsets = signals.uniform(signals.cell_bits(bases, slots)) * FIRMWARE_SLOT_S
    for position, column in np.ndindex(offsets.shape):
        slot = int(slots[column])
        at_s = slot * FIRMWARE_SLOT_S + int(offsets[position, column])
        body: dict[str, object] = {"from": _version(slot - 1), "version": _version(slot)}
        yield Happening(row=int(rows[position]), kind="firmware", at_s=at_s, body=body)


def _outage(plant: Plant, mishaps: Mishaps, *, interval_s: int) -> Iterator[Happening]:
    line = f"line-{mishaps.outage_line + 1}"
    for row in np.flatnonzero(plant.line_codes == mishaps.outage_line).tolist():
        lost: dict[str, object] = {"line": line, "text": "Gateway does not answer"}
        back: dict[str, object] = {"line": line, "text": "Gateway answers again"}
        yield Happening(row=row, kind="connection_lost", at_s=mishaps.outage.start_tick * interval_s, body=lost)
        yield Happening(row=row, kind="connection_restored", at_s=mishaps.outage.end_tick * interval_s, body=back)
