"""Typed sheets of a workbook: a frozen head with filters, one column per quantity, text that is never a formula."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal
from zoneinfo import ZoneInfo

import polars as pl
from xlsxwriter import Workbook
from xlsxwriter.format import Format
from xlsxwriter.worksheet import Worksheet

from gaugehouse.reports.render.cells import FORMULA_STARTS
from gaugehouse.reports.render.traffic import LIGHT_WORDS, Light

TEXT_LIMIT_CHARS = 32_767  # of a cell
NAME_LIMIT_CHARS = 31  # of a sheet
REFUSED_IN_NAME = re.compile(r"[\[\]:*?/\\\x00-\x1f]")
RESERVED_NAMES = frozenset({"history"})
IS_FORMULA = re.compile(FORMULA_STARTS)
WIDTH_LIMITS = (9, 46)  # [characters]
WIDTH_SAMPLE_ROWS = 500
DATE_WIDTH = 19
SHARES = frozenset({"coverage", "share", "cumulated", "change"})  # columns of 0..1
LIGHT_COLORS = {Light.RED: "#B3401A", Light.AMBER: "#8A5A00", Light.GREEN: "#00664B", Light.GREY: "#66717E"}
PATTERNS = {"number": "General", "whole": "#,##0", "share": "0.0%", "instant": "yyyy-mm-dd hh:mm:ss"}

Kind = Literal["text", "number", "whole", "share", "instant", "light"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column: its title, its values and what they are; a share is 0..1, an instant has no zone any more."""

    title: str
    values: pl.Series
    kind: Kind


@dataclass(slots=True)
class Book:
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


def write_columns(book: Book, name: str, columns: Sequence[Column]) -> Worksheet:
    """Write a sheet: a frozen head with filters, one typed column after the other."""
    sheet = book.add_sheet(name)
    head = book.format(bold=True, bottom=1, text_wrap=True, valign="vcenter", bg_color="#F0F3F6")
    rows = max((len(column.values) for column in columns), default=0)
    for place, column in enumerate(columns):
        sheet.write_string(0, place, column.title, head)
        sheet.set_column(place, place, _find_width(column))
        _write_values(book, sheet, place, column)
    sheet.freeze_panes(1, 1)
    if rows and columns:
        sheet.autofilter(0, 0, rows, len(columns) - 1)
    return sheet


def _find_width(column: Column) -> float:
    low, high = WIDTH_LIMITS
    if column.kind == "instant":
        return DATE_WIDTH
    longest = len(column.title) + 3  # room for the filter's arrow
    if column.kind in {"text", "light"}:
        sample = column.values.head(WIDTH_SAMPLE_ROWS).drop_nulls()
        longest = max(longest, *(len(text) + 1 for text in sample), low)
    return min(max(longest, low), high)


def _write_values(book: Book, sheet: Worksheet, place: int, column: Column) -> None:
    if column.kind in {"text", "light"}:
        _write_texts(book, sheet, place, column)
        return
    cell = book.format(num_format=PATTERNS[column.kind])
    put = sheet.write_datetime if column.kind == "instant" else sheet.write_number
    values = column.values
    if values.dtype.is_float():
        values = values.fill_nan(None).replace([float("inf"), float("-inf")], [None, None])
    for row, value in enumerate(values, start=1):
        if value is not None:
            put(row, place, value, cell)


def _write_texts(book: Book, sheet: Worksheet, place: int, column: Column) -> None:
    plain, quoted = book.format(), book.format(quote_prefix=True)
    for row, text in enumerate(column.values, start=1):
        if text is None:
            continue
        cell = quoted if IS_FORMULA.match(text) else plain
        if column.kind == "light":
            cell = book.format(font_color=LIGHT_COLORS[Light(text)], bold=True)
        shown = LIGHT_WORDS[Light(text)] if column.kind == "light" else text
        sheet.write_string(row, place, shown[:TEXT_LIMIT_CHARS], cell)


def type_columns(frame: pl.DataFrame, zone: ZoneInfo) -> list[Column]:
    """Return the columns of a table by what they hold; an instant becomes two, UTC and local."""
    columns = []
    for name, dtype in frame.schema.items():
        title, values = name.replace("_", " "), frame[name]
        if isinstance(dtype, pl.Datetime):
            columns += instant_columns(title, values, zone)
        elif name in SHARES:
            columns.append(Column(title=title, values=values, kind="share"))
        else:
            kind: Kind = "light" if name == "light" else "text" if dtype == pl.String else "number"
            columns.append(Column(title=title, values=values, kind="whole" if dtype.is_integer() else kind))
    return columns


def instant_columns(title: str, values: pl.Series, zone: ZoneInfo) -> list[Column]:
    zones = dict.fromkeys(("UTC", zone.key))
    return [
        Column(
            title=f"{title} ({zone})",
            values=values.dt.convert_time_zone(zone).dt.replace_time_zone(None),
            kind="instant",
        )
        for zone in zones
    ]
