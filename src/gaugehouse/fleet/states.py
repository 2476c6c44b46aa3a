"""Whether devices are online, at risk or offline, and why: pure, a column per question."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from gaugehouse.fleet.thresholds import Thresholds
from gaugehouse.lake import NewestColumns
from gaugehouse.measurements.heartbeat import BATTERY, ONLINE, RSSI, STATUS_METRICS

US_PER_S = 1_000_000

Bools = NDArray[np.bool_]
Codes = NDArray[np.uint8]


class State(StrEnum):
    """What a device is right now; exactly one of them. A device that is at risk is in touch."""

    ONLINE = "online"
    AT_RISK = "at-risk"
    OFFLINE = "offline"


STATES = tuple(State)
# Why a device is not simply online. The first two make it offline, the others put it at risk.
REASONS = ("no_heartbeat", "says_offline", "low_battery", "weak_rssi", "falling_battery")
OFFLINE_MASK = 0b00011


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What devices are, one place for each.

    Args:
        state: Position in STATES.
        reasons: One bit for each of REASONS, the first the lowest. Of a device that is offline the others say what was
            known of it last.
    """

    state: Codes
    reasons: Codes

    def names_of(self, device: int) -> list[str]:
        """Return the reasons of one device."""
        bits = int(self.reasons[device])
        return [reason for position, reason in enumerate(REASONS) if bits >> position & 1]


def judge(newest: NewestColumns, falling: Bools, thresholds: Thresholds, now_us: int) -> Judged:
    """Judge devices by their newest values.

    Args:
        newest: Of STATUS_METRICS.
        falling: Whose battery falls too fast.
        thresholds: Of the project.
        now_us: The clock. [us since 1970 UTC]

    Returns:
        Comparisons are strict: a battery of exactly the threshold is not low, a device that was heard of exactly
        `offline_after_s` ago is not offline. What was never sent is no reason for anything.
    """
    value = {metric: newest.value[at] for at, metric in enumerate(STATUS_METRICS)}
    earliest_us = now_us - round(thresholds.offline_after_s * US_PER_S)
    reasons = (
        newest.newest_us < earliest_us,
        value[ONLINE] == 0,  # NaN, which is unknown, compares as false here and below
        value[BATTERY] < thresholds.low_battery_percent,
        value[RSSI] < thresholds.weak_rssi_dbm,
        falling,
    )
    bits = np.zeros(falling.size, np.uint8)
    for position, holds in enumerate(reasons):
        bits |= holds.astype(np.uint8) << np.uint8(position)
    state = np.full(bits.size, STATES.index(State.ONLINE), np.uint8)
    state[bits != 0] = STATES.index(State.AT_RISK)
    state[bits & OFFLINE_MASK != 0] = STATES.index(State.OFFLINE)
    return Judged(state=state, reasons=bits)
