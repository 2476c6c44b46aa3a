"""Columns of one delivery between decoding and checking: typed, but not yet believed."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gaugehouse.ingest.flaws import Flaws
from gaugehouse.measurements.schema import QUALITY_BAD, QUALITY_GOOD, QUALITY_UNCERTAIN

QUALITY_CODES: dict[object, int] = {
    QUALITY_GOOD: QUALITY_GOOD,
    QUALITY_UNCERTAIN: QUALITY_UNCERTAIN,
    QUALITY_BAD: QUALITY_BAD,
    "good": QUALITY_GOOD,
    "uncertain": QUALITY_UNCERTAIN,
    "bad": QUALITY_BAD,
    None: QUALITY_GOOD,
}
QUALITY_TEXTS = {"0": QUALITY_GOOD, "1": QUALITY_UNCERTAIN, "2": QUALITY_BAD, "good": 0, "uncertain": 1, "bad": 2}
QUALITY_WORDS = "must be 0, 1, 2, 'good', 'uncertain' or 'bad'"
EXACT_INTEGER_LIMIT = 2**53  # beyond it float64 skips integers: what was sent could not be given back


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """A column of names: `codes` point into `distinct` (unique, no nulls); -1 is a null."""

    codes: NDArray[np.int32]
    distinct: pa.StringArray

    def take(self, keep: NDArray[np.bool_]) -> "Names":
        """Return the rows of a mask, without names that no longer occur."""
        return Names(codes=self.codes[keep], distinct=self.distinct).compact()

    def compact(self) -> "Names":
        """Return the same rows without names that do not occur."""
        occurring = np.zeros(len(self.distinct), dtype=bool)
        occurring[self.codes[self.codes >= 0]] = True
        if occurring.all():
            return self
        # One place more than there are names: code -1, a null, stays -1.
        fresh = np.append(np.cumsum(occurring, dtype=np.int32) - 1, np.int32(-1))
        return Names(codes=fresh[self.codes], distinct=self.distinct.filter(pa.array(occurring)))

    def to_arrow(self) -> pa.DictionaryArray:
        return pa.DictionaryArray.from_arrays(pa.array(self.codes, pa.int32()), self.distinct)


def names_from_arrow(column: pa.Array) -> Names:
    """Return a text column, plain or dictionary-encoded (whose dictionary may repeat names or hold nulls)."""
    if not pa.types.is_dictionary(column.type):
        encoded = column.cast(pa.string()).dictionary_encode()
        codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        return Names(codes=codes.astype(np.int32, copy=False), distinct=encoded.dictionary)
    distinct = names_from_arrow(column.dictionary)
    given = column.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
    codes = np.full(len(given), -1, dtype=np.int32)
    codes[given >= 0] = distinct.codes[given[given >= 0]]
    return Names(codes=codes, distinct=distinct.distinct)


class _Codes(dict[str, int]):
    """Numbers texts in the order in which they are asked for first."""

    def __missing__(self, name: str) -> int:
        code = self[name] = len(self)
        return code


def names_from_list(column: list[str]) -> Names:
    """Return a list of texts.

    Arrow would encode it as fast, but lets go of the interpreter's lock at every step, and beside other busy threads
    each time costs up to a millisecond to get it back.
    """
    code_of = _Codes()
    codes = np.fromiter(map(code_of.__getitem__, column), np.int32, len(column))
    return Names(codes=codes, distinct=pa.array(code_of, pa.string()))


def names_from_chunks(column: pa.ChunkedArray) -> Names:
    """Return a chunked text column; chunks may bring dictionaries of their own."""
    if column.num_chunks == 1:
        return names_from_arrow(column.chunk(0))
    parts = [names_from_arrow(chunk) for chunk in column.chunks]
    if not parts:
        return Names(codes=np.zeros(0, dtype=np.int32), distinct=pa.array([], pa.string()))
    together = pa.concat_arrays([part.distinct for part in parts]).dictionary_encode()
    renumber = together.indices.to_numpy(zero_copy_only=False)
    starts = np.cumsum([0, *(len(part.distinct) for part in parts[:-1])])
    codes = [
        np.where(part.codes < 0, np.int32(-1), renumber[np.maximum(part.codes, 0) + start] if len(renumber) else -1)
        for part, start in zip(parts, starts, strict=True)
    ]
    return Names(codes=np.concatenate(codes).astype(np.int32), distinct=together.dictionary)


def repeated_name(name: str, row_count: int) -> Names:
    """Return one name for every row."""
    return Names(codes=np.zeros(row_count, dtype=np.int32), distinct=pa.array([name], pa.string()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Instants:
    """A column of instants: microseconds since 1970 UTC; `given` is False where there was none. [us]"""

    epoch_us: NDArray[np.int64]
    given: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """A column of numbers: float64, NaN and `given` False where null."""

    floats: NDArray[np.float64]
    given: NDArray[np.bool_]


def numbers_from_arrow(column: pa.Array) -> Numbers:
    """Return a numeric column as float64."""
    floats = pc.cast(column, pa.float64(), safe=False)
    return Numbers(floats=floats.to_numpy(zero_copy_only=False), given=floats.is_valid().to_numpy(zero_copy_only=False))


@dataclass(frozen=True, slots=True, kw_only=True)
class RawMeasurements:
    """Decoded measurement rows with the flaws that only the decoder can see (wrong types, unknown columns)."""

    component: Names
    metric: Names
    measured_at: Instants
    value: Numbers
    quality: NDArray[np.uint8]
    flaws: Flaws


@dataclass(frozen=True, slots=True, kw_only=True)
class RawEvents:
    """Decoded event rows; `body` is canonical JSON text, null where it is flagged."""

    component: Names
    kind: Names
    occurred_at: Instants
    body: pa.StringArray
    flaws: Flaws
