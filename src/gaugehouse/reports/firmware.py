"""Which firmware a component ran when, as a pin keeps it: KPIs by version compare the same fleet with itself."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec
import numpy as np

from gaugehouse.lake import Snapshot
from gaugehouse.measurements.exclusions import Exclusion, ExclusionKind
from gaugehouse.measurements.period import Period
from gaugehouse.measurements.selection import Selection, from_epoch_us, to_epoch_us
from gaugehouse.reports.counted import LOOKBACK
from gaugehouse.reports.pin import Pin

FIRMWARE = "firmware"
FIRMWARE_SQL = "SELECT component, epoch_us(occurred_at) AS at_us, body FROM rows ORDER BY component, occurred_at"
IN_FORCE = frozenset({None, "updated", "installed", "success"})  # states of an event that tells of a version that runs

Versions = Mapping[str, tuple[tuple[int, str], ...]]


class _Body(msgspec.Struct):
    """What is read of an event's body."""

    firmware: str
    status: str | None = None


def find_versions(snapshot: Snapshot | None, project: str, components: Sequence[str], period: Period) -> Versions:
    """Return by component (instant [us], version) of each change, in order; one that repeats a version is no change.

    Args:
        snapshot: One pinned moment; None is a lake without events.
        project: Slug.
        components: Names.
        period: What came after its end is left out.
    """
    if snapshot is None:
        return {}
    selection = Selection(project=project, components=tuple(components), metrics=(FIRMWARE,), end=period.end)
    events = snapshot.read(selection, FIRMWARE_SQL, table="events").read_all()
    found: dict[str, list[tuple[int, str]]] = {}
    for component, at_us, body in zip(*(column.to_pylist() for column in events.columns), strict=True):
        version = _read_version(body)
        own = found.setdefault(component, [])
        if version is not None and (not own or own[-1][1] != version):
            own.append((at_us, version))
    return {component: tuple(own) for component, own in found.items() if own}


def _read_version(body: str) -> str | None:
    try:
        read = msgspec.json.decode(body, type=_Body)
    except msgspec.MsgspecError:
        return None  # an event of somebody who means something else by the word
    return read.firmware if read.status in IN_FORCE else None


def list_versions(pin: Pin) -> list[str]:
    """Return every version that was in force within the period, by name."""
    start_us, end_us = to_epoch_us(pin.period.start), to_epoch_us(pin.period.end)
    return sorted(
        {
            version
            for own in pin.firmware.values()
            for (_, version), end in zip(own, _ends(own, end_us), strict=True)
            if end > start_us
        }
    )


def limit_to_version(pin: Pin, version: str) -> Pin:
    """Return the pin with the components that ran a version, and all other time of theirs excluded."""
    start_us, end_us = to_epoch_us(pin.period.start - LOOKBACK), to_epoch_us(pin.period.end)
    exclusions = list(pin.exclusions)
    running = set()
    for component, own in pin.firmware.items():
        edges = np.clip([start_us, *(at_us for at_us, _ in own), end_us], start_us, end_us)
        names = [None, *(name for _, name in own)]
        for name, begin, end in zip(names, edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            if name == version and end > to_epoch_us(pin.period.start):
                running.add(component)
            if name != version and begin < end:
                exclusions.append(_exclude(component, begin, end))
    return replace(
        pin,
        exclusions=tuple(exclusions),
        series=tuple(one for one in pin.series if one.component in running),
        supporting=tuple(one for one in pin.supporting if one.component in running),
    )


def _ends(own: Sequence[tuple[int, str]], end_us: int) -> list[int]:
    return [at_us for at_us, _ in own[1:]] + [end_us]


def _exclude(component: str, begin_us: int, end_us: int) -> Exclusion:
    return Exclusion(
        id="",
        kind=ExclusionKind.OTHER,
        components=(component,),
        start=from_epoch_us(begin_us),
        end=from_epoch_us(end_us),
        reason="another version was in force",
        author="",
    )
