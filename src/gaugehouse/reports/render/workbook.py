"""XLSX: one sheet per table, typed cells, native charts.

- Numbers are numbers, instants are dates (UTC and local, both without a zone: a sheet knows none), shares are
  percentages. A KPI in per cent keeps its number (98.5, unit %), as in every other format.
- Text is text: a name beginning with `=` is never a formula, and is marked so that editing it does not make it one.
- The same document gives the same bytes: the only date inside is when the numbers were computed.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC
from typing import Literal

import numpy as np
import polars as pl
import pyarrow as pa
from xlsxwriter import Workbook
from xlsxwriter.format import Format
from xlsxwriter.worksheet import Worksheet

from gaugehouse.errors import TooLarge
from gaugehouse.measurements.schema import TIMESTAMP
from gaugehouse.reports.render.blocks import Fact, Facts
from gaugehouse.reports.render.cells import FORMULA_STARTS
from gaugehouse.reports.render.courses import Course, find_courses, pick_worst
from gaugehouse.reports.render.document import ReportDocument
from gaugehouse.reports.render.formats import RenderOptions
from gaugehouse.reports.render.pareto import rank_causes
from gaugehouse.reports.render.quantities import show_unit
from gaugehouse.reports.render.sections.provenance import build_provenance
from gaugehouse.reports.render.setting import Setting, make_setting
from gaugehouse.reports.render.traffic import LIGHT_WORDS, Light, as_frame, count_lights

ROWS_LIMIT = 200_000  # of one sheet: 2.4 million cells, half a minute and 1 GB; Excel itself ends at 1,048,576
SERIES_PER_CHART = 12  # lines that can still be told apart
TEXT_LIMIT_CHARS = 32_767  # of a cell
NAME_LIMIT_CHARS = 31  # of a sheet
REFUSED_IN_NAME = re.compile(r"[\[\]:*?/\\\x00-\x1f]")
RESERVED_NAMES = frozenset({"history"})
IS_FORMULA = re.compile(FORMULA_STARTS)
WIDTH_LIMITS = (9, 46)  # [characters]
WIDTH_SAMPLE_ROWS = 500
DATE_WIDTH = 19
PERCENT = 100
PARETO_BARS = 20
LIGHT_COLORS = {Light.RED: "#B3401A", Light.AMBER: "#8A5A00", Light.GREEN: "#00664B", Light.GREY: "#66717E"}
LINE_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#1F2933")  # Okabe and Ito
LIMIT_COLOR = "#B3401A"

Kind = Literal["text", "number", "whole", "share", "instant", "light"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    title: str
    values: pl.Series
    kind: Kind


@dataclass(slots=True)
class _Book:
    """A workbook while it is written: its formats, and the names its sheets have."""

    book: Workbook
    formats: dict[str, Format] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)

    def format(self, **properties: str | bool | int) -> Format:
        """Return a cell format; the same properties are one format."""
        key = repr(sorted(properties.items()))
        if key not in self.formats:
            self.formats[key] = self.book.add_format(properties)
        return self.formats[key]

    def add_sheet(self, name: str) -> Worksheet:
        """Return a new sheet whose name obeys Excel's rules."""
        allowed = name_sheet(name, self.names)
        self.names.add(allowed.lower())
        return self.book.add_worksheet(allowed)


