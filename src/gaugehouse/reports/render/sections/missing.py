"""What is missing, and why: series with gaps, values without a number, time that was taken out on purpose."""

from collections.abc import Iterator

import polars as pl

from gaugehouse.reports.render.blocks import Block, Cell, Column, Line, Section, Table
from gaugehouse.reports.render.instants import format_instant
from gaugehouse.reports.render.quantities import format_duration
from gaugehouse.reports.render.setting import Row, Setting, coverage_cell, name_cell
from gaugehouse.reports.render.texts import breakable, clean, count_of, join_names
from gaugehouse.reports.render.traffic import as_frame

SERIES_ROWS = 60  # two pages; a fleet by radio has hundreds that lack a minute


def build_missing(setting: Setting) -> Section:
    """Return the tables on gaps, reasons and exclusions, or one sentence that there are none."""
    blocks: list[Block] = [*_list_series(setting), *_list_reasons(setting), *_list_exclusions(setting)]
    if not setting.document.is_whole:
        blocks.append(Line(text="Which series are incomplete could not be found out for this file; see above."))
    if not blocks:
        blocks = [Line(text="No series is incomplete, every value has a number, and no time was taken out.")]
    return Section(name="missing", title="What is missing, and why", blocks=tuple(blocks))


def _list_series(setting: Setting) -> Iterator[Block]:
    missing = as_frame(setting.document.missing).sort("coverage", "component", "metric", nulls_last=False)
    if missing.is_empty():
        return
    shown = missing.head(min(setting.options.page_rows, SERIES_ROWS))
    yield Table(
        caption="Incomplete series, the least covered first",
        columns=(
            Column(title="Component", weight=1),
            Column(title="Metric", weight=0.8),
            Column(title="Coverage", align="right"),
            Column(title="Longest gap", align="right"),
            Column(title="Why", weight=1.5),
        ),
        rows=tuple(_series_row(row, setting) for row in shown.to_dicts()),
        left_out=_more(missing.height - shown.height, "series", "series"),
    )


def _more(count: int, singular: str, plural: str) -> str:
    if not count:
        return ""
    more = count_of(count, f"more {singular}", f"more {plural}")
    return f"{more}: in the XLSX, CSV, Parquet and JSON files of this report."


def _series_row(row: Row, setting: Setting) -> tuple[Cell, ...]:
    return (
        name_cell(row["component"]),
        name_cell(row["metric"]),
        coverage_cell(row["coverage"], setting),
        Cell(text=format_duration(row["longest_gap_s"], setting.style)),
        Cell(text=breakable(row["reason"])),
    )


def _list_reasons(setting: Setting) -> Iterator[Block]:
    """Yield why values have no number, rest on incomplete data, or are not judged; a row per reason."""
    has_number = pl.col("value").is_not_null()
    for caption, column, is_concerned in (
        ("Values without a number", "reason", ~has_number),
        ("Values that rest on incomplete data", "reason", has_number & (pl.col("status") != "ok")),
        ("Values that are not judged", "grey_reason", has_number & pl.col("grey_reason").is_not_null()),
    ):
        concerned = setting.board.filter(is_concerned)
        if concerned.is_empty():
            continue
        concerned = concerned.with_columns(pl.col(column).fill_null("no reason was given").alias("reason"))
        reasons = concerned.group_by("reason", maintain_order=True).agg(
            pl.len().alias("values"),
            pl.col("title").unique(maintain_order=True).alias("titles"),
            pl.col("component").unique(maintain_order=True).alias("components"),
        )
        reasons = reasons.sort("values", "reason", descending=[True, False])
        shown = reasons.head(setting.options.page_rows)
        yield Table(
            caption=caption,
            columns=(
                Column(title="Reason", weight=1.6),
                Column(title="Values", align="right"),
                Column(title="KPIs", weight=1),
                Column(title="Components", weight=1.2),
            ),
            rows=tuple(_reason_row(row) for row in shown.to_dicts()),
            left_out=_more(reasons.height - shown.height, "reason", "reasons"),
        )


def _reason_row(row: Row) -> tuple[Cell, ...]:
    return (
        Cell(text=breakable(row["reason"])),
        Cell(text=f"{row['values']:,}"),
        Cell(text=breakable(join_names(row["titles"]))),
        Cell(text=breakable(join_names(row["components"]))),
    )


def _list_exclusions(setting: Setting) -> Iterator[Block]:
    excluded = as_frame(setting.document.exclusions).sort("start", "component")
    if excluded.is_empty():
        return
    shown = excluded.head(setting.options.page_rows)
    yield Table(
        caption="Time taken out of the period on purpose",
        columns=(
            Column(title="Component", weight=1),
            Column(title="From", weight=1.1),
            Column(title="Until", weight=1.1),
            Column(title="Length", align="right"),
            Column(title="By", weight=0.7),
            Column(title="Reason", weight=1.2),
        ),
        rows=tuple(_exclusion_row(row, setting) for row in shown.to_dicts()),
        left_out=_more(excluded.height - shown.height, "window", "windows"),
    )


def _exclusion_row(row: Row, setting: Setting) -> tuple[Cell, ...]:
    return (
        name_cell(row["component"]),
        Cell(text=format_instant(row["start"], setting.zone)),
        Cell(text=format_instant(row["end"], setting.zone)),
        Cell(text=format_duration((row["end"] - row["start"]).total_seconds(), setting.style)),
        name_cell(clean(row["author"])),
        Cell(text=breakable(row["reason"])),
    )
