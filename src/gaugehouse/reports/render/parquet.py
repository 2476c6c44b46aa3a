"""Parquet: one table of a report with every digit; what it is evidence of is in the file's metadata."""

import io

import msgspec
import pyarrow.parquet as pq

from gaugehouse.reports.render.document import ReportDocument
from gaugehouse.reports.render.formats import RenderOptions
from gaugehouse.reports.render.json_text import describe
from gaugehouse.reports.result import DIGEST_KEY

REPORT_KEY = b"gaugehouse.report"  # JSON: report, period, as_of, asked_at, computed_at, digest, versions
TABLE_KEY = b"gaugehouse.table"


def write(document: ReportDocument, options: RenderOptions) -> bytes:
    """Return `options.table` as Parquet (zstd, page checksums)."""
    metadata = {
        DIGEST_KEY: document.digest.encode(),
        REPORT_KEY: msgspec.json.encode(describe(document)),
        TABLE_KEY: options.table.encode(),
    }
    table = getattr(document, options.table).replace_schema_metadata(metadata)
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue()
