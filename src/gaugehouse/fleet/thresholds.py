"""When a device of a project counts as offline or at risk: what a manager decides, or the defaults below."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from sqlalchemy import select
from sqlalchemy.orm import Session

from gaugehouse.database import database_now
from gaugehouse.database.tables import FleetThresholds
from gaugehouse.errors import Refused

LARGEST_S = 366 * 86_400.0
HOUR_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """When a device is offline or at risk.

    Args:
        offline_after_s: Silent for longer than this: offline. [s]
        low_battery_percent: Below this: at risk. [%]
        weak_rssi_dbm: Below this: at risk. [dBm]
        falling_battery_percent_per_hour: A battery that falls at least so fast: at risk. [%/h]
        falling_battery_window_s: Over which time that is looked at, back from now. [s]
    """

    offline_after_s: float = 900.0
    low_battery_percent: float = 20.0
    weak_rssi_dbm: float = -85.0
    falling_battery_percent_per_hour: float = 5.0
    falling_battery_window_s: float = 6 * HOUR_S


BOUNDS: Mapping[str, tuple[float, float]] = {
    "offline_after_s": (1.0, LARGEST_S),
    "low_battery_percent": (0.0, 100.0),
    "weak_rssi_dbm": (-200.0, 0.0),
    "falling_battery_percent_per_hour": (0.01, 1000.0),
    "falling_battery_window_s": (60.0, LARGEST_S),
}
NAMES = tuple(field.name for field in fields(Thresholds))


def get_thresholds(session: Session, project_id: str) -> Thresholds:
    """Return the thresholds of a project: its own, or the defaults."""
    row = session.get(FleetThresholds, project_id)
    return Thresholds() if row is None else _thresholds(row)


def find_all_thresholds(session: Session) -> dict[str, Thresholds]:
    """Return the thresholds of every project that has its own, by project id."""
    return {row.project_id: _thresholds(row) for row in session.scalars(select(FleetThresholds))}


def put_thresholds(session: Session, project_id: str, thresholds: Thresholds) -> None:
    """Set the thresholds of a project.

    Raises:
        Refused: A threshold is out of its bounds; the first is named.
    """
    for name, (low, high) in BOUNDS.items():
        value = getattr(thresholds, name)
        if not (math.isfinite(value) and low <= value <= high):
            raise Refused(f"{name} must be from {low:g} to {high:g}, not {value:g}", code="threshold_refused")
    row = session.get(FleetThresholds, project_id)
    if row is None:
        session.add(FleetThresholds(project_id=project_id, **asdict(thresholds)))
    else:
        for name, value in asdict(thresholds).items():
            setattr(row, name, value)
        row.updated_at = session.scalars(select(database_now())).one()
    session.flush()


def _thresholds(row: FleetThresholds) -> Thresholds:
    return Thresholds(**{name: getattr(row, name) for name in NAMES})
