"""Whether a report still says what the lake would say today, and if not, because of what."""

from dataclasses import dataclass, replace
from datetime import datetime

import pyarrow as pa
from sqlalchemy import select
from sqlalchemy.orm import Session

from gaugehouse.database.tables import Component
from gaugehouse.inventory import resolve_attributes
from gaugehouse.inventory.checks import split_names
from gaugehouse.kpi import CATALOGUE
from gaugehouse.lake import Snapshot
from gaugehouse.measurements.selection import from_epoch_us
from gaugehouse.reports.arrivals import count_arrivals, load_arrivals
from gaugehouse.reports.causes import find_causes
from gaugehouse.reports.changes import find_changes
from gaugehouse.reports.firmware import FIRMWARE, find_versions
from gaugehouse.reports.formulas import choose_definitions, make_catalogue, read_attributes
from gaugehouse.reports.pin import Pin, PinnedComponent, PinnedSeries
from gaugehouse.reports.planned import pin_exclusions, pin_shift_calendar
from gaugehouse.reports.result import Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Staleness:
    """What a report does not know.

    Args:
        late_rows: Rows received after its `as_of` that lie where its numbers look.
        late_series: How many series they belong to.
        late_from: `measured_at` of the first of them.
        late_to: `measured_at` of the last of them.
        changed_attributes: 'pump-1 temperature: usl, unit' and 'pump-1: retired_at', what is another one now.
        changed_rules: Exclusions that were added or withdrawn, the shift calendar, definitions of KPIs.
    """

    late_rows: int = 0
    late_series: int = 0
    late_from: datetime | None = None
    late_to: datetime | None = None
    changed_attributes: tuple[str, ...] = ()
    changed_rules: tuple[str, ...] = ()

    @property
    def is_stale(self) -> bool:
        return self.late_rows > 0 or bool(self.changed_attributes) or bool(self.changed_rules)


def find_staleness(session: Session, snapshot: Snapshot, pin: Pin, project_id: str) -> Staleness:
    """Compare the pin of a report with the lake and the inventory of now.

    A component or metric that came up later belongs to none of the pinned series, and makes nothing stale.

    Args:
        session: An open session.
        snapshot: What the lake shows now; only files that hold later rows are read.
        pin: Of the report.
        project_id: Whose it is.

    Raises:
        Unavailable: A file of the lake cannot be read.
    """
    late = count_arrivals(snapshot, pin)
    causes = find_causes(pin, _pin_again(session, snapshot, pin, project_id))
    return Staleness(
        late_rows=sum(n for n, _, _ in late.values()),
        late_series=len(late),
        late_from=from_epoch_us(min(first_us for _, first_us, _ in late.values())) if late else None,
        late_to=from_epoch_us(max(last_us for _, _, last_us in late.values())) if late else None,
        changed_attributes=causes.changed_attributes,
        changed_rules=causes.changed_rules,
    )


def count_late_rows(snapshot: Snapshot, pin: Pin) -> int:
    """Return how many rows a report does not know that its numbers look at. Raises as `find_staleness`."""
    return sum(n for n, _, _ in count_arrivals(snapshot, pin).values())


def compare_revisions(snapshot: Snapshot, old: tuple[Pin, Answer], new: tuple[Pin, Answer]) -> pa.Table:
    """Return what changed from one revision to a later one, each value with its cause; columns of CHANGES.

    Args:
        snapshot: What the lake shows now.
        old: Pin and result of the earlier revision.
        new: Pin and result of the later one.

    Raises:
        Unavailable: A file of the lake cannot be read.
    """
    late = load_arrivals(snapshot, old[0], until=new[0].as_of)
    return find_changes(old[1], new[1], find_causes(old[0], new[0], late))


def _pin_again(session: Session, snapshot: Snapshot, pin: Pin, project_id: str) -> Pin:
    """Return what the same components, series and KPIs would be pinned to now."""
    names = [one.name for one in pin.components]
    catalogue = make_catalogue(pin.definitions)
    asked = list(dict.fromkeys(name for kind in pin.kpis.values() for name in kind))
    attributes = read_attributes(session, project_id, names, [catalogue[name] for name in asked])
    now = {one.name: one for one in _read_components(session, project_id, names)}
    keys = [(one.component, one.metric) for one in pin.every_series]
    resolved = resolve_attributes(session, project_id, keys)

    def again(series: tuple[PinnedSeries, ...]) -> tuple[PinnedSeries, ...]:
        return tuple(replace(one, attributes=resolved[one.component, one.metric]) for one in series)

    own = [name for name in asked if name not in CATALOGUE]
    return replace(
        pin,
        components=tuple(
            replace(now.get(one.name, one), attributes=attributes.get(one.name, {})) for one in pin.components
        ),
        series=again(pin.series),
        supporting=again(pin.supporting),
        definitions=choose_definitions(session, project_id, own),
        shift_calendar=pin_shift_calendar(session, project_id),
        exclusions=pin_exclusions(session, project_id, names, pin.periods),
        firmware=find_versions(snapshot, pin.project, names, pin.period) if pin.group_by == FIRMWARE else {},
    )


def _read_components(session: Session, project_id: str, names: list[str]) -> list[PinnedComponent]:
    found = []
    for portion in split_names(names):
        statement = select(
            Component.name, Component.type, Component.labels, Component.commissioned_at, Component.retired_at
        ).where(Component.project_id == project_id, Component.name.in_(portion))
        found += [
            PinnedComponent(
                name=row.name,
                type=row.type,
                labels=dict(row.labels),
                commissioned_at=row.commissioned_at,
                retired_at=row.retired_at,
            )
            for row in session.execute(statement)
        ]
    return found
