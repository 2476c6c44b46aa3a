"""What a reader must know first: how many values are on target, and which are not."""

from collections.abc import Sequence

import polars as pl

from gaugehouse.reports.render.blocks import Block, Cell, Column, Line, Section, Table, Tile, Tiles
from gaugehouse.reports.render.instants import format_period
from gaugehouse.reports.render.quantities import format_share
from gaugehouse.reports.render.setting import (
    Row,
    Setting,
    coverage_cell,
    name_cell,
    value_cell,
    write_wanted,
)
from gaugehouse.reports.render.texts import breakable, clean, count_of
from gaugehouse.reports.render.traffic import LIGHT_WORDS, Light, count_lights

ATTENTION_ROWS = 12
MATRIX_COLUMNS = 6
MATRIX_ROWS = 40
SEVERE = 2  # red and amber are below it


def build_summary(setting: Setting) -> Section:
    """Return the sentence, the lights, what needs attention, and all lights in one table where they fit."""
    blocks: list[Block] = [Line(text=_describe(setting))]
    judged = setting.board.filter(pl.col("light").is_not_null())
    if setting.board.is_empty() and not setting.document.is_whole:
        blocks.append(Line(text="The values of the whole period could not be computed, so none of them is judged."))
    elif judged.is_empty():
        blocks.append(Line(text="No targets are set for these values, so none of them is judged."))
    else:
        blocks.append(Tiles(tiles=tuple(_tiles(judged))))
        blocks += _list_attention(judged, setting)
        blocks += _draw_matrix(judged, setting)
    return Section(name="summary", title="Summary", blocks=tuple(blocks))


def _describe(setting: Setting) -> str:
    document, board = setting.document, setting.board
    if board.is_empty() and not document.is_whole:
        return f"{count_of(len(document.components), 'component')}; {count_of(document.values.num_rows, 'value')}."
    series = board.select("component", "metric").drop_nulls().unique().height
    about = f"{count_of(len(document.components), 'component')} with {count_of(series, 'series', 'series')}"
    parts = [f"{about} and {count_of(board['kpi'].n_unique(), 'KPI')}: {count_of(board.height, 'value')}"]
    without = board.filter(pl.col("value").is_null()).height
    if without:
        parts.append(f"{count_of(without, 'of them has', 'of them have')} no number, for reasons given below")
    coverage = board.group_by("component", "metric").agg(pl.col("coverage").min())["coverage"].median()
    sentence = "; ".join(parts) + "."
    if isinstance(coverage, float):
        sentence += (
            f" Half of the series are covered by data for at least {format_share(coverage, setting.style)} of the time."
        )
    if document.compared_with is not None:
        sentence += f" Changes are against {format_period(document.compared_with, setting.zone)}."
    return sentence


def _tiles(judged: pl.DataFrame) -> list[Tile]:
    counts = count_lights(judged)
    order = (Light.RED, Light.AMBER, Light.GREEN, Light.GREY)
    return [Tile(light=light.value, word=LIGHT_WORDS[light], count=f"{counts[light]:,}") for light in order]


def _list_attention(judged: pl.DataFrame, setting: Setting) -> list[Block]:
    """Return the values that are off or close to their target, the worst first."""
    alarming = judged.filter(pl.col("severity") < SEVERE).sort("severity", "excess", descending=[False, True])
    if alarming.is_empty():
        return [Line(text="No value is off its target or borderline.")]
    rows = alarming.head(ATTENTION_ROWS).to_dicts()
    has_change = alarming["difference"].is_not_null().any()
    columns = [
        Column(title="Component", weight=1.8),
        Column(title="Metric", weight=1.4),
        Column(title="KPI", weight=1.4),
        Column(title="Value", align="right"),
        Column(title="Wanted", align="right", weight=1.4),
        Column(title="Coverage", align="right"),
    ]
    more = alarming.height - len(rows)
    table = Table(
        caption="What needs attention, the worst first",
        columns=tuple(columns),
        rows=tuple(_attention_row(row, setting, with_change=has_change) for row in rows),
        left_out=f"{count_of(more, 'more value is', 'more values are')} off target or borderline; see the tables below."
        if more
        else "",
    )
    return [table]


def _attention_row(row: Row, setting: Setting, *, with_change: bool) -> tuple[Cell, ...]:
    return (
        name_cell(row["component"]),
        name_cell(row["metric"]),
        Cell(text=breakable(row["title"])),
        value_cell(row, setting, with_unit=True, with_change=with_change),
        Cell(text=write_wanted(row, setting)),
        coverage_cell(row["coverage"], setting),
    )


def _draw_matrix(judged: pl.DataFrame, setting: Setting) -> list[Block]:
    """Return one row per component and one column per KPI with a target; nothing where that would not fit a page."""
    keys = judged.select("metric", "kpi", "title").unique(maintain_order=True).to_dicts()
    components = judged["component"].unique(maintain_order=True).to_list()
    if not 1 < len(keys) <= MATRIX_COLUMNS or not 1 < len(components) <= MATRIX_ROWS:
        return []
    cells = {(row["component"], row["metric"], row["kpi"]): row for row in judged.to_dicts()}
    columns = [Column(title="Component", weight=1.6)] + [
        Column(title=breakable(key["title"]), notes=(clean(key["metric"] or ""),), align="right", weight=1)
        for key in keys
    ]
    rows = tuple(
        (name_cell(component), *(_matrix_cell(cells.get((component, *_key(key))), setting) for key in keys))
        for component in components
    )
    return [Table(caption="All targets at a glance", columns=tuple(columns), rows=rows)]


def _key(key: Row) -> Sequence[str | None]:
    return key["metric"], key["kpi"]


def _matrix_cell(row: Row | None, setting: Setting) -> Cell:
    return Cell() if row is None else value_cell(row, setting, with_unit=True, with_change=False)
