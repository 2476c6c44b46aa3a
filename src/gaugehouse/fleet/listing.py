"""Pages of devices with what they are now, for people who look after them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gaugehouse.fleet.overview import Devices, Fleet
from gaugehouse.fleet.states import STATES, State
from gaugehouse.fleet.status import to_columns
from gaugehouse.fleet.thresholds import Thresholds
from gaugehouse.lake.keyhash import NEVER, Int32s
from gaugehouse.query.cursor import Cursor, decode_cursor, encode_cursor

TABLE = "fleet"  # what its cursors are of


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which devices.

    Args:
        names: Only these components; None is all of them.
        state: Only those in this state; None is any.
        visible: The only device that the caller may see; None is all of them.
    """

    names: Sequence[str] | None = None
    state: State | None = None
    visible: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePage:
    """One page.

    Args:
        devices: component, state, reasons, measured_at, battery_level [%], rssi [dBm], online, by component.
        next_cursor: For the next page; None on the last.
        total: Devices on all pages.
    """

    devices: pa.Table
    next_cursor: str | None
    total: int


def list_devices(  # noqa: PLR0913 - a page has this many sides
    fleet: Fleet,
    project: str,
    project_id: str,
    wanted: Wanted,
    thresholds: Thresholds,
    *,
    now: datetime,
    limit: int,
    cursor: str | None = None,
) -> DevicePage:
    """Return one page of the devices of a project with what they are now.

    Raises:
        Refused: The cursor was not handed out for this list.
        Unavailable: Something of it is in a file that cannot be read.
    """
    fleet.lake.refuse_unread(project, None if wanted.visible is None else [wanted.visible])
    numbers = fleet.find_devices(project, project_id, visible=wanted.visible)
    if wanted.names is not None:
        numbers = numbers[np.isin(numbers, fleet.lake.number_components(project, list(wanted.names)))]
    if wanted.state is not None:
        numbers = _find_in_state(fleet, project, numbers, wanted, thresholds, now, goes_on=cursor is not None)
    first = 0 if cursor is None else _find_behind(fleet, numbers, _last_name(cursor, project))
    page = numbers[first : first + limit]
    devices = fleet.judge(project, page, thresholds, now)
    next_cursor = None
    if first + limit < numbers.size:
        (last,) = fleet.lake.name_components(page[-1:]).to_pylist()
        next_cursor = encode_cursor(Cursor(as_of=now, key=(last,)), table=TABLE, project=project)
    table = _to_table(fleet, project, devices)
    if wanted.state is not None:  # some may have changed since all were judged
        table = table.filter(pc.equal(table["state"], wanted.state.value))
    return DevicePage(devices=table, next_cursor=next_cursor, total=int(numbers.size))


def _find_in_state(  # noqa: PLR0913 - as of `list_devices`
    fleet: Fleet,
    project: str,
    numbers: Int32s,
    wanted: Wanted,
    thresholds: Thresholds,
    now: datetime,
    *,
    goes_on: bool,
) -> Int32s:
    assert wanted.state is not None  # noqa: S101 - a state was asked for; narrows the type
    if wanted.names is not None or wanted.visible is not None:
        return fleet.find_in_state(project, numbers, wanted.state, thresholds, now)
    return fleet.list_in_state(project, numbers, wanted.state, thresholds, now, goes_on=goes_on)


def _last_name(cursor: str, project: str) -> str:
    (name,) = decode_cursor(cursor, table=TABLE, project=project, types=(str,)).key
    return str(name)


def _find_behind(fleet: Fleet, numbers: Int32s, name: str) -> int:
    """Return the first position behind a name, which need not be there any more."""
    low, high = 0, int(numbers.size)
    while low < high:
        middle = (low + high) // 2
        (found,) = fleet.lake.name_components(numbers[middle : middle + 1]).to_pylist()
        if found <= name:
            low = middle + 1
        else:
            high = middle
    return low


def _to_table(fleet: Fleet, project: str, devices: Devices) -> pa.Table:
    known = np.flatnonzero(devices.newest.newest_us != NEVER).tolist()
    status = to_columns(fleet.lake, project, devices.numbers, devices.newest)
    judged = devices.judged
    columns = {
        "component": status["component"],
        "state": pa.array([STATES[judged.state[at]].value for at in known], pa.string()),
        "reasons": pa.array([judged.names_of(at) for at in known], pa.list_(pa.string())),
    }
    rest = {name: status[name] for name in ("measured_at", "battery_level", "rssi", "online")}
    return pa.Table.from_pydict(columns | rest)
