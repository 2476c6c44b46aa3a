"""JSON: everything a report says, in one shape (docs/report-formats.md), for programs.

`items`, `next_cursor` and `as_of` are what `GET /v1/reports/{id}/result` answers with: whoever reads that, reads this.
Tables are arrays of objects with the names of their columns; charts are columns, one array per quantity.
"""

from datetime import datetime

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa

from gaugehouse.measurements.period import Period
from gaugehouse.measurements.schema import TIMESTAMP
from gaugehouse.reports.render.cells import write_instants
from gaugehouse.reports.render.document import Chart, Numbers, ReportDocument
from gaugehouse.reports.render.formats import RenderOptions
from gaugehouse.reports.render.traffic import KEY, as_frame, build_board

SHAPE = "gaugehouse.report.1"
LIGHT_COLUMNS = (*KEY, "light", "grey_reason")


def write(document: ReportDocument, _options: RenderOptions) -> bytes:
    """Return the whole document as one JSON object."""
    board = build_board(document)
    body = {
        "format": SHAPE,
        **describe(document),
        "components": [
            {name: getattr(one, name) for name in ("name", "type", "labels", "commissioned_at", "retired_at")}
            for one in document.components
        ],
        "kpis": document.kpis,
        "items": _rows(as_frame(document.values)),
        "next_cursor": None,
        "totals": _rows(as_frame(document.totals)),
        "compared_with": None if document.compared_with is None else _describe_period(document.compared_with, None),
        "comparison": _rows(as_frame(document.comparison)),
        "judging": document.judging,
        "targets": _rows(as_frame(document.targets)),
        "lights": _rows(board.filter(pl.col("light").is_not_null()).select(LIGHT_COLUMNS)),
        "group_by": document.group_by,
        "groups": _rows(as_frame(document.groups)),
        "charts": [_describe_chart(chart) for chart in document.charts],
        "downtime": _rows(as_frame(document.downtime)),
        "missing": _rows(as_frame(document.missing)),
        "exclusions": _rows(as_frame(document.exclusions)),
        "changes": _rows(as_frame(document.changes)),
    }
    return msgspec.json.encode(body)


def describe(document: ReportDocument) -> dict[str, object]:
    """Return what identifies a report and makes it evidence, JSON-able."""
    standing = document.standing
    return {
        "report": {
            "id": document.report_id,
            "revision": document.revision,
            "title": document.title,
            "project": document.project,
            "asked_by": document.asked_by,
            "is_stale": standing.is_stale,
            "late_n": standing.late_n,
            "changed": standing.changed,
            "superseded_by": standing.superseded_by,
        },
        "notes": document.notes,
        "period": _describe_period(document.period, document.bucket),
        "as_of": document.as_of,
        "asked_at": document.asked_at,
        "computed_at": document.computed_at,
        "digest": document.digest,
        "versions": document.versions,
    }


def _describe_period(period: Period, bucket: str | None) -> dict[str, object]:
    return {
        "expression": period.expression,
        "timezone": period.timezone,
        "start": period.start,
        "end": period.end,
        "bucket": bucket,
    }


def _rows(frame: pl.DataFrame) -> msgspec.Raw:
    """Return a frame as a JSON array of objects, columns at a time; what is not finite is null."""
    floats = [name for name, dtype in frame.schema.items() if dtype.is_float()]
    finite = frame.with_columns(pl.when(pl.col(name).is_finite()).then(pl.col(name)).alias(name) for name in floats)
    lines: str = write_instants(finite).write_ndjson()  # a line break inside a text is escaped: others are between rows
    return msgspec.Raw(f"[{lines.rstrip().replace(chr(10), ',')}]".encode())


def _describe_chart(chart: Chart) -> dict[str, object]:
    edges: list[datetime] = pa.array(np.asarray(chart.edges_us)).cast(TIMESTAMP).to_pylist()
    return {
        "component": chart.component,
        "metric": chart.metric,
        "unit": chart.unit,
        "edges": edges,
        "min": _numbers(chart.minimum),
        "mean": _numbers(chart.mean),
        "max": _numbers(chart.maximum),
        "coverage": _numbers(chart.coverage),
        "lsl": chart.lsl,
        "usl": chart.usl,
        "target": chart.target,
    }


def _numbers(values: Numbers) -> list[float | None]:
    listed: list[float | None] = pa.array(values, mask=~np.isfinite(values)).to_pylist()
    return listed