def name_sheet(name: str, taken: set[str]) -> str:
    """Return a sheet name that Excel accepts: 31 characters, no slash nor `[]:*?`, no quote at an end, not taken.

    >>> name_sheet("temperature: [hall/3]", set()), name_sheet("KPIs", {"kpis"})
    ('temperature_ _hall_3_', 'KPIs 2')
    """
    base = REFUSED_IN_NAME.sub("_", name).strip("' ")[:NAME_LIMIT_CHARS].strip("' ") or "Sheet"
    if base.lower() in RESERVED_NAMES:
        base += "_"
    candidate, number = base, 1
    while candidate.lower() in taken:
        number += 1
        suffix = f" {number}"
        candidate = base[: NAME_LIMIT_CHARS - len(suffix)].rstrip("' ") + suffix
    return candidate


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
        book = _Book(workbook)
        _write_report(book, setting)
        _write_kpis(book, setting)
        _write_values(book, setting)
        for metric, courses in find_courses(document.charts, setting.board).items():
            _write_series(book, metric, pick_worst(courses, SERIES_PER_CHART), len(courses), setting)
        _write_downtime(book, setting)
        for name in ("missing", "exclusions", "changes"):
            _write_table(book, name.capitalize(), getattr(document, name), setting)
        _write_definitions(book, document)
        _write_components(book, setting)
    return sink.getvalue()


def _check_size(document: ReportDocument) -> None:
    rows = max(document.values.num_rows, document.totals.num_rows)
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


def _write_columns(book: _Book, name: str, columns: Sequence[_Column]) -> Worksheet:
    """Write a sheet: a frozen head with filters, one typed column after the other."""
    sheet = book.add_sheet(name)
    head = book.format(bold=True, bottom=1, text_wrap=True, valign="vcenter", bg_color="#F0F3F6")
    rows = max((len(column.values) for column in columns), default=0)
    for place, column in enumerate(columns):
        sheet.write_string(0, place, column.title, head)
        sheet.set_column(place, place, _find_width(column))
        _write_values_of(book, sheet, place, column)
    sheet.freeze_panes(1, 1)
    if rows and columns:
        sheet.autofilter(0, 0, rows, len(columns) - 1)
    return sheet


def _find_width(column: _Column) -> float:
    low, high = WIDTH_LIMITS
    if column.kind == "instant":
        return DATE_WIDTH
    longest = len(column.title) + 3  # room for the filter's arrow
    if column.kind in {"text", "light"}:
        sample = column.values.head(WIDTH_SAMPLE_ROWS).drop_nulls()
        longest = max(longest, *(len(text) + 1 for text in sample), low)
    return min(max(longest, low), high)


def _write_values_of(book: _Book, sheet: Worksheet, place: int, column: _Column) -> None:
    if column.kind in {"text", "light"}:
        _write_texts(book, sheet, place, column)
        return
    patterns = {"number": "General", "whole": "#,##0", "share": "0.0%", "instant": "yyyy-mm-dd hh:mm:ss"}
    cell = book.format(num_format=patterns[column.kind])
    put = sheet.write_datetime if column.kind == "instant" else sheet.write_number
    values = column.values
    if values.dtype.is_float():
        values = values.fill_nan(None).replace([float("inf"), float("-inf")], [None, None])
    for row, value in enumerate(values, start=1):
        if value is not None:
            put(row, place, value, cell)


def _write_texts(book: _Book, sheet: Worksheet, place: int, column: _Column) -> None:
    plain, quoted = book.format(), book.format(quote_prefix=True)
    for row, text in enumerate(column.values, start=1):
        if text is None:
            continue
        cell = quoted if IS_FORMULA.match(text) else plain
        if column.kind == "light":
            cell = book.format(font_color=LIGHT_COLORS[Light(text)], bold=True)
        shown = LIGHT_WORDS[Light(text)] if column.kind == "light" else text
        sheet.write_string(row, place, shown[:TEXT_LIMIT_CHARS], cell)


def _type_columns(frame: pl.DataFrame, setting: Setting) -> list[_Column]:
    """Return the columns of a table by what they hold; an instant becomes two, UTC and local."""
    columns = []
    for name, dtype in frame.schema.items():
        title, values = name.replace("_", " "), frame[name]
        if isinstance(dtype, pl.Datetime):
            columns += _instant_columns(title, values, setting)
        elif name in {"coverage", "share", "cumulated", "change"}:
            columns.append(_Column(title=title, values=values, kind="share"))
        else:
            kind: Kind = "light" if name == "light" else "text" if dtype == pl.String else "number"
            columns.append(_Column(title=title, values=values, kind="whole" if dtype.is_integer() else kind))
    return columns


