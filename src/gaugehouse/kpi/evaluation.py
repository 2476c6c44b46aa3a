"""From facts to a table of results: one row per series, KPI and bucket, or per group of components."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gaugehouse.kpi import kernel
from gaugehouse.kpi.calculation import NOWHERE, Calculation, Owners
from gaugehouse.kpi.catalogue import CATALOGUE, get_kpis
from gaugehouse.kpi.definition import Kpi
from gaugehouse.kpi.facts import KIND_CODES, Facts
from gaugehouse.kpi.groups import Groups
from gaugehouse.kpi.outcome import REASON_OF_KIND, STATUSES, Mask, Outcome, Reason, Status
from gaugehouse.kpi.readings import find_share
from gaugehouse.kpi.terms import Subject, SubjectKind
from gaugehouse.kpi.units import show_unit
from gaugehouse.measurements.metric import MetricAttributes

RESULTS = pa.schema(
    [
        pa.field("series", pa.int32(), nullable=False),  # index into the rows that the facts were computed from
        pa.field("kpi", pa.string(), nullable=False),
        pa.field("bucket", pa.int32(), nullable=False),  # [edges[bucket], edges[bucket + 1])
        pa.field("value", pa.float64()),
        pa.field("unit", pa.string(), nullable=False),
        pa.field("coverage", pa.float64()),  # share of the bucket, 0..1; null for a bucket without time
        pa.field("n", pa.int64(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
    ]
)

# As RESULTS, of components together. A KPI about components, not about one of their metrics, has no metric.
GROUP_RESULTS = pa.schema(
    [
        pa.field("group", pa.string(), nullable=False),
        pa.field("metric", pa.string()),
        pa.field("components", pa.int64(), nullable=False),  # how many the group has for this metric or KPI
        *(field for field in RESULTS if field.name != "series"),
    ]
)


STATE_METRIC = Subject(kind=SubjectKind.ATTRIBUTE, name="state_metric")  # of a machine, for OEE

_ORDERED_RESULTS = pa.schema([pa.field("place", pa.int32(), nullable=False), *GROUP_RESULTS])  # of the KPI as asked


def evaluate(
    facts: Facts,
    attributes: Sequence[MetricAttributes],
    kpis: Sequence[str],
    *,
    catalogue: Mapping[str, Kpi] = CATALOGUE,
    owners: Owners | None = None,
    skip_inapplicable: bool = False,
) -> pa.Table:
    """Return the KPIs of every series and bucket.

    A KPI that only names metrics is about the component: it is answered beside the first of them that the component
    has; where the component lacks the attribute that would name one, undefined beside every metric of a fitting kind.

    Args:
        facts: See `compute_facts`; with what `find_wanted` says of the KPIs.
        attributes: One per series; gives units, kinds and limits.
        kpis: Names; each counts once.
        catalogue: The KPIs there are: built in, and the project's.
        owners: Whose series these are; without it, formulas that name other metrics find none.
        skip_inapplicable: Leave out KPIs that a metric does not have, instead of answering `undefined`.

    Returns:
        RESULTS rows ordered by series, KPI (as asked) and bucket. `value` is null unless the status is ok or partial,
        or a silent bucket has an honest number (0 measurements, 0 % coverage).

    Raises:
        Refused: A KPI is not in the catalogue.
    """
    asked = get_kpis(kpis, catalogue)
    shape = (facts.points.shape[0], len(asked), facts.points.shape[1])
    rules = {name: kpi.rule for name, kpi in catalogue.items()}
    calculation = Calculation(facts, attributes, rules, rows=np.arange(shape[0]), owners=owners)
    cells = Outcome(np.empty(shape), np.empty(shape, np.int8), np.empty(shape, np.int32))
    applies = np.empty(shape[:2], np.bool_)
    for place, kpi in enumerate(asked):
        beside, lacking = _find_rows(kpi, calculation, facts)
        applies[:, place] = beside | lacking
        outcome = calculation.evaluate(kpi.name).copy()
        _undefine(outcome, facts, kpi, ~applies[:, place])
        cells.value[:, place], cells.status[:, place] = outcome.value, outcome.status
        cells.reason[:, place] = outcome.reason
    table = _build_table(facts, attributes, asked, cells, calculation)
    if skip_inapplicable:
        table = table.filter(pa.array(np.repeat(applies.ravel(), shape[2])))
    return table


def evaluate_groups(
    facts: Facts,
    attributes: Sequence[MetricAttributes],
    kpis: Sequence[str],
    group_of: Mapping[str, str],
    *,
    owners: Owners,
    catalogue: Mapping[str, Kpi] = CATALOGUE,
) -> pa.Table:
    """Return the KPIs of groups of components: a type, a label, the fleet.

    Facts of the components are merged and the formula is applied to the merged ones: a share is a ratio of sums.
    Components that do not have a KPI (another kind of metric, no attribute that names one) are no part of it.

    Args:
        facts: Of the series of all components.
        attributes: One per series.
        kpis: Names; each counts once.
        group_of: Group of each component; those without one count nowhere.
        owners: Whose series these are.
        catalogue: The KPIs there are.

    Returns:
        GROUP_RESULTS rows ordered by group, metric, KPI (as asked) and bucket; where no component has a KPI, none.

    Raises:
        Refused: A KPI is not in the catalogue.
    """
    asked = get_kpis(kpis, catalogue)
    rules = {name: kpi.rule for name, kpi in catalogue.items()}
    members = [
        place
        for place, component in enumerate(owners.components)
        if component in group_of and place not in owners.hidden
    ]
    everybody = Calculation(facts, attributes, rules, rows=np.array(members, np.int64), owners=owners)
    parts = [_ORDERED_RESULTS.empty_table()]
    for place, kpi in enumerate(asked):
        rows = everybody.rows[_find_rows(kpi, everybody, facts)[0]]
        keys = [
            (group_of[owners.components[row]], owners.metrics[row] if kpi.is_of_metric else None)
            for row in rows.tolist()
        ]
        names = sorted(set(keys), key=lambda key: (key[0], key[1] or ""))
        group_of_row = np.array([names.index(key) for key in keys], np.int64)
        groups = Groups(group_of=group_of_row, count=len(names))
        calculation = Calculation(facts, attributes, rules, rows=rows, owners=owners, groups=groups)
        if names:
            parts.append(_build_group_table(facts, attributes, calculation, groups, kpi, names, place))
    order = [(name, "ascending") for name in ("group", "metric", "place", "bucket")]
    return pa.concat_tables(parts).sort_by(order).select(GROUP_RESULTS.names)


def _find_rows(kpi: Kpi, calculation: Calculation, facts: Facts) -> tuple[Mask, Mask]:
    """Tell for each row whether a KPI is answered there, and whether it is because the component lacks an attribute."""
    rows = calculation.rows
    fits = np.isin(facts.kind, [KIND_CODES[kind] for kind in kpi.kinds])
    nowhere = np.zeros(len(rows), np.bool_)
    if kpi.is_of_metric:
        return fits[rows], nowhere
    beside = np.full(len(rows), NOWHERE, np.int64)
    subjects = [one for one, kinds in kpi.rule.formula.kinds_of.items() if kpi.kinds <= kinds]
    for subject in subjects:
        series = calculation.find_place(subject).series
        found = (beside == NOWHERE) & (series != NOWHERE) & fits[np.maximum(series, 0)]
        beside = np.where(found, series, beside)
    names_attributes = any(one.kind is SubjectKind.ATTRIBUTE for one in subjects)
    return beside == rows, (beside == NOWHERE) & fits[rows] if names_attributes else nowhere


def _undefine(outcome: Outcome, facts: Facts, kpi: Kpi, where: Mask) -> None:
    """Answer `undefined` where a metric does not have a KPI."""
    cells = np.broadcast_to(where[:, None], outcome.value.shape)
    reasons = REASON_OF_KIND[facts.kind] if kpi.is_of_metric else np.full(len(where), Reason.OTHER_METRIC, np.int32)
    outcome.mark(cells, Status.UNDEFINED, np.broadcast_to(reasons[:, None], outcome.value.shape))


def _find_unit(kpi: Kpi, metric_unit: str) -> str:
    return show_unit(kpi.unit, metric_unit) if kpi.is_of_metric else kpi.unit


def _find_units(asked: Sequence[Kpi], attributes: Sequence[MetricAttributes]) -> tuple[NDArray[np.int64], list[str]]:
    """Return (code per series and KPI, unit of each code)."""
    metric_units = list(dict.fromkeys(item.unit for item in attributes))
    code_of_metric = {unit: code for code, unit in enumerate(metric_units)}
    rows = np.array([code_of_metric[item.unit] for item in attributes], np.int64)
    units = [_find_unit(kpi, unit) for unit in metric_units for kpi in asked]
    return rows[:, None] * len(asked) + np.arange(len(asked)), units


def _spell(codes: NDArray[np.generic], words: Sequence[str | None]) -> pa.Array:
    """Return codes as words."""
    return pa.DictionaryArray.from_arrays(pa.array(codes.ravel(), pa.int32()), pa.array(words, pa.string())).cast(
        pa.string()
    )


def _spell_cells(cells: Outcome, texts: Sequence[str | None]) -> dict[str, pa.Array]:
    """Return value, status and reason as columns."""
    return {
        "value": pa.array(cells.value.ravel(), mask=np.isnan(cells.value).ravel()),
        "status": _spell(cells.status, [item.value for item in STATUSES]),
        "reason": _spell(cells.reason, texts),
    }


def _of_kpi(facts: Facts, kpi: Kpi) -> Facts:
    """Return the facts that coverage and n of a KPI are about."""
    return facts.planned if facts.planned is not None and kpi.rule.is_planned else facts


def _find_covered(facts: Facts, kpi: Kpi, calculation: Calculation) -> tuple[kernel.Integers, kernel.Integers]:
    """Return (covered time, all time) per row: what coverage is a share of. [us]

    A KPI about planned busy time is covered while the state of its machine is known, whichever metric it stands beside.
    """
    own = _of_kpi(facts, kpi)
    covered_us, length_us = own.holds["covered_us"][calculation.rows], own.length_us[calculation.rows]
    if not kpi.rule.is_planned:
        return covered_us, length_us
    state = calculation.find_place(STATE_METRIC).series
    has_state, at = (state != NOWHERE)[:, None], np.maximum(state, 0)
    known_us = (own.length_us - own.unknown_us)[at]
    return np.where(has_state, known_us, covered_us), np.where(has_state, own.length_us[at], length_us)


def _build_table(
    facts: Facts,
    attributes: Sequence[MetricAttributes],
    asked: Sequence[Kpi],
    cells: Outcome,
    calculation: Calculation,
) -> pa.Table:
    shape = cells.value.shape
    series, kpi, bucket = (np.arange(size, dtype=np.int32) for size in shape)

    def spread(part: NDArray[np.generic]) -> NDArray[np.generic]:
        return np.broadcast_to(part, shape).ravel()

    codes, units = _find_units(asked, attributes)
    coverage, n = np.empty(shape), np.empty(shape, np.int64)
    for place, one in enumerate(asked):
        coverage[:, place] = find_share(*_find_covered(facts, one, calculation))
        n[:, place] = _of_kpi(facts, one).points["n"]
    columns = _spell_cells(cells, calculation.texts.texts) | {
        "series": pa.array(spread(series[:, None, None])),
        "kpi": _spell(spread(kpi[:, None]), [item.name for item in asked]),
        "bucket": pa.array(spread(bucket)),
        "unit": _spell(spread(codes[:, :, None]), units),
        "coverage": pa.array(coverage.ravel(), mask=np.isnan(coverage).ravel()),
        "n": pa.array(n.ravel()),
    }
    return pa.table({name: columns[name] for name in RESULTS.names}, schema=RESULTS)


def _build_group_table(  # noqa: PLR0913, PLR0917 - the parts of one table
    facts: Facts,
    attributes: Sequence[MetricAttributes],
    calculation: Calculation,
    groups: Groups,
    kpi: Kpi,
    names: Sequence[tuple[str, str | None]],
    place: int,
) -> pa.Table:
    cells = calculation.evaluate(kpi.name)
    count, buckets = cells.value.shape
    rows = calculation.rows
    covered_us, length_us = (groups.add_up(one) for one in _find_covered(facts, kpi, calculation))
    n = groups.add_up(_of_kpi(facts, kpi).points["n"][rows])
    coverage = find_share(covered_us, length_us)
    units = [_find_unit(kpi, attributes[rows[row]].unit) for row in groups.firsts.tolist()]
    group = np.repeat(np.arange(count), buckets)
    columns = _spell_cells(cells, calculation.texts.texts) | {
        "place": pa.array(np.full(count * buckets, place, np.int32)),
        "group": _spell(group, [name for name, _ in names]),
        "metric": _spell(group, [metric for _, metric in names]),
        "components": pa.array(np.bincount(groups.group_of, minlength=count)[group]),
        "kpi": pa.array([kpi.name] * (count * buckets)),
        "bucket": pa.array(np.tile(np.arange(buckets, dtype=np.int32), count)),
        "unit": _spell(group, units),
        "coverage": pa.array(coverage.ravel(), mask=np.isnan(coverage).ravel()),
        "n": pa.array(n.ravel()),
    }
    return pa.table({name: columns[name] for name in _ORDERED_RESULTS.names}, schema=_ORDERED_RESULTS)
