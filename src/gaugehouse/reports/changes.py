"""What changed between two revisions of a report, and because of what. Pure: tables in, a table out."""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gaugehouse.kpi import Status
from gaugehouse.measurements.schema import TIMESTAMP
from gaugehouse.reports.causes import Causes
from gaugehouse.reports.digest import format_number
from gaugehouse.reports.result import COMPARISON, GROUPS, RESULT, VALUES, Answer

Key = tuple[str, str]  # component, metric

KEYS = ("component", "metric", "kpi", "bucket_start", "bucket_end")
AGES = ("old", "new")
TOLD = ("value", "unit", "coverage", "n", "status", "reason")
CHANGES = pa.schema(
    [
        pa.field("table", pa.string(), nullable=False),  # values, comparison (what it is compared with), groups
        pa.field("component", pa.string(), nullable=False),  # in groups: the group
        pa.field("metric", pa.string()),
        pa.field("kpi", pa.string(), nullable=False),
        pa.field("bucket_start", TIMESTAMP, nullable=False),
        pa.field("bucket_end", TIMESTAMP, nullable=False),
        pa.field("old_value", pa.float64()),
        pa.field("new_value", pa.float64()),
        pa.field("old_coverage", pa.float64()),
        pa.field("new_coverage", pa.float64()),
        pa.field("old_status", pa.string()),  # null: the earlier revision had no such value
        pa.field("new_status", pa.string()),  # null: the later one has none
        pa.field("late_rows", pa.int64(), nullable=False),
        pa.field("because", pa.string(), nullable=False),
    ]
)
UNEXPLAINED = "nothing that is known of changed"
REACH_US = 35 * 86_400_000_000  # how far a row can reach: KPI.md, look-back never exceeds 35 days


def find_changes(old: Answer, new: Answer, causes: Causes) -> pa.Table:
    """Return what two revisions tell differently, table by table, in the order of names and time.

    Numbers are compared at the 12 digits of the digest: what it calls the same is no change.

    Args:
        old: What the earlier revision tells.
        new: What the later one tells.
        causes: What may have made the difference.

    Returns:
        Columns of CHANGES.
    """
    return pa.concat_tables([_find_table_changes(name, old, new, causes) for name in (VALUES, COMPARISON, GROUPS)])


def _find_table_changes(name: str, old: Answer, new: Answer, causes: Causes) -> pa.Table:
    both = _paired(_read_table(old, name), _read_table(new, name))
    changed = both.filter(pa.array(_differs(both)))
    changed = changed.take(pc.sort_indices(changed, sort_keys=[(key, "ascending") for key in KEYS]))
    explained = list(_explain(changed, name, causes))
    columns = {
        "table": pa.array([name] * changed.num_rows, pa.string()),
        **{key: changed[key] for key in KEYS},
        **{f"{age}_{told}": changed[f"{told}_{age}"] for told in ("value", "coverage", "status") for age in AGES},
        "late_rows": pa.array([count for count, _ in explained], pa.int64()),
        "because": pa.array([text for _, text in explained], pa.string()),
    }
    return pa.table({key: columns[key] for key in CHANGES.names}).cast(CHANGES)


def _read_table(answer: Answer, name: str) -> pa.Table:
    """Return a table of an answer with the columns of RESULT; what values are compared with counts as a value."""
    table = answer.tables.get(name)
    if table is None:
        return RESULT.empty_table()
    if name == GROUPS:
        table = table.rename_columns({"group": "component"})
    if name == COMPARISON:
        is_known = table["previous"].is_valid()
        table = pa.table(
            {
                **{key: table[key] for key in KEYS},
                "value": table["previous"],
                "unit": pa.array([""] * table.num_rows, pa.string()),
                "coverage": pa.nulls(table.num_rows, pa.float64()),
                "n": pa.array(np.zeros(table.num_rows, np.int64)),
                "status": pc.if_else(is_known, Status.OK.value, Status.UNDEFINED.value),
                "reason": pc.if_else(is_known, None, table["reason"]),
            }
        )
    return table.select(RESULT.names)


def _paired(old: pa.Table, new: pa.Table) -> pa.Table:
    """Return the rows of both side by side; a column of the side that lacks a row is null."""
    sides = []
    for table, age in ((old, "old"), (new, "new")):
        keys = {name: table[name] for name in KEYS}
        keys["metric"] = pc.fill_null(keys["metric"], "")  # a join matches no nulls; no metric has an empty name
        sides.append(pa.table({**keys, **{f"{name}_{age}": table[name] for name in TOLD}}))
    joined = sides[0].join(sides[1], keys=list(KEYS), join_type="full outer").combine_chunks()
    metric = pc.if_else(pc.equal(joined["metric"], ""), pa.scalar(None, pa.string()), joined["metric"])
    return joined.set_column(joined.column_names.index("metric"), "metric", metric)


