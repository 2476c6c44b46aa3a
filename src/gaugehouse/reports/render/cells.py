"""Cells as text, column by column: instants, and what a spreadsheet would run. Shared by every answer with rows."""

import polars as pl

# What Excel or LibreOffice take for the beginning of a formula, the full-width forms of some locales included.
FORMULA_STARTS = r"^[=+\-@\t\r\n＝＋－＠]"
WHOLE_SECONDS = "%Y-%m-%dT%H:%M:%S"
WITH_MICROSECONDS = "%Y-%m-%dT%H:%M:%S%.6f"


def write_instants(frame: pl.DataFrame, timezone: str | None = None) -> pl.DataFrame:
    """Return the frame with every instant as RFC 3339 text; microseconds stand there only when they are not zero.

    Args:
        frame: Any columns.
        timezone: IANA zone whose local time and offset are written; UTC with `Z` without it.
    """
    instants = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.Datetime)]
    offset = "Z" if timezone is None else "%:z"
    return frame.with_columns(
        pl.when(pl.col(name).dt.microsecond() == 0)
        .then(_localize(name, timezone).dt.strftime(WHOLE_SECONDS + offset))
        .otherwise(_localize(name, timezone).dt.strftime(WITH_MICROSECONDS + offset))
        .alias(name)
        for name in instants
    )


def _localize(name: str, timezone: str | None) -> pl.Expr:
    return pl.col(name) if timezone is None else pl.col(name).dt.convert_time_zone(timezone)


def disarm_formulas(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame with `'` before every text that a spreadsheet would take for a formula."""
    texts = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.String)]
    return frame.with_columns(
        pl.when(pl.col(name).str.contains(FORMULA_STARTS))
        .then(pl.lit("'") + pl.col(name))
        .otherwise(pl.col(name))
        .alias(name)
        for name in texts
    )
