"""CSV: one table of a report, RFC 4180 (CRLF, quotes doubled, a header).

A text that a spreadsheet would run as a formula gets a `'` in front: the same choice as in every CSV of Gaugehouse. A
program that wants names to the letter reads JSON or Parquet. Numbers are never touched: a `-` before one is a sign.
"""

from collections.abc import Iterator

import pyarrow as pa

from gaugehouse.reports.render.cells import disarm_formulas, write_instants
from gaugehouse.reports.render.document import ReportDocument
from gaugehouse.reports.render.formats import RenderOptions
from gaugehouse.reports.render.traffic import as_frame

ROWS_AT_ONCE = 65_536


def write(document: ReportDocument, options: RenderOptions) -> bytes:
    """Return `options.table` as CSV in UTF-8; numbers with every digit, missing values empty."""
    return b"".join(stream_csv(getattr(document, options.table), options))


def stream_csv(table: pa.Table, options: RenderOptions) -> Iterator[bytes]:
    """Yield a table as CSV, many rows at a time."""
    for place in range(0, max(1, table.num_rows), ROWS_AT_ONCE):
        frame = as_frame(table.slice(place, ROWS_AT_ONCE))
        text: str = disarm_formulas(write_instants(frame, options.timezone)).write_csv(
            separator=options.delimiter or (";" if options.decimal == "," else ","),
            decimal_comma=options.decimal == ",",
            line_terminator="\r\n",
            include_bom=options.byte_order_mark and not place,
            include_header=not place,
        )
        yield text.encode()
