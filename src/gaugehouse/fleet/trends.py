"""Which batteries fall too fast: from the oldest and the newest level of a window, over files and hot rows."""

from datetime import datetime, timedelta

import pyarrow as pa

from gaugehouse.fleet.thresholds import Thresholds
from gaugehouse.lake import Snapshot
from gaugehouse.measurements.heartbeat import BATTERY
from gaugehouse.measurements.schema import QUALITY_BAD
from gaugehouse.measurements.selection import Selection

SHORTEST_SHARE = 0.25  # of the window: from 90 to 89 in a minute is no fall of 60 % an hour

# What a device itself calls bad says nothing of its battery.
FALLING_SQL = f"""
SELECT component, (first_level - last_level) * 3600e6 / span_us AS percent_per_hour
FROM (
    SELECT
        component,
        arg_min(value, measured_at) AS first_level,
        arg_max(value, measured_at) AS last_level,
        epoch_us(max(measured_at)) - epoch_us(min(measured_at)) AS span_us
    FROM rows
    WHERE value IS NOT NULL AND quality <> {QUALITY_BAD}
    GROUP BY component
)
WHERE span_us >= $shortest_us AND (first_level - last_level) * 3600e6 / span_us >= $limit
ORDER BY component
"""  # noqa: S608 - constants


def find_falling(
    snapshot: Snapshot, project: str, thresholds: Thresholds, now: datetime, components: tuple[str, ...] | None = None
) -> pa.Table:
    """Return the devices whose battery falls at least as fast as the threshold.

    Args:
        snapshot: One pinned moment.
        project: Slug.
        thresholds: Of the project.
        now: The end of the window.
        components: Names; None is all of them.

    Returns:
        component, percent_per_hour (level at the first row of the window minus that at the last, by the hours between
        them [%/h]), by component. Devices whose rows span less than a quarter of the window are not among them.

    Raises:
        Unavailable: A file cannot be read.
    """
    window = timedelta(seconds=thresholds.falling_battery_window_s)
    selection = Selection(project=project, components=components, metrics=(BATTERY,), start=now - window)
    bound = {
        "shortest_us": round(thresholds.falling_battery_window_s * SHORTEST_SHARE * 1e6),
        "limit": thresholds.falling_battery_percent_per_hour,
    }
    return snapshot.read(selection, FALLING_SQL, bound).read_all()
