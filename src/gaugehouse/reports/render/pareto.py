"""Causes of downtime in the order of what they cost: the few that are most of it stand first."""

import polars as pl
import pyarrow as pa

from gaugehouse.reports.render.traffic import as_frame


def rank_causes(downtime: pa.Table) -> tuple[str, pl.DataFrame]:
    """Return what downtime is ranked by, and its causes.

    Args:
        downtime: DOWNTIME.

    Returns:
        `reason`, or `component` where there is one reason only; and one row per cause, the largest first: that column,
        downtime_s, occurrences, most (the component or reason with the largest part), share, cumulated (up to and with
        this row). [s], [1]
    """
    lost = as_frame(downtime).filter(pl.col("downtime_s") > 0)
    key, other = ("reason", "component") if lost["reason"].n_unique() > 1 else ("component", "reason")
    by_pair = lost.group_by(key, other).agg(pl.col("downtime_s", "occurrences").sum())
    ranked = by_pair.sort("downtime_s", key, other, descending=[True, False, False]).group_by(key, maintain_order=True)
    causes = ranked.agg(pl.col("downtime_s", "occurrences").sum(), pl.col(other).first().alias("most"))
    share = pl.col("downtime_s") / pl.col("downtime_s").sum()
    causes = causes.sort("downtime_s", key, descending=[True, False])
    return key, causes.with_columns(share.alias("share"), share.cum_sum().clip(0.0, 1.0).alias("cumulated"))
