"""Media types that can be read."""

from enum import StrEnum

from gaugehouse.errors import UnsupportedFormat


class Format(StrEnum):
    """What a payload is written in."""

    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"
    ARROW = "arrow"
    PARQUET = "parquet"


FORMATS = {
    "application/json": Format.JSON,
    "application/x-ndjson": Format.NDJSON,
    "application/ndjson": Format.NDJSON,
    "application/jsonl": Format.NDJSON,
    "text/csv": Format.CSV,
    "application/vnd.apache.arrow.stream": Format.ARROW,
    "application/vnd.apache.parquet": Format.PARQUET,
    "application/x-parquet": Format.PARQUET,
}
UTF_8 = frozenset({"utf-8", "utf8"})
SHOWN_TYPE_CHARS = 80


def find_format(media_type: str) -> Format:
    """Return the format of a Content-Type header; parameters are allowed, a charset must be UTF-8.

    Raises:
        UnsupportedFormat: The type is not read, or the charset is not UTF-8.
    """
    essence, *parameters = media_type.split(";")
    found = FORMATS.get(essence.strip().lower())
    if found is None:
        shown = ascii(media_type[:SHOWN_TYPE_CHARS])
        raise UnsupportedFormat(f"{shown} is not read; send one of {', '.join(FORMATS)}")
    for parameter in parameters:
        name, _, text = parameter.partition("=")
        if name.strip().lower() == "charset" and text.strip().strip('"').lower() not in UTF_8:
            raise UnsupportedFormat(f"charset {text.strip()[:SHOWN_TYPE_CHARS]!a} is not read; send UTF-8")
    return found
