"""How answers with rows are described: every form they leave in, and how they are refused."""

from typing import Any

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
READ_REFUSALS = refusals(*SECURED, 404, 406)
