"""Components together: one row per group, one column per KPI, where the report is about the period as one."""

from collections.abc import Iterator

import polars as pl

from gaugehouse.reports.render.blocks import Block, Cell, Column, Line, Section, Table
from gaugehouse.reports.render.quantities import format_bare, format_quantity, show_unit
from gaugehouse.reports.render.sections.kpis import COVERAGE_KPI, split_columns
from gaugehouse.reports.render.setting import Row, Setting, coverage_cell, describe_left_out, name_cell
from gaugehouse.reports.render.texts import breakable, clean, count_of
from gaugehouse.reports.render.traffic import as_frame

TOGETHER = "Each number is the formula over all components of a group together, not a mean of their numbers."


def build_groups(setting: Setting) -> Section | None:
    """Return the KPIs of each group, None where components are not taken together."""
    document = setting.document
    if document.group_by is None:
        return None
    groups = as_frame(document.groups)
    blocks: list[Block] = [Line(text=TOGETHER)]
    if groups["bucket_start"].n_unique() == 1:
        for metric in groups["metric"].unique(maintain_order=True).to_list():
            blocks += _tables_of_metric(metric, groups.filter(pl.col("metric").eq_missing(metric)), setting)
    else:
        where = "are in the XLSX and JSON files of this report."
        blocks.append(Line(text=f"{count_of(groups.height, 'value')} per {clean(document.bucket or 'period')} {where}"))
    return Section(name="groups", title=f"By {clean(document.group_by)}", blocks=tuple(blocks))


def _tables_of_metric(metric: str | None, rows: pl.DataFrame, setting: Setting) -> Iterator[Table]:
    titles = {one.name: one.title for one in setting.document.kpis}
    firsts = rows.filter(pl.col("kpi") != COVERAGE_KPI).unique("kpi", keep="first", maintain_order=True).to_dicts()
    kpis = {row["kpi"]: row for row in firsts}
    names = rows["group"].unique(maintain_order=True).to_list()
    cells = {(row["group"], row["kpi"]): row for row in rows.to_dicts()}
    shown = names[: setting.options.page_rows]
    portions = split_columns(list(kpis))
    for place, names_of_kpis in enumerate(portions, start=1):
        part = f" ({place} of {len(portions)})" if len(portions) > 1 else ""
        portion = [kpis[kpi] for kpi in names_of_kpis]
        yield Table(
            caption=(clean(metric) if metric else "of components") + part,
            columns=(
                Column(title="Group", weight=1.6),
                *(_kpi_column(kpi, titles.get(kpi["kpi"]) or kpi["kpi"]) for kpi in portion),
                Column(title="Components", align="right"),
                Column(title="Coverage", align="right"),
            ),
            rows=tuple(
                _row(name, [cells.get((name, kpi["kpi"])) for kpi in portion], portion, setting) for name in shown
            ),
            left_out=describe_left_out(len(shown), len(names), "groups").replace("worst", "first"),
        )


def _kpi_column(kpi: Row, title: str) -> Column:
    unit = "" if kpi["unit"] == "s" else show_unit(kpi["unit"])
    return Column(title=breakable(title), notes=(clean(unit),) if unit else (), align="right", weight=1)


def _row(name: str, values: list[Row | None], kpis: list[Row], setting: Setting) -> tuple[Cell, ...]:
    known = [row for row in values if row is not None]
    coverages = [row["coverage"] for row in known if row["coverage"] is not None]
    return (
        name_cell(name),
        *(_value_cell(row, kpi["unit"], setting) for row, kpi in zip(values, kpis, strict=True)),
        Cell(text=f"{max((row['components'] for row in known), default=0):,}"),
        coverage_cell(min(coverages, default=None), setting),
    )


def _value_cell(row: Row | None, unit: str, setting: Setting) -> Cell:
    if row is None:
        return Cell()
    write = format_bare if row["unit"] == unit else format_quantity  # the head names that of the first
    return Cell(text=write(row["value"], row["unit"], setting.style))
