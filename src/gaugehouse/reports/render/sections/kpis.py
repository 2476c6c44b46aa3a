"""The KPI tables: per metric one row per component and one column per KPI, with coverage and comparison."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import polars as pl

from gaugehouse.reports.render.blocks import Block, Cell, Column, Line, Note, Section, Table
from gaugehouse.reports.render.quantities import show_unit
from gaugehouse.reports.render.setting import (
    Row,
    Setting,
    coverage_cell,
    describe_left_out,
    name_cell,
    value_cell,
    write_wanted,
)
from gaugehouse.reports.render.texts import breakable, clean, count_of

KPI_COLUMNS = 5  # of one table on a portrait page
COVERAGE_KPI = "coverage"  # has a column of its own already
ONE_UNIT = 1
WANTED = ("target", "lower", "upper")
COMPONENT_WEIGHT = 1.6  # of the column with names, where a KPI has 1
FOOTNOTES = 9
MORE_REASONS = "*"


def build_kpis(setting: Setting) -> Section:
    """Return the tables of every metric, and where the values of the single buckets are."""
    blocks: list[Block] = []
    metrics = setting.board["metric"].drop_nulls().unique().sort().to_list()
    for metric in metrics:
        blocks += _tables_of_metric(metric, setting)
    if not metrics:
        has_values = setting.document.values.num_rows and not setting.document.is_whole
        nothing = "There is no series that KPIs could be computed for."
        blocks.append(Line(text="The values of the whole period could not be computed." if has_values else nothing))
    bucket = setting.document.bucket
    if bucket is not None and metrics:
        blocks.append(Line(text=f"These are the values of the whole period. {_say_where(bucket, setting)}"))
    elif bucket is not None:
        blocks.append(Line(text=_say_where(bucket, setting)))
    return Section(name="kpis", title="KPIs", blocks=tuple(blocks))


def _say_where(bucket: str, setting: Setting) -> str:
    values = f"{count_of(setting.document.values.num_rows, 'value')} per {clean(bucket)}"
    return f"{values} are in the XLSX, CSV, Parquet and JSON files of this report."


def _tables_of_metric(metric: str, setting: Setting) -> Iterator[Table]:
    board = setting.board.filter(pl.col("metric") == metric)
    components = board["component"].n_unique()
    worst = _keep_worst(board, setting.options.page_rows)
    names = [row["kpi"] for row in _find_columns(board)]
    portions = split_columns(names)
    for place, portion in enumerate(portions, start=1):
        part = f" ({place} of {len(portions)})" if len(portions) > 1 else ""
        yield _build_table(
            f"{clean(metric)}{part}",
            worst.filter(pl.col("kpi").is_in(portion)),
            [row for row in _find_columns(board) if row["kpi"] in portion],
            describe_left_out(setting.options.page_rows, components, "components"),
            setting,
        )


def _find_columns(board: pl.DataFrame) -> list[Row]:
    """Return each KPI of a metric, with its unit and the target that most components have."""
    wanted = pl.struct(WANTED)
    common = wanted.filter(pl.col("light").is_not_null()).mode().sort().first()
    columns = (
        board.group_by("kpi", maintain_order=True)
        .agg(
            pl.col("title").first(),
            pl.col("unit").first(),
            pl.col("unit").n_unique().alias("units"),
            pl.col("higher_is_better").first(),
            pl.col("light").is_not_null().any().alias("is_judged"),
            common.alias("common"),
        )
        .unnest("common")
    )
    return [row for row in columns.to_dicts() if row["kpi"] != COVERAGE_KPI or row["is_judged"]]


def split_columns(names: list[str]) -> list[list[str]]:
    """Return the KPIs of each table: as few tables as fit a page, filled alike."""
    tables = max(1, -(-len(names) // KPI_COLUMNS))
    base, extra = divmod(len(names), tables)
    portions, start = [], 0
    for table in range(tables):
        end = start + base + (table < extra)
        portions.append(names[start:end])
        start = end
    return portions


def _keep_worst(board: pl.DataFrame, limit: int) -> pl.DataFrame:
    """Return the rows of at most `limit` components: all in their order, or the worst first."""
    if board["component"].n_unique() <= limit:
        return board
    ranked = board.group_by("component", maintain_order=True).agg(
        pl.col("severity").min(), pl.col("excess").max(), pl.col("coverage").min()
    )
    worst = ranked.sort("severity", "excess", "coverage", descending=[False, True, False], maintain_order=True)
    return worst.head(limit).select("component").join(board, on="component", how="left", maintain_order="left_right")


def _build_table(caption: str, board: pl.DataFrame, kpis: list[Row], left_out: str, setting: Setting) -> Table:
    footnotes = _Footnotes()
    rows = []
    for of_component in board.partition_by("component", maintain_order=True):
        by_kpi = {row["kpi"]: row for row in of_component.to_dicts()}
        cells = [_kpi_cell(by_kpi.get(kpi["kpi"]), kpi, footnotes, setting) for kpi in kpis]
        coverage = of_component["coverage"].min()
        covered = coverage_cell(coverage if isinstance(coverage, float) else None, setting)
        rows.append((name_cell(of_component["component"][0]), *cells, covered))
    return Table(
        caption=caption,
        columns=(
            Column(title="Component", weight=COMPONENT_WEIGHT),
            *(_kpi_column(kpi, setting) for kpi in kpis),
            Column(title="Coverage", align="right"),
        ),
        rows=tuple(rows),
        footnotes=footnotes.list(),
        left_out=left_out,
    )


def _kpi_column(kpi: Row, setting: Setting) -> Column:
    has_unit = kpi["units"] == ONE_UNIT and kpi["unit"] != "s"
    unit = show_unit(kpi["unit"]) if has_unit else ""
    wanted = write_wanted(kpi, setting, with_unit=kpi["unit"] == "s") if kpi["units"] == ONE_UNIT else ""
    notes = tuple(clean(note) for note in (unit, wanted) if note)
    return Column(title=breakable(kpi["title"]), notes=notes, align="right", weight=1)


def _kpi_cell(row: Row | None, kpi: Row, footnotes: "_Footnotes", setting: Setting) -> Cell:
    if row is None:
        return Cell()
    reason = row["reason"] or row["grey_reason"]
    mark = "" if reason is None else footnotes.mark(reason)
    cell = value_cell(row, setting, with_unit=kpi["units"] > ONE_UNIT, mark=mark)
    if row["light"] is None or all(row[name] == kpi[name] for name in WANTED):
        return cell
    return replace(cell, notes=(Note(text=write_wanted(row, setting)), *cell.notes))  # a target of its own


@dataclass(slots=True)
class _Footnotes:
    """The reasons of a table, each once; those that a page has no room for are in the section on what is missing."""

    numbers: dict[str, int] = field(default_factory=dict)
    has_more: bool = False

    def mark(self, reason: str) -> str:
        if reason not in self.numbers and len(self.numbers) == FOOTNOTES:
            self.has_more = True
            return MORE_REASONS
        return str(self.numbers.setdefault(reason, len(self.numbers) + 1))

    def list(self) -> tuple[str, ...]:
        more = (f"{MORE_REASONS} see “What is missing, and why”",) if self.has_more else ()
        return (*(f"{number} {clean(reason)}" for reason, number in self.numbers.items()), *more)
