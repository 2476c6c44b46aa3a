"""Whether a report still says what the lake would say today, and if not, because of what."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy.orm import Session

from gaugehouse.inventory import resolve_attributes
from gaugehouse.lake import Snapshot
from gaugehouse.measurements.metric import MetricAttributes
from gaugehouse.measurements.selection import Selection
from gaugehouse.measurements.series import SeriesRows
from gaugehouse.reports.changes import find_changes
from gaugehouse.reports.compute import find_lookback
from gaugehouse.reports.counted import LOOKBACK
from gaugehouse.reports.pin import Pin

LATE_SQL = """
SELECT component, metric, count(*) AS rows, min(measured_at) AS first_at, max(measured_at) AS last_at
FROM rows
GROUP BY component, metric
ORDER BY component, metric
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Staleness:
    """What a report does not know.

    Args:
        late_rows: Rows received after its `as_of` that lie where its numbers look.
        late_series: How many series they belong to.
        late_from: `measured_at` of the first of them.
        late_to: `measured_at` of the last of them.
        changed_attributes: 'component metric: usl, unit', for each series whose attributes are others now.
    """

    late_rows: int = 0
    late_series: int = 0
    late_from: datetime | None = None
    late_to: datetime | None = None
    changed_attributes: tuple[str, ...] = ()

    @property
    def is_stale(self) -> bool:
        return self.late_rows > 0 or bool(self.changed_attributes)


def find_staleness(session: Session, snapshot: Snapshot, pin: Pin, project_id: str) -> Staleness:
    """Compare the pin of a report with the lake and the inventory of now.

    Args:
        session: An open session.
        snapshot: What the lake shows now; only files that hold later rows are read.
        pin: Of the report.
        project_id: Whose it is.

    Raises:
        Unavailable: A file of the lake cannot be read.
    """
    late = _read_late(snapshot, pin)
    changed = find_changed_attributes(session, pin, project_id)
    return Staleness(
        late_rows=pc.sum(late["rows"]).as_py() or 0,
        late_series=late.num_rows,
        late_from=pc.min(late["first_at"]).as_py(),
        late_to=pc.max(late["last_at"]).as_py(),
        changed_attributes=tuple(f"{component} {metric}: {what}" for (component, metric), what in changed.items()),
    )


def _read_late(snapshot: Snapshot, pin: Pin) -> pa.Table:
    """Return how many late rows each series has: component, metric, rows, first_at, last_at."""
    late = snapshot.read(_late_selection(pin), LATE_SQL).read_all()
    asked = pa.table(
        {
            "component": pa.array([one.component for one in pin.every_series], pa.string()),
            "metric": pa.array([one.metric for one in pin.every_series], pa.string()),
        }
    )
    # A metric that came up later belongs to none of the pinned series, and is no reason to issue the report again.
    return late.join(asked, keys=["component", "metric"], join_type="left semi").sort_by(
        [("component", "ascending"), ("metric", "ascending")]
    )


def load_late_rows(snapshot: Snapshot, pin: Pin, until: datetime | None) -> SeriesRows:
    """Return the rows that a later revision, pinned at `until`, saw and this one did not."""
    return snapshot.load_series(replace(_late_selection(pin), as_of=until))


def _late_selection(pin: Pin) -> Selection:
    """Select what was received later, from the look-back to where the period's last values still hold."""
    return Selection(
        project=pin.project,
        components=tuple(one.name for one in pin.components),
        metrics=tuple(sorted({one.metric for one in pin.every_series})),
        start=pin.period.start - find_lookback(pin.every_series),
        end=pin.period.end + find_reach(pin),
        received_after=pin.as_of,
    )


def find_reach(pin: Pin) -> timedelta:
    """Return how far behind its end rows change the numbers of a report: neighbours of lines, steps of counters."""
    return min(find_lookback(pin.every_series), LOOKBACK)


def find_changed_attributes(session: Session, pin: Pin, project_id: str) -> dict[tuple[str, str], str]:
    """Return for each pinned series whose attributes are others now which ones."""
    keys = [(one.component, one.metric) for one in pin.every_series]
    now: Mapping[tuple[str, str], MetricAttributes] = resolve_attributes(session, project_id, keys)
    return {
        (one.component, one.metric): ", ".join(_names_of_changes(one.attributes, now[one.component, one.metric]))
        for one in pin.every_series
        if now[one.component, one.metric] != one.attributes
    }


def _names_of_changes(old: MetricAttributes, new: MetricAttributes) -> list[str]:
    names = [one.name for one in fields(MetricAttributes)]
    return [name for name in names if getattr(old, name) != getattr(new, name)]


def compare_revisions(snapshot: Snapshot, old: tuple[Pin, pa.Table], new: tuple[Pin, pa.Table]) -> pa.Table:
    """Return what changed from one revision to a later one, each value with its cause; columns of CHANGES.

    Args:
        snapshot: What the lake shows now.
        old: Pin and result of the earlier revision.
        new: Pin and result of the later one.

    Raises:
        Unavailable: A file of the lake cannot be read.
    """
    then = {(one.component, one.metric): one.attributes for one in old[0].every_series}
    changed = {
        (one.component, one.metric): ", ".join(_names_of_changes(then[one.component, one.metric], one.attributes))
        for one in new[0].series
        if then.get((one.component, one.metric), one.attributes) != one.attributes
    }
    return find_changes(old[1], new[1], load_late_rows(snapshot, old[0], until=new[0].as_of), changed)
