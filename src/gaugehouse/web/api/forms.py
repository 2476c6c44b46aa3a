"""How answers with rows are described: every form they leave in, and how they are refused."""

from typing import Any

from gaugehouse.reports.render import MEDIA_TYPES as FILE_TYPES
from gaugehouse.reports.render import ReportFormat
from gaugehouse.web.negotiate import MEDIA_TYPES, Format
from gaugehouse.web.problems import SECURED, refusals

_JSON_PAGE: dict[str, Any] = {
    "schema": {
        "type": "object",
        "required": ["items"],
        "properties": {
            "items": {"type": "array", "items": {"type": "object"}},
            "next_cursor": {"type": ["string", "null"], "description": "For the next page; null on the last"},
            "as_of": {"type": ["string", "null"], "format": "date-time", "description": "What the answer knows of"},
        },
    }
}
_AS_TEXT: dict[str, Any] = {"schema": {"type": "string"}}
_AS_BYTES: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}

ROW_FORMS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Rows, in the form of `Accept` or `?format=`; all but JSON are streamed",
        "content": {
            MEDIA_TYPES[Format.JSON]: _JSON_PAGE,
            MEDIA_TYPES[Format.NDJSON]: _AS_TEXT,
            "text/csv": _AS_TEXT,
            MEDIA_TYPES[Format.ARROW]: _AS_BYTES,
            MEDIA_TYPES[Format.PARQUET]: _AS_BYTES,
        },
        "headers": {"Link": {"description": '`rel="next"`, where there is a next page', "schema": {"type": "string"}}},
    }
}
REPORT_FORMS: dict[int | str, dict[str, Any]] = {
    200: ROW_FORMS[200]
    | {
        "description": "Rows, or the whole report as a file, in the form of `Accept` or `?format=`",
        "content": {
            **ROW_FORMS[200]["content"],
            "text/html": _AS_TEXT,
            **{FILE_TYPES[file]: _AS_BYTES for file in (ReportFormat.PDF, ReportFormat.XLSX)},
        },
    },
    202: {
        "description": "A worker makes the file; come again",
        "content": {
            MEDIA_TYPES[Format.JSON]: {
                "schema": {
                    "type": "object",
                    "required": ["status", "progress_percent", "doing"],
                    "properties": {
                        "status": {"type": "string", "const": "rendering"},
                        "progress_percent": {"type": "number", "description": "0 to 100 [%]"},
                        "doing": {"type": "string", "description": "What the worker is at, in words"},
                    },
                }
            }
        },
        "headers": {"Retry-After": {"description": "When to come again [s]", "schema": {"type": "integer"}}},
    },
}
READ_REFUSALS = refusals(*SECURED, 404, 406)
