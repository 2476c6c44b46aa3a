"""Traffic lights: a value against its target, or a reason why it is not judged.

- Limits first: a value outside of `lower` or `upper` is red.
- `target` with a direction: reached is green. Missed is amber up to the limit on that side; where there is no limit, up
  to the tolerance (a share of the target); beyond it is red.
- `target` without a direction: within the tolerance green, within twice the tolerance amber, else red; between two
  limits, green.
- Limits alone: inside is green, but amber within the tolerance of a limit (a share of the band, or of a single limit).
- Grey where the value is missing, and where coverage is below the minimum: a number that half of the period knows
  nothing about is neither good nor bad. KPIs that say how good the data are (coverage itself) are judged nevertheless.

A light is never colour alone: each has its own shape and a word.
"""

from enum import StrEnum

import polars as pl
import pyarrow as pa

from gaugehouse.reports.render.document import Judging, ReportDocument

KEY = ("component", "metric", "kpi")


class Light(StrEnum):
    """What a value means, worst first."""

    RED = "red"
    AMBER = "amber"
    GREY = "grey"
    GREEN = "green"


LIGHT_WORDS: dict[Light, str] = {
    Light.RED: "off target",
    Light.AMBER: "borderline",
    Light.GREY: "not judged",
    Light.GREEN: "on target",
}
SEVERITY = {light.value: place for place, light in enumerate(Light)}  # 0 is the worst
UNJUDGED = len(SEVERITY)  # no target: no light
PERCENT = 100


def build_board(document: ReportDocument) -> pl.DataFrame:
    """Return every total with all that a table says of it.

    Returns:
        The columns of RESULT, in its order of rows, and target, lower, upper, light (null without a target),
        grey_reason, previous, difference, percent, comparison_reason, title, higher_is_better, judges_data.
    """
    board = as_frame(document.totals)
    comparison = as_frame(document.comparison).drop("value").rename({"reason": "comparison_reason"})
    for other in (as_frame(document.targets), comparison):
        board = board.join(other.unique(KEY, keep="first"), on=KEY, how="left", nulls_equal=True, maintain_order="left")
    board = board.join(_define(document), on="kpi", how="left", maintain_order="left")
    return board.with_columns(pl.col("title").fill_null(pl.col("kpi"))).with_columns(
        judge(document.judging).alias("light"), _explain_grey(document.judging).alias("grey_reason")
    )


def as_frame(table: pa.Table) -> pl.DataFrame:
    """Return an Arrow table as a frame."""
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)  # noqa: S101  # from_arrow gives a Series for arrays only; narrows the type
    return frame


def _define(document: ReportDocument) -> pl.DataFrame:
    return pl.DataFrame(
        [(one.name, one.title, one.higher_is_better, one.judges_data) for one in document.kpis],
        schema={"kpi": pl.String, "title": pl.String, "higher_is_better": pl.Boolean, "judges_data": pl.Boolean},
        orient="row",
    )


def judge(judging: Judging) -> pl.Expr:
    """Return the light of each row that has value, coverage, target, lower, upper, higher_is_better, judges_data."""
    return (
        pl.when(~_has_target())
        .then(None)
        .when(pl.col("value").is_null() | _is_thin(judging))
        .then(pl.lit(Light.GREY.value))
        .when(_is_broken() | _is_missed_by_far(judging.tolerance))
        .then(pl.lit(Light.RED.value))
        .when(_is_missed(judging.tolerance) | _is_near_a_limit(judging.tolerance))
        .then(pl.lit(Light.AMBER.value))
        .otherwise(pl.lit(Light.GREEN.value))
    )


def _explain_grey(judging: Judging) -> pl.Expr:
    covered = (pl.col("coverage") * PERCENT).floor().cast(pl.Int64)
    return (
        pl.when(~_has_target())
        .then(None)
        .when(pl.col("value").is_null())
        .then(pl.col("reason").fill_null("there is no value"))
        .when(_is_thin(judging))
        .then(pl.format("data cover only {} % of the time", covered))
        .otherwise(None)
    )


def _has_target() -> pl.Expr:
    return pl.any_horizontal(*(pl.col(name).is_not_null() for name in ("target", "lower", "upper")))


def _true(condition: pl.Expr) -> pl.Expr:
    """Read an unknown answer as no: a comparison with a missing limit is not broken."""
    return condition.fill_null(value=False)


def _is_thin(judging: Judging) -> pl.Expr:
    return _true(pl.col("coverage") < judging.min_coverage) & ~_true(pl.col("judges_data"))


def _is_broken() -> pl.Expr:
    return _true(pl.col("value") < pl.col("lower")) | _true(pl.col("value") > pl.col("upper"))


def _find_miss() -> tuple[pl.Expr, pl.Expr]:
    """Return by how much a target is missed, and the limit on that side; negative and null where it is reached."""
    excess = pl.col("value") - pl.col("target")
    up = pl.col("higher_is_better")
    return pl.when(up).then(-excess).otherwise(excess), pl.when(up).then(pl.col("lower")).otherwise(pl.col("upper"))


def _is_between_limits() -> pl.Expr:
    return pl.col("lower").is_not_null() & pl.col("upper").is_not_null()


def _is_missed(tolerance: float) -> pl.Expr:
    miss, _limit = _find_miss()
    off = (pl.col("value") - pl.col("target")).abs() > tolerance * pl.col("target").abs()
    undirected = pl.col("higher_is_better").is_null()
    return _true(pl.when(undirected).then(off & ~_is_between_limits()).otherwise(miss > 0))


def _is_missed_by_far(tolerance: float) -> pl.Expr:
    miss, limit = _find_miss()
    margin = tolerance * pl.col("target").abs()
    far_off = ((pl.col("value") - pl.col("target")).abs() > 2 * margin) & ~_is_between_limits()
    undirected = pl.col("higher_is_better").is_null()
    return _true(pl.when(undirected).then(far_off).otherwise((miss > margin) & (miss > 0) & limit.is_null()))


def _is_near_a_limit(tolerance: float) -> pl.Expr:
    """Tell values inside limits that stand alone, but close to one of them."""
    value, lower, upper = pl.col("value"), pl.col("lower"), pl.col("upper")
    span = pl.when(_is_between_limits()).then(upper - lower).otherwise(pl.coalesce(lower, upper).abs())
    near = _true(value - lower < tolerance * span) | _true(upper - value < tolerance * span)
    return pl.col("target").is_null() & near


def count_lights(board: pl.DataFrame) -> dict[Light, int]:
    """Return how many values have each light, worst first; without any target, all are 0."""
    counts = dict(board["light"].drop_nulls().value_counts().iter_rows())
    return {light: counts.get(light.value, 0) for light in Light}
