"""The files of a report, from its stored result: what deliveries take where nothing nicer is rendered."""

import io
import json

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from gaugehouse.config import Layout
from gaugehouse.errors import Refused
from gaugehouse.reports.parcel import FileSource, ReportFile
from gaugehouse.reports.result import load_result, result_path

MEDIA_TYPES = {"json": "application/json", "csv": "text/csv", "parquet": "application/vnd.apache.parquet"}


def stored_files(layout: Layout) -> FileSource:
    """Return what makes files of results: json, csv and parquet.

    The function raises Unavailable when the result cannot be read, and Refused for any other format.
    """

    def read(report_id: str, revision: int, file_format: str) -> ReportFile:
        if file_format not in MEDIA_TYPES:
            known = ", ".join(MEDIA_TYPES)
            raise Refused(f"there is no way to write a report as {file_format}; use {known}", code="format_unknown")
        result = load_result(result_path(layout, report_id, revision))
        return ReportFile(
            name=f"{report_id}-r{revision}.{file_format}",
            media_type=MEDIA_TYPES[file_format],
            content=_write(result, file_format),
        )

    return read


def _write(result: pa.Table, file_format: str) -> bytes:
    sink = io.BytesIO()
    match file_format:
        case "csv":
            pa_csv.write_csv(result, sink)
        case "parquet":
            pq.write_table(result, sink, compression="zstd")
        case _:
            rows = json.dumps(result.to_pylist(), default=lambda instant: instant.isoformat())
            sink.write(rows.encode())
    return sink.getvalue()
