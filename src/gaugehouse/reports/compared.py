"""Values beside those of another period: difference and per cent, null with the reason where either side is missing."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gaugehouse.kpi import Status
from gaugehouse.reports.pin import Pin, PinnedComparison
from gaugehouse.reports.result import COMPARED

KEY = ("component", "metric", "kpi")


def compare_values(values: pa.Table, others: pa.Table | None, pin: Pin, comparison: PinnedComparison) -> pa.Table:
    """Return for each row of a result the value of its partner, with the columns of COMPARED, in the same order.

    Args:
        values: Columns of RESULT, of the report.
        others: The same, of the period that it is compared with; None without one. Both have the same series and KPIs.
        pin: Of the report.
        comparison: Which bucket stands beside which.
    """
    place = _find_bucket(values, pin.edges_us)
    partner = comparison.partner[place]
    rows = np.full(values.num_rows, -1, np.int64)
    if others is not None:
        keys, other_keys = _number_keys(values), _number_keys(others)
        found = np.full((int(other_keys.max(initial=-1)) + 1, len(comparison.edges_us) - 1), -1, np.int64)
        found[other_keys, _find_bucket(others, comparison.edges_us)] = np.arange(others.num_rows)
        rows = np.where(partner >= 0, found[keys, np.maximum(partner, 0)], -1)
    value = _known_values(values)
    previous = _take(others, rows)
    difference = value - previous
    percent = np.where(previous != 0, 100 * difference / np.abs(np.where(previous == 0, np.nan, previous)), np.nan)
    numbers = {"previous": previous, "difference": difference, "percent": percent}
    columns = {name: pa.array(column, mask=np.isnan(column)) for name, column in numbers.items()}
    columns["reason"] = _say_why(values, others, rows, place, numbers | {"value": value}, comparison)
    return pa.table(
        {name: columns.get(name, values[name] if name in values.column_names else None) for name in COMPARED.names}
    ).cast(COMPARED)


def _find_bucket(table: pa.Table, edges_us: NDArray[np.int64]) -> NDArray[np.int64]:
    starts_us = table["bucket_start"].cast(pa.int64()).to_numpy()
    return np.asarray(np.searchsorted(edges_us, starts_us, side="right") - 1, np.int64)


def _number_keys(table: pa.Table) -> NDArray[np.int64]:
    """Return for each row the number of its (component, metric, KPI), counted in the order of the rows.

    The rows of one key stand together, and two results of the same pin have the same keys in the same order.
    """
    codes = np.column_stack(
        [
            pc.fill_null(table[name].combine_chunks().dictionary_encode().indices, -1).to_numpy(zero_copy_only=False)
            for name in KEY
        ]
    )
    is_first = np.ones(len(codes), np.bool_)
    is_first[1:] = (codes[1:] != codes[:-1]).any(axis=1)
    return np.cumsum(is_first) - 1


def _known_values(table: pa.Table) -> NDArray[np.float64]:
    """Return the values, NaN where there is none: the 0 of a silent period is no measured 0."""
    is_known = pc.is_in(table["status"], pa.array([Status.OK, Status.PARTIAL], pa.string()))
    values: NDArray[np.float64] = pc.if_else(is_known, table["value"], None).to_numpy(zero_copy_only=False)
    return values


def _take(others: pa.Table | None, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    if others is None:
        return np.full(len(rows), np.nan)
    return np.where(rows >= 0, _known_values(others)[np.maximum(rows, 0)], np.nan)


def _say_why(
    values: pa.Table,
    others: pa.Table | None,
    rows: NDArray[np.int64],
    place: NDArray[np.int64],
    numbers: Mapping[str, NDArray[np.float64]],
    comparison: PinnedComparison,
) -> pa.Array:
    """Return per row why there is no difference, or no per cent; null where there are both."""
    of_bucket = pa.array(comparison.reasons, pa.string()).take(pa.array(place))
    why_none = pc.coalesce(values["reason"].combine_chunks(), values["status"].combine_chunks())
    then = pa.nulls(len(rows), pa.string())
    if others is not None:
        at = pa.array(rows, mask=rows < 0)
        then = pc.coalesce(others["reason"], others["status"]).combine_chunks().take(at)
    is_unknown, is_missing = (pa.array(np.isnan(numbers[name])) for name in ("value", "previous"))
    is_zero = pa.array(numbers["previous"] == 0)
    return pc.case_when(
        pc.make_struct(of_bucket.is_valid(), is_unknown, is_missing, is_zero),
        of_bucket,
        why_none,
        pc.binary_join_element_wise("then", then, ": ", null_handling="replace", null_replacement="no value"),
        pa.scalar("no per cent of 0"),
    )