def _differs(both: pa.Table) -> NDArray[np.bool_]:
    differs = np.zeros(both.num_rows, np.bool_)
    for name in TOLD:
        left, right = both[f"{name}_old"], both[f"{name}_new"]
        same = pc.fill_null(pc.equal(left, right), False)
        same = pc.or_(same, pc.and_(pc.is_null(left), pc.is_null(right)))
        other = ~same.to_numpy()
        if pa.types.is_floating(left.type):
            at = np.flatnonzero(other)
            texts = [[format_number(value) for value in side.take(pa.array(at)).to_pylist()] for side in (left, right)]
            other[at] = [a != b for a, b in zip(*texts, strict=True)]
        differs |= other
    return differs


# --- Causes -----------------------------------------------------------------------------------------------------------


def _explain(changed: pa.Table, name: str, causes: Causes) -> Iterator[tuple[int, str]]:
    """Yield for each change how many late rows lie in its bucket, and in words what it comes from."""
    late, attributes = _Places(causes.late), _Places(causes.of_series)
    bounds_us = [changed[key].cast(pa.int64()).to_pylist() for key in ("bucket_start", "bucket_end")]
    names = [changed[key].to_pylist() for key in ("component", "metric", "kpi")]
    for component, metric, kpi, start_us, end_us in zip(*names, *bounds_us, strict=True):
        who = None if name == GROUPS else component
        within = (start_us, end_us)
        if name == COMPARISON and causes.compared_us is not None:
            within = causes.compared_us
        own, others = late.find(who, metric)
        count, said = _name_late(causes, own, others, within)
        said += _name_changes(causes, who, attributes.find(who, metric)[0], kpi, within)
        if not said:  # a formula may look at other metrics, and rest on other definitions
            said = [f"{key[1]}: {causes.of_series[key]} changed" for key in attributes.find(who, metric)[1]]
            said += causes.of_kpi.values()
        yield count, " and ".join(dict.fromkeys(said)) or UNEXPLAINED


class _Places:
    """Series by component and by metric: a change asks for its own ones and for the others beside them."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._of_component: dict[str, list[Key]] = {}
        self._of_metric: dict[str, list[Key]] = {}
        self._all = list(keys)
        for key in self._all:
            self._of_component.setdefault(key[0], []).append(key)
            self._of_metric.setdefault(key[1], []).append(key)

    def find(self, component: str | None, metric: str | None) -> tuple[list[Key], list[Key]]:
        """Return the series of a metric and the others, of a component or (None, a group) of all of them."""
        if component is None:
            own = self._of_metric.get(metric or "", [])
            return own, [key for key in self._all if key[1] != metric]
        around = self._of_component.get(component, [])
        return [key for key in around if key[1] == metric], [key for key in around if key[1] != metric]


def _name_late(causes: Causes, own: list[Key], others: list[Key], within: tuple[int, int]) -> tuple[int, list[str]]:
    """Return how many late rows a change has in its bucket, and these, or else those nearby, or of other metrics."""
    around = (within[0] - REACH_US, within[1] + REACH_US)
    count = _count_late(causes, own, within)
    if count:
        return count, [f"{count:,} late {_rows(count)}"]
    near = _count_late(causes, own, around)
    if near:
        return 0, [f"{near:,} late {_rows(near)} before or behind it"]
    counts = {
        metric: _count_late(causes, [key for key in others if key[1] == metric], around)
        for metric in sorted({key[1] for key in others})
    }
    return 0, [f"{n:,} late {_rows(n)} of {metric}" for metric, n in counts.items() if n]


def _name_changes(
    causes: Causes, component: str | None, own: list[Key], kpi: str, within: tuple[int, int]
) -> list[str]:
    """Return what was changed on purpose that concerns a value."""
    attributes = [causes.of_series[key] for key in own]
    if component is None:
        attributes += causes.of_component.values()
    elif component in causes.of_component:
        attributes.append(causes.of_component[component])
    return [
        *(f"{what} changed" for what in attributes),
        *([causes.of_kpi[kpi]] if kpi in causes.of_kpi else []),
        *(
            window.text
            for window in causes.windows
            if window.concerns(component) and window.start_us < within[1] and window.end_us > within[0] - REACH_US
        ),
        *causes.of_all,
    ]


def _count_late(causes: Causes, keys: list[Key], within: tuple[int, int]) -> int:
    counts = [np.searchsorted(causes.late[key], within) for key in keys]
    return int(sum(end - first for first, end in counts))


def _rows(count: int) -> str:
    return "row" if count == 1 else "rows"
