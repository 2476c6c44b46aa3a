"""The digest of a report: the same pin gives the same text, on any machine and in any file layout."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping

import pyarrow as pa

from gaugehouse.reports.result import SCHEMAS, VALUES, Answer

DIGEST_FORMAT = "gaugehouse.report.1"
KEYS = ("group", "component", "metric", "kpi", "bucket_start")
DIGITS = 12  # significant; the last bits of a double may differ between machines' math libraries


def digest_result(pin: Mapping[str, object], answer: Answer) -> str:
    """Return SHA-256 over the pin and every value of a result, as 64 hexadecimal digits.

    The text that is hashed: one line of canonical JSON of the pin, then one JSON line per row in the order of
    (component, metric, kpi, bucket_start), floats at 12 significant digits as text, missing values as null.
    Comparison and groups follow, where there are any: a line with the name of the table, then its rows likewise.

    Args:
        pin: Everything the numbers depend on, JSON-able; no id of the report or its asker is part of it.
        answer: Any order of rows.
    """
    digest = hashlib.sha256(f"{DIGEST_FORMAT}\n{_canonical(pin)}\n".encode())
    for name in (VALUES, *(one for one in sorted(answer.tables) if one != VALUES)):
        if name != VALUES:
            digest.update(f"{name}\n".encode())
        keys = [(key, "ascending") for key in KEYS if key in SCHEMAS[name].names]
        for line in _lines(answer.tables[name].select(SCHEMAS[name].names).sort_by(keys)):
            digest.update(line)
    return digest.hexdigest()


def format_number(value: float | None) -> str | None:
    """Return a number at 12 significant digits as text; both zeros are `0`, a missing value stays None."""
    if value is None or math.isnan(value):
        return None
    return f"{value + 0.0:.{DIGITS}g}"  # -0.0 + 0.0 is 0.0


def _lines(ordered: pa.Table) -> Iterator[bytes]:
    """Yield the rows as JSON lines, many at a time: a million rows one by one would take half a minute."""
    for batch in ordered.to_batches(max_chunksize=65_536):
        columns = [_as_json(column) for column in batch.columns]
        yield "".join(f"[{','.join(row)}]\n" for row in zip(*columns, strict=True)).encode()


def _as_json(column: pa.Array) -> list[str]:
    """Return each value of a column as canonical JSON; numbers with a fraction are text."""
    if pa.types.is_floating(column.type):
        return [_quote(format_number(value)) for value in column.to_pylist()]
    if pa.types.is_timestamp(column.type):
        return [str(value) for value in column.cast(pa.int64()).to_pylist()]
    if pa.types.is_integer(column.type):
        return [str(value) for value in column.to_pylist()]
    encoded = column.dictionary_encode()
    words = [_canonical(word) for word in encoded.dictionary.to_pylist()] + ["null"]
    return [words[code] for code in encoded.indices.fill_null(-1).to_pylist()]


def _quote(text: str | None) -> str:
    return "null" if text is None else f'"{text}"'


def _canonical(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
