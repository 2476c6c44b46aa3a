"""What makes two pins of the same question differ, in words: why one revision says other things than another. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime

import numpy as np

from gaugehouse.measurements.exclusions import Exclusion
from gaugehouse.measurements.metric import MetricAttributes
from gaugehouse.measurements.selection import to_epoch_us
from gaugehouse.measurements.shift_calendar import ShiftCalendar
from gaugehouse.reports.arrivals import Instants
from gaugehouse.reports.firmware import FIRMWARE
from gaugehouse.reports.formulas import make_catalogue
from gaugehouse.reports.grouping import LABEL, TYPE
from gaugehouse.reports.pin import Pin, PinnedComponent

NO_INSTANTS: Instants = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedWindow:
    """An exclusion that only one of two pins has.

    Args:
        components: Whose time it takes out; None: of all.
        start_us: Where it begins. [us]
        end_us: Where it ends. [us]
        text: What became of it.
    """

    components: frozenset[str] | None
    start_us: int
    end_us: int
    text: str

    def concerns(self, component: str | None) -> bool:
        """Say whether it takes time out of a component; a group (None) has some of all."""
        return self.components is None or component is None or component in self.components


@dataclass(frozen=True, slots=True, kw_only=True)
class Causes:
    """Why numbers differ.

    Args:
        late: (component, metric) -> sorted instants of rows that only the later one saw. [us]
        of_series: (component, metric) -> names of its attributes that were changed.
        of_component: Component -> what was changed about it.
        of_kpi: KPI -> what became of its definition.
        windows: Exclusions that were added or withdrawn.
        of_all: What concerns every number: the shift calendar, the set of components, versions of code.
        compared_us: The period that values are compared with, [start, end). [us]
    """

    late: Instants = field(default_factory=dict)
    of_series: Mapping[tuple[str, str], str] = field(default_factory=dict)
    of_component: Mapping[str, str] = field(default_factory=dict)
    of_kpi: Mapping[str, str] = field(default_factory=dict)
    windows: tuple[ChangedWindow, ...] = ()
    of_all: tuple[str, ...] = ()
    compared_us: tuple[int, int] | None = None

    @property
    def changed_attributes(self) -> tuple[str, ...]:
        """What was changed about metrics and components, a text for each."""
        return (
            *(f"{component} {metric}: {what}" for (component, metric), what in self.of_series.items()),
            *(f"{component}: {what}" for component, what in self.of_component.items()),
        )

    @property
    def changed_rules(self) -> tuple[str, ...]:
        """What was changed beside them, a text for each."""
        return (*(window.text for window in self.windows), *self.of_kpi.values(), *self.of_all)


def find_causes(old: Pin, new: Pin, late: Instants = NO_INSTANTS) -> Causes:
    """Compare two pins of the same question, the later one last.

    Only what numbers depend on is compared: a label counts where components are grouped by it, a retirement where it
    cuts the period short.

    Args:
        old: Of the earlier revision.
        new: Of the later one, or what a revision of now would be pinned to.
        late: Rows that only the later one saw.
    """
    return Causes(
        late=late,
        of_series=_find_changed_series(old, new),
        of_component=_find_changed_components(old, new),
        of_kpi=_find_changed_definitions(old, new),
        windows=tuple(_find_changed_windows(old.exclusions, new.exclusions)),
        of_all=tuple(_find_changed_rules(old, new)),
        compared_us=_find_compared(new),
    )


def find_other_versions(pin: Pin, now: Mapping[str, object]) -> tuple[str, ...]:
    """Say by what else a report was computed: code, formulas, rules of time zones.

    Args:
        pin: Of the report.
        now: The same fields of a pin of now.
    """
    pairs = (
        ("Gaugehouse", pin.code_version, now["code_version"]),
        ("formulas", pin.catalogue_version, now["catalogue_version"]),
        ("time zone rules", pin.tzdata_version, now["tzdata_version"]),
    )
    return tuple(f"{what} {was} then, {is_now} now" for what, was, is_now in pairs if was != is_now)


def name_changes(old: MetricAttributes, new: MetricAttributes) -> list[str]:
    """Return the names of the attributes that differ."""
    return [one.name for one in fields(MetricAttributes) if getattr(old, one.name) != getattr(new, one.name)]


def _find_compared(pin: Pin) -> tuple[int, int] | None:
    if pin.comparison is None or pin.comparison.period is None:
        return None
    period = pin.comparison.period
    return to_epoch_us(period.start), to_epoch_us(period.end)


def _find_changed_series(old: Pin, new: Pin) -> dict[tuple[str, str], str]:
    was = {(one.component, one.metric): one.attributes for one in old.every_series}
    return {
        key: ", ".join(name_changes(was[key], one.attributes))
        for one in new.every_series
        if (key := (one.component, one.metric)) in was and was[key] != one.attributes
    }


def _find_changed_components(old: Pin, new: Pin) -> dict[str, str]:
    was = {one.name: one for one in old.components}
    changed = {}
    for one in new.components:
        if one.name in was:
            names = _name_component_changes(was[one.name], one, new)
            if old.firmware.get(one.name, ()) != new.firmware.get(one.name, ()):
                names.append(FIRMWARE)
            if names:
                changed[one.name] = ", ".join(names)
    return changed


def _name_component_changes(old: PinnedComponent, new: PinnedComponent, pin: Pin) -> list[str]:
    names = sorted(
        name for name in {*old.attributes, *new.attributes} if old.attributes.get(name) != new.attributes.get(name)
    )
    if _begin(old, pin) != _begin(new, pin):
        names.append("commissioned_at")
    if _end(old, pin) != _end(new, pin):
        names.append("retired_at")
    if pin.group_by == TYPE and old.type != new.type:
        names.append("type")
    if pin.group_by is not None and pin.group_by.startswith(LABEL):
        label = pin.group_by.removeprefix(LABEL)
        if old.labels.get(label) != new.labels.get(label):
            names.append(f"label {label}")
    return names


def _begin(one: PinnedComponent, pin: Pin) -> datetime:
    first = min(period.start for period in pin.periods)
    return first if one.commissioned_at is None else max(first, one.commissioned_at)


def _end(one: PinnedComponent, pin: Pin) -> datetime:
    last = max(period.end for period in pin.periods)
    return last if one.retired_at is None else min(last, one.retired_at)


def _find_changed_definitions(old: Pin, new: Pin) -> dict[str, str]:
    was = {one.name: one for one in old.definitions}
    now = {one.name: one for one in new.definitions}
    return {
        name: f"the definition of {name} changed (version {was[name].version}, now {now[name].version})"
        if name in now and name in was
        else f"{name} is defined no more"
        for name in was
        if name not in now or now[name] != was[name]
    }


def _find_changed_windows(old: Iterable[Exclusion], new: Iterable[Exclusion]) -> Iterable[ChangedWindow]:
    was, now = {one.id: one for one in old}, {one.id: one for one in new}
    for key in sorted(was.keys() ^ now.keys()):
        one, done = (now[key], "added") if key in now else (was[key], "withdrawn")
        yield ChangedWindow(
            components=None if one.components is None else frozenset(one.components),
            start_us=to_epoch_us(one.start),
            end_us=to_epoch_us(one.end),
            text=f"{one.kind} {one.start:%Y-%m-%d %H:%M} to {one.end:%Y-%m-%d %H:%M} UTC was {done} ({one.reason})",
        )


def _find_changed_rules(old: Pin, new: Pin) -> Iterable[str]:
    if _uses_shifts(new) and _read_calendar(old) != _read_calendar(new):
        yield "the shift calendar changed"
    was, now = ({one.name for one in pin.components} for pin in (old, new))
    if was != now:
        counts = [(len(now - was), "more"), (len(was - now), "fewer")]
        yield f"the set of components changed ({', '.join(f'{n:,} {word}' for n, word in counts if n)})"
    if not np.array_equal(old.edges_us, new.edges_us):
        yield "the borders of the buckets changed"


def _read_calendar(pin: Pin) -> ShiftCalendar | None:
    return None if pin.shift_calendar is None else pin.shift_calendar.calendar


def _uses_shifts(pin: Pin) -> bool:
    catalogue = make_catalogue(pin.definitions)
    names = {name for asked in pin.kpis.values() for name in asked}
    return bool(pin.shifts) or any(catalogue[name].needs_planned for name in names)