def _instant_columns(title: str, values: pl.Series, setting: Setting) -> list[_Column]:
    zones = dict.fromkeys(("UTC", setting.zone.key))
    return [
        _Column(
            title=f"{title} ({zone})",
            values=values.dt.convert_time_zone(zone).dt.replace_time_zone(None),
            kind="instant",
        )
        for zone in zones
    ]


def _write_table(book: _Book, name: str, table: pa.Table, setting: Setting) -> None:
    """Write a table of the document; an empty one has no sheet."""
    if table.num_rows:
        _write_columns(book, name, _type_columns(as_frame(table), setting))


def _write_kpis(book: _Book, setting: Setting) -> None:
    wanted = ("target", "lower", "upper") if setting.document.targets.num_rows else ()
    compared = ("previous", "difference", "change") if setting.document.comparison.num_rows else ()
    judged = ("light",) if wanted else ()
    board = setting.board.with_columns((pl.col("percent") / PERCENT).alias("change"))
    names = ("component", "metric", "kpi", "title", "value", "unit", *judged, *wanted, *compared)
    _write_columns(book, "KPIs", _type_columns(board.select(*names, "coverage", "n", "status", "reason"), setting))


def _write_values(book: _Book, setting: Setting) -> None:
    if setting.document.bucket is not None:
        _write_table(book, "Values", setting.document.values, setting)


def _write_definitions(book: _Book, document: ReportDocument) -> None:
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
        _Column(title=name, values=pl.Series(list_, dtype=pl.String), kind="text") for name, list_ in texts.items()
    ]
    _write_columns(book, "Definitions", [*columns, _Column(title="version", values=versions, kind="whole")])


def _write_components(book: _Book, setting: Setting) -> None:
    components = setting.document.components
    labels = ["; ".join(f"{name}: {value}" for name, value in sorted(one.labels.items())) for one in components]
    columns = [
        _Column(title="component", values=pl.Series([one.name for one in components], dtype=pl.String), kind="text"),
        _Column(title="type", values=pl.Series([one.type for one in components], dtype=pl.String), kind="text"),
        _Column(title="labels", values=pl.Series(labels, dtype=pl.String), kind="text"),
    ]
    retired = pl.Series([one.retired_at for one in components], dtype=pl.Datetime("us", "UTC"))
    if retired.is_not_null().any():
        columns += _instant_columns("retired", retired, setting)
    _write_columns(book, "Components", columns)


# --- The first sheet --------------------------------------------------------------------------------------------------


def _write_report(book: _Book, setting: Setting) -> None:
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


# --- Native charts ----------------------------------------------------------------------------------------------------


