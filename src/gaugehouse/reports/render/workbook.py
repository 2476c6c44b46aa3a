"""XLSX: one sheet per table, typed cells, native charts.

- Numbers are numbers, instants are dates (UTC and local, both without a zone: a sheet knows none), shares are
  percentages. A KPI in per cent keeps its number (98.5, unit %), as in every other format.
- Text is text: a name beginning with `=` is never a formula, and is marked so that editing it does not make it one.
- The same document gives the same bytes: the only date inside is when the numbers were computed.
"""

import io
from collections.abc import Sequence
from datetime import UTC

import polars as pl
import pyarrow as pa
from xlsxwriter import Workbook

from gaugehouse.errors import TooLarge
from gaugehouse.reports.render.blocks import Fact, Facts
from gaugehouse.reports.render.courses import find_courses, pick_worst
from gaugehouse.reports.render.document import ReportDocument
from gaugehouse.reports.render.formats import RenderOptions
from gaugehouse.reports.render.sections.provenance import build_provenance
from gaugehouse.reports.render.setting import Setting, make_setting
from gaugehouse.reports.render.sheet_charts import SERIES_PER_CHART, write_pareto, write_series
from gaugehouse.reports.render.sheets import (
    LIGHT_COLORS,
    TEXT_LIMIT_CHARS,
    Book,
    Column,
    instant_columns,
    type_columns,
    write_columns,
)
from gaugehouse.reports.render.traffic import LIGHT_WORDS, as_frame, count_lights

ROWS_LIMIT = 200_000  # of one sheet: they take 22 s and 0.6 GB here; Excel itself ends at 1,048,576
PERCENT = 100


def write(document: ReportDocument, options: RenderOptions) -> bytes:
    """Return the report as a workbook.

    Raises:
        TooLarge: A table has more rows than a sheet should hold.
    """
    _check_size(document)
    setting = make_setting(document, options)
    sink = io.BytesIO()
    text_only = {"strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
    with Workbook(sink, {"in_memory": True, **text_only}) as workbook:
        _describe_file(workbook, document)
        book = Book(workbook)
        _write_report(book, setting)
        _write_kpis(book, setting)
        _write_values(book, setting)
        _write_table(book, "Groups", document.groups, setting)
        for metric, courses in find_courses(document.charts, setting.board).items():
            write_series(book, metric, pick_worst(courses, SERIES_PER_CHART), len(courses), setting.zone)
        _write_downtime(book, setting)
        for name in ("missing", "exclusions", "changes"):
            _write_table(book, name.capitalize(), getattr(document, name), setting)
        _write_definitions(book, document)
        _write_components(book, setting)
    return sink.getvalue()


def _check_size(document: ReportDocument) -> None:
    rows = max(document.values.num_rows, document.totals.num_rows, document.groups.num_rows)
    if rows > ROWS_LIMIT:
        raise TooLarge(
            f"the report has {rows:,} values; XLSX is written up to {ROWS_LIMIT:,} rows: choose Parquet or CSV, longer "
            "buckets, or fewer components",
            code="report_too_large",
            fields={"rows": rows, "limit": ROWS_LIMIT},
        )


def _describe_file(workbook: Workbook, document: ReportDocument) -> None:
    workbook.set_properties(
        {
            "title": document.title,
            "author": "Gaugehouse",
            "comments": f"{document.report_id}, revision {document.revision}, digest {document.digest}",
            "created": document.computed_at.astimezone(UTC).replace(tzinfo=None),
        }
    )


# --- Tables -----------------------------------------------------------------------------------------------------------


def _write_table(book: Book, name: str, table: pa.Table, setting: Setting) -> None:
    """Write a table of the document; an empty one has no sheet."""
    if table.num_rows:
        write_columns(book, name, type_columns(as_frame(table), setting.zone))


def _write_kpis(book: Book, setting: Setting) -> None:
    wanted = ("target", "lower", "upper") if setting.document.targets.num_rows else ()
    compared = ("previous", "difference", "change") if setting.document.comparison.num_rows else ()
    judged = ("light",) if wanted else ()
    not_judged = ("not judged because",) if wanted else ()
    change, because = (pl.col("percent") / PERCENT).alias("change"), pl.col("grey_reason").alias("not judged because")
    board = setting.board.with_columns(change, because)
    names = ("component", "metric", "kpi", "title", "value", "unit", *judged, *wanted, *compared)
    write_columns(
        book, "KPIs", type_columns(board.select(*names, "coverage", "n", "status", "reason", *not_judged), setting.zone)
    )


def _write_values(book: Book, setting: Setting) -> None:
    if setting.document.bucket is not None:
        _write_table(book, "Values", setting.document.values, setting)


def _write_downtime(book: Book, setting: Setting) -> None:
    downtime = setting.document.downtime
    write_pareto(book, downtime, setting.zone)
    _write_table(book, "Downtime", downtime, setting)


def _write_definitions(book: Book, document: ReportDocument) -> None:
    kpis = document.kpis
    texts = {
        "kpi": [one.name for one in kpis],
        "title": [one.title for one in kpis],
        "unit": [one.unit for one in kpis],
        "formula": [one.formula for one in kpis],
        "source": [one.source for one in kpis],
    }
    versions = pl.Series([one.version for one in kpis], dtype=pl.Int64)
    columns = [
        Column(title=name, values=pl.Series(list_, dtype=pl.String), kind="text") for name, list_ in texts.items()
    ]
    write_columns(book, "Definitions", [*columns, Column(title="version", values=versions, kind="whole")])


def _write_components(book: Book, setting: Setting) -> None:
    components = setting.document.components
    labels = ["; ".join(f"{name}: {value}" for name, value in sorted(one.labels.items())) for one in components]
    columns = [
        Column(title="component", values=pl.Series([one.name for one in components], dtype=pl.String), kind="text"),
        Column(title="type", values=pl.Series([one.type for one in components], dtype=pl.String), kind="text"),
        Column(title="labels", values=pl.Series(labels, dtype=pl.String), kind="text"),
    ]
    for word in ("commissioned", "retired"):
        instants = pl.Series([getattr(one, f"{word}_at") for one in components], dtype=pl.Datetime("us", "UTC"))
        if instants.is_not_null().any():
            columns += instant_columns(word, instants, setting.zone)
    write_columns(book, "Components", columns)


# --- The first sheet --------------------------------------------------------------------------------------------------


def _write_report(book: Book, setting: Setting) -> None:
    """Write what the report is, how many values have which light, and where the numbers come from."""
    sheet = book.add_sheet("Report")
    name, text = (
        book.format(font_color="#52606D", valign="top"),
        book.format(text_wrap=True, valign="top", align="left"),
    )
    sheet.set_column(0, 0, 34)
    sheet.set_column(1, 1, 90)
    sheet.hide_gridlines(2)
    sheet.write_string(0, 0, setting.document.title[:TEXT_LIMIT_CHARS], book.format(bold=True, font_size=16))
    row = 2
    if setting.document.targets.num_rows:
        for light, count in count_lights(setting.board).items():
            sheet.write_string(row, 0, LIGHT_WORDS[light], book.format(font_color=LIGHT_COLORS[light], bold=True))
            sheet.write_number(row, 1, count, text)
            row += 1
        row += 1
    for fact in _find_facts(setting):
        sheet.write_string(row, 0, fact.name, name)
        sheet.write_string(row, 1, fact.value[:TEXT_LIMIT_CHARS], text)
        row += 1


def _find_facts(setting: Setting) -> Sequence[Fact]:
    return [fact for block in build_provenance(setting).blocks if isinstance(block, Facts) for fact in block.facts]
