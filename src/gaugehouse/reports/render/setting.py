"""What every section of a page looks at: the document, its values joined with what is said of them, the style."""

from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from gaugehouse.measurements.period import find_zone
from gaugehouse.reports.render.blocks import Cell, Note, Pictures, Tone
from gaugehouse.reports.render.document import ReportDocument
from gaugehouse.reports.render.formats import RenderOptions
from gaugehouse.reports.render.quantities import (
    FIXED,
    NumberStyle,
    format_bare,
    format_difference,
    format_quantity,
    format_share,
)
from gaugehouse.reports.render.texts import breakable
from gaugehouse.reports.render.traffic import LIGHT_WORDS, SEVERITY, UNJUDGED, Light, build_board

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a page is laid out from.

    Args:
        document: What the report says.
        options: What the reader chose.
        style: Punctuation of numbers.
        zone: Whose clocks are shown.
        board: See `build_board`, with `severity` (0 is the worst light) and `excess` (how far off, as a share).
        pictures: Where sections put their charts.
    """

    document: ReportDocument
    options: RenderOptions
    style: NumberStyle
    zone: ZoneInfo
    board: pl.DataFrame
    pictures: Pictures


def make_setting(document: ReportDocument, options: RenderOptions) -> Setting:
    """Return what the sections of a page need."""
    return Setting(
        document=document,
        options=options,
        style=NumberStyle(decimal=options.decimal),
        zone=find_zone(options.timezone or document.period.timezone),
        board=build_board(document).with_columns(_severity(), _excess()),
        pictures=Pictures(),
    )


def _severity() -> pl.Expr:
    return pl.col("light").replace_strict(SEVERITY, default=UNJUDGED, return_dtype=pl.Int8).alias("severity")


def _excess() -> pl.Expr:
    """Return how far a value is from what is wanted, as a share of it: the worst come first."""
    value, target, lower, upper = (pl.col(name) for name in ("value", "target", "lower", "upper"))
    miss = pl.when(pl.col("higher_is_better")).then(target - value).otherwise(value - target)
    miss = pl.when(pl.col("higher_is_better").is_null()).then((value - target).abs()).otherwise(miss)
    scale = pl.max_horizontal(target.abs(), lower.abs(), upper.abs())
    return (pl.max_horizontal(miss, lower - value, value - upper) / scale).fill_nan(None).fill_null(0.0).alias("excess")


# --- Cells that several sections show ---------------------------------------------------------------------------------


def name_cell(name: str | None) -> Cell:
    """Return a cell with a name of a user."""
    return Cell(text=breakable(name) if name else "–")


def value_cell(row: Row, setting: Setting, *, with_unit: bool, mark: str = "", with_change: bool = True) -> Cell:
    """Return a value of the board with its light, and how it compares with the period before."""
    write = format_quantity if with_unit else format_bare
    light = row["light"] or ""
    change = note_change(row, setting.style) if with_change else None
    return Cell(
        text=write(row["value"], row["unit"], setting.style),
        light=light,
        light_word=LIGHT_WORDS[Light(light)] if light else "",
        mark=mark,
        notes=() if change is None else (change,),
    )


def coverage_cell(coverage: float | None, setting: Setting) -> Cell:
    """Return a share of time with a bar."""
    return Cell(
        text=format_share(coverage, setting.style), bar=None if coverage is None else min(max(coverage, 0.0), 1.0)
    )


def note_change(row: Row, style: NumberStyle) -> Note | None:
    """Return how a value moved since the period before, and whether that is good; None where nothing is compared."""
    if row["difference"] is None:
        return None
    difference, direction = row["difference"], row["higher_is_better"]
    text = format_difference(difference, row["percent"], row["unit"], style)
    if direction is None or difference == 0 or text.startswith("±"):
        return Note(text=text)
    tone: Tone = "better" if (difference > 0) is direction else "worse"
    return Note(text=f"{text} {tone}", tone=tone)


def write_wanted(row: Row, setting: Setting, *, with_unit: bool = True) -> str:
    """Return what a value should be, in words; empty without a target.

    `≥ 85 %`, `≤ 5`, `60 to 80 °C`, `20 ± 1 °C`; where a target has a limit of its own, both: `≥ 85 %, red below 80 %`.
    """

    def write(value: float, *, unit: bool = with_unit) -> str:
        function = format_quantity if unit else format_bare
        return function(value, row["unit"], setting.style, trim=True)

    target, lower, upper, up = (row[name] for name in ("target", "lower", "upper", "higher_is_better"))
    red = [f"red below {write(lower)}"] if lower is not None else []
    red += [f"red above {write(upper)}"] if upper is not None else []
    if target is None:
        return _write_band(lower, upper, write)
    if up is not None:
        return ", ".join([f"{'≥' if up else '≤'}{FIXED}{write(target)}", *red])
    margin = abs(target) * setting.document.judging.tolerance
    return ", ".join([f"{write(target, unit=False)}{FIXED}±{FIXED}{write(margin)}", *red])


def _write_band(lower: float | None, upper: float | None, write: Any) -> str:
    if lower is not None and upper is not None:
        return f"{write(lower, unit=False)} to {write(upper)}"
    if lower is not None:
        return f"≥{FIXED}{write(lower)}"
    return "" if upper is None else f"≤{FIXED}{write(upper)}"


def describe_left_out(shown: int, all_rows: int, what: str) -> str:
    """Return the sentence that says which rows of a table are not on the page; empty when all are."""
    if shown >= all_rows:
        return ""
    return (
        f"The {shown:,} worst of {all_rows:,} {what} are shown; all of them are in the XLSX, CSV, Parquet and JSON"
        " files of this report."
    )
