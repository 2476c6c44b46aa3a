"""When devices are online, at risk or offline."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaugehouse.fleet.states import REASONS, STATES, State, judge
from gaugehouse.fleet.thresholds import Thresholds
from gaugehouse.lake import NewestColumns
from gaugehouse.lake.keyhash import NEVER

NOW_US = 1_700_000_000_000_000
THRESHOLDS = Thresholds()
OFFLINE_AFTER_US = 900_000_000


def columns(devices):
    """Return newest values of (age [us] or None, battery, rssi, online), one column per device."""
    t = [NEVER if age is None else NOW_US - age for age, *_values in devices]
    value = np.array([values for _age, *values in devices], np.float64).T.reshape(3, len(devices))
    instants = np.tile(np.array(t, np.int64), (3, 1))
    return NewestColumns(measured_at_us=instants, received_at_us=instants, value=value)


def judge_all(devices, falling=None):
    judged = judge(
        columns(devices),
        np.zeros(len(devices), bool) if falling is None else np.array(falling),
        THRESHOLDS,
        NOW_US,
    )
    return [(STATES[state], judged.names_of(at)) for at, state in enumerate(judged.state)]


@pytest.mark.parametrize(
    ("device", "state", "reasons"),
    [
        ((0, 50, -50, 1), State.ONLINE, []),
        ((OFFLINE_AFTER_US, 20, -85, 1), State.ONLINE, []),
        ((OFFLINE_AFTER_US + 1, 50, -50, 1), State.OFFLINE, ["no_heartbeat"]),
        ((0, 50, -50, 0), State.OFFLINE, ["says_offline"]),
        ((0, 19.9, -50, 1), State.AT_RISK, ["low_battery"]),
        ((0, 50, -85.1, 1), State.AT_RISK, ["weak_rssi"]),
        ((OFFLINE_AFTER_US * 2, 1, -99, 0), State.OFFLINE, list(REASONS[:4])),
        ((0, np.nan, np.nan, np.nan), State.ONLINE, []),
        ((-60_000_000, 50, -50, 1), State.ONLINE, []),  # its clock is ahead
        ((None, np.nan, np.nan, np.nan), State.OFFLINE, ["no_heartbeat"]),
    ],
)
def test_a_device_is_what_its_newest_values_say(device, state, reasons):
    assert judge_all([device]) == [(state, reasons)]


def test_a_falling_battery_puts_at_risk_who_is_in_touch():
    well, silent = (0, 50, -50, 1), (OFFLINE_AFTER_US * 2, 50, -50, 1)
    assert judge_all([well, well, silent], [True, False, True]) == [
        (State.AT_RISK, ["falling_battery"]),
        (State.ONLINE, []),
        (State.OFFLINE, ["no_heartbeat", "falling_battery"]),
    ]


VALUES = st.one_of(st.just(np.nan), st.floats(-120, 120))
DEVICES = st.lists(st.tuples(st.integers(0, 3 * OFFLINE_AFTER_US), VALUES, VALUES, st.sampled_from([0.0, 1.0, np.nan])))


@given(DEVICES)
def test_many_are_judged_as_each_alone(devices):
    assert judge_all(devices) == [judge_all([device])[0] for device in devices]


def test_nobody_is_judged_as_nothing():
    assert judge_all([]) == []
