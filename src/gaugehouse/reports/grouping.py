"""Components taken together: the whole fleet, all of a type, all with the same value of a label, all of a shift."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from gaugehouse.errors import Refused
from gaugehouse.kpi import Facts, Kpi, Owners, evaluate_groups, join_series, take_bucket
from gaugehouse.measurements.schema import TIMESTAMP
from gaugehouse.query.components import show_name
from gaugehouse.reports.chunks import Chunk
from gaugehouse.reports.firmware import FIRMWARE
from gaugehouse.reports.formulas import make_owners
from gaugehouse.reports.pin import Pin, PinnedSeries
from gaugehouse.reports.result import GROUPED

FLEET = "fleet"
TYPE = "type"
SHIFT = "shift"
LABEL = "label:"


def check_grouping(group_by: str | None) -> None:
    """Refuse what components cannot be grouped by.

    Raises:
        Refused: It is none of `fleet`, `type`, `shift`, `firmware` and `label:NAME`.
    """
    if (
        group_by is None
        or group_by in {FLEET, TYPE, SHIFT, FIRMWARE}
        or (group_by.startswith(LABEL) and len(group_by) > len(LABEL))
    ):
        return
    raise Refused(
        f"components cannot be grouped by {show_name(group_by)!r}: write fleet, type, shift, firmware, or label:NAME",
        code="group_by_refused",
    )


def find_groups(pin: Pin) -> dict[str, str]:
    """Return the group of each component; one without the label, or without a type, has none."""
    if pin.group_by is None:
        return {}
    if pin.group_by == FLEET:
        return {one.name: FLEET for one in pin.components}
    if pin.group_by == TYPE:
        return {one.name: one.type for one in pin.components if one.type}
    label = pin.group_by.removeprefix(LABEL)
    return {one.name: one.labels[label] for one in pin.components if one.labels.get(label)}


def compute_groups(
    portions: Sequence[tuple[Chunk, Facts]], pin: Pin, catalogue: Mapping[str, Kpi], groups: Mapping[str, str]
) -> pa.Table:
    """Return the KPIs of each group, with the columns of GROUPED: a formula over all, never a mean of ratios.

    Args:
        portions: All series of the report, with the facts of its buckets.
        pin: Says how components are grouped, and which KPIs are asked.
        catalogue: The KPIs there are.
        groups: The group of each component.
    """
    if not portions:
        return GROUPED.empty_table()
    series = [one for chunk, _ in portions for one in chunk.series]
    asked = list(dict.fromkeys(name for kind in pin.kpis for name in pin.kpis[kind]))
    results = evaluate_groups(
        join_series([facts for _, facts in portions]),
        [one.attributes for one in series],
        asked,
        groups,
        owners=make_owners(series, pin),
        catalogue=catalogue,
    )
    if pin.shifts:
        is_shift = np.array([shift is not None for shift in pin.shifts], np.bool_)
        results = results.filter(pa.array(is_shift[results["bucket"].to_numpy()]))
    bucket = results["bucket"].combine_chunks()
    edges = {"bucket_start": pin.edges_us[:-1], "bucket_end": pin.edges_us[1:]}
    columns = {name: pa.array(edge).cast(TIMESTAMP).take(bucket) for name, edge in edges.items()}
    return pa.table(
        {name: columns.get(name, results[name] if name in results.column_names else None) for name in GROUPED.names}
    ).cast(GROUPED)


def compute_shift_groups(portions: Sequence[tuple[Chunk, Facts]], pin: Pin, catalogue: Mapping[str, Kpi]) -> pa.Table:
    """Return the KPIs of each shift of the calendar over all components, with the columns of GROUPED.

    All night shifts of a bucket are taken together as components are: each of a component is a member of the group. A
    shift belongs to the bucket in which it starts.

    Args:
        portions: All series of the report, with the facts of its shifts.
        pin: Says which shifts there are, and which KPIs are asked.
        catalogue: The KPIs there are.
    """
    if not portions:
        return GROUPED.empty_table()
    series = [one for chunk, _ in portions for one in chunk.series]
    facts = join_series([facts for _, facts in portions])
    bucket_of = np.searchsorted(pin.edges_us, np.array(pin.group_edges_us[:-1]), side="right") - 1
    places: dict[tuple[str, int], list[int]] = {}
    for place, shift in enumerate(pin.group_shifts):
        if shift is not None:
            places.setdefault((shift.name, int(bucket_of[place])), []).append(place)
    tables = [GROUPED.empty_table()]
    for (name, bucket), own in sorted(places.items()):
        found = _evaluate_shift(facts, series, own, pin, catalogue, name)
        edges = {"bucket_start": pin.edges_us[bucket], "bucket_end": pin.edges_us[bucket + 1]}
        columns = {key: pa.array([edge] * found.num_rows, pa.int64()).cast(TIMESTAMP) for key, edge in edges.items()}
        tables.append(
            pa.table(
                {key: columns.get(key, found[key] if key in found.column_names else None) for key in GROUPED.names}
            ).cast(GROUPED)
        )
    return pa.concat_tables(tables)


def _evaluate_shift(
    facts: Facts,
    series: Sequence[PinnedSeries],
    places: Sequence[int],
    pin: Pin,
    catalogue: Mapping[str, Kpi],
    name: str,
) -> pa.Table:
    """Return the KPIs of several shifts as one, each component of each of them a member."""
    owners = make_owners(series, pin)
    shifts = [str(place) for place in places]
    members = [f"{component}/{shift}" for shift in shifts for component in owners.components]
    return evaluate_groups(
        join_series([take_bucket(facts, place) for place in places]),
        [one.attributes for one in series] * len(places),
        list(dict.fromkeys(kpi for kind in pin.kpis for kpi in pin.kpis[kind])),
        dict.fromkeys(members, name),
        owners=Owners(
            components=members,
            metrics=list(owners.metrics) * len(places),
            attributes={
                f"{component}/{shift}": own for shift in shifts for component, own in owners.attributes.items()
            },
            hidden=frozenset(row + n * len(series) for n in range(len(places)) for row in owners.hidden),
        ),
        catalogue=catalogue,
    )
