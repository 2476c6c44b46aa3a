"""The formats of a report: what each is called, and what loads when one is asked for.

A format's libraries (altair, vl-convert, typst, xlsxwriter, jinja2) are imported with its first rendering: a server or
a command that renders nothing pays neither their seconds nor their memory.
"""

import re
from dataclasses import dataclass, fields
from enum import StrEnum
from importlib import import_module
from typing import Literal

from gaugehouse.errors import Refused
from gaugehouse.measurements.period import find_zone
from gaugehouse.reports.render.document import ReportDocument

NAME_IN_FILE_CHARS = 40
DELIMITERS = (",", ";", "\t", "|")


class ReportFormat(StrEnum):
    """What a report can be written as; the value is the file's suffix."""

    JSON = "json"
    CSV = "csv"
    XLSX = "xlsx"
    PARQUET = "parquet"
    HTML = "html"
    PDF = "pdf"


MEDIA_TYPES: dict[ReportFormat, str] = {
    ReportFormat.JSON: "application/json",
    ReportFormat.CSV: "text/csv; charset=utf-8",
    ReportFormat.XLSX: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ReportFormat.PARQUET: "application/vnd.apache.parquet",
    ReportFormat.HTML: "text/html; charset=utf-8",
    ReportFormat.PDF: "application/pdf",
}

TableName = Literal[
    "values", "totals", "comparison", "targets", "downtime", "missing", "exclusions", "changes", "groups"
]
Decimal = Literal[".", ","]
Paper = Literal["a4", "us-letter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderOptions:
    """What a reader may choose. Each option says which formats look at it; the others ignore it.

    Args:
        table: CSV and Parquet hold one table: this one.
        delimiter: CSV: one of `,` `;` tab `|`; without it a comma, or a semicolon where the comma is the decimal one.
        decimal: CSV, HTML and PDF: the decimal separator, `.` or `,`.
        timezone: CSV: IANA zone of instants, UTC (`Z`) without it. XLSX, HTML and PDF: the local zone, the period's
            without it.
        byte_order_mark: CSV: begin with one, for spreadsheets that would not read UTF-8 otherwise.
        paper: PDF.
        page_rows: HTML and PDF: most rows of one table; what is left out is said. [rows]
        panels: HTML and PDF: most small charts per metric, the worst series first.

    Raises:
        Refused: An option that cannot be, or two that contradict each other.
    """

    table: TableName = "values"
    delimiter: str | None = None
    decimal: Decimal = "."
    timezone: str | None = None
    byte_order_mark: bool = False
    paper: Paper = "a4"
    page_rows: int = 1_000
    panels: int = 12

    def __post_init__(self) -> None:
        if self.delimiter is not None and self.delimiter not in DELIMITERS:
            raise _refuse("delimiter", self.delimiter, "use a comma, a semicolon, a tab or |")
        if self.decimal not in {".", ","}:
            raise _refuse("decimal", self.decimal, "use . or ,")
        if self.delimiter == self.decimal:
            raise _refuse("delimiter", self.delimiter, "it is the decimal separator as well; use a semicolon")
        if self.page_rows < 1:
            raise _refuse("page_rows", self.page_rows, "a table has at least one row")
        if self.panels < 0:
            raise _refuse("panels", self.panels, "use 0 for no charts")
        if self.timezone is not None:
            find_zone(self.timezone)


def _refuse(name: str, value: object, advice: str) -> Refused:
    return Refused(f"{name} cannot be {value!r}: {advice}", code="report_option_refused", fields={"option": name})


DEFAULT_OPTIONS = RenderOptions()

_PAGE = frozenset({"decimal", "timezone", "page_rows", "panels"})
_SEEN: dict[ReportFormat, frozenset[str]] = {
    ReportFormat.JSON: frozenset(),
    ReportFormat.CSV: frozenset({"table", "delimiter", "decimal", "timezone", "byte_order_mark"}),
    ReportFormat.XLSX: frozenset({"timezone"}),
    ReportFormat.PARQUET: frozenset({"table"}),
    ReportFormat.HTML: _PAGE,
    ReportFormat.PDF: _PAGE | {"paper"},
}
_WRITERS: dict[ReportFormat, str] = {
    ReportFormat.JSON: "json_text",
    ReportFormat.CSV: "csv_text",
    ReportFormat.XLSX: "workbook",
    ReportFormat.PARQUET: "parquet",
    ReportFormat.HTML: "html_page",
    ReportFormat.PDF: "pdf",
}


def render(document: ReportDocument, report_format: ReportFormat, options: RenderOptions = DEFAULT_OPTIONS) -> bytes:
    """Write a report in one format. The same document and options give the same bytes.

    Args:
        document: What it says.
        report_format: How it is written.
        options: What the reader chose.

    Raises:
        TooLarge: More rows than the format can hold; the message names one that can.
    """
    writer = import_module(f"gaugehouse.reports.render.{_WRITERS[report_format]}")
    written: bytes = writer.write(document, options)
    return written


def name_file(document: ReportDocument, report_format: ReportFormat) -> str:
    """Return a file name that says what is inside; see `compose_name`."""
    return compose_name(document.project, document.title, document.report_id, document.revision, report_format)


def compose_name(project: str, title: str, report_id: str, revision: int, report_format: ReportFormat) -> str:
    """Return a file name of ASCII letters, digits, `-`, `_` and one dot, whatever the title.

    >>> compose_name("plant", "Pumpen: März", "rep_1", 2, ReportFormat.PDF)
    'plant_pumpen-m-rz_rep_1_r2.pdf'
    """
    words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:NAME_IN_FILE_CHARS].strip("-")
    parts = [project, words, report_id, f"r{revision}" if report_id else ""]
    return f"{'_'.join(part for part in parts if part)}.{report_format.value}"


def normalise(report_format: ReportFormat, options: RenderOptions) -> RenderOptions:
    """Return only what a format looks at; all else as without a choice, so that equal files have equal options."""
    seen = _SEEN[report_format]
    return RenderOptions(**{one.name: getattr(options, one.name) for one in fields(options) if one.name in seen})
