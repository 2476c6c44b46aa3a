"""The Pareto of downtime: which few causes are most of it."""

from collections.abc import Sequence

import polars as pl

from gaugehouse.reports.render.blocks import Block, Cell, Column, Line, Panel, Panels, Section, Table
from gaugehouse.reports.render.charts import ParetoBar, draw_pareto
from gaugehouse.reports.render.pareto import rank_causes
from gaugehouse.reports.render.quantities import format_duration, format_number, format_share
from gaugehouse.reports.render.setting import Row, Setting, name_cell
from gaugehouse.reports.render.texts import count_of

BARS = 10
SIZE = (640, 200)  # [px]
HOUR_S = 3_600.0
MOST = 0.8  # Pareto's eighty per cent


def build_downtime(setting: Setting) -> Section | None:
    """Return the Pareto by cause, or by component where one cause is all that is known; None without downtime."""
    key, causes = rank_causes(setting.document.downtime)
    if causes.is_empty():
        return None
    total_s = float(causes["downtime_s"].sum())
    shown = causes.head(BARS).to_dicts()
    blocks: list[Block] = [Line(text=_describe(causes, total_s, key, setting))]
    blocks += [_draw(shown, total_s, key, setting), _list(shown, causes, total_s, key, setting)]
    return Section(name="downtime", title="Downtime", blocks=tuple(blocks))


def _describe(causes: pl.DataFrame, total_s: float, key: str, setting: Setting) -> str:
    few = causes.filter(pl.col("cumulated").shift(1, fill_value=0.0) < MOST).height
    noun = ("cause", "causes") if key == "reason" else ("component", "components")
    first = f"{format_duration(total_s, setting.style)} of downtime by {count_of(causes.height, *noun)}"
    if causes.height <= few or causes.height == 1:
        return f"{first}."
    share = format_share(float(causes["cumulated"][few - 1]), setting.style)
    return f"{first}; the {'largest' if few == 1 else f'{few} largest'} {'is' if few == 1 else 'are'} {share} of it."


def _draw(shown: Sequence[Row], total_s: float, key: str, setting: Setting) -> Panels:
    bars = [
        ParetoBar(rank=rank, amount=row["downtime_s"] / HOUR_S, cumulated=row["cumulated"])
        for rank, row in enumerate(shown, start=1)
    ]
    noun = "causes" if key == "reason" else "components"
    listed = "; ".join(
        f"{rank}: {format_duration(row['downtime_s'], setting.style)}" for rank, row in enumerate(shown, start=1)
    )
    panel = Panel(
        title="",
        notes=(),
        picture=setting.pictures.add(draw_pareto(bars, total_s / HOUR_S, setting.style, SIZE)),
        description=f"Pareto of downtime by {noun}, numbered as in the table below: {listed}",
    )
    return Panels(
        caption=f"Pareto by {'cause' if key == 'reason' else 'component'}",
        columns=1,
        panels=(panel,),
        legend="Bars: downtime by rank, as numbered in the table below. Line: share of all downtime up to that rank.",
    )


def _list(shown: Sequence[Row], causes: pl.DataFrame, total_s: float, key: str, setting: Setting) -> Table:
    is_cause = key == "reason"
    rows = [
        (
            Cell(text=f"{rank}"),
            name_cell(row[key]),
            Cell(text=format_duration(row["downtime_s"], setting.style)),
            Cell(text=format_share(row["share"], setting.style)),
            Cell(text=format_share(row["cumulated"], setting.style)),
            Cell(text=format_number(float(row["occurrences"]), setting.style)),
            Cell(
                text=format_duration(row["downtime_s"] / row["occurrences"], setting.style)
                if row["occurrences"]
                else "–"
            ),
            name_cell(row["most"]),
        )
        for rank, row in enumerate(shown, start=1)
    ]
    rest = causes.height - len(shown)
    rest_s = total_s - sum(row["downtime_s"] for row in shown)
    return Table(
        caption=f"{'Causes' if is_cause else 'Components'}, the largest first",
        columns=(
            Column(title="#", align="right"),
            Column(title="Cause" if is_cause else "Component", weight=1.4),
            Column(title="Downtime", align="right"),
            Column(title="Share", align="right"),
            Column(title="Cumulated", align="right"),
            Column(title="Times", align="right"),
            Column(title="Each, on average", align="right"),
            Column(title="Mostly at" if is_cause else "Mostly by", weight=1),
        ),
        rows=tuple(rows),
        left_out=f"{count_of(rest, 'more', 'more')} with {format_duration(rest_s, setting.style)} together."
        if rest
        else "",
    )
