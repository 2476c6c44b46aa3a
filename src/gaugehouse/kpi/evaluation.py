"""From facts to a table of results: one row per series, KPI and bucket."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gaugehouse.kpi.catalogue import Kpi, get_kpis
from gaugehouse.kpi.facts import KIND_CODES, Facts
from gaugehouse.kpi.formulas import KIND_REASONS, REASON_TEXTS, STATUSES, Reason, Status, find_coverage
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


def evaluate(
    facts: Facts, attributes: Sequence[MetricAttributes], kpis: Sequence[str], *, skip_inapplicable: bool = False
) -> pa.Table:
    """Return the KPIs of every series and bucket.

    Args:
        facts: See `compute_facts`; with what `find_wanted` says of the KPIs.
        attributes: One per series; gives units and kinds.
        kpis: Names from the catalogue; each counts once.
        skip_inapplicable: Leave out KPIs that a metric's kind does not have, instead of answering `undefined`.

    Returns:
        RESULTS rows ordered by series, KPI (as asked) and bucket. `value` is null unless the status is ok or partial,
        or a silent bucket has an honest number (0 measurements, 0 % coverage).

    Raises:
        Refused: A KPI is not in the catalogue.
    """
    asked = get_kpis(kpis)
    shape = (facts.points.shape[0], len(asked), facts.points.shape[1])
    value = np.empty(shape)
    status = np.empty(shape, np.int8)
    reason = np.empty(shape, np.int8)
    applies = np.empty(shape[:2], np.bool_)
    for k, kpi in enumerate(asked):
        outcome = kpi.compute(facts)
        applies[:, k] = _mark_inapplicable(kpi, facts)
        value[:, k], status[:, k], reason[:, k] = outcome.value, outcome.status, outcome.reason
    _undefine(facts, applies, value, status, reason)
    table = _build_table(facts, _find_units(asked, attributes), asked, value, status, reason)
    if skip_inapplicable:
        table = table.filter(pa.array(np.repeat(applies.ravel(), shape[2])))
    return table


def _mark_inapplicable(kpi: Kpi, facts: Facts) -> NDArray[np.bool_]:
    return np.isin(facts.kind, [KIND_CODES[kind] for kind in kpi.kinds])


def _undefine(
    facts: Facts,
    applies: NDArray[np.bool_],
    value: NDArray[np.float64],
    status: NDArray[np.int8],
    reason: NDArray[np.int8],
) -> None:
    """Answer `undefined` where a KPI is not defined for the kind of metric."""
    reason_of_kind = np.array([KIND_REASONS[code] for code in sorted(KIND_REASONS)], np.int8)
    value[~applies] = np.nan
    status[~applies] = STATUSES.index(Status.UNDEFINED)
    kinds = np.broadcast_to(facts.kind[:, None], applies.shape)
    reason[~applies] = reason_of_kind[kinds[~applies]][:, None]


def _find_units(asked: Sequence[Kpi], attributes: Sequence[MetricAttributes]) -> tuple[NDArray[np.int64], list[str]]:
    """Return (code per series and KPI, unit of each code)."""
    metric_units = list(dict.fromkeys(item.unit for item in attributes))
    code_of_metric = {unit: code for code, unit in enumerate(metric_units)}
    rows = np.array([code_of_metric[item.unit] for item in attributes], np.int64)
    units = [kpi.unit.find_unit(unit) for unit in metric_units for kpi in asked]
    return rows[:, None] * len(asked) + np.arange(len(asked)), units


def _spell(codes: NDArray[np.generic], words: Sequence[str | None]) -> pa.Array:
    """Return codes as words."""
    return pa.DictionaryArray.from_arrays(pa.array(codes.ravel(), pa.int32()), pa.array(words, pa.string())).cast(
        pa.string()
    )


def _build_table(
    facts: Facts,
    units: tuple[NDArray[np.int64], list[str]],
    asked: Sequence[Kpi],
    value: NDArray[np.float64],
    status: NDArray[np.int8],
    reason: NDArray[np.int8],
) -> pa.Table:
    shape = value.shape
    series, kpi, bucket = (np.arange(size, dtype=np.int32) for size in shape)

    def spread(cells: NDArray[np.generic]) -> NDArray[np.generic]:
        return np.broadcast_to(cells, shape).ravel()

    coverage = spread(find_coverage(facts)[:, None, :])
    columns = {
        "series": pa.array(spread(series[:, None, None])),
        "kpi": _spell(spread(kpi[:, None]), [item.name for item in asked]),
        "bucket": pa.array(spread(bucket)),
        "value": pa.array(value.ravel(), mask=np.isnan(value).ravel()),
        "unit": _spell(spread(units[0][:, :, None]), units[1]),
        "coverage": pa.array(coverage, mask=np.isnan(coverage)),
        "n": pa.array(spread(facts.points["n"][:, None, :])),
        "status": _spell(status, [item.value for item in STATUSES]),
        "reason": _spell(reason, [REASON_TEXTS[item] for item in Reason]),
    }
    return pa.table(columns, schema=RESULTS)
