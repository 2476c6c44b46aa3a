"""What the KPIs of a report need beside the series that it shows: definitions, attributes, other series."""

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from gaugehouse.database.tables import Component
from gaugehouse.inventory import resolve_attributes
from gaugehouse.inventory.checks import split_names
from gaugehouse.inventory.kpis import find_definitions
from gaugehouse.kpi import CATALOGUE, Definition, Kpi, Owners, find_needed, make_kpis
from gaugehouse.kpi.terms import Subject, SubjectKind
from gaugehouse.reports.pin import Pin, PinnedSeries


def choose_definitions(session: Session, project_id: str, asked: Sequence[str] | None) -> tuple[Definition, ...]:
    """Return the project's KPIs that are asked for and those that they rest on, by name."""
    own = [name for name in asked or () if name not in CATALOGUE]
    if not own:
        return ()
    defined = {one.name: one for one in find_definitions(session, project_id)}
    asked_for = [defined[name] for name in own if name in defined]
    used = {one.name for one in asked_for} | {name for one in asked_for for name in find_needed(one, defined)}
    return tuple(defined[name] for name in sorted(used))


def make_catalogue(definitions: Iterable[Definition]) -> Mapping[str, Kpi]:
    """Return the built-in KPIs and those of a project.

    Raises:
        Refused: A definition is not right any more, for this version of Gaugehouse.
    """
    return {**CATALOGUE, **make_kpis(definitions, known=CATALOGUE)}


def read_attributes(
    session: Session, project_id: str, components: Collection[str], kpis: Iterable[Kpi]
) -> dict[str, dict[str, object]]:
    """Return the attributes that KPIs use, by component: texts, and numbers as floats; all else counts as missing.

    Those of its OEE were checked when they were set; a free attribute of the same name counts only where they are not.
    """
    used = frozenset(name for kpi in kpis for name in kpi.attributes)
    if not used:
        return {}
    found: dict[str, dict[str, object]] = {}
    for portion in split_names(sorted(components)):
        statement = select(Component.name, Component.attributes, Component.oee).where(
            Component.project_id == project_id, Component.name.in_(portion)
        )
        for row in session.execute(statement):
            given = {**row.attributes, **(row.oee or {})}
            own = {name: _read_value(given[name]) for name in sorted(used & set(given))}
            found[row.name] = {name: value for name, value in own.items() if value is not None}
    return found


def find_supporting(
    shown: Collection[tuple[str, str]],
    known: Collection[tuple[str, str]],
    attributes: Mapping[str, Mapping[str, object]],
    kpis: Iterable[Kpi],
) -> list[tuple[str, str]]:
    """Return the series that formulas need and that a report does not show, sorted.

    Args:
        shown: (component, metric) of the series of the report.
        known: Of all series that exist.
        attributes: Of components, see `read_attributes`.
        kpis: Those that are asked for.
    """
    subjects = frozenset(subject for kpi in kpis for subject in kpi.subjects)
    components = {component for component, _ in shown}
    needed = {
        (component, metric)
        for component in components
        for subject in subjects
        if (metric := _find_metric(subject, attributes.get(component, {}))) is not None
    }
    return sorted(needed & set(known) - set(shown))


def pin_series(
    session: Session, project_id: str, shown: Sequence[tuple[str, str]], needed: Sequence[tuple[str, str]]
) -> tuple[tuple[PinnedSeries, ...], tuple[PinnedSeries, ...]]:
    """Return the series that a report shows, and those that its numbers rest on beside them, each sorted.

    The metrics that say whether others are alive are among the latter, also one that nobody has sent yet: without a
    sign of life no value holds.
    """
    attributes = resolve_attributes(session, project_id, [*shown, *needed])
    alive = {(key[0], one.alive_metric) for key, one in attributes.items() if one.alive_metric is not None}
    more = sorted(alive - set(attributes))
    attributes |= resolve_attributes(session, project_id, more)
    pinned = {key: PinnedSeries(component=key[0], metric=key[1], attributes=attributes[key]) for key in attributes}
    return tuple(pinned[key] for key in shown), tuple(pinned[key] for key in sorted([*needed, *more]))


def make_owners(series: Sequence[PinnedSeries], pin: Pin) -> Owners:
    """Return whose series these are, for formulas that look beyond one metric."""
    supporting = {(one.component, one.metric) for one in pin.supporting}
    return Owners(
        components=[one.component for one in series],
        metrics=[one.metric for one in series],
        attributes={one.name: one.attributes for one in pin.components if one.attributes},
        hidden=frozenset(place for place, one in enumerate(series) if (one.component, one.metric) in supporting),
    )


def _find_metric(subject: Subject, attributes: Mapping[str, object]) -> str | None:
    if subject.kind is SubjectKind.METRIC:
        return subject.name
    value = attributes.get(subject.name) if subject.kind is SubjectKind.ATTRIBUTE else None
    return value if isinstance(value, str) else None


def _read_value(value: object) -> str | float | None:
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > sys.float_info.max:
        return None
    return float(value)  # a database may turn 9.0 into 9: the pin must not