def _write_series(book: _Book, metric: str, courses: Sequence[Course], all_courses: int, setting: Setting) -> None:
    """Write the means of a metric, one column per component, with a line chart in which gaps are gaps."""
    edges_us = np.unique(np.concatenate([one.chart.edges_us[:-1] for one in courses]))
    starts = pl.Series(pa.array(edges_us).cast(TIMESTAMP).to_pylist(), dtype=pl.Datetime("us", "UTC"))
    times = _instant_columns("start", starts, setting)
    columns = [*times]
    for one in courses:
        means = np.full(len(edges_us), np.nan)
        means[np.searchsorted(edges_us, one.chart.edges_us[:-1])] = one.chart.mean
        columns.append(_Column(title=one.chart.component, values=pl.Series(means), kind="number"))
    limits = _find_common_limits(courses)
    columns += [
        _Column(title=title, values=pl.Series(np.full(len(edges_us), value)), kind="number")
        for title, value in limits.items()
    ]
    sheet = _write_columns(book, f"Series {metric}", columns)
    first = len(times)
    chart = book.book.add_chart({"type": "scatter", "subtype": "straight"})
    for place in range(first, len(columns)):
        is_limit = place >= first + len(courses)
        color = LIMIT_COLOR if is_limit else LINE_COLORS[(place - first) % len(LINE_COLORS)]
        line: dict[str, object] = {"color": color, "width": 1.25}
        if is_limit or place - first >= len(LINE_COLORS):
            line["dash_type"] = "dash"
        chart.add_series(
            {
                "name": [sheet.name, 0, place],
                "categories": [sheet.name, 1, first - 1, len(edges_us), first - 1],
                "values": [sheet.name, 1, place, len(edges_us), place],
                "line": line,
            }
        )
    shown = "" if len(courses) == all_courses else f" (the {len(courses)} worst of {all_courses:,})"
    unit = show_unit(courses[0].chart.unit)
    chart.set_title({"name": f"{metric}{shown}", "name_font": {"size": 12}})
    chart.set_x_axis({"num_format": "d mmm hh:mm", "name": setting.zone.key, "min": 0} | _bound_times(times[-1].values))
    chart.set_y_axis({"name": unit, "major_gridlines": {"visible": True, "line": {"color": "#D9DEE5"}}})
    chart.show_blanks_as("gap")
    chart.set_size({"width": 960, "height": 420})
    sheet.insert_chart(1, len(columns) + 1, chart)


def _find_common_limits(courses: Sequence[Course]) -> dict[str, float]:
    """Return the limits that all series share: others would be lines that belong to nobody."""
    limits = {}
    for title, attribute in (("lower limit", "lsl"), ("upper limit", "usl"), ("target", "target")):
        values = {getattr(one.chart, attribute) for one in courses}
        if len(values) == 1 and None not in values:
            limits[title] = float(values.pop())
    return limits


def _bound_times(times: pl.Series) -> dict[str, object]:
    low, high = times.min(), times.max()
    return {} if low is None or low == high else {"date_axis": True, "min": low, "max": high}


def _write_downtime(book: _Book, setting: Setting) -> None:
    """Write the Pareto: causes by downtime with their cumulated share, as a table and as a chart."""
    if not setting.document.downtime.num_rows:
        return
    key, causes = rank_causes(setting.document.downtime)
    if causes.is_empty():
        return
    hours = (pl.col("downtime_s") / 3_600).alias("downtime [h]")
    names = (key, "downtime_s", hours, "occurrences", "share", "cumulated", "most")
    sheet = _write_columns(book, "Pareto", _type_columns(causes.select(names), setting))
    bars = min(causes.height, PARETO_BARS)
    columns = book.book.add_chart({"type": "column"})
    columns.add_series(
        {
            "name": [sheet.name, 0, 2],
            "categories": [sheet.name, 1, 0, bars, 0],
            "values": [sheet.name, 1, 2, bars, 2],
            "fill": {"color": LINE_COLORS[0]},
            "gap": 60,
        }
    )
    line = book.book.add_chart({"type": "line"})
    line.add_series(
        {
            "name": [sheet.name, 0, 5],
            "categories": [sheet.name, 1, 0, bars, 0],
            "values": [sheet.name, 1, 5, bars, 5],
            "y2_axis": True,
            "line": {"color": LINE_COLORS[1], "width": 1.75},
            "marker": {"type": "circle", "size": 5, "fill": {"color": LINE_COLORS[1]}},
        }
    )
    columns.combine(line)
    columns.set_title({"name": "Downtime, the largest first", "name_font": {"size": 12}})
    columns.set_y_axis({"name": "h"})
    line.set_y2_axis({"min": 0, "max": 1, "num_format": "0%"})
    columns.set_size({"width": 860, "height": 400})
    sheet.insert_chart(1, 8, columns)
    _write_table(book, "Downtime", setting.document.downtime, setting)
