"""Arrow tables from outside (CSV, Arrow IPC, Parquet) as columns of ours: types first, cells after."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gaugehouse.errors import Refused, TooLarge
from gaugehouse.ingest.bodies import BodyRefused, body_from_text, canonical_body
from gaugehouse.ingest.columns import (
    EXACT_INTEGER_LIMIT,
    QUALITY_TEXTS,
    QUALITY_WORDS,
    Instants,
    Numbers,
    RawEvents,
    RawMeasurements,
    names_from_arrow,
    names_from_chunks,
    numbers_from_arrow,
)
from gaugehouse.ingest.explain import check_columns
from gaugehouse.ingest.flaws import Flaws, shown
from gaugehouse.ingest.instants import instants_from_epochs, instants_from_text, instants_from_timestamps
from gaugehouse.ingest.limits import Limits
from gaugehouse.measurements.schema import QUALITY_BAD

# An extension type that pyarrow does not know stays an ordinary column with this key: refused, not guessed at.
EXTENSION_KEY = b"ARROW:extension:name"


def is_text(column_type: pa.DataType) -> bool:
    """Say whether a column holds text, plain or dictionary-encoded. Views are not read (RELIABILITY)."""
    inner = column_type.value_type if pa.types.is_dictionary(column_type) else column_type
    return bool(pa.types.is_string(inner) or pa.types.is_large_string(inner))


def _is_number(column_type: pa.DataType) -> bool:
    return bool(pa.types.is_integer(column_type) or pa.types.is_floating(column_type))


def _is_quality(column_type: pa.DataType) -> bool:
    return bool(pa.types.is_integer(column_type) or is_text(column_type))


def _check_time_type(name: str, column_type: pa.DataType, time_unit: str | None) -> None:
    if time_unit is not None and pa.types.is_integer(column_type):
        return
    if not pa.types.is_timestamp(column_type):
        raise _wrong_type(name, column_type, "a timestamp with a time zone")
    if column_type.tz is None:
        raise Refused(
            f"the column '{name}' is a timestamp without a time zone; make it UTC",
            code="naive_time",
            fields={"column": name},
        )


def _wrong_type(name: str, column_type: pa.DataType, wanted: str) -> Refused:
    is_view = pa.types.is_string_view(column_type) or pa.types.is_binary_view(column_type)
    hint = " (views are not read; in Polars, write with compat_level=CompatLevel.oldest())" if is_view else ""
    return Refused(
        f"the column '{name}' is {shown(str(column_type))}, not {wanted}{hint}",
        code="wrong_type",
        fields={"column": name},
    )


_EXPECTED: dict[str, tuple[Callable[[pa.DataType], bool], str]] = {
    "component": (is_text, "text"),
    "metric": (is_text, "text"),
    "kind": (is_text, "text"),
    "body": (is_text, "text"),
    "value": (_is_number, "a number"),
    "quality": (_is_quality, "an integer or text"),
}


def check_schema(schema: pa.Schema, known: tuple[str, ...], *, limits: Limits, time_unit: str | None) -> None:
    """Refuse a schema from outside unless its columns and types are the known ones; looks at no value.

    Raises:
        Refused: A column is unknown, missing, repeated, or of a type that is not read.
    """
    if len(schema) > limits.columns_limit:
        raise Refused(f"{len(schema)} columns, at most {limits.columns_limit} are read", code="too_many_columns")
    check_columns(schema.names, known)
    for field in schema:
        if isinstance(field.type, pa.BaseExtensionType) or EXTENSION_KEY in (field.metadata or {}):
            raise Refused(f"the column '{field.name}' is of an extension type", code="wrong_type")
        if field.name in _EXPECTED:
            fits, wanted = _EXPECTED[field.name]
            if not fits(field.type):
                raise _wrong_type(field.name, field.type, wanted)
        else:
            _check_time_type(field.name, field.type, time_unit)


def measurements_from_table(table: pa.Table, *, time_unit: str | None) -> RawMeasurements:
    """Return a table whose schema was checked as measurement columns."""
    flaws = Flaws(len(table))
    return RawMeasurements(
        component=names_from_chunks(table["component"]),
        metric=names_from_chunks(table["metric"]),
        measured_at=_instants(table, "measured_at", flaws, time_unit),
        value=_values(_one_chunk(table["value"]), flaws),
        quality=qualities_from_column(_one_chunk(table["quality"]), "quality", flaws)
        if "quality" in table.column_names
        else np.zeros(len(table), dtype=np.uint8),
        flaws=flaws,
    )


def events_from_table(table: pa.Table, *, time_unit: str | None, limits: Limits) -> RawEvents:
    """Return a table whose schema was checked as event columns."""
    flaws = Flaws(len(table))
    return RawEvents(
        component=names_from_chunks(table["component"]),
        kind=names_from_chunks(table["kind"]),
        occurred_at=_instants(table, "occurred_at", flaws, time_unit),
        body=_bodies(table["body"], flaws, limits),
        flaws=flaws,
    )


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    if pa.types.is_dictionary(column.type):
        return names_from_chunks(column).to_arrow()
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _instants(table: pa.Table, name: str, flaws: Flaws, time_unit: str | None) -> Instants:
    column = _one_chunk(table[name])
    if pa.types.is_timestamp(column.type):
        return instants_from_timestamps(column, name, flaws)
    if pa.types.is_integer(column.type):
        # A uint64 beyond int64 wraps to a negative number, which is refused as a time before 1970.
        return instants_from_epochs(column.cast(pa.int64(), safe=False), time_unit or "us", name, flaws)
    return instants_from_text(column.cast(pa.string()), name, flaws)


def _values(column: pa.Array, flaws: Flaws) -> Numbers:
    if pa.types.is_integer(column.type):
        integers = column.fill_null(0).to_numpy(zero_copy_only=False)
        inexact = (integers > EXACT_INTEGER_LIMIT) | (integers < -EXACT_INTEGER_LIMIT)
        flaws.add("value", inexact, "is an integer over 2^53, which a float64 cannot keep")
    return numbers_from_arrow(column)


def qualities_from_column(column: pa.Array, field: str, flaws: Flaws) -> NDArray[np.uint8]:
    """Return a column of qualities, integers or texts; a null is good."""
    if is_text(column.type):
        names = names_from_arrow(column)
        words = names.distinct.to_pylist()
        # One place more than there are words: code -1, a null, reads the last one, good.
        codes = np.array([QUALITY_TEXTS.get(word, -1) for word in words] + [0], dtype=np.int64)[names.codes]
    else:
        codes = column.fill_null(0).to_numpy(zero_copy_only=False)
    wrong = (codes < 0) | (codes > QUALITY_BAD)
    flaws.add(field, wrong, QUALITY_WORDS)
    quality: NDArray[np.uint8] = np.where(wrong, 0, codes).astype(np.uint8)
    return quality


def _bodies(column: pa.ChunkedArray, flaws: Flaws, limits: Limits) -> pa.StringArray:
    # Once per distinct text: a dictionary of one long text must not become a hundred thousand copies.
    names = names_from_chunks(column)
    canonical: list[str | None] = []
    reasons: dict[int, str] = {}
    for code, text in enumerate([*names.distinct.to_pylist(), None]):
        body = None if text is None else body_from_text(text)
        try:
            kept = canonical_body(body, depth_limit=limits.depth_limit, size_limit_bytes=limits.line_limit_bytes)
        except BodyRefused as exc:
            reasons[code] = str(exc)
            kept = None
        canonical.append(kept)
    codes = np.where(names.codes < 0, len(names.distinct), names.codes)
    flaws.add("body", np.isin(codes, list(reasons)), lambda row: reasons[int(codes[row])])
    lengths = np.array([len(text or "") for text in canonical], dtype=np.int64)
    if int(lengths[codes].sum()) > limits.decoded_limit_bytes:
        raise TooLarge(f"the bodies are longer than {limits.decoded_limit_bytes} bytes together")
    return pa.array(canonical, pa.string()).take(pa.array(codes))
